//! What streams hold back: bytes offered but not used yet, and segments that came before their turn.
//!
//! One [`Pool`] per worker owns the accounting and the spare buffers, so that all streams of a worker
//! together stay under one limit. Knows no sequence number policy; that is the stream's.

use super::super::overlap::OverlapPolicy;
use std::collections::VecDeque;

/// What one out-of-order segment is charged besides its bytes: the bookkeeping of its own allocation
/// and its place in the queue. It bounds the number of segments, not only their bytes.
pub(super) const SEGMENT_OVERHEAD_BYTES: usize = 256;
/// Most spare holders kept for reuse; more are given back to the allocator.
const SPARE_MAX: usize = 64;
/// Most bytes of buffer kept in a spare holder.
const SPARE_BUFFER_BYTES_MAX: usize = 16 << 10;

/// A worker's stream memory: how much is held, how much may be, and buffers to reuse.
#[derive(Debug)]
pub(in crate::dpi) struct Pool {
    /// Most bytes one direction of a flow may hold.
    pub(super) stream_bytes_max: usize,
    /// Most bytes all of them may hold.
    total_bytes_max: u64,
    total_bytes: u64,
    #[expect(clippy::vec_box, reason = "what is reused is the allocation that streams point at")]
    spare: Vec<Box<Held>>,
}

impl Pool {
    pub(in crate::dpi) fn new(stream_bytes_max: usize, total_bytes_max: u64) -> Pool {
        Pool { stream_bytes_max, total_bytes_max, total_bytes: 0, spare: Vec::new() }
    }

    /// Bytes held by all streams now.
    pub(in crate::dpi) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Whether the worker's streams hold more than they may.
    pub(super) fn is_over(&self) -> bool {
        self.total_bytes > self.total_bytes_max
    }

    pub(super) fn charge(&mut self, bytes: usize) {
        self.total_bytes = self.total_bytes.saturating_add(bytes as u64);
    }

    pub(super) fn release(&mut self, bytes: usize) {
        self.total_bytes = self.total_bytes.saturating_sub(bytes as u64);
    }

    pub(super) fn lend(&mut self) -> Box<Held> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a holder back, with whatever it still holds.
    pub(super) fn give_back(&mut self, mut held: Box<Held>) {
        self.release(held.bytes());
        if self.spare.len() < SPARE_MAX && held.front.capacity() <= SPARE_BUFFER_BYTES_MAX {
            held.front.clear();
            held.later.clear();
            held.later.shrink_to(16);
            held.later_bytes = 0;
            self.spare.push(held);
        }
    }
}

/// What one direction of a flow holds back.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Bytes in order that were offered and not used, ending where the stream goes on.
    pub(super) front: Vec<u8>,
    /// Segments beyond a hole: in order, not overlapping, at most one per run of bytes that came in order.
    later: VecDeque<Segment>,
    /// What `later` is charged with.
    later_bytes: usize,
}

/// A run of bytes beyond a hole.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) sequence: u32,
    pub(super) bytes: Vec<u8>,
}

impl Held {
    /// What is charged for all of it.
    pub(super) fn bytes(&self) -> usize {
        self.front.len() + self.later_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.front.is_empty() && self.later.is_empty()
    }

    /// Where the first run beyond the hole begins.
    pub(super) fn first_later(&self) -> Option<u32> {
        self.later.front().map(|segment| segment.sequence)
    }

    /// The bytes of that run.
    pub(super) fn first_later_bytes(&self) -> &[u8] {
        self.later.front().map_or(&[], |segment| &segment.bytes)
    }

    pub(super) fn pop_later(&mut self, pool: &mut Pool) -> Option<Segment> {
        let segment = self.later.pop_front()?;
        let charged = segment.bytes.len() + SEGMENT_OVERHEAD_BYTES;
        self.later_bytes = self.later_bytes.saturating_sub(charged);
        pool.release(charged);
        Some(segment)
    }

    /// Keeps what of a segment is not there yet; of bytes that came twice those that the policy favours. Returns
    /// how many bytes of the overlap are different. `next` is where the stream goes on; every sequence
    /// number here lies less than half the number space after it.
    pub(super) fn insert(
        &mut self,
        next: u32,
        sequence: u32,
        bytes: &[u8],
        policy: OverlapPolicy,
        pool: &mut Pool,
    ) -> u64 {
        let offset = |sequence: u32| u64::from(sequence.wrapping_sub(next));
        let span = |segment: &Segment| {
            let start = offset(segment.sequence);
            (start, start + segment.bytes.len() as u64)
        };
        let start = offset(sequence);
        let end = start + bytes.len() as u64;
        let slice = |from: u64, to: u64| {
            bytes.get((from - start) as usize..(to - start) as usize).unwrap_or_default()
        };
        let mut conflicts = 0;
        let mut at = start;
        let mut index = self.later.partition_point(|segment| span(segment).1 <= start);
        while at < end {
            let here = self.later.get(index).map(span);
            if let Some((from, to)) = here
                && from <= at
            {
                let upto = to.min(end);
                let have = self.later.get_mut(index).map_or(&mut [][..], |segment| &mut segment.bytes);
                let have = have.get_mut((at - from) as usize..(upto - from) as usize).unwrap_or_default();
                let different = differences(have, slice(at, upto));
                conflicts += different;
                if different > 0 && policy.favours_new((start, end), (from, to)) {
                    have.copy_from_slice(slice(at, upto));
                }
                at = upto;
                index += 1;
                continue;
            }
            let upto = here.map_or(end, |(from, _)| from.min(end));
            let fresh = slice(at, upto);
            pool.charge(fresh.len());
            self.later_bytes += fresh.len();
            let before = index.checked_sub(1).and_then(|before| self.later.get_mut(before));
            match before {
                Some(before) if span(before).1 == at => before.bytes.extend_from_slice(fresh),
                _ => {
                    pool.charge(SEGMENT_OVERHEAD_BYTES);
                    self.later_bytes += SEGMENT_OVERHEAD_BYTES;
                    let sequence = next.wrapping_add(at as u32);
                    self.later.insert(index, Segment { sequence, bytes: fresh.to_vec() });
                    index += 1;
                }
            }
            at = upto;
        }
        conflicts
    }

    /// Turns the bytes not used yet into a run beyond a hole, which begins at `sequence`.
    pub(super) fn front_to_later(&mut self, sequence: u32, pool: &mut Pool) {
        if self.front.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.front);
        pool.charge(SEGMENT_OVERHEAD_BYTES);
        self.later_bytes += bytes.len() + SEGMENT_OVERHEAD_BYTES;
        self.later.push_front(Segment { sequence, bytes });
    }
}

/// How many bytes at the same place differ.
pub(super) fn differences(one: &[u8], other: &[u8]) -> u64 {
    one.iter().zip(other).filter(|(a, b)| a != b).count() as u64
}
