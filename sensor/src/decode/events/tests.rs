//! Each fault from both sides of its border, in frames made by hand.

use super::*;
use crate::capture::LinkType;
use crate::counters::DecodeCounters;
use crate::decode::{Decoder, Parsed};
use std::time::Duration;
use weir_common::time::Timestamp;

/// Names without `decoder.`.
fn of_frame(link: LinkType, data: &[u8]) -> Vec<&'static str> {
    let mut names = Vec::new();
    let frame = Frame { link, data, wire_len: data.len() as u32, ..Frame::EMPTY };
    events(&frame, &mut |event| names.push(event.name.strip_prefix("decoder.").unwrap()));
    names
}

fn by_ethertype(kind: u16, bytes: &[u8]) -> Vec<&'static str> {
    of_frame(LinkType::ETHERNET, &ethernet(kind, bytes))
}

fn ethernet(kind: u16, bytes: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind.to_be_bytes(), bytes].concat()
}

fn seen(packet: &[u8]) -> Vec<&'static str> {
    by_ethertype(if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 }, packet)
}

fn v4(number: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let (header, total) = (20 + options.len(), (20 + options.len() + payload.len()) as u16);
    let [high, low] = total.to_be_bytes();
    let start = [0x40 | (header / 4) as u8, 0, high, low, 0, 0, 0, 0, 64, number, 0, 0];
    [&start[..], &[10, 0, 0, 1, 10, 0, 0, 2], options, payload].concat()
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let mut packet = [&[0x60, 0, 0, 0, high, low, next, 1][..], &[0; 32], payload].concat();
    (packet[8], packet[24], packet[39]) = (0xfe, 0xfe, 1);
    packet
}

/// A sound UDP datagram.
const UDP: [u8; 8] = [0, 1, 0, 2, 0, 8, 0, 0];

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len() as u16).to_be_bytes();
    [&[0x30, 0x39][..], &port.to_be_bytes(), &length, &[0, 0], payload].concat()
}

#[track_caller]
fn table(seen: impl Fn(&[u8]) -> Vec<&'static str>, cases: &[(&[u8], &[&str])]) {
    for (bytes, names) in cases {
        assert_eq!(seen(bytes), *names, "{bytes:02x?}");
    }
}

#[test]
fn lengths_that_contradict_the_bytes_are_named() {
    let whole = v4(17, &[], &UDP);
    assert!(seen(&whole).is_empty());
    assert_eq!(seen(&whole[..27]), ["ipv4.trunc_pkt"]);
    assert_eq!(seen(&whole[..19]), ["ipv4.pkt_too_small"]);
    let with_first = |first: u8| [&[first], &whole[1..]].concat();
    assert_eq!(by_ethertype(0x0800, &with_first(0x65)), ["ipv4.wrong_ip_version"]);
    assert_eq!(seen(&with_first(0x44)), ["ipv4.hlen_too_small"]);
    assert_eq!(seen(&with_first(0x4f)), ["ipv4.iplen_smaller_than_hlen"]);
    table(
        |bytes| seen(&v4(17, &[], bytes)),
        &[
            (&[0, 1, 0, 2, 0, 9, 0, 0], &["udp.pkt_too_small"]),
            (&[0, 1, 0, 2, 0, 7, 0, 0], &["udp.len_invalid"]),
            (&[0, 1, 0, 2, 0, 8, 0], &["udp.hlen_too_small"]),
            (&[0, 1, 0, 2, 0, 8, 0, 0, 9], &[]),
        ],
    );
    assert_eq!(seen(&v4(6, &[], &[0; 19])), ["tcp.pkt_too_small"]);
    let segment = |offset: u8| [&[0; 12][..], &[offset << 4], &[0; 7]].concat();
    assert_eq!(seen(&v4(6, &[], &segment(6))), ["tcp.hlen_too_small"]);
    assert_eq!(seen(&v4(6, &[], &segment(4))), ["tcp.invalid_optlen"]);
    assert!(seen(&v4(6, &[], &segment(5))).is_empty());
    assert_eq!(seen(&v4(50, &[], &[0; 7])), ["esp.pkt_too_small"]);
    assert!(seen(&v4(50, &[], &[0; 8])).is_empty());
    assert_eq!(seen(&v4(58, &[], &[0; 8])), ["ipv4.icmpv6"]);
    assert_eq!(seen(&v4(89, &[], &[0; 8])), ["ipv4.unknown_protocol"]);
}

#[test]
fn options_of_ipv4_are_judged() {
    table(
        |options| seen(&v4(17, options, &UDP)),
        &[
            (&[1, 1, 1, 0], &["ipv4.opt_pad_required"]),
            (&[148, 4, 0, 0, 1, 1, 1, 1], &[]),
            (&[148, 4, 0, 0, 148, 4, 0, 0], &["ipv4.opt_duplicate"]),
            (&[148, 9, 0, 0, 0, 0, 0, 0], &["ipv4.opt_invalid_len"]),
            (&[130, 2, 241, 53, 0, 0, 0, 0], &["ipv4.opt_invalid_len"]),
            (&[200, 8, 0, 0, 0, 0, 0, 0], &["ipv4.opt_invalid"]),
            (&[1, 1, 1, 1, 1, 1, 1, 148], &["ipv4.opt_eol_required"]),
            // Record route: the pointer stands on an address, or right behind the last.
            (&[7, 7, 4, 1, 2, 3, 4, 0], &[]),
            (&[7, 7, 8, 1, 2, 3, 4, 0], &[]),
            (&[7, 7, 5, 1, 2, 3, 4, 0], &["ipv4.opt_malformed"]),
            (&[7, 7, 12, 1, 2, 3, 4, 0], &["ipv4.opt_malformed"]),
            // Timestamps alone, and with addresses.
            (&[68, 8, 9, 0, 0, 0, 0, 0], &[]),
            (&[68, 8, 9, 1, 0, 0, 0, 0], &["ipv4.opt_malformed"]),
            (&[68, 8, 4, 0, 0, 0, 0, 0], &["ipv4.opt_malformed"]),
            // CIPSO, with one tag.
            (&[134, 10, 0, 0, 0, 1, 1, 4, 0, 1, 0, 0, 0, 0, 0, 0], &[]),
            (&[134, 10, 0, 0, 0, 1, 3, 4, 0, 1, 0, 0, 0, 0, 0, 0], &["ipv4.opt_malformed"]),
            (&[134, 10, 0, 0, 0, 1, 1, 4, 9, 1, 0, 0, 0, 0, 0, 0], &["ipv4.opt_malformed"]),
        ],
    );
}

#[test]
fn options_of_tcp_are_judged() {
    let with = |options: &[u8]| {
        let header = [&[0; 12][..], &[((20 + options.len()) / 4) as u8 * 16], &[0; 7], options].concat();
        seen(&v4(6, &[], &header))
    };
    table(
        with,
        &[
            (&[2, 4, 5, 180], &[]),
            (&[2, 4, 5, 180, 2, 4, 5, 180], &["tcp.opt_duplicate"]),
            (&[2, 3, 5, 1], &["tcp.opt_invalid_len"]),
            (&[2, 1, 5, 1], &["tcp.opt_invalid_len"]),
            (&[5, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1], &[]),
            (&[5, 9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1], &["tcp.opt_invalid_len"]),
            (&[34, 2, 1, 1], &[]),
            (&[34, 4, 1, 1], &["tcp.opt_invalid_len"]),
            (&[1, 1, 1, 8], &[]),
        ],
    );
}

#[test]
fn messages_of_icmp_that_nobody_defines_are_named() {
    table(
        |bytes| seen(&v4(1, &[], &[bytes, &[0; 6]].concat())),
        &[
            (&[8, 0], &[]),
            (&[8, 1], &["icmpv4.unknown_code"]),
            (&[1, 0], &["icmpv4.unknown_type"]),
            (&[3, 15], &[]),
            (&[3, 16], &["icmpv4.unknown_code"]),
        ],
    );
    assert_eq!(seen(&v4(1, &[], &[8, 0])), ["icmpv4.pkt_too_small"]);
    let about = |about: &[u8]| seen(&v4(1, &[], &[&[3, 1, 0, 0, 0, 0, 0, 0], about].concat()));
    assert_eq!(about(&[0x45; 19]), ["icmpv4.ipv4_trunc_pkt"]);
    assert_eq!(about(&[0x55; 20]), ["icmpv4.ipv4_unknown_ver"]);
    assert!(about(&[0x45; 20]).is_empty());
    table(
        |bytes| seen(&v6(58, &[bytes, &[0; 6]].concat())),
        &[
            (&[128, 0], &[]),
            (&[128, 3], &["icmpv6.unknown_code"]),
            (&[100, 0], &["icmpv6.experimentation_type"]),
            (&[255, 0], &["icmpv6.unassigned_type"]),
            (&[127, 0], &["icmpv6.unknown_type"]),
            (&[155, 128], &[]),
            (&[155, 127], &["icmpv6.unknown_code"]),
            (&[1, 0], &["icmpv6.ipv6_trunc_pkt"]),
            (&[1, 7], &["icmpv6.unknown_code"]),
            (&[130, 0], &[]),
        ],
    );
    let mut far = v6(58, &[130, 0, 0, 0, 0, 0, 0, 0]);
    far[7] = 2;
    assert_eq!(seen(&far), ["icmpv6.mld_message_with_invalid_hl"]);
    let about = |about: &[u8]| seen(&v6(58, &[&[1, 1, 0, 0, 0, 0, 0, 0], about].concat()));
    assert_eq!(about(&[0x50; 40]), ["icmpv6.ipv6_unknown_version"]);
    assert!(about(&[0x60; 40]).is_empty());
}

#[test]
fn extension_headers_are_judged() {
    let pad: [u8; 6] = [5, 2, 0, 0, 1, 0];
    let chain = |kinds: &[u8]| {
        let mut bytes = Vec::new();
        for (at, _) in kinds.iter().enumerate() {
            bytes.extend([kinds.get(at + 1).copied().unwrap_or(17), 0]);
            bytes.extend(if kinds[at] == 43 { [2; 6] } else { pad });
        }
        seen(&v6(kinds[0], &[&bytes[..], &UDP].concat()))
    };
    let zero = ["ipv6.zero_len_padn"];
    assert_eq!(chain(&[0]), zero);
    assert_eq!(chain(&[0, 0]), [zero[0], "ipv6.exthdr_dupl_hh"]);
    assert_eq!(chain(&[60, 43, 60]), [zero[0]; 2]);
    assert_eq!(chain(&[60, 60, 60]), [zero[0], zero[0], "ipv6.exthdr_dupl_dh"]);
    assert_eq!(chain(&[43, 43]), ["ipv6.exthdr_dupl_rh"]);
    let with = |next: u8, bytes: &[u8]| seen(&v6(next, bytes));
    assert_eq!(with(43, &[59, 0, 0, 0, 0, 0, 0, 0]), ["ipv6.rh_type_0"]);
    assert_eq!(with(43, &[59, 1, 0, 0, 0, 0, 0, 0]), ["ipv6.trunc_exthdr"]);
    assert_eq!(with(43, &[17, 0, 1, 0, 0, 0, 0, 0, 1]), ["ipv6.trunc_exthdr"]);
    assert_eq!(with(59, &[1]), ["ipv6.data_after_none_header"]);
    assert!(with(59, &[]).is_empty());
    assert_eq!(with(89, &[0; 8]), ["ipv6.unknown_next_header"]);
    assert_eq!(with(1, &[0; 8]), ["ipv6.icmpv4"]);
    assert_eq!(with(0, &[1, 0, 5, 2, 0, 0, 0, 0]), ["ipv6.trunc_exthdr"]);
    let ah = |reserved: u8| [&[59, 1, 0, reserved][..], &[0; 8]].concat();
    assert!(with(51, &ah(0)).is_empty());
    assert_eq!(with(51, &ah(1)), ["ipv6.exthdr_ah_res_not_null"]);
    let mut twice = ah(0);
    twice[0] = 51;
    assert_eq!(with(51, &[twice, ah(0)].concat()), ["ipv6.exthdr_dupl_ah"]);
    // Mobility is passed over, whatever it says.
    assert!(with(135, &[59, 0, 9, 9, 9, 9, 9, 9]).is_empty());
}

#[test]
fn options_of_ipv6_are_judged() {
    let hop = |options: &[u8]| seen(&v6(0, &[&[59, 0], options].concat()));
    table(
        hop,
        &[
            (&[1, 4, 0, 0, 0, 0], &["ipv6.hopopts_only_padding"]),
            (&[5, 2, 0, 0, 0, 0], &[]),
            (&[5, 1, 0, 0, 0, 0], &["ipv6.exthdr_invalid_optlen"]),
            (&[30, 4, 0, 0, 0, 0], &["ipv6.hopopts_unknown_opt"]),
            // Suricata lets the last option end one byte too late.
            (&[30, 5, 0, 0, 0, 0], &["ipv6.hopopts_unknown_opt"]),
            (&[30, 6, 0, 0, 0, 0], &["ipv6.exthdr_invalid_optlen"]),
            (&[5, 2, 0, 0, 0, 30], &["ipv6.exthdr_invalid_optlen"]),
        ],
    );
    let destination = |options: &[u8]| seen(&v6(60, &[&[59, 0], options].concat()));
    table(
        destination,
        &[
            (&[0, 0, 0, 0, 0, 0], &["ipv6.dstopts_only_padding"]),
            (&[30, 4, 0, 0, 0, 0], &["ipv6.dstopts_unknown_opt"]),
        ],
    );
}

#[test]
fn fragment_headers_are_judged() {
    let fragment = |offset: u16, more: u16, bytes: &[u8]| {
        let [high, low] = (offset & 0xfff8 | more).to_be_bytes();
        seen(&v6(44, &[&[17, 0, high, low, 0, 0, 0, 1], bytes].concat()))
    };
    assert!(fragment(0, 1, &[0; 8]).is_empty());
    assert_eq!(fragment(0, 1, &[0; 9]), ["ipv6.frag_invalid_length"]);
    assert!(fragment(8, 0, &[0; 9]).is_empty());
    assert_eq!(fragment(0, 0, &UDP), ["ipv6.exthdr_useless_fh"]);
    assert_eq!(fragment(0, 0, &[]), ["ipv6.exthdr_useless_fh", "ipv6.trunc_exthdr"]);
    assert!(fragment(65_528, 0, &[0; 7]).is_empty());
    assert_eq!(fragment(65_528, 0, &[0; 8]), ["ipv6.frag_pkt_too_large"]);
    let twice = [&[44, 1, 0, 0, 0, 0, 0, 1][..], &[17, 0, 0, 0, 0, 0, 0, 1], &UDP].concat();
    let names = ["ipv6.fh_non_zero_reserved_field", "ipv6.exthdr_useless_fh", "ipv6.exthdr_dupl_fh"];
    assert_eq!(seen(&v6(44, &twice)), names);
    let ipv4 = |payload: usize| {
        let mut packet = v4(17, &[], &vec![0; payload]);
        packet[6..8].copy_from_slice(&(65_512u16 / 8).to_be_bytes());
        seen(&packet)
    };
    assert!(ipv4(3).is_empty());
    assert_eq!(ipv4(4), ["ipv4.frag_pkt_too_large"]);
}

#[test]
fn overlaps_are_told_until_the_datagram_is_whole_and_so_is_what_it_carries() {
    let mut decoder = Decoder::new(1 << 20, Duration::from_secs(30));
    let mut see = |offset: u16, more: bool, bytes: &[u8]| {
        let [high, low] = ((offset / 8) | (u16::from(more) << 13)).to_be_bytes();
        let mut packet = v4(17, &[], bytes);
        (packet[6], packet[7]) = (high, low);
        let data = ethernet(0x0800, &packet);
        let frame = Frame {
            link: LinkType::ETHERNET,
            data: &data,
            wire_len: data.len() as u32,
            time: Timestamp::MIN,
            ..Frame::EMPTY
        };
        let (mut names, mut counters) = (Vec::new(), DecodeCounters::default());
        let mut each = |event: DecodeEvent| names.push(event.name.strip_prefix("decoder.").unwrap());
        let Parsed::Fragment(fragment) = decoder.parse(&frame, &mut counters) else { return vec!["whole"] };
        decoder.fragment_events(&fragment, &mut each);
        if let Some(packet) = decoder.reassemble(&fragment, &mut counters) {
            datagram_events(&packet, &mut each);
        }
        names
    };
    // A datagram whose length is seven.
    assert!(see(0, true, &[0, 1, 0, 2, 0, 7, 0, 0]).is_empty());
    assert_eq!(see(0, true, &[0; 8]), ["ipv4.frag_overlap"]);
    assert!(see(16, true, &[0; 8]).is_empty());
    assert_eq!(see(8, true, &[0; 16]), ["ipv4.frag_overlap"]);
    assert_eq!(see(24, false, &[0; 3]), ["udp.len_invalid"]);
    assert!(see(24, false, &[0; 3]).is_empty());
}

#[test]
fn a_tunnel_whose_first_header_is_none_is_no_tunnel() {
    let whole = v4(17, &[], &[0, 1, 0, 2, 0, 7, 0, 0]);
    assert_eq!(seen(&v4(4, &[], &whole)), ["udp.len_invalid"]);
    assert!(seen(&v4(4, &[], &whole[..27])).is_empty());
    assert!(seen(&v4(41, &[], &whole)).is_empty());
    assert_eq!(seen(&v6(4, &whole)), ["udp.len_invalid"]);
    assert_eq!(seen(&v6(4, &whole[..19])), ["ipv6.ipv4_in_ipv6_too_small"]);
    assert_eq!(seen(&v6(4, &[0x55; 20])), ["ipv6.ipv4_in_ipv6_wrong_version"]);
    assert_eq!(seen(&v6(41, &[0x60; 39])), ["ipv6.ipv6_in_ipv6_too_small"]);
    assert_eq!(seen(&v6(41, &[0x50; 40])), ["ipv6.ipv6_in_ipv6_wrong_version"]);
    assert_eq!(seen(&v6(41, &v6(59, &[1]))), ["ipv6.data_after_none_header"]);
    let mut nested = whole;
    for _ in 0..20 {
        nested = v4(4, &[], &nested);
    }
    assert_eq!(seen(&nested), ["too_many_layers"]);
}

#[test]
fn headers_of_gre_are_judged() {
    table(
        |bytes| seen(&v4(47, &[], bytes)),
        &[
            (&[0, 0, 8], &["gre.pkt_too_small"]),
            (&[0, 0, 8, 0], &[]),
            (&[0, 2, 8, 0], &["gre.wrong_version"]),
            (&[1, 0, 8, 0], &["gre.version0_recur"]),
            (&[0, 8, 8, 0], &["gre.version0_flags"]),
            (&[0x20, 0, 8, 0, 0, 0, 0], &["gre.version0_hdr_too_big"]),
            (&[0x40, 0, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0], &["gre.version0_malformed_sre_hdr"]),
            (&[0x40, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]),
            (&[0x80, 1, 0x88, 0x0b], &["gre.version1_chksum"]),
            (&[0x40, 1, 0x88, 0x0b], &["gre.version1_route"]),
            (&[0x08, 1, 0x88, 0x0b], &["gre.version1_ssr"]),
            (&[0x01, 1, 0x88, 0x0b], &["gre.version1_recur"]),
            (&[0x20, 9, 0x88, 0x0b], &["gre.version1_flags"]),
            (&[0x20, 1, 0x08, 0x00], &["gre.version1_wrong_protocol"]),
            (&[0x00, 1, 0x88, 0x0b], &["gre.version1_no_key"]),
            (&[0x20, 1, 0x88, 0x0b, 0, 0, 0], &["gre.version1_hdr_too_big"]),
            (&[0x20, 1, 0x88, 0x0b, 0, 4, 0, 0, 0xff, 3, 0x01, 0xfe], &["ppp.unsup_proto"]),
            (&[0x20, 1, 0x88, 0x0b, 0, 0, 0, 0, 0xff, 3, 0x01, 0xfe], &[]),
            (&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10], &["erspan.header_too_small"]),
            (&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x20, 0, 0, 0, 0, 0, 0, 0], &["erspan.unsupported_version"]),
            (&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0], &[]),
        ],
    );
    assert_eq!(seen(&v6(47, &[0, 0, 8])), ["gre.pkt_too_small"]);
}

#[test]
fn tunnels_over_udp_are_judged_on_their_ports() {
    let bad = [&[0; 12][..], &[0x12, 0x34], &[0; 20]].concat();
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &bad].concat();
    assert_eq!(seen(&v4(17, &[], &udp(4789, &vxlan))), ["vxlan.unknown_payload_type"]);
    assert!(seen(&v4(17, &[], &udp(4790, &vxlan))).is_empty());
    let inner = ethernet(0x0800, &v4(6, &[], &[0; 19]));
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &inner].concat();
    assert_eq!(seen(&v4(17, &[], &udp(4789, &vxlan))), ["tcp.pkt_too_small"]);
    let geneve = |kind: u16| [&[1, 0][..], &kind.to_be_bytes(), &[0, 0, 1, 0, 0, 0, 0, 0]].concat();
    assert_eq!(seen(&v4(17, &[], &udp(6081, &geneve(0x1234)))), ["geneve.unknown_payload_type"]);
    assert!(seen(&v4(17, &[], &udp(6081, &geneve(0x0800)))).is_empty());
    assert_eq!(seen(&v4(17, &[], &udp(3544, &v6(59, &[1])))), ["ipv6.data_after_none_header"]);
}

#[test]
fn links_are_judged() {
    table(
        |bytes| of_frame(LinkType::ETHERNET, bytes),
        &[
            (&[0; 13], &["ethernet.pkt_too_small"]),
            (&[&[0; 12][..], &[0x88, 0xcc]].concat(), &["ethernet.unknown_ethertype"]),
        ],
    );
    let sound = v4(17, &[], &UDP);
    let tag = |kind: u16, rest: &[u8]| [&[0, 5][..], &kind.to_be_bytes(), rest].concat();
    assert!(by_ethertype(0x8100, &tag(0x0800, &sound)).is_empty());
    assert_eq!(by_ethertype(0x8100, &[0, 5, 8]), ["vlan.header_too_small"]);
    assert_eq!(by_ethertype(0x8100, &tag(0x88cc, &[])), ["ethernet.unknown_ethertype", "vlan.unknown_type"]);
    let three = tag(0x8100, &tag(0x8100, &tag(0x0800, &sound)));
    assert!(by_ethertype(0x88a8, &three).is_empty());
    assert_eq!(by_ethertype(0x88a8, &tag(0x8100, &three)), ["vlan.too_many_layers"]);
    assert_eq!(by_ethertype(0x8926, &[0; 5]), ["vntag.header_too_small"]);
    assert_eq!(by_ethertype(0x8926, &[0; 6]), ["ethernet.unknown_ethertype", "vntag.unknown_type"]);
    assert_eq!(by_ethertype(0x893f, &[0; 7]), ["etag.header_too_small"]);
    assert_eq!(by_ethertype(0x893f, &[0; 8]), ["ethernet.unknown_ethertype", "etag.unknown_type"]);
    assert_eq!(by_ethertype(0x88e7, &[0; 17]), ["ieee8021ah.header_too_small"]);
    assert!(by_ethertype(0x88e7, &[&[0; 16][..], &[8, 0], &sound].concat()).is_empty());
    assert_eq!(by_ethertype(0x8903, &[0; 15]), ["dce.pkt_too_small"]);
    assert!(by_ethertype(0x8903, &[&[0, 0][..], &ethernet(0x0800, &sound)].concat()).is_empty());
    table(|bytes| of_frame(LinkType::LINUX_SLL, bytes), &[(&[0; 15], &["sll.pkt_too_small"])]);
    table(|bytes| of_frame(LinkType::LINUX_SLL2, bytes), &[(&[0; 19], &["sll2.pkt_too_small"])]);
    table(|bytes| of_frame(LinkType::CISCO_HDLC, bytes), &[(&[0; 3], &["chdlc.pkt_too_small"])]);
    table(
        |bytes| of_frame(LinkType::RAW, bytes),
        &[
            (&[0x45; 19], &["ipv4.pkt_too_small"]),
            (&[0x55; 20], &["ipraw.invalid_ip_version"]),
            (&sound, &[]),
        ],
    );
    table(
        |bytes| of_frame(LinkType::NULL, bytes),
        &[
            (&[2, 0, 0], &["ltnull.pkt_too_small"]),
            (&[3, 0, 0, 0], &["ltnull.unsupported_type"]),
            (&[&[2, 0, 0, 0][..], &sound].concat(), &[]),
        ],
    );
}

#[test]
fn address_resolution_is_judged() {
    let with = |at: usize, byte: u8| {
        let mut message = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[0; 20]].concat();
        message[at] = byte;
        by_ethertype(0x0806, &message)
    };
    assert!(with(7, 4).is_empty());
    assert_eq!(with(7, 5), ["arp.unsupported_opcode"]);
    assert_eq!(with(7, 0), ["arp.unsupported_opcode"]);
    assert_eq!(with(6, 1), ["arp.unsupported_opcode"]);
    assert_eq!(with(5, 6), ["arp.invalid_protocol_size"]);
    assert_eq!(with(4, 4), ["arp.invalid_hardware_size"]);
    assert_eq!(with(2, 9), ["arp.unsupported_protocol"]);
    assert_eq!(with(1, 6), ["arp.unsupported_hardware"]);
    assert_eq!(by_ethertype(0x0806, &[0, 1, 8, 0, 6, 4, 0]), ["arp.pkt_too_small"]);
    assert_eq!(by_ethertype(0x0806, &[0, 1, 8, 0, 6, 4, 0, 1]), ["arp.invalid_pkt"]);
}

#[test]
fn labels_are_judged() {
    let sound = v4(17, &[], &UDP);
    let label = |label: u8, rest: &[u8]| by_ethertype(0x8847, &[&[0, 0, label << 4 | 1, 64], rest].concat());
    assert!(label(0, &sound).is_empty());
    assert_eq!(label(1, &sound), ["mpls.bad_label_router_alert"]);
    assert_eq!(label(3, &sound), ["mpls.bad_label_implicit_null"]);
    assert_eq!(label(14, &sound), ["mpls.bad_label_reserved"]);
    assert!(label(15, &sound).is_empty());
    assert_eq!(label(15, &sound[..3]), ["mpls.pkt_too_small"]);
    assert_eq!(label(15, &[0x15; 4]), ["mpls.unknown_payload_type"]);
    assert_eq!(by_ethertype(0x8847, &[0, 0, 0, 64]), ["mpls.header_too_small"]);
}

#[test]
fn point_to_point_frames_are_judged() {
    let sound = v4(17, &[], &UDP);
    let ppp = |bytes: &[u8]| of_frame(LinkType::PPP, bytes);
    assert!(ppp(&[&[0xff, 3, 0, 0x21][..], &sound].concat()).is_empty());
    assert!(ppp(&[&[0x21][..], &sound].concat()).is_empty());
    table(
        ppp,
        &[
            (&[], &["ppp.pkt_too_small"]),
            (&[0xff, 3], &["ppp.pkt_too_small"]),
            (&[0xff, 3, 0, 0x21, 0x45], &["ppp.ip4_pkt_too_small"]),
            (&[0xff, 3, 0, 0x57, 0x60], &["ppp.ip6_pkt_too_small"]),
            (&[0xff, 3, 0, 0x2f, 0x45], &["ppp.vju_pkt_too_small"]),
            (&[0xff, 3, 0, 0x2d, 0x45], &["ppp.unsup_proto"]),
            (&[0xff, 3, 0xc0, 0x21, 1], &[]),
            (&[0xff, 3, 0, 0xff, 1], &["ppp.wrong_type"]),
        ],
    );
    table(
        |bytes| by_ethertype(0x8864, bytes),
        &[
            (&[0x11, 0, 0, 1, 0, 2], &["pppoe.pkt_too_small"]),
            (&[0x11, 0, 0, 1, 0, 2, 0, 0x21], &["ppp.ip4_pkt_too_small"]),
            (&[0x11, 0, 0, 1, 0, 0, 0, 0x21], &[]),
        ],
    );
    table(
        |bytes| by_ethertype(0x8863, bytes),
        &[
            (&[0x11, 9, 0, 0, 0], &["pppoe.pkt_too_small"]),
            (&[0x11, 9, 0, 0, 0, 0], &[]),
            (&[0x11, 8, 0, 0, 0, 0], &["pppoe.wrong_code"]),
            (&[0x11, 9, 0, 0, 0, 4, 1, 1, 0], &["pppoe.malformed_tags"]),
        ],
    );
}

#[test]
fn service_headers_are_judged() {
    let with = |at: usize, byte: u8| {
        let mut header = [&[0, 2, 2, 1, 0, 0, 1, 1][..], &v4(17, &[], &UDP)].concat();
        header[at] = byte;
        by_ethertype(0x894f, &header)
    };
    assert!(with(0, 0).is_empty());
    assert_eq!(with(0, 0x40), ["nsh.unsupported_version"]);
    assert_eq!(with(1, 9), ["nsh.bad_header_length"]);
    assert_eq!(with(2, 1), ["nsh.bad_header_length"]);
    assert_eq!(with(2, 0), ["nsh.reserved_type"]);
    assert_eq!(with(2, 3), ["nsh.unsupported_type"]);
    assert_eq!(with(3, 9), ["nsh.unknown_payload"]);
    assert_eq!(by_ethertype(0x894f, &[0; 7]), ["nsh.header_too_small"]);
}

#[test]
fn chunks_and_group_records_are_judged() {
    let sctp = |tag: u8, chunks: &[u8]| {
        seen(&v4(132, &[], &[&[0, 1, 0, 2, 0, 0, 0, tag, 0, 0, 0, 0], chunks].concat()))
    };
    assert!(sctp(0, &[1, 0, 0, 4]).is_empty());
    assert_eq!(sctp(1, &[1, 0, 0, 4]), ["sctp.init_with_non_zero_vtag"]);
    assert_eq!(sctp(0, &[0, 0, 0, 4]), ["sctp.data_with_zero_vtag"]);
    assert_eq!(sctp(0, &[1, 0, 0, 4, 3, 0, 0, 4]), ["sctp.init_chunk_bundled"]);
    assert_eq!(sctp(1, &[3, 0, 0, 3]), ["sctp.chunk_len_invalid"]);
    assert_eq!(sctp(1, &[3, 0, 0, 5]), ["sctp.chunk_len_invalid"]);
    assert_eq!(sctp(1, &[3, 0, 0, 4, 1]), ["sctp.chunk_too_small"]);
    assert_eq!(seen(&v4(132, &[], &[0; 11])), ["sctp.pkt_too_small"]);
    let igmp = |bytes: &[u8]| seen(&v4(2, &[], bytes));
    assert!(igmp(&[0x16, 0, 0, 0, 0, 0, 0, 0]).is_empty());
    assert_eq!(igmp(&[0x16, 0, 0, 0, 0, 0, 0]), ["igmp.pkt_too_small"]);
    assert_eq!(igmp(&[0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), ["igmp.v3_pkt_too_small"]);
    assert_eq!(igmp(&[0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), ["igmp.malformed"]);
    assert_eq!(igmp(&[0x22, 0, 0, 0, 0, 0, 0, 1]), ["igmp.v3_pkt_too_small"]);
    assert_eq!(igmp(&[0x22, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 224, 0, 0, 1]), ["igmp.malformed"]);
}

#[test]
fn a_fault_says_what_was_read_before_it() {
    let mut faults = Vec::new();
    let tagged = [&[2; 12][..], &[0x81, 0, 0, 7, 8, 0], &v4(17, &[], &[0, 1, 0, 2, 0, 7, 0, 0])].concat();
    let wire_len = tagged.len() as u32;
    let frame = Frame { link: LinkType::ETHERNET, data: &tagged, wire_len, ..Frame::EMPTY };
    events(&frame, &mut |event| faults.push(event));
    let ends = Some([Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2])]);
    let name = "decoder.udp.len_invalid";
    let fault =
        DecodeEvent { name, vlans: [7, 0], ends, protocol: Some(17), ports: Some([1, 2]), icmp: None };
    assert_eq!(faults, [fault]);
}

#[test]
fn whatever_comes_nothing_breaks() {
    let tunnel = v4(47, &[], &[&[0, 0, 8, 0][..], &v4(6, &[7; 8], &[0x5f; 60])].concat());
    for whole in [v4(6, &[7; 8], &[0x5f; 60]), v6(0, &[0; 60]), tunnel] {
        for end in 1..whole.len() {
            for value in 0..=255 {
                let mut bytes = whole[..end].to_vec();
                bytes[end - 1] = value;
                seen(&bytes);
                for link in [0, 1, 9, 101, 104, 113, 276] {
                    of_frame(LinkType(link), &bytes);
                }
                if let Some(number) = bytes.get_mut(9) {
                    *number = value;
                    seen(&bytes);
                }
            }
        }
    }
    for kind in [0x0806, 0x8100, 0x8847, 0x8863, 0x8864, 0x88e7, 0x8903, 0x8926, 0x893f, 0x894f] {
        for byte in 0..=255 {
            for length in [0, 1, 4, 7, 8, 20, 40, 1500] {
                by_ethertype(kind, &vec![byte; length]);
            }
        }
    }
}
