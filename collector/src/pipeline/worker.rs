//! The worker: the path of a batch from enrichment to the store and the outboxes.

use super::store_thread::StoreQueue;
use super::{Counters, PipelineError};
use crate::config::CollectorConfig;
use crate::correlate::{Correlator, Incident};
use crate::detect::signature::sensor;
use crate::detect::{Detectors, Finding};
use crate::enrich::Enricher;
use crate::forward::Forwarder;
use crate::ingest::Batch;
use crate::ingest::counters::add;
use crate::store::alerts::AlertLog;
use crate::triage::Triage;
use std::collections::HashMap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use weir_common::alert::Alert;
use weir_common::time::Timestamp;

/// Most alerts whose last form is held back for the copy of an import; past it they are written as they are.
const COPY_ALERTS_MAX: usize = 100_000;

/// Everything that a batch passes, in this order.
pub(super) struct Worker {
    enricher: Enricher,
    detectors: Detectors,
    correlator: Correlator,
    triage: Triage,
    findings: Vec<Finding>,
    incidents: Vec<Incident>,
    forwarder: Option<Arc<Forwarder>>,
    log: AlertLog,
    copy: Option<Copy>,
    store: StoreQueue,
    state: Option<PathBuf>,
    counters: Arc<Counters>,
}

impl Worker {
    /// Makes the stages. `state` is where what was learned is kept; without it nothing is read or kept.
    /// Lines of lists that cannot be used are said and left out.
    pub(super) fn new(
        config: &CollectorConfig,
        counters: Arc<Counters>,
        store: StoreQueue,
        state: Option<&Path>,
    ) -> Result<Worker, PipelineError> {
        let (enricher, problems) = Enricher::load(&config.enrich)?;
        for problem in problems {
            tracing::warn!("{problem}");
        }
        // What is wrong with home networks was said as the configuration's.
        let (detectors, problems) =
            Detectors::from_config(&config.detect, &config.enrich.home_networks, state);
        for problem in problems {
            tracing::warn!("{problem}");
        }
        let log = AlertLog::open(&super::store_directory(config), counters.store.clone())?;
        Ok(Worker {
            enricher,
            detectors,
            correlator: Correlator::new(&config.correlate),
            triage: Triage::new(&config.triage),
            findings: Vec::new(),
            incidents: Vec::new(),
            forwarder: None,
            log,
            copy: None,
            store,
            state: state.map(Path::to_owned),
            counters,
        })
    }

    /// Alerts go to the configured destinations as well.
    pub(super) fn deliver(&mut self, forwarder: Arc<Forwarder>) {
        self.forwarder = Some(forwarder);
    }

    /// The last form of each alert goes there as well when all is read, one JSON object per line.
    pub(super) fn copy_alerts(&mut self, out: Option<Box<dyn Write + Send>>) {
        self.copy = out.map(|out| Copy { out, held: HashMap::new(), error: None });
    }

    /// Inspects a batch and hands its records to the store.
    pub(super) fn process(&mut self, mut batch: Batch) {
        add(&self.counters.records, batch.records.len() as u64);
        // A fault of a detector costs its batch's findings; the records are stored whatever happens.
        if catch_unwind(AssertUnwindSafe(|| self.inspect(&batch))).is_err() {
            add(&self.counters.batches_panicked, 1u64);
        }
        // What sensors' alerts made known is in the log before their numbers count as stored. What they only added to an
        // incident that is already told is in memory, as with every other finding, and told when it has doubled.
        let is_told = self.tell();
        if let Some(places) = &mut batch.places {
            places.others_failed = !is_told && !batch.alerts.is_empty();
        }
        self.count_limits();
        self.store.send(batch);
    }

    /// Notes what was forgotten or held back at a limit.
    fn count_limits(&self) {
        let counters = &self.counters;
        counters.incidents_evicted.store(self.correlator.evicted_count(), Ordering::Relaxed);
        counters.incidents_muted.store(self.triage.muted_count(), Ordering::Relaxed);
        let mut shown = counters.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        shown.extend(self.detectors.forgotten().filter(|(_, count)| *count > 0));
    }

    /// Closes what has been quiet; `now` is the clock's, for records that come live.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.correlator.expire(now, &mut self.incidents);
        self.tell();
    }

    /// From records to incidents.
    fn inspect(&mut self, batch: &Batch) {
        for record in &batch.records {
            let enriched = self.enricher.enrich(record, &batch.exporter);
            self.detectors.inspect(&enriched, &mut self.findings);
        }
        add(&self.counters.signature_alerts, batch.alerts.len() as u64);
        for alert in &batch.alerts {
            let flow = alert.flow();
            let enriched = self.enricher.enrich(&flow, &batch.exporter);
            self.findings.push(sensor::finding(alert, &enriched));
        }
        if !self.findings.is_empty() {
            add(&self.counters.findings, self.findings.len() as u64);
            for finding in self.findings.drain(..) {
                self.correlator.fold(finding, &mut self.incidents);
            }
        }
    }

    /// From incidents to whoever wants alerts; whether the log took them.
    fn tell(&mut self) -> bool {
        if self.incidents.is_empty() {
            return true;
        }
        let alerts: Vec<Alert> =
            self.incidents.drain(..).filter_map(|incident| self.triage.assess(&incident)).collect();
        let new = alerts.iter().filter(|alert| alert.version == 1).count();
        add(&self.counters.alerts, new as u64);
        add(&self.counters.alert_updates, (alerts.len() - new) as u64);
        // Into the outboxes first: what a crash then repeats, a receiver can tell by its key.
        if let Some(forwarder) = &self.forwarder {
            forwarder.send(&alerts);
        }
        let is_stored = self.log.append(&alerts);
        if let Some(copy) = &mut self.copy {
            copy.hold(alerts);
        }
        is_stored
    }

    /// Writes what was learned.
    pub(super) fn save(&mut self) {
        if let Some(state) = &self.state
            && let Err(error) = self.detectors.save(state)
        {
            tracing::error!("{}: {error}; what was learned since is lost at a restart", state.display());
        }
    }

    /// Gives out what is still held and writes what was learned; the first error of the alerts' copy.
    pub(super) fn finish(mut self) -> Option<io::Error> {
        self.correlator.close_all(&mut self.incidents);
        self.tell();
        self.count_limits();
        self.save();
        self.copy.and_then(Copy::finish)
    }
}

/// Alerts on their way to a file of the user's.
struct Copy {
    out: Box<dyn Write + Send>,
    /// The last form of each alert by id.
    held: HashMap<String, Alert>,
    error: Option<io::Error>,
}

impl Copy {
    fn hold(&mut self, alerts: Vec<Alert>) {
        for alert in alerts {
            self.held.insert(alert.id.clone(), alert);
        }
        if self.held.len() > COPY_ALERTS_MAX {
            self.write();
        }
    }

    /// Writes what is held in order of time.
    fn write(&mut self) {
        let mut alerts: Vec<Alert> = self.held.drain().map(|(_, alert)| alert).collect();
        alerts.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        for alert in &alerts {
            let mut line = serde_json::to_vec(alert).unwrap_or_default();
            line.push(b'\n');
            if self.error.is_none() {
                self.error = self.out.write_all(&line).err();
            }
        }
    }

    fn finish(mut self) -> Option<io::Error> {
        self.write();
        let flushed = self.out.flush().err();
        self.error.or(flushed)
    }
}
