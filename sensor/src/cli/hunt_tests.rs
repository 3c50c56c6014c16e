//! Hunts that are stopped, and what they say of packets that are not there.

use super::super::query::tests::{Made, captures, config, replay, udp};
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
    // The first is in no block's index, so that blocks are read in which nothing matches.
    for expression in ["udp and greater 60000", "port 53"] {
        assert!(matches!(hunted(work.path(), ANY, &["--resume", &resume, expression], true), Outcome::Lost));
        let stopped = reached();
        assert!(matches!(hunted(work.path(), ANY, &["--resume", &resume, expression], false), Outcome::Done));
        assert!(stopped < reached(), "{expression}");
    }
}

#[test]
fn a_datagram_without_its_end_is_told_only_where_blocks_were_left_out() {
    const MORE: u16 = 0x2000;
    // Two blocks full of other ports behind the one with the first piece of a datagram from 5000 to 5001.
    let other_port = |number: u64| {
        let mut frame = udp(9, number as u16, 0, 1400);
        frame[34..38].copy_from_slice(&[0, 7, 0, 9]);
        (2_000_000_000 + number, frame)
    };
    for (others, outcome) in [(0, Outcome::Done), (400, Outcome::Lost)] {
        let work = tempfile::tempdir().unwrap();
        let mut frames = vec![(1_000_000_000, udp(1, 7, MORE, 1480))];
        frames.extend((0..others).map(other_port));
        replay(&config(work.path()), Box::new(Made(frames.into_iter())));
        let rule = "alert udp any any -> any 5001 (msg:\"any\"; sid:1;)";
        assert_eq!(hunted(work.path(), rule, &[], false) as u8, outcome as u8, "{others} others");
        assert_eq!(hunted(work.path(), rule, &["--whole"], false) as u8, 0, "{others} others");
    }
}
