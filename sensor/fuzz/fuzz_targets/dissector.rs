//! One program for all dissectors, where building one for each takes too long: `WEIR_FUZZ_APP` names the dissector.
#![no_main]

use std::sync::LazyLock;
use weir_common::app::App;

static APP: LazyLock<App> = LazyLock::new(|| {
    let name = std::env::var("WEIR_FUZZ_APP").unwrap_or_default();
    weir_sensor::dpi::dissected()
        .find(|app| app.name().replace('-', "_") == name)
        .unwrap_or_else(|| panic!("WEIR_FUZZ_APP={name} names no dissector"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_sensor::dpi::fuzzing::dissector(*APP, data));
