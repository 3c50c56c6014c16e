//! Enrolment, and TLS handshakes over real sockets, from both sides of every border.

use super::*;
use crate::ingest::clock;
use rcgen::CertificateParams;
use rustls::{ClientConfig, ClientConnection, ServerConnection, Stream};
use rustls_pki_types::ServerName;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use weir_common::enrolment::COLLECTOR_SERVER_NAME;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const DAY: Duration = Duration::from_secs(86_400);

fn authority(directory: &tempfile::TempDir) -> Authority {
    Authority::open(&directory.path().join("identity"), &IdentityConfig::default(), clock()).unwrap()
}

fn name(text: &str) -> SensorName {
    SensorName::new(text).unwrap()
}

fn addresses() -> Vec<String> {
    vec!["192.0.2.1:4741".into()]
}

/// A key and a request for its certificate, as a sensor makes them.
fn request(name: &str) -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    (key, csr)
}

/// A sensor's certificate, paired at `at`.
fn pair(authority: &Authority, sensor: &str, at: Timestamp) -> (Vec<CertificateDer<'static>>, KeyPair) {
    let token = authority.enroll(&name(sensor), &addresses(), at).unwrap();
    let (key, csr) = request(sensor);
    let issued = authority.redeem(PEER, &token.secret, &csr, at).unwrap();
    (vec![CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap()], key)
}

fn client(authority: &Authority, own: Option<(Vec<CertificateDer<'static>>, KeyPair)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(authority.0.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// A handshake over loopback and an octet each way; the certificates that the server saw, or why not.
fn handshake(
    server: Arc<ServerConfig>,
    client: ClientConfig,
) -> Result<Vec<CertificateDer<'static>>, rustls::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let other = std::thread::spawn(move || -> io::Result<()> {
        let mut socket = TcpStream::connect(address)?;
        let server_name = ServerName::try_from(COLLECTOR_SERVER_NAME).unwrap();
        let mut connection = ClientConnection::new(Arc::new(client), server_name).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])
    });
    let (mut socket, _) = listener.accept().unwrap();
    let mut connection = ServerConnection::new(server).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let outcome = stream.read_exact(&mut [0]).and_then(|()| stream.write_all(b"!"));
    match outcome {
        Ok(()) => {
            other.join().unwrap().unwrap();
            Ok(connection
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|shown| shown.clone().into_owned())
                .collect())
        }
        Err(error) => {
            drop(socket);
            let _ = other.join().unwrap();
            Err(error.downcast::<rustls::Error>().unwrap())
        }
    }
}

#[test]
fn a_sensor_is_enrolled_paired_and_known_by_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let own = pair(&authority, "edge-1", clock());
    let server = authority.server_config(Clients::Required).unwrap();
    let shown = handshake(server, client(&authority, Some(own))).unwrap();
    assert_eq!(authority.sensor_of(&shown, clock()), Ok(name("edge-1")));
}
