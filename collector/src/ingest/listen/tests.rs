//! The listeners over real sockets.

use super::tcp::BUFFER_BYTES;
use super::*;
use crate::ingest::testing::Exporting;
use crate::ingest::testing::record;
use std::io::{Read as _, Write as _};
use std::sync::atomic::Ordering;
use std::time::Instant;

mod secured;

struct Fixture {
    listeners: Listeners,
    counters: Arc<IngestCounters>,
    batches: mpsc::Receiver<Batch>,
}

fn start(adjust: impl FnOnce(&mut IngestConfig)) -> Fixture {
    start_with(None, adjust)
}

fn start_with(authority: Option<&Authority>, adjust: impl FnOnce(&mut IngestConfig)) -> Fixture {
    let mut config = IngestConfig {
        ipfix_tcp: vec!["127.0.0.1:0".into()],
        ipfix_udp: vec!["127.0.0.1:0".into()],
        ipfix_tls: vec!["127.0.0.1:0".into()],
        udp_buffer_kib: 128,
        ..IngestConfig::default()
    };
    adjust(&mut config);
    let counters = Arc::new(IngestCounters::default());
    let (sender, batches) = mpsc::channel(config.queue_batches_max as usize);
    let listeners = Listeners::start(&config, authority, counters.clone(), sender, None).unwrap();
    Fixture { listeners, counters, batches }
}

impl Fixture {
    /// Stops the listeners and gives every record that came.
    fn records(mut self) -> Vec<weir_common::record::FlowRecord> {
        let stopper = std::thread::spawn(move || self.listeners.stop());
        let mut records = Vec::new();
        while let Some(batch) = self.batches.blocking_recv() {
            records.extend(batch.records);
        }
        stopper.join().unwrap();
        records
    }

    fn tcp(&self) -> std::net::TcpStream {
        std::net::TcpStream::connect(self.listeners.tcp[0]).unwrap()
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_has_arrived_over_tcp_when_the_listeners_stop_is_taken() {
    let t = start(|_| {});
    let mut exporting = Exporting::new(1);
    let mut bytes = exporting.templates();
    for number in 0..5000 {
        bytes.extend(exporting.records(&[record(number)]));
    }
    let mut stream = t.tcp();
    stream.write_all(&bytes).unwrap();
    let records = t.records();
    assert_eq!(records.len(), 5000);
    assert!(records.iter().enumerate().all(|(number, have)| *have == record(number as u64)), "in order");
}

#[test]
fn messages_in_pieces_are_put_together_and_a_cut_one_is_counted() {
    let t = start(|_| {});
    let mut exporting = Exporting::new(1);
    let mut bytes = [exporting.templates(), exporting.records(&[record(1)])].concat();
    bytes.extend(&exporting.records(&[record(2)])[..40]);
    let mut stream = t.tcp();
    stream.set_nodelay(true).unwrap();
    for piece in bytes.chunks(97) {
        stream.write_all(piece).unwrap();
    }
    drop(stream);
    until("the session's end", || t.counters.sessions_cut.load(Ordering::Relaxed) == 1);
    assert_eq!(t.counters.exporters()[0].malformed, 1);
    assert_eq!(t.counters.sessions_open.load(Ordering::Relaxed), 0);
    assert_eq!(t.records(), [record(1)]);
}

#[test]
fn the_largest_message_fits_the_buffer() {
    const RECORDS: u64 = 250;
    let t = start(|_| {});
    let mut exporting = Exporting::new(1);
    let many: Vec<_> = (0..RECORDS).map(record).collect();
    let large = exporting.records(&many);
    assert!(large.len() > BUFFER_BYTES);
    let mut stream = t.tcp();
    stream.write_all(&exporting.templates()).unwrap();
    stream.write_all(&large).unwrap();
    // A message of the greatest length that the header can say, of one unknown set.
    let mut greatest = vec![0, 10, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xfa, 0, 0xff, 0xef];
    greatest.resize(usize::from(u16::MAX), 0);
    stream.write_all(&greatest).unwrap();
    stream.write_all(&exporting.records(&[record(9)])).unwrap();
    let counters = t.counters.clone();
    let records = t.records();
    assert_eq!(records.len() as u64, RECORDS + 1);
    assert_eq!(counters.exporters()[1].unknown_templates, 1);
}

#[test]
fn a_stream_that_is_not_ipfix_is_closed_after_what_was_good() {
    let t = start(|_| {});
    let mut exporting = Exporting::new(1);
    let mut stream = t.tcp();
    stream.write_all(&exporting.templates()).unwrap();
    stream.write_all(&exporting.records(&[record(1)])).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // Closed with bytes unread, the kernel may say reset instead of end.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    let status = &t.counters.exporters()[0];
    assert_eq!((status.records, status.malformed), (1, 1));
    assert!(status.last_fault.contains("version"), "{}", status.last_fault);
    assert_eq!(t.records().len(), 1);
}

#[test]
fn sessions_past_the_limit_and_silent_ones_are_closed_and_counted() {
    let t = start(|config| {
        config.sessions_max = 1;
        config.session_idle_s = 1;
    });
    let mut first = t.tcp();
    until("the first session", || t.counters.sessions_open.load(Ordering::Relaxed) == 1);
    let mut second = t.tcp();
    assert_eq!(second.read(&mut [0]).unwrap_or(0), 0, "refused");
    assert_eq!(t.counters.sessions_refused_full.load(Ordering::Relaxed), 1);
    assert_eq!(first.read(&mut [0]).unwrap_or(0), 0, "closed when silent");
    assert_eq!(t.counters.sessions_idle.load(Ordering::Relaxed), 1);
}

#[test]
fn admission_is_the_machine_itself_and_what_the_configuration_names() {
    let config = IngestConfig { admit: vec!["192.0.2.0/24".into()], ..IngestConfig::default() };
    let admission = Admission::new(&config).unwrap();
    for (address, admitted) in [
        ("127.0.0.9", true),
        ("::1", true),
        ("192.0.2.255", true),
        ("192.0.3.0", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(admission.admits(address.parse().unwrap()), admitted, "{address}");
    }
    let wrong = IngestConfig { admit: vec!["everyone".into()], ..IngestConfig::default() };
    assert!(Admission::new(&wrong).err().unwrap().to_string().contains("ingest.admit"));
}

#[test]
fn every_wrong_address_is_named_without_opening_one() {
    let addresses = ["127.0.0.1:4739", "[::]:0", "localhost:1", ":4739", "127.0.0.1", "0.0.0.0:65536"];
    let config = IngestConfig {
        ipfix_tcp: addresses.map(str::to_owned).into(),
        admit: vec!["everyone".into()],
        ..IngestConfig::default()
    };
    let told: Vec<String> = check(&config).iter().map(ToString::to_string).collect();
    for (problem, part) in told.iter().zip([
        "ingest.admit: `everyone`",
        "ingest.ipfix_tcp: `:4739` is not an address",
        "ingest.ipfix_tcp: `127.0.0.1` is not",
        "ingest.ipfix_tcp: `0.0.0.0:65536` is not",
    ]) {
        assert!(problem.starts_with(part), "{problem}");
    }
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(Listeners::start(&config, None, Default::default(), mpsc::channel(1).0, None).is_err());
}

#[test]
fn what_has_arrived_over_udp_when_the_listeners_stop_is_taken() {
    let t = start(|config| config.udp_buffer_kib = 4096);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut exporting = Exporting::new(1);
    let to = t.listeners.udp[0];
    // Data before templates is counted; a datagram of nonsense costs only itself.
    socket.send_to(&exporting.records(&[record(0)]), to).unwrap();
    socket.send_to(&exporting.templates(), to).unwrap();
    socket.send_to(b"nonsense", to).unwrap();
    socket.send_to(b"", to).unwrap();
    for number in 0..500 {
        socket.send_to(&exporting.records(&[record(number)]), to).unwrap();
    }
    let counters = t.counters.clone();
    let records = t.records();
    assert_eq!(records.len(), 500);
    let exporters = counters.exporters();
    assert_eq!(exporters.iter().map(|exporter| exporter.unknown_templates).sum::<u64>(), 1);
    assert_eq!(exporters.iter().map(|exporter| exporter.malformed).sum::<u64>(), 2);
    assert_eq!(exporters.iter().map(|exporter| exporter.missing).sum::<u64>(), 0);
}

#[test]
fn a_full_queue_makes_the_exporter_wait_and_loses_nothing() {
    let mut t = start(|config| config.queue_batches_max = 1);
    let mut exporting = Exporting::new(1);
    let mut stream = t.tcp();
    let writer = std::thread::spawn(move || {
        stream.write_all(&exporting.templates()).unwrap();
        for _ in 0..200 {
            let many: Vec<_> = (0..200).map(record).collect();
            stream.write_all(&exporting.records(&many)).unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    let mut records = 0;
    while records < 40_000 {
        records += t.batches.blocking_recv().unwrap().records.len();
    }
    writer.join().unwrap();
    assert_eq!(t.counters.exporters()[0].missing, 0);
    assert_eq!(records + t.records().len(), 40_000);
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let t = start(|_| {});
    let taken = t.listeners.tcp[0].to_string();
    let config =
        IngestConfig { ipfix_tcp: vec![taken.clone()], ipfix_udp: vec![], ..IngestConfig::default() };
    let (sender, _receiver) = mpsc::channel(1);
    let error = Listeners::start(&config, None, t.counters.clone(), sender, None).err().unwrap().to_string();
    assert!(error.contains(&taken) && error.contains("ingest.ipfix_tcp"), "{error}");
}
