//! Pairing: a one-time token becomes the sensor's certificate.
//!
//! In: a token. Out: the identity in its directory, and by how much the clocks differ. The collector is known by the
//! fingerprint in the token before anything is said to it, and the key never leaves this machine. What goes wrong is
//! said in words, with what to do. Deliberately absent: the command line.

use super::link::Link;
use super::tls::{DialError, dial};
use crate::identity::{Identity, IdentityError, pinned};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use tokio_rustls::rustls;
use tonic::{Code, Status};
use weir_common::control::clock_ahead_ms;
use weir_common::control::messages::RedeemRequest;
use weir_common::enrolment::Token;
use weir_common::time::Timestamp;

/// What pairing came to.
#[derive(Debug)]
pub struct Pairing {
    /// The sensor's name, by its certificate.
    pub name: String,
    /// Where the collector was reached.
    pub collector: String,
    /// When the certificate expires.
    pub expires: Timestamp,
    /// By how much this machine's clock is ahead of the collector's, in milliseconds; negative: behind.
    pub clock_ahead_ms: i64,
}

/// Why a sensor could not be paired.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The collector does not answer.
    #[error(
        "{0}; is `weir-collector run` running there, is port 4741 open to this machine, and is the address right? `weir-sensor pair HOST:PORT --token ...` tries another"
    )]
    Unreachable(String),
    /// Whoever answers is not the collector of the token.
    #[error(
        "{collector} is not the collector that made this token: its certificate authority has another fingerprint than {expected}. Either the address is another collector's, or someone is between you and it; nothing was sent. Compare with `weir-collector sensors` on the collector, or make a new token there"
    )]
    Someone {
        /// Where.
        collector: String,
        /// What the token says.
        expected: String,
    },
    /// The certificates are fine but for the clock.
    #[error(
        "the collector's certificate is not valid at the time of this machine, {now}: set the clock of this machine, or of the collector, and pair again"
    )]
    Clock {
        /// The time here.
        now: Timestamp,
    },
    /// TLS fails for another reason.
    #[error("{0}; is it a Weir collector's control port (4741)?")]
    Handshake(String),
    /// The collector refused, in its words.
    #[error("the collector refused: {0}")]
    Refused(String),
    /// The connection was lost before it answered.
    #[error(
        "the collector did not answer: {0}; whether the token was used up is not known: try again, and make a new one if it was"
    )]
    Lost(String),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The machine.
    #[error("no runtime: {0}")]
    System(#[from] io::Error),
}

impl PairError {
    /// Whether the system is to blame, and not what was asked for.
    pub fn is_system(&self) -> bool {
        matches!(
            self,
            PairError::Unreachable(_)
                | PairError::Lost(_)
                | PairError::System(_)
                | PairError::Identity(IdentityError::Io { .. })
        )
    }
}

/// Pairs this machine. `address` is tried in place of the token's addresses, and kept.
pub fn pair(
    directory: &Path,
    token: &Token,
    address: Option<&str>,
    now: fn() -> Timestamp,
) -> Result<Pairing, PairError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let paired = runtime.block_on(redeem(directory, token, address, now));
    runtime.shutdown_background();
    paired
}

async fn redeem(
    directory: &Path,
    token: &Token,
    address: Option<&str>,
    now: fn() -> Timestamp,
) -> Result<Pairing, PairError> {
    let addresses = address.map_or_else(|| token.addresses.clone(), |one| vec![one.to_owned()]);
    let request = Identity::request(&token.name)?;
    // The directory first: a token is not to be used up for an identity that cannot be kept.
    writable(directory).map_err(|source| IdentityError::Io { path: directory.to_owned(), source })?;
    let (bytes, collector) =
        dial(&addresses, pinned(token)?).await.map_err(|error| not_reached(&error, token, now()))?;
    let lost = |status: &Status| PairError::Lost(status.message().to_owned());
    let mut link = Link::begin(bytes).await.map_err(|status| lost(&status))?;
    let asked = RedeemRequest {
        secret: token.secret.0.to_vec(),
        csr_pem: request.csr_pem.clone(),
        clock_ns: now().0,
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let reply = link.redeem(asked).await.map_err(|status| match status.code() {
        Code::PermissionDenied => PairError::Refused(harmless(status.message())),
        _ => lost(&status),
    })?;
    let clock_ahead_ms = clock_ahead_ms(now().0, reply.clock_ns);
    let identity = Identity::store(
        directory,
        &request,
        &reply.chain_pem,
        &reply.authority_pem,
        &addresses,
        token.authority,
    )?;
    Ok(Pairing {
        name: identity.name().to_string(),
        collector,
        expires: identity.expires_at(),
        clock_ahead_ms,
    })
}

/// Whether files can be made in a directory, which is made for its owner alone where it is not there.
fn writable(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        directory.parent().map_or(Ok(()), fs::create_dir_all)?;
        DirBuilder::new().mode(0o700).create(directory)?;
    }
    let probe = directory.join(".writable");
    drop(File::create(&probe)?);
    fs::remove_file(&probe)
}

fn not_reached(error: &DialError, token: &Token, now: Timestamp) -> PairError {
    use rustls::CertificateError as Wrong;
    let DialError::Handshake { address, .. } = error else {
        return PairError::Unreachable(error.to_string());
    };
    match error.tls() {
        Some(rustls::Error::InvalidCertificate(
            Wrong::Expired
            | Wrong::ExpiredContext { .. }
            | Wrong::NotValidYet
            | Wrong::NotValidYetContext { .. },
        )) => PairError::Clock { now },
        Some(rustls::Error::InvalidCertificate(_)) => {
            PairError::Someone { collector: address.clone(), expected: token.authority.to_string() }
        }
        _ => PairError::Handshake(error.to_string()),
    }
}

/// The collector's words, without what would disturb a terminal.
fn harmless(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(500).collect()
}
