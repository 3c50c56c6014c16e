//! A small writer of JSON objects into a byte buffer, for the event path.
//!
//! In: keys and values in the order they shall appear. Out: bytes appended to a caller's buffer, so
//! that nothing is allocated per event. Keys are string literals of ours and are not escaped;
//! values are. Reading JSON and everything off the event path is serde_json's.

use std::fmt::{self, Write as _};

/// Writes one JSON object; the object ends when the writer is dropped.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Begins an object at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, first: true }
    }

    fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A text value.
    pub fn text(&mut self, key: &'static str, value: &str) -> &mut Self {
        let out = self.key(key);
        out.push(b'"');
        escape(out, value);
        out.push(b'"');
        self
    }

    /// A text value under a key that is not a literal: made of letters, digits and underscores.
    pub fn text_at(&mut self, key: &str, value: &str) -> &mut Self {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        string(self.out, key.as_bytes());
        self.out.push(b':');
        string(self.out, value.as_bytes());
        self
    }

    /// A text value from bytes of the wire; what is not UTF-8 is replaced.
    pub fn bytes(&mut self, key: &'static str, value: &[u8]) -> &mut Self {
        string(self.key(key), value);
        self
    }

    /// A text value, when there is one.
    pub fn text_if(&mut self, key: &'static str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.text(key, value);
        }
        self
    }

    /// A text value from anything that displays.
    pub fn display(&mut self, key: &'static str, value: impl fmt::Display) -> &mut Self {
        display(self.key(key), value);
        self
    }

    /// A number.
    pub fn number(&mut self, key: &'static str, value: impl itoa::Integer) -> &mut Self {
        let out = self.key(key);
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self
    }

    /// A number with a fraction; one that JSON cannot say (NaN, infinity) is null.
    pub fn float(&mut self, key: &'static str, value: f64) -> &mut Self {
        let out = self.key(key);
        if value.is_finite() {
            let _ = write!(Bytes(out), "{value}");
        } else {
            out.extend_from_slice(b"null");
        }
        self
    }

    /// true or false.
    pub fn bool(&mut self, key: &'static str, value: bool) -> &mut Self {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// A nested object.
    pub fn object(&mut self, key: &'static str) -> Object<'_> {
        Object::begin(self.key(key))
    }

    /// A list of texts.
    pub fn texts<T: AsRef<[u8]>>(
        &mut self,
        key: &'static str,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        let mut list = self.list(key);
        for value in values {
            list.bytes(value.as_ref());
        }
        drop(list);
        self
    }

    /// A list, filled by the caller.
    pub fn list(&mut self, key: &'static str) -> List<'_> {
        List::begin(self.key(key))
    }

    /// A value that is JSON already.
    pub fn raw(&mut self, key: &'static str, json: &[u8]) -> &mut Self {
        self.key(key).extend_from_slice(json);
        self
    }

    /// Appends the members of another object's text, given without its braces.
    pub fn members(&mut self, members: &[u8]) -> &mut Self {
        if !members.is_empty() {
            if !std::mem::take(&mut self.first) {
                self.out.push(b',');
            }
            self.out.extend_from_slice(members);
        }
        self
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        self.out.push(b'}');
    }
}

/// Writes one JSON list; the list ends when the writer is dropped.
pub struct List<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> List<'a> {
    fn begin(out: &'a mut Vec<u8>) -> List<'a> {
        out.push(b'[');
        List { out, first: true }
    }

    fn next(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out
    }

    /// An object in the list.
    pub fn object(&mut self) -> Object<'_> {
        Object::begin(self.next())
    }

    /// A text in the list.
    pub fn bytes(&mut self, value: &[u8]) {
        string(self.next(), value);
    }

    /// A text in the list, from anything that displays.
    pub fn display(&mut self, value: impl fmt::Display) {
        display(self.next(), value);
    }

    /// A number in the list.
    pub fn number(&mut self, value: impl itoa::Integer) {
        let out = self.next();
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

impl Drop for List<'_> {
    fn drop(&mut self) {
        self.out.push(b']');
    }
}

struct Bytes<'a>(&'a mut Vec<u8>);

impl fmt::Write for Bytes<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn display(out: &mut Vec<u8>, value: impl fmt::Display) {
    out.push(b'"');
    let _ = write!(Escaped(out), "{value}");
    out.push(b'"');
}

/// Appends a JSON string; bytes that are not UTF-8 become U+FFFD.
pub fn string(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    if let Ok(text) = std::str::from_utf8(value) {
        escape(out, text);
        out.push(b'"');
        return;
    }
    for chunk in value.utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Whether a byte is escaped: what JSON forbids in strings, and DEL.
fn is_escaped(byte: u8) -> bool {
    matches!(byte, 0..=0x1f | b'"' | b'\\' | 0x7f)
}

/// Where the first byte is that is escaped. Eight bytes are looked at together, because most text has
/// none: of `x - n` the top bit of a byte tells that it was less than `n`, where it was not set before.
fn escaped_at(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word & TOPS;
    let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let (words, _) = bytes.as_chunks::<8>();
    let clean = words.iter().take_while(|word| {
        let word = u64::from_ne_bytes(**word);
        below(word, 0x20) | is(word, b'"') | is(word, b'\\') | is(word, 0x7f) == 0
    });
    let from = clean.count() * 8;
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter().position(|byte| is_escaped(*byte)).map(|at| from + at)
}

fn escape(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = escaped_at(rest) {
        let (clean, escaped) = rest.split_at(at);
        out.extend_from_slice(clean);
        let Some((byte, after)) = escaped.split_first() else { return };
        rest = after;
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(*byte)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_valid_json_with_the_same_values() {
        let mut out = Vec::new();
        {
            let mut object = Object::begin(&mut out);
            object.text("plain", "a\"b\\c\n\u{1}\u{7f}é").bytes("wire", b"\xff\x00ok").number("n", -5i64);
            object.float("x", 0.5).float("nan", f64::NAN).bool("yes", true).texts("l", ["a", "b"]);
            object.object("inner").number("one", 1u8);
            object.object("empty");
            let mut list = object.list("rows");
            list.object().number("r", 1u32);
            list.display(7);
            drop(list);
            object.members(br#""m":2"#).members(b"");
        }
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let want = serde_json::json!({
            "plain": "a\"b\\c\n\u{1}\u{7f}é", "wire": "\u{fffd}\u{0}ok", "n": -5, "x": 0.5, "nan": null,
            "yes": true, "l": ["a", "b"], "inner": {"one": 1}, "empty": {}, "rows": [{"r": 1}, "7"], "m": 2,
        });
        assert_eq!(value, want);
    }

    #[test]
    fn every_byte_is_escaped_wherever_it_stands() {
        for byte in 0..=0x7f {
            for at in 0..20 {
                let mut text = vec![b'~'; 20];
                text[at] = byte;
                let mut out = Vec::new();
                string(&mut out, &text);
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap().into_bytes(), text);
                assert_eq!(out.len() > 22, is_escaped(byte), "{byte:#x}");
            }
        }
    }
}
