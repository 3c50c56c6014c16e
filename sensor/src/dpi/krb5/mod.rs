//! Kerberos 5 between clients and key distribution centres (RFC 4120), over UDP and TCP.
//!
//! In: datagrams, or a stream of messages with four-byte lengths. Out: principals, realm, services, errors and
//! encryption types, and one event per request, reply and error in EVE's form. Keys, tickets' insides and
//! authenticators are not looked at.

pub(super) mod message;

use super::buffers::{Buffer, Number, Stage};
use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use message::{AP_REQ, AS_REQ, ERROR, Kind, Message, TGS_REQ};
use weir_common::app::App;
use weir_common::metadata::Field;

/// Most bytes of a message over TCP that is waited for: tickets with many groups take tens of thousands.
const MESSAGE_BYTES_MAX: usize = 128 << 10;
/// First bytes of the messages.
const TAGS: [u8; 10] = [0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x74, 0x75, 0x76, 0x7e];

/// State of a Kerberos flow.
#[derive(Debug)]
pub(super) struct Krb5 {
    /// The kind of request that waits for its answer.
    asked: Option<u8>,
    transactions: u64,
    is_lost: [bool; 2],
}

impl Dissector for Krb5 {
    const APP: App = App::Krb5;

    const STARTS: Starts = Starts::stream(&[0]).or(Starts::datagram(&TAGS));

    fn probe(first: &First<'_>) -> Probe {
        if first.is_datagram() {
            return match message::kind(first.bytes) {
                Kind::Of(..) => Probe::Certain,
                _ => Probe::NotForUs,
            };
        }
        let Some((length, message)) = first.bytes.split_first_chunk() else {
            return if first.bytes.iter().all(|byte| *byte == 0) { Probe::Unsure } else { Probe::NotForUs };
        };
        let length = u32::from_be_bytes(*length) as usize;
        if !(16..=MESSAGE_BYTES_MAX).contains(&length) {
            return Probe::NotForUs;
        }
        match message::kind(message) {
            Kind::Of(_, whole) if whole == length => Probe::Certain,
            Kind::Cut => Probe::Unsure,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Krb5 { asked: None, transactions: 0, is_lost: [false; 2] }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            self.message(bytes, context);
            return Progress::Used(bytes.len());
        }
        let index = context.direction.index();
        if self.is_lost[index] {
            let first = First::of(Carrier::Stream, context.direction, bytes);
            if Krb5::probe(&first) != Probe::Certain {
                return Progress::Used(bytes.len());
            }
            self.is_lost[index] = false;
        }
        let mut rest = bytes;
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > MESSAGE_BYTES_MAX {
                context.anomaly("malformed_data", None);
                self.is_lost[index] = true;
                return Progress::Used(bytes.len());
            }
            let Some((message, after)) = after.split_at_checked(length) else { break };
            self.message(message, context);
            rest = after;
        }
        Progress::Used(bytes.len() - rest.len())
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

impl Krb5 {
    fn message(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let Some(message) = message::parse(bytes) else {
            context.anomaly("malformed_data", None);
            return;
        };
        learn(&message, context);
        let asked = match message.kind {
            AS_REQ | TGS_REQ | AP_REQ => self.asked.replace(message.kind),
            _ => self.asked.take(),
        };
        if !matches!(message.kind, AS_REQ..=13 | ERROR) {
            return;
        }
        let transaction = self.transactions;
        self.transactions += 1;
        put(&message, transaction, context);
        context.tell(context.direction, Some(transaction), |object| {
            object.text("msg_type", message::kind_name(message.kind));
            if let Some(error) = message.error {
                object.text("failed_request", asked.map_or("UNKNOWN", message::kind_name));
                object.text("error_code", &message::error_name(error));
            }
            let name = |name: &Option<message::Principal>| {
                name.as_ref().map_or_else(|| "<empty>".to_string(), message::Principal::text)
            };
            object.text("cname", &name(&message.client));
            object.text("realm", message.realm.as_deref().unwrap_or("<empty>"));
            object.text("sname", &name(&message.service));
            let encryption = message.encryption.map(message::encryption_name);
            object.text("encryption", encryption.as_ref().map_or("<none>", |(name, _)| name));
            object.bool("weak_encryption", encryption.is_some_and(|(_, is_weak)| is_weak));
            if let Some((name, is_weak)) = message.ticket_encryption.map(message::encryption_name) {
                object.text("ticket_encryption", &name).bool("ticket_weak_encryption", is_weak);
            }
        });
    }
}

/// Tells signatures a message. As in Suricata, names are told of answers only.
fn put(message: &Message, transaction: u64, context: &mut Context<'_>) {
    if context.wanted.is_none() {
        return;
    }
    let direction = context.direction;
    let mut number = |number, value: i64| context.put_number(direction, transaction, number, value as u64);
    number(Number::Krb5MsgType, i64::from(message.kind));
    if let Some(error) = message.error {
        number(Number::Krb5ErrCode, error);
    }
    if let Some(kind) = message.ticket_encryption {
        number(Number::Krb5TicketEncryption, kind);
    }
    if !matches!(message.kind, AS_REQ | TGS_REQ) {
        for (buffer, name) in [(Buffer::Krb5Cname, &message.client), (Buffer::Krb5Sname, &message.service)] {
            for part in
                name.iter().flat_map(|message::Principal(parts)| parts).filter(|part| !part.is_empty())
            {
                context.put(direction, transaction, buffer, part.as_bytes());
            }
        }
    }
    if message.encryption.is_some_and(|kind| message::encryption_name(kind).1) {
        context.note("weak_encryption", Some(transaction));
    }
    context.reached(direction, transaction, Stage::Body);
}

fn learn(message: &Message, context: &mut Context<'_>) {
    let metadata = &mut *context.metadata;
    metadata.add(Field::Command, message::kind_name(message.kind));
    if let Some(client) = &message.client {
        metadata.add(Field::User, &client.text());
    }
    if let Some(realm) = &message.realm {
        metadata.set_text(Field::Domain, realm);
    }
    if let Some(service) = &message.service {
        metadata.add(Field::Object, &service.text());
    }
    if let Some(error) = message.error {
        metadata.add(Field::Status, &message::error_name(error));
    }
    if let Some(host) = &message.host {
        metadata.add(Field::EndpointName, host);
    }
    if let Some(encryption) = message.ticket_encryption {
        metadata.add(Field::Krb5Encryption, &message::encryption_name(encryption).0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};
    use weir_common::net::Direction;

    fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = content.len();
        let head = if length < 128 {
            vec![tag, length as u8]
        } else {
            vec![tag, 0x82, (length >> 8) as u8, length as u8]
        };
        [&head[..], &content].concat()
    }

    fn number(value: u8) -> Vec<u8> {
        vec![2, 1, value]
    }

    fn principal(parts: &[&str]) -> Vec<u8> {
        let texts: Vec<u8> = parts.iter().flat_map(|part| tagged(0x1b, &[part.as_bytes()])).collect();
        tagged(0x30, &[&tagged(0xa0, &[&number(1)]), &tagged(0xa1, &[&tagged(0x30, &[&texts])])])
    }

    fn as_req() -> Vec<u8> {
        let body = tagged(
            0x30,
            &[
                &tagged(0xa0, &[&[3, 5, 0, 0, 0, 0, 0]]),
                &tagged(0xa1, &[&principal(&["test"])]),
                &tagged(0xa2, &[&tagged(0x1b, &[b"D.LOCAL"])]),
                &tagged(0xa3, &[&principal(&["krbtgt", "D.LOCAL"])]),
            ],
        );
        let fields = [tagged(0xa1, &[&number(5)]), tagged(0xa2, &[&number(10)]), tagged(0xa4, &[&body])];
        tagged(0x6a, &[&tagged(0x30, &[&fields.concat()])])
    }

    fn as_rep() -> Vec<u8> {
        let sealed = |kind| tagged(0x30, &[&tagged(0xa0, &[&number(kind)]), &tagged(0xa2, &[&[4, 2, 9, 9]])]);
        let realm = tagged(0x1b, &[b"D.LOCAL"]);
        let ticket = tagged(
            0x30,
            &[
                &tagged(0xa0, &[&number(5)]),
                &tagged(0xa1, &[&realm]),
                &tagged(0xa2, &[&principal(&["krbtgt", "D.LOCAL"])]),
                &tagged(0xa3, &[&sealed(18)]),
            ],
        );
        let fields = [
            tagged(0xa0, &[&number(5)]),
            tagged(0xa1, &[&number(11)]),
            tagged(0xa3, &[&realm]),
            tagged(0xa4, &[&principal(&["test"])]),
            tagged(0xa5, &[&tagged(0x61, &[&ticket])]),
            tagged(0xa6, &[&sealed(23)]),
        ];
        tagged(0x6b, &[&tagged(0x30, &[&fields.concat()])])
    }

    fn error() -> Vec<u8> {
        let fields = [
            tagged(0xa0, &[&number(5)]),
            tagged(0xa1, &[&number(30)]),
            tagged(0xa6, &[&number(25)]),
            tagged(0xaa, &[&principal(&["krbtgt", "D.LOCAL"])]),
        ];
        tagged(0x7e, &[&tagged(0x30, &[&fields.concat()])])
    }

    #[test]
    fn a_request_an_error_and_a_reply_are_told() {
        let trial = Trial::<Krb5>::new().over_datagrams().client(&as_req()).server(&error());
        let trial = trial.client(&as_req()).server(&as_rep()).close();
        assert_eq!(
            trial.learned(),
            "user test\ndomain D.LOCAL\ncommand KRB_AS_REQ KRB_ERROR KRB_AS_REP\nobject krbtgt/D.LOCAL\nstatus KDC_ERR_PREAUTH_REQUIRED\nkrb5_encryption aes256-cts-hmac-sha1-96\n\
            krb5 {\"msg_type\":\"KRB_AS_REQ\",\"cname\":\"test\",\"realm\":\"D.LOCAL\",\"sname\":\"krbtgt/D.LOCAL\",\"encryption\":\"<none>\",\"weak_encryption\":false}\n\
            krb5 {\"msg_type\":\"KRB_ERROR\",\"failed_request\":\"KRB_AS_REQ\",\"error_code\":\"KDC_ERR_PREAUTH_REQUIRED\",\"cname\":\"<empty>\",\"realm\":\"<empty>\",\"sname\":\"krbtgt/D.LOCAL\",\"encryption\":\"<none>\",\"weak_encryption\":false}\n\
            krb5 {\"msg_type\":\"KRB_AS_REQ\",\"cname\":\"test\",\"realm\":\"D.LOCAL\",\"sname\":\"krbtgt/D.LOCAL\",\"encryption\":\"<none>\",\"weak_encryption\":false}\n\
            krb5 {\"msg_type\":\"KRB_AS_REP\",\"cname\":\"test\",\"realm\":\"D.LOCAL\",\"sname\":\"krbtgt/D.LOCAL\",\"encryption\":\"rc4-hmac\",\"weak_encryption\":true,\"ticket_encryption\":\"aes256-cts-hmac-sha1-96\",\"ticket_weak_encryption\":false}\n"
        );
    }

    #[test]
    fn signatures_are_told_each_message() {
        let trial = Trial::<Krb5>::new().over_datagrams().client(&as_req()).server(&error());
        let mut trial = trial.client(&as_req()).server(&as_rep());
        assert_eq!(
            trial.told(),
            "client 0 Krb5MsgType 10\n\
            server 1 krb5.sname krbtgt\nserver 1 krb5.sname D.LOCAL\nserver 1 Krb5MsgType 30\nserver 1 Krb5ErrCode 25\n\
            client 2 Krb5MsgType 10\n\
            server 3 krb5.cname test\nserver 3 krb5.sname krbtgt\nserver 3 krb5.sname D.LOCAL\n\
            server 3 Krb5MsgType 11\nserver 3 Krb5TicketEncryption 18\n"
        );
    }

    #[test]
    fn streams_and_damage_are_borne() {
        let framed = |message: Vec<u8>| [&(message.len() as u32).to_be_bytes()[..], &message].concat();
        let (client, server) = (framed(as_req()), framed(as_rep()));
        cuts_do_not_matter::<Krb5>(&client, &server);
        survives_damage::<Krb5>(&client, &server);
        let (request, reply, error) = (as_req(), as_rep(), error());
        survives_damaged_datagrams::<Krb5>(&[
            (Direction::Forward, &request),
            (Direction::Reverse, &error),
            (Direction::Reverse, &reply),
        ]);
    }

    #[test]
    fn tag_version_and_kind_have_to_agree() {
        let probe = |bytes: &[u8]| Krb5::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        assert_eq!([probe(&as_req()), probe(&as_rep()), probe(&error())], [Probe::Certain; 3]);
        let mut other = as_req();
        other[0] = 0x6c;
        assert_eq!(probe(&other), Probe::NotForUs);
        assert_eq!(probe(&[0x6a, 0]), Probe::NotForUs);
    }
}
