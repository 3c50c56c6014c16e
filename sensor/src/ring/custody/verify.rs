//! Verifying a ring against its chain: `ring check`'s part of custody.
//!
//! In: the ring's directory, the keys that are trusted, and each segment as `ring check` comes by it. Out: a
//! [`CustodyCheck`], and every damage by name: of the header, of records, of links between them, and of segments
//! that were altered, replaced, added, or removed by somebody else than the ring. A ring that is being written can
//! be verified; what is sealed or expires meanwhile is no damage. Deliberately absent: the blocks' contents,
//! which `ring check` reads and compares with the hashes in their headers.

use super::chain::{CHAIN_FILE, ChainReader, DAMAGED_FILE, Found};
use super::digest::{Headers, block_digest};
use super::key::{Fingerprint, PUBLIC_KEY_FILE, PublicKey};
use super::proof::{ProofError, SegmentProof};
use super::record::{ChainHeader, ChainRecord, Hash, RING_ID_BYTES, RecordKind, Said};
use super::{hex, range_words};
use crate::ring::check::Damage;
use crate::ring::format::FormatError;
use crate::ring::reader::{SegmentFiles, segments};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Most keys of a chain that are told one by one.
const KEYS_LISTED_MAX: usize = 64;

/// What verifying against the chain came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CustodyCheck {
    /// Whether the ring has a chain.
    pub kept: bool,
    /// Records that are whole, signed and linked.
    pub records_sound: u64,
    /// Segments that are as their record says.
    pub segments_verified: u64,
    /// Of these, chained only when a start found them: nothing is known of the time before.
    pub segments_recovered: u64,
    /// Segments that nothing is said of, because custody is switched off or they are being written.
    pub segments_without_record: u64,
    /// Blocks in pins that are proven to be of a segment that was chained.
    pub pinned_blocks_verified: u64,
    /// Blocks in pins without a proof: pinned while their segment was being written, or without custody.
    pub pinned_blocks_without_proof: u64,
    /// Segments that the ring removed in its turn, as far back as the chain goes.
    pub segments_expired: u64,
    /// The keys that signed, in the order of their first record.
    pub keys: Vec<Fingerprint>,
    /// Whether the keys were compared with ones given from outside, and not only with the ring's own.
    pub keys_verified: bool,
    /// Records of the chain since it began.
    pub records: u64,
    /// The chain value of the last one.
    #[serde(serialize_with = "hex")]
    pub head: Hash,
}

impl fmt::Display for CustodyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.kept {
            return write!(f, "custody: none is kept");
        }
        write!(
            f,
            "custody: {} records sound, {} segments verified",
            self.records_sound, self.segments_verified
        )?;
        for (count, what) in [
            (self.segments_recovered, "of these chained only when a start found them"),
            (self.segments_without_record, "without a record yet"),
            (self.segments_expired, "expired"),
            (self.pinned_blocks_verified, "pinned blocks verified"),
            (self.pinned_blocks_without_proof, "pinned blocks without proof"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write!(f, "; head {} at record {}", blake3::Hash::from_bytes(self.head), self.records)?;
        for key in &self.keys {
            write!(f, "\ncustody: signed with {key}")?;
        }
        if !self.keys_verified && !self.keys.is_empty() {
            write!(
                f,
                "\ncustody: THE KEY ITSELF WAS NOT VERIFIED; give the sensor's public key, kept elsewhere, with --key"
            )?;
        }
        Ok(())
    }
}

/// What was found of a segment on disk.
#[derive(Debug)]
struct OnDisk {
    file: String,
    path: PathBuf,
    sealed: bool,
    found: Readable,
}

/// What can be read of a segment's headers.
#[derive(Clone, Copy, Debug, Default)]
struct Readable {
    blocks: u64,
    /// Their frames.
    frames: u64,
    digest: Option<Hash>,
}

impl Readable {
    fn of(headers: Option<Headers>) -> Readable {
        let Some(headers) = headers else { return Readable::default() };
        Readable {
            blocks: headers.blocks.len() as u64,
            frames: headers.blocks.iter().map(|block| u64::from(block.header.frames)).sum(),
            digest: Some(headers.digest().finish()),
        }
    }
}

/// What the chain says of a segment, as far as was read.
#[derive(Clone, Copy, Debug)]
struct Chained {
    said: Said,
    expired: bool,
}

/// Verifies a ring while `ring check` goes through it.
#[derive(Debug)]
pub struct Verifier {
    directory: PathBuf,
    trusted: Vec<PublicKey>,
    /// Whether a segment without a record is damage.
    expected: bool,
    on_disk: BTreeMap<u64, OnDisk>,
    pinned_verified: u64,
    pinned_without_proof: u64,
}

impl Verifier {
    /// `trusted`: keys given from outside; without any, the ring's own `custody.pub` is believed. `expected`: the
    /// configuration keeps custody, so that every sealed segment must have its record.
    pub fn new(directory: &Path, trusted: &[PublicKey], expected: bool) -> Verifier {
        let trusted = trusted.to_vec();
        Verifier {
            directory: directory.to_owned(),
            trusted,
            expected,
            on_disk: BTreeMap::new(),
            pinned_verified: 0,
            pinned_without_proof: 0,
        }
    }

    /// Takes in a segment; `sealed`: it takes no more blocks. Of one that does, the blocks are read at the end.
    pub fn segment(&mut self, files: &SegmentFiles, sealed: bool) {
        let found = match sealed {
            true => Headers::read(&files.segment, files.name.sequence).map(Some),
            false => Ok(None),
        };
        if found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            // The ring removed it while it was being checked, and the chain says so.
            return;
        }
        let (file, path) = (files.name.segment_file(), files.segment.clone());
        let found = Readable::of(found.ok().flatten());
        self.on_disk.insert(files.name.sequence, OnDisk { file, path, sealed, found });
    }

    /// Verifies the blocks of a segment's copy in a pin by the proof beside it.
    pub fn pinned(&mut self, files: &SegmentFiles, shown: &str, damage: &mut dyn FnMut(Damage)) {
        // A pin that vanishes meanwhile was given back.
        let Ok(headers) = Headers::read(&files.segment, files.name.sequence) else { return };
        let blocks = headers.blocks.len() as u64;
        let digests = SegmentProof::beside(files).map_or(Ok(None), |proof| proof.verify(&self.trusted));
        let digests = match digests {
            Ok(Some(digests)) => digests,
            Ok(None) => {
                self.pinned_without_proof += blocks;
                return;
            }
            Err(ProofError { what, .. }) => {
                return damage(Damage::whole(&format!("{shown}.proof"), what, Some(0)));
            }
        };
        for block in &headers.blocks {
            if digests.contains(&block_digest(&block.bytes)) {
                self.pinned_verified += 1;
                continue;
            }
            let what = "the block is not one of the segment that the custody chain vouches for".to_owned();
            damage(Damage {
                offset: Some(block.offset),
                first_time: Some(block.header.first_time),
                last_time: Some(block.header.last_time),
                frames: Some(block.header.frames.into()),
                ..Damage::whole(shown, what, None)
            });
        }
    }

    /// Reads the chain and compares. Called last, since what is sealed meanwhile is chained by then.
    pub fn finish(self, damage: &mut dyn FnMut(Damage)) -> io::Result<CustodyCheck> {
        let Some(chain) = ChainReader::open(&self.directory)? else {
            let missing = self.directory.join(PUBLIC_KEY_FILE).exists() && !self.on_disk.is_empty();
            if missing {
                damage(Damage::whole(CHAIN_FILE, "the chain is missing; this ring had one".into(), Some(0)));
            }
            let segments_without_record = self.on_disk.len() as u64;
            return Ok(CustodyCheck { segments_without_record, ..CustodyCheck::default() });
        };
        if self.directory.join(DAMAGED_FILE).exists() {
            let what = "a chain that could not be read was put away here when the ring was opened".into();
            damage(Damage::whole(DAMAGED_FILE, what, Some(0)));
        }
        let mut records = Records::new(&self.trusted, damage);
        records.header(&chain.header);
        chain.each(&mut |found| records.record(found))?;
        let Records { mut check, chained, last, .. } = records;
        check.pinned_blocks_verified = self.pinned_verified;
        check.pinned_blocks_without_proof = self.pinned_without_proof;
        self.published(last.as_ref(), damage);
        self.compare(check, &chained, damage)
    }

    /// Whether `custody.pub` is the key that signed last; people copy it from there.
    fn published(&self, last: Option<&ChainRecord>, damage: &mut dyn FnMut(Damage)) {
        let Some(last) = last else { return };
        match PublicKey::read(&self.directory.join(PUBLIC_KEY_FILE)) {
            Ok(key) if key == last.key => {}
            Ok(key) => {
                let what = format!("is {}, and {} signed last", key.fingerprint(), last.key.fingerprint());
                damage(Damage::whole(PUBLIC_KEY_FILE, what, Some(0)));
            }
            Err(error) => damage(Damage::whole(PUBLIC_KEY_FILE, error.to_string(), Some(0))),
        }
    }

    fn compare(
        &self,
        mut check: CustodyCheck,
        chained: &HashMap<u64, Chained>,
        damage: &mut dyn FnMut(Damage),
    ) -> io::Result<CustodyCheck> {
        for (sequence, segment) in &self.on_disk {
            let Some(Chained { said, .. }) = chained.get(sequence) else {
                check.segments_without_record += 1;
                if segment.sealed && self.expected {
                    let what = "the custody chain has no record of this segment: it was added, or sealed without custody";
                    damage(Damage::whole(&segment.file, what.into(), None));
                }
                continue;
            };
            // What was being written when it was looked at may have been sealed since.
            let readable = match segment.sealed {
                true => segment.found,
                false => Readable::of(Headers::read(&segment.path, *sequence).ok()),
            };
            if readable.digest == Some(said.digest) {
                check.segments_verified += 1;
                check.segments_recovered += u64::from(said.kind == RecordKind::Recovered);
                continue;
            }
            if !segment.path.exists() {
                // It went in its turn between the two looks; the chain says so, or the next check that it is gone.
                continue;
            }
            let what = format!(
                "is not what the custody chain says: altered or replaced; {} blocks of {} chained can be read",
                readable.blocks, said.blocks
            );
            let frames = Some(said.frames.saturating_sub(readable.frames));
            damage(Damage { frames, ..about(&segment.file, said, what) });
        }
        let gone = |chained: &&Chained| !chained.expired && !self.on_disk.contains_key(&chained.said.segment);
        let mut removed: BTreeMap<u64, Said> =
            chained.values().filter(gone).map(|gone| (gone.said.segment, gone.said)).collect();
        self.forgive(&mut removed)?;
        for said in removed.values() {
            let file = format!("segment {:012} of lane {}", said.segment, said.lane);
            damage(about(
                &file,
                said,
                "was removed, and not by the ring: its expiry was never signed".into(),
            ));
        }
        Ok(check)
    }

    /// Segments that came while the ring was checked are there, and those that went have their record by now.
    fn forgive(&self, removed: &mut BTreeMap<u64, Said>) -> io::Result<()> {
        if removed.is_empty() {
            return Ok(());
        }
        for files in segments(&self.directory, None)? {
            removed.remove(&files.name.sequence);
        }
        if let (false, Some(chain)) = (removed.is_empty(), ChainReader::open(&self.directory)?) {
            let mut latest = HashSet::new();
            chain.each_back(&mut |found| {
                if let Some(record) = found.record
                    && latest.insert(record.said.segment)
                    && record.said.kind == RecordKind::Expired
                {
                    removed.remove(&record.said.segment);
                }
                !removed.is_empty()
            })?;
        }
        Ok(())
    }
}

fn about(file: &str, said: &Said, what: String) -> Damage {
    Damage {
        first_time: Some(said.first_time),
        last_time: Some(said.last_time),
        frames: Some(said.frames),
        ..Damage::whole(file, what, None)
    }
}

/// The chain's records on the way past.
struct Records<'d> {
    /// Keys given from outside; without any, every key is believed and told.
    trusted: &'d [PublicKey],
    damage: &'d mut dyn FnMut(Damage),
    problems: u64,
    check: CustodyCheck,
    chained: HashMap<u64, Chained>,
    ring: Option<[u8; RING_ID_BYTES]>,
    whole_from: u64,
    /// The last record that could be read, and how many could not since.
    last: Option<ChainRecord>,
    unreadable: u64,
    signed_by: HashSet<PublicKey>,
}

impl<'d> Records<'d> {
    fn new(trusted: &'d [PublicKey], damage: &'d mut dyn FnMut(Damage)) -> Records<'d> {
        let check =
            CustodyCheck { kept: true, keys_verified: !trusted.is_empty(), ..CustodyCheck::default() };
        Records {
            trusted,
            damage,
            problems: 0,
            check,
            chained: HashMap::new(),
            ring: None,
            whole_from: 0,
            last: None,
            unreadable: 0,
            signed_by: HashSet::new(),
        }
    }

    fn say(&mut self, offset: u64, what: String) {
        self.problems += 1;
        (self.damage)(Damage { offset: Some(offset), ..Damage::whole(CHAIN_FILE, what, Some(0)) });
    }

    fn header(&mut self, header: &Result<ChainHeader, FormatError>) {
        match header {
            Ok(header) if header.is_signed() => {
                self.key(header.key, 0);
                (self.ring, self.whole_from) = (Some(header.ring), header.whole_from);
            }
            Ok(_) => self.say(0, "the header's signature does not fit it".into()),
            Err(error) => self.say(0, error.to_string()),
        }
    }

    /// A key that was not given from outside is named where it is first met.
    fn key(&mut self, key: PublicKey, offset: u64) {
        if !self.signed_by.insert(key) {
            return;
        }
        if self.check.keys.len() < KEYS_LISTED_MAX {
            self.check.keys.push(key.fingerprint());
        }
        if self.check.keys_verified && !self.trusted.contains(&key) {
            self.say(
                offset,
                format!("from here on signed with {}, which is not a key that was given", key.fingerprint()),
            );
        }
    }

    fn record(&mut self, found: Found) {
        let Some(record) = found.record else {
            self.unreadable += 1;
            return self.say(found.offset, "a record cannot be read".into());
        };
        let before = self.problems;
        if record.is_signed() {
            self.key(record.key, found.offset);
        } else {
            self.say(found.offset, format!("{}: its signature does not fit", words(&record)));
        }
        if *self.ring.get_or_insert(record.ring) != record.ring {
            self.say(found.offset, format!("{}: it belongs to another ring", words(&record)));
        }
        self.link(&record, found.offset);
        self.note(&record.said, found.offset);
        self.check.records_sound += u64::from(self.problems == before);
        self.check.records = record.position.saturating_add(1);
        self.check.head = record.chain_value();
        self.last = Some(record);
        self.unreadable = 0;
    }

    /// Whether the record carries on the one before it.
    fn link(&mut self, record: &ChainRecord, offset: u64) {
        let next = self.last.map_or(0, |last| last.position.saturating_add(1));
        if record.position < next {
            return self.say(offset, format!("{}: it stands behind record {}", words(record), next - 1));
        }
        // Those that the limit dropped left holes before the place from which on the chain is whole.
        let missing =
            record.position.saturating_sub(next.max(self.whole_from)).saturating_sub(self.unreadable);
        if missing > 0 {
            return self.say(offset, format!("{missing} records are missing before {}", words(record)));
        }
        let previous = match &self.last {
            Some(last) => last.chain_value(),
            None => ChainHeader::first_previous(&record.ring),
        };
        if record.position == next && record.previous != previous {
            self.say(offset, format!("{}: it does not carry on the record before it", words(record)));
        }
    }

    fn note(&mut self, said: &Said, offset: u64) {
        let before = self.chained.get(&said.segment);
        if said.kind == RecordKind::Expired {
            // Said twice where a crash came between saying and removing.
            self.check.segments_expired += u64::from(before.is_none_or(|before| !before.expired));
            let said = before.map_or(*said, |before| before.said);
            self.chained.insert(said.segment, Chained { said, expired: true });
            return;
        }
        if before.is_some_and(|before| !before.expired) {
            self.say(offset, format!("segment {} is chained a second time", said.segment));
        }
        self.chained.insert(said.segment, Chained { said: *said, expired: false });
    }
}

fn words(record: &ChainRecord) -> String {
    let Said { kind, segment, lane, first_time, last_time, frames, .. } = record.said;
    let what = match kind {
        RecordKind::Sealed => "sealed",
        RecordKind::Recovered => "recovered",
        RecordKind::Expired => {
            return format!("record {} (segment {segment} of lane {lane} expired)", record.position);
        }
    };
    let range = range_words(first_time, last_time, frames);
    format!("record {} (segment {segment} of lane {lane} {what}, {range})", record.position)
}
