//! Reading a spool from its oldest record to its newest.
//!
//! In: a [`Cursor`]. Out: entries that are not done, one by one, and on the way what is missing between them, which is
//! noted as lost. The reader may be far behind the writer, and segments may leave under it.

use super::format::{Found, HEADER_BYTES, Kind, place_of, read_entry};
use super::{Loss, LossCause, Ranges, Spool, Tally};
use std::fs::File;
use std::io;
use weir_common::delivery::Position;
use weir_common::ipfix::options::Place;

/// A place in a spool's files; ordered as they were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::export) struct Spot {
    pub(super) number: u64,
    pub(super) offset: u64,
}

/// Where a reader is.
#[derive(Default)]
pub(in crate::export) struct Cursor {
    pub(super) spot: Spot,
    /// The number that the next entry of its segment should begin with.
    expected: Option<Position>,
    file: Option<(u64, File)>,
}

impl Cursor {
    pub(in crate::export) fn spot(&self) -> Spot {
        self.spot
    }

    /// Where it is, to come back to.
    pub(in crate::export) fn mark(&self) -> (Spot, Option<Position>) {
        (self.spot, self.expected)
    }

    pub(in crate::export) fn reset(&mut self, (spot, expected): (Spot, Option<Position>)) {
        (self.spot, self.expected) = (spot, expected);
    }

    /// Steps over entries that were sent already.
    pub(in crate::export) fn jump(&mut self, to: Spot, next: Position) {
        self.spot = to;
        self.expected = Some(next);
    }
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::export) enum Step {
    /// Records that are not done; the message is in the buffer.
    Records { place: Place, tally: Tally, form: Option<u32> },
    /// Templates of the segment's messages; the message is in the buffer.
    Templates { form: Option<u32> },
    /// Nothing more is there.
    End,
}

impl Spool {
    /// The next entry before `until` that is not done. An error of the disk ends the segment for this reader, and what
    /// it held counts as damaged.
    pub(in crate::export) fn read(&mut self, cursor: &mut Cursor, until: Spot, body: &mut Vec<u8>) -> Step {
        loop {
            if cursor.spot >= until {
                return Step::End;
            }
            let index = self.segments.partition_point(|segment| segment.name.number < cursor.spot.number);
            let Some(segment) = self.segments.get(index) else { return Step::End };
            let (name, end, form) = (segment.name, segment.bytes, segment.header.map(|header| header.form));
            if name.number != cursor.spot.number || cursor.spot.offset < HEADER_BYTES as u64 {
                cursor.spot = Spot { number: name.number, offset: HEADER_BYTES as u64 };
                cursor.expected = Some(name.first);
                continue;
            }
            let at = cursor.spot.offset;
            let read = |cursor: &mut Cursor, body: &mut Vec<u8>| match &cursor.file {
                Some((_, file)) => read_entry(file, name, at, end, body),
                None => Err(io::ErrorKind::NotFound.into()),
            };
            let found = match at >= end {
                // A file that cannot be opened ends too.
                true => Ok(Found::End),
                false => self.open_segment(cursor, index).and_then(|()| read(cursor, body)),
            };
            // What is damaged is met in every session, and counted once.
            let is_new = cursor.spot >= self.damage_seen;
            match found {
                Ok(Found::Entry { head, to }) => {
                    cursor.spot.offset = to;
                    if head.kind == Kind::Templates {
                        return Step::Templates { form };
                    }
                    let Some(place) = place_of(body) else { continue };
                    self.note_missing(cursor.expected, place.first);
                    cursor.expected = Some(Position { sequence: place.range().end, ..place.first });
                    let is_done = self
                        .done(place.first.epoch)
                        .is_some_and(|done| done.after(place.first.sequence) >= place.range().end);
                    if !is_done {
                        return Step::Records { place, tally: head.tally, form };
                    }
                }
                Ok(Found::Damaged { to }) => {
                    self.counters.damaged_bytes += if is_new { to - at } else { 0 };
                    cursor.spot.offset = to;
                    self.damage_seen = self.damage_seen.max(cursor.spot);
                }
                Ok(Found::End) => {
                    if !self.leave_segment(cursor, index) {
                        return Step::End;
                    }
                }
                Ok(Found::Torn) => {
                    self.counters.torn_bytes += if is_new { end - at } else { 0 };
                    cursor.spot.offset = end;
                    self.damage_seen = self.damage_seen.max(cursor.spot);
                }
                Err(error) => {
                    let path = self.directory.join(name.file_name());
                    if is_new {
                        tracing::error!("{}: {error}; what it held is lost", path.display());
                        self.counters.damaged_bytes += end.saturating_sub(at);
                    }
                    cursor.spot.offset = end;
                    self.damage_seen = self.damage_seen.max(cursor.spot);
                }
            }
        }
    }

    /// Goes on to the next segment, noting what is missing at the end of this one; false when it is the last.
    fn leave_segment(&mut self, cursor: &mut Cursor, index: usize) -> bool {
        let (Some(segment), Some(next)) = (self.segments.get(index), self.segments.get(index + 1)) else {
            return false;
        };
        let (epoch, next) = (segment.name.first.epoch, next.name);
        let expected = cursor.expected.filter(|expected| expected.epoch == epoch);
        // Where an epoch ends, its last segment's own end is all that is known.
        let behind = if next.first.epoch == epoch { Some(next.first.sequence) } else { segment.end };
        if let Some(sequence) = behind {
            self.note_missing(expected, Position { epoch, sequence });
        } else if let (Some(expected), Some(segment)) = (expected, self.segments.get_mut(index)) {
            segment.end = Some(expected.sequence);
        }
        cursor.spot = Spot { number: next.number, offset: HEADER_BYTES as u64 };
        cursor.expected = Some(next.first);
        true
    }

    /// Notes that the numbers from the one that should have come to the one that came are lost.
    fn note_missing(&mut self, expected: Option<Position>, came: Position) {
        let Some(expected) = expected.filter(|expected| expected.epoch == came.epoch) else { return };
        let range = expected.sequence..came.sequence;
        let Some(known) = self.epochs.iter_mut().find(|known| known.epoch == came.epoch) else { return };
        if range.is_empty() {
            return;
        }
        for missing in known.done.missing(range) {
            let count = missing.end - missing.start;
            known.done.insert(missing.clone());
            self.is_unsaved = true;
            self.counters.damaged_records += count;
            let (place, tally) = (super::place_of(came.epoch, &missing), Tally::of_records(count));
            tracing::error!(
                "{}: {count} records of the spool cannot be read and are lost",
                self.directory.display()
            );
            self.losses.push(Loss { place, tally, cause: LossCause::Damage });
        }
    }

    fn open_segment(&self, cursor: &mut Cursor, index: usize) -> io::Result<()> {
        let Some(segment) = self.segments.get(index) else { return Err(io::ErrorKind::NotFound.into()) };
        if cursor.file.as_ref().is_none_or(|(number, _)| *number != segment.name.number) {
            let file = File::open(self.directory.join(segment.name.file_name()))?;
            cursor.file = Some((segment.name.number, file));
        }
        Ok(())
    }

    /// Tells every entry of a segment's records with what is done of its epoch.
    pub(super) fn each_entry(
        &self,
        index: usize,
        body: &mut Vec<u8>,
        mut each: impl FnMut(&Place, &Tally, &Ranges),
    ) -> io::Result<()> {
        let Some(segment) = self.segments.get(index) else { return Ok(()) };
        let nothing = Ranges::new();
        let done = self.done(segment.name.first.epoch).unwrap_or(&nothing);
        let file = File::open(self.directory.join(segment.name.file_name()))?;
        let mut at = HEADER_BYTES as u64;
        loop {
            match read_entry(&file, segment.name, at, segment.bytes, body)? {
                Found::Entry { head, to } => {
                    at = to;
                    if head.kind == Kind::Records
                        && let Some(place) = place_of(body)
                    {
                        each(&place, &head.tally, done);
                    }
                }
                Found::Damaged { to } => at = to,
                Found::End | Found::Torn => return Ok(()),
            }
        }
    }
}
