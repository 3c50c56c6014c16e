//! The headers of a packet as they stand, for whoever asks rarely.
//!
//! In: a packet's bytes from its IP header on. Out: its IP header with options or extension headers, and the bytes
//! from the transport header on, found anew each time: what every packet needs is in [`Packet`] itself. Deliberately
//! absent: what the fields mean, and the transport of fragments, which is not known before their datagram is whole.

use super::{LinkHeader, Packet, Tcp, ipv6};
use crate::capture::LinkType;
use weir_common::record::tcp_flags;

/// Longest IPv4 header, in bytes; longer than IPv6's fixed one.
const HEADER_BYTES_MAX: usize = 60;
/// IPv6's fixed header, in bytes.
const V6_BYTES: usize = 40;
/// An Ethernet header without tags, in bytes.
const ETHERNET_BYTES: usize = 14;
/// Most 802.1Q identifiers that [`Packet::vlan_layers`] gives; further ones are left out.
pub const VLAN_LAYERS: usize = 3;

impl<'a> Packet<'a> {
    /// The IP header: of IPv4 with its options, of IPv6 with the extension headers that were passed over. `None` where
    /// its bytes are not there.
    pub fn ip_header(&self) -> Option<&'a [u8]> {
        let bytes = self.network;
        match bytes.first()? >> 4 {
            4 => bytes.get(..v4_len(bytes)?),
            6 => bytes.get(..bytes.len().checked_sub(self.behind_v6(bytes)?.len())?),
            _ => None,
        }
    }

    /// The bytes from the transport header on, without link padding; `None` for a fragment.
    pub fn transport_bytes(&self) -> Option<&'a [u8]> {
        if self.is_partial {
            return None;
        }
        let bytes = self.network;
        match bytes.first()? >> 4 {
            4 => {
                let behind = bytes.get(v4_len(bytes)?..)?;
                let total = usize::from(u16_at(bytes, 2)?);
                Some(declared(behind, total.checked_sub(v4_len(bytes)?)))
            }
            6 => {
                let behind = self.behind_v6(bytes)?;
                let extensions = bytes.len().checked_sub(behind.len())?.checked_sub(V6_BYTES)?;
                let length = usize::from(u16_at(bytes, 4)?);
                Some(declared(behind, length.checked_sub(extensions)))
            }
            _ => None,
        }
    }

    /// What of a segment's payload is its stream's, and how many numbers of the sequence an urgent byte behind that takes:
    /// an urgent pointer to the last byte means one that is read out of band, as sockets have it unless asked otherwise
    /// (RFC 6093 section 2).
    #[inline]
    pub fn stream_payload(&self, tcp: &Tcp) -> (&'a [u8], u32) {
        if tcp.flags & tcp_flags::URG == 0 {
            return (self.payload, 0);
        }
        self.without_urgent_byte().map_or((self.payload, 0), |payload| (payload, 1))
    }

    #[cold]
    fn without_urgent_byte(&self) -> Option<&'a [u8]> {
        const POINTER_AT: usize = 18;
        let pointer = usize::from(u16_at(self.transport_bytes()?, POINTER_AT)?);
        let (_, before) = self.payload.split_last()?;
        (pointer == self.payload.len() && self.payload_missing == 0).then_some(before)
    }

    /// 802.1Q identifiers, outermost first, and how many there are: one whose number is 0 counts, too, unless the packet
    /// came in a tunnel or without its link header.
    pub fn vlan_layers(&self) -> ([u16; VLAN_LAYERS], usize) {
        let mut ids = [0; VLAN_LAYERS];
        let layers = match self.tunnel_depth {
            0 => self.link.vlans(&mut ids),
            _ => None,
        };
        let layers = layers.unwrap_or_else(|| {
            let kept = self.vlans.iter().filter(|vlan| **vlan != 0);
            ids.iter_mut().zip(kept).map(|(id, vlan)| *id = *vlan).count()
        });
        (ids, layers)
    }

    /// What follows an IPv6 header and its extension headers, padding included. A fragment header is passed over as
    /// well; another fragment's transport header is not there.
    fn behind_v6(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let rest = bytes.get(V6_BYTES..)?;
        let walk = ipv6::walk(*bytes.get(6)?, rest, false);
        (!walk.is_cut).then_some(walk.payload)
    }
}

/// As much as a header declares; all of it where it declares nothing that can be, as segmentation offload does.
fn declared(behind: &[u8], length: Option<usize>) -> &[u8] {
    length.and_then(|length| behind.get(..length)).unwrap_or(behind)
}

fn v4_len(bytes: &[u8]) -> Option<usize> {
    let len = usize::from(bytes.first()? & 0x0f) * 4;
    (len >= 20).then_some(len)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

impl<'a> LinkHeader<'a> {
    /// The Ethernet header, without tags; `None` on other links.
    pub fn ethernet(&self) -> Option<&'a [u8]> {
        (self.kind() == LinkType::ETHERNET).then(|| self.bytes().get(..ETHERNET_BYTES)).flatten()
    }
}

/// The IP header that a datagram has once it is put together.
#[derive(Clone, Copy, Debug)]
pub(super) struct WholeHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl WholeHeader {
    /// That of a datagram whose first fragment did not come yet.
    pub(super) const NONE: WholeHeader = WholeHeader { bytes: [0; HEADER_BYTES_MAX], len: 0 };

    /// From the first fragment's bytes. IPv6's extension headers before the fragment header are left out.
    pub(super) fn of(network: &[u8], protocol: u8) -> WholeHeader {
        let mut header = WholeHeader::NONE;
        let len = match network.first() {
            Some(first) if first >> 4 == 4 => v4_len(network),
            Some(_) => Some(V6_BYTES),
            None => None,
        };
        let Some(from) = len.and_then(|len| network.get(..len)) else { return WholeHeader::NONE };
        let Some(into) = header.bytes.get_mut(..from.len()) else { return WholeHeader::NONE };
        into.copy_from_slice(from);
        header.len = from.len() as u8;
        match from.len() {
            V6_BYTES if from.first().is_some_and(|first| first >> 4 == 6) => header.bytes[6] = protocol,
            _ => renew(&mut header.bytes, 6, 0),
        }
        header
    }

    /// Puts it into an emptied buffer, before a payload of this length.
    pub(super) fn begin(&self, payload_len: usize, whole: &mut Vec<u8>) {
        whole.clear();
        whole.extend_from_slice(self.bytes.get(..usize::from(self.len)).unwrap_or_default());
        let (at, len) = match whole.first() {
            Some(first) if first >> 4 == 4 => (2, payload_len.saturating_add(whole.len())),
            _ => (4, payload_len),
        };
        renew(whole, at, u16::try_from(len).unwrap_or(u16::MAX));
    }
}

/// Changes a word of a header; an IPv4 header's checksum stays as right or as wrong as it was (RFC 1624).
fn renew(header: &mut [u8], at: usize, word: u16) {
    let (Some(before), Some(checksum)) = (u16_at(header, at), u16_at(header, 10)) else { return };
    if let Some(place) = header.get_mut(at..at + 2) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    if header.first().is_some_and(|first| first >> 4 == 4)
        && let Some(place) = header.get_mut(10..12)
    {
        let sum = u32::from(!checksum) + u32::from(!before) + u32::from(word);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        place.copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
}
