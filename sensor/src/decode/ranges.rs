//! Which bytes of a datagram have come: a short sorted list of ranges.

/// Most separate ranges of one datagram. In any order of full-sized fragments of a 65,535-byte
/// datagram there are at most 22; more comes from crafted fragments, and the datagram is not put together.
pub(super) const RANGES_MAX: usize = 32;

/// Sorted ranges, start included, end excluded, that neither overlap nor touch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges {
    ranges: [(u16, u16); RANGES_MAX],
    len: usize,
}

impl Ranges {
    /// Nothing has come.
    pub(super) const EMPTY: Ranges = Ranges { ranges: [(0, 0); RANGES_MAX], len: 0 };

    fn as_slice(&self) -> &[(u16, u16)] {
        self.ranges.get(..self.len).unwrap_or_default()
    }

    /// End of the last range; 0 without one.
    pub(super) fn end(&self) -> u16 {
        self.as_slice().last().map_or(0, |range| range.1)
    }

    /// Whether exactly the bytes from 0 to `total` have come.
    pub(super) fn is_whole(&self, total: u16) -> bool {
        self.as_slice() == [(0, total)]
    }

    /// Bytes of `start..end` that have come.
    pub(super) fn covered(&self, start: u16, end: u16) -> u32 {
        let overlap = |range: &(u16, u16)| u32::from(range.1.min(end).saturating_sub(range.0.max(start)));
        self.as_slice().iter().map(overlap).sum()
    }

    /// Calls `each` with every part of `start..end` that has not come.
    pub(super) fn missing(&self, start: u16, end: u16, mut each: impl FnMut(u16, u16)) {
        let mut at = start;
        for range in self.as_slice() {
            if range.0 >= end {
                break;
            }
            if range.0 > at {
                each(at, range.0);
            }
            at = at.max(range.1);
        }
        if at < end {
            each(at, end);
        }
    }

    /// Adds `start..end`; false, with nothing changed, when there would be too many ranges.
    pub(super) fn insert(&mut self, start: u16, end: u16) -> bool {
        let ranges = self.as_slice();
        let first = ranges.partition_point(|range| range.1 < start);
        let after = first + ranges[first..].partition_point(|range| range.0 <= end);
        if first == after {
            if self.len == RANGES_MAX {
                return false;
            }
            self.ranges.copy_within(first..self.len, first + 1);
            self.ranges[first] = (start, end);
            self.len += 1;
        } else {
            self.ranges[first] = (start.min(self.ranges[first].0), end.max(self.ranges[after - 1].1));
            self.ranges.copy_within(after..self.len, first + 1);
            self.len -= after - first - 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[(u16, u16)]) -> Ranges {
        let mut ranges = Ranges::EMPTY;
        for (start, end) in parts {
            assert!(ranges.insert(*start, *end));
        }
        ranges
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        assert_eq!(of(&[(0, 8), (8, 16)]).as_slice(), [(0, 16)]);
        assert_eq!(of(&[(8, 16), (0, 8)]).as_slice(), [(0, 16)]);
        assert_eq!(of(&[(0, 8), (24, 32), (16, 20), (4, 28)]).as_slice(), [(0, 32)]);
        assert_eq!(of(&[(16, 24), (0, 8), (32, 40)]).as_slice(), [(0, 8), (16, 24), (32, 40)]);
        assert!(of(&[(8, 16), (0, 8)]).is_whole(16));
        assert!(!of(&[(8, 16)]).is_whole(16));
    }

    #[test]
    fn what_is_missing_and_what_is_covered_make_up_the_whole() {
        let ranges = of(&[(8, 16), (24, 32)]);
        let mut missing = Vec::new();
        ranges.missing(0, 40, |start, end| missing.push((start, end)));
        assert_eq!(missing, [(0, 8), (16, 24), (32, 40)]);
        assert_eq!(ranges.covered(0, 40), 16);
        assert_eq!(ranges.covered(10, 26), 8);
        assert_eq!(ranges.end(), 32);
    }

    #[test]
    fn one_range_too_many_is_refused_but_a_closing_one_is_not() {
        let mut ranges = Ranges::EMPTY;
        for i in 0..RANGES_MAX as u16 {
            assert!(ranges.insert(i * 16, i * 16 + 8));
        }
        assert!(!ranges.insert(60_000, 60_008));
        assert!(ranges.insert(8, 16));
        assert!(ranges.insert(60_000, 60_008));
    }
}
