//! What recognises applications by a flow's first bytes, all together.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_sensor::dpi::fuzzing::recognisers(data));
