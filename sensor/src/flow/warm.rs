//! Loads flows into the processor's cache before they are needed.
//!
//! In a table that is larger than the cache, observing a packet waits for memory several times in a row: for
//! the index, which says where the flow is, for the flow, and for its neighbours in the list of its timeout.
//! Packets that are known together can wait together: each step is done for all of them before the next one,
//! and loads that do not depend on each other overlap. Nothing is changed here and nothing decided.

use super::expiry::{NONE, ns_since};
use super::table::{FlowHash, FlowTable};
use std::hint::black_box;
use weir_common::time::Timestamp;

/// Fewest flows in a table whose flows are worth loading ahead: 10 MiB of them; fewer are mostly in some cache. From
/// here on traffic of short flows gains a tenth to a third, and traffic with a few busy flows loses nothing
/// that could be measured.
pub const WARM_FLOWS_MIN: usize = 32_768;
/// Most packets that are loaded for at once.
const PACKETS_MAX: usize = 32;

impl<A: Default> FlowTable<A> {
    /// Loads what [`FlowTable::observe`] will touch for packets with these hashes (the first 32 of them), all of
    /// them at about the time `now`. It pays when the table has [`WARM_FLOWS_MIN`] flows. `touch` reads a word of each
    /// cache line that lies behind an attachment.
    pub fn warm(&self, hashes: &[FlowHash], now: Timestamp, touch: impl Fn(&A) -> u64) {
        let hashes = &hashes[..hashes.len().min(PACKETS_MAX)];
        let mut sum = 0;
        for hash in hashes {
            sum ^= self.index.home(hash.0);
        }
        black_box(sum);
        let mut slots = [NONE; PACKETS_MAX];
        for (place, hash) in slots.iter_mut().zip(hashes) {
            // With the whole of a hash equal it is the flow, but for one in thousands of millions.
            *place = self.index.find(hash.0, |_| true).unwrap_or(NONE);
        }
        let slots = &slots[..hashes.len()];
        let mut sum = 0;
        for slot in slots.iter().filter(|slot| **slot != NONE) {
            // One word of each cache line.
            let flow = self.flows.at(*slot);
            sum ^= flow.queued_at.0 ^ flow.end.0 ^ flow.flow_id ^ flow.features.touch();
        }
        black_box(sum);
        let mut sum = 0;
        for slot in slots.iter().filter(|slot| **slot != NONE) {
            let flow = self.flows.at(*slot);
            sum ^= touch(&flow.attachment);
            if ns_since(now, flow.queued_at) >= self.queue_granule_ns {
                for neighbour in [flow.older, flow.newer].into_iter().filter(|neighbour| *neighbour != NONE) {
                    sum ^= self.flows.at(neighbour).queued_at.0;
                }
            }
        }
        black_box(sum);
    }
}
