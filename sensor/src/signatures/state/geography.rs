//! `geoip`: the countries of addresses.
//!
//! In: a MaxMind database, when one is configured; options, and a packet's ends. Out: whether a rule's test
//! passes. Without a database the rule is refused, because nothing can be said of any address. An address
//! without country passes nothing, `!` or not; a `!` before any country is one before all, as in Suricata.

use super::words::Value;
use super::{Ends, Refused};
use maxminddb::{PathElement, Reader};
use std::fs;
use std::io;
use std::path::Path;
use weir_common::net::Address;
use weir_common::rule::RuleOption;

/// Largest database that is read, in bytes.
pub(in super::super) const DATABASE_BYTES_MAX: u64 = 512 << 20;
/// Most countries of an option; Suricata's.
const COUNTRIES_MAX: usize = 64;

/// A database of countries.
#[derive(Debug)]
pub(in super::super) struct Countries {
    reader: Reader<Vec<u8>>,
}

impl Countries {
    /// Reads a file.
    pub(in super::super) fn open(path: &Path) -> io::Result<Countries> {
        let metadata = fs::metadata(path)?;
        let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        if !metadata.is_file() || metadata.len() > DATABASE_BYTES_MAX {
            return Err(wrong(format!("not a file of at most {DATABASE_BYTES_MAX} bytes")));
        }
        Countries::of(fs::read(path)?).map_err(wrong)
    }

    fn of(bytes: Vec<u8>) -> Result<Countries, String> {
        let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
        Ok(Countries { reader })
    }

    /// Whether an address has a country, and whether it is one of these.
    fn is_of(&self, address: Address, codes: &[[u8; 2]]) -> Option<bool> {
        let found = self.reader.lookup(address.to_ip()).ok()?;
        let path = [PathElement::Key("country"), PathElement::Key("iso_code")];
        let code: &str = found.decode_path(&path).ok()??;
        Some(codes.iter().any(|have| have == code.as_bytes()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Any,
    Both,
    Source,
    Destination,
}

/// A rule's test of countries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct CountryTest {
    side: Side,
    is_negated: bool,
    codes: Box<[[u8; 2]]>,
}

impl CountryTest {
    /// Reads `geoip`: `[side,]country[,country]...`.
    pub(in super::super) fn read(
        option: &RuleOption,
        countries: Option<&Countries>,
    ) -> Result<CountryTest, Refused> {
        let value = Value::of(option)?;
        if countries.is_none() {
            return Err(value.refused(0, "cannot run: no database of countries is configured"));
        }
        let mut words = value.words();
        let side = match (words.first().map(|word| word.text), words.len()) {
            (Some("any"), 2..) => Some(Side::Any),
            (Some("both"), 2..) => Some(Side::Both),
            (Some("src"), 2..) => Some(Side::Source),
            (Some("dst"), 2..) => Some(Side::Destination),
            _ => None,
        };
        if side.is_some() {
            words.remove(0);
        }
        let (mut codes, mut is_negated) = (Vec::new(), false);
        for word in words {
            let code = word.text.strip_prefix('!');
            is_negated |= code.is_some();
            let code = code.unwrap_or(word.text).as_bytes();
            let code: Option<[u8; 2]> = code.try_into().ok().filter(|code: &[u8; 2]| {
                code.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            });
            let Some(code) = code else {
                let reason = format!("`{}` is not a country: expected a code such as `US`", word.shown());
                return Err(value.refused(word.at, reason));
            };
            if codes.len() == COUNTRIES_MAX {
                return Err(value.refused(word.at, format!("more than {COUNTRIES_MAX} countries")));
            }
            codes.push(code);
        }
        Ok(CountryTest { side: side.unwrap_or(Side::Any), is_negated, codes: codes.into_boxed_slice() })
    }

    /// Whether a packet passes.
    pub(in super::super) fn passes(&self, countries: &Countries, ends: &Ends) -> bool {
        let of = |address: Address| {
            countries.is_of(address, &self.codes).is_some_and(|is_of| is_of != self.is_negated)
        };
        match self.side {
            Side::Any => of(ends.source) || of(ends.destination),
            Side::Both => of(ends.source) && of(ends.destination),
            Side::Source => of(ends.source),
            Side::Destination => of(ends.destination),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ends, option};
    use super::*;

    /// A database that knows two networks: 10.0.0.1 is in the US, 10.0.0.2 in Spain, 2001:db8::/32 in the US.
    fn database() -> Vec<u8> {
        let text = |text: &str| [vec![0x40 | text.len() as u8], text.as_bytes().to_vec()].concat();
        let number = |kind: u8, value: u32| [vec![kind << 5 | 4], value.to_be_bytes().to_vec()].concat();
        let short = |value: u16| [vec![5 << 5 | 2], value.to_be_bytes().to_vec()].concat();
        let map = |pairs: Vec<Vec<u8>>| [vec![0xe0 | (pairs.len() / 2) as u8], pairs.concat()].concat();
        let country = |code: &str| map(vec![text("country"), map(vec![text("iso_code"), text(code)])]);
        let us = country("US");
        let networks: [(u128, u32, u32); 3] =
            [(0x0a00_0001, 128, 0), (0x0a00_0002, 128, us.len() as u32), (0x2001_0db8 << 96, 32, 0)];
        // Each node has two records: None is nothing, Ok a node, Err an offset into the data.
        let mut nodes: Vec<[Option<Result<usize, u32>>; 2]> = vec![[None; 2]];
        for (network, bits, offset) in networks {
            let mut at = 0;
            for depth in 0..bits {
                let bit = (network >> (127 - depth) & 1) as usize;
                if depth + 1 == bits {
                    nodes[at][bit] = Some(Err(offset));
                } else if let Some(Ok(next)) = nodes[at][bit] {
                    at = next;
                } else {
                    nodes.push([None; 2]);
                    let next = nodes.len() - 1;
                    nodes[at][bit] = Some(Ok(next));
                    at = next;
                }
            }
        }
        let count = nodes.len() as u32;
        let record = |record: Option<Result<usize, u32>>| {
            let value = match record {
                None => count,
                Some(Ok(node)) => node as u32,
                Some(Err(offset)) => count + 16 + offset,
            };
            value.to_be_bytes()[1..].to_vec()
        };
        let mut bytes: Vec<u8> = nodes.into_iter().flatten().flat_map(record).collect();
        bytes.extend([0; 16]);
        bytes.extend([us, country("ES")].concat());
        bytes.extend(b"\xab\xcd\xefMaxMind.com");
        bytes.extend(map(vec![
            text("binary_format_major_version"),
            short(2),
            text("binary_format_minor_version"),
            short(0),
            text("build_epoch"),
            [vec![8, 2], 1u64.to_be_bytes().to_vec()].concat(),
            text("database_type"),
            text("Test"),
            text("description"),
            map(vec![]),
            text("ip_version"),
            short(6),
            text("languages"),
            vec![0, 4],
            text("node_count"),
            number(6, count),
            text("record_size"),
            short(24),
        ]));
        bytes
    }

    #[test]
    fn countries_are_those_of_the_ends_that_are_named() {
        let countries = Countries::of(database()).unwrap();
        for (text, source, destination, passes) in [
            ("US", 1, 9, true),
            ("US", 9, 1, true),
            ("US", 2, 9, false),
            ("any,US", 2, 1, true),
            ("src,US", 1, 2, true),
            ("src,US", 2, 1, false),
            ("dst,US", 2, 1, true),
            ("dst,US", 1, 2, false),
            ("both,US", 1, 1, true),
            ("both,US", 1, 2, false),
            ("both,US,ES", 1, 2, true),
            ("both, US, ES", 1, 9, false),
            ("!US", 1, 9, false),
            ("!US", 2, 9, true),
            ("src,!US", 9, 2, false),
            ("src,!US,ES", 2, 1, false),
            ("src,US,!ES", 1, 2, false),
        ] {
            let test = CountryTest::read(&option(&format!("geoip:{text}")), Some(&countries)).unwrap();
            assert_eq!(test.passes(&countries, &ends(source, destination, 0)), passes, "{text} {source}");
        }
        let test = CountryTest::read(&option("geoip:src,US"), Some(&countries)).unwrap();
        let six = Ends { source: "2001:db8::7".parse().unwrap(), ..ends(9, 9, 0) };
        assert!(test.passes(&countries, &six));
    }

    #[test]
    fn without_database_or_countries_the_rule_is_refused() {
        let (_, reason) = CountryTest::read(&option("geoip:US"), None).unwrap_err();
        assert!(reason.contains("no database"), "{reason}");
        let countries = Countries::of(database()).unwrap();
        for text in ["geoip:src", "geoip:src,us", "geoip:USA", "geoip:src,", "geoip:!", "geoip:US,dst"] {
            let (_, reason) = CountryTest::read(&option(text), Some(&countries)).unwrap_err();
            assert!(reason.contains("not a country"), "{text}: {reason}");
        }
        let many = vec!["US"; COUNTRIES_MAX + 1].join(",");
        assert!(CountryTest::read(&option(&format!("geoip:{many}")), Some(&countries)).is_err());
    }

    #[test]
    fn what_is_no_database_is_an_error_and_a_broken_one_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Countries::open(directory.path()).is_err());
        assert!(Countries::open(&directory.path().join("missing")).is_err());
        let path = directory.path().join("countries.mmdb");
        fs::write(&path, b"no database").unwrap();
        assert!(Countries::open(&path).is_err());
        let whole = database();
        fs::write(&path, &whole).unwrap();
        assert!(Countries::open(&path).is_ok());
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            if let Ok(countries) = Countries::of(bytes) {
                countries.is_of(ends(1, 2, 0).source, &[*b"US"]);
            }
            if let Ok(countries) = Countries::of(whole[..at].to_vec()) {
                countries.is_of(ends(1, 2, 0).source, &[*b"US"]);
            }
        }
    }
}
