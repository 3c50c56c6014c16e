//! What rules say of a whole transaction: `=>`, `xbits` with `track tx`, `alert`.

use super::*;

/// Whose alerts they are, packet by packet: each packet makes one side known.
fn told_by_packet(rules: &[&str], parts: &[&[(u64, Direction, Buffer, &str)]]) -> Vec<Vec<u32>> {
    let mut flow = Watched::new(sound(rules));
    let mut sides = Sides::default();
    let facts = Facts { app: App::Http, ..THERE };
    let mut told = Vec::new();
    for part in parts {
        for (transaction, direction, buffer, text) in *part {
            let side = sides.of(App::Http, *direction, *transaction);
            side.put(*buffer, text.as_bytes());
            side.stage = Stage::Body;
        }
        let found = flow.look(&segment(b""), &facts, Some(&mut sides));
        told.push(found.iter().map(|found| flow.sid(found)).collect());
    }
    told
}

const URI: (Direction, Buffer) = (Direction::Forward, Buffer::HttpUri);
const CODE: (Direction, Buffer) = (Direction::Reverse, Buffer::HttpStatCode);

fn said(transaction: u64, what: (Direction, Buffer), text: &str) -> (u64, Direction, Buffer, &str) {
    (transaction, what.0, what.1, text)
}

/// A rule about a request for `/download` that was answered with 200.
const BOTH: &str =
    "alert http any any => any any (http.uri; content:\"/download\"; http.stat_code; content:\"200\";)";

#[test]
fn a_rule_about_both_sides_alerts_once_the_second_of_one_transaction_has_matched() {
    let (ask, other) = (said(0, URI, "/download"), said(0, URI, "/else"));
    let (yes, no) = (said(0, CODE, "200"), said(0, CODE, "404"));
    for (parts, expected) in [
        (vec![vec![ask], vec![yes]], vec![vec![], vec![1]]),
        (vec![vec![ask, yes]], vec![vec![1]]),
        // An answer may be read before its question is: a body that is still on its way.
        (vec![vec![yes], vec![ask]], vec![vec![], vec![1]]),
        (vec![vec![ask], vec![no]], vec![vec![], vec![]]),
        (vec![vec![other], vec![yes]], vec![vec![], vec![]]),
        // The sides are those of one transaction.
        (vec![vec![ask], vec![said(1, CODE, "200")]], vec![vec![], vec![]]),
        (
            vec![
                vec![ask],
                vec![said(1, URI, "/else"), no],
                vec![said(1, CODE, "200")],
                vec![said(2, URI, "/download")],
                vec![said(2, CODE, "200")],
            ],
            vec![vec![], vec![], vec![], vec![], vec![1]],
        ),
    ] {
        let packets: Vec<&[_]> = parts.iter().map(Vec::as_slice).collect();
        assert_eq!(told_by_packet(&[BOTH], &packets), expected, "{parts:?}");
    }
}

#[test]
fn the_ends_of_a_rule_about_both_sides_are_the_clients_and_the_servers() {
    let parts = [said(0, URI, "/download"), said(0, CODE, "200")];
    for (ends, is_told) in [
        ("10.0.0.1 any => 8.8.8.8 80", true),
        ("any 1000 => any any", true),
        ("8.8.8.8 80 => 10.0.0.1 any", false),
        ("any 80 => any 1000", false),
    ] {
        let rule = BOTH.replace("any any => any any", ends);
        assert_eq!(told_by_packet(&[&rule], &[&parts])[0].len(), usize::from(is_told), "{ends}");
    }
}

#[test]
fn whose_a_part_of_either_side_is_the_rule_says() {
    let data = |direction| (direction, Buffer::FileData);
    let rule = "alert http any any => any any (bidir.toclient; file.data; content:\"evil\"; http.uri; content:\"/x\";)";
    let rule_there = "alert http any any => any any (bidir.toserver; file.data; content:\"evil\"; \
        bidir.toclient; http.stat_code; content:\"200\";)";
    let (ask, back) = (said(0, URI, "/x"), said(0, data(Direction::Reverse), "evil"));
    let there = said(0, data(Direction::Forward), "evil");
    // What only one end can say is that end's, whatever `bidir` says.
    for rule in [rule, &rule.replace("http.uri", "bidir.toserver; http.uri")] {
        assert_eq!(told_by_packet(&[rule], &[&[ask, back]]), [[1]]);
        assert_eq!(told_by_packet(&[rule], &[&[ask, there]]), [[0_u32; 0]]);
    }
    assert_eq!(told_by_packet(&[rule_there], &[&[there, said(0, CODE, "200")]]), [[1]]);
    assert_eq!(told_by_packet(&[rule_there], &[&[back, said(0, CODE, "200")]]), [[0_u32; 0]]);
}

#[test]
fn the_keyword_that_may_be_either_ends_is_the_one_that_is_named() {
    let rule = "alert tcp any any => any any (websocket.mask:1; ldap.request.operation:bind_request; \
        http.stat_code; content:\"200\"; sid:1;)";
    let reason = &engine(&[rule]).1[0].reason;
    assert!(reason.starts_with("`websocket.mask` may be either end's"), "{reason}");
}

#[test]
fn what_a_rule_about_both_sides_leaves_it_leaves_when_both_have_matched() {
    let rules = [
        &BOTH.replace("content:\"200\";", "content:\"200\"; flowbits:set,got; noalert;"),
        "alert http any any -> any any (http.stat_code; content:\"20\"; flowbits:isset,got;)",
    ];
    let (ask, yes) = (said(0, URI, "/download"), said(0, CODE, "200"));
    assert_eq!(told_by_packet(&rules, &[&[ask], &[yes]]), [vec![], vec![2]]);
    assert_eq!(told_by_packet(&rules, &[&[said(0, URI, "/else")], &[yes]]), [vec![], vec![0_u32; 0]]);
    // How often it may alert is counted when it would.
    let limited = BOTH.replace("200\";", "200\"; threshold:type limit,track by_rule,count 1,seconds 9;");
    let again = [said(1, URI, "/download"), said(1, CODE, "200")];
    assert_eq!(told_by_packet(&[&limited], &[&[ask], &[yes], &again]), [vec![], vec![1], vec![]]);
}

#[test]
fn a_rule_about_both_sides_is_one_rule() {
    let (engine, problems) = engine(&[BOTH]);
    assert!(problems.is_empty());
    assert_eq!(engine.rules().len(), 1);
    // Of two revisions the later runs.
    let later = BOTH.replace("(", "(sid:7; rev:2; ").replace("200", "404");
    let rules = [&BOTH.replace("(", "(sid:7; rev:1; "), later.as_str()];
    let file = RuleReader::new(Variables::default()).read("x", rules.join("\n").as_bytes());
    let built = Rules::build(file.rules, &mut RuleNames::default(), &Surroundings::default(), None);
    assert_eq!((built.rules.len(), built.problems.len()), (1, 1));
}

#[test]
fn what_is_no_rule_about_both_sides_is_refused() {
    for (rule, place, reason) in [
        ("alert http any any => any any (http.uri; content:\"x\";)", 1, "`->` says that"),
        ("alert http any any => any any (http.stat_code; content:\"2\";)", 1, "`->` says that"),
        ("alert tcp any any => any any (content:\"x\";)", 1, "only what transactions hold"),
        (&BOTH.replace("(http", "(flow:to_server; http"), 1, "names a direction"),
        (&BOTH.replace("200\";", "200\"; fast_pattern;"), 1, "what clients say"),
        (
            "alert http any any => any any (http.uri; content:\"x\"; file.data; content:\"y\";)",
            1,
            "`file.data` may be either",
        ),
        ("alert http any any => any any (bidir.toserver:1; http.uri; content:\"x\";)", 53, "no value"),
        (
            "alert http any any -> any any (bidir.toserver; http.uri; content:\"x\";)",
            38,
            "for rules with `=>`",
        ),
    ] {
        let (_, problems) = engine(&[rule]);
        assert_eq!(problems.len(), 1, "{rule}");
        assert!(problems[0].reason.contains(reason), "{rule}: {}", problems[0].reason);
        assert_eq!(problems[0].place.column, place, "{rule}: {}", problems[0].reason);
    }
}

#[test]
fn marks_of_transactions_are_read_in_the_same_transaction_alone() {
    let rules = [
        "alert http any any -> any any (http.uri; content:\"/a\"; xbits:set,seen,track tx; noalert;)",
        "alert http any any -> any any (http.stat_code; content:\"200\"; xbits:isset,seen,track tx;)",
    ];
    let (ask, yes) = (said(0, URI, "/a"), said(0, CODE, "200"));
    assert_eq!(told_by_packet(&rules, &[&[ask], &[yes]]), [vec![], vec![2]]);
    assert_eq!(told_by_packet(&rules, &[&[ask, yes]]), [[2]]);
    let (other_ask, other_yes) = (said(1, URI, "/b"), said(1, CODE, "200"));
    assert_eq!(
        told_by_packet(&rules, &[&[ask], &[other_ask], &[other_yes]]),
        [vec![], vec![], vec![0_u32; 0]]
    );
}

#[test]
fn of_too_many_transactions_with_marks_the_first_is_forgotten() {
    let rules = [
        "alert http any any -> any any (http.uri; content:\"/a\"; xbits:set,seen,track tx; noalert;)",
        "alert http any any -> any any (http.stat_code; content:\"200\"; xbits:isset,seen,track tx;)",
    ];
    let mut parts: Vec<Vec<_>> = (0..65).map(|number| vec![said(number, URI, "/a")]).collect();
    parts.push(vec![said(0, CODE, "200")]);
    parts.push(vec![said(1, CODE, "200")]);
    let packets: Vec<&[_]> = parts.iter().map(Vec::as_slice).collect();
    let told = told_by_packet(&rules, &packets);
    assert_eq!(told[65..], [vec![], vec![2]]);
}

#[test]
fn of_too_many_halves_the_first_is_forgotten() {
    let mut parts: Vec<Vec<_>> = (0..257).map(|number| vec![said(number, URI, "/download")]).collect();
    parts.push(vec![said(0, CODE, "200")]);
    parts.push(vec![said(2, CODE, "200")]);
    let packets: Vec<&[_]> = parts.iter().map(Vec::as_slice).collect();
    let told = told_by_packet(&[BOTH], &packets);
    // What came too late for its first half is a half itself, and takes the place of the one then oldest.
    assert_eq!(told[257..], [vec![], vec![1]]);
}

#[test]
fn a_rule_that_passes_alerts_where_it_says_so_and_ends_the_search_all_the_same() {
    let parts = [said(0, URI, "/a")];
    let other = "alert http any any -> any any (http.uri; content:\"/a\";)";
    for (rule, expected) in [
        ("pass http any any -> any any (http.uri; content:\"/a\";)", vec![]),
        ("pass http any any -> any any (http.uri; content:\"/a\"; alert;)", vec![1]),
        ("pass http any any -> any any (http.uri; content:\"/b\"; alert;)", vec![2]),
        (
            "config http any any -> any any (http.uri; content:\"/a\"; config:logging disable, type tx, scope tx;)",
            vec![2],
        ),
        (
            "config http any any -> any any (http.uri; content:\"/a\"; config:logging disable, type tx, scope tx; alert;)",
            vec![2, 1],
        ),
    ] {
        assert_eq!(told_by_packet(&[rule, other], &[&parts]), [expected], "{rule}");
    }
}
