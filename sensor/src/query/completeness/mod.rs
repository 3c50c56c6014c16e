//! The statement that ends every answer: whether it is complete, and if not, what is missing and why.
//!
//! In: the gap ledger, the range that was asked for, and what reading, or the account of blocks, found damaged, removed
//! or gone. Out: a [`Completeness`], in words and as JSON. Deliberately absent: any guess; what the ledger does not know
//! to be covered counts as not captured.

mod absent;
mod covered;
mod words;

pub use absent::{not_there, unaccounted};
pub use words::Finding;

use crate::ring::entry::LeftOut;
use crate::ring::gaps::{ClockStep, GapRecord, Gaps, LossKind, RecordKind};
use covered::{behind_the_end, covered, not_captured};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;
use weir_common::time::Timestamp;
use words::Lasting;

/// Most gaps listed one by one; beyond, those of one kind and reason are told as one.
pub const GAPS_LISTED_MAX: usize = 64;
/// Most blocks of one file that cannot be read and are told one by one; more are told as one.
const BLOCKS_OF_FILE_LISTED_MAX: usize = 4;
/// Losses for one reason that are this close are told as one.
const CLOSE: Duration = Duration::from_secs(1);

/// Why frames of the range may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapState {
    /// No sensor was writing this ring.
    NotCaptured,
    /// Frames were lost on the way to the ring.
    Dropped,
    /// The ring's turn removed them.
    Expired,
    /// They are there and cannot be read.
    Damaged,
    /// Frames of the answer are shorter than on the wire.
    CutOff,
    /// They are still in the sensor's memory.
    NotYetWritten,
    /// The clock was set: which frames belong to a time is uncertain, and none is missing.
    ClockStep,
    /// A later version wrote down what this one cannot understand.
    Unknown,
}

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// What kind of gap.
    pub state: GapState,
    /// Begin.
    #[serde(serialize_with = "text")]
    pub from: Timestamp,
    /// End.
    #[serde(serialize_with = "text")]
    pub to: Timestamp,
    /// Frames missing or cut off in the whole interval, also where only a part of it is in the range; none
    /// where that is not known.
    pub frames: Option<u64>,
    /// Bytes left out of these frames on purpose.
    pub bytes: Option<u64>,
    /// Why, in words.
    pub reason: String,
}

/// Whether an answer holds everything that was on the wire in its range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Nothing is missing, and where a range was asked for, no clock was set in it.
    pub complete: bool,
    /// Begin of the range that the statement is about.
    #[serde(serialize_with = "text")]
    pub from: Timestamp,
    /// End of the range.
    #[serde(serialize_with = "text")]
    pub until: Timestamp,
    /// What is missing, in order of time; at last, of an open range, what there is to say of the time since its end.
    pub gaps: Vec<Gap>,
    /// Blocks that pins alone still have; frames of an expired range come from these.
    pub pinned_blocks: u64,
}

pub(super) fn text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// A range of the ring that reading found damaged, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Earliest time that may have been there; [`Timestamp::MIN`]: from the range's begin.
    pub from: Timestamp,
    /// Latest time that may have been there; [`Timestamp::MAX`]: up to the range's end.
    pub to: Timestamp,
    /// Frames, where known.
    pub frames: Option<u64>,
    /// Damaged, unless the ring removed it or has not written it yet.
    pub state: GapState,
    /// The file that it is of; empty: of none.
    pub file: String,
    /// Which block, and what is wrong with it.
    pub what: String,
}

/// What a statement is made from.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The ring's ledger.
    pub gaps: &'a Gaps,
    /// Whether a sensor writes the ring now.
    pub being_written: bool,
    /// Begin of the range asked for; none: from the beginning.
    pub since: Option<Timestamp>,
    /// End of the range asked for; none: what there is.
    pub until: Option<Timestamp>,
    /// The time now.
    pub now: Timestamp,
    /// What could not be read.
    pub unreadable: &'a [Unreadable],
    /// Frames of the answer that are shorter than on the wire.
    pub shortened: Shortened,
    /// The question looks at bytes that may have been left out, so that frames may not match for that reason.
    pub reads_bytes: bool,
}

/// Frames of an answer that are shorter than on the wire, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortened {
    /// The capture was told to keep only so much of a frame.
    pub frames_by_capture: u64,
    /// The ring left ciphertext out.
    pub frames_on_purpose: u64,
    /// How many bytes of it.
    pub bytes_left_out: u64,
}

impl Shortened {
    /// Counts a frame of the answer: what of it was captured and kept, what it had on the wire, and its receipt.
    #[inline]
    pub fn count(&mut self, captured_len: u32, wire_len: u32, left_out: Option<LeftOut>) {
        let mut known = u64::from(captured_len);
        if let Some(left_out) = left_out {
            self.frames_on_purpose += 1;
            self.bytes_left_out += u64::from(left_out.bytes);
            known += u64::from(left_out.bytes);
        }
        self.frames_by_capture += u64::from(known < u64::from(wire_len));
    }

    /// Adds what others counted.
    pub fn add(&mut self, other: &Shortened) {
        self.frames_by_capture += other.frames_by_capture;
        self.frames_on_purpose += other.frames_on_purpose;
        self.bytes_left_out += other.bytes_left_out;
    }

    fn gaps(self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Gap> {
        let gap = |frames: u64, bytes: Option<u64>, reason: &str| {
            let (state, reason) = (GapState::CutOff, reason.to_owned());
            (frames > 0).then_some(Gap { state, from, to, frames: Some(frames), bytes, reason })
        };
        let by_capture = gap(self.frames_by_capture, None, "captured shorter than on the wire");
        let on_purpose =
            gap(self.frames_on_purpose, Some(self.bytes_left_out), "ciphertext left out on purpose");
        by_capture.into_iter().chain(on_purpose)
    }
}

impl Completeness {
    /// Makes the statement.
    pub fn state(evidence: &Evidence<'_>) -> Completeness {
        let covered = covered(evidence.gaps);
        // Frames of runs that the ledger does not know are given as well where no time was asked for.
        let begins = evidence.unreadable.iter().map(|found| found.from).filter(|from| *from > Timestamp::MIN);
        let begin = covered.iter().map(|run| run.from).chain(begins).min();
        let ends = evidence.unreadable.iter().map(|found| found.to).filter(|to| *to < Timestamp::MAX);
        let end = covered.iter().map(|run| run.to).chain(ends).max();
        let from = evidence.since.or(begin).unwrap_or(Timestamp::MIN);
        // An open range that begins behind all there is ends now, and nothing of it was captured.
        let is_behind = evidence.until.is_none() && end.is_some_and(|end| from > end);
        let until = evidence.until.or(end.filter(|_| !is_behind)).unwrap_or(evidence.now).max(from);
        let mut gaps = Vec::new();
        not_captured(evidence, &covered, from, until, &mut gaps);
        let overlaps = |a: Timestamp, b: Timestamp| a <= until && b >= from;
        for record in evidence.gaps.records.iter().filter(|record| overlaps(record.from, record.to)) {
            gaps.extend(recorded(record, evidence.reads_bytes));
        }
        let of_range = evidence.unreadable.iter().filter(|found| overlaps(found.from, found.to));
        gaps.extend(unread(of_range).into_iter().map(|gap| Gap {
            from: if gap.from == Timestamp::MIN { from } else { gap.from },
            to: if gap.to == Timestamp::MAX { until.max(gap.from) } else { gap.to },
            ..gap
        }));
        if evidence.gaps.damaged_records > 0 {
            let reason =
                format!("{} records of the gap ledger cannot be read", evidence.gaps.damaged_records);
            gaps.push(Gap { state: GapState::Damaged, from, to: until, frames: None, bytes: None, reason });
        }
        gaps.extend(evidence.shortened.gaps(from, until));
        // Where no time was asked for, every frame is there whatever its time.
        let asks_for_time = evidence.since.is_some() || evidence.until.is_some();
        let complete = gaps.iter().all(|gap| gap.state == GapState::ClockStep && !asks_for_time);
        // What lies behind the end of an open range is told, and nothing of the range is missing for it.
        gaps.extend(behind_the_end(evidence, &covered, until));
        Completeness { complete, from, until, gaps: condense(gaps), pinned_blocks: 0 }
    }

    /// Whether a gap lies behind the range, and takes nothing from it.
    fn is_behind(&self, gap: &Gap) -> bool {
        gap.from >= self.until && gap.to > self.until
    }

    /// Frames that the kernel dropped in the range.
    pub fn frames_dropped_by_kernel(&self) -> u64 {
        self.frames_dropped(LossKind::Kernel)
    }

    /// Frames that an interface dropped in the range.
    pub fn frames_dropped_by_interface(&self) -> u64 {
        self.frames_dropped(LossKind::Interface)
    }

    fn frames_dropped(&self, kind: LossKind) -> u64 {
        let is_of_kind = |gap: &&Gap| gap.state == GapState::Dropped && gap.reason == reason(kind);
        self.gaps.iter().filter(is_of_kind).filter_map(|gap| gap.frames).sum()
    }
}

impl fmt::Display for Completeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.complete { "complete" } else { "incomplete" };
        write!(f, "{word}: {} to {}", self.from, self.until)?;
        for gap in &self.gaps {
            write!(f, "\n  {}: ", gap.state.words())?;
            if gap.state == GapState::NotCaptured {
                let lasting = Lasting(gap.to.since(gap.from));
                write!(f, "{lasting}, {}, {} to {}", gap.reason, gap.from, gap.to)?;
                continue;
            }
            if let Some(frames) = gap.frames {
                write!(f, "{frames} frames, ")?;
            }
            if let Some(bytes) = gap.bytes {
                write!(f, "{bytes} bytes, ")?;
            }
            write!(f, "{} to {}: {}", gap.from, gap.to, gap.reason)?;
        }
        if self.pinned_blocks > 0 {
            write!(f, "\n  pinned: {} blocks are read from pins, past the ring's turn", self.pinned_blocks)?;
        }
        Ok(())
    }
}

/// What could not be read. Many blocks of one file are told as one gap: a file that was cut is one damage.
fn unread<'a>(found: impl Iterator<Item = &'a Unreadable>) -> Vec<Gap> {
    let mut by_file: BTreeMap<(&str, GapState), Vec<&Unreadable>> = BTreeMap::new();
    for unreadable in found {
        by_file.entry((&unreadable.file, unreadable.state)).or_default().push(unreadable);
    }
    let mut gaps = Vec::new();
    for ((file, state), blocks) in by_file {
        let first = blocks.iter().min_by_key(|block| block.from).filter(|_| !file.is_empty());
        match first.filter(|_| blocks.len() > BLOCKS_OF_FILE_LISTED_MAX) {
            Some(first) => gaps.push(Gap {
                state,
                from: first.from,
                to: blocks.iter().map(|block| block.to).max().unwrap_or(first.to),
                frames: blocks.iter().map(|block| block.frames).sum(),
                bytes: None,
                reason: format!("{} blocks of {file}; the first: {}", blocks.len(), first.what),
            }),
            None => gaps.extend(blocks.iter().map(|block| {
                let Unreadable { from, to, frames, ref what, .. } = **block;
                Gap { state, from, to, frames, bytes: None, reason: what.clone() }
            })),
        }
    }
    gaps
}

/// What a record of the ledger means for an answer; `reads_bytes` as in [`Evidence`].
fn recorded(record: &GapRecord, reads_bytes: bool) -> Option<Gap> {
    let (state, reason) = match record.kind {
        RecordKind::Loss(kind) => (GapState::Dropped, reason(kind)),
        RecordKind::Expired => (GapState::Expired, "removed to make room"),
        RecordKind::ExpiredByAge => (GapState::Expired, "older than the ring keeps frames"),
        RecordKind::ExpiredByDisk => (GapState::Expired, "removed because the disk was filling up"),
        RecordKind::Damaged => (GapState::Damaged, "found damaged when the ring was opened"),
        // Those of the answer tell by their receipts; what else there is matters where bytes are looked at.
        RecordKind::CutOff if reads_bytes => {
            (GapState::CutOff, "ciphertext left out on purpose: what the question asks of it is not known")
        }
        RecordKind::ClockStep(step) => return Some(stepped(record, step)),
        RecordKind::Unknown(code) => {
            let reason = format!("a later version wrote this down as kind {code}");
            let (from, to) = (record.from, record.to);
            return Some(Gap { state: GapState::Unknown, from, to, frames: None, bytes: None, reason });
        }
        RecordKind::CutOff | RecordKind::RunStart | RecordKind::RunEnd | RecordKind::RunKilled => {
            return None;
        }
    };
    let frames = (record.frames > 0).then_some(record.frames);
    let bytes = (state == GapState::CutOff).then_some(record.bytes);
    Some(Gap { state, from: record.from, to: record.to, frames, bytes, reason: reason.into() })
}

fn stepped(record: &GapRecord, step: ClockStep) -> Gap {
    let size = Lasting(Duration::from_nanos(record.bytes));
    let reason = match (step, record.frames) {
        (ClockStep::Back, 0..=1) => format!("set back by {size}; these times occurred twice"),
        (ClockStep::Back, steps) => {
            format!("set back {steps} times, by up to {size}; these times occurred more than once")
        }
        (ClockStep::Forward, _) => {
            format!("set forward by {size}, or the machine slept; these times did not occur")
        }
    };
    Gap { state: GapState::ClockStep, from: record.from, to: record.to, frames: None, bytes: None, reason }
}

fn reason(kind: LossKind) -> &'static str {
    match kind {
        LossKind::Kernel => "the kernel's capture buffer was full",
        LossKind::Interface => "the interface dropped them",
        LossKind::Queue => "the ring's queue was full",
        LossKind::Write => "the disk was full or failed",
        LossKind::TooLarge => "larger than a block",
    }
}

/// In order of time. What follows closely for the same reason is told as one, as is everything that expired,
/// and all else too where there is too much of it.
fn condense(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.sort_by_key(|gap| (gap.from, gap.to, gap.state));
    let mut out = merge_where(gaps, |held, gap| {
        matches!(gap.state, GapState::Expired | GapState::CutOff)
            || (gap.state == GapState::Dropped && gap.from <= held.to.plus(CLOSE))
    });
    if out.len() > GAPS_LISTED_MAX {
        out = merge_where(out, |_, _| true);
    }
    if out.len() > GAPS_LISTED_MAX {
        // Each has a reason of its own, as damaged blocks have: the rest is told in sum.
        let rest = out.split_off(GAPS_LISTED_MAX - 1);
        let from = rest.iter().map(|gap| gap.from).min().unwrap_or_default();
        let to = rest.iter().map(|gap| gap.to).max().unwrap_or_default();
        let frames = rest.iter().filter_map(|gap| gap.frames).reduce(u64::saturating_add);
        let reason = format!("{} further gaps, `ring check` lists damage", rest.len());
        out.push(Gap {
            bytes: None,
            state: rest.first().map_or(GapState::Damaged, |gap| gap.state),
            from,
            to,
            frames,
            reason,
        });
    }
    out
}

/// Merges each gap into the last one of its state and reason, where `merges` says so.
fn merge_where(gaps: Vec<Gap>, merges: impl Fn(&Gap, &Gap) -> bool) -> Vec<Gap> {
    let mut out: Vec<Gap> = Vec::new();
    let mut last: HashMap<(GapState, String), usize> = HashMap::new();
    for gap in gaps {
        let key = (gap.state, gap.reason.clone());
        match last.get(&key).and_then(|at| out.get_mut(*at)) {
            Some(held) if merges(held, &gap) => {
                held.from = held.from.min(gap.from);
                held.to = held.to.max(gap.to);
                let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
                    (Some(a), Some(b)) => Some(a.saturating_add(b)),
                    (a, b) => a.or(b),
                };
                held.frames = sum(held.frames, gap.frames);
                held.bytes = sum(held.bytes, gap.bytes);
            }
            _ => {
                last.insert(key, out.len());
                out.push(gap);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
