//! Reading a block: its frames, part by part, each part verified.
//!
//! In: a segment file and the header of one of its blocks. Out: the frames. What is known of each frame and the
//! heads of all are read first, which is a fifth of the bytes and enough for most questions; the rest of longer
//! frames only where it is asked for. Sizes are those of a header within its limits, so memory is bounded here.

use super::cipher::{Cipher, Purpose};
use super::entry::Entry;
use super::format::{
    BLOCK_HEADER_BYTES, BlockHeader, CHUNK_BYTES, FormatError, HEAD_BYTES, Part, SALT_BYTES, TAG_BYTES,
    WHOLE_BYTES_MAX, block_flags,
};
use super::reader::{SegmentFiles, open, read_up_to};
use crate::capture::{Frame, LinkType};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The file is gone: retention removed the segment.
    #[error("the segment was removed")]
    Removed,
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    /// What is there is not what was written.
    #[error("{0}")]
    Format(#[from] FormatError),
    /// The stored bytes do not match their checksum.
    #[error("stored bytes do not match their checksum")]
    Checksum,
    /// It is encrypted, and there is no key or another one.
    #[error("encrypted, and the key given does not open it")]
    Key,
    /// The checksum agrees and the contents do not: {0}.
    #[error("contents contradict the header: {0}")]
    Contents(&'static str),
}

/// Where a frame's bytes are in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What is kept of the frame beside its bytes.
    pub entry: Entry,
    /// Which of the block's frames, counted from 0 in the order in which they were written.
    pub index: u32,
    /// Where its bytes begin among the heads.
    head: u32,
    /// Where the bytes that follow its head begin among the tails.
    tail: u32,
}

impl Placed {
    /// Whether all of the frame's bytes stand among the heads.
    pub fn is_whole(&self) -> bool {
        self.entry.captured_len as usize <= WHOLE_BYTES_MAX
    }

    fn head_bytes(&self) -> usize {
        if self.is_whole() { self.entry.captured_len as usize } else { HEAD_BYTES }
    }

    /// Up to which of the tails' bytes the frame reaches.
    pub fn tail_end(&self) -> u64 {
        u64::from(self.tail) + self.tail_bytes() as u64
    }

    fn tail_bytes(&self) -> usize {
        self.entry.captured_len as usize - self.head_bytes()
    }
}

/// A block's frames, as far as they were read.
#[derive(Debug, Default)]
pub struct BlockFrames {
    header: BlockHeader,
    offset: u64,
    parts: Vec<Part>,
    placed: Vec<Placed>,
    heads: Vec<u8>,
    tails: Vec<u8>,
    /// Which chunks of tails were read.
    chunks: Vec<bool>,
}

impl BlockFrames {
    /// The header of the block.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// Frames in order of time; those of one time in the order in which they were captured.
    pub fn placed(&self) -> &[Placed] {
        &self.placed
    }

    /// The first bytes of a frame: all of them where [`Placed::is_whole`] says so.
    #[inline]
    pub fn head(&self, placed: &Placed) -> &[u8] {
        let begin = placed.head as usize;
        // `place` checked that every frame lies in the heads and tails.
        self.heads.get(begin..begin + placed.head_bytes()).unwrap_or_default()
    }

    /// What follows the head; it was read.
    #[inline]
    pub fn tail(&self, placed: &Placed) -> &[u8] {
        let begin = placed.tail as usize;
        self.tails.get(begin..begin + placed.tail_bytes()).unwrap_or_default()
    }

    /// A frame with the first bytes only, its captured length that of the head.
    #[inline]
    pub fn head_frame(&self, placed: &Placed) -> Frame<'_> {
        frame(&placed.entry, self.head(placed))
    }

    /// A frame whose tail was read. `scratch` is where the two are put together.
    #[inline]
    pub fn frame<'a>(&'a self, placed: &Placed, scratch: &'a mut Vec<u8>) -> Frame<'a> {
        let head = self.head(placed);
        if placed.is_whole() {
            return frame(&placed.entry, head);
        }
        scratch.clear();
        scratch.extend_from_slice(head);
        scratch.extend_from_slice(self.tail(placed));
        frame(&placed.entry, scratch)
    }

    /// Gives every frame to `each`; all tails were read.
    pub fn each(&self, each: &mut dyn FnMut(&Placed, &Frame<'_>)) {
        let mut scratch = Vec::new();
        for placed in &self.placed {
            each(placed, &self.frame(placed, &mut scratch));
        }
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.placed.capacity() * size_of::<Placed>() + self.heads.capacity() + self.tails.capacity()
    }

    /// Where the frames lie, from the entries. Frames whose times are not in order are sorted.
    fn place(&mut self, mut entries: &[u8]) -> Result<(), BlockError> {
        self.placed.clear();
        let (mut previous, mut head, mut tail) = (Entry::default(), 0u64, 0u64);
        for index in 0..self.header.frames {
            let entry = Entry::decode(&previous, &mut entries)?;
            let placed = Placed { entry, index, head: head as u32, tail: tail as u32 };
            head += placed.head_bytes() as u64;
            tail += placed.tail_bytes() as u64;
            if head > self.header.heads_bytes.into() || tail > self.header.tails_bytes.into() {
                return Err(BlockError::Contents("frames exceed the data"));
            }
            self.placed.push(placed);
            previous = entry;
        }
        let ends = (u64::from(self.header.heads_bytes), u64::from(self.header.tails_bytes));
        if (head, tail) != ends || !entries.is_empty() {
            return Err(BlockError::Contents("frames and data differ in length"));
        }
        if self.header.flags & block_flags::UNORDERED != 0 {
            self.placed.sort_by_key(|placed| placed.entry.time);
        }
        Ok(())
    }
}

fn frame<'a>(entry: &Entry, data: &'a [u8]) -> Frame<'a> {
    Frame {
        time: entry.time,
        link: LinkType(entry.link),
        interface: entry.interface,
        wire_len: entry.wire_len,
        data,
    }
}

/// Reads blocks; the file read last stays open, and memory is used again.
#[derive(Default)]
pub struct BlockReader {
    open: Option<(PathBuf, File)>,
    cipher: Option<([u8; SALT_BYTES], Cipher)>,
    stored: Vec<u8>,
    entries: Vec<u8>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    bytes_read: u64,
}

impl std::fmt::Debug for BlockReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockReader({:?})", self.open)
    }
}

impl BlockReader {
    /// Reads entries and heads into `frames`, whose memory is used again. The block's header in the segment must
    /// be the one that is expected, so that an index never answers for other bytes.
    pub fn open(
        &mut self,
        files: &SegmentFiles,
        offset: u64,
        expected: &BlockHeader,
        frames: &mut BlockFrames,
    ) -> Result<(), BlockError> {
        let table_bytes = expected.table_bytes();
        let (entries_stored, heads_stored) =
            (expected.entries_stored as usize, expected.heads_stored as usize);
        self.read_stored(files, offset, BLOCK_HEADER_BYTES + table_bytes + entries_stored + heads_stored)?;
        let (header, rest) = self.stored.split_at_mut(BLOCK_HEADER_BYTES);
        if BlockHeader::decode(header)? != *expected {
            return Err(BlockError::Contents("another block stands here"));
        }
        let (table, rest) = rest.split_at_mut(table_bytes);
        Part::decode_table(expected, table, &mut frames.parts)?;
        let (entries, heads) = rest.split_at_mut(entries_stored);
        frames.header = *expected;
        frames.offset = offset;
        // What stands there from the block before is written over before it is given out.
        frames.tails.resize(expected.tails_bytes as usize, 0);
        frames.chunks.clear();
        frames.chunks.resize(expected.chunks(), false);
        let mut opener = Opener::of(&mut self.cipher, &mut self.decompressor, files, frames)?;
        let part = |index: usize| frames.parts.get(index).copied().unwrap_or_default();
        self.entries.resize(expected.entries_bytes as usize, 0);
        opener.part(0, part(0), entries, &mut self.entries)?;
        frames.heads.resize(expected.heads_bytes as usize, 0);
        opener.part(1, part(1), heads, &mut frames.heads)?;
        frames.place(&self.entries)
    }

    /// Reads what follows a frame's head, unless it was read already.
    pub fn tail(
        &mut self,
        files: &SegmentFiles,
        frames: &mut BlockFrames,
        placed: &Placed,
    ) -> Result<(), BlockError> {
        if placed.is_whole() {
            return Ok(());
        }
        let begin = placed.tail as usize;
        let end = begin + placed.tail_bytes();
        for chunk in begin / CHUNK_BYTES..=(end - 1) / CHUNK_BYTES {
            self.chunk(files, frames, chunk)?;
        }
        Ok(())
    }

    /// How many of the tails' bytes can be in the file, which is not longer than it is. Nothing is read or verified.
    pub fn tails_in_file(&mut self, files: &SegmentFiles, frames: &BlockFrames) -> Result<u64, BlockError> {
        let length = self.file(files)?.metadata()?.len();
        let before: u64 = frames.parts.iter().take(2).map(|part| u64::from(part.stored)).sum();
        let mut end = frames.offset + (BLOCK_HEADER_BYTES + frames.header.table_bytes()) as u64 + before;
        let chunks = frames.parts.iter().skip(2).take_while(|part| {
            end += u64::from(part.stored);
            end <= length
        });
        Ok(((chunks.count() * CHUNK_BYTES) as u64).min(frames.header.tails_bytes.into()))
    }

    /// Reads all tails.
    pub fn tails(&mut self, files: &SegmentFiles, frames: &mut BlockFrames) -> Result<(), BlockError> {
        (0..frames.chunks.len()).try_for_each(|chunk| self.chunk(files, frames, chunk))
    }

    /// Reads a block whole.
    pub fn read(
        &mut self,
        files: &SegmentFiles,
        offset: u64,
        expected: &BlockHeader,
        frames: &mut BlockFrames,
    ) -> Result<(), BlockError> {
        self.open(files, offset, expected, frames)?;
        self.tails(files, frames)
    }

    /// The block's bytes as they are stored, header included, for whoever copies or hashes them.
    pub fn stored(
        &mut self,
        files: &SegmentFiles,
        offset: u64,
        expected: &BlockHeader,
    ) -> Result<&[u8], BlockError> {
        self.read_stored(files, offset, BLOCK_HEADER_BYTES + expected.body_bytes as usize)?;
        if BlockHeader::decode(&self.stored)? != *expected {
            return Err(BlockError::Contents("another block stands here"));
        }
        Ok(&self.stored)
    }

    /// Stored bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn chunk(
        &mut self,
        files: &SegmentFiles,
        frames: &mut BlockFrames,
        chunk: usize,
    ) -> Result<(), BlockError> {
        if frames.chunks.get(chunk).is_none_or(|read| *read) {
            return Ok(());
        }
        let before: u64 = frames.parts.iter().take(2 + chunk).map(|part| u64::from(part.stored)).sum();
        let part = frames.parts.get(2 + chunk).copied().unwrap_or_default();
        let offset = frames.offset + (BLOCK_HEADER_BYTES + frames.header.table_bytes()) as u64 + before;
        self.read_stored(files, offset, part.stored as usize)?;
        let begin = chunk * CHUNK_BYTES;
        let end = frames.tails.len().min(begin + CHUNK_BYTES);
        let mut opener = Opener::of(&mut self.cipher, &mut self.decompressor, files, frames)?;
        let place = frames.tails.get_mut(begin..end).unwrap_or_default();
        opener.part(2 + chunk, part, &mut self.stored, place)?;
        if let Some(read) = frames.chunks.get_mut(chunk) {
            *read = true;
        }
        Ok(())
    }

    fn file(&mut self, files: &SegmentFiles) -> Result<&File, BlockError> {
        if self.open.as_ref().is_none_or(|(path, _)| *path != files.segment) {
            self.open = Some((files.segment.clone(), open(&files.segment)?));
        }
        self.open.as_ref().map(|(_, file)| file).ok_or(BlockError::Removed)
    }

    fn read_stored(&mut self, files: &SegmentFiles, offset: u64, needed: usize) -> Result<(), BlockError> {
        let mut stored = std::mem::take(&mut self.stored);
        stored.resize(needed, 0);
        let available = self.file(files).and_then(|file| Ok(read_up_to(file, &mut stored, offset)?));
        self.stored = stored;
        let available = available?;
        self.bytes_read += available as u64;
        match available < needed {
            true => Err(FormatError::Truncated { what: "block", needed, available }.into()),
            false => Ok(()),
        }
    }
}

/// Verifies, decrypts and decompresses the parts of one block.
struct Opener<'r> {
    cipher: Option<&'r Cipher>,
    decompressor: &'r mut zstd::bulk::Decompressor<'static>,
    offset: u64,
}

impl<'r> Opener<'r> {
    fn of(
        cipher: &'r mut Option<([u8; SALT_BYTES], Cipher)>,
        decompressor: &'r mut Option<zstd::bulk::Decompressor<'static>>,
        files: &SegmentFiles,
        frames: &BlockFrames,
    ) -> Result<Opener<'r>, BlockError> {
        let salt = frames.header.salt;
        let cipher = match (frames.header.is_encrypted(), &files.key) {
            (false, _) => None,
            (true, None) => return Err(BlockError::Key),
            (true, Some(key)) => {
                if cipher.as_ref().is_none_or(|(held, _)| *held != salt) {
                    *cipher = Some((salt, Cipher::new(key, &salt, Purpose::Blocks)?));
                }
                cipher.as_ref().map(|(_, cipher)| cipher)
            }
        };
        let decompressor = match decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(zstd::bulk::Decompressor::new()?),
        };
        Ok(Opener { cipher, decompressor, offset: frames.offset })
    }

    /// Fills `out` exactly.
    fn part(
        &mut self,
        index: usize,
        expected: Part,
        stored: &mut [u8],
        out: &mut [u8],
    ) -> Result<(), BlockError> {
        if stored.len() != expected.stored as usize || crc32fast::hash(stored) != expected.crc {
            return Err(BlockError::Checksum);
        }
        let mut compressed = stored;
        if let Some(cipher) = self.cipher {
            let Some((sealed, tag)) = compressed.split_last_chunk_mut::<TAG_BYTES>() else {
                return Err(BlockError::Key);
            };
            if !cipher.open(self.offset, index as u32, sealed, tag) {
                return Err(BlockError::Key);
            }
            compressed = sealed;
        }
        let bytes = out.len();
        let got = self
            .decompressor
            .decompress_to_buffer(compressed, out)
            .map_err(|_| BlockError::Contents("not a zstd frame"))?;
        match got == bytes {
            true => Ok(()),
            false => Err(BlockError::Contents("other length than the header says")),
        }
    }
}
