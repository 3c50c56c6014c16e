//! Weir's collector: from sensors' records to alerts, their evidence, and a store that can be asked.
//!
//! The modules stand in the order of a record's path: `ingest → enrich → detect → correlate → triage →
//! forward`, with `store` and `evidence` beside it. [`pipeline`] is the one place where they meet.
//! Async lives in `ingest` and `control`; everything else is synchronous functions over batches. What several
//! of them need stands below them and knows none: [`bounded`], [`files`], [`list`], [`prefix`], [`problem`].

#![forbid(unsafe_code)]

pub mod bounded;
pub mod files;
pub mod list;
pub mod prefix;
pub mod problem;
pub mod identity;
pub mod ingest;
pub mod enrich;
pub mod detect;
pub mod correlate;
pub mod triage;
pub mod forward;
pub mod store;
pub mod evidence;
pub mod control;
pub mod config;
pub mod pipeline;
pub mod cli;
