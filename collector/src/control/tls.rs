//! TLS in front of the control connection, and the collector's identity as this stage asks it.
//!
//! In: TCP connections. Out: their plain bytes and who the certificate says is there, or a stranger that may pair. Mutual
//! TLS 1.3; whether a sensor is still trusted is asked with the certificates it showed, again and again.
//! Deliberately absent: certificates' making and verifying, which [`crate::identity`] does.

use super::authority::{Authority, Issued};
use super::server::{Bytes, Door, Entering, Known, Refused};
use crate::identity::{self, Clients, IdentityError};
use crate::ingest::clock;
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use weir_common::enrolment::{SECRET_BYTES, Secret, SensorName};
use weir_common::time::Timestamp;

/// HTTP/2, as RFC 9113 names it in a handshake.
const ALPN: &[u8] = b"h2";

/// The collector's identity.
pub struct Identified {
    authority: identity::Authority,
    acceptor: TlsAcceptor,
}

impl Identified {
    /// Handshakes with this identity.
    pub fn new(authority: &identity::Authority) -> Result<Identified, IdentityError> {
        let config = authority.server_config(Clients::Optional)?;
        let mut config = rustls::ServerConfig::clone(&config);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Identified { authority: authority.clone(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

impl Door for Identified {
    fn enter(&self, stream: TcpStream) -> Entering {
        let (authority, acceptor) = (self.authority.clone(), self.acceptor.clone());
        Box::pin(async move {
            // Small messages one by one: they are not to wait for one another.
            let _ = stream.set_nodelay(true);
            let stream =
                acceptor.accept(stream).await.map_err(|error| Refused::Handshake(error.to_string()))?;
            let certificates: Vec<CertificateDer<'static>> = {
                let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
                shown.iter().map(|certificate| certificate.clone().into_owned()).collect()
            };
            let known = if certificates.is_empty() {
                Known::Stranger
            } else {
                let name = authority
                    .sensor_of(&certificates, clock())
                    .map_err(|refused| Refused::Certificate(refused.to_string()))?;
                let trust = move |now: Timestamp| {
                    let named = authority.sensor_of(&certificates, now);
                    named.map(|_| ()).map_err(|refused| refused.to_string())
                };
                Known::Sensor { name: name.as_str().to_owned(), trust: Box::new(trust) }
            };
            Ok((Box::new(stream) as Box<dyn Bytes>, known))
        })
    }

    fn is_wanted(&self) -> bool {
        !self.authority.sensors().is_empty() || !self.authority.tokens(clock()).is_empty()
    }
}

impl Authority for Identified {
    fn redeem(&self, peer: IpAddr, secret: &[u8], csr_pem: &str, now: Timestamp) -> Result<Issued, String> {
        let secret: [u8; SECRET_BYTES] = secret
            .try_into()
            .map_err(|_| format!("a secret has {SECRET_BYTES} octets, and this one has not"))?;
        let issued = self.authority.redeem(peer, &Secret(secret), csr_pem, now);
        issued.map(given).map_err(|refused| refused.to_string())
    }

    fn renew(&self, sensor: &str, csr_pem: &str, now: Timestamp) -> Result<Issued, String> {
        let sensor = SensorName::new(sensor).map_err(|error| error.to_string())?;
        self.authority.renew(&sensor, csr_pem, now).map(given).map_err(|refused| refused.to_string())
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.authority.sign(bytes).map(|signature| signature.0).map_err(|error| error.to_string())
    }
}

fn given(issued: identity::Issued) -> Issued {
    Issued {
        sensor: issued.name.as_str().to_owned(),
        chain_pem: issued.chain_pem,
        authority_pem: issued.authority_pem,
    }
}
