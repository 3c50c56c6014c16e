//! The flow table by what goes in and which records come out.

mod features;
mod tcp;
mod timeouts;

use super::config::FlowConfig;
use super::*;
use crate::decode::{EarlyFragments, Ip, LinkHeader, Packet, Tcp, Transport};
use proptest::prelude::*;
use weir_common::net::{CommunityId, Direction};
use weir_common::record::{EndReason, FlowRecord, FlowState, tcp_flags};
use weir_common::time::Timestamp;

pub(super) const CLIENT: (&str, u16) = ("192.0.2.1", 49152);
pub(super) const SERVER: (&str, u16) = ("198.51.100.2", 80);
pub(super) type End = (&'static str, u16);

/// A packet of 100 octets with TTL 64.
pub(super) fn packet(protocol: u8, source: End, destination: End, transport: Transport) -> Packet<'static> {
    let ip = Ip {
        source: source.0.parse().unwrap(),
        destination: destination.0.parse().unwrap(),
        protocol,
        octets: 100,
        ttl: 64,
        tos: 0,
        is_fragment: false,
    };
    Packet {
        vlans: [0; 2],
        ip,
        transport,
        payload: &[],
        early: None,
        is_partial: false,
        is_cut: false,
        tunnel_depth: 0,
        payload_missing: 0,
        link: LinkHeader::NONE,
        frame_octets: 0,
        network: &[],
    }
}

pub(super) fn udp(source: End, destination: End) -> Packet<'static> {
    packet(17, source, destination, Transport::Ports { source: source.1, destination: destination.1 })
}

pub(super) fn segment(source: End, destination: End, flags: u16, sequence: u32, ack: u32) -> Packet<'static> {
    let (source_port, destination_port) = (source.1, destination.1);
    let tcp = Tcp {
        source: source_port,
        destination: destination_port,
        sequence,
        acknowledgement: ack,
        flags,
        window: 1000,
    };
    packet(6, source, destination, Transport::Tcp(tcp))
}

fn icmp(
    source: &'static str,
    destination: &'static str,
    protocol: u8,
    kind: u8,
    code: u8,
) -> Packet<'static> {
    packet(protocol, (source, 0), (destination, 0), Transport::Icmp { kind, code })
}

/// A table with every record that came out of it.
pub(super) struct Bench {
    pub(super) table: FlowTable<Option<Box<u32>>>,
    pub(super) records: Vec<FlowRecord>,
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::of(&FlowConfig::default(), 1000)
    }

    pub(super) fn of(config: &FlowConfig, flows_max: u32) -> Bench {
        Bench { table: FlowTable::new(config, flows_max, 3), records: vec![] }
    }

    /// Sees a packet at a time in milliseconds.
    pub(super) fn see(&mut self, packet: &Packet<'_>, millis: u64) -> Observed {
        let Bench { table, records } = self;
        let time = Timestamp(millis * 1_000_000);
        table.observe(packet, time, 5, &mut |flow, reason| records.push(flow.to_record(reason)))
    }

    pub(super) fn expire(&mut self, millis: u64) -> bool {
        let Bench { table, records } = self;
        let now = Timestamp(millis * 1_000_000);
        table.expire(now, &mut |flow, reason| records.push(flow.to_record(reason)))
    }

    pub(super) fn drain(&mut self) {
        let Bench { table, records } = self;
        table.drain(&mut |flow, reason| records.push(flow.to_record(reason)));
        assert!(self.table.is_empty());
        assert_eq!(self.table.counters().active, 0);
        assert_eq!(self.table.counters().records, self.records.len() as u64);
    }

    /// The only record, after the table was drained.
    #[track_caller]
    pub(super) fn only(mut self) -> FlowRecord {
        self.drain();
        let [record] = &self.records[..] else { panic!("{:#?}", self.records) };
        record.clone()
    }

    pub(super) fn reasons(&self) -> Vec<EndReason> {
        self.records.iter().map(|record| record.end_reason).collect()
    }
}

#[test]
fn both_directions_make_one_flow_with_the_first_sender_as_initiator() {
    let mut bench = Bench::new();
    let first = bench.see(&udp(CLIENT, SERVER), 10);
    let second = bench.see(&udp(SERVER, CLIENT), 30);
    let third = bench
        .see(&Packet { ip: Ip { ttl: 60, tos: 4, ..udp(SERVER, CLIENT).ip }, ..udp(SERVER, CLIENT) }, 20);
    assert_eq!((first.direction, first.is_new), (Direction::Forward, true));
    assert_eq!((second.direction, second.is_new, second.slot), (Direction::Reverse, false, first.slot));
    assert_eq!(third.slot, first.slot);
    let record = bench.only();
    assert_eq!((record.key.initiator, record.key.initiator_port), (CLIENT.0.parse().unwrap(), CLIENT.1));
    assert_eq!((record.key.responder, record.key.responder_port), (SERVER.0.parse().unwrap(), SERVER.1));
    assert_eq!((record.forward.packets, record.forward.octets), (1, 100));
    assert_eq!((record.reverse.packets, record.reverse.octets), (2, 200));
    assert_eq!((record.reverse.ttl_min, record.reverse.ttl_max, record.reverse.tos), (60, 64, 0));
    assert_eq!((record.start.millis(), record.end.millis()), (10, 30));
    assert_eq!((record.state, record.end_reason), (FlowState::Established, EndReason::ForcedEnd));
    assert_eq!((record.interface, record.icmp, record.flow_id), (5, None, 1 << 16 | 3));
    assert_eq!(record.community_id, CommunityId::of(&record.key, None, 0));
}

#[test]
fn addresses_ports_and_protocol_each_tell_flows_apart() {
    let mut bench = Bench::new();
    for (source, destination) in [
        (CLIENT, SERVER),
        (("192.0.2.9", CLIENT.1), SERVER),
        (CLIENT, ("198.51.100.9", SERVER.1)),
        ((CLIENT.0, 1), SERVER),
        (CLIENT, (SERVER.0, 1)),
        (("2001:db8::1", 1), ("2001:db8::2", 2)),
        (("2001:db8:1::1", 1), ("2001:db8::2", 2)),
    ] {
        assert!(bench.see(&udp(source, destination), 0).is_new, "{source:?} {destination:?}");
        assert!(!bench.see(&udp(destination, source), 0).is_new, "{source:?} {destination:?}");
    }
    assert!(
        bench
            .see(&Packet { ip: Ip { protocol: 136, ..udp(CLIENT, SERVER).ip }, ..udp(CLIENT, SERVER) }, 0)
            .is_new
    );
    // The ports of both ends exchanged are another flow; VLANs are not.
    assert!(bench.see(&udp((CLIENT.0, SERVER.1), (SERVER.0, CLIENT.1)), 0).is_new);
    assert!(!bench.see(&Packet { vlans: [7, 0], ..udp(CLIENT, SERVER) }, 0).is_new);
    bench.drain();
    assert_eq!(bench.table.counters().created, 9);
}

#[test]
fn a_host_that_talks_to_itself_is_one_flow_in_both_directions() {
    let mut bench = Bench::new();
    let (low, high) = (("127.0.0.1", 53), ("127.0.0.1", 4000));
    assert_eq!(bench.see(&udp(high, low), 0).direction, Direction::Forward);
    assert_eq!(bench.see(&udp(low, high), 0).direction, Direction::Reverse);
    // The land attack: the same port at both ends.
    assert_eq!(bench.see(&udp(low, low), 0).direction, Direction::Forward);
    assert_eq!(bench.see(&udp(low, low), 0).direction, Direction::Forward);
    bench.drain();
    assert_eq!(bench.records.len(), 2);
}

#[test]
fn icmp_requests_and_replies_are_one_flow_and_errors_go_one_way() {
    let (a, b) = ("192.0.2.1", "192.0.2.2");
    let mut bench = Bench::new();
    let request = bench.see(&icmp(a, b, 1, 8, 0), 0);
    let reply = bench.see(&icmp(b, a, 1, 0, 0), 0);
    assert_eq!((reply.slot, reply.direction), (request.slot, Direction::Reverse));
    // A ping the other way is another flow, as the Community ID has it.
    assert!(bench.see(&icmp(b, a, 1, 8, 0), 0).is_new);
    assert!(bench.see(&icmp(a, b, 1, 3, 3), 0).is_new);
    assert!(bench.see(&icmp(a, b, 1, 3, 1), 0).is_new);
    assert!(bench.see(&icmp(b, a, 1, 3, 3), 0).is_new);
    assert!(bench.see(&icmp(a, b, 58, 135, 0), 0).is_new);
    assert!(!bench.see(&icmp(b, a, 58, 136, 0), 0).is_new);
    bench.drain();
    let record = &bench.records[0];
    assert_eq!((record.icmp, record.key.initiator_port, record.key.responder_port), (Some((8, 0)), 0, 0));
    assert_eq!(record.community_id, CommunityId::of(&record.key, Some((8, 0)), 0));
    assert_eq!(bench.records.len(), 6);
}

#[test]
fn fragments_that_came_early_count_with_the_first_one() {
    let mut bench = Bench::new();
    let early = EarlyFragments { packets: 2, octets: 70, start: Timestamp(3_000_000) };
    bench.see(&Packet { early: Some(&early), is_partial: true, ..udp(CLIENT, SERVER) }, 10);
    let record = bench.only();
    assert_eq!((record.forward.packets, record.forward.octets), (3, 170));
    assert_eq!((record.start.millis(), record.end.millis()), (3, 10));
}

#[test]
fn what_is_attached_stays_with_the_flow_and_goes_with_it() {
    let mut bench = Bench::new();
    let slot = bench.see(&udp(CLIENT, SERVER), 0).slot;
    bench.table.flow_mut(slot).attachment = Some(Box::new(42));
    let slot = bench.see(&udp(SERVER, CLIENT), 1).slot;
    assert_eq!(bench.table.flow(slot).attachment, Some(Box::new(42)));
    let Bench { table, .. } = &mut bench;
    let mut attached = None;
    table.drain(&mut |flow, _| attached = flow.attachment.take());
    assert_eq!(attached, Some(Box::new(42)));
    let slot = bench.see(&udp(CLIENT, SERVER), 2).slot;
    assert_eq!(bench.table.flow(slot).attachment, None);
}

#[test]
fn flows_are_loaded_ahead_for_known_and_unknown_packets_and_for_more_than_there_is_room() {
    let mut bench = Bench::new();
    bench.table.warm(&[], Timestamp(0), |_| 0);
    for port in 0..100 {
        bench.see(&udp((CLIENT.0, port), SERVER), 0);
    }
    let hashes: Vec<_> = (50..150).map(|port| bench.table.hash_of(&udp((CLIENT.0, port), SERVER))).collect();
    for some in hashes.chunks(7).chain([&hashes[..], &[FlowHash::default()]]) {
        bench.table.warm(some, Timestamp(1_000_000_000), |_| 0);
    }
    assert_eq!(bench.table.len(), 100);
}

#[test]
fn a_flow_with_an_attachment_of_sixteen_bytes_takes_five_cache_lines() {
    type Attachment = (Option<Box<u32>>, u64);
    assert_eq!(size_of::<Flow<Attachment>>(), 320);
    assert_eq!(std::mem::offset_of!(Flow<Attachment>, attachment), 152);
    assert_eq!(std::mem::offset_of!(Flow<Attachment>, features), 192);
    // A longer one, up to the end of its line, moves apart what packets need from what they do not.
    type Longer = [u64; 5];
    assert_eq!(size_of::<Flow<Longer>>(), 384);
    assert_eq!(std::mem::offset_of!(Flow<Longer>, community_id), 192);
    assert_eq!(std::mem::offset_of!(Flow<Longer>, features), 256);
}

proptest! {
    /// Against a model that keeps every flow: whatever the order and the times, no packet and no octet is lost
    /// or counted twice, and the limit holds.
    #[test]
    fn every_packet_is_in_exactly_one_record(
        steps in prop::collection::vec(
            (0u8..40, any::<bool>(), 0u64..4000, 0u16..32, any::<u8>(), 0u8..8), 1..600),
        flows_max in 1u32..20,
    ) {
        let mut bench = Bench::of(&FlowConfig::default(), flows_max);
        let mut time = 1_000_000u64;
        for (flow, is_reverse, step, flags, number, what) in &steps {
            time = if *what == 0 { time.saturating_sub(step * 20) } else { time + step };
            let (client, server) = ((CLIENT.0, u16::from(flow / 2)), SERVER);
            let (from, to) = if *is_reverse { (server, client) } else { (client, server) };
            let seen = match flow % 2 {
                0 => udp(from, to),
                _ => segment(from, to, *flags, u32::from(*number), u32::from(*number)),
            };
            bench.see(&seen, time);
            prop_assert!(bench.table.len() <= flows_max as usize);
            if what % 3 == 0 {
                bench.expire(time);
            }
        }
        bench.drain();
        let packets: u64 = bench.records.iter().map(|r| r.forward.packets + r.reverse.packets).sum();
        let octets: u64 = bench.records.iter().map(|r| r.forward.octets + r.reverse.octets).sum();
        prop_assert_eq!((packets, octets), (steps.len() as u64, steps.len() as u64 * 100));
        for record in &bench.records {
            prop_assert!(record.start <= record.end);
            prop_assert!(record.forward.packets + record.reverse.packets > 0);
        }
    }
}
