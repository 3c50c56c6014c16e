//! Where flows live: slots in chunks that never move and are never given back.
//!
//! Growing allocates one more chunk and copies nothing, so a table that fills up has no pause in it, and
//! memory follows the most flows there ever were at once.

use super::huge_pages;

/// Slots per chunk, as a power of two: some megabytes of flows, several huge pages. What is not yet used of a
/// chunk takes no memory.
const CHUNK_BITS: u32 = 16;
const CHUNK_SLOTS: usize = 1 << CHUNK_BITS;

/// Slots by number. Which are free, the owner knows.
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab { chunks: Vec::new() }
    }

    /// Puts a value into a new slot and gives its number.
    pub(super) fn push(&mut self, value: T) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_SLOTS) {
            let mut chunk = Vec::with_capacity(CHUNK_SLOTS);
            huge_pages::advise(&mut chunk);
            self.chunks.push(chunk);
        }
        let chunk = self.chunks.len() - 1;
        self.chunks[chunk].push(value);
        ((chunk << CHUNK_BITS) + self.chunks[chunk].len() - 1) as u32
    }

    /// The value of a slot that [`Slab::push`] gave.
    #[inline]
    pub(super) fn at(&self, slot: u32) -> &T {
        &self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK_SLOTS]
    }

    /// The value of a slot that [`Slab::push`] gave.
    #[inline]
    pub(super) fn at_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK_SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_all_chunks_are_found_again() {
        let mut slab = Slab::new();
        for value in 0..3 * CHUNK_SLOTS {
            assert_eq!(slab.push(value) as usize, value);
        }
        assert!((0..3 * CHUNK_SLOTS).all(|slot| *slab.at(slot as u32) == slot));
    }
}
