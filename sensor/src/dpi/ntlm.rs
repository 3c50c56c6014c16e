//! How Windows' protocols carry who logs on: SPNEGO (RFC 4178), NTLMSSP (MS-NLMP), Kerberos tickets.
//!
//! In: a security blob of SMB, or of another protocol. Out: user, domain, host and version of an NTLM
//! AUTHENTICATE message; realm and service of a Kerberos ticket; what a server says of itself in a CHALLENGE
//! message. Challenges, responses and hashes are not read.

use crate::dpi::krb5::message::{self, Principal};
use crate::dpi::wire::{Cursor, bytes_at, cut, le16_at, le32_at, utf16};
use std::fmt;
use weir_common::metadata::{Field, Metadata};

const SIGNATURE: &[u8] = b"NTLMSSP\0";
/// Object identifier of Kerberos 5 inside GSS-API tokens, with its tag and length (RFC 4121 section 4.1).
const KERBEROS: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02, 0x01, 0x00];

/// What a client says in an AUTHENTICATE message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ntlm {
    pub(super) domain: String,
    pub(super) user: String,
    pub(super) host: String,
    pub(super) version: Option<Version>,
}

/// The version of the client's operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    major: u8,
    minor: u8,
    build: u16,
    revision: u8,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} build {} rev {}", self.major, self.minor, self.build, self.revision)
    }
}

/// A Kerberos ticket's readable part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) realm: String,
    pub(super) service: Vec<String>,
}

/// What a blob says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Logon {
    pub(super) ntlm: Option<Ntlm>,
    pub(super) ticket: Option<Ticket>,
}

impl Logon {
    /// Reads a blob, with or without SPNEGO around it: both tokens have marks of their own, so they are
    /// looked for rather than unwrapped.
    pub(super) fn parse(blob: &[u8]) -> Logon {
        let ntlm = memchr::memmem::find(blob, SIGNATURE).and_then(|at| Ntlm::parse(blob.get(at..)?));
        let ticket = memchr::memmem::find(blob, KERBEROS)
            .and_then(|at| message::ticket_of_request(blob.get(at + KERBEROS.len()..)?))
            .map(|(realm, Principal(service))| Ticket { realm, service });
        Logon { ntlm, ticket }
    }

    /// Adds what it says to the flow's metadata.
    pub(super) fn learn(&self, metadata: &mut Metadata) {
        if let Some(ntlm) = &self.ntlm {
            if !ntlm.user.is_empty() {
                metadata.add(Field::User, &ntlm.user);
            }
            if !ntlm.host.is_empty() {
                metadata.add(Field::EndpointName, &ntlm.host);
            }
            if !ntlm.domain.is_empty() {
                metadata.set_text(Field::Domain, &ntlm.domain);
            }
            if let Some(version) = ntlm.version {
                metadata.set_text(Field::ClientSoftware, &format!("NTLMSSP {version}"));
            }
        }
        if let Some(ticket) = &self.ticket {
            metadata.set_text(Field::Domain, &ticket.realm);
        }
    }
}

/// Adds what a server says in a CHALLENGE message (MS-NLMP 2.2.1.2) to the flow's metadata: its name, its
/// domain, its version.
pub(super) fn learn_challenge(blob: &[u8], metadata: &mut Metadata) {
    let message = memchr::memmem::find(blob, SIGNATURE).and_then(|at| blob.get(at..));
    if let Some(message) = message {
        // What is cut off is not told; what came before stays.
        let _ = challenge(message, metadata);
    }
}

fn challenge(message: &[u8], metadata: &mut Metadata) -> Option<()> {
    const CHALLENGE: u32 = 2;
    const HAS_VERSION: u32 = 0x0200_0000;
    const COMPUTER: u16 = 1;
    const DOMAIN: u16 = 2;
    if le32_at(message, 8)? != CHALLENGE {
        return None;
    }
    if le32_at(message, 20)? & HAS_VERSION != 0
        && let Some(version) = Version::parse(message, 48)
    {
        metadata.set_text(Field::ServerSoftware, &format!("NTLMSSP {version}"));
    }
    let length = usize::from(le16_at(message, 40)?);
    let mut pairs = Cursor(bytes_at(message, le32_at(message, 44)? as usize, length)?);
    while let (Some(kind), Some(length)) = (pairs.le16(), pairs.le16()) {
        let value = utf16(pairs.take(usize::from(length))?);
        match kind {
            0 => break,
            COMPUTER => metadata.add(Field::EndpointName, &value),
            DOMAIN => metadata.set_text(Field::Domain, &value),
            _ => {}
        }
    }
    Some(())
}

impl Version {
    fn parse(message: &[u8], at: usize) -> Option<Version> {
        let bytes = bytes_at(message, at, 8)?;
        let (major, minor, revision) = (*bytes.first()?, *bytes.get(1)?, *bytes.get(7)?);
        Some(Version { major, minor, build: le16_at(bytes, 2)?, revision })
    }
}

impl Ntlm {
    /// Reads an AUTHENTICATE message (MS-NLMP 2.2.1.3).
    fn parse(message: &[u8]) -> Option<Ntlm> {
        const AUTHENTICATE: u32 = 3;
        const UNICODE: u32 = 1;
        const HAS_VERSION: u32 = 0x0200_0000;
        const VERSION_AT: usize = 64;
        if le32_at(message, 8)? != AUTHENTICATE {
            return None;
        }
        let flags = le32_at(message, 60).unwrap_or(UNICODE);
        let text = |at: usize| {
            let length = usize::from(le16_at(message, at)?);
            let bytes = bytes_at(message, le32_at(message, at + 4)? as usize, length)?;
            Some(if flags & UNICODE != 0 {
                utf16(bytes)
            } else {
                String::from_utf8_lossy(cut(bytes)).into_owned()
            })
        };
        let version = if flags & HAS_VERSION != 0 { Version::parse(message, VERSION_AT) } else { None };
        Some(Ntlm { domain: text(28)?, user: text(36)?, host: text(44)?, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn authenticate() -> Vec<u8> {
        let mut message = b"NTLMSSP\0\x03\0\0\0".to_vec();
        let texts: [&[u8]; 6] = [b"", b"", b"D\0", b"U\0s\0", b"H\0", b""];
        let mut at = 72u32;
        let mut payload = Vec::new();
        for text in texts {
            let length = (text.len() as u16).to_le_bytes();
            message.extend_from_slice(&[&length[..], &length, &at.to_le_bytes()].concat());
            payload.extend_from_slice(text);
            at += text.len() as u32;
        }
        message.extend_from_slice(&0x0200_0001u32.to_le_bytes());
        message.extend_from_slice(&[10, 0, 0x5a, 0x29, 0, 0, 0, 15]);
        message.extend_from_slice(&payload);
        message
    }

    #[test]
    fn a_challenge_names_the_server() {
        let pairs = b"\x02\0\x02\0D\0\x01\0\x02\0S\0\0\0\0\0";
        let mut message = b"NTLMSSP\0\x02\0\0\0".to_vec();
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(&0x0200_0001u32.to_le_bytes());
        message.extend_from_slice(&[0; 16]);
        message.extend_from_slice(&[pairs.len() as u8, 0, pairs.len() as u8, 0, 56, 0, 0, 0]);
        message.extend_from_slice(&[6, 1, 0xb1, 0x1d, 0, 0, 0, 15]);
        message.extend_from_slice(pairs);
        let mut metadata = Metadata::default();
        learn_challenge(&message, &mut metadata);
        assert_eq!(metadata.text(Field::ServerSoftware), Some("NTLMSSP 6.1 build 7601 rev 15"));
        assert_eq!(
            (metadata.text(Field::EndpointName), metadata.text(Field::Domain)),
            (Some("S"), Some("D"))
        );
        for cut in 0..message.len() {
            learn_challenge(&message[..cut], &mut Metadata::default());
        }
    }

    #[test]
    fn an_authenticate_message_names_user_domain_host_and_version() {
        let blob = [b"spnego", &authenticate()[..]].concat();
        let ntlm = Logon::parse(&blob).ntlm.unwrap();
        assert_eq!((&*ntlm.domain, &*ntlm.user, &*ntlm.host), ("D", "Us", "H"));
        assert_eq!(ntlm.version.unwrap().to_string(), "10.0 build 10586 rev 15");
        for cut in 0..blob.len() {
            Logon::parse(&blob[..cut]);
        }
        assert_eq!(Logon::parse(b"NTLMSSP\0\x01\0\0\0"), Logon::default());
    }
}
