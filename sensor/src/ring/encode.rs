//! From a filled block to its bytes on disk: parts compressed, sealed with a key where there is one, and hashed.
//!
//! In: a [`Block`] and where it will stand. Out: its header, and its bytes as they go to disk, in memory that is
//! used again for every block and stays in the nearer caches. Nothing is copied between: zstd puts each part at its
//! place, and a key seals what stands there. The level follows the load: a live ring whose queue fills compresses
//! faster before it loses a frame.

use super::block::Block;
use super::cipher::Cipher;
use super::format::{
    BLOCK_HEADER_BYTES, BlockHeader, CHUNK_BYTES, HASH_BYTES, PART_BYTES, Part, SALT_BYTES, TAG_BYTES,
    block_flags,
};
use std::io;
use zstd::zstd_safe::{CParameter, compress_bound};

/// The level when a quarter of the queue waits, unless the configured one is faster.
const LEVEL_BUSY: i32 = -3;
/// The level when half of the queue waits, unless the configured one is faster.
const LEVEL_PRESSED: i32 = -7;

/// Blocks of a queue, however long it is, by whose quarters the level is chosen.
const HURRY_BLOCKS_MAX: usize = 64;

/// What is the same for all blocks of a segment.
#[derive(Debug)]
pub(super) struct SegmentSeal {
    pub(super) segment: u64,
    pub(super) salt: [u8; SALT_BYTES],
    pub(super) cipher: Option<Cipher>,
    /// Whether the block's contents are hashed for the ring's custody.
    pub(super) hashes: bool,
}

/// Compresses blocks; its memory is used again from block to block.
pub(super) struct Encoder {
    compressor: zstd::bulk::Compressor<'static>,
    configured: i32,
    level: i32,
    /// Room for a block's header, and its body.
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(level: i32) -> io::Result<Encoder> {
        Ok(Encoder {
            compressor: zstd::bulk::Compressor::new(level)?,
            configured: level,
            level,
            bytes: Vec::new(),
        })
    }

    /// Chooses the level by how much waits behind the block at hand. What a long queue holds beyond
    /// [`HURRY_BLOCKS_MAX`] is for when the fastest level is too slow as well.
    pub(super) fn adapt(&mut self, waiting: usize, capacity: usize) -> io::Result<()> {
        let wanted = match waiting * 4 / capacity.clamp(1, HURRY_BLOCKS_MAX) {
            0 => self.configured,
            1 => self.configured.min(LEVEL_BUSY),
            _ => self.configured.min(LEVEL_PRESSED),
        };
        if wanted != self.level {
            self.compressor.set_parameter(CParameter::CompressionLevel(wanted))?;
            self.level = wanted;
        }
        Ok(())
    }

    /// Whether blocks are compressed faster than configured.
    pub(super) fn is_hurried(&self) -> bool {
        self.level != self.configured
    }

    /// Returns a block's header, and the block: room for the header, and the body.
    pub(super) fn encode(
        &mut self,
        block: &Block,
        offset: u64,
        seal: &SegmentSeal,
    ) -> io::Result<(BlockHeader, &mut [u8])> {
        let bound = bound(block.entries.len(), block.heads.len(), block.tails.len());
        if self.bytes.len() < bound {
            self.bytes.resize(bound, 0);
        }
        let body = self.bytes.get_mut(BLOCK_HEADER_BYTES..).unwrap_or_default();
        let table_bytes = (2 + block.tails.len().div_ceil(CHUNK_BYTES)) * PART_BYTES;
        let mut end = table_bytes;
        let mut front = [0; 2];
        let sources =
            [&block.entries[..], &block.heads[..]].into_iter().chain(block.tails.chunks(CHUNK_BYTES));
        for (index, source) in sources.enumerate() {
            let room = body.get_mut(end..).ok_or(io::ErrorKind::StorageFull)?;
            let mut stored = self.compressor.compress_to_buffer(source, room)?;
            if let Some(cipher) = &seal.cipher {
                let tag = cipher.seal(offset, index as u32, &mut room[..stored])?;
                let place = room.get_mut(stored..stored + TAG_BYTES).ok_or(io::ErrorKind::StorageFull)?;
                place.copy_from_slice(&tag);
                stored += TAG_BYTES;
            }
            let part = Part { stored: stored as u32, crc: crc32fast::hash(&room[..stored]) };
            part.encode(body, index);
            if let Some(front) = front.get_mut(index) {
                *front = stored as u32;
            }
            end += stored;
        }
        let mut flags = if block.unordered { block_flags::UNORDERED } else { 0 };
        flags |= if seal.cipher.is_some() { block_flags::ENCRYPTED } else { 0 };
        let header = BlockHeader {
            lane: block.lane,
            flags,
            frames: block.frames,
            frames_cut_off: block.frames_cut_off,
            segment: seal.segment,
            number: block.number,
            first_time: block.first_time,
            last_time: block.last_time,
            entries_bytes: block.entries.len() as u32,
            entries_stored: front[0],
            heads_bytes: block.heads.len() as u32,
            heads_stored: front[1],
            tails_bytes: block.tails.len() as u32,
            body_bytes: end as u32,
            table_crc: crc32fast::hash(&body[..table_bytes]),
            hash: if seal.hashes { *blake3::hash(&body[..end]).as_bytes() } else { [0; HASH_BYTES] },
            left_out_bytes: block.left_out.map_or(0, |left_out| left_out.bytes),
            salt: seal.salt,
        };
        let block = self.bytes.get_mut(..BLOCK_HEADER_BYTES + end).ok_or(io::ErrorKind::StorageFull)?;
        Ok((header, block))
    }
}

/// Most bytes on disk of a block with parts of these sizes, header included, even if nothing compresses.
pub(super) fn bound(entries_bytes: usize, heads_bytes: usize, tails_bytes: usize) -> usize {
    let chunks = tails_bytes.div_ceil(CHUNK_BYTES);
    BLOCK_HEADER_BYTES
        + (2 + chunks) * (PART_BYTES + TAG_BYTES)
        + compress_bound(entries_bytes)
        + compress_bound(heads_bytes)
        + chunks * compress_bound(CHUNK_BYTES)
}
