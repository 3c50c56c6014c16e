//! IPFIX over TLS (RFC 7011 section 10.4): the handshake, in bounded time and number, and octets out of records.
//!
//! In: connections. Out: sessions of whom a certificate says who they are. A peer without a good certificate costs a
//! handshake and is told why by TLS's alert; the log says it once per address and cause. What is let in is looked at
//! again whenever the register changes, so that a revoked sensor's session ends at once.

use super::tcp::{self, Place, TcpSession};
use super::{Over, Shared};
use crate::identity::{Authority, Door, Peer, Refused, site_of};
use crate::ingest::clock;
use crate::ingest::counters::add;
use crate::ingest::session::Session;
use rustls::ServerConnection;
use rustls_pki_types::CertificateDer;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use weir_common::time::Timestamp;

/// A handshake that is not done within this time is given up; tests need not wait as long.
const HANDSHAKE_MAX: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });
/// Pause between attempts to open an address that could not be opened.
const LISTEN_RETRY: Duration = Duration::from_secs(5);
/// Most handshakes under way at once; a further connection is refused and counted. Sessions are not concerned.
const HANDSHAKES_MAX: usize = 512;
/// Most of them from one address, or one /64 of IPv6.
pub(super) const HANDSHAKES_PER_ADDRESS_MAX: usize = 64;
/// Most addresses and causes of refusal that are remembered as told, and so are logged within [`TOLD_PERIOD`]; past
/// them refusals are only counted.
const TOLD_MAX: usize = 1024;
/// What [`TOLD_MAX`] counts within.
const TOLD_PERIOD: Duration = Duration::from_secs(3600);
/// The place of what is no certificate's fault among the causes told.
const CAUSE_HANDSHAKE: usize = Refused::CAUSES.len();

/// What the TLS listeners share.
pub(super) struct TlsShared {
    door: Door,
    handshakes: Mutex<HashMap<IpAddr, usize>>,
    told: Mutex<Told>,
}

/// Which refusals were told, and since when they are remembered.
struct Told {
    refusals: HashSet<(IpAddr, usize)>,
    since: Instant,
}

impl TlsShared {
    pub(super) fn new(door: Door) -> TlsShared {
        let told = Told { refusals: HashSet::new(), since: Instant::now() };
        TlsShared { door, handshakes: Mutex::default(), told: Mutex::new(told) }
    }

    /// Logs a refusal, once per address and cause.
    fn tell(&self, ip: IpAddr, cause: usize, why: &dyn std::fmt::Display) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.refusals.len() >= TOLD_MAX && told.since.elapsed() >= TOLD_PERIOD {
            *told = Told { refusals: HashSet::new(), since: Instant::now() };
        }
        if told.refusals.len() < TOLD_MAX && told.refusals.insert((ip, cause)) {
            tracing::warn!("{ip} is refused over TLS: {why}; further refusals for this are only counted");
        }
    }

    /// Logs that an address that was refused is let in.
    fn recovered(&self, ip: IpAddr, peer: &Peer) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.refusals.len();
        told.refusals.retain(|(refused, _)| *refused != ip);
        if told.refusals.len() < before {
            tracing::info!("{ip} is let in over TLS as {}", peer.name());
        }
    }
}

/// One of the handshakes under way; dropped, another may begin.
struct Handshake {
    shared: Arc<TlsShared>,
    ip: IpAddr,
}

impl Handshake {
    fn begin(shared: &Arc<TlsShared>, ip: IpAddr) -> Option<Handshake> {
        let ip = site_of(ip);
        let mut handshakes = shared.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = handshakes.values().sum();
        let of_address = handshakes.entry(ip).or_default();
        if all >= HANDSHAKES_MAX || *of_address >= HANDSHAKES_PER_ADDRESS_MAX {
            if *of_address == 0 {
                handshakes.remove(&ip);
            }
            return None;
        }
        *of_address += 1;
        Some(Handshake { shared: shared.clone(), ip })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut handshakes = self.shared.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = handshakes.get_mut(&self.ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                handshakes.remove(&self.ip);
            }
        }
    }
}

/// Opens an address when the first sensor is enrolled, and takes connections there: a collector that has no sensors
/// opens no port to the network.
pub(super) async fn accept_once_enrolled(
    address: String,
    authority: Authority,
    shared: Arc<Shared>,
    alive: mpsc::Sender<()>,
) {
    let (mut stop, mut changes) = (shared.stop.clone(), authority.changes());
    tracing::info!("IPFIX over TLS on {address} is opened when the first sensor is enrolled");
    let mut is_told = false;
    loop {
        if !authority.is_empty() {
            match tcp::listener(&address) {
                Ok(listener) => {
                    tracing::info!("taking IPFIX over TLS on {address}");
                    return tcp::accept(listener, admit, shared, alive).await;
                }
                Err(error) if !std::mem::replace(&mut is_told, true) => {
                    tracing::error!(
                        "ingest.ipfix_tls: cannot listen on {address}: {error}; it is tried again"
                    );
                }
                Err(_) => {}
            }
        }
        tokio::select! {
            changed = changes.changed(), if !is_told => if changed.is_err() { return },
            () = tokio::time::sleep(LISTEN_RETRY), if is_told => {}
            _ = stop.changed() => return,
        }
    }
}

/// Admits a connection by its certificate.
pub(super) fn admit(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, alive: &mpsc::Sender<()>) {
    let Some(tls) = shared.tls.clone() else { return };
    let ip = peer.ip().to_canonical();
    let Some(handshake) = Handshake::begin(&tls, ip) else {
        if shared.counters.tls_refused_busy.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "{ip} is refused: too many TLS handshakes are under way; further ones are only counted"
            );
        }
        return;
    };
    let (shared, alive) = (shared.clone(), alive.clone());
    tokio::spawn(async move {
        let mut stop = shared.stop.clone();
        let entered = tokio::select! {
            entered = enter(stream, ip, &tls, &shared) => entered,
            _ = stop.changed() => Err(Over),
        };
        drop(handshake);
        if let Ok((stream, secured, peer)) = entered
            && let Some(place) = Place::take(&shared, ip)
        {
            tls.recovered(ip, &peer);
            let address = format!("{}@{ip}", peer.name());
            let session = Session::new(address, &shared.config, shared.counters.clone())
                .authenticated(peer)
                .delivering();
            TcpSession::new(session, &shared, Some(secured)).run(stream).await;
            drop(place);
        }
        drop(alive);
    });
}

/// Makes the handshake and learns who it is.
async fn enter(
    stream: TcpStream,
    ip: IpAddr,
    tls: &TlsShared,
    shared: &Shared,
) -> Result<(TcpStream, Secured, Peer), Over> {
    let counters = &shared.counters;
    let accept = TlsAcceptor::from(tls.door.config()).accept(stream);
    let Ok(accepted) = tokio::time::timeout(HANDSHAKE_MAX, accept).await else {
        add(&counters.tls_handshakes_slow, 1u64);
        let why = format!("the TLS handshake was not done within {} s", HANDSHAKE_MAX.as_secs());
        tls.tell(ip, CAUSE_HANDSHAKE, &why);
        return Err(Over);
    };
    let refuse = |refused: &Refused| {
        add(&counters.tls_refused_certificate, 1u64);
        tls.door.authority().count(refused);
        tls.tell(ip, refused.cause(), refused);
        Over
    };
    let (stream, connection) = match accepted {
        Ok(accepted) => accepted.into_inner(),
        Err(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if let Some(refused) = inner.and_then(Refused::of_handshake) {
                return Err(refuse(&refused));
            }
            add(&counters.tls_handshakes_failed, 1u64);
            tls.tell(
                ip,
                CAUSE_HANDSHAKE,
                &format!("the TLS handshake failed ({error}); is it an exporter of IPFIX over TLS 1.3?"),
            );
            return Err(Over);
        }
    };
    let shown = connection.peer_certificates().unwrap_or_default();
    let certificates = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let secured = Secured { connection, door: tls.door.clone(), certificates };
    match secured.review(clock()) {
        Ok(peer) => Ok((stream, secured, peer)),
        Err(refused) => Err(refuse(&refused)),
    }
}

/// The TLS of a session.
pub(super) struct Secured {
    connection: ServerConnection,
    door: Door,
    certificates: Vec<CertificateDer<'static>>,
}

impl Secured {
    /// Learns when the exporter is to be looked at again.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.door.authority().changes()
    }

    /// Who the exporter is, as the register knows it now.
    pub(super) fn review(&self, now: Timestamp) -> Result<Peer, Refused> {
        self.door.peer(&self.certificates, now)
    }

    /// Reads what was sent, asking `raw` for more of the connection where needed. `InvalidData`: it is no TLS.
    pub(super) fn read(
        &mut self,
        room: &mut [u8],
        raw: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            // Nothing more decrypted: 0 is the connection's end, which the reader then tells with or without TLS's.
            self.connection.read_tls(&mut Raw(&mut *raw))?;
            self.connection
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Sends what TLS itself has to say, as far as it goes out without waiting.
    pub(super) fn answer(&mut self, send: impl FnMut(&[u8]) -> io::Result<usize>) {
        let mut out = Raw(send);
        while self.connection.wants_write() {
            // What does not go out now goes out later, or the session ends anyhow.
            if !matches!(self.connection.write_tls(&mut out), Ok(1..)) {
                return;
            }
        }
    }
}

/// A function as a reader or a writer.
struct Raw<F>(F);

impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Read for Raw<F> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        (self.0)(room)
    }
}

impl<F: FnMut(&[u8]) -> io::Result<usize>> Write for Raw<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
