//! From a replay to its records' extents and back to the packets, over the bundled captures.

use super::*;
use crate::capture::config::BURST_FRAMES_MAX;
use crate::capture::file::FileSequence;
use crate::capture::{BatchEnd, CaptureError, Frame, FrameSource, LinkType, SourceLoss};
use crate::cli::{open_export, open_ring};
use crate::export::Pace;
use crate::pipeline::{self, Mode, Outlets};
use crate::query::completeness::Finding;
use crate::ring::RingMode;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Small blocks, so that little traffic fills many, and rates that are known soon.
pub(in crate::cli) fn config(work: &Path) -> SensorConfig {
    let mut config = SensorConfig::default();
    let text = |name: &str| work.join(name).display().to_string();
    config.ring.directory = text("ring");
    (config.ring.block_kib, config.ring.segment_mib, config.ring.queue_blocks) = (256, 1, 2);
    config.ring.budget_mib = 64;
    config.export.records = text("records.json");
    config
}

/// What `replay` does; gives the record lines.
pub(in crate::cli) fn replay(config: &SensorConfig, source: Box<dyn FrameSource>) -> Vec<Value> {
    let published = vec![Default::default()];
    let exporting = open_export(config, Vec::new(), &published, Pace::Replay, None).ok().unwrap();
    let ring = open_ring(config, 1, RingMode::Replay, Timestamp::MIN).ok().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let running = pipeline::start(
        config,
        vec![source],
        published,
        Outlets { exporting, ring, store: None },
        &Arc::new(crate::signatures::Rules::none()),
        Mode::Replay,
        &stop,
    );
    let report = running.unwrap().wait();
    assert_eq!(report.counters.ring.frames, report.counters.capture.frames);
    let lines = std::fs::read_to_string(&config.export.records).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(in crate::cli) fn captures(names: &[&str]) -> Box<dyn FrameSource> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/captures");
    Box::new(FileSequence::new(names.iter().map(|name| format!("{folder}/{name}")).collect()))
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap()
}

fn packets(record: &Value) -> u64 {
    record["pkts_toserver"].as_u64().unwrap() + record["pkts_toclient"].as_u64().unwrap()
}

fn extents(record: &Value) -> Extents {
    text(record, "ring_extents").parse().unwrap()
}

/// The question that a record's own values make.
fn question_of(config: &SensorConfig, record: &Value) -> Query {
    let time = |key| Timestamp::parse(text(record, key), Timestamp::MIN).unwrap();
    Query {
        directory: config.ring.directory.clone().into(),
        since: Some(time("start")),
        until: Some(time("end")),
        flow: Some(text(record, "community_id").parse().unwrap()),
        extents: Some(extents(record)),
        ..Query::default()
    }
}

/// Every record leads to exactly its packets, by its own blocks alone.
fn every_record_finds_its_packets(active_timeout_ms: u64, names: &[&str]) -> Vec<Value> {
    let work = tempfile::tempdir().unwrap();
    let mut config = config(work.path());
    config.flow.active_timeout_ms = active_timeout_ms;
    let records = replay(&config, captures(names));
    for record in &records {
        let query = question_of(&config, record);
        let named = extents(record);
        let cost = query.explain(Timestamp::MAX, &Flows::new(&config)).unwrap().cost;
        assert!(cost.blocks_to_read <= named.blocks(), "{record}");
        assert!(!named.is_exact() || cost.blocks_to_read == named.blocks(), "{record}");
        let answer = query.count(Timestamp::MAX, &Flows::new(&config)).unwrap();
        assert_eq!((answer.frames, answer.cost.blocks_to_read), (packets(record), cost.blocks_to_read));
    }
    records
}

#[test]
fn every_record_leads_to_exactly_its_packets_by_its_blocks_alone() {
    let names =
        ["attack-story.pcap", "dns-tunnel.pcap", "ssh.pcap", "tls13.pcap", "raw-ip.pcap", "scan.pcap"];
    let records = every_record_finds_its_packets(120_000, &names);
    let spread = records.iter().filter(|record| extents(record).ranges().len() > 1).count();
    assert!(records.len() > 2000 && spread > 5, "{spread} of {} records", records.len());
}

#[test]
fn every_slice_has_the_blocks_of_its_own_packets() {
    let records = every_record_finds_its_packets(1_000, &["attack-story.pcap"]);
    let slices = records.iter().filter(|record| record["reason"] == "active").count();
    assert!(slices > 50, "{slices}");
}

#[test]
fn blocks_of_another_run_or_lane_and_no_blocks_hold_nothing() {
    let work = tempfile::tempdir().unwrap();
    let config = config(work.path());
    let records = replay(&config, captures(&["dns.pcap"]));
    let asked = |named: &str| {
        let mut query = question_of(&config, &records[0]);
        query.extents = Some(named.parse().unwrap());
        query.count(Timestamp::MAX, &Flows::new(&config)).unwrap()
    };
    let answer = asked("1.0:0");
    assert_eq!((answer.frames, answer.completeness.complete), (packets(&records[0]), true));
    assert!(answer.to_string().contains("only blocks 1.0:0 were looked at"), "{answer}");
    for elsewhere in ["2.0:0", "1.1:0", "1.0:1-9", "1.0:"] {
        let answer = asked(elsewhere);
        assert_eq!((answer.frames, answer.cost.blocks_to_read), (0, 0), "{elsewhere}");
        // Whether it matched elsewhere, nobody looked.
        assert_eq!(answer.finding, Finding::Incomplete, "{elsewhere}: {answer}");
        assert_eq!(answer.completeness.complete, elsewhere == "1.0:", "{elsewhere}: {answer}");
    }
    // A block that is there and holds no match says nothing of the others.
    let mut query = question_of(&config, &records[0]);
    (query.flow, query.expression) = (None, "port 9999".to_owned());
    let answer = query.count(Timestamp::MAX, &Flows::new(&config)).unwrap();
    assert_eq!((answer.finding, answer.completeness.complete), (Finding::Incomplete, true), "{answer}");
    assert!(answer.to_string().contains("which is not all of the range"), "{answer}");
}

#[test]
fn blocks_that_are_gone_are_told_as_expired() {
    let work = tempfile::tempdir().unwrap();
    let mut config = config(work.path());
    config.ring.budget_mib = 12;
    let long = vec!["attack-story.pcap"; 12];
    let records = replay(&config, captures(&long));
    // The same capture again and again: the first record's packets went first.
    let mut query = question_of(&config, &records[0]);
    (query.since, query.until) = (None, None);
    let answer = query.count(Timestamp::MAX, &Flows::new(&config)).unwrap();
    assert_eq!((answer.frames, answer.cost.blocks_to_read), (0, 0));
    assert!(answer.to_string().contains("expired"), "{answer}");
}

#[test]
fn two_replays_say_the_same_of_blocks_and_expiry() {
    let lines = || {
        let work = tempfile::tempdir().unwrap();
        let config = config(work.path());
        replay(&config, captures(&["attack-story.pcap", "benign.pcap"]))
    };
    let (one, other) = (lines(), lines());
    assert_eq!(one, other);
    let told: Vec<_> = one.iter().filter(|record| !record["ring_expires"].is_null()).collect();
    assert!(!told.is_empty() && told.len() < one.len(), "{} of {}", told.len(), one.len());
    for record in told {
        let time = |key| Timestamp::parse(text(record, key), Timestamp::MIN).unwrap();
        assert!(time("ring_expires") > time("start"), "{record}");
    }
}

/// Frames made here.
pub(in crate::cli) struct Made(pub(in crate::cli) std::vec::IntoIter<(u64, Vec<u8>)>);

impl FrameSource for Made {
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError> {
        let some: Vec<_> = self.0.by_ref().take(BURST_FRAMES_MAX).collect();
        let frame = |(time, data): &'_ (u64, Vec<u8>)| (Timestamp(*time), data.len() as u32);
        let frames: Vec<Frame<'_>> = some
            .iter()
            .map(|made| {
                let (time, wire_len) = frame(made);
                Frame { time, link: LinkType::ETHERNET, interface: 0, wire_len, data: &made.1 }
            })
            .collect();
        if frames.is_empty() {
            return Ok(BatchEnd::End);
        }
        each(&frames);
        Ok(BatchEnd::More)
    }

    fn loss(&mut self) -> SourceLoss {
        SourceLoss::default()
    }

    fn name(&self) -> &str {
        "made"
    }
}

/// A piece of a UDP datagram from 10.0.0.`host` with an offset and flags as IPv4 has them.
pub(in crate::cli) fn udp(host: u8, identification: u16, fragment: u16, payload_len: usize) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((20 + payload_len as u16).to_be_bytes());
    frame.extend(identification.to_be_bytes());
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, 17, 0, 0, 10, 0, 0, host, 192, 0, 2, 1]);
    let at = frame.len();
    frame.resize(at + payload_len, host);
    if fragment & 0x1fff == 0 {
        frame[at..at + 6].copy_from_slice(&[0x13, 0x88, 0x13, 0x89, 5, 200]);
    }
    frame
}

#[test]
fn fragments_that_came_before_their_flow_was_known_are_covered() {
    const MORE: u16 = 0x2000;
    let filler = |from: u64| (0..400u64).map(move |n| (from + n, udp(9, n as u16, 0, 1400)));
    let mut frames = Vec::from_iter(filler(1_000));
    // The end of two datagrams first; only one of them ever gets its beginning.
    frames.push((2_000, udp(1, 7, 185, 8)));
    frames.push((2_001, udp(2, 7, 185, 8)));
    frames.extend(filler(3_000));
    frames.push((4_000, udp(1, 7, MORE, 1480)));
    let work = tempfile::tempdir().unwrap();
    let config = config(work.path());
    let records = replay(&config, Box::new(Made(frames.into_iter())));
    let of = |host: &str| {
        let record = records.iter().find(|record| record["src_ip"] == host).unwrap();
        (packets(record), text(record, "ring_extents").to_owned())
    };
    // 187 frames of 1,434 bytes fill a block, so that the ends are in block 2 and the beginning is in 4.
    assert_eq!(of("10.0.0.9"), (800, "1.0:0-4".to_owned()));
    assert_eq!(of("10.0.0.1"), (2, "~1.0:2-4".to_owned()));
    assert_eq!(of("10.0.0.2"), (1, "~1.0:2".to_owned()));
    // A question by flow finds all of them, with the extents and without.
    for record in &records {
        let by_extents = question_of(&config, record);
        let by_index = Query { extents: None, ..by_extents.clone() };
        for query in [by_extents, by_index] {
            let answer = query.count(Timestamp::MAX, &Flows::new(&config)).unwrap();
            assert_eq!(answer.frames, packets(record), "{record}");
        }
    }
    // The index alone leads to a flow that has only fragments, and says of one that is nowhere that it is.
    let blocks_of = |flow: CommunityId| {
        let query =
            Query { directory: config.ring.directory.clone().into(), flow: Some(flow), ..Query::default() };
        let answer = query.count(Timestamp::MAX, &Flows::new(&config)).unwrap();
        (answer.frames, answer.cost.blocks_to_read)
    };
    let orphaned = records.iter().find(|record| record["src_ip"] == "10.0.0.2").unwrap();
    assert_eq!(blocks_of(text(orphaned, "community_id").parse().unwrap()), (1, 1));
    assert_eq!(blocks_of(CommunityId([7; 20])), (0, 0));
}

/// What `weir-sensor query` does with these arguments.
fn asked(arguments: &[&str]) -> Result<Outcome, Failure> {
    use clap::Parser as _;
    let words = ["weir-sensor", "query", "--priority", "normal"];
    let cli = crate::cli::Cli::try_parse_from(words.iter().chain(arguments)).unwrap();
    let crate::cli::Command::Query(arguments) = cli.command else { panic!("another command") };
    query(&arguments)
}

#[test]
fn a_question_that_cannot_be_answered_leaves_the_file_that_is_there() {
    let work = tempfile::tempdir().unwrap();
    let config = config(work.path());
    replay(&config, captures(&["dns.pcap"]));
    let (ring, file) = (&config.ring.directory, work.path().join("kept.pcapng"));
    let (name, before) = (file.to_str().unwrap(), "what was there");
    std::fs::write(&file, before).unwrap();
    for wrong in [&["port", "port"][..], &["--since", "2000", "--until", "1000"]] {
        let asked = asked(&[&["--ring", ring, "-w", name], wrong].concat());
        assert!(matches!(asked, Err(Failure::Input(_))), "{wrong:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "{wrong:?}");
    }
    assert!(asked(&["--ring", ring, "-w", name, "port 53"]).is_ok());
    assert_eq!(std::fs::read(&file).unwrap()[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    let nowhere = work.path().join("none/file").display().to_string();
    let Err(Failure::System(error)) = asked(&["--ring", ring, "-w", &nowhere]) else { panic!("written") };
    assert!(error.to_string().contains(&format!("{nowhere}: No such file")), "{error}");
}

#[test]
fn an_explanation_names_what_narrows_it() {
    let work = tempfile::tempdir().unwrap();
    let config = config(work.path());
    let record = replay(&config, captures(&["dns.pcap"])).remove(0);
    let asked_for = |query: Query| query.explain(Timestamp::MAX, &Flows::new(&config)).unwrap().need;
    let ring = Query { directory: config.ring.directory.clone().into(), ..Query::default() };
    assert_eq!(asked_for(ring.clone()), "anything, so that every block of the time range is read");
    assert_eq!(asked_for(Query { expression: "host 192.0.2.1".into(), ..ring }), "host 192.0.2.1");
    let flow = text(&record, "community_id");
    let query = Query { expression: "udp port 53".into(), ..question_of(&config, &record) };
    assert_eq!(asked_for(query.clone()), format!("blocks 1.0:0, flow {flow}, port 53 and udp"));
    let explanation = query.explain(Timestamp::MAX, &Flows::new(&config)).unwrap().to_string();
    assert!(explanation.contains("\nindex asked for: blocks 1.0:0, "), "{explanation}");
}

#[test]
fn a_file_without_a_name_is_asked_for() {
    use clap::Parser as _;
    let error = |words: &[&str]| {
        let parsed = crate::cli::Cli::try_parse_from([&["weir-sensor"], words].concat());
        parsed.err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (words, named) in [(&["query", "-w"][..], "-w"), (&["hunt", "--rules", "a", "--eve"], "--eve")] {
        let without = error(&[words, &[""]].concat());
        assert!(without.contains("a value is required") && without.contains(named), "{without}");
        assert_eq!(error(&[words, &["a"]].concat()), "");
    }
}
