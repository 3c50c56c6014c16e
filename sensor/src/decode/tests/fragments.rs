//! Fragments in every order, with overlaps, duplicates and lies.

use super::*;

/// A decoder that is fed fragments of datagrams from 192.0.2.1 to 198.51.100.2.
struct Feed {
    decoder: Decoder,
    counters: DecodeCounters,
    time: Timestamp,
}

const SECOND: u64 = 1_000_000_000;

/// UDP 1000 → 2000 with 24 bytes of payload: 32 bytes, three fragments of at most 16.
fn datagram() -> Vec<u8> {
    let mut bytes = vec![0x03, 0xe8, 0x07, 0xd0, 0x00, 0x20, 0x00, 0x00];
    bytes.extend(b"abcdefghijklmnopqrstuvwx");
    bytes
}

fn ipv4_fragment(id: u16, offset: usize, more: bool, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = IPV4_TCP[..20].to_vec();
    header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    let offset_word = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
    header[6..8].copy_from_slice(&offset_word.to_be_bytes());
    header[9] = protocol;
    join(&[&header, payload])
}

fn ipv6_fragment(id: u32, next: u8, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let offset_word = offset as u16 | u16::from(more);
    let header = join(&[&[next, 0], &offset_word.to_be_bytes(), &id.to_be_bytes()]);
    ipv6_with(44, &join(&[&header, payload]))
}

impl Feed {
    fn new(bytes_max: u32) -> Feed {
        let decoder = Decoder::new(bytes_max, Duration::from_secs(30));
        Feed { decoder, counters: DecodeCounters::default(), time: Timestamp(1_000 * SECOND) }
    }

    fn take(&mut self, data: &[u8]) -> Decoded {
        self.take_cut(data, data.len())
    }

    fn take_cut(&mut self, data: &[u8], wire_len: usize) -> Decoded {
        let Feed { decoder, counters, time } = self;
        let packet = decode_with(decoder, counters, LinkType::RAW, *time, data, wire_len);
        Decoded { packet, counters: *counters }
    }

    /// A fragment of `datagram()`.
    fn part(&mut self, id: u16, from: usize, to: usize) -> Decoded {
        let whole = datagram();
        self.take(&ipv4_fragment(id, from, to < whole.len(), 17, &whole[from..to]))
    }

    fn expire(&mut self, seconds: u64) -> Vec<(Ip, Transport, Option<EarlyFragments>)> {
        self.time = Timestamp(self.time.0 + seconds * SECOND);
        let mut orphans = Vec::new();
        self.decoder.expire(self.time, &mut self.counters, &mut |packet, _, _| {
            orphans.push((packet.ip, packet.transport, packet.early.copied()));
        });
        orphans
    }
}

const PORTS: Transport = Transport::Ports { source: 1000, destination: 2000 };

/// Every order of the three fragments.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn in_every_order_each_fragment_counts_and_the_last_brings_the_payload() {
    for order in ORDERS {
        let mut feed = Feed::new(1 << 20);
        let (mut packets, mut octets) = (0, 0);
        for (at, part) in order.into_iter().enumerate() {
            let decoded = feed.part(7, [0, 16, 24][part], [16, 24, 32][part]);
            let has_first = order[..=at].contains(&0);
            assert_eq!(decoded.packet.is_some(), has_first, "{order:?}");
            if !has_first {
                continue;
            }
            let early = decoded.early();
            packets += 1 + early.map_or(0, |early| early.packets);
            octets += u64::from(decoded.packet().ip.octets) + early.map_or(0, |early| early.octets);
            assert_eq!(decoded.packet().transport, PORTS, "{order:?}");
            assert_eq!(decoded.packet().is_partial, at < 2);
            let payload = if at == 2 { &b"abcdefghijklmnopqrstuvwx"[..] } else { b"" };
            assert_eq!(decoded.payload(), payload, "{order:?}");
        }
        assert_eq!((packets, octets), (3, 36 + 28 + 28), "{order:?}");
        assert_eq!((feed.counters.fragments, feed.counters.reassembled), (3, 1));
        assert_eq!((feed.counters.fragments_bad, feed.counters.fragments_expired), (0, 0));
        assert_eq!(feed.expire(60), []);
        assert_eq!(feed.counters.fragments_expired, 0);
    }
}

#[test]
fn ipv6_fragments_make_a_datagram_too() {
    let whole = datagram();
    for order in ORDERS {
        let mut feed = Feed::new(1 << 20);
        let mut last = None;
        for part in order {
            let (from, to) = ([0, 16, 24][part], [16, 24, 32][part]);
            last = Some(feed.take(&ipv6_fragment(9, 17, from, to < 32, &whole[from..to])));
        }
        let last = last.unwrap();
        assert_eq!(last.payload(), b"abcdefghijklmnopqrstuvwx");
        assert_eq!((last.packet().ip.protocol, last.packet().transport), (17, PORTS));
    }
}

#[test]
fn extension_headers_within_an_ipv6_datagram_are_passed_over() {
    let whole = join(&[&[17, 0, 1, 4, 0, 0, 0, 0], &datagram()]);
    let mut feed = Feed::new(1 << 20);
    let first = feed.take(&ipv6_fragment(9, 60, 0, true, &whole[..24]));
    assert_eq!((first.packet().ip.protocol, first.packet().transport), (17, PORTS));
    let last = feed.take(&ipv6_fragment(9, 60, 24, false, &whole[24..]));
    assert_eq!(last.packet().ip.protocol, 17);
    assert_eq!(last.payload(), b"abcdefghijklmnopqrstuvwx");
}

#[test]
fn an_atomic_fragment_is_a_packet() {
    let decoded = Feed::new(1 << 20).take(&ipv6_fragment(9, 17, 0, false, &datagram()));
    assert!(!decoded.packet().ip.is_fragment);
    assert_eq!(decoded.payload(), b"abcdefghijklmnopqrstuvwx");
    assert_eq!(decoded.counters.fragments, 0);
}

#[test]
fn tcp_flags_come_with_the_first_fragment_and_with_the_whole() {
    let segment = join(&[&IPV4_TCP[20..], &[7; 20]]);
    let mut feed = Feed::new(1 << 20);
    let first = feed.take(&ipv4_fragment(1, 0, true, 6, &segment[..24]));
    let second = feed.take(&ipv4_fragment(1, 24, true, 6, &segment[24..32]));
    let third = feed.take(&ipv4_fragment(1, 32, false, 6, &segment[32..]));
    assert!(matches!(first.packet().transport, Transport::Tcp(Tcp { flags: 0x1c2, .. })));
    assert_eq!(second.packet().transport, Transport::Ports { source: 49152, destination: 80 });
    assert!(matches!(third.packet().transport, Transport::Tcp(Tcp { flags: 0x1c2, .. })));
    assert_eq!(third.payload(), join(&[b"data", &[7; 20]]));
}

#[test]
fn a_header_spread_over_tiny_fragments_is_read_when_it_is_whole() {
    let segment = &IPV4_TCP[20..];
    let mut feed = Feed::new(1 << 20);
    let first = feed.take(&ipv4_fragment(1, 0, true, 6, &segment[..8]));
    assert_eq!(first.packet().transport, Transport::Ports { source: 49152, destination: 80 });
    feed.take(&ipv4_fragment(1, 8, true, 6, &segment[8..16]));
    let last = feed.take(&ipv4_fragment(1, 16, false, 6, &segment[16..]));
    assert!(matches!(last.packet().transport, Transport::Tcp(Tcp { flags: 0x1c2, .. })));
    assert_eq!(last.payload(), b"data");
}

#[test]
fn the_bytes_that_came_first_win() {
    let mut feed = Feed::new(1 << 20);
    let whole = datagram();
    feed.take(&ipv4_fragment(1, 8, true, 17, &whole[8..24]));
    feed.take(&ipv4_fragment(1, 16, false, 17, b"XXXXXXXXYYYYYYYY"));
    let last = feed.take(&ipv4_fragment(1, 0, true, 17, &join(&[&whole[..8], b"ZZZZZZZZ"])));
    assert_eq!(last.payload(), b"abcdefghijklmnopYYYYYYYY");
    assert_eq!(last.counters.fragments_bad, 2);
}

#[test]
fn a_fragment_seen_twice_counts_twice_and_is_not_bad() {
    let mut feed = Feed::new(1 << 20);
    for (from, to) in [(0, 16), (0, 16), (24, 32), (24, 32)] {
        assert!(feed.part(1, from, to).packet().is_partial);
    }
    assert_eq!(feed.part(1, 16, 24).payload().len(), 24);
    // After the datagram is whole, a late copy still belongs to the flow and brings no payload again.
    let late = feed.part(1, 16, 24);
    assert_eq!((late.packet().transport, late.payload()), (PORTS, &b""[..]));
    assert_eq!((feed.counters.fragments_bad, feed.counters.reassembled), (0, 1));
}

#[test]
fn a_number_used_again_begins_a_new_datagram() {
    let mut feed = Feed::new(1 << 20);
    for _ in 0..3 {
        feed.part(1, 0, 16);
        assert_eq!(feed.part(1, 16, 32).payload().len(), 24);
    }
    assert_eq!((feed.counters.reassembled, feed.counters.fragments_expired), (3, 0));
}

#[test]
fn teardrop_ping_of_death_and_lies_about_the_end_are_counted_and_metered() {
    let first = ipv4_fragment(1, 0, true, 17, &datagram()[..16]);
    for (name, second, bad) in [
        ("ping of death", ipv4_fragment(1, 65_528, false, 17, &[0; 16]), 1),
        ("length not of eights", ipv4_fragment(1, 16, true, 17, &[0; 15]), 1),
        ("nothing in it", ipv4_fragment(1, 16, true, 17, &[]), 1),
        ("end before what has come", ipv4_fragment(1, 8, false, 17, &[0; 4]), 1),
        ("the last byte that can be", ipv4_fragment(1, 65_528, false, 17, &[0; 7]), 0),
    ] {
        let mut feed = Feed::new(1 << 20);
        feed.take(&first);
        let decoded = feed.take(&second);
        assert_eq!(decoded.packet().transport, PORTS, "{name}");
        assert_eq!(decoded.counters.fragments_bad, bad, "{name}");
        assert_eq!(decoded.counters.reassembled, 0, "{name}");
    }
    let mut feed = Feed::new(1 << 20);
    feed.take(&first);
    feed.part(1, 24, 32);
    assert!(feed.take(&ipv4_fragment(1, 32, true, 17, &[0; 8])).packet().is_partial);
    assert_eq!(feed.counters.fragments_bad, 1);
    assert_eq!(feed.part(1, 16, 24).payload().len(), 24);
}

#[test]
fn early_fragments_whose_first_never_comes_are_handed_over_at_the_timeout() {
    let mut feed = Feed::new(1 << 20);
    assert!(feed.part(1, 16, 24).packet.is_none());
    assert_eq!(feed.expire(1), []);
    assert!(feed.part(1, 24, 32).packet.is_none());
    assert_eq!(feed.expire(28), []);
    let orphans = feed.expire(1);
    let [(ip, transport, Some(early))] = &orphans[..] else { panic!("{orphans:?}") };
    assert_eq!((ip.protocol, ip.octets, *transport), (17, 28, Transport::None));
    assert_eq!((early.packets, early.octets, early.start), (1, 28, Timestamp(1_000 * SECOND)));
    assert_eq!(feed.counters.fragments_expired, 1);
    assert_eq!(feed.expire(60), []);
}

#[test]
fn fragments_after_the_timeout_belong_to_another_datagram() {
    let mut feed = Feed::new(1 << 20);
    feed.part(1, 0, 16);
    feed.time = Timestamp(feed.time.0 + 30 * SECOND);
    assert!(feed.part(1, 16, 32).packet.is_none());
    assert_eq!(feed.counters.fragments_expired, 1);
    // And so does a clock that goes back by more than that.
    feed.time = Timestamp(feed.time.0 - 61 * SECOND);
    assert!(feed.part(1, 0, 16).early().is_none());
}

#[test]
fn a_datagram_of_which_the_capture_lacks_bytes_is_metered_and_not_put_together() {
    let mut feed = Feed::new(1 << 20);
    let first = ipv4_fragment(1, 0, true, 17, &datagram()[..16]);
    assert_eq!(feed.take_cut(&first[..30], first.len()).packet().transport, PORTS);
    assert!(feed.part(1, 16, 32).packet().is_partial);
    assert_eq!(feed.counters.reassembled, 0);
}

#[test]
fn the_oldest_datagrams_make_room_at_the_byte_limit() {
    // Two pages: the third datagram takes the first one's.
    let mut feed = Feed::new(2 * 2048);
    for id in 1..=3 {
        assert!(feed.part(id, 16, 32).packet.is_none());
    }
    assert_eq!(feed.counters.fragments_expired, 1);
    assert_eq!(feed.expire(0).len(), 1);
    assert_eq!(feed.part(2, 0, 16).payload().len(), 24);
    assert_eq!(feed.part(3, 0, 16).payload().len(), 24);
    assert!(feed.part(1, 0, 16).packet().is_partial);
}

#[test]
fn without_memory_for_payloads_every_fragment_still_counts() {
    let mut feed = Feed::new(0);
    assert!(feed.part(1, 16, 32).packet.is_none());
    let first = feed.part(1, 0, 16);
    assert_eq!((first.packet().transport, first.early().unwrap().packets), (PORTS, 1));
}

#[test]
fn a_flood_of_lone_fragments_is_bounded_and_metered_to_the_last() {
    let mut feed = Feed::new(64 * 2048);
    let (mut sent, mut metered) = (0, 0);
    for id in 0..20_000u32 {
        sent += 1;
        let bytes = ipv6_fragment(id, 17, 8, true, &[0; 8]);
        metered += usize::from(feed.take(&bytes).packet.is_some());
    }
    let mut count = |packet: &Packet<'_>, _, _| metered += 1 + packet.early.map_or(0, |e| e.packets as usize);
    feed.decoder.drain(&mut feed.counters, &mut count);
    assert_eq!(metered, sent);
    assert_eq!(feed.counters.fragments_expired, 20_000);
}

#[test]
fn too_many_holes_give_the_datagram_up_but_not_its_flow() {
    let mut feed = Feed::new(1 << 20);
    feed.take(&ipv4_fragment(1, 0, true, 17, &[1; 8]));
    for hole in 1..60 {
        let bytes = ipv4_fragment(1, hole * 16, true, 17, &[1; 8]);
        assert!(feed.take(&bytes).packet().is_partial);
    }
    assert_eq!(feed.counters.fragments_bad, 0);
}

#[test]
fn a_fragment_header_within_a_datagram_has_no_ports() {
    let inner = join(&[&[17, 0, 0, 1, 0, 0, 0, 1], &datagram()[..16]]);
    let mut feed = Feed::new(1 << 20);
    let decoded = feed.take(&ipv6_fragment(9, 44, 0, true, &inner));
    assert_eq!(decoded.packet().transport, Transport::None);
    assert_eq!(decoded.counters.fragments_bad, 1);
}

proptest! {
    /// Whatever the fragments say, each frame is metered once, at once or when its datagram is given up.
    #[test]
    fn every_fragment_is_metered_exactly_once(
        parts in prop::collection::vec(
            (0u16..6, 0usize..12, any::<bool>(), 0usize..30, 0u64..20, any::<bool>()), 1..200),
        pages in 0u32..6,
    ) {
        let mut feed = Feed::new(pages * 2048);
        let mut metered = 0;
        for (id, place, more, len, seconds, is_back) in &parts {
            let step = seconds * SECOND;
            feed.time = Timestamp(if *is_back { feed.time.0 - step } else { feed.time.0 + step });
            let payload = vec![*id as u8; *len];
            let decoded = feed.take(&ipv4_fragment(*id, place * 8, *more, 17, &payload));
            if decoded.packet.is_some() && (*more || *place > 0) {
                metered += 1 + decoded.early().map_or(0, |early| early.packets as usize);
            }
            if !*more && *place == 0 {
                metered += 1;
            }
            if seconds % 7 == 0 {
                let orphans = feed.expire(0);
                metered += orphans.iter().map(|o| 1 + o.2.map_or(0, |e| e.packets as usize)).sum::<usize>();
            }
        }
        feed.decoder.drain(&mut feed.counters, &mut |packet, _, _| {
            metered += 1 + packet.early.map_or(0, |early| early.packets as usize);
        });
        prop_assert_eq!(metered, parts.len());
    }
}
