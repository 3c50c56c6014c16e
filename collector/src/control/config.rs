//! The `[control]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The connection that paired sensors open: acknowledgements, evidence, rules, health.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    /// Address that sensors connect to, mutual TLS 1.3 only; empty: none. It is opened once a sensor was enrolled.
    pub listen: String,
    /// Directory of rules (`*.rules`) and the lists they name, in force on every paired sensor; it is looked at every
    /// few seconds. Empty: sensors keep their own.
    pub rules: String,
    /// Most sensors connected at once; further ones are refused and counted.
    pub sensors_max: u32,
    /// Most bytes of packets fetched from a sensor for one flow, in MiB; the answer ends there and says so.
    pub evidence_mib_max: u32,
    /// Most requests for packets that one sensor has at once; further ones are refused.
    pub evidence_requests_max: u32,
}

impl Default for ControlConfig {
    fn default() -> Self {
        ControlConfig {
            listen: "0.0.0.0:4741".into(),
            rules: String::new(),
            sensors_max: 256,
            evidence_mib_max: 1024,
            evidence_requests_max: 4,
        }
    }
}
