//! IPFIX over UDP (RFC 7011 section 10.3): one datagram per message.
//!
//! In: whole messages. Out: datagrams, at most so many octets a second that a collector's receive buffer outlives a
//! burst, and how long a message may be on the path. UDP tells of a collector that is not there only by the ICMP error
//! that the next datagram meets; that is said and counted, and sending goes on.

use super::connect::{Change, Link};
use nix::sys::socket::{getsockopt, sockopt};
use nix::{getsockopt_impl, sockopt_impl};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// The path's MTU is asked for again this often: routes change, and the kernel learns from ICMP.
const PATH_ASKED_EVERY: Duration = Duration::from_secs(10);
/// Octets that can always be sent at once: below the smallest receive buffer that systems give a socket.
const BURST_BYTES: u64 = 64 << 10;
/// Headers in front of a message.
const IPV4_UDP_HEADER_BYTES: usize = 20 + 8;
const IPV6_UDP_HEADER_BYTES: usize = 40 + 8;

pub(super) struct UdpTransport {
    link: Link<UdpSocket>,
    pace: Pace,
    path_asked_at: Option<Instant>,
}

impl UdpTransport {
    /// `bytes_per_second_max` of 0: as fast as records come.
    pub(super) fn new(host: &str, port: u16, bytes_per_second_max: u64) -> UdpTransport {
        UdpTransport {
            link: Link::new(host, port, open),
            pace: Pace::new(bytes_per_second_max),
            path_asked_at: None,
        }
    }

    pub(super) fn is_open(&mut self) -> bool {
        self.link.socket().is_some()
    }

    pub(super) fn is_opening(&self) -> bool {
        self.link.is_opening()
    }

    pub(super) fn poll(&mut self, at: Instant) -> Change {
        self.pace.refill(at);
        self.link.poll(at)
    }

    /// Most octets of a message that the path takes in one packet, whenever it is time to ask again.
    pub(super) fn path_message_bytes(&mut self, at: Instant) -> Option<usize> {
        if self.path_asked_at.is_some_and(|asked_at| at.duration_since(asked_at) < PATH_ASKED_EVERY) {
            return None;
        }
        let socket = self.link.socket()?;
        self.path_asked_at = Some(at);
        let (mtu, headers) = match socket.peer_addr().ok()? {
            SocketAddr::V4(_) => (getsockopt(&*socket, sockopt::IpMtu).ok()?, IPV4_UDP_HEADER_BYTES),
            SocketAddr::V6(_) => (getsockopt(&*socket, Ipv6Mtu).ok()?, IPV6_UDP_HEADER_BYTES),
        };
        usize::try_from(mtu).ok()?.checked_sub(headers)
    }

    pub(super) fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let Some(socket) = self.link.socket() else { return Err(io::ErrorKind::NotConnected.into()) };
        if !self.pace.allows(message.len() as u64) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        socket.send(message)
    }
}

sockopt_impl!(
    /// What the kernel takes the path's MTU to be, for IPv6.
    Ipv6Mtu,
    GetOnly,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU,
    libc::c_int
);

/// How much may be sent: a bucket that fills with time and empties with octets.
struct Pace {
    bytes_per_second: u64,
    allowance: u64,
    filled_at: Option<Instant>,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second, allowance: BURST_BYTES, filled_at: None }
    }

    fn refill(&mut self, at: Instant) {
        let since =
            self.filled_at.map_or(Duration::ZERO, |filled_at| at.saturating_duration_since(filled_at));
        let more = u128::from(self.bytes_per_second) * since.as_micros() / 1_000_000;
        // Less than an octet's time is kept for the next call.
        if more > 0 || self.filled_at.is_none() {
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.allowance = self.allowance.saturating_add(more).min(BURST_BYTES);
            self.filled_at = Some(at);
        }
    }

    /// Whether so many octets may go now; if so they are taken off.
    fn allows(&mut self, bytes: u64) -> bool {
        if self.bytes_per_second == 0 {
            return true;
        }
        // A message is at most as long as the bucket is deep.
        match self.allowance.checked_sub(bytes.min(BURST_BYTES)) {
            Some(rest) => {
                self.allowance = rest;
                true
            }
            None => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000_000);
        pace.refill(start);
        let sent = (0..100).filter(|_| pace.allows(1400)).count() as u64;
        assert_eq!(sent, BURST_BYTES / 1400);
        let left = BURST_BYTES - sent * 1400;
        // An octet each microsecond.
        let enough = start + Duration::from_micros(1400 - left);
        pace.refill(enough - Duration::from_micros(1));
        assert!(!pace.allows(1400));
        pace.refill(enough);
        assert!(pace.allows(1400));
        pace.refill(enough + Duration::from_secs(3600));
        assert_eq!(pace.allowance, BURST_BYTES, "an hour of silence is no longer burst");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(0);
        assert!((0..1000).all(|_| pace.allows(65_535)));
    }

    #[test]
    fn the_path_s_room_is_its_mtu_without_headers() {
        for (host, headers) in [("127.0.0.1", IPV4_UDP_HEADER_BYTES), ("::1", IPV6_UDP_HEADER_BYTES)] {
            let mut udp = UdpTransport::new(host, 9, 0);
            while udp.poll(Instant::now()) != Change::Opened {
                std::thread::yield_now();
            }
            let mtu: usize =
                std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap().trim().parse().unwrap();
            let now = Instant::now();
            // A route's MTU is at most what an IPv4 packet's length can say.
            let room = udp.path_message_bytes(now).unwrap();
            assert!(room == mtu - headers || room == 65_535 - headers, "{host}: {room}");
            assert_eq!(
                udp.path_message_bytes(now + PATH_ASKED_EVERY / 2),
                None,
                "not asked for every message"
            );
            assert!(udp.path_message_bytes(now + PATH_ASKED_EVERY).is_some());
        }
    }
}
