//! What several binary protocols share when they are read: a cursor, UTF-16, hexadecimal digits, UUIDs.
//!
//! In: bytes of the wire. Out: numbers and texts; `None` where the bytes end. Nothing here panics and
//! nothing is held.

use std::borrow::Cow;

/// Reads fields one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Passes over bytes.
    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    /// The next bytes as an array.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn be16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn be32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn le16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn le32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn le64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// A number at a place of a message.
pub(super) fn le16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Cursor(bytes.get(at..)?).le16()
}

/// A number at a place of a message.
pub(super) fn le32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Cursor(bytes.get(at..)?).le32()
}

/// A number at a place of a message.
pub(super) fn le64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Cursor(bytes.get(at..)?).le64()
}

/// A number at a place of a message.
pub(super) fn be16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Cursor(bytes.get(at..)?).be16()
}

/// A number at a place of a message.
pub(super) fn be32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Cursor(bytes.get(at..)?).be32()
}

/// `length` bytes at a place of a message.
pub(super) fn bytes_at(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(length)?)
}

/// Most bytes of the wire read of one text: names and paths are shorter.
const TEXT_BYTES_MAX: usize = 2048;

/// The beginning of a text, no longer than texts are.
pub(super) fn cut(bytes: &[u8]) -> &[u8] {
    bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes)
}

/// Text in UTF-16, little-endian; what is not is replaced, NULs are left out, what is too long is cut off.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units = cut(bytes).chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units)
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .filter(|character| *character != '\0')
        .collect()
}

/// Text up to its first NUL, and what follows that.
pub(super) fn until_nul(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(0, bytes) {
        Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default()),
        None => (bytes, &[]),
    }
}

/// UTF-16 up to its first NUL, and what follows that.
pub(super) fn until_wide_nul(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.chunks_exact(2).position(|pair| pair == [0, 0]).map_or(bytes.len(), |at| at * 2);
    (bytes.get(..end).unwrap_or_default(), bytes.get(end + 2..).unwrap_or_default())
}

/// Text as EVE has it of bytes that may be anything: what is not UTF-8 is written with its bytes that are not
/// printable ASCII in hexadecimal.
pub(super) fn escaped(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for byte in bytes {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            byte => {
                text.push_str("\\x");
                text.push_str(&hex(&[*byte], ""));
            }
        }
    }
    Cow::Owned(text)
}

/// Hexadecimal digits in pairs, with something between them.
pub(super) fn hex(bytes: &[u8], between: &str) -> String {
    let mut text = String::with_capacity(bytes.len() * (2 + between.len()));
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 {
            text.push_str(between);
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// A UUID's text; of DCE's fields the first three are in the sender's byte order.
pub(super) fn uuid(bytes: &[u8; 16], is_little_endian: bool) -> String {
    let mut bytes = *bytes;
    if is_little_endian {
        for range in [0..4, 4..6, 6..8] {
            bytes[range].reverse();
        }
    }
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16];
    parts.map(|range| hex(&bytes[range], "")).join("-")
}

/// Seconds since the epoch of a Windows time, 100 ns since 1601; 0 before the epoch.
pub(super) fn windows_seconds(time: u64) -> u64 {
    (time / 10_000_000).saturating_sub(11_644_473_600)
}

/// Whether every byte may stand in printable text.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_up_to_their_ends() {
        assert_eq!(utf16(b"a\0\xe9\0\0\0\x00\xd8"), "aé\u{fffd}");
        assert_eq!(until_nul(b"ab\0c"), (&b"ab"[..], &b"c"[..]));
        assert_eq!(until_nul(b"ab"), (&b"ab"[..], &b""[..]));
        assert_eq!(until_wide_nul(b"a\0\0\0b\0"), (&b"a\0"[..], &b"b\0"[..]));
        assert_eq!(until_wide_nul(b"a\0b"), (&b"a\0b"[..], &b""[..]));
        assert_eq!(hex(&[0, 0xab], ":"), "00:ab");
        assert_eq!((escaped("é".as_bytes()), escaped(b"a\xa0")), ("é".into(), "a\\xa0".into()));
    }

    #[test]
    fn a_cursor_never_passes_the_end() {
        let mut cursor = Cursor(&[1, 2, 3]);
        assert_eq!(
            (cursor.be16(), cursor.le16(), cursor.u8(), cursor.u8()),
            (Some(0x0102), None, Some(3), None)
        );
        assert_eq!((bytes_at(b"abc", 2, usize::MAX), bytes_at(b"abc", 1, 2)), (None, Some(&b"bc"[..])));
    }

    #[test]
    fn a_uuid_is_written_by_its_byte_order() {
        let bytes =
            [0x83, 0xaf, 0xe1, 0x1f, 0x5d, 0xc9, 0x91, 0x11, 0xa4, 0x08, 0, 0x2b, 0x14, 0xa0, 0xfa, 3];
        assert_eq!(uuid(&bytes, true), "1fe1af83-c95d-1191-a408-002b14a0fa03");
        assert_eq!(uuid(&bytes, false), "83afe11f-5dc9-9111-a408-002b14a0fa03");
        assert_eq!(windows_seconds(116_444_736_000_000_000 + 10_000_000), 1);
    }
}
