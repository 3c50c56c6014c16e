//! Headers of a message: which are kept, and how their values are taken apart (RFC 5322, RFC 2047, RFC 2231).

use crate::dpi::scan::base64;
use std::borrow::Cow;

/// Most pieces that a parameter may be split into (RFC 2231 section 3).
const PIECES_MAX: usize = 32;

macro_rules! headers {
    ($($variant:ident $name:literal,)*) => {
        /// A header that is kept.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Header { $($variant,)* }

        impl Header {
            /// The header of a name.
            pub(super) fn named(name: &[u8]) -> Option<Header> {
                $(if name.eq_ignore_ascii_case($name) { return Some(Header::$variant); })*
                None
            }
        }
    };
}

headers! {
    From b"from",
    To b"to",
    Cc b"cc",
    Bcc b"bcc",
    ReplyTo b"reply-to",
    MessageId b"message-id",
    Subject b"subject",
    XMailer b"x-mailer",
    UserAgent b"user-agent",
    Received b"received",
    XOriginatingIp b"x-originating-ip",
    InReplyTo b"in-reply-to",
    References b"references",
    Importance b"importance",
    Priority b"priority",
    Sensitivity b"sensitivity",
    Organization b"organization",
    ContentMd5 b"content-md5",
    Date b"date",
}

/// How EVE tells a header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// The first one's value.
    Text,
    /// The first one's addresses.
    Addresses,
    /// The values of all of them.
    Every,
}

/// The headers that EVE tells, in its order and under its keys.
pub(super) const TOLD: &[(Header, &str, Told)] = &[
    (Header::From, "from", Told::Text),
    (Header::To, "to", Told::Addresses),
    (Header::Cc, "cc", Told::Addresses),
    (Header::ReplyTo, "reply_to", Told::Text),
    (Header::Bcc, "bcc", Told::Addresses),
    (Header::MessageId, "message_id", Told::Text),
    (Header::Subject, "subject", Told::Text),
    (Header::XMailer, "x_mailer", Told::Text),
    (Header::UserAgent, "user_agent", Told::Text),
    (Header::Received, "received", Told::Every),
    (Header::XOriginatingIp, "x_originating_ip", Told::Text),
    (Header::InReplyTo, "in_reply_to", Told::Text),
    (Header::References, "references", Told::Text),
    (Header::Importance, "importance", Told::Text),
    (Header::Priority, "priority", Told::Text),
    (Header::Sensitivity, "sensitivity", Told::Text),
    (Header::Organization, "organization", Told::Text),
    (Header::ContentMd5, "content_md5", Told::Text),
    (Header::Date, "date", Told::Text),
];

/// The addresses of a list: what stands between commas that are not in quotes.
pub(super) fn addresses(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    value
        .split(move |byte| {
            is_quoted ^= *byte == b'"';
            *byte == b',' && !is_quoted
        })
        .map(<[u8]>::trim_ascii)
        .filter(|address| !address.is_empty())
}

/// The value of a parameter, joined where it was split and decoded where it was encoded (RFC 2231).
pub(super) fn parameter(value: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut is_quoted = false;
    let parameters = value.split(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == b';' && !is_quoted
    });
    let mut joined: Option<Vec<u8>> = None;
    let mut pieces = 0;
    for parameter in parameters.skip(1) {
        let Some(equals) = memchr::memchr(b'=', parameter) else { continue };
        let Some((key, text)) = parameter.split_at_checked(equals) else { continue };
        let (key, text) = (key.trim_ascii(), text.get(1..).unwrap_or_default().trim_ascii());
        let Some((head, kind)) = key.split_at_checked(name.len()) else { continue };
        if !head.eq_ignore_ascii_case(name) || !matches!(kind.first(), None | Some(b'*')) {
            continue;
        }
        let text = text.strip_prefix(b"\"").map_or(text, |text| text.strip_suffix(b"\"").unwrap_or(text));
        if kind.is_empty() {
            return Some(unquoted(text));
        }
        pieces += 1;
        if pieces > PIECES_MAX {
            break;
        }
        let joined = joined.get_or_insert_default();
        if kind.ends_with(b"*") {
            // The first piece names a character set and a language.
            let is_first = joined.is_empty();
            let after = text.splitn(3, |byte| *byte == b'\'').nth(2).filter(|_| is_first);
            joined.extend(percent_decoded(after.unwrap_or(text)));
        } else {
            joined.extend_from_slice(text);
        }
    }
    joined
}

/// Without the backslashes of a quoted string.
fn unquoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(*byte),
        }
    }
    out
}

fn hex(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits.first_chunk::<2>()?.map(|digit| char::from(digit).to_digit(16));
    Some((high? << 4 | low?) as u8)
}

/// With each mark and two digits as the byte that they stand for.
fn marked_decoded(text: &[u8], mark: u8, blank: Option<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == mark
            && let Some(value) = hex(after)
        {
            out.push(value);
            rest = after.get(2..).unwrap_or_default();
        } else {
            out.push(if blank == Some(*byte) { b' ' } else { *byte });
        }
    }
    out
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    marked_decoded(text, b'%', None)
}

/// Text with its encoded words decoded (RFC 2047). Of character sets, UTF-8 and those that are Latin 1 are
/// known; others stay bytes.
pub(super) fn encoded_words(value: &[u8]) -> Cow<'_, str> {
    if memchr::memmem::find(value, b"=?").is_none() {
        return String::from_utf8_lossy(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    let mut is_after_word = false;
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let Some((before, word)) = rest.split_at_checked(at) else { break };
        let parsed = word.get(2..).and_then(encoded_word);
        // Blanks between encoded words are not part of the text.
        if !(is_after_word && parsed.is_some() && before.trim_ascii().is_empty()) {
            out.push_str(&String::from_utf8_lossy(before));
        }
        match parsed {
            Some((text, used)) => {
                out.push_str(&text);
                rest = word.get(2 + used..).unwrap_or_default();
                is_after_word = true;
            }
            None => {
                out.push_str("=?");
                rest = word.get(2..).unwrap_or_default();
                is_after_word = false;
            }
        }
    }
    out.push_str(&String::from_utf8_lossy(rest));
    out.into()
}

/// `charset?encoding?text?=`, decoded, and how long it is.
fn encoded_word(word: &[u8]) -> Option<(String, usize)> {
    let mut parts = word.splitn(3, |byte| *byte == b'?');
    let (charset, encoding, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let end = memchr::memmem::find(rest, b"?=")?;
    let text = rest.get(..end)?;
    let bytes = match encoding {
        b"B" | b"b" => base64(text),
        b"Q" | b"q" => marked_decoded(text, b'=', Some(b'_')),
        _ => return None,
    };
    let is_latin = [&b"iso-8859-1"[..], b"iso-8859-15", b"windows-1252", b"latin1"];
    let text = if is_latin.iter().any(|name| charset.eq_ignore_ascii_case(name)) {
        bytes.iter().map(|byte| char::from(*byte)).collect()
    } else {
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Some((text, charset.len() + encoding.len() + end + 4))
}
