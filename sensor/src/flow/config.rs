//! The `[flow]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits and timeouts of the flow table.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowConfig {
    /// Most flows tracked by all workers together; the least recently seen is exported early, with end
    /// reason "lack of resources", to make room. Memory grows with the flows there are.
    pub flows_max: u32,
    /// A flow without packets for this long ends, in milliseconds.
    pub idle_timeout_ms: u64,
    /// A flow that is still going is exported and counted anew after this long, in milliseconds, with its
    /// next packet.
    pub active_timeout_ms: u64,
    /// A TCP flow that FIN or RST has closed is kept this long for stragglers, in milliseconds.
    pub closed_timeout_ms: u64,
    /// Most bytes of IP fragments held by one worker; the oldest datagram is given up to make room.
    pub fragment_bytes_max: u32,
    /// Fragments of a datagram that does not complete within this time are given up, in milliseconds.
    pub fragment_timeout_ms: u64,
    /// Seed of the Community ID; must be the same on all tools that shall agree.
    pub community_id_seed: u16,
}

impl Default for FlowConfig {
    fn default() -> Self {
        FlowConfig {
            flows_max: 1 << 20,
            idle_timeout_ms: 60_000,
            active_timeout_ms: 300_000,
            closed_timeout_ms: 5_000,
            fragment_bytes_max: 8 << 20,
            fragment_timeout_ms: 30_000,
            community_id_seed: 0,
        }
    }
}
