//! EVE's `alert` events out of matches.
//!
//! In: a [`Found`] and what is known of its flow. Out: an [`Event`] of kind `alert`, which goes the way of every other
//! event. As in Suricata it carries the transaction that matched, as its own event describes it, and the files that it
//! carried; `action` is always `allowed`, since a passive sensor stops nothing.

use super::late::Transaction;
use super::state::Kind;
use super::{FlowMarks, Found, Rules, Sight};
use crate::decode::{Outermost, Packet, Transport};
use crate::dpi::Event;
use crate::export::{address_in_full, write_references, write_signature};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::{Field, Metadata};
use weir_common::net::{Address, CommunityId, Direction, protocol};
use weir_common::record::{SignatureAlert, SignatureMarks};
use weir_common::rule::{Action, Target};
use weir_common::time::Timestamp;

/// What an alert's event tells beside the alert.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The transaction that matched, as far as it is known.
    pub transaction: Option<&'a Transaction>,
    /// When the flow began; none: there is no flow.
    pub flow_start: Option<Timestamp>,
    /// What inspection knows of the flow.
    pub metadata: Option<&'a Metadata>,
    /// The payload, where alerts are to carry it.
    pub payload: Option<&'a [u8]>,
    /// The packet, where alerts are to carry it.
    pub packet: Option<Quoted<'a>>,
    /// What carried the packet, where it came in a tunnel.
    pub outermost: Option<Outermost>,
    /// Number of the frame in its capture; 0: it is in none.
    pub frame: u64,
    /// Alerts tell where more is to be read about their rule.
    pub has_references: bool,
}

/// A packet's bytes and how they begin.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a> {
    /// Link type, as capture files number them.
    pub link: u16,
    /// The bytes: the link's header, and what is behind it.
    pub bytes: [&'a [u8]; 2],
}

/// The event of a match.
pub fn event(rules: &Rules, found: &Found, sight: &Sight<'_>, beside: &Beside<'_>) -> Option<Event> {
    let description = rules.description(found.signature)?;
    let mut body = Vec::with_capacity(512);
    {
        let mut object = Object::begin(&mut body);
        write_signature(&mut object, description, &sight.key, found.direction, false);
        if beside.has_references {
            write_references(&mut object, description);
        }
        if !found.context.is_empty() {
            let context: Vec<String> = found
                .context
                .iter()
                .map(|(key, json)| format!("{}:{json}", serde_json::Value::from(&**key)))
                .collect();
            object.raw("context", format!("{{{}}}", context.join(",")).as_bytes());
        }
    }
    let mut members = Vec::with_capacity(512);
    {
        let mut object = Object::begin(&mut members);
        if let Transport::Icmp { kind, code } = sight.packet.transport {
            object.number("icmp_type", kind).number("icmp_code", code);
        }
        carried(&mut object, sight.packet);
        if let Some(outermost) = &beside.outermost {
            tunnel(&mut object, outermost, beside.frame);
        }
        if let Some(transaction) = beside.transaction {
            if transaction.is_guessed {
                object.bool("tx_guessed", true);
            }
            if let Some(kind) = transaction.kind {
                object.raw(kind, &transaction.body).members(&transaction.beside);
            }
            if !transaction.files.is_empty() {
                object.raw("files", &[&b"["[..], &transaction.files.join(&b','), b"]"].concat());
            }
        }
        if beside.flow_start.is_some() {
            flow(&mut object, found, sight, beside);
        }
        if let Some(frame) = &found.frame {
            frame.write(sight.flow.role(found.direction), &mut object.object("frame"));
        }
        if let Some(payload) = beside.payload {
            object.text("payload", &STANDARD.encode(payload));
            object.text("payload_printable", &printable(payload));
            let is_of_stream = found.is_of_stream && sight.key.protocol == protocol::TCP;
            object.number("stream", u8::from(is_of_stream));
        }
        if let Some(packet) = beside.packet {
            object.text("packet", &STANDARD.encode(packet.bytes.concat()));
            link(&mut object.object("packet_info"), packet.link);
        }
    }
    let event = Event::new(found.app, sight.time, found.direction, body);
    Some(Event {
        kind: "alert",
        transaction: found.transaction.map(|(number, _)| number),
        beside: without_braces(members),
        ..event
    })
}

/// What Suricata tells of protocols that neither have ports nor are an application's.
fn carried(object: &mut Object<'_>, packet: &Packet<'_>) {
    let Some(bytes) = packet.transport_bytes() else { return };
    match (packet.ip.protocol, bytes) {
        (IGMP, [kind, ..]) if packet.ip.destination == RGMP_GROUP => {
            _ = object.object("rgmp").number("type", *kind);
        }
        (IGMP, [kind, maximum, ..]) => {
            // RFC 3376 section 7.1; RFC 2236 section 2 and RFC 1112 for the older ones.
            let version = match kind {
                0x22 => 3,
                0x11 if bytes.len() >= 12 => 3,
                0x11 if *maximum == 0 => 1,
                0x12 => 1,
                _ => 2_u8,
            };
            object.object("igmp").number("version", version).number("type", *kind);
        }
        (protocol::SCTP, _) => sctp(object, bytes),
        _ => {}
    }
}

/// Internet Group Management Protocol, by IANA's number.
const IGMP: u8 = 2;
/// Where the Router-port Group Management Protocol sends to (RFC 3488).
const RGMP_GROUP: Address = Address::v4([224, 0, 0, 25]);
/// Most chunks of an SCTP packet that are told.
const CHUNKS_MAX: usize = 32;

/// The chunks of an SCTP packet (RFC 9260 section 3).
fn sctp(object: &mut Object<'_>, bytes: &[u8]) {
    const NAMES: [&str; 16] = [
        "data",
        "init",
        "init_ack",
        "sack",
        "heartbeat",
        "heartbeat_ack",
        "abort",
        "shutdown",
        "shutdown_ack",
        "error",
        "cookie_echo",
        "cookie_ack",
        "ecne",
        "cwr",
        "shutdown_complete",
        "auth",
    ];
    let Some(tag) = bytes.get(4..).and_then(|bytes| bytes.first_chunk()) else { return };
    let (mut kinds, mut rest) = (Vec::new(), bytes.get(12..).unwrap_or_default());
    while let [kind, _, length @ ..] = rest
        && let Some(length) = length.first_chunk()
        && kinds.len() < CHUNKS_MAX
    {
        let length = usize::from(u16::from_be_bytes(*length));
        if length < 4 {
            break;
        }
        kinds.push(*kind);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let mut sctp = object.object("sctp");
    sctp.number("vtag", u32::from_be_bytes(*tag)).number("chunk_cnt", kinds.len());
    {
        let mut list = sctp.list("chunk_types");
        for kind in &kinds {
            match NAMES.get(usize::from(*kind)) {
                Some(name) => list.bytes(name.as_bytes()),
                None => list.display(kind),
            }
        }
    }
    for (key, kind) in [("has_init", 1), ("has_init_ack", 2), ("has_data", 0), ("has_abort", 6)] {
        sctp.bool(key, kinds.contains(&kind));
    }
}

/// A match for collectors; where the packets are, the caller adds.
pub fn record(
    rules: &Rules,
    found: &Found,
    sight: &Sight<'_>,
    community_id: CommunityId,
    flow_start: Timestamp,
) -> Option<SignatureAlert> {
    let about = rules.description(found.signature)?;
    let target = about.target.map(|target| match target {
        Target::Source => found.direction,
        Target::Destination => found.direction.flip(),
    });
    Some(SignatureAlert {
        time: sight.time,
        flow_start,
        key: sight.key,
        flow_id: sight.flow_id,
        community_id,
        direction: found.direction,
        app: if sight.app == App::Unknown { found.app } else { sight.app },
        generator: about.gid,
        signature: about.sid,
        revision: about.rev,
        severity: about.severity,
        target,
        message: about.message.clone(),
        category: about.category.to_owned(),
        evidence: None,
    })
}

/// The application, and what of the flow was counted.
fn flow(object: &mut Object<'_>, found: &Found, sight: &Sight<'_>, beside: &Beside<'_>) {
    let app = if sight.app == App::Unknown { found.app } else { sight.app };
    if app != App::Unknown {
        object.text("app_proto", app.name());
        for (key, field) in [
            ("app_proto_ts", Field::AppToServer),
            ("app_proto_tc", Field::AppToClient),
            ("app_proto_orig", Field::OriginalApp),
        ] {
            object.text_if(key, beside.metadata.and_then(|metadata| metadata.text(field)));
        }
    }
    let (counted, key) = (&sight.flow, &sight.key);
    let direction = match counted.role(found.direction) {
        Direction::Forward => "to_server",
        Direction::Reverse => "to_client",
    };
    object.text("direction", direction);
    let ([to_server, to_client], octets) =
        (counted.by_role(counted.packets), counted.by_role(counted.octets));
    let mut flow = object.object("flow");
    flow.number("pkts_toserver", to_server).number("pkts_toclient", to_client);
    flow.number("bytes_toserver", octets[0]).number("bytes_toclient", octets[1]);
    if let Some(start) = beside.flow_start {
        flow.display("start", start.eve());
    }
    let ends = [(&key.initiator, key.initiator_port), (&key.responder, key.responder_port)];
    let [(client, client_port), (server, server_port)] = counted.by_role(ends);
    flow.raw("src_ip", address_in_full(client).json());
    flow.raw("dest_ip", address_in_full(server).json());
    if matches!(key.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        flow.number("src_port", client_port).number("dest_port", server_port);
    }
}

/// What carried the packet, around all tunnels.
fn tunnel(object: &mut Object<'_>, outermost: &Outermost, frame: u64) {
    let mut tunnel = object.object("tunnel");
    let [(source, source_port), (destination, destination_port)] = outermost.ends;
    tunnel.raw("src_ip", address_in_full(&source).json()).number("src_port", source_port);
    tunnel.raw("dest_ip", address_in_full(&destination).json()).number("dest_port", destination_port);
    tunnel.text("proto", &protocol::name(outermost.protocol)).number("depth", outermost.tunnel.depth);
    if frame > 0 {
        tunnel.number("pcap_cnt", frame);
    }
    tunnel.text("pkt_src", "wire/pcap");
}

/// How a packet's bytes begin: the number that libpcap has for a link type on Linux, and its name.
fn link(object: &mut Object<'_>, link: u16) {
    const RAW: (u16, u16) = (101, 12);
    const NAMES: [(u16, &str); 20] = [
        (0, "NULL"),
        (1, "EN10MB"),
        (9, "PPP"),
        (10, "FDDI"),
        (12, "RAW"),
        (50, "PPP_SERIAL"),
        (51, "PPP_ETHER"),
        (104, "C_HDLC"),
        (105, "IEEE802_11"),
        (108, "LOOP"),
        (113, "LINUX_SLL"),
        (119, "PRISM_HEADER"),
        (127, "IEEE802_11_RADIO"),
        (163, "IEEE802_11_RADIO_AVS"),
        (192, "PPI"),
        (228, "IPV4"),
        (229, "IPV6"),
        (239, "NFLOG"),
        (240, "NETANALYZER"),
        (276, "LINUX_SLL2"),
    ];
    let number = if link == RAW.0 { RAW.1 } else { link };
    object.number("linktype", number);
    object.text_if("linktype_name", NAMES.iter().find(|(have, _)| *have == number).map(|(_, name)| *name));
}

/// What rules remember of a flow, as members of its events: `metadata` with flowbits and flowints, and `traffic` with those
/// flowbits whose names begin with `traffic/id/` or `traffic/label/`. Empty where they remember nothing.
pub fn marks_of(rules: &Rules, marks: &FlowMarks) -> Vec<u8> {
    const TRAFFIC: [(&str, &str); 2] = [("id", "traffic/id/"), ("label", "traffic/label/")];
    let variables = marks.rare.as_ref().map_or(&[][..], |rare| &rare.variables);
    if marks.bits.bits().is_empty() && marks.bits.ints().is_empty() && variables.is_empty() {
        return Vec::new();
    }
    let bits = || marks.bits.bits().iter().map(|bit| rules.names.name(Kind::FlowBit, *bit));
    let of = |prefix: &'static str| bits().filter_map(move |bit| bit.strip_prefix(prefix));
    let is_traffic = |bit: &str| TRAFFIC.iter().any(|(_, prefix)| bit.starts_with(prefix));
    let ints = marks.bits.ints();
    let mut members = Vec::with_capacity(128);
    {
        let mut object = Object::begin(&mut members);
        if TRAFFIC.iter().any(|(_, prefix)| of(prefix).next().is_some()) {
            let mut traffic = object.object("traffic");
            for (key, prefix) in TRAFFIC {
                if of(prefix).next().is_some() {
                    traffic.texts(key, of(prefix));
                }
            }
        }
        let mut plain = bits().filter(|bit| !is_traffic(bit)).peekable();
        if plain.peek().is_some() || !ints.is_empty() || !variables.is_empty() {
            let mut metadata = object.object("metadata");
            if plain.peek().is_some() {
                metadata.texts("flowbits", plain);
            }
            if !variables.is_empty() {
                let pair = |(name, value): &(Arc<str>, Vec<u8>)| {
                    let value = serde_json::Value::from(printable(value));
                    serde_json::Value::Object([((**name).to_owned(), value)].into_iter().collect())
                };
                let variables = serde_json::Value::Array(variables.iter().map(pair).collect());
                metadata.raw("flowvars", variables.to_string().as_bytes());
            }
            if !ints.is_empty() {
                let ints = ints
                    .iter()
                    .map(|(name, value)| (rules.names.name(Kind::FlowInt, *name).to_owned(), *value));
                let ints: serde_json::Map<_, _> = ints.map(|(name, value)| (name, value.into())).collect();
                metadata.raw("flowints", serde_json::Value::Object(ints).to_string().as_bytes());
            }
        }
    }
    without_braces(members)
}

/// What signatures made of a flow, as its record has it; none: nothing.
pub fn of_record(rules: &Rules, marks: &FlowMarks) -> Option<Box<SignatureMarks>> {
    let action = match marks.action {
        Some(Action::Drop) => Some("drop"),
        Some(Action::Pass) => Some("pass"),
        _ => None,
    };
    let members = marks_of(rules, marks);
    let FlowMarks { has_alerted, is_bypassed, .. } = *marks;
    (has_alerted || is_bypassed || action.is_some() || !members.is_empty())
        .then(|| Box::new(SignatureMarks { has_alerted, is_bypassed, action, members }))
}

/// The members of an object's text.
fn without_braces(mut object: Vec<u8>) -> Vec<u8> {
    object.pop();
    if !object.is_empty() {
        object.remove(0);
    }
    object
}

/// Bytes as Suricata prints them: what is no printable ASCII is a dot.
pub(super) fn printable(bytes: &[u8]) -> String {
    let printable = |byte: &u8| match byte {
        b'\r' | b'\n' | b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    bytes.iter().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(write: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Object::begin(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_chunks_of_sctp_are_told_as_far_as_they_go() {
        let header = [&[0, 1, 0, 2, 0, 0, 0, 9], &[0; 4][..]].concat();
        let init_and_unknown = [&header[..], &[1, 0, 0, 5, 7, 0, 0, 0, 200, 0, 0, 4]].concat();
        assert_eq!(
            told(|object| sctp(object, &init_and_unknown)),
            r#"{"sctp":{"vtag":9,"chunk_cnt":2,"chunk_types":["init","200"],"has_init":true,"has_init_ack":false,"has_data":false,"has_abort":false}}"#
        );
        let endless = [&header[..], &[0, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(told(|object| sctp(object, &endless)).contains(r#""chunk_cnt":0"#));
        let many = [&header[..], &[0, 0, 0, 4].repeat(1000)].concat();
        assert!(told(|object| sctp(object, &many)).contains(r#""chunk_cnt":32"#));
        assert_eq!(told(|object| sctp(object, &header[..7])), "{}");
    }

    #[test]
    fn link_types_have_libpcaps_numbers_and_names() {
        let told = |number| told(|object| link(object, number));
        assert_eq!(told(1), r#"{"linktype":1,"linktype_name":"EN10MB"}"#);
        assert_eq!(told(101), r#"{"linktype":12,"linktype_name":"RAW"}"#);
        assert_eq!(told(999), r#"{"linktype":999}"#);
    }

    #[test]
    fn what_is_no_text_is_a_dot() {
        assert_eq!(printable(b"a\r\n\x00\xff~"), "a\r\n..~");
    }
}
