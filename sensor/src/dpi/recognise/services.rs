//! Calls, messages and coordination among programs.
//!
//! In: first bytes. Out: whether they are one of these.

use super::*;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::Ajp, Starts::stream(b"\x12A"), ajp),
    line(App::Elasticsearch, Starts::stream(b"E"), elasticsearch),
    line(App::Fastcgi, Starts::stream(b"\x01"), fastcgi),
    line(App::Gearman, Starts::stream(b"\x00cdgmsvw"), gearman),
    line(App::Giop, Starts::both(b"GMZ"), giop),
    line(App::JavaRmi, Starts::stream(b"JN"), java_rmi),
    line(App::Raft, Starts::stream(b"\x01"), raft),
    line(App::Syncthing, Starts::both(b"\x2e\x9e"), syncthing),
    line(App::Thrift, Starts::both(b"\x80\x82\x00["), thrift),
    line(App::Z3950, Starts::stream(b"\xb4\xb5"), z3950),
    line(App::Zeromq, Starts::stream(b"\xff"), zeromq),
    line(App::Zookeeper, Starts::stream(b"\x00cdeimrsw"), zookeeper),
    line(App::Uftp, Starts::datagram(b"\x30\x40\x50"), uftp),
];

/// Apache's JServ protocol 1.3: a mark, a length, a known message.
fn ajp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let is_request = bytes.first() == Some(&0x12);
    let mark: &[u8] = if is_request { b"\x12\x34" } else { b"AB" };
    match begins(first, mark) {
        Probe::Certain => {}
        said => return said,
    }
    let (Some(len), Some(code)) = (be16(bytes, 2), u8_at(bytes, 4)) else { return Probe::Unsure };
    if is_request {
        // A forwarded request: method, then the protocol's text.
        return match (code, u8_at(bytes, 5)) {
            (2, Some(1..=27)) => certain(len > 16 && len <= 8192),
            (2, Some(_)) => Probe::NotForUs,
            (2, None) => Probe::Unsure,
            (7..=10, _) => certain(len == 1),
            _ => Probe::NotForUs,
        };
    }
    certain(match code {
        3 => (3..=8192).contains(&len),
        4 => be16(bytes, 5).is_none_or(|status| (100..=599).contains(&status)) && len >= 8,
        5 => len == 2,
        6 => len == 3,
        9 => len == 1,
        _ => false,
    })
}

/// Elasticsearch's transport: a mark, a length, a request's number, a status, a version, which OpenSearch marks as its own
/// by a bit.
fn elasticsearch(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    match begins(first, b"ES") {
        Probe::Certain => {}
        said => return said,
    }
    let Some(len) = be32(bytes, 2) else { return Probe::Unsure };
    // A ping has no more.
    if len == u32::MAX {
        return Probe::Certain;
    }
    if !(13..1 << 28).contains(&len) {
        return Probe::NotForUs;
    }
    match (u8_at(bytes, 14), be32(bytes, 15)) {
        (Some(status), Some(version)) => {
            const OPENSEARCH: u32 = 0x0800_0000;
            certain(status < 32 && (1_000..100_000_000).contains(&(version & !OPENSEARCH)))
        }
        (Some(status), None) if status >= 32 => Probe::NotForUs,
        _ => Probe::Unsure,
    }
}

/// FastCGI's records (its specification, section 3.3): version, type, request, length, padding, a reserved byte.
fn fastcgi(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some([_, kind, _, request, high, low, padding, reserved]) = bytes.first_chunk::<8>() else {
        return if matches!(bytes.get(1), None | Some(1 | 3 | 6 | 7 | 9 | 10)) {
            Probe::Unsure
        } else {
            Probe::NotForUs
        };
    };
    let len = u16::from_be_bytes([*high, *low]);
    if *reserved != 0 || *padding > 8 {
        return Probe::NotForUs;
    }
    match kind {
        // Begin: a role, flags, five reserved bytes.
        1 if len == 8 => match bytes.get(8..16) {
            Some([0, 1..=3, 0 | 1, 0, 0, 0, 0, 0]) => Probe::Certain,
            Some(_) => Probe::NotForUs,
            None => Probe::Unsure,
        },
        // A server's first output is a head, and its errors are text.
        6 | 7 if *request > 0 && len > 8 => match bytes.get(8..16) {
            Some(text) => certain(text.iter().all(|byte| matches!(byte, b' '..=b'~'))),
            None => Probe::Unsure,
        },
        9 | 10 if *request == 0 && len > 2 => match bytes.get(10..15) {
            Some(text) => certain(text == b"FCGI_"),
            None => Probe::Unsure,
        },
        _ => Probe::NotForUs,
    }
}

/// Gearman's binary protocol: a mark, a type, a length. Its administrators talk to the same port in lines of text
/// (gearmand's PROTOCOL document, "Administrative Protocol"), of which the commands are few.
fn gearman(first: &First<'_>) -> Probe {
    const COMMANDS: [&[u8]; 10] = [
        b"workers",
        b"status",
        b"maxqueue ",
        b"shutdown",
        b"version",
        b"getpid",
        b"show ",
        b"cancel job ",
        b"create function ",
        b"drop function ",
    ];
    if first.bytes.first() != Some(&0) {
        if !first.has_port(4730) {
            return Probe::NotForUs;
        }
        return match line_of(first.bytes, 512) {
            Some(line) => likely_on(first, &[4730], COMMANDS.iter().any(|command| line.starts_with(command))),
            None => match begins_one(first, &COMMANDS) {
                Probe::NotForUs => Probe::NotForUs,
                _ => Probe::Unsure,
            },
        };
    }
    match begins_one(first, &[b"\0REQ", b"\0RES"]) {
        Probe::Certain => match be32(first.bytes, 4) {
            Some(kind) => certain((1..=42).contains(&kind)),
            None => Probe::Unsure,
        },
        said => said,
    }
}

/// CORBA's GIOP (formal/2011-11-02 section 9.4.1): a mark, a version, flags, a type; and its multicast and compressed
/// forms.
fn giop(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    match begins_one(first, &[b"GIOP", b"MIOP", b"ZIOP"]) {
        Probe::Certain => {}
        said => return said,
    }
    if bytes.first() == Some(&b'M') {
        return certain(first.is_datagram() && u8_at(bytes, 4) == Some(0x10));
    }
    match bytes.get(4..8) {
        Some([1, 0..=3, flags, 0..=7]) => certain(flags & 0xf8 == 0),
        Some(_) => Probe::NotForUs,
        None => too_few(first),
    }
}

/// Java's remote calls (Java RMI specification section 10.2): the header, or the server's answer to it.
fn java_rmi(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if bytes.first() == Some(&b'J') {
        return match (begins(first, b"JRMI"), bytes.get(4..7)) {
            (Probe::Certain, Some([0, 1..=2, 0x4b..=0x4d])) => Probe::Certain,
            (Probe::Certain, Some(_)) => Probe::NotForUs,
            (Probe::Certain, None) => Probe::Unsure,
            (said, _) => said,
        };
    }
    // Accepted: the client's host, as the server sees it, and port.
    let Some(len) = be16(bytes, 1) else { return Probe::Unsure };
    if !(2..=255).contains(&len) {
        return Probe::NotForUs;
    }
    let len = usize::from(len);
    let Some(host) = bytes.get(3..3 + len) else { return Probe::Unsure };
    let is_host = host.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'%'));
    match bytes.get(3 + len..) {
        Some([0, 0, _, _]) if is_host => Probe::Certain,
        Some(rest) if is_host && rest.len() < 4 => Probe::Unsure,
        _ => Probe::NotForUs,
    }
}

/// C-Raft's handshake (libuv transport): version 1, a number, the length of an address, the address, all
/// little-endian words.
fn raft(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if bytes.iter().skip(1).take(7).any(|byte| *byte != 0) {
        return Probe::NotForUs;
    }
    let Some(len) = le64(bytes, 16) else { return Probe::Unsure };
    if !(8..=256).contains(&len) || !len.is_multiple_of(8) {
        return Probe::NotForUs;
    }
    let Some(address) = bytes.get(24..24 + len as usize) else { return Probe::Unsure };
    let end = address.iter().position(|byte| *byte == 0).unwrap_or(address.len());
    let (text, padding) = address.split_at(end);
    certain(!text.is_empty() && is_text(text) && padding.iter().all(|byte| *byte == 0))
}

/// Syncthing's magic numbers: local discovery and the exchange's hello, and the relay's.
fn syncthing(first: &First<'_>) -> Probe {
    begins_one(first, &[b"\x2e\xa7\xd9\x0b", b"\x9e\x79\xbc\x40"])
}

/// Thrift's protocols (Apache Thrift, doc/specs): strict binary, compact and JSON, whole or behind the length of a
/// frame; the binary protocol as it was before it had a version; and the header transport's frames.
fn thrift(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    match bytes {
        [0x80, ..] => thrift_strict(first, bytes),
        [0x82, ..] => thrift_compact(first, bytes),
        [b'[', ..] => thrift_json(first, bytes),
        _ => thrift_framed(first),
    }
}

/// Longest name of a method that is believed, in bytes.
const THRIFT_NAME_BYTES_MAX: usize = 96;

fn is_thrift_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= THRIFT_NAME_BYTES_MAX
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':'))
}

/// What stands behind the length of a frame, or a message that begins with the length of its method's name.
fn thrift_framed(first: &First<'_>) -> Probe {
    let Some((length, message)) = first.bytes.split_first_chunk::<4>() else { return too_few(first) };
    let length = u32::from_be_bytes(*length) as usize;
    let [start, ..] = message else { return too_few(first) };
    // What frames hold is shorter than 16 MiB unless somebody says otherwise (TConfiguration).
    let fits = (8..16 << 20).contains(&length) && (first.is_stream() || length == message.len());
    match start {
        _ if !fits && length > THRIFT_NAME_BYTES_MAX => Probe::NotForUs,
        0x80 => thrift_strict(first, message),
        0x82 if fits => thrift_compact(first, message),
        b'[' if fits => thrift_json(first, message),
        0x0f if fits => thrift_header(first, message, length),
        0 if fits => thrift_old(first, message),
        b'A'..=b'Z' | b'a'..=b'z' | b'_' => thrift_old(first, first.bytes),
        _ => Probe::NotForUs,
    }
}

/// Version, type, the length of a name, the name.
fn thrift_strict(first: &First<'_>, message: &[u8]) -> Probe {
    if head(message, 3) != head(&[0x80, 1, 0], message.len()) {
        return Probe::NotForUs;
    }
    let (Some(kind), Some(len)) = (u8_at(message, 3), be32(message, 4)) else { return too_few(first) };
    if !(1..=4).contains(&kind) || !(1..=THRIFT_NAME_BYTES_MAX as u32).contains(&len) {
        return Probe::NotForUs;
    }
    match message.get(8..8 + len as usize) {
        Some(name) => certain(is_thrift_name(name)),
        None => too_few(first),
    }
}

/// A mark, version and type, a number of seven bits a byte, the length of a name, the name.
fn thrift_compact(first: &First<'_>, message: &[u8]) -> Probe {
    let Some(kind) = u8_at(message, 1) else { return too_few(first) };
    if kind & 0x1f != 1 || !(1..=4).contains(&(kind >> 5)) {
        return Probe::NotForUs;
    }
    let rest = message.get(2..).unwrap_or_default();
    let number = rest.iter().take(5).take_while(|byte| **byte >= 0x80).count() + 1;
    let Some([len, name @ ..]) = rest.get(number..) else { return too_few(first) };
    match name.get(..usize::from(*len)) {
        Some(name) => certain(name.len() >= 3 && is_thrift_name(name)),
        None => too_few(first),
    }
}

/// An array of version 1, a name, a type, a number, an object.
fn thrift_json(first: &First<'_>, message: &[u8]) -> Probe {
    const MARK: &[u8] = b"[1,\"";
    let Some(rest) = message.strip_prefix(MARK) else {
        return if MARK.starts_with(message) { too_few(first) } else { Probe::NotForUs };
    };
    let Some(end) = head(rest, THRIFT_NAME_BYTES_MAX + 1).iter().position(|byte| *byte == b'"') else {
        return if rest.is_empty() || is_thrift_name(rest) { too_few(first) } else { Probe::NotForUs };
    };
    match rest.get(end..end + 4) {
        Some([_, b',', b'1'..=b'4', b',']) => certain(is_thrift_name(head(rest, end))),
        Some(_) => Probe::NotForUs,
        None => too_few(first),
    }
}

/// The header transport (doc/specs/HeaderFormat.md): its magic, flags, a number, words of header, then the protocol.
fn thrift_header(first: &First<'_>, message: &[u8], length: usize) -> Probe {
    if head(message, 2) != head(&[0x0f, 0xff], message.len()) {
        return Probe::NotForUs;
    }
    let (Some(words), Some(protocol)) = (be16(message, 8), u8_at(message, 10)) else { return too_few(first) };
    certain(words > 0 && 10 + 4 * usize::from(words) <= length && protocol <= 3)
}

/// The binary protocol without a version: the length of a name, the name, a type, a number, a field's type.
fn thrift_old(first: &First<'_>, message: &[u8]) -> Probe {
    let Some(len) = be32(message, 0).map(|len| len as usize) else { return too_few(first) };
    if !(2..=THRIFT_NAME_BYTES_MAX).contains(&len) {
        return Probe::NotForUs;
    }
    let name = message.get(4..).unwrap_or_default();
    if !name.is_empty() && !is_thrift_name(head(name, len)) {
        return Probe::NotForUs;
    }
    let Some([kind, number @ ..]) = name.get(len..) else { return too_few(first) };
    if !(1..=4).contains(kind) {
        return Probe::NotForUs;
    }
    match (u8_at(number, 4), be16(number, 5)) {
        (Some(0), _) => Probe::Likely,
        (Some(2..=4 | 6 | 8 | 10..=16), Some(field)) if field < 256 => Probe::Likely,
        (Some(2..=4 | 6 | 8 | 10..=16), None) | (None, _) => too_few(first),
        _ => Probe::NotForUs,
    }
}

/// Z39.50's initialisation (ISO 23950): a tag, a length, the protocol's version, options.
fn z3950(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let at = match bytes.get(1) {
        None => return Probe::Unsure,
        Some(16..=0x7f) => 2,
        Some(0x81) => 3,
        Some(0x82) => 4,
        Some(_) => return Probe::NotForUs,
    };
    let Some(body) = bytes.get(at..).filter(|body| body.len() >= 6) else { return Probe::Unsure };
    // A reference of the client's choice may go before the version.
    let version = match body {
        [0x82, len, ..] => match body.get(2 + usize::from(*len)..).filter(|rest| rest.len() >= 6) {
            Some(rest) => rest,
            None => return Probe::Unsure,
        },
        _ => body,
    };
    certain(matches!(version, [0x83, 2, 0..=7, _, 0x84, 2..=5, ..] | [0x83, 1, _, 0x84, 2..=5, ..]))
}

/// ZeroMQ's greeting (ZMTP 3.1 section 2): a signature of ten bytes.
fn zeromq(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    // Eight bytes between, a number that is small in all versions.
    if bytes.iter().skip(1).take(6).any(|byte| *byte != 0) {
        return Probe::NotForUs;
    }
    match bytes.get(9) {
        Some(last) => certain(*last == 0x7f),
        None => Probe::Unsure,
    }
}

/// ZooKeeper's connection (Jute): length, version 0, times and numbers, a password of sixteen bytes; and its words of
/// four letters on its port.
fn zookeeper(first: &First<'_>) -> Probe {
    const WORDS: [&[u8]; 11] =
        [b"conf", b"cons", b"crst", b"dump", b"envi", b"isro", b"mntr", b"ruok", b"srvr", b"stat", b"wchs"];
    let bytes = first.bytes;
    if bytes.first() != Some(&0) {
        let word = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        return likely_on(first, &[2181], WORDS.contains(&word));
    }
    let (Some(len), Some(version)) = (be32(bytes, 0), be32(bytes, 4)) else {
        return if head(bytes, 3).iter().all(|byte| *byte == 0) { Probe::Unsure } else { Probe::NotForUs };
    };
    let password_at = match len {
        44 | 45 => 28,
        36 | 37 => 20,
        _ => return Probe::NotForUs,
    };
    if version != 0 {
        return Probe::NotForUs;
    }
    match be32(bytes, password_at) {
        Some(len) => certain(len == 16),
        None => Probe::Unsure,
    }
}

/// UFTP's messages: version, a function twice, in the header and behind it, with a length that fits.
fn uftp(first: &First<'_>) -> Probe {
    let Some([_, function, _, _, _, _, _, _, _, _, _, _, _, _, _, reserved, again, words, _, _]) =
        first.bytes.first_chunk::<20>()
    else {
        return Probe::NotForUs;
    };
    let fits = usize::from(*words) * 4 + 16 <= first.bytes.len() && *words > 0;
    certain(*reserved == 0 && function == again && (1..=0x15).contains(function) && fits)
}
