//! The collector's identity: its certificate authority, who is enrolled, and who is let in.
//!
//! In: a directory, which is made and filled at the first start; names to enrol, tokens and requests for
//! certificates, certificates that peers show. Out: tokens, certificates, TLS configurations, signatures, and for
//! each peer its authenticated name or why it is refused. Time is an argument but within a TLS handshake, where
//! rustls reads the clock. Deliberately absent: sockets, and any trust in authorities that the owner did not name.
//!
//! The authority's key is in `authority.pem` (mode 0600), the same certificate for others in `authority.crt`. The
//! server certificate is made anew at each start and when two thirds of its time have passed; its key is in memory
//! alone. What is revoked is refused at once: the register is looked at in each handshake, and whoever is let in
//! is looked at anew when it changes ([`Authority::changes`]).

mod certificates;
pub mod config;
mod refused;
mod register;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verifier;

pub use certificates::BACKDATED;
pub use refused::Refused;
pub use register::{SENSORS_MAX, Sensor, TOKENS_MAX};

use crate::files;
use config::IdentityConfig;
use rcgen::{Issuer, KeyPair, SigningKey as _};
use register::{List, Pending, Register, time};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use weir_common::enrolment::check_addresses;
use weir_common::enrolment::{
    AddressError, FINGERPRINT_BYTES, Fingerprint, SIGNATURE_CONTEXT, Secret, SensorName, Token,
};
use weir_common::time::Timestamp;

/// The authority's key and certificate.
const AUTHORITY_FILE: &str = "authority.pem";
/// The authority's certificate, to be given to others.
const CERTIFICATE_FILE: &str = "authority.crt";
/// Most wrong tokens of one address, or one /64 of IPv6, within [`ATTEMPTS_PERIOD`]; further ones are not looked at.
pub const ATTEMPTS_MAX: u32 = 10;
/// What [`ATTEMPTS_MAX`] counts within.
pub const ATTEMPTS_PERIOD: Duration = Duration::from_secs(60);
/// Most addresses whose attempts are remembered; the one that tried longest ago makes place.
const ATTEMPTS_ADDRESSES_MAX: usize = 1024;
/// How often [`Authority::tend`] looks whether another process changed the register.
const REFRESH_PERIOD: Duration = Duration::from_millis(250);
/// How often it has every peer looked at anew, for certificates that expire meanwhile.
const REVIEW_PERIOD: Duration = Duration::from_secs(3600);

/// Why the identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is there and is not what it should be.
    #[error(
        "{path}: {why}. Put the right file back; or move the directory away, and a new authority is made with which every sensor must be paired again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of `ingest.tls_client_ca` holds no certificate.
    #[error("{path}: {why}; expected one or more certificates in PEM")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An address for a token is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls does not take what it is given.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The register refuses, or cannot be written.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No such sensor.
    #[error("no sensor {0} is enrolled and no token for it is out; `weir-collector sensors` lists them")]
    NoSensor(SensorName),
}

impl IdentityError {
    fn io(path: &Path, source: io::Error) -> IdentityError {
        IdentityError::Io { path: path.to_owned(), source }
    }

    fn damaged(path: &Path, why: String) -> IdentityError {
        IdentityError::Damaged { path: path.to_owned(), why }
    }
}

/// Whom a listener takes.
#[derive(Clone, Debug)]
pub enum Clients {
    /// Sensors with a certificate alone.
    Required,
    /// Also those without a certificate, to be paired: ask [`Authority::sensor_of`] before anything else is done.
    Optional,
    /// Sensors, and those with a certificate of one of these authorities.
    Foreign(Vec<CertificateDer<'static>>),
}

/// Whoever was let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An enrolled sensor.
    Sensor(SensorName),
    /// The owner of a certificate of an authority in `ingest.tls_client_ca`, by its subject.
    Foreign(String),
}

impl Peer {
    /// The name to show.
    pub fn name(&self) -> &str {
        match self {
            Peer::Sensor(name) => name.as_str(),
            Peer::Foreign(subject) => subject,
        }
    }
}

/// A certificate that was made for a sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The sensor.
    pub name: SensorName,
    /// Its certificate in PEM, followed by those between it and the authority, of which there are none today.
    pub chain_pem: String,
    /// The authority's certificate in PEM.
    pub authority_pem: String,
    /// When the certificate expires.
    pub expires: Timestamp,
}

/// A signature of the authority over octets that it says are from this collector: ECDSA on P-256 with SHA-256
/// (ASN.1), over [`SIGNATURE_CONTEXT`] and the octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(pub Vec<u8>);

#[derive(Debug)]
struct Server {
    key: Arc<CertifiedKey>,
    renew_at: Timestamp,
}

/// What all handles of an authority share.
struct Inner {
    config: IdentityConfig,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    names: Vec<String>,
    server: RwLock<Server>,
    own: Arc<dyn ClientCertVerifier>,
    register: Register,
    attempts: Mutex<HashMap<IpAddr, (Timestamp, u32)>>,
    provider: Arc<CryptoProvider>,
    issued: AtomicU64,
    renewed: AtomicU64,
    tolerated: AtomicU64,
    refused: [AtomicU64; Refused::CAUSES.len()],
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", fingerprint(&self.certificate))
    }
}

/// The collector's certificate authority; clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Authority(Arc<Inner>);

/// What limits count as one peer: an IPv4 address, or the /64 of IPv6, of which a host has every address.
pub fn site_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        ip => ip,
    }
}

/// The directory that a configuration names.
pub fn directory(config: &IdentityConfig, state: &Path) -> PathBuf {
    if config.directory.is_empty() { state.join("identity") } else { PathBuf::from(&config.directory) }
}

/// The certificates in a file, for [`Clients::Foreign`].
pub fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let wrong = |why: String| IdentityError::Roots { path: path.to_owned(), why };
    let text = fs::read(path).map_err(|source| IdentityError::io(path, source))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let read = read.map_err(|error| wrong(error.to_string()))?;
    if read.is_empty() {
        return Err(wrong("it holds no certificate".into()));
    }
    let mut store = RootCertStore::empty();
    for certificate in &read {
        store.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(read)
}

impl Authority {
    /// Opens the directory, making it and the authority where there is none.
    pub fn open(
        directory: &Path,
        config: &IdentityConfig,
        now: Timestamp,
    ) -> Result<Authority, IdentityError> {
        files::private_directory(directory).map_err(|source| IdentityError::io(directory, source))?;
        let (key, certificate) = load_or_make(directory, now)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let own = verifier_of(std::slice::from_ref(&certificate), &provider)?;
        let names = server_names(&config.names);
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        let server = make_server(&issuer, &certificate, &names, &provider, now)?;
        Ok(Authority(Arc::new(Inner {
            config: config.clone(),
            certificate,
            issuer,
            names,
            server: RwLock::new(server),
            own,
            register: Register::open(directory)?,
            attempts: Mutex::default(),
            provider,
            issued: AtomicU64::new(0),
            renewed: AtomicU64::new(0),
            tolerated: AtomicU64::new(0),
            refused: Default::default(),
        })))
    }

    /// The authority's fingerprint, as tokens carry it.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.0.certificate)
    }

    /// The authority's certificate in PEM, which is no secret.
    pub fn certificate_pem(&self) -> String {
        certificate_pem(&self.0.certificate)
    }

    /// Makes a token for a sensor. One that is enrolled already stays so until the token is used, and its former
    /// certificates are worth nothing from then on.
    pub fn enroll(
        &self,
        name: &SensorName,
        addresses: &[String],
        now: Timestamp,
    ) -> Result<Token, IdentityError> {
        check_addresses(addresses)?;
        let secret = Secret(certificates::random()?);
        let pending = Pending {
            name: name.to_string(),
            secret_sha256: hex(&Sha256::digest(secret.0)),
            expires: now.plus(Duration::from_secs(u64::from(self.0.config.token_valid_s))).to_string(),
            used: String::new(),
        };
        self.0.register.change(now, |list| {
            // The latest token of a name is the one that counts.
            list.tokens.retain(|token| token.name != name.as_str() || !token.used.is_empty());
            list.tokens.push(pending);
            Ok(())
        })?;
        Ok(Token { name: name.clone(), addresses: addresses.to_vec(), secret, authority: self.fingerprint() })
    }

    /// Gives a certificate for a token's secret, once. `peer` is where the attempt comes from. Writes to the disk:
    /// not to be called where others wait.
    pub fn redeem(
        &self,
        peer: IpAddr,
        secret: &Secret,
        csr_pem: &str,
        now: Timestamp,
    ) -> Result<Issued, Refused> {
        let peer = site_of(peer);
        let outcome = self.attempt(peer, now).and_then(|()| self.redeem_once(secret, csr_pem, now));
        match &outcome {
            Ok(_) => self.0.issued.fetch_add(1, Ordering::Relaxed),
            Err(refused) => {
                if matches!(refused, Refused::TokenUnknown | Refused::TokenUsed | Refused::TokenExpired) {
                    self.attempt_failed(peer, now);
                }
                self.count(refused)
            }
        };
        outcome
    }

    fn redeem_once(&self, secret: &Secret, csr_pem: &str, now: Timestamp) -> Result<Issued, Refused> {
        let secret = hex(&Sha256::digest(secret.0));
        let request = certificates::Request::read(csr_pem)?;
        let enrolment = certificates::random_hex().map_err(|error| Refused::State(error.to_string()))?;
        let issued = self.issue(&request, &enrolment, now)?;
        let sensor = Sensor {
            enrolment,
            enrolled: now.to_string(),
            expires: issued.expires.to_string(),
            revoked: String::new(),
        };
        self.0.register.change(now, |list| list.redeem(&secret, &request.name, sensor, now))?;
        Ok(issued)
    }

    /// Gives an enrolled sensor, which was authenticated by its certificate, the next one.
    pub fn renew(&self, sensor: &SensorName, csr_pem: &str, now: Timestamp) -> Result<Issued, Refused> {
        let outcome = self.renew_once(sensor, csr_pem, now);
        match &outcome {
            Ok(_) => self.0.renewed.fetch_add(1, Ordering::Relaxed),
            Err(refused) => self.count(refused),
        };
        outcome
    }

    fn renew_once(&self, sensor: &SensorName, csr_pem: &str, now: Timestamp) -> Result<Issued, Refused> {
        let request = certificates::Request::read(csr_pem)?;
        if request.name != *sensor {
            return Err(Refused::Request(format!(
                "sensor {sensor} asks for a certificate of {}",
                request.name
            )));
        }
        self.0.register.change(now, |list| {
            let known = list.sensors.get_mut(sensor.as_str());
            let known = known.ok_or_else(|| Refused::NotEnrolled(sensor.clone()))?;
            if !known.revoked.is_empty() {
                return Err(Refused::Revoked);
            }
            let issued = self.issue(&request, &known.enrolment, now)?;
            known.expires = issued.expires.to_string();
            Ok(issued)
        })
    }

    fn issue(
        &self,
        request: &certificates::Request,
        enrolment: &str,
        now: Timestamp,
    ) -> Result<Issued, Refused> {
        let valid = Duration::from_secs(u64::from(self.0.config.certificate_valid_days.max(1)) * 86_400);
        let made = certificates::sensor(&self.0.issuer, request, enrolment, valid, now);
        let made = made.map_err(|error| Refused::State(error.to_string()))?;
        Ok(Issued {
            name: request.name.clone(),
            chain_pem: certificate_pem(&made),
            authority_pem: self.certificate_pem(),
            expires: now.plus(valid),
        })
    }

    /// Takes away what a sensor may do, at once, and the tokens that are out for it. True when it was enrolled.
    pub fn revoke(&self, name: &SensorName, now: Timestamp) -> Result<bool, IdentityError> {
        let done = self.0.register.change(now, |list| {
            let tokens = list.tokens.len();
            list.tokens.retain(|token| token.name != name.as_str() || !token.used.is_empty());
            let had_token = list.tokens.len() < tokens;
            let sensor = list.sensors.get_mut(name.as_str());
            let was_enrolled = sensor.is_some();
            if let Some(sensor) = sensor.filter(|sensor| sensor.revoked.is_empty()) {
                sensor.revoked = now.to_string();
            }
            Ok((was_enrolled || had_token).then_some(was_enrolled))
        })?;
        done.ok_or_else(|| IdentityError::NoSensor(name.clone()))
    }

    /// Whether nobody was ever enrolled: there is nobody to open a door for.
    pub fn is_empty(&self) -> bool {
        self.0.register.look(|list| list.sensors.is_empty() && list.tokens.is_empty())
    }

    /// Every sensor that was ever paired, by name.
    pub fn sensors(&self) -> Vec<(String, Sensor)> {
        self.0
            .register
            .look(|list| list.sensors.iter().map(|(name, at)| (name.clone(), at.clone())).collect())
    }

    /// Tokens that can still be used: whom they are for and until when.
    pub fn tokens(&self, now: Timestamp) -> Vec<(String, Timestamp)> {
        let open = |token: &&Pending| token.used.is_empty() && now < time(&token.expires);
        let told = |token: &Pending| (token.name.clone(), time(&token.expires));
        self.0.register.look(|list: &List| list.tokens.iter().filter(open).map(told).collect())
    }

    /// A server's TLS configuration: TLS 1.3 alone, no resumption, the server certificate as it is at each
    /// handshake. ALPN is the caller's to add.
    pub fn server_config(&self, clients: Clients) -> Result<Arc<ServerConfig>, IdentityError> {
        let provider = self.0.provider.clone();
        let (foreign, mandatory) = match &clients {
            Clients::Foreign(roots) => (Some(verifier_of(roots, &provider)?), true),
            Clients::Required => (None, true),
            Clients::Optional => (None, false),
        };
        let verifier = verifier::Verifier { inner: self.0.clone(), foreign, mandatory };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(verifier::Resolver(self.0.clone())));
        config.session_storage = Arc::new(verifier::Forgetful);
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    /// The sensor that showed these certificates, verified in full as of `now`, the register included.
    pub fn sensor_of(
        &self,
        certificates: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<SensorName, Refused> {
        let outcome = self.verified(certificates, now);
        if let Err(refused) = &outcome {
            self.count(refused);
        }
        outcome
    }

    fn verified(&self, certificates: &[CertificateDer<'_>], now: Timestamp) -> Result<SensorName, Refused> {
        let (end_entity, intermediates) = certificates.split_first().ok_or(Refused::NoCertificate)?;
        let verified = verifier::verify(&*self.0.own, end_entity, intermediates, unix(now));
        verified.map_err(|error| told(&error))?;
        self.0.registered(end_entity)
    }

    /// The door of a listener that takes [`Clients::Required`] or [`Clients::Foreign`].
    pub fn door(&self, clients: Clients) -> Result<Door, IdentityError> {
        let foreign = match &clients {
            Clients::Foreign(roots) => Some(verifier_of(roots, &self.0.provider)?),
            Clients::Required | Clients::Optional => None,
        };
        Ok(Door { authority: self.clone(), config: self.server_config(clients)?, foreign })
    }

    /// Signs octets as this collector's.
    pub fn sign(&self, octets: &[u8]) -> Result<Signature, IdentityError> {
        Ok(Signature(self.0.issuer.key().sign(&[SIGNATURE_CONTEXT, octets].concat())?))
    }

    /// Learns when somebody was enrolled, renewed or revoked, by whatever process, and at times without cause:
    /// peers that were let in are to be asked after anew then.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.register.changes()
    }

    /// Keeps up with the register and with the server certificate's age, until it is dropped.
    pub async fn tend(self, clock: fn() -> Timestamp) {
        let mut reviewed = clock();
        loop {
            tokio::time::sleep(REFRESH_PERIOD).await;
            self.0.register.refresh();
            let now = clock();
            self.rotate(now);
            if now.since(reviewed) >= REVIEW_PERIOD {
                reviewed = now;
                self.0.register.touch();
            }
        }
    }

    /// Makes another server certificate when the present one is due.
    pub fn rotate(&self, now: Timestamp) {
        let inner = &self.0;
        if now < inner.server.read().unwrap_or_else(PoisonError::into_inner).renew_at {
            return;
        }
        match make_server(&inner.issuer, &inner.certificate, &inner.names, &inner.provider, now) {
            Ok(made) => {
                *inner.server.write().unwrap_or_else(PoisonError::into_inner) = made;
                tracing::info!("the server certificate was renewed");
            }
            Err(error) => {
                // The present one is good for a third of its time more; the next attempt is in an hour.
                tracing::error!("the server certificate could not be renewed: {error}");
                inner.server.write().unwrap_or_else(PoisonError::into_inner).renew_at =
                    now.plus(REVIEW_PERIOD);
            }
        }
    }

    /// Counts a refusal that was found elsewhere, as in a handshake.
    pub fn count(&self, refused: &Refused) -> u64 {
        self.0.refused.get(refused.cause()).map_or(0, |counter| counter.fetch_add(1, Ordering::Relaxed))
    }

    /// The counters, by name, as `status` shows them.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut told = vec![
            ("certificates_issued".to_owned(), get(&self.0.issued)),
            ("certificates_renewed".to_owned(), get(&self.0.renewed)),
            ("certificates_tolerated_skew".to_owned(), get(&self.0.tolerated)),
        ];
        let causes = Refused::CAUSES.iter().zip(&self.0.refused);
        told.extend(causes.map(|(cause, counter)| (format!("refused_{cause}"), get(counter))));
        told
    }

    /// Whether an address may try a token now.
    fn attempt(&self, peer: IpAddr, now: Timestamp) -> Result<(), Refused> {
        let attempts = self.0.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        match attempts.get(&peer) {
            Some((begun, ATTEMPTS_MAX..)) if now.since(*begun) < ATTEMPTS_PERIOD => {
                Err(Refused::TooManyAttempts)
            }
            _ => Ok(()),
        }
    }

    fn attempt_failed(&self, peer: IpAddr, now: Timestamp) {
        let mut attempts = self.0.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= ATTEMPTS_ADDRESSES_MAX && !attempts.contains_key(&peer) {
            let oldest = attempts.iter().min_by_key(|(_, (begun, _))| *begun).map(|(peer, _)| *peer);
            oldest.map(|oldest| attempts.remove(&oldest));
        }
        let (begun, count) = attempts.entry(peer).or_insert((now, 0));
        if now.since(*begun) >= ATTEMPTS_PERIOD {
            (*begun, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
    }
}

/// Where a listener lets peers in: the configuration of its handshakes, and afterwards who it was.
#[derive(Clone, Debug)]
pub struct Door {
    authority: Authority,
    config: Arc<ServerConfig>,
    foreign: Option<Arc<dyn ClientCertVerifier>>,
}

impl Door {
    /// The TLS configuration of the handshakes.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The authority behind it.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Who showed these certificates, verified in full as of `now`: asked after the handshake, and again whenever
    /// [`Authority::changes`] says so.
    pub fn peer(&self, certificates: &[CertificateDer<'_>], now: Timestamp) -> Result<Peer, Refused> {
        match (self.authority.verified(certificates, now), &self.foreign, certificates) {
            (Ok(name), _, _) => Ok(Peer::Sensor(name)),
            (Err(Refused::Authority), Some(foreign), [end_entity, intermediates @ ..]) => {
                let verified = verifier::verify(&**foreign, end_entity, intermediates, unix(now));
                verified.map_err(|error| told(&error))?;
                certificates::subject(end_entity).map(Peer::Foreign)
            }
            (Err(refused), _, _) => Err(refused),
        }
    }
}

/// What rustls says of a certificate.
fn told(error: &rustls::Error) -> Refused {
    Refused::of_handshake(error).unwrap_or_else(|| Refused::Certificate(error.to_string()))
}

impl Inner {
    /// The sensor of a certificate that the authority signed, if it is enrolled and not revoked.
    fn registered(&self, certificate: &CertificateDer<'_>) -> Result<SensorName, Refused> {
        let (name, enrolment) = certificates::sensor_and_enrolment(certificate)?;
        self.register.look(|list| list.admit(&name, &enrolment))?;
        Ok(name)
    }
}

/// Reads the authority's key and certificate, or makes both.
fn load_or_make(
    directory: &Path,
    now: Timestamp,
) -> Result<(KeyPair, CertificateDer<'static>), IdentityError> {
    let path = directory.join(AUTHORITY_FILE);
    let lock_path = directory.join("lock");
    let _held = register::lock(&lock_path).map_err(|source| IdentityError::io(&lock_path, source))?;
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate()?;
            let certificate = certificates::authority(&key, now)?;
            let public = certificate_pem(&certificate);
            let both = format!("{}{public}", key.serialize_pem());
            let copy = directory.join(CERTIFICATE_FILE);
            files::replace_private(&copy, public.as_bytes())
                .map_err(|source| IdentityError::io(&copy, source))?;
            files::replace_private(&path, both.as_bytes())
                .map_err(|source| IdentityError::io(&path, source))?;
            tracing::info!("{}: a certificate authority was made", path.display());
            return Ok((key, certificate));
        }
        Err(source) => return Err(IdentityError::io(&path, source)),
    };
    let damaged = |why: String| IdentityError::damaged(&path, why);
    let certificate = CertificateDer::from_pem_slice(&text)
        .map_err(|error| damaged(format!("no certificate in it: {error}")))?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&text)
        .map_err(|error| damaged(format!("no key in it: {error}")))?;
    let key = KeyPair::try_from(&key).map_err(|error| damaged(format!("its key cannot be used: {error}")))?;
    let (_, read) = x509_parser::parse_x509_certificate(&certificate)
        .map_err(|error| damaged(format!("its certificate cannot be read: {error}")))?;
    if read.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(damaged("its certificate is of another key".into()));
    }
    match certificates::validity(&certificate) {
        Some((_, until)) if now < until => Ok((key, certificate)),
        _ => Err(damaged("the authority has expired".into())),
    }
}

fn make_server(
    issuer: &Issuer<'static, KeyPair>,
    authority: &CertificateDer<'static>,
    names: &[String],
    provider: &CryptoProvider,
    now: Timestamp,
) -> Result<Server, IdentityError> {
    let key = KeyPair::generate()?;
    let certificate = certificates::server(issuer, &key, names, now)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = provider.key_provider.load_private_key(key)?;
    // The authority is sent along: a sensor that is being paired knows only its fingerprint.
    let key = Arc::new(CertifiedKey::new(vec![certificate, authority.clone()], key));
    Ok(Server { key, renew_at: certificates::renew_at(now, certificates::SERVER_VALID) })
}

/// The machine's own name and those of the configuration, as far as they can stand in a certificate.
fn server_names(configured: &[String]) -> Vec<String> {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let mut names: Vec<String> = Vec::new();
    for name in host.iter().chain(configured) {
        let is_name = rustls_pki_types::ServerName::try_from(name.as_str()).is_ok();
        if !is_name {
            tracing::warn!(
                "`{}` cannot stand in a certificate as this collector's name",
                name.escape_debug()
            );
        } else if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn verifier_of(
    roots: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, IdentityError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
    built.map_err(|error| IdentityError::Tls(rustls::Error::General(error.to_string())))
}

fn unix(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.seconds()))
}

fn fingerprint(certificate: &[u8]) -> Fingerprint {
    let mut half = [0; FINGERPRINT_BYTES];
    half.iter_mut().zip(Sha256::digest(certificate)).for_each(|(to, from)| *to = from);
    Fingerprint(half)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A certificate as PEM (RFC 7468).
fn certificate_pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
