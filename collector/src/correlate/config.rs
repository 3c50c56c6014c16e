//! The `[correlate]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How findings fold into incidents.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrelateConfig {
    /// Findings of the same kind, actor and subject belong to one incident while no more than this lies
    /// between them, in seconds of the records' time. Also the grain of alert ids.
    pub window_s: u64,
    /// Longest an incident stays open, in seconds of the records' time; what goes on after opens another,
    /// so that nothing is told once and never again.
    pub age_max_s: u64,
    /// Most incidents open at once, up to 8 KB each; at the limit the one least recently added to is
    /// closed.
    pub incidents_max: u32,
}

impl Default for CorrelateConfig {
    fn default() -> Self {
        CorrelateConfig { window_s: 3600, age_max_s: 86_400, incidents_max: 20_000 }
    }
}
