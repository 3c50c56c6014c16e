//! Whom the sensor takes for its collector: rustls's own verification, tolerant in time alone.
//!
//! In: the server's certificates, in a handshake. Out: whether the handshake goes on. Everything but time is
//! verified by rustls as it always is; a certificate that is valid but for a clock that differs by at most
//! [`CLOCK_SKEW_MAX`] is verified again as of the nearest time at which it was or will be.

use super::fingerprint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use weir_common::enrolment::{CLOCK_SKEW_MAX, Fingerprint};

/// The nearest time at which the certificate would be valid, if that is within the tolerance.
fn nearest(error: &Error) -> Option<UnixTime> {
    let (late_s, nearest) = match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => {
            (time.as_secs().checked_sub(not_after.as_secs())?, *not_after)
        }
        Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before }) => {
            (not_before.as_secs().checked_sub(time.as_secs())?, *not_before)
        }
        _ => return None,
    };
    (late_s <= CLOCK_SKEW_MAX.as_secs()).then_some(nearest)
}

/// Whose certificates are trusted.
#[derive(Debug)]
enum Trust {
    /// These authorities'.
    Roots(Arc<WebPkiServerVerifier>),
    /// That of the authority with this fingerprint, which the server sends along: before pairing.
    Pinned(Fingerprint),
}

#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn of_roots(
        roots: &[CertificateDer<'static>],
        provider: Arc<CryptoProvider>,
    ) -> Result<Verifier, Error> {
        Ok(Verifier { trust: Trust::Roots(roots_verifier(roots, &provider)?), provider })
    }

    pub(super) fn pinned(authority: Fingerprint, provider: Arc<CryptoProvider>) -> Verifier {
        Verifier { trust: Trust::Pinned(authority), provider }
    }
}

fn roots_verifier(
    roots: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
    built.map_err(|error| Error::General(error.to_string()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = match &self.trust {
            Trust::Roots(verifier) => verifier.clone(),
            Trust::Pinned(expected) => {
                let authority = intermediates.iter().find(|shown| fingerprint(shown) == *expected);
                let authority =
                    authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
                roots_verifier(&[authority.clone().into_owned()], &self.provider)?
            }
        };
        let verify =
            |time| verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time);
        verify(now).or_else(|error| {
            let nearest = nearest(&error).ok_or_else(|| error.clone())?;
            let verified = verify(nearest).map_err(|_| error)?;
            tracing::warn!(
                "the collector's certificate is valid only with a clock that differs by up to {} h: set the clock of this machine or of the collector",
                CLOCK_SKEW_MAX.as_secs() / 3600
            );
            Ok(verified)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
