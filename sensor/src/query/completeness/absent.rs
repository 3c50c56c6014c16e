//! Blocks that were written or asked for and are not there, as an answer tells them.
//!
//! In: the ring's account of blocks, and the blocks that a question names. Out: what cannot be read, for the statement.
//! What the ring removed itself is told only of blocks that were named; its ledger tells the rest.

use super::{GapState, Unreadable};
use crate::ring::account::{Absent, Account, Held, UnknownRun, expired, in_words};
use crate::ring::gaps::{GAPS_FILE, Gaps};
use crate::ring::index::RUN_UNKNOWN;
use weir_common::evidence::{BlockRange, Extents};
use weir_common::time::Timestamp;

/// What the account of blocks means for an answer.
pub fn unaccounted(account: &Account) -> impl Iterator<Item = Unreadable> {
    account.absent.iter().map(gone).chain(account.unknown_runs.iter().map(unknown))
}

fn gone(absent: &Absent) -> Unreadable {
    Unreadable {
        from: absent.from,
        to: absent.to,
        frames: None,
        state: GapState::Damaged,
        file: String::new(),
        what: format!("gone, and the ring did not remove them: {absent}"),
    }
}

fn unknown(run: &UnknownRun) -> Unreadable {
    Unreadable {
        from: run.from,
        to: run.to,
        frames: None,
        state: GapState::Damaged,
        file: GAPS_FILE.into(),
        what: format!("the ledger is missing or damaged: it knows no run {}, which wrote here", run.run),
    }
}

/// Blocks that a question names and that neither the ring nor a pin has. Of a pin's copy of a segment it is not looked
/// at which of the blocks between its first and last it has: the ledger says that the others expired.
pub fn not_there(extents: &Extents, held: &[Held], gaps: &Gaps, being_written: bool) -> Vec<Unreadable> {
    let is_of = |held: &&Held| held.lane == extents.lane && [extents.run, RUN_UNKNOWN].contains(&held.run);
    let mut there: Vec<(u64, u64)> = held.iter().filter(is_of).map(|held| (held.first, held.last)).collect();
    there.sort_unstable();
    let mut out = Vec::new();
    let (expired, written) = (expired_blocks(extents, gaps), written_blocks(extents, gaps, being_written));
    for range in extents.ranges() {
        let behind = [(range.last.saturating_add(1), u64::MAX)];
        let mut next = range.first;
        for (first, last) in there.iter().copied().chain(behind) {
            let end = first.min(range.last.saturating_add(1));
            for (state, from, to, why) in [
                (GapState::Expired, next, end.min(expired), "the ring removed them in their turn"),
                (GapState::Damaged, next.max(expired), end.min(written), "they are not in this ring"),
                (GapState::NotYetWritten, next.max(written), end, "still in the sensor's memory"),
            ] {
                if from < to {
                    let blocks = BlockRange { first: from, last: to - 1 };
                    let blocks = in_words(extents.run, extents.lane, blocks);
                    let what = format!("asked for by name, and {why}: {blocks}");
                    let (from, to) = (Timestamp::MIN, Timestamp::MAX);
                    out.push(Unreadable { from, to, frames: None, state, file: String::new(), what });
                }
            }
            next = next.max(last.saturating_add(1));
        }
    }
    out
}

/// Below which number the ring removed the blocks of this lane and run.
fn expired_blocks(extents: &Extents, gaps: &Gaps) -> u64 {
    match expired(gaps).get(&extents.lane) {
        Some((run, _)) if *run > extents.run => u64::MAX,
        Some((run, blocks)) if *run == extents.run => *blocks,
        _ => 0,
    }
}

/// From which number on blocks of this lane and run may be on their way.
fn written_blocks(extents: &Extents, gaps: &Gaps, being_written: bool) -> u64 {
    let is_open = being_written && gaps.open_runs().contains(&(extents.lane, extents.run));
    let alive = gaps.alive.iter().find(|alive| (alive.lane, alive.run) == (extents.lane, extents.run));
    alive.filter(|_| is_open).map_or(u64::MAX, |alive| alive.blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::gaps::{Alive, GapRecord, RecordKind};

    #[test]
    fn of_blocks_that_are_named_those_that_are_not_there_are_told_and_why() {
        let record = |kind, blocks| GapRecord { blocks, ..GapRecord::instant(kind, 2, 3, Timestamp(5)) };
        let start = record(RecordKind::RunStart, 0);
        let alive = vec![Alive { lane: 2, run: 3, until: Timestamp(9), blocks: 20 }];
        let open = Gaps { records: vec![start, record(RecordKind::Expired, 5)], alive, damaged_records: 0 };
        let ended = Gaps { records: vec![start, record(RecordKind::RunEnd, 20)], ..Gaps::default() };
        let held = |run, lane, first, last| {
            let (from, to) = (Timestamp(5), Timestamp(9));
            Held { run, lane, first, last, from, to }
        };
        let held = [held(3, 2, 8, 12), held(3, 2, 15, 19), held(3, 1, 0, 99), held(4, 2, 0, 99)];
        use GapState::{Damaged, Expired, NotYetWritten};
        for (gaps, being_written, extents, want) in [
            (&open, true, "3.2:8-12,15", &[][..]),
            (&open, true, "3.2:", &[]),
            (&open, true, "3.2:4", &[(Expired, "block 4 of run 3, lane 2")]),
            (&open, true, "3.2:5", &[(Damaged, "block 5 of run 3, lane 2")]),
            (&open, true, "3.2:20", &[(NotYetWritten, "block 20 of run 3, lane 2")]),
            (&open, false, "3.2:20", &[(Damaged, "block 20 of run 3, lane 2")]),
            (&ended, true, "3.2:20", &[(Damaged, "block 20 of run 3, lane 2")]),
            (&ended, false, "3.2:7-15", &[(Damaged, "block 7 of"), (Damaged, "blocks 13 to 14 of")]),
            (&open, false, "2.2:0", &[(Expired, "block 0 of run 2, lane 2")]),
            (&open, false, "3.0:1", &[(Damaged, "block 1 of run 3, lane 0")]),
            (
                &open,
                true,
                "3.2:0-22",
                &[
                    (Expired, "blocks 0 to 4 of"),
                    (Damaged, "blocks 5 to 7 of"),
                    (Damaged, "blocks 13 to 14 of"),
                    (NotYetWritten, "blocks 20 to 22 of"),
                ],
            ),
        ] {
            let found = not_there(&extents.parse().unwrap(), &held, gaps, being_written);
            let states: Vec<GapState> = found.iter().map(|found| found.state).collect();
            assert_eq!(states, Vec::from_iter(want.iter().map(|want| want.0)), "{extents}: {found:?}");
            for (found, (_, words)) in found.iter().zip(want) {
                assert!(found.what.contains(words), "{extents}: {found:?}");
            }
        }
    }
}
