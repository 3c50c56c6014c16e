//! An authority and a door for tests: names and signatures without cryptography.

use super::authority::{Authority, Issued};
use super::server::{Door, Entering, Known};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpStream;
use weir_common::time::Timestamp;

/// The secret that [`Trusting`] takes, once.
pub(super) const SECRET: &[u8] = b"open sesame";

#[derive(Default)]
pub(super) struct Trusting {
    used: AtomicBool,
}

impl Trusting {
    pub(super) fn signature(bytes: &[u8]) -> Vec<u8> {
        [b"signed ", bytes].concat()
    }
}

fn issued(sensor: &str, csr: &str) -> Issued {
    Issued { sensor: sensor.into(), chain_pem: format!("chain of {csr}"), authority_pem: "authority".into() }
}

impl Authority for Trusting {
    fn redeem(&self, _: IpAddr, secret: &[u8], csr_pem: &str, _: Timestamp) -> Result<Issued, String> {
        if secret != SECRET || self.used.swap(true, Ordering::Relaxed) {
            return Err("the token is not, or no longer, good".into());
        }
        Ok(issued("edge", csr_pem))
    }

    fn renew(&self, sensor: &str, csr_pem: &str, _: Timestamp) -> Result<Issued, String> {
        if csr_pem.is_empty() { Err("no request".into()) } else { Ok(issued(sensor, csr_pem)) }
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(Trusting::signature(bytes))
    }
}

/// Takes everybody for the sensor `edge`, or for a stranger.
#[derive(Default)]
pub(super) struct Open {
    pub(super) strangers: bool,
    pub(super) revoked: Arc<AtomicBool>,
}

impl Door for Open {
    fn enter(&self, stream: TcpStream) -> Entering {
        let revoked = Arc::clone(&self.revoked);
        let strangers = self.strangers;
        Box::pin(async move {
            let trust = move |_: Timestamp| match revoked.load(Ordering::Relaxed) {
                true => Err("revoked".to_owned()),
                false => Ok(()),
            };
            let known = match strangers {
                true => Known::Stranger,
                false => Known::Sensor { name: "edge".into(), trust: Box::new(trust) },
            };
            Ok((Box::new(stream) as Box<_>, known))
        })
    }
}
