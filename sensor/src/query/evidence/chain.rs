//! The manifest's proofs: from a block's header to a signed record of the custody chain.
//!
//! In: a statement, which may be anything, and the keys that were given. Out: the header of each entry's block,
//! and problems and notes. A record is believed only where its own signature fits; a block is of a segment where the
//! digest of its header is among those that, with the segment's header, make the record's digest.

use super::{EvidenceCheck, Problem, ProblemKind};
use crate::query::manifest::{BlockEntry, SegmentEntry, Statement};
use crate::ring::custody::{
    ChainRecord, HASH_BYTES, Hash, PublicKey, RecordKind, SegmentDigest, block_digest,
};
use crate::ring::format::{BLOCK_HEADER_BYTES, BlockHeader, SEGMENT_HEADER_BYTES};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::{HashMap, HashSet};

/// Verifies the proofs; the headers are those of the entries, in their order.
pub(super) fn verify(
    statement: &Statement,
    keys: &[PublicKey],
    check: &mut EvidenceCheck,
) -> Vec<Option<BlockHeader>> {
    let mut proven: HashMap<u64, HashSet<Hash>> = HashMap::new();
    for segment in &statement.segments {
        match digests(segment, keys) {
            Ok(Some(digests)) => {
                proven.insert(segment.segment, digests);
            }
            Ok(None) => {
                let note = segment.note.as_deref().unwrap_or("no record of the custody chain");
                check.note(&format!("segment {}: {note}", segment.segment));
            }
            Err((kind, what)) => {
                let problem = Problem { segment: Some(segment.segment), ..Problem::new(kind, what) };
                check.say(problem);
            }
        }
    }
    let mut headers = Vec::with_capacity(statement.blocks.len());
    for entry in &statement.blocks {
        let header = header(entry);
        if let Err(what) = header {
            check.say(Problem::block(ProblemKind::Manifest, entry, what));
        }
        let found = header.ok().flatten();
        if let (Some((_, digest)), Some(digests)) = (&found, proven.get(&entry.segment)) {
            if digests.contains(digest) {
                check.blocks_chained += 1;
            } else {
                let what = "the block's header is not among those of its segment";
                check.say(Problem::block(ProblemKind::Chain, entry, what));
            }
        }
        headers.push(found.map(|(header, _)| header));
    }
    headers
}

/// The digests of a segment's blocks, once its record vouches for them; none where nothing is shown.
fn digests(entry: &SegmentEntry, keys: &[PublicKey]) -> Result<Option<HashSet<Hash>>, (ProblemKind, String)> {
    let chain = |what: &str| (ProblemKind::Chain, what.to_owned());
    let Some(record) = &entry.record else { return Ok(None) };
    let bytes = STANDARD.decode(record).map_err(|_| chain("its record is not base64"))?;
    let record = ChainRecord::decode(&bytes).map_err(|error| chain(&error.to_string()))?;
    if record.said.segment != entry.segment || record.said.kind == RecordKind::Expired {
        return Err(chain("its record is about something else"));
    }
    if !record.is_signed() {
        return Err(chain("the signature of its record does not fit: the record was altered"));
    }
    if !keys.is_empty() && !keys.contains(&record.key) {
        let what = format!(
            "its record is signed with {}, which is not a key that was given",
            record.key.fingerprint()
        );
        return Err((ProblemKind::Key, what));
    }
    let (Some(header), Some(listed)) = (&entry.header, &entry.block_digests) else { return Ok(None) };
    let header = STANDARD.decode(header).ok();
    let header = header.and_then(|header| <[u8; SEGMENT_HEADER_BYTES]>::try_from(header).ok());
    let listed = STANDARD.decode(listed).ok().filter(|listed| listed.len().is_multiple_of(HASH_BYTES));
    let (Some(header), Some(listed)) = (header, listed) else {
        return Err(chain("its header or the digests of its blocks cannot be read"));
    };
    let listed = listed.as_chunks::<HASH_BYTES>().0;
    let mut digest = SegmentDigest::new(&header);
    listed.iter().for_each(|block| digest.add(block));
    match digest.finish() == record.said.digest {
        true => Ok(Some(listed.iter().copied().collect())),
        false => Err(chain("its header and the digests of its blocks do not make the digest in its record")),
    }
}

/// The header of an entry's block and its digest; none where the manifest has none.
fn header(entry: &BlockEntry) -> Result<Option<(BlockHeader, Hash)>, &'static str> {
    let Some(text) = &entry.header else { return Ok(None) };
    let bytes = STANDARD.decode(text).ok();
    let bytes = bytes.and_then(|bytes| <[u8; BLOCK_HEADER_BYTES]>::try_from(bytes).ok());
    let bytes = bytes.ok_or("the block's header is not one")?;
    let header = BlockHeader::decode(&bytes).map_err(|_| "the block's header is damaged")?;
    if (header.segment, Some(header.number), header.lane) != (entry.segment, entry.number, entry.lane) {
        return Err("the block's header is another block's");
    }
    if entry.frames > u64::from(header.frames) {
        return Err("the entry has more packets than the block");
    }
    if entry.first_time < header.first_time || entry.last_time > header.last_time {
        return Err("the entry's times are outside of the block's");
    }
    Ok(Some((header, block_digest(&bytes))))
}
