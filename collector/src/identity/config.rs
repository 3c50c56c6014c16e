//! The `[identity]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The collector's own certificate authority, and how sensors are enrolled.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Directory of the authority's key, its certificate and the list of enrolled sensors; empty: `identity` in the
    /// state directory. Whoever reads the key can make certificates.
    pub directory: String,
    /// Where sensors reach this collector's control connection, as `HOST:PORT`; tokens carry it. Empty: this
    /// machine's address and port 4741. `enroll --address` replaces it.
    pub addresses: Vec<String>,
    /// Names and addresses that exporters other than Weir's sensors reach this collector by, besides the machine's
    /// own name: what its server certificate is valid for.
    pub names: Vec<String>,
    /// Seconds for which a pairing token can be used.
    pub token_valid_s: u32,
    /// Days for which a sensor's certificate is valid; it is renewed when two thirds have passed.
    pub certificate_valid_days: u32,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        IdentityConfig {
            directory: String::new(),
            addresses: Vec::new(),
            names: Vec::new(),
            token_valid_s: 86_400,
            certificate_valid_days: 90,
        }
    }
}
