//! For tests: a collector's authority, its server, and a paired sensor.

use super::*;
use rcgen::{
    BasicConstraints, CertificateSigningRequestParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SigningKey as _, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::time::{Duration, SystemTime};
use weir_common::enrolment::COLLECTOR_SERVER_NAME;

const HOUR_S: i64 = 3600;

/// The present time in seconds, `hours` further.
fn unix_s(hours: i64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "rustls reads the clock in handshakes, so tests do")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    now.checked_add_signed(hours * HOUR_S).unwrap()
}

/// An authority as a collector has one.
pub(crate) struct TestAuthority(CertifiedIssuer<'static, KeyPair>);

impl TestAuthority {
    pub(crate) fn new() -> TestAuthority {
        let mut params = params("authority", -24, 24 * 365);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        TestAuthority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.0.der())
    }

    pub(crate) fn sign(&self, octets: &[u8]) -> Vec<u8> {
        self.0.key().sign(&[SIGNATURE_CONTEXT, octets].concat()).unwrap()
    }

    /// A certificate for a request, valid between these hours from now.
    pub(crate) fn issue(&self, csr_pem: &str, name: &str, from: i64, until: i64) -> String {
        let request = CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
        let mut params = params(name, from, until);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(&request.public_key, &self.0).unwrap().pem()
    }

    /// Pairs a sensor whose identity is in `directory`.
    pub(crate) fn pair(&self, directory: &Path, name: &str) -> Identity {
        let request = Identity::request(&SensorName::new(name).unwrap()).unwrap();
        let chain = self.issue(&request.csr_pem, name, -24, 24 * 90);
        let addresses = ["192.0.2.1:4741".to_owned()];
        Identity::store(directory, &request, &chain, &self.pem(), &addresses, self.fingerprint()).unwrap()
    }

    /// A server whose certificate is for `name` and valid between these hours from now; `clients`: whose certificates
    /// it asks for, if anybody's.
    pub(crate) fn server(
        &self,
        name: &str,
        (from, until): (i64, i64),
        clients: Option<&TestAuthority>,
    ) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, from, until);
        params.subject_alt_names = vec![match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().unwrap()),
        }];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let chain = vec![params.signed_by(&key, &self.0).unwrap().der().clone(), self.0.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }

    /// A collector's server.
    pub(crate) fn collector(&self) -> Arc<ServerConfig> {
        self.server(COLLECTOR_SERVER_NAME, (-24, 24 * 90), Some(self))
    }
}

fn params(name: &str, from: i64, until: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let time = |hours| date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s(hours));
    (params.not_before, params.not_after) = (time(from), time(until));
    params
}
