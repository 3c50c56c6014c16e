//! Who may open a TLS session: rustls's own verification, tolerant in time alone, and the register.
//!
//! In: the peer's certificates, in a handshake. Out: whether the handshake goes on. Everything but time is
//! verified by rustls as it always is; a certificate that is valid but for a clock that differs by at most
//! [`CLOCK_SKEW_MAX`] is verified again as of the nearest time at which it was or will be.

use super::Inner;
use super::refused::Refused;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use weir_common::enrolment::CLOCK_SKEW_MAX;

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

/// Verifies as of `now`, or of the nearest time within the tolerance; also whether that was needed.
pub(super) fn verify(
    verifier: &dyn ClientCertVerifier,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<bool, Error> {
    match verifier.verify_client_cert(end_entity, intermediates, now) {
        Ok(_) => Ok(false),
        Err(error) => match nearest(&error) {
            Some(nearest) => {
                // The first error stands for the case that the certificate is not valid at that time either.
                verifier.verify_client_cert(end_entity, intermediates, nearest).map_err(|_| error)?;
                Ok(true)
            }
            None => Err(error),
        },
    }
}

/// Asks the authority, and after it those of foreign exporters.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) inner: Arc<Inner>,
    pub(super) foreign: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) mandatory: bool,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A client chooses its certificate by these, if it has several; with foreign authorities there is no hint.
        if self.foreign.is_some() { &[] } else { self.inner.own.root_hint_subjects() }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let own = verify(&*self.inner.own, end_entity, intermediates, now);
        let tolerated = match (own, &self.foreign) {
            (Ok(tolerated), _) => {
                self.inner.registered(end_entity).map_err(Refused::into_handshake)?;
                tolerated
            }
            (Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)), Some(foreign)) => {
                verify(&**foreign, end_entity, intermediates, now)?
            }
            (Err(error), _) => return Err(error),
        };
        if tolerated {
            self.inner.tolerated.fetch_add(1, Ordering::Relaxed);
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.own.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.own.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.own.supported_verify_schemes()
    }
}

/// Gives the server certificate as it is now, so that a new one needs no new configuration.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Arc<Inner>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.server.read().unwrap_or_else(PoisonError::into_inner).key.clone())
    }
}

/// Takes sessions to be resumed and gives none back: a ticket tells the client that its certificate was taken,
/// which TLS 1.3 has no other word for, and every session verifies anew.
#[derive(Debug)]
pub(super) struct Forgetful;

impl StoresServerSessions for Forgetful {
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}
