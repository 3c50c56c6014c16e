//! Ingest: from sockets and files to flow records.
//!
//! In: IPFIX over UDP and TCP, and IPFIX files (RFC 5655). Out: [`Batch`]es of records with the
//! exporter they came from. Malformed messages and sequence gaps are counted per exporter.

pub mod config;

use std::sync::Arc;
use weir_common::record::FlowRecord;

/// One exporting process: a sensor or a device.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Exporter {
    /// The sensor's name where its records say it (options data), otherwise address and domain.
    pub name: String,
    /// IPFIX observation domain.
    pub observation_domain: u32,
}

/// Records of one exporter, in the order they came.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Who sent them.
    pub exporter: Arc<Exporter>,
    /// The records.
    pub records: Vec<FlowRecord>,
}
