//! The head of an HTTP message: its first line and the header lines that Weir keeps.
//!
//! In: lines without their ends. Out: the parts by name, and what they say about the body. Text is kept
//! in one buffer per head, which is reused; what exceeds its limits is cut off.

use super::probe;

/// Most bytes kept of one part; the rest is cut off.
const VALUE_BYTES_MAX: usize = 8 << 10;
/// Most bytes kept of one head; parts beyond are left out.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Most bytes kept of a line that has no colon.
const NAME_BYTES_MAX: usize = 256;
/// Most names of header lines remembered, to notice those that come again.
const NAMES_MAX: usize = 64;
/// Largest body or chunk that is believed, in bytes; a larger size is an error in its line.
const BODY_BYTES_MAX: u64 = 1 << 62;

/// What is kept of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Method,
    Target,
    Protocol,
    /// What stands where the status belongs and is none.
    StatusText,
    Host,
    UserAgent,
    Referer,
    ForwardedFor,
    ContentLength,
    TransferEncoding,
    ContentType,
    ContentRange,
    Location,
    Server,
    ContentEncoding,
    ContentDisposition,
    Upgrade,
    Http2Settings,
}

const PARTS: usize = Part::Http2Settings as usize + 1;

/// Most header lines that are told of a head, and most bytes of a name and of a value, the latter two as in Suricata;
/// the rest is left out.
const LINES_TOLD_MAX: usize = 256;
const NAME_BYTES_TOLD_MAX: usize = 255;
const VALUE_BYTES_TOLD_MAX: usize = 2047;

/// A header line: its name and its value.
type Line = (Vec<u8>, Vec<u8>);

/// A request's or response's head, as far as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    text: Vec<u8>,
    /// Begin and end of each part in `text`.
    parts: [Option<(u16, u16)>; PARTS],
    /// The part that a folded line continues; it ends where `text` does.
    folds: Option<Part>,
    is_response: bool,
    has_two_lengths: bool,
    /// Hashes of the names of header lines so far, and of those that came again.
    names: Vec<u32>,
    repeated: Vec<u32>,
    /// A line without a colon, which the next may bring.
    unfinished: Vec<u8>,
    /// Whether a header line was seen.
    has_lines: bool,
    /// Its header lines, where they are to be told.
    lines: Option<Vec<Line>>,
    /// Number of its transaction, once that is known.
    pub(super) number: u64,
    status: u16,
    bytes: usize,
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Framing {
    /// In chunks.
    pub(super) is_chunked: bool,
    /// By its length, in bytes.
    pub(super) length: Option<u64>,
    /// The lines about it contradict each other or themselves.
    pub(super) is_bad: bool,
    /// They do by giving two lengths.
    pub(super) has_two_lengths: bool,
}

impl Head {
    /// Empties it for the next message.
    pub(super) fn clear(&mut self) {
        let (mut text, mut names) = (std::mem::take(&mut self.text), std::mem::take(&mut self.names));
        text.clear();
        names.clear();
        *self = Head { text, names, ..Head::default() };
    }

    /// Reads the first line; false when it is that of no HTTP message.
    pub(super) fn begin(&mut self, line: &[u8]) -> bool {
        self.clear();
        if let Some((protocol, status, word)) = status_line(line) {
            self.is_response = true;
            self.status = status;
            self.set(Part::Protocol, protocol);
            if status == 0 && !word.is_empty() {
                self.set(Part::StatusText, word);
            }
            self.folds = None;
            return true;
        }
        let Some(request) = RequestLine::new(line) else { return false };
        self.set(Part::Method, request.method);
        self.set(Part::Target, request.target);
        if !request.protocol.is_empty() {
            self.set(Part::Protocol, request.protocol);
        }
        self.folds = None;
        true
    }

    /// Its header lines are to be told.
    pub(super) fn keep_lines(&mut self) {
        self.lines = Some(Vec::new());
    }

    /// The header lines that are told, those of one name joined.
    pub(super) fn lines(&self) -> &[Line] {
        self.lines.as_deref().unwrap_or_default()
    }

    fn keep_line(&mut self, name: &[u8], value: &[u8]) {
        let Some(lines) = self.lines.as_mut() else { return };
        let name = name.get(..NAME_BYTES_TOLD_MAX).unwrap_or(name);
        if let Some((_, before)) = lines.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            append(before, b", ", value);
        } else if lines.len() < LINES_TOLD_MAX {
            let mut told = Vec::new();
            append(&mut told, b"", value);
            lines.push((name.to_vec(), told));
        }
    }

    /// Begins a response without any head, as HTTP/0.9 has it.
    pub(super) fn begin_raw_response(&mut self) {
        self.clear();
        self.is_response = true;
    }

    /// Reads a header line; tells what is wrong with it, in Suricata's words.
    pub(super) fn header(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let continued = match line {
            // Clients take what has a name in a response for a line of its own.
            [b' ' | b'\t' | 0, more @ ..] if self.has_lines && !(self.is_response && is_named(more)) => {
                Some(more)
            }
            _ => None,
        };
        let is_folded = continued.is_some();
        self.has_lines = true;
        if let Some(more) = continued.filter(|_| self.unfinished.is_empty()) {
            self.fold(more.trim_ascii());
            if let Some((_, value)) = self.lines.as_mut().and_then(|lines| lines.last_mut()) {
                append(value, b" ", more.trim_ascii());
            }
            return Ok(());
        }
        self.folds = None;
        let joined;
        let line = if is_folded {
            let mut unfinished = std::mem::take(&mut self.unfinished);
            unfinished.push(b' ');
            unfinished.extend_from_slice(line.trim_ascii());
            joined = unfinished;
            &joined[..]
        } else {
            line
        };
        let Some(colon) = memchr::memchr(b':', line) else {
            // The colon may come in a line that continues this one.
            let is_first = self.unfinished.is_empty();
            self.unfinished.clear();
            self.unfinished.extend_from_slice(line.get(..NAME_BYTES_MAX).unwrap_or(line));
            let event = self.word("REQUEST_FIELD_MISSING_COLON", "RESPONSE_FIELD_MISSING_COLON");
            return if is_folded && is_first { Ok(()) } else { Err(event) };
        };
        self.unfinished.clear();
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        // As servers do, control characters around the name are passed over.
        let is_token = |byte: &u8| probe::is_token(*byte);
        let from = name.iter().position(is_token).unwrap_or(0);
        let to = name.iter().rposition(is_token).map_or(0, |at| at + 1);
        let name = name.get(from..to).unwrap_or_default();
        if let Some(part) = self.part_of(name) {
            self.header_part(part, value);
        }
        self.keep_line(name, value);
        if name.is_empty() {
            return Err(self.word("REQUEST_HEADER_INVALID", "RESPONSE_HEADER_INVALID"));
        }
        if self.is_repeated(name) {
            return Err(self.word("REQUEST_HEADER_REPETITION", "RESPONSE_HEADER_REPETITION"));
        }
        Ok(())
    }

    /// One word for requests, another for responses.
    pub(super) fn word(&self, request: &'static str, response: &'static str) -> &'static str {
        if self.is_response { response } else { request }
    }

    /// Whether a line of this name came before, and this is the first to come again.
    fn is_repeated(&mut self, name: &[u8]) -> bool {
        // FNV-1a: a wrong word about a header is the worst that a collision can do.
        let hash = name.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
        });
        if !self.names.contains(&hash) {
            if self.names.len() < NAMES_MAX {
                self.names.push(hash);
            }
            return false;
        }
        let is_first = !self.repeated.contains(&hash);
        if is_first {
            self.repeated.push(hash);
        }
        is_first
    }

    /// Counts the bytes of a line; returns those of the head so far.
    pub(super) fn bytes_seen(&mut self, bytes: usize) -> usize {
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes
    }

    /// Whether it is a response's.
    pub(super) fn is_response(&self) -> bool {
        self.is_response
    }

    /// The status code; 0 where it is not a number of three digits or there is none.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Whether a part was there.
    pub(super) fn has(&self, part: Part) -> bool {
        self.parts[part as usize].is_some()
    }

    /// A part's text.
    pub(super) fn get(&self, part: Part) -> Option<&[u8]> {
        let (from, to) = self.parts[part as usize]?;
        self.text.get(usize::from(from)..usize::from(to))
    }

    /// Bytes of text kept.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// What there is of a request that is answered before it is complete; what follows of it is read
    /// for its body's length only.
    pub(super) fn take_answered(&mut self) -> Head {
        let taken = self.clone();
        self.parts[Part::Target as usize] = None;
        taken
    }

    /// The authority in the target: of the absolute form, and of CONNECT (RFC 9112 section 3.2).
    pub(super) fn target_authority(&self) -> Option<&[u8]> {
        let target = self.get(Part::Target)?;
        let authority = match memchr::memmem::find(target, b"://") {
            Some(at) if at < 8 => target.get(at + 3..)?,
            _ if self.get(Part::Method) == Some(b"CONNECT") && !target.starts_with(b"/") => target,
            _ => return None,
        };
        let end = authority
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#' | b' '))
            .unwrap_or(authority.len());
        let authority = authority.get(..end)?;
        let user = memchr::memrchr(b'@', authority).map_or(0, |at| at + 1);
        authority.get(user..).filter(|host| !host.is_empty())
    }

    /// What the head says about the end of the body.
    pub(super) fn framing(&self) -> Framing {
        let mut framing = Framing {
            is_bad: self.has_two_lengths,
            has_two_lengths: self.has_two_lengths,
            ..Framing::default()
        };
        if let Some(codings) = self.get(Part::TransferEncoding) {
            framing.is_chunked = has_word(codings, b"chunked");
        }
        if let Some(text) = self.get(Part::ContentLength) {
            framing.length = first_decimal(text).filter(|length| *length <= BODY_BYTES_MAX);
            framing.is_bad |= decimal(text).is_none() || framing.is_chunked;
        }
        framing
    }

    fn part_of(&self, name: &[u8]) -> Option<Part> {
        // Lenient clients read names as if the zeros in them were not there.
        if name.contains(&0) {
            let clean: Vec<u8> = name.iter().copied().filter(|byte| *byte != 0).collect();
            return self.part_of(&clean);
        }
        let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
        let part = match (name.len(), self.is_response) {
            (14, _) if is("content-length") => Part::ContentLength,
            (17, _) if is("transfer-encoding") => Part::TransferEncoding,
            (4, false) if is("host") => Part::Host,
            (10, false) if is("user-agent") => Part::UserAgent,
            (7, false) if is("referer") => Part::Referer,
            (15, false) if is("x-forwarded-for") => Part::ForwardedFor,
            (12, _) if is("content-type") => Part::ContentType,
            (16, _) if is("content-encoding") => Part::ContentEncoding,
            (19, _) if is("content-disposition") => Part::ContentDisposition,
            (7, _) if is("upgrade") => Part::Upgrade,
            (14, false) if is("http2-settings") => Part::Http2Settings,
            (13, true) if is("content-range") => Part::ContentRange,
            (8, true) if is("location") => Part::Location,
            (6, true) if is("server") => Part::Server,
            _ => return None,
        };
        Some(part)
    }

    fn header_part(&mut self, part: Part, value: &[u8]) {
        let Some(have) = self.get(part) else { return self.set(part, value) };
        match part {
            Part::ContentLength => self.has_two_lengths |= have != value,
            // Codings of several lines are one list (RFC 9110 section 5.3).
            Part::TransferEncoding | Part::ContentEncoding => {
                let list = [have, b", ", value].concat();
                self.set(part, &list);
            }
            _ => {}
        }
    }

    /// Keeps a part at the end of the text.
    fn set(&mut self, part: Part, value: &[u8]) {
        let from = self.text.len();
        let room = TEXT_BYTES_MAX.saturating_sub(from).min(VALUE_BYTES_MAX);
        self.text.extend_from_slice(value.get(..room).unwrap_or(value));
        self.parts[part as usize] = Some((from as u16, self.text.len() as u16));
        self.folds = Some(part);
    }

    /// Continues the part before (RFC 9112 section 5.2: a folded line is a space).
    fn fold(&mut self, value: &[u8]) {
        let Some(part) = self.folds else { return };
        let Some((from, to)) = self.parts[part as usize] else { return };
        let room = TEXT_BYTES_MAX.saturating_sub(self.text.len());
        let room = room.min(VALUE_BYTES_MAX.saturating_sub(usize::from(to - from)));
        if value.len() < room {
            if from != to {
                self.text.push(b' ');
            }
            self.text.extend_from_slice(value);
            self.parts[part as usize] = Some((from, self.text.len() as u16));
        }
    }
}

/// Appends to a value that is told, as far as there is room.
fn append(value: &mut Vec<u8>, between: &[u8], more: &[u8]) {
    let room = VALUE_BYTES_TOLD_MAX.saturating_sub(value.len());
    value.extend(between.iter().chain(more).take(room));
}

/// A request line in its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    /// Empty where the line has none, as in HTTP/0.9.
    pub(super) protocol: &'a [u8],
}

impl<'a> RequestLine<'a> {
    /// Takes a line apart. The target may hold spaces; what follows the last one is the protocol, when
    /// it looks like one. `None`: no request line.
    pub(super) fn new(line: &'a [u8]) -> Option<RequestLine<'a>> {
        let line = line.trim_ascii();
        let space = line.iter().position(|byte| matches!(byte, b' ' | b'\t'))?;
        let (method, rest) = line.split_at(space);
        if !method.iter().all(|byte| probe::is_token(*byte)) {
            return None;
        }
        let rest = rest.trim_ascii();
        let word = rest.iter().rposition(|byte| matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
        let (target, protocol) = rest.split_at(word);
        let (target, protocol) =
            if is_protocol(protocol) { (target.trim_ascii(), protocol) } else { (rest, &b""[..]) };
        // Without a version only a known method makes it a request.
        let is_request = protocol.starts_with(b"HTTP/") || protocol.is_empty() && probe::is_method(method);
        is_request.then_some(RequestLine { method, target, protocol })
    }
}

/// Whether a word looks like `NAME/1`: some protocol's name and version.
fn is_protocol(word: &[u8]) -> bool {
    let Some(slash) = memchr::memchr(b'/', word) else { return false };
    let (name, version) = word.split_at(slash);
    !name.is_empty()
        && name.iter().all(u8::is_ascii_uppercase)
        && version.get(1).is_some_and(u8::is_ascii_digit)
}

/// Protocol and status of a response line; a status that is no number of three digits (RFC 9110 section 15) is 0, and
/// what stands there.
fn status_line(line: &[u8]) -> Option<(&[u8], u16, &[u8])> {
    let line = line.trim_ascii();
    if !is_status_line(line) {
        return None;
    }
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let protocol = words.next()?;
    let word = words.next().unwrap_or_default();
    let number = decimal(word).and_then(|status| u16::try_from(status).ok());
    Some((protocol, number.filter(|status| (100..=999).contains(status)).unwrap_or(0), word))
}

/// Whether a line begins with a name and a colon.
pub(super) fn is_named(text: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', text) else { return false };
    let name = text.get(..colon).unwrap_or_default().trim_ascii();
    !name.is_empty() && name.iter().all(|byte| probe::is_token(*byte))
}

/// What ended a header line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LineEnd {
    #[default]
    Other,
    Lf,
    Crlf,
}

impl LineEnd {
    pub(super) fn of(raw: &[u8]) -> LineEnd {
        match raw {
            [.., b'\r', b'\n'] => LineEnd::Crlf,
            [.., b'\n'] => LineEnd::Lf,
            _ => LineEnd::Other,
        }
    }
}

/// Bytes between two lines of a response's head that look like its end and are none, as clients have it: behind CR LF
/// several carriage returns, blanks among them, where the end of the head does not follow; behind LF alone, where it
/// does.
pub(super) fn odd_line_end(rest: &[u8], before: LineEnd) -> Option<usize> {
    if !matches!(rest, [b'\r', b'\r' | b' ' | b'\t', ..]) {
        return None;
    }
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b' ' | b'\t')).count();
    let used = if rest.get(blank) == Some(&b'\n') { blank + 1 } else { blank };
    let is_end_next = match rest.get(used..) {
        None | Some([] | [b'\r']) => return None,
        Some(after) => matches!(after, [b'\n', ..] | [b'\r', b'\n', ..]),
    };
    let is_odd = match before {
        LineEnd::Crlf => !is_end_next,
        LineEnd::Lf => is_end_next && rest.starts_with(b"\r\r\n"),
        LineEnd::Other => false,
    };
    is_odd.then_some(used)
}

/// Whether a response begins so; some write it in small letters.
pub(super) fn is_status_line(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case(b"HTTP/"))
}

/// Whether a word stands anywhere in a value, in letters of any size and with zeros between them: that is how
/// lenient clients are.
pub(super) fn has_word(value: &[u8], word: &[u8]) -> bool {
    let clean: Vec<u8> = value.iter().filter(|byte| **byte != 0).map(u8::to_ascii_lowercase).collect();
    memchr::memmem::find(&clean, word).is_some()
}

/// The first line without its end, and how many bytes it took with it.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let mut line = bytes.get(..end)?;
    while let Some(shorter) = line.strip_suffix(b"\r") {
        line = shorter;
    }
    Some((line, end + 1))
}

/// As [`line`], of a response's head: a carriage return alone ends a line too, as clients have it.
pub(super) fn response_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (whole, used) = line(bytes)?;
    // At the end of a line, and before another, it is part of the end.
    let alone = memchr::memchr_iter(b'\r', whole).find(|at| whole.get(at + 1) != Some(&b'\r'));
    match alone {
        Some(at) => Some((whole.get(..at)?, at + 1)),
        None => Some((whole, used)),
    }
}

/// The size in a chunk's first line; extensions and whatever else stands behind it are passed over (RFC 9112
/// section 7.1).
pub(super) fn chunk_size(line: &[u8]) -> Option<u64> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c);
    let from = line.iter().position(|byte| !is_space(byte))?;
    let text = line.get(from..)?;
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let text = text.get(..digits).filter(|text| (1..=16).contains(&text.len()))?;
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok().filter(|size| *size <= BODY_BYTES_MAX)
}

/// The first number in a text, whatever stands around it.
fn first_decimal(text: &[u8]) -> Option<u64> {
    let from = text.iter().position(u8::is_ascii_digit)?;
    let text = text.get(from..)?;
    decimal(text.get(..text.iter().take_while(|byte| byte.is_ascii_digit()).count())?)
}

fn decimal(text: &[u8]) -> Option<u64> {
    let is_decimal = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if is_decimal { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}
