//! What is remembered of an SMB connection: requests that wait, trees, open files and pipes.
//!
//! In: what `one` and `two` read of the messages. Out: transactions when they are over, bytes of files.
//! Every collection has a named limit; the oldest request is told unanswered for a new one, handles, trees and
//! reads are forgotten all at once, since most of so many are stale.

use super::event;
use crate::dpi::buffers::{Buffer, Number, Stage};
use crate::dpi::dcerpc::call::{self, Bound, Call};
use crate::dpi::dcerpc::pdu::{self, Pdu};
use crate::dpi::ntlm::Logon;
use crate::dpi::{Context, FileBody};
use std::collections::VecDeque;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Keys come from the wire, so that their hashes have a secret.
type HashMap<K, V> = hashbrown::HashMap<K, V, foldhash::quality::RandomState>;

/// Most requests that wait for their answer.
const TRANSACTIONS_MAX: usize = 256;
/// Most open files and pipes remembered.
const HANDLES_MAX: usize = 2048;
/// Most trees remembered.
const TREES_MAX: usize = 256;
/// Most closes within chains that wait for their answer.
const CHAINED_MAX: usize = 32;
/// Most reads that wait for their answer.
const READS_MAX: usize = 512;

/// A file's or pipe's handle: SMB 2's persistent and volatile parts, or SMB 1's with the user's number.
pub(super) type Handle = [u8; 16];

/// Which SMB a message is of, and its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    One(u8),
    Two(u16),
}

/// How the server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Nt(u32),
    Dos(u8, u16),
}

impl Status {
    /// Whether it did what was asked.
    pub(super) fn is_success(self) -> bool {
        matches!(self, Status::Nt(0) | Status::Dos(0, 0))
    }
}

/// The header of a message, as far as it matters to both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) command: Command,
    pub(super) status: Status,
    pub(super) session: u64,
    pub(super) tree: u32,
    pub(super) message: u64,
}

/// A request and its answer.
#[derive(Debug)]
pub(super) struct Transaction {
    /// From 1, as EVE's `id`.
    pub(super) id: u64,
    pub(super) command: Command,
    pub(super) session: u64,
    pub(super) tree: u32,
    message: u64,
    pub(super) status: Option<Status>,
    pub(super) kind: Kind,
}

/// What a transaction is about.
#[derive(Debug)]
pub(super) enum Kind {
    Other,
    Negotiate {
        dialects: Vec<String>,
        client: Option<[u8; 16]>,
        server: Option<[u8; 16]>,
    },
    SessionSetup(Box<SessionSetup>),
    TreeConnect {
        name: String,
        is_pipe: bool,
        share_type: u8,
        services: [Option<String>; 2],
    },
    Create(Box<Create>),
    File {
        handle: Handle,
        direction: Direction,
        name: String,
        share: String,
        next: u64,
        body: Option<Box<FileBody>>,
    },
    Rename {
        from: String,
        to: String,
        handle: Option<Handle>,
    },
    /// SMB 1: which of TRANS2's functions; SMB 2: none. The level asked for.
    Disposition {
        name: String,
        handle: Option<Handle>,
        delete: bool,
        function: u16,
        level: u16,
    },
    Control(u32),
    Rpc(Call),
}

#[derive(Debug, Default)]
pub(super) struct SessionSetup {
    pub(super) logon: Logon,
    /// Operating system and LAN manager of client and server.
    pub(super) request: Option<[String; 2]>,
    pub(super) response: Option<[String; 2]>,
}

#[derive(Debug, Default)]
pub(super) struct Create {
    pub(super) name: String,
    pub(super) is_directory: bool,
    pub(super) disposition: u32,
    pub(super) delete_on_close: bool,
    /// Created, accessed, written, changed, in seconds.
    pub(super) times: [u64; 4],
    pub(super) size: u64,
    pub(super) handle: Option<Handle>,
}

/// A connected tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) name: String,
    pub(super) is_pipe: bool,
}

#[derive(Debug)]
struct Open {
    name: String,
    /// Bytes of the file when it was opened.
    size: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) dialect: Option<String>,
    pub(super) max_read: u32,
    pub(super) max_write: u32,
    pub(super) bound: Bound,
    /// Which direction requests go.
    pub(super) requests: Option<Direction>,
    /// The handle that was opened last.
    pub(super) created: Option<Handle>,
    /// Messages that close what a message before them in their chain opens.
    chained: Vec<u64>,
    last: u64,
    waiting: VecDeque<Transaction>,
    trees: HashMap<(u64, u32), Tree>,
    open: HashMap<Handle, Open>,
    reads: HashMap<u64, (Handle, u64)>,
}

impl State {
    /// A request begins a transaction.
    pub(super) fn begin(&mut self, head: &Head, kind: Kind, context: &mut Context<'_>) {
        self.last += 1;
        if self.waiting.len() >= TRANSACTIONS_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.tell(oldest, context);
        }
        let Head { command, session, tree, message, .. } = *head;
        let transaction = Transaction { id: self.last, command, session, tree, message, status: None, kind };
        if context.wanted.is_some() {
            self.put_request(&transaction, context);
        }
        self.waiting.push_back(transaction);
    }

    /// Which way requests go.
    fn requests(&self) -> Direction {
        self.requests.unwrap_or(Direction::Forward)
    }

    /// Tells signatures a request. That its tree is a pipe is known with the answer, and a file ends with its last
    /// byte: those requests are told in `put_answer`.
    fn put_request(&self, transaction: &Transaction, context: &mut Context<'_>) {
        let (direction, number) = (self.requests(), transaction.id - 1);
        put_version(transaction, direction, context);
        match &transaction.kind {
            Kind::TreeConnect { .. } | Kind::File { .. } => return,
            Kind::SessionSetup(setup) => {
                if let Some(ntlm) = &setup.logon.ntlm {
                    for (buffer, text) in
                        [(Buffer::SmbNtlmsspUser, &ntlm.user), (Buffer::SmbNtlmsspDomain, &ntlm.domain)]
                    {
                        put_text(direction, number, buffer, text, context);
                    }
                }
            }
            // It is over with its last fragment.
            Kind::Rpc(call) => {
                call.put(&self.bound, direction, number, context);
                return;
            }
            _ => {}
        }
        context.reached(direction, number, Stage::Body);
    }

    /// Tells signatures the answer of a transaction that is over, and what only that says about the request.
    fn put_answer(&self, transaction: &Transaction, context: &mut Context<'_>) {
        let (direction, number) = (self.requests(), transaction.id - 1);
        match &transaction.kind {
            Kind::TreeConnect { name, is_pipe, .. } => {
                let buffer = if *is_pipe { Buffer::SmbNamedPipe } else { Buffer::SmbShare };
                put_text(direction, number, buffer, name, context);
            }
            Kind::Rpc(call) => call.put(&self.bound, direction.flip(), number, context),
            _ => {}
        }
        put_version(transaction, direction.flip(), context);
        context.reached(direction, number, Stage::Body);
        context.reached(direction.flip(), number, Stage::Body);
    }

    /// Writes what is known of a transaction that waits.
    pub(super) fn describe(&self, number: u64, out: &mut Vec<u8>) {
        if let Some(transaction) = self.waiting.iter().find(|waiting| waiting.id - 1 == number) {
            event::write(self, transaction, &mut weir_common::json::Object::begin(out));
        }
    }

    /// The transaction that a message answers.
    pub(super) fn answered(&mut self, head: &Head) -> Option<&mut Transaction> {
        self.waiting.iter_mut().find(|waiting| {
            waiting.message == head.message
                && waiting.command == head.command
                && !matches!(waiting.kind, Kind::File { .. } | Kind::Rpc(_))
        })
    }

    /// A message answers a request that is of this kind.
    pub(super) fn find(&mut self, is_meant: impl Fn(&Transaction) -> bool) -> Option<&mut Transaction> {
        self.waiting.iter_mut().find(|waiting| is_meant(waiting))
    }

    /// Ends a transaction with the answer's state.
    pub(super) fn end(&mut self, id: u64, status: Option<Status>, context: &mut Context<'_>) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.id == id) else { return };
        let Some(mut transaction) = self.waiting.remove(at) else { return };
        transaction.status = status.or(transaction.status);
        self.tell(transaction, context);
    }

    /// Ends whatever a message answers.
    pub(super) fn end_answered(&mut self, head: &Head, context: &mut Context<'_>) {
        const PENDING: Status = Status::Nt(0x103);
        let Some(transaction) = self.answered(head) else { return };
        transaction.status = Some(head.status);
        let id = transaction.id;
        if head.status != PENDING {
            self.end(id, None, context);
        }
    }

    /// Ends everything; the connection has ended.
    pub(super) fn close(&mut self, context: &mut Context<'_>) {
        while let Some(transaction) = self.waiting.pop_front() {
            self.tell(transaction, context);
        }
    }

    fn tell(&mut self, mut transaction: Transaction, context: &mut Context<'_>) {
        let direction = self.requests();
        if let Some(name) = event::command_name(transaction.command) {
            context.metadata.add(Field::Command, name);
        }
        if let Some(status) = transaction.status.filter(|status| !status.is_success()) {
            context.metadata.add(Field::Status, &event::status_name(status));
        }
        let (id, body) = (
            transaction.id,
            match &mut transaction.kind {
                Kind::File { body, .. } => body.take(),
                _ => None,
            },
        );
        if let Some(mut body) = body {
            let mut beside = Vec::new();
            if context.events.is_some() {
                beside.extend_from_slice(b"\"smb\":");
                event::write(self, &transaction, &mut weir_common::json::Object::begin(&mut beside));
            }
            if self.is_part(&transaction) {
                // Closed as it should be, but the hash of what was read is not the file's.
                body.is_part();
            }
            body.end(transaction.status.is_some(), &beside, context);
        }
        if context.wanted.is_some() {
            self.put_answer(&transaction, context);
        }
        context.tell(direction, Some(id - 1), |object| event::write(self, &transaction, object));
    }

    /// Whether less of a file was read than there is, as far as is known.
    fn is_part(&self, transaction: &Transaction) -> bool {
        let Kind::File { handle, direction, next, .. } = &transaction.kind else { return false };
        let is_read = Some(*direction) != self.requests;
        is_read && self.open.get(handle).is_some_and(|open| *next < open.size)
    }

    /// A tree was connected.
    pub(super) fn add_tree(&mut self, session: u64, tree: u32, connected: Tree) {
        if self.trees.len() >= TREES_MAX {
            self.trees.clear();
        }
        self.trees.insert((session, tree), connected);
    }

    /// A tree was left.
    pub(super) fn remove_tree(&mut self, head: &Head) {
        self.trees.remove(&(head.session, head.tree));
    }

    /// The tree of a message.
    pub(super) fn tree(&self, head: &Head) -> Option<&Tree> {
        self.trees.get(&(head.session, head.tree))
    }

    /// A file or pipe was opened.
    pub(super) fn open(&mut self, handle: Handle, name: String, size: u64) {
        if self.open.len() >= HANDLES_MAX {
            self.open.clear();
        }
        self.open.insert(handle, Open { name, size });
    }

    /// The name of an open file.
    pub(super) fn name(&self, handle: &Handle) -> Option<&str> {
        self.open.get(handle).map(|open| &*open.name)
    }

    /// A read was asked for.
    pub(super) fn ask_read(&mut self, head: &Head, handle: Handle, offset: u64) {
        if self.reads.len() >= READS_MAX {
            self.reads.clear();
        }
        self.reads.insert(head.message, (handle, offset));
    }

    /// The read that a message answers.
    pub(super) fn asked_read(&mut self, head: &Head) -> Option<(Handle, u64)> {
        self.reads.remove(&head.message)
    }

    /// Bytes of a file are to come, from an offset on: makes sure that somebody counts them, and returns how
    /// many of the first were there before.
    pub(super) fn file(
        &mut self,
        head: &Head,
        handle: Handle,
        offset: u64,
        context: &mut Context<'_>,
    ) -> u64 {
        let direction = context.direction;
        let is_same = |kind: &Kind| matches!(kind, Kind::File { handle: known, direction: theirs, .. } if *known == handle && *theirs == direction);
        if !self.waiting.iter().any(|waiting| is_same(&waiting.kind)) {
            let name = self.name(&handle).map_or_else(|| "<unknown>".to_string(), str::to_string);
            let share = self.tree(head).map_or_else(String::new, |tree| tree.name.clone());
            let body = FileBody::begin(name.as_bytes(), direction, Some(self.last), context);
            self.begin(head, Kind::File { handle, direction, name, share, next: 0, body }, context);
        }
        for waiting in &mut self.waiting {
            if is_same(&waiting.kind)
                && let Kind::File { next, body, .. } = &mut waiting.kind
            {
                let missing = offset.saturating_sub(*next);
                if missing > 0 {
                    *next = offset;
                    if let Some(body) = body {
                        body.gap(missing);
                    }
                }
                return next.saturating_sub(offset);
            }
        }
        0
    }

    /// Bytes of a file, or so many that were not seen.
    pub(super) fn file_bytes(&mut self, handle: &Handle, direction: Direction, bytes: &[u8], missing: u64) {
        for waiting in &mut self.waiting {
            if let Kind::File { handle: known, direction: theirs, next, body, .. } = &mut waiting.kind
                && known == handle
                && *theirs == direction
            {
                *next = next.saturating_add(bytes.len() as u64).saturating_add(missing);
                if let Some(body) = body {
                    body.bytes(bytes);
                    if missing > 0 {
                        body.gap(missing);
                    }
                }
                return;
            }
        }
    }

    /// A file or pipe is closed.
    pub(super) fn close_file(&mut self, handle: &Handle, context: &mut Context<'_>) {
        while let Some(transaction) =
            self.find(|waiting| matches!(&waiting.kind, Kind::File { handle: known, .. } if known == handle))
        {
            let id = transaction.id;
            self.end(id, Some(Status::Nt(0)), context);
        }
        self.open.remove(handle);
    }

    /// A message closes what one before it in its chain opens: the answer tells which that was.
    pub(super) fn chained_close(&mut self, message: u64) {
        if self.chained.len() >= CHAINED_MAX {
            self.chained.remove(0);
        }
        self.chained.push(message);
    }

    /// Whether a message answers such a one.
    pub(super) fn is_chained_close(&mut self, message: u64) -> bool {
        let at = self.chained.iter().position(|chained| *chained == message);
        at.map(|at| self.chained.swap_remove(at)).is_some()
    }

    /// What a pipe carries, in either direction: told as calls where it is DCE/RPC. Returns whether it was.
    pub(super) fn pipe(
        &mut self,
        head: &Head,
        is_request: bool,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> bool {
        let mut rest = bytes;
        let mut is_rpc = false;
        while let Some(pdu) = Pdu::parse(rest) {
            is_rpc = true;
            let (whole, after) = rest.split_at_checked(usize::from(pdu.length)).unwrap_or((rest, &[]));
            if is_request {
                self.rpc_request(head, &pdu, whole, context);
            } else {
                self.rpc_response(head, &pdu, whole, context);
            }
            rest = after;
        }
        is_rpc
    }

    fn call_of(&mut self, pdu: &Pdu) -> Option<(u64, &mut Call)> {
        self.waiting.iter_mut().find_map(|waiting| match &mut waiting.kind {
            Kind::Rpc(call) if call.id == pdu.call => Some((waiting.id, call)),
            _ => None,
        })
    }

    fn rpc_request(&mut self, head: &Head, pdu: &Pdu, bytes: &[u8], context: &mut Context<'_>) {
        if pdu.kind == pdu::REQUEST
            && !pdu.is_first()
            && let Some((id, call)) = self.call_of(pdu)
            && call.request_goes_on(pdu)
        {
            self.put_fragment(id, pdu, bytes, context);
            return;
        }
        if matches!(pdu.kind, pdu::BIND | pdu::ALTER_CONTEXT) && !self.bound.ask(pdu, bytes, context.metadata)
        {
            context.anomaly("malformed_data", None);
        }
        let call = Call::begin(pdu, bytes);
        call.learn(&self.bound, context.metadata);
        self.begin(head, Kind::Rpc(call), context);
        self.put_fragment(self.last, pdu, bytes, context);
        if call.is_one_way() {
            self.end(self.last, None, context);
        }
    }

    fn rpc_response(&mut self, head: &Head, pdu: &Pdu, bytes: &[u8], context: &mut Context<'_>) {
        if matches!(pdu.kind, pdu::BIND_ACK | pdu::ALTER_CONTEXT_RESP) && !self.bound.results(pdu, bytes) {
            context.anomaly("malformed_data", None);
        }
        match self.call_of(pdu) {
            Some((id, call)) => {
                let is_over = call.answer(pdu);
                call::put_stub(pdu, bytes, true, (self.requests().flip(), id - 1), context);
                if is_over {
                    self.end(id, Some(head.status), context);
                }
            }
            None => {
                self.begin(head, Kind::Rpc(Call::begin(pdu, bytes)), context);
                call::put_stub(pdu, bytes, true, (self.requests().flip(), self.last - 1), context);
                if pdu.kind != pdu::RESPONSE || pdu.is_last() {
                    self.end(self.last, Some(head.status), context);
                }
            }
        }
    }

    /// Tells signatures a PDU of a call's request.
    fn put_fragment(&self, id: u64, pdu: &Pdu, bytes: &[u8], context: &mut Context<'_>) {
        let (direction, number) = (self.requests(), id - 1);
        call::put_stub(pdu, bytes, true, (direction, number), context);
        if pdu.kind != pdu::REQUEST || pdu.is_last() {
            context.reached(direction, number, Stage::Body);
        }
    }
}

fn put_version(transaction: &Transaction, direction: Direction, context: &mut Context<'_>) {
    let version = match transaction.command {
        Command::One(_) => 1,
        Command::Two(_) => 2,
    };
    context.put_number(direction, transaction.id - 1, Number::SmbVersion, version);
}

/// Tells a text as Suricata has it: the bytes of its UTF-16 without those that are zero.
fn put_text(direction: Direction, number: u64, buffer: Buffer, text: &str, context: &mut Context<'_>) {
    if context.wants(buffer) && !text.is_empty() {
        let bytes: Vec<u8> =
            text.encode_utf16().flat_map(u16::to_le_bytes).filter(|byte| *byte != 0).collect();
        context.put(direction, number, buffer, &bytes);
    }
}
