//! Export: flow records and events to IPFIX collectors, files, EVE JSON and record lines.
//!
//! In: [`Batch`]es from the workers. Out: bytes at each destination. Knows no packet.

pub mod config;

use crate::dpi::Event;
use weir_common::net::{CommunityId, FlowKey};
use weir_common::record::FlowRecord;

/// An application event with the flow it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowEvent {
    /// The flow's ends, initiator first.
    pub key: FlowKey,
    /// The flow's identifier, as its records carry it.
    pub flow_id: u64,
    /// The flow's Community ID.
    pub community_id: CommunityId,
    /// 802.1Q identifiers, outermost first.
    pub vlans: [u16; 2],
    /// Interface index.
    pub interface: u32,
    /// What happened.
    pub event: Event,
}

/// What a worker hands over at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// Ended and sliced flows.
    pub records: Vec<FlowRecord>,
    /// Application events, in order of time.
    pub events: Vec<FlowEvent>,
}
