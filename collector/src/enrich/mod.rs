//! Enrich: what the collector's owner knows about the ends of a record.
//!
//! In: a record. Out: [`Enriched`], the same record with the assets of its ends and whether the owner
//! declared the traffic legitimate. Reads its lists when it is made, never per record.

pub mod config;
pub mod legitimate;
pub mod lists;
pub mod prefix;

use crate::ingest::Exporter;
use config::EnrichConfig;
use legitimate::Legitimate;
use lists::ListProblem;
use prefix::{Networks, PrefixMap};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::sync::Arc;
use weir_common::record::FlowRecord;

/// What counts as the owner's where the configuration names no network: RFC 1918, RFC 4193, RFC 3927,
/// RFC 4291 link-local and loopback, RFC 6598.
const HOME_NETWORKS_DEFAULT: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];

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
    /// A home network is not a network.
    #[error("enrich.home_networks: {0}")]
    HomeNetworks(String),
}

/// The owner's knowledge, ready for look-ups.
#[derive(Debug)]
pub struct Enricher {
    assets: PrefixMap<Asset>,
    legitimate: Legitimate,
    home: Arc<Networks>,
}

impl Enricher {
    /// Reads the configured lists. Lines that are wrong are left out and returned as problems.
    pub fn load(config: &EnrichConfig) -> Result<(Enricher, Vec<ListProblem>), EnrichError> {
        let mut problems = Vec::new();
        let mut assets = Vec::new();
        if let Some(file) = open("assets", &config.assets)? {
            assets = lists::read_assets(&config.assets, file, &mut problems);
        }
        let mut rules = Vec::new();
        if let Some(file) = open("legitimate", &config.legitimate)? {
            let mut more = Vec::new();
            rules = lists::read_legitimate(&config.legitimate, file, &mut more);
            problems.append(&mut more);
        }
        let home = if config.home_networks.is_empty() {
            Networks::parse(&HOME_NETWORKS_DEFAULT)
        } else {
            Networks::parse(&config.home_networks)
        };
        let enricher = Enricher {
            assets: PrefixMap::build(assets),
            legitimate: Legitimate::build(rules),
            home: Arc::new(home.map_err(EnrichError::HomeNetworks)?),
        };
        Ok((enricher, problems))
    }

    /// The owner's networks.
    pub fn home(&self) -> &Arc<Networks> {
        &self.home
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
        assert!(enricher.home().contains("192.168.1.1".parse().unwrap()));
        assert!(!enricher.home().contains("192.0.2.1".parse().unwrap()));
        config.legitimate = "/nonexistent/legit.csv".into();
        assert!(Enricher::load(&config).unwrap_err().to_string().contains("enrich.legitimate"));
        let config = EnrichConfig { home_networks: vec!["ten".into()], ..EnrichConfig::default() };
        assert!(Enricher::load(&config).unwrap_err().to_string().contains("home_networks"));
    }
}
