//! The collector as a paired sensor knows it: how it is reached, and whether something is really its.
//!
//! Deliberately absent: what is said to it. [`crate::identity`] has the keys; tests have a simpler one.

use std::future::Future;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use weir_common::time::Timestamp;

/// A connection's bytes, after its handshake.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection on its way; what prevents it is said in words, with what to do.
pub type Dialing = Pin<Box<dyn Future<Output = Result<Box<dyn Bytes>, String>> + Send>>;

/// The collector that this sensor is paired with.
pub trait Paired: Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;
    /// Connects, with the sensor's certificate.
    fn dial(&self) -> Dialing;
    /// Whether the collector signed these bytes; why not in words.
    fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<(), String>;
    /// When the sensor's certificate expired, if it has: a collector that refuses it may be gone before it is heard.
    fn expired(&self, now: Timestamp) -> Option<Timestamp>;
    /// A request for the next certificate, when it is time for one.
    fn renewal(&self, now: Timestamp) -> Option<String>;
    /// Keeps the certificate that was requested last.
    fn renewed(&self, chain_pem: &str, authority_pem: &str) -> Result<(), String>;
}
