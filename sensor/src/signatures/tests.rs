//! The engine: rules, and what they find in packets, streams and transactions and what they do not.

mod both_sides;
mod loading;

use super::*;
use crate::decode::{Ip, LinkHeader, Packet, Tcp, Transport};
use crate::dpi::buffers::{Buffer, Sides, Stage};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Instant;
use weir_common::app::App;
use weir_common::net::{Direction, FlowKey, protocol};
use weir_common::record::tcp_flags;
use weir_common::rule::{Problem, RuleReader, Variables};
use weir_common::time::Timestamp;

/// Compiles rules, each of which must be readable; numbers are given to those without one.
fn engine(rules: &[&str]) -> (Engine, Vec<Problem>) {
    let text: Vec<String> = rules
        .iter()
        .enumerate()
        .map(|(number, rule)| match rule.contains("sid:") {
            true => (*rule).to_owned(),
            false => rule.replacen('(', &format!("(sid:{};", number + 1), 1),
        })
        .collect();
    let file = RuleReader::new(Variables::default()).read("x", text.join("\n").as_bytes());
    assert!(file.problems.is_empty(), "{:?}", file.problems);
    let built = Rules::build(file.rules, &mut RuleNames::default(), &Surroundings::default(), None);
    (Engine::new(Arc::new(built.rules)), built.problems)
}

fn sound(rules: &[&str]) -> Engine {
    let (engine, problems) = engine(rules);
    assert!(problems.is_empty(), "{problems:?}");
    engine
}

/// A segment from 10.0.0.1:1000 to 8.8.8.8:80.
fn segment(payload: &[u8]) -> Packet<'_> {
    segment_at(1, payload)
}

fn segment_at(sequence: u32, payload: &[u8]) -> Packet<'_> {
    let flags = tcp_flags::PSH | tcp_flags::ACK;
    let tcp = Tcp { source: 1000, destination: 80, sequence, acknowledgement: 1, flags, window: 1 };
    packet(protocol::TCP, Transport::Tcp(tcp), payload)
}

fn packet(number: u8, transport: Transport, payload: &[u8]) -> Packet<'_> {
    let ip = Ip {
        source: "10.0.0.1".parse().unwrap(),
        destination: "8.8.8.8".parse().unwrap(),
        protocol: number,
        octets: 100,
        ttl: 64,
        tos: 0,
        is_fragment: false,
    };
    Packet {
        vlans: [0; 2],
        ip,
        transport,
        payload,
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

fn turned<'a>(packet: &Packet<'a>) -> Packet<'a> {
    let mut turned = *packet;
    std::mem::swap(&mut turned.ip.source, &mut turned.ip.destination);
    if let Transport::Tcp(tcp) = &mut turned.transport {
        std::mem::swap(&mut tcp.source, &mut tcp.destination);
    }
    turned
}

/// What is known of a packet's flow.
#[derive(Clone, Copy)]
struct Facts {
    direction: Direction,
    is_established: bool,
    app: App,
}

const THERE: Facts = Facts { direction: Direction::Forward, is_established: true, app: App::Unknown };

/// A flow that an engine looks at.
struct Watched {
    engine: Engine,
    /// Packets of the flow so far, by direction.
    packets: [u64; 2],
    /// See [`Sight::waits`].
    waits: bool,
    /// See [`FlowFacts::is_turned`].
    is_turned: bool,
    marks: Option<Box<FlowMarks>>,
}

impl Watched {
    fn new(engine: Engine) -> Watched {
        Watched { engine, packets: [1, 0], waits: false, is_turned: false, marks: None }
    }

    fn look(&mut self, packet: &Packet<'_>, facts: &Facts, sides: Option<&mut Sides>) -> Vec<Found> {
        let (source_port, destination_port) = packet.transport.ports();
        let mut ends = [(packet.ip.source, source_port), (packet.ip.destination, destination_port)];
        if facts.direction == Direction::Reverse {
            ends.reverse();
        }
        let [(initiator, initiator_port), (responder, responder_port)] = ends;
        let key =
            FlowKey { initiator, responder, initiator_port, responder_port, protocol: packet.ip.protocol };
        let sight = Sight {
            packet,
            time: Timestamp(5),
            direction: facts.direction,
            key,
            flow_id: 1,
            flow: FlowFacts {
                direction: facts.direction,
                is_turned: self.is_turned,
                packets: self.packets,
                octets: [100, 0],
                start: Timestamp(5),
                last: Timestamp(5),
                stream_sizes: None,
                apps: AppFacts::default(),
            },
            is_established: facts.is_established,
            app: facts.app,
            is_opaque: false,
            decode_events: &[],
            stream_events: &[],
            waits: self.waits,
            has_stream: true,
        };
        let mut found = Vec::new();
        self.engine.packet(&sight, &mut self.marks, sides.map(|sides| (sides, false)), &mut found);
        found
    }

    /// The sids that a packet finds, sorted.
    fn sids(&mut self, packet: &Packet<'_>, facts: &Facts) -> Vec<u32> {
        let found = self.look(packet, facts, None);
        let mut sids: Vec<u32> = found.iter().map(|found| self.sid(found)).collect();
        sids.sort_unstable();
        sids
    }

    fn sid(&self, found: &Found) -> u32 {
        self.engine.rules().description(found.signature).unwrap().sid
    }
}

fn matches(rule: &str, packet: &Packet<'_>, facts: &Facts) -> bool {
    !Watched::new(sound(&[rule])).sids(packet, facts).is_empty()
}

#[test]
fn headers_match_protocol_addresses_ports_and_direction() {
    let there = segment(b"x");
    for (header, is_match) in [
        ("ip any any -> any any", true),
        ("tcp any any -> any any", true),
        ("tcp-pkt any any -> any any", true),
        ("udp any any -> any any", false),
        ("icmp any any -> any any", false),
        ("ip4 any any -> any any", true),
        ("ipv6 any any -> any any", false),
        ("tcp 10.0.0.1 1000 -> 8.8.8.8 80", true),
        ("tcp 10.0.0.2 1000 -> 8.8.8.8 80", false),
        ("tcp 10.0.0.1 1001 -> 8.8.8.8 80", false),
        ("tcp 10.0.0.1 1000 -> 8.8.8.9 80", false),
        ("tcp 10.0.0.1 1000 -> 8.8.8.8 81", false),
        ("tcp 8.8.8.8 80 -> 10.0.0.1 1000", false),
        ("tcp 8.8.8.8 80 <> 10.0.0.1 1000", true),
        ("tcp 8.8.8.8 81 <> 10.0.0.1 1000", false),
        ("tcp $HOME_NET any -> $EXTERNAL_NET $HTTP_PORTS", true),
        ("tcp $EXTERNAL_NET any -> $HOME_NET any", false),
        ("tcp any any -> any !80", false),
        ("tcp any any -> any [1:79,81:]", false),
        ("tcp any any -> any [1:80]", true),
    ] {
        let rule = format!("alert {header} ()");
        assert_eq!(matches(&rule, &there, &THERE), is_match, "{header}");
        let with_content = format!("alert {header} (content:\"x\";)");
        assert_eq!(matches(&with_content, &there, &THERE), is_match, "{header} with content");
    }
    let ping = packet(protocol::ICMP, Transport::Icmp { kind: 8, code: 0 }, b"");
    assert!(matches("alert icmp any any -> any any ()", &ping, &THERE));
    assert!(!matches("alert icmpv6 any any -> any any ()", &ping, &THERE));
    assert!(!matches("alert ip any any -> any 80 ()", &ping, &THERE), "no port is not port 80");
}

#[test]
fn packet_keywords_match_on_both_sides_of_their_values() {
    let data = segment(b"GET /index");
    let mut syn = segment(b"");
    if let Transport::Tcp(tcp) = &mut syn.transport {
        tcp.flags = tcp_flags::SYN;
    }
    let ping = packet(protocol::ICMP, Transport::Icmp { kind: 8, code: 3 }, b"abcd");
    for (options, packet, is_match) in [
        ("content:\"GET\"; depth:3;", &data, true),
        ("content:\"get\";", &data, false),
        ("content:\"get\"; nocase; startswith;", &data, true),
        ("content:\"GET\"; content:\"index\"; distance:2; within:5;", &data, true),
        ("content:\"GET\"; content:\"index\"; distance:3;", &data, false),
        ("content:!\"POST\";", &data, true),
        ("content:!\"GET\";", &data, false),
        ("content:\"GET\"; fast_pattern:only; content:\"|2f|index\"; endswith; rawbytes;", &data, true),
        ("dsize:10;", &data, true),
        ("dsize:<10;", &data, false),
        ("dsize:9<>11;", &data, true),
        ("dsize:0;", &syn, true),
        ("dsize:0;", &data, false),
        ("flags:S;", &syn, true),
        ("flags:S;", &data, false),
        ("flags:PA;", &data, true),
        ("flags:+A;", &data, true),
        ("flags:S,12;", &syn, true),
        ("itype:8; icode:3;", &ping, true),
        ("itype:>8;", &ping, false),
        ("icode:<3;", &ping, false),
        ("itype:8;", &data, false),
        ("ttl:64;", &data, true),
        ("ttl:<64;", &data, false),
        ("ip_proto:6;", &data, true),
        ("ip_proto:!6;", &data, false),
        ("ip_proto:1;", &ping, true),
        ("flow:no_frag;", &data, true),
        ("flow:only_frag;", &data, false),
        ("flow:established;", &data, true),
        ("flow:not_established;", &data, false),
        ("flow:stateless;", &data, true),
        ("flow:to_server,established,no_stream; dsize:>0;", &data, true),
        ("flow:to_client;", &data, false),
        ("flow:from_client;", &data, true),
        ("pkt_data; content:\"GET\";", &data, true),
        ("flowbits:set,x; content:\"GET\";", &data, true),
    ] {
        let rule = format!("alert ip any any -> any any ({options})");
        assert_eq!(matches(&rule, packet, &THERE), is_match, "{options}");
    }
    let fresh = Facts { is_established: false, ..THERE };
    assert!(!matches("alert tcp any any -> any any (flow:established;)", &data, &fresh));
    assert!(matches("alert tcp any any -> any any (flow:not_established;)", &data, &fresh));
    let back = Facts { direction: Direction::Reverse, ..THERE };
    assert!(matches("alert tcp any 80 -> any any (flow:to_client; content:\"GET\";)", &turned(&data), &back));
}

#[test]
fn fragments_have_no_payload_before_their_datagram_is_whole() {
    let mut part = segment(b"");
    (part.is_partial, part.ip.is_fragment) = (true, true);
    // As in Suricata, what a fragment carries counts as nothing.
    assert!(matches("alert ip any any -> any any (dsize:0;)", &part, &THERE));
    assert!(!matches("alert ip any any -> any any (content:!\"x\";)", &part, &THERE));
    assert!(matches("alert ip any any -> any any (flow:only_frag; ttl:64;)", &part, &THERE));
    assert!(matches("alert ip any any -> any any ()", &part, &THERE));
}

#[test]
fn headers_alone_are_looked_at_when_something_is_new() {
    let mut flow = Watched::new(sound(&[
        "alert tls any any -> any any ()",
        "alert tcp any any -> any any (content:\"x\";)",
    ]));
    let facts = |app| Facts { app, ..THERE };
    assert_eq!(flow.sids(&segment(b"y"), &facts(App::Unknown)), [0_u32; 0]);
    assert_eq!(flow.sids(&segment_at(2, b"x"), &facts(App::Tls)), [1, 2]);
    assert_eq!(flow.sids(&segment_at(3, b"x"), &facts(App::Tls)), [2]);
    assert_eq!(flow.sids(&segment_at(4, b"x"), &facts(App::Http)), [2]);
}

#[test]
fn a_content_is_found_across_segments_in_order_and_nowhere_else() {
    let rule = "alert tcp any any -> any any (content:\"needle\"; content:\"thread\"; distance:0;)";
    let told = |segments: &[(u32, &[u8])], rule: &str| -> Vec<usize> {
        let mut flow = Watched::new(sound(&[rule]));
        segments.iter().map(|(at, bytes)| flow.sids(&segment_at(*at, bytes), &THERE).len()).collect()
    };
    assert_eq!(told(&[(1, b"a nee"), (6, b"dle and"), (13, b" a thre"), (20, b"ad")], rule), [0, 0, 0, 1]);
    assert_eq!(told(&[(1, b"needle"), (7, b"x"), (8, b"thread"), (14, b"y")], rule), [0, 0, 1, 0]);
    // A hole between, another order, the same again.
    assert_eq!(told(&[(1, b"nee"), (5, b"dle thread")], rule), [0, 0]);
    assert_eq!(told(&[(1, b"nee"), (1, b"nee"), (2, b"eedle thread")], rule), [0, 0, 1]);
    let of_packets = rule.replace("tcp any", "tcp-pkt any");
    assert_eq!(told(&[(1, b"nee"), (4, b"dle thread")], &of_packets), [0, 0]);
    // Places counted from the beginning are those of the stream, as long as that is known.
    let placed = "alert tcp any any -> any any (content:\"abcd\"; depth:4;)";
    assert_eq!(told(&[(1, b"ab"), (3, b"cd")], placed), [0, 1]);
    assert_eq!(told(&[(1, b"xab"), (4, b"cd")], placed), [0, 0]);
}

/// Sides of one transaction: who says which parts.
#[test]
fn what_stands_at_a_place_counts_twice_for_a_threshold_unless_it_is_of_packets_or_streams_alone() {
    let alerting_segment = |header: &str, options: &str| {
        let threshold = "threshold:type both,track by_src,count 4,seconds 60;";
        let rule =
            format!(r#"alert {header} any any -> any any (content:"ab"; {options} {threshold} sid:1;)"#);
        let mut watched = Watched::new(sound(&[&rule]));
        let mut told = (0u32..5).map(|number| watched.sids(&segment_at(2 * number, b"ab"), &THERE));
        told.position(|sids| !sids.is_empty())
    };
    assert_eq!(alerting_segment("tcp", "depth:2;"), Some(1));
    assert_eq!(alerting_segment("tcp", "offset:0;"), Some(1));
    assert_eq!(alerting_segment("tcp", ""), Some(3));
    assert_eq!(alerting_segment("tcp-pkt", "depth:2;"), Some(3));
    assert_eq!(alerting_segment("tcp", "depth:2; flow:no_stream;"), Some(3));
}

fn sides(app: App, parts: &[(Direction, Buffer, &str)]) -> Sides {
    let mut sides = Sides::default();
    for (direction, buffer, text) in parts {
        let side = sides.of(app, *direction, 0);
        side.put(*buffer, text.as_bytes());
        side.stage = Stage::Body;
    }
    sides
}

const HTTP: &[(Direction, Buffer, &str)] = &[
    (Direction::Forward, Buffer::HttpUri, "/a/b.php?id=1'"),
    (Direction::Forward, Buffer::HttpHost, "www.example.org"),
    (Direction::Forward, Buffer::HttpMethod, "GET"),
    (Direction::Forward, Buffer::HttpUserAgent, "curl/8.0"),
    (Direction::Reverse, Buffer::HttpStatCode, "404"),
    (Direction::Reverse, Buffer::FileData, "<html>not here</html>"),
];

fn told(rule: &str, app: App, parts: &[(Direction, Buffer, &str)]) -> Option<Direction> {
    let mut flow = Watched::new(sound(&[rule]));
    let packet = segment(b"");
    let found = flow.look(&packet, &Facts { app, ..THERE }, Some(&mut sides(app, parts)));
    assert!(found.len() <= 1, "{rule}: {found:?}");
    found.first().map(|found| found.direction)
}

#[test]
fn buffers_match_what_they_hold_and_nothing_else() {
    let (there, back) = (Some(Direction::Forward), Some(Direction::Reverse));
    for (header, options, want) in [
        ("http any any -> any any", "http.uri; content:\"/a/b.php?id=1'\"; bsize:14;", there),
        ("http any any -> any any", "http.uri; content:\"%27\";", None),
        ("http any any -> any any", "content:\"b.PHP\"; http_uri; nocase;", there),
        ("http any any -> any any", "uricontent:\".php\"; urilen:14;", there),
        ("http any any -> any any", "urilen:<14;", None),
        ("http any any -> any any", "http.host; dotprefix; content:\".example.org\"; endswith;", there),
        ("http any any -> any any", "http.host; dotprefix; content:\".example.org\"; startswith;", None),
        ("http any any -> any any", "pcre:\"/id=\\d/U\";", there),
        ("http any any -> any any", "http.method; content:\"GET\"; http.uri; content:\".php\";", there),
        ("http any any -> any any", "http.method; content:\"POST\"; http.uri; content:\".php\";", None),
        ("http any any -> any any", "http.user_agent; content:!\"Mozilla\";", there),
        ("http any any -> any any", "http.user_agent; content:!\"curl\";", None),
        ("http any any -> any any", "http.referer; content:!\"x\";", None),
        ("http any any -> any any", "http.uri; content:\"php\"; http.referer; absent;", there),
        ("tcp any any -> any any", "http.uri; content:\"php\";", there),
        ("udp any any -> any any", "http.uri; content:\"php\";", None),
        ("http 10.0.0.1 any -> 8.8.8.8 80", "http.uri; content:\"php\";", there),
        ("http 8.8.8.8 80 -> 10.0.0.1 any", "http.uri; content:\"php\";", None),
        ("http 8.8.8.8 80 -> 10.0.0.1 any", "http.stat_code; content:\"404\";", back),
        ("http any any -> any any", "flow:to_client; http.stat_code; content:\"404\";", back),
        (
            "http any any -> any any",
            "file_data; content:\"not here\"; http.stat_code; content:\"404\";",
            back,
        ),
        // What the two ends say is looked at apart.
        ("http any any -> any any", "file.data; content:\"not here\"; http.method; content:\"GET\";", None),
    ] {
        let rule = format!("alert {header} ({options})");
        assert_eq!(told(&rule, App::Http, HTTP), want, "{rule}");
    }
}

#[test]
fn a_transaction_is_told_once_and_the_next_one_again() {
    let mut flow = Watched::new(sound(&["alert http any any -> any any (http.uri; content:\"a\";)"]));
    let (packet, facts) = (segment(b""), Facts { app: App::Http, ..THERE });
    let mut sides = Sides::default();
    let put = |sides: &mut Sides, number, stage| {
        let side = sides.of(App::Http, Direction::Forward, number);
        if stage == Stage::Head {
            side.put(Buffer::HttpUri, b"/a");
        }
        side.stage = stage;
    };
    put(&mut sides, 0, Stage::Head);
    assert_eq!(flow.look(&packet, &facts, Some(&mut sides)).len(), 1);
    put(&mut sides, 0, Stage::Body);
    assert_eq!(flow.look(&packet, &facts, Some(&mut sides)).len(), 0);
    put(&mut sides, 1, Stage::Head);
    let found = flow.look(&packet, &facts, Some(&mut sides));
    assert_eq!(
        found.iter().map(|found| found.transaction).collect::<Vec<_>>(),
        [Some((1, Direction::Forward))]
    );
}

#[test]
fn what_is_set_by_a_packet_is_read_by_the_same_packet() {
    let mut flow = Watched::new(sound(&[
        "alert tcp any any -> any any (flowbits:isset,seen; content:\"b\";)",
        "alert tcp any any -> any any (content:\"a\"; flowbits:set,seen; noalert;)",
        "alert tcp any any -> any any (flowbits:isnotset,seen; content:\"b\";)",
    ]));
    assert_eq!(flow.sids(&segment(b"b"), &THERE), [3]);
    assert_eq!(flow.sids(&segment_at(2, b"ab"), &THERE), [1]);
    assert_eq!(flow.sids(&segment_at(4, b"b"), &THERE), [1]);
}

#[test]
fn pass_ends_the_search_in_its_flow() {
    let mut flow = Watched::new(sound(&[
        "alert tcp any any -> any any (content:\"b\";)",
        "pass tcp any any -> any any (content:\"a\";)",
    ]));
    assert_eq!(flow.sids(&segment(b"b"), &THERE), [1]);
    assert_eq!(flow.sids(&segment_at(2, b"ab"), &THERE), [0_u32; 0]);
    assert_eq!(flow.sids(&segment_at(4, b"b"), &THERE), [0_u32; 0]);
    assert_eq!(flow.engine.counters().passed_flows, 1);
}

#[test]
fn a_packet_has_so_many_alerts_and_the_others_are_counted() {
    let rules = vec!["alert tcp any any -> any any (content:\"a\";)"; 17];
    let rules: Vec<&str> = rules;
    let mut flow = Watched::new(sound(&rules));
    assert_eq!(flow.sids(&segment(b"a"), &THERE).len(), 15);
    assert_eq!(flow.engine.counters().alerts_over_limit, 2);
}

#[test]
fn a_rule_that_packets_are_lost_over_is_not_asked_until_rules_are_loaded_anew() {
    let mut flow =
        Watched::new(sound(&["alert udp any any -> any any (content:\"a\"; sid:7;)"]).with_relief(25));
    let datagram = packet(protocol::UDP, Transport::Ports { source: 1000, destination: 80 }, b"a");
    let (now, mut condemned) = (Instant::now(), Vec::new());
    for _ in 0..5 {
        // One question in sixteen is timed. No time passes between two looks, so that any cost is too much.
        for _ in 0..16 {
            assert_eq!(flow.sids(&datagram, &THERE), [7]);
        }
        condemned.extend_from_slice(flow.engine.relieve(true, now));
    }
    assert_eq!((condemned.as_slice(), flow.engine.too_costly()), ([0].as_slice(), [0].as_slice()));
    assert!(flow.sids(&datagram, &THERE).is_empty());
    assert_eq!(flow.engine.counters().too_costly_left_out, 1);
    let again = Arc::clone(flow.engine.rules());
    flow.engine.set_rules(again);
    assert_eq!((flow.sids(&datagram, &THERE), flow.engine.too_costly()), (vec![7], [].as_slice()));
}

#[test]
fn what_cannot_be_run_truthfully_is_given_back_with_its_place() {
    for (rule, column, reason) in [
        ("alert nothing any any -> any any (sid:1;)", 7, "`nothing` is not known"),
        ("config dns any any -> any any (sid:1;)", 1, "says what it configures"),
        ("alert tls any any -> any any (sid:1; http.uri; content:\"x\";)", 1, "of another protocol"),
        ("alert tls any any -> any any (sid:1; snmp.version:1;)", 38, "of another protocol"),
        (
            "alert http any any -> any any (sid:1; flow:to_server; http.stat_code; content:\"4\";)",
            1,
            "servers say",
        ),
        (
            "alert http any any -> any any (sid:1; http.uri; content:\"x\"; http.server; content:\"y\";)",
            1,
            "`=>`",
        ),
        ("alert http any any -> any any (sid:1; dsize:9; http.uri; content:\"x\";)", 39, "`bsize`"),
        ("alert http any any -> any any (sid:1; http.host; content:\"ABC\";)", 50, "lower case"),
        ("alert tls any any -> any any (sid:1; ja3.hash; content:\"xyz\";)", 48, "hexadecimal"),
        ("alert tcp any any -> any any (sid:1; absent;)", 38, "behind no buffer"),
        ("alert ip any any -> any any (sid:1; vlan.layers:4;)", 49, "at most 3"),
        ("alert http:all any any -> any any (sid:1; http.uri; content:\"x\";)", 1, "about packets"),
        (
            "alert icmp any any -> any any (sid:1; \
             detection_filter:track by_dst,count 9,seconds 9,unique_on dst_port;)",
            56,
            "counts ports",
        ),
        ("alert tcp any any -> any any (sid:1; content:\"abc\"; replace:\"d\";)", 53, "its length"),
        ("alert tcp any any -> any any (sid:1; flow:to_server,to_client;)", 38, "contradicts"),
        ("alert tcp any any -> any any (sid:1; made_up:1;)", 38, "not known"),
        ("alert http any any -> any any (sid:1; http.uri;)", 1, "nothing is looked for"),
        ("alert tcp any any -> any any (sid:1; http_uri;)", 38, "behind no content"),
        ("alert tcp any any -> any any (sid:1; frame:made.up; content:\"x\";)", 38, "not known"),
    ] {
        let (engine, problems) = engine(&[rule]);
        assert!(engine.rules().is_empty() && problems.len() == 1, "{rule}: {problems:?}");
        let problem = &problems[0];
        assert!(problem.reason.contains(reason), "{rule}\n{problem}");
        assert_eq!(problem.place.column, column, "{rule}\n{problem}");
    }
}

#[test]
fn rules_that_cannot_run_leave_the_others_alone() {
    let (engine, problems) = engine(&[
        "alert tcp any any -> any any (made_up:1;)",
        "alert tcp any any -> any any (content:\"x\";)",
        "drop tcp any any -> any any (content:\"y\";)",
    ]);
    assert_eq!((engine.rules().len(), problems.len()), (2, 1));
    assert_eq!(Watched::new(engine).sids(&segment(b"xy"), &THERE), [2, 3]);
}

const MANY: [&str; 8] = [
    "alert tcp any any -> any any (content:\"ab\";)",
    "alert tcp any any -> any any (content:\"AB\"; nocase;)",
    "alert tcp any any -> any any (content:\"a\"; content:\"b\"; distance:1;)",
    "alert tcp any any -> any any (content:!\"a\";)",
    "alert tcp any any -> any any (content:\"ba\"; endswith;)",
    "alert tcp any any -> any any (content:\"aa\"; content:!\"b\"; within:2;)",
    "alert tcp any any -> any any (dsize:<4;)",
    "alert tcp 10.0.0.1 any -> any any ()",
];

proptest! {
    /// What is found together is what each rule finds alone: the search for patterns leaves nothing out.
    #[test]
    fn many_rules_together_find_what_each_finds_alone(payload in "[abAB]{0,9}") {
        let packet = segment(payload.as_bytes());
        let together = Watched::new(sound(&MANY)).sids(&packet, &THERE);
        let alone: Vec<u32> =
            (0..MANY.len()).filter(|at| matches(MANY[*at], &packet, &THERE)).map(|at| at as u32 + 1).collect();
        prop_assert_eq!(together, alone);
    }
}

#[test]
fn an_oddity_behind_a_transactions_end_is_told_to_its_rules_alone() {
    let engine_of = [
        "alert http:request_complete any any -> any any (sid:1;)",
        "alert http any any -> any any (app-layer-event:http.request_line_invalid; sid:2;)",
    ];
    let mut engine = sound(&engine_of);
    let mut sides = Sides::default();
    let mut marks = None;
    let mut ask = |sides: &mut Sides| {
        let (packet, mut found) = (segment(b""), Vec::new());
        let sight = Sight { app: App::Http, is_established: true, ..Sight::of_nobody(&packet) };
        engine.packet(&sight, &mut marks, Some((sides, false)), &mut found);
        let rules = engine.rules();
        found
            .iter()
            .filter_map(|found| rules.description(found.signature))
            .map(|about| about.sid)
            .collect::<Vec<_>>()
    };
    sides.of(App::Http, Direction::Forward, 0).stage = Stage::Body;
    assert_eq!(ask(&mut sides), [1]);
    sides.anomaly(App::Http, Direction::Forward, 0, "REQUEST_LINE_INVALID");
    assert_eq!(ask(&mut sides), [2]);
    sides.anomaly(App::Http, Direction::Forward, 1, "REQUEST_LINE_INVALID");
    sides.end_all();
    assert_eq!(ask(&mut sides), [2]);
}

#[test]
fn a_hook_at_the_flows_start_asks_the_first_packet_of_each_direction() {
    let rule = "alert tcp:flow_start any any -> any any ()";
    let told = |packets: [u64; 2], direction| {
        let mut flow = Watched::new(sound(&[rule]));
        let packet = if direction == Direction::Forward { segment(b"") } else { turned(&segment(b"")) };
        let facts = Facts { direction, ..THERE };
        flow.packets = packets;
        flow.sids(&packet, &facts).len()
    };
    assert_eq!(told([1, 0], Direction::Forward), 1);
    assert_eq!(told([3, 1], Direction::Reverse), 1);
    assert_eq!(told([2, 1], Direction::Forward), 0);
    assert_eq!(told([1, 2], Direction::Reverse), 0);
}

#[test]
fn what_passes_a_packet_passes_its_flow_only_by_its_stream() {
    let rules =
        ["pass ip any any -> any any (content:\"pass\";)", "alert ip any any -> any any (content:\"x\";)"];
    let udp = |payload| packet(protocol::UDP, Transport::Ports { source: 1000, destination: 80 }, payload);
    let mut flow = Watched::new(sound(&rules));
    assert_eq!(flow.sids(&udp(b"pass x"), &THERE), [0_u32; 0]);
    assert_eq!(flow.sids(&udp(b"x"), &THERE), [2], "a datagram alone");
    let mut flow = Watched::new(sound(&rules));
    assert_eq!(flow.sids(&segment(b"pass x"), &THERE), [0_u32; 0]);
    assert_eq!(flow.sids(&segment_at(7, b"x"), &THERE), [0_u32; 0], "a stream");
    let mut flow = Watched::new(sound(&rules));
    let mut syn = segment(b"pass x");
    if let Transport::Tcp(tcp) = &mut syn.transport {
        tcp.flags = tcp_flags::SYN;
    }
    assert_eq!(flow.sids(&syn, &THERE), [0_u32; 0]);
    assert_eq!(flow.sids(&segment_at(8, b"x"), &THERE), [2], "what a SYN carries is no stream yet");
}

#[test]
fn a_rule_with_bypass_ends_what_is_looked_for_in_the_flow() {
    for action in ["pass", "alert"] {
        let bypass = format!("{action} udp any any -> any any (content:\"end\"; bypass;)");
        let mut flow = Watched::new(sound(&[&bypass, "alert udp any any -> any any (content:\"x\";)"]));
        let udp = |payload| packet(protocol::UDP, Transport::Ports { source: 1, destination: 2 }, payload);
        assert_eq!(flow.sids(&udp(b"x"), &THERE), [2]);
        flow.sids(&udp(b"end"), &THERE);
        assert_eq!(flow.sids(&udp(b"x"), &THERE), [0_u32; 0], "{action}");
        assert!(flow.marks.as_ref().is_some_and(|marks| marks.is_bypassed));
    }
}

#[test]
fn what_has_no_flow_in_suricata_is_asked_about_addresses_at_every_packet() {
    let mut flow = Watched::new(sound(&["alert ip any any -> any any ()"]));
    let gre = packet(47, Transport::None, b"");
    let sids = [flow.sids(&gre, &THERE), flow.sids(&gre, &THERE)];
    assert_eq!(sids, [[1], [1]]);
    let mut flow = Watched::new(sound(&["alert ip any any -> any any ()"]));
    let tunnel = packet(41, Transport::None, b"");
    assert_eq!([flow.sids(&tunnel, &THERE).len(), flow.sids(&tunnel, &THERE).len()], [1, 0]);
}

#[test]
fn rules_that_may_be_about_carriers_are_known() {
    for (rule, is_needed) in [
        ("alert ip any any -> any any (ip_proto:41;)", true),
        ("alert ip any any -> 192.0.2.1 any ()", true),
        ("alert udp any any -> any any (content:\"x\";)", true),
        ("alert gre any any -> any any ()", true),
        ("alert ether any any -> any any (ether.hdr; content:\"|08 00|\";)", true),
        ("alert tcp any any -> any any (content:\"x\";)", false),
        ("alert ip any any -> any any (ip_proto:1;)", false),
        ("alert ip any any -> any any (flags:S;)", false),
        ("alert dns any any -> any any ()", false),
        ("alert ip any any -> any any (dns.query; content:\"x\";)", false),
    ] {
        assert_eq!(sound(&[rule]).rules().needs().carriers, is_needed, "{rule}");
    }
}

#[test]
fn of_two_revisions_of_a_rule_the_later_one_runs() {
    let old = "alert udp any any -> any any (content:\"x\"; sid:1; rev:1;)";
    let new = "alert ip any any -> any any (content:\"x\"; sid:1; rev:2;)";
    let (runs, problems) = engine(&[old, new]);
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["x:1:1: revision 2 at x:2:1 replaces it"]
    );
    assert_eq!(Watched::new(runs).sids(&segment(b"x"), &THERE), [1]);
    // One that cannot run replaces nothing.
    let (runs, problems) = engine(&[new, "alert ip any any -> any any (what; sid:1; rev:3;)"]);
    assert_eq!(problems.len(), 1);
    assert_eq!(Watched::new(runs).sids(&segment(b"x"), &THERE), [1]);
}

#[test]
fn what_expressions_capture_for_the_flow_is_kept_with_it() {
    let mut flow = Watched::new(sound(&[
        r#"alert tcp any any -> any any (pcre:"/id=(\d+) (\w+) (\w+)/, flow:id, pkt:what, flow:who";)"#,
    ]));
    let kept = |flow: &Watched| -> Vec<(String, Vec<u8>)> {
        let rare = flow.marks.as_ref().and_then(|marks| marks.rare.as_ref());
        let variables = rare.into_iter().flat_map(|rare| &rare.variables);
        variables.map(|(name, value)| (name.to_string(), value.clone())).collect()
    };
    assert_eq!(flow.sids(&segment(b"id= a b"), &THERE), [0_u32; 0]);
    assert!(kept(&flow).is_empty());
    assert_eq!(flow.sids(&segment_at(20, b"id=7 some one"), &THERE), [1]);
    assert_eq!(kept(&flow), [("id".to_owned(), b"7".to_vec()), ("who".to_owned(), b"one".to_vec())]);
    assert_eq!(flow.sids(&segment_at(60, b"id=8 a b"), &THERE), [1]);
    assert_eq!(kept(&flow), [("id".to_owned(), b"8".to_vec()), ("who".to_owned(), b"b".to_vec())]);
    for wrong in [r#"pcre:"/(a)/, flow:""#, r#"pcre:"/(a)/, flow:a b""#] {
        assert_eq!(engine(&[&format!("alert tcp any any -> any any ({wrong};)")]).1.len(), 1, "{wrong}");
    }
}

#[test]
fn a_config_rule_keeps_a_transaction_from_being_told() {
    let event = |transaction, kind| crate::dpi::Event {
        kind,
        transaction: Some(transaction),
        ..crate::dpi::Event::new(App::Http, Timestamp(5), Direction::Forward, Vec::new())
    };
    let rule = "config http any any -> any any (http.host; content:\"test\"; config:logging disable, type tx, scope tx;)";
    let mut flow = Watched::new(sound(&[rule]));
    let mut said = sides(App::Http, &[(Direction::Forward, Buffer::HttpHost, "test.example")]);
    let facts = Facts { app: App::Http, ..THERE };
    assert_eq!(flow.look(&segment(b"x"), &facts, Some(&mut said)), []);
    let mut events = vec![event(0, "http"), event(0, "fileinfo"), event(1, "http")];
    flow.marks.as_ref().unwrap().silence(&mut events);
    assert_eq!(events, [event(0, "fileinfo"), event(1, "http")]);
    for refused in [
        "config http any any -> any any (http.host; content:\"a\"; config:logging disable, type flow, scope flow;)",
        "config http any any -> any any (http.host; content:\"a\";)",
        "config tcp any any -> any any (content:\"a\"; config:logging disable, type tx, scope tx;)",
        "alert http any any -> any any (http.host; content:\"a\"; config:logging disable, type tx, scope tx;)",
    ] {
        assert_eq!(engine(&[refused]).1.len(), 1, "{refused}");
    }
}

#[test]
fn rules_about_frames_look_at_frames_with_and_without_packets() {
    let rules = [
        "alert arp any any -> any any ()",
        "alert ether any any -> any any (ether.hdr; content:\"|08 06|\"; offset:12; depth:2;)",
        "alert ether any any -> any any (ether.hdr; content:\"|08 00|\"; offset:12; depth:2;)",
        "alert ether any any -> any any (vlan.id:5;)",
    ];
    let mut asked = sound(&rules);
    let mut sids = |bytes: &[u8]| -> Vec<u32> {
        let link = crate::capture::LinkType::ETHERNET;
        let frame = crate::capture::Frame { link, data: bytes, ..crate::capture::Frame::EMPTY };
        let bare = crate::decode::bare_frame(&frame).unwrap();
        let mut found = Vec::new();
        asked.frame(&bare.packet, bare.is_arp, Timestamp(5), &mut found);
        found.iter().map(|found| asked.rules().description(found.signature).unwrap().sid).collect()
    };
    let of = |kind: &[u8]| [&[2; 12][..], kind, &[0; 40]].concat();
    assert_eq!(sids(&of(&[8, 6])), [1, 2]);
    assert_eq!(sids(&of(&[0x88, 0xcc])), [0_u32; 0]);
    assert_eq!(sids(&of(&[0x81, 0, 0, 5, 8, 6])), [1, 4]);
    for refused in [
        "alert arp any any -> any any (content:\"x\";)",
        "alert ether any any -> any any (ttl:1;)",
        "alert ether any any -> any any (flow:established;)",
        "alert arp any any -> any any (flowbits:set,x;)",
        "alert ether any any -> any any (http.uri; content:\"x\";)",
    ] {
        assert_eq!(engine(&[refused]).1.len(), 1, "{refused}");
    }
}

#[test]
fn the_application_that_a_syn_shows_is_seen_once_the_handshake_is_over() {
    let mut flow = Watched::new(sound(&["alert http any any -> any any (flow:to_server;)"]));
    flow.waits = true;
    let with = |flags, payload| {
        let mut packet = segment(payload);
        if let Transport::Tcp(tcp) = &mut packet.transport {
            tcp.flags = flags;
        }
        packet
    };
    let there = Facts { app: App::Http, ..THERE };
    let back = Facts { direction: Direction::Reverse, ..there };
    assert_eq!(flow.sids(&with(tcp_flags::SYN, b"GET"), &there), [0_u32; 0]);
    assert_eq!(flow.sids(&turned(&with(tcp_flags::SYN | tcp_flags::ACK, b"")), &back), [0_u32; 0]);
    assert_eq!(flow.sids(&with(tcp_flags::ACK, b""), &there), [0_u32; 0]);
    assert_eq!(flow.sids(&turned(&with(tcp_flags::ACK, b"")), &back), [0_u32; 0]);
    assert_eq!(flow.sids(&with(tcp_flags::ACK, b""), &there), [1]);
}

#[test]
fn marks_beyond_a_flow_s_most_are_counted() {
    let rules: Vec<String> = (0..=256)
        .map(|n| format!("alert tcp any any -> any any (content:\"x\"; flowbits:set,m{n};)"))
        .collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    for (count, refused) in [(256, 0), (257, 1)] {
        let mut watched = Watched::new(sound(&rules[..count]));
        watched.look(&segment(b"x"), &THERE, None);
        assert_eq!(watched.engine.counters().marks_refused, refused, "{count} marks");
    }
}
