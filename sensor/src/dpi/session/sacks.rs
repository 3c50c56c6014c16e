//! What of an end's bytes was acknowledged selectively (RFC 2018).

use super::{is_after, is_before};

/// Most ranges that are remembered; further ones are forgotten, which makes the window look smaller than it is.
const RANGES_MAX: usize = 4;

/// Ranges beyond the acknowledgement, in no order, that neither overlap nor touch.
#[derive(Debug, Default)]
pub(super) struct Sacks {
    ranges: [(u32, u32); RANGES_MAX],
    len: usize,
}

impl Sacks {
    fn get(&self) -> &[(u32, u32)] {
        self.ranges.get(..self.len).unwrap_or_default()
    }

    /// Adds a block of an end of which `acknowledged` was acknowledged, and that may send up to `limit`.
    pub(super) fn add(&mut self, (mut start, mut end): (u32, u32), acknowledged: u32, limit: u32) {
        if !is_after(end, start) || !is_after(end, acknowledged) || is_after(end, limit) {
            return;
        }
        if is_before(start, acknowledged) {
            start = acknowledged;
        }
        let mut kept = 0;
        for at in 0..self.len {
            let range = self.ranges[at];
            if is_after(range.0, end) || is_before(range.1, start) {
                self.ranges[kept] = range;
                kept += 1;
                continue;
            }
            start = if is_before(range.0, start) { range.0 } else { start };
            end = if is_after(range.1, end) { range.1 } else { end };
        }
        if let Some(place) = self.ranges.get_mut(kept) {
            *place = (start, end);
            kept += 1;
        }
        self.len = kept;
    }

    /// What lies before this number is acknowledged altogether.
    pub(super) fn forget_before(&mut self, number: u32) {
        let mut kept = 0;
        for at in 0..self.len {
            let (start, end) = self.ranges[at];
            if is_after(end, number) {
                self.ranges[kept] = (if is_before(start, number) { number } else { start }, end);
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Whether a block is among them.
    pub(super) fn has(&self, (start, end): (u32, u32)) -> bool {
        self.get().iter().any(|range| !is_before(start, range.0) && !is_after(end, range.1))
    }

    /// How many bytes they are.
    pub(super) fn bytes(&self) -> u32 {
        self.get().iter().fold(0, |sum, range| sum.wrapping_add(range.1.wrapping_sub(range.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_joined_cut_and_forgotten() {
        let mut sacks = Sacks::default();
        for block in [(10, 20), (30, 40), (20, 30), (50, 60), (0, 5), (95, 105)] {
            sacks.add(block, 8, 100);
        }
        assert_eq!((sacks.get(), sacks.bytes()), (&[(10, 40), (50, 60)][..], 40));
        assert!(sacks.has((12, 40)) && !sacks.has((12, 41)) && !sacks.has((9, 12)));
        sacks.forget_before(35);
        assert_eq!(sacks.bytes(), 15);
        for start in [62, 70, 80, 90] {
            sacks.add((start, start + 2), 35, 100);
        }
        assert_eq!(sacks.bytes(), 15 + 4);
        // Around the end of the numbers.
        let mut sacks = Sacks::default();
        sacks.add((u32::MAX - 4, 5), u32::MAX - 9, 100);
        assert_eq!(sacks.bytes(), 10);
    }
}
