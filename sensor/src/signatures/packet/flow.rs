//! What a flow carried: `flow.pkts`, `flow.bytes`, `flow.age` and `stream_size`.
//!
//! In: an option's value; then counts of a flow, the packet at hand among them. Out: whether the test holds. Sizes of
//! streams are followed by [`StreamSizes`], which the caller keeps with the flow if a rule asks. Deliberately absent:
//! what flows carried in slices that were told already: after the active timeout their counts begin anew.

use super::PacketTest;
use super::app_protocol::AppFacts;
use super::number::{UintTest, Width, shown};
use crate::decode::{Packet, Transport};
use crate::flow::Flow;
use weir_common::net::Direction;
use weir_common::record::tcp_flags;
use weir_common::time::Timestamp;

/// Farthest that a segment may lie ahead to be believed, in bytes: the largest window (RFC 7323 section 2.3).
const AHEAD_BYTES_MAX: i32 = 1 << 30;
const NANOSECONDS: u64 = 1_000_000_000;

/// What is known of a packet's flow, the packet included.
#[derive(Clone, Copy, Debug)]
pub struct FlowFacts {
    /// Which way the packet goes.
    pub direction: Direction,
    /// The flow was met in its middle, and who sent its first packet is who serves: what rules say to be to the server is
    /// [`Direction::Reverse`].
    pub is_turned: bool,
    /// Packets of each direction.
    pub packets: [u64; 2],
    /// Octets of their frames.
    pub octets: [u64; 2],
    /// Time of the first packet, and of the last.
    pub start: Timestamp,
    /// See `start`.
    pub last: Timestamp,
    /// See [`StreamSizes`], by direction; `None` where nobody follows them.
    pub stream_sizes: Option<[u32; 2]>,
    /// What its application is.
    pub apps: AppFacts,
}

impl FlowFacts {
    /// What the flow table knows; sizes of streams and the application are the caller's to add.
    pub fn of<A>(flow: &Flow<A>, direction: Direction) -> FlowFacts {
        let (there, back) = (flow.stats(Direction::Forward), flow.stats(Direction::Reverse));
        FlowFacts {
            direction,
            is_turned: false,
            packets: [there.packets, back.packets],
            octets: [there.frame_octets, back.frame_octets],
            start: flow.start(),
            last: flow.end(),
            stream_sizes: None,
            apps: AppFacts::default(),
        }
    }

    /// Those of no flow.
    pub fn nothing() -> FlowFacts {
        FlowFacts {
            direction: Direction::Forward,
            is_turned: false,
            packets: [0; 2],
            octets: [0; 2],
            start: Timestamp::MIN,
            last: Timestamp::MIN,
            stream_sizes: None,
            apps: AppFacts::default(),
        }
    }

    /// Which way a direction goes in the sense of rules: forward is to the server.
    #[inline]
    pub(in crate::signatures) fn role(&self, direction: Direction) -> Direction {
        if self.is_turned { direction.flip() } else { direction }
    }

    /// What there is by direction, the client's first.
    pub(in crate::signatures) fn by_role<T>(&self, [forward, reverse]: [T; 2]) -> [T; 2] {
        if self.is_turned { [reverse, forward] } else { [forward, reverse] }
    }

    /// Its age as Suricata counts it: seconds of the clock that began between the first packet and the last.
    pub(super) fn age_seconds(&self) -> u32 {
        let seconds = (self.last.0 / NANOSECONDS).saturating_sub(self.start.0 / NANOSECONDS);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }
}

/// Which of a flow's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) enum Count {
    Packets,
    Octets,
}

impl Count {
    pub(super) fn of(self, flow: &FlowFacts) -> [u64; 2] {
        flow.by_role(match self {
            Count::Packets => flow.packets,
            Count::Octets => flow.octets,
        })
    }
}

/// Which direction's: what the client sent or what the server sent, one of both, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) enum Side {
    Client,
    Server,
    Either,
    Both,
}

impl Side {
    pub(super) fn holds(self, [client, server]: [u64; 2], test: &UintTest) -> bool {
        match self {
            Side::Client => test.has(client),
            Side::Server => test.has(server),
            Side::Either => test.has(client) || test.has(server),
            Side::Both => test.has(client) && test.has(server),
        }
    }

    /// By where it goes.
    fn towards(word: &str) -> Result<Side, String> {
        match word {
            "toserver" => Ok(Side::Client),
            "toclient" => Ok(Side::Server),
            "either" => Ok(Side::Either),
            "both" => Ok(Side::Both),
            _ => Err(format!("expected `toserver`, `toclient`, `either` or `both`, not `{}`", shown(word))),
        }
    }
}

/// Reads `flow.pkts:toserver,>3` and its like, and the older `flow.pkts_toserver:>3`.
pub(super) fn count(name: &str, text: &str) -> Result<(Count, Side, UintTest), String> {
    let (count, width) = match name.starts_with("flow.pkts") {
        true => (Count::Packets, Width::U32),
        false => (Count::Octets, Width::U64),
    };
    let (side, number) = match name.split_once('_') {
        Some((_, side)) => (side, text),
        None => text.split_once(',').ok_or("expected a direction and a comparison, with a comma between")?,
    };
    Ok((count, Side::towards(side.trim())?, UintTest::parse(number, width)?))
}

/// `flow.elephant`, which is understood and never holds.
pub(super) fn elephant(text: &str) -> Result<PacketTest, String> {
    Side::towards(text)?;
    Ok(PacketTest::Elephant)
}

/// Reads `server,<,5`.
pub(super) fn stream_size(text: &str) -> Result<(Side, UintTest), String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [side, operator, number] = parts[..] else {
        return Err("expected a side, an operator and a number, with commas between".into());
    };
    let side = match side {
        "client" => Side::Client,
        "server" => Side::Server,
        "either" => Side::Either,
        "both" => Side::Both,
        _ => return Err(format!("expected `server`, `client`, `both` or `either`, not `{}`", shown(side))),
    };
    Ok((side, UintTest::parse_apart(operator, number, Width::U32)?))
}

/// How far the sequence numbers of a TCP flow's two ends went from their first, the SYN included: what `stream_size`
/// compares. Of a flow that is seen from its middle on, from one before the first number that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::signatures) struct StreamSizes {
    first: [u32; 2],
    next: [u32; 2],
    is_known: [bool; 2],
}

impl StreamSizes {
    /// Follows a segment.
    pub(in crate::signatures) fn see(&mut self, packet: &Packet<'_>, direction: Direction) {
        let Transport::Tcp(tcp) = packet.transport else { return };
        let has = |flags: u16| tcp.flags & flags != 0;
        // What a RST says of sequence numbers begins no stream and ends none.
        if packet.is_partial || has(tcp_flags::RST) {
            return;
        }
        let begin = tcp.sequence.wrapping_add(u32::from(has(tcp_flags::SYN)));
        self.begin(direction.index(), begin);
        if has(tcp_flags::ACK) {
            self.begin(direction.flip().index(), tcp.acknowledgement);
        }
        let end = begin.wrapping_add(packet.payload_octets());
        if let Some(next) = self.next.get_mut(direction.index()) {
            let ahead = end.wrapping_sub(*next).cast_signed();
            if (1..=AHEAD_BYTES_MAX).contains(&ahead) {
                *next = end;
            }
        }
    }

    fn begin(&mut self, side: usize, next: u32) {
        if let (Some(is_known @ false), Some(first), Some(at)) =
            (self.is_known.get_mut(side), self.first.get_mut(side), self.next.get_mut(side))
        {
            (*is_known, *first, *at) = (true, next.wrapping_sub(1), next);
        }
    }

    /// A word of it, to load it.
    #[inline]
    pub(in crate::signatures) fn touch(&self) -> u32 {
        self.next[0]
    }

    /// The ends have changed places.
    pub(in crate::signatures) fn flip(&mut self) {
        self.first.swap(0, 1);
        self.next.swap(0, 1);
        self.is_known.swap(0, 1);
    }

    /// Those of each direction.
    pub(in crate::signatures) fn sizes(&self) -> [u32; 2] {
        let [forward, reverse] = self.next;
        [forward.wrapping_sub(self.first[0]), reverse.wrapping_sub(self.first[1])]
    }
}
