//! Prefixes and the map from an address to the longest prefix that holds it.
//!
//! In: CIDR text and values, once. Out: look-ups in some ten nanoseconds. Keys are integers, never small
//! structs (see `common/src/compiler_fault.rs`). The two families are apart: `::/0` holds no IPv4 address.

use std::net::IpAddr;
use std::sync::Arc;
use weir_common::net::Address;

/// A network: a base address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// IPv4 in its mapped form.
    base: u128,
    /// Of 128, for IPv4 too.
    bits: u32,
}

impl Prefix {
    /// Reads an address or a CIDR. Bits set beyond the length are an error: what was meant is unclear.
    /// IPv4 in its mapped form is IPv4.
    pub fn parse(text: &str) -> Result<Prefix, String> {
        let text = text.trim();
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let expected = || {
            format!(
                "`{text}` is not an address or network: expected 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"
            )
        };
        let ip: IpAddr = address.parse().map_err(|_| expected())?;
        let length_max = if ip.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => length_max,
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().ok().filter(|length| *length <= length_max).ok_or_else(expected)?
            }
            Some(_) => return Err(expected()),
        };
        let address = u128::from_be_bytes(Address::from(ip).0);
        let bits = length + (128 - length_max);
        let prefix = Prefix { base: address & mask(bits), bits };
        if prefix.base != address {
            return Err(format!("`{text}` has bits set beyond its length: expected {prefix}"));
        }
        Ok(prefix)
    }

    /// Whether the address lies in the network.
    #[inline]
    pub fn contains(&self, address: Address) -> bool {
        u128::from_be_bytes(address.0) & mask(self.bits) == self.base && self.is_v4() == address.is_v4()
    }

    /// The address, when it is a single one.
    pub fn single(&self) -> Option<Address> {
        (self.bits == 128).then_some(Address(self.base.to_be_bytes()))
    }

    /// How many bits count, of 128; IPv4 is compared in its mapped form.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The length as it is written: of 32 for IPv4, of 128 for IPv6.
    pub fn length(&self) -> u32 {
        if self.is_v4() { self.bits - 96 } else { self.bits }
    }

    fn is_v4(&self) -> bool {
        self.bits >= 96 && self.base >> 32 == 0xffff
    }

    fn last(&self) -> u128 {
        self.base | !mask(self.bits)
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Address(self.base.to_be_bytes()), self.length())
    }
}

/// The first `bits` bits set.
const fn mask(bits: u32) -> u128 {
    match bits {
        0 => 0,
        bits => u128::MAX << (128 - bits),
    }
}

/// 0.0.0.0 and 255.255.255.255 in mapped form.
const V4_FIRST: u128 = 0xffff_0000_0000;
const V4_LAST: u128 = 0xffff_ffff_ffff;

/// What stands for "no prefix" and "no parent".
const NONE: u32 = u32::MAX;
/// Fewest IPv4 intervals with which a table of upper halves pays: fewer stay in a few cache lines.
const INTERVALS_FOR_TABLE: usize = 128;

/// From addresses to values by longest prefix.
///
/// The prefixes are flattened into disjoint intervals when the map is built; a look-up is a binary
/// search, for IPv4 with many intervals within those of the address's upper sixteen bits.
#[derive(Debug)]
pub struct PrefixMap<T> {
    nodes: Vec<Node<T>>,
    v4_starts: Vec<u32>,
    v4_nodes: Vec<u32>,
    /// For each upper half, the interval that holds its first address; empty with few intervals.
    v4_first: Vec<u32>,
    v6_starts: Vec<u128>,
    v6_nodes: Vec<u32>,
}

#[derive(Debug)]
struct Node<T> {
    value: T,
    /// The next shorter prefix that holds this one.
    parent: u32,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        PrefixMap::build(Vec::new())
    }
}

impl<T> PrefixMap<T> {
    /// Builds the map; of entries with equal prefixes the last is found first.
    pub fn build(mut entries: Vec<(Prefix, T)>) -> PrefixMap<T> {
        // Enclosing prefixes come before what they enclose.
        entries.sort_by_key(|(prefix, _)| (prefix.is_v4(), prefix.base, prefix.bits));
        let mut nodes: Vec<Node<T>> = Vec::with_capacity(entries.len());
        let (mut v4, mut v6) = (Intervals::new(V4_FIRST, V4_LAST), Intervals::new(0, u128::MAX));
        for (prefix, value) in entries {
            let node = nodes.len() as u32;
            let intervals = if prefix.is_v4() { &mut v4 } else { &mut v6 };
            let parent = intervals.add(prefix, node);
            nodes.push(Node { value, parent });
        }
        v4.finish();
        v6.finish();
        let v4_starts: Vec<u32> = v4.starts.iter().map(|start| *start as u32).collect();
        let v4_first = if v4_starts.len() >= INTERVALS_FOR_TABLE {
            first_of_upper_halves(&v4_starts)
        } else {
            Vec::new()
        };
        PrefixMap { nodes, v4_starts, v4_nodes: v4.nodes, v4_first, v6_starts: v6.starts, v6_nodes: v6.nodes }
    }

    /// Whether there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The value of the longest prefix that holds the address.
    #[inline]
    pub fn get(&self, address: Address) -> Option<&T> {
        self.nodes.get(self.find(address) as usize).map(|node| &node.value)
    }

    /// The values of all prefixes that hold the address, longest first.
    #[inline]
    pub fn all(&self, address: Address) -> impl Iterator<Item = &T> {
        let mut at = self.find(address);
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.parent;
            Some(&node.value)
        })
    }

    #[inline]
    fn find(&self, address: Address) -> u32 {
        if address.is_v4() {
            let address = u128::from_be_bytes(address.0) as u32;
            let upper = (address >> 16) as usize;
            let (low, high) = match self.v4_first.get(upper..upper + 2) {
                Some(&[low, high]) => (low as usize, high as usize + 1),
                _ => (0, self.v4_starts.len()),
            };
            let starts = self.v4_starts.get(low..high).unwrap_or_default();
            let index = low + starts.partition_point(|start| *start <= address);
            return self.v4_nodes.get(index.wrapping_sub(1)).copied().unwrap_or(NONE);
        }
        let address = u128::from_be_bytes(address.0);
        let index = self.v6_starts.partition_point(|start| *start <= address);
        self.v6_nodes.get(index.wrapping_sub(1)).copied().unwrap_or(NONE)
    }
}

/// Disjoint intervals, each from its start to the next one's, with the node that answers for it.
struct Intervals {
    starts: Vec<u128>,
    nodes: Vec<u32>,
    /// Prefixes that hold the current position, outermost first: last address and node.
    open: Vec<(u128, u32)>,
    last: u128,
}

impl Intervals {
    fn new(first: u128, last: u128) -> Intervals {
        Intervals { starts: vec![first], nodes: vec![NONE], open: Vec::new(), last }
    }

    /// Adds a prefix that begins at or after every earlier one; the node of the prefix around it.
    fn add(&mut self, prefix: Prefix, node: u32) -> u32 {
        while self.open.last().is_some_and(|(last, _)| *last < prefix.base) {
            self.close();
        }
        let parent = self.open.last().map_or(NONE, |(_, node)| *node);
        self.begin(prefix.base, node);
        self.open.push((prefix.last(), node));
        parent
    }

    fn finish(&mut self) {
        while !self.open.is_empty() {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some((last, _)) = self.open.pop()
            && last < self.last
        {
            let around = self.open.last().map_or(NONE, |(_, node)| *node);
            self.begin(last + 1, around);
        }
    }

    fn begin(&mut self, start: u128, node: u32) {
        // What begins at the same address and is longer answers instead.
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.nodes.pop();
        }
        self.starts.push(start);
        self.nodes.push(node);
    }
}

fn first_of_upper_halves(starts: &[u32]) -> Vec<u32> {
    let mut first = Vec::with_capacity(65_537);
    let mut index = 0usize;
    for upper in 0..=u16::MAX {
        let address = u32::from(upper) << 16;
        while starts.get(index + 1).is_some_and(|start| *start <= address) {
            index += 1;
        }
        first.push(index as u32);
    }
    first.push(starts.len().saturating_sub(1) as u32);
    first
}

/// A set of networks; a clone shares it.
#[derive(Clone, Debug, Default)]
pub struct Networks(Arc<PrefixMap<()>>);

impl Networks {
    /// Reads a list of CIDRs; the error says which one is wrong.
    pub fn parse<T: AsRef<str>>(list: &[T]) -> Result<Networks, String> {
        list.iter().map(|text| Prefix::parse(text.as_ref())).collect()
    }

    /// Whether a network of the set holds the address.
    #[inline]
    pub fn contains(&self, address: Address) -> bool {
        self.0.get(address).is_some()
    }
}

impl FromIterator<Prefix> for Networks {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Networks {
        Networks(Arc::new(PrefixMap::build(prefixes.into_iter().map(|prefix| (prefix, ())).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(list: &[&'static str]) -> PrefixMap<&'static str> {
        PrefixMap::build(list.iter().map(|text| (Prefix::parse(text).unwrap(), *text)).collect())
    }

    fn found<'a>(map: &'a PrefixMap<&'static str>, address: &str) -> Option<&'a &'static str> {
        map.get(address.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_answers_on_both_sides_of_its_borders() {
        let map = map(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.3",
            "0.0.0.0/0",
            "255.255.255.255",
            "2001:db8::/32",
            "2001:db8::1",
        ]);
        for (address, want) in [
            ("9.255.255.255", Some("0.0.0.0/0")),
            ("10.0.0.0", Some("10.0.0.0/8")),
            ("10.1.0.0", Some("10.1.0.0/16")),
            ("10.1.2.2", Some("10.1.0.0/16")),
            ("10.1.2.3", Some("10.1.2.3")),
            ("10.1.2.4", Some("10.1.0.0/16")),
            ("10.2.0.0", Some("10.0.0.0/8")),
            ("11.0.0.0", Some("0.0.0.0/0")),
            ("255.255.255.255", Some("255.255.255.255")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("2001:db8::2", Some("2001:db8::/32")),
            ("2001:db9::", None),
        ] {
            assert_eq!(found(&map, address), want.as_ref(), "{address}");
        }
        let all: Vec<_> = map.all("10.1.2.3".parse().unwrap()).copied().collect();
        assert_eq!(all, ["10.1.2.3", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
    }

    #[test]
    fn families_are_apart_and_an_empty_map_holds_nothing() {
        assert_eq!(found(&map(&["::/0"]), "10.0.0.1"), None);
        assert_eq!(found(&map(&["0.0.0.0/0"]), "::1"), None);
        assert_eq!(found(&map(&["0.0.0.0/0"]), "10.0.0.1"), Some(&"0.0.0.0/0"));
        assert_eq!(found(&map(&[]), "10.0.0.1"), None);
        assert_eq!(found(&map(&[]), "::1"), None);
    }

    #[test]
    fn what_is_not_a_network_is_refused_with_what_was_expected() {
        for wrong in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "2001:db8::/129",
            "10.0.0.0/8/8",
            "10.0.0.0/+8",
            "host",
        ] {
            assert!(Prefix::parse(wrong).unwrap_err().contains("expected"), "{wrong}");
        }
        assert!(Prefix::parse("10.0.0.5/8").unwrap_err().contains("expected 10.0.0.0/8"));
        assert_eq!(Prefix::parse(" 10.0.0.0/8 ").unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn ipv4_in_its_mapped_form_is_ipv4() {
        let mapped = Prefix::parse("::ffff:10.0.0.0/104").unwrap();
        assert_eq!(mapped, Prefix::parse("10.0.0.0/8").unwrap());
        assert!(mapped.contains("10.1.2.3".parse().unwrap()));
        let wider = Prefix::parse("::/0").unwrap();
        assert!(!wider.contains("10.1.2.3".parse().unwrap()) && wider.contains("::1".parse().unwrap()));
        assert_eq!((mapped.length(), mapped.bits(), wider.length()), (8, 104, 0));
        assert_eq!(Prefix::parse("192.0.2.1").unwrap().single(), Some(Address::v4([192, 0, 2, 1])));
        assert_eq!(mapped.single(), None);
    }

    #[test]
    fn a_set_holds_the_first_and_last_address_of_its_networks_and_no_other() {
        let set = Networks::parse(&["192.0.2.64/26", "2001:db8::/32"]).unwrap();
        for (address, inside) in [
            ("192.0.2.63", false),
            ("192.0.2.64", true),
            ("192.0.2.127", true),
            ("192.0.2.128", false),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(Networks::parse(&["10.0.0.0/8", "10.0.0.0/33"]).unwrap_err().contains("10.0.0.0/33"));
    }

    proptest! {
        #[test]
        fn the_map_agrees_with_trying_every_prefix(
            // Below and above the number from which there is a table.
            prefixes in proptest::collection::vec((any::<u32>(), 0u32..=32), 0..200),
            probes in proptest::collection::vec(any::<u32>(), 0..40),
        ) {
            let prefixes: Vec<Prefix> = prefixes.iter().map(|(address, length)| {
                let bits = length + 96;
                let base = (0xffff_0000_0000u128 | u128::from(*address)) & mask(bits);
                Prefix { base, bits }
            }).collect();
            let map = PrefixMap::build(prefixes.iter().map(|prefix| (*prefix, *prefix)).collect());
            let borders = prefixes.iter().flat_map(|p| [p.base as u32, p.last() as u32, (p.last() as u32).wrapping_add(1)]);
            for probe in probes.iter().copied().chain(borders) {
                let address = Address::v4(probe.to_be_bytes());
                let want = prefixes.iter().filter(|p| p.contains(address)).max_by_key(|p| p.bits).copied();
                prop_assert_eq!(map.get(address).copied(), want);
            }
        }
    }
}
