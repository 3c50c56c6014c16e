//! One block: read, verified, and its matching frames copied out.
//!
//! In: a candidate block. Out: [`Matched`], the frames of the answer packed tightly, or why the block cannot be
//! read. This is what a reading thread does; it shares nothing but the question with the others. Memory: one
//! block's stored and uncompressed bytes per thread.
//!
//! The heads of frames are read first. Where they decide, which the program's reach tells, only matches cost the
//! reading of tails, and of those only the chunks that hold them. Where matches are only counted their tails are not
//! read, and so not verified; that the file is long enough to have them is.

use super::completeness::{GapState, Unreadable};
use super::filters::Filters;
use super::flow::{Alone, FrameFlow};
use super::plan::{Candidate, Plan};
use super::reading::{Pace, Reading};
use super::supply::Scanned;
use crate::capture::bpf::Filter;
use crate::capture::{Frame, LinkType};
use crate::ring::entry::{Entry, LeftOut};
use crate::ring::format::{BLOCK_HEADER_BYTES, FormatError, HEAD_BYTES};
use crate::ring::reader::{BlockError, BlockFrames, BlockReader, Placed, SegmentFiles};
use crate::ring::summary::{Pairs, pair_of};
use std::path::Path;
use weir_common::net::CommunityId;
use weir_common::time::Timestamp;

/// What is wanted of the frames that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// All their bytes.
    Frames,
    /// Only how many there are.
    Count,
}

/// What every thread knows of the question.
pub(super) struct Question<'q> {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) flow: Option<CommunityId>,
    /// Which fragments may be the flow's.
    pub(super) pairs: Pairs,
    pub(super) filters: Filters,
    pub(super) plan: &'q Plan,
    pub(super) reading: &'q Reading,
    pub(super) wants: Wants,
    pub(super) pace: Option<Pace>,
}

impl Question<'_> {
    /// Bytes of a block that are read whatever it holds.
    pub(super) fn bytes_read_first(&self, candidate: &Candidate) -> u64 {
        let header = &candidate.header;
        match self.wants == Wants::Frames && self.flow.is_none() && self.filters.match_everything() {
            true => stored_bytes(candidate),
            false => {
                (BLOCK_HEADER_BYTES + header.table_bytes()) as u64
                    + u64::from(header.entries_stored)
                    + u64::from(header.heads_stored)
            }
        }
    }
}

/// Where a frame is in its ring, for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which run of the sensor wrote it; 0 where the segment's header is damaged.
    pub run: u32,
    /// The worker's lane.
    pub lane: u16,
    /// Sequence of the segment.
    pub segment: u64,
    /// Number of the block in its lane and run.
    pub number: u64,
    /// Which of the block's frames, counted from 0 in the order in which they were written.
    pub index: u32,
}

/// A frame of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The frame.
    pub frame: Frame<'a>,
    /// Bytes that were captured; where frames are only counted, `frame` has none.
    pub captured_len: u32,
    /// What the ring left out at its end on purpose.
    pub left_out: Option<LeftOut>,
    /// Where it is in the ring.
    pub position: Position,
}

/// Whether a frame is part of the answer, as far as its reader can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Match,
    /// It is a fragment, which those before it decide about; `passes`: it matches the expression.
    Fragment { passes: bool },
}

#[derive(Clone, Copy, Debug)]
struct MatchedFrame {
    entry: Entry,
    offset: u32,
    len: u32,
    index: u32,
    verdict: Verdict,
}

/// What a block gives to the answer, in order of time.
#[derive(Debug, Default)]
pub(super) struct Matched {
    frames: Vec<MatchedFrame>,
    data: Vec<u8>,
    /// The block's place; the index is each frame's own.
    position: Position,
    /// Frames looked at.
    pub(super) scanned: u64,
}

impl Matched {
    /// Time of one of the frames; none: there are no more.
    #[inline]
    pub(super) fn time(&self, at: usize) -> Option<Timestamp> {
        self.frames.get(at).map(|frame| frame.entry.time)
    }

    /// One of the frames.
    #[inline]
    pub(super) fn found(&self, at: usize) -> Option<(Found<'_>, Verdict)> {
        let MatchedFrame { entry, offset, len, index, verdict } = self.frames.get(at)?;
        let begin = *offset as usize;
        let frame = Frame {
            time: entry.time,
            link: LinkType(entry.link),
            interface: entry.interface,
            wire_len: entry.wire_len,
            data: self.data.get(begin..begin + *len as usize)?,
        };
        let position = Position { index: *index, ..self.position };
        let captured_len = entry.captured_len;
        Some((Found { frame, captured_len, left_out: entry.left_out, position }, *verdict))
    }

    /// Bytes of the matches, which do not depend on where their memory was before; at most half of it is unused.
    pub(super) fn bytes(&self) -> usize {
        self.data.len() + self.frames.len() * size_of::<MatchedFrame>()
    }

    fn memory_bytes(&self) -> usize {
        self.data.capacity() + self.frames.capacity() * size_of::<MatchedFrame>()
    }

    /// The same in memory of its own size.
    fn fitting(&self) -> Matched {
        let Matched { frames, data, position, scanned } = self;
        Matched {
            frames: frames.as_slice().into(),
            data: data.as_slice().into(),
            position: *position,
            scanned: *scanned,
        }
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.data.clear();
        self.scanned = 0;
    }
}

/// Reads blocks for one thread.
pub(super) struct Scanner<'q> {
    question: &'q Question<'q>,
    filters: Filters,
    alone: Option<Alone<'q>>,
    reader: BlockReader,
    frames: BlockFrames,
    scratch: Vec<u8>,
    /// How many of the tails' bytes can be in the file; all where they are read.
    tails_in_file: u64,
    /// Memory of a block that had more matches.
    spare: Matched,
}

impl<'q> Scanner<'q> {
    pub(super) fn new(question: &'q Question<'q>, alone: Option<Alone<'q>>) -> Scanner<'q> {
        Scanner {
            question,
            filters: question.filters.clone(),
            alone,
            reader: BlockReader::default(),
            frames: BlockFrames::default(),
            scratch: Vec::new(),
            tails_in_file: u64::MAX,
            spare: Matched::default(),
        }
    }

    /// Reads a block and picks its matching frames. The memory of `matched` is used again.
    pub(super) fn scan(&mut self, candidate: &Candidate, mut matched: Matched) -> Scanned {
        if self.spare.memory_bytes() > matched.memory_bytes() {
            std::mem::swap(&mut self.spare, &mut matched);
        }
        let question = self.question;
        let pace = question.pace.as_ref();
        if pace.is_some_and(|pace| !pace.wait(&|| question.reading.is_stopped())) {
            return Scanned::Stopped;
        }
        let before = self.reader.bytes_read();
        let picked = question.plan.read_of(candidate, &mut |files| self.pick(files, candidate, &mut matched));
        if let Some(pace) = pace {
            pace.charge(self.reader.bytes_read() - before);
        }
        match picked {
            // Few matches do not keep the memory of many while they wait for their turn.
            Ok(()) if matched.bytes() < matched.memory_bytes() / 2 => {
                let fitting = matched.fitting();
                self.spare = matched;
                Scanned::Matched(fitting)
            }
            Ok(()) => Scanned::Matched(matched),
            Err(error) => Scanned::Unreadable(unreadable(question.plan, candidate, &error)),
        }
    }

    fn pick(
        &mut self,
        files: &SegmentFiles,
        candidate: &Candidate,
        matched: &mut Matched,
    ) -> Result<(), BlockError> {
        let (question, header) = (self.question, &candidate.header);
        matched.clear();
        self.reader.open(files, candidate.offset, header, &mut self.frames)?;
        if question.wants == Wants::Count {
            self.tails_in_file = self.reader.tails_in_file(files, &self.frames)?;
        }
        matched.position = Position {
            run: candidate.run,
            lane: header.lane,
            segment: header.segment,
            number: header.number,
            index: 0,
        };
        matched.scanned = self.frames.placed().len() as u64;
        for at in 0..self.frames.placed().len() {
            let Some(placed) = self.frames.placed().get(at).copied() else { break };
            if placed.entry.time < question.since || placed.entry.time > question.until {
                continue;
            }
            if let Some(verdict) = self.judge(files, &placed)? {
                self.take(files, &placed, verdict, matched)?;
            }
        }
        Ok(())
    }

    /// Whether a frame is part of the answer: by its head where that decides, else by the whole.
    #[inline]
    fn judge(&mut self, files: &SegmentFiles, placed: &Placed) -> Result<Option<Verdict>, BlockError> {
        let head = self.frames.head_frame(placed);
        if self.alone.is_none() {
            if self.filters.match_everything() {
                return Ok(Some(Verdict::Match));
            }
            // A program says of a frame's head what it says of the frame, if it reaches no further.
            let Some(program) = self.filters.program(head.link) else { return Ok(None) };
            if placed.is_whole() || is_short(program) {
                return Ok(program.matches(head.data, head.wire_len).then_some(Verdict::Match));
            }
        }
        self.judge_by_flow_or_whole(files, placed)
    }

    fn judge_by_flow_or_whole(
        &mut self,
        files: &SegmentFiles,
        placed: &Placed,
    ) -> Result<Option<Verdict>, BlockError> {
        let wanted = self.question.flow;
        let mut flow = None;
        if let Some(alone) = &mut self.alone {
            let mut head = self.frames.head_frame(placed);
            // That the head is not all of the frame must show, whatever length on the wire is claimed.
            head.wire_len = head.wire_len.max(placed.entry.captured_len);
            let by_head = alone(&head);
            let is_others = match by_head {
                FrameFlow::Of(of) => Some(of) != wanted,
                // Without addresses it may be anyone's.
                FrameFlow::Fragment(_) => match (self.question.pairs, pair_of(&head)) {
                    (Pairs::Of(wanted), Some(pair)) => pair != wanted,
                    _ => false,
                },
                FrameFlow::Cut(_) | FrameFlow::None => false,
            };
            if is_others {
                return Ok(None);
            }
            if placed.is_whole() || matches!(by_head, FrameFlow::Of(_)) {
                flow = Some(by_head);
            }
        }
        self.reader.tail(files, &mut self.frames, placed)?;
        let frame = self.frames.frame(placed, &mut self.scratch);
        let flow = match (flow, &mut self.alone) {
            (Some(flow), _) => Some(flow),
            (None, Some(alone)) => Some(alone(&frame)),
            (None, None) => None,
        };
        let mut passes = || {
            let program = self.filters.program(frame.link);
            program.is_some_and(|program| program.matches(frame.data, frame.wire_len))
        };
        Ok(match flow {
            // The judge of fragments must see each one, also those that are not asked for.
            Some(FrameFlow::Fragment(_)) => Some(Verdict::Fragment { passes: passes() }),
            Some(FrameFlow::None) => None,
            Some(FrameFlow::Of(of) | FrameFlow::Cut(of)) if Some(of) != wanted => None,
            _ => passes().then_some(Verdict::Match),
        })
    }

    /// Copies a frame out, with its tail where that is wanted.
    #[inline]
    fn take(
        &mut self,
        files: &SegmentFiles,
        placed: &Placed,
        verdict: Verdict,
        matched: &mut Matched,
    ) -> Result<(), BlockError> {
        let offset = matched.data.len() as u32;
        let is_counted_only = self.question.wants == Wants::Count && verdict == Verdict::Match;
        if is_counted_only && !placed.is_whole() && placed.tail_end() > self.tails_in_file {
            return Err(FormatError::Truncated {
                what: "tails of block",
                needed: placed.tail_end() as usize,
                available: self.tails_in_file as usize,
            }
            .into());
        }
        if !is_counted_only {
            self.reader.tail(files, &mut self.frames, placed)?;
            matched.data.extend_from_slice(self.frames.head(placed));
            matched.data.extend_from_slice(self.frames.tail(placed));
        }
        let len = matched.data.len() as u32 - offset;
        matched.frames.push(MatchedFrame { entry: placed.entry, offset, len, index: placed.index, verdict });
        Ok(())
    }
}

fn is_short(program: &Filter) -> bool {
    program.reach().is_some_and(|reach| reach as usize <= HEAD_BYTES)
}

/// Bytes that reading a candidate takes from the disk.
pub(super) fn stored_bytes(candidate: &Candidate) -> u64 {
    candidate.header.stored_bytes()
}

/// What the answer says of a block that could not be read.
pub(super) fn unreadable(plan: &Plan, candidate: &Candidate, error: &BlockError) -> Unreadable {
    let header = &candidate.header;
    let removed = matches!(error, BlockError::Removed);
    let segment = plan.segments.get(candidate.segment).map(|files| files.segment.as_path());
    let file = segment.unwrap_or(Path::new("")).display().to_string();
    Unreadable {
        from: header.first_time,
        to: header.last_time,
        frames: Some(header.frames.into()),
        state: if removed { GapState::Expired } else { GapState::Damaged },
        what: if removed {
            "removed to make room while this was read".into()
        } else {
            format!("block at {} of {file}: {error}", candidate.offset)
        },
        file,
    }
}
