//! IPFIX over TCP: who is let in, and messages cut out of each stream, which may be inside of TLS.
//!
//! In: connections. Out: batches. A stream that is not IPFIX is closed; a session that ends inside a message
//! is counted, and what was whole is kept.

use super::tls::Secured;
use super::{DRAIN_BYTES_MAX, Over, Shared, send};
use crate::ingest::counters::add;
use crate::ingest::session::Session;
use crate::ingest::{BATCH_RECORDS, clock};
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use weir_common::ipfix::MESSAGE_HEADER_BYTES;
use weir_common::ipfix::decode::message_length;

/// Bytes that a session's buffer begins with; it grows to hold one message of at most 65,535.
pub(super) const BUFFER_BYTES: usize = 16 << 10;
/// Most bytes of a session's buffer.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Pause after a connection could not be accepted, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens an address.
pub(super) fn listener(address: &str) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// What is done with an accepted connection.
pub(super) type Admit = fn(TcpStream, SocketAddr, &Arc<Shared>, &mpsc::Sender<()>);

/// Takes connections until the listeners stop.
pub(super) async fn accept(
    listener: TcpListener,
    admit: Admit,
    shared: Arc<Shared>,
    alive: mpsc::Sender<()>,
) {
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

/// Admits a connection by its address.
pub(super) fn admit(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, alive: &mpsc::Sender<()>) {
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
    let Some(place) = Place::take(shared, ip) else { return };
    let (shared, alive) = (shared.clone(), alive.clone());
    tokio::spawn(async move {
        let session = Session::new(ip.to_string(), &shared.config, shared.counters.clone()).delivering();
        TcpSession::new(session, &shared, None).run(stream).await;
        drop((place, alive));
    });
}

/// One of `sessions_max` places for a session; dropped, it is free again.
pub(super) struct Place(Arc<Shared>);

impl Place {
    /// Takes a place, or counts that there is none.
    pub(super) fn take(shared: &Arc<Shared>, ip: IpAddr) -> Option<Place> {
        let counters = &shared.counters;
        // Counted first, so that connections that come at once cannot all take the last one.
        if counters.sessions_open.fetch_add(1, Ordering::Relaxed) < u64::from(shared.config.sessions_max) {
            add(&counters.sessions, 1u64);
            return Some(Place(shared.clone()));
        }
        counters.sessions_open.fetch_sub(1, Ordering::Relaxed);
        if counters.sessions_refused_full.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("{ip} is refused: ingest.sessions_max are open; further ones are only counted");
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counters.sessions_open.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct TcpSession<'a> {
    session: Session,
    shared: &'a Shared,
    /// The TLS within which the messages come, if any.
    secured: Option<Secured>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are not decoded yet.
    begin: usize,
    end: usize,
}

impl<'a> TcpSession<'a> {
    pub(super) fn new(session: Session, shared: &'a Shared, secured: Option<Secured>) -> TcpSession<'a> {
        TcpSession { session, shared, secured, buffer: vec![0; BUFFER_BYTES], begin: 0, end: 0 }
    }

    pub(super) async fn run(&mut self, stream: TcpStream) {
        let idle = match self.shared.config.session_idle_s {
            0 => Duration::MAX,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        let mut stop = self.shared.stop.clone();
        let mut resends = self.shared.counters.deliveries.resends();
        let mut changes = self.secured.as_ref().map(Secured::changes);
        loop {
            tokio::select! {
                _ = resends.changed() => {
                    if self.session.is_to_resend() {
                        // What the connection still holds comes again in the next one.
                        break;
                    }
                }
                ready = stream.readable() => {
                    if ready.is_err() || self.take_arrived(|room| stream.try_read(room)).await.is_err() {
                        break;
                    }
                    if let Some(secured) = &mut self.secured {
                        secured.answer(|bytes| stream.try_write(bytes));
                    }
                }
                () = changed(&mut changes) => {
                    let ended = self.secured.as_ref().and_then(|secured| secured.review(clock()).err());
                    if let Some(refused) = ended {
                        add(&self.shared.counters.tls_sessions_revoked, 1u64);
                        tracing::warn!("{}: the session is closed: {refused}", self.session.address());
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
                        let mut left = DRAIN_BYTES_MAX;
                        let read = |room: &mut [u8]| {
                            if left == 0 {
                                return Err(std::io::ErrorKind::WouldBlock.into());
                            }
                            let read = stream.read(room)?;
                            left = left.saturating_sub(read);
                            Ok(read)
                        };
                        let _ = self.take_arrived(read).await;
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
            let room = self.buffer.get_mut(self.end..);
            let outcome = match room.map(|room| match &mut self.secured {
                None => read(room),
                Some(secured) => secured.read(room, &mut read),
            }) {
                Some(Ok(0)) => Err(Over),
                Some(Ok(read)) => {
                    self.end += read;
                    self.decode().await
                }
                Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return self.hand_on().await;
                }
                Some(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
                Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                    add(&self.shared.counters.tls_sessions_broken, 1u64);
                    Err(Over)
                }
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
            self.session.clock(message, now);
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

/// Waits for a change; without anything that could change, for ever.
async fn changed(changes: &mut Option<watch::Receiver<u64>>) {
    let over = match changes {
        Some(changes) => changes.changed().await.is_err(),
        None => true,
    };
    if over {
        std::future::pending::<()>().await;
    }
}
