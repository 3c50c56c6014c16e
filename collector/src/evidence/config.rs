//! The `[evidence]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where packets are fetched.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceConfig {
    /// Sensors whose ring is on this machine: the sensor's name as its records say it, and the ring's
    /// directory. For other sensors `weir-collector evidence` prints the command to run there.
    pub local_sensors: BTreeMap<String, String>,
    /// The program that reads a ring: a path, or a name that is looked for beside this program, then in PATH.
    pub query_command: String,
    /// Longest one query may take, in seconds; it is ended then and said to be incomplete.
    pub query_timeout_s: u64,
}

impl Default for EvidenceConfig {
    fn default() -> Self {
        EvidenceConfig {
            local_sensors: BTreeMap::new(),
            query_command: "weir-sensor".into(),
            query_timeout_s: 300,
        }
    }
}
