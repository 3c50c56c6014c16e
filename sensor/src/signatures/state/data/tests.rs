//! `dataset` and `datarep` over files in a directory of the test's own.

use super::super::StateCounters;
use super::super::tests::option;
use super::load::{JSON_BYTES_MAX, Reading, load, locate};
use super::option::Format;
use super::values::{Added, DataType, LABELS_MAX, Note, VALUE_BYTES, Values};
use super::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const MD5: &str = "b65d49730d16e5a8a7b2ab95350848b8";

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("rules")).unwrap();
        for (name, text) in files {
            fs::write(directory.path().join("rules").join(name), text).unwrap();
        }
        Files(directory)
    }

    /// The rules' file, as places say it.
    fn rules(&self) -> Arc<str> {
        self.0.path().join("rules/test.rules").to_str().unwrap().into()
    }

    fn load(&self, options: &[&str]) -> (DataTable, Vec<DataTest>) {
        let mut loader = DataLoader::new(DataSettings::default(), None);
        let tests = options.iter().map(|text| {
            loader.option(&option(text), &self.rules()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
        });
        let tests = tests.collect();
        (loader.finish(), tests)
    }

    fn refusal(&self, options: &[&str]) -> (u32, String) {
        let mut loader = DataLoader::new(DataSettings::default(), None);
        for text in options {
            let option = option(text);
            if let Err((place, reason)) = loader.option(&option, &self.rules()) {
                let from = if option.value.is_some() { option.value_place } else { option.place };
                return (place.column - from.column, reason);
            }
        }
        panic!("{options:?} are taken");
    }
}

fn passes(test: &DataTest, table: &DataTable, buffer: &[u8]) -> bool {
    test.passes(table, buffer, &mut StateCounters::default())
}

#[test]
fn values_of_every_type_are_found() {
    let sha = "e0ca4ff795b3f32d45260678e4ab79884793c05a149f2b350d10274451dc210a";
    let files = Files::new(&[
        ("strings", "Y3VybC83LjQzLjA=\r\n\nYQ==\n"),
        ("md5", &format!("{MD5}\n{}\n", "AB".repeat(16))),
        ("sha", sha),
        ("v4", "82.165.177.154\n"),
        ("ip", "::ffff:82.165.177.154\n2001:db8::1\n10.0.0.1\n"),
    ]);
    let md5: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&MD5[at * 2..at * 2 + 2], 16).unwrap()).collect();
    let sha: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&sha[at * 2..at * 2 + 2], 16).unwrap()).collect();
    let mut six = vec![0x20, 1, 0xd, 0xb8];
    six.extend([0; 11]);
    six.push(1);
    for (definition, inside, outside) in [
        ("s,type string,load strings", vec![&b"curl/7.43.0"[..], b"a"], vec![&b"curl/7.43"[..], b"A", b""]),
        ("m,type md5,load md5", vec![&md5, &[0xab; 16]], vec![&[0xab; 15], &[0xab; 17], MD5.as_bytes()]),
        ("h,type sha256,load sha", vec![&sha], vec![&sha[..31], &[0; 32]]),
        ("4,type ipv4,load v4", vec![&[82, 165, 177, 154]], vec![&[82, 165, 177, 155], &[0; 16], &six]),
        (
            "6,type ip,load ip",
            vec![&[82, 165, 177, 154], &six, &[10, 0, 0, 1]],
            vec![&[82, 165, 177, 155], &[0; 16]],
        ),
    ] {
        let (isset, isnotset) =
            (format!("dataset:isset,{definition}"), format!("dataset:isnotset,{definition}"));
        let (table, tests) = files.load(&[&isset, &isnotset]);
        for buffer in inside {
            assert!(
                passes(&tests[0], &table, buffer) && !passes(&tests[1], &table, buffer),
                "{definition} {buffer:?}"
            );
        }
        for buffer in outside {
            assert!(!passes(&tests[0], &table, buffer), "{definition} {buffer:?}");
            assert_eq!(passes(&tests[1], &table, buffer), !buffer.is_empty(), "{definition} {buffer:?}");
        }
    }
}

#[test]
fn a_value_is_new_once_until_it_is_taken_away() {
    let files = Files::new(&[]);
    let (table, tests) =
        files.load(&["dataset:set,seen, type string", "dataset:isset,SEEN", "dataset:unset,seen"]);
    let [set, isset, unset] = tests.as_slice() else { panic!() };
    assert!(set.changes_set() && unset.changes_set() && !isset.changes_set());
    assert!(!passes(isset, &table, b"a") && !passes(unset, &table, b"a") && !passes(set, &table, b""));
    assert!(passes(set, &table, b"a") && !passes(set, &table, b"a") && passes(set, &table, b"b"));
    assert!(passes(isset, &table, b"a") && passes(isset, &table, b"b") && !passes(isset, &table, b"c"));
    assert!(passes(unset, &table, b"a") && !passes(unset, &table, b"a") && !passes(isset, &table, b"a"));
    assert!(passes(set, &table, b"a") && table.size() == (1, 2));
}

#[test]
fn of_several_workers_one_finds_a_value_new() {
    let (table, tests) = Files::new(&[]).load(&["dataset:set,seen,type string"]);
    let new = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let run = || (0..1000u32).filter(|n| passes(&tests[0], &table, &n.to_be_bytes())).count();
                scope.spawn(run)
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
    });
    assert_eq!((new, table.size()), (1000, (1, 1000)));
}

#[test]
fn what_is_no_value_of_the_type_is_not_new() {
    let (table, tests) = Files::new(&[]).load(&["dataset:set,seen,type ipv4", "dataset:set,both,type ip"]);
    assert!(!passes(&tests[0], &table, &[0; 16]) && passes(&tests[0], &table, &[1, 2, 3, 4]));
    for address in [&[1, 2, 3, 4][..], &[7; 16]] {
        assert!(passes(&tests[1], &table, address) && !passes(&tests[1], &table, address));
    }
}

#[test]
fn at_its_most_bytes_a_set_takes_nothing_more_and_counts_it() {
    let room = VALUE_BYTES + 1;
    let text = format!("dataset:set,seen,type string,memcap {}", room * 2 + room - 1);
    let (table, tests) = Files::new(&[]).load(&[&text, "dataset:unset,seen"]);
    let mut counters = StateCounters::default();
    let mut run = |value: &[u8]| (tests[0].passes(&table, value, &mut counters), counters.data_refused);
    assert_eq!([run(b"a"), run(b"b"), run(b"b")], [(true, 0), (true, 0), (false, 0)]);
    assert_eq!([run(b"c"), run(b"c")], [(false, 1), (false, 2)], "what finds no room is not told as new");
    assert!(passes(&tests[1], &table, b"a") && table.size() == (1, 1));
    assert_eq!(run(b"c"), (true, 2));
    let files = Files::new(&[("list", "YQ==\nYg==\nYw==\n")]);
    let fits = format!("dataset:isset,s,type string,load list,memcap {}", room * 3);
    let short = format!("dataset:isset,s,type string,load list,memcap {}", room * 3 - 1);
    files.load(&[&fits]);
    let (_, reason) = files.refusal(&[&short]);
    assert!(reason.contains("line 3") && reason.contains("more than 194 bytes"), "{reason}");
}

#[test]
fn reputations_are_compared() {
    let files = Files::new(&[("rep", "YQ==,10\nYg==, 200\n"), ("plain", "YQ==")]);
    for (text, buffer, expected) in [
        ("r,>,9,load rep,type string", "a", true),
        ("r,>,10,load rep,type string", "a", false),
        ("r,<,11,load rep,type string", "a", true),
        ("r,<,10,load rep,type string", "a", false),
        ("r, ==, 200, load rep, type string, memcap 100mb, hashsize 2048", "b", true),
        ("r,==,200,load rep,type string", "a", false),
        ("r,<,200,load rep,type string", "c", false),
        ("r,<,1,load plain,type string", "a", true),
    ] {
        let (table, tests) = files.load(&[&format!("datarep:{text}")]);
        assert_eq!(passes(&tests[0], &table, buffer.as_bytes()), expected, "{text} {buffer}");
    }
}

#[test]
fn json_is_found_by_its_keys_and_given_to_the_alert() {
    let files = Files::new(&[
        ("plain", r#"[{"ip": "10.16.1.11", "test": "success", "context":3}, {"other": 1}]"#),
        ("twice", r#"[{"ip":"10.16.1.11","n":1},{"ip":"10.16.1.11","n":2}]"#),
        ("inner", r#"{"info":{"threat":[{"year":2005,"ip":{"v":"10.16.1.11"}}]}}"#),
        ("lines", "{\"ip\":\"10.16.1.11\",\"n\":1}\n\n{\"n\":2}\n"),
        ("nested", "{\"ioc\":{\"ip\":\"10.16.1.11\"},\"n\":1}\n"),
    ]);
    for (options, json) in [
        (
            "load plain,format json,context_key k,value_key ip",
            r#"{"ip":"10.16.1.11","test":"success","context":3}"#,
        ),
        (
            "load plain,format json,enrichment_key k,value_key ip, remove_key",
            r#"{"test":"success","context":3}"#,
        ),
        ("load twice,format json,context_key k,value_key ip", r#"{"ip":"10.16.1.11","n":1}"#),
        (
            "load inner,format json,context_key k,value_key ip.v,array_key info.threat",
            r#"{"year":2005,"ip":{"v":"10.16.1.11"}}"#,
        ),
        ("load lines,format ndjson,context_key k,value_key ip", r#"{"ip":"10.16.1.11","n":1}"#),
        ("load lines,format jsonline,context_key k,value_key ip,remove_key", r#"{"n":1}"#),
        (
            "load nested,format ndjson,context_key k,value_key ioc.ip,remove_key",
            r#"{"ioc":{"ip":"10.16.1.11"},"n":1}"#,
        ),
    ] {
        let (table, tests) = files.load(&[
            &format!("dataset:isset,s,type ip,{options}"),
            &format!("dataset:isnotset,s,type ip,{options}"),
        ]);
        let (there, elsewhere) = ([10, 16, 1, 11], [10, 16, 1, 12]);
        assert!(passes(&tests[0], &table, &there) && !passes(&tests[0], &table, &elsewhere), "{options}");
        assert!(!passes(&tests[1], &table, &there) && passes(&tests[1], &table, &elsewhere), "{options}");
        let (key, found) = tests[0].context(&table, &there).unwrap();
        assert_eq!((&*key, &*found), ("k", json), "{options}");
        assert!(tests[0].context(&table, &elsewhere).is_none() && tests[1].context(&table, &there).is_none());
    }
}

#[test]
fn too_much_json_is_left_out_and_said() {
    let value = |length: usize| {
        let frame = r#"{"ip":"10.0.0.1","x":""}"#.len();
        format!(r#"{{"ip":"10.0.0.1","x":"{}"}}"#, "a".repeat(length - frame))
    };
    let options = "dataset:isset,s,type ip,load lines,format ndjson,context_key k,value_key ip";
    for (length, is_there) in [(JSON_BYTES_MAX, true), (JSON_BYTES_MAX + 1, false)] {
        let files = Files::new(&[("lines", &value(length))]);
        let mut loader = DataLoader::new(DataSettings::default(), None);
        let test = loader.option(&option(options), &files.rules()).unwrap();
        assert_eq!(loader.warnings().is_empty(), is_there);
        assert_eq!(passes(&test, &loader.finish(), &[10, 0, 0, 1]), is_there);
    }
}

#[test]
fn a_domain_is_found_by_its_ends() {
    let files = Files::new(&[("list", "LmV2aWwuY29t\n")]);
    let (table, tests) = files.load(&["dataset:isset,d,type string,match subdomain,load list"]);
    for (name, expected) in [
        (".evil.com", true),
        (".www.evil.com", true),
        (".a.b.c.evil.com", true),
        ("www.evil.com", true),
        ("evil.com", false),
        (".notevil.com", false),
        (".evil.com.", false),
        (".evil.com.org", false),
        (".com", false),
        (".", false),
    ] {
        assert_eq!(passes(&tests[0], &table, name.as_bytes()), expected, "{name}");
    }
    let (table, tests) = files.load(&["dataset:isset,d,type string,match exact,load list"]);
    assert!(passes(&tests[0], &table, b".evil.com") && !passes(&tests[0], &table, b".www.evil.com"));
}

#[test]
fn the_longest_end_counts_and_hostile_names_cost_little() {
    let mut values = Values::default();
    values.add(b".com", Note::Reputation(1), u64::MAX);
    values.add(b".evil.com", Note::Reputation(2), u64::MAX);
    assert_eq!(values.get_domain(b".a.evil.com"), Some(&Note::Reputation(2)));
    assert_eq!(values.get_domain(b".a.com"), Some(&Note::Reputation(1)));
    let mut values = Values::default();
    let long = [b".a".repeat(LABELS_MAX - 1), b".x".to_vec()].concat();
    assert_eq!(values.add(&long, Note::None, u64::MAX), Added::New);
    assert!(values.get_domain(&[b".b".to_vec(), long.clone()].concat()).is_some());
    let longer = [b".a".to_vec(), long].concat();
    let mut values = Values::default();
    values.add(&longer, Note::None, u64::MAX);
    assert!(values.get_domain(&longer).is_some(), "the whole name is always looked up");
    assert!(values.get_domain(&[b".b".to_vec(), longer].concat()).is_none(), "more labels than DNS has");
    assert!(values.get_domain(&b".".repeat(1 << 20)).is_none());
}

#[test]
fn files_stay_within_the_rules_directory_unless_allowed() {
    let files = Files::new(&[("inside", "YQ==")]);
    let root = files.0.path();
    fs::write(root.join("outside"), "YQ==").unwrap();
    fs::create_dir(root.join("rules/deep")).unwrap();
    fs::write(root.join("rules/deep/inner"), "YQ==").unwrap();
    std::os::unix::fs::symlink(root.join("outside"), root.join("rules/link")).unwrap();
    std::os::unix::fs::symlink("inside", root.join("rules/within")).unwrap();
    let absolute = root.join("rules/inside");
    let rules = root.join("rules");
    for (path, is_allowed) in [
        ("inside", true),
        ("./inside", true),
        ("deep/inner", true),
        ("within", true),
        ("missing", true),
        ("../outside", false),
        ("deep/../inside", false),
        ("link", false),
        (absolute.to_str().unwrap(), false),
        ("/etc/passwd", false),
    ] {
        assert_eq!(locate(path, &rules, false).is_ok(), is_allowed, "{path}");
        assert!(locate(path, &rules, true).is_ok(), "{path}");
    }
    assert_eq!(locate("inside", Path::new(""), false).unwrap(), Path::new("./inside"));
    let (column, reason) = files.refusal(&["dataset:isset,s,type string,load ../outside"]);
    assert!(column == 25 && reason.contains("leaves the rule file's directory"), "{column} {reason}");
    let settings = DataSettings { allows_absolute: true, ..DataSettings::default() };
    let mut loader = DataLoader::new(settings, None);
    let test = loader.option(&option("dataset:isset,s,type string,load ../outside"), &files.rules()).unwrap();
    assert!(passes(&test, &loader.finish(), b"a"));
}

#[test]
fn files_are_read_only_as_long_as_bytes_are_left() {
    let files = Files::new(&[("list", "YQ==\n")]);
    let path = files.0.path().join("rules/list");
    let reading = Reading {
        kind: DataType::String,
        format: Format::Csv,
        value_key: "",
        array_key: "",
        removes_key: false,
        most: 1000,
    };
    let mut left = 9;
    assert!(load(&path, reading, &mut left).is_ok() && left == 4);
    assert!(load(&path, reading, &mut left).unwrap_err().contains("more than") && left == 4);
}

#[test]
fn files_that_cannot_be_read_refuse_the_rule_with_their_line() {
    let files = Files::new(&[
        ("bad64", "YQ==\n!\n"),
        ("badhex", &format!("{MD5}\n{}\n", &MD5[1..])),
        ("badhex2", &format!("{}+1\n", &MD5[2..])),
        ("badip", "1.2.3.4\n1.2.3\n"),
        ("six", "::1\n"),
        ("mixed", "YQ==\nYg==,1\n"),
        ("badrep", "YQ==,65536\n"),
        ("bytes", ""),
        ("nojson", "{"),
        ("noarray", "{}"),
        ("nothing", "[{\"a\":1}]"),
        ("number", "[{\"k\":1}]"),
        ("badline", "{\"k\":\"a\"}\n[\n"),
    ]);
    fs::write(files.0.path().join("rules/bytes"), b"\xff\xfe").unwrap();
    let json = |kind: &str| format!("format {kind},value_key k,context_key c");
    for (options, part) in [
        ("type string,load missing".to_owned(), "No such file"),
        ("type string,load .".to_owned(), "not a file"),
        ("type string,load bad64".to_owned(), "line 2: expected base64"),
        ("type md5,load badhex".to_owned(), "line 2: expected 32 hexadecimal"),
        ("type md5,load badhex2".to_owned(), "line 1: expected 32 hexadecimal"),
        ("type sha256,load badhex".to_owned(), "line 1: expected 64 hexadecimal"),
        ("type ipv4,load badip".to_owned(), "line 2: expected an IPv4"),
        ("type ipv4,load six".to_owned(), "line 1: expected an IPv4"),
        ("type ip,load badip".to_owned(), "line 2: expected an address"),
        ("type string,load mixed".to_owned(), "line 2: some lines"),
        ("type string,load badrep".to_owned(), "line 1: expected a reputation"),
        ("type string,load bytes".to_owned(), "line 1: expected plain text"),
        (format!("type string,load nojson,{}", json("json")), "EOF"),
        (format!("type string,load noarray,{}", json("json")), "expected an array"),
        (format!("type string,load noarray,array_key a.b,{}", json("json")), "there is no `a.b`"),
        (format!("type string,load nothing,{}", json("json")), "nothing has `k`"),
        (format!("type string,load number,{}", json("json")), "element 1: `k` is not a string"),
        (format!("type string,load badline,{}", json("ndjson")), "line 2"),
    ] {
        let (_, reason) = files.refusal(&[&format!("dataset:isset,s,{options}")]);
        assert!(reason.contains(part), "{options}: {reason}");
    }
    let three = Files::new(&[("list", "YQ==,1,2\nYQ==\n")]);
    let mut loader = DataLoader::new(DataSettings::default(), None);
    loader.option(&option("dataset:isset,s,type string,load list"), &three.rules()).unwrap();
    assert!(loader.warnings()[0].reason.contains("1 lines with too many fields"));
}

#[test]
fn options_that_are_not_understood_are_refused_with_their_place() {
    let files = Files::new(&[("list", "YQ=="), ("json", "[]")]);
    for (text, column, part) in [
        ("dataset:isset", 0, "expected a command and a name"),
        ("dataset:has,s", 0, "expected `isset`"),
        ("dataset:isset,a b", 6, "without blanks"),
        ("dataset:isset,s", 6, "expected `type`"),
        ("dataset:isset,s,type text", 13, "expected `string`"),
        ("dataset:isset,s,type", 8, "needs a value"),
        ("dataset:isset,s,type string,type string", 20, "stands twice"),
        ("dataset:isset,s,load list", 6, "needs `type`"),
        ("dataset:isset,s,type string,foo 1", 20, "not known"),
        ("dataset:isset,s,type string,state a,load list", 26, "does not go with"),
        ("dataset:isset,s,type string,memcap many", 27, "expected a size"),
        ("dataset:isset,s,type string,hashsize 0", 29, "expected 1 to"),
        ("dataset:isset,s,type string,hashsize 65537", 29, "expected 1 to"),
        ("dataset:isset,s,type string,load list,format xml", 37, "expected `csv`"),
        ("dataset:set,s,type string,load json,format json,value_key a,context_key b", 0, "only for `isset`"),
        ("dataset:isset,s,type string,state x,format json,value_key a,context_key b", 26, "only loaded"),
        ("dataset:isset,s,type string,load json,format json,value_key a", 6, "JSON needs"),
        ("dataset:isset,s,type string,load list,value_key a", 40, "only for `format json`"),
        ("dataset:isset,s,type string,load list,remove_key", 6, "only for JSON"),
        (
            "dataset:isset,s,type string,load json,format ndjson,value_key a,context_key b,array_key c",
            80,
            "only for `format json`",
        ),
        ("dataset:isset,s,type string,match prefix", 26, "expected `exact`"),
        ("dataset:set,s,type string,match subdomain", 4, "only for `isset`"),
        ("dataset:isset,s,type md5,match subdomain", 6, "only for `type string`"),
        ("dataset:set,s,type string,state /etc/x", 24, "leaves"),
        ("dataset:set,s,type string,save ../x", 23, "leaves"),
        ("datarep:s,>", 0, "expected `name,operator,value`"),
        ("datarep:s,>=,1", 2, "expected `>`"),
        ("datarep:s,>,65536", 4, "up to 65535"),
        ("datarep:s,>,1,load list", 0, "needs `type`"),
        ("datarep:s,>,1", 0, "expected `type`"),
        ("datarep:s,>,1,state x", 6, "not known"),
    ] {
        let (at, reason) = files.refusal(&[text]);
        assert!(reason.contains(part), "{text}: {reason}");
        assert_eq!(at, column, "{text}: {reason}");
    }
    for (second, part) in [
        ("dataset:isset,s,type md5", "another type"),
        ("dataset:isset,s,type string,load other", "other files"),
        ("dataset:isset,s,type string,load list,state x", "does not go with"),
    ] {
        let (_, reason) = files.refusal(&["dataset:isset,s,type string,load list", second]);
        assert!(reason.contains(part), "{second}: {reason}");
    }
    let (_, reason) = files.refusal(&[&format!("dataset:isset,{},type string", "a".repeat(64))]);
    assert!(reason.contains("more than 63 bytes"), "{reason}");
    let (_, reason) = files.refusal(&[&format!(
        "dataset:isset,s,type string,load json,format json,value_key {},context_key b",
        "a".repeat(33)
    )]);
    assert!(reason.contains("more than 32 bytes"), "{reason}");
}

#[test]
fn what_rules_change_goes_on_when_they_are_loaded_anew_and_what_they_load_is_read_anew() {
    let files = Files::new(&[("list", "YQ==")]);
    let options = ["dataset:set,seen,type string", "dataset:isset,listed,type string,load list"];
    let (first, tests) = files.load(&options);
    assert!(passes(&tests[0], &first, b"x"));
    assert!(passes(&tests[1], &first, b"a") && !passes(&tests[1], &first, b"b"));
    fs::write(files.0.path().join("rules/list"), "Yg==").unwrap();
    let mut loader = DataLoader::new(DataSettings::default(), Some(&first));
    // In another order, and the set is only asked now.
    let listed = loader.option(&option(options[1]), &files.rules()).unwrap();
    let seen = loader.option(&option("dataset:isset,seen,type string"), &files.rules()).unwrap();
    let second = loader.finish();
    assert!(
        passes(&seen, &second, b"x") && !passes(&listed, &second, b"a") && passes(&listed, &second, b"b")
    );
    assert!(passes(&tests[0], &first, b"y"));
    assert!(passes(&seen, &second, b"y"), "until the switch both see the same");
    let mut loader = DataLoader::new(DataSettings::default(), Some(&first));
    let other = loader.option(&option("dataset:set,seen,type ip"), &files.rules()).unwrap();
    assert!(passes(&other, &loader.finish(), &[1, 2, 3, 4]), "another type begins anew");
}

#[test]
fn state_is_read_from_its_directory_and_never_written() {
    let files = Files::new(&[]);
    let state = files.0.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("seen.lst"), "YQ==\n").unwrap();
    let options = "dataset:isset,seen,type string,state seen.lst";
    for (directory, is_there) in [(None, false), (Some(state.clone()), true)] {
        let settings = DataSettings { state_directory: directory, ..DataSettings::default() };
        let mut loader = DataLoader::new(settings, None);
        let test = loader.option(&option(options), &files.rules()).unwrap();
        let again = loader.option(&option("dataset:set,seen"), &files.rules()).unwrap();
        assert!(loader.warnings()[0].reason.contains("kept in memory only"), "{:?}", loader.warnings());
        assert_eq!(loader.warnings().len(), 1);
        let table = loader.finish();
        assert_eq!(passes(&test, &table, b"a"), is_there);
        assert!(passes(&again, &table, b"b"));
        assert!(passes(&test, &table, b"b"));
    }
    assert_eq!(fs::read_to_string(state.join("seen.lst")).unwrap(), "YQ==\n");
}
