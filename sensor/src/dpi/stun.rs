//! STUN and TURN (RFC 8489, RFC 8656), and STUN of old (RFC 3489), over datagrams and streams.
//!
//! In: messages of both sides. Out: methods, software, account, realm, errors, the addresses that servers saw and
//! those of the peers that are relayed to; one event for the flow. What is relayed is passed over. Where DTLS
//! follows on the same flow, as in WebRTC (RFC 7983), the flow becomes that.

use super::dtls::is_dtls;
use crate::dpi::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_common::app::App;
use weir_common::metadata::{Field, Metadata};
use weir_common::net::Direction;

/// The number in every message since RFC 5389.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Type, length, cookie, transaction.
const HEADER_BYTES: usize = 20;
/// Messages and other datagrams looked at; then the flow is known well enough.
const MESSAGES_MAX: u16 = 128;
/// Attributes of one message that are looked at.
const ATTRIBUTES_MAX: usize = 32;
/// Ports that STUN and TURN are registered for, and those of large services.
const PORTS: [u16; 6] = [3478, 3479, 3480, 3481, 5349, 19302];

/// The dissector of one flow.
#[derive(Debug)]
pub(super) struct Stun {
    messages: u16,
    client: Option<Direction>,
    told: bool,
}

/// A message's header.
#[derive(Clone, Copy, Debug)]
struct Header<'a> {
    class: Class,
    method: u16,
    has_cookie: bool,
    /// Cookie and transaction, which addresses are mixed with.
    mask: &'a [u8],
    attributes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Bytes of the message at the front: header and attributes. None: it cannot be one.
fn message_bytes(bytes: &[u8]) -> Option<usize> {
    let [a, _, c, d, ..] = bytes else { return None };
    let length = usize::from(u16::from_be_bytes([*c, *d]));
    (a & 0xc0 == 0 && length.is_multiple_of(4)).then_some(HEADER_BYTES + length)
}

impl<'a> Header<'a> {
    /// The message that `bytes` are, in all.
    fn parse(bytes: &'a [u8]) -> Option<Header<'a>> {
        if message_bytes(bytes)? != bytes.len() {
            return None;
        }
        let (header, attributes) = bytes.split_at_checked(HEADER_BYTES)?;
        let kind = u16::from_be_bytes(*header.first_chunk()?);
        let mask = header.get(4..)?;
        // RFC 8489 section 5: the bits of the class lie between those of the method.
        let class = match kind & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        };
        let method = kind & 0x000f | kind >> 1 & 0x0070 | kind >> 2 & 0x0f80;
        Some(Header { class, method, has_cookie: mask.starts_with(&COOKIE), mask, attributes })
    }

    fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.attributes;
        std::iter::from_fn(move || {
            let ([k0, k1, l0, l1], data) = rest.split_first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let value = data.get(..length)?;
            rest = data.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((u16::from_be_bytes([*k0, *k1]), value))
        })
        .take(ATTRIBUTES_MAX)
    }

    /// Whether the attributes fill the message.
    fn is_exact(&self) -> bool {
        let bytes: usize = self.attributes().map(|(_, value)| 4 + value.len().next_multiple_of(4)).sum();
        bytes == self.attributes.len()
    }

    /// Whether it is a message of old, by what its attributes are.
    fn is_classic(&self) -> bool {
        if !matches!(self.method, 1 | 2) || self.class == Class::Indication || self.attributes.is_empty() {
            return false;
        }
        let mut rest = self.attributes;
        while let Some(([k0, k1, l0, l1], data)) = rest.split_first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let Some(value) = data.get(..length) else { return false };
            let fits = match u16::from_be_bytes([*k0, *k1]) {
                1 | 2 | 4 | 5 | 0xb | 0x8020 => matches!(value, [0, 1, _, _, _, _, _, _]),
                3 => length == 4,
                6 | 7 => length > 0 && length.is_multiple_of(4),
                8 => length == 20,
                9 => matches!(value, [0, 0, 1..=6, 0..=99, ..]),
                0x8022 | 0x8028 | 0x8050..=0x8070 => true,
                _ => false,
            };
            if !fits {
                return false;
            }
            rest = data.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        rest.is_empty()
    }
}

impl Dissector for Stun {
    const APP: App = App::Stun;

    const STARTS: Starts = {
        let mut starts = [0; 0x40];
        let mut byte = 0;
        while byte < starts.len() {
            starts[byte] = byte as u8;
            byte += 1;
        }
        Starts::both(&starts)
    };

    fn probe(first: &First<'_>) -> Probe {
        match first.carrier {
            Carrier::Stream => probe_stream(first.bytes),
            Carrier::Datagram => probe_datagram(first),
        }
    }

    fn new() -> Self {
        Stun { messages: 0, client: None, told: false }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            if is_dtls(bytes) {
                return Progress::Switch(0);
            }
            self.read(bytes, context);
            return self.progress(bytes.len(), context);
        }
        let mut used = 0;
        while let Some(rest) = bytes.get(used..) {
            let framing = frame_bytes(rest);
            let rest = rest.get(framing..).unwrap_or_default();
            let whole = match rest {
                // Data of a channel, padded in streams (RFC 8656 section 12.5).
                [0x40..=0x4f, _, c, d, ..] => {
                    4 + usize::from(u16::from_be_bytes([*c, *d])).next_multiple_of(4)
                }
                [_, _, _, _, ..] => match message_bytes(rest) {
                    Some(whole) => whole,
                    None => {
                        self.close(context);
                        return if used == 0 { Progress::Done } else { Progress::Switch(used) };
                    }
                },
                _ => break,
            };
            match rest.get(..whole) {
                Some(message) => self.read(message, context),
                None if matches!(rest, [0x40..=0x4f, ..]) => {}
                None => break,
            }
            used += framing + whole;
        }
        self.progress(used, context)
    }

    fn gap(&mut self, _missing: u64, context: &mut Context<'_>) -> Progress {
        self.close(context);
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.told, true) && !context.metadata.is_empty() {
            self.tell(context);
        }
    }
}

/// Bytes of a frame's length in front of a message (RFC 4571, which ICE over TCP uses).
fn frame_bytes(bytes: &[u8]) -> usize {
    match bytes {
        [a, b, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*a, *b]));
            let is_framed = rest.get(4..8) == Some(&COOKIE) && message_bytes(rest) == Some(length);
            if is_framed { 2 } else { 0 }
        }
        _ => 0,
    }
}

fn probe_stream(bytes: &[u8]) -> Probe {
    if bytes.len() < HEADER_BYTES + 2 {
        let is_possible = bytes.get(4..).is_none_or(|rest| rest.iter().zip(COOKIE).all(|(a, b)| *a == b))
            || bytes.get(6..).is_none_or(|rest| rest.iter().zip(COOKIE).all(|(a, b)| *a == b));
        let is_whole =
            bytes.len() == HEADER_BYTES && Header::parse(bytes).is_some_and(|header| header.has_cookie);
        return match (is_whole, is_possible) {
            (true, _) => Probe::Certain,
            (_, true) => Probe::Unsure,
            _ => Probe::NotForUs,
        };
    }
    let message = bytes.get(frame_bytes(bytes)..).unwrap_or_default();
    let is_message = message_bytes(message).is_some() && message.get(4..8) == Some(&COOKIE);
    if is_message { Probe::Certain } else { Probe::NotForUs }
}

fn probe_datagram(first: &First<'_>) -> Probe {
    let Some(header) = Header::parse(first.bytes) else { return Probe::NotForUs };
    if header.has_cookie || header.is_classic() {
        return Probe::Certain;
    }
    // Variants with attributes of their own (Zoom's): the port has to agree.
    let is_variant = matches!(header.method, 1 | 2) && !header.attributes.is_empty() && header.is_exact();
    if is_variant && first.has_port_of(&PORTS) {
        return Probe::Likely;
    }
    // A request of old says nothing but its number, which the answer repeats.
    let is_binding = header.method == 1 && header.class != Class::Indication && header.attributes.is_empty();
    let is_repeated = |head: &[u8]| {
        head.get(4..HEADER_BYTES) == Some(header.mask) && matches!(head.first_chunk(), Some([0 | 1, 1]))
    };
    match is_binding {
        true if is_repeated(first.other.head()) || is_repeated(first.before.head()) => Probe::Certain,
        true if first.has_port_of(&PORTS) => Probe::Likely,
        _ => Probe::NotForUs,
    }
}

impl Stun {
    fn progress(&mut self, used: usize, context: &mut Context<'_>) -> Progress {
        self.messages = self.messages.saturating_add(1);
        if self.messages >= MESSAGES_MAX {
            self.close(context);
            return Progress::Done;
        }
        Progress::Used(used)
    }

    fn read(&mut self, message: &[u8], context: &mut Context<'_>) {
        let Some(header) = Header::parse(message) else { return };
        let is_answer = matches!(header.class, Class::Success | Class::Error);
        let client = if is_answer { context.direction.flip() } else { context.direction };
        self.client.get_or_insert(client);
        let metadata = &mut *context.metadata;
        match method_name(header.method) {
            Some(name) => metadata.add(Field::Command, name),
            None => metadata.add(Field::Command, &format!("{:#06x}", header.method)),
        }
        for (kind, value) in header.attributes() {
            let text = || String::from_utf8_lossy(value.get(..value.len().min(512)).unwrap_or_default());
            match kind {
                0x0006 if header.class == Class::Request && !value.is_empty() => {
                    metadata.add(Field::User, text().trim_end_matches(['\0', ' ']));
                }
                0x0014 => metadata.set_bytes(Field::Domain, value),
                0x8022 if is_answer => metadata.set_bytes(Field::ServerSoftware, value),
                0x8022 => metadata.set_bytes(Field::ClientSoftware, value),
                0x0009 => add_error(value, metadata),
                0x0001 if header.class == Class::Success => {
                    add_address(Field::StunMapped, value, None, metadata);
                }
                0x0020 | 0x8020 => add_address(Field::StunMapped, value, Some(header.mask), metadata),
                0x0012 => add_address(Field::StunPeers, value, Some(header.mask), metadata),
                0x0016 => add_address(Field::StunRelayed, value, Some(header.mask), metadata),
                _ => {}
            }
        }
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        let metadata = std::mem::take(context.metadata);
        context.tell(self.client.unwrap_or(Direction::Forward), None, |object| {
            for (key, field) in [
                ("methods", Field::Command),
                ("usernames", Field::User),
                ("mapped_addresses", Field::StunMapped),
                ("relayed_addresses", Field::StunRelayed),
                ("peer_addresses", Field::StunPeers),
                ("errors", Field::Status),
            ] {
                let list = metadata.list(field);
                if !list.is_empty() {
                    object.texts(key, list.iter().map(|text| text.as_bytes()));
                }
            }
            object.text_if("realm", metadata.text(Field::Domain));
            object.text_if("client_software", metadata.text(Field::ClientSoftware));
            object.text_if("server_software", metadata.text(Field::ServerSoftware));
        });
        *context.metadata = metadata;
    }
}

fn method_name(method: u16) -> Option<&'static str> {
    Some(match method {
        0x001 => "Binding",
        0x002 => "SharedSecret",
        0x003 => "Allocate",
        0x004 => "Refresh",
        0x006 => "Send",
        0x007 => "Data",
        0x008 => "CreatePermission",
        0x009 => "ChannelBind",
        0x00a => "Connect",
        0x00b => "ConnectionBind",
        0x00c => "ConnectionAttempt",
        0x080 => "GOOG-PING",
        _ => return None,
    })
}

/// ERROR-CODE: class, number, words (RFC 8489 section 14.8).
fn add_error(value: &[u8], metadata: &mut Metadata) {
    if let [_, _, class, number, ..] = value {
        metadata.add(Field::Status, &(u32::from(class & 7) * 100 + u32::from(*number)).to_string());
    }
}

/// An address with its port, mixed with cookie and transaction where there is a mask.
fn add_address(field: Field, value: &[u8], mask: Option<&[u8]>, metadata: &mut Metadata) {
    let Some(([_, family, p0, p1], address)) = value.split_first_chunk::<4>() else { return };
    let mask = mask.unwrap_or(&[0; 16]);
    let [m0, m1, ..] = mask else { return };
    let port = u16::from_be_bytes([p0 ^ m0, p1 ^ m1]);
    let mut bytes = [0; 16];
    for ((clear, byte), mask) in bytes.iter_mut().zip(address).zip(mask) {
        *clear = byte ^ mask;
    }
    match (family, address.len()) {
        (1, 4) => {
            let [a, b, c, d, ..] = bytes;
            metadata.add(field, &format!("{}:{port}", Ipv4Addr::new(a, b, c, d)));
        }
        (2, 16) => metadata.add(field, &format!("[{}]:{port}", Ipv6Addr::from(bytes))),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, survives_damage, survives_damaged_datagrams};

    /// The sample response of RFC 5769 section 2.2: 192.0.2.1 port 32853.
    const RESPONSE: &[u8] =
        b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\
        \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
        \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
        \x80\x28\x00\x04\xc0\x7d\x4c\x96";

    fn request() -> Vec<u8> {
        let mut bytes =
            b"\x00\x01\x00\x0c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae".to_vec();
        bytes.extend(b"\x00\x06\x00\x07ab:cdef\x20");
        bytes
    }

    fn probe(bytes: &[u8]) -> Probe {
        Stun::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes))
    }

    #[test]
    fn a_binding_tells_software_account_and_mapped_address() {
        assert_eq!(probe(RESPONSE), Probe::Certain);
        let trial = Trial::<Stun>::new().over_datagrams().between(40_000, 3478);
        let trial = trial.client(&request()).server(RESPONSE).close();
        assert_eq!(trial.text(Field::Command), "Binding");
        assert_eq!(trial.text(Field::User), "ab:cdef");
        assert_eq!(trial.text(Field::ServerSoftware), "test vector");
        assert_eq!(trial.text(Field::StunMapped), "192.0.2.1:32853");
        assert_eq!(trial.event()["mapped_addresses"][0], "192.0.2.1:32853");
    }

    #[test]
    fn messages_of_old_are_known_by_their_attributes() {
        let old = b"\x01\x01\x00\x0c0123456789abcdef\x00\x01\x00\x08\x00\x01\x30\x39\xc0\x00\x02\x01";
        assert_eq!(probe(old), Probe::Certain);
        let trial = Trial::<Stun>::new().over_datagrams().server(old).close();
        assert_eq!(trial.text(Field::StunMapped), "192.0.2.1:12345");
        let mut other = old.to_vec();
        other[25] = 3;
        assert_eq!(probe(&other), Probe::NotForUs);
        let bare = b"\x00\x01\x00\x000123456789abcdef";
        assert_eq!(probe(bare), Probe::NotForUs);
        let first = First::of(Carrier::Datagram, Direction::Forward, bare).between(5000, 3478);
        assert_eq!(Stun::probe(&first), Probe::Likely);
    }

    #[test]
    fn streams_are_read_message_by_message() {
        let both = [RESPONSE, RESPONSE].concat();
        let (first, second) = both.split_at(90);
        let trial = Trial::<Stun>::new().server(first).server(second).close();
        assert_eq!(trial.text(Field::StunMapped), "192.0.2.1:32853");
        let framed = [&(RESPONSE.len() as u16).to_be_bytes(), RESPONSE].concat();
        let probe = |bytes: &[u8]| Stun::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&framed), Probe::Certain);
        assert_eq!(probe(&RESPONSE[..6]), Probe::Unsure);
        assert_eq!(probe(b"GET / HTTP/1.1\r\n\r\nxxxxxxxxxxxx"), Probe::NotForUs);
        assert_eq!(Trial::<Stun>::new().server(&framed).close().text(Field::StunMapped), "192.0.2.1:32853");
    }

    #[test]
    fn damage_does_not_panic() {
        survives_damaged_datagrams::<Stun>(&[
            (Direction::Forward, &request()),
            (Direction::Reverse, RESPONSE),
        ]);
        survives_damage::<Stun>(&request(), RESPONSE);
    }
}
