//! The `[detect]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_common::alert::Severity;

/// What is looked for.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectConfig {
    /// Indicator lists: CSV with the columns type (ip, cidr, domain, ja3, ja4, cert_sha1), value, severity,
    /// source, note. A domain matches itself and everything below it.
    pub indicators: Vec<String>,
    /// Most indicators kept from all lists together. Those past the limit are left out, and the list's
    /// check says so. An indicator takes about 200 bytes.
    pub indicators_max: u32,
    /// Files of rules, as TOML: `[[rule]]` tables with the keys of `conditions` below.
    pub rules: Vec<String>,
    /// Rules written here: each with id, name, severity, confidence, technique, condition and enabled.
    ///
    /// A condition is a text such as
    /// `app_proto == "ssh" and dst_port != 22 and bytes_toclient > 1_000_000 and not src_ip in 10.0.0.0/8`.
    pub conditions: Vec<RuleConfig>,
    #[allow(missing_docs)]
    pub scan: ScanConfig,
    #[allow(missing_docs)]
    pub login: LoginConfig,
    #[allow(missing_docs)]
    pub beacon: BeaconConfig,
    #[allow(missing_docs)]
    pub newcomer: NewcomerConfig,
}

impl Default for DetectConfig {
    fn default() -> Self {
        DetectConfig {
            indicators: Vec::new(),
            indicators_max: 1_000_000,
            rules: Vec::new(),
            conditions: Vec::new(),
            scan: ScanConfig::default(),
            login: LoginConfig::default(),
            beacon: BeaconConfig::default(),
            newcomer: NewcomerConfig::default(),
        }
    }
}

/// One rule: a condition over a single record, and what it means.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Identifies the rule in alerts; unique.
    pub id: String,
    /// What a match means, in a few words.
    pub name: String,
    /// How bad a match is: low, medium, high or critical.
    #[serde(default = "medium")]
    pub severity: Severity,
    /// How likely a match is to be true, 0 to 1.
    #[serde(default = "rule_confidence")]
    pub confidence: f64,
    /// ATT&CK technique identifiers.
    #[serde(default)]
    pub technique: Vec<String>,
    /// The condition.
    pub condition: String,
    /// Whether the rule is used.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn medium() -> Severity {
    Severity::Medium
}

fn rule_confidence() -> f64 {
    0.8
}

fn yes() -> bool {
    true
}

/// Scans, found by sequential hypothesis testing: the Threshold Random Walk of Jung, Paxson, Berger and
/// Balakrishnan, "Fast Portscan Detection Using Sequential Hypothesis Testing" (IEEE S&P 2004).
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScanConfig {
    /// Whether scans are looked for.
    pub enabled: bool,
    /// θ0: how often a benign host's first contact with another host succeeds.
    pub benign_success: f64,
    /// θ1: how often a scanner's does.
    pub scanner_success: f64,
    /// α: how often a benign host may be taken for a scanner.
    pub false_alarm: f64,
    /// β: how often a scanner shall be found.
    pub detection: f64,
    /// Fewest hosts contacted on one service before a source is reported. The test alone decides after four
    /// failures in a row, which a host whose servers moved reaches as well.
    pub hosts_min: u32,
    /// Fewest ports of one host contacted before a source is reported.
    pub ports_min: u32,
    /// A source that contacts nothing for this long starts afresh, in seconds. Scanners of the Internet
    /// probe one port in an hour: with 3,600 most of them stay unseen, and a day costs no more false alarms.
    pub window_s: u64,
    /// Most pairs of source and service, and as many of source and target, observed at once. Only those
    /// with a failed contact take a place; at the limit the one least recently seen is forgotten.
    pub walks_max: u32,
    /// Most contacts remembered over all sources, four bytes each; at the limit the source least recently
    /// seen is forgotten.
    pub contacts_max: u32,
}

impl Default for ScanConfig {
    fn default() -> Self {
        ScanConfig {
            enabled: true,
            benign_success: 0.8,
            scanner_success: 0.2,
            false_alarm: 0.01,
            detection: 0.99,
            hosts_min: 8,
            ports_min: 10,
            window_s: 86_400,
            walks_max: 65_536,
            contacts_max: 4_000_000,
        }
    }
}

/// Guessing of logins: many short sessions of a login service, from the shape of their flows.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoginConfig {
    /// Whether login guessing is looked for.
    pub enabled: bool,
    /// Short sessions from one host to another within the window that are reported as guessing. What works
    /// needs no ten sessions in five minutes, and a person who mistypes gives up before. A session holds up
    /// to six guesses, so that about sixty are seen at the latest.
    pub attempts_min: u32,
    /// The window, in seconds.
    pub window_s: u64,
    /// Hosts that one host tries within the window, with at least three short sessions each on average,
    /// that are reported as spraying.
    pub targets_min: u32,
    /// TCP ports of login services watched where the application is not recognised; SSH is watched on every
    /// port. The default is SSH, FTP, Telnet, RDP and VNC.
    pub ports: Vec<u16>,
    /// A session is short, a login that failed rather than one that was used, when neither side sent more
    /// octets than this. Measured with OpenSSH 9.2: one to six wrong passwords take 1,800 to 4,600 octets
    /// each way, depending on the key exchange; RSA host keys add up to 1,000.
    pub octets_max: u64,
    /// And when the server sent at least this many octets: less, and no login was tried, as when a monitor
    /// reads the banner. Counted for SSH only, whose key exchange alone takes more.
    pub octets_min: u64,
    /// And when it lasted no longer than this, in seconds.
    pub duration_max_s: u64,
    /// Most pairs of hosts observed at once; at the limit the one least recently seen is forgotten.
    pub pairs_max: u32,
}

impl Default for LoginConfig {
    fn default() -> Self {
        LoginConfig {
            enabled: true,
            attempts_min: 10,
            window_s: 300,
            targets_min: 8,
            ports: vec![22, 21, 23, 3389, 5900],
            octets_max: 6_000,
            octets_min: 1_500,
            duration_max_s: 60,
            pairs_max: 65_536,
        }
    }
}

/// Beacons: a host inside that calls the same outside service again and again at a steady pace.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BeaconConfig {
    /// Whether beacons are looked for.
    pub enabled: bool,
    /// Fewest visits before a pace is judged; at least 6.
    pub visits_min: u32,
    /// Most the pace may vary: median absolute deviation of the intervals divided by their median. A beacon
    /// that jitters its interval evenly by plus and minus 30 % has 0.15.
    pub dispersion_max: f64,
    /// Shortest interval that is a beacon's, in seconds; what is quicker is a transfer.
    pub interval_min_s: f64,
    /// Longest interval that is a beacon's, in seconds.
    pub interval_max_s: f64,
    /// Ports of services that are regular by nature: DNS, NTP and what keeps sessions alive.
    pub ports_ignored: Vec<u16>,
    /// A target that this many hosts inside visit steadily is a service of the house, not a beacon's master.
    pub sources_max: u32,
    /// Least confidence that is reported.
    pub confidence_min: f64,
    /// Whether targets inside are judged too. Inside, monitoring is regular and usual.
    pub inside_targets: bool,
    /// Most pairs of host and service observed at once, up to 500 bytes each; at the limit the one least
    /// recently visited is forgotten.
    pub pairs_max: u32,
}

impl Default for BeaconConfig {
    fn default() -> Self {
        BeaconConfig {
            enabled: true,
            visits_min: 12,
            dispersion_max: 0.15,
            interval_min_s: 1.0,
            interval_max_s: 7200.0,
            ports_ignored: vec![53, 123, 853, 5228],
            sources_max: 5,
            confidence_min: 0.6,
            inside_targets: false,
            pairs_max: 65_536,
        }
    }
}

/// New services and new peers of hosts inside, after a time of learning.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewcomerConfig {
    /// Whether newcomers are looked for.
    pub enabled: bool,
    /// How long a host is learned from its first record on before anything about it is new, in hours of
    /// the records' time.
    pub learning_h: u64,
    /// Most hosts known; at the limit the one least recently seen is forgotten and learned again later.
    pub hosts_max: u32,
    /// A host with more peers than this has no small circle that a new one could stand out from; its peers
    /// are no longer kept. At most 256.
    pub peers_max: u32,
    /// A host with more services than this offers changing ones; they are no longer kept. At most 256.
    pub services_max: u32,
}

impl Default for NewcomerConfig {
    fn default() -> Self {
        NewcomerConfig { enabled: true, learning_h: 168, hosts_max: 65_536, peers_max: 16, services_max: 64 }
    }
}
