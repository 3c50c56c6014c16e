//! Matching frames of many blocks in order of time, with bounded memory.
//!
//! In: the planned candidates and a test for a frame's own bytes. Out: the frames that pass, merged across
//! lanes. A block is read when the merge reaches the time of its first frame and let go after its last match,
//! so that as many blocks are in memory as overlap in time: about one per lane.
//!
//! At [`OPEN_BYTES_MAX`] no further block is opened before one is done: frames may then come out of order,
//! which the answer says. That takes hundreds of blocks of the same moment, as a clock that jumps may make.

use super::completeness::Unreadable;
use super::plan::{Candidate, Plan};
use crate::capture::Frame;
use crate::ring::reader::{BlockError, BlockFrames, BlockReader};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use weir_common::time::Timestamp;

/// Most memory of blocks that are open at once, in bytes.
pub(super) const OPEN_BYTES_MAX: usize = 256 << 20;
/// Most empty buffers kept for the next block.
const SPARE_MAX: usize = 8;

/// A block that still has matches to give.
#[derive(Debug)]
struct Open {
    frames: BlockFrames,
    /// Indices into the block's frames, in order of time.
    matches: Vec<u32>,
    next: usize,
}

/// What reading came to.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Frames looked at.
    pub(super) frames_scanned: u64,
    /// Blocks that could not be read.
    pub(super) unreadable: Vec<Unreadable>,
    /// Frames may be out of order of time.
    pub(super) out_of_order: bool,
}

/// Why reading ended early.
pub(super) enum Stop<E> {
    /// The receiver of frames wants no more.
    Sink(E),
}

pub(super) struct Merge<'p> {
    plan: &'p Plan,
    reader: BlockReader,
    spare: Vec<(BlockFrames, Vec<u32>)>,
    open: Vec<Option<Open>>,
    /// Time of the next match, order of opening, slot in `open`.
    heap: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    opened: u64,
    open_bytes: usize,
    read: Read,
    scratch: Vec<u8>,
}

impl<'p> Merge<'p> {
    pub(super) fn new(plan: &'p Plan) -> Merge<'p> {
        Merge {
            plan,
            reader: BlockReader::default(),
            spare: Vec::new(),
            open: Vec::new(),
            heap: BinaryHeap::new(),
            opened: 0,
            open_bytes: 0,
            read: Read::default(),
            scratch: Vec::new(),
        }
    }

    /// Gives every frame that `matches` to `each`, in order of time.
    pub(super) fn run<E>(
        mut self,
        matches: &mut dyn FnMut(&Frame<'_>) -> bool,
        each: &mut dyn FnMut(&Frame<'_>) -> Result<(), E>,
    ) -> Result<Read, Stop<E>> {
        let plan = self.plan;
        let mut waiting = plan.candidates.iter().peekable();
        loop {
            let reached = self.heap.peek().map(|Reverse(next)| next.0);
            let due = |candidate: &Candidate| reached.is_none_or(|time| candidate.header.first_time <= time);
            if let Some(candidate) = waiting.peek().filter(|candidate| due(candidate)) {
                if self.open_bytes < OPEN_BYTES_MAX || reached.is_none() {
                    self.open(candidate, matches);
                    waiting.next();
                    continue;
                }
                self.read.out_of_order = true;
            }
            let Some(Reverse((_, order, slot))) = self.heap.pop() else { break };
            self.give(order, slot, each).map_err(Stop::Sink)?;
        }
        Ok(self.read)
    }

    fn open(&mut self, candidate: &Candidate, matches: &mut dyn FnMut(&Frame<'_>) -> bool) {
        let Some(files) = self.plan.segments.get(candidate.segment) else { return };
        let (mut frames, mut found) = self.spare.pop().unwrap_or_default();
        found.clear();
        if let Err(error) = self.plan.read(&mut self.reader, candidate, &mut frames) {
            self.read.unreadable.push(unreadable(candidate, &files.segment.display(), &error));
            self.spare.push((frames, found));
            return;
        }
        self.read.frames_scanned += frames.placed().len() as u64;
        for (index, placed) in frames.placed().iter().enumerate() {
            if matches(&frames.frame(placed, &mut self.scratch)) {
                found.push(index as u32);
            }
        }
        let Some(first) = found.first().and_then(|index| frames.placed().get(*index as usize)) else {
            self.spare.push((frames, found));
            return;
        };
        let time = first.entry.time;
        self.open_bytes += frames.memory_bytes();
        let open = Some(Open { frames, matches: found, next: 0 });
        let slot = match self.open.iter().position(Option::is_none) {
            Some(free) => {
                self.open[free] = open;
                free
            }
            None => {
                self.open.push(open);
                self.open.len() - 1
            }
        };
        self.heap.push(Reverse((time, self.opened, slot)));
        self.opened += 1;
    }

    /// Gives frames of one block for as long as no other block or candidate comes before them.
    fn give<E>(
        &mut self,
        order: u64,
        slot: usize,
        each: &mut dyn FnMut(&Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(Some(open)) = self.open.get_mut(slot) else { return Ok(()) };
        if let Some(placed) =
            open.matches.get(open.next).and_then(|index| open.frames.placed().get(*index as usize))
        {
            each(&open.frames.frame(placed, &mut self.scratch))?;
        }
        open.next += 1;
        let next = open.matches.get(open.next).and_then(|index| open.frames.placed().get(*index as usize));
        if let Some(placed) = next {
            self.heap.push(Reverse((placed.entry.time, order, slot)));
            return Ok(());
        }
        if let Some(done) = self.open.get_mut(slot).and_then(Option::take) {
            self.open_bytes = self.open_bytes.saturating_sub(done.frames.memory_bytes());
            if self.spare.len() < SPARE_MAX {
                self.spare.push((done.frames, done.matches));
            }
        }
        Ok(())
    }
}

pub(super) fn unreadable(
    candidate: &Candidate,
    segment: &dyn std::fmt::Display,
    error: &BlockError,
) -> Unreadable {
    let header = &candidate.header;
    let removed = matches!(error, BlockError::Removed);
    Unreadable {
        from: header.first_time,
        to: header.last_time,
        frames: Some(header.frames.into()),
        removed,
        what: if removed {
            "removed to make room while this was read".into()
        } else {
            format!("block at {} of {segment}: {error}", candidate.offset)
        },
    }
}
