//! Fields of headers, on whole packets and on fragments.

use super::*;

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
        ("*AS,12", &[S, S | A, A | E], &[E, 0]),
        ("!A,12", &[S, E, 0], &[A, A | C]),
        ("+SA,C", &[S | A, S | A | C], &[S, A | C]),
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
    for wrong in ["", "X", "+", "S,X", ",", "S,", "S,S", "SS", "+S*", "S,1,2", "S,+A", "256"] {
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
            assert!(holds_in(&format!("ipopts:{text}"), &frame, None), "{text} {options:?}");
        });
        not_held.iter().for_each(|text| {
            assert!(!holds_in(&format!("ipopts:{text}"), &frame, None), "{text} {options:?}");
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
    let mut see = |at: usize, held: &[&str], not_held: &[&str]| {
        let data = frames[at].as_slice();
        let frame = Frame { link: LinkType::ETHERNET, data, wire_len: data.len() as u32, ..Frame::EMPTY };
        let packet = decoder.decode(&frame, &mut DecodeCounters::default()).expect("a packet");
        let facts = PacketFacts { packet: &packet, flow: None, decode_events: &[], stream_events: &[] };
        held.iter().for_each(|text| assert!(test(text).holds(&facts), "{text}"));
        not_held.iter().for_each(|text| assert!(!test(text).holds(&facts), "{text}"));
    };
    see(
        0,
        &[
            "fragbits:M",
            "fragoffset:0",
            "ipopts:rtralt",
            "id:777",
            "dsize:0",
            "ip_proto:6",
            "ipv4-csum:valid",
        ],
        &["flags:S", "flags:!A", "seq:100", "tcp.mss:1460", "fragbits:D"],
    );
    // The whole has the first fragment's header, and nothing about fragments.
    see(
        1,
        &[
            "flags:S",
            "tcp.mss:1460",
            "dsize:8",
            "fragbits:!M",
            "fragoffset:0",
            "ipopts:rtralt",
            "id:777",
            "ipv4-csum:valid",
        ],
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
fn all_of_igmp_is_header() {
    check(&v4(2, &[0x11, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), &["dsize:0", "igmp.type:17"], &["dsize:>0"]);
}
