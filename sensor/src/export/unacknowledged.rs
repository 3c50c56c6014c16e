//! How much of what was written to a TCP socket its peer's host has not acknowledged (tcp(7)).
//!
//! In: a connected socket. Out: octets. nix wraps neither call without `unsafe`.

#![allow(unsafe_code, reason = "SIOCOUTQ and SIOCOUTQNSD have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `SIOCOUTQNSD` of linux/sockios.h, which libc does not name.
const SIOCOUTQNSD: libc::c_ulong = 0x894b;

/// Octets that were written and not acknowledged, sent or not.
pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u64> {
    ask(socket, libc::TIOCOUTQ)
}

/// Octets that were written and have not been sent even once.
pub(super) fn unsent(socket: BorrowedFd<'_>) -> io::Result<u64> {
    ask(socket, SIOCOUTQNSD)
}

fn ask(socket: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<u64> {
    let mut octets: libc::c_int = 0;
    // SAFETY: the descriptor is open for the call's duration because it is borrowed; both requests write one int, which
    // `octets` is, and nothing else.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request as _, std::ptr::from_mut(&mut octets)) };
    if result == 0 { Ok(u64::try_from(octets).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    #[test]
    fn what_the_peer_s_host_has_taken_is_acknowledged_and_the_rest_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = stream.write(&[0; 65_536]) {
            written += count as u64;
        }
        let waiting = unacknowledged(stream.as_fd()).unwrap();
        assert!(waiting > 0 && waiting < written, "{waiting} of {written}");
        assert!(unsent(stream.as_fd()).unwrap() <= waiting);
        peer.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let mut left = written;
        let mut buffer = vec![0; 1 << 20];
        while left > 0 {
            left -= peer.read(&mut buffer).unwrap() as u64;
        }
        while unacknowledged(stream.as_fd()).unwrap() > 0 {
            std::thread::yield_now();
        }
    }
}
