//! Scans: sources whose first contacts fail more often than those of a host with business here.
//!
//! In: records of TCP, UDP and ICMP echo. Out: `scan.horizontal`, one source against many hosts on one
//! service, and `scan.vertical`, one source against many ports of one host; one finding when the test
//! decides and one at each doubling of the contacts after.
//!
//! The test is the Threshold Random Walk of Jung, Paxson, Berger and Balakrishnan (IEEE S&P 2004). The
//! likelihood ratio of "scanner" to "benign" begins at 1 and is multiplied by (1-θ1)/(1-θ0) for each first
//! contact that failed and by θ1/θ0 for each that succeeded. At η1 = β/α the source is a scanner; at
//! η0 = (1-β)/(1-α) it is benign and its walk begins again. Three things differ from the paper. The walk
//! is kept per service and per target host rather than per source, because peer-to-peer programs fail
//! often as well, but on ever different ports. A walk begins at the first failure, so that sources without
//! one cost nothing: before it the walk could only have begun again. And it takes `hosts_min` or
//! `ports_min` contacts before a person is told. A source that sweeps without one failure is not found.

use crate::bounded::Bounded;
use crate::detect::config::ScanConfig;
use crate::detect::home::Home;
use crate::detect::outcome::{Outcome, is_group};
use crate::detect::{Detector, Finding};
use crate::enrich::Enriched;
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;
use weir_common::alert::Severity;
use weir_common::net::{Address, protocol};
use weir_common::time::Timestamp;

/// Finds scans.
pub struct ScanDetector {
    test: Test,
    hosts_min: u32,
    ports_min: u32,
    home: Home,
    hasher: RandomState,
    horizontal: Walks<(Address, u32)>,
    vertical: Walks<(Address, Address, u32)>,
}

impl ScanDetector {
    /// A detector for the owner of these networks. The error is what is wrong with the parameters.
    pub fn new(config: &ScanConfig, home: Home) -> Result<ScanDetector, String> {
        Ok(ScanDetector {
            test: Test::new(config)?,
            hosts_min: config.hosts_min,
            ports_min: config.ports_min,
            home,
            hasher: RandomState::default(),
            horizontal: Walks::new(config),
            vertical: Walks::new(config),
        })
    }

    /// A host inside that scans is trouble of the owner's; the Internet scans everyone all the time.
    fn severity(&self, source: &Address) -> Severity {
        if self.home.contains(source) { Severity::High } else { Severity::Low }
    }
}

impl Detector for ScanDetector {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn forgotten(&self) -> u64 {
        self.horizontal.walks.evicted() + self.vertical.walks.evicted()
    }

    fn inspect(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        let key = &record.record.key;
        if record.legitimate.is_some() || is_group(&key.responder) {
            return;
        }
        let failed = match Outcome::of(record.record) {
            Outcome::Success => false,
            Outcome::Failure => true,
            Outcome::Unknown => return,
        };
        let start = record.record.start;
        let echo = matches!(key.protocol, protocol::ICMP | protocol::ICMPV6);
        let service = u32::from(key.protocol) << 16 | u32::from(key.responder_port);
        let host = short_hash(&self.hasher, &key.responder);
        let walk_key = (key.initiator, service);
        if let Some(decided) = self.horizontal.step(walk_key, host, failed, start, &self.test, self.hosts_min)
        {
            let on = if echo {
                "ICMP echo".to_owned()
            } else {
                format!("{} port {}", protocol::name(key.protocol), key.responder_port)
            };
            let reason = format!(
                "{} contacted {} hosts on {on} for the first time and {} did not answer or refused ({:.0} %): at least {:.0} times likelier of a scanner.",
                key.initiator,
                decided.contacts,
                decided.failed,
                decided.share() * 100.0,
                self.test.odds
            );
            let found = Finding::about(
                record,
                "scan.horizontal",
                self.severity(&key.initiator),
                decided.confidence(),
            );
            let technique = if self.home.contains(&key.initiator) { "T1046" } else { "T1595.001" };
            let found = found.because(reason).technique(&[technique]);
            findings.push(found.counting(decided.contacts.into(), decided.contacts.into(), decided.since));
        }
        if echo {
            return;
        }
        let port = short_hash(&self.hasher, &key.responder_port);
        let walk_key = (key.initiator, key.responder, key.protocol.into());
        if let Some(decided) = self.vertical.step(walk_key, port, failed, start, &self.test, self.ports_min) {
            let reason = format!(
                "{} tried {} {} ports of {} and {} were closed or silent ({:.0} %): at least {:.0} times likelier of a scanner.",
                key.initiator,
                decided.contacts,
                protocol::name(key.protocol),
                key.responder,
                decided.failed,
                decided.share() * 100.0,
                self.test.odds
            );
            let found =
                Finding::about(record, "scan.vertical", self.severity(&key.initiator), decided.confidence());
            let technique = if self.home.contains(&key.initiator) { "T1046" } else { "T1595.001" };
            let found = found.because(reason).technique(&[technique]);
            findings.push(found.counting(1, decided.contacts.into(), decided.since));
        }
    }
}

/// The test's steps and borders, as logarithms.
struct Test {
    on_success: f32,
    on_failure: f32,
    benign: f32,
    scanner: f32,
    odds: f64,
}

impl Test {
    fn new(config: &ScanConfig) -> Result<Test, String> {
        let ScanConfig {
            benign_success: t0, scanner_success: t1, false_alarm: alpha, detection: beta, ..
        } = *config;
        let probability = |value: f64| value > 0.0 && value < 1.0;
        if ![t0, t1, alpha, beta].into_iter().all(probability) || t0 <= t1 || beta <= alpha {
            return Err(format!(
                "benign_success {t0}, scanner_success {t1}, false_alarm {alpha}, detection {beta}: expected values between 0 and 1, with benign_success above scanner_success and detection above false_alarm"
            ));
        }
        Ok(Test {
            on_success: (t1 / t0).ln() as f32,
            on_failure: ((1.0 - t1) / (1.0 - t0)).ln() as f32,
            benign: ((1.0 - beta) / (1.0 - alpha)).ln() as f32,
            scanner: (beta / alpha).ln() as f32,
            odds: beta / alpha,
        })
    }
}

/// What a walk that reached the scanner's border counted.
struct Decided {
    contacts: u32,
    failed: u32,
    since: Timestamp,
}

impl Decided {
    fn share(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.contacts.max(1))
    }

    /// The share that failed, discounted while there are few contacts: 8 of 8 give 0.67, 40 of 40 0.91.
    fn confidence(&self) -> f64 {
        let contacts = f64::from(self.contacts);
        (self.share() * contacts / (contacts + 4.0)).clamp(0.05, 0.99)
    }
}

struct Walk {
    /// Logarithm of the likelihood ratio.
    ratio: f32,
    contacts: u32,
    failed: u32,
    /// Contacts at the last finding; 0 before the first.
    reported: u32,
    since: Timestamp,
    last: Timestamp,
    seen: Contacts,
}

struct Walks<K> {
    walks: Bounded<K, Walk>,
    window: Duration,
    slots: usize,
    slots_max: usize,
}

impl<K: Hash + Eq + Copy> Walks<K> {
    fn new(config: &ScanConfig) -> Walks<K> {
        Walks {
            walks: Bounded::new(config.walks_max as usize),
            window: Duration::from_secs(config.window_s),
            slots: 0,
            slots_max: config.contacts_max as usize / 2,
        }
    }

    /// One contact; Some when there is something to tell.
    fn step(
        &mut self,
        key: K,
        contact: u32,
        failed: bool,
        at: Timestamp,
        test: &Test,
        contacts_min: u32,
    ) -> Option<Decided> {
        if !failed {
            // Successes alone begin no walk.
            self.walks.peek(&key)?;
        }
        let (walk, left) = self.walks.entry(key, || Walk::begin(at));
        self.slots -= left.map_or(0, |(_, walk)| walk.seen.slots());
        if at.since(walk.last) > self.window {
            self.slots -= walk.seen.slots();
            *walk = Walk::begin(at);
        }
        walk.last = walk.last.max(at);
        walk.since = walk.since.min(at);
        let before = walk.seen.slots();
        let new = walk.seen.insert(contact);
        self.slots += walk.seen.slots() - before;
        let decided = if new { walk.advance(failed, test, contacts_min) } else { None };
        while self.slots > self.slots_max && self.walks.len() > 1 {
            self.slots -= self.walks.pop_oldest().map_or(0, |(_, walk)| walk.seen.slots());
        }
        decided
    }
}

impl Walk {
    fn begin(at: Timestamp) -> Walk {
        Walk {
            ratio: 0.0,
            contacts: 0,
            failed: 0,
            reported: 0,
            since: at,
            last: at,
            seen: Contacts::default(),
        }
    }

    fn advance(&mut self, failed: bool, test: &Test, contacts_min: u32) -> Option<Decided> {
        self.contacts = self.contacts.saturating_add(1);
        self.failed = self.failed.saturating_add(failed.into());
        self.ratio += if failed { test.on_failure } else { test.on_success };
        if self.reported == 0 && self.ratio <= test.benign {
            (self.ratio, self.contacts, self.failed) = (0.0, 0, 0);
            return None;
        }
        let crossed = self.ratio >= test.scanner;
        // Evidence beyond the border is not saved up: a source has to go on failing.
        self.ratio = self.ratio.clamp(test.benign, test.scanner);
        let due = self.reported.saturating_mul(2).max(contacts_min);
        (crossed && self.contacts >= due).then(|| {
            self.reported = self.contacts;
            Decided { contacts: self.contacts, failed: self.failed, since: self.since }
        })
    }
}

/// Contacts already seen, as short hashes in buckets of eight; the set grows to its limit, after which
/// the one of a bucket that came first leaves. A contact that left counts as new when it comes again.
#[derive(Default)]
struct Contacts {
    table: Vec<u32>,
}

const BUCKET: usize = 8;
/// Most contacts remembered per walk; more are counted all the same.
const CONTACTS_PER_WALK_MAX: usize = 2048;

impl Contacts {
    fn slots(&self) -> usize {
        self.table.len()
    }

    /// Whether the contact is new. `hash` is not 0.
    fn insert(&mut self, hash: u32) -> bool {
        if self.table.is_empty() {
            self.table = vec![0; BUCKET];
        }
        loop {
            let bucket = self.bucket(hash);
            if bucket.contains(&hash) {
                return false;
            }
            if let Some(free) = bucket.iter_mut().find(|slot| **slot == 0) {
                *free = hash;
                return true;
            }
            if self.table.len() >= CONTACTS_PER_WALK_MAX {
                let bucket = self.bucket(hash);
                bucket.rotate_left(1);
                bucket[BUCKET - 1] = hash;
                return true;
            }
            self.grow();
        }
    }

    fn bucket(&mut self, hash: u32) -> &mut [u32] {
        let buckets = (self.table.len() / BUCKET).max(1);
        let from = hash as usize % buckets * BUCKET;
        &mut self.table[from..from + BUCKET]
    }

    fn grow(&mut self) {
        let larger = vec![0; self.table.len() * 2];
        for hash in std::mem::replace(&mut self.table, larger).into_iter().filter(|hash| *hash != 0) {
            // Twice the buckets hold what one held.
            if let Some(free) = self.bucket(hash).iter_mut().find(|slot| **slot == 0) {
                *free = hash;
            }
        }
    }
}

fn short_hash<T: Hash>(hasher: &RandomState, value: &T) -> u32 {
    ((hasher.hash_one(value) >> 32) as u32).max(1)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
