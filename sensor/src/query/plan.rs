//! From a question to the blocks that may hold its answer.
//!
//! In: the ring's directory, a time range, what the expression needs, a flow. Out: the candidate blocks, how
//! much is read of how much there is, and what is already known to be unreadable. Of a segment that is complete
//! a few pages of its index are read, whatever its size; of one that is being written the journal. Memory does
//! not grow with the ring but for the list of candidates. Reads no frame.

use super::completeness::{GapState, Unreadable};
use super::expression::Need;
use crate::ring::account::{Held, Told};
use crate::ring::cipher::RingKey;
use crate::ring::format::BlockHeader;
use crate::ring::index::{BlockSet, IndexError, RUN_UNKNOWN, SealedIndex, Totals};
use crate::ring::pins;
use crate::ring::reader::{BlockError, DamagedRange, SegmentContents, SegmentFiles, segments};
use crate::ring::summary::{FlowKeys, Summary};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use weir_common::evidence::{BlockRange, Extents};
use weir_common::time::Timestamp;

/// What blocks are looked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Earliest time.
    pub since: Timestamp,
    /// Latest time.
    pub until: Timestamp,
    /// What the expression needs.
    pub need: Need,
    /// What the flow is found by, when one is asked for.
    pub flow: Option<FlowKeys>,
    /// Blocks outside of which nothing is looked for.
    pub extents: Option<Extents>,
}

/// A block that may hold matches.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which of the plan's segments.
    pub segment: usize,
    /// Where the block begins.
    pub offset: u64,
    /// Its header.
    pub header: BlockHeader,
    /// The run of the sensor that wrote it; 0 where the segment's header is damaged.
    pub run: u32,
    /// Which of the plan's segments is a pin's copy of the one that the block lies in.
    pub pinned: Option<usize>,
}

/// Where a segment was found.
#[derive(Clone, Copy)]
struct Place {
    is_pin: bool,
    /// Some blocks may be found twice.
    has_pins: bool,
}

/// How much is read of how much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Segments in the ring and its pins.
    pub segments: u64,
    /// Sealed blocks in the ring and its pins.
    pub blocks: u64,
    /// Their compressed bytes.
    pub bytes: u64,
    /// Blocks that are read.
    pub blocks_to_read: u64,
    /// Their compressed bytes.
    pub bytes_to_read: u64,
    /// Of the blocks that are read: those that pins alone still have.
    pub pinned_blocks_to_read: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.bytes_to_read as f64 / (self.bytes.max(1)) as f64;
        write!(
            f,
            "reads {} of {} blocks, {:.1} of {:.1} MB ({percent:.1} %), in {} segments",
            self.blocks_to_read,
            self.blocks,
            self.bytes_to_read as f64 / 1e6,
            self.bytes as f64 / 1e6,
            self.segments
        )
    }
}

/// What will be read.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Segments that candidates lie in.
    pub segments: Vec<SegmentFiles>,
    /// Candidates by the time of their first frame.
    pub candidates: Vec<Candidate>,
    /// How much that is.
    pub cost: Cost,
    /// What cannot be read, as far as planning found out.
    pub unreadable: Vec<Unreadable>,
    /// Some fragments were written before their flow was known; they are found by the flow's addresses.
    pub has_pairs: bool,
    /// What the ring's own segments hold in sum, for the account of blocks.
    pub held: Vec<Held>,
    /// What the pins' copies hold, from the first block of each to its last.
    pub pinned: Vec<Held>,
    /// Times of lanes of which `unreadable` tells already.
    pub told: Vec<Told>,
    /// Candidates by what tells a block from all others of a ring, wherever a copy of it lies; empty without pins.
    known: HashMap<BlockKey, usize>,
}

/// Sequence of the segment, offset in it and in each copy, number, and checksum of the table of parts.
type BlockKey = (u64, u64, u64, u32);

impl Plan {
    /// Plans over every segment of a ring and of its pins. A block that is in both is read once.
    pub fn make(directory: &Path, key: Option<&RingKey>, wanted: &Wanted) -> io::Result<Plan> {
        let mut plan = Plan::default();
        let in_ring = segments(directory, key)?;
        let in_pins = pins::segments(directory, key)?;
        let has_pins = !in_pins.is_empty();
        for files in in_ring {
            plan.add(files, key, wanted, Place { is_pin: false, has_pins });
        }
        for files in in_pins {
            plan.add(files, key, wanted, Place { is_pin: true, has_pins });
        }
        plan.known = HashMap::new();
        // Blocks of one time stay in the order in which they were written.
        plan.candidates.sort_by_key(|candidate| candidate.header.first_time);
        Ok(plan)
    }

    /// Reads of a block, from a pin where the ring has lost it or has it damaged.
    pub fn read_of<T>(
        &self,
        candidate: &Candidate,
        read: &mut dyn FnMut(&SegmentFiles) -> Result<T, BlockError>,
    ) -> Result<T, BlockError> {
        let mut at = |segment: usize| read(self.segments.get(segment).ok_or(BlockError::Removed)?);
        at(candidate.segment).or_else(|error| match candidate.pinned {
            Some(pinned) => at(pinned).map_err(|_| error),
            None => Err(error),
        })
    }

    fn add(&mut self, files: SegmentFiles, key: Option<&RingKey>, wanted: &Wanted, place: Place) {
        self.cost.segments += 1;
        // What was sealed may be read from few pages; where that fails, the segment's own headers say it.
        let sealed = SealedIndex::open(&files.index, key).and_then(|index| {
            let lane = files.name.lane;
            Sealed::ask(index, lane, wanted)
        });
        match sealed {
            Ok(sealed) => self.add_sealed(files, sealed, place),
            Err(_) => match SegmentContents::walked(&files) {
                Ok(contents) => self.add_walked(files, &contents, wanted, place),
                // A pin that was given back meanwhile.
                Err(BlockError::Removed) if place.is_pin => {}
                Err(error) => self.unreadable(&files, &error),
            },
        }
    }

    fn add_sealed(&mut self, files: SegmentFiles, sealed: Sealed, place: Place) {
        self.cost.blocks += sealed.totals.blocks;
        let bytes = if place.is_pin { pins::disk_bytes(&files) } else { sealed.totals.used_bytes };
        // A hostile index may say anything here.
        self.cost.bytes = self.cost.bytes.saturating_add(bytes);
        self.has_pairs |= sealed.has_pairs;
        self.hold(&files, &sealed.totals, place);
        self.add_found(files, &sealed.found, sealed.totals.run, place);
    }

    fn add_walked(&mut self, files: SegmentFiles, contents: &SegmentContents, wanted: &Wanted, place: Place) {
        let mut found = Vec::new();
        // Of a block that is damaged it is told that it is, not that it is gone.
        let totals = contents.totals();
        for block in &contents.blocks {
            self.cost.blocks += 1;
            self.cost.bytes += block.header.stored_bytes();
            let summary = contents.summary(block).and_then(|bytes| Summary::parse(bytes).ok());
            self.has_pairs |= summary.as_ref().is_some_and(Summary::has_pairs);
            if wanted.may_be_in(totals.run, &block.header, summary) {
                found.push((block.offset, block.header));
            }
        }
        for damaged in &contents.damaged {
            self.damaged(&files, damaged);
        }
        self.hold(&files, &totals, place);
        self.add_found(files, &found, totals.run, place);
    }

    fn hold(&mut self, files: &SegmentFiles, totals: &Totals, place: Place) {
        let held = if place.is_pin { &mut self.pinned } else { &mut self.held };
        held.extend(Held::of(files.name.lane, totals));
    }

    fn add_found(&mut self, files: SegmentFiles, found: &[(u64, BlockHeader)], run: u32, place: Place) {
        let segment = self.segments.len();
        for (offset, header) in found {
            let key = (header.segment, *offset, header.number, header.table_crc);
            let held = self.known.get(&key).and_then(|at| self.candidates.get_mut(*at));
            if let Some(held) = held.filter(|held| held.header == *header) {
                held.pinned = Some(segment);
                continue;
            }
            if place.has_pins {
                self.known.insert(key, self.candidates.len());
            }
            self.cost.blocks_to_read += 1;
            self.cost.bytes_to_read += header.stored_bytes();
            self.cost.pinned_blocks_to_read += u64::from(place.is_pin);
            let (offset, header) = (*offset, *header);
            self.candidates.push(Candidate { segment, offset, header, run, pinned: None });
        }
        if !found.is_empty() {
            self.segments.push(files);
        }
    }

    fn damaged(&mut self, files: &SegmentFiles, damaged: &DamagedRange) {
        let known = damaged.known;
        let from = known.map_or(files.name.first_time, |header| header.first_time);
        let to = known.map_or(Timestamp::MAX, |header| header.last_time);
        let what = format!("{}: {} bytes at {}", files.segment.display(), damaged.bytes, damaged.offset);
        let frames = known.map(|header| header.frames.into());
        let file = files.segment.display().to_string();
        self.told.push(Told { lane: files.name.lane, from, to });
        self.unreadable.push(Unreadable { from, to, frames, state: GapState::Damaged, file, what });
    }

    fn unreadable(&mut self, files: &SegmentFiles, error: &BlockError) {
        let (from, to) = (files.name.first_time, Timestamp::MAX);
        self.told.push(Told { lane: files.name.lane, from, to });
        self.unreadable.push(Unreadable {
            from,
            to,
            frames: None,
            state: if matches!(error, BlockError::Removed) { GapState::Expired } else { GapState::Damaged },
            file: files.segment.display().to_string(),
            what: match error {
                BlockError::Removed => "removed to make room while this was asked".into(),
                error => format!("{}: {error}", files.segment.display()),
            },
        });
    }
}

/// What a sealed index answers.
struct Sealed {
    totals: Totals,
    has_pairs: bool,
    found: Vec<(u64, BlockHeader)>,
}

impl Sealed {
    fn ask(mut index: SealedIndex, lane: u16, wanted: &Wanted) -> Result<Sealed, IndexError> {
        let (totals, has_pairs) = (*index.totals(), index.has_pairs());
        let mut found = Vec::new();
        if wanted.overlaps(totals.first_time, totals.last_time) && wanted.names_some(lane, &totals) {
            for block in wanted.blocks(&mut index)?.iter() {
                let (offset, header) = index.block(block)?;
                if wanted.overlaps(header.first_time, header.last_time) && wanted.names(totals.run, &header) {
                    found.push((offset, header));
                }
            }
        }
        Ok(Sealed { totals, has_pairs, found })
    }
}

impl Wanted {
    fn overlaps(&self, first: Timestamp, last: Timestamp) -> bool {
        first <= self.until && last >= self.since
    }

    /// Whether a block is among those asked for; one of a segment whose header is damaged may be of any run.
    fn names(&self, run: u32, header: &BlockHeader) -> bool {
        let Some(extents) = &self.extents else { return true };
        let run = if run == RUN_UNKNOWN { extents.run } else { run };
        extents.names(run, header.lane, header.number)
    }

    /// Whether a segment of this lane has a block among those asked for.
    fn names_some(&self, lane: u16, totals: &Totals) -> bool {
        let numbers = BlockRange { first: totals.first_number, last: totals.last_number };
        self.extents.as_ref().is_none_or(|extents| {
            let run = if totals.run == RUN_UNKNOWN { extents.run } else { totals.run };
            extents.overlap(run, lane, numbers)
        })
    }

    fn blocks(&self, index: &mut SealedIndex) -> Result<BlockSet, IndexError> {
        let mut found = match self.flow {
            Some(flow) => index.holding_flow(flow)?,
            None => return self.need.blocks(index),
        };
        if !found.is_empty() {
            found.intersect(&self.need.blocks(index)?);
        }
        Ok(found)
    }

    /// A block whose summary is missing or damaged may hold anything.
    fn may_be_in(&self, run: u32, header: &BlockHeader, summary: Option<Summary<'_>>) -> bool {
        if !self.overlaps(header.first_time, header.last_time) || !self.names(run, header) {
            return false;
        }
        let Some(summary) = summary else { return true };
        self.need.may_match(&summary) && self.flow.is_none_or(|flow| summary.may_hold_flow(flow))
    }
}
