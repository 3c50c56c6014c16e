//! Weir's sensor: from frames on a wire to flow records, events and a searchable pool of packets.
//!
//! The modules stand in the order of a packet's path: `capture → decode → flow → dpi → export`, with
//! `ring` beside it and `query` behind the ring; `signatures` looks at what decode, flow and dpi
//! give, and so far only `hunt` has it look, over packets that the ring kept. [`pipeline`] is the one place where they meet.

#![deny(unsafe_code)]

pub mod capture;
pub mod identity;
pub mod decode;
pub mod flow;
pub mod dpi;
pub mod signatures;
pub mod export;
pub mod ring;
pub mod query;
pub mod hunt;
pub mod counters;
pub mod config;
pub mod sandbox;
pub mod pipeline;
pub mod control;
pub mod remote;
pub mod cli;
