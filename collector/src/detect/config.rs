//! The `[detect]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is looked for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectConfig {
    /// Indicator lists: CSV with the columns type (ip, cidr, domain, ja3, ja4, cert_sha1), value, severity,
    /// source, note.
    pub indicators: Vec<String>,
}
