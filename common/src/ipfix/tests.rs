//! What was written is what is read; what others write is understood; what is hostile is an outcome.

mod foreign;

use super::decode::{Decoder, Limits, OptionsRecord, Sink};
use super::elements::{self as ie, Element};
use super::encode::{MessageBuilder, Pushed, TextLimits, encode_flow, stamp};
use super::error::DecodeError;
use super::options::{self, OptionsKind};
use super::template::{FieldSpec, Layout, write_template};
use super::{OPTIONS_TEMPLATE_SET, TEMPLATE_SET};
use crate::app::App;
use crate::delivery::Position;
use crate::evidence::{BlockRange, Evidence, Extents};
use crate::features::{
    ConnectionState, DirectionFeatures, FIRST_PACKETS_MAX, Features, History, PacketBrief, TcpTrouble,
};
use crate::metadata::{ElementId, Field, LIST_VALUES_MAX, Metadata, Shape, WEIR_PEN};
use crate::net::{Address, CommunityId, Direction, FlowKey};
use crate::record::{DirectionStats, EndReason, FlowRecord, FlowState, Tunnel, TunnelKind};
use crate::time::Timestamp;
use proptest::prelude::*;

const PEN: u32 = 54_321;

fn decoder() -> Decoder {
    Decoder::new(Limits::default(), PEN)
}

/// The templates of `records` and the records, in one message.
fn message(records: &[FlowRecord]) -> Vec<u8> {
    let mut builder = MessageBuilder::new(1, usize::MAX);
    for record in records {
        let layout = Layout::of(record);
        let template = |out: &mut Vec<u8>| write_template(layout.id(), None, &layout.fields(), PEN, out);
        assert_eq!(builder.push(TEMPLATE_SET, template), Pushed::In);
    }
    for record in records {
        let layout = Layout::of(record);
        let write = |out: &mut Vec<u8>| encode_flow(record, layout, TextLimits::ALL, PEN, out);
        assert_eq!(builder.push(layout.id(), write), Pushed::In);
    }
    let mut message = builder.finish(Vec::new());
    stamp(&mut message, 1_700_000_000, 0);
    message
}

fn key(initiator: &str, initiator_port: u16, responder: &str, responder_port: u16, protocol: u8) -> FlowKey {
    let (initiator, responder) = (initiator.parse().unwrap(), responder.parse().unwrap());
    FlowKey { initiator, responder, initiator_port, responder_port, protocol }
}

fn https() -> FlowRecord {
    let key = key("192.0.2.1", 50_000, "198.51.100.2", 443, 6);
    let mut metadata = Metadata::default();
    metadata.set_text(Field::TlsServerName, "example.org");
    metadata.set_number(Field::TlsCipher, 0x1301);
    FlowRecord {
        key,
        flow_id: 77,
        community_id: CommunityId::of(&key, None, 0),
        start: Timestamp::from_parts(1_600_000_000, 123_456_789),
        end: Timestamp::from_parts(1_600_000_001, 1),
        forward: DirectionStats {
            packets: 5,
            octets: 500,
            frame_octets: 570,
            tcp_flags: 0x1b,
            ttl_min: 63,
            ttl_max: 64,
            tos: 8,
        },
        reverse: DirectionStats {
            packets: 6,
            octets: 6000,
            frame_octets: 6140,
            tcp_flags: 0x1a,
            ttl_min: 50,
            ttl_max: 50,
            tos: 0,
        },
        icmp: None,
        vlans: [10, 20],
        interface: 3,
        end_reason: EndReason::EndOfFlow,
        state: FlowState::Closed,
        app: App::Tls,
        metadata: Some(Box::new(metadata)),
        tunnel: None,
        at_shutdown: false,
        signatures: None,
        evidence: None,
        features: Features::default(),
    }
}

/// Records as the sensor can make them: the fields are the application's, ICMP has no ports.
fn any_record() -> impl Strategy<Value = FlowRecord> {
    let stats = || {
        (any::<(u64, u64)>(), any::<u16>(), any::<(u8, u8, u8)>()).prop_map(
            |((packets, octets), tcp_flags, (ttl_min, ttl_max, tos))| DirectionStats {
                packets,
                octets,
                frame_octets: octets / 3,
                tcp_flags,
                ttl_min,
                ttl_max,
                tos,
            },
        )
    };
    let address =
        || prop_oneof![any::<[u8; 4]>().prop_map(Address::v4), any::<[u8; 16]>().prop_map(Address::v6)];
    let protocol = prop_oneof![Just(6), any::<u8>()];
    let ends = (address(), address(), (any::<u16>(), any::<u16>(), protocol), any::<Option<(u8, u8)>>());
    let times = (any::<u32>(), 0..1_000_000_000u32, 0..10_000_000_000u64);
    let rest = (any::<(u64, [u8; 20], [u16; 2], u32)>(), 1..=5u8, 0..=2u8, 0..=App::ALL.len());
    let values =
        proptest::collection::vec((any::<prop::sample::Index>(), "\\PC{0,700}", any::<u32>()), 0..40);
    let sides = (stats(), prop_oneof![Just(DirectionStats::default()), stats()]);
    (ends, times, sides, rest, values, any_evidence(), any_features()).prop_map(
        |(
            (initiator, responder, (source, target, protocol), icmp),
            times,
            (forward, reverse),
            rest,
            values,
            evidence,
            features,
        )| {
            let (start_s, start_ns, length_ns) = times;
            let ((flow_id, community_id, vlans, interface), reason, state, app) = rest;
            let app = app.checked_sub(1).map_or(App::Unknown, |index| App::ALL[index]);
            let start = Timestamp::from_parts(u64::from(start_s) / 2, start_ns);
            let ports = if icmp.is_some() { (0, 0) } else { (source, target) };
            let mut record = FlowRecord {
                key: FlowKey {
                    initiator,
                    responder,
                    initiator_port: ports.0,
                    responder_port: ports.1,
                    protocol,
                },
                flow_id,
                community_id: CommunityId(community_id),
                start,
                end: Timestamp(start.0 + length_ns),
                forward,
                reverse,
                icmp,
                vlans,
                interface,
                end_reason: EndReason::from_ipfix(reason).unwrap(),
                state: FlowState::from_number(state).unwrap(),
                app,
                metadata: any_metadata(app, &values),
                // Any of a record's addresses and numbers will do.
                at_shutdown: false,
                signatures: None,
                tunnel: (flow_id % 3 == 0).then(|| {
                    Box::new(Tunnel {
                        kind: TunnelKind::Vxlan,
                        id: (flow_id % 2 == 0).then_some(interface),
                        source: (responder, source),
                        destination: (initiator, target),
                        depth: reason,
                    })
                }),
                evidence,
                features,
            };
            limit_features(&mut record);
            record
        },
    )
}

fn any_features() -> impl Strategy<Value = Features> {
    let trouble = any::<(u32, u32, u32, u32, u64)>().prop_map(
        |(retransmitted, out_of_order, duplicate_acks, zero_windows, missed_octets)| TcpTrouble {
            retransmitted,
            out_of_order,
            duplicate_acks,
            zero_windows,
            missed_octets,
        },
    );
    let trouble = prop_oneof![Just(TcpTrouble::NONE), trouble];
    let sizes = any::<(u16, u16, u16, u64, u32, u32, u64, u64)>();
    let side = (trouble, sizes, proptest::option::of(1..=255u8), any::<([u8; 6], [u8; 6])>());
    let side = side.prop_map(|(trouble, sizes, entropy, (source_mac, destination_mac))| DirectionFeatures {
        initial_window: sizes.0,
        trouble,
        octets_min: sizes.1,
        octets_max: sizes.2,
        octets_squared: sizes.3,
        gap_min_us: sizes.4,
        gap_max_us: sizes.5,
        gap_sum_us: sizes.6,
        gap_squared_us2: sizes.7,
        entropy,
        source_mac,
        destination_mac,
    });
    let packet = any::<(u32, u16, u8, bool)>().prop_map(|(time_us, payload, tcp_flags, back)| PacketBrief {
        time_us,
        payload,
        tcp_flags,
        direction: if back { Direction::Reverse } else { Direction::Forward },
    });
    let packets = prop_oneof![Just(Vec::new()), proptest::collection::vec(packet, 0..=FIRST_PACKETS_MAX)];
    let round_trip = || proptest::option::of(0..u32::MAX);
    let flow = (0..=13u8, "[A-Za-z^]{0,24}", round_trip(), round_trip(), 0..1u32 << 24, 1..u64::MAX);
    (flow, [side.clone(), side], any::<(bool, bool)>(), packets).prop_map(|(flow, sides, has, packets)| {
        Features {
            connection: ConnectionState::from_number(flow.0),
            history: History::from(flow.1.as_bytes()),
            server_rtt_us: flow.2,
            client_rtt_us: flow.3,
            forward: sides[0],
            reverse: sides[1],
            has_statistics: has.0,
            first_packets: packets,
            mpls: [flow.4, 0, flow.4 / 3],
        }
    })
}

/// Takes from a record what it cannot have: TCP's features without TCP, another direction's without packets.
fn limit_features(record: &mut FlowRecord) {
    let features = &mut record.features;
    if record.reverse == DirectionStats::default() {
        features.reverse = DirectionFeatures::EMPTY;
    }
    if record.key.protocol != 6 || record.icmp.is_some() {
        features.history = History::EMPTY;
        (features.server_rtt_us, features.client_rtt_us) = (None, None);
        for side in [&mut features.forward, &mut features.reverse] {
            (side.initial_window, side.trouble) = (0, TcpTrouble::NONE);
        }
    }
    features.has_statistics |= !features.first_packets.is_empty();
    if !features.has_statistics {
        for side in [&mut features.forward, &mut features.reverse] {
            let DirectionFeatures { initial_window, trouble, entropy, source_mac, destination_mac, .. } =
                *side;
            *side = DirectionFeatures {
                initial_window,
                trouble,
                entropy,
                source_mac,
                destination_mac,
                ..DirectionFeatures::EMPTY
            };
        }
    }
}

/// Evidence as it can be sent: whole milliseconds, counts that fit.
fn any_evidence() -> impl Strategy<Value = Option<Box<Evidence>>> {
    let ranges = proptest::collection::vec(any::<(u64, u8)>(), 0..12);
    let evidence = (any::<(u32, u16, u32, u32)>(), proptest::option::of(1..1u64 << 40), ranges).prop_map(
        |((run, lane, kept, missed), expires_ms, ranges)| {
            let mut extents = Extents::new(run, lane);
            for (first, more) in ranges {
                extents.add_range(BlockRange { first, last: first.saturating_add(more.into()) });
            }
            let expires = expires_ms.map(|ms| Timestamp(ms * 1_000_000));
            let (frames_kept, frames_missed) = (kept.into(), missed.into());
            Box::new(Evidence { extents, frames_kept, frames_missed, expires })
        },
    );
    proptest::option::of(evidence)
}

fn any_metadata(app: App, values: &[(prop::sample::Index, String, u32)]) -> Option<Box<Metadata>> {
    let fields: Vec<Field> = Field::of(app).collect();
    let mut metadata = Metadata::default();
    for (index, text, number) in values.iter().filter(|_| !fields.is_empty()) {
        let field = fields[index.index(fields.len())];
        match field.shape() {
            Shape::Text if text.is_empty() => {}
            Shape::Text => metadata.set_text(field, text),
            Shape::Number if field.element().enterprise == 0 => {
                metadata.set_number(field, u64::from(number % 999 + 1));
            }
            Shape::Number => metadata.set_number(field, u64::from(*number)),
            Shape::TextList => metadata.add(field, text),
        }
    }
    (!metadata.is_empty()).then(|| Box::new(metadata))
}

/// The same record with its fields in the table's order, which is the order they are sent in.
fn in_table_order(record: &FlowRecord) -> FlowRecord {
    let mut ordered = Metadata::default();
    for field in Field::ALL {
        match field.shape() {
            Shape::Text => {
                record.metadata().text(*field).into_iter().for_each(|text| ordered.set_text(*field, text));
            }
            Shape::Number => {
                record
                    .metadata()
                    .number(*field)
                    .into_iter()
                    .for_each(|number| ordered.set_number(*field, number));
            }
            Shape::TextList => {
                record.metadata().list(*field).iter().for_each(|text| ordered.add(*field, text));
            }
        }
    }
    let metadata = (!ordered.is_empty()).then(|| Box::new(ordered));
    FlowRecord { metadata, ..record.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_was_written_is_what_is_read(records in proptest::collection::vec(any_record(), 0..4)) {
        // A full DNS list record is 16 KiB; four of them fit into one message.
        let bytes = message(&records);
        let mut read = Vec::new();
        let summary = decoder().message(&bytes, &mut read).unwrap();
        prop_assert_eq!(summary.fault, None);
        prop_assert_eq!(summary.flows as usize, records.len());
        prop_assert_eq!(read, records.iter().map(in_table_order).collect::<Vec<_>>());
    }

    #[test]
    fn every_prefix_and_any_change_is_an_outcome(
        record in any_record(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message(&[record]);
        let mut read = Vec::new();
        prop_assert!(decoder().message(&bytes[..cut.index(bytes.len())], &mut read).is_err());
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let mut decoder = decoder();
        let _ = decoder.message(&bytes, &mut read);
        let _ = decoder.message(&bytes, &mut read);
    }
}

#[test]
fn a_hundred_thousand_changed_messages_are_outcomes_within_the_limits() {
    let original = message(&[https(), FlowRecord { metadata: None, app: App::Unknown, ..https() }]);
    let limits = Limits { templates_max: 64, fields_max: 4096 };
    let mut decoder = Decoder::new(limits, PEN);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut read = Vec::new();
    for _ in 0..100_000 {
        let mut bytes = original.clone();
        for _ in 0..1 + next() % 6 {
            let at = (next() % bytes.len() as u64) as usize;
            bytes[at] = next() as u8;
        }
        read.clear();
        let _ = decoder.message(&bytes, &mut read);
        assert!(read.len() <= bytes.len() / 8 && decoder.templates() <= limits.templates_max);
    }
}

#[test]
fn a_record_that_must_be_short_keeps_its_numbers_and_loses_its_texts() {
    let mut record = https();
    record.app = App::Dns;
    let mut metadata = Metadata::default();
    for number in 0..LIST_VALUES_MAX {
        metadata.add(Field::DnsQuery, &format!("{number}.{}", "x".repeat(500)));
    }
    metadata.set_number(Field::DnsRcode, 3);
    record.metadata = Some(Box::new(metadata));
    let layout = Layout::of(&record);
    let lengths: Vec<usize> = TextLimits::STEPS
        .iter()
        .map(|limits| {
            let mut out = Vec::new();
            encode_flow(&record, layout, *limits, PEN, &mut out);
            out.len()
        })
        .collect();
    assert!(lengths.is_sorted_by(|a, b| a > b), "{lengths:?}");
    assert!(lengths[0] > 8000 && lengths[3] < 260, "{lengths:?}");
    let mut builder = MessageBuilder::new(1, 1400);
    builder.push(TEMPLATE_SET, |out| write_template(layout.id(), None, &layout.fields(), PEN, out));
    let pushed =
        builder.push(layout.id(), |out| encode_flow(&record, layout, TextLimits::STEPS[3], PEN, out));
    assert_eq!(pushed, Pushed::In);
    let mut read = Vec::new();
    decoder().message(&builder.finish(Vec::new()), &mut read).unwrap();
    assert_eq!(read[0].metadata().number(Field::DnsRcode), Some(3));
    assert_eq!(read[0].metadata().list(Field::DnsQuery).len(), 0);
}

#[test]
fn first_packets_are_lists_that_any_reader_of_rfc_6313_understands() {
    let packet =
        |time_us, payload, tcp_flags, direction| PacketBrief { time_us, payload, tcp_flags, direction };
    let mut record = https();
    record.features.has_statistics = true;
    record.features.first_packets =
        vec![packet(0, 517, 0x18, Direction::Forward), packet(0x0102, 1400, 0x10, Direction::Reverse)];
    let mut out = Vec::new();
    encode_flow(&record, Layout::of(&record), TextLimits::ALL, PEN, &mut out);
    #[rustfmt::skip]
    let want = [
        // Length, ordered, element (with enterprise bit), length of a value, enterprise, values.
        13, 4, 0x80, 28, 0, 2, 0, 0, 0xd4, 0x31, 0x02, 0x05, 0x05, 0x78,
        17, 4, 0x80, 29, 0, 4, 0, 0, 0xd4, 0x31, 0, 0, 0, 0, 0, 0, 1, 2,
        7, 4, 0, 6, 0, 1, 0x18, 0x10,
        11, 4, 0x80, 31, 0, 1, 0, 0, 0xd4, 0x31, 1, 2,
    ];
    assert!(out.windows(want.len()).any(|octets| octets == want), "{out:?}");
    // Where a record must be short, the lists are.
    let mut short = Vec::new();
    encode_flow(&record, Layout::of(&record), TextLimits::STEPS[3], PEN, &mut short);
    assert_eq!(out.len() - short.len(), 2 * (2 + 4 + 1 + 1) + "example.org".len());
}

#[test]
fn yaf_s_round_trip_is_read_where_there_is_no_finer_one() {
    let specs = [
        FieldSpec::of(ie::SOURCE_IPV4_ADDRESS),
        FieldSpec::of(ie::DESTINATION_IPV4_ADDRESS),
        FieldSpec::of(ie::REVERSE_FLOW_DELTA_MILLISECONDS),
        FieldSpec::of(ie::PAYLOAD_ENTROPY),
        FieldSpec::of(ie::REVERSE_PAYLOAD_ENTROPY),
    ];
    let mut builder = MessageBuilder::new(1, usize::MAX);
    builder.push(TEMPLATE_SET, |out| write_template(300, None, &specs, PEN, out));
    let values = [10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 7, 200, 0];
    builder.push(300, |out| out.extend_from_slice(&values));
    let mut read = Vec::new();
    decoder().message(&builder.finish(Vec::new()), &mut read).unwrap();
    let features = &read[0].features;
    assert_eq!((features.server_rtt_us, features.client_rtt_us), (Some(7000), None));
    assert_eq!((features.forward.entropy, features.reverse.entropy), (Some(200), None));
    assert!(!features.has_statistics);
}

#[test]
fn a_record_without_a_ring_takes_no_octet_more_and_one_with_it_what_its_text_takes() {
    let octets = |evidence: Option<Evidence>| {
        let record = FlowRecord { evidence: evidence.map(Box::new), ..https() };
        let mut out = Vec::new();
        encode_flow(&record, Layout::of(&record), TextLimits::ALL, PEN, &mut out);
        out.len()
    };
    let with = |text: &str| {
        octets(Some(Evidence { extents: text.parse().unwrap(), ..Evidence::default() })) - octets(None)
    };
    assert_eq!(with("3.0:"), 16 + 1 + 4);
    assert_eq!(with("3.0:120-122,140"), 16 + 1 + 15);
    // The longest text needs the long form of a length.
    let long = (0..8).map(|at| format!("{}-{}", u64::MAX - 40 + 4 * at, u64::MAX - 39 + 4 * at));
    let long = format!("~3.0:{}", long.collect::<Vec<_>>().join(","));
    assert_eq!(with(&long), 16 + 3 + long.len());
}

#[test]
fn extents_that_cannot_be_read_are_no_evidence() {
    let evidence = Evidence { extents: "3.0:120".parse().unwrap(), frames_kept: 7, ..Evidence::default() };
    let record = FlowRecord { evidence: Some(Box::new(evidence)), ..https() };
    let mut bytes = message(std::slice::from_ref(&record));
    let mut read = Vec::new();
    decoder().message(&bytes, &mut read).unwrap();
    assert_eq!(read.pop(), Some(record));
    let at = bytes.windows(7).position(|octets| octets == b"3.0:120").unwrap();
    bytes[at] = b'x';
    decoder().message(&bytes, &mut read).unwrap();
    assert_eq!(read[0].evidence, None);
}

#[test]
fn sequence_gaps_are_counted_per_domain_in_records() {
    let mut bytes = message(&[https(), https()]);
    let mut decoder = decoder();
    let mut read = Vec::new();
    let mut missing_at = |sequence: u32| {
        stamp(&mut bytes, 0, sequence);
        let summary = decoder.message(&bytes, &mut read).unwrap();
        (summary.missing, summary.out_of_order)
    };
    assert_eq!(missing_at(u32::MAX - 1), (0, false));
    assert_eq!(missing_at(0), (0, false));
    assert_eq!(missing_at(7), (5, false));
    assert_eq!(missing_at(9), (0, false));
    assert_eq!(missing_at(3), (0, true));
    assert_eq!(missing_at(5), (0, false));
}

#[test]
fn templates_are_replaced_withdrawn_and_limited() {
    let mut read = Vec::new();
    let limits = Limits { templates_max: 2, fields_max: 5 };
    let mut decoder = Decoder::new(limits, PEN);
    let mut learn = |id: u16, fields: usize| {
        let specs = vec![FieldSpec::of(ie::PACKET_DELTA_COUNT); fields];
        let mut builder = MessageBuilder::new(1, usize::MAX);
        builder.push(TEMPLATE_SET, |out| write_template(id, None, &specs, PEN, out));
        let summary = decoder.message(&builder.finish(Vec::new()), &mut read).unwrap();
        (summary.templates, summary.withdrawals, decoder.templates(), summary.fault)
    };
    assert_eq!(learn(256, 3), (1, 0, 1, None));
    assert_eq!(learn(256, 2), (1, 0, 1, None));
    assert_eq!(learn(257, 3), (1, 0, 2, None));
    let too_many = DecodeError::Limit { template: 258, offset: 20, what: "templates", limit: 2 };
    assert_eq!(learn(258, 1), (0, 0, 2, Some(too_many)));
    let too_wide =
        DecodeError::Limit { template: 257, offset: 20, what: "fields of all templates", limit: 5 };
    assert_eq!(learn(257, 4), (0, 0, 2, Some(too_wide)));
    assert_eq!(learn(257, 0), (0, 1, 1, None));
    assert_eq!(learn(258, 3), (1, 0, 2, None));
    // Identifier 2 withdraws every template.
    assert_eq!(learn(2, 0), (0, 1, 0, None));
    assert_eq!(learn(300, 5), (1, 0, 1, None));
}

#[test]
fn faults_are_told_with_place_found_and_expected_and_the_rest_is_read() {
    let good = &message(&[https()])[16..];
    for (bad, want) in [
        (vec![0, 1, 0, 8, 1, 2, 3, 4], "set identifier 1 at byte 16, expected 2, 3 or at least 256"),
        (vec![0, 2, 0, 8, 0, 9, 0, 1], "template identifier 9 at byte 20, expected at least 256"),
        (vec![0, 2, 0, 8, 1, 0, 0, 1], "template at byte 20 needs 4 bytes, 0 are there"),
        (
            vec![0, 2, 0, 12, 1, 0, 0, 1, 0, 8, 0, 0],
            "template 256 at byte 20 describes records of 0 bytes, expected at least 1",
        ),
        (
            vec![0, 3, 0, 10, 1, 0, 0, 1, 0, 2],
            "options template 256 at byte 20 has 2 scope fields, expected 1 to 1",
        ),
    ] {
        let mut bytes = [&[0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &bad[..], good].concat();
        let length = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let mut read = Vec::new();
        let summary = decoder().message(&bytes, &mut read).unwrap();
        assert_eq!(summary.fault.map(|fault| fault.to_string()).as_deref(), Some(want));
        assert_eq!(read.len(), 1, "{want}");
    }
    let mut bytes = message(&[https()]);
    bytes[18..20].copy_from_slice(&[0xff, 0xff]);
    let fault = decoder().message(&bytes, &mut Vec::new()).unwrap().fault.unwrap().to_string();
    assert!(fault.starts_with("set length 65535 at byte 16, expected 4 to "), "{fault}");
}

#[derive(Default)]
struct Options(Vec<Kept>);

type Kept = (u32, usize, Vec<(ElementId, Vec<u8>)>);

impl Sink for Options {
    fn flow(&mut self, _: FlowRecord) {}

    fn options(&mut self, options: &OptionsRecord<'_>) {
        let values = options.values.iter().map(|(element, value)| (*element, value.to_vec())).collect();
        self.0.push((options.domain, options.scope_fields, values));
    }
}

#[test]
fn options_records_have_the_octets_that_their_templates_say() {
    let mut builder = MessageBuilder::new(5, usize::MAX);
    for kind in OptionsKind::ALL {
        let write = |out: &mut Vec<u8>| {
            write_template(kind.id(), Some(kind.scope_fields()), &kind.fields(), PEN, out);
        };
        assert_eq!(builder.push(OPTIONS_TEMPLATE_SET, write), Pushed::In);
    }
    let lost =
        options::Lost { flows: 1, packets: 2, octets: 3, first: Timestamp(4_000_000), last: Timestamp(5) };
    let sensor =
        options::Sensor { name: "tap-1".into(), ring_dropped_frames: 9, ..options::Sensor::default() };
    for element in ie::own() {
        builder.push(OptionsKind::Element.id(), |out| options::write_element(&element, PEN, out));
    }
    builder.push(OptionsKind::Metering.id(), |out| options::write_metering(5, 1, 2, 3, out));
    builder.push(OptionsKind::MeteringReliability.id(), |out| {
        options::write_metering_reliability(5, &lost, out);
    });
    builder.push(OptionsKind::ExportingReliability.id(), |out| {
        options::write_exporting_reliability(1, &lost, out);
    });
    builder.push(OptionsKind::FlowKeys.id(), |out| options::write_flow_keys(256, 31, out));
    builder.push(OptionsKind::Selector.id(), |out| options::write_selector(11, 10, out));
    builder.push(OptionsKind::Sensor.id(), |out| sensor.write(5, out));
    let mut decoder = decoder();
    let mut read = Options::default();
    let summary = decoder.message(&builder.finish(Vec::new()), &mut read).unwrap();
    assert_eq!((summary.fault, summary.templates), (None, 9));
    assert_eq!(summary.options as usize, ie::own().count() + 6);
    assert_eq!(decoder.name(5), Some("tap-1"));
    let value = |record: usize, element: Element| {
        let (domain, scope_fields, values) = &read.0[record];
        let values: Vec<_> = values.iter().map(|(element, value)| (*element, &value[..])).collect();
        let options = OptionsRecord { domain: *domain, scope_fields: *scope_fields, values: &values };
        (options.number(element), options.text(element))
    };
    assert_eq!(value(0, ie::PRIVATE_ENTERPRISE_NUMBER).0, Some(u64::from(PEN)));
    assert_eq!(value(0, ie::INFORMATION_ELEMENT_NAME).1.as_deref(), Some("weirCommunityId"));
    let last = read.0.len() - 1;
    assert_eq!(value(last, ie::RING_DROPPED_FRAMES).0, Some(9));
    assert_eq!(value(last - 1, ie::SELECTOR_ID_TOTAL_PACKETS_OBSERVED).0, Some(11));
    assert_eq!(value(last - 3, ie::OBSERVATION_TIME_MILLISECONDS).0, Some(4));
    assert_eq!(read.0[last].2.iter().filter(|(element, _)| element.enterprise == WEIR_PEN).count(), 7);
}

#[test]
fn a_place_is_stamped_into_a_finished_message_and_read_back() {
    #[derive(Default)]
    struct Places(Vec<options::Place>);
    impl Sink for Places {
        fn flow(&mut self, _: FlowRecord) {}
        fn options(&mut self, options: &OptionsRecord<'_>) {
            self.0.extend(options::Place::read(options));
        }
    }
    let kind = OptionsKind::Place;
    let mut builder = MessageBuilder::new(5, 1400);
    builder.push(OPTIONS_TEMPLATE_SET, |out| {
        write_template(kind.id(), Some(kind.scope_fields()), &kind.fields(), PEN, out);
    });
    let template = builder.finish(Vec::new());
    let place = |epoch, sequence, count| options::Place { first: Position { epoch, sequence }, count };
    let mut decoder = decoder();
    decoder.message(&template, &mut Vec::new()).unwrap();
    for (place, read) in [
        (place(u64::MAX, 1 << 40, 7), vec![place(u64::MAX, 1 << 40, 7)]),
        (place(1, u64::MAX, 0), vec![place(1, u64::MAX, 0)]),
        (place(1, u64::MAX, 1), vec![]),
    ] {
        builder.push(kind.id(), |out| options::Place::default().write(5, out));
        let mut message = builder.finish(Vec::new());
        assert_eq!(message.len(), options::Place::OFFSET + options::Place::BYTES);
        place.stamp(&mut message);
        let mut places = Places::default();
        decoder.message(&message, &mut places).unwrap();
        assert_eq!(places.0, read);
    }
}
