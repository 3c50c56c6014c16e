//! Store: records and alerts on disk, partitioned by time.
//!
//! In: batches of records, alerts. Out: files under one directory.
//!
//! ```text
//! flows/date=2026-11-20/hour=14/part-01795176000000000000-4711-0000.parquet
//! flows/date=other/hour=other/part-....parquet
//! alerts/date=2026-11-20.jsonl
//! delivered.json
//! ```
//!
//! A record stands under the hour in which it ended, in UTC. At most [`flows::HOURS_OPEN_MAX`] hours are
//! written at once; records of further hours go to `other`, which every query reads, so that an exporter
//! with a wild clock costs one more file and not one per record. A file appears under its name when it is
//! complete and on disk: what has its name survives a crash. Files are written once and never changed.
//! What cannot be written is counted, said once, and the store goes on.
//!
//! Deliberately absent: queries (`collector/sql`), a clock (`now` is an argument).

pub mod config;
mod features;
pub mod columns;
pub mod flows;
pub mod alerts;
pub mod delivered;
pub mod retention;
#[cfg(feature = "sql")]
pub mod tables;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use weir_common::time::Timestamp;

/// Where the store of a configuration is.
pub fn directory(config: &config::StoreConfig, state_directory: &Path) -> PathBuf {
    if config.directory.is_empty() { state_directory.join("store") } else { PathBuf::from(&config.directory) }
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory.
    #[error("store: {path}: {source}")]
    Io {
        /// Which one.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Parquet could not be written.
    #[error("store: {path}: {source}")]
    Parquet {
        /// Which file.
        path: String,
        /// What the library said.
        source: parquet::errors::ParquetError,
    },
    /// A batch could not be made.
    #[error("store: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The configuration is wrong.
    #[error("store.{key}: {message}")]
    Config {
        /// The key.
        key: &'static str,
        /// What was expected.
        message: String,
    },
}

impl StoreError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.display().to_string();
        move |source| StoreError::Io { path, source }
    }

    fn parquet(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> StoreError {
        let path = path.display().to_string();
        move |source| StoreError::Parquet { path, source }
    }
}

/// What the store did; shared with `status`.
#[derive(Debug, Default)]
pub struct StoreCounters {
    /// Records in complete files.
    pub records_stored: AtomicU64,
    /// Records that could not be written.
    pub records_lost: AtomicU64,
    /// Files completed.
    pub files_written: AtomicU64,
    /// Bytes of completed files.
    pub bytes_written: AtomicU64,
    /// Files that left by age or size.
    pub files_expired: AtomicU64,
    /// Unfinished files found at start: each is what a crash lost.
    pub files_cut: AtomicU64,
    /// Failed attempts to write.
    pub write_errors: AtomicU64,
    /// Alerts written.
    pub alerts_stored: AtomicU64,
    /// Alerts that could not be written.
    pub alerts_lost: AtomicU64,
}

/// `2026-11-20` and the hour of a time, in UTC.
pub(crate) fn date_and_hour(time: Timestamp) -> (String, u64) {
    let text = time.to_string();
    let date = text.split('T').next().unwrap_or_default();
    (date.to_owned(), time.seconds() / 3600 % 24)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    pub(crate) use crate::ingest::testing::{NOON, record};

    #[test]
    fn the_hour_is_that_of_utc() {
        assert_eq!(date_and_hour(NOON), ("2026-11-20".to_owned(), 12));
        assert_eq!(date_and_hour(Timestamp::MIN), ("1970-01-01".to_owned(), 0));
        let (date, hour) = date_and_hour(Timestamp::MAX);
        assert!(date.starts_with("2554-") && hour < 24);
    }
}
