//! Weir's templates: which elements a flow record has, in which order.
//!
//! In: a record's [`Layout`]. Out: the template's identifier and field specifiers. A layout follows from
//! the record alone and an identifier from the layout alone, so the same record has the same template
//! in every session, run and version.

use super::elements::{self as ie, DataType, Element, REVERSE_PEN};
use super::{TEMPLATE_ID_MIN, VARIABLE_LENGTH};
use crate::app::App;
use crate::features::TcpTrouble;
use crate::metadata::{ElementId, Field, WEIR_PEN};
use crate::net::{Direction, protocol};
use crate::record::{DirectionStats, FlowRecord};

/// One field of a template, with [`WEIR_PEN`] for the configured enterprise number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// The element.
    pub element: ElementId,
    /// Octets, or [`VARIABLE_LENGTH`].
    pub length: u16,
}

impl FieldSpec {
    /// An element in its full size.
    pub const fn of(element: Element) -> FieldSpec {
        let length = match element.data_type.length() {
            Some(length) => length,
            None => VARIABLE_LENGTH,
        };
        FieldSpec { element: element.id, length }
    }

    const fn sized(element: Element, length: u16) -> FieldSpec {
        FieldSpec { element: element.id, length }
    }

    /// The same for the responder's direction (RFC 5103 section 6.1).
    const fn reverse(self) -> FieldSpec {
        let element = ElementId { enterprise: REVERSE_PEN, number: self.element.number };
        FieldSpec { element, length: self.length }
    }
}

/// What decides a record's template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Whose fields follow the flow's own; [`App::Unknown`] where there are none.
    pub app: App,
    /// What the transport adds.
    pub transport: LayoutTransport,
    /// IPv6 addresses.
    pub v6: bool,
    /// Both directions; RFC 5103 wants a flow that only one side spoke in sent as a uniflow.
    pub biflow: bool,
    /// Where the packets are in the sensor's ring.
    pub ring: bool,
    /// What is said of the flow's packets.
    pub detail: LayoutDetail,
}

/// What a layout has because of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum LayoutTransport {
    /// Ports.
    Other = 0,
    /// Type and code instead of ports.
    Icmp = 1,
    /// Ports, history, round trips, windows.
    Tcp = 2,
    /// The same and counts of what TCP had to repair; without them, there was nothing.
    TcpWithTrouble = 3,
}

/// What a layout has of the flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum LayoutDetail {
    /// Nothing.
    None = 0,
    /// Sizes and gaps.
    Statistics = 1,
    /// The same and the first packets one by one.
    Packets = 2,
}

impl LayoutTransport {
    const ALL: [LayoutTransport; 4] = [
        LayoutTransport::Other,
        LayoutTransport::Icmp,
        LayoutTransport::Tcp,
        LayoutTransport::TcpWithTrouble,
    ];

    fn of(record: &FlowRecord) -> LayoutTransport {
        let features = &record.features;
        if record.icmp.is_some() {
            LayoutTransport::Icmp
        } else if record.key.protocol != protocol::TCP {
            LayoutTransport::Other
        } else if features.forward.trouble == TcpTrouble::NONE && features.reverse.trouble == TcpTrouble::NONE
        {
            LayoutTransport::Tcp
        } else {
            LayoutTransport::TcpWithTrouble
        }
    }
}

impl LayoutDetail {
    const ALL: [LayoutDetail; 3] = [LayoutDetail::None, LayoutDetail::Statistics, LayoutDetail::Packets];

    fn of(record: &FlowRecord) -> LayoutDetail {
        if !record.features.first_packets.is_empty() {
            LayoutDetail::Packets
        } else if record.features.has_statistics {
            LayoutDetail::Statistics
        } else {
            LayoutDetail::None
        }
    }
}

/// Identifiers per application.
const LAYOUTS_PER_APP: u16 = 48;
/// How far the identifiers with the ring's fields are behind those without.
const RING_LAYOUTS_OFFSET: u16 = 32_000;
/// The lowest identifier of an options template.
pub const OPTIONS_TEMPLATE_ID_MIN: u16 = 65_000;

impl Layout {
    /// The layout of a record.
    #[inline]
    pub fn of(record: &FlowRecord) -> Layout {
        let has_fields = record
            .metadata
            .as_ref()
            .is_some_and(|data| data.iter().any(|(field, _)| field.family().is_carried_by(record.app)));
        Layout {
            app: if has_fields { record.app } else { App::Unknown },
            transport: LayoutTransport::of(record),
            v6: !(record.key.initiator.is_v4() && record.key.responder.is_v4()),
            biflow: record.reverse != DirectionStats::default(),
            ring: record.evidence.is_some(),
            detail: LayoutDetail::of(record),
        }
    }

    /// The template's identifier.
    #[inline]
    pub const fn id(self) -> u16 {
        TEMPLATE_ID_MIN
            + self.app as u16 * LAYOUTS_PER_APP
            + self.detail as u16 * 16
            + self.transport as u16 * 4
            + (self.v6 as u16) * 2
            + self.biflow as u16
            + self.ring as u16 * RING_LAYOUTS_OFFSET
    }

    /// The layout of an identifier.
    pub fn from_id(id: u16) -> Option<Layout> {
        let number = id.checked_sub(TEMPLATE_ID_MIN)?;
        let (ring, number) = match number.checked_sub(RING_LAYOUTS_OFFSET) {
            Some(number) => (true, number),
            None => (false, number),
        };
        let app_number = number / LAYOUTS_PER_APP;
        let app = [App::Unknown].iter().chain(App::ALL).copied().find(|app| *app as u16 == app_number)?;
        let low = number % LAYOUTS_PER_APP;
        let transport = LayoutTransport::ALL.get(usize::from(low / 4 % 4)).copied()?;
        let detail = LayoutDetail::ALL.get(usize::from(low / 16)).copied()?;
        Some(Layout { app, transport, v6: low & 2 != 0, biflow: low & 1 != 0, ring, detail })
    }

    /// Every layout there is.
    pub fn all() -> impl Iterator<Item = Layout> {
        let apps = [App::Unknown].into_iter().chain(App::ALL.iter().copied());
        let numbers =
            apps.flat_map(|app| (0..LAYOUTS_PER_APP).map(move |low| (app as u16) * LAYOUTS_PER_APP + low));
        numbers
            .flat_map(|number| [number, number + RING_LAYOUTS_OFFSET])
            .filter_map(|number| Layout::from_id(TEMPLATE_ID_MIN + number))
    }

    /// The template's fields, in the order in which [`super::encode::encode_flow`] writes them.
    pub fn fields(self) -> Vec<FieldSpec> {
        let mut fields = Vec::with_capacity(80);
        if self.v6 {
            fields.extend([ie::SOURCE_IPV6_ADDRESS, ie::DESTINATION_IPV6_ADDRESS].map(FieldSpec::of));
        } else {
            fields.extend([ie::SOURCE_IPV4_ADDRESS, ie::DESTINATION_IPV4_ADDRESS].map(FieldSpec::of));
        }
        match (self.is_icmp(), self.v6) {
            (false, _) => {
                fields.extend([ie::SOURCE_TRANSPORT_PORT, ie::DESTINATION_TRANSPORT_PORT].map(FieldSpec::of));
            }
            (true, false) => fields.push(FieldSpec::of(ie::ICMP_TYPE_CODE_IPV4)),
            (true, true) => fields.push(FieldSpec::of(ie::ICMP_TYPE_CODE_IPV6)),
        }
        fields.extend(
            [ie::PROTOCOL_IDENTIFIER, ie::FLOW_END_REASON, ie::FLOW_STATE, ie::FLOW_ID].map(FieldSpec::of),
        );
        fields.push(FieldSpec::sized(ie::COMMUNITY_ID, 20));
        fields.extend([ie::FLOW_START_NANOSECONDS, ie::FLOW_END_NANOSECONDS].map(FieldSpec::of));
        fields.extend(
            [ie::DOT1Q_VLAN_ID, ie::DOT1Q_CUSTOMER_VLAN_ID, ie::INGRESS_INTERFACE].map(FieldSpec::of),
        );
        fields.push(FieldSpec::of(ie::CONNECTION_STATE));
        fields.extend(DIRECTION_FIELDS);
        self.direction_features(&mut fields, Direction::Forward);
        if self.biflow {
            fields.push(FieldSpec::of(ie::BIFLOW_DIRECTION));
            fields.extend(DIRECTION_FIELDS.map(FieldSpec::reverse));
            self.direction_features(&mut fields, Direction::Reverse);
        }
        if self.is_tcp() {
            fields.extend(
                [ie::SERVER_ROUND_TRIP_TIME, ie::CLIENT_ROUND_TRIP_TIME, ie::TCP_HISTORY].map(FieldSpec::of),
            );
        }
        fields.extend(ie::MPLS_SECTIONS.map(FieldSpec::of));
        fields.push(FieldSpec::of(ie::TUNNEL));
        if self.detail == LayoutDetail::Packets {
            fields.extend(
                [ie::PACKET_PAYLOADS, ie::PACKET_TIMES, ie::PACKET_FLAGS, ie::PACKET_DIRECTIONS]
                    .map(FieldSpec::of),
            );
        }
        fields.push(FieldSpec::of(ie::APPLICATION_NAME));
        fields.extend(Field::of(self.app).map(|field| FieldSpec::of(ie::of_field(field))));
        if self.ring {
            fields.extend(
                [ie::RING_EXPIRY, ie::RING_FRAMES, ie::RING_MISSED_FRAMES, ie::RING_EXTENTS]
                    .map(FieldSpec::of),
            );
        }
        fields
    }

    /// A direction's fields after its counts, in the order in which they are written.
    fn direction_features(self, fields: &mut Vec<FieldSpec>, direction: Direction) {
        let is_forward = direction == Direction::Forward;
        let iana = |spec: FieldSpec| if is_forward { spec } else { spec.reverse() };
        let own = |pair: (Element, Element)| FieldSpec::of(if is_forward { pair.0 } else { pair.1 });
        fields.extend(
            [ie::SOURCE_MAC_ADDRESS, ie::DESTINATION_MAC_ADDRESS].map(|mac| iana(FieldSpec::of(mac))),
        );
        fields.push(own((ie::PAYLOAD_ENTROPY, ie::REVERSE_PAYLOAD_ENTROPY)));
        if self.is_tcp() {
            fields.push(iana(FieldSpec::of(ie::TCP_WINDOW_SIZE)));
        }
        if self.transport == LayoutTransport::TcpWithTrouble {
            fields.extend(ie::TROUBLE.map(own));
        }
        if self.detail != LayoutDetail::None {
            fields.push(iana(FieldSpec::sized(ie::MINIMUM_IP_TOTAL_LENGTH, 2)));
            fields.push(iana(FieldSpec::sized(ie::MAXIMUM_IP_TOTAL_LENGTH, 2)));
            fields.push(iana(FieldSpec::of(ie::OCTET_DELTA_SUM_OF_SQUARES)));
            fields.extend(ie::GAPS.map(own));
        }
    }

    /// Type and code instead of ports.
    pub const fn is_icmp(self) -> bool {
        matches!(self.transport, LayoutTransport::Icmp)
    }

    /// What TCP adds.
    pub const fn is_tcp(self) -> bool {
        matches!(self.transport, LayoutTransport::Tcp | LayoutTransport::TcpWithTrouble)
    }

    /// Which of the first fields are the flow's key, the lowest bit first (RFC 7011 section 4.4):
    /// addresses, ports or type and code, protocol.
    pub const fn key_indicator(self) -> u64 {
        if self.is_icmp() { 0b1111 } else { 0b1_1111 }
    }
}

const DIRECTION_FIELDS: [FieldSpec; 7] = [
    FieldSpec::of(ie::PACKET_DELTA_COUNT),
    FieldSpec::of(ie::OCTET_DELTA_COUNT),
    FieldSpec::of(ie::TCP_CONTROL_BITS),
    FieldSpec::of(ie::MINIMUM_TTL),
    FieldSpec::of(ie::MAXIMUM_TTL),
    FieldSpec::of(ie::IP_CLASS_OF_SERVICE),
    FieldSpec::of(ie::LAYER2_OCTET_DELTA_COUNT),
];

// Identifiers of layouts without the ring's fields end before those with them begin, and those before the options
// templates', for hundreds of applications.
const _: () = assert!(660 * LAYOUTS_PER_APP as u32 <= RING_LAYOUTS_OFFSET as u32);
const _: () =
    assert!(TEMPLATE_ID_MIN as u32 + 2 * RING_LAYOUTS_OFFSET as u32 <= OPTIONS_TEMPLATE_ID_MIN as u32);
const _: () = assert!(matches!(ie::COMMUNITY_ID.data_type, DataType::OctetArray));

/// Appends a template record; with `scope` an options template record whose first fields are the scope.
pub fn write_template(id: u16, scope: Option<u16>, fields: &[FieldSpec], enterprise: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&u16::try_from(fields.len()).unwrap_or(u16::MAX).to_be_bytes());
    if let Some(scope) = scope {
        out.extend_from_slice(&scope.to_be_bytes());
    }
    for field in fields {
        write_specifier(*field, enterprise, out);
    }
}

/// Appends one field specifier (RFC 7011 section 3.2), in eight octets for enterprise elements.
pub fn write_specifier(field: FieldSpec, enterprise: u32, out: &mut Vec<u8>) {
    let own = field.element.enterprise == WEIR_PEN;
    let pen = if own { enterprise } else { field.element.enterprise };
    let flag = if pen == 0 { 0 } else { 0x8000 };
    out.extend_from_slice(&(field.element.number | flag).to_be_bytes());
    out.extend_from_slice(&field.length.to_be_bytes());
    if pen != 0 {
        out.extend_from_slice(&pen.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn identifiers_are_distinct_and_lead_back() {
        let ids: HashSet<u16> = Layout::all().map(Layout::id).collect();
        assert_eq!(ids.len(), 2 * 48 * (App::ALL.len() + 1));
        for layout in Layout::all() {
            assert_eq!(Layout::from_id(layout.id()), Some(layout));
        }
        assert_eq!(Layout::from_id(255), None);
        assert_eq!(Layout::from_id(TEMPLATE_ID_MIN).map(|layout| layout.ring), Some(false));
        assert_eq!(
            Layout::from_id(TEMPLATE_ID_MIN + RING_LAYOUTS_OFFSET).map(|layout| layout.ring),
            Some(true)
        );
        assert_eq!(Layout::from_id(OPTIONS_TEMPLATE_ID_MIN), None);
    }

    #[test]
    fn no_template_has_an_element_twice_and_every_reverse_has_its_forward() {
        for layout in Layout::all() {
            let fields = layout.fields();
            let elements: HashSet<_> = fields.iter().map(|field| field.element).collect();
            assert_eq!(elements.len(), fields.len(), "{layout:?}");
            for field in fields.iter().filter(|field| field.element.enterprise == REVERSE_PEN) {
                let forward = ElementId { enterprise: 0, number: field.element.number };
                assert!(elements.contains(&forward), "{layout:?} {field:?}");
            }
        }
    }

    #[test]
    fn a_specifier_has_the_rfc_s_bytes() {
        let mut out = Vec::new();
        write_specifier(FieldSpec::of(ie::SOURCE_IPV4_ADDRESS), 99, &mut out);
        write_specifier(FieldSpec::of(ie::FLOW_STATE), 99, &mut out);
        write_specifier(FieldSpec::of(ie::PACKET_DELTA_COUNT).reverse(), 99, &mut out);
        assert_eq!(out, [0, 8, 0, 4, 0x80, 2, 0, 1, 0, 0, 0, 99, 0x80, 2, 0, 8, 0, 0, 0x72, 0x79]);
    }
}
