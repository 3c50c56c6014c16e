//! Networks to values, by longest prefix.
//!
//! In: ranges of mapped addresses that are networks. Out: the value of the most specific network that
//! holds an address. One hash table with integer keys, asked once per prefix length in use, longest
//! first; real lists use few lengths. Integer keys also keep clear of the compiler fault that
//! `weir_common` guards against.

use foldhash::fast::RandomState;
use std::collections::HashMap;

/// The map.
#[derive(Debug, Default)]
pub struct PrefixMap {
    /// By prefix length of the mapped address, 0 to 128, and network.
    networks: HashMap<(u128, u32), u32, RandomState>,
    /// Lengths in use, longest first; IPv4's are 96 and more within the mapped range.
    lengths: Vec<u32>,
}

impl PrefixMap {
    /// Adds a network given by its first and last address; the former value when it was there.
    pub fn insert(&mut self, first: u128, last: u128, value: u32) -> Option<u32> {
        let length = (first ^ last).leading_zeros();
        if let Err(at) = self.lengths.binary_search_by(|have| length.cmp(have)) {
            self.lengths.insert(at, length);
        }
        self.networks.insert((first, length), value)
    }

    /// The value of a network given by its first and last address.
    pub fn exact(&self, first: u128, last: u128) -> Option<u32> {
        self.networks.get(&(first, (first ^ last).leading_zeros())).copied()
    }

    /// The value of the most specific network that holds the address.
    #[inline]
    pub fn find(&self, address: u128) -> Option<u32> {
        self.lengths.iter().find_map(|length| {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            self.networks.get(&(address & mask, *length)).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::home::range;

    fn number(text: &str) -> u128 {
        range(text).unwrap().0
    }

    #[test]
    fn the_most_specific_network_wins() {
        let mut map = PrefixMap::default();
        let networks = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32", "::/0"];
        for (value, text) in networks.iter().enumerate() {
            let (first, last) = range(text).unwrap();
            assert_eq!(map.insert(first, last, value as u32), None);
        }
        for (address, want) in [
            ("192.0.2.1", 0),
            ("10.255.255.255", 1),
            ("11.0.0.0", 0),
            ("10.1.255.255", 2),
            ("10.1.2.3", 3),
            ("10.1.2.4", 2),
            ("2001:db8::1", 4),
            ("2001:db9::1", 5),
        ] {
            assert_eq!(map.find(number(address)), Some(want), "{address}");
        }
        assert_eq!(PrefixMap::default().find(number("10.0.0.1")), None);
    }
}
