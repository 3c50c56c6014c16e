//! What indicator lists are read as, and which records they match.

use super::*;
use crate::detect::testing::{line, run};
use expect_test::{Expect, expect};
use weir_common::record::FlowRecord;
use weir_common::testing::RecordBuilder;

const LIST: &[u8] = b"type,value,severity,source,note
# what follows is made up
ip,198.51.100.7,critical,feed-a,stage server
cidr,203.0.113.0/24,medium,feed-a,
domain,*.Evil.Example.,high,feed-b,\"drop, then call\"
ja3,E7D705A3286E19EA42F587B344EE6865,low,feed-c,
ja4,t13d1516h2_8daaf6152771_b186095e22b6,low,feed-c,
cert_sha1,AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD,,,
";

fn indicators(text: &[u8]) -> (Indicators, Vec<String>) {
    let mut indicators = Indicators::default();
    let problems = indicators.add_list("bad.csv", text, 100);
    (indicators, problems.iter().map(Problem::to_string).collect())
}

fn check(records: impl IntoIterator<Item = FlowRecord>, want: &Expect) {
    let (indicators, problems) = indicators(LIST);
    assert_eq!(problems, Vec::<String>::new());
    let mut detector = IndicatorDetector::new(indicators, Home::new(&[]).unwrap());
    let found = run(&mut detector, records);
    want.assert_eq(&found.iter().map(|finding| line(finding) + "\n").collect::<String>());
}

#[test]
fn the_host_inside_is_the_actor_whoever_began() {
    check(
        [
            RecordBuilder::tcp("10.0.0.5:40000", "198.51.100.7:80").build(),
            RecordBuilder::tcp("10.0.0.5:40000", "198.51.100.7:80").unanswered().build(),
            RecordBuilder::tcp("203.0.113.255:40000", "10.0.0.6:22").build(),
            RecordBuilder::tcp("203.0.113.0:40000", "10.0.0.6:22").refused().build(),
            RecordBuilder::tcp("10.0.0.5:40000", "198.51.100.8:80").build(),
            RecordBuilder::tcp("203.0.112.255:40000", "203.0.114.0:22").build(),
        ],
        &expect![[r#"
            intel.ip 10.0.0.5 -> 198.51.100.7 critical 0.90: 10.0.0.5 talked to 198.51.100.7, listed as 198.51.100.7 by feed-a (stage server).
            intel.ip 10.0.0.5 -> 198.51.100.7 critical 0.75: 10.0.0.5 tried to reach 198.51.100.7, listed as 198.51.100.7 by feed-a (stage server).
            intel.ip 10.0.0.6 -> 203.0.113.255 medium 0.80: 10.0.0.6 answered 203.0.113.255, listed as 203.0.113.0/24 by feed-a.
            intel.ip 203.0.113.0 -> 10.0.0.6 low 0.40: 203.0.113.0 knocked in vain at 10.0.0.6, listed as 203.0.113.0/24 by feed-a.
        "#]],
    );
}

#[test]
fn a_domain_matches_itself_and_what_is_below_it_wherever_it_is_named() {
    let tcp = || RecordBuilder::tcp("10.0.0.5:40000", "192.0.2.1:443");
    let dns = || RecordBuilder::udp("10.0.0.5:40000", "10.0.0.1:53").app(App::Dns);
    check(
        [
            dns().list(Field::DnsQuery, &["www.example.com", "EVIL.example."]).build(),
            tcp().text(Field::TlsServerName, "cdn.a.evil.example").build(),
            tcp().text(Field::HttpHost, "evil.example:8080").build(),
            tcp().text(Field::TlsServerName, "notevil.example").build(),
            tcp().text(Field::TlsServerName, "evil.example.com").build(),
            tcp().text(Field::TlsServerName, "example").build(),
            tcp().text(Field::TlsServerName, &"a.".repeat(200)).build(),
        ],
        &expect![[r#"
            intel.domain 10.0.0.5 -> 10.0.0.1 high 0.90: 10.0.0.5 asked for EVIL.example., listed as evil.example by feed-b (drop, then call).
            intel.domain 10.0.0.5 -> 192.0.2.1 high 0.90: 10.0.0.5 opened TLS to cdn.a.evil.example, listed as evil.example by feed-b (drop, then call).
            intel.domain 10.0.0.5 -> 192.0.2.1 high 0.90: 10.0.0.5 requested evil.example, listed as evil.example by feed-b (drop, then call).
        "#]],
    );
}

#[test]
fn fingerprints_match_in_any_spelling() {
    let tls = || RecordBuilder::tcp("10.0.0.5:40000", "192.0.2.1:443").app(App::Tls);
    check(
        [
            tls().text(Field::TlsJa3, "e7d705a3286e19ea42f587b344ee6865").build(),
            tls().text(Field::TlsJa4, "t13d1516h2_8daaf6152771_b186095e22b6").build(),
            tls()
                .text(Field::TlsFingerprint, "aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd")
                .build(),
            tls()
                .text(Field::TlsFingerprint, "aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:de")
                .build(),
            tls().text(Field::TlsFingerprint, &"a".repeat(60)).build(),
        ],
        &expect![[r#"
            intel.ja3 10.0.0.5 -> 192.0.2.1 low 0.50: 10.0.0.5 speaks TLS with the JA3 e7d705a3286e19ea42f587b344ee6865, listed as e7d705a3286e19ea42f587b344ee6865 by feed-c.
            intel.ja4 10.0.0.5 -> 192.0.2.1 low 0.60: 10.0.0.5 speaks TLS with the JA4 t13d1516h2_8daaf6152771_b186095e22b6, listed as t13d1516h2_8daaf6152771_b186095e22b6 by feed-c.
            intel.certificate 10.0.0.5 -> 192.0.2.1 high 0.95: 10.0.0.5 met a server with the certificate aabbccddeeff00112233445566778899aabbccdd, listed as aabbccddeeff00112233445566778899aabbccdd by an indicator list.
        "#]],
    );
}

#[test]
fn lines_that_cannot_be_used_are_named_and_the_rest_is_kept() {
    let (indicators, problems) = indicators(
        b"ip,198.51.100.7\nip,198.51.100.777,high\ndomian,evil.example\ndomain,com\ndomain,b\xc3\xbccher.example\nja3,abc\nip,1.2.3.4,hgih\ncidr,0.0.0.0/0\ncidr,16.0.0.0/7\ndomain,10.0.0.1\nja4,t13\n\xff,\xff\nip,192.0.2.1,low",
    );
    assert_eq!(indicators.len(), 2);
    expect![[r#"
        bad.csv:2: `198.51.100.777` is not an address or network: expected 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32
        bad.csv:3: unknown type `domian`: expected ip, cidr, domain, ja3, ja4, cert_sha1; did you mean `domain`?
        bad.csv:4: `com` is not a domain name such as evil.example: a single label would match everything below it
        bad.csv:5: `bücher.example` is not a domain name such as evil.example: expected ASCII; write international names as xn--
        bad.csv:6: `abc` is not a JA3 hash of 32 hexadecimal digits
        bad.csv:7: unknown severity `hgih`: expected low, medium, high, critical; did you mean `high`?
        bad.csv:8: `0.0.0.0/0` holds too many addresses: expected a prefix of 8 bits or more
        bad.csv:9: `16.0.0.0/7` holds too many addresses: expected a prefix of 8 bits or more
        bad.csv:10: `10.0.0.1` is not a domain name such as evil.example: this is an address; its type is ip
        bad.csv:11: `t13` is not a JA4 fingerprint such as t13d1516h2_8daaf6152771_b186095e22b6
        bad.csv:12: is not UTF-8 text"#]]
    .assert_eq(&problems.join("\n"));
}

#[test]
fn a_repeated_indicator_keeps_the_worse_severity() {
    let (indicators, problems) =
        indicators(b"value,type,severity\n1.2.3.4,ip,low\n1.2.3.4/32,cidr,high\n1.2.3.4,ip,medium\n");
    assert_eq!((indicators.len(), indicators.repeated(), problems.len()), (1, 2, 0));
    assert_eq!(indicators.entries[0].severity, Severity::High);
}

#[test]
fn the_limit_is_kept_and_said() {
    let mut indicators = Indicators::default();
    let list: String = (0..5).map(|last| format!("ip,192.0.2.{last}\n")).collect();
    assert!(indicators.add_list("a.csv", list.as_bytes(), 5).is_empty());
    let problems = indicators.add_list("b.csv", &b"ip,192.0.2.9\nip,192.0.2.10\n"[..], 5);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].to_string().contains("b.csv:1: this line and those after it are left out"),
        "{problems:?}"
    );
    assert_eq!(indicators.len(), 5);
}

#[test]
fn a_wrong_header_is_named() {
    let (indicators, problems) = indicators(b"type,value,sevrity\nip,1.2.3.4,low\n");
    assert_eq!(indicators.len(), 0);
    assert_eq!(
        problems,
        [
            "bad.csv:1: unknown column `sevrity`: expected type, value, severity, source, note; did you mean `severity`?"
        ]
    );
}

#[test]
fn a_resolver_is_not_accused_of_what_its_clients_ask() {
    let (indicators, _) = indicators(LIST);
    let mut detector = IndicatorDetector::new(indicators, Home::new(&[]).unwrap());
    let asset = Asset { name: "ns1".into(), role: "DNS server".into(), criticality: Default::default() };
    let record = RecordBuilder::udp("10.0.0.1:40000", "192.0.2.53:53")
        .app(App::Dns)
        .list(Field::DnsQuery, &["evil.example"])
        .build();
    let exporter = crate::detect::testing::exporter();
    let mut findings = Vec::new();
    let mut enriched = Enriched {
        record: &record,
        exporter: &exporter,
        initiator: Some(&asset),
        responder: None,
        legitimate: None,
    };
    detector.inspect(&enriched, &mut findings);
    assert!(findings.is_empty());
    enriched.initiator = None;
    detector.inspect(&enriched, &mut findings);
    assert_eq!(findings.len(), 1);
}

#[test]
fn any_bytes_are_a_list_without_harm() {
    let mut state = 7u64;
    for round in 0..2000 {
        let mut text = LIST.to_vec();
        for _ in 0..(round % 9) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % text.len();
            text[at] = (state >> 24) as u8;
        }
        text.truncate((state >> 40) as usize % (text.len() + 1));
        let _ = indicators(&text);
    }
}
