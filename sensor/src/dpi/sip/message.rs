//! Messages of lines as SIP and RTSP have them (RFC 3261 section 7, RFC 7826 section 5): first line, headers, body.
//!
//! In: a stream or a datagram. Out: views. Headers are given as they stand; a folded line is part of its header.

use crate::dpi::scan::line;

/// Most bytes of a first line and headers that are waited for in a stream. With more, it is not one.
pub(in crate::dpi) const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most headers of a message that are looked at.
const HEADERS_MAX: usize = 128;

/// The head of a message.
#[derive(Clone, Copy, Debug)]
pub(in crate::dpi) struct Head<'a> {
    /// The first line without its end.
    pub first: &'a [u8],
    /// The headers with the end of the last line.
    pub headers: &'a [u8],
    /// Bytes of the first line with its end.
    pub line_bytes: usize,
    /// Bytes up to the body.
    pub bytes: usize,
}

/// What a first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dpi) enum FirstLine<'a> {
    Request { method: &'a [u8], uri: &'a [u8], version: &'a [u8] },
    Response { version: &'a [u8], code: &'a [u8], reason: &'a [u8] },
}

impl<'a> Head<'a> {
    /// The head at the front. None: its end is not there.
    pub(in crate::dpi) fn parse(bytes: &'a [u8]) -> Option<Head<'a>> {
        let within = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
        let (first, mut at) = line(within)?;
        let begin = at;
        loop {
            let (line, used) = line(within.get(at..)?)?;
            if line.is_empty() {
                let headers = within.get(begin..at)?;
                return Some(Head { first, headers, line_bytes: begin, bytes: at + used });
            }
            at += used;
        }
    }

    /// The head at the front of a whole datagram, which may end without an empty line.
    pub(in crate::dpi) fn of_datagram(bytes: &'a [u8]) -> Option<Head<'a>> {
        Head::parse(bytes).or_else(|| {
            let (first, at) = line(bytes)?;
            Some(Head { first, headers: bytes.get(at..)?, line_bytes: at, bytes: bytes.len() })
        })
    }

    fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.headers;
        std::iter::from_fn(move || {
            let (header, used) = line(rest)?;
            rest = rest.get(used..)?;
            Some(header)
        })
        .take(HEADERS_MAX)
        .filter_map(|header| {
            let colon = memchr::memchr(b':', header)?;
            let (name, value) = header.split_at_checked(colon)?;
            Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
        })
    }

    /// The values of all headers of one of these names, which are in lower case.
    pub(in crate::dpi) fn values(&self, names: &[&[u8]]) -> impl Iterator<Item = &'a [u8]> {
        let is_it = |have: &[u8]| names.iter().any(|name| have.eq_ignore_ascii_case(name));
        self.headers().filter(move |(have, _)| is_it(have)).map(|(_, value)| value)
    }

    /// The value of the first header of one of these names, which are in lower case.
    pub(in crate::dpi) fn value(&self, names: &[&[u8]]) -> Option<&'a [u8]> {
        self.headers()
            .find(|(have, _)| names.iter().any(|name| have.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value)
    }

    /// Bytes of the body as the header says.
    pub(in crate::dpi) fn body_bytes(&self) -> Option<usize> {
        str::from_utf8(self.value(&[b"content-length", b"l"])?).ok()?.parse().ok()
    }

    /// What the first line says, in the version of this name.
    pub(in crate::dpi) fn first_line(&self, protocol: &[u8]) -> Option<FirstLine<'a>> {
        FirstLine::parse(self.first, protocol)
    }
}

impl<'a> FirstLine<'a> {
    /// Reads a first line whose version begins with `protocol`: `SIP/`.
    pub(in crate::dpi) fn parse(line: &'a [u8], protocol: &[u8]) -> Option<FirstLine<'a>> {
        let (first, rest) = word(line)?;
        if first.starts_with(protocol) {
            let (code, reason) = word(rest).unwrap_or((rest, &[]));
            let fits = matches!(code, [b'1'..=b'6', b'0'..=b'9', b'0'..=b'9']);
            return fits.then_some(FirstLine::Response { version: first, code, reason });
        }
        let at = memchr::memrchr(b' ', rest)?;
        let (uri, version) = (rest.get(..at)?, rest.get(at + 1..)?);
        let fits = version.starts_with(protocol)
            && !uri.is_empty()
            && first.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!%*+`'~".contains(byte));
        fits.then_some(FirstLine::Request { method: first, uri, version })
    }
}

fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b' ', line).filter(|at| *at > 0)?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_requests_or_responses() {
        let request = FirstLine::parse(b"INVITE sip:a b@c SIP/2.0", b"SIP/");
        assert_eq!(
            request,
            Some(FirstLine::Request { method: b"INVITE", uri: b"sip:a b@c", version: b"SIP/2.0" })
        );
        let response = FirstLine::parse(b"SIP/2.0 200 All fine", b"SIP/");
        assert_eq!(
            response,
            Some(FirstLine::Response { version: b"SIP/2.0", code: b"200", reason: b"All fine" })
        );
        for wrong in
            [&b"INVITE sip:a HTTP/1.1"[..], b"SIP/2.0 2000 x", b"SIP/2.0", b" a SIP/2.0", b"A SIP/2.0"]
        {
            assert_eq!(FirstLine::parse(wrong, b"SIP/"), None, "{wrong:?}");
        }
    }

    #[test]
    fn heads_end_with_an_empty_line() {
        let head = Head::parse(b"A b SIP/2.0\r\nl: 5\nUser-agent :  x \r\n\r\nbody").unwrap();
        assert_eq!(head.body_bytes(), Some(5));
        assert_eq!(head.value(&[b"user-agent"]), Some(&b"x"[..]));
        assert_eq!(head.value(&[b"server"]), None);
        assert_eq!(head.bytes, 38);
        assert!(Head::parse(b"A b SIP/2.0\r\nl: 5\r\n").is_none());
        assert!(Head::of_datagram(b"A b SIP/2.0\r\nl: 5\r\n").is_some());
    }
}
