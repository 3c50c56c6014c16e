//! MQTT 3.1, 3.1.1 and 5 (OASIS standards of 2014 and 2019).
//!
//! In: both directions of a stream. Out: one event per exchange in EVE's `mqtt` form: a message and what
//! acknowledges it by its packet identifier; client, account and topics in metadata. Of long messages the
//! beginning is told.

mod packet;
#[cfg(test)]
mod tests;

use super::buffers::{BODY_BYTES_MAX, Buffer, Number, Stage};
use super::{Context, Dissector, Event, First, Probe, Progress, Starts};
use packet::{Packet, kind, remaining_length};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of a packet that are looked at; the rest passes.
const PACKET_BYTES_MAX: usize = 16 << 10;
/// Most exchanges that wait for their end; the oldest is told for a new one.
const PENDING_MAX: usize = 256;
const PORTS: &[u16] = &[1883, 8883, 1884];

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Mqtt {
    pending: VecDeque<Box<Exchange>>,
    transactions: u64,
    version: u8,
    is_connected: bool,
    is_lost: [bool; 2],
    /// Anomalies that were told.
    told: Vec<&'static str>,
}

/// A message and what acknowledges it.
#[derive(Debug)]
struct Exchange {
    id: u64,
    direction: Direction,
    /// None: the connection's own.
    packet: Option<u16>,
    /// Members of EVE's object.
    members: Vec<u8>,
}

impl Dissector for Mqtt {
    const APP: App = App::Mqtt;

    const STARTS: Starts = Starts::stream(&[
        0x10, 0x20, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3a, 0x3b, 0x3c, 0x3d, 0x40, 0x50, 0x62, 0x70, 0x82,
        0x90, 0xa2, 0xb0, 0xc0, 0xd0,
    ]);

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        let Some(head) = bytes.first() else { return Probe::Unsure };
        let Some((length, start)) = remaining_length(bytes) else {
            return if bytes.len() < 5 { Probe::Unsure } else { Probe::NotForUs };
        };
        let body = bytes.get(start..).unwrap_or_default();
        if *head == 0x10 {
            let known: [&[u8]; 4] =
                [b"\0\x04MQTT\x04", b"\0\x04MQTT\x05", b"\0\x06MQIsdp\x03", b"\0\x04MQTT\x03"];
            if known.iter().any(|known| body.starts_with(known)) && length >= 10 {
                return Probe::Certain;
            }
            let is_possible = known.iter().any(|known| known.starts_with(body));
            return if is_possible && length >= 10 { Probe::Unsure } else { Probe::NotForUs };
        }
        let is_port = first.has_port_of(PORTS);
        if !is_port || body.len() < length.min(2) {
            return Probe::NotForUs;
        }
        let is_whole = body.len() >= length;
        let is_right = match (head >> 4, length) {
            (kind::CONNACK, 2) => matches!(body, [0 | 1, 0..=5, ..]),
            (kind::PUBLISH, _) => {
                let topic = packet::topic(body);
                topic.is_some_and(|topic| {
                    !topic.is_empty() && topic.iter().all(|byte| *byte >= b' ' && *byte != 0x7f)
                }) && head & 6 != 6
            }
            (kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP | kind::UNSUBACK, 2) => is_whole,
            (kind::PINGREQ | kind::PINGRESP, 0) => body.is_empty(),
            (kind::SUBSCRIBE, 6..) => {
                body.get(2..).and_then(packet::topic).is_some_and(|topic| !topic.is_empty())
            }
            (kind::SUBACK, 3) => matches!(body, [_, _, 0..=2 | 0x80]),
            _ => false,
        };
        if is_right { Probe::Likely } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Mqtt::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_lost[index] {
                return Progress::Used(bytes.len());
            }
            let Some((length, start)) = remaining_length(rest) else {
                if rest.len() < 5 {
                    break;
                }
                self.anomaly("malformed_traffic", context);
                self.is_lost[index] = true;
                continue;
            };
            let size = start.saturating_add(length);
            let most =
                if context.wants(Buffer::MqttPublishMessage) { BODY_BYTES_MAX } else { PACKET_BYTES_MAX };
            let Some(body) = rest.get(start..size.min(most)) else { break };
            let head = rest.first().copied().unwrap_or_default();
            if context.wanted.is_some() {
                let transaction = Some(self.transactions);
                // Suricata takes the header for two bytes, however long its length is written.
                context.frame(Buffer::FrameMqttPdu, transaction, rest.get(..size).unwrap_or(rest));
                context.frame(Buffer::FrameMqttHeader, transaction, rest.get(..2).unwrap_or(rest));
                context.frame(Buffer::FrameMqttData, transaction, body);
            }
            self.packet(head, body, length, context);
            used = used.saturating_add(size);
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        if self.is_lost == [true; 2] { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for exchange in std::mem::take(&mut self.pending) {
            exchange.tell(context);
        }
    }

    fn describe(&self, _: Direction, transaction: u64, out: &mut Vec<u8>) {
        if let Some(exchange) = self.pending.iter().find(|exchange| exchange.id == transaction) {
            out.push(b'{');
            out.extend_from_slice(&exchange.members);
            out.push(b'}');
        }
    }
}

impl Mqtt {
    fn anomaly(&mut self, event: &'static str, context: &mut Context<'_>) {
        if self.told.contains(&event) {
            *context.malformed += 1;
            context.note(event, Some(self.transactions));
            return;
        }
        self.told.push(event);
        context.anomaly(event, Some(self.transactions));
    }

    fn packet(&mut self, head: u8, body: &[u8], length: usize, context: &mut Context<'_>) {
        let Some(packet) = Packet::parse(head, body, length, self.version) else {
            let is_assigned = head >> 4 != 0;
            self.anomaly(if is_assigned { "malformed_traffic" } else { "unassigned_msg_type" }, context);
            let (direction, id) = (context.direction, self.transactions);
            if !is_assigned {
                context.put_number(direction, id, Number::MqttType, 0);
            }
            context.reached(direction, id, Stage::Body);
            self.transactions += 1;
            return;
        };
        if let Some(connect) = &packet.connect {
            self.version = connect.version;
            let version = match connect.version {
                3 => "3.1",
                4 => "3.1.1",
                _ => "5.0",
            };
            context.metadata.set_text(Field::Version, version);
            if !connect.client.is_empty() {
                context.metadata.add(Field::EndpointName, &String::from_utf8_lossy(connect.client));
            }
            if let Some(user) = connect.user {
                context.metadata.add(Field::User, &String::from_utf8_lossy(user));
            }
        }
        context.metadata.add(Field::Command, packet.name());
        for topic in &packet.topics {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(topic));
        }
        if let Some(code) = packet.return_code {
            context.metadata.add(Field::Status, &code.to_string());
        }
        let mut members = Vec::new();
        if context.events.is_some() {
            packet.write(&mut members);
        }
        self.exchange(&packet, members, context);
    }

    fn exchange(&mut self, packet: &Packet<'_>, members: Vec<u8>, context: &mut Context<'_>) {
        let missing = match packet.kind {
            kind::CONNECT => {
                if self.is_connected {
                    self.anomaly("double_connect", context);
                }
                self.begin(None, packet, members, context);
                return;
            }
            kind::PUBLISH | kind::SUBSCRIBE | kind::UNSUBSCRIBE => {
                if !self.is_connected {
                    self.anomaly("unintroduced_message", context);
                }
                match packet.qos {
                    0 => self.tell_alone(packet, members, context),
                    1 | 2 => match packet.id {
                        Some(id) => self.begin(Some(id), packet, members, context),
                        None => {
                            self.anomaly("missing_msg_id", context);
                            self.tell_alone(packet, members, context);
                        }
                    },
                    _ => {
                        self.anomaly("invalid_qos_level", context);
                        self.tell_alone(packet, members, context);
                    }
                }
                return;
            }
            kind::CONNACK => "missing_connect",
            kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => "missing_publish",
            kind::SUBACK => "missing_subscribe",
            kind::UNSUBACK => "missing_unsubscribe",
            _ => {
                if !self.is_connected {
                    self.anomaly("unintroduced_message", context);
                }
                self.tell_alone(packet, members, context);
                return;
            }
        };
        let Some(at) = self.pending.iter().position(|exchange| exchange.packet == packet.id) else {
            self.anomaly(missing, context);
            if packet.kind != kind::CONNACK && !self.is_connected {
                self.anomaly("unintroduced_message", context);
            }
            self.tell_alone(packet, members, context);
            return;
        };
        if packet.kind == kind::CONNACK {
            self.is_connected = true;
        }
        let is_end = !matches!(packet.kind, kind::PUBREC | kind::PUBREL);
        if let Some(exchange) = self.pending.get_mut(at) {
            exchange.members.push(b',');
            exchange.members.extend_from_slice(&members);
            put(packet, exchange.direction, exchange.id, context);
        }
        if is_end && let Some(exchange) = self.pending.remove(at) {
            exchange.tell(context);
        }
    }

    fn begin(
        &mut self,
        number: Option<u16>,
        packet: &Packet<'_>,
        members: Vec<u8>,
        context: &mut Context<'_>,
    ) {
        if self.pending.len() >= PENDING_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            self.anomaly("too_many_transactions", context);
            oldest.tell(context);
        }
        let id = self.transactions;
        self.transactions += 1;
        self.put_first(packet, id, context);
        let direction = context.direction;
        self.pending.push_back(Box::new(Exchange { id, direction, packet: number, members }));
    }

    fn tell_alone(&mut self, packet: &Packet<'_>, members: Vec<u8>, context: &mut Context<'_>) {
        let id = self.transactions;
        self.transactions += 1;
        self.put_first(packet, id, context);
        Exchange { id, direction: context.direction, packet: None, members }.tell(context);
    }

    /// Tells signatures the first message of an exchange. All of an exchange is told as who began it says it, as
    /// Suricata looks at it, and the flow's version as the client's.
    fn put_first(&self, packet: &Packet<'_>, id: u64, context: &mut Context<'_>) {
        let direction = context.direction;
        if direction == Direction::Forward {
            context.put_number(direction, id, Number::MqttProtocolVersion, u64::from(self.version));
        }
        put(packet, direction, id, context);
    }
}

/// Tells signatures a message of an exchange.
fn put(packet: &Packet<'_>, direction: Direction, id: u64, context: &mut Context<'_>) {
    if context.wanted.is_none() {
        return;
    }
    let mut number = |number, value: u8| context.put_number(direction, id, number, u64::from(value));
    number(Number::MqttType, packet.kind);
    // As in Suricata, of what servers begin these are not looked at.
    if direction == Direction::Forward {
        number(Number::MqttFlags, packet.header_flags());
        number(Number::MqttQos, packet.qos);
    }
    packet.reason_codes().for_each(|code| number(Number::MqttReasonCode, code));
    if let Some(is_present) = packet.session_present {
        number(Number::MqttConnackSessionPresent, u8::from(is_present));
    }
    let mut text = |buffer, text: &[u8]| {
        if !text.is_empty() {
            context.put(direction, id, buffer, text);
        }
    };
    if let Some(connect) = &packet.connect {
        text(Buffer::MqttConnectProtocolString, connect.protocol);
        text(Buffer::MqttConnectClientid, connect.client);
        text(Buffer::MqttConnectUsername, connect.user.unwrap_or_default());
        text(Buffer::MqttConnectPassword, connect.password.unwrap_or_default());
        let (topic, message, _) = connect.will.unwrap_or_default();
        text(Buffer::MqttConnectWilltopic, topic);
        text(Buffer::MqttConnectWillmessage, message);
        context.put_number(direction, id, Number::MqttConnectFlags, u64::from(connect.flags));
        return;
    }
    let topics = match packet.kind {
        kind::PUBLISH => Buffer::MqttPublishTopic,
        kind::SUBSCRIBE => Buffer::MqttSubscribeTopic,
        kind::UNSUBSCRIBE => Buffer::MqttUnsubscribeTopic,
        _ => return,
    };
    packet.topics.iter().for_each(|topic| text(topics, topic));
    if let Some((message, _)) = packet.message {
        text(Buffer::MqttPublishMessage, message);
    }
}

impl Exchange {
    fn tell(&self, context: &mut Context<'_>) {
        context.reached(self.direction, self.id, Stage::Body);
        let (app, time) = (context.app, context.time);
        let Some(events) = context.events.as_deref_mut() else { return };
        let body = [b"{", &self.members[..], b"}"].concat();
        events.push(Event { transaction: Some(self.id), ..Event::new(app, time, self.direction, body) });
    }
}
