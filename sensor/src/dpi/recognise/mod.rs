//! Protocols that are recognised and not read further: each one function and one line here.
//!
//! In: a flow's first bytes. Out: whether they are the protocol's. The same rules as for
//! [`super::Dissector::probe`] hold: a function is strict, since it sees every unknown flow; it is cheap; it may
//! use the ports as evidence beside the content, never alone.

mod windows;

use super::{First, Probe, Starts};
use weir_common::app::App;

/// A protocol that is known by name only.
pub(super) struct Recogniser {
    pub(super) app: App,
    pub(super) starts: Starts,
    pub(super) probe: fn(&First<'_>) -> Probe,
}

/// Every one of them, in the order in which they are asked.
pub(super) const RECOGNISERS: &[Recogniser] = &[
    // Windows, identity, management.
    Recogniser { app: App::Tacacs, starts: Starts::stream(&[0xc0, 0xc1]), probe: windows::tacacs },
    Recogniser { app: App::Rsh, starts: Starts::stream(b"\x000123456789"), probe: windows::rsh },
    Recogniser { app: App::Rlogin, starts: Starts::stream(&[0]), probe: windows::rlogin },
    Recogniser {
        app: App::Krb5,
        starts: Starts::both(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        probe: windows::kpasswd,
    },
    Recogniser { app: App::X11, starts: Starts::stream(b"lB\0\x01\x02"), probe: windows::x11 },
    Recogniser { app: App::Xdmcp, starts: Starts::datagram(&[0]), probe: windows::xdmcp },
    Recogniser { app: App::Rdp, starts: Starts::DATAGRAM, probe: windows::rdp_udp },
];
