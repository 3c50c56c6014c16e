//! Tests of a packet's headers and of its flow's counts: Suricata's header keywords.
//!
//! In: an option of a rule; then a packet and what is known of its flow. Out: whether the test holds; or, for an option
//! that is not understood to the last of its values, its place and the reason. What a packet keeps of its headers is
//! read from there, everything else from its bytes when a test asks. Deliberately absent: payload and buffers, of which
//! only the headers' bytes are given ([`HeaderBuffer`]), and any state: flows are the caller's.

mod app_protocol;
mod checksum;
mod effectless;
mod events;
mod field;
mod flags;
mod flow;
mod header;
mod ip_options;
mod ip_protocol;
mod number;
mod numbers;
mod requires;
mod rpc;
mod sctp;
#[cfg(test)]
mod tests;

pub(super) use app_protocol::suricata_apps;
pub use app_protocol::{AppFacts, AppKnown};
pub(super) use effectless::effectless;
pub(super) use events::{AppLayerEvent, app_layer_event, packet_of};
pub use flow::FlowFacts;
pub(super) use flow::StreamSizes;
pub(super) use header::HeaderBuffer;
pub(super) use number::{UintTest, Width};
pub(super) use numbers::UintsTest;
pub(super) use requires::{Asked, requires};

use crate::decode::Packet;
use app_protocol::AppProtocolTest;
use checksum::Checksum;
use field::Field;
use flow::{Count, Side};
use ip_options::IpOption;
use number::shown;
use rpc::RpcTest;
use weir_common::rule::{Place, RuleOption};

/// Where, and why.
type Refused = (Place, String);

/// What tests may look at.
#[derive(Clone, Copy)]
pub(super) struct PacketFacts<'a> {
    pub(super) packet: &'a Packet<'a>,
    /// What its flow is with the packet counted; `None` where it has none, as fragments.
    pub(super) flow: Option<&'a FlowFacts>,
    /// Faults of its frame, as [`crate::decode::events`] names them.
    pub(super) decode_events: &'a [&'static str],
    /// What it showed to be odd about its stream, under the names of EVE's `anomaly`.
    pub(super) stream_events: &'a [&'static str],
}

/// What a packet must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PacketTest {
    /// A header's field, or a number of the flow.
    Number(Field, UintTest),
    IpOption(IpOption),
    SameIp,
    /// 802.1Q identifiers, outermost first.
    Vlans(Box<UintsTest>),
    Checksum(Checksum),
    FlowCount(Count, Side, UintTest),
    /// The flow is an elephant, which none is here.
    Elephant,
    StreamSize(Side, UintTest),
    /// A fault of the frame.
    DecodeEvent(&'static str),
    /// Something odd about the stream.
    StreamEvent(&'static str),
    AppProtocol(Box<AppProtocolTest>),
    Rpc(RpcTest),
    /// Some chunk is of such a type.
    SctpChunkType(UintTest),
}

impl PacketTest {
    /// Reads an option; `None` when it is none of these keywords.
    pub(super) fn option(option: &RuleOption) -> Option<Result<PacketTest, Refused>> {
        if let Some(field) = Field::of(&option.name) {
            let test = words(option).and_then(|text| said(option, field.parse(&text)));
            return Some(test.map(|test| PacketTest::Number(field, test)));
        }
        if let Some(checksum) = Checksum::of(&option.name) {
            return Some(
                words(option).and_then(|text| said(option, checksum.parse(&text))).map(PacketTest::Checksum),
            );
        }
        let read: fn(&str, &str) -> Result<PacketTest, String> = match option.name.as_str() {
            "sameip" => {
                return Some(match option.value {
                    None => Ok(PacketTest::SameIp),
                    Some(_) => Err((option.value_place, "`sameip` takes no value".into())),
                });
            }
            "ipopts" => |_, text| IpOption::parse(text).map(PacketTest::IpOption),
            "vlan.id" => |_, text| vlans(text),
            "flow.pkts"
            | "flow.pkts_toserver"
            | "flow.pkts_toclient"
            | "flow.bytes"
            | "flow.bytes_toserver"
            | "flow.bytes_toclient" => |name, text| {
                flow::count(name, text).map(|(count, side, test)| PacketTest::FlowCount(count, side, test))
            },
            "flow.elephant" => |_, text| flow::elephant(text),
            "stream_size" => {
                |_, text| flow::stream_size(text).map(|(side, test)| PacketTest::StreamSize(side, test))
            }
            "decode-event" => |_, text| events::decode_event(text),
            "stream-event" => |_, text| events::stream_event(text),
            "engine-event" => |_, text| events::engine_event(text),
            "app-layer-protocol" => {
                |_, text| AppProtocolTest::parse(text).map(|test| PacketTest::AppProtocol(Box::new(test)))
            }
            "sctp.chunk_type" => |_, text| sctp::type_test(text).map(PacketTest::SctpChunkType),
            "rpc" => |_, text| RpcTest::parse(text).map(PacketTest::Rpc),
            _ => return None,
        };
        Some(words(option).and_then(|text| said(option, read(&option.name, &text))))
    }

    /// Whether it holds.
    pub(super) fn holds(&self, about: &PacketFacts<'_>) -> bool {
        let packet = about.packet;
        match self {
            PacketTest::Number(field, test) => field.value(about).is_some_and(|value| test.has(value)),
            PacketTest::IpOption(option) => option.is_in(packet),
            PacketTest::SameIp => packet.ip.source == packet.ip.destination,
            PacketTest::Vlans(test) => {
                let (vlans, layers) = packet.vlan_layers();
                test.has(layers, |at| vlans.get(at).copied().map(u64::from), true)
            }
            PacketTest::Checksum(checksum) => checksum.holds(packet),
            PacketTest::FlowCount(count, side, test) => {
                about.flow.is_some_and(|flow| side.holds(count.of(flow), test))
            }
            PacketTest::Elephant => false,
            PacketTest::StreamSize(side, test) => about
                .flow
                .and_then(|flow| flow.stream_sizes.map(|sizes| flow.by_role(sizes)))
                .is_some_and(|sizes| side.holds(sizes.map(u64::from), test)),
            PacketTest::DecodeEvent(name) => about.decode_events.contains(name),
            PacketTest::StreamEvent(name) => about.stream_events.contains(name),
            PacketTest::AppProtocol(test) => about.flow.is_some_and(|flow| test.holds(flow)),
            PacketTest::Rpc(test) => test.holds(packet),
            PacketTest::SctpChunkType(test) => {
                sctp::chunks(packet).into_iter().flatten().any(|(kind, _)| test.has(kind.into()))
            }
        }
    }

    /// The event that it asks for and nothing tells, so that it never holds.
    pub(super) fn silent_event(&self) -> Option<&'static str> {
        match self {
            PacketTest::DecodeEvent(name) | PacketTest::StreamEvent(name) => {
                Some(*name).filter(|name| events::is_silent(name))
            }
            _ => None,
        }
    }

    /// The IP protocols of the packets for which it can hold at all; none: any.
    pub(super) fn protocols(&self) -> &'static [u8] {
        match self {
            PacketTest::Number(field, _) => field.protocols(),
            PacketTest::StreamSize(..) | PacketTest::StreamEvent(_) => &[weir_common::net::protocol::TCP],
            PacketTest::Rpc(_) => &[weir_common::net::protocol::TCP, weir_common::net::protocol::UDP],
            PacketTest::Checksum(checksum) => checksum.protocols(),
            PacketTest::SctpChunkType(_) => &[weir_common::net::protocol::SCTP],
            _ => &[],
        }
    }

    /// Whether it is about the link layer of a frame.
    pub(super) fn is_of_frame(&self) -> bool {
        matches!(self, PacketTest::Vlans(_) | PacketTest::Number(Field::VlanLayers, _))
    }

    /// Whether it can hold for a packet of an IP protocol.
    pub(super) fn may_hold_for(&self, protocol: u8) -> bool {
        if let PacketTest::Number(Field::Protocol, test) = self {
            return test.has(protocol.into());
        }
        let protocols = self.protocols();
        protocols.is_empty() || protocols.contains(&protocol)
    }

    /// Whether it is about the packet itself, so that the rule's contents are looked for in the packet and not in its
    /// stream.
    pub(super) fn is_of_packet(&self) -> bool {
        !matches!(
            self,
            PacketTest::StreamSize(..)
                | PacketTest::StreamEvent(_)
                | PacketTest::DecodeEvent(_)
                | PacketTest::AppProtocol(_)
                | PacketTest::Number(Field::Protocol, _)
        )
    }
}

fn vlans(text: &str) -> Result<PacketTest, String> {
    let test = UintsTest::parse(text, Width::U16)?;
    if !test.is_within(0xfff) {
        return Err("a VLAN's identifier is at most 4095".into());
    }
    let layers = crate::decode::VLAN_LAYERS as i32;
    if test.place().is_some_and(|place| !(-layers..layers).contains(&place)) {
        return Err(format!(
            "a packet has at most {layers} VLANs: expected a place from -{layers} to {}",
            layers - 1
        ));
    }
    Ok(PacketTest::Vlans(Box::new(test)))
}

/// An option's value as text, without the quotes that some rules put around it.
fn words(option: &RuleOption) -> Result<String, Refused> {
    let Some(value) = &option.value else {
        return Err((option.place, format!("`{}` needs a value", option.name)));
    };
    let Ok(text) = std::str::from_utf8(value) else {
        return Err((option.value_place, format!("`{}` has a value that is no text", option.name)));
    };
    let text = text.trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Ok(bare.unwrap_or(text).trim().to_owned())
}

/// A result with the place where its reason stands.
fn said<T>(option: &RuleOption, result: Result<T, String>) -> Result<T, Refused> {
    result.map_err(|reason| {
        let value = option.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        (option.value_place, format!("`{}:{}`: {reason}", option.name, shown(value.trim())))
    })
}
