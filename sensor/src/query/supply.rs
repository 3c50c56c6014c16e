//! Scanned blocks in the order of the plan, read by one thread or by several.
//!
//! In: candidates. Out: what each gives to the answer, one after the other in the plan's order, whichever thread
//! was first. Threads work ahead of what was taken by at most [`AHEAD_BLOCKS_MAX`] blocks and
//! [`AHEAD_BYTES_MAX`] bytes of frames; at the limit they wait. Nothing here depends on how fast a thread is, so
//! that any number of threads gives the same answer.

use super::completeness::{GapState, Unreadable};
use super::flow::FlowOf;
use super::plan::Candidate;
use super::scan::{Matched, Question, Scanner};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::Duration;
use weir_common::time::Timestamp;

/// Most blocks that are read ahead of the answer.
const AHEAD_BLOCKS_MAX: usize = 32;
/// Blocks per thread that are read ahead at first; each block taken allows one more, so that an answer that
/// ends after a few frames has not read much more.
const AHEAD_BLOCKS_FIRST: usize = 2;
/// Most bytes of frames in the blocks that are read ahead; one block goes ahead whatever its size.
const AHEAD_BYTES_MAX: u64 = 64 << 20;
/// Most empty buffers kept for the next block.
const SPARE_MAX: usize = 8;
/// How long the answering thread waits for a block before it looks whether it shall end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What became of a block.
pub(super) enum Scanned {
    /// It was read.
    Matched(Matched),
    /// It cannot be read.
    Unreadable(Unreadable),
    /// The question was stopped before it was read.
    Stopped,
}

/// Gives scanned blocks in the order of the plan.
pub(super) trait Supply {
    /// When the first frame of the next block was captured; none: there are no more.
    fn next_time(&self) -> Option<Timestamp>;
    /// The next block and its place in the plan; none: there are no more, or the question was stopped.
    fn take(&mut self) -> Option<(usize, Scanned)>;
    /// Takes back a block's memory.
    fn give_back(&mut self, matched: Matched);
}

/// The asking thread reads each block when it is taken.
pub(super) struct Alone<'q> {
    candidates: &'q [Candidate],
    scanner: Scanner<'q>,
    taken: usize,
    spare: Vec<Matched>,
}

impl<'q> Alone<'q> {
    pub(super) fn new(
        candidates: &'q [Candidate],
        question: &'q Question<'q>,
        flows: &'q dyn FlowOf,
    ) -> Self {
        let alone = question.flow.map(|_| flows.alone());
        Alone { candidates, scanner: Scanner::new(question, alone), taken: 0, spare: Vec::new() }
    }
}

impl Supply for Alone<'_> {
    fn next_time(&self) -> Option<Timestamp> {
        self.candidates.get(self.taken).map(|candidate| candidate.header.first_time)
    }

    fn take(&mut self) -> Option<(usize, Scanned)> {
        let candidate = self.candidates.get(self.taken)?;
        let scanned = self.scanner.scan(candidate, self.spare.pop().unwrap_or_default());
        if matches!(scanned, Scanned::Stopped) {
            return None;
        }
        self.taken += 1;
        Some((self.taken - 1, scanned))
    }

    fn give_back(&mut self, matched: Matched) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(matched);
        }
    }
}

struct Job {
    index: usize,
    matched: Matched,
}

/// Several threads read ahead.
pub(super) struct Pool<'q> {
    candidates: &'q [Candidate],
    question: &'q Question<'q>,
    jobs: Sender<Job>,
    done: Receiver<(usize, Scanned)>,
    /// Blocks from `taken` on that came back before their turn.
    ready: VecDeque<Option<Scanned>>,
    taken: usize,
    sent: usize,
    bytes_ahead: u64,
    ahead_max: usize,
    spare: Vec<Matched>,
    /// The answer has ended: what threads have not begun is left.
    ended: Arc<AtomicBool>,
    announced: Option<(usize, File)>,
}

impl<'q> Pool<'q> {
    /// Starts threads, which end when the pool is dropped. None: the system gives no thread at all.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        threads: usize,
        candidates: &'q [Candidate],
        question: &'q Question<'q>,
        flows: &'q dyn FlowOf,
    ) -> Option<Pool<'q>>
    where
        'q: 'scope,
    {
        let (jobs, inbox) = bounded::<Job>(AHEAD_BLOCKS_MAX);
        let (results, done) = bounded(AHEAD_BLOCKS_MAX);
        let ended = Arc::new(AtomicBool::new(false));
        let mut started = 0;
        for number in 0..threads {
            let (inbox, results) = (inbox.clone(), results.clone());
            let scanner = Scanner::new(question, question.flow.map(|_| flows.alone()));
            let ended = Arc::clone(&ended);
            let thread = std::thread::Builder::new().name(format!("query-{number}"));
            let body = move || work(scanner, candidates, &ended, &inbox, &results);
            // Fewer threads than wanted are still threads.
            started += usize::from(thread.spawn_scoped(scope, body).is_ok());
        }
        (started > 0).then(|| Pool {
            candidates,
            question,
            jobs,
            done,
            ready: VecDeque::new(),
            taken: 0,
            sent: 0,
            bytes_ahead: 0,
            ahead_max: (AHEAD_BLOCKS_FIRST * started).min(AHEAD_BLOCKS_MAX),
            spare: Vec::new(),
            ended,
            announced: None,
        })
    }

    /// Hands out jobs up to the limits.
    fn send_ahead(&mut self) {
        while let Some(candidate) = self.candidates.get(self.sent) {
            let ahead = self.sent - self.taken;
            let bytes = frame_bytes(candidate);
            if ahead >= self.ahead_max || (ahead > 0 && self.bytes_ahead + bytes > AHEAD_BYTES_MAX) {
                return;
            }
            let job = Job { index: self.sent, matched: self.spare.pop().unwrap_or_default() };
            if self.jobs.send(job).is_err() {
                return;
            }
            self.announce(candidate);
            self.bytes_ahead += bytes;
            self.sent += 1;
        }
    }

    /// Lets the kernel fetch a block that will be read soon, so that a disk has more than one thing to do.
    fn announce(&mut self, candidate: &Candidate) {
        if self.announced.as_ref().is_none_or(|(segment, _)| *segment != candidate.segment) {
            let files = self.question.plan.segments.get(candidate.segment);
            let file = files.and_then(|files| File::open(&files.segment).ok());
            self.announced = file.map(|file| (candidate.segment, file));
        }
        let (Ok(offset), Ok(bytes)) =
            (i64::try_from(candidate.offset), i64::try_from(self.question.bytes_read_first(candidate)))
        else {
            return;
        };
        if let Some((_, file)) = &self.announced {
            // Advice that is not taken costs nothing but time.
            let _ = posix_fadvise(file, offset, bytes, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
        }
    }
}

fn frame_bytes(candidate: &Candidate) -> u64 {
    u64::from(candidate.header.heads_bytes) + u64::from(candidate.header.tails_bytes)
}

impl Supply for Pool<'_> {
    fn next_time(&self) -> Option<Timestamp> {
        self.candidates.get(self.taken).map(|candidate| candidate.header.first_time)
    }

    fn take(&mut self) -> Option<(usize, Scanned)> {
        let candidate = self.candidates.get(self.taken)?;
        self.send_ahead();
        loop {
            if let Some(scanned) = self.ready.front_mut().and_then(Option::take) {
                if matches!(scanned, Scanned::Stopped) {
                    return None;
                }
                self.ready.pop_front();
                self.bytes_ahead -= frame_bytes(candidate);
                self.taken += 1;
                self.ahead_max = (self.ahead_max + 1).min(AHEAD_BLOCKS_MAX);
                return Some((self.taken - 1, scanned));
            }
            match self.done.recv_timeout(LOOK_INTERVAL) {
                Ok((index, scanned)) => {
                    let place = index - self.taken;
                    if self.ready.len() <= place {
                        self.ready.resize_with(place + 1, || None);
                    }
                    if let Some(slot) = self.ready.get_mut(place) {
                        *slot = Some(scanned);
                    }
                }
                Err(RecvTimeoutError::Timeout) if !self.question.reading.is_stopped() => {}
                Err(_) => return None,
            }
        }
    }

    fn give_back(&mut self, matched: Matched) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(matched);
        }
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// What a reading thread does until there are no more jobs.
fn work(
    mut scanner: Scanner<'_>,
    candidates: &[Candidate],
    ended: &AtomicBool,
    inbox: &Receiver<Job>,
    results: &Sender<(usize, Scanned)>,
) {
    while let Ok(Job { index, matched }) = inbox.recv() {
        let Some(candidate) = candidates.get(index).filter(|_| !ended.load(Ordering::Relaxed)) else {
            return;
        };
        // A panic would leave the answer waiting for this block for ever; it becomes a block that cannot be read.
        let scanned = catch_unwind(AssertUnwindSafe(|| scanner.scan(candidate, matched)));
        let fault = || {
            Scanned::Unreadable(Unreadable {
                from: candidate.header.first_time,
                to: candidate.header.last_time,
                frames: Some(candidate.header.frames.into()),
                state: GapState::Damaged,
                file: String::new(),
                what: "a fault of this program ended the reading of a block".into(),
            })
        };
        if results.send((index, scanned.unwrap_or_else(|_| fault()))).is_err() {
            return;
        }
    }
}
