//! Message brokers and databases that are known by name: STOMP, NATS, Kafka, OpenWire, DRDA.

use super::{Recogniser, line};
use crate::dpi::Starts;
use crate::dpi::scan::{self, Scan, is_text};
use crate::dpi::{First, Probe};
use weir_common::app::App;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::Stomp, Starts::stream(b"CS"), stomp),
    line(App::Nats, Starts::stream(b"ICPSM+"), nats),
    line(App::Openwire, Starts::stream(&[0]), openwire),
    line(App::Drda, Starts::STREAM, drda),
    line(App::Kafka, Starts::stream(&[0]), kafka),
];

/// STOMP 1.0 to 1.2 (stomp.github.io): a command, headers, an empty line, a zero at the end.
pub(super) fn stomp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let commands: [&[u8]; 3] = [b"CONNECT\n", b"STOMP\n", b"CONNECTED\n"];
    let Some((command, used)) = scan::line(bytes) else {
        let is_start = commands.iter().any(|command| command.starts_with(bytes));
        return if is_start { Probe::Unsure } else { Probe::NotForUs };
    };
    if !matches!(command, b"CONNECT" | b"STOMP" | b"CONNECTED") {
        return Probe::NotForUs;
    }
    let headers = bytes.get(used..).unwrap_or_default();
    let known: [&[u8]; 7] =
        [b"accept-version:", b"host:", b"login:", b"heart-beat:", b"version:", b"session:", b"server:"];
    match scan::line(headers) {
        Some((header, _)) if known.iter().any(|known| header.starts_with(known)) => Probe::Certain,
        // Nothing but the end.
        Some((b"", _)) => {
            if headers.contains(&0) {
                Probe::Certain
            } else {
                Probe::Unsure
            }
        }
        Some(_) => Probe::NotForUs,
        None if headers.len() < 256 && is_text(headers) => Probe::Unsure,
        None => Probe::NotForUs,
    }
}

/// NATS (docs.nats.io, "Client Protocol"): both sides begin with a word and a JSON object.
pub(super) fn nats(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    for (start, mark) in [(&b"INFO {"[..], &b"\"server_id\""[..]), (b"CONNECT {", b"\"verbose\"")] {
        let length = start.len().min(bytes.len());
        if bytes.get(..length) != start.get(..length) {
            continue;
        }
        return match memchr::memmem::find(bytes, mark) {
            Some(_) => Probe::Certain,
            None if scan::line(bytes).is_none() && bytes.len() < 2048 => Probe::Unsure,
            None => Probe::NotForUs,
        };
    }
    let is_word = first.has_port(4222)
        && scan::line(bytes).is_some_and(|(text, _)| {
            matches!(text, b"PING" | b"PONG" | b"+OK")
                || text.starts_with(b"PUB ")
                || text.starts_with(b"SUB ")
                || text.starts_with(b"MSG ")
        });
    if is_word { Probe::Likely } else { Probe::NotForUs }
}

/// Highest number of Kafka's requests, and highest version of any of them, with room for new ones.
const KAFKA_KEY_MAX: u16 = 92;
const KAFKA_VERSION_MAX: u16 = 20;

/// Kafka (kafka.apache.org, "Kafka protocol guide"): size, request, version, correlation, the client's name.
pub(super) fn kafka(first: &First<'_>) -> Probe {
    let mut scan = Scan::new(first.bytes);
    let Some(size) = scan.be32() else { return Probe::NotForUs };
    let is_port = first.has_port_of(&[9092, 9093, 9094]);
    if !(8..16 << 20).contains(&size) {
        return Probe::NotForUs;
    }
    let is_exact = first.bytes.len() as u64 == u64::from(size) + 4;
    if first.source_port == 9092 && is_exact {
        // An answer says only which request it is for.
        return if scan.be32().is_some_and(|correlation| correlation < 1 << 24) {
            Probe::Likely
        } else {
            Probe::NotForUs
        };
    }
    let (Some(key), Some(version), Some(correlation), Some(length)) =
        (scan.be16(), scan.be16(), scan.be32(), scan.be16())
    else {
        return Probe::NotForUs;
    };
    if key > KAFKA_KEY_MAX || version > KAFKA_VERSION_MAX || correlation > 1 << 30 {
        return Probe::NotForUs;
    }
    let name = if length == 0xffff { Some(&b""[..]) } else { scan.take(length.into()) };
    let is_name = name.is_some_and(|name| name.len() <= 250 && name.iter().all(u8::is_ascii_graphic));
    let has_name = name.is_some_and(|name| name.len() >= 3);
    match (is_name, is_exact, has_name, is_port) {
        (true, true, true, _) => Probe::Certain,
        (true, _, _, true) => Probe::Likely,
        _ => Probe::NotForUs,
    }
}

/// ActiveMQ's OpenWire (activemq.apache.org, "OpenWire Version 2 Specification"): size, WireFormatInfo, magic.
pub(super) fn openwire(first: &First<'_>) -> Probe {
    match first.bytes {
        [0, 0, _, _, 1, magic @ ..] => {
            let start = magic.get(..8).unwrap_or(magic);
            if start == b"ActiveMQ" {
                Probe::Certain
            } else if b"ActiveMQ".starts_with(start) {
                Probe::Unsure
            } else {
                Probe::NotForUs
            }
        }
        _ => Probe::NotForUs,
    }
}

/// DRDA (The Open Group, "DRDA V5 Vol. 3: DDM"): length, 0xd0, flags, number, length inside, and EXCSAT or its reply.
/// Connections live for long, so that other code points are believed too, with a little less confidence.
pub(super) fn drda(first: &First<'_>) -> Probe {
    /// IBM's databases and Derby.
    const PORTS: &[u16] = &[446, 1527, 50_000];
    const HEADER_BYTES: usize = 10;
    let bytes = first.bytes;
    let mut scan = Scan::new(bytes);
    let head = (scan.be16(), scan.u8(), scan.u8(), scan.be16(), scan.be16(), scan.be16());
    let (Some(length), Some(0xd0), Some(format), Some(_), Some(inner), Some(code)) = head else {
        // Some drivers write a header field by field.
        let is_open = bytes.len() < HEADER_BYTES
            && bytes.get(2).is_none_or(|mark| *mark == 0xd0)
            && (bytes.len() > 2 || first.has_port_of(PORTS));
        return if is_open { Probe::Unsure } else { Probe::NotForUs };
    };
    if length < 10 || inner.checked_add(6) != Some(length) || !matches!(format & 0x0f, 1..=3) {
        return Probe::NotForUs;
    }
    match code {
        0x1041 | 0x1443 | 0x106d | 0x106e | 0x2001 | 0x2201 => Probe::Certain,
        // Commands, their answers and their data (DDM's code points by class).
        0x1000..=0x24ff => Probe::Likely,
        _ => Probe::NotForUs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use weir_common::net::Direction;

    fn stream(bytes: &[u8]) -> First<'_> {
        First::of(Carrier::Stream, Direction::Forward, bytes)
    }

    #[test]
    fn brokers_are_told_by_how_they_begin() {
        assert_eq!(stomp(&stream(b"CONNECT\naccept-version:1.2\n\n\0")), Probe::Certain);
        assert_eq!(stomp(&stream(b"CONNECT x:1 HTTP/1.1\r\n")), Probe::NotForUs);
        assert_eq!(stomp(&stream(b"CONN")), Probe::Unsure);
        assert_eq!(nats(&stream(b"INFO {\"server_id\":\"x\"}\r\n")), Probe::Certain);
        assert_eq!(nats(&stream(b"INFO {\"x\":1}\r\n")), Probe::NotForUs);
        assert_eq!(openwire(&stream(b"\0\0\x01\x46\x01ActiveMQ\0\0\0\x0c")), Probe::Certain);
        assert_eq!(openwire(&stream(b"\0\0\x01\x46\x01Active__")), Probe::NotForUs);
    }

    #[test]
    fn kafka_and_drda_are_told_by_lengths_that_fit() {
        let request = b"\0\0\0\x10\0\x12\0\x03\0\0\0\x01\0\x06client";
        assert_eq!(kafka(&stream(request)), Probe::Certain);
        assert_eq!(kafka(&stream(&request[..19])), Probe::NotForUs);
        assert_eq!(drda(&stream(b"\0\x10\xd0\x41\0\x01\0\x0a\x10\x41abcdef")), Probe::Certain);
        assert_eq!(drda(&stream(b"\0\x10\xd0\x41\0\x01\0\x0b\x10\x41abcdef")), Probe::NotForUs);
        // What Derby 10.14's client says in the middle: a cursor is opened.
        let query = b"\0\x5b\xd0\x51\0\x02\0\x55\x20\x0c\0\x44\x21\x13db1 ";
        assert_eq!(drda(&stream(query)), Probe::Likely);
        assert_eq!(drda(&stream(&query[..9])), Probe::Unsure);
        assert_eq!(drda(&stream(&query[..2])), Probe::NotForUs);
        assert_eq!(drda(&stream(&query[..2]).between(40_000, 1527)), Probe::Unsure);
    }
}
