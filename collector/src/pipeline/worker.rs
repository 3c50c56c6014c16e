//! The worker: the path of a batch from enrichment to the store and the outboxes.

use super::store_thread::StoreQueue;
use super::{Counters, PipelineError};
use crate::config::CollectorConfig;
use crate::detect::{Detector, Finding};
use crate::enrich::Enricher;
use crate::ingest::Batch;
use crate::ingest::counters::add;
use crate::store::alerts::AlertLog;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_common::alert::Alert;

/// Everything that a batch passes, in this order.
pub struct Worker {
    enricher: Enricher,
    detectors: Vec<Box<dyn Detector>>,
    findings: Vec<Finding>,
    log: AlertLog,
    copy: Option<Box<dyn Write + Send>>,
    copy_error: Option<io::Error>,
    store: Option<StoreQueue>,
    state: Option<PathBuf>,
    counters: Arc<Counters>,
}

impl Worker {
    /// Makes the stages. `state` is where what was learned is kept; without it nothing is read or kept.
    /// Lines of lists that cannot be used are said and left out.
    pub(super) fn new(
        config: &CollectorConfig,
        counters: Arc<Counters>,
        store: Option<StoreQueue>,
        state: Option<&Path>,
    ) -> Result<Worker, PipelineError> {
        let (enricher, problems) = Enricher::load(&config.enrich)?;
        for problem in problems {
            tracing::warn!("{problem}");
        }
        let log = AlertLog::open(&super::store_directory(config), counters.store.clone())?;
        Ok(Worker {
            enricher,
            detectors: Vec::new(),
            findings: Vec::new(),
            log,
            copy: None,
            copy_error: None,
            store,
            state: state.map(Path::to_owned),
            counters,
        })
    }

    /// Alerts go to the configured destinations as well.
    pub(super) fn deliver(&mut self, _config: &CollectorConfig, _state: &Path) -> Result<(), PipelineError> {
        Ok(())
    }

    /// Alerts go there as well, one JSON object per line.
    pub(super) fn copy_alerts(&mut self, copy: Option<Box<dyn Write + Send>>) {
        self.copy = copy;
    }

    /// Inspects a batch and hands its records to the store.
    pub(super) fn process(&mut self, batch: Batch) {
        add(&self.counters.records, batch.records.len() as u64);
        // A fault of a detector costs its batch's findings; the records are stored whatever happens.
        let inspected = catch_unwind(AssertUnwindSafe(|| self.inspect(&batch)));
        match inspected {
            Ok(alerts) => self.give_out(&alerts),
            Err(_) => add(&self.counters.batches_panicked, 1u64),
        }
        if let Some(store) = &self.store {
            store.send(batch);
        }
    }

    fn inspect(&mut self, batch: &Batch) -> Vec<Alert> {
        for record in &batch.records {
            let enriched = self.enricher.enrich(record, &batch.exporter);
            for detector in &mut self.detectors {
                detector.inspect(&enriched, &mut self.findings);
            }
        }
        add(&self.counters.findings, self.findings.len() as u64);
        self.findings.clear();
        Vec::new()
    }

    fn give_out(&mut self, alerts: &[Alert]) {
        if alerts.is_empty() {
            return;
        }
        add(&self.counters.alerts, alerts.len() as u64);
        self.log.append(alerts);
        if let Some(copy) = &mut self.copy
            && let Err(error) = write_lines(copy, alerts)
        {
            self.copy_error.get_or_insert(error);
            self.copy = None;
        }
    }

    /// Writes what was learned.
    pub(super) fn save(&mut self) {}

    /// Gives out what is still held and writes what was learned; the first error of the alerts' copy.
    pub(super) fn finish(mut self) -> Option<io::Error> {
        self.save();
        if let Some(copy) = &mut self.copy
            && let Err(error) = copy.flush()
        {
            self.copy_error.get_or_insert(error);
        }
        self.copy_error
    }
}

fn write_lines(copy: &mut dyn Write, alerts: &[Alert]) -> io::Result<()> {
    for alert in alerts {
        serde_json::to_writer(&mut *copy, alert)?;
        copy.write_all(b"\n")?;
    }
    // A reader at the other end of a pipe sees an alert when there is one.
    copy.flush()
}
