//! Text as a file of rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_sensor::signatures::fuzzing::rules(data));
