//! IPFIX over TCP (RFC 7011 section 10.4), plain or within TLS: one session per connection.
//!
//! In: bytes of messages. Out: as many as the connection takes without waiting. A connection that the
//! collector closed is noticed before more is written into it; one that acknowledges nothing any more
//! is given up by the kernel after [`UNACKNOWLEDGED_MS_MAX`].

use super::connect::{CONNECT_MAX, Change, Link};
use super::tls::{TlsClient, Wire};
use super::unacknowledged::{unacknowledged, unsent};
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Instant;

/// Data that the collector's host does not acknowledge for this long ends the connection.
const UNACKNOWLEDGED_MS_MAX: u32 = 30_000;

pub(super) struct TcpTransport {
    link: Link<Wire>,
    /// TLS holds octets that the kernel did not take yet.
    holds: bool,
    /// Octets given to this connection.
    written: u64,
    /// How many of them have arrived, as far as was asked.
    arrived: u64,
    /// Octets given, and octets that these were in the kernel: more within TLS.
    marks: VecDeque<(u64, u64)>,
    /// The collector ended this connection, having read what it had acknowledged: unread octets make a reset.
    ended_in_order: bool,
}

impl TcpTransport {
    pub(super) fn new(host: &str, port: u16) -> TcpTransport {
        TcpTransport::over(Link::new(host, port, |to| open(to).map(Wire::Plain)))
    }

    /// The same within TLS.
    pub(super) fn secured(host: &str, port: u16, client: TlsClient) -> TcpTransport {
        let open = move |to| {
            // Without an identity there is nothing to connect for.
            let config = client.config()?;
            client.handshake(config, open(to)?).map(|tls| Wire::Tls(Box::new(tls)))
        };
        TcpTransport::over(Link::new(host, port, open))
    }

    fn over(link: Link<Wire>) -> TcpTransport {
        TcpTransport {
            link,
            holds: false,
            written: 0,
            arrived: 0,
            marks: VecDeque::new(),
            ended_in_order: false,
        }
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
        let Some(stream) = self.link.socket() else {
            (self.holds, self.written, self.arrived, self.ended_in_order) = (false, 0, 0, false);
            self.marks.clear();
            return self.link.poll(at);
        };
        let flushed = stream.flush();
        self.holds = stream.holds();
        // A collector sends nothing; what can be read is the end of the connection, or is ignored.
        match stream.read(&mut [0; 512]).and_then(|read| flushed.map(|()| read)) {
            Ok(0) => {
                self.ended_in_order = true;
                Change::Failed("the collector closed the connection".into())
            }
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
                let count = stream.write(bytes)?;
                self.holds = stream.holds();
                self.written += count as u64;
                if let Some(given) = stream.given_to_kernel(self.written) {
                    self.marks.push_back((self.written, given));
                }
                Ok(count)
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Octets given to this connection so far: what [`TcpTransport::acknowledged`] reaches when all have arrived.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// How many of them the collector's host has acknowledged; none where the system does not say.
    pub(super) fn acknowledged(&mut self) -> u64 {
        let Some(stream) = self.link.socket() else { return 0 };
        if let (Some(given), Ok(waiting)) =
            (stream.given_to_kernel(self.written), unacknowledged(stream.as_fd()))
        {
            if waiting == 0 {
                self.arrived = self.written;
                self.marks.clear();
            }
            while let Some((written, _)) =
                self.marks.pop_front_if(|(_, kernel)| *kernel <= given.saturating_sub(waiting))
            {
                self.arrived = written;
            }
        }
        self.arrived
    }

    /// Whether the collector ended the connection in order.
    pub(super) fn ended_in_order(&self) -> bool {
        self.ended_in_order
    }

    /// Octets that wait in the kernel and have not been sent even once.
    pub(super) fn unsent(&mut self) -> u64 {
        self.link.socket().and_then(|stream| unsent(stream.as_fd()).ok()).unwrap_or(0)
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
