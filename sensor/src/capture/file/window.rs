//! A window over a stream of bytes, so that records are borrowed and not copied.
//!
//! The window is refilled when a record does not fit into what is left; what is left then moves to its
//! front. It grows to the longest record asked for, which its callers bound.

use super::Damage;
use crate::capture::CaptureError;
use std::io::{ErrorKind, Read};

/// Bytes read at once: large enough to make system calls rare, small enough to stay in the cache.
const READ_BYTES: usize = 256 << 10;

pub(super) struct Window {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Offset in the stream of `buffer[0]`.
    base: u64,
    at_end: bool,
}

impl Window {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Window {
        Window { input, buffer: vec![0; READ_BYTES], begin: 0, end: 0, base: 0, at_end: false }
    }

    /// Place in the stream of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.begin as u64
    }

    /// The next `count` bytes without using them up; `None` at a clean end of the stream, damage when
    /// it ends within them.
    #[inline]
    pub(super) fn peek(&mut self, count: usize) -> Result<Option<&[u8]>, Damage> {
        if self.end - self.begin < count {
            self.fill(count)?;
            match self.end - self.begin {
                0 => return Ok(None),
                have if have < count => {
                    return Err(Damage(format!(
                        "the file ends after {have} of the {count} bytes expected here"
                    )));
                }
                _ => {}
            }
        }
        Ok(Some(&self.buffer[self.begin..self.begin + count]))
    }

    /// The next `count` bytes, which must be there.
    pub(super) fn expect(&mut self, count: usize) -> Result<&[u8], Damage> {
        match self.peek(count)? {
            Some(bytes) => Ok(bytes),
            None => Err(Damage(format!("the file ends where {count} more bytes were expected"))),
        }
    }

    /// All bytes that can be had without reading on.
    #[inline]
    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Uses up bytes that were peeked at.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.begin = (self.begin + count).min(self.end);
    }

    /// Uses up bytes without looking at them, however many.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<(), Damage> {
        while count > 0 {
            let step = count.min(READ_BYTES as u64) as usize;
            self.expect(step)?;
            self.consume(step);
            count -= step as u64;
        }
        Ok(())
    }

    /// The error for damage found at the current place.
    pub(super) fn error(&self, path: &str, message: String) -> CaptureError {
        CaptureError::File { path: path.to_owned(), offset: self.offset(), message }
    }

    #[cold]
    fn fill(&mut self, count: usize) -> Result<(), Damage> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.base += self.begin as u64;
        self.end -= self.begin;
        self.begin = 0;
        if self.buffer.len() < count {
            self.buffer.resize(count, 0);
        }
        while self.end < count && !self.at_end {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.at_end = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Damage(format!("cannot be read further: {error}"))),
            }
        }
        Ok(())
    }
}
