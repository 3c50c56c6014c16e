//! The sensor's key: what signs the custody chain and exported evidence.
//!
//! In: the setting `ring.key_file`. Out: a [`SigningKey`], made at the first start, and the [`PublicKey`] that
//! others verify with. Deliberately absent: passphrases and key servers. A key that is there and cannot be used
//! is an error and never a reason to go on unsigned or to make another one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use crypto::rand::SystemRandom;
use crypto::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::Serialize;
use sha2::Digest as _;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The key's file in the ring's directory, unless `ring.key_file` names another.
pub const KEY_FILE: &str = "custody.key";
/// The public key in the ring's directory, one line as `ssh-keygen` writes it.
pub const PUBLIC_KEY_FILE: &str = "custody.pub";
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Largest key file that is looked at, in bytes; a larger one is no key.
const KEY_FILE_BYTES_MAX: u64 = 4096;
/// What a setting begins with that names a systemd credential.
const CREDENTIAL_PREFIX: &str = "credential:";
const SSH_ALGORITHM: &str = "ssh-ed25519";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("custody key {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there and holds no Ed25519 key.
    #[error(
        "custody key {path}: {why}; expected an Ed25519 private key as PKCS#8 (DER or PEM). Put the right key back, \
         or move the file away and a new key is made"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The setting names a credential that was not passed.
    #[error("ring.key_file is `{setting}`: {why}")]
    Credential {
        /// The setting.
        setting: String,
        /// What is missing.
        why: &'static str,
    },
    /// A public key's text is not one.
    #[error("expected a public key as `ssh-ed25519 BASE64`, as in {PUBLIC_KEY_FILE}; {0}")]
    Public(&'static str),
}

impl KeyError {
    fn io(path: &Path, source: io::Error) -> KeyError {
        KeyError::Io { path: path.to_owned(), source }
    }
}

/// Where a setting says the key is, and whether it may be made there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    path: PathBuf,
    create: bool,
}

impl KeyPlace {
    /// Reads `ring.key_file`: empty for the ring's own directory, a path, or `credential:NAME` for a file in the
    /// directory that systemd passes credentials in.
    pub fn of(setting: &str, ring: &Path, credentials: Option<&Path>) -> Result<KeyPlace, KeyError> {
        let Some(name) = setting.strip_prefix(CREDENTIAL_PREFIX) else {
            let path = if setting.is_empty() { ring.join(KEY_FILE) } else { PathBuf::from(setting) };
            return Ok(KeyPlace { path, create: true });
        };
        let wrong = |why| KeyError::Credential { setting: setting.to_owned(), why };
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(wrong("expected the name of a credential after the colon"));
        }
        let directory = credentials
            .ok_or_else(|| wrong("systemd passed no credentials; LoadCredential= in the unit passes them"))?;
        Ok(KeyPlace { path: directory.join(name), create: false })
    }

    /// [`KeyPlace::of`] with the directory that systemd names in the environment.
    pub fn from_environment(setting: &str, ring: &Path) -> Result<KeyPlace, KeyError> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        KeyPlace::of(setting, ring, credentials.as_deref())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The private key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.fingerprint())
    }
}

impl SigningKey {
    /// Reads the key; none when there is no such file.
    pub fn load(place: &KeyPlace) -> Result<Option<SigningKey>, KeyError> {
        let path = place.path();
        let file = match OpenOptions::new().read(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.create => return Ok(None),
            Err(error) => return Err(KeyError::io(path, error)),
        };
        let meta = file.metadata().map_err(|error| KeyError::io(path, error))?;
        let damaged = |why: String| KeyError::Damaged { path: path.to_owned(), why };
        if !meta.is_file() || meta.len() > KEY_FILE_BYTES_MAX {
            return Err(damaged(format!("not a file of at most {KEY_FILE_BYTES_MAX} bytes")));
        }
        let mut bytes = Vec::new();
        file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| KeyError::io(path, error))?;
        if meta.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others may read the custody key, and sign as this sensor; mode 0600 is expected");
        }
        SigningKey::parse(&bytes).map(Some).map_err(|why| damaged(why.to_owned()))
    }

    /// Reads the key, or makes it where there is none and it may be made.
    pub fn load_or_create(place: &KeyPlace) -> Result<SigningKey, KeyError> {
        match SigningKey::load(place)? {
            Some(key) => Ok(key),
            None => SigningKey::create(place.path()),
        }
    }

    fn parse(bytes: &[u8]) -> Result<SigningKey, &'static str> {
        let text = std::str::from_utf8(bytes).ok().map(str::trim);
        let pem = text.and_then(|text| text.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END));
        let der = match pem {
            Some(base64) => {
                let base64: String = base64.split_ascii_whitespace().collect();
                STANDARD.decode(base64).map_err(|_| "the PEM text is not base64")?
            }
            None => bytes.to_vec(),
        };
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| "not an Ed25519 key")?;
        let public = PublicKey::of(&pair).ok_or("its public key has another length")?;
        Ok(SigningKey { pair, public })
    }

    /// The file has its name only when it is whole and on disk, and nobody else could ever read it.
    fn create(path: &Path) -> Result<SigningKey, KeyError> {
        let random = |_| KeyError::io(path, io::Error::other("the system gives no random numbers"));
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(random)?;
        let key = SigningKey::parse(document.as_ref())
            .map_err(|why| KeyError::Damaged { path: path.to_owned(), why: why.to_owned() })?;
        let temporary = temporary(path);
        let write = || -> io::Result<()> {
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(document.as_ref())?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(|error| KeyError::io(path, error))?;
        tracing::info!(path = %path.display(), key = %key.public.fingerprint(), "a custody key was made");
        Ok(key)
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut bytes = [0; SIGNATURE_BYTES];
        let signature = self.pair.sign(message);
        // Ed25519 signatures have 64 bytes.
        bytes.iter_mut().zip(signature.as_ref()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// What verifies signatures.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; PublicKey::BYTES]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl PublicKey {
    /// Bytes of a public key.
    pub const BYTES: usize = 32;

    fn of(pair: &Ed25519KeyPair) -> Option<PublicKey> {
        pair.public_key().as_ref().try_into().ok().map(PublicKey)
    }

    /// Whether the signature is this key's, over this message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }

    /// Reads the line that [`PublicKey::line`] writes; a comment may follow it.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some(SSH_ALGORITHM) {
            return Err(KeyError::Public("the text does not begin with `ssh-ed25519`"));
        }
        let blob = STANDARD.decode(words.next().unwrap_or_default());
        let blob = blob.map_err(|_| KeyError::Public("the second word is not base64"))?;
        let key =
            blob.strip_prefix(&*ssh_prefix()).and_then(|key| <[u8; PublicKey::BYTES]>::try_from(key).ok());
        key.map(PublicKey).ok_or(KeyError::Public("the base64 holds no Ed25519 key"))
    }

    /// Reads a file such as `custody.pub`.
    pub fn read(path: &Path) -> Result<PublicKey, KeyError> {
        let file = fs::File::open(path).map_err(|error| KeyError::io(path, error))?;
        let mut text = String::new();
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| KeyError::io(path, error))?;
        PublicKey::parse(&text)
    }

    /// Writes the ring's `custody.pub`, where it does not say this already.
    pub fn publish(&self, ring: &Path) -> Result<(), KeyError> {
        let path = ring.join(PUBLIC_KEY_FILE);
        if PublicKey::read(&path).is_ok_and(|known| known == *self) {
            return Ok(());
        }
        let temporary = temporary(&path);
        let text = format!("{} weir-sensor custody\n", self.line());
        let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|error| KeyError::io(&path, error))
    }

    /// The key as OpenSSH writes one, without a comment: `ssh-keygen -lf` prints its fingerprint.
    pub fn line(&self) -> String {
        format!("{SSH_ALGORITHM} {}", STANDARD.encode(self.blob()))
    }

    /// What people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(sha2::Sha256::digest(self.blob()).into())
    }

    fn blob(&self) -> Vec<u8> {
        let mut blob = ssh_prefix();
        blob.extend_from_slice(&self.0);
        blob
    }
}

/// The algorithm's name and the key's length, each as SSH writes them (RFC 8709).
fn ssh_prefix() -> Vec<u8> {
    let mut prefix = (SSH_ALGORITHM.len() as u32).to_be_bytes().to_vec();
    prefix.extend_from_slice(SSH_ALGORITHM.as_bytes());
    prefix.extend_from_slice(&(PublicKey::BYTES as u32).to_be_bytes());
    prefix
}

/// SHA-256 of a public key, shown as OpenSSH shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.3: a private key without and with its public half.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC: [u8; 32] = [
        0x19, 0xbf, 0x44, 0x09, 0x69, 0x84, 0xcd, 0xfe, 0x85, 0x41, 0xba, 0xc1, 0x67, 0xdc, 0x3b, 0x96, 0xc8,
        0x50, 0x86, 0xaa, 0x30, 0xb6, 0xb6, 0xcb, 0x0c, 0x5c, 0x38, 0xad, 0x70, 0x31, 0x66, 0xe1,
    ];

    fn place(directory: &Path) -> KeyPlace {
        KeyPlace::of("", directory, None).unwrap()
    }

    #[test]
    fn a_key_is_made_once_readable_by_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        assert!(SigningKey::load(&place(directory.path())).unwrap().is_none());
        let made = SigningKey::load_or_create(&place(directory.path())).unwrap();
        let again = SigningKey::load_or_create(&place(directory.path())).unwrap();
        assert_eq!(made.public(), again.public());
        let mode = fs::metadata(directory.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let signature = made.sign(b"message");
        assert!(again.public().verifies(b"message", &signature));
        assert!(!again.public().verifies(b"massage", &signature));
        assert!(!again.public().verifies(b"message", &signature[..63]));
    }

    #[test]
    fn keys_of_openssl_are_taken() {
        let key = SigningKey::parse(PEM.as_bytes()).unwrap();
        assert_eq!(key.public(), PublicKey(PUBLIC));
    }

    #[test]
    fn a_damaged_key_is_refused_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        SigningKey::load_or_create(&place(directory.path())).unwrap();
        let path = directory.path().join(KEY_FILE);
        let whole = fs::read(&path).unwrap();
        let damaged: [Vec<u8>; 5] = [
            vec![],
            whole[..40].to_vec(),
            vec![0; 5000],
            PEM.replace("MC4C", "????").into_bytes(),
            // The private half of one key and the public half of another.
            whole.iter().enumerate().map(|(at, byte)| if at == 20 { byte ^ 1 } else { *byte }).collect(),
        ];
        for bytes in damaged {
            fs::write(&path, &bytes).unwrap();
            let error = SigningKey::load_or_create(&place(directory.path())).unwrap_err();
            assert!(matches!(error, KeyError::Damaged { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn a_public_key_reads_back_with_the_fingerprint_that_openssh_shows() {
        let key = PublicKey(PUBLIC);
        let line = key.line();
        assert_eq!(line, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm/RAlphM3+hUG6wWfcO5bIUIaqMLa2ywxcOK1wMWbh");
        assert_eq!(PublicKey::parse(&format!("{line} a comment\n")).unwrap(), key);
        assert_eq!(key.fingerprint().to_string().len(), "SHA256:".len() + 43);
        for wrong in ["", "ssh-rsa AAAA", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 ????"] {
            assert!(PublicKey::parse(wrong).is_err(), "{wrong}");
        }
        let directory = tempfile::tempdir().unwrap();
        key.publish(directory.path()).unwrap();
        assert_eq!(PublicKey::read(&directory.path().join(PUBLIC_KEY_FILE)).unwrap(), key);
    }

    #[test]
    fn a_setting_names_the_ring_a_file_or_a_credential() {
        let ring = Path::new("/ring");
        let of = |setting, credentials| KeyPlace::of(setting, ring, credentials);
        assert_eq!(of("", None).unwrap().path(), Path::new("/ring/custody.key"));
        assert_eq!(of("/etc/weir/key", None).unwrap().path(), Path::new("/etc/weir/key"));
        let passed = of("credential:weir-custody-key", Some(Path::new("/run/credentials/weir"))).unwrap();
        assert_eq!(passed.path(), Path::new("/run/credentials/weir/weir-custody-key"));
        // A credential that systemd should pass and did not is no reason to make a key.
        assert!(SigningKey::load_or_create(&passed).is_err());
        assert!(of("credential:weir-custody-key", None).is_err());
        for wrong in ["credential:", "credential:../key", "credential:a/b"] {
            assert!(of(wrong, Some(Path::new("/"))).is_err(), "{wrong}");
        }
    }
}
