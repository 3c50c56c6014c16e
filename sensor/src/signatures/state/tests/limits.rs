//! `threshold`, `detection_filter`, and `threshold.config`.

use super::super::windows::PORTS_MAX;
use super::*;
use weir_common::rule::Action;

const RULE: RuleId = RuleId::new(1, 7);

fn threshold(text: &str) -> Threshold {
    Threshold::read(&option(text)).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn matched(second: u64) -> Matched {
    Matched {
        source: address(1),
        destination: address(2),
        ports: [1000, 80],
        flow_id: Some(1),
        time: Timestamp::from_parts(second, 0),
    }
}

fn of(threshold: Threshold) -> RuleLimits {
    RuleLimits { threshold: Some(threshold), ..RuleLimits::default() }
}

fn run(text: &str, seconds: &[u64]) -> Vec<bool> {
    let (limits, mut windows) = (of(threshold(text)), Windows::default());
    let alerts = |second: &u64| limits.verdict(&mut windows, RULE, &matched(*second)) == Verdict::Alert;
    seconds.iter().map(alerts).collect()
}

#[test]
fn each_type_alerts_when_it_says() {
    let (yes, no) = (true, false);
    // The last moment of a window is its tenth second.
    let times = [0, 1, 2, 3, 10, 11, 12];
    let with = |kind: &str| format!("threshold:type {kind}, track by_src, count 2, seconds 10");
    assert_eq!(run(&with("limit"), &times), [yes, yes, no, no, no, yes, yes]);
    assert_eq!(run(&with("threshold"), &times), [no, yes, no, yes, no, no, yes]);
    assert_eq!(run(&with("both"), &times), [no, yes, no, no, no, no, yes]);
    let filter = "detection_filter:track by_src, count 2, seconds 10";
    assert_eq!(run(filter, &times), [no, no, yes, yes, yes, no, no]);
}

#[test]
fn a_count_of_one_alerts_at_once() {
    let times = [0, 1, 10, 11];
    let with = |kind: &str| format!("threshold:type {kind},track by_src,count 1,seconds 10");
    assert_eq!(run(&with("limit"), &times), [true, false, false, true]);
    assert_eq!(run(&with("threshold"), &times), [true; 4]);
    assert_eq!(run(&with("both"), &times), [true, false, false, true]);
    let filter = "detection_filter:track by_src,count 1,seconds 10";
    assert_eq!(run(filter, &times), [false, true, true, false]);
}

#[test]
fn time_that_goes_back_is_within_the_window() {
    let limit = "threshold:type limit, track by_src, count 1, seconds 10";
    assert_eq!(run(limit, &[100, 50, 111]), [true, false, true]);
}

#[test]
fn a_backoff_alerts_at_the_count_and_its_multiples() {
    for (count, multiplier, alerts) in [
        (1, 10, vec![1, 10, 100, 1000]),
        (1, 2, vec![1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]),
        (3, 2, vec![3, 6, 12, 24, 48, 96, 192, 384, 768, 1536]),
        (5, 5, vec![5, 25, 125, 625]),
        (2, 1, vec![2]),
    ] {
        let text = format!("threshold:type backoff, track by_flow, count {count}, multiplier {multiplier}");
        let told = run(&text, &[5; 2500]);
        let told: Vec<usize> =
            told.iter().enumerate().filter(|(_, told)| **told).map(|(number, _)| number + 1).collect();
        assert_eq!(told, alerts, "{text}");
    }
}

#[test]
fn what_is_tracked_is_counted_apart() {
    for (track, same, other) in [
        ("by_src", (1, 9), (2, 2)),
        ("by_dst", (9, 2), (1, 3)),
        ("by_both", (2, 1), (1, 3)),
        ("by_rule", (8, 9), (0, 0)),
    ] {
        let limits = of(threshold(&format!("threshold:type limit, track {track}, count 1, seconds 10")));
        let mut windows = Windows::default();
        let mut count = |sid, (source, destination)| {
            let matched =
                Matched { source: address(source), destination: address(destination), ..matched(0) };
            limits.verdict(&mut windows, RuleId::new(1, sid), &matched) == Verdict::Alert
        };
        assert!(count(1, (1, 2)) && !count(1, same), "{track}");
        assert!(track == "by_rule" || count(1, other), "{track}");
        assert!(count(2, (1, 2)), "another rule counts for itself");
    }
    let limits = of(threshold("threshold:type limit, track by_flow, count 1, seconds 10"));
    let mut windows = Windows::default();
    let mut count = |flow_id| limits.verdict(&mut windows, RULE, &Matched { flow_id, ..matched(0) });
    assert_eq!(count(Some(1)), Verdict::Alert);
    assert_eq!(count(Some(1)), Verdict::NoAlert);
    assert_eq!(count(Some(2)), Verdict::Alert);
    assert_eq!(count(None), Verdict::NoAlert, "a packet without flow is not counted and not told");
}

#[test]
fn different_ports_are_counted_once() {
    let text = "detection_filter:track by_dst, count 2, seconds 60, unique_on dst_port";
    let limits = of(threshold(text));
    assert!(limits.threshold.unwrap().needs_ports());
    let mut windows = Windows::default();
    let mut count = |port, second| {
        limits.verdict(&mut windows, RULE, &Matched { ports: [9, port], ..matched(second) }) == Verdict::Alert
    };
    assert!(!count(80, 0) && !count(80, 1) && !count(81, 2) && !count(80, 3));
    assert!(count(82, 4) && count(80, 60), "once there were more than two, each match alerts");
    assert!(!count(80, 61) && !count(81, 62) && count(7, 63), "a new window begins anew");
    let source = threshold("detection_filter:track by_dst, count 1, seconds 60, unique_on src_port");
    let mut windows = Windows::default();
    for (ports, alerts) in [([1, 80], false), ([1, 81], false), ([2, 81], true)] {
        let verdict = of(source).verdict(&mut windows, RULE, &Matched { ports, ..matched(0) });
        assert_eq!(verdict == Verdict::Alert, alerts, "{ports:?}");
    }
    assert!(!threshold("detection_filter:track by_dst, count 1, seconds 60").needs_ports());
}

#[test]
fn past_the_most_ports_matches_are_counted_instead() {
    let many = threshold("detection_filter:track by_rule, count 65535, seconds 60, unique_on src_port");
    let mut windows = Windows::default();
    for sid in 0..(PORTS_MAX >> 16) as u32 {
        for port in 0..=u16::MAX {
            let matched = Matched { ports: [port, 0], ..matched(0) };
            of(many).verdict(&mut windows, RuleId::new(2, sid), &matched);
        }
    }
    assert_eq!(windows.ports_refused, 0);
    let few = threshold("detection_filter:track by_rule, count 1, seconds 60, unique_on src_port");
    let mut alerts = || of(few).verdict(&mut windows, RULE, &matched(0)) == Verdict::Alert;
    assert!(!alerts() && alerts());
    assert_eq!(windows.ports_refused, 2);
}

#[test]
fn wrong_thresholds_are_refused_with_their_place() {
    for (text, column, part) in [
        ("threshold:type limit, track by_src, count 1", 0, "expected `seconds`"),
        ("threshold:track by_src, count 1, seconds 1", 0, "expected `type`"),
        ("threshold:type limit, count 1, seconds 1", 0, "expected `track`"),
        ("threshold:type other, track by_src, count 1, seconds 1", 0, "expected `type`"),
        ("threshold:type limit, track by_me, count 1, seconds 1", 18, "`by_me`"),
        ("threshold:type limit, track by_src, count 0, seconds 1", 32, "at least 1"),
        ("threshold:type limit, track by_src, count 4294967296, seconds 1", 32, "at least 1"),
        ("threshold:type limit, track by_src, count 1, seconds x", 43, "at least 0"),
        ("threshold:type limit, track by_src, count 1, seconds 1, more", 46, "a name and a value"),
        ("threshold:type limit, track by_src, count 1, seconds 1, more 1", 46, "not known"),
        ("threshold:type limit, track by_src, count 1, count 1, seconds 1", 35, "twice"),
        (
            "threshold:type limit, track by_src, count 1, multiplier 1, seconds 1",
            0,
            "only for `type backoff`",
        ),
        ("threshold:type backoff, track by_src, count 1, multiplier 2", 0, "only for `track by_flow`"),
        ("threshold:type backoff, track by_flow, count 1, seconds 2", 0, "takes `multiplier`"),
        ("threshold:type backoff, track by_flow, count 1, multiplier 0", 49, "at least 1"),
        ("threshold:type limit, track by_src, count 1, seconds 1, unique_on dst_port", 46, "not known"),
        ("detection_filter:type limit, track by_src, count 1, seconds 1", 0, "not known"),
        ("detection_filter:track by_src, count 1, seconds 0", 31, "at least 1"),
        ("detection_filter:track by_src, count 1, seconds 1, unique_on port", 44, "`src_port` or"),
        ("threshold", 0, "needs a value"),
    ] {
        let option = option(text);
        let (place, reason) = Threshold::read(&option).unwrap_err();
        let from = if option.value.is_some() { option.value_place } else { option.place };
        assert_eq!(place.column - from.column, column, "{text}: {reason}");
        assert!(reason.contains(part), "{text}: {reason}");
    }
}

#[test]
fn saved_windows_go_on_where_they_were() {
    for (text, before, after) in [
        ("threshold:type limit, track by_rule, count 2, seconds 10", [true, true], [false, false]),
        ("threshold:type backoff, track by_flow, count 1, multiplier 2", [true, true], [false, true]),
    ] {
        let limits = of(threshold(text));
        let mut first = Windows::default();
        let alerts =
            |windows: &mut Windows, second| limits.verdict(windows, RULE, &matched(second)) == Verdict::Alert;
        assert_eq!([alerts(&mut first, 0), alerts(&mut first, 1)], before, "{text}");
        let mut second = Windows::default();
        second.restore(first.saved(Timestamp::from_parts(2, 0)));
        assert_eq!([alerts(&mut second, 2), alerts(&mut second, 3)], after, "{text}");
    }
    let limits = of(threshold("threshold:type limit, track by_rule, count 2, seconds 10"));
    let mut windows = Windows::default();
    limits.verdict(&mut windows, RULE, &matched(0));
    assert_eq!(windows.saved(Timestamp::from_parts(10, 0)).len(), 1);
    assert!(windows.saved(Timestamp::from_parts(11, 0)).is_empty());
}

#[test]
fn too_many_windows_are_dropped_and_counted() {
    let limits = of(threshold("threshold:type limit, track by_flow, count 1, seconds 10"));
    let mut windows = Windows::default();
    let count = |windows: &mut Windows, flow_id: u64, second: u64| {
        limits.verdict(windows, RULE, &Matched { flow_id: Some(flow_id), ..matched(second) })
    };
    for flow_id in 0..windows::ENTRIES_MAX as u64 {
        count(&mut windows, flow_id, u64::from(flow_id % 2 == 0));
    }
    assert_eq!(windows.resets, 0);
    // Half of them are over: no more are dropped.
    count(&mut windows, u64::MAX, 11);
    assert_eq!((windows.resets, count(&mut windows, 0, 11)), (0, Verdict::NoAlert));
    for flow_id in 0..windows::ENTRIES_MAX as u64 {
        count(&mut windows, flow_id, 11);
    }
    assert_eq!(windows.resets, 1);
}

fn file(text: &str) -> ThresholdFile {
    let (file, problems) = ThresholdFile::read("threshold.config", text.as_bytes(), &Variables::default());
    assert!(problems.is_empty(), "{problems:?}");
    file
}

#[test]
fn suppressions_hold_for_the_ends_they_name() {
    for (line, source, destination, is_told) in [
        ("suppress gen_id 1, sig_id 7", 1, 2, false),
        ("suppress gen_id 1, sig_id 8", 1, 2, true),
        ("suppress gen_id 1, sig_id 0", 1, 2, false),
        ("suppress gen_id 2, sig_id 0", 1, 2, true),
        ("suppress gen_id 0, sig_id 0", 1, 2, false),
        ("suppress gen_id 1, sig_id 7, track by_src, ip 10.0.0.1", 1, 2, false),
        ("suppress gen_id 1, sig_id 7, track by_src, ip 10.0.0.1", 2, 1, true),
        ("suppress gen_id 1,sig_id 7,track by_dst,ip 10.0.0.0/30", 9, 3, false),
        ("suppress gen_id 1,sig_id 7,track by_dst,ip 10.0.0.0/30", 9, 4, true),
        ("suppress gen_id 1, sig_id 7, track by_either, ip 10.0.0.4", 9, 4, false),
        ("suppress gen_id 1, sig_id 7, track by_either, ip 10.0.0.4", 4, 9, false),
        ("suppress gen_id 1, sig_id 7, track by_either, ip 10.0.0.4", 3, 9, true),
        ("suppress gen_id 1, sig_id 7, track by_src, ip [10.0.0.1, 10.0.0.4]", 4, 2, false),
        ("suppress gen_id 1, sig_id 7, track by_src, ip [10.0.0.0/24, !10.0.0.4]", 4, 2, true),
        ("suppress gen_id 1, sig_id 7, track by_src, ip 10.0.0.1, 10.0.0.4", 4, 2, false),
        ("suppress gen_id 1, sig_id 7, track by_src, ip $HOME_NET", 4, 2, false),
        ("suppress gen_id 1, sig_id 7, track by_src, ip $EXTERNAL_NET", 4, 2, true),
        ("suppress gen_id 1, sig_id 7, track by_src, ip fe80::/10", 4, 2, true),
    ] {
        let limits = file(line).limits(1, 7, None);
        let matched = Matched { source: address(source), destination: address(destination), ..matched(0) };
        let verdict = limits.verdict(&mut Windows::default(), RULE, &matched);
        assert_eq!(verdict == Verdict::Alert, is_told, "{line} {source} {destination}");
    }
}

#[test]
fn what_is_suppressed_is_not_counted() {
    let text = "suppress gen_id 1, sig_id 7, track by_src, ip 10.0.0.9\n\
                threshold gen_id 1, sig_id 7, type limit, track by_rule, count 1, seconds 60\n";
    let limits = file(text).limits(1, 7, None);
    let mut windows = Windows::default();
    let mut verdict =
        |source| limits.verdict(&mut windows, RULE, &Matched { source: address(source), ..matched(0) });
    assert_eq!(verdict(9), Verdict::NoAlert);
    assert_eq!(verdict(1), Verdict::Alert);
    assert_eq!(verdict(1), Verdict::NoAlert);
}

#[test]
fn the_file_replaces_a_rules_threshold_only_when_it_names_the_rule() {
    let own = threshold("threshold:type limit, track by_src, count 9, seconds 9");
    let filter = threshold("detection_filter:track by_src, count 9, seconds 9");
    let line = |ids: &str| format!("{ids}, type both, track by_dst, count 5, seconds 6");
    let new = threshold("threshold:type both, track by_dst, count 5, seconds 6");
    for (ids, with_own, without) in [
        ("threshold gen_id 1, sig_id 7", new, Some(new)),
        ("event_filter gen_id 1, sig_id 7", new, Some(new)),
        ("threshold gen_id 1, sig_id 8", own, None),
        ("threshold gen_id 1, sig_id 0", own, Some(new)),
        ("threshold gen_id 0, sig_id 0", own, Some(new)),
    ] {
        let file = file(&line(ids));
        assert_eq!(file.limits(1, 7, Some(own)).threshold, Some(with_own), "{ids}");
        assert_eq!(file.limits(1, 7, None).threshold, without, "{ids}");
    }
    let both =
        file(&format!("{}\n{}", line("threshold gen_id 1, sig_id 7"), line("threshold gen_id 0, sig_id 0")));
    assert_eq!(both.limits(1, 7, Some(filter)).threshold, Some(new));
    let rate = "rate_filter gen_id 1, sig_id 7, track by_src, count 1, seconds 1, new_action drop, timeout 1";
    assert_eq!(file(rate).limits(1, 7, Some(own)).threshold, Some(own));
    assert!(file(rate).limits(1, 7, None).threshold.is_some());
    assert!(file(rate).limits(1, 8, None).is_none() && !file(rate).limits(1, 7, None).is_none());
}

#[test]
fn a_rate_filter_takes_another_action_for_its_time() {
    let line = |action: &str| {
        format!(
            "rate_filter gen_id 1, sig_id 7, track by_src, count 2, seconds 10, new_action {action}, timeout 20"
        )
    };
    let verdicts = |action: &str, times: &[u64]| -> Vec<Verdict> {
        let (limits, mut windows) = (file(&line(action)).limits(1, 7, None), Windows::default());
        times.iter().map(|second| limits.verdict(&mut windows, RULE, &matched(*second))).collect()
    };
    let (told, drop) = (Verdict::Alert, Verdict::AlertAs(Action::Drop));
    // More than two within ten seconds; then for twenty more; the match after those is not counted.
    assert_eq!(verdicts("drop", &[0, 1, 10, 11, 30, 31, 32]), [told, told, drop, drop, drop, told, told]);
    assert_eq!(verdicts("drop", &[0, 1, 11, 12, 13]), [told, told, told, told, drop]);
    assert_eq!(verdicts("pass", &[0, 1, 2]), [told, told, Verdict::NoAlert]);
    assert_eq!(verdicts("alert", &[0, 1, 2]), [told, told, Verdict::AlertAs(Action::Alert)]);
    assert_eq!(verdicts("reject", &[0, 1, 2]), [told, told, Verdict::AlertAs(Action::Reject)]);
}

#[test]
fn lines_may_be_comments_empty_or_continued() {
    let text = "# suppress gen_id 1, sig_id 7\n\n   # more\n  suppress gen_id 1, \\\n  sig_id 7\r\n";
    assert!(file(text).limits(1, 7, None).is_suppressed);
    assert!(file("#\n\n").limits(1, 7, None).is_none());
}

#[test]
fn wrong_lines_are_told_with_their_place_and_the_rest_is_read() {
    for (line, place, part) in [
        ("suppres gen_id 1, sig_id 7", "2:1", "not known"),
        ("suppress", "2:1", "expected `gen_id`"),
        ("suppress gen_id 1", "2:1", "expected `gen_id`"),
        ("suppress sig_id 1, gen_id 7", "2:10", "expected `gen_id`"),
        ("suppress gen_id x, sig_id 7", "2:10", "expected `gen_id`"),
        ("suppress gen_id 1, sig_id -7", "2:20", "expected `sig_id`"),
        ("suppress gen_id 0, sig_id 7", "2:1", "only for `sig_id 0`"),
        ("suppress gen_id 1, sig_id 7, track by_src", "2:30", "expected `track"),
        ("suppress gen_id 1, sig_id 7, track by_rule, ip 1.1.1.1", "2:30", "`by_either`"),
        ("suppress gen_id 1, sig_id 7, track by_src, 1.1.1.1", "2:44", "expected `ip`"),
        ("suppress gen_id 1, sig_id 7, track by_src, ip 1.1.1.x", "2:47", "not an address"),
        ("suppress gen_id 1, sig_id 7, track by_src, ip 1.1.1.1,1.x", "2:55", "not an address"),
        ("suppress gen_id 1, sig_id 7, track by_src, ip [1.1.1.1,$NO]", "2:56", "not set"),
        ("threshold gen_id 1, sig_id 7", "2:1", "expected"),
        ("threshold gen_id 1, sig_id 7, type limit, track by_src, count 1", "2:31", "expected `seconds`"),
        (
            "event_filter gen_id 1, sig_id 7, type limit, track by_src, count 0, seconds 1",
            "2:66",
            "at least 1",
        ),
        ("rate_filter gen_id 1, sig_id 7, track by_src, count 1, seconds 1", "2:33", "`new_action`"),
        (
            "rate_filter gen_id 1, sig_id 7, track by_src, count 1, seconds 1, new_action sdrop, timeout 1",
            "2:78",
            "no effect",
        ),
    ] {
        let text = format!("# first\n{line}\nsuppress gen_id 1, sig_id 99\n");
        let (file, problems) = ThresholdFile::read("t.config", text.as_bytes(), &Variables::default());
        let [problem] = problems.as_slice() else { panic!("{line}: {problems:?}") };
        assert!(problem.reason.contains(part), "{line}: {problem}");
        if line.len() > 30 || part != "expected" {
            assert_eq!(problem.place.to_string(), place, "{line}: {problem}");
        }
        assert!(file.limits(1, 99, None).is_suppressed, "{line}");
    }
    let (_, problems) = ThresholdFile::read("t.config", b"suppress \xff", &Variables::default());
    assert!(problems[0].to_string().starts_with("t.config:1:10"), "{problems:?}");
}

#[test]
fn lines_about_unknown_rules_are_told() {
    let file =
        file("suppress gen_id 1, sig_id 7\nsuppress gen_id 1, sig_id 8\nsuppress gen_id 1, sig_id 0\n");
    let unknown = file.unknown(|gid, sid| (gid, sid) == (1, 7));
    let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    assert_eq!(unknown, ["threshold.config:2:1: there is no rule with gid 1 and sid 8"]);
}
