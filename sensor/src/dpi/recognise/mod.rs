//! Protocols that are recognised and not read further: each one function and one line here.
//!
//! In: a flow's first bytes. Out: whether they are the protocol's. The same rules as for
//! [`super::Dissector::probe`] hold: a function is strict, since it sees every unknown flow; it is cheap; it may
//! use the ports as evidence beside the content, never alone.

// Mail, files, terminals; databases, brokers.
mod messages;

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
    // Mail, files, terminals; databases, brokers.
    Recogniser { app: App::Stomp, starts: Starts::stream(b"CS"), probe: messages::stomp },
    Recogniser { app: App::Nats, starts: Starts::stream(b"ICPSM+"), probe: messages::nats },
    Recogniser { app: App::Openwire, starts: Starts::stream(&[0]), probe: messages::openwire },
    Recogniser { app: App::Drda, starts: Starts::STREAM, probe: messages::drda },
    Recogniser { app: App::Kafka, starts: Starts::stream(&[0]), probe: messages::kafka },
];
