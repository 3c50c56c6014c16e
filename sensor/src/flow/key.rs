//! The key under which both directions of a flow are found.
//!
//! In: addresses, protocol and ports of a packet. Out: forty bytes that are equal for both directions, and
//! which of the two ends sent the packet. ICMP is paired as the Community ID specification pairs it.

use crate::decode::{Ip, Packet, Transport};
use std::hash::{BuildHasher, Hasher as _};
use weir_common::net::{Address, FlowKey, icmp_v4_counterpart, icmp_v6_counterpart, protocol};

/// Both ends, lower one first, ports and protocol, in machine words because it is hashed and compared for
/// every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CanonicalKey([u64; 5]);

/// Marks a key whose flow has one direction only: ICMP without a counterpart.
const ONE_WAY: u64 = 1 << 40;
/// Where VLANs stand, above everything else: twelve bits of the outer one, and the low eleven of the inner one, which
/// is all the room that there is.
const VLANS_SHIFT: u32 = 41;

#[inline]
fn vlan_bits([outer, inner]: [u16; 2]) -> u64 {
    (u64::from(outer & 0x0fff) | u64::from(inner & 0x07ff) << 12) << VLANS_SHIFT
}

impl CanonicalKey {
    /// The key of a packet, and whether its source is the key's first end. `with_vlans` tells flows of the same ends
    /// in different VLANs apart.
    #[inline]
    pub(super) fn of(packet: &Packet<'_>, with_vlans: bool) -> (CanonicalKey, bool) {
        let (CanonicalKey([a, b, c, d, e]), is_first) = CanonicalKey::of_ends(packet);
        let vlans = if with_vlans { vlan_bits(packet.vlans) } else { 0 };
        (CanonicalKey([a, b, c, d, e | vlans]), is_first)
    }

    #[inline]
    fn of_ends(packet: &Packet<'_>) -> (CanonicalKey, bool) {
        let Ip { source, destination, protocol, .. } = packet.ip;
        match packet.transport {
            Transport::Icmp { kind, code } => icmp(source, destination, protocol, kind, code),
            transport => {
                let (source_port, destination_port) = transport.ports();
                ordered(source, destination, source_port, destination_port, protocol)
            }
        }
    }

    #[inline]
    pub(super) fn hash(&self, state: &foldhash::quality::RandomState) -> u32 {
        let mut hasher = state.build_hasher();
        let [a, b, c, d, e] = self.0;
        hasher.write_u128(u128::from(a) | u128::from(b) << 64);
        hasher.write_u128(u128::from(c) | u128::from(d) << 64);
        hasher.write_u64(e);
        hasher.finish() as u32
    }

    pub(super) fn protocol(&self) -> u8 {
        (self.0[4] >> 32) as u8
    }

    /// The flow's ends with the initiator first. ICMP has no ports there.
    pub(super) fn to_flow_key(self, initiator_is_first: bool) -> FlowKey {
        let [a, b, c, d, e] = self.0;
        let (first, second) = (address(a, b), address(c, d));
        let protocol = self.protocol();
        let is_icmp = matches!(protocol, protocol::ICMP | protocol::ICMPV6);
        let (first_port, second_port) = if is_icmp { (0, 0) } else { (e as u16, (e >> 16) as u16) };
        let (initiator, responder, initiator_port, responder_port) = if initiator_is_first {
            (first, second, first_port, second_port)
        } else {
            (second, first, second_port, first_port)
        };
        FlowKey { initiator, responder, initiator_port, responder_port, protocol }
    }
}

fn icmp(source: Address, destination: Address, protocol: u8, kind: u8, code: u8) -> (CanonicalKey, bool) {
    let counterpart =
        if protocol == protocol::ICMP { icmp_v4_counterpart(kind) } else { icmp_v6_counterpart(kind) };
    match counterpart {
        Some(counterpart) => ordered(source, destination, u16::from(kind), u16::from(counterpart), protocol),
        None => {
            let (a, b, c, d) = words(source, destination);
            let e = u64::from(kind) | u64::from(code) << 16 | u64::from(protocol) << 32 | ONE_WAY;
            (CanonicalKey([a, b, c, d, e]), true)
        }
    }
}

#[inline]
fn ordered(
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
) -> (CanonicalKey, bool) {
    let (a, b, c, d) = words(source, destination);
    let (sp, dp, protocol) = (u64::from(source_port), u64::from(destination_port), u64::from(protocol) << 32);
    // Any order will do as long as it is one. The last word of an IPv4 address holds all of it.
    if (b, a, sp) <= (d, c, dp) {
        (CanonicalKey([a, b, c, d, sp | dp << 16 | protocol]), true)
    } else {
        (CanonicalKey([c, d, a, b, dp | sp << 16 | protocol]), false)
    }
}

#[inline]
fn words(source: Address, destination: Address) -> (u64, u64, u64, u64) {
    let (source, destination) = (u128::from_ne_bytes(source.0), u128::from_ne_bytes(destination.0));
    (source as u64, (source >> 64) as u64, destination as u64, (destination >> 64) as u64)
}

fn address(low: u64, high: u64) -> Address {
    Address((u128::from(low) | u128::from(high) << 64).to_ne_bytes())
}
