//! Enrolment, and TLS handshakes over real sockets, from both sides of every border.

use super::config::IdentityConfig;
use super::testing::*;
use super::*;
use crate::ingest::clock;
use rustls::{CertificateError, ClientConfig, ClientConnection, ServerConnection, Stream};
use rustls_pki_types::ServerName;
use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use weir_common::enrolment::CLOCK_SKEW_MAX;
use weir_common::enrolment::COLLECTOR_SERVER_NAME;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// How long a sensor's certificate is valid by default.
const VALID: Duration = Duration::from_secs(90 * 86_400);

/// A handshake over loopback and an octet each way: the certificates that the server saw, or why not; and what the
/// client met.
fn handshake(
    server: Arc<ServerConfig>,
    client: ClientConfig,
    server_name: &str,
) -> (Result<Vec<CertificateDer<'static>>, rustls::Error>, Option<rustls::Error>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server_name = ServerName::try_from(server_name.to_owned()).unwrap();
    let other = std::thread::spawn(move || -> io::Result<()> {
        let mut socket = TcpStream::connect(address)?;
        let mut connection = ClientConnection::new(Arc::new(client), server_name).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])
    });
    let (mut socket, _) = listener.accept().unwrap();
    let mut connection = ServerConnection::new(server).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let outcome = stream.read_exact(&mut [0]).and_then(|()| stream.write_all(b"!"));
    drop(socket);
    let met = other.join().unwrap().err().and_then(|error| error.downcast::<rustls::Error>().ok());
    match outcome {
        Ok(()) => {
            let shown = connection.peer_certificates().unwrap_or_default();
            (Ok(shown.iter().map(|shown| shown.clone().into_owned()).collect()), met)
        }
        Err(error) => (Err(error.downcast::<rustls::Error>().unwrap()), met),
    }
}

/// Whether a sensor with this certificate is let in, and why not.
fn enter(authority: &Authority, own: Option<Own>) -> Result<SensorName, Refused> {
    let server = authority.server_config(Clients::Required).unwrap();
    let (seen, _) = handshake(server, client(authority, own), COLLECTOR_SERVER_NAME);
    let seen = seen.map_err(|error| Refused::of_handshake(&error).unwrap_or_else(|| panic!("{error}")))?;
    authority.sensor_of(&seen, clock())
}

#[test]
fn a_sensor_is_enrolled_paired_and_known_by_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let own = pair(&authority, "edge-1", clock());
    assert_eq!(enter(&authority, Some(own)), Ok(name("edge-1")));
    let sensors = authority.sensors();
    assert_eq!((sensors.len(), sensors[0].0.as_str()), (1, "edge-1"));
    assert!(authority.tokens(clock()).is_empty());
}

#[test]
fn the_authority_is_the_same_after_a_restart_and_its_files_are_its_owners() {
    let directory = tempfile::tempdir().unwrap();
    let first = authority(&directory);
    let own = pair(&first, "edge-1", clock());
    let again = authority(&directory);
    assert_eq!(again.fingerprint(), first.fingerprint());
    assert_eq!(enter(&again, Some(own)), Ok(name("edge-1")));
    let identity = directory.path().join("identity");
    for entry in fs::read_dir(&identity).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    assert_eq!(fs::metadata(identity).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_an_error_and_no_reason_for_another_authority() {
    let directory = tempfile::tempdir().unwrap();
    authority(&directory);
    let identity = directory.path().join("identity");
    let whole = fs::read_to_string(identity.join(AUTHORITY_FILE)).unwrap();
    let other = tempfile::tempdir().unwrap();
    authority(&other);
    let theirs = fs::read_to_string(other.path().join("identity/authority.crt")).unwrap();
    let key = whole.split("-----BEGIN CERTIFICATE").next().unwrap();
    for wrong in
        [String::new(), whole[..whole.len() / 2].to_owned(), key.to_owned(), format!("{key}{theirs}")]
    {
        fs::write(identity.join(AUTHORITY_FILE), &wrong).unwrap();
        let error = Authority::open(&identity, &IdentityConfig::default(), clock()).unwrap_err().to_string();
        assert!(error.contains("authority.pem") && error.contains("Put the right file back"), "{error}");
        assert_eq!(fs::read_to_string(identity.join(AUTHORITY_FILE)).unwrap(), wrong);
    }
    fs::write(identity.join(AUTHORITY_FILE), whole).unwrap();
    fs::write(identity.join("sensors.json"), "{").unwrap();
    assert!(Authority::open(&identity, &IdentityConfig::default(), clock()).is_err());
}

#[test]
fn certificates_are_taken_up_to_a_day_before_and_after_their_time() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let now = clock();
    for (paired_at, outcome) in [
        (now, Ok(name("edge-1"))),
        // Expired, within the tolerance and beyond.
        (now.minus(VALID).minus(CLOCK_SKEW_MAX).plus(HOUR), Ok(name("edge-1"))),
        (now.minus(VALID).minus(CLOCK_SKEW_MAX).minus(HOUR), Err(Refused::Expired)),
        // Made by a clock that is ahead: as much as it is dated back, the tolerance more, and beyond.
        (now.plus(BACKDATED).minus(HOUR), Ok(name("edge-1"))),
        (now.plus(BACKDATED).plus(CLOCK_SKEW_MAX).minus(HOUR), Ok(name("edge-1"))),
        (now.plus(BACKDATED).plus(CLOCK_SKEW_MAX).plus(HOUR), Err(Refused::NotYetValid)),
    ] {
        let own = pair(&authority, "edge-1", paired_at);
        let shown = own.0.clone();
        assert_eq!(enter(&authority, Some(own)), outcome, "paired at {paired_at}");
        assert_eq!(authority.sensor_of(&shown, now), outcome, "paired at {paired_at}");
    }
    let counters: HashMap<String, u64> = authority.counters().into_iter().collect();
    assert_eq!(counters["certificates_tolerated_skew"], 2);
    assert_eq!(
        (counters["refused_expired"], counters["refused_not_yet_valid"]),
        (1, 1),
        "by sensor_of alone"
    );
}

#[test]
fn other_authorities_no_certificate_and_wrong_uses_are_refused_by_their_cause() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, other) = (authority(&directory), authority(&other));
    assert_eq!(enter(&authority, None), Err(Refused::NoCertificate));
    let theirs = pair(&other, "edge-1", clock());
    assert_eq!(enter(&authority, Some(theirs)), Err(Refused::Authority));
    let (_, foreign) = foreign("router-1");
    assert_eq!(enter(&authority, Some(foreign)), Err(Refused::Authority));
    // Signed by itself, with the authority's name.
    let key = KeyPair::generate().unwrap();
    let own = certificates::authority(&key, clock()).unwrap();
    assert!(enter(&authority, Some((vec![own], key))).is_err());
    // The authority's, but for a server: a stolen server key makes no sensor.
    let key = KeyPair::generate().unwrap();
    let server = certificates::server(&authority.0.issuer, &key, &[], clock()).unwrap();
    let refused = enter(&authority, Some((vec![server], key))).unwrap_err();
    assert!(matches!(refused, Refused::Certificate(_)), "{refused}");
    // The authority's, of a sensor that the register does not know, as after restoring a backup.
    let own = pair(&authority, "edge-9", clock());
    let register = directory.path().join("identity/sensors.json");
    fs::write(&register, "{}").unwrap();
    assert_eq!(enter(&authority, Some(own)), Err(Refused::NotEnrolled(name("edge-9"))));
    assert_eq!(authority.sensor_of(&[], clock()), Err(Refused::NoCertificate));
    assert!(matches!(authority.sensor_of(&[vec![1, 2, 3].into()], clock()), Err(Refused::Certificate(_))));
}

#[test]
fn a_client_takes_no_other_collector_for_its_own() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, other) = (authority(&directory), authority(&other));
    let server = |authority: &Authority| authority.server_config(Clients::Required).unwrap();
    let met = |of: &Authority, server_name: &str| {
        let own = pair(&authority, "edge-1", clock());
        handshake(server(of), client(&authority, Some(own)), server_name).1
    };
    assert_eq!(met(&authority, COLLECTOR_SERVER_NAME), None);
    assert!(matches!(
        met(&other, COLLECTOR_SERVER_NAME),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature
        ))
    ));
    assert!(matches!(
        met(&authority, "collector.example"),
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
    ));
    // A sensor's certificate makes no server.
    let (chain, key) = pair(&authority, "edge-2", clock());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let posing = ServerConfig::builder_with_provider(authority.0.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (_, met) = handshake(Arc::new(posing), client(&authority, None), COLLECTOR_SERVER_NAME);
    assert!(matches!(met, Some(rustls::Error::InvalidCertificate(_))), "{met:?}");
}

#[test]
fn a_token_is_worth_one_certificate_even_if_many_use_it_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let token = token(&authority, "edge-1", clock());
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let redeem = || {
            // Another handle of the directory, as another process would have.
            let authority = testing::authority(&directory);
            authority.redeem(PEER, &token.secret, &request("edge-1").1, clock())
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(redeem)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let used = outcomes.iter().filter(|outcome| matches!(outcome, Err(Refused::TokenUsed))).count();
    assert_eq!(used, 7);
}

#[test]
fn tokens_are_refused_when_expired_for_another_name_unknown_or_superseded() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let now = clock();
    let redeem = |token: &Token, sensor: &str, at: Timestamp| {
        authority.redeem(PEER, &token.secret, &request(sensor).1, at).map(|issued| issued.name)
    };
    let first = token(&authority, "edge-1", now);
    assert_eq!(
        redeem(&first, "edge-2", now),
        Err(Refused::TokenOfAnother { token: name("edge-1"), found: name("edge-2") })
    );
    assert_eq!(redeem(&first, "edge-1", now.plus(DAY)), Err(Refused::TokenExpired));
    assert_eq!(redeem(&first, "edge-1", now.plus(DAY).minus(HOUR)), Ok(name("edge-1")));
    assert_eq!(redeem(&first, "edge-1", now), Err(Refused::TokenUsed));
    let (second, third) = (token(&authority, "edge-3", now), token(&authority, "edge-3", now));
    assert_eq!(redeem(&second, "edge-3", now), Err(Refused::TokenUnknown), "the latest counts");
    let mut guessed = third.clone();
    guessed.secret.0[0] ^= 1;
    assert_eq!(redeem(&guessed, "edge-3", now), Err(Refused::TokenUnknown));
    assert_eq!(redeem(&third, "edge-3", now), Ok(name("edge-3")));
    for request in [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        &"x".repeat(100_000),
    ] {
        let refused = authority.redeem(PEER, &third.secret, request, now).unwrap_err();
        assert!(matches!(refused, Refused::Request(_)), "{refused}");
    }
}

#[test]
fn wrong_tokens_of_one_address_are_looked_at_ten_times_a_minute() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let now = clock();
    let good = token(&authority, "edge-1", now);
    let csr = request("edge-1").1;
    let wrong = Secret([0; 16]);
    for _ in 0..ATTEMPTS_MAX {
        assert_eq!(authority.redeem(PEER, &wrong, &csr, now), Err(Refused::TokenUnknown));
    }
    assert_eq!(authority.redeem(PEER, &wrong, &csr, now), Err(Refused::TooManyAttempts));
    assert_eq!(authority.redeem(PEER, &good.secret, &csr, now), Err(Refused::TooManyAttempts));
    // Another address is not concerned, and this one not after a minute.
    let other = IpAddr::V6(Ipv6Addr::LOCALHOST);
    assert_eq!(authority.redeem(other, &wrong, &csr, now), Err(Refused::TokenUnknown));
    assert!(authority.redeem(PEER, &good.secret, &csr, now.plus(ATTEMPTS_PERIOD)).is_ok());
    let counters: HashMap<String, u64> = authority.counters().into_iter().collect();
    assert_eq!((counters["refused_token_unknown"], counters["refused_too_many_attempts"]), (11, 2));
    // However many addresses try, only so many are remembered.
    for number in 0..2 * ATTEMPTS_ADDRESSES_MAX as u128 {
        let _ = authority.redeem(IpAddr::V6(Ipv6Addr::from_bits(number << 64)), &wrong, &csr, now);
    }
    assert_eq!(authority.0.attempts.lock().unwrap().len(), ATTEMPTS_ADDRESSES_MAX);
}

#[test]
fn limits_count_an_ipv4_address_or_a_64_of_ipv6() {
    for (ip, site) in [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::1", "::"),
    ] {
        assert_eq!(site_of(ip.parse().unwrap()), site.parse::<IpAddr>().unwrap(), "{ip}");
    }
}

#[test]
fn a_revoked_sensor_is_refused_at_once_and_let_in_again_by_a_new_token_alone() {
    let directory = tempfile::tempdir().unwrap();
    let running = authority(&directory);
    let mut changes = running.changes();
    let own = pair(&running, "edge-1", clock());
    let shown = own.0.clone();
    changes.mark_unchanged();
    // What the command line does, in another process.
    let command_line = authority(&directory);
    assert_eq!(command_line.revoke(&name("edge-1"), clock()).ok(), Some(true));
    assert_eq!(running.sensor_of(&shown, clock()), Err(Refused::Revoked));
    assert!(changes.has_changed().unwrap(), "sessions learn of it");
    assert_eq!(enter(&running, Some(own)), Err(Refused::Revoked));
    assert_eq!(running.renew(&name("edge-1"), &request("edge-1").1, clock()), Err(Refused::Revoked));
    let again = pair(&command_line, "edge-1", clock());
    assert_eq!(enter(&running, Some(again)), Ok(name("edge-1")));
    assert_eq!(running.sensor_of(&shown, clock()), Err(Refused::Revoked), "of the pairing before");
    // A token that is out is worth nothing either; of nobody there is nothing to revoke.
    let token = token(&command_line, "edge-2", clock());
    assert_eq!(command_line.revoke(&name("edge-2"), clock()).ok(), Some(false));
    let refused = running.redeem(PEER, &token.secret, &request("edge-2").1, clock());
    assert_eq!(refused, Err(Refused::TokenUnknown));
    assert!(matches!(running.revoke(&name("edge-3"), clock()), Err(IdentityError::NoSensor(_))));
}

#[test]
fn the_client_is_told_that_it_was_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let own = pair(&authority, "edge-1", clock());
    authority.revoke(&name("edge-1"), clock()).unwrap();
    let server = authority.server_config(Clients::Required).unwrap();
    let (_, met) = handshake(server, client(&authority, Some(own)), COLLECTOR_SERVER_NAME);
    assert_eq!(met, Some(rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRevoked)));
}

#[test]
fn a_register_that_cannot_be_read_any_more_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let (good, bad) = (pair(&authority, "edge-1", clock()), pair(&authority, "edge-2", clock()));
    authority.revoke(&name("edge-2"), clock()).unwrap();
    fs::write(directory.path().join("identity/sensors.json"), "not json").unwrap();
    assert_eq!(authority.sensor_of(&good.0, clock()), Ok(name("edge-1")));
    assert_eq!(authority.sensor_of(&bad.0, clock()), Err(Refused::Revoked));
    let refused = authority.renew(&name("edge-1"), &request("edge-1").1, clock()).unwrap_err();
    assert!(matches!(&refused, Refused::State(why) if why.contains("sensors.json")), "{refused}");
}

#[test]
fn a_renewed_certificate_and_the_one_before_are_both_good() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let now = clock();
    let before = pair(&authority, "edge-1", now.minus(60 * DAY));
    let (_, csr) = request("edge-1");
    let issued = authority.renew(&name("edge-1"), &csr, now).unwrap();
    let after = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
    assert_eq!(authority.sensor_of(&[after], now), Ok(name("edge-1")));
    assert_eq!(authority.sensor_of(&before.0, now), Ok(name("edge-1")));
    assert_eq!(authority.sensors()[0].1.expires, now.plus(VALID).to_string());
    let other = authority.renew(&name("edge-1"), &request("edge-2").1, now);
    assert!(matches!(other, Err(Refused::Request(_))), "one sensor asks for another's name");
    assert_eq!(
        authority.renew(&name("edge-7"), &request("edge-7").1, now),
        Err(Refused::NotEnrolled(name("edge-7")))
    );
}

#[test]
fn those_without_a_certificate_come_in_where_they_may_and_are_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let server = authority.server_config(Clients::Optional).unwrap();
    let (seen, met) = handshake(server.clone(), client(&authority, None), COLLECTOR_SERVER_NAME);
    assert_eq!((seen, met), (Ok(Vec::new()), None));
    let own = pair(&authority, "edge-1", clock());
    authority.revoke(&name("edge-1"), clock()).unwrap();
    let (seen, _) = handshake(server, client(&authority, Some(own)), COLLECTOR_SERVER_NAME);
    assert!(seen.is_err(), "a revoked certificate is not better than none");
}

#[test]
fn foreign_exporters_come_in_by_an_authority_that_was_named() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let (pem, own) = foreign("router-1");
    let (_, stranger) = foreign("router-2");
    let file = directory.path().join("ca.pem");
    fs::write(&file, pem).unwrap();
    let door = authority.door(Clients::Foreign(read_roots(&file).unwrap())).unwrap();
    let enter = |own: Own| {
        let (seen, _) = handshake(door.config(), client(&authority, Some(own)), COLLECTOR_SERVER_NAME);
        let seen = seen.map_err(|error| Refused::of_handshake(&error).unwrap())?;
        door.peer(&seen, clock())
    };
    assert_eq!(enter(own), Ok(Peer::Foreign("CN=router-1".into())));
    assert_eq!(enter(stranger), Err(Refused::Authority));
    assert_eq!(enter(pair(&authority, "edge-1", clock())), Ok(Peer::Sensor(name("edge-1"))));
    let revoked = pair(&authority, "edge-2", clock());
    authority.revoke(&name("edge-2"), clock()).unwrap();
    assert_eq!(enter(revoked), Err(Refused::Revoked));
    for wrong in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&file, wrong).unwrap();
        assert!(read_roots(&file).unwrap_err().to_string().contains("ca.pem"));
    }
}

#[test]
fn the_server_certificate_is_renewed_by_itself_when_two_thirds_have_passed() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let key = || authority.0.server.read().unwrap().key.clone();
    let (first, now) = (key(), clock());
    authority.rotate(now.plus(60 * DAY).minus(HOUR));
    assert!(Arc::ptr_eq(&first, &key()));
    authority.rotate(now.plus(60 * DAY).plus(HOUR));
    assert!(!Arc::ptr_eq(&first, &key()));
    let own = pair(&authority, "edge-1", now);
    let config = authority.server_config(Clients::Required).unwrap();
    // By this clock it is two months ahead of its time: a client that is not tolerant refuses it, as it should.
    assert!(handshake(config.clone(), client(&authority, Some(own)), COLLECTOR_SERVER_NAME).1.is_some());
    authority.0.server.write().unwrap().renew_at = now;
    authority.rotate(now);
    let own = pair(&authority, "edge-1", now);
    assert!(handshake(config, client(&authority, Some(own)), COLLECTOR_SERVER_NAME).0.is_ok());
}

#[test]
fn a_signature_is_of_the_octets_and_of_no_certificate() {
    use crypto::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let Signature(signature) = authority.sign(b"rules").unwrap();
    let key =
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, authority.0.issuer.key().public_key_raw().to_vec());
    key.verify(&[SIGNATURE_CONTEXT, b"rules"].concat(), &signature).unwrap();
    assert!(key.verify(b"rules", &signature).is_err());
    assert!(key.verify(&[SIGNATURE_CONTEXT, b"rulez"].concat(), &signature).is_err());
}

#[test]
fn the_register_stays_within_its_limits() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let now = clock();
    let mut list = List::default();
    for number in 0..TOKENS_MAX + 10 {
        list.tokens.push(Pending {
            name: format!("s{number}"),
            expires: now.plus(DAY).to_string(),
            ..Pending::default()
        });
    }
    for number in 0..SENSORS_MAX {
        list.sensors.insert(format!("s{number}"), Sensor::default());
    }
    fs::write(directory.path().join("identity/sensors.json"), serde_json::to_vec(&list).unwrap()).unwrap();
    let token = token(&authority, "one-more", now);
    assert_eq!(authority.tokens(now).len(), TOKENS_MAX);
    let refused = authority.redeem(PEER, &token.secret, &request("one-more").1, now).unwrap_err();
    assert!(matches!(&refused, Refused::State(why) if why.contains("4096 sensors")), "{refused}");
    let tokens = authority.tokens(now.plus(2 * DAY));
    assert!(tokens.is_empty());
}
