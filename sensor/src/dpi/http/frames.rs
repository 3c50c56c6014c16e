//! Messages of HTTP/1 as frames: what signatures look into of the stream's own structure, as Suricata cuts it up.
//!
//! In: the bytes of each message, from its first line to the end of its body, as they are on the wire. Out: one frame for
//! each, of at most [`BODY_BYTES_MAX`] bytes: it ends there, so that what follows may pass unread. Works only where
//! somebody looks into them.

use super::State;
use crate::dpi::Context;
use crate::dpi::buffers::{BODY_BYTES_MAX, Buffer, Frame};

/// The frame of a direction's message, while it is read.
#[derive(Debug, Default)]
pub(super) struct MessageFrame {
    /// Its number, and how many more bytes it takes.
    open: Option<(u64, usize)>,
}

/// A step through a direction's bytes.
pub(super) struct Passed<'a> {
    /// Where the direction stood before it, and where it does now.
    pub(super) states: [State; 2],
    pub(super) bytes: &'a [u8],
    pub(super) is_response: bool,
    pub(super) transaction: u64,
}

impl MessageFrame {
    /// Whether it takes more bytes of the message: none may pass unread.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Bytes were read.
    pub(super) fn pass(&mut self, passed: &Passed<'_>, context: &mut Context<'_>) {
        let [before, after] = passed.states;
        let is_between = |state: State| matches!(state, State::Start | State::Lost);
        if before == State::Start && !is_between(after) {
            self.end(context);
            let buffer =
                if passed.is_response { Buffer::FrameHttp1Response } else { Buffer::FrameHttp1Request };
            let frame = Frame { length: 0, transaction: Some(passed.transaction) };
            self.open = context.begin_frame(buffer, frame).map(|number| (number, BODY_BYTES_MAX));
        }
        let Some((number, left)) = &mut self.open else { return };
        context.frame_bytes(*number, passed.bytes);
        *left = left.saturating_sub(passed.bytes.len());
        if *left == 0 || is_between(after) {
            self.end(context);
        }
    }

    /// The message is over, or what follows of it is not to be seen.
    pub(super) fn end(&mut self, context: &mut Context<'_>) {
        if let Some((number, _)) = self.open.take() {
            context.end_frame(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::dpi::http::Http;
    use crate::dpi::trial::Trial;

    #[test]
    fn messages_are_frames_with_their_bodies() {
        let client = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy";
        let server = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n\
            HTTP/1.1 200 OK\r\n\r\nto the end";
        let mut trial = Trial::<Http>::new().client(client).server(server).close();
        expect_test::expect![[r#"
            client frame:http1.request GET / HTTP/1.1\r\nHost: a\r\n\r\n
            client frame:http1.request POST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy
            server frame:http1.response HTTP/1.1 100 Continue\r\n\r\n
            server frame:http1.response HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n
            server frame:http1.response HTTP/1.1 200 OK\r\n\r\nto the end
        "#]]
        .assert_eq(&trial.framed());
    }
}
