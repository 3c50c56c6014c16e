//! Proofs: what connects the blocks of one segment with its record of the chain, without the segment.
//!
//! In: a segment while it is whole, and its record. Out: a [`SegmentProof`], which travels with copies of its blocks:
//! in the manifest of exported evidence, and beside the segment's copy in a pin. Whoever has a block's header, the
//! proof and the sensor's public key can verify that the block is of that segment. Believes no part of a proof that
//! is read.

use super::chain::ChainReader;
use super::digest::{Headers, SegmentDigest, block_digest};
use super::key::PublicKey;
use super::record::{ChainRecord, HASH_BYTES, Hash, RecordKind};
use crate::ring::format::{SEGMENT_HEADER_BYTES, SegmentName};
use crate::ring::reader::SegmentFiles;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Most bytes of a proof beside a segment's copy.
const PROOF_BYTES_MAX: u64 = 16 << 20;

/// What connects the blocks of a segment with its record.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SegmentProof {
    /// The segment's sequence.
    pub segment: u64,
    /// Its header, base64.
    pub header: Option<String>,
    /// The digests of all its blocks in their order, base64; with the header they make the digest in the record.
    pub block_digests: Option<String>,
    /// Its record of the custody chain, base64.
    pub record: Option<String>,
    /// Why one of them is not there.
    pub note: Option<String>,
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofError {
    /// Whether it is whole, and signed with a key that was not given.
    pub is_key: bool,
    /// In words.
    pub what: String,
}

impl SegmentProof {
    /// A proof that says only why there is none.
    pub fn none(segment: u64, record: Option<&ChainRecord>, note: &str) -> SegmentProof {
        let record = record.map(|record| STANDARD.encode(record.encode()));
        SegmentProof { segment, header: None, block_digests: None, record, note: Some(note.to_owned()) }
    }

    /// The proof for a segment whose headers make the digest in its record; none where they do not.
    pub fn of(headers: &Headers, record: &ChainRecord) -> Option<SegmentProof> {
        let digests =
            || headers.blocks.iter().flat_map(|block| block_digest(&block.bytes)).collect::<Vec<u8>>();
        (headers.digest().finish() == record.said.digest).then(|| SegmentProof {
            segment: record.said.segment,
            header: Some(STANDARD.encode(headers.segment)),
            block_digests: Some(STANDARD.encode(digests())),
            record: Some(STANDARD.encode(record.encode())),
            note: None,
        })
    }

    /// The name of the file beside a segment's copy.
    pub fn file_of(name: SegmentName) -> String {
        format!("{}.proof", name.segment_file())
    }

    /// The proof beside a segment's copy, if there is one.
    pub fn beside(files: &SegmentFiles) -> Option<SegmentProof> {
        let file = File::open(files.segment.parent()?.join(SegmentProof::file_of(files.name))).ok()?;
        let mut bytes = Vec::new();
        file.take(PROOF_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// What goes beside a copy of some blocks of a segment: made from the ring, or taken on from another copy. None
    /// where the segment is not chained yet.
    pub fn for_copy(ring: &Path, from: &SegmentFiles) -> Option<Vec<u8>> {
        let made = || {
            let record = ChainReader::open(ring).ok()??.find(&HashSet::from([from.name.sequence])).ok()?;
            let headers = Headers::read(&from.segment, from.name.sequence).ok()?;
            SegmentProof::of(&headers, record.get(&from.name.sequence)?)
        };
        serde_json::to_vec(&SegmentProof::beside(from).or_else(made)?).ok()
    }

    /// How many blocks the proof names.
    pub fn blocks(&self) -> usize {
        self.block_digests.as_ref().map_or(0, |digests| digests.len() / 4 * 3 / HASH_BYTES)
    }

    /// The digests of the segment's blocks, once its record vouches for them; none where nothing is shown. `keys`:
    /// those that were given; without any, every key is believed.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<Option<HashSet<Hash>>, ProofError> {
        let wrong = |what: &str| ProofError { is_key: false, what: what.to_owned() };
        let Some(record) = &self.record else { return Ok(None) };
        let bytes = STANDARD.decode(record).map_err(|_| wrong("its record is not base64"))?;
        let record = ChainRecord::decode(&bytes).map_err(|error| wrong(&error.to_string()))?;
        if record.said.segment != self.segment || record.said.kind == RecordKind::Expired {
            return Err(wrong("its record is about something else"));
        }
        if !record.is_signed() {
            return Err(wrong("the signature of its record does not fit: the record was altered"));
        }
        if !keys.is_empty() && !keys.contains(&record.key) {
            let fingerprint = record.key.fingerprint();
            let what = format!("its record is signed with {fingerprint}, which is not a key that was given");
            return Err(ProofError { is_key: true, what });
        }
        let (Some(header), Some(listed)) = (&self.header, &self.block_digests) else { return Ok(None) };
        let header = STANDARD.decode(header).ok();
        let header = header.and_then(|header| <[u8; SEGMENT_HEADER_BYTES]>::try_from(header).ok());
        let listed = STANDARD.decode(listed).ok().filter(|listed| listed.len().is_multiple_of(HASH_BYTES));
        let (Some(header), Some(listed)) = (header, listed) else {
            return Err(wrong("its header or the digests of its blocks cannot be read"));
        };
        let listed = listed.as_chunks::<HASH_BYTES>().0;
        let mut digest = SegmentDigest::new(&header);
        listed.iter().for_each(|block| digest.add(block));
        match digest.finish() == record.said.digest {
            true => Ok(Some(listed.iter().copied().collect())),
            false => {
                Err(wrong("its header and the digests of its blocks do not make the digest in its record"))
            }
        }
    }
}
