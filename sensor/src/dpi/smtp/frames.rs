//! Frames of SMTP: each command line, each line of a reply and each message, as Suricata cuts them up.
//!
//! In: lines with their ends, and a message's bytes as they are on the wire. Out: frames. A message's is as long as what
//! was seen of it, without the line that ends it.

use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Frame};

/// The frame of the message that is being read.
#[derive(Debug, Default)]
pub(super) struct MessageFrame {
    /// The transaction of a message that begins with the client's next bytes.
    due: Option<u64>,
    open: Option<u64>,
}

impl MessageFrame {
    /// A message begins, be it that the server's reply says so.
    pub(super) fn begin(&mut self, transaction: u64, context: &mut Context<'_>) {
        self.end(context);
        self.due = Some(transaction);
    }

    /// More bytes of it, which the client sends.
    pub(super) fn pass(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        if let Some(transaction) = self.due.take() {
            let frame = Frame { length: 0, transaction: Some(transaction) };
            self.open = context.begin_frame(Buffer::FrameSmtpData, frame);
        }
        if let Some(number) = self.open {
            context.frame_bytes(number, bytes);
        }
    }

    /// It is over, or what follows of it is not to be seen.
    pub(super) fn end(&mut self, context: &mut Context<'_>) {
        self.due = None;
        if let Some(number) = self.open.take() {
            context.end_frame(number);
        }
    }
}

/// Tells a line with its end.
pub(super) fn tell_line(
    buffer: Buffer,
    bytes: &[u8],
    used: usize,
    transaction: Option<u64>,
    context: &mut Context<'_>,
) {
    context.frame(buffer, transaction, bytes.get(..used).unwrap_or(bytes));
}
