//! A segment of the spool: any bytes give entries that are whole messages, and the reader comes to the end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_sensor::export::spool::fuzzing::{read, segment};
use weir_sensor_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    // Bytes as they are, or changes to a segment that was written: few random bytes have a right checksum.
    let messages = u64::from(input.u8() & 15);
    let whole = segment(messages);
    let mut bytes = whole.clone();
    while messages > 0 && input.0.len() >= 3 {
        let at = (usize::from(input.u8()) << 8 | usize::from(input.u8())) % bytes.len();
        bytes[at] = input.u8();
    }
    if messages == 0 {
        bytes = input.0.to_vec();
    }
    let found = read(&bytes);
    let written = read(&whole);
    assert!(messages == 0 || found.iter().all(|range| written.contains(range)), "what was not written is not read");
});
