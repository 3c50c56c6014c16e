//! Options of a rule over bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_sensor::signatures::fuzzing::options(data));
