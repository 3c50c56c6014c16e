//! A pinned answer is the ring's, before and after its turn, each frame once.

use super::super::tests::{Addresses, Owned, collect, config, flow, made, query, write};
use super::*;
use crate::capture::LinkType;
use crate::counters::RingCounters;
use crate::ring::config::RingConfig;
use crate::ring::pins;
use crate::ring::reader::{SegmentFiles, segments};
use crate::ring::{Ring, RingMode};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use weir_common::net::CommunityId;

const KEEPING: Keeping<'_> = Keeping { duration: None, note: "a case", budget_bytes: 1 << 30 };

fn pin(query: &Query, keeping: &Keeping<'_>) -> Result<Pinned, NotPinned> {
    query.pin(Timestamp::from_parts(1_800_000_000, 0), &Addresses, keeping, &mut || ())
}

/// Lets the ring's turn take everything written before.
fn turn(directory: &Path) {
    let small = RingConfig { budget_mib: 12, ..config(directory) };
    let mut ring = Ring::open(&small, 3, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lanes: Vec<_> = (0..3).map(|index| ring.lane(index).unwrap()).collect();
    let mut state = 1u64;
    for at in 0..60_000u64 {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        let data: Vec<u8> = (0..600).map(|_| next()).collect();
        let (time, wire_len) = (Timestamp(1_800_000_000_000_000_000 + at), 600);
        let frame = Frame { time, link: LinkType(147), interface: 0, wire_len, data: &data };
        lanes[at as usize % 3].append(&frame, None, None, &mut RingCounters::default());
    }
    drop(lanes);
    ring.close();
}

#[test]
fn a_pinned_answer_is_the_same_before_and_after_the_ring_s_turn() {
    let directory = tempfile::tempdir().unwrap();
    let frames: Vec<Owned> = (0..32_000).map(made).collect();
    write(directory.path(), LinkType::ETHERNET, &frames);
    let asked = Query {
        since: Some(Timestamp(frames[4000].0)),
        until: Some(Timestamp(frames[20_000].0)),
        ..query(directory.path(), "host 10.2.0.3 and udp")
    };
    let (want, before) = collect(&asked);
    assert!(want.len() > 5 && before.completeness.pinned_blocks == 0);
    let made = pin(&asked, &KEEPING).unwrap();
    assert_eq!((made.pin.frames as usize, made.pin.note.as_str()), (want.len(), "a case"));
    assert_eq!(made.pin.complete, before.completeness.complete);
    assert!(made.pin.blocks > 0 && made.pin.blocks <= before.cost.blocks_to_read);
    assert!(made.pin.query.starts_with("host 10.2.0.3 and udp, since 2023-"), "{}", made.pin.query);
    // In the ring and in the pin: each frame once, and each block is read once.
    let (both, answer) = collect(&asked);
    assert_eq!(both, want);
    assert_eq!(answer.cost.blocks_to_read, before.cost.blocks_to_read);
    assert_eq!(answer.completeness.pinned_blocks, 0);
    let whole = query(directory.path(), "").count(Timestamp(u64::MAX), &Addresses).unwrap();
    assert_eq!(whole.frames, 32_000);
    // Pinned twice, from the pin and the ring together.
    let again = pin(&Query { since: None, until: None, ..asked.clone() }, &KEEPING).unwrap();
    assert!(again.pin.frames >= made.pin.frames);
    assert_eq!(collect(&asked).0, want);
    turn(directory.path());
    let (after, answer) = collect(&asked);
    assert_eq!(after, want);
    let text = answer.to_string();
    assert!(!answer.completeness.complete && text.contains("expired: "), "{text}");
    assert!(text.contains("blocks are read from pins"), "{text}");
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["completeness"]["pinned_blocks"], answer.cost.blocks_to_read);
    // Pins are what there is to pin from, and giving one back leaves the other.
    let third = pin(&asked, &KEEPING).unwrap();
    assert_eq!((third.pin.frames, third.pin.complete), (made.pin.frames, false));
    let ids = [made.pin.id, again.pin.id];
    assert!(pins::unpin(directory.path(), &ids, &mut || ()).unwrap().is_empty());
    assert_eq!(collect(&asked).0, want);
    assert!(pins::unpin(directory.path(), &[third.pin.id], &mut || ()).unwrap().is_empty());
    assert!(collect(&asked).0.is_empty());
}

#[test]
fn a_pinned_flow_is_found_in_the_pin_by_its_tag() {
    let directory = tempfile::tempdir().unwrap();
    let frames: Vec<Owned> = (0..32_000).map(made).collect();
    write(directory.path(), LinkType::ETHERNET, &frames);
    let first = Frame {
        time: Timestamp(0),
        link: LinkType::ETHERNET,
        interface: 0,
        wire_len: 0,
        data: &frames.iter().find(|frame| flow_of_owned(frame).is_some()).unwrap().2,
    };
    let asked = Query { flow: flow(&first), ..query(directory.path(), "") };
    let (want, _) = collect(&asked);
    let made = pin(&asked, &KEEPING).unwrap();
    assert_eq!(made.pin.frames as usize, want.len());
    turn(directory.path());
    assert_eq!(collect(&asked).0, want);
}

#[test]
fn a_block_that_is_damaged_in_the_ring_is_read_from_its_pin_and_the_other_way_round() {
    let directory = tempfile::tempdir().unwrap();
    let frames: Vec<Owned> = (0..12_000).map(made).collect();
    write(directory.path(), LinkType::ETHERNET, &frames);
    let asked = query(directory.path(), "udp");
    let want = collect(&asked).0;
    pin(&asked, &KEEPING).unwrap();
    let flip = |files: &SegmentFiles| {
        let mut bytes = std::fs::read(&files.segment).unwrap();
        bytes[2000] ^= 1;
        std::fs::write(&files.segment, bytes).unwrap();
    };
    let in_ring = segments(directory.path(), None).unwrap();
    let in_pin = pins::segments(directory.path(), None).unwrap();
    assert!(in_ring.len() > 2 && in_pin.len() == in_ring.len());
    flip(&in_ring[0]);
    flip(&in_pin[1]);
    let (got, answer) = collect(&asked);
    assert_eq!(got, want);
    assert!(!answer.to_string().contains("damaged"), "{answer}");
    flip(&in_pin[0]);
    let (got, answer) = collect(&asked);
    assert!(got.len() < want.len() && answer.to_string().contains("damaged: "), "{answer}");
}

fn flow_of_owned(frame: &Owned) -> Option<CommunityId> {
    let (link, data) = (LinkType::ETHERNET, &frame.2[..]);
    flow(&Frame { time: Timestamp(0), link, interface: 0, wire_len: 0, data })
}

#[test]
fn what_does_not_match_or_does_not_fit_is_not_pinned() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), LinkType::ETHERNET, &(0..4000).map(made).collect::<Vec<_>>());
    let none = pin(&query(directory.path(), "host 9.9.9.9"), &KEEPING).unwrap_err();
    assert!(
        matches!(none, NotPinned::NoMatch(_)) && none.to_string().contains("nothing is pinned"),
        "{none}"
    );
    let small = Keeping { budget_bytes: 10_000, ..KEEPING };
    let refused = pin(&query(directory.path(), "ip"), &small).unwrap_err().to_string();
    assert!(
        refused.contains("10000 of the 10000 bytes for pins (ring.pin_budget_mib) are free"),
        "{refused}"
    );
    let wrong = pin(&query(directory.path(), "port and"), &KEEPING);
    assert!(matches!(wrong, Err(NotPinned::Query(QueryError::Expression(_)))));
    assert!(pins::list(directory.path()).unwrap().is_empty());
}

#[test]
fn questions_are_answered_while_pins_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let frames: Vec<Owned> = (0..12_000).map(made).collect();
    write(directory.path(), LinkType::ETHERNET, &frames);
    let asked = query(directory.path(), "host 10.1.0.3");
    let (want, _) = collect(&asked);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let (got, answer) = collect(&asked);
                assert_eq!(got, want, "{answer}");
                assert!(answer.completeness.gaps.len() <= 2, "{answer}");
                rounds += 1;
            }
            rounds
        });
        for _ in 0..20 {
            let made = pin(&asked, &KEEPING).unwrap();
            assert_eq!(made.pin.frames as usize, want.len());
            pins::unpin(directory.path(), &[made.pin.id], &mut || ()).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}
