//! Joining a packet socket to a fanout group (packet(7)), which libpcap does not offer.
//!
//! The kernel then shares an interface's frames among the group by a hash of addresses and ports that
//! is the same for both directions, with fragments put together first, so that a flow stays with one
//! member.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Puts the socket into group `group`, unique on this host and network namespace.
pub(super) fn join(socket: BorrowedFd<'_>, group: u16) -> io::Result<()> {
    let mode = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_DEFRAG;
    let argument: libc::c_uint = u32::from(group) | (mode as libc::c_uint) << 16;
    // SAFETY: the descriptor is open for the call's duration because it is borrowed, and the option's
    // value is a c_uint whose address and size are given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            std::ptr::from_ref(&argument).cast(),
            size_of_val(&argument) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
