//! Internet Key Exchange 1 and 2 (RFC 2408, RFC 2409, RFC 7296), and ESP in UDP beside it (RFC 3948).
//!
//! In: datagrams of both sides. Out: version, exchanges, what was proposed and chosen, vendors, and one event per
//! message as Suricata's EVE has it. What is encrypted, ESP and keep-alives are passed over.

mod names;
#[cfg(test)]
mod tests;
mod told;

use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use std::fmt::Write as _;
use weir_common::app::App;
use weir_common::json::{List, Object};
use weir_common::metadata::Field;

/// Cookies, next payload, version, exchange, flags, message, length.
const HEADER_BYTES: usize = 28;
/// What tells IKE from ESP on port 4500 (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
const NAT_PORT: u16 = 4500;
/// Most payloads of a message that are looked at.
const PAYLOADS_MAX: usize = 48;
/// Most transforms of one side that are kept for events.
const TRANSFORMS_MAX: usize = 32;
/// Datagrams in a row that are none of IKE's after which a flow that carries ESP is left alone.
const OTHERS_MAX: u16 = 64;

/// The dissector of a flow.
#[derive(Debug, Default)]
pub(super) struct Ike {
    others: u16,
    messages: u64,
    /// Of version 1: what both sides have said, and what the responder chose.
    said: [Said; 2],
    chosen: Vec<Attribute>,
    domain: Option<u32>,
    /// Of version 2: the transforms that the responder chose.
    algorithms: [Option<u16>; 6],
}

/// What a side of version 1 said in the clear.
#[derive(Debug, Default)]
struct Said {
    key_exchange: Box<[u8]>,
    nonce: Box<[u8]>,
}

/// An attribute of a transform of version 1.
#[derive(Clone, Debug)]
struct Attribute {
    kind: u16,
    value: u16,
    /// The value as a number where it is one, else its bytes.
    number: Option<u32>,
    bytes: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    initiator: u64,
    responder: u64,
    next: u8,
    version: u8,
    exchange: u8,
    flags: u8,
    message: u32,
}

impl Header {
    /// The header of a message that fills its datagram, and its payloads.
    fn parse(bytes: &[u8]) -> Option<(Header, &[u8])> {
        let (header, payloads) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (initiator, rest) = header.split_first_chunk::<8>()?;
        let (responder, rest) = rest.split_first_chunk::<8>()?;
        let [next, version, exchange, flags, m0, m1, m2, m3, l0, l1, l2, l3] = *rest.first_chunk::<12>()?;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let header = Header {
            initiator: u64::from_be_bytes(*initiator),
            responder: u64::from_be_bytes(*responder),
            next,
            version,
            exchange,
            flags,
            message: u32::from_be_bytes([m0, m1, m2, m3]),
        };
        let fits = match version >> 4 {
            1 => {
                version == 0x10
                    && matches!(exchange, 1..=6 | 32 | 33 | 240..)
                    && flags <= 7
                    && (next <= 22 || next >= 128)
            }
            2 => matches!(exchange, 34..=44) && flags & !0x38 == 0 && matches!(next, 0 | 33..=54),
            _ => false,
        };
        (fits && header.initiator != 0 && length == bytes.len()).then_some((header, payloads))
    }

    fn is_version_1(&self) -> bool {
        self.version >> 4 == 1
    }

    fn is_encrypted(&self) -> bool {
        const ENCRYPTED: u8 = 1;
        self.is_version_1() && self.flags & ENCRYPTED != 0
    }
}

/// Without the marker of port 4500.
fn unmarked(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&NON_ESP_MARKER).unwrap_or(bytes)
}

impl Dissector for Ike {
    const APP: App = App::Ike;

    const STARTS: Starts = Starts::DATAGRAM;

    fn probe(first: &First<'_>) -> Probe {
        if !first.is_datagram() {
            return Probe::NotForUs;
        }
        if Header::parse(unmarked(first.bytes)).is_some() {
            return Probe::Certain;
        }
        let esp = |bytes: &[u8]| {
            let ([s0, s1, s2, s3, n0, n1, n2, n3], _) = bytes.split_first_chunk::<8>()?;
            let index = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
            Some((index, u32::from_be_bytes([*n0, *n1, *n2, *n3]))).filter(|_| index > 255)
        };
        // Numbers of ESP count from 1 (RFC 4303 section 2.2).
        match (esp(first.bytes), esp(first.before.head())) {
            (Some(this), Some(before))
                if first.has_port(NAT_PORT) && this.0 == before.0 && this.1 == before.1.wrapping_add(1) =>
            {
                Probe::Certain
            }
            (Some((_, 1..=0xffff)), _) if first.has_port(NAT_PORT) && first.bytes.len() >= 32 => {
                Probe::Likely
            }
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Ike::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        match Header::parse(unmarked(bytes)) {
            Some((header, payloads)) => {
                self.others = 0;
                self.read(&header, payloads, context);
            }
            None => {
                self.others += 1;
                if self.others >= OTHERS_MAX {
                    return Progress::Done;
                }
            }
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _missing: u64, _context: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, _context: &mut Context<'_>) {}
}

/// One payload: type, body, type of the next.
struct Payload<'a> {
    kind: u8,
    next: u8,
    body: &'a [u8],
}

/// The payloads of a chain that begins with this type. The last element is an error where the chain breaks off.
fn chain(first: u8, mut rest: &[u8]) -> impl Iterator<Item = Result<Payload<'_>, ()>> {
    let mut kind = first;
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over || kind == 0 {
            return None;
        }
        let whole = rest.split_first_chunk::<4>().and_then(|([next, _, l0, l1], _)| {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let (payload, after) = rest.split_at_checked(length)?;
            Some((*next, payload.get(4..)?, after))
        });
        let Some((next, body, after)) = whole else {
            is_over = true;
            return Some(Err(()));
        };
        let payload = Payload { kind, next, body };
        (kind, rest) = (next, after);
        Some(Ok(payload))
    })
    .take(PAYLOADS_MAX)
}

/// What one message holds, for its event.
#[derive(Default)]
struct Message<'a> {
    payloads: Vec<u8>,
    transforms: Vec<Vec<Attribute>>,
    vendors: Vec<&'a [u8]>,
    notifications: Vec<u16>,
    errors: u32,
    /// Of version 1, what this message says in the clear.
    key_exchange: &'a [u8],
    nonce: &'a [u8],
    /// Of version 2, the transforms that the responder chose in this message: type and number.
    chosen: Vec<(u8, u16)>,
}

impl Ike {
    fn read(&mut self, header: &Header, payloads: &[u8], context: &mut Context<'_>) {
        let version = if header.is_version_1() { "1" } else { "2" };
        context.metadata.set_text(Field::Version, version);
        context.metadata.add(Field::Command, exchange_name(header));
        let mut message = Message { payloads: vec![header.next], ..Message::default() };
        if header.is_version_1() {
            if !header.is_encrypted() {
                self.read_version_1(header, payloads, &mut message, context);
            }
        } else {
            self.read_version_2(header, payloads, &mut message, context);
        }
        self.tell(header, &message, context);
    }

    fn read_version_1<'a>(
        &mut self,
        header: &Header,
        payloads: &'a [u8],
        message: &mut Message<'a>,
        context: &mut Context<'_>,
    ) {
        const ASSOCIATION: u8 = 1;
        const KEY_EXCHANGE: u8 = 4;
        const NONCE: u8 = 10;
        const VENDOR: u8 = 13;
        let index = context.direction.index();
        for payload in chain(header.next, payloads) {
            let Ok(payload) = payload else {
                message.errors += 1;
                return context.anomaly("malformed_data", Some(self.messages));
            };
            message.payloads.push(payload.next);
            match payload.kind {
                ASSOCIATION => {
                    let Some((domain, rest)) = payload.body.split_first_chunk::<4>() else { continue };
                    self.domain = Some(u32::from_be_bytes(*domain));
                    read_proposals(rest.get(4..).unwrap_or_default(), &mut message.transforms);
                    if header.responder != 0
                        && let Some(first) = message.transforms.first()
                    {
                        self.chosen = first.clone();
                        for attribute in first.iter().filter(|attribute| attribute.kind <= 4) {
                            let (_, name) = names::attribute(attribute.kind, attribute.value);
                            context.metadata.add(Field::IkeAlgorithms, name);
                        }
                    }
                }
                KEY_EXCHANGE => {
                    self.said[index].key_exchange = payload.body.into();
                    message.key_exchange = payload.body;
                }
                NONCE => {
                    self.said[index].nonce = payload.body.into();
                    message.nonce = payload.body;
                }
                VENDOR => message.vendors.push(payload.body),
                _ => {}
            }
        }
    }

    fn read_version_2<'a>(
        &mut self,
        header: &Header,
        payloads: &'a [u8],
        message: &mut Message<'a>,
        context: &mut Context<'_>,
    ) {
        const ASSOCIATION: u8 = 33;
        const NOTIFY: u8 = 41;
        const VENDOR: u8 = 43;
        const ENCRYPTED: u8 = 46;
        const ENCRYPTED_FRAGMENT: u8 = 53;
        for payload in chain(header.next, payloads) {
            let Ok(payload) = payload else {
                message.errors += 1;
                return context.anomaly("malformed_data", Some(self.messages));
            };
            // The next of what is encrypted is inside of it.
            if matches!(payload.kind, ENCRYPTED | ENCRYPTED_FRAGMENT) {
                return;
            }
            message.payloads.push(payload.next);
            match payload.kind {
                ASSOCIATION => self.read_transforms(payload.body, !is_initiator(header), message, context),
                NOTIFY => {
                    if let Some(([_, _, n0, n1], _)) = payload.body.split_first_chunk::<4>() {
                        let number = u16::from_be_bytes([*n0, *n1]);
                        message.notifications.push(number);
                        // The numbers below are errors.
                        if number < 16384 {
                            context.metadata.add(Field::Status, &names::notification(number));
                        }
                    }
                }
                VENDOR => message.vendors.push(payload.body),
                _ => {}
            }
        }
    }

    /// The transforms of version 2 in the proposals of an association.
    fn read_transforms(
        &mut self,
        mut proposals: &[u8],
        is_chosen: bool,
        message: &mut Message<'_>,
        context: &mut Context<'_>,
    ) {
        let mut told: [bool; 6] = [false; 6];
        let mut left = TRANSFORMS_MAX;
        while let Some((proposal, rest)) = counted(proposals) {
            proposals = rest;
            let Some(([_, _, index_bytes, _], body)) = proposal.split_first_chunk::<4>() else { continue };
            let mut transforms = body.get(usize::from(*index_bytes)..).unwrap_or_default();
            while let Some((transform, rest)) = counted(transforms) {
                transforms = rest;
                let Some(([kind, _, n0, n1], _)) = transform.split_first_chunk::<4>() else { continue };
                let number = u16::from_be_bytes([*n0, *n1]);
                left = left.saturating_sub(1);
                if left == 0 {
                    return;
                }
                let place = usize::from(*kind);
                if let Some(told) = told.get_mut(place)
                    && let Some(event) = names::weakness(*kind, number)
                    && !std::mem::replace(told, true)
                {
                    message.errors += u32::from(is_chosen);
                    context.anomaly(event, Some(self.messages));
                }
                if is_chosen && let Some(chosen) = self.algorithms.get_mut(place) {
                    *chosen = Some(number);
                    message.chosen.push((*kind, number));
                    if let Some((_, name)) = names::transform(*kind, number).filter(|_| *kind < 5) {
                        context.metadata.add(Field::IkeAlgorithms, &name);
                    }
                }
            }
        }
    }

    fn tell(&mut self, header: &Header, message: &Message<'_>, context: &mut Context<'_>) {
        let number = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(number), |object| {
            object.number("_v", 2);
            object.number("version_major", header.version >> 4).number("version_minor", header.version & 15);
            object.display("init_spi", format_args!("{:016x}", header.initiator));
            object.display("resp_spi", format_args!("{:016x}", header.responder));
            object.number("message_id", header.message).number("exchange_type", header.exchange);
            if header.is_version_1() {
                self.tell_version_1(header, message, context_is_reply(header), object);
            } else {
                self.tell_version_2(header, message, object);
            }
        });
        if context.wanted.is_some() {
            told::tell(header, message, number, context);
        }
    }

    fn tell_version_1(
        &self,
        header: &Header,
        message: &Message<'_>,
        is_reply: bool,
        object: &mut Object<'_>,
    ) {
        if !self.chosen.is_empty() {
            attributes(&self.chosen, &mut object.list("attributes"));
        }
        if is_reply && message.transforms.len() > 1 {
            proposals("server_proposals", &message.transforms, object);
        }
        let mut list = object.list("payload");
        message
            .payloads
            .iter()
            .filter_map(|kind| names::payload_1(*kind))
            .for_each(|name| list.bytes(name.as_bytes()));
        drop(list);
        let mut own = object.object("ikev1");
        if let Some(domain) = self.domain {
            own.number("doi", domain);
        }
        own.bool("encrypted_payloads", header.is_encrypted());
        if header.is_encrypted() {
            return;
        }
        for (key, said, is_client) in [("client", &self.said[0], true), ("server", &self.said[1], false)] {
            // Suricata's object of the client is always there, the server's once it has said something.
            if !is_client && said.key_exchange.is_empty() && said.nonce.is_empty() {
                continue;
            }
            let mut side = own.object(key);
            if !said.key_exchange.is_empty() {
                side.text("key_exchange_payload", &hexadecimal(&said.key_exchange));
                side.number("key_exchange_payload_length", said.key_exchange.len());
            }
            if !said.nonce.is_empty() {
                side.text("nonce_payload", &hexadecimal(&said.nonce));
                side.number("nonce_payload_length", said.nonce.len());
            }
            if is_client && !is_reply && !message.transforms.is_empty() {
                proposals("proposals", &message.transforms, &mut side);
            }
        }
        if !message.vendors.is_empty() {
            let mut list = own.list("vendor_ids");
            message.vendors.iter().for_each(|vendor| list.display(hexadecimal(vendor)));
        }
    }

    fn tell_version_2(&self, header: &Header, message: &Message<'_>, object: &mut Object<'_>) {
        if is_initiator(header) {
            object.text("role", "initiator");
        } else {
            object.text("role", "responder");
            for kind in [1, 3, 2, 4, 5] {
                let number = self.algorithms.get(usize::from(kind)).copied().flatten();
                if let Some((key, name)) = number.and_then(|number| names::transform(kind, number)) {
                    object.text(key, &name);
                }
            }
        }
        let mut list = object.list("payload");
        message.payloads.iter().for_each(|kind| list.bytes(names::payload_2(*kind).as_bytes()));
        drop(list);
        let mut own = object.object("ikev2");
        own.number("errors", message.errors);
        if !message.notifications.is_empty() {
            let mut list = own.list("notify");
            message
                .notifications
                .iter()
                .for_each(|number| list.bytes(names::notification(*number).as_bytes()));
        }
    }
}

/// Version 1 says who answers by the responder's cookie only: its first message has it.
fn context_is_reply(header: &Header) -> bool {
    header.responder != 0
}

fn is_initiator(header: &Header) -> bool {
    const INITIATOR: u8 = 8;
    header.flags & INITIATOR != 0
}

fn exchange_name(header: &Header) -> &'static str {
    match header.exchange {
        1 => "Base",
        2 => "Identity Protection",
        3 => "Authentication Only",
        4 => "Aggressive",
        5 => "Informational",
        6 => "Transaction (Config Mode)",
        32 => "Quick Mode",
        33 => "New Group Mode",
        34 => "IKE_SA_INIT",
        35 => "IKE_AUTH",
        36 => "CREATE_CHILD_SA",
        37 => "INFORMATIONAL",
        38 => "IKE_SESSION_RESUME",
        43 => "IKE_INTERMEDIATE",
        44 => "IKE_FOLLOWUP_KE",
        _ => "other",
    }
}

/// A proposal or transform: what stands between its header of four bytes and the next.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([_, _, l0, l1], _) = bytes.split_first_chunk::<4>()?;
    let (this, rest) = bytes.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))?;
    Some((this.get(4..)?, rest))
}

/// The transforms in the proposals of version 1 (RFC 2408 section 3.5).
fn read_proposals(mut bytes: &[u8], transforms: &mut Vec<Vec<Attribute>>) {
    while let Some((proposal, rest)) = counted(bytes) {
        bytes = rest;
        let Some(([_, _, index_bytes, _], body)) = proposal.split_first_chunk::<4>() else { continue };
        let mut body = body.get(usize::from(*index_bytes)..).unwrap_or_default();
        while let Some((transform, rest)) = counted(body) {
            body = rest;
            if transforms.len() >= TRANSFORMS_MAX {
                return;
            }
            transforms.push(read_attributes(transform.get(4..).unwrap_or_default()));
        }
    }
}

fn read_attributes(mut bytes: &[u8]) -> Vec<Attribute> {
    const SHORT: u16 = 0x8000;
    let mut attributes = Vec::new();
    while let Some(([k0, k1, v0, v1], rest)) = bytes.split_first_chunk::<4>() {
        let (kind, value) = (u16::from_be_bytes([*k0, *k1]), u16::from_be_bytes([*v0, *v1]));
        if attributes.len() >= TRANSFORMS_MAX {
            break;
        }
        if kind & SHORT != 0 {
            bytes = rest;
            let kind = kind & !SHORT;
            attributes.push(Attribute { kind, value, number: Some(value.into()), bytes: [].into() });
            continue;
        }
        let Some((long, rest)) = rest.split_at_checked(value.into()) else { break };
        bytes = rest;
        let number = <[u8; 4]>::try_from(long).ok().map(u32::from_be_bytes);
        let value = number.and_then(|number| u16::try_from(number).ok()).unwrap_or(0);
        attributes.push(Attribute { kind, value, number, bytes: long.into() });
    }
    attributes
}

fn attributes(all: &[Attribute], list: &mut List<'_>) {
    for attribute in all {
        let (key, value) = names::attribute(attribute.kind, attribute.value);
        let mut object = list.object();
        object.text("key", key).text("value", value);
        match attribute.number {
            Some(number) => object.number("raw", number),
            None => object.text("raw", &hexadecimal(&attribute.bytes)),
        };
    }
}

/// All proposals' attributes in one list, as version 2 of the record has them: a transform begins where a key comes again.
fn proposals(key: &'static str, transforms: &[Vec<Attribute>], object: &mut Object<'_>) {
    let mut list = object.list(key);
    transforms.iter().for_each(|transform| attributes(transform, &mut list));
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}
