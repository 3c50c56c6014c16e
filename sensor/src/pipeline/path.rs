//! The path of a packet behind decoding: flow, ring, inspection, signatures.
//!
//! In: frames, with what was decoded of them. Out: records, events and alerts in the outbox, frames in the lane of the
//! ring, and counts.

use super::alerts::Alerts;
use super::around::Around;
use super::carriers::Carriers;
use super::outbox::Outbox;
use super::{Attachment, GRE, ON_THE_WIRE, evidence_so_far, has_begun};
use crate::capture::Frame;
use crate::counters::WorkerCounters;
use crate::decode::{self, DecodeEvent, Packet, Parsed};
use crate::dpi::{Event, Inspection, Inspector, Sessions, StreamEvents};
use crate::export::packet_source;
use crate::flow::{Flow, FlowHash, FlowTable, Observed};
use crate::ring::entry::LeftOut;
use crate::ring::summary::NO_FLOW;
use crate::ring::{Lane, cut_off};
use weir_common::app::App;
use weir_common::net::Direction;
use weir_common::record::{FlowState, SignatureAlert};
use weir_common::time::Timestamp;

/// What a worker does with a packet, and what it needs for that.
pub(super) struct Path {
    pub(super) flows: FlowTable<Attachment>,
    pub(super) inspector: Option<Inspector>,
    /// None as long as there never were rules.
    pub(super) alerts: Option<Alerts>,
    pub(super) lane: Option<Lane>,
    pub(super) outbox: Outbox,
    /// Events of the packet at hand; `None` when neither export nor signatures listen.
    pub(super) events: Option<Vec<Event>>,
    /// Faults of frames are told.
    pub(super) has_decode_events: bool,
    /// What is served at a port shows who began, where nothing else does.
    pub(super) responder_by_port: bool,
    /// TCP connections are looked into from their middle, too.
    pub(super) midstream: bool,
    /// What is odd about TCP connections.
    pub(super) sessions: Sessions,
    /// Flows of packets that carry others in tunnels, where anybody asks for them.
    pub(super) carriers: Carriers,
    pub(super) counters: WorkerCounters,
    /// Time of the latest frame, or of a quiet source's clock.
    pub(super) now: Timestamp,
    /// The same wherever the clock was set: what the ring writes down goes by it.
    pub(super) clock: Timestamp,
}

/// The tables of flows, and what the end of one concerns.
pub(super) struct Apart<'w> {
    pub(super) flows: &'w mut FlowTable<Attachment>,
    pub(super) carriers: &'w mut Carriers,
    pub(super) around: Around<'w>,
}

impl Path {
    /// The parts, so that what looks for ends of flows and what an end concerns can be changed at once.
    #[inline]
    pub(super) fn apart(&mut self) -> Apart<'_> {
        let Path { flows, carriers, inspector, alerts, lane, outbox, events, counters, .. } = self;
        let (inspector, alerts, lane) = (inspector.as_mut(), alerts.as_mut(), lane.as_ref());
        let around = Around { inspector, alerts, lane, outbox, events: events.as_mut(), counters };
        Apart { flows, carriers, around }
    }

    /// Counts a frame.
    #[inline]
    pub(super) fn count(&mut self, frame: &Frame<'_>) {
        let counters = &mut self.counters.capture;
        counters.frames += 1;
        counters.bytes += frame.data.len() as u64;
        counters.cut_off += u64::from(frame.wire_len as usize > frame.data.len());
        self.clock = frame.time;
        self.now = self.now.max(frame.time);
    }

    /// Whether anybody asks for faults of frames.
    #[inline]
    pub(super) fn wants_faults(&self) -> bool {
        self.has_decode_events || self.alerts.as_ref().is_some_and(Alerts::asks_for_decode_events)
    }

    /// Tells of a frame's faults, and of what signatures find in frames.
    #[inline]
    pub(super) fn frame(
        &mut self,
        frame: &Frame<'_>,
        decoded: (&Parsed<'_>, Option<&Packet<'_>>),
        is_copy: bool,
        faults: &[DecodeEvent],
    ) {
        let Path { alerts, outbox, flows, counters, .. } = self;
        if self.has_decode_events {
            faults.iter().for_each(|fault| outbox.tell(frame, ON_THE_WIRE, *fault, None, counters));
        }
        let Some(alerts) = alerts else { return };
        let seed = flows.community_id_seed();
        alerts.frame(frame, decoded.1.is_some(), faults, seed, &mut |fault, alert| {
            outbox.tell(frame, ON_THE_WIRE, fault, Some(alert), counters);
        });
        if alerts.asks_for_frames() && !is_copy {
            look_at_bare(alerts, frame, decoded, outbox, counters);
        }
        for alert in alerts.take() {
            outbox.alert(alert, &mut counters.export);
        }
    }

    /// The path of a frame without a packet to be measured, which is kept.
    pub(super) fn alone(&mut self, frame: &Frame<'_>, parsed: &Parsed<'_>) {
        let Path { lane, flows, outbox, counters, .. } = self;
        if let Some(lane) = lane {
            keep_alone(lane, frame, parsed, flows, counters);
        }
        if outbox.tells_events
            && matches!(parsed, Parsed::Nothing)
            && let Some(arp) = decode::arp(frame)
        {
            outbox.arp(frame, arp, counters);
        }
    }

    /// The path of a packet.
    #[inline]
    pub(super) fn packet(&mut self, frame: &Frame<'_>, packet: &Packet<'_>, hash: FlowHash) {
        if packet.ip.protocol == GRE
            && self.outbox.tells_events
            && let Some(arp) = decode::arp_in_gre(packet)
        {
            self.outbox.arp(frame, arp, &mut self.counters);
        }
        let Apart { flows, mut around, .. } = self.apart();
        let observed =
            flows.observe_hashed(packet, hash, frame.time, frame.interface, &mut |flow, reason| {
                around.end(flow, reason);
            });
        let Path { flows, lane, counters, .. } = self;
        let flow = flows.flow_mut(observed.slot);
        if observed.is_new && packet.tunnel_depth > 0 {
            flow.attachment.tunnel = decode::tunnel_of(frame).map(Box::new);
        }
        if observed.is_flipped {
            turn(&mut flow.attachment, None);
        }
        if let Some(lane) = lane {
            keep(lane, frame, packet, observed.direction, flow, counters);
        }
        let (direction, odd) = self.inspect(frame, packet, &observed);
        self.tell(frame, packet, &observed, direction, odd);
    }

    /// Looks into a packet; gives which way it goes, by what is known now, and what is odd about its connection.
    #[inline]
    fn inspect(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        observed: &Observed,
    ) -> (Direction, StreamEvents) {
        let Path { flows, inspector, outbox, events, counters, .. } = self;
        let flow = flows.flow_mut(observed.slot);
        let direction = observed.direction;
        let has_begun = has_begun(flow, packet);
        let odd = self.sessions.see(&mut flow.attachment.session, packet, direction, frame.time);
        let Some(inspector) = inspector else { return (direction, odd) };
        if packet.is_partial || !(self.midstream || has_begun) {
            return (direction, odd);
        }
        inspector.inspect(
            &mut flow.attachment.inspection,
            packet,
            (direction, !has_begun),
            frame.time,
            events.as_mut().filter(|_| outbox.tells_events),
            &mut counters.dpi,
        );
        let is_closed = flow.state() == FlowState::Closed;
        let Some(inspection) = &mut flow.attachment.inspection else { return (direction, odd) };
        let odd = odd.and(inspection.take_stream_events());
        if observed.is_turn {
            inspection.closed_by(is_closed.then_some(counters.capture.frames));
        }
        if self.responder_by_port && inspection.take_is_backwards() && flows.flip(observed.slot) {
            turn(&mut flows.flow_mut(observed.slot).attachment, events.as_mut());
            return (direction.flip(), odd);
        }
        (direction, odd)
    }

    /// Shows a packet, and what it made known, to signatures; tells what was found.
    #[inline]
    fn tell(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        observed: &Observed,
        direction: Direction,
        odd: StreamEvents,
    ) {
        let Path { flows, alerts, lane, outbox, events: Some(events), counters, .. } = self else { return };
        let flow = flows.flow_mut(observed.slot);
        if !odd.is_empty() && outbox.tells_events {
            let app = flow.attachment.inspection.as_ref().map_or(App::Unknown, |inspection| inspection.app());
            let session = &mut flow.attachment.session;
            self.sessions.tell(session, odd, app, frame.time, direction, events);
        }
        if let Some(alerts) = alerts {
            alerts.see_stream_events(odd);
            alerts.packet((frame, counters.capture.frames), packet, direction, flow, events);
            for alert in alerts.take() {
                let evidence = lane.as_ref().map(|lane| Box::new(evidence_so_far(lane, flow)));
                outbox.alert(SignatureAlert { evidence, ..alert }, &mut counters.export);
            }
        }
        if !events.is_empty() {
            for event in events.iter_mut() {
                event.packet = counters.capture.frames;
            }
            let tunnel = if packet.tunnel_depth > 0 { decode::tunnel_of(frame) } else { None };
            let source = packet_source(tunnel.as_ref(), packet.ip.is_fragment && !packet.is_partial);
            outbox.events(flow, source, events, &mut counters.export);
        }
    }

    /// Looks at the packets that carried a frame's in tunnels, where anybody asks for them.
    #[cold]
    pub(super) fn see_carriers(&mut self, frame: &Frame<'_>) {
        let Apart { carriers, mut around, .. } = self.apart();
        if carriers.are_wanted(around.alerts.as_deref()) {
            carriers.see(frame, &mut around);
        }
    }
}

/// Looks for signatures about frames that may hold no packet.
#[cold]
fn look_at_bare(
    alerts: &mut Alerts,
    frame: &Frame<'_>,
    (parsed, packet): (&Parsed<'_>, Option<&Packet<'_>>),
    outbox: &mut Outbox,
    counters: &mut WorkerCounters,
) {
    let bare = match (parsed, packet) {
        (Parsed::Nothing, _) => decode::bare_frame(frame),
        (_, Some(packet)) => decode::bare_frame_in(packet),
        _ => None,
    };
    let Some(bare) = bare else { return };
    let source = packet_source(bare.tunnel.as_ref(), false);
    alerts.bare_frame(frame, &bare, &mut |alert| {
        outbox.tell(frame, source, bare.event(), Some(alert), counters);
    });
}

/// Gives the ring a frame without a packet of a flow.
fn keep_alone(
    lane: &mut Lane,
    frame: &Frame<'_>,
    parsed: &Parsed<'_>,
    flows: &FlowTable<Attachment>,
    counters: &mut WorkerCounters,
) {
    // Whose a fragment is shows when the first one of its datagram comes. If it never does, the flow has no ports, and
    // must be found as well.
    let orphaned = match parsed {
        Parsed::Fragment(fragment) => Some(flows.id_without_ports(fragment.ip()).tag()),
        _ => None,
    };
    let tag = if orphaned.is_some() { None } else { Some(NO_FLOW) };
    let kept = lane.append(frame, tag, None, &mut counters.ring);
    if let (Some(orphaned), Some(_)) = (orphaned, kept) {
        lane.may_be_of(orphaned);
    }
}

/// Gives the ring a packet of a flow, which remembers where it is.
#[inline]
fn keep(
    lane: &mut Lane,
    frame: &Frame<'_>,
    packet: &Packet<'_>,
    direction: Direction,
    flow: &mut Flow<Attachment>,
    counters: &mut WorkerCounters,
) {
    let tag = Some(flow.community_id().tag());
    let Attachment { inspection, places, .. } = &mut flow.attachment;
    let places = places.get_or_insert_default();
    let kept = match without_ciphertext(frame, packet, direction, inspection) {
        Some((frame, receipt)) => lane.append(&frame, tag, Some(receipt), &mut counters.ring),
        None => lane.append(frame, tag, None, &mut counters.ring),
    };
    match kept {
        Some(number) => places.add(number),
        None => places.miss(),
    }
    if let Some(early) = packet.early {
        places.cover(lane.blocks_between(early.start, frame.time), lane.newest(), early.packets);
    }
}

/// The flow's ends have been exchanged: what is told of it from now on knows.
#[cold]
fn turn(about: &mut Attachment, events: Option<&mut Vec<Event>>) {
    if let Some(inspection) = &mut about.inspection {
        inspection.swap_directions();
    }
    if let Some(marks) = &mut about.marks {
        marks.swap_directions();
    }
    if let Some(session) = &mut about.session {
        session.swap_directions();
    }
    for event in events.into_iter().flatten() {
        event.direction = event.direction.flip();
    }
}

/// The frame without the ciphertext of its payload, and the receipt for that. None: it is kept whole, as is
/// every fragment and every packet of which the frame does not have all.
#[inline]
fn without_ciphertext<'a>(
    frame: &Frame<'a>,
    packet: &Packet<'_>,
    direction: Direction,
    inspection: &mut Option<Box<Inspection>>,
) -> Option<(Frame<'a>, LeftOut)> {
    let kept = inspection.as_mut()?.kept_of(packet, direction)?;
    if packet.is_cut || packet.is_partial || packet.ip.is_fragment {
        return None;
    }
    cut_off::shorten(frame, packet.payload, kept)
}
