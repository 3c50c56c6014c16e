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

use crate::capture::{Frame, FrameSource, SourceLoss};
use crate::config::SensorConfig;
use crate::counters::{ExportCounters, Published, WorkerCounters, total};
use crate::decode::{self, Decoder, Packet, Transport};
use crate::dpi::file::store::{RunningStore, Store};
use crate::dpi::{CutOff, Event, Inspection, Inspector, Services, Session, Sessions};
use crate::export::{Batch, ExportStatus, Exporting, packet_source};
use crate::flow::{Flow, FlowTable};
use crate::ring::clock::ClockWatch;
use crate::ring::config::RingConfig;
use crate::ring::{Lane, Places, Ring, RingError, RingStatus};
use crate::signatures::{self, FlowMarks, Rules, SignaturesStatus};
use alerts::{Alerts, Inbox, Terms};
use carriers::Carriers;
use crossbeam::channel::{SendTimeoutError, Sender, TrySendError};
use outbox::Outbox;
use path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use weir_common::evidence::Evidence;
use weir_common::net::Direction;
use weir_common::record::{EndReason, FlowRecord, SignatureAlert, Tunnel};
use weir_common::time::Timestamp;
use worker::Worker;

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
        let path = Path {
            flows: FlowTable::new(&config.flow, flows_max, number),
            inspector: config.dpi.enabled.then(|| {
                let inspector = Inspector::new(&config.dpi).with_cut_off(cut_off);
                let mut inspector =
                    inspector.with_store(store_handle.clone()).with_services(services.clone());
                inspector.set_wanted(Some(rules.wanted()));
                inspector
            }),
            alerts: Alerts::new(&terms, rules),
            lane: ring.as_mut().and_then(|ring| ring.lane(number)),
            outbox,
            events: (!config.export.eve.is_empty() || !rules.is_empty()).then(Vec::new),
            has_decode_events: config.decode.events && !config.export.eve.is_empty(),
            responder_by_port: config.flow.responder_by_port,
            midstream: config.dpi.midstream,
            sessions: Sessions::new(
                config.dpi.stream_events && !config.export.eve.is_empty(),
                config.dpi.midstream,
                config.signatures.stream_depth_bytes,
            )
            .with_rules(rules.needs().stream_events),
            carriers: Carriers::new(&config.flow, config.decode.outer_flows, number),
            counters: WorkerCounters::default(),
            now: Timestamp::MIN,
            clock: Timestamp::MIN,
        };
        let worker = Worker {
            decoder: Decoder::new(
                config.flow.fragment_bytes_max,
                Duration::from_millis(config.flow.fragment_timeout_ms),
            )
            .with(&config.decode),
            path,
            terms,
            inbox: Arc::clone(inbox),
            faults: Vec::new(),
            published: published.clone(),
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

/// Whether the beginning of a TCP connection was seen; of what has none, always.
fn has_begun(flow: &Flow<Attachment>, packet: &Packet<'_>) -> bool {
    flow.has_begun() || !matches!(packet.transport, Transport::Tcp(_))
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
mod around;
mod carriers;
mod outbox;
mod path;
mod tell;
mod worker;
#[cfg(test)]
mod tests;
