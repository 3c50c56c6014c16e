//! What routers and other exporters send, in all the forms that the registry allows.

use super::*;
use crate::ipfix::elements::REVERSE_PEN;
use crate::ipfix::template::write_specifier;

/// A message of one template 256 with `fields` and one data set with `data`.
fn foreign(fields: &[(u32, u16, u16)], data: &[u8]) -> Vec<u8> {
    let specs: Vec<FieldSpec> = fields
        .iter()
        .map(|(enterprise, number, length)| FieldSpec {
            element: ElementId { enterprise: *enterprise, number: *number },
            length: *length,
        })
        .collect();
    let mut builder = MessageBuilder::new(9, usize::MAX);
    builder.push(TEMPLATE_SET, |out| {
        out.extend_from_slice(&[1, 0]);
        out.extend_from_slice(&(specs.len() as u16).to_be_bytes());
        for spec in &specs {
            write_specifier(*spec, PEN, out);
        }
    });
    builder.push(256, |out| out.extend_from_slice(data));
    let mut message = builder.finish(Vec::new());
    stamp(&mut message, 1000, 0);
    message
}

fn one(bytes: &[u8]) -> FlowRecord {
    let mut read = Vec::new();
    let summary = decoder().message(bytes, &mut read).unwrap();
    assert_eq!((summary.fault, read.len()), (None, 1));
    read.pop().unwrap()
}

const ADDRESSES: [(u32, u16, u16); 2] = [(0, 8, 4), (0, 12, 4)];

#[test]
fn a_uniflow_of_a_router_is_a_record_without_reverse() {
    let fields = [
        (0, 8, 4),
        (0, 12, 4),
        (0, 7, 2),
        (0, 11, 2),
        (0, 4, 1),
        (0, 1, 4),
        (0, 2, 4),
        (0, 152, 8),
        (0, 153, 8),
    ];
    let mut data = vec![10, 0, 0, 1, 10, 0, 0, 2, 0xc0, 0, 0, 53, 17, 0, 0, 1, 0, 0, 0, 0, 2];
    data.extend_from_slice(&5_000u64.to_be_bytes());
    data.extend_from_slice(&6_001u64.to_be_bytes());
    let record = one(&foreign(&fields, &data));
    assert_eq!(record.key, key("10.0.0.1", 0xc000, "10.0.0.2", 53, 17));
    assert_eq!((record.forward.octets, record.forward.packets), (256, 2));
    assert_eq!(record.reverse, DirectionStats::default());
    assert_eq!((record.start, record.end), (Timestamp(5_000_000_000), Timestamp(6_001_000_000)));
    assert_eq!(record.community_id, CommunityId::of(&record.key, None, 0));
    assert_eq!((record.state, record.app), (FlowState::New, App::Unknown));
}

#[test]
fn every_way_to_say_a_time_is_understood() {
    let ntp = |seconds: u64| ((seconds + 2_208_988_800) << 32).to_be_bytes().to_vec();
    let word = |value: u32| value.to_be_bytes().to_vec();
    let long = |value: u64| value.to_be_bytes().to_vec();
    for (fields, data, start, end) in [
        (vec![(0, 150, 4), (0, 151, 4)], [word(5), word(6)].concat(), 5_000, 6_000),
        (vec![(0, 152, 8), (0, 153, 8)], [long(5_001), long(6_002)].concat(), 5_001, 6_002),
        (vec![(0, 154, 8), (0, 155, 8)], [ntp(5), ntp(6)].concat(), 5_000, 6_000),
        (vec![(0, 156, 8), (0, 157, 8)], [ntp(5), ntp(6)].concat(), 5_000, 6_000),
        // Export time is second 1000.
        (vec![(0, 158, 4), (0, 159, 4)], [word(2_000_000), word(1_000_000)].concat(), 998_000, 999_000),
        (
            vec![(0, 22, 4), (0, 21, 4), (0, 160, 8)],
            [word(10), word(20), long(90_000)].concat(),
            90_010,
            90_020,
        ),
        (vec![(0, 152, 8), (0, 161, 4)], [long(5_000), word(7)].concat(), 5_000, 5_007),
        (vec![(0, 153, 8), (0, 162, 4)], [long(5_000), word(7_000)].concat(), 4_993, 5_000),
        // The most precise of several counts, whatever its place.
        (
            vec![(0, 150, 4), (0, 152, 8), (0, 153, 8), (0, 151, 4)],
            [word(5), long(5_001), long(6_002), word(6)].concat(),
            5_001,
            6_002,
        ),
        (vec![(0, 323, 8)], long(4_000), 4_000, 4_000),
        (vec![], vec![], 1_000_000, 1_000_000),
    ] {
        let fields = [&ADDRESSES[..], &fields].concat();
        let record = one(&foreign(&fields, &[&[10, 0, 0, 1, 10, 0, 0, 2], &data[..]].concat()));
        assert_eq!((record.start.millis(), record.end.millis()), (start, end), "{fields:?}");
    }
}

#[test]
fn a_start_in_up_time_counts_from_what_the_options_said() {
    let mut decoder = decoder();
    let mut builder = MessageBuilder::new(9, usize::MAX);
    let fields = [ie::OBSERVATION_DOMAIN_ID, ie::SYSTEM_INIT_TIME_MILLISECONDS].map(FieldSpec::of);
    builder.push(OPTIONS_TEMPLATE_SET, |out| write_template(300, Some(1), &fields, PEN, out));
    builder.push(300, |out| out.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 1, 0, 0]));
    let mut read = Vec::new();
    decoder.message(&builder.finish(Vec::new()), &mut read).unwrap();
    let fields = [&ADDRESSES[..], &[(0, 22, 4), (0, 21, 4)]].concat();
    decoder.message(&foreign(&fields, &[1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 1, 0, 0, 0, 2]), &mut read).unwrap();
    assert_eq!(read[0].start.millis(), 65_537);
}

#[test]
fn what_is_unknown_is_skipped_by_its_length() {
    let fields = [
        (0, 8, 4),
        (4242, 7, 3),
        (0, 9999, 65_535),
        (0, 12, 4),
        (29_305, 9999, 2),
        (29_305, 2, 1),
        (0, 2, 3),
    ];
    let data = [10, 0, 0, 1, 7, 7, 7, 255, 0, 2, 8, 8, 10, 0, 0, 2, 6, 6, 5, 1, 0, 1];
    let record = one(&foreign(&fields, &data));
    assert_eq!((record.forward.packets, record.reverse.packets), (65_537, 5));
}

#[test]
fn a_biflow_whose_destination_began_is_turned_round() {
    let fields = [&ADDRESSES[..], &[(0, 2, 1), (REVERSE_PEN, 2, 1), (0, 239, 1)]].concat();
    let record = one(&foreign(&fields, &[10, 0, 0, 1, 10, 0, 0, 2, 3, 4, 2]));
    assert_eq!(record.key.initiator.to_string(), "10.0.0.2");
    assert_eq!((record.forward.packets, record.reverse.packets), (4, 3));
}

#[test]
fn a_record_with_both_families_has_the_addresses_that_are_not_zero() {
    let fields = [(0, 8, 4), (0, 12, 4), (0, 27, 16), (0, 28, 16)];
    let mut data = vec![0; 40];
    data[0..8].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    assert_eq!(one(&foreign(&fields, &data)).key.initiator.to_string(), "10.0.0.1");
    data[0..8].fill(0);
    (data[23], data[39]) = (1, 2);
    assert_eq!(one(&foreign(&fields, &data)).key.responder.to_string(), "::2");
}

#[test]
fn icmp_of_others_has_type_and_code_whichever_way_they_say_it() {
    for (fields, data) in [
        (vec![(0, 4, 1), (0, 32, 2)], vec![1, 8, 0]),
        (vec![(0, 176, 1), (0, 177, 1), (0, 4, 1)], vec![8, 0, 1]),
        // As NetFlow did, and pmacctd does.
        (vec![(0, 7, 2), (0, 11, 2), (0, 4, 1)], vec![0, 0, 8, 0, 1]),
    ] {
        let fields = [&ADDRESSES[..], &fields].concat();
        let record = one(&foreign(&fields, &[&[10, 0, 0, 1, 10, 0, 0, 2], &data[..]].concat()));
        assert_eq!(record.icmp, Some((8, 0)));
    }
    let fields = [&ADDRESSES[..], &[(0, 4, 1), (0, 32, 2)]].concat();
    assert_eq!(one(&foreign(&fields, &[10, 0, 0, 1, 10, 0, 0, 2, 6, 0, 0])).icmp, None);
}

#[test]
fn records_without_addresses_and_sets_without_template_are_counted() {
    let mut read = Vec::new();
    let summary = decoder().message(&foreign(&[(0, 2, 4)], &[0; 8]), &mut read).unwrap();
    assert_eq!((summary.without_addresses, summary.flows), (2, 0));
    let mut builder = MessageBuilder::new(9, usize::MAX);
    builder.push(256, |out| out.extend_from_slice(&[1; 8]));
    let summary = decoder().message(&builder.finish(Vec::new()), &mut read).unwrap();
    assert_eq!((summary.unknown_sets, summary.fault), (1, None));
}
