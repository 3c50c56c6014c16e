//! What signatures see of packets that carry others in tunnels.
//!
//! In: a frame whose packet came in tunnels, after that packet was looked at. Out: `alert` events of the flows that the
//! packets around it make up: VXLAN's datagrams, IP in IP, GRE. The flow table measures what is innermost, and so do
//! records; these flows are a table of their own that only signatures see, made when the first such packet comes and only
//! where some signature may be about one ([`Needs::carriers`](crate::signatures::Needs)). What they carry is looked at as
//! payload. Deliberately absent: records of them, dissectors, faults of frames (which the packet inside was shown), and
//! datagrams put together from fragments, each of which was metered as a packet.

use super::*;
use crate::counters::FlowCounters;
use crate::flow::config::FlowConfig;

/// Most flows of a worker that carry others; at the limit the one that was seen the longest time ago ends.
const CARRIER_FLOWS_MAX: u32 = 1 << 14;
/// Set in the number that a flow's identifier ends with: workers have smaller ones.
const CARRIER: u16 = 1 << 15;

/// The flows of packets that carry others.
pub(super) struct Carriers {
    flows: Option<Box<FlowTable<Attachment>>>,
    config: FlowConfig,
    worker: u16,
}

impl Carriers {
    /// None yet, of a worker.
    pub(super) fn new(config: &FlowConfig, worker: u16) -> Carriers {
        Carriers { flows: None, config: config.clone(), worker }
    }

    /// Shows signatures the packets around a frame's packet.
    pub(super) fn see(
        &mut self,
        frame: &Frame<'_>,
        alerts: &mut Alerts,
        lane: Option<&Lane>,
        (outbox, events): (&mut Outbox, &mut Vec<Event>),
        counters: &mut WorkerCounters,
    ) {
        let Carriers { flows, config, worker } = self;
        let flows = flows.get_or_insert_with(|| {
            let flows_max = config.flows_max.min(CARRIER_FLOWS_MAX);
            Box::new(FlowTable::new(config, flows_max, *worker | CARRIER))
        });
        let mut unmeasured = FlowCounters::default();
        decode::carriers(frame, &mut |packet| {
            let observed =
                flows.observe(packet, frame.time, frame.interface, &mut unmeasured, &mut |_, _| ());
            let flow = flows.flow_mut(observed.slot);
            if let Some(lane) = lane {
                let places = flow.attachment.places.get_or_insert_default();
                places.cover(lane.blocks_between(frame.time, frame.time), lane.newest(), 1);
            }
            alerts.carrier((frame, counters.capture.frames), packet, observed.direction, flow, events);
            for alert in alerts.take() {
                let evidence = lane.map(|lane| Box::new(evidence_so_far(lane, flow)));
                outbox.alert(SignatureAlert { evidence, ..alert }, &mut counters.export);
            }
            if !events.is_empty() {
                events.iter_mut().for_each(|event| event.packet = counters.capture.frames);
                let tunnel = if packet.tunnel_depth > 0 { decode::tunnel_of(frame) } else { None };
                outbox.events(flow, packet_source(tunnel.as_ref(), false), events, &mut counters.export);
            }
        });
    }

    /// Forgets flows that have been quiet for as long as others.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if let Some(flows) = &mut self.flows {
            while flows.expire(now, &mut FlowCounters::default(), &mut |_, _| ()) {}
        }
    }
}
