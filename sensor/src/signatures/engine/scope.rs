//! How far what a signature says reaches: a packet, or its flow.
//!
//! In: a signature and what is known of a packet. Out: whether what it does is done to the flow, and whether there is a
//! flow to speak of, as Suricata has it.

use super::super::compile::{Kind, List, PacketPart, Signature};
use super::super::packet::PacketTest;
use super::Sight;
use crate::decode::Transport;
use weir_common::net::protocol;
use weir_common::record::tcp_flags;

/// Whether Suricata has flows of an IP protocol; of others each packet is looked at as if it were the first.
#[inline]
pub(super) fn has_flow(number: u8) -> bool {
    const IP_IN_IP: u8 = 4;
    const IPV6: u8 = 41;
    const ESP: u8 = 50;
    matches!(
        number,
        protocol::TCP
            | protocol::UDP
            | protocol::ICMP
            | protocol::ICMPV6
            | protocol::SCTP
            | IP_IN_IP
            | IPV6
            | ESP
    )
}

impl Signature {
    /// Whether what it does is done to the flow: what was found in a packet, and not in a stream or a transaction, is
    /// about that packet alone.
    pub(super) fn acts_on_flow(&self, sight: &Sight<'_>) -> bool {
        match self.kind {
            Kind::Flow => true,
            Kind::Packet | Kind::Frame => false,
            Kind::Side | Kind::Anomaly => !self.is_of_packets(),
            // A SYN's payload is no part of the stream yet.
            Kind::Payload => match &sight.packet.transport {
                Transport::Tcp(tcp) => {
                    sight.has_stream && tcp.flags & tcp_flags::SYN == 0 && !self.is_of_packets()
                }
                _ => false,
            },
        }
    }

    /// Whether a match counts twice for its threshold. What says at which place something stands (`offset`, `depth`) is
    /// asked by Suricata about the segment and again about the stream, once that was acknowledged, and both find it: who
    /// wrote the threshold has seen it reached after half as many.
    pub(super) fn counts_twice(&self, sight: &Sight<'_>) -> bool {
        let has_place =
            |list: &List<PacketPart>| list.place == PacketPart::Payload && list.matches.has_place();
        self.kind == Kind::Payload
            && self.header.carrier.is_stream.is_none()
            && self.header.flow.stream.is_none()
            && self.acts_on_flow(sight)
            && self.payload.iter().any(has_place)
    }

    /// Whether it is about single packets, not about the stream they make up.
    pub(super) fn is_of_packets(&self) -> bool {
        self.header.carrier.is_stream == Some(false)
            || self.header.flow.stream == Some(false)
            || self.packet.iter().any(PacketTest::is_of_packet)
            || self.payload.iter().any(|list| list.place != PacketPart::Payload)
    }
}
