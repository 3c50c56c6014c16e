//! Headers as buffers: `tcp.hdr` and its like.
//!
//! In: a keyword; then a packet. Out: the header's bytes with its options, none where the packet has no such header or a
//! part of it was not captured. A fragment has none but IP's.

use super::field::v4;
use crate::decode::Packet;
use weir_common::net::protocol;

/// IANA's number of IGMP.
const IGMP: u8 = 2;
/// UDP's header, and the part that all ICMP messages share.
const SHORT_BYTES: usize = 8;
/// ICMP's timestamp and its reply: type; they have three times behind the rest.
const ICMP_TIMESTAMPS: [u8; 2] = [13, 14];
const ICMP_TIMESTAMP_BYTES: usize = 20;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::signatures) enum HeaderBuffer {
    Ethernet,
    Ipv4,
    Ipv6,
    Tcp,
    Udp,
    Icmpv4,
    Icmpv6,
    Igmp,
}

impl HeaderBuffer {
    /// The header of a keyword.
    pub(in crate::signatures) fn of(keyword: &str) -> Option<HeaderBuffer> {
        Some(match keyword {
            "ether.hdr" => HeaderBuffer::Ethernet,
            "ipv4.hdr" => HeaderBuffer::Ipv4,
            "ipv6.hdr" => HeaderBuffer::Ipv6,
            "tcp.hdr" => HeaderBuffer::Tcp,
            "udp.hdr" => HeaderBuffer::Udp,
            "icmpv4.hdr" => HeaderBuffer::Icmpv4,
            "icmpv6.hdr" => HeaderBuffer::Icmpv6,
            "igmp.hdr" => HeaderBuffer::Igmp,
            _ => return None,
        })
    }

    /// Its bytes in a packet.
    pub(in crate::signatures) fn bytes<'a>(self, packet: &Packet<'a>) -> Option<&'a [u8]> {
        let transport = |number| {
            if packet.ip.protocol == number { packet.transport_bytes() } else { None }
        };
        match self {
            HeaderBuffer::Ethernet => packet.link.ethernet(),
            HeaderBuffer::Ipv4 => v4(packet).then(|| packet.ip_header()).flatten(),
            HeaderBuffer::Ipv6 => (!v4(packet)).then(|| packet.ip_header()).flatten(),
            HeaderBuffer::Tcp => {
                let bytes = transport(protocol::TCP)?;
                let len = usize::from(*bytes.get(12)? >> 4) * 4;
                bytes.get(..len).filter(|header| header.len() >= 20)
            }
            HeaderBuffer::Udp => transport(protocol::UDP)?.get(..SHORT_BYTES),
            HeaderBuffer::Icmpv4 => {
                let bytes = transport(protocol::ICMP)?;
                let is_timestamp = ICMP_TIMESTAMPS.contains(bytes.first()?);
                let long = is_timestamp.then(|| bytes.get(..ICMP_TIMESTAMP_BYTES)).flatten();
                long.or(bytes.get(..SHORT_BYTES))
            }
            HeaderBuffer::Icmpv6 => transport(protocol::ICMPV6)?.get(..SHORT_BYTES),
            HeaderBuffer::Igmp => transport(IGMP)?.get(..SHORT_BYTES),
        }
    }
}
