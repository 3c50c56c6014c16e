//! What signatures look into of a message of SIP and of the session description in it.
//!
//! In: views of a message. Out: parts of the transaction that each message is, as in Suricata; a header's short name
//! is told as its long one. Deliberately absent: headers without a keyword, and other bodies.

use super::message::{FirstLine, Head};
use super::sdp::Sdp;
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Frame, Stage};

/// Names of headers and their buffers.
const HEADERS: [(&[&[u8]], Buffer); 6] = [
    (&[b"from", b"f"], Buffer::SipFrom),
    (&[b"to", b"t"], Buffer::SipTo),
    (&[b"via", b"v"], Buffer::SipVia),
    (&[b"user-agent"], Buffer::SipUserAgent),
    (&[b"content-type", b"c"], Buffer::SipContentType),
    (&[b"content-length", b"l"], Buffer::SipContentLength),
];

/// Lines of the description as a whole, of which the first counts.
const OF_SESSION: [(u8, Buffer); 9] = [
    (b'o', Buffer::SdpOrigin),
    (b's', Buffer::SdpSessionName),
    (b'i', Buffer::SdpSessionInfo),
    (b'u', Buffer::SdpUri),
    (b'e', Buffer::SdpEmail),
    (b'p', Buffer::SdpPhoneNumber),
    (b'c', Buffer::SdpConnectionData),
    (b'z', Buffer::SdpTimezone),
    (b'k', Buffer::SdpEncryptionKey),
];

/// Lines of the description as a whole that all count.
const REPEATED: [(u8, Buffer); 4] = [
    (b'b', Buffer::SdpBandwidth),
    (b't', Buffer::SdpTime),
    (b'r', Buffer::SdpRepeatTime),
    (b'a', Buffer::SdpAttribute),
];

/// Lines of each stream of media, of which the first counts.
const OF_MEDIA: [(u8, Buffer); 4] = [
    (b'm', Buffer::SdpMediaMedia),
    (b'i', Buffer::SdpMediaInfo),
    (b'c', Buffer::SdpMediaConnectionData),
    (b'k', Buffer::SdpMediaEncryptionKey),
];

/// Tells a message's parts.
pub(super) fn tell(
    head: &Head<'_>,
    first: &FirstLine<'_>,
    description: Option<&Sdp<'_>>,
    transaction: u64,
    context: &mut Context<'_>,
) {
    let direction = context.direction;
    let parts = match *first {
        FirstLine::Request { method, uri, version } => [
            (Buffer::SipMethod, method),
            (Buffer::SipUri, uri),
            (Buffer::SipProtocol, version),
            (Buffer::SipRequestLine, head.first),
        ],
        FirstLine::Response { version, code, reason } => [
            (Buffer::SipProtocol, version),
            (Buffer::SipStatCode, code),
            (Buffer::SipStatMsg, reason),
            (Buffer::SipResponseLine, head.first),
        ],
    };
    for (buffer, value) in parts {
        context.put(direction, transaction, buffer, value);
    }
    for (names, buffer) in HEADERS {
        if context.wants(buffer) {
            for value in head.values(names) {
                context.put(direction, transaction, buffer, value);
            }
        }
    }
    if let Some(description) = description {
        tell_description(description, transaction, context);
    }
    context.reached(direction, transaction, Stage::Body);
}

fn tell_description(description: &Sdp<'_>, transaction: u64, context: &mut Context<'_>) {
    let direction = context.direction;
    let all = || OF_SESSION.into_iter().chain(REPEATED).chain(OF_MEDIA);
    if !all().any(|(_, buffer)| context.wants(buffer)) {
        return;
    }
    // Which of the lines that count once were told, in the description as a whole and in the current stream.
    let (mut told, mut is_media) = ([false; OF_SESSION.len()], false);
    for (kind, value) in description.lines() {
        if kind == b'm' {
            (told, is_media) = (Default::default(), true);
        }
        let once: &[(u8, Buffer)] = if is_media { &OF_MEDIA } else { &OF_SESSION };
        for ((_, buffer), told) in once.iter().zip(&mut told).filter(|((have, _), _)| *have == kind) {
            if !std::mem::replace(told, true) {
                context.put(direction, transaction, *buffer, value);
            }
        }
        for (_, buffer) in REPEATED.iter().filter(|(have, _)| !is_media && *have == kind) {
            context.put(direction, transaction, *buffer, value);
        }
    }
}

/// Tells a message as frames, as far as its body is there; of a longer body the frame's number and how many of its
/// bytes are missing, for whoever sees them pass.
pub(super) fn tell_frames(
    head: &Head<'_>,
    first: &FirstLine<'_>,
    message: &[u8],
    body_bytes: usize,
    transaction: u64,
    context: &mut Context<'_>,
) -> Option<(u64, usize)> {
    let [line, headers, body] = match first {
        FirstLine::Request { .. } => {
            [Buffer::FrameSipRequestLine, Buffer::FrameSipRequestHeaders, Buffer::FrameSipRequestBody]
        }
        FirstLine::Response { .. } => {
            [Buffer::FrameSipResponseLine, Buffer::FrameSipResponseHeaders, Buffer::FrameSipResponseBody]
        }
    };
    let transaction = Some(transaction);
    let end = head.bytes.saturating_add(body_bytes);
    context.frame(Buffer::FrameSipPdu, transaction, message.get(..end).unwrap_or(message));
    context.frame(line, transaction, message.get(..head.line_bytes).unwrap_or_default());
    if !head.headers.is_empty() {
        context.frame(headers, transaction, head.headers);
    }
    let there = message.get(head.bytes..end.min(message.len())).unwrap_or_default();
    if body_bytes == 0 {
        return None;
    }
    let number = context.begin_frame(body, Frame { length: body_bytes as u64, transaction })?;
    context.frame_bytes(number, there);
    let missing = body_bytes.saturating_sub(there.len());
    if missing == 0 {
        context.end_frame(number);
        return None;
    }
    Some((number, missing))
}
