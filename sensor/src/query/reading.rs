//! How an answer is read: by how many threads, how fast, for how long, and how far it is.
//!
//! In: the asker's wishes. Out: a pace that reading threads keep together, and numbers that another thread may
//! show. Knows neither blocks nor frames.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most threads that read for one question.
pub const THREADS_MAX: usize = 64;
/// Most threads that read when no number is asked for; fewer where the machine has fewer cores.
pub const THREADS_DEFAULT_MAX: usize = 4;
/// How long a thread that keeps a pace sleeps before it looks whether it shall end.
const NAP: Duration = Duration::from_millis(50);

/// How an answer is read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Threads that read and filter; 0: one per core, at most [`THREADS_DEFAULT_MAX`].
    pub threads: usize,
    /// Most bytes of the ring that are read in a second; none: as fast as it goes.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Whoever sets it ends the answer early: what was given is whole and says up to when it is complete.
    pub stop: Option<Arc<AtomicBool>>,
    /// Where it is told how far reading is.
    pub progress: Option<Arc<Progress>>,
}

impl Reading {
    /// Threads for so many blocks; 1: the asking thread reads itself.
    pub(super) fn threads_for(&self, blocks: usize) -> usize {
        if blocks < 2 {
            return 1;
        }
        let wanted = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_DEFAULT_MAX),
            wanted => wanted.min(THREADS_MAX),
        };
        wanted.min(blocks)
    }

    /// Whether the answer shall end early.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

/// How far reading is; written by the thread that answers, read by one that shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Blocks to read.
    pub blocks: AtomicU64,
    /// Their stored bytes.
    pub bytes: AtomicU64,
    /// Blocks read.
    pub blocks_done: AtomicU64,
    /// Their stored bytes.
    pub bytes_done: AtomicU64,
    /// Frames given.
    pub frames: AtomicU64,
}

/// Keeps all threads of a question below a rate.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: NonZeroU64,
    /// When the next bytes may be read.
    free: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: NonZeroU64) -> Pace {
        Pace { bytes_per_second, free: Mutex::new(Instant::now()) }
    }

    /// Waits until more may be read. What was not used before is not saved up. False: `stopped` meanwhile.
    pub(super) fn wait(&self, stopped: &dyn Fn() -> bool) -> bool {
        loop {
            // Looked at again after each nap: what others read meanwhile counts as well.
            let turn = *self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let left = turn.saturating_duration_since(Instant::now());
            if stopped() {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    /// Counts what was read: the next read waits for as long as that takes at the rate.
    pub(super) fn charge(&self, bytes: u64) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let from = (*free).max(Instant::now());
        *free = from.checked_add(self.duration_of(bytes)).unwrap_or(from);
    }

    fn duration_of(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_one_block_needs_no_thread_and_no_more_are_started_than_blocks() {
        let reading = Reading { threads: 3, ..Reading::default() };
        assert_eq!([0, 1, 2, 3, 100].map(|blocks| reading.threads_for(blocks)), [1, 1, 2, 3, 3]);
        let many = Reading { threads: 1000, ..Reading::default() };
        assert_eq!(many.threads_for(1000), THREADS_MAX);
        assert!((1..=THREADS_DEFAULT_MAX).contains(&Reading::default().threads_for(1000)));
    }

    #[test]
    fn the_first_bytes_go_at_once_and_the_next_wait_for_them() {
        let pace = Pace::new(NonZeroU64::new(1_000_000).unwrap());
        let begun = Instant::now();
        assert!(pace.wait(&|| false));
        assert!(begun.elapsed() < Duration::from_millis(40));
        pace.charge(50_000);
        assert!(pace.wait(&|| false));
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn waiting_ends_when_it_is_told_to_and_no_amount_is_too_much() {
        let pace = Pace::new(NonZeroU64::MIN);
        pace.charge(u64::MAX);
        pace.charge(u64::MAX);
        assert!(!pace.wait(&|| true));
    }
}
