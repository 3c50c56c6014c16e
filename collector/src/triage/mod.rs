//! Triage: decides what an incident means and where it goes.
//!
//! In: an incident. Out: an [`Alert`] with its severity, its route and where its evidence is, or nothing
//! when the configuration mutes it. An incident that concerns a critical asset is one step worse. The
//! route is read from one table:
//!
//! | severity | confidence below 0.5 | 0.5 to 0.8 | 0.8 and more |
//! |---|---|---|---|
//! | critical | ticket | pager | pager |
//! | high | digest | ticket | ticket |
//! | medium | digest | digest | ticket |
//! | low | digest | digest | digest |
//!
//! Nobody is woken for less than critical; a rule or an indicator that shall wake someone says so by its
//! severity. An attack tree of the user's own environment is not part of this version.

pub mod config;

use crate::correlate::Incident;
use crate::enrich::Criticality;
use crate::evidence;
use config::TriageConfig;
use std::borrow::Cow;
use weir_common::alert::{Alert, AlertFlow, Route, Severity};

/// Turns incidents into alerts.
pub struct Triage {
    config: TriageConfig,
    muted: u64,
}

impl Triage {
    /// Triage as configured.
    pub fn new(config: &TriageConfig) -> Triage {
        Triage { config: config.clone(), muted: 0 }
    }

    /// The alert of an incident; none when it is muted, which is counted.
    pub fn assess(&mut self, incident: &Incident) -> Option<Alert> {
        let below = |kind: &str| {
            incident.kind.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if incident.confidence < self.config.confidence_min
            || self.config.kinds_muted.iter().any(|kind| below(kind))
        {
            self.muted += 1;
            return None;
        }
        let severity = severity(incident.severity, incident.criticality);
        let flows: Vec<AlertFlow> = incident
            .flows
            .iter()
            .map(|flow| AlertFlow {
                community_id: flow.community_id,
                start: flow.start,
                end: flow.end,
                sensor: flow.sensor.to_string(),
                ring_extents: flow.evidence.as_ref().map(|evidence| evidence.extents.clone()),
                ring_missed: flow.evidence.as_ref().map_or(0, |evidence| evidence.frames_missed),
                ring_expires: flow.evidence.as_ref().and_then(|evidence| evidence.expires),
            })
            .collect();
        // The end of what was seen is when the alert is made, for records that come live.
        let evidence = evidence::state(&flows, &incident.id, incident.end);
        Some(Alert {
            id: incident.id.clone(),
            version: incident.version,
            time: incident.time,
            end: incident.end,
            kind: incident.kind.to_string(),
            actor: incident.actor.map(|actor| actor.to_string()),
            targets: incident.targets.iter().map(ToString::to_string).collect(),
            target_count: incident.target_count,
            count: incident.count,
            severity,
            confidence: (incident.confidence * 100.0).round() / 100.0,
            route: route(severity, incident.confidence),
            reason: incident.reason.clone(),
            technique: incident.technique.iter().map(Cow::to_string).collect(),
            sensors: incident.sensors.iter().map(ToString::to_string).collect(),
            flows,
            evidence,
            signature: (incident.kind == "signature").then(|| incident.subject.clone()),
        })
    }

    /// How many incidents, counted once per version, were muted.
    pub fn muted_count(&self) -> u64 {
        self.muted
    }
}

/// One step worse where business stops without the asset concerned.
fn severity(severity: Severity, criticality: Criticality) -> Severity {
    if criticality == Criticality::Critical { severity.raised() } else { severity }
}

/// The table of the module's text.
pub fn route(severity: Severity, confidence: f64) -> Route {
    let (likely, sure) = (confidence >= 0.5, confidence >= 0.8);
    match severity {
        Severity::Critical if likely => Route::Pager,
        Severity::Critical => Route::Ticket,
        Severity::High if likely => Route::Ticket,
        Severity::Medium if sure => Route::Ticket,
        _ => Route::Digest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::Correlator;
    use crate::detect::Finding;
    use crate::enrich::{Asset, Enriched};
    use weir_common::testing::RecordBuilder;

    fn incident(criticality: Criticality) -> Incident {
        let expires = weir_common::testing::START.plus(std::time::Duration::from_secs(86_400));
        let record = RecordBuilder::tcp("10.0.0.5:40000", "198.51.100.7:80");
        let record = record.evidence("3.0:120-122,140", Some(expires)).build();
        let asset = Asset { name: "db".into(), role: "database".into(), criticality };
        let exporter = crate::detect::testing::exporter();
        let record = Enriched {
            record: &record,
            exporter: &exporter,
            initiator: Some(&asset),
            responder: None,
            legitimate: None,
        };
        let finding = Finding::about(&record, "signature", Severity::High, 0.754)
            .because("Because.".into())
            .subject("W1");
        let mut told = Vec::new();
        Correlator::new(&Default::default()).fold(finding, &mut told);
        told.remove(0)
    }

    #[test]
    fn an_incident_becomes_an_alert_with_its_evidence() {
        let alert = Triage::new(&TriageConfig::default()).assess(&incident(Criticality::High)).unwrap();
        expect_test::expect![[r#"
            {
              "id": "f44c0e4f7ca5491e",
              "version": 1,
              "time": "2026-11-20T12:00:00.000000000Z",
              "end": "2026-11-20T12:00:01.000000000Z",
              "kind": "signature",
              "actor": "10.0.0.5",
              "targets": [
                "198.51.100.7"
              ],
              "target_count": 1,
              "count": 1,
              "severity": "high",
              "confidence": 0.75,
              "route": "ticket",
              "reason": "Because.",
              "technique": [],
              "sensors": [
                "edge-1"
              ],
              "flows": [
                {
                  "community_id": "1:CfSrdVCMe7bZIgf2k7Aq3/C8UQQ=",
                  "start": "2026-11-20T12:00:00.000000000Z",
                  "end": "2026-11-20T12:00:01.000000000Z",
                  "sensor": "edge-1",
                  "ring_extents": "3.0:120-122,140",
                  "ring_expires": "2026-11-21T12:00:00.000000000Z"
                }
              ],
              "evidence": {
                "state": "available",
                "until": "2026-11-21T12:00:00.000000000Z",
                "command": "weir-sensor query --flow 1:CfSrdVCMe7bZIgf2k7Aq3/C8UQQ= --extents 3.0:120-122,140 --since 2026-11-20T11:59:59.999Z --until 2026-11-20T12:00:01.001Z -w f44c0e4f7ca5491e.pcapng"
              },
              "signature": "W1"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&alert).unwrap());
    }

    #[test]
    fn only_a_critical_asset_makes_an_incident_worse() {
        let severity = |criticality| {
            Triage::new(&TriageConfig::default()).assess(&incident(criticality)).unwrap().severity
        };
        assert_eq!(severity(Criticality::Critical), Severity::Critical);
        for other in [Criticality::Low, Criticality::Medium, Criticality::High] {
            assert_eq!(severity(other), Severity::High);
        }
    }

    #[test]
    fn the_route_follows_the_table() {
        use Route::{Digest, Pager, Ticket};
        for (severity, want) in [
            (Severity::Critical, [Ticket, Pager, Pager, Pager]),
            (Severity::High, [Digest, Ticket, Ticket, Ticket]),
            (Severity::Medium, [Digest, Digest, Digest, Ticket]),
            (Severity::Low, [Digest, Digest, Digest, Digest]),
        ] {
            assert_eq!(
                [0.49, 0.5, 0.79, 0.8].map(|confidence| route(severity, confidence)),
                want,
                "{severity:?}"
            );
        }
    }

    #[test]
    fn muted_kinds_and_faint_incidents_are_counted() {
        let muted = |kinds: &[&str], confidence_min| {
            let kinds_muted = kinds.iter().map(ToString::to_string).collect();
            let mut triage = Triage::new(&TriageConfig { confidence_min, kinds_muted });
            triage.assess(&incident(Criticality::Low)).is_none() && triage.muted_count() == 1
        };
        assert!(muted(&["signature"], 0.0) && muted(&[], 0.76));
        assert!(!muted(&["sign", "signature.x"], 0.75));
    }
}
