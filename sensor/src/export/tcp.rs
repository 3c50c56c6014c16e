//! IPFIX over TCP (RFC 7011 section 10.4), plain or within TLS: one session per connection.
//!
//! In: bytes of messages. Out: as many as the connection takes without waiting. A connection that the
//! collector closed is noticed before more is written into it; one that acknowledges nothing any more
//! is given up by the kernel after [`UNACKNOWLEDGED_MS_MAX`].

use super::connect::{CONNECT_MAX, Change, Link};
use super::tls::{TlsClient, Wire};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Data that the collector's host does not acknowledge for this long ends the connection.
const UNACKNOWLEDGED_MS_MAX: u32 = 30_000;

pub(super) struct TcpTransport {
    link: Link<Wire>,
    /// TLS holds octets that the kernel did not take yet.
    holds: bool,
}

impl TcpTransport {
    pub(super) fn new(host: &str, port: u16) -> TcpTransport {
        TcpTransport { link: Link::new(host, port, |to| open(to).map(Wire::Plain)), holds: false }
    }

    /// The same within TLS.
    pub(super) fn secured(host: &str, port: u16, client: TlsClient) -> TcpTransport {
        let open = move |to| client.handshake(open(to)?).map(|tls| Wire::Tls(Box::new(tls)));
        TcpTransport { link: Link::new(host, port, open), holds: false }
    }

    /// Whether octets that were taken are still here and not in the kernel.
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    pub(super) fn is_open(&mut self) -> bool {
        self.link.socket().is_some()
    }

    pub(super) fn is_opening(&self) -> bool {
        self.link.is_opening()
    }

    pub(super) fn poll(&mut self, at: Instant) -> Change {
        self.holds = false;
        let Some(stream) = self.link.socket() else { return self.link.poll(at) };
        let flushed = stream.flush();
        self.holds = stream.holds();
        // A collector sends nothing; what can be read is the end of the connection, or is ignored.
        match stream.read(&mut [0; 512]).and_then(|read| flushed.map(|()| read)) {
            Ok(0) => Change::Failed("the collector closed the connection".into()),
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    || error.kind() == io::ErrorKind::Interrupted =>
            {
                Change::None
            }
            Err(error) => Change::Failed(error.to_string()),
            Ok(_) => Change::None,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.link.socket() {
            Some(stream) => {
                let written = stream.write(bytes);
                self.holds = stream.holds();
                written
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn close(&mut self, at: Instant) {
        self.link.close(at);
    }
}

fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    setsockopt(&stream, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS_MAX)?;
    setsockopt(&stream, sockopt::KeepAlive, &true)?;
    Ok(stream)
}
