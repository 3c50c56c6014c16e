//! The summary of a block: which addresses, ports, protocols, VLANs and flows it holds.
//!
//! In: the distinct packets a block saw. Out: bytes beside the block in the index's journal, answers to "may it
//! hold this?" from those bytes, and the keys that the sealed index sorts. An answer of no is certain, an answer
//! of yes may be wrong: 32 bits stand for an IPv6 host and for a flow.
//!
//! Layout, little-endian: flags u16, zero u16, seven counts u32 (IPv4 addresses, IPv6 /64 networks, ports,
//! VLANs, IPv6 hosts, flows, pairs), 256 bits of protocols; then the sorted lists of IPv4 addresses (u32), networks
//! (u64), ports (u16), VLANs (u16), hashes of IPv6 hosts (u32), upper
//! halves of flow tags (u32), and hashes of the pairs of addresses of fragments that have no tag (u32).

use super::block::Seen;
use super::format::{Fields, FormatError};
use super::index::{BlockSet, IndexError, Kind, SealedIndex};
pub use super::view::pair_of;
use super::view::{View, view_flags};
use std::ops::RangeInclusive;

/// Bits of a summary's flags.
mod flags {
    /// Some frames are IPv4.
    pub(super) const V4: u16 = 1;
    /// Some frames are IPv6.
    pub(super) const V6: u16 = 2;
    /// Some frames are ARP or RARP.
    pub(super) const ARP: u16 = 4;
    /// Some frames may match anything.
    pub(super) const OPAQUE: u16 = 8;
    /// Some fragments have no tag, and their addresses are not known.
    pub(super) const UNTAGGED_FRAGMENT: u16 = 16;
}

/// A range of addresses, as `host` and `net` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// IPv4: the address and how many of its bits count.
    V4(u32, u8),
    /// IPv6: the address and how many of its bits count.
    V6(u128, u8),
}

/// The tag of a frame that is known to be in no flow, as one that carries no IP packet. One that merely has none may
/// be a fragment of any flow between its addresses, which take room in the index, and behind MPLS and PPPoE of any.
pub const NO_FLOW: u64 = 0;

/// What a flow is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKeys {
    /// Its tag, see [`weir_common::net::CommunityId::tag`].
    pub tag: u64,
    /// Which of the fragments that were written before their flow was known.
    pub pairs: Pairs,
}

/// Which fragments without a tag are looked for; they are indexed by their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// None: no frame has told the flow's addresses.
    None,
    /// Those between the flow's addresses, for which this stands, see [`pair_of`].
    Of(u32),
}

impl Pairs {
    fn keys(self) -> Option<RangeInclusive<u64>> {
        match self {
            Pairs::None => None,
            Pairs::Of(pair) => Some(only(pair)),
        }
    }
}

/// Collects summaries; its memory is used again from block to block.
#[derive(Debug, Default)]
pub(super) struct Summarizer {
    v4: Vec<u32>,
    networks: Vec<u64>,
    ports: Vec<u16>,
    vlans: Vec<u16>,
    hosts: Vec<u32>,
    flows: Vec<u32>,
    pairs: Vec<u32>,
    protocols: [u8; 32],
    flags: u16,
}

impl Summarizer {
    /// Appends the summary of what was seen to `out`.
    pub(super) fn summarize(&mut self, seen: &[Seen], out: &mut Vec<u8>) {
        self.clear();
        for seen in seen {
            self.add(&seen.view);
            match seen.flow_tag {
                Some(NO_FLOW) => {}
                Some(tag) => self.flows.push(flow_hash(tag)),
                None => self.add_untagged(&seen.view),
            }
        }
        self.sort();
        self.write(out);
    }

    /// Appends the summary of a block of which nothing is known: it may hold anything.
    pub(super) fn opaque(out: &mut Vec<u8>) {
        let opaque = Summarizer { flags: flags::OPAQUE | flags::UNTAGGED_FRAGMENT, ..Summarizer::default() };
        opaque.write(out);
    }

    fn clear(&mut self) {
        self.v4.clear();
        self.networks.clear();
        self.ports.clear();
        self.vlans.clear();
        self.hosts.clear();
        self.flows.clear();
        self.pairs.clear();
        self.protocols = [0; 32];
        self.flags = 0;
    }

    /// What may be a fragment of a flow is found by its addresses, or in every question for a flow.
    fn add_untagged(&mut self, view: &View) {
        if view.flags & view_flags::FRAGMENT != 0 || view.may_be_fragment_behind_headers() {
            match view.pair() {
                Some(pair) => self.pairs.push(pair),
                None => self.flags |= flags::UNTAGGED_FRAGMENT,
            }
        } else if view.flags & view_flags::ENCAPSULATED != 0 {
            self.flags |= flags::UNTAGGED_FRAGMENT;
        }
    }

    fn add(&mut self, view: &View) {
        let has = |flag: u16| view.flags & flag != 0;
        for (there, flag) in [
            (has(view_flags::V4), flags::V4),
            (has(view_flags::V6), flags::V6),
            (has(view_flags::ARP), flags::ARP),
            (has(view_flags::OPAQUE), flags::OPAQUE),
        ] {
            self.flags |= if there { flag } else { 0 };
        }
        let addresses = [(view_flags::SOURCE, &view.source), (view_flags::DESTINATION, &view.destination)];
        for (_, address) in addresses.iter().filter(|(flag, _)| has(*flag)) {
            if has(view_flags::V6) {
                let address = u128::from_be_bytes(**address);
                self.networks.push((address >> 64) as u64);
                self.hosts.push(host_hash(address));
            } else {
                self.v4.push(u32::from_be_bytes([address[0], address[1], address[2], address[3]]));
            }
        }
        for (flag, port) in
            [(view_flags::SOURCE_PORT, view.ports[0]), (view_flags::DESTINATION_PORT, view.ports[1])]
        {
            if has(flag) {
                self.ports.push(port);
            }
        }
        for (flag, protocol) in
            [(view_flags::PROTOCOL, view.protocols[0]), (view_flags::INNER_PROTOCOL, view.protocols[1])]
        {
            if has(flag) {
                self.protocols[usize::from(protocol / 8)] |= 1 << (protocol % 8);
            }
        }
        self.vlans.extend(view.vlans.iter().take(usize::from(view.tags)));
    }

    fn sort(&mut self) {
        sort(&mut self.v4);
        sort(&mut self.networks);
        sort(&mut self.ports);
        sort(&mut self.vlans);
        sort(&mut self.hosts);
        sort(&mut self.flows);
        sort(&mut self.pairs);
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        for count in [
            self.v4.len(),
            self.networks.len(),
            self.ports.len(),
            self.vlans.len(),
            self.hosts.len(),
            self.flows.len(),
            self.pairs.len(),
        ] {
            out.extend_from_slice(&(count as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.protocols);
        self.v4.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.networks.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.ports.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.vlans.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.hosts.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.flows.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.pairs.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
}

fn sort<T: Ord>(values: &mut Vec<T>) {
    values.sort_unstable();
    values.dedup();
}

fn flow_hash(tag: u64) -> u32 {
    (tag >> 32) as u32
}

fn host_hash(address: u128) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = ((address >> 64) as u64).wrapping_mul(K) ^ (address as u64).rotate_left(32);
    ((mixed ^ mixed >> 29).wrapping_mul(K) >> 32) as u32
}

/// A summary, borrowed from the index.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    flags: u16,
    protocols: &'a [u8],
    v4: Sorted<'a, 4>,
    networks: Sorted<'a, 8>,
    ports: Sorted<'a, 2>,
    vlans: Sorted<'a, 2>,
    hosts: Sorted<'a, 4>,
    flows: Sorted<'a, 4>,
    pairs: Sorted<'a, 4>,
}

impl<'a> Summary<'a> {
    /// Reads a summary; every list lies inside `bytes` afterwards.
    pub fn parse(bytes: &'a [u8]) -> Result<Summary<'a>, FormatError> {
        let mut fields = Fields::new(bytes, "block summary");
        let flags = fields.u16()?;
        fields.take(2)?;
        let mut counts = [0usize; 7];
        for count in &mut counts {
            *count = fields.u32()? as usize;
        }
        let [v4, networks, ports, vlans, hosts, flows, pairs] = counts;
        Ok(Summary {
            flags,
            protocols: fields.take(32)?,
            v4: Sorted(fields.take(v4.saturating_mul(4))?),
            networks: Sorted(fields.take(networks.saturating_mul(8))?),
            ports: Sorted(fields.take(ports.saturating_mul(2))?),
            vlans: Sorted(fields.take(vlans.saturating_mul(2))?),
            hosts: Sorted(fields.take(hosts.saturating_mul(4))?),
            flows: Sorted(fields.take(flows.saturating_mul(4))?),
            pairs: Sorted(fields.take(pairs.saturating_mul(4))?),
        })
    }

    /// The flags of a block of which nothing is known, as keys of [`Kind::Flag`].
    pub const OPAQUE_FLAGS: [u16; 2] =
        [flags::OPAQUE.trailing_zeros() as u16, flags::UNTAGGED_FRAGMENT.trailing_zeros() as u16];

    /// Gives every key to `each`.
    pub fn keys(&self, each: &mut dyn FnMut(Kind, u64)) {
        self.v4.values().for_each(|key| each(Kind::V4, key));
        self.networks.values().for_each(|key| each(Kind::Network, key));
        self.hosts.values().for_each(|key| each(Kind::Host6, key));
        self.ports.values().for_each(|key| each(Kind::Port, key));
        self.vlans.values().for_each(|key| each(Kind::Vlan, key));
        self.flows.values().for_each(|key| each(Kind::Flow, key));
        self.pairs.values().for_each(|key| each(Kind::Pair, key));
        let bits = self.protocols.iter().enumerate();
        bits.flat_map(|(at, byte)| {
            (0..8).filter(move |bit| byte & 1 << bit != 0).map(move |bit| at * 8 + bit)
        })
        .for_each(|protocol| each(Kind::Protocol, protocol as u64));
        (0..u16::BITS).filter(|bit| self.flags & 1 << bit != 0).for_each(|bit| each(Kind::Flag, bit.into()));
    }

    /// Whether some frame may match anything at all.
    pub fn is_opaque(&self) -> bool {
        self.has(flags::OPAQUE)
    }

    /// Whether an IPv4 frame may be there.
    pub fn may_hold_v4(&self) -> bool {
        self.has(flags::V4 | flags::OPAQUE)
    }

    /// Whether an IPv6 frame may be there.
    pub fn may_hold_v6(&self) -> bool {
        self.has(flags::V6 | flags::OPAQUE)
    }

    /// Whether an ARP or RARP frame may be there.
    pub fn may_hold_arp(&self) -> bool {
        self.has(flags::ARP | flags::OPAQUE)
    }

    /// Whether an address of this range may be there.
    pub fn may_hold_address(&self, prefix: Prefix) -> bool {
        if self.is_opaque() {
            return true;
        }
        match prefix {
            Prefix::V4(address, bits) => {
                let host = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
                self.v4.any_in(u64::from(address & !host)..=u64::from(address | host))
            }
            Prefix::V6(address, bits) => {
                let host = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
                let (first, last) = ((address & !host) >> 64, (address | host) >> 64);
                self.networks.any_in(first as u64..=last as u64)
                    && (bits < 128 || self.hosts.any_in(only(host_hash(address))))
            }
        }
    }

    /// Whether a TCP, UDP or SCTP port of this range may be there.
    pub fn may_hold_port(&self, ports: RangeInclusive<u16>) -> bool {
        self.is_opaque() || self.ports.any_in(u64::from(*ports.start())..=u64::from(*ports.end()))
    }

    /// Whether an IP protocol may be there.
    pub fn may_hold_protocol(&self, protocol: u8) -> bool {
        let byte = self.protocols.get(usize::from(protocol / 8)).copied().unwrap_or(0);
        self.is_opaque() || byte & 1 << (protocol % 8) != 0
    }

    /// Whether a frame with this VLAN, or with any, may be there.
    pub fn may_hold_vlan(&self, vlan: Option<u16>) -> bool {
        let ids = vlan.map_or(0..=u64::from(u16::MAX), |id| id.into()..=id.into());
        self.is_opaque() || self.vlans.any_in(ids)
    }

    /// Whether frames of a flow may be there.
    pub fn may_hold_flow(&self, flow: FlowKeys) -> bool {
        self.has(flags::UNTAGGED_FRAGMENT)
            || self.flows.any_in(only(flow_hash(flow.tag)))
            || flow.pairs.keys().is_some_and(|keys| self.pairs.any_in(keys))
    }

    /// Whether there are fragments that may belong to a flow whose addresses are not known.
    pub fn has_pairs(&self) -> bool {
        self.pairs.value(0).is_some()
    }

    fn has(&self, any_of: u16) -> bool {
        self.flags & any_of != 0
    }
}

/// A sorted list of little-endian numbers of N bytes.
#[derive(Clone, Copy, Debug)]
struct Sorted<'a, const N: usize>(&'a [u8]);

impl<const N: usize> Sorted<'_, N> {
    fn value(&self, at: usize) -> Option<u64> {
        let bytes = self.0.get(at * N..(at + 1) * N)?;
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(bytes);
        Some(u64::from_le_bytes(wide))
    }

    fn values(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.0.len() / N).filter_map(|at| self.value(at))
    }

    fn any_in(&self, values: RangeInclusive<u64>) -> bool {
        let (mut low, mut high) = (0, self.0.len() / N);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.value(middle).is_some_and(|value| value < *values.start()) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.value(low).is_some_and(|value| values.contains(&value))
    }
}

fn only(hash: u32) -> RangeInclusive<u64> {
    hash.into()..=hash.into()
}

/// Questions to a sealed index: the same as to a [`Summary`], answered for all blocks of a segment at once.
impl SealedIndex {
    /// Blocks in which some frame may match anything at all.
    pub fn opaque(&mut self) -> Result<BlockSet, IndexError> {
        self.flagged(flags::OPAQUE)
    }

    /// Blocks in which an IPv4 frame may be.
    pub fn holding_v4(&mut self) -> Result<BlockSet, IndexError> {
        self.flagged(flags::V4)
    }

    /// Blocks in which an IPv6 frame may be.
    pub fn holding_v6(&mut self) -> Result<BlockSet, IndexError> {
        self.flagged(flags::V6)
    }

    /// Blocks in which an ARP or RARP frame may be.
    pub fn holding_arp(&mut self) -> Result<BlockSet, IndexError> {
        self.flagged(flags::ARP)
    }

    /// Blocks in which an address of this range may be.
    pub fn holding_address(&mut self, prefix: Prefix) -> Result<BlockSet, IndexError> {
        match prefix {
            Prefix::V4(address, bits) => {
                let host = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
                self.with_key(Kind::V4, u64::from(address & !host)..=u64::from(address | host))
            }
            Prefix::V6(address, bits) => {
                let host = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
                let (first, last) = ((address & !host) >> 64, (address | host) >> 64);
                let mut found = self.with_key(Kind::Network, first as u64..=last as u64)?;
                if bits == 128 && !found.is_empty() {
                    found.intersect(&self.with_key(Kind::Host6, only(host_hash(address)))?);
                }
                Ok(found)
            }
        }
    }

    /// Blocks in which frames of a flow may be.
    pub fn holding_flow(&mut self, flow: FlowKeys) -> Result<BlockSet, IndexError> {
        let mut found = self.with_key(Kind::Flow, only(flow_hash(flow.tag)))?;
        if let Some(keys) = flow.pairs.keys() {
            found.unite(&self.with_key(Kind::Pair, keys)?);
        }
        found.unite(&self.flagged(flags::UNTAGGED_FRAGMENT)?);
        Ok(found)
    }

    /// Whether there are fragments that may belong to a flow whose addresses are not known.
    pub fn has_pairs(&self) -> bool {
        self.has_keys(Kind::Pair)
    }

    fn flagged(&mut self, flag: u16) -> Result<BlockSet, IndexError> {
        let bit = u64::from(flag.trailing_zeros());
        self.with_key(Kind::Flag, bit..=bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(source: u32, destination: u32, ports: [u16; 2], tag: u64) -> Seen {
        let mut view = View { ports, protocols: [17, 0], ..View::default() };
        view.source[..4].copy_from_slice(&source.to_be_bytes());
        view.destination[..4].copy_from_slice(&destination.to_be_bytes());
        view.flags = view_flags::V4
            | view_flags::SOURCE
            | view_flags::DESTINATION
            | view_flags::SOURCE_PORT
            | view_flags::DESTINATION_PORT
            | view_flags::PROTOCOL;
        Seen { view, flow_tag: Some(tag) }
    }

    fn seen_v6(source: u128) -> Seen {
        let view = View {
            source: source.to_be_bytes(),
            flags: view_flags::V6 | view_flags::SOURCE,
            ..View::default()
        };
        Seen { view, flow_tag: None }
    }

    fn by_tag(tag: u64) -> FlowKeys {
        FlowKeys { tag, pairs: Pairs::None }
    }

    fn summary(seen: &[Seen]) -> Vec<u8> {
        let mut out = Vec::new();
        Summarizer::default().summarize(seen, &mut out);
        out
    }

    #[test]
    fn what_was_seen_may_be_there_and_the_rest_is_not() {
        let bytes = summary(&[seen(0x0a00_0001, 0x0a00_0002, [1000, 53], 7 << 40)]);
        let summary = Summary::parse(&bytes).unwrap();
        assert!(summary.may_hold_v4() && !summary.may_hold_v6() && !summary.may_hold_arp());
        assert!(summary.may_hold_address(Prefix::V4(0x0a00_0001, 32)));
        assert!(!summary.may_hold_address(Prefix::V4(0x0a00_0003, 32)));
        assert!(summary.may_hold_address(Prefix::V4(0x0a01_0203, 8)));
        assert!(!summary.may_hold_address(Prefix::V4(0x0b00_0000, 8)));
        assert!(summary.may_hold_address(Prefix::V4(0, 0)) && !summary.may_hold_address(Prefix::V6(0, 0)));
        assert!(summary.may_hold_port(53..=53) && summary.may_hold_port(900..=1000));
        assert!(!summary.may_hold_port(54..=999));
        assert!(summary.may_hold_protocol(17) && !summary.may_hold_protocol(6));
        assert!(!summary.may_hold_vlan(None));
        assert!(summary.may_hold_flow(by_tag(7 << 40)) && !summary.may_hold_flow(by_tag(7 << 50)));
    }

    #[test]
    fn ipv6_is_found_by_network_and_by_host() {
        let address: u128 = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().into();
        let bytes = summary(&[seen_v6(address)]);
        let summary = Summary::parse(&bytes).unwrap();
        for (prefix, want) in [
            (Prefix::V6(address, 128), true),
            (Prefix::V6(address + 1, 128), false),
            (Prefix::V6(address + 1, 127), true),
            (Prefix::V6(address, 32), true),
            (Prefix::V6(address + (1 << 64), 64), false),
            (Prefix::V6(0, 0), true),
            (Prefix::V4(0, 0), false),
        ] {
            assert_eq!(summary.may_hold_address(prefix), want, "{prefix:?}");
        }
    }

    #[test]
    fn an_unknown_block_may_hold_anything() {
        let mut bytes = Vec::new();
        Summarizer::opaque(&mut bytes);
        assert_eq!(bytes.len(), 64);
        let summary = Summary::parse(&bytes).unwrap();
        assert!(summary.may_hold_address(Prefix::V4(1, 32)) && summary.may_hold_port(1..=1));
        assert!(
            summary.may_hold_flow(by_tag(1))
                && summary.may_hold_vlan(Some(1))
                && summary.may_hold_protocol(0)
        );
    }

    #[test]
    fn an_untagged_fragment_is_found_by_its_addresses_or_always() {
        let mut fragment = seen(1, 2, [0, 0], 0);
        fragment.flow_tag = None;
        let holds = |seen: Seen, pair: Option<u32>| {
            let pairs = pair.map_or(Pairs::None, Pairs::Of);
            Summary::parse(&summary(&[seen])).unwrap().may_hold_flow(FlowKeys { tag: 1, pairs })
        };
        let mut reverse = seen(2, 1, [9, 9], 0).view;
        let pair = reverse.pair();
        assert!(!holds(fragment, None) && !holds(fragment, pair));
        fragment.view.flags |= view_flags::FRAGMENT;
        assert!(!holds(fragment, None) && holds(fragment, pair));
        reverse.source[3] = 9;
        assert!(!holds(fragment, reverse.pair()));
        fragment.view.flags &= !view_flags::DESTINATION;
        assert!(holds(fragment, None));
        fragment.view.flags = view_flags::ENCAPSULATED;
        assert!(holds(fragment, None));
        fragment.flow_tag = Some(NO_FLOW);
        assert!(!holds(fragment, None));
    }

    #[test]
    fn an_untagged_packet_with_extension_headers_may_be_a_fragment_and_is_found_by_its_addresses() {
        let mut seen = seen_v6(7 << 64);
        seen.view.destination = (9u128 << 64).to_be_bytes();
        seen.view.flags |= view_flags::DESTINATION | view_flags::PROTOCOL;
        for (protocol, want) in [(0, true), (43, true), (60, true), (6, false), (59, false)] {
            seen.view.protocols[0] = protocol;
            let pairs = seen.view.pair().map_or(Pairs::None, Pairs::Of);
            let bytes = summary(&[seen]);
            assert_eq!(
                Summary::parse(&bytes).unwrap().may_hold_flow(FlowKeys { tag: 1, pairs }),
                want,
                "{protocol}"
            );
        }
    }

    #[test]
    fn keys_are_all_that_was_seen() {
        let bytes = summary(&[seen(1, 2, [1000, 53], 7 << 40), seen_v6(3 << 64)]);
        let mut keys = Vec::new();
        Summary::parse(&bytes).unwrap().keys(&mut |kind, key| keys.push((kind, key)));
        for want in [
            (Kind::V4, 1),
            (Kind::V4, 2),
            (Kind::Network, 3),
            (Kind::Port, 53),
            (Kind::Port, 1000),
            (Kind::Protocol, 17),
            (Kind::Flow, 7 << 8),
            (Kind::Flag, 0),
            (Kind::Flag, 1),
        ] {
            assert!(keys.contains(&want), "{want:?}");
        }
        assert_eq!(keys.len(), 10);
    }

    #[test]
    fn few_flows_are_found_that_are_not_there() {
        let tag = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let flows: Vec<Seen> = (0..2000).map(|n| seen(n as u32, 1, [1, 2], tag(n))).collect();
        let bytes = summary(&flows);
        let summary = Summary::parse(&bytes).unwrap();
        let wrong = (2000..102_000).filter(|n| summary.may_hold_flow(by_tag(tag(*n)))).count();
        assert!(wrong < 3, "{wrong} of 100,000");
    }

    proptest! {
        #[test]
        fn nothing_seen_is_ever_denied(rows in proptest::collection::vec(any::<(u32, u32, u16, u16, u64, u128)>(), 1..400)) {
            let mut all: Vec<Seen> = rows.iter().map(|r| seen(r.0, r.1, [r.2, r.3], r.4)).collect();
            all.extend(rows.iter().map(|r| seen_v6(r.5)));
            let bytes = summary(&all);
            let summary = Summary::parse(&bytes).unwrap();
            for (source, destination, from, to, tag, v6) in rows {
                for bits in [0, 8, 24, 32] {
                    prop_assert!(summary.may_hold_address(Prefix::V4(source, bits)));
                    prop_assert!(summary.may_hold_address(Prefix::V4(destination, bits)));
                    prop_assert!(summary.may_hold_address(Prefix::V6(v6, bits * 4)));
                }
                prop_assert!(summary.may_hold_port(from..=from) && summary.may_hold_port(to..=to));
                prop_assert!(summary.may_hold_flow(by_tag(tag)));
            }
        }

        #[test]
        fn random_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), small in any::<bool>()) {
            let mut bytes = bytes;
            if small {
                // Counts that are small enough to be believed.
                bytes.iter_mut().take(28).enumerate().filter(|(at, _)| at % 4 != 0).for_each(|(_, byte)| *byte = 0);
            }
            if let Ok(summary) = Summary::parse(&bytes) {
                summary.may_hold_address(Prefix::V4(1, 32));
                summary.may_hold_address(Prefix::V6(1, 128));
                summary.may_hold_port(1..=2);
                summary.may_hold_flow(by_tag(3));
            }
        }
    }
}
