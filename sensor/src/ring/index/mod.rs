//! The index file beside a segment: which blocks hold which addresses, ports, protocols and flows.
//!
//! In: headers and summaries of blocks as they are written. Out: the same read back, and the blocks that hold a
//! key, from a few pages. The file has two forms. While its segment is written it is a [`journal`]: one record per
//! block, so that a reader or a crash finds whatever was sealed. When the segment is full the [`sealed`] form
//! replaces it: sorted keys with the blocks that hold each. Deliberately absent: any claim that a journal is
//! complete; only the sealed form is, and without it the segment itself is asked.

pub mod journal;
mod pages;
pub mod sealed;

pub use journal::{Journal, JournalBlock};
pub use pages::IndexError;
pub use sealed::{BlockSet, Kind, SealedIndex};

use super::format::{
    BlockHeader, FORMAT_VERSION, Fields, FormatError, Put, SALT_BYTES, SegmentName, check_version,
};
use weir_common::time::Timestamp;

/// Bytes of an index file's header.
pub const INDEX_HEADER_BYTES: usize = 64;

/// The run of a segment whose own header, which says it, is damaged. Runs are counted from 1.
pub const RUN_UNKNOWN: u32 = 0;

const MAGIC: [u8; 8] = *b"WEIRINDX";

/// In which form an index file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Journal = 0,
    Sealed = 1,
}

/// The first bytes of an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexHeader {
    pub(super) name: SegmentName,
    pub(super) form: Form,
    pub(super) encrypted: bool,
    pub(super) salt: [u8; SALT_BYTES],
}

impl IndexHeader {
    pub(super) fn encode(&self) -> [u8; INDEX_HEADER_BYTES] {
        let mut out = [0; INDEX_HEADER_BYTES];
        Put::at(&mut out, 0)
            .bytes(&MAGIC)
            .u16(FORMAT_VERSION)
            .u16(self.name.lane)
            .u16(self.form as u16)
            .u16(self.encrypted.into())
            .u64(self.name.sequence)
            .u64(self.name.first_time.0)
            .bytes(&self.salt);
        let checksum = crc32fast::hash(&out[..INDEX_HEADER_BYTES - 4]);
        Put::at(&mut out, INDEX_HEADER_BYTES - 4).u32(checksum);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<IndexHeader, FormatError> {
        const WHAT: &str = "index header";
        let header = Fields::new(bytes, WHAT).take(INDEX_HEADER_BYTES)?;
        let mut fields = Fields::new(header, WHAT);
        if fields.take(8)? != MAGIC {
            return Err(FormatError::Magic { what: WHAT });
        }
        check_version(fields.u16()?)?;
        let lane = fields.u16()?;
        let form = match fields.u16()? {
            0 => Form::Journal,
            1 => Form::Sealed,
            found => {
                return Err(FormatError::Value { what: "form of index", found: found.into(), expected: 1 });
            }
        };
        let encrypted = fields.u16()? != 0;
        let name = SegmentName { lane, sequence: fields.u64()?, first_time: fields.time()? };
        let salt = fields.array()?;
        let checksum = Fields::new(&header[INDEX_HEADER_BYTES - 4..], WHAT).u32()?;
        match checksum == crc32fast::hash(&header[..INDEX_HEADER_BYTES - 4]) {
            true => Ok(IndexHeader { name, form, encrypted, salt }),
            false => Err(FormatError::Checksum { what: WHAT }),
        }
    }
}

/// What a segment holds in sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Which run of the sensor wrote it, or [`RUN_UNKNOWN`].
    pub run: u32,
    /// Bytes of the segment file up to the end of the last block.
    pub used_bytes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Frames.
    pub frames: u64,
    /// Captured bytes of the frames that are kept, uncompressed.
    pub frame_bytes: u64,
    /// Captured bytes that were left out on purpose.
    pub left_out_bytes: u64,
    /// Lowest number of a block.
    pub first_number: u64,
    /// Highest number of a block.
    pub last_number: u64,
    /// Earliest time of a frame.
    pub first_time: Timestamp,
    /// Latest time of a frame.
    pub last_time: Timestamp,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            run: 0,
            used_bytes: 0,
            blocks: 0,
            frames: 0,
            frame_bytes: 0,
            left_out_bytes: 0,
            first_number: u64::MAX,
            last_number: 0,
            first_time: Timestamp::MAX,
            last_time: Timestamp::MIN,
        }
    }
}

impl Totals {
    /// Adds a block that begins at `offset`.
    pub fn add(&mut self, offset: u64, header: &BlockHeader) {
        self.used_bytes = self.used_bytes.max(header.next_offset(offset));
        self.blocks += 1;
        self.frames += u64::from(header.frames);
        self.frame_bytes += header.frame_bytes();
        self.left_out_bytes = self.left_out_bytes.saturating_add(header.left_out_bytes);
        self.first_number = self.first_number.min(header.number);
        self.last_number = self.last_number.max(header.number);
        self.first_time = self.first_time.min(header.first_time);
        self.last_time = self.last_time.max(header.last_time);
    }
}
