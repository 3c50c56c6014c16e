//! The parts of an HTTP head as signatures look at them: Suricata's sticky buffers.
//!
//! In: the lines of a head as they were sent, line ends included. Out: the parts in a transaction's
//! [`Side`], byte for byte as libhtp has them. Works only where somebody looks ([`Context::wanted`]), and holds one
//! head per direction. Reads the lines anew ([`super::lines`]) instead of sharing [`super::head`]'s reading: that one keeps what events
//! tell, and is lenient where servers are; this one is as lenient as libhtp is.

use super::lines::{Entry, Lines, RequestLine, ResponseLine};
use super::odd;
use super::uri::{Target, host};
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Side, Wanted};
use weir_common::net::Direction;

/// Parts that are the values of a request's header lines, by name.
pub(in crate::dpi) const REQUEST_VALUES: [(Buffer, &[u8]); 6] = [
    (Buffer::HttpUserAgent, b"user-agent"),
    (Buffer::HttpReferer, b"referer"),
    (Buffer::HttpCookie, b"cookie"),
    (Buffer::HttpAccept, b"accept"),
    (Buffer::HttpAcceptLang, b"accept-language"),
    (Buffer::HttpAcceptEnc, b"accept-encoding"),
];
/// Those of a response's.
pub(in crate::dpi) const RESPONSE_VALUES: [(Buffer, &[u8]); 3] = [
    (Buffer::HttpServer, b"server"),
    (Buffer::HttpLocation, b"location"),
    (Buffer::HttpCookie, b"set-cookie"),
];
/// Those of both.
pub(in crate::dpi) const VALUES: [(Buffer, &[u8]); 3] = [
    (Buffer::HttpConnection, b"connection"),
    (Buffer::HttpContentType, b"content-type"),
    (Buffer::HttpContentLen, b"content-length"),
];
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
            let server = context.end(direction.flip()).1;
            let odd = match is_response {
                true => odd::response(first, rest, lines),
                false => odd::request(first, rest, lines, server),
            };
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
        for (buffer, name) in REQUEST_VALUES {
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
        for (buffer, name) in RESPONSE_VALUES {
            self.value(buffer, name);
        }
        self.each_line(Buffer::HttpResponseHeader);
    }

    fn both(&mut self, first: &[u8], is_response: bool) {
        for (buffer, name) in VALUES {
            self.value(buffer, name);
        }
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

#[cfg(test)]
mod tests;
