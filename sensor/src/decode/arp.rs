//! Address resolution (RFC 826), which carries no IP packet and belongs to no flow.
//!
//! In: a frame. Out: what an ARP message for IPv4 over Ethernet says, for the event that EVE knows.

use super::{Packet, link};
use crate::capture::{Frame, LinkType};
use std::net::Ipv4Addr;

/// An ARP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 802.1Q identifiers, outermost first; 0 where there is none.
    pub vlans: [u16; 2],
    /// Operation: 1 request, 2 reply, and IANA's others.
    pub operation: u16,
    /// Who sends it.
    pub sender: ([u8; 6], Ipv4Addr),
    /// Whom it asks for, or answers.
    pub target: ([u8; 6], Ipv4Addr),
}

impl Arp {
    /// The operation in Suricata's words, its number where it has none.
    pub fn operation_name(&self) -> String {
        let names = ["request", "reply", "request_reverse", "reply_reverse"];
        let known = usize::from(self.operation).checked_sub(1).and_then(|at| names.get(at));
        known.map_or_else(|| self.operation.to_string(), |name| (*name).to_owned())
    }
}

/// The ARP message of a frame; none: it is something else, or not about IPv4 over Ethernet.
pub fn arp(frame: &Frame<'_>) -> Option<Arp> {
    let (vlans, bytes) = link::arp(frame.link, frame.data)?;
    message(vlans, bytes)
}

/// Whether a frame of an Ethernet carries ARP, of whatever kind.
pub(super) fn is_arp(link: LinkType, data: &[u8]) -> bool {
    link::arp(link, data).is_some()
}

/// The ARP message that a packet of GRE carries (RFC 2784, RFC 2890).
#[cold]
pub fn arp_in_gre(packet: &Packet<'_>) -> Option<Arp> {
    const GRE: u8 = 47;
    const ARP: u16 = 0x0806;
    let (header, rest) = packet.payload.split_first_chunk::<4>()?;
    let flags = u16::from_be_bytes([header[0], header[1]]);
    let is_arp = u16::from_be_bytes([header[2], header[3]]) == ARP && flags & 0x4fff == 0;
    if packet.ip.protocol != GRE || !is_arp {
        return None;
    }
    // Checksum, key and sequence number take four bytes each.
    let options = [0x8000, 0x2000, 0x1000].into_iter().filter(|bit| flags & bit != 0).count();
    message(packet.vlans, rest.get(4 * options..)?)
}

fn message(vlans: [u16; 2], bytes: &[u8]) -> Option<Arp> {
    let message = bytes.first_chunk::<28>()?;
    // Hardware type, protocol type, lengths of both addresses.
    if message[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let end = |at: usize| {
        let (mac, rest) = message.get(at..)?.split_first_chunk::<6>()?;
        Some((*mac, Ipv4Addr::from(*rest.first_chunk::<4>()?)))
    };
    let operation = u16::from_be_bytes([message[6], message[7]]);
    Some(Arp { vlans, operation, sender: end(8)?, target: end(18)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;

    fn seen(bytes: &[u8]) -> Option<Arp> {
        arp(&Frame { link: LinkType::ETHERNET, data: bytes, wire_len: bytes.len() as u32, ..Frame::EMPTY })
    }

    #[test]
    fn a_request_says_who_asks_for_whom() {
        let message = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
        let frame = [&[0xff; 12][..], &[0x81, 0, 0, 5, 8, 6], &message].concat();
        let arp = seen(&frame).unwrap();
        assert_eq!((arp.vlans, arp.operation_name().as_str()), ([5, 0], "request"));
        assert_eq!(arp.sender, ([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(arp.target, ([0; 6], Ipv4Addr::new(10, 0, 0, 2)));
        for cut in 0..frame.len() {
            assert_eq!(seen(&frame[..cut]), None);
        }
    }

    #[test]
    fn it_travels_in_gre() {
        let message = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
        let carried = |gre: &[u8]| {
            let total = 20 + gre.len() + message.len();
            let ip = [0x45, 0, 0, total as u8, 0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            let data = [&[0; 12][..], &[8, 0], &ip, gre, &message].concat();
            let frame =
                Frame { link: LinkType::ETHERNET, data: &data, wire_len: data.len() as u32, ..Frame::EMPTY };
            match super::super::parse(&frame, Default::default(), &mut Default::default()) {
                super::super::Parsed::Packet(packet) => arp_in_gre(&packet),
                _ => None,
            }
        };
        assert_eq!(carried(&[0, 0, 8, 6]).map(|arp| arp.operation), Some(1));
        assert_eq!(carried(&[0x20, 0, 8, 6, 0, 0, 0, 1]).map(|arp| arp.operation), Some(1));
        assert_eq!(carried(&[0, 0, 8, 7]), None);
        assert_eq!(carried(&[0x20, 0, 8, 6]), None);
    }

    #[test]
    fn other_hardware_and_other_protocols_are_not_told() {
        let message = [0, 6, 8, 0, 6, 4, 0, 9, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
        assert_eq!(seen(&[&[0xff; 12][..], &[8, 6], &message].concat()), None);
        assert_eq!(seen(&[&[0xff; 12][..], &[8, 0], &message].concat()), None);
    }
}
