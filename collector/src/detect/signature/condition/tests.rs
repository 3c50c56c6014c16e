//! Which records meet which condition, and what is said about texts that are none.

use super::*;
use crate::detect::testing::{exporter, line, run};
use crate::enrich::{Asset, Criticality};
use weir_common::alert::Severity;
use weir_common::app::App;
use weir_common::metadata::Field as Learned;
use weir_common::record::FlowRecord;
use weir_common::testing::RecordBuilder;

fn ssh() -> FlowRecord {
    RecordBuilder::tcp("192.0.2.9:40000", "10.0.0.5:2222")
        .app(App::Ssh)
        .octets(5_000, 2_000_000)
        .text(Learned::SshClient, "SSH-2.0-Go")
        .build()
}

fn dns() -> FlowRecord {
    RecordBuilder::udp("10.0.0.7:5353", "[2001:db8::53]:53")
        .app(App::Dns)
        .list(Learned::DnsQuery, &["a.Example", "b.test"])
        .number(Learned::DnsRcode, 3)
        .build()
}

fn holds(condition: &str, record: &FlowRecord) -> bool {
    let condition = Condition::compile(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
    let asset = Asset { name: "db1".into(), role: "database".into(), criticality: Criticality::High };
    condition.holds(&Enriched {
        record,
        exporter: &exporter(),
        initiator: None,
        responder: Some(&asset),
        legitimate: None,
    })
}

#[test]
fn conditions_that_hold() {
    for condition in [
        r#"app == "ssh" and dst_port != 22 and bytes_toclient > 1000000 and not src_ip in 10.0.0.0/8"#,
        r#"app_proto = 'SSH' && (src_port < 10 or dst_port in [22, 2000-2999])"#,
        r#"ssh_client startswith "ssh-2.0-go" and ssh_client endswith "GO" and ssh_client contains "2.0""#,
        "proto == tcp and proto == \"TCP\" and proto == 6 and proto in [udp, tcp]",
        "src_ip == 192.0.2.9 and dst_ip not in [10.1.0.0/16, 192.0.2.0/24]",
        "ssh_client and not sni and not legitimate",
        "bytes_toclient >= 2_000_000 and bytes_toclient <= 2_000_000 and tcp_flags_ts == 0x1b",
        "dst_role == \"database\" and dst_criticality in [\"high\", \"critical\"] and sensor == \"edge-1\"",
        "duration_ms == 1000 and hour == 12 and start > 1_700_000_000 # the hour is UTC's",
        "not (dst_port == 22\n or dst_port == 23)",
        "!(src_port == 1) || src_port == 1",
    ] {
        assert!(holds(condition, &ssh()), "{condition}");
    }
    for condition in [
        "dns_query == \"A.EXAMPLE\"",
        "dns_query contains \"b.t\"",
        "dns_rcode == 3",
        "dst_ip in 2001:db8::/32",
        "dst_ip == \"2001:db8::53\"",
        "dns_query not in [\"c.test\"]",
    ] {
        assert!(holds(condition, &dns()), "{condition}");
    }
}

#[test]
fn conditions_that_do_not_hold() {
    for condition in [
        "dst_port == 22",
        "src_ip in 10.0.0.0/8",
        "sni == \"a\"",
        "sni != \"a\"",       // the record has no server name
        "sni not in [\"a\"]", // likewise
        "icmp_type == 8 or icmp_type != 8",
        "src_asset",
        "bytes_toclient > 2_000_000",
        "dst_port in 2223-65535",
        "ssh_client contains \"openssh\"",
        "ssh_client startswith \"ssh-2.0-golang-and-more\"",
        "not app == \"ssh\" or not dst_port == 2222",
        "legitimate",
    ] {
        assert!(!holds(condition, &ssh()), "{condition}");
    }
    assert!(!holds("dns_query not in [\"a.example\", \"b.test\"]", &dns()));
}

#[test]
fn and_binds_tighter_than_or() {
    assert!(holds("dst_port == 2222 or dst_port == 1 and dst_port == 2", &ssh()));
    assert!(!holds("(dst_port == 2222 or dst_port == 1) and dst_port == 2", &ssh()));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (condition, want) in [
        ("", "1:1: expected a field such as src_ip, `not` or `(`"),
        ("src_prt == 1", "1:1: there is no field `src_prt`; did you mean `src_port`?"),
        ("dst_port ==\n  tcp", "2:3: expected a number such as 443 or 1_000_000"),
        (
            "sni == evil.example",
            "1:8: `evil.example` is no field, number, address or network; a text stands in quotation marks",
        ),
        ("sni == \"evil", "1:8: this text is not closed: expected a quotation mark at its end"),
        ("sni > \"a\"", "1:5: this field is a text, which has no order"),
        ("src_ip in [10.0.0.0/8 1.2.3.4]", "1:23: expected `,` or `]`"),
        ("src_ip in []", "1:12: expected an address or a network such as 10.0.0.0/8"),
        ("dst_port == 1-5", "1:13: a range is compared with `in`"),
        ("dst_port in 5-1", "1:13: the range 5-1 ends before it begins"),
        ("dst_port contains \"1\"", "1:10: this field is a number, and only texts are searched"),
        ("(dst_port == 1", "1:15: expected `)`"),
        ("dst_port == 1 dst_port == 2", "1:15: expected `and`, `or` or the end of the condition"),
        ("and dst_port == 1", "1:1: expected a field before `and`"),
        ("src_ip not 10.0.0.1", "1:8: expected `in` after `not`"),
        ("legitimate == 1", "1:15: this field is yes or no: write it alone, or `not` before it"),
        ("dst_port == 99999999999999999999", "1:13: "),
        ("sni == \"é\" $", "1:12: `$` has no meaning here"),
        ("proto == gopher", "1:10: expected tcp, udp, icmp, icmpv6, sctp or a number"),
    ] {
        let error = Condition::compile(condition).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(want), "{condition}: {error}");
    }
}

#[test]
fn hostile_conditions_are_refused_in_bounded_depth_and_size() {
    let deep = format!("{}dst_port == 1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(Condition::compile(&deep).is_err());
    assert!(Condition::compile(&"not ".repeat(4000)).is_err());
    let wide = vec!["dst_port == 1"; 900].join(" or ");
    assert!(Condition::compile(&wide).unwrap_err().message.contains("at most 512"));
    let just_fits = vec!["dst_port == 1"; 256].join(" or ");
    assert!(Condition::compile(&just_fits).is_ok());
    assert!(Condition::compile(&"é".repeat(20_000)).unwrap_err().message.contains("at most 16384 bytes"));
}

#[test]
fn every_cut_of_a_condition_is_read_or_refused_without_harm() {
    let text =
        r#"not (app == "ssh" and dst_port in [22, 1-5]) or src_ip not in 10.0.0.0/8 && sni contains 'é\''"#;
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = Condition::compile(&text[..end]);
        let _ = Condition::compile(&text[end..]);
    }
}

fn rule(id: &str, condition: &str) -> RuleConfig {
    RuleConfig {
        id: id.into(),
        name: "SSH beside its port".into(),
        severity: Severity::High,
        confidence: 0.7,
        technique: vec!["T1571".into()],
        condition: condition.into(),
        enabled: true,
    }
}

#[test]
fn a_rule_that_matches_is_a_finding_of_its_id() {
    let mut detector = ConditionDetector::default();
    detector.add("rules.toml:1", &rule("W1", "app == \"ssh\" and dst_port != 22")).unwrap();
    detector.add("rules.toml:9", &RuleConfig { enabled: false, ..rule("W2", "app == \"ssh\"") }).unwrap();
    let found = run(&mut detector, [ssh(), dns()]);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].subject.as_str(), found[0].technique.as_slice()),
        ("W1", ["T1571".into()].as_slice())
    );
    assert_eq!(
        line(&found[0]),
        "signature 192.0.2.9 -> 10.0.0.5 high 0.70: SSH beside its port (rule W1): 192.0.2.9 to 10.0.0.5 port 2222 by TCP, 5000 octets sent and 2000000 received."
    );
}

#[test]
fn wrong_rules_are_refused_with_their_place() {
    let mut detector = ConditionDetector::default();
    detector.add("r:1", &rule("W1", "dst_port == 22")).unwrap();
    let refuse = |detector: &mut ConditionDetector, rule| detector.add("r:2", &rule).unwrap_err().to_string();
    assert_eq!(
        refuse(&mut detector, rule("W1", "dst_port == 22")),
        "r:2: rule `W1`: another rule has this id"
    );
    assert_eq!(
        refuse(&mut detector, rule(" ", "dst_port == 22")),
        "r:2: a rule needs an id that is not empty"
    );
    assert_eq!(
        refuse(&mut detector, rule("W3", "dport == 22")),
        "r:2: rule `W3`: condition 1:1: there is no field `dport`; did you mean `dst_port`?"
    );
    let wrong = RuleConfig { confidence: f64::NAN, ..rule("W4", "dst_port == 22") };
    assert!(refuse(&mut detector, wrong).contains("expected 0 to 1"));
}
