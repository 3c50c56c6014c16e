//! Reading a ring: segments, their blocks, and frames, also while they are being written.
//!
//! In: the ring's directory. Out: blocks whose checksums agree, and what is damaged by name. Reads through
//! descriptors and never maps, so that a segment that is shortened or removed meanwhile is an error that
//! can be told. Deliberately absent: any writing; a reader needs no lock and never disturbs the sensor.

use super::cipher::RingKey;
use super::format::{
    BLOCK_ALIGNMENT, BLOCK_HEADER_BYTES, BlockHeader, FormatError, SALT_BYTES, SEGMENT_HEADER_BYTES,
    SegmentHeader, SegmentName,
};
use super::gaps::GAPS_FILE;
use super::index::{IndexError, Journal, RUN_UNKNOWN, SealedIndex, Totals};
use super::pins;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use super::frames::{BlockError, BlockFrames, BlockReader, Placed};

/// Bytes read at once while looking for the next sound block behind a damaged one.
const SEARCH_BYTES: usize = 1 << 20;

/// A segment file and its index, as they lie in the directory.
#[derive(Clone, Debug)]
pub struct SegmentFiles {
    /// What the name says.
    pub name: SegmentName,
    /// The file of frames.
    pub segment: PathBuf,
    /// The index beside it.
    pub index: PathBuf,
    /// What opens them when they are encrypted.
    pub key: Option<RingKey>,
}

/// The segments of a ring, oldest first. Other files are not looked at.
pub fn segments(directory: &Path, key: Option<&RingKey>) -> io::Result<Vec<SegmentFiles>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.file_name();
        let stem = file.to_str().and_then(|file| file.strip_suffix(".seg"));
        if let Some(name) = stem.and_then(SegmentName::parse) {
            let (segment, index) = (directory.join(name.segment_file()), directory.join(name.index_file()));
            found.push(SegmentFiles { name, segment, index, key: key.cloned() });
        }
    }
    found.sort_by_key(|files| files.name);
    Ok(found)
}

/// Whether a directory is a ring: it has a ledger, as every ring has, or at least segments.
pub fn is_ring(directory: &Path) -> io::Result<bool> {
    match fs::metadata(directory.join(GAPS_FILE)) {
        Ok(_) => Ok(true),
        Err(error) if is_nothing(&error) => match segments(directory, None) {
            Ok(found) => Ok(!found.is_empty()),
            Err(error) if is_nothing(&error) => Ok(false),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A block of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentBlock {
    /// Where it begins.
    pub offset: u64,
    /// Its header.
    pub header: BlockHeader,
    /// Its summary in the journal's bytes; none: the sealed index has it, or nothing is known of what it holds.
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
    /// The journal's bytes, which the blocks' summaries point into.
    pub index_bytes: Vec<u8>,
    /// What is damaged.
    pub damaged: Vec<DamagedRange>,
    /// Records or pages of the index that do not match their checksum.
    pub index_records_damaged: u64,
    /// Present when the segment takes no more blocks.
    pub sealed: Option<Totals>,
    /// Which run of the sensor wrote it, unless the header that says so is damaged.
    pub run: Option<u32>,
}

impl SegmentContents {
    /// Reads what a segment holds: from the index where it is sealed, else from the segment's headers.
    pub fn read(files: &SegmentFiles) -> Result<SegmentContents, BlockError> {
        let sealed = || {
            let index = SealedIndex::open(&files.index, files.key.as_ref());
            index.and_then(SegmentContents::of_sealed).ok()
        };
        if let Some(contents) = sealed() {
            return Ok(contents);
        }
        let contents = SegmentContents::walked(files)?;
        // The segment may have been sealed between the two looks; else its sealed index is damaged.
        Ok(sealed().filter(|_| contents.index_records_damaged > 0).unwrap_or(contents))
    }

    fn of_sealed(mut index: SealedIndex) -> Result<SegmentContents, IndexError> {
        let totals = *index.totals();
        let mut contents =
            SegmentContents { sealed: Some(totals), run: Some(totals.run), ..SegmentContents::default() };
        for block in 0..index.blocks() {
            let (offset, header) = index.block(block)?;
            contents.blocks.push(SegmentBlock { offset, header, summary: None });
        }
        Ok(contents)
    }

    /// What the segment's own headers say, with the summaries that the journal has.
    pub fn walked(files: &SegmentFiles) -> Result<SegmentContents, BlockError> {
        let journal = Journal::read(&files.index, files.key.as_ref())?;
        let mut contents = SegmentContents::walk(files, &journal)?;
        contents.index_records_damaged = journal.damaged_records + u64::from(journal.is_sealed);
        contents.index_bytes = journal.bytes;
        Ok(contents)
    }

    /// What it holds in sum, with blocks that are damaged and of which the index knows.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { run: self.run.unwrap_or(RUN_UNKNOWN), ..Totals::default() };
        let damaged = self.damaged.iter().filter_map(|range| Some((range.offset, range.known.as_ref()?)));
        let blocks = self.blocks.iter().map(|block| (block.offset, &block.header));
        blocks.chain(damaged).for_each(|(offset, header)| totals.add(offset, header));
        totals
    }

    /// The summary of a block; none: nothing is known of what it holds.
    pub fn summary(&self, block: &SegmentBlock) -> Option<&[u8]> {
        self.index_bytes.get(block.summary.clone()?)
    }

    /// Every sound block of the segment file; summaries come from what the index has.
    fn walk(files: &SegmentFiles, index: &Journal) -> Result<SegmentContents, BlockError> {
        let file = open(&files.segment)?;
        let own = header_of(&file)?;
        let (length, is_pin) = (file.metadata()?.len(), files.segment.parent().is_some_and(pins::is_pin));
        let run = own.map(|header| header.run);
        let walked =
            Walked { file, length, sequence: files.name.sequence, salt: own.map(|header| header.salt) };
        let mut contents = SegmentContents { run, ..SegmentContents::default() };
        let mut indexed = index.blocks.iter().peekable();
        let mut at = SEGMENT_HEADER_BYTES as u64;
        while at < length {
            let place = walked.look_at(at)?;
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
            if known.is_none() && matches!(place, Place::Blank) && !is_pin {
                break;
            }
            let next = walked.next_sound(at)?;
            if known.is_none() && matches!(place, Place::Blank) {
                // A pin has holes where the original has blocks that it does not keep.
                at = next.unwrap_or(length);
                continue;
            }
            let bytes = next.unwrap_or(length) - at;
            contents.damaged.push(DamagedRange { offset: at, bytes, known: known.map(|block| block.header) });
            at = next.unwrap_or(length);
        }
        // What the index knows beyond the file's end was there once: somebody cut the file.
        for block in index.blocks.iter().filter(|block| block.offset >= length) {
            let (offset, bytes) = (block.offset, block.header.stored_bytes());
            contents.damaged.push(DamagedRange { offset, bytes, known: Some(block.header) });
        }
        Ok(contents)
    }
}

pub(super) fn open(path: &Path) -> Result<File, BlockError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BlockError::Removed,
        _ => BlockError::Io(error),
    })
}

/// The header of a segment file, for whoever wants to know whether it is as it was written.
pub(super) fn segment_header(files: &SegmentFiles) -> Result<SegmentHeader, BlockError> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = read_up_to(&open(&files.segment)?, &mut bytes, 0)?;
    Ok(SegmentHeader::decode(&bytes[..read])?)
}

/// A damaged segment header costs nothing but the run's number: the name and the blocks say the rest. Another
/// version is not touched.
fn header_of(file: &File) -> Result<Option<SegmentHeader>, BlockError> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = read_up_to(file, &mut bytes, 0)?;
    match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) => Ok(Some(header)),
        Err(error @ FormatError::Version { .. }) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// What stands where a block may begin.
enum Place {
    Sealed(BlockHeader),
    /// Nothing was sealed here yet.
    Blank,
    Damaged,
}

/// A segment file that is walked from block to block.
struct Walked {
    file: File,
    length: u64,
    sequence: u64,
    /// What every block of the segment carries; none: the segment's header is damaged.
    salt: Option<[u8; SALT_BYTES]>,
}

impl Walked {
    /// The sealed block at an offset that belongs to this segment and lies in the file whole. What looks like a
    /// block inside a captured packet, whose sender may know the sequence, does not carry the segment's salt.
    fn block_at(&self, at: u64) -> io::Result<Option<BlockHeader>> {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        if read_up_to(&self.file, &mut bytes, at)? < BLOCK_HEADER_BYTES {
            return Ok(None);
        }
        let is_own = |header: &BlockHeader| {
            header.segment == self.sequence && self.salt.is_none_or(|salt| header.salt == salt)
        };
        let header = BlockHeader::decode(&bytes).ok().filter(is_own);
        Ok(header.filter(|header| at + header.stored_bytes() <= self.length))
    }

    /// Looks at a place once for all, because a writer may seal a block there meanwhile.
    fn look_at(&self, at: u64) -> io::Result<Place> {
        if let Some(header) = self.block_at(at)? {
            return Ok(Place::Sealed(header));
        }
        if self.is_blank(at)? {
            return Ok(Place::Blank);
        }
        // There is a magic now. Either it was stored between the two looks, and all else before it, or the block is
        // damaged.
        Ok(self.block_at(at)?.map_or(Place::Damaged, Place::Sealed))
    }

    /// Whether nothing was sealed here: the magic, which is stored last, is not there.
    fn is_blank(&self, at: u64) -> io::Result<bool> {
        let mut magic = [0; 4];
        let read = read_up_to(&self.file, &mut magic, at)?;
        Ok(self.length - at < BLOCK_HEADER_BYTES as u64 || magic[..read].iter().all(|byte| *byte == 0))
    }

    /// Where the next sound block begins after a damaged one.
    fn next_sound(&self, from: u64) -> io::Result<Option<u64>> {
        let mut chunk = vec![0; SEARCH_BYTES];
        let mut at = from + BLOCK_ALIGNMENT;
        while at < self.length {
            let read = read_up_to(&self.file, &mut chunk, at)?;
            for (step, place) in chunk[..read].chunks(BLOCK_ALIGNMENT as usize).enumerate() {
                let candidate = at + step as u64 * BLOCK_ALIGNMENT;
                if BlockHeader::begins(place) && self.block_at(candidate)?.is_some() {
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
}

pub(super) fn read_up_to(file: &File, bytes: &mut [u8], mut at: u64) -> io::Result<usize> {
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

/// Whether a sensor writes this ring now.
pub fn is_being_written(directory: &Path) -> bool {
    super::lock::is_held(directory)
}
