//! Export over TLS: to real listeners, good ones and others.

use super::*;
use crate::export::config::TlsConfig;
use crate::export::tls::TlsClient;
use crate::identity::testing::TestAuthority;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use tempfile::TempDir;

type Session = StreamOwned<ServerConnection, TcpStream>;

/// A session that an exporter opened, its handshake made by the first octets that are read.
fn accept(listener: &TcpListener, server: Arc<ServerConfig>) -> Session {
    let (socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(ServerConnection::new(server).unwrap(), socket)
}

/// The handshake is done and the exporter told so.
fn greet(session: &mut Session) {
    while session.conn.is_handshaking() {
        session.conn.complete_io(&mut session.sock).unwrap();
    }
    session.flush().unwrap();
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tls://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn begin(url: String, identity: &TempDir, tls: TlsConfig) -> Exporting {
    let context = Context { identity: identity.path().into(), ..context(Pace::Live) };
    start(&ExportConfig { tls, ..config(url) }, context).unwrap()
}

/// The error at which a destination fails.
fn failure(exporting: &Exporting) -> String {
    send(exporting, 0..1);
    wait_for("the failure", || exporting.status().destinations[0].last_error.is_some());
    let status = exporting.status();
    assert_eq!(
        (status.destinations[0].state, status.destinations[0].sessions),
        (DestinationState::Failing, 0)
    );
    status.destinations[0].last_error.clone().unwrap()
}

#[test]
fn records_arrive_over_tls_as_they_do_over_tcp_with_a_proper_end() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new());
    authority.pair(directory.path(), "edge-1");
    let (listener, url) = listen();
    let exporting = begin(url, &directory, TlsConfig::default());
    send(&exporting, 0..5000);
    let reader = std::thread::spawn(move || {
        let mut session = accept(&listener, authority.collector());
        let mut bytes = Vec::new();
        session.read_to_end(&mut bytes).unwrap();
        (bytes, session.conn.peer_certificates().is_some())
    });
    let status = exporting.join();
    let (bytes, showed) = reader.join().unwrap();
    let (records, _, name) = decode(&bytes);
    assert_eq!((records.len(), name.as_deref(), showed), (5000, Some("tap-1"), true));
    assert_eq!(records[4999].flow_id, 4999);
    assert_eq!((status.lost(), status.destinations[0].records), (0, 5000));
}

#[test]
fn a_collector_that_goes_away_and_comes_back_gets_a_session_of_its_own() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new());
    authority.pair(directory.path(), "edge-1");
    let (listener, url) = listen();
    let exporting = begin(url, &directory, TlsConfig::default());
    send(&exporting, 0..10);
    let mut first = accept(&listener, authority.collector());
    greet(&mut first);
    wait_for("the session", || exporting.status().destinations[0].records == 10);
    drop(first);
    wait_for("the end", || exporting.status().destinations[0].state == DestinationState::Failing);
    send(&exporting, 10..20);
    let mut second = accept(&listener, authority.collector());
    greet(&mut second);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        second.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let status = exporting.join();
    let (records, ..) = decode(&reader.join().unwrap());
    assert_eq!(records.iter().map(|record| record.flow_id).collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());
    assert_eq!(status.destinations[0].sessions, 2);
}

#[test]
fn a_sensor_that_is_paired_while_it_runs_begins_by_itself() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new());
    let (listener, url) = listen();
    let exporting = begin(url, &directory, TlsConfig::default());
    assert!(failure(&exporting).contains("not paired"));
    authority.pair(directory.path(), "edge-1");
    let reader = std::thread::spawn(move || {
        // The attempt before it was paired ended without a handshake.
        listener.incoming().find_map(|socket| {
            let mut session =
                StreamOwned::new(ServerConnection::new(authority.collector()).unwrap(), socket.unwrap());
            let mut bytes = Vec::new();
            session.read_to_end(&mut bytes).ok().filter(|_| !bytes.is_empty()).map(|_| bytes)
        })
    });
    wait_for("the session", || exporting.status().destinations[0].records == 1);
    exporting.join();
    assert_eq!(decode(&reader.join().unwrap().unwrap()).0.len(), 1);
}

#[test]
fn a_refused_certificate_is_no_session_and_is_said_in_words() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new());
    let other = TestAuthority::new();
    authority.pair(directory.path(), "edge-1");
    let name = weir_common::enrolment::COLLECTOR_SERVER_NAME;
    for (server, words) in [
        (other.collector(), "not of the authority that this sensor trusts"),
        (authority.server(name, (-48, -25), None), "has expired: check the clocks"),
        (authority.server(name, (25, 48), None), "is not valid yet: check the clocks"),
        (authority.server("collector.example", (-1, 1), None), "for another name"),
        // The server takes another authority's sensors, and says so after the client's part of the handshake.
        (authority.server(name, (-1, 1), Some(&other)), "does not take this sensor's certificate"),
    ] {
        let (listener, url) = listen();
        let exporting = begin(url, &directory, TlsConfig::default());
        let session = std::thread::spawn(move || accept(&listener, server).read(&mut [0]).is_err());
        let said = failure(&exporting);
        assert!(said.contains(words), "{said}");
        assert!(session.join().unwrap());
    }
}

#[test]
fn a_listener_that_speaks_no_tls_or_nothing_is_given_up_in_bounded_time() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new());
    authority.pair(directory.path(), "edge-1");
    let (listener, url) = listen();
    let exporting = begin(url, &directory, TlsConfig::default());
    let answer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        socket
    });
    let said = failure(&exporting);
    assert!(said.contains("this is no TLS"), "{said}");
    drop(answer.join().unwrap());
    // One that says nothing, or an octet from time to time: the whole handshake has one limit.
    let (listener, _) = listen();
    let address = listener.local_addr().unwrap();
    let slow = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        while socket.write_all(&[22]).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mut client = TlsClient::new("127.0.0.1", &TlsConfig::default(), directory.path()).unwrap();
    client.give_up_after(Duration::from_millis(200));
    let begun = Instant::now();
    let error =
        client.handshake(client.config().unwrap(), TcpStream::connect(address).unwrap()).err().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{error}");
    slow.join().unwrap();
}

#[test]
fn every_cut_of_the_servers_handshake_is_an_error() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new());
    authority.pair(directory.path(), "edge-1");
    let client = TlsClient::new("127.0.0.1", &TlsConfig::default(), directory.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for (number, socket) in listener.incoming().take(60).enumerate() {
            let mut socket = socket.unwrap();
            let mut connection = ServerConnection::new(authority.collector()).unwrap();
            let mut flight = Vec::new();
            while flight.is_empty() {
                connection.read_tls(&mut socket).unwrap();
                connection.process_new_packets().unwrap();
                while connection.wants_write() {
                    connection.write_tls(&mut flight).unwrap();
                }
            }
            flight.truncate(flight.len() * number / 60);
            if number % 3 == 0
                && let Some(last) = flight.last_mut()
            {
                *last ^= 0x55;
            }
            // The client may be gone before all is written.
            let _ = socket.write_all(&flight);
        }
    });
    for cut in 0..60 {
        assert!(
            client.handshake(client.config().unwrap(), TcpStream::connect(address).unwrap()).is_err(),
            "cut {cut}"
        );
    }
    server.join().unwrap();
}

#[test]
fn a_collector_that_takes_nothing_costs_bounded_memory_and_a_message_is_sent_whole_later() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new());
    authority.pair(directory.path(), "edge-1");
    let (listener, url) = listen();
    let context = Context { identity: directory.path().into(), ..context(Pace::Live) };
    let limited = ExportConfig { backlog_bytes_max: 2_000_000, ..config(url) };
    let exporting = start(&limited, context).unwrap();
    let mut session = accept(&listener, authority.collector());
    let made = std::thread::spawn(move || {
        greet(&mut session);
        session
    });
    for first in (0..200_000).step_by(1000) {
        send(&exporting, first..first + 1000);
    }
    wait_for("drops", || exporting.status().destinations[0].records_dropped > 0);
    assert!(exporting.status().destinations[0].backlog_bytes <= 2_100_000);
    let mut session = made.join().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        session.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let status = exporting.join();
    // The decoder's own check: what arrived is in sequence and every message whole.
    let bytes = reader.join().unwrap();
    let mut reader = MessageReader::new(&bytes[..]);
    let mut decoder = Decoder::new(Limits::default(), WEIR_PEN);
    let mut records: Vec<FlowRecord> = Vec::new();
    while let Some(message) = reader.next_message() {
        decoder.message(message.unwrap(), &mut records).unwrap();
    }
    let to = &status.destinations[0];
    assert_eq!(records.len() as u64, to.records);
    assert_eq!(to.records + to.records_dropped, 200_000);
}

#[test]
fn a_foreign_collector_is_known_by_the_authority_and_the_name_of_the_configuration() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), TestAuthority::new());
    let path = |name: &str| directory.path().join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    std::fs::write(path("ca.pem"), authority.pem()).unwrap();
    std::fs::write(path("cert.pem"), authority.issue(&csr, "exporter", -1, 1)).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    let text = |name: &str| path(name).display().to_string();
    let tls = TlsConfig { ca: text("ca.pem"), certificate: text("cert.pem"), key: text("key.pem") };
    let run = |server: Arc<ServerConfig>, tls: &TlsConfig| {
        let (listener, url) = listen();
        let exporting = begin(url, &directory, tls.clone());
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = accept(&listener, server).read_to_end(&mut bytes);
            bytes
        });
        send(&exporting, 0..1);
        wait_for("an outcome", || {
            let status = &exporting.status().destinations[0];
            status.records == 1 || status.last_error.is_some()
        });
        let last_error = exporting.status().destinations[0].last_error.clone();
        drop(exporting.join());
        (decode(&reader.join().unwrap()).0.len(), last_error)
    };
    assert_eq!(run(authority.server("127.0.0.1", (-1, 1), Some(&authority)), &tls), (1, None));
    let nobody = TlsConfig { ca: tls.ca.clone(), ..TlsConfig::default() };
    assert_eq!(run(authority.server("127.0.0.1", (-1, 1), None), &nobody), (1, None));
    let (_, said) = run(authority.server("127.0.0.1", (-1, 1), Some(&authority)), &nobody);
    assert!(said.as_ref().is_some_and(|said| said.contains("asks for a certificate")), "{said:?}");
    let (_, said) = run(authority.server("192.0.2.7", (-1, 1), Some(&authority)), &tls);
    assert!(said.as_ref().is_some_and(|said| said.contains("for another name")), "{said:?}");
    // What cannot be used is said at the start.
    for (wrong, words) in [
        (TlsConfig { ca: text("none.pem"), ..tls.clone() }, "none.pem"),
        (TlsConfig { ca: text("key.pem"), ..tls.clone() }, "holds no certificate"),
        (TlsConfig { key: String::new(), ..tls.clone() }, "belong together"),
        (TlsConfig { key: text("ca.pem"), ..tls.clone() }, "ca.pem"),
        (TlsConfig { ca: String::new(), ..tls.clone() }, "export.tls.ca vouches for"),
    ] {
        let config = ExportConfig { tls: wrong, ..config("tls://127.0.0.1:1".into()) };
        let error = start(&config, context(Pace::Live)).unwrap_err().to_string();
        assert!(error.starts_with("export.tls: ") && error.contains(words), "{error}");
    }
}
