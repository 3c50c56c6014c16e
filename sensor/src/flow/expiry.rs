//! In which order flows leave: one list per timeout, least recently seen first.
//!
//! A flow moves to the end of its list when it is seen, but not more often than once per
//! [`QUEUE_GRANULE_NS_MAX`], because moving writes to two other flows that are likely not in the cache. So the order
//! is exact to that granule; timeouts themselves are exact, because they are judged by the flow's last packet.

use super::live::Flow;
use super::slab::Slab;
use weir_common::record::EndReason;
use weir_common::time::Timestamp;

/// Longest time for which a flow that is seen again stays where it is in its list, in nanoseconds.
pub(super) const QUEUE_GRANULE_NS_MAX: u64 = 100_000_000;
/// Most flows that one call of `expire` looks at, so that a worker is soon back at its packets.
pub(super) const EXPIRED_PER_CALL_MAX: usize = 4096;

/// No neighbour.
pub(super) const NONE: u32 = u32::MAX;

/// Nanoseconds from `earlier` to `now`, 0 when time went back. A plain number, because a `Duration` costs two
/// divisions, for every packet.
#[inline]
pub(super) fn ns_since(now: Timestamp, earlier: Timestamp) -> u64 {
    now.0.saturating_sub(earlier.0)
}

/// A list of flows with one timeout.
pub(super) struct Queue {
    pub(super) timeout_ns: u64,
    oldest: u32,
    newest: u32,
}

impl Queue {
    pub(super) fn new(timeout_ns: u64) -> Queue {
        Queue { timeout_ns, oldest: NONE, newest: NONE }
    }

    /// The flow least recently seen.
    #[inline]
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Puts a flow that is in no list at the end.
    #[inline]
    pub(super) fn push<A>(&mut self, flows: &mut Slab<Flow<A>>, slot: u32, time: Timestamp) {
        let flow = flows.at_mut(slot);
        flow.queued_at = time;
        flow.older = self.newest;
        flow.newer = NONE;
        match self.newest {
            NONE => self.oldest = slot,
            newest => flows.at_mut(newest).newer = slot,
        }
        self.newest = slot;
    }

    /// Takes a flow out.
    #[inline]
    pub(super) fn remove<A>(&mut self, flows: &mut Slab<Flow<A>>, slot: u32) {
        let Flow { older, newer, .. } = *flows.at(slot);
        match older {
            NONE => self.oldest = newer,
            older => flows.at_mut(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => flows.at_mut(newer).older = older,
        }
    }

    /// Moves a flow to the end.
    #[inline]
    pub(super) fn requeue<A>(&mut self, flows: &mut Slab<Flow<A>>, slot: u32, time: Timestamp) {
        if self.newest == slot {
            flows.at_mut(slot).queued_at = time;
        } else {
            self.remove(flows, slot);
            self.push(flows, slot, time);
        }
    }

    /// What is to be done with the oldest flow of the list at `now`; `None` when neither its timeout has passed
    /// nor that of any flow behind it, but for the granule. `reason` is what this list's timeout means.
    pub(super) fn verdict<A>(&self, flow: &Flow<A>, now: Timestamp, reason: EndReason) -> Option<Verdict> {
        if ns_since(flow.queued_at, now) > self.timeout_ns {
            return Some(Verdict::Requeue);
        }
        let seen = if flow.end > now { flow.queued_at } else { flow.end.max(flow.queued_at) };
        (ns_since(now, seen) >= self.timeout_ns).then_some(Verdict::Expired(reason))
    }
}

/// What is to be done with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its timeout has passed.
    Expired(EndReason),
    /// Its time lies far ahead: the clock was set back, or one packet came with a wrong time. It counts as seen
    /// now, so that it does not keep the flows behind it from leaving.
    Requeue,
}
