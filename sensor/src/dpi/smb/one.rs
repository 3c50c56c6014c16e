//! Messages of SMB 1 (MS-CIFS section 2.2, MS-SMB section 2.2).
//!
//! In: one message whole, or of a READ_ANDX response and WRITE_ANDX request the bytes before its data. Out:
//! what they begin and end in the connection's [`State`]. Commands chained by ANDX are read one after another.

use super::state::{Command, Create, Handle, Head, Kind, SessionSetup, State, Status, Tree};
use crate::dpi::Context;
use crate::dpi::ntlm::{self, Logon};
use crate::dpi::wire::{
    bytes_at, cut, le16_at, le32_at, le64_at, until_nul, until_wide_nul, utf16, windows_seconds,
};
use weir_common::metadata::Field;

pub(super) const HEADER_BYTES: usize = 32;
pub(super) const READ_ANDX: u8 = 0x2e;
pub(super) const WRITE_ANDX: u8 = 0x2f;
const CLOSE: u8 = 0x04;
const RENAME: u8 = 0x07;
const READ: u8 = 0x0a;
const WRITE: u8 = 0x0b;
const LOCKING_ANDX: u8 = 0x24;
const TRANS: u8 = 0x25;
const WRITE_AND_CLOSE: u8 = 0x2c;
const OPEN_ANDX: u8 = 0x2d;
const TRANS2: u8 = 0x32;
const TRANS2_SECONDARY: u8 = 0x33;
const TREE_DISCONNECT: u8 = 0x71;
const NEGOTIATE: u8 = 0x72;
const SESSION_SETUP_ANDX: u8 = 0x73;
const LOGOFF_ANDX: u8 = 0x74;
const TREE_CONNECT_ANDX: u8 = 0x75;
const NT_CREATE_ANDX: u8 = 0xa2;
const NT_CANCEL: u8 = 0xa4;

/// Most dialects read from one negotiation.
const DIALECTS_MAX: usize = 64;
/// Most commands chained in one message.
const CHAIN_MAX: usize = 8;

/// A message's header.
pub(super) struct Message {
    pub(super) head: Head,
    pub(super) command: u8,
    pub(super) is_response: bool,
    is_unicode: bool,
    user: u16,
}

/// Reads a header.
pub(super) fn header(bytes: &[u8]) -> Option<Message> {
    const IS_RESPONSE: u8 = 0x80;
    const HAS_NT_STATUS: u16 = 0x4000;
    const IS_UNICODE: u16 = 0x8000;
    let (command, flags, flags2) = (*bytes.get(4)?, *bytes.get(9)?, le16_at(bytes, 10)?);
    let status = if flags2 & HAS_NT_STATUS != 0 {
        Status::Nt(le32_at(bytes, 5)?)
    } else {
        match (*bytes.get(5)?, le16_at(bytes, 7)?) {
            (0, 0) => Status::Nt(0),
            (class, code) => Status::Dos(class, code),
        }
    };
    let (tree, process, user) = (le16_at(bytes, 24)?, le16_at(bytes, 26)?, le16_at(bytes, 28)?);
    let head = Head {
        command: Command::One(command),
        status,
        session: u64::from(user),
        tree: u32::from(tree),
        message: u64::from(le16_at(bytes, 30)?) | u64::from(process) << 16,
    };
    let is_response = flags & IS_RESPONSE != 0;
    Some(Message { head, command, is_response, is_unicode: flags2 & IS_UNICODE != 0, user })
}

/// One command's block: parameter words, then bytes.
struct Block<'a> {
    words: &'a [u8],
    bytes: &'a [u8],
    /// Where the bytes begin in the message.
    bytes_at: usize,
}

fn block(message: &[u8], at: usize) -> Option<Block<'_>> {
    let count = usize::from(*message.get(at)?) * 2;
    let words = bytes_at(message, at + 1, count)?;
    let begin = at + 1 + count + 2;
    let length = usize::from(le16_at(message, begin - 2).unwrap_or(0));
    let rest = message.get(begin..).unwrap_or_default();
    Some(Block { words, bytes: rest.get(..length).unwrap_or(rest), bytes_at: begin })
}

/// Texts of a block's bytes, one after another.
struct Texts<'a> {
    rest: &'a [u8],
    at: usize,
    is_unicode: bool,
}

impl Texts<'_> {
    fn next(&mut self) -> String {
        let length = self.rest.len();
        let text;
        if self.is_unicode {
            if self.at % 2 == 1 {
                self.rest = self.rest.get(1..).unwrap_or_default();
            }
            let (own, rest) = until_wide_nul(self.rest);
            text = utf16(own);
            self.rest = rest;
        } else {
            text = self.next_narrow();
        }
        self.at += length - self.rest.len();
        text
    }

    fn next_narrow(&mut self) -> String {
        let (text, rest) = until_nul(self.rest);
        self.rest = rest;
        String::from_utf8_lossy(cut(text)).into_owned()
    }
}

impl Message {
    fn texts<'a>(&self, block: &Block<'a>, from: usize) -> Texts<'a> {
        let rest = block.bytes.get(from..).unwrap_or_default();
        Texts { rest, at: block.bytes_at + from, is_unicode: self.is_unicode }
    }

    fn handle(&self, fid: u16) -> Handle {
        let mut handle = [0; 16];
        let (fid, user) = (fid.to_le_bytes(), self.user.to_le_bytes());
        handle[..4].copy_from_slice(&[fid[0], fid[1], user[0], user[1]]);
        handle
    }

    fn head(&self, command: u8) -> Head {
        Head { command: Command::One(command), ..self.head }
    }
}

/// Where the data of a READ_ANDX response or WRITE_ANDX request is, as for SMB 2.
pub(super) fn data(
    state: &mut State,
    message: &Message,
    bytes: &[u8],
) -> Option<(Handle, u64, usize, usize)> {
    let words = bytes.get(HEADER_BYTES + 1..)?;
    if message.is_response {
        let low = usize::from(le16_at(words, 10)?);
        let length = low | (le32_at(words, 14).unwrap_or(0) as usize & 0xff) << 16;
        let (handle, offset) = state.asked_read(&message.head)?;
        return Some((handle, offset, usize::from(le16_at(words, 12)?), length));
    }
    let count = *bytes.get(HEADER_BYTES)?;
    let high = if count >= 14 { u64::from(le32_at(words, 24)?) } else { 0 };
    let length = usize::from(le16_at(words, 20)?) | (usize::from(le16_at(words, 18)?) & 0xff) << 16;
    let offset = u64::from(le32_at(words, 6)?) | high << 32;
    Some((message.handle(le16_at(words, 4)?), offset, usize::from(le16_at(words, 22)?), length))
}

/// Whether a command begins with the one chained to it.
fn is_chained(command: u8) -> bool {
    matches!(
        command,
        LOCKING_ANDX
            | OPEN_ANDX
            | READ_ANDX
            | WRITE_ANDX
            | SESSION_SETUP_ANDX
            | LOGOFF_ANDX
            | TREE_CONNECT_ANDX
            | NT_CREATE_ANDX
    )
}

/// A whole message. `None`: it cannot be read.
pub(super) fn message(
    state: &mut State,
    message: &Message,
    bytes: &[u8],
    context: &mut Context<'_>,
) -> Option<()> {
    const NONE: u8 = 0xff;
    let (mut command, mut at) = (message.command, HEADER_BYTES);
    for _ in 0..CHAIN_MAX {
        let block = block(bytes, at)?;
        if message.is_response {
            response(state, message, command, &block, bytes, context)?;
        } else {
            request(state, message, command, &block, bytes, context)?;
        }
        let next = match block.words.first() {
            Some(next) if is_chained(command) && *next != NONE => *next,
            _ => break,
        };
        let next_at = usize::from(le16_at(block.words, 2)?);
        if next_at <= at {
            break;
        }
        (command, at) = (next, next_at);
    }
    Some(())
}

fn request(
    state: &mut State,
    message: &Message,
    command: u8,
    block: &Block<'_>,
    bytes: &[u8],
    context: &mut Context<'_>,
) -> Option<()> {
    let (head, words) = (&message.head(command), block.words);
    match command {
        NEGOTIATE => {
            let mut rest = block.bytes;
            let mut dialects = Vec::new();
            while let Some(text) = rest.strip_prefix(&[2]) {
                let (dialect, after) = until_nul(text);
                if dialects.len() < DIALECTS_MAX {
                    dialects.push(String::from_utf8_lossy(cut(dialect)).into_owned());
                }
                rest = after;
            }
            if dialects.is_empty() || !rest.is_empty() {
                context.anomaly("negotiate_malformed_dialects", None);
            }
            state.begin(head, Kind::Negotiate { dialects, client: None, server: None }, context);
        }
        SESSION_SETUP_ANDX => session_setup(state, message, head, block, context),
        TREE_CONNECT_ANDX => {
            let mut texts = message.texts(block, usize::from(le16_at(words, 6)?));
            let name = texts.next();
            let service = texts.next_narrow();
            context.metadata.add(Field::Object, &name);
            let services = [Some(service), None];
            state.begin(head, Kind::TreeConnect { name, is_pipe: false, share_type: 0, services }, context);
        }
        NT_CREATE_ANDX => {
            let options = le32_at(words, 39)?;
            let create = Create {
                name: message.texts(block, 0).next(),
                is_directory: options & 1 != 0,
                disposition: le32_at(words, 35)?,
                delete_on_close: options & 0x1000 != 0,
                ..Create::default()
            };
            if !create.name.is_empty() {
                context.metadata.add(Field::Object, &create.name);
            }
            state.begin(head, Kind::Create(Box::new(create)), context);
        }
        READ_ANDX => {
            let high = if words.len() >= 24 { u64::from(le32_at(words, 20)?) } else { 0 };
            let offset = u64::from(le32_at(words, 6)?) | high << 32;
            state.ask_read(head, message.handle(le16_at(words, 4)?), offset);
        }
        CLOSE => {
            // The answer closes what is read; what was written is whole now.
            let handle = message.handle(le16_at(words, 0)?);
            state.close_file(&handle, context);
            state.begin(head, Kind::Other, context);
        }
        RENAME => {
            let mut texts = message.texts(block, 1);
            let from = texts.next();
            texts.rest = texts.rest.get(1..).unwrap_or_default();
            texts.at += 1;
            state.begin(head, Kind::Rename { from, to: texts.next(), handle: None }, context);
        }
        TRANS => {
            // Function and handle of a transaction on a pipe.
            if words.len() >= 32 && le16_at(words, 28) == Some(0x26) {
                let data =
                    bytes_at(bytes, usize::from(le16_at(words, 24)?), usize::from(le16_at(words, 22)?))?;
                state.pipe(head, true, data, context);
            }
        }
        TRANS2 => trans2(state, message, head, words, bytes, context)?,
        WRITE_ANDX => {}
        READ => {
            state.ask_read(head, message.handle(le16_at(words, 0)?), u64::from(le32_at(words, 4)?));
            state.begin(head, Kind::Other, context);
        }
        WRITE | WRITE_AND_CLOSE => {
            let (handle, offset) = (message.handle(le16_at(words, 0)?), u64::from(le32_at(words, 4)?));
            let data_at = if command == WRITE { 3 } else { 1 };
            let data = block.bytes.get(data_at..)?;
            if !state.tree(head).is_some_and(|tree| tree.is_pipe) {
                let known = usize::try_from(state.file(head, handle, offset, context)).unwrap_or(usize::MAX);
                state.file_bytes(&handle, context.direction, data.get(known..).unwrap_or_default(), 0);
            } else {
                state.pipe(head, true, data, context);
            }
            if command == WRITE_AND_CLOSE {
                state.close_file(&handle, context);
            }
            state.begin(head, Kind::Other, context);
        }
        TREE_DISCONNECT => {
            state.remove_tree(head);
            state.begin(head, Kind::Other, context);
        }
        _ => {
            state.begin(head, Kind::Other, context);
            if matches!(command, NT_CANCEL | TRANS2_SECONDARY | LOCKING_ANDX)
                && let Some(id) = state.answered(head).map(|transaction| transaction.id)
            {
                state.end(id, None, context);
            }
        }
    }
    Some(())
}

fn session_setup(
    state: &mut State,
    message: &Message,
    head: &Head,
    block: &Block<'_>,
    context: &mut Context<'_>,
) {
    const EXTENDED: usize = 24;
    const PLAIN: usize = 26;
    let mut setup = SessionSetup::default();
    let length = |at| le16_at(block.words, at).map_or(0, usize::from);
    match block.words.len() {
        EXTENDED => {
            let blob = block.bytes.get(..length(14)).unwrap_or(block.bytes);
            setup.logon = Logon::parse(blob);
            setup.logon.learn(context.metadata);
            let mut texts = message.texts(block, blob.len());
            setup.request = Some([texts.next(), texts.next()]);
        }
        PLAIN => {
            let mut texts = message.texts(block, length(14) + length(16));
            let (account, domain) = (texts.next(), texts.next());
            if !account.is_empty() {
                context.metadata.add(Field::User, &account);
            }
            if !domain.is_empty() {
                context.metadata.set_text(Field::Domain, &domain);
            }
            setup.request = Some([texts.next(), texts.next()]);
        }
        _ => {}
    }
    if let Some([system, _]) = setup.request.as_ref().filter(|[system, _]| !system.is_empty()) {
        context.metadata.set_text(Field::ClientSoftware, system);
    }
    state.begin(head, Kind::SessionSetup(Box::new(setup)), context);
}

fn trans2(
    state: &mut State,
    message: &Message,
    head: &Head,
    words: &[u8],
    bytes: &[u8],
    context: &mut Context<'_>,
) -> Option<()> {
    const SET_PATH_INFO: u16 = 6;
    const SET_FILE_INFO: u16 = 8;
    const RENAME: u16 = 1010;
    const DISPOSITION: u16 = 1013;
    let function = le16_at(words, 28)?;
    if !matches!(function, SET_PATH_INFO | SET_FILE_INFO) {
        return Some(());
    }
    let parameters = bytes_at(bytes, usize::from(le16_at(words, 20)?), usize::from(le16_at(words, 18)?))?;
    let data = bytes_at(bytes, usize::from(le16_at(words, 24)?), usize::from(le16_at(words, 22)?))?;
    let (level, handle, name) = if function == SET_PATH_INFO {
        let name = parameters.get(6..)?;
        let name = if message.is_unicode {
            utf16(name)
        } else {
            String::from_utf8_lossy(cut(until_nul(name).0)).into()
        };
        (le16_at(parameters, 0)?, None, name)
    } else {
        let fid = le16_at(parameters, 0)?;
        let handle = message.handle(fid);
        (le16_at(parameters, 2)?, Some(handle), state.name(&handle).unwrap_or("<unknown>").to_string())
    };
    match level {
        DISPOSITION => {
            let delete = *data.first()? != 0;
            state.begin(head, Kind::Disposition { name, handle, delete, function, level }, context);
        }
        RENAME => {
            let to = utf16(bytes_at(data, 12, le32_at(data, 8)? as usize)?);
            state.begin(head, Kind::Rename { from: name, to, handle }, context);
        }
        _ => {}
    }
    Some(())
}

fn response(
    state: &mut State,
    message: &Message,
    command: u8,
    block: &Block<'_>,
    bytes: &[u8],
    context: &mut Context<'_>,
) -> Option<()> {
    let (head, words) = (&message.head(command), block.words);
    let is_success = head.status.is_success();
    match command {
        NEGOTIATE => {
            const HAS_EXTENDED_SECURITY: u32 = 0x8000_0000;
            let chosen = le16_at(words, 0)?;
            let has_guid =
                le32_at(words, 19).is_some_and(|capabilities| capabilities & HAS_EXTENDED_SECURITY != 0);
            let guid = block.bytes.first_chunk::<16>().filter(|_| has_guid);
            let Some(transaction) = state.find(|waiting| matches!(waiting.kind, Kind::Negotiate { .. }))
            else {
                return Some(());
            };
            let (id, mut dialect) = (transaction.id, None);
            if let Kind::Negotiate { dialects, server, .. } = &mut transaction.kind {
                *server = guid.copied();
                dialect = dialects.get(usize::from(chosen)).cloned();
            }
            match dialect {
                Some(dialect) => {
                    context.metadata.set_text(Field::Version, &dialect);
                    state.dialect = Some(dialect);
                }
                None => context.anomaly("negotiate_malformed_dialects", None),
            }
            state.end(id, Some(head.status), context);
        }
        SESSION_SETUP_ANDX => {
            let skipped = if words.len() >= 8 { usize::from(le16_at(words, 6)?) } else { 0 };
            ntlm::learn_challenge(block.bytes.get(..skipped).unwrap_or_default(), context.metadata);
            let mut texts = message.texts(block, skipped);
            let response = [texts.next(), texts.next()];
            if let [system, manager] = &response
                && !(system.is_empty() && manager.is_empty())
            {
                context.metadata.set_text(Field::ServerSoftware, &format!("{system} ({manager})"));
            }
            if let Some(transaction) = state.answered(head) {
                transaction.session = head.session;
                if let Kind::SessionSetup(setup) = &mut transaction.kind
                    && !block.bytes.is_empty()
                {
                    setup.response = Some(response);
                }
            }
            state.end_answered(head, context);
        }
        TREE_CONNECT_ANDX if is_success => {
            let service = message.texts(block, 0).next_narrow();
            let Some(transaction) = state.answered(head) else { return Some(()) };
            transaction.tree = head.tree;
            let id = transaction.id;
            if let Kind::TreeConnect { name, is_pipe, services, .. } = &mut transaction.kind {
                *is_pipe = service == "IPC";
                services[1] = Some(service);
                let tree = Tree { name: name.clone(), is_pipe: *is_pipe };
                if !*is_pipe {
                    context.metadata.add(Field::SmbShare, &tree.name);
                }
                state.add_tree(head.session, head.tree, tree);
            }
            state.end(id, Some(head.status), context);
        }
        NT_CREATE_ANDX if is_success => {
            let handle = message.handle(le16_at(words, 5)?);
            let times = [11, 19, 27, 35].map(|at| windows_seconds(le64_at(words, at).unwrap_or(0)));
            let size = le64_at(words, 55).unwrap_or(0);
            let Some(transaction) = state.answered(head) else { return Some(()) };
            let (id, mut opened) = (transaction.id, String::new());
            if let Kind::Create(create) = &mut transaction.kind {
                (create.times, create.size, create.handle) = (times, size, Some(handle));
                opened.clone_from(&create.name);
            }
            state.open(handle, opened, size);
            state.end(id, Some(head.status), context);
        }
        TRANS => {
            if words.len() >= 20 {
                let data =
                    bytes_at(bytes, usize::from(le16_at(words, 14)?), usize::from(le16_at(words, 12)?));
                state.pipe(head, false, data.unwrap_or_default(), context);
            }
        }
        READ_ANDX | WRITE_ANDX => {}
        READ if is_success => {
            if let (Some((handle, offset)), Some(data)) = (state.asked_read(head), block.bytes.get(3..)) {
                if !state.tree(head).is_some_and(|tree| tree.is_pipe) {
                    let known =
                        usize::try_from(state.file(head, handle, offset, context)).unwrap_or(usize::MAX);
                    state.file_bytes(&handle, context.direction, data.get(known..).unwrap_or_default(), 0);
                } else {
                    state.pipe(head, false, data, context);
                }
            }
            state.end_answered(head, context);
        }
        _ => state.end_answered(head, context),
    }
    Some(())
}
