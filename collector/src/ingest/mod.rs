//! Ingest: from sockets and files to flow records.
//!
//! In: IPFIX over UDP and TCP, IPFIX files (RFC 5655) and EVE JSON. Out: [`Batch`]es of records with the
//! exporter they came from. Malformed messages and sequence gaps are counted per exporter. Async lives
//! here alone, in `listen`; a clock is read here alone, by [`clock`].

pub mod config;
pub mod counters;
pub mod delivery;
pub mod session;
mod templates;
pub mod queue;
pub mod listen;
pub mod file;
pub mod eve;
pub mod import;
#[cfg(test)]
pub(crate) mod testing;

use delivery::BatchPlaces;
use std::sync::Arc;
use weir_common::record::{FlowRecord, SignatureAlert};
use weir_common::time::Timestamp;

/// Records after which a batch is handed on; one message may exceed it by its own records.
pub const BATCH_RECORDS: usize = 1024;

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
    /// Alerts of the exporter's signatures.
    pub alerts: Vec<SignatureAlert>,
    /// Where they stand in the exporter's spool, when it has one.
    pub places: Option<Box<BatchPlaces>>,
}

/// The present time. Only ingest, the pipeline's threads and the command line call it; every stage is
/// told the time.
pub fn clock() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the collector's one reader of the clock")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::MIN.plus(since)
}
