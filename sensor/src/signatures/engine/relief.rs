//! Relief: a signature that takes so much of a worker's time that packets are lost is set aside.
//!
//! In: what signatures cost so far, and whether packets were lost since the last look. Out: the signatures that are not
//! evaluated any more, until rules are loaded anew. One costly rule must not blind all others; that it was set aside is
//! logged, listed in `status` and the summary, and each evaluation left out is counted. What such a rule would have marked
//! (`flowbits`) is not marked either. Without loss nothing is set aside, whatever it costs.

use super::Cost;
use std::time::Instant;

/// So many looks in a row must find loss and the same signature too costly: time is measured by samples, and one that
/// another program interrupted does not condemn a rule.
const LOOKS_IN_A_ROW: u8 = 4;

/// Which signatures are set aside, and what speaks against others.
#[derive(Debug, Default)]
pub(super) struct Relief {
    /// Share of the time between two looks from which a signature is too costly; 0: nothing is ever.
    percent: u8,
    /// What each had cost at the last look, in nanoseconds, and when that was; none: nothing was lost then.
    before: Option<(Instant, Vec<u64>)>,
    /// Signatures that were too costly at the last looks, and at how many in a row.
    suspects: Vec<(u32, u8)>,
    aside: Vec<u32>,
}

impl Relief {
    pub(super) fn from_percent(percent: u8) -> Relief {
        Relief { percent, ..Relief::default() }
    }

    /// Begins anew, with other signatures.
    pub(super) fn clear(&mut self) {
        *self = Relief::from_percent(self.percent);
    }

    /// Whether a signature is set aside.
    pub(super) fn leaves_out(&self, signature: u32) -> bool {
        self.aside.contains(&signature)
    }

    /// The signatures that are set aside, the newest last.
    pub(super) fn aside(&self) -> &[u32] {
        &self.aside
    }

    /// Looks at what signatures cost so far; gives those that are set aside now.
    pub(super) fn look(&mut self, costs: &[Cost], has_lost: bool, now: Instant) -> &[u32] {
        let known = self.aside.len();
        if !has_lost || self.percent == 0 {
            self.before = None;
            self.suspects.clear();
            return &[];
        }
        if let Some((since, before)) = &self.before {
            let nanos = u64::try_from(now.saturating_duration_since(*since).as_nanos()).unwrap_or(u64::MAX);
            let most = (nanos / 100).saturating_mul(self.percent.into()).max(1);
            let costly = costs.iter().zip(before).enumerate().filter_map(|(signature, (cost, before))| {
                (cost.nanos.saturating_sub(*before) >= most).then_some(signature as u32)
            });
            let suspects: Vec<(u32, u8)> = costly
                .filter(|signature| !self.aside.contains(signature))
                .map(|signature| {
                    let before = self.suspects.iter().find(|(suspect, _)| *suspect == signature);
                    (signature, before.map_or(0, |(_, looks)| *looks) + 1)
                })
                .collect();
            self.suspects = suspects;
            let condemned = self.suspects.extract_if(.., |(_, looks)| *looks >= LOOKS_IN_A_ROW);
            self.aside.extend(condemned.map(|(signature, _)| signature));
        }
        self.before = Some((now, costs.iter().map(|cost| cost.nanos).collect()));
        self.aside.get(known..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Looks a quarter of a second apart: what a signature cost in each, in milliseconds, and whether packets were lost.
    /// Gives the number of the look at which it was set aside.
    fn looks(percent: u8, looks: &[(u64, bool)]) -> Option<usize> {
        let (mut relief, mut now) = (Relief::from_percent(percent), Instant::now());
        let mut costs = [Cost::default(); 3];
        for (number, &(millis, has_lost)) in looks.iter().enumerate() {
            now += Duration::from_millis(250);
            costs[1].nanos += millis * 1_000_000;
            costs[2].nanos += 1_000_000;
            let condemned = relief.look(&costs, has_lost, now).to_vec();
            assert_eq!(relief.leaves_out(1), !relief.aside().is_empty());
            assert!(!relief.leaves_out(0) && !relief.leaves_out(2));
            if !condemned.is_empty() {
                assert_eq!(condemned, [1]);
                return Some(number);
            }
        }
        None
    }

    #[test]
    fn what_takes_its_share_of_the_time_while_packets_are_lost_is_set_aside_and_nothing_else_is() {
        let lost = true;
        // A quarter of 250 ms, from both sides. The first look with loss only takes note of what was before.
        assert_eq!(looks(25, &[(63, lost); 8]), Some(4));
        assert_eq!(looks(25, &[(62, lost); 8]), None);
        assert_eq!(looks(25, &[(200, !lost); 8]), None, "without loss");
        assert_eq!(looks(0, &[(200, lost); 8]), None, "switched off");
    }

    #[test]
    fn a_pause_in_the_loss_or_in_the_cost_begins_anew() {
        let (costly, cheap, well) = ((200, true), (1, true), (200, false));
        assert_eq!(looks(25, &[costly, costly, costly, costly, cheap, costly, costly, costly]), None);
        assert_eq!(looks(25, &[costly, costly, costly, costly, well, costly, costly, costly, costly]), None);
        let recovered = [costly, costly, costly, costly, well, costly, costly, costly, costly, costly];
        assert_eq!(looks(25, &recovered), Some(9));
    }

    #[test]
    fn other_rules_begin_without_what_was_held_against_the_old() {
        let (mut relief, mut now) = (Relief::from_percent(25), Instant::now());
        let mut costs = [Cost::default()];
        for _ in 0..=LOOKS_IN_A_ROW {
            now += Duration::from_millis(250);
            costs[0].nanos += 250_000_000;
            relief.look(&costs, true, now);
        }
        assert!(relief.leaves_out(0));
        relief.clear();
        assert!(!relief.leaves_out(0) && relief.aside().is_empty());
    }
}
