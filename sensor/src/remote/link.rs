//! HTTP/2 and gRPC over a connection's bytes, from the side that calls.
//!
//! In: bytes both ways. Out: the two calls of the control connection, and the task that drives them. A connection whose
//! other end is gone without a word is over after [`KEEP_ALIVE_S`] and [`KEEP_ALIVE_WAIT_S`]. Deliberately absent: TLS,
//! and what is said.

use super::paired::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use weir_common::control::messages::{FromCollector, FromSensor, RedeemReply, RedeemRequest};
use weir_common::control::{CONNECT_PATH, KEEP_ALIVE_S, KEEP_ALIVE_WAIT_S, MESSAGE_BYTES_MAX, REDEEM_PATH};

/// Octets under way to this side.
const WINDOW_BYTES: u32 = 1 << 20;
/// Octets to the collector that HTTP/2 holds.
const SEND_BYTES_MAX: usize = 256 << 10;
/// Octets of headers that are taken of one answer.
const HEADER_BYTES_MAX: u32 = 8 << 10;
/// Longest wait for HTTP/2 to begin, and for the answer's head.
const BEGIN_MAX: Duration = Duration::from_secs(10);

/// A connection that calls can be made over. Dropped, it is closed.
pub(super) struct Link {
    grpc: Grpc<Caller>,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    /// Begins HTTP/2.
    pub(super) async fn begin(bytes: Box<dyn Bytes>) -> Result<Link, Status> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buf_size(SEND_BYTES_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .keep_alive_interval(Duration::from_secs(KEEP_ALIVE_S))
            .keep_alive_timeout(Duration::from_secs(KEEP_ALIVE_WAIT_S))
            .keep_alive_while_idle(true);
        let begun = tokio::time::timeout(BEGIN_MAX, builder.handshake(TokioIo::new(bytes))).await;
        let (sender, connection) =
            begun.map_err(|_| late())?.map_err(|error| Status::unavailable(words(&error)))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("the control connection ended: {}", words(&error));
            }
        });
        let origin = http::Uri::from_static("https://weir-collector");
        let grpc = Grpc::with_origin(Caller(sender), origin)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Link { grpc, driver })
    }

    /// The session: what comes out of `messages` is said, what is returned is heard.
    pub(super) async fn connect(
        &mut self,
        messages: mpsc::Receiver<FromSensor>,
    ) -> Result<Streaming<FromCollector>, Status> {
        let call = async {
            self.ready().await?;
            let request = tonic::Request::new(ReceiverStream::new(messages));
            let path = PathAndQuery::from_static(CONNECT_PATH);
            Ok(self.grpc.streaming(request, path, ProstCodec::default()).await?.into_inner())
        };
        tokio::time::timeout(BEGIN_MAX, call).await.map_err(|_| late())?
    }

    /// The pairing call.
    pub(super) async fn redeem(&mut self, request: RedeemRequest) -> Result<RedeemReply, Status> {
        let call = async {
            self.ready().await?;
            let path = PathAndQuery::from_static(REDEEM_PATH);
            Ok(self.grpc.unary(tonic::Request::new(request), path, ProstCodec::default()).await?.into_inner())
        };
        tokio::time::timeout(BEGIN_MAX, call).await.map_err(|_| late())?
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|error| Status::unavailable(words(&error)))
    }
}

fn late() -> Status {
    Status::deadline_exceeded(format!("the collector did not answer within {} s", BEGIN_MAX.as_secs()))
}

/// An error with its causes, which hyper leaves to the reader.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// hyper's connection as tonic calls it.
struct Caller(SendRequest<Body>);

impl tower_service::Service<Request<Body>> for Caller {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
