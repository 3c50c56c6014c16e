//! Weir's templates: which elements a flow record has, in which order.
//!
//! In: a record's [`Layout`]. Out: the template's identifier and field specifiers. A layout follows from
//! the record alone and an identifier from the layout alone, so the same record has the same template
//! in every session, run and version.

use super::elements::{self as ie, DataType, Element, REVERSE_PEN};
use super::{TEMPLATE_ID_MIN, VARIABLE_LENGTH};
use crate::app::App;
use crate::metadata::{ElementId, Field, WEIR_PEN};
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
    /// ICMP's type and code instead of ports.
    pub icmp: bool,
    /// IPv6 addresses.
    pub v6: bool,
    /// Both directions; RFC 5103 wants a flow that only one side spoke in sent as a uniflow.
    pub biflow: bool,
    /// Where the packets are in the sensor's ring.
    pub ring: bool,
}

/// Identifiers per application.
const LAYOUTS_PER_APP: u16 = 8;
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
            icmp: record.icmp.is_some(),
            v6: !(record.key.initiator.is_v4() && record.key.responder.is_v4()),
            biflow: record.reverse != DirectionStats::default(),
            ring: record.evidence.is_some(),
        }
    }

    /// The template's identifier.
    #[inline]
    pub const fn id(self) -> u16 {
        TEMPLATE_ID_MIN
            + self.app as u16 * LAYOUTS_PER_APP
            + (self.icmp as u16) * 4
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
        Some(Layout { app, icmp: number & 4 != 0, v6: number & 2 != 0, biflow: number & 1 != 0, ring })
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
        let mut fields = Vec::with_capacity(48);
        if self.v6 {
            fields.extend([ie::SOURCE_IPV6_ADDRESS, ie::DESTINATION_IPV6_ADDRESS].map(FieldSpec::of));
        } else {
            fields.extend([ie::SOURCE_IPV4_ADDRESS, ie::DESTINATION_IPV4_ADDRESS].map(FieldSpec::of));
        }
        match (self.icmp, self.v6) {
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
        fields.extend(DIRECTION_FIELDS);
        if self.biflow {
            fields.push(FieldSpec::of(ie::BIFLOW_DIRECTION));
            fields.extend(DIRECTION_FIELDS.map(FieldSpec::reverse));
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

    /// Which of the first fields are the flow's key, the lowest bit first (RFC 7011 section 4.4):
    /// addresses, ports or type and code, protocol.
    pub const fn key_indicator(self) -> u64 {
        if self.icmp { 0b1111 } else { 0b1_1111 }
    }
}

const DIRECTION_FIELDS: [FieldSpec; 6] = [
    FieldSpec::of(ie::PACKET_DELTA_COUNT),
    FieldSpec::of(ie::OCTET_DELTA_COUNT),
    FieldSpec::of(ie::TCP_CONTROL_BITS),
    FieldSpec::of(ie::MINIMUM_TTL),
    FieldSpec::of(ie::MAXIMUM_TTL),
    FieldSpec::of(ie::IP_CLASS_OF_SERVICE),
];

// Identifiers of layouts without the ring's fields end before those with them begin, and those before the options
// templates', for thousands of applications.
const _: () = assert!(4000 * LAYOUTS_PER_APP as u32 <= RING_LAYOUTS_OFFSET as u32);
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
        assert_eq!(ids.len(), 2 * 8 * (App::ALL.len() + 1));
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
