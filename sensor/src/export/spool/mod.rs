//! The spool: what was made for a collector and is not delivered yet, on disk.
//!
//! In: finished messages, each once, and what became of them. Out: the same octets again, as often as they are asked
//! for; losses, counted in records. Every message is written before it is sent, so that a sensor that is killed loses
//! nothing that its export thread had put into a message. One directory per destination:
//!
//! ```text
//! SPOOL/tcp-collector.example-4739/
//!   lock         held by the sensor that writes here
//!   state.json   what is done, so that a restart does not send it again; replaced at most once per second
//!   *.spool      segments (format.rs)
//! ```
//!
//! **Numbers.** Each data record has a number in its epoch, which is drawn at random when the directory is begun. What
//! the collector has, and what was lost, is *done*; a segment leaves when all of it is done. After a crash of the sensor
//! the numbers go on behind the last whole entry. After a crash of the machine, of which nobody can say what of the last
//! second reached the disk and what of that had been sent, a new epoch begins beside the old one's segments: a number
//! that a collector has seen is never given to another record.
//!
//! **What a power failure can lose**: messages of the last [`SYNC_INTERVAL`] and of the time that the disk takes to
//! write them, as far as the collector has not got them. A crash or kill of the sensor alone: nothing that is in here.
//!
//! **Limits.** `export.spool_bytes_max` for the segments; past it the oldest segment leaves, and its records that were
//! not done are counted as dropped. What cannot be written (a full disk) is the caller's to keep in memory: it is said
//! and counted once per failure here, and tried again after [`RETRY_AFTER`] in a fresh segment. A segment that is cut or
//! changed is skipped to its next good entry, and the numbers that are missing then are counted as lost.
//!
//! Deliberately absent: sockets, sessions and the order of sending (`outgoing.rs`).

mod format;
mod read;
mod state;
mod sync;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

pub(super) use format::sets_of;
pub(super) use read::{Cursor, Spot, Step};

use super::ipfix::Tally;
use crypto::rand::{SecureRandom as _, SystemRandom};
use format::{HEADER_BYTES, Kind, SegmentHeader, SegmentName, write_entry};
use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sync::Syncer;
use weir_common::delivery::{Position, Ranges};
use weir_common::ipfix::TEMPLATE_ID_MIN;
use weir_common::ipfix::options::Place;
use weir_common::time::Timestamp;

/// How often what was written is sent to the disk: what a power failure costs at most, beside the disk's own time.
pub(super) const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How often what is done is noted in `state.json`, when it changed.
const STATE_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing is written after a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Size of a segment: a 64th of the budget within these bounds.
const SEGMENT_BYTES: (u64, u64) = (256 << 10, 16 << 20);
/// Fewest octets of `export.spool_bytes_max`, unless it is 0.
pub(super) const BYTES_MIN: u64 = 1 << 20;

/// A segment's file.
struct Segment {
    name: SegmentName,
    header: Option<SegmentHeader>,
    bytes: u64,
    /// The number behind its last record; `None` while nobody has looked.
    end: Option<u64>,
}

/// An epoch of which something is in the spool.
struct Epoch {
    epoch: u64,
    /// What the collector has, and what was lost.
    done: Ranges,
    /// Numbers at or above this one were never sent.
    sent_end: u64,
}

/// Numbers whose records will not come any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) place: Place,
    pub(super) tally: Tally,
    pub(super) cause: LossCause,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LossCause {
    /// The budget.
    Budget,
    /// Cut or changed.
    Damage,
}

/// Where an entry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    /// Where the entry before it ended.
    pub(super) before: Spot,
    /// Where it ends.
    pub(super) to: Spot,
    /// The numbers of its records.
    pub(super) place: Place,
}

/// Why an acknowledgement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unacceptable {
    #[error("it is of epoch {0:016x}, of which nothing is in the spool")]
    Epoch(u64),
    #[error("it says that {said} records have arrived, and {sent} were sent")]
    AboveSent { said: u64, sent: u64 },
    #[error("it goes back from {was} records to {said}")]
    Backwards { said: u64, was: u64 },
}

/// What a spool counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpoolCounters {
    /// Octets written, heads included.
    pub(super) written_bytes: u64,
    /// Records of segments dropped at the budget.
    pub(super) dropped_records: u64,
    /// Records that were missing in damaged segments.
    pub(super) damaged_records: u64,
    /// Octets that were no entry.
    pub(super) damaged_bytes: u64,
    /// Octets of entries that were not whole at the end of a segment.
    pub(super) torn_bytes: u64,
    /// Writes that failed.
    pub(super) write_errors: u64,
}

/// How a spool is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Most octets of all segments.
    pub(super) bytes_max: u64,
    /// The form of the messages that are written now.
    pub(super) form: u32,
}

pub(super) struct Spool {
    directory: PathBuf,
    settings: Settings,
    boot: String,
    segments: VecDeque<Segment>,
    /// The last segment's file, once something was written since it was opened.
    writer: Option<File>,
    /// Templates that the last segment holds.
    templates: HashSet<u16>,
    next: Position,
    /// The number of the next segment; it only grows, so that places stay in order.
    next_number: u64,
    /// The current epoch is the last.
    epochs: Vec<Epoch>,
    losses: Vec<Loss>,
    counters: SpoolCounters,
    /// Damage before this place is counted.
    damage_seen: Spot,
    /// Set while writing fails: when to try again.
    failing_until: Option<Instant>,
    scratch: Vec<u8>,
    syncer: Syncer,
    is_unsynced: bool,
    synced_at: Option<Instant>,
    saved_at: Option<Instant>,
    is_unsaved: bool,
    /// Whether the destination has ever acknowledged.
    acknowledges: bool,
    _lock: File,
}

impl Spool {
    /// Opens a destination's directory, making it, and cuts what a crash left torn.
    pub(super) fn open(directory: &Path, settings: Settings) -> io::Result<Spool> {
        fs::create_dir_all(directory)?;
        let lock = File::options().create(true).append(true).open(directory.join("lock"))?;
        if lock.try_lock().is_err() {
            return Err(io::Error::other("another sensor writes into it"));
        }
        let mut segments = list(directory)?;
        let mut counters = SpoolCounters::default();
        let last = segments.pop_back().map(|last| cut_torn(directory, last, &mut counters)).transpose()?;
        segments.extend(last);
        let boot = state::boot();
        let saved = state::State::read(directory);
        let mut epochs: Vec<Epoch> = Vec::new();
        for segment in &segments {
            let epoch = segment.name.first.epoch;
            if epochs.iter().all(|known| known.epoch != epoch) {
                let done = saved.done(epoch).unwrap_or_default();
                // What an earlier process sent is not known: anything may be acknowledged of it.
                epochs.push(Epoch { epoch, done, sent_end: u64::MAX });
            }
        }
        let (next, done) = match saved.goes_on(&boot) {
            Some((position, done)) => {
                let ends = segments.iter().filter(|segment| segment.name.first.epoch == position.epoch);
                let ends = ends.map(|segment| segment.end.unwrap_or(segment.name.first.sequence));
                let sequence = ends.chain([position.sequence, done.end()]).max().unwrap_or(0);
                (Position { sequence, ..position }, done)
            }
            None => (Position { epoch: random()?, sequence: 0 }, Ranges::new()),
        };
        epochs.retain(|known| known.epoch != next.epoch);
        epochs.push(Epoch { epoch: next.epoch, done, sent_end: next.sequence });
        let next_number = segments.back().map_or(0, |last| last.name.number + 1);
        let mut spool = Spool {
            directory: directory.to_owned(),
            settings,
            boot,
            segments,
            writer: None,
            templates: HashSet::new(),
            next,
            next_number,
            epochs,
            losses: Vec::new(),
            counters,
            damage_seen: Spot::default(),
            failing_until: None,
            scratch: Vec::new(),
            syncer: Syncer::start()?,
            is_unsynced: false,
            synced_at: None,
            saved_at: None,
            is_unsaved: true,
            acknowledges: saved.acknowledges,
            _lock: lock,
        };
        // Before anything is freed: the numbers must go on behind it.
        spool.save(false)?;
        spool.free();
        Ok(spool)
    }

    /// Where the next record stands.
    pub(super) fn next(&self) -> Position {
        self.next
    }

    pub(super) fn counters(&self) -> SpoolCounters {
        self.counters
    }

    /// Whether the destination has acknowledged something, now or in an earlier run.
    pub(super) fn acknowledges(&self) -> bool {
        self.acknowledges
    }

    /// Whether the last write failed; it is tried again after [`RETRY_AFTER`].
    pub(super) fn is_failing(&self) -> bool {
        self.failing_until.is_some()
    }

    /// Octets of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Records that are not done.
    pub(super) fn records(&self) -> u64 {
        let of = |(index, segment): (usize, &Segment)| {
            let range = segment.name.first.sequence..self.end_of(index)?;
            let done = self.done(segment.name.first.epoch)?.count_in(&range);
            Some(range.end.saturating_sub(range.start).saturating_sub(done))
        };
        self.segments.iter().enumerate().filter_map(of).sum()
    }

    /// When the oldest segment that holds something not done was begun.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let oldest = (0..self.segments.len()).find(|index| !self.is_done(*index))?;
        Some(Timestamp(self.segments.get(oldest)?.header?.begun))
    }

    /// The form of the oldest messages that are not done, where it is known.
    pub(super) fn oldest_form(&self) -> Option<u32> {
        let oldest = (0..self.segments.len()).find(|index| !self.is_done(*index))?;
        Some(self.segments.get(oldest)?.header?.form)
    }

    /// What is done of each epoch, oldest epoch first.
    pub(super) fn all_done(&self) -> impl Iterator<Item = (u64, &Ranges)> {
        self.epochs.iter().map(|known| (known.epoch, &known.done))
    }

    /// Losses since this was asked last.
    pub(super) fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.losses)
    }

    fn done(&self, epoch: u64) -> Option<&Ranges> {
        self.epochs.iter().find(|known| known.epoch == epoch).map(|known| &known.done)
    }

    /// Numbers a message's records and writes it. `None`: it could not be written, has no numbers, and is the
    /// caller's to keep. `templates` writes a message of the templates with these identifiers.
    pub(super) fn append(
        &mut self,
        message: &mut [u8],
        tally: &Tally,
        templates: impl FnOnce(&[u16]) -> Vec<u8>,
        at: Instant,
        now: Timestamp,
    ) -> Option<Appended> {
        let count = u64::from(tally.records);
        let place = Place { first: self.next, count };
        if self.failing_until.is_some_and(|until| at < until) {
            Place { count: 0, ..place }.stamp(message);
            return None;
        }
        place.stamp(message);
        match self.write(message, tally, templates, now) {
            Ok((before, to)) => {
                if self.failing_until.take().is_some() {
                    tracing::info!("{}: the spool can be written again", self.directory.display());
                }
                self.next.sequence += count;
                if let Some(segment) = self.segments.back_mut() {
                    segment.end = Some(self.next.sequence);
                }
                Some(Appended { before, to, place })
            }
            Err(error) => {
                Place { count: 0, ..place }.stamp(message);
                self.write_failed(&error, at);
                None
            }
        }
    }

    fn write(
        &mut self,
        message: &[u8],
        tally: &Tally,
        templates: impl FnOnce(&[u16]) -> Vec<u8>,
        now: Timestamp,
    ) -> io::Result<(Spot, Spot)> {
        let before = self.end_spot();
        let is_full = self.segments.back().is_some_and(|segment| segment.bytes >= self.segment_bytes());
        if self.writer.is_none() || is_full {
            self.begin_segment(now)?;
        }
        let name = self.segments.back().map(|segment| segment.name).ok_or(io::ErrorKind::NotFound)?;
        let wanted = |id: &u16| *id >= TEMPLATE_ID_MIN && !self.templates.contains(id);
        let missing: Vec<u16> = sets_of(message).filter(wanted).collect();
        self.scratch.clear();
        if !missing.is_empty() {
            write_entry(name, Kind::Templates, &Tally::default(), &templates(&missing), &mut self.scratch);
        }
        write_entry(name, Kind::Records, tally, message, &mut self.scratch);
        self.make_room(self.scratch.len() as u64);
        let (Some(file), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        file.write_all(&self.scratch)?;
        segment.bytes += self.scratch.len() as u64;
        self.counters.written_bytes += self.scratch.len() as u64;
        self.templates.extend(missing);
        self.is_unsynced = true;
        Ok((before, self.end_spot()))
    }

    /// A write failed: what it left is cut off, and the next one begins a segment of its own.
    fn write_failed(&mut self, error: &io::Error, at: Instant) {
        self.counters.write_errors += 1;
        if self.failing_until.is_none() {
            tracing::error!(
                "{}: {error}; messages are kept in memory only until it can be written again",
                self.directory.display()
            );
        }
        self.failing_until = Some(at + RETRY_AFTER);
        if let (Some(file), Some(segment)) = (self.writer.take(), self.segments.back()) {
            // Should it fail, the reader finds an entry that is not whole, which is what it is made for.
            let _ = file.set_len(segment.bytes);
        }
    }

    fn begin_segment(&mut self, now: Timestamp) -> io::Result<()> {
        if let Some(file) = self.writer.take() {
            self.syncer.sync(file);
        }
        self.templates.clear();
        let name = SegmentName { number: self.next_number, first: self.next };
        let header = SegmentHeader { form: self.settings.form, begun: now.0 };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        self.make_room(bytes.len() as u64);
        let path = self.directory.join(name.file_name());
        let mut file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        if let Err(error) = file.write_all(&bytes) {
            // A segment without a header is of no use, and its name must be free for the next attempt.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.counters.written_bytes += bytes.len() as u64;
        self.next_number += 1;
        let (bytes, end) = (bytes.len() as u64, Some(self.next.sequence));
        self.segments.push_back(Segment { name, header: Some(header), bytes, end });
        self.writer = Some(file);
        Ok(())
    }

    fn segment_bytes(&self) -> u64 {
        (self.settings.bytes_max / 64).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1)
    }

    /// Drops the oldest segments until so many octets fit into the budget; never the one that is written.
    fn make_room(&mut self, bytes: u64) {
        while self.bytes() + bytes > self.settings.bytes_max
            && self.segments.len() > usize::from(self.writer.is_some())
        {
            if !self.is_done(0) {
                self.count_dropped();
            }
            self.remove(0);
        }
    }

    /// The oldest segment leaves unread: what was not done of it is lost.
    fn count_dropped(&mut self) {
        let Some(segment) = self.segments.front() else { return };
        let first = segment.name.first;
        let mut end = self.end_of(0).unwrap_or(first.sequence);
        let mut lost = Tally::default();
        let mut body = Vec::new();
        let mut seen = Ranges::new();
        // Only counting: what cannot be read is counted by its numbers below.
        let _ = self.each_entry(0, &mut body, |place, tally, done| {
            end = end.max(place.range().end);
            seen.insert(place.range());
            match place.count - done.count_in(&place.range()) {
                0 => {}
                missing if missing == place.count => lost.add(*tally),
                missing => lost.add(Tally::of_records(missing)),
            }
        });
        let Some(known) = self.epochs.iter_mut().find(|known| known.epoch == first.epoch) else { return };
        let missing = known.done.missing(first.sequence..end);
        for range in &missing {
            let unseen = (range.end - range.start) - seen.count_in(range);
            lost.add(Tally::of_records(unseen));
            known.done.insert(range.clone());
        }
        self.is_unsaved = true;
        self.counters.dropped_records += missing.iter().map(|range| range.end - range.start).sum::<u64>();
        let mut tally = Some(lost);
        for range in missing {
            let place = place_of(first.epoch, &range);
            let tally = tally.take().unwrap_or_default();
            self.losses.push(Loss { place, tally, cause: LossCause::Budget });
        }
    }

    /// Notes that these records need not be sent any more.
    pub(super) fn set_done(&mut self, place: &Place) {
        if let Some(known) = self.epochs.iter_mut().find(|known| known.epoch == place.first.epoch)
            && known.done.insert(place.range()) > 0
        {
            self.is_unsaved = true;
            self.free();
        }
    }

    /// Notes that these records were given to a session.
    pub(super) fn set_sent(&mut self, place: &Place) {
        if let Some(known) = self.epochs.iter_mut().find(|known| known.epoch == place.first.epoch) {
            known.sent_end = known.sent_end.max(place.range().end);
        }
    }

    /// The collector says that it has stored everything below a position; how many records that newly makes.
    pub(super) fn acknowledge(&mut self, position: Position) -> Result<u64, Unacceptable> {
        let Position { epoch, sequence: said } = position;
        let Some(known) = self.epochs.iter_mut().find(|known| known.epoch == epoch) else {
            return Err(Unacceptable::Epoch(epoch));
        };
        if said > known.sent_end {
            return Err(Unacceptable::AboveSent { said, sent: known.sent_end });
        }
        let was = known.done.prefix();
        if said < was {
            return Err(Unacceptable::Backwards { said, was });
        }
        let new = known.done.insert(0..said);
        if !std::mem::replace(&mut self.acknowledges, true) || new > 0 {
            self.is_unsaved = true;
            self.free();
        }
        Ok(new)
    }

    /// The number behind a segment's last record, as far as it is known.
    fn end_of(&self, index: usize) -> Option<u64> {
        let segment = self.segments.get(index)?;
        segment.end.or_else(|| {
            let next = self.segments.get(index + 1)?.name.first;
            (next.epoch == segment.name.first.epoch).then_some(next.sequence)
        })
    }

    fn is_done(&self, index: usize) -> bool {
        let Some(segment) = self.segments.get(index) else { return false };
        let Position { epoch, sequence } = segment.name.first;
        let done = self.done(epoch).map_or(0, |done| done.after(sequence));
        self.end_of(index).is_some_and(|end| done >= end)
    }

    /// Removes the segments of which everything is done, but not the one that is written.
    fn free(&mut self) {
        let mut index = 0;
        while index + usize::from(self.writer.is_some()) < self.segments.len() {
            if self.is_done(index) { self.remove(index) } else { index += 1 }
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(segment) = self.segments.remove(index) else { return };
        // What the segment before it spans was told by where this one began.
        if let Some(before) = index.checked_sub(1).and_then(|before| self.segments.get_mut(before))
            && before.name.first.epoch == segment.name.first.epoch
        {
            before.end.get_or_insert(segment.name.first.sequence);
        }
        let path = self.directory.join(segment.name.file_name());
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("{}: {error}; it stays, and is sent again after a restart", path.display());
        }
        let (epoch, current) = (segment.name.first.epoch, self.next.epoch);
        let is_gone = self.segments.iter().all(|segment| segment.name.first.epoch != epoch);
        if is_gone && epoch != current {
            self.epochs.retain(|known| known.epoch != epoch);
        }
    }

    /// Where the next entry will be written.
    pub(super) fn end_spot(&self) -> Spot {
        match self.segments.back() {
            Some(segment) => Spot { number: segment.name.number, offset: segment.bytes },
            None => Spot { number: self.next_number, offset: HEADER_BYTES as u64 },
        }
    }

    /// Sends what was written to the disk and notes what is done, when their time has come.
    pub(super) fn tick(&mut self, at: Instant) {
        let is_due =
            |last: Option<Instant>, interval| last.is_none_or(|last| at.duration_since(last) >= interval);
        if self.is_unsynced && is_due(self.synced_at, SYNC_INTERVAL) {
            self.synced_at = Some(at);
            self.is_unsynced = false;
            if let Some(Ok(file)) = self.writer.as_ref().map(File::try_clone) {
                self.syncer.sync(file);
            }
        }
        if self.is_unsaved && is_due(self.saved_at, STATE_INTERVAL) {
            self.saved_at = Some(at);
            // On a full disk it is tried again; until then a restart sends more again than it had to.
            let _ = self.save(false);
        }
    }

    /// The end of a sensor that stops in order: everything is on the disk when this returns.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.free();
        self.syncer.finish();
        if let Some(file) = &self.writer {
            file.sync_data()?;
        }
        self.save(true)
    }

    fn save(&mut self, is_clean: bool) -> io::Result<()> {
        let epochs = self.epochs.iter().map(|known| state::SavedEpoch::new(known.epoch, &known.done));
        let state = state::State {
            boot: self.boot.clone(),
            clean: is_clean,
            acknowledges: self.acknowledges,
            next: self.next.sequence,
            epochs: epochs.collect(),
        };
        state.write(&self.directory, is_clean)?;
        self.is_unsaved = false;
        Ok(())
    }
}

fn place_of(epoch: u64, range: &Range<u64>) -> Place {
    Place { first: Position { epoch, sequence: range.start }, count: range.end - range.start }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The segments of a directory, oldest first.
fn list(directory: &Path) -> io::Result<VecDeque<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(SegmentName::parse) else { continue };
        let file = File::open(entry.path())?;
        let mut header = [0; HEADER_BYTES];
        let have = format::ReadAt::read_at(&file, &mut header, 0)?;
        let header = SegmentHeader::parse(header.get(..have).unwrap_or_default());
        segments.push(Segment { name, header, bytes: entry.metadata()?.len(), end: None });
    }
    segments.sort_by_key(|segment| segment.name.number);
    Ok(segments.into())
}

/// Finds the end of the last segment and cuts off what is no whole entry there.
fn cut_torn(directory: &Path, mut segment: Segment, counters: &mut SpoolCounters) -> io::Result<Segment> {
    let path = directory.join(segment.name.file_name());
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let mut body = Vec::new();
    let mut whole = (segment.bytes).min(HEADER_BYTES as u64);
    let mut at = HEADER_BYTES as u64;
    let mut end = segment.name.first.sequence;
    loop {
        match format::read_entry(&file, segment.name, at, segment.bytes, &mut body)? {
            format::Found::Entry { to, .. } => {
                if let Some(place) = format::place_of(&body) {
                    end = end.max(place.range().end);
                }
                (at, whole) = (to, to);
            }
            format::Found::Damaged { to } => at = to,
            format::Found::End | format::Found::Torn => break,
        }
    }
    if whole < segment.bytes {
        let torn = segment.bytes - whole;
        tracing::warn!(
            "{}: {torn} octets at its end are not a whole message and are cut off",
            path.display()
        );
        counters.torn_bytes += torn;
        file.set_len(whole)?;
        segment.bytes = whole;
    }
    segment.end = Some(end);
    Ok(segment)
}
