//! Each keyword on frames as they come from the wire, from both sides of each border.

use super::*;
use crate::capture::{Frame, LinkType};
use crate::counters::DecodeCounters;
use crate::decode::config::Tunnels;
use crate::decode::{Decoder, LinkHeader, Parsed, parse};
use proptest::prelude::*;
use std::time::Duration;
use weir_common::app::App;
use weir_common::net::Direction;
use weir_common::time::Timestamp;

fn option(text: &str) -> RuleOption {
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value.as_bytes().to_vec())),
        None => (text, None),
    };
    let place = Place { line: 1, column: 1 };
    RuleOption { name: name.into(), value, place, value_place: place }
}

fn read(text: &str) -> Result<PacketTest, Refused> {
    PacketTest::option(&option(text)).unwrap_or_else(|| panic!("{text} is no keyword"))
}

fn test(text: &str) -> PacketTest {
    read(text).unwrap_or_else(|(_, reason)| panic!("{text}: {reason}"))
}

/// Whether a test holds for the packet of an Ethernet frame, with this flow.
fn holds_in(text: &str, frame: &[u8], flow: Option<&FlowFacts>) -> bool {
    let link = LinkType::ETHERNET;
    let frame = Frame { link, data: frame, wire_len: frame.len() as u32, ..Frame::EMPTY };
    let Parsed::Packet(packet) = parse(&frame, Tunnels::Outer, &mut DecodeCounters::default()) else {
        panic!("no packet")
    };
    test(text).holds(&PacketFacts { packet: &packet, flow, decode_events: &[], stream_events: &[] })
}

#[track_caller]
fn check(frame: &[u8], held: &[&str], not_held: &[&str]) {
    held.iter().for_each(|text| assert!(holds_in(text, frame, None), "{text}"));
    not_held.iter().for_each(|text| assert!(!holds_in(text, frame, None), "{text}"));
}

fn ethernet(tags: &[u16], kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    tags.iter().for_each(|tag| frame.extend([[0x81, 0], tag.to_be_bytes()].concat()));
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// From 10.0.0.1 to 10.0.0.2, with TTL 64, TOS 8, identification 777.
fn v4_with(fragment: u16, number: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = (header_len + payload.len()) as u16;
    let (total, [flags, offset]) = (total.to_be_bytes(), fragment.to_be_bytes());
    let start = [0x40 | (header_len / 4) as u8, 8, total[0], total[1], 3, 9, flags, offset, 64, number, 0, 0];
    ethernet(&[], 0x0800, &[&start, &[10, 0, 0, 1, 10, 0, 0, 2], options, payload].concat())
}

fn v4(number: u8, payload: &[u8]) -> Vec<u8> {
    v4_with(0x4000, number, &[], payload)
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let header = [&[0x60, 0, 0, 0, length[0], length[1], next, 55][..], &[1; 16], &[2; 16]].concat();
    ethernet(&[], 0x86dd, &[&header[..], payload].concat())
}

/// From port 1000 to 80, sequence number 100, acknowledging 200, window 2048.
fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let offset = ((20 + options.len()) / 4) as u8;
    let start = [3, 232, 0, 80, 0, 0, 0, 100, 0, 0, 0, 200, offset << 4, flags, 8, 0, 0, 0, 0, 0];
    [&start, options, payload].concat()
}

const UDP: &[u8] = &[3, 232, 0, 53, 0, 12, 0, 0, b'a', b'b', b'c', b'd'];

#[test]
fn fields_of_ip_are_those_of_its_version() {
    check(
        &v4(17, UDP),
        &[
            "ttl:64",
            "ttl:>63",
            "ttl:!65",
            "tos:8",
            "tos:!9",
            "tos:x8",
            "tos:!x9",
            "id:777",
            "id:\"777\"",
            "ip_proto:17",
            "ip_proto:UDP",
            "ip_proto:!tcp",
            "ip_proto:>16",
            "ip_proto:<esp",
            "fragbits:D",
            "fragbits:+D",
            "fragbits:*MD",
            "fragbits:!M",
            "fragoffset:0",
            "dsize:4",
            "dsize:3<>5",
            "dsize:!5",
        ],
        &[
            "ttl:63",
            "ttl:>64",
            "tos:9",
            "tos:!8",
            "id:776",
            "ip_proto:6",
            "ip_proto:!17",
            "ip_proto:<17",
            "fragbits:M",
            "fragbits:!D",
            "fragbits:R",
            "fragbits:MD",
            "fragbits:+MD",
            "fragoffset:>0",
            "dsize:<4",
            "dsize:>4",
            "sameip",
            "ipopts:any",
            "flags:!S",
            "window:!1",
            "itype:!1",
            "icmp_id:!1",
            "igmp.type:!1",
            "tcp.mss:!1",
            "icmpv6.mtu:!1",
            "flow.age:<5",
            "flow.pkts:either,<5",
            "stream_size:both,<,5",
            "app-layer-protocol:!tls",
        ],
    );
    // IPv6 has a hop limit and no more of this.
    check(
        &v6(17, UDP),
        &["ttl:55", "dsize:4", "ip_proto:17"],
        &["tos:!1", "id:!1", "fragbits:!M", "fragoffset:0", "ipopts:any", "sameip"],
    );
    check(&v4_with(0xe000, 17, &[], UDP)[..34].iter().copied().collect::<Vec<u8>>(), &[], &[]);
}

#[test]
fn a_packet_to_its_own_sender_is_told() {
    let mut frame = v4(17, UDP);
    frame[33] = 1;
    check(&frame, &["sameip"], &[]);
}

#[test]
fn fields_of_tcp_are_read() {
    let mss = [2, 4, 5, 0xb4, 1, 3, 3, 7];
    check(
        &v4(6, &tcp(0x02, &mss, b"")),
        &[
            "seq:100",
            "tcp.seq:>99",
            "ack:200",
            "window:2048",
            "tcp.window:2000-2100",
            "window:!2047",
            "tcp.mss:1460",
            "tcp.mss:<1461",
            "tcp.mss:1400-1500",
            "tcp.wscale:7",
            "tcp.wscale:>6",
            "flags:S",
            "tcp.flags:S",
            "dsize:0",
        ],
        &[
            "seq:101",
            "ack:!200",
            "window:2047",
            "tcp.window:2048-2100",
            "tcp.mss:<1460",
            "tcp.wscale:8",
            "flags:A",
            "itype:0",
            "icmp_seq:0",
        ],
    );
    check(&v4(6, &tcp(0x10, &[], b"x")), &["dsize:1"], &["tcp.mss:!1", "tcp.wscale:!1", "tcp.mss:<65535"]);
    // The first option of its kind with the right length counts; a length that cannot be ends them; a shift that is
    // too large is none.
    check(&v4(6, &tcp(2, &[2, 3, 0, 2, 4, 0, 9, 0], b"")), &["tcp.mss:9"], &[]);
    check(&v4(6, &tcp(2, &[2, 1, 2, 4, 0, 9, 0, 0], b"")), &[], &["tcp.mss:9"]);
    check(&v4(6, &tcp(2, &[0, 0, 2, 4, 0, 9, 0, 0], b"")), &[], &["tcp.mss:9"]);
    check(&v4(6, &tcp(2, &[3, 3, 15, 0], b"")), &["tcp.wscale:0"], &[]);
    check(&v6(6, &tcp(2, &mss, b"")), &["tcp.mss:1460", "seq:100"], &[]);
    // Behind an extension header, and behind padding that is not the packet's.
    let behind = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp(2, &mss, b"")].concat();
    check(&v6(0, &behind), &["tcp.mss:1460", "flags:S", "ip_proto:6"], &[]);
}

#[test]
fn control_bits_are_exact_unless_told_otherwise() {
    const S: u8 = 2;
    const A: u8 = 0x10;
    const F: u8 = 1;
    const E: u8 = 0x40;
    const C: u8 = 0x80;
    for (text, held, not_held) in [
        ("S", &[S][..], &[S | A, 0, S | E][..]),
        ("s", &[S], &[A]),
        ("=S", &[S], &[S | A]),
        ("S,12", &[S, S | E, S | E | C], &[S | A, 0]),
        ("S, CE", &[S | C], &[S | A]),
        ("SA", &[S | A], &[S, S | A | F]),
        ("+S", &[S, S | A], &[A, 0]),
        ("S+", &[S, S | A], &[A]),
        ("*SF", &[S, F | A], &[A, 0]),
        ("SF*", &[F], &[A]),
        ("!S", &[A, 0], &[S, S | A]),
        ("!SA", &[A, S, 0], &[S | A, S | A | F]),
        ("-SA", &[A], &[S | A]),
        ("0", &[0], &[S, E]),
        ("0,12", &[0, E, C | E], &[S]),
        ("PA12", &[8 | A | C | E], &[8 | A]),
        ("12", &[12], &[E | C]),
        ("&0x12=0x02", &[S, S | F], &[S | A]),
        (">0xbf", &[C | E], &[C | S]),
    ] {
        let held_of = |flags: u8| holds_in(&format!("flags:{text}"), &v4(6, &tcp(flags, &[], b"")), None);
        held.iter().for_each(|flags| assert!(held_of(*flags), "{text} {flags:#x}"));
        not_held.iter().for_each(|flags| assert!(!held_of(*flags), "{text} {flags:#x}"));
    }
    for wrong in ["", "X", "+", "S,X", ",", "S,", "+S,A", "S,S", "SS", "+S*", "S,1,2", "S,+A", "256"] {
        assert!(read(&format!("flags:{wrong}")).is_err(), "{wrong}");
    }
    for wrong in ["", "X", "G", "!", "+M*", "MM", "M,D", "65536"] {
        assert!(read(&format!("fragbits:{wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn bits_about_fragments_are_those_of_the_header() {
    for (word, held, not_held) in [
        (0x4000, &["D", "+D", "*D", "!M", "&0x4000=0x4000"][..], &["M", "!D", "R"][..]),
        (0x8000, &["R", "*RM", "!MD"], &["M", "+RD"]),
        (0xc000, &["RD", "+D", "!M"], &["D", "R", "!RD"]),
        (0x0000, &["!M", "!D", "!R"], &["M", "*MDR", "+M"]),
    ] {
        let frame = v4_with(word, 17, &[], UDP);
        held.iter().for_each(|text| assert!(holds_in(&format!("fragbits:{text}"), &frame, None), "{text}"));
        not_held
            .iter()
            .for_each(|text| assert!(!holds_in(&format!("fragbits:{text}"), &frame, None), "{text}"));
    }
}

#[test]
fn messages_of_icmp_are_read_as_far_as_they_have_fields() {
    let echo = [8, 0, 0, 0, 2, 154, 0, 5, 1, 2, 3];
    check(
        &v4(1, &echo),
        &["itype:8", "itype:>7", "icode:0", "icmp_id:666", "icmp_id:\" 666\"", "icmp_seq:5", "dsize:3"],
        &["itype:0", "icode:>0", "icmp_id:665", "icmp_seq:6", "icmpv6.mtu:!1"],
    );
    check(
        &v4(1, &[3, 1, 0, 0, 2, 154, 0, 5]),
        &["itype:3", "icode:1"],
        &["icmp_id:666", "icmp_id:!1", "icmp_seq:5"],
    );
    check(
        &v6(58, &[128, 0, 0, 0, 2, 154, 0, 5]),
        &["itype:128", "icmp_id:666", "icmp_seq:5"],
        &["icmpv6.mtu:!1"],
    );
    check(&v6(58, &[8, 0, 0, 0, 2, 154, 0, 5]), &["itype:8"], &["icmp_id:666"]);
    check(
        &v6(58, &[2, 0, 0, 0, 0, 0, 5, 0]),
        &["icmpv6.mtu:1280", "icmpv6.mtu:>1279", "icmpv6.mtu:1000-1500"],
        &["icmpv6.mtu:<1280"],
    );
    check(&v6(58, &[2, 0, 0, 0, 0, 0]), &["itype:2"], &["icmpv6.mtu:!9"]);
    check(
        &v4(2, &[0x16, 0, 0, 0, 224, 0, 0, 25]),
        &["igmp.type:0x16", "igmp.type:!0xff"],
        &["igmp.type:23", "itype:22"],
    );
}

#[test]
fn options_of_ip_are_found_where_they_are_sound() {
    let with = |options: &[u8]| v4_with(0, 17, options, UDP);
    for (options, held, not_held) in [
        (&[7, 7, 4, 0, 0, 0, 0, 0][..], &["rr", "RR", "any", "eol"][..], &["ts", "nop", "lsrr"][..]),
        (&[1, 131, 7, 4, 10, 0, 0, 1], &["nop", "lsrr", "any"], &["ssrr", "eol", "rr"]),
        (&[137, 7, 8, 10, 0, 0, 1, 0], &["ssrr"], &["lsrr"]),
        // A pointer that is no place of an address, or lies behind the option.
        (&[7, 7, 5, 0, 0, 0, 0, 0], &["eol"], &["rr"]),
        (&[7, 7, 12, 0, 0, 0, 0, 0], &["eol"], &["rr"]),
        (&[68, 8, 5, 0, 0, 0, 0, 0], &["ts"], &["rr"]),
        (&[68, 8, 6, 0, 0, 0, 0, 0], &[], &["ts", "any"]),
        (&[148, 4, 0, 0], &["rtralt"], &["satid"]),
        (&[136, 4, 0, 1], &["satid"], &["rtralt"]),
        (&[133, 3, 0, 0], &["esec", "eol"], &["sec"]),
        (&[130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &["sec"], &["esec"]),
        (&[134, 10, 0, 0, 0, 1, 1, 4, 0, 0, 1, 0], &["cipso"], &[]),
        (&[25, 8, 0, 0, 0, 0, 0, 0], &["qs"], &[]),
        // A length that cannot be ends the list.
        (&[148, 9, 0, 0, 136, 4, 0, 0], &[], &["rtralt", "satid", "any"]),
        (&[200, 4, 0, 0], &[], &["any"]),
    ] {
        let frame = with(options);
        held.iter().for_each(|text| {
            assert!(holds_in(&format!("ipopts:{text}"), &frame, None), "{text} {options:?}")
        });
        not_held.iter().for_each(|text| {
            assert!(!holds_in(&format!("ipopts:{text}"), &frame, None), "{text} {options:?}")
        });
    }
    assert!(read("ipopts:none").is_err() && read("ipopts:").is_err() && read("ipopts").is_err());
}

#[test]
fn vlans_are_counted_and_asked_by_layer() {
    let tagged = |tags: &[u16]| ethernet(tags, 0x0800, &v4(17, UDP)[14..]);
    check(&tagged(&[]), &["vlan.layers:0"], &["vlan.id:!5", "vlan.layers:>0", "vlan.id:0", "vlan.id:!5,all"]);
    check(&tagged(&[]), &["vlan.id:!5,all_or_absent", "vlan.id:5,or_absent", "vlan.id:count 0"], &[]);
    // The upper bits are priorities.
    check(
        &tagged(&[0x6000 | 300, 200]),
        &[
            "vlan.id:300",
            "vlan.id:200",
            "vlan.id:300,0",
            "vlan.id:200,1",
            "vlan.id:200,-1",
            "vlan.id:>199,all",
            "vlan.layers:2",
            "vlan.id:!200,0",
            "vlan.id:0xC8,1",
            "vlan.id:250-350,0",
        ],
        &[
            "vlan.id:200,0",
            "vlan.id:300,-1",
            "vlan.id:300,2",
            "vlan.id:300,all",
            "vlan.layers:1",
            "vlan.id:100",
        ],
    );
    check(&tagged(&[7, 0, 9]), &["vlan.layers:3", "vlan.id:0", "vlan.id:9,-1"], &["vlan.id:9,1"]);
    for wrong in ["4096", "600,abc", "600,3", "600,-4", "200abc", "", "1,2,3"] {
        assert!(read(&format!("vlan.id:{wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn a_fragment_has_no_transport_and_its_datagram_has_one() {
    let segment = tcp(2, &[2, 4, 5, 0xb4], b"abcdefgh");
    let (first, second) = segment.split_at(24);
    let options = [148, 4, 0, 0];
    let frames = [v4_with(0x2000, 6, &options, first), v4_with(0x0003, 6, &[], second)];
    let mut decoder = Decoder::new(1 << 20, Duration::from_secs(30));
    let mut see = |at: usize| {
        let (frames, decoder) = (&frames, &mut decoder);
        move |held: &[&str], not_held: &[&str]| {
            let data = frames[at].as_slice();
            let frame = Frame { link: LinkType::ETHERNET, data, wire_len: data.len() as u32, ..Frame::EMPTY };
            let packet = decoder.decode(&frame, &mut DecodeCounters::default()).expect("a packet");
            let facts = PacketFacts { packet: &packet, flow: None, decode_events: &[], stream_events: &[] };
            held.iter().for_each(|text| assert!(test(text).holds(&facts), "{text}"));
            not_held.iter().for_each(|text| assert!(!test(text).holds(&facts), "{text}"));
        }
    };
    see(0)(
        &["fragbits:M", "fragoffset:0", "ipopts:rtralt", "id:777", "dsize:0", "ip_proto:6"],
        &["flags:S", "flags:!A", "seq:100", "tcp.mss:1460", "fragbits:D"],
    );
    // The whole has the first fragment's header, and nothing about fragments.
    see(1)(
        &["flags:S", "tcp.mss:1460", "dsize:8", "fragbits:!M", "fragoffset:0", "ipopts:rtralt", "id:777"],
        &["fragbits:M", "fragoffset:>0"],
    );
}

#[test]
fn the_offset_of_a_later_fragment_is_in_eights_with_v4_and_in_bytes_with_v6() {
    for (first, second, offset) in [
        (v4_with(0x2000, 17, &[], &[0; 24]), v4_with(0x2003, 17, &[], &[0; 8]), 3),
        (
            v6(44, &[&[17, 0, 0, 1, 0, 0, 0, 9][..], &[0; 24]].concat()),
            v6(44, &[&[17, 0, 0, 25, 0, 0, 0, 9][..], &[0; 8]].concat()),
            24,
        ),
    ] {
        let mut decoder = Decoder::new(1 << 20, Duration::from_secs(30));
        for (data, offset) in [(first, 0), (second, offset)] {
            let frame =
                Frame { link: LinkType::ETHERNET, data: &data, wire_len: data.len() as u32, ..Frame::EMPTY };
            let packet = decoder.decode(&frame, &mut DecodeCounters::default()).expect("a packet");
            let facts = PacketFacts { packet: &packet, flow: None, decode_events: &[], stream_events: &[] };
            assert!(test(&format!("fragoffset:{offset}")).holds(&facts), "{offset}");
            assert!(!test(&format!("fragoffset:!{offset}")).holds(&facts), "{offset}");
        }
    }
}

#[test]
fn headers_are_given_as_buffers() {
    let bytes = |name: &str, frame: &[u8]| {
        let frame =
            Frame { link: LinkType::ETHERNET, data: frame, wire_len: frame.len() as u32, ..Frame::EMPTY };
        let Parsed::Packet(packet) = parse(&frame, Tunnels::Outer, &mut DecodeCounters::default()) else {
            panic!("no packet")
        };
        HeaderBuffer::of(name).expect("a buffer").bytes(&packet).map(<[u8]>::to_vec)
    };
    let segment = tcp(2, &[2, 4, 5, 0xb4], b"data");
    let frame = v4_with(0, 6, &[148, 4, 0, 0], &segment);
    assert_eq!(bytes("ether.hdr", &frame), Some(frame[..14].to_vec()));
    assert_eq!(bytes("ipv4.hdr", &frame), Some(frame[14..38].to_vec()));
    assert_eq!(bytes("tcp.hdr", &frame), Some(segment[..24].to_vec()));
    ["ipv6.hdr", "udp.hdr", "icmpv4.hdr", "igmp.hdr"]
        .iter()
        .for_each(|name| assert_eq!(bytes(name, &frame), None));
    let frame = v4(17, UDP);
    assert_eq!(bytes("udp.hdr", &frame), Some(UDP[..8].to_vec()));
    let frame = v6(60, &[&[17, 0, 1, 4, 0, 0, 0, 0][..], UDP].concat());
    assert_eq!(bytes("ipv6.hdr", &frame), Some(frame[14..62].to_vec()));
    assert_eq!(bytes("udp.hdr", &frame), Some(UDP[..8].to_vec()));
    assert_eq!(bytes("icmpv4.hdr", &v4(1, &[8, 0, 0, 0, 0, 1, 0, 2, 9])), Some(vec![8, 0, 0, 0, 0, 1, 0, 2]));
    assert_eq!(bytes("icmpv4.hdr", &v4(1, &[13; 30])), Some(vec![13; 20]));
    assert_eq!(bytes("icmpv6.hdr", &v6(58, &[128; 9])), Some(vec![128; 8]));
    assert_eq!(bytes("igmp.hdr", &v4(2, &[0x16; 8])), Some(vec![0x16; 8]));
    assert_eq!(bytes("tcp.hdr", &v4(6, &segment[..20])), None);
    assert!(HeaderBuffer::of("http.header").is_none());
}

#[test]
fn checksums_are_right_or_wrong_where_they_can_be_told() {
    // Captured: an IPv4 header, and an echo request whose checksums are right.
    let header = [0x45, 0, 0, 0x1c, 0, 1, 0, 0, 64, 1, 0x66, 0xdd, 10, 0, 0, 1, 10, 0, 0, 2];
    let echo = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
    let mut frame = ethernet(&[], 0x0800, &[&header[..], &echo].concat());
    check(
        &frame,
        &["ipv4-csum:valid", "icmpv4-csum:Valid", "icmpv4-csum:\"valid\""],
        &[
            "ipv4-csum:invalid",
            "icmpv4-csum:invalid",
            "tcpv4-csum:valid",
            "tcpv4-csum:invalid",
            "icmpv6-csum:invalid",
        ],
    );
    frame[41] ^= 1;
    frame[25] ^= 1;
    check(&frame, &["ipv4-csum:invalid", "icmpv4-csum:invalid"], &["ipv4-csum:valid", "icmpv4-csum:valid"]);
    // UDP's covers the addresses and the length; over IPv4 it may be missing.
    let mut datagram = UDP.to_vec();
    check(&v4(17, &datagram), &["udpv4-csum:valid"], &["udpv4-csum:invalid"]);
    check(&v6(17, &datagram), &["udpv6-csum:invalid"], &["udpv6-csum:valid"]);
    let words = [0x0a00, 1, 0x0a00, 2, 17, 12, 1000, 53, 12, 0x6162, 0x6364];
    let sum: u32 = words.iter().sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    check(&v4(17, &datagram), &["udpv4-csum:valid"], &["udpv4-csum:invalid"]);
    datagram[9] ^= 1;
    check(&v4(17, &datagram), &["udpv4-csum:invalid"], &["udpv4-csum:valid"]);
    assert!(read("ipv4-csum:maybe").is_err() && read("ipv4-csum").is_err());
}

fn flow() -> FlowFacts {
    FlowFacts {
        direction: Direction::Forward,
        packets: [10, 3],
        octets: [3000, 200],
        start: Timestamp(5_900_000_000),
        last: Timestamp(8_100_000_000),
        stream_sizes: Some([50, 1]),
        apps: AppFacts::default(),
    }
}

#[test]
fn counts_of_flows_are_compared_by_direction() {
    let frame = v4(6, &tcp(16, &[], b""));
    for (held, not_held) in [
        ("flow.pkts:toserver,=10", "flow.pkts:toserver,>10"),
        ("flow.pkts:toclient,3", "flow.pkts:toclient,=10"),
        ("flow.pkts: toclient , <4", "flow.pkts:toclient,<3"),
        ("flow.pkts:either,=10", "flow.pkts:either,=11"),
        ("flow.pkts:both,>2", "flow.pkts:both,>3"),
        ("flow.pkts_toclient:3", "flow.pkts_toclient:10"),
        ("flow.pkts_toserver:>9", "flow.pkts_toserver:3"),
        ("flow.bytes:toserver,>2kb", "flow.bytes:toserver,<3000"),
        ("flow.bytes_toclient:<201", "flow.bytes_toclient:>200"),
        ("flow.bytes:either,200", "flow.bytes:both,200"),
        // From second 5 to second 8, as the clock shows them.
        ("flow.age:3", "flow.age:2"),
        ("flow.age:>2", "flow.age:>3"),
        ("stream_size:client,=,50", "stream_size:server,=,50"),
        ("stream_size:server,<,5", "stream_size:server,<,1"),
        ("stream_size:either,>,49", "stream_size:both,>,49"),
        ("stream_size:both,<=,50", "stream_size:both,<,50"),
        ("stream_size: client , != , 49", "stream_size:client,!=,50"),
        ("stream_size:client,>=,0", "stream_size:client,<,0"),
    ] {
        assert!(holds_in(held, &frame, Some(&flow())), "{held}");
        assert!(!holds_in(not_held, &frame, Some(&flow())), "{not_held}");
    }
    let unknown = FlowFacts { stream_sizes: None, ..flow() };
    assert!(!holds_in("stream_size:both,!=,1", &frame, Some(&unknown)));
    for wrong in [
        "flow.pkts:10",
        "flow.pkts:server,10",
        "flow.pkts:toserver",
        "flow.pkts:toserver,",
        "flow.pkts_toserver:toserver,1",
        "flow.pkts:toserver,4294967296",
        "flow.bytes:toserver,<0",
        "flow.age:x",
        "flow.elephant:toserver",
        "flow.elephant",
        "stream_size:server,<",
        "stream_size:server,<>,5",
        "stream_size:me,<,5",
        "stream_size:server,<,x",
        "stream_size:server,<,4294967296",
        "stream_size:server,<,5,6",
        "stream_size:server,<,+5",
        "asn1:bitstring_overflow",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn sizes_of_streams_count_the_syn_and_follow_what_is_new() {
    let mut sizes = StreamSizes::default();
    let mut see = |direction, flags: u8, sequence: u32, ack: u32, payload: &[u8]| {
        let mut segment = tcp(flags, &[], payload);
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
        segment[8..12].copy_from_slice(&ack.to_be_bytes());
        let frame = v4(6, &segment);
        let frame =
            Frame { link: LinkType::ETHERNET, data: &frame, wire_len: frame.len() as u32, ..Frame::EMPTY };
        let Parsed::Packet(packet) = parse(&frame, Tunnels::Outer, &mut DecodeCounters::default()) else {
            panic!("no packet")
        };
        sizes.see(&packet, direction);
        sizes.sizes()
    };
    let (client, server) = (Direction::Forward, Direction::Reverse);
    let begin = u32::MAX - 2;
    assert_eq!(see(client, 2, begin, 0, b""), [1, 0]);
    assert_eq!(see(server, 0x12, 500, begin.wrapping_add(1), b""), [1, 1]);
    assert_eq!(see(client, 0x10, begin.wrapping_add(1), 501, b""), [1, 1]);
    assert_eq!(see(client, 0x18, begin.wrapping_add(1), 501, b"0123456789"), [11, 1]);
    // Again, and what no window reaches.
    assert_eq!(see(client, 0x18, begin.wrapping_add(1), 501, b"0123456789"), [11, 1]);
    assert_eq!(see(server, 0x18, 501 + (1 << 31), 0, b"x"), [11, 1]);
    assert_eq!(see(server, 4, 900, 0, b"x"), [11, 1]);
    assert_eq!(see(server, 0x18, 501, 8, b"abc"), [11, 4]);
    sizes.flip();
    assert_eq!(sizes.sizes(), [4, 11]);
    // A closed port's answer begins nothing; a flow seen from its middle begins before what is seen.
    assert_eq!(StreamSizes::default().sizes(), [0, 0]);
}

#[test]
fn applications_are_asked_by_direction_and_time() {
    let frame = v4(6, &tcp(16, &[], b""));
    let known = |app| AppKnown::Known(app);
    let apps = AppFacts {
        by_direction: [known(App::Http), known(App::Ssh)],
        original: known(App::Smtp),
        current: known(App::Tls),
    };
    let there = FlowFacts { apps, ..flow() };
    let back = FlowFacts { direction: Direction::Reverse, ..there };
    let fresh = flow();
    let failed = FlowFacts { apps: AppFacts { by_direction: [AppKnown::Failed; 2], ..apps }, ..flow() };
    for (text, flow, is_held) in [
        ("http", &there, true),
        ("http1", &there, true),
        ("http2", &there, false),
        ("ssh", &there, false),
        ("ssh", &back, true),
        ("!ssh", &there, true),
        ("!http", &there, false),
        ("\"http\"", &there, true),
        ("!\"http\"", &there, false),
        ("ssh,to_client", &there, true),
        ("ssh,to_server", &there, false),
        ("ssh,direction", &back, true),
        ("tls,final", &there, true),
        ("!tls,final", &there, false),
        ("smtp,original", &there, true),
        ("http,original", &there, false),
        ("ssh,either", &there, true),
        ("tls,either", &there, false),
        ("!tls,either", &there, true),
        ("!ssh,either", &there, false),
        ("tls,http", &there, true),
        ("tls,ssh,either", &there, true),
        ("!tls,ssh", &there, true),
        ("failed", &there, false),
        ("failed", &failed, true),
        ("!tls", &failed, true),
        // Nothing is known yet.
        ("tls", &fresh, false),
        ("!tls", &fresh, false),
        ("!tls,either", &fresh, false),
        ("unknown", &fresh, true),
        ("unknown", &there, false),
    ] {
        assert_eq!(holds_in(&format!("app-layer-protocol:{text}"), &frame, Some(flow)), is_held, "{text}");
    }
    for wrong in ["", "!", "nothing", "tls,nothing", "tls,,final", "final", "!unknown", &"tls,".repeat(17)] {
        assert!(read(&format!("app-layer-protocol:{wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn events_hold_for_the_packet_that_shows_them() {
    let frame = v4(6, &tcp(16, &[], b""));
    let frame = Frame { link: LinkType::ETHERNET, data: &frame, wire_len: 60, ..Frame::EMPTY };
    let Parsed::Packet(packet) = parse(&frame, Tunnels::Outer, &mut DecodeCounters::default()) else {
        panic!("no packet")
    };
    let facts = PacketFacts {
        packet: &packet,
        flow: None,
        decode_events: &["decoder.ipv4.trunc_pkt"],
        stream_events: &["stream.reassembly_seq_gap"],
    };
    assert!(test("decode-event:ipv4.trunc_pkt").holds(&facts));
    assert!(!test("decode-event:udp.len_invalid").holds(&facts));
    assert!(test("stream-event:reassembly_seq_gap").holds(&facts));
    assert!(!test("engine-event:stream.pkt_broken_ack").holds(&facts));
}

#[test]
fn frames_without_a_packet_have_one_for_their_events() {
    let mut frame = v4(17, UDP);
    frame.truncate(40);
    let frame = Frame { link: LinkType::ETHERNET, data: &frame, wire_len: 40, ..Frame::EMPTY };
    let mut seen = Vec::new();
    crate::decode::events(&frame, &mut |event| seen.push(event));
    let packet = packet_of(&seen[0]);
    let facts =
        PacketFacts { packet: &packet, flow: None, decode_events: &[seen[0].name], stream_events: &[] };
    assert!(test("decode-event:ipv4.trunc_pkt").holds(&facts) && test("ip_proto:17").holds(&facts));
    assert!(!test("id:!1").holds(&facts));
}

#[test]
fn calls_of_rpc_are_told_by_program_version_and_procedure() {
    let call = [&[0, 0, 0, 7][..], &[0; 4], &[0, 0, 0, 2], &[0, 1, 0x86, 0xa0], &[0, 0, 0, 2], &[0, 0, 0, 3]]
        .concat();
    let over_udp = v4(17, &[&[3, 232, 0, 111, 0, 32, 0, 0][..], &call].concat());
    let over_tcp = v4(6, &tcp(0x18, &[], &[&[0x80, 0, 0, 24][..], &call].concat()));
    for frame in [&over_udp, &over_tcp] {
        check(
            frame,
            &["rpc:100000,2,3", "rpc:100000,*,3", "rpc:100000,2,*", "rpc:100000, *, *", "rpc:100000"],
            &["rpc:100001,*,*", "rpc:100000,3,*", "rpc:100000,2,4"],
        );
    }
    check(&v4(6, &tcp(0x18, &[], &call)), &[], &["rpc:100000,*,*"]);
    check(&v4(6, &tcp(0x18, &[], &call[..20])), &[], &["rpc:100000,*,*"]);
    for wrong in ["", "x", "1,x", "1,2,3,4", "4294967296", "*"] {
        assert!(read(&format!("rpc:{wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn options_without_effect_are_read_all_the_same() {
    let effectless = |text: &str| effectless(&option(text));
    for sound in [
        "prefilter",
        "tag:session",
        "tag:session,5,packets",
        "tag: host , 100 , seconds , src",
        "tag:session,300,bytes",
    ] {
        assert_eq!(effectless(sound), Some(Ok(())), "{sound}");
    }
    for wrong in [
        "prefilter:x",
        "tag",
        "tag:me",
        "tag:session,5",
        "tag:session,x,packets",
        "tag:host,1,days",
        "tag:host,1,bytes,up",
    ] {
        assert!(matches!(effectless(wrong), Some(Err(_))), "{wrong}");
    }
    assert!(effectless("ttl:5").is_none() && PacketTest::option(&option("content:\"x\"")).is_none());
}

#[test]
fn a_refusal_names_the_keyword_its_value_and_the_reason() {
    for (text, reason) in [
        ("ttl:256", "`ttl:256`: a number is larger than 255"),
        ("ttl", "`ttl` needs a value"),
        ("flags:SX", "`flags:SX`: no bit has the letter `X`"),
        ("sameip:1", "`sameip` takes no value"),
        (
            "dsize:<0",
            "`dsize:<0`: every number passes this comparison with 0, or none: they go from 0 to 65535",
        ),
        ("decode-event:x.y", "`decode-event:x.y`: cannot run: nothing here tells the event `decoder.x.y`"),
        ("vlan.id:5,7", "`vlan.id:5,7`: a packet has at most 3 VLANs: expected a place from -3 to 2"),
    ] {
        assert_eq!(read(text), Err((Place { line: 1, column: 1 }, reason.to_owned())), "{text}");
    }
}

#[test]
fn a_test_is_as_small_as_its_numbers() {
    assert!(size_of::<PacketTest>() <= 40, "{}", size_of::<PacketTest>());
    assert!(LinkHeader::NONE.ethernet().is_none());
}

/// Every keyword, with a value that every packet's field could pass.
const ALL: &[&str] = &[
    "dsize:!1",
    "flags:!S",
    "seq:!1",
    "ack:!1",
    "window:!1",
    "tcp.mss:!1",
    "tcp.wscale:!1",
    "ttl:!1",
    "tos:!1",
    "ipopts:rr",
    "id:!1",
    "ip_proto:!1",
    "sameip",
    "itype:!1",
    "icode:!1",
    "icmp_id:!1",
    "icmp_seq:!1",
    "icmpv6.mtu:!1",
    "fragbits:!R",
    "fragoffset:!1",
    "vlan.id:!1,-1",
    "vlan.layers:!1",
    "igmp.type:!1",
    "ipv4-csum:valid",
    "tcpv4-csum:valid",
    "tcpv6-csum:valid",
    "udpv4-csum:valid",
    "udpv6-csum:invalid",
    "icmpv4-csum:valid",
    "icmpv6-csum:invalid",
    "igmp-csum:valid",
    "rpc:0,*,*",
];
const HEADERS: &[&str] =
    &["ether.hdr", "ipv4.hdr", "ipv6.hdr", "tcp.hdr", "udp.hdr", "icmpv4.hdr", "icmpv6.hdr", "igmp.hdr"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_bytes_come_nothing_breaks(
        bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..6usize, number in 0..8usize,
    ) {
        let number = [0, 1, 2, 6, 17, 44, 58, 60][number];
        let mut frame = match kind {
            0 => v4(number, &bytes),
            1 => v6(number, &bytes),
            2 => v4_with(0x2000, number, &bytes.get(..8).unwrap_or(&[]).to_vec(), &bytes),
            3 => ethernet(&[5, 0, 7], 0x0800, &v4(number, &bytes)[14..]),
            4 => ethernet(&[5], 0x86dd, &v6(number, &bytes)[14..]),
            _ => ethernet(&[], 0x0800, &bytes),
        };
        if let (Some(at), true) = (bytes.first(), kind < 5) {
            let at = 14 + usize::from(*at) % (frame.len() - 14);
            frame[at] = bytes.last().copied().unwrap_or_default();
        }
        for len in [frame.len(), frame.len() / 2] {
            let data = &frame[..len];
            let frame = Frame { link: LinkType::ETHERNET, data, wire_len: len as u32, ..Frame::EMPTY };
            let mut decoder = Decoder::new(1 << 20, Duration::from_secs(30));
            let Some(packet) = decoder.decode(&frame, &mut DecodeCounters::default()) else { continue };
            let facts = PacketFacts { packet: &packet, flow: None, decode_events: &[], stream_events: &[] };
            for text in ALL {
                test(text).holds(&facts);
            }
            for name in HEADERS {
                HeaderBuffer::of(name).and_then(|header| header.bytes(&packet));
            }
        }
    }

    #[test]
    fn whatever_is_written_nothing_breaks(
        name in 0..ALL.len() + 12, value in "[-!<>=&*+,:.a-zA-Z0-9 \"x]{0,12}", wild in any::<Vec<u8>>(),
    ) {
        let more = ["flow.pkts:", "flow.bytes:", "flow.age:", "stream_size:", "decode-event:", "stream-event:", "engine-event:",
            "app-layer-protocol:", "app-layer-event:", "requires:", "tag:", "flow.pkts_toclient:"];
        let name = ALL.iter().chain(&more).nth(name).and_then(|text| text.split(':').next()).unwrap_or_default();
        for value in [value.into_bytes(), wild] {
            let option = RuleOption { value: Some(value), ..option(name) };
            let _ = (PacketTest::option(&option), app_layer_event(&option), effectless(&option));
            let _ = requires(&option, |_| true);
        }
    }
}
