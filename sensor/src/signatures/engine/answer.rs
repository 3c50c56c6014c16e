//! What candidates answer, and what follows from it.
//!
//! In: the candidates of a packet, what is remembered of its flow, the sides of its transactions. Out: [`Found`]s in the
//! order of evaluation; marks set, thresholds counted, flows passed.

use super::super::compile::{Kind, Signature};
use super::super::frame::FoundFrame;
use super::super::marks::{FlowMarks, Order, StreamTail};
use super::super::rules::Rules;
use super::super::state::{RuleId, Verdict};
use super::about::About;
use super::scope::has_flow;
use super::{AtWork, Found, PACKET_ALERTS_MAX, PACKET_CANDIDATES_MAX, Payload, Sight, Subject, TIMED_OF};
use crate::decode::Transport;
use crate::dpi::buffers::{Side, Sides};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
use weir_common::net::{Direction, protocol};
use weir_common::record::tcp_flags;
use weir_common::rule::Action;

impl AtWork {
    /// Asks the candidates, in their order.
    pub(super) fn answer(
        &mut self,
        rules: &Rules,
        sight: &Sight<'_>,
        marks: &mut FlowMarks,
        order: Order,
        mut sides: Option<&mut (&mut Sides, bool)>,
        found: &mut Vec<Found>,
    ) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.sort_unstable();
        candidates.dedup();
        let surplus = candidates.len().saturating_sub(PACKET_CANDIDATES_MAX);
        self.counters.candidates_over_limit += surplus as u64;
        candidates.truncate(PACKET_CANDIDATES_MAX);
        let mut window = std::mem::take(&mut self.scratch.window);
        let mut is_window_made = false;
        let of_packet = About::of(sight, None);
        let most = found.len() + PACKET_ALERTS_MAX;
        for candidate in &candidates {
            let Some(signature) = rules.signatures.get(candidate.signature as usize) else { continue };
            if self.relief.leaves_out(candidate.signature) {
                self.counters.too_costly_left_out += 1;
                continue;
            }
            let side = match (candidate.subject, &mut sides) {
                (Subject::Side(place), Some((sides, is_swapped))) => {
                    sides.iter_mut().nth(usize::from(place)).map(|side| (side, *is_swapped))
                }
                _ => None,
            };
            let about = match (&side, candidate.subject) {
                (Some((side, is_swapped)), _) => About::of(sight, Some((&**side, *is_swapped))),
                (None, Subject::Packet) => About { app: marks.known.visible, ..of_packet },
                (None, _) => of_packet,
            };
            if !about.meets(signature) || !self.allows(signature, &about, marks) {
                continue;
            }
            let stream = &marks.streams[sight.direction.index()];
            if !is_window_made && candidate.subject == Subject::Payload {
                is_window_made = true;
                fill_window(&mut window, sight, stream, order);
            }
            let side = side.map(|(side, _)| side);
            let payload = payload_of(sight, stream, order, &window, candidate.signature);
            let is_match =
                self.ask_one(rules, (candidate.signature, signature), &about, side.as_deref(), &payload);
            if !is_match {
                if signature.kind == Kind::Payload && sight.packet.ip.protocol == protocol::TCP {
                    marks.streams[sight.direction.index()].wait(candidate.signature);
                }
                continue;
            }
            if candidate.subject == Subject::Payload {
                marks.streams[sight.direction.index()].matched(candidate.signature);
            }
            let matched = (candidate.signature, signature);
            if self.matched(rules, matched, &about, side, marks, found, most).is_break() {
                break;
            }
        }
        self.scratch.window = window;
        self.candidates = candidates;
    }

    /// Whether what is remembered of flow, transaction and hosts is as a signature wants it.
    fn allows(&self, signature: &Signature, about: &About<'_>, marks: &FlowMarks) -> bool {
        let transaction = marks.of_transaction(about.transaction());
        signature.state.passes(Some(&marks.bits), transaction, &self.shared, &about.ends())
    }

    /// Evaluates a signature, and counts what that cost.
    fn ask_one(
        &mut self,
        rules: &Rules,
        (number, signature): (u32, &Signature),
        about: &About<'_>,
        side: Option<&Side>,
        payload: &Payload<'_>,
    ) -> bool {
        let is_timed = self.counters.evaluated.is_multiple_of(TIMED_OF);
        self.counters.evaluated += 1;
        let begun = is_timed.then(Instant::now);
        let is_match = about.hosts_are(signature, rules)
            && self.scratch.holds(rules, signature, about.sight, side, payload);
        if let Some(cost) = self.costs.get_mut(number as usize) {
            cost.checks += 1;
            cost.matches += u64::from(is_match);
            if let Some(begun) = begun {
                cost.nanos += begun.elapsed().as_nanos() as u64 * TIMED_OF;
            }
        }
        is_match
    }

    /// All that a signature looks for is there: does what it says, and tells it. `most`: so many may be told. Break: nothing
    /// more is looked for in the packet.
    #[expect(clippy::too_many_arguments, reason = "what a match changes belongs to as many")]
    fn matched(
        &mut self,
        rules: &Rules,
        (number, signature): (u32, &Signature),
        about: &About<'_>,
        side: Option<&mut Side>,
        marks: &mut FlowMarks,
        found: &mut Vec<Found>,
        most: usize,
    ) -> ControlFlow<()> {
        const GO_ON: ControlFlow<()> = ControlFlow::Continue(());
        let context = self.scratch.context(rules, signature, about.sight, side.as_deref());
        let mut frame = None;
        if let Some(side) = side {
            if side.looked.matched.contains(&number) {
                return GO_ON;
            }
            side.looked.matched.push(number);
            frame = Some(&*side).filter(|side| side.frame.is_some());
        }
        if !is_first_of_flow(number, signature, about.sight, marks) || !self.is_whole(signature, about, marks)
        {
            return GO_ON;
        }
        self.apply(signature, about, marks);
        let verdict = match self.leaves_limits {
            true => Verdict::Alert,
            false => about.verdict(signature, &mut self.windows),
        };
        let action = signature.description.action;
        let acts_on_flow = signature.acts_on_flow(about.sight);
        if acts_on_flow {
            marks.act(action);
        }
        for (name, value) in self.scratch.matches.captured.drain(..) {
            marks.keep(name, value, &mut self.scratch.state_counters);
        }
        if action == Action::Config {
            if let Some((app, transaction)) = about.transaction() {
                marks.mute(app, transaction);
            }
            if !signature.state.is_told {
                return GO_ON;
            }
        }
        if signature.bypasses {
            marks.is_passed = true;
            marks.is_bypassed = true;
        }
        let is_pass = action == Action::Pass;
        if is_pass && acts_on_flow {
            marks.is_passed = true;
            self.counters.passed_flows += 1;
        }
        if is_pass && (!signature.state.is_told || verdict == Verdict::NoAlert) {
            return ControlFlow::Break(());
        }
        if signature.state.is_silent {
            return GO_ON;
        }
        if verdict == Verdict::NoAlert {
            self.counters.suppressed += 1;
            return GO_ON;
        }
        if found.len() >= most {
            self.counters.alerts_over_limit += 1;
            return GO_ON;
        }
        self.counters.alerts += 1;
        marks.has_alerted = true;
        let frame = frame.and_then(FoundFrame::of).map(Arc::new);
        found.push(Found { frame, context, ..about.found(number, signature) });
        if is_pass { ControlFlow::Break(()) } else { GO_ON }
    }

    /// Whether of a rule about both sides of a transaction the other has matched as well; of others, always.
    fn is_whole(&mut self, signature: &Signature, about: &About<'_>, marks: &mut FlowMarks) -> bool {
        let Some(half) = signature.header.half else { return true };
        let rule = RuleId::new(signature.description.gid, signature.description.sid);
        let counters = &mut self.scratch.state_counters;
        about.transaction().is_some_and(|transaction| marks.completes(transaction, rule, half, counters))
    }

    /// Sets the marks and counters that a signature sets.
    fn apply(&mut self, signature: &Signature, about: &About<'_>, marks: &mut FlowMarks) {
        let counters = &mut self.scratch.state_counters;
        let transaction = about
            .transaction()
            .filter(|_| signature.state.is_about_transaction())
            .map(|transaction| marks.rare.get_or_insert_default().marks_of(transaction, counters));
        let bits = Some(&mut marks.bits);
        signature.state.apply(bits, transaction, &mut self.shared, &about.ends(), counters);
    }
}

/// Whether a signature about the flow matches for the first time in it; of others, always.
fn is_first_of_flow(number: u32, signature: &Signature, sight: &Sight<'_>, marks: &mut FlowMarks) -> bool {
    if signature.kind != Kind::Flow || !has_flow(sight.packet.ip.protocol) {
        return true;
    }
    // Recognition is the flow's, ends are a direction's.
    let direction = if signature.packet.is_empty() { sight.direction } else { Direction::Forward };
    let once = (number, direction);
    let is_first = !marks.once.contains(&once);
    if is_first {
        marks.once.push(once);
    }
    is_first
}

/// Puts the tail of the stream and what the packet adds to it together, where it goes on.
fn fill_window(window: &mut Vec<u8>, sight: &Sight<'_>, stream: &StreamTail, order: Order) {
    window.clear();
    if let Order::Next(again) = order {
        window.extend_from_slice(stream.tail());
        window.extend_from_slice(sight.packet.payload.get(again..).unwrap_or_default());
    }
}

/// The packet's payload as a signature looks at it: what it has found in the stream's tail is not looked at again.
fn payload_of<'a>(
    sight: &Sight<'a>,
    stream: &'a StreamTail,
    order: Order,
    window: &'a [u8],
    signature: u32,
) -> Payload<'a> {
    let has_before = !stream.tail().is_empty();
    let payload = sight.packet.payload;
    Payload {
        bytes: payload,
        window: if has_before && !stream.has_fired(signature) { window } else { &[] },
        tail: stream.tail(),
        is_reset: matches!(&sight.packet.transport, Transport::Tcp(tcp) if tcp.flags & tcp_flags::RST != 0),
        fresh: match order {
            Order::Next(again) => payload.get(again..).unwrap_or_default(),
            Order::Apart => payload,
            Order::Again => &[],
        },
        is_from_start: stream.is_whole(),
        has_before,
    }
}
