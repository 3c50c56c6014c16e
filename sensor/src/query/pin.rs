//! Pinning: from a question to the blocks that hold its answer, kept past the ring's turn.
//!
//! In: a [`Query`] and how it is to be kept. Out: a pin of just the blocks with matching frames, and the
//! statement whether these are all. Two passes: the first reads the candidate blocks and counts, without a lock,
//! so that a long search is in nobody's way and the quota is asked before anything is written; the second copies.
//! What retention takes between the two is missing, and the statement says so.
//! Deliberately absent: an answer in order of time; blocks are looked at one after the other.

use super::completeness::Completeness;
use super::merge::unreadable;
use super::plan::{Candidate, Plan};
use super::{Filters, FlowOf, Query, QueryError};
use crate::capture::Frame;
use crate::ring::pins::copy::{CopyError, PinMaker};
use crate::ring::pins::{Pin, PinError};
use crate::ring::reader::{BlockFrames, BlockReader};
use serde::Serialize;
use std::fmt;
use std::time::Duration;
use weir_common::net::CommunityId;
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
struct Found {
    candidate: Candidate,
    frames: u64,
    frames_cut_off: u64,
}

impl Query {
    /// Pins the blocks that hold the answer. `busy` is called before waiting for another process that makes or
    /// removes a pin.
    pub fn pin(
        &self,
        now: Timestamp,
        flow_of: FlowOf<'_>,
        keeping: &Keeping<'_>,
        busy: &mut dyn FnMut(),
    ) -> Result<Pinned, NotPinned> {
        let (_, mut plan, gaps) = self.plan()?;
        let (mut found, link_types_refused) = self.find(&mut plan, flow_of);
        if found.is_empty() {
            return Err(NotPinned::NoMatch(self.state(now, &gaps, &plan, 0)));
        }
        // Blocks of one segment are written to one file; a pin and the ring may both have some of them.
        let name_of = |found: &Found| plan.segments.get(found.candidate.segment).map(|files| files.name);
        found.sort_by_key(|found| (name_of(found), found.candidate.header.number));
        let stored_bytes = found.iter().map(|found| found.candidate.header.stored_bytes()).sum();
        let mut maker = PinMaker::begin(&self.directory, keeping.budget_bytes, stored_bytes, now, busy)?;
        let (mut frames, mut cut_off) = (0, 0);
        for found in &found {
            let Candidate { segment, offset, header, pinned, .. } = &found.candidate;
            let Some(files) = plan.segments.get(*segment) else { continue };
            let mut tag_of = |frame: &Frame<'_>| flow_of(frame).as_ref().map(CommunityId::tag);
            let mut kept = maker.keep(files, *offset, header, &mut tag_of);
            if let (Err(CopyError::Block(_)), Some(pin)) =
                (&kept, pinned.and_then(|at| plan.segments.get(at)))
            {
                kept = maker.keep(pin, *offset, header, &mut tag_of);
            }
            match kept {
                Ok(()) => {
                    frames += found.frames;
                    cut_off += found.frames_cut_off;
                }
                Err(CopyError::Block(error)) => {
                    let gone = unreadable(&found.candidate, &files.segment.display(), &error);
                    plan.unreadable.push(gone);
                }
                Err(CopyError::Pin(error)) => return Err(error.into()),
            }
        }
        let completeness = self.state(now, &gaps, &plan, cut_off);
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
        Ok(Pinned { pin, link_types_refused, completeness })
    }

    /// The candidate blocks that hold a matching frame, and the link types to which the expression does not
    /// apply. Blocks that cannot be read are added to the plan's.
    fn find(&self, plan: &mut Plan, flow_of: FlowOf<'_>) -> (Vec<Found>, Vec<u16>) {
        let range = self.since.unwrap_or(Timestamp::MIN)..=self.until.unwrap_or(Timestamp::MAX);
        let mut filters = Filters::new(&self.expression);
        let (mut reader, mut block) = (BlockReader::default(), BlockFrames::default());
        let mut found = Vec::new();
        for candidate in std::mem::take(&mut plan.candidates) {
            let Some(files) = plan.segments.get(candidate.segment) else { continue };
            if let Err(error) = plan.read(&mut reader, &candidate, &mut block) {
                plan.unreadable.push(unreadable(&candidate, &files.segment.display(), &error));
                continue;
            }
            let (mut frames, mut frames_cut_off) = (0, 0);
            block.each(&mut |_, frame| {
                // The decoder sees every frame, so that fragments find their flow.
                let in_flow = self.flow.is_none_or(|wanted| flow_of(frame) == Some(wanted));
                if in_flow && range.contains(&frame.time) && filters.match_frame(frame) {
                    frames += 1;
                    frames_cut_off += u64::from((frame.data.len() as u64) < u64::from(frame.wire_len));
                }
            });
            if frames > 0 {
                found.push(Found { candidate, frames, frames_cut_off });
            }
        }
        (found, filters.refused())
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
