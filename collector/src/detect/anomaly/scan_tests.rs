//! Which contacts make a scan, on both sides of each border.

use super::*;
use crate::detect::testing::{exporter, line, run};
use weir_common::record::{FlowRecord, tcp_flags};
use weir_common::testing::RecordBuilder;

fn detector() -> ScanDetector {
    ScanDetector::new(&ScanConfig::default(), Home::new(&[]).unwrap()).unwrap()
}

fn sweep(source: &str, hosts: std::ops::Range<u32>, port: u16) -> impl Iterator<Item = FlowRecord> {
    hosts.map(move |host| {
        let target = format!("10.1.{}.{}:{port}", host / 250, host % 250 + 1);
        RecordBuilder::tcp(&format!("{source}:40000"), &target).unanswered().after(f64::from(host)).build()
    })
}

fn ports(range: std::ops::Range<u16>) -> impl Iterator<Item = FlowRecord> {
    range.map(|port| RecordBuilder::tcp("10.0.0.5:40000", &format!("10.0.0.6:{port}")).refused().build())
}

#[test]
fn eight_silent_hosts_are_a_scan_and_seven_are_none() {
    assert_eq!(run(&mut detector(), sweep("10.0.0.5", 0..7, 22)), []);
    let found = run(&mut detector(), sweep("10.0.0.5", 0..8, 22));
    assert_eq!(
        found.iter().map(line).collect::<Vec<_>>(),
        [
            "scan.horizontal 10.0.0.5 -> 10.1.0.8 high 0.67: 10.0.0.5 contacted 8 hosts on TCP port 22 for the first time and 8 did not answer or refused (100 %): at least 99 times likelier of a scanner."
        ]
    );
    assert_eq!((found[0].seen.targets, found[0].time), (8, weir_common::testing::START));
}

#[test]
fn ten_closed_ports_are_a_scan_and_nine_are_none() {
    assert_eq!(run(&mut detector(), ports(1..10)), []);
    let found = run(&mut detector(), ports(1..11));
    assert_eq!(
        found.iter().map(line).collect::<Vec<_>>(),
        [
            "scan.vertical 10.0.0.5 -> 10.0.0.6 high 0.71: 10.0.0.5 tried 10 TCP ports of 10.0.0.6 and 10 were closed or silent (100 %): at least 99 times likelier of a scanner."
        ]
    );
}

#[test]
fn a_scan_that_goes_on_is_told_at_each_doubling() {
    let contacts: Vec<u64> =
        run(&mut detector(), sweep("192.0.2.9", 0..1000, 445)).iter().map(|f| f.seen.events).collect();
    assert_eq!(contacts, [8, 16, 32, 64, 128, 256, 512]);
}

#[test]
fn sweeps_by_ping_and_datagram_are_found_as_well() {
    let pings =
        (1..=8).map(|host| RecordBuilder::echo("10.0.0.5", &format!("10.1.0.{host}")).unanswered().build());
    let found = run(&mut detector(), pings);
    assert_eq!((found.len(), found[0].reason.contains("8 hosts on ICMP echo")), (1, true));
    let snmp = (1..=8)
        .map(|host| RecordBuilder::udp("10.0.0.5:40000", &format!("10.1.0.{host}:161")).unanswered().build());
    assert_eq!(run(&mut detector(), snmp).len(), 1);
    let xmas = (1..=10).map(|port| {
        let flags = tcp_flags::FIN | tcp_flags::PSH | tcp_flags::URG;
        RecordBuilder::tcp("10.0.0.5:40000", &format!("10.0.0.6:{port}"))
            .packets(1, 0)
            .flags(flags, 0)
            .build()
    });
    assert_eq!(run(&mut detector(), xmas)[0].kind, "scan.vertical");
}

#[test]
fn a_host_that_asks_the_same_dead_server_again_and_again_is_no_scanner() {
    let again = (0..1000).map(|second| {
        let from = format!("10.0.0.5:{}", 30_000 + second);
        RecordBuilder::tcp(&from, "10.1.0.1:443").unanswered().after(f64::from(second)).build()
    });
    assert_eq!(run(&mut detector(), again), []);
}

#[test]
fn a_client_whose_contacts_mostly_succeed_is_no_scanner() {
    // Every second first contact fails: the walk goes nowhere.
    let half = (0..200u32).map(|host| {
        let record = RecordBuilder::tcp("10.0.0.5:40000", &format!("10.1.0.{}:443", host % 250 + 1));
        if host % 2 == 0 { record.unanswered().build() } else { record.build() }
    });
    assert_eq!(run(&mut detector(), half), []);
}

#[test]
fn failures_spread_over_services_and_hosts_are_no_scan() {
    // Peers of a file-sharing program: another host on another port each time, most of them gone.
    let peers = (0..2000u32).map(|peer| {
        let target = format!("198.51.{}.{}:{}", peer / 250, peer % 250 + 1, 10_000 + peer * 13 % 50_000);
        RecordBuilder::udp("10.0.0.5:51413", &target).unanswered().build()
    });
    assert_eq!(run(&mut detector(), peers), []);
}

#[test]
fn a_pause_longer_than_the_window_begins_afresh() {
    let window = ScanConfig::default().window_s as f64;
    let with_pause = |pause: f64| {
        let first = sweep("10.0.0.5", 0..7, 22);
        let last =
            RecordBuilder::tcp("10.0.0.5:40000", "10.1.9.9:22").unanswered().after(6.0 + pause).build();
        run(&mut detector(), first.chain([last])).len()
    };
    assert_eq!(with_pause(window), 1);
    assert_eq!(with_pause(window + 1.0), 0);
}

#[test]
fn records_may_come_in_any_order() {
    let mut records: Vec<FlowRecord> = sweep("10.0.0.5", 0..8, 22).collect();
    records.reverse();
    assert_eq!(run(&mut detector(), records).len(), 1);
}

#[test]
fn declared_traffic_and_groups_are_left_alone() {
    let exporter = exporter();
    let mut findings = Vec::new();
    let mut detector = detector();
    for record in sweep("10.0.0.5", 0..100, 22) {
        let legitimate = Some("vulnerability scanner");
        let record =
            Enriched { record: &record, exporter: &exporter, initiator: None, responder: None, legitimate };
        detector.inspect(&record, &mut findings);
    }
    assert_eq!(findings, []);
    let groups = (1..=50).map(|group| {
        RecordBuilder::udp("10.0.0.5:5000", &format!("239.0.0.{group}:5000")).unanswered().build()
    });
    assert_eq!(run(&mut detector, groups), []);
}

#[test]
fn a_million_forged_sources_take_bounded_memory() {
    let config = ScanConfig { walks_max: 1000, contacts_max: 40_000, ..ScanConfig::default() };
    let mut detector = ScanDetector::new(&config, Home::new(&[]).unwrap()).unwrap();
    let forged = (0..300_000u32).map(|source| {
        let source = std::net::Ipv4Addr::from(source.wrapping_mul(2_654_435_761) | 1);
        RecordBuilder::tcp(&format!("{source}:1024"), "10.0.0.6:80").unanswered().build()
    });
    assert_eq!(run(&mut detector, forged), []);
    assert!(detector.horizontal.walks.len() <= 1000 && detector.vertical.walks.len() <= 1000);
    // One source with very many contacts takes its share and no more.
    run(&mut detector, sweep("10.0.0.5", 0..50_000, 22));
    assert!(detector.horizontal.slots <= 20_000, "{}", detector.horizontal.slots);
    let counted: usize = detector.horizontal.walks.iter().map(|(_, walk)| walk.seen.slots()).sum();
    assert_eq!(counted, detector.horizontal.slots);
}

#[test]
fn parameters_that_cannot_decide_are_refused() {
    for config in [
        ScanConfig { benign_success: 0.2, scanner_success: 0.8, ..ScanConfig::default() },
        ScanConfig { false_alarm: 0.0, ..ScanConfig::default() },
        ScanConfig { detection: f64::NAN, ..ScanConfig::default() },
        ScanConfig { detection: 1.0, ..ScanConfig::default() },
    ] {
        assert!(ScanDetector::new(&config, Home::nowhere()).is_err());
    }
}
