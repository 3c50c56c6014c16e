//! Batches in, what stands at the destinations out.

mod collectors;
mod lines;
mod secured;

use super::config::{Acknowledge, ExportConfig};
use super::eve::EveLines;
use super::{
    Acknowledged, Batch, Context, DestinationState, Exporting, FlowEvent, Pace, Target, packet_source, start,
};
use crate::counters::{Published, WorkerCounters};
use crate::dpi::Event;
use expect_test::{Expect, expect};
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use weir_common::app::App;
use weir_common::delivery::Position;
use weir_common::evidence::Evidence;
use weir_common::features::{ConnectionState, DirectionFeatures, Features, History, PacketBrief, TcpTrouble};
use weir_common::ipfix::decode::{Decoder, Limits, OptionsRecord, Sink, Summary};
use weir_common::ipfix::file::MessageReader;
use weir_common::ipfix::options::Place;
use weir_common::metadata::{Field, Metadata, WEIR_PEN};
use weir_common::net::{CommunityId, Direction, FlowKey};
use weir_common::record::{DirectionStats, EndReason, FlowRecord, FlowState, SignatureAlert};
use weir_common::record_line;
use weir_common::time::Timestamp;

const BEGIN_S: u64 = 1_700_000_000;

/// The `number`th flow: HTTPS with metadata for even numbers, without for odd ones.
fn flow(number: u64) -> FlowRecord {
    let key = FlowKey {
        initiator: "192.0.2.1".parse().unwrap(),
        responder: "198.51.100.2".parse().unwrap(),
        initiator_port: 1024 + (number % 60_000) as u16,
        responder_port: 443,
        protocol: 6,
    };
    let metadata = number.is_multiple_of(2).then(|| {
        let mut metadata = Metadata::default();
        metadata.set_text(Field::TlsServerName, "example.org");
        metadata.set_text(Field::TlsVersion, "TLS 1.3");
        metadata.set_text(Field::TlsAlpn, "h2,http/1.1");
        Box::new(metadata)
    });
    FlowRecord {
        key,
        flow_id: number,
        community_id: CommunityId::of(&key, None, 0),
        start: Timestamp::from_parts(BEGIN_S + number / 100, 123_456_789),
        end: Timestamp::from_parts(BEGIN_S + number / 100 + 2, 1_000),
        forward: DirectionStats {
            packets: 5,
            octets: 500,
            frame_octets: 0,
            tcp_flags: 0x1b,
            ttl_min: 64,
            ttl_max: 64,
            tos: 0,
        },
        reverse: DirectionStats {
            packets: 4,
            octets: 4000,
            frame_octets: 0,
            tcp_flags: 0x12,
            ttl_min: 50,
            ttl_max: 51,
            tos: 0,
        },
        icmp: None,
        vlans: [0, 0],
        interface: 0,
        end_reason: EndReason::ForcedEnd,
        state: FlowState::Established,
        app: App::Tls,
        metadata,
        tunnel: None,
        at_shutdown: false,
        signatures: None,
        evidence: None,
        features: Features::default(),
    }
}

fn flow_in_ring() -> FlowRecord {
    let evidence = Evidence {
        extents: "~3.0:120-122,140".parse().unwrap(),
        frames_kept: 7,
        frames_missed: 2,
        expires: Some(Timestamp::from_parts(BEGIN_S + 86_400, 0)),
    };
    FlowRecord { evidence: Some(Box::new(evidence)), ..flow(0) }
}

fn context(pace: Pace) -> Context {
    Context {
        sensor_name: "tap-1".into(),
        interfaces: Vec::new(),
        workers: vec![Published::default()],
        identity: PathBuf::new(),
        pace,
        acknowledgements: None,
    }
}

fn config(destination: String) -> ExportConfig {
    ExportConfig { destinations: vec![destination], spool_bytes_max: 0, ..ExportConfig::default() }
}

fn send(exporting: &Exporting, numbers: std::ops::Range<u64>) {
    let records = numbers.map(flow).collect();
    exporting.sender().send(Batch { records, ..Batch::default() }).unwrap();
}

/// Decodes a stream of messages; every message must be without fault and in sequence.
fn decode(bytes: &[u8]) -> (Vec<FlowRecord>, Vec<Summary>, Option<String>) {
    let mut decoder = Decoder::new(Limits::default(), WEIR_PEN);
    let mut reader = MessageReader::new(bytes);
    let (mut records, mut summaries) = (Vec::new(), Vec::new());
    while let Some(Ok(message)) = reader.next_message() {
        let summary = decoder.message(message, &mut records).unwrap();
        assert_eq!(
            (summary.fault, summary.unknown_sets, summary.missing, summary.out_of_order),
            (None, 0, 0, false)
        );
        summaries.push(summary);
    }
    (records, summaries, decoder.name(1).map(str::to_owned))
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_replay_to_a_file_gives_every_record_and_the_same_bytes_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, pause: Duration| {
        let path = directory.path().join(name);
        let exporting = start(&config(format!("file:{}", path.display())), context(Pace::Replay)).unwrap();
        // A pause makes ticks fall between the batches, which must not show.
        std::thread::sleep(pause);
        send(&exporting, 0..1000);
        std::thread::sleep(pause);
        send(&exporting, 1000..1500);
        let status = exporting.join();
        assert_eq!((status.destinations[0].records, status.lost()), (1500, 0));
        std::fs::read(path).unwrap()
    };
    let bytes = run("a", Duration::ZERO);
    let (records, summaries, name) = decode(&bytes);
    assert_eq!(records, (0..1500).map(flow).collect::<Vec<_>>());
    assert_eq!(name.as_deref(), Some("tap-1"));
    assert!(summaries.is_sorted_by_key(|summary| summary.export_time_s));
    assert!(bytes == run("b", Duration::from_millis(300)), "the bytes depend on when batches came");
}

#[test]
fn a_replay_without_packets_leaves_an_empty_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty.ipfix");
    let exporting = start(&config(format!("file:{}", path.display())), context(Pace::Replay)).unwrap();
    assert_eq!(exporting.join().lost(), 0);
    assert!(std::fs::read(path).unwrap().is_empty());
}

#[test]
fn udp_datagrams_keep_their_limit_and_repeat_their_templates() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let config = ExportConfig {
        udp_template_refresh_s: 3,
        ..config(format!("udp://{}", socket.local_addr().unwrap()))
    };
    let exporting = start(&config, context(Pace::Replay)).unwrap();
    let mut bytes = Vec::new();
    let mut datagrams = 0;
    let mut buffer = [0; 65_535];
    // In steps, so that the receive buffer holds everything.
    for step in 0..10 {
        send(&exporting, step * 100..(step + 1) * 100);
        wait_for("export", || exporting.status().destinations[0].records >= step * 100 + 80);
        socket.set_nonblocking(step < 9).unwrap();
        while let Ok(length) = socket.recv(&mut buffer) {
            assert!(length <= 1400);
            bytes.extend_from_slice(&buffer[..length]);
            datagrams += 1;
        }
    }
    assert_eq!(exporting.join().destinations[0].records, 1000);
    while let Ok(length) = socket.recv(&mut buffer) {
        bytes.extend_from_slice(&buffer[..length]);
    }
    let (records, summaries, _) = decode(&bytes);
    assert_eq!(records.len(), 1000);
    assert!(datagrams > 100);
    // 12 s of records: the templates at the beginning and at least twice more.
    let templates: u32 = summaries.iter().map(|summary| summary.templates).sum();
    assert!(templates >= 3 * 8, "{templates}");
}

#[test]
fn nobody_listening_on_udp_is_said_and_counted() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let exporting = start(&config(format!("udp://127.0.0.1:{port}")), context(Pace::Replay)).unwrap();
    send(&exporting, 0..1000);
    let status = exporting.join();
    let destination = &status.destinations[0];
    assert_eq!(destination.state, DestinationState::Failing);
    assert!(destination.records_dropped > 300, "{destination:?}");
    assert!(destination.last_error.as_deref().unwrap().contains("refused"));
}

#[test]
fn a_collector_that_goes_and_comes_back_gets_a_new_session_with_templates() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let exporting = start(&config(format!("tcp://{address}")), context(Pace::Live)).unwrap();
    let (mut first, _) = listener.accept().unwrap();
    send(&exporting, 0..100);
    wait_for("sending", || exporting.status().destinations[0].records == 100);
    first.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut bytes = Vec::new();
    let _ = first.read_to_end(&mut bytes);
    assert_eq!(decode(&bytes).0.len(), 100);
    drop((first, listener));
    wait_for("noticing", || exporting.status().destinations[0].state == DestinationState::Failing);
    send(&exporting, 100..400);
    let listener = TcpListener::bind(address).unwrap();
    let (mut second, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        second.read_to_end(&mut bytes).unwrap();
        bytes
    });
    wait_for("recovery", || exporting.status().destinations[0].state == DestinationState::Connected);
    let status = exporting.join();
    let (records, summaries, name) = decode(&reader.join().unwrap());
    assert_eq!(records, (100..400).map(flow).collect::<Vec<_>>());
    assert_eq!((summaries[0].sequence, name.as_deref()), (0, Some("tap-1")));
    assert_eq!((status.destinations[0].sessions, status.lost()), (2, 0));
}

#[test]
fn a_backlog_drops_the_oldest_and_counts_them() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = ExportConfig { backlog_bytes_max: 100_000, ..config(format!("tcp://127.0.0.1:{port}")) };
    let exporting = start(&config, context(Pace::Live)).unwrap();
    for step in 0..20 {
        send(&exporting, step * 100..(step + 1) * 100);
    }
    wait_for("dropping", || exporting.status().destinations[0].records_dropped > 0);
    wait_for("taking", || exporting.sender().is_empty());
    let status = exporting.status();
    assert!(status.destinations[0].backlog_bytes <= 100_000);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let status = exporting.join();
    let (records, _, _) = decode(&reader.join().unwrap());
    assert_eq!(records.len() as u64 + status.lost(), 2000);
    // What is left are the latest, in order.
    assert_eq!(records, (2000 - records.len() as u64..2000).map(flow).collect::<Vec<_>>());
}

#[test]
fn a_replay_waits_for_a_slow_collector_and_loses_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = ExportConfig {
        backlog_bytes_max: 200_000,
        ..config(format!("tcp://{}", listener.local_addr().unwrap()))
    };
    let exporting = start(&config, context(Pace::Replay)).unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 64 << 10];
        let mut all = Vec::new();
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            all.extend_from_slice(&bytes[..count]);
            std::thread::sleep(Duration::from_micros(300));
        }
        all
    });
    for step in 0..100 {
        send(&exporting, step * 1000..(step + 1) * 1000);
    }
    assert_eq!(exporting.join().lost(), 0);
    assert_eq!(decode(&reader.join().unwrap()).0.len(), 100_000);
}

#[test]
fn a_collector_that_never_comes_costs_its_records_and_does_not_hang_the_end() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let begin = Instant::now();
    let exporting = start(&config(format!("tcp://127.0.0.1:{port}")), context(Pace::Replay)).unwrap();
    send(&exporting, 0..10);
    let status = exporting.join();
    assert_eq!((status.destinations[0].state, status.lost()), (DestinationState::Failing, 10));
    assert!(begin.elapsed() < Duration::from_secs(15));
}

#[test]
fn alerts_that_a_collector_never_got_are_lost() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let exporting = start(&config(format!("tcp://127.0.0.1:{port}")), context(Pace::Replay)).unwrap();
    let record = flow(1);
    let alert = SignatureAlert {
        time: record.start,
        flow_start: record.start,
        key: record.key,
        flow_id: 1,
        community_id: record.community_id,
        direction: Direction::Forward,
        app: App::Tls,
        generator: 1,
        signature: 7,
        revision: 1,
        severity: 3,
        target: None,
        message: "a".into(),
        category: "b".into(),
        evidence: None,
    };
    exporting.sender().send(Batch { alerts: vec![alert; 3], ..Batch::default() }).unwrap();
    let status = exporting.join();
    assert_eq!((status.destinations[0].alerts_dropped, status.lost()), (3, 3));
}

#[test]
fn a_full_disk_is_counted_and_the_other_destinations_go_on() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("good.ipfix");
    let config = ExportConfig {
        destinations: vec!["file:/dev/full".into(), format!("file:{}", good.display())],
        eve: "/dev/full".into(),
        records: directory.path().join("records.json").display().to_string(),
        ..ExportConfig::default()
    };
    let exporting = start(&config, context(Pace::Live)).unwrap();
    send(&exporting, 0..1000);
    let status = exporting.join();
    let lost = status.destinations.iter().map(|destination| destination.records_dropped).collect::<Vec<_>>();
    assert_eq!(lost, [1000, 0]);
    let eve = status.eve.unwrap();
    assert!(eve.failing && eve.lines == 0 && eve.lines_dropped >= 1000, "{eve:?}");
    assert_eq!(decode(&std::fs::read(good).unwrap()).0.len(), 1000);
    let lines = std::fs::read_to_string(&config.records).unwrap();
    assert_eq!((lines.lines().count(), status.records.unwrap().lines), (1000, 1000));
}

#[test]
fn devices_take_everything() {
    let config = ExportConfig {
        destinations: vec!["file:/dev/null".into()],
        eve: "/dev/null".into(),
        records: "/dev/null".into(),
        ..ExportConfig::default()
    };
    let exporting = start(&config, context(Pace::Replay)).unwrap();
    send(&exporting, 0..5000);
    let status = exporting.join();
    assert_eq!((status.lost(), status.destinations[0].records), (0, 5000));
    assert_eq!(status.eve.unwrap().lines, 5001);
}

#[test]
fn a_destination_is_read_or_refused_with_what_was_expected() {
    let tcp = |host: &str, port| Target::Tcp { host: host.into(), port };
    let tls = |host: &str, port| Target::Tls { host: host.into(), port };
    for (url, want) in [
        ("tcp://collector.example:4739", tcp("collector.example", 4739)),
        ("tcp://[2001:db8::1]:4739/", tcp("2001:db8::1", 4739)),
        ("tls://collector.example", tls("collector.example", 4740)),
        ("tls://collector.example/", tls("collector.example", 4740)),
        ("tls://collector.example:4743", tls("collector.example", 4743)),
        ("tls://[2001:db8::1]", tls("2001:db8::1", 4740)),
        ("tls://[2001:db8::1]:1/", tls("2001:db8::1", 1)),
        ("udp://192.0.2.1:9995", Target::Udp { host: "192.0.2.1".into(), port: 9995 }),
        ("file:flows.ipfix", Target::File("flows.ipfix".into())),
        ("file:/var/x", Target::File("/var/x".into())),
        ("file:///var/x", Target::File("/var/x".into())),
    ] {
        assert_eq!(Target::parse(url).unwrap(), want, "{url}");
    }
    for (url, want) in [
        ("", "expected tls://HOST[:PORT], tcp://HOST:PORT, udp://HOST:PORT or file:PATH"),
        ("collector:4739", "expected tls://HOST[:PORT], tcp://HOST:PORT, udp://HOST:PORT or file:PATH"),
        ("sctp://h:1", "expected tls://HOST[:PORT], tcp://HOST:PORT, udp://HOST:PORT or file:PATH"),
        ("tcp://h", "expected tcp://HOST:PORT with a port from 1 to 65535"),
        ("tcp://h:0", "expected tcp://HOST:PORT with a port from 1 to 65535"),
        ("tcp://:4739", "expected tcp://HOST:PORT with a port from 1 to 65535"),
        ("tcp://2001:db8::1:4739", "expected tcp://HOST:PORT with a port from 1 to 65535"),
        ("udp://h:65536", "expected udp://HOST:PORT with a port from 1 to 65535"),
        ("file:", "expected file:PATH"),
        ("file://host/x", "expected file:PATH"),
        ("tls://", "expected tls://HOST or tls://HOST:PORT with a port from 1 to 65535"),
        ("tls://h:0", "expected tls://HOST or tls://HOST:PORT"),
        ("tls://2001:db8::1", "expected tls://HOST or tls://HOST:PORT"),
    ] {
        let error = Target::parse(url).unwrap_err().to_string();
        assert!(error.contains(want) && error.contains(url), "{error}");
    }
}

#[test]
fn settings_and_paths_that_cannot_work_are_refused_at_start() {
    let refuse = |config: ExportConfig| start(&config, context(Pace::Replay)).unwrap_err().to_string();
    let base = ExportConfig::default;
    let error = refuse(ExportConfig { enterprise_number: 29_305, ..base() });
    assert!(error.starts_with("export.enterprise_number is 29305, expected"), "{error}");
    let error = refuse(ExportConfig { udp_message_bytes_max: 511, ..base() });
    assert_eq!(error, "export.udp_message_bytes_max is 511, expected at least 512");
    let error = refuse(ExportConfig { eve: "/nonexistent/eve.json".into(), ..base() });
    assert!(error.starts_with("cannot write /nonexistent/eve.json: "), "{error}");
    let error = refuse(config("file:/nonexistent/x".into()));
    assert!(error.starts_with("cannot write /nonexistent/x: "), "{error}");
}

/// Settings with a spool.
fn spooled(directory: &Path, port: u16) -> ExportConfig {
    ExportConfig {
        destinations: vec![format!("tcp://127.0.0.1:{port}")],
        spool_directory: directory.to_str().unwrap().into(),
        ..ExportConfig::default()
    }
}

/// The flow records of a connection and their numbers, read until `until` says that it is enough. The connection ends
/// then; what was taken by TCP and not read is lost.
fn collect(listener: &TcpListener, until: impl Fn(&Collected) -> bool) -> Collected {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut collected = Collected::default();
    let mut decoder = Decoder::new(Limits::default(), WEIR_PEN);
    let mut header = [0; 16];
    while !until(&collected) {
        stream.read_exact(&mut header).unwrap();
        let mut message = header.to_vec();
        message.resize(usize::from(u16::from_be_bytes([header[2], header[3]])), 0);
        stream.read_exact(&mut message[16..]).unwrap();
        let summary = decoder.message(&message, &mut collected).unwrap();
        assert_eq!((summary.fault, summary.unknown_sets, summary.missing), (None, 0, 0));
    }
    collected
}

#[derive(Default)]
struct Collected {
    flows: Vec<u64>,
    places: Vec<Place>,
}

impl Sink for Collected {
    fn flow(&mut self, record: FlowRecord) {
        self.flows.push(record.flow_id);
    }

    fn options(&mut self, options: &OptionsRecord<'_>) {
        self.places.extend(Place::read(options));
    }
}

fn spool_of(exporting: &Exporting) -> super::SpoolStatus {
    exporting.status().destinations[0].spool.clone().unwrap()
}

#[test]
fn what_no_collector_took_is_sent_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = spooled(directory.path(), port);
    let nobody = ExportConfig { destinations: config.destinations.clone(), ..config.clone() };
    drop(listener);
    let exporting = start(&nobody, context(Pace::Live)).unwrap();
    send(&exporting, 0..100);
    let status = exporting.join();
    let destination = &status.destinations[0];
    assert_eq!((destination.records_dropped, status.lost()), (0, 0));
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let exporting = start(&config, context(Pace::Live)).unwrap();
    let collected = collect(&listener, |collected| collected.flows.len() == 100);
    assert_eq!(collected.flows, (0..100).collect::<Vec<_>>());
    wait_for("TCP's acknowledgement", || spool_of(&exporting).records == 0);
    exporting.join();
}

#[test]
fn a_collector_that_acknowledges_gets_everything_again_until_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = ExportConfig {
        acknowledge: Acknowledge::Always,
        ..spooled(directory.path(), listener.local_addr().unwrap().port())
    };
    let (acknowledge, acknowledgements) = crossbeam::channel::bounded(8);
    let context = Context { acknowledgements: Some(acknowledgements), ..context(Pace::Live) };
    let exporting = start(&config, context).unwrap();
    send(&exporting, 0..50);
    let first = collect(&listener, |collected| collected.flows.len() == 50);
    let Place { first: Position { epoch, .. }, .. } = first.places[0];
    let say = |epoch, sequence| {
        acknowledge.send(Acknowledged { destination: None, position: Position { epoch, sequence } }).unwrap();
    };
    say(epoch, 20);
    wait_for("the acknowledgement", || spool_of(&exporting).acknowledged == 20);
    // More than was sent, of an epoch that is none, and back.
    for (epoch, sequence) in [(epoch, 51), (epoch ^ 1, 20), (epoch, 19)] {
        say(epoch, sequence);
    }
    wait_for("refusals", || spool_of(&exporting).acknowledgements_refused == 3);
    let second = collect(&listener, |collected| collected.flows.last() == Some(&49));
    assert!(second.flows.contains(&20) && second.flows.len() <= 50);
    assert_eq!(second.places[0].range(), 0..20, "what was acknowledged will not come");
    say(epoch, 50);
    wait_for("everything", || spool_of(&exporting).records == 0);
    send(&exporting, 50..60);
    let third = collect(&listener, |collected| collected.flows.len() == 10);
    assert_eq!(third.flows, (50..60).collect::<Vec<_>>());
    exporting.join();
}

#[test]
fn live_records_do_not_wait_behind_what_is_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = ExportConfig { queue_batches_max: 4, ..spooled(directory.path(), port) };
    let exporting = start(&config, context(Pace::Live)).unwrap();
    let waiting = 200_000;
    for begin in (0..waiting).step_by(1000) {
        send(&exporting, begin..begin + 1000);
    }
    exporting.join();
    let exporting = start(&config, context(Pace::Live)).unwrap();
    assert!(spool_of(&exporting).bytes > 32 << 20, "{:?}", spool_of(&exporting));
    send(&exporting, 1 << 40..(1 << 40) + 1);
    wait_for("the live record's message", || spool_of(&exporting).records == waiting + 1);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let collected = collect(&listener, |collected| collected.flows.len() as u64 == waiting + 1);
    assert_eq!(collected.flows[0], 1 << 40, "what was made just now goes first");
    let mut flows = collected.flows;
    flows.sort_unstable();
    assert!(flows.iter().copied().eq((0..waiting).chain([1 << 40])));
    exporting.join();
}

#[test]
fn what_a_sensor_of_another_form_wrote_is_sent_first_with_its_own_templates() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    // Another observation domain is another form, as other templates would be.
    let old = ExportConfig { observation_domain: 7, ..spooled(directory.path(), port) };
    let exporting = start(&old, context(Pace::Live)).unwrap();
    send(&exporting, 0..100);
    exporting.join();
    let exporting = start(&spooled(directory.path(), port), context(Pace::Live)).unwrap();
    send(&exporting, 100..200);
    wait_for("the new records", || spool_of(&exporting).records == 200);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let first = collect(&listener, |collected| collected.flows.len() == 100);
    assert_eq!(first.flows, (0..100).collect::<Vec<_>>());
    let second = collect(&listener, |collected| collected.flows.len() == 100);
    assert_eq!(second.flows, (100..200).collect::<Vec<_>>());
    wait_for("TCP's acknowledgement", || spool_of(&exporting).records == 0);
    exporting.join();
}
