//! What each information element does to a flow record.
//!
//! In: an element and a field's length. Out: the [`Op`] that a plan runs for it, and its rank among the
//! elements that fill the same place of a record. One table serves all exporters, Weir's included.

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
    RingExpiry,
    RingFrames,
    RingMissedFrames,
    Metadata(Field),
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
            Op::TcpFlags(Forward) => Op::TcpFlags(Reverse),
            Op::TtlMin(Forward) => Op::TtlMin(Reverse),
            Op::TtlMax(Forward) => Op::TtlMax(Reverse),
            Op::Ttl(Forward) => Op::Ttl(Reverse),
            Op::Tos(Forward) => Op::Tos(Reverse),
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
            Op::Application | Op::RingExtents => true,
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
