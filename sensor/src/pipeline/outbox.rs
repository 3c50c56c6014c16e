//! What leaves a worker: records, events, alerts and faults, on their way to export.
//!
//! In: flows that end, events of flows, frames' faults. Out: batches in export's queue. In a live capture a batch that
//! finds the queue full is dropped and counted; at the end, and in a replay, the worker waits.

use super::*;
use crate::decode::{Arp, DecodeEvent};
use crate::export::{ArpEvent, FlowEvent, FrameEvent};

/// Records and events on their way to export.
pub(super) struct Outbox {
    pub(super) batch: Batch,
    /// When the batch got its first item.
    pub(super) begun: Instant,
    pub(super) sender: Sender<Batch>,
    pub(super) mode: Mode,
    /// The capture has ended, and what is made now is what was left: until when a live worker waits for export.
    pub(super) ends_by: Option<Instant>,
    /// Somebody reads events ([`export.eve`](crate::export::config::ExportConfig::eve)); signatures do without.
    pub(super) tells_events: bool,
}

impl Outbox {
    /// Takes the record of a flow that ended or is sliced.
    pub(super) fn record(&mut self, record: FlowRecord, export: &mut ExportCounters) {
        self.begin();
        if self.batch.records.capacity() == 0 {
            // Records are large: growing step by step would copy each of them twice.
            self.batch.records.reserve_exact(BATCH_ITEMS);
        }
        self.batch.records.push(record);
        self.send_if_full(export);
    }

    /// Takes the events of a flow. `source`: where the packet that brought them came from.
    pub(super) fn events(
        &mut self,
        flow: &Flow<Attachment>,
        source: &'static str,
        events: &mut Vec<Event>,
        export: &mut ExportCounters,
    ) {
        self.begin();
        let (key, flow_id, community_id) = (flow.key(), flow.flow_id(), flow.community_id());
        let (vlans, interface) = (flow.vlans(), flow.interface());
        let envelope = |event| FlowEvent { key, flow_id, community_id, vlans, interface, source, event };
        self.batch.events.extend(events.drain(..).map(envelope));
        self.send_if_full(export);
    }

    /// Takes an alert for collectors.
    #[cold]
    pub(super) fn alert(&mut self, alert: SignatureAlert, export: &mut ExportCounters) {
        self.begin();
        self.batch.alerts.push(alert);
        self.send_if_full(export);
    }

    /// Takes a fault of the frame that was counted last, or an alert about it, if events are wanted. `source`: where the
    /// frame came from.
    #[cold]
    pub(super) fn tell(
        &mut self,
        frame: &Frame<'_>,
        source: &'static str,
        fault: DecodeEvent,
        alert: Option<Event>,
        counters: &mut WorkerCounters,
    ) {
        if !self.tells_events {
            return;
        }
        let (time, packet, interface) = (frame.time, counters.capture.frames, frame.interface);
        self.begin();
        let alert = alert.map(Box::new);
        self.batch.faults.push(FrameEvent { time, packet, interface, source, fault, alert });
        self.send_if_full(&mut counters.export);
    }

    /// Takes an ARP message of the frame that was counted last.
    pub(super) fn arp(&mut self, frame: &Frame<'_>, arp: Arp, counters: &mut WorkerCounters) {
        let (time, packet, interface) = (frame.time, counters.capture.frames, frame.interface);
        self.begin();
        self.batch.arps.push(ArpEvent { time, packet, interface, arp });
        self.send_if_full(&mut counters.export);
    }

    pub(super) fn begin(&mut self) {
        if self.mode == Mode::Live && self.batch.is_empty() {
            self.begun = Instant::now();
        }
    }

    pub(super) fn send_if_full(&mut self, counters: &mut ExportCounters) {
        if self.batch.len() >= BATCH_ITEMS {
            self.send(counters);
        }
    }

    pub(super) fn send_if_old(&mut self, counters: &mut ExportCounters) {
        if self.mode == Mode::Live && self.begun.elapsed() >= BATCH_AGE_MAX {
            self.send(counters);
        }
    }

    pub(super) fn send(&mut self, counters: &mut ExportCounters) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let refused = match (self.mode, self.ends_by) {
            (Mode::Live, None) => self.sender.try_send(batch).map_err(TrySendError::into_inner),
            (Mode::Live, Some(until)) => {
                self.sender.send_deadline(batch, until).map_err(SendTimeoutError::into_inner)
            }
            (Mode::Replay, _) => self.sender.send(batch).map_err(|error| error.0),
        };
        if let Err(batch) = refused {
            counters.records_dropped_queue_full += batch.records.len() as u64;
            counters.events_dropped_queue_full +=
                (batch.events.len() + batch.arps.len() + batch.faults.len() + batch.alerts.len()) as u64;
        }
    }
}
