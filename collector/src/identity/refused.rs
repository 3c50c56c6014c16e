//! Why a certificate, a token or a request is refused: one variant per cause, in words with what to do.

use rustls::CertificateError;
use weir_common::enrolment::SensorName;

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No certificate was shown.
    #[error(
        "it shows no certificate; pair the sensor (`weir-collector enroll NAME`), or give the exporter a certificate of an authority in ingest.tls_client_ca"
    )]
    NoCertificate,
    /// The certificate is none, or not one for this use.
    #[error(
        "its certificate cannot be used: {0}; a sensor is paired again with `weir-collector enroll NAME`, another exporter needs an X.509 version 3 certificate for TLS clients"
    )]
    Certificate(String),
    /// The certificate is of nobody whom this collector trusts.
    #[error(
        "its certificate is not of this collector's authority nor of one in ingest.tls_client_ca; a sensor of another collector is paired again with `weir-collector enroll NAME`"
    )]
    Authority,
    /// The certificate has expired, by more than clocks may differ.
    #[error(
        "its certificate has expired; check the clocks of both machines, then pair the sensor again with `weir-collector enroll NAME`"
    )]
    Expired,
    /// The certificate is not valid yet, by more than clocks may differ.
    #[error("its certificate is not valid yet; check the clocks of both machines")]
    NotYetValid,
    /// The sensor was revoked, or paired anew since.
    #[error(
        "its certificate was revoked, or the sensor was paired anew since; `weir-collector sensors` shows which, and `weir-collector enroll NAME` pairs it again"
    )]
    Revoked,
    /// The authority's own certificate, but a sensor that the register does not know.
    #[error(
        "sensor {0} is not enrolled here, though its certificate is of this collector's authority; was the state directory restored from a backup? Pair it again with `weir-collector enroll {0}`"
    )]
    NotEnrolled(SensorName),
    /// No such token.
    #[error("the token is not known here; `weir-collector enroll NAME` on this collector makes one")]
    TokenUnknown,
    /// A token that was used before.
    #[error(
        "the token was used already, and each is good for one pairing; `weir-collector enroll NAME` makes another. If it was not you who used it, `weir-collector revoke NAME` first"
    )]
    TokenUsed,
    /// A token past its time.
    #[error("the token has expired; `weir-collector enroll NAME` makes another")]
    TokenExpired,
    /// A token for another sensor.
    #[error(
        "the token is for sensor {token}, and {found} asks; `weir-collector enroll {found}` makes one for it"
    )]
    TokenOfAnother {
        /// Whom it is for.
        token: SensorName,
        /// Who asks.
        found: SensorName,
    },
    /// Too many wrong tokens from one address.
    #[error("too many wrong tokens came from this address; wait a minute")]
    TooManyAttempts,
    /// The request for a certificate is none.
    #[error("the request for a certificate cannot be used: {0}")]
    Request(String),
    /// This collector's state cannot be read or written.
    #[error("the collector cannot issue a certificate now: {0}; see its log")]
    State(String),
}

/// How the verifier calls a certificate of another version than 3.
const VERSION: &str = "UnsupportedCertVersion";

impl Refused {
    /// Every cause's name, for counters; the order is that of [`Refused::cause`].
    pub const CAUSES: [&'static str; 14] = [
        "no_certificate",
        "bad_certificate",
        "other_authority",
        "expired",
        "not_yet_valid",
        "revoked",
        "not_enrolled",
        "token_unknown",
        "token_used",
        "token_expired",
        "token_of_another",
        "too_many_attempts",
        "bad_request",
        "state",
    ];

    /// The cause's place in [`Refused::CAUSES`].
    pub fn cause(&self) -> usize {
        match self {
            Refused::NoCertificate => 0,
            Refused::Certificate(_) => 1,
            Refused::Authority => 2,
            Refused::Expired => 3,
            Refused::NotYetValid => 4,
            Refused::Revoked => 5,
            Refused::NotEnrolled(_) => 6,
            Refused::TokenUnknown => 7,
            Refused::TokenUsed => 8,
            Refused::TokenExpired => 9,
            Refused::TokenOfAnother { .. } => 10,
            Refused::TooManyAttempts => 11,
            Refused::Request(_) => 12,
            Refused::State(_) => 13,
        }
    }

    /// What a handshake's failure says of the peer's certificate; none when it is about something else.
    pub fn of_handshake(error: &rustls::Error) -> Option<Refused> {
        match error {
            rustls::Error::NoCertificatesPresented => Some(Refused::NoCertificate),
            rustls::Error::InvalidCertificate(error) => Some(Refused::of_certificate(error)),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Refused {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Refused::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Refused::NotYetValid
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Refused::Authority,
            CertificateError::Revoked => Refused::Revoked,
            CertificateError::Other(other) => match other.0.downcast_ref::<Refused>() {
                Some(refused) => refused.clone(),
                None if other.0.to_string() == VERSION => Refused::Certificate(
                    "it is not X.509 version 3; `openssl x509 -req` makes that with -extfile".into(),
                ),
                None => Refused::Certificate(other.0.to_string()),
            },
            _ => Refused::Certificate(error.to_string()),
        }
    }

    /// The same as a handshake's failure, so that the peer's alert says as much as TLS has words for.
    pub(super) fn into_handshake(self) -> rustls::Error {
        let error = match self {
            Refused::Revoked => CertificateError::Revoked,
            refused => CertificateError::Other(rustls::OtherError(std::sync::Arc::new(refused))),
        };
        rustls::Error::InvalidCertificate(error)
    }
}
