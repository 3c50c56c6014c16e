//! The clock by which frames get their time, and when it was set.
//!
//! In: what the clock says, beside the time that has passed. Out: by how much it was set forward. That it was
//! set back a lane sees by its frames. Reads no clock itself.

use std::time::{Duration, Instant};
use weir_common::time::Timestamp;

/// Smallest step of the clock that is written down. Frames of one interface come less out of order than this,
/// and a clock that is slewed (adjtime(3)) stays far below it.
pub const CLOCK_STEP_MIN: Duration = Duration::from_secs(1);

/// Watches a clock. Slow drift is no step: each look is held against the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockWatch {
    before: Option<(Timestamp, Instant)>,
}

impl ClockWatch {
    /// Takes what the clock says at a moment of the steady clock; gives the interval that was leapt over.
    pub fn look(&mut self, clock: Timestamp, at: Instant) -> Option<(Timestamp, Timestamp)> {
        let (clock_before, at_before) = self.before.replace((clock, at))?;
        let expected = clock_before.plus(at.saturating_duration_since(at_before));
        (clock.since(expected) >= CLOCK_STEP_MIN).then_some((expected, clock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_runs_ahead_of_time_was_set_forward() {
        let (start, second) = (Instant::now(), 1_000_000_000);
        let at = |millis| start + Duration::from_millis(millis);
        let mut watch = ClockWatch::default();
        assert_eq!(watch.look(Timestamp(100 * second), at(0)), None);
        // As time passes, and a little off it in either direction.
        assert_eq!(watch.look(Timestamp(110 * second), at(10_000)), None);
        assert_eq!(watch.look(Timestamp(112 * second - 1), at(11_000)), None);
        assert_eq!(watch.look(Timestamp(112 * second), at(12_000)), None);
        // A second ahead, and no more than that from there on.
        let stepped = (Timestamp(113 * second), Timestamp(114 * second));
        assert_eq!(watch.look(Timestamp(114 * second), at(13_000)), Some(stepped));
        assert_eq!(watch.look(Timestamp(115 * second), at(14_000)), None);
        // Back is not forward.
        assert_eq!(watch.look(Timestamp(5 * second), at(15_000)), None);
        assert_eq!(watch.look(Timestamp(6 * second), at(16_000)), None);
    }
}
