//! Hunt: signatures over packets that were kept.
//!
//! In: frames in order of time, as the query engine gives them. Out: EVE `alert` lines that say
//! `retrospective`. The frames take the path of live ones (decode, flow, dpi) and each packet and
//! transaction is shown to the signatures' engine, and where some signature may be about one, each packet that carries
//! others in a tunnel. Time is the packets'.
//!
//! Of one flow a signature that every packet would match is told once, any other at most
//! [`ALERTS_PER_FLOW_MAX`] times; what is beyond is counted. A flow's `flow_id` comes from its Community ID
//! and its first packet's time, so that two hunts name the same flow alike.
//!
//! Deliberately absent: choosing blocks (`need.rs` says what may matter, the planner chooses), files and
//! clocks (the command line's), and state between flows but for thresholds.

pub mod need;
pub mod position;
mod teller;
#[cfg(test)]
mod tests;

pub use teller::{ALERTS_PER_FLOW_MAX, SIGNATURES_PER_FLOW_MAX, TellerCounters};

use crate::capture::Frame;
use crate::config::SensorConfig;
use crate::counters::{DecodeCounters, DpiCounters, FlowCounters};
use crate::decode::{self, Decoder, Packet, Transport};
use crate::dpi::{Event, Finished, Inspection, Inspector};
use crate::flow::{Flow, FlowTable};
use crate::signatures::{Engine, EngineCounters, FlowFacts, FlowMarks, Found, Sight};
use position::Position;
use serde::Serialize;
use std::time::Duration;
use teller::{Match, Teller};
use weir_common::app::App;
use weir_common::net::Direction;
use weir_common::record::{EndReason, FlowState};
use weir_common::time::Timestamp;

/// How often, in the packets' time, flows and fragments are looked at for their timeouts, in nanoseconds.
const TICK_NS: u64 = 1_000_000_000;

/// What a hunt counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HuntCounters {
    /// Frames looked at.
    pub frames: u64,
    /// Their captured bytes.
    pub bytes: u64,
    /// Packets shown to the signatures.
    pub packets: u64,
    /// Decoding.
    pub decode: DecodeCounters,
    /// Flows.
    pub flow: FlowCounters,
    /// Inspection.
    pub dpi: DpiCounters,
}

/// What a hunt knows of a flow besides the table's own.
#[derive(Default)]
struct Attached {
    inspection: Option<Box<Inspection>>,
    /// Time of its first packet; the table's begins anew with each slice.
    first: Timestamp,
    marks: Option<Box<FlowMarks>>,
}

/// Most flows that carry others in tunnels; at the limit the one that was seen the longest time ago ends.
const CARRIER_FLOWS_MAX: u32 = 1 << 14;

/// A hunt's state, fed with frames.
pub struct Hunt {
    decoder: Decoder,
    flows: FlowTable<Attached>,
    /// Flows of packets that carry others in tunnels.
    carriers: FlowTable<Attached>,
    rest: Rest,
    /// Time of the latest frame.
    now: Timestamp,
    ticked_at: Timestamp,
}

/// Everything but the tables that packets and flows are borrowed from.
struct Rest {
    inspector: Inspector,
    engine: Engine,
    teller: Teller,
    events: Vec<Event>,
    found: Vec<Found>,
    counters: HuntCounters,
}

impl Hunt {
    /// A hunt from the beginning, or from a position on.
    pub fn new(config: &SensorConfig, engine: Engine, position: Option<Position>) -> Hunt {
        let decoder = Decoder::new(
            config.flow.fragment_bytes_max,
            Duration::from_millis(config.flow.fragment_timeout_ms),
        )
        .with(&config.decode);
        let mut inspector = Inspector::new(&config.dpi);
        inspector.set_wanted(Some(engine.rules().wanted()));
        Hunt {
            decoder,
            flows: FlowTable::new(&config.flow, config.flow.flows_max.max(1), 0),
            carriers: FlowTable::new(&config.flow, config.flow.flows_max.clamp(1, CARRIER_FLOWS_MAX), 0),
            rest: Rest {
                inspector,
                engine: engine.without_limits().with_stream_depth(config.signatures.stream_depth_bytes),
                teller: Teller::new(position),
                events: Vec::new(),
                found: Vec::new(),
                counters: HuntCounters::default(),
            },
            now: Timestamp::MIN,
            ticked_at: Timestamp::MIN,
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> HuntCounters {
        HuntCounters { flow: self.flows.counters(), ..self.rest.counters }
    }

    /// What the engine counted so far.
    pub fn engine_counters(&self) -> EngineCounters {
        self.rest.engine.counters()
    }

    /// What became of the matches so far.
    pub fn teller_counters(&self) -> TellerCounters {
        self.rest.teller.counters()
    }

    /// Time of the latest frame.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Takes the alerts written so far, whole lines; `out` is emptied first.
    pub fn take_lines(&mut self, out: &mut Vec<u8>) {
        self.rest.teller.take_lines(out);
    }

    /// Bytes of alerts that wait to be taken.
    pub fn lines_len(&self) -> usize {
        self.rest.teller.lines_len()
    }

    /// Where the hunt stands. To be asked between frames of different times, when everything up to and with
    /// `time` was given.
    pub fn position(&self, question: &str, time: Timestamp) -> Position {
        self.rest.teller.position(question, time)
    }

    /// Looks at a frame.
    pub fn frame(&mut self, frame: &Frame<'_>) {
        self.now = self.now.max(frame.time);
        if self.now.0.saturating_sub(self.ticked_at.0) >= TICK_NS {
            // On whole seconds of the packets' time, so that it does not matter where a hunt began.
            self.ticked_at = Timestamp(self.now.0 - self.now.0 % TICK_NS);
            self.tick();
        }
        let Hunt { decoder, flows, carriers, rest, now, .. } = self;
        rest.counters.frames += 1;
        rest.counters.bytes += frame.data.len() as u64;
        if let Some(packet) = decoder.decode(frame, &mut rest.counters.decode) {
            let is_carried = packet.tunnel_depth > 0 && rest.engine.rules().needs().carriers;
            rest.packet(flows, &packet, frame.time, frame.interface, *now);
            if is_carried {
                decode::carriers(frame, &mut |packet| {
                    rest.carrier(carriers, packet, frame.time, frame.interface, *now);
                });
            }
        }
    }

    /// What time brings: flows and fragments that end.
    fn tick(&mut self) {
        let Hunt { decoder, flows, carriers, rest, now, .. } = self;
        let now = *now;
        let mut decoded = std::mem::take(&mut rest.counters.decode);
        decoder.expire(now, &mut decoded, &mut |packet, time, interface| {
            rest.packet(flows, packet, time, interface, now);
        });
        rest.counters.decode = decoded;
        while flows.expire(now, &mut |flow, reason| rest.ended(flow, reason, now)) {}
        while carriers.expire(now, &mut |flow, reason| rest.ended(flow, reason, now)) {}
    }

    /// There are no more frames: what waited for more is told.
    pub fn finish(&mut self) {
        let Hunt { decoder, flows, carriers, rest, now, .. } = self;
        let now = *now;
        rest.teller.packets_end();
        let mut decoded = std::mem::take(&mut rest.counters.decode);
        decoder.drain(&mut decoded, &mut |packet, time, interface| {
            rest.packet(flows, packet, time, interface, now);
        });
        rest.counters.decode = decoded;
        flows.drain(&mut |flow, reason| rest.ended(flow, reason, now));
        carriers.drain(&mut |flow, reason| rest.ended(flow, reason, now));
    }
}

impl Rest {
    /// A packet's way through flow table, inspection and signatures.
    fn packet(
        &mut self,
        flows: &mut FlowTable<Attached>,
        packet: &Packet<'_>,
        time: Timestamp,
        interface: u32,
        now: Timestamp,
    ) {
        self.counters.packets += 1;
        let observed = flows.observe(packet, time, interface, &mut |flow, reason| {
            self.ended(flow, reason, now);
        });
        let flow = flows.flow_mut(observed.slot);
        let direction = observed.direction;
        let (key, flow_id, state) = (flow.key(), flow.flow_id(), flow.state());
        let mut counts = FlowFacts::of(flow, direction);
        let is_joined = matches!(packet.transport, Transport::Tcp(_)) && !flow.has_begun();
        let about = &mut flow.attachment;
        if observed.is_new {
            about.first = time;
        }
        if observed.is_flipped
            && let Some(inspection) = &mut about.inspection
        {
            inspection.swap_directions();
        }
        if !packet.is_partial {
            let events = Some(&mut self.events);
            self.inspector.inspect(
                &mut about.inspection,
                packet,
                (direction, is_joined),
                time,
                events,
                &mut self.counters.dpi,
            );
            self.events.clear();
        }
        let inspection = about.inspection.as_deref_mut();
        counts.is_turned = inspection.as_ref().is_some_and(|inspection| inspection.is_server_first());
        let sight = Sight {
            packet,
            time,
            direction,
            key,
            flow_id,
            is_established: match packet.transport {
                Transport::Tcp(_) => state != FlowState::New,
                _ => counts.packets.iter().all(|packets| *packets > 0),
            },
            app: inspection.as_ref().map_or(App::Unknown, |inspection| inspection.app()),
            is_opaque: inspection.as_ref().is_some_and(|inspection| inspection.is_ciphertext()),
            flow: counts,
            decode_events: &[],
            stream_events: &[],
            waits: false,
            has_stream: true,
        };
        let sides = inspection.and_then(|inspection| {
            let (sides, is_swapped) = inspection.sides();
            sides.map(|sides| (sides, is_swapped))
        });
        self.found.clear();
        self.engine.packet(&sight, &mut about.marks, sides, &mut self.found);
        self.tell(flow, packet, time, now);
    }

    /// Shows signatures a packet that carries another in a tunnel; it is no packet of the flows that are counted.
    #[cold]
    fn carrier(
        &mut self,
        carriers: &mut FlowTable<Attached>,
        packet: &Packet<'_>,
        time: Timestamp,
        interface: u32,
        now: Timestamp,
    ) {
        let observed = carriers.observe(packet, time, interface, &mut |flow, reason| {
            self.ended(flow, reason, now);
        });
        let flow = carriers.flow_mut(observed.slot);
        let counts = FlowFacts::of(flow, observed.direction);
        let sight = Sight {
            packet,
            time,
            direction: observed.direction,
            key: flow.key(),
            flow_id: flow.flow_id(),
            is_established: counts.packets.iter().all(|packets| *packets > 0),
            is_opaque: false,
            flow: counts,
            ..Sight::of_nobody(packet)
        };
        if observed.is_new {
            flow.attachment.first = time;
        }
        self.found.clear();
        self.engine.packet(&sight, &mut flow.attachment.marks, None, &mut self.found);
        self.tell(flow, packet, time, now);
    }

    fn tell(&mut self, flow: &Flow<Attached>, packet: &Packet<'_>, time: Timestamp, now: Timestamp) {
        let icmp = match packet.transport {
            Transport::Icmp { kind, code } => Some((kind, code)),
            _ => None,
        };
        for found in &self.found {
            let matched = Match { found: found.clone(), time, icmp, first: flow.attachment.first };
            self.teller.tell(&self.engine, flow, &matched, now);
        }
    }

    /// Looks at what only the flow's end made known, with a packet that says nothing.
    fn last_sides(&mut self, flow: &mut Flow<Attached>, finished: Finished, now: Timestamp) {
        let Some(mut sides) = finished.sides else { return };
        let (key, time) = (flow.key(), flow.end());
        let packet = Packet::of_nothing(&key);
        let sight = Sight {
            packet: &packet,
            time,
            direction: Direction::Forward,
            key,
            flow_id: flow.flow_id(),
            is_established: true,
            app: finished.app,
            is_opaque: true,
            flow: FlowFacts {
                is_turned: finished.is_server_first,
                ..FlowFacts::of(flow, Direction::Forward)
            },
            decode_events: &[],
            stream_events: &[],
            waits: false,
            has_stream: true,
        };
        self.found.clear();
        self.engine.packet(
            &sight,
            &mut flow.attachment.marks,
            Some((&mut sides, finished.is_swapped)),
            &mut self.found,
        );
        self.tell(flow, &packet, time, now);
    }

    fn ended(&mut self, flow: &mut Flow<Attached>, reason: EndReason, now: Timestamp) {
        if reason == EndReason::ActiveTimeout {
            return;
        }
        // Events of the packet that made another flow end are told before this flow's.
        if let Some(inspection) = flow.attachment.inspection.take() {
            let finished = self.inspector.finish(Some(inspection), flow.end(), None, &mut self.counters.dpi);
            self.last_sides(flow, finished, now);
        }
        self.teller.ended(flow, now);
    }
}
