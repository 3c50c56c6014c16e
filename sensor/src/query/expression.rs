//! What an expression needs of a block, so that blocks which cannot hold a match are not read.
//!
//! In: a pcap-filter(7) expression that libpcap compiles. Out: a [`Need`] that every matching frame's block
//! meets. The reading is conservative throughout: a word that is not understood, a negation, or an
//! arithmetic comparison needs nothing, and never costs a frame; the compiled program decides in the end.
//!
//! Of the grammar's traps these matter: `and` and `or` bind equally and to the left; an address or port alone
//! takes the qualifiers of the one before; `vlan` moves where everything *after it in the text* looks, in
//! either branch of an `or`, so it is believed only as a plain condition of the whole; other headers that
//! move the view (`mpls`, `pppoes`, `geneve`) are not in the index and void the plan.

use crate::ring::index::{BlockSet, IndexError, Kind as Key, SealedIndex};
use crate::ring::summary::{Prefix, Summary};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Most tokens that are read; a longer expression needs nothing.
const TOKENS_MAX: usize = 2048;
/// Deepest nesting of parentheses and negations that is read.
const DEPTH_MAX: usize = 64;
/// Words that move where later words look, behind headers that the index does not open.
const MOVING: [&str; 6] = ["mpls", "pppoed", "pppoes", "geneve", "vxlan", "gtp"];

/// What a block must hold to be worth reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing is known: every block is.
    Anything,
    /// One property.
    Has(Property),
    /// All of these.
    All(Vec<Need>),
    /// At least one of these.
    Any(Vec<Need>),
}

/// A property that the index knows of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// An address of a range, in either direction.
    Address(Prefix),
    /// A port of a range, in either direction.
    Port(RangeInclusive<u16>),
    /// An IP protocol.
    Protocol(u8),
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// ARP or RARP.
    Arp,
    /// A VLAN, or any.
    Vlan(Option<u16>),
}

impl Need {
    /// Reads an expression.
    pub fn of(expression: &str) -> Need {
        let Some(tokens) = tokens(expression) else { return Need::Anything };
        if tokens.iter().any(|token| MOVING.contains(token)) || vlan_may_mislead(&tokens) {
            return Need::Anything;
        }
        let mut parser = Parser { tokens: &tokens, at: 0, last: None, first: true };
        let need = parser.expression(false, 0);
        // Anything left over means that the reading went wrong somewhere.
        if parser.at == tokens.len() { need } else { Need::Anything }
    }

    /// Whether a block with this summary may hold a match.
    pub fn may_match(&self, summary: &Summary<'_>) -> bool {
        match self {
            Need::Anything => true,
            Need::Has(property) => property.may_be_in(summary),
            Need::All(needs) => needs.iter().all(|need| need.may_match(summary)),
            Need::Any(needs) => needs.iter().any(|need| need.may_match(summary)),
        }
    }

    /// The blocks of a segment that may hold a match.
    pub fn blocks(&self, index: &mut SealedIndex) -> Result<BlockSet, IndexError> {
        match self {
            Need::Anything => Ok(BlockSet::full(index.blocks())),
            Need::Has(property) => {
                let mut found = property.blocks(index)?;
                found.unite(&index.opaque()?);
                Ok(found)
            }
            Need::All(needs) => {
                let mut all = BlockSet::full(index.blocks());
                for need in needs {
                    all.intersect(&need.blocks(index)?);
                    if all.is_empty() {
                        break;
                    }
                }
                Ok(all)
            }
            Need::Any(needs) => {
                let mut any = BlockSet::empty(index.blocks());
                for need in needs {
                    any.unite(&need.blocks(index)?);
                }
                Ok(any)
            }
        }
    }

    fn and(self, other: Need) -> Need {
        match (self, other) {
            (Need::Anything, need) | (need, Need::Anything) => need,
            (Need::All(mut needs), need) => {
                needs.push(need);
                Need::All(needs)
            }
            (one, two) => Need::All(vec![one, two]),
        }
    }

    fn or(self, other: Need) -> Need {
        match (self, other) {
            (Need::Anything, _) | (_, Need::Anything) => Need::Anything,
            (Need::Any(mut needs), need) => {
                needs.push(need);
                Need::Any(needs)
            }
            (one, two) => Need::Any(vec![one, two]),
        }
    }
}

impl Property {
    fn blocks(&self, index: &mut SealedIndex) -> Result<BlockSet, IndexError> {
        match self {
            Property::Address(prefix) => index.holding_address(*prefix),
            Property::Port(ports) => {
                index.with_key(Key::Port, u64::from(*ports.start())..=u64::from(*ports.end()))
            }
            Property::Protocol(protocol) => {
                index.with_key(Key::Protocol, u64::from(*protocol)..=u64::from(*protocol))
            }
            Property::V4 => index.holding_v4(),
            Property::V6 => index.holding_v6(),
            Property::Arp => index.holding_arp(),
            Property::Vlan(None) => index.with_key(Key::Vlan, 0..=u64::from(u16::MAX)),
            Property::Vlan(Some(id)) => index.with_key(Key::Vlan, u64::from(*id)..=u64::from(*id)),
        }
    }

    fn may_be_in(&self, summary: &Summary<'_>) -> bool {
        match self {
            Property::Address(prefix) => summary.may_hold_address(*prefix),
            Property::Port(ports) => summary.may_hold_port(ports.clone()),
            Property::Protocol(protocol) => summary.may_hold_protocol(*protocol),
            Property::V4 => summary.may_hold_v4(),
            Property::V6 => summary.may_hold_v6(),
            Property::Arp => summary.may_hold_arp(),
            Property::Vlan(id) => summary.may_hold_vlan(*id),
        }
    }
}

/// Words, `&&`, `||` and single symbols; none when there are too many.
fn tokens(expression: &str) -> Option<Vec<&str>> {
    let is_word =
        |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '/' | '\\' | '-' | '_' | '@' | '$' | ',');
    let (mut tokens, mut rest) = (Vec::new(), expression.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if ["&&", "||", "!=", "==", "<=", ">=", "<<", ">>"].iter().any(|pair| rest.starts_with(pair)) {
            2
        } else {
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(length);
        tokens.push(token);
        rest = behind.trim_start();
        if tokens.len() > TOKENS_MAX {
            return None;
        }
    }
    Some(tokens)
}

fn is_and(token: &str) -> bool {
    matches!(token, "and" | "&&")
}

fn is_or(token: &str) -> bool {
    matches!(token, "or" | "||")
}

fn is_not(token: &str) -> bool {
    matches!(token, "not" | "!")
}

/// `vlan` is believed only where it stands outside parentheses, is not negated, and no `or` stands beside it.
fn vlan_may_mislead(tokens: &[&str]) -> bool {
    if !tokens.contains(&"vlan") {
        return false;
    }
    let mut depth = 0i32;
    tokens.iter().enumerate().any(|(at, token)| {
        match *token {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        let negated = at > 0 && tokens.get(at - 1).is_some_and(|before| is_not(before));
        (*token == "vlan" && (depth != 0 || negated)) || (is_or(token) && depth == 0)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
    Other,
}

#[derive(Clone, Copy, Debug, Default)]
struct Qualifiers<'a> {
    protocol: Option<&'a str>,
    kind: Option<Kind>,
}

struct Parser<'t> {
    tokens: &'t [&'t str],
    at: usize,
    /// Qualifiers that an identifier alone takes over.
    last: Option<Qualifiers<'t>>,
    first: bool,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t str> {
        self.tokens.get(self.at).copied()
    }

    fn take(&mut self) -> Option<&'t str> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// Terms joined by `and` and `or`, which bind equally, up to a closing parenthesis or the end.
    fn expression(&mut self, negated: bool, depth: usize) -> Need {
        let mut need = self.term(negated, depth);
        while let Some(token) = self.peek() {
            if !is_and(token) && !is_or(token) {
                break;
            }
            self.at += 1;
            let next = self.term(negated, depth);
            // Under a negation the two change places (De Morgan).
            need = if is_and(token) != negated { need.and(next) } else { need.or(next) };
        }
        need
    }

    fn term(&mut self, negated: bool, depth: usize) -> Need {
        if depth > DEPTH_MAX {
            self.at = self.tokens.len();
            return Need::Anything;
        }
        let need = match self.peek() {
            Some(token) if is_not(token) => {
                self.at += 1;
                return self.term(!negated, depth + 1);
            }
            Some("(") => {
                self.at += 1;
                let need = self.expression(negated, depth + 1);
                if self.peek() == Some(")") {
                    self.at += 1;
                    need
                } else {
                    // Not a group: arithmetic, or a list in a form that is not read.
                    self.skip_to_boundary(1);
                    Need::Anything
                }
            }
            _ => {
                let need = self.primitive();
                if negated { Need::Anything } else { need }
            }
        };
        self.first = false;
        if self.at_boundary() {
            return need;
        }
        self.skip_to_boundary(0);
        self.last = None;
        Need::Anything
    }

    fn at_boundary(&self) -> bool {
        self.peek().is_none_or(|token| is_and(token) || is_or(token) || token == ")")
    }

    /// Moves to the next connective or closing parenthesis that belongs to the enclosing term.
    fn skip_to_boundary(&mut self, mut depth: usize) {
        while let Some(token) = self.peek() {
            match token {
                "(" | "[" => depth += 1,
                ")" if depth == 0 => return,
                ")" | "]" => depth = depth.saturating_sub(1),
                token if depth == 0 && (is_and(token) || is_or(token)) => return,
                _ => {}
            }
            self.at += 1;
        }
    }

    fn primitive(&mut self) -> Need {
        let start = self.at;
        let mut qualifiers = Qualifiers::default();
        if let Some(token) = self.peek().filter(|token| is_protocol(token)) {
            qualifiers.protocol = Some(token);
            self.at += 1;
        }
        self.direction();
        if let Some(kind) = self.peek().and_then(kind) {
            qualifiers.kind = Some(kind);
            self.at += 1;
        }
        let is_alone = self.at == start;
        if is_alone && self.peek() == Some("vlan") {
            self.at += 1;
            self.last = None;
            return self.vlan();
        }
        if self.at_boundary() {
            // A protocol alone; it leaves nothing that an identifier could take over.
            self.last = None;
            let alone = qualifiers.kind.is_none() && self.at == start + 1;
            return qualifiers.protocol.filter(|_| alone).map_or(Need::Anything, protocol_alone);
        }
        if is_alone {
            match self.last {
                Some(last) => qualifiers = last,
                None if self.first => {}
                None => qualifiers.kind = Some(Kind::Other),
            }
        }
        let need = self.identifier(qualifiers);
        self.last = Some(qualifiers);
        need
    }

    /// `src`, `dst`, or both joined; the index does not know directions.
    fn direction(&mut self) {
        let is_direction = |token: Option<&&str>| matches!(token, Some(&"src" | &"dst"));
        if !is_direction(self.tokens.get(self.at)) {
            return;
        }
        self.at += 1;
        let joined = self.peek().is_some_and(|token| is_and(token) || is_or(token));
        if joined && is_direction(self.tokens.get(self.at + 1)) {
            self.at += 2;
        }
    }

    fn vlan(&mut self) -> Need {
        if self.at_boundary() {
            return Need::Has(Property::Vlan(None));
        }
        match self.take().and_then(number) {
            Some(id) => Need::Has(Property::Vlan(Some(id))),
            None => Need::Anything,
        }
    }

    fn identifier(&mut self, qualifiers: Qualifiers<'_>) -> Need {
        let Some(word) = self.take() else { return Need::Anything };
        let property = match qualifiers.kind {
            None | Some(Kind::Host) => host(word),
            Some(Kind::Net) => net(word),
            Some(Kind::Port) => number(word).map(|port| Property::Port(port..=port)),
            Some(Kind::PortRange) => port_range(word),
            Some(Kind::Protocol) => protocol_number(word).map(Property::Protocol),
            Some(Kind::Other) => None,
        };
        let with_protocol = qualifiers.protocol.map_or(Need::Anything, protocol_alone);
        property.map_or(Need::Anything, |property| Need::Has(property).and(with_protocol))
    }
}

fn kind(token: &str) -> Option<Kind> {
    Some(match token {
        "host" => Kind::Host,
        "net" => Kind::Net,
        "port" => Kind::Port,
        "portrange" => Kind::PortRange,
        "proto" => Kind::Protocol,
        "protochain" | "gateway" => Kind::Other,
        _ => return None,
    })
}

fn is_protocol(token: &str) -> bool {
    protocol_alone(token) != Need::Anything
}

/// What a protocol's name alone asks for.
fn protocol_alone(token: &str) -> Need {
    Need::Has(match token {
        "ip" => Property::V4,
        "ip6" => Property::V6,
        "arp" | "rarp" => Property::Arp,
        "icmp" => Property::Protocol(1),
        "igmp" => Property::Protocol(2),
        "tcp" => Property::Protocol(6),
        "igrp" => Property::Protocol(9),
        "udp" => Property::Protocol(17),
        "esp" => Property::Protocol(50),
        "ah" => Property::Protocol(51),
        "icmp6" => Property::Protocol(58),
        "pim" => Property::Protocol(103),
        "vrrp" | "carp" => Property::Protocol(112),
        "sctp" => Property::Protocol(132),
        _ => return Need::Anything,
    })
}

/// A decimal number. One that begins with 0 is octal or hexadecimal to libpcap, and not read here.
fn number<T: std::str::FromStr>(word: &str) -> Option<T> {
    let is_decimal = word == "0" || !word.starts_with('0');
    word.parse().ok().filter(|_| is_decimal)
}

/// A number, or a name behind a backslash because it is a keyword as well.
fn protocol_number(word: &str) -> Option<u8> {
    match (number(word), protocol_alone(word.trim_start_matches('\\'))) {
        (Some(number), _) | (None, Need::Has(Property::Protocol(number))) => Some(number),
        _ => None,
    }
}

fn host(word: &str) -> Option<Property> {
    if let Ok(address) = word.parse::<Ipv4Addr>() {
        return Some(Property::Address(Prefix::V4(address.into(), 32)));
    }
    let address: Ipv6Addr = word.parse().ok()?;
    Some(Property::Address(Prefix::V6(address.into(), 128)))
}

/// `10`, `192.168`, `10.0.0.0/8` or an IPv6 prefix; without a length each octet written counts eight bits.
fn net(word: &str) -> Option<Property> {
    let (address, bits) = match word.split_once('/') {
        Some((address, bits)) => (address, Some(number::<u8>(bits)?)),
        None => (word, None),
    };
    if address.contains(':') {
        let address: Ipv6Addr = address.parse().ok()?;
        let bits = bits.unwrap_or(128);
        return (1..=128).contains(&bits).then_some(Property::Address(Prefix::V6(address.into(), bits)));
    }
    let (mut octets, mut count) = ([0u8; 4], 0u8);
    for part in address.split('.') {
        *octets.get_mut(usize::from(count))? = number(part)?;
        count += 1;
    }
    let bits = bits.unwrap_or(count * 8);
    // A length of 0 asks for no byte of the address, which a frame that was cut off may lack.
    (1..=32).contains(&bits).then_some(Property::Address(Prefix::V4(u32::from_be_bytes(octets), bits)))
}

fn port_range(word: &str) -> Option<Property> {
    let (from, to) = word.split_once(['-', ':'])?;
    let (from, to): (u16, u16) = (number(from)?, number(to)?);
    let ports = from.min(to)..=from.max(to);
    // All ports ask for no byte of the header, which a frame that was cut off may lack.
    (ports != (0..=u16::MAX)).then_some(Property::Port(ports))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, bits: u8) -> Need {
        Need::Has(Property::Address(Prefix::V4(text.parse::<Ipv4Addr>().unwrap().into(), bits)))
    }

    fn port(from: u16, to: u16) -> Need {
        Need::Has(Property::Port(from..=to))
    }

    fn protocol(number: u8) -> Need {
        Need::Has(Property::Protocol(number))
    }

    #[test]
    fn what_is_understood_narrows() {
        let a = || address("10.0.0.1", 32);
        for (expression, want) in [
            ("host 10.0.0.1", a()),
            ("10.0.0.1", a()),
            ("src host 10.0.0.1 and dst port 53", Need::All(vec![a(), port(53, 53)])),
            ("src or dst host 10.0.0.1", a()),
            ("net 192.168", address("192.168.0.0", 16)),
            ("dst net 10.0.0.0/8", address("10.0.0.0", 8)),
            ("tcp port 80", Need::All(vec![port(80, 80), protocol(6)])),
            ("portrange 20-10", port(10, 20)),
            ("port 80 or 443", Need::Any(vec![port(80, 80), port(443, 443)])),
            ("ip proto \\udp", Need::All(vec![protocol(17), Need::Has(Property::V4)])),
            ("icmp6 && ip6", Need::All(vec![protocol(58), Need::Has(Property::V6)])),
            ("vlan 5 and port 53", Need::All(vec![Need::Has(Property::Vlan(Some(5))), port(53, 53)])),
            ("arp", Need::Has(Property::Arp)),
            ("(host 10.0.0.1)", a()),
            ("not (not host 10.0.0.1)", a()),
            ("host 10.0.0.1 and tcp[13] & 2 != 0", a()),
            ("host 10.0.0.1 and (tcp[12:1] & 0xf0) >> 2 > 5", a()),
            ("host 10.0.0.1 and less 100", a()),
            ("not (port 53 or not host 10.0.0.1)", a()),
        ] {
            assert_eq!(Need::of(expression), want, "{expression}");
        }
    }

    #[test]
    fn what_is_not_understood_needs_nothing() {
        for expression in [
            "",
            "not port 53",
            "not host 10.0.0.1",
            "host 10.0.0.1 or less 100",
            "port domain",
            "host example.org",
            "ether host 01:02:03:04:05:06",
            "ether host 01:02:03:04:05:06 and 10.0.0.1",
            "tcp[13] = 2",
            "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
            "ip broadcast",
            "host (10.0.0.1 or 10.0.0.2)",
            "mpls and host 10.0.0.1",
            "vlan 5 or host 10.0.0.1",
            "not vlan and host 10.0.0.1",
            "(vlan 5) and host 10.0.0.1",
            "gateway 10.0.0.1",
            "ip protochain 6",
            "net 10.0.0.0 mask 255.0.0.0",
            "not (port 53 and host 10.0.0.1)",
            "host 10.0.0.1 )",
            "(host 10.0.0.1",
            "and and and",
            "((((((",
            "net 010",
            "port 010",
            "udp port 0x35",
            "vlan 010",
            "ip proto 021",
            "portrange 010-020",
            "net 10.0.0.0/08",
            "net 0.0.0.0/0",
            "portrange 0-65535",
        ] {
            assert_eq!(Need::of(expression), Need::Anything, "{expression}");
        }
    }

    #[test]
    fn and_and_or_bind_equally_and_to_the_left() {
        let (a, b, c) = (address("10.0.0.1", 32), port(1, 1), port(2, 2));
        let first = Need::Any(vec![a.clone(), b.clone()]);
        assert_eq!(Need::of("host 10.0.0.1 or port 1 and port 2"), Need::All(vec![first, c.clone()]));
        let first = Need::All(vec![a, b]);
        assert_eq!(Need::of("host 10.0.0.1 and port 1 or port 2"), Need::Any(vec![first, c]));
    }

    #[test]
    fn long_and_deep_expressions_end_in_nothing_known() {
        assert_eq!(Need::of(&"(".repeat(2000)), Need::Anything);
        assert_eq!(Need::of(&"not ".repeat(2000)), Need::Anything);
        assert_eq!(Need::of(&"port 1 and ".repeat(2000)), Need::Anything);
        let alternating = "port 1 and port 2 or ".repeat(250) + "port 3";
        assert!(matches!(Need::of(&alternating), Need::Any(_)));
    }
}
