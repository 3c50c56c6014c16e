//! Packets in; what a flow came to, and what it held, out.

use super::*;
use crate::dpi::probing::{ONE_SIDED_BYTES_MAX, PROBE_DATAGRAMS_MAX, PROBE_RESTARTS_MAX};
use crate::dpi::testing::{CLIENT, SERVER, Talk};
use weir_common::metadata::Field;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn is_over(talk: &Talk) -> bool {
    talk.slot.as_ref().is_some_and(|inspection| inspection.is_over())
}

#[test]
fn a_flow_costs_nothing_before_its_first_payload() {
    let mut talk = Talk::tcp();
    talk.packet(CLIENT, 999, tcp_flags::SYN, b"");
    talk.packet(SERVER, 4, tcp_flags::SYN | tcp_flags::ACK, b"");
    let talk = talk.acknowledge(CLIENT);
    assert!(talk.slot.is_none());
    assert!(talk.say(CLIENT, "x").slot.is_some());
    let config = DpiConfig { enabled: false, ..DpiConfig::default() };
    assert!(Talk::tcp().with(config).say(CLIENT, REQUEST).slot.is_none());
}

#[test]
fn a_flow_stays_small() {
    // The allocator has one class for 129 to 160 bytes.
    assert!(size_of::<Inspection>() <= 152, "{}", size_of::<Inspection>());
    assert!(size_of::<[Stream; 2]>() <= 80, "{}", size_of::<[Stream; 2]>());
}

#[test]
fn data_in_a_syn_is_read() {
    let mut talk = Talk::tcp();
    let sequence = talk.sequence(CLIENT);
    talk.packet(CLIENT, sequence.wrapping_sub(1), tcp_flags::SYN, REQUEST.as_bytes());
    let told = talk.lose(CLIENT, REQUEST.len()).say(CLIENT, REQUEST).end();
    assert_eq!((told.app, told.events.len()), (App::Http, 2));
}

#[test]
fn what_a_reset_says_is_not_the_streams() {
    let mut talk = Talk::tcp().say(CLIENT, REQUEST);
    let sequence = talk.sequence(CLIENT);
    talk.packet(CLIENT, sequence, tcp_flags::RST, REQUEST.as_bytes());
    assert_eq!(talk.end().events.len(), 1);
}

/// How many events there are of a kind.
fn count(events: &[Event], kind: &str) -> usize {
    events.iter().filter(|event| event.kind == kind).count()
}

#[test]
fn first_segments_in_the_wrong_order_are_put_right() {
    let bytes = REQUEST.as_bytes();
    for cut in 1..bytes.len() {
        let mut talk = Talk::tcp();
        let begin = talk.sequence(CLIENT);
        talk.packet(CLIENT, begin.wrapping_add(cut as u32), tcp_flags::ACK, &bytes[cut..]);
        talk.packet(CLIENT, begin, tcp_flags::ACK, &bytes[..cut]);
        let told = talk.lose(CLIENT, bytes.len()).say(SERVER, RESPONSE).end();
        assert_eq!(told.metadata.text(Field::HttpHost), Some("a.example"), "cut at {cut}");
        assert_eq!(count(&told.events, "http"), 1);
    }
}

#[test]
fn the_first_segments_of_an_answer_may_come_in_any_order() {
    let bytes = RESPONSE.as_bytes();
    let mut talk = Talk::tcp().say(CLIENT, REQUEST);
    let begin = talk.sequence(SERVER);
    for (from, to) in [(20, 30), (30, bytes.len()), (10, 20), (0, 10)] {
        talk.packet(SERVER, begin.wrapping_add(from as u32), tcp_flags::ACK, &bytes[from..to]);
    }
    let talk = talk.lose(SERVER, bytes.len()).acknowledge(CLIENT);
    assert_eq!(count(&talk.events, "http"), 1);
    assert_eq!(talk.end().counters.gaps, 0);
}

#[test]
fn a_flow_is_picked_up_in_its_middle() {
    let told = Talk::tcp()
        .say(SERVER, "the rest of a body that began before the capture")
        .say(SERVER, "and more of it")
        .say(SERVER, RESPONSE)
        .end();
    assert_eq!((told.app, count(&told.events, "http")), (App::Http, 1));
    let told = Talk::tcp().say(SERVER, "rest of a body").say(CLIENT, REQUEST).say(SERVER, RESPONSE).end();
    assert_eq!((told.app, count(&told.events, "http")), (App::Http, 1));
}

#[test]
fn what_one_side_said_is_read_when_the_other_is_recognised() {
    let told = Talk::tcp().say(CLIENT, "GET x").say(SERVER, RESPONSE).say(CLIENT, " HTTP/1.1\r\n\r\n").end();
    assert_eq!(told.app, App::Http);
    assert_eq!(told.metadata.text(Field::HttpUri), Some("x"));
}

#[test]
fn a_flow_of_no_known_application_is_let_go() {
    let mut talk = Talk::tcp();
    for _ in 0..=PROBE_RESTARTS_MAX {
        assert!(!is_over(&talk));
        talk = talk.say(CLIENT, "\x00\x02binary").say(SERVER, "\x00\x02binary");
    }
    assert!(is_over(&talk));
    assert_eq!(talk.inspector.held_bytes(), 0);
    assert!(talk.slot.as_ref().unwrap().streams.is_none());
    let told = talk.say(CLIENT, REQUEST).end();
    assert_eq!((told.app, told.metadata.is_empty()), (App::Unknown, true));
}

#[test]
fn one_side_of_no_known_application_is_let_go_after_a_while() {
    let piece = "\x01".repeat(1000);
    let mut talk = Talk::tcp();
    for _ in 0..ONE_SIDED_BYTES_MAX / 1000 {
        talk = talk.say(CLIENT, &piece);
    }
    assert!(!is_over(&talk));
    assert_eq!(talk.inspector.held_bytes(), 0);
    assert!(is_over(&talk.say(CLIENT, &piece).say(CLIENT, &piece)));
}

#[test]
fn bytes_that_nobody_is_sure_of_are_held_up_to_the_limit() {
    let config = DpiConfig { probe_bytes_max: 50, ..DpiConfig::default() };
    let talk = Talk::tcp().with(config).say(CLIENT, "GET ").say(CLIENT, "x".repeat(45));
    assert_eq!(talk.inspector.held_bytes(), 49);
    let talk = talk.say(CLIENT, "x");
    assert_eq!(talk.inspector.held_bytes(), 0);
    assert_eq!(talk.say(CLIENT, " HTTP/1.1\r\n\r\n").end().app, App::Unknown);
}

#[test]
fn datagrams_are_looked_at_one_by_one_up_to_the_limit() {
    let query = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    let junk = |count: u8| (0..count).fold(Talk::udp(), |talk, _| talk.say(CLIENT, "junk"));
    assert_eq!(junk(PROBE_DATAGRAMS_MAX - 1).say(CLIENT, query).end().app, App::Dns);
    assert!(is_over(&junk(PROBE_DATAGRAMS_MAX)));
}

#[test]
fn directions_may_turn_out_to_be_the_other_way_round() {
    let mut talk = Talk::tcp().say(SERVER, REQUEST);
    talk.slot.as_mut().unwrap().swap_directions();
    // From here on the flow calls the client's direction Forward, as it should be.
    let sequence = talk.sequence(SERVER);
    talk.packet(CLIENT, sequence, tcp_flags::ACK, b"GET /2 HTTP/1.1\r\n\r\n");
    let told = talk.end();
    assert_eq!(told.events.len(), 2);
    assert!(told.events.iter().all(|event| event.direction == CLIENT));
}

#[test]
fn a_hole_before_anything_was_recognised_is_got_over() {
    let talk = Talk::tcp().say(CLIENT, "GET /lon").lose(CLIENT, 10).say(CLIENT, REQUEST);
    assert!(talk.slot.as_ref().unwrap().is_waiting);
    let talk = talk.acknowledge(SERVER);
    assert!(!talk.slot.as_ref().unwrap().is_waiting);
    assert_eq!(talk.end().app, App::Http);
}

#[test]
fn acknowledged_bytes_of_nobody_are_not_kept() {
    let talk = Talk::tcp().say(CLIENT, "\x00\x02binary");
    assert_eq!(talk.inspector.held_bytes(), 8);
    assert_eq!(talk.acknowledge(SERVER).inspector.held_bytes(), 0);
}

#[test]
fn other_transports_are_left_alone() {
    let mut talk = Talk::tcp();
    let mut packet = |transport, protocol| {
        let ip = crate::decode::Ip {
            source: Default::default(),
            destination: Default::default(),
            protocol,
            octets: 0,
            ttl: 0,
            tos: 0,
            is_fragment: false,
        };
        let packet = Packet {
            vlans: [0; 2],
            ip,
            transport,
            payload: REQUEST.as_bytes(),
            early: None,
            is_partial: false,
            is_cut: false,
            tunnel_depth: 0,
            payload_missing: 0,
            link: crate::decode::LinkHeader::NONE,
            frame_octets: 0,
            network: &[],
        };
        talk.inspector.inspect(
            &mut talk.slot,
            &packet,
            (CLIENT, false),
            Timestamp(1),
            None,
            &mut talk.counters,
        );
        assert!(talk.slot.is_none());
    };
    packet(Transport::None, protocol::TCP);
    packet(Transport::Icmp { kind: 8, code: 0 }, protocol::ICMP);
    packet(Transport::Ports { source: 1, destination: 2 }, protocol::SCTP);
}

#[test]
fn of_a_connection_joined_at_the_servers_words_the_port_says_whose_they_are() {
    const BANNER: &str = "220 ProFTPD Server ready\r\n";
    let talk = |talk: Talk, server: Direction| {
        let told = talk
            .say(server, BANNER)
            .say(server.flip(), "USER anonymous\r\n")
            .say(server, "331 Password required\r\n")
            .say(server.flip(), "PASS guest\r\n")
            .say(server, "230 Logged in\r\n")
            .acknowledge(server.flip())
            .end();
        let directions: Vec<_> = told.events.iter().map(|event| event.direction).collect();
        (told.app, told.counters.malformed, told.metadata.text(Field::User).map(str::to_owned), directions)
    };
    // The server is seen first, and so for the flow the initiator: its directions stay what they are.
    let expected = talk(Talk::tcp(), SERVER);
    assert_eq!((expected.0, expected.1, expected.2.as_deref()), (App::Ftp, 0, Some("anonymous")));
    let flipped: Vec<_> = expected.3.iter().map(|direction| direction.flip()).collect();
    assert!(!flipped.is_empty());
    let turned = talk(Talk::joined([21, 40_000]), CLIENT);
    assert_eq!(turned, (expected.0, expected.1, expected.2.clone(), flipped));
    // Where the client's packet is the first nothing is turned, nor where the beginning was seen.
    assert_eq!(talk(Talk::joined([40_000, 21]), SERVER), expected);
    assert_eq!(talk(Talk::tcp(), SERVER), expected);
}

/// An SSH session up to the new keys of its client, and the server's last packet of the handshake.
fn keyed(talk: Talk) -> (Talk, Vec<u8>) {
    let packet = |kind: u8, content: &[u8]| {
        let length = (content.len() + 8) as u32;
        [&length.to_be_bytes()[..], &[6, kind], content, &[0; 6]].concat()
    };
    let kexinit = packet(20, &[0; 16 + 40 + 5]);
    let keys = packet(21, &[]);
    let talk = talk.say(CLIENT, "SSH-2.0-a\r\n").say(SERVER, "SSH-2.0-b\r\n");
    let talk = talk.say(CLIENT, &kexinit).say(SERVER, &kexinit).say(CLIENT, &keys);
    (talk, keys)
}

#[test]
fn ciphertext_is_cut_off_only_behind_the_handshake_and_only_where_it_is_asked_for() {
    let (mut talk, keys) = keyed(Talk::tcp().with_cut_off(&["ssh"]));
    let (client, server) = (talk.sequence(CLIENT), talk.sequence(SERVER));
    assert!(!talk.is_cut_off(CLIENT, client) && !talk.is_cut_off(SERVER, server));
    let mut talk = talk.say(SERVER, &keys);
    let after = talk.sequence(SERVER);
    assert!(talk.is_cut_off(CLIENT, client) && talk.is_cut_off(SERVER, after));
    // What is sent again of the handshake is kept, also where more is sent with it.
    assert!(!talk.is_cut_off(SERVER, server) && !talk.is_cut_off(SERVER, after.wrapping_sub(1)));
    // The flow table may find that the sides are the other way round.
    talk.slot.as_mut().unwrap().swap_directions();
    assert!(talk.is_cut_off(CLIENT, after));
    for names in [&[][..], &["tls"]] {
        let (talk, keys) = keyed(Talk::tcp().with_cut_off(names));
        let mut talk = talk.say(SERVER, &keys);
        assert!(is_over(&talk) && !talk.is_cut_off(SERVER, after));
    }
}

#[test]
fn what_the_other_side_has_acknowledged_is_still_the_handshakes() {
    let (mut talk, keys) = keyed(Talk::tcp().with_cut_off(&["ssh"]));
    let (first, last) = keys.split_at(4);
    // The client's packet is captured before the server's that it answers.
    let late = talk.sequence(CLIENT);
    let talk_lost = talk.lose(CLIENT, 200);
    talk = talk_lost.say(SERVER, first).say(SERVER, last);
    assert!(!talk.is_cut_off(CLIENT, late) && !talk.is_cut_off(CLIENT, late.wrapping_add(199)));
    assert!(talk.is_cut_off(CLIENT, late.wrapping_add(200)));
}

#[test]
fn what_reassembly_finds_odd_is_said_once_to_whoever_asks() {
    let mut talk = Talk::tcp().say(CLIENT, "GET / HTTP/1.1\r\n");
    let sequence = talk.sequence(CLIENT);
    let mut seen = Vec::new();
    for text in [&b"Host"[..], b"Most", b"Lost"] {
        talk.packet(CLIENT, sequence.wrapping_add(50), tcp_flags::ACK, text);
        let inspection = talk.slot.as_mut().unwrap();
        seen.extend(inspection.take_stream_events().names());
        assert!(inspection.take_stream_events().is_empty());
    }
    assert_eq!(seen, ["stream.reassembly_overlap_different_data"; 2]);
    assert!(talk.events.is_empty());
}

#[test]
fn what_lies_beyond_the_depth_is_not_inspected() {
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    for (depth, is_over) in [(request.len() as u64, true), (request.len() as u64 + 1, false), (0, false)] {
        let config = DpiConfig { stream_depth_bytes: depth, ..DpiConfig::default() };
        let talk = Talk::tcp().with(config).say(CLIENT, request).say(CLIENT, request);
        assert_eq!(talk.slot.as_ref().unwrap().is_over(), is_over, "{depth}");
        let told = talk.end();
        assert_eq!(
            (told.counters.depth_reached, told.events.len()),
            (u64::from(is_over), 2 - usize::from(is_over))
        );
    }
}

#[test]
fn what_a_closed_connection_left_is_told_of_the_packet_that_closed_it() {
    let unanswered = || Talk::tcp().say(CLIENT, REQUEST);
    let told = unanswered().end();
    assert_eq!(told.events.iter().map(|event| event.packet).collect::<Vec<_>>(), [0]);
    let mut talk = unanswered();
    talk.slot.as_mut().unwrap().closed_by(Some(7));
    assert_eq!(talk.end().events[0].packet, 7);
    let mut talk = unanswered();
    talk.slot.as_mut().unwrap().closed_by(Some(7));
    talk.slot.as_mut().unwrap().closed_by(None);
    assert_eq!(talk.end().events[0].packet, 0);
}

#[test]
fn the_end_of_a_flow_ends_a_line() {
    let told = Talk::tcp().say(CLIENT, "GET /").say(SERVER, "<html>hi</html>").end();
    assert_eq!((told.app, told.metadata.text(Field::HttpUri)), (App::Http, Some("/")));
    assert_eq!(Talk::tcp().say(CLIENT, "GET").end().app, App::Unknown);
}

#[test]
fn an_end_that_speaks_another_protocol_is_noted() {
    let told = Talk::tcp().say(CLIENT, REQUEST).say(SERVER, "SSH-2.0-OpenSSH_9.0\r\n").end();
    assert_eq!((told.app, told.metadata.text(Field::AppToClient)), (App::Http, Some("ssh")));
    assert_eq!(told.metadata.text(Field::AppToServer), None);
    let told = Talk::tcp().say(CLIENT, REQUEST).say(SERVER, RESPONSE).end();
    assert_eq!(told.metadata.text(Field::AppToClient), None);
}

#[test]
fn what_recognition_finds_odd_is_noted() {
    let odd = |talk: Talk| {
        let mut talk = talk;
        let (sides, _) = talk.slot.as_mut().unwrap().sides();
        let sides = sides.into_iter().flat_map(|sides| sides.iter_mut());
        sides.flat_map(|side| side.anomalies().to_vec()).collect::<Vec<_>>()
    };
    let http = |answer| odd(Talk::tcp().wanting(Wanted::all()).say(CLIENT, REQUEST).say(SERVER, answer));
    assert!(http("SSH-2.0-OpenSSH_9.0\r\n").contains(&"APPLAYER_MISMATCH_PROTOCOL_BOTH_DIRECTIONS"));
    assert!(http(RESPONSE).is_empty());
    let starttls = |behind| {
        let talk =
            Talk::tcp().wanting(Wanted::all()).say(SERVER, "220 x ESMTP\r\n").say(CLIENT, "STARTTLS\r\n");
        odd(talk
            .say(SERVER, "220 go\r\n")
            .say(CLIENT, behind)
            .say(SERVER, "HTTP/1.1 101\r\nUpgrade: h2c\r\n\r\n"))
    };
    let found = starttls(REQUEST);
    for event in ["APPLAYER_UNEXPECTED_PROTOCOL", "APPLAYER_NO_TLS_AFTER_STARTTLS", "FAILED_PROTOCOL_CHANGE"]
    {
        assert!(found.contains(&event), "{event} {found:?}");
    }
}

#[test]
fn what_is_behind_a_proxy_and_nobodys_leaves_the_name() {
    let told = Talk::tcp()
        .say(CLIENT, "CONNECT a.example:1 HTTP/1.1\r\n\r\n")
        .say(SERVER, "HTTP/1.1 200 OK\r\n\r\n")
        .say(SERVER, "\x05\x00\x0b")
        .end();
    assert_eq!((told.app, told.metadata.text(Field::OriginalApp)), (App::Http, Some("http")));
}
