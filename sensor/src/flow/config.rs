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
    /// First packets of a flow (and of each of its slices) whose lengths, times, TCP flags and directions its record
    /// lists; 0: none. At most 512.
    pub splt_packets: u16,
    /// List packets without payload among them as well.
    pub splt_empty_packets: bool,
    /// Sizes of a flow's packets and times between them: minimum, maximum, and what mean and deviation follow from.
    pub statistics: bool,
    /// Octets of payload, of one packet of each direction, that its entropy is computed of: the first packet that has
    /// as many, or else the one with the most so far. 0: no entropy. At most 1024.
    pub entropy_bytes: u16,
    /// Most bytes held by all workers together for lists of first packets, statistics of flows of more than four
    /// packets, and counts of retransmissions. At the limit flows go without them, which is counted.
    pub features_bytes_max: u64,
    /// Tell flows between the same ends in different VLANs apart, as Suricata does. Off: a flow that is routed between
    /// VLANs, or seen before and behind a switch, is one.
    pub vlans_in_key: bool,
    /// Whether the end that serves the application, by its port, is the responder of a flow whose beginning was not
    /// seen. Otherwise the end that sent the first packet seen is the initiator of its record; what rules call the server
    /// is the end that serves all the same.
    pub responder_by_port: bool,
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
            splt_packets: 50,
            splt_empty_packets: false,
            statistics: true,
            entropy_bytes: 256,
            features_bytes_max: 256 << 20,
            vlans_in_key: false,
            responder_by_port: false,
            community_id_seed: 0,
        }
    }
}
