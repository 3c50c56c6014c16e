//! Follows TCP connections as Suricata's stream engine does, to tell what is odd about their segments.
//!
//! In: each segment of a flow in the order of capture, the first one included. Out: what is odd about it, as
//! [`StreamEvents`]. The flow table follows a connection's life with less, on purpose ([`crate::flow`]); this exists
//! only where a rule or `dpi.stream_events` asks for it, and then costs one allocation a flow and no more a segment,
//! but for handshakes that are sent in several versions. What the states and checks are called is RFC 9293's; where
//! Suricata reads it in its own way (its client's FIN is not counted in the next number), so does this, because users
//! of its rules expect the same answers.
//!
//! Deliberately absent: connections with one direction only (`async-oneside`), inline mode, checksums; of the receivers'
//! systems only that IPv4 hosts accept a timestamp of 0, as Suricata's shipped configuration says of them. Bytes are not
//! put together here: gaps and overlaps are inspection's to notice ([`super::Inspection::take_stream_events`]).
//!
//! To be called for each packet: [`Sessions::see`], before inspection; then, where inspection has seen it as well, what
//! that noticed is added, and [`Sessions::tell`] with both.

mod closing;
mod established;
mod handshake;
mod sacks;
mod segment;
mod validity;

#[cfg(test)]
mod tests;

use super::Event;
use super::stream_event::{StreamEvent, StreamEvents};
use crate::decode::{Packet, Transport};
use handshake::Offer;
use sacks::Sacks;
use segment::Segment;
use weir_common::app::App;
use weir_common::net::Direction;
use weir_common::record::tcp_flags::{ACK, FIN, RST, SYN};
use weir_common::time::Timestamp;

/// What is followed, for one worker.
#[derive(Clone, Copy, Debug)]
pub struct Sessions {
    /// Whether events are told, and whether rules ask for them.
    tells: bool,
    rules_ask: bool,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    /// Follow connections whose beginning was not seen.
    midstream: bool,
    /// Bytes of each direction that are inspected.
    depth: u64,
}

impl Sessions {
    /// `tells`: events are wanted (`dpi.stream_events`). `midstream` follows connections whose beginning was not seen as
    /// well; `depth` is up to which byte streams are inspected, 0 up to their end.
    pub fn new(tells: bool, midstream: bool, depth: u64) -> Sessions {
        let depth = if depth == 0 { u64::MAX } else { depth };
        Sessions { tells, rules_ask: false, settings: Settings { midstream, depth } }
    }

    /// Whether rules ask (`Needs::stream_events`); to be said again when rules are loaded anew. Flows that began before
    /// count as connections whose beginning was not seen.
    #[must_use]
    pub fn with_rules(self, ask: bool) -> Sessions {
        Sessions { rules_ask: ask, ..self }
    }

    /// What is odd about a packet of a flow: nothing where nobody asks. `slot` is the flow's, empty until there is
    /// something to remember.
    #[inline]
    pub fn see(
        &self,
        slot: &mut Option<Box<Session>>,
        packet: &Packet<'_>,
        direction: Direction,
        time: Timestamp,
    ) -> StreamEvents {
        match packet.transport {
            Transport::Tcp(tcp) if (self.tells || self.rules_ask) && !packet.is_partial => {
                let segment = Segment::of(packet, &tcp, direction, time);
                slot.get_or_insert_default().segment(&segment, &self.settings)
            }
            _ => StreamEvents::NONE,
        }
    }

    /// Tells those of a packet's oddities that the flow was not told of, where that is wanted at all.
    #[inline]
    pub fn tell(
        &self,
        slot: &mut Option<Box<Session>>,
        found: StreamEvents,
        app: App,
        time: Timestamp,
        direction: Direction,
        events: &mut Vec<Event>,
    ) {
        if self.tells && !found.is_empty() {
            let new = slot.get_or_insert_default().told.add_new(found);
            events.extend(new.anomalies(app, time, direction));
        }
    }
}

/// What is remembered of one connection.
#[derive(Debug, Default)]
pub struct Session {
    state: State,
    /// The state before the last change.
    before: State,
    flags: Flags,
    /// Client and server.
    ends: [End; 2],
    /// Other versions of the SYN, then of the SYN/ACK.
    offers: Vec<Offer>,
    /// What is odd about the segment at hand.
    found: StreamEvents,
    /// Whether the segment at hand is the first after a probe of the window that its sender had closed.
    was_probed: bool,
    /// What the flow was told of.
    told: StreamEvents,
}

/// RFC 9293 section 3.3.2, of both ends at once; in Suricata's order, which says what counts as established or over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    #[default]
    None,
    SynSent,
    SynReceived,
    Established,
    /// The server has sent FIN.
    FinWait1,
    FinWait2,
    TimeWait,
    LastAck,
    /// The client has sent FIN.
    CloseWait,
    Closing,
    Closed,
}

/// What is known of the connection beside its state.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Flags {
    /// Both ends use timestamps.
    timestamps: bool,
    /// The SYN offered window scaling, and selective acknowledgements.
    offers_scale: bool,
    offers_sacks: bool,
    /// The beginning was not seen; nor a segment of the server yet.
    midstream: bool,
    midstream_begun: bool,
    /// It begins with a SYN/ACK.
    midstream_syn_ack: bool,
    /// Both ends sent a SYN.
    is_split: bool,
    fast_open: bool,
    fast_open_ignored: bool,
    /// The server goes on after the handshake.
    is_confirmed: bool,
}

/// One end of a connection: what it sends, and what the other allows it to.
#[derive(Debug, Default)]
struct End {
    /// Number of its SYN.
    first: u32,
    /// What it sends next.
    next: u32,
    /// Highest acknowledgement of it.
    acknowledged: u32,
    /// Up to which number it may send.
    limit: u32,
    /// What the other end advertises, scaled.
    window: u32,
    /// How the other end scales that.
    scale: u8,
    has_timestamps: bool,
    /// Its handshake has the timestamp 0.
    has_zero_timestamp: bool,
    is_kept_alive: bool,
    /// It probed a closed window with its last segment.
    has_probed: bool,
    /// The other end is said to have reset the connection.
    was_reset: bool,
    is_beyond_depth: bool,
    /// Last timestamp, and the second at which it came.
    timestamp: u32,
    timestamp_at: u32,
    /// Before this nothing is put together any more: what was acknowledged when it sent last.
    base: u32,
    sacks: Sacks,
}

/// Whether a segment may change the state further: no where it was refused.
type Outcome = Result<(), Refused>;

/// The segment is not the connection's.
struct Refused;

const CLIENT: usize = 0;
const SERVER: usize = 1;

/// How far `a` lies after `b` in the circle of sequence numbers; negative: before.
fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

fn is_after(a: u32, b: u32) -> bool {
    distance(a, b) > 0
}

fn is_before(a: u32, b: u32) -> bool {
    distance(a, b) < 0
}

impl End {
    /// Begins with a SYN of this number.
    fn begin(&mut self, first: u32) {
        self.first = first;
        self.base = first.wrapping_add(1);
    }

    fn acknowledge(&mut self, number: u32) {
        if is_after(number, self.acknowledged) {
            self.acknowledged = number;
            self.sacks.forget_before(number);
        }
    }

    fn allow(&mut self) {
        self.limit = self.acknowledged.wrapping_add(self.window);
    }

    /// The same, unless that was allowed already.
    fn allow_more(&mut self) {
        let limit = self.acknowledged.wrapping_add(self.window).wrapping_add(self.sacks.bytes());
        if is_after(limit, self.limit) {
            self.limit = limit;
        }
    }

    /// The last number that its window allows now.
    fn right_edge(&self) -> u32 {
        self.acknowledged.wrapping_add(self.window)
    }
}

impl Session {
    /// The flow table found that initiator and responder are the other way round.
    pub fn swap_directions(&mut self) {
        self.ends.swap(CLIENT, SERVER);
    }

    fn odd(&mut self, event: StreamEvent) {
        self.found.add(event);
    }

    /// Tells what is odd, and that the segment is to be left alone.
    fn refuse(&mut self, event: StreamEvent) -> Outcome {
        self.odd(event);
        Err(Refused)
    }

    fn become_(&mut self, state: State) {
        if self.state != state {
            (self.before, self.state) = (self.state, state);
        }
    }

    /// The sending end's index, and the other's.
    fn ends_of(segment: &Segment) -> (usize, usize) {
        if segment.is_to_server { (CLIENT, SERVER) } else { (SERVER, CLIENT) }
    }

    fn segment(&mut self, segment: &Segment, settings: &Settings) -> StreamEvents {
        self.found = StreamEvents::NONE;
        if !segment.has(ACK) && segment.acknowledgement != 0 {
            self.odd(StreamEvent::BrokenAck);
        }
        let (own, _) = Self::ends_of(segment);
        let outcome = if self.state == State::None {
            self.begin(segment, settings)
        } else if self.is_idle(segment) {
            Ok(())
        } else {
            let outcome = self.dispatch(self.state, segment);
            if outcome.is_ok() {
                self.reach_depth(own, segment, settings.depth);
            }
            outcome
        };
        if outcome.is_ok() && self.state != State::None {
            self.look_for_injection(segment);
        }
        if let Some(end) = self.ends.get_mut(own)
            && self.state >= State::Established
        {
            end.base = end.acknowledged;
        }
        self.found
    }

    fn dispatch(&mut self, state: State, segment: &Segment) -> Outcome {
        match state {
            State::None => Ok(()),
            State::SynSent => self.syn_sent(segment),
            State::SynReceived => self.syn_received(segment),
            State::Established => self.established(segment),
            State::FinWait1 => self.fin_wait_1(segment),
            State::FinWait2 => self.fin_wait_2(segment),
            State::Closing => self.closing(segment),
            State::CloseWait => self.close_wait(segment),
            State::LastAck => self.last_ack(segment),
            State::TimeWait => self.time_wait(segment),
            State::Closed => self.closed(segment),
        }
    }

    /// Whether a segment says nothing that the connection's state depends on: keep-alives, probes and their answers,
    /// acknowledgements and bytes that come too late, and windows that nobody would shrink.
    fn is_idle(&mut self, segment: &Segment) -> bool {
        let state = self.state;
        let (own, other) = Self::ends_of(segment);
        let [sender, receiver] = self.pair(own, other);
        let is_plain = !segment.has(SYN | FIN | RST);
        let acknowledges_all = segment.acknowledgement == receiver.acknowledged;
        let is_before_next = segment.sequence == sender.next.wrapping_sub(1);
        if segment.len <= 1 && is_plain && acknowledges_all && is_before_next {
            sender.is_kept_alive = true;
            return true;
        }
        let window = segment.scaled(receiver.scale);
        // A segment that says nothing but how the window stands.
        let is_bare = segment.len == 0 && is_plain && acknowledges_all && segment.sequence == sender.next;
        let is_open = segment.window != 0;
        let answers_keep_alive = receiver.is_kept_alive && is_bare && is_open && window == receiver.window;
        sender.is_kept_alive = false;
        if answers_keep_alive {
            receiver.is_kept_alive = false;
            return true;
        }
        let was_probed = std::mem::take(&mut receiver.has_probed);
        let ends_shutdown = matches!(state, State::TimeWait | State::CloseWait | State::LastAck)
            && segment.is_only(ACK)
            && segment.len == 0
            && segment.sequence == sender.next.wrapping_add(1)
            && segment.acknowledgement == receiver.next.wrapping_add(1);
        let receiver_window = receiver.window;
        self.was_probed = was_probed;
        if state >= State::Established {
            if was_probed && is_bare && segment.has(ACK) && !is_open && receiver_window == 0 {
                return true;
            }
            let updates_window = is_bare && is_open && window != receiver_window;
            if !updates_window && !ends_shutdown {
                if self.shrinks_window(segment) {
                    self.odd(StreamEvent::BadWindowUpdate);
                    return true;
                }
                if self.is_outdated(segment) {
                    return true;
                }
            }
        }
        self.is_spurious(segment)
    }

    /// Whether a segment from beyond what was seen shrinks the window by more than its own bytes explain.
    fn shrinks_window(&self, segment: &Segment) -> bool {
        /// Above so many bytes of window, so many more than explained are let pass.
        const LENIENT_ABOVE: u32 = 1024;
        const LENIENCE: u32 = 32;
        let (own, other) = Self::ends_of(segment);
        let (sender, receiver) = (&self.ends[own], &self.ends[other]);
        let window = segment.scaled(receiver.scale);
        let Some(shrunk) = receiver.window.checked_sub(window) else { return false };
        let explained = segment.acknowledgement.wrapping_sub(receiver.acknowledged);
        let lenience = if window > LENIENT_ABOVE { LENIENCE } else { 0 };
        self.state != State::Closed
            && !segment.has(SYN | FIN | RST)
            && shrunk > segment.len
            && is_after(segment.acknowledgement, receiver.next)
            && is_after(segment.sequence, sender.next)
            && shrunk > explained.saturating_add(lenience)
    }

    /// Whether an acknowledgement says nothing that a later one has not said.
    fn is_outdated(&self, segment: &Segment) -> bool {
        let (own, other) = Self::ends_of(segment);
        let (sender, receiver) = (&self.ends[own], &self.ends[other]);
        segment.len == 0
            && segment.has(ACK)
            && !segment.has(SYN | FIN | RST)
            && segment.sequence == sender.next
            && is_before(segment.acknowledgement, receiver.acknowledged)
            && segment
                .sacks()
                .iter()
                .all(|block| !is_after(block.1, receiver.acknowledged) || receiver.sacks.has(*block))
    }

    /// Looks for bytes that were acknowledged before; true where they are not put together any more, either.
    fn is_spurious(&mut self, segment: &Segment) -> bool {
        if segment.len == 0 || self.state < State::SynReceived {
            return false;
        }
        let (own, _) = Self::ends_of(segment);
        let end = &self.ends[own];
        let is_before_base = !is_after(segment.end(), end.base);
        if is_before_base || !is_after(segment.end(), end.acknowledged) {
            self.odd(StreamEvent::SpuriousRetransmission);
        }
        is_before_base
    }

    /// Tells once that a direction's bytes lie beyond those that are inspected.
    fn reach_depth(&mut self, own: usize, segment: &Segment, depth: u64) {
        let end = &mut self.ends[own];
        let place = segment.end().wrapping_sub(end.first).wrapping_sub(1);
        if segment.len > 0 && !end.is_beyond_depth && u64::from(place) > depth {
            end.is_beyond_depth = true;
            self.odd(StreamEvent::DepthReached);
        }
    }

    /// Who resets a connection sends nothing more on it.
    fn look_for_injection(&mut self, segment: &Segment) {
        let (_, other) = Self::ends_of(segment);
        if !segment.has(RST) && std::mem::take(&mut self.ends[other].was_reset) {
            self.odd(StreamEvent::RstInjected);
        }
    }

    /// Two different ends.
    fn pair(&mut self, own: usize, other: usize) -> [&mut End; 2] {
        let [client, server] = &mut self.ends;
        if own < other { [client, server] } else { [server, client] }
    }
}
