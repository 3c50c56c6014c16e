//! Enrolment: the name that a sensor goes by, and the one-time token by which it comes to a certificate.
//!
//! In: text that a person pastes. Out: a [`Token`], or in words what is wrong with the text; and back. The token
//! says where the collector is, whom to trust (the fingerprint of its authority's certificate) and the secret
//! that is worth one certificate. Deliberately absent: whether the secret is good, which the collector knows
//! alone, and any time.
//!
//! `weir1/NAME/HOST:PORT[,HOST:PORT]/BASE64URL`, where the last part is the secret, the fingerprint and a
//! checksum over everything before it, so that a typo is said to be one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Octets of a token's secret: 128 bits cannot be guessed, however many are tried.
pub const SECRET_BYTES: usize = 16;
/// Octets of a fingerprint: the first half of a SHA-256. To pass for a collector, a second certificate with the
/// same half has to be found, which takes 2^128 attempts.
pub const FINGERPRINT_BYTES: usize = 16;
/// Most characters of a sensor's name.
pub const NAME_CHARACTERS_MAX: usize = 63;
/// Most addresses of the collector in one token.
pub const ADDRESSES_MAX: usize = 4;
/// Most octets of a token's text; a longer one is not looked at.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// Most characters of a host: a domain name's (RFC 1035).
const HOST_CHARACTERS_MAX: usize = 253;
/// The name in every collector's server certificate by which its own sensors know it, wherever it is reached:
/// they trust its authority alone, which gives the name to nobody else.
pub const COLLECTOR_SERVER_NAME: &str = "weir-collector";
/// What a signature of the collector begins with before the signed octets, so that it can be taken for no
/// certificate, which the same key signs.
pub const SIGNATURE_CONTEXT: &[u8] = b"Weir collector's signature, version 1\0";
/// How far the clocks of both ends may be apart: a certificate that has expired, or is not valid yet, by at most
/// this is taken.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(24 * 3600);
/// What every token begins with: that it is one, and its version.
const PREFIX: &str = "weir1";
/// Octets of the checksum.
const CHECKSUM_BYTES: usize = 4;
/// Octets that the last part encodes.
const BLOB_BYTES: usize = SECRET_BYTES + FINGERPRINT_BYTES + CHECKSUM_BYTES;

/// A sensor's name, as its certificate, its alerts and `weir-collector sensors` give it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SensorName(String);

/// Why a text is no sensor's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a sensor's name: expected 1 to {NAME_CHARACTERS_MAX} letters, digits, dots, dashes or underscores, a letter or digit first",
    .0.escape_debug()
)]
pub struct NameError(String);

impl SensorName {
    /// Reads a name.
    pub fn new(text: &str) -> Result<SensorName, NameError> {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if first && rest && text.len() <= NAME_CHARACTERS_MAX {
            return Ok(SensorName(text.to_owned()));
        }
        Err(NameError(text.chars().take(2 * NAME_CHARACTERS_MAX).collect()))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SensorName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<SensorName, NameError> {
        SensorName::new(text)
    }
}

/// What is worth one certificate. Shown in a token's text and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; SECRET_BYTES]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Half of the SHA-256 of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; FINGERPRINT_BYTES]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A one-time pairing token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The sensor that it is for.
    pub name: SensorName,
    /// Where the collector's control connection is taken, `HOST:PORT` each; to be tried in this order.
    pub addresses: Vec<String>,
    /// The secret.
    pub secret: Secret,
    /// The certificate of the collector's authority.
    pub authority: Fingerprint,
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin like one.
    #[error("this is not a token: one begins with `{PREFIX}/`, as `weir-collector enroll NAME` prints it")]
    Foreign,
    /// It does not have a token's parts.
    #[error(
        "the token is incomplete: it has {found} of its 4 parts; copy the whole line that `weir-collector enroll` printed"
    )]
    Parts {
        /// How many parts there are.
        found: usize,
    },
    /// Longer than any token.
    #[error("the token has {found} octets, and none has more than {TOKEN_BYTES_MAX}")]
    Long {
        /// How many octets it has.
        found: usize,
    },
    /// A character or more were changed or left out.
    #[error("the token's checksum does not fit: a character was changed or left out; copy it again")]
    Checksum,
    /// Its sensor's name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// Why a text is not where a collector can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a collector's address: expected {expected}", .found.escape_debug())]
pub struct AddressError {
    found: String,
    expected: &'static str,
}

/// Splits `HOST:PORT`, with an IPv6 address in brackets, which the host given back has not.
pub fn host_and_port(text: &str) -> Result<(&str, u16), AddressError> {
    let expected = "HOST:PORT with a port from 1 to 65535, an IPv6 address in brackets";
    let wrong = || AddressError { found: text.chars().take(HOST_CHARACTERS_MAX).collect(), expected };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = match port.parse() {
        Ok(port) if port != 0 => port,
        _ => return Err(wrong()),
    };
    let host = match host.strip_prefix('[') {
        Some(inner) => inner
            .strip_suffix(']')
            .filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
            .ok_or_else(wrong)?,
        None => host,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_host = host.bytes().all(is_name) || host.parse::<std::net::Ipv6Addr>().is_ok();
    if host.is_empty()
        || host.len() > HOST_CHARACTERS_MAX
        || !is_host
        || (host.contains(':') && !text.starts_with('['))
    {
        return Err(wrong());
    }
    Ok((host, port))
}

/// Whether these addresses can stand in a token.
pub fn check_addresses(addresses: &[String]) -> Result<(), AddressError> {
    if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
        let expected = "one to four addresses, separated by commas";
        return Err(AddressError { found: addresses.join(","), expected });
    }
    addresses.iter().try_for_each(|address| host_and_port(address).map(|_| ()))
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!("{PREFIX}/{}/{}", self.name, self.addresses.join(","));
        let mut blob = [&self.secret.0[..], &self.authority.0[..]].concat();
        let checksum = checksum(&head, &blob);
        blob.extend(checksum);
        write!(f, "{head}/{}", URL_SAFE_NO_PAD.encode(blob))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Long { found: text.len() });
        }
        let parts: Vec<&str> = text.split('/').collect();
        let [prefix, name, addresses, blob] = parts[..] else {
            return Err(match parts.first() {
                Some(&PREFIX) => TokenError::Parts { found: parts.len() },
                _ => TokenError::Foreign,
            });
        };
        if prefix != PREFIX {
            return Err(TokenError::Foreign);
        }
        let octets = URL_SAFE_NO_PAD.decode(blob).map_err(|_| TokenError::Checksum)?;
        let octets: [u8; BLOB_BYTES] = octets.try_into().map_err(|_| TokenError::Checksum)?;
        let head = text.strip_suffix(blob).and_then(|head| head.strip_suffix('/')).unwrap_or_default();
        let (body, check) = octets.split_at(SECRET_BYTES + FINGERPRINT_BYTES);
        if check != checksum(head, body) {
            return Err(TokenError::Checksum);
        }
        let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
        check_addresses(&addresses)?;
        let (secret, authority) = body.split_at(SECRET_BYTES);
        Ok(Token {
            name: SensorName::new(name)?,
            addresses,
            secret: Secret(secret.try_into().map_err(|_| TokenError::Checksum)?),
            authority: Fingerprint(authority.try_into().map_err(|_| TokenError::Checksum)?),
        })
    }
}

/// CRC-32, which finds every change of up to four octets in a row.
fn checksum(head: &str, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(body);
    hasher.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> Token {
        Token {
            name: SensorName::new("edge-1").unwrap(),
            addresses: vec!["192.0.2.1:4741".into(), "[2001:db8::1]:4741".into()],
            secret: Secret([7; SECRET_BYTES]),
            authority: Fingerprint([9; FINGERPRINT_BYTES]),
        }
    }

    #[test]
    fn a_token_reads_back_also_with_space_around_it_and_fits_a_line() {
        let text = token().to_string();
        assert!(text.starts_with("weir1/edge-1/192.0.2.1:4741,[2001:db8::1]:4741/"), "{text}");
        assert!(text.len() < 110, "{text}");
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
    }

    #[test]
    fn every_changed_or_missing_character_is_said() {
        let text = token().to_string();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert!(String::from_utf8(changed).unwrap().parse::<Token>().is_err(), "changed at {at}");
            let mut missing = text.clone();
            missing.remove(at);
            assert!(missing.parse::<Token>().is_err(), "missing at {at}");
            assert!(text[..at].parse::<Token>().is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let text = token().to_string();
        let told = |text: &str| text.parse::<Token>().unwrap_err().to_string();
        assert!(told("eyJhbGciOi").contains("not a token"));
        assert!(told("weir1/edge-1").contains("2 of its 4 parts"));
        assert!(told(&text.replace("edge-1", "edge-2")).contains("checksum"));
        assert!(told(&"x".repeat(TOKEN_BYTES_MAX + 1)).contains("octets"));
    }

    #[test]
    fn names_are_words_and_nothing_that_a_path_or_a_line_could_mean() {
        for good in ["a", "edge-1", "Edge_1.example.org", &"x".repeat(NAME_CHARACTERS_MAX)] {
            assert_eq!(SensorName::new(good).unwrap().as_str(), good);
        }
        for wrong in ["", ".", "-x", "a/b", "a b", "a\n", "ä", "../x", &"x".repeat(NAME_CHARACTERS_MAX + 1)]
        {
            assert!(SensorName::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for (good, host, port) in
            [("h:1", "h", 1), ("192.0.2.1:65535", "192.0.2.1", 65535), ("[::1]:4741", "::1", 4741)]
        {
            assert_eq!(host_and_port(good), Ok((host, port)));
        }
        for wrong in
            ["", "h", "h:", ":1", "h:0", "h:65536", "::1:4741", "[::1:1", "[h]:1", "a b:1", "a/b:1", "a,b:1"]
        {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
        assert!(check_addresses(&[]).is_err());
        assert!(check_addresses(&vec!["h:1".to_owned(); ADDRESSES_MAX]).is_ok());
        assert!(check_addresses(&vec!["h:1".to_owned(); ADDRESSES_MAX + 1]).is_err());
    }

    #[test]
    fn a_secret_does_not_show_in_debugging_output() {
        let told = format!("{:?}", token());
        assert!(told.contains("Secret(..)") && !told.contains("7, 7"), "{told}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_an_error(text in "\\PC*") {
            let _ = text.parse::<Token>();
        }

        #[test]
        fn what_was_written_is_what_is_read(
            secret: [u8; SECRET_BYTES], authority: [u8; FINGERPRINT_BYTES],
            name in "[A-Za-z0-9][A-Za-z0-9._-]{0,62}", host in "[a-z0-9.-]{1,40}", port in 1u16..,
        ) {
            let token = Token {
                name: SensorName::new(&name).unwrap(),
                addresses: vec![format!("{host}:{port}")],
                secret: Secret(secret),
                authority: Fingerprint(authority),
            };
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }
    }
}
