//! A handshake put together from pieces that come in any order: CRYPTO frames, fragments of DTLS.
//!
//! In: pieces and where they belong. Out: the bytes from the first on, as far as they are there. Bounded in bytes
//! and in holes.

/// Most bytes that are put together; pieces beyond are left out. Hellos with post-quantum keys have about two
/// thousand.
pub(crate) const PIECED_BYTES_MAX: usize = 16 << 10;
/// Most separate pieces that are held; further ones are left out.
const PIECES_MAX: usize = 64;

/// What came so far.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    /// Begin and end of what is there, in order, neither touching nor overlapping.
    pieces: Vec<(usize, usize)>,
}

impl Pieces {
    /// The bytes from the first on, as far as they are there.
    pub(crate) fn front(&self) -> &[u8] {
        match self.pieces.first() {
            Some((0, end)) => self.bytes.get(..*end).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Pieces::default();
    }

    /// Adds a piece that belongs at `begin`.
    pub(crate) fn put(&mut self, begin: usize, data: &[u8]) {
        let end = begin.saturating_add(data.len());
        if end > PIECED_BYTES_MAX || data.is_empty() || self.pieces.len() >= PIECES_MAX {
            return;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(space) = self.bytes.get_mut(begin..end) {
            space.copy_from_slice(data);
        }
        let (mut begin, mut end) = (begin, end);
        self.pieces.retain(|(from, to)| {
            let is_apart = *to < begin || *from > end;
            if !is_apart {
                (begin, end) = (begin.min(*from), end.max(*to));
            }
            is_apart
        });
        let place = self.pieces.partition_point(|(from, _)| *from < begin);
        self.pieces.insert(place, (begin, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_in_any_order_become_the_whole() {
        let mut pieces = Pieces::default();
        pieces.put(4, b"efgh");
        assert_eq!(pieces.front(), b"");
        pieces.put(10, b"kl");
        pieces.put(2, b"cdef");
        pieces.put(0, b"abc");
        assert_eq!(pieces.front(), b"abcdefgh");
        pieces.put(8, b"ij");
        assert_eq!(pieces.front(), b"abcdefghijkl");
        pieces.clear();
        assert_eq!(pieces.front(), b"");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut pieces = Pieces::default();
        pieces.put(PIECED_BYTES_MAX, b"xy");
        assert_eq!(pieces.bytes.len(), 0);
        pieces.put(PIECED_BYTES_MAX - 2, b"xy");
        assert_eq!(pieces.bytes.len(), PIECED_BYTES_MAX);
        for at in 0..PIECES_MAX + 9 {
            pieces.put(at * 2, b"a");
        }
        assert_eq!(pieces.pieces.len(), PIECES_MAX);
    }
}
