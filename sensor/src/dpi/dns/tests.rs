//! Bytes of DNS in, metadata and events out.

use super::message::{Message, NameBuffer, Odd};
use super::probe::whole as probe_message;
use super::{Dns, Llmnr, Mdns, types};
use crate::dpi::testing::{CLIENT, SERVER, Talk};
use crate::dpi::trial::{Trial, survives_damaged_datagrams};
use crate::dpi::{Carrier, Dissector, First, Probe};
use expect_test::expect;
use proptest::prelude::*;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes from hexadecimal digits; text after `;` up to the end of a line is said about them.
fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.lines().map(|line| line.split(';').next().unwrap_or("")).collect();
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// www.example.com A? with EDNS.
fn query() -> Vec<u8> {
    hex("1a2b 0120 0001 0000 0000 0001
         03 777777 07 6578616d706c65 03 636f6d 00  0001 0001
         00 0029 04d0 00000000 000c 000a 0008 0102030405060708 ; OPT with a cookie")
}

/// An alias with an IPv4 and an IPv6 address.
fn response() -> Vec<u8> {
    hex("1a2b 8180 0001 0003 0000 0000
         03 777777 07 6578616d706c65 03 636f6d 00  0001 0001
         c00c 0005 0001 0000003c 0005 02 6e73 c010
         c02d 0001 0001 0000003c 0004 c0000201
         c02d 001c 0001 0000003c 0010 20010db8000000000000000000000001")
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

#[test]
fn a_query_and_its_response_are_told_as_messages() {
    let told = Talk::udp().say(CLIENT, query()).say(SERVER, response()).end();
    assert_eq!(told.app, App::Dns);
    assert_eq!(told.events.iter().map(|event| event.direction).collect::<Vec<_>>(), [CLIENT, SERVER]);
    assert_eq!(told.events.iter().map(|event| event.transaction).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_eq!(told.counters.malformed, 0);
    expect![[r#"
        dns_query www.example.com
        dns_qtype A
        dns_rcode 0
        dns_answers ns.example.com 192.0.2.1 2001:db8::1
    "#]]
    .assert_eq(&told.fields());
    expect![[r#"
        {"version":3,"type":"request","tx_id":0,"id":6699,"flags":"120","rd":true,"opcode":0,"rcode":"NOERROR","queries":[{"rrname":"www.example.com","rrtype":"A"}],"additionals":[{"rrname":"","rrtype":"OPT","ttl":0,"opt":[{"code":10,"data":"0102030405060708"}]}]}
        {"version":3,"type":"response","tx_id":1,"id":6699,"flags":"8180","qr":true,"rd":true,"ra":true,"opcode":0,"rcode":"NOERROR","queries":[{"rrname":"www.example.com","rrtype":"A"}],"answers":[{"rrname":"www.example.com","rrtype":"CNAME","ttl":60,"rdata":"ns.example.com"},{"rrname":"ns.example.com","rrtype":"A","ttl":60,"rdata":"192.0.2.1"},{"rrname":"ns.example.com","rrtype":"AAAA","ttl":60,"rdata":"2001:0db8:0000:0000:0000:0000:0000:0001"}],"grouped":{"A":["192.0.2.1"],"AAAA":["2001:0db8:0000:0000:0000:0000:0000:0001"],"CNAME":["ns.example.com"]}}
    "#]]
    .assert_eq(&told.bodies());
}

#[test]
fn records_are_written_by_their_kind() {
    let message = hex("0001 8583 0001 0006 0001 0000
         01 61 00 00ff 0001
         c00c 000f 0001 00000001 0007 000a 02 6d78 c00c
         c00c 0010 0001 00000001 0009 02 6869 05 7468657265
         c00c 0021 0001 00000001 000a 0014 0001 13c4 01 62 c00c
         c00c 000a 0001 00000001 0003 41c503
         c00c 002c 0001 00000001 0004 0102 abcd
         c00c 0030 0001 00000001 0001 00
         c00c 0006 0001 00000001 001a c00c 01 72 c00c 00000001 00000002 00000003 00000004 00000005");
    let told = Talk::udp().say(SERVER, message).end();
    assert_eq!(told.counters.malformed, 0);
    expect![[r#"
        {"version":3,"type":"response","tx_id":0,"id":1,"flags":"8583","qr":true,"aa":true,"rd":true,"ra":true,"opcode":0,"rcode":"NXDOMAIN","queries":[{"rrname":"a","rrtype":"ANY"}],"answers":[{"rrname":"a","rrtype":"MX","ttl":1,"rdata":"mx.a"},{"rrname":"a","rrtype":"TXT","ttl":1,"rdata":"hi"},{"rrname":"a","rrtype":"TXT","ttl":1,"rdata":"there"},{"rrname":"a","rrtype":"SRV","ttl":1,"srv":{"priority":20,"weight":1,"port":5060,"name":"b.a"}},{"rrname":"a","rrtype":"NULL","ttl":1,"rdata":"A\\xc5\u0003"},{"rrname":"a","rrtype":"SSHFP","ttl":1,"sshfp":{"fingerprint":"ab:cd","algo":1,"type":2}},{"rrname":"a","rrtype":"DNSKEY","ttl":1}],"authorities":[{"rrname":"a","rrtype":"SOA","ttl":1,"soa":{"mname":"a","rname":"r.a","serial":1,"refresh":2,"retry":3,"expire":4,"minimum":5}}],"grouped":{"MX":["mx.a"],"TXT":["hi","there"],"NULL":["A\\xc5\u0003"],"SRV":[{"priority":20,"weight":1,"port":5060,"name":"b.a"}],"SSHFP":[{"fingerprint":"ab:cd","algo":1,"type":2}]}}
    "#]].assert_eq(&told.bodies());
}

#[test]
fn a_stream_carries_messages_with_their_lengths() {
    let queries = [framed(&query()), framed(&query())].concat();
    let (one, other) = queries.split_at(70);
    let told = Talk::tcp().say(CLIENT, one).say(CLIENT, other).say(SERVER, framed(&response())).end();
    assert_eq!((told.app, told.events.len()), (App::Dns, 3));
    let told = queries.chunks(1).fold(Talk::tcp(), |talk, byte| talk.say(CLIENT, byte)).end();
    assert_eq!(told.events.len(), 2);
}

#[test]
fn after_a_gap_a_stream_goes_on_where_a_segment_begins_a_message() {
    let message = framed(&query());
    let told = Talk::tcp()
        .say(CLIENT, &message)
        .lose(CLIENT, 20)
        .say(CLIENT, &message[20..])
        .say(CLIENT, &message)
        .acknowledge(SERVER)
        .end();
    assert_eq!((told.events.len(), told.counters.gaps), (1, 1), "what came behind the hole came as one run");
    let told = Talk::tcp()
        .say(CLIENT, &message)
        .lose(CLIENT, 20)
        .say(CLIENT, &message[20..])
        .acknowledge(SERVER)
        .say(CLIENT, &message)
        .end();
    assert_eq!(told.events.len(), 2);
}

#[test]
fn a_damaged_record_leaves_what_came_before_it() {
    let mut message = response();
    let length = message.len();
    message[length - 17] = 0xff;
    let told = Talk::udp().say(SERVER, message).end();
    let kinds: Vec<_> = told.events.iter().map(|event| event.kind).collect();
    assert_eq!((kinds, told.counters.malformed), (vec!["anomaly", "dns"], 1));
    assert_eq!(told.metadata.list(Field::DnsAnswers).len(), 2);
    let told = Talk::udp().say(SERVER, response()).say(SERVER, "x").say(SERVER, [0; 40]).end();
    let told: Vec<_> = told.events.iter().map(|event| event.kind).collect();
    assert_eq!(told, ["dns", "anomaly", "dns"]);
}

/// A printer announces itself: pointer, text, address.
fn announcement() -> Vec<u8> {
    hex("0000 8400 0000 0002 0000 0001
         04 5f697070 04 5f746370 05 6c6f63616c 00  000c 0001 00001194 0004 01 50 c00c
         01 50 c00c 0010 8001 00001194 0008 03 613d31 03 623d32
         01 68 c016 0001 8001 00000078 0004 c0000207")
}

#[test]
fn multicast_messages_are_told_as_their_own() {
    let trial = Trial::<Mdns>::new().over_datagrams().between(5353, 5353).client(&announcement());
    assert_eq!(trial.malformed, 0);
    assert_eq!(trial.metadata.list(Field::DnsAnswers).join(" "), "P._ipp._tcp.local 192.0.2.7");
    let want = serde_json::json!({
        "type": "response", "id": 0, "flags": ["aa"], "opcode": 0, "rcode": 0,
        "answers": [
            {"rrname": "_ipp._tcp.local", "ptr": "P._ipp._tcp.local"},
            {"rrname": "P._ipp._tcp.local", "txt": ["a=1", "b=2"]},
        ],
        "additionals": [{"rrname": "h.local", "a": "192.0.2.7"}],
    });
    assert_eq!(trial.event(), want);
    let query = hex("c341 0000 0001 0000 0000 0000 06 687332303131 00 0001 0001");
    let trial = Trial::<Llmnr>::new().over_datagrams().between(54_022, 5355).client(&query);
    let want = serde_json::json!({
        "type": "request", "id": 49985, "opcode": 0, "queries": [{"rrname": "hs2011", "rrtype": "a"}],
    });
    assert_eq!(trial.event(), want);
    survives_damaged_datagrams::<Mdns>(&[(CLIENT, &announcement())]);
}

#[test]
fn the_ports_tell_the_three_apart() {
    let message = announcement();
    let question = query();
    let datagram = |bytes| First::of(Carrier::Datagram, CLIENT, bytes);
    for (bytes, ports, verdicts) in [
        (&message, (5353, 5353), [Probe::Certain, Probe::NotForUs, Probe::NotForUs]),
        (&question, (40_000, 5355), [Probe::NotForUs, Probe::Certain, Probe::NotForUs]),
        (&question, (40_000, 443), [Probe::NotForUs, Probe::NotForUs, Probe::Certain]),
        (&question, (5353, 53), [Probe::NotForUs, Probe::NotForUs, Probe::Certain]),
        (&question, (137, 137), [Probe::NotForUs; 3]),
    ] {
        let first = datagram(bytes).between(ports.0, ports.1);
        assert_eq!([Mdns::probe(&first), Llmnr::probe(&first), Dns::probe(&first)], verdicts, "{ports:?}");
    }
    // A damaged message is taken for DNS where its port says so.
    let mut damaged = question.clone();
    damaged[7] = 9;
    assert_eq!(Dns::probe(&datagram(&damaged).between(40_000, 53)), Probe::Likely);
    assert_eq!(Dns::probe(&datagram(&damaged).between(40_000, 54)), Probe::NotForUs);
    // Whatever number of questions is announced: the first can be read. One whose type nobody assigned cannot.
    let mut many = question.clone();
    many[4] = 0x1c;
    assert_eq!(Dns::probe(&datagram(&many).between(40_000, 53)), Probe::Likely);
    assert_eq!(Dns::probe(&datagram(&many).between(40_000, 54)), Probe::NotForUs);
    let unassigned = [&many[..29], &[0x7f, 0xff], &many[31..]].concat();
    assert_eq!(Dns::probe(&datagram(&unassigned).between(40_000, 53)), Probe::NotForUs);
}

#[test]
fn what_a_header_should_not_say_is_told() {
    let events = |bytes: &[u8], ports: (u16, u16)| {
        let trial = Trial::<Dns>::new().over_datagrams().between(ports.0, ports.1).client(bytes);
        let bodies = trial.events.iter().filter(|event| event.kind == "anomaly");
        let values = bodies.map(|event| serde_json::from_slice::<serde_json::Value>(&event.body).unwrap());
        values.map(|body| body["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let with = |at: usize, byte: u8| {
        let mut message = query();
        message[at] = byte;
        message
    };
    let client = (40_000, 53);
    assert!(events(&query(), client).is_empty());
    assert_eq!(events(&with(3, 0x40), client), ["z_flag_set"]);
    assert_eq!(events(&with(2, 0x48), client), ["invalid_opcode"]);
    assert_eq!(events(&with(2, 0x81), client), ["not_request"]);
    assert_eq!(events(&query(), (53, 40_000)), ["not_response"]);
    assert_eq!(events(&with(11, 2), client), ["invalid_additionals"]);
    assert_eq!(events(&with(5, 9), client), ["malformed_data"]);
}

#[test]
fn a_name_cannot_lead_the_walk_astray() {
    let at_question = |name: &str| {
        let bytes = [hex("0000 0100 0001 0000 0000 0000"), hex(name), hex("0001 0001")].concat();
        let (message, mut names) = (Message::new(&bytes).unwrap(), NameBuffer::default());
        let read = message.name(12, &mut names).map(|(name, end)| (types::text(name.text).into_owned(), end));
        (read, names.odd())
    };
    let right = |name: &str, end| (Some((name.to_owned(), end)), Odd::default());
    assert_eq!(at_question("00"), right("", 13));
    assert_eq!(at_question("01 61 01 62 00"), right("a.b", 17));
    assert_eq!(at_question("c010 0000 01 62 00"), right("b", 14), "forward");
    assert_eq!(at_question("c004"), right("", 14), "into the header");
    let is_loop = Odd { is_loop: true, ..Odd::default() };
    assert_eq!(at_question("c00c"), (None, is_loop), "to itself");
    assert_eq!(at_question("c00e c00e"), (Some((String::new(), 14)), is_loop), "to what points to itself");
    let many = Odd { is_cut: true, has_many_labels: true, ..Odd::default() };
    assert_eq!(at_question("01 61 c00c"), (Some((["a"; 128].join("."), 16)), many), "in a circle");
    for (what, name) in [("beyond", "c0ff"), ("an extended label", "40"), ("a label beyond the end", "3f 61")]
    {
        assert_eq!(at_question(name), (None, Odd::default()), "{what}");
    }
    let label = |bytes: usize| format!("{bytes:02x}{}", "61".repeat(bytes));
    // With dots: 16 times 64, and one more.
    let long = |last: usize| at_question(&format!("{}{}00", label(63).repeat(16), label(last)));
    let (Some((name, end)), odd) = long(1) else { panic!() };
    assert_eq!((name.len(), end, odd), (1025, 12 + 16 * 64 + 3, Odd::default()));
    let (Some((name, end)), odd) = long(2) else { panic!() };
    assert_eq!((name.len(), end, odd), (1025, 12 + 16 * 64 + 4, Odd { is_cut: true, ..Odd::default() }));
    assert_eq!(at_question(&format!("{}00", label(1).repeat(256))).0, None, "more labels than are read");
}

#[test]
fn names_that_are_too_long_are_told_as_far_as_they_are_read() {
    let label = format!("3f{}", "61".repeat(63));
    let long = hex(&format!("0001 0100 0001 0000 0000 0000 {} 00 0001 0001", label.repeat(17)));
    let told = Talk::udp().say(CLIENT, long).end();
    let bodies: Vec<serde_json::Value> =
        told.events.iter().map(|event| serde_json::from_slice(&event.body).unwrap()).collect();
    let question = &bodies[0]["queries"][0];
    assert_eq!(
        (question["rrname"].as_str().unwrap().len(), &question["rrname_truncated"]),
        (1025, &true.into())
    );
    assert_eq!(bodies[1]["event"], "name_too_long");
    // An alias that points to itself behind a pointer, and one that goes in a circle.
    let circle = hex("0001 8180 0001 0002 0000 0000 01 61 00 0001 0001
        c00c 0005 0001 0000003c 0004 c021 c021  c00c 0005 0001 0000003c 0004 01 62 c02f");
    let told = Talk::udp().say(SERVER, circle).end();
    let bodies: Vec<serde_json::Value> =
        told.events.iter().map(|event| serde_json::from_slice(&event.body).unwrap()).collect();
    assert_eq!(bodies[0]["answers"][1]["rdata_truncated"], true, "{bodies:?}");
    let told: Vec<_> = bodies[1..].iter().map(|body| body["event"].as_str().unwrap()).collect();
    assert_eq!(told, ["name_too_long", "infinite_loop", "too_many_labels"]);
}

#[test]
fn many_questions_about_one_long_name_are_not_read_for_ever() {
    // Names of 200 labels, each question but the first a pointer to the first's name.
    let message = |questions: u16| {
        let mut bytes = hex("0001 0100 0000 0000 0000 0000");
        bytes[4..6].copy_from_slice(&questions.to_be_bytes());
        bytes.extend(hex(&format!("{} 00 0001 0001", "0161".repeat(200))));
        (1..questions).for_each(|_| bytes.extend(hex("c00c 0001 0001")));
        bytes
    };
    let read = |questions: u16| {
        let (bytes, mut names, mut count) = (message(questions), NameBuffer::default(), 0);
        let message = Message::new(&bytes).unwrap();
        let is_read = message.questions(&mut names, |_, _| count += 1).is_some();
        (is_read, count, names.odd().has_many_labels)
    };
    assert_eq!(read(10), (true, 10, false));
    let (is_read, count, has_many_labels) = read(1000);
    assert!(!is_read && (100..500).contains(&count) && has_many_labels, "{count}");
}

#[test]
fn the_start_of_a_zone_is_grouped_too() {
    let answer = hex("0001 8180 0001 0001 0000 0000 01 61 00 0006 0001
        c00c 0006 0001 0000003c 0018 01 6d 00 00 00000001 00000002 00000003 00000004 00000005 00");
    let told = Talk::udp().say(SERVER, answer).end();
    let body: serde_json::Value = serde_json::from_slice(&told.events[0].body).unwrap();
    let soa = serde_json::json!({
        "mname": "m", "rname": "", "serial": 1, "refresh": 2, "retry": 3, "expire": 4, "minimum": 5,
    });
    assert_eq!((&body["answers"][0]["soa"], &body["grouped"]["SOA"][0]), (&soa, &soa));
}

#[test]
fn probing_knows_dns_and_nothing_else() {
    let datagram = |bytes: &[u8]| probe_message(bytes, bytes.len());
    assert_eq!(datagram(&query()), Probe::Certain);
    assert_eq!(datagram(&response()), Probe::Certain);
    let damaged = [&response()[..60], b"..."].concat();
    assert_eq!(datagram(&damaged), Probe::Certain, "cut off");
    let mut netbios = hex("0001 0110 0001 0000 0000 0000 20");
    netbios.extend_from_slice(b"CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    netbios.extend_from_slice(&hex("00 0021 0001"));
    assert_eq!(datagram(&netbios), Probe::NotForUs);
    for (what, bytes) in [
        ("zeros", vec![0; 48]),
        ("an NTP request", [&hex("e3 00 04 fa 0001 0000 0001 0000 0000 0000")[..], &[0; 34]].concat()),
        ("an unassigned type", hex("0001 0100 0001 0000 0000 0000 01 61 00 7fff 0001")),
        ("an unassigned class", hex("0001 0100 0001 0000 0000 0000 01 61 00 0001 0007")),
        ("more records than fit", hex("0001 0100 0001 0001 0000 0000 01 61 00 0001 0001")),
        ("a header without anything", hex("0001 0100 0000 0000 0000 0000")),
    ] {
        assert_eq!(datagram(&bytes), Probe::NotForUs, "{what}");
    }
    // A multicast response has no question: it has to be right to its last byte.
    let multicast =
        hex("0000 8400 0000 0001 0000 0000 01 61 05 6c6f63616c 00 0001 8001 00000078 0004 c0000201");
    assert_eq!(datagram(&multicast), Probe::Certain);
    assert_eq!(datagram(&multicast[..multicast.len() - 1]), Probe::NotForUs);
    assert_eq!(datagram(&[&multicast[..], &[0]].concat()), Probe::NotForUs);
}

#[test]
fn probing_a_stream_waits_for_the_question() {
    let probe = |bytes: &[u8]| Dns::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
    let message = framed(&response());
    assert!((0..35).all(|end| probe(&message[..end]) == Probe::Unsure));
    assert!((35..=message.len()).all(|end| probe(&message[..end]) == Probe::Certain));
    assert_eq!(probe(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), Probe::NotForUs);
    assert_eq!(probe(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4]), Probe::NotForUs);
    assert_eq!(probe(&[0, 16]), Probe::NotForUs);
}

#[test]
fn every_prefix_and_every_flipped_bit_is_survived() {
    for message in [query(), response()] {
        for end in 0..message.len() {
            Talk::udp().say(CLIENT, query()).say(CLIENT, &message[..end]).end().bodies();
            Talk::tcp().say(CLIENT, framed(&query())).say(CLIENT, framed(&message[..end])).end().bodies();
        }
        for bit in 0..message.len() * 8 {
            let mut message = message.clone();
            message[bit / 8] ^= 1 << (bit % 8);
            Talk::udp().say(CLIENT, query()).say(CLIENT, &message).end().bodies();
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_not_dns(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(probe_message(&bytes, bytes.len()) != Probe::Certain);
    }

    #[test]
    fn random_messages_are_survived(bytes in prop::collection::vec(prop_oneof![0..20u8, 0xc0..=0xc1u8, any::<u8>()], 0..400)) {
        Talk::udp().say(CLIENT, query()).say(SERVER, &bytes).end().bodies();
    }
}

#[test]
fn signatures_are_told_names_types_and_codes() {
    let mut told =
        Trial::<Dns>::new().over_datagrams().between(40_000, 53).client(&query()).server(&response());
    expect![[r#"
        client 0 dns.queries.rrname www.example.com
        client 0 dns.query www.example.com
        client 0 DnsOpcode 0
        client 0 DnsRcode 0
        client 0 DnsRrtype 1
        server 1 dns.queries.rrname www.example.com
        server 1 dns.answers.rrname www.example.com
        server 1 dns.answers.rrname ns.example.com
        server 1 dns.answers.rrname ns.example.com
        server 1 dns.response.rrname www.example.com
        server 1 dns.response.rrname www.example.com
        server 1 dns.response.rrname ns.example.com
        server 1 dns.response.rrname ns.example.com
        server 1 dns.response.rrname ns.example.com
        server 1 DnsOpcode 0
        server 1 DnsRcode 0
        server 1 DnsRrtype 5
        server 1 DnsRrtype 1
        server 1 DnsRrtype 28
    "#]]
    .assert_eq(&told.told());
}

#[test]
fn signatures_are_told_the_names_in_data_of_all_sections() {
    let message = hex("0001 8580 0001 0002 0001 0002
         01 61 00 000f 0001
         c00c 000f 0001 00000001 0007 000a 02 6d78 c00c
         c00c 0001 0001 00000001 0004 c0000201
         01 7a 00 0006 0001 00000001 001a c00c 01 72 c00c 00000001 00000002 00000003 00000004 00000005
         00 0029 04d0 00000000 0000
         c00c 0005 0001 00000001 0004 01 62 c00c");
    let mut told = Trial::<Dns>::new().over_datagrams().between(40_000, 53).server(&message);
    expect![[r#"
        server 0 dns.queries.rrname a
        server 0 dns.answers.rrname a
        server 0 dns.answers.rrname a
        server 0 dns.authorities.rrname z
        server 0 dns.response.rrname a
        server 0 dns.response.rrname a
        server 0 dns.response.rrname mx.a
        server 0 dns.response.rrname a
        server 0 dns.response.rrname z
        server 0 dns.response.rrname a
        server 0 DnsOpcode 0
        server 0 DnsRcode 0
        server 0 DnsRrtype 15
        server 0 DnsRrtype 1
    "#]]
    .assert_eq(&told.told());
}

#[test]
fn multicast_dns_and_llmnr_have_names_of_their_own() {
    let mut told = Trial::<Mdns>::new().over_datagrams().client(&query()).client(&response());
    expect![[r#"
        client 0 mdns.queries.rrname www.example.com
        client 1 mdns.answers.rrname www.example.com
        client 1 mdns.answers.rrname ns.example.com
        client 1 mdns.answers.rrname ns.example.com
        client 1 mdns.response.rrname www.example.com
        client 1 mdns.response.rrname www.example.com
        client 1 mdns.response.rrname ns.example.com
        client 1 mdns.response.rrname ns.example.com
        client 1 mdns.response.rrname ns.example.com
    "#]]
    .assert_eq(&told.told());
    let mut told = Trial::<Llmnr>::new().over_datagrams().client(&query()).server(&response());
    expect![[r#"
        client 0 llmnr.queries.rrname www.example.com
        server 1 llmnr.queries.rrname www.example.com
        server 1 llmnr.answers.rrname www.example.com
        server 1 llmnr.answers.rrname ns.example.com
        server 1 llmnr.answers.rrname ns.example.com
        server 1 llmnr.response.rrname www.example.com
        server 1 llmnr.response.rrname www.example.com
        server 1 llmnr.response.rrname ns.example.com
        server 1 llmnr.response.rrname ns.example.com
        server 1 llmnr.response.rrname ns.example.com
    "#]]
    .assert_eq(&told.told());
}
