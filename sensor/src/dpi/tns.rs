//! Oracle's Transparent Network Substrate: how a client finds its database.
//!
//! In: both directions of a stream. Out: one event with what the connection is for (service, program, host,
//! account) and how the listener answered. What is said in the session is not read. The formats are as Wireshark
//! and Oracle's Net Services reference describe them.

use super::scan::{Scan, escaped};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of a packet's header.
const HEADER_BYTES: usize = 8;
/// Longest packet of a connection's start.
const PACKET_BYTES_MAX: usize = 32 << 10;

mod kind {
    pub(super) const CONNECT: u8 = 1;
    pub(super) const ACCEPT: u8 = 2;
    pub(super) const REFUSE: u8 = 4;
    pub(super) const REDIRECT: u8 = 5;
    pub(super) const RESEND: u8 = 11;
}

/// The dissector of one connection.
#[derive(Debug, Default)]
pub(super) struct Tns {
    connect: Option<Vec<u8>>,
    version: Option<u16>,
    answer: Option<(&'static str, Vec<u8>)>,
    is_told: bool,
    /// The data of a connection that is too long for its packet follow in another.
    is_awaited: bool,
}

impl Dissector for Tns {
    const APP: App = App::Tns;

    const STARTS: Starts = Starts::stream(&[0, 1, 2, 3, 4]);

    fn probe(first: &First<'_>) -> Probe {
        let mut scan = Scan::new(first.bytes);
        let head = (scan.be16(), scan.be16(), scan.u8(), scan.u8(), scan.be16());
        let (Some(length), Some(checksum), Some(kind), Some(_), Some(header_checksum)) = head else {
            let is_zero = |at| first.bytes.get(at).is_none_or(|byte| *byte == 0);
            let may_be = [2, 3, 6, 7].into_iter().all(is_zero)
                && first.bytes.get(4).is_none_or(|kind| {
                    matches!(*kind, kind::CONNECT | kind::ACCEPT | kind::REFUSE | kind::RESEND)
                });
            return if may_be { Probe::Unsure } else { Probe::NotForUs };
        };
        let length = usize::from(length);
        if checksum != 0 || header_checksum != 0 || length < HEADER_BYTES {
            return Probe::NotForUs;
        }
        let body = scan.rest();
        let is_exact = first.bytes.len() == length;
        match kind {
            kind::CONNECT => {
                let Some(version) = scan.be16() else { return Probe::Unsure };
                let Some(compatible) = scan.be16() else { return Probe::Unsure };
                let is_version = (300..=330).contains(&version) && (100..=version).contains(&compatible);
                if !is_version {
                    return Probe::NotForUs;
                }
                if connect_data(body).is_some_and(|data| data.starts_with(b"(")) || length < 90 {
                    Probe::Certain
                } else {
                    Probe::Likely
                }
            }
            kind::REFUSE | kind::ACCEPT | kind::RESEND if length > PACKET_BYTES_MAX => Probe::NotForUs,
            kind::REFUSE if first.bytes.len() < length => Probe::Unsure,
            kind::ACCEPT | kind::RESEND if first.bytes.len() < length && first.has_port(1521) => {
                Probe::Unsure
            }
            kind::REFUSE if is_exact && memchr::memmem::find(body, b"(DESCRIPTION=").is_some() => {
                Probe::Certain
            }
            kind::ACCEPT if is_exact && first.has_port(1521) => Probe::Likely,
            kind::RESEND if is_exact && length == HEADER_BYTES && first.has_port(1521) => Probe::Likely,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Tns::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let mut scan = Scan::new(rest);
            let (Some(length), Some(_), Some(kind)) = (scan.be16(), scan.be16(), scan.u8()) else { break };
            let length = usize::from(length);
            if !(HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length) {
                // Longer lengths are of later versions' sessions.
                self.tell(context);
                return Progress::Done;
            }
            let Some(body) = rest.get(HEADER_BYTES..length) else { break };
            used += length;
            self.packet(kind, body, context);
            if self.answer.is_some() && self.connect.is_some() {
                self.tell(context);
                return Progress::Done;
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.tell(context);
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.tell(context);
    }
}

/// The data of a CONNECT: its length and place stand in the packet.
fn connect_data(body: &[u8]) -> Option<&[u8]> {
    let length = usize::from(Scan::new(body.get(16..)?).be16()?);
    let offset = usize::from(Scan::new(body.get(18..)?).be16()?).checked_sub(HEADER_BYTES)?;
    body.get(offset..)?.get(..length)
}

/// The value of a key in `(KEY=value)`.
fn value<'a>(data: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let (mut from, key) = (0, key.as_bytes());
    loop {
        let at = from + memchr::memchr(b'(', data.get(from..)?)?;
        from = at + 1;
        let rest = data.get(from..)?;
        let equals = memchr::memchr(b'=', rest)?;
        if rest.get(..equals)?.trim_ascii().eq_ignore_ascii_case(key) {
            let text = rest.get(equals + 1..)?;
            let end = text.iter().position(|byte| matches!(byte, b'(' | b')'))?;
            return text.get(..end).map(<[u8]>::trim_ascii).filter(|text| !text.is_empty());
        }
    }
}

impl Tns {
    fn packet(&mut self, kind: u8, body: &[u8], context: &mut Context<'_>) {
        match (context.direction, kind) {
            (Direction::Forward, kind::CONNECT) => {
                self.version = Scan::new(body).be16();
                let data = connect_data(body).unwrap_or_default();
                self.is_awaited = data.is_empty();
                self.take_connect(data, context);
            }
            // The data of a connection that were too long.
            (Direction::Forward, _) if self.is_awaited => {
                self.is_awaited = false;
                self.take_connect(body.get(2..).unwrap_or_default(), context);
            }
            (Direction::Reverse, kind::ACCEPT) => self.answer = Some(("accept", Vec::new())),
            (Direction::Reverse, kind::REFUSE) => {
                let code = value(body, "ERR").map(<[u8]>::to_vec).unwrap_or_default();
                if !code.is_empty() {
                    context.metadata.add(Field::Status, &String::from_utf8_lossy(&code));
                }
                self.answer = Some(("refuse", code));
            }
            (Direction::Reverse, kind::REDIRECT) => {
                let text = body.get(2..).unwrap_or_default();
                let text = text.get(..memchr::memchr(0, text).unwrap_or(text.len())).unwrap_or_default();
                self.answer = Some(("redirect", text.to_vec()));
            }
            _ => {}
        }
    }

    fn take_connect(&mut self, data: &[u8], context: &mut Context<'_>) {
        for (key, field) in [("SERVICE_NAME", Field::Object), ("SID", Field::Object), ("USER", Field::User)] {
            if let Some(value) = value(data, key) {
                context.metadata.add(field, &String::from_utf8_lossy(value));
            }
        }
        // The first HOST is in the client's own description, where it says what it is.
        let client = memchr::memmem::find(data, b"(CID=").and_then(|at| data.get(at..)).unwrap_or_default();
        if let Some(host) = value(client, "HOST") {
            context.metadata.add(Field::EndpointName, &String::from_utf8_lossy(host));
        }
        if let Some(program) = value(client, "PROGRAM") {
            context.metadata.set_bytes(Field::ClientSoftware, program);
        }
        if let Some(version) = self.version {
            context.metadata.set_text(Field::Version, &version.to_string());
        }
        self.connect = Some(data.to_vec());
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        if self.is_told || self.connect.is_none() && self.answer.is_none() {
            return;
        }
        self.is_told = true;
        context.tell(Direction::Forward, Some(0), |object| {
            if let Some(version) = self.version {
                object.number("version", version);
            }
            if let Some(data) = &self.connect {
                let client =
                    memchr::memmem::find(data, b"(CID=").and_then(|at| data.get(at..)).unwrap_or_default();
                let values = [
                    ("service_name", value(data, "SERVICE_NAME")),
                    ("sid", value(data, "SID")),
                    ("program", value(client, "PROGRAM")),
                    ("host", value(client, "HOST")),
                    ("user", value(client, "USER")),
                ];
                for (key, value) in values {
                    if let Some(value) = value {
                        object.text(key, &escaped(value));
                    }
                }
                if let Some(command) = value(data, "COMMAND") {
                    object.text("command", &escaped(command));
                }
            }
            if let Some((answer, text)) = &self.answer {
                let mut response = object.object("response");
                response.text("type", answer);
                if !text.is_empty() {
                    response.text(if *answer == "refuse" { "code" } else { "address" }, &escaped(text));
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

    const DATA: &[u8] = b"(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=orcl)(CID=(PROGRAM=sqlplus)(HOST=pc)(USER=joe)))(ADDRESS=(HOST=10.0.0.1)))";

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        [&((body.len() + 8) as u16).to_be_bytes()[..], &[0, 0, kind, 0, 0, 0], body].concat()
    }

    fn connect() -> Vec<u8> {
        let mut fixed = vec![0; 50];
        fixed[..4].copy_from_slice(&[0x01, 0x3e, 0x01, 0x2c]);
        fixed[16..18].copy_from_slice(&(DATA.len() as u16).to_be_bytes());
        fixed[18..20].copy_from_slice(&58u16.to_be_bytes());
        packet(kind::CONNECT, &[fixed, DATA.to_vec()].concat())
    }

    #[test]
    fn a_connection_is_told_with_its_answer() {
        let refuse = packet(kind::REFUSE, b"\x22\0\0\x40(DESCRIPTION=(TMP=)(ERR=12514))");
        let trial = Trial::<Tns>::new().client(&connect()).server(&refuse);
        assert_eq!(
            trial.event(),
            serde_json::json!({"version": 318, "service_name": "orcl", "program": "sqlplus", "host": "pc", "user": "joe",
                "response": {"type": "refuse", "code": "12514"}})
        );
        assert_eq!((trial.text(Field::User), trial.text(Field::EndpointName)), ("joe", "pc"));
        cuts_do_not_matter::<Tns>(&connect(), &refuse);
        survives_damage::<Tns>(&connect(), &refuse);
    }

    #[test]
    fn connects_are_recognised() {
        let probe = |bytes: &[u8]| Tns::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&connect()), Probe::Certain);
        assert_eq!(probe(&packet(kind::CONNECT, &[0; 60])), Probe::NotForUs);
        assert_eq!(probe(&packet(kind::ACCEPT, &[0; 24])), Probe::NotForUs);
        let refusal = packet(kind::REFUSE, b"\x22\0\0\x41(DESCRIPTION=(ERR=12514))");
        for cut in 1..refusal.len() {
            assert_eq!(probe(&refusal[..cut]), Probe::Unsure, "{cut} bytes");
        }
        assert_eq!(probe(&refusal), Probe::Certain);
    }
}
