//! Blocks that were written and are gone, as an answer tells them.
//!
//! In: the ring's account of blocks. Out: what cannot be read, for the statement. What the ring removed itself is
//! not among it; its ledger tells that.

use super::Unreadable;
use crate::ring::account::{Absent, Account, UnknownRun};
use crate::ring::gaps::GAPS_FILE;
use weir_common::evidence::BlockRange;
use weir_common::time::Timestamp;

/// What the account of blocks means for an answer.
pub fn unaccounted(account: &Account) -> impl Iterator<Item = Unreadable> {
    account.absent.iter().map(gone).chain(account.unknown_runs.iter().map(unknown))
}

fn gone(absent: &Absent) -> Unreadable {
    let blocks = named(absent.run, absent.lane, BlockRange { first: absent.first, last: absent.last });
    missing(absent.from, absent.to, "", format!("gone, and the ring did not remove them: {blocks}"))
}

fn unknown(run: &UnknownRun) -> Unreadable {
    let what = format!("the ledger is missing or damaged: it knows no run {}, which wrote here", run.run);
    missing(run.from, run.to, GAPS_FILE, what)
}

fn missing(from: Timestamp, to: Timestamp, file: &str, what: String) -> Unreadable {
    Unreadable { from, to, frames: None, removed: false, file: file.into(), what }
}

/// Consecutive blocks in words.
fn named(run: u32, lane: u16, BlockRange { first, last }: BlockRange) -> String {
    match first == last {
        true => format!("block {first} of run {run}, lane {lane}"),
        false => format!("blocks {first} to {last} of run {run}, lane {lane}"),
    }
}
