//! Protocols that are recognised and not read further: each one function and one line here.
//!
//! In: a flow's first bytes. Out: whether they are the protocol's. The same rules as for
//! [`super::Dissector::probe`] hold: a function is strict, since it sees every unknown flow; it is cheap; it may
//! use the ports as evidence beside the content, never alone.

mod tunnels;

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
    // Cryptography, tunnels, voice.
    Recogniser { app: App::Wireguard, starts: tunnels::WIREGUARD_STARTS, probe: tunnels::wireguard },
    Recogniser { app: App::Dnscrypt, starts: tunnels::DNSCRYPT_STARTS, probe: tunnels::dnscrypt },
    Recogniser { app: App::Gtp, starts: tunnels::GTP_STARTS, probe: tunnels::gtp },
    Recogniser { app: App::Teredo, starts: tunnels::TEREDO_STARTS, probe: tunnels::teredo },
];
