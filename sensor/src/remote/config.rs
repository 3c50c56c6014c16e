//! The `[control]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The connection to the collector that `weir-sensor pair` paired this sensor with: acknowledgements, evidence,
/// rules, health. It is opened by the sensor, once it is paired.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    /// Where the collector is, as HOST:PORT. Empty: where pairing found it.
    pub collector: String,
    /// Whether the collector may fetch packets from the ring. Everything it fetches is logged.
    pub evidence: bool,
    /// Most bytes of packets in one answer, in MiB, whatever the collector asks for.
    pub evidence_mib_max: u32,
    /// Longest that one answer is read for, in seconds; it says then up to when it is complete.
    pub evidence_seconds_max: u32,
    /// Directory of the rules that the collector sends, which are looked for beside those of `signatures.rules`.
    /// Empty: none are taken.
    pub rules_directory: String,
}

impl Default for ControlConfig {
    fn default() -> Self {
        ControlConfig {
            collector: String::new(),
            evidence: true,
            evidence_mib_max: 1024,
            evidence_seconds_max: 300,
            rules_directory: "/var/lib/weir-sensor/rules".into(),
        }
    }
}
