//! Commands as they are printed, and fetching through a program that stands in for the sensor.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use weir_common::alert::{EvidenceState, Route, Severity};
use weir_common::testing::{RecordBuilder, START};

fn flow(port: u16, second: f64, sensor: &str) -> AlertFlow {
    let record = RecordBuilder::tcp(&format!("10.0.0.5:{port}"), "198.51.100.7:80").after(second).build();
    AlertFlow {
        community_id: record.community_id,
        start: record.start,
        end: record.end,
        sensor: sensor.into(),
        ring_extents: None,
        ring_missed: 0,
        ring_expires: None,
    }
}

fn alert(flows: Vec<AlertFlow>) -> Alert {
    Alert {
        id: "0123456789abcdef".into(),
        version: 1,
        time: START,
        end: START,
        kind: "intel.ip".into(),
        actor: None,
        targets: Vec::new(),
        target_count: 0,
        count: 1,
        severity: Severity::High,
        confidence: 0.9,
        route: Route::Ticket,
        reason: String::new(),
        technique: Vec::new(),
        sensors: Vec::new(),
        flows,
        evidence: EvidenceState::Expired,
        signature: None,
    }
}

/// A program in place of weir-sensor: does what `script` says.
fn config(directory: &Path, script: &str) -> EvidenceConfig {
    let path = directory.join("query");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    EvidenceConfig {
        local_sensors: [("edge-1".to_owned(), "/ring".to_owned())].into(),
        query_command: path.display().to_string(),
        query_timeout_s: 1,
    }
}

#[test]
fn the_command_can_be_pasted() {
    let flow = flow(40000, 0.25, "edge-1");
    let want = format!(
        "weir-sensor query --flow {} --since 2026-11-20T12:00:00.249Z --until 2026-11-20T12:00:01.251Z -w 0123456789abcdef.pcapng",
        flow.community_id
    );
    assert_eq!(command(&flow, "0123456789abcdef"), want);
    assert_eq!(commands(&alert(vec![flow])), [("edge-1".to_owned(), want)]);
}

#[test]
fn the_range_reaches_past_rounded_times_and_no_further() {
    for (start_ns, end_ns, since, until) in [
        (1_000_000_000, 1_999_000_000, "1970-01-01T00:00:00.999Z", "1970-01-01T00:00:02Z"),
        (20_001_500_000, 30_000_000_001, "1970-01-01T00:00:20.0005Z", "1970-01-01T00:00:30.001000001Z"),
        (0, 0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.001Z"),
    ] {
        let mut flow = flow(1, 0.0, "a");
        (flow.start, flow.end) = (Timestamp(start_ns), Timestamp(end_ns));
        let arguments = arguments(&query_of(&flow), "-");
        assert_eq!((arguments[4].as_str(), arguments[6].as_str()), (since, until));
    }
}

#[test]
fn flows_of_one_identity_are_asked_for_once_per_sensor() {
    let flows = vec![flow(1, 0.0, "a"), flow(1, 100.0, "a"), flow(1, 0.0, "b"), flow(2, 0.0, "a")];
    let queries = queries(&alert(flows));
    assert_eq!(queries.len(), 3);
    assert_eq!(queries[0].until.since(queries[0].since).as_millis(), 101_002);
    assert!(
        commands(&alert(vec![flow(1, 0.0, "a"), flow(2, 0.0, "a")]))[1]
            .1
            .ends_with("-w 0123456789abcdef-2.pcapng")
    );
}

#[test]
fn the_blocks_of_one_flow_are_asked_for_together_where_that_can_be_said() {
    let with = |second: f64, extents: &str| {
        let ring_extents = (!extents.is_empty()).then(|| extents.parse().unwrap());
        AlertFlow { ring_extents, ..flow(1, second, "a") }
    };
    for (one, other, want) in [
        ("3.0:5", "3.0:6,9", "--extents 3.0:5-6,9 --since"),
        ("~3.0:5", "3.0:6", "--extents '~3.0:5-6' --since"),
        ("3.0:5", "4.0:6", "= --since"),
        ("3.0:5", "3.1:6", "= --since"),
        ("3.0:5", "", "= --since"),
        ("3.0:", "3.0:", "= --since"),
    ] {
        let commands = commands(&alert(vec![with(0.0, one), with(100.0, other)]));
        assert_eq!(commands.len(), 1);
        assert!(commands[0].1.contains(want), "{}", commands[0].1);
    }
    // What a program is given is not what a shell is.
    let query = query_of(&with(0.0, "~3.0:5"));
    assert_eq!(arguments(&query, "-")[3..5], ["--extents", "~3.0:5"]);
}

#[test]
fn packets_of_all_flows_follow_one_another() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "echo \"$@\"; echo looking >&2; echo 'complete: 3 packets' >&2");
    let mut out = Vec::new();
    let (fetched, failure) = fetch(
        &alert(vec![flow(1, 0.0, "edge-1"), flow(2, 0.0, "edge-1")]),
        &config,
        Path::new("/nowhere"),
        &mut out,
    );
    assert!(failure.is_none(), "{failure:?}");
    assert_eq!((fetched.flows, fetched.octets, fetched.incomplete), (2, out.len() as u64, false));
    assert_eq!(fetched.statements, ["complete: 3 packets", "complete: 3 packets"]);
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.lines().count(), 2);
    assert!(out.starts_with("query --flow 1:") && out.contains("-w - --ring /ring"), "{out}");
}

#[test]
fn a_ring_elsewhere_gives_the_command_and_the_local_flows() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "echo packets");
    let mut out = Vec::new();
    let (fetched, failure) = fetch(
        &alert(vec![flow(1, 0.0, "far"), flow(2, 0.0, "edge-1")]),
        &config,
        Path::new("/nowhere"),
        &mut out,
    );
    assert_eq!((fetched.flows, out.as_slice()), (1, b"packets\n".as_slice()));
    let failure = failure.unwrap().to_string();
    assert!(
        failure.starts_with(
            "the ring of sensor `far` is not on this machine, and no collector runs here to ask it through (/nowhere: No such file or directory (os error 2)); run there: weir-sensor query --flow 1:"
        ),
        "{failure}"
    );
}

#[test]
fn a_query_that_fails_says_so_in_its_own_words() {
    let directory = tempfile::tempdir().unwrap();
    let one = || alert(vec![flow(1, 0.0, "edge-1")]);
    let failing = config(directory.path(), "echo 'ring /ring: no such directory' >&2; exit 2");
    let failure = fetch(&one(), &failing, Path::new("/nowhere"), &mut Vec::new()).1.unwrap().to_string();
    assert!(
        failure.contains("exit status: 2") && failure.ends_with("ring /ring: no such directory"),
        "{failure}"
    );
    let absent = EvidenceConfig { query_command: "/nonexistent/weir-sensor".into(), ..failing };
    let failure = fetch(&one(), &absent, Path::new("/nowhere"), &mut Vec::new()).1.unwrap().to_string();
    assert!(failure.starts_with("cannot start `/nonexistent/weir-sensor`"), "{failure}");
    assert!(matches!(
        fetch(&alert(vec![]), &absent, Path::new("/nowhere"), &mut Vec::new()).1,
        Some(EvidenceError::NoFlows)
    ));
}

#[test]
fn what_is_incomplete_and_what_hangs_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let one = || alert(vec![flow(1, 0.0, "edge-1")]);
    let lost = config(directory.path(), "echo packets; echo 'incomplete: 1 block expired' >&2; exit 3");
    let (fetched, failure) = fetch(&one(), &lost, Path::new("/nowhere"), &mut Vec::new());
    assert!(fetched.incomplete && failure.is_none() && fetched.statements == ["incomplete: 1 block expired"]);
    // The last one leaves a child behind that holds its standard error open.
    for script in
        ["echo packets; exec sleep 60", "exec sleep 60 >&-", "echo packets; sleep 20 & exec sleep 60"]
    {
        let hangs = config(directory.path(), script);
        let begun = Instant::now();
        assert!(matches!(
            fetch(&one(), &hangs, Path::new("/nowhere"), &mut Vec::new()).1,
            Some(EvidenceError::Timeout { seconds: 1, .. })
        ));
        assert!(begun.elapsed() < Duration::from_secs(10), "{script}");
    }
}

#[test]
fn behind_packets_that_were_cut_come_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let two = || alert(vec![flow(1, 0.0, "edge-1"), flow(2, 0.0, "edge-1")]);
    let mut out = Vec::new();
    let cut = config(directory.path(), "echo packets; exit 2");
    let (fetched, failure) = fetch(&two(), &cut, Path::new("/nowhere"), &mut out);
    assert_eq!((fetched.flows, fetched.octets, out.as_slice()), (0, 8, b"packets\n".as_slice()));
    assert!(matches!(failure, Some(EvidenceError::Query { .. })));
    let asked = directory.path().join("asked");
    let silent = config(directory.path(), &format!("echo x >> {}; exit 2", asked.display()));
    assert_eq!(fetch(&two(), &silent, Path::new("/nowhere"), &mut out).0.octets, 0);
    assert_eq!(
        std::fs::read_to_string(asked).unwrap().lines().count(),
        2,
        "one that gave nothing cuts nothing"
    );
}
