//! Equality with a full scan: generated expressions over real captures, with the index in every form.
//!
//! The oracle is libpcap's compiled program over every frame that was written; a sample of the expressions is
//! asked of tcpdump itself as well, so that the oracle is checked too.

use super::*;
use crate::ring::reader::{SegmentFiles, segments};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Expressions over Ethernet, of which every sixth is asked of tcpdump too.
const EXPRESSIONS: usize = 300;
const TCPDUMP_EVERY: usize = 6;
/// Expressions over each of the other link types.
const EXPRESSIONS_OTHER: usize = 40;
/// Runs that a ring is written in, so that it has segments of several times in each of its lanes.
const RUNS: usize = 4;
/// Frames after which a lane is told the time, so that blocks are many and small.
const TICK_FRAMES: usize = 150;

/// A fixed sequence of numbers; the same test asks the same questions every time.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below.max(1)
    }

    pub(super) fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }
}

/// A capture of `tests/captures`: its link type and its frames.
fn captured(name: &str) -> (LinkType, Vec<Owned>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/captures").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (LinkType(u16::from_le_bytes([bytes[20], bytes[21]])), frames_of(&bytes))
}

/// Every Ethernet capture, and copies of some frames behind tags and labels, cut off, or both.
pub(super) fn ethernet_frames() -> Vec<Owned> {
    let names = [
        "attack-story.pcap",
        "benign.pcap",
        "dns.pcap",
        "dns-tunnel.pcap",
        "http.pcap",
        "loopback.pcap",
        "scan.pcap",
        "ssh.pcap",
        "tls12.pcap",
        "tls13.pcap",
    ];
    let mut numbers = Numbers::new(7);
    let mut all = Vec::new();
    for name in names {
        let (link, frames) = captured(name);
        assert_eq!(link, LinkType::ETHERNET, "{name}");
        for (at, frame) in frames.into_iter().enumerate() {
            if at % 9 == 0 && frame.2.len() > 14 {
                all.push(varied(&frame, &mut numbers));
            }
            all.push(frame);
        }
    }
    all.sort();
    all
}

/// The same packet behind VLAN tags or MPLS labels, or cut off anywhere in its headers.
fn varied((time, wire_len, data): &Owned, numbers: &mut Numbers) -> Owned {
    let front: &[&[u8]] = match numbers.below(8) {
        0 => &[&[0x81, 0, 0, 30]],
        1 => &[&[0x88, 0xa8, 0x20, 40], &[0x81, 0, 0, 30]],
        2 => &[&[0x91, 0, 0, 50]],
        3 => &[&[0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x81, 0, 0, 4, 0x81, 0, 0, 5]],
        4 => &[&[0x88, 0x47, 0, 1, 0x01, 64]],
        5 => &[&[0x81, 0, 0, 30], &[0x88, 0x47, 0, 2, 0x00, 64], &[0, 1, 0x01, 64]],
        _ => &[],
    };
    let labelled = front.iter().any(|part| part.starts_with(&[0x88, 0x47]));
    let rest = if labelled { &data[14..] } else { &data[12..] };
    let mut out = [&data[..12], &front.concat(), rest].concat();
    let added = (out.len() as u32).saturating_sub(data.len() as u32);
    if front.is_empty() || numbers.below(3) == 0 {
        out.truncate(numbers.below(90));
    }
    (*time + 1, wire_len + added, out)
}

/// Writes a ring of three lanes in several runs; blocks are small because the lanes are told the time.
pub(super) fn write_in_runs(config: &RingConfig, link: LinkType, frames: &[Owned]) {
    let config = RingConfig { flush_ms: 1, ..config.clone() };
    for part in frames.chunks(frames.len().div_ceil(RUNS)) {
        let mut ring = Ring::open(&config, 3, RingMode::Replay, Timestamp(0)).unwrap();
        let mut lanes: Vec<_> = (0..3).map(|index| ring.lane(index).unwrap()).collect();
        let mut counters = RingCounters::default();
        for (at, (time, wire_len, data)) in part.iter().enumerate() {
            let frame = Frame { time: Timestamp(*time), link, interface: 0, wire_len: *wire_len, data };
            let lane = &mut lanes[at / 7 % 3];
            lane.append(&frame, flow(&frame).as_ref().map(CommunityId::tag), None, &mut counters);
            if at % TICK_FRAMES == 0 {
                lanes.iter_mut().for_each(|lane| lane.tick(Timestamp(*time + 1_000_000)));
            }
        }
        drop(lanes);
        assert_eq!(ring.close().frames as usize, part.len());
    }
}

/// What a capture holds that expressions can name.
#[derive(Debug, Default)]
struct Words {
    v4: BTreeSet<Ipv4Addr>,
    v6: BTreeSet<Ipv6Addr>,
    macs: BTreeSet<String>,
    ports: BTreeSet<u16>,
    protocols: BTreeSet<u8>,
    vlans: BTreeSet<u16>,
}

impl Words {
    fn of(link: LinkType, frames: &[Owned]) -> Words {
        let mut words = Words::default();
        for (_, _, data) in frames {
            let mut rest = &data[..];
            match link {
                LinkType::ETHERNET => {
                    let Some((addresses, behind)) = rest.split_first_chunk::<12>() else { continue };
                    words.macs.insert(
                        addresses[6..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
                    );
                    rest = behind;
                    while let [0x81 | 0x88 | 0x91, 0 | 0xa8, high, low, ..] = rest {
                        words.vlans.insert(u16::from_be_bytes([high & 15, *low]));
                        rest = &rest[4..];
                    }
                    rest = rest.get(2..).unwrap_or_default();
                }
                LinkType::LINUX_SLL => rest = rest.get(16..).unwrap_or_default(),
                LinkType::LINUX_SLL2 => rest = rest.get(20..).unwrap_or_default(),
                _ => {}
            }
            words.packet(rest);
        }
        words
    }

    fn packet(&mut self, ip: &[u8]) {
        let ports = match ip.first().map(|first| first >> 4) {
            Some(4) if ip.len() >= 24 => {
                self.protocols.insert(ip[9]);
                self.v4.extend([12, 16].map(|at| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3])));
                ip.get(20..24)
            }
            Some(6) if ip.len() >= 44 => {
                self.protocols.insert(ip[6]);
                for at in [8, 24] {
                    let address: [u8; 16] = ip[at..at + 16].try_into().unwrap();
                    self.v6.insert(address.into());
                }
                ip.get(40..44)
            }
            _ => None,
        };
        if let Some(ports) = ports {
            self.ports.extend([0, 2].map(|at| u16::from_be_bytes([ports[at], ports[at + 1]])));
        }
    }
}

/// Writes expressions of the words of a capture and of words that are not in it.
struct Author {
    numbers: Numbers,
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    macs: Vec<String>,
    ports: Vec<u16>,
    protocols: Vec<u8>,
    vlans: Vec<u16>,
}

impl Author {
    fn new(words: Words, seed: u64) -> Author {
        let mut author = Author {
            numbers: Numbers::new(seed),
            v4: words.v4.into_iter().collect(),
            v6: words.v6.into_iter().collect(),
            macs: words.macs.into_iter().collect(),
            ports: words.ports.into_iter().collect(),
            protocols: words.protocols.into_iter().collect(),
            vlans: words.vlans.into_iter().collect(),
        };
        // One in so many is not there; where a capture has none of a kind, all are not.
        author.v4.extend([Ipv4Addr::new(192, 0, 2, 77), Ipv4Addr::new(10, 10, 0, 250)]);
        author.v6.extend([Ipv6Addr::from(0x2001_0db8 << 96 | 0x77), Ipv6Addr::LOCALHOST]);
        author.macs.push("02:00:5e:77:77:77".into());
        author.ports.extend([9, 65_535]);
        author.protocols.extend([47, 200]);
        author.vlans.extend([77, 0]);
        author
    }

    fn expression(&mut self, depth: usize) -> String {
        let mut text = String::new();
        let terms = 1 + self.numbers.below(if depth == 0 { 4 } else { 3 });
        for at in 0..terms {
            if at > 0 {
                text.push_str(self.numbers.one_of(&[" and ", " or ", " && ", " || "]));
            }
            text.push_str(self.numbers.one_of(&["", "", "", "", "not ", "! ", "not not "]));
            if depth < 3 && self.numbers.below(5) == 0 {
                text.push_str(&format!("({})", self.expression(depth + 1)));
            } else {
                text.push_str(&self.primitive());
            }
        }
        match self.numbers.below(if depth == 0 { 16 } else { usize::MAX }) {
            0 => format!("vlan and ({text})"),
            1 => format!("vlan {} and {text}", self.numbers.one_of(&self.vlans)),
            2 => format!("{text} or vlan {}", self.numbers.one_of(&self.vlans)),
            3 => format!("mpls and {text}"),
            4 => format!("{text} and not mpls"),
            _ => text,
        }
    }

    fn primitive(&mut self) -> String {
        let way = self.numbers.one_of(&["", "", "src ", "dst ", "src or dst ", "src and dst "]);
        let transport = self.numbers.one_of(&["", "", "tcp ", "udp ", "sctp "]);
        match self.numbers.below(12) {
            0..=2 => self.address(way),
            3 | 4 => match self.numbers.below(4) {
                0 => format!("{transport}{way}portrange {}", self.range()),
                1 => format!("port {} or {}", self.port(), self.port()),
                // libpcap reads a number that begins with 0 as octal.
                2 => format!("{way}port 0{:o}", self.port()),
                _ => format!("{transport}{way}port {}", self.port()),
            },
            5 => {
                let mac = self.numbers.one_of(&self.macs);
                format!("ether {}{mac}", self.numbers.one_of(&["host ", "src ", "dst "]))
            }
            6 => {
                let protocol = self.numbers.one_of(&self.protocols);
                let family = self.numbers.one_of(&["ip ", "ip6 ", ""]);
                format!("{family}proto {protocol}")
            }
            7 | 8 => self.numbers.one_of(&PLAIN).to_owned(),
            9 | 10 => self.numbers.one_of(&BYTES).to_owned(),
            _ => format!("{} {}", self.numbers.one_of(&["less", "greater"]), self.numbers.below(1600)),
        }
    }

    fn address(&mut self, way: &str) -> String {
        let v4 = self.numbers.one_of(&self.v4);
        let v6 = self.numbers.one_of(&self.v6);
        let octets = v4.octets();
        match self.numbers.below(9) {
            0..=2 => format!("{way}host {v4}"),
            3 => format!("{}host {v4}", self.numbers.one_of(&["ip ", "arp ", "rarp "])),
            4 => {
                let bits = 1 + self.numbers.below(32) as u32;
                format!("{way}net {}/{bits}", Ipv4Addr::from(u32::from(v4) & u32::MAX << (32 - bits)))
            }
            5 => format!("{way}net {}.{}", octets[0], octets[1]),
            6 => format!("net {}.{}.0.0 mask 255.255.0.0", octets[0], octets[1]),
            7 => format!("{way}host {v6}"),
            _ => {
                let bits = 1 + self.numbers.below(128) as u32;
                format!("{way}net {}/{bits}", Ipv6Addr::from(u128::from(v6) & u128::MAX << (128 - bits)))
            }
        }
    }

    fn port(&mut self) -> u16 {
        self.numbers.one_of(&self.ports)
    }

    fn range(&mut self) -> String {
        let (from, width) = (self.port(), self.numbers.below(3000) as u16);
        format!("{from}-{}", from.saturating_add(width))
    }
}

const PLAIN: [&str; 20] = [
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "sctp",
    "igmp",
    "vlan",
    "mpls",
    "pppoes",
    "broadcast",
    "multicast",
    "ip multicast",
    "ip6 multicast",
    "ether multicast",
    "ether proto 0x0806",
    "ether proto \\ip6",
];

const BYTES: [&str; 25] = [
    // Behind the first 128 bytes of a frame, which are stored apart, and as far as a byte says.
    "ether[127] > 100",
    "ether[128] > 100",
    "udp[200:2] > 7",
    "ip[150] & 1 = 1",
    "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
    "len - 14 > ip[2:2]",
    "ip[ip[3]] != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[tcpflags] == tcp-syn",
    "tcp[13] & 4 != 0",
    "tcp[0:2] = 80",
    "udp[4:2] > 100",
    "ip[8] < 64",
    "ip[6:2] & 0x1fff != 0",
    "ip[6:2] & 0x3fff != 0",
    "ip[2:2] > 576",
    "ip[12:4] = 0x0a0a0002",
    "ip6[6] = 58",
    "ip6[40] = 128",
    "icmp[icmptype] = icmp-echo",
    "icmp[icmptype] == icmp-unreach",
    "icmp[0] != 8",
    "ether[0] & 1 = 1",
    "ether[12:2] = 0x86dd",
    "len > 500 and len <= 1000",
];

/// In which forms the indexes of a ring are when it is asked.
#[derive(Clone, Copy, Debug)]
enum Indexes {
    /// All sealed, as after an orderly end.
    Sealed,
    /// Every third sealed; of the others some are journals, some are cut short, damaged, or gone.
    Mixed,
}

/// A journal in place of a sealed index, none at all, one that lacks its end, one with a page changed.
fn mix(at: usize, files: &SegmentFiles) {
    let write = |bytes: &[u8]| std::fs::write(&files.index, bytes).unwrap();
    let bytes = std::fs::read(&files.index).unwrap();
    match at % 6 {
        1 => crate::ring::testing::unseal(files, flow),
        2 => std::fs::remove_file(&files.index).unwrap(),
        3 => {
            crate::ring::testing::unseal(files, flow);
            let journal = std::fs::read(&files.index).unwrap();
            write(&journal[..journal.len() * 2 / 3]);
        }
        4 => write(&bytes[..bytes.len() / 2]),
        5 => {
            let mut bytes = bytes;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            write(&bytes);
        }
        _ => {}
    }
}

/// How many expressions were compared, how many of them with tcpdump, and what the index spared.
#[derive(Debug, Default)]
struct Compared {
    expressions: usize,
    with_tcpdump: usize,
    found: usize,
    spared: u64,
}

/// Asks the ring and a full scan the same questions.
fn ask_all(link: LinkType, frames: &[Owned], wanted: usize, tcpdump_every: usize) -> [Compared; 2] {
    let directory = tempfile::tempdir().unwrap();
    let ring = directory.path().join("ring");
    write_in_runs(&config(&ring), link, frames);
    let file = directory.path().join("all.pcap");
    std::fs::write(&file, pcap(link.0, frames)).unwrap();
    let mut author = Author::new(Words::of(link, frames), u64::from(link.0));
    let mut questions: Vec<(String, Vec<Owned>)> = Vec::new();
    while questions.len() < wanted {
        let expression = author.expression(0);
        // libpcap refuses what can never match, and so does the query.
        let Ok(filter) = Filter::compile(&expression, link) else { continue };
        if questions.iter().any(|(asked, _)| *asked == expression) {
            continue;
        }
        let matches = |frame: &&Owned| filter.matches(&frame.2, frame.1);
        questions.push((expression, frames.iter().filter(matches).cloned().collect()));
    }
    let mut with_tcpdump = 0;
    if Command::new("tcpdump").arg("--version").output().is_ok() {
        for (expression, want) in questions.iter().step_by(tcpdump_every) {
            let found = tcpdump(&file, expression);
            assert!(found.is_some_and(|found| sorted(found) == *want), "tcpdump differs: {expression}");
            with_tcpdump += 1;
        }
    } else {
        eprintln!("skipped: tcpdump is not installed; libpcap's program alone is the oracle");
        with_tcpdump = questions.len();
    }
    let count = segments(&ring, None).unwrap().len();
    assert!(count >= RUNS * 2, "{count} segments");
    [Indexes::Sealed, Indexes::Mixed].map(|indexes| {
        if let Indexes::Mixed = indexes {
            segments(&ring, None).unwrap().iter().enumerate().for_each(|(at, files)| mix(at, files));
        }
        let mut compared = Compared { with_tcpdump, ..Compared::default() };
        for (expression, want) in &questions {
            let (got, answer) = collect(&query(&ring, expression));
            assert!(got.is_sorted_by_key(|frame| frame.0), "{indexes:?} {expression}");
            assert_eq!(got.len(), want.len(), "{indexes:?} {link:?}: {expression}");
            assert!(sorted(got) == *want, "{indexes:?} {link:?}: {expression}");
            let count = query(&ring, expression).count(Timestamp(u64::MAX), &Addresses).unwrap();
            assert_eq!(count.frames as usize, want.len(), "{indexes:?} {link:?}: {expression}, counted");
            compared.expressions += 1;
            compared.found += want.len();
            compared.spared += answer.cost.blocks - answer.cost.blocks_to_read;
        }
        compared
    })
}

#[test]
fn generated_expressions_over_real_captures_give_what_tcpdump_gives() {
    let frames = ethernet_frames();
    let [sealed, mixed] = ask_all(LinkType::ETHERNET, &frames, EXPRESSIONS, TCPDUMP_EVERY);
    println!("{sealed:?} {mixed:?}");
    for compared in [&sealed, &mixed] {
        assert!(compared.expressions >= 200 && compared.with_tcpdump >= 40, "{compared:?}");
        assert!(compared.found > 100_000, "{compared:?}");
    }
    // The index is worth something, and less where it is missing.
    assert!(sealed.spared > 1000 && mixed.spared < sealed.spared && mixed.spared > 0, "{sealed:?} {mixed:?}");
}

#[test]
fn generated_expressions_over_other_link_types_give_what_tcpdump_gives() {
    for name in ["raw-ip.pcap", "cooked-v1.pcap", "cooked-v2.pcap"] {
        let (link, mut frames) = captured(name);
        frames.sort();
        let [sealed, mixed] = ask_all(link, &frames, EXPRESSIONS_OTHER, EXPRESSIONS_OTHER / 10);
        assert!(sealed.found > 100 && sealed.spared > 0 && mixed.with_tcpdump >= 10, "{name}: {sealed:?}");
    }
}

/// Each of these frames stands alone in its block, so that no other frame keeps the block in the plan.
#[test]
fn a_frame_that_is_cut_off_in_its_header_is_found_by_what_is_left_of_it() {
    let mut v6 = vec![2; 12];
    v6.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
    v6.extend_from_slice(&Ipv6Addr::from(0xfe80 << 112 | 1).octets());
    v6.extend_from_slice(&Ipv6Addr::from(0x2001_0db8 << 96 | 2).octets());
    v6.extend_from_slice(&[0, 53, 0, 53, 0, 8, 0, 0]);
    let v4 = [
        &[2; 12][..],
        &[8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 8, 0, 7, 0, 8, 0, 0],
    ]
    .concat();
    let arp = [
        &[2; 12][..],
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 1, 1, 1, 1, 1, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2],
    ]
    .concat();
    let tagged = [&v4[..12], &[0x81, 0, 0, 8], &v4[12..]].concat();
    let expressions = [
        "src net fe80::/10",
        "dst net 2001:db8::/32",
        "dst net 2001:db8::/48",
        "net 2001:db8::/80",
        "net fe80::/72",
        "host fe80::1",
        "ip6 proto 17",
        "udp",
        "port 53",
        "port 010",
        "udp src port 010",
        "port 7",
        "ip proto 021",
        "host 10.0.0.1",
        "dst net 10.0.0.0/8",
        "arp host 10.0.0.1",
        "arp dst host 10.0.0.2",
        "vlan",
        "vlan 8",
        "vlan 010",
        "vlan and ip",
        "vlan and port 8",
        "vlan and host 10.0.0.2",
    ];
    let mut found = 0;
    for data in [v6, v4, arp, tagged] {
        for length in 0..=data.len() {
            let summary = crate::ring::fuzzing::summary_of_frame(LinkType::ETHERNET, &data[..length]);
            let summary = crate::ring::summary::Summary::parse(&summary).unwrap();
            for expression in expressions {
                let filter = Filter::compile(expression, LinkType::ETHERNET).unwrap();
                if filter.matches(&data[..length], data.len() as u32) {
                    assert!(
                        Need::of(expression).may_match(&summary),
                        "{expression}: {:02x?}",
                        &data[..length]
                    );
                    found += 1;
                }
            }
        }
    }
    assert!(found > 300, "{found}");
}
