//! Where a flow's packets are in its sensor's ring, and until when.
//!
//! In: the numbers of the blocks that took a flow's frames, or the text of what was told before. Out: a bounded
//! list of ranges ([`Extents`]) with its text form, and [`Evidence`], which a flow record carries. A block is named
//! for good by the sensor's run in that ring, the lane, and the block's number in that lane and run. Deliberately
//! absent: the ring, and what the blocks hold; a block that is named may be gone.
//!
//! # The text form
//! `RUN.LANE:RANGES`, as in `3.0:120-122,140`: run 3, lane 0, blocks 120 to 122 and 140. Ranges ascend and are
//! separated by commas; a range of one block is its number; no range at all (`3.0:`) says that no packet was kept.
//! `~` in front says that blocks are covered which hold no packet of the flow, because there would be more than
//! [`RANGES_MAX`] ranges otherwise, or because fragments were only later known to be the flow's. Such extents
//! cover more than is needed, never less.

use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Most ranges of one record; at the limit the two with the fewest blocks between them become one.
pub const RANGES_MAX: usize = 8;
/// Most octets of the text form: the mark, ten digits of run, five of lane, twenty of each block number.
pub const TEXT_BYTES_MAX: usize = 1 + 10 + 1 + 5 + 1 + RANGES_MAX * 41 + (RANGES_MAX - 1);

/// Consecutive blocks of one lane, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockRange {
    /// Number of the first block.
    pub first: u64,
    /// Number of the last block, at least `first`.
    pub last: u64,
}

/// The blocks of a ring in which a flow's packets are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Extents {
    /// The run of the sensor in this ring.
    pub run: u32,
    /// The worker's lane.
    pub lane: u16,
    inexact: bool,
    count: u8,
    /// In ascending order, neither overlapping nor adjacent; zero behind the `count`th.
    ranges: [BlockRange; RANGES_MAX],
}

/// Why a text does not name blocks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` does not name blocks of a ring: {expected}, as in 3.0:120-122,140")]
pub struct ExtentsError {
    text: String,
    expected: &'static str,
}

impl Extents {
    /// No block yet.
    pub fn new(run: u32, lane: u16) -> Extents {
        Extents { run, lane, ..Extents::default() }
    }

    /// The ranges, in ascending order.
    pub fn ranges(&self) -> &[BlockRange] {
        self.ranges.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Whether no block is named.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether every block that is named took a frame of the flow.
    pub fn is_exact(&self) -> bool {
        !self.inexact
    }

    /// Notes that blocks are named which hold nothing of the flow.
    pub fn set_inexact(&mut self) {
        self.inexact = true;
    }

    /// How many blocks are named.
    pub fn blocks(&self) -> u64 {
        let blocks = self.ranges().iter().map(|range| (range.last - range.first).saturating_add(1));
        blocks.fold(0, u64::saturating_add)
    }

    /// Whether a block is named.
    pub fn names(&self, run: u32, lane: u16, number: u64) -> bool {
        self.run == run
            && self.lane == lane
            && self.ranges().iter().any(|range| (range.first..=range.last).contains(&number))
    }

    /// Whether one of the blocks between two numbers is named, both included.
    pub fn overlap(&self, run: u32, lane: u16, numbers: BlockRange) -> bool {
        let overlaps = |range: &BlockRange| range.first <= numbers.last && range.last >= numbers.first;
        self.run == run && self.lane == lane && self.ranges().iter().any(overlaps)
    }

    /// Adds a block.
    pub fn add(&mut self, number: u64) {
        self.add_range(BlockRange { first: number, last: number });
    }

    /// Adds consecutive blocks. Beyond [`RANGES_MAX`] ranges the two nearest become one, the older ones where
    /// several are as near, and the extents are exact no more.
    pub fn add_range(&mut self, added: BlockRange) {
        let mut added = BlockRange { first: added.first.min(added.last), last: added.last.max(added.first) };
        // Blocks mostly come in their order.
        if self.ranges().last().is_none_or(|last| last.last.saturating_add(1) < added.first)
            && let Some(place) = self.ranges.get_mut(usize::from(self.count))
        {
            *place = added;
            self.count += 1;
            return;
        }
        let mut all = [BlockRange::default(); RANGES_MAX + 1];
        let mut count = 0;
        let mut put = |range: BlockRange| {
            if let Some(place) = all.get_mut(count) {
                *place = range;
                count += 1;
            }
        };
        let mut rest = self.ranges().iter().peekable();
        while let Some(before) = rest.next_if(|range| range.last.saturating_add(1) < added.first) {
            put(*before);
        }
        while let Some(touched) = rest.next_if(|range| range.first <= added.last.saturating_add(1)) {
            added = BlockRange { first: added.first.min(touched.first), last: added.last.max(touched.last) };
        }
        put(added);
        rest.for_each(|after| put(*after));
        if count > RANGES_MAX {
            join_nearest(&mut all);
            count = RANGES_MAX;
            self.inexact = true;
        }
        self.ranges = [BlockRange::default(); RANGES_MAX];
        self.count = count as u8;
        for (place, range) in self.ranges.iter_mut().zip(all.iter().take(count)) {
            *place = *range;
        }
    }

    /// Adds the blocks of other extents; false, and nothing is added, when they are of another run or lane.
    pub fn join(&mut self, other: &Extents) -> bool {
        if (self.run, self.lane) != (other.run, other.lane) {
            return false;
        }
        other.ranges().iter().for_each(|range| self.add_range(*range));
        self.inexact |= other.inexact;
        true
    }

    /// Appends the text form.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.parts(&mut |part| match part.as_bytes() {
            // One character is a store, where more are a call.
            [one] => out.push(*one),
            more => out.extend_from_slice(more),
        });
    }

    fn parts(&self, put: &mut impl FnMut(&str)) {
        let mut number = itoa::Buffer::new();
        if self.inexact {
            put("~");
        }
        put(number.format(self.run));
        put(".");
        put(number.format(self.lane));
        put(":");
        for (at, range) in self.ranges().iter().enumerate() {
            if at > 0 {
                put(",");
            }
            put(number.format(range.first));
            if range.last > range.first {
                put("-");
                put(number.format(range.last));
            }
        }
    }

    /// Reads the text form; at the error, what was expected.
    fn read(text: &str) -> Result<Extents, &'static str> {
        let (inexact, text) = text.strip_prefix('~').map_or((false, text), |rest| (true, rest));
        let (place, ranges) = text.split_once(':').ok_or("expected RUN.LANE and a colon")?;
        let (run, lane) = place.split_once('.').ok_or("expected RUN.LANE before the colon")?;
        let run = digits(run).and_then(|run| u32::try_from(run).ok()).ok_or("the run is no number")?;
        let lane = digits(lane).and_then(|lane| u16::try_from(lane).ok()).ok_or("the lane is no number")?;
        let mut extents = Extents { inexact, ..Extents::new(run, lane) };
        let mut before = None;
        for (at, range) in ranges.split(',').enumerate().filter(|_| !ranges.is_empty()) {
            if at >= RANGES_MAX {
                return Err("expected no more ranges than a record can have");
            }
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Some(first), Some(last)) = (digits(first), digits(last)) else {
                return Err("expected block numbers as FIRST-LAST, separated by commas");
            };
            if first > last || before.is_some_and(|before| first <= before) {
                return Err("expected block numbers in ascending order");
            }
            before = Some(last);
            extents.add_range(BlockRange { first, last });
        }
        Ok(extents)
    }
}

/// A number without a sign.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|octet| octet.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Joins the two neighbours with the fewest blocks between them; what is behind them moves up.
fn join_nearest(all: &mut [BlockRange]) {
    let gaps = all.iter().zip(all.iter().skip(1)).map(|(before, after)| after.first - before.last);
    let Some((nearest, _)) = gaps.enumerate().min_by_key(|(_, gap)| *gap) else { return };
    if let Some([before, after, ..]) = all.get_mut(nearest..) {
        before.last = after.last;
        all.copy_within(nearest + 2.., nearest + 1);
    }
}

impl fmt::Display for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut done = Ok(());
        self.parts(&mut |part| done = done.and_then(|()| f.write_str(part)));
        done
    }
}

impl fmt::Debug for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Extents {
    type Err = ExtentsError;

    fn from_str(text: &str) -> Result<Extents, ExtentsError> {
        /// A text that is wrong is quoted up to here.
        const QUOTED_CHARS_MAX: usize = 80;
        let wrong = |expected| ExtentsError { text: text.chars().take(QUOTED_CHARS_MAX).collect(), expected };
        Extents::read(text).map_err(wrong)
    }
}

impl Serialize for Extents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Extents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Extents, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a record says about its packets in the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Where they are.
    pub extents: Extents,
    /// Frames of the flow that the ring took. Less than the record's packets by those that it missed, and by
    /// fragments that were not known to be the flow's when they came; the extents cover those.
    pub frames_kept: u64,
    /// Frames of the flow that the ring did not take, because it could not keep up.
    pub frames_missed: u64,
    /// When the ring is expected to remove the first of them at the rate at which it fills; none: not known yet.
    pub expires: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extents(numbers: &[u64]) -> Extents {
        let mut extents = Extents::new(3, 0);
        numbers.iter().for_each(|number| extents.add(*number));
        extents
    }

    #[test]
    fn the_last_range_grows_or_another_begins() {
        assert_eq!(extents(&[]).to_string(), "3.0:");
        assert_eq!(extents(&[120, 120, 121, 122, 140]).to_string(), "3.0:120-122,140");
        assert_eq!(extents(&[140, 122, 120, 121]).to_string(), "3.0:120-122,140");
        assert_eq!(extents(&[u64::MAX, 0, u64::MAX - 1]).blocks(), 3);
        assert!(extents(&[120, 140]).is_exact());
    }

    #[test]
    fn beyond_the_limit_the_nearest_become_one_and_the_text_says_so() {
        let eight = extents(&[0, 10, 20, 30, 33, 50, 60, 70]);
        assert!(eight.is_exact() && eight.ranges().len() == RANGES_MAX);
        let mut nine = eight.clone();
        nine.add(80);
        assert_eq!(nine.to_string(), "~3.0:0,10,20,30-33,50,60,70,80");
        // Of equals the oldest.
        nine.add(90);
        assert_eq!(nine.to_string(), "~3.0:0-10,20,30-33,50,60,70,80,90");
        nine.add(92);
        assert_eq!(nine.to_string(), "~3.0:0-10,20,30-33,50,60,70,80,90-92");
    }

    #[test]
    fn extents_of_one_lane_join_and_others_do_not() {
        let mut one = extents(&[1, 5]);
        assert!(one.join(&extents(&[2, 9])));
        assert_eq!(one.to_string(), "3.0:1-2,5,9");
        assert!(!one.join(&Extents::new(3, 1)) && !one.join(&Extents::new(4, 0)));
        let mut vague = extents(&[1]);
        vague.set_inexact();
        assert!(one.join(&vague) && !one.is_exact());
        for (first, last, want) in [(0, 0, false), (0, 1, true), (3, 4, false), (2, 4, true), (6, 8, false)] {
            assert_eq!(one.overlap(3, 0, BlockRange { first, last }), want, "{first} to {last}");
        }
        assert!(!one.overlap(3, 1, BlockRange { first: 0, last: 9 }));
        assert!(one.names(3, 0, 2) && !one.names(3, 0, 3) && !one.names(3, 1, 2) && !one.names(2, 0, 2));
    }

    #[test]
    fn text_reads_back_and_other_text_is_refused_with_what_was_expected() {
        for text in ["3.0:", "~3.0:", "3.0:120-122,140", "4294967295.65535:0,18446744073709551615"] {
            assert_eq!(text.parse::<Extents>().unwrap().to_string(), text);
        }
        assert_eq!("3.0:1-2,3".parse::<Extents>().unwrap().to_string(), "3.0:1-3");
        for (wrong, expected) in [
            ("", "a colon"),
            ("3:1", "RUN.LANE before"),
            ("x.0:1", "the run"),
            ("4294967296.0:1", "the run"),
            ("3.65536:1", "the lane"),
            ("3.:1", "the lane"),
            ("3.0:+1", "block numbers"),
            ("3.0:1-", "block numbers"),
            ("3.0:1,", "block numbers"),
            ("3.0:2-1", "ascending"),
            ("3.0:5,5", "ascending"),
            ("3.0:18446744073709551616", "block numbers"),
            ("3.0:1,3,5,7,9,11,13,15,17", "no more ranges"),
            ("~~3.0:1", "the run"),
        ] {
            let error = wrong.parse::<Extents>().unwrap_err().to_string();
            assert!(error.contains(expected), "{wrong}: {error}");
        }
        let long = "9".repeat(100_000).parse::<Extents>().unwrap_err().to_string();
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn the_longest_text_has_the_length_that_is_named() {
        let mut longest = Extents::new(u32::MAX, u16::MAX);
        for at in 0..RANGES_MAX as u64 {
            longest.add_range(BlockRange { first: u64::MAX - 4 * at - 1, last: u64::MAX - 4 * at });
        }
        longest.set_inexact();
        let mut text = Vec::new();
        longest.write(&mut text);
        assert_eq!(text.len(), TEXT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn everything_added_is_named_within_the_limit(
            ranges in prop::collection::vec((0u64..200, 0u64..4), 0..60),
        ) {
            let mut extents = Extents::new(1, 2);
            let mut wanted = std::collections::BTreeSet::new();
            // What was named to make room stays said to be inexact, even where all of it is added later.
            let mut was_too_many = false;
            for (first, more) in ranges {
                extents.add_range(BlockRange { first, last: first + more });
                wanted.extend(first..=first + more);
                let begins = |number: &&u64| !number.checked_sub(1).is_some_and(|before| wanted.contains(&before));
                was_too_many |= wanted.iter().filter(begins).count() > RANGES_MAX;
                prop_assert!(extents.ranges().len() <= RANGES_MAX);
            }
            prop_assert!(wanted.iter().all(|number| extents.names(1, 2, *number)));
            for pair in extents.ranges().windows(2) {
                prop_assert!(pair[0].first <= pair[0].last && pair[0].last + 1 < pair[1].first);
            }
            prop_assert_eq!(extents.is_exact(), !was_too_many);
            prop_assert!(was_too_many || extents.blocks() == wanted.len() as u64);
            prop_assert_eq!(extents.to_string().parse::<Extents>(), Ok(extents));
        }

        #[test]
        fn hostile_text_is_refused_or_reads_back(text in "[~0-9.:,-]{0,60}") {
            if let Ok(extents) = text.parse::<Extents>() {
                prop_assert_eq!(extents.to_string().parse::<Extents>(), Ok(extents));
            }
        }
    }
}
