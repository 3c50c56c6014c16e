//! Tunnels: what travels inside of a packet (DESIGN: the inner flow is measured, its outer tunnel kept).
//!
//! In: a decoded packet. Out: the packet inside of it, as far in as tunnels go, and what the outermost ones say
//! ([`Tunnel`]). Known: IP in IP and 6in4 (RFC 2003, RFC 4213), GRE (RFC 2784, 2890) with Ethernet, MPLS and PPP (RFC
//! 2637), ERSPAN I to III, EtherIP (RFC 3378), MPLS in IP (RFC 4023); over UDP: VXLAN (RFC 7348) and VXLAN-GPE, GENEVE
//! (RFC 8926), GTP-U (3GPP TS 29.281), Teredo (RFC 4380), L2TP (RFC 2661), GRE (RFC 8086), MPLS (RFC 7510), AYIYA and
//! LISP (RFC 9300).
//!
//! A tunnel is opened where its own header and the packet inside are sound; what is not, is metered as the packet it
//! came in. Nothing is put together here: a fragment inside of a fragmented tunnel packet stays with the tunnel.

use super::link::{self, LinkHeader, Version};
use super::{Layer, Packet, Transport, ipv4, ipv6};
use crate::capture::LinkType;
use weir_common::net::{Address, protocol};
use weir_common::record::TunnelKind;

/// Most tunnels opened one inside of the other; at the limit the packet that was reached is metered as it is,
/// and counted (`decode.tunnel_limit`).
pub(super) const TUNNEL_DEPTH_MAX: u8 = 8;
/// Most extension headers of GTP-U passed over; a packet with more is not opened.
const GTP_EXTENSIONS_MAX: usize = 8;

/// IANA protocol numbers that only this file names.
mod number {
    pub(super) const IP_IN_IP: u8 = 4;
    pub(super) const IPV6: u8 = 41;
    pub(super) const GRE: u8 = 47;
    pub(super) const ETHER_IP: u8 = 97;
    pub(super) const MPLS: u8 = 137;
}

/// IP protocols of packets that may carry others.
pub const TUNNEL_PROTOCOLS: [u8; 6] =
    [protocol::UDP, number::IP_IN_IP, number::IPV6, number::GRE, number::ETHER_IP, number::MPLS];

/// IANA ports of tunnels.
mod port {
    pub(super) const L2TP: u16 = 1701;
    pub(super) const GTP_U: u16 = 2152;
    pub(super) const TEREDO: u16 = 3544;
    pub(super) const LISP: u16 = 4341;
    pub(super) const GRE: u16 = 4754;
    pub(super) const VXLAN: u16 = 4789;
    pub(super) const VXLAN_GPE: u16 = 4790;
    pub(super) const AYIYA: u16 = 5072;
    pub(super) const GENEVE: u16 = 6081;
    pub(super) const MPLS: u16 = 6635;
    /// Linux' default before the number was assigned.
    pub(super) const VXLAN_LINUX: u16 = 8472;
}

/// EtherTypes that GRE and GENEVE name besides IP's.
mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const ETHERNET: u16 = 0x6558;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(super) const PPP: u16 = 0x880b;
    pub(super) const ERSPAN: u16 = 0x88be;
    pub(super) const ERSPAN_3: u16 = 0x22eb;
    /// Aruba's access points send the 802.11 frames of their clients, one type per tunnel.
    pub(super) const ARUBA_FIRST: u16 = 0x8200;
    pub(super) const ARUBA_LAST: u16 = 0x82ff;
}

/// What a tunnel's header says: how the packet inside begins, and which of the tunnels between these ends it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inside<'a> {
    kind: TunnelKind,
    begins: Begins,
    bytes: &'a [u8],
    /// VNI, TEID, GRE key, ERSPAN or L2TP session.
    id: Option<u32>,
}

/// How the packet inside of a tunnel begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Ip,
    Ethernet,
    Wireless,
    Mpls,
    Ppp,
}

/// Whether a packet may be a tunnel's: what is asked of every packet.
#[inline]
pub(super) fn may_be(packet: &Packet<'_>) -> bool {
    match packet.transport {
        Transport::Tcp(_) | Transport::Icmp { .. } => false,
        Transport::Ports { source, destination } => {
            packet.ip.protocol == protocol::UDP
                && (is_port(destination) || is_port(source) || is_teredo(packet.payload))
        }
        Transport::None => matches!(
            packet.ip.protocol,
            number::IP_IN_IP | number::IPV6 | number::GRE | number::ETHER_IP | number::MPLS
        ),
    }
}

#[inline]
fn is_port(port: u16) -> bool {
    matches!(
        port,
        port::L2TP
            | port::GTP_U
            | port::TEREDO
            | port::LISP
            | port::GRE
            | port::VXLAN
            | port::VXLAN_GPE
            | port::AYIYA
            | port::GENEVE
            | port::MPLS
            | port::VXLAN_LINUX
    )
}

/// What is inside of a tunnel.
pub(super) struct Opened<'a> {
    pub(super) kind: TunnelKind,
    pub(super) id: Option<u32>,
    pub(super) vlans: [u16; 2],
    pub(super) link: LinkHeader<'a>,
    pub(super) layer: Layer<'a>,
    /// Captured octets from the inner link header on.
    pub(super) octets: u32,
}

/// Opens one tunnel: the network layer inside of a packet and what stands before it.
pub(super) fn open<'a>(packet: &Packet<'a>) -> Option<Opened<'a>> {
    let inside = inside(packet)?;
    let wire = u32::try_from(inside.bytes.len()).ok()?;
    let network = match inside.begins {
        Begins::Ip => link::strip(LinkType::RAW, inside.bytes),
        Begins::Ethernet => link::strip(LinkType::ETHERNET, inside.bytes),
        Begins::Wireless => link::strip(LinkType::IEEE802_11, inside.bytes),
        Begins::Mpls => link::labelled(inside.bytes),
        Begins::Ppp => link::strip(LinkType::PPP, inside.bytes),
    };
    let network = network.ok()?;
    let link_len = u32::try_from(inside.bytes.len() - network.bytes.len()).ok()?;
    let layer = match network.version {
        Version::V4 => ipv4::parse(network.bytes, wire - link_len),
        Version::V6 => ipv6::parse(network.bytes, wire - link_len),
    };
    let mut layer = layer.ok()?;
    // Where the tunnel's packet is cut off, so is the one inside, whatever is left of it.
    layer.is_cut |= packet.is_cut && layer.payload.len() + link_len as usize >= inside.bytes.len();
    let header = inside.bytes.get(..link_len as usize).unwrap_or_default();
    let link = match inside.begins {
        Begins::Ethernet => LinkHeader::new(LinkType::ETHERNET, header),
        _ => LinkHeader::new(LinkType::RAW, header),
    };
    let mut opened =
        Opened { kind: inside.kind, id: inside.id, vlans: network.vlans, link, layer, octets: wire };
    if inside.kind == TunnelKind::Erspan
        && let Some(vlan) = vlan_of_erspan(packet.payload, inside.bytes.len())
    {
        // The mirrored frame's own tag was taken off and stands in the header, which GRE carries as well.
        opened.octets = wire.saturating_add(ERSPAN_2_BYTES as u32);
        if opened.vlans[0] == 0 {
            opened.vlans[0] = vlan;
        }
    }
    Some(opened)
}

/// ERSPAN's header of type II.
const ERSPAN_2_BYTES: usize = 8;

/// The VLAN that an ERSPAN header of type II names, right before the last `inside_len` bytes; other types have none
/// there.
#[cold]
fn vlan_of_erspan(payload: &[u8], inside_len: usize) -> Option<u16> {
    let at = payload.len().checked_sub(inside_len)?.checked_sub(ERSPAN_2_BYTES)?;
    let word = u16::from_be_bytes(*payload.get(at..)?.first_chunk()?);
    // Behind a GRE header with a sequence number.
    (at >= 8 && word >> 12 == 1).then_some(word & 0x0fff)
}

/// The Ethernet frame that a tunnel's packet carries.
pub(super) fn ethernet_inside<'a>(packet: &Packet<'a>) -> Option<(TunnelKind, &'a [u8])> {
    let inside = may_be(packet).then(|| inside(packet)).flatten()?;
    (inside.begins == Begins::Ethernet).then_some((inside.kind, inside.bytes))
}

fn inside<'a>(packet: &Packet<'a>) -> Option<Inside<'a>> {
    let bytes = packet.payload;
    let plain = |kind, begins| Some(Inside { kind, begins, bytes, id: None });
    match (packet.ip.protocol, packet.transport) {
        (number::IP_IN_IP, _) => plain(TunnelKind::IpInIp, Begins::Ip),
        (number::IPV6, _) => plain(TunnelKind::SixInFour, Begins::Ip),
        (number::GRE, _) => gre(bytes),
        (number::ETHER_IP, _) => {
            // RFC 3378 section 3: version 3 in the first four bits, then zeros.
            let rest = bytes.strip_prefix(&[0x30, 0x00])?;
            Some(Inside { kind: TunnelKind::EtherIp, begins: Begins::Ethernet, bytes: rest, id: None })
        }
        (number::MPLS, _) => plain(TunnelKind::Mpls, Begins::Mpls),
        (protocol::UDP, Transport::Ports { source, destination }) => {
            by_port(destination, bytes).or_else(|| by_port(source, bytes)).or_else(|| teredo(bytes))
        }
        _ => None,
    }
}

fn by_port(port: u16, bytes: &[u8]) -> Option<Inside<'_>> {
    match port {
        port::VXLAN | port::VXLAN_LINUX => vxlan(bytes),
        port::VXLAN_GPE => vxlan_gpe(bytes),
        port::GENEVE => geneve(bytes),
        port::GTP_U => gtp(bytes),
        port::GRE => gre(bytes),
        port::L2TP => l2tp(bytes),
        port::AYIYA => ayiya(bytes),
        port::LISP => lisp(bytes),
        port::MPLS => {
            let plausible = bytes.len() > 4;
            plausible.then_some(Inside { kind: TunnelKind::Mpls, begins: Begins::Mpls, bytes, id: None })
        }
        _ => None,
    }
}

/// GRE, RFC 2784 and RFC 2890; version 1 is PPTP's (RFC 2637 section 4.1).
fn gre(bytes: &[u8]) -> Option<Inside<'_>> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    let header = bytes.first_chunk::<4>()?;
    let flags = u16::from_be_bytes([header[0], header[1]]);
    let kind = u16::from_be_bytes([header[2], header[3]]);
    let has = |flag| usize::from(flags & flag != 0);
    let version = flags & 0x0007;
    let mut rest = &bytes[4..];
    // Source routes (RFC 1701) are a list that nobody sends any more.
    if version > 1 || flags & ROUTING != 0 {
        return None;
    }
    rest = rest.get(4 * has(CHECKSUM)..)?;
    let mut id = None;
    if flags & KEY != 0 {
        id = Some(u32::from_be_bytes(*rest.first_chunk()?));
        rest = &rest[4..];
    }
    rest = rest.get(4 * has(SEQUENCE)..)?;
    if version == 1 {
        // The key holds the payload's length and the call.
        id = id.map(|key| key & 0xffff);
        rest = rest.get(4 * has(ACKNOWLEDGEMENT)..)?;
    }
    let inside = |kind, begins, bytes| Some(Inside { kind, begins, bytes, id });
    match (version, kind) {
        (0, ethertype::IPV4 | ethertype::IPV6) => inside(TunnelKind::Gre, Begins::Ip, rest),
        (0, ethertype::ETHERNET) => inside(TunnelKind::Gre, Begins::Ethernet, rest),
        (0, ethertype::MPLS | ethertype::MPLS_UPSTREAM) => inside(TunnelKind::Gre, Begins::Mpls, rest),
        (0, ethertype::ARUBA_FIRST..=ethertype::ARUBA_LAST) => {
            inside(TunnelKind::Gre, Begins::Wireless, rest)
        }
        (1, ethertype::PPP) => inside(TunnelKind::Gre, Begins::Ppp, rest),
        // Without a sequence number it is type I, which has no header of its own.
        (0, ethertype::ERSPAN) if flags & SEQUENCE == 0 => inside(TunnelKind::Erspan, Begins::Ethernet, rest),
        (0, ethertype::ERSPAN) => erspan(rest, 1, 8),
        (0, ethertype::ERSPAN_3) => erspan(rest, 2, 12),
        _ => None,
    }
}

/// ERSPAN's header of type II or III (draft-foschiano-erspan-03 sections 4.2 and 4.3).
fn erspan(bytes: &[u8], version: u8, header_len: usize) -> Option<Inside<'_>> {
    let header = bytes.first_chunk::<8>()?;
    if header[0] >> 4 != version {
        return None;
    }
    let id = Some(u32::from(u16::from_be_bytes([header[2], header[3]]) & 0x03ff));
    // Type III may have a platform specific part behind it.
    let has_more = version == 2 && bytes.get(11)? & 1 == 1;
    let bytes = bytes.get(header_len + 8 * usize::from(has_more)..)?;
    Some(Inside { kind: TunnelKind::Erspan, begins: Begins::Ethernet, bytes, id })
}

fn vxlan(bytes: &[u8]) -> Option<Inside<'_>> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    // The I flag says that there is a network identifier; the policy extension uses two more bits.
    if header[0] & 0x08 == 0 || header[0] & 0x07 != 0 || header[7] != 0 {
        return None;
    }
    let id = Some(u32::from_be_bytes([0, header[4], header[5], header[6]]));
    Some(Inside { kind: TunnelKind::Vxlan, begins: Begins::Ethernet, bytes: rest, id })
}

/// draft-ietf-nvo3-vxlan-gpe-13 section 3.
fn vxlan_gpe(bytes: &[u8]) -> Option<Inside<'_>> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    if header[0] & 0x08 == 0 {
        return None;
    }
    let begins = match (header[0] & 0x04 != 0, header[3]) {
        (false, _) | (true, 3) => Begins::Ethernet,
        (true, 1 | 2) => Begins::Ip,
        (true, 5) => Begins::Mpls,
        _ => return None,
    };
    let id = Some(u32::from_be_bytes([0, header[4], header[5], header[6]]));
    Some(Inside { kind: TunnelKind::Vxlan, begins, bytes: rest, id })
}

fn geneve(bytes: &[u8]) -> Option<Inside<'_>> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    if header[0] >> 6 != 0 || header[7] != 0 {
        return None;
    }
    let begins = match u16::from_be_bytes([header[2], header[3]]) {
        ethertype::ETHERNET => Begins::Ethernet,
        ethertype::IPV4 | ethertype::IPV6 => Begins::Ip,
        ethertype::MPLS => Begins::Mpls,
        _ => return None,
    };
    let id = Some(u32::from_be_bytes([0, header[4], header[5], header[6]]));
    let bytes = rest.get(usize::from(header[0] & 0x3f) * 4..)?;
    Some(Inside { kind: TunnelKind::Geneve, begins, bytes, id })
}

/// A G-PDU: the only message of GTP-U that carries a packet.
fn gtp(bytes: &[u8]) -> Option<Inside<'_>> {
    const G_PDU: u8 = 255;
    let (header, mut rest) = bytes.split_first_chunk::<8>()?;
    // Version 1, protocol type GTP, spare bit 0.
    if header[0] & 0xf8 != 0x30 || header[1] != G_PDU {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    rest = rest.get(..length).unwrap_or(rest);
    if header[0] & 0x07 != 0 {
        let optional = rest.first_chunk::<4>()?;
        let mut next = if header[0] & 0x04 != 0 { optional[3] } else { 0 };
        rest = &rest[4..];
        let mut extensions = 0;
        while next != 0 {
            // The length counts four bytes each; the last byte names the next extension.
            let length = usize::from(*rest.first()?) * 4;
            let (extension, behind) = rest.split_at_checked(length)?;
            extensions += 1;
            if extensions > GTP_EXTENSIONS_MAX {
                return None;
            }
            next = *extension.last()?;
            rest = behind;
        }
    }
    let id = Some(u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
    Some(Inside { kind: TunnelKind::Gtp, begins: Begins::Ip, bytes: rest, id })
}

/// Whether it is a bare IPv6 packet of a Teredo client or relay on any port.
#[inline]
fn is_teredo(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0x60..=0x6f)) && teredo(bytes).is_some()
}

/// Teredo, RFC 4380 section 5.1.1: indications, then an IPv6 packet, one of whose ends must be a Teredo address
/// or, in bubbles and router solicitations, a link-local one.
fn teredo(mut bytes: &[u8]) -> Option<Inside<'_>> {
    if let [0, 1, client, authentication, ..] = bytes {
        bytes = bytes.get(13 + usize::from(*client) + usize::from(*authentication)..)?;
    }
    if let [0, 0, ..] = bytes {
        bytes = bytes.get(8..)?;
    }
    let header = bytes.first_chunk::<40>()?;
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let is_of_teredo = |at: usize| {
        let prefix = header.get(at..at + 4).unwrap_or_default();
        matches!(prefix, [0x20, 0x01, 0, 0] | [0xfe, 0x80, ..])
    };
    let is_whole = payload_len + 40 <= bytes.len();
    let is_sound = header[0] >> 4 == 6 && is_whole && (is_of_teredo(8) || is_of_teredo(24));
    is_sound.then_some(Inside { kind: TunnelKind::Teredo, begins: Begins::Ip, bytes, id: None })
}

/// A data message of L2TP version 2.
fn l2tp(bytes: &[u8]) -> Option<Inside<'_>> {
    const CONTROL: u16 = 0x8000;
    const LENGTH: u16 = 0x4000;
    const SEQUENCE: u16 = 0x0800;
    const OFFSET: u16 = 0x0200;
    let flags = u16::from_be_bytes(*bytes.first_chunk()?);
    if flags & (CONTROL | 0x000f) != 2 {
        return None;
    }
    let mut rest = bytes.get(2 + 2 * usize::from(flags & LENGTH != 0)..)?;
    let ids = rest.first_chunk::<4>()?;
    let id = Some(u32::from_be_bytes(*ids));
    rest = rest.get(4 + 4 * usize::from(flags & SEQUENCE != 0)..)?;
    if flags & OFFSET != 0 {
        let padding = u16::from_be_bytes(*rest.first_chunk()?);
        rest = rest.get(2 + usize::from(padding)..)?;
    }
    Some(Inside { kind: TunnelKind::L2tp, begins: Begins::Ppp, bytes: rest, id })
}

/// AYIYA, draft-massar-v6ops-ayiya-02 section 4.
fn ayiya(bytes: &[u8]) -> Option<Inside<'_>> {
    const FORWARD: u8 = 1;
    let header = bytes.first_chunk::<8>()?;
    let identity_len = 1usize << (header[0] >> 4);
    let signature_len = usize::from(header[1] >> 4) * 4;
    if header[2] & 0x0f != FORWARD || !matches!(header[3], number::IP_IN_IP | number::IPV6) {
        return None;
    }
    let bytes = bytes.get(8 + identity_len + signature_len..)?;
    Some(Inside { kind: TunnelKind::Ayiya, begins: Begins::Ip, bytes, id: None })
}

fn lisp(bytes: &[u8]) -> Option<Inside<'_>> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    // The I flag: an instance identifier stands in the last word.
    let id = (header[0] & 0x08 != 0).then(|| u32::from_be_bytes([0, header[4], header[5], header[6]]));
    Some(Inside { kind: TunnelKind::Lisp, begins: Begins::Ip, bytes: rest, id })
}

/// The ends of a packet that is a tunnel's, as a record tells them.
pub(super) fn ends(packet: &Packet<'_>) -> [(Address, u16); 2] {
    let (source_port, destination_port) = packet.transport.ports();
    [(packet.ip.source, source_port), (packet.ip.destination, destination_port)]
}
