//! Peer-to-peer networks, currencies and discovery that are known by name only.
//!
//! In: a flow's first bytes. Out: verdicts.

use super::{Recogniser, line};
use crate::dpi::Starts;
use crate::dpi::bytes::{be16, be32, le32, u8_at};
use crate::dpi::{First, Probe};
use weir_common::app::App;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::Bitcoin, Starts::stream(&[0xf9, 0x0b, 0xfa, 0x0a, 0x1c, 0xe3, 0xfb, 0xc0]), bitcoin),
    line(App::Monero, Starts::stream(&[1]), monero),
    line(App::Nano, Starts::both(b"R"), nano),
    line(App::Stratum, Starts::stream(b"{"), stratum),
    line(
        App::Edonkey,
        Starts::stream(&[0xe3, 0xc5, 0xd4]).or(Starts::datagram(&[0xe3, 0xc5, 0xe4])),
        edonkey,
    ),
    line(App::Gnutella, Starts::stream(b"GH").or(Starts::DATAGRAM), gnutella),
    line(App::Slp, Starts::both(&[1, 2]), slp),
    line(App::NatPmp, Starts::datagram(&[0, 1, 2]), nat_pmp),
    line(App::WsDiscovery, Starts::datagram(b"< \r\n\xef"), ws_discovery),
    line(App::Bittorrent, Starts::datagram(&[0]), tracker),
    line(App::Bittorrent, Starts::datagram(b"B"), local_discovery),
    line(App::Bittorrent, Starts::datagram(&[0x01, 0x11, 0x21, 0x31, 0x41]), utp),
    line(App::Ethereum, Starts::DATAGRAM.or(Starts::stream(&[0, 1, 2, 3, 4])), ethereum),
];

fn certain_if(is_so: bool) -> Probe {
    if is_so { Probe::Certain } else { Probe::NotForUs }
}

fn unsure_if_stream(first: &First<'_>) -> Probe {
    if first.is_stream() { Probe::Unsure } else { Probe::NotForUs }
}

/// Whether bytes begin with a text, or may when there are more.
fn starts(bytes: &[u8], text: &[u8]) -> Probe {
    match bytes.get(..text.len()) {
        Some(start) => certain_if(start == text),
        None if text.starts_with(bytes) => Probe::Unsure,
        None => Probe::NotForUs,
    }
}

/// WS-Discovery: SOAP over UDP in the namespace of discovery.
pub(super) fn ws_discovery(first: &First<'_>) -> Probe {
    /// 2005's namespace, and OASIS's.
    const NAMESPACES: [&[u8]; 2] = [b"/ws/2005/04/discovery", b"/ws-dd/ns/discovery/"];
    let is_named = NAMESPACES.iter().any(|name| first.bytes.windows(name.len()).any(|at| at == *name));
    certain_if(is_named)
}

/// The Service Location Protocol, version 2 (RFC 2608) and 1 (RFC 2165).
pub(super) fn slp(first: &First<'_>) -> Probe {
    const PORT: u16 = 427;
    let bytes = first.bytes;
    match bytes {
        [2, function, l0, l1, l2, flags, reserved, ..] => {
            let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
            let is_fit = if first.is_stream() { length >= 16 } else { length == bytes.len() && length >= 16 };
            let is_known = (1..=11).contains(function) && flags & 0x1f == 0 && *reserved == 0;
            let Some(tag_bytes) = be16(bytes, 12) else { return unsure_if_stream(first) };
            let tag = bytes.get(14..14 + usize::from(tag_bytes)).unwrap_or_default();
            let is_tag =
                !tag.is_empty() && tag.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
            certain_if(is_known && is_fit && is_tag)
        }
        [1, function, l0, l1, flags, 0, ..] => {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let is_fit = length == bytes.len() && length >= 12 && flags & 0x07 == 0;
            certain_if(is_fit && (1..=10).contains(function) && first.has_port(PORT))
        }
        _ if bytes.len() < 7 && matches!(bytes.first(), Some(1 | 2)) => unsure_if_stream(first),
        _ => Probe::NotForUs,
    }
}

/// NAT-PMP (RFC 6886) and PCP (RFC 6887).
pub(super) fn nat_pmp(first: &First<'_>) -> Probe {
    const PORTS: [u16; 2] = [5350, 5351];
    if !first.has_port_of(&PORTS) {
        return Probe::NotForUs;
    }
    let is_message = match first.bytes {
        [0, 0] => true,
        [0, 1 | 2, 0, 0, ..] => first.bytes.len() == 12,
        [0, 128, 0, code, ..] => first.bytes.len() == 12 && *code <= 5,
        [0, 129 | 130, 0, code, ..] => first.bytes.len() == 16 && *code <= 5,
        // Unsupported version: an answer of PCP's server to NAT-PMP's client, or the other way round.
        [0, 128..=255, 0, 1, ..] => first.bytes.len() == 8,
        [1 | 2, operation, 0, _, ..] => {
            operation & 0x7f <= 3
                && (24..=1100).contains(&first.bytes.len())
                && first.bytes.len().is_multiple_of(4)
        }
        _ => false,
    };
    certain_if(is_message)
}

/// eDonkey, eMule and Kad.
pub(super) fn edonkey(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if first.is_datagram() {
        let is_known = match bytes {
            // Server and client messages.
            [0xe3, kind, ..] => matches!(kind, 0x96..=0x9c | 0xa0..=0xa4) && bytes.len() >= 6,
            [0xc5, kind, ..] => matches!(kind, 0x90..=0x94) && (bytes.len() == 2 || bytes.len() >= 18),
            // Kad: bootstrap, hello, request and response with their lengths.
            [0xe4, 0x01, ..] => bytes.len() == 2,
            [0xe4, 0x20, kind, ..] => bytes.len() == 35 && matches!(kind, 2 | 4 | 11),
            [0xe4, 0x21, ..] => bytes.len() == 35,
            [0xe4, 0x28, ..] => bytes.len() >= 19 && (bytes.len() - 19).is_multiple_of(25),
            [0xe4, 0x29, ..] => bytes.len() >= 19,
            [0xe4, 0x60, ..] => bytes.len() == 2,
            [0xe4, 0x61, ..] => bytes.len() == 4,
            [0xe4, 0x11 | 0x19, ..] => bytes.len() >= 20,
            _ => false,
        };
        return match is_known {
            true if first.has_port_of(&[4661, 4665, 4666, 4672]) => Probe::Certain,
            true if bytes.first() == Some(&0xe4) && matches!(bytes.len(), 35) => Probe::Likely,
            _ => Probe::NotForUs,
        };
    }
    let (Some(length), Some(kind)) = (le32(bytes, 1), u8_at(bytes, 5)) else { return Probe::Unsure };
    // A message is its kind and what follows, or exactly here at its end another begins.
    let end = 5usize.saturating_add(length as usize);
    let ends = match u8_at(bytes, end) {
        Some(next) => matches!(next, 0xe3 | 0xc5 | 0xd4),
        None => end == bytes.len(),
    };
    let is_hello = matches!(kind, 0x01 | 0x4c) && bytes.first() == Some(&0xe3) && length > 20;
    let is_known =
        matches!(kind, 0x01..=0x5f | 0x60..=0x6f | 0x81..=0x99) && (1..=0x80_0000).contains(&length);
    match (is_hello && length < 2000, is_known && ends) {
        (true, true) => Probe::Certain,
        (_, true) if first.has_port_of(&[4661, 4662]) => Probe::Certain,
        (true, false) if bytes.len() < end => Probe::Unsure,
        _ => Probe::NotForUs,
    }
}

/// Gnutella's descriptors, GTK-Gnutella's segments and LimeWire's Mojito.
pub(super) fn gnutella(first: &First<'_>) -> Probe {
    const TEXTS: [&[u8]; 5] = [
        b"GNUTELLA CONNECT/",
        b"GNUTELLA/0.",
        b"GET /uri-res/N2R?urn:",
        b"GET /gnutella/",
        b"HEAD /gnutella/",
    ];
    const HEADER_BYTES: usize = 23;
    let bytes = first.bytes;
    if first.is_stream() {
        let mut verdict = Probe::NotForUs;
        for text in TEXTS {
            match starts(bytes, text) {
                Probe::Certain => return Probe::Certain,
                Probe::Unsure => verdict = Probe::Unsure,
                _ => {}
            }
        }
        // "GIV index:servent/file".
        if let Some(rest) = bytes.strip_prefix(b"GIV ") {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            return match rest.get(digits) {
                Some(b':') if digits > 0 => Probe::Certain,
                None => Probe::Unsure,
                Some(_) => Probe::NotForUs,
            };
        }
        return verdict;
    }
    // Segments: magic, flags, sequence, part, and of how many.
    if let [b'G', b'N', b'D', _flags, _, _, part, parts, ..]
    | [b'G', b'T', b'A', _flags, _, _, part, parts, ..] = bytes
    {
        return certain_if(*parts == 0 && *part > 0 || part <= parts);
    }
    let (Some(kind), Some(hops), Some(ttl)) = (u8_at(bytes, 16), u8_at(bytes, 18), u8_at(bytes, 17)) else {
        return Probe::NotForUs;
    };
    let Some(length) = le32(bytes, 19).filter(|_| bytes.len() >= HEADER_BYTES) else {
        return Probe::NotForUs;
    };
    let payload = bytes.len() - HEADER_BYTES;
    // Mojito: the marker, version 0.0 or 0.1, and the length of all that follows.
    const MOJITO_BYTES_MIN: usize = 8;
    let is_filled = payload >= MOJITO_BYTES_MIN;
    if kind == 0x44 && matches!((ttl, hops), (0, 0 | 1)) && length as usize == payload && is_filled {
        return Probe::Certain;
    }
    let is_known = matches!(kind, 0x00..=0x02 | 0x30..=0x32 | 0x40 | 0x41 | 0x80 | 0x81);
    let is_fit = length as usize == payload && (1..=15).contains(&ttl.saturating_add(hops));
    // A descriptor's number is random.
    const NUMBER_BYTES_SET_MIN: usize = 10;
    let set = bytes.get(..16).map_or(0, |number| number.iter().filter(|byte| **byte != 0).count());
    certain_if(is_known && is_fit && set >= NUMBER_BYTES_SET_MIN)
}

/// Ethereum: discovery (a signed RLP list) and RLPx (an encrypted handshake with its length).
pub(super) fn ethereum(first: &First<'_>) -> Probe {
    const HASH_AND_SIGNATURE_BYTES: usize = 97;
    const PORTS: [u16; 4] = [30_301, 30_303, 30_304, 30_305];
    let bytes = first.bytes;
    if first.is_datagram() {
        let Some([kind, list @ ..]) = bytes.get(HASH_AND_SIGNATURE_BYTES..) else { return Probe::NotForUs };
        // The signature ends in its recovery number.
        let is_signed = u8_at(bytes, HASH_AND_SIGNATURE_BYTES - 1).is_some_and(|number| number <= 3);
        let length = match list {
            [head @ 0xc0..=0xf7, ..] => 1 + usize::from(head - 0xc0),
            [0xf8, length, ..] => 2 + usize::from(*length),
            [0xf9, high, low, ..] => 3 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Probe::NotForUs,
        };
        let is_fit = length == list.len() || length < list.len() && first.has_port_of(&PORTS);
        return certain_if(is_signed && (1..=6).contains(kind) && is_fit);
    }
    // EIP-8: the size, then an uncompressed public key; before it, 307 bytes and 210 in answer.
    const MESSAGE_BYTES_MIN: usize = 190;
    const MESSAGE_BYTES_MAX: usize = 1024;
    let Some(size) = be16(bytes, 0).map(usize::from) else { return Probe::Unsure };
    let is_sized = (MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&size) && u8_at(bytes, 2) == Some(4);
    match (is_sized, bytes.len()) {
        (true, len) if len < size + 2 => Probe::Unsure,
        (true, len) if len == size + 2 && first.has_port_of(&PORTS) => Probe::Certain,
        (true, len) if len == size + 2 => Probe::Likely,
        (true, _) if first.has_port_of(&PORTS) => Probe::Certain,
        (false, 307) if bytes.first() == Some(&4) && first.has_port_of(&PORTS) => Probe::Likely,
        _ => Probe::NotForUs,
    }
}

/// Bitcoin and its kin: the network's magic, and a command padded with zeros.
pub(super) fn bitcoin(first: &First<'_>) -> Probe {
    const HEADER_BYTES: usize = 24;
    const MAGICS: [[u8; 4]; 9] = [
        [0xf9, 0xbe, 0xb4, 0xd9],
        [0x0b, 0x11, 0x09, 0x07],
        [0xfa, 0xbf, 0xb5, 0xda],
        [0x0a, 0x03, 0xcf, 0x40],
        [0x1c, 0x16, 0x3f, 0x28],
        // Bitcoin Cash, Litecoin, Dogecoin, Namecoin.
        [0xe3, 0xe1, 0xf3, 0xe8],
        [0xfb, 0xc0, 0xb6, 0xdb],
        [0xc0, 0xc0, 0xc0, 0xc0],
        [0xf9, 0xbe, 0xb4, 0xfe],
    ];
    let bytes = first.bytes;
    let start = bytes.get(..4).unwrap_or(bytes);
    if !MAGICS.iter().any(|magic| magic.starts_with(start)) {
        return Probe::NotForUs;
    }
    let Some(command) = bytes.get(4..16).filter(|_| bytes.len() >= HEADER_BYTES) else {
        return Probe::Unsure;
    };
    let letters =
        command.iter().take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()).count();
    certain_if(letters >= 2 && command.iter().skip(letters).all(|byte| *byte == 0))
}

/// Monero: Levin's signature.
pub(super) fn monero(first: &First<'_>) -> Probe {
    const SIGNATURE: [u8; 8] = [0x01, 0x21, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01];
    starts(first.bytes, &SIGNATURE)
}

/// Nano: its magic with the network's letter.
pub(super) fn nano(first: &First<'_>) -> Probe {
    const HEADER_BYTES: usize = 8;
    let bytes = first.bytes;
    let Some([b'R', network, max, using, min, kind, _, _]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return match bytes {
            [b'R'] | [b'R', b'A'..=b'C' | b'X', ..] if bytes.len() < HEADER_BYTES => unsure_if_stream(first),
            _ => Probe::NotForUs,
        };
    };
    let is_version = min <= using && using <= max && *max < 64 && *max > 0;
    certain_if(matches!(network, b'A'..=b'C' | b'X') && is_version && (2..=16).contains(kind))
}

/// Stratum, the miners' JSON-RPC, in the dialects of Bitcoin, Ethereum and Monero.
pub(super) fn stratum(first: &First<'_>) -> Probe {
    const LOOKED_AT_BYTES: usize = 512;
    const WORDS: [&[u8]; 8] = [
        b"\"mining.",
        b"\"eth_submitLogin\"",
        b"\"eth_submitWork\"",
        b"\"eth_getWork\"",
        b"\"eth_submitHashrate\"",
        b"\"eth_login\"",
        b"\"pass\":\"",
        b"\"job_id\"",
    ];
    let bytes = first.bytes.get(..LOOKED_AT_BYTES).unwrap_or(first.bytes);
    let has = |word: &[u8]| bytes.windows(word.len()).any(|at| at == word);
    let is_rpc = has(b"\"method\"") || has(b"\"result\"") || has(b"\"id\"");
    // A login with a password but without a miner's word is somebody else's.
    let is_login = || has(b"\"login\"") && (has(b"\"agent\"") || has(b"\"pass\""));
    let [dialects @ .., _, job] = &WORDS;
    if is_rpc && (dialects.iter().any(|word| has(word)) || is_login() || has(job) && has(b"\"target\"")) {
        return Probe::Certain;
    }
    // The first line is not there yet.
    if first.bytes.len() < LOOKED_AT_BYTES && !first.bytes.contains(&b'\n') && first.bytes.len() < 16 {
        return Probe::Unsure;
    }
    Probe::NotForUs
}

/// Trackers over UDP (BEP 15): the magic of a connection, or an exact exchange of sizes after it.
pub(super) fn tracker(first: &First<'_>) -> Probe {
    const PROTOCOL: [u8; 8] = [0, 0, 0x04, 0x17, 0x27, 0x10, 0x19, 0x80];
    let bytes = first.bytes;
    certain_if(bytes.starts_with(&PROTOCOL) && bytes.len() >= 16 && be32(bytes, 8) == Some(0))
}

/// Local service discovery of BitTorrent (BEP 14).
pub(super) fn local_discovery(first: &First<'_>) -> Probe {
    starts(first.bytes, b"BT-SEARCH * HTTP/1.1\r\n")
}

/// uTP (BEP 29): a connection begins with SYN; each side's numbers fit the other's.
pub(super) fn utp(first: &First<'_>) -> Probe {
    const HEADER_BYTES: usize = 20;
    const SYN: u8 = 0x41;
    /// How far what is acknowledged may be behind what was sent last.
    const WINDOW: u16 = 64;
    let bytes = first.bytes;
    // Type and version; a window that a peer can have; the first extension, a bit mask in words.
    let is_header = |bytes: &[u8]| {
        let [kind, extension, ..] = bytes else { return false };
        let has_words =
            matches!(bytes.get(20..22), Some([next, length]) if *next <= 2 && length % 4 == 0 && *length > 0);
        let has_window = be32(bytes, 12).is_some_and(|window| window < 1 << 26);
        kind & 0x0f == 1 && kind >> 4 <= 4 && *extension <= 2 && has_window && (*extension == 0 || has_words)
    };
    if bytes.len() < HEADER_BYTES || !is_header(bytes) {
        return Probe::NotForUs;
    }
    let word = |bytes: &[u8], offset: usize| be16(bytes, offset).unwrap_or(0);
    let (sequence, acknowledged) = (word(bytes, 16), word(bytes, 18));
    let other = first.other.head();
    if first.other.len >= HEADER_BYTES as u32 && is_header(other) {
        // The responder sends under the number of the SYN, the initiator under the next.
        let apart = word(bytes, 2).wrapping_sub(word(other, 2));
        let behind = word(other, 16).wrapping_sub(acknowledged);
        let is_pair = matches!(apart, 0 | 1 | u16::MAX) && (behind <= WINDOW || behind >= u16::MAX - WINDOW);
        return if is_pair && (other.first() == Some(&SYN) || apart != 0) {
            Probe::Certain
        } else {
            Probe::NotForUs
        };
    }
    // In the middle of a connection of which one side is seen, time and sequence go on under the same number.
    const APART_MICROSECONDS_MAX: u32 = 60_000_000;
    let before = first.before.head();
    if first.before.len >= HEADER_BYTES as u32 && is_header(before) {
        let time = |bytes: &[u8]| be32(bytes, 4).unwrap_or(0);
        let elapsed = time(bytes).wrapping_sub(time(before));
        let sent = sequence.wrapping_sub(word(before, 16));
        let is_alike = bytes.get(1) == before.get(1) && be32(bytes, 12) != Some(0);
        let goes_on =
            is_alike && word(bytes, 2) == word(before, 2) && (1..=APART_MICROSECONDS_MAX).contains(&elapsed);
        return if goes_on && sent <= WINDOW { Probe::Likely } else { Probe::NotForUs };
    }
    let is_first = bytes.first() == Some(&SYN) && bytes.get(1) == Some(&0) && bytes.len() == HEADER_BYTES;
    if is_first && sequence == 1 && acknowledged == 0 { Probe::Likely } else { Probe::NotForUs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::{Carrier, Glimpse};
    use weir_common::net::Direction;

    fn udp(bytes: &[u8]) -> First<'_> {
        First::of(Carrier::Datagram, Direction::Forward, bytes)
    }

    fn tcp(bytes: &[u8]) -> First<'_> {
        First::of(Carrier::Stream, Direction::Forward, bytes)
    }

    #[test]
    fn each_network_is_known_by_its_own_bytes() {
        let soap = b"<?xml?><s:Envelope xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\">";
        assert_eq!(ws_discovery(&udp(soap)), Probe::Certain);
        let request = [&[2, 1, 0, 0, 18, 0, 0, 0, 0, 0, 0, 7, 0, 2][..], b"en\0\0"].concat();
        assert_eq!(slp(&udp(&request)), Probe::Certain);
        assert_eq!(slp(&udp(&request[..17])), Probe::NotForUs);
        assert_eq!(nat_pmp(&udp(&[0, 0]).between(40_000, 5351)), Probe::Certain);
        assert_eq!(nat_pmp(&udp(&[0, 0]).between(40_000, 5352)), Probe::NotForUs);
        let mut hello = vec![0xe3, 26, 0, 0, 0, 1];
        hello.resize(31, 7);
        assert_eq!(edonkey(&tcp(&hello)), Probe::Certain);
        assert_eq!(gnutella(&tcp(b"GNUTELLA CONNECT/0.6\r\n")), Probe::Certain);
        assert_eq!(gnutella(&tcp(b"GNUT")), Probe::Unsure);
        assert_eq!(gnutella(&udp(b"GND\x10\x40\x94\x01\x01T\x0bQKRP")), Probe::Certain);
        let mut ping = vec![9; 97];
        ping[96] = 1;
        ping.extend_from_slice(&[1, 0xc3, 4, 5, 6]);
        assert_eq!(ethereum(&udp(&ping)), Probe::Certain);
        let mut auth = vec![1, 0x2c, 4];
        auth.resize(302, 9);
        assert_eq!(ethereum(&tcp(&auth).between(40_000, 30_303)), Probe::Certain);
        let version = [&[0xf9, 0xbe, 0xb4, 0xd9][..], b"version\0\0\0\0\0", &[0; 8]].concat();
        assert_eq!(bitcoin(&tcp(&version)), Probe::Certain);
        assert_eq!(bitcoin(&tcp(&version[..20])), Probe::Unsure);
        assert_eq!(monero(&tcp(&[1, 0x21, 1, 1, 1, 1, 1, 1, 6])), Probe::Certain);
        assert_eq!(nano(&tcp(&[b'R', b'C', 18, 18, 18, 2, 0, 0])), Probe::Certain);
        assert_eq!(
            stratum(&tcp(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n")),
            Probe::Certain
        );
        assert_eq!(stratum(&tcp(b"{\"id\":1,\"method\":\"hello\",\"params\":[]}\n")), Probe::NotForUs);
        let connect = [&[0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80][..], &[0; 8]].concat();
        assert_eq!(tracker(&udp(&connect)), Probe::Certain);
        assert_eq!(
            local_discovery(&udp(b"BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\n")),
            Probe::Certain
        );
        let syn = [0x41, 0, 0x30, 0x39, 1, 2, 3, 4, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0];
        let acknowledged = |state: &mut [u8; 20]| state[19] = 1;
        assert_eq!(utp(&udp(&syn)), Probe::Likely);
        let mut state = syn;
        state[0] = 0x21;
        acknowledged(&mut state);
        let answered = First { other: Glimpse::of(&syn), ..udp(&state) };
        assert_eq!(utp(&answered), Probe::Certain);
    }

    #[test]
    fn none_of_them_takes_others_bytes_or_panics() {
        let others: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &[0; 128],
            &[0xff; 128],
            &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4],
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}\n",
        ];
        let probes = [
            ws_discovery,
            slp,
            nat_pmp,
            edonkey,
            gnutella,
            ethereum,
            bitcoin,
            monero,
            nano,
            stratum,
            tracker,
            local_discovery,
            utp,
        ];
        for probe in probes {
            for bytes in others {
                for cut in 0..=bytes.len() {
                    for first in [udp(&bytes[..cut]), tcp(&bytes[..cut])] {
                        assert!(!matches!(probe(&first), Probe::Certain | Probe::Likely), "{bytes:?}");
                    }
                }
            }
        }
    }
}
