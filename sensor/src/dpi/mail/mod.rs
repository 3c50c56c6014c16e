//! Mail as it is carried by SMTP, IMAP and POP3: the message format (RFC 5322) and MIME (RFC 2045 to 2049).
//!
//! In: the bytes of one message as they come, without the carrier's dots. Out: EVE's `email` object, one
//! `fileinfo` per attachment when the message ends, and the parts that signatures look into. Holds the headers that are told, the names of attachments
//! and links, and less than one line of the body; never the body.

mod decode;
mod header;
#[cfg(test)]
mod tests;

use super::buffers::{Buffer, NO_TRANSACTION, Stage as SideStage};
use super::digest::Hex;
use super::file::{self, FileBody};
use super::{Context, scan};
use decode::{Decoder, Encoding};
use header::{Header, encoded_words, parameter};
use md5::{Digest as _, Md5};
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of a line that are looked at together; a longer one is read in pieces of this size.
const LINE_BYTES_MAX: usize = 4096;
/// Longest line a message may have without its end (RFC 5322 section 2.1.1); a longer one is an anomaly.
const LINE_BYTES_ALLOWED: usize = 998;
/// Longest encoded line of a body (RFC 2045 section 6.7 and 6.8); a longer one is an anomaly.
const ENCODED_LINE_BYTES_ALLOWED: usize = 76;
/// Most bytes kept of a header, unfolded; the rest is cut off, which is an anomaly.
const HEADER_BYTES_MAX: usize = 4096;
/// Longest name of a header, and longest value, that are no anomaly, as in Suricata.
const NAME_BYTES_ALLOWED: usize = 75;
const VALUE_BYTES_ALLOWED: usize = 2000;
/// Longest delimiter of parts; parts with a longer one are not told apart, which is an anomaly.
const BOUNDARY_BYTES_MAX: usize = 254;
/// Most headers kept.
const HEADERS_MAX: usize = 64;
/// Deepest nesting of parts that is followed; what is deeper is passed over as text.
const NESTING_MAX: usize = 8;
/// Most attachments told by name, and most files whose hashes are kept until the message ends.
const ATTACHMENTS_MAX: usize = 64;
/// Longest name of an attachment; the rest is cut off, which is an anomaly.
const NAME_BYTES_MAX: usize = 255;
/// Most links told.
const LINKS_MAX: usize = 64;
/// Most bytes of a link.
const LINK_BYTES_MAX: usize = 1024;

/// The headers that signatures look into: the first of a name, but of `received` every one.
const PARTS: &[(Buffer, Header)] = &[
    (Buffer::EmailFrom, Header::From),
    (Buffer::EmailTo, Header::To),
    (Buffer::EmailCc, Header::Cc),
    (Buffer::EmailSubject, Header::Subject),
    (Buffer::EmailDate, Header::Date),
    (Buffer::EmailMessageId, Header::MessageId),
    (Buffer::EmailXMailer, Header::XMailer),
    (Buffer::EmailReceived, Header::Received),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Headers, of the message or of a part.
    Headers,
    /// The body of a part.
    Body,
    /// What stands around the parts and is nobody's.
    Between,
}

/// One message on its way.
#[derive(Debug)]
pub(super) struct Mail {
    direction: Direction,
    transaction: Option<u64>,
    stage: Stage,
    /// Beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The piece that is read next goes on in a line.
    is_in_line: bool,
    /// The header that is being unfolded.
    header: Vec<u8>,
    /// Where lines begin in it that continue it.
    folds: Vec<usize>,
    /// The same of headers that are kept: which, and where in its value.
    kept_folds: Vec<(usize, usize)>,
    /// The message's own headers are over.
    is_body: bool,
    /// Signatures were told its headers.
    is_head_told: bool,
    headers: Vec<(Header, Vec<u8>)>,
    /// Delimiters of the parts that are open, outermost first.
    boundaries: Vec<Vec<u8>>,
    part: Part,
    attachments: Vec<Vec<u8>>,
    links: Vec<Vec<u8>>,
    files: Vec<(Box<FileBody>, bool)>,
    is_done: bool,
    /// Names of what was told as anomaly already.
    told: Vec<&'static str>,
    anomalies: Vec<&'static str>,
    /// Of its body as it was sent, where signatures look at it.
    digest: Option<Box<Md5>>,
    is_digest_asked: bool,
    /// In hexadecimal, once it has ended.
    body_md5: Option<Hex<32>>,
}

/// The part that is being read.
#[derive(Debug, Default)]
struct Part {
    /// A container's delimiter, which opens with the body.
    boundary: Option<Vec<u8>>,
    is_message: bool,
    is_text: bool,
    filename: Option<Vec<u8>>,
    decoder: Decoder,
    file: Option<Box<FileBody>>,
}

impl Mail {
    /// A message begins.
    pub(super) fn begin(direction: Direction, transaction: Option<u64>) -> Box<Mail> {
        let part = Part { is_text: true, ..Part::default() };
        Box::new(Mail {
            direction,
            transaction,
            stage: Stage::Headers,
            line: Vec::new(),
            is_in_line: false,
            header: Vec::new(),
            folds: Vec::new(),
            kept_folds: Vec::new(),
            is_body: false,
            is_head_told: false,
            headers: Vec::new(),
            boundaries: Vec::new(),
            part,
            attachments: Vec::new(),
            links: Vec::new(),
            files: Vec::new(),
            is_done: false,
            told: Vec::new(),
            anomalies: Vec::new(),
            digest: None,
            is_digest_asked: false,
            body_md5: None,
        })
    }

    /// Its next bytes.
    pub(super) fn bytes(&mut self, mut bytes: &[u8], context: &mut Context<'_>) {
        let is_asked = std::mem::replace(&mut self.is_digest_asked, true);
        if !is_asked && (context.wants(Buffer::EmailBodyMd5) || context.eve.email_md5) {
            self.digest = Some(Box::default());
        }
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len()).max(1);
            let window = bytes.get(..room).unwrap_or(bytes);
            let end = memchr::memchr(b'\n', window).map(|end| end + 1);
            let Some((piece, rest)) = bytes.split_at_checked(end.unwrap_or(window.len())) else { break };
            bytes = rest;
            if end.is_none() && self.line.len() + piece.len() < LINE_BYTES_MAX {
                self.line.extend_from_slice(piece);
            } else if self.line.is_empty() {
                self.piece(piece, context);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(piece);
                self.piece(&line, context);
                line.clear();
                self.line = line;
            }
        }
        for event in self.anomalies.drain(..) {
            context.anomaly(event, self.transaction);
        }
    }

    /// A line of it begins with a dot that the carrier put there.
    pub(super) fn dot(&mut self) {
        if let Some(digest) = self.digest.as_mut().filter(|_| self.is_body) {
            digest.update(b".");
        }
    }

    /// So many of its bytes were not seen.
    pub(super) fn gap(&mut self, missing: u64) {
        self.line.clear();
        self.is_in_line = false;
        self.part.decoder.forget();
        if let Some(file) = &mut self.part.file {
            file.gap(missing);
        }
    }

    /// It has ended; `is_whole` says whether where it should.
    pub(super) fn end(&mut self, is_whole: bool, context: &mut Context<'_>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.piece(&line, context);
        }
        if !self.header.is_empty() {
            self.end_header();
        }
        self.end_part(is_whole);
        self.is_done = is_whole;
        for event in self.anomalies.drain(..) {
            context.anomaly(event, self.transaction);
        }
        let metadata = &mut *context.metadata;
        for (header, field) in [(Header::From, Field::MailFrom), (Header::To, Field::MailTo)] {
            if let Some(value) = self.header(header) {
                metadata.add(field, &encoded_words(value));
            }
        }
        for (header, field) in
            [(Header::Subject, Field::MailSubject), (Header::MessageId, Field::MailMessageId)]
        {
            if let Some(value) = self.header(header) {
                metadata.add(field, &encoded_words(value));
            }
        }
        for header in [Header::XMailer, Header::UserAgent] {
            if let Some(value) = self.header(header) {
                metadata.set_bytes(Field::ClientSoftware, value);
            }
        }
    }

    /// Tells signatures its headers, once.
    fn tell_head(&mut self, context: &mut Context<'_>) {
        let Some(wanted) = context.wanted else { return };
        if std::mem::replace(&mut self.is_head_told, true) {
            return;
        }
        let (direction, transaction) = (self.direction, self.transaction.unwrap_or(NO_TRANSACTION));
        if let Some(side) = context.side(direction, transaction) {
            for (buffer, header) in PARTS {
                let mut of_name = self.headers.iter().enumerate().filter(|(_, (have, _))| have == header);
                let count = if *header == Header::Received { usize::MAX } else { 1 };
                for (at, (_, value)) in of_name.by_ref().take(count).filter(|_| wanted.has(*buffer)) {
                    side.put(*buffer, b"");
                    let mut from = 0;
                    for (_, fold) in self.kept_folds.iter().filter(|(kept, _)| *kept == at) {
                        // The blank that makes a line continue another is not part of the value.
                        side.grow(*buffer, value.get(from..*fold).unwrap_or_default());
                        from = fold + 1;
                    }
                    side.grow(*buffer, value.get(from..).unwrap_or_default());
                }
            }
        }
        context.reached(direction, transaction, SideStage::Inner);
    }

    /// Tells signatures its parts and those of its files, once it has ended; true: of its files they are told all
    /// that they want, without [`Mail::tell_files`].
    pub(super) fn tell(&mut self, context: &mut Context<'_>) -> bool {
        self.tell_head(context);
        if let Some(digest) = self.digest.take() {
            self.body_md5 = Some(Hex::of(&digest.finalize()));
        }
        let Some(wanted) = context.wanted else { return true };
        let (direction, transaction) = (self.direction, self.transaction.unwrap_or(NO_TRANSACTION));
        if let Some(side) = context.side(direction, transaction) {
            for link in self.links.iter().filter(|_| wanted.has(Buffer::EmailUrl)) {
                side.put(Buffer::EmailUrl, link);
            }
            if let Some(digest) = self.body_md5.as_ref().filter(|_| wanted.has(Buffer::EmailBodyMd5)) {
                side.put(Buffer::EmailBodyMd5, digest.as_str().as_bytes());
            }
        }
        if file::is_whole_wanted(wanted) {
            return false;
        }
        for (file, _) in &mut self.files {
            file.tell(context);
        }
        true
    }

    /// Tells signatures that nothing more will come of it, for carriers that have no more to say of it themselves.
    pub(super) fn over(&mut self, context: &mut Context<'_>) {
        let transaction = self.transaction.unwrap_or(NO_TRANSACTION);
        context.reached(self.direction, transaction, SideStage::Body);
    }

    /// Tells of the files that it carried, each with `beside` as what carried it, without the `email` object.
    pub(super) fn tell_files(&mut self, beside: &[u8], context: &mut Context<'_>) {
        if self.files.is_empty() {
            return;
        }
        let mut members = beside.to_vec();
        if context.events.is_some() {
            if !members.is_empty() {
                members.push(b',');
            }
            members.extend_from_slice(b"\"email\":");
            self.write(&mut Object::begin(&mut members));
        }
        for (file, is_whole) in self.files.drain(..) {
            file.end(is_whole, &members, context);
        }
    }

    /// Writes the members of EVE's `email` object.
    pub(super) fn write(&self, object: &mut Object<'_>) {
        let status = match (self.is_done, self.stage) {
            (true, _) => "PARSE_DONE",
            (false, Stage::Headers) if !self.is_body => "HEADER_STARTED",
            (false, Stage::Headers) => "HEADER_READY",
            (false, _) => "BODY_STARTED",
        };
        object.text("status", status);
        for (header, key, shape) in header::TOLD {
            match shape {
                header::Told::Text => {
                    if let Some(value) = self.header(*header) {
                        object.bytes(key, value);
                    }
                }
                header::Told::Addresses => {
                    let value = self.header(*header).unwrap_or_default();
                    if header::addresses(value).next().is_some() {
                        object.texts(key, header::addresses(value));
                    }
                }
                header::Told::Every => {
                    let mut values = self
                        .headers
                        .iter()
                        .filter(|(have, _)| have == header)
                        .map(|(_, value)| value)
                        .peekable();
                    if values.peek().is_some() {
                        object.texts(key, values);
                    }
                }
            }
        }
        if let Some(digest) = &self.body_md5 {
            object.text("body_md5", digest.as_str());
            if let Some(subject) = self.header(Header::Subject) {
                object.text("subject_md5", Hex::<32>::of(&Md5::digest(subject)).as_str());
            }
        }
        if !self.attachments.is_empty() {
            object.texts("attachment", &self.attachments);
        }
        if !self.links.is_empty() {
            object.texts("url", &self.links);
        }
    }

    fn header(&self, header: Header) -> Option<&[u8]> {
        self.headers.iter().find(|(have, _)| *have == header).map(|(_, value)| &value[..])
    }

    fn anomaly(&mut self, event: &'static str) {
        if !self.told.contains(&event) {
            self.told.push(event);
            self.anomalies.push(event);
        }
    }

    /// A line with its end, or a piece of a long one.
    fn piece(&mut self, piece: &[u8], context: &mut Context<'_>) {
        let is_first = !self.is_in_line;
        self.is_in_line = !piece.ends_with(b"\n");
        if let Some(digest) = self.digest.as_mut().filter(|_| self.is_body) {
            digest.update(piece);
        }
        if piece.len() > LINE_BYTES_ALLOWED + 2 {
            self.anomaly("MIME_LONG_LINE");
        }
        let text = piece.strip_suffix(b"\n").unwrap_or(piece);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if is_first && text.starts_with(b"--") && self.delimiter(text) {
            return;
        }
        match self.stage {
            Stage::Headers if !is_first => self.unfold(text),
            Stage::Headers if text.is_empty() => self.begin_body(context),
            Stage::Headers if matches!(text.first(), Some(b' ' | b'\t')) => {
                self.folds.push(self.header.len());
                self.unfold(text);
            }
            Stage::Headers => {
                self.end_header();
                self.unfold(text);
            }
            Stage::Body => self.body(piece),
            Stage::Between => {}
        }
    }

    fn unfold(&mut self, text: &[u8]) {
        let room = HEADER_BYTES_MAX.saturating_sub(self.header.len());
        if text.len() > room {
            self.anomaly("MIME_LONG_HEADER_VALUE");
        }
        self.header.extend_from_slice(text.get(..room).unwrap_or(text));
    }

    /// A header has ended.
    fn end_header(&mut self) {
        let mut line = std::mem::take(&mut self.header);
        let mut folds = std::mem::take(&mut self.folds);
        if let Some(colon) = memchr::memchr(b':', &line)
            && let Some((name, value)) = line.split_at_checked(colon)
        {
            let value = value.get(1..).unwrap_or_default();
            let from = colon + 1 + value.len() - value.trim_ascii_start().len();
            let (value, kept) = (value.trim_ascii(), self.headers.len());
            if name.len() > NAME_BYTES_ALLOWED {
                self.anomaly("MIME_LONG_HEADER_NAME");
            }
            if value.len() > VALUE_BYTES_ALLOWED {
                self.anomaly("MIME_LONG_HEADER_VALUE");
            }
            self.take_header(name.trim_ascii(), value);
            if self.headers.len() > kept {
                let inside = folds.iter().filter_map(|fold| fold.checked_sub(from));
                self.kept_folds.extend(inside.filter(|fold| *fold < value.len()).map(|fold| (kept, fold)));
            }
        } else if !line.is_empty() {
            self.anomaly("MIME_MALFORMED_MSG");
        }
        line.clear();
        folds.clear();
        (self.header, self.folds) = (line, folds);
    }

    fn take_header(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"content-type") {
            let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            self.part.boundary = scan::starts_with_ignoring_case(kind, b"multipart/")
                .then(|| parameter(value, b"boundary"))
                .flatten()
                .filter(|boundary| !boundary.is_empty());
            if self.part.boundary.take_if(|boundary| boundary.len() > BOUNDARY_BYTES_MAX).is_some() {
                self.anomaly("MIME_LONG_BOUNDARY");
            }
            self.part.is_message = kind.eq_ignore_ascii_case(b"message/rfc822");
            self.part.is_text = scan::starts_with_ignoring_case(kind, b"text/");
            if self.part.filename.is_none() {
                self.part.filename = parameter(value, b"name");
            }
        } else if name.eq_ignore_ascii_case(b"content-disposition") {
            if let Some(filename) = parameter(value, b"filename") {
                self.part.filename = Some(filename);
            }
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            self.part.decoder = Decoder::new(Encoding::named(value));
        }
        if self.is_body || self.headers.len() >= HEADERS_MAX {
            return;
        }
        if let Some(header) = Header::named(name) {
            self.headers.push((header, value.to_vec()));
        }
    }

    /// The headers are over, of the message or of a part.
    fn begin_body(&mut self, context: &mut Context<'_>) {
        self.end_header();
        if !std::mem::replace(&mut self.is_body, true) {
            self.tell_head(context);
        }
        self.stage = Stage::Body;
        if let Some(boundary) = self.part.boundary.take() {
            if self.boundaries.len() < NESTING_MAX {
                self.boundaries.push(boundary);
                self.stage = Stage::Between;
            }
            return;
        }
        if let Some(filename) = self.part.filename.take() {
            let mut filename = encoded_words(&filename).into_owned().into_bytes();
            if filename.len() > NAME_BYTES_MAX {
                filename.truncate(NAME_BYTES_MAX);
                self.anomaly("MIME_LONG_FILENAME");
            }
            self.part.file = FileBody::begin(&filename, self.direction, self.transaction, context);
            if self.attachments.len() < ATTACHMENTS_MAX {
                self.attachments.push(filename);
            }
        } else if self.part.is_message && self.part.decoder.is_plain() {
            // A message in a message begins with its own headers.
            self.begin_part();
        }
    }

    fn begin_part(&mut self) {
        self.part = Part { is_text: true, ..Part::default() };
        self.stage = Stage::Headers;
    }

    fn end_part(&mut self, is_whole: bool) {
        let part = std::mem::take(&mut self.part);
        if let Some(file) = part.file
            && self.files.len() < ATTACHMENTS_MAX
        {
            self.files.push((file, is_whole));
        }
    }

    /// Whether a line delimits parts; then one ends, and another may begin.
    fn delimiter(&mut self, text: &[u8]) -> bool {
        let text = text.get(2..).unwrap_or_default().trim_ascii_end();
        let found = self.boundaries.iter().enumerate().rev().find_map(|(depth, boundary)| {
            let rest = text.strip_prefix(&boundary[..])?;
            matches!(rest, b"" | b"--").then_some((depth, rest.is_empty()))
        });
        let Some((depth, is_begin)) = found else { return false };
        if self.stage == Stage::Headers {
            self.end_header();
        }
        self.end_part(true);
        if is_begin {
            self.boundaries.truncate(depth + 1);
            self.begin_part();
        } else {
            self.boundaries.truncate(depth);
            self.stage = Stage::Between;
        }
        true
    }

    /// A piece of a part's body.
    fn body(&mut self, piece: &[u8]) {
        if !self.part.decoder.is_plain() && piece.trim_ascii_end().len() > ENCODED_LINE_BYTES_ALLOWED {
            self.anomaly("MIME_LONG_ENC_LINE");
        }
        let wants_links = self.part.is_text && self.links.len() < LINKS_MAX;
        if self.part.file.is_none() && !wants_links {
            return;
        }
        let Part { decoder, file, .. } = &mut self.part;
        let links = &mut self.links;
        let is_right = decoder.decode(piece, |bytes| {
            if let Some(file) = file {
                file.bytes(bytes);
            }
            if wants_links {
                find_links(bytes, links);
            }
        });
        if !is_right {
            let event = self.part.decoder.failure();
            self.anomaly(event);
        }
    }
}

/// Adds the links in a piece of text, without their schemes, as EVE tells them.
fn find_links(text: &[u8], links: &mut Vec<Vec<u8>>) {
    const MARK: &[u8] = b"://";
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| memchr::memmem::find(rest, MARK)) {
        let at = from + at;
        from = at + MARK.len();
        let before = text.get(..at).unwrap_or_default();
        let is_link = [&b"http"[..], b"https", b"ftp"].iter().any(|scheme| {
            before
                .len()
                .checked_sub(scheme.len())
                .and_then(|start| before.get(start..))
                .is_some_and(|tail| tail.eq_ignore_ascii_case(scheme))
        });
        if !is_link {
            continue;
        }
        let rest = text.get(from..).unwrap_or_default();
        let is_end = |byte: &u8| {
            byte.is_ascii_whitespace() || byte.is_ascii_control() || b"\"'<>()[]{}|\\^`".contains(byte)
        };
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        let link = rest.get(..end.min(LINK_BYTES_MAX)).unwrap_or_default();
        if !link.is_empty() && links.len() < LINKS_MAX && !links.iter().any(|have| have == link) {
            links.push(link.to_vec());
        }
    }
}
