//! A segment being written: a pre-allocated file, mapped into memory.
//!
//! In: blocks, compressed by the caller straight into the map. Out: a file that holds whole blocks only.
//! The one place of the ring with unsafe code. Readers do not map: they read through descriptors, so a
//! segment that shrinks or vanishes under them is an error and not a signal.
//!
//! Space is taken from the file system before the file is mapped, because a store into a map that finds
//! the disk full is answered by SIGBUS. On file systems that copy on write (btrfs, ZFS) the reservation
//! is a promise only; there the budget should leave room.
#![allow(unsafe_code)] // mapping a file and publishing a block with one ordered store

use super::format::{BLOCK_HEADER_BYTES, BlockHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use memmap2::{Advice, MmapMut};
use nix::fcntl::posix_fallocate;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Pages are asked of the kernel in steps of this many bytes: a third of the cost of one fault for each.
const POPULATE_BYTES: usize = 1 << 20;

/// A segment that takes blocks.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    map: MmapMut,
    used: usize,
    /// Up to here the kernel was asked for pages.
    populated: usize,
}

impl Segment {
    /// Creates, reserves and maps a segment of `bytes`; the file has its name only when it is complete.
    pub(super) fn create(directory: &Path, header: &SegmentHeader, bytes: u64) -> io::Result<Segment> {
        let path = directory.join(header.name.segment_file());
        let temporary = path.with_extension("seg.tmp");
        let created = Segment::prepare(&temporary, header, bytes).and_then(|(file, map)| {
            fs::rename(&temporary, &path)?;
            Ok(Segment { path, file, map, used: SEGMENT_HEADER_BYTES, populated: 0 })
        });
        if created.is_err() {
            // What could be reserved must not stay reserved; if this fails too, the next start removes it.
            let _ = fs::remove_file(&temporary);
        }
        created
    }

    fn prepare(temporary: &Path, header: &SegmentHeader, bytes: u64) -> io::Result<(File, MmapMut)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(temporary)?;
        let length = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        posix_fallocate(&file, 0, length).map_err(io::Error::from)?;
        // SAFETY: the file is new, has `bytes` bytes reserved, and belongs to this process: the ring's
        // directory is locked, and nothing of ours shortens a segment while it is mapped.
        let mut map = unsafe { MmapMut::map_mut(&file)? };
        map.get_mut(..SEGMENT_HEADER_BYTES)
            .ok_or(io::ErrorKind::InvalidInput)?
            .copy_from_slice(&header.encode());
        Ok((file, map))
    }

    /// Where the next block begins.
    pub(super) fn offset(&self) -> u64 {
        self.used as u64
    }

    /// Bytes left for blocks, headers included.
    pub(super) fn room(&self) -> u64 {
        self.map.len().saturating_sub(self.used) as u64
    }

    /// The bytes after the next block's header, up to the end of the segment; the first `expected` of them are
    /// about to be written.
    pub(super) fn body(&mut self, expected: usize) -> &mut [u8] {
        let end = (self.used + BLOCK_HEADER_BYTES + expected).min(self.map.len());
        while self.populated < end {
            let count = POPULATE_BYTES.min(self.map.len() - self.populated);
            // A kernel that knows no such advice gives the pages one by one.
            let _ = self.map.advise_range(Advice::PopulateWrite, self.populated, count);
            self.populated += count;
        }
        self.map.get_mut(self.used + BLOCK_HEADER_BYTES..).unwrap_or_default()
    }

    /// Makes the block visible whose compressed bytes stand in [`Segment::body`]: header first, magic last.
    pub(super) fn seal_block(&mut self, header: &BlockHeader) -> io::Result<()> {
        let at = self.used;
        let bytes = header.encode_sealed();
        let next = usize::try_from(header.next_offset(at as u64)).unwrap_or(usize::MAX);
        let place = self.map.get_mut(at..at + BLOCK_HEADER_BYTES).ok_or(io::ErrorKind::StorageFull)?;
        place[4..].copy_from_slice(&bytes[4..]);
        let magic = place.as_mut_ptr().cast::<u32>();
        // SAFETY: `place` is at least four bytes long and writable, and aligned: blocks begin at multiples
        // of 64 in a map that begins at a page. No other reference to these bytes exists.
        let magic = unsafe { AtomicU32::from_ptr(magic) };
        // A reader that sees the magic sees everything stored before it.
        magic.store(BlockHeader::magic(), Ordering::Release);
        self.used = next.min(self.map.len());
        Ok(())
    }

    /// Ends the segment and gives back what it does not use.
    pub(super) fn finish(self) -> io::Result<u64> {
        let Segment { file, map, used, .. } = self;
        drop(map);
        file.set_len(used as u64)?;
        Ok(used as u64)
    }

    /// The file, for whoever sees to it that its bytes reach the disk.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::SegmentName;
    use super::*;
    use weir_common::time::Timestamp;

    fn header() -> SegmentHeader {
        let name = SegmentName { sequence: 1, lane: 0, first_time: Timestamp(9) };
        SegmentHeader { name, run: 1, encrypted: false, salt: Default::default() }
    }

    #[test]
    fn a_block_is_visible_once_sealed_and_the_rest_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(directory.path(), &header(), 1 << 20).unwrap();
        let path = segment.path().to_owned();
        segment.body(5)[..5].copy_from_slice(b"hello");
        assert!(!BlockHeader::begins(&fs::read(&path).unwrap()[128..]));
        let block = BlockHeader { frames: 1, body_bytes: 16, ..BlockHeader::default() };
        segment.seal_block(&block).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len(), BlockHeader::decode(&bytes[128..])), (1 << 20, Ok(block)));
        assert_eq!((&bytes[256..261], segment.offset()), (&b"hello"[..], 320));
        assert_eq!((segment.finish().unwrap(), fs::metadata(&path).unwrap().len()), (320, 320));
    }

    #[test]
    fn a_segment_that_cannot_be_reserved_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Segment::create(directory.path(), &header(), 1 << 60).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
