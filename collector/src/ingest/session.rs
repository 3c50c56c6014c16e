//! One exporter's messages into batches.
//!
//! In: whole IPFIX messages of one address, in the order they came. Out: [`Batch`]es. Keeps the templates,
//! the names and the counters of the address's observation domains. Knows no socket.

use super::config::IngestConfig;
use super::counters::{ExporterCounters, IngestCounters};
use super::{Batch, Exporter};
use crate::identity::Peer;
use std::collections::HashMap;
use std::sync::Arc;
use weir_common::ipfix::alert::read_alert;
use weir_common::ipfix::decode::{DOMAINS_MAX, Decoder, Limits, OptionsRecord, Sink};
use weir_common::ipfix::error::DecodeError;
use weir_common::record::{FlowRecord, SignatureAlert};
use weir_common::time::Timestamp;

/// The observation domain under which an address's domains past [`DOMAINS_MAX`] are counted.
const DOMAIN_OTHERS: u32 = u32::MAX;
/// Fields per template that the limit of fields is made from.
const FIELDS_PER_TEMPLATE: usize = 32;

/// The state of one TCP session, one UDP exporter or one file.
pub struct Session {
    address: String,
    decoder: Decoder,
    domains: HashMap<u32, Domain>,
    counters: Arc<IngestCounters>,
    pending: Pending,
    pending_domain: u32,
    /// Who it is, where a certificate proves it; what its records say of its name is not asked then.
    peer: Option<Peer>,
}

/// What waits for its batch.
#[derive(Default)]
struct Pending {
    records: Vec<FlowRecord>,
    alerts: Vec<SignatureAlert>,
}

impl Sink for Pending {
    fn flow(&mut self, record: FlowRecord) {
        self.records.push(record);
    }

    fn options(&mut self, options: &OptionsRecord<'_>) {
        self.alerts.extend(read_alert(options));
    }
}

struct Domain {
    exporter: Arc<Exporter>,
    counters: Arc<ExporterCounters>,
}

impl Session {
    /// A session that knows no template yet. `address` is how the exporter is shown.
    pub fn new(address: String, config: &IngestConfig, counters: Arc<IngestCounters>) -> Session {
        let templates_max = config.templates_max as usize;
        let limits = Limits { templates_max, fields_max: templates_max.saturating_mul(FIELDS_PER_TEMPLATE) };
        Session {
            address,
            decoder: Decoder::new(limits, config.enterprise_number),
            domains: HashMap::new(),
            counters,
            pending: Pending::default(),
            pending_domain: 0,
            peer: None,
        }
    }

    /// The same session, of whom a certificate says who it is.
    pub fn authenticated(self, peer: Peer) -> Session {
        Session { peer: Some(peer), ..self }
    }

    /// How the exporter is shown.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Notes what the exporter's clock showed when it sent a message that has just arrived.
    pub fn clock(&self, message: &[u8], now: Timestamp) {
        let known = self.domains.get(&self.domain_key(domain_of(message)));
        if let (Some(&[a, b, c, d]), Some(known)) = (message.get(4..8), known) {
            known.counters.clock(u32::from_be_bytes([a, b, c, d]), now);
        }
    }

    /// Decodes one message. Gives the batch that the message's domain closes, if it is another than the
    /// last message's. An error says that the message's frame is wrong; it is counted.
    pub fn message(&mut self, message: &[u8], now: Timestamp) -> Result<Option<Batch>, DecodeError> {
        let domain = domain_of(message);
        let closed = if domain == self.pending_domain { None } else { self.take() };
        self.pending_domain = domain;
        // Fields are borrowed apart from each other: the decoder fills `pending`.
        let outcome = self.decoder.message(message, &mut self.pending);
        self.know(domain);
        let Some(known) = self.domains.get_mut(&self.domain_key(domain)) else { return Ok(closed) };
        match outcome {
            Ok(summary) => {
                known.counters.message(&summary, now);
                if summary.options > 0
                    && self.peer.is_none()
                    && let Some(name) = self.decoder.name(domain)
                    && known.exporter.name != name
                {
                    known.counters.name(name);
                    known.exporter = Arc::new(Exporter { name: name.to_owned(), observation_domain: domain });
                }
                Ok(closed)
            }
            Err(error) => {
                known.counters.malformed(&error);
                Err(error)
            }
        }
    }

    /// Counts bytes that are no message, or a message that was cut off.
    pub fn malformed(&mut self, fault: &dyn std::fmt::Display) {
        self.know(self.pending_domain);
        if let Some(known) = self.domains.get(&self.domain_key(self.pending_domain)) {
            known.counters.malformed(fault);
        }
    }

    /// How many records and alerts wait.
    pub fn pending(&self) -> usize {
        self.pending.records.len() + self.pending.alerts.len()
    }

    /// The records that wait.
    pub fn take(&mut self) -> Option<Batch> {
        if self.pending() == 0 {
            return None;
        }
        let exporter = self.domains.get(&self.domain_key(self.pending_domain))?.exporter.clone();
        let Pending { records, alerts } = std::mem::take(&mut self.pending);
        Some(Batch { exporter, records, alerts })
    }

    fn domain_key(&self, domain: u32) -> u32 {
        if self.domains.contains_key(&domain) { domain } else { DOMAIN_OTHERS }
    }

    fn know(&mut self, domain: u32) {
        let key = if self.domains.len() < DOMAINS_MAX { domain } else { self.domain_key(domain) };
        if !self.domains.contains_key(&key) {
            let counters = self.counters.exporter(&self.address, key);
            let mut name = format!("{}/{key}", self.address);
            if let Some(peer) = &self.peer {
                counters.authenticated(peer);
                peer.name().clone_into(&mut name);
            }
            counters.name(&name);
            self.domains.insert(
                key,
                Domain { exporter: Arc::new(Exporter { name, observation_domain: key }), counters },
            );
        }
    }
}

/// The observation domain in a message's header; 0 when the header is cut.
fn domain_of(message: &[u8]) -> u32 {
    match message.get(12..16) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::testing::Exporting;
    use crate::ingest::testing::{NOON, record};
    use weir_common::enrolment::SensorName;
    use weir_common::net::Direction;

    fn session() -> (Session, Arc<IngestCounters>) {
        let counters = Arc::new(IngestCounters::default());
        (Session::new("192.0.2.1".into(), &IngestConfig::default(), counters.clone()), counters)
    }

    #[test]
    fn records_come_out_as_they_went_in_under_address_and_domain() {
        let (mut session, counters) = session();
        let mut exporting = Exporting::new(7);
        assert!(session.message(&exporting.templates(), NOON).unwrap().is_none());
        session.message(&exporting.records(&[record(1), record(2)]), NOON).unwrap();
        let batch = session.take().unwrap();
        assert_eq!(batch.exporter.name, "192.0.2.1/7");
        assert_eq!(batch.records, [record(1), record(2)]);
        assert!(session.take().is_none());
        let status = &counters.exporters()[0];
        assert_eq!((status.messages, status.records, status.missing), (2, 2, 0));
        assert_eq!(status.last_seen, NOON.to_string());
    }

    #[test]
    fn an_alert_comes_out_beside_records_and_is_none() {
        let (mut session, counters) = session();
        let mut exporting = Exporting::new(7);
        let flow = record(1);
        let alert = SignatureAlert {
            time: flow.end,
            flow_start: flow.start,
            key: flow.key,
            flow_id: flow.flow_id,
            community_id: flow.community_id,
            direction: Direction::Forward,
            app: flow.app,
            generator: 1,
            signature: 2_000_001,
            revision: 1,
            severity: 2,
            target: None,
            message: "m".into(),
            category: String::new(),
            evidence: None,
        };
        session.message(&exporting.alert(&alert), NOON).unwrap();
        assert_eq!(session.pending(), 1);
        let batch = session.take().unwrap();
        assert_eq!((batch.records.len(), batch.alerts), (0, vec![alert]));
        assert_eq!((counters.exporters()[0].records, counters.exporters()[0].malformed), (0, 0));
    }

    #[test]
    fn an_exporter_that_says_its_name_goes_by_it() {
        let (mut session, counters) = session();
        let mut exporting = Exporting::new(7);
        session.message(&exporting.templates(), NOON).unwrap();
        session.message(&exporting.name("edge-1"), NOON).unwrap();
        session.message(&exporting.records(&[record(1)]), NOON).unwrap();
        assert_eq!(session.take().unwrap().exporter.name, "edge-1");
        assert_eq!(counters.exporters()[0].name, "edge-1");
    }

    #[test]
    fn whoever_showed_a_certificate_goes_by_its_name_whatever_it_says() {
        let (session, counters) = session();
        let edge = SensorName::new("edge-1").unwrap();
        let mut session = session.authenticated(Peer::Sensor(edge));
        let mut exporting = Exporting::new(7);
        session.message(&exporting.templates(), NOON).unwrap();
        session.message(&exporting.name("edge-2"), NOON).unwrap();
        session.message(&exporting.records(&[record(1)]), NOON).unwrap();
        assert_eq!(session.take().unwrap().exporter.name, "edge-1");
        let status = &counters.exporters()[0];
        assert_eq!((status.name.as_str(), status.certificate.as_str()), ("edge-1", "sensor edge-1"));
    }

    #[test]
    fn another_domain_closes_the_batch_and_templates_are_its_own() {
        let (mut session, counters) = session();
        let (mut one, mut two) = (Exporting::new(1), Exporting::new(2));
        session.message(&one.templates(), NOON).unwrap();
        session.message(&one.records(&[record(1)]), NOON).unwrap();
        let closed = session.message(&two.records(&[record(2)]), NOON).unwrap().unwrap();
        assert_eq!((closed.exporter.observation_domain, closed.records.len()), (1, 1));
        assert!(session.take().is_none(), "the second domain has sent no template");
        assert_eq!(counters.exporters()[1].unknown_templates, 1);
    }

    #[test]
    fn lost_messages_show_as_missing_records() {
        let (mut session, counters) = session();
        let mut exporting = Exporting::new(1);
        session.message(&exporting.templates(), NOON).unwrap();
        session.message(&exporting.records(&[record(1)]), NOON).unwrap();
        exporting.records(&[record(2), record(3)]);
        session.message(&exporting.records(&[record(4)]), NOON).unwrap();
        assert_eq!(counters.exporters()[0].missing, 2);
    }

    #[test]
    fn every_prefix_of_a_message_is_counted_and_the_session_goes_on() {
        let (mut session, counters) = session();
        let mut exporting = Exporting::new(0);
        session.message(&exporting.templates(), NOON).unwrap();
        let message = exporting.records(&[record(1)]);
        for end in 0..message.len() {
            assert!(session.message(&message[..end], NOON).is_err(), "{end}");
        }
        session.message(&message, NOON).unwrap();
        assert_eq!(session.take().unwrap().records, [record(1)]);
        assert_eq!(counters.exporters()[0].malformed, message.len() as u64);
    }

    #[test]
    fn a_changed_byte_anywhere_is_an_outcome_and_not_a_panic() {
        let mut exporting = Exporting::new(1);
        let (templates, records) = (exporting.templates(), exporting.records(&[record(1), record(2)]));
        let whole: Vec<u8> = [templates.clone(), records.clone()].concat();
        for at in 0..whole.len() {
            let (mut session, _) = session();
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            let (first, second) = changed.split_at(templates.len());
            // What is told does not matter here; that it is told does.
            let _ = session.message(first, NOON);
            let _ = session.message(second, NOON);
            session.take();
        }
    }

    #[test]
    fn endless_domains_share_one_entry() {
        let (mut session, counters) = session();
        for domain in 0..DOMAINS_MAX as u32 + 50 {
            let mut exporting = Exporting::new(domain);
            session.message(&exporting.templates(), NOON).unwrap();
        }
        assert_eq!(session.domains.len(), DOMAINS_MAX + 1);
        assert_eq!(counters.exporters().len(), DOMAINS_MAX + 1);
    }
}
