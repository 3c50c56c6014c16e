//! Rule files as a whole: what is read, what is reported and where, and that nothing makes the reader panic.

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> RuleFile {
    RuleReader::new(Variables::default()).read("x.rules", text.as_bytes())
}

fn problem(text: &str) -> String {
    let read = read(text);
    assert!(read.rules.is_empty() && read.problems.len() == 1, "{text}: {read:?}");
    read.problems[0].to_string()
}

fn pairs(all: &[(&str, &str)]) -> Pairs {
    let mut pairs = Pairs::default();
    all.iter().for_each(|(key, value)| pairs.push(key, value));
    assert!(pairs.iter().eq(all.iter().copied()));
    assert_eq!((pairs.len(), pairs.is_empty()), (all.len(), all.is_empty()));
    pairs
}

const FULL: &str = r#"alert tcp $EXTERNAL_NET any -> $HOME_NET [80,443,8000:8010] (msg:"A \"name\"\; more"; flow:established,to_server; content:"a|3b|b\;c"; depth:9; content:!"no"; fast_pattern; reference:url,example.org/a,b; reference:cve,2024-1; classtype:trojan-activity; sid:7; rev:3; gid:2; metadata:created_at 2024_01_01, tag One, bare; target:dest_ip;)"#;

#[test]
fn a_rule_is_read_with_all_its_parts() {
    let file = read(FULL);
    assert_eq!((file.problems.as_slice(), file.rules.len()), (&[][..], 1));
    let rule = &file.rules[0];
    let text = |value: &str| value.to_owned();
    assert_eq!(
        rule.description,
        Description {
            action: Action::Alert,
            message: text("A \"name\"; more"),
            gid: 2,
            sid: 7,
            rev: 3,
            class: text("trojan-activity"),
            category: "A Network Trojan was detected",
            severity: 1,
            references: pairs(&[("url", "example.org/a,b"), ("cve", "2024-1")]),
            metadata: pairs(&[("created_at", "2024_01_01"), ("tag", "One"), ("bare", "")]),
            target: Some(Target::Destination),
        }
    );
    assert_eq!((rule.protocol.as_str(), rule.direction), ("tcp", RuleDirection::OneWay));
    assert!(rule.source.ports.is_all() && !rule.source.addresses.is_all());
    assert!(rule.destination.ports.contains(8010) && !rule.destination.ports.contains(8011));
    let options: Vec<(&str, Option<&[u8]>)> =
        rule.options.iter().map(|option| (option.name.as_str(), option.value.as_deref())).collect();
    assert_eq!(
        options,
        [
            ("flow", Some(&b"established,to_server"[..])),
            ("content", Some(br#""a|3b|b\;c""#)),
            ("depth", Some(b"9")),
            ("content", Some(br#"!"no""#)),
            ("fast_pattern", None),
        ]
    );
    // The place of a name and of its value, in bytes from 1.
    let flow = &rule.options[0];
    let at = FULL.find("flow:").unwrap() as u32 + 1;
    assert_eq!(
        (flow.place, flow.value_place),
        (Place { line: 1, column: at }, Place { line: 1, column: at + 5 })
    );
}

#[test]
fn comments_disabled_rules_empty_lines_and_continued_rules() {
    let text = "# a comment\n\n#alert tcp any any -> any any (sid:1;)\n  # drop udp any any -> any any (sid:2;)\n# alert somebody\nalert ip any any -> any any \\\n  (sid:3;\\\n content:\"x\";)\r\n";
    let file = read(text);
    assert_eq!((file.rules.len(), file.disabled, file.problems.len()), (1, 2, 0));
    let rule = &file.rules[0];
    assert_eq!(rule.place, Place { line: 6, column: 1 });
    assert_eq!(rule.options[0].place, Place { line: 8, column: 2 });
    assert_eq!(rule.options[0].value_place, Place { line: 8, column: 10 });
}

#[test]
fn every_wrong_rule_is_reported_where_it_is_wrong() {
    for (rule, want) in [
        ("alarm tcp any any -> any any (sid:1;)", "x.rules:1:1: `alarm` is not an action"),
        ("alert:all tcp any any -> any any (sid:1;)", "x.rules:1:1: `alert:all` is not an action"),
        (
            "accept:hook tcp:all any any -> any any (sid:1;)",
            "x.rules:1:1: cannot run `accept:hook`: it is for a firewall",
        ),
        ("accept tcp any any -> any any (sid:1;)", "x.rules:1:1: cannot run `accept`: it is for a firewall"),
        (
            "drop:flow tcp any any -> any any (sid:1;)",
            "x.rules:1:1: cannot run `drop:flow`: what an action reaches",
        ),
        (
            "alert [tcp any any -> any any (sid:1;)",
            "x.rules:1:7: `[tcp any any -> any any ` is not a protocol",
        ),
        ("alert tcp 1.2.3.400 any -> any any (sid:1;)", "x.rules:1:11: `1.2.3.400` is not an address"),
        ("alert tcp [1.2.3.4,$NO] any -> any any (sid:1;)", "x.rules:1:20: the variable `$NO` is not set"),
        ("alert tcp any 99999 -> any any (sid:1;)", "x.rules:1:15: `99999` is not a port"),
        ("alert tcp any any <- any any (sid:1;)", "x.rules:1:19: `<-` is not a direction"),
        ("alert tcp any any -> any (sid:1;)", "x.rules:1:26: expected destination ports"),
        ("alert tcp any any -> any any sid:1;", "x.rules:1:30: expected `(`"),
        ("alert tcp any any -> any any (sid:1;", "x.rules:1:37: expected `)`"),
        ("alert tcp any any -> any any (sid:1; content:\"a\")", "x.rules:1:38: expected `;`"),
        ("alert tcp any any -> any any (msg:\"a\";)", "x.rules:1:1: no `sid`"),
        ("alert tcp any any -> any any (sid:0;)", "x.rules:1:35: `sid` is a number from 1"),
        ("alert tcp any any -> any any (sid:1; sid:2;)", "x.rules:1:42: `sid` stands here twice"),
        ("alert tcp any any -> any any (msg:a; sid:1;)", "x.rules:1:35: expected a text in double quotes"),
        ("alert tcp any any -> any any (sid:1; a b:2;)", "x.rules:1:38: `a b` is not an option's name"),
        ("alert tcp any any -> any any (sid:1; priority:256;)", "x.rules:1:47: `priority` is 1 to 255"),
        ("alert tcp any any -> any any (sid:1; target:me;)", "x.rules:1:45: `target` is `src_ip`"),
        ("alert", "x.rules:1:6: expected a protocol"),
    ] {
        let said = problem(rule);
        assert!(said.starts_with(want), "{rule}\n{said}");
    }
}

#[test]
fn a_number_that_is_taken_is_reported_with_the_first_place() {
    let file = read(
        "alert ip any any -> any any (sid:1; rev:2;)\nalert ip any any -> any any (sid:1; rev:2;)\nalert ip any any -> any any (gid:2; sid:1;)",
    );
    assert_eq!(file.rules.len(), 2);
    assert_eq!(file.problems[0].to_string(), "x.rules:2:1: sid 1 is taken by the rule at x.rules:1:1");
}

#[test]
fn a_later_revision_may_have_the_same_number() {
    let file =
        read("alert ip any any -> any any (sid:1; rev:1;)\nalert ip any any -> any any (sid:1; rev:2;)");
    assert_eq!((file.rules.len(), file.problems.len()), (2, 0));
}

#[test]
fn limits_are_reported_and_the_next_rule_is_read() {
    let many = format!("alert ip any any -> any any (sid:1;{})", "a;".repeat(OPTIONS_MAX - 1));
    assert_eq!(read(&many).rules.len(), 1);
    let more = format!("alert ip any any -> any any (sid:1;{})", "a;".repeat(OPTIONS_MAX));
    assert!(problem(&more).contains("more than"));
    let long = format!(
        "alert ip any any -> any any (sid:1; msg:\"{}\";)\nalert ip any any -> any any (sid:2;)",
        "m".repeat(RULE_BYTES_MAX)
    );
    let file = read(&long);
    assert_eq!((file.rules.len(), file.problems.len()), (1, 1));
    assert!(file.problems[0].reason.contains("more than"));
}

#[test]
fn severity_comes_from_the_rule_or_its_class() {
    let severity = |options: &str| {
        read(&format!("alert ip any any -> any any (sid:1;{options})")).rules[0].description.severity
    };
    assert_eq!(severity(""), 3);
    assert_eq!(severity("classtype:misc-attack;"), 2);
    assert_eq!(severity("classtype:misc-attack; priority:4;"), 4);
    assert_eq!(severity("classtype:unheard-of;"), 3);
}

#[test]
fn every_prefix_of_a_rule_is_a_rule_or_one_problem() {
    for end in 0..=FULL.len() {
        let file = read(&FULL[..end]);
        assert!(file.rules.len() + file.problems.len() <= 1, "{end}");
        assert!(end == 0 || file.rules.len() + file.problems.len() == 1, "{end}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_rules_and_problems(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        RuleReader::default().read("x", &bytes);
    }

    #[test]
    fn a_changed_rule_is_a_rule_or_a_problem_with_a_place_in_it(
        at in 0usize..400, byte in any::<u8>(), cut in 0usize..400,
    ) {
        let mut bytes = FULL.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
        let file = RuleReader::default().read("x", &bytes);
        for problem in &file.problems {
            prop_assert!((1..=lines).contains(&problem.place.line));
            prop_assert!(problem.place.column as usize <= bytes.len() + 1);
        }
    }

    #[test]
    fn content_that_is_written_is_content_that_is_read(bytes in proptest::collection::vec(any::<u8>(), 1..40), negate: bool) {
        let mut written = String::from(if negate { "!\"" } else { "\"" });
        for (index, byte) in bytes.iter().enumerate() {
            match byte {
                b';' | b'"' | b'\\' | b':' => { written.push('\\'); written.push(char::from(*byte)); }
                byte if byte.is_ascii_graphic() && *byte != b'|' && index % 3 > 0 => written.push(char::from(*byte)),
                byte => written.push_str(&format!("|{byte:02X}|")),
            }
        }
        written.push('"');
        let rule = format!("alert ip any any -> any any (sid:1; content:{written};)");
        let file = read(&rule);
        prop_assert_eq!(file.problems.len(), 0, "{}", rule);
        let read = content::content(file.rules[0].options[0].value.as_deref().unwrap()).unwrap();
        prop_assert_eq!(read, content::Content { is_negated: negate, bytes });
    }
}
