//! What is known of a flow: counts, sizes of streams, the application, events.

use super::*;

fn flow() -> FlowFacts {
    FlowFacts {
        direction: Direction::Forward,
        is_turned: false,
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
    // Of a flow whose server was seen first the counts are the other way round.
    let turned = FlowFacts { is_turned: true, ..flow() };
    for (held, not_held) in [
        ("flow.pkts:toserver,=3", "flow.pkts:toserver,=10"),
        ("flow.bytes_toclient:3000", "flow.bytes_toclient:200"),
        ("stream_size:client,=,1", "stream_size:client,=,50"),
    ] {
        assert!(holds_in(held, &frame, Some(&turned)), "{held}");
        assert!(!holds_in(not_held, &frame, Some(&turned)), "{not_held}");
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
        "flow.elephant:up",
        "flow.elephant",
        "stream_size:server,<",
        "stream_size:server,<>,5",
        "stream_size:me,<,5",
        "stream_size:server,<,x",
        "stream_size:server,<,4294967296",
        "stream_size:server,<,5,6",
        "stream_size:server,<,+5",
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
    let over_http = FlowFacts { apps: AppFacts { by_direction: [known(App::Doh2); 2], ..apps }, ..flow() };
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
        ("tls|http", &there, true),
        ("tls | ssh , either", &there, true),
        ("unknown|http", &there, true),
        ("unknown|tls", &there, false),
        ("unknown|tls", &fresh, true),
        ("!tls|http", &there, false),
        ("!tls|dns", &there, true),
        ("!tls|dns", &fresh, false),
        ("http1,exact", &there, true),
        ("dns|http1,either,exact", &there, true),
        ("smtp,exact,original", &there, true),
        // DoH is DNS, and is not exactly DNS.
        ("dns", &over_http, true),
        ("dns,exact", &over_http, false),
        ("http2,exact", &over_http, false),
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
    for wrong in [
        "",
        "!",
        "nothing",
        "tls,nothing",
        "tls,,final",
        "final",
        "!unknown",
        "!unknown|tls",
        "tls||http",
        "http,exact",
        "tls|http,exact",
        "tls,exact,exact",
        "tls,final,either",
        &"tls,".repeat(17),
        &"tls|".repeat(17),
    ] {
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
