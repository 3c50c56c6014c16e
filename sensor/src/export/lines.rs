//! A file or standard output that takes lines.
//!
//! In: lines, appended to one reused buffer. Out: bytes written in large pieces. A full disk costs
//! lines, never the sensor: what is not written waits in the buffer up to [`WAITING_BYTES_MAX`], after
//! that new lines are dropped and counted, and the output goes on where it stopped once writing works
//! again, so that no line is ever cut. A closed pipe is the quiet end of the output.

use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// The buffer is written when it holds this many octets.
const WRITE_BYTES: usize = 64 << 10;
/// Most octets that wait for an output that cannot be written; later lines are dropped and counted.
pub(super) const WAITING_BYTES_MAX: usize = 4 << 20;

/// How an output does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutputStatus {
    /// The path, `-` for standard output.
    pub path: String,
    /// Lines handed over, dropped ones not included.
    pub lines: u64,
    /// Octets written.
    pub bytes: u64,
    /// Lines lost because the output could not be written.
    pub lines_dropped: u64,
    /// The reader went away; not an error.
    pub closed: bool,
    /// Whether the last attempt to write failed.
    pub failing: bool,
    /// What the system said when writing failed last.
    pub last_error: Option<String>,
}

pub(super) struct LineOutput<W = File> {
    sink: W,
    buffer: Vec<u8>,
    /// While failing, the buffer's length at which to try again.
    retry_bytes: usize,
    status: OutputStatus,
}

impl LineOutput {
    /// Opens (and empties) a file, or standard output for `-`.
    pub(super) fn open(path: &str) -> io::Result<LineOutput> {
        let file = if path == "-" {
            File::from(io::stdout().as_fd().try_clone_to_owned()?)
        } else {
            File::create(path)?
        };
        Ok(LineOutput::new(path, file))
    }
}

impl<W: Write> LineOutput<W> {
    fn new(path: &str, sink: W) -> LineOutput<W> {
        let status = OutputStatus { path: path.to_owned(), ..OutputStatus::default() };
        LineOutput { sink, buffer: Vec::with_capacity(2 * WRITE_BYTES), retry_bytes: WRITE_BYTES, status }
    }

    pub(super) fn status(&self) -> &OutputStatus {
        &self.status
    }

    /// Takes a line, written by `write` without its end.
    #[inline]
    pub(super) fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.status.closed {
            return;
        }
        if self.buffer.len() >= WAITING_BYTES_MAX {
            self.status.lines_dropped += 1;
            return;
        }
        write(&mut self.buffer);
        self.buffer.push(b'\n');
        self.status.lines += 1;
        if self.buffer.len() >= self.retry_bytes {
            self.flush();
        }
    }

    /// Writes what waits, as far as that works.
    pub(super) fn flush(&mut self) {
        let mut written = 0;
        let failure = loop {
            let rest = self.buffer.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break None;
            }
            match self.sink.write(rest) {
                Ok(0) => break Some(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        self.status.bytes += written as u64;
        self.buffer.drain(..written);
        match failure {
            None => self.recovered(),
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.status.closed = true;
                self.buffer = Vec::new();
            }
            Some(error) => self.failed(&error),
        }
    }

    fn recovered(&mut self) {
        self.retry_bytes = WRITE_BYTES;
        if std::mem::take(&mut self.status.failing) {
            let OutputStatus { path, lines_dropped, .. } = &self.status;
            tracing::info!("{path} can be written again; {lines_dropped} lines were lost so far");
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.retry_bytes = self.buffer.len() + WRITE_BYTES;
        if !std::mem::replace(&mut self.status.failing, true) {
            tracing::error!(
                "cannot write {}: {error}; lines wait in memory and are then dropped, until it works again",
                self.status.path
            );
        }
        self.status.last_error = Some(error.to_string());
    }

    /// The last attempt: what cannot be written now is lost, and counted.
    pub(super) fn finish(&mut self) {
        self.flush();
        let lost = self.buffer.iter().filter(|octet| **octet == b'\n').count() as u64;
        self.status.lines_dropped += lost;
        self.status.lines -= lost;
        self.buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` octets, then says that the disk is full.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
        error: io::ErrorKind,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(self.error.into());
            }
            self.room -= count;
            self.bytes.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn output(room: usize, error: io::ErrorKind) -> LineOutput<Disk> {
        LineOutput::new("x", Disk { bytes: Vec::new(), room, error })
    }

    #[test]
    fn a_full_disk_costs_whole_lines_and_the_output_goes_on_after_it() {
        let mut output = output(100_003, io::ErrorKind::StorageFull);
        let line = [b'a'; 99];
        for _ in 0..100_000 {
            output.line(|out| out.extend_from_slice(&line));
        }
        assert!(output.status().failing && output.status().lines_dropped > 50_000);
        assert!(output.buffer.len() <= WAITING_BYTES_MAX + 100);
        output.sink.room = usize::MAX;
        output.line(|out| out.extend_from_slice(&line));
        output.flush();
        output.line(|out| out.extend_from_slice(&line));
        output.finish();
        let status = output.status();
        assert!(!status.failing && status.last_error.is_some());
        assert_eq!(status.lines + status.lines_dropped, 100_002);
        assert_eq!(output.sink.bytes.len() as u64, status.bytes);
        let lines: Vec<_> = output.sink.bytes.split_inclusive(|octet| *octet == b'\n').collect();
        assert_eq!(lines.len() as u64, status.lines);
        assert!(lines.iter().all(|line| line.len() == 100));
    }

    #[test]
    fn what_a_full_disk_never_takes_is_counted_at_the_end() {
        let mut output = output(5, io::ErrorKind::StorageFull);
        for _ in 0..3 {
            output.line(|out| out.extend_from_slice(b"abc"));
        }
        output.finish();
        assert_eq!((output.status().lines, output.status().lines_dropped), (1, 2));
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        let mut output = output(0, io::ErrorKind::BrokenPipe);
        output.line(|out| out.extend_from_slice(b"abc"));
        output.flush();
        output.line(|out| out.extend_from_slice(b"abc"));
        output.finish();
        assert!(output.status().closed && !output.status().failing);
        assert_eq!((output.status().last_error.as_ref(), output.status().lines_dropped), (None, 0));
    }
}
