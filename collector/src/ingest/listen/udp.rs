//! IPFIX over UDP: each datagram is one message; templates are kept per address.
//!
//! In: datagrams. Out: batches. A malformed datagram costs itself alone.

use super::{DRAIN_BYTES_MAX, Over, Shared, send};
use crate::bounded::Bounded;
use crate::ingest::counters::add;
use crate::ingest::session::Session;
use crate::ingest::templates::{self, Templates};
use crate::ingest::{BATCH_RECORDS, clock};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use weir_common::net::Address;
use weir_common::time::Timestamp;

/// Most datagrams taken before their batches are handed on and other tasks get their turn.
const DATAGRAMS_PER_TURN: usize = 256;

/// How often new templates are written for the next start.
const TEMPLATES_PERIOD: Duration = Duration::from_secs(5);

/// Opens an address with the buffer that is asked for, as far as the kernel grants it.
pub(super) fn socket(address: &str, buffer_kib: u32) -> std::io::Result<UdpSocket> {
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

struct UdpExporter {
    session: Session,
    /// The turn in which its last datagram came.
    turn: u64,
}

/// Takes datagrams until the listeners stop.
pub(super) async fn datagrams(
    address: String,
    socket: UdpSocket,
    shared: Arc<Shared>,
    alive: mpsc::Sender<()>,
) {
    let kept = shared.state.as_ref().map(|state| Templates::open(templates::file_of(state, &address)));
    let mut state = Datagrams {
        shared: &shared,
        kept,
        exporters: Bounded::new(shared.config.sessions_max as usize),
        heard: Vec::new(),
        buffer: vec![0; usize::from(u16::MAX)],
        turn: 0,
    };
    let mut stop = shared.stop.clone();
    let mut saving = tokio::time::interval(TEMPLATES_PERIOD);
    loop {
        tokio::select! {
            _ = saving.tick() => state.save().await,
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
                let mut left = DRAIN_BYTES_MAX;
                let mut receive = |room: &mut [u8]| {
                    if left == 0 {
                        return Err(std::io::ErrorKind::WouldBlock.into());
                    }
                    let (length, peer) = socket.recv_from(room)?;
                    // An empty datagram takes room in the kernel's buffer too.
                    left = left.saturating_sub(length.max(1));
                    Ok((length, peer))
                };
                while matches!(state.take_turn(&mut receive).await, Ok(true)) {}
                state.save().await;
                break;
            }
        }
    }
    drop(alive);
}

/// The exporters of one UDP socket.
struct Datagrams<'a> {
    shared: &'a Shared,
    /// Templates for the next start; none where there is no place for them, and while they are written.
    kept: Option<Templates>,
    /// By mapped address.
    exporters: Bounded<u128, UdpExporter>,
    /// Exporters that were heard in this turn.
    heard: Vec<u128>,
    buffer: Vec<u8>,
    turn: u64,
}

impl Datagrams<'_> {
    /// Writes the templates if there are new ones, in a thread that may wait for the disk.
    async fn save(&mut self) {
        if let Some(mut kept) = self.kept.take_if(|kept| kept.is_changed()) {
            let saved = tokio::task::spawn_blocking(move || {
                kept.save();
                kept
            });
            // A runtime that ends has no threads any more; the templates are sent again in time.
            self.kept = saved.await.ok();
        }
    }

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
        while let Some(key) = self.heard.pop() {
            if let Some(exporter) = self.exporters.get_mut(&key) {
                send(self.shared, exporter.session.take()).await?;
            }
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
        let key = u128::from_be_bytes(Address::from(ip).0);
        let kept = &mut self.kept;
        let (exporter, forgotten) = self.exporters.entry(key, || {
            let mut session = Session::new(ip.to_string(), &shared.config, shared.counters.clone());
            kept.iter().flat_map(|kept| kept.messages_of(key)).for_each(|message| session.learn(&message));
            UdpExporter { session, turn: 0 }
        });
        if let Some((_, mut forgotten)) = forgotten {
            add(&shared.counters.exporters_forgotten, 1u64);
            send(shared, forgotten.session.take()).await?;
        }
        if exporter.turn != self.turn {
            exporter.turn = self.turn;
            self.heard.push(key);
        }
        // A malformed datagram is counted by the session and costs no other.
        let message = self.buffer.get(..length).unwrap_or_default();
        let closed = exporter.session.message(message, now);
        exporter.session.clock(message, now);
        if closed.is_ok()
            && let Some(kept) = kept
        {
            kept.note(key, message, &shared.counters.templates_not_kept);
        }
        send(shared, closed.unwrap_or_default()).await?;
        if exporter.session.pending() >= BATCH_RECORDS {
            send(shared, exporter.session.take()).await?;
        }
        Ok(())
    }
}
