//! What a ring writes down beside its frames: what was left out of them, and where its clock was set.

use super::clock::CLOCK_STEP_MIN;
use super::entry::LeftOut;
use super::gaps::{ClockStep, GapRecord, Gaps, LossKind, RecordKind};
use super::reader::{BlockFrames, BlockReader, SegmentContents, segments};
use super::tests::{Owned, config, noise};
use super::*;
use crate::counters::RingCounters;
use std::time::Instant;

const SECOND: u64 = 1_000_000_000;

fn records(directory: &Path, kind: RecordKind) -> Vec<GapRecord> {
    let gaps = Gaps::read(directory).unwrap();
    gaps.records.into_iter().filter(|record| record.kind == kind).collect()
}

/// Waits for what a ring thread does.
fn eventually(what: &str, is: impl Fn() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn receipts_are_read_back_counted_and_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let mut ring = Ring::open(&config(directory.path()), 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let mut counters = RingCounters::default();
    let frames = noise(600, 1000, 3);
    for (at, frame) in frames.iter().enumerate() {
        let whole = frame.frame();
        if at % 3 == 0 {
            let (short, left_out) = cut_off::shorten(&whole, &whole.data[54..], 8).unwrap();
            lane.append(&short, None, Some(left_out), &mut counters);
        } else {
            lane.append(&whole, None, None, &mut counters);
        }
    }
    lane.close(Timestamp(0));
    let status = ring.close();
    let left_out = 200 * (1000 - 62);
    assert_eq!((counters.frames, counters.bytes), (600, 600_000 - left_out));
    assert_eq!((counters.frames_cut_off, counters.bytes_left_out), (200, left_out));
    assert_eq!((status.frames_cut_off, status.left_out_bytes), (200, left_out));
    let noted = records(directory.path(), RecordKind::CutOff);
    assert_eq!(
        noted.iter().map(|record| (record.frames, record.bytes)).collect::<Vec<_>>(),
        [(200, left_out)]
    );
    assert_eq!((noted[0].from.0, noted[0].to.0), (frames[0].time, frames[597].time));
    let check = check::check(directory.path(), None, &mut |_, _| {}).unwrap();
    assert_eq!((check.is_sound(), check.receipts, check.bytes_left_out), (true, 200, left_out));
    assert!(check.to_string().contains("; 200 frames cut off on purpose, 0.2 MB left out with receipts\n"));
    let (mut reader, mut block, mut at) = (BlockReader::default(), BlockFrames::default(), 0);
    let mut scratch = Vec::new();
    for files in segments(directory.path(), None).unwrap() {
        for part in SegmentContents::read(&files).unwrap().blocks {
            reader.read(&files, part.offset, &part.header, &mut block).unwrap();
            for placed in block.placed() {
                let (frame, whole) = (block.frame(placed, &mut scratch), &frames[at].data);
                let kept = if at % 3 == 0 { 62 } else { 1000 };
                assert_eq!((frame.data, frame.wire_len), (&whole[..kept], 1000));
                let receipt = (kept < 1000).then(|| LeftOut::of(&whole[kept..]));
                assert_eq!(placed.entry.left_out, receipt);
                at += 1;
            }
        }
    }
    assert_eq!(at, 600);
}

#[test]
fn a_clock_that_is_set_back_is_noted_and_makes_nothing_wait() {
    let directory = tempfile::tempdir().unwrap();
    let mut ring = Ring::open(&config(directory.path()), 1, RingMode::Live, Timestamp(99 * SECOND)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let mut counters = RingCounters::default();
    let mut append = |lane: &mut Lane, time| {
        lane.append(&Owned::new(time, vec![1; 60]).frame(), None, None, &mut counters);
    };
    let back = || records(directory.path(), RecordKind::ClockStep(ClockStep::Back));
    // The ring was opened later than its first frame came: no step, since nothing was known of the clock.
    append(&mut lane, 10 * SECOND);
    append(&mut lane, 12 * SECOND);
    let step_min = CLOCK_STEP_MIN.as_nanos() as u64;
    append(&mut lane, 12 * SECOND - step_min);
    append(&mut lane, 12 * SECOND);
    lane.note_loss(LossKind::Kernel, 4, Timestamp(12 * SECOND), Timestamp(12 * SECOND));
    // Only the clock says so, no frame comes: what waits is written and told all the same.
    lane.tick(Timestamp(5 * SECOND));
    eventually("the block is written", || ring.status().frames == 4);
    eventually("the step and the loss are told", || {
        back().len() == 1 && records(directory.path(), RecordKind::Loss(LossKind::Kernel)).len() == 1
    });
    assert_eq!(
        back(),
        [GapRecord {
            kind: RecordKind::ClockStep(ClockStep::Back),
            lane: 0,
            run: 1,
            from: Timestamp(5 * SECOND),
            to: Timestamp(12 * SECOND),
            frames: 1,
            bytes: 7 * SECOND,
            blocks: 0,
        }]
    );
    append(&mut lane, 6 * SECOND);
    append(&mut lane, 6 * SECOND - step_min - 1);
    lane.note_clock_forward(Timestamp(7 * SECOND), Timestamp(20 * SECOND));
    lane.close(Timestamp(21 * SECOND));
    ring.close();
    let sizes: Vec<u64> = back().iter().map(|record| record.bytes).collect();
    assert_eq!(sizes, [7 * SECOND, step_min + 1]);
    let forward = records(directory.path(), RecordKind::ClockStep(ClockStep::Forward));
    assert_eq!((forward.len(), forward[0].bytes, forward[0].to.0), (1, 13 * SECOND, 20 * SECOND));
}

#[test]
fn times_that_go_back_and_forth_cost_the_ledger_little() {
    let directory = tempfile::tempdir().unwrap();
    let mut ring = Ring::open(&config(directory.path()), 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    for at in 0..20_000u64 {
        let frame = Owned::new((100 + at % 2 * 10) * SECOND, vec![1; 60]);
        lane.append(&frame.frame(), None, None, &mut RingCounters::default());
    }
    lane.close(Timestamp(0));
    let status = ring.close();
    let back = records(directory.path(), RecordKind::ClockStep(ClockStep::Back));
    assert_eq!(back.iter().map(|record| record.frames).sum::<u64>(), 9_999);
    assert!(back.len() as u64 <= status.blocks + 1, "{} records, {} blocks", back.len(), status.blocks);
    assert!(back.iter().all(|record| record.bytes == 10 * SECOND));
}

#[test]
fn frames_of_a_block_that_cannot_be_written_are_lost_and_not_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let mut ring = Ring::open(&config(directory.path()), 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    std::fs::create_dir(directory.path().join("000000000001-00000-1000000000.seg.tmp")).unwrap();
    let mut frame = Owned::new(SECOND, vec![7; 1000]);
    let whole = frame.frame();
    let (short, left_out) = cut_off::shorten(&whole, &whole.data[54..], 8).unwrap();
    frame.data = short.data.to_vec();
    lane.append(&frame.frame(), None, Some(left_out), &mut RingCounters::default());
    lane.close(Timestamp(0));
    let status = ring.close();
    assert_eq!((status.frames_failed, status.frames_cut_off), (1, 0));
    assert!(records(directory.path(), RecordKind::CutOff).is_empty());
}
