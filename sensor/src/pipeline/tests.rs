//! The sensor as a whole, where only the whole shows it.

use super::tell::Audience;
use super::*;
use crate::capture::BatchEnd;
use crate::capture::config::BURST_FRAMES_MAX;
use crate::capture::{CaptureError, LinkType};
use crate::export::{self, Context, Pace};
use crate::signatures::{RuleNames, Shown, Surroundings};
use weir_common::net::CommunityId;
use weir_common::rule::{RuleReader, Variables};

/// UDP packets of as many flows, a burst at a time.
struct Flows {
    left: u32,
}

impl FrameSource for Flows {
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError> {
        for _ in 0..BURST_FRAMES_MAX.min(self.left as usize) {
            self.left -= 1;
            let [.., a, b, c] = self.left.to_be_bytes();
            let mut data = [0; 60];
            data[12..34].copy_from_slice(&[
                8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, a, b, c, 192, 0, 2, 1,
            ]);
            data[34..42].copy_from_slice(&[0x13, 0x88, 0x13, 0x89, 0, 26, 0, 0]);
            let time = Timestamp(1_700_000_000_000_000_000);
            each(&[Frame { time, link: LinkType::ETHERNET, interface: 0, wire_len: 60, data: &data }]);
        }
        Ok(if self.left == 0 { BatchEnd::End } else { BatchEnd::More })
    }

    fn loss(&mut self) -> SourceLoss {
        SourceLoss::default()
    }

    fn name(&self) -> &str {
        "made"
    }
}

#[test]
fn a_live_sensor_that_ends_waits_until_the_records_of_all_flows_are_taken() {
    const FLOWS: u32 = 20_000;
    let work = tempfile::tempdir().unwrap();
    let mut config = SensorConfig::default();
    config.export.records = work.path().join("records.json").display().to_string();
    config.export.queue_batches_max = 1;
    let published = vec![Published::default()];
    let (sensor_name, interfaces) = (String::new(), Vec::new());
    let context = Context {
        sensor_name,
        interfaces,
        workers: published.clone(),
        identity: std::path::PathBuf::new(),
        pace: Pace::Live,
        acknowledgements: None,
    };
    let exporting = export::start(&config.export, context).unwrap();
    let outlets = Outlets { exporting, ring: None, store: None };
    let source = Box::new(Flows { left: FLOWS });
    let stop = Arc::new(AtomicBool::new(false));
    let running =
        start(&config, vec![source], published, outlets, &Arc::new(Rules::none()), Mode::Live, &stop)
            .unwrap();
    let report = running.wait();
    assert_eq!(
        (report.counters.flow.records, report.counters.export.records_dropped_queue_full),
        (FLOWS.into(), 0)
    );
    let lines = std::fs::read_to_string(&config.export.records).unwrap();
    assert_eq!(lines.lines().count(), FLOWS as usize);
}

#[test]
fn collectors_are_told_of_frames_that_hold_no_packet() {
    let rule = b"alert pkthdr any any -> any any (msg:\"cut\"; decode-event:ipv4.trunc_pkt; sid:5;)";
    let file = RuleReader::new(Variables::default()).read("x", rule);
    let built = Rules::build(file.rules, &mut RuleNames::default(), &Surroundings::default(), None);
    assert!(built.problems.is_empty(), "{:?}", built.problems);
    let rules = Arc::new(built.rules);
    let config = SensorConfig::default();
    // An IPv4 packet of 100 octets, of which there are 20.
    let mut bytes = vec![2; 12];
    bytes.extend_from_slice(&[8, 0, 0x45, 0, 0, 100, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let frame = Frame {
        time: Timestamp(7_000_000_000),
        link: LinkType::ETHERNET,
        interface: 0,
        wire_len: bytes.len() as u32,
        data: &bytes,
    };
    let mut faults = Vec::new();
    decode::events(&frame, &mut |fault| faults.push(fault));
    for (is_exported, want) in [(true, 1), (false, 0)] {
        let audience = Audience { events: true, collectors: is_exported };
        let terms = Terms { audience, ..Terms::new(&config, Shown::default()) };
        let mut alerts = Alerts::new(&terms, &rules).unwrap();
        let mut told = 0;
        alerts.frame(&frame, false, &faults, 0, &mut |_, _| told += 1);
        let records: Vec<SignatureAlert> = alerts.take().collect();
        assert_eq!((told, records.len()), (1, want));
        for alert in records {
            assert_eq!((alert.signature, alert.flow_id, alert.time), (5, 0, frame.time));
            assert_eq!(alert.key.initiator, "10.0.0.1".parse().unwrap());
            assert_eq!(alert.community_id, CommunityId::of(&alert.key, None, 0));
        }
    }
}

/// Frames, all at once.
struct Frames(Vec<Vec<u8>>);

impl FrameSource for Frames {
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError> {
        for data in self.0.drain(..) {
            let (time, wire_len) = (Timestamp(1_700_000_000_000_000_000), data.len() as u32);
            each(&[Frame { time, link: LinkType::ETHERNET, interface: 0, wire_len, data: &data }]);
        }
        Ok(BatchEnd::End)
    }

    fn loss(&mut self) -> SourceLoss {
        SourceLoss::default()
    }

    fn name(&self) -> &str {
        "made"
    }
}

/// The EVE lines that frames come to with rules.
fn eve(frames: Vec<Vec<u8>>, rules: &str) -> Vec<serde_json::Value> {
    eve_with(SensorConfig::default(), frames, rules)
}

fn eve_with(config: SensorConfig, frames: Vec<Vec<u8>>, rules: &str) -> Vec<serde_json::Value> {
    eve_of(config, Box::new(Frames(frames)), &built(rules), |_| ())
}

fn built(rules: &str) -> Arc<Rules> {
    let file = RuleReader::new(Variables::default()).read("x", rules.as_bytes());
    let built = Rules::build(file.rules, &mut RuleNames::default(), &Surroundings::default(), None);
    assert!(file.problems.is_empty() && built.problems.is_empty(), "{:?}", built.problems);
    Arc::new(built.rules)
}

/// The EVE lines of a sensor to which something is done while it runs.
fn eve_of(
    mut config: SensorConfig,
    source: Box<dyn FrameSource>,
    rules: &Arc<Rules>,
    meanwhile: impl FnOnce(&Running),
) -> Vec<serde_json::Value> {
    let work = tempfile::tempdir().unwrap();
    config.export.eve = work.path().join("eve.json").display().to_string();
    let published = vec![Published::default()];
    let (sensor_name, interfaces) = (String::new(), Vec::new());
    let context = Context {
        sensor_name,
        interfaces,
        workers: published.clone(),
        identity: std::path::PathBuf::new(),
        pace: Pace::Live,
        acknowledgements: None,
    };
    let exporting = export::start(&config.export, context).unwrap();
    let outlets = Outlets { exporting, ring: None, store: None };
    let stop = Arc::new(AtomicBool::new(false));
    let running = start(&config, vec![source], published, outlets, rules, Mode::Replay, &stop).unwrap();
    meanwhile(&running);
    running.wait();
    let lines = std::fs::read_to_string(&config.export.eve).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Frames one at a time, each when it is sent; the source is quiet in between.
struct Sent(std::sync::mpsc::Receiver<Vec<u8>>);

impl FrameSource for Sent {
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError> {
        use std::sync::mpsc::RecvTimeoutError;
        let now = Timestamp(1_700_000_000_000_000_000);
        match self.0.recv_timeout(Duration::from_millis(1)) {
            Ok(data) => {
                let wire_len = data.len() as u32;
                each(&[Frame { time: now, link: LinkType::ETHERNET, interface: 0, wire_len, data: &data }]);
                Ok(BatchEnd::More)
            }
            Err(RecvTimeoutError::Timeout) => Ok(BatchEnd::Quiet { now }),
            Err(RecvTimeoutError::Disconnected) => Ok(BatchEnd::End),
        }
    }

    fn loss(&mut self) -> SourceLoss {
        SourceLoss::default()
    }

    fn name(&self) -> &str {
        "made"
    }
}

#[test]
fn a_sensor_that_began_without_rules_takes_them_up_and_gives_them_back() {
    let (sender, receiver) = std::sync::mpsc::channel();
    // Packets of one flow, the first of which nobody looks for; the last comes when the rules are gone again.
    let packet = |text: &[u8]| {
        let header = [0, 7, 0, 9, 0, 8 + text.len() as u8, 0, 0];
        ethernet([8, 0], &v4(17, 1, &[&header, text].concat()))
    };
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let lines = eve_of(SensorConfig::default(), Box::new(Sent(receiver)), &built(""), |running| {
        let send = |text: &[u8]| sender.send(packet(text)).unwrap();
        let looked_for = || running.signatures().map_or(0, |status| status.rules);
        send(b"needle 1");
        until("the first is read", &|| running.counters().capture.frames == 1);
        running.set_rules(&built("alert udp any any -> any any (content:\"needle\"; sid:1;)"));
        until("the rules are taken up", &|| looked_for() == 1);
        send(b"needle 2");
        send(b"nothing");
        until("both are read", &|| running.counters().capture.frames == 3);
        running.set_rules(&built(""));
        until("the rules are given back", &|| looked_for() == 0);
        send(b"needle 3");
        drop(sender);
    });
    let alerts: Vec<_> = lines.iter().filter(|line| line["event_type"] == "alert").collect();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["alert"]["signature_id"], 1);
}

/// An IPv4 packet between 10.0.0.`from` and 10.0.0.9.
fn v4(protocol: u8, from: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (20 + payload.len() as u16).to_be_bytes();
    let header = [0x45, 0, high, low, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, from, 10, 0, 0, 9];
    [&header[..], payload].concat()
}

fn ethernet(kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind, payload].concat()
}

#[test]
fn rules_see_the_packets_that_carry_others_and_records_measure_the_innermost_alone() {
    let datagram = [&[0, 7, 0, 9, 0, 14, 0, 0][..], b"inside"].concat();
    let six_in_four = v4(41, 1, &{
        let mut packet = vec![0x60, 0, 0, 0, 0, datagram.len() as u8, 17, 64];
        packet.extend([1; 16]);
        packet.extend([2; 16]);
        packet.extend(&datagram);
        packet
    });
    let frames = vec![ethernet([8, 0], &six_in_four), ethernet([8, 0], &six_in_four)];
    let rules = "alert ip 10.0.0.1 any -> any any (sid:1;)
alert ip any any -> any any (ip_proto:41; sid:2;)
alert udp any any -> any 9 (content:\"inside\"; sid:3;)
alert ip any any -> any any (content:\"inside\"; sid:4;)
alert ip 10.0.0.2 any -> any any (sid:5;)";
    let lines = eve(frames, rules);
    let mut alerts: Vec<_> = lines
        .iter()
        .filter(|line| line["event_type"] == "alert")
        .map(|line| (line["alert"]["signature_id"].as_u64().unwrap(), line["proto"].as_str().unwrap()))
        .collect();
    alerts.sort_unstable();
    assert_eq!(
        alerts,
        [
            (1, "IPv6"),
            (2, "IPv6"),
            (2, "IPv6"),
            (3, "UDP"),
            (3, "UDP"),
            (4, "IPv6"),
            (4, "IPv6"),
            (4, "UDP"),
            (4, "UDP"),
        ]
    );
    let flows: Vec<_> = lines.iter().filter(|line| line["event_type"] == "flow").collect();
    assert_eq!(flows.len(), 1);
    assert_eq!((&flows[0]["proto"], &flows[0]["flow"]["pkts_toserver"]), (&"UDP".into(), &2.into()));
    let ids: std::collections::HashSet<_> =
        lines.iter().filter_map(|line| line["flow_id"].as_u64()).collect();
    assert_eq!(ids.len(), 2, "a carrier is a flow of its own");
}

#[test]
fn records_of_carriers_are_told_where_they_are_wanted_and_those_of_gre_never() {
    let datagram = [&[0, 7, 0, 9, 0, 14, 0, 0][..], b"inside"].concat();
    let gre = v4(47, 2, &[&[0, 0, 8, 0][..], &v4(17, 3, &datagram)].concat());
    let frames = || vec![ethernet([8, 0], &v4(4, 1, &gre)); 2];
    let flows = |is_wanted| {
        let mut config = SensorConfig::default();
        config.decode.outer_flows = is_wanted;
        let lines = eve_with(config, frames(), "alert ip any any -> any any (ip_proto:4; sid:1;)");
        let flows = lines.iter().filter(|line| line["event_type"] == "flow");
        let told = |line: &serde_json::Value| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (text(&line["proto"]), text(&line["src_ip"]), line["flow"]["alerted"].as_bool().unwrap())
        };
        let mut flows: Vec<_> = flows.map(told).collect();
        flows.sort();
        flows
    };
    let inside = ("UDP".to_owned(), "10.0.0.3".to_owned(), false);
    assert_eq!(flows(false), std::slice::from_ref(&inside));
    let carrier = &flows(true)[0];
    assert_eq!((carrier.1.as_str(), carrier.2), ("10.0.0.1", true));
    assert_eq!(flows(true)[1..], [inside]);
}

#[test]
fn rules_see_frames_that_hold_no_packet() {
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[3; 20]].concat();
    let vxlan = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet([8, 6], &arp)].concat();
    let datagram = [&[0, 7, 0x12, 0xb5, 0, 8 + vxlan.len() as u8, 0, 0][..], &vxlan].concat();
    let frames = vec![ethernet([8, 6], &arp), ethernet([8, 0], &v4(17, 1, &datagram))];
    let rules = "alert arp any any -> any any (sid:1;)
alert ether any any -> any any (ether.hdr; content:\"|08 00|\"; offset:12; depth:2; sid:2;)";
    let alerts: Vec<_> = eve(frames, rules)
        .iter()
        .filter(|line| line["event_type"] == "alert")
        .map(|line| (line["alert"]["signature_id"].clone(), line["pkt_src"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(alerts.len(), 3);
    for (sid, source) in [(1, "wire/pcap"), (1, "vxlan encapsulation"), (2, "wire/pcap")] {
        assert!(alerts.contains(&(sid.into(), source.to_owned())), "{alerts:?}");
    }
}

#[test]
fn a_connection_that_was_joined_in_its_middle_is_established_though_one_side_alone_is_seen() {
    let segment = |flags: u8, sequence: u8, payload: &[u8]| {
        let header = [0x80, 0, 0, 80, 0, 0, 0, sequence, 0, 0, 0, 1, 0x50, flags, 4, 0, 0, 0, 0, 0];
        ethernet([8, 0], &v4(6, 1, &[&header[..], payload].concat()))
    };
    let rules = "alert tcp any any -> any any (flow:established,to_server; content:\"abc\"; sid:1;)";
    let told = |frames| {
        let lines = eve(frames, rules);
        let flow = lines.iter().find(|line| line["event_type"] == "flow").unwrap();
        let alerts = lines.iter().filter(|line| line["event_type"] == "alert").count();
        (alerts, flow["flow"]["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(told(vec![segment(0x10, 1, b""), segment(0x18, 1, b"abc")]), (1, "established".to_owned()));
    assert_eq!(told(vec![segment(0x02, 0, b""), segment(0x18, 1, b"abc")]), (0, "new".to_owned()));
}

#[test]
fn what_goes_to_the_server_does_so_though_the_server_was_seen_first() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let request = b"GET /secret HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let segment = |from: u8, to: u8, ports: [u16; 2], [sequence, acknowledged]: [u8; 2], payload: &[u8]| {
        let [source, destination] = ports.map(u16::to_be_bytes);
        let numbers = [0, 0, 0, sequence, 0, 0, 0, acknowledged, 0x50, 0x18, 4, 0, 0, 0, 0, 0];
        let mut packet = v4(6, from, &[&source[..], &destination, &numbers, payload].concat());
        packet[19] = to;
        ethernet([8, 0], &packet)
    };
    let (there, back) = (answer.len() as u8, request.len() as u8);
    let server = |numbers, payload: &[u8]| segment(1, 9, [80, 4096], numbers, payload);
    let client = |numbers, payload: &[u8]| segment(9, 1, [4096, 80], numbers, payload);
    let frames = vec![
        server([1, 1], answer),
        client([1, 1 + there], request),
        server([1 + there, 1 + back], answer),
        client([1 + back, 1 + 2 * there], request),
    ];
    let rules =
        "alert http any any -> any any (flow:established,to_server; http.uri; content:\"/secret\"; sid:1;)
alert http any any -> any any (flow:established,to_client; http.stat_code; content:\"200\"; sid:2;)
alert tcp any any -> any 80 (flow:established,to_server; content:\"GET /secret\"; sid:3;)
alert tcp any any -> any any (flow:established,to_client; content:\"GET /secret\"; sid:4;)
alert tcp any any -> any any (flow:established,to_server; content:\"200 OK\"; sid:5;)";
    let lines = eve(frames, rules);
    let mut alerts: Vec<_> = lines
        .iter()
        .filter(|line| line["event_type"] == "alert")
        .map(|line| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            let sid = line["alert"]["signature_id"].as_u64().unwrap();
            (sid, text(&line["src_ip"]), text(&line["direction"]), text(&line["flow"]["src_ip"]))
        })
        .collect();
    alerts.sort_unstable();
    alerts.dedup();
    let told = |sid, from: &str, way: &str| (sid, from.to_owned(), way.to_owned(), "10.0.0.9".to_owned());
    let [client, server] = ["10.0.0.9", "10.0.0.1"];
    let want = [told(1, client, "to_server"), told(2, server, "to_client"), told(3, client, "to_server")];
    assert_eq!(alerts, want);
}
