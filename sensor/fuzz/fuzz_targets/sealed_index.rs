//! A sealed index: any pages are answered from or refused, within bounded memory and time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_sensor::query::expression::Need;
use weir_sensor::ring::index::{Kind, SealedIndex};
use weir_sensor::ring::reader::SegmentContents;
use weir_sensor::ring::summary::{FlowKeys, Pairs};
use weir_sensor_fuzz::{Input, files_in, repair_sealed, scratch};

const EXPRESSIONS: [&str; 8] = [
    "host 10.0.0.1",
    "net 10.0.0.0/8 and port 80",
    "portrange 1-1000 or arp",
    "ip6 host 2001:db8::1",
    "net 2001:db8::/32",
    "vlan 20 and tcp",
    "ip or ip6",
    "not port 53",
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let repair = input.u8() & 1 == 1;
    let mut bytes = input.0.to_vec();
    if repair {
        repair_sealed(&mut bytes);
    }
    let files = files_in(scratch());
    std::fs::write(&files.index, &bytes).expect("the fuzzer's place can be written");
    let Ok(mut index) = SealedIndex::open(&files.index, None) else { return };
    let blocks = index.blocks();
    let _ = index.verify();
    for kind in Kind::ALL {
        for keys in [0..=0, 1..=u64::MAX, 0x0a00_0000..=0x0aff_ffff, 80..=80, u64::MAX..=u64::MAX] {
            if let Ok(found) = index.with_key(kind, keys) {
                assert!(found.iter().all(|block| block < blocks));
            }
        }
    }
    for expression in EXPRESSIONS {
        if let Ok(found) = Need::of(expression).blocks(&mut index) {
            assert!(found.iter().all(|block| block < blocks), "{expression}");
        }
    }
    let _ = (index.holding_flow(FlowKeys { tag: 7 << 32, pairs: Pairs::Of(7) }), index.opaque());
    let _ = (index.block(blocks), index.block(usize::MAX / 4096));
    drop(index);
    // There is no segment, so the index alone is asked.
    if let Ok(contents) = SegmentContents::read(&files) {
        assert!(contents.blocks.len() <= blocks);
    }
});
