//! Where a record stands in what a sensor delivers.
//!
//! In and out: a [`Position`], and sets of sequence numbers as [`Ranges`]. A record's identity is (sensor, epoch,
//! sequence). Deliberately absent: how a spool keeps records and how a collector remembers them; both belong to their
//! programs. The record that carries a place over the wire is [`crate::ipfix::options::Place`].

use std::ops::Range;

/// A place in the records of one spool: the sequence is that of the next record, so that everything below it is meant.
///
/// Ordered within an epoch only; of two epochs neither comes before the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Drawn at random when the spool's directory is made, and anew whenever it had to be begun anew.
    pub epoch: u64,
    /// Data records put into the spool before this place.
    pub sequence: u64,
}

/// A set of sequence numbers, as ranges that neither touch nor overlap, in order.
///
/// What comes in order is one range, however much it is. Memory is 16 bytes per range; who takes ranges from a
/// stranger asks [`Ranges::would_have`] first and refuses past a limit of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// The empty set.
    pub const fn new() -> Ranges {
        Ranges(Vec::new())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ranges it takes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, range| sum.saturating_add(range.end - range.start))
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u64) -> bool {
        self.after(number) > number
    }

    /// The lowest number at or above `number` that is not in it.
    pub fn after(&self, number: u64) -> u64 {
        let index = self.0.partition_point(|range| range.end <= number);
        match self.0.get(index) {
            Some(range) if range.start <= number => range.end,
            _ => number,
        }
    }

    /// Everything below is in it, and this number is not.
    pub fn prefix(&self) -> u64 {
        self.after(0)
    }

    /// The end of the highest range; 0 for the empty set.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.end)
    }

    /// How many of `range`'s numbers are in it.
    pub fn count_in(&self, range: &Range<u64>) -> u64 {
        let from = self.0.partition_point(|have| have.end <= range.start);
        let inside = self.0.iter().skip(from).take_while(|have| have.start < range.end);
        inside.map(|have| have.end.min(range.end) - have.start.max(range.start)).sum()
    }

    /// The parts of `range` that are not in it, in order.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = range.start;
        let from = self.0.partition_point(|have| have.end <= range.start);
        for have in self.0.iter().skip(from).take_while(|have| have.start < range.end) {
            if at < have.start {
                missing.push(at..have.start);
            }
            at = have.end;
        }
        if at < range.end {
            missing.push(at..range.end);
        }
        missing
    }

    /// How many ranges it would take with `range` in it.
    pub fn would_have(&self, range: &Range<u64>) -> usize {
        if range.is_empty() {
            return self.0.len();
        }
        let (from, to) = self.touched(range);
        self.0.len() - (to - from) + 1
    }

    /// Puts numbers in; how many were not in it before.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        if let Some(last) = self.0.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
            return range.end - range.start;
        }
        let new = (range.end - range.start) - self.count_in(&range);
        let (from, to) = self.touched(&range);
        let start =
            self.0.get(from).filter(|_| from < to).map_or(range.start, |have| have.start.min(range.start));
        let end = to.checked_sub(1).filter(|_| from < to).and_then(|last| self.0.get(last));
        let end = end.map_or(range.end, |have| have.end.max(range.end));
        self.0.splice(from..to, std::iter::once(start..end));
        new
    }

    /// Takes numbers out.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|have| have.end <= range.start);
        let to = self.0.partition_point(|have| have.start < range.end);
        if from >= to {
            return;
        }
        let mut kept = Vec::with_capacity(2);
        if let Some(first) = self.0.get(from).filter(|have| have.start < range.start) {
            kept.push(first.start..range.start);
        }
        if let Some(last) = self.0.get(to - 1).filter(|have| have.end > range.end) {
            kept.push(range.end..last.end);
        }
        self.0.splice(from..to, kept);
    }

    /// Puts everything of another set in.
    pub fn extend(&mut self, other: &Ranges) {
        for range in other.iter() {
            self.insert(range);
        }
    }

    /// The places of the ranges that `range` overlaps or touches.
    fn touched(&self, range: &Range<u64>) -> (usize, usize) {
        let from = self.0.partition_point(|have| have.end < range.start);
        let to = self.0.partition_point(|have| have.start <= range.end);
        (from, to)
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Ranges {
        let mut set = Ranges::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_comes_in_order_is_one_range() {
        let mut set = Ranges::new();
        for number in 0..1000 {
            assert_eq!(set.insert(number..number + 1), 1);
        }
        assert_eq!((set.len(), set.prefix(), set.count()), (1, 1000, 1000));
    }

    #[test]
    fn a_hole_holds_the_prefix_back_until_it_is_filled() {
        let mut set: Ranges = [0..10, 12..20].into_iter().collect();
        assert_eq!((set.prefix(), set.end(), set.len()), (10, 20, 2));
        assert_eq!(set.missing(5..25), [10..12, 20..25]);
        assert_eq!(set.would_have(&(10..12)), 1);
        assert_eq!(set.insert(8..13), 2);
        assert_eq!((set.prefix(), set.len()), (20, 1));
        set.remove(3..5);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0..3, 5..20]);
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_that_they_stand_for(steps in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..9), 0..60)) {
            let (mut set, mut model) = (Ranges::new(), BTreeSet::new());
            for (put, start, length) in steps {
                let range = start..start + length;
                prop_assert_eq!(set.count_in(&range), range.clone().filter(|n| model.contains(n)).count() as u64);
                let missing: Vec<u64> = set.missing(range.clone()).into_iter().flatten().collect();
                prop_assert_eq!(missing, range.clone().filter(|n| !model.contains(n)).collect::<Vec<_>>());
                if put {
                    let would_have = set.would_have(&range);
                    let before = model.len();
                    model.extend(range.clone());
                    prop_assert_eq!(set.insert(range), (model.len() - before) as u64);
                    prop_assert_eq!(set.len(), would_have);
                } else {
                    set.remove(range.clone());
                    model.retain(|n| !range.contains(n));
                }
                prop_assert_eq!(set.iter().flatten().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert!(set.iter().zip(set.iter().skip(1)).all(|(a, b)| a.end < b.start));
                prop_assert_eq!(set.prefix(), (0..).find(|n| !model.contains(n)).unwrap_or_default());
                prop_assert_eq!(set.count(), model.len() as u64);
            }
        }
    }
}
