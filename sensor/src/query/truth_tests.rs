//! What a query says about itself: what was left out, what is pending, and what no frames mean.

use super::tests::Addresses;
use super::*;
use crate::capture::{Frame, LinkType};
use crate::counters::RingCounters;
use crate::ring::config::RingConfig;
use crate::ring::entry::LeftOut;
use crate::ring::gaps::LossKind;
use crate::ring::{Lane, Ring, RingMode, cut_off};
use completeness::GapState;
use std::path::Path;
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;

fn ring(directory: &Path, mode: RingMode) -> (Ring, Lane) {
    let mut ring = ring_of(directory, mode, 1);
    let lane = ring.lane(0).unwrap();
    (ring, lane)
}

fn ring_of(directory: &Path, mode: RingMode, lanes: u16) -> Ring {
    let config = RingConfig {
        directory: directory.to_str().unwrap().to_owned(),
        budget_mib: 64,
        segment_mib: 2,
        block_kib: 256,
        ..RingConfig::default()
    };
    Ring::open(&config, lanes, mode, Timestamp(SECOND)).unwrap()
}

/// A TCP segment from port 1000 to 443 with 400 bytes, all of them 7.
fn segment() -> Vec<u8> {
    let mut data = vec![7; 454];
    data[12..14].copy_from_slice(&[8, 0]);
    data[14..34].copy_from_slice(&[0x45, 0, 1, 0xb8, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    data[34..54].copy_from_slice(&[3, 0xe8, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 16, 0, 0, 0, 0, 0, 0]);
    data
}

fn frame(time: u64, data: &[u8]) -> Frame<'_> {
    let (time, link) = (Timestamp(time), LinkType::ETHERNET);
    Frame { time, link, interface: 0, wire_len: data.len() as u32, data }
}

fn ask(directory: &Path, expression: &str, range: Option<(u64, u64)>, now: u64) -> (Vec<u8>, Answer) {
    let query = Query {
        directory: directory.to_owned(),
        expression: expression.to_owned(),
        since: range.map(|range| Timestamp(range.0)),
        until: range.map(|range| Timestamp(range.1)),
        ..Query::default()
    };
    let mut out = Vec::new();
    let answer = query.write_pcapng(Timestamp(now), &Addresses, &mut out).unwrap();
    (out, answer)
}

fn states(answer: &Answer) -> Vec<GapState> {
    answer.completeness.gaps.iter().map(|gap| gap.state).collect()
}

#[test]
fn a_lane_that_has_said_nothing_yet_leaves_the_run_uncovered() {
    for mode in [RingMode::Live, RingMode::Replay] {
        let directory = tempfile::tempdir().unwrap();
        let mut ring = ring_of(directory.path(), mode, 2);
        let (mut lane, silent) = (ring.lane(0).unwrap(), ring.lane(1).unwrap());
        let (data, mut counters) = (segment(), RingCounters::default());
        let mut time = 2 * SECOND;
        while ring.status().blocks == 0 {
            lane.append(&frame(time, &data), None, None, &mut counters);
            time += 1;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let claims = || Gaps::read(directory.path()).unwrap().alive.len();
        while claims() == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (_, answer) = ask(directory.path(), "port 443", None, time);
        assert!(answer.frames > 0, "{mode:?}: {answer}");
        let Completeness { from, until, .. } = answer.completeness;
        assert_eq!((from, states(&answer)), (until, vec![GapState::NotYetWritten]), "{mode:?}: {answer}");
        drop(silent);
        lane.close(Timestamp(time));
        ring.close();
    }
}

#[test]
fn what_was_left_out_is_told_with_its_bytes_and_proven_by_its_receipt() {
    let directory = tempfile::tempdir().unwrap();
    let (ring, mut lane) = ring(directory.path(), RingMode::Replay);
    let (data, mut counters) = (segment(), RingCounters::default());
    for second in 1..=3 {
        let whole = frame(second * SECOND, &data);
        let (short, receipt) = cut_off::shorten(&whole, &data[54..], 8).unwrap();
        let left_out = (second > 1).then_some(receipt);
        lane.append(if second > 1 { &short } else { &whole }, Some(7), left_out, &mut counters);
    }
    lane.close(Timestamp(0));
    ring.close();
    let (pcapng, answer) = ask(directory.path(), "port 443", None, 3 * SECOND);
    assert_eq!((answer.frames, answer.finding), (3, Finding::Found));
    let gap = &answer.completeness.gaps[0];
    assert_eq!((gap.state, gap.frames, gap.bytes), (GapState::CutOff, Some(2), Some(2 * 392)));
    assert!(!answer.completeness.complete && answer.completeness.gaps.len() == 1);
    let comment = format!("weir: {}", LeftOut::of(&data[62..]));
    assert!(comment.starts_with("weir: 392 bytes left out, blake3 "));
    let receipts = pcapng.windows(comment.len()).filter(|window| *window == comment.as_bytes()).count();
    assert_eq!(receipts, 2);
    // A whole frame alone is a complete answer.
    let range = Some((SECOND, SECOND));
    assert!(ask(directory.path(), "port 443", range, 3 * SECOND).1.completeness.complete);
    // What cannot match because its bytes are gone is no proof that there was nothing.
    let (_, payload) = ask(directory.path(), "tcp[100] = 7", None, 3 * SECOND);
    assert_eq!((payload.frames, states(&payload)), (1, vec![GapState::CutOff]));
    let (_, nothing) = ask(directory.path(), "tcp[100] = 8", None, 3 * SECOND);
    assert_eq!((nothing.finding, states(&nothing)), (Finding::Incomplete, vec![GapState::CutOff]));
    let (_, header) = ask(directory.path(), "tcp[13] = 0xff", None, 3 * SECOND);
    assert_eq!((header.finding, states(&header)), (Finding::NoSuchPackets, vec![]));
    assert!(header.to_string().contains("\nno such packets: the range was captured completely"));
    let json = serde_json::to_value(&header).unwrap();
    assert_eq!(json["finding"], "no_such_packets");
    // That nobody captures since then is no reason for what was found, or was not.
    let (_, later) = ask(directory.path(), "tcp[100] = 8", None, 9 * SECOND);
    assert_eq!(states(&later), [GapState::CutOff, GapState::NotCaptured]);
    assert!(later.to_string().contains("missing or uncertain: cut off\n"), "{later}");
}

#[test]
fn frames_cut_by_the_capture_and_on_purpose_are_two_reasons() {
    let directory = tempfile::tempdir().unwrap();
    let (ring, mut lane) = ring(directory.path(), RingMode::Replay);
    let (data, mut counters) = (segment(), RingCounters::default());
    let whole = frame(SECOND, &data);
    lane.append(&Frame { data: &data[..100], ..whole }, None, None, &mut counters);
    let (short, receipt) = cut_off::shorten(&whole, &data[54..], 8).unwrap();
    lane.append(&short, None, Some(receipt), &mut counters);
    lane.close(Timestamp(0));
    ring.close();
    let (_, answer) = ask(directory.path(), "", None, SECOND);
    let told: Vec<_> =
        answer.completeness.gaps.iter().map(|gap| (gap.state, gap.frames, gap.bytes)).collect();
    let want = [(GapState::CutOff, Some(1), None), (GapState::CutOff, Some(1), Some(392))];
    assert_eq!(told, want);
}

#[test]
fn a_loss_that_is_not_told_yet_is_covered_by_no_claim() {
    let directory = tempfile::tempdir().unwrap();
    let (ring, mut lane) = ring(directory.path(), RingMode::Live);
    let (data, mut counters) = (segment(), RingCounters::default());
    let millis = |millis: u64| millis * SECOND / 1000;
    for at in [1000, 2000, 3000, 3900] {
        lane.append(&frame(millis(at), &data), None, None, &mut counters);
    }
    lane.note_loss(LossKind::Kernel, 5, Timestamp(millis(3500)), Timestamp(millis(3600)));
    // The block has waited for long enough, the loss has not.
    lane.tick(Timestamp(millis(3900)));
    let range = Some((millis(1000), millis(3800)));
    let asked = || ask(directory.path(), "port 443", range, millis(4000)).1;
    let started = Instant::now();
    while ring.status().frames < 4 || states(&asked()) != [GapState::NotYetWritten] {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", asked());
        std::thread::sleep(Duration::from_millis(1));
    }
    let waiting = asked();
    assert!(!waiting.completeness.complete);
    assert_eq!(waiting.completeness.gaps[0].from, Timestamp(millis(3500)));
    // Before the loss everything is known.
    let before = ask(directory.path(), "port 443", Some((millis(1000), millis(3500))), millis(4000)).1;
    assert!(before.completeness.complete, "{before}");
    lane.close(Timestamp(millis(5000)));
    ring.close();
    assert_eq!(states(&asked()), [GapState::Dropped]);
    assert_eq!(asked().completeness.gaps[0].frames, Some(5));
}
