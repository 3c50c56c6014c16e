//! Query: from an expression and a time range to packets of the ring, with a statement of completeness.
//!
//! In: the ring's directory and a [`Query`]. Out: the frames that match, in order of time, then an [`Answer`].
//! The planner leaves out blocks that cannot hold a match; libpcap's compiled program decides about each frame
//! that is left, so that the answer equals a full scan with tcpdump. Never looks at the live tables, takes no
//! lock and disturbs no sensor.
//!
//! Threads: those of [`Reading::threads`] read, verify and filter blocks ([`scan`]); the asking thread merges what
//! they give in order of time ([`merge`]) and hands it out. A question about one block starts no thread. Memory is
//! bounded whatever is asked: one block per thread, what [`supply`] reads ahead (64 MiB of frames), and the matches
//! of the blocks of one moment ([`merge`], 256 MiB).
//!
//! A flow is asked for by its Community ID. Which frames belong to it only the decoder can say, so the caller gives
//! a [`FlowOf`]. A record says in which blocks its packets are ([`Query::extents`]); then no other block is read, and the
//! answer speaks of those alone.

pub mod completeness;
pub mod evidence;
pub mod expression;
pub mod manifest;
pub mod flow;
mod payload;
pub mod pcapng;
pub mod pin;
pub mod plan;
pub mod priority;
pub mod reading;
mod filters;
mod given;
mod merge;
mod need_words;
mod scan;
mod supply;

pub use scan::{Found, Position};

use crate::capture::CaptureError;
use crate::ring::account::account;
use crate::ring::cipher::RingKey;
use crate::ring::custody::Signer;
use crate::ring::gaps::Gaps;
use crate::ring::interfaces;
use crate::ring::reader::is_being_written;
use crate::ring::summary::{FlowKeys, Pairs};
use completeness::{Completeness, Evidence, Finding, Shortened};
use expression::Need;
use filters::Filters;
use flow::FlowOf;
use given::Given;
use manifest::{ENTERPRISE_NUMBER, Manifest, Source};
use merge::{Counted, Merge, OPEN_BYTES_MAX, Read};
use pcapng::{Drops, PcapngWriter};
use plan::{Cost, Plan, Wanted};
use reading::{Pace, Reading};
use scan::{Question, Wants, stored_bytes};
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use supply::{Alone, Pool, Supply};
use weir_common::evidence::Extents;
use weir_common::net::CommunityId;
use weir_common::time::Timestamp;

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
    /// What blocks must hold to be read, besides what the expression needs. It chooses blocks, not frames:
    /// every frame of a block that is read can be in the answer.
    pub need: Option<Need>,
    /// Whoever takes the frames looks at their payloads: what was left out on purpose is then told of the whole
    /// range, as it is for an expression that does so.
    pub reads_bytes: bool,
    /// Most frames to give; the answer says up to when it is complete.
    pub limit: Option<NonZeroU64>,
    /// How it is read.
    pub reading: Reading,
    /// Who vouches for what is exported.
    pub signer: Signer,
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
    /// The blocks outside of which nothing was looked for; none: all that could hold a match were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_blocks: Option<Extents>,
    /// Why and where the answer ends before the range does; none: it was read to its end.
    pub stopped: Option<Stopped>,
    /// What the frames, or their absence, say about the wire.
    pub finding: Finding,
    /// Link types for which libpcap refused the expression; their frames do not match.
    pub link_types_refused: Vec<u16>,
    /// Whether anything is missing.
    pub completeness: Completeness,
}

/// Where an answer ends before its range does. Its completeness speaks of the time up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stopped {
    /// Why.
    pub reason: StopReason,
    /// Everything before this time was looked at and given; later frames only in part.
    #[serde(serialize_with = "completeness::text")]
    pub before: Timestamp,
}

/// Why an answer ends before its range does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Whoever asked wanted no more, as by SIGINT.
    Interrupted,
    /// It has as many frames as were asked for.
    Limit,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            StopReason::Interrupted => "interrupted",
            StopReason::Limit => "ended at the limit of frames",
        };
        write!(
            f,
            "{why}: all that matches before {} is here, and what follows was not looked for",
            self.before
        )
    }
}

/// What reading would cost, and what is known to be missing before it.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What would be read of what there is.
    pub cost: Cost,
    /// What the index was asked for, in words.
    pub need: String,
    /// Whether anything is known to be missing.
    pub completeness: Completeness,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} frames, {} bytes", self.frames, self.bytes)?;
        if let Some(sentence) = self.finding.sentence(&self.completeness) {
            writeln!(f, "{sentence}")?;
        }
        if let Some(extents) = &self.only_blocks {
            writeln!(f, "only blocks {extents} were looked at")?;
        }
        if self.out_of_order {
            writeln!(f, "frames may be out of order of time")?;
        }
        if let Some(stopped) = &self.stopped {
            writeln!(f, "{stopped}")?;
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

impl Query {
    /// Says what answering would read, without reading it: of a flow at most the block that tells its addresses.
    pub fn explain(&self, now: Timestamp, flow_of: &dyn FlowOf) -> Result<Explanation, QueryError> {
        let planned = self.plan(flow_of)?;
        let completeness = self.state(now, &planned, self.until, Shortened::default());
        Ok(Explanation { cost: planned.plan.cost, need: self.asked_for(&planned.need), completeness })
    }

    /// What narrows the blocks, besides the time range.
    fn asked_for(&self, need: &Need) -> String {
        let flow = self.flow.map(|flow| format!("flow {flow}"));
        let extents = self.extents.as_ref().map(|extents| format!("blocks {extents}"));
        let need = (!need.is_anything()).then(|| need.to_string());
        let all: Vec<String> = [extents, flow, need].into_iter().flatten().collect();
        if all.is_empty() {
            "anything, so that every block of the time range is read".into()
        } else {
            all.join(", ")
        }
    }

    /// Gives each matching frame to `each`, in order of time. `flow_of` is asked only for a query by flow.
    pub fn run(
        &self,
        now: Timestamp,
        flow_of: &dyn FlowOf,
        each: &mut dyn FnMut(&Found<'_>) -> io::Result<()>,
    ) -> Result<Answer, QueryError> {
        self.answer(now, &mut self.plan(flow_of)?, flow_of, Wants::Frames, each)
    }

    /// Counts the matching frames without giving them out, and reads no more of them than that takes: where the
    /// first bytes of frames decide, those behind are not verified. That the file has them at all is looked at.
    pub fn count(&self, now: Timestamp, flow_of: &dyn FlowOf) -> Result<Answer, QueryError> {
        self.answer(now, &mut self.plan(flow_of)?, flow_of, Wants::Count, &mut |_| Ok(()))
    }

    /// Writes the matching frames as pcapng, the statement in its comments. `out` need not be buffered.
    pub fn write_pcapng(
        &self,
        now: Timestamp,
        flow_of: &dyn FlowOf,
        out: impl Write,
    ) -> Result<Answer, QueryError> {
        let mut planned = self.plan(flow_of)?;
        let before = self.state(now, &planned, self.until, Shortened::default());
        let comment = format!("weir-sensor query: {}\nknown before reading: {before}", self.words());
        let names = interfaces::read(&self.directory);
        let mut writer = PcapngWriter::begin(out, names, &comment).map_err(QueryError::Output)?;
        let mut manifest = Manifest::default();
        let answer = self.answer(now, &mut planned, flow_of, Wants::Frames, &mut |found| {
            let id = manifest.frame(found);
            writer.frame_with(&found.frame, found.left_out.as_ref(), Some(id))
        })?;
        let completeness = serde_json::to_value(&answer.completeness).unwrap_or_default();
        let source = Source { directory: &self.directory, segments: &planned.plan.segments };
        let pieces = manifest.finish(&self.words(), completeness, &source, &self.signer);
        let mut written = pieces.iter().map(|piece| writer.custom(ENTERPRISE_NUMBER, piece));
        written.try_for_each(|written| written).map_err(QueryError::Output)?;
        let drops = Drops {
            kernel: answer.completeness.frames_dropped_by_kernel(),
            interface: answer.completeness.frames_dropped_by_interface(),
        };
        writer.finish(&answer.to_string(), Some(drops)).map_err(QueryError::Output)?;
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

    fn plan(&self, flow_of: &dyn FlowOf) -> Result<Planned, QueryError> {
        let (since, until) = (self.since.unwrap_or(Timestamp::MIN), self.until.unwrap_or(Timestamp::MAX));
        if since > until {
            return Err(QueryError::Range { since, until });
        }
        let filters = Filters::new(&self.expression)?;
        let unreadable = |source| QueryError::Ring { path: self.directory.clone(), source };
        // The ledger first: what is written while the plan is made is then covered by no claim.
        let gaps = Gaps::read(&self.directory).map_err(unreadable)?;
        let of_expression = Need::of(&self.expression);
        let need = match &self.need {
            Some(need) => Need::All(vec![of_expression, need.clone()]),
            None => of_expression,
        };
        let flow = self.flow.as_ref().map(|flow| FlowKeys { tag: flow.tag(), pairs: Pairs::None });
        let mut wanted = Wanted { since, until, need: need.clone(), flow, extents: self.extents.clone() };
        let make = |wanted: &Wanted| Plan::make(&self.directory, self.key.as_ref(), wanted);
        let mut plan = make(&wanted).map_err(unreadable)?;
        let mut pairs = Pairs::None;
        if let Some(flow) = self.flow.filter(|_| plan.has_pairs) {
            pairs = flow::pairs(&plan, flow, flow_of);
            wanted.flow = Some(FlowKeys { tag: flow.tag(), pairs });
            plan = make(&wanted).map_err(unreadable)?;
        }
        // What left the ring before the plan saw it was written down before.
        let gaps = gaps.with_losses_of(Gaps::read(&self.directory).map_err(unreadable)?);
        plan.unreadable.extend(completeness::unaccounted(&account(&gaps, &plan.held, &plan.told)));
        if let Some(extents) = &self.extents {
            let held = [plan.held.as_slice(), &plan.pinned].concat();
            let being_written = is_being_written(&self.directory);
            plan.unreadable.extend(completeness::not_there(extents, &held, &gaps, being_written));
        }
        Ok(Planned { since, until, filters, need, pairs, plan, gaps })
    }

    fn answer(
        &self,
        now: Timestamp,
        planned: &mut Planned,
        flow_of: &dyn FlowOf,
        wants: Wants,
        each: &mut dyn FnMut(&Found<'_>) -> io::Result<()>,
    ) -> Result<Answer, QueryError> {
        let mut given = Given::new(self, flow_of, each);
        let mut give = |found: &Found<'_>, verdict| given.take(found, verdict);
        let question = Question {
            since: planned.since,
            until: planned.until,
            flow: self.flow,
            pairs: planned.pairs,
            filters: planned.filters.clone(),
            plan: &planned.plan,
            reading: &self.reading,
            wants,
            pace: self.reading.bytes_per_second.map(Pace::new),
        };
        let read = self.read(&planned.plan, &question, flow_of, &mut give).map_err(QueryError::Output)?;
        drop(question);
        if read.ended_before.is_none() {
            given.finish().map_err(QueryError::Output)?;
        }
        let ended_before = read.ended_before.into_iter().chain(given.waits_from()).min();
        let Given { frames, bytes, shortened, .. } = given;
        let stopped = ended_before.map(|before| Stopped {
            reason: match self.limit {
                Some(limit) if frames >= limit.get() => StopReason::Limit,
                _ => StopReason::Interrupted,
            },
            before,
        });
        // The statement is about the time that was looked at.
        let until = match stopped {
            Some(stopped) => Some(Timestamp(stopped.before.0.saturating_sub(1)).min(planned.until)),
            None => self.until,
        };
        planned.plan.unreadable.extend(read.unreadable);
        let completeness = self.state(now, planned, until, shortened);
        Ok(Answer {
            finding: Finding::of(frames, &completeness, stopped.is_some() || self.extents.is_some()),
            only_blocks: self.extents.clone(),
            frames,
            bytes,
            frames_scanned: read.frames_scanned,
            cost: planned.plan.cost,
            out_of_order: read.out_of_order,
            stopped,
            link_types_refused: planned.filters.refused(),
            completeness,
        })
    }

    /// Reads by this thread alone or with others, which end here.
    fn read(
        &self,
        plan: &Plan,
        question: &Question<'_>,
        flow_of: &dyn FlowOf,
        give: merge::Give<'_>,
    ) -> io::Result<Read> {
        let candidates = &plan.candidates;
        let progress = self.reading.progress.as_deref();
        if let Some(progress) = progress {
            progress.blocks.store(plan.cost.blocks_to_read, Ordering::Relaxed);
            progress.bytes.store(plan.cost.bytes_to_read, Ordering::Relaxed);
        }
        let stored = |at: usize| candidates.get(at).map_or(0, stored_bytes);
        let mut merge = |supply: &mut dyn Supply| {
            let merge = Merge::new(&self.reading, OPEN_BYTES_MAX);
            match progress {
                Some(progress) => merge.run(&mut Counted { supply, progress, stored_bytes: &stored }, give),
                None => merge.run(supply, give),
            }
        };
        let threads = self.reading.threads_for(candidates.len());
        if threads > 1 {
            return std::thread::scope(|scope| {
                match Pool::start(scope, threads, candidates, question, flow_of) {
                    Some(mut pool) => merge(&mut pool),
                    None => merge(&mut Alone::new(candidates, question, flow_of)),
                }
            });
        }
        merge(&mut Alone::new(candidates, question, flow_of))
    }

    fn state(
        &self,
        now: Timestamp,
        planned: &Planned,
        until: Option<Timestamp>,
        shortened: Shortened,
    ) -> Completeness {
        let stated = Completeness::state(&Evidence {
            gaps: &planned.gaps,
            being_written: is_being_written(&self.directory),
            since: self.since,
            until,
            now,
            unreadable: &planned.plan.unreadable,
            shortened,
            reads_bytes: self.reads_bytes || payload::reads_payload(&self.expression),
        });
        Completeness { pinned_blocks: planned.plan.cost.pinned_blocks_to_read, ..stated }
    }
}

/// What is known before reading.
struct Planned {
    since: Timestamp,
    until: Timestamp,
    filters: Filters,
    need: Need,
    pairs: Pairs,
    plan: Plan,
    gaps: Gaps,
}

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth_tests;
