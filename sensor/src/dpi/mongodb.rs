//! MongoDB's wire protocol (MongoDB documentation, "MongoDB Wire Protocol"): OP_MSG, OP_QUERY and what was before.
//!
//! In: both directions of a stream. Out: one event per command with its database, collection and whether it
//! succeeded; account and client in metadata. Of documents only the first elements are read. Compressed messages
//! are counted by their kind only.

use super::scan::Scan;
use super::{Context, Dissector, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of a message's header.
const HEADER_BYTES: usize = 16;
/// Most bytes of a message that are looked at; the rest passes.
const MESSAGE_BYTES_MAX: usize = 8 << 10;
/// Longest message that is taken for one (the servers' own limit is 48 MB).
const LENGTH_MAX: u32 = 64 << 20;
/// Longest message that a flow is taken to begin with.
const FIRST_LENGTH_MAX: u32 = 16 << 20;
/// Bytes of a flow that say whether it is one: a first element is there by then.
const PROBE_BYTES_MAX: usize = 512;
/// Most commands whose replies are awaited.
const PENDING_MAX: usize = 64;
/// Most elements of a document that are looked at.
const ELEMENTS_MAX: usize = 64;

mod op {
    pub(super) const REPLY: u32 = 1;
    pub(super) const QUERY: u32 = 2004;
    pub(super) const COMPRESSED: u32 = 2012;
    pub(super) const MSG: u32 = 2013;
}

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Mongodb {
    pending: VecDeque<Box<Command>>,
    transactions: u64,
    is_lost: [bool; 2],
}

#[derive(Debug, Default)]
struct Command {
    request: u32,
    name: String,
    database: String,
    collection: String,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    length: u32,
    request: u32,
    response_to: u32,
    op: u32,
}

fn header(bytes: &[u8]) -> Option<Header> {
    let mut scan = Scan::new(bytes);
    Some(Header { length: scan.le32()?, request: scan.le32()?, response_to: scan.le32()?, op: scan.le32()? })
}

/// An element of a document: its type, name and value.
struct Element<'a> {
    kind: u8,
    name: &'a [u8],
    value: &'a [u8],
}

/// The elements of a document, as far as they are there (bsonspec.org).
fn elements(document: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut scan = Scan::new(document.get(4..).unwrap_or_default());
    std::iter::from_fn(move || {
        let kind = scan.u8().filter(|kind| *kind != 0)?;
        let name = scan.zero_ended()?;
        let value = match kind {
            1 | 9 | 0x11 | 0x12 => scan.take(8)?,
            2 | 0x0d | 0x0e => {
                let length = scan.le32()? as usize;
                scan.take(length)?
            }
            3 | 4 => {
                let start = scan.rest();
                let length = scan.le32()? as usize;
                // A document that is cut off is read as far as it goes.
                let there = start.get(..length).unwrap_or(start);
                let _ = scan.take(length.saturating_sub(4).min(scan.len()));
                there
            }
            5 => {
                let length = scan.le32()? as usize;
                scan.take(length + 1)?.get(1..)?
            }
            7 => scan.take(12)?,
            8 => scan.take(1)?,
            6 | 0x0a | 0xff | 0x7f => &[],
            0x10 => scan.take(4)?,
            0x13 => scan.take(16)?,
            _ => return None,
        };
        Some(Element { kind, name, value })
    })
    .take(ELEMENTS_MAX)
}

fn text(element: &Element<'_>) -> Option<String> {
    let value = element.value.strip_suffix(b"\0").unwrap_or(element.value);
    (element.kind == 2).then(|| String::from_utf8_lossy(value).into_owned())
}

/// The document that a message is about, and the collection of an old query.
fn document(op: u32, body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut scan = Scan::new(body);
    match op {
        op::MSG => {
            scan.le32()?;
            (scan.u8()? == 0).then_some((scan.rest(), &b""[..]))
        }
        op::QUERY => {
            scan.le32()?;
            let collection = scan.zero_ended()?;
            scan.take(8)?;
            Some((scan.rest(), collection))
        }
        op::REPLY => {
            scan.take(20)?;
            Some((scan.rest(), &b""[..]))
        }
        _ => None,
    }
}

impl Dissector for Mongodb {
    const APP: App = App::Mongodb;

    const STARTS: Starts = Starts::STREAM;

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes.get(..PROBE_BYTES_MAX).unwrap_or(first.bytes);
        let Some(header) = header(bytes) else {
            // Messages are shorter than 16 MB nearly always: the length's last byte is 0.
            let is_possible = bytes.get(3).is_none_or(|byte| *byte == 0);
            return if is_possible { Probe::Unsure } else { Probe::NotForUs };
        };
        let is_known = matches!(header.op, op::REPLY | op::QUERY | op::COMPRESSED | op::MSG);
        if !is_known || !(26..FIRST_LENGTH_MAX).contains(&header.length) {
            return Probe::NotForUs;
        }
        // Only the first message says what the flow is: what follows it may be cut off anywhere.
        let (size, whole) = (header.length as usize, header.length as usize - HEADER_BYTES);
        let bytes = bytes.get(..size).unwrap_or(bytes);
        let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
        // What is missing may still come, or not be there at all.
        let missing = if bytes.len() < size.min(PROBE_BYTES_MAX) { Probe::Unsure } else { Probe::NotForUs };
        if header.op == op::COMPRESSED {
            return match Scan::new(body).le32() {
                Some(op::MSG | op::QUERY) => Probe::Certain,
                Some(_) => Probe::NotForUs,
                None => missing,
            };
        }
        let Some((document, collection)) = document(header.op, body) else { return missing };
        let Some(length) = Scan::new(document).le32() else { return missing };
        let length = length as usize;
        let is_right = match header.op {
            op::MSG => Scan::new(body).le32().is_some_and(|flags| flags & !0x1_0003 == 0),
            op::QUERY => collection.contains(&b'.'),
            _ => true,
        };
        if !is_right || length < 5 || length + (body.len() - document.len()) > whole {
            return Probe::NotForUs;
        }
        let is_name = |name: &[u8]| !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        match elements(document).next() {
            Some(element) if is_name(element.name) => Probe::Certain,
            Some(_) => Probe::NotForUs,
            None => missing,
        }
    }

    fn new() -> Self {
        Mongodb::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_lost[index] {
                return Progress::Used(bytes.len());
            }
            let Some(header) = header(rest) else { break };
            if !(HEADER_BYTES as u32..LENGTH_MAX).contains(&header.length) {
                *context.malformed += 1;
                self.is_lost[index] = true;
                continue;
            }
            let size = header.length as usize;
            let Some(body) = rest.get(HEADER_BYTES..size.min(MESSAGE_BYTES_MAX)) else { break };
            used = used.saturating_add(size);
            let Some((document, collection)) = document(header.op, body) else { continue };
            if context.direction == Direction::Forward {
                self.request(header, document, collection, context);
            } else {
                self.reply(header, document, context);
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        if self.is_lost == [true; 2] { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        while let Some(command) = self.pending.pop_front() {
            self.tell(&command, None, None, context);
        }
    }
}

impl Mongodb {
    fn request(&mut self, header: Header, document: &[u8], collection: &[u8], context: &mut Context<'_>) {
        let mut command = Command { request: header.request, ..Command::default() };
        let name = String::from_utf8_lossy(collection).into_owned();
        let is_command = header.op == op::MSG || name.ends_with(".$cmd");
        if let Some((database, collection)) = name.split_once('.') {
            database.clone_into(&mut command.database);
            if !is_command {
                collection.clone_into(&mut command.collection);
                "query".clone_into(&mut command.name);
            }
        }
        for (at, element) in elements(document).enumerate() {
            match element.name {
                name if at == 0 && is_command => {
                    command.name = String::from_utf8_lossy(name).into_owned();
                    command.collection = text(&element).unwrap_or_default();
                }
                b"$db" => command.database = text(&element).unwrap_or_default(),
                b"mechanism" => {
                    if let Some(mechanism) = text(&element) {
                        context.metadata.set_text(Field::Version, &mechanism);
                    }
                }
                b"payload" if element.kind == 5 && command.name == "saslStart" => {
                    learn_account(element.value, context);
                }
                b"client" if element.kind == 3 => learn_client(element.value, context),
                _ => {}
            }
        }
        context.metadata.add(Field::Command, &command.name);
        if !command.collection.is_empty() {
            context.metadata.add(Field::Object, &format!("{}.{}", command.database, command.collection));
        }
        if self.pending.len() >= PENDING_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            self.tell(&oldest, None, None, context);
        }
        self.pending.push_back(Box::new(command));
    }

    fn reply(&mut self, header: Header, document: &[u8], context: &mut Context<'_>) {
        let Some(at) = self.pending.iter().position(|command| command.request == header.response_to) else {
            return;
        };
        let Some(command) = self.pending.remove(at) else { return };
        let (mut is_right, mut error) = (None, None);
        for element in elements(document) {
            match element.name {
                b"ok" => is_right = Some(element.value.iter().any(|byte| *byte != 0)),
                b"errmsg" | b"$err" => error = text(&element),
                b"codeName" => {
                    if let Some(code) = text(&element) {
                        context.metadata.add(Field::Status, &code);
                    }
                }
                b"version" => {
                    if let Some(version) = text(&element) {
                        context.metadata.set_text(Field::ServerSoftware, &format!("MongoDB {version}"));
                    }
                }
                _ => {}
            }
        }
        self.tell(&command, is_right, error.as_deref(), context);
    }

    fn tell(
        &mut self,
        command: &Command,
        is_right: Option<bool>,
        error: Option<&str>,
        context: &mut Context<'_>,
    ) {
        let id = self.transactions;
        self.transactions += 1;
        context.tell(Direction::Forward, Some(id), |object| {
            object.text("command", &command.name).text("database", &command.database);
            if !command.collection.is_empty() {
                object.text("collection", &command.collection);
            }
            if is_right.is_some() || error.is_some() {
                let mut response = object.object("response");
                if let Some(is_right) = is_right {
                    response.bool("ok", is_right);
                }
                response.text_if("error", error);
            }
        });
    }
}

/// The account of SCRAM's first message, `n,,n=user,r=nonce` (RFC 5802).
fn learn_account(payload: &[u8], context: &mut Context<'_>) {
    let user = payload.split(|byte| *byte == b',').find_map(|part| part.strip_prefix(b"n="));
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        context.metadata.add(Field::User, &String::from_utf8_lossy(user));
    }
}

/// What a driver says about itself: driver, application.
fn learn_client(document: &[u8], context: &mut Context<'_>) {
    for element in elements(document).filter(|element| element.kind == 3) {
        let inner = |key: &[u8]| {
            elements(element.value).find(|inner| inner.name == key).and_then(|inner| text(&inner))
        };
        match element.name {
            b"driver" => {
                let (name, version) =
                    (inner(b"name").unwrap_or_default(), inner(b"version").unwrap_or_default());
                context.metadata.set_text(Field::ClientSoftware, format!("{name} {version}").trim());
            }
            b"application" => {
                if let Some(name) = inner(b"name") {
                    context.metadata.add(Field::EndpointName, &name);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    fn string(name: &str, value: &str) -> Vec<u8> {
        [b"\x02", name.as_bytes(), b"\0", &(value.len() as u32 + 1).to_le_bytes(), value.as_bytes(), b"\0"]
            .concat()
    }

    fn message(request: u32, response_to: u32, elements: &[u8]) -> Vec<u8> {
        let document = [&(elements.len() as u32 + 5).to_le_bytes()[..], elements, b"\0"].concat();
        let body = [&[0; 4][..], &[0], &document].concat();
        let head: Vec<u8> = [body.len() as u32 + 16, request, response_to, op::MSG]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        [head, body].concat()
    }

    fn session() -> (Vec<u8>, Vec<u8>) {
        let client = message(7, 0, &[string("find", "users"), string("$db", "shop")].concat());
        let server = message(1, 7, &[b"\x01ok\0\0\0\0\0\0\0\0\0".to_vec(), string("errmsg", "no")].concat());
        (client, server)
    }

    #[test]
    fn a_message_cut_off_anywhere_is_not_denied() {
        let document = b"\x10\0\0\0\x01ok\0\0\0\0\0\0\0\xf0\x3f\0";
        let head = [16 + 20 + document.len() as u32, 1, 7, op::REPLY].map(u32::to_le_bytes).concat();
        let reply = [&head, &[0; 20][..], document].concat();
        for whole in [session().0, session().1, reply] {
            for end in 1..whole.len() {
                let first = First::of(Carrier::Stream, Direction::Forward, &whole[..end]);
                assert_ne!(Mongodb::probe(&first), Probe::NotForUs, "{end} of {whole:?}");
            }
            let first = First::of(Carrier::Stream, Direction::Forward, &whole);
            assert_eq!(Mongodb::probe(&first), Probe::Certain);
        }
    }

    #[test]
    fn commands_are_told_with_what_became_of_them() {
        let (client, server) = session();
        let trial = Trial::<Mongodb>::new().client(&client).server(&server).close();
        assert_eq!(
            trial.event(),
            serde_json::json!({"command": "find", "database": "shop", "collection": "users", "response": {"ok": false, "error": "no"}})
        );
        assert_eq!(trial.text(Field::Object), "shop.users");
        cuts_do_not_matter::<Mongodb>(&client, &server);
        survives_damage::<Mongodb>(&client, &server);
    }

    #[test]
    fn messages_are_recognised_by_their_documents() {
        let probe = |bytes: &[u8]| Mongodb::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&session().0), Probe::Certain);
        assert_eq!(probe(&session().1), Probe::Certain);
        assert_eq!(
            probe(&[0x30, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0, 9, 9, 9, 9, 0, 5, 0, 0, 0, 0]),
            Probe::NotForUs
        );
    }
}
