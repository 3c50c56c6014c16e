//! The `[ingest]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where records come in.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// Addresses that take IPFIX over TCP, as `ADDRESS:PORT`; `0.0.0.0:4739` for every IPv4 address of
    /// the machine. Who may send is decided by `admit`.
    pub ipfix_tcp: Vec<String>,
    /// Addresses that take IPFIX over UDP.
    pub ipfix_udp: Vec<String>,
    /// Addresses that take IPFIX over TLS 1.3. They are opened when the first sensor is enrolled, or at once with
    /// `tls_client_ca`. The default is every address of the machine, because whoever has no certificate of this
    /// collector's authority (`weir-collector enroll`) or of `tls_client_ca` is refused before an octet of IPFIX is
    /// read; `[]`: none.
    pub ipfix_tls: Vec<String>,
    /// Files of further certificate authorities, in PEM: exporters with a certificate of one of them are admitted
    /// over TLS from any address.
    pub tls_client_ca: Vec<String>,
    /// Networks that exporters are admitted from, as CIDR, besides the machine itself. Others are refused
    /// and counted. IPFIX over TCP and UDP proves nothing about its sender: name only networks you trust.
    pub admit: Vec<String>,
    /// Receive buffer asked of the kernel for each UDP socket, in KiB. When it is full the kernel drops
    /// datagrams; they show as sequence gaps.
    pub udp_buffer_kib: u32,
    /// Most batches waiting for the detection worker, each of about a thousand records at most. At the
    /// limit TCP exporters wait and UDP datagrams stay in the kernel's buffer; what the kernel then drops
    /// shows as sequence gaps.
    pub queue_batches_max: u32,
    /// Most TCP and TLS sessions at once; a further one is refused and counted. For UDP, most exporting addresses
    /// remembered; a further one takes the place of the one that was silent longest.
    pub sessions_max: u32,
    /// Seconds after which a silent TCP or TLS session is closed. 0: never.
    pub session_idle_s: u32,
    /// Most templates kept per session; at the limit a further one is refused and counted.
    pub templates_max: u32,
    /// Private enterprise number that Weir's own elements have; the sensors' `export.enterprise_number`.
    pub enterprise_number: u32,
}

impl Default for IngestConfig {
    fn default() -> Self {
        IngestConfig {
            ipfix_tcp: vec!["127.0.0.1:4739".into()],
            ipfix_udp: vec!["127.0.0.1:4739".into()],
            ipfix_tls: vec!["0.0.0.0:4740".into()],
            tls_client_ca: Vec::new(),
            admit: Vec::new(),
            udp_buffer_kib: 8192,
            queue_batches_max: 256,
            sessions_max: 1024,
            session_idle_s: 3600,
            templates_max: 4096,
            enterprise_number: weir_common::metadata::WEIR_PEN,
        }
    }
}
