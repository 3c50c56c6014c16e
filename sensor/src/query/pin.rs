//! Pinning: from a question to the blocks that hold its answer, kept past the ring's turn.
//!
//! In: a [`Query`] and how it is to be kept. Out: a pin of just the blocks with matching frames, and the
//! statement whether these are all. Two passes: the first reads the candidate blocks and counts, without a lock,
//! so that a long search is in nobody's way and the quota is asked before anything is written; the second copies.
//! What retention takes between the two is missing, and the statement says so.
//! Deliberately absent: anything of how an answer is found; this counts one.

use super::completeness::{Completeness, Shortened};
use super::flow::{FlowOf, FrameFlow};
use super::plan::Candidate;
use super::scan::{Position, Wants, unreadable};
use super::{Answer, Planned, Query, QueryError};
use crate::capture::Frame;
use crate::ring::pins::copy::{CopyError, PinMaker};
use crate::ring::pins::{Pin, PinError};
use crate::ring::summary::NO_FLOW;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use weir_common::time::Timestamp;

/// How evidence is to be kept.
#[derive(Debug)]
pub struct Keeping<'a> {
    /// For how long; none: until it is given back.
    pub duration: Option<Duration>,
    /// What a person says about it.
    pub note: &'a str,
    /// Disk space that all pins of the ring may use, in bytes.
    pub budget_bytes: u64,
}

/// Evidence that was pinned.
#[derive(Clone, Debug, Serialize)]
pub struct Pinned {
    /// What is kept.
    pub pin: Pin,
    /// Link types for which libpcap refused the expression; their frames are not kept for their own sake.
    pub link_types_refused: Vec<u16>,
    /// Whether it is everything that was asked for.
    pub completeness: Completeness,
}

/// Why nothing was pinned.
#[derive(Debug, thiserror::Error)]
pub enum NotPinned {
    /// The question cannot be answered.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// No frame of the ring matches.
    #[error("no frame matches, and nothing is pinned\n{0}")]
    NoMatch(Completeness),
    /// The pin cannot be made.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// A block with matching frames.
struct Held {
    candidate: Candidate,
    frames: u64,
    shortened: Shortened,
}

impl Query {
    /// Pins the blocks that hold the answer. `busy` is called before waiting for another process that makes or
    /// removes a pin.
    pub fn pin(
        &self,
        now: Timestamp,
        flow_of: &dyn FlowOf,
        keeping: &Keeping<'_>,
        busy: &mut dyn FnMut(),
    ) -> Result<Pinned, NotPinned> {
        let mut planned = self.plan(flow_of)?;
        let (mut found, answer) = self.find(now, &mut planned, flow_of)?;
        if found.is_empty() {
            return Err(NotPinned::NoMatch(answer.completeness));
        }
        let plan = &planned.plan;
        // Blocks of one segment are written to one file; a pin and the ring may both have some of them.
        let name_of = |found: &Held| plan.segments.get(found.candidate.segment).map(|files| files.name);
        found.sort_by_key(|found| (name_of(found), found.candidate.header.number));
        let stored_bytes = found.iter().map(|found| found.candidate.header.stored_bytes()).sum();
        let mut maker = PinMaker::begin(&self.directory, keeping.budget_bytes, stored_bytes, now, busy)?;
        let (mut frames, mut shortened, mut gone) = (0, Shortened::default(), Vec::new());
        let mut alone = flow_of.alone();
        let mut tag_of = |frame: &Frame<'_>| match alone(frame) {
            FrameFlow::Of(flow) | FrameFlow::Cut(flow) => Some(flow.tag()),
            FrameFlow::None => Some(NO_FLOW),
            FrameFlow::Fragment(_) => None,
        };
        for found in &found {
            let Candidate { segment, offset, header, pinned, .. } = &found.candidate;
            let Some(files) = plan.segments.get(*segment) else { continue };
            let mut kept = maker.keep(files, *offset, header, &mut tag_of);
            if let (Err(CopyError::Block(_)), Some(pin)) =
                (&kept, pinned.and_then(|at| plan.segments.get(at)))
            {
                kept = maker.keep(pin, *offset, header, &mut tag_of);
            }
            match kept {
                Ok(()) => {
                    frames += found.frames;
                    shortened.add(&found.shortened);
                }
                Err(CopyError::Block(error)) => {
                    gone.push(unreadable(plan, &found.candidate, &error));
                }
                Err(CopyError::Pin(error)) => return Err(error.into()),
            }
        }
        planned.plan.unreadable.extend(gone);
        let completeness = self.state(now, &planned, self.until, shortened);
        if frames == 0 {
            return Err(NotPinned::NoMatch(completeness));
        }
        let pin = maker.finish(Pin {
            until: keeping.duration.map(|duration| now.plus(duration)),
            query: self.words(),
            note: keeping.note.to_owned(),
            frames,
            complete: completeness.complete,
            statement: completeness.to_string(),
            ..Pin::default()
        })?;
        Ok(Pinned { pin, link_types_refused: answer.link_types_refused, completeness })
    }

    /// The candidate blocks that hold a matching frame, and what counting them came to.
    fn find(
        &self,
        now: Timestamp,
        planned: &mut Planned,
        flow_of: &dyn FlowOf,
    ) -> Result<(Vec<Held>, Answer), QueryError> {
        let mut matches: HashMap<(u32, u16, u64), (u64, Shortened)> = HashMap::new();
        let answer = self.answer(now, planned, flow_of, Wants::Count, &mut |found| {
            let Position { run, lane, number, .. } = found.position;
            let (frames, shortened) = matches.entry((run, lane, number)).or_default();
            *frames += 1;
            shortened.count(found.captured_len, found.frame.wire_len, found.left_out);
            Ok(())
        })?;
        let held = |candidate: &Candidate| {
            let block = (candidate.run, candidate.header.lane, candidate.header.number);
            let (frames, shortened) = *matches.get(&block)?;
            Some(Held { candidate: candidate.clone(), frames, shortened })
        };
        Ok((planned.plan.candidates.iter().filter_map(held).collect(), answer))
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pin { id, frames, blocks, bytes, until, .. } = &self.pin;
        let megabytes = *bytes as f64 / 1e6;
        write!(f, "{id}: {frames} frames in {blocks} blocks, {megabytes:.1} MB, ")?;
        match until {
            Some(until) => writeln!(f, "until {until}")?,
            None => writeln!(f, "until `ring unpin {id}`")?,
        }
        for link in &self.link_types_refused {
            writeln!(f, "the expression does not apply to link type {link}; its frames were left out")?;
        }
        self.completeness.fmt(f)
    }
}

#[cfg(test)]
mod tests;
