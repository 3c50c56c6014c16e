//! Enrich: what the collector's owner knows about the ends of a record.
//!
//! In: a record. Out: [`Enriched`], the same record with the assets of its ends and whether the owner
//! declared the traffic legitimate. Reads its lists when it is made, never per record.

pub mod config;

use crate::ingest::Exporter;
use serde::{Deserialize, Serialize};
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
