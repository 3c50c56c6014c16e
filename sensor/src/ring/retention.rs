//! Retention: the ring's disk space, to the byte, and which segment leaves for the next.
//!
//! In: a budget and the segments there are. Out: room for another segment, made by removing the oldest.
//! Oldest is what was written first, by the sequence in the name and not by time: a clock that stepped
//! back, or a replay of an old capture, cannot make the ring remove what has just arrived. Segments that
//! are being written count with all the space they may come to use, so the budget holds at every moment.

use super::cipher::RingKey;
use super::format::SegmentName;
use super::index::Totals;
use super::index::sealed::sealed_totals;
use super::reader::SegmentFiles;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// File systems give space in blocks of this size, in bytes.
const FILE_BLOCK_BYTES: u64 = 4096;

#[derive(Clone, Debug)]
struct Held {
    name: SegmentName,
    bytes: u64,
    writing: bool,
}

/// A segment that retention removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removed {
    pub(super) name: SegmentName,
    /// What it held; none when its index could not say.
    pub(super) totals: Option<Totals>,
}

/// The ring's account of its disk space.
#[derive(Debug)]
pub(super) struct Retention {
    directory: PathBuf,
    key: Option<RingKey>,
    budget_bytes: u64,
    /// By sequence, so that the first is the oldest.
    held: BTreeMap<u64, Held>,
    total: u64,
    next_sequence: u64,
}

impl Retention {
    /// An account of `budget_bytes` for segments and indexes.
    pub(super) fn new(directory: &Path, key: Option<RingKey>, budget_bytes: u64) -> Retention {
        Retention {
            directory: directory.to_owned(),
            key,
            budget_bytes,
            held: BTreeMap::new(),
            total: 0,
            next_sequence: 1,
        }
    }

    /// Takes a segment into account that an earlier run left.
    pub(super) fn adopt(&mut self, files: &SegmentFiles) -> io::Result<()> {
        let bytes = size_on_disk(&files.segment)? + size_on_disk(&files.index)?;
        self.insert(Held { name: files.name, bytes, writing: false });
        Ok(())
    }

    /// The sequence of the segment that comes next.
    pub(super) fn take_sequence(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.saturating_add(1);
        sequence
    }

    /// Removes the oldest segments until `needed` more bytes fit. Those removed before an error are told.
    pub(super) fn make_room(&mut self, needed: u64, removed: &mut Vec<Removed>) -> io::Result<()> {
        while self.total.saturating_add(needed) > self.budget_bytes {
            let oldest = self.held.values().find(|held| !held.writing).map(|held| held.name);
            let Some(name) = oldest else {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    "the ring's budget holds no further segment",
                ));
            };
            removed.push(self.remove(name)?);
        }
        Ok(())
    }

    /// Reserves all the space a new segment may come to use.
    pub(super) fn begin(&mut self, name: SegmentName, bytes_max: u64) {
        self.insert(Held { name, bytes: bytes_max, writing: true });
    }

    /// The segment takes no more: it counts what it uses.
    pub(super) fn finish(&mut self, name: SegmentName, segment_bytes: u64, index_bytes: u64) {
        let bytes = round_up(segment_bytes) + round_up(index_bytes);
        self.insert(Held { name, bytes, writing: false });
    }

    /// The segment never came to be.
    pub(super) fn cancel(&mut self, name: SegmentName) {
        if let Some(held) = self.held.remove(&name.sequence) {
            self.total -= held.bytes;
        }
    }

    /// Bytes in use or reserved.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    fn insert(&mut self, held: Held) {
        self.total += held.bytes;
        self.next_sequence = self.next_sequence.max(held.name.sequence.saturating_add(1));
        if let Some(before) = self.held.insert(held.name.sequence, held) {
            self.total -= before.bytes;
        }
    }

    fn remove(&mut self, name: SegmentName) -> io::Result<Removed> {
        let (segment, index) =
            (self.directory.join(name.segment_file()), self.directory.join(name.index_file()));
        let totals = sealed_totals(&index, self.key.as_ref()).unwrap_or(None);
        // The segment first: an index without its segment is removed at the next start, and holds nothing.
        for path in [segment, index] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.cancel(name);
        Ok(Removed { name, totals })
    }
}

fn size_on_disk(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(meta) => Ok(round_up(meta.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn round_up(bytes: u64) -> u64 {
    bytes.div_ceil(FILE_BLOCK_BYTES) * FILE_BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::time::Timestamp;

    fn name(sequence: u64) -> SegmentName {
        // Later segments carry earlier times, as after a clock step.
        SegmentName { sequence, lane: 0, first_time: Timestamp(1000 - sequence) }
    }

    fn ring(directory: &Path, budget: u64, sizes: &[u64]) -> Retention {
        let mut retention = Retention::new(directory, None, budget);
        for (at, size) in sizes.iter().enumerate() {
            let name = name(at as u64 + 1);
            fs::write(directory.join(name.segment_file()), vec![0; *size as usize]).unwrap();
            fs::write(directory.join(name.index_file()), [0; 10]).unwrap();
            let (segment, index) = (directory.join(name.segment_file()), directory.join(name.index_file()));
            retention.adopt(&SegmentFiles { name, segment, index, key: None }).unwrap();
        }
        retention
    }

    fn left(directory: &Path) -> Vec<u64> {
        super::super::reader::segments(directory, None)
            .unwrap()
            .iter()
            .map(|files| files.name.sequence)
            .collect()
    }

    #[test]
    fn the_segment_written_first_leaves_and_no_more_than_needed() {
        let directory = tempfile::tempdir().unwrap();
        let mut retention = ring(directory.path(), 40_960, &[8192, 8192, 8192]);
        assert_eq!(retention.total(), 3 * (8192 + 4096));
        let mut removed = Vec::new();
        retention.make_room(4096, &mut removed).unwrap();
        assert!(removed.is_empty());
        retention.make_room(4097, &mut removed).unwrap();
        assert_eq!((removed.len(), left(directory.path())), (1, vec![2, 3]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_lower_budget_removes_until_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        let mut retention = ring(directory.path(), 12_288, &[8192, 8192, 8192]);
        retention.make_room(0, &mut Vec::new()).unwrap();
        assert_eq!((retention.total(), left(directory.path())), (12_288, vec![3]));
        assert_eq!(retention.take_sequence(), 4);
    }

    #[test]
    fn a_segment_being_written_stays_and_counts_all_it_may_use() {
        let directory = tempfile::tempdir().unwrap();
        let mut retention = ring(directory.path(), 30_000, &[8192]);
        retention.begin(name(2), 16_384);
        assert_eq!(retention.total(), 28_672);
        let mut removed = Vec::new();
        assert!(retention.make_room(20_000, &mut removed).is_err());
        assert_eq!((removed.len(), retention.total()), (1, 16_384));
        retention.finish(name(2), 100, 100);
        assert_eq!(retention.total(), 8192);
    }
}
