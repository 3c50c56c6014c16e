//! A rule, and what is said on a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_sensor::signatures::fuzzing::engine(data));
