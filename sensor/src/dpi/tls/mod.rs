//! TLS over TCP: SSL 2.0's hello, SSL 3.0 to TLS 1.3 (RFC 8446, RFC 5246, RFC 6101).
//!
//! In: both directions of a stream. Out: what the hellos say in the clear, the fingerprints JA3, JA3S
//! and JA4, the facts of the server's certificate (before TLS 1.3, which encrypts it), and one event
//! for the session, with the client's certificate where the server asked for it. Nothing is decrypted;
//! renegotiations and everything after the first ChangeCipherSpec are passed over.
//!
//! The records are read by `record`, the messages by `handshake` and `certificate`; `side` knows how
//! far each side is, `event` writes the event. Here is what a session is: which side is the client, what has been seen, what still may come. Either side may be
//! missing, and after a gap reading goes on at the next record that can be found.

pub(super) mod certificate;
pub(super) mod event;
pub(super) mod facts;
pub(super) mod fingerprint;
pub(super) mod handshake;
pub(super) mod pieces;
pub(super) mod record;
mod side;
pub(super) mod told;

use self::certificate::Certificate;
use self::event::{Account, Ending};
use self::fingerprint::{Ja4, Transport};
use self::handshake::{ClientHello, ServerHello, extension, is_tls_1_3, leaf_certificate, version_name};
use self::record::{Content, Gathered, HEADER_BYTES, Header, MESSAGE_BYTES_MAX, Ssl2Hello};
use self::side::{Phase, Side, Step};
use crate::dpi::buffers::{Number, Stage};
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of encrypted data from one side after which a session counts as captured one-sidedly, when
/// the other has sent nothing at all.
const ONE_SIDED_BYTES_MAX: usize = 16 << 10;

/// Most bytes of handshake that TLS 1.3 may hide in records of application data, by which they cannot be
/// told apart (RFC 8446 section 5.1): certificates of a client, or of anybody where the hellos were not seen.
const HIDDEN_BYTES_MAX: usize = 16 << 10;

/// Ports where TLS begins with the connection: HTTPS, SMTPS, DNS, LDAPS, FTPS, IMAPS, POP3S, push services.
const PORTS: [u16; 11] = [443, 465, 563, 636, 853, 989, 990, 993, 995, 5223, 8443];

/// Types of handshake messages (RFC 8446 section 4, RFC 5246 section 7.4) that matter here.
mod message {
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const SERVER_HELLO: u8 = 2;
    pub(super) const CERTIFICATE: u8 = 11;
    pub(super) const SERVER_KEY_EXCHANGE: u8 = 12;
    pub(super) const CERTIFICATE_REQUEST: u8 = 13;
    pub(super) const SERVER_HELLO_DONE: u8 = 14;
    pub(super) const CERTIFICATE_VERIFY: u8 = 15;
    pub(super) const CLIENT_KEY_EXCHANGE: u8 = 16;
    /// Type and length.
    pub(super) const HEADER_BYTES: usize = 4;
}

/// The dissector of one TLS session.
#[derive(Debug)]
pub(super) struct Tls {
    sides: [Side; 2],
    /// Who is the client, once a hello has told. A capture that began late may have it backwards.
    client: Option<Direction>,
    /// The negotiated version, once the server has told.
    version: Option<u16>,
    /// The server asked for another ClientHello; its real answer follows.
    retry: bool,
    resumed: bool,
    /// The client offered early data, which looks like what follows its handshake.
    early_data: bool,
    /// Something worth an event was seen.
    notable: bool,
    told: bool,
    /// Signatures were told that nothing more is read.
    is_ended: bool,
    /// By direction, the frames of the record that passes.
    frames: [Vec<u64>; 2],
    account: Account,
}

impl Dissector for Tls {
    const APP: App = App::Tls;
    const HAS_HANDSHAKE: bool = true;

    const STARTS: Starts = Starts::STREAM;

    fn probe(first: &First<'_>) -> Probe {
        // A capture that begins late may have the sides backwards, so either may say either's hello.
        if !first.is_stream() {
            return Probe::NotForUs;
        }
        match record::probe(first.bytes) {
            // The end of a session, or a piece of one: it fits, and the port does.
            Probe::Unsure | Probe::NotForUs
                if first.has_port_of(&PORTS) && record::is_one_sealed_record(first.bytes) =>
            {
                Probe::Likely
            }
            probe => probe,
        }
    }

    fn new() -> Self {
        Tls {
            sides: [Side::default(); 2],
            client: None,
            version: None,
            retry: false,
            resumed: false,
            early_data: false,
            notable: false,
            told: false,
            is_ended: false,
            frames: Default::default(),
            account: Account::default(),
        }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let was_learned = self.is_learned();
        let read = self.read(bytes, context);
        if self.is_learned() {
            self.tell(context);
        }
        self.reach_heads(context);
        match read {
            Ok(_) if self.is_finished(context) && !self.has_frames(context) => {
                self.end(context, Progress::Done)
            }
            Ok(used) => {
                if self.is_finished(context) {
                    self.reach_bodies(context);
                }
                self.side(context).pending_bytes = bytes.len().saturating_sub(used);
                Progress::Used(used)
            }
            // All that was to be learned is known; only the end of the handshake is not.
            Err(_) if was_learned || self.has_frames(context) && self.is_learned() => {
                self.end(context, Progress::Done)
            }
            Err(reason) => {
                self.tell(context);
                self.end(context, Progress::Broken(reason))
            }
        }
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        self.side(context).skip_gap(missing);
        told::end_frames(&mut self.frames[context.direction.index()], context);
        if self.is_learned() {
            self.tell(context);
        }
        if self.is_finished(context) && !self.has_frames(context) {
            return self.end(context, Progress::Done);
        }
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.tell(context);
        self.end(context, Progress::Done);
    }

    fn describe(&self, _direction: Direction, _transaction: u64, out: &mut Vec<u8>) {
        let Tls { client, version, resumed, .. } = *self;
        self.account.describe_so_far(&Ending { client, version, resumed }, out);
    }

    fn ciphertext_after(&self, direction: Direction) -> Option<u32> {
        let side = &self.sides[direction.index()];
        if side.lost || !self.is_handshake_over() {
            return None;
        }
        let after = match self.version {
            // Up to TLS 1.2 there is no application data before Finished.
            Some(version) if !is_tls_1_3(version) => 0,
            // Early data is no answer to the server's messages, and is followed by the rest of the client's.
            _ if self.early_data => 2 * HIDDEN_BYTES_MAX,
            // A client answers when it has all of the server's messages.
            Some(_) if self.client == Some(direction.flip()) => 0,
            _ => HIDDEN_BYTES_MAX.saturating_sub(side.application_bytes),
        };
        u32::try_from(after).ok()
    }
}

impl Tls {
    /// Writes the session's event, once, with what is known by now.
    fn tell(&mut self, context: &mut Context<'_>) {
        if self.notable && !std::mem::replace(&mut self.told, true) {
            let Tls { client, version, resumed, .. } = *self;
            self.account.tell(&Ending { client, version, resumed }, context);
        }
    }

    /// Lets signatures look into what is complete: the client's side with its hello, the server's when its
    /// certificate was read or will not come.
    fn reach_heads(&mut self, context: &mut Context<'_>) {
        let Some(client) = self.client.filter(|_| context.wanted.is_some()) else { return };
        for direction in [client, client.flip()] {
            let side = &mut self.sides[direction.index()];
            let is_known = side.certified || side.begun && side.is_settled();
            if is_known && !std::mem::replace(&mut side.is_head_reached, true) {
                context.reached(direction, told::SESSION, Stage::Head);
            }
        }
    }

    /// Nothing more is read.
    fn end(&mut self, context: &mut Context<'_>, progress: Progress) -> Progress {
        self.reach_bodies(context);
        self.frames.iter_mut().for_each(|open| told::end_frames(open, context));
        progress
    }

    /// Lets signatures look into both sides: nothing more is to be learned.
    fn reach_bodies(&mut self, context: &mut Context<'_>) {
        if context.wanted.is_some() && !std::mem::replace(&mut self.is_ended, true) {
            for direction in [Direction::Forward, Direction::Reverse] {
                if self.sides[direction.index()].begun {
                    context.reached(direction, told::SESSION, Stage::Body);
                }
            }
        }
    }

    fn side(&mut self, context: &Context<'_>) -> &mut Side {
        &mut self.sides[context.direction.index()]
    }

    /// Whether nothing more is to be learned.
    fn is_learned(&self) -> bool {
        let [a, b] = &self.sides;
        (a.is_settled() && b.is_settled()) || self.is_one_sided()
    }

    /// Whether one side was seen for so long that the other will not be.
    fn is_one_sided(&self) -> bool {
        let one_sided = |this: &Side, other: &Side| {
            this.is_settled() && !other.begun && this.application_bytes >= ONE_SIDED_BYTES_MAX
        };
        let [a, b] = &self.sides;
        one_sided(a, b) || one_sided(b, a)
    }

    /// Whether both sides have sent application data, or what looks like it.
    fn is_handshake_over(&self) -> bool {
        self.sides.iter().all(|side| side.application_bytes > 0) || self.is_one_sided()
    }

    /// Whether nothing more is wanted. Where records cannot be found, a handshake's end cannot be either.
    fn is_finished(&self, context: &Context<'_>) -> bool {
        let ends_unseen = || self.sides.iter().any(|side| side.lost);
        self.is_learned() && (!context.to_handshake_end || self.is_handshake_over() || ends_unseen())
    }

    /// Whether records are still to come that signatures look into as frames, when all else is learned.
    fn has_frames(&self, context: &Context<'_>) -> bool {
        told::wants_frames(context) && self.sides.iter().any(|side| !side.lost)
    }

    /// Reads as far as the bytes allow; says how many are done with.
    fn read(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, &'static str> {
        if bytes.len() < self.side(context).wait_bytes {
            return Ok(0);
        }
        self.side(context).wait_bytes = 0;
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            match self.step(rest, context)? {
                Step::Used(more) => used += more,
                Step::Wait(bytes) => {
                    self.side(context).wait_bytes = bytes;
                    break;
                }
            }
            if self.is_finished(context) && !self.has_frames(context) {
                break;
            }
        }
        Ok(used)
    }

    fn step(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Step, &'static str> {
        let side = self.side(context);
        if side.lost {
            return Ok(Step::Used(rest.len()));
        }
        if side.record_left == 0 {
            return self.begin_record(rest, context);
        }
        if side.content == Some(Content::Handshake) && side.phase != Phase::Over {
            return self.read_handshake(rest, context);
        }
        let passed = side.pass_record(rest);
        let is_over = side.record_left == 0;
        let open = &mut self.frames[context.direction.index()];
        if !open.is_empty() {
            told::grow_frames(open, rest.get(..passed).unwrap_or(rest), context);
            if is_over {
                told::end_frames(open, context);
            }
        }
        Ok(Step::Used(passed))
    }

    fn begin_record(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Step, &'static str> {
        let side = self.side(context);
        if !side.begun && rest[0] & 0x80 != 0 {
            return self.read_ssl2_hello(rest, context);
        }
        side.begun = true;
        let header = match Header::at(rest) {
            None => return Ok(Step::Wait(HEADER_BYTES)),
            Some(None) => return side.give_up(rest, Header::fault(rest)),
            Some(Some(header)) => header,
        };
        if context.wanted.is_some() {
            told::tell_record(rest, &header, &mut self.frames[context.direction.index()], context);
        }
        let side = self.side(context);
        side.synchronised = true;
        side.content = Some(header.content);
        side.record_left = header.bytes;
        if context.wanted.is_some() {
            self.note_record(rest, &header, context);
        }
        match header.content {
            Content::ChangeCipherSpec => self.change_cipher_spec(context.direction),
            Content::ApplicationData => self.side(context).phase = Phase::Over,
            Content::Heartbeat => return Ok(self.begin_heartbeat(rest, header.bytes, context)),
            Content::Handshake | Content::Alert => {}
        }
        Ok(Step::Used(HEADER_BYTES))
    }

    /// Tells signatures what records say of a side whose hello was not seen, and the client's part of the agreement
    /// on keys, behind what is read of it.
    fn note_record(&mut self, rest: &[u8], header: &Header, context: &mut Context<'_>) {
        const KEY_EXCHANGE: u8 = message::CLIENT_KEY_EXCHANGE;
        let direction = context.direction;
        let side = self.side(context);
        let is_first = header.content != Content::Handshake && side.phase == Phase::Hello;
        if is_first
            && !std::mem::replace(&mut side.is_version_told, true)
            && let Some([_, high, low]) = rest.first_chunk::<3>()
        {
            let version = u16::from_be_bytes([*high, *low]);
            context.put_number(direction, told::SESSION, Number::TlsVersion, version.into());
        } else if header.content == Content::Handshake && rest.get(HEADER_BYTES) == Some(&KEY_EXCHANGE) {
            self.tell_key_exchange(told::state::CLIENT_KEY_EXCHANGE, context);
        }
    }

    fn tell_key_exchange(&mut self, state: u64, context: &mut Context<'_>) {
        context.put_number(context.direction, told::SESSION, Number::TlsKeyExchange, state);
    }

    /// A heartbeat (RFC 6520) that is not encrypted yet says how long it is: more than its record has room for is
    /// an attempt to read the other side's memory (CVE-2014-0160).
    fn begin_heartbeat(&mut self, rest: &[u8], bytes: usize, context: &mut Context<'_>) -> Step {
        const PADDING_BYTES_MIN: usize = 16;
        const FIXED_BYTES: usize = 3;
        let side = self.side(context);
        let Some([_, l0, l1]) = rest.get(HEADER_BYTES..).and_then(|body| body.first_chunk::<FIXED_BYTES>())
        else {
            side.record_left = 0;
            return Step::Wait(HEADER_BYTES + FIXED_BYTES);
        };
        let payload = usize::from(u16::from_be_bytes([*l0, *l1]));
        context.note("heartbeat_message", None);
        let side = self.side(context);
        let is_clear = side.phase != Phase::Over || !self.is_handshake_over();
        if is_clear && matches!(rest.get(HEADER_BYTES), Some(1 | 2)) {
            if payload + FIXED_BYTES > bytes {
                context.anomaly("overflow_heartbeat_message", None);
            } else if payload + FIXED_BYTES + PADDING_BYTES_MIN > bytes {
                context.anomaly("invalid_heartbeat_message", None);
            }
        }
        Step::Used(HEADER_BYTES)
    }

    /// What follows is encrypted, unless it is TLS 1.3 in disguise and the real hello is still to come.
    fn change_cipher_spec(&mut self, direction: Direction) {
        let side = &mut self.sides[direction.index()];
        if side.phase == Phase::Hello && self.retry {
            return;
        }
        // Before TLS 1.3, a server that shows neither certificate nor key exchange goes on with an old
        // session. After a gap they may have been in it.
        if side.phase == Phase::Certificate && !side.gapped && !side.certified {
            self.resumed |= self.client != Some(direction);
        }
        side.phase = Phase::Over;
    }

    fn read_ssl2_hello(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Step, &'static str> {
        let side = self.side(context);
        if record::probe(rest) == Probe::Unsure {
            return Ok(Step::Wait(rest.len() + 1));
        }
        side.begun = true;
        let Some(hello) = Ssl2Hello::parse(rest) else {
            return side.give_up(rest, "invalid_sslv2_header");
        };
        side.synchronised = true;
        // The rest of it is passed over like a record.
        side.content = Some(Content::Alert);
        side.record_left = hello.bytes;
        side.phase = Phase::Over;
        self.notable = true;
        self.client = Some(if hello.server { context.direction.flip() } else { context.direction });
        self.tell_ssl2_hello(&hello, context);
        told::tell_ssl2_record(rest.get(..hello.bytes).unwrap_or(rest), context);
        if hello.server {
            self.set_version(hello.version, context);
        } else {
            // Its ciphers are other numbers; it has nothing else that JA4 counts.
            let hello = ClientHello { version: hello.version, ..ClientHello::default() };
            context.metadata.set_text(Field::TlsJa4, Ja4::of(&hello, Transport::Tcp).as_str());
        }
        Ok(Step::Used(0))
    }

    fn tell_ssl2_hello(&mut self, hello: &Ssl2Hello, context: &mut Context<'_>) {
        let direction = context.direction;
        self.side(context).is_version_told = true;
        let state = if hello.server { told::state::SERVER_HELLO } else { told::state::CLIENT_HELLO };
        context.put_number(direction, told::SESSION, Number::TlsVersion, hello.version.into());
        context.put_number(direction, told::SESSION, Number::TlsState, state);
    }

    /// Reads or passes over the handshake message at the front.
    fn read_handshake(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Step, &'static str> {
        let side = self.side(context);
        if side.message_left > 0 {
            let here = rest.len().min(side.record_left).min(side.message_left);
            side.message_left -= here;
            side.record_left -= here;
            return Ok(Step::Used(here));
        }
        let (kind, length) = match record::gather(rest, side.record_left, message::HEADER_BYTES) {
            Gathered::Whole(header) => {
                (header[0], u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize)
            }
            Gathered::Missing(more) => return Ok(Step::Wait(rest.len() + more)),
            Gathered::Interrupted => return side.give_up(rest, "invalid_handshake_message"),
        };
        let wanted = match self.interest(kind, length, rest, context) {
            Interest::Wait(bytes) => return Ok(Step::Wait(bytes)),
            Interest::Unknown => {
                let side = self.side(context);
                if !side.gapped {
                    return Err("invalid_handshake_message");
                }
                // The gap was longer than the message it began in. The next record may begin with one.
                side.message_left = side.record_left;
                return Ok(Step::Used(0));
            }
            Interest::Bytes(wanted) => wanted,
        };
        if wanted > 0 {
            match record::gather(rest, self.side(context).record_left, wanted) {
                Gathered::Whole(message) => {
                    self.read_message(
                        kind,
                        message.get(message::HEADER_BYTES..).unwrap_or_default(),
                        context,
                    );
                }
                Gathered::Missing(more) => {
                    self.peek(kind, rest, context);
                    return Ok(Step::Wait(rest.len() + more));
                }
                Gathered::Interrupted => {
                    return self.side(context).give_up(rest, "invalid_handshake_message");
                }
            }
        }
        self.side(context).message_left = message::HEADER_BYTES + length;
        Ok(Step::Used(0))
    }

    /// How much of a message must be there before it is read.
    fn interest(&mut self, kind: u8, length: usize, rest: &[u8], context: &mut Context<'_>) -> Interest {
        let from_server = self.client.unwrap_or(Direction::Forward) != context.direction;
        let side = self.side(context);
        let bytes = match kind {
            message::CLIENT_HELLO | message::SERVER_HELLO if side.phase == Phase::Hello => {
                message::HEADER_BYTES + length
            }
            // A client without a certificate says so by an empty list.
            message::CERTIFICATE if !from_server && length == 3 => message::HEADER_BYTES + length,
            message::CERTIFICATE
                if (from_server || side.phase == Phase::Certificate)
                    && message::HEADER_BYTES + length <= MESSAGE_BYTES_MAX
                    && told::wants_chain(context) =>
            {
                message::HEADER_BYTES + length
            }
            message::CERTIFICATE if from_server || side.phase == Phase::Certificate => {
                // Of the list, only the first certificate is waited for.
                let counts_bytes = message::HEADER_BYTES + 6;
                match record::gather(rest, side.record_left, counts_bytes) {
                    Gathered::Whole(start) => match start.last_chunk::<3>() {
                        Some([a, b, c]) => counts_bytes + u32::from_be_bytes([0, *a, *b, *c]) as usize,
                        None => 0,
                    },
                    Gathered::Missing(more) => return Interest::Wait(rest.len() + more),
                    Gathered::Interrupted => return Interest::Unknown,
                }
            }
            // Past where a certificate would have stood: the keys are agreed without one.
            message::SERVER_KEY_EXCHANGE | message::CERTIFICATE_REQUEST | message::SERVER_HELLO_DONE => {
                // The request stands behind the key exchange.
                let is_request_possible = kind == message::SERVER_KEY_EXCHANGE && from_server;
                side.phase = if is_request_possible { Phase::Certificate } else { Phase::Over };
                let client = context.direction.flip();
                if kind == message::CERTIFICATE_REQUEST && from_server {
                    self.expect_client_certificate(client);
                }
                if is_request_possible {
                    self.tell_key_exchange(told::state::SERVER_KEY_EXCHANGE, context);
                }
                return Interest::Bytes(0);
            }
            message::CLIENT_KEY_EXCHANGE | message::CERTIFICATE_VERIFY if !from_server => {
                side.phase = Phase::Over;
                0
            }
            // The other types that IANA's registry has.
            0..=6 | 8..=11 | 15..=17 | 20..=26 | 67 | 254 => 0,
            _ => return Interest::Unknown,
        };
        // Neither a message past the limit nor a certificate longer than its message is waited for.
        if bytes > MESSAGE_BYTES_MAX.min(message::HEADER_BYTES + length) {
            side.phase = Phase::Over;
            context.anomaly("handshake_invalid_length", None);
            return Interest::Bytes(0);
        }
        Interest::Bytes(bytes)
    }

    /// The server asked for the client's certificate: it is the first that the client says then.
    fn expect_client_certificate(&mut self, client: Direction) {
        let side = &mut self.sides[client.index()];
        let is_between_records = side.record_left == 0 && side.application_bytes == 0;
        if side.phase == Phase::Over && !side.lost && !side.gapped && is_between_records {
            (side.phase, side.message_left) = (Phase::Certificate, 0);
        }
    }

    fn read_message(&mut self, kind: u8, body: &[u8], context: &mut Context<'_>) {
        let understood = match kind {
            message::CLIENT_HELLO => self.read_client_hello(body, context),
            message::SERVER_HELLO => self.read_server_hello(body, context),
            _ => self.read_certificate(body, context),
        };
        if understood.is_none() {
            context.anomaly(
                if kind == message::CERTIFICATE {
                    "invalid_certificate"
                } else {
                    "invalid_handshake_message"
                },
                None,
            );
            // What follows a certificate can be found all the same.
            if kind != message::CERTIFICATE {
                self.side(context).phase = Phase::Over;
            }
        }
    }

    /// Takes the server's name from the beginning of a hello, whose rest may never come.
    fn peek(&mut self, kind: u8, rest: &[u8], context: &mut Context<'_>) {
        let side = self.side(context);
        if kind != message::CLIENT_HELLO || std::mem::replace(&mut side.peeked, true) {
            return;
        }
        let here = rest.get(..side.record_left).unwrap_or(rest);
        let Some(hello) = here.get(message::HEADER_BYTES..).and_then(ClientHello::parse) else {
            return;
        };
        if let Some(name) = hello.server_name {
            context.metadata.set_bytes(Field::TlsServerName, name);
            self.client = Some(context.direction);
            self.notable = true;
        }
    }

    fn read_client_hello(&mut self, body: &[u8], context: &mut Context<'_>) -> Option<()> {
        if self.client == Some(context.direction.flip()) {
            return None;
        }
        let hello = ClientHello::parse(body)?;
        self.side(context).phase = Phase::Over;
        self.client = Some(context.direction);
        self.notable = true;
        let mut extensions = hello.extensions;
        self.early_data |= extensions.any(|(number, _)| number == extension::EARLY_DATA);
        self.side(context).is_version_told = true;
        if context.wanted.is_some() {
            told::note_names(hello.extensions, context);
        }
        self.account.note_name(hello.server_name, context);
        let Some(prints) = facts::of_client(&hello, Transport::Tcp, Some(told::SESSION), context) else {
            return (!hello.cut).then_some(());
        };
        self.account.describe_client(&prints, hello.alpn);
        Some(())
    }

    fn read_server_hello(&mut self, body: &[u8], context: &mut Context<'_>) -> Option<()> {
        if self.client == Some(context.direction) {
            return None;
        }
        let hello = ServerHello::parse(body)?;
        self.client = Some(context.direction.flip());
        self.notable = true;
        if hello.retry {
            self.retry = true;
            return Some(());
        }
        let version = hello.negotiated_version();
        self.version = Some(version);
        if is_tls_1_3(version) {
            self.resumed = hello.pre_shared_key;
            self.side(context).phase = Phase::Over;
        } else {
            self.side(context).phase = Phase::Certificate;
        }
        self.side(context).is_version_told = true;
        let print = facts::of_server(&hello, Some(told::SESSION), context);
        if hello.cut {
            context.anomaly("invalid_handshake_message", None);
        } else if let Some(print) = print {
            self.account.describe_server(&print, hello.alpn);
        }
        Some(())
    }

    fn set_version(&mut self, version: u16, context: &mut Context<'_>) {
        self.version = Some(version);
        context.metadata.set_text(Field::TlsVersion, &version_name(version));
    }

    fn read_certificate(&mut self, body: &[u8], context: &mut Context<'_>) -> Option<()> {
        if self.client == Some(context.direction) {
            self.side(context).phase = Phase::Over;
            return self.read_client_certificate(body, context);
        }
        // A request for the client's may follow.
        self.side(context).certified = true;
        let certificate = facts::of_certificate(body, context)?;
        self.notable = true;
        if context.events.is_some() {
            self.account.describe_certificate(&certificate);
            if context.eve.tls_certificate || context.eve.tls_chain {
                self.account.describe_chain(body, context.eve);
            }
            event::tell_remote_desktop(body, context);
        }
        Some(())
    }
}

impl Tls {
    /// The client's own certificate; an empty list says that it has none.
    fn read_client_certificate(&mut self, body: &[u8], context: &mut Context<'_>) -> Option<()> {
        let Some(leaf) = leaf_certificate(body) else { return Some(()) };
        let certificate = Certificate::remembered(leaf)?;
        context.metadata.set_text(Field::TlsClientSubject, &certificate.subject);
        if context.wanted.is_some() {
            told::tell_certificates(body, &certificate, told::SESSION, context);
        }
        if context.events.is_some() {
            self.account.describe_client_certificate(&certificate);
        }
        Some(())
    }
}

/// How much of a message is of interest.
enum Interest {
    /// So many bytes with the header; none when it is only passed over.
    Bytes(usize),
    /// That is known when so many bytes are there.
    Wait(usize),
    /// No such message exists.
    Unknown,
}

#[cfg(test)]
mod tests;
