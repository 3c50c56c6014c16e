//! What a flow's packets say beyond counts: sizes, gaps, first packets, entropy, link addresses, and how TCP went.
//!
//! In: each packet of a flow, with which of the key's ends sent it. Out: the [`Features`] of the flow's record.
//!
//! Two cache lines lie with the flow: TCP's state and the flow's first four packets, which is all that most flows
//! have. What longer or troubled flows need stands apart in an [`Extra`], whose memory is bounded by
//! `flow.features_bytes_max`. Everything here goes by the key's ends, not by initiator and responder, so that
//! nothing has to be exchanged when these turn out to be the other way round.

mod extra;
mod segments;

pub(super) use extra::Room;
pub(super) use segments::Segment;

use super::config::FlowConfig;
use crate::decode::Packet;
use extra::{Extra, Sizes};
use std::sync::LazyLock;
use weir_common::features::{
    ConnectionState, DirectionFeatures, FIRST_PACKETS_MAX, Features, History, PacketBrief, TcpTrouble,
};
use weir_common::net::Direction;
use weir_common::record::tcp_flags;

/// Packets of a flow that are kept with it; with the fifth they move to its [`Extra`].
const BRIEFS: usize = 4;
/// Most octets that entropy is computed of.
const ENTROPY_BYTES_MAX: usize = 1024;
/// A round trip that was not seen.
const NOT_SEEN: u32 = u32::MAX;
/// A round trip that will not be known any more.
const AMBIGUOUS: u32 = NOT_SEEN - 1;

/// What is to be noted of flows, from the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    splt_packets: usize,
    splt_empty_packets: bool,
    statistics: bool,
    entropy_bytes: usize,
}

impl Limits {
    pub(super) fn new(config: &FlowConfig) -> Limits {
        Limits {
            splt_packets: usize::from(config.splt_packets).min(FIRST_PACKETS_MAX),
            splt_empty_packets: config.splt_empty_packets,
            statistics: config.statistics,
            entropy_bytes: usize::from(config.entropy_bytes).min(ENTROPY_BYTES_MAX),
        }
    }

    /// Whether packets are to be noted one by one.
    fn wants_packets(&self) -> bool {
        self.statistics || self.splt_packets > 0
    }
}

/// One packet, as short as can be: ten bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Brief {
    /// Microseconds since the slice's start, in two halves for the sake of alignment.
    time: [u16; 2],
    octets: u16,
    payload: u16,
    tcp_flags: u8,
    /// Which end sent it, and [`Brief::LISTED`].
    side: u8,
}

impl Brief {
    /// It is one of those that the record lists.
    const LISTED: u8 = 2;

    fn side(&self) -> usize {
        usize::from(self.side & 1)
    }

    fn is_listed(&self) -> bool {
        self.side & Brief::LISTED != 0
    }

    fn time_us(&self) -> u32 {
        u32::from(self.time[0]) | u32::from(self.time[1]) << 16
    }

    fn set_time_us(&mut self, time_us: u32) {
        self.time = [time_us as u16, (time_us >> 16) as u16];
    }
}

/// One end of a TCP connection, and the entropy of what it sent.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Sequence number after the highest one that was sent.
    next: u32,
    /// Acknowledgement number it sent last.
    acked: u32,
    /// Window it sent last, and first; unscaled.
    window: u16,
    initial_window: u16,
    /// See [`segments`]: the state, and the one before in the upper half.
    states: u8,
    /// See [`known`].
    known: u8,
    entropy: u8,
    /// How much of the octets wanted the entropy is of: 0 none, 255 all.
    entropy_share: u8,
}

/// What is known of an end.
mod known {
    /// Where its sequence numbers go on.
    pub(super) const NEXT: u8 = 1;
    /// What it acknowledged last.
    pub(super) const ACKED: u8 = 2;
    /// Its first window.
    pub(super) const WINDOW: u8 = 4;
    /// Its link addresses are those in [`super::Live::macs`].
    pub(super) const MACS: u8 = 8;
    /// Its link addresses are those in there the other way round.
    pub(super) const MACS_SWAPPED: u8 = 16;
    /// Its link addresses are in the extra.
    pub(super) const MACS_EXTRA: u8 = 32;
    /// They were looked for.
    pub(super) const LINK: u8 = 64;
    /// Its last segment was a keep-alive.
    pub(super) const KEEP_ALIVE: u8 = 128;
}

/// How many of the first packets are with the flow: a number, and these bits.
mod briefs {
    pub(super) const COUNT: u8 = 0x0f;
    /// Sizes and gaps are not wanted.
    pub(super) const NO_STATISTICS: u8 = 0x20;
    /// They have moved to the extra, and all further ones go there.
    pub(super) const MOVED: u8 = 0x40;
    /// There was no room for that; packets are not noted any more.
    pub(super) const NO_ROOM: u8 = 0x80;
}

/// What is noted of a flow while it lives. The first cache line is TCP's, the second that of all packets.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Live {
    ends: [End; 2],
    /// Letters of the history, five bits each: see [`segments`].
    letters: [u64; 2],
    /// Time of the handshake's last step, the low bits of its microseconds.
    handshake_us: u32,
    server_rtt_us: u32,
    client_rtt_us: u32,
    /// Which letters were noted that are noted once, seven bits for each end, and [`extra::REFUSED`].
    once: u16,
    letters_len: u8,
    briefs_len: u8,

    extra: Option<Box<Extra>>,
    briefs: [Brief; BRIEFS],
    /// Source and destination of the first packet.
    macs: [[u8; 6]; 2],
    /// Low bits of the sequence number of the last RST.
    last_rst: u16,
    /// Retransmissions of each end, while they are few and there is no extra: unanswered SYNs are repeated often.
    repeats: [u8; 2],
}

impl Default for Live {
    fn default() -> Live {
        Live {
            ends: [End::default(); 2],
            letters: [0; 2],
            handshake_us: 0,
            server_rtt_us: NOT_SEEN,
            client_rtt_us: NOT_SEEN,
            once: 0,
            letters_len: 0,
            briefs_len: 0,
            extra: None,
            briefs: [Brief::default(); BRIEFS],
            macs: [[0; 6]; 2],
            last_rst: 0,
            repeats: [0; 2],
        }
    }
}

impl Live {
    /// One word of each cache line, to load them.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        u64::from(self.ends[0].next) ^ u64::from(self.last_rst)
    }

    /// Notes a packet from one of the key's ends, `since_start_us` after the slice's start.
    #[inline]
    pub(super) fn note(
        &mut self,
        packet: &Packet<'_>,
        side: usize,
        since_start_us: u64,
        flags: u16,
        room: &mut Room,
    ) {
        let end = &mut self.ends[side & 1];
        if end.known & known::LINK == 0 {
            self.note_link(packet, side, room);
        }
        let limits = room.limits;
        let end = &mut self.ends[side & 1];
        if !packet.payload.is_empty() && end.entropy_share != u8::MAX && limits.entropy_bytes > 0 {
            note_entropy(end, packet.payload, limits.entropy_bytes);
        }
        if !limits.statistics {
            self.briefs_len |= briefs::NO_STATISTICS;
        }
        if !limits.wants_packets() || self.briefs_len & briefs::NO_ROOM != 0 {
            return;
        }
        let payload = if packet.is_partial { 0 } else { packet.payload_octets() };
        let is_listed = payload > 0 || limits.splt_empty_packets;
        let mut brief = Brief {
            time: [0; 2],
            octets: saturate(packet.ip.octets),
            payload: saturate(payload),
            tcp_flags: flags as u8,
            side: side as u8 & 1 | if is_listed { Brief::LISTED } else { 0 },
        };
        brief.set_time_us(u32::try_from(since_start_us).unwrap_or(u32::MAX));
        if self.briefs_len & briefs::MOVED == 0 {
            let count = usize::from(self.briefs_len & briefs::COUNT);
            if limits.splt_packets <= count && self.listed().count() >= limits.splt_packets {
                brief.side &= !Brief::LISTED;
            }
            if let Some(place) = self.briefs.get_mut(count) {
                *place = brief;
                self.briefs_len += 1;
                return;
            }
            self.move_briefs(room);
        }
        if let Some(extra) = &mut self.extra {
            extra.note(&brief, since_start_us, room);
        }
    }

    /// The packets so far go where there is room for more.
    #[cold]
    fn move_briefs(&mut self, room: &mut Room) {
        let Some(extra) = room.extra(&mut self.extra, &mut self.once) else {
            self.briefs_len |= briefs::NO_ROOM;
            return;
        };
        for brief in &self.briefs {
            extra.note(brief, u64::from(brief.time_us()), room);
        }
        self.briefs_len |= briefs::MOVED;
    }

    /// Notes the link layer's addresses and labels of the first packet from an end.
    #[inline(never)]
    fn note_link(&mut self, packet: &Packet<'_>, side: usize, room: &mut Room) {
        let is_first = (self.ends[0].known | self.ends[1].known) & known::LINK == 0;
        let mut bits = known::LINK;
        if let Some((source, destination)) = packet.link.macs() {
            let macs = [source, destination];
            if is_first {
                self.macs = macs;
                bits |= known::MACS;
            } else if macs == self.macs {
                bits |= known::MACS;
            } else if macs == [self.macs[1], self.macs[0]] {
                bits |= known::MACS_SWAPPED;
            } else if let Some(extra) = room.extra(&mut self.extra, &mut self.once) {
                extra.macs = macs;
                bits |= known::MACS_EXTRA;
            }
        }
        if is_first {
            let mpls = packet.link.mpls();
            if mpls[0] != 0
                && let Some(extra) = room.extra(&mut self.extra, &mut self.once)
            {
                extra.mpls = mpls;
            }
        }
        self.ends[side & 1].known |= bits;
    }

    /// The slice's start has moved back by so much.
    #[cold]
    pub(super) fn start_earlier(&mut self, by_us: u64) {
        let by = u32::try_from(by_us).unwrap_or(u32::MAX);
        for brief in &mut self.briefs {
            brief.set_time_us(brief.time_us().saturating_add(by));
        }
        if let Some(extra) = &mut self.extra {
            extra.start_earlier(by_us);
        }
    }

    /// Begins a new slice: counts and packets begin anew, the connection goes on.
    pub(super) fn begin_slice(&mut self) {
        self.briefs_len = 0;
        self.once &= !extra::REFUSED;
        self.repeats = [0; 2];
        for end in &mut self.ends {
            (end.entropy, end.entropy_share) = (0, 0);
        }
        if let Some(extra) = &mut self.extra {
            extra.begin_slice();
        }
    }

    /// Gives the extra's memory back.
    pub(super) fn release(&mut self, room: &mut Room) {
        if let Some(extra) = self.extra.take() {
            room.release(&extra);
        }
    }

    /// What the record says; `initiator` is the key's end that is.
    pub(super) fn to_record(&self, initiator: usize, connection: ConnectionState) -> Features {
        let seen = |time: u32| (time < AMBIGUOUS).then_some(time);
        let initiator = initiator & 1;
        let has_moved = self.briefs_len & briefs::MOVED != 0;
        let has_statistics = self.briefs_len & (briefs::NO_ROOM | briefs::NO_STATISTICS) == 0;
        let mut sizes = [Sizes::default(); 2];
        if let Some(extra) = &self.extra
            && has_moved
        {
            sizes = extra.sizes();
        } else if has_statistics {
            for brief in self.briefs() {
                sizes[brief.side()].add(brief.octets, u64::from(brief.time_us()));
            }
        }
        let direction = |side: usize| {
            let end = &self.ends[side];
            let macs = match end.known & (known::MACS | known::MACS_SWAPPED | known::MACS_EXTRA) {
                known::MACS => self.macs,
                known::MACS_SWAPPED => [self.macs[1], self.macs[0]],
                known::MACS_EXTRA => self.extra.as_ref().map_or([[0; 6]; 2], |extra| extra.macs),
                _ => [[0; 6]; 2],
            };
            let mut features = DirectionFeatures {
                initial_window: end.initial_window,
                trouble: self.trouble(side),
                entropy: (end.entropy_share != 0).then_some(end.entropy),
                source_mac: macs[0],
                destination_mac: macs[1],
                ..DirectionFeatures::EMPTY
            };
            if has_statistics {
                sizes[side].tell(&mut features);
            }
            features
        };
        Features {
            connection: Some(connection),
            history: self.history(initiator),
            server_rtt_us: seen(self.server_rtt_us),
            client_rtt_us: seen(self.client_rtt_us),
            forward: direction(initiator),
            reverse: direction(1 - initiator),
            has_statistics,
            first_packets: self.first_packets(initiator, has_moved),
            mpls: self.extra.as_ref().map(|extra| extra.mpls).unwrap_or_default(),
        }
    }

    fn trouble(&self, side: usize) -> TcpTrouble {
        let mut trouble = self.extra.as_ref().map(|extra| extra.trouble(side)).unwrap_or_default();
        trouble.retransmitted = trouble.retransmitted.saturating_add(self.repeats[side & 1].into());
        trouble
    }

    fn briefs(&self) -> &[Brief] {
        self.briefs.get(..usize::from(self.briefs_len & briefs::COUNT)).unwrap_or_default()
    }

    fn listed(&self) -> impl Iterator<Item = &Brief> {
        self.briefs().iter().filter(|brief| brief.is_listed())
    }

    fn first_packets(&self, initiator: usize, has_moved: bool) -> Vec<PacketBrief> {
        let tell = |brief: &Brief| PacketBrief {
            time_us: brief.time_us(),
            payload: brief.payload,
            tcp_flags: brief.tcp_flags,
            direction: if brief.side() == initiator { Direction::Forward } else { Direction::Reverse },
        };
        if let Some(extra) = &self.extra
            && has_moved
        {
            return extra.packets.iter().map(tell).collect();
        }
        // Counted first, because a list of nothing takes no memory.
        let mut packets = Vec::with_capacity(self.listed().count());
        packets.extend(self.listed().map(tell));
        packets
    }

    /// The history with the letters' case as the initiator is known by now.
    fn history(&self, initiator: usize) -> History {
        let mut history = History::EMPTY;
        for at in 0..self.letters_len {
            history.push(segments::letter_of(&self.letters, at, initiator));
        }
        history
    }

    /// Whether an end sent TCP data.
    fn sent_data(&self, side: usize) -> bool {
        self.once & segments::once_bit(side, segments::Once::Data) != 0
    }
}

#[inline]
fn saturate(octets: u32) -> u16 {
    u16::try_from(octets).unwrap_or(u16::MAX)
}

/// Computes the entropy of a packet's payload when it has more of the octets wanted than the packets before.
#[inline(never)]
fn note_entropy(end: &mut End, payload: &[u8], wanted: usize) {
    let octets = payload.get(..wanted).unwrap_or(payload);
    let share = (octets.len() * 255 / wanted).max(1) as u8;
    if share > end.entropy_share {
        (end.entropy, end.entropy_share) = (entropy(octets), share);
    }
}

/// Shannon entropy of octets, at most [`ENTROPY_BYTES_MAX`]: 1 to 255 for 0 to 8 bits each.
fn entropy(octets: &[u8]) -> u8 {
    let table = &*N_LOG_N;
    let mut counts = [0u16; 256];
    // The sum over the octets' values grows with each octet, so that values which do not occur cost nothing.
    let mut sum = 0;
    for octet in octets.iter().take(ENTROPY_BYTES_MAX) {
        let count = &mut counts[usize::from(*octet)];
        sum += table.steps[usize::from(*count) % ENTROPY_BYTES_MAX];
        *count += 1;
    }
    let total = octets.len().clamp(1, ENTROPY_BYTES_MAX);
    let bits = table.values[total].saturating_sub(sum) as f32 / (total as f32 * N_LOG_N_ONE);
    (1.0 + bits * (254.0 / 8.0)).round().clamp(1.0, 255.0) as u8
}

/// What stands for one in [`NLogN`].
const N_LOG_N_ONE: f32 = 65_536.0;

/// n log2 n, in fractions, and how much it grows from each number to the next.
struct NLogN {
    values: [u32; ENTROPY_BYTES_MAX + 1],
    steps: [u32; ENTROPY_BYTES_MAX],
}

static N_LOG_N: LazyLock<NLogN> = LazyLock::new(|| {
    let value = |number: usize| {
        let number = number as f64;
        if number == 0.0 { 0 } else { (number * number.log2() * f64::from(N_LOG_N_ONE)).round() as u32 }
    };
    NLogN {
        values: std::array::from_fn(value),
        steps: std::array::from_fn(|number| value(number + 1) - value(number)),
    }
});

/// How a flow that is not TCP's went, as Zeek says it.
pub(super) fn connection_of_datagrams(
    is_udp: bool,
    initiator_spoke: bool,
    responder_spoke: bool,
) -> ConnectionState {
    match (is_udp, initiator_spoke, responder_spoke) {
        (true, true, true) => ConnectionState::Sf,
        (true, true, false) => ConnectionState::S0,
        (true, false, true) => ConnectionState::Shr,
        _ => ConnectionState::Oth,
    }
}

/// The flags that a segment's letters and states go by.
const CONTROL: u16 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;

const _: () = assert!(size_of::<Brief>() == 10 && size_of::<Live>() == 128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_goes_from_one_octet_value_to_all_of_them() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!((entropy(&[7; 100]), entropy(&[]), entropy(&all)), (1, 1, 255));
        // Two values, equally often: one bit of eight.
        assert_eq!(entropy(&[0, 1, 0, 1]), 1 + 32);
        assert_eq!(entropy(&all.repeat(5)), 255);
    }

    #[test]
    fn entropy_is_that_of_the_first_packet_that_has_enough_or_of_the_longest() {
        let mut end = End::default();
        note_entropy(&mut end, &[1; 10], 16);
        assert_eq!((end.entropy, end.entropy_share), (1, 159));
        note_entropy(&mut end, &[0, 1, 0, 1], 16);
        assert_eq!(end.entropy, 1);
        note_entropy(&mut end, &[0, 1].repeat(8), 16);
        assert_eq!((end.entropy, end.entropy_share), (33, 255));
        note_entropy(&mut end, &(0..=255).collect::<Vec<_>>(), 16);
        assert_eq!(end.entropy, 33);
    }
}
