//! Correlate: folds findings that belong together into incidents.
//!
//! In: findings, and the time as the caller counts it. Out: an [`Incident`] when it is opened, when its
//! count has doubled, when it becomes worse, and when it is closed with something untold; each time with
//! the same id and the next version. Findings fold when kind, actor and subject are equal and no more
//! than a window of time lies between. Sequence and association across actors are not built here.

pub mod config;

use crate::bounded::Bounded;
use crate::detect::{Finding, FlowRef};
use crate::enrich::Criticality;
use config::CorrelateConfig;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use weir_common::alert::{FLOWS_MAX, Severity, TARGETS_MAX};
use weir_common::net::Address;
use weir_common::time::Timestamp;

/// Distinct targets told apart per incident; beyond them only the detector's own count grows.
const TARGETS_TOLD_APART: usize = 256;
/// Most sensors and techniques named per incident.
const NAMES_MAX: usize = 32;

/// Findings that are one matter.
#[derive(Clone, Debug)]
pub struct Incident {
    /// 16 hexadecimal digits from kind, actor, subject and the time window in which it began.
    pub id: String,
    /// 1 when opened, one more each time it is told again.
    pub version: u32,
    /// Whether nothing more will come under this id.
    pub closed: bool,
    /// As in [`Finding::kind`].
    pub kind: Cow<'static, str>,
    /// As in [`Finding::actor`].
    pub actor: Option<Address>,
    /// As in [`Finding::subject`].
    pub subject: String,
    /// Addresses concerned, the first [`TARGETS_MAX`].
    pub targets: Vec<Address>,
    /// Distinct targets, as far as they were told apart or the detector counted them.
    pub target_count: u64,
    /// Findings, or the events that the detector counted where those are more.
    pub count: u64,
    /// Begin of what was seen.
    pub time: Timestamp,
    /// End of what was seen.
    pub end: Timestamp,
    /// The worst of the findings'.
    pub severity: Severity,
    /// The highest of the findings'.
    pub confidence: f64,
    /// The sentence of the weightiest finding, the latest among equals.
    pub reason: String,
    /// ATT&CK techniques of all findings.
    pub technique: Vec<Cow<'static, str>>,
    /// Sensors that saw it.
    pub sensors: Vec<Arc<str>>,
    /// Flows it rests on, the first [`FLOWS_MAX`].
    pub flows: Vec<FlowRef>,
    /// The most critical asset concerned.
    pub criticality: Criticality,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Cow<'static, str>,
    actor: Option<Address>,
    subject: String,
}

struct Open {
    incident: Incident,
    findings: u64,
    told_count: u64,
    told_apart: HashSet<Address>,
}

/// Folds findings.
pub struct Correlator {
    window: Duration,
    age_max: Duration,
    open: Bounded<Key, Open>,
}

impl Correlator {
    /// A correlator without incidents.
    pub fn new(config: &CorrelateConfig) -> Correlator {
        Correlator {
            window: Duration::from_secs(config.window_s.max(1)),
            age_max: Duration::from_secs(config.age_max_s.max(config.window_s).max(1)),
            open: Bounded::new(config.incidents_max as usize),
        }
    }

    /// Folds one finding and pushes the incidents that shall be told because of it.
    pub fn fold(&mut self, finding: Finding, told: &mut Vec<Incident>) {
        let key = Key { kind: finding.kind.clone(), actor: finding.actor, subject: finding.subject.clone() };
        match self.open.get_mut(&key) {
            Some(open) if open.takes(&finding, self.window, self.age_max) => {
                open.add(finding);
                if open.is_due() {
                    told.push(open.tell(false));
                }
                return;
            }
            Some(_) => {
                if let Some((_, open)) = self.open.remove(&key) {
                    open.close(told);
                }
            }
            None => {}
        }
        let mut open = Open::begin(finding, self.window);
        told.push(open.tell(false));
        if let Some((_, evicted)) = self.open.insert(key, open) {
            evicted.close(told);
        }
    }

    /// Closes incidents to which nothing was added for a window before `now`, which is the records' time:
    /// the clock's when they come live.
    pub fn expire(&mut self, now: Timestamp, told: &mut Vec<Incident>) {
        // The order is that of adding, and times come nearly in order: the first that stays ends the work.
        while self.open.oldest().is_some_and(|(_, open)| now.since(open.incident.end) > self.window) {
            if let Some((_, open)) = self.open.pop_oldest() {
                open.close(told);
            }
        }
    }

    /// Closes every incident, at the end of the input.
    pub fn close_all(&mut self, told: &mut Vec<Incident>) {
        while let Some((_, open)) = self.open.pop_oldest() {
            open.close(told);
        }
    }

    /// How many incidents are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// How many incidents were closed early because of `incidents_max`.
    pub fn evicted_count(&self) -> u64 {
        self.open.evicted()
    }
}

impl Open {
    fn begin(finding: Finding, window: Duration) -> Open {
        let Finding { kind, actor, time, end, severity, confidence, subject, criticality, .. } =
            finding.clone();
        let incident = Incident {
            id: id(&kind, actor, &subject, time, window),
            version: 0,
            closed: false,
            kind,
            actor,
            subject,
            targets: Vec::new(),
            target_count: 0,
            count: 0,
            time,
            end,
            severity,
            confidence,
            reason: String::new(),
            technique: Vec::new(),
            sensors: Vec::new(),
            flows: Vec::new(),
            criticality,
        };
        let mut open = Open { incident, findings: 0, told_count: 0, told_apart: HashSet::new() };
        open.add(finding);
        open
    }

    /// Whether a finding lies near enough in time, on either side: records come late.
    fn takes(&self, finding: &Finding, window: Duration, age_max: Duration) -> bool {
        let Incident { time, end, .. } = self.incident;
        finding.time.since(end) <= window
            && time.since(finding.end) <= window
            && finding.end.since(time) <= age_max
    }

    fn add(&mut self, finding: Finding) {
        let incident = &mut self.incident;
        self.findings = self.findings.saturating_add(1);
        incident.count = self.findings.max(incident.count).max(finding.seen.events);
        if let Some(target) = finding.target {
            let new = self.told_apart.len() < TARGETS_TOLD_APART && self.told_apart.insert(target);
            if new && incident.targets.len() < TARGETS_MAX {
                incident.targets.push(target);
            }
            incident.target_count =
                incident.target_count.max(self.told_apart.len() as u64).max(finding.seen.targets);
        }
        incident.time = incident.time.min(finding.time);
        incident.end = incident.end.max(finding.end);
        let weight = |severity: Severity, confidence: f64| (severity, (confidence * 100.0) as u32);
        let weightier =
            weight(finding.severity, finding.confidence) >= weight(incident.severity, incident.confidence);
        if weightier || incident.reason.is_empty() {
            incident.reason = finding.reason;
        }
        // A worse finding counts with its own confidence, not with that of the milder ones before it.
        if finding.severity > incident.severity {
            (incident.severity, incident.confidence) = (finding.severity, finding.confidence);
            self.told_count = 0;
        } else if finding.severity == incident.severity {
            incident.confidence = incident.confidence.max(finding.confidence);
        }
        incident.criticality = incident.criticality.max(finding.criticality);
        for technique in finding.technique {
            if incident.technique.len() < NAMES_MAX && !incident.technique.contains(&technique) {
                incident.technique.push(technique);
            }
        }
        if incident.sensors.len() < NAMES_MAX && !incident.sensors.contains(&finding.flow.sensor) {
            incident.sensors.push(finding.flow.sensor.clone());
        }
        if incident.flows.len() < FLOWS_MAX && !incident.flows.contains(&finding.flow) {
            incident.flows.push(finding.flow);
        }
    }

    /// Whether it doubled or became worse since it was told.
    fn is_due(&self) -> bool {
        self.incident.count >= self.told_count.saturating_mul(2)
    }

    fn tell(&mut self, closed: bool) -> Incident {
        self.told_count = self.incident.count;
        self.incident.version = self.incident.version.saturating_add(1);
        self.incident.closed = closed;
        self.incident.clone()
    }

    /// Tells it a last time, when there is something that was not told.
    fn close(mut self, told: &mut Vec<Incident>) {
        if self.incident.count > self.told_count {
            told.push(self.tell(true));
        }
    }
}

/// The same input gives the same id. Two incidents of one key begin in different windows of time, because
/// more than a window lies between them; only one evicted at the limit can come back under its id.
fn id(kind: &str, actor: Option<Address>, subject: &str, time: Timestamp, window: Duration) -> String {
    let bucket = time.seconds() / window.as_secs().max(1);
    let mut hash = Sha256::new();
    for part in
        [kind.as_bytes(), &actor.map_or([0; 16], |actor| actor.0), subject.as_bytes(), &bucket.to_be_bytes()]
    {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::Enriched;
    use weir_common::testing::RecordBuilder;

    fn correlator() -> Correlator {
        Correlator::new(&CorrelateConfig::default())
    }

    fn finding(second: f64, target: &str) -> Finding {
        let record = RecordBuilder::tcp("10.0.0.5:40000", &format!("{target}:22")).after(second).build();
        let exporter = crate::detect::testing::exporter();
        let record = Enriched {
            record: &record,
            exporter: &exporter,
            initiator: None,
            responder: None,
            legitimate: None,
        };
        Finding::about(&record, "intel.ip", Severity::High, 0.9)
            .because(format!("finding at {second}"))
            .technique(&["T1071"])
    }

    fn fold(correlator: &mut Correlator, findings: impl IntoIterator<Item = Finding>) -> Vec<Incident> {
        let mut told = Vec::new();
        for finding in findings {
            correlator.fold(finding, &mut told);
        }
        told
    }

    #[test]
    fn equal_findings_are_one_incident_told_at_each_doubling_and_at_its_end() {
        let mut correlator = correlator();
        let mut told =
            fold(&mut correlator, (0..100).map(|n| finding(f64::from(n), &format!("192.0.2.{n}"))));
        correlator.close_all(&mut told);
        let counts: Vec<(u64, u32, bool)> =
            told.iter().map(|incident| (incident.count, incident.version, incident.closed)).collect();
        assert_eq!(
            counts,
            [
                (1, 1, false),
                (2, 2, false),
                (4, 3, false),
                (8, 4, false),
                (16, 5, false),
                (32, 6, false),
                (64, 7, false),
                (100, 8, true)
            ]
        );
        assert!(told.iter().all(|incident| incident.id == told[0].id && incident.id.len() == 16));
        let last = told.last().unwrap();
        assert_eq!((last.targets.len(), last.target_count, last.flows.len()), (32, 100, 32));
        assert_eq!((last.time, last.end.since(last.time).as_secs()), (weir_common::testing::START, 100));
        assert_eq!(last.reason, "finding at 99");
    }

    #[test]
    fn the_same_input_gives_the_same_ids_and_other_matters_other_ids() {
        let ids = || fold(&mut correlator(), [finding(0.0, "192.0.2.1")])[0].id.clone();
        assert_eq!(ids(), ids());
        let mut other = Vec::new();
        for change in [
            |f: &mut Finding| f.subject = "x".into(),
            |f: &mut Finding| f.kind = "beacon".into(),
            |f: &mut Finding| f.actor = None,
        ] {
            let mut finding = finding(0.0, "192.0.2.1");
            change(&mut finding);
            other.push(fold(&mut correlator(), [finding])[0].id.clone());
        }
        other.push(ids());
        assert_eq!(other.iter().collect::<HashSet<_>>().len(), 4);
    }

    #[test]
    fn a_silence_longer_than_the_window_begins_another_incident() {
        // A record lasts one second, so that silence is counted from second 1.
        assert_eq!(
            fold(&mut correlator(), [finding(0.0, "192.0.2.1"), finding(3601.0, "192.0.2.1")])[1].version,
            2
        );
        let told = fold(&mut correlator(), [finding(0.0, "192.0.2.1"), finding(3601.1, "192.0.2.1")]);
        assert_eq!(told[1].version, 1);
        assert_ne!(told[0].id, told[1].id);
        let earlier = fold(&mut correlator(), [finding(9000.0, "192.0.2.1"), finding(100.0, "192.0.2.1")]);
        assert_eq!(earlier[1].version, 1);
    }

    #[test]
    fn what_never_ends_is_told_anew_every_day() {
        let told =
            fold(&mut correlator(), (0..60).map(|hour| finding(f64::from(hour) * 3600.0, "192.0.2.1")));
        assert_eq!(told.iter().filter(|incident| incident.version == 1).count(), 3);
        assert_eq!(told.iter().map(|incident| &incident.id).collect::<HashSet<_>>().len(), 3);
    }

    #[test]
    fn a_worse_finding_is_told_at_once_with_its_reason() {
        let mut worse = finding(11.0, "192.0.2.1");
        (worse.severity, worse.confidence, worse.reason) = (Severity::Critical, 0.6, "worse".into());
        let told =
            fold(&mut correlator(), (0..11).map(|n| finding(f64::from(n), "192.0.2.1")).chain([worse]));
        let last = told.last().unwrap();
        assert_eq!(
            (last.count, last.severity, last.confidence, last.reason.as_str()),
            (12, Severity::Critical, 0.6, "worse")
        );
    }

    #[test]
    fn what_a_detector_counted_is_never_told_as_less() {
        let scan = finding(0.0, "192.0.2.1").counting(500, 700, Timestamp(5));
        let told = fold(&mut correlator(), [scan]);
        assert_eq!((told[0].target_count, told[0].count, told[0].time), (500, 700, Timestamp(5)));
    }

    #[test]
    fn expiry_closes_what_is_quiet_and_nothing_else() {
        let mut correlator = correlator();
        fold(&mut correlator, [finding(0.0, "192.0.2.1")]);
        let mut told = Vec::new();
        correlator.expire(weir_common::testing::START.plus(Duration::from_secs(3601)), &mut told);
        assert_eq!(correlator.open_count(), 1);
        correlator.expire(weir_common::testing::START.plus(Duration::from_secs(3602)), &mut told);
        assert_eq!((correlator.open_count(), told.len()), (0, 0)); // all of it was told when it opened
    }

    #[test]
    fn at_the_limit_the_quietest_incident_is_closed_and_counted() {
        let mut correlator =
            Correlator::new(&CorrelateConfig { incidents_max: 10, ..CorrelateConfig::default() });
        let told = fold(
            &mut correlator,
            (0..1000u32).map(|n| {
                let mut finding = finding(0.0, "192.0.2.1");
                finding.actor = Some(Address::v4(n.to_be_bytes()));
                finding
            }),
        );
        assert_eq!((correlator.open_count(), correlator.evicted_count(), told.len()), (10, 990, 1000));
    }
}
