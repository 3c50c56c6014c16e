//! The `[triage]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an incident means to whom.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TriageConfig {
    /// Least confidence that becomes an alert, 0 to 1. Incidents below it are counted and not told.
    pub confidence_min: f64,
    /// Kinds that become no alert, with everything below them: `new` stands for `new.service` and `new.peer`.
    pub kinds_muted: Vec<String>,
}
