//! Upkeep: what a ring thread sees to between blocks, and what new limits bring about.
//!
//! In: the time that each piece of work brings, and limits that were changed. Out: segments that are too old or
//! for which there is no room any longer are gone, a disk that others fill has the reserve again as far as the
//! ring can give it, pins whose time is over are gone. Deliberately absent: a clock; without work no time
//! passes, and a lane that captures brings the time once a second.

use super::gaps::{GapRecord, Ledger};
use super::index::RUN_UNKNOWN;
use super::pins;
use super::retention::{Disk, Limits, Removed};
use super::writer::{Books, Shared, Writer};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use weir_common::time::Timestamp;

/// How often a thread looks after age, disk and pins, in the time of its lanes.
pub(super) const UPKEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often a segment is tried again for which the disk had no space, each time after the oldest segments made
/// way, with half the size, or after [`FULL_DISK_WAIT`]; then the frames are given up.
pub(super) const FULL_DISK_TRIES_MAX: u32 = 16;
/// How long a ring thread that can make no more room waits for what was removed to become free.
pub(super) const FULL_DISK_WAIT: Duration = Duration::from_millis(20);

/// What a thread has looked after.
#[derive(Debug, Default)]
pub(super) struct Upkept {
    at: Option<Timestamp>,
    limits_set: u64,
}

impl Shared {
    /// Removes the oldest segments until `bytes` fit, and writes down first what goes.
    pub(super) fn make_room(&self, books: &mut Books, bytes: u64) -> io::Result<()> {
        let Books { retention, ledger } = books;
        retention.make_room(bytes, &mut |gone| self.note_removed(ledger, &gone))
    }

    /// Removes what is too old at `now`. A segment that cannot be removed stays, and is tried again.
    pub(super) fn expire(&self, books: &mut Books, now: Timestamp) {
        let Books { retention, ledger } = books;
        let expired = retention.expire(now, &mut |gone| self.note_removed(ledger, &gone));
        self.say_stuck(expired);
    }

    /// Leaves the reserve free on the disk, as far as the ring can. A file system that does not say how full it
    /// is has no reserve.
    pub(super) fn keep_free(&self, books: &mut Books, bytes: u64) {
        let Ok(disk) = Disk::of(&self.directory) else { return };
        let was_short = books.retention.is_disk_short();
        let Books { retention, ledger } = &mut *books;
        let kept = retention.keep_free(bytes, disk, &mut |gone| self.note_removed(ledger, &gone));
        self.say_disk(books, was_short);
        self.say_stuck(kept);
    }

    /// The disk is full: the oldest segments make way. False: there is none that could.
    pub(super) fn give_way(&self, books: &mut Books, bytes: u64) -> io::Result<bool> {
        let was_short = books.retention.is_disk_short();
        let Books { retention, ledger } = &mut *books;
        let gave = retention.give_way(bytes, &mut |gone| self.note_removed(ledger, &gone));
        self.say_disk(books, was_short);
        gave
    }

    /// Bounds that hold from now on. Segments being written are their threads' matter, within [`super::writer`]'s
    /// wait for work.
    pub(super) fn set_limits(&self, limits: Limits) {
        let mut books = self.books();
        self.horizon.set_limits(&limits);
        books.retention.set_limits(limits);
        self.make_fit(&mut books);
        drop(books);
        self.limits_set.fetch_add(1, Ordering::Release);
    }

    /// Everything that does not depend on a thread's own segments. Without a time nothing ages.
    pub(super) fn upkeep(&self, now: Option<Timestamp>) {
        let mut books = self.books();
        if let Some(now) = now {
            self.expire(&mut books, now);
        }
        self.keep_free(&mut books, 0);
        drop(books);
        match pins::tidy(&self.directory, now) {
            Ok(expired) if expired.is_empty() => {}
            Ok(expired) => tracing::info!(pins = expired.join(","), "pins whose time is over are removed"),
            Err(error) => tracing::warn!(%error, "pins cannot be looked after"),
        }
    }

    /// A budget that only segments being written exceed is met when they end.
    fn make_fit(&self, books: &mut Books) {
        if let Err(error) = self.make_room(books, 0)
            && error.kind() != io::ErrorKind::QuotaExceeded
        {
            self.say_stuck(Err(error));
        }
    }

    fn note_removed(&self, ledger: &mut Ledger, removed: &Removed) {
        use super::gaps::RecordKind::{ExpiredByAge, ExpiredByDisk};
        let counts = &self.counts;
        counts.segments_removed.fetch_add(1, Ordering::Relaxed);
        let of_kind = match removed.why {
            ExpiredByAge => Some(&counts.segments_removed_by_age),
            ExpiredByDisk => Some(&counts.segments_removed_by_disk),
            _ => None,
        };
        of_kind.map(|count| count.fetch_add(1, Ordering::Relaxed));
        let totals = removed.totals.unwrap_or_default();
        // Which blocks these were, so that others that are gone are not taken for expired.
        let (run, blocks) = match totals.run {
            RUN_UNKNOWN => (self.run, 0),
            run => (run.min(self.run), totals.last_number.saturating_add(1)),
        };
        let noted = ledger.note(GapRecord {
            kind: removed.why,
            lane: removed.name.lane,
            run,
            blocks,
            from: totals.first_time.min(removed.name.first_time),
            to: totals.last_time.max(removed.name.first_time),
            frames: totals.frames,
            bytes: totals.frame_bytes,
        });
        self.count_ledger(noted);
    }

    /// Once when others begin to take the ring's space, once when there is room again.
    fn say_disk(&self, books: &Books, was_short: bool) {
        let directory = self.directory.display();
        let bytes = books.retention.total();
        match (was_short, books.retention.is_disk_short()) {
            (false, true) => {
                // What it holds when it begins to give way is what it may hope to keep.
                let limits = books.retention.limits();
                let budget_bytes = limits.budget_bytes.min(bytes);
                self.horizon.set_limits(&Limits { budget_bytes, ..*limits });
                tracing::warn!(%directory, bytes, "the disk is nearly full: the ring shrinks below its budget");
            }
            (true, false) => {
                self.horizon.set_limits(books.retention.limits());
                tracing::info!(%directory, bytes, "the disk has room again");
            }
            _ => {}
        }
    }

    fn say_stuck(&self, result: io::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(directory = %self.directory.display(), %error, "a segment cannot be removed");
        }
    }
}

impl Writer {
    /// Looks after things when a minute has passed since the last time, or the limits were changed.
    pub(super) fn upkeep(&mut self, now: Option<Timestamp>) {
        let limits_set = self.shared.limits_set.load(Ordering::Acquire);
        let is_due = match (now, self.upkept.at) {
            // The clock may step back.
            (Some(now), Some(at)) => u128::from(now.0.abs_diff(at.0)) >= UPKEEP_INTERVAL.as_nanos(),
            (now, _) => now.is_some(),
        };
        if !is_due && limits_set == self.upkept.limits_set {
            return;
        }
        let now = now.or(self.upkept.at);
        self.end_segments(now);
        self.upkept = Upkept { at: now, limits_set };
        // Only a live ring's time is that of pins.
        match (self.shared.mode, now) {
            (super::RingMode::Replay, Some(now)) => {
                self.shared.expire(&mut self.shared.books(), now);
                self.shared.upkeep(None);
            }
            (_, now) => self.shared.upkeep(now),
        }
    }

    /// Ends this thread's segments that would keep frames past the age limit, or that changed limits have no
    /// room for.
    fn end_segments(&mut self, now: Option<Timestamp>) {
        let books = self.shared.books();
        let (span_max, limits, total) =
            (books.retention.span_max(), *books.retention.limits(), books.retention.total());
        drop(books);
        let must_shrink = total > limits.budget_bytes;
        for at in 0..self.lanes.len() {
            let Some(open) = self.lanes.get(at).and_then(|lane| lane.segment.as_ref()) else { continue };
            let outlived = |(span, now): (Duration, Timestamp)| now.since(open.name.first_time) >= span;
            if must_shrink || span_max.zip(now).is_some_and(outlived) {
                self.finish_segment(at);
            }
        }
        if must_shrink {
            self.shared.make_fit(&mut self.shared.books());
        }
    }
}

#[cfg(test)]
mod tests;
