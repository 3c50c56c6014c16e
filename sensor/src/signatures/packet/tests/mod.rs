//! Each keyword on frames as they come from the wire, from both sides of each border.

mod fields;
mod flows;

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
    let mut header = [&start[..], &[10, 0, 0, 1, 10, 0, 0, 2], options].concat();
    let words = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.fold(0, |sum, word| (sum + word) % 0xffff);
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    ethernet(&[], 0x0800, &[&header[..], payload].concat())
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
    let header = [0x45, 0, 0, 0x1c, 0, 1, 0, 0, 64, 1, 0x66, 0xde, 10, 0, 0, 1, 10, 0, 0, 2];
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
            2 => v4_with(0x2000, number, bytes.get(..8).unwrap_or(&[]), &bytes),
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
            let _ = requires(&option, |asked| matches!(asked, Asked::Keyword(_)));
        }
    }
}

/// From port 1000 to 80 with tag 7: DATA with two bytes, DATA with none, and INIT.
const SCTP: &[u8] = &[
    3, 232, 0, 80, 0, 0, 0, 7, 1, 2, 3, 4, 0, 3, 0, 18, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'h', b'i', 0, 0,
    0, 3, 0, 16, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4,
];

#[test]
fn chunks_of_sctp_are_counted_and_told_apart() {
    check(
        &v4(132, SCTP),
        &[
            "sctp.vtag:7",
            "sctp.chunk_cnt:3",
            "sctp.chunk_cnt:>2",
            "sctp.chunk_type:data",
            "sctp.chunk_type:INIT",
            "sctp.chunk_type:!init",
            "sctp.chunk_type:<1",
        ],
        &["sctp.vtag:!7", "sctp.chunk_cnt:2", "sctp.chunk_type:abort", "sctp.chunk_type:>1"],
    );
    // A chunk that is longer than the packet is none.
    check(&v4(132, &SCTP[..30]), &["sctp.chunk_cnt:1"], &["sctp.chunk_type:init"]);
    check(&v4(132, &SCTP[..29]), &["sctp.chunk_cnt:0"], &["sctp.chunk_type:data"]);
    check(&v4(132, &SCTP[..11]), &[], &["sctp.chunk_cnt:0", "sctp.vtag:7"]);
    check(&v4(17, SCTP), &[], &["sctp.chunk_cnt:>0", "sctp.vtag:7", "sctp.chunk_type:!init"]);
    for wrong in ["sctp.chunk_type:nothing", "sctp.chunk_type:256", "sctp.vtag:x", "sctp.chunk_cnt"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn chunks_of_sctp_are_given_as_buffers() {
    let frame = v4(132, SCTP);
    let frame =
        Frame { link: LinkType::ETHERNET, data: &frame, wire_len: frame.len() as u32, ..Frame::EMPTY };
    let Parsed::Packet(packet) = parse(&frame, Tunnels::Outer, &mut DecodeCounters::default()) else {
        panic!("no packet")
    };
    assert_eq!(HeaderBuffer::of("sctp.hdr").and_then(|buffer| buffer.bytes(&packet)), Some(SCTP));
    let mut seen = Vec::new();
    let data = HeaderBuffer::of("sctp.chunk_data").unwrap();
    data.any(&packet, |bytes| {
        seen.push(bytes.to_vec());
        false
    });
    assert_eq!(seen, [b"hi"]);
}
