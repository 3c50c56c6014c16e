//! Damage: a bit flipped, a page lost or a file cut short, in every structure of a ring in every state.
//!
//! What holds each time: nothing panics; no frame is given that was not put in; a frame that is missing was in the
//! block that was hit, and the answer says that something is damaged; opening the ring again loses no frame more.

use super::equality::{Numbers, ethernet_frames};
use super::*;
use crate::ring::check;
use crate::ring::format::{BLOCK_HEADER_BYTES, CHUNK_BYTES, PART_BYTES, SEGMENT_HEADER_BYTES};
use crate::ring::index::INDEX_HEADER_BYTES;
use crate::ring::reader::{BlockFrames, BlockReader, SegmentContents, segments};
use completeness::GapState;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

/// Bits flipped in each structure.
const FLIPS: usize = 10;
/// Every so many damages the ring is also opened, as the next start would.
const OPEN_EVERY: usize = 6;
const RUNS: usize = 2;
/// What a segment that is being written has reserved behind its last block, in bytes.
const RESERVED: u64 = 64 << 10;

/// In which state a ring is when it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Ended in order; else as kill -9 leaves it: journals, and space reserved.
    sealed: bool,
    encrypted: bool,
}

/// A part of a file, by the name of its structure.
#[derive(Clone, Debug)]
struct Structure {
    name: &'static str,
    file: PathBuf,
    bytes: Range<u64>,
}

/// A block, where it lies and what it holds.
struct Held {
    file: PathBuf,
    bytes: Range<u64>,
    frames: Vec<usize>,
}

struct Subject {
    directory: tempfile::TempDir,
    _keys: tempfile::TempDir,
    config: RingConfig,
    key: Option<RingKey>,
    frames: Vec<Owned>,
    numbers: HashMap<Owned, usize>,
    blocks: Vec<Held>,
    structures: Vec<Structure>,
}

/// Frames of real captures, some made long, so that blocks have heads and several chunks of tails.
fn frames() -> Vec<Owned> {
    let mut numbers = Numbers::new(3);
    let mut frames: Vec<Owned> = ethernet_frames().into_iter().step_by(12).collect();
    frames.iter_mut().step_by(2).for_each(|(_, wire_len, data)| {
        data.extend((0..1200).map(|_| numbers.below(256) as u8));
        *wire_len = data.len() as u32;
    });
    // Each is told apart by its time.
    frames
        .iter_mut()
        .enumerate()
        .for_each(|(at, frame)| frame.0 = 1_700_000_000_000_000_000 + at as u64 * 1000);
    frames
}

impl Subject {
    fn new(state: State) -> Subject {
        let (directory, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = config(directory.path());
        if state.encrypted {
            let file = keys.path().join("key");
            fs::write(&file, [9; 32]).unwrap();
            config.encryption_key = file.to_str().unwrap().to_owned();
        }
        let frames = frames();
        for part in frames.chunks(frames.len().div_ceil(RUNS)) {
            write_run(&config, part);
        }
        interfaces::write(directory.path(), &["eth0".into(), "tap1".into()]).unwrap();
        let key = RingKey::load(&config.encryption_key).unwrap();
        if !state.sealed {
            for files in segments(directory.path(), key.as_ref()).unwrap() {
                crate::ring::testing::unseal(&files, flow);
                let file = fs::OpenOptions::new().write(true).open(&files.segment).unwrap();
                file.set_len(file.metadata().unwrap().len() + RESERVED).unwrap();
            }
        }
        let numbers = frames.iter().cloned().enumerate().map(|(at, frame)| (frame, at)).collect();
        let mut subject = Subject {
            directory,
            _keys: keys,
            config,
            key,
            frames,
            numbers,
            blocks: Vec::new(),
            structures: Vec::new(),
        };
        subject.survey(state);
        subject
    }

    /// Finds the blocks and the structures of all files.
    fn survey(&mut self, state: State) {
        let mut found: Vec<Structure> = Vec::new();
        let mut add = |name, file: &Path, bytes: Range<u64>| {
            if !bytes.is_empty() {
                found.push(Structure { name, file: file.to_owned(), bytes });
            }
        };
        for files in segments(self.directory.path(), self.key.as_ref()).unwrap() {
            add("segment header", &files.segment, 0..SEGMENT_HEADER_BYTES as u64);
            let contents = SegmentContents::read(&files).unwrap();
            let (mut reader, mut block_frames) = (BlockReader::default(), BlockFrames::default());
            for block in &contents.blocks {
                let (begin, header) = (block.offset, &block.header);
                let end = begin + header.stored_bytes();
                add("block header", &files.segment, begin..begin + BLOCK_HEADER_BYTES as u64);
                let table = begin + BLOCK_HEADER_BYTES as u64;
                let entries = table + header.table_bytes() as u64;
                let heads = entries + u64::from(header.entries_stored);
                let tails = heads + u64::from(header.heads_stored);
                assert_eq!(header.chunks(), (header.tails_bytes as usize).div_ceil(CHUNK_BYTES));
                add(
                    "table of parts",
                    &files.segment,
                    table..table + header.chunks() as u64 * PART_BYTES as u64,
                );
                add("entries", &files.segment, entries..heads);
                add("heads", &files.segment, heads..tails);
                add("first chunk of tails", &files.segment, tails..tails + (end - tails) / 2);
                add("last chunk of tails", &files.segment, end - (end - tails) / 4..end);
                add("between blocks", &files.segment, end..header.next_offset(begin));
                reader.read(&files, begin, header, &mut block_frames).unwrap();
                let mut held = Held { file: files.segment.clone(), bytes: begin..end, frames: Vec::new() };
                block_frames.each(&mut |_, frame| {
                    let owned = (frame.time.0, frame.wire_len, frame.data.to_vec());
                    held.frames.push(self.numbers[&owned]);
                });
                self.blocks.push(held);
            }
            let length = fs::metadata(&files.index).unwrap().len();
            let header = INDEX_HEADER_BYTES as u64;
            add("index header", &files.index, 0..header);
            if state.sealed {
                for page in 0..(length - header) / 4096 {
                    let begin = header + page * 4096;
                    add("sealed page", &files.index, begin..begin + 4096);
                }
                add("footer", &files.index, length - 4096..length - 3600);
            } else {
                add("journal record", &files.index, header..header + 8);
                add("journal payload", &files.index, header + 8..length);
            }
        }
        for (name, file) in [("gap ledger", "gaps"), ("alive", "alive"), ("interfaces", "interfaces")] {
            let path = self.directory.path().join(file);
            let length = fs::metadata(&path).unwrap().len();
            add(name, &path, 0..length);
        }
        self.structures = found;
    }

    /// Asks for everything and says which frames are missing.
    fn missing(&self, directory: &Path, what: &str) -> (Vec<usize>, Answer) {
        let query = Query { key: self.key.clone(), ..query(directory, "") };
        let (got, answer) = collect(&query);
        let mut there = vec![0u32; self.frames.len()];
        for frame in &got {
            let number = self.numbers.get(frame);
            there[*number.unwrap_or_else(|| panic!("{what}: a frame that was never written"))] += 1;
        }
        assert!(there.iter().all(|count| *count <= 1), "{what}: a frame twice");
        let missing = there.iter().enumerate().filter(|(_, count)| **count == 0).map(|(at, _)| at);
        (missing.collect(), answer)
    }

    /// What has to hold while `damage` is done to `file`; the file is put back afterwards.
    fn damaged(
        &self,
        what: &str,
        file: &Path,
        hit: Range<u64>,
        open: bool,
        damage: &dyn Fn(&mut Vec<u8>),
    ) -> usize {
        let whole = fs::read(file).unwrap();
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(file, &bytes).unwrap();
        let (missing, answer) = self.missing(self.directory.path(), what);
        let of_hit = |number: &usize| {
            let holds = |block: &&Held| block.file == file && block.frames.contains(number);
            let block = self.blocks.iter().find(holds);
            block.is_some_and(|block| block.bytes.start < hit.end && hit.start < block.bytes.end)
        };
        assert!(missing.iter().all(of_hit), "{what}: frames of another block are missing");
        let says_so = |answer: &Answer| {
            let is_damage = |gap: &completeness::Gap| gap.state == GapState::Damaged;
            !answer.completeness.complete && answer.completeness.gaps.iter().any(is_damage)
        };
        assert!(missing.is_empty() || says_so(&answer), "{what}: missing and not said: {answer}");
        let check = check::check(self.directory.path(), self.key.as_ref(), &mut |_, _| {}).unwrap();
        assert!(missing.is_empty() || !check.is_sound(), "{what}: {check}");
        assert!(
            check.frames_sound as usize + missing.len() >= self.frames.len(),
            "{what}: {} missing, {check}",
            missing.len()
        );
        if open {
            let again = tempfile::tempdir().unwrap();
            for entry in fs::read_dir(self.directory.path()).unwrap().flatten() {
                fs::copy(entry.path(), again.path().join(entry.file_name())).unwrap();
            }
            let directory = again.path().to_str().unwrap().to_owned();
            let config = RingConfig { directory, ..self.config.clone() };
            Ring::open(&config, 3, RingMode::Replay, Timestamp(0)).unwrap().close();
            let (after, answer) = self.missing(again.path(), what);
            assert_eq!(after, missing, "{what}: opening changed what is there");
            assert!(after.is_empty() || says_so(&answer), "{what}: opening hides it: {answer}");
        }
        fs::write(file, whole).unwrap();
        missing.len()
    }
}

fn write_run(config: &RingConfig, frames: &[Owned]) {
    let mut ring = Ring::open(config, 3, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lanes: Vec<_> = (0..3).map(|index| ring.lane(index).unwrap()).collect();
    for (at, (time, wire_len, data)) in frames.iter().enumerate() {
        let (time, link) = (Timestamp(*time), LinkType::ETHERNET);
        let frame = Frame { time, link, interface: 0, wire_len: *wire_len, data };
        let tag = flow(&frame).as_ref().map(CommunityId::tag);
        lanes[at / 7 % 3].append(&frame, tag, None, &mut RingCounters::default());
    }
    drop(lanes);
    ring.close();
}

/// Damages every structure of a ring in this state; says how often, and how often frames were lost by it.
fn damage_everything(state: State) -> (usize, usize) {
    let subject = Subject::new(state);
    let (missing, answer) = subject.missing(subject.directory.path(), "sound");
    assert!(missing.is_empty() && answer.completeness.gaps.iter().all(|gap| gap.state != GapState::Damaged));
    let check = check::check(subject.directory.path(), subject.key.as_ref(), &mut |_, _| {}).unwrap();
    assert!(check.is_sound(), "{check}");
    let mut numbers = Numbers::new(11);
    let (mut done, mut lossy) = (0, 0);
    let mut tell = |lost: usize| {
        done += 1;
        lossy += usize::from(lost > 0);
    };
    let mut names: Vec<&str> = subject.structures.iter().map(|structure| structure.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        let of_name: Vec<&Structure> =
            subject.structures.iter().filter(|structure| structure.name == *name).collect();
        for flip in 0..FLIPS {
            let structure = of_name[numbers.below(of_name.len())];
            let span = (structure.bytes.end - structure.bytes.start) as usize;
            let (at, bit) = (structure.bytes.start as usize + numbers.below(span), numbers.below(8));
            let what = format!("{state:?}: bit {bit} of byte {at} of {} ({name})", structure.file.display());
            let hit = at as u64..at as u64 + 1;
            let flip_bit = |bytes: &mut Vec<u8>| bytes[at] ^= 1 << bit;
            tell(subject.damaged(&what, &structure.file, hit, flip % OPEN_EVERY == 0, &flip_bit));
        }
    }
    let mut files: Vec<PathBuf> = subject.structures.iter().map(|structure| structure.file.clone()).collect();
    files.sort();
    files.dedup();
    for (number, file) in files.iter().enumerate() {
        let length = fs::metadata(file).unwrap().len();
        for round in 0..3 {
            let keep = numbers.below(length as usize + 1);
            let what = format!("{state:?}: {} cut to {keep} bytes", file.display());
            let open = (number + round) % OPEN_EVERY == 0;
            tell(subject.damaged(&what, file, keep as u64..u64::MAX, open, &|bytes| bytes.truncate(keep)));
            // A page that never reached the disk.
            let page = numbers.below((length as usize).div_ceil(4096));
            let lost = page * 4096..((page + 1) * 4096).min(length as usize);
            let what = format!("{state:?}: page {page} of {} is zeros", file.display());
            let hit = lost.start as u64..lost.end as u64;
            tell(subject.damaged(&what, file, hit, open, &|bytes| bytes[lost.clone()].fill(0)));
        }
    }
    (done, lossy)
}

#[test]
fn damage_anywhere_in_a_ring_costs_one_block_and_is_told() {
    let (done, lossy) = damage_everything(State { sealed: true, encrypted: false });
    assert!(done > 150 && lossy > 40, "{done} damages, {lossy} lost frames");
}

#[test]
fn damage_anywhere_in_a_ring_that_was_killed_costs_one_block_and_is_told() {
    let (done, lossy) = damage_everything(State { sealed: false, encrypted: false });
    assert!(done > 150 && lossy > 40, "{done} damages, {lossy} lost frames");
}

/// Bytes that do not compress, so that they stand in a segment as they were captured.
fn noise(numbers: &mut Numbers, count: usize) -> Vec<u8> {
    (0..count).map(|_| numbers.below(256) as u8).collect()
}

/// Writes a ring of one lane and gives the bytes of its first segment.
fn segment_of(directory: &Path, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut ring = Ring::open(&config(directory), 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    for (at, data) in frames.iter().enumerate() {
        let (time, link) = (Timestamp(1_700_000_000_000_000_000 + at as u64), LinkType::ETHERNET);
        let frame = Frame { time, link, interface: 0, wire_len: data.len() as u32, data };
        lane.append(&frame, None, None, &mut RingCounters::default());
    }
    drop(lane);
    ring.close();
    fs::read(&segments(directory, None).unwrap()[0].segment).unwrap()
}

#[test]
fn a_block_inside_a_captured_packet_is_never_taken_for_one_of_the_ring() {
    // A sender who knows the format, and guesses the sequence, sends a sound block of a ring of his own.
    let theirs = tempfile::tempdir().unwrap();
    let mut numbers = Numbers::new(5);
    let block = segment_of(theirs.path(), &[noise(&mut numbers, 100)]).split_off(SEGMENT_HEADER_BYTES);
    let padding = noise(&mut numbers, 64);
    // So much that zstd finds the rest not worth its while, and that the block is not among the heads.
    let (before, behind) = (noise(&mut numbers, 10_000), noise(&mut numbers, 10_000));
    for shift in 0..64 {
        let directory = tempfile::tempdir().unwrap();
        let frames = [[&before, &padding[..shift], &block, &behind].concat()];
        let mut bytes = segment_of(directory.path(), &frames);
        let place = bytes.windows(block.len()).position(|window| window == block);
        let Some(place) = place.filter(|place| place % 64 == 0) else { continue };
        assert!(place > SEGMENT_HEADER_BYTES);
        // The block around it is damaged, and there is no index that knows where blocks are.
        bytes[SEGMENT_HEADER_BYTES + 40] ^= 1;
        let files = segments(directory.path(), None).unwrap().remove(0);
        fs::write(&files.segment, bytes).unwrap();
        fs::remove_file(&files.index).unwrap();
        let (got, answer) = collect(&query(directory.path(), ""));
        assert!(got.is_empty() && !answer.completeness.complete, "{answer}");
        drop(Ring::open(&config(directory.path()), 1, RingMode::Replay, Timestamp(0)).unwrap());
        assert!(collect(&query(directory.path(), "")).0.is_empty());
        return;
    }
    panic!("the planted block was nowhere aligned as blocks are");
}

#[test]
fn damage_anywhere_in_an_encrypted_ring_costs_one_block_and_is_told() {
    for sealed in [true, false] {
        let (done, lossy) = damage_everything(State { sealed, encrypted: true });
        assert!(done > 150 && lossy > 40, "{done} damages, {lossy} lost frames");
    }
}

#[test]
fn a_count_misses_what_a_file_that_was_cut_has_not() {
    let directory = tempfile::tempdir().unwrap();
    let frames = frames();
    write_run(&config(directory.path()), &frames);
    let files = segments(directory.path(), None).unwrap().remove(0);
    let block = SegmentContents::read(&files).unwrap().blocks.pop().unwrap();
    let end = block.offset + block.header.stored_bytes();
    let heads = block.header.table_bytes() as u64
        + u64::from(block.header.entries_stored)
        + u64::from(block.header.heads_stored);
    let tails = block.offset + BLOCK_HEADER_BYTES as u64 + heads;
    let whole = fs::read(&files.segment).unwrap();
    let is_whole =
        |answer: &Answer| answer.completeness.gaps.iter().all(|gap| gap.state != GapState::Damaged);
    let count = |expression: &str| {
        let answer = query(directory.path(), expression).count(Timestamp::MAX, &Addresses).unwrap();
        (answer.frames as usize, is_whole(&answer))
    };
    for (length, is_missed) in [(end, false), (end - 1, true), (tails + 1, true), (tails, true)] {
        fs::write(&files.segment, &whole[..length as usize]).unwrap();
        // Short frames have no tails, and nothing of them is missing.
        for (expression, is_missed) in [("", is_missed), ("greater 300", is_missed), ("less 200", false)] {
            let (got, answer) = collect(&query(directory.path(), expression));
            let told = count(expression);
            assert_eq!(told, (got.len(), is_whole(&answer)), "{expression:?} at {length}");
            assert_eq!(told.1, !is_missed, "{expression:?} at {length}");
        }
    }
}
