//! Decode: from a [`Frame`] to a [`Packet`].
//!
//! In: captured bytes and their link type. Out: borrowed views of the layers, whatever the bytes say;
//! what cannot be decoded is an outcome that the worker counts. Knows no flow. The only state is the
//! bounded table of IP fragments.
//!
//! Where a packet is a tunnel's, the packet inside is handed out (`decode.tunnels`). Headers are read at fixed offsets
//! rather than through `etherparse`, which takes two to three times as long per packet; the tests hold
//! this decoder against it.

pub mod config;
mod arp;
mod bare;
mod error;
mod events;
mod headers;
mod link;
mod wireless;
mod ipv4;
mod ipv6;
mod transport;
mod tunnel;
mod duplicates;
mod fragments;
mod pages;
mod ranges;

#[cfg(test)]
mod tests;

pub use arp::{Arp, arp, arp_in_gre};
pub use bare::{BareFrame, bare_frame, bare_frame_in};
pub use events::{DecodeEvent, datagram_events, events};
pub use fragments::EarlyFragments;
pub use headers::VLAN_LAYERS;
pub use link::LinkHeader;
pub use tunnel::TUNNEL_PROTOCOLS;

use crate::capture::{Frame, LinkType};
use crate::counters::DecodeCounters;
use config::{DecodeConfig, Tunnels};
use duplicates::Duplicates;
use fragments::{Fragment, FragmentTable};
use link::Version;
use std::time::Duration;
use weir_common::net::{Address, FlowKey};
use weir_common::record::Tunnel;
use weir_common::time::Timestamp;

/// A decoded packet, borrowed from its frame or, for a datagram put together from fragments, from the
/// decoder.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// 802.1Q identifiers, outermost first; 0 where there is none.
    pub vlans: [u16; 2],
    /// The network layer.
    pub ip: Ip,
    /// The transport layer.
    pub transport: Transport,
    /// Bytes after the transport header, without link padding. For a fragment: empty, until the frame
    /// that completes the datagram, which carries the whole datagram's payload.
    pub payload: &'a [u8],
    /// Fragments of the same datagram that came before its first one and could not be told apart from
    /// other flows' then: they are metered with this packet.
    pub early: Option<&'a EarlyFragments>,
    /// Whether this is a fragment that does not complete its datagram: it counts for its flow and has
    /// nothing to inspect, because its transport header comes again with the whole datagram.
    pub is_partial: bool,
    /// Whether the IP header declares more bytes than the frame has.
    pub is_cut: bool,
    /// How many tunnels it came in, one inside of the other; [`tunnel_of`] says which.
    pub tunnel_depth: u8,
    /// Octets of payload that the IP header declares behind those of `payload`.
    pub payload_missing: u32,
    /// What stands before the IP header; of a datagram put together, before its last fragment's; of a packet in a
    /// tunnel, between the tunnel's header and its own.
    pub link: LinkHeader<'a>,
    /// Octets of the frame on the wire; of a packet in a tunnel, of what the tunnel's packet carries.
    pub frame_octets: u32,
    /// Captured bytes from the IP header on, link padding included; of a datagram put together, its first fragment's
    /// header without what that says of fragments, and all of the payload; empty where the frame is gone. For what
    /// is rarely asked: see [`Packet::ip_header`] and [`Packet::transport_bytes`].
    pub network: &'a [u8],
}

impl Packet<'static> {
    /// A packet that says nothing, for what has to be looked at when a flow has ended.
    pub fn of_nothing(key: &FlowKey) -> Packet<'static> {
        let ip = Ip {
            source: key.initiator,
            destination: key.responder,
            protocol: key.protocol,
            octets: 0,
            ttl: 0,
            tos: 0,
            is_fragment: false,
        };
        Packet {
            vlans: [0; 2],
            ip,
            transport: Transport::Ports { source: key.initiator_port, destination: key.responder_port },
            payload: &[],
            early: None,
            is_partial: false,
            is_cut: false,
            tunnel_depth: 0,
            payload_missing: 0,
            link: LinkHeader::NONE,
            frame_octets: 0,
            network: &[],
        }
    }
}

impl Packet<'_> {
    /// Octets of payload as the headers declare them, whether or not they were captured.
    #[inline]
    pub fn payload_octets(&self) -> u32 {
        (self.payload.len() as u32).saturating_add(self.payload_missing)
    }
}

impl Packet<'_> {
    /// The packet's own bytes with what stands before its IP header, and how they begin: of a datagram put together, as
    /// one packet; of a packet in a tunnel, without the tunnel.
    pub fn own_bytes(&self) -> (LinkType, [&[u8]; 2]) {
        (self.link.kind(), [self.link.bytes(), self.network])
    }

    /// Whether it looks like a tunnel's that was not opened: because it is not wanted, or its bytes end too early.
    #[inline]
    pub fn may_hold_another(&self) -> bool {
        tunnel::may_be(self)
    }
}

/// Turns frames into packets. Its only state is the fragments that wait for the rest of their datagram, and what
/// was seen lately where copies are to be known.
pub struct Decoder {
    fragments: FragmentTable,
    tunnels: Tunnels,
    duplicates: Option<Duplicates>,
}

impl Decoder {
    /// A decoder that holds at most `fragment_bytes_max` bytes of fragments, each at most `timeout`.
    pub fn new(fragment_bytes_max: u32, timeout: Duration) -> Decoder {
        let fragments = FragmentTable::new(fragment_bytes_max, timeout);
        Decoder { fragments, tunnels: Tunnels::Outer, duplicates: None }
    }

    /// As the `[decode]` section wants it.
    pub fn with(self, config: &DecodeConfig) -> Decoder {
        let duplicates = Duplicates::new(config.duplicate_window_ms);
        Decoder { tunnels: config.tunnels, duplicates, ..self }
    }

    /// Decodes a frame as far as that takes no knowledge of other frames.
    #[inline]
    pub fn parse<'a>(&self, frame: &Frame<'a>, counters: &mut DecodeCounters) -> Parsed<'a> {
        parse(frame, self.tunnels, counters)
    }

    /// Whether a frame was seen within `decode.duplicate_window_ms`; counted.
    #[inline]
    pub fn is_copy(&mut self, frame: &Frame<'_>, counters: &mut DecodeCounters) -> bool {
        let Some(duplicates) = &mut self.duplicates else { return false };
        let Ok(network) = link::strip(frame.link, frame.data) else { return false };
        let is_copy = duplicates.is_copy(network.bytes, frame.time);
        counters.duplicates += u64::from(is_copy);
        is_copy
    }

    /// Decodes a frame. `None` when it carries no IP packet, or a fragment that waits for the first one of
    /// its datagram; why was counted.
    #[inline]
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>, counters: &mut DecodeCounters) -> Option<Packet<'a>> {
        match self.parse(frame, counters) {
            Parsed::Packet(packet) => Some(packet),
            Parsed::Fragment(fragment) => self.reassemble(&fragment, counters),
            Parsed::Nothing => None,
        }
    }

    /// Takes in a fragment that [`parse`] found; `None` when it waits for the first one of its datagram.
    #[inline]
    pub fn reassemble<'a>(
        &'a mut self,
        frame: &FragmentFrame<'a>,
        counters: &mut DecodeCounters,
    ) -> Option<Packet<'a>> {
        let FragmentFrame { arrival, fragment, network, payload, is_cut, link, frame_octets, .. } = *frame;
        let tunnels = self.tunnels;
        let packet = self.fragments.accept(arrival, network, fragment, payload, is_cut, counters)?;
        let packet = Packet { link, frame_octets, ..packet };
        // The datagram is whole: what travels inside of it can be seen now.
        if tunnels == Tunnels::Inner
            && !packet.is_partial
            && let Parsed::Packet(inner) = enter(packet, counters, None)
        {
            return Some(Packet { early: packet.early, ..inner });
        }
        Some(packet)
    }

    /// Tells what is wrong with a fragment beside the others of its datagram; to be asked before it is taken in, and
    /// only where somebody wants to know.
    #[cold]
    pub fn fragment_events(&self, frame: &FragmentFrame<'_>, each: &mut impl FnMut(DecodeEvent)) {
        let FragmentFrame { arrival, fragment, payload, .. } = frame;
        if self.fragments.is_overlap(arrival, fragment, payload.len()) {
            let ends = [arrival.ip.source, arrival.ip.destination];
            let version = if ends[0].is_v4() { Version::V4 } else { Version::V6 };
            each(events::overlap(version, events::of_fragment(arrival.vlans, ends, arrival.ip.protocol)));
        }
    }

    /// Gives up datagrams that have waited too long, and hands over the fragments among them whose first
    /// one never came: each packet stands for all of its datagram, without ports, with the time and
    /// interface of its last one. To be called about once per batch.
    pub fn expire(
        &mut self,
        now: Timestamp,
        counters: &mut DecodeCounters,
        each: &mut impl FnMut(&Packet<'_>, Timestamp, u32),
    ) {
        self.fragments.expire(now, counters, each);
    }

    /// Gives up every waiting datagram, as [`Decoder::expire`] does; at the end of a capture.
    pub fn drain(
        &mut self,
        counters: &mut DecodeCounters,
        each: &mut impl FnMut(&Packet<'_>, Timestamp, u32),
    ) {
        self.fragments.drain(counters, each);
    }
}

/// What one frame alone says.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<'a> {
    /// It carries a whole packet.
    Packet(Packet<'a>),
    /// It carries a fragment: [`Decoder::reassemble`] knows whether that gives a packet.
    Fragment(FragmentFrame<'a>),
    /// It carries no IP packet; why was counted.
    Nothing,
}

impl Parsed<'_> {
    /// How many tunnels the packet came in, or the fragment.
    #[inline]
    pub fn tunnel_depth(&self) -> u8 {
        match self {
            Parsed::Packet(packet) => packet.tunnel_depth,
            Parsed::Fragment(fragment) => fragment.tunnel_depth,
            Parsed::Nothing => 0,
        }
    }
}

/// A frame that carries an IP fragment.
#[derive(Clone, Copy, Debug)]
pub struct FragmentFrame<'a> {
    arrival: fragments::Arrival,
    fragment: Fragment,
    /// See [`Packet::network`].
    network: &'a [u8],
    payload: &'a [u8],
    is_cut: bool,
    link: LinkHeader<'a>,
    frame_octets: u32,
    tunnel_depth: u8,
}

impl FragmentFrame<'_> {
    /// Its IP header.
    pub fn ip(&self) -> &Ip {
        &self.arrival.ip
    }

    /// What tells its datagram from others between the same addresses: identification and protocol.
    pub fn datagram(&self) -> (u32, u8) {
        (self.fragment.identification, self.fragment.protocol)
    }
}

/// Decodes a frame as far as that takes no knowledge of other frames.
#[inline]
pub fn parse<'a>(frame: &Frame<'a>, tunnels: Tunnels, counters: &mut DecodeCounters) -> Parsed<'a> {
    let (vlans, link, layer) = match network(frame, counters) {
        Ok(network) => network,
        Err(reason) => {
            reason.count(counters);
            return Parsed::Nothing;
        }
    };
    let Layer { ip, network, payload, is_cut, fragment } = layer;
    if let Some(fragment) = fragment {
        let arrival = fragments::Arrival { vlans, ip, interface: frame.interface, time: frame.time };
        let frame_octets = frame.wire_len;
        return Parsed::Fragment(FragmentFrame {
            arrival,
            fragment,
            network,
            payload,
            is_cut,
            link,
            frame_octets,
            tunnel_depth: 0,
        });
    }
    let (transport, payload) = transport::parse(ip.protocol, payload, is_cut, counters);
    let payload_missing =
        if is_cut { ip.octets.saturating_sub((frame.data.len() - link.bytes().len()) as u32) } else { 0 };
    let packet = Packet {
        vlans,
        ip,
        transport,
        payload,
        early: None,
        is_partial: false,
        is_cut,
        tunnel_depth: 0,
        payload_missing,
        link,
        frame_octets: frame.wire_len,
        network,
    };
    if tunnels == Tunnels::Inner && tunnel::may_be(&packet) {
        return match enter(packet, counters, None) {
            Parsed::Fragment(mut inner) => {
                (inner.arrival.interface, inner.arrival.time) = (frame.interface, frame.time);
                Parsed::Fragment(inner)
            }
            parsed => parsed,
        };
    }
    Parsed::Packet(packet)
}

/// Goes into the tunnels that a packet belongs to, as far as they go. `outer` is told of the innermost one. Time
/// and interface of a fragment are the caller's to fill in.
#[inline(never)]
fn enter<'a>(
    mut packet: Packet<'a>,
    counters: &mut DecodeCounters,
    mut outer: Option<&mut Option<Tunnel>>,
) -> Parsed<'a> {
    while let Some(inner) = enter_one(&packet, counters, outer.as_deref_mut()) {
        match inner {
            Parsed::Packet(inner) => packet = inner,
            other => return other,
        }
    }
    Parsed::Packet(packet)
}

/// Goes into one tunnel; none where the packet is no tunnel's, or too deep in.
#[inline]
fn enter_one<'a>(
    packet: &Packet<'a>,
    counters: &mut DecodeCounters,
    outer: Option<&mut Option<Tunnel>>,
) -> Option<Parsed<'a>> {
    if !tunnel::may_be(packet) {
        return None;
    }
    if packet.tunnel_depth == tunnel::TUNNEL_DEPTH_MAX {
        counters.tunnel_limit += 1;
        return None;
    }
    let tunnel::Opened { kind, id, vlans: inner_vlans, link, layer, octets: frame_octets } =
        tunnel::open(packet)?;
    let tunnel_depth = packet.tunnel_depth + 1;
    if let Some(outer) = outer {
        let [source, destination] = tunnel::ends(packet);
        *outer = Some(Tunnel { kind, id, source, destination, depth: tunnel_depth });
    }
    counters.tunnelled += 1;
    let vlans = if inner_vlans[0] == 0 { packet.vlans } else { inner_vlans };
    let Layer { ip, network, payload, is_cut, fragment } = layer;
    if let Some(fragment) = fragment {
        let arrival = fragments::Arrival { vlans, ip, interface: 0, time: Timestamp::MIN };
        return Some(Parsed::Fragment(FragmentFrame {
            arrival,
            fragment,
            network,
            payload,
            is_cut,
            link,
            frame_octets,
            tunnel_depth,
        }));
    }
    let (transport, payload) = transport::parse(ip.protocol, payload, is_cut, counters);
    let captured = frame_octets.saturating_sub(link.bytes().len() as u32);
    let payload_missing = if is_cut { ip.octets.saturating_sub(captured) } else { 0 };
    Some(Parsed::Packet(Packet {
        vlans,
        ip,
        transport,
        payload,
        early: None,
        is_partial: false,
        is_cut,
        tunnel_depth,
        payload_missing,
        link,
        frame_octets,
        network,
    }))
}

/// The packets that carried a frame's packet in tunnels, from the innermost tunnel's out; for what looks at them, too.
/// What was put together from fragments has none: each of them was seen.
#[cold]
pub fn carriers<'a>(frame: &Frame<'a>, each: &mut impl FnMut(&Packet<'a>)) {
    let mut counters = DecodeCounters::default();
    let mut carriers = [None; tunnel::TUNNEL_DEPTH_MAX as usize];
    let Parsed::Packet(mut packet) = parse(frame, Tunnels::Outer, &mut counters) else { return };
    for carrier in &mut carriers {
        let Some(inner) = enter_one(&packet, &mut counters, None) else { break };
        *carrier = Some(packet);
        match inner {
            Parsed::Packet(inner) => packet = inner,
            _ => break,
        }
    }
    carriers.iter().rev().flatten().for_each(each);
}

/// The innermost tunnel that a frame's packet came in; for flows that begin with such a packet.
#[cold]
pub fn tunnel_of(frame: &Frame<'_>) -> Option<Tunnel> {
    let mut counters = DecodeCounters::default();
    let Parsed::Packet(packet) = parse(frame, Tunnels::Outer, &mut counters) else { return None };
    let mut tunnel = None;
    enter(packet, &mut counters, Some(&mut tunnel));
    tunnel
}

/// What carries a packet that came in tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outermost {
    /// Source and destination of the packet around all tunnels; port 0 where there are none.
    pub ends: [(Address, u16); 2],
    /// Its IP protocol.
    pub protocol: u8,
    /// The innermost tunnel.
    pub tunnel: Tunnel,
}

/// What carries the packet of a frame, where that came in tunnels; for what is rarely asked.
#[cold]
pub fn outermost_of(frame: &Frame<'_>) -> Option<Outermost> {
    let mut counters = DecodeCounters::default();
    let Parsed::Packet(packet) = parse(frame, Tunnels::Outer, &mut counters) else { return None };
    let mut tunnel = None;
    enter(packet, &mut counters, Some(&mut tunnel));
    Some(Outermost { ends: tunnel::ends(&packet), protocol: packet.ip.protocol, tunnel: tunnel? })
}

/// The network layer of a frame: what an IP header says and what follows it.
struct Layer<'a> {
    ip: Ip,
    /// Captured bytes from the header on.
    network: &'a [u8],
    /// Bytes after the header and its extensions, without link padding.
    payload: &'a [u8],
    /// Whether `payload` is shorter than the header declares, because the capture ends.
    is_cut: bool,
    fragment: Option<Fragment>,
}

#[inline]
fn network<'a>(
    frame: &Frame<'a>,
    counters: &mut DecodeCounters,
) -> Result<([u16; 2], LinkHeader<'a>, Layer<'a>), error::Undecoded> {
    let network = link::strip(frame.link, frame.data)?;
    let link_len = frame.data.len() - network.bytes.len();
    // A record that claims a wire length below its captured one is believed about its bytes.
    let wire = frame.wire_len.max(u32::try_from(frame.data.len()).unwrap_or(u32::MAX)) - link_len as u32;
    let layer = match network.version {
        Version::V4 => {
            let layer = ipv4::parse(network.bytes, wire)?;
            counters.ipv4 += 1;
            layer
        }
        Version::V6 => {
            let layer = ipv6::parse(network.bytes, wire)?;
            counters.ipv6 += 1;
            layer
        }
    };
    let header = frame.data.get(..link_len).unwrap_or_default();
    Ok((network.vlans, LinkHeader::new(frame.link, header), layer))
}

/// What matters of an IPv4 or IPv6 header and its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// IANA protocol number after extension headers.
    pub protocol: u8,
    /// Octets from the IP header on as the header declares them; where it declares 0 (segmentation
    /// offload), as the frame has them.
    pub octets: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Whether the packet is a fragment.
    pub is_fragment: bool,
}

/// What matters of a transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP, SCTP and others whose ports are all that is used.
    Ports {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Another protocol, a header that is cut off, or a fragment whose first part was never seen.
    None,
}

/// What matters of a TCP header (RFC 9293).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Control bits, the header's low twelve (`weir_common::record::tcp_flags`).
    pub flags: u16,
    /// Window, unscaled.
    pub window: u16,
}

impl Transport {
    /// Source and destination port; zeros without ports.
    #[inline]
    pub fn ports(&self) -> (u16, u16) {
        match *self {
            Transport::Tcp(Tcp { source, destination, .. }) | Transport::Ports { source, destination } => {
                (source, destination)
            }
            Transport::Icmp { .. } | Transport::None => (0, 0),
        }
    }
}
