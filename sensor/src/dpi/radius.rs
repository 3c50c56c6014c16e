//! RADIUS: authentication, accounting and changes of authorization (RFC 2865, RFC 2866, RFC 5176).
//!
//! In: datagrams. Out: who logs on, by which access server and from which station, how it was answered, and
//! one event per message. EVE has no such event. Passwords, challenges and keys are not read.

use super::wire::Cursor;
use super::{Context, Dissector, First, Probe, Progress, Starts};
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;

/// Bytes of code, identifier, length and authenticator.
const HEADER_BYTES: usize = 20;
/// Most bytes of a message (RFC 2865 section 3).
const MESSAGE_BYTES_MAX: usize = 4096;
const PORTS: [u16; 5] = [1812, 1813, 1645, 1646, 3799];

/// State of a RADIUS flow.
#[derive(Debug)]
pub(super) struct Radius {
    messages: u64,
}

struct Message<'a> {
    code: u8,
    id: u8,
    attributes: &'a [u8],
    /// Whether the attributes fill the message exactly.
    is_right: bool,
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        let mut cursor = Cursor(bytes);
        let (code, id) = (cursor.u8()?, cursor.u8()?);
        code_name(code)?;
        let length = usize::from(cursor.be16()?);
        if !(HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&length) {
            return None;
        }
        let attributes = bytes.get(HEADER_BYTES..length)?;
        let used: usize = attributes_of(attributes).map(|(_, value)| value.len() + 2).sum();
        Some(Message { code, id, attributes, is_right: used == attributes.len() })
    }
}

fn attributes_of(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut cursor = Cursor(bytes);
    std::iter::from_fn(move || {
        let (kind, length) = (cursor.u8()?, cursor.u8()?);
        Some((kind, cursor.take(usize::from(length.checked_sub(2)?))?))
    })
}

fn code_name(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "access_request",
        2 => "access_accept",
        3 => "access_reject",
        4 => "accounting_request",
        5 => "accounting_response",
        11 => "access_challenge",
        12 => "status_server",
        13 => "status_client",
        40 => "disconnect_request",
        41 => "disconnect_ack",
        42 => "disconnect_nak",
        43 => "coa_request",
        44 => "coa_ack",
        45 => "coa_nak",
        _ => return None,
    })
}

impl Dissector for Radius {
    const APP: App = App::Radius;

    const STARTS: Starts = Starts::datagram(&[1, 2, 3, 4, 5, 11, 12, 13, 40, 41, 42, 43, 44, 45]);

    fn probe(first: &First<'_>) -> Probe {
        let has_port = first.has_port_of(&PORTS);
        match Message::parse(first.bytes) {
            Some(message) if message.is_right => {
                let fills = message.attributes.len() + HEADER_BYTES == first.bytes.len();
                match (fills, message.attributes.is_empty(), has_port) {
                    (true, false, _) | (_, _, true) => Probe::Certain,
                    _ => Probe::NotForUs,
                }
            }
            // A message with a damaged attribute, where one is expected.
            Some(message) if has_port && message.attributes.len() + HEADER_BYTES == first.bytes.len() => {
                Probe::Likely
            }
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Radius { messages: 0 }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let Some(message) = Message::parse(bytes) else {
            context.anomaly("malformed_data", None);
            return Progress::Used(bytes.len());
        };
        if !message.is_right {
            context.anomaly("malformed_data", None);
        }
        learn(&message, context);
        let number = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(number), |object| {
            object.text("code", code_name(message.code).unwrap_or_default()).number("id", message.id);
            write(message.attributes, object);
        });
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

const USER_NAME: u8 = 1;
const NAS_IP_ADDRESS: u8 = 4;
const CALLED_STATION: u8 = 30;
const CALLING_STATION: u8 = 31;
const NAS_IDENTIFIER: u8 = 32;

fn learn(message: &Message<'_>, context: &mut Context<'_>) {
    let metadata = &mut *context.metadata;
    let name = code_name(message.code).unwrap_or_default();
    let is_answer = matches!(message.code, 2 | 3 | 5 | 11 | 41 | 42 | 44 | 45);
    metadata.add(if is_answer { Field::Status } else { Field::Command }, name);
    for (kind, value) in attributes_of(message.attributes) {
        let text = || String::from_utf8_lossy(value);
        match kind {
            USER_NAME if !value.is_empty() => metadata.add(Field::User, &text()),
            NAS_IDENTIFIER => metadata.add(Field::EndpointName, &text()),
            CALLED_STATION => metadata.set_text(Field::RadiusCalledStation, &text()),
            CALLING_STATION => metadata.set_text(Field::RadiusCallingStation, &text()),
            _ => {}
        }
    }
}

fn write(attributes: &[u8], object: &mut Object<'_>) {
    // An attribute that comes twice would make a key that does.
    let mut seen = [false; 256];
    for (kind, value) in attributes_of(attributes) {
        if std::mem::replace(&mut seen[usize::from(kind)], true) {
            continue;
        }
        let number = value.first_chunk::<4>().map(|number| u32::from_be_bytes(*number));
        match (kind, number) {
            (USER_NAME, _) => drop(object.bytes("username", value)),
            (NAS_IP_ADDRESS, Some(address)) => drop(object.display("nas_ip", Ipv4Addr::from(address))),
            (5, Some(port)) => drop(object.number("nas_port", port)),
            (6, Some(service)) => drop(object.number("service_type", service)),
            (8, Some(address)) => drop(object.display("framed_ip", Ipv4Addr::from(address))),
            (18, _) => drop(object.bytes("reply_message", value)),
            (CALLED_STATION, _) => drop(object.bytes("called_station_id", value)),
            (CALLING_STATION, _) => drop(object.bytes("calling_station_id", value)),
            (NAS_IDENTIFIER, _) => drop(object.bytes("nas_identifier", value)),
            (40, Some(status)) => {
                let name = match status {
                    1 => "start",
                    2 => "stop",
                    3 => "interim_update",
                    7 => "accounting_on",
                    8 => "accounting_off",
                    _ => "other",
                };
                object.text("acct_status_type", name);
            }
            (42, Some(octets)) => drop(object.number("acct_input_octets", octets)),
            (43, Some(octets)) => drop(object.number("acct_output_octets", octets)),
            (44, _) => drop(object.bytes("acct_session_id", value)),
            (46, Some(seconds)) => drop(object.number("acct_session_time", seconds)),
            (61, Some(kind)) => drop(object.number("nas_port_type", kind)),
            (87, _) => drop(object.bytes("nas_port_id", value)),
            (95, _) => {
                if let Some(octets) = value.first_chunk::<16>() {
                    object.display("nas_ipv6", Ipv6Addr::from(*octets));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
    use weir_common::net::Direction;

    fn message(code: u8, attributes: &[u8]) -> Vec<u8> {
        [&[code, 7, 0, 20 + attributes.len() as u8][..], &[9; 16], attributes].concat()
    }

    fn request() -> Vec<u8> {
        message(1, b"\x01\x05bob\x02\x12secretsecretsecr\x04\x06\xc0\x00\x02\x01\x1f\x04AA\x20\x05nas")
    }

    #[test]
    fn a_logon_is_told_without_its_password() {
        let trial =
            Trial::<Radius>::new().over_datagrams().client(&request()).server(&message(3, b"\x12\x04no"));
        assert_eq!(
            trial.learned(),
            "user bob\nendpoint_name nas\ncommand access_request\nstatus access_reject\nradius_calling_station AA\n\
            radius {\"code\":\"access_request\",\"id\":7,\"username\":\"bob\",\"nas_ip\":\"192.0.2.1\",\"calling_station_id\":\"AA\",\"nas_identifier\":\"nas\"}\n\
            radius {\"code\":\"access_reject\",\"id\":7,\"reply_message\":\"no\"}\n"
        );
        survives_damaged_datagrams::<Radius>(&[(Direction::Forward, &request())]);
    }

    #[test]
    fn attributes_have_to_fit_exactly() {
        let probe = |bytes: &[u8], port| {
            Radius::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes).between(port, 5000))
        };
        assert_eq!(probe(&request(), 5001), Probe::Certain);
        assert_eq!(probe(&message(5, b""), 5001), Probe::NotForUs);
        assert_eq!(probe(&message(5, b""), 1813), Probe::Certain);
        let damaged = message(1, b"\x01\x09bob");
        assert_eq!((probe(&damaged, 5001), probe(&damaged, 1812)), (Probe::NotForUs, Probe::Likely));
        assert_eq!(probe(&message(9, b"\x01\x05bob"), 1812), Probe::NotForUs);
    }
}
