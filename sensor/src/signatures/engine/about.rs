//! Whom a candidate is about: its ends, direction and application.
//!
//! In: a packet, and the side of a transaction where one is asked about. Out: whether a signature's header, `flow` and
//! hosts mean it, whether its limits let a match be told, and what was found.

use super::super::compile::{HostTest, Kind, Signature};
use super::super::marks::TransactionId;
use super::super::rules::Rules;
use super::super::state::{Ends as StateEnds, Matched, RuleId, Verdict, Windows};
use super::{Found, Sight};
use crate::dpi::buffers::{NO_TRANSACTION, Side};
use weir_common::app::App;
use weir_common::net::{Address, Direction, protocol};
use weir_common::rule::group::ordinal;

/// Whom a candidate is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) sight: &'a Sight<'a>,
    pub(super) direction: Direction,
    pub(super) app: App,
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) ports: [u16; 2],
    pub(super) side: Option<(u64, Direction)>,
}

impl<'a> About<'a> {
    pub(super) fn of(sight: &'a Sight<'a>, side: Option<(&Side, bool)>) -> About<'a> {
        let key = &sight.key;
        let (direction, app, side) = match side {
            Some((side, is_swapped)) => {
                let direction = if is_swapped { side.direction.flip() } else { side.direction };
                let transaction = match side.frame {
                    Some(frame) => frame.transaction.unwrap_or(NO_TRANSACTION),
                    None => side.transaction,
                };
                (direction, side.app, Some((transaction, side.direction)))
            }
            None => (sight.direction, sight.app, None),
        };
        let initiator = (key.initiator, key.initiator_port);
        let responder = (key.responder, key.responder_port);
        let ((source, source_port), (destination, destination_port)) = match direction {
            Direction::Forward => (initiator, responder),
            Direction::Reverse => (responder, initiator),
        };
        About { sight, direction, app, source, destination, ports: [source_port, destination_port], side }
    }

    /// Its ends as marks and limits of hosts know them.
    pub(super) fn ends(&self) -> StateEnds {
        StateEnds { source: self.source, destination: self.destination, time: self.sight.time }
    }

    /// The transaction, where it is one.
    pub(super) fn transaction(&self) -> Option<TransactionId> {
        let (number, _) = self.side.filter(|(number, _)| *number != NO_TRANSACTION)?;
        Some((self.app, number))
    }

    /// Whether the header and `flow` of a signature mean it.
    pub(super) fn meets(&self, signature: &Signature) -> bool {
        let header = &signature.header;
        let (flow, carrier) = (&header.flow, &header.carrier);
        let version = if self.source.is_v4() { 4 } else { 6 };
        // What a SYN carries (RFC 7413) is a transaction's as soon as it is read.
        let is_tcp = self.sight.key.protocol == protocol::TCP;
        let is_established = self.sight.is_established || is_tcp && self.side.is_some();
        if !header.applications.has(self.app)
            || flow.direction.is_some_and(|direction| direction != self.sight.flow.role(self.direction))
            || flow.established.is_some_and(|established| established != is_established)
            || flow.is_first && self.sight.flow.packets[self.sight.direction.index()] != 1
            || flow.fragment.is_some_and(|fragment| fragment != self.sight.packet.ip.is_fragment)
            || carrier.version.is_some_and(|want| want != version)
            || !(carrier.protocols.is_empty() || carrier.protocols.contains(&self.sight.key.protocol))
        {
            return false;
        }
        let lies = |[source, destination]: [&Address; 2], [source_port, destination_port]: [u16; 2]| {
            let (here, there) = (&header.source, &header.destination);
            here.ports.contains(source_port)
                && there.ports.contains(destination_port)
                && (here.addresses.is_all() || here.addresses.contains(ordinal(*source)))
                && (there.addresses.is_all() || there.addresses.contains(ordinal(*destination)))
        };
        let [source_port, destination_port] = self.ports;
        // Of a rule about both sides the ends are those of what the client says.
        let is_answer = header.half == Some(Direction::Reverse);
        !is_answer && lies([&self.source, &self.destination], [source_port, destination_port])
            || (header.is_bidirectional || is_answer)
                && lies([&self.destination, &self.source], [destination_port, source_port])
    }

    /// Whether the packet's hosts are what a signature asks for.
    pub(super) fn hosts_are(&self, signature: &Signature, rules: &Rules) -> bool {
        let ends = self.ends();
        signature.hosts.iter().all(|test| match test {
            HostTest::Reputation(test) => test.passes(&rules.reputations, &ends),
            HostTest::Country(test) => {
                rules.countries.as_ref().is_some_and(|known| test.passes(known, &ends))
            }
        })
    }

    /// Counts a match and says whether it is told.
    pub(super) fn verdict(&self, signature: &Signature, windows: &mut Windows) -> Verdict {
        if signature.limits.is_none() {
            return Verdict::Alert;
        }
        let matched = Matched {
            source: self.source,
            destination: self.destination,
            ports: self.ports,
            flow_id: Some(self.sight.flow_id),
            time: self.sight.time,
        };
        let rule = RuleId::new(signature.description.gid, signature.description.sid);
        let first = signature.limits.verdict(windows, rule, &matched);
        if !signature.counts_twice(self.sight) {
            return first;
        }
        let second = signature.limits.verdict(windows, rule, &matched);
        if first == Verdict::NoAlert { second } else { first }
    }

    pub(super) fn found(&self, number: u32, signature: &Signature) -> Found {
        let is_of_packet =
            matches!(signature.kind, Kind::Packet | Kind::Frame | Kind::Flow) || signature.is_of_packets();
        Found {
            signature: number,
            direction: self.direction,
            app: self.app,
            transaction: self.side.filter(|(number, _)| *number != NO_TRANSACTION),
            is_of_stream: !is_of_packet,
            frame: None,
            context: Vec::new(),
        }
    }
}
