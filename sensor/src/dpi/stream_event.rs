//! What is odd about a TCP stream, as EVE's `anomaly` events of type `stream`, under Suricata's names.
//!
//! In: what reassembly noticed. Out: an event, each kind once for a flow, so that a broken or hostile flow fills
//! no disk; how often it happened is counted. Off unless `dpi.stream_events` says otherwise, as in Suricata.

use super::Event;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::net::Direction;
use weir_common::time::Timestamp;

/// What is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum StreamEvent {
    /// Segments overlap, and their content differs.
    OverlapDifferentData = 1,
    /// Bytes that the receiver acknowledged were never seen.
    SeqGap = 2,
    /// An acknowledgement number without the flag.
    PktBrokenAck = 4,
}

impl StreamEvent {
    const fn name(self) -> &'static str {
        match self {
            StreamEvent::OverlapDifferentData => "stream.reassembly_overlap_different_data",
            StreamEvent::SeqGap => "stream.reassembly_seq_gap",
            StreamEvent::PktBrokenAck => "stream.pkt_broken_ack",
        }
    }
}

/// Whether an event is about its packet, and waits for no acknowledgement.
pub(super) fn is_of_packet(event: &Event) -> bool {
    event.kind == "anomaly" && event.body.starts_with(b"{\"type\":\"stream\"")
}

/// Which a flow was told of.
#[derive(Debug)]
pub(super) struct StreamEvents {
    told: u8,
}

impl StreamEvents {
    /// Nothing yet; or nothing ever.
    pub(super) fn new(is_enabled: bool) -> StreamEvents {
        StreamEvents { told: if is_enabled { 0 } else { u8::MAX } }
    }

    /// The event, unless the flow was told of it.
    pub(super) fn tell(
        &mut self,
        event: StreamEvent,
        app: App,
        time: Timestamp,
        direction: Direction,
    ) -> Option<Event> {
        if self.told & event as u8 != 0 {
            return None;
        }
        self.told |= event as u8;
        let mut body = Vec::with_capacity(64);
        Object::begin(&mut body).text("type", "stream").text("event", event.name());
        Some(Event { kind: "anomaly", ..Event::new(app, time, direction, body) })
    }
}
