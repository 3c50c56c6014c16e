//! The account of blocks: which of those that were written are gone, though the ring did not remove them.
//!
//! In: the ledger, and what the segments on disk hold in sum. Out: [`Absent`] blocks, and runs of which the ledger
//! knows no begin. A lane numbers its blocks in each run without a hole. One that could not be written, or was found
//! damaged, is in the ledger with its lane and time; how far the ring removed a lane's blocks, and how many a lane
//! had, are in it by number. Sequences of segments say nothing here: one that nothing was written into is removed at
//! the next start. Deliberately absent: what is wrong with blocks that are there, which whoever reads them tells.

use super::gaps::{GapRecord, Gaps, LEDGER_BYTES_MAX, LossKind, RECORD_BYTES, RecordKind};
use super::index::{RUN_UNKNOWN, Totals};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use weir_common::evidence::BlockRange;
use weir_common::time::Timestamp;

/// A ledger that is compacted has at most so many records; with fewer it has never forgotten a run.
const RECORDS_WITH_ALL_RUNS: usize = LEDGER_BYTES_MAX as usize / 2 / RECORD_BYTES;

/// Blocks of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The run that wrote them.
    pub run: u32,
    /// Its lane.
    pub lane: u16,
    /// Lowest number.
    pub first: u64,
    /// Highest number.
    pub last: u64,
    /// Earliest time of a frame.
    pub from: Timestamp,
    /// Latest time of a frame.
    pub to: Timestamp,
}

impl Held {
    /// What a segment of this lane holds; none: no block.
    pub fn of(lane: u16, totals: &Totals) -> Option<Held> {
        let Totals { run, first_number: first, last_number, first_time: from, last_time, .. } = *totals;
        let (last, to) = (last_number.max(first), last_time.max(from));
        (totals.blocks > 0).then_some(Held { run, lane, first, last, from, to })
    }
}

/// A time of a lane of which it is already told that something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The lane.
    pub lane: u16,
    /// Begin.
    pub from: Timestamp,
    /// End.
    pub to: Timestamp,
}

impl Told {
    fn touches(&self, absent: &Absent) -> bool {
        self.lane == absent.lane && self.from <= absent.to && self.to >= absent.from
    }
}

/// Blocks that were written and are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The run that wrote them.
    pub run: u32,
    /// Its lane.
    pub lane: u16,
    /// Number of the first.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
    /// Latest time before them.
    pub from: Timestamp,
    /// Earliest time behind them.
    pub to: Timestamp,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Absent { run, lane, first, last, .. } = *self;
        f.write_str(&in_words(run, lane, BlockRange { first, last }))
    }
}

/// Blocks in words.
pub fn in_words(run: u32, lane: u16, BlockRange { first, last }: BlockRange) -> String {
    match first == last {
        true => format!("block {first} of run {run}, lane {lane}"),
        false => format!("blocks {first} to {last} of run {run}, lane {lane}"),
    }
}

/// A run that the ledger does not know, and whose blocks are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRun {
    /// Its number.
    pub run: u32,
    /// Earliest time of its frames.
    pub from: Timestamp,
    /// Latest time of its frames.
    pub to: Timestamp,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Blocks that are gone.
    pub absent: Vec<Absent>,
    /// Runs without a begin: the ledger is missing, or was damaged.
    pub unknown_runs: Vec<UnknownRun>,
}

/// What a ledger that was read before the segments says of them. `told`: what is known of them to be unreadable.
pub fn account(gaps: &Gaps, held: &[Held], told: &[Told]) -> Account {
    let mut told = told.to_vec();
    told.extend(gaps.records.iter().filter(|record| tells_why(record)).map(span));
    let of_no_run = held.iter().filter(|held| held.run == RUN_UNKNOWN);
    told.extend(of_no_run.map(|held| Told { lane: held.lane, from: held.from, to: held.to }));
    let mut lanes: BTreeMap<(u32, u16), Vec<Held>> = BTreeMap::new();
    for held in held.iter().filter(|held| held.run != RUN_UNKNOWN) {
        lanes.entry((held.run, held.lane)).or_default().push(*held);
    }
    lanes.values_mut().for_each(|held| held.sort_by_key(|held| held.first));
    let expired = expired(gaps);
    let mut absent = Vec::new();
    for lane in lanes_of_runs(gaps) {
        let held = lanes.get(&(lane.run, lane.lane)).map(Vec::as_slice).unwrap_or_default();
        let behind = |absent| behind_expired(absent, expired.get(&lane.lane).copied().unwrap_or_default());
        absent.extend(lane.absent(held).into_iter().filter_map(behind));
    }
    absent.retain(|absent| !told.iter().any(|told| told.touches(absent)));
    let known: BTreeSet<u32> = gaps.begins().into_keys().map(|(run, _)| run).collect();
    Account { absent, unknown_runs: unknown_runs(gaps, &lanes, &known) }
}

/// Runs of blocks that are there and of which the ledger knows no begin.
fn unknown_runs(
    gaps: &Gaps,
    lanes: &BTreeMap<(u32, u16), Vec<Held>>,
    known: &BTreeSet<u32>,
) -> Vec<UnknownRun> {
    let first_known = known.first().copied().unwrap_or(u32::MAX);
    let is_forgotten = |run| gaps.records.len() >= RECORDS_WITH_ALL_RUNS && run < first_known;
    let mut unknown_runs: Vec<UnknownRun> = Vec::new();
    // By run, so that the lanes of one follow each other.
    for ((run, _), held) in lanes.iter().filter(|((run, _), _)| !known.contains(run) && !is_forgotten(*run)) {
        let from = held.iter().map(|held| held.from).min().unwrap_or_default();
        let to = held.iter().map(|held| held.to).max().unwrap_or_default();
        match unknown_runs.last_mut().filter(|last| last.run == *run) {
            Some(last) => (last.from, last.to) = (last.from.min(from), last.to.max(to)),
            None => unknown_runs.push(UnknownRun { run: *run, from, to }),
        }
    }
    unknown_runs
}

/// Whether a record says why a block of its lane and time is not there. One of an earlier version about what expired
/// does not name the blocks.
fn tells_why(record: &GapRecord) -> bool {
    match record.kind {
        RecordKind::Loss(LossKind::Write) | RecordKind::Damaged => true,
        kind => kind.is_expiry() && record.blocks == 0,
    }
}

fn span(record: &GapRecord) -> Told {
    Told { lane: record.lane, from: record.from, to: record.to }
}

/// Of each lane the latest run of which the ring removed blocks, and up to which number. A segment that is older
/// goes before one that is younger.
pub fn expired(gaps: &Gaps) -> BTreeMap<u16, (u32, u64)> {
    let mut latest: BTreeMap<u16, (u32, u64)> = BTreeMap::new();
    for record in gaps.records.iter().filter(|record| record.kind.is_expiry() && record.blocks > 0) {
        let held = latest.entry(record.lane).or_default();
        *held = (*held).max((record.run, record.blocks));
    }
    latest
}

/// Without the blocks that the ring removed in their turn; none: it removed them all.
fn behind_expired(absent: Absent, expired: (u32, u64)) -> Option<Absent> {
    match expired {
        (run, _) if run > absent.run => None,
        (run, blocks) if run == absent.run && blocks > absent.last => None,
        (run, blocks) if run == absent.run => Some(Absent { first: absent.first.max(blocks), ..absent }),
        _ => Some(absent),
    }
}

/// A lane in one run, as the ledger knows it.
struct LaneOfRun {
    run: u32,
    lane: u16,
    from: Timestamp,
    to: Timestamp,
    /// How many blocks it had; none: that is not known.
    blocks: Option<u64>,
    /// What is not accounted for may be on its way.
    is_open: bool,
}

/// Every lane of every run.
fn lanes_of_runs(gaps: &Gaps) -> impl Iterator<Item = LaneOfRun> {
    let is_end = |record: &&GapRecord| matches!(record.kind, RecordKind::RunEnd | RecordKind::RunKilled);
    let ends = gaps.records.iter().filter(is_end);
    let ended: BTreeMap<(u32, u16), (Timestamp, u64)> =
        ends.map(|record| ((record.run, record.lane), (record.to, record.blocks))).collect();
    gaps.begins().into_iter().map(move |((run, lane), from)| {
        let ended = ended.get(&(run, lane)).copied();
        let alive = gaps.alive.iter().find(|alive| (alive.run, alive.lane) == (run, lane));
        let known = ended.or(alive.map(|alive| (alive.until, alive.blocks)));
        let (to, blocks) = known.unwrap_or((Timestamp::MAX, 0));
        LaneOfRun { run, lane, from, to, blocks: (blocks > 0).then_some(blocks), is_open: ended.is_none() }
    })
}

impl LaneOfRun {
    /// What is missing between the blocks that are there, in the order of their numbers, before and behind them.
    fn absent(&self, held: &[Held]) -> Vec<Absent> {
        let mut absent = Vec::new();
        // An open run's blocks are looked at no further than the ledger did before.
        let end = match self.blocks {
            None if self.is_open => return absent,
            blocks => blocks,
        };
        let (mut next, mut reached) = (0, self.from);
        let mut miss = |first: u64, behind: u64, from: Timestamp, to: Timestamp| {
            let behind = behind.min(end.unwrap_or(behind));
            if first < behind {
                let (run, lane, last) = (self.run, self.lane, behind - 1);
                // A clock that was set back turns the two round.
                absent.push(Absent { run, lane, first, last, from: from.min(to), to: to.max(from) });
            }
        };
        for held in held {
            miss(next, held.first, reached, held.from);
            if held.last >= next {
                (next, reached) = (held.last.saturating_add(1), held.to);
            }
        }
        miss(next, end.unwrap_or(next), reached, self.to);
        absent
    }
}

#[cfg(test)]
mod tests {
    use super::super::gaps::Alive;
    use super::*;

    /// Lane 0 of run 1 wrote ten blocks from 100 on, one every ten, and ended at 200.
    fn gaps(more: &[GapRecord]) -> Gaps {
        let instant = |kind, at| GapRecord::instant(kind, 0, 1, Timestamp(at));
        let mut records = vec![
            instant(RecordKind::RunStart, 100),
            GapRecord { blocks: 10, ..instant(RecordKind::RunEnd, 200) },
        ];
        records.extend(more);
        Gaps { records, ..Gaps::default() }
    }

    fn record(kind: RecordKind, from: u64, to: u64, blocks: u64) -> GapRecord {
        GapRecord { to: Timestamp(to), blocks, ..GapRecord::instant(kind, 0, 1, Timestamp(from)) }
    }

    fn held(run: u32, first: u64, last: u64) -> Held {
        let (from, to) = (Timestamp(100 + 10 * first), Timestamp(109 + 10 * last));
        Held { run, lane: 0, first, last, from, to }
    }

    fn absent(gaps: &Gaps, there: &[(u64, u64)], told: &[Told]) -> Vec<(u64, u64, u64, u64)> {
        let there = Vec::from_iter(there.iter().map(|(first, last)| held(1, *first, *last)));
        let found = account(gaps, &there, told);
        assert_eq!(found.unknown_runs, []);
        found.absent.iter().map(|absent| (absent.first, absent.last, absent.from.0, absent.to.0)).collect()
    }

    #[test]
    fn blocks_are_missed_wherever_they_were_and_only_those() {
        let gaps = gaps(&[]);
        for (there, want) in [
            (&[(0, 9)][..], &[][..]),
            (&[(5, 9), (0, 4)], &[]),
            (&[(0, 3), (5, 9)], &[(4, 4, 139, 150)]),
            (&[(1, 9)], &[(0, 0, 100, 110)]),
            (&[(0, 8)], &[(9, 9, 189, 200)]),
            (&[(0, 1), (3, 5), (8, 8)], &[(2, 2, 119, 130), (6, 7, 159, 180), (9, 9, 189, 200)]),
            (&[], &[(0, 9, 100, 200)]),
            // Two segments may claim the same after damage.
            (&[(0, 6), (2, 3), (7, 9)], &[]),
        ] {
            assert_eq!(absent(&gaps, there, &[]), want, "{there:?}");
        }
    }

    #[test]
    fn what_the_ring_removed_is_not_missed_and_what_lies_behind_it_is() {
        for kind in [RecordKind::Expired, RecordKind::ExpiredByAge, RecordKind::ExpiredByDisk] {
            let gaps = gaps(&[record(kind, 100, 109, 1), record(kind, 110, 139, 4)]);
            assert_eq!(absent(&gaps, &[(4, 9)], &[]), []);
            assert_eq!(absent(&gaps, &[(5, 9)], &[]), [(4, 4, 100, 150)]);
            assert_eq!(absent(&gaps, &[(4, 5), (7, 9)], &[]), [(6, 6, 159, 170)]);
        }
        // A later run's went, and so this one's before.
        let later = GapRecord { run: 2, ..record(RecordKind::Expired, 300, 310, 1) };
        assert_eq!(absent(&gaps(&[later]), &[], &[]), []);
        let other_lane = GapRecord { lane: 1, ..record(RecordKind::Expired, 100, 139, 4) };
        assert_eq!(absent(&gaps(&[other_lane]), &[(4, 9)], &[]), [(0, 3, 100, 140)]);
        // What an earlier version wrote down knows times alone.
        let by_time = record(RecordKind::Expired, 100, 139, 0);
        assert_eq!(absent(&gaps(&[by_time]), &[(4, 9)], &[]), []);
        assert_eq!(absent(&gaps(&[by_time]), &[(4, 5), (7, 9)], &[]), [(6, 6, 159, 170)]);
    }

    #[test]
    fn what_is_told_already_is_not_told_twice() {
        let there = [(0, 3), (5, 9)];
        for kind in [RecordKind::Loss(LossKind::Write), RecordKind::Damaged] {
            assert_eq!(absent(&gaps(&[record(kind, 140, 149, 0)]), &there, &[]), []);
            assert_eq!(absent(&gaps(&[record(kind, 151, 160, 0)]), &there, &[]).len(), 1);
        }
        // Losses for which no block was ever filled.
        let queue = record(RecordKind::Loss(LossKind::Queue), 140, 149, 0);
        assert_eq!(absent(&gaps(&[queue]), &there, &[]).len(), 1);
        let told = |lane, from, to| [Told { lane, from: Timestamp(from), to: Timestamp(to) }];
        assert_eq!(absent(&gaps(&[]), &there, &told(0, 150, 160)), []);
        assert_eq!(absent(&gaps(&[]), &there, &told(0, 151, 160)).len(), 1);
        assert_eq!(absent(&gaps(&[]), &there, &told(1, 140, 149)).len(), 1);
        // Blocks whose run nobody knows may be those.
        let found = account(&gaps(&[]), &[held(1, 0, 3), held(RUN_UNKNOWN, 4, 4), held(1, 5, 9)], &[]);
        assert_eq!(found, Account::default());
    }

    #[test]
    fn a_run_that_goes_on_is_looked_at_as_far_as_the_ledger_went() {
        let start = GapRecord::instant(RecordKind::RunStart, 0, 1, Timestamp(100));
        let alive = |run, blocks| Alive { lane: 0, run, until: Timestamp(150), blocks };
        let open = |alive| Gaps { records: vec![start], alive, damaged_records: 0 };
        let there = [(0, 1), (3, 5), (7, 8)];
        let missed = vec![(2, 2, 119, 130)];
        assert_eq!(absent(&open(vec![alive(1, 6)]), &there, &[]), missed);
        assert_eq!(
            absent(&open(vec![alive(1, 7)]), &there, &[]),
            [&missed[..], &[(6, 6, 159, 170)]].concat()
        );
        assert_eq!(absent(&open(vec![alive(1, 10)]), &there[..2], &[]).last(), Some(&(6, 9, 150, 159)));
        // A sensor that has not told yet, an earlier version's, and another run's slot.
        for alive in [vec![], vec![alive(1, 0)], vec![alive(2, 9)]] {
            assert_eq!(absent(&open(alive), &there, &[]), []);
        }
        // Of a run that ended without telling how many there were, what lies between is known.
        let mut ended = gaps(&[]);
        ended.records[1].blocks = 0;
        assert_eq!(absent(&ended, &[(0, 3), (5, 8)], &[]), [(4, 4, 139, 150)]);
    }

    #[test]
    fn a_run_without_a_begin_tells_that_the_ledger_lost_something() {
        let there = [held(1, 0, 9), held(2, 0, 3), Held { lane: 1, ..held(2, 2, 5) }];
        let run = |run, from, to| UnknownRun { run, from: Timestamp(from), to: Timestamp(to) };
        assert_eq!(account(&gaps(&[]), &there, &[]).unknown_runs, [run(2, 100, 159)]);
        assert_eq!(account(&Gaps::default(), &there, &[]).unknown_runs, [run(1, 100, 199), run(2, 100, 159)]);
        assert_eq!(account(&Gaps::default(), &[], &[]), Account::default());
        // A ledger at its limit has forgotten the oldest runs, and no later one.
        let start = GapRecord::instant(RecordKind::RunStart, 9, 2, Timestamp(5));
        let full = |records| Gaps { records: vec![start; records], ..Gaps::default() };
        let there = [held(1, 0, 9), held(3, 0, 3)];
        let unknown = |records| {
            let found = account(&full(records), &there, &[]).unknown_runs;
            found.iter().map(|found| found.run).collect::<Vec<_>>()
        };
        assert_eq!(unknown(RECORDS_WITH_ALL_RUNS), [3]);
        assert_eq!(unknown(RECORDS_WITH_ALL_RUNS - 1), [1, 3]);
    }
}
