//! What flows need that have more than a few packets, or trouble; and the memory that all of them may take.

use super::{Brief, Limits};
use weir_common::features::{DirectionFeatures, MPLS_LABELS_MAX, TcpTrouble};

/// Beside the bits of letters noted once: there was no memory for an extra.
pub(super) const REFUSED: u16 = 1 << 15;
/// A list begins with room for this share of the most packets that it may hold, and then has room for all.
const PACKETS_BEGIN_SHARE: usize = 4;

/// The memory that extras may take, and what they are to hold.
#[derive(Debug)]
pub(in super::super) struct Room {
    pub(in super::super) limits: Limits,
    used_bytes: u64,
    bytes_max: u64,
    /// Flows that went without.
    pub(in super::super) refused: u64,
}

impl Room {
    pub(in super::super) fn new(limits: Limits, bytes_max: u64) -> Room {
        Room { limits, used_bytes: 0, bytes_max, refused: 0 }
    }

    /// A flow's extra, made when it has none; `None` when there was no memory for it, which its bits then say, so
    /// that it is counted once and not half told later.
    #[inline]
    pub(super) fn extra<'a>(
        &mut self,
        place: &'a mut Option<Box<Extra>>,
        bits: &mut u16,
    ) -> Option<&'a mut Extra> {
        if place.is_none() {
            if *bits & REFUSED != 0 {
                return None;
            }
            if !self.take(size_of::<Extra>()) {
                *bits |= REFUSED;
                self.refused += 1;
                return None;
            }
            *place = Some(Box::default());
        }
        place.as_deref_mut()
    }

    fn take(&mut self, bytes: usize) -> bool {
        let used = self.used_bytes + bytes as u64;
        let fits = used <= self.bytes_max;
        if fits {
            self.used_bytes = used;
        }
        fits
    }

    pub(super) fn release(&mut self, extra: &Extra) {
        let bytes = size_of::<Extra>() + extra.packets.capacity() * size_of::<Brief>();
        self.used_bytes = self.used_bytes.saturating_sub(bytes as u64);
    }

    /// Bytes in use.
    #[cfg(test)]
    pub(in super::super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }
}

/// Sizes of one direction's packets and the times between them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    octets_squared: u64,
    gap_sum_us: u64,
    gap_squared_us2: u64,
    /// Time of the last packet, in microseconds since the slice's start.
    last_us: u64,
    gap_min_us: u32,
    gap_max_us: u32,
    octets_min: u16,
    octets_max: u16,
    /// Packets, up to two: before the second there is no gap.
    packets: u8,
}

impl Sizes {
    #[inline]
    pub(super) fn add(&mut self, octets: u16, since_start_us: u64) {
        let squared = u64::from(octets) * u64::from(octets);
        self.octets_squared = self.octets_squared.saturating_add(squared);
        self.octets_max = self.octets_max.max(octets);
        if self.packets == 0 {
            self.octets_min = octets;
        } else {
            self.octets_min = self.octets_min.min(octets);
            // A packet that is said to be from before the last one came right after it.
            let gap = since_start_us.saturating_sub(self.last_us);
            let gap_us = u32::try_from(gap).unwrap_or(u32::MAX);
            self.gap_min_us = if self.packets == 1 { gap_us } else { self.gap_min_us.min(gap_us) };
            self.gap_max_us = self.gap_max_us.max(gap_us);
            self.gap_sum_us = self.gap_sum_us.saturating_add(gap);
            self.gap_squared_us2 = self.gap_squared_us2.saturating_add(gap.saturating_mul(gap));
        }
        self.last_us = self.last_us.max(since_start_us);
        self.packets = (self.packets + 1).min(2);
    }

    pub(super) fn tell(&self, features: &mut DirectionFeatures) {
        features.octets_min = self.octets_min;
        features.octets_max = self.octets_max;
        features.octets_squared = self.octets_squared;
        features.gap_min_us = self.gap_min_us;
        features.gap_max_us = self.gap_max_us;
        features.gap_sum_us = self.gap_sum_us;
        features.gap_squared_us2 = self.gap_squared_us2;
    }
}

/// Sequence numbers that were passed over and have not come yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub(super) begin: u32,
    pub(super) end: u32,
    /// When the segment behind it came, the low bits of its microseconds.
    pub(super) since_us: u32,
}

/// One end's part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    pub(super) trouble: TcpTrouble,
    /// The latest hole; an earlier one that was not filled by then is not followed any more.
    pub(super) hole: Option<Hole>,
    /// How far the other end acknowledged what was not seen.
    pub(super) missed_to: Option<u32>,
    /// How often the history's letters `t`, `w` and `g` were due; across slices.
    pub(super) repeats: u32,
    pub(super) zero_windows: u32,
    pub(super) gaps: u32,
}

/// What is noted of a long or troubled flow. The first two cache lines are all that most packets need.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Extra {
    sizes: [Sizes; 2],
    pub(super) packets: Vec<Brief>,
    /// Whether the list is as long as it shall, or can, be.
    packets_done: bool,
    pub(super) sides: [Side; 2],
    /// Source and destination of the second end's first packet, where they are not the first one's.
    pub(super) macs: [[u8; 6]; 2],
    pub(super) mpls: [u32; MPLS_LABELS_MAX],
}

const _: () = assert!(std::mem::offset_of!(Extra, packets_done) < 128);

impl Extra {
    #[inline]
    pub(super) fn note(&mut self, brief: &Brief, since_start_us: u64, room: &mut Room) {
        if room.limits.statistics {
            self.sizes[brief.side()].add(brief.octets, since_start_us);
        }
        if brief.is_listed() && !self.packets_done {
            self.list(brief, room);
        }
    }

    fn list(&mut self, brief: &Brief, room: &mut Room) {
        let (len, most) = (self.packets.len(), room.limits.splt_packets);
        if len >= most {
            self.packets_done = true;
            return;
        }
        if len == self.packets.capacity() {
            let whole = if len == 0 { most.div_ceil(PACKETS_BEGIN_SHARE) } else { most };
            let more = whole.saturating_sub(len).max(1);
            if !room.take(more * size_of::<Brief>()) {
                room.refused += 1;
                self.packets_done = true;
                return;
            }
            self.packets.reserve_exact(more);
        }
        self.packets.push(*brief);
        self.packets_done = len + 1 >= most;
    }

    pub(super) fn sizes(&self) -> [Sizes; 2] {
        self.sizes
    }

    pub(super) fn trouble(&self, side: usize) -> TcpTrouble {
        self.sides[side & 1].trouble
    }

    pub(super) fn start_earlier(&mut self, by_us: u64) {
        let by = u32::try_from(by_us).unwrap_or(u32::MAX);
        for sizes in &mut self.sizes {
            sizes.last_us = sizes.last_us.saturating_add(by_us);
        }
        for brief in &mut self.packets {
            brief.set_time_us(brief.time_us().saturating_add(by));
        }
    }

    pub(super) fn begin_slice(&mut self) {
        self.sizes = [Sizes::default(); 2];
        for side in &mut self.sides {
            side.trouble = TcpTrouble::NONE;
        }
        self.packets.clear();
        self.packets_done = false;
    }
}
