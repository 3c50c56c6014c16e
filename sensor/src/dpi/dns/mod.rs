//! DNS over UDP and TCP (RFC 1035, RFC 7766), and what shares its messages: multicast DNS (RFC 6762) and
//! LLMNR (RFC 4795).
//!
//! In: datagrams, or a stream of messages with two-byte lengths. Out: names asked for, what was answered,
//! and one event per message in the form of EVE's DNS version 3. Messages are read where they lie;
//! nothing is kept between them but their count. NetBIOS names (RFC 1002), which look the same, are not
//! taken for DNS.

mod event;
mod message;
#[cfg(test)]
mod tests;
mod types;

use super::{Carrier, Context, Dissector, Event, First, Probe, Progress};
use message::{HEADER_BYTES, Message, NameBuffer, rdata_name};
use std::net::{Ipv4Addr, Ipv6Addr};
use types::rr;
use weir_common::app::App;
use weir_common::metadata::{Field, LIST_VALUES_MAX};

/// Shortest message with a question: header, root name, type, class.
const QUESTION_MESSAGE_BYTES_MIN: usize = HEADER_BYTES + 5;
/// Most questions of a message that is taken for DNS; multicast DNS asks several things at once.
const PROBE_QUESTIONS_MAX: u16 = 64;

/// State of a DNS flow.
#[derive(Debug)]
pub(super) struct Dns {
    /// Messages seen: each is a transaction of its own, as in Suricata.
    messages: u64,
    /// By direction: where messages begin in the stream is not known, since a gap.
    is_lost: [bool; 2],
}

impl Dissector for Dns {
    const APP: App = App::Dns;

    fn probe(first: &First<'_>) -> Probe {
        match first.carrier {
            Carrier::Datagram => probe_message(first.bytes, first.bytes.len()),
            Carrier::Stream => probe_stream(first.bytes),
        }
    }

    fn new() -> Dns {
        Dns { messages: 0, is_lost: [false; 2] }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        match context.carrier {
            Carrier::Datagram => {
                self.message(bytes, context);
                Progress::Used(bytes.len())
            }
            Carrier::Stream => self.stream(bytes, context),
        }
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

impl Dns {
    fn stream(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        if self.is_lost[index] {
            if bytes.is_empty() || probe_stream(bytes) != Probe::Certain {
                return Progress::Used(bytes.len());
            }
            self.is_lost[index] = false;
        }
        let mut rest = bytes;
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length < HEADER_BYTES {
                *context.malformed += 1;
                self.is_lost[index] = true;
                return Progress::Used(bytes.len());
            }
            let Some((message, after)) = after.split_at_checked(length) else { break };
            self.message(message, context);
            rest = after;
        }
        Progress::Used(bytes.len() - rest.len())
    }

    fn message(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let Some(message) = Message::new(bytes) else {
            *context.malformed += 1;
            return;
        };
        let mut names = NameBuffer::default();
        let is_whole = message.is_whole(&mut names);
        if !is_whole {
            *context.malformed += 1;
            // Without one readable question or record there is nothing to tell.
            if message.questions(&mut names, |_, _| {}).is_none() {
                return;
            }
        }
        let transaction = self.messages;
        self.messages += 1;
        learn(&message, &mut names, context);
        if let Some(events) = context.events.as_deref_mut() {
            let mut body = Vec::with_capacity(256 + 4 * bytes.len());
            event::write(&message, transaction, &mut names, &mut body);
            let (time, direction) = (context.time, context.direction);
            events.push(Event {
                transaction: Some(transaction),
                ..Event::new(App::Dns, time, direction, body)
            });
        }
    }
}

/// Adds a message's questions and answers to the flow's metadata.
fn learn(message: &Message<'_>, names: &mut NameBuffer, context: &mut Context<'_>) {
    let metadata = &mut *context.metadata;
    message.questions(names, |name, rtype| {
        metadata.add(Field::DnsQuery, &types::text(name));
        if metadata.get(Field::DnsQueryType).is_none() {
            metadata.set_text(Field::DnsQueryType, &types::rr_name(rtype));
        }
    });
    if !message.is_response() {
        return;
    }
    metadata.set_number(Field::DnsRcode, u64::from(message.rcode()));
    if metadata.list(Field::DnsAnswers).len() >= LIST_VALUES_MAX {
        return;
    }
    for record in message.answers() {
        let mut add = |text: &str| metadata.add(Field::DnsAnswers, text);
        match record.rtype {
            rr::A => {
                if let Ok(octets) = <[u8; 4]>::try_from(record.data) {
                    add(&Ipv4Addr::from(octets).to_string());
                }
            }
            rr::AAAA => {
                if let Ok(octets) = <[u8; 16]>::try_from(record.data) {
                    add(&Ipv6Addr::from(octets).to_string());
                }
            }
            rr::CNAME | rr::PTR => {
                if let Some(name) = rdata_name(message, &record, 0, names) {
                    add(&types::text(name));
                }
            }
            _ => {}
        }
    }
}

fn probe_stream(bytes: &[u8]) -> Probe {
    let Some((length, message)) = bytes.split_first_chunk() else { return Probe::Unsure };
    let length = usize::from(u16::from_be_bytes(*length));
    if length < QUESTION_MESSAGE_BYTES_MIN {
        return Probe::NotForUs;
    }
    probe_message(message.get(..length).unwrap_or(message), length)
}

/// Whether bytes are the beginning of a DNS message of `length` bytes.
fn probe_message(bytes: &[u8], length: usize) -> Probe {
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
        is_plain &= name.iter().all(u8::is_ascii_graphic);
        is_netbios |= types::is_netbios_name(name);
        is_known &= types::is_question_type(rtype);
    });
    if end.is_none() {
        return if is_cut { Probe::Unsure } else { Probe::NotForUs };
    }
    if is_netbios || !is_known || !message.has_question_classes() {
        return Probe::NotForUs;
    }
    // One plain question and counts that fit are enough: fewer than one in 2^40 random messages get
    // here. What follows it may be cut off by the capture, damaged, or padded.
    if questions == 1 && is_plain || message.is_whole(&mut names) {
        return Probe::Certain;
    }
    if is_cut { Probe::Unsure } else { Probe::NotForUs }
}
