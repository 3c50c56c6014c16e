//! When flows end, from both sides of each border, and who goes first.

use super::*;
use tcp_flags::{ACK, RST, SYN};

/// The client's port tells which flow of a test a record is of.
fn ports(bench: &Bench) -> Vec<u16> {
    bench.records.iter().map(|record| record.key.initiator_port).collect()
}

fn flow(number: u16) -> Packet<'static> {
    udp((CLIENT.0, number), SERVER)
}

#[test]
fn an_idle_flow_ends_at_the_timeout_and_not_before() {
    let mut bench = Bench::new();
    bench.see(&flow(1), 1000);
    bench.expire(60_999);
    assert_eq!(bench.records, []);
    bench.expire(61_000);
    assert_eq!(bench.reasons(), [EndReason::IdleTimeout]);
    assert_eq!((bench.table.counters().ended_idle, bench.table.counters().active), (1, 0));
    assert_eq!(bench.records[0].end.millis(), 1000);
}

#[test]
fn the_last_packet_counts_even_when_it_came_soon_after_another() {
    let mut bench = Bench::new();
    bench.see(&flow(1), 1000);
    // Within the granule of the queue, which does not notice.
    bench.see(&flow(1), 1050);
    bench.expire(61_049);
    assert_eq!(bench.records, []);
    bench.expire(61_050);
    assert_eq!(ports(&bench), [1]);
}

#[test]
fn a_packet_after_the_timeout_begins_a_new_flow_though_expire_never_came_by() {
    for (millis, is_new) in [(59_999, false), (60_000, true)] {
        let mut bench = Bench::new();
        bench.see(&flow(1), 0);
        assert_eq!(bench.see(&flow(1), millis).is_new, is_new, "{millis}");
        assert_eq!(bench.table.counters().ended_idle, u64::from(is_new));
    }
}

#[test]
fn a_closed_connection_ends_at_its_own_timeout() {
    let mut bench = Bench::new();
    bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 0);
    bench.see(&segment(SERVER, CLIENT, RST | ACK, 0, 101), 10);
    bench.expire(5_009);
    assert_eq!(bench.records.len(), 0);
    bench.expire(5_010);
    assert_eq!(bench.reasons(), [EndReason::EndOfFlow]);
    assert_eq!(bench.table.counters().ended_closed, 1);
}

#[test]
fn a_straggler_keeps_a_closed_connection_and_one_after_the_timeout_does_not() {
    for (millis, is_new) in [(5_009, false), (5_010, true)] {
        let mut bench = Bench::new();
        bench.see(&segment(CLIENT, SERVER, SYN, 100, 0), 0);
        bench.see(&segment(SERVER, CLIENT, RST | ACK, 0, 101), 10);
        assert_eq!(bench.see(&segment(CLIENT, SERVER, ACK, 101, 1), millis).is_new, is_new, "{millis}");
    }
}

#[test]
fn a_long_flow_is_told_in_slices_that_share_its_identity() {
    let mut bench = Bench::new();
    for second in (0..=600).step_by(50) {
        bench.see(&flow(1), second * 1000);
        bench.expire(second * 1000);
    }
    bench.see(&udp(SERVER, (CLIENT.0, 1)), 600_001);
    bench.drain();
    assert_eq!(bench.reasons(), [EndReason::ActiveTimeout, EndReason::ActiveTimeout, EndReason::ForcedEnd]);
    let slices: Vec<_> = bench
        .records
        .iter()
        .map(|r| (r.start.seconds(), r.end.seconds(), r.forward.packets, r.reverse.packets, r.flow_id))
        .collect();
    let id = bench.records[0].flow_id;
    assert_eq!(slices, [(0, 250, 6, 0, id), (300, 550, 6, 0, id), (600, 600, 1, 1, id)]);
    assert_eq!((bench.table.counters().created, bench.table.counters().ended_active), (1, 2));
}

#[test]
fn the_active_timeout_is_exact() {
    for (millis, slices) in [(299_999, 0), (300_000, 1)] {
        let mut bench = Bench::new();
        for step in 0..6 {
            bench.see(&flow(1), step * 50_000);
        }
        bench.see(&flow(1), millis);
        assert_eq!(bench.table.counters().ended_active, slices, "{millis}");
    }
}

#[test]
fn a_slice_keeps_the_connections_state() {
    let config = FlowConfig { active_timeout_ms: 1000, ..FlowConfig::default() };
    let mut bench = Bench::of(&config, 10);
    bench.see(&flow(1), 0);
    bench.see(&udp(SERVER, (CLIENT.0, 1)), 1);
    bench.see(&flow(1), 1500);
    bench.drain();
    assert_eq!(bench.records[1].state, FlowState::Established);
    assert_eq!(bench.records[1].reverse.packets, 0);
}

#[test]
fn that_a_connection_begun_is_known_in_each_of_its_slices() {
    let config = FlowConfig { active_timeout_ms: 1000, ..FlowConfig::default() };
    for (flags, has_begun) in [(SYN, true), (ACK, false)] {
        let mut bench = Bench::of(&config, 10);
        let slot = bench.see(&segment(CLIENT, SERVER, flags, 1, 0), 0).slot;
        for millis in [0, 1500, 3000] {
            let seen = bench.see(&segment(CLIENT, SERVER, ACK, 2, 1), millis);
            assert_eq!(seen.slot, slot);
            assert_eq!(bench.table.flow_mut(slot).has_begun(), has_begun, "{millis}");
        }
        assert_eq!(bench.table.counters().ended_active, 2);
    }
}

#[test]
fn a_full_table_lets_the_least_recently_seen_go() {
    let mut bench = Bench::of(&FlowConfig::default(), 3);
    for (number, millis) in [(1, 0), (2, 200), (3, 400), (1, 600), (4, 800), (5, 1000)] {
        bench.see(&flow(number), millis);
        assert!(bench.table.len() <= 3);
    }
    assert_eq!(ports(&bench), [2, 3]);
    assert_eq!(bench.reasons(), [EndReason::LackOfResources; 2]);
    assert_eq!(bench.table.counters().ended_full, 2);
    bench.drain();
    assert_eq!(ports(&bench), [2, 3, 1, 4, 5]);
}

#[test]
fn a_full_table_lets_a_closed_connection_go_first() {
    let mut bench = Bench::of(&FlowConfig::default(), 2);
    bench.see(&flow(1), 0);
    bench.see(&segment(CLIENT, SERVER, RST, 100, 0), 1000);
    bench.see(&flow(2), 2000);
    assert_eq!(bench.reasons(), [EndReason::EndOfFlow]);
    assert_eq!((bench.table.counters().ended_closed, bench.table.counters().ended_full), (1, 0));
}

#[test]
fn a_table_of_one_flow_works() {
    let mut bench = Bench::of(&FlowConfig::default(), 0);
    for number in 0..100 {
        bench.see(&flow(number), u64::from(number));
        assert_eq!(bench.table.len(), 1);
    }
    assert_eq!(bench.table.counters().ended_full, 99);
}

#[test]
fn flows_end_in_the_order_in_which_they_were_last_seen() {
    let mut bench = Bench::new();
    for (number, millis) in [(1, 0), (2, 1000), (3, 2000), (2, 3000), (1, 4000)] {
        bench.see(&flow(number), millis);
    }
    bench.expire(62_000);
    bench.expire(63_000);
    bench.expire(64_000);
    assert_eq!(ports(&bench), [3, 2, 1]);
}

#[test]
fn one_call_of_expire_does_a_bounded_amount_of_work_and_says_that_there_is_more() {
    let mut bench = Bench::of(&FlowConfig::default(), 10_000);
    for number in 0..5000 {
        bench.see(&flow(number), 0);
    }
    assert!(bench.expire(100_000));
    assert_eq!(bench.records.len(), 4096);
    assert!(!bench.expire(100_000));
    assert_eq!(bench.records.len(), 5000);
}

#[test]
fn a_packet_from_the_far_future_does_not_keep_the_others() {
    let mut bench = Bench::new();
    bench.see(&flow(1), 1_000_000_000);
    bench.see(&flow(2), 1000);
    bench.expire(2000);
    bench.expire(61_000);
    assert_eq!(ports(&bench), [2]);
    // It leaves in its turn, by the clock that there is.
    bench.expire(62_000);
    assert_eq!(ports(&bench), [2, 1]);
    assert_eq!(bench.records[1].end.millis(), 1_000_000_000);
}

#[test]
fn a_clock_set_back_loses_no_flow_and_holds_none_for_ever() {
    let mut bench = Bench::new();
    for number in 0..100 {
        bench.see(&flow(number), 10_000_000 + u64::from(number));
    }
    for number in 50..150 {
        bench.see(&flow(number), 5_000_000 + u64::from(number));
    }
    bench.expire(5_000_200);
    assert_eq!(bench.table.len(), 150);
    bench.expire(5_060_200);
    assert_eq!(bench.table.len(), 0);
    assert_eq!(bench.table.counters().ended_idle, 150);
}

#[test]
fn packets_out_of_order_stretch_the_flow_in_both_directions() {
    let mut bench = Bench::new();
    for millis in [5000, 4000, 6000, 3000] {
        bench.see(&flow(1), millis);
    }
    let record = bench.only();
    assert_eq!((record.start.millis(), record.end.millis()), (3000, 6000));
}

#[test]
fn timeouts_of_zero_make_every_packet_a_flow() {
    let config = FlowConfig { idle_timeout_ms: 0, closed_timeout_ms: 0, ..FlowConfig::default() };
    let mut bench = Bench::of(&config, 10);
    for _ in 0..3 {
        bench.see(&flow(1), 0);
    }
    bench.drain();
    assert_eq!(bench.records.len(), 3);
}
