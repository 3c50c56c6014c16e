//! DHCP for IPv6 (RFC 8415).
//!
//! In: datagrams. Out: a host's DUID, name and vendor class, the addresses and prefixes it was given, and one
//! event per message. EVE has no such event; this one is like its `dhcp`. Of relayed messages the innermost is
//! read.

use super::wire::{Cursor, hex};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use std::net::Ipv6Addr;
use weir_common::app::App;
use weir_common::metadata::Field;

const PORTS: [u16; 2] = [546, 547];
/// Most relays around a message.
const RELAYS_MAX: usize = 8;
/// Most addresses and prefixes read of one message.
const ADDRESSES_MAX: usize = 32;
/// Most bytes of a DUID (RFC 8415 section 11.1).
const DUID_BYTES_MAX: usize = 130;
const RELAY_FORWARD: u8 = 12;
const RELAY_REPLY: u8 = 13;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_TA: u16 = 4;
const IA_ADDRESS: u16 = 5;
const OPTION_REQUEST: u16 = 6;
const RELAY_MESSAGE: u16 = 9;
const STATUS_CODE: u16 = 13;
const VENDOR_CLASS: u16 = 16;
const IA_PD: u16 = 25;
const IA_PREFIX: u16 = 26;
const CLIENT_FQDN: u16 = 39;
/// Highest option number assigned, with room.
const OPTION_MAX: u16 = 160;

/// State of a DHCPv6 flow.
#[derive(Debug)]
pub(super) struct Dhcpv6 {
    messages: u64,
}

fn options(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut cursor = Cursor(bytes);
    std::iter::from_fn(move || {
        let (code, length) = (cursor.be16()?, cursor.be16()?);
        Some((code, cursor.take(usize::from(length))?))
    })
}

/// Whether options take exactly these bytes, all with assigned numbers.
fn are_options(bytes: &[u8]) -> bool {
    let mut used = 0;
    let are_known = options(bytes).all(|(code, value)| {
        used += 4 + value.len();
        (1..=OPTION_MAX).contains(&code)
    });
    are_known && used == bytes.len() && used > 0
}

/// The innermost message: its kind, its transaction, its options.
fn innermost(bytes: &[u8]) -> Option<(u8, u32, &[u8])> {
    const RELAY_HEADER_BYTES: usize = 34;
    let mut message = bytes;
    for _ in 0..RELAYS_MAX {
        match *message.first()? {
            kind @ 1..=11 => {
                let id = Cursor(message).be32()? & 0x00ff_ffff;
                return Some((kind, id, message.get(4..)?));
            }
            RELAY_FORWARD | RELAY_REPLY => {
                let mut inner = options(message.get(RELAY_HEADER_BYTES..)?);
                message = inner.find(|(code, _)| *code == RELAY_MESSAGE)?.1;
            }
            _ => return None,
        }
    }
    None
}

fn type_name(kind: u8) -> &'static str {
    match kind {
        1 => "solicit",
        2 => "advertise",
        3 => "request",
        4 => "confirm",
        5 => "renew",
        6 => "rebind",
        7 => "reply",
        8 => "release",
        9 => "decline",
        10 => "reconfigure",
        11 => "information_request",
        _ => "unknown",
    }
}

impl Dissector for Dhcpv6 {
    const APP: App = App::Dhcpv6;

    const STARTS: Starts = Starts::datagram(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);

    fn probe(first: &First<'_>) -> Probe {
        let header = if first.bytes.first().is_some_and(|kind| *kind >= RELAY_FORWARD) { 34 } else { 4 };
        let is_right = first.bytes.get(header..).is_some_and(are_options);
        let Some((_, _, inner)) = innermost(first.bytes).filter(|_| is_right) else { return Probe::NotForUs };
        // A DUID of an assigned kind.
        let has_duid = options(inner).any(|(code, value)| {
            matches!(code, CLIENT_ID | SERVER_ID)
                && matches!(value, [0, 1..=4, ..])
                && (5..=DUID_BYTES_MAX).contains(&value.len())
        });
        match (has_duid, first.has_port_of(&PORTS)) {
            (true, _) => Probe::Certain,
            (false, true) => Probe::Likely,
            (false, false) => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Dhcpv6 { messages: 0 }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let Some((kind, id, inner)) = innermost(bytes) else {
            context.anomaly("malformed_data", None);
            return Progress::Used(bytes.len());
        };
        let message = Message::read(inner);
        let metadata = &mut *context.metadata;
        metadata.add(Field::Command, type_name(kind));
        if let Some(name) = &message.name {
            metadata.add(Field::EndpointName, name);
        }
        if let Some(class) = &message.vendor_class {
            metadata.set_text(Field::ClientSoftware, class);
        }
        let number = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(number), |object| {
            object.text("type", type_name(kind)).number("id", id);
            object.text_if("client_duid", message.client.as_deref());
            object.text_if("server_duid", message.server.as_deref());
            object.text_if("hostname", message.name.as_deref());
            object.text_if("vendor_class", message.vendor_class.as_deref());
            for (key, list) in [("addresses", &message.addresses), ("prefixes", &message.prefixes)] {
                if !list.is_empty() {
                    object.texts(key, list);
                }
            }
            if let Some(status) = message.status {
                object.number("status_code", status);
            }
            if !message.asked.is_empty() {
                let mut list = object.list("requested_options");
                message
                    .asked
                    .chunks_exact(2)
                    .for_each(|pair| list.number(u16::from_be_bytes([pair[0], pair[1]])));
            }
        });
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

#[derive(Debug, Default)]
struct Message<'a> {
    client: Option<String>,
    server: Option<String>,
    name: Option<String>,
    vendor_class: Option<String>,
    addresses: Vec<String>,
    prefixes: Vec<String>,
    status: Option<u16>,
    asked: &'a [u8],
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Message<'a> {
        let mut message = Message::default();
        let duid = |value: &[u8]| Some(hex(value.get(..DUID_BYTES_MAX).unwrap_or(value), ":"));
        for (code, value) in options(bytes) {
            match code {
                CLIENT_ID => message.client = duid(value),
                SERVER_ID => message.server = duid(value),
                // An identifier and two times stand before the association's options.
                IA_NA | IA_PD => message.association(value.get(12..).unwrap_or_default()),
                IA_TA => message.association(value.get(4..).unwrap_or_default()),
                OPTION_REQUEST => message.asked = value.get(..128).unwrap_or(value),
                STATUS_CODE => message.status = Cursor(value).be16(),
                VENDOR_CLASS => {
                    let text = String::from_utf8_lossy(value.get(6..).unwrap_or_default());
                    message.vendor_class = (!text.is_empty()).then(|| text.into_owned());
                }
                CLIENT_FQDN => message.name = name(value.get(1..).unwrap_or_default()),
                _ => {}
            }
        }
        message
    }

    fn association(&mut self, bytes: &[u8]) {
        for (code, value) in options(bytes) {
            match code {
                IA_ADDRESS if self.addresses.len() < ADDRESSES_MAX => {
                    if let Some(octets) = value.first_chunk::<16>() {
                        self.addresses.push(Ipv6Addr::from(*octets).to_string());
                    }
                }
                IA_PREFIX if self.prefixes.len() < ADDRESSES_MAX => {
                    let mut cursor = Cursor(value.get(8..).unwrap_or_default());
                    if let (Some(length), Some(octets)) = (cursor.u8(), cursor.array::<16>()) {
                        self.prefixes.push(format!("{}/{length}", Ipv6Addr::from(octets)));
                    }
                }
                STATUS_CODE => self.status = Cursor(value).be16(),
                _ => {}
            }
        }
    }
}

/// A name in DNS' form.
fn name(bytes: &[u8]) -> Option<String> {
    let mut cursor = Cursor(bytes);
    let mut text = String::new();
    while let Some(length @ 1..=63) = cursor.u8() {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&String::from_utf8_lossy(cursor.take(usize::from(length))?));
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
    use weir_common::net::Direction;

    const DUID: [u8; 14] = [0, 1, 0, 10, 0, 3, 0, 1, 0, 0x11, 0x32, 0x17, 0x49, 0xf0];

    fn solicit() -> Vec<u8> {
        let fqdn = b"\0\x27\0\x06\0\x04host";
        let class = b"\0\x10\0\x0e\0\0\x01\x37\0\x08MSFT 5.0";
        [&[1, 1, 2, 3][..], &DUID, fqdn, class, &[0, 6, 0, 4, 0, 23, 0, 24]].concat()
    }

    fn relayed_reply() -> Vec<u8> {
        let address = [&[0, 5, 0, 24, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 8]].concat();
        let association = [&[0, 3, 0, 40][..], &[0; 12], &address].concat();
        let inner = [&[7, 1, 2, 3][..], &DUID, &association].concat();
        [&[13, 0][..], &[0; 32], &[0, 9, 0, inner.len() as u8], &inner].concat()
    }

    #[test]
    fn a_host_and_its_address_are_told() {
        let trial =
            Trial::<Dhcpv6>::new().over_datagrams().client(&solicit()).server(&relayed_reply()).close();
        assert_eq!(
            trial.learned(),
            "client_software MSFT 5.0\nendpoint_name host\ncommand solicit reply\n\
            dhcpv6 {\"type\":\"solicit\",\"id\":66051,\"client_duid\":\"00:03:00:01:00:11:32:17:49:f0\",\"hostname\":\"host\",\"vendor_class\":\"MSFT 5.0\",\"requested_options\":[23,24]}\n\
            dhcpv6 {\"type\":\"reply\",\"id\":66051,\"client_duid\":\"00:03:00:01:00:11:32:17:49:f0\",\"addresses\":[\"2001:db8::1\"]}\n"
        );
    }

    #[test]
    fn options_have_to_fit_exactly() {
        let probe = |bytes: &[u8]| Dhcpv6::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        assert_eq!((probe(&solicit()), probe(&relayed_reply())), (Probe::Certain, Probe::Certain));
        assert_eq!(probe(&solicit()[..20]), Probe::NotForUs);
        assert_eq!(probe(&[11, 1, 2, 3, 0, 6, 0, 0]), Probe::NotForUs);
        let (one, two) = (solicit(), relayed_reply());
        survives_damaged_datagrams::<Dhcpv6>(&[(Direction::Forward, &one), (Direction::Reverse, &two)]);
    }
}
