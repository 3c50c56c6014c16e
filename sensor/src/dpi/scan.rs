//! Small readers for protocols: numbers and strings out of bytes, lines out of text.
//!
//! In: borrowed bytes. Out: what stands at their front, or nothing where they end too early. Never panics and
//! holds nothing.

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan<'a>(&'a [u8]);

macro_rules! number {
    ($name:ident $kind:ident $from:ident) => {
        /// The next number.
        pub(super) fn $name(&mut self) -> Option<$kind> {
            let (head, rest) = self.0.split_first_chunk()?;
            self.0 = rest;
            Some($kind::$from(*head))
        }
    };
}

impl<'a> Scan<'a> {
    /// From the first byte on.
    pub(super) fn new(bytes: &'a [u8]) -> Scan<'a> {
        Scan(bytes)
    }

    number!(u8 u8 from_be_bytes);
    number!(be16 u16 from_be_bytes);
    number!(be32 u32 from_be_bytes);
    number!(be64 u64 from_be_bytes);
    number!(le16 u16 from_le_bytes);
    number!(le32 u32 from_le_bytes);

    /// The next so many bytes.
    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(head)
    }

    /// The bytes before the next zero, which is passed over.
    pub(super) fn zero_ended(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How much is left.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The first line without its end, and how many bytes it takes with its end. None: the end is not there yet.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let text = bytes.get(..end)?;
    Some((text.strip_suffix(b"\r").unwrap_or(text), end + 1))
}

/// The first line as `line` has it, or as much of a longer one as is waited for, and whether its end is missing so.
/// None: the end is not there yet, and fewer than `bytes_max` are.
pub(super) fn line_within(bytes: &[u8], bytes_max: usize) -> Option<(&[u8], usize, bool)> {
    let within = bytes.get(..bytes_max).unwrap_or(bytes);
    match line(within) {
        Some((text, used)) => Some((text, used, false)),
        None if within.len() < bytes_max => None,
        None => Some((within, within.len(), true)),
    }
}

/// The first word and what stands behind the blanks after it.
pub(super) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (word, rest.trim_ascii_start())
}

/// Whether text begins with something, in whatever case.
pub(super) fn starts_with_ignoring_case(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Whether something in lower case stands anywhere in text, in whatever case.
pub(super) fn contains_ignoring_case(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len().max(1)).any(|window| window.eq_ignore_ascii_case(what))
}

/// The decimal number that text is.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Whether bytes can be a line of text: printable ASCII, blanks and tabs, or anything above ASCII.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

/// The bytes of a text in Base64, as far as it is one (RFC 4648 section 4).
pub(super) fn base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text {
        let Some(value) = base64_value(*byte) else { continue };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

/// What a character of Base64 stands for.
pub(super) const fn base64_value(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// Bytes as EVE tells bytes that need not be text: as they are where they are UTF-8, else with everything
/// above ASCII as `\xhh`.
pub(super) fn escaped(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len() * 2);
            for byte in bytes {
                if byte.is_ascii() {
                    text.push(char::from(*byte));
                } else {
                    text.push_str("\\x");
                    text.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
                    text.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
                }
            }
            text.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_come_from_the_front_or_not_at_all() {
        let mut scan = Scan::new(b"\x01\x00\x02\x03\x00ab\x00c");
        assert_eq!((scan.u8(), scan.be16(), scan.le16()), (Some(1), Some(2), Some(3)));
        assert_eq!((scan.zero_ended(), scan.zero_ended(), scan.be32()), (Some(&b"ab"[..]), None, None));
        assert_eq!((scan.take(2), scan.take(1), scan.is_empty()), (None, Some(&b"c"[..]), true));
    }

    #[test]
    fn lines_words_and_numbers_are_told_apart() {
        assert_eq!(line(b"ab\r\nc"), Some((&b"ab"[..], 4)));
        assert_eq!((line(b"ab\r"), word(b" a  b c")), (None, (&b"a"[..], &b"b c"[..])));
        assert_eq!(
            (decimal(b"120"), decimal(b""), decimal(b"1a"), decimal(&[b'9'; 20])),
            (Some(120), None, None, None)
        );
        assert!(contains_ignoring_case(b"x ESMTP y", b"smtp") && !contains_ignoring_case(b"smt", b"smtp"));
        assert_eq!(base64(b"aGVsbG8="), b"hello");
        assert_eq!(escaped(b"Z\xdcf"), "Z\\xdcf");
    }
}
