//! What `status` shows: a snapshot of every counter, in a file that is replaced each second.

use super::Counters;
use crate::control::Control;
use crate::control::sensors::SensorStatus;
use crate::files::replace_without_sync;
use crate::forward::DestinationStatus;
use crate::ingest::counters::ExporterStatus;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_common::time::Timestamp;

/// The file below the state directory.
pub const FILE_NAME: &str = "status.json";
/// Seconds after which a status is that of a collector that does not run any more.
pub const STALE_AFTER_S: u64 = 10;

/// A snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// When it was taken, RFC 3339.
    pub written: String,
    /// When the collector began, RFC 3339.
    pub started: String,
    /// Whether the collector runs.
    pub running: bool,
    /// The process.
    pub pid: u32,
    /// Batches that wait for the worker.
    pub queue_batches: usize,
    /// The stages' counters by name.
    pub ingest: BTreeMap<String, u64>,
    #[allow(missing_docs)]
    pub detection: BTreeMap<String, u64>,
    #[allow(missing_docs)]
    pub store: BTreeMap<String, u64>,
    #[allow(missing_docs)]
    pub identity: BTreeMap<String, u64>,
    /// Counters of the control connection.
    pub control: BTreeMap<String, u64>,
    /// One entry per sensor that is or was connected.
    pub sensors: Vec<SensorStatus>,
    /// One entry per destination of alerts.
    pub destinations: Vec<serde_json::Value>,
    /// One entry per exporter.
    pub exporters: Vec<ExporterStatus>,
}

impl Status {
    /// The counters as they are.
    pub fn of(counters: &Counters, started: Timestamp, now: Timestamp, queue_batches: usize) -> Status {
        let named = |list: &[(&str, &AtomicU64)]| {
            list.iter().map(|(name, counter)| ((*name).to_owned(), counter.load(Ordering::Relaxed))).collect()
        };
        let store = &counters.store;
        let forgotten = counters.forgotten.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut status = Status {
            written: now.to_string(),
            started: started.to_string(),
            running: true,
            pid: std::process::id(),
            queue_batches,
            ingest: counters
                .ingest
                .listeners()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            detection: named(&[
                ("records", &counters.records),
                ("signature_alerts", &counters.signature_alerts),
                ("findings", &counters.findings),
                ("alerts", &counters.alerts),
                ("alert_updates", &counters.alert_updates),
                ("batches_panicked", &counters.batches_panicked),
                ("incidents_evicted", &counters.incidents_evicted),
                ("incidents_muted", &counters.incidents_muted),
            ]),
            store: named(&[
                ("records_stored", &store.records_stored),
                ("records_lost", &store.records_lost),
                ("files_written", &store.files_written),
                ("bytes_written", &store.bytes_written),
                ("files_expired", &store.files_expired),
                ("files_cut", &store.files_cut),
                ("write_errors", &store.write_errors),
                ("alerts_stored", &store.alerts_stored),
                ("alerts_lost", &store.alerts_lost),
            ]),
            identity: BTreeMap::new(),
            control: BTreeMap::new(),
            sensors: Vec::new(),
            destinations: Vec::new(),
            exporters: counters.ingest.exporters(),
        };
        status.detection.extend(forgotten.iter().map(|(name, count)| (format!("{name}_forgotten"), *count)));
        status
    }

    /// The same with the destinations.
    pub fn with_destinations(mut self, destinations: Vec<DestinationStatus>) -> Status {
        // A status is made of numbers and texts, which JSON has.
        self.destinations =
            destinations.iter().filter_map(|status| serde_json::to_value(status).ok()).collect();
        self
    }

    /// The same with what was issued, renewed and refused.
    pub fn with_identity(self, counters: Vec<(String, u64)>) -> Status {
        Status { identity: counters.into_iter().collect(), ..self }
    }

    /// The same with the sensors' control connections.
    pub fn with_control(self, control: &Control) -> Status {
        Status { control: control.counters(), sensors: control.sensors(), ..self }
    }

    /// The same, as the last one of its process.
    pub fn ended(mut self) -> Status {
        self.running = false;
        self
    }

    /// Replaces the file.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        replace_without_sync(&state.join(FILE_NAME), &serde_json::to_vec(self)?)
    }

    /// Reads the file.
    pub fn read(state: &Path) -> io::Result<Status> {
        Ok(serde_json::from_slice(&fs::read(state.join(FILE_NAME))?)?)
    }

    /// Whether it is the status of a collector that runs at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        let written = Timestamp::parse(&self.written, now).unwrap_or_default();
        self.running && now.since(written).as_secs() < STALE_AFTER_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::NOON;
    use std::time::Duration;

    #[test]
    fn a_status_reads_back_and_grows_old() {
        let directory = tempfile::tempdir().unwrap();
        let counters = Counters::default();
        counters.records.store(7, Ordering::Relaxed);
        Status::of(&counters, NOON, NOON, 3).write(directory.path()).unwrap();
        let status = Status::read(directory.path()).unwrap();
        assert_eq!((status.detection["records"], status.queue_batches), (7, 3));
        assert!(status.is_live(NOON.plus(Duration::from_secs(STALE_AFTER_S - 1))));
        assert!(!status.is_live(NOON.plus(Duration::from_secs(STALE_AFTER_S))));
        assert!(!status.ended().is_live(NOON));
    }
}
