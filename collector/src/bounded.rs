//! A map with a fixed limit: the entry least recently used leaves when a new one needs its place.
//!
//! In: keys that an attacker may choose. Out: at most `limit` entries, found by a keyed hash in
//! constant time. What leaves is counted and handed to the caller. No time in here: entries
//! that have grown old are found from the tail by [`Bounded::oldest`].

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash};

const NONE: u32 = u32::MAX;

struct Slot<K, V> {
    key: K,
    value: V,
    hash: u64,
    newer: u32,
    older: u32,
}

/// The map; see the module's text.
pub struct Bounded<K, V> {
    slots: Vec<Slot<K, V>>,
    index: HashTable<u32>,
    hasher: RandomState,
    newest: u32,
    oldest: u32,
    limit: usize,
    evicted: u64,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    /// A map of at most `limit` entries (at least one). Memory is taken as entries come.
    pub fn new(limit: usize) -> Bounded<K, V> {
        Bounded {
            slots: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            newest: NONE,
            oldest: NONE,
            limit: limit.clamp(1, NONE as usize - 1),
            evicted: 0,
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many entries left at the limit since the map was made.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The value of a key, which becomes the most recently used.
    #[inline]
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        let at = self.find(hash, key)?;
        self.touch(at);
        self.slots.get_mut(at as usize).map(|slot| &mut slot.value)
    }

    /// The value of a key, without it counting as use.
    pub fn peek(&self, key: &K) -> Option<&V> {
        let at = self.find(self.hasher.hash_one(key), key)?;
        self.slots.get(at as usize).map(|slot| &slot.value)
    }

    /// Sets the value of a key, which becomes the most recently used. Returns the entry that left: the
    /// key's former one, or at the limit the least recently used.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let replaced = self.remove(&key);
        let evicted =
            if replaced.is_none() && self.slots.len() >= self.limit { self.pop_oldest() } else { None };
        self.evicted += u64::from(evicted.is_some());
        let hash = self.hasher.hash_one(&key);
        let at = self.slots.len() as u32;
        self.slots.push(Slot { key, value, hash, newer: NONE, older: NONE });
        self.link_newest(at);
        let slots = &self.slots;
        self.index.insert_unique(hash, at, |at| slots.get(*at as usize).map_or(0, |slot| slot.hash));
        replaced.or(evicted)
    }

    /// The value of a key, inserted when there is none, and the entry that left for it.
    pub fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> (&mut V, Option<(K, V)>) {
        let hash = self.hasher.hash_one(&key);
        let mut left = None;
        let at = match self.find(hash, &key) {
            Some(at) => at,
            None => {
                left = self.insert(key, make());
                self.newest
            }
        };
        self.touch(at);
        // The entry was found or inserted just now, so that its slot exists.
        (&mut self.slots[at as usize].value, left)
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) -> Option<(K, V)> {
        let at = self.find(self.hasher.hash_one(key), key)?;
        self.take(at)
    }

    /// The entry least recently used.
    pub fn oldest(&self) -> Option<(&K, &V)> {
        self.slots.get(self.oldest as usize).map(|slot| (&slot.key, &slot.value))
    }

    /// Takes out the entry least recently used.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        self.take(self.oldest)
    }

    /// Every entry, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().map(|slot| (&slot.key, &slot.value))
    }

    /// Every entry from the least to the most recently used.
    pub fn iter_by_age(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?;
            at = slot.newer;
            Some((&slot.key, &slot.value))
        })
    }

    fn find(&self, hash: u64, key: &K) -> Option<u32> {
        self.index.find(hash, |at| self.slots.get(*at as usize).is_some_and(|slot| slot.key == *key)).copied()
    }

    #[inline]
    fn touch(&mut self, at: u32) {
        if self.newest != at {
            self.unlink(at);
            self.link_newest(at);
        }
    }

    fn link_newest(&mut self, at: u32) {
        let before = self.newest;
        if let Some(slot) = self.slots.get_mut(at as usize) {
            (slot.newer, slot.older) = (NONE, before);
        }
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: u32) {
        let Some(slot) = self.slots.get(at as usize) else { return };
        let (newer, older) = (slot.newer, slot.older);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// Takes a slot out; the last slot moves into its place so that slots stay dense.
    fn take(&mut self, at: u32) -> Option<(K, V)> {
        let hash = self.slots.get(at as usize)?.hash;
        self.unlink(at);
        if let Ok(found) = self.index.find_entry(hash, |have| *have == at) {
            found.remove();
        }
        let taken = self.slots.swap_remove(at as usize);
        let moved_from = self.slots.len() as u32;
        if let Some(moved) = self.slots.get(at as usize) {
            let (hash, newer, older) = (moved.hash, moved.newer, moved.older);
            if let Some(entry) = self.index.find_mut(hash, |have| *have == moved_from) {
                *entry = at;
            }
            match self.slots.get_mut(newer as usize) {
                Some(slot) => slot.older = at,
                None => self.newest = at,
            }
            match self.slots.get_mut(older as usize) {
                Some(slot) => slot.newer = at,
                None => self.oldest = at,
            }
        }
        Some((taken.key, taken.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn at_the_limit_the_least_recently_used_leaves() {
        let mut map = Bounded::new(2);
        assert_eq!(map.insert("a", 1), None);
        assert_eq!(map.insert("b", 2), None);
        assert_eq!(map.get_mut(&"a"), Some(&mut 1));
        assert_eq!(map.insert("c", 3), Some(("b", 2)));
        assert_eq!((map.len(), map.peek(&"b"), map.peek(&"a")), (2, None, Some(&1)));
        assert_eq!(map.insert("a", 9), Some(("a", 1)));
        assert_eq!(map.evicted(), 1, "what is replaced was not evicted");
        assert_eq!(map.oldest(), Some((&"c", &3)));
        assert_eq!(map.iter_by_age().map(|(key, _)| *key).collect::<Vec<_>>(), ["c", "a"]);
    }

    #[test]
    fn ten_thousand_random_steps_agree_with_a_plain_list() {
        let mut map = Bounded::new(17);
        let mut plain: VecDeque<(u64, u64)> = VecDeque::new();
        let mut state = 1u64;
        for step in 0..10_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (state >> 33) % 40;
            match (state >> 60) % 4 {
                0 => {
                    let removed =
                        plain.iter().position(|(have, _)| *have == key).and_then(|at| plain.remove(at));
                    assert_eq!(map.remove(&key), removed);
                }
                1 => assert_eq!(map.pop_oldest(), plain.pop_front()),
                2 => {
                    let at = plain.iter().position(|(have, _)| *have == key);
                    let found = at.and_then(|at| plain.remove(at));
                    plain.extend(found);
                    assert_eq!(map.get_mut(&key).copied(), found.map(|(_, value)| value));
                }
                _ => {
                    let at = plain.iter().position(|(have, _)| *have == key);
                    match at.and_then(|at| plain.remove(at)) {
                        Some(found) => plain.push_back(found),
                        None => {
                            if plain.len() == 17 {
                                plain.pop_front();
                            }
                            plain.push_back((key, step));
                        }
                    }
                    map.entry(key, || step);
                }
            }
            assert_eq!(
                map.iter_by_age().map(|(k, v)| (*k, *v)).collect::<Vec<_>>(),
                Vec::from(plain.clone())
            );
        }
    }
}
