//! The transport layer: TCP (RFC 9293), UDP (RFC 768), UDP-Lite, SCTP, DCCP, ICMP and ICMPv6.
//!
//! A header that the capture cut off gives what is there: ports from four bytes on, TCP's flags from fourteen. One that
//! was sent too short gives nothing.
//! Checksums are not verified.

use super::{Tcp, Transport};
use crate::counters::DecodeCounters;
use weir_common::net::protocol;

/// IANA protocol numbers that only this file names.
const DCCP: u8 = 33;
const UDP_LITE: u8 = 136;

/// Reads a transport header from an IP payload. `is_cut` says that the payload's end was not captured,
/// which decides whether a missing header is the capture's or the sender's fault.
#[inline]
pub(super) fn parse<'a>(
    protocol: u8,
    bytes: &'a [u8],
    is_cut: bool,
    counters: &mut DecodeCounters,
) -> (Transport, &'a [u8]) {
    if protocol == protocol::TCP
        && let Some(header) = bytes.first_chunk::<20>()
    {
        return tcp(header, bytes, is_cut, counters);
    }
    if protocol == protocol::UDP
        && let Some(header) = bytes.first_chunk::<8>()
    {
        return udp(header, bytes);
    }
    other(protocol, bytes, is_cut, counters)
}

#[inline]
fn tcp<'a>(
    header: &[u8; 20],
    bytes: &'a [u8],
    is_cut: bool,
    counters: &mut DecodeCounters,
) -> (Transport, &'a [u8]) {
    let header_len = usize::from(header[12] >> 4) * 4;
    let payload = match bytes.get(header_len..) {
        Some(payload) if header_len >= 20 => payload,
        _ => {
            short(is_cut && header_len >= 20, counters);
            &[]
        }
    };
    let tcp = Tcp {
        source: u16::from_be_bytes([header[0], header[1]]),
        destination: u16::from_be_bytes([header[2], header[3]]),
        sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        acknowledgement: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        flags: u16::from_be_bytes([header[12], header[13]]) & 0x0fff,
        window: u16::from_be_bytes([header[14], header[15]]),
    };
    (Transport::Tcp(tcp), payload)
}

#[inline]
fn udp<'a>(header: &[u8; 8], bytes: &'a [u8]) -> (Transport, &'a [u8]) {
    let payload = &bytes[8..];
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // A length that the IP header contradicts is left alone: what is there is what a receiver may read.
    let payload = length.checked_sub(8).and_then(|length| payload.get(..length)).unwrap_or(payload);
    (ports([header[0], header[1], header[2], header[3]]), payload)
}

/// Everything that is rare: other protocols, and headers that are cut off.
#[inline(never)]
fn other<'a>(
    protocol: u8,
    bytes: &'a [u8],
    is_cut: bool,
    counters: &mut DecodeCounters,
) -> (Transport, &'a [u8]) {
    let mut is_too_short = false;
    let (header_len, transport) = match protocol {
        protocol::TCP => (20, cut_tcp(bytes)),
        protocol::UDP | UDP_LITE => (8, bytes.first_chunk().map(|b| ports(*b))),
        protocol::SCTP => (12, bytes.first_chunk().map(|b| ports(*b))),
        DCCP => {
            // RFC 4340 section 5.1: the data offset counts 32-bit words and is at least three.
            let words = bytes.get(4).map_or(3, |offset| usize::from(*offset).max(3));
            (words * 4, bytes.first_chunk().map(|b| ports(*b)))
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let kind = bytes.first_chunk::<2>().map(|b| Transport::Icmp { kind: b[0], code: b[1] });
            // Four bytes, and four more that most types define (RFC 792, RFC 4443).
            (bytes.len().clamp(4, 8), kind)
        }
        _ => return (Transport::None, bytes),
    };
    let payload = bytes.get(header_len..).unwrap_or_else(|| {
        short(is_cut, counters);
        is_too_short = !is_cut;
        &[]
    });
    let is_known = !is_too_short || matches!(protocol, protocol::ICMP | protocol::ICMPV6 | DCCP);
    (transport.filter(|_| is_known).unwrap_or(Transport::None), payload)
}

/// What is left of a TCP header that is shorter than twenty bytes.
fn cut_tcp(bytes: &[u8]) -> Option<Transport> {
    let Some(header) = bytes.first_chunk::<14>() else {
        return bytes.first_chunk().map(|b| ports(*b));
    };
    Some(Transport::Tcp(Tcp {
        source: u16::from_be_bytes([header[0], header[1]]),
        destination: u16::from_be_bytes([header[2], header[3]]),
        sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        acknowledgement: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        flags: u16::from_be_bytes([header[12], header[13]]) & 0x0fff,
        window: bytes.get(14..16).map_or(0, |b| u16::from_be_bytes([b[0], b[1]])),
    }))
}

#[inline]
fn ports(bytes: [u8; 4]) -> Transport {
    Transport::Ports {
        source: u16::from_be_bytes([bytes[0], bytes[1]]),
        destination: u16::from_be_bytes([bytes[2], bytes[3]]),
    }
}

#[cold]
fn short(is_cut: bool, counters: &mut DecodeCounters) {
    if is_cut {
        counters.truncated += 1;
    } else {
        counters.malformed += 1;
    }
}
