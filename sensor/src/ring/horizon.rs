//! How long the ring keeps a packet at the rate at which it fills.
//!
//! In: what each written block took of the disk, and the frames' time. Out: a span of the frames' time, for a
//! record's `expires` and for `status`; nothing as long as no block is known to be written. Reads no clock.
//!
//! The rate is a lane's own average of about the last [`SMOOTHING`] of the frames' time; the ring's is the sum over
//! its lanes. Written blocks come back to their lane with what they took, and are counted only when the lane
//! begins the block that cannot begin before they are back. That is a little later than they are known, and makes
//! the estimate follow from the frames alone: a replay says the same every time it is run.

use super::retention::Limits;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use weir_common::time::Timestamp;

/// What was written longer ago than this counts ever less. A gap between blocks counts as no more than this, so that
/// one frame with a wild time does not spoil the estimate for long.
const SMOOTHING: Duration = Duration::from_secs(3600);

/// What a block took, told by the ring thread when the block comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) number: u64,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// Bytes of segment and index; 0: it could not be written.
    pub(super) bytes: u64,
}

/// The rates of all lanes and the space they fill.
#[derive(Debug)]
pub(super) struct Horizon {
    /// Bytes that are surely kept: the budget without what the segments being written may come to use, and
    /// without the one that leaves next.
    capacity_bytes: AtomicU64,
    /// Seconds after which a packet leaves because of its age, whatever the space; `u64::MAX`: never.
    age_max_s: AtomicU64,
    /// Bytes per second of the frames' time by lane; 0: not known yet.
    rates: Box<[AtomicU64]>,
}

impl Horizon {
    /// For as many lanes.
    pub(super) fn new(limits: &Limits, lanes: u16) -> Horizon {
        let horizon = Horizon {
            capacity_bytes: AtomicU64::new(0),
            age_max_s: AtomicU64::new(u64::MAX),
            rates: (0..lanes).map(|_| AtomicU64::new(0)).collect(),
        };
        horizon.set_limits(limits);
        horizon
    }

    /// Other limits hold from now on.
    pub(super) fn set_limits(&self, limits: &Limits) {
        let segment_bytes = limits.segment_bytes + limits.index_bytes;
        let unsure_bytes = (self.rates.len() as u64 + 1) * segment_bytes;
        let capacity = limits.budget_bytes.saturating_sub(unsure_bytes).max(segment_bytes / 2);
        self.capacity_bytes.store(capacity, Ordering::Relaxed);
        let age = limits.age_max.map_or(u64::MAX, |age| age.as_secs());
        self.age_max_s.store(age, Ordering::Relaxed);
    }

    /// How long a packet is kept; none: no rate is known yet.
    pub(super) fn get(&self) -> Option<Duration> {
        let rates = self.rates.iter().map(|rate| rate.load(Ordering::Relaxed));
        let rate = rates.fold(0, u64::saturating_add);
        let seconds = self.capacity_bytes.load(Ordering::Relaxed).checked_div(rate)?;
        Some(Duration::from_secs(seconds.min(self.age_max_s.load(Ordering::Relaxed))))
    }

    fn set(&self, lane: u16, rate: u64) {
        if let Some(place) = self.rates.get(usize::from(lane)) {
            place.store(rate, Ordering::Relaxed);
        }
    }
}

/// The rate of one lane.
#[derive(Debug)]
pub(super) struct Pace {
    /// Blocks of the lane that exist at most: so much later than written a block counts.
    delay: u64,
    waiting: VecDeque<Written>,
    bytes: f64,
    seconds: f64,
    until: Option<Timestamp>,
    /// As of the block that is being filled.
    pub(super) keeps: Option<Duration>,
}

impl Pace {
    pub(super) fn new(blocks_max: u16) -> Pace {
        Pace {
            delay: blocks_max.into(),
            waiting: VecDeque::with_capacity(blocks_max.into()),
            bytes: 0.0,
            seconds: 0.0,
            until: None,
            keeps: None,
        }
    }

    /// A block has come back.
    pub(super) fn note(&mut self, written: Option<Written>) {
        self.waiting.extend(written);
    }

    /// Block `number` of `lane` begins: those that are surely back are counted.
    pub(super) fn begin(&mut self, number: u64, lane: u16, horizon: &Horizon) {
        while let Some(written) =
            self.waiting.pop_front_if(|written| written.number.saturating_add(self.delay) <= number)
        {
            self.count(&written);
        }
        if self.seconds > 0.0 {
            horizon.set(lane, (self.bytes / self.seconds).ceil().max(1.0) as u64);
        }
        self.keeps = horizon.get();
    }

    fn count(&mut self, written: &Written) {
        let since = self.until.unwrap_or(written.from);
        let seconds = written.until.since(since).min(SMOOTHING).as_secs_f64();
        let stays = SMOOTHING.as_secs_f64() / (SMOOTHING.as_secs_f64() + seconds);
        self.bytes = self.bytes * stays + written.bytes as f64;
        self.seconds = self.seconds * stays + seconds;
        // A clock that stepped back begins anew from there.
        self.until = Some(written.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limits(budget_bytes: u64, age_max: Option<Duration>) -> Limits {
        Limits {
            budget_bytes,
            shares_bytes: 0,
            segment_bytes: 900,
            index_bytes: 100,
            segment_bytes_min: 0,
            kept_bytes_min: 0,
            age_max,
            disk_free_min_bytes: 0,
        }
    }

    fn horizon(lanes: u16) -> Horizon {
        Horizon::new(&limits(20_000, None), lanes)
    }

    #[test]
    fn limits_that_change_change_what_is_promised() {
        let horizon = horizon(1);
        horizon.set(0, 100);
        assert_eq!(horizon.get(), Some(Duration::from_secs(180)));
        horizon.set_limits(&limits(12_000, None));
        assert_eq!(horizon.get(), Some(Duration::from_secs(100)));
        horizon.set_limits(&limits(12_000, Some(Duration::from_secs(60))));
        assert_eq!(horizon.get(), Some(Duration::from_secs(60)));
    }

    fn written(number: u64, from_s: u64, until_s: u64, bytes: u64) -> Option<Written> {
        Some(Written { number, from: Timestamp(from_s * SECOND), until: Timestamp(until_s * SECOND), bytes })
    }

    #[test]
    fn a_block_counts_when_it_is_surely_back_whether_or_not_it_came_earlier() {
        let horizon = horizon(1);
        let mut pace = Pace::new(3);
        pace.note(written(0, 0, 10, 1000));
        pace.note(written(1, 10, 20, 3000));
        pace.begin(2, 0, &horizon);
        assert_eq!(pace.keeps, None);
        pace.begin(3, 0, &horizon);
        // 18,000 bytes at 100 per second.
        assert_eq!(pace.keeps, Some(Duration::from_secs(180)));
        pace.begin(4, 0, &horizon);
        let keeps = pace.keeps.unwrap().as_secs();
        assert!((89..=91).contains(&keeps), "200 per second on average: {keeps}");
    }

    #[test]
    fn the_lanes_fill_the_ring_together() {
        let horizon = horizon(2);
        let (mut one, mut other) = (Pace::new(2), Pace::new(2));
        one.note(written(0, 0, 10, 1000));
        one.begin(2, 0, &horizon);
        assert_eq!(one.keeps, Some(Duration::from_secs(170)));
        other.note(written(0, 0, 10, 1000));
        other.begin(2, 1, &horizon);
        assert_eq!(other.keeps, Some(Duration::from_secs(85)));
        assert_eq!(horizon.get(), other.keeps);
    }

    #[test]
    fn a_wild_time_counts_as_an_hour_and_frames_of_one_moment_tell_no_rate() {
        let horizon = horizon(1);
        let mut pace = Pace::new(2);
        pace.note(written(0, 5, 5, 1_000_000));
        pace.begin(2, 0, &horizon);
        assert_eq!(pace.keeps, None);
        pace.note(written(1, 1_000_000_000, 1_000_000_000, 1_000_000));
        pace.begin(3, 0, &horizon);
        // What came before counts half: 1.5 MB in an hour are 417 bytes per second.
        assert_eq!(pace.keeps, Some(Duration::from_secs(43)));
        pace.note(written(2, 7, 8, 10));
        pace.begin(4, 0, &horizon);
        assert_eq!(pace.keeps, Some(Duration::from_secs(43)));
    }

    #[test]
    fn a_rate_that_rises_is_followed_within_hours() {
        let horizon = horizon(1);
        let mut pace = Pace::new(2);
        for number in 0..10_000 {
            let bytes = if number < 5000 { 10 } else { 1000 };
            pace.note(written(number, number * 10, number * 10 + 10, bytes));
            pace.begin(number + 2, 0, &horizon);
            if number == 4999 {
                assert_eq!(pace.keeps, Some(Duration::from_secs(18_000)));
            }
        }
        let keeps = pace.keeps.unwrap().as_secs();
        assert!((175..=185).contains(&keeps), "{keeps}");
    }

    #[test]
    fn a_ring_of_two_segments_promises_half_of_one() {
        let capacity = Horizon::new(&limits(2000, None), 1).capacity_bytes;
        assert_eq!(capacity.into_inner(), 500);
    }
}
