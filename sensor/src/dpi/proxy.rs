//! The PROXY protocol of HAProxy, versions 1 and 2: who the connection behind a proxy is from (proxy-protocol.txt).
//!
//! In: the first bytes that a client, which is a proxy, sends. Out: an event with the ends that it names; the search
//! for the application begins anew behind it. Extensions of version 2 (TLVs) are passed over.

use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_common::app::App;

const VERSION_1: &[u8] = b"PROXY ";
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Most bytes of a header of version 1 (section 2.1).
const LINE_BYTES_MAX: usize = 107;
/// Bytes of version 2 before addresses.
const HEADER_BYTES: usize = 16;
/// Most bytes of addresses and extensions that are waited for; more is malformed.
const REST_BYTES_MAX: usize = 4096;

/// The dissector of one header.
#[derive(Debug)]
pub(super) struct Proxy;

/// What a header says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    version: u8,
    /// None: a connection of the proxy's own, or of unknown ends.
    ends: Option<[(IpAddr, u16); 2]>,
    protocol: &'static str,
    bytes: usize,
}

impl Header {
    /// Reads it. None: more bytes are needed.
    fn read(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
        if bytes.first() == Some(&b'P') { Header::read_line(bytes) } else { Header::read_binary(bytes) }
    }

    fn read_line(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
        if !VERSION_1.starts_with(bytes.get(..VERSION_1.len()).unwrap_or(bytes)) {
            return Err("invalid_header");
        }
        let start = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
        let Some(end) = memchr::memchr(b'\n', start) else {
            return if bytes.len() < LINE_BYTES_MAX { Ok(None) } else { Err("invalid_header") };
        };
        let line = start.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or("invalid_header")?;
        let line = str::from_utf8(line).map_err(|_| "invalid_header")?;
        let mut words = line.split(' ').skip(1);
        let protocol = match words.next() {
            Some("TCP4") => "TCP4",
            Some("TCP6") => "TCP6",
            Some("UNKNOWN") => {
                return Ok(Some(Header { version: 1, ends: None, protocol: "UNKNOWN", bytes: end + 1 }));
            }
            _ => return Err("invalid_header"),
        };
        let mut ends = || {
            let addresses: [IpAddr; 2] = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
            let ports = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
            words.next().is_none().then_some([(addresses[0], ports[0]), (addresses[1], ports[1])])
        };
        let ends = ends().ok_or("invalid_header")?;
        Ok(Some(Header { version: 1, ends: Some(ends), protocol, bytes: end + 1 }))
    }

    fn read_binary(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
        let mark = bytes.get(..VERSION_2.len()).unwrap_or(bytes);
        if !VERSION_2.starts_with(mark) {
            return Err("invalid_header");
        }
        let Some([command, family, high, low]) = bytes.get(VERSION_2.len()..HEADER_BYTES) else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        if !matches!(command, 0x20 | 0x21) || family & 15 > 2 || family >> 4 > 3 || len > REST_BYTES_MAX {
            return Err("invalid_header");
        }
        let Some(rest) = bytes.get(HEADER_BYTES..HEADER_BYTES + len) else { return Ok(None) };
        let port = |at: usize| rest.get(at..)?.first_chunk::<2>().map(|port| u16::from_be_bytes(*port));
        let v4 = |at: usize| rest.get(at..)?.first_chunk::<4>().map(|at| IpAddr::from(Ipv4Addr::from(*at)));
        let v6 = |at: usize| rest.get(at..)?.first_chunk::<16>().map(|at| IpAddr::from(Ipv6Addr::from(*at)));
        let ends = || match family >> 4 {
            1 => Some([(v4(0)?, port(8)?), (v4(4)?, port(10)?)]),
            2 => Some([(v6(0)?, port(32)?), (v6(16)?, port(34)?)]),
            _ => None,
        };
        let protocol = match family {
            0x11 => "TCP4",
            0x12 => "UDP4",
            0x21 => "TCP6",
            0x22 => "UDP6",
            0x31 | 0x32 => "UNIX",
            _ => "UNKNOWN",
        };
        let ends = if *command == 0x21 { ends() } else { None };
        Ok(Some(Header { version: 2, ends, protocol, bytes: HEADER_BYTES + len }))
    }
}

impl Dissector for Proxy {
    const APP: App = App::Proxy;

    const STARTS: Starts = Starts::stream(b"P\r");

    fn probe(first: &First<'_>) -> Probe {
        match Header::read(first.bytes) {
            _ if !first.is_stream() => Probe::NotForUs,
            Ok(Some(_)) => Probe::Certain,
            Ok(None) => Probe::Unsure,
            Err(_) => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Proxy
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let header = match Header::read(bytes) {
            Ok(Some(header)) => header,
            Ok(None) => return Progress::Used(0),
            // The server answers what lies behind the header, perhaps before the client has sent it whole.
            Err(_) => return Progress::Switch(0),
        };
        context.tell(context.direction, None, |object| {
            object.number("version", header.version).text("protocol", header.protocol);
            if let Some([source, destination]) = header.ends {
                object.display("src_ip", source.0).number("src_port", source.1);
                object.display("dest_ip", destination.0).number("dest_port", destination.1);
            }
        });
        Progress::Switch(header.bytes)
    }

    fn gap(&mut self, _missing: u64, _context: &mut Context<'_>) -> Progress {
        Progress::Switch(0)
    }

    fn close(&mut self, _context: &mut Context<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
    use weir_common::net::Direction;

    const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
    const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb";

    fn probe(bytes: &[u8]) -> Probe {
        Proxy::probe(&First::of(Carrier::Stream, Direction::Forward, bytes))
    }

    #[test]
    fn both_versions_name_the_ends_and_hand_on() {
        for (header, version) in [(LINE, 1), (BINARY, 2)] {
            let trial = Trial::<Proxy>::new().client(&[header, b"GET / HTTP/1.1\r\n"].concat());
            assert_eq!(trial.end, Some(Progress::Switch(header.len())));
            assert_eq!(
                trial.event(),
                serde_json::json!({"version": version, "protocol": "TCP4", "src_ip": "192.0.2.1",
                    "src_port": 56324, "dest_ip": "198.51.100.2", "dest_port": 443})
            );
        }
    }

    #[test]
    fn a_connection_of_the_proxys_own_names_nobody() {
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        for header in [&local[..], b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n"] {
            assert_eq!(probe(header), Probe::Certain);
            let trial = Trial::<Proxy>::new().client(header);
            assert_eq!(trial.event().get("src_ip"), None);
        }
    }

    #[test]
    fn only_a_whole_header_is_certain() {
        assert_eq!(probe(&LINE[..LINE.len() - 1]), Probe::Unsure);
        assert_eq!(probe(&BINARY[..BINARY.len() - 1]), Probe::Unsure);
        for bytes in [
            &b"PROXY TCP4 a b 1 2\r\n"[..],
            b"POST / HTTP/1.1\r\n",
            b"\r\n\r\nGET",
            b"PROXY TCP4 192.0.2.1\n",
        ] {
            assert_eq!(probe(bytes), Probe::NotForUs, "{bytes:?}");
        }
        assert_eq!(probe(&[b"PROXY ", &[b'x'; 200][..]].concat()), Probe::NotForUs);
    }

    #[test]
    fn damage_and_cuts_are_survived() {
        survives_damage::<Proxy>(LINE, BINARY);
        cuts_do_not_matter::<Proxy>(BINARY, b"");
    }
}
