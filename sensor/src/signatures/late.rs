//! Alerts that wait for the packet they are told with.
//!
//! In: what was found in a TCP stream, and the packets that follow. Out: the same, when the other end has acknowledged the
//! bytes and their sender has sent another packet. That is when Suricata, as a passive sensor, looks into a stream: users
//! correlate alerts by time and packet with it, and what is known of the transaction by then is told too. What is never
//! acknowledged comes with the flow's end; where the other end is out of sight, nothing waits.

use super::{Found, Rules};
use crate::decode::Tcp;
use crate::dpi::Event;
use std::sync::Arc;
use weir_common::app::App;
use weir_common::net::Direction;
use weir_common::record::tcp_flags;

/// Most alerts of one flow that wait; at the limit further ones are told at once.
const HELD_MAX: usize = 64;
/// Packets that one end may send without one of the other before the capture counts as one-sided, and what waits for its
/// acknowledgement is told.
const UNANSWERED_MAX: u8 = 16;
/// Most files of one transaction that an alert tells of.
const FILES_MAX: usize = 16;

/// The alerts of one flow that wait.
#[derive(Debug, Default)]
pub struct Late {
    held: Vec<Held>,
    unanswered: [u8; 2],
    /// The number behind those of all transactions that were told.
    next: u64,
}

/// An alert that waits.
#[derive(Debug)]
pub struct Held {
    /// The rules it was found by.
    pub rules: Arc<Rules>,
    /// What was found.
    pub found: Found,
    /// What is known of its transaction.
    pub transaction: Transaction,
    /// The sequence number behind its bytes.
    end: u32,
    is_acknowledged: bool,
}

/// What is known of a transaction beside what signatures look into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The key of its event's body.
    pub kind: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
    /// Further members of the event, as JSON without the braces around them.
    pub beside: Vec<u8>,
    /// The bodies of the `fileinfo` events of files that it carried.
    pub files: Vec<Vec<u8>>,
    /// That it is the one is likely, and not said by what was found.
    pub is_guessed: bool,
}

/// Under which name an application's transactions are told.
pub fn event_name(app: App) -> &'static str {
    if app == App::Http2 { "http" } else { app.event_name() }
}

impl Transaction {
    /// Learns from an event, if that is about what was found.
    pub fn learn(&mut self, found: &Found, event: &Event) {
        let Some((number, _)) = found.transaction else { return };
        if event.kind == "fileinfo" {
            if self.files.len() < FILES_MAX && is_of(&event.body, number) && !self.files.contains(&event.body)
            {
                self.files.push(event.body.clone());
            }
        } else if event.app == found.app
            && event.kind == event_name(found.app)
            && event.transaction.is_none_or(|have| have == number)
        {
            self.kind = Some(event.kind);
            self.body.clear();
            // Alerts tell of DNP3's fragments by whose they are, its events by their type.
            if event.app == App::Dnp3 {
                let is_request = event.body.starts_with(b"{\"type\":\"request\"");
                self.body.extend_from_slice(if is_request { b"{\"request\":" } else { b"{\"response\":" });
                self.body.extend_from_slice(&event.body);
                self.body.push(b'}');
            } else {
                self.body.extend_from_slice(&event.body);
            }
            self.beside.clone_from(&event.beside);
        }
    }
}

/// Whether the body of a `fileinfo` event names a transaction.
fn is_of(body: &[u8], number: u64) -> bool {
    const KEY: &[u8] = b"\"tx_id\":";
    let mut after = memchr::memmem::find_iter(body, KEY).filter_map(|at| body.get(at + KEY.len()..));
    after.any(|text| {
        let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        text.get(..end) == Some(itoa::Buffer::new().format(number).as_bytes())
    })
}

impl Late {
    /// Takes note of what is told of transactions.
    pub fn count(&mut self, event: &Event) {
        if event.kind == event_name(event.app)
            && let Some(number) = event.transaction
        {
            self.next = self.next.max(number.saturating_add(1));
        }
    }

    /// The number behind those of all transactions that were told.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Lets an alert wait. `end`: the sequence number behind its bytes; none: they were acknowledged already.
    /// Gives it back where too many wait.
    pub fn hold(
        &mut self,
        rules: &Arc<Rules>,
        found: Found,
        transaction: Transaction,
        end: Option<u32>,
    ) -> Option<Transaction> {
        if self.held.len() >= HELD_MAX {
            return Some(transaction);
        }
        let (end, is_acknowledged) = (end.unwrap_or_default(), end.is_none());
        self.held.push(Held { rules: Arc::clone(rules), found, transaction, end, is_acknowledged });
        None
    }

    /// Learns from an event of the flow.
    pub fn learn(&mut self, event: &Event) {
        self.held.iter_mut().for_each(|held| held.transaction.learn(&held.found, event));
    }

    /// Takes note of a packet, and gives what is to be told with it.
    pub fn packet(&mut self, tcp: &Tcp, direction: Direction) -> Vec<Held> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let (here, there) = (direction.index(), direction.flip().index());
        self.unanswered[there] = 0;
        self.unanswered[here] = self.unanswered[here].saturating_add(1);
        if tcp.flags & tcp_flags::ACK != 0 {
            for held in self.held.iter_mut().filter(|held| held.found.direction != direction) {
                held.is_acknowledged |= tcp.acknowledgement.wrapping_sub(held.end).cast_signed() >= 0;
            }
        }
        let is_one_sided = self.unanswered[here] > UNANSWERED_MAX;
        let is_due =
            |held: &mut Held| held.found.direction == direction && (held.is_acknowledged || is_one_sided);
        self.held.extract_if(.., is_due).collect()
    }

    /// The flow has ended: everything is to be told.
    pub fn end(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// The flow's ends were exchanged.
    pub fn swap_directions(&mut self) {
        self.unanswered.swap(0, 1);
        self.held.iter_mut().for_each(|held| held.found.direction = held.found.direction.flip());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::time::Timestamp;

    fn tcp(acknowledgement: u32) -> Tcp {
        Tcp { source: 1, destination: 2, sequence: 0, acknowledgement, flags: tcp_flags::ACK, window: 0 }
    }

    fn none() -> Arc<Rules> {
        Arc::new(Rules::none())
    }

    fn found(direction: Direction) -> Found {
        let transaction = Some((3, direction));
        Found { signature: 1, direction, app: App::Http, transaction, is_of_stream: true, frame: None, context: Vec::new() }
    }

    #[test]
    fn an_alert_is_told_with_its_senders_next_packet_after_the_acknowledgement() {
        let mut late = Late::default();
        assert!(late.hold(&none(), found(Direction::Forward), Transaction::default(), Some(2)).is_none());
        assert!(late.packet(&tcp(9), Direction::Forward).is_empty(), "not acknowledged yet");
        assert!(late.packet(&tcp(1), Direction::Reverse).is_empty(), "not all of it");
        assert!(late.packet(&tcp(2), Direction::Reverse).is_empty(), "not its sender's packet");
        assert_eq!(late.packet(&tcp(9), Direction::Forward).len(), 1);
        assert!(late.is_empty());
    }

    #[test]
    fn what_was_acknowledged_before_waits_for_its_sender_only() {
        let mut late = Late::default();
        late.hold(&none(), found(Direction::Reverse), Transaction::default(), None);
        assert!(late.packet(&tcp(0), Direction::Forward).is_empty());
        assert_eq!(late.packet(&tcp(0), Direction::Reverse).len(), 1);
    }

    #[test]
    fn one_sided_captures_and_full_ones_do_not_wait() {
        let mut late = Late::default();
        for _ in 0..HELD_MAX {
            assert!(late.hold(&none(), found(Direction::Forward), Transaction::default(), Some(2)).is_none());
        }
        assert!(late.hold(&none(), found(Direction::Forward), Transaction::default(), Some(2)).is_some());
        let told: Vec<_> =
            (0..=UNANSWERED_MAX).map(|_| late.packet(&tcp(0), Direction::Forward).len()).collect();
        assert_eq!(told.iter().sum::<usize>(), HELD_MAX);
        assert_eq!(told.last(), Some(&HELD_MAX));
        late.hold(&none(), found(Direction::Forward), Transaction::default(), Some(2));
        assert_eq!(late.end().len(), 1);
    }

    #[test]
    fn what_passes_meanwhile_is_learned() {
        let mut late = Late::default();
        late.hold(&none(), found(Direction::Forward), Transaction::default(), Some(2));
        let event = |kind, transaction, body: &str| Event {
            kind,
            transaction: Some(transaction),
            ..Event::new(App::Http, Timestamp(1), Direction::Forward, body.into())
        };
        for event in [
            event("http", 3, "{1}"),
            event("http", 4, "{2}"),
            event("fileinfo", 9, r#"{"tx_id":3}"#),
            event("fileinfo", 3, r#"{"tx_id":31}"#),
        ] {
            late.learn(&event);
        }
        let held = late.end();
        let files = vec![br#"{"tx_id":3}"#.to_vec()];
        let want = Transaction {
            kind: Some("http"),
            body: b"{1}".to_vec(),
            beside: Vec::new(),
            files,
            is_guessed: false,
        };
        assert_eq!(held[0].transaction, want);
    }
}
