//! The engine, keyword by keyword: a rule, and what it matches and what it does not.

use super::*;
use crate::decode::{Ip, LinkHeader, Tcp};
use proptest::prelude::*;
use weir_common::net::protocol;
use weir_common::record::tcp_flags;
use weir_common::rule::{RuleReader, Variables};
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
    Engine::build(file.rules)
}

fn sound(rules: &[&str]) -> Engine {
    let (engine, problems) = engine(rules);
    assert!(problems.is_empty(), "{problems:?}");
    engine
}

/// A segment from 10.0.0.1:1000 to 8.8.8.8:80.
fn segment(payload: &[u8]) -> Packet<'_> {
    let flags = tcp_flags::PSH | tcp_flags::ACK;
    let (sequence, acknowledgement) = (1, 1);
    let tcp = Tcp { source: 1000, destination: 80, sequence, acknowledgement, flags, window: 1 };
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

const THERE: Facts =
    Facts { direction: Direction::Forward, is_established: true, app: App::Unknown, is_news: true };

fn hits(engine: &mut Engine, packet: &Packet<'_>, facts: &Facts) -> Vec<u32> {
    let mut hits = Vec::new();
    engine.packet(packet, facts, &mut hits);
    let mut numbers: Vec<u32> = hits.iter().map(|hit| hit.signature).collect();
    numbers.sort_unstable();
    numbers
}

fn matches(rule: &str, packet: &Packet<'_>, facts: &Facts) -> bool {
    !hits(&mut sound(&[rule]), packet, facts).is_empty()
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
        ("ip_proto:!tcp;", &data, false),
        ("ip_proto:icmp;", &ping, true),
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
    assert!(!matches("alert ip any any -> any any (dsize:0;)", &part, &THERE));
    assert!(!matches("alert ip any any -> any any (content:!\"x\";)", &part, &THERE));
    assert!(matches("alert ip any any -> any any (flow:only_frag; ttl:64;)", &part, &THERE));
    assert!(matches("alert ip any any -> any any ()", &part, &THERE));
}

#[test]
fn headers_alone_are_looked_at_when_something_is_new() {
    let mut engine =
        sound(&["alert tls any any -> any any ()", "alert tcp any any -> any any (content:\"x\";)"]);
    let facts = |app, is_news| Facts { app, is_news, ..THERE };
    assert_eq!(hits(&mut engine, &segment(b"y"), &facts(App::Unknown, true)), Vec::<u32>::new());
    assert_eq!(hits(&mut engine, &segment(b"x"), &facts(App::Tls, true)), [0, 1]);
    assert_eq!(hits(&mut engine, &segment(b"x"), &facts(App::Tls, false)), [1]);
    assert_eq!(hits(&mut engine, &segment(b"x"), &facts(App::Http, true)), [1]);
    let mut found = Vec::new();
    engine.packet(&segment(b"x"), &facts(App::Tls, true), &mut found);
    let often: Vec<Often> = found.iter().map(|hit| hit.often).collect();
    assert_eq!(often, [Often::EachTime, Often::OncePerFlow]);
}

fn event(app: App, direction: Direction, body: &str) -> Event {
    let transaction = matches!(app, App::Http | App::Dns).then_some(0);
    Event { transaction, ..Event::new(app, Timestamp(5), direction, body.into()) }
}

fn key() -> FlowKey {
    FlowKey {
        initiator: "10.0.0.1".parse().unwrap(),
        responder: "8.8.8.8".parse().unwrap(),
        initiator_port: 1000,
        responder_port: 443,
        protocol: protocol::TCP,
    }
}

fn told(rule: &str, event: &Event) -> Option<Direction> {
    let mut hits = Vec::new();
    sound(&[rule]).transaction(event, &key(), &THERE, &mut hits);
    assert!(hits.len() <= 1, "{rule}: {hits:?}");
    hits.first().map(|hit| hit.direction)
}

const HTTP: &str = r#"{"hostname":"WWW.Example.org","url":"/a/b.php?id=1%27","http_user_agent":"curl/8.0","http_method":"GET","http_refer":"http://x/","status":404,"redirect":"/login"}"#;
const TLS: &str = r#"{"sni":"www.example.org","ja3":{"hash":"0123456789abcdef0123456789abcdef","string":"771,1"},"ja4":"t13d1516h2_aa_bb","ja3s":{"hash":"ffff"},"subject":"CN=example.org","issuerdn":"CN=CA","serial":"0A:0B","fingerprint":"aa:bb"}"#;

#[test]
fn buffers_match_what_they_hold_and_nothing_else() {
    let (there, back) = (Some(Direction::Forward), Some(Direction::Reverse));
    for (proto, options, app, body, want) in [
        ("http", "http.uri; content:\"/a/b.php?id=1'\"; bsize:14;", App::Http, HTTP, there),
        ("http", "http.uri; content:\"%27\";", App::Http, HTTP, None),
        ("http", "http.uri.raw; content:\"%27\"; endswith;", App::Http, HTTP, there),
        ("http", "http.host; content:\"www.example.org\"; startswith; endswith;", App::Http, HTTP, there),
        ("http", "http.host; content:\"example.com\";", App::Http, HTTP, None),
        ("http", "http.user_agent; content:\"curl/\"; startswith;", App::Http, HTTP, there),
        ("http", "http.method; content:\"GET\"; bsize:3;", App::Http, HTTP, there),
        ("http", "http.method; content:\"GET\"; bsize:4;", App::Http, HTTP, None),
        (
            "http",
            "http.method; content:\"GET\"; http.uri; content:\".php\"; http.host; content:\"example\";",
            App::Http,
            HTTP,
            there,
        ),
        ("http", "http.method; content:\"POST\"; http.uri; content:\".php\";", App::Http, HTTP, None),
        (
            "http",
            "http.uri; content:\"/a\"; http.method; content:\"G\"; http.uri; content:\"/b\"; distance:0;",
            App::Http,
            HTTP,
            there,
        ),
        ("http", "http.referer; content:\"http|3a|\";", App::Http, HTTP, there),
        ("http", "http.user_agent; content:!\"Mozilla\";", App::Http, HTTP, there),
        ("http", "http.user_agent; content:!\"curl\";", App::Http, HTTP, None),
        ("http", "http.user_agent; content:!\"x\";", App::Http, r#"{"url":"/"}"#, None),
        ("tcp", "http.uri; content:\"php\";", App::Http, HTTP, there),
        ("http", "flow:established,to_server; http.uri; content:\"php\";", App::Http, HTTP, there),
        ("http", "flow:established,to_client; http.stat_code; content:\"404\";", App::Http, HTTP, back),
        ("http", "http.location; content:\"login\";", App::Http, HTTP, back),
        ("tls", "tls.sni; content:\"example.org\"; endswith;", App::Tls, TLS, there),
        ("tls", "tls.sni; dotprefix; content:\".www.example.org\"; endswith;", App::Tls, TLS, there),
        ("tls", "tls.sni; dotprefix; content:\".example.org\"; startswith;", App::Tls, TLS, None),
        ("tls", "tls_sni; content:\"EXAMPLE\"; nocase;", App::Tls, TLS, there),
        ("tls", "ja3.hash; content:\"0123456789ABCDEF0123456789abcdef\";", App::Tls, TLS, there),
        ("tls", "ja3_hash; content:\"ffff\";", App::Tls, TLS, None),
        ("tls", "ja4.hash; content:\"t13d1516h2_\"; startswith;", App::Tls, TLS, there),
        ("tls", "tls.cert_subject; content:\"CN=example\";", App::Tls, TLS, back),
        ("tls", "tls.cert_serial; content:\"0a:0b\"; tls.cert_issuer; content:\"CA\";", App::Tls, TLS, back),
        (
            "ssh",
            "ssh.software; content:\"OpenSSH\";",
            App::Ssh,
            r#"{"server":{"software_version":"OpenSSH_9"}}"#,
            back,
        ),
        (
            "ssh",
            "ssh.software; content:\"OpenSSH\";",
            App::Ssh,
            r#"{"client":{"software_version":"OpenSSH_9"}}"#,
            there,
        ),
        (
            "dns",
            "dns.query; content:\"evil\"; nocase;",
            App::Dns,
            r#"{"type":"request","queries":[{"rrname":"a"},{"rrname":"x.EVIL.example"}]}"#,
            there,
        ),
        (
            "dns",
            "dns.query; content:\"evil\";",
            App::Dns,
            r#"{"type":"response","queries":[{"rrname":"evil"}]}"#,
            None,
        ),
        (
            "dns",
            "dns.query; bsize:>60;",
            App::Dns,
            r#"{"type":"request","queries":[{"rrname":"short"}]}"#,
            None,
        ),
        (
            "dns",
            "dns.query; bsize:<6;",
            App::Dns,
            r#"{"type":"request","queries":[{"rrname":"short"}]}"#,
            there,
        ),
        (
            "udp",
            "dns.query; content:\"a\";",
            App::Dns,
            r#"{"type":"request","queries":[{"rrname":"a"}]}"#,
            None,
        ),
    ] {
        let rule = format!("alert {proto} any any -> any any ({options})");
        assert_eq!(told(&rule, &event(app, Direction::Forward, body)), want, "{rule}");
    }
}

#[test]
fn the_ends_of_a_transaction_are_those_of_who_sends_the_buffer() {
    let sni = |header: &str| format!("alert tls {header} (tls.sni; content:\"example\";)");
    let subject = |header: &str| format!("alert tls {header} (tls.cert_subject; content:\"example\";)");
    let session = event(App::Tls, Direction::Forward, TLS);
    assert!(told(&sni("10.0.0.1 any -> 8.8.8.8 443"), &session).is_some());
    assert!(told(&sni("8.8.8.8 443 -> 10.0.0.1 any"), &session).is_none());
    assert!(told(&subject("8.8.8.8 443 -> 10.0.0.1 any"), &session).is_some());
    assert!(told(&subject("10.0.0.1 any -> 8.8.8.8 443"), &session).is_none());
    // The client is who said so, whoever the flow takes for its initiator.
    let turned = event(App::Tls, Direction::Reverse, TLS);
    assert_eq!(told(&sni("8.8.8.8 443 -> 10.0.0.1 any"), &turned), Some(Direction::Reverse));
}

#[test]
fn what_cannot_be_run_truthfully_is_given_back_with_its_place() {
    for (rule, column, reason) in [
        ("alert tcp any any -> any any (sid:1; pcre:\"/x/\";)", 38, "cannot run `pcre`"),
        ("alert tcp any any -> any any (sid:1; content:\"a\"; isdataat:1;)", 51, "cannot run `isdataat`"),
        ("alert smb any any -> any any (sid:1;)", 7, "`smb` is not recognised"),
        ("alert tcp-stream any any -> any any (sid:1;)", 7, "`tcp-stream` is not recognised"),
        ("pass tcp any any -> any any (sid:1;)", 1, "cannot run `pass`"),
        ("config dns any any -> any any (sid:1;)", 1, "cannot run `config`"),
        ("alert tcp any any => any any (sid:1;)", 1, "cannot run `=>`"),
        ("alert tcp any any -> any any (sid:1; flowbits:isset,x;)", 38, "cannot run `flowbits:isset`"),
        ("alert tcp any any -> any any (sid:1; flowbits:noalert;)", 38, "never alerts"),
        ("alert tcp any any -> any any (sid:1; noalert;)", 38, "never alerts"),
        ("alert tcp any any -> any any (sid:1; flow:only_stream;)", 38, "not streams"),
        ("alert tcp any any -> any any (sid:1; flow:to_server,to_client;)", 38, "contradicts"),
        ("alert tcp any any -> any any (sid:1; depth:5;)", 38, "behind no content"),
        ("alert tcp any any -> any any (sid:1; content:\"abc\"; depth:2;)", 53, "longer than its depth"),
        ("alert tcp any any -> any any (sid:1; content:\"abc\"; offset:x;)", 60, "a number"),
        ("alert tcp any any -> any any (sid:1; content:\"a|4|\";)", 50, "odd number"),
        ("alert tcp any any -> any any (sid:1; content:\"a\"; startswith; offset:1;)", 63, "startswith"),
        ("alert tcp any any -> any any (sid:1; dsize:abc;)", 44, "expected a number"),
        ("alert tcp any any -> any any (sid:1; flags:Q;)", 44, "flags such as"),
        ("alert tcp any any -> any any (sid:1; bsize:3;)", 38, "behind no buffer"),
        (
            "alert http any any -> any any (sid:1; tls.sni; content:\"a\";)",
            39,
            "never in the rule's application",
        ),
        ("alert http any any -> any any (sid:1; http.uri;)", 39, "nothing is looked for"),
        ("alert http any any -> any any (sid:1; http.host; content:\"Abc\";)", 58, "lower case"),
        ("alert http any any -> any any (sid:1; http.uri; content:\"|ff|\";)", 57, "beyond ASCII"),
        (
            "alert http any any -> any any (sid:1; content:\"a\"; http.uri; content:\"a\";)",
            62,
            "together with",
        ),
        ("alert http any any -> any any (sid:1; dsize:5; http.uri; content:\"a\";)", 39, "together with"),
        (
            "alert http any any -> any any (sid:1; flow:to_client; http.uri; content:\"a\";)",
            65,
            "different directions",
        ),
        (
            "alert http any any -> any any (sid:1; http.uri; content:\"a\"; http.stat_code; content:\"2\";)",
            78,
            "different directions",
        ),
        (
            "alert tcp any any -> any any (sid:1; threshold:type limit, count 1, seconds 1;)",
            48,
            "expected type",
        ),
    ] {
        let (engine, problems) = engine(&[rule]);
        assert!(engine.is_empty() && problems.len() == 1, "{rule}: {problems:?}");
        let problem = &problems[0];
        assert!(problem.reason.contains(reason), "{rule}\n{problem}");
        assert_eq!(problem.place.column, column, "{rule}\n{problem}");
    }
}

#[test]
fn rules_that_cannot_run_leave_the_others_alone() {
    let (mut engine, problems) = engine(&[
        "alert tcp any any -> any any (pcre:\"/x/\";)",
        "alert tcp any any -> any any (content:\"x\";)",
        "drop tcp any any -> any any (content:\"y\";)",
    ]);
    assert_eq!((engine.len(), problems.len()), (2, 1));
    assert_eq!(hits(&mut engine, &segment(b"xy"), &THERE), [0, 1]);
    assert_eq!(engine.description(1).unwrap().sid, 3);
}

#[test]
fn exponential_searches_are_given_up_and_counted() {
    let chain = "content:\"a\"; distance:0; ".repeat(12);
    let rule = format!("alert tcp any any -> any any ({chain} content:\"b\"; distance:0; content:!\"c\";)");
    let mut engine = sound(&[&rule]);
    let payload = [&[b'a'; 1400][..], b"b"].concat();
    assert_eq!(hits(&mut engine, &segment(&payload), &THERE), [0]);
    let payload = [&[b'b'][..], &[b'a'; 1400]].concat();
    assert_eq!(hits(&mut engine, &segment(&payload), &THERE), Vec::<u32>::new());
    assert_eq!(engine.counters().given_up, 1);
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
    /// What is found together is what each rule finds alone: the prefilter leaves nothing out.
    #[test]
    fn many_rules_together_find_what_each_finds_alone(payload in "[abAB]{0,9}") {
        let packet = segment(payload.as_bytes());
        let together = hits(&mut sound(&MANY), &packet, &THERE);
        let alone: Vec<u32> =
            (0..MANY.len()).filter(|at| matches(MANY[*at], &packet, &THERE)).map(|at| at as u32).collect();
        prop_assert_eq!(together, alone);
    }

    #[test]
    fn any_options_compile_or_are_refused(
        options in proptest::collection::vec(
            (
                proptest::sample::select(vec![
                    "content", "depth", "offset", "within", "distance", "nocase", "startswith", "endswith", "bsize",
                    "dsize", "flags", "flow", "itype", "ttl", "ip_proto", "http.uri", "tls.sni", "dotprefix",
                    "threshold", "flowbits", "fast_pattern", "pkt_data",
                ]),
                proptest::option::of(proptest::sample::select(vec![
                    "\"a\"", "!\"|41|\"", "5", "-5", "4294967295", "-2147483648", "<3", "1<>9", "+S", "to_server",
                    "set,x", "99999999999999999999", "type limit, track by_src, count 1, seconds 1", "",
                ])),
            ),
            0..8,
        ),
        payload in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let options: String = options
            .iter()
            .map(|(name, value)| value.map_or(format!("{name};"), |value| format!("{name}:{value};")))
            .collect();
        let rule = format!("alert tcp any any -> any any (sid:1; {options})");
        let (mut engine, _) = engine(&[&rule]);
        hits(&mut engine, &segment(&payload), &THERE);
        let mut found = Vec::new();
        engine.transaction(&event(App::Http, Direction::Forward, HTTP), &key(), &THERE, &mut found);
    }
}
