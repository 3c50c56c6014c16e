//! The statement that ends every answer: whether it is complete, and if not, what is missing and why.
//!
//! In: the gap ledger, the range that was asked for, and what reading found damaged or removed. Out: a
//! [`Completeness`], in words and as JSON. Deliberately absent: any guess; what the ledger does not know
//! to be covered counts as not captured.

use crate::ring::gaps::{GapRecord, Gaps, LossKind, RecordKind};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;
use weir_common::time::Timestamp;

/// Most gaps listed one by one; beyond, those of one kind and reason are told as one.
pub const GAPS_LISTED_MAX: usize = 64;
/// Losses for one reason that are this close are told as one.
const CLOSE: Duration = Duration::from_secs(1);

/// Why frames of the range may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapState {
    /// No sensor was writing this ring.
    NotCaptured,
    /// Frames were lost on the way to the ring.
    Dropped,
    /// The ring's turn removed them.
    Expired,
    /// They are there and cannot be read.
    Damaged,
    /// Frames of the answer are shorter than on the wire.
    CutOff,
    /// They are still in the sensor's memory.
    NotYetWritten,
}

impl GapState {
    fn words(self) -> &'static str {
        match self {
            GapState::NotCaptured => "not captured",
            GapState::Dropped => "dropped",
            GapState::Expired => "expired",
            GapState::Damaged => "damaged",
            GapState::CutOff => "cut off",
            GapState::NotYetWritten => "not yet written",
        }
    }
}

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// What kind of gap.
    pub state: GapState,
    /// Begin.
    #[serde(serialize_with = "text")]
    pub from: Timestamp,
    /// End.
    #[serde(serialize_with = "text")]
    pub to: Timestamp,
    /// Frames missing or cut off in the whole interval, also where only a part of it is in the range; none
    /// where that is not known.
    pub frames: Option<u64>,
    /// Why, in words.
    pub reason: String,
}

/// Whether an answer holds everything that was on the wire in its range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Nothing is missing.
    pub complete: bool,
    /// Begin of the range that the statement is about.
    #[serde(serialize_with = "text")]
    pub from: Timestamp,
    /// End of the range.
    #[serde(serialize_with = "text")]
    pub until: Timestamp,
    /// What is missing, in order of time.
    pub gaps: Vec<Gap>,
    /// Blocks that pins alone still have; frames of an expired range come from these.
    pub pinned_blocks: u64,
}

pub(super) fn text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// A range of the ring that reading found damaged, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Earliest time that may have been there.
    pub from: Timestamp,
    /// Latest time that may have been there.
    pub to: Timestamp,
    /// Frames, where known.
    pub frames: Option<u64>,
    /// Whether retention removed it, rather than damage.
    pub removed: bool,
    /// Which block, and what is wrong with it.
    pub what: String,
}

/// What a statement is made from.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The ring's ledger.
    pub gaps: &'a Gaps,
    /// Whether a sensor writes the ring now.
    pub being_written: bool,
    /// Begin of the range asked for; none: from the beginning.
    pub since: Option<Timestamp>,
    /// End of the range asked for; none: what there is.
    pub until: Option<Timestamp>,
    /// The time now.
    pub now: Timestamp,
    /// What could not be read.
    pub unreadable: &'a [Unreadable],
    /// Frames of the answer that are shorter than on the wire.
    pub frames_cut_off: u64,
}

impl Completeness {
    /// Makes the statement.
    pub fn state(evidence: &Evidence<'_>) -> Completeness {
        let covered = covered(evidence.gaps);
        let from = evidence.since.or(covered.first().map(|run| run.from)).unwrap_or(Timestamp::MIN);
        let end = covered.iter().map(|run| run.to).max();
        let until = evidence.until.or(end).unwrap_or(evidence.now).max(from);
        let mut gaps = Vec::new();
        not_captured(evidence, &covered, from, until, &mut gaps);
        let overlaps = |a: Timestamp, b: Timestamp| a <= until && b >= from;
        for record in evidence.gaps.records.iter().filter(|record| overlaps(record.from, record.to)) {
            gaps.extend(recorded(record));
        }
        for unreadable in evidence.unreadable.iter().filter(|found| overlaps(found.from, found.to)) {
            let Unreadable { from, to, frames, removed, ref what } = *unreadable;
            let state = if removed { GapState::Expired } else { GapState::Damaged };
            gaps.push(Gap { state, from, to, frames, reason: what.clone() });
        }
        if evidence.gaps.damaged_records > 0 {
            let reason =
                format!("{} records of the gap ledger cannot be read", evidence.gaps.damaged_records);
            gaps.push(Gap { state: GapState::Damaged, from, to: until, frames: None, reason });
        }
        if evidence.frames_cut_off > 0 {
            let (state, frames) = (GapState::CutOff, Some(evidence.frames_cut_off));
            gaps.push(Gap {
                state,
                from,
                to: until,
                frames,
                reason: "captured shorter than on the wire".into(),
            });
        }
        let complete = gaps.is_empty();
        // What is not written yet lies behind the end of an open range: it is told, and nothing is missing.
        if evidence.being_written && evidence.until.is_none() && evidence.now > until {
            let reason = "what came last is still in the sensor's memory".into();
            gaps.push(Gap {
                state: GapState::NotYetWritten,
                from: until,
                to: evidence.now,
                frames: None,
                reason,
            });
        }
        Completeness { complete, from, until, gaps: condense(gaps), pinned_blocks: 0 }
    }

    /// Frames that the kernel dropped in the range.
    pub fn frames_dropped_by_kernel(&self) -> u64 {
        self.frames_dropped(LossKind::Kernel)
    }

    /// Frames that an interface dropped in the range.
    pub fn frames_dropped_by_interface(&self) -> u64 {
        self.frames_dropped(LossKind::Interface)
    }

    fn frames_dropped(&self, kind: LossKind) -> u64 {
        let is_of_kind = |gap: &&Gap| gap.state == GapState::Dropped && gap.reason == reason(kind);
        self.gaps.iter().filter(is_of_kind).filter_map(|gap| gap.frames).sum()
    }
}

impl fmt::Display for Completeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.complete { "complete" } else { "incomplete" };
        write!(f, "{word}: {} to {}", self.from, self.until)?;
        for gap in &self.gaps {
            write!(f, "\n  {}: ", gap.state.words())?;
            if let Some(frames) = gap.frames {
                write!(f, "{frames} frames, ")?;
            }
            write!(f, "{} to {}: {}", gap.from, gap.to, gap.reason)?;
        }
        if self.pinned_blocks > 0 {
            write!(f, "\n  pinned: {} blocks are read from pins, past the ring's turn", self.pinned_blocks)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    from: Timestamp,
    to: Timestamp,
    open: bool,
}

/// The times in which all lanes of a run were written, in order.
///
/// The lanes of a run begin and end together; one that was killed is covered up to the lane that was
/// furthest behind.
fn covered(gaps: &Gaps) -> Vec<Run> {
    struct Ends {
        from: Timestamp,
        ended: Option<Timestamp>,
        killed: Option<Timestamp>,
        begun: u32,
        closed: u32,
    }
    let mut runs: BTreeMap<u32, Ends> = BTreeMap::new();
    for record in &gaps.records {
        let run = runs.entry(record.run);
        match record.kind {
            RecordKind::RunStart => {
                let ends =
                    run.or_insert(Ends { from: record.from, ended: None, killed: None, begun: 0, closed: 0 });
                ends.from = ends.from.min(record.from);
                ends.begun += 1;
            }
            RecordKind::RunEnd => {
                run.and_modify(|ends| {
                    ends.ended = ends.ended.max(Some(record.to));
                    ends.closed += 1;
                });
            }
            RecordKind::RunKilled => {
                run.and_modify(|ends| {
                    ends.killed = Some(ends.killed.map_or(record.to, |killed| killed.min(record.to)));
                    ends.closed += 1;
                });
            }
            _ => {}
        }
    }
    let alive = |run: u32| gaps.alive.iter().filter(move |alive| alive.1 == run).map(|alive| alive.2).min();
    let mut covered: Vec<Run> = runs
        .iter()
        .map(|(number, ends)| {
            let open = ends.closed < ends.begun;
            let end = if open { alive(*number) } else { ends.killed.or(ends.ended) };
            Run { from: ends.from, to: end.unwrap_or(ends.from).max(ends.from), open }
        })
        .collect();
    covered.sort_by_key(|run| run.from);
    covered
}

/// The parts of the range in which no run was writing.
fn not_captured(
    evidence: &Evidence<'_>,
    covered: &[Run],
    from: Timestamp,
    until: Timestamp,
    gaps: &mut Vec<Gap>,
) {
    let mut push = |state, from: Timestamp, to: Timestamp, reason: &str| {
        gaps.push(Gap { state, from, to, frames: None, reason: reason.into() });
    };
    if covered.is_empty() {
        push(GapState::NotCaptured, from, until, "nothing was ever written to this ring");
        return;
    }
    let (mut reached, mut first, mut open) = (from, true, false);
    for run in covered {
        if run.from > reached && reached < until {
            let reason = if first { "before the ring began" } else { "no sensor was writing this ring" };
            push(GapState::NotCaptured, reached, run.from.min(until), reason);
        }
        if run.to >= reached {
            open = run.open;
        }
        reached = reached.max(run.to);
        first = false;
    }
    if reached >= until {
        return;
    }
    if open && evidence.being_written {
        let end = until.min(evidence.now).max(reached);
        push(GapState::NotYetWritten, reached, end, "still in the sensor's memory");
        if until > evidence.now {
            push(GapState::NotCaptured, end, until, "in the future");
        }
    } else {
        push(GapState::NotCaptured, reached, until, "no sensor was writing this ring");
    }
}

fn recorded(record: &GapRecord) -> Option<Gap> {
    let (state, reason) = match record.kind {
        RecordKind::Loss(kind) => (GapState::Dropped, reason(kind)),
        RecordKind::Expired => (GapState::Expired, "removed to make room"),
        RecordKind::ExpiredByAge => (GapState::Expired, "older than the ring keeps frames"),
        RecordKind::ExpiredByDisk => (GapState::Expired, "removed because the disk was filling up"),
        RecordKind::Damaged => (GapState::Damaged, "found damaged when the ring was opened"),
        RecordKind::RunStart | RecordKind::RunEnd | RecordKind::RunKilled => return None,
    };
    let frames = (record.frames > 0).then_some(record.frames);
    Some(Gap { state, from: record.from, to: record.to, frames, reason: reason.into() })
}

fn reason(kind: LossKind) -> &'static str {
    match kind {
        LossKind::Kernel => "the kernel's capture buffer was full",
        LossKind::Interface => "the interface dropped them",
        LossKind::Queue => "the ring's queue was full",
        LossKind::Write => "the disk was full or failed",
        LossKind::TooLarge => "larger than a block",
    }
}

/// In order of time. What follows closely for the same reason is told as one, as is everything that expired,
/// and all else too where there is too much of it.
fn condense(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.sort_by_key(|gap| (gap.from, gap.to, gap.state));
    let mut out = merge_where(gaps, |held, gap| {
        gap.state == GapState::Expired || (gap.state == GapState::Dropped && gap.from <= held.to.plus(CLOSE))
    });
    if out.len() > GAPS_LISTED_MAX {
        out = merge_where(out, |_, _| true);
    }
    if out.len() > GAPS_LISTED_MAX {
        // Each has a reason of its own, as damaged blocks have: the rest is told in sum.
        let rest = out.split_off(GAPS_LISTED_MAX - 1);
        let from = rest.iter().map(|gap| gap.from).min().unwrap_or_default();
        let to = rest.iter().map(|gap| gap.to).max().unwrap_or_default();
        let frames = rest.iter().filter_map(|gap| gap.frames).reduce(u64::saturating_add);
        let reason = format!("{} further gaps, `ring check` lists damage", rest.len());
        out.push(Gap {
            state: rest.first().map_or(GapState::Damaged, |gap| gap.state),
            from,
            to,
            frames,
            reason,
        });
    }
    out
}

/// Merges each gap into the last one of its state and reason, where `merges` says so.
fn merge_where(gaps: Vec<Gap>, merges: impl Fn(&Gap, &Gap) -> bool) -> Vec<Gap> {
    let mut out: Vec<Gap> = Vec::new();
    let mut last: HashMap<(GapState, String), usize> = HashMap::new();
    for gap in gaps {
        let key = (gap.state, gap.reason.clone());
        match last.get(&key).and_then(|at| out.get_mut(*at)) {
            Some(held) if merges(held, &gap) => {
                held.from = held.from.min(gap.from);
                held.to = held.to.max(gap.to);
                held.frames = match (held.frames, gap.frames) {
                    (Some(a), Some(b)) => Some(a.saturating_add(b)),
                    (a, b) => a.or(b),
                };
            }
            _ => {
                last.insert(key, out.len());
                out.push(gap);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: RecordKind, run: u32, from: u64, to: u64, frames: u64) -> GapRecord {
        GapRecord { kind, lane: 0, run, from: Timestamp(from), to: Timestamp(to), frames, bytes: 0 }
    }

    fn ledger(records: &[GapRecord]) -> Gaps {
        Gaps { records: records.to_vec(), ..Gaps::default() }
    }

    fn state(
        gaps: &Gaps,
        since: Option<u64>,
        until: Option<u64>,
        being_written: bool,
    ) -> (bool, Vec<(GapState, u64, u64)>) {
        let evidence = Evidence {
            gaps,
            being_written,
            since: since.map(Timestamp),
            until: until.map(Timestamp),
            now: Timestamp(1000),
            unreadable: &[],
            frames_cut_off: 0,
        };
        let stated = Completeness::state(&evidence);
        (stated.complete, stated.gaps.iter().map(|gap| (gap.state, gap.from.0, gap.to.0)).collect())
    }

    fn run(number: u32, from: u64, to: u64) -> [GapRecord; 2] {
        [record(RecordKind::RunStart, number, from, from, 0), record(RecordKind::RunEnd, number, to, to, 0)]
    }

    #[test]
    fn one_run_asked_for_as_a_whole_or_in_part_is_complete() {
        let gaps = ledger(&run(1, 100, 200));
        assert_eq!(state(&gaps, None, None, false), (true, vec![]));
        assert_eq!(state(&gaps, Some(100), Some(200), false), (true, vec![]));
        assert_eq!(state(&gaps, Some(150), Some(160), false), (true, vec![]));
    }

    #[test]
    fn before_between_and_after_runs_nothing_was_captured() {
        let gaps = ledger(&[run(1, 100, 200), run(2, 300, 400)].concat());
        let missing = |from, to| (GapState::NotCaptured, from, to);
        assert_eq!(state(&gaps, None, None, false), (false, vec![missing(200, 300)]));
        let all = vec![missing(50, 100), missing(200, 300), missing(400, 500)];
        assert_eq!(state(&gaps, Some(50), Some(500), false), (false, all));
        assert_eq!(state(&gaps, Some(310), Some(390), false), (true, vec![]));
    }

    #[test]
    fn an_empty_ring_says_so() {
        let evidence = Evidence {
            gaps: &Gaps::default(),
            being_written: false,
            since: None,
            until: None,
            now: Timestamp(5),
            unreadable: &[],
            frames_cut_off: 0,
        };
        let stated = Completeness::state(&evidence);
        assert!(!stated.complete && stated.to_string().contains("nothing was ever written"));
    }

    #[test]
    fn losses_and_expiry_count_where_they_overlap_the_range() {
        let mut records = run(1, 100, 200).to_vec();
        records.push(record(RecordKind::Loss(LossKind::Kernel), 1, 120, 130, 7));
        records.push(record(RecordKind::Expired, 1, 100, 110, 50));
        records.push(record(RecordKind::Expired, 1, 105, 115, 60));
        let gaps = ledger(&records);
        assert_eq!(state(&gaps, Some(131), None, false), (true, vec![]));
        let want = vec![(GapState::Expired, 100, 115), (GapState::Dropped, 120, 130)];
        assert_eq!(state(&gaps, None, None, false), (false, want));
    }

    #[test]
    fn what_is_not_written_yet_matters_only_when_it_was_asked_for() {
        let mut gaps = ledger(&run(1, 100, 200)[..1]);
        gaps.alive.push((0, 1, Timestamp(900)));
        let waiting = (GapState::NotYetWritten, 900, 1000);
        assert_eq!(state(&gaps, None, None, true), (true, vec![waiting]));
        assert_eq!(state(&gaps, None, Some(1000), true), (false, vec![waiting]));
        assert_eq!(state(&gaps, None, Some(900), true), (true, vec![]));
        let future = (GapState::NotCaptured, 1000, 1100);
        assert_eq!(state(&gaps, None, Some(1100), true), (false, vec![waiting, future]));
        // The same after kill -9: nobody will write it.
        assert_eq!(state(&gaps, None, Some(950), false), (false, vec![(GapState::NotCaptured, 900, 950)]));
    }

    #[test]
    fn a_killed_run_is_covered_up_to_the_lane_furthest_behind() {
        let killed = |lane, to| GapRecord { lane, ..record(RecordKind::RunKilled, 1, to, to, 0) };
        let start = |lane| GapRecord { lane, ..record(RecordKind::RunStart, 1, 100, 100, 0) };
        let mut records = vec![start(0), start(1), killed(0, 150), killed(1, 160)];
        records.extend(run(2, 300, 400));
        assert_eq!(
            state(&ledger(&records), None, None, false),
            (false, vec![(GapState::NotCaptured, 150, 300)])
        );
    }

    #[test]
    fn losses_that_follow_each_other_are_one_and_others_are_not() {
        let mut records = run(1, 0, 10_000_000_000).to_vec();
        for from in [0, 1_000_000_000, 2_500_000_000] {
            records.push(record(RecordKind::Loss(LossKind::Write), 1, from, from + 100, 5));
        }
        let (_, gaps) = state(&ledger(&records), None, None, false);
        let dropped = |from, to| (GapState::Dropped, from, to);
        assert_eq!(gaps, [dropped(0, 1_000_000_100), dropped(2_500_000_000, 2_500_000_100)]);
    }

    #[test]
    fn many_gaps_are_told_in_sum() {
        const SECOND: u64 = 1_000_000_000;
        let mut records = run(1, 0, 10_000 * SECOND).to_vec();
        records.extend(
            (0..500).map(|n| {
                record(RecordKind::Loss(LossKind::Kernel), 1, n * 10 * SECOND, n * 10 * SECOND + 1, 2)
            }),
        );
        let evidence = Evidence {
            gaps: &ledger(&records),
            being_written: false,
            since: None,
            until: None,
            now: Timestamp(5),
            unreadable: &[],
            frames_cut_off: 3,
        };
        let stated = Completeness::state(&evidence);
        assert_eq!((stated.gaps.len(), stated.frames_dropped_by_kernel()), (2, 1000));
        let json = serde_json::to_value(&stated).unwrap();
        assert_eq!((&json["complete"], &json["gaps"][0]["state"]), (&false.into(), &"dropped".into()));
    }
}
