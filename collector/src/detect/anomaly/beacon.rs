//! Beacons: a host inside that calls one outside service again and again at a steady pace, as
//! malware calls its master.
//!
//! In: records of connections that were answered. Out: `beacon`, one finding when the pace is judged
//! steady and one at each doubling of the visits after.
//!
//! Steadiness is the median absolute deviation of the intervals between visits divided by their median, as
//! RITA uses (github.com/activecm/rita): robust, so that a missed or an extra call does not matter.
//! Programs with honest business are steady as well, so that a steady pace alone is not told. A long
//! connection is one visit however often it is sliced. What is regular by nature (NTP, DNS), what many hosts
//! do, targets inside, and pages that open several connections at once (browsers) do not count or count less;
//! calls of equal size, and targets without a name, count more. A page that polls over a single connection
//! which its server closes each time still looks like a beacon: declare it in `enrich.legitimate`.

use crate::bounded::Bounded;
use crate::detect::config::BeaconConfig;
use crate::detect::home::Home;
use crate::detect::outcome::{Outcome, is_group};
use crate::detect::{Detector, Finding};
use crate::enrich::Enriched;
use foldhash::fast::RandomState;
use std::hash::BuildHasher;
use weir_common::alert::Severity;
use weir_common::metadata::Field;
use weir_common::net::{Address, protocol};
use weir_common::record::FlowRecord;

/// Visits that are remembered and judged, the latest.
const VISITS_KEPT: usize = 32;
/// Visits that begin closer together than this belong to one page load, in nanoseconds.
const PARALLEL_NS: u64 = 500_000_000;
/// The same port again within this time is the same connection, seen by a second sensor; nanoseconds.
const DUPLICATE_NS: u64 = 1_000_000_000;
/// Share of intervals that have to lie near the median, or near twice it where a call was missed.
const NEAR_SHARE_MIN: f64 = 0.8;
/// How near, as a part of the median.
const NEAR: f64 = 0.4;
/// Visits of a source from which it counts as a visitor of its target.
const VISITOR_VISITS: u64 = 3;
/// Judging is put off for this many visits after a pace was found unsteady.
const VISITS_BETWEEN: u64 = 4;
/// Visitors remembered per target.
const VISITORS_MAX: usize = 16;

/// Finds beacons.
pub struct BeaconDetector {
    config: BeaconConfig,
    home: Home,
    hasher: RandomState,
    pairs: Bounded<(Address, u64), Pair>,
    targets: Bounded<u64, Vec<u64>>,
}

#[derive(Clone, Copy)]
struct Visit {
    start_ns: u64,
    octets: u32,
    port: u16,
}

#[derive(Default)]
struct Pair {
    visits: Vec<Visit>,
    next: usize,
    total: u64,
    judge_at: u64,
    reported: u64,
    parallel: u32,
}

/// What the latest visits look like.
#[derive(Debug, PartialEq)]
struct Pace {
    interval_s: f64,
    /// Median absolute deviation of the intervals, as a part of their median.
    dispersion: f64,
    /// The same of the octets sent.
    size_dispersion: f64,
    visits: usize,
    first_ns: u64,
}

impl BeaconDetector {
    /// A detector for the owner of these networks.
    pub fn new(config: &BeaconConfig, home: Home) -> BeaconDetector {
        BeaconDetector {
            config: BeaconConfig {
                visits_min: config.visits_min.clamp(6, VISITS_KEPT as u32),
                ..config.clone()
            },
            home,
            hasher: RandomState::default(),
            pairs: Bounded::new(config.pairs_max as usize),
            targets: Bounded::new(config.pairs_max as usize),
        }
    }

    /// Whether a record is a visit that can be a beacon's.
    fn is_visit(&self, record: &FlowRecord) -> bool {
        let key = &record.key;
        let carries =
            key.protocol == protocol::TCP || key.protocol == protocol::UDP && key.responder_port == 443;
        carries
            && !self.config.ports_ignored.contains(&key.responder_port)
            && self.home.contains(&key.initiator)
            && !is_group(&key.responder)
            && Outcome::of(record) == Outcome::Success
            && (self.config.inside_targets || !self.home.contains(&key.responder) || is_proxied(record))
    }

    fn confidence(&self, pace: &Pace, pair: &Pair, visitors: usize, named: bool) -> f64 {
        let tight = 1.0 - pace.dispersion / self.config.dispersion_max.max(f64::EPSILON);
        let mut confidence = 0.5 + 0.15 * tight.clamp(0.0, 1.0);
        confidence += if pace.size_dispersion <= 0.1 { 0.15 } else { 0.0 };
        confidence += if pair.total >= 2 * u64::from(self.config.visits_min) { 0.05 } else { 0.0 };
        confidence += if named { 0.0 } else { 0.1 };
        confidence -= if pair.parallel > 0 { 0.3 } else { 0.0 };
        confidence -= 0.05 * visitors.saturating_sub(1) as f64;
        confidence.clamp(0.0, 0.95)
    }
}

impl Detector for BeaconDetector {
    fn name(&self) -> &'static str {
        "beacon"
    }

    fn forgotten(&self) -> u64 {
        self.pairs.evicted() + self.targets.evicted()
    }

    fn inspect(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        if record.legitimate.is_some() || !self.is_visit(record.record) {
            return;
        }
        let key = &record.record.key;
        // A name stays when its addresses change; without one the address is the target.
        let name = server_name(record.record);
        let service = (key.protocol, key.responder_port);
        let target = match name {
            Some(name) => self.hasher.hash_one((name, service)),
            None => self.hasher.hash_one((key.responder, service)),
        };
        let (pair, _) = self.pairs.entry((key.initiator, target), Pair::default);
        if !pair.visit(record.record) {
            return;
        }
        if pair.total == VISITOR_VISITS {
            let source = self.hasher.hash_one(key.initiator);
            let (visitors, _) = self.targets.entry(target, Vec::new);
            if visitors.len() < VISITORS_MAX && !visitors.contains(&source) {
                visitors.push(source);
            }
        }
        if pair.total < u64::from(self.config.visits_min).max(pair.judge_at) {
            return;
        }
        let visitors = self.targets.peek(&target).map_or(1, Vec::len);
        let pace = pair.pace().filter(|pace| {
            pace.dispersion <= self.config.dispersion_max
                && (self.config.interval_min_s..=self.config.interval_max_s).contains(&pace.interval_s)
                && visitors < self.config.sources_max as usize
        });
        pair.judge_at = pair.total + VISITS_BETWEEN;
        let Some(pace) = pace else { return };
        let Some(pair) = self.pairs.peek(&(key.initiator, target)) else { return };
        let confidence = self.confidence(&pace, pair, visitors, name.is_some_and(|name| !is_address(name)));
        if confidence < self.config.confidence_min || pair.total < pair.reported.saturating_mul(2) {
            return;
        }
        let total = pair.total;
        let shown = name.map_or(String::new(), |name| format!(" ({name})"));
        let reason = format!(
            "{} called {}{shown} port {} {} times, every {:.1} s with a deviation of {:.0} %, sending sizes that deviate by {:.0} %.",
            key.initiator,
            key.responder,
            key.responder_port,
            total,
            pace.interval_s,
            pace.dispersion * 100.0,
            pace.size_dispersion * 100.0
        );
        if let Some(pair) = self.pairs.get_mut(&(key.initiator, target)) {
            pair.reported = total;
        }
        let technique =
            if key.responder_port == 80 || key.responder_port == 443 { "T1071.001" } else { "T1071" };
        let found = Finding::about(record, "beacon", Severity::High, confidence).because(reason);
        let subject = name.map_or_else(|| key.responder.to_string(), str::to_owned);
        let found = found.technique(&[technique]).subject(format!("{subject} port {}", key.responder_port));
        findings.push(found.counting(1, total, weir_common::time::Timestamp(pace.first_ns)));
    }
}

impl Pair {
    /// Notes a visit; false when it is a connection noted before.
    fn visit(&mut self, record: &FlowRecord) -> bool {
        let start_ns = record.start.0;
        let port = record.key.initiator_port;
        let udp = record.key.protocol == protocol::UDP;
        for known in &self.visits {
            let apart = known.start_ns.abs_diff(start_ns);
            if known.port == port && (udp || apart < DUPLICATE_NS) {
                return false;
            }
            if apart < PARALLEL_NS {
                self.parallel = self.parallel.saturating_add(1);
            }
        }
        let octets = u32::try_from(record.forward.octets).unwrap_or(u32::MAX);
        let visit = Visit { start_ns, octets, port };
        match self.visits.get_mut(self.next) {
            Some(oldest) if self.total >= VISITS_KEPT as u64 => *oldest = visit,
            _ => self.visits.push(visit),
        }
        self.next = (self.next + 1) % VISITS_KEPT;
        self.total = self.total.saturating_add(1);
        true
    }

    /// The pace of the latest visits; None when too few intervals lie near their median.
    fn pace(&self) -> Option<Pace> {
        let count = self.visits.len();
        let mut starts = [0u64; VISITS_KEPT];
        let mut octets = [0f64; VISITS_KEPT];
        for ((start, size), visit) in starts.iter_mut().zip(&mut octets).zip(&self.visits) {
            (*start, *size) = (visit.start_ns, f64::from(visit.octets));
        }
        let starts = starts.get_mut(..count)?;
        starts.sort_unstable();
        let mut intervals = [0f64; VISITS_KEPT];
        for (interval, pair) in intervals.iter_mut().zip(starts.windows(2)) {
            *interval = (pair[1] - pair[0]) as f64 / 1e9;
        }
        let intervals = intervals.get_mut(..count.checked_sub(1)?)?;
        let median = median(intervals)?;
        let near = |interval: &f64| {
            [1.0, 2.0].iter().any(|times| (interval - times * median).abs() <= NEAR * median)
        };
        let near_share =
            intervals.iter().filter(|interval| near(interval)).count() as f64 / intervals.len() as f64;
        if near_share < NEAR_SHARE_MIN || median <= 0.0 {
            return None;
        }
        Some(Pace {
            interval_s: median,
            dispersion: dispersion(intervals, median),
            size_dispersion: {
                let octets = octets.get_mut(..count)?;
                let middle = self::median(octets)?;
                dispersion(octets, middle)
            },
            visits: count,
            first_ns: *starts.first()?,
        })
    }
}

/// The middle value; sorts its argument.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Median absolute deviation as a part of the median.
fn dispersion(values: &mut [f64], median: f64) -> f64 {
    for value in values.iter_mut() {
        *value = (*value - median).abs();
    }
    self::median(values).map_or(0.0, |deviation| deviation / median.max(f64::MIN_POSITIVE))
}

fn server_name(record: &FlowRecord) -> Option<&str> {
    let metadata = record.metadata();
    if metadata.is_empty() {
        return None;
    }
    metadata.text(Field::TlsServerName).or_else(|| metadata.text(Field::HttpHost))
}

/// A Host header that holds an address instead of a name.
fn is_address(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok() || host.parse::<std::net::SocketAddr>().is_ok()
}

/// A request that a proxy passes on; its target is outside although the proxy is not.
fn is_proxied(record: &FlowRecord) -> bool {
    let metadata = record.metadata();
    !metadata.is_empty()
        && (metadata.text(Field::HttpMethod) == Some("CONNECT")
            || metadata.text(Field::HttpUri).is_some_and(|uri| uri.starts_with("http://")))
}

#[cfg(test)]
#[path = "beacon_tests.rs"]
mod tests;
