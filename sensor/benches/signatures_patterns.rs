//! What it costs to look for many patterns at once, by each matcher: buffers as short as a host name and as long as
//! a packet, sets as small as those of a rare buffer and as large as all rules together.
//!
//! `cargo bench -p weir-sensor --bench signatures_patterns`

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

#[path = "../src/signatures/patterns/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "a private part, measured as it is, with its tests"
)]
mod patterns;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use patterns::{Choice, Compiler, PatternScratch, PatternSet, PatternSetBuilder};
use std::hint::black_box;

/// Numbers of patterns.
const COUNTS: [usize; 4] = [1, 20, 3_000, 25_000];
/// Bytes of a buffer.
const LENGTHS: [usize; 4] = [20, 60, 300, 1460];

const CHOICES: [Choice; 2] = [Choice::Vectorscan, Choice::AhoCorasick];

/// Letters as in English text, from a fixed seed.
struct Text(u64);

impl Text {
    fn word(&mut self, length: usize) -> Vec<u8> {
        const LETTERS: &[u8] = b"eeeeettttaaaaooooiiinnnssshhrrddlluuccmmffwwyyggppbbvvkkxjqz..//==&&-%20";
        let mut letter = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            LETTERS[(self.0 >> 32) as usize % LETTERS.len()]
        };
        std::iter::repeat_with(&mut letter).take(length).collect()
    }
}

/// Words of 4 to 27 bytes, most without regard to case.
fn set(choice: Choice, count: usize) -> PatternSet {
    let (mut text, mut builder) = (Text(0x2545_f491_4f6c_dd1d), PatternSetBuilder::default());
    for n in 0..count {
        builder.add(&text.word(4 + n % 24), n % 3 != 0);
    }
    builder.build(&mut Compiler::new(choice))
}

fn patterns(c: &mut Criterion) {
    let mut text = Text(0x9e37_79b9_7f4a_7c15);
    let payload = text.word(1 << 20);
    for count in COUNTS {
        let mut group = c.benchmark_group(format!("patterns {count}"));
        for choice in CHOICES {
            let set = set(choice, count);
            let (mut scratch, mut out) = (PatternScratch::default(), Vec::new());
            for length in LENGTHS {
                // Another buffer each time, so that no branch is learned by heart.
                let mut buffers = payload.chunks_exact(length).cycle();
                group.throughput(Throughput::Bytes(length as u64));
                group.bench_function(BenchmarkId::new(set.implementation(), length), |b| {
                    b.iter(|| {
                        out.clear();
                        set.scan(buffers.next().unwrap_or_default(), &mut scratch, &mut out);
                        black_box(out.len())
                    });
                });
            }
        }
        group.finish();
    }
    let mut group = c.benchmark_group("build 3000 patterns");
    group.sample_size(20);
    for choice in CHOICES {
        let name = set(choice, 2).implementation();
        group.bench_function(name, |b| b.iter(|| black_box(set(choice, 3_000)).memory_bytes()));
    }
    group.finish();
}

criterion_group!(benches, patterns);
criterion_main!(benches);
