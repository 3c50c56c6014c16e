//! Ledgers in, statements out: what is missing, why, and in which words.

use super::*;
use crate::ring::gaps::Alive;

fn record(kind: RecordKind, run: u32, from: u64, to: u64, frames: u64) -> GapRecord {
    GapRecord { kind, lane: 0, run, from: Timestamp(from), to: Timestamp(to), frames, bytes: 0, blocks: 0 }
}

fn alive(lane: u16, run: u32, until: u64) -> Alive {
    Alive { lane, run, until: Timestamp(until), blocks: 0 }
}

fn ledger(records: &[GapRecord]) -> Gaps {
    Gaps { records: records.to_vec(), ..Gaps::default() }
}

/// Whether a statement says complete, and its gaps. That nobody captures since the end of an open range has its own test.
fn state(
    gaps: &Gaps,
    since: Option<u64>,
    until: Option<u64>,
    being_written: bool,
) -> (bool, Vec<(GapState, u64, u64)>) {
    let evidence = Evidence {
        gaps,
        being_written,
        since: since.map(Timestamp),
        until: until.map(Timestamp),
        now: Timestamp(1000),
        unreadable: &[],
        shortened: Shortened::default(),
        reads_bytes: false,
    };
    let mut stated = Completeness::state(&evidence);
    let behind = (GapState::NotCaptured, stated.until, evidence.now);
    let is_behind = |gap: &Gap| (gap.state, gap.from, gap.to) == behind && gap.from < gap.to;
    if until.is_none() {
        stated.gaps.retain(|gap| !is_behind(gap));
    }
    (stated.complete, stated.gaps.iter().map(|gap| (gap.state, gap.from.0, gap.to.0)).collect())
}

fn run(number: u32, from: u64, to: u64) -> [GapRecord; 2] {
    [record(RecordKind::RunStart, number, from, from, 0), record(RecordKind::RunEnd, number, to, to, 0)]
}

#[test]
fn one_run_asked_for_as_a_whole_or_in_part_is_complete() {
    let gaps = ledger(&run(1, 100, 200));
    assert_eq!(state(&gaps, None, None, false), (true, vec![]));
    assert_eq!(state(&gaps, Some(100), Some(200), false), (true, vec![]));
    assert_eq!(state(&gaps, Some(150), Some(160), false), (true, vec![]));
}

#[test]
fn before_between_and_after_runs_nothing_was_captured() {
    let gaps = ledger(&[run(1, 100, 200), run(2, 300, 400)].concat());
    let missing = |from, to| (GapState::NotCaptured, from, to);
    assert_eq!(state(&gaps, None, None, false), (false, vec![missing(200, 300)]));
    let all = vec![missing(50, 100), missing(200, 300), missing(400, 500)];
    assert_eq!(state(&gaps, Some(50), Some(500), false), (false, all));
    assert_eq!(state(&gaps, Some(310), Some(390), false), (true, vec![]));
}

#[test]
fn a_range_of_one_moment_was_captured_or_was_not() {
    let gaps = ledger(&[run(1, 100, 200), run(2, 300, 400)].concat());
    for (moment, is_captured) in [
        (99, false),
        (100, true),
        (150, true),
        (200, true),
        (201, false),
        (299, false),
        (300, true),
        (401, false),
    ] {
        let missing = vec![(GapState::NotCaptured, moment, moment)];
        let want = if is_captured { (true, vec![]) } else { (false, missing) };
        assert_eq!(state(&gaps, Some(moment), Some(moment), false), want, "{moment}");
    }
    let words = statement(&gaps, Some(99), Some(99)).to_string();
    assert!(words.contains("not captured: less than 1 ms, before the ring began"), "{words}");
    assert!(statement(&gaps, Some(401), Some(401)).to_string().contains("sensor stopped"));
    // As `--since now` asks: 1000 is now, and the sensor has told up to 900.
    let mut open = ledger(&run(1, 500, 0)[..1]);
    open.alive.push(alive(0, 1, 900));
    assert_eq!(state(&open, Some(1000), None, true), (false, vec![(GapState::NotYetWritten, 1000, 1000)]));
    assert_eq!(state(&open, Some(1000), None, false), (false, vec![(GapState::NotCaptured, 1000, 1000)]));
    assert_eq!(state(&open, Some(900), Some(900), true), (true, vec![]));
    // In the future no sensor has written anything yet.
    let future = (GapState::NotCaptured, 1001, 1001);
    assert_eq!(state(&open, Some(1001), Some(1001), true), (false, vec![future]));
}

#[test]
fn an_open_range_behind_all_there_is_was_not_captured() {
    let gaps = ledger(&run(1, 100, 200));
    assert_eq!(state(&gaps, Some(200), None, false), (true, vec![]));
    assert_eq!(state(&gaps, Some(201), None, false), (false, vec![(GapState::NotCaptured, 201, 1000)]));
    assert_eq!(state(&gaps, Some(2000), None, false), (false, vec![(GapState::NotCaptured, 2000, 2000)]));
    // A sensor that writes it has what came last in its memory.
    let gaps = ledger(&[record(RecordKind::RunStart, 1, 100, 100, 0)]);
    assert_eq!(state(&gaps, Some(900), None, true), (false, vec![(GapState::NotYetWritten, 900, 1000)]));
}

#[test]
fn an_empty_ring_says_so() {
    let evidence = Evidence {
        gaps: &Gaps::default(),
        being_written: false,
        since: None,
        until: None,
        now: Timestamp(5),
        unreadable: &[],
        shortened: Shortened::default(),
        reads_bytes: false,
    };
    let stated = Completeness::state(&evidence);
    assert!(!stated.complete && stated.to_string().contains("nothing was ever written"));
}

#[test]
fn losses_and_expiry_count_where_they_overlap_the_range() {
    let mut records = run(1, 100, 200).to_vec();
    records.push(record(RecordKind::Loss(LossKind::Kernel), 1, 120, 130, 7));
    records.push(record(RecordKind::Expired, 1, 100, 110, 50));
    records.push(record(RecordKind::Expired, 1, 105, 115, 60));
    let gaps = ledger(&records);
    assert_eq!(state(&gaps, Some(131), None, false), (true, vec![]));
    let want = vec![(GapState::Expired, 100, 115), (GapState::Dropped, 120, 130)];
    assert_eq!(state(&gaps, None, None, false), (false, want));
}

#[test]
fn what_is_not_written_yet_matters_only_when_it_was_asked_for() {
    let mut gaps = ledger(&run(1, 100, 200)[..1]);
    gaps.alive.push(alive(0, 1, 900));
    let waiting = (GapState::NotYetWritten, 900, 1000);
    assert_eq!(state(&gaps, None, None, true), (true, vec![waiting]));
    assert_eq!(state(&gaps, None, Some(1000), true), (false, vec![waiting]));
    assert_eq!(state(&gaps, None, Some(900), true), (true, vec![]));
    let future = (GapState::NotCaptured, 1000, 1100);
    assert_eq!(state(&gaps, None, Some(1100), true), (false, vec![waiting, future]));
    // The same after kill -9: nobody will write it.
    assert_eq!(state(&gaps, None, Some(950), false), (false, vec![(GapState::NotCaptured, 900, 950)]));
}

#[test]
fn a_killed_run_is_covered_up_to_the_lane_furthest_behind() {
    let killed = |lane, to| GapRecord { lane, ..record(RecordKind::RunKilled, 1, to, to, 0) };
    let start = |lane| GapRecord { lane, ..record(RecordKind::RunStart, 1, 100, 100, 0) };
    let mut records = vec![start(0), start(1), killed(0, 150), killed(1, 160)];
    records.extend(run(2, 300, 400));
    assert_eq!(state(&ledger(&records), None, None, false), (false, vec![(GapState::NotCaptured, 150, 300)]));
}

#[test]
fn losses_that_follow_each_other_are_one_and_others_are_not() {
    let mut records = run(1, 0, 10_000_000_000).to_vec();
    for from in [0, 1_000_000_000, 2_500_000_000] {
        records.push(record(RecordKind::Loss(LossKind::Write), 1, from, from + 100, 5));
    }
    let (_, gaps) = state(&ledger(&records), None, None, false);
    let dropped = |from, to| (GapState::Dropped, from, to);
    assert_eq!(gaps, [dropped(0, 1_000_000_100), dropped(2_500_000_000, 2_500_000_100)]);
}

#[test]
fn many_gaps_are_told_in_sum() {
    const SECOND: u64 = 1_000_000_000;
    let mut records = run(1, 0, 10_000 * SECOND).to_vec();
    records.extend(
        (0..500)
            .map(|n| record(RecordKind::Loss(LossKind::Kernel), 1, n * 10 * SECOND, n * 10 * SECOND + 1, 2)),
    );
    let evidence = Evidence {
        gaps: &ledger(&records),
        being_written: false,
        since: None,
        until: None,
        now: Timestamp(5),
        unreadable: &[],
        shortened: Shortened { frames_by_capture: 3, ..Shortened::default() },
        reads_bytes: false,
    };
    let stated = Completeness::state(&evidence);
    assert_eq!((stated.gaps.len(), stated.frames_dropped_by_kernel()), (2, 1000));
    let json = serde_json::to_value(&stated).unwrap();
    assert_eq!((&json["complete"], &json["gaps"][0]["state"]), (&false.into(), &"dropped".into()));
}

fn statement(gaps: &Gaps, since: Option<u64>, until: Option<u64>) -> Completeness {
    Completeness::state(&Evidence {
        gaps,
        being_written: false,
        since: since.map(Timestamp),
        until: until.map(Timestamp),
        now: Timestamp(1000 * SECOND),
        unreadable: &[],
        shortened: Shortened::default(),
        reads_bytes: false,
    })
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn downtime_is_told_with_its_length_and_how_it_began() {
    let killed = [
        record(RecordKind::RunStart, 2, 403 * SECOND, 403 * SECOND, 0),
        record(RecordKind::RunKilled, 2, 500 * SECOND, 500 * SECOND, 0),
    ];
    let last = run(3, 560 * SECOND, 600 * SECOND);
    let gaps = ledger(&[run(1, 50 * SECOND, 100 * SECOND), killed, last].concat());
    let words = statement(&gaps, Some(20 * SECOND), Some(601 * SECOND)).to_string();
    for line in [
        "not captured: 30 s, before the ring began, 1970-01-01T00:00:20.000000000Z to 1970-01-01T00:00:50.",
        "not captured: 5 m 3 s, sensor stopped, 1970-01-01T00:01:40.000000000Z to 1970-01-01T00:06:43.",
        "not captured: 1 m, sensor killed, 1970-01-01T00:08:20.000000000Z to 1970-01-01T00:09:20.",
        "not captured: 1.0 s, sensor stopped, 1970-01-01T00:10:00.",
    ] {
        assert!(words.contains(line), "{line}\n{words}");
    }
    // A run that nobody ended and nobody writes was killed, though no later one has said so yet.
    let mut open = ledger(&run(1, 0, 0)[..1]);
    open.alive.push(alive(0, 1, 5 * SECOND));
    assert!(statement(&open, None, Some(9 * SECOND)).to_string().contains("4.0 s, sensor killed"));
    // A range that lies behind all runs knows how the last one ended.
    let behind = statement(&gaps, Some(700 * SECOND), Some(710 * SECOND)).to_string();
    assert!(behind.contains("10 s, sensor stopped"), "{behind}");
}

fn step(step: ClockStep, from: u64, to: u64) -> GapRecord {
    let kind = RecordKind::ClockStep(step);
    GapRecord { bytes: (to - from) * SECOND, ..record(kind, 1, from * SECOND, to * SECOND, 1) }
}

#[test]
fn a_step_of_the_clock_is_uncertain_where_times_are_asked_for_and_nothing_is_missing() {
    let mut records = run(1, 100 * SECOND, 200 * SECOND).to_vec();
    records.push(step(ClockStep::Back, 120, 150));
    let gaps = ledger(&records);
    let stepped = vec![(GapState::ClockStep, 120 * SECOND, 150 * SECOND)];
    assert_eq!(state(&gaps, None, None, false), (true, stepped.clone()));
    assert_eq!(state(&gaps, Some(110 * SECOND), None, false), (false, stepped.clone()));
    assert_eq!(state(&gaps, None, Some(120 * SECOND), false), (false, stepped));
    assert_eq!(state(&gaps, Some(150 * SECOND + 1), Some(160 * SECOND), false), (true, vec![]));
    let words = statement(&gaps, None, None).to_string();
    assert!(words.contains("clock step: ") && words.contains("set back by 30 s"), "{words}");
    let gaps =
        ledger(&[&run(1, 100 * SECOND, 200 * SECOND)[..], &[step(ClockStep::Forward, 120, 150)]].concat());
    let json = serde_json::to_value(statement(&gaps, None, None)).unwrap();
    assert_eq!((&json["complete"], &json["gaps"][0]["state"]), (&true.into(), &"clock_step".into()));
    assert!(json["gaps"][0]["reason"].as_str().unwrap().contains("did not occur"));
}

#[test]
fn a_clock_set_back_takes_a_run_to_times_before_its_begin() {
    // From 100 to 150, then set back to 20, and on until 60.
    let back = |lane| GapRecord { lane, ..step(ClockStep::Back, 20, 150) };
    let start = |lane| GapRecord { lane, ..record(RecordKind::RunStart, 1, 100 * SECOND, 100 * SECOND, 0) };
    let end = |lane, at| GapRecord { lane, ..record(RecordKind::RunEnd, 1, at, at, 0) };
    let gaps = ledger(&[start(0), start(1), back(0), back(1), end(0, 60 * SECOND), end(1, 60 * SECOND)]);
    let missing = |since: u64, until: u64| {
        let (_, gaps) = state(&gaps, Some(since * SECOND), Some(until * SECOND), false);
        let not_captured = gaps.into_iter().filter(|gap| gap.0 == GapState::NotCaptured);
        not_captured.map(|gap| (gap.1 / SECOND, gap.2 / SECOND)).collect::<Vec<_>>()
    };
    assert_eq!(missing(10, 160), [(10, 20), (60, 100), (150, 160)]);
    assert_eq!(missing(20, 60), []);
    assert_eq!(missing(100, 150), []);
}

#[test]
fn a_run_whose_clock_was_set_back_goes_on_where_the_clock_is_now() {
    let mut gaps = ledger(&[run(1, 500 * SECOND, 0)[0], step(ClockStep::Back, 100, 600)]);
    gaps.alive.push(alive(0, 1, 130 * SECOND));
    let evidence = Evidence {
        gaps: &gaps,
        being_written: true,
        since: Some(Timestamp(90 * SECOND)),
        until: Some(Timestamp(140 * SECOND)),
        now: Timestamp(135 * SECOND),
        unreadable: &[],
        shortened: Shortened::default(),
        reads_bytes: false,
    };
    let told = Completeness::state(&evidence);
    let told: Vec<_> =
        told.gaps.iter().map(|gap| (gap.state, gap.from.0 / SECOND, gap.to.0 / SECOND)).collect();
    let want = [
        (GapState::NotCaptured, 90, 100),
        (GapState::ClockStep, 100, 600),
        (GapState::NotYetWritten, 130, 135),
        (GapState::NotCaptured, 135, 140),
    ];
    assert_eq!(told, want);
}

#[test]
fn what_was_left_out_matters_where_bytes_are_looked_at_or_frames_were_found() {
    let mut records = run(1, 0, 200 * SECOND).to_vec();
    let cut_off = |from, to, bytes| GapRecord { bytes, ..record(RecordKind::CutOff, 1, from, to, 3) };
    records.extend([cut_off(SECOND, 60 * SECOND, 1000), cut_off(70 * SECOND, 130 * SECOND, 500)]);
    let gaps = ledger(&records);
    let evidence = |reads_bytes, shortened| Evidence {
        gaps: &gaps,
        being_written: false,
        since: None,
        until: None,
        now: Timestamp(0),
        unreadable: &[],
        shortened,
        reads_bytes,
    };
    assert!(Completeness::state(&evidence(false, Shortened::default())).complete);
    let looked = Completeness::state(&evidence(true, Shortened::default()));
    assert_eq!((looked.complete, looked.gaps.len()), (false, 1));
    assert_eq!(
        (looked.gaps[0].state, looked.gaps[0].frames, looked.gaps[0].bytes),
        (GapState::CutOff, Some(6), Some(1500))
    );
    let mut found = Shortened::default();
    found.count(60, 60, None);
    found.count(60, 61, None);
    found.count(60, 160, Some(LeftOut { bytes: 100, hash: [0; 16] }));
    assert_eq!(found, Shortened { frames_by_capture: 1, frames_on_purpose: 1, bytes_left_out: 100 });
    let words = Completeness::state(&evidence(false, found)).to_string();
    assert!(words.contains("cut off: 1 frames, 1970") && words.contains("captured shorter"), "{words}");
    assert!(words.contains("cut off: 1 frames, 100 bytes, ") && words.contains("on purpose"), "{words}");
}

#[test]
fn what_a_later_version_wrote_down_is_told_where_it_touches_the_range() {
    let mut records = run(1, 100, 200).to_vec();
    records.push(record(RecordKind::Unknown(99), 1, 120, 130, 7));
    let gaps = ledger(&records);
    assert_eq!(state(&gaps, None, None, false), (false, vec![(GapState::Unknown, 120, 130)]));
    assert_eq!(state(&gaps, Some(131), None, false), (true, vec![]));
    assert!(statement(&gaps, None, None).to_string().contains("unknown: "));
}

#[test]
fn an_answer_without_frames_says_what_that_means() {
    let whole = statement(&ledger(&run(1, 0, 100)), Some(10), Some(90));
    let part = statement(&ledger(&run(1, 0, 100)), Some(10), Some(190));
    assert_eq!(Finding::of(1, &part, false), Finding::Found);
    assert_eq!(Finding::of(0, &whole, false), Finding::NoSuchPackets);
    assert_eq!(Finding::of(0, &part, false), Finding::Incomplete);
    let sentence = |finding: Finding, stated| finding.sentence(stated).unwrap_or_default();
    assert_eq!(sentence(Finding::Found, &part), "");
    assert!(
        sentence(Finding::NoSuchPackets, &whole)
            .starts_with("no such packets: the range was captured completely")
    );
    assert!(sentence(Finding::Incomplete, &part).ends_with("missing or uncertain: not captured"));
    // One that was stopped has not looked at all of the range.
    assert_eq!(
        (Finding::of(0, &whole, true), Finding::of(1, &whole, true)),
        (Finding::Incomplete, Finding::Found)
    );
    assert!(sentence(Finding::Incomplete, &whole).ends_with("which is not all of the range"));
    assert_eq!(serde_json::to_value(Finding::NoSuchPackets).unwrap(), "no_such_packets");
}

#[test]
fn a_lane_that_does_not_say_until_when_it_is_covered_is_not() {
    let start = |lane| GapRecord { lane, ..record(RecordKind::RunStart, 1, 100, 100, 0) };
    let mut gaps = ledger(&[start(0), start(1)]);
    gaps.alive = vec![alive(0, 1, 900), alive(1, 1, 300)];
    let waiting = |from| (GapState::NotYetWritten, from, 1000);
    assert_eq!(state(&gaps, None, Some(1000), true), (false, vec![waiting(300)]));
    // The slot of lane 1 is damaged, or still another run's.
    gaps.alive.pop();
    assert_eq!(state(&gaps, None, Some(1000), true), (false, vec![waiting(100)]));
    gaps.alive.push(alive(1, 0, 50));
    assert_eq!(state(&gaps, None, Some(1000), true), (false, vec![waiting(100)]));
}

#[test]
fn many_unreadable_blocks_of_one_file_are_one_gap_and_few_are_told_one_by_one() {
    let gaps = ledger(&run(1, 100, 200));
    let told = |blocks: u64, file: &str| {
        let block = |n: u64| {
            let (from, to, what) =
                (Timestamp(110 + n), Timestamp(115 + n), format!("block at {n} of a.seg: short"));
            Unreadable { from, to, frames: Some(3), state: GapState::Damaged, file: file.into(), what }
        };
        let evidence = Evidence {
            gaps: &gaps,
            being_written: false,
            since: None,
            until: None,
            now: Timestamp(200),
            unreadable: &Vec::from_iter((0..blocks).map(block)),
            shortened: Shortened::default(),
            reads_bytes: false,
        };
        Completeness::state(&evidence).gaps
    };
    assert_eq!((told(4, "a.seg").len(), told(20, "").len()), (4, 20));
    let told = told(20, "a.seg");
    let [gap] = &told[..] else { panic!("{told:?}") };
    assert_eq!(
        (gap.state, gap.from, gap.to, gap.frames),
        (GapState::Damaged, Timestamp(110), Timestamp(134), Some(60))
    );
    assert_eq!(gap.reason, "20 blocks of a.seg; the first: block at 0 of a.seg: short");
}

#[test]
fn that_nobody_captures_since_the_end_of_an_open_range_is_told_and_makes_nothing_incomplete() {
    let mut killed = ledger(&run(1, 100, 0)[..1]);
    killed.alive.push(alive(0, 1, 900));
    let stopped = ledger(&run(1, 100, 900));
    let told = |gaps: &Gaps, being_written, until: Option<u64>, now| {
        let evidence = Evidence {
            gaps,
            being_written,
            since: None,
            until: until.map(Timestamp),
            now: Timestamp(now),
            unreadable: &[],
            shortened: Shortened::default(),
            reads_bytes: false,
        };
        let stated = Completeness::state(&evidence);
        let gaps = stated.gaps.into_iter().map(|gap| (gap.state, gap.from.0, gap.to.0, gap.reason));
        (stated.complete, gaps.collect::<Vec<_>>())
    };
    let not_captured = |reason: &str| vec![(GapState::NotCaptured, 900, 1000, reason.to_owned())];
    assert_eq!(told(&killed, false, None, 1000), (true, not_captured("sensor killed")));
    assert_eq!(told(&stopped, false, None, 1000), (true, not_captured("sensor stopped")));
    for (gaps, until, now) in [(&killed, None, 900), (&stopped, None, 899), (&killed, Some(900), 1000)] {
        assert_eq!(told(gaps, false, until, now), (true, vec![]), "{until:?} {now}");
    }
    let (complete, gaps) = told(&killed, true, None, 1000);
    assert_eq!((complete, gaps.len(), gaps[0].0), (true, 1, GapState::NotYetWritten));
}
