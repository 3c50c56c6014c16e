//! One exporter's messages into batches.
//!
//! In: whole IPFIX messages of one address, in the order they came. Out: [`Batch`]es. Keeps the templates,
//! the names and the counters of the address's observation domains. Knows no socket.
//!
//! A session that [delivers](Session::delivering) minds the places that messages of a spool begin with: records that came
//! before are counted and left out, the others carry their numbers with them. Over UDP and in files a place is only an
//! options record: there is nobody who would send again.

use super::config::IngestConfig;
use super::counters::{ExporterCounters, IngestCounters, add};
use super::delivery::{BatchPlaces, Claim, Deliveries, SpoolId};
use super::{Batch, Exporter};
use crate::identity::Peer;
use std::collections::HashMap;
use std::sync::Arc;
use weir_common::delivery::Ranges;
use weir_common::ipfix::MESSAGE_HEADER_BYTES;
use weir_common::ipfix::alert::read_alert;
use weir_common::ipfix::decode::{DOMAINS_MAX, Decoder, Limits, OptionsRecord, Sink};
use weir_common::ipfix::error::DecodeError;
use weir_common::ipfix::options::{OptionsKind, Place};
use weir_common::record::{FlowRecord, SignatureAlert};
use weir_common::time::Timestamp;

/// The observation domain under which an address's domains past [`DOMAINS_MAX`] are counted.
const DOMAIN_OTHERS: u32 = u32::MAX;
/// What the name of a sensor that has proven none ends in where spools are told apart: no enrolled one's can.
const UNPROVEN: &str = " (unproven)";
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
    /// The spool of the last message that had a place.
    spool: Option<SpoolId>,
}

/// What waits for its batch.
#[derive(Default)]
struct Pending {
    records: Vec<FlowRecord>,
    alerts: Vec<SignatureAlert>,
    places: Option<Places>,
}

/// Where what waits stands in its spool.
struct Places {
    deliveries: Arc<Deliveries>,
    /// The sensor of the message under way.
    sensor: Arc<str>,
    /// Whose numbers the pending records have.
    spool: Option<SpoolId>,
    numbers: Vec<Option<u64>>,
    others: Ranges,
    message: MessagePlace,
    replays: u64,
    gaps: u64,
}

/// What is known of the place of the message under way.
#[derive(Default)]
enum MessagePlace {
    /// It has none so far.
    #[default]
    None,
    /// It has one, and this is the next record's number.
    At { claim: Claim, next: u64 },
    /// Its records are left out: it was refused, or is of another spool than what waits.
    LeftOut,
}

/// What is to be done with a record.
enum Number {
    /// It has none.
    Without,
    New(u64),
    LeftOut,
}

impl Places {
    fn take_place(&mut self, place: &Place, is_empty: bool) {
        // A place after the first one, or after records, is not one that a spool writes.
        if !matches!(self.message, MessagePlace::None) {
            return;
        }
        let spool = SpoolId { sensor: self.sensor.clone(), epoch: place.first.epoch };
        let is_same = self.spool.as_ref().is_none_or(|waiting| *waiting == spool) || is_empty;
        let claim = if is_same { self.deliveries.claim(&spool, place) } else { None };
        self.message = match claim {
            Some(claim) => {
                self.spool = Some(spool);
                MessagePlace::At { next: claim.range.start, claim }
            }
            None => MessagePlace::LeftOut,
        };
    }

    fn next(&mut self) -> Number {
        match &mut self.message {
            MessagePlace::None => Number::Without,
            MessagePlace::LeftOut => Number::LeftOut,
            MessagePlace::At { claim, next } if *next < claim.range.end => {
                let number = *next;
                *next += 1;
                if claim.missing.iter().any(|range| range.contains(&number)) {
                    return Number::New(number);
                }
                self.replays += 1;
                Number::LeftOut
            }
            MessagePlace::At { .. } => Number::Without,
        }
    }

    /// The message is over: numbers that no record took will not come.
    fn end_message(&mut self) {
        let MessagePlace::At { claim, next } = std::mem::take(&mut self.message) else { return };
        for missing in claim.missing {
            let rest = missing.start.max(next)..missing.end;
            if rest.start < rest.end {
                // A collector that has never heard of the spool has not missed what was before.
                self.gaps += if claim.is_known { rest.end - rest.start } else { 0 };
                self.others.insert(rest);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.others.is_empty()
    }

    fn take(&mut self) -> Option<Box<BatchPlaces>> {
        let records = std::mem::take(&mut self.numbers);
        let others = std::mem::take(&mut self.others);
        let spool = self.spool.take()?;
        Some(Box::new(BatchPlaces { spool, records, others, others_failed: false }))
    }
}

impl Sink for Pending {
    fn flow(&mut self, record: FlowRecord) {
        let number = match self.places.as_mut().map_or(Number::Without, Places::next) {
            Number::Without => None,
            Number::New(number) => Some(number),
            Number::LeftOut => return,
        };
        if let Some(places) = &mut self.places {
            places.numbers.push(number);
        }
        self.records.push(record);
    }

    fn options(&mut self, options: &OptionsRecord<'_>) {
        let Some(places) = &mut self.places else {
            self.alerts.extend(read_alert(options));
            return;
        };
        if let Some(place) = Place::read(options) {
            let is_empty = self.records.is_empty() && self.alerts.is_empty() && places.is_empty();
            places.take_place(&place, is_empty);
            return;
        }
        match places.next() {
            Number::Without => {}
            Number::New(number) => drop(places.others.insert(number..number + 1)),
            Number::LeftOut => return,
        }
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
            spool: None,
        }
    }

    /// Learns templates that an earlier session of the exporter had.
    pub(super) fn learn(&mut self, message: &[u8]) {
        self.decoder.learn_from(message);
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

    /// The same, minding the places of records in the sensor's spool. Whose spool it is a certificate says, or else its
    /// records.
    pub fn delivering(mut self) -> Session {
        self.pending.places = Some(Places {
            deliveries: self.counters.deliveries.clone(),
            sensor: Arc::from(""),
            spool: None,
            numbers: Vec::new(),
            others: Ranges::new(),
            message: MessagePlace::None,
            replays: 0,
            gaps: 0,
        });
        self
    }

    /// Whether the session should end, so that its sensor sends again what could not be stored. Says so once.
    pub fn is_to_resend(&mut self) -> bool {
        let resend = self.spool.as_ref().is_some_and(|spool| self.counters.deliveries.is_to_resend(spool));
        if resend {
            add(&self.counters.deliveries.counters.sessions_closed, 1u64);
        }
        resend
    }

    /// Decodes one message. Gives the batch that the message's domain closes, if it is another than the
    /// last message's. An error says that the message's frame is wrong; it is counted.
    pub fn message(&mut self, message: &[u8], now: Timestamp) -> Result<Option<Batch>, DecodeError> {
        let domain = domain_of(message);
        self.know(domain);
        // Numbers of two spools do not meet in one batch; which spool a message is of is known once it is read.
        let closed =
            if domain != self.pending_domain || self.changes_spool(message) { self.take() } else { None };
        self.pending_domain = domain;
        self.name_sensor(domain);
        // Fields are borrowed apart from each other: the decoder fills `pending`.
        let outcome = self.decoder.message(message, &mut self.pending);
        self.end_message(domain);
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

    /// Whether a message begins with a place of another spool than what waits.
    fn changes_spool(&self, message: &[u8]) -> bool {
        let waiting = self.pending.places.as_ref().and_then(|places| places.spool.as_ref());
        // By the identifier that Weir's sensors use. One that uses another has its message left out, and keeps it.
        let set = message.get(MESSAGE_HEADER_BYTES..).and_then(|rest| rest.first_chunk());
        let is_place = set == Some(&OptionsKind::Place.id().to_be_bytes());
        let epoch = message.get(Place::OFFSET + 4..).filter(|_| is_place).and_then(|rest| rest.first_chunk());
        waiting.zip(epoch).is_some_and(|(waiting, epoch)| waiting.epoch != u64::from_be_bytes(*epoch))
    }

    fn name_sensor(&mut self, domain: u32) {
        let key = self.domain_key(domain);
        let (Some(places), Some(known)) = (&mut self.pending.places, self.domains.get(&key)) else { return };
        match &self.peer {
            Some(peer) if *places.sensor != *peer.name() => places.sensor = peer.name().into(),
            // Who has no certificate may say any name: it must not speak for the sensor that has one.
            None if places.sensor.strip_suffix(UNPROVEN) != Some(&*known.exporter.name) => {
                places.sensor = format!("{}{UNPROVEN}", known.exporter.name).into();
            }
            _ => {}
        }
    }

    fn end_message(&mut self, domain: u32) {
        let key = self.domain_key(domain);
        let (Some(places), Some(known)) = (&mut self.pending.places, self.domains.get(&key)) else { return };
        places.end_message();
        if places.spool.is_some() && places.spool != self.spool {
            self.spool.clone_from(&places.spool);
        }
        for (counter, number) in [
            (&known.counters.replays, std::mem::take(&mut places.replays)),
            (&known.counters.gaps, std::mem::take(&mut places.gaps)),
        ] {
            if number > 0 {
                add(counter, number);
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
        let has_numbers = self.pending.places.as_ref().is_some_and(|places| !places.is_empty());
        if self.pending() == 0 && !has_numbers {
            return None;
        }
        let exporter = self.domains.get(&self.domain_key(self.pending_domain))?.exporter.clone();
        let records = std::mem::take(&mut self.pending.records);
        let alerts = std::mem::take(&mut self.pending.alerts);
        let places = self.pending.places.as_mut().and_then(Places::take);
        Some(Batch { exporter, records, alerts, places })
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
    #![allow(clippy::single_range_in_vec_init, reason = "a list of ranges that happens to have one")]

    use super::*;
    use crate::ingest::testing::Exporting;
    use crate::ingest::testing::{NOON, record};
    use weir_common::delivery::Position;
    use weir_common::enrolment::SensorName;
    use weir_common::net::Direction;

    fn edge_1() -> Peer {
        Peer::Sensor(SensorName::new("edge-1").unwrap())
    }

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
        let mut session = session.authenticated(edge_1());
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

    fn place(epoch: u64, sequence: u64, count: u64) -> Place {
        Place { first: Position { epoch, sequence }, count }
    }

    /// A session that delivers, with its templates.
    fn delivering() -> (Session, Arc<IngestCounters>, Exporting) {
        let (session, counters) = session();
        let (mut session, mut exporting) = (session.delivering(), Exporting::new(7));
        for message in [exporting.templates(), exporting.name("edge-1"), exporting.place_template()] {
            session.message(&message, NOON).unwrap();
        }
        (session, counters, exporting)
    }

    fn numbers(batch: &Batch) -> (Vec<Option<u64>>, Vec<std::ops::Range<u64>>) {
        let places = batch.places.as_ref().unwrap();
        (places.records.clone(), places.others.iter().collect())
    }

    #[test]
    fn a_record_that_comes_again_is_counted_and_left_out_in_any_session() {
        let (mut session, counters, mut exporting) = delivering();
        session.message(&exporting.placed(place(9, 0, 2), &[record(1), record(2)]), NOON).unwrap();
        let batch = session.take().unwrap();
        assert_eq!(numbers(&batch), (vec![Some(0), Some(1)], vec![]));
        assert_eq!(*batch.places.unwrap().spool.sensor, *"edge-1 (unproven)");
        let again = Session::new("192.0.2.1".into(), &IngestConfig::default(), counters.clone());
        let (mut again, mut exporting) = (again.delivering(), Exporting::new(7));
        for message in [exporting.templates(), exporting.name("edge-1"), exporting.place_template()] {
            again.message(&message, NOON).unwrap();
        }
        again.message(&exporting.placed(place(9, 0, 2), &[record(1), record(2)]), NOON).unwrap();
        assert!(again.take().is_none());
        again.message(&exporting.placed(place(9, 1, 2), &[record(2), record(3)]), NOON).unwrap();
        let batch = again.take().unwrap();
        assert_eq!((numbers(&batch).0, batch.records), (vec![Some(2)], vec![record(3)]));
        let replays: u64 = counters.exporters().iter().map(|exporter| exporter.replays).sum();
        assert_eq!(replays, 3);
    }

    #[test]
    fn who_has_no_certificate_does_not_speak_for_the_sensor_that_has_one() {
        let (mut liar, counters, mut exporting) = delivering();
        liar.message(&exporting.placed(place(9, 0, 2), &[record(7), record(8)]), NOON).unwrap();
        assert_eq!(liar.take().unwrap().records.len(), 2);
        let edge = Session::new("192.0.2.2".into(), &IngestConfig::default(), counters.clone());
        let (mut edge, mut exporting) = (edge.authenticated(edge_1()).delivering(), Exporting::new(7));
        for message in [exporting.templates(), exporting.name("edge-1"), exporting.place_template()] {
            edge.message(&message, NOON).unwrap();
        }
        edge.message(&exporting.placed(place(9, 0, 2), &[record(1), record(2)]), NOON).unwrap();
        let batch = edge.take().unwrap();
        assert_eq!(numbers(&batch).0, [Some(0), Some(1)]);
        assert_eq!(batch.records, [record(1), record(2)]);
    }

    #[test]
    fn numbers_that_will_not_come_are_counted_only_of_a_spool_that_is_known() {
        let (mut session, counters, mut exporting) = delivering();
        session.message(&exporting.placed(place(9, 0, 50), &[]), NOON).unwrap();
        session.message(&exporting.placed(place(9, 50, 1), &[record(1)]), NOON).unwrap();
        assert_eq!(numbers(&session.take().unwrap()), (vec![Some(50)], vec![0..50]));
        assert_eq!(counters.exporters()[0].gaps, 0);
        session.message(&exporting.placed(place(9, 40, 20), &[]), NOON).unwrap();
        assert_eq!(numbers(&session.take().unwrap()), (vec![], vec![51..60]));
        session.message(&exporting.placed(place(9, 60, 3), &[record(2)]), NOON).unwrap();
        assert_eq!(numbers(&session.take().unwrap()), (vec![Some(60)], vec![61..63]));
        assert_eq!(counters.exporters()[0].gaps, 9 + 2);
    }

    #[test]
    fn records_without_a_number_are_taken_as_they_come() {
        let (mut session, _, mut exporting) = delivering();
        session.message(&exporting.placed(place(9, 5, 1), &[record(1), record(2)]), NOON).unwrap();
        session.message(&exporting.records(&[record(3)]), NOON).unwrap();
        let batch = session.take().unwrap();
        assert_eq!(numbers(&batch).0, [Some(5), None, None]);
        assert_eq!(batch.records.len(), 3);
    }

    #[test]
    fn numbers_of_two_spools_do_not_meet_in_one_batch() {
        let (mut session, _, mut exporting) = delivering();
        session.message(&exporting.placed(place(8, 5, 1), &[record(1)]), NOON).unwrap();
        let closed = session.message(&exporting.placed(place(9, 5, 1), &[record(2)]), NOON).unwrap().unwrap();
        assert_eq!(closed.places.unwrap().spool.epoch, 8);
        let batch = session.take().unwrap();
        assert_eq!((batch.places.unwrap().spool.epoch, batch.records), (9, vec![record(2)]));
    }

    #[test]
    fn where_nobody_would_send_again_a_place_is_only_an_options_record() {
        let (mut session, counters) = session();
        let mut exporting = Exporting::new(7);
        session.message(&exporting.templates(), NOON).unwrap();
        session.message(&exporting.place_template(), NOON).unwrap();
        for _ in 0..2 {
            session.message(&exporting.placed(place(9, 0, 1), &[record(1)]), NOON).unwrap();
        }
        let batch = session.take().unwrap();
        assert_eq!((batch.records.len(), batch.places.is_none()), (2, true));
        assert_eq!(counters.deliveries.status(), (0, 0));
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
