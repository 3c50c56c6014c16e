//! Matching frames of many blocks in order of time, with bounded memory.
//!
//! In: scanned blocks in the order of the plan. Out: their frames, merged across lanes; frames of one time in
//! the order in which they were written. A block is taken when the merge reaches the time of its first frame
//! and let go after its last match, so that as many are in memory as overlap in time: about one per lane.
//!
//! At [`OPEN_BYTES_MAX`] no further block is opened before one is done: frames may then come out of order,
//! which the answer says. That takes hundreds of blocks of the same moment, as a clock that jumps may make.

use super::completeness::Unreadable;
use super::reading::{Progress, Reading};
use super::scan::{Found, Matched, Verdict};
use super::supply::{Scanned, Supply};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::atomic::Ordering;
use weir_common::time::Timestamp;

/// Most bytes of matches that are open at once; they take at most twice as much memory.
pub(super) const OPEN_BYTES_MAX: usize = 256 << 20;

/// Whether the receiver of frames wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Enough,
}

/// Takes a frame; what it may still be is decided by its receiver.
pub(super) type Give<'g> = &'g mut dyn FnMut(&Found<'_>, Verdict) -> io::Result<Next>;

/// What reading came to.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Frames looked at.
    pub(super) frames_scanned: u64,
    /// Blocks that could not be read.
    pub(super) unreadable: Vec<Unreadable>,
    /// Frames may be out of order of time.
    pub(super) out_of_order: bool,
    /// Reading ended early: everything before this time was given.
    pub(super) ended_before: Option<Timestamp>,
}

/// A block that still has matches to give.
#[derive(Debug)]
struct Open {
    matched: Matched,
    next: usize,
}

/// Time of the next match, place in the plan, slot in `open`.
type Turn = Reverse<(Timestamp, usize, usize)>;

pub(super) struct Merge<'r> {
    reading: &'r Reading,
    open_bytes_max: usize,
    open: Vec<Option<Open>>,
    free: Vec<usize>,
    heap: BinaryHeap<Turn>,
    open_bytes: usize,
    read: Read,
}

impl<'r> Merge<'r> {
    pub(super) fn new(reading: &'r Reading, open_bytes_max: usize) -> Merge<'r> {
        Merge {
            reading,
            open_bytes_max,
            open: Vec::new(),
            free: Vec::new(),
            heap: BinaryHeap::new(),
            open_bytes: 0,
            read: Read::default(),
        }
    }

    /// Gives every frame in order of time, until there are no more or `give` has enough.
    pub(super) fn run(mut self, supply: &mut dyn Supply, give: Give<'_>) -> io::Result<Read> {
        let mut enough = false;
        loop {
            let reached = self.heap.peek().map(|Reverse(turn)| turn.0);
            let next = supply.next_time();
            if enough || self.reading.is_stopped() {
                // What is left begins with the earlier of the two; nothing left means that all was given.
                self.read.ended_before = reached.into_iter().chain(next).min();
                return Ok(self.read);
            }
            let is_due = next.is_some_and(|first| reached.is_none_or(|time| first <= time));
            if is_due && (reached.is_none() || self.open_bytes < self.open_bytes_max) {
                enough = !self.take(supply);
                continue;
            }
            self.read.out_of_order |= is_due;
            let Some(Reverse((_, order, slot))) = self.heap.pop() else { return Ok(self.read) };
            let until = if is_due { None } else { next };
            enough = self.give(order, slot, until, supply, give)? == Next::Enough;
        }
    }

    /// Takes the next block; false: there will be none, because the question was stopped.
    fn take(&mut self, supply: &mut dyn Supply) -> bool {
        let (order, matched) = match supply.take() {
            Some((order, Scanned::Matched(matched))) => (order, matched),
            Some((_, Scanned::Unreadable(unreadable))) => {
                self.read.unreadable.push(unreadable);
                return true;
            }
            Some((_, Scanned::Stopped)) | None => return false,
        };
        self.read.frames_scanned += matched.scanned;
        let Some(time) = matched.time(0) else {
            supply.give_back(matched);
            return true;
        };
        self.open_bytes += matched.bytes();
        let slot = self.free.pop().unwrap_or(self.open.len());
        let open = Some(Open { matched, next: 0 });
        match self.open.get_mut(slot) {
            Some(free) => *free = open,
            None => self.open.push(open),
        }
        self.heap.push(Reverse((time, order, slot)));
        true
    }

    /// Gives frames of one block for as long as no other open block comes before them and they are before `until`.
    fn give(
        &mut self,
        order: usize,
        slot: usize,
        until: Option<Timestamp>,
        supply: &mut dyn Supply,
        give: Give<'_>,
    ) -> io::Result<Next> {
        let Some(Some(open)) = self.open.get_mut(slot) else { return Ok(Next::GoOn) };
        let other = self.heap.peek().map(|Reverse((time, order, _))| (*time, *order));
        let mut next = Next::GoOn;
        while let Some((found, verdict)) = open.matched.found(open.next) {
            next = give(&found, verdict)?;
            open.next += 1;
            let Some(time) = open.matched.time(open.next) else { break };
            let is_others_turn = other.is_some_and(|other| other < (time, order));
            let is_later = until.is_some_and(|until| time >= until);
            if next == Next::Enough || is_others_turn || is_later || self.reading.is_stopped() {
                self.heap.push(Reverse((time, order, slot)));
                return Ok(next);
            }
        }
        if let Some(done) = self.open.get_mut(slot).and_then(Option::take) {
            self.open_bytes = self.open_bytes.saturating_sub(done.matched.bytes());
            self.free.push(slot);
            supply.give_back(done.matched);
        }
        Ok(next)
    }
}

/// Counts in `progress` what a supply gives.
pub(super) struct Counted<'s> {
    pub(super) supply: &'s mut dyn Supply,
    pub(super) progress: &'s Progress,
    pub(super) stored_bytes: &'s dyn Fn(usize) -> u64,
}

impl Supply for Counted<'_> {
    fn next_time(&self) -> Option<Timestamp> {
        self.supply.next_time()
    }

    fn take(&mut self) -> Option<(usize, Scanned)> {
        let (index, scanned) = self.supply.take()?;
        self.progress.blocks_done.fetch_add(1, Ordering::Relaxed);
        self.progress.bytes_done.fetch_add((self.stored_bytes)(index), Ordering::Relaxed);
        Some((index, scanned))
    }

    fn give_back(&mut self, matched: Matched) {
        self.supply.give_back(matched);
    }
}
