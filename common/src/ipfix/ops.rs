//! What each information element does to a flow record.
//!
//! In: an element and a field's length. Out: the [`Op`] that a plan runs for it, and its rank among the
//! elements that fill the same place of a record. One table serves all exporters, Weir's included.

use super::VARIABLE_LENGTH;
use super::elements::{self as ie, Element, REVERSE_PEN};
use crate::metadata::{ElementId, Field, Shape};
use crate::net::Direction;

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    Ntp,
    /// Microseconds before the message's export time.
    DeltaMicroseconds,
    /// Milliseconds since the exporter's start.
    UpTime,
}

/// What to do with one field's octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Skip,
    SourceV4,
    DestinationV4,
    SourceV6,
    DestinationV6,
    SourcePort,
    DestinationPort,
    Protocol,
    IcmpTypeCode,
    IcmpType,
    IcmpCode,
    Packets(Direction),
    Octets(Direction),
    TcpFlags(Direction),
    TtlMin(Direction),
    TtlMax(Direction),
    Ttl(Direction),
    Tos(Direction),
    Start(Unit),
    End(Unit),
    DurationMilliseconds,
    DurationMicroseconds,
    SystemInit,
    EndReason,
    FlowId,
    VlanOuter,
    VlanInner,
    Interface,
    Application,
    BiflowDirection,
    CommunityId,
    State,
    RingExtents,
    Tunnel,
    FrameOctets(Direction),
    RingExpiry,
    RingFrames,
    RingMissedFrames,
    Metadata(Field),
    Connection,
    History,
    ServerRtt,
    ServerRttMilliseconds,
    ClientRtt,
    Mpls(u8),
    SourceMac(Direction),
    DestinationMac(Direction),
    Window(Direction),
    Entropy(Direction),
    Retransmitted(Direction),
    OutOfOrder(Direction),
    DuplicateAcks(Direction),
    ZeroWindows(Direction),
    MissedOctets(Direction),
    OctetsMin(Direction),
    OctetsMax(Direction),
    OctetsSquared(Direction),
    GapMin(Direction),
    GapMax(Direction),
    GapSum(Direction),
    GapSquared(Direction),
    PacketPayloads,
    PacketTimes,
    PacketFlags,
    PacketDirections,
}

use Direction::{Forward, Reverse};

/// What each element does, the better one first where several fill the same place.
const OPS: &[(Element, Op)] = &[
    (ie::SOURCE_IPV4_ADDRESS, Op::SourceV4),
    (ie::DESTINATION_IPV4_ADDRESS, Op::DestinationV4),
    (ie::SOURCE_IPV6_ADDRESS, Op::SourceV6),
    (ie::DESTINATION_IPV6_ADDRESS, Op::DestinationV6),
    (ie::SOURCE_TRANSPORT_PORT, Op::SourcePort),
    (ie::UDP_SOURCE_PORT, Op::SourcePort),
    (ie::TCP_SOURCE_PORT, Op::SourcePort),
    (ie::DESTINATION_TRANSPORT_PORT, Op::DestinationPort),
    (ie::UDP_DESTINATION_PORT, Op::DestinationPort),
    (ie::TCP_DESTINATION_PORT, Op::DestinationPort),
    (ie::PROTOCOL_IDENTIFIER, Op::Protocol),
    (ie::ICMP_TYPE_CODE_IPV4, Op::IcmpTypeCode),
    (ie::ICMP_TYPE_CODE_IPV6, Op::IcmpTypeCode),
    (ie::ICMP_TYPE_IPV4, Op::IcmpType),
    (ie::ICMP_TYPE_IPV6, Op::IcmpType),
    (ie::ICMP_CODE_IPV4, Op::IcmpCode),
    (ie::ICMP_CODE_IPV6, Op::IcmpCode),
    (ie::PACKET_DELTA_COUNT, Op::Packets(Forward)),
    (ie::INITIATOR_PACKETS, Op::Packets(Forward)),
    (ie::PACKET_TOTAL_COUNT, Op::Packets(Forward)),
    (ie::RESPONDER_PACKETS, Op::Packets(Reverse)),
    (ie::OCTET_DELTA_COUNT, Op::Octets(Forward)),
    (ie::INITIATOR_OCTETS, Op::Octets(Forward)),
    (ie::OCTET_TOTAL_COUNT, Op::Octets(Forward)),
    (ie::RESPONDER_OCTETS, Op::Octets(Reverse)),
    (ie::TCP_CONTROL_BITS, Op::TcpFlags(Forward)),
    (ie::MINIMUM_TTL, Op::TtlMin(Forward)),
    (ie::MAXIMUM_TTL, Op::TtlMax(Forward)),
    (ie::IP_TTL, Op::Ttl(Forward)),
    (ie::IP_CLASS_OF_SERVICE, Op::Tos(Forward)),
    (ie::FLOW_START_NANOSECONDS, Op::Start(Unit::Ntp)),
    (ie::FLOW_START_MICROSECONDS, Op::Start(Unit::Ntp)),
    (ie::FLOW_START_DELTA_MICROSECONDS, Op::Start(Unit::DeltaMicroseconds)),
    (ie::FLOW_START_MILLISECONDS, Op::Start(Unit::Milliseconds)),
    (ie::FLOW_START_SYS_UP_TIME, Op::Start(Unit::UpTime)),
    (ie::FLOW_START_SECONDS, Op::Start(Unit::Seconds)),
    (ie::OBSERVATION_TIME_NANOSECONDS, Op::Start(Unit::Ntp)),
    (ie::OBSERVATION_TIME_MILLISECONDS, Op::Start(Unit::Milliseconds)),
    (ie::FLOW_END_NANOSECONDS, Op::End(Unit::Ntp)),
    (ie::FLOW_END_MICROSECONDS, Op::End(Unit::Ntp)),
    (ie::FLOW_END_DELTA_MICROSECONDS, Op::End(Unit::DeltaMicroseconds)),
    (ie::FLOW_END_MILLISECONDS, Op::End(Unit::Milliseconds)),
    (ie::FLOW_END_SYS_UP_TIME, Op::End(Unit::UpTime)),
    (ie::FLOW_END_SECONDS, Op::End(Unit::Seconds)),
    (ie::FLOW_DURATION_MICROSECONDS, Op::DurationMicroseconds),
    (ie::FLOW_DURATION_MILLISECONDS, Op::DurationMilliseconds),
    (ie::SYSTEM_INIT_TIME_MILLISECONDS, Op::SystemInit),
    (ie::FLOW_END_REASON, Op::EndReason),
    (ie::FLOW_ID, Op::FlowId),
    (ie::DOT1Q_VLAN_ID, Op::VlanOuter),
    (ie::VLAN_ID, Op::VlanOuter),
    (ie::DOT1Q_CUSTOMER_VLAN_ID, Op::VlanInner),
    (ie::INGRESS_INTERFACE, Op::Interface),
    (ie::APPLICATION_NAME, Op::Application),
    (ie::BIFLOW_DIRECTION, Op::BiflowDirection),
    (ie::COMMUNITY_ID, Op::CommunityId),
    (ie::FLOW_STATE, Op::State),
    (ie::RING_EXTENTS, Op::RingExtents),
    (ie::RING_EXPIRY, Op::RingExpiry),
    (ie::RING_FRAMES, Op::RingFrames),
    (ie::RING_MISSED_FRAMES, Op::RingMissedFrames),
    (ie::CONNECTION_STATE, Op::Connection),
    (ie::TCP_HISTORY, Op::History),
    (ie::SERVER_ROUND_TRIP_TIME, Op::ServerRtt),
    (ie::REVERSE_FLOW_DELTA_MILLISECONDS, Op::ServerRttMilliseconds),
    (ie::CLIENT_ROUND_TRIP_TIME, Op::ClientRtt),
    (ie::MPLS_TOP_LABEL_STACK_SECTION, Op::Mpls(0)),
    (ie::MPLS_LABEL_STACK_SECTION_2, Op::Mpls(1)),
    (ie::MPLS_LABEL_STACK_SECTION_3, Op::Mpls(2)),
    (ie::TUNNEL, Op::Tunnel),
    (ie::LAYER2_OCTET_DELTA_COUNT, Op::FrameOctets(Forward)),
    (ie::SOURCE_MAC_ADDRESS, Op::SourceMac(Forward)),
    (ie::DESTINATION_MAC_ADDRESS, Op::DestinationMac(Forward)),
    (ie::TCP_WINDOW_SIZE, Op::Window(Forward)),
    (ie::PAYLOAD_ENTROPY, Op::Entropy(Forward)),
    (ie::REVERSE_PAYLOAD_ENTROPY, Op::Entropy(Reverse)),
    (ie::RETRANSMITTED_SEGMENTS, Op::Retransmitted(Forward)),
    (ie::REVERSE_RETRANSMITTED_SEGMENTS, Op::Retransmitted(Reverse)),
    (ie::OUT_OF_ORDER_SEGMENTS, Op::OutOfOrder(Forward)),
    (ie::REVERSE_OUT_OF_ORDER_SEGMENTS, Op::OutOfOrder(Reverse)),
    (ie::DUPLICATE_ACKS, Op::DuplicateAcks(Forward)),
    (ie::REVERSE_DUPLICATE_ACKS, Op::DuplicateAcks(Reverse)),
    (ie::ZERO_WINDOW_SEGMENTS, Op::ZeroWindows(Forward)),
    (ie::REVERSE_ZERO_WINDOW_SEGMENTS, Op::ZeroWindows(Reverse)),
    (ie::MISSED_OCTETS, Op::MissedOctets(Forward)),
    (ie::REVERSE_MISSED_OCTETS, Op::MissedOctets(Reverse)),
    (ie::MINIMUM_IP_TOTAL_LENGTH, Op::OctetsMin(Forward)),
    (ie::MAXIMUM_IP_TOTAL_LENGTH, Op::OctetsMax(Forward)),
    (ie::OCTET_DELTA_SUM_OF_SQUARES, Op::OctetsSquared(Forward)),
    (ie::MINIMUM_GAP, Op::GapMin(Forward)),
    (ie::REVERSE_MINIMUM_GAP, Op::GapMin(Reverse)),
    (ie::MAXIMUM_GAP, Op::GapMax(Forward)),
    (ie::REVERSE_MAXIMUM_GAP, Op::GapMax(Reverse)),
    (ie::GAP_SUM, Op::GapSum(Forward)),
    (ie::REVERSE_GAP_SUM, Op::GapSum(Reverse)),
    (ie::GAP_SUM_OF_SQUARES, Op::GapSquared(Forward)),
    (ie::REVERSE_GAP_SUM_OF_SQUARES, Op::GapSquared(Reverse)),
    (ie::PACKET_PAYLOADS, Op::PacketPayloads),
    (ie::PACKET_TIMES, Op::PacketTimes),
    (ie::PACKET_FLAGS, Op::PacketFlags),
    (ie::PACKET_DIRECTIONS, Op::PacketDirections),
];

impl Op {
    /// What an element does and its rank among those that fill the same place, best first.
    pub(super) fn of(element: ElementId) -> (Op, usize) {
        let unknown = (Op::Skip, usize::MAX);
        let reverse = element.enterprise == REVERSE_PEN;
        let wanted = if reverse { ElementId { enterprise: 0, number: element.number } } else { element };
        let Some(rank) = OPS.iter().position(|(known, _)| known.id == wanted) else {
            return match Field::from_element(wanted) {
                Some(field) if !reverse => (Op::Metadata(field), OPS.len()),
                _ => unknown,
            };
        };
        let op = OPS[rank].1;
        if reverse { op.reversed().map_or(unknown, |op| (op, rank)) } else { (op, rank) }
    }

    /// The same for the responder's direction, where RFC 5103 allows it and records have a place for it.
    const fn reversed(self) -> Option<Op> {
        Some(match self {
            Op::Packets(Forward) => Op::Packets(Reverse),
            Op::Octets(Forward) => Op::Octets(Reverse),
            Op::FrameOctets(Forward) => Op::FrameOctets(Reverse),
            Op::TcpFlags(Forward) => Op::TcpFlags(Reverse),
            Op::TtlMin(Forward) => Op::TtlMin(Reverse),
            Op::TtlMax(Forward) => Op::TtlMax(Reverse),
            Op::Ttl(Forward) => Op::Ttl(Reverse),
            Op::Tos(Forward) => Op::Tos(Reverse),
            Op::SourceMac(Forward) => Op::SourceMac(Reverse),
            Op::DestinationMac(Forward) => Op::DestinationMac(Reverse),
            Op::Window(Forward) => Op::Window(Reverse),
            Op::OctetsMin(Forward) => Op::OctetsMin(Reverse),
            Op::OctetsMax(Forward) => Op::OctetsMax(Reverse),
            Op::OctetsSquared(Forward) => Op::OctetsSquared(Reverse),
            _ => return None,
        })
    }

    /// Whether a field of `length` octets can be what the element says.
    pub(super) fn accepts(self, length: u16) -> bool {
        match self {
            Op::Skip => true,
            Op::SourceV4 | Op::DestinationV4 => length == 4,
            Op::SourceV6 | Op::DestinationV6 => length == 16,
            Op::CommunityId => length == 20,
            Op::Start(Unit::Ntp) | Op::End(Unit::Ntp) => length == 8,
            Op::SourceMac(_) | Op::DestinationMac(_) => length == 6,
            Op::Application | Op::RingExtents | Op::Tunnel | Op::History | Op::Mpls(_) => true,
            Op::PacketPayloads | Op::PacketTimes | Op::PacketFlags | Op::PacketDirections => {
                length == VARIABLE_LENGTH
            }
            Op::Metadata(field) => match field.shape() {
                Shape::Number => (1..=8).contains(&length),
                Shape::Text | Shape::TextList => true,
            },
            _ => (1..=8).contains(&length),
        }
    }

    /// Whether two elements fill the same place of a record.
    pub(super) fn same_place(self, other: Op) -> bool {
        match (self, other) {
            (Op::Skip, _) => false,
            (Op::Start(_), Op::Start(_)) | (Op::End(_), Op::End(_)) => true,
            _ => self == other,
        }
    }
}
