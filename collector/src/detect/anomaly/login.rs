//! Guessing of logins, from the shape of flows: encryption hides the passwords, not the pattern.
//!
//! In: records of SSH, and of the ports of other login services. Out: `login.guessing`, many short
//! sessions from one host to another; the same with severity critical when a session follows that was used;
//! and `login.spraying`, short sessions from one host to many.
//!
//! A session in which a login failed is short and small and much like the one before it (Hofstede et al.,
//! "SSH Compromise Detection using NetFlow/IPFIX", CCR 2014). One that was used carries more, at least
//! one way. What a file copy, a shell or a configuration tool does over a login is larger than
//! `octets_max`; a monitor that only reads the banner stays below `octets_min`. A program that logs in by
//! key for a tiny command many times in minutes looks the same: declare it in `enrich.legitimate`.

use crate::bounded::Bounded;
use crate::detect::config::LoginConfig;
use crate::detect::home::Home;
use crate::detect::outcome::Outcome;
use crate::detect::{Detector, Finding};
use crate::enrich::Enriched;
use foldhash::fast::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;
use weir_common::alert::Severity;
use weir_common::app::App;
use weir_common::net::{Address, protocol};
use weir_common::record::{EndReason, FlowRecord};
use weir_common::time::Timestamp;

/// Highest sensible `attempts_min`; a higher one is taken as this.
const ATTEMPTS_MAX: usize = 256;
/// Fewest packets from the client of a session in which a login can have been tried.
const PACKETS_MIN: u64 = 4;
/// Targets of one source remembered for spraying, as a multiple of `targets_min`.
const TARGETS_KEPT: usize = 8;
/// Short sessions per target, on average, from which many targets are spraying rather than
/// administration: who administers logs in once, and it works.
const TRIES_PER_TARGET_MIN: u64 = 3;

/// Finds login guessing and spraying.
pub struct LoginDetector {
    config: LoginConfig,
    home: Home,
    window: Duration,
    hasher: RandomState,
    pairs: Bounded<(Address, Address, u32), Pair>,
    sources: Bounded<(Address, u32), Source>,
}

/// What one source does to one target's service.
struct Pair {
    /// Starts of the latest short sessions, at most as many as decide.
    latest: Vec<Timestamp>,
    next: usize,
    attempts: u64,
    reported: u64,
    since: Timestamp,
    last: Timestamp,
}

/// What one source does to a service of many.
#[derive(Default)]
struct Source {
    targets: Vec<Tried>,
    reported: usize,
}

#[derive(Clone, Copy)]
struct Tried {
    target: u64,
    tries: u64,
    last: Timestamp,
}

/// How a session looks.
enum Session {
    Short,
    Used,
    Other,
}

impl LoginDetector {
    /// A detector for the owner of these networks.
    pub fn new(config: &LoginConfig, home: Home) -> LoginDetector {
        LoginDetector {
            config: config.clone(),
            home,
            window: Duration::from_secs(config.window_s),
            hasher: RandomState::default(),
            pairs: Bounded::new(config.pairs_max as usize),
            sources: Bounded::new(config.pairs_max as usize),
        }
    }

    /// The service's name, where the record belongs to one that is watched.
    fn service(&self, record: &FlowRecord) -> Option<&'static str> {
        if record.app == App::Ssh {
            return Some("SSH");
        }
        let watched = record.app == App::Unknown
            && record.key.protocol == protocol::TCP
            && self.config.ports.contains(&record.key.responder_port);
        watched.then_some(match record.key.responder_port {
            21 => "FTP",
            22 => "SSH",
            23 => "Telnet",
            3389 => "RDP",
            5900 => "VNC",
            _ => "login",
        })
    }

    fn session(&self, record: &FlowRecord) -> Session {
        let (sent, back) = (record.forward.octets, record.reverse.octets);
        if Outcome::of(record) != Outcome::Success || record.forward.packets < PACKETS_MIN {
            return Session::Other;
        }
        if sent > self.config.octets_max || back > self.config.octets_max {
            return Session::Used;
        }
        let brief = record.end.since(record.start) <= Duration::from_secs(self.config.duration_max_s);
        let tried = record.app != App::Ssh || back >= self.config.octets_min;
        let whole = record.end_reason != EndReason::ActiveTimeout;
        if brief && tried && whole { Session::Short } else { Session::Other }
    }

    /// Short sessions that decide: twice as many where only the port says what the service is.
    fn attempts_min(&self, app: App) -> usize {
        let attempts = self.config.attempts_min.max(2) as usize;
        if app == App::Ssh { attempts.min(ATTEMPTS_MAX) } else { (attempts * 2).min(ATTEMPTS_MAX) }
    }

    fn severity(&self, source: &Address) -> Severity {
        if self.home.contains(source) { Severity::High } else { Severity::Medium }
    }

    fn guess(&mut self, record: &Enriched<'_>, service: &str, findings: &mut Vec<Finding>) {
        let (key, at) = (&record.record.key, record.record.start);
        let needed = self.attempts_min(record.record.app);
        let severity = self.severity(&key.initiator);
        let pair_key = (key.initiator, key.responder, key.responder_port.into());
        let (pair, _) = self.pairs.entry(pair_key, || Pair::begin(at));
        if at.since(pair.last) > self.window {
            *pair = Pair::begin(at);
        }
        if let Some((attempts, since)) = pair.attempt(at, needed, self.window) {
            let seconds = record.record.end.since(since).as_secs_f64();
            let reason = format!(
                "{} opened {attempts} short {service} sessions to {} port {} in {seconds:.0} s, none larger than {} octets one way.",
                key.initiator, key.responder, key.responder_port, self.config.octets_max
            );
            let confidence = if record.record.app == App::Ssh { 0.75 } else { 0.65 };
            let more = (attempts as f64 / needed as f64).log2() * 0.05;
            let found = Finding::about(record, "login.guessing", severity, (confidence + more).min(0.95));
            let found = found.because(reason).technique(&["T1110.001"]).subject(service);
            findings.push(found.counting(1, attempts, since));
        }
    }

    fn spray(&mut self, record: &Enriched<'_>, service: &str, findings: &mut Vec<Finding>) {
        let (key, at) = (&record.record.key, record.record.start);
        let severity = self.severity(&key.initiator);
        let targets_min = self.config.targets_min.clamp(2, 1024) as usize;
        let target = self.hasher.hash_one(key.responder);
        let (source, _) = self.sources.entry((key.initiator, key.responder_port.into()), Source::default);
        let Some((targets, tries)) = source.attempt(target, at, targets_min, self.window) else { return };
        let reason = format!(
            "{} opened {tries} short {service} sessions to {targets} hosts within {} s, {:.1} to each on average.",
            key.initiator,
            self.config.window_s,
            tries as f64 / targets as f64
        );
        let found = Finding::about(record, "login.spraying", severity, 0.75).because(reason);
        let found = found.technique(&["T1110.003"]).subject(service);
        findings.push(found.counting(targets as u64, tries, at.minus(self.window)));
    }

    /// A session that was used, from one that guessed just before: a guess was probably right.
    fn entered(&mut self, record: &Enriched<'_>, service: &str, findings: &mut Vec<Finding>) {
        let (key, at) = (&record.record.key, record.record.start);
        let pair_key = (key.initiator, key.responder, key.responder_port.into());
        let Some(pair) = self.pairs.get_mut(&pair_key) else { return };
        if pair.reported == 0 || at.since(pair.last) > self.window || at < pair.since {
            return;
        }
        let reason = format!(
            "After {} short {service} sessions to {} port {}, {} opened one that carried {} octets to it and {} back: a guess was probably right.",
            pair.attempts,
            key.responder,
            key.responder_port,
            key.initiator,
            record.record.forward.octets,
            record.record.reverse.octets
        );
        let found = Finding::about(record, "login.guessing", Severity::Critical, 0.8).because(reason);
        let found = found.technique(&["T1110.001", "T1078"]).subject(service);
        findings.push(found.counting(1, pair.attempts, pair.since));
    }
}

impl Detector for LoginDetector {
    fn name(&self) -> &'static str {
        "login"
    }

    fn forgotten(&self) -> u64 {
        self.pairs.evicted() + self.sources.evicted()
    }

    fn inspect(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        if record.legitimate.is_some() {
            return;
        }
        let Some(service) = self.service(record.record) else { return };
        match self.session(record.record) {
            Session::Short => {
                self.guess(record, service, findings);
                self.spray(record, service, findings);
            }
            Session::Used => self.entered(record, service, findings),
            Session::Other => {}
        }
    }
}

impl Pair {
    fn begin(at: Timestamp) -> Pair {
        Pair { latest: Vec::new(), next: 0, attempts: 0, reported: 0, since: at, last: at }
    }

    /// One short session; Some when the attempts shall be told.
    fn attempt(&mut self, at: Timestamp, needed: usize, window: Duration) -> Option<(u64, Timestamp)> {
        self.attempts = self.attempts.saturating_add(1);
        self.last = self.last.max(at);
        if self.latest.len() < needed {
            self.latest.push(at);
        } else if let Some(oldest) = self.latest.get_mut(self.next % needed) {
            *oldest = at;
            self.next = (self.next + 1) % needed;
        }
        if self.reported > 0 {
            self.since = self.since.min(at);
            let due = self.attempts >= self.reported.saturating_mul(2);
            return due.then(|| self.tell());
        }
        let first = self.latest.iter().min().copied()?;
        let dense = self.latest.len() >= needed && self.last.since(first) <= window;
        dense.then(|| {
            // Slower attempts before do not count: they were not what decided.
            (self.attempts, self.since) = (needed as u64, first);
            self.tell()
        })
    }

    fn tell(&mut self) -> (u64, Timestamp) {
        self.reported = self.attempts;
        (self.attempts, self.since)
    }
}

impl Source {
    /// One short session; Some with targets and tries when they shall be told.
    fn attempt(
        &mut self,
        target: u64,
        at: Timestamp,
        targets_min: usize,
        window: Duration,
    ) -> Option<(usize, u64)> {
        self.targets.retain(|tried| at.since(tried.last) <= window);
        match self.targets.iter_mut().find(|tried| tried.target == target) {
            Some(tried) => {
                tried.tries = tried.tries.saturating_add(1);
                tried.last = tried.last.max(at);
            }
            None => {
                if self.targets.len() >= targets_min * TARGETS_KEPT {
                    self.targets.remove(0);
                }
                self.targets.push(Tried { target, tries: 1, last: at });
            }
        }
        let targets = self.targets.len();
        if targets < targets_min {
            self.reported = 0;
        }
        let tries: u64 = self.targets.iter().map(|tried| tried.tries).sum();
        let due = targets >= targets_min.max(self.reported.saturating_mul(2));
        (due && tries >= targets as u64 * TRIES_PER_TARGET_MIN).then(|| {
            self.reported = targets;
            (targets, tries)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{line, run};
    use weir_common::testing::RecordBuilder;

    fn detector() -> LoginDetector {
        LoginDetector::new(&LoginConfig::default(), Home::new(&[]).unwrap())
    }

    fn short(target: &str, second: f64) -> RecordBuilder {
        let from = format!("10.0.0.5:{}", 30_000 + second as u32 % 30_000);
        RecordBuilder::tcp(&from, target)
            .app(App::Ssh)
            .packets(16, 15)
            .octets(2_600, 3_100)
            .after(second)
            .lasting(Duration::from_secs(3))
    }

    fn guesses(count: u32, every: f64) -> impl Iterator<Item = FlowRecord> {
        (0..count).map(move |attempt| short("10.0.0.6:22", f64::from(attempt) * every).build())
    }

    #[test]
    fn ten_short_sessions_in_five_minutes_are_guessing_and_nine_are_not() {
        assert_eq!(run(&mut detector(), guesses(9, 1.0)), []);
        let found = run(&mut detector(), guesses(10, 2.0));
        assert_eq!(
            found.iter().map(line).collect::<Vec<_>>(),
            [
                "login.guessing 10.0.0.5 -> 10.0.0.6 high 0.75: 10.0.0.5 opened 10 short SSH sessions to 10.0.0.6 port 22 in 21 s, none larger than 6000 octets one way."
            ]
        );
    }

    #[test]
    fn ten_sessions_over_more_than_the_window_are_not_guessing() {
        assert_eq!(run(&mut detector(), guesses(10, 300.0 / 9.0)).len(), 1);
        assert_eq!(run(&mut detector(), guesses(100, 300.0 / 9.0 + 0.1)), []);
    }

    #[test]
    fn guessing_that_goes_on_is_told_at_each_doubling() {
        let counts: Vec<u64> =
            run(&mut detector(), guesses(200, 1.0)).iter().map(|found| found.seen.events).collect();
        assert_eq!(counts, [10, 20, 40, 80, 160]);
    }

    #[test]
    fn a_used_session_after_guessing_is_critical() {
        let used = || short("10.0.0.6:22", 30.0).octets(9_000, 60_000).build();
        let found = run(&mut detector(), guesses(12, 2.0).chain([used()]));
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].severity, found[1].subject.as_str()), (Severity::Critical, "SSH"));
        assert!(found[1].reason.contains("After 12 short SSH sessions"), "{}", found[1].reason);
        assert_eq!(run(&mut detector(), guesses(5, 2.0).chain([used()])), []);
    }

    #[test]
    fn sessions_that_work_or_only_read_the_banner_are_not_guesses() {
        let sized = |sent, back| {
            (0..60).map(move |second| short("10.0.0.6:22", f64::from(second)).octets(sent, back).build())
        };
        assert_eq!(run(&mut detector(), sized(2_600, 6_000)).len(), 3);
        assert_eq!(run(&mut detector(), sized(2_600, 6_001)), []);
        assert_eq!(run(&mut detector(), sized(6_001, 3_000)), []);
        assert_eq!(run(&mut detector(), sized(500, 1_499)), []);
        let long = (0..60)
            .map(|second| short("10.0.0.6:22", f64::from(second)).lasting(Duration::from_secs(61)).build());
        assert_eq!(run(&mut detector(), long), []);
    }

    #[test]
    fn unrecognised_services_need_twice_as_many() {
        let telnet = |count| {
            (0..count).map(|second| short("10.0.0.6:23", f64::from(second)).app(App::Unknown).build())
        };
        assert_eq!(run(&mut detector(), telnet(19)), []);
        assert_eq!(run(&mut detector(), telnet(20))[0].subject, "Telnet");
        let web =
            (0..500).map(|second| short("10.0.0.6:443", f64::from(second) / 10.0).app(App::Tls).build());
        assert_eq!(run(&mut detector(), web), []);
    }

    #[test]
    fn three_tries_on_each_of_eight_hosts_are_spraying_and_two_are_not() {
        let tries = |each: u32, hosts: u32| {
            (0..each * hosts)
                .map(move |n| short(&format!("10.0.1.{}:22", n % hosts + 1), f64::from(n) * 5.0).build())
        };
        assert_eq!(run(&mut detector(), tries(2, 8)), []);
        assert_eq!(run(&mut detector(), tries(3, 7)), []);
        let found = run(&mut detector(), tries(3, 8));
        assert_eq!(
            found.iter().map(line).collect::<Vec<_>>(),
            [
                "login.spraying 10.0.0.5 -> 10.0.1.8 high 0.75: 10.0.0.5 opened 24 short SSH sessions to 8 hosts within 300 s, 3.0 to each on average."
            ]
        );
    }

    #[test]
    fn one_tool_logging_in_once_to_many_hosts_is_administration() {
        let once = (0..200).map(|host| short(&format!("10.0.1.{host}:22"), f64::from(host) / 10.0).build());
        assert_eq!(run(&mut detector(), once), []);
    }

    #[test]
    fn many_sources_take_bounded_memory() {
        let mut detector =
            LoginDetector::new(&LoginConfig { pairs_max: 100, ..LoginConfig::default() }, Home::nowhere());
        let many = (0..50_000u32).map(|source| {
            let from = format!("{}:1024", std::net::Ipv4Addr::from(source));
            RecordBuilder::tcp(&from, "10.0.0.6:22").app(App::Ssh).build()
        });
        assert_eq!(run(&mut detector, many), []);
        assert!(detector.pairs.len() <= 100 && detector.sources.len() <= 100);
    }
}
