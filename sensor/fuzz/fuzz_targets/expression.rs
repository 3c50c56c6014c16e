//! The planner: whatever libpcap compiles and a frame matches, the frame's block must be in the plan.
//!
//! Expressions are made of pcap-filter(7)'s words, frames of layers with the same addresses and ports, so that they
//! meet. Names are left out: libpcap would ask the resolver.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_sensor::capture::LinkType;
use weir_sensor::capture::bpf::Filter;
use weir_sensor::query::expression::Need;
use weir_sensor::ring::fuzzing;
use weir_sensor::ring::summary::Summary;
use weir_sensor_fuzz::Input;

const LINKS: [LinkType; 8] = [
    LinkType::ETHERNET,
    LinkType::RAW,
    LinkType::LINUX_SLL,
    LinkType::LINUX_SLL2,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::NULL,
    LinkType::LOOP,
];

/// Words, most useful first; the last are there to confuse the reading.
const WORDS: [&str; 128] = [
    "host",
    "net",
    "port",
    "portrange",
    "proto",
    "src",
    "dst",
    "and",
    "or",
    "not",
    "(",
    ")",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "vlan",
    "mpls",
    "pppoes",
    "ether",
    "less",
    "greater",
    "len",
    "10.0.0.1",
    "10.0.0.2",
    "192.168.1.1",
    "10",
    "10.0",
    "192.168",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "0.0.0.0/0",
    "10.0.0.1/32",
    "fe80::1",
    "2001:db8::2",
    "fe80::/10",
    "2001:db8::/32",
    "2001:db8::/64",
    "::/0",
    "fe80::1/128",
    "::ffff:10.0.0.1",
    "53",
    "80",
    "8",
    "10",
    "010",
    "0x35",
    "035",
    "0",
    "6",
    "17",
    "021",
    "58",
    "1",
    "132",
    "5",
    "50-60",
    "1-1023",
    "80-53",
    "010-020",
    "0-65535",
    "53:80",
    "==",
    "=",
    "!=",
    ">",
    "<",
    ">=",
    "<=",
    "&",
    "|",
    "+",
    "-",
    "*",
    "/",
    "%",
    "<<",
    ">>",
    "[",
    "]",
    ":",
    "!",
    "&&",
    "||",
    "tcp[13]",
    "tcp[tcpflags]",
    "tcp-syn",
    "ip[9]",
    "ip[6:2]",
    "ip6[6]",
    "udp[0:2]",
    "ether[12:2]",
    "vlan",
    "broadcast",
    "multicast",
    "mask",
    "255.0.0.0",
    "gateway",
    "protochain",
    "link",
    "ah",
    "esp",
    "pim",
    "vrrp",
    "carp",
    "igrp",
    "stp",
    "aarp",
    "iso",
    "decnet",
    "inbound",
    "outbound",
    "ifname",
    "geneve",
    "pppoed",
    "00",
    "08",
    "65535",
    "65536",
    "4096",
    "20",
    "100",
];

const V4: [[u8; 4]; 6] =
    [[10, 0, 0, 1], [10, 0, 0, 2], [192, 168, 1, 1], [0, 0, 0, 10], [0, 0, 0, 8], [8, 8, 8, 8]];
const PORTS: [u16; 8] = [53, 80, 8, 10, 16, 29, 1023, 0];
const PROTOCOLS: [u8; 10] = [6, 17, 132, 1, 58, 44, 0, 2, 50, 200];

fn v6(input: &mut Input<'_>) -> [u8; 16] {
    let mut address = [0; 16];
    match input.u8() % 4 {
        0 => address[..2].copy_from_slice(&[0xfe, 0x80]),
        1 => address[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]),
        2 => address[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]),
        _ => {}
    }
    address[15] = address[15].max(input.u8() % 3);
    address
}

fn ipv4(input: &mut Input<'_>, out: &mut Vec<u8>) {
    let words = input.one_of(&[5u8, 5, 5, 6, 2, 0, 15]);
    let fragment = input.one_of(&[0u8, 0, 0, 0x20, 1]);
    out.extend_from_slice(&[0x40 | words, 0, 0, 40, 0, 1, fragment, 0, 64, input.one_of(&PROTOCOLS), 0, 0]);
    out.extend_from_slice(&input.one_of(&V4));
    out.extend_from_slice(&input.one_of(&V4));
    out.extend_from_slice(&[0; 4][..usize::from(words == 6) * 4]);
    transport(input, out);
}

fn ipv6(input: &mut Input<'_>, out: &mut Vec<u8>) {
    let next = input.one_of(&PROTOCOLS);
    out.extend_from_slice(&[0x60, 0, 0, 0, 0, 8, next, 64]);
    out.extend_from_slice(&v6(input));
    out.extend_from_slice(&v6(input));
    if next == 44 {
        out.extend_from_slice(&[input.one_of(&PROTOCOLS), 0, 0, 0, 0, 0, 0, 1]);
    }
    transport(input, out);
}

fn transport(input: &mut Input<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&input.one_of(&PORTS).to_be_bytes());
    out.extend_from_slice(&input.one_of(&PORTS).to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0x50, input.u8(), 0, 0]);
}

fn arp(input: &mut Input<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1, 1, 1, 1, 1, 1, 1]);
    out.extend_from_slice(&input.one_of(&V4));
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&input.one_of(&V4));
}

/// A frame of layers that fit each other, cut off anywhere, and a byte or two changed.
fn frame(link: LinkType, input: &mut Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = input.u8() % 4;
    let ethertype: [u8; 2] = [[8, 0], [0x86, 0xdd], [8, 6], [0x80, 0x35]][usize::from(kind)];
    match link {
        LinkType::ETHERNET => {
            out.extend_from_slice(&[2; 12]);
            for _ in 0..input.u8() % 8 / 2 {
                out.extend_from_slice(&input.one_of(&[[0x81, 0], [0x88, 0xa8], [0x91, 0]]));
                out.extend_from_slice(&input.one_of(&[[0, 8], [0x20, 10], [0, 5], [0xff, 0xff]]));
            }
            out.extend_from_slice(&ethertype);
        }
        LinkType::LINUX_SLL => {
            out.extend_from_slice(&[0; 14]);
            out.extend_from_slice(&ethertype);
        }
        LinkType::LINUX_SLL2 => {
            out.extend_from_slice(&ethertype);
            out.extend_from_slice(&[0; 18]);
        }
        LinkType::NULL => {
            out.extend_from_slice(&[[2, 0, 0, 0], [10, 0, 0, 0], [30, 0, 0, 0], [0; 4]][usize::from(kind)])
        }
        LinkType::LOOP => {
            out.extend_from_slice(&[[0, 0, 0, 2], [0, 0, 0, 10], [0, 0, 0, 30], [0; 4]][usize::from(kind)])
        }
        _ => {}
    }
    match kind {
        0 => ipv4(input, &mut out),
        1 => ipv6(input, &mut out),
        _ => arp(input, &mut out),
    }
    for _ in 0..input.u8() % 3 {
        let at = usize::from(input.u8()) % out.len();
        out[at] = input.u8();
    }
    out
}

fn expression(input: &mut Input<'_>) -> String {
    let mut text = String::new();
    for _ in 0..1 + input.u8() % 16 {
        text.push_str(input.one_of(&WORDS));
        text.push(' ');
    }
    text
}

fuzz_target!(|data: &[u8]| {
    // Any text at all is read without a panic, libpcap's or not.
    Need::of(&String::from_utf8_lossy(data));
    let mut input = Input(data);
    let link = input.one_of(&LINKS);
    let expression = expression(&mut input);
    let need = Need::of(&expression);
    let Ok(filter) = Filter::compile(&expression, link) else { return };
    let frame = frame(link, &mut input);
    // What was captured of it: all, and every shorter piece.
    for length in 0..=frame.len() {
        let captured = &frame[..length];
        if filter.matches(captured, frame.len() as u32) {
            let summary = fuzzing::summary_of_frame(link, captured);
            let summary = Summary::parse(&summary).expect("a summary that was made is read");
            assert!(need.may_match(&summary), "{link:?} `{expression}` misses {captured:02x?}: {need:?}");
        }
    }
});
