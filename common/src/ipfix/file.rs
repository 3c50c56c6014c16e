//! IPFIX files (RFC 5655): messages one after the other.
//!
//! In: any byte stream. Out: whole messages and where each begins. A file that is cut off gives every
//! whole message and then says where and by how much it is cut.

use super::decode::message_length;
use super::error::{DecodeError, FileError};
use super::{MESSAGE_BYTES_MAX, MESSAGE_HEADER_BYTES};
use std::io::{self, Read};

/// Reads messages from a byte stream; holds one message.
pub struct MessageReader<R> {
    input: R,
    buffer: Vec<u8>,
    offset: u64,
    failed: bool,
}

impl<R: Read> MessageReader<R> {
    /// A reader from the beginning of a file; give it a buffered input.
    pub fn new(input: R) -> MessageReader<R> {
        MessageReader { input, buffer: vec![0; MESSAGE_BYTES_MAX], offset: 0, failed: false }
    }

    /// Octets of whole messages read so far: where the next message begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next message; `None` at the end of the file and after an error.
    pub fn next_message(&mut self) -> Option<Result<&[u8], FileError>> {
        if self.failed {
            return None;
        }
        match self.read() {
            Ok(0) => None,
            Ok(length) => {
                self.offset += length as u64;
                self.buffer.get(..length).map(Ok)
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }

    /// Reads one message into the buffer and gives its length; 0 at a clean end.
    fn read(&mut self) -> Result<usize, FileError> {
        let offset = self.offset;
        let header = self.fill(0, MESSAGE_HEADER_BYTES)?;
        if header == 0 {
            return Ok(0);
        }
        let bytes = self.buffer.get(..header).unwrap_or_default();
        let length = message_length(bytes).map_err(|source| FileError::Message { offset, source })?;
        let available = if header < MESSAGE_HEADER_BYTES { header } else { self.fill(header, length)? };
        if available < length {
            let source = DecodeError::Truncated { what: "message", offset: 0, needed: length, available };
            return Err(FileError::Message { offset, source });
        }
        Ok(length)
    }

    /// Reads until the buffer holds `to` octets or the input ends; gives how many it holds.
    fn fill(&mut self, from: usize, to: usize) -> Result<usize, FileError> {
        let mut have = from;
        while have < to {
            let Some(room) = self.buffer.get_mut(have..to) else { break };
            match self.input.read(room) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(FileError::Read { offset: self.offset + have as u64, source });
                }
            }
        }
        Ok(have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: [u8; 20] = [0, 10, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9, 9, 9, 9];

    fn read(bytes: &[u8]) -> (usize, Option<String>) {
        let mut reader = MessageReader::new(bytes);
        let mut messages = 0;
        loop {
            match reader.next_message() {
                None => return (messages, None),
                Some(Ok(message)) => {
                    assert_eq!(message, MESSAGE);
                    messages += 1;
                }
                Some(Err(error)) => {
                    assert!(reader.next_message().is_none());
                    return (messages, Some(error.to_string()));
                }
            }
        }
    }

    #[test]
    fn whole_messages_are_given_one_by_one() {
        assert_eq!(read(&[]), (0, None));
        assert_eq!(read(&[MESSAGE, MESSAGE, MESSAGE].concat()), (3, None));
    }

    #[test]
    fn a_file_cut_anywhere_gives_what_is_whole_and_says_where_it_is_cut() {
        let file = [MESSAGE, MESSAGE].concat();
        for length in 0..file.len() {
            let (messages, error) = read(&file[..length]);
            assert_eq!(messages, length / 20);
            assert_eq!(error.is_some(), length % 20 != 0, "{length}");
        }
        let (_, error) = read(&file[..30]);
        let want = "message at byte 20 of the file: message at byte 0 needs 20 bytes, 10 are there";
        assert_eq!(error.as_deref(), Some(want));
    }

    #[test]
    fn what_is_not_ipfix_is_named_with_its_place() {
        let (messages, error) = read(&[&MESSAGE[..], b"GET / HTTP/1.1\r\n\r\n"].concat());
        assert_eq!(messages, 1);
        assert_eq!(
            error.as_deref(),
            Some("message at byte 20 of the file: version 18245 at byte 0, expected 10")
        );
        let (_, error) = read(&[0, 10, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let want = "message at byte 0 of the file: message length 15 at byte 0, expected 16 to 65535";
        assert_eq!(error.as_deref(), Some(want));
    }
}
