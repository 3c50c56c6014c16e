//! How far into a frame a filter program looks.
//!
//! In: a program of the classic BPF (bpf(4), libpcap's `bpf_filter`). Out: an upper bound of the bytes it can
//! load, or none. With that many bytes of a frame, or all there are, the program decides as on the whole
//! frame: each load finds the same bytes, and one beyond the captured end fails in both. Deliberately absent:
//! running the program, and any precision that conditions would give; what is not understood has no bound.

/// Words of scratch memory that a program has.
const MEMORY_WORDS: usize = 16;
/// Most that `4*([k]&0xf)` comes to: the length of an IPv4 header.
const HEADER_BYTES_MAX: u32 = 60;

/// One instruction, as `struct bpf_insn` lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jump_true: u8,
    pub(super) jump_false: u8,
    pub(super) operand: u32,
}

/// Parts of an instruction's code (net/bpf.h).
mod code {
    pub(super) const CLASS: u16 = 0x07;
    pub(super) const LD: u16 = 0x00;
    pub(super) const LDX: u16 = 0x01;
    pub(super) const ST: u16 = 0x02;
    pub(super) const STX: u16 = 0x03;
    pub(super) const ALU: u16 = 0x04;
    pub(super) const JMP: u16 = 0x05;
    pub(super) const RET: u16 = 0x06;

    pub(super) const SIZE: u16 = 0x18;
    pub(super) const W: u16 = 0x00;
    pub(super) const H: u16 = 0x08;
    pub(super) const B: u16 = 0x10;

    pub(super) const MODE: u16 = 0xe0;
    pub(super) const IMM: u16 = 0x00;
    pub(super) const ABS: u16 = 0x20;
    pub(super) const IND: u16 = 0x40;
    pub(super) const MEM: u16 = 0x60;
    pub(super) const LEN: u16 = 0x80;
    pub(super) const MSH: u16 = 0xa0;

    pub(super) const OPERATION: u16 = 0xf0;
    pub(super) const ADD: u16 = 0x00;
    pub(super) const MUL: u16 = 0x20;
    pub(super) const DIV: u16 = 0x30;
    pub(super) const OR: u16 = 0x40;
    pub(super) const AND: u16 = 0x50;
    pub(super) const LSH: u16 = 0x60;
    pub(super) const RSH: u16 = 0x70;
    pub(super) const MOD: u16 = 0x90;
    pub(super) const XOR: u16 = 0xa0;
    pub(super) const BY_X: u16 = 0x08;

    pub(super) const JA: u16 = 0x00;
    pub(super) const TXA: u16 = 0x80;
}

/// The most that each register may hold.
#[derive(Clone, Copy, Debug)]
struct Most {
    a: u32,
    x: u32,
    memory: [u32; MEMORY_WORDS],
}

impl Most {
    /// What a program begins with; its memory may hold anything.
    const BEGIN: Most = Most { a: 0, x: 0, memory: [u32::MAX; MEMORY_WORDS] };

    fn join(&mut self, other: &Most) {
        self.a = self.a.max(other.a);
        self.x = self.x.max(other.x);
        for (mine, other) in self.memory.iter_mut().zip(other.memory) {
            *mine = (*mine).max(other);
        }
    }
}

/// One past the last byte that a program can load; none: no bound is known.
///
/// Classic BPF jumps forward, so that one walk in the program's order meets each instruction after all that
/// lead to it. Only `protochain` makes libpcap jump backward, and such a program has no bound.
pub(super) fn reach(program: &[Instruction]) -> Option<u32> {
    let mut before: Vec<Option<Most>> = vec![None; program.len()];
    *before.first_mut()? = Some(Most::BEGIN);
    let mut reach = 0;
    for (at, instruction) in program.iter().enumerate() {
        // Nothing leads here.
        let Some(mut most) = before.get(at).copied().flatten() else { continue };
        reach = reach.max(step(instruction, &mut most)?);
        for next in following(at, instruction)?.into_iter().flatten() {
            match before.get_mut(next)? {
                Some(known) => known.join(&most),
                none => *none = Some(most),
            }
        }
    }
    Some(reach)
}

/// Where the program may go on; none: backward, or further than can be counted.
fn following(at: usize, instruction: &Instruction) -> Option<[Option<usize>; 2]> {
    let next = at.checked_add(1)?;
    let Instruction { code, jump_true, jump_false, operand } = *instruction;
    Some(match code & code::CLASS {
        code::RET => [None, None],
        code::JMP if code & code::OPERATION == code::JA => {
            let forward = u32::try_from(i32::try_from(operand).ok()?).ok()?;
            [Some(next.checked_add(usize::try_from(forward).ok()?)?), None]
        }
        code::JMP => [Some(next + usize::from(jump_true)), Some(next + usize::from(jump_false))],
        _ => [Some(next), None],
    })
}

/// Takes one instruction; gives one past the last byte it may load.
fn step(instruction: &Instruction, most: &mut Most) -> Option<u32> {
    let Instruction { code, operand, .. } = *instruction;
    match code & code::CLASS {
        code::LD => {
            let (value, reach) = load(code, operand, most)?;
            most.a = value;
            return Some(reach);
        }
        code::LDX if code & code::MODE == code::MSH => {
            most.x = HEADER_BYTES_MAX;
            return operand.checked_add(1);
        }
        code::LDX => {
            let (value, reach) = load(code, operand, most)?;
            most.x = value;
            return Some(reach);
        }
        code::ST => *most.memory.get_mut(usize::try_from(operand).ok()?)? = most.a,
        code::STX => *most.memory.get_mut(usize::try_from(operand).ok()?)? = most.x,
        code::ALU => most.a = computed(code, operand, most),
        code::JMP | code::RET => {}
        // What is left are the two moves between A and X.
        _ if code & code::TXA != 0 => most.a = most.x,
        _ => most.x = most.a,
    }
    Some(0)
}

/// The most that a load gives, and one past the last byte that it reads.
fn load(code: u16, operand: u32, most: &Most) -> Option<(u32, u32)> {
    let (value, bytes) = match code & code::SIZE {
        code::B => (0xff, 1),
        code::H => (0xffff, 2),
        code::W => (u32::MAX, 4),
        _ => return None,
    };
    Some(match code & code::MODE {
        code::IMM => (operand, 0),
        code::ABS => (value, operand.checked_add(bytes)?),
        code::IND => (value, operand.checked_add(most.x)?.checked_add(bytes)?),
        code::MEM => (*most.memory.get(usize::try_from(operand).ok()?)?, 0),
        // The length on the wire, which is known without the frame's bytes.
        code::LEN => (u32::MAX, 0),
        _ => return None,
    })
}

/// The most that arithmetic leaves in A; what may wrap may be anything.
fn computed(code: u16, operand: u32, most: &Most) -> u32 {
    let by = if code & code::BY_X != 0 { most.x } else { operand };
    let exact = code & code::BY_X == 0;
    match code & code::OPERATION {
        code::ADD => most.a.saturating_add(by),
        code::MUL => most.a.saturating_mul(by),
        // A divisor that is not known is at least 1.
        code::DIV if exact => most.a.checked_div(operand).unwrap_or(u32::MAX),
        code::DIV | code::RSH if !exact => most.a,
        code::RSH => most.a.checked_shr(operand).unwrap_or(0),
        code::MOD if exact => most.a.min(operand.saturating_sub(1)),
        code::MOD => most.a,
        code::AND => most.a.min(by),
        // No bit above the highest of both can be set.
        code::OR | code::XOR => u32::MAX.checked_shr((most.a | by).leading_zeros()).unwrap_or(0),
        code::LSH if exact => {
            let shifted = u64::from(most.a).checked_shl(operand).unwrap_or(u64::MAX);
            if operand < u32::BITS { u32::try_from(shifted).unwrap_or(u32::MAX) } else { u32::MAX }
        }
        _ => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use crate::capture::bpf::Filter;
    use crate::capture::file::FileSource;
    use crate::capture::{BatchEnd, FrameSource, LinkType};

    fn reach(expression: &str) -> Option<u32> {
        Filter::compile(expression, LinkType::ETHERNET).unwrap().reach()
    }

    #[test]
    fn the_last_byte_a_program_can_load_is_known() {
        for (expression, want) in [
            ("", Some(0)),
            ("greater 1000", Some(0)),
            ("ip", Some(14)),
            ("ip[8] < 5", Some(23)),
            ("ether[100:4] = 1", Some(104)),
            // The IPv4 header has at most 60 bytes.
            ("tcp[13] & 2 != 0", Some(14 + 60 + 14)),
            ("udp port 53", Some(14 + 60 + 4)),
            ("vlan and udp port 53", Some(18 + 60 + 4)),
            ("len > 100 and ip6 host ::1", Some(14 + 40)),
            // Two lengths taken from the packet add up: 60 and 60, or 60 and 4 times 255.
            ("tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420", Some(14 + 60 + 60 + 4)),
            ("udp[udp[4] * 4] = 1", Some(14 + 60 + 1020 + 1)),
        ] {
            assert_eq!(reach(expression), want, "{expression}");
        }
    }

    #[test]
    fn what_the_packet_decides_without_a_limit_has_no_bound() {
        for expression in ["ip[ip[4:4]] = 1", "ip[ip[2] - ip[3]] = 1", "ip6 protochain 6", "ip[-ip[2]] = 0"] {
            assert_eq!(reach(expression), None, "{expression}");
        }
    }

    /// Frames of the bundled captures, and each of them tagged, with IP options, and with bytes changed.
    fn frames() -> Vec<(LinkType, Vec<u8>)> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/captures");
        let mut frames = Vec::new();
        let mut files: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "pcap")) {
            let mut source = FileSource::open(file.to_str().unwrap()).unwrap();
            let before = frames.len();
            while frames.len() < before + 60 {
                let end = source.read_batch(&mut |batch| {
                    frames.extend(batch.iter().map(|frame| (frame.link, frame.data.to_vec())));
                });
                if end.unwrap() == BatchEnd::End {
                    break;
                }
            }
            frames.truncate(before + 60);
        }
        let mut next = random(7);
        for at in 0..frames.len() {
            let (link, data) = frames[at].clone();
            if link == LinkType::ETHERNET && data.len() > 14 {
                let tag = [0x81, 0, 0, 10];
                frames.push((link, [&data[..12], &tag, &data[12..]].concat()));
                frames.push((link, [&data[..12], &tag, &tag, &data[12..]].concat()));
                if data[12..15] == [8, 0, 0x45] {
                    let options = 4 * (1 + next(10));
                    let mut longer = [&data[..34], &vec![1; options], &data[34..]].concat();
                    longer[14] = 0x45 + (options / 4) as u8;
                    frames.push((link, longer));
                }
            }
            let mut changed = data;
            for _ in 0..4 {
                let place = next(changed.len().max(1));
                if let Some(byte) = changed.get_mut(place) {
                    *byte = next(256) as u8;
                }
            }
            frames.push((link, changed));
        }
        frames
    }

    fn random(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        }
    }

    const PRIMITIVES: [&str; 44] = [
        "ip",
        "ip6",
        "arp",
        "tcp",
        "udp",
        "icmp",
        "icmp6",
        "sctp",
        "vlan",
        "mpls",
        "pppoes",
        "port 53",
        "port 80",
        "src port 443",
        "tcp dst port 22",
        "portrange 1000-50000",
        "host 10.0.0.1",
        "net 10.0.0.0/8",
        "ip6 net fe80::/10",
        "src host 127.0.0.1",
        "less 100",
        "greater 500",
        "len = 74",
        "tcp[13] & 2 != 0",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "udp[8:2] = 1",
        "udp[10] & 0x80 != 0",
        "ip[6:2] & 0x1fff = 0",
        "ip[0] & 0xf > 5",
        "ip[8] < 64",
        "ether[0] & 1 = 0",
        "ether[100:4] > 0x10000000",
        "ether[400] > 32",
        "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
        "udp[udp[4] * 4] > 10",
        "ip[ip[3]] > 100",
        "ip[ip[2:2] - 1] > 9",
        "ip[(ip[0] & 0xf) << 2] > 2",
        "icmp[0] = 8",
        "ip proto 17",
        "ip6[6] = 58",
        "ether broadcast",
        "ip[2:2] > ip[4:2]",
        "tcp[20:4] != 0",
    ];

    #[test]
    fn a_program_says_of_the_bytes_it_reaches_what_it_says_of_the_whole_frame() {
        let frames = frames();
        let mut next = random(1);
        let (mut asked, mut short, mut decided, mut matched) = (0, 0, 0u64, 0u64);
        for number in 0..500 {
            let mut expression = PRIMITIVES[number % PRIMITIVES.len()].to_owned();
            for _ in 0..next(3) {
                let (join, not) = ([" and ", " or "][next(2)], ["", "not "][next(2)]);
                expression = format!("({expression}){join}{not}({})", PRIMITIVES[next(PRIMITIVES.len())]);
            }
            for link in [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL, LinkType::LINUX_SLL2] {
                // libpcap refuses what can never match, and what a link type does not have.
                let Ok(filter) = Filter::compile(&expression, link) else { continue };
                let Some(reach) = filter.reach() else { continue };
                asked += 1;
                short += usize::from(reach <= 128);
                for (_, data) in frames.iter().filter(|frame| frame.0 == link) {
                    let head = &data[..data.len().min(reach as usize)];
                    let whole = filter.matches(data, data.len() as u32);
                    assert_eq!(
                        filter.matches(head, data.len() as u32),
                        whole,
                        "{expression} reaches {reach}"
                    );
                    decided += u64::from(head.len() < data.len());
                    matched += u64::from(whole);
                }
            }
        }
        assert!(asked > 900 && short > 600, "{asked} {short}");
        assert!(decided > 100_000 && matched > 50_000, "{decided} {matched}");
    }
}
