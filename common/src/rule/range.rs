//! Sets of addresses and ports as sorted ranges.
//!
//! In: ranges, in any order. Out: a set that answers in logarithmic time whether it holds a value. All of
//! a rule's groups, negations and variables come down to one such set per end, so that matching knows
//! nothing of how it was written.

/// What ranges are of: an ordered type with neighbours.
pub trait Ordinal: Copy + Ord {
    /// The smallest.
    const MIN: Self;
    /// The largest.
    const MAX: Self;
    /// The one after.
    fn next(self) -> Option<Self>;
    /// The one before.
    fn previous(self) -> Option<Self>;
}

macro_rules! ordinal {
    ($($type:ty)*) => {$(
        impl Ordinal for $type {
            const MIN: Self = <$type>::MIN;
            const MAX: Self = <$type>::MAX;
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }
        }
    )*};
}
ordinal!(u16 u128);

/// A set, as ranges that are sorted, apart from each other and inclusive at both ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RangeSet<T> {
    ranges: Vec<(T, T)>,
}

impl<T: Ordinal> RangeSet<T> {
    /// Everything.
    pub fn all() -> RangeSet<T> {
        RangeSet { ranges: vec![(T::MIN, T::MAX)] }
    }

    /// The values of these ranges, in any order, overlapping or not. A range that ends before it begins is
    /// empty.
    pub fn of(mut ranges: Vec<(T, T)>) -> RangeSet<T> {
        ranges.retain(|(from, to)| from <= to);
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if last.1.next().is_none_or(|next| from <= next) => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        RangeSet { ranges: merged }
    }

    /// Everything that is not in the set.
    pub fn complement(&self) -> RangeSet<T> {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut from = Some(T::MIN);
        for (begin, end) in &self.ranges {
            if let (Some(from), Some(to)) = (from, begin.previous())
                && from <= to
            {
                ranges.push((from, to));
            }
            from = end.next();
        }
        ranges.extend(from.map(|from| (from, T::MAX)));
        RangeSet { ranges }
    }

    /// What is in this set and not in the other.
    pub fn minus(&self, other: &RangeSet<T>) -> RangeSet<T> {
        let (mut ranges, keep) = (Vec::new(), other.complement());
        let (mut a, mut b) = (self.ranges.iter().peekable(), keep.ranges.iter().peekable());
        while let (Some((a_from, a_to)), Some((b_from, b_to))) = (a.peek(), b.peek()) {
            let (from, to) = ((*a_from).max(*b_from), (*a_to).min(*b_to));
            if from <= to {
                ranges.push((from, to));
            }
            if a_to <= b_to {
                a.next()
            } else {
                b.next()
            };
        }
        RangeSet { ranges }
    }

    /// Whether a value is in the set.
    #[inline]
    pub fn contains(&self, value: T) -> bool {
        let behind = self.ranges.partition_point(|(from, _)| *from <= value);
        behind.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|(_, to)| value <= *to)
    }

    /// Whether it holds everything.
    pub fn is_all(&self) -> bool {
        self.ranges == [(T::MIN, T::MAX)]
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, sorted and apart from each other.
    pub fn ranges(&self) -> &[(T, T)] {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u16, u16)]) -> RangeSet<u16> {
        RangeSet::of(ranges.to_vec())
    }

    #[test]
    fn ranges_are_merged_where_they_touch() {
        assert_eq!(set(&[(5, 9), (1, 4), (20, 30), (25, 40)]).ranges(), [(1, 9), (20, 40)]);
        assert_eq!(set(&[(7, 3)]).ranges(), []);
        assert!(set(&[(0, 9), (10, u16::MAX)]).is_all());
        assert_eq!(set(&[(0, u16::MAX), (3, 4)]).ranges(), [(0, u16::MAX)]);
    }

    #[test]
    fn both_sides_of_every_border_are_told_apart() {
        let ports = set(&[(80, 80), (8000, 8010)]);
        for (port, inside) in [
            (0, false),
            (79, false),
            (80, true),
            (81, false),
            (7999, false),
            (8000, true),
            (8010, true),
            (8011, false),
        ] {
            assert_eq!(ports.contains(port), inside, "{port}");
        }
    }

    proptest::proptest! {
        #[test]
        fn sets_behave_as_lists_of_their_values(
            a in proptest::collection::vec((0u16..200, 0u16..200), 0..8),
            b in proptest::collection::vec((0u16..200, 0u16..200), 0..8),
        ) {
            let holds = |ranges: &[(u16, u16)], value: u16| ranges.iter().any(|(f, t)| (*f..=*t).contains(&value));
            let (one, two) = (set(&a), set(&b));
            for value in (0..210).chain([u16::MAX]) {
                assert_eq!(one.contains(value), holds(&a, value));
                assert_eq!(one.complement().contains(value), !holds(&a, value));
                assert_eq!(one.minus(&two).contains(value), holds(&a, value) && !holds(&b, value));
            }
            assert_eq!(one.complement().complement(), one);
        }
    }
}
