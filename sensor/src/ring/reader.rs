//! Reading a ring: segments, their blocks, and frames, also while they are being written.
//!
//! In: the ring's directory. Out: blocks whose checksums agree, and what is damaged by name. Reads through
//! descriptors and never maps, so that a segment that is shortened or removed meanwhile is an error that
//! can be told. Deliberately absent: any writing; a reader needs no lock and never disturbs the sensor.

use super::entry::Entry;
use super::format::{
    BLOCK_ALIGNMENT, BLOCK_HEADER_BYTES, BlockHeader, FormatError, SEGMENT_HEADER_BYTES, SegmentHeader,
    SegmentName, block_flags,
};
use super::index::{Index, Totals};
use crate::capture::{Frame, LinkType};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes read at once while looking for the next sound block behind a damaged one.
const SEARCH_BYTES: usize = 1 << 20;

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
    /// The compressed bytes do not match their checksum.
    #[error("compressed bytes do not match their checksum")]
    Checksum,
    /// The checksum agrees and the contents do not: {0}.
    #[error("contents contradict the header: {0}")]
    Contents(&'static str),
}

/// A segment file and its index, as they lie in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFiles {
    /// What the name says.
    pub name: SegmentName,
    /// The file of frames.
    pub segment: PathBuf,
    /// The index beside it.
    pub index: PathBuf,
}

/// The segments of a ring, oldest first. Other files are not looked at.
pub fn segments(directory: &Path) -> io::Result<Vec<SegmentFiles>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.file_name();
        let stem = file.to_str().and_then(|file| file.strip_suffix(".seg"));
        if let Some(name) = stem.and_then(SegmentName::parse) {
            let (segment, index) = (directory.join(name.segment_file()), directory.join(name.index_file()));
            found.push(SegmentFiles { name, segment, index });
        }
    }
    found.sort_by_key(|files| files.name);
    Ok(found)
}

/// A block of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentBlock {
    /// Where it begins.
    pub offset: u64,
    /// Its header.
    pub header: BlockHeader,
    /// Its summary in the index's bytes; none: nothing is known of what it holds.
    pub summary: Option<Range<usize>>,
}

/// Bytes of a segment in which no block can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// Begin in the segment file.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Times and frames that were there, where the index knows.
    pub known: Option<BlockHeader>,
}

/// What a segment holds, without its frames.
#[derive(Clone, Debug, Default)]
pub struct SegmentContents {
    /// Sealed blocks in the order in which they were written.
    pub blocks: Vec<SegmentBlock>,
    /// The index file's bytes, which the blocks' summaries point into.
    pub index_bytes: Vec<u8>,
    /// What is damaged.
    pub damaged: Vec<DamagedRange>,
    /// Records of the index that do not match their checksum.
    pub index_records_damaged: u64,
    /// Present when the segment takes no more blocks.
    pub sealed: Option<Totals>,
}

impl SegmentContents {
    /// Reads what a segment holds: from the index where it is whole, else from the segment's headers.
    pub fn read(files: &SegmentFiles) -> Result<SegmentContents, BlockError> {
        let index = Index::read(&files.index)?;
        let mut contents = match index.sealed {
            Some(totals) => SegmentContents { sealed: Some(totals), ..SegmentContents::default() },
            None => SegmentContents::walk(files, &index)?,
        };
        if contents.sealed.is_some() {
            let blocks = index.blocks.iter().map(|block| SegmentBlock {
                offset: block.offset,
                header: block.header,
                summary: Some(block.summary.clone()),
            });
            contents.blocks = blocks.collect();
        }
        contents.index_records_damaged = index.damaged_records;
        contents.index_bytes = index.bytes;
        Ok(contents)
    }

    /// The summary of a block; none: nothing is known of what it holds.
    pub fn summary(&self, block: &SegmentBlock) -> Option<&[u8]> {
        self.index_bytes.get(block.summary.clone()?)
    }

    /// Every sound block of the segment file; summaries come from what the index has.
    fn walk(files: &SegmentFiles, index: &Index) -> Result<SegmentContents, BlockError> {
        let file = open(&files.segment)?;
        check_version(&file)?;
        let length = file.metadata()?.len();
        let mut contents = SegmentContents::default();
        let mut indexed = index.blocks.iter().peekable();
        let mut at = SEGMENT_HEADER_BYTES as u64;
        while at < length {
            let place = look_at(&file, at, length, files.name.sequence)?;
            if let Place::Sealed(header) = place {
                while indexed.next_if(|block| block.offset < at).is_some() {}
                let known = indexed.next_if(|block| block.offset == at && block.header == header);
                contents.blocks.push(SegmentBlock {
                    offset: at,
                    header,
                    summary: known.map(|block| block.summary.clone()),
                });
                at = header.next_offset(at);
                continue;
            }
            // The first bytes of a block are stored last: zeros are the end, unless the index knows better.
            let known = index.blocks.iter().find(|block| block.offset == at);
            if known.is_none() && matches!(place, Place::Blank) {
                break;
            }
            let next = next_sound(&file, at, length, files.name.sequence)?;
            let bytes = next.unwrap_or(length) - at;
            contents.damaged.push(DamagedRange { offset: at, bytes, known: known.map(|block| block.header) });
            at = next.unwrap_or(length);
        }
        Ok(contents)
    }
}

fn open(path: &Path) -> Result<File, BlockError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BlockError::Removed,
        _ => BlockError::Io(error),
    })
}

/// A damaged segment header costs nothing: the name says the same. A later version is not touched.
fn check_version(file: &File) -> Result<(), BlockError> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = read_up_to(file, &mut bytes, 0)?;
    match SegmentHeader::decode(&bytes[..read]) {
        Err(error @ FormatError::Version { .. }) => Err(error.into()),
        _ => Ok(()),
    }
}

/// The sealed block at an offset that belongs to this segment and lies in the file whole.
fn block_at(file: &File, at: u64, length: u64, sequence: u64) -> io::Result<Option<BlockHeader>> {
    let mut bytes = [0; BLOCK_HEADER_BYTES];
    if read_up_to(file, &mut bytes, at)? < BLOCK_HEADER_BYTES {
        return Ok(None);
    }
    let header = BlockHeader::decode(&bytes).ok().filter(|header| header.segment == sequence);
    Ok(header.filter(|header| at + BLOCK_HEADER_BYTES as u64 + header.stored_bytes() <= length))
}

/// What stands where a block may begin.
enum Place {
    Sealed(BlockHeader),
    /// Nothing was sealed here yet.
    Blank,
    Damaged,
}

/// Looks at a place once for all, because a writer may seal a block there meanwhile.
fn look_at(file: &File, at: u64, length: u64, sequence: u64) -> io::Result<Place> {
    if let Some(header) = block_at(file, at, length, sequence)? {
        return Ok(Place::Sealed(header));
    }
    if is_blank(file, at, length)? {
        return Ok(Place::Blank);
    }
    // There is a magic now. Either it was stored between the two looks, and all else before it, or the block is damaged.
    Ok(block_at(file, at, length, sequence)?.map_or(Place::Damaged, Place::Sealed))
}

/// Whether nothing was sealed here: the magic, which is stored last, is not there.
fn is_blank(file: &File, at: u64, length: u64) -> io::Result<bool> {
    let mut magic = [0; 4];
    let read = read_up_to(file, &mut magic, at)?;
    Ok(length - at < BLOCK_HEADER_BYTES as u64 || magic[..read].iter().all(|byte| *byte == 0))
}

/// Where the next sound block begins after a damaged one.
fn next_sound(file: &File, from: u64, length: u64, sequence: u64) -> io::Result<Option<u64>> {
    let mut chunk = vec![0; SEARCH_BYTES];
    let mut at = from + BLOCK_ALIGNMENT;
    while at < length {
        let read = read_up_to(file, &mut chunk, at)?;
        for (step, place) in chunk[..read].chunks(BLOCK_ALIGNMENT as usize).enumerate() {
            let candidate = at + step as u64 * BLOCK_ALIGNMENT;
            if BlockHeader::begins(place) && block_at(file, candidate, length, sequence)?.is_some() {
                return Ok(Some(candidate));
            }
        }
        if read < SEARCH_BYTES {
            break;
        }
        at += SEARCH_BYTES as u64;
    }
    Ok(None)
}

fn read_up_to(file: &File, bytes: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], at) {
            Ok(0) => break,
            Ok(count) => {
                read += count;
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Where a frame's bytes are in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What is kept of the frame beside its bytes.
    pub entry: Entry,
    /// Where its bytes begin.
    pub offset: u32,
}

/// A block's frames, uncompressed.
#[derive(Debug, Default)]
pub struct BlockFrames {
    placed: Vec<Placed>,
    data: Vec<u8>,
}

impl BlockFrames {
    /// Frames in the order in which they are stored.
    pub fn placed(&self) -> &[Placed] {
        &self.placed
    }

    /// One of the frames.
    #[inline]
    pub fn frame(&self, placed: &Placed) -> Frame<'_> {
        let begin = placed.offset as usize;
        let entry = &placed.entry;
        Frame {
            time: entry.time,
            link: LinkType(entry.link),
            interface: entry.interface,
            wire_len: entry.wire_len,
            // `decode` checked that every frame lies in the data.
            data: self.data.get(begin..begin + entry.captured_len as usize).unwrap_or_default(),
        }
    }

    /// All frames in the order in which they are stored.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.placed.iter().map(|placed| self.frame(placed))
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.data.capacity() + self.placed.capacity() * size_of::<Placed>()
    }
}

/// Reads blocks; keeps its buffers and the last file from block to block.
#[derive(Default)]
pub struct BlockReader {
    open: Option<(PathBuf, File)>,
    stored: Vec<u8>,
    entries: Vec<u8>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl std::fmt::Debug for BlockReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockReader({:?})", self.open)
    }
}

impl BlockReader {
    /// Reads a block into `frames`, whose memory is used again. The block's header in the segment must be
    /// the one that is expected, so that an index never answers for other bytes.
    pub fn read(
        &mut self,
        segment: &Path,
        offset: u64,
        expected: &BlockHeader,
        frames: &mut BlockFrames,
    ) -> Result<(), BlockError> {
        let stored = usize::try_from(expected.stored_bytes()).unwrap_or(usize::MAX);
        self.stored.resize(BLOCK_HEADER_BYTES.saturating_add(stored), 0);
        if self.open.as_ref().is_none_or(|(path, _)| path != segment) {
            self.open = Some((segment.to_owned(), open(segment)?));
        }
        let Some((_, file)) = &self.open else { return Err(BlockError::Removed) };
        let needed = self.stored.len();
        let available = read_up_to(file, &mut self.stored, offset)?;
        if available < needed {
            return Err(FormatError::Truncated { what: "block", needed, available }.into());
        }
        let (header, body) = self.stored.split_at(BLOCK_HEADER_BYTES);
        if BlockHeader::decode(header)? != *expected {
            return Err(BlockError::Contents("another block stands here"));
        }
        if crc32fast::hash(body) != expected.body_crc {
            return Err(BlockError::Checksum);
        }
        let (entries, data) = body.split_at_checked(expected.entries_stored as usize).unwrap_or_default();
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(zstd::bulk::Decompressor::new()?),
        };
        decompress(decompressor, entries, expected.entries_bytes, &mut self.entries)?;
        decompress(decompressor, data, expected.data_bytes, &mut frames.data)?;
        place(&self.entries, expected, &mut frames.placed)
    }
}

/// The sizes are those of a header within its limits, so this is where memory is bounded.
fn decompress(
    decompressor: &mut zstd::bulk::Decompressor<'_>,
    stored: &[u8],
    bytes: u32,
    out: &mut Vec<u8>,
) -> Result<(), BlockError> {
    out.clear();
    out.reserve(bytes as usize);
    let got = decompressor
        .decompress_to_buffer(stored, out)
        .map_err(|_| BlockError::Contents("not a zstd frame"))?;
    if got == bytes as usize {
        Ok(())
    } else {
        Err(BlockError::Contents("other length than the header says"))
    }
}

fn place(mut entries: &[u8], header: &BlockHeader, placed: &mut Vec<Placed>) -> Result<(), BlockError> {
    placed.clear();
    let (mut previous, mut offset) = (Entry::default(), 0u32);
    for _ in 0..header.frames {
        let entry = Entry::decode(&previous, &mut entries)?;
        placed.push(Placed { entry, offset });
        offset =
            offset.checked_add(entry.captured_len).ok_or(BlockError::Contents("frames exceed the data"))?;
        previous = entry;
    }
    if offset != header.data_bytes || !entries.is_empty() {
        return Err(BlockError::Contents("frames and data differ in length"));
    }
    if header.flags & block_flags::UNORDERED != 0 {
        placed.sort_by_key(|placed| placed.entry.time);
    }
    Ok(())
}

/// Whether a sensor writes this ring now.
pub fn is_being_written(directory: &Path) -> bool {
    super::lock::is_held(directory)
}
