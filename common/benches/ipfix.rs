//! What one flow record costs in IPFIX: encoded into a message, decoded from one.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use weir_common::app::App;
use weir_common::evidence::{Evidence, Extents};
use weir_common::features::{Features, PacketBrief};
use weir_common::ipfix::TEMPLATE_SET;
use weir_common::ipfix::decode::{Decoder, Limits};
use weir_common::ipfix::encode::{MessageBuilder, Pushed, TextLimits, encode_flow, stamp};
use weir_common::ipfix::template::{Layout, write_template};
use weir_common::metadata::{Field, Metadata, WEIR_PEN};
use weir_common::net::{Address, CommunityId, Direction, FlowKey};
use weir_common::record::{DirectionStats, EndReason, FlowRecord, FlowState};
use weir_common::time::Timestamp;

fn record(number: u32, metadata: Option<Metadata>) -> FlowRecord {
    let [_, a, b, c] = number.to_be_bytes();
    FlowRecord {
        key: FlowKey {
            initiator: Address::v4([10, a, b, c]),
            responder: Address::v4([192, 0, 2, c]),
            initiator_port: number as u16,
            responder_port: 443,
            protocol: 6,
        },
        flow_id: u64::from(number),
        community_id: CommunityId([c; 20]),
        start: Timestamp(1_700_000_000_000_000_000 + u64::from(number) * 1_234_567),
        end: Timestamp(1_700_000_001_000_000_000 + u64::from(number) * 1_234_567),
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
        app: if metadata.is_some() { App::Tls } else { App::Unknown },
        metadata: metadata.map(Box::new),
        tunnel: None,
        at_shutdown: false,
        signatures: None,
        evidence: None,
        features: Features::default(),
    }
}

fn tls() -> Metadata {
    let mut metadata = Metadata::default();
    for (field, text) in [
        (Field::TlsServerName, "www.example.org"),
        (Field::TlsVersion, "TLS 1.3"),
        (Field::TlsAlpn, "h2,http/1.1"),
        (Field::TlsJa3, "cd08e31494f9531f560d64c695473da9"),
        (Field::TlsJa3s, "f4febc55ea12b31ae17cfb7e614afda8"),
        (Field::TlsJa4, "t13d1516h2_8daaf6152771_b186095e22b6"),
    ] {
        metadata.set_text(field, text);
    }
    metadata.set_number(Field::TlsCipher, 0x1301);
    metadata
}

/// With packets in three blocks of a ring.
fn in_ring(record: &mut FlowRecord) {
    let mut extents = Extents::new(3, 0);
    let first = record.flow_id / 10;
    [first, first + 1, first + 20].into_iter().for_each(|number| extents.add(number));
    let expires = Some(record.start.plus(std::time::Duration::from_secs(86_400)));
    record.evidence = Some(Box::new(Evidence { extents, frames_kept: 22, frames_missed: 0, expires }));
}

/// With sizes and gaps, what TCP had to repair, and as many first packets as a record takes by default.
fn detailed(record: &mut FlowRecord) {
    let packet = |number: u32| PacketBrief {
        time_us: number * 1000,
        payload: 1400,
        tcp_flags: 0x18,
        direction: if number.is_multiple_of(3) { Direction::Forward } else { Direction::Reverse },
    };
    record.features.has_statistics = true;
    record.features.first_packets = (0..50).map(packet).collect();
    record.features.forward.trouble.retransmitted = 1;
    record.features.server_rtt_us = Some(20_000);
}

/// As many of the records as one message holds, and that message, with the template in front.
fn message(records: &[FlowRecord]) -> (usize, Vec<u8>) {
    let mut builder = MessageBuilder::new(1, 32 << 10);
    let layout = Layout::of(&records[0]);
    builder.push(TEMPLATE_SET, |out| write_template(layout.id(), None, &layout.fields(), WEIR_PEN, out));
    let mut count = 0;
    for record in records {
        let write = |out: &mut Vec<u8>| encode_flow(record, layout, TextLimits::ALL, WEIR_PEN, out);
        if builder.push(layout.id(), write) != Pushed::In {
            break;
        }
        count += 1;
    }
    let mut bytes = builder.finish(Vec::new());
    stamp(&mut bytes, 1_700_000_100, 0);
    (count, bytes)
}

fn ipfix(criterion: &mut Criterion) {
    for (name, metadata, ring) in [
        ("plain", None, false),
        ("tls", Some(tls()), false),
        ("plain with ring", None, true),
        ("everything", Some(tls()), true),
    ] {
        let mut records: Vec<_> = (0..300).map(|number| record(number, metadata.clone())).collect();
        records.iter_mut().filter(|_| ring).for_each(in_ring);
        records.iter_mut().filter(|_| name == "everything").for_each(detailed);
        let (count, bytes) = message(&records);
        let mut group = criterion.benchmark_group(format!("ipfix/{name}"));
        group.throughput(Throughput::Elements(count as u64));
        let mut builder = MessageBuilder::new(1, 32 << 10);
        let mut spare = Vec::new();
        group.bench_function("encode", |bench| {
            bench.iter(|| {
                for record in &records[..count] {
                    let layout = Layout::of(record);
                    let write =
                        |out: &mut Vec<u8>| encode_flow(record, layout, TextLimits::ALL, WEIR_PEN, out);
                    black_box(builder.push(layout.id(), write));
                }
                spare = builder.finish(std::mem::take(&mut spare));
            });
        });
        let mut decoder = Decoder::new(Limits::default(), WEIR_PEN);
        group.bench_function("decode", |bench| {
            bench.iter_batched_ref(
                || Vec::with_capacity(count),
                |read: &mut Vec<FlowRecord>| black_box(decoder.message(&bytes, read)),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, ipfix);
criterion_main!(benches);
