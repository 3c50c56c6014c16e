//! The owner's lists: CSV files into assets and legitimate traffic.
//!
//! In: a file's text. Out: the lines that are right, and for each that is wrong its file, line and what
//! was expected. A first line that names the columns may order them; without one the documented order
//! holds. Lines that begin with `#` are comments.

use super::legitimate::Rule;
use super::{Asset, Criticality};
use crate::ingest::prefix::Prefix;
use std::fmt;
use std::io::Read;
use weir_common::net::protocol;

/// Most lines taken from the asset inventory; later ones are reported and left out.
pub const ASSETS_MAX: usize = 1_000_000;
/// Most lines taken from the list of legitimate traffic; later ones are reported and left out.
pub const LEGITIMATE_MAX: usize = 100_000;
/// Most lines of legitimate traffic without an address at either end; each is tried for every record.
pub const LEGITIMATE_ANYWHERE_MAX: usize = 64;
/// Most bytes read of one list.
pub const LIST_BYTES_MAX: u64 = 256 << 20;
/// Most problems kept of one list; the last one says how many more there are.
pub const PROBLEMS_MAX: usize = 100;

/// A line of a list that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListProblem {
    /// The file as configured.
    pub file: String,
    /// From 1; 0 for what concerns the whole file.
    pub line: u64,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for ListProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// The asset inventory's lines: address or CIDR, name, role, criticality.
pub fn read_assets(file: &str, input: impl Read, problems: &mut Vec<ListProblem>) -> Vec<(Prefix, Asset)> {
    let mut seen = std::collections::HashMap::new();
    let mut assets = Vec::new();
    read(file, input, &["address", "name", "role", "criticality"], problems, |line, fields| {
        let [address, name, role, criticality] = fields;
        if assets.len() >= ASSETS_MAX {
            return Err(format!("more than {ASSETS_MAX} assets: this line and later ones are left out"));
        }
        let prefix = Prefix::parse(address)?;
        if name.is_empty() {
            return Err("the name is empty: expected what the asset is called".into());
        }
        if let Some(before) = seen.insert(prefix, line) {
            seen.insert(prefix, before);
            return Err(format!("{prefix} stands in line {before} already"));
        }
        let asset = Asset { name: name.into(), role: role.into(), criticality: criticality_of(criticality)? };
        assets.push((prefix, asset));
        Ok(())
    });
    assets
}

/// The list of known and legitimate traffic: source, destination, protocol, port, note.
pub fn read_legitimate(file: &str, input: impl Read, problems: &mut Vec<ListProblem>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut anywhere = 0;
    read(file, input, &["source", "destination", "protocol", "port", "note"], problems, |_, fields| {
        let [source, destination, protocol, port, note] = fields;
        if rules.len() >= LEGITIMATE_MAX {
            return Err(format!("more than {LEGITIMATE_MAX} lines: this one and later ones are left out"));
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
                return Err(
                    "the line declares all traffic legitimate: expected an address, a protocol or a port"
                        .into(),
                );
            }
            anywhere += 1;
            if anywhere > LEGITIMATE_ANYWHERE_MAX {
                return Err(format!(
                    "more than {LEGITIMATE_ANYWHERE_MAX} lines without an address: expected a source or a destination"
                ));
            }
        }
        rules.push(rule);
        Ok(())
    });
    rules
}

/// Reads the lines of a CSV file with `N` columns, of which trailing ones may be missing.
fn read<const N: usize>(
    file: &str,
    input: impl Read,
    columns: &[&str; N],
    problems: &mut Vec<ListProblem>,
    mut each: impl FnMut(u64, [&str; N]) -> Result<(), String>,
) {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(input.take(LIST_BYTES_MAX));
    let mut order: [usize; N] = std::array::from_fn(|index| index);
    let mut record = csv::StringRecord::new();
    let (mut first, mut untold) = (true, 0usize);
    let mut report = |line: u64, message: String| {
        if problems.len() < PROBLEMS_MAX {
            problems.push(ListProblem { file: file.to_owned(), line, message });
        } else {
            untold += 1;
        }
    };
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                let line = error.position().map_or_else(|| reader.position().line(), |at| at.line());
                let stop = error.is_io_error();
                report(line, format!("cannot be read: {error}"));
                if stop {
                    break;
                }
                continue;
            }
        }
        let line = record.position().map_or(0, |at| at.line());
        if std::mem::take(&mut first) && record.iter().any(|field| field.eq_ignore_ascii_case(columns[0])) {
            match header(&record, columns) {
                Ok(found) => order = found,
                Err(message) => report(line, message),
            }
            continue;
        }
        if record.len() == 1 && record.get(0).is_some_and(str::is_empty) {
            continue;
        }
        if record.len() > N && order.iter().all(|at| *at < N) {
            report(line, format!("{} columns: expected {}", record.len(), columns.join(", ")));
            continue;
        }
        let fields = std::array::from_fn(|index| record.get(order[index]).unwrap_or(""));
        if let Err(message) = each(line, fields) {
            report(line, message);
        }
    }
    if untold > 0
        && let Some(last) = problems.last_mut()
    {
        last.message.push_str(&format!(" (and {untold} more problems)"));
    }
}

/// Where each known column stands; a column that is missing reads as empty.
fn header<const N: usize>(record: &csv::StringRecord, columns: &[&str; N]) -> Result<[usize; N], String> {
    for name in record {
        if !columns.iter().any(|column| name.eq_ignore_ascii_case(column)) {
            return Err(format!("unknown column `{name}`: expected {}", columns.join(", ")));
        }
    }
    Ok(std::array::from_fn(|index| {
        record.iter().position(|name| name.eq_ignore_ascii_case(columns[index])).unwrap_or(usize::MAX)
    }))
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
        let mut problems = Vec::new();
        let assets = read_assets("assets.csv", text.as_bytes(), &mut problems);
        (assets, problems.iter().map(ToString::to_string).collect())
    }

    fn legitimate(text: &str) -> (Vec<Rule>, Vec<String>) {
        let mut problems = Vec::new();
        let rules = read_legitimate("legit.csv", text.as_bytes(), &mut problems);
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
        let mut problems = Vec::new();
        let read = read_assets("a.csv", &b"10.0.0.1,\xff\xfe,x,low\n10.0.0.2,ok,x,low\n"[..], &mut problems);
        assert_eq!((read.len(), problems.len()), (1, 1));
        let (_, problems) = assets("10.0.0.1,\"open\n10.0.0.2,b,c,low\n");
        assert!(problems.len() <= 1);
        let many = "x\n".repeat(5000);
        let (_, problems) = assets(&many);
        assert_eq!(problems.len(), PROBLEMS_MAX);
        assert!(problems[PROBLEMS_MAX - 1].contains("and 4900 more"), "{}", problems[PROBLEMS_MAX - 1]);
    }
}
