//! Which of the sensors' records the store holds.
//!
//! In: the numbers of the rows of each file, which stand in the file's own key-value metadata and so become visible with
//! its rows, by one rename; and a snapshot of everything durable, which spares a start from reading every file, and
//! remembers what retention has removed since. Out: what a start begins with.
//!
//! The snapshot is written before a position is published, so that what a sensor has let go of is in it or in a file
//! that is younger. At a start the files are read that were written after it, and an hour before ([`MARGIN`]), for
//! clocks that were set back meanwhile. Without a snapshot all files are read.

use super::StoreError;
use super::retention::files_of;
use crate::ingest::delivery::Held;
use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The key of the numbers in a file's metadata.
const KEY: &str = "weir.delivery";
/// The snapshot, below the store's directory.
const FILE_NAME: &str = "delivered.json";
/// How much older than the snapshot a file may seem that it does not speak of.
const MARGIN: Duration = Duration::from_secs(3600);

/// Where the snapshot is.
pub fn snapshot_path(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

/// The snapshot's bytes.
pub fn snapshot(held: &[Held]) -> Vec<u8> {
    serde_json::to_vec(held).unwrap_or_default()
}

/// What a file's metadata says that its rows are.
pub(super) fn metadata(held: &[Held]) -> KeyValue {
    KeyValue { key: KEY.to_owned(), value: serde_json::to_string(held).ok() }
}

/// Everything that is durable, as the snapshot and the files say. What cannot be read is said and left out: its records
/// are taken again when a sensor still has them.
pub fn read(directory: &Path) -> Result<Vec<Held>, StoreError> {
    let path = snapshot_path(directory);
    let mut held: Vec<Held> = Vec::new();
    let mut since = SystemTime::UNIX_EPOCH;
    match fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(snapshot) => {
                held = snapshot;
                let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
                since = written.map_or(since, |at| at.checked_sub(MARGIN).unwrap_or(since));
            }
            Err(error) => tracing::warn!("{}: {error}; every file is read instead", path.display()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io(&path)(error)),
    }
    for file in files_of(&directory.join("flows"), ".parquet")? {
        let written = fs::metadata(&file.path).and_then(|metadata| metadata.modified());
        if written.is_ok_and(|at| at < since) {
            continue;
        }
        match numbers_of(&file.path) {
            Ok(numbers) => held.extend(numbers),
            Err(error) => {
                tracing::warn!("{}: {error}; which records it holds is not known", file.path.display());
            }
        }
    }
    Ok(held)
}

/// The numbers of a file's rows; nothing for a file without any.
pub fn numbers_of(path: &Path) -> Result<Vec<Held>, StoreError> {
    let file = File::open(path).map_err(StoreError::io(path))?;
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(StoreError::parquet(path))?;
    let pairs = metadata.file_metadata().key_value_metadata();
    let value =
        pairs.into_iter().flatten().find(|pair| pair.key == KEY).and_then(|pair| pair.value.as_deref());
    let Some(value) = value else { return Ok(Vec::new()) };
    serde_json::from_str(value).map_err(|error| StoreError::io(path)(error.into()))
}
