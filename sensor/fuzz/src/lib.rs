//! What the fuzz targets share: numbers from bytes, a place for files, checksums made right, and a small ring.
//!
//! In: the fuzzer's bytes. Out: files as the ring would write them but for their contents. The layouts are written
//! down here a second time, from the ring's front page and not from its code, so that the two check each other.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use weir_common::time::Timestamp;
use weir_sensor::capture::{Frame, LinkType};
use weir_sensor::counters::RingCounters;
use weir_sensor::ring::config::RingConfig;
use weir_sensor::ring::format::SegmentName;
use weir_sensor::ring::reader::SegmentFiles;
use weir_sensor::ring::{Ring, RingMode};

/// Link types as libpcap numbers them: those that captures hold, and one that nobody knows.
pub const LINKS: [u16; 16] = [0, 1, 9, 12, 14, 50, 101, 104, 105, 108, 113, 127, 192, 228, 276, 9999];

/// Numbers taken from the front of the fuzzer's bytes; zeros when they have run out.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// One byte.
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.u8()))
    }

    /// At most so many bytes.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// One of a list.
    pub fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[usize::from(self.u8()) % values.len()].clone()
    }
}

/// A directory of this process, in memory where the system has such a place.
pub fn scratch() -> &'static Path {
    static PLACE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let memory = Path::new("/dev/shm");
    PLACE
        .get_or_init(|| {
            let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            made.expect("a directory for the fuzzer's files")
        })
        .path()
}

/// The files of a segment in a directory.
pub fn files_in(directory: &Path) -> SegmentFiles {
    let name = SegmentName { sequence: 1, lane: 0, first_time: Timestamp(1_000_000_000) };
    let (segment, index) = (directory.join(name.segment_file()), directory.join(name.index_file()));
    SegmentFiles { name, segment, index, key: None }
}

/// Puts the checksum of what comes before them into the last four of these bytes.
pub fn end_with_checksum(bytes: &mut [u8]) {
    let Some(at) = bytes.len().checked_sub(4) else { return };
    let crc = crc32fast::hash(&bytes[..at]);
    bytes[at..].copy_from_slice(&crc.to_le_bytes());
}

/// A segment's or an index's header: the checksum of its first bytes, and its magic and version.
pub fn repair_header(bytes: &mut [u8], length: usize, magic: &[u8; 8]) {
    if let Some(header) = bytes.get_mut(..length) {
        header[..8].copy_from_slice(magic);
        header[8..10].copy_from_slice(&2u16.to_le_bytes());
        end_with_checksum(header);
    }
}

/// A block's header: its magic and checksum.
pub fn repair_block_header(header: &mut [u8]) {
    if let Some(header) = header.get_mut(..128) {
        header[..4].copy_from_slice(b"WBLK");
        let crc = crc32fast::hash(&header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Checksums of a journal: its header, its records and the block headers in them.
pub fn repair_journal(bytes: &mut [u8]) {
    repair_header(bytes, 64, b"WEIRINDX");
    let mut at = 64;
    while let Some(front) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes([front[0], front[1], front[2], front[3]]) as usize;
        let Some(payload) = bytes.get_mut(at + 8..(at + 8).saturating_add(length)) else { return };
        repair_block_header(payload.get_mut(8..).unwrap_or_default());
        let crc = crc32fast::hash(payload);
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at += 8 + length;
    }
}

/// Checksums of a sealed index: its header, its pages and the block headers in them.
pub fn repair_sealed(bytes: &mut [u8]) {
    repair_header(bytes, 64, b"WEIRINDX");
    let pages = bytes.get_mut(64..).unwrap_or_default();
    for (number, page) in pages.chunks_exact_mut(4096).enumerate() {
        // Entries of the blocks section: offset and header, 136 bytes each.
        for at in (8..4080).step_by(136) {
            if page[at..].starts_with(b"WBLK") {
                repair_block_header(&mut page[at..]);
            }
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&page[..4080]);
        hasher.update(&(number as u32).to_le_bytes());
        page[4080..].fill(0);
        page[4080..4084].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}

/// Checksums of the gap ledger or the slots of `alive`: one for every 64 bytes.
pub fn repair_records(bytes: &mut [u8]) {
    bytes.chunks_exact_mut(64).for_each(end_with_checksum);
}

/// Frames of a few flows over IPv4, IPv6 and ARP; those of more than 256 bytes have tails.
pub fn frames(count: u64) -> Vec<(u64, Vec<u8>)> {
    let frame = |n: u64| {
        let mut data = vec![2; 12];
        match n % 5 {
            0 => {
                data.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
                data.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n as u8 % 7]);
                data.extend_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 53, 20, 7]);
            }
            1 => {
                data.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 1, 1, 1, 1, 1, 1, 10, 0, 0, 1]);
                data.extend_from_slice(&[0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
            }
            _ => {
                if n % 3 == 0 {
                    data.extend_from_slice(&[0x81, 0, 0, 20]);
                }
                data.extend_from_slice(&[
                    8,
                    0,
                    0x45,
                    0,
                    0,
                    40,
                    0,
                    0,
                    0,
                    0,
                    64,
                    6,
                    0,
                    0,
                    10,
                    0,
                    0,
                    n as u8 % 9,
                ]);
                data.extend_from_slice(&[10, 0, 1, 2, 0, 80, 4, n as u8]);
            }
        }
        let payload = [0, 100, 700][(n % 3) as usize];
        data.extend((0..payload).map(|at: u64| (at ^ n.wrapping_mul(37)) as u8));
        (1_000_000_000 + n * 1000, data)
    };
    (0..count).map(frame).collect()
}

/// Writes a ring of one lane whose blocks have `per_block` frames.
pub fn write_ring(directory: &Path, frames: &[(u64, Vec<u8>)], per_block: usize) {
    let config = config(directory);
    let mut ring = Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).expect("a ring opens");
    let mut lane = ring.lane(0).expect("there is a lane");
    for (at, (time, data)) in frames.iter().enumerate() {
        let frame = Frame {
            time: Timestamp(*time),
            link: LinkType::ETHERNET,
            interface: 0,
            wire_len: data.len() as u32,
            data,
        };
        lane.append(&frame, Some(*time / 7000 << 32), None, &mut RingCounters::default());
        if (at + 1) % per_block == 0 {
            lane.tick(Timestamp(*time + 10_000_000));
        }
    }
    lane.close(Timestamp(0));
    ring.close();
}

/// A small ring without a thread that synchronises: the fuzzer's files need not outlive a power loss.
pub fn config(directory: &Path) -> RingConfig {
    RingConfig {
        directory: directory.to_string_lossy().into_owned(),
        budget_mib: 16,
        segment_mib: 1,
        block_kib: 256,
        flush_ms: 1,
        sync_ms: 0,
        queue_blocks: 2,
        ..RingConfig::default()
    }
}

/// The files of a small ring: names and bytes.
pub fn ring_files(frames: &[(u64, Vec<u8>)], per_block: usize) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = tempfile::tempdir_in(scratch()).expect("a directory for a ring");
    write_ring(directory.path(), frames, per_block);
    let entries = std::fs::read_dir(directory.path()).expect("the ring is there").flatten();
    let mut files: Vec<(PathBuf, Vec<u8>)> = entries
        .map(|entry| (entry.file_name().into(), std::fs::read(entry.path()).expect("its files are readable")))
        .collect();
    files.sort();
    files
}

/// The whole of a target that fuzzes one dissector: `weir_sensor_fuzz::dissector!(Ssh);`.
#[macro_export]
macro_rules! dissector {
    ($app:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            weir_sensor::dpi::fuzzing::dissector(weir_common::app::App::$app, data);
        });
    };
}
