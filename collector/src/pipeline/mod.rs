//! The one place where the stages meet: threads, queues, and the path of a record.
//!
//! | thread | how many | takes | gives | when its outbox is full |
//! |---|---|---|---|---|
//! | `weir-ingest` | 2 | bytes from sockets | batches, to `worker` (`ingest.queue_batches_max`) | waits: TCP exporters wait, UDP stays in the kernel's buffer |
//! | `worker` | 1 | batches | records, to `store` ([`STORE_QUEUE_BATCHES`]); alerts, to the log and the outboxes | waits `store.wait_ms`, then counts the records and goes on |
//! | `store` | 1 | batches | files | – |
//! | `weir-control` | 1 | sensors' control connections, local questions | acknowledgements, rules; packets to who asked | each session is its own: bounded, then ended |
//! | main | 1 | signals, the second | status, what was learned | – |
//!
//! An import has no `weir-ingest`: the main thread reads files and is the worker, and waits for the store.
//!
//! The end: listeners take what has arrived and close; their queue ends; the worker finishes its batches
//! and gives out what it still holds; the store's queue ends and its files are completed.

pub mod status;
mod record_lines;
mod store_thread;
mod worker;

use crate::config::CollectorConfig;
use crate::control::{Control, ControlError, Identified};
use crate::enrich::EnrichError;
use crate::forward::{DestinationStatus, ForwardError, Forwarder};
use crate::identity::{self, Authority, IdentityError};
use crate::ingest::counters::IngestCounters;
use crate::ingest::delivery::{Deliveries, Positions};
use crate::ingest::listen::{IngestError, Listeners};
use crate::ingest::queue::{Batches, Next, queue};
use crate::ingest::{self, Batch, clock};
use crate::store::{self, StoreCounters, StoreError};
use record_lines::RecordLines;
use status::Status;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store_thread::StoreThread;
use tokio::sync::mpsc::WeakSender;
use tokio::sync::watch;
use weir_common::time::Timestamp;
use worker::Worker;

/// Most batches waiting for the store's thread, each of about a thousand records at most.
pub const STORE_QUEUE_BATCHES: usize = 128;
/// How often the status is written.
const STATUS_PERIOD: Duration = Duration::from_secs(1);
/// How often incidents that have been quiet are closed.
const EXPIRE_PERIOD: Duration = Duration::from_secs(10);
/// Longest time that deliveries have when the collector stops; systemd waits 90 s.
const DELIVERY_AT_STOP: Duration = Duration::from_secs(5);
/// Longest time that deliveries have at the end of an import.
const DELIVERY_AT_END: Duration = Duration::from_secs(30);
/// How often what was learned is written.
const LEARNED_PERIOD: Duration = Duration::from_secs(300);

/// Why the collector cannot run.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Enrichment.
    #[error(transparent)]
    Enrich(#[from] EnrichError),
    /// Ingest.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The collector's identity.
    #[error("identity: {0}")]
    Identity(#[from] IdentityError),
    /// The control connection.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the state directory.
    #[error("{path}: {source}")]
    State {
        /// Which one.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another collector has the state directory.
    #[error("{0}: another weir-collector runs with this state directory")]
    Taken(String),
    /// Deliveries.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A thread ended before its time; its own message said why.
    #[error("the {0} ended before its time; what had arrived was stored as far as it could be")]
    Ended(&'static str),
}

impl PipelineError {
    /// Whether the configuration is to blame and not the system.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            PipelineError::Enrich(_)
                | PipelineError::Ingest(
                    IngestError::Admit(_) | IngestError::Address { .. } | IngestError::Authorities(_)
                )
                | PipelineError::Control(ControlError::Address(_))
                | PipelineError::Store(StoreError::Config { .. })
                | PipelineError::Forward(ForwardError::Config(_))
        )
    }
}

/// What the stages count; shared with `status`.
#[derive(Debug, Default)]
pub struct Counters {
    #[allow(missing_docs)]
    pub ingest: Arc<IngestCounters>,
    #[allow(missing_docs)]
    pub store: Arc<StoreCounters>,
    /// Records inspected.
    pub records: AtomicU64,
    /// Alerts of sensors' signatures.
    pub signature_alerts: AtomicU64,
    /// Findings of the detectors, and those made of sensors' alerts.
    pub findings: AtomicU64,
    /// Alerts given out.
    pub alerts: AtomicU64,
    /// Alerts given out again because they grew or became worse.
    pub alert_updates: AtomicU64,
    /// Batches whose inspection panicked; their records are stored.
    pub batches_panicked: AtomicU64,
    /// Incidents closed early because of `correlate.incidents_max`.
    pub incidents_evicted: AtomicU64,
    /// Incidents that made no alert because of `triage`, counted once per version.
    pub incidents_muted: AtomicU64,
    /// Hosts, pairs and walks that detectors forgot at their limits, by detector.
    pub forgotten: Mutex<BTreeMap<&'static str, u64>>,
    /// Alerts that a destination will never have; known at the end.
    pub deliveries_lost: AtomicU64,
}

/// A collector that runs.
pub struct Collector {
    state: PathBuf,
    counters: Arc<Counters>,
    begun: Timestamp,
    listeners: Listeners,
    authority: Authority,
    control: Control,
    waiting: WeakSender<Batch>,
    worker: JoinHandle<()>,
    store: StoreThread,
    forwarder: Arc<Forwarder>,
    status_failed: bool,
    _lock: File,
}

impl Collector {
    /// Starts every thread. Afterwards the collector takes records.
    pub fn start(config: &CollectorConfig) -> Result<Collector, PipelineError> {
        let state = PathBuf::from(&config.state_directory);
        let lock = lock(&state)?.ok_or_else(|| PipelineError::Taken(config.state_directory.clone()))?;
        let deliveries = Arc::new(Deliveries::restore(store::delivered::read(&store_directory(config))?));
        let ingest = Arc::new(IngestCounters::with(deliveries.clone()));
        let counters = Arc::new(Counters { ingest, ..Counters::default() });
        let store = StoreThread::start(config, counters.store.clone(), deliveries, Some(wait_of(config)))?;
        let mut worker = Worker::new(config, counters.clone(), store.queue(), Some(&state))?;
        let forwarder = Arc::new(Forwarder::start(&config.forward, &state)?);
        worker.deliver(forwarder.clone());
        let (sender, batches) = queue(config.ingest.queue_batches_max).map_err(IngestError::System)?;
        let waiting = sender.downgrade();
        let authority = identity::directory(&config.identity, &state);
        let authority = Authority::open(&authority, &config.identity, clock())?;
        let identified = Arc::new(Identified::new(&authority)?);
        let acknowledgements = counters.ingest.deliveries.positions();
        let control = Control::start(
            &config.control,
            &config.detect,
            &state,
            identified.clone(),
            identified,
            acknowledgements,
        )?;
        let (ingest, to) = (counters.ingest.clone(), sender);
        let listeners = Listeners::start(&config.ingest, Some(&authority), ingest, to, Some(&state))?;
        let worker = spawn("worker", move || inspect(worker, batches))?;
        let begun = clock();
        Ok(Collector {
            state,
            counters,
            begun,
            listeners,
            authority,
            control,
            waiting,
            worker,
            store,
            forwarder,
            status_failed: false,
            _lock: lock,
        })
    }

    /// What it listens on.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Who it is, and whom it lets in.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Per sensor, the position in each of its spools below which everything is stored, now and whenever it changes.
    /// What is published is durable; a control connection carries it to the sensor.
    pub fn positions(&self) -> watch::Receiver<Positions> {
        self.counters.ingest.deliveries.positions()
    }

    /// Waits for SIGTERM or SIGINT, keeping the status up to date. The error is that a thread ended first.
    pub fn wait(&mut self) -> Result<(), PipelineError> {
        while !self.listeners.wait(STATUS_PERIOD) {
            self.write_status();
            for (thread, ended) in
                [("worker", self.worker.is_finished()), ("store", self.store.is_finished())]
            {
                if ended {
                    return Err(PipelineError::Ended(thread));
                }
            }
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
        Ok(())
    }

    fn write_status(&mut self) {
        let waiting = self.waiting.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity());
        let status = Status::of(&self.counters, self.begun, clock(), waiting)
            .with_destinations(self.forwarder.status())
            .with_identity(self.authority.counters())
            .with_control(&self.control);
        match status.write(&self.state) {
            Ok(()) => self.status_failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.status_failed, true) {
                    tracing::error!("{}: {error}; the status is not up to date", self.state.display());
                }
            }
        }
    }

    /// Takes what has arrived, stores and gives out everything, and ends.
    pub fn stop(self) -> Arc<Counters> {
        let Collector {
            state, counters, begun, listeners, authority, control, worker, store, forwarder, ..
        } = self;
        let lock = self._lock;
        listeners.stop();
        // A panic has told itself by its own message; the store is completed either way.
        let _ = worker.join();
        store.finish();
        let destinations = deliver_rest(forwarder, DELIVERY_AT_STOP);
        counters.deliveries_lost.store(lost(&destinations), Ordering::Relaxed);
        let last = Status::of(&counters, begun, clock(), 0).with_destinations(destinations);
        let last = last.with_identity(authority.counters()).with_control(&control).ended();
        if let Err(error) = last.write(&state) {
            tracing::error!("{}: {error}; the status is not up to date", state.display());
        }
        drop(control);
        // Only now may another collector have the state directory.
        drop(lock);
        counters
    }
}

/// Runs until SIGTERM or SIGINT. `ready` is told the listeners when the collector takes records.
pub fn run(config: &CollectorConfig, ready: impl FnOnce(&Listeners)) -> Result<Arc<Counters>, PipelineError> {
    let mut collector = Collector::start(config)?;
    ready(collector.listeners());
    collector.write_status();
    notify(&[sd_notify::NotifyState::Ready]);
    let waited = collector.wait();
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping: taking what has arrived");
    let counters = collector.stop();
    waited.map(|()| counters)
}

/// The worker's thread.
fn inspect(mut worker: Worker, mut batches: Batches) {
    let (mut saved, mut expired) = (Instant::now(), Instant::now());
    loop {
        match batches.next(EXPIRE_PERIOD) {
            Next::Batch(batch) => worker.process(batch),
            Next::Nothing => {}
            Next::End => break,
        }
        if expired.elapsed() >= EXPIRE_PERIOD {
            worker.expire(clock());
            expired = Instant::now();
        }
        if saved.elapsed() >= LEARNED_PERIOD {
            worker.save();
            saved = Instant::now();
        }
    }
    // Only an import has a copy of its alerts that could fail.
    let _ = worker.finish();
}

/// Gives deliveries their last chance; what is left is in the outboxes for the next start.
fn deliver_rest(forwarder: Arc<Forwarder>, limit: Duration) -> Vec<DestinationStatus> {
    match Arc::try_unwrap(forwarder) {
        Ok(forwarder) => forwarder.stop(limit),
        // The worker's thread panicked outside of its guard and took its share along.
        Err(shared) => shared.status(),
    }
}

fn lost(destinations: &[DestinationStatus]) -> u64 {
    destinations.iter().map(DestinationStatus::lost).sum()
}

fn wait_of(config: &CollectorConfig) -> Duration {
    Duration::from_millis(u64::from(config.store.wait_ms))
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to notify, which is no error.
    let _ = sd_notify::notify(states);
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, PipelineError> {
    let failed = |source| PipelineError::State { path: format!("thread {name}"), source };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)
}

/// Takes the state directory for this process, making it; `None` when another process has it.
pub(crate) fn lock(state: &Path) -> Result<Option<File>, PipelineError> {
    let path = state.join("lock");
    let failed = |source| PipelineError::State { path: path.display().to_string(), source };
    fs::create_dir_all(state).map_err(failed)?;
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What an import did.
#[derive(Debug, Default)]
pub struct Imported {
    /// What the stages counted.
    pub counters: Arc<Counters>,
    /// Exporters seen.
    pub exporters: u64,
    /// What was wrong with each file that could not be read to its end, or at all.
    pub faults: Vec<(PathBuf, ingest::import::ImportError)>,
    /// Lines and messages that were malformed.
    pub malformed: u64,
    /// Data sets without a template.
    pub unknown_templates: u64,
    /// Whether `--alerts` could be written.
    pub alerts_error: Option<std::io::Error>,
    /// Whether `--records` could be written.
    pub records_error: Option<std::io::Error>,
    /// Alerts that no destination took in time; they are in the outboxes for the next run.
    pub undelivered: u64,
    /// How long it took.
    pub took: Duration,
}

/// Where an import also writes what passes, one JSON object per line.
#[derive(Default)]
pub struct Copies {
    /// Alerts.
    pub alerts: Option<Box<dyn Write + Send>>,
    /// Flow records, as the sensor's `--records` has them.
    pub records: Option<Box<dyn Write + Send>>,
}

/// Reads files through the same path.
pub fn import(
    config: &CollectorConfig,
    files: &[PathBuf],
    copies: Copies,
) -> Result<Imported, PipelineError> {
    let begun = Instant::now();
    let state = PathBuf::from(&config.state_directory);
    let counters = Arc::new(Counters::default());
    let lock = lock(&state)?;
    let store = StoreThread::start(config, counters.store.clone(), Arc::default(), None)?;
    // What a running collector has learned is its own; an import learns from its files alone then.
    let mut worker = Worker::new(config, counters.clone(), store.queue(), lock.as_ref().map(|_| &*state))?;
    let mut forwarder = None;
    if lock.is_some() {
        let started = Arc::new(Forwarder::start(&config.forward, &state)?);
        worker.deliver(started.clone());
        forwarder = Some(started);
    } else if !config.forward.destinations.is_empty() {
        tracing::warn!(
            "a collector runs with this state directory: alerts of the import are stored, not delivered"
        );
    }
    worker.copy_alerts(copies.alerts);
    let mut records = copies.records.map(RecordLines::new);
    let mut imported = Imported { counters: counters.clone(), ..Imported::default() };
    let mut exporters = std::collections::HashSet::new();
    for file in files {
        let outcome = ingest::import::read(file, &config.ingest, &counters.ingest, |batch| {
            if exporters.len() < ingest::counters::EXPORTERS_MAX {
                exporters.insert(batch.exporter.name.clone());
            }
            if let Some(records) = &mut records {
                records.write(&batch.records);
            }
            worker.process(batch);
        });
        imported.faults.extend(outcome.err().map(|fault| (file.clone(), fault)));
    }
    imported.alerts_error = worker.finish();
    imported.records_error = records.and_then(RecordLines::finish);
    store.finish();
    if let Some(forwarder) = forwarder {
        let destinations = deliver_rest(forwarder, DELIVERY_AT_END);
        counters.deliveries_lost.store(lost(&destinations), Ordering::Relaxed);
        imported.undelivered = destinations.iter().map(|destination| destination.waiting).sum();
    }
    imported.exporters = exporters.len() as u64;
    imported.malformed = counters.ingest.malformed();
    imported.unknown_templates =
        counters.ingest.exporters().iter().map(|exporter| exporter.unknown_templates).sum();
    imported.took = begun.elapsed();
    Ok(imported)
}

/// The directory of the store that a configuration names.
pub fn store_directory(config: &CollectorConfig) -> PathBuf {
    store::directory(&config.store, Path::new(&config.state_directory))
}

#[cfg(test)]
mod tests;
