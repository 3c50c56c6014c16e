//! Games and the transports that games share.
//!
//! In: first bytes. Out: whether they are one of these.

use super::*;

pub(super) const TABLE: &[Recogniser] = &[
    line(
        App::Raknet,
        Starts::datagram(b"\x01\x02\x05\x06\x07\x08\x19\x1a\x1c\x80\x84\x88\x8c\xa0\xc0"),
        raknet,
    ),
    line(App::SourceEngine, Starts::datagram(b"\xff\xfe"), source_engine),
    line(App::Quake3, Starts::datagram(b"\xff"), quake),
    line(App::Steam, Starts::datagram(b"\xffV").or(Starts::STREAM), steam),
    line(App::Minecraft, Starts::stream(&MINECRAFT_STARTS), minecraft),
    line(App::Worldofwarcraft, Starts::stream(b"\x30\x00"), world_of_warcraft),
    line(App::Starcraft, Starts::stream(b"\x4a"), |first| {
        begins(first, b"\x4a\0\0\x0a\x66\x02\x0a\xed\x2d\x66")
    }),
    line(App::HeroesOfTheStorm, Starts::datagram(b"\x00"), heroes_of_the_storm),
    line(App::Genshinimpact, Starts::DATAGRAM, genshin_impact),
    line(App::Kcp, Starts::DATAGRAM, kcp),
    line(App::Nintendo, Starts::datagram(b"\x32"), |first| begins(first, b"\x32\xab\x98\x64")),
    line(App::Yojimbo, Starts::datagram(b"\x00"), |first| begins(first, b"\0NETCODE 1.")),
    line(App::Maplestory, Starts::stream(b"\x0e"), maple_story),
    line(App::Tencentgames, Starts::stream(b"\x33"), tencent),
    line(App::TesOnline, Starts::stream(b"\x00"), tes_online),
];

/// RakNet's messages before a connection hold sixteen bytes that mark them; in one, frames and acknowledgements tile.
fn raknet(first: &First<'_>) -> Probe {
    const MARK: &[u8; 16] = b"\0\xff\xff\0\xfe\xfe\xfe\xfe\xfd\xfd\xfd\xfd\x12\x34\x56\x78";
    let at = match first.bytes.first() {
        Some(0x80 | 0x84 | 0x88 | 0x8c) => {
            let frames = tiles(first.bytes, 4, raknet_frame).is_some_and(|count| count > 0);
            return if frames { Probe::Likely } else { Probe::NotForUs };
        }
        Some(0xa0 | 0xc0) => {
            let ranges = tiles(first.bytes, 3, |bytes| Some(if u8_at(bytes, 0)? == 0 { 7 } else { 4 }));
            let is_so =
                ranges.is_some_and(|count| count > 0 && be16(first.bytes, 1).map(usize::from) == Some(count));
            let are_kinds = u8_at(first.bytes, 3).is_some_and(|kind| kind <= 1);
            return if is_so && are_kinds { Probe::Likely } else { Probe::NotForUs };
        }
        Some(1 | 2) => 9,
        Some(0x1c) => 17,
        Some(0x19) => 2,
        _ => 1,
    };
    certain(array_at::<16>(first.bytes, at).as_ref() == Some(MARK))
}

/// A frame in a connected datagram: flags with a reliability, a length in bits, numbers, a part of a message.
fn raknet_frame(bytes: &[u8]) -> Option<usize> {
    let (flags, bits) = (u8_at(bytes, 0)?, be16(bytes, 1)?);
    let reliability = flags >> 5;
    let is_reliable = matches!(reliability, 2 | 3 | 4 | 6 | 7);
    let is_ordered = matches!(reliability, 1 | 3 | 4 | 7);
    let numbers = if is_reliable { 3 } else { 0 }
        + if matches!(reliability, 1 | 4) { 3 } else { 0 }
        + if is_ordered { 4 } else { 0 }
        + if flags & 0x10 != 0 { 10 } else { 0 };
    (flags & 0x0f == 0 && bits > 0).then(|| 3 + numbers + usize::from(bits).div_ceil(8))
}

/// Valve's server queries: a connectionless mark, then the question or the answer.
fn source_engine(first: &First<'_>) -> Probe {
    match first.bytes {
        [0xff, 0xff, 0xff, 0xff, b'T', rest @ ..] => certain(rest.starts_with(b"Source Engine Query\0")),
        // A challenge, and the questions that carry it.
        [0xff, 0xff, 0xff, 0xff, b'A' | b'U' | b'V' | b'W', challenge @ ..] => {
            if challenge.len() == 4 {
                Probe::Likely
            } else {
                Probe::NotForUs
            }
        }
        // Information: the protocol, the server's name, its map, its folder, each a text.
        [0xff, 0xff, 0xff, 0xff, b'I', 2..=63, texts @ ..] => {
            certain(texts.iter().filter(|byte| **byte == 0).count() >= 4 && texts.len() >= 16)
        }
        _ => Probe::NotForUs,
    }
}

/// Quake 3 and its kin: a connectionless mark and a word.
fn quake(first: &First<'_>) -> Probe {
    const WORDS: [&[u8]; 12] = [
        b"getstatus",
        b"statusResponse",
        b"getinfo",
        b"infoResponse",
        b"getchallenge",
        b"challengeResponse",
        b"connectResponse",
        b"getservers",
        b"getserversResponse",
        b"getKeyAuthorize",
        b"disconnect",
        b"print\n",
    ];
    match first.bytes {
        [0xff, 0xff, 0xff, 0xff, word @ ..] => certain(WORDS.iter().any(|known| word.starts_with(known))),
        _ => Probe::NotForUs,
    }
}

/// The client's search for others at home, and the connection to Valve's servers (a length, then a mark).
fn steam(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if first.is_datagram() {
        return certain(bytes.starts_with(b"\xff\xff\xff\xff\x21\x4c\x5f\xa0") || bytes.starts_with(b"VS01"));
    }
    match bytes.get(2..4) {
        // A message of this protocol is never so long.
        Some([_, 1..=255]) => return Probe::NotForUs,
        None => return Probe::Unsure,
        Some(_) => {}
    }
    match bytes.get(4..8) {
        Some(mark) => certain(mark == b"VT01"),
        None if b"VT01".starts_with(bytes.get(4..).unwrap_or_default()) => Probe::Unsure,
        None => Probe::NotForUs,
    }
}

const MINECRAFT_STARTS: [u8; 127 - 6] = {
    let (mut bytes, mut at) = ([0; 127 - 6], 0);
    while at < bytes.len() {
        bytes[at] = 7 + at as u8;
        at += 1;
    }
    bytes
};

/// The handshake: length, packet 0, version, the server's name, port, what is wanted next.
fn minecraft(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let (Some(len), Some(0)) = (u8_at(bytes, 0), u8_at(bytes, 1)) else {
        return if bytes.len() < 2 { Probe::Unsure } else { Probe::NotForUs };
    };
    // The version has seven bits a byte; its first was 3, and test versions begin at 2^30.
    let version = bytes.iter().skip(2).take(5).take_while(|byte| **byte >= 0x80).count() + 1;
    let Some(name_len) = u8_at(bytes, 2 + version) else {
        return if version <= 5 { Probe::Unsure } else { Probe::NotForUs };
    };
    if usize::from(name_len) + version + 5 != usize::from(len) || name_len == 0 {
        return Probe::NotForUs;
    }
    let Some([name @ .., _, _, next]) = bytes.get(3 + version..1 + usize::from(len)) else {
        return Probe::Unsure;
    };
    // Forge adds marks of its own behind a NUL. What is none (MySQL's OK) begins with one.
    let is_name = name.first().is_some_and(u8::is_ascii_graphic)
        && name.iter().all(|byte| matches!(byte, b'!'..=b'~' | 0));
    certain(matches!(next, 1..=3) && is_name)
}

/// The world server's greeting behind its length, and the login's challenge.
fn world_of_warcraft(first: &First<'_>) -> Probe {
    const GREETING: &[u8] = b"\x30\0WORLD OF WARCRAFT CONNECTION";
    if first.bytes.first() == Some(&0x30) {
        return begins(first, GREETING);
    }
    match (u8_at(first.bytes, 1), first.bytes.get(4..8)) {
        (None, _) | (Some(3 | 8), None) => Probe::Unsure,
        (Some(3 | 8), Some(b"WoW\0")) => Probe::Certain,
        _ => Probe::NotForUs,
    }
}

/// Fourteen zeros and two bytes, on Battle.net's ports.
fn heroes_of_the_storm(first: &First<'_>) -> Probe {
    let is_so = matches!(first.bytes.split_at_checked(14), Some(([0, zeros @ ..], [0x40, 0 | 0x10, ..])) if zeros.iter().all(|byte| *byte == 0));
    certain(is_so && first.bytes.len() >= 20 && first.has_port_of(&[1119, 3724, 6113]))
}

/// A segment of KCP from its command on: its length, when it is one.
fn kcp_segment(bytes: &[u8]) -> Option<usize> {
    let window = le16(bytes, 2)?;
    let len = le32(bytes, 16)?;
    let is_so = matches!(u8_at(bytes, 0)?, 81..=84) && window > 0 && len <= 2048;
    is_so.then_some(len as usize + 20)
}

/// KCP (skywind3000's): a conversation's number, then segments that tile.
fn kcp(first: &First<'_>) -> Probe {
    let segment = |bytes: &[u8]| Some(kcp_segment(bytes.get(4..)?)? + 4);
    certain(tiles(first.bytes, 0, segment).is_some_and(|count| count > 0))
}

/// A handshake of its own, and KCP with a token behind the conversation's number.
fn genshin_impact(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if bytes.len() == 20 {
        let marks = (be32(bytes, 0), be32(bytes, 16));
        return certain(matches!(
            marks,
            (Some(0xff), Some(0xffff_ffff))
                | (Some(0x145), Some(0x1451_4545))
                | (Some(0x194), Some(0x1941_9494))
        ));
    }
    let segment = |bytes: &[u8]| Some(kcp_segment(bytes.get(8..)?)? + 8);
    certain(tiles(bytes, 0, segment).is_some_and(|count| count > 0))
}

/// The server's greeting: length, version, patch, numbers.
fn maple_story(first: &First<'_>) -> Probe {
    match first.bytes.get(..7) {
        Some([0x0e, 0, _, 0, 1, 0, b'0'..=b'9']) => certain(first.bytes.len() == 16),
        Some(_) => Probe::NotForUs,
        None => Probe::Unsure,
    }
}

/// Tencent's gateway (TGCP): a mark and two versions.
fn tencent(first: &First<'_>) -> Probe {
    match first.bytes.get(..6) {
        Some([0x33, 0x66, 0, 9..=11, 0, 9..=11]) => Probe::Certain,
        None if head(b"\x33\x66\0", first.bytes.len()) == head(first.bytes, 3) => Probe::Unsure,
        _ => Probe::NotForUs,
    }
}

/// The login: two lengths, one within the other, on the servers' ports.
fn tes_online(first: &First<'_>) -> Probe {
    let is_port = |port: u16| (24_100..=24_331).contains(&port) || (24_500..=24_507).contains(&port);
    let bytes = first.bytes;
    if !is_port(first.source_port) && !is_port(first.destination_port) {
        return Probe::NotForUs;
    }
    let (Some(outer), Some(kind), Some(inner)) = (be32(bytes, 0), be32(bytes, 4), be32(bytes, 8)) else {
        return Probe::Unsure;
    };
    let fits = outer == inner.saturating_add(8) && kind == 0x0001_0001;
    if fits && outer as usize + 4 > bytes.len() && outer < 2048 {
        return Probe::Unsure;
    }
    if fits && bytes.len() == outer as usize + 4 { Probe::Likely } else { Probe::NotForUs }
}
