//! The `[control]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The connection that paired sensors open: acknowledgements, evidence, rules, health.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    /// Address that sensors connect to, mutual TLS 1.3 only; empty: none. It is opened once a sensor was enrolled.
    pub listen: String,
    /// Directory of rules (`*.rules`) and the lists they name, in force on every paired sensor beside its own; it is
    /// looked at every few seconds. A directory without `*.rules` takes away, after ten seconds, what sensors had of it; one
    /// that is missing or cannot be read changes nothing. Empty: none, and without `indicators` sensors keep what they have.
    pub rules: String,
    /// Whether sensors look for the indicators of `detect.indicators` as well, by rules numbered 1990000 to 1999999 that
    /// are made anew when a list changes; false again takes them away.
    ///
    /// The collector finds indicators in records without it. Sensors tell them when a flow begins and not when it ends,
    /// into their EVE output too, and look at every name in it, also over QUIC. It is off because it costs every sensor
    /// memory (some 120 bytes an indicator) and time (0.2 to 0.4 us a packet), and gives a second alert beside the
    /// collector's own. Sensors do not know which hosts are resolvers, and alert for what these pass on as well.
    pub indicators: bool,
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
            indicators: false,
            sensors_max: 256,
            evidence_mib_max: 1024,
            evidence_requests_max: 4,
        }
    }
}
