//! How far a question is, for a person who waits.
//!
//! In: numbers that the query counts. Out: a line on standard error twice a second, written over the one before on
//! a terminal, one below the other elsewhere. Nothing is shown of what is over before the first half second.

use crate::query::reading::Progress;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often progress is shown.
const INTERVAL: Duration = Duration::from_millis(500);

/// Shows progress until it is dropped.
pub(super) struct Shown {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    /// Shows progress on a terminal, and elsewhere where it is `wanted`; none: nobody watches.
    pub(super) fn begin(progress: &Arc<Progress>, wanted: bool) -> Option<Shown> {
        let is_terminal = std::io::stderr().is_terminal();
        if !is_terminal && !wanted {
            return None;
        }
        let (end, ended) = channel();
        let progress = Arc::clone(progress);
        let begun = Instant::now();
        let show = move || {
            let mut is_shown = false;
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let line = Line::of(&progress, begun.elapsed());
                // A terminal that is gone is nobody's loss.
                let _ = match is_terminal {
                    true => write!(std::io::stderr(), "\r\x1b[K{line}"),
                    false => writeln!(std::io::stderr(), "{line}"),
                };
                is_shown = is_terminal;
            }
            if is_shown {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
        };
        let thread = std::thread::Builder::new().name("progress".into()).spawn(show).ok();
        Some(Shown { end: Some(end), thread })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The numbers of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    blocks: u64,
    blocks_done: u64,
    bytes: u64,
    bytes_done: u64,
    frames: u64,
    elapsed: Duration,
}

impl Line {
    fn of(progress: &Progress, elapsed: Duration) -> Line {
        let get = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        Line {
            blocks: get(&progress.blocks),
            blocks_done: get(&progress.blocks_done),
            bytes: get(&progress.bytes),
            bytes_done: get(&progress.bytes_done),
            frames: get(&progress.frames),
            elapsed,
        }
    }

    /// How long it takes from here at the pace so far; none: nothing is done yet.
    fn left(&self) -> Option<Duration> {
        let share = self.bytes_done as f64 / self.bytes.max(1) as f64;
        let left = self.elapsed.as_secs_f64() * (1.0 - share) / share;
        (self.bytes_done > 0).then(|| Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, all) = (self.bytes_done as f64 / 1e6, self.bytes as f64 / 1e6);
        write!(f, "{} of {} blocks, {done:.0} of {all:.0} MB", self.blocks_done, self.blocks)?;
        write!(f, ", {} packets", self.frames)?;
        match self.left() {
            Some(left) => write!(f, ", {} s left", left.as_secs_f64().ceil()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_bytes_left() {
        let line = Line {
            blocks: 40,
            blocks_done: 9,
            bytes: 40_000_000,
            bytes_done: 10_000_000,
            frames: 7,
            elapsed: Duration::from_secs(2),
        };
        assert_eq!(line.to_string(), "9 of 40 blocks, 10 of 40 MB, 7 packets, 6 s left");
        let begun = Line { blocks_done: 0, bytes_done: 0, frames: 0, ..line };
        assert_eq!(begun.to_string(), "0 of 40 blocks, 0 of 40 MB, 0 packets");
    }
}
