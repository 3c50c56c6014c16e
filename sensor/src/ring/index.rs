//! The index file beside a segment: one record per sealed block, and one that seals the whole.
//!
//! In: headers and summaries of blocks as they are written. Out: the same, read back, with what is damaged
//! left out. Deliberately absent: any claim that the index is complete; only its last record says so, and
//! without it the segment itself is asked.

use super::format::{BLOCK_HEADER_BYTES, BlockHeader, FORMAT_VERSION, Fields, FormatError, Put, SegmentName};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use weir_common::time::Timestamp;

/// Largest index file that is read, in bytes; a larger one is not ours and the segment is asked instead.
pub const INDEX_BYTES_MAX: u64 = 128 << 20;
/// Bytes of an index file's header.
pub const INDEX_HEADER_BYTES: usize = 64;
/// Bytes of the record that seals an index; it is always the last.
pub const SEAL_RECORD_BYTES: usize = RECORD_HEADER_BYTES + SEAL_BYTES;

const MAGIC: [u8; 8] = *b"WEIRINDX";
const RECORD_HEADER_BYTES: usize = 8;
const SEAL_BYTES: usize = 56;
const KIND_BLOCK: u64 = 1;
const KIND_SEAL: u64 = 2;
/// Kind and offset stand before a block's header.
const BLOCK_PREFIX_BYTES: usize = 16;

/// What a segment holds in sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of the segment file up to the end of the last block.
    pub used_bytes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Frames.
    pub frames: u64,
    /// Captured bytes of the frames, uncompressed.
    pub frame_bytes: u64,
    /// Earliest time of a frame.
    pub first_time: Timestamp,
    /// Latest time of a frame.
    pub last_time: Timestamp,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            used_bytes: 0,
            blocks: 0,
            frames: 0,
            frame_bytes: 0,
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
        self.frame_bytes += u64::from(header.data_bytes);
        self.first_time = self.first_time.min(header.first_time);
        self.last_time = self.last_time.max(header.last_time);
    }
}

/// Appends to an index file.
#[derive(Debug)]
pub(super) struct IndexWriter {
    file: File,
    len: u64,
    totals: Totals,
    record: Vec<u8>,
}

impl IndexWriter {
    /// Creates the file with its header; an older file of this name is emptied.
    pub(super) fn create(path: &Path, name: SegmentName) -> io::Result<IndexWriter> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let mut header = [0; INDEX_HEADER_BYTES];
        Put::at(&mut header, 0)
            .bytes(&MAGIC)
            .u16(FORMAT_VERSION)
            .u16(name.lane)
            .u32(0)
            .u64(name.sequence)
            .u64(name.first_time.0);
        let checksum = crc32fast::hash(&header[..INDEX_HEADER_BYTES - 4]);
        Put::at(&mut header, INDEX_HEADER_BYTES - 4).u32(checksum);
        file.write_all_at(&header, 0)?;
        Ok(IndexWriter {
            file,
            len: INDEX_HEADER_BYTES as u64,
            totals: Totals::default(),
            record: Vec::new(),
        })
    }

    /// Bytes that a block with a summary of this size adds, the sealing record to come included.
    pub(super) fn bytes_with(&self, summary_bytes: usize) -> u64 {
        let record = RECORD_HEADER_BYTES + BLOCK_PREFIX_BYTES + BLOCK_HEADER_BYTES + summary_bytes;
        self.len + (record + SEAL_RECORD_BYTES) as u64
    }

    /// Appends a sealed block.
    pub(super) fn append(&mut self, offset: u64, header: &BlockHeader, summary: &[u8]) -> io::Result<()> {
        self.begin(KIND_BLOCK);
        self.record.extend_from_slice(&offset.to_le_bytes());
        let mut bytes = header.encode();
        bytes[..4].copy_from_slice(&BlockHeader::magic().to_ne_bytes());
        self.record.extend_from_slice(&bytes);
        self.record.extend_from_slice(summary);
        self.end()?;
        self.totals.add(offset, header);
        Ok(())
    }

    /// Appends the record that says the index is whole.
    pub(super) fn seal(mut self) -> io::Result<(Totals, u64)> {
        let totals = self.totals;
        self.begin(KIND_SEAL);
        for value in [
            totals.used_bytes,
            totals.blocks,
            totals.frames,
            totals.frame_bytes,
            totals.first_time.0,
            totals.last_time.0,
        ] {
            self.record.extend_from_slice(&value.to_le_bytes());
        }
        self.end()?;
        Ok((totals, self.len))
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn begin(&mut self, kind: u64) {
        self.record.clear();
        self.record.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        self.record.extend_from_slice(&kind.to_le_bytes());
    }

    /// A record that could be written only in part stays behind `len` and is written over by the next.
    fn end(&mut self) -> io::Result<()> {
        let (header, payload) = self.record.split_at_mut(RECORD_HEADER_BYTES);
        Put::at(header, 0).u32(payload.len() as u32).u32(crc32fast::hash(payload));
        self.file.write_all_at(&self.record, self.len)?;
        self.len += self.record.len() as u64;
        Ok(())
    }
}

/// A block as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedBlock {
    /// Where the block begins in the segment.
    pub offset: u64,
    /// Its header.
    pub header: BlockHeader,
    /// Where its summary is in the index file's bytes.
    pub summary: Range<usize>,
}

/// What could be read of an index file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Blocks, in the order in which they were written.
    pub blocks: Vec<IndexedBlock>,
    /// Present when the index is whole: nothing more will come and nothing is damaged.
    pub sealed: Option<Totals>,
    /// Records that do not match their checksum.
    pub damaged_records: u64,
}

impl Index {
    /// Reads an index file. One that is missing or too large is empty, and therefore not sealed.
    pub fn read(path: &Path) -> io::Result<Index> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length > INDEX_BYTES_MAX {
            return Ok(Index { damaged_records: 1, ..Index::default() });
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Index::parse(bytes))
    }

    /// Reads the bytes of an index file, whatever they are.
    pub fn parse(bytes: Vec<u8>) -> Index {
        let mut index = Index::default();
        match header_is_sound(&bytes) {
            Ok(()) => index.scan(&bytes),
            Err(_) if bytes.is_empty() => {}
            Err(_) => index.damaged_records = 1,
        }
        index.bytes = bytes;
        index
    }

    /// The summary of a block of this index.
    pub fn summary(&self, block: &IndexedBlock) -> &[u8] {
        self.bytes.get(block.summary.clone()).unwrap_or_default()
    }

    fn scan(&mut self, bytes: &[u8]) {
        let mut totals = Totals::default();
        let mut at = INDEX_HEADER_BYTES;
        while let Some((payload, next)) = record(bytes, at) {
            let sound = crc_of(bytes, at) == Some(crc32fast::hash(&bytes[payload.clone()]));
            match Record::parse(&bytes[payload.clone()]) {
                Ok(Record::Block(offset, header)) if sound => {
                    totals.add(offset, &header);
                    let summary = payload.start + BLOCK_PREFIX_BYTES + BLOCK_HEADER_BYTES..payload.end;
                    self.blocks.push(IndexedBlock { offset, header, summary });
                }
                Ok(Record::Seal(sealed)) if sound && next == bytes.len() && sealed == totals => {
                    self.sealed = Some(sealed);
                }
                _ => self.damaged_records += 1,
            }
            at = next;
        }
        if self.damaged_records > 0 {
            self.sealed = None;
        }
    }
}

/// The totals of a sealed index, from its last bytes alone. None: not sealed, or damaged.
pub fn sealed_totals(path: &Path) -> io::Result<Option<Totals>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let mut bytes = [0; SEAL_RECORD_BYTES];
    match length.checked_sub(SEAL_RECORD_BYTES as u64) {
        Some(at) if at >= INDEX_HEADER_BYTES as u64 => file.read_exact_at(&mut bytes, at)?,
        _ => return Ok(None),
    }
    let payload = &bytes[RECORD_HEADER_BYTES..];
    let sound = crc_of(&bytes, 0) == Some(crc32fast::hash(payload));
    Ok(match Record::parse(payload) {
        Ok(Record::Seal(totals)) if sound => Some(totals),
        _ => None,
    })
}

enum Record {
    Block(u64, BlockHeader),
    Seal(Totals),
}

impl Record {
    fn parse(payload: &[u8]) -> Result<Record, FormatError> {
        let mut fields = Fields::new(payload, "index record");
        match fields.u64()? {
            KIND_BLOCK => Ok(Record::Block(fields.u64()?, BlockHeader::decode(fields.rest())?)),
            KIND_SEAL => Ok(Record::Seal(Totals {
                used_bytes: fields.u64()?,
                blocks: fields.u64()?,
                frames: fields.u64()?,
                frame_bytes: fields.u64()?,
                first_time: fields.time()?,
                last_time: fields.time()?,
            })),
            found => Err(FormatError::Value { what: "kind of index record", found, expected: KIND_SEAL }),
        }
    }
}

fn header_is_sound(bytes: &[u8]) -> Result<(), FormatError> {
    const WHAT: &str = "index header";
    let header = Fields::new(bytes, WHAT).take(INDEX_HEADER_BYTES)?;
    let mut fields = Fields::new(header, WHAT);
    if fields.take(8)? != MAGIC {
        return Err(FormatError::Magic { what: WHAT });
    }
    let found = fields.u16()?;
    if found > FORMAT_VERSION {
        return Err(FormatError::Version { found });
    }
    let checksum = Fields::new(&header[INDEX_HEADER_BYTES - 4..], WHAT).u32()?;
    match checksum == crc32fast::hash(&header[..INDEX_HEADER_BYTES - 4]) {
        true => Ok(()),
        false => Err(FormatError::Checksum { what: WHAT }),
    }
}

/// The payload of the record at `at` and where the next record begins; none when it does not end in the file.
fn record(bytes: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let length = Fields::new(bytes.get(at..)?, "index record").u32().ok()? as usize;
    let begin = at.checked_add(RECORD_HEADER_BYTES)?;
    let end = begin.checked_add(length)?;
    (length > 0 && end <= bytes.len()).then_some((begin..end, end))
}

fn crc_of(bytes: &[u8], at: usize) -> Option<u32> {
    Fields::new(bytes.get(at + 4..)?, "index record").u32().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: SegmentName = SegmentName { sequence: 1, lane: 0, first_time: Timestamp(5) };

    fn header(number: u64) -> BlockHeader {
        BlockHeader {
            number,
            frames: 2,
            data_bytes: 10,
            data_stored: 8,
            first_time: Timestamp(number),
            ..Default::default()
        }
    }

    fn written(seal: bool) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.idx");
        let mut writer = IndexWriter::create(&path, NAME).unwrap();
        writer.append(128, &header(1), b"first summary").unwrap();
        writer.append(320, &header(2), b"").unwrap();
        if seal {
            writer.seal().unwrap();
            assert_eq!(sealed_totals(&path).unwrap().unwrap().frames, 4);
        } else {
            assert_eq!(sealed_totals(&path).unwrap(), None);
        }
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn a_sealed_index_reads_back_whole() {
        let index = Index::parse(written(true));
        assert_eq!((index.blocks.len(), index.damaged_records), (2, 0));
        assert_eq!((index.blocks[0].offset, index.blocks[0].header), (128, header(1)));
        assert_eq!(index.summary(&index.blocks[0]), b"first summary");
        let totals = index.sealed.unwrap();
        assert_eq!((totals.used_bytes, totals.blocks, totals.frames, totals.frame_bytes), (512, 2, 4, 20));
    }

    #[test]
    fn an_index_cut_anywhere_gives_only_whole_records_and_is_not_sealed() {
        let whole = written(true);
        for length in 0..whole.len() {
            let index = Index::parse(whole[..length].to_vec());
            assert!(index.sealed.is_none() && index.blocks.len() <= 2, "{length}");
            assert!(
                index.blocks.iter().zip([header(1), header(2)]).all(|(block, want)| block.header == want)
            );
        }
    }

    #[test]
    fn an_index_with_any_byte_changed_is_not_sealed_and_never_wrong() {
        let whole = written(true);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            let index = Index::parse(bytes);
            assert!(index.sealed.is_none(), "{at}");
            assert!(index.blocks.iter().all(|block| [header(1), header(2)].contains(&block.header)), "{at}");
        }
    }

    #[test]
    fn an_index_that_is_still_written_is_not_sealed() {
        let index = Index::parse(written(false));
        assert_eq!((index.blocks.len(), index.sealed, index.damaged_records), (2, None, 0));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            Index::parse(bytes.clone());
            let mut with_header = written(false)[..INDEX_HEADER_BYTES].to_vec();
            with_header.extend(bytes);
            Index::parse(with_header);
        }
    }
}
