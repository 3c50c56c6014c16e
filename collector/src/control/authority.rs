//! Who decides whom to trust, as the control connection sees it.
//!
//! In: certificates, secrets, requests for certificates. Out: names, certificates, signatures, or why not in words.
//! Deliberately absent: how any of it is done; [`crate::identity`] does, and tests have a simpler one.

use std::net::IpAddr;
use weir_common::time::Timestamp;

/// A certificate that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The sensor it names.
    pub sensor: String,
    /// The certificate and those up to the authority's.
    pub chain_pem: String,
    /// What the sensor trusts from now on.
    pub authority_pem: String,
}

/// Whom to trust. What is refused is said in words, for the sensor's log as well.
pub trait Authority: Send + Sync {
    /// A certificate for a token's secret, which is used up by it; `peer` is where the attempt comes from. May block.
    fn redeem(&self, peer: IpAddr, secret: &[u8], csr_pem: &str, now: Timestamp) -> Result<Issued, String>;
    /// The next certificate of a sensor that has one. May block.
    fn renew(&self, sensor: &str, csr_pem: &str, now: Timestamp) -> Result<Issued, String>;
    /// A signature that the authority's certificate verifies.
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, String>;
}
