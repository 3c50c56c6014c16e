//! Cassandra's native protocol (native_protocol_v3.spec to v5.spec), and the nodes' own connections by name.
//!
//! In: both directions of a stream. Out: one event per request with the kind of its answer; account, client and
//! kinds of statement in metadata. Rows pass unseen. Compressed bodies are not read, nor what version 5 frames
//! after its start.

use super::pgsql::learn_statement;
use super::scan::{Scan, escaped};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of a frame's header.
const HEADER_BYTES: usize = 9;
/// Most bytes of a frame that are looked at; the rest passes.
const FRAME_BYTES_MAX: usize = 16 << 10;
/// Longest frame (native_protocol_v4.spec section 2.5).
const LENGTH_MAX: u32 = 256 << 20;
/// Most requests whose answers are awaited.
const PENDING_MAX: usize = 128;
/// What connections between nodes begin with.
const INTERNODE: &[u8] = &[0xca, 0x55, 0x2d, 0xfa];
const PORT: u16 = 9042;

mod op {
    pub(super) const ERROR: u8 = 0;
    pub(super) const STARTUP: u8 = 1;
    pub(super) const OPTIONS: u8 = 5;
    pub(super) const SUPPORTED: u8 = 6;
    pub(super) const QUERY: u8 = 7;
    pub(super) const PREPARE: u8 = 9;
    pub(super) const AUTH_RESPONSE: u8 = 15;
}

const NAMES: [&str; 17] = [
    "error",
    "startup",
    "ready",
    "authenticate",
    "credentials",
    "options",
    "supported",
    "query",
    "result",
    "prepare",
    "execute",
    "register",
    "event",
    "batch",
    "auth_challenge",
    "auth_response",
    "auth_success",
];

/// The header's flag of a version that is not settled.
const BETA: u8 = 0x10;

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Cassandra {
    pending: VecDeque<Request>,
    transactions: u64,
    is_lost: [bool; 2],
}

#[derive(Debug)]
struct Request {
    stream: u16,
    op: u8,
    query: Option<Vec<u8>>,
}

struct Header {
    version: u8,
    flags: u8,
    stream: u16,
    op: u8,
    length: u32,
}

fn header(bytes: &[u8]) -> Option<Header> {
    let mut scan = Scan::new(bytes);
    Some(Header {
        version: scan.u8()?,
        flags: scan.u8()?,
        stream: scan.be16()?,
        op: scan.u8()?,
        length: scan.be32()?,
    })
}

impl Dissector for Cassandra {
    const APP: App = App::Cassandra;

    const STARTS: Starts = Starts::stream(&[3, 4, 5, 0x83, 0x84, 0x85, 0xca]);

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if bytes.first() == Some(&0xca) {
            return match bytes.get(..INTERNODE.len()) {
                None => Probe::Unsure,
                Some(start) if start == INTERNODE => Probe::Certain,
                Some(_) => Probe::NotForUs,
            };
        }
        // What begins a session is not compressed, traced or warned of; elsewhere such bytes are SOCKS too often.
        let has_right = |flags: u8| flags & !BETA == 0 || flags <= 0x1f && first.has_port(PORT);
        let Some(header) = header(bytes) else {
            let is_possible = bytes.get(1).is_none_or(|flags| has_right(*flags));
            return if is_possible { Probe::Unsure } else { Probe::NotForUs };
        };
        let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
        // What follows the first frame says nothing of it.
        let body = body.get(..header.length as usize).unwrap_or(body);
        let is_whole = body.len() >= header.length as usize;
        if !has_right(header.flags) || usize::from(header.op) >= NAMES.len() || header.length > LENGTH_MAX {
            return Probe::NotForUs;
        }
        let has_mark = memchr::memmem::find(body, b"CQL_VERSION").is_some();
        match header.op {
            op::STARTUP | op::SUPPORTED if header.length >= 4096 => Probe::NotForUs,
            op::STARTUP | op::SUPPORTED if has_mark => Probe::Certain,
            op::STARTUP | op::SUPPORTED if !is_whole => Probe::Unsure,
            op::OPTIONS if header.length == 0 && bytes.len() == HEADER_BYTES && header.version < 0x80 => {
                if first.has_port(PORT) || header.flags == 0 && header.stream == 0 {
                    Probe::Likely
                } else {
                    Probe::NotForUs
                }
            }
            _ if first.has_port(PORT) && bytes.len() == HEADER_BYTES + header.length as usize => {
                Probe::Likely
            }
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Cassandra::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_lost[index] {
                return Progress::Used(bytes.len());
            }
            if rest.first() == Some(&0xca) {
                return Progress::Done;
            }
            let Some(header) = header(rest) else { break };
            let is_right = matches!(header.version & 0x7f, 3..=5)
                && usize::from(header.op) < NAMES.len()
                && header.length <= LENGTH_MAX;
            if !is_right {
                // Version 5 has frames of its own after the start.
                self.is_lost[index] = true;
                continue;
            }
            let size = HEADER_BYTES + header.length as usize;
            let Some(body) = rest.get(HEADER_BYTES..size.min(FRAME_BYTES_MAX)) else { break };
            used = used.saturating_add(size);
            // A compressed body is nobody's to read.
            let body = if header.flags & 1 == 1 { &[] } else { body };
            match context.direction {
                Direction::Forward => self.request(&header, body, context),
                Direction::Reverse => self.answer(&header, body, context),
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        if self.is_lost == [true; 2] { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        while let Some(request) = self.pending.pop_front() {
            self.tell(&request, None, context);
        }
    }
}

fn short_text<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    let length = scan.be16()?;
    scan.take(length.into())
}

impl Cassandra {
    fn request(&mut self, header: &Header, body: &[u8], context: &mut Context<'_>) {
        let mut scan = Scan::new(body);
        let mut query = None;
        context.metadata.set_text(Field::Version, &format!("v{}", header.version & 0x7f));
        match header.op {
            op::STARTUP => {
                let mut driver = String::new();
                for _ in 0..scan.be16().unwrap_or(0).min(32) {
                    let (Some(key), Some(value)) = (short_text(&mut scan), short_text(&mut scan)) else {
                        break;
                    };
                    match key {
                        b"DRIVER_NAME" => driver.insert_str(0, &String::from_utf8_lossy(value)),
                        b"DRIVER_VERSION" => driver.push_str(&format!(" {}", String::from_utf8_lossy(value))),
                        _ => {}
                    }
                }
                if !driver.is_empty() {
                    context.metadata.set_text(Field::ClientSoftware, driver.trim());
                }
            }
            op::AUTH_RESPONSE => {
                let token = scan.be32().and_then(|length| scan.take(length as usize)).unwrap_or_default();
                if let Some(user) = token.split(|byte| *byte == 0).nth(1).filter(|user| !user.is_empty()) {
                    context.metadata.add(Field::User, &String::from_utf8_lossy(user));
                }
            }
            op::QUERY | op::PREPARE => {
                let text = scan
                    .be32()
                    .map_or(&b""[..], |length| scan.rest().get(..length as usize).unwrap_or(scan.rest()));
                learn_statement(text, context);
                query = Some(text.to_vec());
            }
            _ => context
                .metadata
                .add(Field::Command, NAMES.get(usize::from(header.op)).copied().unwrap_or_default()),
        }
        if self.pending.len() >= PENDING_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            self.tell(&oldest, None, context);
        }
        self.pending.push_back(Request { stream: header.stream, op: header.op, query });
    }

    fn answer(&mut self, header: &Header, body: &[u8], context: &mut Context<'_>) {
        let Some(at) = self.pending.iter().position(|request| request.stream == header.stream) else {
            return;
        };
        let Some(request) = self.pending.remove(at) else { return };
        self.tell(&request, Some((header.op, body)), context);
    }

    fn tell(&mut self, request: &Request, answer: Option<(u8, &[u8])>, context: &mut Context<'_>) {
        let id = self.transactions;
        self.transactions += 1;
        let name = |op: u8| NAMES.get(usize::from(op)).copied().unwrap_or_default();
        let error = answer.filter(|(op, _)| *op == op::ERROR).and_then(|(_, body)| {
            let mut scan = Scan::new(body);
            Some((scan.be32()?, short_text(&mut scan)?))
        });
        if let Some((code, _)) = error {
            context.metadata.add(Field::Status, &format!("{code:#06x}"));
        }
        context.tell(Direction::Forward, Some(id), |object| {
            object.text("command", name(request.op));
            if let Some(query) = &request.query {
                object.text("query", &escaped(query));
            }
            if let Some((op, _)) = answer {
                let mut response = object.object("response");
                response.text("type", name(op));
                if let Some((code, text)) = error {
                    response.number("code", code).bytes("message", text);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    fn frame(version: u8, stream: u16, op: u8, body: &[u8]) -> Vec<u8> {
        [&[version, 0][..], &stream.to_be_bytes(), &[op], &(body.len() as u32).to_be_bytes(), body].concat()
    }

    fn session() -> (Vec<u8>, Vec<u8>) {
        let startup = frame(4, 0, op::STARTUP, b"\0\x02\0\x0bCQL_VERSION\0\x053.0.0\0\x0bDRIVER_NAME\0\x01d");
        let query = frame(4, 1, op::QUERY, b"\0\0\0\x08select 1\0\x01\0");
        let server = [frame(0x84, 0, 2, b""), frame(0x84, 1, op::ERROR, b"\0\0\x20\0\0\x02no")].concat();
        ([startup, query].concat(), server)
    }

    #[test]
    fn what_follows_the_first_frame_does_not_make_it_a_start() {
        let probe = |bytes: &[u8]| Cassandra::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        let start = |text: &[u8]| [&[4, 0, 0, 0, op::STARTUP, 0, 0, 0, text.len() as u8], text].concat();
        let (right, wrong) = (start(b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0"), start(b"\0\x01\0\x04NAME"));
        for end in 1..right.len() {
            assert_ne!(probe(&right[..end]), Probe::NotForUs, "{end}");
        }
        assert_eq!(probe(&right), Probe::Certain);
        assert_eq!(probe(&wrong), Probe::NotForUs);
        assert_eq!(probe(&[wrong, right].concat()), Probe::NotForUs);
    }

    #[test]
    fn requests_are_told_with_the_kind_of_their_answers() {
        let (client, server) = session();
        let trial = Trial::<Cassandra>::new().client(&client).server(&server);
        let learned = trial.learned();
        assert!(
            learned.contains(r#"cassandra {"command":"startup","response":{"type":"ready"}}"#),
            "{learned}"
        );
        assert!(learned.contains(r#"{"command":"query","query":"select 1","response":{"type":"error","code":8192,"message":"no"}}"#), "{learned}");
        cuts_do_not_matter::<Cassandra>(&client, &server);
        survives_damage::<Cassandra>(&client, &server);
    }

    #[test]
    fn starts_are_recognised() {
        let probe = |bytes: &[u8], port| {
            Cassandra::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(4000, port))
        };
        assert_eq!(probe(&session().0, 9), Probe::Certain);
        assert_eq!(probe(&frame(4, 0, op::OPTIONS, b""), PORT), Probe::Likely);
        assert_eq!(probe(&frame(4, 9, op::QUERY, b"abc"), 9), Probe::NotForUs);
        assert_eq!(probe(INTERNODE, 9), Probe::Certain);
    }
}
