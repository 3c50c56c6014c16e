//! One flow: what is known of it while it lives, and the record it becomes.

use super::features::{self, Live, Room, Segment};
use super::key::CanonicalKey;
use crate::decode::{Packet, Transport};
use weir_common::app::App;
use weir_common::features::ConnectionState;
use weir_common::net::{CommunityId, Direction, FlowKey, protocol};
use weir_common::record::{DirectionStats, EndReason, FlowRecord, FlowState};
use weir_common::time::Timestamp;

/// A live flow. `A` is what the worker attaches to it.
///
/// A flow is whole cache lines: the first is all that a look-up and a timeout read, the second all that counting
/// writes, the third has what TCP's beginnings and ends need and the attachment, the last two are what its packets say
/// beyond counts. What lies between these two, where the attachment is longer than sixteen bytes, only a flow's first
/// packet and its end need.
#[repr(C, align(64))]
pub struct Flow<A> {
    pub(super) key: CanonicalKey,
    /// Neighbours in the list of its timeout; `older` also links free slots.
    pub(super) older: u32,
    pub(super) newer: u32,
    /// When it was put at the end of that list.
    pub(super) queued_at: Timestamp,
    pub(super) state: FlowState,
    /// How the initiator is known.
    pub(super) initiator_by: InitiatorBy,
    /// Whether the key's first end is the initiator.
    pub(super) initiator_is_first: bool,
    /// What was seen of each direction; see [`seen`].
    pub(super) seen: [u8; 2],
    pub(super) is_icmp: bool,
    /// Type and code of the first packet of an ICMP flow.
    pub(super) icmp: (u8, u8),

    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) stats: [Stats; 2],

    pub(super) flow_id: u64,
    /// Sequence number of the SYN that began the flow.
    pub(super) syn_sequence: u32,
    /// Sequence number after each direction's FIN.
    pub(super) fin_end: [u32; 2],
    pub(super) interface: u32,
    /// The worker's own; the table only makes and drops it.
    pub attachment: A,

    /// What only a flow's first packet and its end need.
    pub(super) community_id: CommunityId,
    pub(super) vlans: [u16; 2],
    pub(super) features: Live,
}

/// What a direction carried in this slice, in fewer bytes than its record's: a slice is at most minutes long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    /// Stays at the most that it can be.
    pub(super) packets: u32,
    /// Octets of frames that are not the IP packets': headers before them, padding behind them. Stays at its most.
    pub(super) link_octets: u32,
    pub(super) octets: u64,
    pub(super) tcp_flags: u16,
    pub(super) ttl_min: u8,
    pub(super) ttl_max: u8,
    pub(super) tos: u8,
}

impl Stats {
    fn to_record(self) -> DirectionStats {
        DirectionStats {
            packets: self.packets.into(),
            octets: self.octets,
            frame_octets: self.octets.saturating_add(self.link_octets.into()),
            tcp_flags: self.tcp_flags,
            ttl_min: self.ttl_min,
            ttl_max: self.ttl_max,
            tos: self.tos,
        }
    }
}

/// What was seen of one direction, across slices.
pub(super) mod seen {
    /// It sent a packet that shows it takes part: of TCP, one with ACK (the initiator's without SYN).
    pub(in super::super) const SPOKE: u8 = 1;
    /// It sent FIN.
    pub(in super::super) const FIN: u8 = 2;
    /// Its FIN was acknowledged.
    pub(in super::super) const FIN_ACKED: u8 = 4;
    /// It sent RST.
    pub(in super::super) const RST: u8 = 8;
}

/// How the initiator is known; a later way overrules an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InitiatorBy {
    /// It sent the first packet seen.
    First,
    /// It was sent a SYN with ACK.
    SynAck,
    /// It sent a SYN without ACK.
    Syn,
}

impl<A> Flow<A> {
    /// Identifies the flow within the sensor's run; the same for all its slices.
    pub fn flow_id(&self) -> u64 {
        self.flow_id
    }

    /// Community ID, computed when the flow began.
    pub fn community_id(&self) -> CommunityId {
        self.community_id
    }

    /// The attachment, to be changed, and the Community ID without its being read: it lies apart from what every packet
    /// needs.
    #[inline]
    pub fn attached(&mut self) -> (&mut A, &CommunityId) {
        (&mut self.attachment, &self.community_id)
    }

    /// The ends, initiator first as far as is known by now.
    pub fn key(&self) -> FlowKey {
        self.key.to_flow_key(self.initiator_is_first)
    }

    /// 802.1Q identifiers of the first packet.
    pub fn vlans(&self) -> [u16; 2] {
        self.vlans
    }

    /// Interface of the first packet.
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// Type and code of the first packet, for ICMP and ICMPv6.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        self.is_icmp.then_some(self.icmp)
    }

    /// Whether a SYN of it was seen, in whatever slice: of TCP, its beginning.
    pub fn has_begun(&self) -> bool {
        self.initiator_by != InitiatorBy::First
    }

    /// State by now.
    pub fn state(&self) -> FlowState {
        self.state
    }

    /// Time of the first packet of this slice.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// Time of the last packet.
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// What a direction carried in this slice.
    pub fn stats(&self, direction: Direction) -> DirectionStats {
        self.stats[direction.index()].to_record()
    }

    /// The record of this slice, without what inspection knows: the worker adds that.
    pub fn to_record(&self, end_reason: EndReason) -> FlowRecord {
        let [forward, reverse] = self.stats.map(Stats::to_record);
        FlowRecord {
            key: self.key(),
            flow_id: self.flow_id,
            community_id: self.community_id,
            start: self.start,
            end: self.end,
            forward,
            reverse,
            icmp: self.icmp(),
            vlans: self.vlans,
            interface: self.interface,
            end_reason,
            state: self.state,
            app: App::Unknown,
            metadata: None,
            tunnel: None,
            at_shutdown: false,
            signatures: None,
            evidence: None,
            features: self.features.to_record(self.initiator(), self.connection()),
        }
    }

    /// Which of the key's ends is the initiator.
    fn initiator(&self) -> usize {
        usize::from(!self.initiator_is_first)
    }

    /// How the flow went so far.
    fn connection(&self) -> ConnectionState {
        match self.key.protocol() {
            protocol::TCP => self.features.connection(self.initiator()),
            number => {
                let spoke = self.seen.map(|seen| seen & seen::SPOKE != 0);
                features::connection_of_datagrams(number == protocol::UDP, spoke[0], spoke[1])
            }
        }
    }

    /// Which way a packet from the key's first end goes, or from its second.
    #[inline]
    pub(super) fn direction(&self, source_is_first: bool) -> Direction {
        if source_is_first == self.initiator_is_first { Direction::Forward } else { Direction::Reverse }
    }

    /// Adds a packet to the counts.
    #[inline]
    pub(super) fn count(&mut self, packet: &Packet<'_>, direction: Direction, time: Timestamp) {
        let start_before = self.start;
        let stats = &mut self.stats[direction.index()];
        let ttl = packet.ip.ttl;
        if stats.packets == 0 {
            (stats.ttl_min, stats.ttl_max, stats.tos) = (ttl, ttl, packet.ip.tos);
        } else {
            stats.ttl_min = stats.ttl_min.min(ttl);
            stats.ttl_max = stats.ttl_max.max(ttl);
        }
        stats.packets = stats.packets.saturating_add(1);
        stats.octets += u64::from(packet.ip.octets);
        let link_octets = packet.frame_octets.saturating_sub(packet.ip.octets);
        stats.link_octets = stats.link_octets.saturating_add(link_octets);
        if let Transport::Tcp(tcp) = packet.transport {
            stats.tcp_flags |= tcp.flags;
        }
        if let Some(early) = packet.early {
            stats.packets = stats.packets.saturating_add(early.packets);
            stats.octets += early.octets;
            self.start = self.start.min(early.start);
        }
        // Files may hold packets out of order.
        self.start = self.start.min(time);
        self.end = self.end.max(time);
        if self.start < start_before {
            self.features.start_earlier((start_before.0 - self.start.0) / 1000);
        }
    }

    /// Notes what a packet that was counted says beyond its counts.
    #[inline]
    pub(super) fn note(
        &mut self,
        packet: &Packet<'_>,
        direction: Direction,
        time: Timestamp,
        room: &mut Room,
    ) {
        let initiator = self.initiator();
        let side = if direction == Direction::Forward { initiator } else { 1 - initiator };
        let mut flags = 0;
        if let Transport::Tcp(tcp) = &packet.transport {
            flags = tcp.flags;
            if !packet.is_partial {
                let own = direction.index();
                let segment = Segment {
                    side,
                    is_initiator: direction == Direction::Forward,
                    payload: packet.payload_octets(),
                    now_us: (time.0 / 1000) as u32,
                    fin_end: (self.seen[own] & seen::FIN != 0).then_some(self.fin_end[own]),
                };
                self.features.segment(tcp, &segment, room);
            }
        }
        let since_start_us = time.0.saturating_sub(self.start.0) / 1000;
        self.features.note(packet, side, since_start_us, flags, room);
    }

    /// Begins a new slice with the packet of this time.
    pub(super) fn begin_slice(&mut self, time: Timestamp) {
        self.stats = Default::default();
        self.start = time;
        self.end = time;
        self.features.begin_slice();
    }

    /// Exchanges initiator and responder.
    pub(super) fn flip(&mut self) {
        self.initiator_is_first = !self.initiator_is_first;
        self.stats.swap(0, 1);
        self.seen.swap(0, 1);
        self.fin_end.swap(0, 1);
        self.features.flipped(self.initiator());
    }
}
