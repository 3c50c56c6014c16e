//! The manifest's proofs: from a block's header to a signed record of the custody chain.
//!
//! In: a statement, which may be anything, and the keys that were given. Out: the header of each entry's block,
//! and problems and notes. A record is believed only where its own signature fits; a block is of a segment where the
//! digest of its header is among those that, with the segment's header, make the record's digest.

use super::{EvidenceCheck, Problem, ProblemKind};
use crate::query::manifest::{BlockEntry, Statement};
use crate::ring::custody::{Hash, ProofError, PublicKey, block_digest};
use crate::ring::format::{BLOCK_HEADER_BYTES, BlockHeader};
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
        match segment.verify(keys) {
            Ok(Some(digests)) => {
                proven.insert(segment.segment, digests);
            }
            Ok(None) => {
                let note = segment.note.as_deref().unwrap_or("no record of the custody chain");
                check.note(&format!("segment {}: {note}", segment.segment));
            }
            Err(ProofError { is_key, what }) => {
                let kind = if is_key { ProblemKind::Key } else { ProblemKind::Chain };
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
