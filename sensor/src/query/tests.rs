//! A query as a whole: it equals a full scan with tcpdump, and says what is missing.

use super::flow::{FrameFlow, InOrder};
use super::*;
use crate::capture::bpf::Filter;
use crate::capture::{Frame, LinkType};
use crate::counters::RingCounters;
use crate::ring::config::RingConfig;
use crate::ring::{Ring, RingMode, RingStatus};
use sha1::Digest as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

mod damage;
mod equality;
mod gone;
mod turning;

pub(super) type Owned = (u64, u32, Vec<u8>);

pub(super) fn config(directory: &Path) -> RingConfig {
    let directory = directory.to_str().unwrap().to_owned();
    RingConfig { directory, budget_mib: 256, segment_mib: 2, block_kib: 256, ..RingConfig::default() }
}

/// Writes frames over three lanes; the flow tag is the sum of the frame's addresses, as the tests agree.
pub(super) fn write(directory: &Path, link: LinkType, frames: &[Owned]) -> RingStatus {
    let mut ring = Ring::open(&config(directory), 3, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lanes: Vec<_> = (0..3).map(|index| ring.lane(index).unwrap()).collect();
    let mut counters = RingCounters::default();
    for (at, (time, wire_len, data)) in frames.iter().enumerate() {
        let frame = Frame { time: Timestamp(*time), link, interface: 0, wire_len: *wire_len, data };
        lanes[at / 7 % 3].append(&frame, flow(&frame).as_ref().map(CommunityId::tag), None, &mut counters);
    }
    drop(lanes);
    ring.close()
}

/// Stands in for the decoder: a flow is whatever has the same bytes where IPv4 has its addresses.
pub(super) fn flow(frame: &Frame<'_>) -> Option<CommunityId> {
    let addresses = frame.data.get(26..34)?;
    let mut id = [0; 20];
    let (a, b) = addresses.split_at(4);
    let digest = sha1::Sha1::digest([a.min(b), a.max(b)].concat());
    id.copy_from_slice(&digest);
    Some(CommunityId(id))
}

/// The same as a judge.
pub(super) struct Addresses;

impl FlowOf for Addresses {
    fn alone(&self) -> flow::Alone<'_> {
        Box::new(|frame| flow(frame).map_or(FrameFlow::None, FrameFlow::Of))
    }

    fn in_order(&self) -> InOrder<'_> {
        Box::new(flow)
    }

    fn fragment_timeout(&self) -> Duration {
        Duration::ZERO
    }
}

pub(super) fn query(directory: &Path, expression: &str) -> Query {
    Query { directory: directory.to_owned(), expression: expression.to_owned(), ..Query::default() }
}

pub(super) fn collect(query: &Query) -> (Vec<Owned>, Answer) {
    let mut out = Vec::new();
    let answer = query.run(Timestamp(u64::MAX), &Addresses, &mut |found| {
        let frame = &found.frame;
        out.push((frame.time.0, frame.wire_len, frame.data.to_vec()));
        Ok(())
    });
    (out, answer.unwrap())
}

/// A nanosecond pcap file of these frames.
fn pcap(link: u16, frames: &[Owned]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in [0xa1b2_3c4du32, 0x0004_0002, 0, 0, 262_144, link.into()] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for (time, wire_len, data) in frames {
        let (seconds, nanos) = ((time / 1_000_000_000) as u32, (time % 1_000_000_000) as u32);
        for field in [seconds, nanos, data.len() as u32, *wire_len] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(data);
    }
    out
}

/// Frames of a pcap file, in nanoseconds.
fn frames_of(bytes: &[u8]) -> Vec<Owned> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let scale = if u32_at(0) == 0xa1b2_3c4d { 1 } else { 1000 };
    let (mut out, mut at) = (Vec::new(), 24);
    while at + 16 <= bytes.len() {
        let length = u32_at(at + 8) as usize;
        let Some(data) = bytes.get(at + 16..at + 16 + length) else { break };
        let time = u64::from(u32_at(at)) * 1_000_000_000 + u64::from(u32_at(at + 4)) * scale;
        out.push((time, u32_at(at + 12), data.to_vec()));
        at += 16 + length;
    }
    out
}

/// What tcpdump finds in a file; none where tcpdump refuses the expression.
fn tcpdump(file: &Path, expression: &str) -> Option<Vec<Owned>> {
    let output = Command::new("tcpdump")
        .args(["--nano", "-n", "-r"])
        .arg(file)
        .args(["-w", "-", expression])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    output.status.success().then(|| frames_of(&output.stdout))
}

/// Expressions over what a capture holds: its own addresses and ports, and others.
fn expressions(frames: &[Owned]) -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        "ip",
        "ip6",
        "arp",
        "tcp",
        "udp",
        "icmp",
        "icmp6",
        "not ip",
        "not arp",
        "not tcp and not udp",
        "port 53",
        "not port 53",
        "udp port 53",
        "tcp port 80 or 443",
        "src port 53",
        "dst port 80",
        "portrange 1-1023",
        "not portrange 1-1023",
        "udp portrange 1024-65535",
        "less 100",
        "greater 1000",
        "not less 200",
        "vlan",
        "not vlan",
        "vlan and ip",
        "vlan and port 80",
        "vlan 10 or vlan 20",
        "vlan or host 10.0.0.1",
        "ip proto 47",
        "ip6 proto 58",
        "proto 6",
        "ip[6:2] & 0x1fff != 0",
        "ip[6:2] & 0x3fff != 0 and udp",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "tcp[13] & 2 != 0 and port 80",
        "net 10.0.0.0/8",
        "not net 10.0.0.0/8",
        "src net 192.168",
        "net 192.168.0.0 mask 255.255.0.0",
        "broadcast or multicast",
        "ether multicast and not ip6",
        "ip host 1.2.3.4",
        "host 1.2.3.4 or port 53",
        "not host 1.2.3.4",
        "(tcp or udp) and port 53 and greater 80",
        "not (port 53 or port 80)",
        "not (tcp and port 80)",
        "port 80 and not host 1.2.3.4 or icmp",
        "net ::/0",
        "net fe80::/10",
        "ip6 net ff02::/16",
        "mpls",
        "mpls and ip",
        "pppoes and ip",
        "igmp",
        "sctp",
        "rarp",
        "stp or arp",
        "ip multicast or port 5353",
        "ether proto 0x88cc",
        "len > 500 and len <= 1000",
        "portrange 0-65535",
    ]
    .iter()
    .map(|expression| (*expression).to_owned())
    .collect();
    let step = (frames.len() / 6).max(1);
    for (_, _, data) in frames.iter().step_by(step) {
        let [Some(source), Some(destination)] = [data.get(26..30), data.get(30..34)] else { continue };
        let text = |a: &[u8]| format!("{}.{}.{}.{}", a[0], a[1], a[2], a[3]);
        let (source, destination) = (text(source), text(destination));
        all.push(format!("host {source}"));
        all.push(format!("not host {source}"));
        all.push(format!("src host {source} and dst host {destination}"));
        all.push(format!("host {source} and not port 80 or arp"));
        all.push(format!("arp host {source} or ip host {destination} and tcp"));
        all.push(format!("not (host {source} or host {destination}) and udp"));
        if let [Some(from), Some(to)] = [data.get(34..36), data.get(36..38)] {
            let (from, to) = (u16::from_be_bytes([from[0], from[1]]), u16::from_be_bytes([to[0], to[1]]));
            all.push(format!("port {from} and host {destination}"));
            all.push(format!("port {from} or {to} and not host {source}"));
            all.push(format!("portrange {}-{}", from.min(to), from.max(to)));
        }
    }
    for (_, _, data) in frames.iter().filter(|frame| frame.2.get(12..14) == Some(&[0x86, 0xdd])).take(2) {
        if let Some(Ok(address)) = data.get(22..38).map(<[u8; 16]>::try_from) {
            let address = std::net::Ipv6Addr::from(address);
            all.push(format!("host {address}"));
            all.push(format!("ip6 host {address} and not tcp"));
            all.push(
                format!("net {address}/64 or port 53").replace(&address.to_string(), &truncated(address)),
            );
        }
    }
    all
}

/// libpcap wants no bits behind the prefix.
fn truncated(address: std::net::Ipv6Addr) -> String {
    std::net::Ipv6Addr::from(u128::from(address) & !0 << 64).to_string()
}

fn sorted(mut frames: Vec<Owned>) -> Vec<Owned> {
    frames.sort();
    frames
}

/// Every expression gives what tcpdump gives; returns how many were compared and how many blocks were spared.
fn compare(file: &Path) -> (usize, u64) {
    let bytes = std::fs::read(file).unwrap();
    let frames = frames_of(&bytes);
    let link = LinkType(u16::from_le_bytes([bytes[20], bytes[21]]));
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), link, &frames);
    let (mut compared, mut spared) = (0, 0);
    for expression in expressions(&frames) {
        let Some(want) = tcpdump(file, &expression) else { continue };
        let (got, answer) = collect(&query(directory.path(), &expression));
        assert!(got.is_sorted_by_key(|frame| frame.0), "{expression}");
        assert_eq!(got.len(), want.len(), "{}: {expression}", file.display());
        assert!(sorted(got) == sorted(want), "{}: {expression}", file.display());
        spared += answer.cost.blocks - answer.cost.blocks_to_read;
        compared += 1;
    }
    (compared, spared)
}

/// An Ethernet frame of UDP over IPv4, optionally tagged, a fragment, or cut off.
pub(super) fn made(number: u32) -> Owned {
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as u32) % below
    };
    let epoch = number / 4000;
    let mut data = vec![2; 12];
    // Only the last frames have five tags, which no index opens.
    let choices = if epoch == 7 { 5 } else { 4 };
    for _ in 0..[0, 0, 1, 2, 5][next(choices) as usize] {
        data.extend_from_slice(&[[0x81, 0x00], [0x88, 0xa8]][next(2) as usize]);
        data.extend_from_slice(&[next(16) as u8 * 16, [10, 20, 30][next(3) as usize]]);
    }
    let address = [10, epoch as u8, 0, next(20) as u8];
    let peer = [1, 2, 3, next(6) as u8];
    match next(10) {
        0 => {
            data.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 1, 1, 1, 1, 1, 1]);
            data.extend_from_slice(&address);
            data.extend_from_slice(&[0; 6]);
            data.extend_from_slice(&peer);
        }
        1 => {
            data.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, [6, 17, 44, 58][next(4) as usize], 64]);
            data.extend_from_slice(&[
                0xfe,
                0x80,
                0,
                0,
                0,
                0,
                0,
                epoch as u8,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                next(9) as u8,
            ]);
            data.extend_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, next(9) as u8]);
            data.extend_from_slice(&[17, [53, 80][next(2) as usize], 0, 53, 0, 8, 0, 0]);
        }
        2 => data.extend_from_slice(&[0x88, 0x47, 0, 0, 1, 0x40, 0x45, 0, 0, 20]),
        _ => {
            let (protocol, port) =
                ([6, 17, 17, 1, 47, 132][next(6) as usize], [53, 80, 443, 5000 + epoch][next(4) as usize]);
            let (words, fragment) = ([5, 5, 5, 6, 2][next(5) as usize], [0, 0, 0, 0x20, 1][next(5) as usize]);
            data.extend_from_slice(&[
                8,
                0,
                0x40 | words,
                0,
                8,
                [0, 6][next(2) as usize],
                0,
                1,
                fragment,
                0,
                64,
                protocol,
                0,
                0,
            ]);
            data.extend_from_slice(&address);
            data.extend_from_slice(&peer);
            data.extend_from_slice(&[0; 4][..usize::from(words > 5) * 4]);
            data.extend_from_slice(&(1024 + next(5000) as u16).to_be_bytes());
            data.extend_from_slice(&(port as u16).to_be_bytes());
            data.extend_from_slice(&[0, 8, 0, 0]);
            data.extend((0..next(900)).map(|at| at as u8));
        }
    }
    let wire_len = data.len() as u32;
    if next(8) == 0 {
        data.truncate(next(60) as usize);
    }
    (1_700_000_000_000_000_000 + u64::from(number) * 50_000, wire_len, data)
}

#[test]
fn every_expression_gives_what_tcpdump_gives_over_frames_made_to_mislead() {
    if Command::new("tcpdump").arg("--version").output().is_err() {
        eprintln!("skipped: tcpdump is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("made.pcap");
    let frames: Vec<Owned> = (0..32_000).map(made).collect();
    std::fs::write(&file, pcap(1, &frames)).unwrap();
    let (compared, spared) = compare(&file);
    assert!(compared >= 100 && spared > 100, "{compared} {spared}");
}

/// Point `WEIR_TEST_CAPTURES` at pcap files, separated by colons, to compare over more.
#[test]
fn every_expression_gives_what_tcpdump_gives_over_given_captures() {
    let Ok(files) = std::env::var("WEIR_TEST_CAPTURES") else {
        eprintln!("skipped: WEIR_TEST_CAPTURES is not set");
        return;
    };
    for file in files.split(':').filter(|file| !file.is_empty()) {
        let (compared, spared) = compare(Path::new(file));
        println!("{file}: {compared} expressions equal, {spared} blocks spared");
    }
}

/// What a full scan finds: every frame of the range through the compiled filter.
fn scan(frames: &[Owned], expression: &str, since: u64, until: u64) -> Vec<Owned> {
    let filter = Filter::compile(expression, LinkType::ETHERNET).unwrap();
    let in_range = frames.iter().filter(|frame| (since..=until).contains(&frame.0));
    in_range.filter(|frame| filter.matches(&frame.2, frame.1)).cloned().collect()
}

/// A random expression of the words that the planner reads and some that it does not.
fn random_expression(seed: u64) -> String {
    let mut state = seed | 1;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut text = String::new();
    for at in 0..1 + next(4) {
        if at > 0 {
            text.push_str([" and ", " or ", " && ", " || "][next(4)]);
        }
        text.push_str(["", "", "", "not ", "! ", "not not "][next(6)]);
        let primitive = match next(16) {
            0 => format!("host 10.{}.0.{}", next(9), next(20)),
            1 => format!("src host 1.2.3.{}", next(8)),
            2 => format!("net 10.{}.0.0/16", next(9)),
            3 => format!("dst net 1.2.3.{}/30", next(2) * 4),
            4 => format!("port {}", [53, 80, 443, 5001, 5005, 9][next(6)]),
            5 => format!("tcp dst port {}", [53, 80, 5002][next(3)]),
            6 => format!("portrange {}-{}", 5000 + next(4), 5004 + next(4)),
            7 => format!("ip6 host fe80::{}:0:0:0:{}", next(8), next(9)),
            8 => format!("net fe80:0:0:{}::/64", next(8)),
            9 => ["arp", "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "sctp"][next(8)].to_owned(),
            10 => format!("arp host 10.{}.0.{}", next(9), next(20)),
            11 => format!("less {}", next(600)),
            12 => "ip[6:2] & 0x1fff != 0".to_owned(),
            13 => format!("(port {} or host 10.{}.0.3 and udp)", [53, 80][next(2)], next(8)),
            14 => format!("ip proto {}", [6, 17, 47, 200][next(4)]),
            _ => format!("port 53 or {}", 5000 + next(8)),
        };
        text.push_str(&primitive);
    }
    match next(12) {
        0 => format!("vlan and ({text})"),
        1 => format!("vlan {} and {text}", [10, 20, 40][next(3)]),
        2 => format!("not ({text})"),
        3 => format!("{text} or vlan 10"),
        _ => text,
    }
}

#[test]
fn the_planner_loses_no_frame_of_random_questions() {
    let directory = tempfile::tempdir().unwrap();
    let frames: Vec<Owned> = (0..32_000).map(made).collect();
    write(directory.path(), LinkType::ETHERNET, &frames);
    let (mut asked, mut spared, mut found) = (0, 0, 0);
    for seed in 0..300u64 {
        let expression = random_expression(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // libpcap refuses what can never match, and so does the query.
        if Filter::compile(&expression, LinkType::ETHERNET).is_err() {
            continue;
        }
        let mut query = query(directory.path(), &expression);
        let (from, to) = (frames[(seed as usize * 53) % 32_000].0, frames[(seed as usize * 117) % 32_000].0);
        if seed % 3 == 0 {
            (query.since, query.until) = (Some(Timestamp(from.min(to))), Some(Timestamp(from.max(to))));
        }
        let (got, answer) = collect(&query);
        let (since, until) = (query.since.map_or(0, |t| t.0), query.until.map_or(u64::MAX, |t| t.0));
        assert!(got == scan(&frames, &expression, since, until), "{expression}");
        asked += 1;
        found += got.len();
        spared += answer.cost.blocks - answer.cost.blocks_to_read;
    }
    assert!(asked > 200 && spared > 1000 && found > 50_000, "{asked} {spared} {found}");
}

#[test]
fn a_flow_is_found_by_its_identifier_in_its_own_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let mut frames: Vec<Owned> = (0..32_000).map(made).collect();
    // A fragment that is in no flow, as one cut off is here, would keep its block in every question by flow.
    frames.retain(|frame| frame.2.get(12..14) == Some(&[8, 0]) && frame.2.len() >= 34);
    write(directory.path(), LinkType::ETHERNET, &frames);
    let of = |frame: &Owned| {
        flow(&Frame {
            time: Timestamp(0),
            link: LinkType::ETHERNET,
            interface: 0,
            wire_len: 0,
            data: &frame.2,
        })
    };
    let wanted = frames.iter().find_map(of).unwrap();
    let want: Vec<Owned> = frames.iter().filter(|frame| of(frame) == Some(wanted)).cloned().collect();
    let asked = Query { flow: Some(wanted), ..query(directory.path(), "") };
    let (got, answer) = collect(&asked);
    assert_eq!(got, want);
    assert!(answer.cost.blocks_to_read < answer.cost.blocks / 2, "{}", answer.cost);
    let (udp, _) = collect(&Query { expression: "udp".into(), ..asked });
    let filter = Filter::compile("udp", LinkType::ETHERNET).unwrap();
    assert_eq!(udp, want.into_iter().filter(|frame| filter.matches(&frame.2, frame.1)).collect::<Vec<_>>());
}

#[test]
fn the_answer_says_what_is_damaged_and_gives_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let frames: Vec<Owned> = (0..12_000).map(made).collect();
    write(directory.path(), LinkType::ETHERNET, &frames);
    let whole = query(directory.path(), "ip").count(Timestamp(u64::MAX), &Addresses).unwrap();
    let cut_off = |answer: &Answer| {
        answer.completeness.gaps.iter().filter(|gap| gap.state == completeness::GapState::CutOff).count()
    };
    // Beside these only that the sensor stopped.
    assert_eq!((whole.completeness.gaps.len(), cut_off(&whole)), (2, 1));
    let arp = query(directory.path(), "arp and greater 60").count(Timestamp(u64::MAX), &Addresses).unwrap();
    assert!(arp.completeness.complete, "{arp}");
    let files = crate::ring::reader::segments(directory.path(), None).unwrap().remove(0);
    let mut bytes = std::fs::read(&files.segment).unwrap();
    bytes[2000] ^= 1;
    std::fs::write(&files.segment, bytes).unwrap();
    let damaged = query(directory.path(), "ip").count(Timestamp(u64::MAX), &Addresses).unwrap();
    assert!(damaged.frames < whole.frames && damaged.frames > 0);
    assert!(!damaged.completeness.complete);
    assert!(
        damaged.to_string().contains("damaged: ") && damaged.to_string().contains("block at 128 of"),
        "{damaged}"
    );
    assert!(serde_json::to_value(&damaged).unwrap()["completeness"]["gaps"].is_array());
}

#[test]
fn explaining_reads_nothing_and_wrong_questions_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), LinkType::ETHERNET, &(0..12_000).map(made).collect::<Vec<_>>());
    let explained =
        query(directory.path(), "host 10.1.0.3 and udp").explain(Timestamp(u64::MAX), &Addresses).unwrap();
    assert!(explained.cost.blocks_to_read < explained.cost.blocks);
    assert!(explained.to_string().starts_with("reads "), "{explained}");
    assert!(matches!(
        query(directory.path(), "port and").explain(Timestamp(0), &Addresses),
        Err(QueryError::Expression(_))
    ));
    assert!(matches!(
        query(Path::new("/nowhere"), "").explain(Timestamp(0), &Addresses),
        Err(QueryError::Ring { .. })
    ));
    let backwards =
        Query { since: Some(Timestamp(2)), until: Some(Timestamp(1)), ..query(directory.path(), "") };
    assert!(matches!(backwards.explain(Timestamp(0), &Addresses), Err(QueryError::Range { .. })));
}

#[test]
fn the_file_written_opens_in_tcpdump_with_the_same_frames() {
    if Command::new("tcpdump").arg("--version").output().is_err() {
        eprintln!("skipped: tcpdump is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let frames: Vec<Owned> = (0..5000).map(made).collect();
    write(directory.path(), LinkType::ETHERNET, &frames);
    let mut out = Vec::new();
    let answer =
        query(directory.path(), "udp").write_pcapng(Timestamp(u64::MAX), &Addresses, &mut out).unwrap();
    let file = directory.path().join("answer.pcapng");
    std::fs::write(&file, &out).unwrap();
    let read = tcpdump(&file, "").unwrap();
    assert_eq!((read.len() as u64, &read), (answer.frames, &scan(&frames, "udp", 0, u64::MAX)));
}

/// The blocks that a plan reads.
fn planned(directory: &Path, expression: &str, flow: Option<CommunityId>) -> Vec<(u64, u64)> {
    let planned = Query { flow, ..query(directory, expression) }.plan(&Addresses).unwrap();
    planned.plan.candidates.iter().map(|block| (block.header.segment, block.offset)).collect()
}

#[test]
fn a_sealed_index_names_the_blocks_that_the_journal_names() {
    // Few flows per block, so that keys are in one block, in two, in some and in all.
    let frame = |n: u64| -> Owned {
        let mut data = vec![0; 900];
        data[12..14].copy_from_slice(&[8, 0]);
        data[14] = 0x45;
        data[23] = if n.is_multiple_of(3) { 6 } else { 17 };
        data[26..30].copy_from_slice(&[10, (n / 60_000) as u8, (n / 300) as u8, 1]);
        data[30..34].copy_from_slice(&[10, 9, 9, (n % 40 / 39) as u8]);
        data[34..38].copy_from_slice(&[(n / 700) as u8, 7, 0, 53]);
        (n * 1000, 900, data)
    };
    let frames: Vec<Owned> = (0..12_000).map(frame).collect();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), LinkType::ETHERNET, &frames);
    let expressions = [
        "host 10.0.3.1",
        "host 10.0.200.1",
        "net 10.0.0.0/20",
        "net 10.9.9.0/24",
        "port 53",
        "port 7",
        "port 1799",
        "portrange 2000-3000",
        "tcp",
        "icmp",
        "udp and host 10.0.7.1",
        "host 10.0.3.1 or host 10.0.30.1",
        "ip6",
        "arp",
        "",
    ];
    let ids = [
        flow(&Frame {
            time: Timestamp(0),
            link: LinkType::ETHERNET,
            interface: 0,
            wire_len: 900,
            data: &frames[5].2,
        }),
        None,
    ];
    let ask = || -> Vec<_> {
        let each = |expression: &&str| ids.map(|flow| planned(directory.path(), expression, flow));
        expressions.iter().flat_map(each).collect()
    };
    let sealed = ask();
    assert!(
        sealed.iter().any(|blocks| (1..=6).contains(&blocks.len()))
            && sealed.iter().any(|blocks| blocks.is_empty())
    );
    // The same segments, their indexes as journals, as while they were written.
    for files in crate::ring::reader::segments(directory.path(), None).unwrap() {
        crate::ring::testing::unseal(&files, flow);
    }
    assert_eq!(sealed, ask());
}

#[test]
fn an_encrypted_ring_answers_with_its_key_alone() {
    let frames: Vec<Owned> = (0..3_000u64).map(|n| (n, 300, vec![(n % 251) as u8; 300])).collect();
    let (directory, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key_file = keys.path().join("key");
    std::fs::write(&key_file, [7; 32]).unwrap();
    let encryption_key = key_file.to_str().unwrap().to_owned();
    let encrypted = RingConfig { encryption_key, ..config(directory.path()) };
    let mut ring = Ring::open(&encrypted, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    for (time, wire_len, data) in &frames {
        let frame = Frame {
            time: Timestamp(*time),
            link: LinkType::ETHERNET,
            interface: 0,
            wire_len: *wire_len,
            data,
        };
        lane.append(&frame, None, None, &mut RingCounters::default());
    }
    drop(lane);
    ring.close();
    let key = RingKey::load(&encrypted.encryption_key).unwrap();
    let with_key = Query { key, ..query(directory.path(), "") };
    let (found, answer) = collect(&with_key);
    assert!(found == frames && answer.completeness.complete, "{answer}");
    // Neither the packets nor what the index knows of them can be read.
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(40).any(|window| window.iter().all(|byte| *byte == window[0] && *byte != 0)));
    }
    let wrong = RingKey::new([8; 32]);
    for key in [None, Some(wrong)] {
        let (found, answer) = collect(&Query { key, ..query(directory.path(), "") });
        assert!(found.is_empty() && !answer.completeness.complete);
        assert!(answer.to_string().contains("encrypted"), "{answer}");
    }
}
