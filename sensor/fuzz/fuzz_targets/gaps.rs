//! The gap ledger and `alive`: any bytes are read, stated, appended to and compacted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_common::time::Timestamp;
use weir_sensor::query::completeness::{Completeness, Evidence, Shortened};
use weir_sensor::ring::fuzzing;
use weir_sensor::ring::gaps::{Gaps, RecordKind};
use weir_sensor_fuzz::{Input, repair_records, scratch};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (repair, records) = (input.u8() & 1 == 1, usize::from(input.u8()));
    let (mut gaps, mut alive) = (input.take(records * 64).to_vec(), input.0.to_vec());
    if repair {
        repair_records(&mut gaps);
        repair_records(&mut alive);
    }
    let place = scratch();
    std::fs::write(place.join("gaps"), &gaps).expect("the fuzzer's place can be written");
    std::fs::write(place.join("alive"), &alive).expect("the fuzzer's place can be written");
    let read = Gaps::read(place).expect("a ledger of any bytes is read");
    let (run, open) = (read.last_run(), read.open_runs());
    assert!(open.iter().all(|(_, open)| *open <= run));
    let times = [None, Some(Timestamp(u64::from(input.u16()) << 48)), Some(Timestamp::MAX)];
    for (since, until) in
        [(times[0], times[0]), (times[1], times[0]), (times[1], times[2]), (times[0], times[2])]
    {
        let stated = Completeness::state(&Evidence {
            gaps: &read,
            being_written: data.len() % 2 == 0,
            since,
            until,
            now: Timestamp(1 << 60),
            unreadable: &[],
            shortened: Shortened::default(),
            reads_bytes: data.len() % 3 == 0,
        });
        assert!(stated.from <= stated.until, "{stated}");
        // Whoever was never told that a run covers the range must not call it complete.
        let begun = read.records.iter().any(|record| record.kind == RecordKind::RunStart);
        assert!(begun || !stated.complete, "{stated}");
        assert!(!stated.to_string().is_empty());
    }
    let after = fuzzing::note_and_compact(place, 3).expect("a ledger of any bytes is written on");
    assert!(after.records.len() <= read.records.len() + 3);
    let frames = |gaps: &Gaps| {
        let lost = gaps.records.iter().filter(|record| matches!(record.kind, RecordKind::Loss(_)));
        lost.fold(0u64, |sum, record| sum.saturating_add(record.frames))
    };
    assert!(frames(&after) >= frames(&read), "compacting must not forget losses");
});
