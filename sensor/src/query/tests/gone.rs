//! Blocks that are gone: somebody removed a segment, whichever it was, or the ledger, and every answer that would have
//! needed it says so.

use super::*;
use crate::ring::account::Held;
use crate::ring::check::{self, Check};
use crate::ring::custody::verify::Verifier;
use crate::ring::gaps::{Gaps, RecordKind};
use crate::ring::reader::{SegmentContents, SegmentFiles, segments};
use completeness::{Finding, GapState};
use std::fs;

const FRAMES: u64 = 9_000;

/// Frames that do not compress, a microsecond apart, so that a ring of one lane gets several segments.
fn frames() -> impl Iterator<Item = Owned> {
    let mut state = 7u64;
    (0..FRAMES).map(move |number| {
        let data = Vec::from_iter((0..1000).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        }));
        (1_700_000_000_000_000_000 + number * 1000, 1000, data)
    })
}

/// A ring without custody, so that the account of blocks alone can tell; some rings end and some are killed.
fn ring(directory: &Path, is_killed: bool, budget_mib: u64) -> RingConfig {
    let config = RingConfig { custody: false, budget_mib, ..config(directory) };
    let elsewhere = tempfile::tempdir().unwrap();
    let place = if is_killed { elsewhere.path() } else { directory };
    let writer = RingConfig { directory: place.to_str().unwrap().to_owned(), ..config.clone() };
    let mut ring = Ring::open(&writer, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    for (time, wire_len, data) in frames() {
        let (time, link) = (Timestamp(time), LinkType::ETHERNET);
        let frame = Frame { time, link, interface: 0, wire_len, data: &data };
        lane.append(&frame, None, None, &mut RingCounters::default());
    }
    if is_killed {
        // What lies on the disk while it is written is what a kill leaves.
        let written = |ring: &Ring| ring.status().frames;
        let mut before = 0;
        while written(&ring) == 0 || written(&ring) != before {
            before = written(&ring);
            std::thread::sleep(Duration::from_millis(100));
        }
        for entry in fs::read_dir(place).unwrap().flatten() {
            fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
        }
    }
    drop(lane);
    ring.close();
    config
}

fn held(files: &SegmentFiles) -> Held {
    Held::of(files.name.lane, &SegmentContents::read(files).unwrap().totals()).unwrap()
}

fn within(directory: &Path, since: Timestamp, until: Timestamp) -> Answer {
    let asked = Query { since: Some(since), until: Some(until), ..query(directory, "port 53") };
    asked.count(Timestamp::MAX, &Addresses).unwrap()
}

fn is_told(answer: &Answer) -> bool {
    let is_gone =
        |gap: &completeness::Gap| gap.state == GapState::Damaged && gap.reason.contains("did not remove");
    answer.finding == Finding::Incomplete && answer.completeness.gaps.iter().any(is_gone)
}

/// Removes each segment in turn, asks within it and beside it, and puts it back.
fn every_segment_is_missed(directory: &Path) {
    let all = segments(directory, None).unwrap();
    assert!(all.len() >= 4, "{}", all.len());
    let whole = within(directory, held(&all[0]).from, held(&all[all.len() - 1]).to);
    assert_eq!(whole.finding, Finding::NoSuchPackets, "{whole}");
    for (at, files) in all.iter().enumerate() {
        let Held { from, to, first, last, .. } = held(files);
        let kept = [&files.segment, &files.index].map(|path| (path, fs::read(path).unwrap()));
        kept.iter().for_each(|(path, _)| fs::remove_file(path).unwrap());
        let answer = within(directory, from, to);
        assert!(is_told(&answer), "segment {at}: {answer}");
        let named = format!("blocks {first} to {last} of run 1, lane 0");
        assert!(answer.to_string().contains(&named), "segment {at}, {named}: {answer}");
        for (other, files) in all.iter().enumerate().filter(|(other, _)| *other != at) {
            let Held { from, to, .. } = held(files);
            let inner = (Timestamp(from.0 + 1), Timestamp(to.0 - 1));
            let answer = within(directory, inner.0, inner.1);
            assert_eq!(answer.finding, Finding::NoSuchPackets, "{at}, asked for {other}: {answer}");
        }
        kept.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
}

#[test]
fn a_segment_that_somebody_removed_is_missed_first_last_and_in_between() {
    let directory = tempfile::tempdir().unwrap();
    ring(directory.path(), false, 64);
    every_segment_is_missed(directory.path());
}

#[test]
fn a_segment_that_somebody_removed_from_the_ring_of_a_killed_sensor_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    ring(directory.path(), true, 64);
    every_segment_is_missed(directory.path());
}

#[test]
fn a_ring_that_turned_misses_what_it_did_not_remove_itself() {
    let directory = tempfile::tempdir().unwrap();
    let config = ring(directory.path(), false, 10);
    let gaps = Gaps::read(directory.path()).unwrap();
    assert!(gaps.records.iter().any(|record| record.kind == RecordKind::Expired));
    let all = segments(directory.path(), None).unwrap();
    assert!(all.len() >= 3);
    let open = query(directory.path(), "").count(Timestamp::MAX, &Addresses).unwrap();
    assert!(open.completeness.gaps.iter().all(|gap| gap.state != GapState::Damaged), "{open}");
    let Held { from, to, .. } = held(&all[0]);
    fs::remove_file(&all[0].segment).unwrap();
    fs::remove_file(&all[0].index).unwrap();
    assert!(is_told(&within(directory.path(), from, to)));
    // The next run goes on missing them.
    Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap().close();
    assert!(is_told(&within(directory.path(), from, to)));
}

#[test]
fn an_index_whose_segment_is_gone_is_written_down_before_it_is_removed() {
    for is_killed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let config = ring(directory.path(), is_killed, 64);
        let all = segments(directory.path(), None).unwrap();
        let damaged = || {
            let records = Gaps::read(directory.path()).unwrap().records;
            Vec::from_iter(records.into_iter().filter(|record| record.kind == RecordKind::Damaged))
        };
        // In its middle, and what was written last: a journal, where the sensor was killed.
        for (files, told) in [(&all[1], 1), (&all[all.len() - 1], 2)] {
            let Held { from, to, .. } = held(files);
            fs::remove_file(&files.segment).unwrap();
            Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap().close();
            assert!(!files.index.exists());
            let damaged = damaged();
            assert_eq!(damaged.len(), told);
            let last = damaged.last().unwrap();
            assert!((last.from, last.to) == (from, to) && last.frames > 100, "{last:?}");
            let answer = within(directory.path(), from, to);
            assert!(answer.to_string().contains("found damaged when the ring was opened"), "{answer}");
        }
        // What a crash leaves between its name and its first block holds nothing; nor is what expired told again.
        let begun = all[0].index.with_file_name("000000000099-00000-1700000000000000000.idx");
        crate::ring::testing::empty_journal(&begun);
        Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap().close();
        assert!(!begun.exists() && damaged().len() == 2);
        let small = RingConfig { budget_mib: 6, ..config.clone() };
        let index = fs::read(&all[0].index).unwrap();
        Ring::open(&small, 1, RingMode::Replay, Timestamp(0)).unwrap().close();
        assert!(!all[0].segment.exists());
        fs::write(&all[0].index, index).unwrap();
        Ring::open(&small, 1, RingMode::Replay, Timestamp(0)).unwrap().close();
        assert!(!all[0].index.exists() && damaged().len() == 2);
    }
}

fn checked(directory: &Path) -> Check {
    check::check_with(directory, None, Verifier::new(directory, &[], false), &mut |_, _| {}).unwrap()
}

/// Files that a check finds damaged.
fn damaged_files(directory: &Path) -> Vec<String> {
    checked(directory).damaged.into_iter().map(|damage| damage.file).collect()
}

#[test]
fn a_check_names_blocks_that_are_gone_also_where_no_custody_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    ring(directory.path(), false, 64);
    assert!(checked(directory.path()).is_sound());
    let files = segments(directory.path(), None).unwrap().remove(1);
    let Held { first, last, .. } = held(&files);
    fs::remove_file(&files.index).unwrap();
    assert_eq!(damaged_files(directory.path()), [files.name.index_file()]);
    fs::remove_file(&files.segment).unwrap();
    assert_eq!(damaged_files(directory.path()), [format!("blocks {first} to {last} of run 1, lane 0")]);
}

#[test]
fn a_ledger_that_is_lost_is_missed_before_and_after_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = ring(directory.path(), false, 64);
    let ledger = directory.path().join("gaps");
    let whole = fs::read(&ledger).unwrap();
    // The header and the begin of the run, and a torn end, are a ledger of a run that goes on.
    fs::write(&ledger, &whole[..128 + 6]).unwrap();
    assert!(checked(directory.path()).is_sound());
    let lost = |words: &str| {
        assert_eq!(damaged_files(directory.path()), ["gaps"]);
        let answer = query(directory.path(), "").count(Timestamp::MAX, &Addresses).unwrap();
        assert!(!answer.completeness.complete, "{answer}");
        let said = answer.to_string();
        assert!(
            said.contains("the ledger is missing or damaged: it knows no run 1") && said.contains(words),
            "{said}"
        );
    };
    fs::write(&ledger, &whole[..70]).unwrap();
    lost("the ledger knows of no run that wrote this ring");
    fs::remove_file(&ledger).unwrap();
    lost("the ledger knows of no run that wrote this ring");
    // The next run is not a second first.
    let mut ring = Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap();
    assert_eq!(ring.run(), 2);
    let mut lane = ring.lane(0).unwrap();
    let (time, link) = (Timestamp(1_800_000_000_000_000_000), LinkType::ETHERNET);
    let frame = Frame { time, link, interface: 0, wire_len: 60, data: &[1; 60] };
    lane.append(&frame, None, None, &mut RingCounters::default());
    drop(lane);
    ring.close();
    lost("wrote here");
}
