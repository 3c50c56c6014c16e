//! DTLS 1.0 to 1.3 (RFC 4347, RFC 6347, RFC 9147).
//!
//! In: datagrams of both sides. Out: what the hellos say in the clear, JA3, JA3S and JA4, the facts of the server's
//! certificate before 1.3, and one event for the session, in the form of TLS's. Nothing is decrypted. Datagrams of
//! other protocols in between (STUN, RTP) are passed over: WebRTC has them all in one flow (RFC 7983).

use super::tls::event::{Account, Ending};
use super::tls::facts;
use super::tls::fingerprint::Transport;
use super::tls::handshake::{ClientHello, ServerHello, is_datagram_version, is_tls_1_3};
use super::tls::pieces::{PIECED_BYTES_MAX, Pieces};
use super::tls::told;
use crate::dpi::buffers::Stage;
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::net::Direction;

/// Type, version, epoch, sequence number, length.
const RECORD_HEADER_BYTES: usize = 13;
/// Type, length, message number, offset and length of the fragment.
const MESSAGE_HEADER_BYTES: usize = 12;
/// Records in one datagram that are looked at.
const RECORDS_MAX: usize = 16;
/// Datagrams after which a session that is not over yet is left alone.
const DATAGRAMS_MAX: u8 = 64;
/// Highest epoch that a recognised record may have: a capture may begin late, but not after so many rekeyings.
const EPOCH_PLAUSIBLE: u16 = 16;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;

/// The dissector of one DTLS session.
#[derive(Debug)]
pub(super) struct Dtls {
    sides: [Side; 2],
    client: Option<Direction>,
    version: Option<u16>,
    resumed: bool,
    notable: bool,
    told: bool,
    datagrams: u8,
    account: Account,
}

#[derive(Debug, Default)]
struct Side {
    /// The hello was read.
    greeted: bool,
    /// Nothing more is to be learned.
    over: bool,
    /// The server's certificate was seen.
    certified: bool,
    /// Number of the message that is put together, and its pieces.
    message: u16,
    pieces: Pieces,
}

/// A record that is whole.
#[derive(Clone, Copy)]
struct Record<'a> {
    content: u8,
    version: u16,
    epoch: u16,
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the front, and what follows it.
    fn parse(bytes: &'a [u8]) -> Option<(Record<'a>, &'a [u8])> {
        let ([content, v0, v1, e0, e1, _, _, _, _, _, _, l0, l1], rest) =
            bytes.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let version = u16::from_be_bytes([*v0, *v1]);
        if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA + 2).contains(content) || !is_datagram_version(version) {
            return None;
        }
        let (body, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))?;
        Some((Record { content: *content, version, epoch: u16::from_be_bytes([*e0, *e1]), body }, rest))
    }
}

/// A fragment of a handshake message.
struct Fragment<'a> {
    kind: u8,
    length: usize,
    message: u16,
    offset: usize,
    data: &'a [u8],
}

impl<'a> Fragment<'a> {
    fn parse(bytes: &'a [u8]) -> Option<(Fragment<'a>, &'a [u8])> {
        let ([kind, l0, l1, l2, m0, m1, o0, o1, o2, f0, f1, f2], rest) =
            bytes.split_first_chunk::<MESSAGE_HEADER_BYTES>()?;
        let number = |a: &u8, b: &u8, c: &u8| u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let (length, offset) = (number(l0, l1, l2), number(o0, o1, o2));
        let (data, rest) = rest.split_at_checked(number(f0, f1, f2))?;
        if offset + data.len() > length {
            return None;
        }
        let message = u16::from_be_bytes([*m0, *m1]);
        Some((Fragment { kind: *kind, length, message, offset, data }, rest))
    }
}

/// Whether a datagram is DTLS: its records fill it, and the first is what its type says.
pub(super) fn is_dtls(bytes: &[u8]) -> bool {
    let Some((first, mut rest)) = Record::parse(bytes) else { return false };
    let fits = match first.content {
        _ if first.epoch > EPOCH_PLAUSIBLE => false,
        CHANGE_CIPHER_SPEC => first.epoch == 0 && first.body.len() <= 3,
        ALERT => first.epoch > 0 || matches!(first.body, [1 | 2, _]),
        HANDSHAKE if first.epoch == 0 => Fragment::parse(first.body).is_some_and(|(fragment, _)| {
            matches!(fragment.kind, 0..=4 | 8 | 11..=16 | 20 | 22..=25) && fragment.length < 1 << 17
        }),
        HANDSHAKE => first.body.len() >= 24,
        // What is encrypted has a number and a tag at least.
        _ => first.epoch > 0 && first.body.len() >= 17,
    };
    for _ in 1..RECORDS_MAX {
        match Record::parse(rest) {
            Some((_, next)) => rest = next,
            None => break,
        }
    }
    // Behind a clear record of 1.3 may be encrypted ones with a short header (RFC 9147 section 4).
    fits && rest.first().is_none_or(|byte| byte & 0xe0 == 0x20)
}

impl Dissector for Dtls {
    const APP: App = App::Dtls;

    const STARTS: Starts = Starts::datagram(&[20, 21, 22, 23, 25]);

    fn probe(first: &First<'_>) -> Probe {
        if is_dtls(first.bytes) { Probe::Certain } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Dtls {
            sides: Default::default(),
            client: None,
            version: None,
            resumed: false,
            notable: false,
            told: false,
            datagrams: 0,
            account: Account::default(),
        }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        self.datagrams = self.datagrams.saturating_add(1);
        let mut rest = bytes;
        for _ in 0..RECORDS_MAX {
            let Some((record, next)) = Record::parse(rest) else { break };
            self.read_record(&record, context);
            rest = next;
        }
        let is_over = self.sides.iter().all(|side| side.over);
        self.reach_heads(context);
        if is_over || self.datagrams >= DATAGRAMS_MAX {
            self.tell(context);
            self.end(context);
            return Progress::Done;
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _missing: u64, _context: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.tell(context);
        self.end(context);
    }

    fn describe(&self, _direction: Direction, _transaction: u64, out: &mut Vec<u8>) {
        let Dtls { client, version, resumed, .. } = *self;
        self.account.describe_so_far(&Ending { client, version, resumed }, out);
    }
}

impl Dtls {
    /// Lets signatures look into what is complete: the client's side with its hello, the server's when its
    /// certificate was read or will not come.
    fn reach_heads(&mut self, context: &mut Context<'_>) {
        let Some(client) = self.client.filter(|_| context.wanted.is_some()) else { return };
        for direction in [client, client.flip()] {
            let side = &self.sides[direction.index()];
            let is_known = side.over || if direction == client { side.greeted } else { side.certified };
            if is_known {
                context.reached(direction, told::SESSION, Stage::Head);
            }
        }
    }

    /// Lets signatures look into both sides: nothing more is read.
    fn end(&mut self, context: &mut Context<'_>) {
        for direction in [Direction::Forward, Direction::Reverse] {
            let side = &self.sides[direction.index()];
            if side.greeted || side.over {
                context.reached(direction, told::SESSION, Stage::Body);
            }
        }
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        if self.notable && !std::mem::replace(&mut self.told, true) {
            let Dtls { client, version, resumed, .. } = *self;
            self.account.tell(&Ending { client, version, resumed }, context);
        }
    }

    fn side(&mut self, context: &Context<'_>) -> &mut Side {
        &mut self.sides[context.direction.index()]
    }

    fn read_record(&mut self, record: &Record<'_>, context: &mut Context<'_>) {
        if record.epoch > 0 || record.content == APPLICATION_DATA {
            self.side(context).over = true;
            return;
        }
        match record.content {
            HANDSHAKE => {
                let mut rest = record.body;
                while let Some((fragment, next)) = Fragment::parse(rest) {
                    self.read_fragment(record.version, &fragment, context);
                    rest = next;
                }
                if !rest.is_empty() {
                    context.anomaly("invalid_handshake_message", None);
                }
            }
            CHANGE_CIPHER_SPEC => {
                let is_server = self.client == Some(context.direction.flip());
                let has_session = self.version.is_some_and(|version| !is_tls_1_3(version));
                let side = self.side(context);
                let is_short = is_server && has_session && side.greeted && !side.certified;
                side.over = true;
                self.resumed |= is_short;
            }
            _ => {}
        }
    }

    fn read_fragment(&mut self, version: u16, fragment: &Fragment<'_>, context: &mut Context<'_>) {
        let is_wanted =
            matches!(fragment.kind, CLIENT_HELLO | SERVER_HELLO | HELLO_VERIFY_REQUEST | CERTIFICATE);
        if !is_wanted || fragment.length > PIECED_BYTES_MAX {
            return;
        }
        if fragment.data.len() == fragment.length {
            return self.read_message(fragment.kind, version, fragment.data, context);
        }
        let side = self.side(context);
        if side.message != fragment.message {
            side.message = fragment.message;
            side.pieces.clear();
        }
        side.pieces.put(fragment.offset, fragment.data);
        if side.pieces.front().len() >= fragment.length {
            let pieces = std::mem::take(&mut side.pieces);
            let body = pieces.front().get(..fragment.length).unwrap_or_default();
            self.read_message(fragment.kind, version, body, context);
        }
    }

    fn read_message(&mut self, kind: u8, version: u16, body: &[u8], context: &mut Context<'_>) {
        let understood = match kind {
            CLIENT_HELLO => self.read_client_hello(body, context),
            SERVER_HELLO => self.read_server_hello(body, context),
            HELLO_VERIFY_REQUEST => {
                self.client = Some(context.direction.flip());
                self.version.get_or_insert(version);
                self.notable = true;
                Some(())
            }
            _ if self.client == Some(context.direction) => Some(()),
            _ => self.read_certificate(body, context),
        };
        if understood.is_none() {
            context.anomaly("invalid_handshake_message", None);
        }
    }

    fn read_client_hello(&mut self, body: &[u8], context: &mut Context<'_>) -> Option<()> {
        let hello = ClientHello::parse_datagram(body)?;
        self.client = Some(context.direction);
        self.notable = true;
        // A hello comes again with a cookie, or because nobody answered: the same but for that.
        if std::mem::replace(&mut self.side(context).greeted, true) {
            return Some(());
        }
        self.account.note_name(hello.server_name, context);
        if let Some(prints) = facts::of_client(&hello, Transport::Dtls, Some(told::SESSION), context) {
            self.account.describe_client(&prints, hello.alpn);
        }
        Some(())
    }

    fn read_server_hello(&mut self, body: &[u8], context: &mut Context<'_>) -> Option<()> {
        let hello = ServerHello::parse(body)?;
        self.client = Some(context.direction.flip());
        self.notable = true;
        if hello.retry || std::mem::replace(&mut self.side(context).greeted, true) {
            return Some(());
        }
        let version = hello.negotiated_version();
        self.version = Some(version);
        if let Some(print) = facts::of_server(&hello, Some(told::SESSION), context) {
            self.account.describe_server(&print, hello.alpn);
        }
        if is_tls_1_3(version) {
            self.resumed = hello.pre_shared_key;
            self.side(context).over = true;
        }
        Some(())
    }

    fn read_certificate(&mut self, body: &[u8], context: &mut Context<'_>) -> Option<()> {
        if std::mem::replace(&mut self.side(context).certified, true) {
            return Some(());
        }
        let certificate = facts::of_certificate(body, context)?;
        if context.events.is_some() {
            self.account.describe_certificate(&certificate);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
    use weir_common::metadata::Field;

    fn record(content: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&[content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0], &length[..], body].concat()
    }

    fn fragment(kind: u8, whole: usize, offset: usize, data: &[u8]) -> Vec<u8> {
        let three = |number: usize| (number as u32).to_be_bytes()[1..].to_vec();
        [&[kind][..], &three(whole), &[0, 0], &three(offset), &three(data.len()), data].concat()
    }

    fn client_hello() -> Vec<u8> {
        let name = [&[0, 0, 0, 10, 0, 8, 0, 0, 5][..], b"a.org"].concat();
        let random = [7; 32];
        let head: &[&[u8]] =
            &[&[0xfe, 0xfd], &random, &[0], &[2, 9, 9], &[0, 4, 0xc0, 0x2b, 0, 0xff], &[1, 0]];
        [&head.concat()[..], &[0, name.len() as u8], &name].concat()
    }

    fn server_hello() -> Vec<u8> {
        [&[0xfe, 0xfd][..], &[8; 32], &[0, 0xc0, 0x2b, 0]].concat()
    }

    #[test]
    fn hellos_are_read_and_the_session_ends_with_encryption() {
        let (client, server) = (client_hello(), server_hello());
        let client = record(22, 0, &fragment(1, client.len(), 0, &client));
        let server = record(22, 0, &fragment(2, server.len(), 0, &server));
        let sealed = record(22, 1, &[9; 40]);
        let trial = Trial::<Dtls>::new().over_datagrams().client(&client).server(&server);
        let trial = trial.client(&sealed).server(&[record(20, 0, &[1]), sealed.clone()].concat());
        assert_eq!(trial.end, Some(Progress::Done));
        assert_eq!(trial.text(Field::TlsServerName), "a.org");
        assert_eq!(trial.text(Field::TlsVersion), "DTLS 1.2");
        assert!(trial.text(Field::TlsJa4).starts_with("dd2d020100_"), "{}", trial.text(Field::TlsJa4));
        let body = trial.event();
        assert_eq!(body["version"], "DTLS 1.2");
        assert_eq!(body["session_resumed"], true);
        assert_eq!(body["ja3"]["string"], "65277,49195-255,0,,");
    }

    #[test]
    fn a_hello_in_fragments_in_any_order_is_put_together() {
        let hello = client_hello();
        let (first, second) = hello.split_at(30);
        let first = record(22, 0, &fragment(1, hello.len(), 0, first));
        let second = record(22, 0, &fragment(1, hello.len(), 30, second));
        let trial = Trial::<Dtls>::new().over_datagrams().client(&second).client(&first).close();
        assert_eq!(trial.text(Field::TlsServerName), "a.org");
    }

    #[test]
    fn records_must_fill_the_datagram() {
        let probe = |bytes: &[u8]| Dtls::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        let hello = client_hello();
        let hello = record(22, 0, &fragment(1, hello.len(), 0, &hello));
        assert_eq!(probe(&hello), Probe::Certain);
        assert_eq!(probe(&[&hello[..], &[0]].concat()), Probe::NotForUs);
        assert_eq!(probe(&hello[..hello.len() - 1]), Probe::NotForUs);
        assert_eq!(probe(&record(23, 1, &[1; 17])), Probe::Certain);
        assert_eq!(probe(&record(23, 0, &[1; 17])), Probe::NotForUs);
        assert_eq!(probe(&record(21, 0, &[2, 40])), Probe::Certain);
        assert_eq!(probe(&record(21, 0, &[3, 40])), Probe::NotForUs);
    }

    #[test]
    fn damage_does_not_panic() {
        let (client, server) = (client_hello(), server_hello());
        let client = record(22, 0, &fragment(1, client.len(), 0, &client));
        let server = record(22, 0, &fragment(2, server.len(), 0, &server));
        survives_damaged_datagrams::<Dtls>(&[(Direction::Forward, &client), (Direction::Reverse, &server)]);
    }
}
