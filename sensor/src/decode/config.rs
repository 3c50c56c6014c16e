//! The `[decode]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is looked for in a frame.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodeConfig {
    /// Whose flows are measured where packets travel in tunnels: `inner`, those of the packets inside, with what
    /// carried them beside; or `outer`, those of the tunnel's own packets.
    pub tunnels: Tunnels,
    /// Whether the packets that carry others in tunnels are measured, too, as flows of their own beside those of what is
    /// inside: those over UDP and of IP in IP, as Suricata does. What is inside is counted twice then.
    pub outer_flows: bool,
    /// A packet that comes again within so many milliseconds, the same from its IP header on but for TTL and
    /// checksum, was copied by the SPAN port: it is counted, kept in the ring, and not measured. 0: all are measured.
    ///
    /// Retransmissions of hosts that give all packets the identification 0 look like copies; a few milliseconds
    /// lie below every host's retransmission timeout.
    pub duplicate_window_ms: u32,
    /// Whether what is wrong with a frame's headers, and ICMP of unknown types and codes, are told as EVE's `anomaly`
    /// events of type `decode`: one for each, however many there are.
    pub events: bool,
}

/// Whose flows are measured where packets travel in tunnels.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tunnels {
    /// Those of the packets inside.
    #[default]
    Inner,
    /// Those of the tunnel's own packets.
    Outer,
}
