//! The `[identity]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The sensor's certificate, which `weir-sensor pair` obtains.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Directory of the sensor's key and certificate. It is handed over to `sandbox.user` when root is given up, so
    /// that the certificate can be renewed.
    pub directory: PathBuf,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        IdentityConfig { directory: "/var/lib/weir-sensor/identity".into() }
    }
}
