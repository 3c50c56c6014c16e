//! Records into Parquet files.
//!
//! In: records with their exporter, and the time. Out: complete files; see the module above for the
//! layout. Rows become columns in chunks, chunks are encoded as they fill, and a row group is written
//! when it is full, so that memory stays at some ten MiB per open hour.

use super::columns::{DISTINCT_COLUMNS, Rows, schema};
use super::config::StoreConfig;
use super::{StoreCounters, StoreError, date_and_hour, delivered};
use crate::ingest::Exporter;
use crate::ingest::counters::add;
use crate::ingest::delivery::{BatchPlaces, Deliveries, Held, SpoolId};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use weir_common::delivery::Ranges;
use weir_common::record::FlowRecord;
use weir_common::time::Timestamp;

/// Most hours with an unfinished file at once.
pub const HOURS_OPEN_MAX: usize = 12;
/// Fewest rows with which an hour's file is completed early to make room for another hour.
const ROWS_MIN_TO_YIELD: usize = 4096;
/// Rows that become columns together.
const CHUNK_ROWS: usize = 8192;
/// Rows of a row group: the unit that a query can skip.
const ROW_GROUP_ROWS: usize = 131_072;
/// How long the store does not try again after a failed write; rows meanwhile are counted as lost.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Age below which an unfinished file is left alone at start: its writer may not have locked it yet.
const CUT_AFTER: Duration = Duration::from_secs(60);
/// Most ranges of sensors' numbers that a file holds; past it all files are completed. Files that are filled by turns, as at
/// the change of the hour, hold each other's gaps.
const HELD_RANGES_MAX: usize = 65_536;
/// The name of an unfinished file ends so; queries do not see it.
const UNFINISHED: &str = ".unfinished";

/// The part of the store that holds records.
pub struct FlowStore {
    directory: PathBuf,
    properties: WriterProperties,
    schema: arrow::datatypes::SchemaRef,
    flush: Duration,
    rows_max: usize,
    open: Vec<OpenFile>,
    files_made: u64,
    /// Counts changes from one hour to another, to know which hour was used last.
    turn: u64,
    counters: Arc<StoreCounters>,
    /// Who is told what became of numbered records.
    deliveries: Arc<Deliveries>,
    /// Set while writing fails: when to try again.
    failing_until: Option<Timestamp>,
}

/// Hours since the epoch; `None` for the partition of records that have no hour of their own.
type Hour = Option<u64>;

struct OpenFile {
    hour: Hour,
    opened: Timestamp,
    /// The turn in which a row came last.
    used: u64,
    rows: Rows,
    rows_encoded: usize,
    /// Whose numbers its rows have.
    held: Vec<(SpoolId, Ranges)>,
    writer: ArrowWriter<File>,
    unfinished: PathBuf,
    complete: PathBuf,
}

impl FlowStore {
    /// Opens the store, making its directory, and removes what a crash left unfinished.
    pub fn open(
        directory: &Path,
        config: &StoreConfig,
        counters: Arc<StoreCounters>,
        now: Timestamp,
    ) -> Result<FlowStore, StoreError> {
        let directory = directory.join("flows");
        fs::create_dir_all(&directory).map_err(StoreError::io(&directory))?;
        remove_unfinished(&directory, &counters, now)?;
        Ok(FlowStore {
            properties: properties(config)?,
            schema: schema(),
            flush: Duration::from_secs(u64::from(config.flush_s.max(1))),
            rows_max: (config.rows_max.max(1)) as usize,
            open: Vec::new(),
            files_made: 0,
            turn: 0,
            counters,
            deliveries: Arc::default(),
            failing_until: None,
            directory,
        })
    }

    /// The same, telling there what became of numbered records.
    pub fn delivering(self, deliveries: Arc<Deliveries>) -> FlowStore {
        FlowStore { deliveries, ..self }
    }

    /// Stores records. What cannot be written is counted; the store stays usable.
    pub fn append(&mut self, exporter: &Exporter, records: &[FlowRecord], now: Timestamp) {
        self.append_from(exporter, records, None, now);
    }

    /// The same with records that have numbers in a sensor's spool. Those that cannot be written are given back; numbers
    /// without a record are durable as soon as they are here.
    pub fn append_from(
        &mut self,
        exporter: &Exporter,
        records: &[FlowRecord],
        places: Option<&BatchPlaces>,
        now: Timestamp,
    ) {
        if let Some(places) = places {
            if places.others_failed {
                self.deliveries.give_back(&places.spool, &places.others);
            } else {
                self.deliveries.durable(&places.spool, &places.others);
            }
        }
        if self.failing_until.is_some_and(|until| now < until) {
            self.not_stored(records.len(), places, 0);
            return;
        }
        let mut at: Option<(u64, usize)> = None;
        for (stored, record) in records.iter().enumerate() {
            let hour = record.end.seconds() / 3600;
            // Neighbours mostly ended in the same hour.
            let index = match at {
                Some((last, index)) if last == hour => index,
                _ => match self.file_of(hour, now) {
                    Ok(index) => index,
                    Err(error) => {
                        self.not_stored(records.len(), places, stored);
                        self.failed(&error, now);
                        return;
                    }
                },
            };
            at = Some((hour, index));
            let Some(file) = self.open.get_mut(index) else { continue };
            file.rows.push(exporter, record);
            if let Some(places) = places
                && let Some(Some(number)) = places.records.get(stored)
            {
                file.hold(&places.spool, *number);
            }
            if file.held_ranges() > HELD_RANGES_MAX {
                at = None;
                self.finish(now);
            } else if file.rows.len() >= CHUNK_ROWS || file.len() >= self.rows_max {
                at = None;
                self.chunk_is_full(index, now);
            }
        }
    }

    /// Counts records from the `from`th on that are not stored: lost, or given back to the sensor that still has them.
    fn not_stored(&self, records: usize, places: Option<&BatchPlaces>, from: usize) {
        let numbers = places.and_then(|places| places.records.get(from..)).unwrap_or_default();
        let numbered: Ranges = numbers.iter().flatten().map(|number| *number..number + 1).collect();
        if let Some(places) = places {
            self.deliveries.give_back(&places.spool, &numbered);
        }
        add(&self.counters.records_lost, (records - from) as u64 - numbered.count());
    }

    /// Whether the last write failed and the next attempt is still to come.
    pub fn is_failing(&self) -> bool {
        self.failing_until.is_some()
    }

    /// Removes what crashes left unfinished, of this store's other writers too.
    pub fn tidy(&self, now: Timestamp) -> Result<(), StoreError> {
        remove_unfinished(&self.directory, &self.counters, now)
    }

    /// Completes files whose time has come.
    pub fn tick(&mut self, now: Timestamp) {
        while let Some(index) = self.open.iter().position(|file| now.since(file.opened) >= self.flush) {
            self.complete(index, now);
        }
    }

    /// Completes every file.
    pub fn finish(&mut self, now: Timestamp) {
        while !self.open.is_empty() {
            self.complete(0, now);
        }
    }

    /// Records that are not in a complete file yet.
    pub fn waiting(&self) -> usize {
        self.open.iter().map(OpenFile::len).sum()
    }

    /// The index of the file that takes records of an hour.
    fn file_of(&mut self, hour: u64, now: Timestamp) -> Result<usize, StoreError> {
        self.turn += 1;
        let used = self.turn;
        if let Some(index) = self.open.iter().position(|file| file.hour == Some(hour)) {
            self.open[index].used = used;
            return Ok(index);
        }
        let hours = self.open.iter().filter(|file| file.hour.is_some()).count();
        let mut wanted = Some(hour);
        if hours >= HOURS_OPEN_MAX {
            let longest_unused = self.open.iter().enumerate().filter(|(_, file)| file.hour.is_some());
            match longest_unused.min_by_key(|(_, file)| file.used) {
                Some((index, file)) if file.len() >= ROWS_MIN_TO_YIELD => self.complete(index, now),
                _ => wanted = None,
            }
        }
        if wanted.is_none()
            && let Some(index) = self.open.iter().position(|file| file.hour.is_none())
        {
            return Ok(index);
        }
        let file = self.create(wanted, used, now)?;
        self.open.push(file);
        Ok(self.open.len() - 1)
    }

    fn create(&mut self, hour: Hour, used: u64, now: Timestamp) -> Result<OpenFile, StoreError> {
        let partition = match hour {
            Some(hour) => {
                let (date, hour) = date_and_hour(Timestamp::from_parts(hour.saturating_mul(3600), 0));
                self.directory.join(format!("date={date}")).join(format!("hour={hour:02}"))
            }
            None => self.directory.join("date=other").join("hour=other"),
        };
        fs::create_dir_all(&partition).map_err(StoreError::io(&partition))?;
        let number = self.files_made;
        self.files_made += 1;
        let name = format!("part-{:020}-{}-{number:04}", now.0, std::process::id());
        let unfinished = partition.join(format!("{name}{UNFINISHED}"));
        let file = OpenOptions::new().write(true).create_new(true).open(&unfinished);
        let file = file.map_err(StoreError::io(&unfinished))?;
        // The lock tells a later start that the writer of an unfinished file lives.
        file.try_lock().map_err(|error| StoreError::io(&unfinished)(error.into()))?;
        let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(self.properties.clone()));
        let writer = writer.map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            StoreError::parquet(&unfinished)(error)
        })?;
        let complete = partition.join(format!("{name}.parquet"));
        let rows = Rows::new(self.schema.clone());
        let held = Vec::new();
        Ok(OpenFile { hour, opened: now, used, rows, rows_encoded: 0, held, writer, unfinished, complete })
    }

    fn chunk_is_full(&mut self, index: usize, now: Timestamp) {
        let Some(file) = self.open.get_mut(index) else { return };
        if let Err(error) = file.encode() {
            let file = self.open.swap_remove(index);
            self.give_up(file, &error, now);
        } else if file.len() >= self.rows_max {
            self.complete(index, now);
        }
    }

    fn complete(&mut self, index: usize, now: Timestamp) {
        let mut file = self.open.swap_remove(index);
        let rows = file.len() as u64;
        match file.complete() {
            Ok(bytes) => {
                add(&self.counters.records_stored, rows);
                add(&self.counters.files_written, 1u64);
                add(&self.counters.bytes_written, bytes);
                for (spool, numbers) in &file.held {
                    self.deliveries.durable(spool, numbers);
                }
                if self.failing_until.take().is_some() {
                    tracing::info!("the store can be written again");
                }
            }
            Err(error) => self.give_up(file, &error, now),
        }
    }

    fn give_up(&mut self, file: OpenFile, error: &StoreError, now: Timestamp) {
        let mut numbered = 0;
        for (spool, numbers) in &file.held {
            numbered += numbers.count();
            self.deliveries.give_back(spool, numbers);
        }
        add(&self.counters.records_lost, (file.len() as u64).saturating_sub(numbered));
        // Frees the space; a name that is not there any more is as good. Of a file whose directory could not be made
        // durable nothing may stay either: its records come again.
        let _ = fs::remove_file(&file.unfinished);
        let _ = fs::remove_file(&file.complete);
        self.failed(error, now);
    }

    fn failed(&mut self, error: &StoreError, now: Timestamp) {
        add(&self.counters.write_errors, 1u64);
        if self.failing_until.is_none() {
            tracing::error!("{error}; records are not stored until it can be written again");
        }
        self.failing_until = Some(now.plus(RETRY_AFTER));
    }
}

impl OpenFile {
    fn len(&self) -> usize {
        self.rows_encoded + self.rows.len()
    }

    fn hold(&mut self, spool: &SpoolId, number: u64) {
        match self.held.iter_mut().rev().find(|(known, _)| known == spool) {
            Some((_, numbers)) => {
                numbers.insert(number..number + 1);
            }
            None => self.held.push((spool.clone(), std::iter::once(number..number + 1).collect())),
        }
    }

    fn held_ranges(&self) -> usize {
        self.held.iter().map(|(_, numbers)| numbers.len()).sum()
    }

    fn encode(&mut self) -> Result<(), StoreError> {
        let rows = self.rows.len();
        // Counted before the attempt, so that a failed chunk shows as lost.
        self.rows_encoded += rows;
        let batch = self.rows.finish()?;
        self.writer.write(&batch).map_err(StoreError::parquet(&self.unfinished))
    }

    /// Writes what is left, makes it durable and gives it its name; its size in bytes.
    fn complete(&mut self) -> Result<u64, StoreError> {
        if !self.rows.is_empty() {
            self.encode()?;
        }
        if !self.held.is_empty() {
            let held: Vec<Held> =
                self.held.iter().map(|(spool, numbers)| Held::new(spool, numbers)).collect();
            self.writer.append_key_value_metadata(delivered::metadata(&held));
        }
        self.writer.finish().map_err(StoreError::parquet(&self.unfinished))?;
        let file = self.writer.inner();
        file.sync_all().map_err(StoreError::io(&self.unfinished))?;
        let bytes = file.metadata().map_err(StoreError::io(&self.unfinished))?.len();
        fs::rename(&self.unfinished, &self.complete).map_err(StoreError::io(&self.complete))?;
        if let Some(partition) = self.complete.parent() {
            let directory = File::open(partition).map_err(StoreError::io(partition))?;
            directory.sync_all().map_err(StoreError::io(partition))?;
        }
        Ok(bytes)
    }
}

/// Whether a configuration can be used.
pub fn check(config: &StoreConfig) -> Result<(), StoreError> {
    properties(config).map(|_| ())
}

/// The directories that hold records which ended at `since` or later.
pub fn partitions(directory: &Path, since: Timestamp) -> Result<Vec<PathBuf>, StoreError> {
    let (date, hour) = date_and_hour(since);
    let first = (format!("date={date}"), format!("hour={hour:02}"));
    let mut partitions = Vec::new();
    for file in super::retention::files_of(&directory.join("flows"), ".parquet")? {
        let Some(partition) = file.path.parent() else { continue };
        let name = |path: Option<&Path>| path.and_then(|path| path.file_name()?.to_str().map(str::to_owned));
        let of = (name(partition.parent()).unwrap_or_default(), name(Some(partition)).unwrap_or_default());
        // `other` comes after every date, so it is always among them.
        if of >= first && partitions.last().is_none_or(|last| last != partition) {
            partitions.push(partition.to_owned());
        }
    }
    Ok(partitions)
}

fn properties(config: &StoreConfig) -> Result<WriterProperties, StoreError> {
    let level = ZstdLevel::try_new(i32::from(config.zstd_level)).ok().filter(|_| config.zstd_level <= 19);
    let level = level.ok_or_else(|| StoreError::Config {
        key: "zstd_level",
        message: format!("{} is not a level: expected 1 to 19", config.zstd_level),
    })?;
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("weir-collector {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for column in DISTINCT_COLUMNS {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    Ok(properties.build())
}

/// Removes unfinished files whose writer is gone.
fn remove_unfinished(directory: &Path, counters: &StoreCounters, now: Timestamp) -> Result<(), StoreError> {
    for path in super::retention::files_of(directory, UNFINISHED)? {
        let fresh = path.stored.is_none_or(|stored| now.since(stored) < CUT_AFTER && stored <= now);
        let Ok(file) = OpenOptions::new().write(true).open(&path.path) else { continue };
        if fresh || file.try_lock().is_err() {
            continue;
        }
        fs::remove_file(&path.path).map_err(StoreError::io(&path.path))?;
        add(&counters.files_cut, 1u64);
        tracing::warn!("{} was left unfinished by a crash and is removed", path.path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "a list of ranges that happens to have one")]

    use super::*;
    use crate::store::tests::{NOON, record};
    use arrow::array::RecordBatch;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::sync::atomic::Ordering;

    fn exporter() -> Exporter {
        Exporter { name: "edge-1".into(), observation_domain: 1 }
    }

    struct Fixture {
        directory: tempfile::TempDir,
        store: FlowStore,
        counters: Arc<StoreCounters>,
    }

    fn store(config: &StoreConfig) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let counters = Arc::new(StoreCounters::default());
        let store = FlowStore::open(directory.path(), config, counters.clone(), NOON).unwrap();
        Fixture { directory, store, counters }
    }

    fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
        let found = super::super::retention::files_of(&directory.join("flows"), suffix).unwrap();
        found.into_iter().map(|file| file.path).collect()
    }

    fn read(path: &Path) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        reader.build().unwrap().map(Result::unwrap).collect()
    }

    fn rows(path: &Path) -> usize {
        read(path).iter().map(RecordBatch::num_rows).sum()
    }

    #[test]
    fn what_was_stored_is_what_is_read_under_the_hour_of_its_end() {
        let mut t = store(&StoreConfig::default());
        t.store.append(&exporter(), &[record(0), record(10), record(3600)], NOON);
        assert_eq!(files(t.directory.path(), ".parquet"), Vec::<PathBuf>::new(), "nothing is complete yet");
        t.store.finish(NOON);
        let files = files(t.directory.path(), ".parquet");
        assert_eq!(files.len(), 2);
        assert!(files[0].to_str().unwrap().contains("flows/date=2026-11-20/hour=12/part-"), "{files:?}");
        assert!(files[1].to_str().unwrap().contains("flows/date=2026-11-20/hour=13/part-"), "{files:?}");
        assert_eq!((rows(&files[0]), rows(&files[1])), (2, 1));
        let batch = &read(&files[1])[0];
        assert_eq!(batch.schema().fields(), schema().fields());
        assert_eq!(t.counters.records_stored.load(Ordering::Relaxed), 3);
    }

    fn spool() -> SpoolId {
        SpoolId { sensor: "edge-1".into(), epoch: 9 }
    }

    fn placed(records: &[u64]) -> BatchPlaces {
        let records = records.iter().copied().map(Some).collect();
        BatchPlaces { spool: spool(), records, others: Ranges::new(), others_failed: false }
    }

    fn position(deliveries: &Deliveries) -> u64 {
        deliveries.publish(&deliveries.changed().unwrap_or_default());
        deliveries.positions().borrow().get("edge-1").map_or(0, |positions| positions[0].sequence)
    }

    #[test]
    fn what_is_durable_is_the_union_of_the_files_that_are_complete() {
        let t = store(&StoreConfig { flush_s: 60, ..StoreConfig::default() });
        let deliveries = Arc::new(Deliveries::default());
        let mut store = t.store.delivering(deliveries.clone());
        let later = |seconds| NOON.plus(Duration::from_secs(seconds));
        // Two hours by turns, the second one's file begun later.
        store.append_from(&exporter(), &[record(0)], Some(&placed(&[0])), NOON);
        store.append_from(&exporter(), &[record(3600), record(1)], Some(&placed(&[1, 2])), later(10));
        assert_eq!(position(&deliveries), 0);
        store.tick(later(60));
        assert_eq!(position(&deliveries), 1, "the number between is in a file that is not complete");
        let restored = Deliveries::restore(delivered::read(t.directory.path()).unwrap());
        let place = weir_common::ipfix::options::Place {
            first: weir_common::delivery::Position { epoch: 9, sequence: 0 },
            count: 3,
        };
        assert_eq!(restored.claim(&spool(), &place).unwrap().missing, [1..2], "after a crash only it is new");
        store.finish(later(70));
        assert_eq!(position(&deliveries), 3);
        // Retention removes the files; the snapshot remembers.
        let held = vec![Held::new(&spool(), &std::iter::once(0..3).collect())];
        fs::write(delivered::snapshot_path(t.directory.path()), delivered::snapshot(&held)).unwrap();
        fs::remove_dir_all(t.directory.path().join("flows")).unwrap();
        let restored = Deliveries::restore(delivered::read(t.directory.path()).unwrap());
        assert_eq!(restored.claim(&spool(), &place).unwrap().missing, []);
    }

    #[test]
    fn what_cannot_be_written_is_given_back_and_not_lost() {
        let t = store(&StoreConfig::default());
        let deliveries = Arc::new(Deliveries::default());
        let mut store = t.store.delivering(deliveries.clone());
        store.append_from(&exporter(), &[record(0)], Some(&placed(&[0])), NOON);
        fs::remove_dir_all(t.directory.path().join("flows")).unwrap();
        store.finish(NOON);
        assert_eq!(t.counters.records_lost.load(Ordering::Relaxed), 0);
        assert_eq!(deliveries.counters.records_given_back.load(Ordering::Relaxed), 1);
        store.append_from(&exporter(), &[record(0)], Some(&placed(&[0])), NOON);
        assert_eq!(deliveries.counters.records_given_back.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn files_are_completed_by_time_and_by_rows() {
        let mut t = store(&StoreConfig { flush_s: 60, rows_max: 10, ..StoreConfig::default() });
        let ten: Vec<_> = (0..10).map(record).collect();
        t.store.append(&exporter(), &ten, NOON);
        assert_eq!(files(t.directory.path(), ".parquet").len(), 1, "ten rows are a file");
        t.store.append(&exporter(), &ten[..9], NOON);
        t.store.tick(NOON.plus(Duration::from_secs(59)));
        assert_eq!(files(t.directory.path(), ".parquet").len(), 1);
        assert_eq!(t.store.waiting(), 9);
        t.store.tick(NOON.plus(Duration::from_secs(60)));
        assert_eq!(files(t.directory.path(), ".parquet").len(), 2);
        assert_eq!(t.store.waiting(), 0);
    }

    #[test]
    fn records_of_many_hours_share_one_further_file() {
        let mut t = store(&StoreConfig::default());
        let scattered: Vec<_> = (0..200).map(|hour| record(hour * 3600)).collect();
        t.store.append(&exporter(), &scattered, NOON);
        t.store.finish(NOON);
        let files = files(t.directory.path(), ".parquet");
        assert_eq!(files.len(), HOURS_OPEN_MAX + 1);
        let other: Vec<_> =
            files.iter().filter(|path| path.to_str().unwrap().contains("date=other")).collect();
        assert_eq!(rows(other[0]), 200 - HOURS_OPEN_MAX);
        assert_eq!(files.iter().map(|path| rows(path)).sum::<usize>(), 200);
    }

    #[test]
    fn hours_that_follow_one_another_are_completed_in_turn() {
        let mut t = store(&StoreConfig::default());
        for hour in 0..30 {
            let records: Vec<_> = (0..ROWS_MIN_TO_YIELD as u64).map(|_| record(hour * 3600)).collect();
            t.store.append(&exporter(), &records, NOON.plus(Duration::from_secs(hour)));
        }
        t.store.finish(NOON);
        let files = files(t.directory.path(), ".parquet");
        assert_eq!(files.len(), 30);
        assert!(files.iter().all(|path| !path.to_str().unwrap().contains("other")));
    }

    #[test]
    fn an_unfinished_file_of_a_crash_is_removed_and_one_in_use_is_not() {
        let mut t = store(&StoreConfig::default());
        t.store.append(&exporter(), &[record(0)], NOON);
        let later = NOON.plus(Duration::from_secs(3600));
        let counters = Arc::new(StoreCounters::default());
        FlowStore::open(t.directory.path(), &StoreConfig::default(), counters.clone(), later).unwrap();
        assert_eq!(files(t.directory.path(), UNFINISHED).len(), 1, "its writer lives");
        drop(t.store);
        FlowStore::open(t.directory.path(), &StoreConfig::default(), counters.clone(), later).unwrap();
        assert_eq!(files(t.directory.path(), UNFINISHED).len(), 0);
        assert_eq!(counters.files_cut.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_store_recovers() {
        let mut t = store(&StoreConfig::default());
        let flows = t.directory.path().join("flows");
        fs::remove_dir(&flows).unwrap();
        fs::write(&flows, "in the way").unwrap();
        t.store.append(&exporter(), &[record(0), record(1)], NOON);
        t.store.append(&exporter(), &[record(2)], NOON.plus(Duration::from_secs(4)));
        assert_eq!(t.counters.records_lost.load(Ordering::Relaxed), 3);
        assert_eq!(t.counters.write_errors.load(Ordering::Relaxed), 1, "not tried again at once");
        fs::remove_file(&flows).unwrap();
        t.store.append(&exporter(), &[record(3)], NOON.plus(Duration::from_secs(5)));
        t.store.finish(NOON.plus(Duration::from_secs(6)));
        assert_eq!(t.counters.records_stored.load(Ordering::Relaxed), 1);
        assert!(t.store.failing_until.is_none());
    }

    #[test]
    fn a_query_s_hours_are_those_from_its_time_on_and_the_shared_file() {
        let mut t = store(&StoreConfig::default());
        let scattered: Vec<_> = (0..20).map(|hour| record(hour * 3600)).collect();
        t.store.append(&exporter(), &scattered, NOON);
        t.store.finish(NOON);
        let hours = |since: Timestamp| partitions(t.directory.path(), since).unwrap().len();
        assert_eq!(hours(Timestamp::MIN), HOURS_OPEN_MAX + 1);
        assert_eq!(hours(NOON.plus(Duration::from_secs(3599))), HOURS_OPEN_MAX + 1);
        assert_eq!(hours(NOON.plus(Duration::from_secs(3600))), HOURS_OPEN_MAX);
        assert_eq!(hours(NOON.plus(Duration::from_secs(86_400))), 1);
    }

    #[test]
    fn a_level_that_zstd_does_not_have_is_refused() {
        for level in [0, 20, 255] {
            let error =
                properties(&StoreConfig { zstd_level: level, ..StoreConfig::default() }).err().unwrap();
            assert!(error.to_string().contains("expected 1 to 19"), "{error}");
        }
        assert!(properties(&StoreConfig { zstd_level: 19, ..StoreConfig::default() }).is_ok());
    }
}
