//! What leaves the store, and when: by age and by size, oldest first.
//!
//! In: the store's directory, limits, the time. Out: removed files, counted. A file's age counts from when
//! it was stored, which its name says, so that an imported capture of long ago stays as long as any other.

use super::config::StoreConfig;
use super::{StoreCounters, StoreError};
use crate::ingest::counters::add;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_common::time::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

/// A file of the store.
#[derive(Debug)]
pub struct StoredFile {
    /// Where it is.
    pub path: PathBuf,
    /// When it was begun, by its name.
    pub stored: Option<Timestamp>,
}

/// The files under a directory (`date=*/hour=*/`) whose names end in `suffix`, by path.
pub fn files_of(directory: &Path, suffix: &str) -> Result<Vec<StoredFile>, StoreError> {
    let mut files = Vec::new();
    for date in entries(directory)? {
        for hour in entries(&date)? {
            for path in entries(&hour)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name.ends_with(suffix) {
                    let stored = name.split('-').nth(1).and_then(|nanos| nanos.parse().ok()).map(Timestamp);
                    files.push(StoredFile { path, stored });
                }
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// What is in a directory; nothing when it is not there (any more) or not a directory.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(StoreError::io(directory)(error)),
    }
}

/// Removes what is past the limits.
pub fn apply(
    directory: &Path,
    config: &StoreConfig,
    counters: &StoreCounters,
    now: Timestamp,
) -> Result<(), StoreError> {
    let flows = directory.join("flows");
    let mut files: Vec<Aged> = Vec::new();
    for file in files_of(&flows, ".parquet")? {
        let bytes = fs::metadata(&file.path).map_or(0, |metadata| metadata.len());
        // A name that says no time is not ours to remove.
        if let Some(stored) = file.stored {
            files.push(Aged { path: file.path, stored, bytes });
        }
    }
    expire(files, config.records_days, config.records_mib_max, counters, now)?;
    let mut days: Vec<Aged> = Vec::new();
    for path in entries(&directory.join("alerts"))? {
        let Some(stored) = super::alerts::day_of(&path) else { continue };
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        // An alert file is complete when its day is over.
        days.push(Aged { path, stored: stored.plus(DAY), bytes });
    }
    expire(days, config.alerts_days, config.alerts_mib_max, counters, now)
}

struct Aged {
    path: PathBuf,
    stored: Timestamp,
    bytes: u64,
}

fn expire(
    mut files: Vec<Aged>,
    days: u32,
    mib_max: u64,
    counters: &StoreCounters,
    now: Timestamp,
) -> Result<(), StoreError> {
    files.sort_by(|a, b| (a.stored, &a.path).cmp(&(b.stored, &b.path)));
    let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let bytes_max = if mib_max == 0 { u64::MAX } else { mib_max.saturating_mul(1 << 20) };
    let age_max = if days == 0 { Duration::MAX } else { DAY.saturating_mul(days) };
    for file in files {
        if bytes <= bytes_max && now.since(file.stored) <= age_max {
            break;
        }
        match fs::remove_file(&file.path) {
            Ok(()) => add(&counters.files_expired, 1u64),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io(&file.path)(error)),
        }
        bytes -= file.bytes;
        // Directories that are empty go; one that is not stays, which is what the error says.
        for directory in file.path.ancestors().skip(1).take(2) {
            let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !(name.starts_with("hour=") || name.starts_with("date=")) || fs::remove_dir(directory).is_err()
            {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::NOON;
    use std::sync::atomic::Ordering;

    fn put(directory: &Path, partition: &str, stored: Timestamp, bytes: usize) -> PathBuf {
        let partition = directory.join("flows").join(partition);
        fs::create_dir_all(&partition).unwrap();
        let path = partition.join(format!("part-{:020}-1-0000.parquet", stored.0));
        fs::write(&path, vec![0; bytes]).unwrap();
        path
    }

    fn days_ago(days: u64) -> Timestamp {
        NOON.minus(DAY.saturating_mul(days as u32))
    }

    #[test]
    fn old_files_leave_with_their_empty_directories_and_imported_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let old = put(directory.path(), "date=2026-10-01/hour=01", days_ago(31), 10);
        let border = put(directory.path(), "date=2026-10-02/hour=01", days_ago(30), 10);
        let imported = put(directory.path(), "date=2009-01-01/hour=01", days_ago(1), 10);
        let counters = StoreCounters::default();
        apply(directory.path(), &StoreConfig::default(), &counters, NOON).unwrap();
        assert!(!old.exists() && border.exists() && imported.exists());
        assert!(!directory.path().join("flows/date=2026-10-01").exists());
        assert_eq!(counters.files_expired.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn past_the_size_the_first_stored_leave_first() {
        let directory = tempfile::tempdir().unwrap();
        let mib = 1 << 20;
        let first = put(directory.path(), "date=2026-11-20/hour=03", days_ago(3), mib);
        let second = put(directory.path(), "date=2026-11-20/hour=02", days_ago(2), mib);
        let third = put(directory.path(), "date=2026-11-20/hour=01", days_ago(1), mib);
        let config = StoreConfig { records_mib_max: 2, ..StoreConfig::default() };
        apply(directory.path(), &config, &StoreCounters::default(), NOON).unwrap();
        assert!(!first.exists() && second.exists() && third.exists());
        let unlimited = StoreConfig { records_mib_max: 0, records_days: 0, ..StoreConfig::default() };
        apply(directory.path(), &unlimited, &StoreCounters::default(), NOON).unwrap();
        assert!(second.exists() && third.exists());
    }

    #[test]
    fn files_that_are_not_ours_and_a_store_that_is_not_there_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        apply(directory.path(), &StoreConfig::default(), &StoreCounters::default(), NOON).unwrap();
        let flows = directory.path().join("flows/date=x/hour=y");
        fs::create_dir_all(&flows).unwrap();
        let strange = flows.join("notes.parquet");
        fs::write(&strange, "x").unwrap();
        apply(directory.path(), &StoreConfig::default(), &StoreCounters::default(), NOON).unwrap();
        assert!(strange.exists());
    }
}
