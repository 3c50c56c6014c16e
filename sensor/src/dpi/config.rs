//! The `[dpi]` section.

use super::overlap::{OverlapPolicy, OverlapRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How deep inspection looks.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DpiConfig {
    /// Recognise applications and read their metadata. Off: flows only.
    pub enabled: bool,
    /// Bytes of each direction looked at before a flow that no dissector is sure of stays unknown.
    pub probe_bytes_max: u32,
    /// Most bytes held for one direction of a TCP flow while segments are missing or a message is
    /// incomplete. At the limit the missing bytes are given up as a gap.
    pub stream_bytes_max: u32,
    /// Most bytes held for all TCP flows of one worker. At the limit, flows that want to hold more
    /// give up their gaps at once.
    pub streams_bytes_max: u64,
    /// A file of services by domain, one `domain  brand  category` a line, beside those that are known: each stands
    /// for what is below it too, and for the flows with such a name. Empty: no file.
    pub services: String,
    /// Most bytes of each direction of a TCP flow that are inspected; what lies beyond is metered only. 0: no
    /// limit; each file has its own (`dpi.files.bytes_max`).
    pub stream_depth_bytes: u64,
    /// Which copy of a byte counts where TCP segments overlap, for receivers that no rule of `overlap_policies`
    /// names: `first`, `last`, `bsd`, `linux` or `windows`.
    pub overlap_policy: OverlapPolicy,
    /// The same by the receiver's network; the first rule that names it counts.
    pub overlap_policies: Vec<OverlapRule>,
    /// Tell what is odd about TCP streams as EVE `anomaly` events of type `stream`, each kind once for a flow.
    pub stream_events: bool,
    /// Look into TCP connections whose beginning was not seen, and look for signatures in what they carry. Off: they are
    /// metered only, as with Suricata's `stream.midstream`.
    pub midstream: bool,
    /// Tell what was said over TCP, and what signatures found in it, when the other end has acknowledged it: what
    /// never arrived counts for nothing. Off: with the packet that brought it, as Suricata in inline mode.
    pub wait_for_acknowledgement: bool,
    /// Files that pass inside of applications.
    pub files: FileConfig,
    /// What EVE's events tell beyond the usual.
    pub eve: EveConfig,
}

/// What EVE's events tell beyond the usual: what Suricata's loggers tell when they are asked for it. Off, or none, unless
/// set, for it is long or secret.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EveConfig {
    /// Whose headers `http` events list (`request_headers`, `response_headers`): `none`, `request`, `response` or `both`;
    /// Suricata's `dump-all-headers`. Of HTTP/2 they are always told.
    pub http_headers: HttpHeaders,
    /// Tell the server's certificate in `tls` events, in Base64: `certificate`.
    pub tls_certificate: bool,
    /// Tell all certificates that the server showed in `tls` events: `chain`.
    pub tls_chain: bool,
    /// Tell the MD5 of a message's subject and body in `email`: `subject_md5`, `body_md5`.
    pub email_md5: bool,
    /// Tell passwords in `pgsql` events; otherwise that there was one.
    pub pgsql_passwords: bool,
}

/// Whose headers are told.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpHeaders {
    /// Nobody's.
    #[default]
    None,
    /// The client's.
    Request,
    /// The server's.
    Response,
    /// Both ends'.
    Both,
}

impl HttpHeaders {
    /// Whether those of responses, or of requests, are.
    pub(super) fn has(self, is_response: bool) -> bool {
        match self {
            HttpHeaders::None => false,
            HttpHeaders::Request => !is_response,
            HttpHeaders::Response => is_response,
            HttpHeaders::Both => true,
        }
    }
}

/// What is done with files that pass inside of applications (HTTP bodies, attachments, transfers).
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// Follow files: name, size, kind, hashes; each is an EVE `fileinfo` event.
    pub enabled: bool,
    /// Hashes computed of each file: any of `md5`, `sha1`, `sha256`.
    pub hashes: Vec<FileHash>,
    /// Bytes of a file that are looked at; of a longer one the rest passes unread, and its state is `TRUNCATED`.
    pub bytes_max: u64,
    /// Directory into which files are written, named by their SHA-256 as Suricata's file-store does
    /// (`ab/abcd...`). Empty: none are.
    pub extract_directory: String,
    /// Most MiB of files in that directory. At the limit files are no longer written, and counted.
    pub extract_budget_mib: u64,
}

/// A hash of a file.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileHash {
    /// MD5, RFC 1321.
    Md5,
    /// SHA-1, FIPS 180-4.
    Sha1,
    /// SHA-256, FIPS 180-4.
    Sha256,
}

impl Default for FileConfig {
    fn default() -> Self {
        FileConfig {
            enabled: true,
            hashes: vec![FileHash::Sha256],
            bytes_max: 8 << 20,
            extract_directory: String::new(),
            extract_budget_mib: 1024,
        }
    }
}

impl Default for DpiConfig {
    fn default() -> Self {
        DpiConfig {
            enabled: true,
            probe_bytes_max: 2048,
            stream_bytes_max: 256 << 10,
            streams_bytes_max: 128 << 20,
            services: String::new(),
            stream_depth_bytes: 0,
            overlap_policy: OverlapPolicy::Bsd,
            overlap_policies: Vec::new(),
            stream_events: false,
            midstream: true,
            wait_for_acknowledgement: true,
            files: FileConfig::default(),
            eve: EveConfig::default(),
        }
    }
}
