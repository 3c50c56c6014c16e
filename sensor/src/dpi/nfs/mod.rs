//! Network File System 2, 3 and 4 over ONC RPC (RFC 1094, RFC 1813, RFC 7530, RFC 8881).
//!
//! In: datagrams, or a stream of records. Out: one event per answered call with EVE's `nfs` object and the `rpc`
//! object beside it; reads and writes of one file are one event, as in Suricata; GETATTR of versions 2 and 3 is
//! none. Files pass through [`FileBody`] as far as they are read or written in order. What is encrypted by
//! RPCSEC_GSS is not read.

mod call;
mod frames;
mod names;

use super::buffers::{Number, Stage};
use super::file::FileBody;
use super::rpc::message::{self, Call, Credentials, Kind, MARK_BYTES, Message, Reply, record};
use super::{Carrier, Context, Dissector, Event, First, Probe, Progress, Starts};
use call::{Arguments, Data, What};
use hashbrown::HashMap;
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

pub(crate) use names::numbers as procedure_numbers;

/// Most calls whose replies are awaited; the oldest makes room.
const PENDING_MAX: usize = 256;
/// Most handles whose names are remembered; the oldest makes room.
const NAMES_MAX: usize = 512;
/// Most files that are read or written at once; the oldest ends for a new one.
const FILES_MAX: usize = 16;
/// Most bytes of a record that are waited for. Of what is behind them, only a file's bytes are looked at.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// The dissector of one flow.
#[derive(Debug, Default)]
pub(super) struct Nfs {
    pending: VecDeque<Box<Pending>>,
    /// Names by handle, and the handles in the order in which they came.
    names: HashMap<Box<[u8]>, Box<[u8]>, foldhash::quality::RandomState>,
    handles: VecDeque<Box<[u8]>>,
    files: Vec<Transfer>,
    transactions: u64,
    sides: [Side; 2],
}

#[derive(Debug, Default)]
struct Side {
    /// The rest of a record: bytes of a file, and bytes behind them.
    passing: Option<Passing>,
    /// Further fragments of a record follow, which pass.
    is_in_record: bool,
    is_lost: bool,
}

#[derive(Debug)]
struct Passing {
    /// Number of the transfer.
    transfer: u64,
    file_left: u64,
    after: u64,
}

#[derive(Debug)]
struct Pending {
    id: u64,
    xid: u32,
    version: u32,
    rpc_procedure: u32,
    procedure: u32,
    what: What,
    handle: Box<[u8]>,
    name: Box<[u8]>,
    new_name: Box<[u8]>,
    offset: u64,
    count: u32,
    credentials: Credentials,
}

/// A file that is read or written.
#[derive(Debug)]
struct Transfer {
    call: Pending,
    is_write: bool,
    last_xid: u32,
    chunks: u64,
    next: u64,
    status: u32,
    file: Option<Box<FileBody>>,
}

impl Dissector for Nfs {
    const APP: App = App::Nfs;

    /// A datagram begins with any number, a record with its mark.
    const STARTS: Starts = Starts::DATAGRAM.or(Starts::stream(&[0x80]));

    fn probe(first: &First<'_>) -> Probe {
        message::probe(first, 2049, |program, version| program == message::NFS && (2..=4).contains(&version))
    }

    fn new() -> Self {
        Nfs::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            self.message(bytes, 0, bytes.len(), context);
            return Progress::Used(bytes.len());
        }
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let side = &mut self.sides[index];
            if side.is_lost {
                // A record may begin with a segment again.
                if used > 0 || !is_message_at(rest) {
                    return Progress::Used(bytes.len());
                }
                side.is_lost = false;
            }
            if side.passing.is_some() {
                used = used.saturating_add(self.pass(rest, context));
                continue;
            }
            let Some((size, is_last)) = record(rest) else { break };
            let is_begun = std::mem::replace(&mut self.sides[index].is_in_record, !is_last);
            if is_begun {
                used = used.saturating_add(MARK_BYTES + size);
                continue;
            }
            let Some(head) = rest.get(..MARK_BYTES + size.min(HEAD_BYTES_MAX)) else {
                self.sides[index].is_in_record = false;
                break;
            };
            if head.get(MARK_BYTES..).and_then(Message::parse).is_none() {
                *context.malformed += 1;
                self.sides[index].is_lost = true;
                return Progress::Used(bytes.len());
            }
            let passing = self.message(head, MARK_BYTES, MARK_BYTES + size, context);
            self.sides[index].passing = passing;
            used = used.saturating_add(head.len());
        }
        Progress::Used(used)
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        let side = &mut self.sides[context.direction.index()];
        let Some(passing) = &mut side.passing else {
            side.is_lost = true;
            return Progress::Used(0);
        };
        let of_file = missing.min(passing.file_left);
        passing.file_left -= of_file;
        let behind = (missing - of_file).min(passing.after);
        passing.after -= behind;
        let (transfer, is_over) = (passing.transfer, passing.file_left == 0 && passing.after == 0);
        if missing > of_file + behind {
            side.is_lost = true;
        }
        if is_over || side.is_lost {
            side.passing = None;
        }
        if let Some(file) =
            self.files.iter_mut().find(|file| file.call.id == transfer).and_then(|file| file.file.as_mut())
        {
            file.gap(of_file);
        }
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for transfer in std::mem::take(&mut self.files) {
            let is_whole = transfer.is_write;
            transfer.end(is_whole, context);
        }
    }
}

fn is_message_at(rest: &[u8]) -> bool {
    record(rest).is_some_and(|(size, _)| size < 4 << 20)
        && rest.get(MARK_BYTES..).and_then(Message::parse).is_some()
}

impl Nfs {
    /// Bytes behind the head of a record.
    fn pass(&mut self, rest: &[u8], context: &Context<'_>) -> usize {
        let side = &mut self.sides[context.direction.index()];
        let Some(passing) = &mut side.passing else { return 0 };
        let size = usize::try_from(passing.file_left).unwrap_or(usize::MAX).min(rest.len());
        let file = self.files.iter_mut().find(|file| file.call.id == passing.transfer);
        if let Some(file) = file.and_then(|file| file.file.as_mut()) {
            file.bytes(rest.get(..size).unwrap_or(rest));
        }
        passing.file_left -= size as u64;
        if passing.file_left > 0 {
            return size;
        }
        // What is behind the file passes unseen.
        let after = usize::try_from(passing.after).unwrap_or(usize::MAX);
        side.passing = None;
        size.saturating_add(after)
    }

    /// A message of which at least the head is there, behind so many bytes of a record's mark. What of it is still to
    /// pass, if it is longer.
    fn message(
        &mut self,
        head: &[u8],
        mark: usize,
        size: usize,
        context: &mut Context<'_>,
    ) -> Option<Passing> {
        let message = head.get(mark..).and_then(Message::parse);
        if let Some(message) = &message {
            let version = match &message.kind {
                Kind::Call(call) => Some(call.version),
                Kind::Reply(_) => {
                    self.pending.iter().find(|call| call.xid == message.xid).map(|call| call.version)
                }
            };
            let unseen = size.saturating_sub(head.len());
            frames::Wire { bytes: head, is_record: mark > 0, unseen }.tell(message, version, context);
        }
        let data = match message.map(|message| (message.xid, message.kind)) {
            Some((xid, Kind::Call(call))) => self.call(xid, &call, context),
            Some((xid, Kind::Reply(reply))) => self.reply(xid, &reply, context),
            None => {
                *context.malformed += 1;
                None
            }
        };
        let missing = size.saturating_sub(head.len()) as u64;
        if missing == 0 {
            return None;
        }
        let (transfer, file_left) = data.map_or((0, 0), |(transfer, left)| (transfer, left.min(missing)));
        Some(Passing { transfer, file_left, after: missing - file_left })
    }

    fn name_of(&self, handle: &[u8]) -> Box<[u8]> {
        self.names.get(handle).cloned().unwrap_or_default()
    }

    fn remember(&mut self, handle: &[u8], name: &[u8]) {
        if handle.is_empty() || name.is_empty() {
            return;
        }
        if let Some(known) = self.names.get_mut(handle) {
            if **known != *name {
                *known = name.into();
            }
            return;
        }
        if self.names.len() >= NAMES_MAX
            && let Some(oldest) = self.handles.pop_front()
        {
            self.names.remove(&oldest);
        }
        self.handles.push_back(handle.into());
        self.names.insert(handle.into(), name.into());
    }

    fn call(&mut self, xid: u32, call: &Call<'_>, context: &mut Context<'_>) -> Option<(u64, u64)> {
        if self.pending.iter().any(|pending| pending.xid == xid) {
            return None; // sent again
        }
        let arguments = call::arguments(call.version, call.procedure, call.arguments);
        call.credentials.learn(context);
        context.metadata.set_text(Field::Version, &call.version.to_string());
        context.metadata.add(Field::Command, &names::procedure(call.version, arguments.procedure));
        let Arguments { what, procedure, handle, new_name, offset, count, .. } = arguments;
        let name = if arguments.name.is_empty() { self.name_of(handle) } else { arguments.name.into() };
        if !name.is_empty() {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(&name));
        }
        self.transactions += 1;
        let pending = Pending {
            id: self.transactions,
            xid,
            version: call.version,
            rpc_procedure: call.procedure,
            procedure,
            what,
            handle: handle.into(),
            name,
            new_name: new_name.into(),
            offset,
            count,
            credentials: call.credentials.clone(),
        };
        // A file that is read or written is one transaction, which its first call begins.
        let is_of_file = |is_write| {
            self.files.iter().any(|file| file.is_write == is_write && file.call.handle == pending.handle)
        };
        if !match what {
            What::Read => is_of_file(false),
            What::Write => is_of_file(true),
            _ => false,
        } {
            let (side, number) = (context.direction, pending.id);
            context.put_number(side, number, Number::NfsVersion, call.version.into());
            context.put_number(side, number, Number::NfsProcedure, procedure.into());
            let is_over = what != What::Write;
            context.reached(side, number, if is_over { Stage::Body } else { Stage::Head });
        }
        let mut passing = None;
        if let (What::Write, Some(data)) = (what, arguments.data) {
            passing = self.transfer(&pending, data, call.arguments, context);
        }
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back(Box::new(pending));
        passing
    }

    fn reply(&mut self, xid: u32, reply: &Reply<'_>, context: &mut Context<'_>) -> Option<(u64, u64)> {
        let at = self.pending.iter().position(|pending| pending.xid == xid)?;
        let mut pending = self.pending.remove(at)?;
        if pending.name.is_empty() {
            pending.name = self.name_of(&pending.handle);
        }
        let is_executed = reply.accept == Some(0);
        let body = if is_executed { reply.body } else { &[] };
        let results = call::results(pending.version, pending.rpc_procedure, pending.what, body);
        if results.status != 0 {
            context.metadata.add(Field::Status, &names::status(results.status));
        }
        self.remember(results.handle, &pending.name);
        match pending.what {
            What::ListPlus => {
                let mut found = Vec::new();
                let _ = call::entries(body, |handle, name| found.push((handle, name)));
                for (handle, name) in found {
                    self.remember(handle, name);
                }
            }
            What::Read if results.status == 0 && results.data.is_some() => {
                let data = results.data?;
                let passing = self.transfer(&pending, data, body, context);
                let is_end = results.is_end || pending.version == 2 && data.length < u64::from(pending.count);
                if is_end && passing.is_none_or(|(_, left)| left == 0) {
                    self.end_transfer(&pending.handle, false, context);
                }
                return passing;
            }
            What::Write if results.status == 0 => {
                if let Some(transfer) =
                    self.files.iter_mut().find(|file| file.is_write && file.call.handle == pending.handle)
                {
                    transfer.status = results.status;
                }
                return None;
            }
            What::Commit => self.end_transfer(&pending.handle, true, context),
            _ => {}
        }
        if !(pending.version <= 3 && pending.procedure == 1) {
            pending.tell(reply.status(), results.status, false, context, |_| {});
        } else {
            pending.end_sides(context);
        }
        None
    }

    /// Bytes of a file: those that are there, and how many are still to pass.
    fn transfer(
        &mut self,
        call: &Pending,
        data: Data,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Option<(u64, u64)> {
        let is_write = call.what == What::Write;
        let known =
            self.files.iter().position(|file| file.is_write == is_write && file.call.handle == call.handle);
        let at = match known {
            Some(at) => at,
            None => {
                if self.files.len() >= FILES_MAX {
                    self.files.remove(0).end(false, context);
                }
                let mut file = FileBody::begin(&call.name, context.direction, Some(call.id), context);
                if let Some(file) = file.as_mut().filter(|_| call.offset > 0) {
                    file.gap(call.offset);
                }
                self.files.push(Transfer {
                    call: call.copy(),
                    is_write,
                    last_xid: call.xid,
                    chunks: 0,
                    next: call.offset,
                    status: 0,
                    file,
                });
                self.files.len() - 1
            }
        };
        let transfer = self.files.get_mut(at)?;
        transfer.last_xid = call.xid;
        transfer.chunks += 1;
        if call.offset < transfer.next {
            return None; // again, or out of order
        }
        let missing = call.offset - transfer.next;
        transfer.next = call.offset.saturating_add(data.length);
        let id = transfer.call.id;
        let there = body.get(data.start..).unwrap_or_default();
        let there = there.get(..usize::try_from(data.length).unwrap_or(usize::MAX)).unwrap_or(there);
        if let Some(file) = &mut transfer.file {
            if missing > 0 {
                file.gap(missing);
            }
            file.bytes(there);
        }
        Some((id, data.length.saturating_sub(there.len() as u64)))
    }

    fn end_transfer(&mut self, handle: &[u8], is_write: bool, context: &mut Context<'_>) {
        if let Some(at) =
            self.files.iter().position(|file| file.is_write == is_write && *file.call.handle == *handle)
        {
            self.files.remove(at).end(true, context);
        }
    }
}

impl Pending {
    fn copy(&self) -> Pending {
        Pending {
            handle: self.handle.clone(),
            name: self.name.clone(),
            new_name: self.new_name.clone(),
            credentials: self.credentials.clone(),
            ..*self
        }
    }

    fn end_sides(&self, context: &mut Context<'_>) {
        context.reached(Direction::Forward, self.id, Stage::Body);
        context.reached(Direction::Reverse, self.id, Stage::Body);
    }

    fn describe(&self, status: u32, is_file: bool, object: &mut Object<'_>) {
        object
            .number("version", self.version)
            .text("procedure", &names::procedure(self.version, self.procedure));
        object.bytes("filename", &self.name);
        if !self.handle.is_empty() {
            object.display("hhash", format_args!("{:x}", crc32fast::hash(&self.handle)));
        }
        object.number("id", self.id).bool("file_tx", is_file).text("type", "response");
        object.text("status", &names::status(status));
        if self.what == What::Rename {
            object.object("rename").bytes("from", &self.name).bytes("to", &self.new_name);
        }
    }

    fn describe_rpc(&self, status: &str, object: &mut Object<'_>) {
        object.number("xid", self.xid).text("status", status);
        self.credentials.describe(object);
    }

    fn tell(
        &self,
        rpc_status: &str,
        status: u32,
        is_file: bool,
        context: &mut Context<'_>,
        more: impl FnOnce(&mut Object<'_>),
    ) {
        self.end_sides(context);
        let (app, time) = (context.app, context.time);
        let Some(events) = context.events.as_deref_mut() else { return };
        let (mut body, mut beside) = (Vec::with_capacity(256), b"\"rpc\":".to_vec());
        {
            let mut object = Object::begin(&mut body);
            self.describe(status, is_file, &mut object);
            more(&mut object);
        }
        self.describe_rpc(rpc_status, &mut Object::begin(&mut beside));
        let event = Event::new(app, time, Direction::Forward, body);
        events.push(Event { transaction: Some(self.id), beside, ..event });
    }
}

impl Transfer {
    fn end(self, is_whole: bool, context: &mut Context<'_>) {
        let Transfer { call, is_write, last_xid, chunks, status, file, .. } = self;
        call.tell("ACCEPTED", status, true, context, |object| {
            let mut part = object.object(if is_write { "write" } else { "read" });
            part.bool("first", true).bool("last", true).number("last_xid", last_xid).number("chunks", chunks);
        });
        let Some(file) = file else { return };
        let mut beside = Vec::new();
        if context.events.is_some() {
            beside.extend_from_slice(b"\"rpc\":");
            call.describe_rpc("ACCEPTED", &mut Object::begin(&mut beside));
            beside.extend_from_slice(b",\"nfs\":");
            call.describe(status, true, &mut Object::begin(&mut beside));
        }
        file.end(is_whole, &beside, context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, survives_damage, survives_damaged_datagrams};

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn opaque(bytes: &[u8]) -> Vec<u8> {
        let mut out = words(&[bytes.len() as u32]);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn call(xid: u32, version: u32, procedure: u32, arguments: &[Vec<u8>]) -> Vec<u8> {
        let unix = [words(&[1]), opaque(b"host"), words(&[1000, 100, 0])].concat();
        [
            words(&[xid, 0, 2, 100_003, version, procedure, 1]),
            opaque(&unix),
            words(&[0, 0]),
            arguments.concat(),
        ]
        .concat()
    }

    fn reply(xid: u32, results: &[Vec<u8>]) -> Vec<u8> {
        [words(&[xid, 1, 0, 0, 0, 0]), results.concat()].concat()
    }

    fn mark(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u32 | 1 << 31).to_be_bytes()[..], message].concat()
    }

    fn session() -> (Vec<u8>, Vec<u8>) {
        let contents = vec![b'x'; 20_000];
        let client = [
            mark(&call(1, 3, 3, &[opaque(b"dir"), opaque(b"a.txt")])),
            mark(&call(2, 3, 6, &[opaque(b"file"), words(&[0, 0, 32_768])])),
        ];
        let server = [
            mark(&reply(1, &[words(&[0]), opaque(b"file"), words(&[0, 0])])),
            mark(&reply(2, &[words(&[0, 0, 20_000, 1]), opaque(&contents)])),
        ];
        (client.concat(), server.concat())
    }

    #[test]
    fn messages_are_cut_into_frames() {
        let (client, server) = session();
        let framed = Trial::<Nfs>::new().client(&client).server(&server).close().framed();
        let of = |name: &str| {
            let keyword = format!(" frame:nfs.{name} ");
            framed.lines().filter_map(|line| Some(line.split_once(&keyword)?.1)).collect::<Vec<_>>()
        };
        let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let calls = [
            call(1, 3, 3, &[opaque(b"dir"), opaque(b"a.txt")]),
            call(2, 3, 6, &[opaque(b"file"), words(&[0, 0, 32_768])]),
        ];
        let pdus = of("rpc.pdu");
        assert_eq!(pdus.len(), 4);
        assert_eq!(pdus[..2], calls.map(|call| escaped(&mark(&call))));
        assert!(pdus[3].split_once(" +").is_some(), "a file's bytes pass");
        let unix = [words(&[1]), opaque(b"host"), words(&[1000, 100, 0])].concat();
        assert_eq!(of("rpc.creds")[0], escaped(&[words(&[1]), opaque(&unix)].concat()));
        assert_eq!(of("rpc.hdr")[0], escaped(&[words(&[1 << 31 | 44, 1, 1])].concat()));
        let results = [words(&[0]), opaque(b"file"), words(&[0, 0])].concat();
        assert_eq!(of("rpc.data")[0], escaped(&[words(&[0, 0, 0, 0]), results.clone()].concat()));
        assert_eq!(of("nfs.pdu")[0], escaped(&[opaque(b"dir"), opaque(b"a.txt")].concat()));
        assert_eq!(of("nfs.pdu")[2], escaped(&results));
        assert_eq!(of("nfs.status")[0], escaped(&words(&[0])));
        assert!(of("nfs4.pdu").is_empty());
    }

    #[test]
    fn calls_of_version_4_have_frames_of_their_own() {
        let body = [opaque(b"tag"), words(&[0, 1, 24])].concat();
        let call = call(1, 4, 1, std::slice::from_ref(&body));
        let mut trial = Trial::<Nfs>::new()
            .over_datagrams()
            .client(&call)
            .server(&reply(1, std::slice::from_ref(&body)))
            .close();
        let body = body.escape_ascii().to_string();
        let framed = trial.framed();
        assert!(framed.contains(&format!("client frame:nfs.nfs4.pdu {body}\n")), "{framed}");
        assert!(framed.contains("client frame:nfs.nfs4.hdr \\x00\\x00\\x00\\x03tag\\x00\n"), "{framed}");
        assert!(framed.contains("server frame:nfs.nfs4.status \\x00\\x00\\x00\\x03\n"), "{framed}");
        assert!(
            framed.contains("server frame:nfs.rpc.hdr \\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x01\n"),
            "{framed}"
        );
        assert!(!framed.contains("nfs.nfs.pdu"), "{framed}");
    }

    #[test]
    fn a_lookup_names_the_file_that_is_read() {
        let (client, server) = session();
        let trial = Trial::<Nfs>::new().client(&client).server(&server).close();
        let learned = trial.learned();
        assert!(learned.contains(r#""procedure":"LOOKUP","filename":"a.txt","hhash":""#), "{learned}");
        assert!(learned.contains(r#""file_tx":true,"type":"response","status":"OK","read":{"first":true,"last":true,"last_xid":2,"chunks":1}"#), "{learned}");
        assert!(learned.contains("\"gaps\":false") && learned.contains("\"size\":20000"), "{learned}");
        assert!(trial.events[0].beside.starts_with(br#""rpc":{"xid":1,"status":"ACCEPTED","auth_type":"UNIX","creds":{"machine_name":"host","uid":1000,"gid":100}}"#));
    }

    #[test]
    fn a_record_may_come_in_any_pieces() {
        let (client, server) = session();
        for piece in [1, 7, 100, 9000] {
            let trial = Trial::<Nfs>::new().client(&client);
            let trial = server.chunks(piece).fold(trial, |trial, bytes| trial.server(bytes)).close();
            assert!(trial.learned().contains("\"size\":20000,"), "pieces of {piece}: {}", trial.learned());
        }
    }

    #[test]
    fn version_2_over_datagrams_renames_and_writes() {
        let fh = vec![7u8; 32];
        let trial = Trial::<Nfs>::new()
            .over_datagrams()
            .client(&call(1, 2, 11, &[fh.clone(), opaque(b"a"), fh.clone(), opaque(b"b")]))
            .server(&reply(1, &[words(&[2])]))
            .client(&call(2, 2, 8, &[fh.clone(), words(&[0, 0, 5]), opaque(b"hello")]))
            .server(&reply(2, &[words(&[0])]))
            .close();
        let learned = trial.learned();
        assert!(learned.contains(r#""status":"ERR_NOENT","rename":{"from":"a","to":"b"}"#), "{learned}");
        assert!(learned.contains("\"md5\":\"5d41402abc4b2a76b9719d911017c592\""), "{learned}");
    }

    #[test]
    fn a_compound_is_named_by_what_it_is_for() {
        let compound = [
            opaque(b""),
            words(&[0, 4, 22]),
            opaque(b"dirfh"),
            words(&[15]),
            opaque(b"etc"),
            words(&[10, 9, 1, 3]),
        ];
        let results = [words(&[0]), opaque(b""), words(&[3, 22, 0, 15, 0, 10, 0]), opaque(b"fh")];
        let trial =
            Trial::<Nfs>::new().client(&mark(&call(9, 4, 1, &compound))).server(&mark(&reply(9, &results)));
        let event = trial.event();
        assert_eq!(
            (&event["version"], &event["procedure"], &event["filename"]),
            (&4.into(), &"LOOKUP".into(), &"etc".into())
        );
    }

    #[test]
    fn signatures_are_told_what_is_called() {
        let (client, server) = session();
        let mut trial = Trial::<Nfs>::new().client(&client).server(&server).close();
        let told = trial.told();
        assert_eq!(
            told.split_inclusive('\n').filter(|line| line.starts_with("client")).collect::<String>(),
            "client 1 NfsVersion 3\nclient 1 NfsProcedure 3\nclient 2 NfsVersion 3\nclient 2 NfsProcedure 6\n"
        );
    }

    #[test]
    fn no_damage_panics() {
        let client = mark(&call(1, 3, 7, &[opaque(b"file"), words(&[0, 0, 5, 2]), opaque(b"hello")]));
        let server = mark(&reply(1, &[words(&[0, 0, 0, 5, 2, 0, 0])]));
        survives_damage::<Nfs>(&client, &server);
        survives_damaged_datagrams::<Nfs>(&[
            (Direction::Forward, &client[4..]),
            (Direction::Reverse, &server[4..]),
        ]);
    }
}
