//! Query: from an expression and a time range to packets of the ring, with a statement of completeness.
//!
//! In: the ring's directory and a [`Query`]. Out: the frames that match, in order of time, then an [`Answer`].
//! The planner leaves out blocks that cannot hold a match; libpcap's compiled program decides about each frame
//! that is left, so that the answer equals a full scan with tcpdump. Never looks at the live tables, takes no
//! lock and disturbs no sensor; memory is bounded by the blocks of one moment.
//!
//! A record says in which blocks its packets are ([`Query::extents`]); then no other block is read, and the index
//! is asked only for where those are.
//!
//! A flow is asked for by its Community ID. Which frames belong to it only the decoder can say, fragments
//! included, so the caller gives a function from a frame to its flow's identifier; it sees the frames of
//! candidate blocks in order of time.

pub mod completeness;
pub mod expression;
mod merge;
pub mod pcapng;
pub mod pin;
pub mod plan;

use crate::capture::bpf::Filter;
use crate::capture::{CaptureError, Frame, LinkType};
use crate::ring::cipher::RingKey;
use crate::ring::gaps::Gaps;
use crate::ring::reader::is_being_written;
use crate::ring::summary::FlowKeys;
use completeness::{Completeness, Evidence};
use expression::Need;
use merge::{Merge, Stop};
use pcapng::PcapngWriter;
use plan::{Cost, Plan, Wanted};
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use weir_common::evidence::Extents;
use weir_common::net::CommunityId;
use weir_common::time::Timestamp;

/// Bytes of answer that are written at once.
const OUTPUT_BUFFER_BYTES: usize = 256 << 10;

/// What is asked of a ring.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The ring's directory.
    pub directory: PathBuf,
    /// What opens the ring when it is encrypted.
    pub key: Option<RingKey>,
    /// Earliest time; none: from the beginning.
    pub since: Option<Timestamp>,
    /// Latest time; none: up to what is there.
    pub until: Option<Timestamp>,
    /// Only this flow.
    pub flow: Option<CommunityId>,
    /// Only these blocks, as a flow's record names them.
    pub extents: Option<Extents>,
    /// A pcap-filter(7) expression; empty: everything.
    pub expression: String,
}

/// Why a question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The expression does not compile.
    #[error(transparent)]
    Expression(#[from] CaptureError),
    /// The range ends before it begins.
    #[error("the range ends at {until}, before it begins at {since}")]
    Range {
        /// Its begin.
        since: Timestamp,
        /// Its end.
        until: Timestamp,
    },
    /// The ring cannot be read.
    #[error("{path}: {source}")]
    Ring {
        /// The ring's directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The frames cannot be written; a broken pipe is a quiet end.
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

/// What the answer came to, after its frames.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// Frames that matched.
    pub frames: u64,
    /// Their captured bytes.
    pub bytes: u64,
    /// Frames that were looked at.
    pub frames_scanned: u64,
    /// What was read of what there is.
    pub cost: Cost,
    /// Frames may be out of order of time, because too many blocks were of one moment.
    pub out_of_order: bool,
    /// Link types for which libpcap refused the expression; their frames do not match.
    pub link_types_refused: Vec<u16>,
    /// Whether anything is missing.
    pub completeness: Completeness,
}

/// What reading would cost, and what is known to be missing before it.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What would be read of what there is.
    pub cost: Cost,
    /// What the index was asked for; `Anything`: every block of the time range is read.
    pub need: String,
    /// Whether anything is known to be missing.
    pub completeness: Completeness,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} frames, {} bytes", self.frames, self.bytes)?;
        if self.out_of_order {
            writeln!(f, "frames may be out of order of time")?;
        }
        for link in &self.link_types_refused {
            writeln!(f, "the expression does not apply to link type {link}; its frames were left out")?;
        }
        self.completeness.fmt(f)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nindex asked for: {}\n{}", self.cost, self.need, self.completeness)
    }
}

/// Where the decoder says to which flow a frame belongs.
pub type FlowOf<'a> = &'a mut dyn FnMut(&Frame<'_>) -> Option<CommunityId>;

impl Query {
    /// Says what answering would read, without reading it.
    pub fn explain(&self, now: Timestamp) -> Result<Explanation, QueryError> {
        let (need, plan, gaps) = self.plan()?;
        let completeness = self.state(now, &gaps, &plan, 0);
        Ok(Explanation { cost: plan.cost, need: format!("{need:?}"), completeness })
    }

    /// Gives each matching frame to `each`, in order of time. `flow_of` is asked only for a query by flow.
    pub fn run(
        &self,
        now: Timestamp,
        flow_of: FlowOf<'_>,
        each: &mut dyn FnMut(&Frame<'_>) -> io::Result<()>,
    ) -> Result<Answer, QueryError> {
        let (_, plan, gaps) = self.plan()?;
        self.answer(now, plan, &gaps, flow_of, each)
    }

    /// Counts the matching frames without giving them out.
    pub fn count(&self, now: Timestamp, flow_of: FlowOf<'_>) -> Result<Answer, QueryError> {
        self.run(now, flow_of, &mut |_| Ok(()))
    }

    /// Writes the matching frames as pcapng, the statement in its comments. `out` need not be buffered.
    pub fn write_pcapng(
        &self,
        now: Timestamp,
        flow_of: FlowOf<'_>,
        out: impl Write,
    ) -> Result<Answer, QueryError> {
        let (_, plan, gaps) = self.plan()?;
        let before = self.state(now, &gaps, &plan, 0);
        let comment = format!("weir-sensor query: {}\nknown before reading: {before}", self.words());
        let mut writer =
            PcapngWriter::begin(io::BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, out), &comment)
                .map_err(QueryError::Output)?;
        let answer = self.answer(now, plan, &gaps, flow_of, &mut |frame| writer.frame(frame))?;
        let dropped = answer.completeness.frames_dropped_by_kernel();
        writer.finish(&answer.to_string(), Some(dropped)).map_err(QueryError::Output)?;
        Ok(answer)
    }

    /// The question in words.
    fn words(&self) -> String {
        let mut words =
            if self.expression.is_empty() { "everything".to_owned() } else { self.expression.clone() };
        for (name, value) in [
            ("flow", self.flow.map(|flow| flow.to_string())),
            ("extents", self.extents.as_ref().map(Extents::to_string)),
            ("since", self.since.map(|time| time.to_string())),
            ("until", self.until.map(|time| time.to_string())),
        ] {
            if let Some(value) = value {
                words.push_str(&format!(", {name} {value}"));
            }
        }
        words
    }

    fn plan(&self) -> Result<(Need, Plan, Gaps), QueryError> {
        let (since, until) = (self.since.unwrap_or(Timestamp::MIN), self.until.unwrap_or(Timestamp::MAX));
        if since > until {
            return Err(QueryError::Range { since, until });
        }
        // An expression that is wrong for the commonest link type may be right for another: the frames decide.
        Filters::new(&self.expression).check_somewhere()?;
        let unreadable = |source| QueryError::Ring { path: self.directory.clone(), source };
        // The ledger first: what is written while the plan is made is then covered by no claim.
        let gaps = Gaps::read(&self.directory).map_err(unreadable)?;
        let need = Need::of(&self.expression);
        let flow = self.flow.as_ref().map(|flow| FlowKeys { tag: flow.tag(), pair: None });
        let wanted = Wanted { since, until, need: need.clone(), flow, extents: self.extents.clone() };
        let plan = Plan::make(&self.directory, self.key.as_ref(), &wanted).map_err(unreadable)?;
        Ok((need, plan, gaps))
    }

    fn answer(
        &self,
        now: Timestamp,
        mut plan: Plan,
        gaps: &Gaps,
        flow_of: FlowOf<'_>,
        each: &mut dyn FnMut(&Frame<'_>) -> io::Result<()>,
    ) -> Result<Answer, QueryError> {
        let (since, until) = (self.since.unwrap_or(Timestamp::MIN), self.until.unwrap_or(Timestamp::MAX));
        let mut filters = Filters::new(&self.expression);
        let (mut frames, mut bytes, mut cut_off) = (0u64, 0u64, 0u64);
        let by_flow = self.flow.is_some();
        let mut matches = |frame: &Frame<'_>| {
            // The decoder must see every fragment, so that a query by flow filters after it.
            (since..=until).contains(&frame.time) && (by_flow || filters.match_frame(frame))
        };
        let mut flow_filters = Filters::new(&self.expression);
        let mut give = |frame: &Frame<'_>| {
            if by_flow && (flow_of(frame) != self.flow || !flow_filters.match_frame(frame)) {
                return Ok(());
            }
            frames += 1;
            bytes += frame.data.len() as u64;
            cut_off += u64::from((frame.data.len() as u64) < u64::from(frame.wire_len));
            each(frame)
        };
        let read = match Merge::new(&plan).run(&mut matches, &mut give) {
            Ok(read) => read,
            Err(Stop::Sink(error)) => return Err(QueryError::Output(error)),
        };
        let mut link_types_refused = filters.refused();
        link_types_refused.extend(flow_filters.refused());
        plan.unreadable.extend(read.unreadable);
        Ok(Answer {
            frames,
            bytes,
            frames_scanned: read.frames_scanned,
            cost: plan.cost,
            out_of_order: read.out_of_order,
            link_types_refused,
            completeness: self.state(now, gaps, &plan, cut_off),
        })
    }

    fn state(&self, now: Timestamp, gaps: &Gaps, plan: &Plan, frames_cut_off: u64) -> Completeness {
        let pinned_blocks = plan.cost.pinned_blocks_to_read;
        let stated = Completeness::state(&Evidence {
            gaps,
            being_written: is_being_written(&self.directory),
            since: self.since,
            until: self.until,
            now,
            unreadable: &plan.unreadable,
            frames_cut_off,
        });
        Completeness { pinned_blocks, ..stated }
    }
}

/// The expression compiled for each link type that comes along; there are few, so a list is searched.
struct Filters<'e> {
    expression: &'e str,
    compiled: Vec<(LinkType, Result<Filter, CaptureError>)>,
}

/// Link types that an expression is tried with before anything is read.
const TRIED: [LinkType; 3] = [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL];

impl<'e> Filters<'e> {
    fn new(expression: &'e str) -> Filters<'e> {
        Filters { expression, compiled: Vec::new() }
    }

    /// An expression that compiles for none of the usual link types is the asker's mistake.
    fn check_somewhere(&self) -> Result<(), CaptureError> {
        let mut wrong = None;
        for link in TRIED {
            match Filter::compile(self.expression, link) {
                Ok(_) => return Ok(()),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    #[inline]
    fn match_frame(&mut self, frame: &Frame<'_>) -> bool {
        let known = self.compiled.iter().position(|(link, _)| *link == frame.link);
        let at = known.unwrap_or_else(|| {
            self.compiled.push((frame.link, Filter::compile(self.expression, frame.link)));
            self.compiled.len() - 1
        });
        match self.compiled.get(at) {
            Some((_, Ok(filter))) => filter.matches(frame.data, frame.wire_len),
            _ => false,
        }
    }

    fn refused(&self) -> Vec<u16> {
        let refused = self.compiled.iter().filter(|(_, compiled)| compiled.is_err());
        refused.map(|(link, _)| link.0).collect()
    }
}

#[cfg(test)]
mod tests;
