//! Indicator lists on their way to sensors: the collector makes rules of them, the sensor runs all of these, and every
//! flow that meets an indicator is told once by each.

use anyhow::{Context, ensure};
use e2e::{capture, process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

/// Beside the bundled list: a network, and what nothing in the capture meets.
const MORE: &str = "cidr,203.0.113.64/30,medium\ncidr,2001:db8:dead::/48,low\nip,192.0.2.77,low\n\
                    domain,example.org.evil,low\ndomain,update.evil.example.net,high\n";

fn program(name: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    process::run(process::command(name)?.args(arguments))
}

fn exits(output: &Output, code: i32) -> anyhow::Result<String> {
    let text = process::stderr(output);
    ensure!(output.status.code() == Some(code), "ended with {:?}, not {code}:\n{text}", output.status);
    Ok(text)
}

/// The rules of the bundled list and of another, in a directory.
fn rules(work: &Path, more: &str) -> anyhow::Result<String> {
    let bundled = capture("lists/indicators.csv").display().to_string();
    let (own, output) = (work.join("own.csv"), work.join("rules").display().to_string());
    std::fs::write(&own, more)?;
    let lists = ["intel", "rules", &bundled, &own.display().to_string(), "--output", &output];
    exits(&program("weir-collector", &lists)?, 0)?;
    Ok(output)
}

/// What a rule told: its priority, the flows, how many alerts.
type Told = (u64, BTreeSet<u64>, usize);

/// Alerts of a capture by rule.
fn alerts(work: &Path, capture_name: &str, rules: &str) -> anyhow::Result<BTreeMap<u64, Told>> {
    let (input, eve) = (capture(capture_name).display().to_string(), work.join("eve.json"));
    let replay = ["replay", &input, "--rules", rules, "--eve", &eve.display().to_string()];
    exits(&program("weir-sensor", &replay)?, 0)?;
    let mut told = BTreeMap::<u64, Told>::new();
    for line in std::fs::read_to_string(&eve)?.lines() {
        let event: Value = serde_json::from_str(line)?;
        if event["event_type"] != "alert" {
            continue;
        }
        let number = |value: &Value| value.as_u64().context("a number");
        let alert = &event["alert"];
        let of = told.entry(number(&alert["signature_id"])?).or_default();
        of.0 = number(&alert["severity"])?;
        of.1.insert(number(&event["flow_id"])?);
        of.2 += 1;
    }
    Ok(told)
}

#[test]
fn every_rule_of_an_indicator_runs_and_each_flow_that_meets_one_is_told_once() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let rules = rules(work.path(), MORE)?;
    let checked = exits(&program("weir-sensor", &["rules", "check", &rules])?, 0)?;
    ensure!(
        checked.contains(
            "0 load and cannot fire, 0 are for another version, 0 cannot run in this version, 0 are wrong"
        ),
        "{checked}"
    );
    let told = alerts(work.path(), "attack-story.pcap", &rules)?;
    for (number, (_, flows, alerts)) in &told {
        ensure!(flows.len() == *alerts, "rule {number}: {alerts} alerts of {} flows", flows.len());
    }
    let by_rule: Vec<(u64, u64, usize)> =
        told.iter().map(|(number, (severity, _, alerts))| (*number, *severity, *alerts)).collect();
    // The visits to the C2 are 22, of which each asks for its name; the resolver asks for it itself when it forgot.
    let asked = |number: u64| told.get(&number).map_or(0, |(_, _, alerts)| *alerts);
    ensure!(asked(1_990_003) >= 44, "{by_rule:?}");
    let others: Vec<_> = by_rule.into_iter().filter(|(number, ..)| *number != 1_990_003).collect();
    assert_eq!(
        others,
        [
            (1_990_002, 1, 3),  // the download's name, asked for in A and AAAA, and by the resolver
            (1_990_013, 1, 22), // TLS to the C2's name
            (1_990_022, 1, 1),  // the download over HTTP
            (1_990_042, 1, 22), // the implant's JA3
            (1_990_062, 1, 22), // and JA4
            (1_990_083, 1, 22), // the C2's certificate
            (1_990_092, 1, 1),  // the download's address
            (1_990_093, 1, 22), // the C2's
            (1_991_100, 2, 22), // and its network
        ]
    );
    ensure!(alerts(work.path(), "benign.pcap", &rules)?.is_empty(), "ordinary traffic meets an indicator");
    Ok(())
}

#[test]
fn who_is_listed_and_calls_is_told_where_it_is_answered_and_not_where_it_only_knocks() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let rules = rules(work.path(), "ip,10.10.0.66,low\ncidr,10.10.0.64/29,medium\n")?;
    let told = alerts(work.path(), "attack-story.pcap", &rules)?;
    // Sweep and scan of some 1,100 ports in vain, 41 guesses of a password and a login that were answered.
    let flows = |number: u64| told.get(&number).map_or(0, |(_, flows, _)| flows.len());
    let (connections, datagrams) = (flows(1_990_100), flows(1_990_110));
    ensure!((42..60).contains(&connections), "{connections} connections");
    ensure!((1..10).contains(&datagrams), "{datagrams} answers of the resolver");
    ensure!(
        (flows(1_991_500), flows(1_991_900)) == (connections, datagrams),
        "the address lies in the network"
    );
    let severities: BTreeSet<(u64, u64)> = told.iter().map(|(number, of)| (*number, of.0)).collect();
    let expected = [(1_990_100, 3), (1_990_110, 3), (1_991_500, 2), (1_991_900, 2)];
    ensure!(expected.iter().all(|of| severities.contains(of)), "{severities:?}");
    // Others call it seldom, as the monitoring host does.
    ensure!(flows(1_990_090) < 20 && flows(1_990_090) == flows(1_991_100), "{:?}", told.keys());
    Ok(())
}

#[test]
fn a_list_with_wrong_lines_gives_the_others_and_one_that_is_missing_gives_nothing() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let path = |name: &str| work.path().join(name).display().to_string();
    std::fs::write(path("a.csv"), "domain,evil.example\nip,nonsense\n")?;
    let output = program("weir-collector", &["intel", "rules", &path("a.csv"), "--output", &path("rules")])?;
    let said = exits(&output, 3)?;
    ensure!(said.contains("a.csv:2: `nonsense`") && said.contains("1 indicators in"), "{said}");
    let before = std::fs::read(path("rules/weir-indicators.rules"))?;
    let lists = [&path("a.csv"), &path("gone.csv")].map(String::clone);
    let output =
        program("weir-collector", &["intel", "rules", &lists[0], &lists[1], "--output", &path("rules")])?;
    let said = exits(&output, 1)?;
    ensure!(said.contains("gone.csv: cannot be opened"), "{said}");
    ensure!(std::fs::read(path("rules/weir-indicators.rules"))? == before, "the rules changed");
    Ok(())
}
