//! Words: how long, and what an answer without frames means.
//!
//! In: durations, and the states of what is missing. Out: text for people.

use super::{Completeness, GapState};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

impl GapState {
    pub(super) fn words(self) -> &'static str {
        match self {
            GapState::NotCaptured => "not captured",
            GapState::Dropped => "dropped",
            GapState::Expired => "expired",
            GapState::Damaged => "damaged",
            GapState::CutOff => "cut off",
            GapState::NotYetWritten => "not yet written",
            GapState::ClockStep => "clock step",
            GapState::Unknown => "unknown",
        }
    }
}

/// What an answer's frames, or their absence, say about the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// There are frames; the statement says whether they are all.
    Found,
    /// There are none, and there were none: the range was captured completely.
    NoSuchPackets,
    /// There are none in what is there, which is not all.
    Incomplete,
}

impl Finding {
    /// What so many frames and this statement come to; `is_part`: not all of the range was looked at.
    pub fn of(frames: u64, completeness: &Completeness, is_part: bool) -> Finding {
        match frames {
            0 if completeness.complete && !is_part => Finding::NoSuchPackets,
            0 => Finding::Incomplete,
            _ => Finding::Found,
        }
    }

    /// The sentence for an answer without frames; none where there are some.
    pub fn sentence(self, completeness: &Completeness) -> Option<String> {
        match self {
            Finding::Found => None,
            Finding::NoSuchPackets => {
                Some("no such packets: the range was captured completely and nothing matched".into())
            }
            Finding::Incomplete if completeness.complete => {
                Some("nothing matched in what was looked at, which is not all of the range".into())
            }
            Finding::Incomplete => {
                let mut states: Vec<&str> = Vec::new();
                let of_range = completeness.gaps.iter().filter(|gap| !completeness.is_behind(gap));
                for words in of_range.map(|gap| gap.state.words()) {
                    if !states.contains(&words) {
                        states.push(words);
                    }
                }
                let states = states.join(", ");
                Some(format!(
                    "nothing matched in what is there; part of the range is missing or uncertain: {states}"
                ))
            }
        }
    }
}

/// A duration for people, in its two largest units.
pub(super) struct Lasting(pub(super) Duration);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
            0 => format!("{large} {unit}"),
            _ => format!("{large} {unit} {small} {small_unit}"),
        };
        f.write_str(&match seconds {
            0 if millis == 0 => "less than 1 ms".into(),
            0 => format!("{millis} ms"),
            1..10 => format!("{:.1} s", self.0.as_secs_f64()),
            10..60 => format!("{seconds} s"),
            60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
            3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
            _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_their_two_largest_units() {
        for (millis, want) in [
            (0, "less than 1 ms"),
            (1, "1 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (9_900, "9.9 s"),
            (10_000, "10 s"),
            (59_999, "59 s"),
            (60_000, "1 m"),
            (303_000, "5 m 3 s"),
            (3_600_000, "1 h"),
            (86_399_000, "23 h 59 m"),
            (86_400_000, "1 d"),
            (95_000_000, "1 d 2 h"),
        ] {
            assert_eq!(Lasting(Duration::from_millis(millis)).to_string(), want, "{millis}");
        }
    }
}
