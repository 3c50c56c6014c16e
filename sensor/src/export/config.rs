//! The `[export]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where flow records and events go.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportConfig {
    /// IPFIX collectors and files: `tcp://HOST:PORT`, `udp://HOST:PORT`, `file:PATH`. `--export` adds to it.
    pub destinations: Vec<String>,
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
    /// Most octets of an IPFIX message over UDP, so that it fits the path's MTU; at least
    /// 512. A record that is longer is sent with shorter texts, and counted.
    pub udp_message_bytes_max: u16,
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
    /// One that cannot be made or written is said, and messages are kept in memory instead.
    pub spool_directory: String,
    /// Most bytes of each destination's spool, at least 1 MiB; the oldest records are dropped at the limit, and counted.
    /// 0: no spool.
    pub spool_bytes_max: u64,
    /// When a record leaves the spool: `auto`: once the collector says that it has stored it, or, as long as it has never
    /// said so, once its host's TCP has taken it; `always`: only the former; `never`: only the latter.
    pub acknowledge: Acknowledge,
}

/// Who says that a record has arrived.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// The collector, once it ever has; TCP before.
    #[default]
    Auto,
    /// The collector.
    Always,
    /// TCP.
    Never,
}

impl ExportConfig {
    /// Whether anyone listens to application events, so that inspection need not write them otherwise.
    pub fn wants_events(&self) -> bool {
        !self.eve.is_empty()
    }
}

impl Default for ExportConfig {
    fn default() -> Self {
        ExportConfig {
            destinations: Vec::new(),
            eve: String::new(),
            eve_ethernet: true,
            records: String::new(),
            observation_domain: 1,
            enterprise_number: weir_common::metadata::WEIR_PEN,
            udp_message_bytes_max: 1400,
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
