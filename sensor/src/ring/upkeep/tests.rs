//! Retention as a ring does it: age, disks that others fill, limits that change, each also after a restart.

use super::super::config::RingConfig;
use super::super::gaps::{Gaps, LossKind, RecordKind};
use super::super::reader::segments;
use super::super::tests::{Owned, config, noise, read, size_of};
use super::super::{Lane, Ring, RingError, RingMode, check};
use crate::counters::RingCounters;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use weir_common::time::Timestamp;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;

fn append(lane: &mut Lane, frames: &[Owned]) -> RingCounters {
    let mut counters = RingCounters::default();
    for frame in frames {
        lane.append(&frame.frame(), None, None, &mut counters);
    }
    counters
}

/// Frames that hardly compress, one microsecond apart from `time` on.
fn frames(count: usize, time: u64) -> Vec<Owned> {
    let mut frames = noise(count, 1000, time | 7);
    frames.iter_mut().enumerate().for_each(|(at, frame)| frame.time = time + at as u64 * 1000);
    frames
}

/// Writes frames as a run of its own.
fn replay(config: &RingConfig, frames: &[Owned]) {
    let mut ring = Ring::open(config, 1, RingMode::Replay, Timestamp(0)).unwrap();
    append(&mut ring.lane(0).unwrap(), frames);
    ring.close();
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn expired(directory: &Path, kind: RecordKind) -> u64 {
    let gaps = Gaps::read(directory).unwrap();
    gaps.records.iter().filter(|record| record.kind == kind).map(|record| record.frames).sum()
}

fn times(directory: &Path) -> Vec<u64> {
    read(directory, 1).0[0].iter().map(|frame| frame.time).collect()
}

#[test]
fn an_old_capture_keeps_itself_and_its_own_time_ages_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = RingConfig { age_max_hours: 2, ..config(directory.path()) };
    // Long before any clock of today.
    let begin = 1_000_000 * HOUR;
    replay(&config, &frames(600, begin));
    assert_eq!(times(directory.path()).len(), 600);
    // The newest frame of the first run is exactly two hours old, then a nanosecond more.
    let newest = begin + 599 * 1000;
    replay(&config, &frames(10, newest + 2 * HOUR));
    assert_eq!(times(directory.path()).len(), 610);
    replay(&config, &frames(10, newest + 2 * HOUR + 1));
    assert_eq!(times(directory.path()).len(), 20);
    assert_eq!(expired(directory.path(), RecordKind::ExpiredByAge), 600);
    assert_eq!(expired(directory.path(), RecordKind::Expired), 0);
}

#[test]
fn one_frame_with_a_wild_time_ages_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = RingConfig { age_max_hours: 1, ..config(directory.path()) };
    replay(&config, &frames(600, 1000 * HOUR));
    let mut wild = frames(600, 1000 * HOUR + SECOND);
    wild[300].time = 900_000 * HOUR;
    replay(&config, &wild);
    assert_eq!(times(directory.path()).len(), 1200);
}

#[test]
fn a_live_ring_without_traffic_lets_old_frames_go_also_of_the_segment_it_writes() {
    let directory = tempfile::tempdir().unwrap();
    let config = RingConfig { age_max_hours: 16, ..config(directory.path()) };
    let begin = 1000 * HOUR;
    let mut ring = Ring::open(&config, 1, RingMode::Live, Timestamp(begin)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    append(&mut lane, &frames(100, begin));
    // The block is written when it has waited long enough, and its segment is ended after a sixteenth.
    lane.tick(Timestamp(begin + 3 * SECOND));
    wait_until("written", || !times(directory.path()).is_empty());
    let state = || check::list(directory.path(), None).unwrap().segments.first().map(|line| line.state);
    lane.tick(Timestamp(begin + HOUR - SECOND));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(state(), Some(check::SegmentState::Open));
    lane.tick(Timestamp(begin + HOUR + 61 * SECOND));
    wait_until("ended", || state() == Some(check::SegmentState::Sealed));
    lane.tick(Timestamp(begin + 16 * HOUR - SECOND));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(times(directory.path()).len(), 100);
    lane.tick(Timestamp(begin + 16 * HOUR + 60 * SECOND));
    wait_until("gone", || times(directory.path()).is_empty());
    assert_eq!(ring.status().segments_removed_by_age, 1);
    lane.close(Timestamp(begin + 17 * HOUR));
    ring.close();
    assert_eq!(expired(directory.path(), RecordKind::ExpiredByAge), 100);
}

#[test]
fn what_grew_too_old_while_nothing_ran_leaves_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = RingConfig { age_max_hours: 24, ..config(directory.path()) };
    replay(&config, &frames(600, 1000 * HOUR));
    drop(Ring::open(&config, 1, RingMode::Live, Timestamp(1024 * HOUR)).unwrap());
    assert_eq!(times(directory.path()).len(), 600);
    drop(Ring::open(&config, 1, RingMode::Live, Timestamp(1025 * HOUR)).unwrap());
    assert!(segments(directory.path(), None).unwrap().is_empty());
    assert!(check::check(directory.path(), None, &mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_budget_lowered_while_writing_holds_at_once_and_a_raised_one_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let wide = RingConfig { budget_mib: 40, segment_mib: 8, ..config(directory.path()) };
    let mut ring = Ring::open(&wide, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let all = noise(90_000, 1000, 3);
    append(&mut lane, &all[..30_000]);
    wait_until("written", || ring.status().frames > 29_000);
    assert!(size_of(directory.path()) > 28 << 20);
    let narrow = RingConfig { budget_mib: 8, ..wide.clone() };
    ring.set_limits(&narrow).unwrap();
    // What is closed leaves before this returns; an open segment larger than that is ended by its thread.
    wait_until("shrunk", || size_of(directory.path()) <= 8 << 20);
    for part in all[30_000..60_000].chunks(300) {
        append(&mut lane, part);
        assert!(size_of(directory.path()) <= 8 << 20);
    }
    ring.set_limits(&RingConfig { budget_mib: 24, ..wide.clone() }).unwrap();
    append(&mut lane, &all[60_000..]);
    lane.close(Timestamp(0));
    let status = ring.close();
    assert_eq!((status.frames, status.frames_failed, status.budget_bytes), (90_000, 0, 24 << 20));
    let kept = &read(directory.path(), 1).0[0];
    assert!(all.ends_with(kept) && kept.len() > 12_000, "{}", kept.len());
    assert_eq!(expired(directory.path(), RecordKind::Expired) + kept.len() as u64, 90_000);
}

#[test]
fn a_budget_that_is_too_small_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let wide = config(directory.path());
    let mut ring = Ring::open(&wide, 2, RingMode::Replay, Timestamp(0)).unwrap();
    let before = ring.status();
    let error = ring.set_limits(&RingConfig { budget_mib: 3, age_max_hours: 1, ..wide }).unwrap_err();
    assert!(matches!(error, RingError::Budget { found: 3, .. }), "{error}");
    assert_eq!(ring.status(), before);
}

/// A small file system of its own, taken away with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where this process may not mount.
    fn of(mebibytes: u32) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"]).arg(directory.path());
        match mount.stderr(std::process::Stdio::null()).status() {
            Ok(status) if status.success() => Some(SmallDisk(directory)),
            _ => {
                eprintln!("skipped: mounting a small file system needs root");
                None
            }
        }
    }

    /// Takes space away from the ring, as far as there is any.
    fn fill(&self, mebibytes: usize) {
        let _ = fs::write(self.0.path().join("other"), vec![1; mebibytes << 20]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_others_fill_takes_the_ring_s_oldest_and_no_frame_is_lost() {
    let Some(disk) = SmallDisk::of(64) else { return };
    let directory = disk.0.path().join("ring");
    // A reserve of a twentieth: 3.2 MiB.
    let config = RingConfig { budget_mib: 48, ..config(&directory) };
    let mut ring = Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let all = noise(70_000, 1000, 5);
    append(&mut lane, &all[..40_000]);
    wait_until("written", || ring.status().frames > 39_000);
    assert_eq!((ring.status().disk_short, ring.status().segments_removed_by_disk), (false, 0));
    // From here on the ring would exceed the disk, though not its budget.
    disk.fill(22);
    append(&mut lane, &all[40_000..60_000]);
    wait_until("written", || ring.status().frames > 59_000);
    let status = ring.status();
    assert!(status.disk_short && status.segments_removed_by_disk > 3, "{status:?}");
    assert!(status.used_bytes < 40 << 20, "{status:?}");
    // The others go, and the ring may grow to its budget again.
    fs::remove_file(disk.0.path().join("other")).unwrap();
    append(&mut lane, &all[60_000..]);
    lane.close(Timestamp(0));
    let status = ring.close();
    assert_eq!((status.frames, status.frames_failed, status.disk_short), (70_000, 0, false));
    let kept = &read(&directory, 1).0[0];
    assert!(all.ends_with(kept));
    let (by_disk, by_budget) =
        (expired(&directory, RecordKind::ExpiredByDisk), expired(&directory, RecordKind::Expired));
    assert_eq!(by_disk + by_budget + kept.len() as u64, 70_000);
    assert!(by_disk > 4000, "{by_disk}");
}

#[test]
fn a_small_disk_is_filled_with_small_segments_whatever_the_budget_is() {
    let Some(disk) = SmallDisk::of(32) else { return };
    let directory = disk.0.path().join("ring");
    let config = RingConfig { budget_mib: 10 << 10, segment_mib: 0, ..config(&directory) };
    let mut ring = Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let all = noise(60_000, 1000, 7);
    append(&mut lane, &all);
    lane.close(Timestamp(0));
    let status = ring.close();
    assert_eq!((status.frames, status.frames_failed), (60_000, 0), "{status:?}");
    // All of the disk but the reserve of a twentieth and two segments of an eighth each.
    let kept = &read(&directory, 1).0[0];
    assert!(all.ends_with(kept) && kept.len() > 20_000, "{}", kept.len());
}

#[test]
fn on_a_disk_that_is_full_the_ring_goes_on_in_what_it_has() {
    let Some(disk) = SmallDisk::of(32) else { return };
    let directory = disk.0.path().join("ring");
    let config = RingConfig { budget_mib: 24, disk_free_min_mib: 0, ..config(&directory) };
    let mut ring = Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let all = noise(40_000, 1000, 6);
    append(&mut lane, &all[..8_000]);
    // All but the last block, which is not full: what is written later would take room that counts as free here.
    wait_until("written", || ring.status().frames > 7_700);
    // All the rest of the disk but a little less than a segment.
    let rest = (32 << 20) - size_of(disk.0.path()) as usize - size_of(&directory) as usize;
    disk.fill((rest >> 20) - 1);
    append(&mut lane, &all[8_000..]);
    lane.close(Timestamp(0));
    let status = ring.close();
    assert_eq!((status.frames, status.frames_failed), (40_000, 0), "{status:?}");
    // Whether the disk is short at the very end depends on what the last segment left.
    assert!(status.segments_removed_by_disk > 5, "{status:?}");
    let kept = &read(&directory, 1).0[0];
    assert!(all.ends_with(kept) && kept.len() > 2000, "{}", kept.len());
    assert!(check::check(&directory, None, &mut |_, _| {}).unwrap().is_sound());
}

#[test]
fn a_ring_that_finds_a_little_space_makes_smaller_segments() {
    let Some(disk) = SmallDisk::of(32) else { return };
    let directory = disk.0.path().join("ring");
    let config = RingConfig { budget_mib: 24, ..config(&directory) };
    let mut ring = Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap();
    disk.fill(31);
    let mut lane = ring.lane(0).unwrap();
    let all = frames(5000, 100 * SECOND);
    append(&mut lane, &all);
    lane.close(Timestamp(0));
    let status = ring.close();
    assert_eq!((status.frames, status.frames_failed), (5000, 0), "{status:?}");
    let kept = times(&directory);
    assert!(!kept.is_empty() && kept.last() == all.last().map(|frame| &frame.time));
}

#[test]
fn a_ring_that_finds_no_space_says_what_it_lost_and_recovers() {
    let Some(disk) = SmallDisk::of(32) else { return };
    let directory = disk.0.path().join("ring");
    let config = RingConfig { budget_mib: 24, ..config(&directory) };
    let mut ring = Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap();
    disk.fill(32);
    let mut lane = ring.lane(0).unwrap();
    append(&mut lane, &frames(3000, 100 * SECOND));
    wait_until("failing", || ring.status().frames_failed > 2000);
    assert!(ring.status().failing && ring.status().disk_short, "{:?}", ring.status());
    fs::remove_file(disk.0.path().join("other")).unwrap();
    append(&mut lane, &frames(3000, 200 * SECOND));
    lane.close(Timestamp(0));
    let status = ring.close();
    // The block that was being filled came after the file had gone.
    assert!(!status.failing && status.frames_failed <= 3000 && status.frames >= 3000, "{status:?}");
    assert_eq!(status.frames + status.frames_failed, 6000);
    let gaps = Gaps::read(&directory).unwrap();
    let lost = gaps.records.iter().filter(|r| r.kind == RecordKind::Loss(LossKind::Write));
    assert_eq!(lost.map(|record| record.frames).sum::<u64>(), status.frames_failed);
}
