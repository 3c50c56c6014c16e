//! The project's chores as a library, so that the checks also run as tests.

#![forbid(unsafe_code)]

pub mod arrows;
pub mod docs;
pub mod scaffold;
pub mod tidy;

use std::path::PathBuf;

/// The workspace's root.
pub fn root() -> PathBuf {
    // This crate lives two folders below it.
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(PathBuf::from).unwrap_or_default()
}
