//! What tests of other stages do to a ring.

use super::frames::{BlockFrames, BlockReader};
use super::index::journal::IndexWriter;
use super::reader::{SegmentContents, SegmentFiles};
use super::summary::Summarizer;
use super::view::View;
use crate::capture::Frame;
use weir_common::net::CommunityId;

/// Puts a journal in the place of a sealed index, made from the frames as the query stage's tests tag them.
pub(crate) fn unseal(files: &SegmentFiles, tag: impl Fn(&Frame<'_>) -> Option<CommunityId>) {
    let contents = SegmentContents::read(files).unwrap();
    let mut journal = IndexWriter::create(&files.index, files.name, 1, files.key.as_ref()).unwrap();
    let (mut reader, mut frames) = (BlockReader::default(), BlockFrames::default());
    for block in &contents.blocks {
        reader.read(files, block.offset, &block.header, &mut frames).unwrap();
        let (mut seen, mut summary) = (Vec::new(), Vec::new());
        frames.each(&mut |_, frame| {
            let flow_tag = tag(frame).as_ref().map(CommunityId::tag);
            seen.push(super::block::Seen { view: View::of(frame), flow_tag });
        });
        Summarizer::default().summarize(&seen, &mut summary);
        journal.append(block.offset, &block.header, &summary).unwrap();
    }
}

/// The index that a segment has before its first block, at this place.
pub(crate) fn empty_journal(path: &std::path::Path) {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(super::format::SegmentName::parse);
    IndexWriter::create(path, stem.unwrap(), 1, None).unwrap();
}
