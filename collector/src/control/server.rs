//! The listening end: connections, HTTP/2, and which call goes where.
//!
//! In: TCP connections. Out: pairings, and sessions of sensors. Limits stand here, before anything is allocated for a
//! peer: how many may be strangers, how many sensors, how long a handshake takes, how large a message is, how much HTTP/2
//! may hold. A peer without a certificate reaches nothing but the pairing call, for [`STRANGER_MAX`].
//! Deliberately absent: what a session says ([`super::session`]); any web framework: hyper serves, tonic frames.

use super::Shared;
use super::counters::count;
use super::session;
use crate::ingest::clock;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use weir_common::control::messages::{FromCollector, FromSensor, RedeemReply, RedeemRequest};
use weir_common::control::{
    CONNECT_PATH, KEEP_ALIVE_S, KEEP_ALIVE_WAIT_S, MESSAGE_BYTES_MAX, REDEEM_PATH, clock_ahead_ms,
};
use weir_common::time::Timestamp;

/// Most connections that are not yet known to be a sensor's: handshakes and pairings.
pub const STRANGERS_MAX: usize = 64;
/// Most of them from one address, so that one peer cannot keep all others out.
pub const STRANGERS_PER_ADDRESS_MAX: usize = 16;
/// Longest that a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Longest that a peer without a certificate stays.
const STRANGER_MAX: Duration = Duration::from_secs(20);
/// Longest message of a pairing, in bytes: a secret and a request for a certificate.
const PAIRING_BYTES_MAX: usize = 32 << 10;
/// Calls of one connection at once: the session, and one that was begun before the end of another was heard of.
const CALLS_MAX: u32 = 4;
/// Octets of headers that HTTP/2 takes of one call.
const HEADER_BYTES_MAX: u32 = 8 << 10;
/// Octets under way to this side, of one call and of one connection.
const WINDOW_BYTES: u32 = 1 << 20;
/// Octets to the sensor that HTTP/2 holds of one call.
const SEND_BYTES_MAX: usize = 256 << 10;
/// Messages to the sensor between the session and HTTP/2.
const SEND_MESSAGES_MAX: usize = 4;
/// How long the end of a session has to reach the sensor before the connection is closed.
const END_WAIT: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Wait before an address that could not be listened on is tried again.
const LISTEN_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked whether a sensor was enrolled, before the first one was.
const WANTED_WAIT: Duration = Duration::from_secs(1);

/// A connection's bytes, after its handshake.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Asked again and again whether a sensor is still trusted; why not in words.
pub type Trust = Box<dyn Fn(Timestamp) -> Result<(), String> + Send + Sync>;

/// Who is at the other end.
pub enum Known {
    /// Nobody known: it may pair.
    Stranger,
    /// A sensor with a certificate.
    Sensor {
        /// Its name.
        name: String,
        /// Whether it still is one.
        trust: Trust,
    },
}

/// Why a handshake led to nothing.
#[derive(Debug)]
pub enum Refused {
    /// It failed.
    Handshake(String),
    /// The certificate is not, or no longer, a sensor's.
    Certificate(String),
}

/// A handshake on its way.
pub type Entering = Pin<Box<dyn Future<Output = Result<(Box<dyn Bytes>, Known), Refused>> + Send>>;

/// What turns a TCP connection into one whose other end is known: TLS, or in tests a plain one.
pub trait Door: Send + Sync {
    /// Begins the handshake.
    fn enter(&self, stream: TcpStream) -> Entering;

    /// Whether anybody could come at all; until then nothing is listened on.
    fn is_wanted(&self) -> bool {
        true
    }
}

/// The other end of one connection.
pub(super) struct Peer {
    known: Known,
    pub(super) address: IpAddr,
    has_session: AtomicBool,
    over: Notify,
}

impl Peer {
    pub(super) fn name(&self) -> &str {
        match &self.known {
            Known::Sensor { name, .. } => name,
            Known::Stranger => "",
        }
    }

    pub(super) fn still_trusted(&self, now: Timestamp) -> Result<(), String> {
        match &self.known {
            Known::Sensor { trust, .. } => trust(now),
            Known::Stranger => Err("it has no certificate".into()),
        }
    }

    /// Ends the connection, once what was said last had time to arrive.
    pub(super) async fn end_soon(&self) {
        tokio::time::sleep(END_WAIT).await;
        self.over.notify_one();
    }
}

/// Who is not yet known to be a sensor, by address.
type Strangers = Mutex<HashMap<IpAddr, usize>>;

/// One of them; dropped, another may come.
struct Stranger {
    strangers: Arc<Strangers>,
    ip: IpAddr,
}

impl Stranger {
    fn enter(strangers: &Arc<Strangers>, ip: IpAddr) -> Option<Stranger> {
        let mut here = strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = here.get(&ip).copied().unwrap_or(0);
        if here.values().sum::<usize>() >= STRANGERS_MAX || of_address >= STRANGERS_PER_ADDRESS_MAX {
            return None;
        }
        here.insert(ip, of_address + 1);
        Some(Stranger { strangers: Arc::clone(strangers), ip })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut here = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        match here.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(here.remove(&self.ip)),
        }
    }
}

/// Listens and serves until told to stop.
pub(super) async fn listen(shared: Arc<Shared>, door: Arc<dyn Door>) {
    let mut stop = shared.stop.clone();
    let strangers = Arc::<Strangers>::default();
    let sensors = Arc::new(Semaphore::new(shared.config.sensors_max as usize));
    tokio::select! {
        () = async {
            while !door.is_wanted() {
                tokio::time::sleep(WANTED_WAIT).await;
            }
            let listener = bound(&shared).await;
            accept(&listener, &shared, &door, &strangers, &sensors).await;
        } => {}
        _ = stop.changed() => {}
    }
}

/// The listening socket; what prevents it is said once, and tried again.
async fn bound(shared: &Shared) -> TcpListener {
    let address = &shared.config.listen;
    let mut said = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let local = listener.local_addr().ok();
                tracing::info!(
                    "taking sensors' control connections on {}",
                    local.map_or_else(|| address.clone(), |local| local.to_string())
                );
                shared.address.send_replace(local);
                return listener;
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::error!(
                        "control.listen: cannot listen on {address}: {error}; sensors cannot connect, and it is tried again every {} s",
                        LISTEN_WAIT.as_secs()
                    );
                }
                tokio::time::sleep(LISTEN_WAIT).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    door: &Arc<dyn Door>,
    strangers: &Arc<Strangers>,
    sensors: &Arc<Semaphore>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                count(&shared.counters.connections);
                let Some(permit) = Stranger::enter(strangers, address.ip().to_canonical()) else {
                    if shared.counters.refused_strangers_full.fetch_add(1, Ordering::Relaxed) == 0 {
                        tracing::warn!(
                            "{address} is refused: {STRANGERS_MAX} connections, or {STRANGERS_PER_ADDRESS_MAX} of its own, are not yet known to be a sensor's; further ones are only counted"
                        );
                    }
                    continue;
                };
                let (shared, entering, sensors) =
                    (Arc::clone(shared), door.enter(stream), Arc::clone(sensors));
                tokio::spawn(async move { enter(entering, address, shared, permit, &sensors).await });
            }
            Err(error) => {
                if shared.counters.accept_errors.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(
                        "a control connection could not be accepted: {error}; further ones are only counted"
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn enter(
    entering: Entering,
    address: SocketAddr,
    shared: Arc<Shared>,
    stranger: Stranger,
    sensors: &Arc<Semaphore>,
) {
    let ip = address.ip().to_canonical();
    let counters = &shared.counters;
    let entered = tokio::time::timeout(HANDSHAKE_MAX, entering).await;
    let entered = entered.unwrap_or_else(|_| {
        Err(Refused::Handshake(format!("it took more than {} s", HANDSHAKE_MAX.as_secs())))
    });
    let (bytes, known) = match entered {
        Ok(entered) => entered,
        Err(Refused::Handshake(why)) => {
            if counters.refused_handshake.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!("{ip}: the handshake failed: {why}; further ones are only counted");
            }
            return;
        }
        Err(Refused::Certificate(why)) => {
            if counters.refused_certificate.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!("{ip} is refused: {why}; further ones are only counted");
            }
            return;
        }
    };
    let is_stranger = matches!(known, Known::Stranger);
    let peer =
        Arc::new(Peer { known, address: ip, has_session: AtomicBool::new(false), over: Notify::new() });
    if is_stranger {
        // A time limit from outside: such a peer has one call to make.
        let _ = tokio::time::timeout(STRANGER_MAX, serve(bytes, peer, shared)).await;
        return;
    }
    drop(stranger);
    let Ok(_place) = Arc::clone(sensors).try_acquire_owned() else {
        if counters.refused_full.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                sensor = peer.name(),
                "refused: control.sensors_max are connected; further ones are only counted"
            );
        }
        return;
    };
    serve(bytes, peer, shared).await;
}

/// HTTP/2 on one connection.
async fn serve(bytes: Box<dyn Bytes>, peer: Arc<Peer>, shared: Arc<Shared>) {
    let service = {
        let (peer, shared) = (Arc::clone(&peer), Arc::clone(&shared));
        service_fn(move |request| answer(request, Arc::clone(&peer), Arc::clone(&shared)))
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(CALLS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(Duration::from_secs(KEEP_ALIVE_S))
        .keep_alive_timeout(Duration::from_secs(KEEP_ALIVE_WAIT_S));
    tokio::select! {
        // How it ended is the session's to say.
        _ = builder.serve_connection(TokioIo::new(bytes), service) => {}
        () = peer.over.notified() => {}
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
) -> Result<Response<Body>, Infallible> {
    let stranger = matches!(peer.known, Known::Stranger);
    let response = match request.uri().path() {
        REDEEM_PATH => {
            let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(PAIRING_BYTES_MAX);
            grpc.unary(Redeem { peer, shared }, request).await
        }
        CONNECT_PATH if stranger => {
            Status::unauthenticated("this sensor has no certificate here: pair it with `weir-sensor pair`")
                .into_http()
        }
        CONNECT_PATH if peer.has_session.swap(true, Ordering::Relaxed) => {
            Status::already_exists("this connection has its session").into_http()
        }
        CONNECT_PATH => {
            let mut grpc = Grpc::new(ProstCodec::default())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            grpc.streaming(Connect { peer, shared }, request).await
        }
        _ => Status::unimplemented("this collector does not know this call").into_http(),
    };
    Ok(response)
}

type Answering<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;

/// The pairing call.
struct Redeem {
    peer: Arc<Peer>,
    shared: Arc<Shared>,
}

impl UnaryService<RedeemRequest> for Redeem {
    type Response = RedeemReply;
    type Future = Answering<RedeemReply>;

    fn call(&mut self, request: tonic::Request<RedeemRequest>) -> Self::Future {
        let (peer, shared) = (Arc::clone(&self.peer), Arc::clone(&self.shared));
        let request = request.into_inner();
        Box::pin(async move {
            let now = clock();
            let (authority, peer_ip, asked) = (Arc::clone(&shared.authority), peer.address, request.clone());
            // It writes to the disk.
            let redeemed =
                spawn_blocking(move || authority.redeem(peer_ip, &asked.secret, &asked.csr_pem, now)).await;
            match redeemed.unwrap_or_else(|_| Err("the collector failed; its log says why".into())) {
                Ok(issued) => {
                    count(&shared.counters.paired);
                    let ahead = clock_ahead_ms(request.clock_ns, now.0) / 1000;
                    tracing::info!(
                        sensor = issued.sensor,
                        address = %peer.address,
                        clock_ahead_s = ahead,
                        "a sensor was paired"
                    );
                    Ok(tonic::Response::new(RedeemReply {
                        chain_pem: issued.chain_pem,
                        authority_pem: issued.authority_pem,
                        sensor: issued.sensor,
                        clock_ns: now.0,
                    }))
                }
                Err(why) => {
                    if shared.counters.pairings_refused.fetch_add(1, Ordering::Relaxed) == 0 {
                        tracing::warn!(
                            address = %peer.address,
                            "a pairing was refused: {why}; further ones are only counted"
                        );
                    }
                    Err(Status::permission_denied(why))
                }
            }
        })
    }
}

/// The call that a session consists of.
struct Connect {
    peer: Arc<Peer>,
    shared: Arc<Shared>,
}

impl StreamingService<FromSensor> for Connect {
    type Response = FromCollector;
    type ResponseStream = ReceiverStream<Result<FromCollector, Status>>;
    type Future = Answering<Self::ResponseStream>;

    fn call(&mut self, request: tonic::Request<Streaming<FromSensor>>) -> Self::Future {
        let (peer, shared) = (Arc::clone(&self.peer), Arc::clone(&self.shared));
        Box::pin(async move {
            let (to, messages) = mpsc::channel(SEND_MESSAGES_MAX);
            tokio::spawn(session::converse(shared, peer, request.into_inner(), to));
            Ok(tonic::Response::new(ReceiverStream::new(messages)))
        })
    }
}
