//! The owner's lists: CSV files into assets and legitimate traffic.
//!
//! In: a file's text. Out: the lines that are right, and what is wrong with the others; see [`crate::list`]
//! for the form.

use super::legitimate::Rule;
use super::{Asset, Criticality};
use crate::list::{self, Fault};
use crate::prefix::Prefix;
use crate::problem::Problem;
use std::collections::HashMap;
use std::io::Read;
use weir_common::net::protocol;

/// Most lines taken from the asset inventory; later ones are reported and left out.
pub const ASSETS_MAX: usize = 1_000_000;
/// Most lines taken from the list of legitimate traffic; later ones are reported and left out.
pub const LEGITIMATE_MAX: usize = 100_000;
/// Most lines of legitimate traffic without an address at either end; each is tried for every record.
pub const LEGITIMATE_ANYWHERE_MAX: usize = 64;

/// The asset inventory's lines: address or CIDR, name, role, criticality.
pub fn read_assets(file: &str, input: impl Read) -> (Vec<(Prefix, Asset)>, Vec<Problem>) {
    let mut seen = HashMap::new();
    let mut assets = Vec::new();
    let columns = ["address", "name", "role", "criticality"];
    let problems = list::read(file, input, &columns, |line, [address, name, role, criticality]| {
        if assets.len() >= ASSETS_MAX {
            return Err(Fault::Rest(format!(
                "more than {ASSETS_MAX} assets: this line and those after it are left out"
            )));
        }
        let prefix = Prefix::parse(address)?;
        if name.is_empty() {
            return Err(Fault::Line("the name is empty: expected what the asset is called".into()));
        }
        let criticality = criticality_of(criticality)?;
        if let Some(before) = seen.get(&prefix) {
            return Err(Fault::Line(format!("{prefix} stands in line {before} already")));
        }
        seen.insert(prefix, line);
        assets.push((prefix, Asset { name: name.into(), role: role.into(), criticality }));
        Ok(())
    });
    (assets, problems)
}

/// The list of known and legitimate traffic: source, destination, protocol, port, note.
pub fn read_legitimate(file: &str, input: impl Read) -> (Vec<Rule>, Vec<Problem>) {
    let mut rules: Vec<Rule> = Vec::new();
    let mut anywhere = 0;
    let columns = ["source", "destination", "protocol", "port", "note"];
    let problems = list::read(file, input, &columns, |_, [source, destination, protocol, port, note]| {
        if rules.len() >= LEGITIMATE_MAX {
            return Err(Fault::Rest(format!(
                "more than {LEGITIMATE_MAX} lines: this one and those after it are left out"
            )));
        }
        let rule = Rule {
            source: any_or(source, Prefix::parse)?,
            destination: any_or(destination, Prefix::parse)?,
            protocol: any_or(protocol, protocol_of)?,
            ports: any_or(port, ports_of)?,
            note: if note.is_empty() { "declared legitimate".into() } else { note.into() },
        };
        if rule.source.is_none() && rule.destination.is_none() {
            if rule.protocol.is_none() && rule.ports.is_none() {
                return Err(Fault::Line(
                    "the line declares all traffic legitimate: expected an address, a protocol or a port"
                        .into(),
                ));
            }
            if anywhere >= LEGITIMATE_ANYWHERE_MAX {
                return Err(Fault::Line(format!(
                    "more than {LEGITIMATE_ANYWHERE_MAX} lines without an address: expected a source or a destination"
                )));
            }
            anywhere += 1;
        }
        rules.push(rule);
        Ok(())
    });
    (rules, problems)
}

/// `*` and nothing at all mean any.
fn any_or<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    match text {
        "" | "*" => Ok(None),
        text => parse(text).map(Some),
    }
}

fn criticality_of(text: &str) -> Result<Criticality, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "low" => Criticality::Low,
        "" | "medium" => Criticality::Medium,
        "high" => Criticality::High,
        "critical" => Criticality::Critical,
        _ => return Err(format!("`{text}` is not a criticality: expected low, medium, high or critical")),
    })
}

fn protocol_of(text: &str) -> Result<u8, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "tcp" => protocol::TCP,
        "udp" => protocol::UDP,
        "icmp" => protocol::ICMP,
        "icmpv6" | "ipv6-icmp" => protocol::ICMPV6,
        "sctp" => protocol::SCTP,
        number => number.parse().map_err(|_| {
            format!("`{text}` is not a protocol: expected tcp, udp, icmp, icmpv6, sctp, a number or *")
        })?,
    })
}

fn ports_of(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("`{text}` is not a port: expected 443, 8000-8080 or *");
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let low: u16 = low.trim().parse().map_err(|_| wrong())?;
    let high: u16 = high.trim().parse().map_err(|_| wrong())?;
    if low > high { Err(wrong()) } else { Ok((low, high)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assets(text: &str) -> (Vec<(Prefix, Asset)>, Vec<String>) {
        let (assets, problems) = read_assets("assets.csv", text.as_bytes());
        (assets, problems.iter().map(ToString::to_string).collect())
    }

    fn legitimate(text: &str) -> (Vec<Rule>, Vec<String>) {
        let (rules, problems) = read_legitimate("legit.csv", text.as_bytes());
        (rules, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn columns_may_be_named_in_any_order_or_stand_in_the_documented_one() {
        let named = assets("Name,address,criticality\nweb-1,10.0.0.5,high\n");
        let plain = assets("# comment\n10.0.0.5,web-1,,HIGH\n");
        assert_eq!(named, plain);
        assert_eq!(named.0.len(), 1);
        assert_eq!(named.0[0].1.criticality, Criticality::High);
    }

    #[test]
    fn wrong_lines_are_named_and_the_rest_is_kept() {
        let (assets, problems) = assets(
            "address,name,role,criticality\n10.0.0.1,a,b,low\n10.0.0,a,b,low\n10.0.0.2,,b,low\n10.0.0.3,c,d,vital\n10.0.0.1,again,,\n10.0.0.4,ok,x,low,extra\n10.0.0.5,last,,\n",
        );
        let names: Vec<_> = assets.iter().map(|(_, asset)| asset.name.as_str()).collect();
        assert_eq!(names, ["a", "last"]);
        let starts: Vec<_> = problems.iter().map(|text| text.split(": ").next().unwrap()).collect();
        assert_eq!(starts, ["assets.csv:3", "assets.csv:4", "assets.csv:5", "assets.csv:6", "assets.csv:7"]);
        assert!(
            problems.iter().all(|text| text.contains("expected") || text.contains("already")),
            "{problems:?}"
        );
    }

    #[test]
    fn an_unknown_column_is_named() {
        let (_, problems) = assets("address,name,owner\n10.0.0.1,a,b\n");
        assert!(problems[0].contains("unknown column `owner`"), "{problems:?}");
    }

    #[test]
    fn legitimate_lines_take_stars_networks_ranges_and_numbers() {
        let (rules, problems) =
            legitimate("10.0.0.0/8,*,tcp,8000-8080,backup\n*,192.0.2.1,47,*,tunnel\n*,*,udp,123\n");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(rules.len(), 3);
        assert_eq!((rules[0].ports, rules[1].protocol), (Some((8000, 8080)), Some(47)));
        assert_eq!(rules[2].note, "declared legitimate");
    }

    #[test]
    fn wrong_legitimate_lines_say_what_was_expected() {
        let (rules, problems) =
            legitimate("*,*,*,*,all\n*,10.0.0.1,tpc,1\n*,10.0.0.1,tcp,9-1\n*,10.0.0.1,tcp,65536\n");
        assert!(rules.is_empty());
        assert_eq!(problems.len(), 4);
        assert!(problems.iter().all(|text| text.contains("expected")), "{problems:?}");
    }

    #[test]
    fn bytes_that_are_not_text_and_endless_quotes_are_problems_not_ends() {
        let (read, problems) = read_assets("a.csv", &b"10.0.0.1,\xff\xfe,x,low\n10.0.0.2,ok,x,low\n"[..]);
        assert_eq!((read.len(), problems.len()), (1, 1));
        let (_, problems) = assets("10.0.0.1,\"open\n10.0.0.2,b,c,low\n");
        assert!(problems.len() <= 1);
        let many = "x\n".repeat(5000);
        let (_, problems) = assets(&many);
        assert!(problems.last().unwrap().contains("and 4900 more"), "{problems:?}");
    }
}
