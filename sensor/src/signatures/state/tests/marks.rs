//! `flowbits`, `flowint`, `xbits`, `hostbits`, `noalert`.

use super::*;
use std::sync::Arc;

/// Flows, transactions and hosts, and rules that are run over them.
#[derive(Default)]
struct World {
    names: Names,
    flow: FlowState,
    transaction: TransactionBits,
    shared: SharedBits,
    counters: StateCounters,
}

impl World {
    fn rule(&mut self, options: &str) -> RuleState {
        let mut rule = RuleState::default();
        for text in options.split(';') {
            let is_known = rule.option(&option(text.trim()), &mut self.names);
            assert_eq!(is_known, Ok(true), "{text}");
        }
        rule
    }

    fn passes(&mut self, options: &str, ends: &Ends) -> bool {
        let rule = self.rule(options);
        rule.passes(Some(&self.flow), Some(&self.transaction), &self.shared, ends)
    }

    fn apply(&mut self, options: &str, ends: &Ends) {
        let rule = self.rule(options);
        let (flow, transaction) = (Some(&mut self.flow), Some(&mut self.transaction));
        rule.apply(flow, transaction, &mut self.shared, ends, &mut self.counters);
    }

    /// Runs a rule: its actions when its tests pass.
    fn run(&mut self, rule: &RuleState, ends: &Ends) -> bool {
        let passes = rule.passes(Some(&self.flow), Some(&self.transaction), &self.shared, ends);
        if passes {
            let (flow, transaction) = (Some(&mut self.flow), Some(&mut self.transaction));
            rule.apply(flow, transaction, &mut self.shared, ends, &mut self.counters);
        }
        passes
    }
}

#[test]
fn flowbits_are_set_unset_and_toggled() {
    let mut world = World::default();
    let here = ends(1, 2, 0);
    for (action, is_set) in [
        ("unset,a", false),
        ("set,a", true),
        ("set,a", true),
        ("unset,a", false),
        ("toggle,a", true),
        ("toggle,a", false),
        ("set, a", true),
        ("set,b", true),
        ("unset,b", true),
    ] {
        world.apply(&format!("flowbits:{action}"), &here);
        assert_eq!(world.passes("flowbits:isset,a", &here), is_set, "{action}");
        assert_eq!(world.passes("flowbits:isnotset,a", &here), !is_set, "{action}");
    }
}

#[test]
fn alternatives_ask_for_one_of_them() {
    let mut world = World::default();
    let here = ends(1, 2, 0);
    assert!(!world.passes("flowbits:isset,a|b", &here) && world.passes("flowbits:isnotset,a|b", &here));
    world.apply("flowbits:set,b", &here);
    assert!(world.passes("flowbits:isset,a|b", &here) && world.passes("flowbits:isset, a | b |", &here));
    assert!(!world.passes("flowbits:isset,a|c", &here));
    assert!(world.passes("flowbits:isnotset,a|b", &here), "one that is not set is enough");
    world.apply("flowbits:set,a", &here);
    assert!(!world.passes("flowbits:isnotset,a|b", &here));
    assert!(world.passes("flowbits:isset,a; flowbits:isset,b", &here), "all options have to pass");
    assert!(!world.passes("flowbits:isset,a; flowbits:isset,c", &here));
}

#[test]
fn without_a_flow_no_test_of_it_passes_and_nothing_is_done() {
    let mut world = World::default();
    let here = ends(1, 2, 0);
    for text in ["flowbits:isset,a", "flowbits:isnotset,a", "flowint:a,notset", "flowint:a,==,0"] {
        let rule = world.rule(text);
        assert!(!rule.passes(None, None, &world.shared, &here), "{text}");
    }
    let rule = world.rule("flowbits:set,a; hostbits:set,h");
    rule.apply(None, None, &mut world.shared, &here, &mut world.counters);
    assert!(world.passes("hostbits:isset,h", &here), "hosts need no flow");
}

#[test]
fn rules_are_silent_when_any_keyword_says_so() {
    let mut world = World::default();
    for (text, is_silent) in [
        ("noalert", true),
        ("flowbits:noalert", true),
        ("flowbits: noalert", true),
        ("xbits:noalert", true),
        ("hostbits:noalert", true),
        ("flowbits:set,noalert", false),
    ] {
        assert_eq!(world.rule(text).is_silent, is_silent, "{text}");
    }
}

#[test]
fn counters_are_compared_and_changed() {
    let mut world = World::default();
    let here = ends(1, 2, 0);
    for operator in ["==", "!=", "<", "<=", ">", ">="] {
        let text = format!("flowint:a,{operator},0");
        assert!(!world.passes(&text, &here), "{text}: a counter without value passes nothing");
    }
    assert!(world.passes("flowint:a,notset", &here) && world.passes("flowint:a,isnotset", &here));
    assert!(!world.passes("flowint:a,isset", &here));
    world.apply("flowint:a,-,1", &here);
    assert!(world.passes("flowint:a,notset", &here), "`-` gives no first value");
    world.apply("flowint: a, +, 5", &here);
    assert!(world.passes("flowint:a,isset", &here) && !world.passes("flowint:a,notset", &here));
    for (operator, below, same, above) in [
        ("==", false, true, false),
        ("!=", true, false, true),
        ("<", false, false, true),
        ("<=", false, true, true),
        (">", true, false, false),
        (">=", true, true, false),
    ] {
        for (value, passes) in [(4, below), (5, same), (6, above)] {
            assert_eq!(
                world.passes(&format!("flowint:a,{operator},{value}"), &here),
                passes,
                "5 {operator} {value}"
            );
        }
    }
    world.apply("flowint:a,-,6", &here);
    assert!(world.passes("flowint:a,==,4294967295", &here), "arithmetic goes round");
    world.apply("flowint:a,+,2", &here);
    assert!(world.passes("flowint:a,==,1", &here));
    world.apply("flowint:a,=,0", &here);
    assert!(world.passes("flowint:a,==,0", &here));
}

#[test]
fn counters_are_compared_with_and_changed_by_others() {
    let mut world = World::default();
    let here = ends(1, 2, 0);
    world.apply("flowint:a,=,7", &here);
    assert!(world.passes("flowint:a,>,tls.other", &here), "one without value counts as zero");
    world.apply("flowint:tls.other,=,a", &here);
    world.apply("flowint:tls.other,+,a", &here);
    assert!(world.passes("flowint:tls.other,==,14", &here) && world.passes("flowint:a,<,tls.other", &here));
    world.apply("flowint:a,=,none", &here);
    assert!(world.passes("flowint:a,==,0", &here));
}

#[test]
fn xbits_are_the_senders_the_receivers_or_the_pairs() {
    let mut world = World::default();
    world.apply("xbits:set,a,track ip_src", &ends(1, 2, 0));
    world.apply("xbits:set,b,track ip_dst", &ends(1, 2, 0));
    world.apply("xbits:set,c,track ip_pair", &ends(1, 2, 0));
    for (test, source, destination, passes) in [
        ("a,track ip_src", 1, 3, true),
        ("a,track ip_src", 2, 1, false),
        ("a,track ip_dst", 3, 1, true),
        ("a,track ip_pair", 1, 2, false),
        ("b,track ip_dst", 3, 2, true),
        ("b,track ip_src", 2, 3, true),
        ("b,track ip_dst", 2, 1, false),
        ("c,track ip_pair", 1, 2, true),
        ("c,track ip_pair", 2, 1, true),
        ("c,track ip_pair", 1, 3, false),
        ("c,track ip_src", 1, 2, false),
    ] {
        let here = ends(source, destination, 1);
        assert_eq!(world.passes(&format!("xbits:isset,{test}"), &here), passes, "{test} {here:?}");
        assert_eq!(world.passes(&format!("xbits:isnotset,{test}"), &here), !passes, "{test} {here:?}");
    }
}

#[test]
fn marks_of_hosts_last_for_their_seconds_from_when_they_were_last_set() {
    for (set, test, seconds) in [
        ("xbits:set,a,track ip_src,expire 10", "xbits:isset,a,track ip_src", 10),
        ("xbits:set,a,track ip_pair,expire 10", "xbits:isset,a,track ip_pair,expire 99", 10),
        ("xbits:set,a,track ip_src", "xbits:isset,a,track ip_src", 30),
        ("hostbits:set,a", "hostbits:isset,a", 300),
        ("hostbits:toggle,a", "hostbits:isset,a", 300),
        ("hostbits:set,a,src,60", "hostbits:isset,a,src", 60),
    ] {
        let mut world = World::default();
        world.apply(set, &ends(1, 2, 100));
        for (second, passes) in [(99, true), (100, true), (100 + seconds, true), (101 + seconds, false)] {
            assert_eq!(world.passes(test, &ends(1, 2, second)), passes, "{set} at {second}");
        }
        let mut last = ends(1, 2, 100 + seconds);
        last.time = Timestamp(last.time.0 + 1);
        assert!(!world.passes(test, &last), "{set}");
    }
    let mut world = World::default();
    world.apply("xbits:set,a,track ip_src,expire 10", &ends(1, 2, 0));
    world.apply("xbits:set,a,track ip_src,expire 10", &ends(1, 2, 5));
    assert!(world.passes("xbits:isset,a,track ip_src", &ends(1, 2, 15)));
    world.apply("xbits:toggle,a,track ip_src,expire 10", &ends(1, 2, 16));
    assert!(world.passes("xbits:isset,a,track ip_src", &ends(1, 2, 26)), "what is over is not set");
    world.apply("xbits:toggle,a,track ip_src", &ends(1, 2, 26));
    assert!(!world.passes("xbits:isset,a,track ip_src", &ends(1, 2, 26)));
    world.apply("xbits:set,a,track ip_src", &ends(1, 2, 27));
    world.apply("xbits:unset,a,track ip_src", &ends(1, 2, 27));
    assert!(!world.passes("xbits:isset,a,track ip_src", &ends(1, 2, 27)) && world.shared.len() == 0);
}

#[test]
fn hostbits_are_the_senders_unless_said_and_are_xbits_of_hosts() {
    let mut world = World::default();
    world.apply("hostbits:set,a", &ends(1, 2, 0));
    assert!(world.passes("hostbits:isset,a,src", &ends(1, 3, 0)));
    assert!(!world.passes("hostbits:isset,a,dst", &ends(1, 3, 0)));
    assert!(world.passes("hostbits:isset,a,dst", &ends(3, 1, 0)));
    assert!(world.passes("xbits:isset,a,track ip_dst", &ends(3, 1, 0)));
    world.apply("hostbits:unset,a,dst", &ends(3, 1, 0));
    assert!(!world.passes("hostbits:isset,a", &ends(1, 2, 0)));
}

#[test]
fn transactions_have_marks_of_their_own() {
    let mut world = World::default();
    let here = ends(1, 2, 0);
    let rule = world.rule("xbits:isset,a,track tx");
    assert!(rule.is_about_transaction() && !world.rule("xbits:set,a,track ip_src").is_about_transaction());
    assert!(!rule.passes(Some(&world.flow), None, &world.shared, &here));
    world.apply("xbits:set,a,track tx", &here);
    assert!(world.passes("xbits:isset,a,track tx", &here));
    world.transaction = TransactionBits::default();
    assert!(!world.passes("xbits:isset,a,track tx", &here), "the next transaction knows nothing of it");
}

#[test]
fn ipv4_and_ipv6_hosts_are_told_apart() {
    let mut world = World::default();
    world.apply("xbits:set,a,track ip_pair", &ends(1, 2, 0));
    let sixteen = |last: u8| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[10, 0, 0, last]);
        Address::v6(bytes)
    };
    let six = Ends { source: sixteen(1), destination: sixteen(2), ..ends(1, 2, 0) };
    assert!(!world.passes("xbits:isset,a,track ip_pair", &six));
}

#[test]
fn a_full_table_of_hosts_makes_room_of_what_is_over_and_counts_what_it_refuses() {
    let mut world = World::default();
    let set = world.rule("xbits:set,a,track ip_src,expire 10");
    let test = world.rule("xbits:isset,a,track ip_src");
    let host =
        |number: u32, second: u64| Ends { source: Address::v4(number.to_be_bytes()), ..ends(1, 2, second) };
    for number in 0..SHARED_BITS_MAX as u32 {
        world.run(&set, &host(number, u64::from(number % 2 == 0)));
    }
    assert_eq!((world.shared.len(), world.counters.shared_bits_refused), (SHARED_BITS_MAX, 0));
    let other = 0xff00_0000;
    world.run(&set, &host(other, 10));
    assert_eq!(world.counters.shared_bits_refused, 1);
    assert!(!world.run(&test, &host(other, 10)) && world.run(&test, &host(0, 10)));
    world.run(&set, &host(0, 10));
    assert_eq!(world.counters.shared_bits_refused, 1, "one that is there is set again");
    // Half of them are over now.
    world.run(&set, &host(other, 11));
    assert!(world.run(&test, &host(other, 11)) && world.shared.len() == SHARED_BITS_MAX / 2 + 1);
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    for (text, column, part) in [
        ("flowbits:sett,a", 0, "not known"),
        ("flowbits:set", 0, "expected a name"),
        ("flowbits:isset,", 0, "expected a name"),
        ("flowbits:isset,|", 6, "expected a name"),
        ("flowbits:isset,a b", 6, "no blanks"),
        ("flowbits:isset,a|b c", 8, "no blanks"),
        ("flowbits:set,a|b", 4, "only for"),
        ("flowbits:noalert,a", 8, "takes no name"),
        ("flowbits", 0, "needs a value"),
        ("flowint:a", 0, "expected `name,operator,value`"),
        ("flowint:1a,+,1", 0, "not a counter's name"),
        ("flowint:a-b,+,1", 0, "not a counter's name"),
        ("flowint:a,%,1", 2, "not an operator"),
        ("flowint:a,+", 2, "expected a value"),
        ("flowint:a,+,", 2, "expected a value"),
        ("flowint:a,+,4294967296", 4, "not a number"),
        ("flowint:a,+,1x", 4, "not a number"),
        ("flowint:a,isset,1", 8, "takes no value"),
        ("flowint:a,+,1,2", 0, "expected `name,operator,value`"),
        ("xbits:set,a", 4, "never matches"),
        ("xbits:set", 0, "expected a name"),
        ("xbits:set,a b,track ip_src", 4, "no blanks"),
        ("xbits:set,a,track ip_source", 12, "expected `track`"),
        ("xbits:set,a,track", 6, "expected `track`"),
        ("xbits:set,a,track ip_src,expire 0", 26, "seconds above 0"),
        ("xbits:set,a,track ip_src,expire -1", 26, "seconds above 0"),
        ("xbits:set,a,track ip_src,track ip_dst", 19, "stands twice"),
        ("xbits:set,a,track ip_src,foo 1", 19, "not known"),
        ("xbits:unset,a,track tx", 0, "only for"),
        ("xbits:isnotset,a,track tx", 0, "only for"),
        ("xbits:noalert,a", 8, "nothing follows"),
        ("xbits:!set,a,track ip_src", 0, "not known"),
        ("hostbits:set", 0, "expected a name"),
        ("hostbits:set,a,both", 6, "no meaning"),
        ("hostbits:set,a,up", 6, "expected `src`"),
        ("hostbits:set,a,src,0", 10, "seconds above 0"),
        ("hostbits:set,a,src,x", 10, "seconds above 0"),
        ("hostbits:set,a,src,60,1", 13, "nothing follows"),
        ("noalert:1", 0, "takes no value"),
    ] {
        let option = option(text);
        let (place, reason) = RuleState::default().option(&option, &mut Names::default()).unwrap_err();
        let from = if option.value.is_some() { option.value_place } else { option.place };
        assert_eq!(place.column - from.column, column, "{text}: {reason}");
        assert!(reason.contains(part), "{text}: {reason}");
    }
    let many = vec!["a"; 101].join("|");
    let (_, reason) = RuleState::default()
        .option(&option(&format!("flowbits:isset,{many}")), &mut Names::default())
        .unwrap_err();
    assert!(reason.contains("more than 100"), "{reason}");
    let other = RuleState::default().option(&option("dsize:1"), &mut Names::default());
    assert_eq!(other, Ok(false));
}

#[test]
fn setters_come_before_those_that_do_both_and_those_before_readers() {
    let mut world = World::default();
    let rules = [
        "flowbits:isset,a",
        "flowbits:set,a",
        "flowbits:isnotset,b; flowbits:set,b",
        "noalert",
        "flowint:n,+,1",
        "xbits:set,x,track ip_pair",
        "hostbits:set,h",
        "xbits:set,x,track tx",
    ];
    let order: Vec<[Rank; 5]> = rules.iter().map(|text| world.rule(text).uses.order()).collect();
    let none = Rank::None;
    assert_eq!(
        order,
        [
            [Rank::Reads, none, none, none, none],
            [Rank::Writes, none, none, none, none],
            [Rank::ReadsAndWrites, none, none, none, none],
            [none; 5],
            [none, Rank::Writes, none, none, none],
            [none, none, none, Rank::Writes, none],
            [none; 5],
            [none, none, none, none, Rank::Writes],
        ]
    );
    let mut sorted: Vec<usize> = (0..rules.len()).collect();
    sorted.sort_by_key(|number| std::cmp::Reverse(order[*number]));
    assert_eq!(sorted, [1, 2, 0, 4, 5, 7, 3, 6]);
}

/// The rules of Suricata's own test of flowbits, in the order of one packet.
#[test]
fn a_packets_rules_see_what_those_before_them_set() {
    let mut world = World::default();
    let rules = [
        (1, "flowbits:set,fb1"),
        (2, "flowbits:set,fb2"),
        (3, "flowbits:isset,fb3|fb4"),
        (5, "flowbits:isset,fb1|fb5"),
        (6, "flowbits:isnotset, fb1|fb2 "),
        (7, "flowbits:unset,fb1"),
        (8, "flowbits:noalert; flowbits:isnotset,fb1; flowbits:set,fb1"),
        (9, "flowbits:isset,fb1"),
        (12, "flowbits:isset,fb1; flowbits:isset,fb2"),
    ];
    let mut rules: Vec<(u32, RuleState)> =
        rules.iter().map(|(sid, options)| (*sid, world.rule(options))).collect();
    rules.sort_by_key(|(_, rule)| std::cmp::Reverse(rule.uses.order()));
    let mut matched = Vec::new();
    for (sid, rule) in &rules {
        if world.run(rule, &ends(1, 2, 0)) {
            matched.push(*sid);
        }
    }
    assert_eq!(matched, [1, 2, 7, 8, 5, 9, 12]);
}

#[test]
fn marks_that_no_rule_sets_are_told_with_the_first_rule_that_waits() {
    let (mut names, mut census) = (Names::default(), Census::default());
    let file: Arc<str> = "a.rules".into();
    for (line, options) in [
        "flowbits:isset,never",
        "flowbits:isset,set|other",
        "flowbits:set,set",
        "flowbits:unset,other",
        "flowbits:isnotset,unknown",
        "flowbits:isset,never",
        "xbits:isset,set,track ip_src",
        "flowbits:isset,toggled",
        "flowbits:toggle,toggled",
    ]
    .iter()
    .enumerate()
    {
        let mut rule = RuleState::default();
        rule.option(&option(options), &mut names).unwrap();
        census.add(&file, Place { line: line as u32 + 1, column: 1 }, &rule.uses);
    }
    let warnings: Vec<String> = census.warnings(&names).iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "a.rules:1:1: the flowbit `never` is set by no rule, and 2 rules wait for it",
            "a.rules:2:1: the flowbit `other` is set by no rule, and a rule waits for it",
            "a.rules:7:1: the host's bit `set` is set by no rule, and a rule waits for it",
        ]
    );
}

#[test]
fn what_is_remembered_goes_on_when_rules_are_loaded_anew() {
    let mut world = World::default();
    world.apply("flowbits:set,old", &ends(1, 2, 0));
    world.apply("xbits:set,old,track ip_src", &ends(1, 2, 0));
    // Other rules, in another order.
    assert!(!world.passes("flowbits:isset,new", &ends(1, 2, 1)));
    assert!(world.passes("flowbits:isset,old", &ends(1, 2, 1)));
    assert!(world.passes("xbits:isset,old,track ip_src", &ends(1, 2, 1)));
}
