//! Server Message Block 1, 2 and 3 over TCP, directly or in NetBIOS sessions (MS-CIFS, MS-SMB, MS-SMB2).
//!
//! In: both directions of a stream. Out: dialect, who logged on, shares and files in the metadata; files that
//! are read and written; one event per request with its answer, in EVE's form. DCE/RPC over named pipes is
//! told as calls. What SMB 3 encrypts or compresses is passed over.

mod event;
mod frames;
mod names;
mod one;
mod state;
#[cfg(test)]
mod tests;
mod two;

use super::dcerpc::pdu::{HEADER_BYTES as PDU_BYTES, Pdu};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use frames::Frames;
use state::{Handle, Head, State, Status};
use weir_common::app::App;
use weir_common::net::Direction;

/// Bytes of the frame around a message: its kind, its length.
const FRAME_BYTES: usize = 4;
/// Most bytes of a message that is waited for. Of a longer one that is not a file's data only the frame is
/// followed.
const MESSAGE_BYTES_MAX: usize = 128 << 10;
/// Furthest from its message's beginning that data may begin.
const DATA_AT_MAX: usize = 1024;

/// State of an SMB connection.
#[derive(Debug)]
pub(super) struct Smb {
    state: Box<State>,
    sides: [Side; 2],
}

/// Where one direction is in its frames.
#[derive(Debug, Default)]
struct Side {
    /// Bytes of the frame that are still to come.
    frame_left: usize,
    /// Bytes of a file that are to come, and the file.
    data_left: usize,
    handle: Handle,
    /// Of those, bytes that were there before.
    known: usize,
    /// Bytes to pass over before the next message or frame.
    pass_left: usize,
    /// Frames are looked for at the beginnings of segments.
    is_lost: bool,
    /// What signatures are told of the frames.
    frames: Frames,
}

impl Dissector for Smb {
    const APP: App = App::Smb;

    const STARTS: Starts = Starts::stream(&[0]);

    fn probe(first: &First<'_>) -> Probe {
        if !first.is_stream() {
            return Probe::NotForUs;
        }
        let Some(message) = first.bytes.get(FRAME_BYTES..).filter(|message| !message.is_empty()) else {
            let is_begun = first.bytes.first().is_some_and(|kind| *kind == 0);
            return if is_begun { Probe::Unsure } else { Probe::NotForUs };
        };
        let [kind, a, b, c] = first.bytes.first_chunk().copied().unwrap_or([1; 4]);
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let is_mark = message.first().is_some_and(|byte| *byte >= 0xfc)
            && message.iter().skip(1).zip(b"SMB").all(|(byte, letter)| byte == letter);
        if kind != 0 || length < one::HEADER_BYTES || !is_mark {
            return Probe::NotForUs;
        }
        match (message.first(), message.get(4..6)) {
            (_, None) => Probe::Unsure,
            (Some(0xfe), Some([64, 0])) => Probe::Certain,
            (Some(0xfe), Some(_)) => Probe::NotForUs,
            (Some(0xff), Some([command, _])) if names::command1(*command).is_none() => Probe::Likely,
            _ => Probe::Certain,
        }
    }

    fn new() -> Self {
        Smb { state: Box::default(), sides: Default::default() }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        if self.sides[index].is_lost {
            let first = First::of(context.carrier, context.direction, bytes);
            if bytes.is_empty() || Smb::probe(&first) != Probe::Certain {
                return Progress::Used(bytes.len());
            }
            self.sides[index].is_lost = false;
        }
        let mut rest = bytes;
        loop {
            let side = &mut self.sides[index];
            if side.data_left > 0 {
                let (data, after) = rest.split_at_checked(side.data_left).unwrap_or((rest, &[]));
                rest = after;
                side.data_left -= data.len();
                side.frame_left -= data.len();
                let known = side.known.min(data.len());
                side.known -= known;
                let handle = side.handle;
                if context.wanted.is_some() {
                    side.frames.bytes(data, context);
                }
                let data = data.get(known..).unwrap_or_default();
                self.state.file_bytes(&handle, context.direction, data, 0);
            }
            let side = &mut self.sides[index];
            if side.data_left == 0 && side.pass_left > 0 {
                let pass = std::mem::take(&mut side.pass_left);
                side.frame_left = side.frame_left.saturating_sub(pass);
                if context.wanted.is_some() {
                    side.frames.bytes(rest.get(..pass).unwrap_or(rest), context);
                }
                match rest.get(pass..) {
                    Some(after) => rest = after,
                    None => {
                        side.frames.end(context);
                        return Progress::Used(bytes.len() - rest.len() + pass);
                    }
                }
            }
            if side.data_left > 0 || rest.is_empty() {
                break;
            }
            if side.frame_left == 0 {
                let Some((frame, after)) = rest.split_first_chunk::<FRAME_BYTES>() else { break };
                let [kind, high, b, c] = *frame;
                match kind {
                    0 => side.frame_left = u32::from_be_bytes([0, high, b, c]) as usize,
                    // What else a NetBIOS session may say.
                    0x81..=0x85 => {
                        side.frame_left = u32::from_be_bytes([0, high & 1, b, c]) as usize;
                        side.pass_left = side.frame_left;
                    }
                    _ => {
                        context.anomaly("malformed_nbss", None);
                        side.is_lost = true;
                        return Progress::Used(bytes.len());
                    }
                }
                if context.wanted.is_some() {
                    side.frames.begin_session(frame, side.frame_left, context);
                }
                rest = after;
                continue;
            }
            let length = side.frame_left;
            match self.message(rest, context) {
                Some(used) => {
                    if context.wanted.is_some() {
                        let next = two::header(rest).map_or(0, |message| message.next);
                        let is_two = rest.starts_with(b"\xfeSMB");
                        let has_next = is_two && (two::HEADER_BYTES..length).contains(&next);
                        let frames = &mut self.sides[index].frames;
                        frames.begin_message(rest, if has_next { next } else { length }, context);
                        frames.bytes(rest.get(..used).unwrap_or(rest), context);
                    }
                    rest = rest.get(used..).unwrap_or_default();
                }
                None => break,
            }
        }
        Progress::Used(bytes.len() - rest.len())
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        let side = &mut self.sides[context.direction.index()];
        side.frames.end(context);
        let mut missing = usize::try_from(missing).unwrap_or(usize::MAX);
        let data = side.data_left.min(missing);
        side.data_left -= data;
        side.frame_left -= data;
        missing -= data;
        let known = side.known.min(data);
        side.known -= known;
        if side.data_left == 0 {
            if missing > side.frame_left || side.frame_left == 0 && missing > 0 {
                side.is_lost = true;
                (side.frame_left, side.pass_left) = (0, 0);
            } else if missing > 0 {
                // What is left of the frame cannot be read, but its end is known.
                side.frame_left -= missing;
                side.pass_left = side.frame_left;
            }
        }
        let (handle, unseen) = (side.handle, (data - known) as u64);
        if unseen > 0 {
            self.state.file_bytes(&handle, context.direction, &[], unseen);
        }
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for direction in [Direction::Forward, Direction::Reverse] {
            self.sides[direction.index()].frames.end(context);
        }
        self.state.close(context);
    }

    fn describe(&self, _: Direction, transaction: u64, out: &mut Vec<u8>) {
        self.state.describe(transaction, out);
    }
}

impl Smb {
    /// The message that `rest` begins with. Returns the bytes used; `None`: more are needed.
    fn message(&mut self, rest: &[u8], context: &mut Context<'_>) -> Option<usize> {
        let side = &mut self.sides[context.direction.index()];
        let frame = side.frame_left;
        let mark = rest.first_chunk::<4>();
        match mark {
            None if frame > rest.len() => return None,
            Some([0xff, b'S', b'M', b'B']) => return self.message_of_1(rest, context),
            Some([0xfe, b'S', b'M', b'B']) => return self.message_of_2(rest, context),
            Some([0xfd | 0xfc, b'S', b'M', b'B']) => {}
            _ => context.anomaly("malformed_data", None),
        }
        side.pass_left = frame;
        Some(0)
    }

    fn message_of_2(&mut self, rest: &[u8], context: &mut Context<'_>) -> Option<usize> {
        let frame = self.sides[context.direction.index()].frame_left;
        if frame < two::HEADER_BYTES {
            return self.unreadable(frame, context);
        }
        let message = two::header(rest)?;
        let length = if (two::HEADER_BYTES..frame).contains(&message.next) { message.next } else { frame };
        self.turn(message.is_response, context);
        let is_data = match message.command {
            two::READ => message.is_response && matches!(message.head.status, Status::Nt(0 | 0x8000_0005)),
            two::WRITE => !message.is_response,
            _ => false,
        };
        if is_data {
            let fixed = if message.is_response { 16 } else { 48 };
            let shown = rest.get(..(two::HEADER_BYTES + fixed).min(length))?;
            let Some((handle, offset, at, bytes)) = two::data(&mut self.state, &message, shown) else {
                return self.unreadable_unless(message.is_response, length, context);
            };
            let handle = two::meant(&self.state, handle);
            return self.data(
                &message.head,
                message.is_response,
                rest,
                length,
                (handle, offset, at, bytes),
                context,
            );
        }
        if length > MESSAGE_BYTES_MAX {
            return self.pass(length, context);
        }
        let whole = rest.get(..length)?;
        let read = if message.is_response {
            two::response(&mut self.state, &message, whole, context)
        } else {
            two::request(&mut self.state, &message, whole, context)
        };
        self.used(length, read.is_some(), context)
    }

    fn message_of_1(&mut self, rest: &[u8], context: &mut Context<'_>) -> Option<usize> {
        let frame = self.sides[context.direction.index()].frame_left;
        if frame < one::HEADER_BYTES {
            return self.unreadable(frame, context);
        }
        rest.get(..one::HEADER_BYTES)?;
        let message = one::header(rest)?;
        self.turn(message.is_response, context);
        let is_data = match message.command {
            one::READ_ANDX => message.is_response && message.head.status.is_success(),
            one::WRITE_ANDX => !message.is_response,
            _ => false,
        };
        if is_data {
            let shown = rest.get(..(one::HEADER_BYTES + 32).min(frame))?;
            let Some(data) = one::data(&mut self.state, &message, shown) else {
                return self.unreadable_unless(message.is_response, frame, context);
            };
            return self.data(&message.head, message.is_response, rest, frame, data, context);
        }
        if frame > MESSAGE_BYTES_MAX {
            return self.pass(frame, context);
        }
        let whole = rest.get(..frame)?;
        let read = one::message(&mut self.state, &message, whole, context);
        self.used(frame, read.is_some(), context)
    }

    /// A message that carries bytes of a file or pipe.
    fn data(
        &mut self,
        head: &Head,
        is_response: bool,
        rest: &[u8],
        length: usize,
        (handle, offset, at, bytes): (Handle, u64, usize, usize),
        context: &mut Context<'_>,
    ) -> Option<usize> {
        if at > length.min(DATA_AT_MAX) || bytes > length - at {
            return self.unreadable(length, context);
        }
        // What tells a pipe has to be seen where the tree is not known.
        let wanted = if self.state.tree(head).is_none() { at + PDU_BYTES.min(bytes) } else { at };
        if rest.len() < wanted {
            if is_response {
                self.state.ask_read(head, handle, offset);
            }
            return None;
        }
        let tree = self.state.tree(head);
        let is_known_pipe = tree.is_some_and(|tree| tree.is_pipe);
        let looks_like_rpc = rest.get(at..).and_then(Pdu::parse).is_some();
        if is_known_pipe || tree.is_none() && looks_like_rpc && bytes >= PDU_BYTES {
            if length > MESSAGE_BYTES_MAX {
                return self.pass(length, context);
            }
            let Some(data) = rest.get(..length).and_then(|whole| whole.get(at..at + bytes)) else {
                // It will be asked for again.
                if is_response {
                    self.state.ask_read(head, handle, offset);
                }
                return None;
            };
            self.state.pipe(head, !is_response, data, context);
            return self.used(length, true, context);
        }
        let known = self.state.file(head, handle, offset, context);
        let side = &mut self.sides[context.direction.index()];
        (side.handle, side.data_left) = (handle, bytes);
        side.known = usize::try_from(known).unwrap_or(usize::MAX).min(bytes);
        side.pass_left = length - at - bytes;
        side.frame_left -= at;
        Some(at)
    }

    /// Requests are seen to go in this direction.
    fn turn(&mut self, is_response: bool, context: &Context<'_>) {
        let direction = if is_response { context.direction.flip() } else { context.direction };
        self.state.requests.get_or_insert(direction);
    }

    fn used(&mut self, length: usize, is_readable: bool, context: &mut Context<'_>) -> Option<usize> {
        if !is_readable {
            context.anomaly("malformed_data", None);
        }
        let side = &mut self.sides[context.direction.index()];
        side.frame_left -= length;
        Some(length)
    }

    fn pass(&mut self, length: usize, context: &Context<'_>) -> Option<usize> {
        self.sides[context.direction.index()].pass_left = length;
        Some(0)
    }

    fn unreadable(&mut self, length: usize, context: &mut Context<'_>) -> Option<usize> {
        context.anomaly("malformed_data", None);
        self.pass(length, context)
    }

    /// Passes over a message; one that answers something not seen is not to blame.
    fn unreadable_unless(
        &mut self,
        is_response: bool,
        length: usize,
        context: &mut Context<'_>,
    ) -> Option<usize> {
        if is_response { self.pass(length, context) } else { self.unreadable(length, context) }
    }
}
