//! `threshold` and `detection_filter`: how often a rule that matches may alert.
//!
//! In: a match's rule, ends, flow and time. Out: whether it becomes an alert. A window begins with a match
//! and lasts the rule's seconds. At [`ENTRIES_MAX`] windows those that are over are dropped; when that is
//! not enough all are, which is counted: counting then begins anew, and nothing else is lost.

use std::collections::HashMap;
use weir_common::net::Address;
use weir_common::time::Timestamp;

/// Most windows that are open at once.
pub const ENTRIES_MAX: usize = 1 << 18;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The first matches of a window alert.
    Limit,
    /// Every so-many-th match of a window alerts.
    Threshold,
    /// The so-many-th match of a window alerts, once.
    Both,
    /// Matches alert after so many of a window.
    Filter,
}

/// What matches are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Track {
    Source,
    Destination,
    Both,
    Rule,
    Flow,
}

/// A rule's threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Threshold {
    kind: Kind,
    track: Track,
    count: u32,
    seconds: u32,
}

impl Threshold {
    /// Reads the value of `threshold`, or of `detection_filter`, which has no type.
    pub(super) fn parse(text: &str, is_filter: bool) -> Result<Threshold, String> {
        let (mut kind, mut track, mut count, mut seconds) = (None, None, None, None);
        for part in text.split(',') {
            let mut words = part.split_whitespace();
            let (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let number = || value.parse::<u32>().ok().filter(|number| *number > 0);
            let is_known = match name {
                "type" => {
                    kind = match value {
                        "limit" => Some(Kind::Limit),
                        "threshold" => Some(Kind::Threshold),
                        "both" => Some(Kind::Both),
                        _ => None,
                    };
                    kind.is_some() && !is_filter
                }
                "track" => {
                    track = match value {
                        "by_src" => Some(Track::Source),
                        "by_dst" => Some(Track::Destination),
                        "by_both" => Some(Track::Both),
                        "by_rule" => Some(Track::Rule),
                        "by_flow" => Some(Track::Flow),
                        _ => None,
                    };
                    track.is_some()
                }
                "count" => {
                    count = number();
                    count.is_some()
                }
                "seconds" => {
                    seconds = number();
                    seconds.is_some()
                }
                _ => false,
            };
            if !is_known || words.next().is_some() {
                return Err(format!("`{}` is not known here", part.trim()));
            }
        }
        let kind = if is_filter { Some(Kind::Filter) } else { kind };
        match (kind, track, count, seconds) {
            (Some(kind), Some(track), Some(count), Some(seconds)) => {
                Ok(Threshold { kind, track, count, seconds })
            }
            _ => Err("expected type, track, count and seconds".into()),
        }
    }
}

/// Whose matches a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowKey {
    /// The signature.
    pub signature: u32,
    /// What is tracked; zeros where it is not part of it.
    pub tracked: [u8; 32],
}

/// A window: since when, and how many matches so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Time of its first match.
    pub since: Timestamp,
    /// Matches.
    pub count: u32,
    /// How long it lasts.
    pub seconds: u32,
}

/// The windows of all rules.
#[derive(Debug, Default)]
pub struct Windows {
    open: HashMap<WindowKey, Window>,
    /// How often all windows were dropped because there were too many.
    pub resets: u64,
}

/// What a threshold may look at of a match.
#[derive(Clone, Copy, Debug)]
pub struct Matched {
    /// Its signature.
    pub signature: u32,
    /// Who sent it.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// Its flow's identifier.
    pub flow_id: u64,
    /// When.
    pub time: Timestamp,
}

impl Windows {
    /// Counts a match and says whether it alerts.
    pub(super) fn count(&mut self, threshold: &Threshold, matched: &Matched) -> bool {
        let key = WindowKey { signature: matched.signature, tracked: tracked(threshold.track, matched) };
        let now = matched.time;
        if self.open.len() >= ENTRIES_MAX && !self.open.contains_key(&key) {
            self.open.retain(|_, window| !window.is_over(now));
            if self.open.len() >= ENTRIES_MAX {
                self.open.clear();
                self.resets += 1;
            }
        }
        let fresh = Window { since: now, count: 0, seconds: threshold.seconds };
        let window = self.open.entry(key).or_insert(fresh);
        if window.is_over(now) {
            *window = fresh;
        }
        window.count = window.count.saturating_add(1);
        match threshold.kind {
            Kind::Limit => window.count <= threshold.count,
            Kind::Filter => window.count > threshold.count,
            Kind::Both => window.count == threshold.count,
            Kind::Threshold => {
                let is_reached = window.count >= threshold.count;
                if is_reached {
                    window.count = 0;
                }
                is_reached
            }
        }
    }

    /// The windows that are not over, in a fixed order.
    pub fn saved(&self, now: Timestamp) -> Vec<(WindowKey, Window)> {
        let open = self.open.iter().filter(|(_, window)| !window.is_over(now));
        let mut saved: Vec<_> = open.map(|(key, window)| (*key, *window)).collect();
        saved.sort_unstable_by_key(|(key, _)| *key);
        saved
    }

    /// Takes up windows that were saved.
    pub fn restore(&mut self, saved: impl IntoIterator<Item = (WindowKey, Window)>) {
        self.open.extend(saved.into_iter().take(ENTRIES_MAX));
    }
}

impl Window {
    fn is_over(&self, now: Timestamp) -> bool {
        const NANOS: u64 = 1_000_000_000;
        now.0.saturating_sub(self.since.0) >= u64::from(self.seconds) * NANOS
    }
}

fn tracked(track: Track, matched: &Matched) -> [u8; 32] {
    let mut key = [0; 32];
    let (first, second) = key.split_at_mut(16);
    match track {
        Track::Source => first.copy_from_slice(&matched.source.0),
        Track::Destination => first.copy_from_slice(&matched.destination.0),
        Track::Both => {
            // The pair, whichever way the packet goes.
            first.copy_from_slice(&matched.source.min(matched.destination).0);
            second.copy_from_slice(&matched.source.max(matched.destination).0);
        }
        Track::Flow => first[..8].copy_from_slice(&matched.flow_id.to_be_bytes()),
        Track::Rule => {}
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, is_filter: bool, seconds: &[u64]) -> Vec<bool> {
        let threshold = Threshold::parse(text, is_filter).unwrap();
        let mut windows = Windows::default();
        let matched = |second: &u64| Matched {
            signature: 1,
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            flow_id: 1,
            time: Timestamp::from_parts(*second, 0),
        };
        seconds.iter().map(|second| windows.count(&threshold, &matched(second))).collect()
    }

    #[test]
    fn each_type_alerts_when_it_says() {
        let (yes, no) = (true, false);
        let times = [0, 1, 2, 3, 9, 10, 11];
        let with = |kind: &str| format!("type {kind}, track by_src, count 2, seconds 10");
        assert_eq!(run(&with("limit"), false, &times), [yes, yes, no, no, no, yes, yes]);
        assert_eq!(run(&with("threshold"), false, &times), [no, yes, no, yes, no, no, yes]);
        assert_eq!(run(&with("both"), false, &times), [no, yes, no, no, no, no, yes]);
        let filter = "track by_src, count 2, seconds 10";
        assert_eq!(run(filter, true, &times), [no, no, yes, yes, yes, no, no]);
    }

    #[test]
    fn what_is_tracked_is_counted_apart() {
        let address = |last: u8| Address::v4([10, 0, 0, last]);
        for (track, same, other) in [
            ("by_src", (1, 9), (2, 2)),
            ("by_dst", (9, 2), (1, 3)),
            ("by_both", (2, 1), (1, 3)),
            ("by_rule", (8, 9), (0, 0)),
        ] {
            let text = format!("type limit, track {track}, count 1, seconds 10");
            let threshold = Threshold::parse(&text, false).unwrap();
            let mut windows = Windows::default();
            let mut count = |signature, (source, destination)| {
                let (source, destination) = (address(source), address(destination));
                let time = Timestamp(5);
                windows.count(&threshold, &Matched { signature, source, destination, flow_id: 1, time })
            };
            assert!(count(1, (1, 2)) && !count(1, same), "{track}");
            assert!(track == "by_rule" || count(1, other), "{track}");
            assert!(count(2, (1, 2)), "another rule counts for itself");
        }
    }

    #[test]
    fn wrong_thresholds_are_refused() {
        for text in [
            "type limit, track by_src, count 1",
            "type other, track by_src, count 1, seconds 1",
            "type limit, track by_me, count 1, seconds 1",
            "type limit, track by_src, count 0, seconds 1",
            "type limit, track by_src, count 1, seconds 1, more",
            "",
        ] {
            assert!(Threshold::parse(text, false).is_err(), "{text}");
        }
        assert!(Threshold::parse("type limit, track by_src, count 1, seconds 1", true).is_err());
    }

    #[test]
    fn saved_windows_go_on_where_they_were() {
        let threshold = Threshold::parse("type limit, track by_rule, count 2, seconds 10", false).unwrap();
        let at = |second| Matched {
            signature: 3,
            source: Address::default(),
            destination: Address::default(),
            flow_id: 1,
            time: Timestamp::from_parts(second, 0),
        };
        let mut first = Windows::default();
        assert!(first.count(&threshold, &at(0)) && first.count(&threshold, &at(1)));
        let mut second = Windows::default();
        second.restore(first.saved(Timestamp::from_parts(2, 0)));
        assert!(!second.count(&threshold, &at(2)));
        assert!(first.saved(Timestamp::from_parts(10, 0)).is_empty());
    }

    #[test]
    fn too_many_windows_are_dropped_and_counted() {
        let threshold = Threshold::parse("type limit, track by_flow, count 1, seconds 10", false).unwrap();
        let mut windows = Windows::default();
        for flow_id in 0..=ENTRIES_MAX as u64 {
            let (source, destination) = (Address::default(), Address::default());
            windows.count(
                &threshold,
                &Matched { signature: 1, source, destination, flow_id, time: Timestamp(1) },
            );
        }
        assert_eq!((windows.resets, windows.open.len()), (1, 1));
    }
}
