//! The ring thread: compresses blocks into segments and keeps index, retention and ledger in step.
//!
//! In: [`Work`] of the lanes that belong to this thread. Out: sealed blocks, in the lane's order, because a
//! lane has one thread. A disk that is full or fails stops the writing, not the thread: it says so once,
//! counts what is lost, tries again when a second of the frames' time has passed, and says so once when it
//! works again.

use super::block::Block;
use super::cipher::{Cipher, Purpose, RingKey, new_salt};
use super::custody::SegmentDigest;
use super::encode::{Encoder, SegmentSeal, bound};
use super::format::{SegmentHeader, SegmentName};
use super::gaps::{Alive, GapRecord, Ledger, LossKind, RecordKind};
use super::horizon::{Horizon, Written};
use super::index::Totals;
use super::index::journal::IndexWriter;
use super::index::sealed::BLOCKS_MAX;
use super::lane::{Loss, Work};
use super::retention::{Limits, Retention, is_full};
use super::segment::Segment;
use super::summary::Summarizer;
use super::sync::Syncing;
use super::upkeep::{FULL_DISK_TRIES_MAX, FULL_DISK_WAIT, Upkept};
use super::{RingMode, Sizes};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use weir_common::time::Timestamp;

/// How long a thread waits for work before it looks whether the ring closes.
const WORK_WAIT: Duration = Duration::from_millis(100);
/// A disk that failed is tried again after this much of the frames' time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all threads of a ring share; locked once per segment and per gap, never per block.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) mode: RingMode,
    pub(super) sizes: Sizes,
    /// Present when the ring is encrypted.
    pub(super) key: Option<RingKey>,
    pub(super) syncing: Option<Syncing>,
    pub(super) run: u32,
    pub(super) opened: Timestamp,
    pub(super) closing: AtomicBool,
    /// The ledger knows of the run; changed while the books are held.
    pub(super) begun: AtomicBool,
    /// Counts how often the limits were changed, so that every thread looks after its own segments.
    pub(super) limits_set: AtomicU64,
    pub(super) books: Mutex<Books>,
    pub(super) counts: Counts,
    pub(super) horizon: Horizon,
}

/// The account of space, with the chain of custody, and the ledger of gaps.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) retention: Retention,
    pub(super) ledger: Ledger,
}

/// What the ring did so far; read by `status` and the summary.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) blocks: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) raw_bytes: AtomicU64,
    pub(super) stored_bytes: AtomicU64,
    pub(super) index_bytes: AtomicU64,
    pub(super) frames_cut_off: AtomicU64,
    pub(super) left_out_bytes: AtomicU64,
    pub(super) blocks_hurried: AtomicU64,
    pub(super) frames_failed: AtomicU64,
    pub(super) segments_removed: AtomicU64,
    pub(super) segments_removed_by_age: AtomicU64,
    pub(super) segments_removed_by_disk: AtomicU64,
    pub(super) ledger_errors: AtomicU64,
    pub(super) failing: AtomicBool,
}

impl Shared {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ledger that cannot be written keeps its records in memory and is tried again with the next.
    fn note(&self, record: GapRecord) {
        let noted = self.books().ledger.note(record);
        self.count_ledger(noted);
    }

    /// Notes once that the run began, for all of its lanes: while one of them has said nothing yet, no other may
    /// speak for the run. A live run begins when the ring is opened, a replay's with its first frame.
    /// False: that was noted before.
    pub(super) fn begin_run(&self, time: Timestamp) -> bool {
        if self.begun.load(Ordering::Relaxed) {
            return false;
        }
        let mut books = self.books();
        if self.begun.swap(true, Ordering::Relaxed) {
            return false;
        }
        for lane in 0..self.sizes.lanes {
            let noted = books.ledger.note(GapRecord::instant(RecordKind::RunStart, lane, self.run, time));
            self.count_ledger(noted);
        }
        true
    }

    pub(super) fn count_ledger(&self, result: io::Result<()>) {
        if result.is_err() {
            self.counts.ledger_errors.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One lane as its ring thread sees it.
pub(super) struct LaneEnd {
    pub(super) index: u16,
    pub(super) recycle: Sender<Box<Block>>,
    pub(super) segment: Option<Open>,
    /// It has said when it began.
    pub(super) begun: bool,
    /// Blocks with a lower number were written, or could not be.
    pub(super) blocks: u64,
}

/// A segment being written, with its index.
pub(super) struct Open {
    pub(super) name: SegmentName,
    segment: Segment,
    seal: SegmentSeal,
    index: IndexWriter,
    index_bytes_max: u64,
    digest: SegmentDigest,
}

/// A ring thread.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    inbox: Receiver<Work>,
    pub(super) lanes: Vec<LaneEnd>,
    pub(super) upkept: Upkept,
    /// Places for blocks in the inbox.
    capacity: usize,
    encoder: Encoder,
    summarizer: Summarizer,
    summary: Vec<u8>,
    /// Since when the disk fails, in the frames' time.
    failing: Option<Timestamp>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        inbox: Receiver<Work>,
        lanes: Vec<LaneEnd>,
        capacity: usize,
    ) -> io::Result<Writer> {
        let encoder = Encoder::new(shared.sizes.level)?;
        let (summarizer, summary) = (Summarizer::default(), Vec::new());
        let upkept = Upkept::default();
        Ok(Writer { shared, inbox, lanes, upkept, capacity, encoder, summarizer, summary, failing: None })
    }

    /// Works until every lane has closed, or the ring closes and nothing waits.
    pub(super) fn run(mut self) {
        loop {
            match self.inbox.recv_timeout(WORK_WAIT) {
                Ok(work) => self.handle(work),
                Err(RecvTimeoutError::Timeout) if !self.shared.closing.load(Ordering::Acquire) => {
                    self.upkeep(None);
                }
                Err(_) => break,
            }
        }
        for at in 0..self.lanes.len() {
            self.finish_segment(at);
        }
        let flushed = self.shared.books().ledger.flush();
        self.shared.count_ledger(flushed);
    }

    fn handle(&mut self, work: Work) {
        match work {
            Work::Block(block) => {
                // Of a block's times the earliest: one frame with a wild time must not age the whole ring.
                let time = block.first_time;
                self.block(block);
                self.upkeep(Some(time));
            }
            Work::Note(lane, kind, loss) => self.note(lane, kind, loss),
            Work::Alive(lane, time) => {
                self.alive(lane, time);
                // A replay's lane says how far its frames are, wild times included.
                self.upkeep(Some(time).filter(|_| self.shared.mode == RingMode::Live));
            }
            Work::End(lane, time) => self.end(lane, time),
        }
    }

    fn block(&mut self, mut block: Box<Block>) {
        let Some(at) = self.lanes.iter().position(|lane| lane.index == block.lane) else { return };
        self.begin_run(at, block.first_time);
        let written = self.write(at, &block);
        let (number, from, until) = (block.number, block.first_time, block.last_time);
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.blocks = number.saturating_add(1);
        }
        let bytes = written.as_ref().copied().unwrap_or(0);
        block.written = Some(Written { number, from, until, bytes });
        match written {
            Ok(_) => {
                self.note_left_out(&block);
                self.alive(block.lane, block.last_time.min(block.told_until));
            }
            Err(error) => self.lose(&block, &error),
        }
        block.clear();
        if let Some(lane) = self.lanes.get(at) {
            // A lane that has closed takes no block back, and the memory is freed here.
            let _ = lane.recycle.try_send(block);
        }
    }

    /// A replay's lane may begin before the one that spoke first: the earliest begin that is noted counts.
    fn begin_run(&mut self, at: usize, first: Timestamp) {
        let is_noted = self.shared.begin_run(first);
        let Some(lane) = self.lanes.get_mut(at).filter(|lane| !lane.begun) else { return };
        lane.begun = true;
        if !is_noted && self.shared.mode == RingMode::Replay {
            let (lane, run) = (lane.index, self.shared.run);
            self.shared.note(GapRecord::instant(RecordKind::RunStart, lane, run, first));
        }
    }

    fn note(&self, lane: u16, kind: RecordKind, loss: Loss) {
        let Loss { frames, bytes, from, to } = loss;
        self.shared.note(GapRecord { kind, lane, run: self.shared.run, from, to, frames, bytes, blocks: 0 });
    }

    fn note_left_out(&self, block: &Block) {
        let Some(left_out) = block.left_out else { return };
        self.shared.counts.frames_cut_off.fetch_add(left_out.frames, Ordering::Relaxed);
        self.note(block.lane, RecordKind::CutOff, left_out);
    }

    fn alive(&mut self, lane: u16, time: Timestamp) {
        let mut blocks = 0;
        if let Some(at) = self.lanes.iter().position(|known| known.index == lane) {
            self.begin_run(at, time);
            blocks = self.blocks_of(at);
        }
        let alive = Alive { lane, run: self.shared.run, until: time, blocks };
        let told = self.shared.books().ledger.alive(alive);
        self.shared.count_ledger(told);
    }

    fn end(&mut self, lane: u16, time: Timestamp) {
        let Some(at) = self.lanes.iter().position(|known| known.index == lane) else { return };
        self.finish_segment(at);
        // Losses first: where a block is missing the ledger says why before it says that there was one.
        let flushed = self.shared.books().ledger.flush();
        self.shared.count_ledger(flushed);
        let ended = GapRecord::instant(RecordKind::RunEnd, lane, self.shared.run, time);
        self.shared.note(GapRecord { blocks: self.blocks_of(at), ..ended });
    }

    /// Up to where a lane's blocks have an account.
    fn blocks_of(&self, at: usize) -> u64 {
        self.lanes.get(at).map_or(0, |lane| lane.blocks)
    }

    /// Writes a block and says how many bytes of segment and index it took.
    fn write(&mut self, at: usize, block: &Block) -> io::Result<u64> {
        if let Some(since) = self.failing
            && block.last_time.0.abs_diff(since.0) < RETRY_AFTER.as_nanos() as u64
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.summary.clear();
        self.summarizer.summarize(&block.seen, &mut self.summary);
        self.ensure_segment(at, block)?;
        if self.shared.mode == RingMode::Live {
            self.encoder.adapt(self.inbox.len(), self.capacity)?;
        }
        let Some(open) = self.lanes.get_mut(at).and_then(|lane| lane.segment.as_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let offset = open.segment.offset();
        let written = self.encoder.encode(block, offset, &open.seal);
        let written =
            written.and_then(|(header, bytes)| open.segment.write_block(&header, bytes).map(|()| header));
        let header = match written {
            Ok(header) => header,
            Err(error) => {
                // What was sealed with a key at this place must not be followed there by something else.
                self.finish_segment(at);
                return Err(error);
            }
        };
        open.digest.block(offset, &header);
        let counts = &self.shared.counts;
        let add = |count: &AtomicU64, value: u64| count.fetch_add(value, Ordering::Relaxed);
        add(&counts.blocks, 1);
        add(&counts.blocks_hurried, self.encoder.is_hurried().into());
        add(&counts.frames, block.frames.into());
        add(&counts.raw_bytes, block.entries.len() as u64 + header.frame_bytes());
        add(&counts.stored_bytes, header.stored_bytes());
        add(&counts.left_out_bytes, header.left_out_bytes);
        // The block is safe; an index that cannot take it is completed from the segment at the next start.
        if open.index.append(offset, &header, &self.summary).is_err() {
            self.finish_segment(at);
        }
        self.works_again();
        Ok(header.stored_bytes() + self.summary.len() as u64)
    }

    /// A segment with room for the block even if it does not compress, and an index with room for its summary.
    fn ensure_segment(&mut self, at: usize, block: &Block) -> io::Result<()> {
        let bound = bound(block.entries.len(), block.heads.len(), block.tails.len());
        if let Some(open) = self.lanes.get(at).and_then(|lane| lane.segment.as_ref()) {
            let has_room = open.segment.room() >= bound as u64 && open.index.blocks() < BLOCKS_MAX;
            if has_room && open.index.bytes_with(self.summary.len()) <= open.index_bytes_max {
                return Ok(());
            }
            self.finish_segment(at);
        }
        let open = self.create_segment(block)?;
        if open.index.bytes_with(self.summary.len()) > open.index_bytes_max {
            // More was seen in this block than a whole index may hold: it is read for every question instead.
            self.summary.clear();
            Summarizer::opaque(&mut self.summary);
        }
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.segment = Some(open);
        }
        Ok(())
    }

    fn create_segment(&self, block: &Block) -> io::Result<Open> {
        let mut books = self.shared.books();
        let mut limits = *books.retention.limits();
        self.shared.expire(&mut books, block.first_time);
        self.shared.make_room(&mut books, limits.segment_bytes + limits.index_bytes)?;
        self.shared.keep_free(&mut books, limits.segment_bytes + limits.index_bytes);
        for _ in 0..FULL_DISK_TRIES_MAX {
            match self.try_segment(&mut books, block, &limits) {
                Err(error) if is_full(&error) => {}
                created => return created,
            }
            if self.shared.give_way(&mut books, limits.segment_bytes + limits.index_bytes)? {
                continue;
            }
            if limits.segment_bytes > limits.segment_bytes_min {
                // Nothing is left to remove: what is free may hold a smaller segment.
                limits.segment_bytes = (limits.segment_bytes / 2).max(limits.segment_bytes_min);
                continue;
            }
            // What was just removed is free once it has been synchronised, or a reader lets it go.
            drop(books);
            std::thread::sleep(FULL_DISK_WAIT);
            books = self.shared.books();
        }
        self.try_segment(&mut books, block, &limits)
    }

    fn try_segment(&self, books: &mut Books, block: &Block, limits: &Limits) -> io::Result<Open> {
        let shared = &self.shared;
        let sequence = books.retention.take_sequence();
        let name = SegmentName { sequence, lane: block.lane, first_time: block.first_time };
        let key = shared.key.as_ref();
        // Without a key it tells the segment's blocks from what packets bring along.
        let salt = new_salt()?;
        let header = SegmentHeader { name, run: shared.run, encrypted: key.is_some(), salt };
        let cipher = key.map(|key| Cipher::new(key, &salt, Purpose::Blocks)).transpose()?;
        let seal = SegmentSeal { segment: sequence, salt, cipher, hashes: shared.sizes.hashes };
        let index_path = shared.directory.join(name.index_file());
        // An index without its segment holds nothing; if it stays, the next start removes it.
        let give_up = |_: &io::Error| drop(std::fs::remove_file(&index_path));
        let index = IndexWriter::create(&index_path, name, shared.run, key).inspect_err(give_up)?;
        let segment =
            Segment::create(&shared.directory, &header, limits.segment_bytes).inspect_err(give_up)?;
        books.retention.begin(name, limits.segment_bytes + limits.index_bytes);
        if let Some(syncing) = &shared.syncing {
            syncing.began(block.lane, segment.file());
        }
        Ok(Open {
            name,
            segment,
            seal,
            index,
            index_bytes_max: limits.index_bytes,
            digest: SegmentDigest::new(&header.encode()),
        })
    }

    pub(super) fn finish_segment(&mut self, at: usize) {
        let open = self.lanes.get_mut(at).and_then(|lane| lane.segment.take());
        let Some(Open { name, segment, index, digest, .. }) = open else { return };
        let path = segment.path().to_owned();
        let capacity = segment.offset() + segment.room();
        let segment_bytes = segment.finish().unwrap_or(capacity);
        // Before the index is sealed: what a crash cuts off in between is put right at the next start.
        if let Some(custody) = &mut self.shared.books().retention.custody {
            custody.seal(name, self.shared.run, segment_bytes, &digest);
        }
        let (index_len, last_time) = (index.len(), index.totals().last_time);
        let (_, index_bytes) = index.seal().unwrap_or_else(|error| {
            tracing::warn!(segment = %path.display(), %error, "cannot seal the segment's index; it is completed at the next start");
            (Totals::default(), index_len)
        });
        self.shared.counts.index_bytes.fetch_add(index_bytes, Ordering::Relaxed);
        if let Some(syncing) = &self.shared.syncing {
            syncing.ended(name.lane, &self.shared.directory.join(name.index_file()));
        }
        self.shared.books().retention.finish(name, segment_bytes, index_bytes, last_time);
    }

    fn lose(&mut self, block: &Block, error: &io::Error) {
        let frames = u64::from(block.frames);
        self.shared.counts.frames_failed.fetch_add(frames, Ordering::Relaxed);
        match self.failing {
            None => {
                tracing::error!(directory = %self.shared.directory.display(), %error, "the ring cannot write; frames are lost until it can");
                self.shared.counts.failing.store(true, Ordering::Relaxed);
                self.failing = Some(block.last_time);
            }
            Some(since) if block.last_time.0.abs_diff(since.0) >= RETRY_AFTER.as_nanos() as u64 => {
                self.failing = Some(block.last_time);
            }
            Some(_) => {}
        }
        self.note(
            block.lane,
            RecordKind::Loss(LossKind::Write),
            Loss { frames, bytes: 0, from: block.first_time, to: block.last_time },
        );
    }

    fn works_again(&mut self) {
        if self.failing.take().is_some() {
            self.shared.counts.failing.store(false, Ordering::Relaxed);
            let lost = self.shared.counts.frames_failed.load(Ordering::Relaxed);
            tracing::info!(directory = %self.shared.directory.display(), frames_lost = lost, "the ring writes again");
        }
    }
}
