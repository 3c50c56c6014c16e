//! Frame entries: any bytes are read or refused, and what was read is written and read again alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_sensor::ring::entry::{ENTRY_BYTES_MAX, Entry};

fuzz_target!(|data: &[u8]| {
    let (mut rest, mut previous, mut again) = (data, Entry::default(), Vec::new());
    while !rest.is_empty() {
        let before = rest.len();
        let Ok(entry) = Entry::decode(&previous, &mut rest) else { break };
        assert!(rest.len() < before);
        again.clear();
        entry.encode(&previous, &mut again);
        assert!(again.len() <= ENTRY_BYTES_MAX);
        let mut bytes = &again[..];
        assert_eq!(Entry::decode(&previous, &mut bytes), Ok(entry));
        assert!(bytes.is_empty());
        previous = entry;
    }
});
