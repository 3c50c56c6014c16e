//! Signatures: rules of Suricata's language, run over packets, streams and transactions.
//!
//! In: [`Rule`](weir_common::rule::Rule)s; then packets with what is known of their flow, and what dissectors tell of
//! transactions ([`crate::dpi::buffers`]). Out: [`Found`] matches that are to alert. What can be run is run as
//! Suricata means it; every other rule is given back with the place and the reason, and none is run in part.
//!
//! | | |
//! |---|---|
//! | `compile` | from a rule to a [`Signature`](compile::Signature), or to the reason why not |
//! | `matches` | what is looked for in one buffer |
//! | `packet`, `app`, `state` | what is asked of headers and flows, of transactions, of what is remembered |
//! | `rules` | all signatures, grouped by what they have to be asked about |
//! | `patterns` | which of thousands of patterns are in a buffer |
//! | `engine`, `marks` | a worker's part: who is asked, and what is remembered of a flow |
//! | `alert` | EVE's `alert` |
//!
//! Rules are compiled once and shared; an engine is a worker's own, and nothing on its path is locked. It never reads a
//! clock, but to measure what each rule costs.

mod addresses;
pub mod alert;
mod app;
mod compile;
mod contents;
mod numbers;
mod prefilter;
mod state;

#[cfg(test)]
mod tests;

pub use addresses::networks;
pub use contents::STEPS_MAX;
pub use state::{ENTRIES_MAX, Matched, RuleId, StateCounters, Window, WindowKey, Windows};

use crate::decode::{Packet, Transport};
use crate::dpi::Event;
use addresses::AddressIndex;
use buffers::{Buffer, Value};
use compile::{PacketTest, Signature, compile};
use contents::{Content, Search};
use prefilter::{Prefilter, PrefilterBuilder, Seen};
use state::{RuleLimits, Verdict};
use std::borrow::Cow;
use std::collections::BTreeMap;
use weir_common::app::App;
use weir_common::net::{Address, Direction, FlowKey};
use weir_common::rule::{AddressSet, Description, PortSet, Problem, Rule};

/// Compiled rules.
#[derive(Debug)]
pub struct Engine {
    signatures: Vec<Signature>,
    /// Signatures that ask for nothing but header and flow.
    headers: AddressIndex,
    /// Signatures about single packets.
    payload: Prefilter,
    /// Signatures about transactions, by the buffer of their fast pattern.
    transactions: BTreeMap<Buffer, Prefilter>,
    /// Signatures about transactions without one, by application.
    always: Vec<(App, u32)>,
    seen: Seen,
    candidates: Vec<u32>,
    values: Vec<Value>,
    dotted: Vec<u8>,
    counters: EngineCounters,
}

/// What an engine did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct EngineCounters {
    /// Signatures evaluated.
    pub evaluated: u64,
    /// Searches given up after [`STEPS_MAX`] tries; each may have missed a match.
    pub given_up: u64,
}

/// What is known of a packet's flow.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Which way the packet goes.
    pub direction: Direction,
    /// Whether both ends have taken part; of TCP, that the handshake is over.
    pub is_established: bool,
    /// The flow's application, as far as it is known.
    pub app: App,
    /// Whether any of this is new since the last packet, or a direction shows its first packet: only then
    /// are signatures about headers alone looked at.
    pub is_news: bool,
}

/// How often a signature may be told of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Often {
    /// Every packet of the flow would match again: once is enough.
    OncePerFlow,
    /// Each match is one of its own.
    EachTime,
}

/// A signature matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its number.
    pub signature: u32,
    /// Who sent what matched.
    pub direction: Direction,
    /// Whether a further match of the same flow says anything new.
    pub often: Often,
}

/// Where a signature's packets must lie: what narrows a search before anything is read.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'e> {
    /// Addresses of the two ends.
    pub addresses: [&'e AddressSet; 2],
    /// Ports of the two ends.
    pub ports: [&'e PortSet; 2],
    /// IP protocols; empty: any.
    pub protocols: &'static [u8],
}

/// The ends of a packet, or of one side of a transaction.
#[derive(Clone, Copy)]
struct Ends {
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
}

impl Engine {
    /// Compiles rules; those that cannot be run come back as problems.
    pub fn build(rules: Vec<Rule>) -> (Engine, Vec<Problem>) {
        let (mut signatures, mut problems) = (Vec::with_capacity(rules.len()), Vec::new());
        for rule in rules {
            match compile(rule) {
                Ok(signature) => signatures.push(signature),
                Err(problem) => problems.push(problem),
            }
        }
        let mut headers = AddressIndex::default();
        let mut payload = PrefilterBuilder::default();
        let mut transactions: BTreeMap<Buffer, PrefilterBuilder> = BTreeMap::new();
        let mut always = Vec::new();
        for (number, signature) in signatures.iter().enumerate() {
            let number = number as u32;
            if !signature.buffers.is_empty() {
                let lists = signature.buffers.iter().map(|test| (test.buffer, test.contents.as_slice()));
                match (fast_pattern(lists), signature.app) {
                    (Some((buffer, pattern)), _) => {
                        transactions.entry(buffer).or_default().add(number, Some(pattern));
                    }
                    (_, Some(app)) => always.push((app, number)),
                    _ => {}
                }
            } else if signature.is_per_packet() {
                let found = fast_pattern([((), signature.payload.as_slice())].into_iter());
                payload.add(number, found.map(|(_, pattern)| pattern));
            } else {
                headers.add(number, [&signature.source.addresses, &signature.destination.addresses]);
            }
        }
        let engine = Engine {
            seen: Seen::new(signatures.len()),
            headers,
            payload: payload.build(),
            transactions: transactions.into_iter().map(|(buffer, found)| (buffer, found.build())).collect(),
            always,
            candidates: Vec::new(),
            values: Vec::new(),
            dotted: Vec::new(),
            counters: EngineCounters::default(),
            signatures,
        };
        (engine, problems)
    }

    /// How many signatures there are.
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// What was done so far.
    pub fn counters(&self) -> EngineCounters {
        self.counters
    }

    /// What a signature says about itself.
    pub fn description(&self, signature: u32) -> Option<&Description> {
        self.signatures.get(signature as usize).map(|signature| &signature.description)
    }

    /// Where each signature's packets must lie.
    pub fn bounds(&self) -> impl Iterator<Item = Bounds<'_>> {
        self.signatures.iter().map(|signature| Bounds {
            addresses: [&signature.source.addresses, &signature.destination.addresses],
            ports: [&signature.source.ports, &signature.destination.ports],
            protocols: match signature.app {
                _ if !signature.carrier.protocols.is_empty() => signature.carrier.protocols,
                Some(App::Dns) => &[6, 17],
                Some(_) => &[6],
                None => &[],
            },
        })
    }

    /// Whether a match becomes an alert by the signature's threshold, which counts it.
    pub fn may_alert(&self, windows: &mut Windows, signature: u32, matched: &Matched) -> bool {
        let Some(signature) = self.signatures.get(signature as usize) else { return true };
        let rule = RuleId::new(signature.description.gid, signature.description.sid);
        let limits = RuleLimits { threshold: signature.threshold, ..RuleLimits::default() };
        limits.verdict(windows, rule, matched) != Verdict::NoAlert
    }

    /// Looks at a packet.
    pub fn packet(&mut self, packet: &Packet<'_>, facts: &Facts, hits: &mut Vec<Hit>) {
        let (source_port, destination_port) = packet.transport.ports();
        let ends = Ends {
            source: packet.ip.source,
            destination: packet.ip.destination,
            source_port,
            destination_port,
            protocol: packet.ip.protocol,
        };
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        self.payload.candidates(packet.payload, &mut self.seen, &mut candidates);
        for number in &candidates {
            let Some(signature) = self.signatures.get(*number as usize) else { continue };
            self.counters.evaluated += 1;
            if ends.meet(signature) && facts.meet(signature) && self.counters.packet_meets(packet, signature)
            {
                hits.push(Hit { signature: *number, direction: facts.direction, often: Often::EachTime });
            }
        }
        if facts.is_news {
            candidates.clear();
            self.headers.candidates([ends.source, ends.destination], &mut candidates);
            candidates.sort_unstable();
            candidates.dedup();
            for number in &candidates {
                let Some(signature) = self.signatures.get(*number as usize) else { continue };
                self.counters.evaluated += 1;
                if ends.meet(signature) && facts.meet(signature) {
                    hits.push(Hit {
                        signature: *number,
                        direction: facts.direction,
                        often: Often::OncePerFlow,
                    });
                }
            }
        }
        self.candidates = candidates;
    }

    /// Looks at a transaction of a flow. `facts.direction` does not matter: an event says who sent what.
    pub fn transaction(&mut self, event: &Event, key: &FlowKey, facts: &Facts, hits: &mut Vec<Hit>) {
        if self.transactions.is_empty() && self.always.is_empty() {
            return;
        }
        let (mut values, mut candidates) =
            (std::mem::take(&mut self.values), std::mem::take(&mut self.candidates));
        buffers::values(event, &mut values);
        candidates.clear();
        candidates.extend(self.always.iter().filter(|(app, _)| *app == event.app).map(|(_, number)| *number));
        for value in &values {
            if let Some(prefilter) = self.transactions.get(&value.buffer) {
                // With the dot that `dotprefix` puts before it, which some contents begin with.
                self.dotted.clear();
                self.dotted.push(b'.');
                self.dotted.extend_from_slice(&value.bytes);
                prefilter.candidates(&self.dotted, &mut self.seen, &mut candidates);
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        // A session is told once; of transactions there may be many, and each counts.
        let often = if event.transaction.is_some() { Often::EachTime } else { Often::OncePerFlow };
        for number in &candidates {
            let Some(signature) = self.signatures.get(*number as usize) else { continue };
            self.counters.evaluated += 1;
            for direction in [event.direction, event.direction.flip()] {
                let facts = Facts { direction, app: event.app, ..*facts };
                if facts.meet(signature)
                    && Ends::of(key, direction).meet(signature)
                    && self.counters.values_meet(&values, direction, signature)
                {
                    hits.push(Hit { signature: *number, direction, often });
                    break;
                }
            }
        }
        (self.values, self.candidates) = (values, candidates);
    }
}

/// The content that a signature is looked for by: the one that the rule names, or else the longest.
fn fast_pattern<'s, B: Copy>(lists: impl Iterator<Item = (B, &'s [Content])>) -> Option<(B, &'s [u8])> {
    let all = lists.flat_map(|(buffer, contents)| contents.iter().map(move |content| (buffer, content)));
    let best = all
        .filter(|(_, content)| !content.is_negated)
        .max_by_key(|(_, content)| (content.is_fast_pattern, content.bytes.len()))?;
    Some((best.0, &best.1.bytes))
}

impl Ends {
    fn of(key: &FlowKey, direction: Direction) -> Ends {
        let (initiator, responder) =
            ((key.initiator, key.initiator_port), (key.responder, key.responder_port));
        let ((source, source_port), (destination, destination_port)) = match direction {
            Direction::Forward => (initiator, responder),
            Direction::Reverse => (responder, initiator),
        };
        Ends { source, destination, source_port, destination_port, protocol: key.protocol }
    }

    fn meet(&self, signature: &Signature) -> bool {
        let carrier = &signature.carrier;
        let version = if self.source.is_v4() { 4 } else { 6 };
        if carrier.version.is_some_and(|want| want != version)
            || !(carrier.protocols.is_empty() || carrier.protocols.contains(&self.protocol))
        {
            return false;
        }
        let lies = |source: Address, source_port: u16, destination: Address, destination_port: u16| {
            let (here, there) = (&signature.source, &signature.destination);
            here.ports.contains(source_port)
                && there.ports.contains(destination_port)
                && here.addresses.contains(weir_common::rule::group::ordinal(source))
                && there.addresses.contains(weir_common::rule::group::ordinal(destination))
        };
        lies(self.source, self.source_port, self.destination, self.destination_port)
            || signature.is_bidirectional
                && lies(self.destination, self.destination_port, self.source, self.source_port)
    }
}

impl Facts {
    fn meet(&self, signature: &Signature) -> bool {
        let flow = &signature.flow;
        signature.app.is_none_or(|app| app == self.app)
            && flow.direction.is_none_or(|direction| direction == self.direction)
            && flow.established.is_none_or(|established| established == self.is_established)
    }
}

impl EngineCounters {
    fn packet_meets(&mut self, packet: &Packet<'_>, signature: &Signature) -> bool {
        if signature.flow.fragment.is_some_and(|fragment| fragment != packet.ip.is_fragment) {
            return false;
        }
        // The payload of a fragment is not known before its datagram is whole.
        let has_payload = !packet.is_partial;
        let passes = |test: &PacketTest| match (test, packet.transport) {
            (PacketTest::PayloadSize(size), _) => has_payload && size.has(packet.payload.len() as u64),
            (PacketTest::Flags(flags), Transport::Tcp(tcp)) => flags.has(tcp.flags),
            (PacketTest::IcmpType(number), Transport::Icmp { kind, .. }) => number.has(kind.into()),
            (PacketTest::IcmpCode(number), Transport::Icmp { code, .. }) => number.has(code.into()),
            (PacketTest::Ttl(number), _) => number.has(packet.ip.ttl.into()),
            (PacketTest::Protocol(number), _) => number.has(packet.ip.protocol.into()),
            _ => false,
        };
        signature.tests.iter().all(passes)
            && (signature.payload.is_empty() || has_payload && self.found(&signature.payload, packet.payload))
    }

    /// Whether every buffer's test is met by a value that `from` sent.
    fn values_meet(&mut self, values: &[Value], from: Direction, signature: &Signature) -> bool {
        signature.buffers.iter().all(|test| {
            values.iter().filter(|value| value.buffer == test.buffer && value.from == from).any(|value| {
                let bytes = match test.has_dot_prefix {
                    true => Cow::Owned([b".", value.bytes.as_slice()].concat()),
                    false => Cow::Borrowed(value.bytes.as_slice()),
                };
                test.sizes.iter().all(|size| size.has(bytes.len() as u64))
                    && self.found(&test.contents, &bytes)
            })
        })
    }

    fn found(&mut self, contents: &[Content], bytes: &[u8]) -> bool {
        match contents::search(contents, bytes) {
            Search::Found => true,
            Search::NotFound => false,
            Search::GivenUp => {
                self.given_up += 1;
                false
            }
        }
    }
}
