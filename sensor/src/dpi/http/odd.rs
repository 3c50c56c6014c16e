//! What libhtp finds odd about heads, beside what events tell.
//!
//! In: the first line of a head, and its header lines. Out: the names of Suricata's events, which signatures alone are
//! told. Deliberately absent: what is wrong with bodies and with the order of messages, which the dissector itself knows.

use super::body::range;
use super::lines::{Lines, RequestLine, ResponseLine, is_blank};
use super::uri::{Target, host};

/// Most content codings on top of each other that libhtp takes off.
const CODINGS_MAX: usize = 2;

/// Most events of one head.
const EVENTS_MAX: usize = 16;

/// What is odd about a request's head; `server`: the port that it was sent to.
pub(super) fn request(
    first: &[u8],
    raw: &[u8],
    lines: &Lines,
    server: u16,
) -> [Option<&'static str>; EVENTS_MAX] {
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
    let transfer = value(b"transfer-encoding").map(|text| text.to_ascii_lowercase());
    let is_unchunked = |text: Vec<u8>| memchr::memmem::find(&text, b"chunked").is_none();
    let port = port(request.target, request.method == b"CONNECT");
    let number = port.map(|port| number(port).filter(|number| *number > 0));
    let bad_port = match request.method {
        b"CONNECT" => "INVALID_AUTHORITY_PORT",
        _ => "INVALID_SERVER_PORT_IN_REQUEST",
    };
    let length = value(b"content-length").unwrap_or_default();
    // Between the target and the protocol.
    let behind = first.len().saturating_sub(request.protocol.len());
    let before = first.get(..behind).unwrap_or_default();
    let blanks = before.iter().rev().take_while(|byte| is_blank(**byte));
    let mut between = blanks.filter(|_| !request.protocol.is_empty());
    [
        between.any(|byte| *byte != b' ').then_some("URI_DELIM_NON_COMPLIANT"),
        matches!(raw, [b' ' | b'\t', ..]).then_some("INVALID_REQUEST_FIELD_FOLDING"),
        transfer.is_some_and(is_unchunked).then_some("INVALID_TRANSFER_ENCODING_VALUE_IN_REQUEST"),
        number.is_some_and(|number| number.is_none()).then_some(bad_port),
        number
            .flatten()
            .is_some_and(|number| number != server)
            .then_some("REQUEST_SERVER_PORT_TCP_PORT_MISMATCH"),
        extra_before(&length).then_some("CONTENT_LENGTH_EXTRA_DATA_START"),
        extra_behind(&length).then_some("CONTENT_LENGTH_EXTRA_DATA_END"),
        (is_new && host_line.is_none() && target.host.is_none()).then_some("MISSING_HOST_HEADER"),
        named.is_some_and(|host| host.is_empty() || !is_sound(host)).then_some("REQUEST_HEADER_HOST_INVALID"),
        target.host.is_some_and(|host| !is_sound(host)).then_some("REQUEST_URI_HOST_INVALID"),
        differs.then_some("HOST_HEADER_AMBIGUOUS"),
        authorization.is_some_and(|text| !is_known(&text)).then_some("REQUEST_AUTH_UNRECOGNIZED"),
        delimiter.is_some_and(|byte| *byte != b' ').then_some("METHOD_DELIM_NON_COMPLIANT"),
        (count_codings(&codings) > CODINGS_MAX).then_some("TOO_MANY_ENCODING_LAYERS"),
        None,
        None,
    ]
}

/// The same of a response's.
pub(super) fn response(first: &[u8], raw: &[u8], lines: &Lines) -> [Option<&'static str>; EVENTS_MAX] {
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
    let length = value(b"content-length");
    let kind = value(b"content-type").map(|text| text.to_ascii_lowercase());
    let is_of_ranges =
        kind.is_some_and(|kind| memchr::memmem::find(&kind, b"multipart/byteranges").is_some());
    let is_framed = length.is_some() || is_chunked;
    let has_length = length.is_some();
    let length = length.unwrap_or_default();
    [
        matches!(raw, [b' ' | b'\t', ..]).then_some("INVALID_RESPONSE_FIELD_FOLDING"),
        (status == b"101" && has_length).then_some("SWITCHING_PROTO_WITH_CONTENT_LENGTH"),
        (is_of_ranges && !is_framed).then_some("RESPONSE_MULTIPART_BYTERANGES"),
        value(b"content-range").is_some_and(|text| !is_range(&text)).then_some("RANGE_INVALID"),
        extra_before(&length).then_some("CONTENT_LENGTH_EXTRA_DATA_START"),
        extra_behind(&length).then_some("CONTENT_LENGTH_EXTRA_DATA_END"),
        (!is_status).then_some("RESPONSE_INVALID_STATUS"),
        (!is_protocol).then_some("RESPONSE_INVALID_PROTOCOL"),
        (is_chunked && response.protocol.ends_with(b"1.0")).then_some("RESPONSE_CHUNKED_OLD_PROTO"),
        (is_chunked && transfer.as_deref() != Some(b"chunked"))
            .then_some("RESPONSE_ABNORMAL_TRANSFER_ENCODING"),
        (count_codings(&codings) > CODINGS_MAX).then_some("TOO_MANY_ENCODING_LAYERS"),
        None,
        None,
        None,
        None,
        None,
    ]
}

/// The port that a target names.
fn port(target: &[u8], is_connect: bool) -> Option<&[u8]> {
    let authority = match is_connect {
        true => target,
        false => {
            let begin = memchr::memmem::find(target, b"://").filter(|_| !target.starts_with(b"/"))?;
            let behind = target.get(begin + 3..)?;
            let end = behind.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
            let authority = behind.get(..end.unwrap_or(behind.len()))?;
            let user = memchr::memchr(b'@', authority).map_or(0, |at| at + 1);
            authority.get(user..)?
        }
    };
    let inside = memchr::memchr(b']', authority).filter(|_| authority.starts_with(b"[")).unwrap_or(0);
    let behind = authority.get(inside..)?;
    behind.get(memchr::memchr(b':', behind)? + 1..)
}

fn number(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Whether something that is no digit stands before a length, or behind it.
fn extra_before(length: &[u8]) -> bool {
    length.first().is_some_and(|byte| !byte.is_ascii_digit()) && length.iter().any(u8::is_ascii_digit)
}

fn extra_behind(length: &[u8]) -> bool {
    let begin = length.iter().position(u8::is_ascii_digit).unwrap_or(length.len());
    length.get(begin..).unwrap_or_default().iter().any(|byte| !byte.is_ascii_digit())
}

/// Whether a range lies within what it is a part of, as far as it says of how much; a size alone is one too.
fn is_range(text: &[u8]) -> bool {
    let size = memchr::memchr(b'/', text).and_then(|slash| text.get(slash + 1..));
    let size = size.and_then(|size| std::str::from_utf8(size).ok()?.trim().parse::<u64>().ok());
    match range(text) {
        Some((first, last)) => first <= last && size.is_none_or(|size| last < size),
        None => size.is_some() && text.contains(&b'*'),
    }
}

fn count_codings(codings: &[u8]) -> usize {
    codings.split(|byte| matches!(byte, b',' | b' ')).filter(|coding| !coding.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use crate::dpi::http::Http;
    use crate::dpi::trial::Trial;

    /// What is odd about a request with this line and these header lines.
    fn asked(line: &str, lines: &str) -> String {
        Trial::<Http>::new().client(format!("{line}\r\nHost: a\r\n{lines}\r\n").as_bytes()).odd()
    }

    /// What is odd about the response to a sound request.
    fn answered(line: &str, lines: &str) -> String {
        let trial = Trial::<Http>::new().client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        trial.server(format!("{line}\r\n{lines}\r\n").as_bytes()).odd()
    }

    #[test]
    fn requests_are_judged_as_libhtp_judges_them() {
        let sound = "GET / HTTP/1.1";
        for (line, lines, event) in [
            (sound, "Transfer-Encoding: gzip\r\n", "INVALID_TRANSFER_ENCODING_VALUE_IN_REQUEST"),
            (sound, "Content-Length: x0\r\n", "CONTENT_LENGTH_EXTRA_DATA_START"),
            (sound, "Content-Length: 0x\r\n", "CONTENT_LENGTH_EXTRA_DATA_END"),
            ("GET /\tHTTP/1.1", "", "URI_DELIM_NON_COMPLIANT"),
            ("GET\t/ HTTP/1.1", "", "METHOD_DELIM_NON_COMPLIANT"),
            ("GET http://a:1/ HTTP/1.1", "", "REQUEST_SERVER_PORT_TCP_PORT_MISMATCH"),
            ("GET http://a:x/ HTTP/1.1", "", "INVALID_SERVER_PORT_IN_REQUEST"),
            ("CONNECT a:0 HTTP/1.1", "", "INVALID_AUTHORITY_PORT"),
        ] {
            let odd = asked(line, lines);
            assert!(odd.contains(event), "{line} {lines} {odd}");
        }
        // The server's port in trials.
        for line in
            [sound, "GET http://a:40001/ HTTP/1.1", "GET http://a/x:y HTTP/1.1", "CONNECT a:40001 HTTP/1.1"]
        {
            assert_eq!(asked(line, ""), "", "{line}");
        }
    }

    #[test]
    fn responses_are_judged_as_libhtp_judges_them() {
        let sound = "HTTP/1.1 206 x";
        for (line, lines, event) in [
            (sound, "Content-Range: bytes 5-4/9\r\nContent-Length: 0\r\n", "RANGE_INVALID"),
            (sound, "Content-Range: bytes 0-9/9\r\nContent-Length: 0\r\n", "RANGE_INVALID"),
            (sound, "Content-Type: multipart/byteranges; boundary=x\r\n", "RESPONSE_MULTIPART_BYTERANGES"),
            ("HTTP/1.1 101 x", "Content-Length: 0\r\n", "SWITCHING_PROTO_WITH_CONTENT_LENGTH"),
            (sound, " folded\r\nContent-Length: 0\r\n", "INVALID_RESPONSE_FIELD_FOLDING"),
        ] {
            let odd = answered(line, lines);
            assert!(odd.contains(event), "{line} {lines} {odd}");
        }
        for range in ["bytes 0-8/9", "bytes 0-8/*", "bytes */9"] {
            assert_eq!(
                answered(sound, &format!("Content-Range: {range}\r\nContent-Length: 0\r\n")),
                "",
                "{range}"
            );
        }
        let twice = "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 x";
        assert_eq!(answered(twice, "Content-Length: 0\r\n"), "server 100_CONTINUE_ALREADY_SEEN\n");
    }
}
