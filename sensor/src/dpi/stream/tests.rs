//! Segments in, bytes out.

use super::held::SEGMENT_OVERHEAD_BYTES;
use super::*;
use proptest::prelude::*;

/// Reads everything, or as the test tells it, and writes down what it was told: a gap as `<missing>`.
#[derive(Default)]
struct Log {
    text: String,
    /// Bytes that are used only together.
    together: usize,
    /// Skipped after the first bytes read.
    skip: usize,
    counters: DpiCounters,
}

impl Reader for Log {
    fn bytes(&mut self, bytes: &[u8]) -> Take {
        if bytes.is_empty() {
            self.text.push('|');
            return Take::Used(0);
        }
        if bytes.len() < self.together {
            return Take::Used(0);
        }
        self.text.push_str(std::str::from_utf8(bytes).unwrap());
        Take::Used(bytes.len() + std::mem::take(&mut self.skip))
    }

    fn gap(&mut self, missing: u64) -> Take {
        self.text.push_str(&format!("<{missing}>"));
        Take::Used(0)
    }

    fn counters(&mut self) -> &mut DpiCounters {
        &mut self.counters
    }
}

struct Bench {
    stream: Stream,
    pool: Pool,
    log: Log,
}

impl Bench {
    fn new() -> Bench {
        Bench { stream: Stream::default(), pool: Pool::new(64 << 10, 1 << 20), log: Log::default() }
    }

    fn segment(&mut self, sequence: u32, text: &str) -> &mut Bench {
        let outcome = self.stream.segment(sequence, text.as_bytes(), &mut self.pool, &mut self.log);
        assert!(outcome.is_continue());
        self
    }

    fn acknowledge(&mut self, number: u32) -> &mut Bench {
        assert!(self.stream.acknowledge(number, &mut self.pool, &mut self.log).is_continue());
        self
    }

    fn end(&mut self) -> &str {
        assert!(self.stream.flush(&mut self.pool, &mut self.log).is_continue());
        self.stream.release(&mut self.pool);
        assert_eq!(self.pool.total_bytes(), 0);
        &self.log.text
    }
}

#[test]
fn segments_in_order_are_read_at_once() {
    let mut bench = Bench::new();
    bench.segment(100, "abc").segment(103, "def");
    assert!(bench.stream.held.is_none());
    assert_eq!(bench.end(), "abcdef");
}

#[test]
fn segments_out_of_order_wait_for_their_turn() {
    let mut bench = Bench::new();
    bench.segment(100, "ab").segment(106, "gh").segment(104, "ef").segment(110, "kl").segment(102, "cd");
    assert_eq!(bench.log.text, "abcdefgh");
    assert_eq!(bench.segment(108, "ij").end(), "abcdefghijkl");
    assert_eq!(bench.log.counters, DpiCounters::default());
}

#[test]
fn a_segment_seen_twice_counts_once() {
    let mut bench = Bench::new();
    bench.segment(100, "abc").segment(100, "abc").segment(101, "bcd").segment(106, "gh").segment(106, "gh");
    assert_eq!(bench.segment(104, "ef").end(), "abcdefgh");
    assert_eq!(bench.log.counters.overlap_conflict_bytes, 0);
}

#[test]
fn a_keep_alive_is_no_data() {
    let mut bench = Bench::new();
    assert_eq!(bench.segment(100, "abc").segment(102, "\0").segment(103, "d").end(), "abcd");
}

#[test]
fn sequence_numbers_wrap() {
    let mut bench = Bench::new();
    bench.segment(u32::MAX - 1, "ab").segment(2, "ef").segment(0, "cd");
    assert_eq!(bench.end(), "abcdef");
    let mut bench = Bench::new();
    bench.segment(u32::MAX - 1, "abcd").segment(4, "gh").acknowledge(6);
    assert_eq!(bench.log.text, "abcd<2>gh");
}

#[test]
fn of_overlapping_bytes_the_first_win_and_differences_are_counted() {
    let mut bench = Bench::new();
    bench.segment(100, "a").segment(103, "DEF").segment(101, "bcxyzg");
    assert_eq!(bench.end(), "abcDEFg");
    assert_eq!(bench.log.counters.overlap_conflict_bytes, 3);
    let mut bench = Bench::new();
    assert_eq!(bench.segment(100, "abc").segment(100, "xyzd").end(), "abcd");
    assert_eq!(bench.log.counters.overlap_conflict_bytes, 0, "what was read is not there to be compared");
    let mut bench = Bench::new();
    bench.segment(100, "a").segment(105, "FG").segment(103, "defgh").segment(101, "bc");
    assert_eq!(bench.end(), "abcdeFGh");
    assert_eq!(bench.log.counters.overlap_conflict_bytes, 2);
    let mut bench = Bench::new();
    bench.log.together = 5;
    bench.segment(100, "abc").segment(98, "xyaXc").segment(103, "de");
    assert_eq!(bench.end(), "abcde");
    assert_eq!(bench.log.counters.overlap_conflict_bytes, 1);
}

#[test]
fn a_hole_is_given_up_when_the_other_side_acknowledges_what_lies_behind_it() {
    let mut bench = Bench::new();
    bench.segment(100, "ab").segment(105, "fg").segment(110, "kl").acknowledge(104);
    assert_eq!(bench.log.text, "ab");
    bench.acknowledge(105);
    assert_eq!(bench.log.text, "ab<3>fg");
    bench.segment(102, "cde");
    assert_eq!(bench.acknowledge(112).log.text, "ab<3>fg<3>kl");
    assert_eq!((bench.log.counters.gaps, bench.log.counters.gap_bytes), (2, 6));
}

#[test]
fn without_acknowledgements_holes_are_given_up_at_the_end() {
    let mut bench = Bench::new();
    bench.segment(100, "ab").segment(105, "fg").segment(110, "kl");
    assert_eq!(bench.log.text, "ab");
    assert_eq!(bench.end(), "ab<3>fg<3>kl");
}

#[test]
fn a_hole_is_given_up_when_too_much_is_held() {
    let mut bench = Bench::new();
    bench.pool = Pool::new(2 * (SEGMENT_OVERHEAD_BYTES + 2), 1 << 20);
    bench.segment(100, "ab").segment(104, "ef").segment(108, "ij");
    assert_eq!(bench.log.text, "ab");
    bench.segment(112, "m");
    assert_eq!(bench.log.text, "ab<2>ef");
    assert_eq!(bench.log.counters.memory_gaps, 0);
}

#[test]
fn a_full_worker_gives_up_the_holes_of_who_wants_more() {
    let mut bench = Bench::new();
    bench.pool = Pool::new(64 << 10, SEGMENT_OVERHEAD_BYTES as u64 + 2);
    bench.segment(100, "ab").segment(104, "ef");
    assert_eq!(bench.log.text, "ab");
    bench.segment(108, "ij");
    assert_eq!(bench.log.text, "ab<2>ef");
    assert_eq!(bench.log.counters.memory_gaps, 1);
}

#[test]
fn what_a_reader_leaves_is_offered_again_with_what_follows() {
    let mut bench = Bench::new();
    bench.log.together = 4;
    bench.segment(100, "ab").segment(103, "d");
    assert_eq!(bench.log.text, "");
    assert_eq!(bench.segment(102, "c").log.text, "abcd");
    assert_eq!(bench.end(), "abcd");
}

#[test]
fn a_reader_that_never_uses_anything_is_told_that_it_was_too_much() {
    let mut bench = Bench::new();
    bench.pool = Pool::new(4, 1 << 20);
    bench.log.together = 100;
    bench.segment(100, "abc").segment(103, "de");
    assert_eq!(bench.log.text, "<5>");
}

#[test]
fn a_gap_counts_from_the_first_byte_not_used() {
    let mut bench = Bench::new();
    bench.log.together = 4;
    bench.segment(100, "ab").segment(105, "fghi").acknowledge(109);
    assert_eq!(bench.end(), "<5>fghi");
    assert_eq!(bench.log.counters.gap_bytes, 3);
}

#[test]
fn skipped_bytes_pass_unread_whether_seen_or_not() {
    let mut bench = Bench::new();
    bench.log.skip = 6;
    bench.segment(100, "ab");
    assert!(bench.stream.held.is_none());
    bench.segment(106, "..").segment(103, ".");
    assert!(bench.stream.held.is_none(), "nothing is held of a skip");
    assert_eq!(bench.segment(108, "cd").end(), "ab|cd");
    assert_eq!(bench.log.counters.gaps, 0);
}

#[test]
fn the_end_of_a_skip_is_told_when_nothing_follows_yet() {
    let mut bench = Bench::new();
    bench.log.skip = 2;
    assert_eq!(bench.segment(100, "ab").segment(102, "..").log.text, "ab|");
}

#[test]
fn a_hole_over_the_end_of_a_skip_is_a_gap_of_what_lies_behind_it() {
    let mut bench = Bench::new();
    bench.log.skip = 4;
    bench.segment(100, "ab").segment(109, "jk");
    assert_eq!(bench.log.text, "ab");
    assert_eq!(bench.acknowledge(111).log.text, "ab|<3>jk");
}

#[test]
fn what_a_flow_lacks_of_a_skip_is_told_at_its_end() {
    let mut bench = Bench::new();
    bench.log.skip = 1000;
    assert_eq!(bench.segment(100, "ab").segment(102, "..").end(), "ab<998>");
}

#[test]
fn a_skip_may_be_longer_than_the_circle_of_sequence_numbers() {
    let mut bench = Bench::new();
    bench.log.skip = 5 << 30;
    bench.segment(0, "ab");
    let mut sequence = 2u32;
    for _ in 0..5 {
        for _ in 0..1024 {
            bench.segment(sequence, ".");
            sequence = sequence.wrapping_add(1 << 20);
        }
    }
    assert_eq!(bench.segment(sequence, "cd").end(), "abcd");
}

#[test]
fn a_segment_far_ahead_is_ignored_until_three_follow_each_other() {
    let far = 100 + DISTANCE_BYTES_MAX as u32 + 3;
    let mut bench = Bench::new();
    bench.segment(100, "ab").segment(far, "x").segment(102, "cd");
    assert_eq!(bench.log.text, "abcd");
    bench.segment(far + 50, "u").segment(far + 51, "v").segment(far + 60, "w");
    assert_eq!(bench.log.text, "abcd");
    bench.segment(far + 61, "x").segment(far + 62, "y");
    assert_eq!(bench.log.text, format!("abcd<{}>y", far + 62 - 104));
    let nearest =
        Bench::new().segment(100, "ab").segment(102 + DISTANCE_BYTES_MAX as u32, "x").stream.is_waiting();
    assert!(nearest, "at the border it is held");
}

#[test]
fn a_stream_led_astray_backwards_finds_its_way() {
    let mut bench = Bench::new();
    bench.segment(1 << 30, "ab").segment(100, "cd").segment(102, "ef").segment(104, "gh").segment(106, "ij");
    assert_eq!(bench.end(), "ab<0>ghij");
}

#[test]
fn a_stream_begins_where_the_other_side_says() {
    let mut bench = Bench::new();
    bench.acknowledge(100).segment(103, "def").segment(100, "abc");
    assert_eq!(bench.end(), "abcdef");
    let mut bench = Bench::new();
    assert_eq!(bench.acknowledge(100).segment(98, "xyz").end(), "xyz", "captures may show the answer first");
}

#[test]
fn while_nothing_is_used_an_earlier_segment_moves_the_beginning() {
    let mut bench = Bench::new();
    bench.log.together = 9;
    bench.segment(106, "ghi");
    assert!(bench.stream.rebase(103, &mut bench.pool));
    bench.segment(103, "def");
    assert!(bench.stream.rebase(100, &mut bench.pool));
    assert_eq!(bench.segment(100, "abc").log.text, "abcdefghi");
    assert!(!bench.stream.rebase(99, &mut bench.pool));
    assert_eq!(bench.end(), "abcdefghi");
}

#[test]
fn a_reader_that_stops_leaves_nothing_behind() {
    struct Stop(DpiCounters);
    impl Reader for Stop {
        fn bytes(&mut self, _: &[u8]) -> Take {
            Take::Stop
        }
        fn gap(&mut self, _: u64) -> Take {
            Take::Stop
        }
        fn counters(&mut self) -> &mut DpiCounters {
            &mut self.0
        }
    }
    let (mut stream, mut pool) = (Stream::default(), Pool::new(1000, 1000));
    let mut reader = Stop(DpiCounters::default());
    assert!(stream.segment(7, b"a", &mut pool, &mut reader).is_break());
    assert!(stream.segment(9, b"c", &mut pool, &mut reader).is_continue());
    assert!(stream.acknowledge(9, &mut pool, &mut reader).is_break());
    stream.release(&mut pool);
    assert_eq!(pool.total_bytes(), 0);
}

#[test]
fn many_small_segments_with_holes_stay_within_the_limit() {
    let mut bench = Bench::new();
    bench.segment(0, "a");
    for at in 1..20_000u32 {
        bench.segment(at * 2, "x");
        assert!(bench.pool.total_bytes() <= 64 << 10);
    }
    bench.end();
}

/// How a sender's stream may reach a capture: cut anywhere, overlapping, repeated, shuffled.
fn deliveries() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, usize)>)> {
    prop::collection::vec(b'a'..=b'z', 1..400).prop_flat_map(|bytes| {
        let length = bytes.len();
        let cuts = prop::collection::vec(0..length, 0..20).prop_map(move |mut cuts| {
            cuts.extend([0, length]);
            cuts.sort_unstable();
            cuts.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>()
        });
        let extra = prop::collection::vec((0..length, 0..60usize), 0..10).prop_map(move |extra| {
            extra.into_iter().map(move |(at, more)| (at, (at + more).min(length))).collect::<Vec<_>>()
        });
        let pieces = (cuts, extra).prop_map(|(cuts, extra)| [cuts, extra].concat()).prop_shuffle();
        (Just(bytes), pieces)
    })
}

proptest! {
    #[test]
    fn any_split_order_and_repetition_reads_the_same(
        (bytes, pieces) in deliveries(), initial in any::<u32>(), together in 0..8usize,
    ) {
        let mut bench = Bench::new();
        bench.log.together = together;
        // The first byte is known to be the first, as a handshake's acknowledgement tells.
        bench.acknowledge(initial);
        for (from, to) in pieces {
            let text = std::str::from_utf8(&bytes[from..to]).unwrap();
            bench.segment(initial.wrapping_add(from as u32), text);
            prop_assert!(bench.log.text.as_bytes() == &bytes[..bench.log.text.len()]);
        }
        let unused = bench.stream.take_front(&mut bench.pool);
        prop_assert_eq!([bench.log.text.as_bytes(), &unused].concat(), bytes);
        bench.end();
    }

    #[test]
    fn whatever_comes_the_accounts_are_right(
        pieces in prop::collection::vec((any::<u8>(), any::<u32>(), 0..300usize, any::<u32>()), 0..60),
        skip in 0..5000usize,
    ) {
        let mut bench = Bench::new();
        bench.pool = Pool::new(2000, 1500);
        bench.log.skip = skip;
        bench.log.together = 3;
        for (kind, sequence, length, number) in pieces {
            let near = |number: u32| if kind % 4 > 0 { number % 4096 } else { number };
            if kind % 5 == 0 {
                bench.acknowledge(near(number));
            }
            bench.segment(near(sequence), &"x".repeat(length));
            prop_assert!(bench.pool.total_bytes() <= 2000);
            prop_assert_eq!(bench.pool.total_bytes(), bench.stream.held.as_ref().map_or(0, |held| held.bytes() as u64));
        }
        bench.end();
    }
}

#[test]
fn of_overlapping_bytes_those_win_that_the_receiver_keeps() {
    use OverlapPolicy::{Bsd, First, Last, Linux, Windows};
    // Held is DEF at 103; what comes begins before it, at it and is longer, at it, or behind its beginning.
    let cases = [
        (First, ["abcDEFg", "abcDEFw", "abcDEF", "abcDEFz"]),
        (Last, ["abcxyzg", "abcxyzw", "abcxyz", "abcDxyz"]),
        (Bsd, ["abcxyzg", "abcDEFw", "abcDEF", "abcDEFz"]),
        (Linux, ["abcxyzg", "abcxyzw", "abcDEF", "abcDEFz"]),
        (Windows, ["abcxyzg", "abcDEFw", "abcDEF", "abcDEFz"]),
    ];
    for (policy, wants) in cases {
        let seconds = [(102, "cxyzg"), (103, "xyzw"), (103, "xyz"), (104, "xyz")];
        for (want, (sequence, second)) in wants.into_iter().zip(seconds) {
            // Whether the segment comes while the hole is open, or fills it.
            let mut bench = Bench::new();
            bench.stream = Stream::new(policy);
            bench.segment(100, "a").segment(103, "DEF").segment(sequence, second);
            assert_eq!(bench.segment(101, "bc").end(), want, "{policy:?} {second}");
            assert!(bench.log.counters.overlap_conflict_bytes > 0);
        }
        let mut bench = Bench::new();
        bench.stream = Stream::new(policy);
        let want = if policy == First { "abcDEFg" } else { "abcxyzg" };
        assert_eq!(
            bench.segment(100, "a").segment(103, "DEF").segment(101, "bcxyzg").end(),
            want,
            "{policy:?}"
        );
        assert_eq!(bench.log.counters.overlap_conflict_bytes, 3);
    }
}

#[test]
fn an_urgent_byte_is_passed_over_where_it_is_the_next_in_order() {
    let mut bench = Bench::new();
    bench.segment(1, "ab");
    bench.stream.pass_urgent(3);
    bench.segment(4, "cd");
    // Once more, and one that is ahead: its place is a hole.
    bench.stream.pass_urgent(3);
    bench.stream.pass_urgent(8);
    bench.segment(6, "ef").segment(9, "gh").acknowledge(11);
    assert_eq!(bench.end(), "abcdef<1>gh");
}
