//! Handshakes, ends, and ports that are used again.

use super::*;
use tcp_flags::{ACK, FIN, PSH, RST, SYN};

/// A connection from the client's sequence number 100 and the server's 500, up to the handshake's end.
fn connected() -> Bench {
    let mut bench = Bench::new();
    bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 0);
    bench.see(&segment(SERVER, CLIENT, SYN | ACK, 500, 101), 1);
    bench.see(&segment(CLIENT, SERVER, ACK, 101, 501), 2);
    bench
}

fn data(source: End, destination: End, sequence: u32, ack: u32) -> Packet<'static> {
    Packet { payload: b"0123456789", ..segment(source, destination, PSH | ACK, sequence, ack) }
}

fn state(bench: &mut Bench, packet: &Packet<'_>, millis: u64) -> FlowState {
    let slot = bench.see(packet, millis).slot;
    bench.table.flow(slot).state()
}

#[test]
fn a_handshake_establishes_and_both_fins_acknowledged_close() {
    let mut bench = Bench::new();
    assert_eq!(state(&mut bench, &segment(CLIENT, SERVER, SYN, 100, 0), 0), FlowState::New);
    assert_eq!(state(&mut bench, &segment(SERVER, CLIENT, SYN | ACK, 500, 101), 1), FlowState::New);
    assert_eq!(state(&mut bench, &segment(CLIENT, SERVER, ACK, 101, 501), 2), FlowState::Established);
    bench.see(&data(CLIENT, SERVER, 101, 501), 3);
    let fin = Packet { payload: b"bye", ..segment(SERVER, CLIENT, FIN | ACK, 501, 111) };
    assert_eq!(state(&mut bench, &fin, 4), FlowState::Established);
    // An acknowledgement of the data is not one of the FIN behind it.
    assert_eq!(state(&mut bench, &segment(CLIENT, SERVER, ACK, 111, 504), 5), FlowState::Established);
    assert_eq!(state(&mut bench, &segment(CLIENT, SERVER, FIN | ACK, 111, 505), 6), FlowState::Established);
    assert_eq!(state(&mut bench, &segment(SERVER, CLIENT, ACK, 505, 112), 7), FlowState::Closed);
    let record = bench.only();
    assert_eq!(record.end_reason, EndReason::EndOfFlow);
    assert_eq!(record.forward.tcp_flags, SYN | ACK | PSH | FIN);
    assert_eq!(record.reverse.tcp_flags, SYN | ACK | FIN);
}

#[test]
fn sequence_numbers_wrap_around() {
    let mut bench = connected();
    bench.see(&segment(SERVER, CLIENT, FIN | ACK, u32::MAX, 101), 3);
    bench.see(&segment(CLIENT, SERVER, FIN | ACK, 101, 0), 4);
    assert_eq!(state(&mut bench, &segment(SERVER, CLIENT, ACK, 0, 102), 5), FlowState::Closed);
}

#[test]
fn a_reset_closes() {
    let mut bench = Bench::new();
    bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 0);
    assert_eq!(state(&mut bench, &segment(SERVER, CLIENT, RST | ACK, 0, 101), 1), FlowState::Closed);
    assert_eq!(bench.only().end_reason, EndReason::EndOfFlow);
}

#[test]
fn data_from_the_end_that_reset_shows_that_the_reset_was_forged() {
    let mut bench = connected();
    assert_eq!(state(&mut bench, &segment(SERVER, CLIENT, RST, 501, 0), 3), FlowState::Closed);
    assert_eq!(state(&mut bench, &data(CLIENT, SERVER, 101, 501), 4), FlowState::Closed);
    assert_eq!(state(&mut bench, &segment(SERVER, CLIENT, ACK, 501, 111), 5), FlowState::Closed);
    assert_eq!(state(&mut bench, &data(SERVER, CLIENT, 501, 111), 6), FlowState::Established);
    // It is on the long timeout again.
    bench.expire(30_000);
    assert_eq!(bench.only().end_reason, EndReason::ForcedEnd);
}

#[test]
fn a_connection_seen_from_its_middle_is_established_when_both_acknowledge() {
    let mut bench = Bench::new();
    assert_eq!(state(&mut bench, &data(SERVER, CLIENT, 501, 101), 0), FlowState::New);
    assert_eq!(state(&mut bench, &data(CLIENT, SERVER, 101, 511), 0), FlowState::Established);
    assert_eq!(bench.only().key.initiator, SERVER.0.parse().unwrap());
}

#[test]
fn one_side_alone_stays_new() {
    let mut bench = Bench::new();
    bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 0);
    bench.see(&segment(CLIENT, SERVER, ACK, 101, 501), 1);
    assert_eq!(state(&mut bench, &data(CLIENT, SERVER, 101, 501), 2), FlowState::New);
}

#[test]
fn a_syn_with_ack_seen_first_shows_who_was_called() {
    let mut bench = Bench::new();
    let seen = bench.see(&segment(SERVER, CLIENT, SYN | ACK, 500, 101), 0);
    assert_eq!((seen.direction, seen.is_flipped), (Direction::Reverse, true));
    let record = bench.only();
    assert_eq!(record.key.initiator, CLIENT.0.parse().unwrap());
    assert_eq!((record.forward.packets, record.reverse.packets), (0, 1));
}

#[test]
fn a_syn_seen_late_turns_the_flow_round_once() {
    let mut bench = Bench::new();
    bench.see(&data(SERVER, CLIENT, 501, 101), 0);
    bench.see(&segment(CLIENT, SERVER, ACK, 101, 511), 0);
    let seen = bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 0);
    assert_eq!((seen.direction, seen.is_flipped, seen.is_new), (Direction::Forward, true, false));
    // The first SYN decides: neither a SYN with ACK nor a SYN from the other end changes it again.
    for flags in [SYN | ACK, SYN] {
        let seen = bench.see(&segment(CLIENT, SERVER, flags, 100, 0), 0);
        assert_eq!((seen.direction, seen.is_flipped), (Direction::Forward, false));
    }
    assert!(!bench.see(&segment(SERVER, CLIENT, SYN, 100, 0), 0).is_flipped);
    let record = bench.only();
    assert_eq!(record.key.initiator, CLIENT.0.parse().unwrap());
    assert_eq!((record.forward.packets, record.reverse.packets), (4, 2));
}

#[test]
fn what_is_served_turns_a_flow_round_unless_a_handshake_was_seen() {
    let mut bench = Bench::new();
    let slot = bench.see(&data(SERVER, CLIENT, 501, 101), 0).slot;
    assert!(bench.table.flip(slot));
    assert_eq!(bench.see(&segment(CLIENT, SERVER, ACK, 101, 511), 0).direction, Direction::Forward);
    let record = bench.only();
    assert_eq!(record.key.initiator, CLIENT.0.parse().unwrap());
    assert_eq!((record.forward.packets, record.reverse.packets), (1, 1));
    let mut bench = Bench::new();
    let slot = bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 0).slot;
    assert!(!bench.table.flip(slot));
}

#[test]
fn a_packet_that_closes_or_opens_again_is_a_turn() {
    let mut bench = connected();
    assert!(bench.see(&segment(SERVER, CLIENT, RST, 511, 0), 1).is_turn);
    assert!(!bench.see(&segment(SERVER, CLIENT, RST, 511, 0), 2).is_turn);
    assert!(bench.see(&data(SERVER, CLIENT, 511, 101), 3).is_turn);
}

#[test]
fn a_syn_overrules_a_syn_with_ack() {
    let mut bench = Bench::new();
    bench.see(&segment(SERVER, CLIENT, SYN | ACK, 500, 101), 0);
    assert!(bench.see(&segment(SERVER, CLIENT, SYN, 500, 0), 0).is_flipped);
    assert_eq!(bench.only().key.initiator, SERVER.0.parse().unwrap());
}

#[test]
fn a_new_syn_on_a_closed_flow_begins_another() {
    let mut bench = connected();
    bench.see(&segment(SERVER, CLIENT, RST, 501, 0), 3);
    // The same SYN once more, or one that resets as well, belongs to the old one.
    assert!(!bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 4).is_new);
    assert!(!bench.see(&segment(CLIENT, SERVER, SYN | RST, 900, 0), 5).is_new);
    assert!(bench.see(&segment(CLIENT, SERVER, SYN, 900, 0), 6).is_new);
    assert_eq!(bench.reasons(), [EndReason::EndOfFlow]);
    let slot = bench.see(&segment(SERVER, CLIENT, SYN | ACK, 700, 901), 7).slot;
    assert_eq!(bench.table.flow(slot).state(), FlowState::New);
    bench.drain();
    assert_ne!(bench.records[0].flow_id, bench.records[1].flow_id);
    assert_eq!(bench.records[0].community_id, bench.records[1].community_id);
}

#[test]
fn a_new_syn_on_an_open_flow_begins_another_only_after_ten_quiet_seconds() {
    for (millis, is_new) in [(10_001, false), (10_002, true)] {
        let mut bench = connected();
        assert_eq!(bench.see(&segment(CLIENT, SERVER, SYN, 900, 0), millis).is_new, is_new, "{millis}");
    }
    // A repeated SYN never does.
    let mut bench = Bench::new();
    bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 0);
    assert!(!bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 30_000).is_new);
}

#[test]
fn the_end_of_a_segment_in_fragments_is_taken_from_the_whole() {
    let mut bench = connected();
    let fin = segment(SERVER, CLIENT, FIN | ACK, 501, 101);
    bench.see(&Packet { is_partial: true, ..fin }, 3);
    bench.see(&Packet { payload: &[0; 50], ..fin }, 3);
    bench.see(&segment(CLIENT, SERVER, FIN | ACK, 101, 502), 4);
    assert_eq!(state(&mut bench, &segment(SERVER, CLIENT, ACK, 552, 102), 5), FlowState::Established);
    assert_eq!(state(&mut bench, &segment(CLIENT, SERVER, ACK, 102, 552), 6), FlowState::Closed);
}

#[test]
fn fragments_without_the_header_count_for_their_connection() {
    let mut bench = connected();
    let ports = Transport::Ports { source: CLIENT.1, destination: SERVER.1 };
    let seen = bench.see(&Packet { is_partial: true, ..packet(6, CLIENT, SERVER, ports) }, 3);
    assert!(!seen.is_new);
    assert_eq!(bench.only().forward.packets, 3);
}
