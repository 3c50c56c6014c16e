//! A worker: the path of a packet through capture, decode, flow, ring, inspection and signatures.
//!
//! In: the frames of one source. Out: records, events and alerts in its outbox, frames in its lane of the ring, and its
//! counts. It owns all that it changes; nothing on the path is shared or locked.

use super::alerts::{Alerts, Inbox, Terms};
use super::path::{Apart, Path};
use super::{Attachment, DRAIN_MAX, Mode, PUBLISH_INTERVAL};
use crate::capture::config::BURST_FRAMES_MAX;
use crate::capture::{BatchEnd, Frame, FrameSource, SourceLoss};
use crate::counters::{Published, WorkerCounters};
use crate::decode::{self, DecodeEvent, Decoder, Packet, Parsed};
use crate::flow::{FlowHash, WARM_FLOWS_MIN};
use crate::ring::clock::ClockWatch;
use crate::ring::gaps::LossKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use weir_common::time::Timestamp;

/// One thread's share of the sensor.
pub(super) struct Worker {
    pub(super) decoder: Decoder,
    pub(super) path: Path,
    pub(super) terms: Terms,
    pub(super) inbox: Arc<Inbox>,
    /// Faults of the frame at hand, where anybody asks.
    pub(super) faults: Vec<DecodeEvent>,
    pub(super) published: Published,
    pub(super) watch: ClockWatch,
    pub(super) loss: SourceLoss,
}

impl Worker {
    pub(super) fn run(mut self, mut source: Box<dyn FrameSource>, stop: &AtomicBool) -> WorkerCounters {
        let mut publish_at = Instant::now();
        let mut stopped_at = None;
        loop {
            if stopped_at.is_none() && stop.load(Ordering::Relaxed) {
                stopped_at = Some(Instant::now());
            }
            // A replay ends where it is; a live capture reads what the kernel has already.
            let is_draining = stopped_at.is_some();
            if is_draining && self.path.outbox.mode == Mode::Replay {
                break;
            }
            let read = source.read_batch(&mut |frames| self.process_burst(frames));
            match read {
                Ok(BatchEnd::More) => self.tick(self.path.now),
                Ok(BatchEnd::Quiet { now }) => {
                    self.path.clock = now;
                    self.tick(now);
                    if is_draining {
                        break;
                    }
                }
                Ok(BatchEnd::End) => break,
                Err(error) => {
                    self.path.counters.capture.errors += 1;
                    tracing::error!("{error}");
                }
            }
            if stopped_at.is_some_and(|at| at.elapsed() > DRAIN_MAX) {
                break;
            }
            if publish_at.elapsed() >= PUBLISH_INTERVAL {
                publish_at = Instant::now();
                self.renew_rules();
                self.publish(source.as_mut());
            }
        }
        self.publish(source.as_mut());
        self.finish();
        self.path.counters
    }

    /// The path of frames that were captured together: all are decoded, then all of their flows are loaded at
    /// once, then one after the other is metered.
    fn process_burst(&mut self, frames: &[Frame<'_>]) {
        for frames in frames.chunks(BURST_FRAMES_MAX) {
            let mut parsed = [Parsed::Nothing; BURST_FRAMES_MAX];
            let mut hashes = [FlowHash::default(); BURST_FRAMES_MAX];
            for ((frame, parsed), hash) in frames.iter().zip(&mut parsed).zip(&mut hashes) {
                *parsed = self.decoder.parse(frame, &mut self.path.counters.decode);
                if let Parsed::Packet(packet) = parsed {
                    *hash = self.path.flows.hash_of(packet);
                }
            }
            if let [_, .., last] = frames
                && self.path.flows.len() >= WARM_FLOWS_MIN
            {
                self.path.flows.warm(&hashes[..frames.len()], last.time, Attachment::touch);
            }
            for ((frame, parsed), hash) in frames.iter().zip(&parsed).zip(&hashes) {
                let is_measured = self.process(frame, parsed, *hash);
                if is_measured && parsed.tunnel_depth() > 0 {
                    self.path.see_carriers(frame);
                }
            }
        }
    }

    /// The path of a frame; whether it was measured, and not only kept.
    #[inline]
    fn process(&mut self, frame: &Frame<'_>, parsed: &Parsed<'_>, mut hash: FlowHash) -> bool {
        let Worker { decoder, path, faults, .. } = self;
        path.count(frame);
        faults.clear();
        let wants_faults = path.wants_faults();
        if wants_faults {
            decode::events(frame, &mut |fault| faults.push(fault));
            if let Parsed::Fragment(fragment) = parsed {
                decoder.fragment_events(fragment, &mut |fault| faults.push(fault));
            }
        }
        let reassembled;
        let counters = &mut path.counters.decode;
        let is_copy = decoder.is_copy(frame, counters);
        let packet = match parsed {
            // What the SPAN port copied is evidence like everything else, and not measured again.
            _ if is_copy => None,
            Parsed::Packet(packet) => Some(packet),
            Parsed::Fragment(fragment) => {
                reassembled = decoder.reassemble(fragment, counters);
                if let Some(packet) = &reassembled {
                    hash = path.flows.hash_of(packet);
                }
                reassembled.as_ref()
            }
            Parsed::Nothing => None,
        };
        if let (Parsed::Fragment(_), Some(packet), true) = (parsed, packet, wants_faults) {
            decode::datagram_events(packet, &mut |fault| faults.push(fault));
        }
        path.frame(frame, (parsed, packet), is_copy, faults);
        match packet {
            Some(packet) => path.packet(frame, packet, hash),
            None => path.alone(frame, parsed),
        }
        !is_copy
    }

    /// What time brings: flows and fragments that end, blocks and batches that have waited long enough.
    fn tick(&mut self, now: Timestamp) {
        self.path.now = self.path.now.max(now);
        self.meter_given_up_fragments(false);
        let now = self.path.now;
        let Apart { flows, carriers, mut around } = self.path.apart();
        while flows.expire(now, &mut |flow, reason| around.end(flow, reason)) {}
        carriers.expire(now, &mut around);
        if let Some(lane) = &mut self.path.lane {
            lane.tick(self.path.clock);
        }
        self.path.outbox.send_if_old(&mut self.path.counters.export);
    }

    /// Fragments whose first one never came are metered without ports.
    fn meter_given_up_fragments(&mut self, all: bool) {
        let now = self.path.now;
        let Worker { decoder, path, .. } = self;
        let Apart { flows, mut around, .. } = path.apart();
        let mut counted = std::mem::take(&mut around.counters.decode);
        let mut meter = |packet: &Packet<'_>, time: Timestamp, interface: u32| {
            let observed =
                flows.observe(packet, time, interface, &mut |flow, reason| around.end(flow, reason));
            if let Some(lane) = around.lane {
                let since = packet.early.map_or(time, |early| early.start.min(time));
                let frames = packet.early.map_or(0, |early| early.packets).saturating_add(1);
                let places = flows.flow_mut(observed.slot).attachment.places.get_or_insert_default();
                places.cover(lane.blocks_between(since, time), lane.newest(), frames);
            }
        };
        if all {
            decoder.drain(&mut counted, &mut meter);
        } else {
            decoder.expire(now, &mut counted, &mut meter);
        }
        self.path.counters.decode = counted;
    }

    /// Takes up rules that were loaded anew.
    fn renew_rules(&mut self) {
        let Some(rules) = self.inbox.take() else { return };
        Alerts::renew(&mut self.path.alerts, &self.terms, rules);
        let Some(alerts) = &self.path.alerts else { return };
        if let Some(inspector) = &mut self.path.inspector {
            inspector.set_wanted(Some(alerts.wanted()));
        }
        self.path.sessions = self.path.sessions.with_rules(alerts.asks_for_stream_events());
        self.path.events.get_or_insert_default();
    }

    /// Tells others what was counted, and the ring what was lost before it.
    fn publish(&mut self, source: &mut dyn FrameSource) {
        let loss = source.loss();
        let counters = &mut self.path.counters.capture;
        counters.kernel_dropped = loss.kernel_dropped;
        counters.interface_dropped = loss.interface_dropped;
        if let Some(lane) = &mut self.path.lane {
            let since = self.path.clock.minus(PUBLISH_INTERVAL);
            let kernel = loss.kernel_dropped.saturating_sub(self.loss.kernel_dropped);
            let interface = loss.interface_dropped.saturating_sub(self.loss.interface_dropped);
            lane.note_loss(LossKind::Kernel, kernel, since, self.path.clock);
            lane.note_loss(LossKind::Interface, interface, since, self.path.clock);
            if let Some(clock) = source.clock()
                && let Some((from, to)) = self.watch.look(clock, Instant::now())
            {
                lane.note_clock_forward(from, to);
            }
        }
        if let Some(alerts) = &mut self.path.alerts {
            alerts.relieve(loss.kernel_dropped > self.loss.kernel_dropped);
            self.path.counters.detect = alerts.show();
        }
        self.loss = loss;
        self.path.counters.flow = self.path.flows.counters();
        self.published.set(&self.path.counters);
    }

    /// The source has ended: everything held is handed on.
    fn finish(&mut self) {
        // All flows end at once, which is more than the queue holds, and no frame waits any more.
        self.path.outbox.ends_by = Some(Instant::now() + DRAIN_MAX);
        self.meter_given_up_fragments(true);
        let Apart { flows, carriers, mut around } = self.path.apart();
        flows.drain(&mut |flow, reason| around.end(flow, reason));
        carriers.drain(&mut around);
        let Path { alerts, outbox, counters, .. } = &mut self.path;
        outbox.send(&mut counters.export);
        if let Some(alerts) = alerts {
            counters.detect = alerts.show();
        }
        if let Some(lane) = self.path.lane.take() {
            lane.close(self.path.clock);
        }
        self.path.counters.flow = self.path.flows.counters();
        self.published.set(&self.path.counters);
    }
}
