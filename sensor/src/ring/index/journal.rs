//! The journal: an index while its segment is being written.
//!
//! In: headers and summaries of blocks as they are sealed. Out: one record for each, appended; at the end the
//! sealed form, which replaces the journal under its name. Read back, whatever is damaged is left out and counted.

use super::super::cipher::{Cipher, Purpose, RingKey, new_salt};
use super::super::format::{
    BLOCK_HEADER_BYTES, BlockHeader, Fields, FormatError, Put, SegmentName, TAG_BYTES,
};
use super::sealed::SealedBuilder;
use super::{Form, INDEX_HEADER_BYTES, IndexHeader, Totals};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Largest journal that is read, in bytes; a larger one is not ours and the segment is asked instead.
pub const JOURNAL_BYTES_MAX: u64 = 128 << 20;

const RECORD_HEADER_BYTES: usize = 8;
/// The offset stands before a block's header.
const BLOCK_PREFIX_BYTES: usize = 8;

/// Appends to a journal, and makes the sealed index of it.
#[derive(Debug)]
pub(in super::super) struct IndexWriter {
    path: PathBuf,
    file: File,
    name: SegmentName,
    key: Option<RingKey>,
    cipher: Option<Cipher>,
    len: u64,
    records: u64,
    record: Vec<u8>,
    sealed: SealedBuilder,
}

impl IndexWriter {
    /// Creates the file with its header; an older file of this name is emptied.
    pub(in super::super) fn create(
        path: &Path,
        name: SegmentName,
        run: u32,
        key: Option<&RingKey>,
    ) -> io::Result<IndexWriter> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let salt = if key.is_some() { new_salt()? } else { Default::default() };
        let header = IndexHeader { name, form: Form::Journal, encrypted: key.is_some(), salt };
        file.write_all_at(&header.encode(), 0)?;
        Ok(IndexWriter {
            path: path.to_owned(),
            file,
            name,
            key: key.cloned(),
            cipher: key.map(|key| Cipher::new(key, &salt, Purpose::Journal)).transpose()?,
            len: INDEX_HEADER_BYTES as u64,
            records: 0,
            record: Vec::new(),
            sealed: SealedBuilder::new(run),
        })
    }

    /// Bytes that both forms together take at most with a further block whose summary has this size.
    pub(in super::super) fn bytes_with(&self, summary_bytes: usize) -> u64 {
        let record =
            RECORD_HEADER_BYTES + BLOCK_PREFIX_BYTES + BLOCK_HEADER_BYTES + summary_bytes + TAG_BYTES;
        // A key of two bytes in a summary takes ten when it is sealed.
        self.len + self.sealed.bytes_max() + (record + 5 * summary_bytes) as u64
    }

    /// Blocks so far.
    pub(in super::super) fn blocks(&self) -> u64 {
        self.sealed.totals().blocks
    }

    /// Appends a sealed block. A record that could be written only in part is written over by the next.
    pub(in super::super) fn append(
        &mut self,
        offset: u64,
        header: &BlockHeader,
        summary: &[u8],
    ) -> io::Result<()> {
        self.record.clear();
        self.record.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        self.record.extend_from_slice(&offset.to_le_bytes());
        self.record.extend_from_slice(&header.encode_sealed());
        self.record.extend_from_slice(summary);
        if let Some(cipher) = &self.cipher {
            let tag = cipher.seal(self.records, 0, &mut self.record[RECORD_HEADER_BYTES..])?;
            self.record.extend_from_slice(&tag);
        }
        // A nonce is used once, also when writing fails below.
        self.records += 1;
        let (front, payload) = self.record.split_at_mut(RECORD_HEADER_BYTES);
        Put::at(front, 0).u32(payload.len() as u32).u32(crc32fast::hash(payload));
        self.sealed.add(offset, header, summary);
        self.file.write_all_at(&self.record, self.len)?;
        self.len += self.record.len() as u64;
        Ok(())
    }

    /// Puts the sealed form in the journal's place; returns what it says in sum, and its bytes.
    pub(in super::super) fn seal(mut self) -> io::Result<(Totals, u64)> {
        let bytes = self.sealed.encode(self.name, self.key.as_ref())?;
        let temporary = self.path.with_extension("idx.tmp");
        let written = fs::write(&temporary, &bytes).and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            // What could be written must not stay; if this fails too, the next start removes it.
            let _ = fs::remove_file(&temporary);
        }
        written.map(|()| (*self.sealed.totals(), bytes.len() as u64))
    }

    pub(in super::super) fn totals(&self) -> &Totals {
        self.sealed.totals()
    }

    /// Bytes of the journal.
    pub(in super::super) fn len(&self) -> u64 {
        self.len
    }
}

/// A block as a journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalBlock {
    /// Where the block begins in the segment.
    pub offset: u64,
    /// Its header.
    pub header: BlockHeader,
    /// Where its summary is in the journal's bytes.
    pub summary: Range<usize>,
}

/// What could be read of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// The file's bytes, decrypted.
    pub bytes: Vec<u8>,
    /// Blocks, in the order in which they were written.
    pub blocks: Vec<JournalBlock>,
    /// Records that do not match their checksum.
    pub damaged_records: u64,
    /// The file is no journal but in the sealed form, which took its place.
    pub is_sealed: bool,
}

impl Journal {
    /// Reads a journal. One that is missing or too large is empty.
    pub fn read(path: &Path, key: Option<&RingKey>) -> io::Result<Journal> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Journal::default()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length > JOURNAL_BYTES_MAX {
            return Ok(Journal { damaged_records: 1, ..Journal::default() });
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Journal::parse(bytes, key))
    }

    /// Reads the bytes of a journal, whatever they are.
    pub fn parse(mut bytes: Vec<u8>, key: Option<&RingKey>) -> Journal {
        let mut journal = Journal::default();
        match IndexHeader::decode(&bytes) {
            Ok(header) if header.form == Form::Sealed => journal.is_sealed = true,
            Ok(header) => {
                let cipher = match (header.encrypted, key) {
                    (false, _) => Ok(None),
                    (true, Some(key)) => Cipher::new(key, &header.salt, Purpose::Journal).map(Some),
                    (true, None) => Err(io::ErrorKind::PermissionDenied.into()),
                };
                match cipher {
                    Ok(cipher) => journal.scan(&mut bytes, cipher.as_ref()),
                    Err(_) => journal.damaged_records = 1,
                }
            }
            Err(_) if bytes.is_empty() => {}
            Err(_) => journal.damaged_records = 1,
        }
        journal.bytes = bytes;
        journal
    }

    /// The summary of a block of this journal.
    pub fn summary(&self, block: &JournalBlock) -> &[u8] {
        self.bytes.get(block.summary.clone()).unwrap_or_default()
    }

    fn scan(&mut self, bytes: &mut [u8], cipher: Option<&Cipher>) {
        let (mut at, mut records) = (INDEX_HEADER_BYTES, 0);
        while let Some((payload, crc)) = record(bytes, at) {
            at = payload.end;
            match read_record(&mut bytes[payload.clone()], crc, cipher, records) {
                Ok((offset, header, summary)) => {
                    let summary = payload.start + summary.start..payload.start + summary.end;
                    self.blocks.push(JournalBlock { offset, header, summary });
                }
                Err(_) => self.damaged_records += 1,
            }
            records += 1;
        }
    }
}

/// The offset and header of a record's block, and where in the payload its summary is.
fn read_record(
    payload: &mut [u8],
    crc: u32,
    cipher: Option<&Cipher>,
    number: u64,
) -> Result<(u64, BlockHeader, Range<usize>), FormatError> {
    const WHAT: &str = "index record";
    if crc32fast::hash(payload) != crc {
        return Err(FormatError::Checksum { what: WHAT });
    }
    let mut payload = payload;
    if let Some(cipher) = cipher {
        let Some((sealed, tag)) = payload.split_last_chunk_mut::<TAG_BYTES>() else {
            return Err(FormatError::Checksum { what: WHAT });
        };
        if !cipher.open(number, 0, sealed, tag) {
            return Err(FormatError::Checksum { what: WHAT });
        }
        payload = sealed;
    }
    let mut fields = Fields::new(payload, WHAT);
    let offset = fields.u64()?;
    let header = BlockHeader::decode(fields.rest())?;
    Ok((offset, header, BLOCK_PREFIX_BYTES + BLOCK_HEADER_BYTES..payload.len()))
}

/// The payload of the record at `at` and its checksum; none when it does not end in the file.
fn record(bytes: &[u8], at: usize) -> Option<(Range<usize>, u32)> {
    let mut fields = Fields::new(bytes.get(at..)?, "index record");
    let (length, crc) = (fields.u32().ok()? as usize, fields.u32().ok()?);
    let begin = at.checked_add(RECORD_HEADER_BYTES)?;
    let end = begin.checked_add(length)?;
    (length > 0 && end <= bytes.len()).then_some((begin..end, crc))
}

#[cfg(test)]
mod tests {
    use super::super::super::summary::Summarizer;
    use super::super::SealedIndex;
    use super::*;
    use proptest::prelude::*;
    use weir_common::time::Timestamp;

    const NAME: SegmentName = SegmentName { sequence: 1, lane: 0, first_time: Timestamp(5) };

    fn key() -> RingKey {
        RingKey::new([3; 32])
    }

    fn header(number: u64) -> BlockHeader {
        BlockHeader {
            number,
            frames: 2,
            heads_bytes: 10,
            body_bytes: 100,
            first_time: Timestamp(number),
            ..Default::default()
        }
    }

    fn written(key: Option<&RingKey>) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.idx");
        let mut writer = IndexWriter::create(&path, NAME, 1, key).unwrap();
        let mut summary = Vec::new();
        Summarizer::opaque(&mut summary);
        writer.append(128, &header(1), &summary).unwrap();
        writer.append(320, &header(2), b"").unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, writer.len());
        assert!(SealedIndex::open(&path, key).is_err());
        writer.seal().unwrap();
        let mut sealed = SealedIndex::open(&path, key).unwrap();
        assert_eq!((sealed.totals().frames, sealed.totals().used_bytes), (4, 576));
        assert_eq!(sealed.block(1).unwrap(), (320, header(2)));
        bytes
    }

    #[test]
    fn a_journal_reads_back_and_only_with_its_key() {
        for key in [None, Some(&key())] {
            let bytes = written(key);
            let journal = Journal::parse(bytes.clone(), key);
            assert_eq!((journal.blocks.len(), journal.damaged_records), (2, 0));
            assert_eq!((journal.blocks[0].offset, journal.blocks[0].header), (128, header(1)));
            assert_eq!(journal.summary(&journal.blocks[0]).len(), 64);
            if key.is_some() {
                assert!(!bytes.windows(4).any(|window| window == b"WBLK"));
                for other in [None, Some(&RingKey::new([4; 32]))] {
                    let journal = Journal::parse(bytes.clone(), other);
                    assert!(journal.blocks.is_empty() && journal.damaged_records > 0);
                }
            }
        }
    }

    #[test]
    fn a_journal_cut_anywhere_gives_only_whole_records() {
        let whole = written(None);
        for length in 0..whole.len() {
            let journal = Journal::parse(whole[..length].to_vec(), None);
            assert!(journal.blocks.len() < 2, "{length}");
            assert!(journal.blocks.iter().all(|block| block.header == header(1)));
        }
    }

    #[test]
    fn a_journal_with_any_byte_changed_is_never_wrong() {
        for key in [None, Some(&key())] {
            let whole = written(key);
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x55;
                let journal = Journal::parse(bytes, key);
                assert!(
                    journal.blocks.iter().all(|block| [header(1), header(2)].contains(&block.header)),
                    "{at}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            Journal::parse(bytes.clone(), None);
            for key in [None, Some(&key())] {
                let mut with_header = written(key)[..INDEX_HEADER_BYTES].to_vec();
                with_header.extend(&bytes);
                Journal::parse(with_header, key);
            }
        }
    }
}
