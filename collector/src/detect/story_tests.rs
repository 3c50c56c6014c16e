//! An intrusion as the detectors see it, inside a day of benign habits: every step is told, once, and
//! nothing else is.

use super::config::DetectConfig;
use super::load::Detectors;
use super::testing::exporter;
use super::*;
use crate::correlate::{Correlator, Incident};
use crate::triage::Triage;
use std::fs;
use std::time::Duration;
use weir_common::alert::Alert;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::record::{EndReason, FlowRecord, tcp_flags};
use weir_common::testing::RecordBuilder;

fn tell(config: &DetectConfig, mut records: Vec<FlowRecord>) -> Vec<Alert> {
    // Sensors export a flow when it ends.
    records.sort_by_key(|record| record.end);
    let (mut detectors, problems) = Detectors::from_config(config, &[], None);
    assert_eq!(problems, []);
    let (mut correlator, mut triage) =
        (Correlator::new(&Default::default()), Triage::new(&Default::default()));
    let (exporter, mut findings, mut told) = (exporter(), Vec::new(), Vec::<Incident>::new());
    for record in &records {
        let record =
            Enriched { record, exporter: &exporter, initiator: None, responder: None, legitimate: None };
        detectors.inspect(&record, &mut findings);
        for finding in findings.drain(..) {
            correlator.fold(finding, &mut told);
        }
    }
    correlator.close_all(&mut told);
    told.iter().filter_map(|incident| triage.assess(incident)).collect()
}

fn sweep() -> impl Iterator<Item = FlowRecord> {
    (1..=60).flat_map(|host| {
        let target = format!("10.0.2.{host}");
        let ping = RecordBuilder::echo("10.0.1.66", &target).after(f64::from(host) * 0.05);
        let probe = RecordBuilder::tcp("10.0.1.66:51000", &format!("{target}:22"))
            .after(10.0 + f64::from(host) * 0.05);
        if host % 12 == 0 {
            [ping.build(), probe.build()]
        } else {
            [ping.unanswered().build(), probe.unanswered().build()]
        }
    })
}

fn guesses() -> impl Iterator<Item = FlowRecord> {
    (0..14).map(|attempt| {
        let from = format!("10.0.1.66:{}", 52_000 + attempt);
        let record =
            RecordBuilder::tcp(&from, "10.0.2.12:22").app(App::Ssh).packets(18, 16).octets(2_900, 3_300);
        record.after(40.0 + f64::from(attempt) * 2.5).lasting(Duration::from_secs(2)).build()
    })
}

fn download() -> FlowRecord {
    let record = RecordBuilder::tcp("10.0.2.12:40000", "198.51.100.7:80")
        .app(App::Http)
        .after(100.0)
        .octets(900, 400_000);
    record.text(Field::HttpHost, "198.51.100.7").text(Field::HttpUri, "/stage").build()
}

fn beacon() -> impl Iterator<Item = FlowRecord> {
    (0..14).map(|call| {
        let from = format!("10.0.2.12:{}", 41_000 + call);
        let record = RecordBuilder::tcp(&from, "203.0.113.9:8080").app(App::Http).octets(620, 480);
        let record = record.after(110.0 + f64::from(call) * (5.0 + f64::from(call % 3) * 0.02));
        record.lasting(Duration::from_millis(40)).text(Field::HttpHost, "203.0.113.9:8080").build()
    })
}

/// Time, names, a browser, a page that polls over one connection, monitoring, administration, a backup.
fn benign() -> Vec<FlowRecord> {
    let mut records = Vec::new();
    for minute in 0..1440u32 {
        let at = f64::from(minute) * 60.0;
        for host in 1..=20u32 {
            let from = |port: u32| format!("10.0.1.{host}:{}", 1024 + (minute * 41 + port) % 60_000);
            if minute % 17 == host % 17 {
                records.push(RecordBuilder::udp(&from(1), "162.159.200.1:123").after(at).build());
            }
            let name = format!("host{}.example", (minute * 7 + host) % 97);
            let asked = RecordBuilder::udp(&from(2), "10.0.0.53:53").app(App::Dns).after(at + 1.0);
            records.push(asked.list(Field::DnsQuery, &[&name]).build());
            if (minute * host) % 11 == 3 {
                let server = format!("93.184.{}.{}:443", (minute * 7 + host) % 97, 10 + host);
                for connection in 0..4u32 {
                    let at = at
                        + 2.0
                        + f64::from(connection) * 0.03
                        + f64::from((minute * 31 + host * 17) % 500) / 10.0;
                    let record = RecordBuilder::tcp(&from(10 + connection), &server).app(App::Tls).after(at);
                    records.push(record.octets(3000, 60_000).text(Field::TlsServerName, &name).build());
                }
                // An address that no longer answers, once in a while.
                records.push(
                    RecordBuilder::tcp(&from(20), &format!("93.184.200.{host}:443"))
                        .after(at + 30.0)
                        .unanswered()
                        .build(),
                );
            }
        }
        let sliced = RecordBuilder::tcp("10.0.1.7:61999", "93.184.216.34:443")
            .app(App::Tls)
            .after(at)
            .end_reason(EndReason::ActiveTimeout);
        let opened = tcp_flags::SYN | tcp_flags::ACK;
        records.push(if minute == 0 {
            sliced.flags(opened, opened).build()
        } else {
            sliced.flags(tcp_flags::ACK, tcp_flags::ACK).build()
        });
        for (server, port) in [(1, 22), (2, 443), (3, 9100)] {
            let check = RecordBuilder::tcp(
                &format!("10.0.0.9:{}", 2000 + minute * 3 + server),
                &format!("10.0.2.{server}:{port}"),
            );
            records.push(
                check
                    .packets(5, 4)
                    .octets(300, 420)
                    .after(at + 5.0)
                    .app(if port == 22 { App::Ssh } else { App::Unknown })
                    .build(),
            );
            records
                .push(RecordBuilder::echo("10.0.0.9", &format!("10.0.2.{server}")).after(at + 6.0).build());
        }
        if minute % 240 == 60 {
            for server in 1..=30u32 {
                let login = RecordBuilder::tcp(
                    &format!("10.0.0.10:{}", 3000 + server),
                    &format!("10.0.2.{server}:22"),
                );
                records.push(
                    login
                        .app(App::Ssh)
                        .octets(45_000, 22_000)
                        .packets(120, 100)
                        .after(at + f64::from(server))
                        .build(),
                );
            }
        }
    }
    records
}

#[test]
fn an_intrusion_is_told_step_by_step_and_a_benign_day_is_silent() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("bad.csv");
    fs::write(&list, "type,value,severity,source,note\nip,198.51.100.7,critical,demo feed,stage server\n")
        .unwrap();
    let config = DetectConfig { indicators: vec![list.display().to_string()], ..DetectConfig::default() };
    assert_eq!(tell(&config, benign()), []);
    let mut records = benign();
    records.extend(sweep().chain(guesses()).chain([download()]).chain(beacon()));
    let alerts = tell(&config, records);
    let mut steps: Vec<(&str, &str, u64)> = Vec::new();
    for alert in alerts.iter().filter(|alert| alert.version == 1) {
        let last = alerts.iter().rfind(|later| later.id == alert.id).unwrap();
        steps.push((&alert.kind, alert.actor.as_deref().unwrap(), last.target_count));
    }
    assert_eq!(
        steps,
        [
            ("scan.horizontal", "10.0.1.66", 32),
            ("login.guessing", "10.0.1.66", 1),
            ("intel.ip", "10.0.2.12", 1),
            ("beacon", "10.0.2.12", 1)
        ]
    );
}
