//! Frames of NFS: what signatures look into of each message of RPC, as Suricata cuts it up.
//!
//! In: a message as far as it is looked at. Out: frames. Those of a message whose bytes pass unseen are cut where it is.

use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Frame};
use crate::dpi::rpc::message::{Kind, MARK_BYTES, Message};

/// Bytes of a call before the credentials, without a record's mark.
const CALL_BYTES: usize = 24;
/// Bytes of the number and the type, without a record's mark.
const HEAD_BYTES: usize = 8;
/// Bytes of NFSv4's tag and minor version where there is no tag, or of its status and tag.
const HEAD_4_BYTES: usize = 8;

/// A message as it came.
pub(super) struct Wire<'a> {
    /// With the record's mark, where it has one.
    pub(super) bytes: &'a [u8],
    pub(super) is_record: bool,
    /// Bytes of it that are not looked at.
    pub(super) unseen: usize,
}

impl Wire<'_> {
    /// Tells the frames. `version`: that of NFS, where it is known.
    pub(super) fn tell(&self, message: &Message<'_>, version: Option<u32>, context: &mut Context<'_>) {
        let mark = if self.is_record { MARK_BYTES } else { 0 };
        self.part(Buffer::FrameRpcPdu, 0, None, context);
        let body = match &message.kind {
            Kind::Call(call) => {
                let begin = mark + CALL_BYTES;
                let length = self.bytes.get(begin + 4..).and_then(|rest| rest.first_chunk());
                let length = length.map_or(0, |length| u32::from_be_bytes(*length) as usize);
                self.part(Buffer::FrameRpcCreds, begin, Some(length.saturating_add(8)), context);
                call.arguments
            }
            Kind::Reply(reply) => {
                self.part(Buffer::FrameRpcHdr, 0, Some(mark + HEAD_BYTES), context);
                self.part(Buffer::FrameRpcData, mark + HEAD_BYTES, None, context);
                reply.body
            }
        };
        let begin = self.bytes.len().saturating_sub(body.len());
        let is_reply = matches!(message.kind, Kind::Reply(_));
        match version {
            Some(2 | 3) => {
                self.part(Buffer::FrameNfsPdu, begin, None, context);
                if is_reply {
                    self.part(Buffer::FrameNfsStatus, begin, Some(4), context);
                }
            }
            Some(4) => {
                self.part(Buffer::FrameNfs4Pdu, begin, None, context);
                if is_reply {
                    self.part(Buffer::FrameNfs4Status, begin, Some(4), context);
                }
                if body.len() > HEAD_4_BYTES {
                    self.part(Buffer::FrameNfs4Hdr, begin, Some(HEAD_4_BYTES), context);
                    self.part(Buffer::FrameNfs4Ops, begin + HEAD_4_BYTES, None, context);
                }
            }
            _ => {}
        }
    }

    /// A frame that begins there and is so long, or reaches to the message's end.
    fn part(&self, buffer: Buffer, begin: usize, length: Option<usize>, context: &mut Context<'_>) {
        let Some(rest) = self.bytes.get(begin..).filter(|rest| !rest.is_empty()) else { return };
        let (bytes, length) = match length {
            Some(length) => (rest.get(..length).unwrap_or(rest), length),
            None => (rest, rest.len() + self.unseen),
        };
        let frame = Frame { length: length as u64, transaction: None };
        if let Some(number) = context.begin_frame(buffer, frame) {
            context.frame_bytes(number, bytes);
            context.end_frame(number);
        }
    }
}
