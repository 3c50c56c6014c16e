//! A block's summary: any bytes are read or refused; a sealed index made of it never says no where it says yes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_sensor::ring::format::BlockHeader;
use weir_sensor::ring::fuzzing;
use weir_sensor::ring::index::{Kind, SealedIndex};
use weir_sensor::ring::summary::{FlowKeys, Pairs, Prefix, Summary};
use weir_sensor_fuzz::{files_in, scratch};

/// More keys than this make a run slow and find nothing else.
const BYTES_MAX: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Ok(summary) = Summary::parse(data) else { return };
    let mut keys = Vec::new();
    summary.keys(&mut |kind, key| keys.push((kind, key)));
    let _ = (summary.is_opaque(), summary.may_hold_v4(), summary.may_hold_v6(), summary.may_hold_arp());
    for (_, key) in keys.iter().take(50) {
        for pairs in [Pairs::None, Pairs::Of(*key as u32)] {
            summary.may_hold_flow(FlowKeys { tag: *key, pairs });
        }
        summary.may_hold_port(*key as u16..=u16::MAX);
        summary.may_hold_vlan(Some(*key as u16));
        summary.may_hold_protocol(*key as u8);
        summary.may_hold_address(Prefix::V4(*key as u32, *key as u8));
        summary.may_hold_address(Prefix::V6(u128::from(*key) << 64, *key as u8));
    }
    if data.len() > BYTES_MAX {
        return;
    }
    let files = files_in(scratch());
    let other = fuzzing::summary_of([(&[0; 60][..], None)]);
    let header = BlockHeader { frames: 1, body_bytes: 16, ..BlockHeader::default() };
    let blocks = [(128, header, data), (320, header, &other[..])];
    fuzzing::write_index(&files.index, files.name, &blocks, true).expect("any summary can be indexed");
    let mut index = SealedIndex::open(&files.index, None).expect("what was sealed opens");
    index.verify().expect("and is sound");
    assert_eq!(index.blocks(), 2);
    for (kind, key) in keys.iter().take(200) {
        let found = index.with_key(*kind, *key..=*key).expect("a sound index answers");
        assert!(found.iter().any(|block| block == 0), "{kind:?} {key:#x}");
    }
    for kind in Kind::ALL {
        let any = index.with_key(kind, 0..=u64::MAX).expect("a sound index answers");
        assert_eq!(any.iter().any(|block| block == 0), keys.iter().any(|(of, _)| *of == kind), "{kind:?}");
    }
});
