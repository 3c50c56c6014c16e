//! What it costs to decode a frame, per link and transport, header bytes in the cache.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use weir_common::time::Timestamp;
use weir_sensor::capture::{Frame, LinkType};
use weir_sensor::counters::DecodeCounters;
use weir_sensor::decode::Decoder;

/// Frames decoded per iteration, each at its own place in memory.
const FRAMES: usize = 64;

const IPV4_TCP: &[u8] = &[
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
    0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // IPv4
    0xc0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0, // TCP
];

fn vlan(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0x00, 0, 7], &frame[12..]].concat()
}

fn udp() -> Vec<u8> {
    let mut frame = IPV4_TCP[..42].to_vec();
    frame[17] = 28;
    frame[23] = 17;
    frame[38..40].copy_from_slice(&[0, 8]);
    frame
}

fn ipv6(extensions: &[u8], first: u8) -> Vec<u8> {
    let mut frame = [&IPV4_TCP[..12], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 0, 64]].concat();
    frame[19] = (extensions.len() + 20) as u8;
    frame[20] = first;
    frame.extend([0x20; 32]);
    frame.extend(extensions);
    frame.extend(&IPV4_TCP[34..]);
    frame
}

/// The first half of a datagram; every frame is of another one.
fn fragment() -> Vec<u8> {
    let mut frame = udp();
    frame[20] = 0x20;
    frame
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for (name, bytes) in [
        ("ethernet ipv4 tcp", IPV4_TCP.to_vec()),
        ("ethernet ipv4 udp", udp()),
        ("ethernet vlan ipv4 tcp", vlan(IPV4_TCP)),
        ("ethernet ipv6 tcp", ipv6(&[], 6)),
        ("ethernet ipv6 two extensions tcp", ipv6(&[60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0], 0)),
        ("ethernet ipv4 udp fragment", fragment()),
    ] {
        let mut frames = vec![bytes; FRAMES];
        let mut decoder = Decoder::new(8 << 20, Duration::from_secs(30));
        let mut counters = DecodeCounters::default();
        let is_fragment = name.ends_with("fragment");
        let mut round = 0u16;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                round = round.wrapping_add(1);
                for (at, data) in frames.iter_mut().enumerate() {
                    if is_fragment {
                        let id = round.wrapping_mul(FRAMES as u16).wrapping_add(at as u16);
                        data[18..20].copy_from_slice(&id.to_be_bytes());
                    }
                    let wire_len = data.len() as u32;
                    let frame =
                        Frame { time: Timestamp(1), link: LinkType::ETHERNET, interface: 0, wire_len, data };
                    let packet = decoder.decode(&frame, &mut counters);
                    black_box(packet.map(|packet| packet.transport.ports()));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
