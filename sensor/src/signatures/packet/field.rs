//! Numbers of headers and flows, each with its keyword.
//!
//! In: a keyword; then a packet. Out: which number, how it is written, and its value there; none where the packet has no
//! such field, and then no test of it holds, negated or not. A fragment has no transport, as in Suricata, which looks at
//! the header again once the datagram is whole.

use super::number::{UintTest, Width};
use super::{PacketFacts, flags, ip_protocol, sctp};
use crate::decode::{Packet, Tcp, Transport};
use weir_common::net::protocol;

/// IANA's number of IGMP.
const IGMP: u8 = 2;

/// Types of messages whose fields only some have.
mod icmp {
    /// Echo, timestamp, information and address mask, each with its reply: they have an identifier and a sequence
    /// number.
    pub(super) const V4_NUMBERED: [u8; 8] = [0, 8, 13, 14, 15, 16, 17, 18];
    pub(super) const V6_NUMBERED: [u8; 2] = [128, 129];
    pub(super) const V6_PACKET_TOO_BIG: u8 = 2;
}

/// TCP's options that have a keyword.
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const SEGMENT_SIZE: (u8, u8) = (2, 4);
    pub(super) const WINDOW_SCALE: (u8, u8) = (3, 3);
    /// Largest shift that counts (RFC 7323 section 2.3); a larger one counts as none.
    pub(super) const SHIFT_MAX: u8 = 14;
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) enum Field {
    PayloadSize,
    TcpFlags,
    TcpSequence,
    TcpAcknowledgement,
    TcpWindow,
    TcpSegmentSize,
    TcpWindowScale,
    Ttl,
    Tos,
    Identification,
    Protocol,
    FragmentBits,
    FragmentOffset,
    IcmpType,
    IcmpCode,
    IcmpIdentifier,
    IcmpSequence,
    IcmpMtu,
    IgmpType,
    SctpTag,
    SctpChunkCount,
    VlanLayers,
    FlowAge,
}

impl Field {
    /// The number of a keyword.
    pub(super) fn of(keyword: &str) -> Option<Field> {
        Some(match keyword {
            "dsize" => Field::PayloadSize,
            "flags" | "tcp.flags" => Field::TcpFlags,
            "seq" | "tcp.seq" => Field::TcpSequence,
            "ack" | "tcp.ack" => Field::TcpAcknowledgement,
            "window" | "tcp.window" => Field::TcpWindow,
            "tcp.mss" => Field::TcpSegmentSize,
            "tcp.wscale" => Field::TcpWindowScale,
            "ttl" => Field::Ttl,
            "tos" => Field::Tos,
            "id" => Field::Identification,
            "ip_proto" => Field::Protocol,
            "fragbits" => Field::FragmentBits,
            "fragoffset" => Field::FragmentOffset,
            "itype" => Field::IcmpType,
            "icode" => Field::IcmpCode,
            "icmp_id" => Field::IcmpIdentifier,
            "icmp_seq" => Field::IcmpSequence,
            "icmpv6.mtu" => Field::IcmpMtu,
            "igmp.type" => Field::IgmpType,
            "sctp.vtag" => Field::SctpTag,
            "sctp.chunk_cnt" => Field::SctpChunkCount,
            "vlan.layers" => Field::VlanLayers,
            "flow.age" => Field::FlowAge,
            _ => return None,
        })
    }

    /// Reads its test.
    pub(super) fn parse(self, text: &str) -> Result<UintTest, String> {
        match self {
            Field::TcpFlags => flags::tcp(text),
            Field::FragmentBits => flags::fragment(text),
            Field::Protocol => ip_protocol::parse(text),
            // The older form of hexadecimal numbers.
            Field::Tos => match text.strip_prefix('x') {
                Some(hex) => UintTest::parse(&format!("0x{hex}"), Width::U8),
                None => UintTest::parse(&text.replacen("!x", "!0x", 1), Width::U8),
            },
            Field::VlanLayers => {
                let test = UintTest::parse(text, self.width())?;
                let layers = crate::decode::VLAN_LAYERS as u64;
                match (0..=layers).any(|count| test.has(count)) {
                    true => Ok(test),
                    false => Err(format!("a packet has at most {layers} VLANs")),
                }
            }
            _ => UintTest::parse(text, self.width()),
        }
    }

    fn width(self) -> Width {
        match self {
            Field::TcpFlags
            | Field::TcpWindowScale
            | Field::Ttl
            | Field::Tos
            | Field::Protocol
            | Field::IcmpType
            | Field::IcmpCode
            | Field::IgmpType
            | Field::VlanLayers => Width::U8,
            Field::PayloadSize
            | Field::TcpWindow
            | Field::TcpSegmentSize
            | Field::Identification
            | Field::FragmentBits
            | Field::FragmentOffset
            | Field::IcmpIdentifier
            | Field::IcmpSequence
            | Field::SctpChunkCount => Width::U16,
            Field::TcpSequence
            | Field::TcpAcknowledgement
            | Field::IcmpMtu
            | Field::SctpTag
            | Field::FlowAge => Width::U32,
        }
    }

    /// The IP protocols that have it; none: any.
    pub(super) fn protocols(self) -> &'static [u8] {
        match self {
            Field::TcpFlags
            | Field::TcpSequence
            | Field::TcpAcknowledgement
            | Field::TcpWindow
            | Field::TcpSegmentSize
            | Field::TcpWindowScale => &[protocol::TCP],
            Field::IcmpType | Field::IcmpCode | Field::IcmpIdentifier | Field::IcmpSequence => {
                &[protocol::ICMP, protocol::ICMPV6]
            }
            Field::IcmpMtu => &[protocol::ICMPV6],
            Field::IgmpType => &[IGMP],
            Field::SctpTag | Field::SctpChunkCount => &[protocol::SCTP],
            _ => &[],
        }
    }

    /// Its value.
    #[inline]
    pub(super) fn value(self, about: &PacketFacts<'_>) -> Option<u64> {
        let packet = about.packet;
        Some(match self {
            // As in Suricata, all of IGMP is header.
            Field::PayloadSize if packet.ip.protocol == IGMP => 0,
            Field::PayloadSize => packet.payload_octets().into(),
            Field::TcpFlags => (tcp(packet)?.flags & 0xff).into(),
            Field::TcpSequence => tcp(packet)?.sequence.into(),
            Field::TcpAcknowledgement => tcp(packet)?.acknowledgement.into(),
            Field::TcpWindow => tcp(packet)?.window.into(),
            Field::Ttl => packet.ip.ttl.into(),
            Field::Tos => v4(packet).then_some(packet.ip.tos)?.into(),
            Field::Protocol => packet.ip.protocol.into(),
            Field::IcmpType => icmp(packet)?.0.into(),
            Field::IcmpCode => icmp(packet)?.1.into(),
            Field::VlanLayers => packet.vlan_layers().1 as u64,
            Field::FlowAge => about.flow?.age_seconds().into(),
            _ => return self.rare(packet),
        })
    }

    /// What a packet does not keep.
    fn rare(self, packet: &Packet<'_>) -> Option<u64> {
        match self {
            Field::TcpSegmentSize => {
                let size = tcp_option(packet, option::SEGMENT_SIZE)?;
                Some(u16::from_be_bytes(*size.first_chunk()?).into())
            }
            Field::TcpWindowScale => {
                let shift = *tcp_option(packet, option::WINDOW_SCALE)?.first()?;
                Some(if shift > option::SHIFT_MAX { 0 } else { shift.into() })
            }
            Field::Identification => v4_word(packet, 4),
            Field::FragmentBits => v4_word(packet, 6).map(|word| word & 0xe000),
            Field::FragmentOffset if v4(packet) => v4_word(packet, 6).map(|word| word & 0x1fff),
            // Of IPv6 in bytes, where IPv4's counts eight of them as one: as Suricata has it.
            Field::FragmentOffset => v6_fragment_offset(packet),
            Field::IcmpIdentifier => numbered(packet, 4),
            Field::IcmpSequence => numbered(packet, 6),
            Field::IcmpMtu => {
                let is_too_big =
                    packet.ip.protocol == protocol::ICMPV6 && icmp(packet)?.0 == icmp::V6_PACKET_TOO_BIG;
                let bytes = is_too_big.then(|| packet.transport_bytes()).flatten()?;
                Some(u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?).into())
            }
            Field::IgmpType if packet.ip.protocol == IGMP => {
                packet.transport_bytes()?.first().map(|kind| u64::from(*kind))
            }
            Field::SctpTag => sctp::tag(packet).map(u64::from),
            Field::SctpChunkCount => sctp::chunks(packet).map(|chunks| chunks.count() as u64),
            _ => None,
        }
    }
}

/// The TCP header of a packet that is no fragment.
fn tcp<'p>(packet: &'p Packet<'_>) -> Option<&'p Tcp> {
    match &packet.transport {
        Transport::Tcp(tcp) if !packet.is_partial => Some(tcp),
        _ => None,
    }
}

/// Type and code.
fn icmp(packet: &Packet<'_>) -> Option<(u8, u8)> {
    match packet.transport {
        Transport::Icmp { kind, code } if !packet.is_partial => Some((kind, code)),
        _ => None,
    }
}

pub(super) fn v4(packet: &Packet<'_>) -> bool {
    packet.ip.source.is_v4()
}

/// A field of two bytes of an IPv4 header.
fn v4_word(packet: &Packet<'_>, at: usize) -> Option<u64> {
    let header = v4(packet).then(|| packet.ip_header()).flatten()?;
    header.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word).into())
}

fn v6_fragment_offset(packet: &Packet<'_>) -> Option<u64> {
    const FRAGMENT: u8 = 44;
    let header = packet.ip_header()?;
    let (mut next, mut rest) = (*header.get(6)?, header.get(40..)?);
    while let Some(start) = rest.first_chunk::<8>() {
        if next == FRAGMENT {
            return Some((u16::from_be_bytes([start[2], start[3]]) & 0xfff8).into());
        }
        next = start[0];
        rest = rest.get((usize::from(start[1]) + 1) * 8..)?;
    }
    None
}

/// A field of two bytes of an ICMP message that has an identifier and a sequence number.
fn numbered(packet: &Packet<'_>, at: usize) -> Option<u64> {
    let (kind, _) = icmp(packet)?;
    let has_it = match packet.ip.protocol {
        protocol::ICMP => icmp::V4_NUMBERED.contains(&kind),
        _ => icmp::V6_NUMBERED.contains(&kind),
    };
    let bytes = has_it.then(|| packet.transport_bytes()).flatten()?;
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word).into())
}

/// The value of a TCP option; the first of its kind that has the right length counts, and an option of an impossible
/// length ends them.
fn tcp_option<'a>(packet: &Packet<'a>, (wanted, length): (u8, u8)) -> Option<&'a [u8]> {
    tcp(packet)?;
    let bytes = packet.transport_bytes()?;
    let mut rest = bytes.get(20..usize::from(*bytes.get(12)? >> 4) * 4)?;
    while let [kind, after @ ..] = rest {
        match *kind {
            option::END => return None,
            option::NO_OPERATION => {
                rest = after;
                continue;
            }
            _ => {}
        }
        let declared = *after.first()?;
        let (this, next) = rest.split_at_checked(declared.into()).filter(|_| declared >= 2)?;
        if *kind == wanted && declared == length {
            return this.get(2..);
        }
        rest = next;
    }
    None
}
