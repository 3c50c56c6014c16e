//! What all detectors together cost per record, on records of an ordinary network.
//!
//! Twenty thousand records in turn: DNS, TLS and HTTP of 200 clients to changing servers, pings, and a few
//! failures, with a list of 100,000 indicators and ten rules. Divide the time by [`RECORDS`].

#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use weir_collector::detect::Detectors;
use weir_collector::detect::config::{DetectConfig, RuleConfig};
use weir_collector::enrich::Enriched;
use weir_collector::ingest::Exporter;
use weir_common::alert::Severity;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::record::FlowRecord;
use weir_common::testing::RecordBuilder;

const RECORDS: u32 = 20_000;

fn records() -> Vec<FlowRecord> {
    (0..RECORDS)
        .map(|n| {
            let client = format!("10.0.{}.{}:{}", n % 4, n * 7 % 50 + 1, 1024 + n % 60_000);
            let server = n.wrapping_mul(2_654_435_761) % 4000;
            let address = format!("93.{}.{}.{}", server % 7, server / 250, server % 250 + 1);
            let name = format!("www.site{server}.example");
            let record = match n % 10 {
                0..=3 => {
                    RecordBuilder::udp(&client, "10.0.0.53:53").app(App::Dns).list(Field::DnsQuery, &[&name])
                }
                4..=6 => RecordBuilder::tcp(&client, &format!("{address}:443"))
                    .app(App::Tls)
                    .text(Field::TlsServerName, &name)
                    .text(Field::TlsVersion, "TLS 1.3")
                    .text(Field::TlsJa3, "e7d705a3286e19ea42f587b344ee6865")
                    .text(Field::TlsJa4, "t13d1516h2_8daaf6152771_b186095e22b6"),
                7 => RecordBuilder::tcp(&client, &format!("{address}:80"))
                    .app(App::Http)
                    .text(Field::HttpHost, &name),
                8 => RecordBuilder::tcp(&client, &format!("{address}:443")).unanswered(),
                _ => RecordBuilder::tcp(&client, &format!("10.0.2.{}:8443", server % 200 + 1)),
            };
            record.after(f64::from(n) / 50.0).build()
        })
        .collect()
}

fn detectors(directory: &std::path::Path) -> Detectors {
    let mut list = String::new();
    for n in 0..50_000u32 {
        let _ = writeln!(list, "ip,{}", std::net::Ipv4Addr::from(0xc600_0000 + n * 7));
        let _ = writeln!(list, "domain,bad{n}.test");
    }
    for n in 0..200 {
        let _ = writeln!(list, "cidr,203.{n}.0.0/{}", 16 + n % 4);
    }
    let path = directory.join("indicators.csv");
    std::fs::write(&path, list).expect("the directory is writable");
    let rule = |n: u32| RuleConfig {
        id: format!("W{n}"),
        name: "bench".into(),
        severity: Severity::Low,
        confidence: 0.5,
        technique: Vec::new(),
        condition: format!(
            "app_proto == \"ssh\" and dst_port != {n} and not src_ip in [10.0.0.0/8, 192.168.0.0/16]"
        ),
        enabled: true,
    };
    let config = DetectConfig {
        indicators: vec![path.display().to_string()],
        conditions: (1..=10).map(rule).collect(),
        ..DetectConfig::default()
    };
    let (detectors, problems) = Detectors::from_config(&config, &[], None);
    assert!(problems.is_empty(), "{problems:?}");
    detectors
}

fn bench(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let records = records();
    let exporter = Arc::new(Exporter { name: "edge-1".into(), observation_domain: 1 });
    let mut detectors = detectors(directory.path());
    let mut findings = Vec::new();
    let mut group = criterion.benchmark_group("detect");
    group.throughput(Throughput::Elements(RECORDS.into()));
    group.bench_function("all detectors", |bencher| {
        bencher.iter(|| {
            for record in &records {
                let record = Enriched {
                    record,
                    exporter: &exporter,
                    initiator: None,
                    responder: None,
                    legitimate: None,
                };
                detectors.inspect(black_box(&record), &mut findings);
            }
            findings.clear();
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
