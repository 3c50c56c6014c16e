//! Indicators as rules that sensors run: files in the Suricata language, and the sets of values that they look up.
//!
//! In: indicators, and how many files and bytes there is room for. Out: `weir-indicators.rules` and its lists, one set for
//! each type and severity, so that an alert's priority is that of the indicator. What there is no room for is left out
//! whole, the least severe first, and counted. One alert for a flow and rule (a day): what comes back with every packet
//! is told once. Deliberately absent: source and note of an indicator, which the collector's lists have.

use super::indicator::{IndicatorKind, Indicators};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;
use weir_common::alert::Severity;

/// What the names of all generated files begin with; they are no user's.
pub const NAME_PREFIX: &str = "weir-indicators";
/// The file of rules; the lists stand beside it.
pub const RULES_NAME: &str = "weir-indicators.rules";
/// The generated rules' numbers, of those that are free for local use. A rule keeps its number whatever the lists hold.
pub const SIGNATURES: std::ops::RangeInclusive<u32> = 1_990_000..=1_999_999;

/// Most bytes of the networks in one rule, which stand in its header: sensors read rules of up to 64 KiB, and ask every
/// packet each rule.
const GROUP_BYTES_MAX: usize = 48 << 10;
/// Most rules' worth of networks of one severity, some 200,000; more are left out as a whole.
const GROUPS_MAX: usize = 64;
/// Bytes of a set that need not be announced: half of what sets have by default.
const SET_BYTES_PLAIN: u64 = 50 << 20;
/// What a value takes in a set beside its own bytes, generously: it only sets the limit of the memory.
const VALUE_BYTES: u64 = 256;
/// Values from which on a set is told to be large, and the largest `hashsize` that there is.
const HASHSIZE: (usize, u32) = (4096, 65_536);

/// A place where values are looked for.
struct Place {
    /// Its rule's number is the first of the range, ten times this, and the severity.
    number: u32,
    protocol: &'static str,
    /// What stands before the set.
    test: &'static str,
    message: &'static str,
}

const fn place(number: u32, protocol: &'static str, test: &'static str, message: &'static str) -> Place {
    Place { number, protocol, test, message }
}

/// Where domains are looked for. A name and a dot before it end with every dotted name that it lies below.
const DOMAIN_PLACES: [Place; 4] = [
    place(0, "dns", "dns.query; dotprefix; to_lowercase;", "a listed domain was asked for"),
    place(1, "tls", "tls.sni; dotprefix; to_lowercase;", "TLS to a listed domain"),
    place(2, "http", "http.host; dotprefix; to_lowercase;", "HTTP to a listed domain"),
    place(3, "quic", "quic.sni; dotprefix; to_lowercase;", "QUIC to a listed domain"),
];
const JA3_PLACES: [Place; 2] = [
    place(4, "tls", "ja3.hash;", "TLS client with a listed JA3"),
    place(5, "quic", "ja3.hash;", "QUIC client with a listed JA3"),
];
const JA4_PLACES: [Place; 2] = [
    place(6, "tls", "ja4.hash;", "TLS client with a listed JA4"),
    place(7, "quic", "ja4.hash;", "QUIC client with a listed JA4"),
];
const CERTIFICATE_PLACES: [Place; 1] =
    [place(8, "tls", "tls.cert_fingerprint;", "TLS server with a listed certificate")];
/// The first: whoever opened the flow opened it to what is listed, also when nothing came back. The others: who is listed
/// opened it, and was answered by more than SYN and RST; a listed scanner's knocking in vain is no news.
const ADDRESS_PLACES: [Place; 3] = [
    place(9, "ip", "flow:to_server; ip.dst;", "connection to a listed address"),
    place(
        10,
        "tcp",
        "flow:established,to_client; tcp.flags:A,FPUCE; ip.dst;",
        "connection of a listed address was answered",
    ),
    place(11, "udp", "flow:established,to_client; ip.dst;", "datagram of a listed address was answered"),
];
/// The same of networks, which are several rules when they are many: a hundred numbers for each severity.
const NETWORK_PLACES: [Place; 3] = [
    place(100, "ip", "flow:to_server;", "connection to a listed network"),
    place(
        140,
        "tcp",
        "flow:established,to_client; tcp.flags:A,FPUCE;",
        "connection of a listed network was answered",
    ),
    place(180, "udp", "flow:established,to_client;", "datagram of a listed network was answered"),
];

/// From the worst: what is less severe is left out first.
const SEVERITIES: [Severity; 4] = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low];
/// The order within a severity.
const KINDS: [IndicatorKind; 6] = [
    IndicatorKind::Address,
    IndicatorKind::Network,
    IndicatorKind::Domain,
    IndicatorKind::Ja3,
    IndicatorKind::Ja4,
    IndicatorKind::Certificate,
];

/// A file: its name and what it holds.
pub type NamedFile = (String, Vec<u8>);

/// The indicators of one type and severity, as rules.
#[derive(Debug)]
struct Unit {
    indicators: u64,
    /// The set's file, where there is one.
    list: Option<NamedFile>,
    /// Lines; none when there are too many networks.
    rules: Option<String>,
}

/// Everything that was made of indicators.
#[derive(Debug, Default)]
pub struct IndicatorRules {
    units: Vec<Unit>,
}

/// What there was room for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fitted {
    /// In the order of their names.
    pub files: Vec<NamedFile>,
    /// How many indicators are in them.
    pub indicators: u64,
    /// How many there was no room for.
    pub left_out: u64,
}

impl IndicatorRules {
    /// Makes rules of all indicators.
    pub fn new(indicators: &Indicators) -> IndicatorRules {
        let listed: Vec<_> = KINDS.iter().map(|kind| (*kind, indicators.listed(*kind))).collect();
        let mut units = Vec::new();
        for severity in SEVERITIES {
            for (kind, values) in &listed {
                let mut of = values.iter().filter(|(of, _)| *of == severity).map(|(_, value)| value.as_str());
                units.extend(unit(*kind, severity, &mut of));
            }
        }
        IndicatorRules { units }
    }

    /// The files, as many as there is room for.
    pub fn fit(&self, files_max: usize, bytes_max: u64) -> Fitted {
        let mut fitted = Fitted::default();
        let mut rules = String::from(HEAD);
        let mut bytes = rules.len() as u64;
        for unit in &self.units {
            // The file of rules is one more.
            let files = 1 + fitted.files.len() + usize::from(unit.list.is_some());
            let list = unit.list.as_ref().map_or(0, |(_, text)| text.len());
            let more = unit.rules.as_ref().map(|rules| (rules, (rules.len() + list) as u64));
            match more {
                Some((lines, more)) if files <= files_max && bytes + more <= bytes_max => {
                    bytes += more;
                    rules.push_str(lines);
                    fitted.files.extend(unit.list.clone());
                    fitted.indicators += unit.indicators;
                }
                _ => fitted.left_out += unit.indicators,
            }
        }
        if fitted.indicators > 0 {
            fitted.files.push((RULES_NAME.to_owned(), rules.into_bytes()));
        }
        fitted.files.sort_unstable();
        fitted
    }
}

/// What stands above the rules.
const HEAD: &str =
    "# Made by weir-collector from indicator lists; what is changed here is lost with the next list.\n";

fn unit(kind: IndicatorKind, severity: Severity, values: &mut dyn Iterator<Item = &str>) -> Option<Unit> {
    let (places, word) = match kind {
        IndicatorKind::Address => (&ADDRESS_PLACES[..], "address"),
        IndicatorKind::Network => return networks(severity, values),
        IndicatorKind::Domain => (&DOMAIN_PLACES[..], "domain"),
        IndicatorKind::Ja3 => (&JA3_PLACES[..], "ja3"),
        IndicatorKind::Ja4 => (&JA4_PLACES[..], "ja4"),
        IndicatorKind::Certificate => (&CERTIFICATE_PLACES[..], "certificate"),
    };
    let (mut list, mut count, mut memory) = (String::new(), 0, 0);
    for value in values {
        let before = list.len();
        match kind {
            IndicatorKind::Address => list.push_str(value),
            IndicatorKind::Domain => STANDARD.encode_string(format!(".{value}"), &mut list),
            IndicatorKind::Certificate => STANDARD.encode_string(with_colons(value), &mut list),
            _ => STANDARD.encode_string(value, &mut list),
        }
        count += 1;
        memory += VALUE_BYTES + (list.len() - before) as u64;
        list.push('\n');
    }
    if count == 0 {
        return None;
    }
    let set = format!("{NAME_PREFIX}-{word}-{}", severity.name());
    let file = format!("{set}.lst");
    let form = if kind == IndicatorKind::Address { "ip" } else { "string" };
    let mut test = format!("dataset:isset,{set},type {form},load {file}");
    if memory > SET_BYTES_PLAIN {
        let _ = write!(test, ",memcap {}mb", memory.div_ceil(1 << 20));
    }
    if count > HASHSIZE.0 {
        let _ = write!(test, ",hashsize {}", HASHSIZE.1);
    }
    if kind == IndicatorKind::Domain {
        test.push_str(",match subdomain");
    }
    let mut rules = String::new();
    for place in places {
        let number = SIGNATURES.start() + place.number * 10 + severity as u32;
        rule(&mut rules, place, "any", &format!("{} {test};", place.test), (number, severity, word));
    }
    Some(Unit { indicators: count as u64, list: Some((file, list.into_bytes())), rules: Some(rules) })
}

/// Networks stand in the header, as sets hold none.
fn networks(severity: Severity, values: &mut dyn Iterator<Item = &str>) -> Option<Unit> {
    let mut groups: Vec<String> = Vec::new();
    let mut count = 0;
    for value in values {
        count += 1;
        match groups.last_mut().filter(|group| group.len() + 1 + value.len() <= GROUP_BYTES_MAX) {
            Some(group) => {
                group.push(',');
                group.push_str(value);
            }
            None => groups.push(value.to_owned()),
        }
    }
    if count == 0 {
        return None;
    }
    let mut rules = String::new();
    for (group, networks) in groups.iter().enumerate().filter(|_| groups.len() <= GROUPS_MAX) {
        for place in &NETWORK_PLACES {
            let number = SIGNATURES.start() + place.number * 10 + severity as u32 * 100 + group as u32;
            let about = (number, severity, "network");
            rule(&mut rules, place, &format!("[{networks}]"), place.test, about);
        }
    }
    Some(Unit { indicators: count, list: None, rules: (!rules.is_empty()).then_some(rules) })
}

fn rule(
    out: &mut String,
    place: &Place,
    destination: &str,
    test: &str,
    (number, severity, word): (u32, Severity, &str),
) {
    let Place { protocol, message, .. } = place;
    let (name, priority) = (severity.name(), priority(severity));
    let _ = writeln!(
        out,
        "alert {protocol} any any -> {destination} any (msg:\"Indicator: {message} ({name})\"; {test} \
         threshold:type limit,track by_flow,count 1,seconds 86400; classtype:bad-unknown; priority:{priority}; \
         metadata:indicator_type {word},indicator_severity {name}; sid:{number}; rev:1;)"
    );
}

/// The language has three that matter, of which 1 is the worst.
fn priority(severity: Severity) -> u8 {
    match severity {
        Severity::Critical | Severity::High => 1,
        Severity::Medium => 2,
        Severity::Low => 3,
    }
}

/// A fingerprint as sensors have it: `49:f7:...`.
fn with_colons(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() / 2 * 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 2 == 0 {
            out.push(':');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
#[path = "indicator_rules_tests.rs"]
mod tests;
