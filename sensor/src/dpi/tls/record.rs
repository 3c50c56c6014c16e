//! The record layer (RFC 8446 section 5.1, RFC 6101 section 5.2) and how a stream is known by it.
//!
//! In: bytes of a TCP stream. Out: record headers, handshake bytes put together over several records,
//! and whether first bytes are TLS at all. SSL 2.0's hellos, which have no such records, are known
//! here too. Knows nothing of what a handshake message says.

use super::handshake::{is_version, version};
use crate::dpi::Probe;
use std::borrow::Cow;

/// Bytes of a record's header: type, version, length.
pub(crate) const HEADER_BYTES: usize = 5;
/// Most bytes of a record's content: 2^14 and what TLS 1.2 allows encryption to add (RFC 5246 section 6.2.3).
pub(crate) const CONTENT_BYTES_MAX: usize = (1 << 14) + 2048;
/// Most bytes of a handshake message that are put together. A longer message is passed over, counted
/// as malformed; of a Certificate message only the first certificate counts.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Handshake messages, or parts of them.
    Handshake,
    /// What follows is encrypted.
    ChangeCipherSpec,
    /// Alerts, clear or encrypted.
    Alert,
    /// Everything encrypted.
    ApplicationData,
    /// Signs of life (RFC 6520).
    Heartbeat,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// What the record carries.
    pub content: Content,
    /// How many bytes of it follow.
    pub bytes: usize,
}

impl Header {
    /// Reads a header; `None` when these bytes are none.
    pub(crate) fn parse(header: [u8; HEADER_BYTES]) -> Option<Header> {
        let content = match header[0] {
            20 => Content::ChangeCipherSpec,
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::ApplicationData,
            24 => Content::Heartbeat,
            _ => return None,
        };
        let bytes = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let plausible = header[1] == 3
            && header[2] <= 4
            && bytes <= CONTENT_BYTES_MAX
            // RFC 8446 section 5.1: only application data may be empty.
            && (bytes > 0 || content == Content::ApplicationData);
        plausible.then_some(Header { content, bytes })
    }

    /// What is wrong with bytes that are none, by Suricata's name.
    pub(crate) fn fault(bytes: &[u8]) -> &'static str {
        match bytes.first_chunk::<HEADER_BYTES>() {
            Some([20..=24, major, minor, ..]) if *major != 3 || *minor > 4 => "invalid_record_version",
            Some([20..=24, _, _, l0, l1])
                if usize::from(u16::from_be_bytes([*l0, *l1])) > CONTENT_BYTES_MAX =>
            {
                "invalid_record_length"
            }
            _ => "invalid_record_type",
        }
    }

    /// The header that `bytes` begin with: `None` while it is not all there.
    pub(crate) fn at(bytes: &[u8]) -> Option<Option<Header>> {
        bytes.first_chunk::<HEADER_BYTES>().map(|header| Header::parse(*header))
    }
}

/// Bytes of a handshake message, as far as the stream has them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gathered<'a> {
    /// All that were wanted.
    Whole(Cow<'a, [u8]>),
    /// At least so many more bytes of the stream are needed.
    Missing(usize),
    /// The message breaks off: something else follows where it should go on.
    Interrupted,
}

/// Puts `wanted` bytes of a handshake message together. `bytes` begin in a record of which `left`
/// bytes are left, at the message's first; only what spans records is copied.
pub(crate) fn gather(bytes: &[u8], left: usize, wanted: usize) -> Gathered<'_> {
    let first = bytes.get(..left).unwrap_or(bytes);
    if let Some(message) = first.get(..wanted) {
        return Gathered::Whole(Cow::Borrowed(message));
    }
    let mut have = first.len();
    let mut pieces = Pieces { bytes, at: left };
    while have < wanted {
        match pieces.next() {
            Some(Ok(piece)) => have += piece.len(),
            Some(Err(Broken)) => return Gathered::Interrupted,
            None => return Gathered::Missing(wanted - have),
        }
    }
    let mut message = Vec::with_capacity(wanted);
    message.extend_from_slice(first);
    for piece in (Pieces { bytes, at: left }).flatten() {
        let room = wanted - message.len();
        message.extend_from_slice(piece.get(..room).unwrap_or(piece));
        if message.len() == wanted {
            break;
        }
    }
    Gathered::Whole(Cow::Owned(message))
}

/// Whether the first bytes that either side sends are a TLS stream's.
///
/// Beside hellos, an alert is recognised, and a stream picked up in the middle by two records in a row.
pub(crate) fn probe(bytes: &[u8]) -> Probe {
    if let Some(kind) = ssl2_hello(bytes) {
        return kind;
    }
    match bytes.first() {
        None => Probe::Unsure,
        Some(20 | 21 | 23) => probe_other(bytes),
        Some(22) => probe_handshake(bytes),
        Some(_) => Probe::NotForUs,
    }
}

/// Whether the bytes are one record with ciphertext in it and nothing else: a number or tag and something more.
pub(crate) fn is_one_sealed_record(bytes: &[u8]) -> bool {
    const SEALED_BYTES_MIN: usize = 17;
    matches!(Header::at(bytes), Some(Some(Header { content: Content::Alert | Content::ApplicationData, bytes: content }))
        if content >= SEALED_BYTES_MIN && content + HEADER_BYTES == bytes.len())
}

/// A stream that begins with no handshake: a refusal, or the middle of a session.
fn probe_other(bytes: &[u8]) -> Probe {
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Probe::NotForUs;
    }
    let header = match Header::at(bytes) {
        None => return Probe::Unsure,
        Some(None) => return Probe::NotForUs,
        Some(Some(header)) => header,
    };
    let content = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let (warning, fatal, change_cipher_spec) = (1, 2, 1);
    match (header.content, header.bytes, content.first()) {
        (Content::Alert, 2, None) | (Content::ChangeCipherSpec, 1, None) => Probe::Unsure,
        (Content::Alert, 2, Some(level)) if (warning..=fatal).contains(level) => Probe::Certain,
        (Content::ChangeCipherSpec, 1, Some(kind)) if *kind == change_cipher_spec => probe_next(content, 1),
        (Content::ApplicationData, 1.., _) => probe_next(content, header.bytes),
        _ => Probe::NotForUs,
    }
}

/// Handshake record: the message in it must be a hello of plausible size and version.
fn probe_handshake(bytes: &[u8]) -> Probe {
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Probe::NotForUs;
    }
    let header = match Header::at(bytes) {
        Some(Some(header)) => header,
        Some(None) => return Probe::NotForUs,
        None => return Probe::Unsure,
    };
    let message = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let (client, server) = (1, 2);
    let Some(&kind) = message.first() else { return Probe::Unsure };
    if kind != client && kind != server {
        return Probe::NotForUs;
    }
    if header.bytes < 6 {
        // A hello cut into crumbs: the next record must go on with it.
        return probe_next(message, header.bytes);
    }
    let Some(start) = message.first_chunk::<6>() else { return Probe::Unsure };
    let length = u32::from_be_bytes([0, start[1], start[2], start[3]]) as usize;
    // Version, random, and at least a cipher suite.
    let plausible =
        (36..MESSAGE_BYTES_MAX).contains(&length) && is_version(u16::from_be_bytes([start[4], start[5]]));
    if plausible { Probe::Certain } else { Probe::NotForUs }
}

/// Whether another record's header stands behind so many bytes of content.
fn probe_next(content: &[u8], bytes: usize) -> Probe {
    match Header::at(content.get(bytes..).unwrap_or_default()) {
        Some(Some(_)) => Probe::Certain,
        Some(None) => Probe::NotForUs,
        None => Probe::Unsure,
    }
}

/// A hello in SSL 2.0's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ssl2Hello {
    /// Whether it is the server's.
    pub server: bool,
    /// The version it speaks of; clients wrapped SSL 3.0 and TLS in this form, too.
    pub version: u16,
    /// Bytes of the whole record.
    pub bytes: usize,
}

impl Ssl2Hello {
    /// Bytes of a hello needed to tell it: record length, type and the counts of what follows.
    const FIXED_BYTES: usize = 11;

    /// The hello that `bytes` begin with.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Ssl2Hello> {
        let fixed = bytes.first_chunk::<{ Ssl2Hello::FIXED_BYTES }>()?;
        let number = |at: usize| -> usize { u16::from_be_bytes([fixed[at], fixed[at + 1]]).into() };
        let record = number(0) & 0x7fff;
        let counts = [5, 7, 9].map(number);
        let whole = record == Self::FIXED_BYTES - 2 + counts.iter().sum::<usize>();
        match fixed[2] {
            1 => {
                let [ciphers, session, challenge] = counts;
                let fine = whole
                    && is_ssl2_version(fixed[3], fixed[4])
                    && ciphers > 0
                    && ciphers % 3 == 0
                    && session <= 32
                    && (16..=32).contains(&challenge);
                fine.then(|| Ssl2Hello { server: false, version: number(3) as u16, bytes: record + 2 })
            }
            // Session hit, certificate type, version, then counts of certificate, ciphers and connection,
            // eleven bytes with the type.
            4 => {
                let counts = [7, 9].map(number);
                let connection = record.checked_sub(11 + counts[0] + counts[1]);
                let fine = fixed[3] <= 1
                    && fixed[4] <= 1
                    && number(5) as u16 == version::SSL_2
                    && counts[1] % 3 == 0
                    && connection.is_some_and(|bytes| bytes <= 32);
                fine.then_some(Ssl2Hello { server: true, version: version::SSL_2, bytes: record + 2 })
            }
            _ => None,
        }
    }
}

fn is_ssl2_version(high: u8, low: u8) -> bool {
    matches!((high, low), (0, 2) | (3, 0..=3))
}

/// Whether the bytes are an SSL 2.0 hello; `None` when they are not and something else may be tried.
fn ssl2_hello(bytes: &[u8]) -> Option<Probe> {
    if bytes.first()? & 0x80 == 0 {
        return None;
    }
    if bytes.len() < Ssl2Hello::FIXED_BYTES {
        let fits = match bytes {
            [_, _, 1, high, low, ..] => is_ssl2_version(*high, *low),
            [_, _, 1, high] => matches!(high, 0 | 3),
            [_, _, 4, rest @ ..] => rest.iter().zip([1u8, 1, 0, 2]).all(|(byte, most)| *byte <= most),
            [_, _, kind, ..] => matches!(kind, 1 | 4),
            _ => true,
        };
        return Some(if fits { Probe::Unsure } else { Probe::NotForUs });
    }
    Some(if Ssl2Hello::parse(bytes).is_some() { Probe::Certain } else { Probe::NotForUs })
}

/// A record where no handshake record may be.
struct Broken;

/// The contents of the handshake records from `at` on, the last one as far as it is there.
struct Pieces<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<&'a [u8], Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let header = match Header::at(rest)? {
            Some(header) if header.content == Content::Handshake => header,
            _ => return Some(Err(Broken)),
        };
        self.at += HEADER_BYTES + header.bytes;
        let content = rest.get(HEADER_BYTES..)?;
        Some(Ok(content.get(..header.bytes).unwrap_or(content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_one_only_within_its_borders() {
        let parse = |header| Header::parse(header);
        let handshake = |bytes| Some(Header { content: Content::Handshake, bytes });
        assert_eq!(parse([22, 3, 0, 0, 1]), handshake(1));
        assert_eq!(parse([22, 3, 4, 0x48, 0]), handshake(CONTENT_BYTES_MAX));
        for wrong in
            [[22, 3, 4, 0x48, 1], [22, 3, 5, 0, 1], [22, 2, 0, 0, 1], [19, 3, 3, 0, 1], [25, 3, 3, 0, 1]]
        {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        // Only application data may be empty.
        assert_eq!(parse([23, 3, 3, 0, 0]), Some(Header { content: Content::ApplicationData, bytes: 0 }));
        assert_eq!(parse([22, 3, 3, 0, 0]), None);
    }

    #[test]
    fn a_message_within_a_record_is_not_copied() {
        assert_eq!(gather(b"abcdef", 6, 4), Gathered::Whole(Cow::Borrowed(b"abcd")));
        assert!(matches!(gather(b"abcdef", 6, 4), Gathered::Whole(Cow::Borrowed(_))));
    }

    #[test]
    fn a_message_over_records_is_put_together() {
        let stream = b"abc\x16\x03\x03\x00\x02de\x16\x03\x03\x00\x04fghi";
        assert_eq!(gather(stream, 3, 7), Gathered::Whole(Cow::Borrowed(b"abcdefg")));
        assert_eq!(gather(&stream[..3], 3, 7), Gathered::Missing(4));
        assert_eq!(gather(&stream[..9], 3, 7), Gathered::Missing(3));
        assert_eq!(gather(&stream[..15], 3, 7), Gathered::Missing(2));
        assert_eq!(gather(b"abc\x15\x03\x03\x00\x02de", 3, 4), Gathered::Interrupted);
        assert_eq!(gather(b"ab", 3, 3), Gathered::Missing(1));
    }
}
