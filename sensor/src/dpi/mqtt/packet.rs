//! Packets of MQTT: what they hold and how EVE tells it.

use crate::dpi::scan::{Scan, escaped};
use weir_common::json::{self, Object};

/// Most bytes told of a message, as in Suricata's default.
const MESSAGE_BYTES_TOLD: usize = 1024;
/// Most topics of a packet, and most properties.
const ITEMS_MAX: usize = 64;

/// Kinds of packets.
pub(super) mod kind {
    pub(in super::super) const CONNECT: u8 = 1;
    pub(in super::super) const CONNACK: u8 = 2;
    pub(in super::super) const PUBLISH: u8 = 3;
    pub(in super::super) const PUBACK: u8 = 4;
    pub(in super::super) const PUBREC: u8 = 5;
    pub(in super::super) const PUBREL: u8 = 6;
    pub(in super::super) const PUBCOMP: u8 = 7;
    pub(in super::super) const SUBSCRIBE: u8 = 8;
    pub(in super::super) const SUBACK: u8 = 9;
    pub(in super::super) const UNSUBSCRIBE: u8 = 10;
    pub(in super::super) const UNSUBACK: u8 = 11;
    pub(in super::super) const PINGREQ: u8 = 12;
    pub(in super::super) const PINGRESP: u8 = 13;
    pub(in super::super) const DISCONNECT: u8 = 14;
    pub(in super::super) const AUTH: u8 = 15;
}

const NAMES: [&str; 16] = [
    "unassigned",
    "connect",
    "connack",
    "publish",
    "puback",
    "pubrec",
    "pubrel",
    "pubcomp",
    "subscribe",
    "suback",
    "unsubscribe",
    "unsuback",
    "pingreq",
    "pingresp",
    "disconnect",
    "auth",
];

/// A packet, as far as it is there.
#[derive(Debug, Default)]
pub(super) struct Packet<'a> {
    head: u8,
    pub(super) kind: u8,
    pub(super) qos: u8,
    pub(super) id: Option<u16>,
    pub(super) connect: Option<Connect<'a>>,
    pub(super) topics: Vec<&'a [u8]>,
    /// What is wanted or granted for each topic.
    levels: Vec<u8>,
    pub(super) message: Option<(&'a [u8], usize)>,
    pub(super) session_present: Option<bool>,
    pub(super) return_code: Option<u8>,
    reason: Option<u8>,
    properties: Option<&'a [u8]>,
}

#[derive(Debug)]
pub(super) struct Connect<'a> {
    pub(super) protocol: &'a [u8],
    pub(super) version: u8,
    pub(super) flags: u8,
    pub(super) client: &'a [u8],
    pub(super) will: Option<Will<'a>>,
    pub(super) user: Option<&'a [u8]>,
    pub(super) password: Option<&'a [u8]>,
}

/// Topic, message and properties of what is published when the client is gone.
type Will<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

/// The length that stands behind the first byte, and where the body begins.
pub(super) fn remaining_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let (length, size) = variable(bytes.get(1..)?)?;
    Some((length as usize, 1 + size))
}

/// A variable byte integer and its size.
fn variable(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn string<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    let length = scan.be16()?;
    scan.take(length.into())
}

/// The topic that a packet's body begins with, as far as it is there.
pub(super) fn topic(body: &[u8]) -> Option<&[u8]> {
    let (length, rest) = body.split_first_chunk()?;
    Some(rest.get(..usize::from(u16::from_be_bytes(*length))).unwrap_or(rest))
}

fn properties<'a>(scan: &mut Scan<'a>, version: u8) -> Option<Option<&'a [u8]>> {
    if version < 5 || scan.is_empty() {
        return Some(None);
    }
    let (length, size) = variable(scan.rest())?;
    scan.take(size)?;
    Some(Some(scan.take(length as usize)?))
}

impl<'a> Packet<'a> {
    /// A packet whose body has `length` bytes, of which the first are there. None: it is malformed.
    pub(super) fn parse(head: u8, body: &'a [u8], length: usize, version: u8) -> Option<Packet<'a>> {
        let mut scan = Scan::new(body);
        let mut packet = Packet { head, kind: head >> 4, qos: head >> 1 & 3, ..Packet::default() };
        match packet.kind {
            0 => return None,
            kind::CONNECT => {
                let (connect, properties) = connect(&mut scan)?;
                (packet.connect, packet.properties) = (Some(connect), properties);
            }
            kind::CONNACK => {
                packet.session_present = Some(scan.u8()? & 1 == 1);
                packet.return_code = Some(scan.u8()?);
                packet.properties = properties(&mut scan, version)?;
            }
            kind::PUBLISH => {
                packet.topics.push(string(&mut scan)?);
                if matches!(packet.qos, 1 | 2) {
                    packet.id = Some(scan.be16()?);
                }
                packet.properties = properties(&mut scan, version)?;
                let missing = length.saturating_sub(body.len());
                packet.message = Some((scan.rest(), scan.len() + missing));
            }
            kind::PUBACK..=kind::PUBCOMP => {
                packet.id = Some(scan.be16()?);
                // Where it is left out it is 0.
                packet.reason = (version >= 5).then(|| scan.u8().unwrap_or(0));
                packet.properties = properties(&mut scan, version)?;
            }
            kind::SUBSCRIBE => {
                packet.id = Some(scan.be16()?);
                packet.properties = properties(&mut scan, version)?;
                while !scan.is_empty() && packet.topics.len() < ITEMS_MAX {
                    packet.topics.push(string(&mut scan)?);
                    packet.levels.push(scan.u8()? & 3);
                }
            }
            kind::SUBACK => {
                packet.id = Some(scan.be16()?);
                packet.properties = properties(&mut scan, version)?;
                packet.levels = scan.rest().iter().take(ITEMS_MAX).copied().collect();
            }
            kind::UNSUBSCRIBE => {
                packet.id = Some(scan.be16()?);
                packet.properties = properties(&mut scan, version)?;
                while !scan.is_empty() && packet.topics.len() < ITEMS_MAX {
                    packet.topics.push(string(&mut scan)?);
                }
            }
            kind::UNSUBACK => {
                packet.id = Some(scan.be16()?);
                packet.properties = properties(&mut scan, version)?;
                packet.levels = scan.rest().iter().take(ITEMS_MAX).copied().collect();
            }
            kind::DISCONNECT if version >= 5 => {
                packet.reason = Some(scan.u8().unwrap_or(0));
                packet.properties = properties(&mut scan, version)?;
            }
            kind::AUTH => {
                packet.reason = Some(scan.u8().unwrap_or(0));
                packet.properties = properties(&mut scan, 5)?;
            }
            _ => {}
        }
        Some(packet)
    }

    /// Of its header: whether it is sent again (8), whether it is retained (1).
    pub(super) fn header_flags(&self) -> u8 {
        self.head & 9
    }

    /// How what came before was taken: the codes of an acknowledgement, for each topic where it is of several.
    pub(super) fn reason_codes(&self) -> impl Iterator<Item = u8> {
        let levels = match self.kind {
            kind::SUBACK | kind::UNSUBACK => &self.levels[..],
            _ => &[],
        };
        self.return_code.into_iter().chain(self.reason).chain(levels.iter().copied())
    }

    /// EVE's name of its kind.
    pub(super) fn name(&self) -> &'static str {
        NAMES.get(usize::from(self.kind)).copied().unwrap_or_default()
    }

    /// Writes it as a member of EVE's object.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        json::string(out, self.name().as_bytes());
        out.push(b':');
        let mut object = Object::begin(out);
        object.number("qos", self.qos).bool("retain", self.head & 1 == 1).bool("dup", self.head & 8 == 8);
        if let Some(connect) = &self.connect {
            connect.write(&mut object);
        }
        if let Some(is_present) = self.session_present {
            object.bool("session_present", is_present);
        }
        if let Some(code) = self.return_code {
            object.number("return_code", code);
        }
        if self.kind == kind::PUBLISH {
            object.text("topic", &escaped(self.topics.first().copied().unwrap_or_default()));
        }
        if let Some(id) = self.id {
            object.number("message_id", id);
        }
        if let Some((message, length)) = self.message {
            let told = message.get(..MESSAGE_BYTES_TOLD).unwrap_or(message);
            let mut text = escaped(told).into_owned();
            if length > told.len() {
                text.push_str(&format!("[truncated {} additional bytes]", length - told.len()));
            }
            object.text("message", &text);
        }
        if let Some(reason) = self.reason {
            object.number("reason_code", reason);
        }
        match self.kind {
            kind::SUBSCRIBE => {
                let mut topics = object.list("topics");
                for (topic, level) in self.topics.iter().zip(&self.levels) {
                    topics.object().text("topic", &escaped(topic)).number("qos", *level);
                }
            }
            kind::UNSUBSCRIBE => {
                object.texts("topics", &self.topics);
            }
            kind::SUBACK => {
                let mut granted = object.list("qos_granted");
                self.levels.iter().for_each(|level| granted.number(*level));
            }
            kind::UNSUBACK if !self.levels.is_empty() => {
                let mut codes = object.list("reason_codes");
                self.levels.iter().for_each(|code| codes.number(*code));
            }
            _ => {}
        }
        let has_properties = !matches!(self.kind, kind::SUBACK | kind::UNSUBSCRIBE | kind::UNSUBACK);
        if let Some(properties) =
            self.properties.filter(|properties| has_properties && !properties.is_empty())
        {
            write_properties(properties, &mut object);
        }
    }
}

fn connect<'a>(scan: &mut Scan<'a>) -> Option<(Connect<'a>, Option<&'a [u8]>)> {
    let protocol = string(scan)?;
    let (version, flags) = (scan.u8()?, scan.u8()?);
    scan.be16()?;
    let own = properties(scan, version)?;
    let client = string(scan)?;
    let mut will = None;
    if flags & 4 == 4 {
        let properties = properties(scan, version)?;
        will = Some((string(scan)?, string(scan)?, properties));
    }
    let user = if flags & 0x80 != 0 { Some(string(scan)?) } else { None };
    let password = if flags & 0x40 != 0 { Some(string(scan)?) } else { None };
    Some((Connect { protocol, version, flags, client, will, user, password }, own))
}

impl Connect<'_> {
    fn write(&self, object: &mut Object<'_>) {
        object.text("protocol_string", &escaped(self.protocol)).number("protocol_version", self.version);
        object.text("client_id", &escaped(self.client));
        object
            .object("flags")
            .bool("username", self.flags & 0x80 != 0)
            .bool("password", self.flags & 0x40 != 0)
            .bool("will_retain", self.flags & 0x20 != 0)
            .bool("will", self.flags & 4 != 0)
            .bool("clean_session", self.flags & 2 != 0);
        if let Some(user) = self.user {
            object.text("username", &escaped(user));
        }
        if let Some(password) = self.password {
            object.text("password", &escaped(password));
        }
        if let Some((topic, message, properties)) = self.will {
            let mut will = object.object("will");
            will.text("topic", &escaped(topic)).text("message", &escaped(message));
            if let Some(properties) = properties.filter(|properties| !properties.is_empty()) {
                write_properties(properties, &mut will);
            }
        }
    }
}

/// How a property's value looks.
enum Shape {
    Byte,
    Two,
    Four,
    Variable,
    Text,
    Pair,
}

fn write_properties(bytes: &[u8], object: &mut Object<'_>) {
    let mut members = Vec::new();
    let mut scan = Scan::new(bytes);
    for _ in 0..ITEMS_MAX {
        if scan.u8().and_then(|number| write_property(number, &mut scan, &mut members)).is_none() {
            break;
        }
    }
    object.object("properties").members(&members);
}

fn write_property(number: u8, scan: &mut Scan<'_>, out: &mut Vec<u8>) -> Option<()> {
    use Shape::{Byte, Four, Pair, Text, Two, Variable};
    let (key, shape) = match number {
        1 => ("payload_format_indicator", Byte),
        2 => ("message_expiry_interval", Four),
        3 => ("content_type", Text),
        8 => ("response_topic", Text),
        9 => ("correlation_data", Text),
        11 => ("subscription_identifier", Variable),
        17 => ("session_expiry_interval", Four),
        18 => ("assigned_client_identifier", Text),
        19 => ("server_keep_alive", Two),
        21 => ("authentication_method", Text),
        22 => ("authentication_data", Text),
        23 => ("request_problem_information", Byte),
        24 => ("will_delay_interval", Four),
        25 => ("request_response_information", Byte),
        26 => ("response_information", Text),
        28 => ("server_reference", Text),
        31 => ("reason_string", Text),
        33 => ("receive_maximum", Two),
        34 => ("topic_alias_maximum", Two),
        35 => ("topic_alias", Two),
        36 => ("maximum_qos", Byte),
        37 => ("retain_available", Byte),
        38 => ("", Pair),
        39 => ("maximum_packet_size", Four),
        40 => ("wildcard_subscription_available", Byte),
        41 => ("subscription_identifier_available", Byte),
        42 => ("shared_subscription_available", Byte),
        _ => return None,
    };
    let mut name = key.as_bytes();
    let value = match shape {
        Byte => u32::from(scan.u8()?).to_string(),
        Two => u32::from(scan.be16()?).to_string(),
        Four => scan.be32()?.to_string(),
        Variable => {
            let (value, size) = variable(scan.rest())?;
            scan.take(size)?;
            value.to_string()
        }
        Text | Pair => {
            if matches!(shape, Pair) {
                name = string(scan)?;
            }
            let mut text = Vec::new();
            json::string(&mut text, escaped(string(scan)?).as_bytes());
            String::from_utf8_lossy(&text).into_owned()
        }
    };
    if !out.is_empty() {
        out.push(b',');
    }
    json::string(out, escaped(name).as_bytes());
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
    Some(())
}
