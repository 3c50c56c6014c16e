//! The index from a flow's hash to its slot: open addressing with linear probing in one array.
//!
//! A look-up of a cold flow costs one cache miss here, where a general hash table has two (control bytes,
//! then the entry); with a million flows that is the largest cost there is. The hash is keyed, so
//! whoever chooses flow keys cannot choose where they land.

use super::huge_pages;

/// Buckets of a new index; a power of two.
const BUCKETS_MIN: usize = 1024;
/// An empty bucket; occupied ones hold the slot plus one.
const EMPTY: u64 = 0;

/// Hash and slot in one word, hash in the upper half.
pub(super) struct Index {
    buckets: Vec<u64>,
    len: usize,
}

impl Index {
    pub(super) fn new() -> Index {
        Index { buckets: vec![EMPTY; BUCKETS_MIN], len: 0 }
    }

    /// The slot with this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.buckets.len() - 1;
        let mut at = hash as usize & mask;
        // At least a quarter of the buckets is empty, so this ends.
        while let Some(&bucket) = self.buckets.get(at)
            && bucket != EMPTY
        {
            let slot = bucket as u32 - 1;
            if (bucket >> 32) as u32 == hash && is_it(slot) {
                return Some(slot);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// The bucket that a look-up of this hash begins with.
    #[inline]
    pub(super) fn home(&self, hash: u32) -> u64 {
        self.buckets.get(hash as usize & (self.buckets.len() - 1)).copied().unwrap_or(EMPTY)
    }

    /// Adds a slot that is not in the index. Slots are below `u32::MAX`.
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        if (self.len + 1) * 4 > self.buckets.len() * 3 {
            self.grow();
        }
        self.len += 1;
        place(&mut self.buckets, u64::from(hash) << 32 | (u64::from(slot) + 1));
    }

    /// Removes a slot, and moves up the entries that had to make way for it.
    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let entry = u64::from(hash) << 32 | (u64::from(slot) + 1);
        let mask = self.buckets.len() - 1;
        let mut hole = hash as usize & mask;
        while self.buckets[hole] != entry {
            if self.buckets[hole] == EMPTY {
                return;
            }
            hole = (hole + 1) & mask;
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let bucket = self.buckets[at];
            if bucket == EMPTY {
                break;
            }
            let home = (bucket >> 32) as usize & mask;
            // An entry may move to the hole when that is not before its home.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.buckets[hole] = bucket;
                hole = at;
            }
        }
        self.buckets[hole] = EMPTY;
    }

    #[cold]
    fn grow(&mut self) {
        let mut buckets = Vec::with_capacity(self.buckets.len() * 2);
        huge_pages::advise(&mut buckets);
        buckets.resize(self.buckets.len() * 2, EMPTY);
        for entry in self.buckets.iter().filter(|entry| **entry != EMPTY) {
            place(&mut buckets, *entry);
        }
        self.buckets = buckets;
    }
}

/// Puts an entry into the first empty bucket from its home on; there is one.
#[inline]
fn place(buckets: &mut [u64], entry: u64) {
    let mask = buckets.len() - 1;
    let mut at = (entry >> 32) as usize & mask;
    while buckets[at] != EMPTY {
        at = (at + 1) & mask;
    }
    buckets[at] = entry;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Few distinct hashes, so that runs of buckets form, wrap around and are taken apart.
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((any::<bool>(), 0u32..200), 1..2000)) {
            let mut index = Index::new();
            let mut model = HashMap::new();
            let hash_of = |slot: u32| (slot / 7).wrapping_mul(0x9e37_79b9) | 0x3f0;
            for (is_insert, slot) in steps {
                let hash = hash_of(slot);
                if is_insert {
                    if model.insert(slot, hash).is_none() {
                        index.insert(hash, slot);
                    }
                } else {
                    index.remove(hash, slot);
                    model.remove(&slot);
                }
            }
            prop_assert_eq!(index.len, model.len());
            for slot in 0..200 {
                let found = index.find(hash_of(slot), |other| other == slot);
                prop_assert_eq!(found, model.get(&slot).map(|_| slot));
            }
        }
    }

    #[test]
    fn it_grows_and_finds_all() {
        let mut index = Index::new();
        let hash_of = |slot: u32| slot.wrapping_mul(0x9e37_79b9);
        for slot in 0..10_000 {
            index.insert(hash_of(slot), slot);
        }
        assert!((0..10_000).all(|slot| index.find(hash_of(slot), |other| other == slot) == Some(slot)));
        assert_eq!(index.find(hash_of(10_000), |_| true), None);
    }
}
