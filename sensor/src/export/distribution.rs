//! Which of several collectors gets a flow's records.
//!
//! In: a flow's identifier and which collectors can be reached. Out: all of them, or one. The one is chosen by rendezvous
//! hashing (Thaler and Ravishankar 1998), so that a flow keeps its collector as long as it can be reached, and one that
//! fails or comes back moves no flow but its own. Files always get everything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_common::net::CommunityId;

/// How records are shared among collectors.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Each collector gets every record.
    #[default]
    All,
    /// Each flow goes to one of the collectors, to another only while that one cannot be reached.
    Balanced,
}

/// The collector that a flow belongs to: `reachable` says of each whether it can be reached, `None` of what is no
/// collector. While none can be reached it is the one that the flow would have if all could.
pub(super) fn choose(flow: CommunityId, reachable: impl Iterator<Item = Option<bool>>) -> Option<usize> {
    let collectors = reachable.enumerate().filter_map(|(place, state)| Some((place, state?)));
    collectors.max_by_key(|(place, reachable)| (*reachable, weight(flow, *place))).map(|(place, _)| place)
}

/// A number that follows from both alone (the finalizer of MurmurHash3).
fn weight(flow: CommunityId, place: usize) -> u64 {
    let mut mixed = flow.tag() ^ (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ mixed >> 33).wrapping_mul(factor);
    }
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows() -> impl Iterator<Item = CommunityId> {
        (0..3000u32).map(|number| {
            let mut digest = [0; 20];
            digest[4..8].copy_from_slice(&number.to_be_bytes());
            CommunityId(digest)
        })
    }

    const UP: Option<bool> = Some(true);
    const DOWN: Option<bool> = Some(false);

    fn shares(states: [Option<bool>; 3]) -> [usize; 3] {
        let mut shares = [0; 3];
        flows().filter_map(|flow| choose(flow, states.into_iter())).for_each(|place| shares[place] += 1);
        shares
    }

    #[test]
    fn collectors_share_alike_and_files_do_not_take_part() {
        for share in shares([UP, UP, UP]) {
            assert!((900..1100).contains(&share), "{share}");
        }
        let [a, file, b] = shares([UP, None, UP]);
        assert_eq!((a + b, file), (3000, 0));
        assert_eq!(choose(CommunityId([1; 20]), [None, None].into_iter()), None);
    }

    #[test]
    fn one_that_fails_moves_no_flow_but_its_own() {
        for flow in flows() {
            let before = choose(flow, [UP, UP, UP].into_iter());
            let after = choose(flow, [UP, DOWN, UP].into_iter());
            assert!(after != Some(1));
            assert!(before == after || before == Some(1), "{before:?} {after:?}");
        }
    }

    #[test]
    fn while_none_can_be_reached_each_keeps_its_own() {
        for flow in flows() {
            assert_eq!(choose(flow, [DOWN; 3].into_iter()), choose(flow, [UP; 3].into_iter()));
        }
    }
}
