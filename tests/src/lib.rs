//! What end-to-end tests share: the built programs as processes, JSON to compare, namespaces.
//!
//! Tests know the programs from outside only: their command lines, files and sockets. Traffic is sent
//! in network namespaces that a test makes and removes; only processes that a test started are ended.

pub mod disk;
pub mod json;
pub mod netns;
pub mod process;

use std::io::Write;
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
pub fn skip(reason: &str) {
    // Straight to the stream: the harness keeps what passing tests print by macro to itself.
    let _ = writeln!(std::io::stdout(), "\nskipped: {reason}");
}
