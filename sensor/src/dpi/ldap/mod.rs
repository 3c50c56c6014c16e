//! Lightweight Directory Access Protocol 2 and 3 (RFC 4511), over TCP, and over UDP as Windows' clients ask
//! for domain controllers (CLDAP).
//!
//! In: both directions of a stream, or datagrams. Out: who binds, what is asked for and how it is answered,
//! and one event per request with its responses in EVE's form. StartTLS hands over to TLS; what SASL protects
//! is not looked at.

mod event;
mod parts;
#[cfg(test)]
mod tests;

use super::buffers::{Buffer, Stage};
use super::der::{self, Header, SEQUENCE};
use super::ntlm::{self, Logon};
use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of a message that is waited for; a longer one loses its direction.
const MESSAGE_BYTES_MAX: usize = 200 << 10;
/// Most requests that wait for their answers; the oldest is told with what it has.
const REQUESTS_MAX: usize = 256;
/// Most bytes of requests and responses that wait: the oldest requests are told for new ones, further
/// responses are left out.
const HELD_BYTES_MAX: usize = 512 << 10;
/// The extended operation that begins TLS (RFC 4511 section 4.14).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
const PORTS: [u16; 3] = [389, 3268, 1389];

const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const UNBIND_REQUEST: u8 = 0x42;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_REFERENCE: u8 = 0x73;
const ABANDON_REQUEST: u8 = 0x50;
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
const INTERMEDIATE_RESPONSE: u8 = 0x79;

/// One message.
struct Operation<'a> {
    message: i64,
    tag: u8,
    content: &'a [u8],
    controls: &'a [u8],
}

impl<'a> Operation<'a> {
    fn parse(mut bytes: &'a [u8]) -> Option<Operation<'a>> {
        let mut rest = der::next_of(&mut bytes, SEQUENCE)?;
        let message = der::next_number(&mut rest)?;
        let operation = der::next(&mut rest)?;
        event::operation_name(operation.tag)?;
        let controls = der::next_of(&mut rest, 0xa0).unwrap_or_default();
        Some(Operation { message, tag: operation.tag, content: operation.content, controls })
    }

    fn is_request(&self) -> bool {
        matches!(self.tag, 0x60 | 0x42 | 0x63 | 0x66 | 0x68 | 0x4a | 0x6c | 0x6e | 0x50 | 0x77)
    }
}

/// A request that waits.
#[derive(Debug)]
struct Waiting {
    message: i64,
    transaction: u64,
    direction: Direction,
    is_start_tls: bool,
    is_sasl: bool,
    /// Its members and those of its responses, as JSON.
    request: Vec<u8>,
    responses: Vec<u8>,
}

/// State of an LDAP flow.
#[derive(Debug)]
pub(super) struct Ldap {
    waiting: VecDeque<Waiting>,
    transactions: u64,
    is_lost: [bool; 2],
    /// SASL may protect what follows.
    may_be_sealed: bool,
    /// Bytes of all that waits.
    held_bytes: usize,
}

impl Dissector for Ldap {
    const APP: App = App::Ldap;

    const STARTS: Starts = Starts::both(&[SEQUENCE]);

    fn probe(first: &First<'_>) -> Probe {
        let probe = probe(first.bytes, first.is_datagram());
        match probe {
            Probe::Likely if first.has_port_of(&PORTS) => Probe::Certain,
            other => other,
        }
    }

    fn new() -> Self {
        Ldap {
            waiting: VecDeque::new(),
            transactions: 0,
            is_lost: [false; 2],
            may_be_sealed: false,
            held_bytes: 0,
        }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        if self.is_lost[index] {
            if probe(bytes, false) != Probe::Certain {
                return Progress::Used(bytes.len());
            }
            self.is_lost[index] = false;
        }
        let mut rest = bytes;
        loop {
            let length = match der::header(rest) {
                Header::Cut => break,
                Header::Of(SEQUENCE, at, length) if at + length <= MESSAGE_BYTES_MAX => at + length,
                _ if self.may_be_sealed => return Progress::Done,
                _ => {
                    context.anomaly("invalid_data", None);
                    self.is_lost[index] = true;
                    return Progress::Used(bytes.len());
                }
            };
            let Some((message, after)) = rest.split_at_checked(length) else { break };
            rest = after;
            context.frame(Buffer::FrameLdapPdu, None, message);
            match Operation::parse(message) {
                Some(operation) if operation.is_request() => self.request(&operation, context),
                Some(operation) => {
                    if self.response(&operation, context) {
                        return Progress::Switch(bytes.len() - rest.len());
                    }
                }
                None => context.anomaly("invalid_data", None),
            }
        }
        if context.carrier == Carrier::Datagram && !rest.is_empty() {
            context.anomaly("incomplete_data", None);
        }
        Progress::Used(bytes.len() - rest.len())
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        while let Some(waiting) = self.waiting.pop_front() {
            tell(&waiting, context);
        }
    }

    fn describe(&self, _: Direction, transaction: u64, out: &mut Vec<u8>) {
        if let Some(waiting) = self.waiting.iter().find(|waiting| waiting.transaction == transaction) {
            waiting.write(&mut Object::begin(out));
        }
    }
}

impl Ldap {
    fn request(&mut self, operation: &Operation<'_>, context: &mut Context<'_>) {
        let (is_sasl, is_start_tls) = learn_request(operation, context);
        let mut request = Vec::new();
        if context.events.is_some() {
            event::request(operation, &mut Object::begin(&mut request));
        }
        let waiting = Waiting {
            message: operation.message,
            transaction: self.transactions,
            direction: context.direction,
            is_start_tls,
            is_sasl,
            request,
            responses: Vec::new(),
        };
        self.transactions += 1;
        parts::put_request(operation, waiting.transaction, context);
        if matches!(operation.tag, UNBIND_REQUEST | ABANDON_REQUEST) {
            tell(&waiting, context);
            return;
        }
        self.held_bytes += waiting.request.len();
        while self.waiting.len() >= REQUESTS_MAX || self.held_bytes > HELD_BYTES_MAX {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.held_bytes -= oldest.request.len() + oldest.responses.len();
            tell(&oldest, context);
        }
        self.waiting.push_back(waiting);
    }

    /// Returns whether TLS begins behind the message.
    fn response(&mut self, operation: &Operation<'_>, context: &mut Context<'_>) -> bool {
        let is_last = !matches!(operation.tag, SEARCH_ENTRY | SEARCH_REFERENCE | INTERMEDIATE_RESPONSE);
        let code = if is_last { der::next_number(&mut { operation.content }) } else { None };
        if operation.tag == BIND_RESPONSE {
            ntlm::learn_challenge(operation.content, context.metadata);
        }
        if let Some(code) = code {
            context.metadata.add(Field::Status, &event::result_name(code));
        }
        let at = self.waiting.iter().position(|waiting| waiting.message == operation.message);
        let Some(waiting) = at.and_then(|at| self.waiting.get_mut(at)) else {
            let mut responses = Vec::new();
            if context.events.is_some() {
                append(&mut responses, operation, true);
            }
            let waiting = Waiting {
                message: operation.message,
                transaction: self.transactions,
                direction: context.direction.flip(),
                is_start_tls: false,
                is_sasl: false,
                request: Vec::new(),
                responses,
            };
            self.transactions += 1;
            parts::put_response(operation, (context.direction, waiting.transaction), context);
            // A notice of the server's own has no request (RFC 4511 section 4.4).
            if operation.tag != EXTENDED_RESPONSE {
                context.anomaly("request_not_found", Some(waiting.transaction));
            }
            tell(&waiting, context);
            return false;
        };
        parts::put_response(operation, (waiting.direction.flip(), waiting.transaction), context);
        if context.events.is_some() && self.held_bytes < HELD_BYTES_MAX {
            let before = waiting.responses.len();
            append(&mut waiting.responses, operation, false);
            self.held_bytes += waiting.responses.len() - before;
        }
        if !is_last {
            return false;
        }
        let Some(waiting) = at.and_then(|at| self.waiting.remove(at)) else { return false };
        self.held_bytes -= waiting.request.len() + waiting.responses.len();
        tell(&waiting, context);
        self.may_be_sealed |= operation.tag == BIND_RESPONSE && waiting.is_sasl && code == Some(0);
        operation.tag == EXTENDED_RESPONSE && waiting.is_start_tls && code == Some(0)
    }
}

/// Adds a response to those before it, whose list is kept without its brackets.
fn append(responses: &mut Vec<u8>, operation: &Operation<'_>, is_alone: bool) {
    let mut text = Vec::with_capacity(128);
    {
        let mut object = Object::begin(&mut text);
        event::response(operation, is_alone, &mut object.list("l"));
    }
    // {"l":[ ... ]}
    let inner = text.get(6..text.len().saturating_sub(2)).unwrap_or_default();
    if !responses.is_empty() {
        responses.push(b',');
    }
    responses.extend_from_slice(inner);
}

fn tell(waiting: &Waiting, context: &mut Context<'_>) {
    context.reached(waiting.direction, waiting.transaction, Stage::Body);
    context.reached(waiting.direction.flip(), waiting.transaction, Stage::Body);
    context.tell(waiting.direction, Some(waiting.transaction), |object| waiting.write(object));
}

impl Waiting {
    fn write(&self, object: &mut Object<'_>) {
        if !self.request.is_empty() {
            object.raw("request", &self.request);
        }
        if !self.responses.is_empty() {
            let list = [b"[", &self.responses[..], b"]"].concat();
            object.raw("responses", &list);
        }
    }
}

/// Adds a request to the flow's metadata; returns whether it binds by SASL, whether it asks for TLS.
fn learn_request(operation: &Operation<'_>, context: &mut Context<'_>) -> (bool, bool) {
    let metadata = &mut *context.metadata;
    metadata.add(Field::Command, event::operation_name(operation.tag).unwrap_or_default());
    let mut rest = operation.content;
    match operation.tag {
        BIND_REQUEST => {
            if let Some(version) = der::next_number(&mut rest) {
                metadata.set_text(Field::Version, &version.to_string());
            }
            let name = event::octets(&mut rest);
            if !name.is_empty() {
                metadata.add(Field::User, &String::from_utf8_lossy(name));
            }
            let Some(mut sasl) = der::next_of(&mut rest, 0xa3) else {
                // Windows' own way to bind by NTLM.
                Logon::parse(rest).learn(metadata);
                return (false, false);
            };
            event::octets(&mut sasl);
            Logon::parse(event::octets(&mut sasl)).learn(metadata);
            return (true, false);
        }
        0x4a => metadata.add(Field::Object, &String::from_utf8_lossy(rest)),
        EXTENDED_REQUEST => {
            return (false, der::find(rest, 0x80).is_some_and(|name| name == START_TLS));
        }
        _ => {
            let object = event::octets(&mut rest);
            if !object.is_empty() {
                metadata.add(Field::Object, &String::from_utf8_lossy(object));
            }
        }
    }
    (false, false)
}

/// Whether bytes are the beginning of a message; a datagram's are all there are.
fn probe(bytes: &[u8], is_whole: bool) -> Probe {
    let unsure = if is_whole { Probe::NotForUs } else { Probe::Unsure };
    let (at, length) = match der::header(bytes) {
        Header::Of(SEQUENCE, at, length) if (5..=MESSAGE_BYTES_MAX).contains(&length) => (at, length),
        Header::Cut => return unsure,
        _ => return Probe::NotForUs,
    };
    if is_whole && at + length > bytes.len() {
        return Probe::NotForUs;
    }
    let body = bytes.get(at..).unwrap_or_default();
    let (number_at, tag_at) = match der::header(body) {
        Header::Of(der::INTEGER, header, bytes @ 1..=4) => (header, header + bytes),
        Header::Cut => return unsure,
        _ => return Probe::NotForUs,
    };
    if body.get(number_at).is_some_and(|high| high & 0x80 != 0) {
        return Probe::NotForUs;
    }
    let operation = body.get(tag_at..).unwrap_or_default();
    if operation.first().is_some_and(|tag| event::operation_name(*tag).is_none()) {
        return Probe::NotForUs;
    }
    let (tag, header, content) = match der::header(operation) {
        Header::Of(tag, header, content) => (tag, header, content),
        Header::Cut => return unsure,
        Header::Bad => return Probe::NotForUs,
    };
    let end = tag_at + header + content;
    // Behind the operation there is nothing, or controls.
    if end > length || end < length && body.get(end).is_some_and(|next| *next != 0xa0) {
        return Probe::NotForUs;
    }
    let start = operation.get(header..).unwrap_or_default();
    let expected: &[u8] = match tag {
        UNBIND_REQUEST => return if content == 0 { Probe::Certain } else { Probe::NotForUs },
        ABANDON_REQUEST | 0x4a | SEARCH_REFERENCE => return Probe::Likely,
        BIND_REQUEST => &[der::INTEGER, 1],
        0x61 | 0x65 | 0x67 | 0x69 | 0x6b | 0x6d | 0x6f | EXTENDED_RESPONSE => &[der::ENUMERATED, 1],
        EXTENDED_REQUEST => &[0x80],
        INTERMEDIATE_RESPONSE => return Probe::Likely,
        _ => &[der::OCTETS],
    };
    match start.get(..expected.len()) {
        Some(start) if start == expected => Probe::Certain,
        None if content >= expected.len() => unsure,
        _ => Probe::NotForUs,
    }
}
