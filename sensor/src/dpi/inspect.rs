//! One flow's inspection, from its first payload byte until nothing more is to be learned.
//!
//! In: a flow's packets with their direction. Out: its application, its metadata, its events. Holds
//! the decision which dissector is right; knows no protocol. A flow costs nothing until it has
//! payload, and next to nothing once it is over: its streams and its dissector are gone.
//!
//! TCP flows may be picked up anywhere: without a handshake, from one side, with the first segments
//! reordered. That is why bytes that no dissector wants are asked about again a few times, where the
//! next segment begins, before the flow counts as unknown.

mod conversation;
#[cfg(test)]
mod tests;

use super::buffers::{Sides, Wanted};
use super::config::{DpiConfig, EveConfig};
use super::cut_off::{Ciphertext, CutOff};
use super::expect::Expectations;
use super::file::Files;
use super::file::store::StoreHandle;
use super::overlap::{OverlapPolicy, OverlapRule, policy_of};
use super::parser::Parser;
use super::pending::Pending;
use super::probing::{Probing, Verdict};
use super::server_ports::is_served_at;
use super::services::Services;
use super::stream::{Pool, Stream, Take};
use super::stream_event::{StreamEvent, StreamEvents};
use super::{Carrier, End, Event};
use crate::counters::DpiCounters;
use crate::decode::{Packet, Tcp, Transport};
use conversation::Conversation;
use std::ops::ControlFlow;
use std::sync::Arc;
use weir_common::app::App;
use weir_common::metadata::Metadata;
use weir_common::net::{Direction, protocol};
use weir_common::record::tcp_flags;
use weir_common::time::Timestamp;

/// A worker's inspection: limits and stream memory shared by its flows.
#[derive(Debug)]
pub struct Inspector {
    is_enabled: bool,
    probe_bytes_max: usize,
    cut_off: CutOff,
    stream_depth_bytes: u64,
    overlap_policy: OverlapPolicy,
    overlap_policies: Vec<OverlapRule>,
    files: Files,
    expectations: Expectations,
    services: Arc<Services>,
    wanted: Option<Arc<Wanted>>,
    eve: EveConfig,
    /// Signatures look at packets, and perhaps at nothing else.
    is_searched: bool,
    waits: bool,
    pool: Pool,
}

/// What inspection knows about one flow, and what it still needs to learn more.
///
/// It must end in [`Inspector::finish`], which takes its stream memory back.
#[derive(Debug)]
pub struct Inspection {
    app: App,
    /// The flow's directions were exchanged after the dissector had begun; it keeps its own view.
    is_swapped: bool,
    /// The beginning of the connection was not seen: who began it is a guess.
    is_joined: bool,
    /// The guess was wrong, as the dissector's view has it: what is `Forward` to it is the other way here.
    is_turned: bool,
    /// What was recognised is served where the flow is said to have begun; see [`Inspection::take_is_backwards`].
    is_backwards: bool,
    /// A packet without payload can matter: by its acknowledgement.
    is_waiting: bool,
    /// It is over since the packet that was looked at last, and not before.
    is_just_over: bool,
    stage: Stage,
    /// The ends as the dissector knows them, the one that is `Forward` first.
    ends: [End; 2],
    /// Changes of the protocol that may still come; see [`SWITCHES_MAX`].
    switches_left: u8,
    /// Events wait until they are acknowledged.
    waits: bool,
    /// What waits to be acknowledged before it is told; made with the first event.
    pending: Option<Box<Pending>>,
    /// Bytes of each direction that are still inspected.
    depth_left: [u64; 2],
    /// Whose first bytes a dissector was shown.
    has_spoken: [bool; 2],
    /// What reassembly found odd about the last packet: [`GAP`] and [`DIFFERENCE`].
    found: u8,
    /// Number of the packet that closed the connection; 0: none did.
    closed_by: u64,
    metadata: Metadata,
    /// What signatures are to look into.
    sides: Option<Box<Sides>>,
    streams: Option<Box<[Stream; 2]>>,
}

/// Times that a flow's protocol may change to another inside of it (a proxy, STARTTLS); after that the flow is
/// left alone.
const SWITCHES_MAX: u8 = 4;

/// Applications that change into another only where TLS begins (STARTTLS).
const STARTS_TLS: [App; 10] = [
    App::Smtp,
    App::Imap,
    App::Pop3,
    App::Nntp,
    App::Ftp,
    App::Ldap,
    App::Xmpp,
    App::Irc,
    App::Pgsql,
    App::Mysql,
];

/// Bytes of the stream are missing, and bytes are unlike those that came before at their place.
const GAP: u8 = 1;
const DIFFERENCE: u8 = 2;

#[derive(Debug)]
enum Stage {
    Probing(Box<Probing>),
    Reading(Parser),
    Over(Ciphertext),
}

impl Inspector {
    /// An inspector for one worker.
    pub fn new(config: &DpiConfig) -> Inspector {
        Inspector {
            is_enabled: config.enabled,
            probe_bytes_max: config.probe_bytes_max as usize,
            cut_off: CutOff::default(),
            stream_depth_bytes: match config.stream_depth_bytes {
                0 => u64::MAX,
                bytes => bytes,
            },
            overlap_policy: config.overlap_policy,
            overlap_policies: config.overlap_policies.clone(),
            files: Files::new(config.files.clone()),
            expectations: Expectations::default(),
            services: Services::built_in(),
            wanted: None,
            eve: config.eve,
            is_searched: false,
            waits: config.wait_for_acknowledgement,
            pool: Pool::new(config.stream_bytes_max as usize, config.streams_bytes_max),
        }
    }

    /// Follows the flows of these applications until their handshake is over, so that
    /// [`Inspection::kept_of`] can tell.
    pub fn with_cut_off(self, cut_off: CutOff) -> Inspector {
        Inspector { cut_off, ..self }
    }

    /// Stores the files that pass.
    pub fn with_store(self, store: Option<StoreHandle>) -> Inspector {
        Inspector { files: self.files.with_store(store), ..self }
    }

    /// Knows these services, not only the built-in ones.
    pub fn with_services(self, services: Arc<Services>) -> Inspector {
        Inspector { services, ..self }
    }

    /// Keeps these parts of transactions for signatures; none: keeps nothing.
    pub fn set_wanted(&mut self, wanted: Option<Arc<Wanted>>) {
        self.is_searched = wanted.is_some();
        self.wanted = wanted.filter(|wanted| !wanted.is_empty());
    }

    /// Bytes that the worker's streams hold now.
    pub fn held_bytes(&self) -> u64 {
        self.pool.total_bytes()
    }

    /// Looks at one packet of a flow. `slot` is the flow's, empty until there is something to look at.
    #[inline]
    pub fn inspect(
        &mut self,
        slot: &mut Option<Box<Inspection>>,
        packet: &Packet<'_>,
        (direction, is_joined): (Direction, bool),
        time: Timestamp,
        events: Option<&mut Vec<Event>>,
        counters: &mut DpiCounters,
    ) {
        let has_payload = !packet.payload.is_empty();
        if let Some(inspection) = slot {
            inspection.is_just_over = false;
        }
        match slot {
            None if !has_payload || !self.is_enabled => return,
            Some(inspection)
                if inspection.pending.is_none()
                    && (inspection.is_over() || !(has_payload || inspection.is_waiting)) =>
            {
                return;
            }
            _ => {}
        }
        let carrier = match packet.transport {
            Transport::Tcp(_) => Carrier::Stream,
            Transport::Ports { .. } if packet.ip.protocol == protocol::UDP => Carrier::Datagram,
            _ => return,
        };
        let inspection = match slot {
            Some(inspection) => inspection,
            None => {
                let begun = self.begin(packet, carrier, direction, time, counters);
                slot.insert(Box::new(Inspection { is_joined, ..begun }))
            }
        };
        let direction = inspection.own(direction);
        let (mut now, pool) = self.now(carrier, direction, time, events, counters);
        inspection.packet_with_events(packet, &mut now, pool);
    }

    /// What a flow is looked at with.
    #[inline]
    fn now<'a>(
        &'a mut self,
        carrier: Carrier,
        direction: Direction,
        time: Timestamp,
        events: Option<&'a mut Vec<Event>>,
        counters: &'a mut DpiCounters,
    ) -> (Now<'a>, &'a mut Pool) {
        let now = Now {
            carrier,
            direction,
            time,
            events,
            counters,
            cut_off: self.cut_off,
            probe_bytes_max: self.probe_bytes_max,
            files: &mut self.files,
            expectations: &mut self.expectations,
            services: &self.services,
            wanted: self.wanted.as_deref(),
            eve: self.eve,
            is_searched: self.is_searched,
        };
        (now, &mut self.pool)
    }

    /// Begins with a flow's first payload.
    fn begin(
        &mut self,
        packet: &Packet<'_>,
        carrier: Carrier,
        direction: Direction,
        time: Timestamp,
        counters: &mut DpiCounters,
    ) -> Inspection {
        let mut begun = Inspection::begin(packet, carrier, direction, time, &mut self.expectations, counters);
        begun.depth_left = [self.stream_depth_bytes; 2];
        begun.waits = self.waits;
        let [initiator, responder] =
            begun.ends.map(|(address, _)| policy_of(&address, &self.overlap_policies, self.overlap_policy));
        // What the initiator sends is put together as the responder does it.
        begun.streams =
            (carrier == Carrier::Stream).then(|| Box::new([Stream::new(responder), Stream::new(initiator)]));
        begun
    }

    /// The flow has ended: what was waiting is written, memory is taken back, and what was learned is
    /// handed over.
    pub fn finish(
        &mut self,
        inspection: Option<Box<Inspection>>,
        time: Timestamp,
        events: Option<&mut Vec<Event>>,
        counters: &mut DpiCounters,
    ) -> Finished {
        let Some(mut inspection) = inspection else { return Finished::default() };
        let number = inspection.closed_by;
        let (mut nowhere, has_events) = (Vec::new(), events.is_some());
        let events = events.unwrap_or(&mut nowhere);
        let is_unfinished = !inspection.is_over() || inspection.pending.is_some();
        // What was never acknowledged is not the closing packet's.
        if let Some(mut pending) = inspection.pending.take() {
            pending.end(has_events.then_some(&mut *events));
        }
        let told = events.len();
        if is_unfinished {
            let carrier = if inspection.streams.is_some() { Carrier::Stream } else { Carrier::Datagram };
            let events = has_events.then_some(&mut *events);
            let (mut now, pool) = self.now(carrier, Direction::Forward, time, events, counters);
            inspection.close(&mut now, pool);
        }
        events.iter_mut().skip(told).for_each(|event| event.packet = number);
        let metadata = std::mem::take(&mut inspection.metadata);
        let metadata = (!metadata.is_empty()).then(|| Box::new(metadata));
        let mut sides = inspection.sides.take();
        if let Some(sides) = &mut sides {
            sides.end_all();
        }
        Finished {
            app: inspection.app,
            metadata,
            sides,
            is_swapped: inspection.is_dissector_swapped(),
            is_server_first: inspection.is_server_first(),
        }
    }
}

/// What was learned of a flow that has ended.
#[derive(Debug, Default)]
pub struct Finished {
    /// Its application.
    pub app: App,
    /// What is known about it, unless that is nothing.
    pub metadata: Option<Box<Metadata>>,
    /// What signatures are to look into; its directions are the other way round than the flow's where
    /// `is_swapped` says so.
    pub sides: Option<Box<Sides>>,
    /// See `sides`.
    pub is_swapped: bool,
    /// See [`Inspection::is_server_first`].
    pub is_server_first: bool,
}

/// The packet's circumstances. `direction` is the dissector's view.
struct Now<'a> {
    carrier: Carrier,
    direction: Direction,
    time: Timestamp,
    events: Option<&'a mut Vec<Event>>,
    counters: &'a mut DpiCounters,
    cut_off: CutOff,
    probe_bytes_max: usize,
    files: &'a Files,
    expectations: &'a mut Expectations,
    services: &'a Services,
    wanted: Option<&'a Wanted>,
    eve: EveConfig,
    is_searched: bool,
}

impl Inspection {
    /// One word of each of its cache lines, to load them.
    #[inline]
    pub fn touch(&self) -> u64 {
        u64::from(self.is_waiting) ^ self.depth_left[0] ^ self.closed_by ^ u64::from(self.streams.is_some())
    }

    /// Begins with a flow's first payload. What was announced needs no search.
    fn begin(
        packet: &Packet<'_>,
        carrier: Carrier,
        direction: Direction,
        time: Timestamp,
        expectations: &mut Expectations,
        counters: &mut DpiCounters,
    ) -> Inspection {
        let (source_port, destination_port) = packet.transport.ports();
        let mut ends = [(packet.ip.source, source_port), (packet.ip.destination, destination_port)];
        if direction == Direction::Reverse {
            ends.reverse();
        }
        let expected = expectations
            .take(&ends, carrier, time)
            .and_then(|expected| Parser::expected(expected.app, &expected.note));
        let (app, stage) = match expected {
            Some(parser) => {
                counters.recognised += 1;
                (parser.app(), Stage::Reading(parser))
            }
            None => (App::Unknown, Stage::Probing(Box::new(Probing::new(&ends)))),
        };
        let metadata = Metadata::EMPTY;
        let (switches_left, pending) = (SWITCHES_MAX, None);
        Inspection {
            app,
            is_swapped: false,
            is_joined: false,
            is_turned: false,
            is_backwards: false,
            is_waiting: false,
            is_just_over: false,
            stage,
            ends,
            switches_left,
            waits: true,
            pending,
            depth_left: [u64::MAX; 2],
            has_spoken: [false; 2],
            found: 0,
            closed_by: 0,
            metadata,
            sides: None,
            streams: None,
        }
    }

    /// What signatures are to look into, and whether its directions are the other way round than the flow's.
    pub fn sides(&mut self) -> (Option<&mut Sides>, bool) {
        let is_swapped = self.is_dissector_swapped();
        (self.sides.as_deref_mut(), is_swapped)
    }

    /// Whether the flow was met in its middle, and its first packet, as its ends are kept, was the server's.
    pub fn is_server_first(&self) -> bool {
        self.is_turned && !self.is_swapped
    }

    /// Whether the dissector's directions are the other way round than the flow's.
    fn is_dissector_swapped(&self) -> bool {
        self.is_swapped != self.is_turned
    }

    /// What reassembly found odd about the last packet; beside that, [`super::Sessions`] looks at each.
    #[inline]
    pub fn take_stream_events(&mut self) -> StreamEvents {
        let (mut found, bits) = (StreamEvents::NONE, std::mem::take(&mut self.found));
        for (bit, event) in [(GAP, StreamEvent::SeqGap), (DIFFERENCE, StreamEvent::OverlapDifferentData)] {
            if bits & bit != 0 {
                found.add(event);
            }
        }
        found
    }

    /// Whether the payload of the packet that was looked at last is ciphertext, in which nothing is to be looked for:
    /// the handshake was over before it.
    pub fn is_ciphertext(&self) -> bool {
        self.is_over() && !self.is_just_over && matches!(self.app, App::Tls | App::Ssh)
    }

    /// Events that wait until their bytes are acknowledged, oldest first.
    pub fn waiting_events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.pending.iter().flat_map(|pending| pending.waiting())
    }

    /// What is known of a transaction whose event was not told yet, as the body of that event; nothing where nothing
    /// is known of it (any more).
    pub fn describe(&self, direction: Direction, transaction: u64, out: &mut Vec<u8>) {
        if let Stage::Reading(parser) = &self.stage {
            parser.describe(direction, transaction, out);
        }
    }

    /// The application, as far as it is known.
    pub fn app(&self) -> App {
        self.app
    }

    /// What was learned so far.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Whether nothing more will be learned.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over(_))
    }

    /// How much of a packet's payload is worth keeping, by what is known before it; none: all of it, since
    /// the handshake is not over, or the application is not to be cut off.
    #[inline]
    pub fn kept_of(&mut self, packet: &Packet<'_>, direction: Direction) -> Option<usize> {
        let direction = self.own(direction);
        match &mut self.stage {
            Stage::Over(ciphertext) => ciphertext.kept_of(packet, direction),
            _ => None,
        }
    }

    /// The connection was closed by this packet: what is written at the flow's end is the packet's, unless another
    /// opens the connection again.
    pub fn closed_by(&mut self, packet: Option<u64>) {
        self.closed_by = packet.unwrap_or(0);
    }

    /// Whether the application that was just recognised is served at the port of the flow's initiator, and not at
    /// the responder's: a capture that begins late has them backwards. Said once.
    #[inline]
    pub fn take_is_backwards(&mut self) -> bool {
        std::mem::take(&mut self.is_backwards)
    }

    /// The flow table found that initiator and responder are the other way round: from the next
    /// packet on directions, and those of events, mean the new ones.
    pub fn swap_directions(&mut self) {
        self.is_swapped = !self.is_swapped;
        if let Some(pending) = &mut self.pending {
            pending.swap_directions();
        }
    }

    /// The direction as the dissector has known it from the start.
    pub fn own(&self, direction: Direction) -> Direction {
        if self.is_swapped { direction.flip() } else { direction }
    }

    /// Looks at a packet; what it brings of a stream is told when it was acknowledged.
    fn packet_with_events(&mut self, packet: &Packet<'_>, now: &mut Now<'_>, pool: &mut Pool) {
        let Transport::Tcp(tcp) = packet.transport else { return self.packet(packet, now, pool) };
        let direction = now.direction;
        if let Some(pending) = &mut self.pending {
            pending.packet(&tcp, direction, now.time, now.events.as_deref_mut());
        }
        if self.is_over() {
            if self.pending.as_ref().is_some_and(|pending| pending.is_empty()) {
                self.pending = None;
            }
            return;
        }
        if packet.payload.is_empty() && !self.is_waiting {
            return;
        }
        let told = now.events.as_ref().map_or(0, |events| events.len());
        self.packet(packet, now, pool);
        let end = end_of(&tcp, packet.payload.len());
        if let Some(events) = now.events.as_deref_mut().filter(|_| self.waits) {
            let pending = self.pending.get_or_insert_with(|| Box::new(Pending::begin(&tcp, direction)));
            pending.hold(events, told, direction, end);
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, now: &mut Now<'_>, pool: &mut Pool) {
        let was_unknown = self.app == App::Unknown;
        self.packet_itself(packet, now, pool);
        if was_unknown && self.app != App::Unknown {
            self.is_backwards = is_first_served(self.app, &self.ends) && !self.is_swapped;
        }
    }

    fn packet_itself(&mut self, packet: &Packet<'_>, now: &mut Now<'_>, pool: &mut Pool) {
        let outcome = match packet.transport {
            Transport::Tcp(tcp) if self.streams.is_some() => {
                let has = |flag: u16| tcp.flags & flag != 0;
                let acknowledgement = has(tcp_flags::ACK).then_some(tcp.acknowledgement);
                // SYN takes one number before the data it may carry (RFC 9293 section 3.4, RFC 7413);
                // what a RST carries is a message to people (RFC 9293 section 3.5.3), not the stream's.
                let sequence = tcp.sequence.wrapping_add(u32::from(has(tcp_flags::SYN)));
                let (payload, urgent) =
                    if has(tcp_flags::RST) { (&[][..], 0) } else { packet.stream_payload(&tcp) };
                let before = (now.counters.overlap_conflict_bytes, now.counters.gaps);
                let outcome = self.segment(sequence, acknowledgement, payload, now, pool);
                if urgent > 0
                    && let Some(streams) = &mut self.streams
                {
                    let end = sequence.wrapping_add(payload.len() as u32);
                    streams[now.direction.index()].pass_urgent(end);
                }
                if now.counters.overlap_conflict_bytes != before.0 {
                    self.found |= DIFFERENCE;
                }
                if now.counters.gaps != before.1 {
                    self.found |= GAP;
                }
                outcome
            }
            _ => self.datagram(packet.payload, now),
        };
        if outcome.is_break() {
            self.end(now.cut_off, pool);
        }
    }

    fn datagram(&mut self, payload: &[u8], now: &mut Now<'_>) -> ControlFlow<()> {
        if let Stage::Probing(probing) = &mut self.stage {
            match probing.datagram(now.direction, payload) {
                Verdict::Recognised(parser, _) => {
                    self.conversation(now, Vec::new()).begin(parser);
                }
                Verdict::Unknown => return ControlFlow::Break(()),
                Verdict::Wait | Verdict::Discard => return ControlFlow::Continue(()),
            }
        }
        let direction = now.direction;
        match self.conversation(now, Vec::new()).read(direction, payload) {
            Take::Stop => ControlFlow::Break(()),
            // Another protocol begins with this datagram. Switches are counted, so this ends.
            Take::Used(0) if matches!(self.stage, Stage::Probing(_)) => self.datagram(payload, now),
            Take::Used(_) => ControlFlow::Continue(()),
        }
    }

    fn segment(
        &mut self,
        sequence: u32,
        acknowledgement: Option<u32>,
        payload: &[u8],
        now: &mut Now<'_>,
        pool: &mut Pool,
    ) -> ControlFlow<()> {
        let Some(mut streams) = self.streams.take() else { return ControlFlow::Break(()) };
        let outcome = self.segment_of(&mut streams, sequence, acknowledgement, payload, now, pool);
        self.is_waiting = streams.iter().any(Stream::is_waiting)
            || matches!(&self.stage, Stage::Probing(probing) if probing.is_tentative != [false; 2]);
        self.streams = Some(streams);
        outcome
    }

    fn segment_of(
        &mut self,
        streams: &mut [Stream; 2],
        sequence: u32,
        acknowledgement: Option<u32>,
        payload: &[u8],
        now: &mut Now<'_>,
        pool: &mut Pool,
    ) -> ControlFlow<()> {
        let direction = now.direction;
        let (here, there) = (direction.index(), direction.flip().index());
        // What the other side said comes before what answers it.
        if let Some(number) = acknowledgement {
            now.direction = direction.flip();
            let mut conversation = self.conversation(now, Vec::new());
            streams[there].acknowledge(number, pool, &mut conversation)?;
            now.direction = direction;
            if let Stage::Probing(probing) = &mut self.stage
                && probing.is_tentative[there]
                && streams[there].is_all_acknowledged()
            {
                probing.restart(there, streams[there].drop_front(pool));
            }
        }
        if payload.is_empty() {
            return ControlFlow::Continue(());
        }
        if let Stage::Probing(probing) = &mut self.stage {
            if streams[here].rebase(sequence, pool) {
                probing.begin_anew(here);
            } else if probing.is_tentative[here] && streams[here].is_next(sequence) {
                probing.restart(here, streams[here].drop_front(pool));
            }
            let other = streams[there].take_front(pool);
            let mut conversation = self.conversation(now, other);
            let outcome = streams[here].segment(sequence, payload, pool, &mut conversation);
            let (other, other_used) = (conversation.other, conversation.other_used);
            streams[there].put_front(other, other_used, pool);
            return outcome;
        }
        let mut conversation = self.conversation(now, Vec::new());
        streams[here].segment(sequence, payload, pool, &mut conversation)
    }

    fn conversation<'a>(&'a mut self, now: &'a mut Now<'_>, other: Vec<u8>) -> Conversation<'a> {
        Conversation {
            stage: &mut self.stage,
            switches_left: &mut self.switches_left,
            depth_left: &mut self.depth_left,
            has_spoken: &mut self.has_spoken,
            app: &mut self.app,
            metadata: &mut self.metadata,
            sides: &mut self.sides,
            is_swapped: self.is_swapped,
            is_joined: self.is_joined,
            is_turned: &mut self.is_turned,
            carrier: now.carrier,
            direction: now.direction,
            time: now.time,
            events: now.events.as_deref_mut(),
            counters: now.counters,
            cut_off: now.cut_off,
            probe_bytes_max: now.probe_bytes_max,
            files: now.files,
            expectations: now.expectations,
            services: now.services,
            wanted: now.wanted,
            eve: now.eve,
            is_searched: now.is_searched,
            ends: self.ends,
            other,
            other_used: 0,
        }
    }

    fn close(&mut self, now: &mut Now<'_>, pool: &mut Pool) {
        if let Some(mut streams) = self.streams.take() {
            for direction in [Direction::Forward, Direction::Reverse] {
                if !matches!(self.stage, Stage::Probing(_)) {
                    break;
                }
                let held = streams[direction.index()].take_front(pool);
                if !held.is_empty() {
                    now.direction = direction;
                    self.conversation(now, Vec::new()).last(&held);
                }
                streams[direction.index()].put_front(held, 0, pool);
            }
            for direction in [Direction::Forward, Direction::Reverse] {
                now.direction = direction;
                let mut conversation = self.conversation(now, Vec::new());
                let outcome = streams[direction.index()].flush(pool, &mut conversation);
                if outcome.is_break() {
                    self.stage = Stage::Over(Ciphertext::default());
                    self.is_just_over = true;
                    break;
                }
            }
            self.streams = Some(streams);
        }
        now.direction = Direction::Forward;
        self.conversation(now, Vec::new()).close();
        self.end(now.cut_off, pool);
    }

    /// Where the ciphertext of both directions begins, as far as the dissector can tell.
    fn ciphertext(&self, cut_off: CutOff) -> Ciphertext {
        let (Stage::Reading(parser), Some(streams)) = (&self.stage, &self.streams) else {
            return Ciphertext::default();
        };
        if !cut_off.names(parser) {
            return Ciphertext::default();
        }
        let begin = |direction: Direction| {
            let position = streams[direction.index()].position()?;
            let of_dissector = if self.is_turned { direction.flip() } else { direction };
            Some(position.wrapping_add(parser.ciphertext_after(of_dissector)?))
        };
        Ciphertext::from([begin(Direction::Forward), begin(Direction::Reverse)])
    }

    /// Nothing more is to be learned: gives back what the learning needed.
    fn end(&mut self, cut_off: CutOff, pool: &mut Pool) {
        self.stage = Stage::Over(self.ciphertext(cut_off));
        self.is_just_over = true;
        self.is_waiting = false;
        if let Some(mut streams) = self.streams.take() {
            streams.iter_mut().for_each(|stream| stream.release(pool));
        }
    }
}

/// Whether the first end serves the application, by its port, and the other does not.
fn is_first_served(app: App, ends: &[End; 2]) -> bool {
    let [first, other] = ends.map(|(_, port)| is_served_at(app, port));
    first && !other
}

/// Where the next segment begins, by this one's numbers (RFC 9293 section 3.4).
fn end_of(tcp: &Tcp, payload_bytes: usize) -> u32 {
    let end = tcp.sequence.wrapping_add(payload_bytes as u32);
    end.wrapping_add(u32::from(tcp.flags & tcp_flags::SYN != 0))
}
