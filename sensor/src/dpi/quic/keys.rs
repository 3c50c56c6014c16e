//! The keys of Initial packets (RFC 9001 section 5.2), which everybody can derive, and what they open.
//!
//! In: a version and the client's first connection ID; packets. Out: their frames in the clear. Packets under
//! other keys stay shut.

use super::packet::{Kind, Long};
use crypto::aead::quic::{AES_128, HeaderProtectionKey};
use crypto::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use crypto::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

const KEY_BYTES: usize = 16;
/// Bytes of the sample that protects a header, and where it begins behind the packet number's start.
const SAMPLE_BYTES: usize = 16;
const SAMPLE_OFFSET: usize = 4;

/// The keys of one side.
struct Keys {
    header: HeaderProtectionKey,
    packet: LessSafeKey,
    nonce: [u8; NONCE_LEN],
}

/// The keys of both sides of a connection.
pub(super) struct InitialKeys {
    client: Keys,
    server: Keys,
}

impl std::fmt::Debug for InitialKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InitialKeys")
    }
}

/// What a derived secret is long.
#[derive(Clone, Copy)]
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl InitialKeys {
    /// The keys of a connection whose client first sent to this connection ID.
    pub(super) fn derive(version: u32, destination: &[u8]) -> Option<InitialKeys> {
        let kind = Kind::of(version)?;
        let secret = Salt::new(HKDF_SHA256, salt(version)?).extract(destination);
        let labels: [&[u8]; 3] = match kind {
            Kind::Second => [b"tls13 quicv2 key", b"tls13 quicv2 iv", b"tls13 quicv2 hp"],
            _ => [b"tls13 quic key", b"tls13 quic iv", b"tls13 quic hp"],
        };
        Some(InitialKeys {
            client: Keys::derive(&secret, b"tls13 client in", labels)?,
            server: Keys::derive(&secret, b"tls13 server in", labels)?,
        })
    }

    /// Opens an Initial packet that is at the front of `bytes`: its frames are left in `clear`.
    pub(super) fn open(&self, by_client: bool, long: &Long<'_>, bytes: &[u8], clear: &mut Vec<u8>) -> bool {
        let keys = if by_client { &self.client } else { &self.server };
        keys.open(long, bytes, clear).is_some()
    }
}

impl Keys {
    fn derive(secret: &Prk, label: &[u8], [key, nonce, header]: [&[u8]; 3]) -> Option<Keys> {
        let secret = Prk::new_less_safe(HKDF_SHA256, &expand::<32>(secret, label)?);
        let key = UnboundKey::new(&AES_128_GCM, &expand::<KEY_BYTES>(&secret, key)?).ok()?;
        Some(Keys {
            header: HeaderProtectionKey::new(&AES_128, &expand::<KEY_BYTES>(&secret, header)?).ok()?,
            packet: LessSafeKey::new(key),
            nonce: expand(&secret, nonce)?,
        })
    }

    fn open(&self, long: &Long<'_>, bytes: &[u8], clear: &mut Vec<u8>) -> Option<()> {
        let packet = bytes.get(..long.end)?;
        let protected = packet.get(long.header_bytes..)?;
        let sample = protected.get(SAMPLE_OFFSET..SAMPLE_OFFSET + SAMPLE_BYTES)?;
        let [mask, number_mask @ ..] = self.header.new_mask(sample).ok()?;
        let first = packet.first()? ^ (mask & 0x0f);
        let number_bytes = usize::from(first & 3) + 1;
        let sealed = protected.get(number_bytes..)?;
        // The header as it was before it was protected.
        let mut header = packet.get(..long.header_bytes + number_bytes)?.to_vec();
        *header.first_mut()? = first;
        let mut number = 0u32;
        for (byte, mask) in header.get_mut(long.header_bytes..)?.iter_mut().zip(number_mask) {
            *byte ^= mask;
            number = number << 8 | u32::from(*byte);
        }
        let mut nonce = self.nonce;
        for (byte, of_number) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte ^= of_number;
        }
        clear.clear();
        clear.extend_from_slice(sealed);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let bytes = self.packet.open_in_place(nonce, Aad::from(&header), clear).ok()?.len();
        clear.truncate(bytes);
        Some(())
    }
}

/// HKDF-Expand-Label of TLS 1.3 (RFC 8446 section 7.1) with an empty context.
fn expand<const BYTES: usize>(secret: &Prk, label: &[u8]) -> Option<[u8; BYTES]> {
    let length = u16::try_from(BYTES).ok()?.to_be_bytes();
    let label_length = [u8::try_from(label.len()).ok()?];
    let info: [&[u8]; 4] = [&length, &label_length, label, &[0]];
    let mut out = [0; BYTES];
    secret.expand(&info, Bytes(BYTES)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

/// The salt of a version: RFC 9001 section 5.2, RFC 9369 section 3.3.1, the same sections of the drafts, and
/// Google's, which are in Chromium.
fn salt(version: u32) -> Option<&'static [u8]> {
    Some(match version {
        1 | 0xff00_0021..=0xff00_0022 => {
            b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"
        }
        0x6b33_43cf => b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9",
        0x709a_50c4 => b"\xa7\x07\xc2\x03\xa5\x9b\x47\x18\x4a\x1d\x62\xca\x57\x04\x06\xea\x7a\xe3\xe5\xd3",
        0xff00_001d..=0xff00_0020 | 0xface_b003..=0xface_b013 => {
            b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99"
        }
        0xff00_0017..=0xff00_001c | 0xface_b002 => {
            b"\xc3\xee\xf7\x12\xc7\x2e\xbb\x5a\x11\xa7\xd2\x43\x2b\xb4\x63\x65\xbe\xf9\xf5\x02"
        }
        0xff00_0016 | 0xface_b001 => {
            b"\x7f\xbc\xdb\x0e\x7c\x66\xbb\xe9\x19\x3a\x96\xcd\x21\x51\x9e\xbd\x7a\x02\x64\x4a"
        }
        0x5130_3530 => b"\x50\x45\x74\xef\xd0\x66\xfe\x2f\x9d\x94\x5c\xfc\xdb\xd3\xa7\xf0\xd3\xb5\x6b\x45",
        0x5430_3530 => b"\x7f\xf5\x79\xe5\xac\xd0\x72\x91\x55\x80\x30\x4c\x43\xa2\x36\x7c\x60\x48\x83\x10",
        0x5430_3531 => b"\x7a\x4e\xde\xf4\xe7\xcc\xee\x5f\xa4\x50\x6c\x19\x12\x4f\xc8\xcc\xda\x6e\x03\x3d",
        _ => return None,
    })
}
