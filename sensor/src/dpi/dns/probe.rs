//! Whether first bytes are a message of DNS, multicast DNS or LLMNR.
//!
//! In: a datagram, or the beginning of a stream. Out: a verdict. Multicast DNS and LLMNR are told from DNS by
//! their ports, beside content that must be a message's.

use super::message::{HEADER_BYTES, Message, NameBuffer};
use super::types;
use crate::dpi::{Carrier, First, Probe};

/// Shortest message with a question: header, root name, type, class.
const QUESTION_MESSAGE_BYTES_MIN: usize = HEADER_BYTES + 5;
/// Most questions of a message that is taken for DNS; multicast DNS asks several things at once.
const PROBE_QUESTIONS_MAX: u16 = 64;
/// Most records of one section of a multicast message.
const PROBE_RECORDS_MAX: u16 = 512;

const MDNS_PORT: u16 = 5353;
const LLMNR_PORT: u16 = 5355;
/// The name service of NetBIOS, whose messages have the same form.
const NETBIOS_PORT: u16 = 137;

pub(super) fn dns(first: &First<'_>) -> Probe {
    let is_ours =
        !first.has_port_of(&[MDNS_PORT, LLMNR_PORT, NETBIOS_PORT]) || first.has_port(super::DNS_PORT);
    match first.carrier {
        Carrier::Datagram if is_ours => match whole(first.bytes, first.bytes.len()) {
            Probe::Certain => Probe::Certain,
            _ if first.has_port(super::DNS_PORT) => on_port(first.bytes),
            other => other,
        },
        Carrier::Stream if is_ours => stream(first.bytes),
        _ => Probe::NotForUs,
    }
}

pub(super) fn mdns(first: &First<'_>) -> Probe {
    let is_there = first.is_datagram() && first.has_port(MDNS_PORT) && !first.has_port(super::DNS_PORT);
    if is_there { link_local(first.bytes) } else { Probe::NotForUs }
}

pub(super) fn llmnr(first: &First<'_>) -> Probe {
    if !first.has_port(LLMNR_PORT) || first.has_port(super::DNS_PORT) {
        return Probe::NotForUs;
    }
    match first.carrier {
        Carrier::Datagram => link_local(first.bytes),
        Carrier::Stream => stream(first.bytes),
    }
}

/// A message on the port of multicast DNS or LLMNR: its header is possible and its first question or record
/// can be read. Names there may be anything in UTF-8.
fn link_local(bytes: &[u8]) -> Probe {
    let Some(message) = Message::new(bytes) else { return Probe::NotForUs };
    let counts = [0, 1, 2, 3].map(|section| message.count(section));
    let is_possible = matches!(message.opcode(), 0 | 4 | 5)
        && counts[0] <= PROBE_QUESTIONS_MAX
        && counts.iter().all(|count| *count <= PROBE_RECORDS_MAX)
        && counts.iter().any(|count| *count > 0);
    let mut names = NameBuffer::default();
    if is_possible && message.has_readable_start(&mut names) { Probe::Certain } else { Probe::NotForUs }
}

/// A datagram on DNS's port that is not a proper message: its first question can be read, however many are announced; or
/// one is announced whose first label can be read, and the header says nothing that nobody says.
fn on_port(bytes: &[u8]) -> Probe {
    const FIRST_LABEL_AT: usize = HEADER_BYTES + 1;
    const Z: u16 = 0x0040;
    const LABEL_BYTES_MAX: u8 = 63;
    let Some(message) = Message::new(bytes) else { return Probe::NotForUs };
    let mut names = NameBuffer::default();
    if message.count(0) > 0 && message.opcode() <= 5 && message.has_readable_start(&mut names) {
        return Probe::Likely;
    }
    let is_possible = message.count(0) == 1 && message.opcode() <= 5 && message.flags() & Z == 0;
    let length = bytes.get(HEADER_BYTES).copied().unwrap_or(u8::MAX);
    let label = bytes.get(FIRST_LABEL_AT..FIRST_LABEL_AT + usize::from(length.min(LABEL_BYTES_MAX)));
    let is_readable = length <= LABEL_BYTES_MAX
        && label.is_some_and(|label| label.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '));
    if is_possible && is_readable { Probe::Likely } else { Probe::NotForUs }
}

pub(super) fn stream(bytes: &[u8]) -> Probe {
    let Some((length, message)) = bytes.split_first_chunk() else { return Probe::Unsure };
    let length = usize::from(u16::from_be_bytes(*length));
    if length < QUESTION_MESSAGE_BYTES_MIN {
        return Probe::NotForUs;
    }
    whole(message.get(..length).unwrap_or(message), length)
}

/// Whether bytes are the beginning of a DNS message of `length` bytes.
pub(super) fn whole(bytes: &[u8], length: usize) -> Probe {
    let Some(message) = Message::new(bytes) else {
        return if length < HEADER_BYTES { Probe::NotForUs } else { Probe::Unsure };
    };
    let is_cut = bytes.len() < length;
    let records = u32::from(message.count(1)) + u32::from(message.count(2)) + u32::from(message.count(3));
    let questions = message.count(0);
    // A question takes five bytes at least, a record eleven.
    let bytes_min = HEADER_BYTES + 5 * usize::from(questions) + 11 * records as usize;
    if questions > PROBE_QUESTIONS_MAX || bytes_min > length {
        return Probe::NotForUs;
    }
    let mut names = NameBuffer::default();
    if questions == 0 {
        // Without a question only a message that is right to its last byte says what it is.
        let is_right = message.is_response() && matches!(message.opcode(), 0 | 4 | 5) && records > 0;
        return match (is_right, is_cut) {
            (false, _) => Probe::NotForUs,
            (true, true) => Probe::Unsure,
            (true, false) if message.is_whole(&mut names) => Probe::Certain,
            (true, false) => Probe::NotForUs,
        };
    }
    let (mut is_plain, mut is_netbios, mut is_known) = (true, false, true);
    let end = message.questions(&mut names, |name, rtype| {
        is_plain &= name.text.iter().all(u8::is_ascii_graphic);
        is_netbios |= types::is_netbios_name(name.text);
        is_known &= types::is_question_type(rtype);
    });
    if end.is_none() {
        return if is_cut { Probe::Unsure } else { Probe::NotForUs };
    }
    if is_netbios || !is_known || names.odd().is_loop || !message.has_question_classes() {
        return Probe::NotForUs;
    }
    // One plain question and counts that fit are enough: fewer than one in 2^40 random messages get
    // here. What follows it may be cut off by the capture, damaged, or padded.
    if questions == 1 && is_plain || message.is_whole(&mut names) {
        return Probe::Certain;
    }
    if is_cut { Probe::Unsure } else { Probe::NotForUs }
}
