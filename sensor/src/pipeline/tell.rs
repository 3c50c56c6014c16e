//! What becomes of what signatures find: when it is told, and with what.
//!
//! In: what was found at a packet, with its flow, after inspection has told its events. Out: `alert` events among those. What
//! was found in a TCP stream waits ([`Late`](crate::signatures::Late)). Every event of a flow that rules have marked
//! says how, as in Suricata.

use crate::capture::Frame;
use crate::decode::{self, Tcp, Transport};
use crate::dpi::{Event, Inspection};
use crate::export::config::ExportConfig;
use crate::signatures::config::SignaturesConfig;
use crate::signatures::{Beside, FlowMarks, Found, Quoted, Rules, Sight, Transaction, alert, event_name};
use std::sync::Arc;
use weir_common::metadata::Metadata;
use weir_common::net::{CommunityId, protocol};
use weir_common::record::{SignatureAlert, tcp_flags};
use weir_common::time::Timestamp;

/// Who is told of alerts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Audience {
    /// Readers of events.
    pub(super) events: bool,
    /// Collectors.
    pub(super) collectors: bool,
}

impl Audience {
    /// Those whom `[export]` names.
    pub(super) fn of(config: &ExportConfig) -> Audience {
        Audience { events: !config.eve.is_empty(), collectors: !config.destinations.is_empty() }
    }
}

/// Tells alerts.
#[derive(Debug)]
pub(super) struct Teller {
    /// Alerts carry payloads, of streams so much.
    payload_bytes_max: Option<usize>,
    carries_packet: bool,
    has_references: bool,
    /// What is found in a stream waits until it is acknowledged.
    waits: bool,
    /// Alerts are told as events.
    tells_events: bool,
    /// Alerts told since they were taken last; none: no collector is told.
    records: Option<Vec<SignatureAlert>>,
}

/// A packet that alerts are told with.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) rules: &'a Arc<Rules>,
    pub(super) sight: &'a Sight<'a>,
    /// Its frame and that one's number in the capture; none: the flow has ended.
    pub(super) frame: Option<(&'a Frame<'a>, u64)>,
    /// When its flow began.
    pub(super) start: Timestamp,
    /// Its flow; not read before there is something to tell.
    pub(super) community_id: &'a CommunityId,
    pub(super) inspection: Option<&'a Inspection>,
    /// What inspection knows of the flow.
    pub(super) metadata: Option<&'a Metadata>,
}

impl Teller {
    /// As the `[signatures]` section wants it. `waits`: see `dpi.wait_for_acknowledgement`.
    pub(super) fn new(config: &SignaturesConfig, waits: bool, audience: Audience) -> Teller {
        Teller {
            payload_bytes_max: config.alert_payload.then_some(config.alert_payload_bytes_max as usize),
            carries_packet: config.alert_packet,
            has_references: config.alert_references,
            waits,
            tells_events: audience.events,
            records: audience.collectors.then(Vec::new),
        }
    }

    /// Takes the alerts that were told, for collectors.
    pub(super) fn take(&mut self) -> impl Iterator<Item = SignatureAlert> {
        self.records.iter_mut().flat_map(|records| records.drain(..))
    }

    /// Tells collectors what was found at a frame that holds no packet. They are told as of a flow of its own, between the
    /// ends that could be read; of a frame without any, between those of no address.
    pub(super) fn of_frame(&mut self, rules: &Rules, found: &[Found], sight: &Sight<'_>, seed: u16) {
        let Some(records) = &mut self.records else { return };
        let icmp = match sight.packet.transport {
            Transport::Icmp { kind, code } => Some((kind, code)),
            _ => None,
        };
        let community_id = CommunityId::of(&sight.key, icmp, seed);
        let alert = |found| alert::record(rules, found, sight, community_id, sight.time);
        records.extend(found.iter().filter_map(alert));
    }

    /// The packet of a frame, where alerts carry it.
    pub(super) fn quoted<'a>(&self, frame: &Frame<'a>) -> Option<Quoted<'a>> {
        self.carries_packet.then_some(Quoted { link: frame.link.0, bytes: [frame.data, &[]] })
    }

    /// Tells what was found at a packet, and what has waited for it.
    pub(super) fn packet(
        &mut self,
        scene: &Scene<'_>,
        marks: &mut FlowMarks,
        found: &[Found],
        events: &mut Vec<Event>,
    ) {
        marks.silence(events);
        events.iter().for_each(|event| marks.late.count(event));
        if !marks.late.is_empty() {
            events.iter().for_each(|event| marks.late.learn(event));
        }
        let tcp = match &scene.sight.packet.transport {
            Transport::Tcp(tcp) => Some(tcp),
            _ => None,
        };
        if let Some(tcp) = tcp {
            for held in marks.late.packet(tcp, scene.sight.direction) {
                let scene = Scene { rules: &held.rules, ..*scene };
                self.tell(&scene, marks, &held.found, held.transaction, events);
            }
            if let Some(bytes_max) = self.payload_bytes_max {
                let excerpts = marks.excerpts.get_or_insert_default();
                excerpts.segment(tcp, scene.sight.packet.payload, scene.sight.direction, bytes_max);
            }
        }
        for found in found {
            let mut transaction = Transaction::default();
            let found = guess(scene, marks, found, events, &mut transaction);
            let waits = tcp.filter(|_| self.waits && found.is_of_stream && is_answered(scene.sight, &found));
            let transaction = match waits {
                Some(tcp) => {
                    learn(&mut transaction, &found, scene.inspection, events);
                    let is_of_packet = found.direction == scene.sight.direction;
                    let end = is_of_packet.then(|| end_of(tcp, scene.sight.packet.payload.len()));
                    marks.late.hold(scene.rules, found.clone(), transaction, end)
                }
                None => Some(transaction),
            };
            if let Some(transaction) = transaction {
                self.tell(scene, marks, &found, transaction, events);
            }
        }
        add_marks(scene.rules, marks, events);
    }

    /// Tells what was found at the flow's end, and what has waited in vain.
    pub(super) fn ended(
        &mut self,
        scene: &Scene<'_>,
        marks: &mut FlowMarks,
        found: &[Found],
        events: &mut Vec<Event>,
    ) {
        marks.silence(events);
        events.iter().for_each(|event| marks.late.learn(event));
        for held in marks.late.end() {
            let scene = Scene { rules: &held.rules, ..*scene };
            self.tell(&scene, marks, &held.found, held.transaction, events);
        }
        for found in found {
            self.tell(scene, marks, found, Transaction::default(), events);
        }
        add_marks(scene.rules, marks, events);
    }

    fn tell(
        &mut self,
        scene: &Scene<'_>,
        marks: &FlowMarks,
        found: &Found,
        mut transaction: Transaction,
        events: &mut Vec<Event>,
    ) {
        if let Some(records) = &mut self.records {
            records.extend(alert::record(scene.rules, found, scene.sight, *scene.community_id, scene.start));
        }
        if !self.tells_events {
            return;
        }
        learn(&mut transaction, found, scene.inspection, events);
        let (packet, frame) = (scene.sight.packet, scene.frame);
        let excerpt = self.payload_bytes_max.and_then(|bytes_max| {
            let excerpts = marks.excerpts.as_ref().filter(|_| found.is_of_stream)?;
            Some(excerpts.text(found.direction, bytes_max)).filter(|text| !text.is_empty())
        });
        let payload = excerpt.as_deref().unwrap_or(packet.payload);
        let is_changed = packet.tunnel_depth > 0 || packet.ip.is_fragment && !packet.network.is_empty();
        let quoted = frame.and_then(|(frame, _)| self.quoted(frame)).map(|quoted| match packet.own_bytes() {
            (link, bytes) if is_changed => Quoted { link: link.0, bytes },
            _ => quoted,
        });
        let outermost =
            frame.filter(|_| packet.tunnel_depth > 0).and_then(|(frame, _)| decode::outermost_of(frame));
        let beside = Beside {
            transaction: Some(&transaction),
            flow_start: Some(scene.start),
            metadata: scene.metadata,
            payload: self.payload_bytes_max.map(|_| payload),
            packet: quoted,
            outermost,
            frame: frame.map_or(0, |(_, number)| number),
            has_references: self.has_references,
        };
        events.extend(alert::event(scene.rules, found, scene.sight, &beside));
    }
}

/// Whether the other end was seen, and may acknowledge what was found.
fn is_answered(sight: &Sight<'_>, found: &Found) -> bool {
    sight.flow.packets[found.direction.flip().index()] > 0
}

/// What was found in a stream is of the transaction that is going on, as far as anybody can tell, and what a rule about a
/// protocol found in a datagram is of the one that the datagram brought.
fn guess(
    scene: &Scene<'_>,
    marks: &FlowMarks,
    found: &Found,
    events: &[Event],
    transaction: &mut Transaction,
) -> Found {
    let is_guess = match scene.sight.key.protocol {
        protocol::TCP => found.is_of_stream,
        protocol::UDP => scene.rules.names_application(found.signature),
        _ => false,
    };
    let Some(inspection) = scene.inspection.filter(|_| is_guess && found.transaction.is_none()) else {
        return found.clone();
    };
    let direction = inspection.own(found.direction);
    let waiting = || inspection.waiting_events().filter(|event| event.kind == event_name(found.app));
    let next = waiting().filter_map(|event| event.transaction).map(|last| last.saturating_add(1)).max();
    let next = next.unwrap_or_default().max(marks.late.next());
    let mut body = Vec::new();
    inspection.describe(direction, next, &mut body);
    let number = if body.is_empty() {
        let told = events.iter().rev().find(|event| event.kind == event_name(found.app));
        told.or_else(|| waiting().next_back()).and_then(|event| event.transaction)
    } else {
        Some(next)
    };
    transaction.is_guessed = number.is_some() && scene.sight.key.protocol == protocol::TCP;
    Found { transaction: number.map(|number| (number, direction)), ..found.clone() }
}

/// Takes up what is known of a match's transaction: what its dissector knows, or else its event.
fn learn(transaction: &mut Transaction, found: &Found, inspection: Option<&Inspection>, events: &[Event]) {
    let Some((number, direction)) = found.transaction else { return };
    if let Some(inspection) = inspection {
        inspection.waiting_events().for_each(|event| transaction.learn(found, event));
    }
    events.iter().for_each(|event| transaction.learn(found, event));
    let Some(inspection) = inspection else { return };
    let mut body = Vec::new();
    inspection.describe(direction, number, &mut body);
    if !body.is_empty() {
        transaction.kind = Some(event_name(found.app));
        transaction.body = body;
        transaction.beside.clear();
    }
}

/// Says of each event how rules have marked its flow.
fn add_marks(rules: &Rules, marks: &FlowMarks, events: &mut [Event]) {
    if events.is_empty() {
        return;
    }
    let members = alert::marks_of(rules, marks);
    if members.is_empty() {
        return;
    }
    for event in events {
        if !event.beside.is_empty() {
            event.beside.push(b',');
        }
        event.beside.extend_from_slice(&members);
    }
}

/// Where the next segment begins, by this one's numbers (RFC 9293 section 3.4).
fn end_of(tcp: &Tcp, payload_bytes: usize) -> u32 {
    let end = tcp.sequence.wrapping_add(payload_bytes as u32);
    end.wrapping_add(u32::from(tcp.flags & tcp_flags::SYN != 0))
}
