//! Alerts of sensors' signatures as findings.
//!
//! In: an alert, which looked into packets that the collector never sees, and its flow. Out: a finding `signature`, whose
//! subject is the rule's number, so that what one rule finds of one actor folds into one alert, and whose flow leads to
//! the packets. The actor is the other end than the one that the rule calls the target, else the one that sent what
//! matched. What the owner declared legitimate is told all the same: a rule that is not wanted is left out at the
//! sensor, where it costs.

use crate::detect::Finding;
use crate::enrich::Enriched;
use weir_common::alert::Severity;
use weir_common::net::Direction;
use weir_common::record::SignatureAlert;

/// How likely a match is to be what its rule says.
const CONFIDENCE: f64 = 0.7;

/// The finding of an alert. `flow` is [`SignatureAlert::flow`], enriched.
pub fn finding(alert: &SignatureAlert, flow: &Enriched<'_>) -> Finding {
    let severity = match alert.severity {
        0 | 1 => Severity::High,
        2 => Severity::Medium,
        _ => Severity::Low,
    };
    let number = match alert.generator {
        1 => alert.signature.to_string(),
        generator => format!("{generator}:{}", alert.signature),
    };
    let class = if alert.category.is_empty() { "no class" } else { &alert.category };
    let reason = format!("{} (rule {number}, revision {}, {class})", alert.message, alert.revision);
    let mut finding = Finding::about(flow, "signature", severity, CONFIDENCE).because(reason).subject(number);
    let actor = alert.target.map_or(alert.direction, Direction::flip);
    if actor == Direction::Reverse {
        std::mem::swap(&mut finding.actor, &mut finding.target);
    }
    finding.time = alert.time;
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{exporter, line};
    use weir_common::evidence::Evidence;
    use weir_common::testing::RecordBuilder;
    use weir_common::time::Timestamp;

    fn found(target: Option<Direction>, direction: Direction, generator: u32) -> Finding {
        let record = RecordBuilder::tcp("10.0.0.5:40000", "192.0.2.6:80").build();
        let alert = SignatureAlert {
            time: record.end,
            flow_start: record.start,
            key: record.key,
            flow_id: 1,
            community_id: record.community_id,
            direction,
            app: record.app,
            generator,
            signature: 2_000_001,
            revision: 3,
            severity: 1,
            target,
            message: "A trojan speaks".into(),
            category: "A Network Trojan was detected".into(),
            evidence: Some(Box::new(Evidence { expires: Some(Timestamp(7)), ..Evidence::default() })),
        };
        let (flow, exporter) = (alert.flow(), exporter());
        let flow = Enriched {
            record: &flow,
            exporter: &exporter,
            initiator: None,
            responder: None,
            legitimate: None,
        };
        let finding = finding(&alert, &flow);
        assert_eq!((finding.flow.community_id, finding.flow.start), (record.community_id, record.start));
        assert_eq!(finding.flow.evidence, alert.evidence);
        finding
    }

    #[test]
    fn an_alert_accuses_who_sent_what_matched_unless_the_rule_names_a_target() {
        let finding = found(None, Direction::Forward, 1);
        assert_eq!(
            line(&finding),
            "signature 10.0.0.5 -> 192.0.2.6 high 0.70: A trojan speaks (rule 2000001, revision 3, A Network Trojan \
             was detected)"
        );
        assert_eq!(finding.subject, "2000001");
        let sent_back = found(None, Direction::Reverse, 1);
        assert_eq!(sent_back.actor, "192.0.2.6".parse().ok());
        let client_is_target = found(Some(Direction::Forward), Direction::Forward, 1);
        assert_eq!(client_is_target.actor, "192.0.2.6".parse().ok());
        assert_eq!(client_is_target.target, "10.0.0.5".parse().ok());
    }

    #[test]
    fn numbers_of_another_generator_say_so() {
        assert_eq!(found(None, Direction::Forward, 3).subject, "3:2000001");
    }
}
