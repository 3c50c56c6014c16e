//! The lines of a head, taken apart as libhtp does it.
//!
//! In: the lines as they were sent, line ends included. Out: names in the order in which they first came, with the
//! places of their values, which several lines may make up. Copies nothing.

use super::head::{is_named, line, response_line};
use std::ops::Range;

/// Most header lines of a head that are told, as in libhtp; further ones are left out.
const LINES_MAX: usize = 1024;
/// Most times that a line's name may come again in a head, all names together, as in libhtp; what comes then is left
/// out.
const REPEATS_MAX: usize = 64;

/// The header lines of a head: names in the order in which they first came.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) entries: Vec<Entry>,
    pieces: Vec<Piece>,
    repeats: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where the name is in the raw lines.
    pub(super) name: Range<usize>,
    /// FNV-1a of the name in small letters.
    hash: u32,
    /// First and last piece of the value.
    first: u32,
    last: u32,
}

/// A piece of a value, which several lines may make up.
#[derive(Clone, Debug)]
struct Piece {
    /// What stands between the piece before and this one.
    joint: &'static [u8],
    bytes: Range<usize>,
    next: Option<u32>,
}

impl Lines {
    /// Reads the lines of a head.
    pub(super) fn read(&mut self, raw: &[u8], is_response: bool) {
        self.entries.clear();
        self.pieces.clear();
        self.repeats = 0;
        let mut at = 0;
        while self.entries.len() < LINES_MAX {
            let Some((text, used)) = next_line(raw, at, is_response) else { break };
            if text.is_empty() {
                // The end of the head; lines after the last chunk may follow.
                at += used;
                continue;
            }
            at = self.entry(raw, at, text, used, is_response);
        }
    }

    /// Reads the line at a place and those that continue it; returns where they end.
    fn entry(&mut self, raw: &[u8], at: usize, text: &[u8], used: usize, is_response: bool) -> usize {
        let mut end = at + text.len();
        let mut next = at + used;
        let mut colon = memchr::memchr(b':', text);
        // A line without a colon may be a name that the next line goes on with.
        if colon.is_none()
            && let Some((more, used)) = next_line(raw, next, is_response).filter(|(more, _)| is_space(more))
            && let Some(behind) = memchr::memchr(b':', more)
        {
            colon = Some(next + behind - at);
            (end, next) = (next + more.len(), next + used);
        }
        let (name, value) = match colon {
            Some(colon) => (trim(raw, at..at + colon), at + colon + 1..end),
            None => (at..at, at..end),
        };
        let first = self.pieces.len() as u32;
        self.piece(raw, b"", value);
        while let Some((text, used)) = next_line(raw, next, is_response) {
            let Some((joint, more)) = text.split_first().filter(|_| is_space(text)) else { break };
            let joint: &[u8] = if *joint == b'\t' { b"\t" } else { b" " };
            if is_response && is_named(more) {
                // Clients take it for a line of its own.
                next += 1;
                break;
            }
            self.piece(raw, joint, next + 1..next + text.len());
            next += used;
        }
        self.trim_last(raw, first);
        let last = (self.pieces.len() as u32).saturating_sub(1);
        self.add(raw, name, first, last);
        next
    }

    fn piece(&mut self, raw: &[u8], joint: &'static [u8], bytes: Range<usize>) {
        let is_first = joint.is_empty();
        let before = self.pieces.last_mut().filter(|_| !is_first);
        match before {
            // Nothing stands before it: it is the value's beginning.
            Some(before) if before.joint.is_empty() && before.bytes.is_empty() => {
                before.bytes = trim_start(raw, bytes);
            }
            Some(_) => {
                self.link();
                self.pieces.push(Piece { joint, bytes, next: None });
            }
            None => self.pieces.push(Piece { joint, bytes: trim_start(raw, bytes), next: None }),
        }
    }

    /// The last piece is followed by the one that is pushed next.
    fn link(&mut self) {
        let next = self.pieces.len() as u32;
        if let Some(last) = self.pieces.last_mut() {
            last.next = Some(next);
        }
    }

    /// Takes spaces off a value's end.
    fn trim_last(&mut self, raw: &[u8], first: u32) {
        loop {
            let is_only = self.pieces.len() as u32 <= first + 1;
            let Some(last) = self.pieces.last_mut() else { return };
            last.bytes = trim_end(raw, last.bytes.clone());
            if !last.bytes.is_empty() || is_only {
                last.next = None;
                return;
            }
            self.pieces.pop();
        }
    }

    /// Adds a value to its name.
    fn add(&mut self, raw: &[u8], name: Range<usize>, first: u32, last: u32) {
        let text = raw.get(name.clone()).unwrap_or_default();
        let hash = text.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
        });
        let same = self.entries.iter().position(|entry| {
            let have = raw.get(entry.name.clone()).unwrap_or_default();
            entry.hash == hash && have.eq_ignore_ascii_case(text)
        });
        let Some(same) = same else {
            self.entries.push(Entry { name, hash, first, last });
            return;
        };
        self.repeats += 1;
        // Of lengths the first counts.
        if self.repeats > REPEATS_MAX || text.eq_ignore_ascii_case(b"content-length") {
            return;
        }
        if let Some(entry) = self.entries.get_mut(same) {
            let before = std::mem::replace(&mut entry.last, last);
            if let Some(piece) = self.pieces.get_mut(before as usize) {
                piece.next = Some(first);
            }
            if let Some(piece) = self.pieces.get_mut(first as usize) {
                piece.joint = b", ";
            }
        }
    }

    pub(super) fn find(&self, raw: &[u8], name: &[u8]) -> Option<&Entry> {
        let is_it =
            |entry: &&Entry| raw.get(entry.name.clone()).is_some_and(|have| have.eq_ignore_ascii_case(name));
        self.entries.iter().find(is_it)
    }

    /// The bytes of a value, in pieces.
    pub(super) fn value<'l>(
        &'l self,
        raw: &'l [u8],
        entry: &Entry,
    ) -> impl Iterator<Item = &'l [u8]> + use<'l> {
        let mut next = Some(entry.first);
        let pieces = std::iter::from_fn(move || {
            let piece = self.pieces.get(next? as usize)?;
            next = piece.next;
            Some([piece.joint, raw.get(piece.bytes.clone()).unwrap_or_default()])
        });
        pieces.flatten()
    }
}

fn next_line(raw: &[u8], at: usize, is_response: bool) -> Option<(&[u8], usize)> {
    let rest = raw.get(at..).filter(|rest| !rest.is_empty())?;
    let found = if is_response { response_line(rest) } else { line(rest) };
    found.or(Some((rest, rest.len())))
}

fn is_space(text: &[u8]) -> bool {
    matches!(text, [b' ' | b'\t' | 0, ..])
}

pub(super) fn trim(raw: &[u8], range: Range<usize>) -> Range<usize> {
    trim_end(raw, trim_start(raw, range))
}

fn trim_start(raw: &[u8], range: Range<usize>) -> Range<usize> {
    let text = raw.get(range.clone()).unwrap_or_default();
    let from = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    range.start + from..range.end
}

fn trim_end(raw: &[u8], range: Range<usize>) -> Range<usize> {
    let text = raw.get(range.clone()).unwrap_or_default();
    let to = text.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |at| at + 1);
    range.start..range.start + to
}

/// C's `isspace`.
pub(super) fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// A request line as libhtp takes it apart.
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) protocol: &'a [u8],
}

impl<'a> RequestLine<'a> {
    pub(super) fn new(line: &'a [u8]) -> RequestLine<'a> {
        let (method, rest) = word(line);
        let rest = trim_blank(rest);
        // Targets may hold spaces: what is behind the last one is the protocol, whatever it looks like.
        let space = memchr::memrchr(b' ', rest).or_else(|| rest.iter().rposition(|byte| is_blank(*byte)));
        let (target, protocol) = rest.split_at(space.unwrap_or(rest.len()));
        RequestLine { method, target: trim_blank(target), protocol: trim_blank(protocol) }
    }
}

/// A response line as libhtp takes it apart.
pub(super) struct ResponseLine<'a> {
    pub(super) protocol: &'a [u8],
    pub(super) status: Option<&'a [u8]>,
    pub(super) message: Option<&'a [u8]>,
}

impl<'a> ResponseLine<'a> {
    pub(super) fn new(line: &'a [u8]) -> ResponseLine<'a> {
        let from = line.iter().position(|byte| !is_blank(*byte) && *byte != 0).unwrap_or(line.len());
        let (protocol, rest) = word(line.get(from..).unwrap_or_default());
        let (status, rest) = word(rest);
        let message = rest.iter().position(|byte| !is_blank(*byte)).unwrap_or(rest.len());
        let message = rest.get(message..).filter(|_| !status.is_empty() && !rest.is_empty());
        ResponseLine { protocol, status: (!status.is_empty()).then_some(status), message }
    }
}

/// The first word, and what is behind it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let from = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    let text = text.get(from..).unwrap_or_default();
    text.split_at(text.iter().position(|byte| is_blank(*byte)).unwrap_or(text.len()))
}

fn trim_blank(text: &[u8]) -> &[u8] {
    text.get(trim(text, 0..text.len())).unwrap_or_default()
}
