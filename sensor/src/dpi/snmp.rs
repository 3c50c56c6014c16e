//! Simple Network Management Protocol, versions 1, 2c and 3 (RFC 1157, RFC 3416, RFC 3412, RFC 3414).
//!
//! In: datagrams, and streams in which one message follows another (RFC 3430). Out: version, kind of PDU, the
//! variables named, the user of version 3, and one event per message in EVE's form. Values of variables are not read; what version 3 encrypts cannot be.

use super::buffers::{Buffer, Number, Stage};
use super::der::{self, Header, INTEGER, OCTETS, OID, SEQUENCE};
use super::wire::hex;
use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use std::net::Ipv4Addr;
use weir_common::app::App;
use weir_common::metadata::Field;

/// Most variables read of one message.
const VARIABLES_MAX: usize = 64;
/// Most bytes of a message of a stream that are waited for; a longer one passes unread and is counted as malformed.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
const TRAP_V1: u8 = 0xa4;
/// The User-based Security Model (RFC 3414).
const USM: i64 = 3;
/// Whose port it never has.
const DNS_PORT: u16 = 53;

/// State of an SNMP flow.
#[derive(Debug)]
pub(super) struct Snmp {
    messages: u64,
    /// That of the first message.
    version: Option<u8>,
}

/// A message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message<'a> {
    /// 1, 2 or 3.
    version: u8,
    community: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    engine: &'a [u8],
    is_encrypted: bool,
    /// Its security model is none that is read here.
    is_unknown_model: bool,
    pdu: Option<Pdu<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Pdu<'a> {
    tag: u8,
    error: i64,
    trap: Option<Trap<'a>>,
    variables: &'a [u8],
}

/// What version 1 says of a trap.
#[derive(Debug, PartialEq, Eq)]
struct Trap<'a> {
    kind: i64,
    enterprise: &'a [u8],
    address: Option<[u8; 4]>,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` when these bytes are not one from their first to their last.
    fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        let mut rest = bytes;
        let mut fields = der::next_of(&mut rest, SEQUENCE).filter(|_| rest.is_empty())?;
        let version = der::number(der::next_of(&mut fields, INTEGER)?)?;
        match version {
            0 | 1 => {
                let community = Some(der::next_of(&mut fields, OCTETS)?);
                let pdu = Pdu::parse(&mut fields).filter(|_| fields.is_empty())?;
                Some(Message { version: version as u8 + 1, community, pdu: Some(pdu), ..Message::default() })
            }
            3 => {
                let mut global = der::next_of(&mut fields, SEQUENCE)?;
                der::next_number(&mut global)?;
                der::next_number(&mut global)?;
                der::next_of(&mut global, OCTETS).filter(|flags| flags.len() == 1)?;
                let model = der::next_number(&mut global)?;
                let mut security = der::next_of(&mut fields, OCTETS)?;
                let (mut user, mut engine) = (None, &[][..]);
                if model == USM {
                    let mut usm = der::next_of(&mut security, SEQUENCE)?;
                    engine = der::next_of(&mut usm, OCTETS)?;
                    der::next_number(&mut usm)?;
                    der::next_number(&mut usm)?;
                    user = Some(der::next_of(&mut usm, OCTETS)?);
                }
                let data = der::next(&mut fields)?;
                let is_unknown_model = model != USM;
                let mut message =
                    Message { version: 3, user, engine, is_unknown_model, ..Message::default() };
                match data.tag {
                    OCTETS => message.is_encrypted = true,
                    SEQUENCE => {
                        let mut scoped = data.content;
                        der::next_of(&mut scoped, OCTETS)?;
                        der::next_of(&mut scoped, OCTETS)?;
                        message.pdu = Some(Pdu::parse(&mut scoped)?);
                    }
                    _ => return None,
                }
                Some(message)
            }
            _ => None,
        }
    }
}

impl<'a> Pdu<'a> {
    fn parse(fields: &mut &'a [u8]) -> Option<Pdu<'a>> {
        let element = der::next(fields).filter(|element| (0xa0..=0xa8).contains(&element.tag))?;
        let mut rest = element.content;
        if element.tag == TRAP_V1 {
            let enterprise = der::next_of(&mut rest, OID)?;
            let address = der::next(&mut rest)?.content.try_into().ok();
            let kind = der::next_number(&mut rest)?;
            der::next_number(&mut rest)?;
            der::next(&mut rest)?;
            let variables = der::next_of(&mut rest, SEQUENCE)?;
            let trap = Some(Trap { kind, enterprise, address });
            return Some(Pdu { tag: element.tag, error: 0, trap, variables });
        }
        der::next_number(&mut rest)?;
        let error = der::next_number(&mut rest)?;
        der::next_number(&mut rest)?;
        // What is named an error is the number of variables not repeated in a bulk request.
        let error = if element.tag == 0xa5 { 0 } else { error };
        let variables = der::next_of(&mut rest, SEQUENCE)?;
        Some(Pdu { tag: element.tag, error, trap: None, variables })
    }

    fn names(&self) -> impl Iterator<Item = String> {
        der::elements(self.variables)
            .take(VARIABLES_MAX)
            .filter_map(|variable| der::next_of(&mut { variable.content }, OID).map(der::oid))
    }
}

impl Dissector for Snmp {
    const APP: App = App::Snmp;

    const STARTS: Starts = Starts::both(&[SEQUENCE]);

    fn probe(first: &First<'_>) -> Probe {
        if first.is_stream() {
            return probe_stream(first.bytes);
        }
        // Scanners send it to servers of other protocols, which answer in their own.
        let is_elsewhere = first.has_port(DNS_PORT);
        if !is_elsewhere && Message::parse(first.bytes).is_some() { Probe::Certain } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Snmp { messages: 0, version: None }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            self.message(bytes, context);
            return Progress::Used(bytes.len());
        }
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let total = match der::header(rest) {
                Header::Cut => break,
                Header::Bad => return Progress::Broken("malformed_data"),
                Header::Of(SEQUENCE, head, length) => head.saturating_add(length),
                Header::Of(..) => return Progress::Broken("malformed_data"),
            };
            if total > MESSAGE_BYTES_MAX {
                context.anomaly("malformed_data", None);
            } else if let Some(message) = rest.get(..total) {
                self.message(message, context);
            } else {
                break;
            }
            used = used.saturating_add(total);
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        // Where the next message of a stream begins is not known any more.
        Progress::Done
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

/// Whether a stream begins with a whole message; no more is waited for than what begins as one.
fn probe_stream(bytes: &[u8]) -> Probe {
    let (head, length) = match der::header(bytes) {
        Header::Of(SEQUENCE, head, length) if head + length <= MESSAGE_BYTES_MAX => (head, length),
        Header::Cut => return Probe::Unsure,
        _ => return Probe::NotForUs,
    };
    // A version, then a community's name or the header of version 3.
    let is_message = match bytes.get(head..).unwrap_or_default() {
        [2, 1, 0 | 1, OCTETS, ..] | [2, 1, 3, SEQUENCE, ..] => true,
        rest => rest.len() < 4 && [2, 1].starts_with(rest.get(..2).unwrap_or(rest)),
    };
    match bytes.get(..head + length) {
        _ if !is_message => Probe::NotForUs,
        None => Probe::Unsure,
        Some(message) if Message::parse(message).is_some() => Probe::Certain,
        Some(_) => Probe::NotForUs,
    }
}

impl Snmp {
    fn message(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let Some(message) = Message::parse(bytes) else {
            context.anomaly("malformed_data", None);
            return;
        };
        learn(&message, context);
        let number = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(number), |object| {
            object.number("version", message.version);
            if message.is_encrypted {
                object.text("pdu_type", "encrypted");
                return;
            }
            if let Some(pdu) = &message.pdu {
                object.text("pdu_type", type_name(pdu.tag));
                if pdu.error != 0 {
                    object.text("error", &error_name(pdu.error));
                }
                if let Some(Trap { kind, enterprise, address }) = &pdu.trap {
                    object.text("trap_type", &trap_name(*kind)).text("trap_oid", &der::oid(enterprise));
                    if let Some(address) = address {
                        object.display("trap_address", Ipv4Addr::from(*address));
                    }
                }
                if pdu.names().next().is_some() {
                    object.texts("vars", pdu.names());
                }
            }
            if let Some(community) = message.community {
                object.bytes("community", community);
            }
            if let Some(user) = message.user {
                object.bytes("usm", user);
            }
        });
        if *self.version.get_or_insert(message.version) != message.version {
            context.anomaly("version_mismatch", Some(number));
        }
        if message.is_unknown_model {
            context.anomaly("unknown_security_model", Some(number));
        }
        if context.wanted.is_some() {
            tell_parts(&message, number, context);
        }
    }
}

/// Tells signatures a message's parts.
fn tell_parts(message: &Message<'_>, transaction: u64, context: &mut Context<'_>) {
    let direction = context.direction;
    context.put_number(direction, transaction, Number::SnmpVersion, message.version.into());
    if let Some(pdu) = &message.pdu {
        context.put_number(direction, transaction, Number::SnmpPduType, (pdu.tag & 0x1f).into());
    }
    for (buffer, value) in [(Buffer::SnmpCommunity, message.community), (Buffer::SnmpUsm, message.user)] {
        if let Some(value) = value {
            context.put(direction, transaction, buffer, value);
        }
    }
    context.reached(direction, transaction, Stage::Body);
}

fn learn(message: &Message<'_>, context: &mut Context<'_>) {
    let metadata = &mut *context.metadata;
    metadata.set_text(Field::Version, ["1", "2c", "3"].get(usize::from(message.version - 1)).unwrap_or(&""));
    if let Some(user) = message.user.filter(|user| !user.is_empty()) {
        metadata.add(Field::User, &String::from_utf8_lossy(user));
    }
    if !message.engine.is_empty() {
        metadata.set_text(Field::SnmpEngine, &hex(message.engine, ""));
    }
    if let Some(pdu) = &message.pdu {
        metadata.add(Field::Command, type_name(pdu.tag));
        pdu.names().for_each(|name| metadata.add(Field::Object, &name));
        if pdu.error != 0 {
            metadata.add(Field::Status, &error_name(pdu.error));
        }
    }
}

fn type_name(tag: u8) -> &'static str {
    const NAMES: [&str; 9] = [
        "get_request",
        "get_next_request",
        "response",
        "set_request",
        "trap_v1",
        "get_bulk_request",
        "inform_request",
        "trap_v2",
        "report",
    ];
    NAMES.get(usize::from(tag & 0x1f)).unwrap_or(&"unknown")
}

fn error_name(error: i64) -> String {
    const NAMES: [&str; 19] = [
        "NoError",
        "TooBig",
        "NoSuchName",
        "BadValue",
        "ReadOnly",
        "GenErr",
        "NoAccess",
        "WrongType",
        "WrongLength",
        "WrongEncoding",
        "WrongValue",
        "NoCreation",
        "InconsistentValue",
        "ResourceUnavailable",
        "CommitFailed",
        "UndoFailed",
        "AuthorizationError",
        "NotWritable",
        "InconsistentName",
    ];
    let name = usize::try_from(error).ok().and_then(|error| NAMES.get(error));
    name.map_or_else(|| format!("ErrorStatus({error})"), |name| (*name).to_string())
}

fn trap_name(kind: i64) -> String {
    const NAMES: [&str; 7] = [
        "coldStart",
        "warmStart",
        "linkDown",
        "linkUp",
        "authenticationFailure",
        "egpNeighborLoss",
        "enterpriseSpecific",
    ];
    let name = usize::try_from(kind).ok().and_then(|kind| NAMES.get(kind));
    name.map_or_else(|| format!("TrapType({kind})"), |name| (*name).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};
    use weir_common::net::Direction;

    fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, content.len() as u8][..], &content].concat()
    }

    const VARIABLES: [u8; 16] = [0x30, 14, 0x30, 12, 6, 8, 0x2b, 6, 1, 2, 1, 1, 3, 0, 5, 0];

    fn get() -> Vec<u8> {
        let pdu = tagged(0xa0, &[&[2, 1, 7, 2, 1, 0, 2, 1, 0], &VARIABLES]);
        tagged(0x30, &[&[2, 1, 1], &tagged(4, &[b"public"]), &pdu])
    }

    fn trap() -> Vec<u8> {
        let fixed = [6, 3, 0x2b, 6, 1, 0x40, 4, 192, 0, 2, 1, 2, 1, 2, 2, 1, 0, 0x43, 1, 9];
        tagged(0x30, &[&[2, 1, 0], &tagged(4, &[b"public"]), &tagged(0xa4, &[&fixed, &VARIABLES])])
    }

    fn version_3(data: &[u8]) -> Vec<u8> {
        let usm = tagged(0x30, &[&[4, 2, 0x80, 0, 2, 1, 0, 2, 1, 0], &tagged(4, &[b"bob"]), &[4, 0, 4, 0]]);
        let global = [0x30, 13, 2, 1, 9, 2, 2, 5, 0xdc, 4, 1, 4, 2, 1, 3];
        tagged(0x30, &[&[2, 1, 3], &global, &tagged(4, &[&usm]), data])
    }

    #[test]
    fn messages_of_all_versions_are_told() {
        let scoped =
            tagged(0x30, &[&[4, 0, 4, 0], &tagged(0xa8, &[&[2, 1, 7, 2, 1, 2, 2, 1, 0], &VARIABLES])]);
        let trial = Trial::<Snmp>::new().over_datagrams().client(&get()).client(&trap());
        let trial = trial.client(&version_3(&scoped)).client(&version_3(&[4, 2, 1, 1])).close();
        assert_eq!(
            trial.learned(),
            "app_version 2c\nuser bob\ncommand get_request trap_v1 report\nobject 1.3.6.1.2.1.1.3.0\nstatus NoSuchName\nsnmp_engine 8000\n\
            snmp {\"version\":2,\"pdu_type\":\"get_request\",\"vars\":[\"1.3.6.1.2.1.1.3.0\"],\"community\":\"public\"}\n\
            snmp {\"version\":1,\"pdu_type\":\"trap_v1\",\"trap_type\":\"linkDown\",\"trap_oid\":\"1.3.6.1\",\"trap_address\":\"192.0.2.1\",\"vars\":[\"1.3.6.1.2.1.1.3.0\"],\"community\":\"public\"}\n\
            anomaly {\"app_proto\":\"snmp\",\"type\":\"applayer\",\"event\":\"version_mismatch\",\"layer\":\"proto_parser\"}\n\
            snmp {\"version\":3,\"pdu_type\":\"report\",\"error\":\"NoSuchName\",\"vars\":[\"1.3.6.1.2.1.1.3.0\"],\"usm\":\"bob\"}\n\
            anomaly {\"app_proto\":\"snmp\",\"type\":\"applayer\",\"event\":\"version_mismatch\",\"layer\":\"proto_parser\"}\n\
            snmp {\"version\":3,\"pdu_type\":\"encrypted\"}\n\
            anomaly {\"app_proto\":\"snmp\",\"type\":\"applayer\",\"event\":\"version_mismatch\",\"layer\":\"proto_parser\"}\n"
        );
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        let mut unknown_model = version_3(&[4, 2, 1, 1]);
        let model = unknown_model.windows(3).position(|bytes| bytes == [2, 1, 3].as_slice()).unwrap();
        let model =
            model + 3 + unknown_model[model + 3..].windows(3).position(|bytes| bytes == [2, 1, 3]).unwrap();
        unknown_model[model + 2] = 9;
        let mut trial = Trial::<Snmp>::new().over_datagrams().client(&get()).client(&trap());
        assert_eq!(trial.odd(), "client version_mismatch\n");
        let mut trial = Trial::<Snmp>::new().over_datagrams().client(&unknown_model);
        assert_eq!(trial.odd(), "client unknown_security_model\n");
    }

    #[test]
    fn a_message_fills_its_datagram() {
        let probe = |bytes: &[u8]| Snmp::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        assert_eq!(probe(&get()), Probe::Certain);
        assert_eq!(probe(&get()[..20]), Probe::NotForUs);
        assert_eq!(probe(&[get(), vec![0]].concat()), Probe::NotForUs);
        let (one, two, three) = (get(), trap(), version_3(&[4, 2, 1, 1]));
        let directions = [&one, &two, &three].map(|bytes| (Direction::Forward, &bytes[..]));
        survives_damaged_datagrams::<Snmp>(&directions);
    }

    #[test]
    fn messages_of_a_stream_follow_one_another() {
        // What net-snmp 5.9.3's snmpget sends to a tcp: address.
        let get = b"\x30\x29\x02\x01\x01\x04\x06public\xa0\x1c\x02\x04aX\x14P\x02\x01\0\x02\x01\0\
            \x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\0\x05\0";
        let probe = |bytes: &[u8]| Snmp::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(get), Probe::Certain);
        assert_eq!(probe(&get[..20]), Probe::Unsure);
        assert_eq!(probe(b"\x30\x0c\x02\x01\x01\x60\x07"), Probe::NotForUs, "LDAP's binding");
        let two = [&get[..], &trap()].concat();
        let trial = Trial::<Snmp>::new().client(&two).close();
        assert!(trial.learned().contains("command get_request trap_v1\n"));
        cuts_do_not_matter::<Snmp>(&two, get);
        survives_damage::<Snmp>(&two, get);
    }

    #[test]
    fn signatures_are_told_version_kind_and_who_asks() {
        let mut trial = Trial::<Snmp>::new().over_datagrams().client(&get()).client(&trap());
        expect_test::expect![[r#"
            client 0 snmp.community public
            client 0 SnmpVersion 2
            client 0 SnmpPduType 0
            client 1 snmp.community public
            client 1 SnmpVersion 1
            client 1 SnmpPduType 4
        "#]]
        .assert_eq(&trial.told());
    }
}
