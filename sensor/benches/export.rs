//! What one flow record costs at export: IPFIX into a file, a line of EVE, a record line.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::path::PathBuf;
use weir_common::app::App;
use weir_common::features::Features;
use weir_common::net::{Address, CommunityId, FlowKey};
use weir_common::record::{DirectionStats, EndReason, FlowRecord, FlowState};
use weir_common::time::Timestamp;
use weir_sensor::counters::Published;
use weir_sensor::export::config::ExportConfig;
use weir_sensor::export::{Batch, Context, Pace, start};

const BATCHES: u64 = 200;
const BATCH_RECORDS: u64 = 500;

fn record(number: u64) -> FlowRecord {
    let [.., a, b, c] = number.to_be_bytes();
    let start = 1_700_000_000_000_000_000 + number * 1_234_567;
    FlowRecord {
        key: FlowKey {
            initiator: Address::v4([10, a, b, c]),
            responder: Address::v4([192, 0, 2, c]),
            initiator_port: number as u16,
            responder_port: 443,
            protocol: 6,
        },
        flow_id: number,
        community_id: CommunityId([c; 20]),
        start: Timestamp(start),
        end: Timestamp(start + 1_000_000_000),
        forward: DirectionStats {
            packets: 10,
            octets: 1500,
            frame_octets: 1640,
            tcp_flags: 0x1b,
            ttl_min: 64,
            ttl_max: 64,
            tos: 0,
        },
        reverse: DirectionStats {
            packets: 12,
            octets: 9000,
            frame_octets: 9140,
            tcp_flags: 0x1b,
            ttl_min: 57,
            ttl_max: 57,
            tos: 0,
        },
        icmp: None,
        vlans: [0, 0],
        interface: 0,
        end_reason: EndReason::EndOfFlow,
        state: FlowState::Closed,
        app: App::Unknown,
        metadata: None,
        tunnel: None,
        at_shutdown: false,
        signatures: None,
        evidence: None,
        features: Features::default(),
    }
}

fn batch(number: u64) -> Batch {
    let first = number * BATCH_RECORDS;
    Batch { records: (first..first + BATCH_RECORDS).map(record).collect(), ..Batch::default() }
}

fn export(criterion: &mut Criterion) {
    let null = || "/dev/null".to_owned();
    let base = || ExportConfig { queue_batches_max: BATCHES as u32, ..ExportConfig::default() };
    let mut group = criterion.benchmark_group("export");
    group.throughput(Throughput::Elements(BATCHES * BATCH_RECORDS)).sample_size(20);
    for (name, config) in [
        // What handing over and dropping the records costs, to subtract from the others.
        ("nothing", base()),
        ("ipfix", ExportConfig { destinations: vec!["file:/dev/null".into()], ..base() }),
        ("eve", ExportConfig { eve: null(), ..base() }),
        ("records", ExportConfig { records: null(), ..base() }),
    ] {
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || (0..BATCHES).map(batch).collect::<Vec<_>>(),
                |batches| {
                    let context = Context {
                        sensor_name: "bench".into(),
                        interfaces: Vec::new(),
                        workers: vec![Published::default()],
                        identity: PathBuf::new(),
                        pace: Pace::Replay,
                        acknowledgements: None,
                    };
                    let exporting = start(&config, context).expect("outputs that always open");
                    let sender = exporting.sender();
                    for batch in batches {
                        sender.send(batch).expect("the thread runs until its senders are gone");
                    }
                    drop(sender);
                    exporting.join()
                },
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, export);
criterion_main!(benches);
