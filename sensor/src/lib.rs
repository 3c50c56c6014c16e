//! Weir's sensor: from frames on a wire to flow records, events and a searchable pool of packets.
//!
//! The modules stand in the order of a packet's path: `capture → decode → flow → dpi → export`, with
//! `ring` beside it and `query` behind the ring. [`pipeline`] is the one place where they meet.

#![deny(unsafe_code)]

pub mod capture;
pub mod decode;
pub mod flow;
pub mod dpi;
pub mod export;
pub mod ring;
pub mod query;
pub mod counters;
pub mod config;
pub mod sandbox;
pub mod pipeline;
pub mod control;
pub mod cli;
