//! Making a pin: blocks of the ring, or of other pins, copied as they are.
//!
//! In: blocks that the caller found to hold evidence, one at a time in the order of their segments, and for each
//! frame its flow. Out: a pin, at once and whole, or nothing. Every block is read with its checksums before it is
//! copied, so a pin begins sound. Works in a directory of another name that is renamed at the end; a crash leaves
//! that directory, which the next pin or the sensor removes.
//!
//! The index is made anew from the frames. Fragments count as belonging to no known flow, because their first
//! one may be in a block that is not pinned: a question by flow then reads the block, and misses nothing.

use super::super::block::Seen;
use super::super::custody::SegmentProof;
use super::super::format::{BlockHeader, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName};
use super::super::index::journal::IndexWriter;
use super::super::reader::{BlockError, BlockFrames, BlockReader, SegmentFiles};
use super::super::summary::Summarizer;
use super::super::view::{View, view_flags};
use super::{
    DIRECTORY_MODE, Held, NOTE_BYTES_MAX, PINS_MAX, Pin, PinError, RECORD_FILE, UNFINISHED, give_to_owner_of,
    ids, list, place, size_of, tidy_locked,
};
use crate::capture::Frame;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use weir_common::time::Timestamp;

/// Only the ring's owner and group read packets.
const FILE_MODE: u32 = 0o640;

/// The flow that a frame belongs to, by the first eight bytes of its Community ID.
pub type FlowTagOf<'a> = &'a mut dyn FnMut(&Frame<'_>) -> Option<u64>;

/// Why a block was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It cannot be read: removed meanwhile, or damaged. The pin goes on without it.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The pin cannot be written, or would exceed the quota.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// A pin being made. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct PinMaker {
    ring: PathBuf,
    id: String,
    directory: PathBuf,
    budget: u64,
    free: u64,
    open: Option<OpenCopy>,
    /// Bytes of blocks so far.
    stored_bytes: u64,
    pin: Pin,
    reader: BlockReader,
    frames: BlockFrames,
    summarizer: Summarizer,
    summary: Vec<u8>,
    seen: Vec<Seen>,
    finished: bool,
    _held: Held,
}

/// A segment's copy being written.
#[derive(Debug)]
struct OpenCopy {
    name: SegmentName,
    file: File,
    index_path: PathBuf,
    index: IndexWriter,
    /// Where the last block ends.
    end: u64,
}

impl PinMaker {
    /// Begins a pin of `stored_bytes` of blocks within `budget` bytes for all pins. `busy` is called before
    /// waiting for another process that makes or removes a pin. Pins whose time is over are removed first.
    pub fn begin(
        ring: &Path,
        budget: u64,
        stored_bytes: u64,
        now: Timestamp,
        busy: &mut dyn FnMut(),
    ) -> Result<PinMaker, PinError> {
        let failed = |source| PinError::Io { path: place(ring), source };
        let held = Held::take(ring, busy).map_err(failed)?;
        tidy_locked(ring, Some(now)).map_err(failed)?;
        let pins = list(ring).map_err(failed)?;
        if pins.len() >= PINS_MAX {
            return Err(PinError::TooMany);
        }
        let free = budget.saturating_sub(pins.iter().map(|pin| pin.bytes).sum());
        if stored_bytes > free {
            return Err(PinError::Quota { asked: stored_bytes, free, budget });
        }
        let id = free_id(&ids(ring).map_err(failed)?, now);
        let directory = place(ring).join(format!("{id}.{UNFINISHED}"));
        DirBuilder::new().mode(DIRECTORY_MODE).create(&directory).map_err(failed)?;
        let (first_time, last_time) = (Timestamp::MAX, Timestamp::MIN);
        Ok(PinMaker {
            ring: ring.to_owned(),
            directory,
            budget,
            free,
            open: None,
            stored_bytes: 0,
            pin: Pin { id: id.clone(), created: now, first_time, last_time, ..Pin::default() },
            id,
            reader: BlockReader::default(),
            frames: BlockFrames::default(),
            summarizer: Summarizer::default(),
            summary: Vec::new(),
            seen: Vec::new(),
            finished: false,
            _held: held,
        })
    }

    /// Copies a block. Blocks of one segment come one after the other, in the order in which they were written.
    pub fn keep(
        &mut self,
        from: &SegmentFiles,
        offset: u64,
        header: &BlockHeader,
        flow_tag_of: FlowTagOf<'_>,
    ) -> Result<(), CopyError> {
        self.reader.read(from, offset, header, &mut self.frames)?;
        let seen = &mut self.seen;
        seen.clear();
        self.frames.each(&mut |_, frame| {
            let view = View::of(frame);
            let is_fragment = view.flags & view_flags::FRAGMENT != 0;
            let flow_tag = if is_fragment { None } else { flow_tag_of(frame) };
            seen.push(Seen { view, flow_tag });
        });
        self.summary.clear();
        self.summarizer.summarize(&self.seen, &mut self.summary);
        if self.open.as_ref().is_none_or(|open| open.name != from.name) {
            let first = segment_header(&from.segment)?;
            let begun = self.end_segment().and_then(|()| OpenCopy::create(&self.directory, from, &first));
            self.open = Some(begun.map_err(|source| self.failed(source))?);
            self.prove(from).map_err(|source| self.failed(source))?;
        }
        let stored = self.reader.stored(from, offset, header)?;
        if let Some(open) = &mut self.open {
            let written = open.write(offset, stored, header, &self.summary);
            written.map_err(|source| PinError::Io { path: self.directory.clone(), source })?;
        }
        self.stored_bytes += header.stored_bytes();
        if self.stored_bytes > self.free {
            return Err(self.over(self.stored_bytes).into());
        }
        self.pin.blocks += 1;
        self.pin.frames_kept += u64::from(header.frames);
        self.pin.first_time = self.pin.first_time.min(header.first_time);
        self.pin.last_time = self.pin.last_time.max(header.last_time);
        Ok(())
    }

    /// Ends the pin: it is on disk and in sight afterwards. Of `about` the question, the note, the time, the
    /// number of frames that matched and the statement are taken.
    pub fn finish(mut self, about: Pin) -> Result<Pin, PinError> {
        if about.note.len() > NOTE_BYTES_MAX {
            return Err(PinError::Note(about.note.len()));
        }
        let Pin { id, created, blocks, frames_kept, first_time, last_time, .. } = self.pin.clone();
        let pin = Pin { id, created, blocks, frames_kept, first_time, last_time, bytes: 0, ..about };
        self.end_segment().and_then(|()| self.write_record(&pin)).map_err(|source| self.failed(source))?;
        let bytes = size_of(&self.directory).map_err(|source| self.failed(source))?;
        if bytes > self.free {
            return Err(self.over(bytes));
        }
        self.publish().map_err(|source| self.failed(source))?;
        Ok(Pin { bytes, ..pin })
    }

    /// Puts beside the copy what proves that its blocks are of the segment, once that has gone.
    fn prove(&self, from: &SegmentFiles) -> io::Result<()> {
        let Some(proof) = SegmentProof::for_copy(&self.ring, from) else { return Ok(()) };
        let file = create(&self.directory.join(SegmentProof::file_of(from.name)))?;
        file.write_all_at(&proof, 0)?;
        file.sync_all()
    }

    fn end_segment(&mut self) -> io::Result<()> {
        self.open.take().map_or(Ok(()), OpenCopy::finish)
    }

    fn write_record(&self, pin: &Pin) -> io::Result<()> {
        let file = create(&self.directory.join(RECORD_FILE))?;
        file.write_all_at(&serde_json::to_vec_pretty(pin)?, 0)?;
        file.sync_all()
    }

    /// Everything is on disk before the name is.
    fn publish(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            give_to_owner_of(&self.ring, &entry?.path())?;
        }
        give_to_owner_of(&self.ring, &self.directory)?;
        File::open(&self.directory)?.sync_all()?;
        fs::rename(&self.directory, place(&self.ring).join(&self.id))?;
        self.finished = true;
        File::open(place(&self.ring))?.sync_all()
    }

    fn over(&self, asked: u64) -> PinError {
        PinError::Quota { asked, free: self.free, budget: self.budget }
    }

    fn failed(&self, source: io::Error) -> PinError {
        PinError::Io { path: self.directory.clone(), source }
    }
}

impl Drop for PinMaker {
    fn drop(&mut self) {
        if !self.finished {
            // What stays is removed by whoever comes next.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

impl OpenCopy {
    /// `first` is the original's header, as it stands there.
    fn create(directory: &Path, from: &SegmentFiles, first: &[u8]) -> io::Result<OpenCopy> {
        let file = create(&directory.join(from.name.segment_file()))?;
        file.write_all_at(first, 0)?;
        let index_path = directory.join(from.name.index_file());
        // Where the header is damaged nobody knows the run any longer, as in the original.
        let run = SegmentHeader::decode(first).map_or(0, |header| header.run);
        let index = IndexWriter::create(&index_path, from.name, run, from.key.as_ref())?;
        Ok(OpenCopy { name: from.name, file, index_path, index, end: 0 })
    }

    /// A block goes where it was: what is encrypted can be opened there alone, and extents that flow records carry
    /// name the same place.
    fn write(&mut self, offset: u64, stored: &[u8], header: &BlockHeader, summary: &[u8]) -> io::Result<()> {
        self.file.write_all_at(stored, offset)?;
        self.index.append(offset, header, summary)?;
        self.end = self.end.max(header.next_offset(offset));
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        // To the end that the last block has in the index, though its padding was not written.
        self.file.set_len(self.end)?;
        self.file.sync_all()?;
        self.index.seal()?;
        File::open(&self.index_path)?.sync_all()
    }
}

/// The header of a segment, sound or not: it is copied as it is.
fn segment_header(segment: &Path) -> Result<[u8; SEGMENT_HEADER_BYTES], BlockError> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let file = File::open(segment).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BlockError::Removed,
        _ => BlockError::Io(error),
    })?;
    file.read_exact_at(&mut header, 0)?;
    Ok(header)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// The second in which a pin was made, as its name: `20260719T142530Z`, with a number where that is taken.
fn free_id(taken: &[String], now: Timestamp) -> String {
    let digits = now.to_string();
    let second = digits.split('.').next().unwrap_or_default();
    let base: String = second.chars().filter(char::is_ascii_alphanumeric).chain(['Z']).collect();
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or(base)
}
