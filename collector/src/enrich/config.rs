//! The `[enrich]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known about the network.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrichConfig {
    /// Asset inventory: CSV with the columns address (or CIDR), name, role, criticality. Empty: none.
    pub assets: String,
    /// Known and legitimate traffic: CSV with the columns source, destination, protocol, port, note,
    /// where `*` stands for any. Empty: none.
    pub legitimate: String,
    /// Networks that are the owner's, as CIDR. Empty: private and unique-local addresses.
    pub home_networks: Vec<String>,
}
