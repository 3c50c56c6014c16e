//! What records say beyond counts, by literal packets.

use super::*;
use crate::capture::{Frame, LinkType};
use crate::counters::DecodeCounters;
use crate::decode::{Parsed, parse};
use tcp_flags::{ACK, FIN, PSH, RST, SYN};
use weir_common::features::{ConnectionState, DirectionFeatures, TcpTrouble};

const DATA: [u8; 3000] = [7; 3000];

/// A segment with this many octets of data.
fn data(source: End, destination: End, sequence: u32, ack: u32, octets: usize) -> Packet<'static> {
    Packet { payload: &DATA[..octets], ..segment(source, destination, PSH | ACK, sequence, ack) }
}

/// A connection from the client's sequence number 100 and the server's 500, up to the handshake's end: the
/// responder is 10 ms away, the initiator 2 ms.
fn connected() -> Bench {
    let mut bench = Bench::new();
    bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 0);
    bench.see(&segment(SERVER, CLIENT, SYN | ACK, 500, 101), 10);
    bench.see(&segment(CLIENT, SERVER, ACK, 101, 501), 12);
    bench
}

fn words(record: &FlowRecord) -> (&'static str, String) {
    let connection = record.features.connection.map_or("", ConnectionState::name);
    (connection, record.features.history.as_str().to_owned())
}

/// Connection state and history of segments in milliseconds' distance.
fn told(segments: &[Packet<'_>]) -> (&'static str, String) {
    let mut bench = Bench::new();
    for (millis, segment) in segments.iter().enumerate() {
        bench.see(segment, millis as u64);
    }
    words(&bench.only())
}

fn there(flags: u16, sequence: u32, ack: u32) -> Packet<'static> {
    segment(CLIENT, SERVER, flags, sequence, ack)
}

fn back(flags: u16, sequence: u32, ack: u32) -> Packet<'static> {
    segment(SERVER, CLIENT, flags, sequence, ack)
}

fn with_data(packet: Packet<'static>, octets: usize) -> Packet<'static> {
    Packet { payload: &DATA[..octets], ..packet }
}

#[test]
fn connection_states_and_histories_are_zeek_s() {
    let syn = there(SYN, 100, 0);
    let answer = back(SYN | ACK, 500, 101);
    let ack = there(ACK, 101, 501);
    let request = with_data(there(PSH | ACK, 101, 501), 10);
    let reply = with_data(back(PSH | ACK, 501, 111), 20);
    let fin = there(FIN | ACK, 111, 521);
    let early_fin = there(FIN | ACK, 101, 501);
    let fin_back = back(FIN | ACK, 521, 112);
    let last = there(ACK, 112, 522);
    for (segments, state, history) in [
        (&[syn][..], "S0", "S"),
        (&[syn, syn], "S0", "S"),
        (&[syn, there(SYN, 900, 0)], "S0", "SS"),
        (&[syn, back(RST | ACK, 0, 101)], "REJ", "Sr"),
        (&[syn, answer], "S1", "Sh"),
        (&[syn, answer, ack], "S1", "ShA"),
        (&[syn, answer, ack, request, reply], "S1", "ShADd"),
        (&[syn, answer, ack, request, back(ACK, 501, 111), reply, fin, fin_back, last], "SF", "ShADadFf"),
        (&[syn, answer, ack, early_fin], "S2", "ShAF"),
        (&[syn, answer, ack, back(FIN | ACK, 501, 101)], "S3", "ShAf"),
        (&[syn, answer, ack, there(RST, 101, 0)], "RSTO", "ShAR"),
        (&[syn, answer, ack, back(RST, 501, 0)], "RSTR", "ShAr"),
        (&[syn, answer, ack, back(RST, 501, 0), back(RST, 501, 0)], "RSTR", "ShAr"),
        (&[syn, answer, ack, back(RST, 501, 0), back(RST, 777, 0)], "RSTR", "ShArr"),
        (&[syn, there(RST, 101, 0)], "RSTOS0", "SR"),
        (&[answer, back(RST, 501, 0)], "RSTRH", "^hr"),
        (&[answer, ack], "S1", "^hA"),
        (&[syn, there(FIN, 101, 0)], "SH", "SF"),
        (&[answer, back(FIN, 501, 0)], "SHR", "^hf"),
        (&[request, reply], "OTH", "Dd"),
        (&[syn, there(FIN | RST, 101, 0)], "RSTOS0", "SI"),
        (&[there(SYN | FIN, 100, 0)], "SH", "Q"),
        // FIN, then RST, then the other's FIN: an end in order after all.
        (&[syn, answer, ack, early_fin, there(RST, 102, 0), back(FIN | ACK, 501, 102)], "SF", "ShAFRf"),
    ] {
        assert_eq!(told(segments), (state, history.to_owned()), "{history}");
    }
}

#[test]
fn letters_that_count_come_at_powers_of_ten() {
    let mut bench = connected();
    for number in 0..100 {
        bench.see(&data(CLIENT, SERVER, 101, 501, 10), 20 + number);
    }
    // The first of them is new; ninety-nine repeat it.
    let slot = bench.see(&there(ACK, 111, 501), 190).slot;
    let record = bench.table.flow(slot).to_record(EndReason::ForcedEnd);
    assert_eq!(words(&record), ("S1", "ShADTT".to_owned()));
    bench.see(&data(CLIENT, SERVER, 101, 501, 10), 200);
    let record = bench.only();
    assert_eq!(words(&record), ("S1", "ShADTTT".to_owned()));
    assert_eq!(record.features.forward.trouble.retransmitted, 100);
}

#[test]
fn letters_written_before_the_ends_changed_places_change_their_case() {
    let history =
        told(&[with_data(back(PSH | ACK, 501, 101), 5), there(ACK, 101, 506), there(SYN, 100, 0)]).1;
    assert_eq!(history, "dA^S");
}

#[test]
fn udp_s_history_says_who_sent() {
    let mut bench = Bench::new();
    bench.see(&udp(CLIENT, SERVER), 0);
    bench.see(&udp(SERVER, CLIENT), 0);
    bench.see(&udp((CLIENT.0, 1), SERVER), 0);
    bench.see(&icmp(CLIENT.0, SERVER.0, 1, 8, 0), 0);
    bench.drain();
    let told = |record: &FlowRecord| {
        (record.features.connection.unwrap().name(), record.history().as_str().to_owned())
    };
    let all: Vec<_> = bench.records.iter().map(told).collect();
    assert_eq!(all, [("SF", "Dd".to_owned()), ("S0", "D".to_owned()), ("OTH", String::new())]);
}

#[test]
fn round_trips_are_the_handshake_s() {
    let features = connected().only().features;
    assert_eq!((features.server_rtt_us, features.client_rtt_us), (Some(10_000), Some(2000)));
    assert_eq!(features.rtt_us(), Some(12_000));
    assert_eq!((features.forward.initial_window, features.reverse.initial_window), (1000, 1000));
}

#[test]
fn a_repeated_syn_begins_the_round_trip_anew_and_a_repeated_answer_makes_it_unknown() {
    let mut bench = Bench::new();
    bench.see(&there(SYN, 100, 0), 0);
    bench.see(&there(SYN, 100, 0), 1000);
    bench.see(&back(SYN | ACK, 500, 101), 1010);
    bench.see(&back(SYN | ACK, 500, 101), 2000);
    bench.see(&there(ACK, 101, 501), 2001);
    let record = bench.only();
    let features = &record.features;
    assert_eq!((features.server_rtt_us, features.client_rtt_us), (Some(10_000), None));
    assert_eq!((features.forward.trouble.retransmitted, features.reverse.trouble.retransmitted), (1, 1));
}

#[test]
fn what_is_no_handshake_has_no_round_trip() {
    let rtt = |segments: &[(Packet<'_>, u64)]| {
        let mut bench = Bench::new();
        segments.iter().for_each(|(segment, millis)| {
            bench.see(segment, *millis);
        });
        let features = bench.only().features;
        (features.server_rtt_us, features.client_rtt_us)
    };
    let (syn, answer) = (there(SYN, 100, 0), back(SYN | ACK, 500, 101));
    assert_eq!(rtt(&[(syn, 0), (back(SYN | ACK, 500, 102), 5)]), (None, None));
    assert_eq!(rtt(&[(answer, 0), (there(ACK, 101, 501), 5)]), (None, None));
    // The handshake's ACK was not captured: a later one says nothing about the way.
    assert_eq!(rtt(&[(syn, 0), (answer, 5), (there(ACK, 101, 900), 900)]), (Some(5000), None));
    assert_eq!(rtt(&[(syn, 0), (answer, 5), (there(FIN | ACK, 101, 501), 900)]), (Some(5000), None));
    // A file may have its packets out of order.
    assert_eq!(rtt(&[(syn, 5), (answer, 4)]), (None, None));
}

/// Trouble of both directions after the handshake and these packets.
fn trouble(packets: &[(Packet<'_>, u64)]) -> (TcpTrouble, TcpTrouble) {
    let mut bench = connected();
    packets.iter().for_each(|(packet, millis)| {
        bench.see(packet, *millis);
    });
    let features = bench.only().features;
    (features.forward.trouble, features.reverse.trouble)
}

#[test]
fn data_that_comes_again_is_a_retransmission_and_data_that_goes_on_is_not() {
    let first = data(CLIENT, SERVER, 101, 501, 100);
    let next = data(CLIENT, SERVER, 201, 501, 100);
    assert_eq!(trouble(&[(first, 20), (next, 21)]).0, TcpTrouble::NONE);
    assert_eq!(trouble(&[(first, 20), (first, 21)]).0.retransmitted, 1);
    assert_eq!(trouble(&[(first, 20), (next, 21), (first, 22), (next, 23)]).0.retransmitted, 2);
    // A segment that repeats something and goes on.
    assert_eq!(
        trouble(&[(first, 20), (data(CLIENT, SERVER, 151, 501, 100), 21), (next, 22)]).0.retransmitted,
        2
    );
}

#[test]
fn what_fills_a_hole_soon_is_out_of_order_and_late_a_retransmission() {
    let hole = data(CLIENT, SERVER, 101, 501, 100);
    let behind = data(CLIENT, SERVER, 201, 501, 100);
    // The handshake took 12 ms.
    let soon = trouble(&[(behind, 20), (hole, 31)]).0;
    assert_eq!((soon.out_of_order, soon.retransmitted), (1, 0));
    let late = trouble(&[(behind, 20), (hole, 32)]).0;
    assert_eq!((late.out_of_order, late.retransmitted), (0, 1));
    // Filled, it is no hole any more.
    let twice = trouble(&[(behind, 20), (hole, 21), (hole, 22)]).0;
    assert_eq!((twice.out_of_order, twice.retransmitted), (1, 1));
    // In two parts.
    let parts =
        [(behind, 20), (data(CLIENT, SERVER, 101, 501, 50), 21), (data(CLIENT, SERVER, 151, 501, 50), 22)];
    assert_eq!(trouble(&parts).0.out_of_order, 2);
}

#[test]
fn sequence_numbers_wrap_around_without_trouble() {
    let mut bench = Bench::new();
    let begin = u32::MAX - 149;
    bench.see(&there(SYN, begin.wrapping_sub(1), 0), 0);
    bench.see(&back(SYN | ACK, 500, begin), 1);
    for number in 0..4u32 {
        bench.see(&data(CLIENT, SERVER, begin.wrapping_add(number * 100), 501, 100), 2);
    }
    bench.see(&data(CLIENT, SERVER, begin.wrapping_add(100), 501, 100), 100);
    let record = bench.only();
    assert_eq!(record.features.forward.trouble, TcpTrouble { retransmitted: 1, ..TcpTrouble::NONE });
}

#[test]
fn keep_alives_and_their_answers_are_no_trouble() {
    let packets = [
        (data(CLIENT, SERVER, 101, 501, 10), 20),
        (back(ACK, 501, 111), 21),
        (there(ACK, 110, 501), 1000),
        (back(ACK, 501, 111), 1001),
        (data(CLIENT, SERVER, 110, 501, 1), 2000),
        (back(ACK, 501, 111), 2001),
    ];
    assert_eq!(trouble(&packets), (TcpTrouble::NONE, TcpTrouble::NONE));
    // Two octets are not a keep-alive.
    assert_eq!(trouble(&[packets[0], (data(CLIENT, SERVER, 109, 501, 2), 30)]).0.retransmitted, 1);
}

#[test]
fn a_duplicate_acknowledgement_repeats_number_and_window_without_data() {
    let ack = back(ACK, 501, 101);
    let Transport::Tcp(tcp) = ack.transport else { unreachable!() };
    let other_window = Packet { transport: Transport::Tcp(Tcp { window: 999, ..tcp }), ..ack };
    let sent = data(CLIENT, SERVER, 101, 501, 10);
    assert_eq!(trouble(&[(sent, 20), (ack, 21), (ack, 22), (ack, 23)]).1.duplicate_acks, 3);
    assert_eq!(trouble(&[(sent, 20), (ack, 21), (back(ACK, 501, 111), 22)]).1.duplicate_acks, 1);
    assert_eq!(trouble(&[(sent, 20), (ack, 21), (other_window, 22)]).1.duplicate_acks, 1);
    assert_eq!(trouble(&[(sent, 20), (with_data(ack, 5), 21)]).1.duplicate_acks, 0);
}

#[test]
fn a_window_of_zero_counts_but_not_in_a_reset() {
    let closed = |flags: u16| {
        let packet = back(flags, 501, 101);
        let Transport::Tcp(tcp) = packet.transport else { unreachable!() };
        Packet { transport: Transport::Tcp(Tcp { window: 0, ..tcp }), ..packet }
    };
    assert_eq!(trouble(&[(closed(ACK), 20), (closed(ACK), 21)]).1.zero_windows, 2);
    assert_eq!(trouble(&[(closed(RST), 20)]).1.zero_windows, 0);
}

#[test]
fn what_was_acknowledged_and_not_seen_is_missed_once() {
    let ack = |number: u32| back(ACK, 501, number);
    let behind = data(CLIENT, SERVER, 201, 501, 100);
    assert_eq!(trouble(&[(ack(201), 20)]).0.missed_octets, 100);
    assert_eq!(trouble(&[(ack(201), 20), (ack(201), 21), (ack(211), 22)]).0.missed_octets, 110);
    assert_eq!(trouble(&[(behind, 20), (ack(101), 21)]).0.missed_octets, 0);
    assert_eq!(trouble(&[(behind, 20), (ack(151), 21)]).0.missed_octets, 50);
    assert_eq!(trouble(&[(behind, 20), (ack(301), 21), (ack(301), 22)]).0.missed_octets, 100);
    let mut bench = connected();
    bench.see(&ack(201), 20);
    assert_eq!(bench.only().features.history.as_str(), "ShAaG");
}

#[test]
fn a_connection_seen_from_its_middle_or_from_one_side_begins_with_what_is_seen() {
    let mut bench = Bench::new();
    for number in 0..3 {
        bench.see(&data(CLIENT, SERVER, 1000 + number * 10, 501, 10), u64::from(number));
    }
    bench.see(&data(CLIENT, SERVER, 1000, 501, 10), 50);
    let record = bench.only();
    assert_eq!(words(&record), ("OTH", "DT".to_owned()));
    assert_eq!(record.features.forward.trouble, TcpTrouble { retransmitted: 1, ..TcpTrouble::NONE });
    assert_eq!(record.features.reverse, DirectionFeatures::EMPTY);
}

#[test]
fn a_cut_capture_counts_the_octets_that_the_header_declares() {
    let cut = Packet { payload_missing: 90, is_cut: true, ..data(CLIENT, SERVER, 101, 501, 10) };
    let next = data(CLIENT, SERVER, 201, 501, 10);
    assert_eq!(trouble(&[(cut, 20), (next, 21)]).0, TcpTrouble::NONE);
}

/// A UDP packet of so many octets, of which all but 28 are payload.
fn sized(source: End, destination: End, octets: u32) -> Packet<'static> {
    let packet = udp(source, destination);
    let payload = &DATA[..(octets as usize).saturating_sub(28)];
    Packet { ip: Ip { octets, ..packet.ip }, payload, ..packet }
}

#[test]
fn sizes_and_gaps_are_the_same_whether_they_fit_beside_the_flow_or_not() {
    // Four packets lie with the flow; the fifth takes them elsewhere.
    for count in [1u64, 2, 3, 4, 5, 6, 40] {
        let mut bench = Bench::new();
        for number in 0..count {
            bench.see(&sized(CLIENT, SERVER, 100 + number as u32), number * number);
        }
        bench.see(&sized(SERVER, CLIENT, 50), 1);
        let record = bench.only();
        let (forward, reverse) = (&record.features.forward, &record.features.reverse);
        assert!(record.features.has_statistics);
        assert_eq!((forward.octets_min, u64::from(forward.octets_max)), (100, 99 + count), "{count}");
        assert_eq!(forward.octets_squared, (0..count).map(|n| (100 + n) * (100 + n)).sum::<u64>());
        let gaps: Vec<u64> = (1..count).map(|n| 1000 * (2 * n - 1)).collect();
        let (least, most) = (gaps.first().copied().unwrap_or(0), gaps.last().copied().unwrap_or(0));
        assert_eq!((u64::from(forward.gap_min_us), u64::from(forward.gap_max_us)), (least, most), "{count}");
        assert_eq!(forward.gap_sum_us, gaps.iter().sum::<u64>());
        assert_eq!(forward.gap_squared_us2, gaps.iter().map(|gap| gap * gap).sum::<u64>());
        assert_eq!((reverse.octets_min, reverse.octets_max, reverse.gap_sum_us), (50, 50, 0));
    }
}

#[test]
fn first_packets_are_listed_with_length_time_flags_and_direction() {
    let mut bench = connected();
    bench.see(&data(CLIENT, SERVER, 101, 501, 100), 20);
    bench.see(&back(ACK, 501, 201), 21);
    bench.see(&data(SERVER, CLIENT, 501, 201, 3000), 30);
    let record = bench.only();
    let told: Vec<_> = record
        .features
        .first_packets
        .iter()
        .map(|packet| (packet.time_us, packet.payload, packet.tcp_flags, packet.direction))
        .collect();
    assert_eq!(told, [(20_000, 100, 0x18, Direction::Forward), (30_000, 3000, 0x18, Direction::Reverse)]);
}

#[test]
fn as_many_packets_are_listed_as_configured_with_or_without_empty_ones() {
    let listed = |packets: u16, empty: bool, seen: u32| {
        let config = FlowConfig {
            splt_packets: packets,
            splt_empty_packets: empty,
            flows_max: 10,
            ..FlowConfig::default()
        };
        let mut bench = Bench::of(&config, 10);
        for number in 0..seen {
            bench.see(&sized(CLIENT, SERVER, if number % 2 == 0 { 28 } else { 100 }), u64::from(number));
        }
        bench.only().features.first_packets.len()
    };
    for (packets, empty, seen, want) in [
        (0, true, 3, 0),
        (0, true, 30, 0),
        (1, true, 4, 1),
        (3, true, 4, 3),
        (3, true, 30, 3),
        (3, false, 4, 2),
        (50, true, 4, 4),
        (50, true, 49, 49),
        (50, true, 50, 50),
        (50, true, 51, 50),
        (50, false, 51, 25),
        (50, false, 101, 50),
        (u16::MAX, true, 600, 512),
    ] {
        assert_eq!(listed(packets, empty, seen), want, "{packets} {empty} {seen}");
    }
}

#[test]
fn statistics_can_be_switched_off() {
    let config = FlowConfig { statistics: false, splt_packets: 0, entropy_bytes: 0, ..FlowConfig::default() };
    for seen in [3, 30] {
        let mut bench = Bench::of(&config, 10);
        (0..seen).for_each(|number| {
            bench.see(&sized(CLIENT, SERVER, 100), number);
        });
        let features = bench.only().features;
        assert!(!features.has_statistics && features.first_packets.is_empty());
        assert_eq!(features.forward, DirectionFeatures::EMPTY);
    }
}

#[test]
fn a_packet_from_before_the_first_moves_the_times_of_the_others() {
    for count in [3u64, 30] {
        let mut bench = Bench::new();
        (0..count).for_each(|number| {
            bench.see(&sized(CLIENT, SERVER, 100), 1000 + number);
        });
        bench.see(&sized(SERVER, CLIENT, 100), 900);
        let record = bench.only();
        let packets = &record.features.first_packets;
        assert_eq!((packets[0].time_us, packets[1].time_us), (100_000, 101_000));
        assert_eq!(packets.last().unwrap().time_us, 0);
        assert_eq!(record.features.forward.gap_max_us, 1000);
    }
}

#[test]
fn a_slice_counts_anew_and_the_connection_goes_on() {
    let config = FlowConfig { active_timeout_ms: 1000, ..FlowConfig::default() };
    let mut bench = Bench::of(&config, 10);
    bench.see(&there(SYN, 100, 0), 0);
    bench.see(&back(SYN | ACK, 500, 101), 10);
    for number in 0..10 {
        bench.see(&data(CLIENT, SERVER, 101, 501, 10), 20 + number);
    }
    bench.see(&data(CLIENT, SERVER, 111, 501, 20), 1500);
    bench.drain();
    let [first, second] = &bench.records[..] else { panic!() };
    assert_eq!((first.features.forward.trouble.retransmitted, first.features.first_packets.len()), (9, 10));
    assert_eq!(second.features.forward.trouble, TcpTrouble::NONE);
    assert_eq!(second.features.first_packets.len(), 1);
    assert_eq!((second.features.first_packets[0].time_us, second.features.first_packets[0].payload), (0, 20));
    assert_eq!(words(second), ("S1", "ShDT".to_owned()));
    assert_eq!(second.features.server_rtt_us, Some(10_000));
}

#[test]
fn memory_is_bounded_given_back_and_what_has_no_room_is_counted() {
    let config = FlowConfig { features_bytes_max: 1200, flows_max: 100, ..FlowConfig::default() };
    let mut bench = Bench::of(&config, 100);
    for flow in 0..10 {
        for number in 0..60 {
            bench.see(&sized((CLIENT.0, flow), SERVER, 100), number);
        }
        assert!(bench.table.room.used_bytes() <= 1200);
    }
    bench.drain();
    assert_eq!(bench.table.room.used_bytes(), 0);
    assert!(bench.table.counters().features_refused > 0);
    let known = bench.records.iter().filter(|record| record.features.has_statistics).count();
    assert!((1..10).contains(&known), "{known}");
    // What was noted before is told all the same.
    let without = bench.records.iter().find(|record| !record.features.has_statistics).unwrap();
    assert_eq!((without.features.first_packets.len(), without.features.forward.octets_max), (4, 0));
}

#[test]
fn entropy_tells_text_from_ciphertext() {
    let all: &'static [u8] = Box::leak((0..=255u8).collect::<Vec<_>>().into_boxed_slice());
    let mut bench = Bench::new();
    bench.see(&Packet { payload: all, ..udp(CLIENT, SERVER) }, 0);
    bench.see(&Packet { payload: &DATA[..300], ..udp(SERVER, CLIENT) }, 0);
    let features = bench.only().features;
    assert_eq!(features.forward.entropy_bits(), Some(8.0));
    assert_eq!(features.reverse.entropy_bits(), Some(0.0));
}

/// The record of frames on Ethernet.
fn of_frames(frames: &[&[u8]]) -> FlowRecord {
    let mut bench = Bench::new();
    let mut counters = DecodeCounters::default();
    for data in frames {
        let frame = Frame {
            time: Timestamp(1),
            link: LinkType::ETHERNET,
            interface: 0,
            wire_len: data.len() as u32,
            data,
        };
        let Parsed::Packet(packet) = parse(&frame, Default::default(), &mut counters) else { panic!() };
        bench.see(&packet, 1);
    }
    bench.only()
}

/// A UDP packet with nothing in it between two hosts.
fn ip(from: u8, to: u8) -> [u8; 28] {
    #[rustfmt::skip]
    let bytes = [
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to,
        0, from, 0, to, 0, 8, 0, 0,
    ];
    bytes
}

#[test]
fn link_addresses_are_those_of_each_direction_s_first_packet() {
    let (a, b, c) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]);
    let frame = |to: [u8; 6], from: [u8; 6], packet: [u8; 28]| [&to[..], &from, &[8, 0], &packet].concat();
    let there = frame(b, a, ip(1, 2));
    for (back, want) in [(frame(a, b, ip(2, 1)), (b, a)), (frame(a, c, ip(2, 1)), (c, a))] {
        let features = of_frames(&[&there, &back, &frame(c, c, ip(1, 2))]).features;
        assert_eq!((features.forward.source_mac, features.forward.destination_mac), (a, b));
        assert_eq!((features.reverse.source_mac, features.reverse.destination_mac), want);
    }
}

#[test]
fn mpls_labels_are_those_of_the_top_of_the_stack() {
    let labels = |count: u8| {
        let stack: Vec<u8> = (1..=count).flat_map(|n| [0, 1, n << 4 | u8::from(n == count), 64]).collect();
        let head = [&[2; 12][..], &[0x81, 0, 0, 5, 0x88, 0x47]].concat();
        of_frames(&[&[&head[..], &stack, &ip(1, 2)].concat()]).features.mpls.map(|entry| entry >> 4)
    };
    assert_eq!(labels(1), [0x11, 0, 0]);
    assert_eq!(labels(2), [0x11, 0x12, 0]);
    assert_eq!(labels(4), [0x11, 0x12, 0x13]);
}
