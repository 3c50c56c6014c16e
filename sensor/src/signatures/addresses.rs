//! Which signatures are about a host: an index of the headers' addresses.
//!
//! In: signatures whose header names addresses. Out: for an address, the signatures that may be about it.
//! Lists of thousands of hosts are the commonest rules without any content; one by one they would be slow.

use foldhash::HashMap;
use weir_common::net::Address;
use weir_common::rule::AddressSet;
use weir_common::rule::group::ordinal;

/// Most networks that one signature is listed under; one with more is always a candidate.
const NETWORKS_MAX: usize = 1 << 12;

/// Signatures by network.
#[derive(Debug, Default)]
pub(super) struct AddressIndex {
    /// By prefix length and masked address.
    networks: HashMap<(u8, u128), Vec<u32>>,
    /// The prefix lengths that occur.
    lengths: Vec<u8>,
    /// A bit for each [`slot`] with a network in it: most hosts are in none, and a look-up for each length is saved.
    slots: Vec<u64>,
    always: Vec<u32>,
}

/// Bits of an address that share a slot: a /16 of IPv4.
const SLOT_HOST_BITS: u32 = 16;
/// Slots that one network may set; with a larger one, every slot is.
const SLOTS_OF_NETWORK_MAX: u32 = 12;

/// The slot of an address: where it is written, and its bit.
#[inline]
fn slot(address: u128) -> (usize, u64) {
    let block = address >> SLOT_HOST_BITS;
    // IPv4's blocks have a slot each, those of IPv6 share them.
    let at = (block ^ block >> 32 ^ block >> 64) as u16;
    (usize::from(at) / 64, 1 << (at % 64))
}

impl AddressIndex {
    /// Lists a signature under the narrower of its ends.
    pub(super) fn add(&mut self, signature: u32, ends: [&AddressSet; 2]) {
        let [source, destination] = ends;
        let narrower = if size(source) <= size(destination) { source } else { destination };
        let networks = networks(narrower, NETWORKS_MAX).filter(|_| !narrower.is_all());
        let Some(networks) = networks else {
            self.always.push(signature);
            return;
        };
        for (first, bits) in networks {
            if !self.lengths.contains(&bits) {
                self.lengths.push(bits);
            }
            self.networks.entry((bits, first)).or_default().push(signature);
            self.mark(first, bits);
        }
    }

    /// Sets the slots of a network.
    fn mark(&mut self, first: u128, bits: u8) {
        self.slots.resize((1 << 16) / 64, 0);
        let blocks = (128 - u32::from(bits)).saturating_sub(SLOT_HOST_BITS);
        if blocks > SLOTS_OF_NETWORK_MAX {
            self.slots.fill(u64::MAX);
            return;
        }
        for block in 0..1u128 << blocks {
            let (word, bit) = slot(first | block << SLOT_HOST_BITS);
            if let Some(word) = self.slots.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Gives the signatures that may be about a packet between these hosts; one may be given twice.
    #[inline]
    pub(super) fn candidates(&self, hosts: [Address; 2], mut give: impl FnMut(u32)) {
        self.always.iter().for_each(|signature| give(*signature));
        for host in hosts.map(ordinal) {
            let (word, bit) = slot(host);
            if self.slots.get(word).is_none_or(|word| word & bit == 0) {
                continue;
            }
            for bits in &self.lengths {
                let listed = self.networks.get(&(*bits, host & mask(*bits)));
                listed.into_iter().flatten().for_each(|signature| give(*signature));
            }
        }
    }
}

/// How many addresses a set holds, saturating.
fn size(set: &AddressSet) -> u128 {
    set.ranges().iter().fold(0u128, |sum, (from, to)| sum.saturating_add((to - from).saturating_add(1)))
}

fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// The networks that make up a set: first address and prefix length in 128 bits. `None`: more than `max`.
pub fn networks(set: &AddressSet, max: usize) -> Option<Vec<(u128, u8)>> {
    let mut out = Vec::new();
    for (from, to) in set.ranges() {
        let mut first = *from;
        loop {
            // The largest network that begins here and ends in the range.
            let mut host_bits = first.trailing_zeros().min(128);
            let last_of = |host_bits: u32| first | !mask((128 - host_bits) as u8);
            while host_bits > 0 && last_of(host_bits) > *to {
                host_bits -= 1;
            }
            if out.len() == max {
                return None;
            }
            out.push((first, (128 - host_bits) as u8));
            let last = last_of(host_bits);
            match last.checked_add(1).filter(|_| last < *to) {
                Some(next) => first = next,
                None => break,
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::rule::{Variables, group};

    fn set(word: &str) -> AddressSet {
        group::addresses(word, &Variables::default()).unwrap()
    }

    #[test]
    fn ranges_become_the_fewest_networks() {
        let v4 = |word: &str| {
            let networks = networks(&set(word), 100).unwrap();
            networks
                .iter()
                .map(|(first, bits)| format!("{}/{}", Address(first.to_be_bytes()), bits - 96))
                .collect::<Vec<_>>()
        };
        assert_eq!(v4("10.0.0.0/8"), ["10.0.0.0/8"]);
        assert_eq!(v4("10.0.0.1-10.0.0.6"), ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]);
        assert_eq!(v4("255.255.255.254-255.255.255.255"), ["255.255.255.254/31"]);
        assert_eq!(networks(&set("any"), 1).unwrap(), [(0, 0)]);
        assert_eq!(networks(&set("ffff::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 1).unwrap().len(), 1);
        assert_eq!(networks(&set("[10.0.0.1,10.0.0.3]"), 1), None);
    }

    #[test]
    fn hosts_lead_to_the_signatures_about_them() {
        let mut index = AddressIndex::default();
        index.add(0, [&set("[10.0.0.1,10.1.0.0/16]"), &set("$HOME_NET")]);
        index.add(1, [&set("any"), &set("any")]);
        index.add(2, [&set("any"), &set("2001:db8::/32")]);
        let find = |a: &str, b: &str| {
            let mut out = Vec::new();
            index.candidates([a.parse().unwrap(), b.parse().unwrap()], |signature| out.push(signature));
            out.sort_unstable();
            out
        };
        assert_eq!(find("10.0.0.1", "8.8.8.8"), [0, 1]);
        assert_eq!(find("8.8.8.8", "10.1.255.255"), [0, 1]);
        assert_eq!(find("10.0.0.2", "10.2.0.0"), [1]);
        assert_eq!(find("2001:db8::1", "2001:db9::1"), [1, 2]);
    }
}
