//! What signatures look into of a session: hellos and certificates, the same for TLS, DTLS and QUIC.
//!
//! In: views of messages and what was read out of them. Out: parts and numbers of a transaction's side. A session is
//! one transaction, as in Suricata; its number is [`SESSION`]. Deliberately absent: when a side is complete, which
//! the dissectors know.

use super::certificate::Certificate;
use super::fingerprint::Ja4;
use super::handshake::{ClientHello, ServerHello, alpn_names, certificates, is_version, numbers};
use super::handshake::{Extensions, extension};
use super::record::{Content, HEADER_BYTES, Header};
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Frame, Number};
use crate::dpi::digest::Hex;
use weir_common::app::App;

/// Number of the transaction that a session is.
pub(crate) const SESSION: u64 = 0;

/// Most bytes of a name that is looked into: those of a domain, as in Suricata.
const NAME_BYTES_MAX: usize = 255;

/// Handshake messages that a side has said, as bits of [`Number::TlsState`] and [`Number::TlsKeyExchange`].
pub(crate) mod state {
    pub(crate) const CLIENT_HELLO: u64 = 1;
    pub(crate) const SERVER_HELLO: u64 = 1 << 1;
    pub(crate) const CLIENT_KEY_EXCHANGE: u64 = 1 << 2;
    pub(crate) const SERVER_KEY_EXCHANGE: u64 = 1 << 3;
}

/// Tells what a ClientHello says.
pub(crate) fn tell_client_hello(hello: &ClientHello<'_>, transaction: u64, context: &mut Context<'_>) {
    let direction = context.direction;
    if let Some(name) = hello.server_name.filter(|name| name.len() <= NAME_BYTES_MAX) {
        let buffer = if context.app == App::Quic { Buffer::QuicSni } else { Buffer::TlsSni };
        context.put(direction, transaction, buffer, name);
    }
    tell_hello(hello.random, hello.alpn, transaction, context);
    // The first that is known is the one the client likes best.
    let version = numbers(hello.supported_versions).find(|number| is_version(*number));
    let version = version.unwrap_or(hello.version);
    context.put_number(direction, transaction, Number::TlsVersion, version.into());
    context.put_number(direction, transaction, Number::TlsState, state::CLIENT_HELLO);
}

/// Tells what a ServerHello says.
pub(crate) fn tell_server_hello(hello: &ServerHello<'_>, transaction: u64, context: &mut Context<'_>) {
    let direction = context.direction;
    tell_hello(hello.random, hello.alpn, transaction, context);
    context.put_number(direction, transaction, Number::TlsVersion, hello.negotiated_version().into());
    context.put_number(direction, transaction, Number::TlsState, state::SERVER_HELLO);
}

/// Notes what Suricata finds odd about the names in a ClientHello.
pub(crate) fn note_names(extensions: Extensions<'_>, context: &mut Context<'_>) {
    const HOST_NAME: u8 = 0;
    let mut has_name = false;
    for (_, data) in extensions.filter(|(number, _)| *number == extension::SERVER_NAME) {
        if has_name {
            context.note("multiple_sni_extensions", None);
        }
        // The length of the list, then its first entry: type, length, name.
        let Some(([_, _, kind, l0, l1], name)) = data.split_first_chunk::<5>() else { continue };
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        if *kind != HOST_NAME {
            context.note("invalid_sni_type", None);
        } else if length == 0 || length > NAME_BYTES_MAX || length > name.len() {
            context.note("invalid_sni_length", None);
        } else {
            has_name = true;
        }
    }
}

fn tell_hello(random: &[u8], alpn: &[u8], transaction: u64, context: &mut Context<'_>) {
    let direction = context.direction;
    if let Some((time, bytes)) = random.split_at_checked(4) {
        context.put(direction, transaction, Buffer::TlsRandom, random);
        context.put(direction, transaction, Buffer::TlsRandomTime, time);
        context.put(direction, transaction, Buffer::TlsRandomBytes, bytes);
    }
    if context.wants(Buffer::TlsAlpn) {
        for name in alpn_names(alpn) {
            context.put(direction, transaction, Buffer::TlsAlpn, name);
        }
    }
}

/// Tells a client's fingerprints.
pub(crate) fn tell_client_prints(
    ja3: &Hex<32>,
    text: Option<&[u8]>,
    ja4: &Ja4,
    transaction: u64,
    context: &mut Context<'_>,
) {
    let direction = context.direction;
    context.put(direction, transaction, Buffer::Ja3Hash, ja3.as_str().as_bytes());
    if let Some(text) = text {
        context.put(direction, transaction, Buffer::Ja3String, text);
    }
    context.put(direction, transaction, Buffer::Ja4Hash, ja4.as_str().as_bytes());
}

/// Tells a server's fingerprint.
pub(crate) fn tell_server_print(
    ja3s: &Hex<32>,
    text: Option<&[u8]>,
    transaction: u64,
    context: &mut Context<'_>,
) {
    let direction = context.direction;
    context.put(direction, transaction, Buffer::Ja3sHash, ja3s.as_str().as_bytes());
    if let Some(text) = text {
        context.put(direction, transaction, Buffer::Ja3sString, text);
    }
}

/// Tells a Certificate message, of which the sender's own certificate comes first: all of those that are there.
pub(crate) fn tell_certificates(body: &[u8], own: &Certificate, transaction: u64, context: &mut Context<'_>) {
    let direction = context.direction;
    for (buffer, text) in [
        (Buffer::TlsCertSubject, &own.subject),
        (Buffer::TlsCertIssuer, &own.issuer),
        (Buffer::TlsCertSerial, &own.serial),
        (Buffer::TlsCertFingerprint, &own.fingerprint),
    ] {
        context.put(direction, transaction, buffer, text.as_bytes());
    }
    if context.wants(Buffer::TlsSubjectaltname) {
        for name in &own.alternative_names {
            context.put(direction, transaction, Buffer::TlsSubjectaltname, name.as_bytes());
        }
    }
    let mut count = 0;
    for certificate in certificates(body) {
        count += 1;
        context.put(direction, transaction, Buffer::TlsCerts, certificate);
    }
    context.put_number(direction, transaction, Number::TlsCertChainLen, count);
    // What is before the epoch is none of Suricata's moments either.
    let moments =
        [(Number::TlsNotBefore, own.not_before.seconds), (Number::TlsNotAfter, own.not_after.seconds)];
    for (number, seconds) in moments {
        if let Ok(seconds @ 1..) = u64::try_from(seconds) {
            context.put_number(direction, transaction, number, seconds);
        }
    }
    let now = context.time.0 / 1_000_000_000;
    context.put_number(direction, transaction, Number::TlsCertSeenAt, now);
}

/// Whether all of a Certificate message is looked into, not only the sender's own.
pub(crate) fn wants_chain(context: &Context<'_>) -> bool {
    context.eve.tls_chain && context.events.is_some()
        || context
            .wanted
            .is_some_and(|wanted| wanted.has(Buffer::TlsCerts) || wanted.has_number(Number::TlsCertChainLen))
}

/// Whether signatures look into records, which go on for as long as the session does.
pub(crate) fn wants_frames(context: &Context<'_>) -> bool {
    const FRAMES: [Buffer; 5] = [
        Buffer::FrameTlsPdu,
        Buffer::FrameTlsHdr,
        Buffer::FrameTlsData,
        Buffer::FrameTlsAlert,
        Buffer::FrameTlsHeartbeat,
    ];
    context.wanted.is_some_and(|wanted| FRAMES.into_iter().any(|frame| wanted.has(frame)))
}

/// Tells the record that begins here as frames, as far as its bytes are read in order: those of the handshake as far
/// as they are there. Of other records the frames' numbers are added to `open`, for whoever passes their bytes.
pub(crate) fn tell_record(rest: &[u8], header: &Header, open: &mut Vec<u64>, context: &mut Context<'_>) {
    let special = match header.content {
        Content::Alert => Some(Buffer::FrameTlsAlert),
        Content::Heartbeat => Some(Buffer::FrameTlsHeartbeat),
        _ => None,
    };
    let of_data = [Some(Buffer::FrameTlsData), special].into_iter().flatten();
    let (head, data) = rest.split_at_checked(HEADER_BYTES).unwrap_or((rest, &[]));
    context.frame(Buffer::FrameTlsHdr, Some(SESSION), head);
    end_frames(open, context);
    let frame = |bytes: usize| Frame { length: bytes as u64, transaction: Some(SESSION) };
    if let Some(pdu) = context.begin_frame(Buffer::FrameTlsPdu, frame(HEADER_BYTES + header.bytes)) {
        context.frame_bytes(pdu, head);
        open.push(pdu);
    }
    for buffer in of_data {
        open.extend(context.begin_frame(buffer, frame(header.bytes)));
    }
    if header.content == Content::Handshake {
        grow_frames(open, data.get(..header.bytes).unwrap_or(data), context);
        end_frames(open, context);
    }
}

/// More bytes of a record whose frames are open.
pub(crate) fn grow_frames(open: &[u64], bytes: &[u8], context: &mut Context<'_>) {
    for number in open {
        context.frame_bytes(*number, bytes);
    }
}

/// A record is over, or what follows of it is not to be seen.
pub(crate) fn end_frames(open: &mut Vec<u64>, context: &mut Context<'_>) {
    for number in open.drain(..) {
        context.end_frame(number);
    }
}

/// Tells a record of SSL 2.0 as frames: the header is its length and the message's type.
pub(crate) fn tell_ssl2_record(record: &[u8], context: &mut Context<'_>) {
    const SSL2_HEADER_BYTES: usize = 3;
    context.frame(Buffer::FrameTlsSsl2Hdr, Some(SESSION), record.get(..SSL2_HEADER_BYTES).unwrap_or(record));
    context.frame(Buffer::FrameTlsSsl2Pdu, Some(SESSION), record);
}
