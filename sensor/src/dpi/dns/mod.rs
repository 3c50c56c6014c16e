//! DNS over UDP and TCP (RFC 1035, RFC 7766), and what shares its messages: multicast DNS (RFC 6762) and
//! LLMNR (RFC 4795), which are applications of their own.
//!
//! In: datagrams, or a stream of messages with two-byte lengths. Out: names asked for, what was answered,
//! and one event per message in the form of EVE's DNS version 3, or of its `mdns` and `llmnr`. Messages are
//! read where they lie; nothing is kept between them but their count. NetBIOS names (RFC 1002), which look the
//! same, are not taken for DNS.

mod event;
mod link_local;
mod message;
mod probe;
#[cfg(test)]
mod tests;
mod told;
mod types;

use super::buffers::{Buffer, Stage};
use super::{Carrier, Context, Dissector, Event, First, Probe, Progress};
use message::{HEADER_BYTES, Message, NameBuffer, Odd, Walk, rdata_name};
use std::net::{Ipv4Addr, Ipv6Addr};
use types::rr;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;

/// The port of DNS.
const DNS_PORT: u16 = 53;

/// State of a DNS flow.
#[derive(Debug)]
pub(super) struct Dns(Messages);

/// State of a multicast DNS flow.
#[derive(Debug)]
pub(super) struct Mdns(Messages);

/// State of an LLMNR flow.
#[derive(Debug)]
pub(super) struct Llmnr(Messages);

macro_rules! dissectors {
    ($($name:ident $app:ident $probe:path;)*) => {$(
        impl Dissector for $name {
            const APP: App = App::$app;

            fn probe(first: &First<'_>) -> Probe {
                $probe(first)
            }

            fn new() -> Self {
                $name(Messages::default())
            }

            fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
                self.0.inspect(bytes, context)
            }

            fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
                self.0.is_lost[context.direction.index()] = true;
                Progress::Used(0)
            }

            fn close(&mut self, _: &mut Context<'_>) {}
        }
    )*};
}

dissectors! {
    Dns Dns probe::dns;
    Mdns Mdns probe::mdns;
    Llmnr Llmnr probe::llmnr;
}

/// What is known of a flow of messages.
#[derive(Debug, Default)]
struct Messages {
    /// Messages seen: each is a transaction of its own, as in Suricata.
    seen: u64,
    /// By direction: where messages begin in the stream is not known, since a gap.
    is_lost: [bool; 2],
}

impl Messages {
    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        match context.carrier {
            Carrier::Datagram => {
                self.message(bytes, context);
                Progress::Used(bytes.len())
            }
            Carrier::Stream => self.stream(bytes, context),
        }
    }

    fn stream(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        if self.is_lost[index] {
            if bytes.is_empty() || probe::stream(bytes) != Probe::Certain {
                return Progress::Used(bytes.len());
            }
            self.is_lost[index] = false;
        }
        let mut rest = bytes;
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length < HEADER_BYTES {
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

    fn message(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let Some(message) = Message::new(bytes) else {
            context.anomaly("malformed_data", None);
            return;
        };
        let mut names = NameBuffer::default();
        let walk = message.walk(&mut names);
        let transaction = Some(self.seen).filter(|_| walk != Walk::Broken(0));
        context.frame(Buffer::FrameDnsPdu, transaction, bytes);
        if walk == Walk::Broken(0) {
            // What cannot be read to the end of its questions is no message; the names that can be are kept.
            context.anomaly("malformed_data", None);
            learn(&message, &mut names, context);
            return;
        }
        let transaction = self.seen;
        self.seen += 1;
        note_oddities(&message, walk, transaction, context);
        learn(&message, &mut names, context);
        let app = context.app;
        // A response's source is who answers, whoever began the flow as captured.
        let direction = context.direction;
        context.tell(direction, Some(transaction), |object| match app {
            App::Mdns | App::Llmnr => link_local::write(&message, app, &mut names, object),
            _ => event::write(&message, transaction, &mut names, object),
        });
        if context.wanted.is_some() {
            told::tell(&message, transaction, &mut names, context);
        }
        note_names(names.odd(), transaction, context);
        if context.wanted.is_some() {
            context.reached(direction, transaction, Stage::Body);
        }
    }
}

/// Whether a body of this type is a DNS message (RFC 8484 section 6).
pub(super) fn is_media_type(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/dns-message";
    content_type.get(..TYPE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(TYPE))
}

/// The message in the query of a GET (RFC 8484 section 4.1), told.
pub(super) fn carried_in_target(target: &[u8], transaction: u64, context: &mut Context<'_>) {
    use base64::Engine as _;
    let Some(at) = memchr::memmem::find(target, b"dns=") else { return };
    if !matches!(target.get(..at), Some([.., b'?' | b'&'])) {
        return;
    }
    let value = target.get(at + 4..).unwrap_or_default();
    let value = value.split(|byte| matches!(byte, b'&' | b'#' | b'=')).next().unwrap_or_default();
    if let Ok(bytes) = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(value) {
        carried(&bytes, transaction, context);
    }
}

/// Tells a message that HTTP carries (RFC 8484), where the bytes are one.
pub(super) fn carried(bytes: &[u8], transaction: u64, context: &mut Context<'_>) {
    let Some(message) = Message::new(bytes) else { return };
    let mut names = NameBuffer::default();
    if !matches!(message.walk(&mut names), Walk::Whole | Walk::Trailing) {
        return;
    }
    // A flow of HTTP/1 stays one: most of what it carries is something else.
    if context.app == App::Http2 {
        context.found_inside = Some(App::Doh2);
        learn(&message, &mut names, context);
        if context.wanted.is_some() {
            told::tell(&message, transaction, &mut names, context);
        }
    }
    let (time, direction) = (context.time, context.direction);
    if let Some(events) = context.events.as_deref_mut() {
        let mut body = Vec::with_capacity(256);
        event::write(&message, transaction, &mut names, &mut Object::begin(&mut body));
        let transaction = Some(transaction);
        events.push(Event { transaction, ..Event::new(App::Dns, time, direction, body) });
    }
}

/// Tells what is wrong with a message's names, as far as they were looked at, under Suricata's names.
fn note_names(odd: Odd, transaction: u64, context: &mut Context<'_>) {
    if odd.is_cut {
        context.anomaly("name_too_long", Some(transaction));
    }
    if odd.is_loop {
        context.anomaly("infinite_loop", Some(transaction));
    }
    if odd.has_many_labels {
        context.anomaly("too_many_labels", Some(transaction));
    }
}

/// Tells what is wrong with a message, under Suricata's names.
fn note_oddities(message: &Message<'_>, walk: Walk, transaction: u64, context: &mut Context<'_>) {
    let event = match walk {
        Walk::Broken(2) => Some("invalid_authorities"),
        Walk::Broken(3) => Some("invalid_additionals"),
        Walk::Broken(_) => Some("malformed_data"),
        Walk::Whole | Walk::Trailing => None,
    };
    if let Some(event) = event {
        context.anomaly(event, Some(transaction));
    }
    if context.app == App::Llmnr {
        return;
    }
    const Z: u16 = 0x0040;
    if message.flags() & Z != 0 {
        context.anomaly("z_flag_set", Some(transaction));
    }
    const OPCODE_MAX: u8 = 6;
    if message.opcode() > OPCODE_MAX {
        context.anomaly("invalid_opcode", Some(transaction));
    }
    if context.app != App::Dns {
        return;
    }
    // Who asks and who answers is known where one end alone has the port.
    let (source, destination) = (context.end(context.direction).1, context.end(context.direction.flip()).1);
    match (source == DNS_PORT, destination == DNS_PORT, message.is_response()) {
        (false, true, true) => context.anomaly("not_request", Some(transaction)),
        (true, false, false) => context.anomaly("not_response", Some(transaction)),
        _ => {}
    }
}
/// Adds a message's questions and answers to the flow's metadata.
fn learn(message: &Message<'_>, names: &mut NameBuffer, context: &mut Context<'_>) {
    let metadata = &mut *context.metadata;
    message.questions(names, |name, rtype| {
        metadata.add(Field::DnsQuery, &types::text(name.text));
        if metadata.get(Field::DnsQueryType).is_none() {
            metadata.set_text(Field::DnsQueryType, &types::rr_name(rtype));
        }
    });
    if !message.is_response() {
        return;
    }
    metadata.set_number(Field::DnsRcode, u64::from(message.rcode()));
    if metadata.is_full(Field::DnsAnswers) {
        return;
    }
    let [answers, authorities, additionals] = message.sections();
    // Addresses and aliases count wherever they stand: multicast DNS has them in the additional section.
    let beside =
        authorities.chain(additionals).filter(|record| matches!(record.rtype, rr::A | rr::AAAA | rr::CNAME));
    for record in answers.chain(beside) {
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
                    add(&types::text(name.text));
                }
            }
            _ => {}
        }
    }
}
