//! Which addresses are the owner's.
//!
//! In: networks as CIDR text. Out: a test of an address. Without networks: private (RFC 1918),
//! shared (RFC 6598), link-local, loopback and unique-local (RFC 4193) addresses.

use crate::prefix::Networks;
use weir_common::net::Address;

/// The owner's networks; a clone shares them.
#[derive(Clone, Debug)]
pub struct Home(Networks);

const PRIVATE: &[&str] = &[
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];

impl Home {
    /// Reads CIDR texts; an empty list means private addresses. The error says which text is no network.
    pub fn new(networks: &[String]) -> Result<Home, String> {
        if networks.is_empty() { Networks::parse(PRIVATE) } else { Networks::parse(networks) }.map(Home)
    }

    /// No network at all.
    pub fn nowhere() -> Home {
        Home(Networks::default())
    }

    /// Whether the address is the owner's.
    #[inline]
    pub fn contains(&self, address: &Address) -> bool {
        self.0.contains(*address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(networks: &[&str]) -> Home {
        Home::new(&networks.iter().map(|text| text.to_string()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn networks_hold_their_first_and_last_address_and_no_other() {
        let home = home(&["192.0.2.64/26", "2001:db8::/32"]);
        for (address, inside) in [
            ("192.0.2.63", false),
            ("192.0.2.64", true),
            ("192.0.2.127", true),
            ("192.0.2.128", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(home.contains(&address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn without_networks_private_addresses_are_home() {
        let home = home(&[]);
        for inside in ["10.1.2.3", "172.31.0.1", "192.168.0.1", "fd00::1", "fe80::1"] {
            assert!(home.contains(&inside.parse().unwrap()), "{inside}");
        }
        for outside in ["172.32.0.1", "8.8.8.8", "198.51.100.7", "2001:db8::1"] {
            assert!(!home.contains(&outside.parse().unwrap()), "{outside}");
        }
        assert!(Home::new(&["10.0.0.0/33".into()]).unwrap_err().contains("10.0.0.0/33"));
    }
}
