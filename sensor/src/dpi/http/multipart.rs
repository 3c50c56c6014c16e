//! Files in a form: multipart/form-data (RFC 7578, RFC 2046 section 5.1).
//!
//! In: the body of a request, in pieces. Out: one file per part that has a file's name. Holds the head of one
//! part, and as much of its content as may be the beginning of a boundary. Deliberately absent: fields
//! of forms, which are not files, and parts inside of parts.

use crate::dpi::{Context, FileBody};
use weir_common::net::Direction;

/// Longest boundary (RFC 2046 section 5.1.1), with the dashes before it and the line end before those.
const DELIMITER_BYTES_MAX: usize = 70 + 4;
/// Most bytes held of a part's head; a longer one ends the reading.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// A form on its way.
#[derive(Debug)]
pub(super) struct Multipart {
    /// `\r\n--` and the boundary.
    delimiter: Vec<u8>,
    held: Vec<u8>,
    /// Of the held bytes, how many first ones are no content.
    skip: usize,
    place: Place,
    file: Option<Box<FileBody>>,
    direction: Direction,
    transaction: u64,
    /// Signatures were told all that they want.
    is_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first boundary, or in the content of a part.
    Content,
    /// In the lines behind a boundary.
    Head,
    /// Behind the last boundary, or where nothing can be told any more.
    Over,
}

impl Multipart {
    /// For a Content-Type that says multipart/form-data with a boundary.
    pub(super) fn new(content_type: &[u8], direction: Direction, transaction: u64) -> Option<Multipart> {
        let is_form = content_type
            .get(..b"multipart/form-data".len())
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/form-data"));
        let boundary = is_form.then(|| parameter(content_type, b"boundary"))??;
        let mut delimiter = b"\r\n--".to_vec();
        delimiter.extend_from_slice(&boundary);
        let is_sound = !boundary.is_empty() && delimiter.len() <= DELIMITER_BYTES_MAX;
        // The first boundary has no line before it.
        is_sound.then(|| Multipart {
            delimiter,
            held: b"\r\n".to_vec(),
            skip: 2,
            place: Place::Content,
            file: None,
            direction,
            transaction,
            is_told: false,
        })
    }

    /// Tells signatures the file being read as far as it came; of later ones they are not told.
    pub(super) fn tell(&mut self, context: &mut Context<'_>) {
        self.is_told = true;
        if let Some(file) = &mut self.file {
            file.tell(context);
        }
    }

    /// Whether more of it is wanted.
    pub(super) fn wants_more(&self) -> bool {
        self.place != Place::Over
    }

    /// Its next bytes. `beside` is what carries its files.
    pub(super) fn bytes(&mut self, bytes: &[u8], beside: &[u8], context: &mut Context<'_>) {
        if self.place == Place::Over {
            return;
        }
        self.held.extend_from_slice(bytes);
        loop {
            match self.place {
                Place::Content => {
                    let Some(at) = memchr::memmem::find(&self.held, &self.delimiter) else {
                        // All but what may be the beginning of a boundary is content.
                        let sure = self.held.len().saturating_sub(self.delimiter.len() - 1);
                        self.content(sure);
                        return;
                    };
                    self.content(at);
                    if let Some(file) = self.file.take() {
                        file.end(true, beside, context);
                    }
                    self.held.drain(..self.delimiter.len().min(self.held.len()));
                    self.place = Place::Head;
                }
                Place::Head => {
                    if self.held.starts_with(b"--") {
                        self.place = Place::Over;
                        self.held = Vec::new();
                        return;
                    }
                    let Some(end) = head_end(&self.held) else {
                        if self.held.len() > HEAD_BYTES_MAX {
                            context.anomaly("MULTIPART_INVALID_HEADER", Some(self.transaction));
                            self.place = Place::Over;
                        }
                        return;
                    };
                    let head: Vec<u8> = self.held.drain(..end).collect();
                    // The line end of the head may be that of the next boundary; it is no content.
                    if head.ends_with(b"\r\n") {
                        self.held.splice(..0, *b"\r\n");
                        self.skip = 2;
                    }
                    self.begin(&head, context);
                    self.place = Place::Content;
                }
                Place::Over => return,
            }
        }
    }

    /// So many bytes are missing: the file has a hole, and a boundary may be in it.
    pub(super) fn gap(&mut self, missing: u64) {
        if self.place != Place::Content || self.file.is_none() {
            self.place = Place::Over;
            return;
        }
        self.content(self.held.len());
        if let Some(file) = &mut self.file {
            file.gap(missing);
        }
    }

    /// The body has ended.
    pub(super) fn end(mut self, beside: &[u8], context: &mut Context<'_>) {
        self.content(self.held.len());
        if let Some(file) = self.file.take() {
            file.end(false, beside, context);
        }
    }

    /// Hands on the first held bytes.
    fn content(&mut self, bytes: usize) {
        let bytes = bytes.min(self.held.len());
        let skip = self.skip.min(bytes);
        self.skip -= skip;
        if let (Some(file), Some(content)) = (&mut self.file, self.held.get(skip..bytes)) {
            file.bytes(content);
        }
        self.held.drain(..bytes);
    }

    /// The head of a part is complete: a file begins where it has a name.
    fn begin(&mut self, head: &[u8], context: &mut Context<'_>) {
        let line = head.split(|byte| *byte == b'\n').find_map(|line| {
            let name = b"content-disposition:";
            let is_it = line.get(..name.len())?.eq_ignore_ascii_case(name);
            is_it.then(|| line.get(name.len()..)).flatten()
        });
        self.file = line
            .and_then(file_name)
            .filter(|name| !name.is_empty())
            .and_then(|name| FileBody::begin(&name, self.direction, Some(self.transaction), context));
        if let Some(file) = self.file.as_mut().filter(|_| self.is_told) {
            file.tell_nothing();
        }
    }
}

/// Where the head of a part ends, behind its empty line.
fn head_end(held: &[u8]) -> Option<usize> {
    let crlf = memchr::memmem::find(held, b"\r\n\r\n").map(|at| at + 4);
    let lf = memchr::memmem::find(held, b"\n\n").map(|at| at + 2);
    match (crlf, lf) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The name of the file in a Content-Disposition (RFC 6266, RFC 7578 section 4.2).
pub(super) fn file_name(disposition: &[u8]) -> Option<Vec<u8>> {
    if let Some(extended) = parameter(disposition, b"filename*") {
        // RFC 8187: charset'language'percent-encoded.
        let encoded = extended.splitn(3, |byte| *byte == b'\'').nth(2).unwrap_or(&extended);
        return Some(percent_decoded(encoded));
    }
    parameter(disposition, b"filename")
}

/// A parameter of a header value: `; name=value` or `; name="value"`.
fn parameter(value: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value;
    while let Some(at) = memchr::memchr(b';', rest) {
        rest = rest.get(at + 1..)?.trim_ascii_start();
        let is_it = rest.get(..name.len()).is_some_and(|have| have.eq_ignore_ascii_case(name));
        let after = rest.get(name.len()..).unwrap_or_default().trim_ascii_start();
        let Some(text) = after.strip_prefix(b"=").filter(|_| is_it) else { continue };
        let text = text.trim_ascii_start();
        let Some(quoted) = text.strip_prefix(b"\"") else {
            let end = text.iter().position(|byte| matches!(byte, b';' | b'\r' | b'\n'));
            return Some(text.get(..end.unwrap_or(text.len()))?.trim_ascii().to_vec());
        };
        let mut out = Vec::new();
        let mut bytes = quoted.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => break,
                // Paths of Windows stand here as they are; only quotes are meant to be escaped.
                b'\\' if bytes.as_slice().first() == Some(&b'"') => {
                    bytes.next();
                    out.push(b'"');
                }
                byte => out.push(*byte),
            }
        }
        return Some(out);
    }
    None
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if let (b'%', [high, low, behind @ ..]) = (byte, after)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high << 4 | low);
            rest = behind;
            continue;
        }
        out.push(*byte);
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_their_parameters() {
        let name =
            |text: &str| file_name(text.as_bytes()).map(|name| String::from_utf8_lossy(&name).into_owned());
        assert_eq!(name("attachment; filename=a.txt"), Some("a.txt".into()));
        assert_eq!(
            name("form-data; name=\"f\"; FileName = \"C:\\x\\\"y\\\".doc\""),
            Some("C:\\x\"y\".doc".into())
        );
        assert_eq!(name("attachment; filename=x; filename*=UTF-8''%e2%82%ac%2"), Some("\u{20ac}%2".into()));
        assert_eq!(name("attachment; filename=a b.txt ;x=y"), Some("a b.txt".into()));
        assert_eq!((name("inline"), name("inline; xfilename=a"), name("")), (None, None, None));
    }
}
