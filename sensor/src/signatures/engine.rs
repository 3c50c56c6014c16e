//! A worker's signatures at work: which are asked about a packet, and what they answer.
//!
//! In: a packet with what is known of its flow, and the sides of transactions that it made known. Out: [`Found`]s in
//! the order of evaluation. Everything a packet may ask for is collected first and then asked in that order, so that
//! a rule that sets a mark comes before those that read it, whatever they look into.

mod about;
mod answer;
mod ask;
mod counters;
mod holds;
mod relief;
mod scope;

pub use counters::{Cost, EngineCounters};

use super::compile::Kind;
use super::frame::FoundFrame;
use super::marks::{FlowMarks, Order};
use super::matches::Scratch;
use super::packet::{FlowFacts, packet_of};
use super::patterns::PatternScratch;
use super::rules::{Rules, Traffic};
use super::state::{Matched, RuleId, SharedBits, StateCounters, Verdict, Windows};
use crate::decode::{DecodeEvent, Packet, Transport};
use crate::dpi::buffers::Sides;
use relief::Relief;
use scope::has_flow;
use std::sync::Arc;
use std::time::Instant;
use weir_common::app::App;
use weir_common::net::{Direction, FlowKey};
use weir_common::record::tcp_flags;
use weir_common::time::Timestamp;

/// Most alerts of one packet, as Suricata's `packet-alert-max`; further ones are counted.
pub(super) const PACKET_ALERTS_MAX: usize = 15;
/// Most signatures evaluated for one packet; further ones are left out and counted.
pub(super) const PACKET_CANDIDATES_MAX: usize = 4096;
/// One evaluation of so many is timed, and stands for all of them.
const TIMED_OF: u64 = 16;

/// A worker's signatures.
#[derive(Debug)]
pub struct Engine {
    rules: Arc<Rules>,
    at_work: AtWork,
}

/// What an engine works with, apart from its rules.
#[derive(Debug)]
struct AtWork {
    scratch: Work,
    candidates: Vec<Candidate>,
    shared: SharedBits,
    windows: Windows,
    costs: Vec<Cost>,
    relief: Relief,
    counters: EngineCounters,
    /// Bytes of each direction of a TCP flow that are searched.
    stream_depth: u64,
    /// See [`Engine::without_limits`].
    leaves_limits: bool,
    /// How often the rules have changed.
    epoch: u32,
}

/// What is used again for every packet.
#[derive(Debug, Default)]
struct Work {
    matches: Scratch,
    patterns: PatternScratch,
    ids: Vec<u32>,
    seam: Vec<u8>,
    window: Vec<u8>,
    changed: Vec<u8>,
    state_counters: StateCounters,
}

/// A packet and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The packet.
    pub packet: &'a Packet<'a>,
    /// When it was captured.
    pub time: Timestamp,
    /// Which way it goes.
    pub direction: Direction,
    /// Its flow's ends.
    pub key: FlowKey,
    /// Its flow's identifier.
    pub flow_id: u64,
    /// What of the flow was counted.
    pub flow: FlowFacts,
    /// Whether both ends have taken part; of TCP, that the handshake is over.
    pub is_established: bool,
    /// The flow's application, as far as it is known.
    pub app: App,
    /// The payload is ciphertext, in which nothing is looked for.
    pub is_opaque: bool,
    /// Faults of the frame, where signatures ask for them ([`super::Needs`]).
    pub decode_events: &'a [&'static str],
    /// What the packet shows to be odd about its stream, likewise.
    pub stream_events: &'a [&'static str],
    /// What is said over TCP counts once it is acknowledged.
    pub waits: bool,
    /// What TCP carries is looked into as a stream, and not only packet by packet.
    pub has_stream: bool,
}

impl<'a> Sight<'a> {
    /// The ports of who sends and of who is sent to.
    fn ports(&self) -> [u16; 2] {
        let FlowKey { initiator_port, responder_port, .. } = self.key;
        match self.direction {
            Direction::Forward => [initiator_port, responder_port],
            Direction::Reverse => [responder_port, initiator_port],
        }
    }

    /// A packet that belongs to no flow.
    pub fn of_nobody(packet: &'a Packet<'a>) -> Sight<'a> {
        let (initiator_port, responder_port) = packet.transport.ports();
        let (initiator, responder) = (packet.ip.source, packet.ip.destination);
        let protocol = packet.ip.protocol;
        Sight {
            packet,
            time: Timestamp::MIN,
            direction: Direction::Forward,
            key: FlowKey { initiator, responder, initiator_port, responder_port, protocol },
            flow_id: 0,
            flow: FlowFacts::nothing(),
            is_established: false,
            app: App::Unknown,
            is_opaque: true,
            decode_events: &[],
            stream_events: &[],
            waits: false,
            has_stream: false,
        }
    }
}

/// A signature matched, and its rule alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub signature: u32,
    /// Who sent what matched.
    pub direction: Direction,
    /// The flow's application, as far as it is known; that of the transaction, where one matched.
    pub app: App,
    /// The transaction that matched, and its side in the dissector's view.
    pub transaction: Option<(u64, Direction)>,
    /// It was found in a stream, and counts once the other end has acknowledged it.
    pub is_of_stream: bool,
    /// The frame that matched.
    pub frame: Option<Arc<FoundFrame>>,
    /// What data sets say of the values that were found in them: a key, and JSON.
    pub context: Vec<(Arc<str>, Arc<str>)>,
}

/// A signature to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    signature: u32,
    subject: Subject,
}

/// What a signature is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// The flow's ends and the packet's headers.
    Packet,
    /// The packet's payload and the stream that it ends.
    Payload,
    /// A side, by its place among the flow's.
    Side(u16),
}

/// A packet's payload and what lies before it.
#[derive(Clone, Copy)]
struct Payload<'a> {
    bytes: &'a [u8],
    /// The tail of the stream and the payload; empty where nothing lies before.
    window: &'a [u8],
    /// The part of the window that was looked at before.
    tail: &'a [u8],
    is_from_start: bool,
    /// What it carries is no part of the stream.
    is_reset: bool,
    /// What of it is new to the stream.
    fresh: &'a [u8],
    /// Something lies before it.
    has_before: bool,
}

impl Engine {
    /// An engine for one worker.
    pub fn new(rules: Arc<Rules>) -> Engine {
        let at_work = AtWork {
            costs: vec![Cost::default(); rules.signatures.len()],
            scratch: Work::default(),
            candidates: Vec::new(),
            relief: Relief::default(),
            shared: SharedBits::default(),
            windows: Windows::default(),
            counters: EngineCounters::default(),
            stream_depth: u64::MAX,
            leaves_limits: false,
            epoch: 0,
        };
        Engine { rules, at_work }
    }

    /// Looks at so many bytes of each direction of a TCP flow; 0: at all.
    pub fn with_stream_depth(mut self, bytes: u64) -> Engine {
        self.at_work.stream_depth = if bytes == 0 { u64::MAX } else { bytes };
        self
    }

    /// Sets signatures aside that take this share of a worker's time while packets are lost. 0: none.
    pub fn with_relief(mut self, percent: u8) -> Engine {
        self.at_work.relief = Relief::from_percent(percent);
        self
    }

    /// Looks whether signatures have to be set aside, which at least one lost packet since the last look is a reason for;
    /// gives those that are from now on.
    pub fn relieve(&mut self, has_lost: bool, now: Instant) -> &[u32] {
        self.at_work.relief.look(&self.at_work.costs, has_lost, now)
    }

    /// The signatures that are set aside because of what they cost, by number.
    pub fn too_costly(&self) -> &[u32] {
        self.at_work.relief.aside()
    }

    /// Finds what matches, whatever thresholds and suppressions say: the caller asks for them
    /// ([`Engine::may_alert`]).
    pub fn without_limits(mut self) -> Engine {
        self.at_work.leaves_limits = true;
        self
    }

    /// Whether a match is told by its signature's thresholds and suppressions, which counts it in these windows.
    pub fn may_alert(&self, windows: &mut Windows, signature: u32, matched: &Matched) -> bool {
        let Some(signature) = self.rules.signatures.get(signature as usize) else { return false };
        let rule = RuleId::new(signature.description.gid, signature.description.sid);
        signature.limits.verdict(windows, rule, matched) != Verdict::NoAlert
    }

    /// Whether a match of this signature is one of the whole flow, and further ones say nothing new.
    pub fn is_once_per_flow(&self, signature: u32) -> bool {
        self.rules.signatures.get(signature as usize).is_some_and(|signature| signature.kind == Kind::Flow)
    }

    /// The rules at work.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// What was done so far.
    pub fn counters(&self) -> EngineCounters {
        let Work { matches, patterns, state_counters: state, .. } = &self.at_work.scratch;
        let given_up = matches.given_up;
        EngineCounters {
            given_up: given_up.steps + given_up.bytes + given_up.expressions,
            marks_refused: state.flow_bits_refused
                + state.flow_ints_refused
                + state.flow_variables_refused
                + state.shared_bits_refused,
            transactions_forgotten: state.transactions_forgotten,
            data_refused: state.data_refused,
            pattern_scans_failed: patterns.failures(),
            ..self.at_work.counters
        }
    }

    /// What each signature cost so far, by number.
    pub fn costs(&self) -> &[Cost] {
        &self.at_work.costs
    }

    /// Goes on with other rules. What is remembered of flows, hosts and thresholds stays, as far as it has the same names
    /// in them; what flows wait for by a signature's number does not.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.at_work.relief.clear();
        self.at_work.costs.clear();
        self.at_work.costs.resize(rules.signatures.len(), Cost::default());
        self.at_work.epoch = self.at_work.epoch.wrapping_add(1);
        self.rules = rules;
    }

    /// Looks at a packet, and at what it made known of its flow's transactions.
    pub fn packet(
        &mut self,
        sight: &Sight<'_>,
        marks: &mut Option<Box<FlowMarks>>,
        sides: Option<(&mut Sides, bool)>,
        found: &mut Vec<Found>,
    ) {
        if self.rules.is_empty() || marks.as_ref().is_some_and(|marks| marks.is_passed) {
            return;
        }
        let known = marks.get_or_insert_with(|| self.at_work.marks());
        self.at_work.packet(&self.rules, sight, known, sides, found);
    }

    /// Looks at a frame that holds no packet, because of its faults: only signatures about those are asked. Gives what
    /// could be read before the first.
    pub fn fault(
        &mut self,
        fault: &DecodeEvent,
        names: &[&'static str],
        time: Timestamp,
        found: &mut Vec<Found>,
    ) -> Packet<'static> {
        let packet = packet_of(fault);
        let Engine { rules, at_work } = self;
        at_work.candidates.clear();
        let faults = rules.faults.iter();
        at_work
            .candidates
            .extend(faults.map(|signature| Candidate { signature: *signature, subject: Subject::Packet }));
        let sight = Sight { time, decode_events: names, ..Sight::of_nobody(&packet) };
        at_work.answer(rules, &sight, &mut FlowMarks::default(), Order::Apart, None, found);
        packet
    }

    /// Looks at a frame that holds no packet: only signatures about frames are asked.
    pub fn frame(&mut self, packet: &Packet<'_>, is_arp: bool, time: Timestamp, found: &mut Vec<Found>) {
        let Engine { rules, at_work } = self;
        at_work.candidates.clear();
        let frames = rules.frames.iter().chain(rules.arp_frames.iter().filter(|_| is_arp));
        at_work
            .candidates
            .extend(frames.map(|signature| Candidate { signature: *signature, subject: Subject::Packet }));
        let sight = Sight { time, ..Sight::of_nobody(packet) };
        at_work.answer(rules, &sight, &mut FlowMarks::default(), Order::Apart, None, found);
    }
}

impl AtWork {
    /// What is remembered of a flow that is new.
    fn marks(&self) -> Box<FlowMarks> {
        Box::new(FlowMarks { epoch: self.epoch, ..FlowMarks::default() })
    }

    fn packet(
        &mut self,
        rules: &Rules,
        sight: &Sight<'_>,
        known: &mut FlowMarks,
        mut sides: Option<(&mut Sides, bool)>,
        found: &mut Vec<Found>,
    ) {
        self.candidates.clear();
        let traffic = Traffic::of(sight.packet.ip.protocol);
        if known.epoch != self.epoch {
            known.begin_epoch(self.epoch);
            for side in sides.iter_mut().flat_map(|(sides, _)| sides.iter_mut()) {
                side.looked.candidates.clear();
                side.looked.matched.clear();
            }
        }
        let is_of_flow = has_flow(sight.packet.ip.protocol);
        if known.known.learn(sight) || !is_of_flow {
            self.ask_hosts(&rules.flows, [sight.packet.ip.source, sight.packet.ip.destination]);
        }
        let ends = [sight.packet.ip.source, sight.packet.ip.destination];
        let role = sight.flow.role(sight.direction);
        let places = &mut known.places[sight.direction.index()];
        let places = match places {
            Some(places) if places.role == role => *places,
            _ => *places.insert(rules.places(traffic, role, sight.ports())),
        };
        for index in rules.packets[traffic as usize].at(places.packets) {
            self.ask_hosts(index, ends);
        }
        if !rules.frames.is_empty() && sight.packet.link.ethernet().is_some() {
            let frames = rules.frames.iter();
            self.candidates.extend(
                frames.map(|signature| Candidate { signature: *signature, subject: Subject::Packet }),
            );
        }
        if !sight.decode_events.is_empty() {
            let faults = rules.faults.iter();
            self.candidates.extend(
                faults.map(|signature| Candidate { signature: *signature, subject: Subject::Packet }),
            );
        }
        let has_payload = !sight.packet.is_partial && !sight.packet.payload.is_empty() && !sight.is_opaque;
        // What a RST carries is no part of the stream (RFC 9293 section 3.5.3).
        let is_reset =
            matches!(&sight.packet.transport, Transport::Tcp(tcp) if tcp.flags & tcp_flags::RST != 0);
        let is_streamed = sight.has_stream && !is_reset;
        let mut order = Order::Apart;
        let with_sizes;
        let sight = match &sight.packet.transport {
            Transport::Tcp(_) if rules.needs().stream_sizes => {
                known.sizes.see(sight.packet, sight.direction);
                let flow = FlowFacts { stream_sizes: Some(known.sizes.sizes()), ..sight.flow };
                with_sizes = Sight { flow, ..*sight };
                &with_sizes
            }
            _ => sight,
        };
        if has_payload {
            if let (Transport::Tcp(tcp), true) = (&sight.packet.transport, is_streamed) {
                order = known.streams[sight.direction.index()].order(tcp, sight.packet.payload);
            }
            self.ask_payload(rules, (traffic, places), sight, known, order);
        }
        if let Some((sides, _)) = sides.as_mut().filter(|(sides, _)| sides.is_fresh) {
            self.ask_sides(rules, sides);
        }
        if !self.candidates.is_empty() {
            self.answer(rules, sight, known, order, sides.as_mut(), found);
        }
        let stream = &mut known.streams[sight.direction.index()];
        if sight.is_opaque || stream.looked >= self.stream_depth {
            // Nothing is looked for in it any more.
            stream.release();
        }
        if let (true, Transport::Tcp(tcp)) = (has_payload && is_streamed, &sight.packet.transport) {
            known.streams[sight.direction.index()].push(tcp, sight.packet.stream_payload(tcp), order);
        }
        if let Some((sides, _)) = sides.filter(|(sides, _)| sides.is_fresh) {
            self.counters.sides_late += std::mem::take(&mut sides.late);
            self.counters.frames_left_out += std::mem::take(&mut sides.frames_left_out);
            sides.tidy();
        }
    }
}
