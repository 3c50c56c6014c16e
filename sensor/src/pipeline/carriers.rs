//! Packets that carry others in tunnels: what signatures see of them, and records where they are wanted.
//!
//! In: a frame whose packet came in tunnels, after that packet was looked at. Out: `alert` events of the flows that the
//! packets around it make up: VXLAN's datagrams, IP in IP, GRE. The flow table measures what is innermost, and so do
//! records; these flows are a table of their own, made when the first such packet comes and only where some signature may be
//! about one ([`Needs::carriers`](crate::signatures::Needs)), or where `decode.outer_flows` asks for their records. What
//! they carry is looked at as payload. Deliberately absent: dissectors, faults of frames (which the packet inside was
//! shown), and datagrams put together from fragments, each of which was metered as a packet.

use super::around::Around;
use super::*;
use crate::flow::config::FlowConfig;
use weir_common::net::protocol;

/// Most flows of a worker that carry others; at the limit the one that was seen the longest time ago ends.
const CARRIER_FLOWS_MAX: u32 = 1 << 14;
/// IANA's numbers of IP in IP.
const IP_IN_IP: u8 = 4;
const IPV6: u8 = 41;
/// Set in the number that a flow's identifier ends with: workers have smaller ones.
const CARRIER: u16 = 1 << 15;

/// The flows of packets that carry others.
pub(super) struct Carriers {
    flows: Option<Box<FlowTable<Attachment>>>,
    config: FlowConfig,
    worker: u16,
    /// `decode.outer_flows`.
    are_recorded: bool,
}

impl Carriers {
    /// None yet, of a worker.
    pub(super) fn new(config: &FlowConfig, are_recorded: bool, worker: u16) -> Carriers {
        Carriers { flows: None, config: config.clone(), worker, are_recorded }
    }

    /// Whether anybody asks for them.
    pub(super) fn are_wanted(&self, alerts: Option<&Alerts>) -> bool {
        self.are_recorded || alerts.is_some_and(Alerts::asks_for_carriers)
    }

    /// Looks at the packets around a frame's packet.
    pub(super) fn see(&mut self, frame: &Frame<'_>, around: &mut Around<'_>) {
        let Carriers { flows, config, worker, are_recorded } = self;
        let flows = flows.get_or_insert_with(|| {
            let flows_max = config.flows_max.min(CARRIER_FLOWS_MAX);
            Box::new(FlowTable::new(config, flows_max, *worker | CARRIER))
        });
        let time = frame.time;
        decode::carriers(frame, &mut |packet| {
            let observed = flows.observe(packet, time, frame.interface, &mut |flow, reason| {
                end(around, flow, reason, *are_recorded);
            });
            let flow = flows.flow_mut(observed.slot);
            if let Some(lane) = around.lane {
                let places = flow.attachment.places.get_or_insert_default();
                places.cover(lane.blocks_between(time, time), lane.newest(), 1);
            }
            show(around, frame, packet, observed.direction, flow);
        });
    }

    /// Ends flows that have been quiet for as long as others.
    pub(super) fn expire(&mut self, now: Timestamp, around: &mut Around<'_>) {
        let Carriers { flows: Some(flows), are_recorded, .. } = self else { return };
        let mut ended = |flow: &mut Flow<Attachment>, reason| end(around, flow, reason, *are_recorded);
        while flows.expire(now, &mut ended) {}
    }

    /// Ends all of them: the capture is over.
    pub(super) fn drain(&mut self, around: &mut Around<'_>) {
        let Carriers { flows: Some(flows), are_recorded, .. } = self else { return };
        let mut ended = |flow: &mut Flow<Attachment>, reason| end(around, flow, reason, *are_recorded);
        flows.drain(&mut ended);
    }
}

/// Shows signatures a packet, and tells what they find.
fn show(
    around: &mut Around<'_>,
    frame: &Frame<'_>,
    packet: &Packet<'_>,
    direction: Direction,
    flow: &mut Flow<Attachment>,
) {
    let Around { alerts: Some(alerts), lane, outbox, events: Some(events), counters, .. } = around else {
        return;
    };
    if !alerts.asks_for_carriers() {
        return;
    }
    let number = counters.capture.frames;
    alerts.carrier((frame, number), packet, direction, flow, events);
    for alert in alerts.take() {
        let evidence = lane.map(|lane| Box::new(evidence_so_far(lane, flow)));
        outbox.alert(SignatureAlert { evidence, ..alert }, &mut counters.export);
    }
    if !events.is_empty() {
        events.iter_mut().for_each(|event| event.packet = number);
        let tunnel = if packet.tunnel_depth > 0 { decode::tunnel_of(frame) } else { None };
        outbox.events(flow, packet_source(tunnel.as_ref(), false), events, &mut counters.export);
    }
}

/// A flow has ended, or is sliced.
fn end(around: &mut Around<'_>, flow: &mut Flow<Attachment>, reason: EndReason, is_recorded: bool) {
    let protocol = flow.key().protocol;
    if is_recorded && matches!(protocol, protocol::UDP | IP_IN_IP | IPV6) {
        around.end(flow, reason);
    }
}
