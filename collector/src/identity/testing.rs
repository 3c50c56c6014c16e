//! For tests: what a sensor does to be paired, and a TLS client.

use super::config::IdentityConfig;
use super::*;
use crate::ingest::clock;
use rcgen::CertificateParams;
use rustls::ClientConfig;
use std::net::Ipv4Addr;

/// Where attempts come from.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What a client shows.
pub(crate) type Own = (Vec<CertificateDer<'static>>, KeyPair);

pub(crate) fn authority(directory: &tempfile::TempDir) -> Authority {
    Authority::open(&directory.path().join("identity"), &IdentityConfig::default(), clock()).unwrap()
}

pub(crate) fn name(text: &str) -> SensorName {
    SensorName::new(text).unwrap()
}

pub(crate) fn token(authority: &Authority, sensor: &str, now: Timestamp) -> Token {
    authority.enroll(&name(sensor), &["192.0.2.1:4741".into()], now).unwrap()
}

/// A key and a request for its certificate, as a sensor makes them.
pub(crate) fn request(name: &str) -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    (key, csr)
}

/// A sensor's certificate, paired at `at`.
pub(crate) fn pair(authority: &Authority, sensor: &str, at: Timestamp) -> Own {
    let token = token(authority, sensor, at);
    let (key, csr) = request(sensor);
    let issued = authority.redeem(PEER, &token.secret, &csr, at).unwrap();
    (vec![CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap()], key)
}

/// A foreign authority's certificate in PEM, and a certificate of it for `subject`.
pub(crate) fn foreign(subject: &str) -> (String, Own) {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let (key, _) = request(subject);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, subject);
    let made = params.signed_by(&key, &authority).unwrap();
    (authority.pem(), (vec![made.der().clone()], key))
}

/// A client that trusts the authority and shows `own`.
pub(crate) fn client(authority: &Authority, own: Option<Own>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(authority.0.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}
