//! IPFIX files (RFC 5655): one session from the file's opening to the sensor's end.
//!
//! In: bytes of messages. Out: the file, emptied first. When the disk is full, the file is cut back to
//! its last whole message, so that it can be read at any time, and writing is tried again every second.

use super::connect::Change;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Wait after a write that failed.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct FileTransport {
    file: File,
    /// Octets of whole messages.
    whole_bytes: u64,
    /// Octets of the message that is being written.
    partial_bytes: u64,
    /// Pipes and devices cannot be cut back.
    can_truncate: bool,
    retry_at: Option<Instant>,
    was_told_open: bool,
}

impl FileTransport {
    pub(super) fn open(path: &Path) -> io::Result<FileTransport> {
        let file = File::create(path)?;
        let can_truncate = file.metadata()?.is_file();
        let (whole_bytes, partial_bytes) = (0, 0);
        Ok(FileTransport {
            file,
            whole_bytes,
            partial_bytes,
            can_truncate,
            retry_at: None,
            was_told_open: false,
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.was_told_open && self.retry_at.is_none()
    }

    pub(super) fn poll(&mut self, at: Instant) -> Change {
        if self.retry_at.is_some_and(|retry_at| at >= retry_at) {
            self.retry_at = None;
        }
        if std::mem::replace(&mut self.was_told_open, true) { Change::None } else { Change::Opened }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.partial_bytes += count as u64;
        Ok(count)
    }

    /// The message that was being written is complete.
    pub(super) fn message_ended(&mut self) {
        self.whole_bytes += std::mem::take(&mut self.partial_bytes);
    }

    /// Takes back what was written of a message that failed; false where that is not possible, so that
    /// the message must go on where it stopped.
    pub(super) fn close(&mut self, at: Instant) -> bool {
        self.retry_at = Some(at + RETRY);
        let cut_back = self.can_truncate
            && self.file.set_len(self.whole_bytes).is_ok()
            && self.file.seek(SeekFrom::Start(self.whole_bytes)).is_ok();
        if cut_back {
            self.partial_bytes = 0;
        }
        cut_back
    }
}
