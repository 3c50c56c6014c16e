//! What it costs to find, make and end a flow: with few flows, and with a million of them in random order,
//! where memory is what is measured.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use weir_common::net::Address;
use weir_common::time::Timestamp;
use weir_sensor::decode::{Ip, LinkHeader, Packet, Tcp, Transport};
use weir_sensor::flow::config::FlowConfig;
use weir_sensor::flow::{Flow, FlowTable};

type Table = FlowTable<Option<Box<u64>>>;

const MILLION: u32 = 1 << 20;
/// Packets per iteration.
const PACKETS: u32 = 1024;

/// A segment of connection number `flow`.
fn segment(flow: u32) -> Packet<'static> {
    let [a, b, c, d] = flow.wrapping_mul(0x9e37_79b9).to_be_bytes();
    let source = 1024 + (flow % 60_000) as u16;
    let tcp = Tcp { source, destination: 443, sequence: 1, acknowledgement: 1, flags: 0x10, window: 1000 };
    let ip = Ip {
        source: Address::v4([a, b, c, d]),
        destination: Address::v4([192, 0, 2, 1]),
        protocol: 6,
        octets: 60,
        ttl: 64,
        tos: 0,
        is_fragment: false,
    };
    Packet {
        vlans: [0; 2],
        ip,
        transport: Transport::Tcp(tcp),
        payload: &[],
        early: None,
        is_partial: false,
        is_cut: false,
        payload_missing: 0,
        tunnel_depth: 0,
        frame_octets: 54,
        network: &[],
        link: LinkHeader::NONE,
    }
}

/// A table that has seen `flows` connections, and a clock.
fn filled(flows: u32, flows_max: u32) -> (Table, u64) {
    let mut table = Table::new(&FlowConfig::default(), flows_max, 0);
    for flow in 0..flows {
        table.observe(&segment(flow), Timestamp(u64::from(flow)), 0, &mut |_, _| {});
    }
    (table, u64::from(flows))
}

fn flow_table(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow_table");
    group.throughput(Throughput::Elements(u64::from(PACKETS)));
    let mut ended = |flow: &mut Flow<Option<Box<u64>>>, reason| {
        black_box((flow.flow_id(), reason));
    };
    for (name, flows) in [("seen again, 1,000 flows", 1000), ("seen again, 1,048,576 flows", MILLION)] {
        let (mut table, mut now) = filled(flows, MILLION);
        let mut flow = 0u32;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for _ in 0..PACKETS {
                    now += 100;
                    flow = flow.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let packet = segment((flow >> 8) % flows);
                    black_box(table.observe(&packet, Timestamp(now), 0, &mut ended));
                }
            });
        });
    }
    let (mut table, mut now) = filled(MILLION, MILLION);
    let mut flow = MILLION;
    group.bench_function("new, the oldest of 1,048,576 makes room", |bencher| {
        bencher.iter(|| {
            for _ in 0..PACKETS {
                now += 100;
                flow = flow.wrapping_add(1);
                black_box(table.observe(&segment(flow), Timestamp(now), 0, &mut ended));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, flow_table);
criterion_main!(benches);
