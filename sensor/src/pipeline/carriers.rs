//! Packets that carry others in tunnels: what signatures see of them, and records where they are wanted.
//!
//! In: a frame whose packet came in tunnels, after that packet was looked at. Out: `alert` events of the flows that the
//! packets around it make up: VXLAN's datagrams, IP in IP, GRE. The flow table measures what is innermost, and so do
//! records; these flows are a table of their own, made when the first such packet comes and only where some signature may be
//! about one ([`Needs::carriers`](crate::signatures::Needs)), or where `decode.outer_flows` asks for their records. What
//! they carry is looked at as payload. Deliberately absent: dissectors, faults of frames (which the packet inside was
//! shown), and datagrams put together from fragments, each of which was metered as a packet.

use super::*;
use crate::counters::FlowCounters;
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

/// What of a worker their flows lead to.
pub(super) struct Around<'w> {
    pub(super) alerts: Option<&'w mut Alerts>,
    pub(super) lane: Option<&'w Lane>,
    pub(super) outbox: &'w mut Outbox,
    pub(super) events: Option<&'w mut Vec<Event>>,
    pub(super) counters: &'w mut WorkerCounters,
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
        let (time, mut uncounted) = (frame.time, FlowCounters::default());
        decode::carriers(frame, &mut |packet| {
            let observed =
                flows.observe(packet, time, frame.interface, &mut uncounted, &mut |flow, reason| {
                    around.end(flow, reason, *are_recorded);
                });
            let flow = flows.flow_mut(observed.slot);
            if let Some(lane) = around.lane {
                let places = flow.attachment.places.get_or_insert_default();
                places.cover(lane.blocks_between(time, time), lane.newest(), 1);
            }
            around.show(frame, packet, observed.direction, flow);
        });
    }

    /// Ends flows that have been quiet for as long as others.
    pub(super) fn expire(&mut self, now: Timestamp, around: &mut Around<'_>) {
        let Carriers { flows: Some(flows), are_recorded, .. } = self else { return };
        let mut ended = |flow: &mut Flow<Attachment>, reason| around.end(flow, reason, *are_recorded);
        while flows.expire(now, &mut FlowCounters::default(), &mut ended) {}
    }

    /// Ends all of them: the capture is over.
    pub(super) fn drain(&mut self, around: &mut Around<'_>) {
        let Carriers { flows: Some(flows), are_recorded, .. } = self else { return };
        let mut ended = |flow: &mut Flow<Attachment>, reason| around.end(flow, reason, *are_recorded);
        flows.drain(&mut FlowCounters::default(), &mut ended);
    }
}

impl Around<'_> {
    /// Shows signatures a packet, and tells what they find.
    fn show(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        direction: Direction,
        flow: &mut Flow<Attachment>,
    ) {
        let Around { alerts: Some(alerts), lane, outbox, events: Some(events), counters } = self else {
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
    fn end(&mut self, flow: &mut Flow<Attachment>, reason: EndReason, is_recorded: bool) {
        let protocol = flow.key().protocol;
        if !is_recorded || !(protocol == protocol::UDP || matches!(protocol, IP_IN_IP | IPV6)) {
            return;
        }
        let Around { alerts, lane, outbox, events, counters } = self;
        outbox.end(
            flow,
            reason,
            None,
            alerts.as_deref_mut(),
            events.as_deref_mut(),
            *lane,
            &mut counters.dpi,
            &mut counters.export,
        );
    }
}
