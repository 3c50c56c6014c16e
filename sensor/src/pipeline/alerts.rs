//! A worker's signatures: what a packet shows them, and what becomes of what they find.
//!
//! In: a packet with its flow, after inspection has looked at it. Out: `alert` events among the flow's others. What
//! was found is told by [`super::tell`].

use super::Attachment;
use super::tell::{Audience, Scene, Teller};
use crate::capture::Frame;
use crate::config::SensorConfig;
use crate::counters::DetectCounters;
use crate::decode::{BareFrame, DecodeEvent, Packet, Transport};
use crate::dpi::buffers::Wanted;
use crate::dpi::{Event, Finished, Inspection, StreamEvents};
use crate::flow::Flow;
use crate::signatures::config::SignaturesConfig;
use crate::signatures::{AppFacts, AppKnown, Beside, Engine, FlowFacts, Found, Rules, Shown, Sight, alert};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tracing::warn;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;
use weir_common::record::{FlowRecord, FlowState, SignatureAlert, SignatureMarks, tcp_flags};

/// Where a worker is given rules that were loaded anew, and shows what it did.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    is_full: AtomicBool,
    rules: Mutex<Option<Arc<Rules>>>,
    pub(super) shown: Shown,
}

impl Inbox {
    /// Gives a worker rules, which it takes up between two batches of frames.
    pub(super) fn put(&self, rules: Arc<Rules>) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Some(rules);
        self.is_full.store(true, Ordering::Release);
    }

    /// Takes what was given since the last look.
    pub(super) fn take(&self) -> Option<Arc<Rules>> {
        let is_full = self.is_full.swap(false, Ordering::Acquire);
        is_full.then(|| self.rules.lock().unwrap_or_else(PoisonError::into_inner).take()).flatten()
    }
}

/// What a worker's signatures go by, whichever rules there are.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) config: SignaturesConfig,
    pub(super) audience: Audience,
    pub(super) shown: Shown,
    /// `dpi.wait_for_acknowledgement`.
    pub(super) waits: bool,
    /// `dpi.midstream`.
    pub(super) midstream: bool,
}

impl Terms {
    /// As configured.
    pub(super) fn new(config: &SensorConfig, shown: Shown) -> Terms {
        Terms {
            config: config.signatures.clone(),
            audience: Audience::of(&config.export),
            shown,
            waits: config.dpi.wait_for_acknowledgement,
            midstream: config.dpi.midstream,
        }
    }
}

/// A worker's signatures.
#[derive(Debug)]
pub(super) struct Alerts {
    shown: Shown,
    reloads: u64,
    engine: Engine,
    found: Vec<Found>,
    teller: Teller,
    /// Faults of the frame at hand, where signatures ask for them.
    faults: Vec<&'static str>,
    /// What the packet at hand shows to be odd about its stream.
    odd: Vec<&'static str>,
    /// `dpi.wait_for_acknowledgement`.
    waits: bool,
    /// `dpi.midstream`.
    midstream: bool,
}

impl Alerts {
    /// None where there are no rules.
    pub(super) fn new(terms: &Terms, rules: &Arc<Rules>) -> Option<Alerts> {
        let Terms { config, audience, shown, waits, midstream } = terms;
        (!rules.is_empty()).then(|| Alerts {
            shown: shown.clone(),
            reloads: 0,
            engine: Engine::new(Arc::clone(rules))
                .with_stream_depth(config.stream_depth_bytes)
                .with_relief(config.set_aside_percent),
            found: Vec::new(),
            faults: Vec::new(),
            odd: Vec::new(),
            waits: *waits,
            midstream: *midstream,
            teller: Teller::new(config, *waits, *audience),
        })
    }

    /// Which parts of transactions its rules look into.
    pub(super) fn wanted(&self) -> Arc<Wanted> {
        self.engine.rules().wanted()
    }

    /// Takes up rules that were loaded anew, which may be none. `alerts` is none where there were none to begin with: a
    /// worker that never had rules has nothing that looks for them.
    pub(super) fn renew(alerts: &mut Option<Alerts>, terms: &Terms, rules: Arc<Rules>) {
        match alerts {
            Some(alerts) => alerts.engine.set_rules(rules),
            None => *alerts = Alerts::new(terms, &rules),
        }
        if let Some(alerts) = alerts {
            alerts.reloads += 1;
        }
    }

    /// Sets rules aside that cost so much that packets were lost since the last look.
    pub(super) fn relieve(&mut self, has_lost: bool) {
        let newly = self.engine.relieve(has_lost, Instant::now()).to_vec();
        for about in newly.iter().filter_map(|number| self.engine.rules().description(*number)) {
            warn!(
                gid = about.gid,
                sid = about.sid,
                rule = about.message,
                "a rule took so much time that packets were lost: it is set aside until rules are loaded anew \
                 (signatures.set_aside_percent; `weir-sensor rules top` shows what it cost)"
            );
        }
    }

    /// Shows what was done so far; what of it stands among the worker's counts.
    pub(super) fn show(&self) -> DetectCounters {
        self.shown.set(&self.engine, self.reloads);
        let all = self.engine.counters();
        DetectCounters {
            alert: all.alerts,
            alerts_suppressed: all.suppressed,
            alert_queue_overflow: all.alerts_over_limit,
            left_out: all.candidates_over_limit + all.too_costly_left_out,
            given_up: all.given_up,
            not_kept: all.marks_refused + all.transactions_forgotten + all.data_refused,
        }
    }

    /// Takes note of a frame's faults, where signatures ask for them. A frame without a packet is looked at at once:
    /// `tell` is given its first fault and what was found, and collectors are told of it.
    pub(super) fn frame(
        &mut self,
        frame: &Frame<'_>,
        has_packet: bool,
        faults: &[DecodeEvent],
        community_id_seed: u16,
        tell: &mut dyn FnMut(DecodeEvent, Event),
    ) {
        self.faults.clear();
        if !self.asks_for_decode_events() {
            return;
        }
        self.faults.extend(faults.iter().map(|fault| fault.name));
        let Some(fault) = faults.first().filter(|_| !has_packet) else { return };
        self.found.clear();
        let packet = self.engine.fault(fault, &self.faults, frame.time, &mut self.found);
        let sight = Sight { time: frame.time, ..Sight::of_nobody(&packet) };
        let beside = Beside { packet: self.teller.quoted(frame), ..Beside::default() };
        let rules = self.engine.rules();
        let alerts = self.found.iter().filter_map(|found| alert::event(rules, found, &sight, &beside));
        alerts.for_each(|alert| tell(*fault, alert));
        self.teller.of_frame(rules, &self.found, &sight, community_id_seed);
        self.faults.clear();
    }

    /// Whether its rules may be about frames that hold no packet.
    pub(super) fn asks_for_frames(&self) -> bool {
        self.engine.rules().needs().frames
    }

    /// Looks at a frame that holds no packet: what was found is told at once.
    #[cold]
    pub(super) fn bare_frame(
        &mut self,
        frame: &Frame<'_>,
        bare: &BareFrame<'_>,
        tell: &mut dyn FnMut(Event),
    ) {
        self.found.clear();
        self.engine.frame(&bare.packet, bare.is_arp, frame.time, &mut self.found);
        let sight = Sight { time: frame.time, ..Sight::of_nobody(&bare.packet) };
        let beside = Beside { packet: self.teller.quoted(frame), ..Beside::default() };
        let alerts =
            self.found.iter().filter_map(|found| alert::event(self.engine.rules(), found, &sight, &beside));
        alerts.for_each(tell);
    }

    /// Whether its rules ask for faults of frames.
    pub(super) fn asks_for_decode_events(&self) -> bool {
        self.engine.rules().needs().decode_events
    }

    /// Whether its rules may be about packets that carry others in tunnels.
    pub(super) fn asks_for_carriers(&self) -> bool {
        self.engine.rules().needs().carriers
    }

    /// Whether its rules ask for what is odd about streams.
    pub(super) fn asks_for_stream_events(&self) -> bool {
        self.engine.rules().needs().stream_events
    }

    /// What the packet that is looked at next shows to be odd about its stream.
    pub(super) fn see_stream_events(&mut self, odd: StreamEvents) {
        self.odd.clear();
        if !odd.is_empty() {
            self.odd.extend(odd.names());
        }
    }

    /// Looks at a packet and at what it made known of its flow.
    pub(super) fn packet(
        &mut self,
        (frame, number): (&Frame<'_>, u64),
        packet: &Packet<'_>,
        direction: Direction,
        flow: &mut Flow<Attachment>,
        events: &mut Vec<Event>,
    ) {
        let (key, flow_id, start, state) = (flow.key(), flow.flow_id(), flow.start(), flow.state());
        let (faults, odd) = (std::mem::take(&mut self.faults), std::mem::take(&mut self.odd));
        let mut counts = FlowFacts::of(flow, direction);
        if self.engine.rules().needs().apps {
            counts.apps = apps(flow.attachment.inspection.as_deref());
        }
        let has_begun = super::has_begun(flow, packet);
        let is_joined = is_joined(flow);
        let (Attachment { inspection, marks, .. }, community_id) = flow.attached();
        let app = inspection.as_ref().map_or(App::Unknown, |inspection| inspection.app());
        counts.is_turned = inspection.as_ref().is_some_and(|inspection| inspection.is_server_first());
        let has_both = counts.packets.iter().all(|packets| *packets > 0);
        let sight = Sight {
            packet,
            time: frame.time,
            direction,
            key,
            flow_id,
            is_established: match packet.transport {
                // Of a connection that was met in its middle only where such are looked into.
                Transport::Tcp(_) if self.midstream => state != FlowState::New || is_joined,
                Transport::Tcp(_) => state != FlowState::New && has_begun,
                _ => has_both,
            },
            app,
            is_opaque: inspection.as_ref().is_some_and(|inspection| inspection.is_ciphertext()),
            has_stream: self.midstream || has_begun,
            flow: counts,
            decode_events: &faults,
            stream_events: &odd,
            waits: self.waits,
        };
        self.found.clear();
        let (sides, is_swapped) = match inspection.as_mut() {
            Some(inspection) => inspection.sides(),
            None => (None, false),
        };
        self.engine.packet(&sight, marks, sides.map(|sides| (sides, is_swapped)), &mut self.found);
        if let Some(marks) = marks {
            let inspection = inspection.as_deref();
            let metadata = inspection.map(Inspection::metadata);
            let (rules, frame) = (self.engine.rules(), Some((frame, number)));
            let scene = Scene { rules, sight: &sight, frame, start, community_id, inspection, metadata };
            self.teller.packet(&scene, marks, &self.found, events);
        }
        (self.faults, self.odd) = (faults, odd);
    }

    /// Looks at a packet that carries another in a tunnel. What is odd about the frame was told of that one.
    pub(super) fn carrier(
        &mut self,
        frame: (&Frame<'_>, u64),
        packet: &Packet<'_>,
        direction: Direction,
        flow: &mut Flow<Attachment>,
        events: &mut Vec<Event>,
    ) {
        self.faults.clear();
        self.odd.clear();
        self.packet(frame, packet, direction, flow, events);
    }

    /// Looks at what only the flow's end made known, with a packet that says nothing, and tells what has waited.
    pub(super) fn ended(
        &mut self,
        flow: &mut Flow<Attachment>,
        record: &FlowRecord,
        finished: Finished,
        events: &mut Vec<Event>,
    ) {
        let app = record.app;
        let (key, start, community_id) = (flow.key(), flow.start(), flow.community_id());
        let packet = Packet::of_nothing(&key);
        let sight = Sight {
            packet: &packet,
            time: flow.end(),
            direction: Direction::Forward,
            key,
            flow_id: flow.flow_id(),
            is_established: true,
            app,
            is_opaque: true,
            flow: FlowFacts {
                is_turned: finished.is_server_first,
                ..FlowFacts::of(flow, Direction::Forward)
            },
            decode_events: &[],
            stream_events: &[],
            waits: self.waits,
            has_stream: false,
        };
        self.found.clear();
        let marks = &mut flow.attachment.marks;
        if let Some(mut sides) = finished.sides {
            self.engine.packet(&sight, marks, Some((&mut sides, finished.is_swapped)), &mut self.found);
        }
        if let Some(marks) = marks {
            let (rules, metadata) = (self.engine.rules(), Some(record.metadata()));
            let scene = Scene {
                rules,
                sight: &sight,
                frame: None,
                start,
                community_id: &community_id,
                inspection: None,
                metadata,
            };
            self.teller.ended(&scene, marks, &self.found, events);
        }
    }

    /// Takes the alerts that were told, for collectors.
    pub(super) fn take(&mut self) -> impl Iterator<Item = SignatureAlert> {
        self.teller.take()
    }

    /// What rules made of a flow, as its record has it.
    pub(super) fn of_record(&self, flow: &Flow<Attachment>) -> Option<Box<SignatureMarks>> {
        alert::of_record(self.engine.rules(), flow.attachment.marks.as_deref()?)
    }
}

/// Whether a connection was joined in its middle: it was established before.
fn is_joined(flow: &Flow<Attachment>) -> bool {
    let flags = [Direction::Forward, Direction::Reverse].map(|direction| flow.stats(direction).tcp_flags);
    let flags = flags[0] | flags[1];
    flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) == tcp_flags::ACK
}

/// What recognition says of a flow.
fn apps(inspection: Option<&Inspection>) -> AppFacts {
    let Some(inspection) = inspection else { return AppFacts::default() };
    let known = |app: App| match app {
        App::Unknown if inspection.is_over() => AppKnown::Failed,
        App::Unknown => AppKnown::Unknown,
        app => AppKnown::Known(app),
    };
    let metadata = inspection.metadata();
    let named = |field| metadata.text(field).and_then(App::from_name).map(AppKnown::Known);
    let current = known(inspection.app());
    AppFacts {
        by_direction: [Field::AppToServer, Field::AppToClient].map(|field| named(field).unwrap_or(current)),
        original: named(Field::OriginalApp).unwrap_or(current),
        current,
    }
}
