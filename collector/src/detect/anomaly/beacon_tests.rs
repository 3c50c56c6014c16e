//! Which visits are a beacon, and which steady habits are none.

use super::*;
use crate::detect::testing::{line, run};
use std::time::Duration;
use weir_common::app::App;
use weir_common::record::{EndReason, tcp_flags};
use weir_common::testing::RecordBuilder;

fn detector() -> BeaconDetector {
    BeaconDetector::new(&BeaconConfig::default(), Home::new(&[]).unwrap())
}

/// A number between -1 and 1 that is always the same for the same `n`.
fn noise(n: u32) -> f64 {
    let mixed = u64::from(n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as f64 / f64::from(1u32 << 23) - 1.0
}

fn visit(n: u32, target: &str, second: f64) -> RecordBuilder {
    RecordBuilder::tcp(&format!("10.0.0.5:{}", 40_000 + n), target)
        .after(second)
        .lasting(Duration::from_millis(80))
        .octets(640, 900)
}

fn every(seconds: f64, count: u32, jitter: f64) -> impl Iterator<Item = FlowRecord> {
    let mut at = 0.0;
    (0..count).map(move |n| {
        at += seconds * (1.0 + jitter * noise(n));
        visit(n, "198.51.100.7:80", at).build()
    })
}

#[test]
fn twelve_calls_every_five_seconds_are_a_beacon_and_eleven_are_none() {
    assert_eq!(run(&mut detector(), every(5.0, 11, 0.0)), []);
    let found = run(&mut detector(), every(5.0, 12, 0.0));
    assert_eq!(
        found.iter().map(line).collect::<Vec<_>>(),
        [
            "beacon 10.0.0.5 -> 198.51.100.7 high 0.90: 10.0.0.5 called 198.51.100.7 port 80 12 times, every 5.0 s with a deviation of 0 %, sending sizes that deviate by 0 %."
        ]
    );
}

#[test]
fn a_jitter_of_twenty_percent_is_followed_and_irregular_calls_are_not() {
    assert_eq!(run(&mut detector(), every(60.0, 20, 0.2)).len(), 1);
    assert_eq!(run(&mut detector(), every(60.0, 200, 0.9)), []);
    // Intervals as people make them: many short, few long.
    let mut at = 0.0;
    let browsing = (0..200).map(|n| {
        at += 1.0 + -(1.0 - noise(n).abs()).max(1e-6).ln() * 30.0;
        visit(n, "198.51.100.7:443", at).build()
    });
    assert_eq!(run(&mut detector(), browsing), []);
}

#[test]
fn a_beacon_is_told_again_at_each_doubling() {
    let counts: Vec<u64> =
        run(&mut detector(), every(10.0, 200, 0.0)).iter().map(|found| found.seen.events).collect();
    assert_eq!(counts, [12, 24, 48, 96, 192]);
}

#[test]
fn missed_calls_do_not_hide_a_beacon() {
    let some_missed = every(30.0, 60, 0.05).enumerate().filter(|(n, _)| n % 7 != 3).map(|(_, record)| record);
    assert!(!run(&mut detector(), some_missed).is_empty());
}

#[test]
fn the_pace_has_to_lie_between_its_borders() {
    assert_eq!(run(&mut detector(), every(0.99, 100, 0.0)), []);
    assert_eq!(run(&mut detector(), every(1.0, 100, 0.0)).len(), 4);
    assert_eq!(run(&mut detector(), every(7200.0, 12, 0.0)).len(), 1);
    assert_eq!(run(&mut detector(), every(7201.0, 50, 0.0)), []);
}

#[test]
fn time_and_names_and_what_is_inside_may_be_regular() {
    let steady = |make: &dyn Fn(u32, f64) -> FlowRecord| {
        run(&mut detector(), (0..100).map(|n| make(n, f64::from(n) * 64.0)))
    };
    let udp = |n: u32, to: &str, at: f64| {
        RecordBuilder::udp(&format!("10.0.0.5:{}", 40_000 + n), to).after(at).build()
    };
    assert_eq!(steady(&|n, at| udp(n, "198.51.100.1:123", at)), []);
    assert_eq!(steady(&|n, at| udp(n, "198.51.100.1:53", at)), []);
    assert_eq!(steady(&|n, at| visit(n, "198.51.100.1:853", at).build()), []);
    assert_eq!(steady(&|n, at| visit(n, "10.0.0.9:9100", at).build()), []); // monitoring
    assert_eq!(steady(&|n, at| visit(n, "198.51.100.1:443", at).unanswered().build()), []);
    let inbound =
        |n, at| RecordBuilder::tcp(&format!("198.51.100.1:{}", 40_000 + n), "10.0.0.5:443").after(at).build();
    assert_eq!(steady(&inbound), []); // a monitor outside that checks us
}

#[test]
fn a_long_connection_is_one_visit_however_often_it_is_sliced() {
    let slices = (0..100).map(|n| {
        let record = visit(0, "198.51.100.7:443", f64::from(n) * 60.0).end_reason(EndReason::ActiveTimeout);
        if n == 0 {
            record.build()
        } else {
            record.flags(tcp_flags::ACK | tcp_flags::PSH, tcp_flags::ACK).build()
        }
    });
    assert_eq!(run(&mut detector(), slices), []);
    let quic = (0..100)
        .map(|n| RecordBuilder::udp("10.0.0.5:50000", "198.51.100.7:443").after(f64::from(n) * 60.0).build());
    assert_eq!(run(&mut detector(), quic), []);
}

#[test]
fn a_page_that_loads_over_parallel_connections_and_then_polls_is_none() {
    let load = (0..6).map(|n| {
        visit(n, "198.51.100.7:443", 0.01 * f64::from(n)).text(Field::TlsServerName, "app.example").build()
    });
    let polls = (6..200).map(|n| {
        visit(n, "198.51.100.7:443", 30.0 * f64::from(n)).text(Field::TlsServerName, "app.example").build()
    });
    assert_eq!(run(&mut detector(), load.chain(polls)), []);
}

#[test]
fn what_five_hosts_do_is_a_service_and_what_four_do_is_told() {
    let hosts = |hosts: u32| {
        (0..20 * hosts).map(move |n| {
            let (host, round) = (n % hosts, n / hosts);
            let from = format!("10.0.0.{}:{}", host + 1, 40_000 + round);
            RecordBuilder::tcp(&from, "198.51.100.7:443")
                .after(f64::from(round) * 60.0 + f64::from(host))
                .build()
        })
    };
    assert_eq!(run(&mut detector(), hosts(5)), []);
    assert_eq!(run(&mut detector(), hosts(4)).len(), 4);
}

#[test]
fn a_name_holds_a_beacon_together_when_its_addresses_change() {
    let rotating = (0..12).map(|n| {
        visit(n, &format!("198.51.100.{}:443", n + 1), f64::from(n) * 60.0)
            .app(App::Tls)
            .text(Field::TlsServerName, "c2.example")
            .build()
    });
    let found = run(&mut detector(), rotating);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].subject.as_str(), found[0].confidence), ("c2.example port 443", 0.8));
}

#[test]
fn calls_through_a_proxy_are_judged_by_their_name() {
    let proxied = |uri: &'static str| {
        (0..12).map(move |n| {
            let record = visit(n, "10.0.0.1:3128", f64::from(n) * 60.0).app(App::Http);
            record.text(Field::HttpHost, "c2.example").text(Field::HttpUri, uri).build()
        })
    };
    assert_eq!(run(&mut detector(), proxied("http://c2.example/a")).len(), 1);
    assert_eq!(run(&mut detector(), proxied("/a")), []);
}

#[test]
fn two_sensors_that_see_the_same_calls_do_not_hide_the_beacon() {
    let twice = every(5.0, 12, 0.0).flat_map(|record| [record.clone(), record]);
    let found = run(&mut detector(), twice);
    assert_eq!((found.len(), found[0].seen.events), (1, 12));
}

#[test]
fn many_pairs_take_bounded_memory() {
    let mut detector = BeaconDetector::new(
        &BeaconConfig { pairs_max: 100, ..BeaconConfig::default() },
        Home::new(&[]).unwrap(),
    );
    let many = (0..50_000u32).map(|n| {
        let target = std::net::Ipv4Addr::from(0x0808_0000 + n / 4);
        RecordBuilder::tcp(&format!("10.0.0.5:{}", 1024 + n % 60_000), &format!("{target}:443"))
            .after(f64::from(n))
            .build()
    });
    run(&mut detector, many);
    assert!(detector.pairs.len() <= 100 && detector.targets.len() <= 100);
    let busy = (0..100_000u32).map(|n| visit(n % 20_000, "198.51.100.7:443", f64::from(n) / 7.0).build());
    run(&mut detector, busy);
    assert!(detector.pairs.iter().all(|(_, pair)| pair.visits.len() <= VISITS_KEPT));
}
