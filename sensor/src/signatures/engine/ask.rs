//! Which signatures a packet, and what it made known, have to be asked about.
//!
//! In: a packet's ends, its payload, sides of transactions. Out: candidates: those whose fast pattern was found, and those
//! that have none.

use super::super::addresses::AddressIndex;
use super::super::marks::{FlowMarks, Order, put_behind};
use super::super::rules::{Patterns, Places, Rules, Traffic};
use super::{AtWork, Candidate, Sight, Subject, Work};
use crate::dpi::buffers::{Sides, Stage};
use weir_common::app::App;
use weir_common::net::Address;

impl AtWork {
    /// Signatures that are about these hosts, or about any.
    pub(super) fn ask_hosts(&mut self, index: &AddressIndex, hosts: [Address; 2]) {
        let candidate = |signature| Candidate { signature, subject: Subject::Packet };
        index.candidates(hosts, |signature| self.candidates.push(candidate(signature)));
    }

    /// Signatures whose pattern is in the payload, or where it meets what lies before it.
    pub(super) fn ask_payload(
        &mut self,
        rules: &Rules,
        (traffic, places): (Traffic, Places),
        sight: &Sight<'_>,
        known: &FlowMarks,
        order: Order,
    ) {
        let (direction, role) = (sight.direction.index(), places.role.index());
        let is_beyond = traffic == Traffic::Tcp && known.streams[direction].looked >= self.stream_depth;
        // Beyond its depth a stream is no longer looked at as one.
        let (index, place) = match is_beyond {
            true => {
                let index = &rules.packet_payloads[role];
                (index, index.place(sight.ports()))
            }
            false => (&rules.payloads[traffic as usize][role], places.payloads),
        };
        let (stream, payload) = (&known.streams[direction], sight.packet.payload);
        let behind = match order {
            Order::Next(again) if !stream.tail().is_empty() => Some(again),
            _ => None,
        };
        let Work { patterns: scratch, ids, seam, .. } = &mut self.scratch;
        let longest = index.at(place).map(|patterns| patterns.set.longest()).max().unwrap_or(0);
        // What a pattern may begin in before the packet, and the packet.
        let reach = behind.map_or(0, |again| put_behind(stream.tail(), payload, again, longest, seam));
        for patterns in index.at(place) {
            ids.clear();
            let own = patterns.set.longest().saturating_sub(1).min(reach);
            match behind {
                None => patterns.set.scan(payload, scratch, ids),
                Some(again) => {
                    let joined = seam.get(reach - own..).unwrap_or_default();
                    patterns.set.scan_behind(joined, own, scratch, ids);
                    if again > 0 {
                        // What was sent again is the packet's all the same.
                        patterns.set.scan(payload, scratch, ids);
                    }
                }
            }
            let candidate = |signature: &u32| Candidate { signature: *signature, subject: Subject::Payload };
            self.candidates.extend(patterns.always.iter().map(candidate));
            for id in &*ids {
                self.candidates.extend(patterns.owners(*id).iter().map(candidate));
            }
        }
        if behind.is_some() {
            self.candidates
                .extend(stream.waiting().map(|signature| Candidate { signature, subject: Subject::Payload }));
        }
    }

    /// Signatures whose pattern is in what became known of transactions.
    pub(super) fn ask_sides(&mut self, rules: &Rules, sides: &mut Sides) {
        for (place, side) in sides.iter_mut().enumerate() {
            let subject = Subject::Side(place as u16);
            for event in side.anomalies().get(side.looked.anomalies..).unwrap_or_default() {
                let owners = rules.anomalies.get(event.to_ascii_lowercase().as_str());
                let owners = owners.into_iter().flatten();
                self.candidates.extend(owners.map(|signature| Candidate { signature: *signature, subject }));
            }
            side.looked.anomalies = side.anomalies().len();
            if side.stage <= side.looked.stage {
                continue;
            }
            if !side.is_askable() {
                side.looked.stage = side.stage;
                continue;
            }
            let begun = self.candidates.len();
            if side.looked.stage == Stage::Begun {
                for app in [side.app, App::Unknown] {
                    let all = rules.sides.get(&app).into_iter().flatten();
                    self.candidates.extend(all.map(|signature| Candidate { signature: *signature, subject }));
                }
            }
            for (number, _) in side.numbers().skip(side.looked.numbers) {
                let all = rules.with_number[number as usize].iter();
                self.candidates.extend(all.map(|signature| Candidate { signature: *signature, subject }));
            }
            side.looked.numbers = side.numbers().count();
            let mut seen = None;
            for (buffer, bytes) in side.values().skip(side.looked.values) {
                if seen != Some(buffer) {
                    let all = rules.with_buffer[buffer as usize].iter();
                    self.candidates.extend(all.map(|signature| Candidate { signature: *signature, subject }));
                    seen = Some(buffer);
                }
                for set in &rules.buffers[buffer as usize] {
                    let Work { matches, patterns, ids, changed, .. } = &mut self.scratch;
                    ids.clear();
                    let changed = set.transforms.apply(bytes, changed, matches);
                    set.patterns.set.scan(changed.bytes, patterns, ids);
                    self.owners(&set.patterns, subject);
                }
            }
            side.looked.values = side.values().count();
            let fresh = self.candidates.drain(begun..).map(|candidate| candidate.signature);
            let looked = &mut side.looked;
            looked.candidates.extend(fresh);
            looked.candidates.sort_unstable();
            looked.candidates.dedup();
            let stage = side.stage;
            let due = |signature: &mut u32| {
                rules.signatures.get(*signature as usize).is_some_and(|signature| signature.stage <= stage)
            };
            let due = looked.candidates.extract_if(.., due);
            self.candidates.extend(due.map(|signature| Candidate { signature, subject }));
            looked.stage = stage;
        }
    }

    /// The signatures of the patterns that were found, and those that have none.
    fn owners(&mut self, patterns: &Patterns, subject: Subject) {
        let candidate = |signature: &u32| Candidate { signature: *signature, subject };
        self.candidates.extend(patterns.always.iter().map(candidate));
        for id in &self.scratch.ids {
            self.candidates.extend(patterns.owners(*id).iter().map(candidate));
        }
    }
}
