//! An index while it is written: any bytes give blocks whose summaries lie inside them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_sensor::ring::index::Journal;
use weir_sensor::ring::summary::Summary;
use weir_sensor_fuzz::{Input, repair_journal};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let repair = input.u8() & 1 == 1;
    let mut bytes = input.0.to_vec();
    if repair {
        repair_journal(&mut bytes);
    }
    let journal = Journal::parse(bytes, None);
    for block in &journal.blocks {
        assert!(block.summary.start <= block.summary.end && block.summary.end <= journal.bytes.len());
        if let Ok(summary) = Summary::parse(journal.summary(block)) {
            summary.keys(&mut |_, _| {});
        }
    }
});
