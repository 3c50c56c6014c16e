//! The sensor's identity: its key, its certificate, and the authority of the collector that it is paired with.
//!
//! In: a directory; a token before pairing; what the collector issued. Out: requests for certificates, TLS
//! configurations, and whether a signature is the collector's. Time is an argument but within a TLS handshake, where
//! rustls reads the clock. Deliberately absent: sockets, and when to renew, which the connection to the collector
//! decides by [`Identity::renew_at`].
//!
//! Everything is in one file, `identity.pem` (mode 0600), which is replaced as a whole: the private key, the
//! sensor's certificate, the authority's, and in lines between them the collector's addresses. Whoever uses an identity loads it anew for each
//! connection, so that pairing and renewal take effect without a restart.

pub mod config;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verifier;

use crypto::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verifier::Verifier;
use weir_common::enrolment::{
    FINGERPRINT_BYTES, Fingerprint, NameError, SIGNATURE_CONTEXT, SensorName, Token, check_addresses,
};
use weir_common::time::Timestamp;

/// The file in the identity's directory.
pub const FILE_NAME: &str = "identity.pem";
/// Largest file that is read, in octets.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// What a line with one of the collector's addresses begins with.
const ADDRESS_LINE: &str = "Collector: ";

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The sensor is not paired.
    #[error(
        "{path} is not there: this sensor is not paired; `weir-collector enroll NAME` on the collector prints the command that does it"
    )]
    NotPaired {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is there and is not what it should be.
    #[error("{path}: {why}; pair the sensor again with a new token")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A PEM file of the configuration is not what it should be.
    #[error("{path}: {why}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What the collector issued does not fit what was asked for.
    #[error("what the collector issued cannot be used: {0}")]
    Issued(String),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A key or request cannot be made.
    #[error("a key cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    /// rustls does not take what it is given.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A signature that is not the collector's.
    #[error("the signature is not that of the collector that this sensor is paired with")]
    Signature,
}

/// A request for a certificate, and the key that it is for.
pub struct Request {
    /// The sensor that asks.
    pub name: SensorName,
    /// PKCS #10 (RFC 2986) in PEM: goes to the collector.
    pub csr_pem: String,
    /// PKCS #8 in PEM: stays here.
    key_pem: String,
}

/// A paired sensor's identity.
pub struct Identity {
    name: SensorName,
    addresses: Vec<String>,
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} of {})", self.name, fingerprint(&self.authority))
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({})", self.name)
    }
}

impl Identity {
    /// Makes a key, and a request for its certificate.
    pub fn request(name: &SensorName) -> Result<Request, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        let csr_pem = params.serialize_request(&key)?.pem()?;
        Ok(Request { name: name.clone(), csr_pem, key_pem: key.serialize_pem() })
    }

    /// Keeps what the collector issued for a request, in place of what was there. `expected` is the token's
    /// fingerprint when pairing, and that of the present authority when renewing.
    pub fn store(
        directory: &Path,
        request: &Request,
        chain_pem: &str,
        authority_pem: &str,
        addresses: &[String],
        expected: Fingerprint,
    ) -> Result<Identity, IdentityError> {
        check_addresses(addresses).map_err(|error| IdentityError::Issued(error.to_string()))?;
        let mut text = String::new();
        addresses.iter().for_each(|address| text.extend([ADDRESS_LINE, address, "\n"]));
        text.extend([&request.key_pem, "\n", chain_pem, "\n", authority_pem]);
        let identity = Identity::read(text.as_bytes()).map_err(IdentityError::Issued)?;
        if identity.name != request.name {
            return Err(IdentityError::Issued(format!("it is for sensor {}", identity.name)));
        }
        if fingerprint(&identity.authority) != expected {
            return Err(IdentityError::Issued("it is of another authority than the token's".into()));
        }
        let path = directory.join(FILE_NAME);
        write(directory, &path, text.as_bytes()).map_err(|source| IdentityError::Io { path, source })?;
        Ok(identity)
    }

    /// Reads the identity that a directory holds.
    pub fn load(directory: &Path) -> Result<Identity, IdentityError> {
        let path = directory.join(FILE_NAME);
        let text = match read_bounded(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::NotPaired { path });
            }
            Err(source) => return Err(IdentityError::Io { path, source }),
        };
        Identity::read(&text).map_err(|why| IdentityError::Damaged { path, why })
    }

    fn read(text: &[u8]) -> Result<Identity, String> {
        let key = PrivateKeyDer::from_pem_slice(text).map_err(|error| format!("it holds no key: {error}"))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        let certificates = certificates.map_err(|error| format!("a certificate cannot be read: {error}"))?;
        let [certificate, authority] = <[_; 2]>::try_from(certificates).map_err(|found| {
            format!("it holds {} certificates, expected the sensor's and the authority's", found.len())
        })?;
        let (_, read) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_| "the sensor's certificate is not X.509".to_owned())?;
        let name = read.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let name =
            name.and_then(|name| SensorName::new(name).ok()).ok_or("the certificate names no sensor")?;
        let (_, issuer) = x509_parser::parse_x509_certificate(&authority)
            .map_err(|_| "the authority's certificate is not X.509".to_owned())?;
        read.verify_signature(Some(issuer.public_key()))
            .map_err(|_| "the sensor's certificate is not of the authority beside it".to_owned())?;
        let pair = KeyPair::try_from(&key).map_err(|error| format!("its key cannot be used: {error}"))?;
        if read.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
            return Err("its certificate is of another key".into());
        }
        let time = |seconds: i64| Timestamp::from_parts(u64::try_from(seconds).unwrap_or(0), 0);
        let (not_before, not_after) =
            (time(read.validity().not_before.timestamp()), time(read.validity().not_after.timestamp()));
        let lines = std::str::from_utf8(text).unwrap_or_default().lines();
        let addresses: Vec<String> = lines
            .filter_map(|line| line.strip_prefix(ADDRESS_LINE))
            .map(|address| address.trim().to_owned())
            .collect();
        check_addresses(&addresses).map_err(|error| error.to_string())?;
        Ok(Identity { name, addresses, key, certificate, authority, not_before, not_after })
    }

    /// The sensor's name, as the collector knows it.
    pub fn name(&self) -> &SensorName {
        &self.name
    }

    /// Where the collector's control connection is taken, `HOST:PORT`, to be tried in this order.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The authority's fingerprint.
    pub fn authority(&self) -> Fingerprint {
        fingerprint(&self.authority)
    }

    /// When the certificate expires.
    pub fn expires_at(&self) -> Timestamp {
        self.not_after
    }

    /// When the certificate is to be renewed: when two thirds of its time have passed.
    pub fn renew_at(&self) -> Timestamp {
        self.not_before.plus(self.not_after.since(self.not_before) / 3 * 2)
    }

    /// A client's TLS configuration: TLS 1.3 alone; the sensor's certificate is shown, and the authority alone is
    /// trusted, for the name [`weir_common::enrolment::COLLECTOR_SERVER_NAME`]. ALPN is the caller's to add.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, IdentityError> {
        let verifier = Verifier::of_roots(std::slice::from_ref(&self.authority), provider())?;
        client_config(verifier, Some((vec![self.certificate.clone()], self.key.clone_key())))
    }

    /// Whether the collector signed these octets.
    pub fn verify(&self, octets: &[u8], signature: &[u8]) -> Result<(), IdentityError> {
        let (_, read) =
            x509_parser::parse_x509_certificate(&self.authority).map_err(|_| IdentityError::Signature)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &read.public_key().subject_public_key.data);
        let signed = [SIGNATURE_CONTEXT, octets].concat();
        key.verify(&signed, signature).map_err(|_| IdentityError::Signature)
    }
}

/// A TLS configuration for pairing: no certificate is shown, and the authority of the token's fingerprint alone is
/// trusted, for the name [`weir_common::enrolment::COLLECTOR_SERVER_NAME`].
pub fn pinned(token: &Token) -> Result<Arc<ClientConfig>, IdentityError> {
    client_config(Verifier::pinned(token.authority, provider()), None)
}

/// A TLS configuration from PEM files, for collectors other than Weir's: authorities to trust, and the certificate
/// with its key to show, if any. The server's name is verified as rustls is told it.
pub fn foreign(
    authority: &Path,
    certificate: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, IdentityError> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| IdentityError::Pem {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let text =
            read_bounded(path).map_err(|source| IdentityError::Io { path: path.to_owned(), source })?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let read = read.map_err(|error| wrong(path, &error))?;
        if read.is_empty() { Err(wrong(path, &"it holds no certificate in PEM")) } else { Ok(read) }
    };
    let roots = certificates(authority)?;
    let own = match certificate {
        None => None,
        Some((certificate, key_path)) => {
            let text = read_bounded(key_path)
                .map_err(|source| IdentityError::Io { path: key_path.to_owned(), source })?;
            let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong(key_path, &error))?;
            Some((certificates(certificate)?, key))
        }
    };
    let verifier = Verifier::of_roots(&roots, provider()).map_err(|error| wrong(authority, &error))?;
    client_config(verifier, own)
}

/// The directory, if it is there or `make` says to make it: what the sandbox leaves writable. Made before root is given
/// up, it is handed over with the others, so that a sensor that is paired while it runs can read what pairing stores.
pub fn prepare(directory: &Path, make: bool) -> Option<PathBuf> {
    if make && !directory.is_dir() {
        let made = directory.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = made.and_then(|()| DirBuilder::new().mode(0o700).create(directory)) {
            tracing::warn!("{}: {error}; pairing can make it", directory.display());
        }
    }
    directory.is_dir().then(|| directory.to_owned())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn client_config(
    verifier: Verifier,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<Arc<ClientConfig>, IdentityError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    // Each session verifies both ends anew: a resumed one would not ask whether a certificate was revoked.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Half of a certificate's SHA-256.
pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    let mut half = [0; FINGERPRINT_BYTES];
    half.iter_mut().zip(Sha256::digest(certificate)).for_each(|(to, from)| *to = from);
    Fingerprint(half)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX + 1), &mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {FILE_BYTES_MAX} octets"),
        ));
    }
    Ok(text)
}

/// Makes a file hold these bytes, durably, for its owner alone, who is the directory's: pairing is done by root, and
/// the sensor may have given up root before.
fn write(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    if !directory.is_dir() {
        directory.parent().map_or(Ok(()), fs::create_dir_all)?;
        DirBuilder::new().mode(0o700).create(directory)?;
    }
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    let of_directory = fs::metadata(directory)?;
    if file.metadata()?.uid() == 0 && of_directory.uid() != 0 {
        fchown(&file, Some(of_directory.uid()), Some(of_directory.gid()))?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(directory)?.sync_all()
}
