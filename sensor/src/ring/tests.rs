//! The ring as a whole: what was written is what is read, whatever happens in between.

use super::config::RingConfig;
use super::gaps::{Gaps, LossKind, RecordKind};
use super::reader::{BlockFrames, BlockReader, SegmentContents, segments};
use super::*;
use crate::capture::{Frame, LinkType};
use crate::counters::RingCounters;
use proptest::prelude::*;
use std::fs;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) time: u64,
    interface: u32,
    link: u16,
    wire_len: u32,
    pub(super) data: Vec<u8>,
}

impl Owned {
    pub(super) fn new(time: u64, data: Vec<u8>) -> Owned {
        Owned { time, interface: 0, link: 1, wire_len: data.len() as u32, data }
    }

    pub(super) fn frame(&self) -> Frame<'_> {
        Frame {
            time: Timestamp(self.time),
            link: LinkType(self.link),
            interface: self.interface,
            wire_len: self.wire_len,
            data: &self.data,
        }
    }

    fn of(frame: &Frame<'_>) -> Owned {
        Owned {
            time: frame.time.0,
            interface: frame.interface,
            link: frame.link.0,
            wire_len: frame.wire_len,
            data: frame.data.to_vec(),
        }
    }
}

pub(super) fn config(directory: &Path) -> RingConfig {
    let directory = directory.to_str().unwrap().to_owned();
    RingConfig { directory, budget_mib: 64, segment_mib: 2, block_kib: 256, ..RingConfig::default() }
}

pub(super) fn write(directory: &Path, lanes: &[Vec<Owned>]) -> RingStatus {
    let mut ring =
        Ring::open(&config(directory), lanes.len() as u16, RingMode::Replay, Timestamp(0)).unwrap();
    for (index, frames) in lanes.iter().enumerate() {
        let mut lane = ring.lane(index as u16).unwrap();
        let mut counters = RingCounters::default();
        frames.iter().for_each(|frame| {
            lane.append(&frame.frame(), None, None, &mut counters);
        });
        assert_eq!(counters.frames, frames.len() as u64);
        lane.close(Timestamp(0));
    }
    ring.close()
}

/// Every frame that can be read, by lane, and how many blocks and ranges are damaged.
pub(super) fn read(directory: &Path, lanes: usize) -> (Vec<Vec<Owned>>, usize) {
    let (mut out, mut damaged) = (vec![Vec::new(); lanes], 0);
    let (mut reader, mut frames) = (BlockReader::default(), BlockFrames::default());
    for files in segments(directory, None).unwrap() {
        let contents = SegmentContents::read(&files).unwrap();
        damaged += contents.damaged.len();
        for block in &contents.blocks {
            match reader.read(&files, block.offset, &block.header, &mut frames) {
                Ok(()) => {
                    frames.each(&mut |_, frame| out[usize::from(files.name.lane)].push(Owned::of(frame)));
                }
                Err(_) => damaged += 1,
            }
        }
    }
    (out, damaged)
}

/// Frames that hardly compress, so that sizes on disk follow from their number.
pub(super) fn noise(count: usize, bytes: usize, seed: u64) -> Vec<Owned> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count)
        .map(|at| Owned::new(1_000_000_000 + at as u64 * 1000, (0..bytes).map(|_| next()).collect()))
        .collect()
}

fn owned_frame() -> impl Strategy<Value = Owned> {
    let size = prop_oneof![4 => 0usize..200, 2 => 200usize..2000, 1 => 2000usize..=65_536];
    (any::<u64>(), 0..5u32, any::<u16>(), any::<Option<u32>>(), size, any::<u8>()).prop_map(
        |(time, interface, link, wire, size, byte)| {
            let data: Vec<u8> = (0..size).map(|at| byte.wrapping_mul(at as u8)).collect();
            Owned { time, interface, link, wire_len: wire.unwrap_or(size as u32), data }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_was_written_is_what_is_read(lanes in proptest::collection::vec(proptest::collection::vec(owned_frame(), 0..120), 1..4)) {
        let directory = tempfile::tempdir().unwrap();
        let status = write(directory.path(), &lanes);
        prop_assert_eq!(status.frames, lanes.iter().map(|lane| lane.len() as u64).sum::<u64>());
        let (mut read, damaged) = read(directory.path(), lanes.len());
        prop_assert_eq!(damaged, 0);
        // A block with frames out of order gives them in order of time.
        let mut lanes = lanes;
        lanes.iter_mut().chain(&mut read).for_each(|lane| lane.sort_by(|a, b| (a.time, &a.data, a.wire_len, a.link, a.interface).cmp(&(b.time, &b.data, b.wire_len, b.link, b.interface))));
        prop_assert_eq!(read, lanes);
    }
}

#[test]
fn blocks_that_could_not_be_written_are_not_named_and_their_frames_count_as_missed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let mut ring = Ring::open(&config(&path), 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    // Without its directory nothing can be written.
    fs::remove_dir_all(&path).unwrap();
    let (mut first, mut all) = (Places::default(), Places::default());
    let mut counters = RingCounters::default();
    for frame in noise(2000, 1000, 8) {
        let number = lane.append(&frame.frame(), None, None, &mut counters).unwrap();
        all.add(number);
        if number == 0 {
            first.add(number);
        }
    }
    // A replay's lane has four blocks: when one begins, the fourth before it is back and its end is known.
    let evidence = lane.evidence(&all, Timestamp(0), 2000);
    assert!(lane.newest() >= 7 && evidence.extents.ranges()[0].first >= lane.newest() - 3, "{evidence:?}");
    let evidence = lane.evidence(&first, Timestamp(0), 262);
    assert_eq!(
        (evidence.extents.to_string().as_str(), evidence.frames_kept, evidence.frames_missed),
        ("1.0:", 0, 262)
    );
    lane.close(Timestamp(0));
    assert_eq!(ring.close().frames_failed, 2000);
}

#[test]
fn frames_in_order_stay_exactly_in_order_across_blocks_and_segments() {
    let directory = tempfile::tempdir().unwrap();
    let frames = noise(6000, 1000, 1);
    let status = write(directory.path(), std::slice::from_ref(&frames));
    assert!(status.blocks > 20 && segments(directory.path(), None).unwrap().len() >= 3, "{status:?}");
    assert_eq!(read(directory.path(), 1), (vec![frames], 0));
}

#[test]
fn a_segment_cut_at_any_byte_gives_only_whole_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let frames = noise(900, 1000, 2);
    write(directory.path(), std::slice::from_ref(&frames));
    let files = segments(directory.path(), None).unwrap().remove(0);
    let whole = fs::read(&files.segment).unwrap();
    let blocks = SegmentContents::read(&files).unwrap().blocks;
    let ends: Vec<u64> = blocks.iter().map(|block| block.header.next_offset(block.offset)).collect();
    // Without its index a segment is all there is after a crash.
    fs::remove_file(&files.index).unwrap();
    let cuts = (0..400).chain((400..whole.len()).step_by(4099)).chain(ends.iter().flat_map(|end| {
        let end = *end as usize;
        [end.saturating_sub(130), end.saturating_sub(64), end.saturating_sub(1), end.min(whole.len())]
    }));
    for cut in cuts {
        fs::write(&files.segment, &whole[..cut]).unwrap();
        let (read, _) = read(directory.path(), 1);
        assert!(frames.starts_with(&read[0]), "{cut}");
        let whole_blocks = blocks.iter().zip(&ends).filter(|(_, end)| **end <= cut as u64);
        let at_least: u32 = whole_blocks.map(|(block, _)| block.header.frames).sum();
        assert!(read[0].len() >= at_least as usize, "{cut}: {}", read[0].len());
    }
}

#[test]
fn after_a_cut_at_any_place_the_ring_goes_on() {
    let frames = noise(900, 1000, 3);
    for keep in [0, 1, 100, 128, 200, 256, 5000, 300_000, 600_000] {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), std::slice::from_ref(&frames));
        let files = segments(directory.path(), None).unwrap().remove(0);
        let whole = fs::read(&files.segment).unwrap();
        // As pre-allocated: zeros behind what was written.
        let mut cut = whole[..keep.min(whole.len())].to_vec();
        cut.resize(2 << 20, 0);
        fs::write(&files.segment, cut).unwrap();
        let index = fs::read(&files.index).unwrap();
        fs::write(&files.index, &index[..keep.min(200).min(index.len())]).unwrap();
        fs::write(directory.path().join("rest.seg.tmp"), b"x").unwrap();
        let before = read(directory.path(), 1).0.remove(0);
        let more = noise(10, 100, 4);
        write(directory.path(), std::slice::from_ref(&more));
        let after = read(directory.path(), 1).0.remove(0);
        assert_eq!(after, [before, more].concat(), "{keep}");
        assert!(!directory.path().join("rest.seg.tmp").exists());
        for files in segments(directory.path(), None).unwrap() {
            assert!(SegmentContents::read(&files).unwrap().sealed.is_some(), "{keep}");
        }
    }
}

#[test]
fn a_flipped_byte_costs_its_block_alone() {
    let directory = tempfile::tempdir().unwrap();
    let frames = noise(900, 1000, 5);
    write(directory.path(), std::slice::from_ref(&frames));
    let files = segments(directory.path(), None).unwrap().remove(0);
    let whole = fs::read(&files.segment).unwrap();
    let index = fs::read(&files.index).unwrap();
    let blocks = SegmentContents::read(&files).unwrap().blocks;
    for with_index in [true, false] {
        fs::write(&files.index, &index).unwrap();
        if !with_index {
            fs::remove_file(&files.index).unwrap();
        }
        let places = (0..700).step_by(13).chain((700..whole.len()).step_by(9973));
        for at in places {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            fs::write(&files.segment, bytes).unwrap();
            let (read, damaged) = read(directory.path(), 1);
            let hit = blocks
                .iter()
                .find(|b| (b.offset..b.offset + 128 + b.header.stored_bytes()).contains(&(at as u64)));
            let lost = hit.map_or(0, |block| block.header.frames as usize);
            assert_eq!((read[0].len(), damaged), (900 - lost, usize::from(lost > 0)), "{at} {with_index}");
        }
    }
}

#[test]
fn the_budget_holds_exactly_and_the_oldest_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.budget_mib = 10;
    let frames = noise(30_000, 1000, 6);
    let mut ring = Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let mut counters = RingCounters::default();
    for (at, frame) in frames.iter().enumerate() {
        lane.append(&frame.frame(), None, None, &mut counters);
        if at % 500 == 0 {
            assert!(size_of(directory.path()) <= 10 << 20);
        }
    }
    lane.close(Timestamp(0));
    let status = ring.close();
    assert!(status.segments_removed > 5, "{status:?}");
    let (kept, _) = read(directory.path(), 1);
    assert!(frames.ends_with(&kept[0]) && kept[0].len() > 4000, "{}", kept[0].len());
    let gaps = Gaps::read(directory.path()).unwrap();
    let expired: u64 = gaps.records.iter().filter(|r| r.kind == RecordKind::Expired).map(|r| r.frames).sum();
    assert_eq!(expired + kept[0].len() as u64, 30_000);
    // Lowered while nothing runs: holds from the next start on, before anything is written.
    config.budget_mib = 6;
    let ring = Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap();
    assert!(size_of(directory.path()) <= 6 << 20);
    drop(ring);
    let (lower, _) = read(directory.path(), 1);
    assert!(frames.ends_with(&lower[0]) && lower[0].len() < kept[0].len());
}

pub(super) fn size_of(directory: &Path) -> u64 {
    fs::read_dir(directory)
        .unwrap()
        .flatten()
        .map(|entry| entry.metadata().map_or(0, |meta| meta.len()))
        .sum()
}

#[test]
fn runs_losses_and_their_ends_are_in_the_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let mut ring = Ring::open(&config(directory.path()), 1, RingMode::Live, Timestamp(100)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let mut counters = RingCounters::default();
    lane.append(&Owned::new(200, vec![1; 60]).frame(), None, None, &mut counters);
    lane.note_loss(LossKind::Kernel, 7, Timestamp(150), Timestamp(250));
    lane.append(&Owned::new(260, vec![0; 300 << 10]).frame(), None, None, &mut counters);
    assert_eq!((counters.frames, counters.frames_dropped), (1, 1));
    lane.close(Timestamp(300));
    ring.close();
    let gaps = Gaps::read(directory.path()).unwrap();
    let mut lines: Vec<_> = gaps.records.iter().map(|r| (r.kind, r.from.0, r.to.0, r.frames)).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            (RecordKind::Loss(LossKind::Kernel), 150, 250, 7),
            (RecordKind::Loss(LossKind::TooLarge), 260, 260, 1),
            (RecordKind::RunStart, 100, 100, 0),
            (RecordKind::RunEnd, 300, 300, 0),
        ]
    );
    assert!(gaps.open_runs().is_empty());
}

#[test]
fn a_block_that_waits_is_written_after_the_flush_time_and_can_be_read_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut ring = Ring::open(&config(directory.path()), 1, RingMode::Live, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let frame = Owned::new(1_000, vec![1; 60]);
    lane.append(&frame.frame(), None, None, &mut RingCounters::default());
    lane.tick(Timestamp(1_999_000_000));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(segments(directory.path(), None).unwrap().len(), 0);
    lane.tick(Timestamp(2_000_001_000));
    let started = std::time::Instant::now();
    while read(directory.path(), 1).0[0].is_empty() && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(read(directory.path(), 1), (vec![vec![frame]], 0));
    assert!(reader::is_being_written(directory.path()));
}

#[test]
fn a_second_writer_is_refused_and_bad_sizes_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let good = config(directory.path());
    let ring = Ring::open(&good, 1, RingMode::Live, Timestamp(0)).unwrap();
    assert!(matches!(Ring::open(&good, 1, RingMode::Live, Timestamp(0)), Err(RingError::Locked { .. })));
    drop(ring);
    let error = |config: RingConfig, lanes| {
        Ring::open(&config, lanes, RingMode::Live, Timestamp(0)).unwrap_err().to_string()
    };
    assert_eq!(
        error(RingConfig { block_kib: 255, ..good.clone() }, 1),
        "ring.block_kib is 255, expected 256 to 16384"
    );
    let small = error(RingConfig { budget_mib: 3, ..good.clone() }, 4);
    assert!(small.starts_with("ring.budget_mib is 3; 4 workers"), "{small}");
}

#[test]
fn a_disk_that_fails_is_counted_and_recovers_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut ring = Ring::open(&config(directory.path()), 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let mut counters = RingCounters::default();
    let second = 1_000_000_000u64;
    let mut append = |from: u64, count: usize| {
        for (at, mut frame) in noise(count, 1000, from).into_iter().enumerate() {
            frame.time = from * second + at as u64;
            lane.append(&frame.frame(), None, None, &mut counters);
        }
    };
    // A directory in the way of the next segment's name is a disk that fails, for root too.
    let blocked = directory.path().join("000000000001-00000-10000000000.seg.tmp");
    fs::create_dir(&blocked).unwrap();
    append(10, 600);
    let started = std::time::Instant::now();
    while ring.status().frames_failed < 200 && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(ring.status().failing);
    fs::remove_dir(&blocked).unwrap();
    append(20, 2000);
    lane.close(Timestamp(0));
    let status = ring.close();
    assert!(!status.failing && status.frames_failed > 0 && status.frames > 1500, "{status:?}");
    assert_eq!(status.frames + status.frames_failed, 2600);
    let gaps = Gaps::read(directory.path()).unwrap();
    let lost: u64 =
        gaps.records.iter().filter(|r| r.kind == RecordKind::Loss(LossKind::Write)).map(|r| r.frames).sum();
    assert_eq!(lost, status.frames_failed);
}

#[test]
fn listing_and_checking_tell_what_is_there_and_what_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[noise(900, 1000, 7), noise(900, 1000, 8)]);
    let listing = check::list(directory.path(), None).unwrap();
    assert_eq!((listing.segments.len(), listing.frames, listing.frame_bytes), (2, 1800, 1_800_000));
    assert!(listing.to_string().contains("2 segments, 1800 frames, 1.8 MB captured"));
    let mut seen = 0;
    let sound = check::check(directory.path(), None, &mut |done, _| seen = done).unwrap();
    assert_eq!((sound.is_sound(), sound.frames_sound, sound.segments, seen), (true, 1800, 2, 2));
    let files = segments(directory.path(), None).unwrap();
    let block = SegmentContents::read(&files[0]).unwrap().blocks[1].clone();
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip(&files[0].segment, block.offset as usize + 500);
    flip(&files[1].index, 100);
    let check = check::check(directory.path(), None, &mut |_, _| {}).unwrap();
    assert_eq!((check.damages, check.frames_sound), (2, 1800 - u64::from(block.header.frames)));
    let damage = &check.damaged[0];
    assert_eq!((damage.offset, damage.frames), (Some(block.offset), Some(block.header.frames.into())));
    assert!(check.to_string().contains("stored bytes do not match their checksum"), "{check}");
    assert!(serde_json::to_value(&check).unwrap()["damaged"][0]["first_time"].is_string());
}

/// What `a_ring_whose_writer_is_killed_keeps_all_sealed_blocks` starts and kills.
#[test]
fn writes_until_it_is_killed_when_asked_to() {
    let Ok(directory) = std::env::var("WEIR_TEST_KILLED_RING") else { return };
    let mut ring = Ring::open(&config(Path::new(&directory)), 2, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lanes: Vec<Lane> = (0..2).map(|index| ring.lane(index).unwrap()).collect();
    let mut counters = RingCounters::default();
    let mut frame = noise(1, 1000, 9).remove(0);
    for number in 0u64.. {
        frame.data[..8].copy_from_slice(&number.to_be_bytes());
        frame.time = 1_000_000_000 + number;
        lanes[(number % 2) as usize].append(&frame.frame(), None, None, &mut counters);
    }
}

/// A process that is killed when the test is over, however it ends.
struct KilledOnDrop(std::process::Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_ring_whose_writer_is_killed_keeps_all_sealed_blocks_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..6u64 {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ring::tests::writes_until_it_is_killed_when_asked_to"])
            .env("WEIR_TEST_KILLED_RING", directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let child = KilledOnDrop(child);
        let started = std::time::Instant::now();
        while !reader::is_being_written(directory.path()) && started.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(40 + round * 37));
        // Readers while it writes: only whole blocks, and nothing looks damaged.
        let sound = check::check(directory.path(), None, &mut |_, _| {}).unwrap();
        assert!(sound.is_sound(), "{sound}");
        drop(child);
        let (lanes, damaged) = read(directory.path(), 2);
        assert_eq!(damaged, 0);
        for (lane, frames) in lanes.iter().enumerate() {
            let numbers: Vec<u64> =
                frames.iter().map(|f| u64::from_be_bytes(f.data[..8].try_into().unwrap())).collect();
            // Each run counts from 0; within a run no frame is missing.
            assert!(
                numbers.windows(2).all(|pair| pair[1] == pair[0] + 2 || pair[1] == lane as u64),
                "{round}"
            );
        }
    }
    // The next start seals what was left and notes the end of the run.
    drop(Ring::open(&config(directory.path()), 2, RingMode::Live, Timestamp(9_000_000_000)).unwrap());
    let gaps = Gaps::read(directory.path()).unwrap();
    assert!(gaps.open_runs().is_empty());
    assert!(
        gaps.records.iter().any(|record| record.kind == RecordKind::RunKilled && record.to.0 > 1_000_000_000)
    );
    assert!(check::check(directory.path(), None, &mut |_, _| {}).unwrap().is_sound());
    assert!(size_of(directory.path()) <= 64 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_files_are_read_or_refused(
        segment in proptest::collection::vec(any::<u8>(), 0..3000),
        index in proptest::collection::vec(any::<u8>(), 0..3000),
        gaps in proptest::collection::vec(any::<u8>(), 0..300),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &[noise(20, 100, 10)]);
        let files = segments(directory.path(), None).unwrap().remove(0);
        // A sound ring with bytes changed anywhere, then one of noise.
        for path in [&files.segment, &files.index] {
            let mut bytes = fs::read(path).unwrap();
            for (at, value) in &flips {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            fs::write(path, bytes).unwrap();
        }
        check::check(directory.path(), None, &mut |_, _| {}).unwrap();
        fs::write(&files.segment, segment).unwrap();
        fs::write(&files.index, index).unwrap();
        fs::write(directory.path().join("gaps"), gaps).unwrap();
        check::check(directory.path(), None, &mut |_, _| {}).unwrap();
        check::list(directory.path(), None).unwrap();
        drop(Ring::open(&config(directory.path()), 1, RingMode::Live, Timestamp(0)).unwrap());
        check::check(directory.path(), None, &mut |_, _| {}).unwrap();
    }
}

#[test]
fn a_live_lane_waits_for_nobody_and_every_frame_left_out_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let slow = RingConfig { zstd_level: 19, queue_blocks: 2, ..config(directory.path()) };
    let mut ring = Ring::open(&slow, 1, RingMode::Live, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let mut counters = RingCounters::default();
    let frames = noise(5000, 1000, 11);
    for frame in &frames {
        lane.append(&frame.frame(), None, None, &mut counters);
        lane.tick(Timestamp(frame.time));
    }
    lane.close(Timestamp(2_000_000_000));
    let status = ring.close();
    assert!(counters.frames_dropped > 1000, "{counters:?}");
    assert_eq!((counters.frames + counters.frames_dropped, status.frames), (5000, counters.frames));
    let gaps = Gaps::read(directory.path()).unwrap();
    let queue = gaps.records.iter().filter(|record| record.kind == RecordKind::Loss(LossKind::Queue));
    assert_eq!(queue.map(|record| record.frames).sum::<u64>(), counters.frames_dropped);
    assert_eq!(read(directory.path(), 1).0[0].len() as u64, counters.frames);
}

#[test]
fn a_reader_stays_well_while_the_ring_turns_under_it() {
    let directory = tempfile::tempdir().unwrap();
    let small = RingConfig { budget_mib: 6, ..config(directory.path()) };
    let mut ring = Ring::open(&small, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let check = check::check(directory.path(), None, &mut |_, _| {}).unwrap();
                assert!(check.is_sound(), "{check}");
                rounds += 1;
            }
            rounds
        });
        let mut counters = RingCounters::default();
        noise(40_000, 1000, 12).iter().for_each(|frame| {
            lane.append(&frame.frame(), None, None, &mut counters);
        });
        lane.close(Timestamp(0));
        assert!(ring.close().segments_removed > 10);
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}
