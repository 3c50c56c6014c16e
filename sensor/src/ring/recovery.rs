//! Recovery: what a ring's directory looks like after a crash, made whole before writing goes on.
//!
//! In: a directory that any process may have left at any instruction. Out: only sealed segments with sealed
//! indexes, files that belong to nothing removed, what was lost with them noted, runs that did not end noted as
//! killed. Costs time for
//! segments that were being written, at most one per lane, and not for the ring. Removes no frame that can
//! be read; a segment of a later version is left as it is.

use super::cipher::RingKey;
use super::format::{SEGMENT_HEADER_BYTES, SegmentName};
use super::gaps::{GapRecord, Gaps, Ledger, RecordKind};
use super::index::journal::IndexWriter;
use super::index::sealed::{BLOCKS_MAX, sealed_totals};
use super::index::{Journal, RUN_UNKNOWN, Totals};
use super::reader::{BlockError, SegmentContents, SegmentFiles, segment_header, segments};
use super::summary::Summarizer;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// Makes the directory whole and returns its segments, oldest first.
pub(super) fn recover(
    directory: &Path,
    key: Option<&RingKey>,
    ledger: &mut Ledger,
    gaps: &Gaps,
    run: u32,
) -> io::Result<Vec<SegmentFiles>> {
    remove_leftovers(directory, key, ledger, gaps, run)?;
    let mut kept = Vec::new();
    for files in segments(directory, key)? {
        if sealed_totals(&files.index, key)?.is_some() || seal(&files, ledger, run)? {
            kept.push(files);
        }
    }
    for (lane, open_run) in gaps.open_runs() {
        let alive = gaps.alive.iter().find(|alive| (alive.lane, alive.run) == (lane, open_run));
        let starts = gaps.records.iter().filter(|record| (record.lane, record.run) == (lane, open_run));
        if let Some(time) = alive.map(|alive| alive.until).or_else(|| starts.map(|record| record.to).max()) {
            let blocks = alive.map_or(0, |alive| alive.blocks);
            let killed = GapRecord::instant(RecordKind::RunKilled, lane, open_run, time);
            ledger.note(GapRecord { blocks, ..killed })?;
        }
    }
    Ok(kept)
}

/// The latest run of which there is a segment; 0: none.
pub(super) fn last_run(directory: &Path, key: Option<&RingKey>) -> io::Result<u32> {
    let headers = segments(directory, key)?.into_iter().filter_map(|files| segment_header(&files).ok());
    Ok(headers.map(|header| header.run).max().unwrap_or(0))
}

/// Removes files that were not finished, and indexes whose segment is gone: what such an index alone still knows of is
/// written down first.
fn remove_leftovers(
    directory: &Path,
    key: Option<&RingKey>,
    ledger: &mut Ledger,
    gaps: &Gaps,
    run: u32,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let ends_with = |ending: &str| path.extension().is_some_and(|found| found == ending);
        let orphan = ends_with("idx") && !path.with_extension("seg").exists();
        let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(SegmentName::parse);
        if let Some(name) = name.filter(|_| orphan)
            && let Some(totals) = held_once(&path, name, key)?
            && !gaps.records.iter().any(|record| tells_of(record, name.lane, &totals))
        {
            let Totals { first_time: from, last_time: to, frames, used_bytes: bytes, .. } = totals;
            let (kind, lane) = (RecordKind::Damaged, name.lane);
            ledger.note(GapRecord { kind, lane, run, from, to, frames, bytes, blocks: 0 })?;
        }
        if orphan || ends_with("tmp") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What the segment of this index held; none: nothing, as when a crash came before there was a segment.
fn held_once(index: &Path, name: SegmentName, key: Option<&RingKey>) -> io::Result<Option<Totals>> {
    if let Some(totals) = sealed_totals(index, key)? {
        return Ok((totals.blocks > 0).then_some(totals));
    }
    let journal = Journal::read(index, key)?;
    let mut totals = Totals::default();
    journal.blocks.iter().for_each(|block| totals.add(block.offset, &block.header));
    if totals.blocks == 0 {
        // The name says when it began, and nothing says how much there was.
        (totals.first_time, totals.last_time) = (name.first_time, name.first_time);
    }
    let is_damaged = journal.is_sealed || journal.damaged_records > 0;
    Ok((totals.blocks > 0 || is_damaged).then_some(totals))
}

/// Whether the ledger says already that a segment which held this is gone.
fn tells_of(record: &GapRecord, lane: u16, totals: &Totals) -> bool {
    let spans = record.from <= totals.first_time && record.to >= totals.last_time;
    let names = record.blocks == 0 || (record.run, record.blocks) > (totals.run, totals.last_number);
    record.lane == lane && spans && (record.kind == RecordKind::Damaged || record.kind.is_expiry() && names)
}

/// Shortens a segment to its sealed blocks and writes its index anew. False: nothing was in it, and it is gone.
fn seal(files: &SegmentFiles, ledger: &mut Ledger, run: u32) -> io::Result<bool> {
    let contents = match SegmentContents::walked(files) {
        Ok(contents) => contents,
        Err(BlockError::Io(error)) => return Err(error),
        // A later version, which this program must not touch.
        Err(_) => return Ok(true),
    };
    if contents.blocks.is_empty() && contents.damaged.is_empty() {
        fs::remove_file(&files.segment)?;
        fs::remove_file(&files.index).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        return Ok(false);
    }
    let temporary = files.index.with_extension("idx.new.tmp");
    let of_run = contents.run.unwrap_or(RUN_UNKNOWN);
    let mut index = IndexWriter::create(&temporary, files.name, of_run, files.key.as_ref())?;
    let mut unknown = Vec::new();
    Summarizer::opaque(&mut unknown);
    for block in contents.blocks.iter().take(BLOCKS_MAX as usize) {
        index.append(block.offset, &block.header, contents.summary(block).unwrap_or(&unknown))?;
    }
    let end = index.totals().used_bytes.max(SEGMENT_HEADER_BYTES as u64);
    // The segment before the index: an index that claims to be whole must not lie about what follows.
    let length = fs::metadata(&files.segment)?.len();
    OpenOptions::new().write(true).open(&files.segment)?.set_len(end.min(length))?;
    index.seal()?;
    fs::rename(&temporary, &files.index)?;
    for range in &contents.damaged {
        let known = range.known.unwrap_or_default();
        let (from, to) = match range.known {
            Some(header) => (header.first_time, header.last_time),
            None => around(&contents, range.offset, files),
        };
        let (kind, lane, frames) = (RecordKind::Damaged, files.name.lane, known.frames.into());
        ledger.note(GapRecord { kind, lane, run, from, to, frames, bytes: range.bytes, blocks: 0 })?;
    }
    Ok(true)
}

/// Between which times a damaged range must lie: after the block before it and before the block behind it.
fn around(
    contents: &SegmentContents,
    offset: u64,
    files: &SegmentFiles,
) -> (weir_common::time::Timestamp, weir_common::time::Timestamp) {
    let before =
        contents.blocks.iter().rfind(|block| block.offset < offset).map(|block| block.header.last_time);
    let behind =
        contents.blocks.iter().find(|block| block.offset > offset).map(|block| block.header.first_time);
    let from = before.unwrap_or(files.name.first_time);
    (from, behind.unwrap_or(from).max(from))
}
