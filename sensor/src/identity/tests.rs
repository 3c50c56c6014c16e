//! What is stored is what is loaded; what does not fit together is refused; who is taken for the collector.

use super::testing::TestAuthority;
use super::*;
use rustls::{CertificateError, ClientConnection, ServerConfig, ServerConnection, Stream};
use rustls_pki_types::ServerName;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use weir_common::enrolment::{COLLECTOR_SERVER_NAME, Secret};

fn name() -> SensorName {
    SensorName::new("edge-1").unwrap()
}

fn addresses() -> Vec<String> {
    vec!["192.0.2.1:4741".into(), "[2001:db8::1]:4741".into()]
}

/// What the client meets in a handshake.
fn meet(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Option<rustls::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let other = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(server).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        // The client's outcome is the one that is looked at.
        let _ = stream.read_exact(&mut [0]).and_then(|()| stream.write_all(b"!"));
    });
    let mut socket = TcpStream::connect(address).unwrap();
    let server_name = ServerName::try_from(COLLECTOR_SERVER_NAME).unwrap();
    let mut connection = ClientConnection::new(client, server_name).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let outcome = stream.write_all(b"?").and_then(|()| stream.read_exact(&mut [0]));
    drop(socket);
    other.join().unwrap();
    outcome.err().map(|error| error.downcast::<rustls::Error>().unwrap())
}

#[test]
fn what_pairing_stores_is_what_is_loaded_and_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("deep/identity");
    assert!(matches!(Identity::load(&place), Err(IdentityError::NotPaired { .. })));
    let authority = TestAuthority::new();
    let request = Identity::request(&name()).unwrap();
    let chain = authority.issue(&request.csr_pem, "edge-1", -24, 24 * 90);
    Identity::store(&place, &request, &chain, &authority.pem(), &addresses(), authority.fingerprint())
        .unwrap();
    let identity = Identity::load(&place).unwrap();
    assert_eq!((identity.name(), identity.addresses()), (&name(), &addresses()[..]));
    assert_eq!(identity.authority(), authority.fingerprint());
    let valid = identity.expires_at().since(identity.not_before).as_secs();
    assert_eq!(valid, 91 * 86_400);
    assert_eq!(identity.renew_at().since(identity.not_before).as_secs(), valid / 3 * 2);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place), mode(&place.join(FILE_NAME))), (0o700, 0o600));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    assert!(!format!("{identity:?} {request:?}").contains("PRIVATE"));
}

#[test]
fn what_does_not_fit_together_is_refused_and_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, other) = (TestAuthority::new(), TestAuthority::new());
    authority.pair(directory.path(), "edge-1");
    let before = fs::read(directory.path().join(FILE_NAME)).unwrap();
    let request = Identity::request(&name()).unwrap();
    let good = authority.issue(&request.csr_pem, "edge-1", -24, 24);
    let of_other_key = authority.issue(&Identity::request(&name()).unwrap().csr_pem, "edge-1", -24, 24);
    let of_other_name = authority.issue(&request.csr_pem, "edge-2", -24, 24);
    let of_other_authority = other.issue(&request.csr_pem, "edge-1", -24, 24);
    for (chain, pem, expected, why) in [
        (&of_other_key, authority.pem(), authority.fingerprint(), "of another key"),
        (&of_other_name, authority.pem(), authority.fingerprint(), "for sensor edge-2"),
        (&of_other_authority, authority.pem(), authority.fingerprint(), "not of the authority"),
        (&of_other_authority, other.pem(), authority.fingerprint(), "another authority than the token's"),
        (&good, String::new(), authority.fingerprint(), "1 certificates"),
        (&String::new(), String::new(), authority.fingerprint(), "0 certificates"),
    ] {
        let error = Identity::store(directory.path(), &request, chain, &pem, &addresses(), expected);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(
        Identity::store(directory.path(), &request, &good, &authority.pem(), &[], authority.fingerprint())
            .is_err()
    );
    assert_eq!(fs::read(directory.path().join(FILE_NAME)).unwrap(), before);
}

#[test]
fn a_damaged_file_is_an_error_wherever_it_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    TestAuthority::new().pair(directory.path(), "edge-1");
    let path = directory.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    for end in (0..whole.len() - 2).step_by(7) {
        fs::write(&path, &whole[..end]).unwrap();
        let error = Identity::load(directory.path()).unwrap_err().to_string();
        assert!(error.contains(FILE_NAME) && error.contains("pair the sensor again"), "{end}: {error}");
    }
    fs::write(&path, vec![b'x'; FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(matches!(Identity::load(directory.path()), Err(IdentityError::Io { .. })));
}

#[test]
fn the_collector_is_known_by_its_authority_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, other) = (TestAuthority::new(), TestAuthority::new());
    let identity = authority.pair(directory.path(), "edge-1");
    let client = || identity.client_config().unwrap();
    assert_eq!(meet(authority.collector(), client()), None);
    let met = meet(other.collector(), client());
    assert!(
        matches!(
            met,
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            ))
        ),
        "{met:?}"
    );
    let met = meet(authority.server("edge-2", (-1, 1), None), client());
    assert!(matches!(
        met,
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
    ));
}

#[test]
fn a_collectors_clock_may_differ_by_a_day() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new();
    let identity = authority.pair(directory.path(), "edge-1");
    let met = |from, until| {
        let server = authority.server(COLLECTOR_SERVER_NAME, (from, until), Some(&authority));
        meet(server, identity.client_config().unwrap())
    };
    assert_eq!(met(-48, 1), None);
    assert_eq!(met(-48, -23), None);
    assert_eq!(met(23, 48), None);
    assert!(matches!(
        met(-48, -25),
        Some(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
    ));
    assert!(matches!(
        met(25, 48),
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }))
    ));
}

#[test]
fn before_pairing_the_collector_is_known_by_the_tokens_fingerprint() {
    let (authority, other) = (TestAuthority::new(), TestAuthority::new());
    let token = |authority: &TestAuthority| Token {
        name: name(),
        addresses: addresses(),
        secret: Secret([1; 16]),
        authority: authority.fingerprint(),
    };
    let server = || authority.server(COLLECTOR_SERVER_NAME, (-24, 24), None);
    assert_eq!(meet(server(), pinned(&token(&authority)).unwrap()), None);
    let met = meet(server(), pinned(&token(&other)).unwrap());
    assert_eq!(met, Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)));
    let posing = authority.server("edge-1", (-24, 24), None);
    assert!(meet(posing, pinned(&token(&authority)).unwrap()).is_some(), "the authority's, but no collector");
}

#[test]
fn a_signature_is_the_collectors_over_these_very_octets() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, other) = (TestAuthority::new(), TestAuthority::new());
    let identity = authority.pair(directory.path(), "edge-1");
    let signature = authority.sign(b"rules");
    assert!(identity.verify(b"rules", &signature).is_ok());
    for (octets, signature) in [
        (&b"rulez"[..], signature.clone()),
        (b"", signature.clone()),
        (b"rules", other.sign(b"rules")),
        (b"rules", Vec::new()),
        (b"rules", signature[..signature.len() - 1].to_vec()),
    ] {
        assert!(matches!(identity.verify(octets, &signature), Err(IdentityError::Signature)));
    }
}

#[test]
fn the_directory_is_made_when_it_will_be_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("a/identity");
    assert_eq!(prepare(&place, false), None);
    assert_eq!(prepare(&place, true), Some(place.clone()));
    assert_eq!(prepare(&place, false), Some(place));
    fs::write(directory.path().join("file"), "").unwrap();
    assert_eq!(prepare(&directory.path().join("file/identity"), true), None);
}
