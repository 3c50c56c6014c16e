//! What is wrong with a frame, as EVE's `anomaly` events of type `decode` and as rules ask for it (`decode-event`),
//! under Suricata's names.
//!
//! In: a frame. Out: its faults in the order in which its headers stand, of its outermost packet and of those in the
//! tunnels that Suricata opens; the first one that leaves the rest unreadable is the last. Off unless `decode.events`
//! or a rule asks for it; the path of packets counts the same faults without this module. What needs other frames is
//! [`super::Decoder::fragment_events`]'s and [`datagram_events`]'s. What is deliberately absent: checksums, tunnels that
//! only Weir opens, and faults that Suricata knows by name and never tells.

mod link;
mod network;
mod transport;
mod tunnel;

#[cfg(test)]
mod tests;

use super::{Packet, Version};
use crate::capture::Frame;
use weir_common::net::Address;

/// A fault of a frame, and what could be read before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeEvent {
    /// Suricata's name, `decoder.` in front.
    pub name: &'static str,
    /// 802.1Q identifiers, outermost first; 0 where there is none.
    pub vlans: [u16; 2],
    /// Source and destination.
    pub ends: Option<[Address; 2]>,
    /// Protocol number of the IP header.
    pub protocol: Option<u8>,
    /// Ports of TCP and UDP.
    pub ports: Option<[u16; 2]>,
    /// Type and code of ICMP and ICMPv6.
    pub icmp: Option<[u8; 2]>,
}

impl DecodeEvent {
    /// Nothing read yet.
    pub(super) const NONE: DecodeEvent =
        DecodeEvent { name: "", vlans: [0; 2], ends: None, protocol: None, ports: None, icmp: None };
}

/// Most headers of a frame that are looked at, tunnels included (Suricata's `decoder.max-layers`); one more is a fault
/// of its own (`decoder.too_many_layers`) and ends the walk.
const LAYERS_MAX: u8 = 16;

/// Tells each fault of a frame, of a fragment without what its datagram says.
#[inline(never)]
pub fn events(frame: &Frame<'_>, each: &mut impl FnMut(DecodeEvent)) {
    Walk::new(DecodeEvent::NONE, each).frame(frame);
}

/// Tells each fault of a datagram that was put together from fragments, from its transport header on.
#[cold]
pub fn datagram_events(packet: &Packet<'_>, each: &mut impl FnMut(DecodeEvent)) {
    if packet.is_partial || packet.is_cut || !packet.ip.is_fragment {
        return;
    }
    let mut walk = Walk::new(DecodeEvent { vlans: packet.vlans, ..DecodeEvent::NONE }, each);
    match packet.network.first().map(|first| first >> 4) {
        Some(4) => walk.ipv4(packet.network),
        Some(6) => walk.ipv6(packet.network),
        _ => {}
    }
}

/// A fragment that overlaps others of its datagram.
pub(super) fn overlap(version: Version, event: DecodeEvent) -> DecodeEvent {
    let name = match version {
        Version::V4 => "decoder.ipv4.frag_overlap",
        Version::V6 => "decoder.ipv6.frag_overlap",
    };
    DecodeEvent { name, ..event }
}

/// What a fault of a fragment says of its frame.
pub(super) fn of_fragment(vlans: [u16; 2], ends: [Address; 2], protocol: u8) -> DecodeEvent {
    DecodeEvent { vlans, ends: Some(ends), protocol: Some(protocol), ..DecodeEvent::NONE }
}

/// A way through a frame's headers.
struct Walk<'w> {
    /// What was read so far.
    fault: DecodeEvent,
    /// 802.1Q tags so far.
    tags: usize,
    layers: u8,
    /// Whether the header that a tunnel says to hold was not found sound yet: until then it is no tunnel, and what is
    /// wrong with it is nobody's fault.
    is_guess: bool,
    each: &'w mut dyn FnMut(DecodeEvent),
}

impl<'w> Walk<'w> {
    fn new(fault: DecodeEvent, each: &'w mut dyn FnMut(DecodeEvent)) -> Walk<'w> {
        Walk { fault, tags: 0, layers: 0, is_guess: false, each }
    }

    /// Tells a fault that the rest is readable after, or that Suricata tells of what may be no tunnel as well.
    fn tell(&mut self, name: &'static str) {
        (self.each)(DecodeEvent { name, ..self.fault });
    }

    /// Tells a fault that makes the header unreadable.
    fn fail(&mut self, name: &'static str) {
        if !self.is_guess {
            self.tell(name);
        }
    }

    /// Counts a header; false, and told, when it is one too many.
    fn enter(&mut self) -> bool {
        self.layers = self.layers.saturating_add(1);
        let is_one_too_many = self.layers >= LAYERS_MAX;
        if is_one_too_many {
            self.tell("decoder.too_many_layers");
        }
        !is_one_too_many
    }

    /// Goes into a tunnel, whose packet has faults of its own.
    fn inside(&mut self, walk: impl FnOnce(&mut Walk<'_>)) {
        let layers = self.layers.saturating_add(1);
        if layers >= LAYERS_MAX {
            return self.tell("decoder.too_many_layers");
        }
        let fault = DecodeEvent { vlans: self.fault.vlans, ..DecodeEvent::NONE };
        let mut inner = Walk { fault, tags: 0, layers, is_guess: true, each: &mut *self.each };
        walk(&mut inner);
    }
}

/// A big-endian word.
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}
