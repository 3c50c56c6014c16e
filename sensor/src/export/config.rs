//! The `[export]` section.

use super::distribution::Distribution;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Least octets of a UDP message: every template and description fits into it.
pub(super) const UDP_MESSAGE_BYTES_MIN: u16 = 512;

/// Certificates for `tls://` destinations that are not Weir's collector, which `weir-sensor pair` sets up.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// File of the authorities, in PEM, that may vouch for a collector; its certificate must be valid for the host of
    /// the destination's URL. Empty: `tls://` destinations are the collector that this sensor is paired with.
    pub ca: String,
    /// File of the certificate to show, in PEM, with those between it and its authority; empty: none is shown.
    pub certificate: String,
    /// File of the certificate's private key, in PEM. It is read before root is given up, and again for each
    /// connection where the sensor's user may.
    pub key: String,
}

/// Where flow records and events go.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportConfig {
    /// IPFIX collectors and files: `tls://HOST[:PORT]`, `tcp://HOST:PORT`, `udp://HOST:PORT`, `file:PATH`. `--export` adds to it. Parameters
    /// say what a collector can take, e.g. `udp://HOST:PORT?profile=plain`: IANA's elements only, a record for each
    /// direction, times in milliseconds and TCP flags of eight bits, which every collector knows. One by one they are
    /// `enterprise=no`, `lists=no` (RFC 6313), `biflow=no` (RFC 5103), `times=milliseconds` (or `seconds`,
    /// `microseconds`) and `tcp_flags=8`, joined by `&`.
    pub destinations: Vec<String>,
    /// Whether each collector gets every record (`all`) or they share them (`balanced`): a flow goes to one of them, to
    /// another only while that one cannot be reached. Files get everything.
    pub distribution: Distribution,
    /// Certificates for collectors other than Weir's.
    pub tls: TlsConfig,
    /// EVE JSON file; empty: none. `-` is standard output. `--eve` replaces it.
    pub eve: String,
    /// Whether EVE's `flow` events tell link-layer addresses, as member `ether`.
    pub eve_ethernet: bool,
    /// JSON lines of flow records; empty: none. `-` is standard output. `--records` replaces it.
    pub records: String,
    /// IPFIX observation domain.
    pub observation_domain: u32,
    /// Private enterprise number of Weir's own elements. The default is reserved for documentation (RFC 5612).
    pub enterprise_number: u32,
    /// Most octets of an IPFIX message over UDP, at least 512; fewer where the kernel knows that the path's MTU is
    /// smaller. A record that is longer is sent with shorter texts, and counted.
    pub udp_message_bytes_max: u16,
    /// Most octets of IPFIX messages a second to one UDP collector, so that a burst does not overflow its receive
    /// buffer; what waits counts to `backlog_bytes_max`. 0: no limit.
    pub udp_bytes_per_second_max: u64,
    /// Seconds between templates over UDP.
    pub udp_template_refresh_s: u32,
    /// Seconds between records of the metering and exporting statistics, and EVE `stats`.
    pub statistics_interval_s: u32,
    /// Most batches waiting for the export thread. At the limit live batches are dropped and counted,
    /// while a replay waits.
    pub queue_batches_max: u32,
    /// Most bytes of IPFIX kept in memory for a collector that cannot be reached, where there is no spool or it
    /// cannot be written; the oldest messages are dropped at the limit, and counted.
    pub backlog_bytes_max: u64,
    /// Directory of the spools of `run`: what is made for a collector over TCP or TLS stays there until it has arrived.
    /// A collector that is sent no enterprise elements has none, and what is made for it waits in memory.
    /// One that cannot be made or written is said, and messages are kept in memory instead.
    pub spool_directory: String,
    /// Most bytes of each destination's spool, at least 1 MiB; the oldest records are dropped at the limit, and counted.
    /// 0: no spool.
    pub spool_bytes_max: u64,
    /// When a record leaves the spool: `auto`: once the collector says that it has stored it, or, where the sensor is not
    /// paired with it and it has never said so, once its host's TCP has taken it; `always`: only the former; `never`:
    /// only the latter.
    pub acknowledge: Acknowledge,
}

/// Who says that a record has arrived.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// The collector, if the sensor is paired with it or it ever has; otherwise TCP.
    #[default]
    Auto,
    /// The collector.
    Always,
    /// TCP.
    Never,
}

impl ExportConfig {
    /// Whether a destination is the collector that the sensor is paired with.
    pub fn wants_identity(&self) -> bool {
        self.destinations.iter().any(|url| self.is_paired(url))
    }

    /// Whether this destination is.
    pub fn is_paired(&self, url: &str) -> bool {
        self.tls.ca.is_empty() && url.starts_with("tls://")
    }

    /// Whether anyone listens to application events, so that inspection need not write them otherwise.
    pub fn wants_events(&self) -> bool {
        !self.eve.is_empty()
    }
}

impl Default for ExportConfig {
    fn default() -> Self {
        ExportConfig {
            destinations: Vec::new(),
            tls: TlsConfig::default(),
            distribution: Distribution::All,
            eve: String::new(),
            eve_ethernet: true,
            records: String::new(),
            observation_domain: 1,
            enterprise_number: weir_common::metadata::WEIR_PEN,
            udp_message_bytes_max: 1400,
            udp_bytes_per_second_max: 12_500_000,
            udp_template_refresh_s: 60,
            statistics_interval_s: 10,
            queue_batches_max: 256,
            backlog_bytes_max: 64 << 20,
            spool_directory: "/var/lib/weir/spool".into(),
            spool_bytes_max: 1 << 30,
            acknowledge: Acknowledge::Auto,
        }
    }
}
