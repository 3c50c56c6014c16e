//! IPFIX over UDP (RFC 7011 section 10.3): one datagram per message.
//!
//! In: whole messages. Out: datagrams. UDP tells of a collector that is not there only by the ICMP error
//! that the next datagram meets; that is said and counted, and sending goes on.

use super::connect::{Change, Link};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

pub(super) struct UdpTransport {
    link: Link<UdpSocket>,
}

impl UdpTransport {
    pub(super) fn new(host: &str, port: u16) -> UdpTransport {
        UdpTransport { link: Link::new(host, port, open) }
    }

    pub(super) fn is_open(&mut self) -> bool {
        self.link.socket().is_some()
    }

    pub(super) fn is_opening(&self) -> bool {
        self.link.is_opening()
    }

    pub(super) fn poll(&mut self, at: Instant) -> Change {
        self.link.poll(at)
    }

    pub(super) fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        match self.link.socket() {
            Some(socket) => socket.send(message),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A socket on a port of its own, which is the session's identity at the collector.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(socket)
}
