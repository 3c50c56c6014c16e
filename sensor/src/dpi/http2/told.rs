//! A header block of HTTP/2 as signatures look at it: Suricata's sticky buffers.
//!
//! In: the headers of a block, in their order. Out: the parts in a transaction's [`Side`], as Suricata has them: what
//! HTTP/1 has as lines is made of the headers, names that begin with a colon stand among the others, nothing is
//! normalised but the host.

use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Side, Wanted};
use crate::dpi::http::{REQUEST_VALUES, RESPONSE_VALUES, VALUES};
use std::ops::Range;
use weir_common::net::Direction;

/// The headers of a block.
#[derive(Debug, Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    headers: Vec<(Range<usize>, Range<usize>)>,
}

impl Block {
    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.headers.push((begin..middle, middle..self.bytes.len()));
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let get = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        self.headers.iter().map(move |(name, value)| (get(name), get(value)))
    }

    fn first(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    /// What Suricata finds odd about it.
    pub(super) fn odd(&self) -> [Option<&'static str>; 2] {
        let authority = self.first(b":authority");
        let differs = match (authority, self.first(b"host")) {
            (Some(authority), Some(host)) => !authority.eq_ignore_ascii_case(host),
            _ => false,
        };
        let has_user = authority.is_some_and(|authority| authority.contains(&b'@'));
        [differs.then_some("authority_host_mismatch"), has_user.then_some("userinfo_in_uri")]
    }

    /// Tells its parts. Of a block that comes later in a stream only the headers are told, each for itself.
    pub(super) fn tell(
        &self,
        is_response: bool,
        is_first: bool,
        direction: Direction,
        transaction: u64,
        context: &mut Context<'_>,
    ) {
        let Some(wanted) = context.wanted else { return };
        let Some(side) = context.side(direction, transaction) else { return };
        let mut tell = Tell { wanted, side, block: self };
        if is_first && is_response {
            tell.response();
        } else if is_first {
            tell.request();
        }
        if is_first {
            tell.both(is_response);
        }
        let each = if is_response { Buffer::HttpResponseHeader } else { Buffer::HttpRequestHeader };
        tell.each(each);
        tell.each(Buffer::Http2Header);
        if wanted.has(Buffer::Http2HeaderName) {
            for (name, _) in self.iter() {
                tell.side.put(Buffer::Http2HeaderName, name);
            }
        }
    }
}

struct Tell<'t> {
    wanted: &'t Wanted,
    side: &'t mut Side,
    block: &'t Block,
}

impl Tell<'_> {
    fn put(&mut self, buffer: Buffer, bytes: &[u8]) {
        if self.wanted.has(buffer) {
            self.side.put(buffer, bytes);
        }
    }

    /// Pieces of one part.
    fn pieces(&mut self, buffer: Buffer, pieces: &[&[u8]]) {
        if self.wanted.has(buffer) {
            self.side.put(buffer, b"");
            for piece in pieces {
                self.side.grow(buffer, piece);
            }
        }
    }

    /// The values of a name, unless they are empty.
    fn value(&mut self, buffer: Buffer, name: &[u8]) -> bool {
        if !self.wanted.has(buffer) || self.block.first(name).is_none() {
            return false;
        }
        let values = || self.block.iter().filter(|(have, _)| *have == name).map(|(_, value)| value);
        if values().count() == 1 && values().all(<[u8]>::is_empty) {
            return false;
        }
        self.side.put(buffer, b"");
        for (at, value) in values().enumerate() {
            if at > 0 {
                self.side.grow(buffer, b", ");
            }
            self.side.grow(buffer, value);
        }
        true
    }

    fn request(&mut self) {
        let method = self.block.first(b":method").unwrap_or_default();
        let path = self.block.first(b":path").unwrap_or_default();
        if !method.is_empty() {
            self.put(Buffer::HttpMethod, method);
        }
        if !path.is_empty() {
            self.put(Buffer::HttpUri, path);
            self.put(Buffer::HttpUriRaw, path);
        }
        if !method.is_empty() && !path.is_empty() {
            self.pieces(Buffer::HttpRequestLine, &[method, b" ", path, b" HTTP/2\r\n"]);
        }
        if !self.value(Buffer::HttpHostRaw, b":authority") {
            self.value(Buffer::HttpHostRaw, b"host");
        }
        let host = self.block.first(b":authority").or_else(|| self.block.first(b"host")).unwrap_or_default();
        if !host.is_empty() && self.wanted.has(Buffer::HttpHost) {
            let end = memchr::memchr(b':', host).unwrap_or(host.len());
            self.side.put(Buffer::HttpHost, &host.get(..end).unwrap_or(host).to_ascii_lowercase());
        }
        for (buffer, name) in REQUEST_VALUES {
            self.value(buffer, name);
        }
    }

    fn response(&mut self) {
        if let Some(status) = self.block.first(b":status").filter(|status| !status.is_empty()) {
            self.put(Buffer::HttpStatCode, status);
            self.pieces(Buffer::HttpResponseLine, &[b"HTTP/2 ", status, b"\r\n"]);
        }
        // There is none in HTTP/2: it is told as an empty one.
        self.put(Buffer::HttpStatMsg, b"");
        for (buffer, name) in RESPONSE_VALUES {
            self.value(buffer, name);
        }
    }

    fn both(&mut self, is_response: bool) {
        self.put(Buffer::HttpProtocol, b"HTTP/2");
        for (buffer, name) in VALUES {
            self.value(buffer, name);
        }
        let Tell { wanted, side, block } = self;
        if block.headers.is_empty() {
            return;
        }
        let cookie: &[u8] = if is_response { b"set-cookie" } else { b"cookie" };
        let is_cookie = |name: &[u8]| name.eq_ignore_ascii_case(cookie);
        if wanted.has(Buffer::HttpHeader) && block.iter().any(|(name, _)| !is_cookie(name)) {
            side.put(Buffer::HttpHeader, b"");
            for (name, value) in block.iter().filter(|(name, _)| !is_cookie(name)) {
                grow(side, Buffer::HttpHeader, &[name, b": ", trimmed(value), b"\r\n"]);
            }
        }
        if wanted.has(Buffer::HttpHeaderRaw) {
            side.put(Buffer::HttpHeaderRaw, b"");
            for (name, value) in block.iter() {
                grow(side, Buffer::HttpHeaderRaw, &[name, b": ", value, b"\r\n"]);
            }
        }
        if wanted.has(Buffer::HttpHeaderNames) {
            side.put(Buffer::HttpHeaderNames, b"\r\n");
            for (name, _) in block.iter() {
                grow(side, Buffer::HttpHeaderNames, &[name, b"\r\n"]);
            }
            side.grow(Buffer::HttpHeaderNames, b"\r\n");
        }
    }

    /// Each header for itself; colons in it are doubled, so that the one between name and value stands out.
    fn each(&mut self, buffer: Buffer) {
        if !self.wanted.has(buffer) {
            return;
        }
        for (name, value) in self.block.iter() {
            self.side.put(buffer, b"");
            for (at, text) in [name, value].into_iter().enumerate() {
                if at > 0 {
                    self.side.grow(buffer, b": ");
                }
                for piece in text.split_inclusive(|byte| *byte == b':') {
                    self.side.grow(buffer, piece);
                    if piece.ends_with(b":") {
                        self.side.grow(buffer, b":");
                    }
                }
            }
        }
    }
}

fn grow(side: &mut Side, buffer: Buffer, pieces: &[&[u8]]) {
    for piece in pieces {
        side.grow(buffer, piece);
    }
}

/// Without blanks around it.
fn trimmed(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let from = value.iter().position(is_text).unwrap_or(value.len());
    let to = value.iter().rposition(is_text).map_or(from, |at| at + 1);
    value.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::dpi::http2::Http2;
    use crate::dpi::trial::Trial;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn literal(name: &str, value: &str) -> Vec<u8> {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    }

    #[test]
    fn headers_are_told_as_http_1_has_them() {
        let request = [
            literal(":method", "POST"),
            literal(":path", "/a%20b?c"),
            literal(":authority", "X.org:80"),
            literal("cookie", "a=b"),
            literal("accept", " x "),
            literal("accept", "y"),
        ];
        let response = [literal(":status", "404"), literal("server", ""), literal("set-cookie", "q")];
        let client = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
            frame(1, 4, 1, &request.concat()),
            frame(0, 1, 1, b"hello"),
            frame(8, 0, 1, &[0, 0, 1, 0]),
        ];
        let server = [frame(1, 4, 1, &response.concat()), frame(3, 0, 1, &[0, 0, 0, 8])];
        let mut trial = Trial::<Http2>::new().client(&client.concat()).server(&server.concat()).close();
        expect_test::expect![[r#"
            client 0 Http2FrameType 4
            client 0 Http2Setting 12884901988
            client 1 http.method POST
            client 1 http.uri /a%20b?c
            client 1 http.uri.raw /a%20b?c
            client 1 http.request_line POST /a%20b?c HTTP/2\r\n
            client 1 http.host.raw X.org:80
            client 1 http.host x.org
            client 1 http.cookie a=b
            client 1 http.accept  x , y
            client 1 http.protocol HTTP/2
            client 1 http.header :method: POST\r\n:path: /a%20b?c\r\n:authority: X.org:80\r\naccept: x\r\naccept: y\r\n
            client 1 http.header.raw :method: POST\r\n:path: /a%20b?c\r\n:authority: X.org:80\r\ncookie: a=b\r\naccept:  x \r\naccept: y\r\n
            client 1 http.header_names \r\n:method\r\n:path\r\n:authority\r\ncookie\r\naccept\r\naccept\r\n\r\n
            client 1 http.request_header ::method: POST
            client 1 http.request_header ::path: /a%20b?c
            client 1 http.request_header ::authority: X.org::80
            client 1 http.request_header cookie: a=b
            client 1 http.request_header accept:  x 
            client 1 http.request_header accept: y
            client 1 http2.header ::method: POST
            client 1 http2.header ::path: /a%20b?c
            client 1 http2.header ::authority: X.org::80
            client 1 http2.header cookie: a=b
            client 1 http2.header accept:  x 
            client 1 http2.header accept: y
            client 1 http2.header_name :method
            client 1 http2.header_name :path
            client 1 http2.header_name :authority
            client 1 http2.header_name cookie
            client 1 http2.header_name accept
            client 1 http2.header_name accept
            client 1 http.request_body hello
            client 1 file.data hello
            client 1 file.name /a%20b
            client 1 file.magic ASCII text, with no line terminators
            client 1 file md5 5d41402abc4b2a76b9719d911017c592
            client 1 file sha1 aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d
            client 1 file sha256 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
            client 1 Http2FrameType 1
            client 1 Http2FrameType 0
            client 1 FileSizeMin 5
            client 1 FileSize 5
            client 1 Http2FrameType 8
            client 1 Http2Window 256
            server 1 http.stat_code 404
            server 1 http.response_line HTTP/2 404\r\n
            server 1 http.stat_msg 
            server 1 http.cookie q
            server 1 http.protocol HTTP/2
            server 1 http.header :status: 404\r\nserver: \r\n
            server 1 http.header.raw :status: 404\r\nserver: \r\nset-cookie: q\r\n
            server 1 http.header_names \r\n:status\r\nserver\r\nset-cookie\r\n\r\n
            server 1 http.response_header ::status: 404
            server 1 http.response_header server: 
            server 1 http.response_header set-cookie: q
            server 1 http2.header ::status: 404
            server 1 http2.header server: 
            server 1 http2.header set-cookie: q
            server 1 http2.header_name :status
            server 1 http2.header_name server
            server 1 http2.header_name set-cookie
            server 1 Http2FrameType 1
            server 1 Http2FrameType 3
            server 1 Http2ErrorCode 8
        "#]]
        .assert_eq(&trial.told());
    }

    #[test]
    fn what_an_authority_should_not_say_is_odd() {
        let odd = |headers: &[(&str, &str)]| {
            let block: Vec<u8> = headers.iter().flat_map(|(name, value)| literal(name, value)).collect();
            let client = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(1, 4, 1, &block)].concat();
            Trial::<Http2>::new().client(&client).odd()
        };
        assert_eq!(odd(&[(":authority", "A"), ("host", "a")]), "");
        assert_eq!(odd(&[(":authority", "a"), ("host", "b")]), "client authority_host_mismatch\n");
        assert_eq!(odd(&[(":authority", "b@a")]), "client userinfo_in_uri\n");
    }

    #[test]
    fn what_comes_on_a_stream_that_is_over_is_odd() {
        let begin =
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(1, 5, 1, &literal(":method", "GET"))];
        let trial = || Trial::<Http2>::new().client(&begin.concat());
        let answer = frame(1, 5, 1, &literal(":status", "200"));
        assert_eq!(trial().server(&answer).client(&frame(8, 0, 1, &[0, 0, 0, 1])).odd(), "");
        assert_eq!(trial().server(&answer).client(&frame(0, 0, 1, b"x")).odd(), "client stream_id_reuse\n");
        assert_eq!(
            trial().client(&frame(3, 0, 1, &[0; 4])).server(&answer).odd(),
            "server stream_id_reuse\n"
        );
    }
}
