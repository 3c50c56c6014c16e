//! What one flow record costs at export: IPFIX into a file, over TCP and over TLS, a line of EVE, a record line.
//!
//! Over TCP and TLS a thread throws away what comes and decrypts nothing, so that the export thread is what is waited
//! for; each sample has a connection of its own, and over TLS a handshake, about a millisecond for all its records.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::PrivateKeyDer;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_common::app::App;
use weir_common::features::Features;
use weir_common::net::{Address, CommunityId, FlowKey};
use weir_common::record::{DirectionStats, EndReason, FlowRecord, FlowState};
use weir_common::time::Timestamp;
use weir_sensor::counters::Published;
use weir_sensor::export::config::{ExportConfig, TlsConfig};
use weir_sensor::export::{Batch, Context, Pace, start};

const BATCHES: u64 = 200;
const BATCH_RECORDS: u64 = 500;

fn record(number: u64) -> FlowRecord {
    let [.., a, b, c] = number.to_be_bytes();
    let start = 1_700_000_000_000_000_000 + number * 1_234_567;
    FlowRecord {
        key: FlowKey {
            initiator: Address::v4([10, a, b, c]),
            responder: Address::v4([192, 0, 2, c]),
            initiator_port: number as u16,
            responder_port: 443,
            protocol: 6,
        },
        flow_id: number,
        community_id: CommunityId([c; 20]),
        start: Timestamp(start),
        end: Timestamp(start + 1_000_000_000),
        forward: DirectionStats {
            packets: 10,
            octets: 1500,
            frame_octets: 1640,
            tcp_flags: 0x1b,
            ttl_min: 64,
            ttl_max: 64,
            tos: 0,
        },
        reverse: DirectionStats {
            packets: 12,
            octets: 9000,
            frame_octets: 9140,
            tcp_flags: 0x1b,
            ttl_min: 57,
            ttl_max: 57,
            tos: 0,
        },
        icmp: None,
        vlans: [0, 0],
        interface: 0,
        end_reason: EndReason::EndOfFlow,
        state: FlowState::Closed,
        app: App::Unknown,
        metadata: None,
        tunnel: None,
        at_shutdown: false,
        signatures: None,
        evidence: None,
        features: Features::default(),
    }
}

fn batch(number: u64) -> Batch {
    let first = number * BATCH_RECORDS;
    Batch { records: (first..first + BATCH_RECORDS).map(record).collect(), ..Batch::default() }
}

/// Takes connections and throws away what comes; within TLS, after the handshake.
fn sink(tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("and the listener its address");
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let tls = tls.clone();
            std::thread::spawn(move || discard(socket, tls));
        }
    });
    address
}

fn discard(mut socket: TcpStream, tls: Option<Arc<ServerConfig>>) {
    if let Some(tls) = tls {
        let mut connection = ServerConnection::new(tls).expect("a configuration that is whole");
        while connection.is_handshaking() || connection.wants_write() {
            if connection.complete_io(&mut socket).is_err() {
                return;
            }
        }
    }
    let mut room = vec![0; 256 << 10];
    while matches!(socket.read(&mut room), Ok(1..)) {}
}

/// An authority in a file, and a server of it for 127.0.0.1.
fn server(directory: &Path) -> (Arc<ServerConfig>, TlsConfig) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    let chain = vec![params.signed_by(&key, &authority).expect("a certificate").der().clone()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).expect("a key in PKCS #8"))
        .expect("a certificate with its key");
    let ca = directory.join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("a file in a directory of our own");
    (Arc::new(config), TlsConfig { ca: ca.display().to_string(), ..TlsConfig::default() })
}

fn export(criterion: &mut Criterion) {
    let null = || "/dev/null".to_owned();
    let base = || ExportConfig { queue_batches_max: BATCHES as u32, ..ExportConfig::default() };
    let directory = tempfile::tempdir().expect("a directory for an authority");
    let (config, tls) = server(directory.path());
    let (plain, secured) = (sink(None), sink(Some(config)));
    let mut group = criterion.benchmark_group("export");
    group.throughput(Throughput::Elements(BATCHES * BATCH_RECORDS)).sample_size(20);
    for (name, config) in [
        // What handing over and dropping the records costs, to subtract from the others.
        ("nothing", base()),
        ("ipfix", ExportConfig { destinations: vec!["file:/dev/null".into()], ..base() }),
        ("tcp", ExportConfig { destinations: vec![format!("tcp://{plain}")], ..base() }),
        ("tls", ExportConfig { destinations: vec![format!("tls://{secured}")], tls, ..base() }),
        ("eve", ExportConfig { eve: null(), ..base() }),
        ("records", ExportConfig { records: null(), ..base() }),
    ] {
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || (0..BATCHES).map(batch).collect::<Vec<_>>(),
                |batches| {
                    let context = Context {
                        sensor_name: "bench".into(),
                        interfaces: Vec::new(),
                        workers: vec![Published::default()],
                        identity: PathBuf::new(),
                        pace: Pace::Replay,
                        acknowledgements: None,
                    };
                    let exporting = start(&config, context).expect("outputs that always open");
                    let sender = exporting.sender();
                    for batch in batches {
                        sender.send(batch).expect("the thread runs until its senders are gone");
                    }
                    drop(sender);
                    exporting.join()
                },
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, export);
criterion_main!(benches);
