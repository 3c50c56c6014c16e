//! One direction of a TCP flow put back in order: segments in any order, again, overlapping, lost.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_sensor::dpi::fuzzing::stream(data));
