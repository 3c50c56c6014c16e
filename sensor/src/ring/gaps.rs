//! The gap ledger: what the ring does not hold, and why.
//!
//! In: runs of the sensor, losses per lane and interval, what retention removed, what was left out of frames
//! on purpose, steps of the clock. Out: the same, for the statement that ends every answer. Two small files: `gaps`, append-only records of 64 bytes with a
//! checksum each, and `alive`, one slot per lane that says until when everything captured is on disk.
//!
//! Blocks have an account here (`account.rs`): the end of a run and the slot of a lane say how many blocks the lane
//! had, and what retention removed says up to which; what an earlier version wrote has zeros there.
//!
//! Never grows past [`LEDGER_BYTES_MAX`]: then intervals that follow each other are merged, and the counts
//! stay exact; what was left out on purpose is merged first, because it costs no answer its frames. Losses of one
//! kind and lane are merged in memory for [`MERGE_WITHIN_MS`] before they are written, what was left out for
//! [`MERGE_CUT_OFF_WITHIN_MS`]: a sensor that is killed forgets the latter, and the receipts beside the frames
//! still say it. A record of a kind that a later version wrote is kept as it is, and told.

use super::format::{FORMAT_VERSION, Fields, FormatError, Put};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use weir_common::time::Timestamp;

/// Most bytes of the ledger; at the limit neighbouring intervals are merged.
pub const LEDGER_BYTES_MAX: u64 = 1 << 20;
/// Losses of one kind and lane are written as one interval when they are this close, in milliseconds.
pub const MERGE_WITHIN_MS: u64 = 1_000;
/// What was left out of a lane's frames on purpose is written as one interval when it is this close, in
/// milliseconds: a day of it takes 1440 records.
pub const MERGE_CUT_OFF_WITHIN_MS: u64 = 60_000;
/// Bytes of a record, of the file's header and of a slot of `alive`.
pub const RECORD_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"WEIRGAPS";
/// The ledger in a ring's directory; every ring has one.
pub const GAPS_FILE: &str = "gaps";
const ALIVE_FILE: &str = "alive";

/// Why frames are not in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum LossKind {
    /// The kernel dropped them: the capture buffer was full.
    Kernel = 1,
    /// The interface dropped them.
    Interface = 2,
    /// The ring's queue was full.
    Queue = 3,
    /// The disk was full or failed.
    Write = 4,
    /// The frame is larger than a block.
    TooLarge = 5,
}

impl LossKind {
    /// Every kind, in the order of its number.
    pub const ALL: [LossKind; 5] =
        [LossKind::Kernel, LossKind::Interface, LossKind::Queue, LossKind::Write, LossKind::TooLarge];
}

/// Which way the clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ClockStep {
    /// Back: the times between occurred twice.
    Back = 0,
    /// Forward: the times between did not occur.
    Forward = 1,
}

impl ClockStep {
    /// Both, in the order of their number.
    pub const ALL: [ClockStep; 2] = [ClockStep::Back, ClockStep::Forward];
}

/// What a record of the ledger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// Frames were lost.
    Loss(LossKind),
    /// Retention removed frames: the budget was needed for later ones.
    Expired,
    /// Retention removed frames: they were older than the limit.
    ExpiredByAge,
    /// Retention removed frames: others filled the disk.
    ExpiredByDisk,
    /// A run of the sensor began to write this lane; said of all its lanes before any block is.
    RunStart,
    /// A run ended this lane in order.
    RunEnd,
    /// A run was found to have ended without saying so; the time is the last known.
    RunKilled,
    /// Blocks were found damaged when the ring was opened.
    Damaged,
    /// Frames were kept without their ciphertext (`ring.cut_off`): how many, and the bytes left out.
    CutOff,
    /// The clock of a lane's frames was set: how often, and by how many nanoseconds at most, as bytes.
    ClockStep(ClockStep),
    /// A later version wrote this, under this number.
    Unknown(u8),
}

impl RecordKind {
    fn code(self) -> u8 {
        match self {
            RecordKind::Loss(kind) => kind as u8,
            RecordKind::Expired => 32,
            RecordKind::RunStart => 33,
            RecordKind::RunEnd => 34,
            RecordKind::RunKilled => 35,
            RecordKind::Damaged => 36,
            RecordKind::ExpiredByAge => 37,
            RecordKind::ExpiredByDisk => 38,
            RecordKind::CutOff => 40,
            RecordKind::ClockStep(ClockStep::Back) => 41,
            RecordKind::ClockStep(ClockStep::Forward) => 42,
            RecordKind::Unknown(code) => code,
        }
    }

    fn from_code(code: u8) -> RecordKind {
        match code {
            32 => RecordKind::Expired,
            33 => RecordKind::RunStart,
            34 => RecordKind::RunEnd,
            35 => RecordKind::RunKilled,
            36 => RecordKind::Damaged,
            37 => RecordKind::ExpiredByAge,
            38 => RecordKind::ExpiredByDisk,
            40 => RecordKind::CutOff,
            41 => RecordKind::ClockStep(ClockStep::Back),
            42 => RecordKind::ClockStep(ClockStep::Forward),
            _ => match LossKind::ALL.iter().find(|kind| **kind as u8 == code) {
                Some(kind) => RecordKind::Loss(*kind),
                None => RecordKind::Unknown(code),
            },
        }
    }

    /// Whether retention removed frames, for whatever reason.
    pub fn is_expiry(self) -> bool {
        matches!(self, RecordKind::Expired | RecordKind::ExpiredByAge | RecordKind::ExpiredByDisk)
    }

    /// Runs are instants and are never merged; what the numbers of an unknown record mean, nobody knows.
    fn merges(self) -> bool {
        use RecordKind::{RunEnd, RunKilled, RunStart, Unknown};
        !matches!(self, RunStart | RunEnd | RunKilled | Unknown(_))
    }

    /// How long a record of this kind waits for more of it before it is written, in milliseconds.
    fn waits_ms(self) -> u64 {
        match self {
            RecordKind::Loss(_) => MERGE_WITHIN_MS,
            RecordKind::CutOff => MERGE_CUT_OFF_WITHIN_MS,
            _ => 0,
        }
    }
}

/// One line of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapRecord {
    /// What happened.
    pub kind: RecordKind,
    /// To which lane.
    pub lane: u16,
    /// In which run.
    pub run: u32,
    /// Begin of the interval.
    pub from: Timestamp,
    /// End of the interval.
    pub to: Timestamp,
    /// Frames.
    pub frames: u64,
    /// Their captured bytes, where known.
    pub bytes: u64,
    /// How far the lane's blocks of this run have an account: at the end of a run, and in `alive`, what has a lower
    /// number was written or told as lost; of what expired, it was removed. 0: not known, as for all other kinds.
    pub blocks: u64,
}

impl GapRecord {
    /// What is of a moment and counts no frames: a begin or an end.
    pub fn instant(kind: RecordKind, lane: u16, run: u32, time: Timestamp) -> GapRecord {
        GapRecord { kind, lane, run, from: time, to: time, frames: 0, bytes: 0, blocks: 0 }
    }

    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        Put::at(&mut out, 0)
            .u8(self.kind.code())
            .u8(0)
            .u16(self.lane)
            .u32(self.run)
            .u64(self.from.0)
            .u64(self.to.0)
            .u64(self.frames)
            .u64(self.bytes)
            .u64(self.blocks);
        let checksum = crc32fast::hash(&out[..RECORD_BYTES - 4]);
        Put::at(&mut out, RECORD_BYTES - 4).u32(checksum);
        out
    }

    fn decode(bytes: &[u8]) -> Result<GapRecord, FormatError> {
        const WHAT: &str = "gap record";
        let record = checked(bytes, WHAT)?;
        let mut fields = Fields::new(record, WHAT);
        let kind = RecordKind::from_code(fields.u8()?);
        fields.u8()?;
        Ok(GapRecord {
            kind,
            lane: fields.u16()?,
            run: fields.u32()?,
            from: fields.time()?,
            to: fields.time()?,
            frames: fields.u64()?,
            bytes: fields.u64()?,
            blocks: fields.u64()?,
        })
    }

    /// Takes the other in; both are of one kind and lane.
    fn merge(&mut self, other: &GapRecord) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.frames = self.frames.saturating_add(other.frames);
        self.bytes = match self.kind {
            RecordKind::ClockStep(_) => self.bytes.max(other.bytes),
            _ => self.bytes.saturating_add(other.bytes),
        };
        (self.run, self.blocks) = (self.run, self.blocks).max((other.run, other.blocks));
    }
}

/// A lane's slot of `alive`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// The lane.
    pub lane: u16,
    /// The run that wrote the slot.
    pub run: u32,
    /// Everything captured up to this time is on disk.
    pub until: Timestamp,
    /// Blocks with a lower number were written, or told as lost; 0: not known.
    pub blocks: u64,
}

/// Everything the ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// The records, in the order in which they were written.
    pub records: Vec<GapRecord>,
    /// Until when everything a lane captured is on disk.
    pub alive: Vec<Alive>,
    /// Records that could not be read.
    pub damaged_records: u64,
}

impl Gaps {
    /// Reads the ledger of a ring; without one it is empty.
    pub fn read(directory: &Path) -> io::Result<Gaps> {
        let mut gaps = Gaps::default();
        // The claims first: what is missing of them was written down before they were made.
        let slots = read_or_empty(&directory.join(ALIVE_FILE), (RECORD_BYTES as u64) << 16)?;
        for slot in slots.as_chunks::<RECORD_BYTES>().0 {
            if let Ok(GapRecord { lane, run, to: until, blocks, .. }) = GapRecord::decode(slot) {
                gaps.alive.push(Alive { lane, run, until, blocks });
            }
        }
        let bytes = read_or_empty(&directory.join(GAPS_FILE), LEDGER_BYTES_MAX * 4)?;
        if bytes.len() >= RECORD_BYTES && header_is_sound(&bytes).is_err() {
            gaps.damaged_records += 1;
        }
        for record in bytes.as_chunks::<RECORD_BYTES>().0.iter().skip(1) {
            match GapRecord::decode(record) {
                Ok(record) => gaps.records.push(record),
                Err(_) => gaps.damaged_records += 1,
            }
        }
        Ok(gaps)
    }

    /// Records of kinds that this version does not know.
    pub fn unknown_records(&self) -> u64 {
        (self.records.len() - self.known().count()) as u64
    }

    fn known(&self) -> impl Iterator<Item = &GapRecord> {
        self.records.iter().filter(|record| !matches!(record.kind, RecordKind::Unknown(_)))
    }

    /// This reading of the ledger, with what a later one says of frames that are missing. Its runs and clocks stay as
    /// they were, so that no more is claimed to be covered.
    pub fn with_losses_of(mut self, later: Gaps) -> Gaps {
        use RecordKind::{ClockStep, RunEnd, RunKilled, RunStart};
        let is_run = |record: &GapRecord| matches!(record.kind, RunStart | RunEnd | RunKilled | ClockStep(_));
        self.records.retain(is_run);
        self.records.extend(later.records.into_iter().filter(|record| !is_run(record)));
        self.damaged_records = self.damaged_records.max(later.damaged_records);
        self
    }

    /// The number of the latest run; 0 when there was none.
    pub fn last_run(&self) -> u32 {
        self.known().map(|record| record.run).max().unwrap_or(0)
    }

    /// Lanes of runs that have begun and not ended: lane and run.
    pub fn open_runs(&self) -> Vec<(u16, u32)> {
        let is_end = |record: &&GapRecord| matches!(record.kind, RecordKind::RunEnd | RecordKind::RunKilled);
        let key = |record: &GapRecord| (record.lane, record.run);
        let ended: std::collections::HashSet<_> = self.records.iter().filter(is_end).map(key).collect();
        self.begins()
            .into_keys()
            .map(|(run, lane)| (lane, run))
            .filter(|lane| !ended.contains(lane))
            .collect()
    }

    /// When each lane of each run began: the earliest that was noted, as a lane may say it more than once.
    pub fn begins(&self) -> BTreeMap<(u32, u16), Timestamp> {
        let mut begins = BTreeMap::new();
        for start in self.records.iter().filter(|record| record.kind == RecordKind::RunStart) {
            let begin = begins.entry((start.run, start.lane)).or_insert(start.from);
            *begin = start.from.min(*begin);
        }
        begins
    }
}

/// The ledger being written.
#[derive(Debug)]
pub(super) struct Ledger {
    directory: PathBuf,
    file: File,
    alive: File,
    len: u64,
    pending: Vec<GapRecord>,
}

impl Ledger {
    /// Opens or creates the ledger; a last record that was torn is written over.
    pub(super) fn open(directory: &Path) -> io::Result<Ledger> {
        let open = |name: &str| {
            let path = directory.join(name);
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
        };
        let (file, alive) = (open(GAPS_FILE)?, open(ALIVE_FILE)?);
        let mut len = file.metadata()?.len();
        len -= len % RECORD_BYTES as u64;
        if len == 0 {
            file.write_all_at(&header(), 0)?;
            len = RECORD_BYTES as u64;
        }
        Ok(Ledger { directory: directory.to_owned(), file, alive, len, pending: Vec::new() })
    }

    /// Notes a record; a loss waits a moment for more of its kind.
    ///
    /// An error leaves the record in memory, and the next call tries again; the memory is bounded because
    /// records of one kind and lane are merged there.
    pub(super) fn note(&mut self, record: GapRecord) -> io::Result<()> {
        let same = |held: &&mut GapRecord| (held.kind, held.lane) == (record.kind, record.lane);
        match self.pending.iter_mut().find(same) {
            Some(held) if record.kind.merges() => held.merge(&record),
            _ => self.pending.push(record),
        }
        self.flush_where(|held| held.to.since(held.from).as_millis() >= u128::from(held.kind.waits_ms()))
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.flush_where(|_| true)
    }

    /// Writes what has waited for long enough, in order.
    fn flush_where(&mut self, due: impl Fn(&GapRecord) -> bool) -> io::Result<()> {
        while let Some(at) = self.pending.iter().position(&due) {
            let record = self.pending.get(at).map(GapRecord::encode).unwrap_or([0; RECORD_BYTES]);
            self.file.write_all_at(&record, self.len)?;
            self.len += RECORD_BYTES as u64;
            self.pending.remove(at);
        }
        if self.len > LEDGER_BYTES_MAX { self.compact() } else { Ok(()) }
    }

    /// Says that everything a lane captured up to a time is on disk, or up to the first loss that is not.
    pub(super) fn alive(&mut self, alive: Alive) -> io::Result<()> {
        let Alive { lane, run, until: time, mut blocks } = alive;
        // Far ahead of the lane's time lies what was noted before the clock was set back.
        let flushed = self.flush_where(|held| {
            u128::from(time.0.abs_diff(held.from.0)) >= u128::from(held.kind.waits_ms()) * 1_000_000
        });
        let is_lost = |held: &&GapRecord| matches!(held.kind, RecordKind::Loss(_));
        let waiting = self.pending.iter().filter(|held| held.lane == lane).filter(is_lost);
        if waiting.clone().any(|held| held.kind == RecordKind::Loss(LossKind::Write)) {
            // A block that could not be written would be missing, and nobody told why.
            blocks = 0;
        }
        let time = waiting.map(|held| held.from).fold(time, Timestamp::min);
        let slot = GapRecord { blocks, ..GapRecord::instant(RecordKind::RunStart, lane, run, time) };
        self.alive.write_all_at(&slot.encode(), u64::from(lane) * RECORD_BYTES as u64)?;
        flushed
    }

    /// Bytes of both files.
    pub(super) fn bytes(&self) -> u64 {
        self.len.max(self.file.metadata().map_or(0, |meta| meta.len()))
            + self.alive.metadata().map_or(0, |meta| meta.len())
    }

    /// Rewrites the ledger with neighbours merged, at most half as large as the limit.
    pub(super) fn compact(&mut self) -> io::Result<()> {
        let mut records = Gaps::read(&self.directory)?.records;
        compact(&mut records, LEDGER_BYTES_MAX as usize / 2 / RECORD_BYTES);
        let mut bytes = header().to_vec();
        records.iter().for_each(|record| bytes.extend_from_slice(&record.encode()));
        let (path, temporary) = (self.directory.join(GAPS_FILE), self.directory.join("gaps.tmp"));
        fs::write(&temporary, &bytes)?;
        fs::rename(&temporary, &path)?;
        self.file = OpenOptions::new().read(true).write(true).open(&path)?;
        self.len = bytes.len() as u64;
        Ok(())
    }
}

/// Merges records until at most `records_max` are left: first everything that expired, then what was left out
/// on purpose, then neighbours of one kind and lane, two by two; of runs the latest stay.
fn compact(records: &mut Vec<GapRecord>, records_max: usize) {
    let mut kept: Vec<GapRecord> = Vec::new();
    for record in records.iter() {
        let same = |held: &&mut GapRecord| (held.kind, held.lane) == (record.kind, record.lane);
        match kept.iter_mut().find(same) {
            Some(held) if record.kind.is_expiry() => held.merge(record),
            _ => kept.push(*record),
        }
    }
    while kept.len() > records_max {
        let before = kept.len();
        kept = merge_neighbours(&kept, |kind| kind == RecordKind::CutOff);
        if kept.len() < before {
            continue;
        }
        kept = merge_neighbours(&kept, RecordKind::merges);
        if kept.len() == before {
            // Only runs are left, and the oldest say the least about what is still there.
            kept.drain(..before - records_max);
        }
    }
    *records = kept;
}

fn merge_neighbours(records: &[GapRecord], merges: impl Fn(RecordKind) -> bool) -> Vec<GapRecord> {
    let mut out: Vec<GapRecord> = Vec::with_capacity(records.len());
    // Where in `out` a record waits for its neighbour, by kind and lane.
    let mut waiting: std::collections::HashMap<(RecordKind, u16), usize> = std::collections::HashMap::new();
    for record in records {
        let key = (record.kind, record.lane);
        match waiting.remove(&key).and_then(|at| out.get_mut(at)) {
            Some(held) => held.merge(record),
            None => {
                if merges(record.kind) {
                    waiting.insert(key, out.len());
                }
                out.push(*record);
            }
        }
    }
    out
}

fn header() -> [u8; RECORD_BYTES] {
    let mut out = [0; RECORD_BYTES];
    Put::at(&mut out, 0).bytes(&MAGIC).u16(FORMAT_VERSION);
    let checksum = crc32fast::hash(&out[..RECORD_BYTES - 4]);
    Put::at(&mut out, RECORD_BYTES - 4).u32(checksum);
    out
}

fn header_is_sound(bytes: &[u8]) -> Result<(), FormatError> {
    match checked(bytes, "gap ledger header")?.starts_with(&MAGIC) {
        true => Ok(()),
        false => Err(FormatError::Magic { what: "gap ledger header" }),
    }
}

/// The first 64 bytes, when their last four are the checksum of the others.
fn checked<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a [u8], FormatError> {
    let record = Fields::new(bytes, what).take(RECORD_BYTES)?;
    let checksum = Fields::new(&record[RECORD_BYTES - 4..], what).u32()?;
    match checksum == crc32fast::hash(&record[..RECORD_BYTES - 4]) {
        true => Ok(record),
        false => Err(FormatError::Checksum { what }),
    }
}

fn read_or_empty(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(bytes_max).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(bytes)
}

#[cfg(test)]
mod tests;
