//! The store's thread: batches into files, and the store's housekeeping.

use super::{PipelineError, STORE_QUEUE_BATCHES, spawn};
use crate::config::CollectorConfig;
use crate::ingest::counters::add;
use crate::ingest::{Batch, clock};
use crate::store::flows::FlowStore;
use crate::store::{StoreCounters, retention};
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
    /// How long to wait for room; `None` waits as long as it takes.
    wait: Option<Duration>,
}

impl StoreQueue {
    /// Hands a batch over, or counts its records as lost.
    pub(super) fn send(&self, batch: Batch) {
        let Some(wait) = self.wait else {
            if let Err(lost) = self.sender.send(batch) {
                add(&self.counters.records_lost, lost.0.records.len() as u64);
            }
            return;
        };
        let mut batch = batch;
        let mut begun = None;
        loop {
            batch = match self.sender.try_send(batch) {
                Ok(()) => return,
                Err(TrySendError::Disconnected(batch)) => {
                    add(&self.counters.records_lost, batch.records.len() as u64);
                    return;
                }
                Err(TrySendError::Full(batch)) => batch,
            };
            if begun.get_or_insert_with(Instant::now).elapsed() >= wait {
                add(&self.counters.records_lost, batch.records.len() as u64);
                return;
            }
            std::thread::sleep(RETRY);
        }
    }
}

impl StoreThread {
    /// Opens the store and begins. With a limit of waiting this is a collector that runs, which also lets
    /// old files go; without, an import.
    pub(super) fn start(
        config: &CollectorConfig,
        counters: Arc<StoreCounters>,
        wait: Option<Duration>,
    ) -> Result<StoreThread, PipelineError> {
        let directory = super::store_directory(config);
        let store = FlowStore::open(&directory, &config.store, counters.clone(), clock())?;
        let (sender, batches) = sync_channel(STORE_QUEUE_BATCHES);
        let queue = StoreQueue { sender, counters: counters.clone(), wait };
        let limits = wait.map(|_| (directory, config.store.clone()));
        let thread = spawn("store", move || {
            let mut expired: Option<Instant> = None;
            keep(store, &batches, |store| {
                let Some((directory, config)) = &limits else { return };
                if expired.is_some_and(|at| at.elapsed() < RETENTION_PERIOD) {
                    return;
                }
                expired = Some(Instant::now());
                let now = clock();
                let kept = retention::apply(directory, config, &counters, now).and_then(|()| store.tidy(now));
                if let Err(error) = kept {
                    tracing::error!("{error}; what is past its limits stays for now");
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
            Ok(batch) => store.append(&batch.exporter, &batch.records, clock()),
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
        let queue = StoreQueue { sender, counters: counters.clone(), wait: Some(Duration::from_millis(5)) };
        let exporter = Arc::new(Exporter { name: "x".into(), observation_domain: 1 });
        let batch = Batch { exporter, records: vec![record(0), record(1)], alerts: Vec::new() };
        queue.send(batch.clone());
        queue.send(batch.clone());
        assert_eq!(counters.records_lost.load(Ordering::Relaxed), 2, "the second batch found no room");
        drop(batches);
        queue.send(batch);
        assert_eq!(counters.records_lost.load(Ordering::Relaxed), 4);
    }
}
