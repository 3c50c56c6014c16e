//! OpenVPN's control channel, over datagrams and streams.
//!
//! In: packets of both sides. Out: how the session begins, where the control channel is not encrypted what the TLS
//! hellos in it say, and one event for the session. Data is passed over.
//!
//! A first packet has an operation, a session, and then, by what protects the channel: nothing; an HMAC of one of
//! a few lengths with a packet number and a time (`tls-auth`); the number and the time, an HMAC and ciphertext
//! (`tls-crypt`). Which it is follows from the length and the zeros around.

use super::tls::facts;
use super::tls::fingerprint::Transport;
use super::tls::handshake::{ClientHello, ServerHello};
use super::tls::record::{self, Gathered, Header};
use crate::dpi::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

const RESET_CLIENT_1: u8 = 1;
const RESET_SERVER_1: u8 = 2;
const CONTROL: u8 = 4;
const RESET_CLIENT_2: u8 = 7;
const RESET_SERVER_2: u8 = 8;
const RESET_CLIENT_3: u8 = 10;

/// Operation and key, session.
const HEADER_BYTES: usize = 9;
/// Packet number and time behind an HMAC.
const REPLAY_BYTES: usize = 8;
/// Lengths of the HMACs that OpenVPN offers: MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512.
const HMAC_BYTES: [usize; 6] = [16, 20, 28, 32, 48, 64];
/// Most bytes of a packet in a stream.
const PACKET_BYTES_MAX: usize = 4096;
/// Most bytes of one side's TLS that are put together.
const TLS_BYTES_MAX: usize = 16 << 10;
/// Packets looked at before a session is left alone.
const PACKETS_MAX: u16 = 64;

/// What protects the control channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    None,
    /// `tls-auth` with an HMAC of so many bytes.
    Hmac(usize),
    /// `tls-crypt`.
    Encrypted,
}

impl Protection {
    fn name(self) -> &'static str {
        match self {
            Protection::None => "none",
            Protection::Hmac(_) => "tls-auth",
            Protection::Encrypted => "tls-crypt",
        }
    }
}

/// The dissector of a session.
#[derive(Debug, Default)]
pub(super) struct Openvpn {
    protection: Option<Protection>,
    told: bool,
    packets: u16,
    /// By direction: the TLS of control packets in order, and the number of the next.
    tls: [Vec<u8>; 2],
    next: [u32; 2],
    seen: [bool; 2],
}

fn operation(bytes: &[u8]) -> u8 {
    bytes.first().map_or(0, |first| first >> 3)
}

/// How the channel is protected, by a packet that begins a session and fills `packet`.
fn protection(packet: &[u8]) -> Option<Protection> {
    let operation = operation(packet);
    let is_server = matches!(operation, RESET_SERVER_1 | RESET_SERVER_2);
    let is_client = matches!(operation, RESET_CLIENT_1 | RESET_CLIENT_2 | RESET_CLIENT_3);
    // The key of a new session is 0.
    if !(is_server || is_client) || packet.first().is_none_or(|first| first & 7 != 0) {
        return None;
    }
    let session = packet.get(1..HEADER_BYTES)?;
    if session.iter().all(|byte| *byte == 0) {
        return None;
    }
    let fits = |rest: &[u8]| match rest {
        // Nothing is acknowledged, and this is packet 0.
        [0, 0, 0, 0, 0] => true,
        // One packet, 0, is acknowledged, with the session it was of.
        [1, 0, 0, 0, 0, session @ .., 0, 0, 0, 0] => is_server && session.len() == 8,
        _ => false,
    };
    if operation != RESET_CLIENT_3 && fits(packet.get(HEADER_BYTES..)?) {
        return Some(Protection::None);
    }
    // The first packet of a side has number 1, or, with early negotiation, 0x0f000001.
    let is_first = |at: usize| matches!(packet.get(at..at + 4), Some([0 | 0x0f, 0, 0, 1]));
    let hmac = HMAC_BYTES.iter().copied().find(|bytes| {
        is_first(HEADER_BYTES + bytes) && packet.get(HEADER_BYTES + bytes + REPLAY_BYTES..).is_some_and(fits)
    });
    if let Some(bytes) = hmac {
        return Some(Protection::Hmac(bytes));
    }
    // Number, time, HMAC of 32 bytes, and at least five bytes of ciphertext; with version 3 the client's key behind.
    const CRYPT_BYTES: usize = HEADER_BYTES + REPLAY_BYTES + 32 + 5;
    let is_long_enough = match operation {
        RESET_CLIENT_3 => packet.len() > CRYPT_BYTES + 256,
        _ if is_server => packet.len() >= CRYPT_BYTES + 12,
        _ => packet.len() == CRYPT_BYTES,
    };
    (is_first(HEADER_BYTES) && is_long_enough).then_some(Protection::Encrypted)
}

impl Dissector for Openvpn {
    const APP: App = App::Openvpn;

    const STARTS: Starts = Starts::datagram(&[RESET_CLIENT_1 << 3, RESET_SERVER_1 << 3, 0x38, 0x40, 0x50])
        .or(Starts::stream(&[0, 1, 2, 3, 4, 5]));

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        match first.carrier {
            Carrier::Datagram => match protection(bytes) {
                Some(_) => Probe::Certain,
                None => Probe::NotForUs,
            },
            Carrier::Stream => {
                let Some(([l0, l1], rest)) = bytes.split_first_chunk::<2>() else { return Probe::Unsure };
                let length = usize::from(u16::from_be_bytes([*l0, *l1]));
                let begins =
                    rest.first().is_none_or(|first| matches!(first, 0x38 | 0x40 | 0x50 | 0x08 | 0x10));
                if !begins || !(14..=1500).contains(&length) {
                    return Probe::NotForUs;
                }
                match rest.get(..length) {
                    None => Probe::Unsure,
                    Some(packet) if protection(packet).is_some() => Probe::Certain,
                    Some(_) => Probe::NotForUs,
                }
            }
        }
    }

    fn new() -> Self {
        Openvpn::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut used = 0;
        if context.carrier == Carrier::Datagram {
            self.read(bytes, context);
            used = bytes.len();
        } else {
            while let Some(([l0, l1], rest)) =
                bytes.get(used..).and_then(|rest| rest.split_first_chunk::<2>())
            {
                let length = usize::from(u16::from_be_bytes([*l0, *l1]));
                if length > PACKET_BYTES_MAX || length == 0 {
                    return Progress::Done;
                }
                let Some(packet) = rest.get(..length) else { break };
                self.read(packet, context);
                used += 2 + length;
            }
        }
        let is_learned = self.seen == [true; 2] || self.protection == Some(Protection::Encrypted);
        if is_learned || self.packets >= PACKETS_MAX {
            self.close(context);
            return Progress::Done;
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _missing: u64, context: &mut Context<'_>) -> Progress {
        self.close(context);
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        let Some(protection) = self.protection.filter(|_| !self.told) else { return };
        self.told = true;
        let metadata = std::mem::take(context.metadata);
        context.tell(Direction::Forward, None, |object| {
            object.text("protection", protection.name());
            for (key, field) in [
                ("version", Field::Version),
                ("sni", Field::TlsServerName),
                ("tls_version", Field::TlsVersion),
                ("ja3", Field::TlsJa3),
                ("ja3s", Field::TlsJa3s),
                ("ja4", Field::TlsJa4),
            ] {
                object.text_if(key, metadata.text(field));
            }
        });
        *context.metadata = metadata;
    }
}

impl Openvpn {
    fn read(&mut self, packet: &[u8], context: &mut Context<'_>) {
        self.packets = self.packets.saturating_add(1);
        if let Some(protection) = protection(packet) {
            self.protection = Some(protection);
            context.metadata.add(Field::Object, protection.name());
            let version = match operation(packet) {
                RESET_CLIENT_1 | RESET_SERVER_1 => "1",
                RESET_CLIENT_3 => "3",
                _ => "2",
            };
            context.metadata.set_text(Field::Version, version);
            // What the reset itself is numbered counts.
            self.next[context.direction.index()] = 1;
        } else if operation(packet) == CONTROL {
            let index = context.direction.index();
            if let Some((number, tls)) = self.control(packet)
                && number == self.next[index]
                && self.tls[index].len() + tls.len() <= TLS_BYTES_MAX
            {
                self.next[index] = number.saturating_add(1);
                self.tls[index].extend_from_slice(tls);
                self.read_hello(context);
            }
        }
    }

    /// The number of a control packet and the TLS in it.
    fn control<'a>(&self, packet: &'a [u8]) -> Option<(u32, &'a [u8])> {
        let skipped = match self.protection? {
            Protection::None => HEADER_BYTES,
            Protection::Hmac(bytes) => HEADER_BYTES + bytes + REPLAY_BYTES,
            Protection::Encrypted => return None,
        };
        let (acknowledged, rest) = packet.get(skipped..)?.split_first()?;
        let acknowledged = usize::from(*acknowledged);
        let session = if acknowledged > 0 { 8 } else { 0 };
        let (number, tls) = rest.get(acknowledged * 4 + session..)?.split_first_chunk::<4>()?;
        Some((u32::from_be_bytes(*number), tls))
    }

    /// Reads a side's hello, once it is whole.
    fn read_hello(&mut self, context: &mut Context<'_>) {
        const HEADER: usize = 4;
        const CLIENT_HELLO: u8 = 1;
        const SERVER_HELLO: u8 = 2;
        let index = context.direction.index();
        if self.seen[index] {
            return;
        }
        let tls = std::mem::take(&mut self.tls[index]);
        if let Some(Some(header)) = Header::at(&tls)
            && let Some(records) = tls.get(record::HEADER_BYTES..)
            && let Some([kind, a, b, c]) = records.first_chunk::<HEADER>()
            && let wanted = HEADER + u32::from_be_bytes([0, *a, *b, *c]) as usize
            && wanted <= TLS_BYTES_MAX
            && let Gathered::Whole(message) = record::gather(records, header.bytes, wanted)
        {
            self.seen[index] = true;
            let body = message.get(HEADER..).unwrap_or_default();
            match *kind {
                CLIENT_HELLO => {
                    if let Some(hello) = ClientHello::parse(body) {
                        facts::of_client(&hello, Transport::Tcp, None, context);
                    }
                }
                SERVER_HELLO => {
                    if let Some(hello) = ServerHello::parse(body) {
                        facts::of_server(&hello, None, context);
                    }
                }
                _ => {}
            }
        }
        self.tls[index] = tls;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, survives_damage, survives_damaged_datagrams};

    const SESSION: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    const TAIL: [u8; 5] = [0; 5];

    fn plain(operation: u8) -> Vec<u8> {
        [&[operation << 3][..], &SESSION, &TAIL].concat()
    }

    fn probe(bytes: &[u8]) -> Probe {
        Openvpn::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes))
    }

    #[test]
    fn resets_are_known_with_every_protection() {
        assert_eq!(probe(&plain(RESET_CLIENT_2)), Probe::Certain);
        assert_eq!(probe(&plain(RESET_CLIENT_2)[..13]), Probe::NotForUs);
        let server = [&[0x40][..], &SESSION, &[1, 0, 0, 0, 0], &SESSION, &[0; 4]].concat();
        assert_eq!(probe(&server), Probe::Certain);
        for bytes in HMAC_BYTES {
            let first = [&[0x38][..], &SESSION, &vec![9; bytes], &[0, 0, 0, 1, 9, 9, 9, 9], &TAIL].concat();
            assert_eq!(protection(&first), Some(Protection::Hmac(bytes)));
        }
        let crypt = [&[0x38][..], &SESSION, &[0, 0, 0, 1, 9, 9, 9, 9], &[7; 37]].concat();
        assert_eq!(protection(&crypt), Some(Protection::Encrypted));
        assert_eq!(protection(&crypt[..53]), None);
        assert_eq!(probe(&[&[0x38][..], &[0; 13]].concat()), Probe::NotForUs, "a session has a number");
    }

    #[test]
    fn hellos_in_the_clear_are_read() {
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let message = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
        let record = [&[22, 3, 1, 0, message.len() as u8][..], &message].concat();
        let (first, second) = record.split_at(20);
        let control =
            |number: u8, tls: &[u8]| [&[CONTROL << 3][..], &SESSION, &[0, 0, 0, 0, number], tls].concat();
        let trial = Trial::<Openvpn>::new().over_datagrams().client(&plain(RESET_CLIENT_2));
        let trial = trial.client(&control(1, first)).client(&control(2, second)).close();
        assert!(trial.text(Field::TlsJa4).starts_with("t12i0100"), "{}", trial.text(Field::TlsJa4));
        assert_eq!(trial.event()["protection"], "none");
        assert_eq!(trial.event()["ja4"], trial.text(Field::TlsJa4));
    }

    #[test]
    fn streams_have_lengths() {
        let framed = [&[0, 14][..], &plain(RESET_CLIENT_2)].concat();
        let probe = |bytes: &[u8]| Openvpn::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&framed), Probe::Certain);
        assert_eq!(probe(&framed[..9]), Probe::Unsure);
        assert_eq!(probe(b"\0\x0eab"), Probe::NotForUs);
        survives_damage::<Openvpn>(&framed, &framed);
        survives_damaged_datagrams::<Openvpn>(&[(Direction::Forward, &plain(RESET_CLIENT_2))]);
    }
}
