//! The `[forward]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use weir_common::alert::Severity;

/// Where alerts go.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardConfig {
    /// Destinations, each a `[[forward.destinations]]` table with name, type and the type's own keys:
    ///
    /// - `type = "eve"` with `path`: Suricata-compatible EVE JSON, one line per alert, Weir's own alert below
    ///   `weir`. The file is reopened when it was rotated away.
    /// - `type = "json"` with `path`: alerts as they are, one line each.
    /// - `type = "syslog"` with `address` (host:port) and `transport` ("udp" or "tcp"): RFC 5424, over TCP with
    ///   octet counting (RFC 6587). Optional: `facility` (0 to 23, default 4, security), `hostname`,
    ///   `enterprise_number` of the structured data (default 32473).
    /// - `type = "webhook"` with `url`: POST of the alert as JSON, with `Idempotency-Key: ID-VERSION`. Optional:
    ///   `headers` (a table), `bearer_token_file`, `timeout_ms` (default 10000).
    ///
    /// Every destination also takes `routes` (pager, ticket, digest; none means all) and `severity_min`.
    pub destinations: Vec<DestinationConfig>,
    /// Most bytes each destination's outbox holds on disk. At the limit the oldest undelivered alerts are
    /// dropped, and counted.
    pub outbox_bytes_max: u64,
    /// Wait before the first retry of a delivery that failed, in milliseconds; it doubles each time.
    pub retry_min_ms: u64,
    /// Longest wait between retries, in milliseconds.
    pub retry_max_ms: u64,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        ForwardConfig {
            destinations: Vec::new(),
            outbox_bytes_max: 64 * 1024 * 1024,
            retry_min_ms: 1_000,
            retry_max_ms: 300_000,
        }
    }
}

/// One destination.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct DestinationConfig {
    /// Its name: letters, digits, `-` and `_`. The outbox directory is named so.
    pub name: String,
    /// Routes that go there; empty for all.
    #[serde(default)]
    pub routes: Vec<RouteName>,
    /// Least severity that goes there.
    #[serde(default = "low")]
    pub severity_min: Severity,
    /// What it is.
    #[serde(flatten)]
    pub kind: DestinationKind,
}

/// A route, as configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteName {
    /// A person, now.
    Pager,
    /// A person, in working hours.
    Ticket,
    /// The weekly reading.
    Digest,
}

/// What a destination is, with its own keys.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum DestinationKind {
    /// EVE JSON lines in a file.
    Eve {
        /// The file.
        path: String,
    },
    /// Alerts as JSON lines in a file.
    Json {
        /// The file.
        path: String,
    },
    /// RFC 5424.
    Syslog {
        /// Host and port.
        address: String,
        /// How it travels.
        transport: Transport,
        /// Facility number.
        #[serde(default = "security")]
        facility: u8,
        /// HOSTNAME of the messages; empty for this machine's.
        #[serde(default)]
        hostname: String,
        /// Private enterprise number in the structured data's name.
        #[serde(default = "documentation_number")]
        enterprise_number: u32,
    },
    /// HTTP POST.
    Webhook {
        /// Where to.
        url: String,
        /// Further headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// A file that holds the token of an `Authorization: Bearer` header; read at each delivery.
        #[serde(default)]
        bearer_token_file: String,
        /// Longest time one delivery may take.
        #[serde(default = "ten_seconds")]
        timeout_ms: u64,
    },
}

/// How syslog travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One datagram per message (RFC 5426); what is lost on the way is not known.
    Udp,
    /// A connection with octet counting (RFC 6587).
    Tcp,
}

fn low() -> Severity {
    Severity::Low
}

fn security() -> u8 {
    4
}

fn documentation_number() -> u32 {
    weir_common::metadata::WEIR_PEN
}

fn ten_seconds() -> u64 {
    10_000
}
