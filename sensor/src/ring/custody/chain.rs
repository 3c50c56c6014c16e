//! The chain's file: a signed header and records, appended and never changed.
//!
//! In: records in their order. Out: the same, read back one by one, and what is damaged by name. A record that was
//! torn is written over; one that is damaged stays, and the chain goes on behind it. Deliberately absent: any
//! judgement; that is `verify.rs`.
//!
//! At its limit (see [`records_max`]) the file is written anew: the newest three quarters stay, and of the older
//! records those of segments that are still there. The header then says from which position on nothing is
//! missing, and is signed, so that nobody else can shorten a chain.

use super::key::SigningKey;
use super::record::{ChainHeader, ChainRecord, Hash, RECORD_BYTES, RING_ID_BYTES, RecordKind};
use crate::ring::config::RingConfig;
use crate::ring::format::FormatError;
use crypto::rand::{SecureRandom as _, SystemRandom};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The chain's file in the ring's directory.
pub const CHAIN_FILE: &str = "custody";
/// Where a chain is put away of which nothing can be read.
pub const DAMAGED_FILE: &str = "custody.damaged";
/// The chain may take this part of the ring's budget, the copy that replaces it included.
const BUDGET_SHARE: u64 = 256;
/// Fewest and most records that the limit comes to from the budget alone: 128 KiB and 16 MiB.
const RECORDS_RANGE: std::ops::RangeInclusive<u64> = 512..=65_536;
/// Records per segment that the budget holds, at least: sealed and expired, and as many again.
const RECORDS_PER_SEGMENT: u64 = 4;
/// Records read at once.
const CHUNK_RECORDS: u64 = 4096;

/// Most records in the file of a ring of this budget; 0 when no custody is kept.
pub fn records_max(config: &RingConfig, budget_bytes: u64) -> u64 {
    if !config.custody {
        return 0;
    }
    let share = budget_bytes / BUDGET_SHARE / 2 / RECORD_BYTES as u64;
    let segments = budget_bytes / (config.segment_mib_wanted() << 20);
    share
        .clamp(*RECORDS_RANGE.start(), *RECORDS_RANGE.end())
        .max(segments.saturating_mul(RECORDS_PER_SEGMENT))
}

/// Space kept for a chain of so many records and its copy.
pub fn share_bytes(records_max: u64) -> u64 {
    let file = records_max.saturating_add(1).saturating_mul(RECORD_BYTES as u64);
    if records_max == 0 { 0 } else { file.saturating_mul(2) }
}

/// What stands at one place of the file.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Where, in bytes.
    pub offset: u64,
    /// What can be read there.
    pub record: Option<ChainRecord>,
}

/// Reads a ring's chain.
#[derive(Debug)]
pub struct ChainReader {
    file: File,
    records: u64,
    /// Bytes behind the last whole record.
    pub torn_bytes: u64,
    /// The header, or what is wrong with it.
    pub header: Result<ChainHeader, FormatError>,
}

impl ChainReader {
    /// Opens a ring's chain; none when it has none.
    pub fn open(directory: &Path) -> io::Result<Option<ChainReader>> {
        let file = match File::open(directory.join(CHAIN_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        ChainReader::of(file).map(Some)
    }

    fn of(file: File) -> io::Result<ChainReader> {
        let length = file.metadata()?.len();
        let whole = length / RECORD_BYTES as u64;
        let mut header = [0; RECORD_BYTES];
        let there = whole > 0;
        if there {
            file.read_exact_at(&mut header, 0)?;
        }
        let header = ChainHeader::decode(if there { &header } else { &[] });
        Ok(ChainReader {
            file,
            records: whole.saturating_sub(1),
            torn_bytes: length % RECORD_BYTES as u64,
            header,
        })
    }

    /// Records there are, damaged ones included.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Gives every record from the first on.
    pub fn each(&self, each: &mut dyn FnMut(Found)) -> io::Result<()> {
        let mut at = 0;
        while at < self.records {
            let count = CHUNK_RECORDS.min(self.records - at);
            self.chunk(at, count)?.into_iter().for_each(&mut *each);
            at += count;
        }
        Ok(())
    }

    /// Gives records from the last back, until `each` has enough.
    pub fn each_back(&self, each: &mut dyn FnMut(Found) -> bool) -> io::Result<()> {
        let mut end = self.records;
        while end > 0 {
            let count = CHUNK_RECORDS.min(end);
            end -= count;
            if !self.chunk(end, count)?.into_iter().rev().all(&mut *each) {
                break;
            }
        }
        Ok(())
    }

    fn chunk(&self, first: u64, count: u64) -> io::Result<Vec<Found>> {
        let mut bytes = vec![0; count as usize * RECORD_BYTES];
        let begin = (first + 1) * RECORD_BYTES as u64;
        self.file.read_exact_at(&mut bytes, begin)?;
        let records = bytes.as_chunks::<RECORD_BYTES>().0.iter().enumerate();
        Ok(records
            .map(|(index, bytes)| Found {
                offset: begin + (index * RECORD_BYTES) as u64,
                record: ChainRecord::decode(bytes).ok(),
            })
            .collect())
    }

    /// The records of these segments: the latest of each that does not say it expired.
    pub fn find(&self, wanted: &HashSet<u64>) -> io::Result<HashMap<u64, ChainRecord>> {
        let mut found = HashMap::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        self.each_back(&mut |at| {
            if let Some(record) = at.record
                && record.said.kind != RecordKind::Expired
                && wanted.contains(&record.said.segment)
            {
                found.entry(record.said.segment).or_insert(record);
            }
            found.len() < wanted.len()
        })?;
        Ok(found)
    }

    /// The last record that can be read.
    pub fn last(&self) -> io::Result<Option<ChainRecord>> {
        let mut last = None;
        self.each_back(&mut |at| {
            last = at.record;
            last.is_none()
        })?;
        Ok(last)
    }
}

/// The chain being written.
#[derive(Debug)]
pub(super) struct Chain {
    directory: PathBuf,
    file: File,
    ring: [u8; RING_ID_BYTES],
    /// Records in the file.
    records: u64,
    records_max: u64,
    /// Where the next record stands in the chain, and what it carries on.
    next: u64,
    head: Hash,
}

impl Chain {
    /// Opens or begins a ring's chain. A last record that was torn, or never written, is written over.
    pub(super) fn open(directory: &Path, key: &SigningKey, records_max: u64) -> io::Result<Chain> {
        let path = directory.join(CHAIN_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let reader = ChainReader::of(file.try_clone()?)?;
        let last = reader.last()?;
        let ring = reader.header.as_ref().ok().map(|header| header.ring).or(last.map(|last| last.ring));
        let Some(ring) = ring else { return Chain::begin(directory, file, reader.records, key, records_max) };
        let mut chain = Chain {
            directory: directory.to_owned(),
            file,
            ring,
            records: reader.records - blank_at_end(&reader)?,
            records_max,
            next: 0,
            head: ChainHeader::first_previous(&ring),
        };
        if let Some(last) = last {
            chain.head = last.chain_value();
            chain.next = last.position.saturating_add(1);
            if last.key != key.public() {
                tracing::warn!(
                    before = %last.key.fingerprint(), now = %key.public().fingerprint(),
                    "the custody key is another than the one that signed last; the chain goes on with it"
                );
            }
        }
        Ok(chain)
    }

    fn begin(
        directory: &Path,
        file: File,
        records: u64,
        key: &SigningKey,
        records_max: u64,
    ) -> io::Result<Chain> {
        let path = directory.join(CHAIN_FILE);
        let file = if records == 0 {
            file
        } else {
            tracing::error!(path = %path.display(), "nothing in the custody chain can be read; it is put away as {DAMAGED_FILE} and a new one begins");
            fs::rename(&path, directory.join(DAMAGED_FILE))?;
            OpenOptions::new().read(true).write(true).create_new(true).open(&path)?
        };
        let mut ring = [0; RING_ID_BYTES];
        SystemRandom::new()
            .fill(&mut ring)
            .map_err(|_| io::Error::other("the system gives no random numbers"))?;
        file.set_len(0)?;
        file.write_all_at(&ChainHeader::sign(ring, 0, key).encode(), 0)?;
        let head = ChainHeader::first_previous(&ring);
        Ok(Chain { directory: directory.to_owned(), file, ring, records: 0, records_max, next: 0, head })
    }

    pub(super) fn ring(&self) -> [u8; RING_ID_BYTES] {
        self.ring
    }

    /// The position of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What the next record carries on.
    pub(super) fn head(&self) -> Hash {
        self.head
    }

    /// The chain as a reader sees it.
    pub(super) fn reader(&self) -> io::Result<ChainReader> {
        ChainReader::of(self.file.try_clone()?)
    }

    /// Appends the record that was made for [`Chain::next`] and [`Chain::head`].
    pub(super) fn append(&mut self, record: &ChainRecord, key: &SigningKey) -> io::Result<()> {
        if self.records >= self.records_max {
            self.shorten(key)?;
        }
        let end = (self.records + 1) * RECORD_BYTES as u64;
        self.file.write_all_at(&record.encode(), end)?;
        self.records += 1;
        self.next = record.position.saturating_add(1);
        self.head = record.chain_value();
        Ok(())
    }

    /// Writes the file anew without the oldest quarter, but with what is said of segments that are still there.
    fn shorten(&mut self, key: &SigningKey) -> io::Result<()> {
        let live: HashSet<u64> = crate::ring::reader::segments(&self.directory, None)?
            .iter()
            .map(|files| files.name.sequence)
            .collect();
        let whole_from = self.next.saturating_sub(self.records_max * 3 / 4);
        let path = self.directory.join(CHAIN_FILE);
        let temporary = path.with_extension("tmp");
        let mut out = io::BufWriter::new(
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?,
        );
        out.write_all(&ChainHeader::sign(self.ring, whole_from, key).encode())?;
        let (mut kept, mut written) = (0, Ok(()));
        self.reader()?.each(&mut |found| {
            // A damaged record cannot say where it stood; what was left of it is dropped with the oldest.
            let Some(record) = found.record else { return };
            let stays = live.contains(&record.said.segment) && record.said.kind != RecordKind::Expired;
            if written.is_ok() && (record.position >= whole_from || stays) {
                written = out.write_all(&record.encode());
                kept += 1;
            }
        })?;
        written?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(&temporary, &path)?;
        self.file = file;
        self.records = kept;
        // Segments that outnumber the limit keep their records, and the file is not written anew for each.
        self.records_max = self.records_max.max(kept + kept / 8);
        tracing::info!(
            records = kept,
            from = whole_from,
            "the custody chain reached its limit and was shortened"
        );
        Ok(())
    }
}

/// Records at the end that are nothing but zeros: space that a power loss left without its bytes.
fn blank_at_end(reader: &ChainReader) -> io::Result<u64> {
    let (mut blank, mut bytes) = (0, [0; RECORD_BYTES]);
    while blank < reader.records {
        reader.file.read_exact_at(&mut bytes, (reader.records - blank) * RECORD_BYTES as u64)?;
        if bytes.iter().any(|byte| *byte != 0) {
            break;
        }
        blank += 1;
    }
    Ok(blank)
}
