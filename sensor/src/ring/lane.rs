//! A worker's lane into the ring.
//!
//! In: the worker's frames and what it knows to be lost. Out: full blocks to a ring thread, through a
//! bounded queue. Costs about a copy per frame; allocates only while the lane's blocks are first made.
//! At the limit a live lane leaves frames out and counts them, while a replay waits. Never touches a file.

use super::block::Block;
use super::clock::CLOCK_STEP_MIN;
use super::entry::LeftOut;
use super::failed::Failed;
use super::gaps::{ClockStep, LossKind, RecordKind};
use super::horizon::Pace;
use super::places::Places;
use super::writer::Shared;
use super::{QUEUE_SPARE, RingMode};
use crate::capture::Frame;
use crate::counters::RingCounters;
use crossbeam::channel::{Receiver, Sender};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use weir_common::evidence::{BlockRange, Evidence};
use weir_common::time::Timestamp;

/// How often a lane tells what was lost, and one without frames that it is alive.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Blocks of which the lane remembers when they began; 64 KiB. What is asked of times before that is answered with
/// the run's first block.
pub(super) const BLOCK_STARTS_MAX: usize = 4096;

/// What a lane hands to its ring thread.
#[derive(Debug)]
pub(super) enum Work {
    /// Frames to write.
    Block(Box<Block>),
    /// Something for the ledger: frames that never reached the ring, or a step of the clock.
    Note(u16, RecordKind, Loss),
    /// Everything up to this time has been handed over.
    Alive(u16, Timestamp),
    /// The lane takes no more.
    End(u16, Timestamp),
}

/// What is written down of an interval, in the terms of [`super::gaps::GapRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Loss {
    /// Adds to what was lost before.
    #[inline]
    pub(super) fn add(slot: &mut Option<Loss>, more: Loss) {
        *slot = Some(slot.map_or(more, |held| Loss {
            frames: held.frames + more.frames,
            bytes: held.bytes + more.bytes,
            from: held.from.min(more.from),
            to: held.to.max(more.to),
        }));
    }
}

/// One worker's way into the ring. Closes when it is dropped.
#[derive(Debug)]
pub struct Lane {
    pub(super) index: u16,
    pub(super) shared: Arc<Shared>,
    pub(super) to_thread: Sender<Work>,
    pub(super) recycled: Receiver<Box<Block>>,
    /// Blocks that came back, the last one on top: its memory is the likeliest to be in a cache.
    #[expect(clippy::vec_box, reason = "blocks travel boxed; unboxed here, each would be allocated again")]
    pub(super) spare: Vec<Box<Block>>,
    pub(super) blocks_left: u16,
    pub(super) flush: Duration,
    pub(super) block: Option<Box<Block>>,
    pub(super) losses: [Option<Loss>; LossKind::ALL.len()],
    /// Steps of the clock that are not handed over yet, by direction.
    pub(super) steps: [Option<Loss>; ClockStep::ALL.len()],
    /// Where the clock was last; [`Timestamp::MIN`]: nothing is known of it.
    pub(super) clock: Timestamp,
    pub(super) now: Timestamp,
    pub(super) alive: Timestamp,
    /// Number of the block being filled, or of the one that comes next.
    pub(super) number: u64,
    /// Latest time of a frame in the blocks before.
    pub(super) latest: Timestamp,
    /// By how much frames came later than others of their time, at most.
    pub(super) lateness: Duration,
    /// The last blocks that began, each with `latest` as it was then.
    pub(super) starts: VecDeque<(Timestamp, u64)>,
    pub(super) pace: Pace,
    pub(super) failed: Failed,
}

impl Lane {
    /// Keeps a frame and says in which of the lane's blocks; none: it was left out, and counted.
    ///
    /// `flow_tag` is its flow's [`weir_common::net::CommunityId::tag`]; none for a fragment whose flow is not known
    /// yet, and [`super::summary::NO_FLOW`] for what is in none, which is kept and found all the same. `left_out`
    /// is the receipt for bytes that the caller cut off `frame.data` on purpose.
    #[inline]
    pub fn append(
        &mut self,
        frame: &Frame<'_>,
        flow_tag: Option<u64>,
        left_out: Option<LeftOut>,
        counters: &mut RingCounters,
    ) -> Option<u64> {
        self.follow_clock(frame.time);
        if let Some(block) = &mut self.block
            && block.has_room(frame.data.len())
        {
            block.push(frame, flow_tag, left_out);
            count(frame, left_out, counters);
            return Some(block.number);
        }
        self.append_to_next(frame, flow_tag, left_out, counters)
    }

    /// The frame that was kept last is a fragment whose flow is not known yet; where that never shows, it is of this one.
    pub fn may_be_of(&mut self, flow_tag: u64) {
        if let Some(block) = &mut self.block {
            block.also_of(flow_tag);
        }
    }

    /// What a record says of its packets, which began at `start` and whose frames are in `places`. Blocks that are
    /// known not to have been written are not named. How many frames of a flow were in them is not known, so that
    /// `frames_kept` is a little too high where others of its blocks were written; the ledger has what was lost.
    pub fn evidence(&self, places: &Places, start: Timestamp, packets: u64) -> Evidence {
        let known = packets.saturating_sub(places.unplaced());
        // An estimate: whole seconds are more than it is worth.
        let expires = self.pace.keeps.map(|keeps| Timestamp::from_parts(start.plus(keeps).seconds(), 0));
        let extents = places.extents(self.shared.run, self.index, self.number);
        let (kept, missed) = (known.saturating_sub(places.missed()), places.missed());
        match self.failed.without(&extents) {
            // Nothing of it is on disk.
            Some(extents) if extents.is_empty() => {
                let (frames_kept, frames_missed) = (0, missed.saturating_add(kept));
                Evidence { extents, frames_kept, frames_missed, expires }
            }
            left => {
                let extents = left.unwrap_or(extents);
                Evidence { extents, frames_kept: kept, frames_missed: missed, expires }
            }
        }
    }

    /// The blocks in which frames between two times can be, whatever the order in which frames came.
    #[cold]
    pub fn blocks_between(&self, from: Timestamp, to: Timestamp) -> BlockRange {
        // Frames from `from` on are not before the last block that began with only earlier ones behind it. Frames up
        // to `to` are not in a block that began behind frames later than that by more than any frame ever came late.
        let open = self.block.as_ref().map_or(Duration::ZERO, |block| self.lateness_in(block));
        let to = to.plus(self.lateness.max(open));
        let number = |later: usize| later.checked_sub(1).and_then(|at| self.starts.get(at));
        let first = number(self.starts.partition_point(|(latest, _)| *latest < from));
        let last = number(self.starts.partition_point(|(latest, _)| *latest <= to));
        let first = first.map_or(0, |(_, number)| *number);
        BlockRange { first, last: last.map_or(self.number, |(_, number)| *number).max(first) }
    }

    /// By how much a frame of a block may be earlier than one that came before it, at most.
    fn lateness_in(&self, block: &Block) -> Duration {
        let within = if block.unordered { block.last_time.since(block.first_time) } else { Duration::ZERO };
        within.max(self.latest.since(block.first_time))
    }

    /// Number of the block being filled, or of the one that comes next: no frame is in a later one.
    pub fn newest(&self) -> u64 {
        self.number
    }

    /// Time passes: a block that has waited for long is handed over though it is not full.
    ///
    /// Called once per batch and whenever a batch is empty; `now` is the clock of the frames, wherever it
    /// was set.
    pub fn tick(&mut self, now: Timestamp) {
        self.follow_clock(now);
        let waits_for_long = |block: &Block| distance(now, block.first_time) >= self.flush;
        if self.block.as_ref().is_some_and(|block| !block.is_empty() && waits_for_long(block)) {
            self.hand_over();
        }
        self.tell_losses();
        let empty = self.block.as_ref().is_none_or(|block| block.is_empty());
        if empty && distance(now, self.alive) >= TELL_INTERVAL && has_room_for_small(&self.to_thread) {
            let _ = self.to_thread.send(Work::Alive(self.index, now.min(self.told_until())));
            self.alive = now;
        }
    }

    /// Notes frames that never came this far: drops of the kernel or the interface between two times.
    pub fn note_loss(&mut self, kind: LossKind, frames: u64, from: Timestamp, to: Timestamp) {
        if frames == 0 {
            return;
        }
        let Some(slot) = self.losses.get_mut(kind as usize - 1) else { return };
        Loss::add(slot, Loss { frames, bytes: 0, from, to });
    }

    /// Notes that the clock went on by far more than the time that passed: nothing has a time in between.
    pub fn note_clock_forward(&mut self, from: Timestamp, to: Timestamp) {
        self.note_step(ClockStep::Forward, from, to);
    }

    /// Hands over what is there and ends the lane's part of the run at `now`; a replay's ends with its last frame.
    pub fn close(mut self, now: Timestamp) {
        if self.shared.mode == RingMode::Live {
            self.tick(now);
        }
    }

    /// Sees where the clock is, and whether it was set back.
    #[inline]
    fn follow_clock(&mut self, now: Timestamp) {
        if now.0.saturating_add(CLOCK_STEP_MIN.as_nanos() as u64) < self.clock.0 {
            self.note_step(ClockStep::Back, now, self.clock);
        }
        (self.now, self.clock) = (now, now);
    }

    #[cold]
    fn note_step(&mut self, step: ClockStep, from: Timestamp, to: Timestamp) {
        let Some(slot) = self.steps.get_mut(step as usize) else { return };
        let size = to.0.saturating_sub(from.0);
        // Steps that follow closely are one record with the largest of them.
        let more = size.saturating_sub(slot.map_or(0, |held| held.bytes));
        Loss::add(slot, Loss { frames: 1, bytes: more, from, to });
    }

    #[cold]
    fn append_to_next(
        &mut self,
        frame: &Frame<'_>,
        flow_tag: Option<u64>,
        left_out: Option<LeftOut>,
        counters: &mut RingCounters,
    ) -> Option<u64> {
        let kind = if frame.data.len() > self.shared.sizes.block_bytes {
            Some(LossKind::TooLarge)
        } else {
            self.hand_over();
            self.block = self.next_block();
            self.begin_block();
            self.block.is_none().then_some(LossKind::Queue)
        };
        match (kind, &mut self.block) {
            (None, Some(block)) => {
                block.number = self.number;
                block.push(frame, flow_tag, left_out);
                count(frame, left_out, counters);
                Some(block.number)
            }
            (kind, _) => {
                counters.frames_dropped += 1;
                self.note_loss(kind.unwrap_or(LossKind::Queue), 1, frame.time, frame.time);
                None
            }
        }
    }

    /// The queue holds every block of the lane, so handing over never waits; it fails when the thread is gone.
    fn hand_over(&mut self) {
        let Some(mut block) = self.block.take_if(|block| !block.is_empty()) else { return };
        block.told_until = self.told_until();
        // Before the block, so that what it moves is understood.
        self.tell_steps();
        self.number += 1;
        self.lateness = self.lateness.max(self.lateness_in(&block));
        self.latest = self.latest.max(block.last_time);
        if let Err(error) = self.to_thread.send(Work::Block(block))
            && let Work::Block(block) = error.into_inner()
        {
            self.shared.counts.frames_failed.fetch_add(block.frames.into(), Ordering::Relaxed);
            self.blocks_left = 0;
        }
    }

    fn next_block(&mut self) -> Option<Box<Block>> {
        if let Some(block) = self.block.take() {
            return Some(block);
        }
        while let Ok(block) = self.recycled.try_recv() {
            let block = self.taken_back(block);
            self.spare.push(block);
        }
        if let Some(block) = self.spare.pop() {
            return Some(block);
        }
        if self.blocks_left > 0 {
            self.blocks_left -= 1;
            return Some(Box::new(Block::new(self.index, self.shared.sizes.block_bytes)));
        }
        match self.shared.mode {
            RingMode::Live => None,
            RingMode::Replay => self.recycled.recv().ok().map(|block| self.taken_back(block)),
        }
    }

    fn taken_back(&mut self, mut block: Box<Block>) -> Box<Block> {
        let written = block.written.take();
        if let Some(lost) = written.filter(|written| written.bytes == 0) {
            self.failed.add(lost.number);
        }
        self.pace.note(written);
        block
    }

    /// Notes that the block of this number begins, unless there is none to be had.
    fn begin_block(&mut self) {
        if self.block.is_none() || self.starts.back().is_some_and(|(_, number)| *number == self.number) {
            return;
        }
        if self.starts.len() >= BLOCK_STARTS_MAX {
            self.starts.pop_front();
        }
        self.starts.push_back((self.latest, self.number));
        self.pace.begin(self.number, self.index, &self.shared.horizon);
    }

    /// Before which time nothing was lost that is not handed over yet: up to here the ring may claim to be whole.
    fn told_until(&self) -> Timestamp {
        self.losses.iter().flatten().map(|loss| loss.from).min().unwrap_or(Timestamp::MAX)
    }

    /// Hands losses over once a second at most, so that a second of overload is one message; until the queue
    /// has room they wait in the lane, with what else is lost meanwhile.
    fn tell_losses(&mut self) {
        self.tell_steps();
        for (slot, kind) in self.losses.iter_mut().zip(LossKind::ALL) {
            let due = slot.is_some_and(|loss| distance(self.now, loss.from) >= TELL_INTERVAL);
            if due
                && has_room_for_small(&self.to_thread)
                && let Some(loss) = slot.take()
            {
                // A thread that is gone takes its part of the ledger with it.
                let _ = self.to_thread.send(Work::Note(self.index, RecordKind::Loss(kind), loss));
            }
        }
    }

    /// Steps of the clock are handed over as soon as there is room.
    fn tell_steps(&mut self) {
        for (slot, step) in self.steps.iter_mut().zip(ClockStep::ALL) {
            if slot.is_some()
                && has_room_for_small(&self.to_thread)
                && let Some(noted) = slot.take()
            {
                let _ = self.to_thread.send(Work::Note(self.index, RecordKind::ClockStep(step), noted));
            }
        }
    }
}

#[inline]
fn count(frame: &Frame<'_>, left_out: Option<LeftOut>, counters: &mut RingCounters) {
    counters.frames += 1;
    counters.bytes += frame.data.len() as u64;
    if let Some(left_out) = left_out {
        counters.frames_cut_off += 1;
        counters.bytes_left_out += u64::from(left_out.bytes);
    }
}

/// How far two times are apart: a clock that was set back must not make anything wait.
fn distance(a: Timestamp, b: Timestamp) -> Duration {
    Duration::from_nanos(a.0.abs_diff(b.0))
}

/// Small messages leave the places of the blocks free, so that handing over a block never waits.
fn has_room_for_small(to_thread: &Sender<Work>) -> bool {
    to_thread.len() < QUEUE_SPARE / 2
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.hand_over();
        // Waits when the queue is full: the thread is working on it, or gone, which is no wait.
        let losses = self.losses.iter_mut().zip(LossKind::ALL.map(RecordKind::Loss));
        let steps = self.steps.iter_mut().zip(ClockStep::ALL.map(RecordKind::ClockStep));
        for (slot, kind) in losses.chain(steps) {
            if let Some(loss) = slot.take() {
                let _ = self.to_thread.send(Work::Note(self.index, kind, loss));
            }
        }
        let _ = self.to_thread.send(Work::End(self.index, self.now));
    }
}

#[cfg(test)]
mod tests {
    use crate::capture::{Frame, LinkType};
    use crate::counters::RingCounters;
    use crate::ring::config::RingConfig;
    use crate::ring::{Ring, RingMode};
    use proptest::prelude::*;
    use weir_common::time::Timestamp;

    fn ring(directory: &std::path::Path) -> Ring {
        let directory = directory.display().to_string();
        let config =
            RingConfig { directory, budget_mib: 64, segment_mib: 2, block_kib: 256, ..RingConfig::default() };
        Ring::open(&config, 1, RingMode::Replay, Timestamp(0)).unwrap()
    }

    /// Appends frames of these times, four to a block; gives the number of each one's block.
    fn append(lane: &mut super::Lane, times: &[u64]) -> Vec<u64> {
        let data = vec![0; 60_000];
        let mut counters = RingCounters::default();
        let mut frame = |time: &u64| {
            let (time, link) = (Timestamp(*time), LinkType::ETHERNET);
            let frame = Frame { time, link, interface: 0, wire_len: 60_000, data: &data };
            lane.append(&frame, None, None, &mut counters).unwrap()
        };
        times.iter().map(&mut frame).collect()
    }

    #[test]
    fn times_lead_to_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let mut ring = ring(directory.path());
        let mut lane = ring.lane(0).unwrap();
        let times: Vec<u64> = (0..20).map(|n| n * 10).collect();
        assert_eq!(append(&mut lane, &times), (0..20).map(|n| n / 4).collect::<Vec<_>>());
        let between = |from: u64, to: u64| {
            let range = lane.blocks_between(Timestamp(from), Timestamp(to));
            (range.first, range.last)
        };
        assert_eq!(between(0, 0), (0, 0));
        assert_eq!(between(50, 60), (1, 1));
        // Time 70 ended block 1, so that a frame of the same time may have begun block 2.
        assert_eq!(between(70, 70), (1, 2));
        assert_eq!(between(71, 109), (2, 2));
        assert_eq!(between(0, 1000), (0, 4));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn no_frame_is_outside_of_the_blocks_of_its_time(
            steps in prop::collection::vec(-30i64..40, 1..60),
            before in 0u64..50,
            after in 0u64..50,
        ) {
            let mut time = 10_000i64;
            let times: Vec<u64> = steps.iter().map(|step| { time += step; time as u64 }).collect();
            let directory = tempfile::tempdir().unwrap();
            let mut ring = ring(directory.path());
            let mut lane = ring.lane(0).unwrap();
            let numbers = append(&mut lane, &times);
            for (time, number) in times.iter().zip(&numbers) {
                let range = lane.blocks_between(Timestamp(time - before), Timestamp(time + after));
                prop_assert!((range.first..=range.last).contains(number), "{time}: {number} {range:?}");
            }
        }
    }
}
