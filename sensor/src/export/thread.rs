//! The export thread: takes batches, writes to every destination, tells how they do.
//!
//! In: batches from a bounded queue. Out: [`ExportStatus`], while it runs and at the end. Live, it reads
//! the clock, here and nowhere else in export. In a replay the time is that of the latest record or
//! event, messages are ended by size alone and statistics are written once, at the end, so that the same
//! input gives the same bytes in files; and the thread waits for slow collectors instead of dropping.

use super::config::{ExportConfig, UDP_MESSAGE_BYTES_MIN};
use super::destination::Destination;
use super::distribution::{self, Distribution};
use super::eve::EveWriter;
use super::ipfix::Metering;
use super::lines::LineOutput;
use super::{Acknowledged, Batch, ExportError, ExportStatus};
use crate::counters::{Published, WorkerCounters, total};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir_common::ipfix::elements::REVERSE_PEN;
use weir_common::ipfix::options::Sensor;
use weir_common::net::CommunityId;
use weir_common::record_line;
use weir_common::time::Timestamp;

/// Records wait at most this long for their message to fill, and lines for their buffer, when live.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How often the queue is left to look after destinations when nothing comes.
const TICK: Duration = Duration::from_millis(200);
/// The same while something waits to be sent.
const TICK_PRESSED: Duration = Duration::from_millis(5);
/// How often the status is published.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// A replay waits for a destination with a full backlog as long as it makes progress this often.
const REPLAY_STALL_MAX: Duration = Duration::from_secs(30);
/// At the end, destinations are waited for as long as one of them makes progress this often.
const DRAIN_STALL_MAX: Duration = Duration::from_secs(5);
/// At the end, a destination whose records are safe in its spool is waited for no longer than this.
const SPOOLED_DRAIN_MAX: Duration = Duration::from_secs(5);
/// Most acknowledgements taken between two batches.
const ACKNOWLEDGEMENTS_PER_TURN: usize = 64;

/// Whose time it is, and what happens when a destination is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The clock's; what a destination cannot take in time is dropped and counted.
    Live,
    /// The records'; the input waits.
    Replay,
}

/// Most batches that wait in a replay, whose workers wait for export anyway: more of them only take memory.
const REPLAY_BATCHES_MAX: usize = 16;

/// What export needs to know of the sensor.
#[derive(Clone, Debug)]
pub struct Context {
    /// The sensor's name, told as `observationDomainName`.
    pub sensor_name: String,
    /// Interface names by index, for EVE's `in_iface`; empty for files, as Suricata leaves it out there.
    pub interfaces: Vec<String>,
    /// Every worker's published counters. A worker publishes its last before it drops its sender, so
    /// that the final statistics are complete.
    pub workers: Vec<Published>,
    /// Directory of the sensor's identity, which it shows to the collector that it is paired with.
    pub identity: PathBuf,
    /// Live or replay. Only live records are spooled: a replay's are in its captures.
    pub pace: Pace,
    /// What collectors acknowledge; none where no control connection is.
    pub acknowledgements: Option<Receiver<Acknowledged>>,
}

/// A running export thread.
#[derive(Debug)]
pub struct Exporting {
    sender: Sender<Batch>,
    status: Arc<Mutex<ExportStatus>>,
    thread: JoinHandle<ExportStatus>,
}

impl Exporting {
    /// An end of the queue for one worker. The queue holds `queue_batches_max` batches; whether a worker
    /// waits (`send`) or drops (`try_send`) when it is full is the worker's to decide and to count.
    pub fn sender(&self) -> Sender<Batch> {
        self.sender.clone()
    }

    /// How the destinations do, at most a fraction of a second old.
    pub fn status(&self) -> ExportStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, for whoever outlives this handle.
    pub fn shared_status(&self) -> Arc<Mutex<ExportStatus>> {
        Arc::clone(&self.status)
    }

    /// Waits until every batch is written and gives the final status. Every other sender must be
    /// dropped, or this waits for it. A thread that panicked gives the last status it published.
    pub fn join(self) -> ExportStatus {
        let Exporting { sender, status, thread } = self;
        drop(sender);
        match thread.join() {
            Ok(last) => last,
            Err(_) => {
                tracing::error!("the export thread panicked; what it had not written is lost");
                status.lock().unwrap_or_else(PoisonError::into_inner).clone()
            }
        }
    }
}

/// Opens every output and starts the thread. Files are opened here, so that one that cannot be is an
/// error at start; collectors are connected to by the thread, since they may come later.
pub fn start(config: &ExportConfig, context: Context) -> Result<Exporting, ExportError> {
    check(config)?;
    let sensor = Sensor { name: context.sensor_name.clone(), ..Sensor::default() };
    let metering = Metering { sensor, ..Metering::default() };
    let destinations = config
        .destinations
        .iter()
        .map(|url| Destination::new(url, config, &context.identity, metering.clone()));
    let mut destinations = destinations.collect::<Result<Vec<_>, _>>()?;
    if context.pace == Pace::Live {
        destinations.iter_mut().for_each(|destination| destination.spool(config));
    }
    let open = |path: &str| match path {
        "" => Ok(None),
        _ => LineOutput::open(path)
            .map(Some)
            .map_err(|source| ExportError::Open { path: path.to_owned(), source }),
    };
    let eve =
        open(&config.eve)?.map(|output| EveWriter::new(output, context.interfaces, config.eve_ethernet));
    let queue_batches_max = usize::try_from(config.queue_batches_max).unwrap_or(usize::MAX).max(1);
    let (sender, inbox) = bounded(match context.pace {
        Pace::Live => queue_batches_max,
        Pace::Replay => queue_batches_max.min(REPLAY_BATCHES_MAX),
    });
    let status = Arc::new(Mutex::new(ExportStatus::default()));
    let mut export = Export {
        inbox,
        pace: context.pace,
        workers: context.workers,
        acknowledgements: context.acknowledgements,
        destinations,
        distribution: config.distribution,
        eve,
        records: open(&config.records)?,
        metering,
        statistics_interval: Duration::from_secs(u64::from(config.statistics_interval_s.max(1))),
        first: None,
        now: Timestamp::MIN,
        status: Arc::clone(&status),
        published_at: None,
        impatient: false,
    };
    export.publish(Instant::now());
    let thread = std::thread::Builder::new().name("export".into()).spawn(move || export.run());
    Ok(Exporting { sender, status, thread: thread.map_err(ExportError::Thread)? })
}

/// What the types of the configuration do not already exclude.
fn check(config: &ExportConfig) -> Result<(), ExportError> {
    let wrong = |key, found, expected| Err(ExportError::Setting { key, found, expected });
    match config {
        ExportConfig { enterprise_number: number @ (0 | REVERSE_PEN), .. } => wrong(
            "enterprise_number",
            u64::from(*number),
            "a private enterprise number that has no other meaning in IPFIX",
        ),
        ExportConfig { udp_message_bytes_max: ..UDP_MESSAGE_BYTES_MIN, .. } => {
            wrong("udp_message_bytes_max", u64::from(config.udp_message_bytes_max), "at least 512")
        }
        ExportConfig { spool_bytes_max: bytes @ 1.., .. } if *bytes < super::spool::BYTES_MIN => {
            wrong("spool_bytes_max", *bytes, "0 or at least 1048576")
        }
        _ => Ok(()),
    }
}

struct Export {
    inbox: Receiver<Batch>,
    pace: Pace,
    workers: Vec<Published>,
    acknowledgements: Option<Receiver<Acknowledged>>,
    destinations: Vec<Destination>,
    distribution: Distribution,
    eve: Option<EveWriter>,
    records: Option<LineOutput>,
    metering: Metering,
    statistics_interval: Duration,
    /// The first time seen, which uptime counts from.
    first: Option<Timestamp>,
    now: Timestamp,
    status: Arc<Mutex<ExportStatus>>,
    published_at: Option<Instant>,
    /// A replay waited in vain for a destination; it does not wait again before that makes progress.
    impatient: bool,
}

impl Export {
    fn run(mut self) -> ExportStatus {
        let mut flushed_at = Instant::now();
        let mut told_at = flushed_at;
        self.read_clock();
        loop {
            let pressed = self.destinations.iter_mut().any(Destination::is_pressed);
            match self.inbox.recv_timeout(if pressed { TICK_PRESSED } else { TICK }) {
                Ok(batch) => self.batch(&batch),
                Err(RecvTimeoutError::Timeout) => self.read_clock(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.take_acknowledgements();
            let at = Instant::now();
            let live = self.pace == Pace::Live;
            if live && at.duration_since(told_at) >= self.statistics_interval {
                told_at = at;
                self.statistics();
            }
            if at.duration_since(flushed_at) >= FLUSH_INTERVAL {
                flushed_at = at;
                if live {
                    self.destinations.iter_mut().for_each(Destination::flush);
                }
                self.flush_lines();
            }
            self.pump(at);
            self.wait_for_slow(at);
            self.limit_backlogs();
            if self.published_at.is_none_or(|last| at.duration_since(last) >= STATUS_INTERVAL) {
                self.publish(at);
            }
        }
        self.finish()
    }

    /// Live, the time is the clock's; it never goes back.
    fn read_clock(&mut self) {
        if self.pace == Pace::Live {
            #[expect(
                clippy::disallowed_methods,
                reason = "export time of live messages; the outermost place of export"
            )]
            let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let nanos = u64::try_from(clock.as_nanos()).unwrap_or(u64::MAX);
            self.see(Timestamp(nanos));
        }
    }

    fn see(&mut self, time: Timestamp) {
        self.first.get_or_insert(time);
        self.now = self.now.max(time);
    }

    fn batch(&mut self, batch: &Batch) {
        self.read_clock();
        if self.pace == Pace::Replay {
            let starts = batch.records.iter().map(|record| record.start);
            let ends = batch.records.iter().map(|record| record.end);
            let alerts = batch.alerts.iter().map(|alert| alert.time);
            let events = batch.events.iter().map(|event| event.event.time).chain(alerts);
            let first = starts.chain(events.clone()).min();
            if let Some(time) = first {
                self.first = Some(self.first.map_or(time, |first| first.min(time)));
            }
            if let Some(time) = ends.chain(events).max() {
                self.see(time);
            }
        }
        if let Some(eve) = &mut self.eve {
            batch.arps.iter().for_each(|arp| eve.arp(arp));
            batch.faults.iter().for_each(|fault| eve.fault(fault));
            batch.events.iter().for_each(|event| eve.event(event));
            batch.records.iter().for_each(|record| eve.flow(record));
        }
        if let Some(output) = &mut self.records {
            for record in &batch.records {
                output.line(|out| record_line::write(record, out));
            }
        }
        match self.distribution {
            Distribution::All => self.give_all(batch),
            Distribution::Balanced => self.share(batch),
        }
    }

    fn give_all(&mut self, batch: &Batch) {
        let now = self.now;
        for destination in &mut self.destinations {
            batch.alerts.iter().for_each(|alert| destination.alert(alert));
            batch.records.iter().for_each(|record| destination.flow(record, now));
        }
    }

    /// Gives each flow, with its alerts, to the collector that it belongs to, and to the files.
    fn share(&mut self, batch: &Batch) {
        let now = self.now;
        let reachable: Vec<_> = self.destinations.iter().map(Destination::is_reachable).collect();
        let mut give = |flow: CommunityId, write: &dyn Fn(&mut Destination)| {
            let chosen = distribution::choose(flow, reachable.iter().copied());
            for (place, destination) in self.destinations.iter_mut().enumerate() {
                if chosen == Some(place) || reachable.get(place) == Some(&None) {
                    write(destination);
                }
            }
        };
        for alert in &batch.alerts {
            give(alert.community_id, &|destination| destination.alert(alert));
        }
        for record in &batch.records {
            give(record.community_id, &|destination| destination.flow(record, now));
        }
    }

    /// Hands over what collectors have stored; the queue's own limit is whose it is that fills it.
    fn take_acknowledgements(&mut self) {
        let Some(inbox) = &self.acknowledgements else { return };
        for Acknowledged { destination, position } in inbox.try_iter().take(ACKNOWLEDGEMENTS_PER_TURN) {
            match destination {
                Some(index) => {
                    self.destinations
                        .get_mut(index)
                        .map(|destination| destination.acknowledge(position, true));
                }
                None => {
                    // Of an epoch that no spool has: the first spool refuses and counts it.
                    let is_known = self.destinations.iter_mut().any(|to| to.acknowledge(position, false));
                    let _ = is_known || self.destinations.iter_mut().any(|to| to.acknowledge(position, true));
                }
            }
        }
    }

    fn pump(&mut self, at: Instant) -> bool {
        // A session begins with the time of its first message, which a replay knows from its first batch.
        if self.first.is_none() {
            return false;
        }
        let now = self.now;
        let mut progress = false;
        for destination in &mut self.destinations {
            progress |= destination.pump(at, now);
        }
        progress
    }

    /// A replay waits while a backlog is half full, unless nothing moves for too long.
    fn wait_for_slow(&mut self, at: Instant) {
        let mut moved_at = at;
        while self.pace == Pace::Replay && self.destinations.iter().any(Destination::wants_patience) {
            let at = Instant::now();
            if self.pump(at) {
                moved_at = at;
                self.impatient = false;
            } else if self.impatient || at.duration_since(moved_at) >= REPLAY_STALL_MAX {
                self.impatient = true;
                return;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Keeps backlogs within their limit. A replay that still waits with success loses nothing here: its
    /// backlogs hold half their limit and the batch that came last.
    fn limit_backlogs(&mut self) {
        if self.pace == Pace::Live || self.impatient {
            let now = self.now;
            self.destinations.iter_mut().for_each(|destination| destination.limit_backlog(now));
        }
    }

    fn flush_lines(&mut self) {
        if let Some(eve) = &mut self.eve {
            eve.output.flush();
        }
        if let Some(records) = &mut self.records {
            records.flush();
        }
    }

    /// Tells statistics in EVE and in IPFIX options.
    fn statistics(&mut self) {
        let counters = total(&self.workers);
        self.meter(&counters);
        let uptime_s = self.first.map_or(0, |first| self.now.since(first).as_secs());
        let own = self.own_counts();
        if let Some(eve) = &mut self.eve {
            eve.stats(self.now, uptime_s, &counters, &own);
        }
        for destination in &mut self.destinations {
            destination.statistics(&self.metering);
            destination.flush();
        }
    }

    /// From the workers' counters to what IPFIX tells of them.
    fn meter(&mut self, counters: &WorkerCounters) {
        let capture = &counters.capture;
        let undecoded = counters.decode.truncated + counters.decode.malformed;
        let sensor = &mut self.metering.sensor;
        sensor.captured_frames = capture.frames;
        sensor.kernel_dropped_frames = capture.kernel_dropped;
        sensor.interface_dropped_frames = capture.interface_dropped;
        sensor.undecoded_frames = undecoded;
        sensor.queue_dropped_flows = counters.export.records_dropped_queue_full;
        sensor.early_ended_flows = counters.flow.ended_full;
        sensor.ring_dropped_frames = counters.ring.frames_dropped;
        let ignored = capture.kernel_dropped + capture.interface_dropped + undecoded;
        let more = ignored.saturating_sub(self.metering.ignored.packets);
        if more > 0 {
            // Nobody knows how long the frames were that the kernel dropped: they count as long as the
            // mean of those that it did not.
            let mean = capture.bytes.checked_div(capture.frames).unwrap_or(0);
            self.metering.ignored.add(0, more, more.saturating_mul(mean), self.now);
        }
    }

    /// Export's own counts for EVE's `stats`.
    fn own_counts(&self) -> Vec<(&'static str, u64)> {
        let status = self.current_status();
        let sum = |count: fn(&super::DestinationStatus) -> u64| status.destinations.iter().map(count).sum();
        let dropped =
            |output: &Option<super::OutputStatus>| output.as_ref().map_or(0, |output| output.lines_dropped);
        vec![
            ("ipfix_records", sum(|destination| destination.records)),
            ("ipfix_bytes", sum(|destination| destination.bytes)),
            ("ipfix_records_dropped", sum(|destination| destination.records_dropped)),
            ("ipfix_alerts", sum(|destination| destination.alerts)),
            ("ipfix_alerts_dropped", sum(|destination| destination.alerts_dropped)),
            ("eve_lines_dropped", dropped(&status.eve)),
            ("record_lines_dropped", dropped(&status.records)),
        ]
    }

    fn current_status(&self) -> ExportStatus {
        ExportStatus {
            destinations: self.destinations.iter().map(Destination::status).collect(),
            eve: self.eve.as_ref().map(|eve| eve.output.status().clone()),
            records: self.records.as_ref().map(|output| output.status().clone()),
        }
    }

    fn publish(&mut self, at: Instant) {
        self.published_at = Some(at);
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = self.current_status();
    }

    /// Every worker is gone: writes what is left, waiting for collectors within reason.
    fn finish(mut self) -> ExportStatus {
        self.read_clock();
        self.destinations.iter_mut().for_each(Destination::flush);
        let is_drained = self.drain();
        self.statistics();
        if is_drained {
            self.drain();
        }
        let now = self.now;
        self.destinations.iter_mut().for_each(|destination| destination.give_up(now));
        if let Some(eve) = &mut self.eve {
            eve.output.finish();
        }
        if let Some(records) = &mut self.records {
            records.finish();
        }
        self.publish(Instant::now());
        self.current_status()
    }

    /// Waits until everything is sent; false when nothing moved for too long.
    fn drain(&mut self) -> bool {
        let begun = Instant::now();
        let mut moved_at = begun;
        loop {
            let at = Instant::now();
            if self.pump(at) {
                moved_at = at;
            }
            self.take_acknowledgements();
            let is_late = at.duration_since(begun) >= SPOOLED_DRAIN_MAX;
            let waits =
                |to: &Destination| !(is_late && to.is_spooled()) && (!to.is_drained() || to.is_opening());
            let waiting = self.destinations.iter().any(waits);
            if !waiting || self.first.is_none() {
                return true;
            }
            if at.duration_since(moved_at) >= DRAIN_STALL_MAX {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
