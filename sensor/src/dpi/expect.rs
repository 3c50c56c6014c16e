//! Flows that another flow has announced: a data connection of FTP, a stream that SDP describes.
//!
//! In: announcements by dissectors; the ends of each flow that begins to be inspected. Out: what was announced
//! for it. Bounded in number and in time; the oldest announcement makes room.

use super::{Carrier, End};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::time::Duration;
use weir_common::app::App;
use weir_common::time::Timestamp;

/// Most announcements that wait; the oldest is forgotten for a new one.
pub(super) const EXPECTATIONS_MAX: usize = 4096;
/// How long an announcement waits for its flow.
pub(super) const EXPECTATION_AGE_MAX: Duration = Duration::from_secs(120);

/// An announced flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// One of its ends.
    pub end: End,
    /// What carries it.
    pub carrier: Carrier,
    /// Its application.
    pub app: App,
    /// What its dissector is to know.
    pub note: Box<[u8]>,
    /// When it was announced.
    pub since: Timestamp,
}

/// A worker's announcements.
#[derive(Debug, Default)]
pub struct Expectations {
    waiting: HashMap<(End, Carrier), Expectation, foldhash::quality::RandomState>,
    /// In the order of their announcement, with its time, which tells a newer one under the same key apart.
    order: VecDeque<((End, Carrier), Timestamp)>,
}

impl Expectations {
    /// Announces a flow; a newer announcement for the same end replaces an older one.
    pub fn add(&mut self, expectation: Expectation) {
        let key = (expectation.end, expectation.carrier);
        self.order.push_back((key, expectation.since));
        self.waiting.insert(key, expectation);
        while self.order.len() > EXPECTATIONS_MAX {
            self.forget_oldest();
        }
    }

    /// What was announced for a flow between these ends. An announcement of a stream is used up by it; one of
    /// datagrams stands until it is too old, because both ends may use it.
    #[inline]
    pub fn take(&mut self, ends: &[End; 2], carrier: Carrier, now: Timestamp) -> Option<Expectation> {
        if self.waiting.is_empty() {
            return None;
        }
        let oldest = now.minus(EXPECTATION_AGE_MAX);
        while self.order.front().is_some_and(|(_, since)| *since < oldest) {
            self.forget_oldest();
        }
        // The responder's is the one that is usually announced.
        ends.iter().rev().find_map(|end| match carrier {
            Carrier::Stream => self.waiting.remove(&(*end, carrier)),
            Carrier::Datagram => self.waiting.get(&(*end, carrier)).cloned(),
        })
    }

    /// All that wait, in the order of their announcement.
    #[cfg(test)]
    pub(super) fn drain(&mut self) -> Vec<Expectation> {
        let order = std::mem::take(&mut self.order);
        order.into_iter().filter_map(|(key, _)| self.waiting.remove(&key)).collect()
    }

    fn forget_oldest(&mut self) {
        let Some((key, since)) = self.order.pop_front() else { return };
        if self.waiting.get(&key).is_some_and(|waiting| waiting.since == since) {
            self.waiting.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::net::Address;

    fn end(port: u16) -> End {
        (Address::v4([192, 0, 2, 1]), port)
    }

    fn expectation(port: u16, seconds: u64) -> Expectation {
        let since = Timestamp(seconds * 1_000_000_000);
        Expectation { end: end(port), carrier: Carrier::Stream, app: App::FtpData, note: [].into(), since }
    }

    #[test]
    fn an_announced_stream_is_found_once_by_either_end() {
        let mut expectations = Expectations::default();
        let other = (Address::v4([192, 0, 2, 9]), 7);
        for ends in [[other, end(20)], [end(20), other]] {
            expectations.add(expectation(20, 5));
            let now = Timestamp(6_000_000_000);
            assert_eq!(expectations.take(&ends, Carrier::Datagram, now), None);
            assert!(expectations.take(&ends, Carrier::Stream, now).is_some());
            assert_eq!(expectations.take(&ends, Carrier::Stream, now), None);
        }
    }

    #[test]
    fn announcements_are_bounded_in_age_and_number() {
        let mut expectations = Expectations::default();
        expectations.add(expectation(20, 1000));
        let ends = [end(1), end(20)];
        let late = Timestamp((1001 + EXPECTATION_AGE_MAX.as_secs()) * 1_000_000_000);
        assert_eq!(expectations.take(&ends, Carrier::Stream, late), None);
        for port in 0..=EXPECTATIONS_MAX as u16 {
            expectations.add(expectation(port, 1000));
        }
        assert_eq!(expectations.waiting.len(), EXPECTATIONS_MAX);
        assert!(!expectations.waiting.contains_key(&(end(0), Carrier::Stream)));
    }
}
