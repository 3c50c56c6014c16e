//! The one place where the stages meet: threads, queues, and the path of a packet.
//!
//! | thread | how many | takes | gives | when its outbox is full |
//! |---|---|---|---|---|
//! | `worker` | one per source | frames | batches of records and events to `export`, blocks to `ring` | live: the batch or block is dropped and counted, at the end it waits; replay: waits |
//! | `ring` | `ring.threads` | full blocks | segment files and their indexes | – |
//! | `files` | 1, with `dpi.files.extract_directory` only | pieces of files | files on disk | – (a live worker stores a file no further when 64 MiB wait) |
//! | `export` | 1 | batches | IPFIX, EVE JSON, record lines | keeps up to `export.backlog_bytes_max` per collector, then drops the oldest and counts |
//! | `control` | 1, `run` only | connections | the status document | – |
//!
//! A worker runs capture → decode → flow → ring → dpi → signatures to completion and owns all of its state; nothing
//! on the path is shared or locked. What dpi said about a flow's packets before decides whether the ring
//! leaves the ciphertext of the next one out. Threads end when their inbox closes, downstream last.

use crate::capture::config::BURST_FRAMES_MAX;
use crate::capture::{BatchEnd, Frame, FrameSource, SourceLoss};
use crate::config::SensorConfig;
use crate::counters::{DpiCounters, ExportCounters, Published, WorkerCounters, total};
use crate::decode::{self, DecodeEvent, Decoder, Packet, Parsed, Transport};
use crate::dpi::file::store::{RunningStore, Store};
use crate::dpi::{CutOff, Event, Inspection, Inspector, Services, Session, Sessions};
use crate::export::{ArpEvent, Batch, ExportStatus, Exporting, FlowEvent, FrameEvent, packet_source};
use crate::flow::{Flow, FlowHash, FlowTable, WARM_FLOWS_MIN};
use crate::ring::clock::ClockWatch;
use crate::ring::config::RingConfig;
use crate::ring::entry::LeftOut;
use crate::ring::gaps::LossKind;
use crate::ring::summary::NO_FLOW;
use crate::ring::{Lane, Places, Ring, RingError, RingStatus, cut_off};
use crate::signatures::{self, FlowMarks, Rules, SignaturesStatus};
use alerts::{Alerts, Inbox, Terms};
use carriers::{Around, Carriers};
use crossbeam::channel::{SendTimeoutError, Sender, TrySendError};
use outbox::Outbox;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use weir_common::app::App;
use weir_common::evidence::Evidence;
use weir_common::net::Direction;
use weir_common::record::{EndReason, FlowRecord, FlowState, SignatureAlert, Tunnel};
use weir_common::time::Timestamp;

/// Records and events handed to export at once.
const BATCH_ITEMS: usize = 256;
/// Longest a record or event waits for its batch to fill, in a live capture.
const BATCH_AGE_MAX: Duration = Duration::from_millis(500);
/// How often a worker publishes its counts and asks its source for losses.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// Generic Routing Encapsulation, which may carry ARP.
const GRE: u8 = 47;
/// EVE's name for what was captured as it is.
const ON_THE_WIRE: &str = "wire/pcap";
/// Longest a stopped worker goes on reading what the kernel has captured already, and then waits for export to take
/// what that came to.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Whether frames come as they happen or as fast as they can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A worker waits for nobody: what does not fit downstream is dropped and counted.
    Live,
    /// A worker waits, so that nothing is lost.
    Replay,
}

/// What a worker knows of a flow beside its counts; the beginning is what most packets need, see [`Flow`].
#[derive(Default)]
#[repr(C)]
struct Attachment {
    /// What inspection knows; `None` until the flow's first payload.
    inspection: Option<Box<Inspection>>,
    /// Where the frames of this slice are in the ring; apart, because without a ring there is none.
    places: Option<Box<Places>>,
    /// What carried the flow's first packet.
    tunnel: Option<Box<Tunnel>>,
    /// Its TCP connection as it is followed for stream events, where anybody asks for them.
    session: Option<Box<Session>>,
    /// What signatures remember of it.
    marks: Option<Box<FlowMarks>>,
}

impl Attachment {
    /// One word of each cache line behind it that the next packet needs, to load them.
    #[inline]
    fn touch(&self) -> u64 {
        let inspection = self.inspection.as_deref().map_or(0, Inspection::touch);
        inspection ^ self.marks.as_deref().map_or(0, FlowMarks::touch)
    }
}

/// Where things go that leave the sensor.
pub struct Outlets {
    /// Records and events.
    pub exporting: Exporting,
    /// Packets.
    pub ring: Option<Ring>,
    /// Files.
    pub store: Option<Store>,
}

/// The threads of a started sensor.
pub struct Running {
    workers: Vec<JoinHandle<WorkerCounters>>,
    published: Vec<Published>,
    inboxes: Vec<Arc<Inbox>>,
    exporting: Exporting,
    ring: Option<Ring>,
    store: Option<RunningStore>,
}

/// How a sensor's run ended.
pub struct Report {
    /// What was counted.
    pub counters: WorkerCounters,
    /// What export has to say.
    pub export: ExportStatus,
    /// What the ring has to say, when there was one.
    pub ring: Option<RingStatus>,
    /// What signatures have to say, when there were any.
    pub signatures: Option<SignaturesStatus>,
    /// Workers that ended by a fault of ours.
    pub workers_failed: usize,
}

/// Starts a worker per source. Reading this function is reading the sensor.
///
/// `outlets` were opened before, when the process still had the rights to.
pub fn start(
    config: &SensorConfig,
    sources: Vec<Box<dyn FrameSource>>,
    published: Vec<Published>,
    outlets: Outlets,
    rules: &Arc<Rules>,
    mode: Mode,
    stop: &Arc<AtomicBool>,
) -> std::io::Result<Running> {
    let Outlets { exporting, mut ring, store } = outlets;
    let count = sources.len().max(1);
    let flows_max = (config.flow.flows_max / count as u32).max(1);
    // Without a ring there is nothing to leave anything out of, and no handshake need be followed.
    let cut_off = match &ring {
        Some(_) => CutOff::parse(&config.ring.cut_off).map_err(std::io::Error::other)?,
        None => CutOff::default(),
    };
    let (store, store_handle) = store.map(Store::start).transpose()?.unzip();
    let services = Services::load(&config.dpi.services).map_err(std::io::Error::other)?;
    let mut workers = Vec::with_capacity(count);
    let inboxes: Vec<Arc<Inbox>> = (0..sources.len()).map(|_| Arc::default()).collect();
    for (index, ((source, published), inbox)) in sources.into_iter().zip(&published).zip(&inboxes).enumerate()
    {
        let number = index as u16;
        let outbox = Outbox {
            batch: Batch::default(),
            begun: Instant::now(),
            sender: exporting.sender(),
            mode,
            ends_by: None,
            tells_events: !config.export.eve.is_empty(),
        };
        let terms = Terms::new(config, inbox.shown.clone());
        let worker = Worker {
            decoder: Decoder::new(
                config.flow.fragment_bytes_max,
                Duration::from_millis(config.flow.fragment_timeout_ms),
            )
            .with(&config.decode),
            flows: FlowTable::new(&config.flow, flows_max, number),
            inspector: config.dpi.enabled.then(|| {
                let inspector = Inspector::new(&config.dpi).with_cut_off(cut_off);
                let mut inspector =
                    inspector.with_store(store_handle.clone()).with_services(services.clone());
                inspector.set_wanted(Some(rules.wanted()));
                inspector
            }),
            alerts: Alerts::new(&terms, rules),
            terms,
            inbox: Arc::clone(inbox),
            sessions: Sessions::new(
                config.dpi.stream_events && !config.export.eve.is_empty(),
                config.dpi.midstream,
                config.signatures.stream_depth_bytes,
            )
            .with_rules(rules.needs().stream_events),
            midstream: config.dpi.midstream,
            carriers: Carriers::new(&config.flow, config.decode.outer_flows, number),
            lane: ring.as_mut().and_then(|ring| ring.lane(number)),
            outbox,
            events: (!config.export.eve.is_empty() || !rules.is_empty()).then(Vec::new),
            has_decode_events: config.decode.events && !config.export.eve.is_empty(),
            faults: Vec::new(),
            responder_by_port: config.flow.responder_by_port,
            counters: WorkerCounters::default(),
            published: published.clone(),
            now: Timestamp::MIN,
            clock: Timestamp::MIN,
            watch: ClockWatch::default(),
            loss: SourceLoss::default(),
        };
        let stop = Arc::clone(stop);
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        workers.push(thread.spawn(move || worker.run(source, &stop))?);
    }
    Ok(Running { workers, published, inboxes, exporting, ring, store })
}

impl Running {
    /// What was counted so far.
    pub fn counters(&self) -> WorkerCounters {
        total(&self.published)
    }

    /// What the ring did so far, when there is one.
    pub fn ring_status(&self) -> Option<RingStatus> {
        self.ring.as_ref().map(Ring::status)
    }

    /// What signatures did so far, when there are any.
    pub fn signatures(&self) -> Option<SignaturesStatus> {
        let status = signatures::total(self.inboxes.iter().map(|inbox| &inbox.shown));
        has_signatures(&status).then_some(status)
    }

    /// Gives the workers rules that were loaded anew; none: those before are looked for no longer.
    pub fn set_rules(&self, rules: &Arc<Rules>) {
        self.inboxes.iter().for_each(|inbox| inbox.put(Arc::clone(rules)));
    }

    /// Applies the ring's limits that may change while it runs; without a ring there is nothing to apply.
    pub fn set_ring_limits(&mut self, config: &RingConfig) -> Result<(), RingError> {
        self.ring.as_mut().map_or(Ok(()), |ring| ring.set_limits(config))
    }

    /// Whether every worker has ended.
    pub fn is_finished(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the workers, then for what is downstream of them.
    pub fn wait(self) -> Report {
        let mut counters = WorkerCounters::default();
        let mut workers_failed = 0;
        for (worker, published) in self.workers.into_iter().zip(&self.published) {
            match worker.join() {
                Ok(counted) => counters.add(&counted),
                Err(_) => {
                    workers_failed += 1;
                    counters.add(&published.get());
                }
            }
        }
        if let Some(store) = self.store {
            counters.add(&store.join());
        }
        let ring = self.ring.map(Ring::close);
        let export = self.exporting.join();
        let status = signatures::total(self.inboxes.iter().map(|inbox| &inbox.shown));
        let signatures = has_signatures(&status).then_some(status);
        Report { counters, export, ring, signatures, workers_failed }
    }
}

/// Whether there are rules, or were.
fn has_signatures(status: &SignaturesStatus) -> bool {
    status.rules > 0 || status.reloads > 0
}

/// One thread's share of the sensor.
struct Worker {
    decoder: Decoder,
    flows: FlowTable<Attachment>,
    inspector: Option<Inspector>,
    /// None as long as there never were rules.
    alerts: Option<Alerts>,
    terms: Terms,
    inbox: Arc<Inbox>,
    lane: Option<Lane>,
    outbox: Outbox,
    /// Events of the packet at hand; `None` when neither export nor signatures listen.
    events: Option<Vec<Event>>,
    /// Faults of frames are told.
    has_decode_events: bool,
    /// Faults of the frame at hand, where anybody asks.
    faults: Vec<DecodeEvent>,
    /// What is served at a port shows who began, where nothing else does.
    responder_by_port: bool,
    /// TCP connections are looked into from their middle, too.
    midstream: bool,
    /// What is odd about TCP connections.
    sessions: Sessions,
    /// Flows of packets that carry others in tunnels, where anybody asks for them.
    carriers: Carriers,
    counters: WorkerCounters,
    published: Published,
    /// Time of the latest frame, or of a quiet source's clock.
    now: Timestamp,
    /// The same wherever the clock was set: what the ring writes down goes by it.
    clock: Timestamp,
    watch: ClockWatch,
    loss: SourceLoss,
}

impl Worker {
    fn run(mut self, mut source: Box<dyn FrameSource>, stop: &AtomicBool) -> WorkerCounters {
        let mut publish_at = Instant::now();
        let mut stopped_at = None;
        loop {
            if stopped_at.is_none() && stop.load(Ordering::Relaxed) {
                stopped_at = Some(Instant::now());
            }
            // A replay ends where it is; a live capture reads what the kernel has already.
            let is_draining = stopped_at.is_some();
            if is_draining && self.outbox.mode == Mode::Replay {
                break;
            }
            let read = source.read_batch(&mut |frames| self.process_burst(frames));
            match read {
                Ok(BatchEnd::More) => self.tick(self.now),
                Ok(BatchEnd::Quiet { now }) => {
                    self.clock = now;
                    self.tick(now);
                    if is_draining {
                        break;
                    }
                }
                Ok(BatchEnd::End) => break,
                Err(error) => {
                    self.counters.capture.errors += 1;
                    tracing::error!("{error}");
                }
            }
            if stopped_at.is_some_and(|at| at.elapsed() > DRAIN_MAX) {
                break;
            }
            if publish_at.elapsed() >= PUBLISH_INTERVAL {
                publish_at = Instant::now();
                self.renew_rules();
                self.publish(source.as_mut());
            }
        }
        self.publish(source.as_mut());
        self.finish();
        self.counters
    }

    /// The path of frames that were captured together: all are decoded, then all of their flows are loaded at
    /// once, then one after the other is metered.
    fn process_burst(&mut self, frames: &[Frame<'_>]) {
        for frames in frames.chunks(BURST_FRAMES_MAX) {
            let mut parsed = [Parsed::Nothing; BURST_FRAMES_MAX];
            let mut hashes = [FlowHash::default(); BURST_FRAMES_MAX];
            for ((frame, parsed), hash) in frames.iter().zip(&mut parsed).zip(&mut hashes) {
                *parsed = self.decoder.parse(frame, &mut self.counters.decode);
                if let Parsed::Packet(packet) = parsed {
                    *hash = self.flows.hash_of(packet);
                }
            }
            if let [_, .., last] = frames
                && self.flows.len() >= WARM_FLOWS_MIN
            {
                self.flows.warm(&hashes[..frames.len()], last.time, Attachment::touch);
            }
            for ((frame, parsed), hash) in frames.iter().zip(&parsed).zip(&hashes) {
                let is_measured = self.process(frame, parsed, *hash);
                if is_measured && parsed.tunnel_depth() > 0 {
                    self.see_carriers(frame);
                }
            }
        }
    }

    /// The path of a frame; whether it was measured, and not only kept.
    #[inline]
    fn process(&mut self, frame: &Frame<'_>, parsed: &Parsed<'_>, mut hash: FlowHash) -> bool {
        let Worker { decoder, flows, inspector, alerts, lane, outbox, events, faults, counters, .. } = self;
        counters.capture.frames += 1;
        counters.capture.bytes += frame.data.len() as u64;
        counters.capture.cut_off += u64::from(frame.wire_len as usize > frame.data.len());
        self.clock = frame.time;
        if frame.time > self.now {
            self.now = frame.time;
        }
        faults.clear();
        let wants_faults =
            self.has_decode_events || alerts.as_ref().is_some_and(Alerts::asks_for_decode_events);
        if wants_faults {
            decode::events(frame, &mut |fault| faults.push(fault));
            if let Parsed::Fragment(fragment) = parsed {
                decoder.fragment_events(fragment, &mut |fault| faults.push(fault));
            }
        }
        let reassembled;
        let is_copy = decoder.is_copy(frame, &mut counters.decode);
        let packet = match parsed {
            // What the SPAN port copied is evidence like everything else, and not measured again.
            _ if is_copy => None,
            Parsed::Packet(packet) => Some(packet),
            Parsed::Fragment(fragment) => {
                reassembled = decoder.reassemble(fragment, &mut counters.decode);
                if let Some(packet) = &reassembled {
                    hash = flows.hash_of(packet);
                }
                reassembled.as_ref()
            }
            Parsed::Nothing => None,
        };
        if let (Parsed::Fragment(_), Some(packet), true) = (parsed, packet, wants_faults) {
            decode::datagram_events(packet, &mut |fault| faults.push(fault));
        }
        let (time, number, interface) = (frame.time, counters.capture.frames, frame.interface);
        let mut tell = |source, fault, alert| {
            if !outbox.tells_events {
                return;
            }
            let event = FrameEvent { time, packet: number, interface, source, fault, alert };
            outbox.fault(event, &mut counters.export);
        };
        if self.has_decode_events {
            faults.iter().for_each(|fault| tell(ON_THE_WIRE, *fault, None));
        }
        if let Some(alerts) = alerts {
            let seed = flows.community_id_seed();
            alerts.frame(frame, packet.is_some(), faults, seed, &mut |fault, alert| {
                tell(ON_THE_WIRE, fault, Some(Box::new(alert)));
            });
            if alerts.asks_for_frames() && !is_copy {
                let bare = match (parsed, packet) {
                    (Parsed::Nothing, _) => decode::bare_frame(frame),
                    (_, Some(packet)) => decode::bare_frame_in(packet),
                    _ => None,
                };
                if let Some(bare) = bare {
                    let source = packet_source(bare.tunnel.as_ref(), false);
                    alerts.bare_frame(frame, &bare, &mut |alert| {
                        tell(source, bare.event(), Some(Box::new(alert)));
                    });
                }
            }
            for alert in alerts.take() {
                outbox.alert(alert, &mut counters.export);
            }
        }
        let Some(packet) = packet else {
            if let Some(lane) = lane {
                // Whose a fragment is shows when the first one of its datagram comes. If it never does, the flow has
                // no ports, and must be found as well.
                let orphaned = match parsed {
                    Parsed::Fragment(fragment) => Some(flows.id_without_ports(fragment.ip()).tag()),
                    _ => None,
                };
                let tag = if orphaned.is_some() { None } else { Some(NO_FLOW) };
                let kept = lane.append(frame, tag, None, &mut counters.ring);
                if let (Some(orphaned), Some(_)) = (orphaned, kept) {
                    lane.may_be_of(orphaned);
                }
            }
            if outbox.tells_events
                && matches!(parsed, Parsed::Nothing)
                && let Some(arp) = decode::arp(frame)
            {
                let (time, packet, interface) = (frame.time, counters.capture.frames, frame.interface);
                outbox.arp(ArpEvent { time, packet, interface, arp }, &mut counters.export);
            }
            return !is_copy;
        };
        if packet.ip.protocol == GRE
            && outbox.tells_events
            && let Some(arp) = decode::arp_in_gre(packet)
        {
            let (time, packet, interface) = (frame.time, counters.capture.frames, frame.interface);
            outbox.arp(ArpEvent { time, packet, interface, arp }, &mut counters.export);
        }
        let mut ended = |flow: &mut Flow<Attachment>, reason| {
            outbox.end(
                flow,
                reason,
                inspector.as_mut(),
                alerts.as_mut(),
                events.as_mut(),
                lane.as_ref(),
                &mut counters.dpi,
                &mut counters.export,
            );
        };
        let observed =
            flows.observe_hashed(packet, hash, frame.time, frame.interface, &mut counters.flow, &mut ended);
        let flow = flows.flow_mut(observed.slot);
        if observed.is_new && packet.tunnel_depth > 0 {
            flow.attachment.tunnel = decode::tunnel_of(frame).map(Box::new);
        }
        if observed.is_flipped
            && let Some(inspection) = &mut flow.attachment.inspection
        {
            inspection.swap_directions();
        }
        if observed.is_flipped
            && let Some(marks) = &mut flow.attachment.marks
        {
            marks.swap_directions();
        }
        if observed.is_flipped
            && let Some(session) = &mut flow.attachment.session
        {
            session.swap_directions();
        }
        if let Some(lane) = lane {
            let tag = Some(flow.community_id().tag());
            let Attachment { inspection, places, .. } = &mut flow.attachment;
            let places = places.get_or_insert_default();
            let kept = match without_ciphertext(frame, packet, observed.direction, inspection) {
                Some((frame, receipt)) => lane.append(&frame, tag, Some(receipt), &mut counters.ring),
                None => lane.append(frame, tag, None, &mut counters.ring),
            };
            match kept {
                Some(number) => places.add(number),
                None => places.miss(),
            }
            if let Some(early) = packet.early {
                places.cover(lane.blocks_between(early.start, frame.time), lane.newest(), early.packets);
            }
        }
        let mut direction = observed.direction;
        let has_begun = has_begun(flow, packet);
        let mut odd = self.sessions.see(&mut flow.attachment.session, packet, observed.direction, frame.time);
        if let Some(inspector) = inspector
            && !packet.is_partial
            && (self.midstream || has_begun)
        {
            inspector.inspect(
                &mut flow.attachment.inspection,
                packet,
                (observed.direction, !has_begun),
                frame.time,
                events.as_mut().filter(|_| outbox.tells_events),
                &mut counters.dpi,
            );
            let is_closed = flow.state() == FlowState::Closed;
            if let Some(inspection) = &mut flow.attachment.inspection {
                odd = odd.and(inspection.take_stream_events());
                if observed.is_turn {
                    inspection.closed_by(is_closed.then_some(counters.capture.frames));
                }
                if self.responder_by_port && inspection.take_is_backwards() && flows.flip(observed.slot) {
                    turn(&mut flows.flow_mut(observed.slot).attachment, events.as_mut());
                    direction = direction.flip();
                }
            }
        }
        let flow = flows.flow_mut(observed.slot);
        let Some(events) = events else { return true };
        if !odd.is_empty() && outbox.tells_events {
            let app = flow.attachment.inspection.as_ref().map_or(App::Unknown, |inspection| inspection.app());
            let session = &mut flow.attachment.session;
            self.sessions.tell(session, odd, app, frame.time, direction, events);
        }
        if let Some(alerts) = alerts {
            alerts.see_stream_events(odd);
            alerts.packet((frame, counters.capture.frames), packet, direction, flow, events);
            for alert in alerts.take() {
                let evidence = lane.as_ref().map(|lane| Box::new(evidence_so_far(lane, flow)));
                outbox.alert(SignatureAlert { evidence, ..alert }, &mut counters.export);
            }
        }
        if !events.is_empty() {
            for event in events.iter_mut() {
                event.packet = counters.capture.frames;
            }
            let tunnel = if packet.tunnel_depth > 0 { decode::tunnel_of(frame) } else { None };
            let source = packet_source(tunnel.as_ref(), packet.ip.is_fragment && !packet.is_partial);
            outbox.events(flow, source, events, &mut counters.export);
        }
        true
    }

    /// Flows of packets that carry others in tunnels, and what they lead to.
    fn carriers(&mut self) -> (&mut Carriers, Around<'_>) {
        let Worker { alerts, lane, outbox, events, counters, carriers, .. } = self;
        let (alerts, events, lane) = (alerts.as_mut(), events.as_mut(), lane.as_ref());
        (carriers, Around { alerts, lane, outbox, events, counters })
    }

    /// Looks at the packets that carried a frame's in tunnels, where anybody asks for them.
    #[cold]
    fn see_carriers(&mut self, frame: &Frame<'_>) {
        let (carriers, mut around) = self.carriers();
        if carriers.are_wanted(around.alerts.as_deref()) {
            carriers.see(frame, &mut around);
        }
    }

    /// What time brings: flows and fragments that end, blocks and batches that have waited long enough.
    fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.meter_given_up_fragments(false);
        let Worker { flows, inspector, alerts, lane, outbox, events, counters, .. } = self;
        let mut ended = |flow: &mut Flow<Attachment>, reason| {
            outbox.end(
                flow,
                reason,
                inspector.as_mut(),
                alerts.as_mut(),
                events.as_mut(),
                lane.as_ref(),
                &mut counters.dpi,
                &mut counters.export,
            );
        };
        while flows.expire(self.now, &mut counters.flow, &mut ended) {}
        let now = self.now;
        let (carriers, mut around) = self.carriers();
        carriers.expire(now, &mut around);
        if let Some(lane) = &mut self.lane {
            lane.tick(self.clock);
        }
        self.outbox.send_if_old(&mut self.counters.export);
    }

    /// Fragments whose first one never came are metered without ports.
    fn meter_given_up_fragments(&mut self, all: bool) {
        let Worker { decoder, flows, inspector, alerts, lane, outbox, events, counters, now, .. } = self;
        let WorkerCounters { decode, flow: flow_counters, dpi, export, .. } = counters;
        let mut meter = |packet: &Packet<'_>, time: Timestamp, interface: u32| {
            let mut ended = |flow: &mut Flow<Attachment>, reason| {
                let alerts = alerts.as_mut();
                outbox.end(
                    flow,
                    reason,
                    inspector.as_mut(),
                    alerts,
                    events.as_mut(),
                    lane.as_ref(),
                    dpi,
                    export,
                );
            };
            let observed = flows.observe(packet, time, interface, flow_counters, &mut ended);
            if let Some(lane) = lane {
                let since = packet.early.map_or(time, |early| early.start.min(time));
                let frames = packet.early.map_or(0, |early| early.packets).saturating_add(1);
                let places = flows.flow_mut(observed.slot).attachment.places.get_or_insert_default();
                places.cover(lane.blocks_between(since, time), lane.newest(), frames);
            }
        };
        if all { decoder.drain(decode, &mut meter) } else { decoder.expire(*now, decode, &mut meter) }
    }

    /// Takes up rules that were loaded anew.
    fn renew_rules(&mut self) {
        let Some(rules) = self.inbox.take() else { return };
        Alerts::renew(&mut self.alerts, &self.terms, rules);
        let Some(alerts) = &self.alerts else { return };
        if let Some(inspector) = &mut self.inspector {
            inspector.set_wanted(Some(alerts.wanted()));
        }
        self.sessions = self.sessions.with_rules(alerts.asks_for_stream_events());
        self.events.get_or_insert_default();
    }

    /// Tells others what was counted, and the ring what was lost before it.
    fn publish(&mut self, source: &mut dyn FrameSource) {
        let loss = source.loss();
        let counters = &mut self.counters.capture;
        counters.kernel_dropped = loss.kernel_dropped;
        counters.interface_dropped = loss.interface_dropped;
        if let Some(lane) = &mut self.lane {
            let since = self.clock.minus(PUBLISH_INTERVAL);
            let kernel = loss.kernel_dropped.saturating_sub(self.loss.kernel_dropped);
            let interface = loss.interface_dropped.saturating_sub(self.loss.interface_dropped);
            lane.note_loss(LossKind::Kernel, kernel, since, self.clock);
            lane.note_loss(LossKind::Interface, interface, since, self.clock);
            if let Some(clock) = source.clock()
                && let Some((from, to)) = self.watch.look(clock, Instant::now())
            {
                lane.note_clock_forward(from, to);
            }
        }
        if let Some(alerts) = &mut self.alerts {
            alerts.relieve(loss.kernel_dropped > self.loss.kernel_dropped);
            self.counters.detect = alerts.show();
        }
        self.loss = loss;
        self.counters.flow.active = self.flows.len() as u64;
        self.published.set(&self.counters);
    }

    /// The source has ended: everything held is handed on.
    fn finish(&mut self) {
        // All flows end at once, which is more than the queue holds, and no frame waits any more.
        self.outbox.ends_by = Some(Instant::now() + DRAIN_MAX);
        self.meter_given_up_fragments(true);
        let Worker { flows, inspector, alerts, lane, outbox, events, counters, .. } = self;
        let mut ended = |flow: &mut Flow<Attachment>, reason| {
            outbox.end(
                flow,
                reason,
                inspector.as_mut(),
                alerts.as_mut(),
                events.as_mut(),
                lane.as_ref(),
                &mut counters.dpi,
                &mut counters.export,
            );
        };
        flows.drain(&mut counters.flow, &mut ended);
        let (carriers, mut around) = self.carriers();
        carriers.drain(&mut around);
        let Worker { alerts, outbox, counters, .. } = self;
        outbox.send(&mut counters.export);
        if let Some(alerts) = alerts {
            counters.detect = alerts.show();
        }
        if let Some(lane) = self.lane.take() {
            lane.close(self.clock);
        }
        self.counters.flow.active = 0;
        self.published.set(&self.counters);
    }
}

/// Whether the beginning of a TCP connection was seen; of what has none, always.
fn has_begun(flow: &Flow<Attachment>, packet: &Packet<'_>) -> bool {
    flow.has_begun() || !matches!(packet.transport, Transport::Tcp(_))
}

/// The flow's ends have been exchanged: what is told of it from now on knows.
#[cold]
fn turn(about: &mut Attachment, events: Option<&mut Vec<Event>>) {
    if let Some(inspection) = &mut about.inspection {
        inspection.swap_directions();
    }
    if let Some(marks) = &mut about.marks {
        marks.swap_directions();
    }
    if let Some(session) = &mut about.session {
        session.swap_directions();
    }
    for event in events.into_iter().flatten() {
        event.direction = event.direction.flip();
    }
}

/// The frame without the ciphertext of its payload, and the receipt for that. None: it is kept whole, as is
/// every fragment and every packet of which the frame does not have all.
#[inline]
fn without_ciphertext<'a>(
    frame: &Frame<'a>,
    packet: &Packet<'_>,
    direction: Direction,
    inspection: &mut Option<Box<Inspection>>,
) -> Option<(Frame<'a>, LeftOut)> {
    let kept = inspection.as_mut()?.kept_of(packet, direction)?;
    if packet.is_cut || packet.is_partial || packet.ip.is_fragment {
        return None;
    }
    cut_off::shorten(frame, packet.payload, kept)
}

/// Where the packets of a flow's slice are that came until now.
#[cold]
fn evidence_so_far(lane: &Lane, flow: &Flow<Attachment>) -> Evidence {
    let none = Places::default();
    let places = flow.attachment.places.as_deref().unwrap_or(&none);
    let packets = [Direction::Forward, Direction::Reverse].map(|direction| flow.stats(direction).packets);
    lane.evidence(places, flow.start(), packets.iter().fold(0, |sum, packets| sum.saturating_add(*packets)))
}

/// A slice of a flow that goes on says what is known so far.
fn describe_slice(record: &mut FlowRecord, inspection: Option<&Inspection>) {
    if let Some(inspection) = inspection {
        record.app = inspection.app();
        record.metadata = Some(inspection.metadata()).filter(|m| !m.is_empty()).map(|m| Box::new(m.clone()));
    }
}

mod alerts;
mod carriers;
mod outbox;
mod tell;
#[cfg(test)]
mod tests;
