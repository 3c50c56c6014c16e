//! The summary of a block: which addresses, ports, protocols, VLANs and flows it holds.
//!
//! In: the distinct packets a block saw. Out: bytes beside the block in the index, and answers to "may it
//! hold this?" from those bytes. An answer of no is certain, an answer of yes may be wrong: for IPv6 hosts
//! and flows about once in four thousand blocks, where sixteen bits stand for the whole.
//!
//! Layout, little-endian: flags u16, zero u16, six counts u32 (IPv4 addresses, IPv6 /64 networks, ports,
//! VLANs, IPv6 hosts, flows), 256 bits of protocols; then the sorted lists of IPv4 addresses (u32), networks
//! (u64), ports (u16) and VLANs (u16); then two filters. A filter of n hashes has 2^b buckets, the fewest
//! that are at least n/16, chosen by the hash's top bits; it stores where each bucket begins (u32) and then
//! the next sixteen bits of each hash (u16), bucket by bucket.

use super::block::Seen;
use super::format::{Fields, FormatError};
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
    /// Some fragments belong to no known flow.
    pub(super) const UNTAGGED_FRAGMENT: u16 = 16;
}

const BUCKET_ENTRIES: usize = 16;
const BUCKET_BITS_MAX: u32 = 16;

/// A range of addresses, as `host` and `net` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// IPv4: the address and how many of its bits count.
    V4(u32, u8),
    /// IPv6: the address and how many of its bits count.
    V6(u128, u8),
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
                Some(tag) => self.flows.push(flow_hash(tag)),
                None if seen.view.flags & view_flags::FRAGMENT != 0 => self.flags |= flags::UNTAGGED_FRAGMENT,
                None => {}
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
        self.protocols = [0; 32];
        self.flags = 0;
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
        ] {
            out.extend_from_slice(&(count as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.protocols);
        self.v4.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.networks.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.ports.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.vlans.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        write_filter(&self.hosts, out);
        write_filter(&self.flows, out);
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

fn bucket_bits(count: usize) -> u32 {
    count.div_ceil(BUCKET_ENTRIES).max(1).next_power_of_two().trailing_zeros().min(BUCKET_BITS_MAX)
}

/// Which bucket a hash falls into and the sixteen bits that stand for it there.
fn place(hash: u32, bits: u32) -> (u32, u16) {
    let bucket = hash.checked_shr(32 - bits).unwrap_or(0);
    (bucket, (hash >> (16 - bits)) as u16)
}

/// `hashes` in ascending order, so that buckets come one after the other.
fn write_filter(hashes: &[u32], out: &mut Vec<u8>) {
    if hashes.is_empty() {
        return;
    }
    let bits = bucket_bits(hashes.len());
    let mut begin = 0;
    for bucket in 0..1u32 << bits {
        begin += hashes[begin..].iter().take_while(|hash| place(**hash, bits).0 < bucket).count();
        out.extend_from_slice(&(begin as u32).to_le_bytes());
    }
    for hash in hashes {
        out.extend_from_slice(&place(*hash, bits).1.to_le_bytes());
    }
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
    hosts: Filter<'a>,
    flows: Filter<'a>,
}

impl<'a> Summary<'a> {
    /// Reads a summary; every list lies inside `bytes` afterwards.
    pub fn parse(bytes: &'a [u8]) -> Result<Summary<'a>, FormatError> {
        let mut fields = Fields::new(bytes, "block summary");
        let flags = fields.u16()?;
        fields.take(2)?;
        let mut counts = [0usize; 6];
        for count in &mut counts {
            *count = fields.u32()? as usize;
        }
        let [v4, networks, ports, vlans, hosts, flows] = counts;
        Ok(Summary {
            flags,
            protocols: fields.take(32)?,
            v4: Sorted(fields.take(v4.saturating_mul(4))?),
            networks: Sorted(fields.take(networks.saturating_mul(8))?),
            ports: Sorted(fields.take(ports.saturating_mul(2))?),
            vlans: Sorted(fields.take(vlans.saturating_mul(2))?),
            hosts: Filter::take(&mut fields, hosts)?,
            flows: Filter::take(&mut fields, flows)?,
        })
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
                    && (bits < 128 || self.hosts.may_hold(host_hash(address)))
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

    /// Whether frames of a flow may be there, by the first eight bytes of its Community ID.
    pub fn may_hold_flow(&self, tag: u64) -> bool {
        self.has(flags::UNTAGGED_FRAGMENT) || self.flows.may_hold(flow_hash(tag))
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

#[derive(Clone, Copy, Debug)]
struct Filter<'a> {
    bits: u32,
    begins: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Filter<'a> {
    fn take(fields: &mut Fields<'a>, count: usize) -> Result<Filter<'a>, FormatError> {
        let bits = bucket_bits(count);
        let begins = if count == 0 { 0 } else { 4 << bits };
        Ok(Filter { bits, begins: fields.take(begins)?, entries: fields.take(count.saturating_mul(2))? })
    }

    fn begin(&self, bucket: u32) -> Option<usize> {
        let at = bucket as usize * 4;
        let bytes = self.begins.get(at..at + 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    }

    fn may_hold(&self, hash: u32) -> bool {
        let (bucket, wanted) = place(hash, self.bits);
        let Some(begin) = self.begin(bucket) else { return false };
        let end = self.begin(bucket + 1).unwrap_or(self.entries.len() / 2);
        // A bucket that does not lie in the list was damaged past the checksum: the answer must be yes.
        let Some(entries) =
            begin.checked_mul(2).zip(end.checked_mul(2)).and_then(|(b, e)| self.entries.get(b..e))
        else {
            return true;
        };
        entries.chunks_exact(2).any(|entry| u16::from_le_bytes([entry[0], entry[1]]) == wanted)
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
        assert!(summary.may_hold_flow(7 << 40) && !summary.may_hold_flow(7 << 50));
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
        assert_eq!(bytes.len(), 60);
        let summary = Summary::parse(&bytes).unwrap();
        assert!(summary.may_hold_address(Prefix::V4(1, 32)) && summary.may_hold_port(1..=1));
        assert!(summary.may_hold_flow(1) && summary.may_hold_vlan(Some(1)) && summary.may_hold_protocol(0));
    }

    #[test]
    fn an_untagged_fragment_keeps_the_block_in_every_flow_query() {
        let mut fragment = seen(1, 2, [0, 0], 0);
        fragment.flow_tag = None;
        assert!(!Summary::parse(&summary(&[fragment])).unwrap().may_hold_flow(1));
        fragment.view.flags |= view_flags::FRAGMENT;
        assert!(Summary::parse(&summary(&[fragment])).unwrap().may_hold_flow(1));
    }

    #[test]
    fn few_flows_are_found_that_are_not_there() {
        let tag = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let flows: Vec<Seen> = (0..2000).map(|n| seen(n as u32, 1, [1, 2], tag(n))).collect();
        let bytes = summary(&flows);
        let summary = Summary::parse(&bytes).unwrap();
        let wrong = (2000..102_000).filter(|n| summary.may_hold_flow(tag(*n))).count();
        assert!(wrong < 100, "{wrong} of 100,000");
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
                prop_assert!(summary.may_hold_flow(tag));
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
                summary.may_hold_flow(3);
            }
        }
    }
}
