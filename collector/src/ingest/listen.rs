//! The listeners: IPFIX over TCP and UDP, on a runtime of their own.
//!
//! In: sockets. Out: batches into one bounded queue. A TCP session's task waits while the queue is full, so
//! that the exporter waits; the UDP task waits as well, and the kernel's buffer takes what comes meanwhile.
//! When told to stop, listeners take what has already arrived and end.

use super::config::IngestConfig;
use super::counters::{IngestCounters, add};
use super::session::Session;
use super::{BATCH_RECORDS, Batch, clock};
use crate::enrich::prefix::Networks;
use std::collections::HashMap;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use weir_common::ipfix::MESSAGE_HEADER_BYTES;
use weir_common::ipfix::decode::message_length;
use weir_common::net::Address;
use weir_common::time::Timestamp;

/// Threads of the runtime: one can decode while another waits for the kernel.
const THREADS: usize = 2;
/// Bytes that a TCP session's buffer begins with; it grows to hold one message of at most 65,535.
const BUFFER_BYTES: usize = 16 << 10;
/// Most bytes of a TCP session's buffer.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Most datagrams taken before their batches are handed on and other tasks get their turn.
const DATAGRAMS_PER_TURN: usize = 256;
/// Longest time that listeners take for what has already arrived when they are told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the listeners cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// An address cannot be listened on.
    #[error("ingest.{key}: cannot listen on {address}: {source}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// The address as configured.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// `admit` holds something that is not a network.
    #[error("ingest.admit: {0}")]
    Admit(String),
    /// Threads or signals are not to be had.
    #[error("ingest: {0}")]
    System(#[from] std::io::Error),
}

/// Who may send: the machine itself and the networks of `admit`.
pub struct Admission(Networks);

impl Admission {
    /// Reads the configured networks.
    pub fn new(config: &IngestConfig) -> Result<Admission, IngestError> {
        Networks::parse(&config.admit).map(Admission).map_err(IngestError::Admit)
    }

    fn admits(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.0.contains(Address::from(ip))
    }
}

struct Shared {
    config: IngestConfig,
    admission: Admission,
    counters: Arc<IngestCounters>,
    out: mpsc::Sender<Batch>,
    stop: watch::Receiver<bool>,
}

/// The running listeners.
pub struct Listeners {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    terminate: Signal,
    interrupt: Signal,
    /// What each TCP address became, in the order of the configuration.
    pub tcp: Vec<SocketAddr>,
    /// What each UDP address became.
    pub udp: Vec<SocketAddr>,
}

impl Listeners {
    /// Opens every configured address and begins.
    pub fn start(
        config: &IngestConfig,
        counters: Arc<IngestCounters>,
        out: mpsc::Sender<Batch>,
    ) -> Result<Listeners, IngestError> {
        let admission = Admission::new(config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("weir-ingest")
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        // Every task holds a sender; the receiver learns when the last one has ended.
        let (alive, ended) = mpsc::channel(1);
        let shared = Arc::new(Shared { config: config.clone(), admission, counters, out, stop: stopped });
        let guard = runtime.enter();
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for address in &config.ipfix_tcp {
            let failed = listen_failed("ipfix_tcp", address);
            let listener = tcp_listener(address).map_err(failed)?;
            tcp.push(listener.local_addr()?);
            tokio::spawn(accept(listener, shared.clone(), alive.clone()));
        }
        for address in &config.ipfix_udp {
            let failed = listen_failed("ipfix_udp", address);
            let socket = udp_socket(address, config.udp_buffer_kib).map_err(failed)?;
            udp.push(socket.local_addr()?);
            tokio::spawn(datagrams(socket, shared.clone(), alive.clone()));
        }
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(guard);
        Ok(Listeners { runtime, stop, ended, terminate, interrupt, tcp, udp })
    }

    /// Waits for SIGTERM or SIGINT, at most `period`; whether one came.
    pub fn wait(&mut self, period: Duration) -> bool {
        let (terminate, interrupt) = (&mut self.terminate, &mut self.interrupt);
        self.runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                () = tokio::time::sleep(period) => false,
            }
        })
    }

    /// Takes what has arrived and ends. The queue's receiver sees its end when this is done.
    pub fn stop(mut self) {
        // Without a receiver every task has ended already.
        let _ = self.stop.send(true);
        let ended = &mut self.ended;
        let _ = self.runtime.block_on(async { tokio::time::timeout(DRAIN_MAX, ended.recv()).await });
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

fn listen_failed(key: &'static str, address: &str) -> impl FnOnce(std::io::Error) -> IngestError {
    move |source| IngestError::Listen { key, address: address.to_owned(), source }
}

fn tcp_listener(address: &str) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn udp_socket(address: &str, buffer_kib: u32) -> std::io::Result<UdpSocket> {
    use nix::sys::socket::{getsockopt, setsockopt, sockopt};
    let socket = std::net::UdpSocket::bind(address)?;
    let wanted = (buffer_kib as usize).saturating_mul(1024);
    // The first takes a privilege and passes net.core.rmem_max; the second is cut to it without a word.
    if setsockopt(&socket, sockopt::RcvBufForce, &wanted).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &wanted)?;
    }
    // The kernel doubles what is asked, for its own bookkeeping.
    let granted = getsockopt(&socket, sockopt::RcvBuf)? / 2;
    if granted < wanted {
        tracing::warn!(
            "UDP {address}: the kernel grants a buffer of {} KiB of {buffer_kib}; raise net.core.rmem_max",
            granted / 1024
        );
    }
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, alive: mpsc::Sender<()>) {
    let mut stop = shared.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, &shared, &alive),
            Err(error) => {
                if shared.counters.accept_errors.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(
                        "a connection could not be accepted: {error}; further ones are only counted"
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Connections that the kernel had already taken bring what their exporter believes delivered. Asked
    // directly: the runtime may not have heard of them yet.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            admit(stream, peer, &shared, &alive);
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, alive: &mpsc::Sender<()>) {
    let counters = &shared.counters;
    let ip = peer.ip().to_canonical();
    if !shared.admission.admits(ip) {
        if counters.sessions_refused_address.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "{ip} is refused: no network of ingest.admit holds it; further ones are only counted"
            );
        }
        return;
    }
    if counters.sessions_open.load(Ordering::Relaxed) >= u64::from(shared.config.sessions_max) {
        if counters.sessions_refused_full.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("{ip} is refused: ingest.sessions_max are open; further ones are only counted");
        }
        return;
    }
    add(&counters.sessions, 1u64);
    add(&counters.sessions_open, 1u64);
    let (shared, alive) = (shared.clone(), alive.clone());
    tokio::spawn(async move {
        let session = Session::new(ip.to_string(), &shared.config, shared.counters.clone());
        TcpSession { session, shared: &shared, buffer: vec![0; BUFFER_BYTES], begin: 0, end: 0 }
            .run(stream)
            .await;
        shared.counters.sessions_open.fetch_sub(1, Ordering::Relaxed);
        drop(alive);
    });
}

struct TcpSession<'a> {
    session: Session,
    shared: &'a Shared,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are not decoded yet.
    begin: usize,
    end: usize,
}

/// That the session is over.
struct Over;

impl TcpSession<'_> {
    async fn run(&mut self, stream: TcpStream) {
        let idle = match self.shared.config.session_idle_s {
            0 => Duration::MAX,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        let mut stop = self.shared.stop.clone();
        loop {
            tokio::select! {
                ready = stream.readable() => {
                    if ready.is_err() || self.take_arrived(|room| stream.try_read(room)).await.is_err() {
                        break;
                    }
                }
                () = tokio::time::sleep(idle) => {
                    add(&self.shared.counters.sessions_idle, 1u64);
                    break;
                }
                _ = stop.changed() => {
                    // Asked directly: the runtime may not have heard of what has arrived yet.
                    if let Ok(mut stream) = stream.into_std() {
                        let _ = self.take_arrived(|room| stream.read(room)).await;
                    }
                    break;
                }
            }
        }
        if self.begin < self.end {
            add(&self.shared.counters.sessions_cut, 1u64);
            self.session
                .malformed(&format!("the session ended {} bytes into a message", self.end - self.begin));
        }
    }

    /// Reads and decodes until nothing more is there.
    async fn take_arrived(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> std::io::Result<usize>,
    ) -> Result<(), Over> {
        loop {
            let outcome = match self.buffer.get_mut(self.end..).map(&mut read) {
                Some(Ok(0)) => Err(Over),
                Some(Ok(read)) => {
                    self.end += read;
                    self.decode().await
                }
                Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return self.hand_on().await;
                }
                Some(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
                Some(Err(_)) | None => Err(Over),
            };
            if outcome.is_err() {
                // What was decoded before the fault is as good as ever.
                let _ = self.hand_on().await;
                return Err(Over);
            }
        }
    }

    /// Decodes the whole messages in the buffer and makes room for the next read.
    async fn decode(&mut self) -> Result<(), Over> {
        let now = clock();
        while let Some(rest) = self.buffer.get(self.begin..self.end)
            && rest.len() >= MESSAGE_HEADER_BYTES
        {
            let length = match message_length(rest) {
                Ok(length) => length,
                Err(fault) => {
                    // Without a length there is no next message in a stream.
                    self.session.malformed(&fault);
                    self.begin = self.end;
                    return Err(Over);
                }
            };
            let Some(message) = rest.get(..length) else {
                if length > self.buffer.len() {
                    self.buffer.resize(BUFFER_BYTES_MAX, 0);
                }
                break;
            };
            let closed = self.session.message(message, now);
            self.begin += length;
            send(self.shared, closed.unwrap_or_default()).await?;
            if self.session.pending() >= BATCH_RECORDS {
                self.hand_on().await?;
            }
        }
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        Ok(())
    }

    async fn hand_on(&mut self) -> Result<(), Over> {
        send(self.shared, self.session.take()).await
    }
}

struct UdpExporter {
    session: Session,
    /// The turn in which its last datagram came.
    used: u64,
}

async fn datagrams(socket: UdpSocket, shared: Arc<Shared>, alive: mpsc::Sender<()>) {
    let mut state = Datagrams {
        shared: &shared,
        exporters: HashMap::new(),
        buffer: vec![0; usize::from(u16::MAX)],
        turn: 0,
    };
    let mut stop = shared.stop.clone();
    loop {
        tokio::select! {
            ready = socket.readable() => {
                if let Err(error) = ready {
                    tracing::error!("a UDP socket failed and is closed: {error}");
                    break;
                }
                if state.take_turn(|room| socket.try_recv_from(room)).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            _ = stop.changed() => {
                // Asked directly: the runtime may not have heard of what has arrived yet.
                let Ok(socket) = socket.into_std() else { break };
                let begun = Instant::now();
                while begun.elapsed() < DRAIN_MAX && matches!(state.take_turn(|room| socket.recv_from(room)).await, Ok(true)) {}
                break;
            }
        }
    }
    drop(alive);
}

/// The exporters of one UDP socket.
struct Datagrams<'a> {
    shared: &'a Shared,
    exporters: HashMap<IpAddr, UdpExporter>,
    buffer: Vec<u8>,
    turn: u64,
}

impl Datagrams<'_> {
    /// Takes one turn's datagrams and hands their batches on; whether there may be more.
    async fn take_turn(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> std::io::Result<(usize, SocketAddr)>,
    ) -> Result<bool, Over> {
        let now = clock();
        self.turn += 1;
        let mut more = true;
        for _ in 0..DATAGRAMS_PER_TURN {
            match receive(&mut self.buffer) {
                Ok((length, peer)) => self.datagram(length, peer.ip().to_canonical(), now).await?,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    more = false;
                    break;
                }
                // An interruption, or an ICMP error of an earlier answer, which concerns nobody here.
                Err(_) => {}
            }
        }
        let turn = self.turn;
        for exporter in self.exporters.values_mut().filter(|exporter| exporter.used == turn) {
            send(self.shared, exporter.session.take()).await?;
        }
        Ok(more)
    }

    /// Decodes one datagram, which is in the buffer.
    async fn datagram(&mut self, length: usize, ip: IpAddr, now: Timestamp) -> Result<(), Over> {
        let shared = self.shared;
        if !shared.admission.admits(ip) {
            if shared.counters.datagrams_refused_address.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    "{ip} is refused: no network of ingest.admit holds it; further ones are only counted"
                );
            }
            return Ok(());
        }
        if !self.exporters.contains_key(&ip)
            && self.exporters.len() >= shared.config.sessions_max.max(1) as usize
        {
            self.forget_one().await?;
        }
        let exporter = self.exporters.entry(ip).or_insert_with(|| UdpExporter {
            session: Session::new(ip.to_string(), &shared.config, shared.counters.clone()),
            used: 0,
        });
        exporter.used = self.turn;
        // A malformed datagram is counted by the session and costs no other.
        let closed = exporter.session.message(self.buffer.get(..length).unwrap_or_default(), now);
        send(shared, closed.unwrap_or_default()).await?;
        if exporter.session.pending() >= BATCH_RECORDS {
            send(shared, exporter.session.take()).await?;
        }
        Ok(())
    }

    /// Makes room for another exporter.
    async fn forget_one(&mut self) -> Result<(), Over> {
        let longest_silent =
            self.exporters.iter().min_by_key(|(_, exporter)| exporter.used).map(|(ip, _)| *ip);
        let forgotten = longest_silent.and_then(|ip| self.exporters.remove(&ip));
        add(&self.shared.counters.exporters_forgotten, 1u64);
        send(self.shared, forgotten.and_then(|mut exporter| exporter.session.take())).await
    }
}

/// Hands a batch on, waiting while the queue is full.
async fn send(shared: &Shared, batch: Option<Batch>) -> Result<(), Over> {
    match batch {
        Some(batch) => shared.out.send(batch).await.map_err(|_| Over),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::testing::Exporting;
    use crate::store::tests::record;
    use std::io::Write as _;

    struct Fixture {
        listeners: Listeners,
        counters: Arc<IngestCounters>,
        batches: mpsc::Receiver<Batch>,
    }

    fn start(adjust: impl FnOnce(&mut IngestConfig)) -> Fixture {
        let mut config = IngestConfig {
            ipfix_tcp: vec!["127.0.0.1:0".into()],
            ipfix_udp: vec!["127.0.0.1:0".into()],
            udp_buffer_kib: 128,
            ..IngestConfig::default()
        };
        adjust(&mut config);
        let counters = Arc::new(IngestCounters::default());
        let (sender, batches) = mpsc::channel(config.queue_batches_max as usize);
        Fixture { listeners: Listeners::start(&config, counters.clone(), sender).unwrap(), counters, batches }
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
        let t = start(|_| {});
        let mut exporting = Exporting::new(1);
        let many: Vec<_> = (0..400).map(record).collect();
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
        assert_eq!(records.len(), 401);
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
        let error = Listeners::start(&config, t.counters.clone(), sender).err().unwrap().to_string();
        assert!(error.contains(&taken) && error.contains("ingest.ipfix_tcp"), "{error}");
    }
}
