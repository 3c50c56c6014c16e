//! The parts of an HTTP head as signatures look at them: Suricata's sticky buffers.
//!
//! In: the lines of a head as they were sent, line ends included. Out: the parts in a transaction's
//! [`Side`], byte for byte as libhtp has them. Works only where somebody looks ([`Context::wanted`]), and holds one
//! head per direction. Reads the lines anew instead of sharing [`super::head`]'s reading: that one keeps what events
//! tell, and is lenient where servers are; this one is as lenient as libhtp is.

use super::head::{is_named, line, response_line};
use super::uri::{Target, host};
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Side, Wanted};
use std::ops::Range;
use weir_common::net::Direction;

/// Most header lines of a head that are told, as in libhtp; further ones are left out.
const LINES_MAX: usize = 1024;
/// Most times that a line's name may come again in a head, all names together, as in libhtp; what comes then is left
/// out.
const REPEATS_MAX: usize = 64;
/// Bytes that a head may have for its memory to be kept for the next one.
const KEPT_BYTES: usize = 16 << 10;

/// The heads being read, and what reading them needs.
#[derive(Debug, Default)]
pub(super) struct Told {
    heads: [RawHead; 2],
    lines: Lines,
    scratch: Vec<u8>,
}

/// A head as it was sent.
#[derive(Debug, Default)]
struct RawHead {
    bytes: Vec<u8>,
    /// Of them those of its first line.
    first: usize,
    /// Of them those of the head; behind are the lines after the last chunk.
    head: usize,
}

impl Told {
    /// The head of direction `index` begins with this line.
    pub(super) fn begin(&mut self, index: usize, line: &[u8]) {
        let Some(head) = self.heads.get_mut(index) else { return };
        head.bytes.clear();
        if head.bytes.capacity() > KEPT_BYTES {
            head.bytes = Vec::new();
        }
        head.bytes.extend_from_slice(line);
        (head.first, head.head) = (line.len(), 0);
    }

    /// Another of its lines, or the empty one behind them.
    pub(super) fn line(&mut self, index: usize, line: &[u8]) {
        if let Some(head) = self.heads.get_mut(index).filter(|head| head.first > 0) {
            head.bytes.extend_from_slice(line);
        }
    }

    /// The head of direction `index` is told to nobody.
    pub(super) fn forget(&mut self, index: usize) {
        if let Some(head) = self.heads.get_mut(index) {
            *head = RawHead::default();
        }
    }

    /// The head is complete: tells its parts.
    pub(super) fn tell(
        &mut self,
        index: usize,
        is_response: bool,
        transaction: u64,
        direction: Direction,
        context: &mut Context<'_>,
    ) {
        let Told { heads, lines, scratch } = self;
        let (Some(wanted), Some(head)) = (context.wanted, heads.get_mut(index)) else { return };
        let Some(side) = context.side(direction, transaction) else { return };
        head.head = head.bytes.len();
        if head.bytes.is_empty() {
            return;
        }
        let Some((first, rest)) = head.bytes.split_at_checked(head.first) else { return };
        lines.read(rest, is_response);
        let first = without_end(first);
        let mut tell = Tell { wanted, side, lines, raw: rest };
        match is_response {
            false => tell.request(first, scratch),
            true => tell.response(first),
        }
        tell.both(first, is_response);
        if wanted.anomalies {
            let odd =
                if is_response { odd_response(first, rest, lines) } else { odd_request(first, rest, lines) };
            for event in odd.into_iter().flatten() {
                // Suricata's rule asks the client's side about it, whichever end is meant.
                let is_clients = is_response && event == "TOO_MANY_ENCODING_LAYERS";
                context.odd(if is_clients { direction.flip() } else { direction }, transaction, event);
            }
        }
    }

    /// The lines after the last chunk are complete: tells the header lines again, with them.
    pub(super) fn tell_trailer(
        &mut self,
        index: usize,
        is_response: bool,
        transaction: u64,
        context: &mut Context<'_>,
    ) {
        let Told { heads, lines, .. } = self;
        let (Some(wanted), Some(head)) = (context.wanted, heads.get(index)) else { return };
        // The empty line alone is no trailer.
        let trailer = head.bytes.get(head.head..).unwrap_or_default();
        if head.head == 0 || without_end(trailer).is_empty() {
            return;
        }
        let direction = context.direction;
        let Some(side) = context.side(direction, transaction) else { return };
        let raw = head.bytes.get(head.first..).unwrap_or_default();
        lines.read(raw, is_response);
        Tell { wanted, side, lines, raw }.header_lines(is_response);
    }
}

/// Without the line's end.
fn without_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    line.get(..end.map_or(0, |at| at + 1)).unwrap_or_default()
}

/// The header lines of a head: names in the order in which they first came.
#[derive(Debug, Default)]
struct Lines {
    entries: Vec<Entry>,
    pieces: Vec<Piece>,
    repeats: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Where the name is in the raw lines.
    name: Range<usize>,
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
    fn read(&mut self, raw: &[u8], is_response: bool) {
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

    fn find(&self, raw: &[u8], name: &[u8]) -> Option<&Entry> {
        let is_it =
            |entry: &&Entry| raw.get(entry.name.clone()).is_some_and(|have| have.eq_ignore_ascii_case(name));
        self.entries.iter().find(is_it)
    }

    /// The bytes of a value, in pieces.
    fn value<'l>(&'l self, raw: &'l [u8], entry: &Entry) -> impl Iterator<Item = &'l [u8]> + use<'l> {
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

fn trim(raw: &[u8], range: Range<usize>) -> Range<usize> {
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
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The parts of one head on their way to its side.
struct Tell<'t> {
    wanted: &'t Wanted,
    side: &'t mut Side,
    lines: &'t Lines,
    /// The lines, in which `lines` says what is where.
    raw: &'t [u8],
}

impl Tell<'_> {
    fn put(&mut self, buffer: Buffer, bytes: &[u8]) {
        if self.wanted.has(buffer) {
            self.side.put(buffer, bytes);
        }
    }

    /// The value of the lines of a name, where there are any; it may be empty.
    fn value(&mut self, buffer: Buffer, name: &[u8]) {
        if !self.wanted.has(buffer) {
            return;
        }
        let Some(entry) = self.lines.find(self.raw, name) else { return };
        self.side.put(buffer, b"");
        for piece in self.lines.value(self.raw, entry) {
            self.side.grow(buffer, piece);
        }
    }

    fn request(&mut self, line: &[u8], scratch: &mut Vec<u8>) {
        let request = RequestLine::new(line);
        let target = Target::of(request.target, request.method == b"CONNECT");
        self.put(Buffer::HttpMethod, request.method);
        self.put(Buffer::HttpRequestLine, line);
        if !request.target.is_empty() {
            self.put(Buffer::HttpUriRaw, request.target);
        }
        if !request.protocol.is_empty() {
            self.put(Buffer::HttpProtocol, request.protocol);
        }
        if self.wanted.has(Buffer::HttpUri) {
            scratch.clear();
            target.normalize(scratch);
            if !scratch.is_empty() {
                self.side.put(Buffer::HttpUri, scratch);
            }
        }
        self.host(&target, scratch);
        let values: [(Buffer, &[u8]); 6] = [
            (Buffer::HttpUserAgent, b"user-agent"),
            (Buffer::HttpReferer, b"referer"),
            (Buffer::HttpCookie, b"cookie"),
            (Buffer::HttpAccept, b"accept"),
            (Buffer::HttpAcceptLang, b"accept-language"),
            (Buffer::HttpAcceptEnc, b"accept-encoding"),
        ];
        for (buffer, name) in values {
            self.value(buffer, name);
        }
        self.each_line(Buffer::HttpRequestHeader);
    }

    /// The host in the target, else that in the Host line.
    fn host(&mut self, target: &Target<'_>, scratch: &mut Vec<u8>) {
        scratch.clear();
        target.normalize_host(scratch);
        if target.host.is_some() {
            self.put(Buffer::HttpHost, scratch);
            self.put(Buffer::HttpHostRaw, scratch);
            return;
        }
        self.value(Buffer::HttpHostRaw, b"host");
        let Some(entry) = self.lines.find(self.raw, b"host").filter(|_| self.wanted.has(Buffer::HttpHost))
        else {
            return;
        };
        for piece in self.lines.value(self.raw, entry) {
            scratch.extend_from_slice(piece);
        }
        scratch.make_ascii_lowercase();
        if let Some(host) = host(scratch) {
            self.side.put(Buffer::HttpHost, host);
        }
    }

    fn response(&mut self, line: &[u8]) {
        let response = ResponseLine::new(line);
        self.put(Buffer::HttpResponseLine, line);
        self.put(Buffer::HttpProtocol, response.protocol);
        if let Some(status) = response.status {
            self.put(Buffer::HttpStatCode, status);
        }
        if let Some(message) = response.message {
            self.put(Buffer::HttpStatMsg, message);
        }
        self.value(Buffer::HttpServer, b"server");
        self.value(Buffer::HttpLocation, b"location");
        self.value(Buffer::HttpCookie, b"set-cookie");
        self.each_line(Buffer::HttpResponseHeader);
    }

    fn both(&mut self, first: &[u8], is_response: bool) {
        self.value(Buffer::HttpConnection, b"connection");
        self.value(Buffer::HttpContentType, b"content-type");
        self.value(Buffer::HttpContentLen, b"content-length");
        self.header_lines(is_response);
        if self.wanted.has(Buffer::HttpHeaderNames) && !self.lines.entries.is_empty() {
            self.side.put(Buffer::HttpHeaderNames, b"\r\n");
            for entry in &self.lines.entries {
                self.side.grow(Buffer::HttpHeaderNames, self.raw.get(entry.name.clone()).unwrap_or_default());
                self.side.grow(Buffer::HttpHeaderNames, b"\r\n");
            }
            self.side.grow(Buffer::HttpHeaderNames, b"\r\n");
        }
        if self.wanted.has(Buffer::HttpStart) {
            self.side.put(Buffer::HttpStart, first);
            self.side.grow(Buffer::HttpStart, b"\r\n");
            for entry in &self.lines.entries {
                self.grow_line(Buffer::HttpStart, entry);
                self.side.grow(Buffer::HttpStart, b"\r\n");
            }
            if !self.lines.entries.is_empty() {
                self.side.grow(Buffer::HttpStart, b"\r\n");
            }
        }
    }

    /// All lines in one, normalised and as they were sent.
    fn header_lines(&mut self, is_response: bool) {
        if !self.raw.is_empty() {
            self.put(Buffer::HttpHeaderRaw, self.raw);
        }
        if !self.wanted.has(Buffer::HttpHeader) {
            return;
        }
        let cookie: &[u8] = if is_response { b"set-cookie" } else { b"cookie" };
        let is_cookie = |entry: &Entry| {
            self.raw.get(entry.name.clone()).is_some_and(|name| name.eq_ignore_ascii_case(cookie))
        };
        let mut is_begun = false;
        for entry in self.lines.entries.iter().filter(|entry| !is_cookie(entry)) {
            if !is_begun {
                self.side.put(Buffer::HttpHeader, b"");
                is_begun = true;
            }
            self.grow_line(Buffer::HttpHeader, entry);
            self.side.grow(Buffer::HttpHeader, b"\r\n");
        }
    }

    /// Each line for itself.
    fn each_line(&mut self, buffer: Buffer) {
        if !self.wanted.has(buffer) {
            return;
        }
        for entry in &self.lines.entries {
            self.side.put(buffer, b"");
            self.grow_line(buffer, entry);
        }
    }

    fn grow_line(&mut self, buffer: Buffer, entry: &Entry) {
        self.side.grow(buffer, self.raw.get(entry.name.clone()).unwrap_or_default());
        self.side.grow(buffer, b": ");
        for piece in self.lines.value(self.raw, entry) {
            self.side.grow(buffer, piece);
        }
    }
}

/// Most content codings on top of each other that libhtp takes off.
const CODINGS_MAX: usize = 2;

/// What libhtp finds odd about a request's head, beside what events tell.
fn odd_request(first: &[u8], raw: &[u8], lines: &Lines) -> [Option<&'static str>; 7] {
    let request = RequestLine::new(first);
    let value = |name: &[u8]| {
        let entry = lines.find(raw, name)?;
        Some(lines.value(raw, entry).collect::<Vec<_>>().concat())
    };
    let target = Target::of(request.target, request.method == b"CONNECT");
    let host_line = value(b"host");
    let is_sound =
        |host: &[u8]| host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(byte));
    let named = host_line.as_deref().map(|line| host(line).unwrap_or_default());
    let is_new = request.protocol.ends_with(b"1.1");
    let differs = match (target.host, named) {
        (Some(target), Some(named)) => !target.eq_ignore_ascii_case(named),
        _ => false,
    };
    let authorization = value(b"authorization");
    let is_known = |text: &[u8]| {
        [&b"basic"[..], b"digest", b"bearer"]
            .iter()
            .any(|known| text.get(..known.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(known)))
    };
    let delimiter = first.iter().find(|byte| is_blank(**byte));
    let codings = value(b"content-encoding").unwrap_or_default();
    [
        (is_new && host_line.is_none() && target.host.is_none()).then_some("MISSING_HOST_HEADER"),
        named.is_some_and(|host| host.is_empty() || !is_sound(host)).then_some("REQUEST_HEADER_HOST_INVALID"),
        target.host.is_some_and(|host| !is_sound(host)).then_some("REQUEST_URI_HOST_INVALID"),
        differs.then_some("HOST_HEADER_AMBIGUOUS"),
        authorization.is_some_and(|text| !is_known(&text)).then_some("REQUEST_AUTH_UNRECOGNIZED"),
        delimiter.is_some_and(|byte| *byte != b' ').then_some("METHOD_DELIM_NON_COMPLIANT"),
        (count_codings(&codings) > CODINGS_MAX).then_some("TOO_MANY_ENCODING_LAYERS"),
    ]
}

/// The same of a response's.
fn odd_response(first: &[u8], raw: &[u8], lines: &Lines) -> [Option<&'static str>; 7] {
    let response = ResponseLine::new(first);
    let value = |name: &[u8]| {
        let entry = lines.find(raw, name)?;
        Some(lines.value(raw, entry).collect::<Vec<_>>().concat())
    };
    let status = response.status.unwrap_or_default();
    let is_status =
        status.len() == 3 && status.iter().all(u8::is_ascii_digit) && status.first() != Some(&b'0');
    let is_protocol = [&b"HTTP/1.0"[..], b"HTTP/1.1", b"HTTP/0.9"]
        .iter()
        .any(|known| response.protocol.eq_ignore_ascii_case(known));
    let transfer = value(b"transfer-encoding").map(|text| text.to_ascii_lowercase());
    let is_chunked = transfer.as_deref().is_some_and(|text| memchr::memmem::find(text, b"chunked").is_some());
    let codings = value(b"content-encoding").unwrap_or_default();
    [
        (!is_status).then_some("RESPONSE_INVALID_STATUS"),
        (!is_protocol).then_some("RESPONSE_INVALID_PROTOCOL"),
        (is_chunked && response.protocol.ends_with(b"1.0")).then_some("RESPONSE_CHUNKED_OLD_PROTO"),
        (is_chunked && transfer.as_deref() != Some(b"chunked"))
            .then_some("RESPONSE_ABNORMAL_TRANSFER_ENCODING"),
        (count_codings(&codings) > CODINGS_MAX).then_some("TOO_MANY_ENCODING_LAYERS"),
        None,
        None,
    ]
}

fn count_codings(codings: &[u8]) -> usize {
    codings.split(|byte| matches!(byte, b',' | b' ')).filter(|coding| !coding.is_empty()).count()
}

/// A request line as libhtp takes it apart.
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    protocol: &'a [u8],
}

impl<'a> RequestLine<'a> {
    fn new(line: &'a [u8]) -> RequestLine<'a> {
        let (method, rest) = word(line);
        let rest = trim_blank(rest);
        // Targets may hold spaces: what is behind the last one is the protocol, whatever it looks like.
        let space = memchr::memrchr(b' ', rest).or_else(|| rest.iter().rposition(|byte| is_blank(*byte)));
        let (target, protocol) = rest.split_at(space.unwrap_or(rest.len()));
        RequestLine { method, target: trim_blank(target), protocol: trim_blank(protocol) }
    }
}

/// A response line as libhtp takes it apart.
struct ResponseLine<'a> {
    protocol: &'a [u8],
    status: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
}

impl<'a> ResponseLine<'a> {
    fn new(line: &'a [u8]) -> ResponseLine<'a> {
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

#[cfg(test)]
mod tests {
    use crate::dpi::buffers::Buffer;
    use crate::dpi::http::Http;
    use crate::dpi::trial::Trial;

    /// What is told of these parts, a line each.
    fn told(client: &str, server: &str, keywords: &[&str]) -> String {
        let mut trial = Trial::<Http>::new().client(client.as_bytes()).server(server.as_bytes()).close();
        let is_asked =
            |line: &&str| line.split(' ').nth(2).is_some_and(|keyword| keywords.contains(&keyword));
        trial.told().lines().filter(is_asked).map(|line| format!("{line}\n")).collect()
    }

    fn all(client: &str, server: &str) -> String {
        let keywords: Vec<&str> = Buffer::ALL
            .iter()
            .map(|buffer| buffer.keyword())
            .filter(|keyword| keyword.starts_with("http."))
            .collect();
        told(client, server, &keywords)
    }

    #[test]
    fn a_head_is_told_in_all_its_parts() {
        let client = "GET http://u@WWW.Example.com:80//a/%2e%2e/b%20c?d=%41#e HTTP/1.1\r\nHost: Other.example:81\r\nUser-Agent: \tcurl \r\n\
             cookie: a=b\r\nAccept: x\r\nACCEPT: y\r\nReferer:\r\n\r\n";
        let server = "HTTP/1.1  404  Not here \r\nServer: nginx\r\nContent-Length: 0\r\nSet-Cookie: q\r\nconnection: close\r\n\
             Set-Cookie: r\r\nContent-Length: 0\r\n\r\n";
        expect_test::expect![[r#"
            client 0 http.method GET
            client 0 http.request_line GET http://u@WWW.Example.com:80//a/%2e%2e/b%20c?d=%41#e HTTP/1.1
            client 0 http.uri.raw http://u@WWW.Example.com:80//a/%2e%2e/b%20c?d=%41#e
            client 0 http.protocol HTTP/1.1
            client 0 http.uri /b c?d=A#e
            client 0 http.host www.example.com
            client 0 http.host.raw www.example.com
            client 0 http.user_agent curl
            client 0 http.referer 
            client 0 http.cookie a=b
            client 0 http.accept x, y
            client 0 http.request_header Host: Other.example:81
            client 0 http.request_header User-Agent: curl
            client 0 http.request_header cookie: a=b
            client 0 http.request_header Accept: x, y
            client 0 http.request_header Referer: 
            client 0 http.header.raw Host: Other.example:81\r\nUser-Agent: \tcurl \r\ncookie: a=b\r\nAccept: x\r\nACCEPT: y\r\nReferer:\r\n\r\n
            client 0 http.header Host: Other.example:81\r\nUser-Agent: curl\r\nAccept: x, y\r\nReferer: \r\n
            client 0 http.header_names \r\nHost\r\nUser-Agent\r\ncookie\r\nAccept\r\nReferer\r\n\r\n
            client 0 http.start GET http://u@WWW.Example.com:80//a/%2e%2e/b%20c?d=%41#e HTTP/1.1\r\nHost: Other.example:81\r\nUser-Agent: curl\r\ncookie: a=b\r\nAccept: x, y\r\nReferer: \r\n\r\n
            server 0 http.response_line HTTP/1.1  404  Not here 
            server 0 http.protocol HTTP/1.1
            server 0 http.stat_code 404
            server 0 http.stat_msg Not here 
            server 0 http.server nginx
            server 0 http.cookie q, r
            server 0 http.response_header Server: nginx
            server 0 http.response_header Content-Length: 0
            server 0 http.response_header Set-Cookie: q, r
            server 0 http.response_header connection: close
            server 0 http.connection close
            server 0 http.content_len 0
            server 0 http.header.raw Server: nginx\r\nContent-Length: 0\r\nSet-Cookie: q\r\nconnection: close\r\nSet-Cookie: r\r\nContent-Length: 0\r\n\r\n
            server 0 http.header Server: nginx\r\nContent-Length: 0\r\nconnection: close\r\n
            server 0 http.header_names \r\nServer\r\nContent-Length\r\nSet-Cookie\r\nconnection\r\n\r\n
            server 0 http.start HTTP/1.1  404  Not here \r\nServer: nginx\r\nContent-Length: 0\r\nSet-Cookie: q, r\r\nconnection: close\r\n\r\n
        "#]]
        .assert_eq(&all(client, server));
    }

    #[test]
    fn hosts_targets_and_protocols_are_what_libhtp_takes_them_for() {
        let keywords = ["http.uri", "http.uri.raw", "http.host", "http.host.raw", "http.protocol"];
        let client = "GET /a b HTTP/1.1\r\nHost:  WWW.x.org.:8080\r\n\r\nOPTIONS * HTTP/1.0\r\nHost:\r\n\r\n\
             GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\nCONNECT A.b:443 HTTP/1.1\r\nHost: c\r\n\r\n";
        expect_test::expect![[r#"
            client 0 http.uri.raw /a b
            client 0 http.protocol HTTP/1.1
            client 0 http.uri /a b
            client 0 http.host.raw WWW.x.org.:8080
            client 0 http.host www.x.org.
            client 1 http.uri.raw *
            client 1 http.protocol HTTP/1.0
            client 1 http.uri *
            client 1 http.host.raw 
            client 2 http.uri.raw /
            client 2 http.protocol HTTP/1.1
            client 2 http.uri /
            client 2 http.host.raw [::1]:80
            client 2 http.host [::1]
            client 3 http.uri.raw A.b:443
            client 3 http.protocol HTTP/1.1
            client 3 http.host a.b
            client 3 http.host.raw a.b
        "#]]
        .assert_eq(&told(client, "", &keywords));
    }

    #[test]
    fn folded_and_malformed_lines_are_read_as_libhtp_reads_them() {
        let client = "GET / HTTP/1.1\nA:\n  b \n\tc\n \nNo colon\n: x\n  D : e \nName\n : f\n\n";
        let server = "HTTP/1.0 200\rA: 1\r\n B: 2\r\n more\r\nEmpty:\r\n\r\n";
        expect_test::expect![[r#"
            client 0 http.request_header A: b \tc
            client 0 http.request_header : No colon, x  D : e
            client 0 http.request_header Name: f
            server 0 http.response_header A: 1
            server 0 http.response_header B: 2 more
            server 0 http.response_header Empty: 
        "#]]
        .assert_eq(&told(client, server, &["http.request_header", "http.response_header"]));
    }

    #[test]
    fn lines_behind_the_last_chunk_are_told_with_those_before() {
        let client = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: x\r\n\r\n";
        expect_test::expect![[r#"
            client 0 http.header Transfer-Encoding: chunked\r\n
            client 0 http.header Transfer-Encoding: chunked\r\nT: x\r\n
        "#]]
        .assert_eq(&told(client, "", &["http.header"]));
    }

    #[test]
    fn bodies_are_told_decoded_and_files_by_their_names() {
        let keywords = ["http.request_body", "http.response_body", "file.data", "file.name"];
        let form =
            "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nhello\r\n--x--\r\n";
        let length = form.len();
        let client = format!(
            "POST /a%20b/../c?d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n\
             PATCH /p HTTP/1.1\r\nContent-Length: 1\r\n\r\nx\
             POST /form HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n{form}"
        );
        let server = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
             HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Disposition: x; filename=y\r\n\r\nto the end";
        expect_test::expect![[r#"
            client 0 http.request_body abc
            client 0 file.data abc
            client 0 file.name /c
            client 1 http.request_body x
            client 2 file.name a.txt
            client 2 file.data hello
            client 2 http.request_body --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nhello\r\n--x--\r\n
            server 0 http.response_body ok
            server 0 file.data ok
            server 0 file.name /c
            server 2 http.response_body to the end
            server 2 file.data to the end
            server 2 file.name y
        "#]]
        .assert_eq(&sorted(&told(&client, server, &keywords)));
    }

    /// What the client is told of first, then by transaction.
    fn sorted(told: &str) -> String {
        let mut lines: Vec<&str> = told.lines().collect();
        lines.sort_by_cached_key(|line| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>());
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn a_head_without_lines_has_no_empty_parts() {
        let (client, server) = ("GET http://x HTTP/1.1\r\n\r\n", "HTTP/1.1 200\r\n\r\n");
        expect_test::expect![[r#"
            client 0 http.method GET
            client 0 http.request_line GET http://x HTTP/1.1
            client 0 http.uri.raw http://x
            client 0 http.protocol HTTP/1.1
            client 0 http.host x
            client 0 http.host.raw x
            client 0 http.header.raw \r\n
            client 0 http.start GET http://x HTTP/1.1\r\n
            server 0 http.response_line HTTP/1.1 200
            server 0 http.protocol HTTP/1.1
            server 0 http.stat_code 200
            server 0 http.header.raw \r\n
            server 0 http.start HTTP/1.1 200\r\n
        "#]]
        .assert_eq(&all(client, server));
    }
}
