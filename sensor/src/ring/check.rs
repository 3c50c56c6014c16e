//! `ring list` and `ring check`: what a ring holds, and whether every byte of it is as it was written.
//!
//! In: the ring's directory. Out: tables for people (Display) and JSON (Serialize). Reads only; a ring that
//! is being written can be listed and checked, up to what is sealed when it is looked at.

use super::account::{Account, Held, Told, account};
use super::cipher::RingKey;
use super::custody::verify::{CustodyCheck, Verifier};
use super::custody::{self, CustodyLine};
use super::format::SEGMENT_HEADER_BYTES;
use super::gaps::{GAPS_FILE, Gaps};
use super::index::sealed::sealed_totals;
use super::index::{SealedIndex, Totals};
use super::lock;
use super::pins::{self, Pin};
use super::reader::{
    BlockError, BlockFrames, BlockReader, SegmentContents, SegmentFiles, segment_header, segments,
};
use super::summary::Summary;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use weir_common::time::Timestamp;

/// Most damages told one by one; all are counted.
pub const DAMAGES_LISTED_MAX: usize = 1000;

/// State of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentState {
    /// Takes no more blocks.
    Sealed,
    /// Is being written, or was when the sensor was killed.
    Open,
    /// Cannot be read.
    Unreadable,
}

/// One segment of a ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentLine {
    /// Its file.
    pub file: String,
    /// The worker's lane.
    pub lane: u16,
    /// Its state.
    pub state: SegmentState,
    /// Earliest time of a frame.
    #[serde(serialize_with = "text")]
    pub first_time: Timestamp,
    /// Latest time of a frame.
    #[serde(serialize_with = "text")]
    pub last_time: Timestamp,
    /// Blocks.
    pub blocks: u64,
    /// Frames.
    pub frames: u64,
    /// Captured bytes of the frames.
    pub frame_bytes: u64,
    /// Captured bytes that were left out of them on purpose.
    pub left_out_bytes: u64,
    /// Bytes of the segment and its index on disk.
    pub disk_bytes: u64,
}

/// The segments of a ring, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Whether a sensor writes the ring now.
    pub being_written: bool,
    /// Frames in all segments.
    pub frames: u64,
    /// Their captured bytes.
    pub frame_bytes: u64,
    /// Captured bytes that were left out of them on purpose.
    pub left_out_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The segments.
    pub segments: Vec<SegmentLine>,
    /// Disk space of the pins, beside the ring's.
    pub pin_bytes: u64,
    /// The pins, oldest first.
    pub pins: Vec<Pin>,
    /// The chain of custody; none when none is kept.
    pub custody: Option<CustodyLine>,
}

/// One thing that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it; none: the file as a whole.
    pub offset: Option<u64>,
    /// Earliest time that is lost, where known.
    #[serde(serialize_with = "text_if")]
    pub first_time: Option<Timestamp>,
    /// Latest time that is lost, where known.
    #[serde(serialize_with = "text_if")]
    pub last_time: Option<Timestamp>,
    /// Frames lost, where known; 0: an index only, and no frame.
    pub frames: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What checking came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Segments checked.
    pub segments: u64,
    /// Blocks whose checksums agree and whose frames can be read.
    pub blocks_sound: u64,
    /// Their frames.
    pub frames_sound: u64,
    /// Of these, those with a receipt for ciphertext that was left out.
    pub receipts: u64,
    /// The bytes that the receipts are for.
    pub bytes_left_out: u64,
    /// Records of the gap ledger that a later version wrote.
    pub ledger_records_unknown: u64,
    /// Things that are not as they were written.
    pub damages: u64,
    /// The first of them.
    pub damaged: Vec<Damage>,
    /// What the chain of custody says.
    pub custody: CustodyCheck,
}

fn text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn text_if<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// Lists a ring's segments.
pub fn list(directory: &Path, key: Option<&RingKey>) -> io::Result<Listing> {
    let mut listing = Listing {
        being_written: lock::is_held(directory),
        frames: 0,
        frame_bytes: 0,
        left_out_bytes: 0,
        disk_bytes: 0,
        segments: Vec::new(),
        pin_bytes: 0,
        pins: pins::list(directory)?,
        custody: CustodyLine::read(directory)?,
    };
    listing.pin_bytes = listing.pins.iter().map(|pin| pin.bytes).sum();
    for files in segments(directory, key)? {
        let line = line(&files)?;
        // A hostile index may say anything here.
        listing.frames = listing.frames.saturating_add(line.frames);
        listing.frame_bytes = listing.frame_bytes.saturating_add(line.frame_bytes);
        listing.left_out_bytes = listing.left_out_bytes.saturating_add(line.left_out_bytes);
        listing.disk_bytes += line.disk_bytes;
        listing.segments.push(line);
    }
    Ok(listing)
}

fn line(files: &SegmentFiles) -> io::Result<SegmentLine> {
    let (state, totals) = match sealed_totals(&files.index, files.key.as_ref())? {
        Some(totals) => (SegmentState::Sealed, totals),
        None => match SegmentContents::read(files) {
            Ok(contents) => {
                let mut totals = Totals::default();
                contents.blocks.iter().for_each(|block| totals.add(block.offset, &block.header));
                (SegmentState::Open, totals)
            }
            Err(_) => (SegmentState::Unreadable, Totals::default()),
        },
    };
    let disk_bytes =
        [&files.segment, &files.index].map(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
    Ok(SegmentLine {
        file: files.name.segment_file(),
        lane: files.name.lane,
        state,
        first_time: totals.first_time.min(files.name.first_time),
        last_time: totals.last_time.max(files.name.first_time),
        blocks: totals.blocks,
        frames: totals.frames,
        frame_bytes: totals.frame_bytes,
        left_out_bytes: totals.left_out_bytes,
        disk_bytes: disk_bytes.iter().sum(),
    })
}

/// Reads every block of a ring and its pins, verifies its checksums, and each segment against the chain of custody.
/// `progress` is told the segments done and there are.
pub fn check(
    directory: &Path,
    key: Option<&RingKey>,
    progress: &mut dyn FnMut(usize, usize),
) -> io::Result<Check> {
    check_with(directory, key, Verifier::new(directory, &[], true), progress)
}

/// [`check`] with the custody keys that a [`Verifier`] trusts.
pub fn check_with(
    directory: &Path,
    key: Option<&RingKey>,
    mut custody: Verifier,
    progress: &mut dyn FnMut(usize, usize),
) -> io::Result<Check> {
    let (mut check, mut reader, mut frames) =
        (Check::default(), BlockReader::default(), BlockFrames::default());
    let before = Gaps::read(directory)?;
    let mut blocks = Blocks::default();
    let mut all = segments(directory, key)?;
    all.extend(pins::segments(directory, key)?);
    for (done, files) in all.iter().enumerate() {
        progress(done, all.len());
        match SegmentContents::read(files) {
            Ok(contents) => {
                match files.segment.parent().is_some_and(pins::is_pin) {
                    true => custody.pinned(files, &shown(&files.segment), &mut |found| check.damage(found)),
                    false => {
                        custody.segment(files, contents.sealed.is_some());
                        blocks.segment(files, &contents);
                    }
                }
                check.segment(files, &contents, &mut reader, &mut frames);
            }
            Err(BlockError::Removed) => continue,
            Err(error) => {
                blocks.unreadable(files);
                check.damage(Damage::whole(&shown(&files.segment), error.to_string(), None));
            }
        }
        check.segments += 1;
    }
    progress(all.len(), all.len());
    let gaps = Gaps::read(directory)?;
    check.ledger_records_unknown = gaps.unknown_records();
    let ledger = gaps.damaged_records;
    if ledger > 0 {
        check.damage(Damage::whole(
            GAPS_FILE,
            format!("{ledger} records do not match their checksum"),
            Some(0),
        ));
    }
    check.custody = custody.finish(&mut |damage| check.damage(damage))?;
    check.account(&account(&before.with_losses_of(gaps), &blocks.held, &blocks.told));
    Ok(check)
}

/// What the ring's own segments hold in sum.
#[derive(Default)]
struct Blocks {
    held: Vec<Held>,
    told: Vec<Told>,
}

impl Blocks {
    fn segment(&mut self, files: &SegmentFiles, contents: &SegmentContents) {
        self.held.extend(Held::of(files.name.lane, &contents.totals()));
        if contents.damaged.iter().any(|range| range.known.is_none()) {
            self.unreadable(files);
        }
    }

    fn unreadable(&mut self, files: &SegmentFiles) {
        self.told.push(Told { lane: files.name.lane, from: files.name.first_time, to: Timestamp::MAX });
    }
}

impl Check {
    /// Whether everything is as it was written.
    pub fn is_sound(&self) -> bool {
        self.damages == 0
    }

    fn damage(&mut self, damage: Damage) {
        self.damages += 1;
        if self.damaged.len() < DAMAGES_LISTED_MAX {
            self.damaged.push(damage);
        }
    }

    /// Blocks that are gone, and a ledger that is. The chain of custody, where there is one, names the segments.
    fn account(&mut self, account: &Account) {
        for run in &account.unknown_runs {
            let what = format!("missing or damaged: no begin of run {}, whose blocks are there", run.run);
            self.damage(Damage::whole(GAPS_FILE, what, Some(0)));
        }
        for absent in account.absent.iter().filter(|_| !self.custody.kept).copied().collect::<Vec<_>>() {
            let what = "gone, and the ring did not remove them".to_owned();
            self.damage(Damage {
                first_time: Some(absent.from),
                last_time: Some(absent.to),
                ..Damage::whole(&absent.to_string(), what, None)
            });
        }
    }

    fn segment(
        &mut self,
        files: &SegmentFiles,
        contents: &SegmentContents,
        reader: &mut BlockReader,
        frames: &mut BlockFrames,
    ) {
        let (file, index) = (shown(&files.segment), shown(&files.index));
        // A pin has holes where the original has blocks that it does not keep.
        let is_pin = files.segment.parent().is_some_and(pins::is_pin);
        match segment_header(files) {
            Ok(_) => {}
            Err(BlockError::Removed) => return,
            Err(error) => self.damage(Damage::whole(&file, error.to_string(), Some(0))),
        }
        // It is made before its segment and removed after it.
        if !files.index.exists() && files.segment.exists() {
            let what = "missing; the segment's blocks are found all the same".to_owned();
            self.damage(Damage::whole(&index, what, Some(0)));
        }
        let mut expected = SEGMENT_HEADER_BYTES as u64;
        for block in &contents.blocks {
            if contents.sealed.is_some() && block.offset > expected && !is_pin {
                let what = format!("{} bytes without a sound block", block.offset - expected);
                self.damage(Damage { offset: Some(expected), ..Damage::whole(&file, what, None) });
            }
            expected = block.header.next_offset(block.offset);
            let read = reader.read(files, block.offset, &block.header, frames);
            match read.and_then(|()| custody::verify_contents(reader, files, block.offset, &block.header)) {
                Ok(()) => {
                    self.blocks_sound += 1;
                    self.frames_sound += u64::from(block.header.frames);
                    for left_out in frames.placed().iter().filter_map(|placed| placed.entry.left_out) {
                        self.receipts += 1;
                        self.bytes_left_out += u64::from(left_out.bytes);
                    }
                }
                // Retention took it while it was being checked.
                Err(BlockError::Removed) => return,
                Err(error) => self.damage(Damage {
                    file: file.clone(),
                    offset: Some(block.offset),
                    first_time: Some(block.header.first_time),
                    last_time: Some(block.header.last_time),
                    frames: Some(block.header.frames.into()),
                    what: error.to_string(),
                }),
            }
            if let Some(Err(error)) = contents.summary(block).map(Summary::parse) {
                self.damage(Damage::whole(&index, error.to_string(), Some(0)));
            }
        }
        let sealed = contents.sealed.map(|_| SealedIndex::open(&files.index, files.key.as_ref()));
        if let Some(Err(error)) = sealed.map(|index| index.and_then(|mut index| index.verify()))
            && files.segment.exists()
        {
            self.damage(Damage::whole(&files.name.index_file(), error.to_string(), Some(0)));
        }
        for range in &contents.damaged {
            let what = format!("{} bytes without a sound block", range.bytes);
            let frames = range.known.map(|header| header.frames.into());
            self.damage(Damage { offset: Some(range.offset), ..Damage::whole(&file, what, frames) });
        }
        if contents.index_records_damaged > 0 {
            let what = format!(
                "{} records or pages are damaged; its blocks are found all the same",
                contents.index_records_damaged
            );
            self.damage(Damage::whole(&index, what, Some(0)));
        }
    }
}

/// Text that somebody wrote, on one line and without what a terminal would obey.
fn on_one_line(text: &str) -> String {
    let shown = |char: char| match char.is_control() {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    text.chars().map(shown).collect()
}

/// A file's name, with its pin's where it belongs to one.
fn shown(path: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match path.parent().filter(|directory| pins::is_pin(directory)) {
        Some(pin) => format!("{}/{}", name(pin), name(path)),
        None => name(path),
    }
}

impl Damage {
    pub(super) fn whole(file: &str, what: String, frames: Option<u64>) -> Damage {
        Damage { file: file.to_owned(), offset: None, first_time: None, last_time: None, frames, what }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<50} {:>4} {:<10} {:<30} {:<30} {:>8} {:>12} {:>12}",
            "segment", "lane", "state", "first", "last", "blocks", "frames", "MB on disk"
        )?;
        for line in &self.segments {
            let state = match line.state {
                SegmentState::Sealed => "sealed",
                SegmentState::Open => "open",
                SegmentState::Unreadable => "unreadable",
            };
            let megabytes = line.disk_bytes as f64 / 1e6;
            let (first, last) = (line.first_time.to_string(), line.last_time.to_string());
            let SegmentLine { file, lane, blocks, frames, .. } = line;
            writeln!(
                f,
                "{file:<50} {lane:>4} {state:<10} {first:<30} {last:<30} {blocks:>8} {frames:>12} {megabytes:>12.1}"
            )?;
        }
        write!(
            f,
            "{} segments, {} frames, {:.1} MB captured, {:.1} MB on disk{}",
            self.segments.len(),
            self.frames,
            self.frame_bytes as f64 / 1e6,
            self.disk_bytes as f64 / 1e6,
            if self.being_written { ", being written" } else { "" }
        )?;
        if self.left_out_bytes > 0 {
            write!(f, "; {:.1} MB left out on purpose", self.left_out_bytes as f64 / 1e6)?;
        }
        for pin in &self.pins {
            let Pin { id, frames, blocks, bytes, .. } = pin;
            let (query, note) = (on_one_line(&pin.query), on_one_line(&pin.note));
            let megabytes = *bytes as f64 / 1e6;
            write!(f, "\npin {id}: {frames} frames in {blocks} blocks, {megabytes:.1} MB, ")?;
            match pin.until {
                Some(until) => write!(f, "until {until}: {query}")?,
                None => write!(f, "until given back: {query}")?,
            }
            if !note.is_empty() {
                write!(f, " ({note})")?;
            }
        }
        self.custody.iter().try_for_each(|custody| write!(f, "\n{custody}"))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for damage in &self.damaged {
            write!(f, "{}", damage.file)?;
            if let Some(offset) = damage.offset {
                write!(f, " at byte {offset}")?;
            }
            write!(f, ": {}", damage.what)?;
            if let Some(frames) = damage.frames.filter(|frames| *frames > 0) {
                write!(f, "; {frames} frames lost")?;
            }
            if let (Some(first), Some(last)) = (damage.first_time, damage.last_time) {
                write!(f, " from {first} to {last}")?;
            }
            writeln!(f)?;
        }
        if self.damages > self.damaged.len() as u64 {
            writeln!(f, "and {} more", self.damages - self.damaged.len() as u64)?;
        }
        if self.ledger_records_unknown > 0 {
            writeln!(f, "gaps: {} records were written by a later version", self.ledger_records_unknown)?;
        }
        let Check { segments, blocks_sound, frames_sound, damages, .. } = self;
        write!(
            f,
            "{segments} segments, {blocks_sound} blocks and {frames_sound} frames sound, {damages} damages"
        )?;
        match (self.receipts, self.bytes_left_out as f64 / 1e6) {
            (0, _) => {}
            (receipts, megabytes) => {
                write!(
                    f,
                    "; {receipts} frames cut off on purpose, {megabytes:.1} MB left out with receipts"
                )?;
            }
        }
        write!(f, "\n{}", self.custody)
    }
}
