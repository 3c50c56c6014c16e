//! The link layer: from a frame's first byte to its IP header.
//!
//! In: captured bytes and their link type. Out: which IP version follows, where, and the first two
//! 802.1Q identifiers; and, from the header that was passed over, addresses and MPLS labels, for whoever asks once per
//! flow. Ethernet II and 802.3 with SNAP, FDDI, 802.1Q and 802.1ad tags, VN-Tags, 802.1BR and 802.1ah, FabricPath,
//! MPLS label stacks and Ethernet pseudowires behind them, network service headers, PPPoE sessions, Linux cooked captures, BSD loopback, PPP, Cisco HDLC, NFLOG, PPI and raw IP; 802.11 is
//! `wireless`'s.

use super::error::Undecoded;
use super::wireless;
use crate::capture::LinkType;

/// Most 802.1Q tags passed over, and most tags of bridges; a frame with more is malformed. Two are what networks use, a few
/// more appear where tunnels are mirrored.
const VLAN_TAGS_MAX: usize = 8;
/// Most Ethernet frames one inside of the other, behind labels, service headers and the tags of bridges; at the limit what is
/// inside is not opened.
const NESTED_FRAMES_MAX: u8 = 4;
/// Most MPLS labels passed over; a frame with more is malformed (RFC 3032 sets no limit).
const MPLS_LABELS_MAX: usize = 16;

/// EtherTypes (IEEE 802 numbers).
mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const VLAN_SERVICE: u16 = 0x88a8;
    pub(super) const VLAN_OLD_1: u16 = 0x9100;
    pub(super) const VLAN_OLD_2: u16 = 0x9200;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    pub(super) const NSH: u16 = 0x894f;
    /// Cisco's FabricPath: a tag, then a frame.
    pub(super) const FABRIC_PATH: u16 = 0x8903;
    pub(super) const BRIDGED: u16 = 0x6558;
    /// Tags of virtual interfaces (VN-Tag), of port extenders (802.1BR) and of services (802.1ah).
    pub(super) const VN_TAG: u16 = 0x8926;
    pub(super) const E_TAG: u16 = 0x893f;
    pub(super) const I_TAG: u16 = 0x88e7;
    /// Values up to here are the length of an 802.3 frame, not a type.
    pub(super) const LENGTH_MAX: u16 = 1500;
}

/// PPP protocol numbers (RFC 1661, IANA).
mod ppp {
    pub(super) const IPV4: u16 = 0x0021;
    pub(super) const IPV6: u16 = 0x0057;
    pub(super) const MPLS: u16 = 0x0281;
}

/// LLC header of a SNAP frame with OUI 0, after which an EtherType follows (RFC 1042).
const SNAP_ETHERTYPE: [u8; 6] = [0xaa, 0xaa, 0x03, 0x00, 0x00, 0x00];

/// The bytes of a frame before its IP header. They are looked at once per flow, not per packet.
#[derive(Clone, Copy, Debug)]
pub struct LinkHeader<'a> {
    kind: LinkType,
    bytes: &'a [u8],
}

impl<'a> LinkHeader<'a> {
    /// That of a packet whose frame is gone, or that has none.
    pub const NONE: LinkHeader<'static> = LinkHeader { kind: LinkType::RAW, bytes: &[] };

    #[inline]
    pub(super) fn new(kind: LinkType, bytes: &'a [u8]) -> LinkHeader<'a> {
        LinkHeader { kind, bytes }
    }

    pub(super) fn kind(&self) -> LinkType {
        self.kind
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Source and destination address; Linux cooked captures have the source only, and zeros stand for what is not
    /// there.
    pub fn macs(&self) -> Option<([u8; 6], [u8; 6])> {
        let six = |at: usize| self.bytes.get(at..)?.first_chunk::<6>().copied();
        match self.kind {
            LinkType::ETHERNET => Some((six(6)?, six(0)?)),
            // Address length, then eight octets with the address in front.
            LinkType::LINUX_SLL if self.bytes.get(4..6) == Some(&[0, 6]) => Some((six(6)?, [0; 6])),
            LinkType::LINUX_SLL2 if self.bytes.get(11) == Some(&6) => Some((six(12)?, [0; 6])),
            _ => None,
        }
    }

    /// Puts the 802.1Q identifiers into `ids` and gives how many there are; `None` on links of other kinds.
    pub(super) fn vlans(&self, ids: &mut [u16]) -> Option<usize> {
        let (kind_at, mut at) = match self.kind {
            LinkType::ETHERNET => (12, 14),
            LinkType::LINUX_SLL => (14, 16),
            LinkType::LINUX_SLL2 => (0, 20),
            _ => return None,
        };
        let word = |at: usize| self.bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word));
        let (mut kind, mut layers) = (word(kind_at)?, 0);
        for id in ids {
            match kind {
                ethertype::VLAN | ethertype::VLAN_SERVICE | ethertype::VLAN_OLD_1 | ethertype::VLAN_OLD_2 => {
                    *id = word(at)? & 0x0fff;
                    kind = word(at + 2)?;
                    (at, layers) = (at + 4, layers + 1);
                }
                _ => break,
            }
        }
        Some(layers)
    }

    /// The first MPLS label stack entries, topmost first: label, traffic class, bottom of stack, without the TTL;
    /// zeros behind the last.
    pub fn mpls<const N: usize>(&self) -> [u32; N] {
        let mut entries = [0; N];
        let (kind_at, mut at) = match self.kind {
            LinkType::ETHERNET => (12, 14),
            LinkType::LINUX_SLL => (14, 16),
            LinkType::LINUX_SLL2 => (0, 20),
            _ => return entries,
        };
        let word = |at: usize| {
            self.bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u16::from_be_bytes(*b))
        };
        let mut kind = word(kind_at);
        while let Some(
            ethertype::VLAN | ethertype::VLAN_SERVICE | ethertype::VLAN_OLD_1 | ethertype::VLAN_OLD_2,
        ) = kind
        {
            kind = word(at + 2);
            at += 4;
        }
        if matches!(kind, Some(ethertype::MPLS | ethertype::MPLS_UPSTREAM)) {
            let labels = self.bytes.get(at..).unwrap_or_default().as_chunks::<4>().0;
            for (entry, label) in entries.iter_mut().zip(labels) {
                *entry = u32::from_be_bytes([0, label[0], label[1], label[2]]);
                if label[2] & 1 == 1 {
                    break;
                }
            }
        }
        entries
    }
}

/// The IP version that a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// Where the IP header of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network<'a> {
    /// 802.1Q identifiers, outermost first; 0 where there is none.
    pub(super) vlans: [u16; 2],
    /// What the link layer says follows.
    pub(super) version: Version,
    /// Captured bytes from the IP header on, link padding included.
    pub(super) bytes: &'a [u8],
}

/// Finds the IP header of a frame.
#[inline]
pub(super) fn strip<'a>(link: LinkType, data: &'a [u8]) -> Result<Network<'a>, Undecoded> {
    match link {
        LinkType::ETHERNET => ethernet(data, 0),
        _ => strip_other(link, data),
    }
}

/// Finds the IP header of an Ethernet frame that is inside of so many others.
#[inline]
fn ethernet(data: &[u8], depth: u8) -> Result<Network<'_>, Undecoded> {
    let header = data.first_chunk::<14>().ok_or(Undecoded::Truncated)?;
    let kind = u16::from_be_bytes([header[12], header[13]]);
    let rest = &data[14..];
    // The common case first: everything else is out of line.
    match kind {
        ethertype::IPV4 => Ok(Network { vlans: [0; 2], version: Version::V4, bytes: rest }),
        ethertype::IPV6 => Ok(Network { vlans: [0; 2], version: Version::V6, bytes: rest }),
        _ => by_ethertype(kind, rest, depth),
    }
}

/// A frame inside of another.
fn nested(data: &[u8], depth: u8) -> Result<Network<'_>, Undecoded> {
    if depth >= NESTED_FRAMES_MAX {
        return Err(Undecoded::OtherEthertype);
    }
    ethernet(data, depth + 1)
}

#[inline(never)]
fn strip_other(link: LinkType, data: &[u8]) -> Result<Network<'_>, Undecoded> {
    match link {
        LinkType::RAW | LinkType(12 | 14) => by_version(data),
        LinkType::IPV4 => Ok(Network { vlans: [0; 2], version: Version::V4, bytes: data }),
        LinkType::IPV6 => Ok(Network { vlans: [0; 2], version: Version::V6, bytes: data }),
        LinkType::NULL | LinkType::LOOP => {
            let family = data.first_chunk::<4>().ok_or(Undecoded::Truncated)?;
            by_family(*family, &data[4..])
        }
        LinkType::LINUX_SLL => {
            let header = data.first_chunk::<16>().ok_or(Undecoded::Truncated)?;
            by_ethertype(u16::from_be_bytes([header[14], header[15]]), &data[16..], 0)
        }
        LinkType::LINUX_SLL2 => {
            let header = data.first_chunk::<20>().ok_or(Undecoded::Truncated)?;
            by_ethertype(u16::from_be_bytes([header[0], header[1]]), &data[20..], 0)
        }
        LinkType::CISCO_HDLC => {
            let header = data.first_chunk::<4>().ok_or(Undecoded::Truncated)?;
            by_ethertype(u16::from_be_bytes([header[2], header[3]]), &data[4..], 0)
        }
        LinkType::PPP | LinkType::PPP_HDLC => by_ppp(data.strip_prefix(&[0xff, 0x03]).unwrap_or(data), 0),
        LinkType::PPPOE => by_ppp(data.get(6..).ok_or(Undecoded::Truncated)?, 0),
        LinkType::FDDI => by_llc(data.get(13..).ok_or(Undecoded::Truncated)?),
        LinkType::NFLOG => nflog(data),
        LinkType::PPI => ppi(data),
        LinkType::IEEE802_11 | LinkType::PRISM | LinkType::RADIOTAP | LinkType::AVS => {
            by_llc(wireless::llc(link, data)?)
        }
        _ => Err(Undecoded::UnknownLink),
    }
}

/// Follows EtherTypes through tags and labels.
#[inline(never)]
fn by_ethertype(mut kind: u16, mut rest: &[u8], depth: u8) -> Result<Network<'_>, Undecoded> {
    let mut vlans = [0u16; 2];
    let (mut tags, mut bridge_tags) = (0, 0);
    loop {
        match kind {
            ethertype::IPV4 => return Ok(Network { vlans, version: Version::V4, bytes: rest }),
            ethertype::IPV6 => return Ok(Network { vlans, version: Version::V6, bytes: rest }),
            ethertype::ARP => return Err(Undecoded::Arp),
            ethertype::VLAN | ethertype::VLAN_SERVICE | ethertype::VLAN_OLD_1 | ethertype::VLAN_OLD_2 => {
                let tag = rest.first_chunk::<4>().ok_or(Undecoded::Truncated)?;
                if tags == VLAN_TAGS_MAX {
                    return Err(Undecoded::Malformed);
                }
                if let Some(kept) = vlans.get_mut(tags) {
                    *kept = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
                }
                tags += 1;
                kind = u16::from_be_bytes([tag[2], tag[3]]);
                rest = &rest[4..];
            }
            ethertype::MPLS | ethertype::MPLS_UPSTREAM => {
                return behind_labels(rest, depth).map(|network| Network {
                    vlans: if network.vlans[0] == 0 { vlans } else { network.vlans },
                    ..network
                });
            }
            ethertype::PPPOE_SESSION => {
                // RFC 2516: version and type, code, session (2), length (2); the length is not needed
                // because the IP header has its own.
                let session = rest.get(6..).ok_or(Undecoded::Truncated)?;
                return by_ppp(session, depth).map(|network| Network { vlans, ..network });
            }
            ethertype::VN_TAG | ethertype::E_TAG | ethertype::I_TAG => {
                let (tag_len, frame_len) = match kind {
                    ethertype::VN_TAG => (4, 0),
                    ethertype::E_TAG => (6, 0),
                    // The addresses of the frame inside stand behind it.
                    _ => (4, 12),
                };
                let behind = rest.get(tag_len + frame_len..).ok_or(Undecoded::Truncated)?;
                let (next, behind) = behind.split_first_chunk::<2>().ok_or(Undecoded::Truncated)?;
                bridge_tags += 1;
                if bridge_tags > VLAN_TAGS_MAX {
                    return Err(Undecoded::Malformed);
                }
                (kind, rest) = (u16::from_be_bytes(*next), behind);
            }
            ethertype::NSH | ethertype::FABRIC_PATH | ethertype::BRIDGED => {
                let network = match kind {
                    ethertype::NSH => behind_service_header(rest, depth),
                    ethertype::FABRIC_PATH => nested(rest.get(2..).ok_or(Undecoded::Truncated)?, depth),
                    _ => nested(rest, depth),
                };
                return network.map(|network| Network {
                    vlans: if network.vlans[0] == 0 { vlans } else { network.vlans },
                    ..network
                });
            }
            0..=ethertype::LENGTH_MAX => {
                kind = snap_ethertype(rest)?;
                rest = &rest[8..];
            }
            _ => return Err(Undecoded::OtherEthertype),
        }
    }
}

/// What a network service header leads to (RFC 8300 section 2.2).
fn behind_service_header(bytes: &[u8], depth: u8) -> Result<Network<'_>, Undecoded> {
    let header = bytes.first_chunk::<8>().ok_or(Undecoded::Truncated)?;
    let words = usize::from(header[1] & 0x3f);
    if header[0] >> 6 != 0 || words < 2 {
        return Err(Undecoded::Malformed);
    }
    let rest = bytes.get(4 * words..).ok_or(Undecoded::Truncated)?;
    match header[3] {
        1 => Ok(Network { vlans: [0; 2], version: Version::V4, bytes: rest }),
        2 => Ok(Network { vlans: [0; 2], version: Version::V6, bytes: rest }),
        3 => nested(rest, depth),
        5 => behind_labels(rest, depth),
        _ => Err(Undecoded::OtherEthertype),
    }
}

/// The ARP message of a frame and the 802.1Q identifiers before it.
#[cold]
pub(super) fn arp(link: LinkType, data: &[u8]) -> Option<([u16; 2], &[u8])> {
    let (kind_at, mut at) = match link {
        LinkType::ETHERNET => (12, 14),
        LinkType::LINUX_SLL => (14, 16),
        LinkType::LINUX_SLL2 => (0, 20),
        _ => return None,
    };
    let word = |at: usize| data.get(at..)?.first_chunk::<2>().map(|word| u16::from_be_bytes(*word));
    let (mut kind, mut vlans) = (word(kind_at)?, [0; 2]);
    for tag in 0..=VLAN_TAGS_MAX {
        match kind {
            ethertype::ARP => return Some((vlans, data.get(at..)?)),
            ethertype::VLAN | ethertype::VLAN_SERVICE | ethertype::VLAN_OLD_1 | ethertype::VLAN_OLD_2 => {
                if let Some(kept) = vlans.get_mut(tag) {
                    *kept = word(at)? & 0x0fff;
                }
                kind = word(at + 2)?;
                at += 4;
            }
            _ => return None,
        }
    }
    None
}

/// The EtherType of a SNAP header, eight bytes with the LLC header before it.
fn snap_ethertype(llc: &[u8]) -> Result<u16, Undecoded> {
    let llc = llc.first_chunk::<8>().ok_or(Undecoded::OtherEthertype)?;
    let kind = u16::from_be_bytes([llc[6], llc[7]]);
    if llc[..3] != SNAP_ETHERTYPE[..3] || kind <= ethertype::LENGTH_MAX {
        return Err(Undecoded::OtherEthertype);
    }
    // RFC 1042, and 802.1H for bridges of 802.11.
    if !matches!(llc[3..6], [0, 0, 0] | [0, 0, 0xf8]) {
        return Err(Undecoded::OtherEthertype);
    }
    Ok(kind)
}

/// What follows an LLC header.
fn by_llc(llc: &[u8]) -> Result<Network<'_>, Undecoded> {
    let kind = snap_ethertype(llc)?;
    by_ethertype(kind, llc.get(8..).unwrap_or_default(), 0)
}

/// What follows an MPLS label stack: IP, or an Ethernet pseudowire, with its control word (RFC 4448 section 4.6)
/// or without one where Ethernet is all it can be.
pub(super) fn labelled(bytes: &[u8]) -> Result<Network<'_>, Undecoded> {
    behind_labels(bytes, 0)
}

fn behind_labels(bytes: &[u8], depth: u8) -> Result<Network<'_>, Undecoded> {
    let inside = after_labels(bytes)?;
    match inside.first().ok_or(Undecoded::Truncated)? >> 4 {
        4 | 6 => by_version(inside),
        0 => {
            let with_control_word = inside.get(4..).unwrap_or_default();
            nested(with_control_word, depth).or_else(|_| nested(inside, depth))
        }
        _ => nested(inside, depth),
    }
    // What labels lead to is not told by them: whatever it is, it is not IP.
    .map_err(|_| Undecoded::OtherEthertype)
}

/// Linux' netfilter log: a header, then attributes in the capturing host's byte order, one of them the packet
/// (linux/netfilter/nfnetlink_log.h).
fn nflog(data: &[u8]) -> Result<Network<'_>, Undecoded> {
    const PAYLOAD: u16 = 9;
    let mut rest = data.get(4..).ok_or(Undecoded::Truncated)?;
    while let Some(header) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_le_bytes([header[0], header[1]]));
        let kind = u16::from_le_bytes([header[2], header[3]]) & 0x7fff;
        if length < 4 {
            return Err(Undecoded::Malformed);
        }
        if kind == PAYLOAD {
            return by_version(rest.get(4..length).unwrap_or(rest.get(4..).unwrap_or_default()));
        }
        rest = rest.get(length.next_multiple_of(4)..).ok_or(Undecoded::Truncated)?;
    }
    Err(Undecoded::OtherEthertype)
}

/// Per-packet information: a header with its length and the link type of what follows (PPI specification 1.0.7).
fn ppi(data: &[u8]) -> Result<Network<'_>, Undecoded> {
    let header = data.first_chunk::<8>().ok_or(Undecoded::Truncated)?;
    let length = usize::from(u16::from_le_bytes([header[2], header[3]]));
    let link = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let link = u16::try_from(link).map(LinkType).map_err(|_| Undecoded::UnknownLink)?;
    if length < 8 {
        return Err(Undecoded::Malformed);
    }
    // It cannot hold itself again.
    if link == LinkType::PPI {
        return Err(Undecoded::UnknownLink);
    }
    strip(link, data.get(length..).ok_or(Undecoded::Truncated)?)
}

/// The bytes after an MPLS label stack (RFC 3032 section 2.1).
fn after_labels(mut rest: &[u8]) -> Result<&[u8], Undecoded> {
    for _ in 0..MPLS_LABELS_MAX {
        let label = rest.first_chunk::<4>().ok_or(Undecoded::Truncated)?;
        let bottom_of_stack = label[2] & 1 == 1;
        rest = &rest[4..];
        if bottom_of_stack {
            return Ok(rest);
        }
    }
    Err(Undecoded::Malformed)
}

/// Raw IP: the first four bits are the version. What is neither 4 nor 6 is another protocol.
fn by_version(bytes: &[u8]) -> Result<Network<'_>, Undecoded> {
    let version = match bytes.first().ok_or(Undecoded::Truncated)? >> 4 {
        4 => Version::V4,
        6 => Version::V6,
        _ => return Err(Undecoded::OtherEthertype),
    };
    Ok(Network { vlans: [0; 2], version, bytes })
}

/// PPP's protocol field, which may be compressed to one byte when its value is below 256.
fn by_ppp(bytes: &[u8], depth: u8) -> Result<Network<'_>, Undecoded> {
    let first = *bytes.first().ok_or(Undecoded::Truncated)?;
    let (kind, bytes) = if first & 1 == 1 {
        (u16::from(first), &bytes[1..])
    } else {
        let kind = bytes.first_chunk::<2>().ok_or(Undecoded::Truncated)?;
        (u16::from_be_bytes(*kind), &bytes[2..])
    };
    let version = match kind {
        ppp::IPV4 => Version::V4,
        ppp::IPV6 => Version::V6,
        ppp::MPLS => return behind_labels(bytes, depth),
        _ => return Err(Undecoded::OtherEthertype),
    };
    Ok(Network { vlans: [0; 2], version, bytes })
}

/// BSD address families; the capturing host wrote them in its own byte order, which a file does not
/// tell, and all of them fit in one byte.
fn by_family(family: [u8; 4], bytes: &[u8]) -> Result<Network<'_>, Undecoded> {
    let family = match family {
        [low, 0, 0, 0] => low,
        [0, 0, 0, low] => low,
        _ => return Err(Undecoded::OtherEthertype),
    };
    let version = match family {
        2 => Version::V4,
        // Linux; NetBSD, OpenBSD, BSD/OS; FreeBSD; macOS.
        10 | 24 | 28 | 30 => Version::V6,
        _ => return Err(Undecoded::OtherEthertype),
    };
    Ok(Network { vlans: [0; 2], version, bytes })
}
