//! The collector behind TLS 1.3, by the identity that pairing left.
//!
//! In: the identity's directory, read anew for each connection, so that pairing again and renewal take effect by
//! themselves. Out: connections, verified signatures, requests for the next certificate.
//! Deliberately absent: when to connect ([`super`]), certificates' making ([`crate::identity`]).

use super::paired::{Bytes, Dialing, Paired};
use crate::identity::{Identity, IdentityError, Request};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};
use weir_common::enrolment::{COLLECTOR_SERVER_NAME, host_and_port};
use weir_common::time::Timestamp;

/// Longest wait for a connection to one address.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// HTTP/2, as RFC 9113 names it in a handshake.
const ALPN: &[u8] = b"h2";

/// The collector of an identity.
pub struct Identified {
    directory: PathBuf,
    /// Where it is, in place of the identity's addresses.
    collector: Option<String>,
    place: String,
    requested: Mutex<Option<Request>>,
}

impl Identified {
    /// The collector that the identity in this directory is of; `collector` says where it is when it is not empty.
    pub fn load(directory: &Path, collector: &str) -> Result<Identified, IdentityError> {
        let identity = Identity::load(directory)?;
        let collector = (!collector.is_empty()).then(|| collector.to_owned());
        let place = collector.clone().or_else(|| identity.addresses().first().cloned()).unwrap_or_default();
        Ok(Identified { directory: directory.to_owned(), collector, place, requested: Mutex::default() })
    }

    fn identity(&self) -> Result<Identity, String> {
        Identity::load(&self.directory).map_err(|error| error.to_string())
    }
}

impl Paired for Identified {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn dial(&self) -> Dialing {
        let identity = self.identity();
        let collector = self.collector.clone();
        Box::pin(async move {
            let identity = identity?;
            let config = identity.client_config().map_err(|error| error.to_string())?;
            let addresses = collector.map_or_else(|| identity.addresses().to_vec(), |one| vec![one]);
            dial(&addresses, config).await.map(|(bytes, _)| bytes).map_err(|error| error.to_string())
        })
    }

    fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<(), String> {
        self.identity()?.verify(bytes, signature).map_err(|error| error.to_string())
    }

    fn expired(&self, now: Timestamp) -> Option<Timestamp> {
        self.identity().ok().map(|identity| identity.expires_at()).filter(|expires| *expires < now)
    }

    fn renewal(&self, now: Timestamp) -> Option<String> {
        let identity = self.identity().ok()?;
        if now < identity.renew_at() {
            return None;
        }
        let request = Identity::request(identity.name())
            .map_err(|error| tracing::error!("the certificate cannot be renewed: {error}"))
            .ok()?;
        let csr_pem = request.csr_pem.clone();
        *self.requested.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
        Some(csr_pem)
    }

    fn renewed(&self, chain_pem: &str, authority_pem: &str) -> Result<(), String> {
        let request = self.requested.lock().unwrap_or_else(PoisonError::into_inner).take();
        let request = request.ok_or("nothing was requested")?;
        let identity = self.identity()?;
        let stored = Identity::store(
            &self.directory,
            &request,
            chain_pem,
            authority_pem,
            identity.addresses(),
            identity.authority(),
        );
        stored.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{0}")]
    Address(String),
    #[error("cannot reach {address}: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error("{address} does not speak TLS with this sensor: {source}")]
    Handshake { address: String, source: io::Error },
}

impl DialError {
    /// What TLS says is wrong, when it does.
    pub(super) fn tls(&self) -> Option<&rustls::Error> {
        match self {
            DialError::Handshake { source, .. } => source.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

/// Connects to the first of these addresses that can be reached, which is given back; the error is that of the last.
pub(super) async fn dial(
    addresses: &[String],
    config: Arc<ClientConfig>,
) -> Result<(Box<dyn Bytes>, String), DialError> {
    let mut config = ClientConfig::clone(&config);
    config.alpn_protocols = vec![ALPN.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let mut failed = DialError::Address("no address of the collector is known".into());
    for address in addresses {
        match reach(address).await {
            Ok(stream) => {
                let named = ServerName::try_from(COLLECTOR_SERVER_NAME)
                    .map_err(|error| DialError::Address(error.to_string()))?;
                let late = || io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
                let shaken = tokio::time::timeout(HANDSHAKE_MAX, connector.connect(named, stream)).await;
                match shaken.unwrap_or_else(|_| Err(late())) {
                    Ok(stream) => return Ok((Box::new(stream), address.clone())),
                    Err(source) => failed = DialError::Handshake { address: address.clone(), source },
                }
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn reach(address: &str) -> Result<TcpStream, DialError> {
    let (host, port) = host_and_port(address).map_err(|error| DialError::Address(error.to_string()))?;
    let unreachable = |source| DialError::Unreachable { address: address.to_owned(), source };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
    let connected = tokio::time::timeout(CONNECT_MAX, TcpStream::connect((host, port))).await;
    let stream = connected.unwrap_or_else(|_| Err(late())).map_err(unreachable)?;
    // Small messages one by one: they are not to wait for one another.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
