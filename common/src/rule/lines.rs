//! The lines of a rule file, with continued lines put together and the place of every byte.
//!
//! In: a file's bytes. Out: [`Line`]s that hold a rule or a comment. A line that ends with a backslash goes
//! on in the next one, as Suricata has it.

use super::Place;
use std::borrow::Cow;

/// Most bytes of a rule, continued lines included; a longer one is reported and passed over.
pub const RULE_BYTES_MAX: usize = 64 << 10;

/// A line, or several that continue each other.
pub struct Line<'a> {
    /// Its bytes, without line ends.
    pub bytes: Cow<'a, [u8]>,
    /// Number of its first physical line, from 1.
    first: u32,
    /// Where in `bytes` each further physical line begins.
    breaks: Vec<usize>,
    /// It was longer than [`RULE_BYTES_MAX`]; `bytes` is its beginning.
    pub is_too_long: bool,
}

impl Line<'_> {
    /// The place of a byte; columns count bytes from 1.
    pub fn place(&self, at: usize) -> Place {
        let passed = self.breaks.partition_point(|begin| *begin <= at);
        let begin = passed.checked_sub(1).and_then(|index| self.breaks.get(index)).copied().unwrap_or(0);
        Place {
            line: self.first.saturating_add(passed as u32),
            column: u32::try_from(at - begin).unwrap_or(u32::MAX).saturating_add(1),
        }
    }
}

/// Goes through a file's lines.
pub struct Lines<'a> {
    rest: &'a [u8],
    number: u32,
}

impl<'a> Lines<'a> {
    /// Those of a text.
    pub fn of(text: &'a [u8]) -> Lines<'a> {
        // A byte order mark is no part of the first rule.
        Lines { rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), number: 0 }
    }

    /// The next physical line without its end.
    fn physical(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.number = self.number.saturating_add(1);
        let (line, rest) = match self.rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (self.rest.get(..end)?, self.rest.get(end + 1..)?),
            None => (self.rest, &b""[..]),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let begin = self.physical()?;
        let mut line =
            Line { bytes: Cow::Borrowed(begin), first: self.number, breaks: Vec::new(), is_too_long: false };
        let is_comment = begin.trim_ascii_start().starts_with(b"#");
        let mut continued = begin.strip_suffix(b"\\").filter(|_| !is_comment);
        if let Some(part) = continued {
            line.bytes = Cow::Owned(part.to_vec());
        }
        while continued.is_some()
            && let Some(next) = self.physical()
        {
            continued = next.strip_suffix(b"\\");
            // What is too long is passed over without being kept.
            if line.bytes.len() <= RULE_BYTES_MAX && line.breaks.len() < RULE_BYTES_MAX {
                line.breaks.push(line.bytes.len());
                line.bytes.to_mut().extend_from_slice(continued.unwrap_or(next));
            } else {
                line.is_too_long = true;
            }
        }
        line.is_too_long |= line.bytes.len() > RULE_BYTES_MAX;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines_are_one_and_every_byte_keeps_its_place() {
        let text = b"one\r\ntwo \\\n  more\\\r\nend\n# no\\\nlast\\";
        let lines: Vec<_> = Lines::of(text).collect();
        let bytes: Vec<&[u8]> = lines.iter().map(|line| &*line.bytes).collect();
        assert_eq!(bytes, [&b"one"[..], b"two   moreend", b"# no\\", b"last"]);
        let place = |line: usize, at: usize| (lines[line].place(at).line, lines[line].place(at).column);
        assert_eq!((place(0, 0), place(1, 0), place(1, 3)), ((1, 1), (2, 1), (2, 4)));
        assert_eq!((place(1, 4), place(1, 6), place(1, 10)), ((3, 1), (3, 3), (4, 1)));
        assert_eq!((place(2, 0), place(3, 2)), ((5, 1), (6, 3)));
    }

    #[test]
    fn a_rule_without_end_is_cut_and_said() {
        let short = vec![b'a'; RULE_BYTES_MAX];
        assert!(!Lines::of(&short).next().unwrap().is_too_long);
        for part in ["a\\\n", "\\\n"] {
            let continued = part.repeat(200_000);
            let mut lines = Lines::of(continued.as_bytes());
            let line = lines.next().unwrap();
            assert!(line.is_too_long && line.bytes.len() < RULE_BYTES_MAX + 10);
            assert!(lines.next().is_none());
        }
        let long = vec![b'a'; RULE_BYTES_MAX + 1];
        assert!(Lines::of(&long).next().unwrap().is_too_long);
    }
}
