//! Hunts that are stopped, and what they say of packets that are not there.

use super::super::query::tests::{captures, config, replay};
use super::*;
use clap::Parser as _;

/// What a hunt with this rule comes to; `is_stopped`: before it begins.
fn hunted(work: &Path, rule: &str, arguments: &[&str], is_stopped: bool) -> Outcome {
    let (rules, ring) = (work.join("a.rules"), work.join("ring").display().to_string());
    std::fs::write(&rules, rule).unwrap();
    let rules = rules.display().to_string();
    let eve = work.join("eve.json").display().to_string();
    let words = ["weir-sensor", "hunt", "--ring", &ring, "--rules", &rules, "--eve", &eve];
    let cli = crate::cli::Cli::try_parse_from(words.iter().chain(arguments)).unwrap();
    let crate::cli::Command::Hunt(arguments) = cli.command else { panic!("another command") };
    hunt_until(&arguments, Arc::new(AtomicBool::new(is_stopped))).ok().unwrap()
}

const ANY: &str = "alert ip any any -> any any (msg:\"any\"; sid:1;)";

#[test]
fn a_hunt_stops_also_where_no_packet_comes_by() {
    let work = tempfile::tempdir().unwrap();
    replay(&config(work.path()), captures(&["dns.pcap"]));
    let position = work.path().join("position.json");
    let resume = position.display().to_string();
    let reached = || Position::read(&position).unwrap().unwrap().time;
    for expression in ["port 9999", "port 53"] {
        assert!(matches!(hunted(work.path(), ANY, &["--resume", &resume, expression], true), Outcome::Lost));
        let stopped = reached();
        assert!(matches!(hunted(work.path(), ANY, &["--resume", &resume, expression], false), Outcome::Done));
        assert!(stopped < reached(), "{expression}");
    }
}
