//! The Constrained Application Protocol over UDP (RFC 7252) and TCP (RFC 8323).
//!
//! In: datagrams, or both directions of a stream. Out: methods, hosts, paths and codes of the answers, and one event
//! per message. Blocks are told one by one; payloads are not looked at.

use crate::dpi::bytes::{be16, be32, u8_at};
use crate::dpi::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;

const PORTS: [u16; 2] = [5683, 5684];
const HEADER_BYTES: usize = 4;
/// Most options of a message that are read.
const OPTIONS_MAX: usize = 64;
/// Most bytes of a path or query that are put together.
const PATH_BYTES_MAX: usize = 1024;

/// Most bytes of a stream's message that are waited for and read, in which its options must be; what a longer one has
/// behind them passes.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Signaling (RFC 8323 section 5): the class of its codes, and the message that both ends of a stream begin with.
const SIGNALING: u8 = 0xe0;
const CAPABILITIES: u8 = 0xe1;

const URI_HOST: u16 = 3;
const URI_PATH: u16 = 11;
const CONTENT_FORMAT: u16 = 12;
const URI_QUERY: u16 = 15;

/// First bytes: version 1, any type, a token of at most eight bytes.
const STARTS: [u8; 36] = {
    let mut starts = [0; 36];
    let mut at = 0;
    while at < 36 {
        starts[at] = 0x40 | ((at / 9) as u8) << 4 | (at % 9) as u8;
        at += 1;
    }
    starts
};

/// First bytes of a stream: so many bytes of options, up to 268, and no token, in the message of capabilities.
const STREAM_STARTS: [u8; 14] =
    [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xa0, 0xb0, 0xc0, 0xd0];

/// How a message of a stream begins (RFC 8323 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    /// Where its code stands.
    code_at: usize,
    token_bytes: usize,
    /// Of all.
    bytes: usize,
}

/// The frame that the bytes begin with. `Err`: whether it may be one, of which too little is there.
fn frame(bytes: &[u8]) -> Result<Frame, bool> {
    let head = u8_at(bytes, 0).ok_or(true)?;
    let token_bytes = usize::from(head & 15);
    if token_bytes > 8 {
        return Err(false);
    }
    let (more, length) = match head >> 4 {
        13 => (1, u8_at(bytes, 1).map(|length| usize::from(length) + 13)),
        14 => (2, be16(bytes, 1).map(|length| usize::from(length) + 269)),
        15 => (4, be32(bytes, 1).map(|length| (length as usize).saturating_add(65_805))),
        length => (0, Some(usize::from(length))),
    };
    let length = length.ok_or(true)?;
    let code_at = 1 + more;
    Ok(Frame { code_at, token_bytes, bytes: length.saturating_add(code_at + 1 + token_bytes) })
}

/// The dissector of one flow.
#[derive(Debug, Default)]
pub(super) struct Coap {
    messages: u64,
}

#[derive(Debug, Default)]
struct Message<'a> {
    kind: u8,
    code: u8,
    id: u16,
    token: &'a [u8],
    host: Option<&'a [u8]>,
    path: Vec<u8>,
    query: Vec<u8>,
    format: Option<u16>,
    options: usize,
    payload_bytes: usize,
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Option<Message<'a>> {
        let head = u8_at(bytes, 0)?;
        let code = u8_at(bytes, 1)?;
        let token_bytes = usize::from(head & 15);
        if head >> 6 != 1 || token_bytes > 8 {
            return None;
        }
        let (token, rest) = bytes.get(HEADER_BYTES..)?.split_at_checked(token_bytes)?;
        let message = Message { kind: head >> 4 & 3, code, id: be16(bytes, 2)?, token, ..Message::default() };
        code_name(code)?;
        // An empty message is only that.
        if code == 0 {
            return (bytes.len() == HEADER_BYTES).then_some(message);
        }
        message.options(rest)
    }

    /// Reads a message of a stream, as far as its bytes are there.
    fn read_framed(frame: Frame, bytes: &'a [u8]) -> Option<Message<'a>> {
        let code = u8_at(bytes, frame.code_at)?;
        let (token, rest) = bytes.get(frame.code_at + 1..)?.split_at_checked(frame.token_bytes)?;
        code_name(code).or(signal_name(code))?;
        let mut message = Message { code, token, ..Message::default() }.options(rest)?;
        message.payload_bytes += frame.bytes.saturating_sub(bytes.len());
        Some(message)
    }

    /// Reads the options and what follows them.
    fn options(mut self, mut rest: &'a [u8]) -> Option<Message<'a>> {
        let message = &mut self;
        let mut number = 0u16;
        while let Some((head, after)) = rest.split_first() {
            if *head == 0xff {
                message.payload_bytes = after.len();
                return (!after.is_empty()).then_some(self);
            }
            message.options += 1;
            if message.options > OPTIONS_MAX {
                return None;
            }
            let (delta, after) = extended(head >> 4, after)?;
            let (length, after) = extended(head & 15, after)?;
            number = number.checked_add(delta)?;
            let (value, after) = after.split_at_checked(usize::from(length))?;
            // The numbers of signaling are its messages' own.
            if message.code & SIGNALING == SIGNALING {
                rest = after;
                continue;
            }
            if !is_known(number, value.len()) {
                return None;
            }
            match number {
                URI_HOST => message.host = Some(value),
                URI_PATH => join(&mut message.path, b'/', value),
                URI_QUERY => join(&mut message.query, b'&', value),
                CONTENT_FORMAT => {
                    message.format = Some(value.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte)));
                }
                _ => {}
            }
            rest = after;
        }
        Some(self)
    }

    fn is_request(&self) -> bool {
        (1..=7).contains(&self.code)
    }

    fn is_text(&self) -> bool {
        let is_text =
            |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(char::is_control));
        is_text(&self.path) && is_text(&self.query) && self.host.is_none_or(is_text)
    }
}

fn join(out: &mut Vec<u8>, separator: u8, part: &[u8]) {
    if out.len() + part.len() < PATH_BYTES_MAX {
        if separator == b'/' || !out.is_empty() {
            out.push(separator);
        }
        out.extend_from_slice(part);
    }
}

/// A delta or length of an option, which may go on in further bytes.
fn extended(nibble: u8, rest: &[u8]) -> Option<(u16, &[u8])> {
    match nibble {
        0..=12 => Some((nibble.into(), rest)),
        13 => Some((u16::from(u8_at(rest, 0)?) + 13, rest.get(1..)?)),
        14 => Some((be16(rest, 0)?.checked_add(269)?, rest.get(2..)?)),
        _ => None,
    }
}

/// Whether an option is registered and may be so long. The range for experiments may be anything.
fn is_known(number: u16, bytes: usize) -> bool {
    match number {
        1 => bytes <= 8,
        3 => (1..=255).contains(&bytes),
        4 => (1..=8).contains(&bytes),
        5 | 21 => bytes == 0,
        6 | 23 | 27 | 19 | 31 => bytes <= 3,
        7 | 12 | 17 => bytes <= 2,
        8 | 11 | 15 | 20 => bytes <= 255,
        9 => bytes <= 255,
        14 | 28 | 60 => bytes <= 4,
        16 => bytes <= 1,
        35 => (1..=1034).contains(&bytes),
        39 => (1..=255).contains(&bytes),
        252 | 292 => bytes <= 40,
        258 => bytes <= 1,
        2048..=65535 => true,
        _ => false,
    }
}

fn code_name(code: u8) -> Option<&'static str> {
    Some(match code {
        0 => "Empty",
        1 => "GET",
        2 => "POST",
        3 => "PUT",
        4 => "DELETE",
        5 => "FETCH",
        6 => "PATCH",
        7 => "iPATCH",
        0x41 => "Created",
        0x42 => "Deleted",
        0x43 => "Valid",
        0x44 => "Changed",
        0x45 => "Content",
        0x5f => "Continue",
        0x80 => "Bad Request",
        0x81 => "Unauthorized",
        0x82 => "Bad Option",
        0x83 => "Forbidden",
        0x84 => "Not Found",
        0x85 => "Method Not Allowed",
        0x86 => "Not Acceptable",
        0x88 => "Request Entity Incomplete",
        0x89 => "Conflict",
        0x8c => "Precondition Failed",
        0x8d => "Request Entity Too Large",
        0x8f => "Unsupported Content-Format",
        0x96 => "Unprocessable Entity",
        0x9d => "Too Many Requests",
        0xa0 => "Internal Server Error",
        0xa1 => "Not Implemented",
        0xa2 => "Bad Gateway",
        0xa3 => "Service Unavailable",
        0xa4 => "Gateway Timeout",
        0xa5 => "Proxying Not Supported",
        0xa8 => "Hop Limit Reached",
        _ => return None,
    })
}

/// Names of signaling (RFC 8323 sections 5.3 to 5.6).
fn signal_name(code: u8) -> Option<&'static str> {
    Some(match code {
        CAPABILITIES => "CSM",
        0xe2 => "Ping",
        0xe3 => "Pong",
        0xe4 => "Release",
        0xe5 => "Abort",
        _ => return None,
    })
}

/// Both ends of a stream begin with their capabilities (RFC 8323 section 5.3).
fn probe_stream(first: &First<'_>) -> Probe {
    let unsure = if first.bytes.len() < 8 { Probe::Unsure } else { Probe::NotForUs };
    let frame = match frame(first.bytes) {
        Ok(frame) if frame.bytes <= MESSAGE_BYTES_MAX && frame.token_bytes == 0 => frame,
        Err(true) => return unsure,
        _ => return Probe::NotForUs,
    };
    match u8_at(first.bytes, frame.code_at) {
        None => return unsure,
        Some(CAPABILITIES) => {}
        Some(_) => return Probe::NotForUs,
    }
    let Some(message) = first.bytes.get(..frame.bytes) else { return Probe::Unsure };
    match Message::read_framed(frame, message) {
        Some(message) if message.payload_bytes == 0 => {
            // Its settings may all be as they are by default, which says little.
            match (first.has_port_of(&PORTS), message.options) {
                (true, _) => Probe::Certain,
                (false, 1..) => Probe::Likely,
                (false, 0) => Probe::NotForUs,
            }
        }
        _ => Probe::NotForUs,
    }
}

impl Dissector for Coap {
    const APP: App = App::Coap;

    const STARTS: Starts = Starts::datagram(&STARTS).or(Starts::stream(&STREAM_STARTS));

    fn probe(first: &First<'_>) -> Probe {
        if first.is_stream() {
            return probe_stream(first);
        }
        let Some(message) = Message::read(first.bytes).filter(Message::is_text) else {
            return Probe::NotForUs;
        };
        // A confirmable or plain message has a request or response; acknowledgement and reset never a request.
        if message.kind >= 2 && message.is_request() || message.kind == 3 && message.code != 0 {
            return Probe::NotForUs;
        }
        let other = first.other.head();
        // An answer has the token of its request.
        let is_answer = first.other.len >= 4
            && !message.is_request()
            && other.first().is_some_and(|head| head >> 6 == 1)
            && other.get(4..4 + message.token.len()) == Some(message.token)
            && (!message.token.is_empty() || be16(other, 2) == Some(message.id));
        let says_something = message.is_request() && message.path.len() > 1 && message.path.is_ascii();
        match (first.has_port_of(&PORTS), is_answer, says_something) {
            (true, _, _) => Probe::Certain,
            (false, true, _) => Probe::Likely,
            // Text in its place, and nothing but it.
            (false, _, true) => Probe::Likely,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Coap::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            self.message(Message::read(bytes), context);
            return Progress::Used(bytes.len());
        }
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let frame = match frame(rest) {
                Ok(frame) => frame,
                Err(true) => break,
                Err(false) => return Progress::Broken("malformed_message"),
            };
            let Some(message) = rest.get(..frame.bytes.min(MESSAGE_BYTES_MAX)) else { break };
            // Empty messages keep a stream open (RFC 8323 section 3.4) and say nothing.
            if u8_at(message, frame.code_at) != Some(0) {
                self.message(Message::read_framed(frame, message), context);
            }
            used = used.saturating_add(frame.bytes);
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

impl Coap {
    /// Learns and tells what a message says; none where it could not be read.
    fn message(&mut self, message: Option<Message<'_>>, context: &mut Context<'_>) {
        let transaction = self.messages;
        self.messages += 1;
        let Some(message) = message else {
            context.anomaly("malformed_message", Some(transaction));
            return;
        };
        let name = code_name(message.code).or(signal_name(message.code)).unwrap_or("unknown");
        if message.is_request() {
            context.metadata.add(Field::Command, name);
        } else if message.code != 0 && message.code & SIGNALING != SIGNALING {
            context.metadata.add(Field::Status, name);
        }
        if !message.path.is_empty() {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(&message.path));
        }
        if let Some(host) = message.host {
            context.metadata.add(Field::EndpointName, &String::from_utf8_lossy(host));
        }
        let (direction, carrier) = (context.direction, context.carrier);
        context.tell(direction, Some(transaction), |object| {
            const KINDS: [&str; 4] = ["confirmable", "non_confirmable", "acknowledgement", "reset"];
            if carrier == Carrier::Datagram {
                object.text("type", KINDS.get(usize::from(message.kind)).copied().unwrap_or_default());
                object.number("message_id", message.id);
            }
            if !message.token.is_empty() {
                object.text("token", &super::bytes::hex(message.token, 8));
            }
            object.display("code", format_args!("{}.{:02}", message.code >> 5, message.code & 31));
            object.text("code_name", name);
            if let Some(host) = message.host {
                object.bytes("host", host);
            }
            if !message.path.is_empty() {
                object.bytes("path", &message.path);
            }
            if !message.query.is_empty() {
                object.bytes("query", &message.query);
            }
            if let Some(format) = message.format {
                object.number("content_format", format);
            }
            object.number("payload_length", message.payload_bytes);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};
    use weir_common::net::Direction;

    const ASK: &[u8] = b"\x42\x01\x12\x34ab\xb4temp\x02in\x43q=1";
    const ANSWER: &[u8] = b"\x62\x45\x12\x34ab\xc0\xff22.5";

    #[test]
    fn requests_and_answers_are_told() {
        let trial = Trial::<Coap>::new().over_datagrams().client(ASK).server(ANSWER);
        assert_eq!((trial.text(Field::Object), trial.text(Field::Status)), ("/temp/in", "Content"));
        let body = |at: usize| serde_json::from_slice::<serde_json::Value>(&trial.events[at].body).unwrap();
        let want = serde_json::json!({
            "type": "confirmable", "message_id": 0x1234, "token": "6162", "code": "0.01", "code_name": "GET",
            "path": "/temp/in", "query": "q=1", "payload_length": 0,
        });
        assert_eq!(body(0), want);
        assert_eq!((&body(1)["code"], &body(1)["payload_length"]), (&"2.05".into(), &4.into()));
        survives_damaged_datagrams::<Coap>(&[(Direction::Forward, ASK), (Direction::Reverse, ANSWER)]);
    }

    #[test]
    fn streams_begin_with_capabilities() {
        // What libcoap 4.3.1's client and server say: CSM from both, GET /time, its answer with an option of observing.
        const CLIENT: &[u8] = b"\x50\xe1\x23\x80\x01\0\x20\x51\x01\x01\xb4time";
        const SERVER: &[u8] = b"\x50\xe1\x23\x80\x01\0\x20\xd1\x06\x45\x01\xd1\x01\x01\xffNov 30 15:31:55";
        let probe = |bytes: &[u8], port| {
            Coap::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(40_000, port))
        };
        assert_eq!((probe(CLIENT, 5683), probe(CLIENT, 40_001)), (Probe::Certain, Probe::Likely));
        assert_eq!(probe(&CLIENT[..4], 5683), Probe::Unsure);
        assert_eq!(probe(b"\0\xe1", 5683), Probe::Certain, "nothing but defaults");
        assert_eq!(probe(b"\0\xe1", 40_001), Probe::NotForUs);
        assert_eq!(probe(b"\x50\xe2\x23\x80\x01\0\x20", 5683), Probe::NotForUs);
        let trial = Trial::<Coap>::new().client(CLIENT).server(SERVER).close();
        assert_eq!((trial.text(Field::Object), trial.text(Field::Status)), ("/time", "Content"));
        cuts_do_not_matter::<Coap>(CLIENT, SERVER);
        survives_damage::<Coap>(CLIENT, SERVER);
    }

    #[test]
    fn options_must_be_registered_and_fit() {
        let probe = |bytes: &[u8], port| {
            Coap::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes).between(40_000, port))
        };
        assert_eq!(probe(ASK, 5683), Probe::Certain);
        assert_eq!(probe(ASK, 40_001), Probe::Likely);
        assert_eq!(probe(&ASK[..8], 5683), Probe::NotForUs);
        assert_eq!(probe(b"\x40\x00\x12\x34", 5683), Probe::Certain);
        assert_eq!(probe(b"\x40\x00\x12\x34", 40_001), Probe::NotForUs);
        assert_eq!(probe(b"\x40\x01\x12\x34\x21a", 5683), Probe::NotForUs, "option 2 is nobody's");
        assert_eq!(probe(b"\x40\x01\x12\x34\xff", 5683), Probe::NotForUs, "a payload of nothing");
    }
}
