//! Questions while the ring turns: several at once, over a ring whose oldest segments leave all the time.

use super::*;
use completeness::GapState;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const LANES: u16 = 2;
const FRAMES: u64 = 60_000;
const STEP_NS: u64 = 100_000;
/// Questions that each reader asks at least, also when nothing turns any longer.
const ASKED_MIN: u64 = 5;
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// A frame that says its number, among few ports; of a length that hardly compresses.
fn numbered(number: u64) -> Owned {
    let mut data = vec![2; 12];
    data.extend_from_slice(&[8, 0, 0x45, 0, 0, 200, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, (number % 5) as u8]);
    data.extend_from_slice(&[10, 0, 1, 1, 4, 0, 0, (number % 3) as u8, 0, 0, 0, 0]);
    data.extend_from_slice(&number.to_be_bytes());
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    data.extend((0..700).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    }));
    (BEGIN_NS + number * STEP_NS, data.len() as u32, data)
}

/// Asks once and checks what came: only frames that were written, in order, and each hole told.
fn ask(directory: &Path, modulus: u64, expression: &str) -> usize {
    let (got, answer) = collect(&query(directory, expression));
    let mut expected: Option<u64> = None;
    // Up to here the answer claims something. Frames of a lane that was ahead of the others may follow, and nothing
    // is said of what lies between those.
    let until = answer.completeness.until.0.saturating_sub(BEGIN_NS) / STEP_NS;
    let hole = |from: u64, to: u64| {
        let to = to.min(until).min(FRAMES);
        // Every frame that is not there lies in an interval that says why.
        let states = [GapState::Expired, GapState::NotYetWritten, GapState::NotCaptured];
        let told = |number: u64| {
            let time = Timestamp(BEGIN_NS + number * STEP_NS);
            let covers =
                |gap: &completeness::Gap| gap.from <= time && time <= gap.to && states.contains(&gap.state);
            answer.completeness.gaps.iter().any(covers)
        };
        for number in (from..to).filter(|number| number % modulus == 1) {
            assert!(told(number), "{expression}: frame {number} is missing and not told: {answer}");
        }
    };
    for frame in &got {
        let number = u64::from_be_bytes(frame.2[42..50].try_into().unwrap());
        assert!(
            *frame == numbered(number) && number % modulus == 1,
            "{expression}: a frame that was not asked for"
        );
        assert!(expected.is_none_or(|expected| number >= expected), "{expression}: out of order or twice");
        hole(expected.unwrap_or(0), number);
        expected = Some(number + 1);
    }
    // And behind the last one, up to where the answer claims to reach.
    hole(expected.unwrap_or(0), FRAMES);
    got.len()
}

#[test]
fn several_questions_at_once_stay_true_while_the_ring_turns_under_them() {
    let directory = tempfile::tempdir().unwrap();
    let small = RingConfig { budget_mib: 12, segment_mib: 1, ..config(directory.path()) };
    let mut ring = Ring::open(&small, LANES, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lanes: Vec<_> = (0..LANES).map(|index| ring.lane(index).unwrap()).collect();
    let (done, answers, found) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for (modulus, expression) in
            [(5, "src host 10.0.0.1"), (3, "dst port 1"), (15, "host 10.0.0.1 and port 1")]
        {
            let (done, answers, found, directory) = (&done, &answers, &found, directory.path());
            scope.spawn(move || {
                // On a busy machine the ring may have turned before a question was answered.
                let mut asked = 0;
                while !done.load(Ordering::Relaxed) || asked < ASKED_MIN {
                    let frames = ask(directory, modulus, expression);
                    asked += 1;
                    answers.fetch_add(1, Ordering::Relaxed);
                    found.fetch_add(frames as u64, Ordering::Relaxed);
                }
            });
        }
        let mut counters = RingCounters::default();
        // Ends the readers as well when something here fails.
        let ending = EndsReaders(&done);
        for number in 0..FRAMES {
            let (time, wire_len, data) = numbered(number);
            let (time, link) = (Timestamp(time), LinkType::ETHERNET);
            let frame = Frame { time, link, interface: 0, wire_len, data: &data };
            lanes[(number / 11 % u64::from(LANES)) as usize].append(&frame, None, None, &mut counters);
        }
        lanes.into_iter().for_each(|lane| lane.close(Timestamp(0)));
        assert!(ring.close().segments_removed > 20);
        drop(ending);
    });
    let (answers, found) = (answers.into_inner(), found.into_inner());
    assert!(answers > 10 && found > 1000, "{answers} answers with {found} frames");
    for (modulus, expression) in [(5, "src host 10.0.0.1"), (3, "dst port 1")] {
        assert!(ask(directory.path(), modulus, expression) > 500);
    }
}

struct EndsReaders<'a>(&'a AtomicBool);

impl Drop for EndsReaders<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
