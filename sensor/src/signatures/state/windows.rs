//! Counting matches for thresholds.
//!
//! In: a rule's [`Threshold`], and a match's ends, flow and time. Out: whether it becomes an alert. A window
//! begins with a match and lasts the rule's seconds, its last moment included, as in Suricata. Windows are
//! kept by the rule's gid and sid, so that they go on when rules are loaded anew.
//!
//! At [`ENTRIES_MAX`] windows those that are over are dropped; when that leaves too many all are, which is
//! counted: counting then begins anew, and nothing else is lost. Ports that are counted apart are kept up to
//! [`PORTS_MAX`] for all windows together; past it a window counts matches instead, which is counted.

use super::limits::Verdict;
use super::threshold::{Method, Threshold, Track, Unique};
use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use weir_common::net::Address;
use weir_common::rule::Action;
use weir_common::time::Timestamp;

/// Most windows that are open at once.
pub(super) const ENTRIES_MAX: usize = 1 << 18;
/// How many windows may be left when those that are over were dropped: fewer than the most, so that a full
/// table is not searched at every match.
const ENTRIES_KEPT_MAX: usize = ENTRIES_MAX / 4 * 3;
/// Most ports that all windows remember together.
pub(super) const PORTS_MAX: usize = 1 << 22;
/// How long a `backoff` is remembered without a match, in seconds: longer than a flow is idle.
const BACKOFF_SECONDS: u32 = 7200;

/// A rule by its gid and sid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(u64);

impl RuleId {
    /// A rule.
    pub const fn new(gid: u32, sid: u32) -> RuleId {
        RuleId((gid as u64) << 32 | sid as u64)
    }
}

/// Whose matches a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowKey {
    /// The rule.
    pub rule: RuleId,
    /// What is tracked, as a number.
    pub track: u8,
    /// Whose; zeros where it is not part of it.
    pub tracked: [u8; 32],
}

/// A window: since when, and how many matches so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Time of its first match; of a `backoff`, of its last.
    pub since: Timestamp,
    /// Matches, or different ports.
    pub count: u32,
    /// How long it is remembered.
    pub seconds: u32,
    /// Of a `backoff`, the next count that alerts; otherwise 0.
    pub next: u32,
    /// Of a `rate_filter`, since when the other action is taken.
    pub acting: Option<Timestamp>,
    /// The ports that were counted, sorted.
    pub ports: Vec<u16>,
}

/// The windows of all rules.
#[derive(Debug, Default)]
pub struct Windows {
    open: HashMap<WindowKey, Window, RandomState>,
    /// Ports that all windows remember.
    ports: usize,
    /// How often all windows were dropped because there were too many.
    pub resets: u64,
    /// How often a window counted matches instead of ports because of too many ports.
    pub ports_refused: u64,
}

/// What a threshold may look at of a match.
#[derive(Clone, Copy, Debug)]
pub struct Matched {
    /// Who sent it.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// Its ports, in that order; zeros without.
    pub ports: [u16; 2],
    /// Its flow's identifier, where it has one.
    pub flow_id: Option<u64>,
    /// When.
    pub time: Timestamp,
}

impl Windows {
    /// Counts a match and says whether it alerts.
    pub(super) fn count(&mut self, threshold: &Threshold, rule: RuleId, matched: &Matched) -> Verdict {
        // Suricata counts nothing here, so that a window that is over does not swallow a match.
        if threshold.method == Method::Threshold && threshold.count == 1 {
            return Verdict::Alert;
        }
        let Some(tracked) = tracked(threshold.track, matched) else { return Verdict::NoAlert };
        let key = WindowKey { rule, track: threshold.track as u8, tracked };
        let now = matched.time;
        if self.open.len() >= ENTRIES_MAX && !self.open.contains_key(&key) {
            self.make_room(now);
        }
        let Windows { open, ports, ports_refused, .. } = self;
        let window = open.entry(key).or_insert_with(|| Window::new(threshold, now));
        let mut room = Room { used: ports, refused: ports_refused };
        window.count(threshold, matched, &mut room)
    }

    fn make_room(&mut self, now: Timestamp) {
        self.open.retain(|_, window| !window.is_over(now));
        if self.open.len() > ENTRIES_KEPT_MAX {
            self.open.clear();
            self.resets += 1;
        }
        self.ports = self.open.values().map(|window| window.ports.len()).sum();
    }

    /// The windows that are not over, in a fixed order.
    pub fn saved(&self, now: Timestamp) -> Vec<(WindowKey, Window)> {
        let open = self.open.iter().filter(|(_, window)| !window.is_over(now));
        let mut saved: Vec<_> = open.map(|(key, window)| (*key, window.clone())).collect();
        saved.sort_unstable_by_key(|(key, _)| *key);
        saved
    }

    /// Takes up windows that were saved.
    pub fn restore(&mut self, saved: impl IntoIterator<Item = (WindowKey, Window)>) {
        for (key, mut window) in saved.into_iter().take(ENTRIES_MAX) {
            window.ports.truncate(PORTS_MAX.saturating_sub(self.ports));
            window.ports.sort_unstable();
            window.ports.dedup();
            self.ports += window.ports.len();
            self.open.insert(key, window);
        }
    }
}

/// Room for ports.
struct Room<'w> {
    used: &'w mut usize,
    refused: &'w mut u64,
}

impl Window {
    fn new(threshold: &Threshold, now: Timestamp) -> Window {
        let (seconds, next) = match threshold.method {
            Method::Backoff { .. } => (BACKOFF_SECONDS, threshold.count),
            Method::Rate { timeout, .. } => (threshold.seconds.max(timeout), 0),
            _ => (threshold.seconds, 0),
        };
        Window { since: now, seconds, next, ..Window::default() }
    }

    /// Whether it can be forgotten.
    fn is_over(&self, now: Timestamp) -> bool {
        !is_within(self.acting.unwrap_or(self.since).max(self.since), self.seconds, now)
    }

    fn count(&mut self, threshold: &Threshold, matched: &Matched, room: &mut Room<'_>) -> Verdict {
        let now = matched.time;
        if let Method::Backoff { multiplier } = threshold.method {
            self.since = self.since.max(now);
            return alert_if(self.back_off(multiplier));
        }
        if let Method::Rate { action, timeout } = threshold.method {
            return self.rate(threshold, action, timeout, now);
        }
        if !is_within(self.since, threshold.seconds, now) {
            *room.used = room.used.saturating_sub(self.ports.len());
            *self = Window::new(threshold, now);
        }
        let limit = threshold.count;
        match threshold.method {
            Method::Filter(Unique::SourcePorts) => self.see(matched.ports[0], limit, room),
            Method::Filter(Unique::DestinationPorts) => self.see(matched.ports[1], limit, room),
            _ => self.count = self.count.saturating_add(1),
        }
        alert_if(match threshold.method {
            Method::Limit => self.count <= limit,
            Method::Filter(_) => self.count > limit,
            Method::Both => self.count == limit,
            Method::Threshold => {
                let is_reached = self.count >= limit;
                if is_reached {
                    self.count = 0;
                }
                is_reached
            }
            Method::Backoff { .. } | Method::Rate { .. } => true,
        })
    }

    /// Counts a port that was not seen. More than the limit and one need not be known apart.
    fn see(&mut self, port: u16, limit: u32, room: &mut Room<'_>) {
        let Err(at) = self.ports.binary_search(&port) else { return };
        if self.ports.len() > limit as usize {
            return;
        }
        // Suricata, too, counts matches where it has no memory for ports.
        if *room.used >= PORTS_MAX {
            *room.refused += 1;
        } else {
            self.ports.insert(at, port);
            *room.used += 1;
        }
        self.count = self.count.saturating_add(1);
    }

    fn back_off(&mut self, multiplier: u32) -> bool {
        if self.count == u32::MAX {
            return false;
        }
        self.count += 1;
        let is_reached = self.count == self.next;
        if is_reached {
            self.next = self.next.saturating_mul(multiplier);
        }
        is_reached
    }

    fn rate(&mut self, threshold: &Threshold, action: Action, timeout: u32, now: Timestamp) -> Verdict {
        let acts = Verdict::of_action(action);
        if let Some(since) = self.acting {
            // In whole seconds, and without counting the match that comes after them: as in Suricata.
            if now.seconds().saturating_sub(since.seconds()) <= timeout.into() {
                return acts;
            }
            self.acting = None;
            return Verdict::Alert;
        }
        if !is_within(self.since, threshold.seconds, now) {
            *self = Window::new(threshold, now);
        }
        self.count = self.count.saturating_add(1);
        if self.count <= threshold.count {
            return Verdict::Alert;
        }
        self.acting = Some(now);
        acts
    }
}

fn alert_if(alerts: bool) -> Verdict {
    if alerts { Verdict::Alert } else { Verdict::NoAlert }
}

/// Whether a time is not past a window that began then; one before it counts as within.
fn is_within(since: Timestamp, seconds: u32, now: Timestamp) -> bool {
    const NANOS: u64 = 1_000_000_000;
    now.0.saturating_sub(since.0) <= u64::from(seconds) * NANOS
}

fn tracked(track: Track, matched: &Matched) -> Option<[u8; 32]> {
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
        Track::Flow => first[..8].copy_from_slice(&matched.flow_id?.to_be_bytes()),
        Track::Rule => {}
    }
    Some(key)
}
