//! What a collector that cannot take everything is sent.
//!
//! In: a [`Profile`] and the octets of a whole data record. Out: a [`Selection`]: the template that the collector is
//! told, and the octets of those fields, for one direction or for each. RFC 7011 lets a collector skip what it does not
//! know; many stop at enterprise elements, lists, biflows or times in nanoseconds instead. Works on encoded records, so
//! that there is one place which writes a field. Deliberately absent: a choice of single elements.

use super::elements::{self as ie, CERT_PEN, DataType, REVERSE_PEN};
use super::options::OptionsKind;
use super::plan::take;
use super::template::{FieldSpec, Layout};
use super::time::{from_ntp, to_ntp};
use crate::metadata::{ElementId, Field, Shape, WEIR_PEN};
use crate::net::{Direction, icmp_v4_counterpart, icmp_v6_counterpart};
use crate::time::Timestamp;
use std::ops::Range;

/// The unit of a flow's start and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimePrecision {
    /// `flowStartSeconds`
    Seconds,
    /// `flowStartMilliseconds`
    Milliseconds,
    /// `flowStartMicroseconds`
    Microseconds,
    /// `flowStartNanoseconds`
    #[default]
    Nanoseconds,
}

/// What a collector takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// Elements of enterprises, besides the reverse ones of RFC 5103.
    pub enterprise: bool,
    /// Lists (RFC 6313).
    pub lists: bool,
    /// One record for both directions (RFC 5103); otherwise one for each.
    pub biflow: bool,
    /// The unit of times.
    pub times: TimePrecision,
    /// `tcpControlBits` in two octets, as RFC 7012 has it since 2014; otherwise in one.
    pub wide_tcp_flags: bool,
}

impl Profile {
    /// Everything.
    pub const FULL: Profile = Profile {
        enterprise: true,
        lists: true,
        biflow: true,
        times: TimePrecision::Nanoseconds,
        wide_tcp_flags: true,
    };
    /// What collectors of NetFlow's time know: IANA's elements, a record for each direction, milliseconds.
    pub const PLAIN: Profile = Profile {
        enterprise: false,
        lists: false,
        biflow: false,
        times: TimePrecision::Milliseconds,
        wide_tcp_flags: false,
    };

    fn takes(self, element: ElementId) -> bool {
        (self.enterprise || !matches!(element.enterprise, WEIR_PEN | CERT_PEN))
            && (self.lists || !is_list(element))
            && (self.biflow || !is_of_both_directions(element))
    }
}

impl Default for Profile {
    fn default() -> Self {
        Profile::FULL
    }
}

/// How a field of a selection is made, from fields of the whole record by their place.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// As it is.
    Copy(usize),
    /// A time, from NTP's form.
    Time(usize, TimePrecision),
    /// The low octet of a number.
    LowOctet(usize),
    /// The ICMP type that answers this one, and its code.
    IcmpAnswer(usize),
    /// The same for ICMPv6.
    Icmpv6Answer(usize),
}

/// The fields of a layout, or of an options record, that a collector takes.
#[derive(Clone, Debug)]
pub struct Selection {
    fields: Vec<FieldSpec>,
    /// Lengths of the whole record's fields.
    lengths: Vec<u16>,
    forward: Vec<Step>,
    /// Present when a record becomes two.
    reverse: Option<Vec<Step>>,
}

impl Selection {
    /// What `profile` takes of the records of `layout`.
    pub fn of(layout: Layout, profile: Profile) -> Selection {
        let source = layout.fields();
        let is_split = layout.biflow && !profile.biflow;
        let wanted = Layout { biflow: layout.biflow && profile.biflow, ..layout }.fields();
        let mut selection = Selection::nothing_of(&source);
        let mut reverse = Vec::new();
        for field in wanted.into_iter().filter(|field| profile.takes(field.element)) {
            let place = |element| source.iter().position(|field| field.element == element);
            let Some(forward) = place(field.element) else { continue };
            let other = reversed(field.element).into_iter().find_map(place).unwrap_or(forward);
            let step = |at| match field.element {
                element if is_time(element) && profile.times != TimePrecision::Nanoseconds => {
                    Step::Time(at, profile.times)
                }
                element if is_tcp_flags(element) && !profile.wide_tcp_flags => Step::LowOctet(at),
                _ => Step::Copy(at),
            };
            selection.fields.push(sent_as(field, profile));
            selection.forward.push(step(forward));
            reverse.push(match field.element {
                element if element == ie::ICMP_TYPE_CODE_IPV4.id => Step::IcmpAnswer(forward),
                element if element == ie::ICMP_TYPE_CODE_IPV6.id => Step::Icmpv6Answer(forward),
                _ => step(other),
            });
        }
        selection.reverse = is_split.then_some(reverse);
        selection
    }

    /// What `profile` takes of an options record; `None` when too little is left of it to say anything.
    pub fn of_options(kind: OptionsKind, profile: Profile) -> Option<Selection> {
        if matches!(kind, OptionsKind::Element | OptionsKind::Alert) && !profile.enterprise {
            return None;
        }
        let source = kind.fields();
        let mut selection = Selection::nothing_of(&source);
        for (at, field) in source.iter().enumerate().filter(|(_, field)| profile.takes(field.element)) {
            selection.fields.push(*field);
            selection.forward.push(Step::Copy(at));
        }
        let scope = usize::from(kind.scope_fields());
        let has_scope = selection.fields.get(..scope) == source.get(..scope);
        (has_scope && selection.fields.len() > scope).then_some(selection)
    }

    fn nothing_of(source: &[FieldSpec]) -> Selection {
        let lengths = source.iter().map(|field| field.length).collect();
        Selection { fields: Vec::new(), lengths, forward: Vec::new(), reverse: None }
    }

    /// The template's fields.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    /// Whether a record becomes two, one for each direction.
    pub fn is_split(&self) -> bool {
        self.reverse.is_some()
    }

    /// Appends what is taken of the whole `record`, for one direction of it if it becomes two. False when it is not of
    /// this layout. `places` is room to work in.
    pub fn write(
        &self,
        record: &[u8],
        direction: Direction,
        places: &mut Vec<Range<usize>>,
        out: &mut Vec<u8>,
    ) -> bool {
        places.clear();
        let mut rest = record;
        for length in &self.lengths {
            let begin = record.len() - rest.len();
            if take(&mut rest, *length).is_err() {
                return false;
            }
            // Lengths in front of values are copied with them.
            places.push(begin..record.len() - rest.len());
        }
        let steps = match (&self.reverse, direction) {
            (Some(reverse), Direction::Reverse) => reverse,
            _ => &self.forward,
        };
        let field =
            |at: usize| places.get(at).and_then(|place| record.get(place.clone())).unwrap_or_default();
        for step in steps {
            match *step {
                Step::Copy(at) => out.extend_from_slice(field(at)),
                Step::Time(at, precision) => write_time(field(at), precision, out),
                Step::LowOctet(at) => out.extend(field(at).last()),
                Step::IcmpAnswer(at) => write_answer(field(at), icmp_v4_counterpart, out),
                Step::Icmpv6Answer(at) => write_answer(field(at), icmp_v6_counterpart, out),
            }
        }
        true
    }
}

/// The field as a template of the profile tells it.
fn sent_as(field: FieldSpec, profile: Profile) -> FieldSpec {
    let element = field.element;
    if is_time(element) {
        let is_start = element == ie::FLOW_START_NANOSECONDS.id;
        let (start, end) = match profile.times {
            TimePrecision::Seconds => (ie::FLOW_START_SECONDS, ie::FLOW_END_SECONDS),
            TimePrecision::Milliseconds => (ie::FLOW_START_MILLISECONDS, ie::FLOW_END_MILLISECONDS),
            TimePrecision::Microseconds => (ie::FLOW_START_MICROSECONDS, ie::FLOW_END_MICROSECONDS),
            TimePrecision::Nanoseconds => (ie::FLOW_START_NANOSECONDS, ie::FLOW_END_NANOSECONDS),
        };
        FieldSpec::of(if is_start { start } else { end })
    } else if is_tcp_flags(element) && !profile.wide_tcp_flags {
        FieldSpec { element, length: 1 }
    } else {
        field
    }
}

/// The elements that may say the same of the other direction; that of the layout is meant.
fn reversed(element: ElementId) -> Vec<ElementId> {
    const ENDS: [(ie::Element, ie::Element); 3] = [
        (ie::SOURCE_IPV4_ADDRESS, ie::DESTINATION_IPV4_ADDRESS),
        (ie::SOURCE_IPV6_ADDRESS, ie::DESTINATION_IPV6_ADDRESS),
        (ie::SOURCE_TRANSPORT_PORT, ie::DESTINATION_TRANSPORT_PORT),
    ];
    let swapped =
        ENDS.iter().flat_map(|(source, destination)| [(source, destination), (destination, source)]);
    let own = ie::TROUBLE.iter().chain(&ie::GAPS).map(|(forward, reverse)| (forward, reverse));
    let entropy = (&ie::PAYLOAD_ENTROPY, &ie::REVERSE_PAYLOAD_ENTROPY);
    let paired = swapped.chain(own).chain([entropy]).filter(|(from, _)| from.id == element);
    let mut candidates: Vec<ElementId> = paired.map(|(_, to)| to.id).collect();
    if element.enterprise == 0 {
        candidates.push(ElementId { enterprise: REVERSE_PEN, number: element.number });
    }
    candidates
}

fn is_time(element: ElementId) -> bool {
    element == ie::FLOW_START_NANOSECONDS.id || element == ie::FLOW_END_NANOSECONDS.id
}

/// Of either direction.
fn is_tcp_flags(element: ElementId) -> bool {
    element.number == ie::TCP_CONTROL_BITS.id.number && matches!(element.enterprise, 0 | REVERSE_PEN)
}

fn is_list(element: ElementId) -> bool {
    let known = ie::ALL.iter().find(|known| known.id == element);
    known.is_some_and(|known| known.data_type == DataType::BasicList)
        || Field::from_element(element).is_some_and(|field| field.shape() == Shape::TextList)
}

/// Whether a field says in which direction each packet went, which a record of one direction cannot.
fn is_of_both_directions(element: ElementId) -> bool {
    [ie::PACKET_PAYLOADS, ie::PACKET_TIMES, ie::PACKET_FLAGS, ie::PACKET_DIRECTIONS]
        .iter()
        .any(|packets| packets.id == element)
}

/// Octets of a fraction of a second that `flowStartMicroseconds` leaves zero (RFC 7011 section 6.1.9).
const MICROSECOND_LOW_BITS: u64 = (1 << 11) - 1;

fn write_time(ntp: &[u8], precision: TimePrecision, out: &mut Vec<u8>) {
    let ntp = ntp.try_into().map_or(0, u64::from_be_bytes);
    let time = from_ntp(ntp);
    match precision {
        TimePrecision::Seconds => {
            out.extend_from_slice(&u32::try_from(time.seconds()).unwrap_or(u32::MAX).to_be_bytes());
        }
        TimePrecision::Milliseconds => out.extend_from_slice(&time.millis().to_be_bytes()),
        TimePrecision::Microseconds => {
            let whole = Timestamp::from_parts(time.seconds(), time.subsec_nanos() / 1000 * 1000);
            // Rounded up, so that whoever cuts gets the same microsecond.
            let rounded = to_ntp(whole).saturating_add(MICROSECOND_LOW_BITS) & !MICROSECOND_LOW_BITS;
            out.extend_from_slice(&rounded.to_be_bytes());
        }
        TimePrecision::Nanoseconds => out.extend_from_slice(&ntp.to_be_bytes()),
    }
}

fn write_answer(type_and_code: &[u8], counterpart: fn(u8) -> Option<u8>, out: &mut Vec<u8>) {
    let [kind, code] = type_and_code.try_into().unwrap_or_default();
    out.extend_from_slice(&[counterpart(kind).unwrap_or(kind), code]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipfix::decode::{Decoder, Limits, OptionsRecord, Sink};
    use crate::ipfix::encode::{MessageBuilder, TextLimits, encode_flow, stamp};
    use crate::ipfix::template::write_template;
    use crate::ipfix::{TEMPLATE_SET, options};
    use crate::net::FlowKey;
    use crate::record::FlowRecord;
    use crate::testing::RecordBuilder;

    const PEN: u32 = 54_321;

    #[derive(Default)]
    struct Read(Vec<FlowRecord>);

    impl Sink for Read {
        fn flow(&mut self, record: FlowRecord) {
            self.0.push(record);
        }

        fn options(&mut self, _: &OptionsRecord<'_>) {}
    }

    /// What a collector reads of a record that was sent by a profile.
    fn through(record: &FlowRecord, profile: Profile) -> Vec<FlowRecord> {
        let layout = Layout::of(record);
        let selection = Selection::of(layout, profile);
        let (mut whole, mut places) = (Vec::new(), Vec::new());
        encode_flow(record, layout, TextLimits::ALL, PEN, &mut whole);
        let mut builder = MessageBuilder::new(1, usize::MAX);
        builder.push(TEMPLATE_SET, |out| write_template(300, None, selection.fields(), PEN, out));
        let directions: &[Direction] = if selection.is_split() {
            &[Direction::Forward, Direction::Reverse]
        } else {
            &[Direction::Forward]
        };
        for direction in directions {
            let mut octets = Vec::new();
            assert!(selection.write(&whole, *direction, &mut places, &mut octets));
            builder.push(300, |out| out.extend_from_slice(&octets));
        }
        let mut message = builder.finish(Vec::new());
        stamp(&mut message, 1_795_176_100, 0);
        let mut read = Read::default();
        let summary = Decoder::new(Limits::default(), PEN).message(&message, &mut read).unwrap();
        assert_eq!(summary.flows as usize, directions.len());
        read.0
    }

    fn dns() -> FlowRecord {
        let mut record =
            RecordBuilder::udp("10.0.0.5:40000", "192.0.2.53:53").packets(3, 2).octets(210, 480).build();
        record.forward.ttl_min = 64;
        record.reverse.ttl_min = 55;
        record.features.forward.source_mac = [2, 0, 0, 0, 0, 1];
        record.features.reverse.source_mac = [2, 0, 0, 0, 0, 2];
        record.features.forward.entropy = Some(11);
        record.features.reverse.entropy = Some(12);
        record
    }

    #[test]
    fn a_full_profile_selects_every_field_of_every_layout_as_it_is() {
        for layout in Layout::all() {
            let selection = Selection::of(layout, Profile::FULL);
            assert_eq!(selection.fields(), layout.fields(), "{layout:?}");
            assert!(!selection.is_split());
        }
        let record = dns();
        assert_eq!(through(&record, Profile::FULL), [record]);
    }

    #[test]
    fn a_plain_profile_has_no_enterprise_bit_in_any_template() {
        for layout in Layout::all() {
            let selection = Selection::of(layout, Profile::PLAIN);
            for field in selection.fields() {
                assert_eq!(field.element.enterprise, 0, "{layout:?} {field:?}");
            }
            assert_eq!(selection.is_split(), layout.biflow);
        }
    }

    #[test]
    fn both_directions_of_a_layout_have_one_template_and_so_does_its_one_way_form() {
        for layout in Layout::all().filter(|layout| layout.biflow) {
            let profile = Profile { biflow: false, ..Profile::FULL };
            let one_way = Layout { biflow: false, ..layout };
            assert_eq!(
                Selection::of(layout, profile).fields(),
                Selection::of(one_way, profile).fields(),
                "{layout:?}"
            );
        }
    }

    #[test]
    fn a_biflow_becomes_two_records_each_from_its_sender() {
        let record = dns();
        let [there, back] = through(&record, Profile { biflow: false, ..Profile::FULL }).try_into().unwrap();
        let FlowKey { initiator, responder, initiator_port, responder_port, protocol } = record.key;
        let key = FlowKey {
            initiator: responder,
            responder: initiator,
            initiator_port: responder_port,
            responder_port: initiator_port,
            protocol,
        };
        assert_eq!((there.key, back.key), (record.key, key));
        assert_eq!((there.forward, back.forward), (record.forward, record.reverse));
        assert_eq!((there.reverse, back.reverse), Default::default());
        assert_eq!(back.features.forward.source_mac, [2, 0, 0, 0, 0, 2]);
        assert_eq!((there.features.forward.entropy, back.features.forward.entropy), (Some(11), Some(12)));
        assert_eq!((there.flow_id, back.flow_id), (record.flow_id, record.flow_id));
    }

    #[test]
    fn an_echo_becomes_request_and_reply() {
        let record = RecordBuilder::echo("10.0.0.5", "192.0.2.1").build();
        let records = through(&record, Profile::PLAIN);
        let icmp: Vec<_> = records.iter().map(|record| record.icmp).collect();
        assert_eq!(icmp, [Some((8, 0)), Some((0, 0))]);
    }

    #[test]
    fn times_are_cut_to_their_precision() {
        let mut record = dns();
        record.start = Timestamp::from_parts(1_795_176_000, 123_456_789);
        record.end = Timestamp::from_parts(1_795_176_001, 999_999_999);
        for (times, start, end) in [
            (TimePrecision::Seconds, 0, 0),
            (TimePrecision::Milliseconds, 123_000_000, 999_000_000),
            (TimePrecision::Microseconds, 123_456_000, 999_999_000),
            (TimePrecision::Nanoseconds, 123_456_789, 999_999_999),
        ] {
            let read = &through(&record, Profile { times, ..Profile::FULL })[0];
            // A reader rounds NTP's fraction to nanoseconds; microseconds are exact to that.
            let cut = |time: Timestamp| match times {
                TimePrecision::Microseconds => time.subsec_nanos() / 1000 * 1000,
                _ => time.subsec_nanos(),
            };
            assert_eq!((read.start.seconds(), cut(read.start)), (1_795_176_000, start), "{times:?}");
            assert_eq!((read.end.seconds(), cut(read.end)), (1_795_176_001, end), "{times:?}");
        }
    }

    #[test]
    fn options_that_say_nothing_without_enterprise_elements_are_left_out() {
        let kept = |profile: Profile| {
            let kinds = OptionsKind::ALL.into_iter();
            kinds.filter(|kind| Selection::of_options(*kind, profile).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(kept(Profile::FULL), OptionsKind::ALL);
        assert_eq!(
            kept(Profile::PLAIN),
            [
                OptionsKind::Metering,
                OptionsKind::MeteringReliability,
                OptionsKind::ExportingReliability,
                OptionsKind::FlowKeys,
                OptionsKind::Sensor,
                OptionsKind::Selector,
            ]
        );
        let sensor = Selection::of_options(OptionsKind::Sensor, Profile::PLAIN).unwrap();
        let names: Vec<u16> = sensor.fields().iter().map(|field| field.element.number).collect();
        assert_eq!(names, [149, 300]);
        let mut whole = Vec::new();
        options::Sensor { name: "edge-1".into(), ..Default::default() }.write(7, &mut whole);
        let mut octets = Vec::new();
        assert!(sensor.write(&whole, Direction::Forward, &mut Vec::new(), &mut octets));
        assert_eq!(octets, *b"\0\0\0\x07\x06edge-1");
    }

    #[test]
    fn a_record_that_is_cut_off_is_refused() {
        let record = dns();
        let layout = Layout::of(&record);
        let mut whole = Vec::new();
        encode_flow(&record, layout, TextLimits::ALL, PEN, &mut whole);
        let selection = Selection::of(layout, Profile::PLAIN);
        for length in 0..whole.len() {
            assert!(
                !selection.write(&whole[..length], Direction::Forward, &mut Vec::new(), &mut Vec::new()),
                "{length}"
            );
        }
    }
}
