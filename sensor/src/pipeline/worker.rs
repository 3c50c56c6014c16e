//! A worker: the path of a packet through capture, decode, flow, ring, inspection and signatures.
//!
//! In: the frames of one source. Out: records, events and alerts in its outbox, frames in its lane of the ring, and its
//! counts. It owns all that it changes; nothing on the path is shared or locked.

use super::alerts::{Alerts, Inbox, Terms};
use super::around::Around;
use super::carriers::Carriers;
use super::outbox::Outbox;
use super::{Attachment, DRAIN_MAX, GRE, Mode, ON_THE_WIRE, PUBLISH_INTERVAL, evidence_so_far, has_begun};
use crate::capture::config::BURST_FRAMES_MAX;
use crate::capture::{BatchEnd, Frame, FrameSource, SourceLoss};
use crate::counters::{Published, WorkerCounters};
use crate::decode::{self, DecodeEvent, Decoder, Packet, Parsed};
use crate::dpi::{Event, Inspection, Inspector, Sessions};
use crate::export::packet_source;
use crate::flow::{Flow, FlowHash, FlowTable, WARM_FLOWS_MIN};
use crate::ring::clock::ClockWatch;
use crate::ring::entry::LeftOut;
use crate::ring::gaps::LossKind;
use crate::ring::summary::NO_FLOW;
use crate::ring::{Lane, cut_off};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use weir_common::app::App;
use weir_common::net::Direction;
use weir_common::record::{FlowState, SignatureAlert};
use weir_common::time::Timestamp;

/// One thread's share of the sensor.
pub(super) struct Worker {
    pub(super) decoder: Decoder,
    pub(super) flows: FlowTable<Attachment>,
    pub(super) inspector: Option<Inspector>,
    /// None as long as there never were rules.
    pub(super) alerts: Option<Alerts>,
    pub(super) terms: Terms,
    pub(super) inbox: Arc<Inbox>,
    pub(super) lane: Option<Lane>,
    pub(super) outbox: Outbox,
    /// Events of the packet at hand; `None` when neither export nor signatures listen.
    pub(super) events: Option<Vec<Event>>,
    /// Faults of frames are told.
    pub(super) has_decode_events: bool,
    /// Faults of the frame at hand, where anybody asks.
    pub(super) faults: Vec<DecodeEvent>,
    /// What is served at a port shows who began, where nothing else does.
    pub(super) responder_by_port: bool,
    /// TCP connections are looked into from their middle, too.
    pub(super) midstream: bool,
    /// What is odd about TCP connections.
    pub(super) sessions: Sessions,
    /// Flows of packets that carry others in tunnels, where anybody asks for them.
    pub(super) carriers: Carriers,
    pub(super) counters: WorkerCounters,
    pub(super) published: Published,
    /// Time of the latest frame, or of a quiet source's clock.
    pub(super) now: Timestamp,
    /// The same wherever the clock was set: what the ring writes down goes by it.
    pub(super) clock: Timestamp,
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
            if is_draining && self.outbox.mode == Mode::Replay {
                break;
            }
            let read = source.read_batch(&mut |frames| self.process_burst(frames));
            match read {
                Ok(BatchEnd::More) => self.tick(self.now),
                Ok(BatchEnd::Quiet { now }) => {
                    self.clock = now;
                    self.tick(now);
                    if is_draining {
                        break;
                    }
                }
                Ok(BatchEnd::End) => break,
                Err(error) => {
                    self.counters.capture.errors += 1;
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
        self.counters
    }

    /// The path of frames that were captured together: all are decoded, then all of their flows are loaded at
    /// once, then one after the other is metered.
    fn process_burst(&mut self, frames: &[Frame<'_>]) {
        for frames in frames.chunks(BURST_FRAMES_MAX) {
            let mut parsed = [Parsed::Nothing; BURST_FRAMES_MAX];
            let mut hashes = [FlowHash::default(); BURST_FRAMES_MAX];
            for ((frame, parsed), hash) in frames.iter().zip(&mut parsed).zip(&mut hashes) {
                *parsed = self.decoder.parse(frame, &mut self.counters.decode);
                if let Parsed::Packet(packet) = parsed {
                    *hash = self.flows.hash_of(packet);
                }
            }
            if let [_, .., last] = frames
                && self.flows.len() >= WARM_FLOWS_MIN
            {
                self.flows.warm(&hashes[..frames.len()], last.time, Attachment::touch);
            }
            for ((frame, parsed), hash) in frames.iter().zip(&parsed).zip(&hashes) {
                let is_measured = self.process(frame, parsed, *hash);
                if is_measured && parsed.tunnel_depth() > 0 {
                    self.see_carriers(frame);
                }
            }
        }
    }

    /// The path of a frame; whether it was measured, and not only kept.
    #[inline]
    fn process(&mut self, frame: &Frame<'_>, parsed: &Parsed<'_>, mut hash: FlowHash) -> bool {
        let Worker { decoder, flows, inspector, alerts, lane, outbox, events, faults, counters, .. } = self;
        counters.capture.frames += 1;
        counters.capture.bytes += frame.data.len() as u64;
        counters.capture.cut_off += u64::from(frame.wire_len as usize > frame.data.len());
        self.clock = frame.time;
        if frame.time > self.now {
            self.now = frame.time;
        }
        faults.clear();
        let wants_faults =
            self.has_decode_events || alerts.as_ref().is_some_and(Alerts::asks_for_decode_events);
        if wants_faults {
            decode::events(frame, &mut |fault| faults.push(fault));
            if let Parsed::Fragment(fragment) = parsed {
                decoder.fragment_events(fragment, &mut |fault| faults.push(fault));
            }
        }
        let reassembled;
        let is_copy = decoder.is_copy(frame, &mut counters.decode);
        let packet = match parsed {
            // What the SPAN port copied is evidence like everything else, and not measured again.
            _ if is_copy => None,
            Parsed::Packet(packet) => Some(packet),
            Parsed::Fragment(fragment) => {
                reassembled = decoder.reassemble(fragment, &mut counters.decode);
                if let Some(packet) = &reassembled {
                    hash = flows.hash_of(packet);
                }
                reassembled.as_ref()
            }
            Parsed::Nothing => None,
        };
        if let (Parsed::Fragment(_), Some(packet), true) = (parsed, packet, wants_faults) {
            decode::datagram_events(packet, &mut |fault| faults.push(fault));
        }
        if self.has_decode_events {
            faults.iter().for_each(|fault| outbox.tell(frame, ON_THE_WIRE, *fault, None, counters));
        }
        if let Some(alerts) = alerts {
            let seed = flows.community_id_seed();
            alerts.frame(frame, packet.is_some(), faults, seed, &mut |fault, alert| {
                outbox.tell(frame, ON_THE_WIRE, fault, Some(alert), counters);
            });
            if alerts.asks_for_frames() && !is_copy {
                look_at_bare(alerts, frame, (parsed, packet), outbox, counters);
            }
            for alert in alerts.take() {
                outbox.alert(alert, &mut counters.export);
            }
        }
        let Some(packet) = packet else {
            if let Some(lane) = lane {
                keep_alone(lane, frame, parsed, flows, counters);
            }
            if outbox.tells_events
                && matches!(parsed, Parsed::Nothing)
                && let Some(arp) = decode::arp(frame)
            {
                outbox.arp(frame, arp, counters);
            }
            return !is_copy;
        };
        if packet.ip.protocol == GRE
            && outbox.tells_events
            && let Some(arp) = decode::arp_in_gre(packet)
        {
            outbox.arp(frame, arp, counters);
        }
        let mut around = Around {
            inspector: inspector.as_mut(),
            alerts: alerts.as_mut(),
            lane: lane.as_ref(),
            outbox,
            events: events.as_mut(),
            counters,
        };
        let observed =
            flows.observe_hashed(packet, hash, frame.time, frame.interface, &mut |flow, reason| {
                around.end(flow, reason);
            });
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
        let mut direction = observed.direction;
        let has_begun = has_begun(flow, packet);
        let mut odd = self.sessions.see(&mut flow.attachment.session, packet, observed.direction, frame.time);
        if let Some(inspector) = inspector
            && !packet.is_partial
            && (self.midstream || has_begun)
        {
            inspector.inspect(
                &mut flow.attachment.inspection,
                packet,
                (observed.direction, !has_begun),
                frame.time,
                events.as_mut().filter(|_| outbox.tells_events),
                &mut counters.dpi,
            );
            let is_closed = flow.state() == FlowState::Closed;
            if let Some(inspection) = &mut flow.attachment.inspection {
                odd = odd.and(inspection.take_stream_events());
                if observed.is_turn {
                    inspection.closed_by(is_closed.then_some(counters.capture.frames));
                }
                if self.responder_by_port && inspection.take_is_backwards() && flows.flip(observed.slot) {
                    turn(&mut flows.flow_mut(observed.slot).attachment, events.as_mut());
                    direction = direction.flip();
                }
            }
        }
        let flow = flows.flow_mut(observed.slot);
        let Some(events) = events else { return true };
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
        true
    }

    /// The worker's parts, so that what looks for ends of flows and what an end concerns can be changed at once.
    fn apart(&mut self) -> Apart<'_> {
        let Worker { decoder, flows, carriers, inspector, alerts, lane, outbox, events, counters, .. } = self;
        let (inspector, alerts, lane) = (inspector.as_mut(), alerts.as_mut(), lane.as_ref());
        let around = Around { inspector, alerts, lane, outbox, events: events.as_mut(), counters };
        Apart { decoder, flows, carriers, around }
    }

    /// Looks at the packets that carried a frame's in tunnels, where anybody asks for them.
    #[cold]
    fn see_carriers(&mut self, frame: &Frame<'_>) {
        let Apart { carriers, mut around, .. } = self.apart();
        if carriers.are_wanted(around.alerts.as_deref()) {
            carriers.see(frame, &mut around);
        }
    }

    /// What time brings: flows and fragments that end, blocks and batches that have waited long enough.
    fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.meter_given_up_fragments(false);
        let now = self.now;
        let Apart { flows, carriers, mut around, .. } = self.apart();
        while flows.expire(now, &mut |flow, reason| around.end(flow, reason)) {}
        carriers.expire(now, &mut around);
        if let Some(lane) = &mut self.lane {
            lane.tick(self.clock);
        }
        self.outbox.send_if_old(&mut self.counters.export);
    }

    /// Fragments whose first one never came are metered without ports.
    fn meter_given_up_fragments(&mut self, all: bool) {
        let now = self.now;
        let Apart { decoder, flows, mut around, .. } = self.apart();
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
            decoder.drain(&mut counted, &mut meter)
        } else {
            decoder.expire(now, &mut counted, &mut meter)
        }
        self.counters.decode = counted;
    }

    /// Takes up rules that were loaded anew.
    fn renew_rules(&mut self) {
        let Some(rules) = self.inbox.take() else { return };
        Alerts::renew(&mut self.alerts, &self.terms, rules);
        let Some(alerts) = &self.alerts else { return };
        if let Some(inspector) = &mut self.inspector {
            inspector.set_wanted(Some(alerts.wanted()));
        }
        self.sessions = self.sessions.with_rules(alerts.asks_for_stream_events());
        self.events.get_or_insert_default();
    }

    /// Tells others what was counted, and the ring what was lost before it.
    fn publish(&mut self, source: &mut dyn FrameSource) {
        let loss = source.loss();
        let counters = &mut self.counters.capture;
        counters.kernel_dropped = loss.kernel_dropped;
        counters.interface_dropped = loss.interface_dropped;
        if let Some(lane) = &mut self.lane {
            let since = self.clock.minus(PUBLISH_INTERVAL);
            let kernel = loss.kernel_dropped.saturating_sub(self.loss.kernel_dropped);
            let interface = loss.interface_dropped.saturating_sub(self.loss.interface_dropped);
            lane.note_loss(LossKind::Kernel, kernel, since, self.clock);
            lane.note_loss(LossKind::Interface, interface, since, self.clock);
            if let Some(clock) = source.clock()
                && let Some((from, to)) = self.watch.look(clock, Instant::now())
            {
                lane.note_clock_forward(from, to);
            }
        }
        if let Some(alerts) = &mut self.alerts {
            alerts.relieve(loss.kernel_dropped > self.loss.kernel_dropped);
            self.counters.detect = alerts.show();
        }
        self.loss = loss;
        self.counters.flow = self.flows.counters();
        self.published.set(&self.counters);
    }

    /// The source has ended: everything held is handed on.
    fn finish(&mut self) {
        // All flows end at once, which is more than the queue holds, and no frame waits any more.
        self.outbox.ends_by = Some(Instant::now() + DRAIN_MAX);
        self.meter_given_up_fragments(true);
        let Apart { flows, carriers, mut around, .. } = self.apart();
        flows.drain(&mut |flow, reason| around.end(flow, reason));
        carriers.drain(&mut around);
        let Worker { alerts, outbox, counters, .. } = self;
        outbox.send(&mut counters.export);
        if let Some(alerts) = alerts {
            counters.detect = alerts.show();
        }
        if let Some(lane) = self.lane.take() {
            lane.close(self.clock);
        }
        self.counters.flow = self.flows.counters();
        self.published.set(&self.counters);
    }
}

/// A worker's parts, borrowed apart.
struct Apart<'w> {
    decoder: &'w mut Decoder,
    flows: &'w mut FlowTable<Attachment>,
    carriers: &'w mut Carriers,
    around: Around<'w>,
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
