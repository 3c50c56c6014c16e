//! Which times a ring covers: when a sensor wrote it, and how that ended.
//!
//! In: the ledger's runs and the steps of their clocks. Out: covered times, and the parts of a range that no
//! run covers, each with its reason. Knows nothing of losses within a run.

use super::{Evidence, Gap, GapState};
use crate::ring::gaps::{ClockStep, Gaps, RecordKind};
use std::collections::BTreeMap;
use weir_common::time::Timestamp;

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In order.
    Stopped,
    /// Without a word: it was killed, or the machine lost its power.
    Killed,
    /// It has not, as far as the ledger knows.
    Open,
}

/// A time in which all lanes of a run were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// How its run ended.
    end: End,
    /// The clock is here: what is captured now goes on from `to`.
    is_last: bool,
}

/// What the ledger says of a run.
struct Run {
    from: Timestamp,
    ended: Option<Timestamp>,
    killed: Option<Timestamp>,
    begun: u32,
    closed: u32,
    /// Where each lane's clock was set back to, and from where.
    back: BTreeMap<u16, Vec<(Timestamp, Timestamp)>>,
}

/// The times in which all lanes of a run were written, in order.
///
/// The lanes of a run begin and end together; one that was killed is covered up to the lane that was
/// furthest behind. A clock that is set back takes a run to times that it had left, or never seen.
pub(super) fn covered(gaps: &Gaps) -> Vec<Covered> {
    let mut runs: BTreeMap<u32, Run> = BTreeMap::new();
    for ((number, _), from) in gaps.begins() {
        let run = runs.entry(number).or_insert(Run {
            from,
            ended: None,
            killed: None,
            begun: 0,
            closed: 0,
            back: BTreeMap::new(),
        });
        run.from = run.from.min(from);
        run.begun += 1;
    }
    for record in &gaps.records {
        let Some(run) = runs.get_mut(&record.run) else { continue };
        match record.kind {
            RecordKind::RunEnd => {
                run.ended = run.ended.max(Some(record.to));
                run.closed += 1;
            }
            RecordKind::RunKilled => {
                run.killed = Some(run.killed.map_or(record.to, |killed| killed.min(record.to)));
                run.closed += 1;
            }
            RecordKind::ClockStep(ClockStep::Back) => {
                run.back.entry(record.lane).or_default().push((record.from, record.to));
            }
            _ => {}
        }
    }
    let mut covered: Vec<Covered> =
        runs.iter().flat_map(|(number, run)| run.covered(*number, gaps)).collect();
    covered.sort_by_key(|covered| covered.from);
    covered
}

impl Run {
    fn covered(&self, number: u32, gaps: &Gaps) -> Vec<Covered> {
        // A lane whose slot cannot be read is covered up to nobody knows when.
        let times = gaps.alive.iter().filter(|alive| alive.run == number).map(|alive| alive.until);
        let alive = times.clone().min().filter(|_| times.count() >= self.begun as usize);
        let (end, to) = match (self.closed < self.begun, self.killed) {
            (true, _) => (End::Open, alive),
            (false, Some(killed)) => (End::Killed, Some(killed)),
            (false, None) => (End::Stopped, self.ended),
        };
        let mut out = Vec::new();
        let mut from = self.from;
        // The lanes share a clock; a quiet one may not have noticed.
        for (back, before) in self.back.values().max_by_key(|steps| steps.len()).into_iter().flatten() {
            out.push(Covered { from, to: (*before).max(from), end, is_last: false });
            from = *back;
        }
        out.push(Covered { from, to: to.unwrap_or(from).max(from), end, is_last: true });
        out
    }
}

/// The parts of the range in which no run was writing. A range of one moment is such a part or is none.
pub(super) fn not_captured(
    evidence: &Evidence<'_>,
    covered: &[Covered],
    from: Timestamp,
    until: Timestamp,
    gaps: &mut Vec<Gap>,
) {
    let is_moment = from == until;
    if is_moment && covered.iter().any(|part| (part.from..=part.to).contains(&from)) {
        return;
    }
    let mut push = |state, from: Timestamp, to: Timestamp, reason: &str| {
        gaps.push(Gap { state, from, to, frames: None, bytes: None, reason: reason.into() });
    };
    if covered.is_empty() {
        let reason = match evidence.unreadable {
            [] => "nothing was ever written to this ring",
            _ => "the ledger knows of no run that wrote this ring",
        };
        push(GapState::NotCaptured, from, until, reason);
        return;
    }
    if is_moment && from > evidence.now {
        push(GapState::NotCaptured, from, until, "in the future");
        return;
    }
    let mut uncovered = |from: Timestamp, to: Timestamp, after: Option<&Covered>| match after {
        None => push(GapState::NotCaptured, from, to, "before the ring began"),
        Some(Covered { end: End::Open, is_last: true, .. }) if evidence.being_written => {
            let end = to.min(evidence.now).max(from);
            push(GapState::NotYetWritten, from, end, "still in the sensor's memory");
            if to > evidence.now {
                push(GapState::NotCaptured, end, to, "in the future");
            }
        }
        Some(Covered { end: End::Stopped, .. }) => push(GapState::NotCaptured, from, to, "sensor stopped"),
        Some(Covered { end: End::Open, .. }) if evidence.being_written => {
            push(GapState::NotCaptured, from, to, "the clock was set back before this time");
        }
        Some(_) => push(GapState::NotCaptured, from, to, "sensor killed"),
    };
    if is_moment {
        let before = covered.iter().filter(|part| part.to < from).max_by_key(|part| part.to);
        uncovered(from, until, before);
        return;
    }
    let (mut reached, mut last) = (from, None);
    for part in covered {
        if part.from > reached && reached < until {
            uncovered(reached, part.from.min(until), last);
        }
        if part.to >= reached {
            last = Some(part);
        }
        reached = reached.max(part.to);
        // What lies before the range says how it went on as well.
        last = last.or(Some(part));
    }
    if reached < until {
        uncovered(reached, until, last);
    }
}

/// What there is to say of the time from the end of an open range until now: what came last is on its way, or nobody
/// captures any longer.
pub(super) fn behind_the_end(evidence: &Evidence<'_>, covered: &[Covered], until: Timestamp) -> Option<Gap> {
    let last = covered.iter().max_by_key(|part| part.to)?;
    let (state, reason) = match last.end {
        _ if evidence.being_written => {
            (GapState::NotYetWritten, "what came last is still in the sensor's memory")
        }
        End::Stopped => (GapState::NotCaptured, "sensor stopped"),
        End::Killed | End::Open => (GapState::NotCaptured, "sensor killed"),
    };
    let is_told = evidence.until.is_none() && evidence.now > until;
    is_told.then(|| Gap {
        state,
        from: until,
        to: evidence.now,
        frames: None,
        bytes: None,
        reason: reason.into(),
    })
}
