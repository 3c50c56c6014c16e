//! Frames of SMB for signatures: sessions' messages, and within them SMB's with head and data.
//!
//! In: the bytes of one direction as they are used, and what a message's head says of its length. Out: frames, which
//! grow as bytes pass and end early where bytes pass unseen.

use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Frame};

/// The frames of one direction that are open.
#[derive(Debug, Default)]
pub(super) struct Frames {
    session: Open,
    message: Open,
}

/// A frame with its head and what is behind it.
#[derive(Debug, Default)]
struct Open {
    /// Bytes to come.
    left: usize,
    /// Of these, bytes of the head.
    head_left: usize,
    whole: Option<u64>,
    data: Option<u64>,
}

/// The frames of a kind of message: all of it, its head, its data.
type Kinds = [Buffer; 3];

const SESSION: Kinds = [Buffer::FrameNbssPdu, Buffer::FrameNbssHdr, Buffer::FrameNbssData];

/// The frames of a message, and how long its head is, by its mark.
fn kinds(mark: &[u8]) -> Option<(Kinds, usize)> {
    Some(match mark {
        [0xff, b'S', b'M', b'B', ..] => {
            ([Buffer::FrameSmb1Pdu, Buffer::FrameSmb1Hdr, Buffer::FrameSmb1Data], super::one::HEADER_BYTES)
        }
        [0xfe, b'S', b'M', b'B', ..] => {
            ([Buffer::FrameSmb2Pdu, Buffer::FrameSmb2Hdr, Buffer::FrameSmb2Data], super::two::HEADER_BYTES)
        }
        // What is encrypted.
        [0xfd, b'S', b'M', b'B', ..] => {
            ([Buffer::FrameSmb3Pdu, Buffer::FrameSmb3Hdr, Buffer::FrameSmb3Data], 52)
        }
        _ => return None,
    })
}

impl Frames {
    /// A session's message of so many bytes behind its head begins.
    pub(super) fn begin_session(&mut self, head: &[u8], length: usize, context: &mut Context<'_>) {
        self.end(context);
        let whole = length + head.len();
        self.session.begin(SESSION, head, head.len(), whole, context);
        self.session.bytes(head, context);
    }

    /// A message of SMB of so many bytes begins, of which the first are there.
    pub(super) fn begin_message(&mut self, there: &[u8], length: usize, context: &mut Context<'_>) {
        self.message.end(context);
        if let Some((kinds, head_bytes)) = kinds(there) {
            self.message.begin(kinds, there, head_bytes.min(length), length, context);
        }
    }

    /// Bytes are used.
    pub(super) fn bytes(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        self.session.bytes(bytes, context);
        self.message.bytes(bytes, context);
    }

    /// Bytes pass unseen: what is open is told as far as it was seen.
    pub(super) fn end(&mut self, context: &mut Context<'_>) {
        self.session.end(context);
        self.message.end(context);
    }
}

impl Open {
    fn begin(
        &mut self,
        [whole, head, data]: Kinds,
        there: &[u8],
        head_bytes: usize,
        length: usize,
        context: &mut Context<'_>,
    ) {
        self.end(context);
        let frame = |length: usize| Frame { length: length as u64, transaction: None };
        self.whole = context.begin_frame(whole, frame(length));
        if let Some(head_there) = there.get(..head_bytes) {
            context.frame(head, None, head_there);
        }
        if length > head_bytes {
            self.data = context.begin_frame(data, frame(length - head_bytes));
        }
        if self.whole.is_some() || self.data.is_some() {
            (self.left, self.head_left) = (length, head_bytes);
        }
    }

    fn bytes(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        if self.left == 0 {
            return;
        }
        let bytes = bytes.get(..self.left).unwrap_or(bytes);
        self.left -= bytes.len();
        if let Some(number) = self.whole {
            context.frame_bytes(number, bytes);
        }
        let of_head = self.head_left.min(bytes.len());
        self.head_left -= of_head;
        if let (Some(number), Some(data)) = (self.data, bytes.get(of_head..)) {
            context.frame_bytes(number, data);
        }
        if self.left == 0 {
            self.end(context);
        }
    }

    fn end(&mut self, context: &mut Context<'_>) {
        for number in [self.whole.take(), self.data.take()].into_iter().flatten() {
            context.end_frame(number);
        }
        self.left = 0;
    }
}
