//! A segment's and a block's fixed headers: never a panic, sizes within their limits, and read back as written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_sensor::ring::format::{BlockHeader, DATA_BYTES_MAX, ENTRIES_BYTES_MAX, SegmentHeader, SegmentName};
use weir_sensor_fuzz::{Input, repair_block_header, repair_header};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let repair = input.u8() & 1 == 1;
    let mut segment = input.take(128).to_vec();
    let mut block = input.take(128).to_vec();
    if repair {
        repair_header(&mut segment, 128, b"WEIRRING");
        repair_block_header(&mut block);
    }
    if let Ok(header) = SegmentHeader::decode(&segment) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        let file = header.name.segment_file();
        let parsed = file.strip_suffix(".seg").and_then(SegmentName::parse);
        assert_eq!(parsed, Some(header.name), "{file}");
    }
    if let Ok(header) = BlockHeader::decode(&block) {
        assert_eq!(BlockHeader::decode(&header.encode_sealed()), Ok(header));
        assert!(header.frame_bytes() <= DATA_BYTES_MAX.into() && header.entries_bytes <= ENTRIES_BYTES_MAX);
        assert!(header.next_offset(input.u64()) % 64 == 0);
        assert!(header.table_bytes() as u64 <= header.stored_bytes());
    }
    if let Some(name) = std::str::from_utf8(data).ok().and_then(SegmentName::parse) {
        assert_eq!(name.segment_file().as_bytes().strip_suffix(b".seg"), Some(data));
    }
});
