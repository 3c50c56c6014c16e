//! Keywords that remember: marks and counters of flows, marks of hosts, thresholds, data sets, reputations.
//!
//! In: a rule's options; then what the engine tells of a packet (its flow's marks, its ends, the time). Out:
//! whether a rule's tests pass, what its match changes, and whether the match becomes an alert. Each rule
//! has one [`RuleState`] for `flowbits`, `flowint`, `xbits`, `hostbits` and `noalert`, and one
//! [`RuleLimits`] for thresholds and suppressions. Everything is addressed by name, sid or address and by no
//! rule's number, so that it goes on when rules are loaded anew.
//!
//! Deliberately absent: the engine itself, and its order. As in Suricata, tests are made before a rule's
//! contents are looked for and actions follow when the whole rule has matched, whether or not it alerts.
//! [`BitUse::order`] says which rules have to come first within a packet. Nothing here reads a clock.

// The engine takes these up one by one.
#![allow(dead_code, unused_imports)]

mod bits;
mod data;
mod flow;
mod flowint;
mod geography;
mod limits;
mod names;
mod reputation;
mod rule;
mod shared;
mod threshold;
mod windows;
mod words;

#[cfg(test)]
mod tests;

pub(super) use bits::{BitAction, BitTest, Change};
pub(super) use data::{DataLoader, DataSettings, DataTable, DataTest};
pub(super) use flow::{FLOW_BITS_MAX, FLOW_INTS_MAX, FlowState, TRANSACTION_BITS_MAX, TransactionBits};
pub(super) use flowint::{IntAction, IntTest};
pub(super) use geography::{Countries, CountryTest};
pub(super) use limits::{RuleLimits, Suppression, ThresholdFile, Verdict};
pub(super) use names::{Kind, NAMES_MAX, NameId, Names};
pub(super) use reputation::{REPUTATIONS_MAX, ReputationTest, Reputations};
pub(super) use rule::{BitUse, Census, Rank, RuleState, StateAction, StateTest};
pub(super) use shared::{SHARED_BITS_MAX, SharedBits};
pub(super) use threshold::Threshold;
pub use windows::{Matched, RuleId, Window, WindowKey, Windows};

use serde::Serialize;
use weir_common::net::Address;
use weir_common::rule::Place;
use weir_common::time::Timestamp;

/// Why an option cannot be used, and where that shows.
type Refused = (Place, String);

/// What reached a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct StateCounters {
    /// Marks not set because their flow or transaction had its most.
    pub(super) flow_bits_refused: u64,
    /// Counters not set because their flow had its most.
    pub(super) flow_ints_refused: u64,
    /// Transactions whose marks were forgotten because their flow had its most.
    pub(super) transactions_forgotten: u64,
    /// Variables not kept because their flow had its most.
    pub(super) flow_variables_refused: u64,
    /// Marks of hosts and pairs not set because there were too many.
    pub(super) shared_bits_refused: u64,
    /// Values not added to a data set because it, or all together, had their most bytes.
    pub(super) data_refused: u64,
}

/// What of a packet is looked at by keywords about hosts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Who sent it.
    pub(super) source: Address,
    /// To whom.
    pub(super) destination: Address,
    /// When.
    pub(super) time: Timestamp,
}
