//! What the index is asked for, in the words of pcap-filter(7) as far as it has them.
//!
//! In: a [`Need`]. Out: text for people, which no program reads.

use super::expression::{Need, Property};
use crate::ring::summary::Prefix;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

impl Need {
    /// Whether every block meets it.
    pub fn is_anything(&self) -> bool {
        match self {
            Need::Anything => true,
            Need::Has(_) => false,
            Need::All(needs) => needs.iter().all(Need::is_anything),
            Need::Any(needs) => needs.iter().any(Need::is_anything),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_anything() {
            return f.write_str("anything");
        }
        let (needs, word) = match self {
            Need::Anything => return Ok(()),
            Need::Has(property) => return property.fmt(f),
            Need::All(needs) => (needs, " and "),
            Need::Any(needs) => (needs, " or "),
        };
        let mut needs = needs.iter().filter(|need| !need.is_anything()).peekable();
        if let Some(only) = needs.next_if(|_| true) {
            if needs.peek().is_none() {
                return only.fmt(f);
            }
            only.within(f)?;
        }
        needs.try_for_each(|need| {
            f.write_str(word)?;
            need.within(f)
        })
    }
}

impl Need {
    /// As a part of a larger need.
    fn within(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Anything | Need::Has(_) => write!(f, "{self}"),
            Need::All(_) | Need::Any(_) => write!(f, "({self})"),
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Property::Address(Prefix::V4(address, 32)) => write!(f, "host {}", Ipv4Addr::from(*address)),
            Property::Address(Prefix::V4(address, bits)) => {
                write!(f, "net {}/{bits}", Ipv4Addr::from(*address))
            }
            Property::Address(Prefix::V6(address, 128)) => write!(f, "host {}", Ipv6Addr::from(*address)),
            Property::Address(Prefix::V6(address, bits)) => {
                write!(f, "net {}/{bits}", Ipv6Addr::from(*address))
            }
            Property::Port(ports) if ports.start() == ports.end() => write!(f, "port {}", ports.start()),
            Property::Port(ports) => write!(f, "portrange {}-{}", ports.start(), ports.end()),
            Property::Protocol(1) => f.write_str("icmp"),
            Property::Protocol(6) => f.write_str("tcp"),
            Property::Protocol(17) => f.write_str("udp"),
            Property::Protocol(58) => f.write_str("icmp6"),
            Property::Protocol(132) => f.write_str("sctp"),
            Property::Protocol(protocol) => write!(f, "proto {protocol}"),
            Property::V4 => f.write_str("ip"),
            Property::V6 => f.write_str("ip6"),
            Property::Arp => f.write_str("arp or rarp"),
            Property::Vlan(None) => f.write_str("vlan"),
            Property::Vlan(Some(vlan)) => write!(f, "vlan {vlan}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_told_in_the_words_of_the_question() {
        let has = Need::Has;
        let host = has(Property::Address(Prefix::V4(0xc000_0201, 32)));
        let (dns, udp) = (has(Property::Port(53..=53)), has(Property::Protocol(17)));
        for (need, want) in [
            (Need::Anything, "anything"),
            (Need::All(vec![]), "anything"),
            (Need::All(vec![Need::Anything, Need::Anything]), "anything"),
            (Need::Any(vec![dns.clone(), Need::Anything]), "anything"),
            (host.clone(), "host 192.0.2.1"),
            (has(Property::Address(Prefix::V4(0x0a00_0000, 8))), "net 10.0.0.0/8"),
            (has(Property::Address(Prefix::V6(1, 128))), "host ::1"),
            (has(Property::Address(Prefix::V6(0x2001_0db8 << 96, 32))), "net 2001:db8::/32"),
            (has(Property::Port(1..=9)), "portrange 1-9"),
            (has(Property::Protocol(6)), "tcp"),
            (has(Property::Protocol(99)), "proto 99"),
            (has(Property::Vlan(Some(5))), "vlan 5"),
            (has(Property::Arp), "arp or rarp"),
            (Need::All(vec![Need::Anything, dns.clone()]), "port 53"),
            (Need::All(vec![host.clone(), dns.clone()]), "host 192.0.2.1 and port 53"),
            (
                Need::All(vec![Need::Any(vec![host.clone(), dns.clone()]), Need::Anything, udp.clone()]),
                "(host 192.0.2.1 or port 53) and udp",
            ),
            (Need::Any(vec![host, Need::All(vec![dns, udp])]), "host 192.0.2.1 or (port 53 and udp)"),
        ] {
            assert_eq!(need.to_string(), want, "{need:?}");
        }
    }
}
