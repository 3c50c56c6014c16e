//! Custody: proof that what the ring holds, and what was exported from it, is what the sensor wrote.
//!
//! In: segments as they are sealed and as they expire. Out: a chain of signed records beside them, which `ring check`
//! and exported evidence are verified against. Knows no packet. Keeps no secret but the key.
//!
//! # What is proven, and what is not
//!
//! Each block's header holds the BLAKE3 hash of its contents; each record of the chain holds a digest of the headers
//! of one segment, and a hash over the record before it; the sensor's Ed25519 key signs every record. So packets
//! cannot be altered, added or removed, a segment cannot be replaced or removed, and records cannot be altered,
//! exchanged or left out, by whoever does not have the key, without [`verify`] naming it. A segment that the
//! ring removes in its turn gets a signed record first; a hole without one was not made by the ring.
//!
//! A key beside the ring proves this against accident and against whoever may not read the key. It proves nothing
//! against root on the sensor, who can sign; for that, publish `custody.pub` and the chain's head (`ring list`,
//! `status`, the log at the end of each run) elsewhere: what was chained before a head that is known cannot be
//! altered afterwards, even with the key. Cutting off the chain's newest records together with their segments is
//! seen only by comparing with such a head. The key can be kept elsewhere: `ring.key_file`, also as a systemd
//! credential, which may be encrypted and bound to a TPM.
//!
//! # The files, version 1
//!
//! All numbers are little-endian. `custody.key`: the private key, PKCS#8, mode 0600. `custody.pub`: the public key,
//! one line as OpenSSH writes it. `custody`: a header of 256 bytes, then records of 256 bytes:
//!
//! | bytes | header | record |
//! |---|---|---|
//! | 0..8 | magic `WEIRCUST` | kind u8 (1 sealed, 2 recovered, 3 expired), version u8 = 1, lane u16, run u32 |
//! | 8..16 | version u8 = 1, zeros | position in the chain u64 |
//! | 16..64 | ring's random number [16], whole from position u64, zeros | segment, first time, last time, blocks, frames, stored bytes: u64 each |
//! | 64..96 | zeros | digest of the segment |
//! | 96..128 | zeros | chain value of the record before; of the first: derived from the ring's random number |
//! | 128..144 | zeros | ring's random number |
//! | 144..176 | public key | public key |
//! | 176..240 | signature | signature |
//! | 240..256 | zeros, CRC-32 of the 252 bytes before it | the same |
//!
//! Hashes are BLAKE3 in its key derivation mode, each purpose with a context of its own, so that no hash can be taken
//! for one of another purpose. Chain value: of bytes 0..176 of the record (`weir custody 2026 chain record v1`);
//! the signature is over these 32 bytes. Digest of a block: of its header's 128 bytes (`weir custody 2026 block v1`).
//! Digest of a segment: of its header's 128 bytes, followed by the digests of its blocks (`weir custody 2026 segment v1`).
//!
//! A pin keeps blocks past their segment. Beside each copy stands `NAME.seg.proof`: the segment's header, the digests
//! of all its blocks and its record, as JSON (see [`SegmentProof`]), by which the blocks can be verified for as long
//! as the pin lives. A segment that was pinned while it was being written has none.
//!
//! # Crash
//!
//! A segment is chained before its index is sealed, and said to expire before it is removed, so that whatever is cut
//! off by a crash in between is put right at the next start and never looks like somebody's doing. What has no
//! record then is chained as recovered.

mod chain;
mod digest;
mod key;
mod proof;
mod record;
pub mod verify;

pub use chain::{CHAIN_FILE, ChainReader, DAMAGED_FILE, Found, records_max, share_bytes};
pub use digest::{Headers, RawBlock, SegmentDigest, block_digest, verify_contents};
pub use key::{
    Fingerprint, KEY_FILE, KeyError, KeyPlace, PUBLIC_KEY_FILE, PublicKey, SIGNATURE_BYTES, SigningKey,
};
pub use proof::{ProofError, SegmentProof};
pub use record::{
    CUSTODY_VERSION, ChainHeader, ChainRecord, HASH_BYTES, Hash, RECORD_BYTES, RING_ID_BYTES, RecordKind,
    Said,
};

use super::config::RingConfig;
use super::format::SegmentName;
use super::reader::SegmentFiles;
use chain::Chain;
use serde::Serialize;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use weir_common::time::Timestamp;

/// Records among which the highest sequence is: more than lanes that seal out of turn.
const LAST_RECORDS: u64 = 4096;
/// Most records that wait for a disk that fails; beyond, segments are chained at the next start.
const WAITING_MAX: usize = 4096;

/// Custody as `status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CustodyStatus {
    /// The fingerprint of the sensor's key.
    pub key: Fingerprint,
    /// Records of the chain so far, since it began.
    pub records: u64,
    /// The chain value of the last one: what was chained up to here cannot be altered unseen by who knows it.
    #[serde(serialize_with = "hex")]
    pub head: Hash,
    /// Records that could not be written at once.
    pub errors: u64,
}

impl CustodyStatus {
    /// Puts the head into the log, which is often kept elsewhere: an anchor that nobody can move afterwards.
    pub(super) fn log_head(&self) {
        let head = blake3::Hash::from_bytes(self.head);
        tracing::info!(key = %self.key, records = self.records, %head, "head of the custody chain");
    }
}

/// Writes a hash as hexadecimal digits.
pub fn hex<S: serde::Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&blake3::Hash::from_bytes(*hash))
}

/// Keeps the chain of a ring that is written.
#[derive(Debug)]
pub(super) struct Custody {
    key: SigningKey,
    chain: Chain,
    /// Records that the disk did not take yet, in their order.
    waiting: VecDeque<Said>,
    errors: u64,
    last_expired: Option<u64>,
}

impl Custody {
    /// Opens the chain with the ring's key; none when the configuration keeps no custody.
    pub(super) fn open(
        config: &RingConfig,
        directory: &Path,
        records_max: u64,
    ) -> Result<Option<Custody>, CustodyError> {
        if !config.custody {
            return Ok(None);
        }
        let key = SigningKey::load_or_create(&KeyPlace::from_environment(&config.key_file, directory)?)?;
        key.public().publish(directory)?;
        let chain = Chain::open(directory, &key, records_max)?;
        tracing::info!(key = %key.public().fingerprint(), records = chain.next(), "custody is kept");
        Ok(Some(Custody { key, chain, waiting: VecDeque::new(), errors: 0, last_expired: None }))
    }

    /// Chains a segment that takes no more blocks.
    pub(super) fn seal(&mut self, name: SegmentName, run: u32, stored_bytes: u64, digest: &SegmentDigest) {
        self.say(said(RecordKind::Sealed, name, run, stored_bytes, digest));
    }

    /// Says that the ring removes a segment now. Said once, however often removing it fails.
    pub(super) fn expire(&mut self, name: SegmentName) {
        if self.last_expired.replace(name.sequence) == Some(name.sequence) {
            return;
        }
        let SegmentName { sequence, lane, first_time } = name;
        self.say(Said {
            kind: RecordKind::Expired,
            lane,
            run: 0,
            segment: sequence,
            first_time,
            last_time: first_time,
            blocks: 0,
            frames: 0,
            stored_bytes: 0,
            digest: [0; HASH_BYTES],
        });
    }

    /// The highest sequence that the newest records speak of: a name never stands for two segments.
    pub(super) fn last_segment(&self) -> io::Result<u64> {
        let (mut highest, mut seen) = (None::<ChainRecord>, 0);
        self.chain.reader()?.each_back(&mut |found| {
            highest = highest.into_iter().chain(found.record).max_by_key(|record| record.said.segment);
            seen += 1;
            seen < LAST_RECORDS
        })?;
        // A record that somebody made up must not use up the sequences there are.
        Ok(highest.filter(ChainRecord::is_signed).map_or(0, |record| record.said.segment))
    }

    /// Chains what a start found without a record, as recovered.
    pub(super) fn adopt(&mut self, segments: &[SegmentFiles]) -> io::Result<()> {
        let mut unknown: HashSet<u64> = segments.iter().map(|files| files.name.sequence).collect();
        self.chain.reader()?.each_back(&mut |found| {
            let kept = found.record.filter(|record| record.said.kind != RecordKind::Expired);
            if let Some(record) = kept {
                unknown.remove(&record.said.segment);
            }
            !unknown.is_empty()
        })?;
        for files in segments.iter().filter(|files| unknown.contains(&files.name.sequence)) {
            // One that cannot be read, or of another version, is not vouched for; `ring check` names it.
            let Ok(headers) = Headers::read(&files.segment, files.name.sequence) else { continue };
            let Some(run) = headers.run() else { continue };
            let stored_bytes = std::fs::metadata(&files.segment)?.len();
            self.say(said(RecordKind::Recovered, files.name, run, stored_bytes, headers.digest()));
        }
        Ok(())
    }

    /// Tries to write what waits.
    pub(super) fn flush(&mut self) {
        while let Some(said) = self.waiting.front().copied() {
            let (position, previous) = (self.chain.next(), self.chain.head());
            let record = ChainRecord::sign(said, position, self.chain.ring(), previous, &self.key);
            if let Err(error) = self.chain.append(&record, &self.key) {
                if self.errors == 0 {
                    tracing::error!(%error, "the custody chain cannot be written; it is tried again with each segment");
                }
                self.errors += 1;
                break;
            }
            self.waiting.pop_front();
        }
    }

    /// Custody so far.
    pub(super) fn status(&self) -> CustodyStatus {
        CustodyStatus {
            key: self.key.public().fingerprint(),
            records: self.chain.next(),
            head: self.chain.head(),
            errors: self.errors,
        }
    }

    fn say(&mut self, said: Said) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(said);
        } else {
            self.errors += 1;
        }
        self.flush();
    }
}

fn said(kind: RecordKind, name: SegmentName, run: u32, stored_bytes: u64, digest: &SegmentDigest) -> Said {
    let totals = digest.totals();
    Said {
        kind,
        lane: name.lane,
        run,
        segment: name.sequence,
        first_time: totals.first_time.min(name.first_time),
        last_time: totals.last_time.max(name.first_time),
        blocks: totals.blocks,
        frames: totals.frames,
        stored_bytes,
        digest: digest.finish(),
    }
}

/// Why custody cannot be kept; the ring is not opened then.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The chain cannot be read or written.
    #[error("custody chain: {0}")]
    Io(#[from] io::Error),
}

/// Who signs evidence, or why nobody does.
#[derive(Clone, Debug)]
pub enum Signer {
    /// The sensor's key.
    Key(Arc<SigningKey>),
    /// Nobody, for this reason.
    Nobody(String),
}

impl Default for Signer {
    fn default() -> Self {
        Signer::Nobody("the export asked nobody to".into())
    }
}

impl Signer {
    /// The key of a ring as far as the asking user may read it. Never makes one.
    pub fn of(config: &RingConfig, directory: &Path) -> Signer {
        let key = KeyPlace::from_environment(&config.key_file, directory)
            .and_then(|place| SigningKey::load(&place));
        match key {
            Ok(Some(key)) => Signer::Key(Arc::new(key)),
            Ok(None) => Signer::Nobody("this ring keeps no custody: there is no key".into()),
            Err(error) => Signer::Nobody(error.to_string()),
        }
    }
}

/// What `ring list` says of a ring's custody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CustodyLine {
    /// The fingerprint in `custody.pub`.
    pub key: Option<Fingerprint>,
    /// Records of the chain since it began.
    pub records: u64,
    /// The chain value of the last one.
    #[serde(serialize_with = "hex")]
    pub head: Hash,
}

impl CustodyLine {
    /// Reads it; none when the ring has no chain.
    pub fn read(directory: &Path) -> io::Result<Option<CustodyLine>> {
        let Some(chain) = ChainReader::open(directory)? else { return Ok(None) };
        let key = PublicKey::read(&directory.join(PUBLIC_KEY_FILE)).ok().map(|key| key.fingerprint());
        let last = chain.last()?;
        let records = last.map_or(0, |last| last.position.saturating_add(1));
        let head = last.map_or([0; HASH_BYTES], |last| last.chain_value());
        Ok(Some(CustodyLine { key, records, head }))
    }
}

impl std::fmt::Display for CustodyLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.key {
            Some(key) => write!(f, "custody: key {key}, ")?,
            None => write!(f, "custody: {PUBLIC_KEY_FILE} is missing, ")?,
        }
        write!(f, "{} records, head {}", self.records, blake3::Hash::from_bytes(self.head))
    }
}

/// When a record's frames were captured, and how many there are, in words.
pub(super) fn range_words(first: Timestamp, last: Timestamp, frames: u64) -> String {
    format!("{frames} frames from {first} to {last}")
}

#[cfg(test)]
mod tests;
