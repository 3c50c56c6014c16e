//! `ipv4-csum`, `tcpv4-csum` and their like: whether a header's checksum is right (RFC 1071).
//!
//! In: the keyword and `valid` or `invalid`; then a packet. Out: whether it is so. Nothing holds where the packet has no
//! such header, or where a part of what the checksum covers was not captured.

use super::field::v4;
use super::number::shown;
use crate::decode::Packet;
use weir_common::net::protocol;

/// IANA's number of IGMP.
const IGMP: u8 = 2;

/// A test of a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) struct Checksum {
    /// IP version.
    version: u8,
    /// The transport's protocol; `None`: the IP header's own checksum.
    transport: Option<u8>,
    is_valid: bool,
}

impl Checksum {
    /// That of a keyword.
    pub(super) fn of(keyword: &str) -> Option<Checksum> {
        let (version, transport) = match keyword {
            "ipv4-csum" => (4, None),
            "tcpv4-csum" => (4, Some(protocol::TCP)),
            "tcpv6-csum" => (6, Some(protocol::TCP)),
            "udpv4-csum" => (4, Some(protocol::UDP)),
            "udpv6-csum" => (6, Some(protocol::UDP)),
            "icmpv4-csum" => (4, Some(protocol::ICMP)),
            "icmpv6-csum" => (6, Some(protocol::ICMPV6)),
            "igmp-csum" => (4, Some(IGMP)),
            _ => return None,
        };
        Some(Checksum { version, transport, is_valid: true })
    }

    pub(super) fn parse(self, text: &str) -> Result<Checksum, String> {
        if text.eq_ignore_ascii_case("valid") {
            return Ok(self);
        }
        if text.eq_ignore_ascii_case("invalid") {
            return Ok(Checksum { is_valid: false, ..self });
        }
        Err(format!("expected `valid` or `invalid`, not `{}`", shown(text)))
    }

    pub(super) fn protocols(self) -> &'static [u8] {
        match self.transport {
            Some(protocol::TCP) => &[protocol::TCP],
            Some(protocol::UDP) => &[protocol::UDP],
            Some(protocol::ICMP) => &[protocol::ICMP],
            Some(protocol::ICMPV6) => &[protocol::ICMPV6],
            Some(IGMP) => &[IGMP],
            _ => &[],
        }
    }

    pub(super) fn holds(self, packet: &Packet<'_>) -> bool {
        let is_there = (self.version == 4) == v4(packet)
            && self.transport.is_none_or(|number| number == packet.ip.protocol);
        is_there && self.right(packet) == Some(self.is_valid)
    }

    /// Whether it is right, where that can be told.
    fn right(self, packet: &Packet<'_>) -> Option<bool> {
        let header = packet.ip_header()?;
        let Some(number) = self.transport else { return Some(sum(0, header) == 0xffff) };
        if packet.is_cut {
            return None;
        }
        let bytes = packet.transport_bytes()?;
        let addresses = if self.version == 4 { header.get(12..20)? } else { header.get(8..40)? };
        // UDP over IPv4 may go without.
        if number == protocol::UDP && self.version == 4 && bytes.get(6..8)? == [0, 0] {
            return Some(true);
        }
        let pseudo = match number {
            protocol::ICMP | IGMP => 0,
            _ => sum(sum(u32::from(number), addresses), &u32::try_from(bytes.len()).ok()?.to_be_bytes()),
        };
        Some(sum(pseudo, bytes) == 0xffff)
    }
}

/// The sum of 16-bit words in ones' complement, begun with another.
fn sum(begun: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |last| u64::from(*last) << 8);
    let words: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    let mut sum = words + last + u64::from(begun);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u32
}
