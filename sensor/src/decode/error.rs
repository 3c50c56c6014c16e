//! Why a frame gives no packet, and where that is counted.

use crate::counters::DecodeCounters;

/// Why a frame gives no packet: each reason has its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecoded {
    /// The capture ends before a header does.
    Truncated,
    /// A length or version contradicts the bytes around it.
    Malformed,
    /// Address resolution, which carries no IP packet.
    Arp,
    /// A network protocol that is not decoded.
    OtherEthertype,
    /// A link type that is not decoded.
    UnknownLink,
}

impl Undecoded {
    /// Counts the reason.
    #[cold]
    pub(super) fn count(self, counters: &mut DecodeCounters) {
        let counter = match self {
            Undecoded::Truncated => &mut counters.truncated,
            Undecoded::Malformed => &mut counters.malformed,
            Undecoded::Arp => &mut counters.arp,
            Undecoded::OtherEthertype => &mut counters.other_ethertype,
            Undecoded::UnknownLink => &mut counters.unknown_link,
        };
        *counter += 1;
    }
}
