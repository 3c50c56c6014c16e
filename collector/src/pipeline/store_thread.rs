//! The store's thread: batches into files, and the store's housekeeping.

use super::{PipelineError, STORE_QUEUE_BATCHES, spawn};
use crate::config::CollectorConfig;
use crate::files;
use crate::ingest::counters::add;
use crate::ingest::delivery::Deliveries;
use crate::ingest::{Batch, clock};
use crate::store::flows::FlowStore;
use crate::store::{StoreCounters, delivered, retention};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the store looks at its files' ages.
const TICK: Duration = Duration::from_secs(1);
/// How often what is past its limits leaves.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// Pause between attempts to hand a batch to a busy store.
const RETRY: Duration = Duration::from_millis(1);

/// The running thread.
pub(super) struct StoreThread {
    queue: StoreQueue,
    thread: JoinHandle<()>,
}

/// The way into the store.
#[derive(Clone)]
pub(super) struct StoreQueue {
    sender: SyncSender<Batch>,
    counters: Arc<StoreCounters>,
    deliveries: Arc<Deliveries>,
    /// How long to wait for room; `None` waits as long as it takes.
    wait: Option<Duration>,
}

impl StoreQueue {
    /// Hands a batch over, or counts its records as lost.
    pub(super) fn send(&self, batch: Batch) {
        let Some(wait) = self.wait else {
            if let Err(lost) = self.sender.send(batch) {
                self.not_stored(&lost.0);
            }
            return;
        };
        let mut batch = batch;
        let mut begun = None;
        loop {
            batch = match self.sender.try_send(batch) {
                Ok(()) => return,
                Err(TrySendError::Disconnected(batch)) => {
                    self.not_stored(&batch);
                    return;
                }
                Err(TrySendError::Full(batch)) => batch,
            };
            if begun.get_or_insert_with(Instant::now).elapsed() >= wait {
                self.not_stored(&batch);
                return;
            }
            std::thread::sleep(RETRY);
        }
    }
}

impl StoreQueue {
    /// Records that sensors still have are given back to them; others are lost.
    fn not_stored(&self, batch: &Batch) {
        let numbered = match &batch.places {
            Some(places) => {
                self.deliveries.give_back(&places.spool, &places.all());
                places.records.iter().flatten().count()
            }
            None => 0,
        };
        add(&self.counters.records_lost, (batch.records.len() - numbered) as u64);
    }
}

impl StoreThread {
    /// Opens the store and begins. With a limit of waiting this is a collector that runs, which also lets
    /// old files go; without, an import.
    pub(super) fn start(
        config: &CollectorConfig,
        counters: Arc<StoreCounters>,
        deliveries: Arc<Deliveries>,
        wait: Option<Duration>,
    ) -> Result<StoreThread, PipelineError> {
        let directory = super::store_directory(config);
        let store = FlowStore::open(&directory, &config.store, counters.clone(), clock())?;
        let store = store.delivering(deliveries.clone());
        let (sender, batches) = sync_channel(STORE_QUEUE_BATCHES);
        let queue = StoreQueue { sender, counters: counters.clone(), deliveries: deliveries.clone(), wait };
        let mut books =
            wait.map(|_| Books { deliveries, path: delivered::snapshot_path(&directory), failing: false });
        let limits = wait.map(|_| (directory, config.store.clone()));
        let thread = spawn("store", move || {
            let mut expired: Option<Instant> = None;
            keep(store, &batches, |store| {
                if let Some(books) = &mut books {
                    books.tell(store.is_failing());
                }
                let Some((directory, config)) = &limits else { return };
                if expired.is_some_and(|at| at.elapsed() < RETENTION_PERIOD) {
                    return;
                }
                expired = Some(Instant::now());
                let now = clock();
                let kept = retention::apply(directory, config, &counters, now).and_then(|()| store.tidy(now));
                if let Err(error) = kept {
                    tracing::error!("{error}; what is past its limits stays until it can be removed");
                }
            });
        })?;
        Ok(StoreThread { queue, thread })
    }

    pub(super) fn queue(&self) -> StoreQueue {
        self.queue.clone()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Completes every file; every other holder of the queue must have let go of it.
    pub(super) fn finish(self) {
        drop(self.queue);
        // A panic has told itself by its own message.
        let _ = self.thread.join();
    }
}

fn keep(mut store: FlowStore, batches: &Receiver<Batch>, mut each_tick: impl FnMut(&FlowStore)) {
    let mut ticked = Instant::now();
    each_tick(&store);
    loop {
        match batches.recv_timeout(TICK) {
            Ok(batch) => {
                store.append_from(&batch.exporter, &batch.records, batch.places.as_deref(), clock());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            store.tick(clock());
            each_tick(&store);
        }
    }
    store.finish(clock());
    each_tick(&store);
}

/// What sensors are told of their records.
struct Books {
    deliveries: Arc<Deliveries>,
    path: PathBuf,
    failing: bool,
}

impl Books {
    /// Writes what has become durable, then publishes it; and asks again for what could not be stored, once it can.
    fn tell(&mut self, store_is_failing: bool) {
        if !store_is_failing {
            self.deliveries.ask_again();
        }
        let Some(held) = self.deliveries.changed() else { return };
        match files::replace(&self.path, &delivered::snapshot(&held)) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("{} can be written again", self.path.display());
                }
                self.deliveries.publish(&held);
            }
            Err(error) => {
                // Not published, so that no sensor lets go of what a crash would make seem new.
                self.deliveries.not_published();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!("{}: {error}; sensors keep their records meanwhile", self.path.display());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Exporter;
    use crate::store::tests::record;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_store_that_stays_busy_costs_records_and_not_the_worker() {
        let counters = Arc::new(StoreCounters::default());
        let (sender, batches) = sync_channel(1);
        let deliveries = Arc::default();
        let wait = Some(Duration::from_millis(5));
        let queue = StoreQueue { sender, counters: counters.clone(), deliveries, wait };
        let exporter = Arc::new(Exporter { name: "x".into(), observation_domain: 1 });
        let batch = Batch { exporter, records: vec![record(0), record(1)], alerts: Vec::new(), places: None };
        queue.send(batch.clone());
        queue.send(batch.clone());
        assert_eq!(counters.records_lost.load(Ordering::Relaxed), 2, "the second batch found no room");
        drop(batches);
        queue.send(batch);
        assert_eq!(counters.records_lost.load(Ordering::Relaxed), 4);
    }
}
