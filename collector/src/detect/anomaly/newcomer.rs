//! Newcomers: a host inside that answers on a port it never answered on, or talks with a peer it never
//! talked with.
//!
//! In: records of contacts that succeeded. Out: `new.service` and `new.peer`, once for each, after the host
//! was learned for `learning_h` of the records' time from its own first record on. Only what is stable can
//! have newcomers: ports that clients are given at random are no services, and a host with more than
//! `peers_max` peers or `services_max` services is left alone in that respect. What was learned survives a
//! restart as bytes ([`NewcomerDetector::restore`]); this file opens none.

use crate::bounded::Bounded;
use crate::detect::config::NewcomerConfig;
use crate::detect::home::Home;
use crate::detect::outcome::{Outcome, is_group};
use crate::detect::{Detector, Finding};
use crate::enrich::Enriched;
use sha2::{Digest, Sha256};
use std::time::Duration;
use weir_common::alert::Severity;
use weir_common::net::{Address, protocol};
use weir_common::record::FlowRecord;
use weir_common::time::Timestamp;

/// The file below the state directory that keeps what was learned.
pub const FILE_NAME: &str = "learned-hosts.bin";

const MAGIC: &[u8; 8] = b"WEIRNEWC";
/// Raised when the layout changes; another version's file is refused.
const VERSION: u16 = 1;
const CHECKSUM_BYTES: usize = 16;
/// First of the ports that systems give to clients at random (Linux; others begin higher).
const EPHEMERAL_PORTS: u16 = 32_768;
/// UDP ports above are a client's as often as a service's.
const UDP_SERVICE_PORTS: u16 = 1024;
/// Most entries that a list is allowed to hold, whatever the configuration says.
const LIST_MAX: usize = 256;

/// Finds new services and peers.
pub struct NewcomerDetector {
    home: Home,
    learning: Duration,
    peers_max: usize,
    services_max: usize,
    hosts: Bounded<Address, Host>,
}

/// What is usual for one host. A list that outgrew its limit is None.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    first: Timestamp,
    services: Option<Vec<u32>>,
    peers: Option<Vec<u128>>,
}

/// What a list says about an entry.
#[derive(Debug, PartialEq, Eq)]
enum Noted {
    Known,
    New,
    Unstable,
}

impl NewcomerDetector {
    /// A detector that has learned nothing yet, for the owner of these networks.
    pub fn new(config: &NewcomerConfig, home: Home) -> NewcomerDetector {
        NewcomerDetector {
            home,
            learning: Duration::from_secs(config.learning_h.saturating_mul(3600)),
            peers_max: (config.peers_max as usize).min(LIST_MAX),
            services_max: (config.services_max as usize).min(LIST_MAX),
            hosts: Bounded::new(config.hosts_max as usize),
        }
    }

    /// How many hosts are known.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    fn service(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        let key = &record.record.key;
        let at = record.record.start;
        let service = u32::from(key.protocol) << 16 | u32::from(key.responder_port);
        let (host, _) = self.hosts.entry(key.responder, || Host::begin(at));
        let (noted, first) = (note(&mut host.services, service, self.services_max), host.first);
        if noted != Noted::New || at.since(first) < self.learning {
            return;
        }
        let known = host.services.as_ref().map_or(0, Vec::len).saturating_sub(1);
        let what = format!("{} port {}", protocol::name(key.protocol), key.responder_port);
        let reason = format!(
            "{} answered {} on {what}, where it never answered since {}; {known} services of it are known.",
            key.responder,
            key.initiator,
            date(first)
        );
        let mut found = Finding::about(record, "new.service", Severity::Medium, 0.6);
        (found.actor, found.target) = (Some(key.responder), Some(key.initiator));
        findings.push(found.because(reason).technique(&["T1571"]).subject(what));
    }

    fn peer(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        let key = &record.record.key;
        let at = record.record.start;
        let peer = self.peer_group(&key.responder);
        let (host, _) = self.hosts.entry(key.initiator, || Host::begin(at));
        let (noted, first) = (note(&mut host.peers, peer, self.peers_max), host.first);
        if noted != Noted::New || at.since(first) < self.learning {
            return;
        }
        let known = host.peers.as_ref().map_or(0, Vec::len).saturating_sub(1);
        let reason = format!(
            "{} talked with {} on {} port {}, which it never did since {}; {known} peers of it are known.",
            key.initiator,
            key.responder,
            protocol::name(key.protocol),
            key.responder_port,
            date(first)
        );
        let found = Finding::about(record, "new.peer", Severity::Low, 0.5);
        findings.push(found.because(reason).technique(&["T1071"]));
    }

    /// Hosts inside stand for themselves; outside, services move within their network (/24, /48).
    fn peer_group(&self, address: &Address) -> u128 {
        let number = u128::from_be_bytes(address.0);
        let kept = if self.home.contains(address) {
            128
        } else if address.is_v4() {
            96 + 24
        } else {
            48
        };
        number & (u128::MAX << (128 - kept))
    }

    /// What was learned, as bytes: magic, version, hosts from the least recently seen on, checksum.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&(self.hosts.len() as u32).to_be_bytes());
        for (address, host) in self.hosts.iter_by_age() {
            out.extend_from_slice(&address.0);
            out.extend_from_slice(&host.first.0.to_be_bytes());
            put_list(&mut out, host.services.as_deref(), |service| service.to_be_bytes());
            put_list(&mut out, host.peers.as_deref(), |peer| peer.to_be_bytes());
        }
        let checksum = Sha256::digest(&out);
        out.extend_from_slice(&checksum[..CHECKSUM_BYTES]);
        out
    }

    /// Takes over what was learned before. The error says what is wrong with the bytes; then nothing is
    /// taken over.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let body = bytes.len().checked_sub(CHECKSUM_BYTES).and_then(|end| bytes.split_at_checked(end));
        let (body, checksum) = body.ok_or_else(|| format!("holds {} bytes, too few", bytes.len()))?;
        let mut rest = body.strip_prefix(MAGIC).ok_or("is not a file of learned hosts")?;
        let version = u16::from_be_bytes(take(&mut rest).ok_or("ends within its head")?);
        if version != VERSION {
            return Err(format!("has version {version}: expected {VERSION}"));
        }
        if Sha256::digest(body)[..CHECKSUM_BYTES] != *checksum {
            return Err("is damaged, its checksum differs".into());
        }
        let count = u32::from_be_bytes(take(&mut rest).ok_or("ends within its head")?);
        let mut hosts = Vec::new();
        for _ in 0..count {
            hosts.push(take_host(&mut rest).ok_or("ends within a host")?);
        }
        for (address, host) in hosts {
            self.hosts.insert(address, host);
        }
        Ok(())
    }
}

impl Detector for NewcomerDetector {
    fn name(&self) -> &'static str {
        "newcomer"
    }

    fn forgotten(&self) -> u64 {
        self.hosts.evicted()
    }

    fn inspect(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        let flow = record.record;
        if record.legitimate.is_some()
            || is_group(&flow.key.responder)
            || Outcome::of(flow) != Outcome::Success
        {
            return;
        }
        if is_service(flow) && self.home.contains(&flow.key.responder) {
            self.service(record, findings);
        }
        if self.home.contains(&flow.key.initiator) {
            self.peer(record, findings);
        }
    }

    fn learned(&self) -> Option<(&'static str, Vec<u8>)> {
        Some((FILE_NAME, self.to_bytes()))
    }
}

impl Host {
    fn begin(at: Timestamp) -> Host {
        Host { first: at, services: Some(Vec::new()), peers: Some(Vec::new()) }
    }
}

fn note<T: PartialEq>(list: &mut Option<Vec<T>>, entry: T, limit: usize) -> Noted {
    let Some(known) = list else { return Noted::Unstable };
    if known.contains(&entry) {
        return Noted::Known;
    }
    if known.len() >= limit {
        *list = None;
        return Noted::Unstable;
    }
    known.push(entry);
    Noted::New
}

fn is_service(record: &FlowRecord) -> bool {
    match record.key.protocol {
        protocol::TCP => record.key.responder_port < EPHEMERAL_PORTS,
        protocol::UDP => record.key.responder_port < UDP_SERVICE_PORTS,
        _ => false,
    }
}

fn date(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

/// A list as its length and entries; one that outgrew its limit has the length 65,535.
fn put_list<T: Copy, const N: usize>(out: &mut Vec<u8>, list: Option<&[T]>, bytes: impl Fn(T) -> [u8; N]) {
    match list {
        None => out.extend_from_slice(&u16::MAX.to_be_bytes()),
        Some(list) => {
            let kept = &list[..list.len().min(LIST_MAX)];
            out.extend_from_slice(&(kept.len() as u16).to_be_bytes());
            for entry in kept {
                out.extend_from_slice(&bytes(*entry));
            }
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_list<T, const N: usize>(rest: &mut &[u8], value: impl Fn([u8; N]) -> T) -> Option<Option<Vec<T>>> {
    let count = u16::from_be_bytes(take(rest)?);
    if count == u16::MAX {
        return Some(None);
    }
    let entries: Option<Vec<T>> = (0..count).map(|_| take(rest).map(&value)).collect();
    Some(Some(entries?))
}

fn take_host(rest: &mut &[u8]) -> Option<(Address, Host)> {
    let address = Address(take(rest)?);
    let first = Timestamp(u64::from_be_bytes(take(rest)?));
    let services = take_list(rest, u32::from_be_bytes)?;
    let peers = take_list(rest, u128::from_be_bytes)?;
    Some((address, Host { first, services, peers }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{line, run};
    use weir_common::testing::RecordBuilder;

    const WEEK_S: f64 = 7.0 * 86_400.0;

    fn detector() -> NewcomerDetector {
        NewcomerDetector::new(&NewcomerConfig::default(), Home::new(&[]).unwrap())
    }

    fn at(second: f64, from: &str, to: &str) -> FlowRecord {
        RecordBuilder::tcp(from, to).after(second).build()
    }

    #[test]
    fn a_service_after_the_week_of_learning_is_new_and_within_it_is_not() {
        let asks = |second, port| at(second, "192.0.2.1:40000", &format!("10.0.0.6:{port}"));
        let found = run(
            &mut detector(),
            [
                asks(0.0, 443),
                asks(WEEK_S - 1.0, 22),
                asks(WEEK_S, 22),
                asks(WEEK_S, 8080),
                asks(WEEK_S + 9.0, 8080),
            ],
        );
        assert_eq!(
            found.iter().map(line).collect::<Vec<_>>(),
            [
                "new.service 10.0.0.6 -> 192.0.2.1 medium 0.60: 10.0.0.6 answered 192.0.2.1 on TCP port 8080, where it never answered since 2026-11-20; 2 services of it are known."
            ]
        );
    }

    #[test]
    fn a_peer_after_the_week_is_new_unless_it_is_a_neighbour_of_a_known_one() {
        let calls = |second, peer: &str| at(second, "10.0.0.5:40000", &format!("{peer}:443"));
        let found = run(
            &mut detector(),
            [
                calls(0.0, "192.0.2.1"),
                calls(WEEK_S, "192.0.2.200"),
                calls(WEEK_S, "198.51.100.7"),
                calls(WEEK_S, "198.51.100.8"),
            ],
        );
        assert_eq!(
            found.iter().map(line).collect::<Vec<_>>(),
            [
                "new.peer 10.0.0.5 -> 198.51.100.7 low 0.50: 10.0.0.5 talked with 198.51.100.7 on TCP port 443, which it never did since 2026-11-20; 1 peers of it are known."
            ]
        );
    }

    #[test]
    fn hosts_with_many_peers_or_services_are_left_alone() {
        let calls = |count: u32| {
            (0..count).map(|n| at(0.0, "10.0.0.5:40000", &format!("198.51.{n}.1:443"))).chain([at(
                WEEK_S,
                "10.0.0.5:40000",
                "192.0.2.1:443",
            )])
        };
        assert_eq!(run(&mut detector(), calls(15)).len(), 1);
        assert_eq!(run(&mut detector(), calls(16)), []);
        let offers = (0..70).map(|port| at(0.0, "192.0.2.1:40000", &format!("10.0.0.6:{}", 2000 + port)));
        assert_eq!(run(&mut detector(), offers.chain([at(WEEK_S, "192.0.2.1:40000", "10.0.0.6:9000")])), []);
    }

    #[test]
    fn only_what_answered_on_a_port_of_services_inside_counts() {
        let learned = at(0.0, "192.0.2.1:40000", "10.0.0.6:443");
        for record in [
            at(WEEK_S, "192.0.2.1:40000", "10.0.0.6:32768"),
            RecordBuilder::tcp("192.0.2.1:40000", "10.0.0.6:22").refused().after(WEEK_S).build(),
            RecordBuilder::udp("192.0.2.1:40000", "10.0.0.6:1024").after(WEEK_S).build(),
            at(WEEK_S, "192.0.2.1:40000", "198.51.100.7:22"),
        ] {
            assert_eq!(run(&mut detector(), [learned.clone(), record]), []);
        }
    }

    #[test]
    fn what_was_learned_survives_a_restart() {
        let mut before = detector();
        run(&mut before, [at(0.0, "10.0.0.5:40000", "10.0.0.6:443")]);
        run(&mut before, (0..20u8).map(|n| at(0.0, "10.0.0.7:40000", &format!("10.0.1.{n}:443"))));
        let (name, bytes) = before.learned().unwrap();
        assert_eq!(name, FILE_NAME);
        let mut after = detector();
        after.restore(&bytes).unwrap();
        assert_eq!(after.to_bytes(), bytes);
        assert_eq!(after.hosts(), before.hosts());
        let late = |to: &str| at(WEEK_S, "10.0.0.5:40000", to);
        assert_eq!(
            run(&mut after, [late("10.0.0.6:443"), late("10.0.0.6:22"), late("10.0.0.9:22")]).len(),
            2
        );
        assert_eq!(run(&mut after, [at(WEEK_S, "10.0.0.7:40000", "10.0.9.9:443")]).len(), 0);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_of_the_file_is_refused() {
        let mut detector_before = detector();
        run(&mut detector_before, [at(0.0, "10.0.0.5:40000", "10.0.0.6:443")]);
        let bytes = detector_before.to_bytes();
        for end in 0..bytes.len() {
            assert!(detector().restore(&bytes[..end]).is_err(), "{end}");
        }
        for place in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[place] ^= 0x10;
            assert!(detector().restore(&wrong).is_err(), "{place}");
        }
    }

    #[test]
    fn many_hosts_take_bounded_memory() {
        let mut detector = NewcomerDetector::new(
            &NewcomerConfig { hosts_max: 100, ..NewcomerConfig::default() },
            Home::new(&[]).unwrap(),
        );
        run(
            &mut detector,
            (0..20_000u32).map(|n| {
                at(0.0, &format!("{}:40000", std::net::Ipv4Addr::from(0x0a00_0001 + n)), "192.0.2.1:443")
            }),
        );
        assert_eq!(detector.hosts(), 100);
    }
}
