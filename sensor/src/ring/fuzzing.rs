//! What fuzz targets (`sensor/fuzz`) and tests need of the ring's private parts.
//!
//! In: bytes of any kind. Out: what the private code makes of them. Thin on purpose: nothing here decides anything,
//! and nothing of it is in a program that users run (feature `fuzzing`, or a test build).

use super::block::Seen;
use super::format::{BlockHeader, SegmentName};
use super::gaps::{GapRecord, Gaps, Ledger, LossKind, RecordKind};
use super::index::journal::IndexWriter;
use super::summary::Summarizer;
use super::view::View;
use crate::capture::{Frame, LinkType};
use std::io;
use std::path::Path;
use weir_common::time::Timestamp;

fn seen(link: LinkType, data: &[u8], flow_tag: Option<u64>) -> Seen {
    let frame = Frame { time: Timestamp(0), link, interface: 0, wire_len: data.len() as u32, data };
    Seen { view: View::of(&frame), flow_tag }
}

/// The summary of a block with these Ethernet frames, each with its flow's tag.
pub fn summary_of<'a>(frames: impl IntoIterator<Item = (&'a [u8], Option<u64>)>) -> Vec<u8> {
    let seen: Vec<Seen> = frames.into_iter().map(|(data, tag)| seen(LinkType::ETHERNET, data, tag)).collect();
    let mut summary = Vec::new();
    Summarizer::default().summarize(&seen, &mut summary);
    summary
}

/// The summary of a block with one frame, which is in no flow.
pub fn summary_of_frame(link: LinkType, data: &[u8]) -> Vec<u8> {
    let mut summary = Vec::new();
    Summarizer::default().summarize(&[seen(link, data, None)], &mut summary);
    summary
}

/// Writes an index of these blocks: offset, header and summary. A journal, or the sealed form.
pub fn write_index(
    path: &Path,
    name: SegmentName,
    blocks: &[(u64, BlockHeader, &[u8])],
    sealed: bool,
) -> io::Result<()> {
    let mut index = IndexWriter::create(path, name, 1, None)?;
    for (offset, header, summary) in blocks {
        index.append(*offset, header, summary)?;
    }
    if sealed { index.seal().map(drop) } else { Ok(()) }
}

/// Opens a ledger, notes so many losses, compacts it, and gives what it says then.
pub fn note_and_compact(directory: &Path, losses: u64) -> io::Result<Gaps> {
    let mut ledger = Ledger::open(directory)?;
    for at in 0..losses {
        let (from, to) = (Timestamp(at << 40), Timestamp((at << 40) + 1));
        let kind = RecordKind::Loss(LossKind::Queue);
        ledger.note(GapRecord { kind, lane: 0, run: 1, from, to, frames: 1, bytes: 0, blocks: 0 })?;
    }
    ledger.flush()?;
    ledger.compact()?;
    Gaps::read(directory)
}
