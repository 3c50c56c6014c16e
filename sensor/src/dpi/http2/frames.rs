//! Frames of HTTP/2 as signatures look into them: each whole, its header and its payload, as Suricata cuts them up.
//!
//! In: frames that are there as a whole, or DATA as its pieces pass. Out: frames of [`Buffer`]s. Works only where
//! somebody looks into them.

use super::{FrameHeader, HEADER_BYTES};
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Frame};

/// Whether somebody looks into frames, so that none may pass unread.
pub(super) fn are_wanted(context: &Context<'_>) -> bool {
    context.wanted.is_some_and(|wanted| {
        [Buffer::FrameHttp2Pdu, Buffer::FrameHttp2Hdr, Buffer::FrameHttp2Data]
            .into_iter()
            .any(|frame| wanted.has(frame))
    })
}

/// A frame whose payload is still passing.
#[derive(Debug, Default)]
pub(super) struct Passing {
    open: Vec<u64>,
}

impl Passing {
    /// A frame begins, of which the first `used` bytes are read.
    pub(super) fn begin(
        &mut self,
        header: FrameHeader,
        rest: &[u8],
        used: usize,
        transaction: Option<u64>,
        context: &mut Context<'_>,
    ) {
        self.end(context);
        if !are_wanted(context) {
            return;
        }
        let bytes = rest.get(..used).unwrap_or(rest);
        let (head, data) = bytes.split_at_checked(HEADER_BYTES).unwrap_or((bytes, &[]));
        let frame = |length: usize| Frame { length: length as u64, transaction };
        context.frame(Buffer::FrameHttp2Hdr, transaction, head);
        if let Some(pdu) =
            context.begin_frame(Buffer::FrameHttp2Pdu, frame(HEADER_BYTES.saturating_add(header.length)))
        {
            context.frame_bytes(pdu, head);
            self.open.push(pdu);
        }
        if header.length > 0 {
            self.open.extend(context.begin_frame(Buffer::FrameHttp2Data, frame(header.length)));
        }
        self.pass(data, context);
    }

    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// More bytes of its payload.
    pub(super) fn pass(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        for number in &self.open {
            context.frame_bytes(*number, bytes);
        }
    }

    /// It is over, or what follows of it is not to be seen.
    pub(super) fn end(&mut self, context: &mut Context<'_>) {
        for number in self.open.drain(..) {
            context.end_frame(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::dpi::http2::Http2;
    use crate::dpi::trial::Trial;

    #[test]
    fn frames_are_told_whole_and_in_parts() {
        let client = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x3f, 0xff, 0, 1],
            &[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x82],
            // Padded with two bytes.
            &[0, 0, 5, 0, 9, 0, 0, 0, 1, 2, b'h', b'i', 0, 0],
            &[0, 0, 0, 4, 1, 0, 0, 0, 0],
        ];
        let mut trial = Trial::<Http2>::new().client(&client.concat()).close();
        expect_test::expect![[r#"
            client frame:http2.hdr \x00\x00\x04\x08\x00\x00\x00\x00\x00
            client frame:http2.pdu \x00\x00\x04\x08\x00\x00\x00\x00\x00?\xff\x00\x01
            client frame:http2.data ?\xff\x00\x01
            client frame:http2.hdr \x00\x00\x01\x01\x04\x00\x00\x00\x01
            client frame:http2.pdu \x00\x00\x01\x01\x04\x00\x00\x00\x01\x82
            client frame:http2.data \x82
            client frame:http2.hdr \x00\x00\x05\x00\t\x00\x00\x00\x01
            client frame:http2.pdu \x00\x00\x05\x00\t\x00\x00\x00\x01\x02hi\x00\x00
            client frame:http2.data \x02hi\x00\x00
            client frame:http2.hdr \x00\x00\x00\x04\x01\x00\x00\x00\x00
            client frame:http2.pdu \x00\x00\x00\x04\x01\x00\x00\x00\x00
        "#]]
        .assert_eq(&trial.framed());
    }
}
