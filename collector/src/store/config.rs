//! The `[store]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is kept, and for how long.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Directory of the store. Empty: `store` in the state directory.
    pub directory: String,
    /// Longest time in seconds that a record waits before its file is complete. A crash loses at most
    /// this much; a shorter time makes more and smaller files.
    pub flush_s: u32,
    /// Most records in one file; a full file is completed at once.
    pub rows_max: u32,
    /// Days that records are kept, counted from when they were stored. 0: no limit.
    pub records_days: u32,
    /// Most MiB of records kept; past it the files that were stored first leave. 0: no limit.
    pub records_mib_max: u64,
    /// Days that alerts are kept, counted from the day of the alert. 0: no limit.
    pub alerts_days: u32,
    /// Most MiB of alerts kept; past it the oldest days leave. 0: no limit.
    pub alerts_mib_max: u64,
    /// Longest time in milliseconds that detection waits for a busy store. After it the records at hand
    /// are counted and not stored; they were inspected.
    pub wait_ms: u32,
    /// Compression level of zstd, 1 (fast) to 19 (small).
    pub zstd_level: u8,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            directory: String::new(),
            flush_s: 60,
            rows_max: 1_000_000,
            records_days: 30,
            records_mib_max: 51_200,
            alerts_days: 365,
            alerts_mib_max: 1024,
            wait_ms: 2000,
            zstd_level: 1,
        }
    }
}
