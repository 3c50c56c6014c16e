//! Digests of blocks and segments: what a record of the chain vouches for.
//!
//! In: headers as they are written, or a segment's file. Out: the digest of a block, which is of its header alone,
//! since the header holds the hash of the contents; and the digest of a segment, which is of its header and of
//! the digests of its blocks in their order. So a block can be proven to be of a segment without its neighbours'
//! packets. To verify a ring, the file's own headers are read and never the index, which somebody
//! may have altered with them; to find what a signed record vouches for, the index does.

use super::record::Hash;
use crate::ring::format::{
    BLOCK_ALIGNMENT, BLOCK_HEADER_BYTES, BlockHeader, HASH_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::ring::index::{SealedIndex, Totals};
use crate::ring::reader::{BlockError, BlockReader, SegmentFiles};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const BLOCK_CONTEXT: &str = "weir custody 2026 block v1";
const SEGMENT_CONTEXT: &str = "weir custody 2026 segment v1";
/// Bytes read at once while looking for the next sound header behind a damaged one.
const SEARCH_BYTES: usize = 1 << 20;

/// The digest of a sealed block, of its header as it stands on disk.
pub fn block_digest(header: &[u8; BLOCK_HEADER_BYTES]) -> Hash {
    blake3::derive_key(BLOCK_CONTEXT, header)
}

/// Whether a block's stored bytes have the hash that its header holds. A block of a time without custody has none.
pub fn verify_contents(
    reader: &mut BlockReader,
    files: &SegmentFiles,
    offset: u64,
    header: &BlockHeader,
) -> Result<(), BlockError> {
    if header.hash == [0; HASH_BYTES] {
        return Ok(());
    }
    let stored = reader.stored(files, offset, header)?;
    match *blake3::hash(stored.get(BLOCK_HEADER_BYTES..).unwrap_or_default()).as_bytes() == header.hash {
        true => Ok(()),
        false => Err(BlockError::Contents("the stored bytes have another hash")),
    }
}

/// The digest of a segment that grows block by block.
#[derive(Clone, Debug)]
pub struct SegmentDigest {
    hasher: blake3::Hasher,
    totals: Totals,
}

impl SegmentDigest {
    /// Begins with the segment's header.
    pub fn new(header: &[u8; SEGMENT_HEADER_BYTES]) -> SegmentDigest {
        let mut hasher = blake3::Hasher::new_derive_key(SEGMENT_CONTEXT);
        hasher.update(header);
        SegmentDigest { hasher, totals: Totals::default() }
    }

    /// Takes in the next block of the segment.
    pub fn block(&mut self, offset: u64, header: &BlockHeader) {
        self.totals.add(offset, header);
        self.add(&block_digest(&header.encode_sealed()));
    }

    /// Takes in a block by its digest.
    pub fn add(&mut self, block: &Hash) {
        self.hasher.update(block);
    }

    /// Bytes in which no header could be read: they are part of what the digest says.
    fn damaged(&mut self, offset: u64, bytes: u64) {
        self.hasher.update(b"damaged");
        self.hasher.update(&offset.to_le_bytes()).update(&bytes.to_le_bytes());
    }

    /// What was taken in with its header.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The digest.
    pub fn finish(&self) -> Hash {
        self.hasher.finalize().into()
    }
}

/// A block's header as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawBlock {
    /// Where it begins.
    pub offset: u64,
    /// What it says.
    pub header: BlockHeader,
    /// Its bytes.
    pub bytes: [u8; BLOCK_HEADER_BYTES],
}

/// The headers of a segment's file.
#[derive(Clone, Debug)]
pub struct Headers {
    /// The segment's header, as it stands in the file.
    pub segment: [u8; SEGMENT_HEADER_BYTES],
    /// Those of its blocks, in their order.
    pub blocks: Vec<RawBlock>,
    /// Offset and length of bytes in which no header can be read.
    pub damaged: Vec<(u64, u64)>,
    digest: SegmentDigest,
}

impl Headers {
    /// Reads the headers of a segment, up to the last block that is sealed.
    pub fn read(path: &Path, sequence: u64) -> io::Result<Headers> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut segment = [0; SEGMENT_HEADER_BYTES];
        file.read_exact_at(&mut segment, 0)?;
        let mut headers = Headers {
            segment,
            blocks: Vec::new(),
            damaged: Vec::new(),
            digest: SegmentDigest::new(&segment),
        };
        let mut at = SEGMENT_HEADER_BYTES as u64;
        while at + BLOCK_HEADER_BYTES as u64 <= length {
            let mut bytes = [0; BLOCK_HEADER_BYTES];
            file.read_exact_at(&mut bytes, at)?;
            if let Some(header) = sound(&bytes, sequence) {
                headers.digest.block(at, &header);
                headers.blocks.push(RawBlock { offset: at, header, bytes });
                at = header.next_offset(at);
                continue;
            }
            let next = next_sound(&file, at, length, sequence)?;
            // What comes last may be space for blocks to come.
            let Some(next) = next else {
                if bytes.iter().any(|byte| *byte != 0) {
                    headers.gap(at, length - at);
                }
                break;
            };
            headers.gap(at, next - at);
            at = next;
        }
        Ok(headers)
    }

    /// The headers as the sealed index has them: a few pages in one place, where the segment has them a block apart.
    ///
    /// Nothing is believed for that: who takes them compares their digest with a signed record. None: the index is not
    /// sealed or cannot be read.
    pub fn of_index(files: &SegmentFiles) -> Option<Headers> {
        let mut segment = [0; SEGMENT_HEADER_BYTES];
        File::open(&files.segment).ok()?.read_exact_at(&mut segment, 0).ok()?;
        let mut index = SealedIndex::open(&files.index, files.key.as_ref()).ok()?;
        let mut headers = Headers {
            segment,
            blocks: Vec::new(),
            damaged: Vec::new(),
            digest: SegmentDigest::new(&segment),
        };
        for block in 0..index.blocks() {
            let (offset, header) = index.block(block).ok()?;
            headers.digest.block(offset, &header);
            headers.blocks.push(RawBlock { offset, header, bytes: header.encode_sealed() });
        }
        Some(headers)
    }

    fn gap(&mut self, offset: u64, bytes: u64) {
        self.damaged.push((offset, bytes));
        self.digest.damaged(offset, bytes);
    }

    /// The segment's digest.
    pub fn digest(&self) -> &SegmentDigest {
        &self.digest
    }

    /// The run that wrote the segment; none when its header is damaged.
    pub fn run(&self) -> Option<u32> {
        SegmentHeader::decode(&self.segment).ok().map(|header| header.run)
    }
}

fn sound(bytes: &[u8], sequence: u64) -> Option<BlockHeader> {
    BlockHeader::decode(bytes).ok().filter(|header| header.segment == sequence)
}

fn next_sound(file: &File, from: u64, length: u64, sequence: u64) -> io::Result<Option<u64>> {
    let mut chunk = vec![0; SEARCH_BYTES + BLOCK_HEADER_BYTES];
    let mut at = from + BLOCK_ALIGNMENT;
    while at < length {
        let there = usize::try_from(length - at).unwrap_or(usize::MAX).min(chunk.len());
        let Some(bytes) = chunk.get_mut(..there) else { break };
        file.read_exact_at(bytes, at)?;
        for (step, place) in (0..there.min(SEARCH_BYTES)).step_by(BLOCK_ALIGNMENT as usize).enumerate() {
            let bytes = bytes.get(place..).unwrap_or_default();
            if BlockHeader::begins(bytes) && sound(bytes, sequence).is_some() {
                return Ok(Some(at + step as u64 * BLOCK_ALIGNMENT));
            }
        }
        at += SEARCH_BYTES as u64;
    }
    Ok(None)
}
