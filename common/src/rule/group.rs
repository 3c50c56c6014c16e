//! Addresses and ports of a rule's header: groups, negations, ranges, variables.
//!
//! In: the header's word, such as `[$HOME_NET,!10.0.0.1]` or `![80,8000:8010]`, and the variables. Out: one
//! [`RangeSet`]. A group holds what its plain members hold, everything when it has none, less what its
//! negated members hold, however deep they stand. A set that holds nothing is an error, because its rule
//! could never fire.

use super::range::{Ordinal, RangeSet};
use super::variables::Variables;
use crate::net::Address;
use std::net::IpAddr;

/// Deepest nesting of groups, negations and variables.
pub const DEPTH_MAX: usize = 16;
/// Most members of all groups of one word, variables expanded.
pub const MEMBERS_MAX: usize = 1 << 16;

/// Addresses; IPv4 stands in its mapped form, as in [`Address`].
pub type AddressSet = RangeSet<u128>;
/// Ports.
pub type PortSet = RangeSet<u16>;

/// An address as a number, in the order of [`AddressSet`].
#[inline]
pub fn ordinal(address: Address) -> u128 {
    u128::from_be_bytes(address.0)
}

/// The IPv4 addresses of an [`AddressSet`], first and last.
pub const IPV4: (u128, u128) = (0xffff << 32, (0xffff << 32) | 0xffff_ffff);

/// What is wrong with a word, and at which of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupError {
    /// Byte of the word; inside a variable: where the variable stands.
    pub at: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads addresses.
pub fn addresses(word: &str, variables: &Variables) -> Result<AddressSet, GroupError> {
    read(word, variables, address_range)
}

/// Reads ports.
pub fn ports(word: &str, variables: &Variables) -> Result<PortSet, GroupError> {
    read(word, variables, port_range)
}

/// Reads a word that is neither group nor variable.
type Literal<T> = fn(&str) -> Result<Vec<(T, T)>, String>;

fn read<T: Ordinal>(
    word: &str,
    variables: &Variables,
    literal: Literal<T>,
) -> Result<RangeSet<T>, GroupError> {
    let mut members = 0;
    let mut reader = Reader { text: word, at: 0, variables, literal, members: &mut members };
    let set = reader.expression(0)?;
    reader.skip_space();
    if reader.at < word.len() {
        return reader.wrong("nothing may follow here");
    }
    if set.is_empty() {
        return Err(GroupError {
            at: 0,
            reason: format!("`{}` holds nothing: its rule could never fire", shown(word)),
        });
    }
    Ok(set)
}

struct Reader<'t, 'r, T> {
    text: &'t str,
    at: usize,
    variables: &'r Variables,
    literal: Literal<T>,
    members: &'r mut usize,
}

impl<T: Ordinal> Reader<'_, '_, T> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, sign: char) -> bool {
        self.skip_space();
        let is_there = self.rest().starts_with(sign);
        if is_there {
            self.at += sign.len_utf8();
        }
        is_there
    }

    fn wrong<A>(&self, reason: impl Into<String>) -> Result<A, GroupError> {
        Err(GroupError { at: self.at, reason: reason.into() })
    }

    fn expression(&mut self, depth: usize) -> Result<RangeSet<T>, GroupError> {
        if depth > DEPTH_MAX {
            return self.wrong(format!("nested deeper than {DEPTH_MAX}"));
        }
        if self.take('!') {
            return Ok(self.expression(depth + 1)?.complement());
        }
        if self.take('[') { self.group(depth) } else { self.member(depth) }
    }

    /// The members of a group, behind its bracket.
    fn group(&mut self, depth: usize) -> Result<RangeSet<T>, GroupError> {
        let (mut plain, mut negated, mut has_plain) = (Vec::new(), Vec::new(), false);
        loop {
            let is_negated = self.take('!');
            let set = self.expression(depth + 1)?;
            if is_negated {
                negated.extend_from_slice(set.ranges());
            } else {
                has_plain = true;
                plain.extend_from_slice(set.ranges());
            }
            if self.take(']') {
                break;
            }
            if !self.take(',') {
                return self.wrong("expected `,` or `]`");
            }
        }
        let plain = if has_plain { RangeSet::of(plain) } else { RangeSet::all() };
        Ok(plain.minus(&RangeSet::of(negated)))
    }

    /// A variable or a literal.
    fn member(&mut self, depth: usize) -> Result<RangeSet<T>, GroupError> {
        *self.members += 1;
        if *self.members > MEMBERS_MAX {
            return self.wrong(format!("more than {MEMBERS_MAX} members"));
        }
        self.skip_space();
        let begin = self.at;
        let end = self.rest().find(|c: char| matches!(c, ',' | ']' | '[' | '!') || c.is_whitespace());
        self.at = end.map_or(self.text.len(), |end| begin + end);
        let word = self.text.get(begin..self.at).unwrap_or_default();
        let wrong = |reason: String| GroupError { at: begin, reason };
        let Some(name) = word.strip_prefix('$') else {
            return (self.literal)(word).map(RangeSet::of).map_err(wrong);
        };
        let Some(text) = self.variables.text(name) else {
            return Err(wrong(format!("the variable `${}` is not set", shown(name))));
        };
        let mut inner = Reader {
            text,
            at: 0,
            variables: self.variables,
            literal: self.literal,
            members: &mut *self.members,
        };
        let set = inner.expression(depth + 1).and_then(|set| {
            inner.skip_space();
            if inner.at < text.len() { inner.wrong("nothing may follow here") } else { Ok(set) }
        });
        set.map_err(|error| wrong(format!("in `${}`: {}", shown(name), error.reason)))
    }
}

/// Most characters of a wrong word that a message repeats.
const SHOWN_MAX: usize = 60;

fn shown(word: &str) -> String {
    let mut shown: String = word.chars().take(SHOWN_MAX).collect();
    if shown.len() < word.len() {
        shown.push('…');
    }
    shown
}

/// `any`, an address, a network, or a range.
fn address_range(word: &str) -> Result<Vec<(u128, u128)>, String> {
    if word.eq_ignore_ascii_case("any") {
        return Ok(vec![(0, u128::MAX)]);
    }
    let wrong = || {
        format!(
            "`{}` is not an address: expected `any`, 10.0.0.1, 10.0.0.0/8 or 10.0.0.1-10.0.0.9",
            shown(word)
        )
    };
    let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| wrong());
    if let Some((network, bits)) = word.split_once('/') {
        let network = address(network)?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let bits = match bits.parse::<IpAddr>() {
            Ok(IpAddr::V4(mask))
                if width == 32 && u32::from(mask).leading_ones() == u32::from(mask).count_ones() =>
            {
                u32::from(mask).count_ones()
            }
            Ok(_) => return Err(wrong()),
            Err(_) => bits.parse::<u32>().ok().filter(|bits| *bits <= width).ok_or_else(wrong)?,
        };
        let host_bits = width - bits;
        let hosts = 1u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1);
        let first = ordinal(network.into()) & !hosts;
        if width == 128 && host_bits == 128 {
            // All of IPv6 is what is not IPv4.
            return Ok(vec![(0, IPV4.0 - 1), (IPV4.1 + 1, u128::MAX)]);
        }
        return Ok(vec![(first, first | hosts)]);
    }
    if let Some((from, to)) = word.split_once('-') {
        let (from, to) = (address(from)?, address(to)?);
        let range = (ordinal(from.into()), ordinal(to.into()));
        return if from.is_ipv4() == to.is_ipv4() && range.0 <= range.1 {
            Ok(vec![range])
        } else {
            Err(wrong())
        };
    }
    let address = ordinal(address(word)?.into());
    Ok(vec![(address, address)])
}

/// `any`, a port, or a range that may be open at one end.
fn port_range(word: &str) -> Result<Vec<(u16, u16)>, String> {
    if word.eq_ignore_ascii_case("any") {
        return Ok(vec![(0, u16::MAX)]);
    }
    let wrong = || format!("`{}` is not a port: expected `any`, 80, 80:90, :1023 or 1024:", shown(word));
    let port = |text: &str, open: u16| {
        if text.is_empty() { Ok(open) } else { text.trim().parse::<u16>().map_err(|_| wrong()) }
    };
    let (from, to) = match word.split_once(':') {
        Some(("", "")) => return Err(wrong()),
        Some((from, to)) => (port(from, 0)?, port(to, u16::MAX)?),
        None if word.is_empty() => return Err(wrong()),
        None => (port(word, 0)?, port(word, 0)?),
    };
    if from > to {
        return Err(wrong());
    }
    Ok(vec![(from, to)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        variables.set("LOOP_A", "[$LOOP_B]").unwrap();
        variables.set("LOOP_B", "[$LOOP_A]").unwrap();
        variables
    }

    fn address_holds(word: &str, address: &str) -> bool {
        let set = addresses(word, &variables()).unwrap_or_else(|error| panic!("{word}: {error:?}"));
        set.contains(ordinal(address.parse().unwrap()))
    }

    #[test]
    fn addresses_hold_what_they_say_at_both_borders() {
        for (word, inside, outside) in [
            ("any", vec!["0.0.0.0", "::", "ffff::1"], vec![]),
            ("10.0.0.1", vec!["10.0.0.1"], vec!["10.0.0.0", "10.0.0.2", "::a00:1"]),
            ("10.0.0.0/8", vec!["10.0.0.0", "10.255.255.255"], vec!["9.255.255.255", "11.0.0.0"]),
            ("10.0.0.9/255.0.0.0", vec!["10.0.0.0", "10.255.255.255"], vec!["11.0.0.0"]),
            ("10.0.0.1-10.0.0.3", vec!["10.0.0.1", "10.0.0.3"], vec!["10.0.0.0", "10.0.0.4"]),
            ("2001:db8::/32", vec!["2001:db8::", "2001:db8:ffff::1"], vec!["2001:db9::", "10.0.0.1"]),
            ("0.0.0.0/0", vec!["0.0.0.0", "255.255.255.255"], vec!["::1", "2001:db8::1"]),
            ("::/0", vec!["::1", "ffff::1"], vec!["0.0.0.0", "255.255.255.255"]),
            ("!10.0.0.1", vec!["10.0.0.0", "::1"], vec!["10.0.0.1"]),
            ("[10.0.0.0/8, !10.1.0.0/16]", vec!["10.0.0.1", "10.2.0.1"], vec!["10.1.0.1", "11.0.0.1"]),
            ("[!10.1.0.0/16,!10.2.0.0/16]", vec!["10.0.0.1", "8.8.8.8"], vec!["10.1.0.1", "10.2.0.1"]),
            ("![10.0.0.1,10.0.0.2]", vec!["10.0.0.3"], vec!["10.0.0.1", "10.0.0.2"]),
            ("[10.0.0.0/8,![10.1.0.0/16,!10.1.1.1]]", vec!["10.1.1.1", "10.2.0.1"], vec!["10.1.0.1"]),
            ("$HOME_NET", vec!["192.168.1.1", "172.31.255.255"], vec!["172.32.0.0", "8.8.8.8"]),
            ("$EXTERNAL_NET", vec!["8.8.8.8", "2001:db8::1"], vec!["10.0.0.1"]),
            ("[$EXTERNAL_NET,!8.8.8.8]", vec!["8.8.4.4"], vec!["8.8.8.8", "10.0.0.1"]),
        ] {
            for address in inside {
                assert!(address_holds(word, address), "{word} must hold {address}");
            }
            for address in outside {
                assert!(!address_holds(word, address), "{word} must not hold {address}");
            }
        }
    }

    #[test]
    fn ports_hold_what_they_say() {
        let holds = |word: &str, port: u16| ports(word, &variables()).unwrap().contains(port);
        for (word, inside, outside) in [
            ("[80,443,8000:8010]", vec![80, 443, 8000, 8010], vec![79, 442, 7999, 8011]),
            ("!80", vec![0, 79, 81, 65535], vec![80]),
            (":1023", vec![0, 1023], vec![1024]),
            ("1024:", vec![1024, 65535], vec![1023]),
            ("[1:100,!50]", vec![1, 100], vec![50, 101]),
            ("$SHELLCODE_PORTS", vec![22], vec![80]),
            ("[$HTTP_PORTS,8080]", vec![80, 8080], vec![81]),
        ] {
            inside.iter().for_each(|port| assert!(holds(word, *port), "{word} {port}"));
            outside.iter().for_each(|port| assert!(!holds(word, *port), "{word} {port}"));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (word, at, part) in [
            ("[10.0.0.1,10.0.0.256]", 10, "not an address"),
            ("10.0.0.1/33", 0, "not an address"),
            ("10.0.0.1/255.0.255.0", 0, "not an address"),
            ("10.0.0.9-10.0.0.1", 0, "not an address"),
            ("[10.0.0.1", 9, "expected `,` or `]`"),
            ("[]", 1, "not an address"),
            ("10.0.0.1]", 8, "nothing may follow"),
            ("!any", 0, "holds nothing"),
            ("[10.0.0.1,!10.0.0.0/8]", 0, "holds nothing"),
            ("[1.1.1.1,$NO_SUCH]", 9, "not set"),
            ("$LOOP_A", 0, "nested deeper"),
            ("", 0, "not an address"),
        ] {
            let error = addresses(word, &variables()).unwrap_err();
            assert_eq!(error.at, at, "{word}: {error:?}");
            assert!(error.reason.contains(part), "{word}: {error:?}");
        }
        for word in ["65536", "90:80", ":", "http", "80-90"] {
            assert!(ports(word, &variables()).unwrap_err().reason.contains("not a port"), "{word}");
        }
        let deep = "[".repeat(500);
        assert!(addresses(&deep, &variables()).unwrap_err().reason.contains("nested deeper"));
        let many = format!("[{}1]", "1,".repeat(MEMBERS_MAX));
        assert!(ports(&many, &variables()).unwrap_err().reason.contains("more than"));
    }
}
