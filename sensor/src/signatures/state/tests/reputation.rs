//! `iprep` and its files.

use super::*;

fn reputations() -> Reputations {
    let mut reputations = Reputations::default();
    let problems = reputations.read_categories(
        "categories.txt",
        b"# comment\n\n1,BadHosts,Known bad hosts\r\n2,GoodHosts,Known good hosts\n59,Last\n",
    );
    assert!(problems.is_empty(), "{problems:?}");
    let problems = reputations.read(
        "reputation.list",
        b"ip,category,score\n10.0.0.1,1,20\n10.0.0.2,1,0\n10.0.0.0/28,1,50\n10.0.0.8/29,1,60\n\
          2001:db8::/32,1,70\n::/0,1,5\n10.0.0.1,2,127\n0.0.0.0/0,2,1\n",
    );
    assert!(problems.is_empty() && reputations.len() == 8, "{problems:?}");
    reputations
}

#[test]
fn reputations_of_the_ends_that_are_named_are_compared() {
    let reputations = reputations();
    for (text, source, destination, passes) in [
        ("src,BadHosts,>,19", 1, 99, true),
        ("src,BadHosts,>,20", 1, 99, false),
        ("src,BadHosts,<,21", 1, 99, true),
        ("src,BadHosts,<,20", 1, 99, false),
        ("src,BadHosts,=,20", 1, 99, true),
        ("src,BadHosts,>=,20", 1, 99, true),
        ("src,BadHosts,<=,20", 1, 99, true),
        ("src,BadHosts,!=,20", 1, 99, false),
        ("src,BadHosts,!=,21", 1, 99, true),
        ("src,BadHosts,=,0", 2, 99, true),
        ("src,BadHosts,=,50", 3, 99, true),
        ("src,BadHosts,=,50", 7, 99, true),
        ("src,BadHosts,=,60", 8, 99, true),
        ("src,BadHosts,=,60", 15, 99, true),
        ("src,BadHosts,>=,0", 16, 99, false),
        ("dst,BadHosts,>,1", 99, 1, true),
        ("dst,BadHosts,>,1", 1, 99, false),
        ("any,BadHosts,>,1", 99, 1, true),
        ("any,BadHosts,>,1", 1, 99, true),
        ("any,BadHosts,>,1", 99, 98, false),
        ("both,BadHosts,>,1", 1, 3, true),
        ("both,BadHosts,>,1", 1, 99, false),
        ("both,BadHosts,>,1", 99, 1, false),
        ("src, GoodHosts, =, 127", 1, 99, true),
        ("src,GoodHosts,=,1", 99, 1, true),
        ("src,BadHosts,isset", 2, 99, true),
        ("src,BadHosts,isset", 99, 2, false),
        ("src,BadHosts,isnotset", 99, 2, true),
        ("any,BadHosts,isnotset", 1, 99, true),
        ("any,BadHosts,isnotset", 1, 2, false),
        ("both,BadHosts,isnotset", 1, 99, false),
        ("both,BadHosts,isnotset", 98, 99, true),
        ("any,Last,isset", 1, 2, false),
    ] {
        let test = ReputationTest::read(&option(&format!("iprep:{text}")), &reputations).unwrap();
        assert_eq!(test.passes(&reputations, &ends(source, destination, 0)), passes, "{text} {source}");
    }
    for (address, score) in [("2001:db8::1", 70), ("2001:db9::1", 5), ("::1", 5)] {
        let test =
            ReputationTest::read(&option(&format!("iprep:src,BadHosts,=,{score}")), &reputations).unwrap();
        let six = Ends { source: address.parse().unwrap(), ..ends(1, 2, 0) };
        assert!(test.passes(&reputations, &six), "{address}");
    }
}

#[test]
fn wrong_options_are_refused_with_their_place() {
    let reputations = reputations();
    for (text, column, part) in [
        ("src,BadHosts", 0, "expected `side"),
        ("up,BadHosts,>,1", 0, "expected `any`"),
        ("src,OtherHosts,>,1", 4, "not a category"),
        ("src,BadHosts,>", 13, "expected an operator and"),
        ("src,BadHosts,~,1", 13, "expected `>`"),
        ("src,BadHosts,>,128", 15, "up to 127"),
        ("src,BadHosts,>,1,2", 13, "expected an operator and"),
        ("src,BadHosts,isset,1", 13, "expected `>`"),
    ] {
        let option = option(&format!("iprep:{text}"));
        let (place, reason) = ReputationTest::read(&option, &reputations).unwrap_err();
        assert!(reason.contains(part), "{text}: {reason}");
        assert_eq!(place.column - option.value_place.column, column, "{text}: {reason}");
    }
    let none = ReputationTest::read(&option("iprep:src,BadHosts,>,1"), &Reputations::default());
    assert!(none.unwrap_err().1.contains("no file of categories"));
}

#[test]
fn wrong_lines_are_told_with_their_place_and_the_rest_is_read() {
    let mut reputations = Reputations::default();
    let problems = reputations.read_categories("c", b"0,Zero,x\n60,Sixty,x\nx\n1\n2,Two\n\xff\n");
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "c:1:1: expected a number from 1 to 59",
            "c:2:1: expected a number from 1 to 59",
            "c:3:1: expected a number from 1 to 59",
            "c:4:1: expected a name of 1 to 31 bytes",
            "c:6:1: expected plain text",
        ]
    );
    assert!(ReputationTest::read(&option("iprep:src,Two,>,1"), &reputations).is_ok());
    let text = b"1.1.1.1,1\n1.1.1,1,1\n1.1.1.1/33,1,1\n1.1.1.1,60,1\n1.1.1.1,1,128\n::/129,1,1\n1.1.1.1,1,1,1\n 9\n2.2.2.2,2,2\n";
    let problems = reputations.read("r", text);
    let places: Vec<String> = problems.iter().map(|problem| problem.place.to_string()).collect();
    assert_eq!(places, ["1:1", "2:1", "3:1", "4:9", "5:11", "6:1", "7:1"], "{problems:?}");
    assert_eq!(reputations.len(), 1);
}

#[test]
fn past_the_most_lines_the_rest_is_not_read_and_said_once() {
    let mut text = String::new();
    for number in 0..=REPUTATIONS_MAX as u32 + 1 {
        text += &format!("{},1,1\n", std::net::Ipv4Addr::from(number));
    }
    let mut reputations = Reputations::default();
    let problems = reputations.read("r", text.as_bytes());
    assert_eq!((problems.len(), reputations.len()), (1, REPUTATIONS_MAX));
    assert_eq!(problems[0].place.line, REPUTATIONS_MAX as u32 + 1);
}
