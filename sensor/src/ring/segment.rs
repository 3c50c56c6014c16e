//! A segment being written: a pre-allocated file that whole blocks are put into.
//!
//! In: finished blocks. Out: a file that holds whole blocks only. A block is written from memory that is used again
//! for every block, in one call, and becomes visible by a second one of four bytes. A map of the file in which zstd
//! would write needs no such call, but the kernel then has to clear each page and give it away one by one: that
//! cost three times as much as copying into the page cache, and a map answers a disk that fails with SIGBUS, while
//! a call answers with an error.
//!
//! Space is taken from the file system beforehand, so that a segment that was begun can be filled. On file systems
//! that copy on write (btrfs, ZFS) the reservation is a promise only; there the disk can be full all the same.

use super::format::{BLOCK_HEADER_BYTES, BlockHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use nix::fcntl::posix_fallocate;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a block that make it visible.
const MAGIC_BYTES: usize = 4;

/// A segment that takes blocks.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    bytes: u64,
    used: u64,
}

impl Segment {
    /// Creates and reserves a segment of `bytes`; the file has its name only when it is complete.
    pub(super) fn create(directory: &Path, header: &SegmentHeader, bytes: u64) -> io::Result<Segment> {
        let path = directory.join(header.name.segment_file());
        let temporary = path.with_extension("seg.tmp");
        let created = Segment::prepare(&temporary, header, bytes).and_then(|file| {
            fs::rename(&temporary, &path)?;
            Ok(Segment { path, file, bytes, used: SEGMENT_HEADER_BYTES as u64 })
        });
        if created.is_err() {
            // What could be reserved must not stay reserved; if this fails too, the next start removes it.
            let _ = fs::remove_file(&temporary);
        }
        created
    }

    fn prepare(temporary: &Path, header: &SegmentHeader, bytes: u64) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(temporary)?;
        let length = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        posix_fallocate(&file, 0, length).map_err(io::Error::from)?;
        file.write_all_at(&header.encode(), 0)?;
        Ok(file)
    }

    /// Where the next block begins.
    pub(super) fn offset(&self) -> u64 {
        self.used
    }

    /// Bytes left for blocks, headers included.
    pub(super) fn room(&self) -> u64 {
        self.bytes.saturating_sub(self.used)
    }

    /// Writes a block and makes it visible: `block` is room for its header, and its body. The magic goes last, so
    /// that whoever sees it sees the rest as well.
    ///
    /// After an error some of the bytes may be there, invisible; the caller ends the segment.
    pub(super) fn write_block(&mut self, header: &BlockHeader, block: &mut [u8]) -> io::Result<()> {
        let (place, _) = block.split_at_mut_checked(BLOCK_HEADER_BYTES).ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(&header.encode_sealed());
        if block.len() as u64 > self.room() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (magic, rest) = block.split_at(MAGIC_BYTES);
        self.file.write_all_at(rest, self.used + MAGIC_BYTES as u64)?;
        self.file.write_all_at(magic, self.used)?;
        self.used = header.next_offset(self.used).min(self.bytes);
        Ok(())
    }

    /// Ends the segment and gives back what it does not use.
    pub(super) fn finish(self) -> io::Result<u64> {
        self.file.set_len(self.used)?;
        Ok(self.used)
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
        assert!(!BlockHeader::begins(&fs::read(&path).unwrap()[128..]));
        let block = BlockHeader { frames: 1, body_bytes: 16, ..BlockHeader::default() };
        let mut bytes = vec![0; BLOCK_HEADER_BYTES + 16];
        bytes[BLOCK_HEADER_BYTES..][..5].copy_from_slice(b"hello");
        segment.write_block(&block, &mut bytes).unwrap();
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

    #[test]
    fn a_block_that_does_not_fit_is_an_error_and_leaves_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut segment = Segment::create(directory.path(), &header(), 4096).unwrap();
        let room = segment.room() as usize;
        let block = BlockHeader { frames: 1, ..BlockHeader::default() };
        let error = segment.write_block(&block, &mut vec![0; room + 1]).unwrap_err();
        assert_eq!((error.kind(), segment.offset()), (io::ErrorKind::StorageFull, 128));
        segment.write_block(&block, &mut vec![0; room]).unwrap();
        assert!(segment.write_block(&block, &mut [0; 5]).is_err());
        assert_eq!(fs::metadata(segment.path()).unwrap().len(), 4096);
    }
}
