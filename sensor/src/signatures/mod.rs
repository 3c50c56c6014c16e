//! Signatures: rules of Suricata's language, run over packets, streams and transactions.
//!
//! In: [`Rule`](weir_common::rule::Rule)s; then packets with what is known of their flow, and what dissectors tell of
//! transactions ([`crate::dpi::buffers`]). Out: [`Found`] matches that are to alert. What can be run is run as
//! Suricata means it; every other rule is given back with the place and the reason, and none is run in part.
//!
//! | | |
//! |---|---|
//! | `compile` | from a rule to a [`Signature`](compile::Signature), or to the reason why not |
//! | `matches` | what is looked for in one buffer |
//! | `packet`, `app`, `state` | what is asked of headers and flows, of transactions, of what is remembered |
//! | `rules` | all signatures, grouped by what they have to be asked about |
//! | `patterns` | which of thousands of patterns are in a buffer |
//! | `engine`, `marks` | a worker's part: who is asked, and what is remembered of a flow |
//! | `alert`, `late`, `excerpt` | EVE's `alert`, when it is told, and what it quotes |
//! | `report` | what was done, and what each rule cost |
//!
//! Rules are compiled once and shared; an engine is a worker's own, and nothing on its path is locked. It never reads a
//! clock, but to measure what each rule costs.

mod addresses;
pub mod alert;
mod app;
mod compile;
pub mod config;
mod engine;
mod excerpt;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::indexing_slicing, reason = "a direction's index")]
pub mod fuzzing;
mod late;
mod marks;
mod matches;
mod packet;
#[allow(dead_code, reason = "what sets take in memory is asked by tests alone")]
mod patterns;
mod ports;
mod report;
mod rules;
mod state;

#[cfg(test)]
mod tests;

pub use addresses::networks;
pub use alert::{Beside, Quoted};
pub use engine::{Cost, Engine, EngineCounters, Found, Sight};
pub use excerpt::Excerpts;
pub use late::{Held, Late, Transaction, event_name};
pub use marks::FlowMarks;
pub use packet::{AppFacts, AppKnown, FlowFacts};
pub use patterns::{Cache, Choice, library, load as load_matcher};
pub use report::{NotRun, RuleCost, Shown, SignaturesStatus, TOP_RULES_MAX, total};
pub use rules::{Bounds, Built, Needs, RuleNames, Rules, Surroundings};
pub use state::{Matched, RuleId, Window, WindowKey, Windows};
