//! The fixed parts of the on-disk format: names, headers and checksums.
//!
//! In: the values that a header carries, or bytes that may be anything. Out: bytes, or the values
//! with every length checked against its limit. The layout as a whole is told in the folder's front page.
//! Deliberately absent: files, compression, and trust in any length that was read.

use super::entry::ENTRY_BYTES_MAX;
use weir_common::time::Timestamp;

/// Version of the format that is written; a file with a higher one is left alone and reported.
pub const FORMAT_VERSION: u16 = 2;
/// Oldest version that is read; an older file is left alone and reported.
pub const FORMAT_VERSION_MIN: u16 = 2;
/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 128;
/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 128;
/// Blocks begin at multiples of this, so that a search for the next sound header is quick.
pub const BLOCK_ALIGNMENT: u64 = 64;
/// Most frames in a block.
pub const FRAMES_MAX: u32 = 1 << 16;
/// Most uncompressed bytes of a block's entries.
pub const ENTRIES_BYTES_MAX: u32 = FRAMES_MAX * ENTRY_BYTES_MAX as u32;
/// Most uncompressed bytes of a block's frames; a header that claims more is damaged.
pub const DATA_BYTES_MAX: u32 = 16 << 20;
/// A frame of at most this many bytes stands whole among the heads of its block.
pub const WHOLE_BYTES_MAX: usize = 256;
/// Of a longer frame this many bytes stand among the heads: what filters look at, and what compresses best.
pub const HEAD_BYTES: usize = 128;
/// Uncompressed bytes of a chunk of tails, each a zstd frame of its own; the last one is shorter.
pub const CHUNK_BYTES: usize = 128 << 10;
/// Bytes of a part's line in the table that begins a block's body.
pub const PART_BYTES: usize = 8;
/// Bytes that sealing a part with a key adds.
pub const TAG_BYTES: usize = 16;
/// Bytes of the random salt in a segment's and an index's header: two of four thousand million agree by chance.
pub const SALT_BYTES: usize = 8;
/// Bytes of the hash of a block's contents.
pub const HASH_BYTES: usize = 32;

const SEGMENT_MAGIC: [u8; 8] = *b"WEIRRING";
const BLOCK_MAGIC: [u8; 4] = *b"WBLK";
/// Where a block's header begins to be covered by its own checksum: after magic and checksum.
const BLOCK_CHECKED_FROM: usize = 8;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end before the structure does.
    #[error("{what} needs {needed} bytes, {available} are there")]
    Truncated {
        /// Which structure.
        what: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes there are.
        available: usize,
    },
    /// The structure does not begin as it should.
    #[error("{what} does not begin with its magic")]
    Magic {
        /// Which structure.
        what: &'static str,
    },
    /// A checksum does not agree.
    #[error("{what} does not match its checksum")]
    Checksum {
        /// Which structure.
        what: &'static str,
    },
    /// Written by another version.
    #[error("format version {found}, this program reads {FORMAT_VERSION_MIN} to {FORMAT_VERSION}")]
    Version {
        /// The version found.
        found: u16,
    },
    /// A value is outside its limits.
    #[error("{what} is {found}, expected {expected}")]
    Value {
        /// Which value.
        what: &'static str,
        /// What was there.
        found: u64,
        /// What was expected.
        expected: u64,
    },
}

/// Little-endian reads that fail instead of panicking.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Fields<'a> {
        Fields { bytes, what }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let available = self.bytes.len();
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(FormatError::Truncated {
            what: self.what,
            needed: count,
            available,
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let taken = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(taken);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, FormatError> {
        self.u64().map(Timestamp)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Puts little-endian fields one after the other into a fixed buffer that is large enough by construction.
pub(super) struct Put<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Put<'a> {
    pub(super) fn at(out: &'a mut [u8], at: usize) -> Put<'a> {
        Put { out, at }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
}

/// Whether files of this version are read.
pub(super) fn check_version(found: u16) -> Result<(), FormatError> {
    match (FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&found) {
        true => Ok(()),
        false => Err(FormatError::Version { found }),
    }
}

/// What a segment is named: everything that retention and recovery decide by, without opening the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Counts up over all lanes and runs of a ring; the lowest is the oldest.
    pub sequence: u64,
    /// The worker's lane.
    pub lane: u16,
    /// Time of the first frame.
    pub first_time: Timestamp,
}

impl SegmentName {
    /// The name of the file of frames.
    pub fn segment_file(&self) -> String {
        format!("{}.seg", self.stem())
    }

    /// The name of the index beside it.
    pub fn index_file(&self) -> String {
        format!("{}.idx", self.stem())
    }

    fn stem(&self) -> String {
        format!("{:012}-{:05}-{}", self.sequence, self.lane, self.first_time.0)
    }

    /// Reads a file name without its ending; only the exact form that is written is a segment's.
    pub fn parse(stem: &str) -> Option<SegmentName> {
        let mut parts = stem.splitn(3, '-');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (sequence, lane, first_time) = (number()?, u16::try_from(number()?).ok()?, Timestamp(number()?));
        let name = SegmentName { sequence, lane, first_time };
        (name.stem() == stem).then_some(name)
    }
}

/// The first bytes of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The same as in the file's name.
    pub name: SegmentName,
    /// Which run of the sensor wrote it.
    pub run: u32,
    /// Whether blocks and index are sealed with a key.
    pub encrypted: bool,
    /// Random bytes that no other segment has; with the ring's key they make the segment's.
    pub salt: [u8; SALT_BYTES],
}

/// The checksum that a segment's header would have if it said this program's version.
fn crc_as_this_version(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..8]);
    hasher.update(&FORMAT_VERSION.to_le_bytes());
    hasher.update(&header[10..SEGMENT_HEADER_BYTES - 4]);
    hasher.finalize()
}

/// Bits of a segment's flags.
const SEGMENT_ENCRYPTED: u16 = 1;

impl SegmentHeader {
    /// The header's bytes, checksum included; what is not used is zero.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        Put::at(&mut out, 0)
            .bytes(&SEGMENT_MAGIC)
            .u16(FORMAT_VERSION)
            .u16(self.name.lane)
            .u32(self.run)
            .u64(self.name.sequence)
            .u64(self.name.first_time.0)
            .u16(if self.encrypted { SEGMENT_ENCRYPTED } else { 0 })
            .bytes(&self.salt);
        let checksum = crc32fast::hash(&out[..SEGMENT_HEADER_BYTES - 4]);
        Put::at(&mut out, SEGMENT_HEADER_BYTES - 4).u32(checksum);
        out
    }

    /// Reads a header.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, FormatError> {
        const WHAT: &str = "segment header";
        let header = Fields::new(bytes, WHAT).take(SEGMENT_HEADER_BYTES)?;
        let mut fields = Fields::new(header, WHAT);
        if fields.take(8)? != SEGMENT_MAGIC {
            return Err(FormatError::Magic { what: WHAT });
        }
        let version = fields.u16()?;
        let checksum = Fields::new(&header[SEGMENT_HEADER_BYTES - 4..], WHAT).u32()?;
        if check_version(version).is_err() && checksum == crc_as_this_version(header) {
            // Not another version but a damaged number: the segment is ours.
            return Err(FormatError::Checksum { what: WHAT });
        }
        check_version(version)?;
        let (lane, run) = (fields.u16()?, fields.u32()?);
        let name = SegmentName { lane, sequence: fields.u64()?, first_time: fields.time()? };
        let (flags, salt) = (fields.u16()?, fields.array()?);
        if checksum != crc32fast::hash(&header[..SEGMENT_HEADER_BYTES - 4]) {
            return Err(FormatError::Checksum { what: WHAT });
        }
        Ok(SegmentHeader { name, run, encrypted: flags & SEGMENT_ENCRYPTED != 0, salt })
    }
}

/// Properties of a block, as bits of its header.
pub mod block_flags {
    /// Frames are not in order of time.
    pub const UNORDERED: u16 = 1;
    /// Parts are sealed with a key.
    pub const ENCRYPTED: u16 = 2;
}

/// What stands before a block's compressed bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHeader {
    /// The worker's lane.
    pub lane: u16,
    /// Bits of [`block_flags`].
    pub flags: u16,
    /// Frames in the block, at least 1.
    pub frames: u32,
    /// Frames that are shorter than on the wire.
    pub frames_cut_off: u32,
    /// Sequence of the segment that the block belongs to.
    pub segment: u64,
    /// Counts the lane's blocks of this run, so that a missing one shows.
    pub number: u64,
    /// Earliest time of a frame.
    pub first_time: Timestamp,
    /// Latest time of a frame.
    pub last_time: Timestamp,
    /// Uncompressed bytes of the entries.
    pub entries_bytes: u32,
    /// Stored bytes of the entries.
    pub entries_stored: u32,
    /// Uncompressed bytes of the heads.
    pub heads_bytes: u32,
    /// Stored bytes of the heads.
    pub heads_stored: u32,
    /// Uncompressed bytes of the tails.
    pub tails_bytes: u32,
    /// Bytes of the body: the table of parts and all parts.
    pub body_bytes: u32,
    /// Checksum of the table of parts.
    pub table_crc: u32,
    /// BLAKE3 of the body; zeros where the ring keeps no custody.
    pub hash: [u8; HASH_BYTES],
    /// Bytes that were left out at the ends of frames on purpose.
    pub left_out_bytes: u64,
    /// The segment's salt, so that a block can be opened without the segment's header.
    pub salt: [u8; SALT_BYTES],
}

impl BlockHeader {
    /// The header's bytes without the magic, which is written last, when all else is in place.
    pub fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut out = [0; BLOCK_HEADER_BYTES];
        Put::at(&mut out, BLOCK_CHECKED_FROM)
            .u16(self.lane)
            .u16(self.flags)
            .u32(self.frames)
            .u32(self.frames_cut_off)
            .u64(self.segment)
            .u64(self.number)
            .u64(self.first_time.0)
            .u64(self.last_time.0)
            .u32(self.entries_bytes)
            .u32(self.entries_stored)
            .u32(self.heads_bytes)
            .u32(self.heads_stored)
            .u32(self.tails_bytes)
            .u32(self.body_bytes)
            .u32(self.table_crc)
            .bytes(&self.hash)
            .u64(self.left_out_bytes)
            .bytes(&self.salt);
        let checksum = crc32fast::hash(&out[BLOCK_CHECKED_FROM..]);
        Put::at(&mut out, 4).u32(checksum);
        out
    }

    /// The header's bytes as they stand in a sealed block.
    pub fn encode_sealed(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = self.encode();
        bytes[..4].copy_from_slice(&BLOCK_MAGIC);
        bytes
    }

    /// The magic as the number that one aligned store puts in front of the header.
    pub const fn magic() -> u32 {
        u32::from_ne_bytes(BLOCK_MAGIC)
    }

    /// Whether bytes begin as a sealed block does.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&BLOCK_MAGIC)
    }

    /// Reads a sealed block's header.
    pub fn decode(bytes: &[u8]) -> Result<BlockHeader, FormatError> {
        const WHAT: &str = "block header";
        let header = Fields::new(bytes, WHAT).take(BLOCK_HEADER_BYTES)?;
        if !BlockHeader::begins(header) {
            return Err(FormatError::Magic { what: WHAT });
        }
        let mut fields = Fields::new(&header[4..], WHAT);
        if fields.u32()? != crc32fast::hash(&header[BLOCK_CHECKED_FROM..]) {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let header = BlockHeader {
            lane: fields.u16()?,
            flags: fields.u16()?,
            frames: fields.u32()?,
            frames_cut_off: fields.u32()?,
            segment: fields.u64()?,
            number: fields.u64()?,
            first_time: fields.time()?,
            last_time: fields.time()?,
            entries_bytes: fields.u32()?,
            entries_stored: fields.u32()?,
            heads_bytes: fields.u32()?,
            heads_stored: fields.u32()?,
            tails_bytes: fields.u32()?,
            body_bytes: fields.u32()?,
            table_crc: fields.u32()?,
            hash: fields.array()?,
            left_out_bytes: fields.u64()?,
            salt: fields.array()?,
        };
        header.check_limits()?;
        Ok(header)
    }

    /// Whether its parts are sealed with a key.
    pub fn is_encrypted(&self) -> bool {
        self.flags & block_flags::ENCRYPTED != 0
    }

    /// Uncompressed bytes of all frames.
    pub fn frame_bytes(&self) -> u64 {
        u64::from(self.heads_bytes) + u64::from(self.tails_bytes)
    }

    /// Bytes on disk, header included.
    pub fn stored_bytes(&self) -> u64 {
        BLOCK_HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Chunks of tails.
    pub fn chunks(&self) -> usize {
        (self.tails_bytes as usize).div_ceil(CHUNK_BYTES)
    }

    /// Bytes of the table that begins the body: a line for the entries, the heads and each chunk.
    pub fn table_bytes(&self) -> usize {
        (2 + self.chunks()) * PART_BYTES
    }

    /// Where the next block begins, when this one begins at `offset`.
    pub fn next_offset(&self, offset: u64) -> u64 {
        offset.saturating_add(self.stored_bytes()).saturating_add(BLOCK_ALIGNMENT - 1)
            & !(BLOCK_ALIGNMENT - 1)
    }

    fn check_limits(&self) -> Result<(), FormatError> {
        let entries_stored_max = ENTRIES_BYTES_MAX * 2;
        let limit = |what, found: u64, expected: u64| match found <= expected {
            true => Ok(()),
            false => Err(FormatError::Value { what, found, expected }),
        };
        limit("number of frames", self.frames.into(), FRAMES_MAX.into())?;
        limit("size of entries", self.entries_bytes.into(), ENTRIES_BYTES_MAX.into())?;
        limit("size of frames", self.frame_bytes(), DATA_BYTES_MAX.into())?;
        limit("stored size of entries", self.entries_stored.into(), entries_stored_max.into())?;
        limit(
            "stored size of the block",
            self.body_bytes.into(),
            (DATA_BYTES_MAX * 2 + entries_stored_max).into(),
        )?;
        let front = self.table_bytes() as u64 + u64::from(self.entries_stored) + u64::from(self.heads_stored);
        limit("stored size of entries and heads", front, self.body_bytes.into())
    }
}

/// A line of the table that begins a block's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Stored bytes.
    pub stored: u32,
    /// Their checksum.
    pub crc: u32,
}

impl Part {
    /// Puts this line into its place of the table.
    pub(super) fn encode(&self, table: &mut [u8], index: usize) {
        Put::at(table, index * PART_BYTES).u32(self.stored).u32(self.crc);
    }

    /// Reads the table of a block into `parts`: all parts lie in the body afterwards, one after the other.
    pub(super) fn decode_table(
        header: &BlockHeader,
        table: &[u8],
        parts: &mut Vec<Part>,
    ) -> Result<(), FormatError> {
        const WHAT: &str = "table of parts";
        parts.clear();
        let bytes = Fields::new(table, WHAT).take(header.table_bytes())?;
        if crc32fast::hash(bytes) != header.table_crc {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let mut fields = Fields::new(bytes, WHAT);
        let mut sum = header.table_bytes() as u64;
        for _ in 0..2 + header.chunks() {
            let part = Part { stored: fields.u32()?, crc: fields.u32()? };
            sum += u64::from(part.stored);
            parts.push(part);
        }
        let front = [header.entries_stored, header.heads_stored];
        if sum != u64::from(header.body_bytes) || !parts.iter().map(|part| part.stored).take(2).eq(front) {
            return Err(FormatError::Value {
                what: "size of all parts",
                found: sum,
                expected: header.body_bytes.into(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: SegmentName =
        SegmentName { sequence: 42, lane: 3, first_time: Timestamp(1_763_640_000_000_000_001) };

    fn block_header() -> BlockHeader {
        BlockHeader {
            lane: 2,
            frames: 3,
            segment: 4,
            number: 5,
            body_bytes: 100,
            table_crc: 1,
            hash: [9; 32],
            ..Default::default()
        }
    }

    fn sealed(header: &BlockHeader) -> [u8; BLOCK_HEADER_BYTES] {
        header.encode_sealed()
    }

    #[test]
    fn a_name_says_sequence_lane_and_time_and_other_names_are_not_ours() {
        assert_eq!(NAME.segment_file(), "000000000042-00003-1763640000000000001.seg");
        assert_eq!(SegmentName::parse("000000000042-00003-1763640000000000001"), Some(NAME));
        for other in
            ["", "lock", "42-3-1", "000000000042-00003", "000000000042-70000-1", "000000000042-00003-1-2"]
        {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_segment_header_reads_back_and_another_version_is_refused() {
        let header = SegmentHeader { name: NAME, run: 9, encrypted: true, salt: [7; SALT_BYTES] };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for found in [1, 3] {
            let mut other = bytes;
            other[8] = found as u8;
            // The number alone is damage: the checksum says which version it was.
            assert!(matches!(SegmentHeader::decode(&other), Err(FormatError::Checksum { .. })));
            let checksum = crc32fast::hash(&other[..SEGMENT_HEADER_BYTES - 4]);
            other[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
            assert_eq!(SegmentHeader::decode(&other), Err(FormatError::Version { found }));
        }
    }

    #[test]
    fn a_header_with_any_bit_flipped_or_cut_anywhere_is_refused() {
        let (segment, block) = (
            SegmentHeader { name: NAME, run: 9, encrypted: true, salt: [7; SALT_BYTES] }.encode(),
            sealed(&block_header()),
        );
        assert_eq!(BlockHeader::decode(&block), Ok(block_header()));
        for at in 0..128 {
            for bit in 0..8 {
                let (mut segment, mut block) = (segment, block);
                segment[at] ^= 1 << bit;
                block[at] ^= 1 << bit;
                assert!(SegmentHeader::decode(&segment).is_err() && BlockHeader::decode(&block).is_err());
            }
            assert!(
                SegmentHeader::decode(&segment[..at]).is_err() && BlockHeader::decode(&block[..at]).is_err()
            );
        }
    }

    #[test]
    fn a_block_header_that_claims_more_than_the_limits_is_refused() {
        let with = |frames, heads_bytes| sealed(&BlockHeader { frames, heads_bytes, ..block_header() });
        assert!(BlockHeader::decode(&with(FRAMES_MAX, DATA_BYTES_MAX)).is_ok());
        assert!(BlockHeader::decode(&with(FRAMES_MAX + 1, 0)).is_err());
        assert!(BlockHeader::decode(&with(0, DATA_BYTES_MAX + 1)).is_err());
    }
}
