//! The gap ledger: what the ring does not hold, and why.
//!
//! In: runs of the sensor, losses per lane and interval, what retention removed, what was left out of frames
//! on purpose, steps of the clock. Out: the same, for the statement that ends every answer. Two small files: `gaps`, append-only records of 64 bytes with a
//! checksum each, and `alive`, one slot per lane that says until when everything captured is on disk.
//!
//! Never grows past [`LEDGER_BYTES_MAX`]: then intervals that follow each other are merged, and the counts
//! stay exact; what was left out on purpose is merged first, because it costs no answer its frames. Losses of one
//! kind and lane are merged in memory for [`MERGE_WITHIN_MS`] before they are written, what was left out for
//! [`MERGE_CUT_OFF_WITHIN_MS`]: a sensor that is killed forgets the latter, and the receipts beside the frames
//! still say it. A record of a kind that a later version wrote is kept as it is, and told.

use super::format::{FORMAT_VERSION, Fields, FormatError, Put};
use serde::Serialize;
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
    /// A run of the sensor began to write this lane.
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
}

impl GapRecord {
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
            .u64(self.bytes);
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
        self.run = self.run.max(other.run);
    }
}

/// Everything the ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// The records, in the order in which they were written.
    pub records: Vec<GapRecord>,
    /// Until when everything a lane captured is on disk: lane, run and time.
    pub alive: Vec<(u16, u32, Timestamp)>,
    /// Records that could not be read.
    pub damaged_records: u64,
}

impl Gaps {
    /// Reads the ledger of a ring; without one it is empty.
    pub fn read(directory: &Path) -> io::Result<Gaps> {
        let mut gaps = Gaps::default();
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
        let slots = read_or_empty(&directory.join(ALIVE_FILE), (RECORD_BYTES as u64) << 16)?;
        for slot in slots.as_chunks::<RECORD_BYTES>().0 {
            if let Ok(alive) = GapRecord::decode(slot) {
                gaps.alive.push((alive.lane, alive.run, alive.to));
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
        let begun = self.records.iter().filter(|record| record.kind == RecordKind::RunStart);
        begun.filter(|start| !ended.contains(&key(start))).map(key).collect()
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

    /// Says that everything a lane captured up to `time` is on disk, or up to the first loss that is not.
    pub(super) fn alive(&mut self, lane: u16, run: u32, time: Timestamp) -> io::Result<()> {
        // Far ahead of the lane's time lies what was noted before the clock was set back.
        let flushed = self.flush_where(|held| {
            u128::from(time.0.abs_diff(held.from.0)) >= u128::from(held.kind.waits_ms()) * 1_000_000
        });
        let is_lost = |held: &&GapRecord| matches!(held.kind, RecordKind::Loss(_));
        let waiting = self.pending.iter().filter(|held| held.lane == lane).filter(is_lost);
        let time = waiting.map(|held| held.from).fold(time, Timestamp::min);
        let slot =
            GapRecord { kind: RecordKind::RunStart, lane, run, from: time, to: time, frames: 0, bytes: 0 };
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
mod tests {
    use super::*;

    fn loss(lane: u16, from: u64, to: u64, frames: u64) -> GapRecord {
        let (from, to) = (Timestamp(from), Timestamp(to));
        GapRecord { kind: RecordKind::Loss(LossKind::Queue), lane, run: 1, from, to, frames, bytes: 0 }
    }

    fn run(kind: RecordKind, run: u32) -> GapRecord {
        GapRecord { kind, run, ..loss(0, 5, 5, 0) }
    }

    #[test]
    fn what_was_noted_is_read_and_losses_close_together_are_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(directory.path()).unwrap();
        ledger.note(run(RecordKind::RunStart, 1)).unwrap();
        ledger.note(loss(0, 100, 200, 3)).unwrap();
        assert_eq!(Gaps::read(directory.path()).unwrap().records.len(), 1);
        ledger.note(loss(0, 300, 1_000_000_100, 4)).unwrap();
        ledger.alive(2, 1, Timestamp(77)).unwrap();
        let gaps = Gaps::read(directory.path()).unwrap();
        assert_eq!(gaps.records, [run(RecordKind::RunStart, 1), loss(0, 100, 1_000_000_100, 7)]);
        assert_eq!((gaps.alive, gaps.damaged_records), (vec![(2, 1, Timestamp(77))], 0));
    }

    #[test]
    fn a_lane_is_whole_only_up_to_the_first_loss_that_is_not_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(directory.path()).unwrap();
        ledger.note(loss(0, 100, 200, 3)).unwrap();
        let mut alive = |time| {
            ledger.alive(0, 1, Timestamp(time)).unwrap();
            let gaps = Gaps::read(directory.path()).unwrap();
            (gaps.alive[0].2.0, gaps.records.len())
        };
        assert_eq!(alive(50), (50, 0));
        assert_eq!(alive(1_000_000_099), (100, 0));
        assert_eq!(alive(1_000_000_100), (1_000_000_100, 1));
    }

    #[test]
    fn a_run_is_open_until_it_ends() {
        let mut gaps = Gaps { records: vec![run(RecordKind::RunStart, 1)], ..Gaps::default() };
        assert_eq!((gaps.open_runs(), gaps.last_run()), (vec![(0, 1)], 1));
        gaps.records.push(run(RecordKind::RunEnd, 1));
        gaps.records.push(run(RecordKind::RunStart, 2));
        assert_eq!((gaps.open_runs(), gaps.last_run()), (vec![(0, 2)], 2));
    }

    #[test]
    fn a_torn_or_damaged_record_costs_itself_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(directory.path()).unwrap();
        for number in 1..=3 {
            ledger.note(run(RecordKind::RunStart, number)).unwrap();
        }
        let path = directory.path().join(GAPS_FILE);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let gaps = Gaps::read(directory.path()).unwrap();
            assert_eq!(gaps.records.len(), (length / RECORD_BYTES).saturating_sub(1), "{length}");
            Ledger::open(directory.path()).unwrap().note(run(RecordKind::RunEnd, 9)).unwrap();
            assert_eq!(Gaps::read(directory.path()).unwrap().records.last().unwrap().run, 9);
        }
        let mut damaged = whole;
        damaged[2 * RECORD_BYTES + 9] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let gaps = Gaps::read(directory.path()).unwrap();
        assert_eq!((gaps.records.len(), gaps.damaged_records), (2, 1));
    }

    #[test]
    fn the_ledger_stays_within_its_limit_and_counts_stay_exact() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(directory.path()).unwrap();
        let second = 1_000_000_000;
        for number in 0..40_000u64 {
            let at = number * 3 * second;
            ledger.note(loss((number % 3) as u16, at, at + second, 2)).unwrap();
            assert!(ledger.bytes() <= LEDGER_BYTES_MAX + RECORD_BYTES as u64);
        }
        let gaps = Gaps::read(directory.path()).unwrap();
        assert_eq!(gaps.records.iter().map(|record| record.frames).sum::<u64>(), 80_000);
        assert!(gaps.records.len() > 4000);
    }

    #[test]
    fn what_was_left_out_is_written_once_a_minute_and_holds_nothing_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(directory.path()).unwrap();
        let (second, read) = (1_000_000_000, || Gaps::read(directory.path()).unwrap());
        let cut_off = |from, to, bytes| GapRecord { kind: RecordKind::CutOff, bytes, ..loss(0, from, to, 1) };
        ledger.note(cut_off(0, second, 100)).unwrap();
        ledger.note(cut_off(second, 60 * second - 1, 200)).unwrap();
        ledger.alive(0, 1, Timestamp(59 * second)).unwrap();
        assert_eq!((read().records.len(), read().alive[0].2), (0, Timestamp(59 * second)));
        // A loss that is due does not take it along.
        ledger.note(loss(0, 0, second, 3)).unwrap();
        assert_eq!(read().records, [loss(0, 0, second, 3)]);
        ledger.note(cut_off(60 * second - 1, 60 * second, 300)).unwrap();
        let merged = GapRecord { frames: 3, ..cut_off(0, 60 * second, 600) };
        assert_eq!(read().records, [loss(0, 0, second, 3), merged]);
    }

    #[test]
    fn what_was_left_out_gives_way_to_losses_at_the_limit() {
        let losses: Vec<GapRecord> = (0..50).map(|at| loss(0, at * 10, at * 10 + 1, 1)).collect();
        let cut_offs = (0..200u64).map(|at| GapRecord {
            kind: RecordKind::CutOff,
            bytes: 7,
            ..loss((at % 2) as u16, at, at, 1)
        });
        let mut records = losses.clone();
        records.extend(cut_offs);
        compact(&mut records, 60);
        assert_eq!(records[..50], losses);
        let left_out: Vec<&GapRecord> = records[50..].iter().collect();
        assert!(left_out.iter().all(|record| record.kind == RecordKind::CutOff) && left_out.len() <= 10);
        let sum = |field: fn(&GapRecord) -> u64| left_out.iter().map(|record| field(record)).sum::<u64>();
        assert_eq!((sum(|record| record.frames), sum(|record| record.bytes)), (200, 1400));
    }

    #[test]
    fn steps_of_the_clock_merge_into_their_largest() {
        let step =
            |bytes| GapRecord { kind: RecordKind::ClockStep(ClockStep::Back), bytes, ..loss(0, 5, 9, 1) };
        let mut merged = step(3);
        merged.merge(&step(8));
        merged.merge(&step(2));
        assert_eq!((merged.frames, merged.bytes), (3, 8));
    }

    #[test]
    fn what_a_later_version_wrote_is_counted_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(directory.path()).unwrap();
        let later = GapRecord { kind: RecordKind::Unknown(200), run: u32::MAX, ..loss(3, 7, 8, 9) };
        ledger.note(run(RecordKind::RunStart, 4)).unwrap();
        ledger.note(later).unwrap();
        let gaps = Gaps::read(directory.path()).unwrap();
        assert_eq!((gaps.records[1], gaps.unknown_records(), gaps.damaged_records), (later, 1, 0));
        assert_eq!(gaps.last_run(), 4, "its numbers may mean anything");
        ledger.compact().unwrap();
        assert_eq!(Gaps::read(directory.path()).unwrap().records, gaps.records);
        for code in 0..=u8::MAX {
            assert_eq!(RecordKind::from_code(code).code(), code);
        }
    }

    #[test]
    fn runs_alone_lose_the_oldest_at_the_limit() {
        let mut records: Vec<GapRecord> = (0..100).map(|number| run(RecordKind::RunStart, number)).collect();
        compact(&mut records, 10);
        assert_eq!((records.len(), records[0].run), (10, 90));
    }
}
