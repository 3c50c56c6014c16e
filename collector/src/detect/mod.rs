//! Detect: from enriched records to findings.
//!
//! In: one [`Enriched`] record at a time, in the order of its exporter. Out: [`Finding`]s. Time comes
//! from the record; nothing here holds a lock or reads a clock, and no file is opened but in `load`,
//! which reads lists when detectors are made and keeps what they learned.

pub mod config;
pub mod home;
mod outcome;
pub mod signature;
pub mod anomaly;
pub mod load;

use crate::enrich::{Criticality, Enriched};
use std::borrow::Cow;
use std::sync::Arc;
use weir_common::alert::Severity;
use weir_common::evidence::Evidence;
use weir_common::net::{Address, CommunityId};
use weir_common::time::Timestamp;

pub use load::Detectors;

/// One detector's opinion about one record, or about what that record completed.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Dotted, from general to special: `scan.horizontal`.
    pub kind: Cow<'static, str>,
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
    pub technique: Vec<Cow<'static, str>>,
    /// What distinguishes findings of one kind and actor that are different matters (an indicator, a
    /// port, a signature's id); findings with equal kind, actor and subject fold into one alert.
    pub subject: String,
    /// The flow that the finding rests on.
    pub flow: FlowRef,
    /// How much the most critical end of that flow matters.
    pub criticality: Criticality,
    /// How many distinct targets and events the detector counted, where that is more than one finding
    /// shows; an alert's `target_count` and `count` are never less.
    pub seen: Seen,
}

/// What a detector counted by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Distinct targets.
    pub targets: u64,
    /// Events: contacts, attempts, visits.
    pub events: u64,
}

impl Finding {
    /// A finding about one record, with the record's times; the detector adds what it knows.
    pub fn about(record: &Enriched<'_>, kind: &'static str, severity: Severity, confidence: f64) -> Finding {
        let flow = record.record;
        let matters = |asset: Option<&crate::enrich::Asset>| asset.map(|asset| asset.criticality);
        Finding {
            kind: kind.into(),
            actor: Some(flow.key.initiator),
            target: Some(flow.key.responder),
            time: flow.start,
            end: flow.end,
            severity,
            confidence,
            reason: String::new(),
            technique: Vec::new(),
            subject: String::new(),
            flow: FlowRef {
                community_id: flow.community_id,
                start: flow.start,
                end: flow.end,
                sensor: Arc::from(record.exporter.name.as_str()),
                evidence: flow.evidence.clone(),
            },
            criticality: matters(record.initiator).max(matters(record.responder)).unwrap_or_default(),
            seen: Seen { targets: 1, events: 1 },
        }
    }

    /// With the sentence that says why.
    #[must_use]
    pub fn because(mut self, reason: String) -> Finding {
        self.reason = reason;
        self
    }

    /// With ATT&CK techniques.
    #[must_use]
    pub fn technique(mut self, ids: &[&'static str]) -> Finding {
        self.technique = ids.iter().map(|id| Cow::Borrowed(*id)).collect();
        self
    }

    /// With what tells it from other matters of the same kind and actor.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Finding {
        self.subject = subject.into();
        self
    }

    /// With the detector's own counts of targets and events, and the time since when.
    #[must_use]
    pub fn counting(mut self, targets: u64, events: u64, since: Timestamp) -> Finding {
        self.seen = Seen { targets, events };
        self.time = self.time.min(since);
        self
    }
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
    /// Where the packets are in the sensor's ring, as far as its record says.
    pub evidence: Option<Box<Evidence>>,
}

/// One way of finding trouble in enriched records.
pub trait Detector: Send {
    /// The name used in findings, counters and the config section.
    fn name(&self) -> &'static str;

    /// Looks at one record and pushes what it found.
    fn inspect(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>);

    /// How many hosts, pairs or the like it forgot at its limits; none for those that keep nothing.
    fn forgotten(&self) -> u64 {
        0
    }

    /// What the detector learned that shall survive a restart, and under which name; none for most.
    fn learned(&self) -> Option<(&'static str, Vec<u8>)> {
        None
    }
}

#[cfg(test)]
mod story_tests;

#[cfg(test)]
pub(crate) mod testing {
    //! Runs a detector over records that a test builds.

    use super::*;
    use crate::ingest::Exporter;
    use weir_common::record::FlowRecord;

    /// The exporter of every test's records.
    pub(crate) fn exporter() -> Arc<Exporter> {
        Arc::new(Exporter { name: "edge-1".into(), observation_domain: 1 })
    }

    /// What a detector finds in records that nothing is known about.
    pub(crate) fn run(
        detector: &mut dyn Detector,
        records: impl IntoIterator<Item = FlowRecord>,
    ) -> Vec<Finding> {
        let exporter = exporter();
        let mut findings = Vec::new();
        for record in records {
            let record = Enriched {
                record: &record,
                exporter: &exporter,
                initiator: None,
                responder: None,
                legitimate: None,
            };
            detector.inspect(&record, &mut findings);
        }
        findings
    }

    /// A finding on one line.
    pub(crate) fn line(finding: &Finding) -> String {
        let end = |address: Option<Address>| address.map_or("-".to_owned(), |address| address.to_string());
        let (actor, target) = (end(finding.actor), end(finding.target));
        format!(
            "{} {actor} -> {target} {} {:.2}: {}",
            finding.kind,
            finding.severity.name(),
            finding.confidence,
            finding.reason
        )
    }
}
