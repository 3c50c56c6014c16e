//! What the first bytes of a flow that nobody recognises cost: every dissector and recogniser that may begin with its
//! first byte is asked.
//!
//! `cargo bench -p weir-sensor --bench probe --features fuzzing`

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use weir_sensor::dpi::{Carrier, fuzzing};

/// Flows per iteration.
const FLOWS: usize = 1024;
/// Bytes of each flow.
const FLOW_BYTES: usize = 256;

/// Noise, so that every first byte comes.
fn noise() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(FLOWS * FLOW_BYTES).collect()
}

fn probe(c: &mut Criterion) {
    let noise = noise();
    // Most binary protocols begin with a zero: the byte with the most candidates.
    let mut zeros = noise.clone();
    zeros.chunks_mut(FLOW_BYTES).for_each(|flow| flow[0] = 0);
    let mut letters = noise.clone();
    letters.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
    let mut group = c.benchmark_group("probe");
    group.throughput(Throughput::Elements(FLOWS as u64));
    for (name, bytes) in [("noise", &noise), ("zero first", &zeros), ("letters", &letters)] {
        for (carrier, kind) in [(Carrier::Stream, "stream"), (Carrier::Datagram, "datagram")] {
            group.bench_function(format!("unknown {kind} {name}"), |bencher| {
                bencher.iter(|| {
                    let flows = bytes.chunks(FLOW_BYTES);
                    flows
                        .filter(|flow| fuzzing::is_recognised(carrier, [40_000, 40_001], black_box(flow)))
                        .count()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, probe);
criterion_main!(benches);
