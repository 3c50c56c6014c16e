//! The listeners: IPFIX over TCP and UDP, on a runtime of their own.
//!
//! In: sockets. Out: batches into one bounded queue. A TCP session's task waits while the queue is full, so
//! that the exporter waits; the UDP task waits as well, and the kernel's buffer takes what comes meanwhile.
//! When told to stop, listeners take what has already arrived and end.

mod tcp;
mod tls;
mod udp;

use super::Batch;
use super::clock;
use super::config::IngestConfig;
use super::counters::IngestCounters;
use crate::identity::{Authority, Clients, IdentityError, read_roots};
use crate::prefix::Networks;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tls::TlsShared;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use weir_common::net::Address;

/// Threads of the runtime: one can decode while another waits for the kernel.
const THREADS: usize = 2;
/// Most bytes that one socket is read for when the listeners stop: more than the kernels' buffers at both
/// ends hold together, so that only an exporter that goes on sending is cut off.
const DRAIN_BYTES_MAX: usize = 64 << 20;
/// Longest time that listeners are waited for when they are told to stop: each takes what has arrived,
/// and the queue may have to empty meanwhile.
const DRAIN_MAX: Duration = Duration::from_secs(20);

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
    /// What is to be listened on is no address.
    #[error(
        "ingest.{key}: `{address}` is not an address to listen on: expected ADDRESS:PORT such as 0.0.0.0:4739"
    )]
    Address {
        /// The configuration key.
        key: &'static str,
        /// What it holds.
        address: String,
    },
    /// `admit` holds something that is not a network.
    #[error("ingest.admit: {0}")]
    Admit(String),
    /// The collector's identity, or an authority of `tls_client_ca`, cannot be used.
    #[error("ingest.tls_client_ca: {0}")]
    Authorities(#[source] IdentityError),
    /// Threads or signals are not to be had.
    #[error("ingest: {0}")]
    System(#[from] std::io::Error),
}

/// What is wrong with the section, without opening anything.
pub fn check(config: &IngestConfig) -> Vec<IngestError> {
    let mut wrong: Vec<IngestError> = Admission::new(config).err().into_iter().collect();
    wrong.extend(foreign_authorities(config).err());
    for (key, addresses) in
        [("ipfix_tcp", &config.ipfix_tcp), ("ipfix_udp", &config.ipfix_udp), ("ipfix_tls", &config.ipfix_tls)]
    {
        for address in addresses {
            let parts = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if parts.and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
                wrong.push(IngestError::Address { key, address: address.clone() });
            }
        }
    }
    wrong
}

/// Whom the TLS listeners take.
fn foreign_authorities(config: &IngestConfig) -> Result<Clients, IngestError> {
    let mut roots = Vec::new();
    for file in &config.tls_client_ca {
        roots.extend(read_roots(Path::new(file)).map_err(IngestError::Authorities)?);
    }
    Ok(if roots.is_empty() { Clients::Required } else { Clients::Foreign(roots) })
}

/// Who may send: the machine itself and the networks of `admit`.
struct Admission(Networks);

impl Admission {
    /// Reads the configured networks.
    fn new(config: &IngestConfig) -> Result<Admission, IngestError> {
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
    /// Of the TLS listeners, where there are any.
    tls: Option<Arc<TlsShared>>,
    /// Where templates are kept; nowhere without it.
    state: Option<PathBuf>,
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
    /// What each TLS address became that is open; others wait for the first sensor to be enrolled.
    pub tls: Vec<SocketAddr>,
}

impl Listeners {
    /// Opens every configured address and begins. Without an authority there is no TLS.
    /// `state` is where templates of UDP exporters are kept over a restart.
    pub fn start(
        config: &IngestConfig,
        authority: Option<&Authority>,
        counters: Arc<IngestCounters>,
        out: mpsc::Sender<Batch>,
        state: Option<&Path>,
    ) -> Result<Listeners, IngestError> {
        if let Some(wrong) = check(config).into_iter().next() {
            return Err(wrong);
        }
        let admission = Admission::new(config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("weir-ingest")
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        // Every task holds a sender; the receiver learns when the last one has ended.
        let (alive, ended) = mpsc::channel(1);
        // Whether there is nobody whom TLS could be for, as long as no sensor is enrolled.
        let nobody = config.tls_client_ca.is_empty();
        let tls = match authority {
            Some(authority) if !config.ipfix_tls.is_empty() => {
                let door = authority.door(foreign_authorities(config)?).map_err(IngestError::Authorities)?;
                Some(Arc::new(TlsShared::new(door)))
            }
            _ => None,
        };
        let (config_kept, state) = (config.clone(), state.map(Path::to_owned));
        let shared =
            Arc::new(Shared { config: config_kept, admission, counters, out, stop: stopped, tls, state });
        let guard = runtime.enter();
        if let Some(authority) = authority {
            // Others than the listeners may rely on it: it is kept up to date without a TLS address, too.
            tokio::spawn(authority.clone().tend(clock));
        }
        let (mut tcp, mut udp, mut tls) = (Vec::new(), Vec::new(), Vec::new());
        for address in &config.ipfix_tcp {
            let failed = listen_failed("ipfix_tcp", address);
            let listener = tcp::listener(address).map_err(failed)?;
            tcp.push(listener.local_addr()?);
            tokio::spawn(tcp::accept(listener, tcp::admit, shared.clone(), alive.clone()));
        }
        for address in config.ipfix_tls.iter().filter(|_| shared.tls.is_some()) {
            if let Some(authority) = authority.filter(|authority| nobody && authority.is_empty()) {
                let later = tls::accept_once_enrolled(
                    address.clone(),
                    authority.clone(),
                    shared.clone(),
                    alive.clone(),
                );
                tokio::spawn(later);
                continue;
            }
            let failed = listen_failed("ipfix_tls", address);
            let listener = tcp::listener(address).map_err(failed)?;
            tls.push(listener.local_addr()?);
            tokio::spawn(tcp::accept(listener, tls::admit, shared.clone(), alive.clone()));
        }
        for address in &config.ipfix_udp {
            let failed = listen_failed("ipfix_udp", address);
            let socket = udp::socket(address, config.udp_buffer_kib).map_err(failed)?;
            udp.push(socket.local_addr()?);
            tokio::spawn(udp::datagrams(address.clone(), socket, shared.clone(), alive.clone()));
        }
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(guard);
        Ok(Listeners { runtime, stop, ended, terminate, interrupt, tcp, udp, tls })
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

/// That a task has nothing more to do.
struct Over;

/// Hands a batch on, waiting while the queue is full.
async fn send(shared: &Shared, batch: Option<Batch>) -> Result<(), Over> {
    match batch {
        Some(batch) => shared.out.send(batch).await.map_err(|_| Over),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
