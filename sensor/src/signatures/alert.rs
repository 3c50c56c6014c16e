//! EVE's `alert` events out of matches.
//!
//! In: a [`Found`] and what is known of its flow. Out: an [`Event`] of kind `alert`, which goes the way of every other
//! event. As in Suricata it carries the transaction that matched, as its own event describes it; `action` is always
//! `allowed`, since a passive sensor stops nothing.

use super::{Found, Rules, Sight};
use crate::dpi::Event;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::net::Direction;
use weir_common::time::Timestamp;

/// What an alert's event tells beside the alert.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// Name and body of the transaction's event, as far as it is known.
    pub transaction: Option<(&'static str, &'a [u8])>,
    /// When the flow began, as EVE writes it.
    pub flow_start: Option<Timestamp>,
    /// The payload, where alerts are to carry it.
    pub payload: Option<&'a [u8]>,
    /// The packet, where alerts are to carry it.
    pub packet: Option<&'a [u8]>,
}

/// The event of a match.
pub fn event(rules: &Rules, found: &Found, sight: &Sight<'_>, beside: &Beside<'_>) -> Option<Event> {
    let description = rules.description(found.signature)?;
    let mut body = Vec::with_capacity(512);
    crate::export::write_signature(&mut Object::begin(&mut body), description, &sight.key, found.direction, false);
    let mut members = Vec::with_capacity(512);
    {
        let mut object = Object::begin(&mut members);
        if found.app != App::Unknown {
            object.text("app_proto", found.app.name());
        }
        let direction = match found.direction {
            Direction::Forward => "to_server",
            Direction::Reverse => "to_client",
        };
        object.text("direction", direction);
        let counted = &sight.flow;
        {
            let mut flow = object.object("flow");
            flow.number("pkts_toserver", counted.packets[0]).number("pkts_toclient", counted.packets[1]);
            flow.number("bytes_toserver", counted.octets[0]).number("bytes_toclient", counted.octets[1]);
            if let Some(start) = beside.flow_start {
                flow.display("start", start.eve());
            }
        }
        if let Some((name, body)) = beside.transaction {
            object.raw(name, body);
        }
        if let Some(frame) = &found.frame {
            frame.write(found.direction, &mut object.object("frame"));
        }
        if let Some(payload) = beside.payload {
            object.text("payload", &STANDARD.encode(payload));
            object.text("payload_printable", &printable(payload));
            object.number("stream", u8::from(found.is_of_stream));
        }
        if let Some(packet) = beside.packet {
            object.text("packet", &STANDARD.encode(packet));
            object.object("packet_info").number("linktype", 1u8);
        }
    }
    // Members without the braces around them.
    members.pop();
    let members = members.split_off(1);
    let event = Event::new(found.app, sight.time, found.direction, body);
    Some(Event {
        kind: "alert",
        transaction: found.transaction.map(|(number, _)| number),
        beside: members,
        ..event
    })
}

/// Bytes as Suricata prints them: what is no printable ASCII is a dot.
pub(super) fn printable(bytes: &[u8]) -> String {
    let printable = |byte: &u8| match byte {
        b'\r' | b'\n' | b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    bytes.iter().map(printable).collect()
}
