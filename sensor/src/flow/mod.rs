//! Flow table: turns packets into flow records.
//!
//! In: a decoded [`Packet`] and its time. Out: its flow and direction; and flows that end, idle, have gone
//! on for the active timeout, or make room, each of which becomes a [`FlowRecord`]. A flow's two
//! directions are one flow; VLANs are not part of its key. Knows no application protocol: inspection attaches
//! its state to the flow. Never reads a clock, and never grows past its limit of flows.
//!
//! [`Packet`]: crate::decode::Packet
//! [`FlowRecord`]: weir_common::record::FlowRecord

pub mod config;
mod key;
mod live;
mod features;
mod tcp;
mod huge_pages;
mod slab;
mod index;
mod expiry;
mod table;
mod warm;

#[cfg(test)]
mod tests;

pub use live::Flow;
pub use table::{FlowHash, FlowSlot, FlowTable, Observed};
pub use warm::WARM_FLOWS_MIN;
