//! The `[ingest]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where records come in.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// Addresses that take IPFIX over TCP. Exporters are admitted from loopback only unless the
    /// address is opened here.
    pub ipfix_tcp: Vec<String>,
    /// Addresses that take IPFIX over UDP.
    pub ipfix_udp: Vec<String>,
    /// Receive buffer asked of the kernel for each UDP socket, in KiB. When it is full the kernel drops
    /// datagrams; they show as sequence gaps.
    pub udp_buffer_kib: u32,
    /// Most batches waiting for the detection worker. At the limit TCP exporters wait and UDP datagrams
    /// are dropped and counted.
    pub queue_batches_max: u32,
    /// Most TCP sessions at once; a further one is refused and counted.
    pub sessions_max: u32,
    /// Most templates kept per session; at the limit a further one is refused and counted.
    pub templates_max: u32,
}

impl Default for IngestConfig {
    fn default() -> Self {
        IngestConfig {
            ipfix_tcp: vec!["127.0.0.1:4739".into()],
            ipfix_udp: vec!["127.0.0.1:4739".into()],
            udp_buffer_kib: 8192,
            queue_batches_max: 1024,
            sessions_max: 1024,
            templates_max: 4096,
        }
    }
}
