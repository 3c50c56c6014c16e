//! Whether bytes begin an HTTP/1.x message.
//!
//! In: the first bytes of a direction, or of a segment. Out: how sure that is. A request is known by its
//! whole line, whatever its method; a long one already by a method and a target that only HTTP has.

use super::head::{RequestLine, line};
use crate::dpi::Probe;

/// Methods in use, by IANA's registry and beyond it (UPnP, WebDAV, Microsoft's remote access).
const METHODS: [&[u8]; 46] = [
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"CONNECT",
    b"TRACE",
    b"PATCH",
    b"ACL",
    b"BASELINE-CONTROL",
    b"BCOPY",
    b"BDELETE",
    b"BIND",
    b"BITS_POST",
    b"BMOVE",
    b"BPROPFIND",
    b"CCM_POST",
    b"CHECKIN",
    b"CHECKOUT",
    b"COPY",
    b"LABEL",
    b"LINK",
    b"LOCK",
    b"M-SEARCH",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MKWORKSPACE",
    b"MOVE",
    b"NOTIFY",
    b"POLL",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"REBIND",
    b"REPORT",
    b"RPC_IN_DATA",
    b"RPC_OUT_DATA",
    b"SEARCH",
    b"SSTP_DUPLEX_POST",
    b"SUBSCRIBE",
    b"UNLOCK",
    b"UNSUBSCRIBE",
    b"VERSION-CONTROL",
];
/// Longest method of a message that is taken for HTTP.
const METHOD_BYTES_MAX: usize = 32;
/// From this many bytes on, a known method with an absolute path or URL is enough.
const REQUEST_BYTES_MIN: usize = 64;
/// A response line up to its status.
const STATUS_LINE_BYTES: usize = b"HTTP/1.1 200".len();

/// How sure the first bytes are.
pub(super) fn probe(bytes: &[u8]) -> Probe {
    let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    match bytes.get(empty..) {
        None | Some([]) => Probe::Unsure,
        Some(bytes) if b"HTTP/".starts_with(bytes.get(..5).unwrap_or(bytes)) => probe_response(bytes),
        Some(bytes) => probe_request(bytes),
    }
}

/// Whether a segment begins with a message for certain.
pub(super) fn is_message_start(bytes: &[u8]) -> bool {
    probe(bytes) == Probe::Certain
}

/// Whether a message may begin here, in a flow that is known to be HTTP.
pub(super) fn may_be_message_start(bytes: &[u8]) -> bool {
    let begin = bytes.get(..METHOD_BYTES_MAX).unwrap_or(bytes);
    let token = begin.iter().take_while(|byte| is_token(**byte)).count();
    token > 0 && begin.get(token).is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'/' | b'\r' | b'\n'))
}

/// Of the bytes behind a request, sent together with it, the first line where it begins no other request: its length
/// with its end, or with all that there is.
pub(super) fn unexpected_body(bytes: &[u8]) -> Option<usize> {
    let used = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
    let line = bytes.get(..used)?.trim_ascii();
    let method = line.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
    let is_request = is_method(line.get(..method)?)
        || RequestLine::new(line).is_some_and(|request| request.protocol.starts_with(b"HTTP/"));
    (!line.is_empty() && !is_request).then_some(used)
}

/// The same behind a response, where anything but another response's line is meant.
pub(super) fn unexpected_answer(bytes: &[u8]) -> Option<usize> {
    const BEGIN: &[u8] = b"HTTP";
    let end = memchr::memchr(b'\n', bytes);
    let used = end.map_or(bytes.len(), |end| end + 1);
    let line = bytes.get(..used)?;
    let blanks = line.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0).count();
    let text = line.get(blanks..)?;
    let begin = text.get(..BEGIN.len()).unwrap_or(text);
    let may_go_on = end.is_none() && begin.len() < BEGIN.len();
    let is_response = match may_go_on {
        true => BEGIN.get(..begin.len()).is_some_and(|want| want.eq_ignore_ascii_case(begin)),
        false => begin.eq_ignore_ascii_case(BEGIN),
    };
    (!is_response).then_some(used)
}

/// Whether it is a method in use.
pub(super) fn is_method(method: &[u8]) -> bool {
    METHODS.contains(&method)
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn probe_response(bytes: &[u8]) -> Probe {
    let pattern = b"HTTP/v.v sss";
    let is_right = bytes.iter().zip(pattern).all(|(byte, want)| match want {
        b'v' | b's' => byte.is_ascii_digit(),
        want => byte == want,
    });
    // HTTP/2 has no such line.
    match (is_right, bytes.get(5)) {
        (true, Some(b'0' | b'1') | None) if bytes.len() < STATUS_LINE_BYTES => Probe::Unsure,
        (true, Some(b'0' | b'1')) => Probe::Certain,
        _ => Probe::NotForUs,
    }
}

fn probe_request(bytes: &[u8]) -> Probe {
    let begin = bytes.get(..METHOD_BYTES_MAX + 1).unwrap_or(bytes);
    let method = begin.iter().take_while(|byte| is_token(**byte)).count();
    let method = match begin.get(method) {
        Some(b' ' | b'\t') if method > 0 => bytes.get(..method).unwrap_or_default(),
        None if begin.len() <= METHOD_BYTES_MAX => return Probe::Unsure,
        _ => return Probe::NotForUs,
    };
    let target = bytes.get(method.len()..).unwrap_or_default();
    // What a target begins with is no control character, whether or not its line is whole.
    let begin = target.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    if begin.is_some_and(|byte| byte.is_ascii_control() && !matches!(byte, b'\r' | b'\n')) {
        return Probe::NotForUs;
    }
    if let Some((line, _)) = line(bytes) {
        let Some(request) = RequestLine::new(line) else { return Probe::NotForUs };
        return match request.protocol {
            [] if is_method(method) && request.target.starts_with(b"/") => Probe::Certain,
            [b'H', b'T', b'T', b'P', b'/', b'0' | b'1', ..] => Probe::Certain,
            _ => Probe::NotForUs,
        };
    }
    // A line with control characters is still one when its end has come, as evaders know.
    if target.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r')) {
        return Probe::Unsure;
    }
    let target = target.trim_ascii_start();
    let is_for_http = [&b"/"[..], b"http://", b"https://"].iter().any(|begin| target.starts_with(begin));
    let is_enough = is_method(method) && is_for_http && bytes.len() >= REQUEST_BYTES_MIN;
    if is_enough { Probe::Certain } else { Probe::Unsure }
}
