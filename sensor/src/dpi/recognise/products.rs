//! Products with a protocol of their own: assistants, appliances, remote access, messengers.
//!
//! In: first bytes. Out: whether they are one of these. Marks are public knowledge: the products' own sources,
//! documents by those who took them apart, and dissectors' descriptions.

use super::*;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::Dropbox, Starts::datagram(b"{"), dropbox),
    line(App::Spotify, Starts::datagram(b"S").or(Starts::stream(b"\x00")), spotify),
    line(App::Teamviewer, Starts::both(b"\x17\x11\x00"), teamviewer),
    line(App::Whatsapp, Starts::stream(b"WE"), whatsapp),
    line(App::Discord, Starts::datagram(b"\x00"), discord),
    line(App::Avast, Starts::stream(b"N"), avast),
    line(App::Alicloud, Starts::stream(b"\xce"), |first| begins(first, b"\xce\xfa\xbe\xba")),
    line(App::SdRtn, Starts::DATAGRAM, sd_rtn),
    line(App::Nestlogsink, Starts::STREAM, nest_log_sink),
    line(App::Tuyalp, Starts::both(b"\x00"), tuya),
    line(App::Bjnp, Starts::datagram(b"BM"), bjnp),
    line(App::TplinkShp, Starts::datagram(b"\xd0").or(Starts::stream(b"\x00")), tplink),
    line(App::HpVirtgrp, Starts::stream(b"\x16\x17"), hp_virtgrp),
    line(App::Ubntac2, Starts::datagram(b"\x01\x02"), ubiquiti),
    line(App::Ripeatlas, Starts::both(b"M"), |first| begins(first, b"MGLNDD_")),
    line(App::Xiaomi, Starts::stream(b"\xc2").or(Starts::datagram(b"!")), xiaomi),
    line(App::Softether, Starts::datagram(b"I\x00"), softether),
    line(App::Zoom, Starts::datagram(b"\x01\x02\x03\x04\x05\x1f"), zoom),
    line(App::Citrix, Starts::stream(b"\x7f\x1a"), |first| {
        begins_one(first, &[b"\x7f\x7fICA\0", b"\x1aCGP/01"])
    }),
    line(App::Ciscovpn, Starts::datagram(b"\x14\x15\x16\x17"), cisco_vpn),
    line(App::Tailscale, Starts::datagram(b"T"), |first| begins(first, "TS💬".as_bytes())),
    line(App::Zerotier, Starts::DATAGRAM, zerotier),
    line(App::Nomachine, Starts::stream(b"N"), |first| begins_one(first, &[b"NXD-", b"NXSH-", b"NXSERVER-"])),
    line(App::Radmin, Starts::stream(b"\x01"), radmin),
    line(App::Vmware, Starts::stream(b"2").or(Starts::datagram(b"\xa4")), vmware),
    line(App::Lotusnotes, Starts::STREAM, lotus_notes),
    line(App::Viber, Starts::DATAGRAM, viber),
    line(App::Oicq, Starts::datagram(b"\x02"), oicq),
    line(App::Eaq, Starts::datagram(b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"), eaq),
    line(App::Merakicloud, Starts::datagram(b"\xfe"), meraki),
    line(App::Ookla, Starts::stream(b"H"), ookla),
    line(App::Cpha, Starts::datagram(b"\x1a"), cpha),
    line(App::Anydesk, Starts::datagram(b">"), anydesk),
];

/// LAN sync's announcement: JSON with the host's number.
fn dropbox(first: &First<'_>) -> Probe {
    let bytes = head(first.bytes, 512);
    let is_so =
        holds(bytes, b"\"host_int\"") && (holds(bytes, b"\"version\"") || holds(bytes, b"\"namespaces\""));
    certain_on(first, &[17_500], is_so)
}

/// The peers' search in the local network, and the access point's packets of old clients.
fn spotify(first: &First<'_>) -> Probe {
    if first.is_datagram() {
        return begins(first, b"SpotUdp");
    }
    match (begins(first, b"\0\x04\0\0"), first.bytes.get(6..9)) {
        (Probe::Certain, Some([0x52, 0x0e | 0x0f, 0x50])) => Probe::Certain,
        (Probe::Certain, None) => Probe::Unsure,
        (Probe::Unsure, _) => Probe::Unsure,
        _ => Probe::NotForUs,
    }
}

/// A mark, a command, and a length that fits; over UDP behind eleven bytes.
fn teamviewer(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if first.is_datagram() {
        let is_so = bytes.first() == Some(&0) && bytes.get(11..13) == Some(&[0x17, 0x24]);
        return if is_so { Probe::Likely } else { Probe::NotForUs };
    }
    match bytes {
        [0x17] | [0x11] => Probe::Unsure,
        [0x11, 0x30, ..] => likely_on(first, &[5938], true),
        [0x17, 0x24, ..] => match (u8_at(bytes, 2), le16(bytes, 3)) {
            (_, None) => Probe::Unsure,
            (Some(1..=0x60), Some(len)) => {
                let next = bytes.get(5 + usize::from(len)..).unwrap_or_default();
                let goes_on = head(&[0x17, 0x24], next.len()) == head(next, 2);
                certain_on(first, &[5938], goes_on && len <= 16_384)
            }
            _ => Probe::NotForUs,
        },
        _ => Probe::NotForUs,
    }
}

/// The client's greeting: `WA` and two small numbers, or what routes to an edge before it.
fn whatsapp(first: &First<'_>) -> Probe {
    match first.bytes {
        [b'W', b'A', 1..=9, 0..=9, 0 | 1, ..] => Probe::Certain,
        [b'W'] | [b'W', b'A'] | [b'W', b'A', 1..=9] | [b'W', b'A', 1..=9, 0..=9] => Probe::Unsure,
        [b'E', ..] => begins(first, b"ED\0\x01\0\0"),
        _ => Probe::NotForUs,
    }
}

/// Discovery of one's address before speech: type, length 70, a source's number, text and port.
fn discord(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let [0, kind @ (1 | 2), 0, 70, rest @ ..] = bytes else { return Probe::NotForUs };
    let Some(text) = rest.get(4..68) else { return Probe::NotForUs };
    let is_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | 0);
    let fits = if *kind == 1 { text.iter().all(|byte| *byte == 0) } else { text.iter().all(is_address) };
    certain(bytes.len() == 74 && fits)
}

fn avast(first: &First<'_>) -> Probe {
    match (begins(first, b"NOSA"), be16(first.bytes, 5)) {
        (Probe::Certain, Some(len)) => certain((8..=8192).contains(&len)),
        (Probe::Certain, None) => Probe::Unsure,
        (said, _) => said,
    }
}

/// Agora's network: a packet that opens, with the server's name, and its answer.
fn sd_rtn(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let is_so = bytes.get(4..6) == Some(&[0, 0])
        && matches!(u8_at(bytes, 6), Some(0x21 | 0x23))
        && matches!(bytes.get(13..17), Some(b"SNI\0" | b"PEID"));
    certain(is_so)
}

/// Weave over TCP: a length that fits, the header's version, and node numbers with Nest's prefix.
fn nest_log_sink(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    match bytes.get(2..4) {
        None => return Probe::Unsure,
        Some([0, 0x10 | 0x13]) => {}
        Some(_) => return Probe::NotForUs,
    }
    let Some(nodes) = bytes.get(8..24) else { return Probe::Unsure };
    certain(holds(nodes, &[0x30, 0xb4, 0x18]) && le16(bytes, 0).is_some_and(|len| len >= 24))
}

/// A mark at both ends, a sequence, a command, a length that fits.
fn tuya(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    match begins_one(first, &[b"\0\0\x55\xaa", b"\0\0\x66\x99"]) {
        Probe::Certain => {}
        said => return said,
    }
    let at = if bytes.get(2) == Some(&0x55) { 12 } else { 14 };
    match be32(bytes, at) {
        None => too_few(first),
        Some(len) if first.is_datagram() => certain((len as usize) < bytes.len() && len >= 8),
        Some(len) => certain((8..=8192).contains(&len)),
    }
}

/// Canon's printers: a mark, a device, a command, a length that fits.
fn bjnp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let has_mark =
        ["BJNP", "BJNB", "BNJB", "BJNQ", "MFNP"].iter().any(|mark| bytes.starts_with(mark.as_bytes()));
    let fits = be32(bytes, 12).is_some_and(|len| len as usize + 16 == bytes.len());
    certain(has_mark && fits)
}

/// The smart home protocol: JSON of which each byte is masked by the one before, and a length over TCP.
fn tplink(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let masked = if first.is_datagram() {
        bytes
    } else {
        let Some(len) = be32(bytes, 0) else {
            return if head(bytes, 2).iter().all(|byte| *byte == 0) {
                Probe::Unsure
            } else {
                Probe::NotForUs
            };
        };
        if !(4..=65_536).contains(&len) {
            return Probe::NotForUs;
        }
        bytes.get(4..).unwrap_or_default()
    };
    let mut mask = 0xab;
    let mut text = masked.iter().take(16).map(|byte| {
        let plain = byte ^ mask;
        mask = *byte;
        plain
    });
    let begins_object = text.by_ref().take(2).eq(*b"{\"");
    match masked.len() {
        _ if begins_object && text.all(|byte| matches!(byte, b' '..=b'~')) && masked.len() >= 8 => {
            Probe::Certain
        }
        0..2 => too_few(first),
        2..8 if begins_object => too_few(first),
        _ => Probe::NotForUs,
    }
}

/// A kind and the whole length, on its port.
fn hp_virtgrp(first: &First<'_>) -> Probe {
    if !first.has_port(5223) {
        return Probe::NotForUs;
    }
    match be16(first.bytes, 1).map(usize::from) {
        None => Probe::Unsure,
        Some(len) if len > first.bytes.len() && len < 512 => Probe::Unsure,
        Some(len) => likely_on(first, &[5223], len == first.bytes.len() && len >= 32),
    }
}

/// Discovery: version, command, a length that fits, elements of type and length.
fn ubiquiti(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let element = |bytes: &[u8]| Some(usize::from(be16(bytes, 1)?) + 3);
    let fits = be16(bytes, 2).is_some_and(|len| usize::from(len) + 4 == bytes.len());
    let is_so = fits && matches!(u8_at(bytes, 1), Some(0..=16));
    match bytes.len() {
        4 => likely_on(first, &[10_001], is_so),
        _ => certain(
            first.has_port(10_001) && is_so && tiles(bytes, 4, element).is_some_and(|count| count >= 3),
        ),
    }
}

/// The push service's frames, and the appliances' (miIO).
fn xiaomi(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if first.is_stream() {
        return begins(first, b"\xc2\xfe\x00\x05");
    }
    let fits = be16(bytes, 2).is_some_and(|len| usize::from(len) == bytes.len() && len >= 32);
    certain(bytes.starts_with(b"!1") && fits)
}

/// What helps through address translation: the caller's address in text, and packs of named values.
fn softether(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if bytes.first() == Some(&b'I') {
        return certain(bytes.starts_with(b"IP=") && holds(head(bytes, 64), b",PORT="));
    }
    let (Some(1..=64), Some(len @ 2..=64)) = (be32(bytes, 0), be32(bytes, 4)) else { return Probe::NotForUs };
    // The length counts one more than the name has.
    let at = 7 + len as usize;
    let is_name = bytes.get(8..at).is_some_and(|name| {
        name.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
    });
    let is_value = matches!((be32(bytes, at), be32(bytes, at + 4)), (Some(0..=4), Some(1..=64)));
    certain(is_name && is_value)
}

/// The media server's hello and its answer, the clocks' exchange, and the hello between peers.
fn zoom(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let is_port = |port: u16| (8801..=8810).contains(&port);
    let has_port = is_port(first.source_port) || is_port(first.destination_port);
    let is_so = match bytes {
        [0x1f, 2, 1, 0, _, 0, _, 0, _, 0, ..] => return certain(bytes.len() >= 40),
        [1, 0, 2 | 3, _, ..] => bytes.len() >= 80,
        [2, 0, 1..=3, _, ..] => (30..=64).contains(&bytes.len()),
        [3 | 4, 0, 0, 0, ..] => (12..=20).contains(&bytes.len()),
        // Media: a sequence number, then what it carries (a screen, sound, video, or control).
        [5, 0x0d | 0x0f | 0x10 | 0x1e | 0x21, ..] => bytes.len() >= 24,
        _ => false,
    };
    if is_so && has_port { Probe::Certain } else { Probe::NotForUs }
}

/// AnyConnect's DTLS, whose version nobody else sends (0x0100): a record that fits.
fn cisco_vpn(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let fits = be16(bytes, 11).is_some_and(|len| usize::from(len) + 13 <= bytes.len());
    let is_so = bytes.get(1..3) == Some(&[1, 0]) && fits && be16(bytes, 3).is_some_and(|epoch| epoch < 16);
    // A dissector of DTLS may read it.
    if is_so { Probe::Likely } else { Probe::NotForUs }
}

/// ZeroTier's hello, which is not encrypted: flags, the verb, versions.
fn zerotier(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some([verb, protocol, major, minor]) = array_at::<4>(bytes, 27) else { return Probe::NotForUs };
    let is_so = bytes.get(18).is_some_and(|flags| flags & 0x38 == 0)
        && bytes.get(8).is_some_and(|address| *address != 0xff)
        && bytes.get(13).is_some_and(|address| *address != 0xff)
        && verb & 0x1f == 1
        && (4..=16).contains(&protocol)
        && major == 1
        && minor <= 32
        && bytes.len() >= 100;
    certain_on(first, &[9993], is_so)
}

/// A mark, a length, a checksum, data that begins with a command.
fn radmin(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let (Some(len), Some(checksum), Some(command)) = (be32(bytes, 1), be32(bytes, 5), u8_at(bytes, 9)) else {
        return if bytes.iter().skip(1).take(2).all(|byte| *byte == 0) {
            Probe::Unsure
        } else {
            Probe::NotForUs
        };
    };
    let is_so = (1..=1024).contains(&len)
        && checksum <= 0xffff
        && matches!(command, 0x08 | 0x1b | 0x27)
        && bytes.len() == len as usize + 9;
    certain_on(first, &[4899], is_so)
}

/// The authentication daemon's greeting; the host's heartbeat.
fn vmware(first: &First<'_>) -> Probe {
    if first.is_stream() {
        return begins(first, b"220 VMware Authentication Daemon");
    }
    likely_on(first, &[902], first.bytes.len() == 66)
}

/// Notes' first message: eight bytes behind two that vary.
fn lotus_notes(first: &First<'_>) -> Probe {
    const MARK: &[u8; 8] = &[0, 0, 2, 0, 0, 0x40, 2, 0x0f];
    match first.bytes.get(6..14) {
        Some(bytes) => certain(bytes == MARK),
        None if first.has_port(1352) => Probe::Unsure,
        None => Probe::NotForUs,
    }
}

/// Calls and pings, on the ports they use: the third byte's kinds with a length each.
fn viber(first: &First<'_>) -> Probe {
    const PORTS: &[u16] = &[4244, 5242, 5243, 7985, 7987, 9785];
    let is_so = matches!(
        (first.bytes.get(2..4), first.bytes.len()),
        (Some([3, 0]), _)
            | (Some([9, 0]), 20)
            | (Some([1 | 3, _] | [0x19, 0x1b | 0]), 34)
            | (Some([0x1b, 0]), 118)
    );
    likely_on(first, PORTS, is_so)
}

/// A byte at each end, on its port, with a number of the client in between.
fn oicq(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let is_so = bytes.len() >= 20 && bytes.last() == Some(&3) && matches!(u8_at(bytes, 1), Some(0x0a..=0x3f));
    likely_on(first, &[8000], is_so)
}

/// The Brazilian broadband measurement: sixteen bytes, a decimal sequence that goes on.
fn eaq(first: &First<'_>) -> Probe {
    let number = |bytes: &[u8]| {
        let digits = bytes.first_chunk::<4>().filter(|digits| digits.iter().all(|digit| *digit <= 9))?;
        Some(digits.iter().fold(0u32, |number, digit| number * 10 + u32::from(*digit)))
    };
    let before = if first.before.len == 16 { number(first.before.head()) } else { None };
    let goes_on = match (number(first.bytes), before) {
        (Some(now), Some(before)) => now == before || now == before + 1,
        _ => false,
    };
    certain(first.has_port(6000) && first.bytes.len() == 16 && goes_on)
}

/// The dashboard's tunnel: a mark, and the whole length.
fn meraki(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    certain(
        bytes.starts_with(&[0xfe, 0xf7, 0x28, 0x91]) && be16(bytes, 6).map(usize::from) == Some(bytes.len()),
    )
}

/// Speedtest's text: the server's hello with its version, and the client's.
fn ookla(first: &First<'_>) -> Probe {
    match first.bytes {
        [b'H', b'I', b'\n'] => likely_on(first, &[8080, 5060], true),
        [b'H', b'I', b' ', ..] => likely_on(first, &[8080, 5060], line_of(first.bytes, 128).is_some()),
        [b'H'] | [b'H', b'I'] => Probe::Unsure,
        _ => match (begins(first, b"HELLO "), first.bytes.get(6..8)) {
            (Probe::Certain, Some([b'1'..=b'9', b'.'])) => match line_of(first.bytes, 128) {
                Some(_) => Probe::Certain,
                None if first.bytes.len() < 128 && is_text(first.bytes) => Probe::Unsure,
                None => Probe::NotForUs,
            },
            (Probe::Certain, None) => Probe::Unsure,
            (Probe::Unsure, _) => Probe::Unsure,
            _ => Probe::NotForUs,
        },
    }
}

/// Check Point's cluster control.
fn cpha(first: &First<'_>) -> Probe {
    certain(first.bytes.starts_with(&[0x1a, 0x90]) && first.has_port(8116) && first.bytes.len() >= 24)
}

/// The search in the local network.
fn anydesk(first: &First<'_>) -> Probe {
    let is_so = first.bytes.starts_with(&[0x3e, 0xd1]) && matches!(u8_at(first.bytes, 2), Some(0 | 1 | 0x11));
    likely_on(first, &[50_001, 50_002, 50_003], is_so)
}
