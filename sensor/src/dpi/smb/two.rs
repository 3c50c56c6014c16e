//! Messages of SMB 2 and 3 (MS-SMB2 section 2.2).
//!
//! In: one message whole, or of a READ response and WRITE request the bytes before its data. Out: what they
//! begin and end in the connection's [`State`].

use super::names;
use super::state::{Command, Create, Handle, Head, Kind, SessionSetup, State, Status, Transaction, Tree};
use crate::dpi::Context;
use crate::dpi::ntlm::{self, Logon};
use crate::dpi::wire::{bytes_at, le16_at, le32_at, le64_at, utf16, windows_seconds};
use weir_common::metadata::Field;

pub(super) const HEADER_BYTES: usize = 64;
pub(super) const READ: u16 = 8;
pub(super) const WRITE: u16 = 9;
const NEGOTIATE: u16 = 0;
const SESSION_SETUP: u16 = 1;
const TREE_CONNECT: u16 = 3;
const TREE_DISCONNECT: u16 = 4;
const CREATE: u16 = 5;
const CLOSE: u16 = 6;
const IOCTL: u16 = 11;
const GET_INFO: u16 = 16;
const SET_INFO: u16 = 17;

/// Most dialects read from one negotiation.
const DIALECTS_MAX: usize = 64;
/// The control code by which a pipe is written and read at once.
const PIPE_TRANSCEIVE: u32 = 0x0011_c017;
/// The handle that a message chained to a CREATE uses for what that opens.
const CHAINED: Handle = [0xff; 16];

/// A message's header.
pub(super) struct Message {
    pub(super) head: Head,
    pub(super) command: u16,
    pub(super) is_response: bool,
    /// Bytes to the next message in the same frame; 0: it is the last.
    pub(super) next: usize,
}

/// Reads a header.
pub(super) fn header(bytes: &[u8]) -> Option<Message> {
    const IS_RESPONSE: u32 = 1;
    const IS_ASYNC: u32 = 2;
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    let (command, flags) = (le16_at(bytes, 12)?, le32_at(bytes, 16)?);
    let tree = if flags & IS_ASYNC != 0 { 0 } else { le32_at(bytes, 36)? };
    let head = Head {
        command: Command::Two(command),
        status: Status::Nt(le32_at(bytes, 8)?),
        session: le64_at(bytes, 40)?,
        tree,
        message: le64_at(bytes, 24)?,
    };
    Some(Message { head, command, is_response: flags & IS_RESPONSE != 0, next: le32_at(bytes, 20)? as usize })
}

/// Where the data of a READ response or WRITE request is: its handle, its offset in the file, where it begins
/// in the message and how long it is. `None`: the message cannot be read, or answers a read that was not seen.
pub(super) fn data(
    state: &mut State,
    message: &Message,
    bytes: &[u8],
) -> Option<(Handle, u64, usize, usize)> {
    let body = bytes.get(HEADER_BYTES..)?;
    if message.is_response {
        let (at, length) = (usize::from(*body.get(2)?), le32_at(body, 4)? as usize);
        let (handle, offset) = state.asked_read(&message.head)?;
        return Some((handle, offset, at, length));
    }
    let handle = handle_at(body, 16)?;
    Some((handle, le64_at(body, 8)?, usize::from(le16_at(body, 2)?), le32_at(body, 4)? as usize))
}

fn handle_at(body: &[u8], at: usize) -> Option<Handle> {
    bytes_at(body, at, 16)?.try_into().ok()
}

/// A request. `None`: it cannot be read.
pub(super) fn request(
    state: &mut State,
    message: &Message,
    bytes: &[u8],
    context: &mut Context<'_>,
) -> Option<()> {
    let (head, body) = (&message.head, bytes.get(HEADER_BYTES..)?);
    match message.command {
        NEGOTIATE => {
            let count = usize::from(le16_at(body, 2)?).min(DIALECTS_MAX);
            let dialects =
                (0..count).map_while(|at| le16_at(body, 36 + 2 * at)).map(names::dialect).collect();
            let client = handle_at(body, 12);
            state.begin(head, Kind::Negotiate { dialects, client, server: None }, context);
        }
        SESSION_SETUP => {
            let blob = part(bytes, le16_at(body, 12)?, le16_at(body, 14)?).unwrap_or_default();
            let logon = Logon::parse(blob);
            logon.learn(context.metadata);
            state.begin(
                head,
                Kind::SessionSetup(Box::new(SessionSetup { logon, ..SessionSetup::default() })),
                context,
            );
        }
        TREE_CONNECT => {
            let name = utf16(part(bytes, le16_at(body, 4)?, le16_at(body, 6)?)?);
            context.metadata.add(Field::Object, &name);
            let services = [None, None];
            state.begin(head, Kind::TreeConnect { name, is_pipe: false, share_type: 0, services }, context);
        }
        TREE_DISCONNECT => {
            state.remove_tree(head);
            state.begin(head, Kind::Other, context);
        }
        CREATE => {
            let options = le32_at(body, 40)?;
            let create = Create {
                name: utf16(part(bytes, le16_at(body, 44)?, le16_at(body, 46)?).unwrap_or_default()),
                is_directory: options & 1 != 0,
                disposition: le32_at(body, 36)?,
                delete_on_close: options & 0x1000 != 0,
                ..Create::default()
            };
            if !create.name.is_empty() {
                context.metadata.add(Field::Object, &create.name);
            }
            state.begin(head, Kind::Create(Box::new(create)), context);
        }
        CLOSE => {
            match handle_at(body, 8) {
                Some(CHAINED) => state.chained_close(head.message),
                Some(handle) => state.close_file(&handle, context),
                None => {}
            }
            state.begin(head, Kind::Other, context);
        }
        READ => state.ask_read(head, handle_at(body, 16)?, le64_at(body, 8)?),
        IOCTL => {
            let code = le32_at(body, 4)?;
            let data = bytes_at(bytes, le32_at(body, 24)? as usize, le32_at(body, 28)? as usize);
            if code != PIPE_TRANSCEIVE || !state.pipe(head, true, data.unwrap_or_default(), context) {
                state.begin(head, Kind::Control(code), context);
            }
        }
        SET_INFO => set_info(state, head, bytes, body, context)?,
        WRITE | GET_INFO => {}
        _ => state.begin(head, Kind::Other, context),
    }
    Some(())
}

/// What a 16-bit offset and length of a message say is there.
fn part(bytes: &[u8], at: u16, length: u16) -> Option<&[u8]> {
    bytes_at(bytes, usize::from(at), usize::from(length))
}

fn set_info(
    state: &mut State,
    head: &Head,
    bytes: &[u8],
    body: &[u8],
    context: &mut Context<'_>,
) -> Option<()> {
    const FILE: u8 = 1;
    const RENAME: u8 = 10;
    const DISPOSITION: u8 = 13;
    let (class, level) = (*body.get(2)?, *body.get(3)?);
    let data = bytes_at(bytes, usize::from(le16_at(body, 8)?), le32_at(body, 4)? as usize);
    let handle = handle_at(body, 16)?;
    let name = state.name(&handle).unwrap_or("<unknown>").to_string();
    match (class, level) {
        (FILE, RENAME) => {
            let data = data?;
            let to = utf16(bytes_at(data, 20, le32_at(data, 16)? as usize)?);
            context.metadata.add(Field::Object, &to);
            state.begin(head, Kind::Rename { from: name, to, handle: Some(handle) }, context);
        }
        (FILE, DISPOSITION) => {
            let delete = *data?.first()? != 0;
            let kind = Kind::Disposition {
                name,
                handle: Some(handle),
                delete,
                function: u16::from(class),
                level: u16::from(level),
            };
            state.begin(head, kind, context);
        }
        _ => {}
    }
    Some(())
}

/// A response. `None`: it cannot be read.
pub(super) fn response(
    state: &mut State,
    message: &Message,
    bytes: &[u8],
    context: &mut Context<'_>,
) -> Option<()> {
    let (head, body) = (&message.head, bytes.get(HEADER_BYTES..)?);
    let is_success = head.status.is_success();
    match message.command {
        NEGOTIATE if is_success => {
            let dialect = names::dialect(le16_at(body, 4)?);
            // A server that speaks several answers a client of SMB 1 so, and is asked again.
            if dialect != "2.??" {
                context.metadata.set_text(Field::Version, &dialect);
            }
            state.dialect = Some(dialect);
            (state.max_read, state.max_write) = (le32_at(body, 32)?, le32_at(body, 36)?);
            // A client of both asks in SMB 1.
            let Some(transaction) = state.find(|waiting| matches!(waiting.kind, Kind::Negotiate { .. }))
            else {
                return Some(());
            };
            if let Kind::Negotiate { server, .. } = &mut transaction.kind {
                *server = handle_at(body, 8);
            }
            let id = transaction.id;
            state.end(id, Some(head.status), context);
        }
        TREE_CONNECT if is_success => {
            let found = *body.get(2)?;
            let Some(transaction) = state.answered(head) else { return Some(()) };
            transaction.tree = head.tree;
            let id = transaction.id;
            if let Transaction { kind: Kind::TreeConnect { name, is_pipe, share_type, .. }, .. } = transaction
            {
                (*share_type, *is_pipe) = (found, found == 2);
                let tree = Tree { name: name.clone(), is_pipe: *is_pipe };
                if !*is_pipe {
                    context.metadata.add(Field::SmbShare, &tree.name);
                }
                state.add_tree(head.session, head.tree, tree);
            }
            state.end(id, Some(head.status), context);
        }
        CREATE if is_success => {
            let handle = handle_at(body, 64)?;
            let times = [8, 16, 24, 32].map(|at| windows_seconds(le64_at(body, at).unwrap_or(0)));
            let size = le64_at(body, 48)?;
            let Some(transaction) = state.answered(head) else { return Some(()) };
            let (id, mut opened) = (transaction.id, String::new());
            if let Kind::Create(create) = &mut transaction.kind {
                (create.times, create.size, create.handle) = (times, size, Some(handle));
                opened.clone_from(&create.name);
            }
            state.open(handle, opened, size);
            state.created = Some(handle);
            state.end(id, Some(head.status), context);
        }
        IOCTL => {
            let data = bytes_at(
                bytes,
                le32_at(body, 32).unwrap_or(0) as usize,
                le32_at(body, 36).unwrap_or(0) as usize,
            );
            let is_pipe = le32_at(body, 4) == Some(PIPE_TRANSCEIVE);
            if !is_pipe || !state.pipe(head, false, data.unwrap_or_default(), context) {
                state.end_answered(head, context);
            }
        }
        READ | WRITE | GET_INFO => {}
        CLOSE => {
            if state.is_chained_close(head.message)
                && let Some(handle) = state.created
            {
                state.close_file(&handle, context);
            }
            state.end_answered(head, context);
        }
        SESSION_SETUP => {
            let blob = part(bytes, le16_at(body, 4).unwrap_or(0), le16_at(body, 6).unwrap_or(0));
            ntlm::learn_challenge(blob.unwrap_or_default(), context.metadata);
            if let Some(transaction) = state.answered(head) {
                // The first answer says which session it is.
                transaction.session = head.session;
            }
            state.end_answered(head, context);
        }
        _ => state.end_answered(head, context),
    }
    Some(())
}

/// The handle that is meant: chained messages say only that it is the one just opened.
pub(super) fn meant(state: &State, handle: Handle) -> Handle {
    if handle == CHAINED { state.created.unwrap_or(handle) } else { handle }
}
