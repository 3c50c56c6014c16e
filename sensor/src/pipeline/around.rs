//! What of a worker the end of a flow concerns.
//!
//! In: a flow of the table that ends, or goes on and is sliced. Out: its record, the events and alerts that its end brings.

use super::alerts::Alerts;
use super::outbox::Outbox;
use super::{Attachment, describe_slice};
use crate::counters::WorkerCounters;
use crate::dpi::{Event, Finished, Inspector};
use crate::export::packet_source;
use crate::flow::Flow;
use crate::ring::{Lane, Places};
use weir_common::record::{EndReason, FlowRecord, SignatureAlert};

/// A worker's parts beside its tables of flows.
pub(super) struct Around<'w> {
    /// None: what the packets carry is not inspected.
    pub(super) inspector: Option<&'w mut Inspector>,
    pub(super) alerts: Option<&'w mut Alerts>,
    pub(super) lane: Option<&'w Lane>,
    pub(super) outbox: &'w mut Outbox,
    pub(super) events: Option<&'w mut Vec<Event>>,
    pub(super) counters: &'w mut WorkerCounters,
}

impl Around<'_> {
    /// A flow ends, or is sliced.
    pub(super) fn end(&mut self, flow: &mut Flow<Attachment>, reason: EndReason) {
        let mut record = flow.to_record(reason);
        record.tunnel = flow.attachment.tunnel.clone();
        record.at_shutdown = self.outbox.ends_by.is_some();
        if let Some(lane) = self.lane {
            let packets = record.forward.packets.saturating_add(record.reverse.packets);
            // What comes after a slice is the next record's.
            let places = flow.attachment.places.take().map_or_else(Places::default, |places| *places);
            record.evidence = Some(Box::new(lane.evidence(&places, record.start, packets)));
        }
        let finished = self.finish(flow, reason, &mut record);
        let Around { alerts, outbox, events, counters, .. } = self;
        let export = &mut counters.export;
        if let Some(alerts) = alerts {
            if reason != EndReason::ActiveTimeout
                && let Some(events) = events.as_deref_mut()
            {
                alerts.ended(flow, &record, finished, events);
            }
            record.signatures = alerts.of_record(flow);
            for alert in alerts.take() {
                outbox.alert(SignatureAlert { evidence: record.evidence.clone(), ..alert }, export);
            }
        }
        if let Some(events) = events.as_deref_mut().filter(|events| !events.is_empty()) {
            outbox.events(flow, packet_source(None, false), events, export);
        }
        outbox.record(record, export);
    }

    /// Writes what inspection knows into the record, and gives what only the flow's end makes known.
    fn finish(
        &mut self,
        flow: &mut Flow<Attachment>,
        reason: EndReason,
        record: &mut FlowRecord,
    ) -> Finished {
        let Around { inspector: Some(inspector), outbox, events, counters, .. } = self else {
            return Finished::default();
        };
        if reason == EndReason::ActiveTimeout {
            describe_slice(record, flow.attachment.inspection.as_deref());
            return Finished::default();
        }
        let Some(inspection) = flow.attachment.inspection.take() else { return Finished::default() };
        let told = events.as_deref_mut().filter(|_| outbox.tells_events);
        let mut finished = inspector.finish(Some(inspection), flow.end(), told, &mut counters.dpi);
        (record.app, record.metadata) = (finished.app, finished.metadata.take());
        finished
    }
}
