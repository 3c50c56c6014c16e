//! Telephones, conferences and what carries pictures and sound, outside SIP and RTP.
//!
//! In: first bytes. Out: whether they are one of these.

use super::*;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::Bfcp, Starts::both(&BFCP_STARTS), bfcp),
    line(App::H323, Starts::both(b"\x03\x00\x02\x04\x06\x08\x0a\x0c\x0e\x10\x12\x14\x16\x18\x1a"), h323),
    line(App::Iax2, Starts::datagram(&HIGH_HALF), iax2),
    line(App::Sccp, Starts::stream(&WORDS_STARTS), sccp),
    line(App::Mumble, Starts::datagram(b"\x00"), mumble),
    line(App::Teamspeak, Starts::datagram(b"T\xf4"), teamspeak),
    line(App::Mpegts, Starts::both(b"\x47"), mpegts),
    line(App::Flute, Starts::datagram(&FLUTE_STARTS), flute),
    line(App::Rtmp, Starts::stream(b"\x03"), rtmp),
    line(App::Smpp, Starts::stream(b"\x00"), smpp),
];

const BFCP_STARTS: [u8; 8] = [0x20, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0x58];

/// RFC 8855 section 5.1: version, a primitive, a length in words that fits, attributes that tile.
fn bfcp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some([version, primitive, high, low, ..]) = bytes.first_chunk::<12>() else { return too_few(first) };
    let len = 12 + usize::from(u16::from_be_bytes([*high, *low])) * 4;
    let is_fragment = version & 8 != 0;
    if version & 7 != 0 || !(1..=18).contains(primitive) || is_fragment && first.is_stream() || len > 4096 {
        return Probe::NotForUs;
    }
    let Some(message) = bytes.get(..len) else { return too_few(first) };
    // An attribute is padded to whole words.
    let attribute = |bytes: &[u8]| {
        let len = usize::from(u8_at(bytes, 1)?);
        (len >= 2).then(|| len.next_multiple_of(4))
    };
    let fits = first.is_stream() || len == bytes.len();
    // Greetings, farewells and acknowledgements may have no attribute.
    let is_empty = len == 12;
    if is_empty && !matches!(primitive, 7 | 8 | 11 | 14..=18) {
        return Probe::NotForUs;
    }
    certain(fits && be32(bytes, 4) != Some(0) && (is_fragment || tiles(message, 12, attribute).is_some()))
}

/// Q.931 in TPKT (H.225.0 call signalling), and the gatekeeper's datagrams that name the protocol (H.225.0 annex H).
fn h323(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if first.is_datagram() {
        // Length and value of the object identifier 0.0.8.2250.0.VERSION.
        const PROTOCOL: &[u8] = &[6, 0, 8, 0x91, 0x4a, 0];
        return certain(holds(head(bytes, 16), PROTOCOL));
    }
    match bytes {
        [] | [3] | [3, 0] | [3, 0, _] | [3, 0, _, _] => Probe::Unsure,
        [3, 0, high, low, 8, rest @ ..] => {
            let len = u16::from_be_bytes([*high, *low]);
            match rest {
                _ if len < 12 => Probe::NotForUs,
                [] => Probe::Unsure,
                // The call reference, then the kind of message.
                [reference @ 1..=4, rest @ ..] => match rest.get(usize::from(*reference)) {
                    Some(1..=15 | 0x4d | 0x5a | 0x62 | 0x6e | 0x75 | 0x7b | 0x7d) => Probe::Certain,
                    Some(_) => Probe::NotForUs,
                    None => Probe::Unsure,
                },
                _ => Probe::NotForUs,
            }
        }
        _ => Probe::NotForUs,
    }
}

const HIGH_HALF: [u8; 128] = {
    let (mut bytes, mut at) = ([0; 128], 0);
    while at < 128 {
        bytes[at] = 128 + at as u8;
        at += 1;
    }
    bytes
};

/// RFC 5456 section 8.1.1: a full frame of control whose elements tile.
fn iax2(first: &First<'_>) -> Probe {
    let Some([source_high, source_low, destination, _, _, _, _, _, _, _, kind, subclass]) =
        first.bytes.first_chunk::<12>()
    else {
        return Probe::NotForUs;
    };
    let element = |bytes: &[u8]| {
        let kind = u8_at(bytes, 0)?;
        (1..=0x40).contains(&kind).then_some(usize::from(u8_at(bytes, 1)?) + 2)
    };
    let is_so = (source_high & 0x7f != 0 || *source_low != 0)
        && *kind == 6
        && (1..=0x28).contains(subclass)
        && tiles(first.bytes, 12, element).is_some();
    let is_new =
        *subclass == 1 && destination & 0x7f == 0 && first.bytes.get(12..16) == Some(&[0x0b, 2, 0, 2]);
    if is_so && is_new { Probe::Certain } else { likely_on(first, &[4569], is_so) }
}

/// The first byte of a length in whole words, little-endian.
const WORDS_STARTS: [u8; 64] = {
    let (mut bytes, mut at) = ([0; 64], 0);
    while at < 64 {
        bytes[at] = 4 * at as u8;
        at += 1;
    }
    bytes
};

/// Cisco's Skinny: length, version of the header, a message, all little-endian.
fn sccp(first: &First<'_>) -> Probe {
    const PORTS: &[u16] = &[2000, 2443];
    if !first.has_port_of(PORTS) {
        return Probe::NotForUs;
    }
    let bytes = first.bytes;
    let (Some(len), Some(version), Some(message)) = (le32(bytes, 0), le32(bytes, 4), le32(bytes, 8)) else {
        return if bytes.get(2..4).is_none_or(|high| high == [0, 0]) {
            Probe::Unsure
        } else {
            Probe::NotForUs
        };
    };
    let is_known = message <= 0x0160 || (0x8000..0x8010).contains(&message);
    certain((4..=4096).contains(&len) && len.is_multiple_of(4) && version <= 0x16 && is_known)
}

/// Mumble's ping (its protocol's section on UDP): twelve bytes and an answer of twenty-four that repeats its number.
fn mumble(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if bytes.len() == 12 {
        return likely_on(first, &[64_738], bytes.starts_with(&[0; 4]) && be64(bytes, 4) != Some(0));
    }
    let repeats = bytes.get(4..12).is_some_and(|number| first.other.head().get(4..12) == Some(number));
    certain(
        bytes.len() == 24 && first.other.len == 12 && repeats && bytes.get(1).is_some_and(|byte| *byte <= 2),
    )
}

/// TeamSpeak 3's first packet, and TeamSpeak 2's classes of messages.
fn teamspeak(first: &First<'_>) -> Probe {
    match first.bytes {
        [b'T', ..] => certain(first.bytes.starts_with(b"TS3INIT1")),
        [0xf4, 0xbe, 1..=4, 0, ..] => certain(first.bytes.len() >= 24),
        _ => Probe::NotForUs,
    }
}

/// ISO 13818-1 section 2.4.3: packets of 188 bytes, each with its sync byte.
fn mpegts(first: &First<'_>) -> Probe {
    const PACKET: usize = 188;
    let bytes = first.bytes;
    let is_synced = bytes.iter().step_by(PACKET).all(|byte| *byte == 0x47);
    if !is_synced {
        return Probe::NotForUs;
    }
    if first.is_stream() {
        return if bytes.len() > 2 * PACKET { Probe::Certain } else { Probe::Unsure };
    }
    match bytes.len() / PACKET {
        _ if !bytes.len().is_multiple_of(PACKET) => Probe::NotForUs,
        // Another such packet went before it.
        1 if first.before.len == PACKET as u32 && first.before.head().first() == Some(&0x47) => {
            Probe::Certain
        }
        0 | 1 => Probe::NotForUs,
        _ => Probe::Certain,
    }
}

const FLUTE_STARTS: [u8; 16] = {
    let (mut bytes, mut at) = ([0; 16], 0);
    while at < 16 {
        bytes[at] = 0x10 + at as u8;
        at += 1;
    }
    bytes
};

/// RFC 5651 section 5.1 and RFC 6726 section 3.4: an LCT header whose extensions tile, one of them a file delivery
/// table's, or one that describes the coding of an object.
fn flute(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some([version, flags, words, _]) = bytes.first_chunk::<4>() else { return Probe::NotForUs };
    let (control, source) = (usize::from(version >> 2 & 3), usize::from(*flags));
    let (has_session, object, half) = (source >> 7, source >> 5 & 3, source >> 4 & 1);
    let fixed = 4 + 4 * (control + 1) + 4 * has_session + 2 * half + 4 * object + 2 * half;
    let Some(extensions) = bytes.get(fixed..usize::from(*words) * 4) else { return Probe::NotForUs };
    let (mut has_table, mut has_coding) = (false, false);
    let tiled = tiles(extensions, 0, |bytes| {
        let kind = u8_at(bytes, 0)?;
        if kind >= 128 { Some(4) } else { Some(usize::from(u8_at(bytes, 1)?) * 4) }
    });
    let mut at = 0;
    while let (Some(_), Some(kind)) = (tiled, u8_at(extensions, at)) {
        has_table |= kind == 192 && matches!(u8_at(extensions, at + 1).map(|byte| byte >> 4), Some(1 | 2));
        has_coding |= kind == 64;
        at += if kind >= 128 { 4 } else { usize::from(u8_at(extensions, at + 1).unwrap_or(1)).max(1) * 4 };
    }
    match (tiled.is_some(), has_table, has_coding) {
        (true, true, _) => Probe::Certain,
        (true, false, true) => Probe::Likely,
        _ => Probe::NotForUs,
    }
}

/// Adobe's RTMP section 5.2: version 3, a time, four bytes that are zero or a player's version, noise.
fn rtmp(first: &First<'_>) -> Probe {
    /// Version, and the first packet of the handshake.
    const HELLO_BYTES: usize = 1537;
    let bytes = first.bytes;
    let Some([a, b, c, d]) = array_at::<4>(bytes, 5) else { return Probe::Unsure };
    let is_player = matches!(a, 9..=32 | 128) && c < 128 && b < 128;
    let is_zero = [a, b, c, d] == [0; 4];
    // A TPKT has its length here, and a record of TLS's oldest form its kind.
    let is_beginning = is_zero || is_player && first.has_port(1935);
    if !is_beginning {
        return Probe::NotForUs;
    }
    if first.has_port(1935) {
        return Probe::Certain;
    }
    if bytes.len() < HELLO_BYTES {
        return Probe::Unsure;
    }
    // The noise: nothing that has structure has so few zeros.
    let zeros = bytes.get(9..265).map_or(256, |noise| noise.iter().filter(|byte| **byte == 0).count());
    if zeros < 96 { Probe::Likely } else { Probe::NotForUs }
}

/// SMPP 5.0 section 3.2: length, a command, a status, a sequence number, all big-endian.
fn smpp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some(len) = be32(bytes, 0) else {
        return if head(bytes, 2).iter().all(|byte| *byte == 0) { Probe::Unsure } else { Probe::NotForUs };
    };
    if !(16..=4096).contains(&len) {
        return Probe::NotForUs;
    }
    let (Some(command), Some(status), Some(sequence)) = (be32(bytes, 4), be32(bytes, 8), be32(bytes, 12))
    else {
        return Probe::Unsure;
    };
    let is_response = command >> 31 == 1;
    let is_known =
        matches!(command & 0x7fff_ffff, 0..=9 | 0x0b | 0x15 | 0x21 | 0x0102 | 0x0103 | 0x0111..=0x0113);
    if !is_known || !is_response && status != 0 || status > 0x0fff || sequence == 0 || sequence > 0x7fff_ffff
    {
        return Probe::NotForUs;
    }
    let Some(body) = bytes.get(16..len as usize) else { return Probe::Unsure };
    // A bind begins with the system's name, at most fifteen characters.
    if matches!(command, 1 | 2 | 9) {
        let name = head(body, 16).iter().position(|byte| *byte == 0);
        return certain(name.is_some_and(|end| is_text(head(body, end))));
    }
    certain_on(first, &[2775], bytes.len() == len as usize || first.has_port(2775))
}
