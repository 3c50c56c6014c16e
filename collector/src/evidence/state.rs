//! Where an alert's packets are, as far as the records of its flows say.
//!
//! In: the alert's flows, and the time. Out: an [`EvidenceState`]. The sensor's estimate of when its ring removes
//! them is taken as it is; nothing is asked of a sensor here.

use super::command;
use weir_common::alert::{AlertFlow, EvidenceState};
use weir_common::time::Timestamp;

/// The state at `now`: available as long as the packets of one flow are there, until the first of them go.
pub fn state(flows: &[AlertFlow], alert_id: &str, now: Timestamp) -> EvidenceState {
    let not_captured = |why: &str| EvidenceState::NotCaptured { why: why.into() };
    if flows.is_empty() {
        return not_captured("the alert rests on no flow");
    }
    if flows.iter().all(|flow| flow.ring_extents.is_none()) {
        return not_captured("the records tell of no ring: their sensor keeps no packets");
    }
    let in_ring = |flow: &&AlertFlow| flow.ring_extents.as_ref().is_some_and(|extents| !extents.is_empty());
    let there = |flow: &&AlertFlow| in_ring(flow) && flow.ring_expires.is_none_or(|expires| expires > now);
    let Some(first) = flows.iter().find(there) else {
        return match flows.iter().find(in_ring) {
            Some(_) => EvidenceState::Expired,
            None => not_captured("the ring could not take these packets when they came"),
        };
    };
    let until = flows.iter().filter(there).filter_map(|flow| flow.ring_expires).min();
    EvidenceState::Available {
        until: until.map(|until| until.to_string()),
        command: command(first, alert_id),
        why: missing(flows, flows.iter().filter(there).count()),
    }
}

/// What of available evidence is missing, in words.
fn missing(flows: &[AlertFlow], there: usize) -> Option<String> {
    let packets = flows.iter().map(|flow| flow.ring_missed).fold(0, u64::saturating_add);
    let mut parts = Vec::new();
    if there < flows.len() {
        parts.push(format!("packets of {} of {} flows are not there", flows.len() - there, flows.len()));
    }
    if packets > 0 {
        parts.push(format!("{packets} packets were not kept"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use weir_common::testing::{RecordBuilder, START};

    const NEVER: Option<u64> = None;

    fn flow(extents: &str, expires_s: Option<u64>, missed: u64) -> AlertFlow {
        let record = RecordBuilder::tcp("10.0.0.5:1", "198.51.100.7:80").build();
        AlertFlow {
            community_id: record.community_id,
            start: record.start,
            end: record.end,
            sensor: "edge-1".into(),
            ring_extents: (!extents.is_empty()).then(|| extents.parse().unwrap()),
            ring_missed: missed,
            ring_expires: expires_s.map(|seconds| START.plus(Duration::from_secs(seconds))),
        }
    }

    /// The state ten seconds after the flows began, without the command.
    fn told(flows: &[AlertFlow]) -> String {
        match state(flows, "a1", START.plus(Duration::from_secs(10))) {
            EvidenceState::Available { until, command, why } => {
                assert!(command.contains("--extents 3.0:"), "{command}");
                let until = until.map(|until| until[17..19].to_owned());
                format!("until {} {}", until.unwrap_or_default(), why.unwrap_or_default())
            }
            EvidenceState::NotCaptured { why } => why,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn evidence_is_there_until_the_first_of_it_goes() {
        assert_eq!(told(&[flow("3.0:1", Some(30), 0), flow("3.0:2", Some(20), 0)]), "until 20 ");
        assert_eq!(told(&[flow("3.0:1", NEVER, 0)]), "until  ");
        assert_eq!(told(&[flow("3.0:1", Some(11), 0)]), "until 11 ");
        assert_eq!(told(&[flow("3.0:1", Some(10), 0)]), "Expired");
        assert_eq!(told(&[flow("3.0:1", Some(10), 0), flow("3.0:", NEVER, 2)]), "Expired");
    }

    #[test]
    fn what_is_missing_of_it_is_said() {
        let gone = flow("3.0:1", Some(5), 0);
        let left = flow("3.0:2", Some(40), 3);
        assert_eq!(
            told(&[gone, left, flow("", NEVER, 0)]),
            "until 40 packets of 2 of 3 flows are not there; 3 packets were not kept"
        );
    }

    #[test]
    fn what_was_never_kept_says_why() {
        assert_eq!(told(&[]), "the alert rests on no flow");
        assert!(told(&[flow("", NEVER, 0)]).starts_with("the records tell of no ring"));
        assert!(told(&[flow("3.0:", NEVER, 9)]).starts_with("the ring could not take"));
    }
}
