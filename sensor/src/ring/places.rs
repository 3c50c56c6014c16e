//! Where a live flow's frames are: the compact form of [`Extents`] that a flow table can afford per flow.
//!
//! In: the numbers of the blocks that took its frames, in the order of [`super::Lane::append`]. Out: the extents
//! of a record. Numbers are kept as their low 32 bits and read back by their distance to the lane's newest block;
//! a record would have to span 2^32 blocks, a petabyte, for that to be wrong. A frame in the block of the one
//! before it costs two comparisons; nothing is allocated. Deliberately absent: blocks and what they hold.

use weir_common::evidence::{BlockRange, Extents, RANGES_MAX};

/// The blocks of one flow, as yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Places {
    /// The newest range.
    newest: Range,
    missed: u32,
    unplaced: u16,
    /// Ranges in use, the newest one included.
    count: u8,
    joined: bool,
    /// The ranges before it, oldest first.
    earlier: [Range; RANGES_MAX - 1],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Range {
    first: u32,
    last: u32,
}

impl Places {
    /// A frame is in this block; never an older one than before.
    #[inline]
    pub fn add(&mut self, number: u64) {
        if self.newest.last != number as u32 || self.count == 0 {
            self.add_range(Range { first: number as u32, last: number as u32 });
        }
    }

    /// A frame was not kept.
    #[cold]
    pub fn miss(&mut self) {
        self.missed = self.missed.saturating_add(1);
    }

    /// So many frames were kept somewhere in these blocks before they were known to be the flow's: fragments that
    /// came before the first one of their datagram. `newest` is the lane's newest block.
    #[cold]
    pub fn cover(&mut self, blocks: BlockRange, newest: u64, frames: u32) {
        let mut extents = self.extents(0, 0, newest);
        // What is further back than the low bits reach is gone from any ring.
        let reach = newest.saturating_sub(u64::from(u32::MAX) - 1);
        extents.add_range(BlockRange { first: blocks.first.max(reach), last: blocks.last.max(reach) });
        let low = |range: &BlockRange| Range { first: range.first as u32, last: range.last as u32 };
        let ranges = extents.ranges();
        for (place, range) in self.earlier.iter_mut().zip(ranges) {
            *place = low(range);
        }
        self.newest = ranges.last().map(low).unwrap_or_default();
        self.count = ranges.len() as u8;
        self.joined = true;
        self.unplaced = self.unplaced.saturating_add(u16::try_from(frames).unwrap_or(u16::MAX));
    }

    /// Frames of the flow that the ring did not take.
    pub fn missed(&self) -> u64 {
        self.missed.into()
    }

    /// Frames of which it is not known whether the ring took them; at most 65,535.
    pub fn unplaced(&self) -> u64 {
        self.unplaced.into()
    }

    /// The extents, in a lane whose newest block is `newest`.
    pub fn extents(&self, run: u32, lane: u16, newest: u64) -> Extents {
        let number = |low: u32| newest.saturating_sub(u64::from((newest as u32).wrapping_sub(low)));
        let mut extents = Extents::new(run, lane);
        let earlier = usize::from(self.count).saturating_sub(1);
        let newest = (self.count > 0).then_some(&self.newest);
        for range in self.earlier.iter().take(earlier).chain(newest) {
            extents.add_range(BlockRange { first: number(range.first), last: number(range.last) });
        }
        if self.joined {
            extents.set_inexact();
        }
        extents
    }

    #[inline(never)]
    fn add_range(&mut self, added: Range) {
        if self.count > 0 && added.first.wrapping_sub(self.newest.last) == 1 {
            self.newest.last = added.last;
            return;
        }
        if usize::from(self.count) == RANGES_MAX {
            self.joined = true;
            if self.join_nearest(added.first) {
                self.newest.last = added.last;
                return;
            }
        }
        if let Some(place) = self.earlier.get_mut(usize::from(self.count).wrapping_sub(1)) {
            *place = self.newest;
        }
        self.newest = added;
        self.count += 1;
    }

    /// Makes one range of the two with the fewest blocks between them, the oldest of equals. True when those are
    /// the newest one and the one that comes: then nothing was done.
    fn join_nearest(&mut self, next: u32) -> bool {
        let firsts = self.earlier.iter().skip(1).chain([&self.newest]).map(|range| range.first).chain([next]);
        let lasts = self.earlier.iter().chain([&self.newest]).map(|range| range.last);
        let gaps = lasts.zip(firsts).map(|(last, first)| first.wrapping_sub(last));
        let nearest = gaps.enumerate().min_by_key(|(_, gap)| *gap).map_or(0, |(at, _)| at);
        if nearest == self.earlier.len() {
            return true;
        }
        if let Some([.., before]) = self.earlier.get_mut(..=nearest) {
            let first = before.first;
            match self.earlier.get_mut(nearest + 1) {
                Some(after) => after.first = first,
                None => self.newest.first = first,
            }
            self.earlier.copy_within(nearest + 1.., nearest);
        }
        self.count -= 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(numbers: &[u64]) -> (Places, String) {
        let mut places = Places::default();
        numbers.iter().for_each(|number| places.add(*number));
        (places, places.extents(3, 0, numbers.last().copied().unwrap_or_default()).to_string())
    }

    #[test]
    fn ranges_grow_begin_and_join() {
        assert_eq!(places(&[]).1, "3.0:");
        assert_eq!(places(&[0, 0]).1, "3.0:0");
        assert_eq!(places(&[120, 121, 121, 122, 140]).1, "3.0:120-122,140");
        assert_eq!(places(&[0, 10, 20, 30, 33, 50, 60, 70]).1, "3.0:0,10,20,30,33,50,60,70");
        assert_eq!(places(&[0, 10, 20, 30, 33, 50, 60, 70, 80]).1, "~3.0:0,10,20,30-33,50,60,70,80");
        assert_eq!(places(&[0, 10, 20, 30, 40, 50, 60, 70, 72]).1, "~3.0:0,10,20,30,40,50,60,70-72");
        assert_eq!(places(&[0, 10, 20, 30, 40, 50, 60, 65, 80]).1, "~3.0:0,10,20,30,40,50,60-65,80");
        assert_eq!(places(&[0, 1, 2, 10, 12]).1, "3.0:0-2,10,12");
    }

    #[test]
    fn numbers_beyond_thirty_two_bits_are_what_they_were() {
        let base = (9 << 32) - 2;
        assert_eq!(
            places(&[base, base + 1, base + 2, base + 5]).1,
            format!("3.0:{base}-{},{}", base + 2, base + 5)
        );
    }

    #[test]
    fn frames_that_came_unknown_are_covered_and_make_the_extents_inexact() {
        let far = u64::from(u32::MAX);
        for (numbers, first, last, newest, want) in [
            (&[][..], 4, 6, 6, "~3.0:4-6"),
            (&[1, 5, 6], 4, 6, 6, "~3.0:1,4-6"),
            (&[1, 5, 6], 2, 6, 6, "~3.0:1-6"),
            (&[1, 5, 6], 0, 0, 6, "~3.0:0-1,5-6"),
            (&[1, 5], 7, 9, 9, "~3.0:1,5,7-9"),
            (&[3, 4, 5], 4, 5, 9, "~3.0:3-5"),
            (&[1, 9, 20, 22, 24, 26, 28, 30], 4, 5, 40, "~3.0:1,4-5,9,20-22,24,26,28,30"),
            (&[far, far + 9], far - 4, far + 2, far + 9, "~3.0:4294967291-4294967297,4294967304"),
            (&[far + 9], 0, far, far + 9, "~3.0:10-4294967295,4294967304"),
        ] {
            let (mut places, _) = places(numbers);
            places.cover(BlockRange { first, last }, newest, 2);
            assert_eq!(places.extents(3, 0, newest).to_string(), want, "{numbers:?} {first} {last}");
            assert_eq!((places.unplaced(), places.missed()), (2, 0));
        }
        let (mut places, _) = places(&[1]);
        places.cover(BlockRange { first: 1, last: 1 }, 1, u32::MAX);
        places.miss();
        assert_eq!((places.unplaced(), places.missed()), (65_535, 1));
    }

    proptest! {
        /// Against the extents that are kept at full length.
        #[test]
        fn the_compact_form_says_the_same(
            base in prop_oneof![Just(0u64), Just((1 << 32) - 30), any::<u32>().prop_map(u64::from)],
            steps in prop::collection::vec((0u64..12, prop::option::weighted(0.05, (0u64..40, 0u64..9))), 0..80),
        ) {
            let (mut places, mut wanted) = (Places::default(), Extents::new(1, 2));
            let mut number = base;
            for (step, back) in steps {
                number += step.saturating_sub(4);
                match back {
                    None => {
                        places.add(number);
                        wanted.add(number);
                    }
                    Some((back, more)) => {
                        let first = number.saturating_sub(back);
                        let blocks = BlockRange { first, last: number.min(first + more) };
                        places.cover(blocks, number, 1);
                        wanted.add_range(blocks);
                        wanted.set_inexact();
                    }
                }
                prop_assert_eq!(places.extents(1, 2, number + 7), wanted.clone());
            }
        }
    }
}
