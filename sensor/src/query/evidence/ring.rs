//! The file's packets against the ring's, frame by frame, while the ring still has them.
//!
//! In: the ring's directory and each packet with its place. Out: counts, and which packets differ in what. Keeps
//! [`BLOCKS_MAX`] blocks in memory.

use super::{EvidenceCheck, Problem, ProblemKind, RingComparison};
use crate::capture::Frame;
use crate::ring::cipher::RingKey;
use crate::ring::custody::{Headers, RawBlock, verify_contents};
use crate::ring::format::BlockHeader;
use crate::ring::reader::{BlockFrames, BlockReader, SegmentFiles, segments};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Most blocks held at once, of 16 MiB each at most.
const BLOCKS_MAX: usize = 16;
/// Most segments whose headers are held at once.
const SEGMENTS_MAX: usize = 64;

struct Held {
    entry: usize,
    frames: BlockFrames,
}

/// Reads the frames that a file's packets should equal.
pub(super) struct RingFrames<'s> {
    headers: &'s [Option<BlockHeader>],
    files: HashMap<u64, SegmentFiles>,
    blocks: HashMap<u64, Vec<RawBlock>>,
    reader: BlockReader,
    /// Used last comes last.
    held: Vec<Held>,
    scratch: Vec<u8>,
    comparison: RingComparison,
    /// Entries whose block cannot be read, and was told.
    told: std::collections::HashSet<usize>,
}

impl<'s> RingFrames<'s> {
    pub(super) fn open(
        directory: &Path,
        key: Option<&RingKey>,
        headers: &'s [Option<BlockHeader>],
    ) -> io::Result<RingFrames<'s>> {
        let files = segments(directory, key)?.into_iter().map(|files| (files.name.sequence, files)).collect();
        Ok(RingFrames {
            headers,
            files,
            blocks: HashMap::new(),
            reader: BlockReader::default(),
            held: Vec::new(),
            scratch: Vec::new(),
            comparison: RingComparison::default(),
            told: std::collections::HashSet::new(),
        })
    }

    /// Compares a packet with the frame in its place.
    pub(super) fn compare(
        &mut self,
        entry: usize,
        index: u32,
        frame: &Frame<'_>,
        packet: u64,
        check: &mut EvidenceCheck,
    ) {
        let Some(header) = self.headers.get(entry).copied().flatten() else {
            self.comparison.packets_expired += 1;
            return;
        };
        let say = |check: &mut EvidenceCheck, packet: Option<u64>, what: String| {
            check.say(Problem {
                segment: Some(header.segment),
                lane: Some(header.lane),
                block: Some(header.number),
                packet,
                ..Problem::new(ProblemKind::Ring, what)
            });
        };
        match self.hold(entry, &header) {
            Ok(true) => {}
            Ok(false) => {
                self.comparison.packets_expired += 1;
                return;
            }
            Err(what) => {
                if self.told.insert(entry) {
                    say(check, None, format!("the block in the ring: {what}"));
                }
                return;
            }
        }
        let Some(held) = self.held.last() else { return };
        let placed = held.frames.placed();
        // Frames stand in order of time, which is nearly always the order in which they were written.
        let at_once = placed.get(index as usize).filter(|placed| placed.index == index);
        let Some(placed) = at_once.or_else(|| placed.iter().find(|placed| placed.index == index)) else {
            return say(check, Some(packet), format!("the block in the ring has no frame {index}"));
        };
        match difference(frame, &held.frames.frame(placed, &mut self.scratch)) {
            None => self.comparison.packets_equal += 1,
            Some(what) => {
                say(check, Some(packet), format!("frame {index} of the block in the ring has {what}"));
            }
        }
    }

    pub(super) fn finish(self) -> RingComparison {
        self.comparison
    }

    /// Reads an entry's block unless it is held. False: the ring has it no longer.
    fn hold(&mut self, entry: usize, header: &BlockHeader) -> Result<bool, String> {
        if let Some(at) = self.held.iter().position(|held| held.entry == entry) {
            let held = self.held.remove(at);
            self.held.push(held);
            return Ok(true);
        }
        let Some(files) = self.files.get(&header.segment) else { return Ok(false) };
        if !self.blocks.contains_key(&header.segment) {
            if self.blocks.len() >= SEGMENTS_MAX {
                self.blocks.clear();
            }
            match Headers::read(&files.segment, header.segment) {
                Ok(headers) => drop(self.blocks.insert(header.segment, headers.blocks)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error.to_string()),
            }
        }
        let blocks = self.blocks.get(&header.segment).map(Vec::as_slice).unwrap_or_default();
        let found = blocks.iter().find(|block| block.header.number == header.number);
        let Some(block) = found.filter(|block| block.header == *header) else {
            return Err("it is not the block that the packets were exported from".into());
        };
        let mut frames = match self.held.len() < BLOCKS_MAX {
            true => BlockFrames::default(),
            false => self.held.remove(0).frames,
        };
        let read = self.reader.read(files, block.offset, header, &mut frames);
        read.and_then(|()| verify_contents(&mut self.reader, files, block.offset, header))
            .map_err(|error| error.to_string())?;
        self.held.push(Held { entry, frames });
        Ok(true)
    }
}

/// In what a packet differs from the ring's frame, the first thing of it.
fn difference(packet: &Frame<'_>, frame: &Frame<'_>) -> Option<String> {
    if packet.time != frame.time {
        return Some(format!("time {}, the packet {}", frame.time, packet.time));
    }
    if packet.wire_len != frame.wire_len || packet.data.len() != frame.data.len() {
        let lengths = |frame: &Frame<'_>| format!("{} bytes of {}", frame.data.len(), frame.wire_len);
        return Some(format!("{}, the packet {}", lengths(frame), lengths(packet)));
    }
    if (packet.interface, packet.link) != (frame.interface, frame.link) {
        let words =
            |frame: &Frame<'_>| format!("interface {} and link type {}", frame.interface, frame.link.0);
        return Some(format!("{}, the packet {}", words(frame), words(packet)));
    }
    let at = packet.data.iter().zip(frame.data).position(|(a, b)| a != b)?;
    Some(format!("another byte {at}"))
}
