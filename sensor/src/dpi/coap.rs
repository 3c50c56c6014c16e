//! The Constrained Application Protocol over UDP (RFC 7252).
//!
//! In: datagrams. Out: methods, hosts, paths and codes of the answers, and one event per message. Blocks are told
//! one by one; payloads are not looked at.

use crate::dpi::bytes::{be16, u8_at};
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;

const PORTS: [u16; 2] = [5683, 5684];
const HEADER_BYTES: usize = 4;
/// Most options of a message that are read.
const OPTIONS_MAX: usize = 64;
/// Most bytes of a path or query that are put together.
const PATH_BYTES_MAX: usize = 1024;

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
        let (token, mut rest) = bytes.get(HEADER_BYTES..)?.split_at_checked(token_bytes)?;
        let mut message =
            Message { kind: head >> 4 & 3, code, id: be16(bytes, 2)?, token, ..Message::default() };
        code_name(code)?;
        // An empty message is only that.
        if code == 0 {
            return (bytes.len() == HEADER_BYTES).then_some(message);
        }
        let mut number = 0u16;
        while let Some((head, after)) = rest.split_first() {
            if *head == 0xff {
                message.payload_bytes = after.len();
                return (!after.is_empty()).then_some(message);
            }
            message.options += 1;
            if message.options > OPTIONS_MAX {
                return None;
            }
            let (delta, after) = extended(head >> 4, after)?;
            let (length, after) = extended(head & 15, after)?;
            number = number.checked_add(delta)?;
            let (value, after) = after.split_at_checked(usize::from(length))?;
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
        Some(message)
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

impl Dissector for Coap {
    const APP: App = App::Coap;

    const STARTS: Starts = Starts::datagram(&STARTS);

    fn probe(first: &First<'_>) -> Probe {
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
        let transaction = self.messages;
        self.messages += 1;
        let Some(message) = Message::read(bytes) else {
            context.anomaly("malformed_message", Some(transaction));
            return Progress::Used(bytes.len());
        };
        let name = code_name(message.code).unwrap_or("unknown");
        if message.is_request() {
            context.metadata.add(Field::Command, name);
        } else if message.code != 0 {
            context.metadata.add(Field::Status, name);
        }
        if !message.path.is_empty() {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(&message.path));
        }
        if let Some(host) = message.host {
            context.metadata.add(Field::EndpointName, &String::from_utf8_lossy(host));
        }
        let direction = context.direction;
        context.tell(direction, Some(transaction), |object| {
            const KINDS: [&str; 4] = ["confirmable", "non_confirmable", "acknowledgement", "reset"];
            object.text("type", KINDS.get(usize::from(message.kind)).copied().unwrap_or_default());
            object.number("message_id", message.id);
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
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
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
