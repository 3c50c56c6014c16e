//! The fields a condition can name, and their values in a record.
//!
//! In: a name as `--records` and the store write it. Out: a typed field, and its value borrowed from an
//! enriched record. What inspection learns comes from the one table of `weir_common::metadata`.

use crate::enrich::{Asset, Criticality, Enriched};
use weir_common::metadata::{self, Metadata, Shape};
use weir_common::net::Address;

/// What a field's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Text,
    Address,
    Flag,
}

impl Kind {
    /// For error texts.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Kind::Number => "a number",
            Kind::Text => "a text",
            Kind::Address => "an address",
            Kind::Flag => "yes or no",
        }
    }
}

/// A field's value in one record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Number(u64),
    Text(&'a str),
    /// Every text of a list field; a test holds when it holds for one of them.
    Texts(&'a [Box<str>]),
    Address(Address),
    Flag(bool),
}

/// A field that a condition can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Flow(FlowField),
    Learned(metadata::Field),
}

macro_rules! flow_fields {
    ($($variant:ident $kind:ident $name:literal $(| $alias:literal)?;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum FlowField { $($variant),* }

        const FLOW_FIELDS: &[(&str, FlowField)] = &[$(($name, FlowField::$variant), $(($alias, FlowField::$variant),)?)*];

        impl FlowField {
            const fn kind(self) -> Kind {
                match self { $(FlowField::$variant => Kind::$kind),* }
            }
        }
    };
}

flow_fields! {
    SourceIp Address "src_ip";
    DestinationIp Address "dst_ip" | "dest_ip";
    SourcePort Number "src_port";
    DestinationPort Number "dst_port" | "dest_port";
    Protocol Number "proto";
    App Text "app_proto" | "app";
    PacketsToServer Number "pkts_toserver";
    PacketsToClient Number "pkts_toclient";
    OctetsToServer Number "bytes_toserver";
    OctetsToClient Number "bytes_toclient";
    Start Number "start";
    End Number "end";
    DurationMs Number "duration_ms";
    Hour Number "hour";
    FlagsToServer Number "tcp_flags_ts";
    FlagsToClient Number "tcp_flags_tc";
    IcmpType Number "icmp_type";
    IcmpCode Number "icmp_code";
    Vlan Number "vlan";
    Interface Number "interface";
    State Text "state";
    EndReason Text "end_reason";
    Sensor Text "sensor";
    SourceAsset Text "src_asset";
    DestinationAsset Text "dst_asset";
    SourceRole Text "src_role";
    DestinationRole Text "dst_role";
    SourceCriticality Text "src_criticality";
    DestinationCriticality Text "dst_criticality";
    Legitimate Flag "legitimate";
}

impl Field {
    /// The field of a name.
    pub(super) fn from_name(name: &str) -> Option<Field> {
        let flow = FLOW_FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| Field::Flow(*field));
        flow.or_else(|| metadata::Field::from_key(name).map(Field::Learned))
    }

    /// Every name there is.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        FLOW_FIELDS.iter().map(|(name, _)| *name).chain(metadata::Field::ALL.iter().map(|field| field.key()))
    }

    /// What its values are.
    pub(super) fn kind(self) -> Kind {
        match self {
            Field::Flow(field) => field.kind(),
            Field::Learned(field) if field.shape() == Shape::Number => Kind::Number,
            Field::Learned(_) => Kind::Text,
        }
    }

    /// Its value in a record, when the record has one.
    #[inline]
    pub(super) fn of<'a>(self, record: &Enriched<'a>, metadata: &'a Metadata) -> Option<Value<'a>> {
        match self {
            Field::Flow(field) => flow_value(field, record),
            Field::Learned(field) => match metadata.get(field)? {
                metadata::Value::Text(text) => Some(Value::Text(text)),
                metadata::Value::Number(number) => Some(Value::Number(*number)),
                metadata::Value::TextList(list) => Some(Value::Texts(list)),
            },
        }
    }
}

#[inline]
fn flow_value<'a>(field: FlowField, enriched: &Enriched<'a>) -> Option<Value<'a>> {
    let record = enriched.record;
    let number = |number: u64| Some(Value::Number(number));
    match field {
        FlowField::SourceIp => Some(Value::Address(record.key.initiator)),
        FlowField::DestinationIp => Some(Value::Address(record.key.responder)),
        FlowField::SourcePort => number(record.key.initiator_port.into()),
        FlowField::DestinationPort => number(record.key.responder_port.into()),
        FlowField::Protocol => number(record.key.protocol.into()),
        FlowField::App => Some(Value::Text(record.app.name())),
        FlowField::PacketsToServer => number(record.forward.packets),
        FlowField::PacketsToClient => number(record.reverse.packets),
        FlowField::OctetsToServer => number(record.forward.octets),
        FlowField::OctetsToClient => number(record.reverse.octets),
        FlowField::Start => number(record.start.seconds()),
        FlowField::End => number(record.end.seconds()),
        FlowField::DurationMs => number(record.end.millis().saturating_sub(record.start.millis())),
        FlowField::Hour => number(record.start.seconds() / 3600 % 24),
        FlowField::FlagsToServer => number(record.forward.tcp_flags.into()),
        FlowField::FlagsToClient => number(record.reverse.tcp_flags.into()),
        FlowField::IcmpType => number(record.icmp?.0.into()),
        FlowField::IcmpCode => number(record.icmp?.1.into()),
        FlowField::Vlan => {
            Some(record.vlans[0]).filter(|vlan| *vlan != 0).and_then(|vlan| number(vlan.into()))
        }
        FlowField::Interface => number(record.interface.into()),
        FlowField::State => Some(Value::Text(record.state.name())),
        FlowField::EndReason => Some(Value::Text(record.end_reason.name())),
        FlowField::Sensor => Some(Value::Text(&enriched.exporter.name)),
        FlowField::SourceAsset => asset(enriched.initiator, |asset| &asset.name),
        FlowField::DestinationAsset => asset(enriched.responder, |asset| &asset.name),
        FlowField::SourceRole => asset(enriched.initiator, |asset| &asset.role),
        FlowField::DestinationRole => asset(enriched.responder, |asset| &asset.role),
        FlowField::SourceCriticality => asset(enriched.initiator, |asset| criticality(asset.criticality)),
        FlowField::DestinationCriticality => {
            asset(enriched.responder, |asset| criticality(asset.criticality))
        }
        FlowField::Legitimate => Some(Value::Flag(enriched.legitimate.is_some())),
    }
}

fn asset<'a>(asset: Option<&'a Asset>, text: impl Fn(&'a Asset) -> &'a str) -> Option<Value<'a>> {
    asset.map(|asset| Value::Text(text(asset)))
}

fn criticality(criticality: Criticality) -> &'static str {
    match criticality {
        Criticality::Low => "low",
        Criticality::Medium => "medium",
        Criticality::High => "high",
        Criticality::Critical => "critical",
    }
}
