//! Export: flow records and events to IPFIX collectors, files, EVE JSON and record lines.
//!
//! In: [`Batch`]es from the workers. Out: bytes at each destination. One thread serves all of them
//! ([`start`]); none can hold up another for longer than a write takes. Knows no packet.

pub mod config;
mod lines;
mod eve;
mod alert;
mod ipfix;
mod profile;
mod selected;
mod connect;
mod unacknowledged;
mod tcp;
mod tls;
mod udp;
mod file;
mod target;
mod distribution;
#[cfg(any(test, feature = "fuzzing"))]
pub mod spool;
#[cfg(not(any(test, feature = "fuzzing")))]
mod spool;
mod outgoing;
mod destination;
mod thread;

#[cfg(test)]
mod tests;

pub use alert::{AlertLines, FlowAlert, write_references, write_signature};
pub use destination::{DestinationState, DestinationStatus, SpoolStatus};
pub use eve::packet_source;
pub use lines::OutputStatus;
pub use target::Target;
pub use thread::{Context, Exporting, Pace, start};
pub use weir_common::text::address_in_full;

use crate::decode::{Arp, DecodeEvent};
use crate::dpi::Event;
use serde::Serialize;
use weir_common::delivery::Position;
use weir_common::net::{CommunityId, FlowKey};
use weir_common::record::{FlowRecord, SignatureAlert};
use weir_common::time::Timestamp;

/// An application event with the flow it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowEvent {
    /// The flow's ends, initiator first.
    pub key: FlowKey,
    /// The flow's identifier, as its records carry it.
    pub flow_id: u64,
    /// The flow's Community ID.
    pub community_id: CommunityId,
    /// 802.1Q identifiers, outermost first.
    pub vlans: [u16; 2],
    /// Interface index.
    pub interface: u32,
    /// Where its packet came from: EVE's `pkt_src`.
    pub source: &'static str,
    /// What happened.
    pub event: Event,
}

/// An ARP message, which belongs to no flow.
#[derive(Clone, Debug)]
pub struct ArpEvent {
    /// When it was captured.
    pub time: Timestamp,
    /// Number of its packet in the capture, from 1.
    pub packet: u64,
    /// Interface index.
    pub interface: u32,
    /// What it says.
    pub arp: Arp,
}

/// A fault of a frame.
#[derive(Clone, Debug)]
pub struct FrameEvent {
    /// When it was captured.
    pub time: Timestamp,
    /// Its number in the capture, from 1.
    pub packet: u64,
    /// Interface index.
    pub interface: u32,
    /// Where the frame came from, as EVE names it: the wire, or a tunnel.
    pub source: &'static str,
    /// What is wrong with it.
    pub fault: DecodeEvent,
    /// The alert of a signature that asks for that; none: the fault itself is told.
    pub alert: Option<Box<Event>>,
}

/// What a worker hands over at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// ARP messages.
    pub arps: Vec<ArpEvent>,
    /// Faults of frames.
    pub faults: Vec<FrameEvent>,
    /// Ended and sliced flows.
    pub records: Vec<FlowRecord>,
    /// Application events, in order of time.
    pub events: Vec<FlowEvent>,
    /// Alerts, for collectors; they are among the events too.
    pub alerts: Vec<SignatureAlert>,
}

impl Batch {
    /// How many things it holds.
    pub fn len(&self) -> usize {
        self.records.len() + self.events.len() + self.arps.len() + self.faults.len() + self.alerts.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a collector has stored durably, as the control connection brings it.
///
/// The spool's epoch is drawn at random, so that it alone says whose spool is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The destination, by its place in the configuration; `None`: whichever has the epoch.
    pub destination: Option<usize>,
    /// Everything below it is stored and need not be sent again.
    pub position: Position,
}

/// How export does: what `status` shows, and at the end what the summary says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportStatus {
    /// IPFIX destinations, in the order of the configuration.
    pub destinations: Vec<DestinationStatus>,
    /// The EVE output, when there is one.
    pub eve: Option<OutputStatus>,
    /// The output of record lines, when there is one.
    pub records: Option<OutputStatus>,
}

impl ExportStatus {
    /// Flow records, alerts and lines that could not be delivered, over all destinations.
    pub fn lost(&self) -> u64 {
        let dropped = |to: &DestinationStatus| to.records_dropped + to.alerts_dropped;
        let destinations = self.destinations.iter().map(dropped);
        let outputs = [&self.eve, &self.records].into_iter().flatten().map(|output| output.lines_dropped);
        destinations.chain(outputs).sum()
    }
}

/// Why export cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A destination's URL is none.
    #[error("`{url}` is not a destination: expected {expected}")]
    Destination {
        /// The URL.
        url: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// The certificates or the key of the configuration cannot be used.
    #[error("export.tls: {0}")]
    Tls(String),
    /// A setting is outside of what IPFIX allows.
    #[error("export.{key} is {found}, expected {expected}")]
    Setting {
        /// The key in `[export]`.
        key: &'static str,
        /// Its value.
        found: u64,
        /// What would do.
        expected: &'static str,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread could not be started.
    #[error("cannot start the export thread: {0}")]
    Thread(std::io::Error),
}
