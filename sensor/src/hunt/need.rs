//! What blocks of the ring must hold for any signature to match in them.
//!
//! In: the signatures' headers. Out: a [`Need`] in the words of the ring's index, or nothing where some
//! signature may match anywhere. It is about hosts, ports and protocols, never about payload, so that every
//! block with a packet of a flow that matters is read, the handshake's included. As everywhere in the index,
//! what is not certain narrows nothing.

use crate::query::expression::{Need, Property};
use crate::ring::summary::Prefix;
use crate::signatures::{Bounds, Rules, networks};
use std::collections::HashSet;
use weir_common::rule::group::IPV4;
use weir_common::rule::{AddressSet, PortSet};

/// Most properties that all signatures together ask for; with more, every block is read.
const PROPERTIES_MAX: usize = 1 << 13;
/// Shortest IPv6 prefix that narrows anything.
const V6_BITS_MIN: u8 = 8;
/// Most ranges of ports of one end that are asked for.
const PORT_RANGES_MAX: usize = 64;
/// IPv6 extension headers (RFC 7045): behind one of them the index sees neither ports nor protocol.
const EXTENSION_HEADERS: [u8; 8] = [0, 43, 44, 51, 60, 135, 139, 140];

/// What the signatures need; none: every block may matter.
pub fn need_of(rules: &Rules) -> Option<Need> {
    let (mut needs, mut seen, mut properties) = (Vec::new(), HashSet::new(), 0);
    for bounds in rules.bounds() {
        // Many signatures share a header.
        let key = (
            bounds.addresses.map(|set| set.ranges().to_vec()),
            bounds.ports.map(|set| set.ranges().to_vec()),
            bounds.protocols,
        );
        if !seen.insert(key) {
            continue;
        }
        let need = of_bounds(&bounds)?;
        properties += size(&need);
        if properties > PROPERTIES_MAX {
            return None;
        }
        needs.push(need);
    }
    (!needs.is_empty()).then_some(Need::Any(needs))
}

fn of_bounds(bounds: &Bounds<'_>) -> Option<Need> {
    let mut all: Vec<Need> = bounds.addresses.into_iter().filter_map(of_addresses).collect();
    let mut behind_ip: Vec<Need> = bounds.ports.into_iter().filter_map(of_ports).collect();
    if !bounds.protocols.is_empty() {
        behind_ip.push(any(bounds.protocols.iter().map(|number| Property::Protocol(*number))));
    }
    if !behind_ip.is_empty() {
        let hidden = any(EXTENSION_HEADERS.into_iter().map(Property::Protocol));
        all.push(Need::Any(vec![Need::All(behind_ip), hidden]));
    }
    (!all.is_empty()).then_some(Need::All(all))
}

fn any(properties: impl Iterator<Item = Property>) -> Need {
    Need::Any(properties.map(Need::Has).collect())
}

fn of_addresses(set: &AddressSet) -> Option<Need> {
    if set.is_all() {
        return None;
    }
    let prefix = |(first, bits): (u128, u8)| match bits.checked_sub(96) {
        Some(bits) if bits > 0 && (IPV4.0..=IPV4.1).contains(&first) => Some(Prefix::V4(first as u32, bits)),
        _ if bits >= V6_BITS_MIN && !(IPV4.0..=IPV4.1).contains(&first) => Some(Prefix::V6(first, bits)),
        _ => None,
    };
    let prefixes: Option<Vec<Prefix>> = networks(set, PROPERTIES_MAX)?.into_iter().map(prefix).collect();
    Some(any(prefixes?.into_iter().map(Property::Address)))
}

fn of_ports(set: &PortSet) -> Option<Need> {
    // A packet without ports counts as one between ports 0, which the index does not have.
    if set.contains(0) || set.ranges().len() > PORT_RANGES_MAX {
        return None;
    }
    Some(any(set.ranges().iter().map(|(from, to)| Property::Port(*from..=*to))))
}

fn size(need: &Need) -> usize {
    match need {
        Need::Anything => 0,
        Need::Has(_) => 1,
        Need::All(needs) | Need::Any(needs) => needs.iter().map(size).sum(),
    }
}

/// Whether ports are part of what is needed: later fragments, which carry none, may then be left out.
pub fn is_by_ports(need: &Need) -> bool {
    match need {
        Need::Anything => false,
        Need::Has(property) => matches!(property, Property::Port(_)),
        Need::All(needs) | Need::Any(needs) => needs.iter().any(is_by_ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signatures::{RuleNames, Surroundings};
    use weir_common::rule::{RuleReader, Variables};

    fn need(headers: &[&str]) -> Option<Need> {
        let rules: String = headers
            .iter()
            .enumerate()
            .map(|(n, header)| format!("alert {header} (sid:{};)\n", n + 1))
            .collect();
        let file = RuleReader::new(Variables::default()).read("x", rules.as_bytes());
        assert!(file.problems.is_empty(), "{:?}", file.problems);
        let limits = Surroundings::default();
        let built = Rules::build(file.rules, &mut RuleNames::default(), &limits, None);
        let problems = built.problems;
        assert!(problems.is_empty(), "{problems:?}");
        need_of(&built.rules)
    }

    fn has(property: Property) -> Need {
        Need::Any(vec![Need::Has(property)])
    }

    fn v4(a: [u8; 4], bits: u8) -> Property {
        Property::Address(Prefix::V4(u32::from_be_bytes(a), bits))
    }

    #[test]
    fn hosts_ports_and_protocols_become_what_the_index_knows() {
        let host = Need::All(vec![has(v4([10, 0, 0, 1], 32))]);
        assert_eq!(need(&["ip 10.0.0.1 any -> any any"]), Some(Need::Any(vec![host.clone()])));
        assert_eq!(
            need(&["ip any any <> 10.0.0.1 any", "ip any any -> 10.0.0.1 any"]),
            Some(Need::Any(vec![host]))
        );
        let hidden = any(EXTENSION_HEADERS.into_iter().map(Property::Protocol));
        let dns = Need::All(vec![has(Property::Port(53..=53)), has(Property::Protocol(17))]);
        let want = Need::Any(vec![Need::All(vec![Need::Any(vec![dns, hidden])])]);
        assert_eq!(need(&["udp any any -> any 53"]), Some(want.clone()));
        assert!(is_by_ports(&want));
        let networks = need(&["ip [2001:db8::/32,10.0.0.0/8] any -> any any"]).unwrap();
        let v6 = Property::Address(Prefix::V6(0x2001_0db8 << 96, 32));
        assert_eq!(networks, Need::Any(vec![Need::All(vec![any([v4([10, 0, 0, 0], 8), v6].into_iter())])]));
        assert!(!is_by_ports(&networks));
    }

    #[test]
    fn what_is_wide_open_narrows_nothing() {
        for headers in [
            vec!["ip any any -> any any"],
            vec!["ip 10.0.0.1 any -> any any", "ip any any -> any any"],
            vec!["ip !10.0.0.1 any -> any any"],
            vec!["ip $EXTERNAL_NET any -> any any"],
            vec!["ip 0.0.0.0/0 any -> any any"],
            vec!["ip ::/0 any -> any any"],
            vec!["ip any !80 -> any any"],
            vec!["ip any :1023 -> any any"],
        ] {
            assert_eq!(need(&headers), None, "{headers:?}");
        }
        let many: Vec<String> = (0..PROPERTIES_MAX as u32 + 1)
            .map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + 2 * n).to_string())
            .collect();
        let all = |count: usize| {
            let headers: Vec<String> = many[..count]
                .chunks(1000)
                .map(|hosts| format!("ip [{}] any -> any any", hosts.join(",")))
                .collect();
            need(&headers.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert!(all(PROPERTIES_MAX).is_some() && all(PROPERTIES_MAX + 1).is_none());
    }
}
