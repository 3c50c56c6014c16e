//! Events that wait until the other end has acknowledged the bytes they tell of.
//!
//! In: the events that a segment brought, and acknowledgements. Out: the events, with the time and number of the packet
//! that acknowledged them: what a sender says counts once it has arrived, and Suricata, whose users correlate by these
//! numbers, tells it then. Where the other end is out of sight, nothing waits for long.

use super::Event;
use crate::decode::Tcp;
use weir_common::net::Direction;
use weir_common::record::tcp_flags;
use weir_common::time::Timestamp;

/// Most events of one flow that wait; at the limit the oldest is told as it is.
const PENDING_EVENTS_MAX: usize = 64;
/// Segments that one end may send without a packet of the other before the capture counts as one-sided, and nothing
/// waits any more.
const UNANSWERED_SEGMENTS_MAX: u8 = 16;

/// The events of one flow that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Each with its sender and the sequence number behind the bytes it tells of.
    waiting: Vec<(Direction, u32, Event)>,
    /// The highest acknowledgement of each direction's bytes; none: the other end was not seen.
    acknowledged: [Option<u32>; 2],
    /// Segments of each direction since the last packet of the other.
    unanswered: [u8; 2],
}

impl Pending {
    /// Begins with a segment that has bytes.
    pub(super) fn begin(tcp: &Tcp, direction: Direction) -> Pending {
        let mut pending = Pending::default();
        pending.packet(tcp, direction, Timestamp::MIN, None);
        // Who acknowledges has heard the other end; what it said before was acknowledged.
        if tcp.flags & tcp_flags::ACK != 0 {
            pending.acknowledged[direction.index()] = Some(tcp.sequence);
        }
        pending
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The events that wait, oldest first.
    pub(super) fn waiting(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.waiting.iter().map(|(_, _, event)| event)
    }

    /// The flow's ends were exchanged: events that wait name theirs anew. Who sent what is counted as it was from the start.
    pub(super) fn swap_directions(&mut self) {
        self.waiting.iter_mut().for_each(|(.., event)| event.direction = event.direction.flip());
    }

    /// What a packet acknowledges; tells what waited for it. `direction` is the packet's.
    pub(super) fn packet(
        &mut self,
        tcp: &Tcp,
        direction: Direction,
        time: Timestamp,
        events: Option<&mut Vec<Event>>,
    ) {
        let of = direction.flip();
        self.unanswered[of.index()] = 0;
        if tcp.flags & tcp_flags::ACK != 0 {
            let highest = &mut self.acknowledged[of.index()];
            if highest.is_none_or(|highest| tcp.acknowledgement.wrapping_sub(highest).cast_signed() > 0) {
                *highest = Some(tcp.acknowledgement);
            }
        }
        if self.waiting.is_empty() {
            return;
        }
        let Some(events) = events else { return self.waiting.clear() };
        // What a reset leaves unacknowledged waits for the flow's end.
        let acknowledged = self.acknowledged;
        let told = self
            .waiting
            .extract_if(.., |(direction, end, _)| is_acknowledged(acknowledged[direction.index()], *end));
        events.extend(told.map(|(sender, _, event)| match event.kind {
            // What is odd is told as the packet's that acknowledges it, as Suricata does.
            "anomaly" if sender == of => Event { time, direction: event.direction.flip(), ..event },
            _ => Event { time, ..event },
        }));
    }

    /// Holds back the events from `from` on, which a segment that ends before `end` brought.
    pub(super) fn hold(&mut self, events: &mut Vec<Event>, from: usize, direction: Direction, end: u32) {
        let unanswered = &mut self.unanswered[direction.index()];
        *unanswered = unanswered.saturating_add(1);
        if *unanswered > UNANSWERED_SEGMENTS_MAX {
            // In the order in which they came.
            let late = std::mem::take(&mut self.waiting);
            events.splice(from..from, late.into_iter().map(|(_, _, event)| event));
            return;
        }
        let acknowledged = self.acknowledged[direction.index()];
        if from >= events.len() || acknowledged.is_none() || is_acknowledged(acknowledged, end) {
            return;
        }
        self.waiting.extend(events.drain(from..).map(|event| (direction, end, event)));
        let surplus = self.waiting.len().saturating_sub(PENDING_EVENTS_MAX);
        events.extend(self.waiting.drain(..surplus).map(|(_, _, event)| event));
    }

    /// The flow ends: everything is told.
    pub(super) fn end(&mut self, events: Option<&mut Vec<Event>>) {
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(events) = events {
            events.extend(waiting.into_iter().map(|(_, _, event)| event));
        }
    }
}

fn is_acknowledged(highest: Option<u32>, end: u32) -> bool {
    highest.is_some_and(|highest| highest.wrapping_sub(end).cast_signed() >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::app::App;

    fn tcp(flags: u16, acknowledgement: u32) -> Tcp {
        Tcp { source: 1, destination: 2, sequence: 0, acknowledgement, flags, window: 0 }
    }

    fn event() -> Event {
        Event::new(App::Http, Timestamp(1), Direction::Forward, Vec::new())
    }

    #[test]
    fn an_event_is_told_with_the_packet_that_acknowledges_its_last_byte() {
        let (mut pending, mut events) = (Pending::default(), vec![event()]);
        // The handshake, around the end of the numbers.
        pending.packet(&tcp(tcp_flags::ACK, u32::MAX - 9), Direction::Reverse, Timestamp(1), None);
        pending.hold(&mut events, 0, Direction::Forward, 90);
        assert!(events.is_empty() && !pending.is_empty());
        pending.packet(&tcp(tcp_flags::ACK, 90), Direction::Forward, Timestamp(2), Some(&mut events));
        pending.packet(&tcp(tcp_flags::ACK, 89), Direction::Reverse, Timestamp(3), Some(&mut events));
        assert!(events.is_empty());
        pending.packet(&tcp(tcp_flags::ACK, 90), Direction::Reverse, Timestamp(4), Some(&mut events));
        assert_eq!(events, [Event { time: Timestamp(4), ..event() }]);
    }

    #[test]
    fn without_another_end_nothing_waits_and_after_a_reset_what_was_not_acknowledged_does() {
        let (mut pending, mut events) = (Pending::default(), vec![event()]);
        pending.hold(&mut events, 0, Direction::Forward, 90);
        assert_eq!(events.len(), 1);
        pending.packet(&tcp(tcp_flags::ACK, 1), Direction::Reverse, Timestamp(1), Some(&mut events));
        pending.hold(&mut events, 0, Direction::Forward, 90);
        assert!(events.is_empty());
        pending.packet(&tcp(tcp_flags::RST, 0), Direction::Forward, Timestamp(2), Some(&mut events));
        assert!(events.is_empty());
        pending.end(Some(&mut events));
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn events_that_wait_know_when_the_ends_were_exchanged() {
        let (mut pending, mut events) = (Pending::default(), vec![event()]);
        pending.packet(&tcp(tcp_flags::ACK, 1), Direction::Reverse, Timestamp(1), None);
        pending.hold(&mut events, 0, Direction::Forward, 90);
        pending.swap_directions();
        pending.packet(&tcp(tcp_flags::ACK, 90), Direction::Reverse, Timestamp(4), Some(&mut events));
        assert_eq!(events, [Event { time: Timestamp(4), direction: Direction::Reverse, ..event() }]);
    }

    #[test]
    fn one_sided_captures_do_not_wait() {
        let (mut pending, mut events) =
            (Pending::begin(&tcp(tcp_flags::ACK, 7), Direction::Forward), Vec::new());
        for number in 1..=usize::from(UNANSWERED_SEGMENTS_MAX) + 1 {
            let from = events.len();
            events.push(event());
            pending.hold(&mut events, from, Direction::Forward, 9);
            let told = if number > usize::from(UNANSWERED_SEGMENTS_MAX) { number } else { 0 };
            assert_eq!(events.len(), told);
        }
    }

    #[test]
    fn too_many_are_told_unacknowledged() {
        let (mut pending, mut events) = (Pending::default(), Vec::new());
        pending.packet(&tcp(tcp_flags::ACK, 1), Direction::Reverse, Timestamp(1), None);
        for number in 1..=PENDING_EVENTS_MAX + 1 {
            let from = events.len();
            events.push(event());
            pending.unanswered = [0; 2];
            pending.hold(&mut events, from, Direction::Forward, 9);
            assert_eq!(events.len(), number.saturating_sub(PENDING_EVENTS_MAX));
        }
        pending.end(Some(&mut events));
        assert_eq!(events.len(), PENDING_EVENTS_MAX + 1);
    }
}
