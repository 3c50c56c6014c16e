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
pub(crate) enum Transport {
    /// TLS over TCP.
    Tcp,
    /// DTLS.
    Dtls,
    /// QUIC.
    Quic,
}

/// JA3's text: version, cipher suites, extensions, groups, point formats, in decimal.
pub(crate) fn write_ja3(hello: &ClientHello<'_>, out: &mut impl Sink) {
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
pub(crate) fn write_ja3s(hello: &ServerHello<'_>, out: &mut impl Sink) {
    out.decimal(hello.version);
    out.put(b",");
    out.decimal(hello.cipher_suite);
    out.put(b",");
    decimals(out, hello.extensions.map(|(number, _)| number));
}

/// JA3: the MD5 of its text. The text itself is appended to `text` when someone wants it.
pub(crate) fn ja3(hello: &ClientHello<'_>, text: Option<&mut Vec<u8>>) -> Hex<32> {
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
pub(crate) fn ja3s(hello: &ServerHello<'_>, text: Option<&mut Vec<u8>>) -> Hex<32> {
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
pub(crate) struct Ja4([u8; 36]);

impl Ja4 {
    /// The fingerprint of a hello.
    pub(crate) fn of(hello: &ClientHello<'_>, transport: Transport) -> Ja4 {
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
    pub(crate) fn as_str(&self) -> &str {
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
    let offered = numbers(hello.supported_versions).filter(|number| !is_grease(*number));
    // DTLS counts downwards.
    let offered = if handshake::is_datagram_version(hello.version) { offered.min() } else { offered.max() };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn list(numbers: &[u16]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn extension(number: u16, data: &[u8]) -> Vec<u8> {
        [&number.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
    }

    fn counted(data: &[u8]) -> Vec<u8> {
        [&(data.len() as u16).to_be_bytes(), data].concat()
    }

    fn client_hello(version: u16, ciphers: &[u16], extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        body.extend_from_slice(&[7; 32]);
        body.push(0);
        body.extend(counted(&list(ciphers)));
        body.extend_from_slice(&[1, 0]);
        if !extensions.is_empty() {
            body.extend(counted(&extensions.concat()));
        }
        body
    }

    fn alpn(name: &[u8]) -> Vec<u8> {
        extension(16, &counted(&[&[name.len() as u8], name].concat()))
    }

    fn ja4(body: &[u8]) -> String {
        let hello = ClientHello::parse(body).unwrap();
        assert!(!hello.cut);
        Ja4::of(&hello, Transport::Tcp).as_str().to_owned()
    }

    // The hello of JA4's own documentation, with GREASE as Chrome adds it.
    fn documented() -> Vec<u8> {
        let ciphers = [
            0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
            0x009c, 0x009d, 0x002f, 0x0035,
        ];
        let algorithms = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
        let mut extensions = vec![extension(0x9a9a, &[])];
        for number in [
            0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b,
            0xff01, 0x000b, 0x000a, 0x0015,
        ] {
            extensions.push(match number {
                0x0010 => extension(16, &counted(b"\x02h2\x08http/1.1")),
                0x002b => extension(43, b"\x06\xba\xba\x03\x04\x03\x03"),
                0x000d => extension(13, &counted(&list(&algorithms))),
                _ => extension(number, &[]),
            });
        }
        extensions.push(extension(0xdada, &[0]));
        client_hello(0x0303, &ciphers, &extensions)
    }

    #[test]
    fn ja4_of_the_documented_hello_is_the_documented_one() {
        let body = documented();
        assert_eq!(ja4(&body), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        let hello = ClientHello::parse(&body).unwrap();
        assert!(Ja4::of(&hello, Transport::Quic).as_str().starts_with("q13d1516h2_"));
        assert!(Ja4::of(&hello, Transport::Dtls).as_str().starts_with("d13d1516h2_"));
    }

    #[test]
    fn ja4_of_a_hello_without_anything_is_zeros() {
        assert_eq!(ja4(&client_hello(0x0301, &[], &[])), "t10i000000_000000000000_000000000000");
        assert_eq!(
            ja4(&client_hello(0x0300, &[0x0a0a], &[alpn(b"")])),
            "t".to_owned() + "s3i000100_000000000000_000000000000"
        );
        // The published truth for one cipher and only a server_name.
        let name = extension(0, &counted(b"\x00\x00\x01a"));
        assert!(ja4(&client_hello(0x0302, &[0x1301], &[name])).starts_with("t11d010100_"));
    }

    #[test]
    fn ja4_takes_the_ends_of_the_first_alpn_name() {
        for (name, characters) in [
            (&b"h2"[..], "h2"),
            (b"http/1.1", "h1"),
            (b"h", "hh"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"0!", "31"),
            (b"\x30\x31\xab\xcd", "3d"),
            (b"\x30\x31\xab\x31", "01"),
        ] {
            let fingerprint = ja4(&client_hello(0x0303, &[1], &[alpn(name)]));
            assert_eq!(&fingerprint[8..10], characters, "{name:02x?}");
        }
    }

    #[test]
    fn ja4_counts_to_ninety_nine_and_sorts_any_number() {
        let ciphers: Vec<u16> = (0x0101..0x0101 + 300).rev().collect();
        let ascending: Vec<u16> = ciphers.iter().rev().copied().collect();
        let fingerprint = ja4(&client_hello(0x0303, &ciphers, &[]));
        assert!(fingerprint.starts_with("t12i990000_"), "{fingerprint}");
        assert_eq!(ja4(&client_hello(0x0303, &ascending, &[])), fingerprint);
        for count in [SORTED_INLINE - 1, SORTED_INLINE, SORTED_INLINE + 1] {
            let sorted = Sorted::of(ciphers[..count].iter().copied());
            assert!(sorted.as_slice().is_sorted() && sorted.as_slice().len() == count, "{count}");
        }
    }

    #[test]
    fn ja3_of_the_published_examples_is_the_published_one() {
        let ciphers = [47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4];
        let extensions = [
            extension(0, &counted(b"\x00\x00\x01a")),
            extension(0x1a1a, &[]),
            extension(10, &counted(&list(&[0x3a3a, 23, 24, 25]))),
            extension(11, &[1, 0]),
        ];
        let hello = client_hello(769, &ciphers, &extensions);
        let mut text = Vec::new();
        let hash = ja3(&ClientHello::parse(&hello).unwrap(), Some(&mut text));
        assert_eq!(text, b"769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0");
        assert_eq!(hash.as_str(), "ada70206e40642a3e4461f35503241d5");

        let bare = client_hello(769, &[4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99], &[]);
        assert_eq!(
            ja3(&ClientHello::parse(&bare).unwrap(), None).as_str(),
            "de350869b8c85de67a350c8d186f11e6"
        );
    }

    #[test]
    fn ja3s_tells_version_cipher_and_extensions() {
        let body = [&[3, 3][..], &[9; 32], &[0, 0xc0, 0x2b, 0], &counted(&extension(65281, &[0]))].concat();
        let mut text = Vec::new();
        ja3s(&ServerHello::parse(&body).unwrap(), Some(&mut text));
        assert_eq!(text, b"771,49195,65281");
    }

    #[test]
    fn a_hello_cut_anywhere_says_so() {
        let body = documented();
        for cut in 2..body.len() {
            // Before its extensions a hello may end: so did those of old.
            let before_extensions = 2 + 32 + 1 + 2 + 32 + 2;
            assert_eq!(ClientHello::parse(&body[..cut]).unwrap().cut, cut != before_extensions, "{cut}");
        }
        assert!(ClientHello::parse(&body[..1]).is_none());
    }
}
