//! A hunt over the bundled captures: what it finds, what it tells once, and that one that was interrupted
//! finds the same as one that was not.

use super::position::{OVERLAP, Position};
use super::*;
use crate::capture::file::FileSource;
use crate::capture::{BatchEnd, FrameSource, LinkType};
use crate::signatures::{RuleNames, Rules, Surroundings};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use weir_common::rule::{RuleReader, Variables};

struct Owned {
    time: Timestamp,
    link: LinkType,
    wire_len: u32,
    data: Vec<u8>,
}

impl Owned {
    fn frame(&self) -> Frame<'_> {
        let Owned { time, link, wire_len, ref data } = *self;
        Frame { time, link, interface: 0, wire_len, data }
    }
}

/// The frames of bundled captures, in order of time.
fn frames(names: &[&str]) -> Vec<Owned> {
    let mut all = Vec::new();
    for name in names {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures").join(name);
        let mut source = FileSource::open(path.to_str().unwrap()).unwrap();
        loop {
            let end = source.read_batch(&mut |frames| {
                all.extend(frames.iter().map(|frame| {
                    let Frame { time, link, wire_len, data, .. } = *frame;
                    Owned { time, link, wire_len, data: data.to_vec() }
                }));
            });
            if matches!(end.unwrap(), BatchEnd::End) {
                break;
            }
        }
    }
    all.sort_by_key(|frame| frame.time);
    all
}

const RULES: &str = r#"
alert http any any -> any any (msg:"request"; http.method; content:"GET"; sid:1;)
alert tls any any -> any any (msg:"name"; tls.sni; bsize:>0; sid:2;)
alert dns any any -> any any (msg:"query"; dns.query; bsize:>0; sid:3;)
alert tcp any any -> any any (msg:"answer"; flow:established,to_client; content:"HTTP/1."; startswith; sid:4;)
alert ip any any -> any any (msg:"any"; sid:5;)
alert tcp any any -> any any (msg:"limited"; flags:S; threshold:type limit, track by_src, count 2, seconds 60; sid:6;)
alert ssh any any -> any any (msg:"software"; ssh.software; content:"SSH"; nocase; sid:7;)
alert tcp any any -> any any (msg:"established"; flow:established; sid:8;)
alert tcp any any -> any any (msg:"third"; flags:S; threshold:type threshold, track by_dst, count 3, seconds 600; sid:9;)
"#;

fn engine(rules: &str) -> Engine {
    let file = RuleReader::new(Variables::default()).read("x", rules.as_bytes());
    let built = Rules::build(file.rules, &mut RuleNames::default(), &Surroundings::default(), None);
    assert!(
        file.problems.is_empty() && built.problems.is_empty(),
        "{:?} {:?}",
        file.problems,
        built.problems
    );
    Engine::new(Arc::new(built.rules))
}

fn hunt(position: Option<Position>) -> Hunt {
    Hunt::new(&SensorConfig::default(), engine(RULES), position)
}

fn lines(hunt: &mut Hunt) -> Vec<Value> {
    let mut out = Vec::new();
    hunt.take_lines(&mut out);
    out.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn whole(frames: &[Owned]) -> Vec<Value> {
    let mut hunt = hunt(None);
    frames.iter().for_each(|frame| hunt.frame(&frame.frame()));
    hunt.finish();
    lines(&mut hunt)
}

fn sid(alert: &Value) -> u64 {
    alert["alert"]["signature_id"].as_u64().unwrap()
}

#[test]
fn alerts_are_those_of_the_packets_and_say_that_they_look_back() {
    let alerts = whole(&frames(&["http.pcap"]));
    assert!(
        alerts.iter().all(|alert| alert["alert"]["retrospective"] == true && alert["event_type"] == "alert")
    );
    let request = alerts.iter().find(|alert| sid(alert) == 1).unwrap();
    assert_eq!((&request["app_proto"], &request["direction"]), (&"http".into(), &"to_server".into()));
    assert!(request["community_id"].as_str().unwrap().starts_with("1:"));
    let answer = alerts.iter().find(|alert| sid(alert) == 4).unwrap();
    assert_eq!((&answer["src_ip"], &answer["dest_ip"]), (&request["dest_ip"], &request["src_ip"]));
    assert!(answer["flow_id"].is_u64());
    // What every packet of a flow would match is told once for each flow.
    let mut flows: Vec<&Value> =
        alerts.iter().filter(|alert| sid(alert) == 5).map(|alert| &alert["flow_id"]).collect();
    let count = flows.len();
    flows.sort_by_key(|flow| flow.as_u64());
    flows.dedup();
    assert_eq!(flows.len(), count);
}

#[test]
fn each_application_is_found_in_its_capture() {
    for (capture, want) in
        [("tls13.pcap", 2), ("tls12.pcap", 2), ("dns.pcap", 3), ("ssh.pcap", 7), ("http.pcap", 1)]
    {
        let alerts = whole(&frames(&[capture]));
        assert!(alerts.iter().any(|alert| sid(alert) == want), "{capture}: {want}");
    }
}

/// The first frame of each of `count` different moments, spread over the frames.
fn cuts(frames: &[Owned], count: usize) -> Vec<usize> {
    let step = (frames.len() / (count + 1)).max(1);
    let begins = |at: &usize| frames[*at].time > frames[at - 1].time;
    (step..frames.len()).step_by(step).filter_map(|from| (from..frames.len()).find(begins)).collect()
}

#[test]
fn a_hunt_that_was_stopped_and_gone_on_with_tells_what_one_run_tells() {
    for names in
        [&["attack-story.pcap"][..], &["http.pcap", "tls12.pcap", "dns.pcap", "ssh.pcap"], &["benign.pcap"]]
    {
        let frames = frames(names);
        let want = whole(&frames);
        assert!(want.len() > 10, "{names:?}");
        for cut in cuts(&frames, 12) {
            let mut first = hunt(None);
            frames[..cut].iter().for_each(|frame| first.frame(&frame.frame()));
            let time = frames[cut - 1].time;
            let position = first.position("q", time);
            let mut got = lines(&mut first);
            let mut second = hunt(Some(position));
            let begin = frames.partition_point(|frame| frame.time < time.minus(OVERLAP));
            frames[begin..].iter().for_each(|frame| second.frame(&frame.frame()));
            second.finish();
            got.extend(lines(&mut second));
            // Flows older than the overlap are picked up in their midst, which these captures do not have.
            assert_eq!(got.len(), want.len(), "{names:?} cut at {cut}");
            let sorted = |alerts: &[Value]| {
                let mut texts: Vec<String> = alerts.iter().map(Value::to_string).collect();
                texts.sort();
                texts
            };
            assert_eq!(sorted(&got), sorted(&want), "{names:?} cut at {cut}");
            assert_eq!(second.teller_counters().alerts, want.len() as u64);
        }
    }
}

#[test]
fn a_hunt_that_came_to_the_end_goes_on_with_what_was_added_and_tells_nothing_twice() {
    let frames = frames(&["http.pcap", "dns.pcap"]);
    let key = |alert: &Value| (sid(alert), alert["flow_id"].as_u64(), alert["tx_id"].as_u64());
    let mut want: Vec<_> = whole(&frames).iter().map(key).collect();
    want.sort();
    for cut in cuts(&frames, 8) {
        let mut first = hunt(None);
        frames[..cut].iter().for_each(|frame| first.frame(&frame.frame()));
        first.finish();
        let mut got = lines(&mut first);
        let position = first.position("q", frames[cut - 1].time);
        // Nothing was added: nothing is told, and nothing is forgotten.
        let mut idle = hunt(Some(position.clone()));
        frames[..cut].iter().for_each(|frame| idle.frame(&frame.frame()));
        idle.finish();
        assert_eq!(lines(&mut idle), Vec::<Value>::new());
        assert_eq!(idle.position("q", position.time).flows, position.flows);
        let mut second = hunt(Some(idle.position("q", position.time)));
        frames.iter().for_each(|frame| second.frame(&frame.frame()));
        second.finish();
        got.extend(lines(&mut second));
        let mut got: Vec<_> = got.iter().map(key).collect();
        got.sort();
        assert_eq!(got, want, "cut at {cut}");
    }
}

#[test]
fn alerts_of_one_signature_about_one_flow_are_limited_and_counted() {
    let frames = frames(&["dns.pcap"]);
    let first = &frames[0];
    let mut hunt = Hunt::new(
        &SensorConfig::default(),
        engine("alert udp any any -> any any (dsize:>0; sid:1;)\nalert ip any any -> any any (sid:2;)"),
        None,
    );
    for repeat in 0..ALERTS_PER_FLOW_MAX + 5 {
        let frame = Frame { time: first.time.plus(Duration::from_millis(repeat.into())), ..first.frame() };
        hunt.frame(&frame);
    }
    let counters = hunt.teller_counters();
    assert_eq!(counters.alerts, u64::from(ALERTS_PER_FLOW_MAX) + 1);
    assert_eq!(counters.suppressed_by_limit, 5);
}
