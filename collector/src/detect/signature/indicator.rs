//! Indicators: addresses, names and fingerprints that somebody published as bad.
//!
//! In: lists as CSV text, and records. Out: findings `intel.ip`, `intel.domain`, `intel.ja3`,
//! `intel.ja4` and `intel.certificate`, whose actor is the host inside that talks to the bad thing. Every
//! look-up is by hash; nothing allocates unless something matches. URLs and STIX are not read here.

use crate::detect::home::Home;
use crate::detect::outcome::Outcome;
use crate::detect::{Detector, Finding};
use crate::enrich::{Asset, Enriched};
use crate::list::{self, Fault, unknown};
use crate::prefix::{Prefix, PrefixMap};
use crate::problem::Problem;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use weir_common::alert::Severity;
use weir_common::app::App;
use weir_common::metadata::{Field, Metadata};
use weir_common::net::Address;

/// Longest domain name, RFC 1035 section 2.3.4.
const DOMAIN_BYTES_MAX: usize = 253;
/// Longest note or source kept; longer text is cut.
const NOTE_CHARS_MAX: usize = 200;
/// Shortest prefix: a shorter one would accuse a large part of the Internet, a slip of the list's author.
const PREFIX_LENGTH_MIN: u32 = 8;

/// The types of indicator, as lists spell them.
const TYPES: &[&str] = &["ip", "cidr", "domain", "ja3", "ja4", "cert_sha1"];
const COLUMNS: [&str; 5] = ["type", "value", "severity", "source", "note"];

/// What indicators are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndicatorKind {
    /// `ip`, and `cidr` of a single address.
    Address,
    /// `cidr`.
    Network,
    /// `domain`.
    Domain,
    /// `ja3`.
    Ja3,
    /// `ja4`.
    Ja4,
    /// `cert_sha1`.
    Certificate,
}

/// What is told about a match.
#[derive(Debug)]
struct Indicator {
    value: Box<str>,
    severity: Severity,
    source: Arc<str>,
    note: Box<str>,
}

/// Indicators of all lists, ready to be asked.
#[derive(Debug, Default)]
pub struct Indicators {
    entries: Vec<Indicator>,
    addresses: HashMap<u128, u32, RandomState>,
    networks: HashMap<Prefix, u32, RandomState>,
    domains: HashMap<Box<str>, u32, RandomState>,
    ja3: HashMap<Box<str>, u32, RandomState>,
    ja4: HashMap<Box<str>, u32, RandomState>,
    certificates: HashMap<Box<str>, u32, RandomState>,
    sources: HashMap<Box<str>, Arc<str>, RandomState>,
    repeated: usize,
}

impl Indicators {
    /// How many indicators there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many lines repeated an indicator that was there; the worse severity was kept.
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// All of a kind in the form they are looked up in, with their severities, in order.
    pub fn listed(&self, kind: IndicatorKind) -> Vec<(Severity, String)> {
        match kind {
            IndicatorKind::Address => {
                self.rows(&self.addresses, |address| Address(address.to_be_bytes()).to_string())
            }
            IndicatorKind::Network => self.rows(&self.networks, Prefix::to_string),
            IndicatorKind::Domain => self.rows(&self.domains, |name| name.to_string()),
            IndicatorKind::Ja3 => self.rows(&self.ja3, |hash| hash.to_string()),
            IndicatorKind::Ja4 => self.rows(&self.ja4, |print| print.to_string()),
            IndicatorKind::Certificate => self.rows(&self.certificates, |hash| hash.to_string()),
        }
    }

    fn rows<K: Ord>(
        &self,
        map: &HashMap<K, u32, RandomState>,
        write: impl Fn(&K) -> String,
    ) -> Vec<(Severity, String)> {
        let mut keys: Vec<_> = map.iter().collect();
        keys.sort_unstable();
        let row = |(key, at): (&K, &u32)| Some((self.entries.get(*at as usize)?.severity, write(key)));
        keys.into_iter().filter_map(row).collect()
    }

    /// Adds a list, as [`crate::list`] reads it. Lines that cannot be used are left out and returned, with
    /// `file` and line. Past `limit` indicators nothing is added.
    pub fn add_list(&mut self, file: &str, input: impl Read, limit: usize) -> Vec<Problem> {
        list::read(file, input, &COLUMNS, |_, cells| {
            if self.entries.len() >= limit {
                return Err(Fault::Rest(format!(
                    "this line and those after it are left out: detect.indicators_max is {limit}"
                )));
            }
            let [kind, value, severity, source, note] = cells;
            Ok(self.add(kind, value, severity, source, note)?)
        })
    }

    fn add(
        &mut self,
        kind: &str,
        value: &str,
        severity: &str,
        source: &str,
        note: &str,
    ) -> Result<(), String> {
        let severity = read_severity(severity)?;
        let next = u32::try_from(self.entries.len()).map_err(|_| "too many indicators".to_owned())?;
        let kind = kind.to_ascii_lowercase();
        let (shown, known) = match kind.as_str() {
            "ip" | "cidr" => {
                let prefix = Prefix::parse(value)?;
                if prefix.length() < PREFIX_LENGTH_MIN {
                    return Err(format!(
                        "`{value}` holds too many addresses: expected a prefix of {PREFIX_LENGTH_MIN} bits or more"
                    ));
                }
                let known = match prefix.single() {
                    Some(address) => *self.addresses.entry(u128::from_be_bytes(address.0)).or_insert(next),
                    None => *self.networks.entry(prefix).or_insert(next),
                };
                (value.to_ascii_lowercase(), known)
            }
            "domain" => {
                let name = read_domain(value)?;
                (name.clone(), *self.domains.entry(name.into()).or_insert(next))
            }
            "ja3" => {
                let hash = hexadecimal(value, 32, "a JA3 hash of 32 hexadecimal digits")?;
                (hash.clone(), *self.ja3.entry(hash.into()).or_insert(next))
            }
            "ja4" => {
                let print = read_ja4(value)?;
                (print.clone(), *self.ja4.entry(print.into()).or_insert(next))
            }
            "cert_sha1" => {
                let hash = hexadecimal(value, 40, "a SHA-1 fingerprint of 40 hexadecimal digits")?;
                (hash.clone(), *self.certificates.entry(hash.into()).or_insert(next))
            }
            other => return Err(unknown("type", other, TYPES)),
        };
        if known != next {
            self.repeated += 1;
            if let Some(entry) = self.entries.get_mut(known as usize) {
                entry.severity = entry.severity.max(severity);
            }
            return Ok(());
        }
        let source = self.sources.entry(source.into()).or_insert_with(|| Arc::from(source)).clone();
        let note: String = note.chars().take(NOTE_CHARS_MAX).collect();
        self.entries.push(Indicator { value: shown.into(), severity, source, note: note.into() });
        Ok(())
    }

    /// A name itself, or the nearest name above it that is listed.
    #[inline]
    fn domain(&self, name: &str) -> Option<&Indicator> {
        let mut lower = [0u8; DOMAIN_BYTES_MAX + 1];
        let bytes = name.strip_suffix('.').unwrap_or(name).as_bytes();
        let lower = lower.get_mut(..bytes.len())?;
        lower.copy_from_slice(bytes);
        lower.make_ascii_lowercase();
        let mut rest = std::str::from_utf8(lower).ok()?;
        loop {
            if let Some(at) = self.domains.get(rest) {
                return self.entries.get(*at as usize);
            }
            rest = rest.split_once('.')?.1;
        }
    }

    fn certificate(&self, fingerprint: &str) -> Option<&Indicator> {
        let mut bare = [0u8; 40];
        let mut length = 0;
        for byte in fingerprint.bytes().filter(|byte| *byte != b':') {
            *bare.get_mut(length)? = byte.to_ascii_lowercase();
            length += 1;
        }
        let at = self.certificates.get(std::str::from_utf8(bare.get(..length)?).ok()?)?;
        self.entries.get(*at as usize)
    }
}

/// Finds indicators in records.
pub struct IndicatorDetector {
    indicators: Indicators,
    networks: PrefixMap<u32>,
    home: Home,
}

impl IndicatorDetector {
    /// A detector of these indicators for the owner of these networks.
    pub fn new(mut indicators: Indicators, home: Home) -> IndicatorDetector {
        let networks = PrefixMap::build(std::mem::take(&mut indicators.networks).into_iter().collect());
        IndicatorDetector { indicators, networks, home }
    }

    #[inline]
    fn address(&self, address: Address) -> Option<&Indicator> {
        let single = self.indicators.addresses.get(&u128::from_be_bytes(address.0));
        let at = single.or_else(|| self.networks.get(address))?;
        self.indicators.entries.get(*at as usize)
    }

    fn addresses(&self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        let key = &record.record.key;
        if let Some(indicator) = self.address(key.responder) {
            let answered = Outcome::of(record.record) != Outcome::Failure;
            let (confidence, what) = if answered { (0.9, "talked to") } else { (0.75, "tried to reach") };
            let reason = sentence(&key.initiator, what, &key.responder, indicator);
            findings.push(finding(record, "intel.ip", confidence, indicator, reason, "T1071"));
        }
        if let Some(indicator) = self.address(key.initiator) {
            let inside = self.home.contains(&key.responder);
            let answered =
                record.record.reverse.packets > 0 && Outcome::of(record.record) != Outcome::Failure;
            if answered && inside {
                let reason = sentence(&key.responder, "answered", &key.initiator, indicator);
                let mut found = finding(record, "intel.ip", 0.8, indicator, reason, "T1071");
                (found.actor, found.target) = (Some(key.responder), Some(key.initiator));
                findings.push(found);
            } else {
                // Nobody inside took part: the listed address knocks, which is worth knowing and no more.
                let reason = sentence(&key.initiator, "knocked in vain at", &key.responder, indicator);
                let mut found = finding(record, "intel.ip", 0.4, indicator, reason, "T1595");
                found.severity = Severity::Low;
                findings.push(found);
            }
        }
    }

    fn names(&self, record: &Enriched<'_>, metadata: &Metadata, findings: &mut Vec<Finding>) {
        // A resolver asks for what its clients asked; they are the ones to accuse, where they are seen.
        let resolver = record.record.app == App::Dns && record.initiator.is_some_and(is_resolver);
        let asked = metadata.list(Field::DnsQuery).iter().map(|name| (&**name, "asked for"));
        let server_name = metadata.text(Field::TlsServerName).map(|name| (name, "opened TLS to"));
        let host = metadata.text(Field::HttpHost).map(|host| (without_port(host), "requested"));
        let asked = asked.filter(|_| !resolver);
        for (name, what) in asked.chain(server_name).chain(host) {
            if let Some(indicator) = self.indicators.domain(name) {
                let reason = sentence(&record.record.key.initiator, what, &name, indicator);
                let technique = if record.record.app == App::Dns { "T1071.004" } else { "T1071.001" };
                findings.push(finding(record, "intel.domain", 0.9, indicator, reason, technique));
            }
        }
    }

    fn fingerprints(&self, record: &Enriched<'_>, metadata: &Metadata, findings: &mut Vec<Finding>) {
        let known = &self.indicators;
        let client = &record.record.key.initiator;
        let look = |map: &HashMap<Box<str>, u32, RandomState>, field| {
            let at = *map.get(metadata.text(field)?)?;
            known.entries.get(at as usize)
        };
        // Client fingerprints are shared by every program that uses the same library in the same way.
        if let Some(indicator) = look(&known.ja3, Field::TlsJa3) {
            let reason = sentence(client, "speaks TLS with the JA3", &indicator.value, indicator);
            findings.push(finding(record, "intel.ja3", 0.5, indicator, reason, "T1071.001"));
        }
        if let Some(indicator) = look(&known.ja4, Field::TlsJa4) {
            let reason = sentence(client, "speaks TLS with the JA4", &indicator.value, indicator);
            findings.push(finding(record, "intel.ja4", 0.6, indicator, reason, "T1071.001"));
        }
        let fingerprint = metadata.text(Field::TlsFingerprint);
        if let Some(indicator) = fingerprint.and_then(|text| known.certificate(text)) {
            let reason = sentence(client, "met a server with the certificate", &indicator.value, indicator);
            findings.push(finding(record, "intel.certificate", 0.95, indicator, reason, "T1071.001"));
        }
    }
}

impl Detector for IndicatorDetector {
    fn name(&self) -> &'static str {
        "indicators"
    }

    fn inspect(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        if self.indicators.is_empty() {
            return;
        }
        self.addresses(record, findings);
        let metadata = record.record.metadata();
        if !metadata.is_empty() {
            self.names(record, metadata, findings);
            self.fingerprints(record, metadata, findings);
        }
    }
}

fn finding(
    record: &Enriched<'_>,
    kind: &'static str,
    confidence: f64,
    indicator: &Indicator,
    reason: String,
    technique: &'static str,
) -> Finding {
    Finding::about(record, kind, indicator.severity, confidence)
        .because(reason)
        .technique(&[technique])
        .subject(&*indicator.value)
}

fn sentence(who: &Address, what: &str, whom: &dyn std::fmt::Display, indicator: &Indicator) -> String {
    let Indicator { value, source, note, .. } = indicator;
    let source = if source.is_empty() { "an indicator list" } else { source };
    let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
    format!("{who} {what} {whom}, listed as {value} by {source}{note}.")
}

fn is_resolver(asset: &Asset) -> bool {
    let role = asset.role.to_ascii_lowercase();
    role.contains("resolver") || role.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "dns")
}

/// A Host header without its port; an address in brackets is no name and stays as it is.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn read_severity(text: &str) -> Result<Severity, String> {
    let all = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    if text.is_empty() {
        return Ok(Severity::High);
    }
    let found = all.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| unknown("severity", text, &all.map(Severity::name)))
}

/// A name in the form it is looked up in: lower case, without `*.` before and `.` after it.
fn read_domain(text: &str) -> Result<String, String> {
    let name = text.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
    let wrong = |why: &str| Err(format!("`{text}` is not a domain name such as evil.example: {why}"));
    if name.is_empty() || name.len() > DOMAIN_BYTES_MAX {
        return wrong("expected 1 to 253 characters");
    }
    if !name.is_ascii() {
        return wrong("expected ASCII; write international names as xn--");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.split('.').any(|label| label.is_empty() || label.len() > 63 || !label.bytes().all(allowed)) {
        return wrong("expected labels of letters, digits, `-` and `_`");
    }
    if !name.contains('.') {
        return wrong("a single label would match everything below it");
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return wrong("this is an address; its type is ip");
    }
    Ok(name)
}

fn hexadecimal(text: &str, digits: usize, expected: &str) -> Result<String, String> {
    let bare: String = text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
    if bare.len() == digits && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(bare)
    } else {
        Err(format!("`{text}` is not {expected}"))
    }
}

/// JA4: `t13d1516h2_8daaf6152771_b186095e22b6`.
fn read_ja4(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('_').collect();
    let hash = |part: &str| part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match parts.as_slice() {
        [a, b, c]
            if a.len() == 10 && a.bytes().all(|byte| byte.is_ascii_alphanumeric()) && hash(b) && hash(c) =>
        {
            Ok(lower)
        }
        _ => Err(format!("`{text}` is not a JA4 fingerprint such as t13d1516h2_8daaf6152771_b186095e22b6")),
    }
}

#[cfg(test)]
#[path = "indicator_tests.rs"]
mod tests;
