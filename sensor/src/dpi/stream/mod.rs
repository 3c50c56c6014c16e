//! Puts one direction of a TCP flow back in order.
//!
//! In: segments as they were captured, and the acknowledgements of the other side. Out: to a
//! [`Reader`], every byte once and in order, and every hole that was given up, in its place. Bytes
//! that come in order go to the reader straight from the packet; only what the reader leaves and what
//! comes before its turn is copied.
//!
//! Overlaps: bytes are read the moment they are in order and cannot be taken back; of bytes that wait behind a
//! hole those stay that the receiver would keep ([`OverlapPolicy`]). A run of segments that came in order
//! counts as one segment. Different content is counted wherever both copies are still there to be compared.
//!
//! A hole is given up when the other side acknowledges what lies behind it (the receiver has the
//! bytes, so they will not come again), when the stream or the worker holds too much, or at the end of
//! the flow. An urgent byte at a segment's end is read out of band and is none of the stream's; where it is not the next
//! in order, its place is a hole. What is deliberately absent: checksums, the receiver's window, and any state of the
//! connection; a flow may be seen from its middle, from one side, or with holes.

mod held;
#[cfg(test)]
mod tests;

pub(super) use held::Pool;

use super::overlap::OverlapPolicy;
use crate::counters::DpiCounters;
use held::{Held, differences};
use std::ops::ControlFlow;

/// Farthest that a segment may lie ahead of the next byte, in bytes, to be held: sixteen times the
/// receive buffers in use on fast paths. What lies farther ahead, or as far behind, is ignored, until
/// [`RESYNC_SEGMENTS`] of them follow each other.
const DISTANCE_BYTES_MAX: i64 = 16 << 20;
/// After this many out-of-range segments in a row that continue each other, the stream goes on there.
const RESYNC_SEGMENTS: u8 = 3;
/// How far before the first segment seen another may begin and still be put before it, in bytes.
const REBASE_BYTES_MAX: u32 = 64 << 10;
/// How far after the other side's acknowledgement the first segment seen may begin so that what lies
/// between is waited for, in bytes.
const HINT_BYTES_MAX: u32 = 1 << 20;

/// What reads a stream.
pub(super) trait Reader {
    /// Is offered the next bytes; none at all where skipped bytes have passed and nothing follows yet.
    fn bytes(&mut self, bytes: &[u8]) -> Take;
    /// Is told that `missing` bytes, counted from the first that was not used, will never come.
    fn gap(&mut self, missing: u64) -> Take;
    /// Where the stream counts.
    fn counters(&mut self) -> &mut DpiCounters;
}

/// What a reader made of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Used this many bytes. Fewer than offered: the rest is offered again with what follows. More
    /// than offered: the bytes beyond are not wanted and pass unread, whether or not they were captured.
    Used(usize),
    /// Wants nothing of the flow any more.
    Stop,
}

/// One direction of a flow.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Sequence number of the first byte that was neither offered nor skipped.
    next: u32,
    /// Highest acknowledgement by the other side.
    acknowledged: u32,
    /// Where a run of out-of-range segments would go on.
    stray: u32,
    /// How many out-of-range segments made up that run.
    strays: u8,
    /// Whether `next` is set.
    is_started: bool,
    /// Whether `acknowledged` is set.
    is_acknowledged: bool,
    /// Whether nothing was used or given up yet, so that the stream may still begin earlier.
    is_untouched: bool,
    /// What the receiver does about overlaps.
    policy: OverlapPolicy,
    /// Bytes from `next` on that the reader does not want.
    skip: u64,
    held: Option<Box<Held>>,
}

type Outcome = ControlFlow<()>;

impl Stream {
    /// A stream to a receiver of this policy.
    pub(super) fn new(policy: OverlapPolicy) -> Stream {
        Stream { policy, ..Stream::default() }
    }

    /// Takes a segment. `sequence` is that of its first byte (one more than the header's under SYN).
    #[inline]
    pub(super) fn segment<R: Reader>(
        &mut self,
        sequence: u32,
        bytes: &[u8],
        pool: &mut Pool,
        reader: &mut R,
    ) -> Outcome {
        if bytes.is_empty() {
            return ControlFlow::Continue(());
        }
        if !self.is_started {
            self.start(sequence);
        }
        if sequence == self.next && self.skip == 0 && self.held.is_none() {
            self.strays = 0;
            self.next = self.next.wrapping_add(bytes.len() as u32);
            self.offer(bytes, pool, reader)?;
            return if self.held.is_some() { self.enforce(pool, reader) } else { ControlFlow::Continue(()) };
        }
        self.segment_out_of_line(sequence, bytes, pool, reader)
    }

    /// Takes note of the other side's acknowledgement number: gives up the holes that it covers.
    #[inline]
    pub(super) fn acknowledge<R: Reader>(&mut self, number: u32, pool: &mut Pool, reader: &mut R) -> Outcome {
        if !self.is_acknowledged || signed(number, self.acknowledged) > 0 {
            self.acknowledged = number;
            self.is_acknowledged = true;
        }
        while let Some(first) = self.first_later() {
            if signed(self.acknowledged, first) < 0 {
                break;
            }
            self.give_up(pool, reader)?;
        }
        ControlFlow::Continue(())
    }

    /// An urgent byte stands in the stream's sequence and is not the stream's.
    #[cold]
    pub(super) fn pass_urgent(&mut self, sequence: u32) {
        if self.is_next(sequence) && !self.is_waiting() {
            self.next = self.next.wrapping_add(1);
        }
    }

    /// The flow has ended: offers what is held behind holes, and tells what of a skip never came.
    pub(super) fn flush<R: Reader>(&mut self, pool: &mut Pool, reader: &mut R) -> Outcome {
        while self.first_later().is_some() {
            self.give_up(pool, reader)?;
        }
        match std::mem::take(&mut self.skip) {
            0 => ControlFlow::Continue(()),
            skip => match reader.gap(skip) {
                Take::Stop => ControlFlow::Break(()),
                Take::Used(_) => ControlFlow::Continue(()),
            },
        }
    }

    /// Gives its memory back; what is held is forgotten.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        if let Some(held) = self.held.take() {
            pool.give_back(held);
        }
    }

    /// Sequence number of the first byte that was neither offered nor skipped, nor had come to the other side
    /// when that answered; none before any byte.
    pub(super) fn position(&self) -> Option<u32> {
        let reached = self.next.wrapping_add(self.skip as u32);
        let is_behind = self.is_acknowledged && signed(self.acknowledged, reached) > 0;
        self.is_started.then_some(if is_behind { self.acknowledged } else { reached })
    }

    /// Whether it holds segments behind a hole.
    pub(super) fn is_waiting(&self) -> bool {
        self.first_later().is_some()
    }

    /// Whether a segment of this sequence number would be the next in order.
    pub(super) fn is_next(&self, sequence: u32) -> bool {
        self.is_started && sequence == self.next
    }

    /// Whether the other side has acknowledged every byte seen.
    pub(super) fn is_all_acknowledged(&self) -> bool {
        self.is_started && self.is_acknowledged && signed(self.acknowledged, self.next) >= 0
    }

    /// Lets the stream begin earlier, with a segment that was overtaken by what was taken for the
    /// first. Possible while the reader has used nothing; says whether it was done.
    pub(super) fn rebase(&mut self, sequence: u32, pool: &mut Pool) -> bool {
        let front_bytes = self.held.as_ref().map_or(0, |held| held.front.len());
        let start = self.next.wrapping_sub(front_bytes as u32);
        let earlier = start.wrapping_sub(sequence);
        if !self.is_started || !self.is_untouched || !(1..=REBASE_BYTES_MAX).contains(&earlier) {
            return false;
        }
        if let Some(held) = &mut self.held {
            held.front_to_later(start, pool);
        }
        self.next = sequence;
        true
    }

    /// Forgets the bytes that were offered and not used; returns how many they were.
    pub(super) fn drop_front(&mut self, pool: &mut Pool) -> usize {
        let dropped = self.take_front(pool).len();
        self.is_untouched = false;
        self.tidy(pool);
        dropped
    }

    /// Takes out the bytes that were offered and not used, so that they can be read out of turn.
    pub(super) fn take_front(&mut self, pool: &mut Pool) -> Vec<u8> {
        let Some(held) = &mut self.held else { return Vec::new() };
        pool.release(held.front.len());
        std::mem::take(&mut held.front)
    }

    /// Puts back what [`Stream::take_front`] took, from `used` on, as after an offer.
    pub(super) fn put_front(&mut self, mut front: Vec<u8>, used: usize, pool: &mut Pool) {
        if used > 0 {
            self.is_untouched = false;
        }
        if front.is_empty() && used == 0 {
            return self.tidy(pool);
        }
        if used >= front.len() {
            self.skip = (used - front.len()) as u64;
            front.clear();
        } else {
            front.drain(..used);
        }
        pool.charge(front.len());
        if !front.is_empty() || self.held.is_some() {
            self.held.get_or_insert_with(|| pool.lend()).front = front;
        }
        self.tidy(pool);
    }

    fn first_later(&self) -> Option<u32> {
        self.held.as_ref()?.first_later()
    }

    fn start(&mut self, sequence: u32) {
        self.is_started = true;
        self.is_untouched = true;
        self.next = sequence;
        // The other side has told what it expects next: what lies between was overtaken or lost.
        if self.is_acknowledged && (1..=HINT_BYTES_MAX).contains(&sequence.wrapping_sub(self.acknowledged)) {
            self.next = self.acknowledged;
        }
    }

    fn segment_out_of_line<R: Reader>(
        &mut self,
        sequence: u32,
        bytes: &[u8],
        pool: &mut Pool,
        reader: &mut R,
    ) -> Outcome {
        let ahead = i64::from(signed(sequence, self.next));
        let skip = self.skip.min(i64::MAX as u64) as i64;
        if ahead.saturating_sub(skip) > DISTANCE_BYTES_MAX || ahead < -DISTANCE_BYTES_MAX {
            return self.stray(sequence, bytes, pool, reader);
        }
        self.strays = 0;
        if ahead > skip {
            let held = self.held.get_or_insert_with(|| pool.lend());
            let conflicts = held.insert(self.next, sequence, bytes, self.policy, pool);
            reader.counters().overlap_conflict_bytes += conflicts;
            // It may have been acknowledged already, where captures put the answer first.
            if self.is_acknowledged && signed(self.acknowledged, sequence) >= 0 {
                self.acknowledge(self.acknowledged, pool, reader)?;
            }
        } else {
            let bytes = self.keep_overlap(sequence, bytes, pool, reader);
            self.take(sequence, bytes, pool, reader)?;
            self.pull(pool, reader)?;
        }
        self.enforce(pool, reader)
    }

    /// Of a segment that reaches over a run held behind the hole that it fills, holds what lies beyond
    /// the run's beginning where the run's bytes are to stay; returns what lies before it.
    fn keep_overlap<'b, R: Reader>(
        &mut self,
        sequence: u32,
        bytes: &'b [u8],
        pool: &mut Pool,
        reader: &mut R,
    ) -> &'b [u8] {
        let Some(held) = &mut self.held else { return bytes };
        let Some(first) = held.first_later() else { return bytes };
        let before = usize::try_from(signed(first, sequence)).unwrap_or(0);
        let Some((before, beyond)) = bytes.split_at_checked(before) else { return bytes };
        if beyond.is_empty() {
            return before;
        }
        // Spans from the segment's beginning.
        let run_end = (before.len() + held.first_later_bytes().len()) as u64;
        if self.policy.favours_new((0, bytes.len() as u64), (before.len() as u64, run_end)) {
            reader.counters().overlap_conflict_bytes += differences(held.first_later_bytes(), beyond);
            return bytes;
        }
        {
            reader.counters().overlap_conflict_bytes +=
                held.insert(self.next, first, beyond, self.policy, pool);
        }
        before
    }

    /// An out-of-range segment: ignored, unless it is the last of a run that says the stream is there.
    fn stray<R: Reader>(&mut self, sequence: u32, bytes: &[u8], pool: &mut Pool, reader: &mut R) -> Outcome {
        self.strays = if self.strays > 0 && sequence == self.stray { self.strays + 1 } else { 1 };
        self.stray = sequence.wrapping_add(bytes.len() as u32);
        if self.strays < RESYNC_SEGMENTS {
            return ControlFlow::Continue(());
        }
        self.strays = 0;
        self.release(pool);
        self.skip = 0;
        self.is_untouched = false;
        let missing = u64::try_from(signed(sequence, self.next)).unwrap_or(0);
        self.next = sequence;
        count_gap(reader.counters(), missing);
        self.after_gap(reader.gap(missing))?;
        self.take(sequence, bytes, pool, reader)?;
        self.enforce(pool, reader)
    }

    /// Takes a segment that begins at or before the end of what is in order or skipped.
    fn take<R: Reader>(&mut self, sequence: u32, bytes: &[u8], pool: &mut Pool, reader: &mut R) -> Outcome {
        let ahead = i64::from(signed(sequence, self.next));
        let end = ahead + bytes.len() as i64;
        if ahead < 0
            && let Some(held) = &self.held
        {
            reader.counters().overlap_conflict_bytes += conflicts_with_front(&held.front, ahead, bytes);
        }
        if end <= 0 {
            return ControlFlow::Continue(());
        }
        let skipped = self.skip.min(end as u64);
        self.next = self.next.wrapping_add(skipped as u32);
        self.skip -= skipped;
        let fresh = bytes.get((skipped as i64 - ahead) as usize..).unwrap_or_default();
        if fresh.is_empty() {
            let is_skip_over = skipped > 0 && self.skip == 0;
            return if is_skip_over { self.offer(&[], pool, reader) } else { ControlFlow::Continue(()) };
        }
        self.next = self.next.wrapping_add(fresh.len() as u32);
        self.offer(fresh, pool, reader)
    }

    /// Takes the held segments that are no longer behind a hole.
    fn pull<R: Reader>(&mut self, pool: &mut Pool, reader: &mut R) -> Outcome {
        while let Some(first) = self.first_later() {
            let ahead = i64::from(signed(first, self.next));
            if ahead > 0 && ahead as u64 > self.skip {
                break;
            }
            let Some(segment) = self.held.as_mut().and_then(|held| held.pop_later(pool)) else { break };
            self.take(segment.sequence, &segment.bytes, pool, reader)?;
        }
        self.tidy(pool);
        ControlFlow::Continue(())
    }

    /// Offers bytes that follow what was offered before. `next` is already behind them.
    #[inline]
    fn offer<R: Reader>(&mut self, fresh: &[u8], pool: &mut Pool, reader: &mut R) -> Outcome {
        if let Some(held) = &mut self.held
            && !held.front.is_empty()
        {
            let mut front = std::mem::take(&mut held.front);
            pool.release(front.len());
            front.extend_from_slice(fresh);
            return match reader.bytes(&front) {
                Take::Stop => ControlFlow::Break(()),
                Take::Used(used) => {
                    self.put_front(front, used, pool);
                    ControlFlow::Continue(())
                }
            };
        }
        match reader.bytes(fresh) {
            Take::Stop => return ControlFlow::Break(()),
            Take::Used(used) if used >= fresh.len() => {
                self.is_untouched = false;
                self.skip = (used - fresh.len()) as u64;
            }
            Take::Used(used) => {
                if used > 0 {
                    self.is_untouched = false;
                }
                let rest = fresh.get(used..).unwrap_or_default();
                pool.charge(rest.len());
                self.held.get_or_insert_with(|| pool.lend()).front.extend_from_slice(rest);
            }
        }
        ControlFlow::Continue(())
    }

    /// Gives up the first hole and goes on behind it.
    fn give_up<R: Reader>(&mut self, pool: &mut Pool, reader: &mut R) -> Outcome {
        let Some(first) = self.first_later() else { return ControlFlow::Continue(()) };
        // A skip ends inside the hole. The reader may skip on from there, and over the hole.
        while self.skip > 0 {
            if i64::from(signed(first, self.next)) <= self.skip.min(i64::MAX as u64) as i64 {
                return self.pull(pool, reader);
            }
            self.next = self.next.wrapping_add(self.skip as u32);
            self.skip = 0;
            self.offer(&[], pool, reader)?;
        }
        let missing = u64::from(first.wrapping_sub(self.next));
        let unused = self.take_front(pool).len() as u64;
        self.next = first;
        self.is_untouched = false;
        count_gap(reader.counters(), missing);
        self.after_gap(reader.gap(unused + missing))?;
        self.pull(pool, reader)
    }

    fn after_gap(&mut self, take: Take) -> Outcome {
        match take {
            Take::Stop => ControlFlow::Break(()),
            Take::Used(skip) => {
                self.skip = skip as u64;
                ControlFlow::Continue(())
            }
        }
    }

    /// Brings what is held under the limits: holes are given up first, then what the reader left.
    fn enforce<R: Reader>(&mut self, pool: &mut Pool, reader: &mut R) -> Outcome {
        while let Some(held) = &self.held {
            if held.bytes() <= pool.stream_bytes_max && !pool.is_over() {
                break;
            }
            if pool.is_over() {
                reader.counters().memory_gaps += 1;
            }
            if held.first_later().is_some() {
                self.give_up(pool, reader)?;
                continue;
            }
            let unused = self.drop_front(pool) as u64;
            count_gap(reader.counters(), 0);
            self.after_gap(reader.gap(unused))?;
            break;
        }
        ControlFlow::Continue(())
    }

    /// Gives back the holder that holds nothing.
    fn tidy(&mut self, pool: &mut Pool) {
        if self.held.as_ref().is_some_and(|held| held.is_empty()) {
            self.release(pool);
        }
    }
}

/// How far `a` lies after `b` in the circle of sequence numbers; negative: before (RFC 9293 section 3.4).
fn signed(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

fn count_gap(counters: &mut DpiCounters, missing: u64) {
    counters.gaps += 1;
    counters.gap_bytes += missing;
}

/// How many bytes of a segment that begins `-ahead` bytes before the end of `front` differ from it.
fn conflicts_with_front(front: &[u8], ahead: i64, bytes: &[u8]) -> u64 {
    let behind = ahead.unsigned_abs() as usize;
    match front.len().checked_sub(behind) {
        Some(from) => differences(front.get(from..).unwrap_or_default(), bytes),
        None => differences(front, bytes.get(behind - front.len()..).unwrap_or_default()),
    }
}
