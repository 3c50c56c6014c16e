//! Frames of an Ethernet in which no IP packet is, for whoever looks at frames as such.
//!
//! In: a frame, or a packet that carries one in a tunnel. Out: its link header as that of a packet that says nothing else,
//! and whether it carries ARP. Deliberately absent: other links, and what is in the frame.

use super::{DecodeEvent, LinkHeader, Packet, Transport, arp, link, tunnel};
use crate::capture::{Frame, LinkType};
use weir_common::net::{Address, FlowKey};
use weir_common::record::Tunnel;

/// A frame of an Ethernet in which no packet is.
#[derive(Clone, Debug)]
pub struct BareFrame<'a> {
    /// What is known of it: its link header.
    pub packet: Packet<'a>,
    /// Whether it carries ARP.
    pub is_arp: bool,
    /// The tunnel that carried it.
    pub tunnel: Option<Tunnel>,
}

/// A frame in which no packet is, as one; none on other links than Ethernet.
#[cold]
pub fn bare_frame<'a>(frame: &Frame<'a>) -> Option<BareFrame<'a>> {
    (frame.link == LinkType::ETHERNET).then(|| BareFrame::of(frame.data, None))
}

/// The frame in which no packet is that a packet carries in a tunnel.
#[cold]
pub fn bare_frame_in<'a>(packet: &Packet<'a>) -> Option<BareFrame<'a>> {
    let (kind, bytes) = tunnel::ethernet_inside(packet)?;
    let [source, destination] = tunnel::ends(packet);
    let tunnel = Tunnel { kind, id: None, source, destination, depth: packet.tunnel_depth.saturating_add(1) };
    link::strip(LinkType::ETHERNET, bytes).is_err().then(|| BareFrame::of(bytes, Some(tunnel)))
}

impl<'a> BareFrame<'a> {
    fn of(bytes: &'a [u8], tunnel: Option<Tunnel>) -> BareFrame<'a> {
        let nobody = FlowKey {
            initiator: Address::v4([0; 4]),
            responder: Address::v4([0; 4]),
            initiator_port: 0,
            responder_port: 0,
            protocol: 0,
        };
        let packet = Packet {
            transport: Transport::None,
            link: LinkHeader::new(LinkType::ETHERNET, bytes),
            frame_octets: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            ..Packet::of_nothing(&nobody)
        };
        BareFrame { packet, is_arp: arp::is_arp(LinkType::ETHERNET, bytes), tunnel }
    }

    /// Its 802.1Q identifiers, as an event tells them.
    pub fn event(&self) -> DecodeEvent {
        let (ids, _) = self.packet.vlan_layers();
        DecodeEvent { vlans: [ids[0], ids[1]], ..DecodeEvent::NONE }
    }
}
