//! Alerts as JSON lines, one file per day of their beginning.
//!
//! In: alerts. Out: lines in `alerts/date=YYYY-MM-DD.jsonl`, each an alert as every destination gets it. An
//! update of an alert is a further line with the same id in the same file; the last one holds. A line that
//! a crash cut is skipped when read, and the next line begins on its own.

use super::{StoreCounters, StoreError, date_and_hour};
use crate::ingest::counters::add;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_common::alert::Alert;
use weir_common::time::Timestamp;

/// Longest line read back; a longer one is skipped.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The part of the store that holds alerts.
pub struct AlertLog {
    directory: PathBuf,
    counters: Arc<StoreCounters>,
    failing: bool,
}

impl AlertLog {
    /// Opens the log, making its directory.
    pub fn open(directory: &Path, counters: Arc<StoreCounters>) -> Result<AlertLog, StoreError> {
        let directory = directory.join("alerts");
        fs::create_dir_all(&directory).map_err(StoreError::io(&directory))?;
        Ok(AlertLog { directory, counters, failing: false })
    }

    /// Writes alerts, durably; what cannot be written is counted and said once. Whether all could.
    pub fn append(&mut self, alerts: &[Alert]) -> bool {
        let mut is_whole = true;
        let mut files: HashMap<String, Vec<u8>> = HashMap::new();
        for alert in alerts {
            let lines = files.entry(date_and_hour(alert.time).0).or_default();
            if serde_json::to_writer(&mut *lines, alert).is_ok() {
                lines.push(b'\n');
            }
        }
        for (date, lines) in files {
            let path = self.directory.join(format!("date={date}.jsonl"));
            let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
            match write(&path, lines) {
                Ok(()) => {
                    self.failing = false;
                    add(&self.counters.alerts_stored, count);
                }
                Err(error) => {
                    is_whole = false;
                    add(&self.counters.alerts_lost, count);
                    add(&self.counters.write_errors, 1u64);
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::error!("{}: {error}; alerts are delivered and not stored", path.display());
                    }
                }
            }
        }
        is_whole
    }
}

fn write(path: &Path, mut lines: Vec<u8>) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            lines.insert(0, b'\n');
        }
    }
    file.write_all(&lines)?;
    file.sync_data()
}

/// The begin of the day that a file of the log is for.
pub fn day_of(path: &Path) -> Option<Timestamp> {
    let date = path.file_name()?.to_str()?.strip_prefix("date=")?.strip_suffix(".jsonl")?;
    Timestamp::parse(&format!("{date}T00:00:00Z"), Timestamp::MIN).ok()
}

/// What was read back.
#[derive(Debug, Default)]
pub struct Stored {
    /// Each alert's last form, by the time of its beginning.
    pub alerts: Vec<Alert>,
    /// Lines that are no alert.
    pub unreadable: u64,
}

/// Reads the alerts that ended at `since` or later. No log is no alerts.
pub fn read(directory: &Path, since: Timestamp) -> Result<Stored, StoreError> {
    let mut stored = Stored::default();
    let directory = directory.join("alerts");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(stored),
        Err(error) => return Err(StoreError::io(&directory)(error)),
    };
    // An alert stands under the day it began and may have gone on since: each file is looked into.
    for entry in entries {
        let path = entry.map_err(StoreError::io(&directory))?.path();
        if day_of(&path).is_some() {
            read_day(&path, since, &mut stored).map_err(StoreError::io(&path))?;
        }
    }
    stored.alerts.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    Ok(stored)
}

fn read_day(path: &Path, since: Timestamp, stored: &mut Stored) -> std::io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut last: HashMap<String, Alert> = HashMap::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Alert>(&line) {
            Ok(alert) => {
                last.insert(alert.id.clone(), alert);
            }
            Err(_) => stored.unreadable += 1,
        }
    }
    stored.alerts.extend(last.into_values().filter(|alert| alert.end >= since));
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::tests::NOON;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    /// An alert that began and ended `seconds` after noon.
    pub(crate) fn alert(id: &str, seconds: u64, count: u64) -> Alert {
        let time = NOON.plus(Duration::from_secs(seconds)).to_string();
        let json = serde_json::json!({
            "id": id, "time": time, "end": time, "kind": "scan.horizontal", "actor": "10.0.0.5",
            "targets": ["192.0.2.7"], "target_count": 1, "count": count, "severity": "medium", "confidence": 0.5,
            "route": "ticket", "reason": "r", "technique": ["T1046"], "sensors": ["edge-1"], "flows": [],
            "evidence": {"state": "expired"},
        });
        serde_json::from_value(json).unwrap()
    }

    fn log() -> (tempfile::TempDir, AlertLog, Arc<StoreCounters>) {
        let directory = tempfile::tempdir().unwrap();
        let counters = Arc::new(StoreCounters::default());
        let log = AlertLog::open(directory.path(), counters.clone()).unwrap();
        (directory, log, counters)
    }

    #[test]
    fn the_last_form_of_an_alert_is_read_in_order_of_time() {
        let (directory, mut log, counters) = log();
        log.append(&[alert("b", 60, 1), alert("a", 0, 1)]);
        log.append(&[alert("b", 60, 2), alert("c", 86_400, 1)]);
        let stored = read(directory.path(), Timestamp::MIN).unwrap();
        let seen: Vec<_> = stored.alerts.iter().map(|alert| (alert.id.as_str(), alert.count)).collect();
        assert_eq!(seen, [("a", 1), ("b", 2), ("c", 1)]);
        assert_eq!(counters.alerts_stored.load(Ordering::Relaxed), 4);
        let since = read(directory.path(), NOON.plus(Duration::from_secs(60))).unwrap();
        assert_eq!(since.alerts.len(), 2);
    }

    #[test]
    fn a_cut_line_is_skipped_and_harms_no_other() {
        let (directory, mut log, _) = log();
        log.append(&[alert("a", 0, 1)]);
        let path = directory.path().join("alerts/date=2026-11-20.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"id\":\"cut").unwrap();
        log.append(&[alert("b", 0, 1)]);
        let stored = read(directory.path(), Timestamp::MIN).unwrap();
        assert_eq!((stored.alerts.len(), stored.unreadable), (2, 1));
    }

    #[test]
    fn no_log_is_no_alerts_and_an_unwritable_one_is_counted() {
        let (directory, mut log, counters) = log();
        fs::remove_dir(directory.path().join("alerts")).unwrap();
        assert!(read(directory.path(), Timestamp::MIN).unwrap().alerts.is_empty());
        log.append(&[alert("a", 0, 1)]);
        assert_eq!(counters.alerts_lost.load(Ordering::Relaxed), 1);
    }
}
