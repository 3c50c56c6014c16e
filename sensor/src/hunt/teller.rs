//! Which matches become alerts, and their lines.
//!
//! In: matches with their flow. Out: EVE lines, and what has to be kept so that another run goes on. A
//! match is counted for its flow and signature first, then by the signature's threshold. Up to the time at
//! which an earlier run stopped nothing is told or counted, because that run did.

use super::position::{FLOWS_MAX, OVERLAP, Position, SavedFlow, Told};
use super::{Attached, Flow};
use crate::export::{AlertLines, FlowAlert};
use crate::signatures::{Engine, Found, Matched, Windows};
use serde::Serialize;
use std::collections::HashMap;
use weir_common::net::{CommunityId, Direction};
use weir_common::time::Timestamp;

/// Most alerts of one signature about one flow; more are counted.
pub const ALERTS_PER_FLOW_MAX: u32 = 100;
/// Most signatures that are told of one flow; matches of others are counted.
pub const SIGNATURES_PER_FLOW_MAX: usize = 256;

/// What became of the matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TellerCounters {
    /// Alerts written.
    pub alerts: u64,
    /// Matches not told because of [`ALERTS_PER_FLOW_MAX`] or [`SIGNATURES_PER_FLOW_MAX`].
    pub suppressed_by_limit: u64,
    /// Matches not told because their rule's threshold says so.
    pub suppressed_by_threshold: u64,
    /// How often the thresholds' windows were dropped because there were too many.
    pub threshold_resets: u64,
}

/// A match and its circumstances.
pub(super) struct Match {
    pub(super) found: Found,
    /// Time of the packet, or of the one that completed the transaction.
    pub(super) time: Timestamp,
    pub(super) icmp: Option<(u8, u8)>,
    /// Time of the flow's first packet.
    pub(super) first: Timestamp,
}

/// What was told of a flow that goes on.
struct FlowTold {
    community_id: CommunityId,
    flow_id: u64,
    told: Vec<Told>,
    /// By place in `told`: how many matches will be found again, because an earlier run told them when its
    /// packets ended.
    owed: Vec<u32>,
    last: Timestamp,
}

pub(super) struct Teller {
    lines: AlertLines,
    buffer: Vec<u8>,
    /// By the table's identifier.
    flows: HashMap<u64, FlowTold>,
    /// Flows of an earlier run that did not match again yet.
    saved: HashMap<CommunityId, SavedFlow>,
    resumed_at: Option<Timestamp>,
    windows: Windows,
    counters: TellerCounters,
    /// No more packets come: what is told now is told early.
    is_ending: bool,
}

impl Teller {
    pub(super) fn new(position: Option<Position>) -> Teller {
        let mut teller = Teller {
            lines: AlertLines::new(Vec::new()),
            buffer: Vec::new(),
            flows: HashMap::new(),
            saved: HashMap::new(),
            resumed_at: position.as_ref().map(|position| position.time),
            windows: Windows::default(),
            counters: TellerCounters::default(),
            is_ending: false,
        };
        if let Some(position) = position {
            teller.counters.alerts = position.alerts;
            teller.saved =
                position.flows.into_iter().take(FLOWS_MAX).map(|flow| (flow.community_id, flow)).collect();
            teller.windows.restore(position.windows.into_iter().map(Into::into));
        }
        teller
    }

    pub(super) fn counters(&self) -> TellerCounters {
        TellerCounters { threshold_resets: self.windows.resets, ..self.counters }
    }

    pub(super) fn lines_len(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn take_lines(&mut self, out: &mut Vec<u8>) {
        out.clear();
        std::mem::swap(&mut self.buffer, out);
    }

    pub(super) fn packets_end(&mut self) {
        self.is_ending = true;
    }

    /// Tells a match of a flow, if it is one to be told. `now` is the time of the latest packet.
    pub(super) fn tell(&mut self, engine: &Engine, flow: &Flow<Attached>, matched: &Match, now: Timestamp) {
        if self.resumed_at.is_some_and(|time| now <= time) {
            return;
        }
        let Found { signature, direction, app, transaction, .. } = matched.found;
        let Some(description) = engine.rules().description(signature) else { return };
        let is_once = engine.is_once_per_flow(signature);
        let Some(flow_id) = self.counts(flow, matched, is_once, now) else { return };
        let key = flow.key();
        let there = [(key.initiator, key.initiator_port), (key.responder, key.responder_port)];
        let [(source, source_port), (destination, destination_port)] = match direction {
            Direction::Forward => there,
            Direction::Reverse => [there[1], there[0]],
        };
        let time = matched.time;
        let ports = [source_port, destination_port];
        let counted = Matched { source, destination, ports, flow_id: Some(flow_id), time };
        if !engine.may_alert(&mut self.windows, signature, &counted) {
            self.counters.suppressed_by_threshold += 1;
            return;
        }
        self.counters.alerts += 1;
        let alert = FlowAlert {
            time,
            key,
            flow_id,
            community_id: flow.community_id(),
            vlans: flow.vlans(),
            direction,
            icmp: matched.icmp,
            app,
            transaction: transaction.map(|(number, _)| number),
            signature: description,
            is_retrospective: true,
        };
        self.lines.write(&alert, flow.interface(), &mut self.buffer);
        self.buffer.push(b'\n');
    }

    /// Counts a match for its flow and signature; the flow's identifier when it may be told.
    fn counts(
        &mut self,
        flow: &Flow<Attached>,
        matched: &Match,
        is_once: bool,
        now: Timestamp,
    ) -> Option<u64> {
        let Teller { flows, saved, resumed_at, counters, is_ending, .. } = self;
        let known = flows.entry(flow.flow_id()).or_insert_with(|| {
            let community_id = flow.community_id();
            // Only a flow that was going on then can be one that was saved.
            let was_there = resumed_at.is_some_and(|time| matched.first <= time);
            match was_there.then(|| saved.remove(&community_id)).flatten() {
                Some(saved) => FlowTold {
                    community_id,
                    flow_id: saved.flow_id,
                    owed: saved.told.iter().map(|told| told.early).collect(),
                    told: saved.told.into_iter().map(|told| Told { early: 0, ..told }).collect(),
                    last: now,
                },
                None => FlowTold {
                    community_id,
                    flow_id: stable_id(community_id, matched.first),
                    told: Vec::new(),
                    owed: Vec::new(),
                    last: now,
                },
            }
        });
        known.last = now;
        let signature = matched.found.signature;
        let at = match known.told.iter().position(|told| told.signature == signature) {
            Some(at) => at,
            None if known.told.len() >= SIGNATURES_PER_FLOW_MAX => {
                counters.suppressed_by_limit += 1;
                return None;
            }
            None => {
                known.told.push(Told { signature, count: 0, early: 0 });
                known.owed.push(0);
                known.told.len() - 1
            }
        };
        let (told, owed) = (known.told.get_mut(at)?, known.owed.get_mut(at)?);
        if is_once {
            let is_first = told.count == 0;
            told.count = told.count.max(1);
            return is_first.then_some(known.flow_id);
        }
        told.early += u32::from(*is_ending);
        if *owed > 0 {
            *owed -= 1;
            return None;
        }
        if told.count >= ALERTS_PER_FLOW_MAX {
            counters.suppressed_by_limit += 1;
            return None;
        }
        told.count += 1;
        Some(known.flow_id)
    }

    /// A flow has ended: of the next one with its addresses and ports everything is told anew.
    pub(super) fn ended(&mut self, flow: &Flow<Attached>, now: Timestamp) {
        // When the packets end, flows do not: the next run may find more of them.
        if self.is_ending {
            return;
        }
        self.flows.remove(&flow.flow_id());
        if self.resumed_at.is_some_and(|time| flow.attachment.first <= time && now > time) {
            self.saved.remove(&flow.community_id());
        }
    }

    pub(super) fn position(&self, question: &str, time: Timestamp) -> Position {
        let mut live: Vec<&FlowTold> = self.flows.values().collect();
        live.sort_unstable_by_key(|flow| std::cmp::Reverse((flow.last, flow.flow_id)));
        let mut flows: Vec<SavedFlow> = live.into_iter().map(|flow| flow.saved(time)).collect();
        let waiting = self.saved.values();
        flows.extend(waiting.filter(|flow| time.minus(OVERLAP) <= flow.alive).cloned());
        flows.truncate(FLOWS_MAX);
        flows.sort_unstable_by_key(|flow| (flow.flow_id, flow.community_id));
        let windows = self.windows.saved(time).into_iter().map(Into::into).collect();
        Position::new(question.to_owned(), time, self.counters.alerts, flows, windows)
    }
}

impl FlowTold {
    fn saved(&self, time: Timestamp) -> SavedFlow {
        let told = self.told.iter().zip(&self.owed);
        SavedFlow {
            community_id: self.community_id,
            flow_id: self.flow_id,
            alive: time,
            told: told.map(|(told, owed)| Told { early: told.early + owed, ..*told }).collect(),
        }
    }
}

/// The same for the same flow in every hunt; 53 bits, which JSON readers keep exactly.
fn stable_id(community_id: CommunityId, first: Timestamp) -> u64 {
    // SplitMix64's finaliser: every bit of both counts.
    let mut id = community_id.tag() ^ first.0.rotate_left(32);
    id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (id ^ (id >> 31)) >> 11
}
