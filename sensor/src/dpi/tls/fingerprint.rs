//! Fingerprints of hellos: JA3 and JA3S (Althouse, Atkinson, Atkins, Salesforce 2017), JA4 (FoxIO 2023).
//!
//! In: the views of `handshake`. Out: the published texts and digests. What a fingerprint means, and
//! which are known, is not known here. GREASE values (RFC 8701) are left out everywhere.

use super::handshake::{self, ClientHello, ServerHello, extension, is_grease, numbers, version};
use crate::dpi::digest::{Hashing, Hex, Sink, digit};
use md5::Md5;
use sha2::Sha256;

/// Numbers sorted without allocating; a hello with more of a kind than this is no browser's.
const SORTED_INLINE: usize = 256;

/// What carries the handshake: JA4's first letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS over TCP.
    Tcp,
    /// DTLS.
    Dtls,
    /// QUIC.
    Quic,
}

/// JA3's text: version, cipher suites, extensions, groups, point formats, in decimal.
pub fn write_ja3(hello: &ClientHello<'_>, out: &mut impl Sink) {
    out.decimal(hello.version);
    out.put(b",");
    decimals(out, numbers(hello.cipher_suites));
    out.put(b",");
    decimals(out, hello.extensions.map(|(number, _)| number));
    out.put(b",");
    decimals(out, numbers(hello.groups));
    out.put(b",");
    decimals(out, hello.point_formats.iter().map(|format| u16::from(*format)));
}

/// JA3S's text: version, cipher suite, extensions, in decimal.
pub fn write_ja3s(hello: &ServerHello<'_>, out: &mut impl Sink) {
    out.decimal(hello.version);
    out.put(b",");
    out.decimal(hello.cipher_suite);
    out.put(b",");
    decimals(out, hello.extensions.map(|(number, _)| number));
}

/// JA3: the MD5 of its text. The text itself is appended to `text` when someone wants it.
pub fn ja3(hello: &ClientHello<'_>, text: Option<&mut Vec<u8>>) -> Hex<32> {
    let mut hashing = Hashing::<Md5>::new();
    match text {
        Some(text) => {
            let start = text.len();
            write_ja3(hello, text);
            hashing.put(text.get(start..).unwrap_or_default());
        }
        None => write_ja3(hello, &mut hashing),
    }
    hashing.finish()
}

/// JA3S: the MD5 of its text. The text itself is appended to `text` when someone wants it.
pub fn ja3s(hello: &ServerHello<'_>, text: Option<&mut Vec<u8>>) -> Hex<32> {
    let mut hashing = Hashing::<Md5>::new();
    match text {
        Some(text) => {
            let start = text.len();
            write_ja3s(hello, text);
            hashing.put(text.get(start..).unwrap_or_default());
        }
        None => write_ja3s(hello, &mut hashing),
    }
    hashing.finish()
}

/// JA4's 36 characters, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ja4([u8; 36]);

impl Ja4 {
    /// The fingerprint of a hello.
    pub fn of(hello: &ClientHello<'_>, transport: Transport) -> Ja4 {
        let ciphers = Sorted::of(numbers(hello.cipher_suites));
        let extensions = Sorted::of(hello.extensions.map(|(number, _)| number));
        let mut text = [b'_'; 36];
        text[0] = match transport {
            Transport::Tcp => b't',
            Transport::Dtls => b'd',
            Transport::Quic => b'q',
        };
        text[1..3].copy_from_slice(version_digits(hello));
        text[3] = if extensions.as_slice().contains(&extension::SERVER_NAME) { b'd' } else { b'i' };
        text[4..6].copy_from_slice(&two_digits(ciphers.as_slice().len()));
        text[6..8].copy_from_slice(&two_digits(extensions.as_slice().len()));
        text[8..10].copy_from_slice(&alpn_characters(hello.alpn));
        text[11..23].copy_from_slice(&ciphers_digest(ciphers.as_slice()).0);
        text[24..36].copy_from_slice(&extensions_digest(extensions.as_slice(), hello.signature_algorithms).0);
        Ja4(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn decimals(out: &mut impl Sink, numbers: impl Iterator<Item = u16>) {
    let mut first = true;
    for number in numbers.filter(|number| !is_grease(*number)) {
        if !std::mem::take(&mut first) {
            out.put(b"-");
        }
        out.decimal(number);
    }
}

fn hexadecimals(out: &mut impl Sink, numbers: impl Iterator<Item = u16>) {
    let mut first = true;
    for number in numbers {
        if !std::mem::take(&mut first) {
            out.put(b",");
        }
        out.hexadecimal(number);
    }
}

/// The highest version offered; a hello without supported_versions offers its own.
fn version_digits(hello: &ClientHello<'_>) -> &'static [u8; 2] {
    let offered = numbers(hello.supported_versions).filter(|number| !is_grease(*number)).max();
    match offered.unwrap_or(hello.version) {
        version::TLS_1_3 => b"13",
        version::TLS_1_2 => b"12",
        0x0302 => b"11",
        0x0301 => b"10",
        version::SSL_3 => b"s3",
        version::SSL_2 => b"s2",
        0xfeff => b"d1",
        0xfefd => b"d2",
        0xfefc => b"d3",
        _ => b"00",
    }
}

fn two_digits(count: usize) -> [u8; 2] {
    let count = count.min(99) as u8;
    [b'0' + count / 10, b'0' + count % 10]
}

/// First and last character of the first ALPN name. When either is not a letter or digit of ASCII,
/// the first and last digit of the name in hexadecimal stand for them.
fn alpn_characters(list: &[u8]) -> [u8; 2] {
    let Some((first, last)) =
        handshake::alpn_names(list).next().and_then(|name| Some((*name.first()?, *name.last()?)))
    else {
        return *b"00";
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        [first, last]
    } else {
        [digit(first >> 4), digit(last & 0xf)]
    }
}

fn ciphers_digest(sorted: &[u16]) -> Hex<12> {
    if sorted.is_empty() {
        return Hex([b'0'; 12]);
    }
    let mut hashing = Hashing::<Sha256>::new();
    hexadecimals(&mut hashing, sorted.iter().copied());
    hashing.finish()
}

/// Extensions in order of number without the two whose presence is in the first part, then the
/// signature algorithms in the order sent.
fn extensions_digest(sorted: &[u16], signature_algorithms: &[u8]) -> Hex<12> {
    let told = |number: &u16| !matches!(*number, extension::SERVER_NAME | extension::ALPN);
    if !sorted.iter().any(told) {
        return Hex([b'0'; 12]);
    }
    let mut hashing = Hashing::<Sha256>::new();
    hexadecimals(&mut hashing, sorted.iter().copied().filter(told));
    let mut algorithms = numbers(signature_algorithms).filter(|number| !is_grease(*number)).peekable();
    if algorithms.peek().is_some() {
        hashing.put(b"_");
        hexadecimals(&mut hashing, algorithms);
    }
    hashing.finish()
}

/// Numbers without GREASE in ascending order, with repeats.
struct Sorted {
    inline: [u16; SORTED_INLINE],
    count: usize,
    /// All of them, when they are more than fit in line. A hello's size bounds it.
    spilled: Vec<u16>,
}

impl Sorted {
    fn of(numbers: impl Iterator<Item = u16>) -> Sorted {
        let mut sorted = Sorted { inline: [0; SORTED_INLINE], count: 0, spilled: Vec::new() };
        for number in numbers.filter(|number| !is_grease(*number)) {
            match sorted.inline.get_mut(sorted.count) {
                Some(slot) if sorted.spilled.is_empty() => {
                    *slot = number;
                    sorted.count += 1;
                }
                _ => {
                    if sorted.spilled.is_empty() {
                        sorted.spilled.extend_from_slice(&sorted.inline);
                    }
                    sorted.spilled.push(number);
                }
            }
        }
        sorted.as_mut_slice().sort_unstable();
        sorted
    }

    fn as_mut_slice(&mut self) -> &mut [u16] {
        if self.spilled.is_empty() {
            self.inline.get_mut(..self.count).unwrap_or_default()
        } else {
            &mut self.spilled
        }
    }

    fn as_slice(&self) -> &[u16] {
        if self.spilled.is_empty() {
            self.inline.get(..self.count).unwrap_or_default()
        } else {
            &self.spilled
        }
    }
}
