//! QUIC: versions 1 and 2 (RFC 9000, RFC 9001, RFC 9369), the drafts from 22 on, and Google's before.
//!
//! In: datagrams of both sides. Out: the versions that long headers name; what the hellos in Initial packets say,
//! which are opened with the keys that everybody can derive: server name, ALPN, JA3, JA3S, JA4, user agent; one
//! event per hello. Nothing else is decrypted, so that what a connection carries stays unknown, and a flow of
//! which no Initial was seen is not recognised: its packets look like noise.
//!
//! `packet` reads headers, `keys` opens packets, `frames` takes the handshake out of them, `google` reads the
//! messages before TLS, `event` writes the event. Here is what a connection is: who is the client, which keys
//! hold, what has been seen.

mod event;
mod frames;
mod google;
mod keys;
mod packet;
#[cfg(test)]
mod tests;

use self::frames::take_crypto_frames;
use self::google::Message;
use self::keys::InitialKeys;
use self::packet::{
    Kind, Long, Look, Type, google_number, google_public_version, is_forcing_negotiation, look, variable,
};
use super::tls::facts;
use super::tls::fingerprint::Transport;
use super::tls::handshake::{ClientHello, ServerHello};
use super::tls::pieces::{PIECED_BYTES_MAX, Pieces};
use crate::dpi::buffers::{Buffer, Stage};
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Datagrams looked at before a connection whose hellos have not come is left alone.
const DATAGRAMS_MAX: u8 = 64;
/// Packets in one datagram that are looked at (RFC 9000 section 12.2); the rest is passed over.
const COALESCED_MAX: usize = 8;

/// The dissector of one QUIC flow.
#[derive(Debug)]
pub(super) struct Quic {
    keys: Option<InitialKeys>,
    /// Who sent the Initial that the keys are from.
    client: Option<Direction>,
    version: u32,
    streams: [Pieces; 2],
    /// Bytes of hellos that were followed by another (HelloRetryRequest).
    passed: [usize; 2],
    client_hello_bytes: usize,
    seen: [bool; 2],
    retried: bool,
    told_failure: bool,
    datagrams: u8,
    /// Packets that signatures looked into: each is a transaction of one side, as in Suricata, up to the side's hello.
    packets: u64,
    /// Frames of the packet that was opened last.
    clear: Vec<u8>,
}

impl Dissector for Quic {
    const APP: App = App::Quic;

    const STARTS: Starts = Starts::range_of_datagram(0x80, 0xff).or(Starts::range_of_datagram(0x00, 0x3f));

    fn probe(first: &First<'_>) -> Probe {
        match look(first) {
            _ if !first.is_datagram() => Probe::NotForUs,
            Look::Certain => Probe::Certain,
            Look::Perhaps => Probe::Likely,
            Look::No => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Quic {
            keys: None,
            client: None,
            version: 0,
            streams: Default::default(),
            passed: [0; 2],
            client_hello_bytes: 0,
            seen: [false; 2],
            retried: false,
            told_failure: false,
            datagrams: 0,
            packets: 0,
            clear: Vec::new(),
        }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        self.datagrams = self.datagrams.saturating_add(1);
        self.read(bytes, context);
        let is_over = self.seen == [true; 2] && !self.is_versions_only(context);
        if is_over || self.datagrams >= DATAGRAMS_MAX {
            self.peek(context);
            return Progress::Done;
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _missing: u64, _context: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.peek(context);
    }
}

impl Quic {
    fn read(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        if bytes.first().is_some_and(|byte| byte & 0x80 == 0) {
            return self.read_google_public(bytes, context);
        }
        let mut rest = bytes;
        for _ in 0..COALESCED_MAX {
            let Some(long) = Long::parse(rest) else { return };
            self.read_long(&long, rest, context);
            match rest.get(long.end..) {
                Some(next) if !next.is_empty() => rest = next,
                _ => return,
            }
        }
    }

    fn read_long(&mut self, long: &Long<'_>, bytes: &[u8], context: &mut Context<'_>) {
        if long.packet == Type::Unknown && !is_forcing_negotiation(long.version) {
            return;
        }
        self.looked_into(Some(long.version), context, |quic, context| quic.read_known(long, bytes, context));
    }

    /// Reads one packet, which signatures look into where its side's hello was not seen before.
    fn looked_into(
        &mut self,
        version: Option<u32>,
        context: &mut Context<'_>,
        read: impl FnOnce(&mut Quic, &mut Context<'_>),
    ) {
        let (direction, packet) = (context.direction, self.packets);
        let is_past = self.seen[direction.index()] && !self.is_versions_only(context);
        if context.wanted.is_none() || is_past {
            return read(self, context);
        }
        self.packets += 1;
        if let Some(version) = version.filter(|_| context.wants(Buffer::QuicVersion)) {
            let text = event::version_text(version);
            context.put(direction, packet, Buffer::QuicVersion, text.as_bytes());
        }
        read(self, context);
        context.reached(direction, packet, Stage::Body);
    }

    /// Whether signatures look into the versions of all packets, also behind hellos: into those of Google's own
    /// handshake, whose end Suricata does not see.
    fn is_versions_only(&self, context: &Context<'_>) -> bool {
        google_number(self.version).is_some() && context.wants(Buffer::QuicVersion)
    }

    /// Number of the transaction that the packet being read is.
    fn packet(&self) -> u64 {
        self.packets.saturating_sub(1)
    }

    fn read_known(&mut self, long: &Long<'_>, bytes: &[u8], context: &mut Context<'_>) {
        match (long.packet, long.kind) {
            (Type::Negotiation, _) => {
                // The client begins anew, with another version.
                self.note_version(0, context);
                return event::tell_version(0, context);
            }
            _ => self.note_version(long.version, context),
        }
        match (long.packet, long.kind) {
            (Type::Unknown, _) => event::tell_version(long.version, context),
            (Type::Retry, _) => self.retried = true,
            (Type::Initial, Some(Kind::GoogleLong)) => {
                let message = bytes.get(long.header_bytes..).and_then(Message::find);
                self.read_google(long.version, message, context);
            }
            (Type::Initial, Some(kind)) => self.read_initial(long, kind, bytes, context),
            _ => {}
        }
    }

    fn note_version(&mut self, version: u32, context: &mut Context<'_>) {
        if self.version != version || version == 0 {
            self.version = version;
            context.metadata.add(Field::QuicVersion, &format!("{version:#010x}"));
        }
    }

    /// Opens an Initial packet: with the keys that hold, or, where a client begins anew, with its own.
    fn read_initial(&mut self, long: &Long<'_>, kind: Kind, bytes: &[u8], context: &mut Context<'_>) {
        let direction = context.direction;
        if self.seen[direction.index()] && !self.retried {
            return;
        }
        let is_client = self.client.is_none_or(|client| client == direction);
        let mut clear = std::mem::take(&mut self.clear);
        let is_open = self.keys.as_ref().is_some_and(|keys| keys.open(is_client, long, bytes, &mut clear))
            || self.begin(long, bytes, &mut clear, direction);
        if is_open {
            self.read_frames(kind, &clear, context);
        } else if is_client && self.keys.is_some() && !std::mem::replace(&mut self.told_failure, true) {
            context.anomaly("failed_decrypt", None);
        }
        self.clear = clear;
    }

    /// Tries the keys that this packet itself would give, were it a client's first.
    fn begin(&mut self, long: &Long<'_>, bytes: &[u8], clear: &mut Vec<u8>, direction: Direction) -> bool {
        let Some(keys) = InitialKeys::derive(long.version, long.destination) else { return false };
        if !keys.open(true, long, bytes, clear) {
            return false;
        }
        self.keys = Some(keys);
        self.client = Some(direction);
        self.retried = false;
        (self.seen, self.passed) = ([false; 2], [0; 2]);
        self.streams.iter_mut().for_each(Pieces::clear);
        true
    }

    fn read_frames(&mut self, kind: Kind, frames: &[u8], context: &mut Context<'_>) {
        let index = context.direction.index();
        if self.seen[index] {
            return;
        }
        let mut stream = std::mem::take(&mut self.streams[index]);
        if kind == Kind::GoogleSealed {
            // Google's frames are other ones; the message is found by its name.
            self.read_google(self.version, Message::find(frames), context);
        } else if take_crypto_frames(frames, &mut stream) {
            self.read_hello(stream.front(), context);
        } else {
            context.anomaly("error_on_data", None);
        }
        self.streams[index] = stream;
    }

    fn read_hello(&mut self, handshake: &[u8], context: &mut Context<'_>) {
        const CLIENT_HELLO: u8 = 1;
        const SERVER_HELLO: u8 = 2;
        let index = context.direction.index();
        let handshake = handshake.get(self.passed[index]..).unwrap_or_default();
        let Some(([kind, a, b, c], body)) = handshake.split_first_chunk::<4>() else { return };
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if length > PIECED_BYTES_MAX {
            self.seen[context.direction.index()] = true;
            return context.anomaly("error_on_data", None);
        }
        let Some(body) = body.get(..length) else { return };
        self.seen[context.direction.index()] = true;
        let is_client = self.client == Some(context.direction);
        match *kind {
            CLIENT_HELLO if is_client => match ClientHello::parse(body) {
                Some(hello) => {
                    self.client_hello_bytes = self.passed[index] + 4 + length;
                    self.read_client_hello(&hello, context);
                }
                None => context.anomaly("error_on_data", None),
            },
            SERVER_HELLO if !is_client => match ServerHello::parse(body) {
                // Another hello of both sides follows.
                Some(hello) if hello.retry => {
                    self.seen = [false; 2];
                    self.passed[index] += 4 + length;
                    self.passed[index ^ 1] = self.client_hello_bytes;
                }
                Some(hello) => {
                    let print = facts::of_server(&hello, Some(self.packet()), context);
                    event::tell_server(self.version, &hello, print.as_ref(), context);
                }
                None => context.anomaly("error_on_data", None),
            },
            _ => context.anomaly("error_on_data", None),
        }
    }

    fn read_client_hello(&mut self, hello: &ClientHello<'_>, context: &mut Context<'_>) {
        let prints = facts::of_client(hello, Transport::Quic, Some(self.packet()), context);
        let user_agent = user_agent(hello);
        if let Some(user_agent) = user_agent {
            context.metadata.set_bytes(Field::QuicUserAgent, user_agent);
            context.put(context.direction, self.packet(), Buffer::QuicUa, user_agent);
        }
        event::tell_client(self.version, hello, prints.as_ref(), user_agent, context);
    }

    /// Takes what there is of a hello whose rest did not come.
    fn peek(&mut self, context: &mut Context<'_>) {
        let Some(client) = self.client.filter(|client| !self.seen[client.index()]) else { return };
        let body = self.streams[client.index()].front().get(4..).unwrap_or_default();
        if let Some(name) = ClientHello::parse(body).and_then(|hello| hello.server_name) {
            context.metadata.set_bytes(Field::TlsServerName, name);
        }
    }

    fn read_google_public(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        if let Some(version) = google_public_version(bytes) {
            self.looked_into(Some(version), context, |quic, context| {
                quic.note_version(version, context);
                quic.read_google(version, Message::find(bytes), context);
            });
        } else if google::is_server_hello(bytes) {
            self.seen[context.direction.index()] = true;
        }
    }

    fn read_google(&mut self, version: u32, message: Option<Message<'_>>, context: &mut Context<'_>) {
        let Some(message) = message else { return };
        self.client = Some(context.direction);
        self.seen[context.direction.index()] = true;
        for (tag, field, buffer) in [
            (&b"SNI"[..], Field::TlsServerName, Buffer::QuicSni),
            (b"UAID", Field::QuicUserAgent, Buffer::QuicUa),
        ] {
            if let Some(value) = message.value(tag) {
                context.metadata.set_bytes(field, value);
                context.put(context.direction, self.packet(), buffer, value);
            }
        }
        if context.wants(Buffer::QuicCyuHash) || context.wants(Buffer::QuicCyuString) {
            let (text, hash) = event::cyu(version, &message);
            context.put(context.direction, self.packet(), Buffer::QuicCyuHash, hash.as_str().as_bytes());
            context.put(context.direction, self.packet(), Buffer::QuicCyuString, &text);
        }
        event::tell_google(version, &message, context);
    }
}

/// The user agent in Google's own transport parameter.
fn user_agent<'a>(hello: &ClientHello<'a>) -> Option<&'a [u8]> {
    const TRANSPORT_PARAMETERS: [u16; 2] = [57, 0xffa5];
    const USER_AGENT: u64 = 0x3129;
    let mut extensions = hello.extensions;
    let (_, mut parameters) = extensions.find(|(number, _)| TRANSPORT_PARAMETERS.contains(number))?;
    loop {
        let (number, rest) = variable(parameters)?;
        let (length, rest) = variable(rest)?;
        let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        if number == USER_AGENT {
            return Some(value).filter(|value| !value.is_empty());
        }
        parameters = rest;
    }
}
