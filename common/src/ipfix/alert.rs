//! Alerts of signatures as IPFIX options records, whose scope is the flow they are about (RFC 7011 section 3.4.2.1).
//!
//! In: a [`SignatureAlert`], or an options record of any exporter. Out: the record, or the alert. An options record says
//! something about a flow without being one, so that collectors which do not know it count no flow and no packet. IPv4
//! addresses travel in their IPv6 form (RFC 4291 section 2.5.5.2), so that one template does for both. An alert of a frame
//! that holds no packet has 0 for its flow, and the unspecified address for an end that could not be read.

use super::decode::OptionsRecord;
use super::elements::{self as ie, Element};
use super::encode::{cut, write_evidence, write_variable};
use super::time::{from_ntp, to_ntp};
use crate::app::App;
use crate::evidence::Evidence;
use crate::net::{Address, CommunityId, Direction, FlowKey};
use crate::record::SignatureAlert;
use crate::time::Timestamp;

/// Most octets of the two texts, and whether blocks of the ring are named: tried one after the other until the record
/// fits into a message.
pub const SHORTENED: [(usize, bool); 4] = [(1024, true), (256, true), (64, true), (64, false)];

/// The fields; the first is the scope.
pub(super) const FIELDS: [Element; 22] = [
    ie::FLOW_ID,
    ie::OBSERVATION_TIME_NANOSECONDS,
    ie::FLOW_START_NANOSECONDS,
    ie::SOURCE_IPV6_ADDRESS,
    ie::DESTINATION_IPV6_ADDRESS,
    ie::SOURCE_TRANSPORT_PORT,
    ie::DESTINATION_TRANSPORT_PORT,
    ie::PROTOCOL_IDENTIFIER,
    ie::COMMUNITY_ID,
    ie::PACKET_DIRECTION,
    ie::ALERT_GENERATOR,
    ie::ALERT_SIGNATURE,
    ie::ALERT_REVISION,
    ie::ALERT_SEVERITY,
    ie::ALERT_TARGET,
    ie::APPLICATION_NAME,
    ie::ALERT_MESSAGE,
    ie::ALERT_CATEGORY,
    ie::RING_EXPIRY,
    ie::RING_FRAMES,
    ie::RING_MISSED_FRAMES,
    ie::RING_EXTENTS,
];

/// Appends an alert.
pub fn write_alert(alert: &SignatureAlert, (text_bytes_max, has_extents): (usize, bool), out: &mut Vec<u8>) {
    let key = &alert.key;
    out.extend_from_slice(&alert.flow_id.to_be_bytes());
    out.extend_from_slice(&to_ntp(alert.time).to_be_bytes());
    out.extend_from_slice(&to_ntp(alert.flow_start).to_be_bytes());
    out.extend_from_slice(&key.initiator.0);
    out.extend_from_slice(&key.responder.0);
    out.extend_from_slice(&key.initiator_port.to_be_bytes());
    out.extend_from_slice(&key.responder_port.to_be_bytes());
    out.push(key.protocol);
    write_variable(&alert.community_id.0, out);
    out.push(code(Some(alert.direction)));
    for number in [alert.generator, alert.signature, alert.revision] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&[alert.severity, code(alert.target)]);
    let app = if alert.app == App::Unknown { "" } else { alert.app.name() };
    write_variable(app.as_bytes(), out);
    write_variable(cut(&alert.message, text_bytes_max).as_bytes(), out);
    write_variable(cut(&alert.category, text_bytes_max).as_bytes(), out);
    match alert.evidence.as_deref().filter(|_| has_extents) {
        Some(evidence) => write_evidence(evidence, out),
        None => out.extend_from_slice(&[0; 17]),
    }
}

/// The alert that an options record tells; none: it tells something else.
pub fn read_alert(options: &OptionsRecord<'_>) -> Option<SignatureAlert> {
    let signature = options.number(ie::ALERT_SIGNATURE)? as u32;
    let number = |element| options.number(element).unwrap_or_default();
    let address = |element| options.value(element).and_then(|value| value.try_into().ok()).map(Address);
    let time = |element| options.number(element).map(from_ntp);
    let community_id =
        options.value(ie::COMMUNITY_ID).and_then(|value| value.try_into().ok()).map(CommunityId);
    let key = FlowKey {
        initiator: address(ie::SOURCE_IPV6_ADDRESS)?,
        responder: address(ie::DESTINATION_IPV6_ADDRESS)?,
        initiator_port: number(ie::SOURCE_TRANSPORT_PORT) as u16,
        responder_port: number(ie::DESTINATION_TRANSPORT_PORT) as u16,
        protocol: number(ie::PROTOCOL_IDENTIFIER) as u8,
    };
    let extents = options.text(ie::RING_EXTENTS).filter(|text| !text.is_empty());
    let expires = Timestamp(number(ie::RING_EXPIRY).saturating_mul(1_000_000));
    let evidence = extents.and_then(|extents| extents.parse().ok()).map(|extents| Evidence {
        extents,
        frames_kept: number(ie::RING_FRAMES),
        frames_missed: number(ie::RING_MISSED_FRAMES),
        expires: (expires > Timestamp::MIN).then_some(expires),
    });
    let time_of_alert = time(ie::OBSERVATION_TIME_NANOSECONDS)?;
    Some(SignatureAlert {
        time: time_of_alert,
        flow_start: time(ie::FLOW_START_NANOSECONDS).unwrap_or(time_of_alert),
        key,
        flow_id: number(ie::FLOW_ID),
        community_id: community_id.unwrap_or_else(|| CommunityId::of(&key, None, 0)),
        direction: end(number(ie::PACKET_DIRECTION)).unwrap_or(Direction::Forward),
        app: options.text(ie::APPLICATION_NAME).and_then(|name| App::from_name(&name)).unwrap_or_default(),
        generator: number(ie::ALERT_GENERATOR) as u32,
        signature,
        revision: number(ie::ALERT_REVISION) as u32,
        severity: number(ie::ALERT_SEVERITY) as u8,
        target: end(number(ie::ALERT_TARGET)),
        message: options.text(ie::ALERT_MESSAGE).unwrap_or_default(),
        category: options.text(ie::ALERT_CATEGORY).unwrap_or_default(),
        evidence: evidence.map(Box::new),
    })
}

/// Which end of the flow, as `weirPacketDirection` says it: the initiator's is 1, the responder's 2; 0 is none.
fn code(end: Option<Direction>) -> u8 {
    match end {
        None => 0,
        Some(Direction::Forward) => 1,
        Some(Direction::Reverse) => 2,
    }
}

fn end(code: u64) -> Option<Direction> {
    match code {
        1 => Some(Direction::Forward),
        2 => Some(Direction::Reverse),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipfix::OPTIONS_TEMPLATE_SET;
    use crate::ipfix::decode::{Decoder, Limits, Sink};
    use crate::ipfix::encode::MessageBuilder;
    use crate::ipfix::options::OptionsKind;
    use crate::ipfix::template::write_template;
    use crate::metadata::WEIR_PEN;
    use crate::record::FlowRecord;

    #[derive(Default)]
    struct Alerts(Vec<SignatureAlert>);

    impl Sink for Alerts {
        fn flow(&mut self, _: FlowRecord) {
            panic!("an alert is no flow");
        }

        fn options(&mut self, options: &OptionsRecord<'_>) {
            self.0.extend(read_alert(options));
        }
    }

    fn alert() -> SignatureAlert {
        let key = FlowKey {
            initiator: "192.0.2.1".parse().unwrap(),
            responder: "2001:db8::2".parse().unwrap(),
            initiator_port: 1000,
            responder_port: 443,
            protocol: 6,
        };
        let evidence = Evidence {
            extents: "~3.0:120-122,140".parse().unwrap(),
            frames_kept: 7,
            frames_missed: 2,
            expires: Some(Timestamp::from_parts(1_700_000_000, 0)),
        };
        SignatureAlert {
            time: Timestamp(1_600_000_000_123_456_789),
            flow_start: Timestamp(1_600_000_000_000_000_001),
            key,
            flow_id: 9,
            community_id: CommunityId::of(&key, None, 0),
            direction: Direction::Reverse,
            app: App::Tls,
            generator: 1,
            signature: 2_000_001,
            revision: 3,
            severity: 1,
            target: Some(Direction::Forward),
            message: "a \u{e9}".into(),
            category: "b".into(),
            evidence: Some(Box::new(evidence)),
        }
    }

    fn round(alert: &SignatureAlert, limits: (usize, bool)) -> Vec<SignatureAlert> {
        let kind = OptionsKind::Alert;
        let mut builder = MessageBuilder::new(5, usize::MAX);
        builder.push(OPTIONS_TEMPLATE_SET, |out| {
            write_template(kind.id(), Some(kind.scope_fields()), &kind.fields(), WEIR_PEN, out);
        });
        builder.push(kind.id(), |out| write_alert(alert, limits, out));
        let (mut read, mut decoder) = (Alerts::default(), Decoder::new(Limits::default(), WEIR_PEN));
        let summary = decoder.message(&builder.finish(Vec::new()), &mut read).unwrap();
        assert_eq!((summary.fault, summary.flows, summary.options), (None, 0, 1));
        read.0
    }

    #[test]
    fn an_alert_comes_back_as_it_went_and_is_no_flow() {
        assert_eq!(round(&alert(), SHORTENED[0]), [alert()]);
        let plain = SignatureAlert { evidence: None, target: None, app: App::Unknown, ..alert() };
        assert_eq!(round(&plain, SHORTENED[0]), [plain]);
    }

    #[test]
    fn what_does_not_fit_is_shortened_between_characters() {
        let short = round(&alert(), (3, false)).remove(0);
        assert_eq!((short.message.as_str(), short.evidence), ("a ", None));
    }

    #[test]
    fn other_options_records_are_no_alerts() {
        let values = [(ie::OBSERVATION_DOMAIN_ID.id, &[0, 0, 0, 1][..])];
        assert!(read_alert(&OptionsRecord { domain: 1, scope_fields: 1, values: &values }).is_none());
        let values = [(ie::ALERT_SIGNATURE.id, &[0, 0, 0, 1][..]), (ie::SOURCE_IPV6_ADDRESS.id, &[1, 2][..])];
        assert!(read_alert(&OptionsRecord { domain: 1, scope_fields: 1, values: &values }).is_none());
    }
}
