//! Blocks of a lane that could not be written: what a flow's record must not name.
//!
//! In: numbers of blocks as they come back from the ring thread unwritten, in their order. Out: a flow's extents
//! without them. A record that is made before its block fails names it all the same; a question then finds the loss
//! in the ledger. Bounded: at [`RANGES_MAX`] ranges the oldest is forgotten.

use std::collections::VecDeque;
use weir_common::evidence::{BlockRange, Extents};

/// Most ranges of blocks that are remembered. A disk that is full is one range until it works again.
const RANGES_MAX: usize = 64;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Failed {
    ranges: VecDeque<BlockRange>,
}

impl Failed {
    /// A block came back unwritten.
    pub(super) fn add(&mut self, number: u64) {
        if let Some(last) = self.ranges.back_mut()
            && number <= last.last.saturating_add(1)
        {
            last.last = last.last.max(number);
            return;
        }
        if self.ranges.len() >= RANGES_MAX {
            self.ranges.pop_front();
        }
        self.ranges.push_back(BlockRange { first: number, last: number });
    }

    /// The extents without blocks that could not be written; none: all of them are there, as far as is known.
    #[inline]
    pub(super) fn without(&self, extents: &Extents) -> Option<Extents> {
        if self.ranges.is_empty() { None } else { self.leave_out(extents) }
    }

    #[cold]
    fn leave_out(&self, extents: &Extents) -> Option<Extents> {
        let mut left = Extents::new(extents.run, extents.lane);
        if !extents.is_exact() {
            left.set_inexact();
        }
        let mut is_less = false;
        for range in extents.ranges() {
            let mut first = range.first;
            for failed in &self.ranges {
                if failed.last < first || failed.first > range.last {
                    continue;
                }
                is_less = true;
                if failed.first > first {
                    left.add_range(BlockRange { first, last: failed.first - 1 });
                }
                first = failed.last.saturating_add(1);
            }
            if first <= range.last {
                left.add_range(BlockRange { first, last: range.last });
            }
        }
        is_less.then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(failed: &[u64], extents: &str) -> Option<String> {
        let mut all = Failed::default();
        failed.iter().for_each(|number| all.add(*number));
        all.without(&extents.parse().unwrap()).map(|left| left.to_string())
    }

    #[test]
    fn extents_lose_what_was_not_written_and_nothing_else() {
        for (failed, extents, want) in [
            (&[][..], "1.0:3-5", None),
            (&[2, 6], "1.0:3-5", None),
            (&[3], "1.0:3-5", Some("1.0:4-5")),
            (&[4], "~1.0:3-5", Some("~1.0:3,5")),
            (&[5, 6, 7], "1.0:3-5,7,9", Some("1.0:3-4,9")),
            (&[3, 4, 5, 9], "1.0:3-5,9", Some("1.0:")),
        ] {
            assert_eq!(without(failed, extents).as_deref(), want, "{failed:?} {extents}");
        }
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_limit() {
        let failed = Vec::from_iter((0..=RANGES_MAX as u64).map(|n| n * 2));
        assert_eq!(without(&failed, "1.0:0-3").as_deref(), Some("1.0:0-1,3"));
    }
}
