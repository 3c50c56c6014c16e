//! The table of live flows of one worker.

use super::config::FlowConfig;
use super::expiry::{EXPIRED_PER_CALL_MAX, NONE, QUEUE_GRANULE_NS_MAX, Queue, Verdict, ns_since};
use super::features::{Limits, Live, Room};
use super::index::Index;
use super::key::CanonicalKey;
use super::live::{Flow, InitiatorBy, seen};
use super::slab::Slab;
use super::tcp;
use crate::counters::FlowCounters;
use crate::decode::{Ip, Packet, Transport};
use foldhash::quality::RandomState;
use weir_common::net::{CommunityId, Direction, FlowKey};
use weir_common::record::{EndReason, FlowState};
use weir_common::time::Timestamp;

/// Quiet time after which a SYN with another sequence number begins a new flow although the old one was not seen
/// to end, in nanoseconds: longer than SYNs are repeated quickly, shorter than ports are used again.
const REUSE_QUIET_NS: u64 = 10_000_000_000;

/// A flow's place in its table, until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowSlot(u32);

/// Where a table looks for a packet's flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowHash(pub(super) u32);

/// What a packet did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The packet's flow.
    pub slot: FlowSlot,
    /// Which way the packet goes.
    pub direction: Direction,
    /// Whether the packet began the flow.
    pub is_new: bool,
    /// Whether the packet showed that the responder had been taken for the initiator: what was `Forward`
    /// in this flow is `Reverse` from now on.
    pub is_flipped: bool,
    /// Whether it closed the connection, or opened it again.
    pub is_turn: bool,
}

/// The live flows of one worker. `A` is what the worker attaches to each.
///
/// Every method that can end a flow takes `ended`, which is given the flow before it goes; with
/// [`EndReason::ActiveTimeout`] the flow goes on, and only its counts begin anew.
pub struct FlowTable<A> {
    pub(super) flows: Slab<Flow<A>>,
    pub(super) index: Index,
    hasher: RandomState,
    /// Flows in `flows` that are in use; at most `flows_max`.
    live: u32,
    flows_max: u32,
    /// First of the free slots, linked by `older`.
    free: u32,
    /// Flows that go on, and TCP flows that ended.
    open: Queue,
    closed: Queue,
    pub(super) queue_granule_ns: u64,
    active_timeout_ns: u64,
    community_id_seed: u16,
    vlans_in_key: bool,
    /// What is noted of packets beyond counts, and the memory it may take.
    pub(super) room: Room,
    worker: u16,
    counters: FlowCounters,
}

impl<A: Default> FlowTable<A> {
    /// An empty table for at most `flows_max` flows: this worker's share of `config.flows_max`.
    pub fn new(config: &FlowConfig, flows_max: u32, worker: u16) -> FlowTable<A> {
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        let (idle_timeout_ns, closed_timeout_ns) = (ns(config.idle_timeout_ms), ns(config.closed_timeout_ms));
        // This worker's share of the memory is as large as its share of the flows.
        let share = u128::from(config.features_bytes_max) * u128::from(flows_max.min(config.flows_max))
            / u128::from(config.flows_max.max(1));
        let features_bytes_max = u64::try_from(share).unwrap_or(u64::MAX);
        FlowTable {
            room: Room::new(Limits::new(config), features_bytes_max),
            flows: Slab::new(),
            index: Index::new(),
            hasher: RandomState::default(),
            live: 0,
            // The highest numbers are taken: one says "no slot".
            flows_max: flows_max.clamp(1, u32::MAX - 2),
            free: NONE,
            open: Queue::new(idle_timeout_ns),
            closed: Queue::new(closed_timeout_ns),
            queue_granule_ns: QUEUE_GRANULE_NS_MAX.min(idle_timeout_ns.min(closed_timeout_ns) / 16),
            active_timeout_ns: ns(config.active_timeout_ms),
            community_id_seed: config.community_id_seed,
            vlans_in_key: config.vlans_in_key,
            worker,
            counters: FlowCounters::default(),
        }
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether there is no flow in the table.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// What was counted so far, and how many flows there are now.
    pub fn counters(&self) -> FlowCounters {
        let (active, features_refused) = (u64::from(self.live), self.room.refused);
        FlowCounters { active, features_refused, ..self.counters }
    }

    /// The flow at a place that [`FlowTable::observe`] gave and that has not ended since.
    #[inline]
    pub fn flow(&self, slot: FlowSlot) -> &Flow<A> {
        self.flows.at(slot.0)
    }

    /// As [`FlowTable::flow`], to change its attachment.
    #[inline]
    pub fn flow_mut(&mut self, slot: FlowSlot) -> &mut Flow<A> {
        self.flows.at_mut(slot.0)
    }

    /// Counts a packet for its flow, which begins if there is none. A flow that has reached a timeout by
    /// the packet's time ends first, whether or not [`FlowTable::expire`] came by; and when the table is
    /// full, one that is closed or else the least recently seen has to go.
    #[inline]
    pub fn observe(
        &mut self,
        packet: &Packet<'_>,
        time: Timestamp,
        interface: u32,
        ended: &mut impl FnMut(&mut Flow<A>, EndReason),
    ) -> Observed {
        self.observe_hashed(packet, self.hash_of(packet), time, interface, ended)
    }

    /// As [`FlowTable::observe`], for a packet whose hash is known already.
    #[inline]
    pub fn observe_hashed(
        &mut self,
        packet: &Packet<'_>,
        FlowHash(hash): FlowHash,
        time: Timestamp,
        interface: u32,
        ended: &mut impl FnMut(&mut Flow<A>, EndReason),
    ) -> Observed {
        let (key, source_is_first) = CanonicalKey::of(packet, self.vlans_in_key);
        let mut found = self.index.find(hash, |slot| self.flows.at(slot).key == key);
        if let Some(slot) = found
            && let Some(reason) = self.superseded(self.flows.at(slot), packet, time)
        {
            self.end(slot, reason, ended);
            found = None;
        }
        let slot = match found {
            Some(slot) => {
                self.seen_again(slot, time, ended);
                slot
            }
            None => {
                if self.live >= self.flows_max {
                    self.evict(ended);
                }
                self.create(key, hash, source_is_first, packet, time, interface)
            }
        };
        let (direction, is_flipped, is_turn) = self.update(slot, source_is_first, packet, time);
        Observed { slot: FlowSlot(slot), direction, is_new: found.is_none(), is_flipped, is_turn }
    }

    /// Exchanges the ends of a flow, because what they say shows who serves; false where the handshake has shown who
    /// began.
    #[cold]
    pub fn flip(&mut self, slot: FlowSlot) -> bool {
        let flow = self.flows.at_mut(slot.0);
        let is_open = flow.initiator_by == InitiatorBy::First;
        if is_open {
            flow.flip();
        }
        is_open
    }

    /// The hash under which a packet's flow is found, for [`FlowTable::warm`] and [`FlowTable::observe_hashed`].
    #[inline]
    pub fn hash_of(&self, packet: &Packet<'_>) -> FlowHash {
        FlowHash(CanonicalKey::of(packet, self.vlans_in_key).0.hash(&self.hasher))
    }

    /// Ends flows whose timeout has passed at `now`, at most some thousands per call; true when there may be
    /// more. To be called about once per batch. An active timeout is noticed by the flow's next packet.
    pub fn expire(&mut self, now: Timestamp, ended: &mut impl FnMut(&mut Flow<A>, EndReason)) -> bool {
        for _ in 0..EXPIRED_PER_CALL_MAX {
            let Some((slot, verdict)) = self.due(now) else { return false };
            match verdict {
                Verdict::Expired(reason) => self.end(slot, reason, ended),
                Verdict::Requeue => self.requeue(slot, now),
            }
        }
        true
    }

    /// Ends every flow, because the sensor stops or the capture is over: closed ones first, each kind in the order
    /// of its list.
    pub fn drain(&mut self, ended: &mut impl FnMut(&mut Flow<A>, EndReason)) {
        // Flows are not taken out of index and lists one by one, which would be most of the work: both are
        // emptied afterwards.
        let lists = [(&self.closed, EndReason::EndOfFlow), (&self.open, EndReason::ForcedEnd)];
        for (mut next, reason) in lists.map(|(list, reason)| (list.oldest(), reason)) {
            while let Some(slot) = next {
                let flow = self.flows.at_mut(slot);
                next = (flow.newer != NONE).then_some(flow.newer);
                ended(flow, reason);
                self.vacate(slot, reason);
            }
        }
        self.index = Index::new();
        self.open = Queue::new(self.open.timeout_ns);
        self.closed = Queue::new(self.closed.timeout_ns);
    }

    /// The next flow with which something is to be done at `now`.
    fn due(&self, now: Timestamp) -> Option<(u32, Verdict)> {
        [(&self.closed, EndReason::EndOfFlow), (&self.open, EndReason::IdleTimeout)].into_iter().find_map(
            |(queue, reason)| {
                let slot = queue.oldest()?;
                Some((slot, queue.verdict(self.flows.at(slot), now, reason)?))
            },
        )
    }

    /// Why the packet belongs to a new flow, if it does.
    #[inline]
    fn superseded(&self, flow: &Flow<A>, packet: &Packet<'_>, time: Timestamp) -> Option<EndReason> {
        let quiet_ns = ns_since(time, flow.end);
        let is_closed = flow.state == FlowState::Closed;
        if is_closed && quiet_ns >= self.closed.timeout_ns {
            return Some(EndReason::EndOfFlow);
        }
        if quiet_ns >= self.open.timeout_ns {
            return Some(EndReason::IdleTimeout);
        }
        if let Transport::Tcp(tcp) = &packet.transport
            && tcp::is_opening(tcp)
        {
            let is_repeated = flow.initiator_by == InitiatorBy::Syn && flow.syn_sequence == tcp.sequence;
            if !is_repeated && (is_closed || quiet_ns >= REUSE_QUIET_NS) {
                return Some(EndReason::EndOfFlow);
            }
        }
        None
    }

    /// Notes that a flow lives, and makes a slice of it when it has gone on for long.
    #[inline]
    fn seen_again(&mut self, slot: u32, time: Timestamp, ended: &mut impl FnMut(&mut Flow<A>, EndReason)) {
        let flow = self.flows.at_mut(slot);
        if ns_since(time, flow.start) >= self.active_timeout_ns {
            self.counters.records += 1;
            self.counters.ended_active += 1;
            ended(flow, EndReason::ActiveTimeout);
            flow.begin_slice(time);
        }
        if ns_since(time, flow.queued_at) >= self.queue_granule_ns {
            self.requeue(slot, time);
        }
    }

    #[inline]
    fn requeue(&mut self, slot: u32, time: Timestamp) {
        let is_closed = self.flows.at(slot).state == FlowState::Closed;
        let queue = if is_closed { &mut self.closed } else { &mut self.open };
        queue.requeue(&mut self.flows, slot, time);
    }

    /// Counts the packet and follows the flow's state.
    #[inline]
    fn update(
        &mut self,
        slot: u32,
        source_is_first: bool,
        packet: &Packet<'_>,
        time: Timestamp,
    ) -> (Direction, bool, bool) {
        let flow = self.flows.at_mut(slot);
        let mut direction = flow.direction(source_is_first);
        let Transport::Tcp(tcp) = &packet.transport else {
            flow.count(packet, direction, time);
            flow.note(packet, direction, time, &mut self.room);
            flow.seen[direction.index()] |= seen::SPOKE;
            if flow.state == FlowState::New && flow.seen[0] & flow.seen[1] & seen::SPOKE != 0 {
                flow.state = FlowState::Established;
            }
            return (direction, false, false);
        };
        let is_flipped = tcp::correct_initiator(flow, tcp, direction);
        if is_flipped {
            direction = direction.flip();
        }
        flow.count(packet, direction, time);
        flow.note(packet, direction, time, &mut self.room);
        let payload_len = (!packet.is_partial).then_some(packet.payload_octets() as usize);
        let is_turn = tcp::advance(flow, tcp, direction, payload_len);
        if is_turn {
            let (from, to) = match flow.state {
                FlowState::Closed => (&mut self.open, &mut self.closed),
                _ => (&mut self.closed, &mut self.open),
            };
            from.remove(&mut self.flows, slot);
            to.push(&mut self.flows, slot, time);
        }
        (direction, is_flipped, is_turn)
    }

    /// What Community IDs are made with.
    pub fn community_id_seed(&self) -> u16 {
        self.community_id_seed
    }

    /// The identifier of the flow that a fragment is of when the first one of its datagram never comes.
    #[cold]
    pub fn id_without_ports(&self, ip: &Ip) -> CommunityId {
        let key = FlowKey {
            initiator: ip.source,
            responder: ip.destination,
            initiator_port: 0,
            responder_port: 0,
            protocol: ip.protocol,
        };
        CommunityId::of(&key, None, self.community_id_seed)
    }

    fn create(
        &mut self,
        key: CanonicalKey,
        hash: u32,
        source_is_first: bool,
        packet: &Packet<'_>,
        time: Timestamp,
        interface: u32,
    ) -> u32 {
        let icmp = match packet.transport {
            Transport::Icmp { kind, code } => Some((kind, code)),
            _ => None,
        };
        self.counters.created += 1;
        let flow = Flow {
            key,
            older: NONE,
            newer: NONE,
            queued_at: time,
            state: FlowState::New,
            initiator_by: InitiatorBy::First,
            initiator_is_first: source_is_first,
            seen: [0; 2],
            start: time,
            end: time,
            stats: Default::default(),
            attachment: A::default(),
            // Unique among workers, and exact in JSON readers that keep 53 bits for 10^11 flows per worker.
            flow_id: self.counters.created << 16 | u64::from(self.worker),
            community_id: CommunityId::of(&key.to_flow_key(source_is_first), icmp, self.community_id_seed),
            interface,
            vlans: packet.vlans,
            syn_sequence: 0,
            fin_end: [0; 2],
            features: Live::default(),
            icmp: icmp.unwrap_or_default(),
            is_icmp: icmp.is_some(),
        };
        let slot = match self.free {
            NONE => self.flows.push(flow),
            slot => {
                let place = self.flows.at_mut(slot);
                self.free = place.older;
                *place = flow;
                slot
            }
        };
        self.index.insert(hash, slot);
        self.open.push(&mut self.flows, slot, time);
        self.live += 1;
        slot
    }

    /// Ends one flow to make room: a closed one, which has nothing left to tell, or else the least recently
    /// seen.
    #[cold]
    fn evict(&mut self, ended: &mut impl FnMut(&mut Flow<A>, EndReason)) {
        if let Some(slot) = self.closed.oldest() {
            self.end(slot, EndReason::EndOfFlow, ended);
        } else if let Some(slot) = self.open.oldest() {
            self.end(slot, EndReason::LackOfResources, ended);
        }
    }

    fn end(&mut self, slot: u32, reason: EndReason, ended: &mut impl FnMut(&mut Flow<A>, EndReason)) {
        let flow = self.flows.at_mut(slot);
        ended(flow, reason);
        let (hash, is_closed) = (flow.key.hash(&self.hasher), flow.state == FlowState::Closed);
        let queue = if is_closed { &mut self.closed } else { &mut self.open };
        queue.remove(&mut self.flows, slot);
        self.index.remove(hash, slot);
        self.vacate(slot, reason);
    }

    /// Frees the slot of a flow that was taken out of index and list, and counts its end.
    fn vacate(&mut self, slot: u32, reason: EndReason) {
        let flow = self.flows.at_mut(slot);
        flow.attachment = A::default();
        flow.features.release(&mut self.room);
        flow.older = self.free;
        self.free = slot;
        self.live -= 1;
        let counters = &mut self.counters;
        counters.records += 1;
        let counter = match reason {
            EndReason::IdleTimeout => &mut counters.ended_idle,
            EndReason::ActiveTimeout => &mut counters.ended_active,
            EndReason::EndOfFlow => &mut counters.ended_closed,
            EndReason::ForcedEnd => &mut counters.ended_forced,
            EndReason::LackOfResources => &mut counters.ended_full,
        };
        *counter += 1;
    }
}
