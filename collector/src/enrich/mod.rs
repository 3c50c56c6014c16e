//! Enrich: what the collector's owner knows about the ends of a record.
//!
//! In: a record. Out: [`Enriched`], the same record with the assets of its ends and whether the owner
//! declared the traffic legitimate. Reads its lists when it is made, never per record.

pub mod config;
pub mod legitimate;
pub mod lists;

use crate::ingest::Exporter;
use crate::prefix::PrefixMap;
use crate::problem::Problem;
use config::EnrichConfig;
use legitimate::Legitimate;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::sync::Arc;
use weir_common::record::FlowRecord;

/// How much an asset matters to its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Criticality {
    /// Easily replaced.
    Low,
    /// The usual.
    #[default]
    Medium,
    /// Business depends on it.
    High,
    /// Business stops without it.
    Critical,
}

/// One line of the asset inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its name.
    pub name: String,
    /// What it does: `web server`, `resolver` ...
    pub role: String,
    /// How much it matters.
    pub criticality: Criticality,
}

/// A record with what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Enriched<'a> {
    /// The record.
    pub record: &'a FlowRecord,
    /// Who saw it.
    pub exporter: &'a Arc<Exporter>,
    /// The initiator, when the inventory knows it.
    pub initiator: Option<&'a Asset>,
    /// The responder, when the inventory knows it.
    pub responder: Option<&'a Asset>,
    /// The note of the line that declares this traffic legitimate. Anomaly detectors leave such
    /// records alone; signatures do not.
    pub legitimate: Option<&'a str>,
}

/// Why enrichment cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum EnrichError {
    /// A configured list cannot be opened.
    #[error("{file}, named by enrich.{key}, cannot be opened: {source}")]
    Unreadable {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The owner's knowledge, ready for look-ups.
#[derive(Debug)]
pub struct Enricher {
    assets: PrefixMap<Asset>,
    legitimate: Legitimate,
}

impl Enricher {
    /// Reads the configured lists. Lines that are wrong are left out and returned as problems.
    pub fn load(config: &EnrichConfig) -> Result<(Enricher, Vec<Problem>), EnrichError> {
        let (mut assets, mut rules) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
        if let Some(file) = open("assets", &config.assets)? {
            (assets, problems) = lists::read_assets(&config.assets, file);
        }
        if let Some(file) = open("legitimate", &config.legitimate)? {
            let more;
            (rules, more) = lists::read_legitimate(&config.legitimate, file);
            problems.extend(more);
        }
        let enricher = Enricher { assets: PrefixMap::build(assets), legitimate: Legitimate::build(rules) };
        Ok((enricher, problems))
    }

    /// Adds what is known to a record.
    #[inline]
    pub fn enrich<'a>(&'a self, record: &'a FlowRecord, exporter: &'a Arc<Exporter>) -> Enriched<'a> {
        Enriched {
            record,
            exporter,
            initiator: self.assets.get(record.key.initiator),
            responder: self.assets.get(record.key.responder),
            legitimate: self.legitimate.note(&record.key),
        }
    }
}

fn open(key: &'static str, file: &str) -> Result<Option<File>, EnrichError> {
    if file.is_empty() {
        return Ok(None);
    }
    let unreadable = |source| EnrichError::Unreadable { key, file: file.to_owned(), source };
    File::open(file).map(Some).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_a_missing_one_is_an_error_that_names_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let assets = directory.path().join("assets.csv");
        std::fs::write(&assets, "10.0.0.5,web-1,web server,critical\nnonsense\n").unwrap();
        let mut config = EnrichConfig { assets: assets.display().to_string(), ..EnrichConfig::default() };
        let (enricher, problems) = Enricher::load(&config).unwrap();
        assert_eq!(problems.len(), 1);
        assert_eq!(enricher.assets.get("10.0.0.5".parse().unwrap()).unwrap().name, "web-1");
        config.legitimate = "/nonexistent/legit.csv".into();
        assert!(Enricher::load(&config).unwrap_err().to_string().contains("enrich.legitimate"));
    }
}
