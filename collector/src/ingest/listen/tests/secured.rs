//! The TLS listener: good exporters, and all others.

use super::*;
use crate::identity::config::IdentityConfig;
use crate::identity::testing::{Own, authority, client, foreign, name, pair};
use crate::ingest::clock;
use crate::ingest::counters::ExporterStatus;
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use std::net::TcpStream;
use std::sync::atomic::AtomicU64;
use tempfile::TempDir;
use weir_common::enrolment::COLLECTOR_SERVER_NAME;

type Stream = StreamOwned<ClientConnection, TcpStream>;

struct Secured {
    fixture: Fixture,
    authority: Authority,
    directory: TempDir,
}

fn start_secured(adjust: impl FnOnce(&mut IngestConfig)) -> Secured {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    // Without a sensor no address is opened.
    pair(&authority, "edge-0", clock());
    let fixture = start_with(Some(&authority), adjust);
    Secured { fixture, authority, directory }
}

impl Secured {
    fn address(&self) -> SocketAddr {
        self.fixture.listeners.tls[0]
    }

    fn counters(&self) -> &IngestCounters {
        &self.fixture.counters
    }

    /// A connection of whoever shows this; its handshake is made by the first octets.
    fn connect(&self, own: Option<Own>) -> Stream {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let server_name = ServerName::try_from(COLLECTOR_SERVER_NAME).unwrap();
        let config = Arc::new(client(&self.authority, own));
        StreamOwned::new(ClientConnection::new(config, server_name).unwrap(), socket)
    }

    fn pair(&self, sensor: &str) -> Own {
        pair(&self.authority, sensor, clock())
    }

    /// Whether a connection is closed by the collector, and not by the time that the socket waits.
    fn is_closed(stream: &mut Stream) -> bool {
        match stream.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => {
                !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            }
        }
    }

    fn exporter(&self) -> ExporterStatus {
        self.counters().exporters().into_iter().next().unwrap()
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn a_sensors_records_come_under_the_name_of_its_certificate() {
    let t = start_secured(|_| {});
    let mut exporting = Exporting::new(7);
    let mut stream = t.connect(Some(t.pair("edge-1")));
    // So few that they fit the receiving kernel's buffer: what is still at the sender has not arrived.
    let mut bytes = [exporting.templates(), exporting.name("edge-2")].concat();
    for number in 0..200 {
        bytes.extend(exporting.records(&[record(number)]));
    }
    stream.write_all(&bytes).unwrap();
    stream.flush().unwrap();
    let counters = t.fixture.counters.clone();
    until("the session", || get(&counters.sessions) == 1);
    let records = t.fixture.records();
    assert!(records.iter().enumerate().all(|(number, have)| *have == record(number as u64)), "in order");
    assert_eq!(records.len(), 200, "what has arrived when the listeners stop is taken");
    let status = &counters.exporters()[0];
    assert_eq!(status.exporter, "edge-1@127.0.0.1/7");
    assert_eq!((status.name.as_str(), status.certificate.as_str()), ("edge-1", "sensor edge-1"));
    assert!(status.clock_ahead_s < -3600, "the records' time is long past: {}", status.clock_ahead_s);
}

#[test]
fn whoever_has_no_good_certificate_is_refused_before_an_octet_is_read_and_counted_by_cause() {
    let t = start_secured(|_| {});
    let other = tempfile::tempdir().unwrap();
    let revoked = t.pair("edge-3");
    t.authority.revoke(&name("edge-3"), clock()).unwrap();
    let long = Duration::from_secs(100 * 86_400);
    for (number, (own, cause)) in [
        (None, "no_certificate"),
        (Some(pair(&authority(&other), "edge-1", clock())), "other_authority"),
        (Some(foreign("router-1").1), "other_authority"),
        (Some(revoked), "revoked"),
        (Some(pair(&t.authority, "edge-4", clock().minus(long))), "expired"),
        (Some(pair(&t.authority, "edge-4", clock().plus(long))), "not_yet_valid"),
    ]
    .into_iter()
    .enumerate()
    {
        let count = || {
            let counters = t.authority.counters();
            counters.into_iter().find(|(name, _)| *name == format!("refused_{cause}")).unwrap().1
        };
        let before = count();
        let mut stream = t.connect(own);
        let mut exporting = Exporting::new(1);
        let _ = stream.write_all(&exporting.templates());
        let _ = stream.write_all(&exporting.records(&[record(1)]));
        assert!(Secured::is_closed(&mut stream), "{cause}");
        until(cause, || get(&t.counters().tls_refused_certificate) == number as u64 + 1);
        assert_eq!(count(), before + 1, "{cause}");
    }
    assert_eq!(get(&t.counters().sessions), 0);
    assert!(t.counters().exporters().is_empty());
    assert!(t.fixture.records().is_empty());
}

#[test]
fn a_sensor_that_is_revoked_while_it_is_connected_is_cut_off_within_a_second_and_others_stay() {
    let t = start_secured(|_| {});
    let mut exporting = Exporting::new(1);
    let own = t.pair("edge-1");
    let again = (own.0.clone(), rcgen::KeyPair::try_from(own.1.serialize_der()).unwrap());
    let (mut stream, mut other) = (t.connect(Some(own)), t.connect(Some(t.pair("edge-2"))));
    for stream in [&mut stream, &mut other] {
        stream.write_all(&exporting.templates()).unwrap();
        stream.flush().unwrap();
    }
    until("both sessions", || get(&t.counters().sessions_open) == 2);
    // The command line, which is another process with the same directory.
    let command_line =
        Authority::open(&t.directory.path().join("identity"), &IdentityConfig::default(), clock()).unwrap();
    let begun = Instant::now();
    command_line.revoke(&name("edge-1"), clock()).unwrap();
    assert!(Secured::is_closed(&mut stream));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    until("the count", || get(&t.counters().tls_sessions_revoked) == 1);
    let mut refused = t.connect(Some(again));
    let _ = refused.write_all(&exporting.templates());
    assert!(Secured::is_closed(&mut refused));
    until("the refusal", || get(&t.counters().tls_refused_certificate) == 1);
    other.write_all(&exporting.records(&[record(1)])).unwrap();
    other.flush().unwrap();
    until("the other's record", || t.counters().exporters().iter().any(|exporter| exporter.records == 1));
    // Enrolling works while it runs, and lets the sensor in again.
    let mut stream = t.connect(Some(pair(&command_line, "edge-1", clock())));
    stream.write_all(&exporting.templates()).unwrap();
    stream.flush().unwrap();
    until("the new session", || get(&t.counters().sessions_open) == 2);
}

#[test]
fn a_foreign_exporter_comes_in_by_an_authority_of_the_configuration() {
    let files = tempfile::tempdir().unwrap();
    let (pem, own) = foreign("router-1");
    let file = files.path().join("ca.pem");
    std::fs::write(&file, pem).unwrap();
    let t = start_secured(|config| config.tls_client_ca = vec![file.display().to_string()]);
    let mut exporting = Exporting::new(1);
    let mut stream = t.connect(Some(own));
    stream.write_all(&exporting.templates()).unwrap();
    stream.write_all(&exporting.records(&[record(1)])).unwrap();
    stream.flush().unwrap();
    until("its record", || t.counters().exporters().first().is_some_and(|exporter| exporter.records == 1));
    assert_eq!(t.exporter().certificate, "foreign CN=router-1");
    let mut stranger = t.connect(Some(foreign("router-2").1));
    let _ = stranger.write_all(&exporting.templates());
    assert!(Secured::is_closed(&mut stranger));
    let wrong = IngestConfig { tls_client_ca: vec!["/nonexistent.pem".into()], ..IngestConfig::default() };
    assert!(check(&wrong)[0].to_string().starts_with("ingest.tls_client_ca: /nonexistent.pem"));
}

#[test]
fn octets_that_are_no_tls_cost_their_connection_alone() {
    let t = start_secured(|_| {});
    let mut exporting = Exporting::new(1);
    // The first octets of a client's handshake, to be cut and changed.
    let mut hello = Vec::new();
    t.connect(None).conn.write_tls(&mut hello).unwrap();
    let mut wrong: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 5000],
        vec![0xff; 5000],
        exporting.templates(),
        vec![],
    ];
    wrong.extend((1..hello.len()).step_by(16).map(|end| hello[..end].to_vec()));
    wrong.extend((0..hello.len()).step_by(16).map(|at| {
        let mut changed = hello.clone();
        changed[at] ^= 0x55;
        changed
    }));
    // And the connection whose first octets were taken.
    let total = wrong.len() as u64 + 1;
    for octets in wrong {
        let mut stream = TcpStream::connect(t.address()).unwrap();
        // What is refused at once may be closed before all is written.
        let _ = stream.write_all(&octets).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        // Closed with octets unread, the kernel may say reset instead of end.
        let _ = stream.read_to_end(&mut answer);
    }
    let failed = || get(&t.counters().tls_handshakes_failed) + get(&t.counters().tls_refused_certificate);
    until("every failure to be counted", || failed() + get(&t.counters().tls_handshakes_slow) == total);
    assert_eq!((get(&t.counters().sessions), get(&t.counters().tls_handshakes_slow)), (0, 0));
    let mut stream = t.connect(Some(t.pair("edge-1")));
    stream.write_all(&exporting.templates()).unwrap();
    stream.flush().unwrap();
    until("the next good connection", || get(&t.counters().sessions_open) == 1);
    // Within a session, what is no TLS ends it and is counted.
    stream
        .sock
        .write_all(&[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
        .unwrap();
    until("the broken session's end", || get(&t.counters().sessions_open) == 0);
    assert_eq!(get(&t.counters().tls_sessions_broken), 1);
}

#[test]
fn silent_peers_hold_bounded_handshakes_for_a_bounded_time_and_no_session() {
    let t = start_secured(|config| config.sessions_max = 2);
    let silent: Vec<_> =
        (0..tls::HANDSHAKES_PER_ADDRESS_MAX + 10).map(|_| TcpStream::connect(t.address()).unwrap()).collect();
    until("the limit", || get(&t.counters().tls_refused_busy) == 10);
    until("the time", || get(&t.counters().tls_handshakes_slow) == tls::HANDSHAKES_PER_ADDRESS_MAX as u64);
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "closed");
    }
    assert_eq!(get(&t.counters().sessions), 0);
    // All places are free again; sessions have a limit of their own.
    let mut exporting = Exporting::new(1);
    let mut open = Vec::new();
    for number in 1..=2 {
        let mut stream = t.connect(Some(t.pair(&format!("edge-{number}"))));
        stream.write_all(&exporting.templates()).unwrap();
        stream.flush().unwrap();
        until("a session", || get(&t.counters().sessions_open) == number);
        open.push(stream);
    }
    let mut third = t.connect(Some(t.pair("edge-3")));
    let _ = third.write_all(&exporting.templates());
    assert!(Secured::is_closed(&mut third));
    assert_eq!((get(&t.counters().sessions_refused_full), get(&t.counters().sessions_open)), (1, 2));
}

#[test]
fn no_port_is_open_before_the_first_sensor_is_enrolled() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(&directory);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fixture = start_with(Some(&authority), |config| config.ipfix_tls = vec![port.to_string()]);
    assert!(fixture.listeners.tls.is_empty());
    assert!(TcpStream::connect(port).is_err());
    let command_line =
        Authority::open(&directory.path().join("identity"), &IdentityConfig::default(), clock()).unwrap();
    command_line.enroll(&name("edge-1"), &["192.0.2.1:4741".into()], clock()).unwrap();
    until("the address to be opened", || TcpStream::connect(port).is_ok());
    fixture.records();
}

#[test]
fn nothing_but_the_machine_itself_is_let_in_by_default() {
    let config = IngestConfig::default();
    for address in config.ipfix_tcp.iter().chain(&config.ipfix_udp) {
        assert!(address.parse::<SocketAddr>().unwrap().ip().is_loopback(), "{address}");
    }
    let admission = Admission::new(&config).unwrap();
    for (address, admitted) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("10.0.0.1", false),
        ("192.168.1.1", false),
        ("169.254.0.1", false),
        ("fe80::1", false),
        ("0.0.0.0", false),
        ("::", false),
        ("203.0.113.1", false),
    ] {
        assert_eq!(admission.admits(address.parse().unwrap()), admitted, "{address}");
    }
    assert!(config.tls_client_ca.is_empty(), "over TLS, whom this collector enrolled alone");
}
