//! What end-to-end tests share: the built programs as processes, JSON to compare, namespaces.
//!
//! Tests know the programs from outside only: their command lines, files and sockets. Traffic is sent
//! in network namespaces that a test makes and removes; only processes that a test started are ended.

pub mod json;
pub mod netns;
pub mod process;

use std::path::PathBuf;

/// The folder of end-to-end tests.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A bundled capture.
pub fn capture(name: &str) -> PathBuf {
    folder().join("captures").join(name)
}

/// Says why a test does not run; `scripts/test` counts these lines.
#[expect(clippy::print_stdout, reason = "the test harness' output is where skips are counted")]
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
}
