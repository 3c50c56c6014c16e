//! Detect: from enriched records to findings.
//!
//! In: one [`Enriched`] record at a time, in the order of its exporter. Out: [`Finding`]s. Time comes
//! from the record; nothing here opens a file, holds a lock or reads a clock.

pub mod config;

use crate::enrich::Enriched;
use std::sync::Arc;
use weir_common::alert::Severity;
use weir_common::net::{Address, CommunityId};
use weir_common::time::Timestamp;

/// One detector's opinion about one record, or about what that record completed.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Dotted, from general to special: `scan.horizontal`.
    pub kind: String,
    /// The address accused.
    pub actor: Option<Address>,
    /// The address concerned.
    pub target: Option<Address>,
    /// Begin and end of what was seen.
    pub time: Timestamp,
    /// End of what was seen.
    pub end: Timestamp,
    /// How bad it is if it is true.
    pub severity: Severity,
    /// How likely it is to be true, 0 to 1.
    pub confidence: f64,
    /// One sentence with the numbers that decided.
    pub reason: String,
    /// ATT&CK technique identifiers.
    pub technique: &'static [&'static str],
    /// What distinguishes findings of one kind and actor that are different matters (an indicator, a
    /// port, a signature's id); findings with equal kind, actor and subject fold into one alert.
    pub subject: String,
    /// The flow that the finding rests on.
    pub flow: FlowRef,
}

/// Enough to find a flow's packets on its sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRef {
    /// The flow.
    pub community_id: CommunityId,
    /// First packet.
    pub start: Timestamp,
    /// Last packet.
    pub end: Timestamp,
    /// The sensor's name.
    pub sensor: Arc<str>,
}

/// One way of finding trouble in enriched records.
pub trait Detector: Send {
    /// The name used in findings, counters and the config section.
    fn name(&self) -> &'static str;

    /// Looks at one record and pushes what it found.
    fn inspect(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>);
}
