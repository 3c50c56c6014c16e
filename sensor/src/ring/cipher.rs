//! Sealing with a key: what the ring writes when it is encrypted at rest.
//!
//! In: the ring's key, from a file or a systemd credential. Out: a key of its own for each segment and index
//! (AES-256-GCM, by the `ring` library), derived from the ring's key and the file's random salt with BLAKE3, so
//! that no two files share a key and a nonce is a place within its file. Deliberately absent: key management.
//! Who loses the key loses the packets.

use super::format::{SALT_BYTES, TAG_BYTES};
use crypto::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use crypto::rand::{SecureRandom, SystemRandom};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of the ring's key.
pub const KEY_BYTES: usize = 32;
/// Longest key file that is looked at, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 4096;
/// What begins the name of a systemd credential in `ring.encryption_key`.
const CREDENTIAL_PREFIX: &str = "credential:";

/// What a derived key is for; blocks and indexes never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Parts of the blocks of a segment.
    Blocks,
    /// Records of an index while its segment is written.
    Journal,
    /// Pages of a sealed index.
    Pages,
}

impl Purpose {
    fn context(self) -> &'static str {
        match self {
            Purpose::Blocks => "weir ring v2 2026-11 blocks",
            Purpose::Journal => "weir ring v2 2026-11 index journal",
            Purpose::Pages => "weir ring v2 2026-11 index pages",
        }
    }
}

/// The ring's key.
#[derive(Clone)]
pub struct RingKey([u8; KEY_BYTES]);

impl std::fmt::Debug for RingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RingKey")
    }
}

impl RingKey {
    /// A key of these bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> RingKey {
        RingKey(bytes)
    }

    /// Reads the key that `setting` names: a file, or `credential:NAME` for one that systemd passes. None when
    /// `setting` is empty: the ring is not encrypted.
    ///
    /// The file holds 32 bytes, or 64 hexadecimal digits.
    pub fn load(setting: &str) -> io::Result<Option<RingKey>> {
        if setting.is_empty() {
            return Ok(None);
        }
        let path = path_of(setting)?;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if fs::metadata(&path).map_err(named)?.len() > KEY_FILE_BYTES_MAX {
            return Err(named(io::Error::new(io::ErrorKind::InvalidData, "too long for a key")));
        }
        let bytes = fs::read(&path).map_err(named)?;
        match parse(&bytes) {
            Some(key) => Ok(Some(RingKey(key))),
            None => Err(named(io::Error::new(
                io::ErrorKind::InvalidData,
                "expected 32 bytes or 64 hexadecimal digits",
            ))),
        }
    }
}

/// The file that a setting names.
fn path_of(setting: &str) -> io::Result<PathBuf> {
    let Some(name) = setting.strip_prefix(CREDENTIAL_PREFIX) else { return Ok(setting.into()) };
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("{setting}: systemd passes no credentials to this process"),
        )
    })?;
    Ok(Path::new(&directory).join(name))
}

fn parse(bytes: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if let Ok(key) = bytes.try_into() {
        return Some(key);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim().as_bytes();
    let mut key = [0; KEY_BYTES];
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = (value(digits[0])? << 4 | value(digits[1])?) as u8;
    }
    Some(key)
}

/// Random bytes that no other file has.
pub(super) fn new_salt() -> io::Result<[u8; SALT_BYTES]> {
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(salt)
}

/// Seals and opens the pieces of one file.
#[derive(Debug)]
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    /// The cipher of the file with this salt.
    pub(super) fn new(key: &RingKey, salt: &[u8; SALT_BYTES], purpose: Purpose) -> io::Result<Cipher> {
        let mut hasher = blake3::Hasher::new_derive_key(purpose.context());
        hasher.update(&key.0).update(salt);
        UnboundKey::new(&AES_256_GCM, hasher.finalize().as_bytes())
            .map(|key| Cipher(LessSafeKey::new(key)))
            .map_err(|_| io::Error::other("AES-256-GCM takes keys of 32 bytes"))
    }

    /// Encrypts in place and returns the tag. `place` and `piece` are never used twice in one file.
    pub(super) fn seal(&self, place: u64, piece: u32, bytes: &mut [u8]) -> io::Result<[u8; TAG_BYTES]> {
        let tag = self.0.seal_in_place_separate_tag(nonce(place, piece), Aad::empty(), bytes);
        let tag = tag.map_err(|_| io::Error::other("too long to encrypt"))?;
        let mut out = [0; TAG_BYTES];
        out.copy_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Decrypts in place. False: the bytes are not what was sealed, or the key is another.
    pub(super) fn open(&self, place: u64, piece: u32, bytes: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool {
        let tag = Tag::from(*tag);
        self.0.open_in_place_separate_tag(nonce(place, piece), Aad::empty(), tag, bytes, 0..).is_ok()
    }
}

fn nonce(place: u64, piece: u32) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&place.to_le_bytes());
    bytes[8..].copy_from_slice(&piece.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RingKey = RingKey([1; KEY_BYTES]);

    #[test]
    fn what_was_sealed_opens_with_the_same_key_salt_purpose_and_place_only() {
        let cipher = Cipher::new(&KEY, &[2; SALT_BYTES], Purpose::Blocks).unwrap();
        let mut bytes = *b"packets";
        let tag = cipher.seal(3, 4, &mut bytes).unwrap();
        assert_ne!(&bytes, b"packets");
        let opens = |cipher: &Cipher, place, piece| {
            let mut bytes = bytes;
            cipher.open(place, piece, &mut bytes, &tag) && &bytes == b"packets"
        };
        assert!(opens(&cipher, 3, 4));
        assert!(!opens(&cipher, 4, 4) && !opens(&cipher, 3, 5));
        for other in [
            Cipher::new(&RingKey([9; KEY_BYTES]), &[2; SALT_BYTES], Purpose::Blocks),
            Cipher::new(&KEY, &[3; SALT_BYTES], Purpose::Blocks),
            Cipher::new(&KEY, &[2; SALT_BYTES], Purpose::Pages),
        ] {
            assert!(!opens(&other.unwrap(), 3, 4));
        }
    }

    #[test]
    fn a_key_is_32_bytes_or_64_digits() {
        assert_eq!(parse(&[7; 32]), Some([7; 32]));
        assert_eq!(parse(format!("{}\n", "0a".repeat(32)).as_bytes()), Some([10; 32]));
        for wrong in [&b""[..], &[7; 31], &[7; 33], "0g".repeat(32).as_bytes(), "0a".repeat(31).as_bytes()] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn a_key_that_is_missing_or_no_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        assert!(RingKey::load("").unwrap().is_none());
        let path = directory.path().join("key");
        let load = || RingKey::load(path.to_str().unwrap());
        assert!(load().unwrap_err().to_string().contains("key: "));
        fs::write(&path, "short").unwrap();
        assert!(load().unwrap_err().to_string().contains("expected 32 bytes"));
        fs::write(&path, [1; KEY_BYTES]).unwrap();
        assert!(load().unwrap().is_some());
        fs::write(&path, [1; 5000]).unwrap();
        assert!(load().unwrap_err().to_string().contains("too long"));
    }
}
