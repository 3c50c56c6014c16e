//! Which copy wins where segments overlap: what the receiver's TCP does (Novak and Sturges, Target-Based TCP
//! Stream Reassembly, 2007), by the receiver's network.
//!
//! In: the span of what is held and that of what comes. Out: whose bytes stay. It can matter only for bytes that
//! wait behind a hole: what is in order is read the moment it comes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use weir_common::net::Address;

/// How a receiver treats overlapping segments.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverlapPolicy {
    /// What came first stays.
    #[default]
    First,
    /// What came last stays.
    Last,
    /// What came first stays, except where the later segment begins before it (the BSDs, macOS).
    Bsd,
    /// As `bsd`, and a later segment that begins at the same place and is longer wins.
    Linux,
    /// As `bsd`: Windows before Vista; later ones are `first`.
    Windows,
}

impl OverlapPolicy {
    /// Whether the bytes of a segment replace those held of another. Spans are begin and end.
    pub(super) fn favours_new(self, new: (u64, u64), held: (u64, u64)) -> bool {
        match self {
            OverlapPolicy::First => false,
            OverlapPolicy::Last => true,
            OverlapPolicy::Bsd | OverlapPolicy::Windows => new.0 < held.0,
            OverlapPolicy::Linux => new.0 < held.0 || new.0 == held.0 && new.1 > held.1,
        }
    }
}

/// Receivers that share a policy.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OverlapRule {
    /// Their networks, as `192.0.2.0/24` or single addresses.
    pub networks: Vec<Network>,
    /// Their policy.
    pub policy: OverlapPolicy,
}

/// An IP network.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn contains(&self, address: &Address) -> bool {
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        let address = address.to_ip();
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        address.is_ipv4() == self.address.is_ipv4() && number(address) & mask == number(self.address) & mask
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        let wrong = || format!("`{text}` is no network: expected an address, or one with /BITS behind it");
        let (address, bits) =
            text.split_once('/').map_or((&*text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(bits_max), str::parse).map_err(|_| wrong())?;
        if bits > bits_max { Err(wrong()) } else { Ok(Network { address, bits }) }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The policy of a receiver: that of the first rule that names it.
pub(super) fn policy_of(
    receiver: &Address,
    rules: &[OverlapRule],
    otherwise: OverlapPolicy,
) -> OverlapPolicy {
    let names = |rule: &&OverlapRule| rule.networks.iter().any(|network| network.contains(receiver));
    rules.iter().find(names).map_or(otherwise, |rule| rule.policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_names_the_receiver_counts() {
        let network = |text: &str| Network::try_from(text.to_owned()).unwrap();
        let rules = [
            OverlapRule {
                networks: vec![network("192.0.2.0/24"), network("::/0")],
                policy: OverlapPolicy::Linux,
            },
            OverlapRule {
                networks: vec![network("192.0.0.0/8"), network("10.0.0.1")],
                policy: OverlapPolicy::Last,
            },
        ];
        let of = |address| policy_of(&address, &rules, OverlapPolicy::Bsd);
        assert_eq!(of(Address::v4([192, 0, 2, 9])), OverlapPolicy::Linux);
        assert_eq!(of(Address::v4([192, 0, 3, 9])), OverlapPolicy::Last);
        assert_eq!(of(Address::v4([10, 0, 0, 1])), OverlapPolicy::Last);
        assert_eq!(of(Address::v4([10, 0, 0, 2])), OverlapPolicy::Bsd);
        for wrong in ["x", "192.0.2.0/33", "192.0.2.0/", "::/129", "1.2.3/8"] {
            assert!(Network::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        assert_eq!(network("10.0.0.1").to_string(), "10.0.0.1/32");
    }
}
