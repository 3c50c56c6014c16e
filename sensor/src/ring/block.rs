//! The block that a lane fills: frames, their entries, and what the index will say of them.
//!
//! In: frames, one at a time, at the cost of one copy. Out: three buffers to compress (what is known of each
//! frame, the frames' heads, and what follows the heads of longer frames) and a list of distinct
//! [`Seen`] packets to summarise. All memory is taken when the block is made and is used again for the next
//! frames; the list of packets seen grows to the most that a block ever had. Nothing is sorted here: that is
//! the ring thread's work.

use super::entry::{ENTRY_BYTES_MAX, Entry, LeftOut};
use super::format::{FRAMES_MAX, HEAD_BYTES, WHOLE_BYTES_MAX};
use super::horizon::Written;
use super::lane::Loss;
use super::view::{Ordinary, View};
use crate::capture::Frame;
use weir_common::time::Timestamp;

/// Slots of the cache of packets seen, a power of two: 16 KiB, which stays in the nearest caches.
const CACHE_SLOTS: usize = 1 << 12;
/// Slots of the cache of ordinary packets before it, a power of two: 32 KiB.
const ORDINARY_SLOTS: usize = 1 << 10;
const EMPTY: u32 = u32::MAX;
/// Entries take four to six bytes; a block with smaller frames than this ends by its entries.
const FRAME_BYTES_EXPECTED: usize = 48;
/// Smallest room for entries, so that a small block also takes many empty frames.
const ENTRIES_BYTES_MIN: usize = 64 << 10;

/// What is indexed of a packet: what filters see, and the flow it was counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) view: View,
    /// First eight bytes of the flow's Community ID; none for what could not be decoded.
    pub(super) flow_tag: Option<u64>,
}

/// Frames on their way to disk.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) lane: u16,
    /// Counts the lane's blocks of this run.
    pub(super) number: u64,
    pub(super) entries: Vec<u8>,
    pub(super) heads: Vec<u8>,
    pub(super) tails: Vec<u8>,
    pub(super) frames: u32,
    pub(super) frames_cut_off: u32,
    pub(super) first_time: Timestamp,
    pub(super) last_time: Timestamp,
    pub(super) unordered: bool,
    /// What was left out of its frames on purpose.
    pub(super) left_out: Option<Loss>,
    /// Losses of the lane before this time have been told.
    pub(super) told_until: Timestamp,
    pub(super) seen: Vec<Seen>,
    /// What writing the frames took, on the way back to the lane.
    pub(super) written: Option<Written>,
    cache: Box<[u32]>,
    ordinary: Box<[(Ordinary, Option<u64>)]>,
    previous: Entry,
    data_bytes_max: usize,
    entries_bytes_max: usize,
}

impl Block {
    pub(super) fn new(lane: u16, data_bytes_max: usize) -> Block {
        let entries_bytes_max = (data_bytes_max / FRAME_BYTES_EXPECTED * 8).max(ENTRIES_BYTES_MIN);
        Block {
            lane,
            number: 0,
            entries: Vec::with_capacity(entries_bytes_max),
            heads: Vec::with_capacity(data_bytes_max),
            tails: Vec::with_capacity(data_bytes_max),
            frames: 0,
            frames_cut_off: 0,
            first_time: Timestamp::MAX,
            last_time: Timestamp::MIN,
            unordered: false,
            left_out: None,
            told_until: Timestamp::MAX,
            seen: Vec::new(),
            written: None,
            cache: vec![EMPTY; CACHE_SLOTS].into(),
            ordinary: vec![Default::default(); ORDINARY_SLOTS].into(),
            previous: Entry::default(),
            data_bytes_max,
            entries_bytes_max,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Empties the block for the next frames; the memory stays.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.heads.clear();
        self.tails.clear();
        self.seen.clear();
        self.cache.fill(EMPTY);
        self.ordinary.fill(Default::default());
        self.frames = 0;
        self.frames_cut_off = 0;
        self.first_time = Timestamp::MAX;
        self.last_time = Timestamp::MIN;
        self.unordered = false;
        self.left_out = None;
        self.previous = Entry::default();
    }

    /// Whether a frame of this size still fits.
    #[inline]
    pub(super) fn has_room(&self, frame_bytes: usize) -> bool {
        self.heads.len() + self.tails.len() + frame_bytes <= self.data_bytes_max
            && self.entries.len() + ENTRY_BYTES_MAX <= self.entries_bytes_max
            && self.frames < FRAMES_MAX
    }

    /// Takes a frame that [`Block::has_room`] for.
    #[inline]
    pub(super) fn push(&mut self, frame: &Frame<'_>, flow_tag: Option<u64>, left_out: Option<LeftOut>) {
        let entry = Entry {
            time: frame.time,
            captured_len: frame.data.len() as u32,
            wire_len: frame.wire_len,
            interface: frame.interface,
            link: frame.link.0,
            left_out,
        };
        entry.encode(&self.previous, &mut self.entries);
        if frame.data.len() <= WHOLE_BYTES_MAX {
            self.heads.extend_from_slice(frame.data);
        } else {
            let (head, tail) = frame.data.split_at(HEAD_BYTES);
            self.heads.extend_from_slice(head);
            self.tails.extend_from_slice(tail);
        }
        self.unordered |= frame.time < self.previous.time;
        self.frames_cut_off += u32::from(entry.captured_len < entry.wire_len);
        self.first_time = self.first_time.min(frame.time);
        self.last_time = self.last_time.max(frame.time);
        self.previous = entry;
        self.frames += 1;
        if let Some(left_out) = left_out {
            let one = Loss { frames: 1, bytes: left_out.bytes.into(), from: frame.time, to: frame.time };
            Loss::add(&mut self.left_out, one);
        }
        self.note(frame, flow_tag);
    }

    /// The block's frames may turn out to be of this flow too.
    pub(super) fn also_of(&mut self, flow_tag: u64) {
        self.note_view(Seen { view: View::default(), flow_tag: Some(flow_tag) });
    }

    /// Most packets are of a flow that the block already knows: one look into a cache and it is done.
    /// A collision costs an entry that sorting removes again, never a packet.
    #[inline]
    fn note(&mut self, frame: &Frame<'_>, flow_tag: Option<u64>) {
        if let Some(ordinary) = Ordinary::of(frame) {
            let slot = (ordinary.hash() >> 40) as usize & (ORDINARY_SLOTS - 1);
            if let Some(cached) = self.ordinary.get_mut(slot) {
                if *cached == (ordinary, flow_tag) {
                    return;
                }
                *cached = (ordinary, flow_tag);
            }
        }
        self.note_view(Seen { view: View::of(frame), flow_tag });
    }

    fn note_view(&mut self, seen: Seen) {
        let slot = hash(&seen) as usize & (CACHE_SLOTS - 1);
        let Some(cached) = self.cache.get_mut(slot) else { return };
        if self.seen.get(*cached as usize) == Some(&seen) {
            return;
        }
        *cached = self.seen.len() as u32;
        self.seen.push(seen);
    }
}

/// Spreads packets over the cache. Whoever finds collisions only makes the index's work longer.
#[inline]
fn hash(seen: &Seen) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let half = |bytes: &[u8; 16], at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(eight)
    };
    let view = &seen.view;
    let ports = u64::from(view.ports[0]) << 16 | u64::from(view.ports[1]);
    let rest = u64::from(view.flags) << 8 | u64::from(view.protocols[0]);
    let mixed = (half(&view.source, 0) ^ half(&view.destination, 0).rotate_left(32)).wrapping_mul(K)
        ^ (half(&view.source, 8) ^ half(&view.destination, 8).rotate_left(29))
            .wrapping_mul(K.rotate_left(17))
        ^ (ports << 24 ^ rest ^ seen.flow_tag.unwrap_or(0)).wrapping_mul(K.rotate_left(31));
    (mixed ^ mixed >> 32).wrapping_mul(K) >> 40
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;

    fn frame(time: u64, data: &[u8]) -> Frame<'_> {
        Frame {
            time: Timestamp(time),
            link: LinkType::ETHERNET,
            interface: 0,
            wire_len: data.len() as u32,
            data,
        }
    }

    #[test]
    fn a_packet_seen_again_is_indexed_once_and_another_flow_twice() {
        let mut block = Block::new(0, 256 << 10);
        for _ in 0..100 {
            block.push(&frame(1, &[0; 60]), Some(7), None);
        }
        assert_eq!((block.frames, block.seen.len()), (100, 1));
        block.push(&frame(1, &[0; 60]), Some(8), None);
        assert_eq!(block.seen.len(), 2);
    }

    #[test]
    fn a_flow_that_frames_may_turn_out_to_be_of_is_indexed_once() {
        let mut block = Block::new(0, 256 << 10);
        block.push(&frame(1, &[0; 60]), None, None);
        block.also_of(7);
        block.also_of(7);
        assert_eq!(block.seen.iter().map(|seen| seen.flow_tag).collect::<Vec<_>>(), [None, Some(7)]);
    }

    #[test]
    fn room_ends_exactly_with_the_bytes() {
        let mut block = Block::new(0, 1000);
        assert!(block.has_room(1000) && !block.has_room(1001));
        block.push(&frame(1, &[0; 999]), None, None);
        assert!(block.has_room(1) && !block.has_room(2));
    }

    #[test]
    fn room_ends_with_the_number_of_frames_or_entries_when_frames_are_empty() {
        let mut block = Block::new(0, 256 << 10);
        let capacity = block.entries.capacity();
        let mut count = 0;
        while block.has_room(0) {
            block.push(&frame(count * 1000, &[]), None, None);
            count += 1;
        }
        assert!(count <= FRAMES_MAX.into() && count > 10_000);
        assert_eq!(block.entries.capacity(), capacity);
    }

    #[test]
    fn times_and_order_are_kept_and_cleared() {
        let mut block = Block::new(0, 1000);
        block.push(&frame(5, &[0]), None, None);
        block.push(&frame(5, &[0]), None, None);
        assert!(!block.unordered);
        block.push(&frame(4, &[0]), None, None);
        assert_eq!((block.first_time, block.last_time, block.unordered), (Timestamp(4), Timestamp(5), true));
        block.clear();
        assert!(block.is_empty() && !block.unordered && block.first_time == Timestamp::MAX);
    }
}
