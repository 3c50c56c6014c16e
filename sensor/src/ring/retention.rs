//! Retention: the ring's disk space, to the byte, and which segment leaves for the next.
//!
//! In: limits, the segments there are, and how full the file system is. Out: room for another segment, made by
//! removing the oldest. Oldest is what was written first, by the sequence in the name and not by time: a clock
//! that stepped back, or a replay of an old capture, cannot make the ring remove what has just arrived. Segments
//! that are being written count with all the space they may come to use, so the budget holds at every moment;
//! they are never removed.
//!
//! Three things remove a segment, each with its own word in the ledger: the budget, age, and a disk that others
//! fill. The last has two steps: while less than the reserve is free, the ring shrinks, but not below what its
//! smallest budget would be; when the system refuses space altogether, it gives way further.
//! Deliberately absent: any clock. Age is measured against the time that the caller's frames have reached.

use super::cipher::RingKey;
use super::custody::Custody;
use super::format::SegmentName;
use super::gaps::RecordKind;
use super::index::Totals;
use super::index::sealed::sealed_totals;
use super::reader::SegmentFiles;
use nix::sys::statvfs::statvfs;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_common::time::Timestamp;

/// File systems give space in blocks of this size, in bytes.
const FILE_BLOCK_BYTES: u64 = 4096;
/// The reserve is at most this part of the file system, so that a small one can hold a ring too.
const RESERVE_SHARE: u64 = 20;
/// The disk counts as having room again when this part of the wanted space is free beyond it, so that the
/// state does not change with every segment.
const ROOM_AGAIN_SHARE: u64 = 8;
/// A segment spans at most this part of the age limit.
const AGE_STEPS: u32 = 16;

/// What bounds the ring on disk. May change while it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Space for segments and indexes.
    pub(super) budget_bytes: u64,
    /// Space beside it, for the ledger and the chain of custody.
    pub(super) shares_bytes: u64,
    /// Size of the next segment.
    pub(super) segment_bytes: u64,
    /// Most bytes of its index.
    pub(super) index_bytes: u64,
    /// Smallest segment that takes any block.
    pub(super) segment_bytes_min: u64,
    /// What the ring keeps although the reserve is not free: two segments per lane.
    pub(super) kept_bytes_min: u64,
    /// Segments whose newest frame is older leave.
    pub(super) age_max: Option<Duration>,
    /// What shall stay free on the file system.
    pub(super) disk_free_min_bytes: u64,
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// Bytes in all.
    pub(super) total_bytes: u64,
    /// Bytes that this process may still take.
    pub(super) free_bytes: u64,
}

impl Disk {
    /// Asks the system.
    pub(super) fn of(directory: &Path) -> io::Result<Disk> {
        let stat = statvfs(directory).map_err(io::Error::from)?;
        let unit = stat.fragment_size();
        // The counts have the width of the platform.
        #[allow(clippy::useless_conversion)]
        let (blocks, available) = (u64::from(stat.blocks()), u64::from(stat.blocks_available()));
        Ok(Disk { total_bytes: blocks.saturating_mul(unit), free_bytes: available.saturating_mul(unit) })
    }
}

#[derive(Clone, Debug)]
struct Held {
    name: SegmentName,
    bytes: u64,
    writing: bool,
    /// Time of the newest frame; none while it is being written, or when the index cannot say.
    last_time: Option<Timestamp>,
}

/// A segment that retention removes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removed {
    pub(super) name: SegmentName,
    /// Which of the kinds of expiry.
    pub(super) why: RecordKind,
    /// What it holds; none when its index cannot say.
    pub(super) totals: Option<Totals>,
}

/// Is told of each segment before it goes, so that neither a reader nor a crash finds frames gone that the ledger does
/// not know of.
pub(super) type Tell<'a> = &'a mut dyn FnMut(Removed);

/// The ring's account of its disk space.
#[derive(Debug)]
pub(super) struct Retention {
    directory: PathBuf,
    key: Option<RingKey>,
    limits: Limits,
    /// By sequence, so that the first is the oldest.
    held: BTreeMap<u64, Held>,
    total: u64,
    next_sequence: u64,
    disk_short: bool,
    /// Present when custody is kept: told before a segment goes, so that no hole of the ring's own making is
    /// without a signature.
    pub(super) custody: Option<Custody>,
}

impl Retention {
    /// An account within `limits`.
    pub(super) fn new(directory: &Path, key: Option<RingKey>, limits: Limits) -> Retention {
        Retention {
            directory: directory.to_owned(),
            key,
            limits,
            held: BTreeMap::new(),
            total: 0,
            next_sequence: 1,
            disk_short: false,
            custody: None,
        }
    }

    /// What bounds the ring now.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// New bounds; what no longer fits leaves with the next call that makes room.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes a segment into account that an earlier run left.
    ///
    /// One whose index cannot be read after recovery is of a later version: it leaves by its turn, not by age.
    pub(super) fn adopt(&mut self, files: &SegmentFiles) -> io::Result<()> {
        let bytes = size_on_disk(&files.segment)? + size_on_disk(&files.index)?;
        let last_time = sealed_totals(&files.index, self.key.as_ref())?.map(|totals| totals.last_time);
        self.insert(Held { name: files.name, bytes, writing: false, last_time });
        Ok(())
    }

    /// Sequences up to and with this one are taken: a name never stands for two segments.
    pub(super) fn pass_sequence(&mut self, sequence: u64) {
        self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
    }

    /// The sequence of the segment that comes next.
    pub(super) fn take_sequence(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.saturating_add(1);
        sequence
    }

    /// Removes the oldest segments until `needed` more bytes fit.
    pub(super) fn make_room(&mut self, needed: u64, tell: Tell<'_>) -> io::Result<()> {
        while self.total.saturating_add(needed) > self.limits.budget_bytes {
            let Some((name, _)) = self.oldest() else {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    "the ring's budget holds no further segment",
                ));
            };
            self.remove(name, RecordKind::Expired, tell)?;
        }
        Ok(())
    }

    /// Removes the segments whose newest frame is older than the limit allows at `now`.
    pub(super) fn expire(&mut self, now: Timestamp, tell: Tell<'_>) -> io::Result<()> {
        let Some(age_max) = self.limits.age_max else { return Ok(()) };
        let oldest_kept = now.minus(age_max);
        let too_old = |held: &&Held| !held.writing && held.last_time.is_some_and(|time| time < oldest_kept);
        let names: Vec<SegmentName> = self.held.values().filter(too_old).map(|held| held.name).collect();
        for name in names {
            self.remove(name, RecordKind::ExpiredByAge, tell)?;
        }
        Ok(())
    }

    /// How long frames may go into one segment, so that none stays much longer than the age limit.
    pub(super) fn span_max(&self) -> Option<Duration> {
        self.limits.age_max.map(|age| age / AGE_STEPS)
    }

    /// Removes the oldest segments until `needed` more bytes leave the reserve free, or the ring is at its smallest.
    ///
    /// What a removed segment frees is reckoned and not asked for again: while a reader holds it open, the
    /// system does not count it as free, and asking would cost one segment after the other.
    pub(super) fn keep_free(&mut self, needed: u64, disk: Disk, tell: Tell<'_>) -> io::Result<()> {
        let reserve = self.limits.disk_free_min_bytes.min(disk.total_bytes / RESERVE_SHARE);
        let wanted = reserve.saturating_add(needed);
        if disk.free_bytes >= wanted {
            let again = wanted.saturating_add(wanted / ROOM_AGAIN_SHARE);
            self.disk_short &= wanted == 0 || disk.free_bytes < again;
            return Ok(());
        }
        if reserve == 0 {
            return Ok(());
        }
        self.disk_short = true;
        let mut free = disk.free_bytes;
        while free < wanted
            && let Some((name, bytes)) = self.oldest()
            && (self.total + needed).saturating_sub(bytes) >= self.limits.kept_bytes_min
        {
            self.remove(name, RecordKind::ExpiredByDisk, tell)?;
            free += bytes;
        }
        Ok(())
    }

    /// The system refused space: removes the oldest segments that make up for it. False: there is none.
    pub(super) fn give_way(&mut self, needed: u64, tell: Tell<'_>) -> io::Result<bool> {
        self.disk_short = true;
        let mut freed = 0;
        while freed < needed
            && let Some((name, bytes)) = self.oldest()
        {
            self.remove(name, RecordKind::ExpiredByDisk, tell)?;
            freed += bytes;
        }
        Ok(freed > 0)
    }

    /// Whether others fill the disk, and the ring is smaller for it.
    pub(super) fn is_disk_short(&self) -> bool {
        self.disk_short
    }

    /// Reserves all the space a new segment may come to use.
    pub(super) fn begin(&mut self, name: SegmentName, bytes_max: u64) {
        self.insert(Held { name, bytes: bytes_max, writing: true, last_time: None });
    }

    /// The segment takes no more: it counts what it uses.
    pub(super) fn finish(
        &mut self,
        name: SegmentName,
        segment_bytes: u64,
        index_bytes: u64,
        last_time: Timestamp,
    ) {
        let bytes = round_up(segment_bytes) + round_up(index_bytes);
        self.insert(Held { name, bytes, writing: false, last_time: Some(last_time) });
    }

    /// Bytes in use or reserved.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The segment that leaves next, and its bytes.
    fn oldest(&self) -> Option<(SegmentName, u64)> {
        self.held.values().find(|held| !held.writing).map(|held| (held.name, held.bytes))
    }

    fn insert(&mut self, held: Held) {
        self.total += held.bytes;
        self.pass_sequence(held.name.sequence);
        if let Some(before) = self.held.insert(held.name.sequence, held) {
            self.total -= before.bytes;
        }
    }

    fn remove(&mut self, name: SegmentName, why: RecordKind, tell: Tell<'_>) -> io::Result<()> {
        if let Some(custody) = &mut self.custody {
            custody.expire(name);
        }
        let (segment, index) =
            (self.directory.join(name.segment_file()), self.directory.join(name.index_file()));
        let totals = sealed_totals(&index, self.key.as_ref()).unwrap_or(None);
        tell(Removed { name, why, totals });
        // The segment first: an index without its segment is removed at the next start, and holds nothing.
        for path in [segment, index] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if let Some(held) = self.held.remove(&name.sequence) {
            self.total -= held.bytes;
        }
        Ok(())
    }
}

/// Whether an error says that the disk, or what this user may take of it, is used up.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What a file takes on disk; nothing when it is not there.
pub(super) fn size_on_disk(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(meta) => Ok(round_up(meta.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// What a file of this length takes on disk.
pub(super) fn round_up(bytes: u64) -> u64 {
    bytes.div_ceil(FILE_BLOCK_BYTES) * FILE_BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::format::BlockHeader;
    use super::super::index::journal::IndexWriter;
    use super::super::summary::Summarizer;
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;
    /// What a segment of 8192 bytes takes with its index.
    const ONE: u64 = 8192 + 20_480;

    fn name(sequence: u64) -> SegmentName {
        // Later segments carry earlier times, as after a clock step.
        SegmentName { sequence, lane: 0, first_time: Timestamp(1000 - sequence) }
    }

    /// No age limit and no reserve; a ring of two segments less a byte stays although the disk is short.
    fn limits(budget_bytes: u64) -> Limits {
        Limits {
            budget_bytes,
            shares_bytes: 0,
            segment_bytes: 8192,
            index_bytes: 4096,
            segment_bytes_min: 4096,
            kept_bytes_min: 2 * ONE - 1,
            age_max: None,
            disk_free_min_bytes: 0,
        }
    }

    /// A sealed segment whose newest frame has this time.
    fn sealed(directory: &Path, sequence: u64, size: u64, last_time: u64) -> SegmentFiles {
        let name = name(sequence);
        let (segment, index) = (directory.join(name.segment_file()), directory.join(name.index_file()));
        fs::write(&segment, vec![0; size as usize]).unwrap();
        let mut writer = IndexWriter::create(&index, name, 1, None).unwrap();
        let (first_time, last_time) = (name.first_time.min(Timestamp(last_time)), Timestamp(last_time));
        let header =
            BlockHeader { frames: 1, segment: sequence, first_time, last_time, ..BlockHeader::default() };
        let mut unknown = Vec::new();
        Summarizer::opaque(&mut unknown);
        writer.append(128, &header, &unknown).unwrap();
        writer.seal().unwrap();
        SegmentFiles { name, segment, index, key: None }
    }

    fn ring(directory: &Path, limits: Limits, sizes: &[u64]) -> Retention {
        let mut retention = Retention::new(directory, None, limits);
        for (at, size) in sizes.iter().enumerate() {
            let sequence = at as u64 + 1;
            retention.adopt(&sealed(directory, sequence, *size, sequence * HOUR)).unwrap();
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
        let mut retention = ring(directory.path(), limits(3 * ONE + 4096), &[8192, 8192, 8192]);
        assert_eq!(retention.total(), 3 * ONE);
        let mut removed = Vec::new();
        let mut tell = |gone: Removed| removed.push((gone, left(directory.path())));
        retention.make_room(4096, &mut tell).unwrap();
        retention.make_room(4097, &mut tell).unwrap();
        assert_eq!((removed.len(), left(directory.path())), (1, vec![2, 3]));
        let (gone, there) = &removed[0];
        // Told while it was still there.
        assert_eq!(
            (gone.why, gone.totals.unwrap().frames, &there[..]),
            (RecordKind::Expired, 1, &[1, 2, 3][..])
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_lower_budget_removes_until_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        let mut retention = ring(directory.path(), limits(10 * ONE), &[8192, 8192, 8192]);
        retention.set_limits(limits(3 * ONE));
        retention.make_room(0, &mut |_| {}).unwrap();
        assert_eq!(left(directory.path()), [1, 2, 3]);
        retention.set_limits(limits(3 * ONE - 1));
        retention.make_room(0, &mut |_| {}).unwrap();
        assert_eq!(left(directory.path()), [2, 3]);
        retention.set_limits(limits(ONE));
        retention.make_room(0, &mut |_| {}).unwrap();
        assert_eq!((retention.total(), left(directory.path())), (ONE, vec![3]));
        assert_eq!(retention.take_sequence(), 4);
        retention.pass_sequence(9);
        assert_eq!(retention.take_sequence(), 10);
    }

    #[test]
    fn a_segment_being_written_stays_and_counts_all_it_may_use() {
        let directory = tempfile::tempdir().unwrap();
        let mut retention = ring(directory.path(), limits(2 * ONE), &[8192]);
        retention.begin(name(2), 16_384);
        assert_eq!(retention.total(), ONE + 16_384);
        let mut removed = Vec::new();
        assert!(retention.make_room(2 * ONE, &mut |gone| removed.push(gone)).is_err());
        assert_eq!((removed.len(), retention.total()), (1, 16_384));
        retention.finish(name(2), 100, 100, Timestamp(5));
        assert_eq!(retention.total(), 8192);
    }

    #[test]
    fn a_segment_leaves_once_its_newest_frame_is_older_than_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let aged = Limits { age_max: Some(Duration::from_nanos(10 * HOUR)), ..limits(1 << 20) };
        let mut retention = ring(directory.path(), aged, &[8192, 8192, 8192]);
        retention.begin(name(4), 8192);
        let mut at = |now: u64| {
            let mut removed = Vec::new();
            retention.expire(Timestamp(now), &mut |gone| removed.push(gone)).unwrap();
            assert!(removed.iter().all(|removed| removed.why == RecordKind::ExpiredByAge));
            left(directory.path())
        };
        assert_eq!(at(11 * HOUR), [1, 2, 3]);
        assert_eq!(at(11 * HOUR + 1), [2, 3]);
        // A clock that steps back removes nothing.
        assert_eq!(at(0), [2, 3]);
        // What is being written stays, whatever the time.
        assert_eq!(at(u64::MAX), [0; 0]);
        assert_eq!(retention.total(), 8192);
    }

    #[test]
    fn segments_leave_by_age_also_out_of_turn_and_never_by_a_time_that_nobody_knows() {
        let directory = tempfile::tempdir().unwrap();
        let aged = Limits { age_max: Some(Duration::from_nanos(HOUR)), ..limits(1 << 20) };
        let mut retention = Retention::new(directory.path(), None, aged);
        retention.adopt(&sealed(directory.path(), 1, 100, 9 * HOUR)).unwrap();
        retention.adopt(&sealed(directory.path(), 2, 100, HOUR)).unwrap();
        let unknown = sealed(directory.path(), 3, 100, HOUR);
        fs::write(&unknown.index, b"of a later version").unwrap();
        retention.adopt(&unknown).unwrap();
        retention.expire(Timestamp(9 * HOUR), &mut |_| {}).unwrap();
        assert_eq!(left(directory.path()), [1, 3]);
    }

    #[test]
    fn the_reserve_is_kept_free_by_the_oldest_down_to_the_smallest_ring() {
        let directory = tempfile::tempdir().unwrap();
        let reserved = Limits { disk_free_min_bytes: 100_000, ..limits(1 << 20) };
        let mut retention = ring(directory.path(), reserved, &[8192; 5]);
        let disk = |free_bytes| Disk { total_bytes: 1 << 40, free_bytes };
        let mut keep = |needed, free| {
            let mut removed = Vec::new();
            retention.keep_free(needed, disk(free), &mut |gone| removed.push(gone)).unwrap();
            assert!(removed.iter().all(|removed| removed.why == RecordKind::ExpiredByDisk));
            (left(directory.path()).len(), retention.is_disk_short())
        };
        let wanted = 100_000 + ONE;
        assert_eq!(keep(ONE, wanted), (5, false));
        assert_eq!(keep(ONE, wanted - 1), (4, true));
        // Short until there is clearly room.
        assert_eq!(keep(ONE, wanted + wanted / 8 - 1), (4, true));
        assert_eq!(keep(ONE, wanted + wanted / 8), (4, false));
        // One leaves for as many bytes as it has.
        assert_eq!(keep(0, 100_000 - ONE), (3, true));
        // Nothing is free at all: what the smallest budget would hold stays, the segment to come included.
        assert_eq!(keep(0, 0), (2, true));
        assert_eq!(keep(ONE, 0), (1, true));
    }

    #[test]
    fn the_reserve_is_at_most_a_twentieth_of_the_disk_and_may_be_none() {
        let directory = tempfile::tempdir().unwrap();
        let reserved = Limits { disk_free_min_bytes: 100_000, ..limits(1 << 20) };
        let mut retention = ring(directory.path(), reserved, &[8192; 5]);
        let small = |free_bytes| Disk { total_bytes: 1_000_000, free_bytes };
        retention.keep_free(0, small(50_000), &mut |_| {}).unwrap();
        assert_eq!(left(directory.path()).len(), 5);
        retention.keep_free(0, small(49_999), &mut |_| {}).unwrap();
        assert_eq!(left(directory.path()).len(), 4);
        retention.set_limits(limits(1 << 20));
        retention.keep_free(8192, small(0), &mut |_| {}).unwrap();
        assert_eq!(left(directory.path()).len(), 4);
    }

    #[test]
    fn a_full_disk_takes_the_oldest_even_below_the_smallest_ring_but_not_what_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut retention = ring(directory.path(), limits(1 << 20), &[8192; 3]);
        retention.begin(name(4), 8192);
        let mut removed = Vec::new();
        assert!(
            retention.give_way(ONE + 1, &mut |gone| removed.push(gone)).unwrap() && retention.is_disk_short()
        );
        assert_eq!((removed.len(), left(directory.path())), (2, vec![3]));
        assert!(retention.give_way(1, &mut |gone| removed.push(gone)).unwrap());
        assert!(!retention.give_way(1, &mut |gone| removed.push(gone)).unwrap());
        assert_eq!((removed.len(), retention.total()), (3, 8192));
    }

    #[test]
    fn the_system_says_how_full_the_disk_is() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::of(directory.path()).unwrap();
        assert!(disk.total_bytes > 0 && disk.free_bytes <= disk.total_bytes, "{disk:?}");
    }
}
