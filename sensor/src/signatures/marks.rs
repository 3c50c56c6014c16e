//! What signatures remember of a flow, and the tail of its streams.
//!
//! In: a flow's packets. Out: what of a TCP stream lies before the packet at hand, so that a content which spans
//! packets is found. Nothing is kept of a flow before a rule needs it.
//!
//! A segment that is not the next in order is looked at alone: what spans a hole, or segments that came in the wrong
//! order, is not found. Bytes beyond [`Streams::depth`] of a direction are not looked at as a stream.

use super::excerpt::Excerpts;
use super::late::{Late, event_name};
use super::packet::{AppFacts, StreamSizes};
use super::rules::Places;
use super::state::{FlowState, RuleId, StateCounters, TransactionBits};
use crate::decode::{Tcp, Transport};
use crate::dpi::Event;
use std::sync::Arc;
use weir_common::app::App;
use weir_common::net::Direction;
use weir_common::record::tcp_flags;
use weir_common::rule::Action;

/// Bytes of each direction's stream that are kept: what a rule can find spans no more than these and a packet.
pub(super) const TAIL_BYTES: usize = 2560;
/// Segments for which a signature waits, after its pattern was found, until the rest of what it asks for has come.
const WAIT_SEGMENTS_MAX: u8 = 8;
/// Most signatures of one direction that wait for more of the stream, after their pattern was found; of more the
/// oldest is given up.
const WAITING_MAX: usize = 16;
/// Most variables of one flow; further ones are not kept, which is counted.
const FLOW_VARIABLES_MAX: usize = 64;
/// Most transactions of one flow that are not told at a time; of more the oldest is told.
const MUTED_MAX: usize = 256;
/// Most transactions of one flow with marks of their own; of more the one that was marked first is forgotten, which is
/// counted.
const MARKED_MAX: usize = 64;
/// Most rules about both sides of a transaction that wait for the other side, over all transactions of a flow; of more
/// the first is forgotten, which is counted.
const HALVES_MAX: usize = 256;

/// What signatures remember of a flow; the beginning is what every packet needs.
#[derive(Debug, Default)]
#[repr(C)]
pub struct FlowMarks {
    /// A `pass` rule has matched, or one with `bypass`: nothing more is looked for.
    pub(super) is_passed: bool,
    /// It was one with `bypass`.
    pub(super) is_bypassed: bool,
    /// An alert was told of it.
    pub(super) has_alerted: bool,
    /// Which rules the numbers of signatures are of.
    pub(super) epoch: u32,
    /// What was known of the flow when its headers were looked at.
    pub(super) known: Known,
    /// By direction, where what concerns its packets is.
    pub(super) places: [Option<Places>; 2],
    /// How far its sequence numbers went, where a rule asks.
    pub(super) sizes: StreamSizes,
    /// Alerts that wait.
    pub late: Late,
    pub(super) streams: [StreamTail; 2],
    /// Signatures that every packet would match again, by direction.
    pub(super) once: Vec<(u32, Direction)>,
    pub(super) bits: FlowState,
    /// What a rule would have done with it: [`Action::Drop`] or [`Action::Pass`].
    pub(super) action: Option<Action>,
    /// What few rules leave.
    pub(super) rare: Option<Box<Rare>>,
    /// What alerts quote of its streams, where they are to.
    pub excerpts: Option<Box<Excerpts>>,
}

/// What few rules leave of a flow.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Variables that expressions captured: names and values.
    pub(super) variables: Vec<(Arc<str>, Vec<u8>)>,
    /// Transactions that are not told, by kind of event.
    muted: Vec<(&'static str, u64)>,
    /// Marks of transactions (`xbits` with `track tx`).
    marked: Vec<(TransactionId, TransactionBits)>,
    /// Rules about both sides of a transaction (`=>`) of which one side has matched: which rule, and which side.
    halves: Vec<(TransactionId, RuleId, Direction)>,
}

/// A transaction of a flow: whose, and its number.
pub(super) type TransactionId = (App, u64);

/// What was known of a flow when signatures about headers were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) seen: [bool; 2],
    pub(super) is_established: bool,
    /// The application, and the direction of the packet that showed it.
    app: (App, Direction),
    /// What recognition says, as each direction's packets have last seen it.
    apps: [AppFacts; 2],
    /// The application as packets see it: over TCP once the other end has answered to what showed it, as with
    /// Suricata, which looks at what was acknowledged.
    pub(super) visible: App,
}

/// The end of one direction's stream so far.
#[derive(Debug, Default)]
pub(super) struct StreamTail {
    is_started: bool,
    /// Sequence number of the next byte.
    next: u32,
    /// Bytes that were looked at.
    pub(super) looked: u64,
    /// The last of them.
    bytes: Vec<u8>,
    /// Signatures whose pattern was found, and for how many segments more they wait.
    waiting: Vec<(u32, u8)>,
    /// Signatures that matched, and how many bytes of the stream had been looked at before.
    fired: Vec<(u32, u64)>,
}

/// A segment's place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It goes on behind the tail; so many of its first bytes are not new.
    Next(usize),
    /// Nothing in it is new.
    Again,
    /// It does not touch what was seen.
    Apart,
}

impl FlowMarks {
    /// One word of each of its cache lines that most packets need, to load them.
    #[inline]
    pub fn touch(&self) -> u64 {
        let [there, back] = &self.streams;
        let known = u64::from(self.known.is_established) ^ u64::from(self.sizes.touch());
        u64::from(self.epoch) ^ known ^ there.looked ^ back.looked
    }

    /// The rules have changed: numbers of signatures mean others now.
    pub(super) fn begin_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.places = [None; 2];
        self.once.clear();
        for stream in &mut self.streams {
            stream.waiting.clear();
            stream.fired.clear();
        }
    }

    /// The flow's ends were exchanged.
    pub fn swap_directions(&mut self) {
        self.sizes.flip();
        self.streams.swap(0, 1);
        self.late.swap_directions();
        self.excerpts.iter_mut().for_each(|excerpts| excerpts.swap_directions());
        self.known.seen.swap(0, 1);
        self.places.swap(0, 1);
        self.once.iter_mut().for_each(|(_, direction)| *direction = direction.flip());
    }

    /// What a rule does to packets it would do to the whole flow. As in Suricata, to drop weighs more than to pass.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Drop | Action::Reject => self.action = Some(Action::Drop),
            Action::Pass => self.action = self.action.or(Some(Action::Pass)),
            Action::Alert | Action::Config => {}
        }
    }

    /// Keeps a variable.
    pub(super) fn keep(&mut self, name: Arc<str>, value: Vec<u8>, counters: &mut StateCounters) {
        let variables = &mut self.rare.get_or_insert_default().variables;
        let is_full = variables.len() >= FLOW_VARIABLES_MAX;
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None if is_full => counters.flow_variables_refused += 1,
            None => variables.push((name, value)),
        }
    }

    /// A transaction's marks, where it has any.
    #[inline]
    pub(super) fn of_transaction(&self, transaction: Option<TransactionId>) -> Option<&TransactionBits> {
        let marked = &self.rare.as_ref()?.marked;
        let transaction = transaction?;
        marked.iter().find(|(known, _)| *known == transaction).map(|(_, bits)| bits)
    }

    /// One side of a transaction is what a rule about both asks for: whether the other was already, so that the rule
    /// matches.
    pub(super) fn completes(
        &mut self,
        transaction: TransactionId,
        rule: RuleId,
        side: Direction,
        counters: &mut StateCounters,
    ) -> bool {
        let halves = &mut self.rare.get_or_insert_default().halves;
        let other = (transaction, rule, side.flip());
        if let Some(at) = halves.iter().position(|half| *half == other) {
            halves.remove(at);
            return true;
        }
        let own = (transaction, rule, side);
        if !halves.contains(&own) {
            if halves.len() >= HALVES_MAX {
                halves.remove(0);
                counters.transactions_forgotten += 1;
            }
            halves.push(own);
        }
        false
    }

    /// A `config` rule has said that a transaction is not to be told.
    pub(super) fn mute(&mut self, app: App, transaction: u64) {
        let muted = &mut self.rare.get_or_insert_default().muted;
        if muted.len() >= MUTED_MAX {
            muted.remove(0);
        }
        muted.push((event_name(app), transaction));
    }

    /// Takes out events that are not to be told.
    #[inline]
    pub fn silence(&self, events: &mut Vec<Event>) {
        // Most packets tell nothing, and what few rules leave lies apart.
        if events.is_empty() {
            return;
        }
        if let Some(rare) = self.rare.as_ref().filter(|rare| !rare.muted.is_empty()) {
            let is_muted = |event: &Event| event.transaction.map(|number| (event.kind, number));
            events.retain(|event| is_muted(event).is_none_or(|event| !rare.muted.contains(&event)));
        }
    }

    /// Whether an alert was told of the flow.
    pub fn has_alerted(&self) -> bool {
        self.has_alerted
    }
}

impl Rare {
    /// A transaction's marks, to be changed.
    pub(super) fn marks_of(
        &mut self,
        transaction: TransactionId,
        counters: &mut StateCounters,
    ) -> &mut TransactionBits {
        let at = match self.marked.iter().position(|(known, _)| *known == transaction) {
            Some(at) => at,
            None => {
                if self.marked.len() >= MARKED_MAX {
                    self.marked.remove(0);
                    counters.transactions_forgotten += 1;
                }
                self.marked.push((transaction, TransactionBits::default()));
                self.marked.len() - 1
            }
        };
        &mut self.marked[at].1
    }
}

impl StreamTail {
    /// Where a segment stands.
    pub(super) fn order(&self, tcp: &Tcp, payload: &[u8]) -> Order {
        let sequence = tcp.sequence.wrapping_add(u32::from(tcp.flags & tcp_flags::SYN != 0));
        if !self.is_started {
            return Order::Apart;
        }
        // How far the segment begins before what comes next (RFC 9293 section 3.4).
        let behind = self.next.wrapping_sub(sequence).cast_signed();
        match usize::try_from(behind) {
            Ok(behind) if behind < payload.len() => Order::Next(behind),
            Ok(_) => Order::Again,
            Err(_) => Order::Apart,
        }
    }

    /// Gives its memory back; what goes on is looked at from there.
    pub(super) fn release(&mut self) {
        if self.bytes.capacity() > 0 {
            self.bytes = Vec::new();
            self.waiting = Vec::new();
        }
    }

    /// The bytes before the segment at hand.
    pub(super) fn tail(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the tail begins where the stream does.
    pub(super) fn is_whole(&self) -> bool {
        self.looked == self.bytes.len() as u64
    }

    /// Takes up a segment that was looked at; `urgent`: how many numbers are an urgent byte's behind its payload.
    pub(super) fn push(&mut self, tcp: &Tcp, (payload, urgent): (&[u8], u32), order: Order) {
        let new = match order {
            Order::Again => return,
            Order::Next(known) => payload.get(known..).unwrap_or_default(),
            Order::Apart => {
                // What lies in between may still come; it is looked at alone then.
                let is_behind = self.is_started && self.next.wrapping_sub(tcp.sequence).cast_signed() > 0;
                if is_behind {
                    return;
                }
                self.bytes.clear();
                // The segment at hand was looked at already: what waits since then goes on.
                let looked = self.looked;
                if self.is_started {
                    self.waiting.clear();
                }
                self.fired.retain(|(_, at)| *at == looked);
                payload
            }
        };
        self.is_started = true;
        let syn = u32::from(tcp.flags & tcp_flags::SYN != 0);
        self.next = tcp.sequence.wrapping_add(syn).wrapping_add(payload.len() as u32).wrapping_add(urgent);
        self.looked = self.looked.saturating_add(new.len() as u64);
        match new.len().checked_sub(TAIL_BYTES) {
            Some(from) => {
                self.bytes.clear();
                self.bytes.extend_from_slice(new.get(from..).unwrap_or_default());
            }
            None => {
                let surplus = (self.bytes.len() + new.len()).saturating_sub(TAIL_BYTES);
                self.bytes.drain(..surplus.min(self.bytes.len()));
                if self.bytes.capacity() < self.bytes.len() + new.len() {
                    // Not more than it can ever need.
                    let wanted = (2 * self.bytes.len()).max(self.bytes.len() + new.len()).min(TAIL_BYTES);
                    self.bytes.reserve_exact(wanted - self.bytes.len());
                }
                self.bytes.extend_from_slice(new);
            }
        }
        let oldest = self.looked.saturating_sub(TAIL_BYTES as u64);
        self.fired.retain(|(_, at)| *at >= oldest);
        self.waiting.retain_mut(|(_, left)| {
            *left = left.saturating_sub(1);
            *left > 0
        });
    }

    /// The pattern of a signature was found, and not all that it asks for.
    pub(super) fn wait(&mut self, signature: u32) {
        if self.waiting.iter().any(|(waiting, _)| *waiting == signature) {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.remove(0);
        }
        self.waiting.push((signature, WAIT_SEGMENTS_MAX));
    }

    /// A signature that has matched waits no longer.
    pub(super) fn matched(&mut self, signature: u32) {
        self.waiting.retain(|(waiting, _)| *waiting != signature);
        self.fired.retain(|(fired, _)| *fired != signature);
        if self.fired.len() >= WAITING_MAX {
            self.fired.remove(0);
        }
        self.fired.push((signature, self.looked));
    }

    /// Whether a signature has matched in the tail: what it found there is not to be found again.
    pub(super) fn has_fired(&self, signature: u32) -> bool {
        self.fired.iter().any(|(fired, _)| *fired == signature)
    }

    /// Signatures that wait for more.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> {
        self.waiting.iter().map(|(signature, _)| *signature)
    }
}

/// Puts together what of the tail a pattern of `longest` bytes can begin in and end behind, and what of a segment is
/// behind its first `again` bytes; how much of it is the tail's.
pub(super) fn put_behind(
    tail: &[u8],
    payload: &[u8],
    again: usize,
    longest: usize,
    out: &mut Vec<u8>,
) -> usize {
    let reach = longest.saturating_sub(1).min(tail.len());
    out.clear();
    out.extend_from_slice(tail.get(tail.len() - reach..).unwrap_or_default());
    out.extend_from_slice(payload.get(again..).unwrap_or_default());
    reach
}

impl Default for Known {
    fn default() -> Known {
        let app = (App::Unknown, Direction::Forward);
        let apps = [AppFacts::default(); 2];
        Known { seen: [false; 2], is_established: false, app, apps, visible: App::Unknown }
    }
}

impl Known {
    /// Takes up what a packet shows; whether any of it is news.
    pub(super) fn learn(&mut self, sight: &super::Sight<'_>) -> bool {
        let direction = sight.direction.index();
        // Field by field: for most packets nothing is new, and nothing is written.
        let mut is_news = !self.seen[direction] || sight.is_established && !self.is_established;
        self.seen[direction] = true;
        self.is_established |= sight.is_established;
        // Each direction's rules look at it.
        if self.apps[direction] != sight.flow.apps {
            self.apps[direction] = sight.flow.apps;
            is_news = true;
        }
        if self.app.0 != sight.app {
            self.app = (sight.app, sight.direction);
            is_news = true;
        }
        let is_answered = match &sight.packet.transport {
            // What a SYN brings (RFC 7413) is looked at once the handshake is over.
            Transport::Tcp(tcp) => sight.direction != self.app.1 && tcp.flags & tcp_flags::SYN == 0,
            _ => true,
        };
        if (is_answered || !sight.waits) && self.visible != sight.app {
            self.visible = sight.app;
            is_news = true;
        }
        is_news
    }
}
