//! Tests of several numbers at once, as Suricata's multi-integer keywords have them.
//!
//! In: an option's value: a comparison as [`super::number`] reads it, behind it which of the numbers is meant as `,any`,
//! `,all`, `,all_or_absent`, `,or_absent`, `,nb>3`, `,0`, `,-1` or `,oob_or 2`, and behind that a part of them as `,1:3`;
//! or how many there are, as `count >2`. Then the numbers. Out: whether they pass. What asks for all of them waits until
//! none will follow.

use super::number::{NOTHING, UintTest, Width, shown};

/// A test of several numbers of one transaction or packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) struct UintsTest {
    test: UintTest,
    index: Index,
    /// The part that is looked at, as in `from:to`; negative from the end, and `to` 0 is the end.
    from: i32,
    to: i32,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Any,
    /// All, and there is one.
    All,
    AllOrAbsent,
    OrAbsent,
    At {
        place: i32,
        or_outside: bool,
    },
    /// How many pass.
    Matches(UintTest),
    /// How many there are.
    Count(UintTest),
}

impl UintsTest {
    /// Reads a test of numbers.
    pub(in crate::signatures) fn parse(text: &str, width: Width) -> Result<UintsTest, String> {
        UintsTest::parse_with(text, |text| UintTest::parse(text, width))
    }

    /// Reads a test of numbers whose values may have names.
    pub(in crate::signatures) fn parse_named(
        text: &str,
        width: Width,
        names: &[(&str, u64)],
    ) -> Result<UintsTest, String> {
        UintsTest::parse_with(text, |text| UintTest::parse_named(text, width, names))
    }

    fn parse_with(
        text: &str,
        read: impl FnOnce(&str) -> Result<UintTest, String>,
    ) -> Result<UintsTest, String> {
        let mut parts = text.split(',');
        let value = parts.next().unwrap_or_default();
        let (index, part, more) = (parts.next(), parts.next(), parts.next());
        if more.is_some() {
            return Err("expected a value, which of the numbers, and a part of them, and no more".into());
        }
        if let Some(count) = value.trim().strip_prefix("count") {
            if index.is_some() {
                return Err("nothing stands behind `count`".into());
            }
            let index = Index::Count(UintTest::parse(count, Width::U32)?);
            return Ok(UintsTest { test: NOTHING, index, from: 0, to: 0 });
        }
        let test = read(value)?;
        let index = index.map_or(Ok(Index::Any), Index::parse)?;
        let (from, to) = part.map_or(Ok((0, 0)), part_of)?;
        Ok(UintsTest { test, index, from, to })
    }

    /// Which place it asks for, so that keywords with few places can refuse others.
    pub(super) fn place(&self) -> Option<i32> {
        match self.index {
            Index::At { place, .. } => Some(place),
            _ => None,
        }
    }

    /// Whether some number that could pass is at most this: what a keyword with fewer values can refuse by.
    pub(super) fn is_within(&self, max: u64) -> bool {
        match self.test {
            UintTest::Range { from, to, .. } => from <= max && (to <= max || to == u64::MAX),
            UintTest::Bits { mask, .. } => mask <= max,
        }
    }

    /// Whether `len` numbers pass; a place may have none. `is_complete` says that none will follow.
    pub(in crate::signatures) fn has(
        &self,
        len: usize,
        value: impl Fn(usize) -> Option<u64>,
        is_complete: bool,
    ) -> bool {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        let place = |at: i32| if at < 0 { len + i64::from(at) } else { i64::from(at) };
        let (from, to) = (place(self.from), if self.to == 0 { len } else { place(self.to) });
        let (from, to) = if from < 0 || to > len || from >= to { (0, 0) } else { (from, to) };
        let mut values = (from..to).filter_map(|at| value(at as usize));
        let passes = |value: u64| self.test.has(value);
        match self.index {
            Index::Any => values.any(passes),
            Index::OrAbsent => {
                let mut is_absent = true;
                let is_found = values.any(|value| {
                    is_absent = false;
                    passes(value)
                });
                is_found || is_absent && is_complete
            }
            Index::All => is_complete && values.next().is_some_and(passes) && values.all(passes),
            Index::AllOrAbsent => is_complete && values.all(passes),
            Index::Matches(number) => {
                (is_complete || number.is_minimum())
                    && number.has(values.filter(|value| passes(*value)).count() as u64)
            }
            Index::Count(number) => (is_complete || number.is_minimum()) && number.has(values.count() as u64),
            Index::At { place, or_outside } => {
                let at = if place < 0 { to + i64::from(place) } else { from + i64::from(place) };
                if (from..to).contains(&at) {
                    value(at as usize).is_some_and(passes)
                } else {
                    or_outside && is_complete
                }
            }
        }
    }
}

impl Index {
    fn parse(text: &str) -> Result<Index, String> {
        let text = text.trim();
        if let Some(number) = text.strip_prefix("nb") {
            return UintTest::parse(number, Width::U32).map(Index::Matches);
        }
        let (or_outside, place) = match text.strip_prefix("oob_or") {
            Some(place) => (true, place.trim_start()),
            None => (false, text),
        };
        match text {
            "any" => Ok(Index::Any),
            "all" => Ok(Index::All),
            "all_or_absent" => Ok(Index::AllOrAbsent),
            "or_absent" => Ok(Index::OrAbsent),
            _ => match place.parse() {
                Ok(place) => Ok(Index::At { place, or_outside }),
                Err(_) => Err(format!(
                    "`{}` is none of `any`, `all`, `all_or_absent`, `or_absent`, `nb` with a comparison, or a place",
                    shown(text)
                )),
            },
        }
    }
}

/// `from:to`.
fn part_of(text: &str) -> Result<(i32, i32), String> {
    let ends = text.trim().split_once(':').and_then(|(from, to)| from.parse().ok().zip(to.parse().ok()));
    let Some((from, to)) = ends else {
        return Err(format!("`{}` is not a part such as `1:3`", shown(text.trim())));
    };
    let is_same_side = from > 0 && to > 0 || from < 0 && to < 0;
    if is_same_side && to <= from {
        return Err(format!("the part {from}:{to} ends before it begins"));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_numbers_are_asked_as_a_whole_by_place_and_by_count() {
        let has = |text: &str, values: &[u64], is_complete| {
            let test = UintsTest::parse(text, Width::U16).unwrap_or_else(|error| panic!("{text}: {error}"));
            test.has(values.len(), |at| values.get(at).copied(), is_complete)
        };
        for (text, values, now, once_complete) in [
            ("5", &[4, 5][..], true, true),
            ("5,any", &[4, 6], false, false),
            ("5", &[], false, false),
            (">4,all", &[5, 6], false, true),
            (">4,all", &[4, 6], false, false),
            (">4,all", &[], false, false),
            (">4,all_or_absent", &[], false, true),
            (">4,all_or_absent", &[5, 4], false, false),
            ("5,or_absent", &[], false, true),
            ("5,or_absent", &[4], false, false),
            ("5,or_absent", &[4, 5], true, true),
            ("5,0", &[5, 4], true, true),
            ("5,1", &[5, 4], false, false),
            ("5,-2", &[5, 4], true, true),
            ("5,-3", &[5, 4], false, false),
            ("5,2", &[5, 5], false, false),
            ("5,oob_or 2", &[4, 4], false, true),
            ("5,oob_or 1", &[4, 4], false, false),
            ("5,nb>1", &[5, 5], true, true),
            ("5,nb>1", &[5, 4], false, false),
            ("5,nb 1", &[5, 4], false, true),
            ("count >1", &[5, 4], true, true),
            ("count 2", &[5, 4], false, true),
            ("count 3", &[5, 4], false, false),
            (">2,all,2:4", &[1, 2, 3, 1, 5, 1], false, false),
            (">2,all,2:4", &[1, 2, 3, 4, 1, 1], false, true),
            ("3,0,-4:-1", &[1, 2, 3, 4, 5, 6], true, true),
            ("5,-1,-4:-1", &[1, 2, 3, 4, 5, 6], true, true),
            ("6,any,-4:-1", &[1, 2, 3, 4, 5, 6], false, false),
            ("6,any,3:0", &[1, 2, 3, 4, 5, 6], true, true),
            ("1,any,0:9", &[1, 2], false, false),
        ] {
            assert_eq!(has(text, values, false), now, "{text} {values:?}");
            assert_eq!(has(text, values, true), once_complete, "{text} {values:?}");
        }
        for wrong in [
            "",
            "5,x",
            "5,any,1",
            "5,any,1:2,3",
            "5,any,2:1",
            "5,any,-1:-2",
            "count",
            "count 1,any",
            "5,nb",
            "5,",
        ] {
            assert!(UintsTest::parse(wrong, Width::U16).is_err(), "{wrong}");
        }
    }
}
