//! A block: header, table, entries, heads and chunks of tails, all checksums right, some of it a lie.
//!
//! Without a lie the block is read and gives the frames that went in; with one it is read or refused, within the
//! memory that a header may ask for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_common::time::Timestamp;
use weir_sensor::ring::entry::{Entry, LeftOut};
use weir_sensor::ring::format::{BlockHeader, CHUNK_BYTES, HEAD_BYTES, WHOLE_BYTES_MAX};
use weir_sensor::ring::reader::{BlockFrames, BlockReader};
use weir_sensor_fuzz::{Input, files_in, scratch};

const FRAMES_MAX: u8 = 24;

/// Frames of the fuzzer's choice; lengths lie on both sides of every border.
fn frames(input: &mut Input<'_>) -> Vec<(Entry, Vec<u8>)> {
    let count = input.u8() % FRAMES_MAX;
    let mut time = 1_000_000_000u64;
    let frame = |_| {
        let choice = input.u8();
        let length = match choice & 7 {
            0 => 0,
            1 => WHOLE_BYTES_MAX,
            2 => WHOLE_BYTES_MAX + 1,
            3 => HEAD_BYTES,
            4 => CHUNK_BYTES + HEAD_BYTES,
            _ => usize::from(input.u16()) % 2000,
        };
        time = match choice & 8 {
            0 => time.wrapping_add(input.u16().into()),
            _ => time.wrapping_sub(input.u16().into()),
        };
        let entry = Entry {
            time: Timestamp(time),
            captured_len: length as u32,
            wire_len: length as u32 + u32::from(choice >> 6),
            interface: u32::from(choice >> 5 & 1),
            link: 1 + u16::from(choice >> 4 & 1),
            left_out: (choice >> 6 == 3).then(|| LeftOut { bytes: 3, hash: [choice; 16] }),
        };
        (entry, (0..length).map(|at| (at as u8) ^ choice).collect())
    };
    (0..count).map(frame).collect()
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).expect("zstd compresses anything")
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (raw_entries, lie) = (input.u8() & 1 == 1, input.u8());
    let mut frames = frames(&mut input);
    let (mut entries, mut heads, mut tails) = (Vec::new(), Vec::new(), Vec::new());
    let mut previous = Entry::default();
    for (entry, bytes) in &frames {
        entry.encode(&previous, &mut entries);
        let head = if bytes.len() <= WHOLE_BYTES_MAX { bytes.len() } else { HEAD_BYTES };
        heads.extend_from_slice(&bytes[..head]);
        tails.extend_from_slice(&bytes[head..]);
        previous = *entry;
    }
    let is_ordered = frames.is_sorted_by_key(|(entry, _)| entry.time);
    if raw_entries {
        entries = input.take(512).to_vec();
    }
    let mut header = BlockHeader {
        frames: frames.len() as u32,
        flags: if is_ordered { 0 } else { 1 },
        segment: 1,
        entries_bytes: entries.len() as u32,
        heads_bytes: heads.len() as u32,
        tails_bytes: tails.len() as u32,
        ..BlockHeader::default()
    };
    let sources = [&entries[..], &heads[..]].into_iter().chain(tails.chunks(CHUNK_BYTES));
    let parts: Vec<Vec<u8>> = sources.map(compressed).collect();
    header.entries_stored = parts[0].len() as u32;
    header.heads_stored = parts[1].len() as u32;
    let mut table: Vec<u8> = Vec::new();
    for part in &parts {
        table.extend_from_slice(&(part.len() as u32).to_le_bytes());
        table.extend_from_slice(&crc32fast::hash(part).to_le_bytes());
    }
    let amount = u32::from(input.u16()) << (input.u8() % 16);
    match lie & 15 {
        1 => header.frames = header.frames.wrapping_add(amount),
        2 => header.entries_bytes = header.entries_bytes.wrapping_add(amount),
        3 => header.heads_bytes = header.heads_bytes.wrapping_add(amount),
        4 => header.tails_bytes = header.tails_bytes.wrapping_add(amount),
        5 => header.entries_stored = header.entries_stored.wrapping_add(amount),
        6 => header.heads_stored = header.heads_stored.wrapping_add(amount),
        7 => header.flags ^= amount as u16,
        8 => {
            let at = amount as usize % table.len();
            table[at] ^= lie | 1;
        }
        _ => {}
    }
    let body = table.len() + parts.iter().map(Vec::len).sum::<usize>();
    header.body_bytes = if lie & 15 == 9 { amount } else { body as u32 };
    header.table_crc = crc32fast::hash(&table);
    let files = files_in(scratch());
    let bytes = [&header.encode_sealed()[..], &table, &parts.concat()].concat();
    std::fs::write(&files.segment, bytes).expect("the fuzzer's place can be written");
    let Ok(header) = BlockHeader::decode(&header.encode_sealed()) else { return };
    let (mut reader, mut block) = (BlockReader::default(), BlockFrames::default());
    let read = reader.read(&files, 0, &header, &mut block);
    assert!(block.memory_bytes() < 64 << 20);
    if read.is_err() {
        let is_a_lie = raw_entries || (1..=9).contains(&(lie & 15));
        assert!(is_a_lie, "{read:?}");
        return;
    }
    let mut got = Vec::new();
    block.each(&mut |placed, frame| {
        assert_eq!(placed.entry.captured_len as usize, frame.data.len());
        got.push((placed.entry, frame.data.to_vec()));
    });
    assert_eq!(got.len(), header.frames as usize);
    if !raw_entries && header.flags == u16::from(!is_ordered) {
        frames.sort_by_key(|(entry, _)| entry.time);
        assert_eq!(got, frames);
    }
});
