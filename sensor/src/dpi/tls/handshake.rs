//! Views of the hellos (RFC 8446 section 4.1, RFC 5246 section 7.4.1): what both sides say in the clear.
//!
//! In: the body of a handshake message, without its four bytes of header. Out: borrowed views, the
//! same for TLS, DTLS and QUIC. Nothing is allocated, nothing is judged; a message that ends before
//! what it announces is still shown as far as it goes, and says that it is cut.

use std::borrow::Cow;

/// Extension numbers (IANA's registry) that are looked into.
pub(crate) mod extension {
    /// RFC 6066 section 3.
    pub(crate) const SERVER_NAME: u16 = 0;
    /// RFC 8422 section 5.1.1 and RFC 8446: the curves of old.
    pub(crate) const SUPPORTED_GROUPS: u16 = 10;
    /// RFC 8422 section 5.1.2.
    pub(crate) const EC_POINT_FORMATS: u16 = 11;
    /// RFC 8446 section 4.2.3.
    pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
    /// RFC 7301.
    pub(crate) const ALPN: u16 = 16;
    /// RFC 8446 section 4.2.11: in a ServerHello, the session is resumed.
    pub(crate) const PRE_SHARED_KEY: u16 = 41;
    /// RFC 8446 section 4.2.10.
    pub(crate) const EARLY_DATA: u16 = 42;
    /// RFC 9849: the true hello is encrypted, or the client pretends so.
    pub(crate) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
    /// The draft before it, which encrypted the name only.
    pub(crate) const ENCRYPTED_SERVER_NAME: u16 = 0xffce;
    /// RFC 8446 section 4.2.1.
    pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
}

/// Protocol version numbers.
pub(crate) mod version {
    /// SSL 2.0.
    pub(crate) const SSL_2: u16 = 0x0002;
    /// SSL 3.0, RFC 6101.
    pub(crate) const SSL_3: u16 = 0x0300;
    /// TLS 1.2.
    pub(crate) const TLS_1_2: u16 = 0x0303;
    /// TLS 1.3.
    pub(crate) const TLS_1_3: u16 = 0x0304;
    /// Stands for the first drafts of TLS 1.3, which wrote the final version number.
    pub(crate) const TLS_1_3_EARLY: u16 = 0x7f01;
}

/// The random of a ServerHello that is a HelloRetryRequest: SHA-256 of those words (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Whether a number is one of those that clients sprinkle to keep servers tolerant (RFC 8701).
pub(crate) fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

/// Whether a hello may carry the number as its version: SSL 3.0 to TLS 1.3 and the drafts of 1.3.
pub(crate) fn is_version(number: u16) -> bool {
    matches!(number, version::SSL_3..=version::TLS_1_3 | 0x7f01..=0x7fff | 0xfb00..=0xfbff)
}

/// Whether a number is a version of DTLS: 1.0, 1.2, 1.3, or OpenSSL's before the first standard.
pub(crate) fn is_datagram_version(number: u16) -> bool {
    matches!(number, 0xfeff | 0xfefd | 0xfefc | 0x0100)
}

/// Whether a version is TLS 1.3 or a draft of it, where certificates are encrypted.
pub(crate) fn is_tls_1_3(number: u16) -> bool {
    matches!(number, version::TLS_1_3 | 0x7f01..=0x7fff | 0xfb00..=0xfbff | 0xfefc)
}

/// The name of a version as Suricata's EVE writes it; a number without a name in hexadecimal.
pub(crate) fn version_name(number: u16) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        version::SSL_2 => "SSLv2",
        version::SSL_3 => "SSLv3",
        0x0301 => "TLSv1",
        0x0302 => "TLS 1.1",
        version::TLS_1_2 => "TLS 1.2",
        version::TLS_1_3 => "TLS 1.3",
        0xfeff => "DTLS 1.0",
        0xfefd => "DTLS 1.2",
        0xfefc => "DTLS 1.3",
        0x0100 => "DTLS 1.0 (OpenSSL)",
        0x7f01..=0x7f0f => "TLS 1.3 draft-<16",
        0x7f10..=0x7f1c => return Cow::Owned(format!("TLS 1.3 draft-{}", number & 0xff)),
        // Facebook's variants of the drafts.
        0xfb14..=0xfb17 | 0xfb1a => return Cow::Owned(format!("TLS 1.3 draft-{}-fb", number & 0xff)),
        _ => return Cow::Owned(format!("0x{number:04x}")),
    })
}

/// The 16-bit numbers of a list; an odd byte at its end is left out.
pub(crate) fn numbers(list: &[u8]) -> impl Iterator<Item = u16> + '_ {
    list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// The extensions of a hello with their data, in the order sent, as far as they are whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extensions<'a>(Reader<'a>);

impl<'a> Iterator for Extensions<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.number()?, self.0.counted_16()?))
    }
}

/// What a client says first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientHello<'a> {
    /// The version of the hello itself; 1.3 hides behind 1.2 here.
    pub version: u16,
    /// The client's random bytes, 32 where they are there.
    pub random: &'a [u8],
    /// The cipher suites offered: 16-bit numbers in order of preference.
    pub cipher_suites: &'a [u8],
    /// Every extension.
    pub extensions: Extensions<'a>,
    /// The host name of the first server_name extension.
    pub server_name: Option<&'a [u8]>,
    /// The list of the ALPN extension; [`alpn_names`] reads it.
    pub alpn: &'a [u8],
    /// The versions of the supported_versions extension: 16-bit numbers.
    pub supported_versions: &'a [u8],
    /// The groups of the supported_groups extension: 16-bit numbers.
    pub groups: &'a [u8],
    /// The formats of the ec_point_formats extension: bytes.
    pub point_formats: &'a [u8],
    /// The algorithms of the signature_algorithms extension: 16-bit numbers.
    pub signature_algorithms: &'a [u8],
    /// Whether the message ended before what it announced; then it must not be fingerprinted.
    pub cut: bool,
}

impl<'a> ClientHello<'a> {
    /// The view of a message's body, also of its beginning; `None` when not even a version is there
    /// or the version is none.
    pub(crate) fn parse(body: &'a [u8]) -> Option<ClientHello<'a>> {
        let mut reader = Reader(body);
        let version = reader.number()?;
        if !is_version(version) {
            return None;
        }
        Some(ClientHello::begin(version, reader, false))
    }

    /// As [`ClientHello::parse`], of DTLS, whose hello has a cookie (RFC 6347 section 4.2.1).
    pub(crate) fn parse_datagram(body: &'a [u8]) -> Option<ClientHello<'a>> {
        let mut reader = Reader(body);
        let version = reader.number().filter(|version| is_datagram_version(*version))?;
        Some(ClientHello::begin(version, reader, true))
    }

    fn begin(version: u16, reader: Reader<'a>, has_cookie: bool) -> ClientHello<'a> {
        let mut hello = ClientHello { version, cut: true, ..ClientHello::default() };
        hello.cut = hello.fill(reader, has_cookie).is_none();
        hello
    }

    fn fill(&mut self, mut reader: Reader<'a>, has_cookie: bool) -> Option<()> {
        self.random = reader.take(RETRY_RANDOM.len())?;
        let session_id = reader.counted_8()?;
        if has_cookie {
            reader.counted_8()?;
        }
        self.cipher_suites = reader.counted_16()?;
        reader.counted_8()?;
        let whole = self.fill_extensions(reader);
        (whole && session_id.len() <= 32 && self.cipher_suites.len().is_multiple_of(2)).then_some(())
    }

    fn fill_extensions(&mut self, reader: Reader<'a>) -> bool {
        let (extensions, announced) = reader.extensions();
        self.extensions = extensions;
        let mut read_bytes = 0;
        for (number, data) in extensions {
            read_bytes += 4 + data.len();
            let mut data = Reader(data);
            match number {
                extension::SERVER_NAME if self.server_name.is_none() => self.server_name = host_name(data),
                extension::ALPN if self.alpn.is_empty() => self.alpn = data.counted_16().unwrap_or_default(),
                extension::SUPPORTED_VERSIONS if self.supported_versions.is_empty() => {
                    self.supported_versions = data.counted_8().unwrap_or_default();
                }
                extension::SUPPORTED_GROUPS if self.groups.is_empty() => {
                    self.groups = data.counted_16().unwrap_or_default();
                }
                extension::EC_POINT_FORMATS if self.point_formats.is_empty() => {
                    self.point_formats = data.counted_8().unwrap_or_default();
                }
                extension::SIGNATURE_ALGORITHMS if self.signature_algorithms.is_empty() => {
                    self.signature_algorithms = data.counted_16().unwrap_or_default();
                }
                _ => {}
            }
        }
        read_bytes == announced
    }
}

/// What a server answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerHello<'a> {
    /// The version of the hello itself; 1.3 hides behind 1.2 here.
    pub version: u16,
    /// The server's random bytes, 32.
    pub random: &'a [u8],
    /// The cipher suite chosen.
    pub cipher_suite: u16,
    /// Every extension.
    pub extensions: Extensions<'a>,
    /// The list of the ALPN extension: the one protocol chosen.
    pub alpn: &'a [u8],
    /// The version of the supported_versions extension.
    pub selected_version: Option<u16>,
    /// Whether a pre-shared key was accepted: TLS 1.3's way of resuming.
    pub pre_shared_key: bool,
    /// Whether this is a HelloRetryRequest: the real ServerHello comes later.
    pub retry: bool,
    /// Whether the message ended before what it announced; then it must not be fingerprinted.
    pub cut: bool,
}

impl<'a> ServerHello<'a> {
    /// The view of a message's body; `None` when it is not one or not even a cipher suite is there.
    pub(crate) fn parse(body: &'a [u8]) -> Option<ServerHello<'a>> {
        let mut reader = Reader(body);
        let version = reader.number()?;
        if !is_version(version) && !is_datagram_version(version) {
            return None;
        }
        let random = reader.take(RETRY_RANDOM.len())?;
        let retry = random == RETRY_RANDOM;
        // The drafts of TLS 1.3 before the 22nd had no session identifier and no compression here.
        let short = matches!(version, version::TLS_1_3 | 0x7f01..=0x7f15);
        if !short && reader.counted_8()?.len() > 32 {
            return None;
        }
        let cipher_suite = reader.number()?;
        let mut hello = ServerHello { version, random, cipher_suite, retry, ..ServerHello::default() };
        hello.cut = (!short && reader.take(1).is_none()) || !hello.fill_extensions(reader);
        Some(hello)
    }

    fn fill_extensions(&mut self, reader: Reader<'a>) -> bool {
        let (extensions, announced) = reader.extensions();
        self.extensions = extensions;
        let mut read_bytes = 0;
        for (number, data) in extensions {
            read_bytes += 4 + data.len();
            let mut data = Reader(data);
            match number {
                extension::ALPN => self.alpn = data.counted_16().unwrap_or_default(),
                extension::SUPPORTED_VERSIONS => self.selected_version = data.number(),
                extension::PRE_SHARED_KEY => self.pre_shared_key = true,
                _ => {}
            }
        }
        read_bytes == announced
    }

    /// The version that both sides go on with.
    pub(crate) fn negotiated_version(&self) -> u16 {
        match self.selected_version {
            Some(version) => version,
            None if self.version == version::TLS_1_3 => version::TLS_1_3_EARLY,
            None => self.version,
        }
    }
}

/// The names in an ALPN extension's list, as far as they are whole; none is empty.
pub(crate) fn alpn_names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader(list);
    std::iter::from_fn(move || reader.counted_8()).filter(|name| !name.is_empty())
}

/// The first certificate of a Certificate message before TLS 1.3 (RFC 5246 section 7.4.2), which is
/// the sender's own, in DER.
pub(crate) fn leaf_certificate(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(body);
    reader.number_24()?;
    let bytes = reader.number_24()?;
    reader.take(bytes).filter(|certificate| !certificate.is_empty())
}

/// The certificates of a Certificate message before TLS 1.3, as far as they are there.
pub(crate) fn certificates(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader(body);
    let _all_bytes = reader.number_24();
    std::iter::from_fn(move || {
        let bytes = reader.number_24()?;
        reader.take(bytes)
    })
    .filter(|certificate| !certificate.is_empty())
}

/// The first host_name of a server_name extension; of those seen in the wild, all are the first entry.
fn host_name(mut data: Reader<'_>) -> Option<&[u8]> {
    const HOST_NAME: u8 = 0;
    let mut list = Reader(data.counted_16()?);
    loop {
        let kind = list.byte()?;
        let name = list.counted_16()?;
        if kind == HOST_NAME && !name.is_empty() {
            return Some(name);
        }
    }
}

/// Takes numbers and counted bytes off the front; `None` when they are not all there.
#[derive(Clone, Copy, Debug, Default)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    fn number_24(&mut self) -> Option<usize> {
        self.take(3).map(|three| u32::from_be_bytes([0, three[0], three[1], three[2]]) as usize)
    }

    fn counted_8(&mut self) -> Option<&'a [u8]> {
        let bytes = self.byte()?;
        self.take(bytes.into())
    }

    fn counted_16(&mut self) -> Option<&'a [u8]> {
        let bytes = self.number()?;
        self.take(bytes.into())
    }

    /// The extensions at the end of a hello and how many bytes they are said to have. A hello of old
    /// ends without them; bytes after them are nobody's.
    fn extensions(mut self) -> (Extensions<'a>, usize) {
        if self.0.is_empty() {
            return (Extensions::default(), 0);
        }
        let Some(announced) = self.number() else {
            return (Extensions::default(), usize::MAX);
        };
        let there = self.0.get(..announced.into()).unwrap_or(self.0);
        (Extensions(Reader(there)), announced.into())
    }
}
