//! NetBIOS over TCP and UDP (RFC 1001, RFC 1002): name service, datagrams, and sessions up to where what they
//! carry begins, mostly SMB.
//!
//! In: datagrams, or both directions of a stream. Out: the names that ends have and ask for, what browsers
//! announce, and one event per message. EVE has no such events; theirs are designed alike.

use super::wire::{Cursor, be16_at, until_nul};
use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use std::net::Ipv4Addr;
use weir_common::app::App;
use weir_common::metadata::Field;

/// Most names read of one message.
const NAMES_MAX: usize = 32;
const SESSION_REQUEST: u8 = 0x81;
const POSITIVE_RESPONSE: u8 = 0x82;
const NEGATIVE_RESPONSE: u8 = 0x83;
const RETARGET_RESPONSE: u8 = 0x84;
const KEEP_ALIVE: u8 = 0x85;

/// A name of 15 characters and its suffix, which tells the service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    text: String,
    suffix: u8,
}

impl Name {
    /// Decodes a name (RFC 1001 section 14.1).
    fn parse(bytes: &[u8]) -> Option<Name> {
        let (32, letters) = bytes.split_first().map(|(length, rest)| (*length, rest))? else { return None };
        let letters = letters.first_chunk::<32>()?;
        if !letters.iter().all(|letter| (b'A'..=b'P').contains(letter)) {
            return None;
        }
        let mut raw = [0; 16];
        for (byte, pair) in raw.iter_mut().zip(letters.chunks_exact(2)) {
            *byte = (pair[0] - b'A') << 4 | (pair[1] - b'A');
        }
        Some(Name::of(&raw))
    }

    fn of(raw: &[u8; 16]) -> Name {
        let text = String::from_utf8_lossy(raw.get(..15).unwrap_or_default());
        Name { text: text.trim_end_matches([' ', '\0']).to_string(), suffix: raw[15] }
    }

    /// Whether it can be the name of a host: not of a group, not the wildcard.
    fn is_host(&self) -> bool {
        matches!(self.suffix, 0x00 | 0x03 | 0x20)
            && !self.text.is_empty()
            && !self.text.starts_with(['*', '\u{1}'])
    }
}

/// Where a name at `at` ends, whose scope may follow it, or which is a pointer to one.
fn name_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    const LABELS_MAX: usize = 32;
    for _ in 0..LABELS_MAX {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0..=0xff => return Some(at + 2),
            _ => return None,
        }
    }
    None
}

/// State of a NetBIOS flow.
#[derive(Debug)]
pub(super) struct Netbios {
    messages: u64,
}

impl Dissector for Netbios {
    const APP: App = App::Netbios;

    const STARTS: Starts =
        Starts::DATAGRAM.or(Starts::stream(&[SESSION_REQUEST, POSITIVE_RESPONSE, NEGATIVE_RESPONSE]));

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if first.is_datagram() {
            // The question for a status has the type that DNS calls SRV.
            const DNS: u16 = 53;
            if first.has_port(DNS) {
                return Probe::NotForUs;
            }
            return match message_of(bytes) {
                Some(Message::Names | Message::Datagram) => Probe::Certain,
                None if first.has_port(137) && is_damaged_names(bytes) => Probe::Certain,
                None if first.has_port(138) && is_damaged_datagram(bytes) => Probe::Certain,
                None => Probe::NotForUs,
            };
        }
        match (bytes.first(), bytes.len()) {
            (Some(&SESSION_REQUEST), 0..=36) => {
                let starts = [SESSION_REQUEST, 0, 0, 68, 32];
                let is_begun = bytes.iter().zip(starts).all(|(byte, start)| *byte == start);
                if is_begun { Probe::Unsure } else { Probe::NotForUs }
            }
            (Some(&SESSION_REQUEST), _) => {
                let is_name = bytes.get(4..).and_then(Name::parse).is_some();
                let is_length = bytes.get(1..3).is_some_and(|high| high == [0, 0]);
                if is_name && is_length { Probe::Certain } else { Probe::NotForUs }
            }
            (Some(&POSITIVE_RESPONSE), 4) if bytes.ends_with(&[0, 0, 0]) && first.has_port(139) => {
                Probe::Likely
            }
            (Some(&NEGATIVE_RESPONSE), 5) if first.has_port(139) => {
                let is_error = matches!(bytes, [_, 0, 0, 1, 0x80..=0x83 | 0x8f]);
                if is_error { Probe::Likely } else { Probe::NotForUs }
            }
            (Some(&POSITIVE_RESPONSE | &NEGATIVE_RESPONSE), 0..=3) if first.has_port(139) => Probe::Unsure,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Netbios { messages: 0 }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Stream {
            return self.session(bytes, context);
        }
        let read = match message_of(bytes) {
            Some(Message::Names) => self.names(bytes, context),
            Some(Message::Datagram) => self.datagram(bytes, context),
            None => None,
        };
        if read.is_none() {
            context.anomaly("malformed_data", None);
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        // What the session carries is recognised anew.
        Progress::Switch(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

enum Message {
    Names,
    Datagram,
}

fn message_of(bytes: &[u8]) -> Option<Message> {
    if is_names(bytes).is_some() {
        return Some(Message::Names);
    }
    is_datagram(bytes).map(|()| Message::Datagram)
}

/// Whether it is a message of the name service.
fn is_names(bytes: &[u8]) -> Option<()> {
    const HEADER_BYTES: usize = 12;
    let counts = [4, 6, 8, 10].map(|at| be16_at(bytes, at).unwrap_or(u16::MAX));
    let (flags, [questions, answers, authorities, additionals]) = (be16_at(bytes, 2)?, counts);
    let is_opcode = matches!(flags >> 11 & 15, 0 | 5..=9 | 15);
    let fits =
        questions <= 1 && answers <= 1 && authorities == 0 && additionals <= 1 && questions + answers > 0;
    if !is_opcode || !fits || flags & 0x60 != 0 {
        return None;
    }
    Name::parse(bytes.get(HEADER_BYTES..)?)?;
    let end = name_end(bytes, HEADER_BYTES)?;
    let (kind, class) = (be16_at(bytes, end)?, be16_at(bytes, end + 2)?);
    (matches!(kind, 0x20 | 0x21 | 0x0a) && class == 1).then_some(())
}

/// Whether it can only be a message of the name service whose name is damaged, at its port.
fn is_damaged_names(bytes: &[u8]) -> bool {
    const LETTERS_MIN: usize = 12;
    let letters = bytes.get(13..45).unwrap_or_default();
    let is_counted =
        be16_at(bytes, 4) == Some(1) && be16_at(bytes, 6) == Some(0) && be16_at(bytes, 8) == Some(0);
    is_counted
        && matches!(bytes.get(12), Some(0x20 | 0x21))
        && letters.iter().filter(|letter| (b'A'..=b'P').contains(letter)).count() >= LETTERS_MIN
}

/// Whether it can only be a message of the datagram service whose names are damaged, at its port.
fn is_damaged_datagram(bytes: &[u8]) -> bool {
    let is_kind = matches!(bytes, [0x10..=0x12, flags, ..] if flags & 0xf0 == 0);
    let fits = be16_at(bytes, 10).is_some_and(|length| usize::from(length) + 14 == bytes.len());
    is_kind && fits && be16_at(bytes, 8) == Some(138)
}

/// Whether it is a message of the datagram service.
fn is_datagram(bytes: &[u8]) -> Option<()> {
    const HEADER_BYTES: usize = 14;
    let [kind @ 0x10..=0x16, flags, ..] = *bytes else { return None };
    if flags & 0xf0 != 0 {
        return None;
    }
    if kind == 0x13 {
        // An error: eleven bytes.
        return (bytes.len() == 11 && matches!(bytes.get(10), Some(0x82..=0x84))).then_some(());
    }
    let at = if kind <= 0x12 { HEADER_BYTES } else { 10 };
    Name::parse(bytes.get(at..)?).map(|_| ())
}

fn opcode_name(opcode: u16) -> &'static str {
    match opcode {
        0 => "query",
        5 => "registration",
        6 => "release",
        7 => "wack",
        8 | 9 => "refresh",
        15 => "multi_homed_registration",
        _ => "unknown",
    }
}

impl Netbios {
    fn next(&mut self) -> u64 {
        self.messages += 1;
        self.messages - 1
    }

    fn names(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Option<()> {
        const NBSTAT: u16 = 0x21;
        let flags = be16_at(bytes, 2)?;
        let (is_response, opcode) = (flags & 0x8000 != 0, flags >> 11 & 15);
        let name = Name::parse(bytes.get(12..)?)?;
        let end = name_end(bytes, 12)?;
        let kind = be16_at(bytes, end)?;
        context.metadata.add(Field::Command, opcode_name(opcode));
        context.metadata.add(Field::Object, &name.text);
        // A registration is about the sender's own name.
        if opcode != 0 && name.is_host() && !is_response {
            context.metadata.add(Field::EndpointName, &name.text);
        }
        let has_record = is_response && be16_at(bytes, 6)? > 0 || !is_response && be16_at(bytes, 10)? > 0;
        let mut addresses = Vec::new();
        let mut statuses = Vec::new();
        if has_record {
            // A registration's record stands behind its question.
            let at = if is_response { end + 4 } else { name_end(bytes, end + 4)? + 4 };
            let mut cursor = Cursor(bytes.get(at + 4..)?);
            let data = usize::from(cursor.be16()?);
            let mut data = Cursor(cursor.take(data)?);
            if kind == NBSTAT {
                let count = usize::from(data.u8()?).min(NAMES_MAX);
                for _ in 0..count {
                    let name = Name::of(&data.array()?);
                    let is_group = data.be16()? & 0x8000 != 0;
                    if !is_group && name.is_host() {
                        context.metadata.add(Field::EndpointName, &name.text);
                    } else if is_group && name.suffix == 0 {
                        context.metadata.set_text(Field::Domain, &name.text);
                    }
                    statuses.push((name, is_group));
                }
            } else {
                while addresses.len() < NAMES_MAX
                    && let (Some(_), Some(address)) = (data.be16(), data.array::<4>())
                {
                    addresses.push(Ipv4Addr::from(address));
                }
            }
        }
        let number = self.next();
        context.tell(context.direction, Some(number), |object| {
            object.text("service", "name").text("type", if is_response { "response" } else { "request" });
            object.number("id", be16_at(bytes, 0).unwrap_or(0)).text("opcode", opcode_name(opcode));
            if is_response {
                object.number("rcode", flags & 15);
            }
            object.text("rrtype", if kind == NBSTAT { "NBSTAT" } else { "NB" });
            object.text("name", &name.text).number("suffix", name.suffix);
            if !addresses.is_empty() {
                object.texts("addresses", addresses.iter().map(ToString::to_string));
            }
            if !statuses.is_empty() {
                let mut list = object.list("names");
                for (name, is_group) in &statuses {
                    list.object()
                        .text("name", &name.text)
                        .number("suffix", name.suffix)
                        .bool("group", *is_group);
                }
            }
        });
        Some(())
    }

    fn datagram(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Option<()> {
        const MAILSLOT: &[u8] = b"\\MAILSLOT\\";
        let kind = *bytes.first()?;
        if !(0x10..=0x12).contains(&kind) {
            return Some(());
        }
        let source = Name::parse(bytes.get(14..)?)?;
        let target_at = name_end(bytes, 14)?;
        let target = Name::parse(bytes.get(target_at..)?);
        if !source.text.is_empty() {
            context.metadata.add(Field::EndpointName, &source.text);
        }
        let data = bytes.get(name_end(bytes, target_at)?..).unwrap_or_default();
        let slot = memchr::memmem::find(data, MAILSLOT).and_then(|at| data.get(at..)).map(until_nul);
        let mut announced = None;
        if let Some((name, message)) = slot {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(name));
            // Host and local master announcements (MS-BRWS 2.2.1, 2.2.6).
            if name == b"\\MAILSLOT\\BROWSE"
                && let [1 | 15, _, _, _, _, _, rest @ ..] = message
                && let Some((host, [major, minor, ..])) = rest.split_first_chunk::<16>()
            {
                let host = String::from_utf8_lossy(until_nul(host).0).into_owned();
                context.metadata.add(Field::EndpointName, &host);
                announced = Some((host, format!("{major}.{minor}")));
            }
        }
        let number = self.next();
        context.tell(context.direction, Some(number), |object| {
            object.text("service", "datagram").text("source_name", &source.text);
            if let Some(target) = &target {
                object.text("destination_name", &target.text).number("suffix", target.suffix);
            }
            if let Some((name, _)) = slot {
                object.bytes("mailslot", name);
            }
            if let Some((host, version)) = &announced {
                object.object("announcement").text("host", host).text("os_version", version);
            }
        });
        Some(())
    }

    fn session(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let Some(([kind, _, high, low], rest)) = bytes.split_first_chunk() else { return Progress::Used(0) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (kind, used) = (*kind, 4 + length);
        match kind {
            SESSION_REQUEST => {
                let Some(names) = rest.get(..length) else { return Progress::Used(0) };
                let called = Name::parse(names);
                let calling = name_end(names, 0).and_then(|at| Name::parse(names.get(at..)?));
                for name in [&called, &calling].into_iter().flatten().filter(|name| name.is_host()) {
                    context.metadata.add(Field::EndpointName, &name.text);
                }
                let number = self.next();
                context.tell(context.direction, Some(number), |object| {
                    object.text("service", "session").text("type", "request");
                    object.text_if("called_name", called.as_ref().map(|name| &*name.text));
                    object.text_if("calling_name", calling.as_ref().map(|name| &*name.text));
                });
                Progress::Used(used)
            }
            POSITIVE_RESPONSE => Progress::Switch(used.min(bytes.len())),
            NEGATIVE_RESPONSE | RETARGET_RESPONSE => {
                let Some(reason) = rest.first() else { return Progress::Used(0) };
                context.metadata.add(Field::Status, &format!("0x{reason:02x}"));
                Progress::Used(used)
            }
            KEEP_ALIVE => Progress::Used(used),
            // A session's messages: what they carry says what they are.
            0 => Progress::Switch(0),
            _ => Progress::Broken("malformed_nbss"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, survives_damage, survives_damaged_datagrams};
    use weir_common::net::Direction;

    fn encoded(name: &str, suffix: u8) -> Vec<u8> {
        let raw: Vec<u8> = name.bytes().chain(std::iter::repeat(b' ')).take(15).chain([suffix]).collect();
        let letters = raw.iter().flat_map(|byte| [b'A' + (byte >> 4), b'A' + (byte & 15)]);
        [32].into_iter().chain(letters).chain([0]).collect()
    }

    fn registration() -> Vec<u8> {
        let head = [0x12, 0x34, 0x29, 0x10, 0, 1, 0, 0, 0, 0, 0, 1];
        let record = [0xc0, 12, 0, 0x20, 0, 1, 0, 4, 0x93, 0xe0, 0, 6, 0, 0, 192, 0, 2, 7];
        [&head[..], &encoded("HOST", 0), &[0, 0x20, 0, 1], &record].concat()
    }

    fn status() -> Vec<u8> {
        let head = [0x12, 0x34, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let data = [&[2][..], b"HOST           \x00\x04\x00", b"GROUP          \x00\x84\x00"].concat();
        let fixed = [0, 0x21, 0, 1, 0, 0, 0, 0, 0, data.len() as u8];
        [&head[..], &encoded("*", 0), &fixed, &data].concat()
    }

    fn announcement() -> Vec<u8> {
        let head = [0x11, 2, 0, 1, 192, 0, 2, 7, 0, 138, 0, 200, 0, 0];
        let browse = b"\xffSMB\\MAILSLOT\\BROWSE\0\x01\0\0\0\0\0HOST\0\0\0\0\0\0\0\0\0\0\0\0\x0a\x00\0";
        [&head[..], &encoded("HOST", 0), &encoded("GROUP", 0x1d), browse].concat()
    }

    #[test]
    fn names_are_learned_from_all_three_services() {
        let trial = Trial::<Netbios>::new().over_datagrams().client(&registration());
        assert_eq!(trial.event()["addresses"][0], "192.0.2.7");
        assert_eq!((trial.text(Field::EndpointName), trial.malformed), ("HOST", 0));
        let trial = Trial::<Netbios>::new().over_datagrams().server(&status());
        assert_eq!((trial.text(Field::EndpointName), trial.text(Field::Domain)), ("HOST", "GROUP"));
        let trial = Trial::<Netbios>::new().over_datagrams().client(&announcement());
        assert_eq!(trial.event()["announcement"]["os_version"], "10.0");
        let request = [&[0x81, 0, 0, 68][..], &encoded("SERVER", 0x20), &encoded("HOST", 0)].concat();
        let trial = Trial::<Netbios>::new().client(&request).server(&[0x82, 0, 0, 0]);
        assert_eq!(trial.end, Some(Progress::Switch(4)));
        assert_eq!(trial.event()["called_name"], "SERVER");
        survives_damage::<Netbios>(&request, &[0x83, 0, 0, 1, 0x82]);
    }

    #[test]
    fn damage_is_borne() {
        let (one, two, three) = (registration(), status(), announcement());
        survives_damaged_datagrams::<Netbios>(&[
            (Direction::Forward, &one),
            (Direction::Reverse, &two),
            (Direction::Forward, &three),
        ]);
    }

    #[test]
    fn only_encoded_names_are_recognised() {
        let probe = |bytes: &[u8]| Netbios::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        for datagram in [registration(), status(), announcement()] {
            assert_eq!(probe(&datagram), Probe::Certain);
        }
        let mut damaged = registration();
        damaged[20] = 0xff;
        let first = First::of(Carrier::Datagram, Direction::Forward, &damaged).between(137, 137);
        assert_eq!(Netbios::probe(&first), Probe::Certain, "at its port a damaged name is borne");
        let mut dns = registration();
        dns[20] = b'z';
        assert_eq!(probe(&dns), Probe::NotForUs);
        assert_eq!(Name::parse(&[32; 33]), None);
        let stream = |bytes: &[u8]| Netbios::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes));
        assert_eq!(stream(&[0x82, 0, 0, 0]), Probe::NotForUs);
    }
}
