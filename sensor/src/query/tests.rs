//! A query as a whole: it equals a full scan with tcpdump, and says what is missing.

use super::*;
use crate::counters::RingCounters;
use crate::ring::config::RingConfig;
use crate::ring::{Ring, RingMode, RingStatus};
use std::path::Path;
use std::process::{Command, Stdio};

type Owned = (u64, u32, Vec<u8>);

fn config(directory: &Path) -> RingConfig {
    let directory = directory.to_str().unwrap().to_owned();
    RingConfig { directory, budget_mib: 256, segment_mib: 2, block_kib: 256, ..RingConfig::default() }
}

/// Writes frames over three lanes; the flow tag is the sum of the frame's addresses, as the tests agree.
fn write(directory: &Path, link: LinkType, frames: &[Owned]) -> RingStatus {
    let mut ring = Ring::open(&config(directory), 3, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lanes: Vec<_> = (0..3).map(|index| ring.lane(index).unwrap()).collect();
    let mut counters = RingCounters::default();
    for (at, (time, wire_len, data)) in frames.iter().enumerate() {
        let frame = Frame { time: Timestamp(*time), link, interface: 0, wire_len: *wire_len, data };
        lanes[at / 7 % 3].append(&frame, flow(&frame).as_ref().map(flow_tag), &mut counters);
    }
    drop(lanes);
    ring.close()
}

/// Stands in for the decoder: a flow is whatever has the same bytes where IPv4 has its addresses.
fn flow(frame: &Frame<'_>) -> Option<CommunityId> {
    let addresses = frame.data.get(26..34)?;
    let mut id = [0; 20];
    let (a, b) = addresses.split_at(4);
    id[..4].copy_from_slice(a.min(b));
    id[4..8].copy_from_slice(a.max(b));
    Some(CommunityId(id))
}

fn query(directory: &Path, expression: &str) -> Query {
    Query { directory: directory.to_owned(), expression: expression.to_owned(), ..Query::default() }
}

fn collect(query: &Query) -> (Vec<Owned>, Answer) {
    let mut out = Vec::new();
    let answer = query.run(Timestamp(u64::MAX), &mut flow, &mut |frame| {
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
        "", "ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "not ip", "not arp", "not tcp and not udp", "port 53",
        "not port 53", "udp port 53", "tcp port 80 or 443", "src port 53", "dst port 80", "portrange 1-1023",
        "not portrange 1-1023", "udp portrange 1024-65535", "less 100", "greater 1000", "not less 200", "vlan",
        "not vlan", "vlan and ip", "vlan and port 80", "vlan 10 or vlan 20", "vlan or host 10.0.0.1", "ip proto 47",
        "ip6 proto 58", "proto 6", "ip[6:2] & 0x1fff != 0", "ip[6:2] & 0x3fff != 0 and udp",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13] & 2 != 0 and port 80", "net 10.0.0.0/8", "not net 10.0.0.0/8",
        "src net 192.168", "net 192.168.0.0 mask 255.255.0.0", "broadcast or multicast", "ether multicast and not ip6",
        "ip host 1.2.3.4", "host 1.2.3.4 or port 53", "not host 1.2.3.4", "(tcp or udp) and port 53 and greater 80",
        "not (port 53 or port 80)", "not (tcp and port 80)", "port 80 and not host 1.2.3.4 or icmp", "net ::/0",
        "net fe80::/10", "ip6 net ff02::/16", "mpls", "mpls and ip", "pppoes and ip", "igmp", "sctp", "rarp",
        "stp or arp", "ip multicast or port 5353", "ether proto 0x88cc", "len > 500 and len <= 1000", "portrange 0-65535",
    ].iter().map(|expression| (*expression).to_owned()).collect();
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
            all.push(format!("net {address}/64 or port 53").replace(&address.to_string(), &truncated(address)));
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
fn made(number: u32) -> Owned {
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as u32) % below
    };
    let epoch = number / 4000;
    let mut data = vec![2; 12];
    // Only the last frames have three tags, which no index opens.
    let tags_max = if epoch == 7 { 4 } else { 3 };
    for _ in 0..[0, 0, 1, 2, 3][next(2 + tags_max - 1) as usize] {
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
            data.extend_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, epoch as u8, 0, 0, 0, 0, 0, 0, 0, next(9) as u8]);
            data.extend_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, next(9) as u8]);
            data.extend_from_slice(&[17, [53, 80][next(2) as usize], 0, 53, 0, 8, 0, 0]);
        }
        2 => data.extend_from_slice(&[0x88, 0x47, 0, 0, 1, 0x40, 0x45, 0, 0, 20]),
        _ => {
            let (protocol, port) = ([6, 17, 17, 1, 47, 132][next(6) as usize], [53, 80, 443, 5000 + epoch][next(4) as usize]);
            let (words, fragment) = ([5, 5, 5, 6, 2][next(5) as usize], [0, 0, 0, 0x20, 1][next(5) as usize]);
            data.extend_from_slice(&[8, 0, 0x40 | words, 0, 8, [0, 6][next(2) as usize], 0, 1, fragment, 0, 64, protocol, 0, 0]);
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
