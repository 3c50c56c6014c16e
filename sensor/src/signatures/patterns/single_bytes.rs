//! Patterns of one byte.
//!
//! In: patterns, of which those of one byte are taken; then bytes. Out: which of them occur. A search for each ends
//! at the first, which comes soon if it comes.

use super::Pattern;

/// Most patterns that are looked for one by one; more are read off from which bytes occur at all.
const ONE_BY_ONE_MAX: usize = 24;

/// The patterns of one byte.
#[derive(Debug, Default)]
pub(super) struct SingleBytes {
    /// The byte, the other one that is equal to it, and the pattern's number.
    singles: Vec<(u8, u8, u32)>,
}

impl SingleBytes {
    pub(super) fn new(patterns: &[Pattern]) -> SingleBytes {
        let single = |pattern: &Pattern| match *pattern.bytes {
            [byte] if pattern.is_nocase => Some((byte, byte.to_ascii_uppercase(), pattern.id)),
            [byte] => Some((byte, byte, pattern.id)),
            _ => None,
        };
        SingleBytes { singles: patterns.iter().filter_map(single).collect() }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(self.singles.as_slice())
    }

    /// Adds the numbers of the patterns that occur, each once.
    pub(super) fn scan(&self, bytes: &[u8], out: &mut Vec<u32>) {
        if self.singles.len() > ONE_BY_ONE_MAX {
            let mut occurs = [false; 256];
            for byte in bytes {
                if let Some(occurs) = occurs.get_mut(usize::from(*byte)) {
                    *occurs = true;
                }
            }
            let occurs = |byte: u8| occurs.get(usize::from(byte)).is_some_and(|occurs| *occurs);
            out.extend(
                self.singles.iter().filter(|(a, b, _)| occurs(*a) || occurs(*b)).map(|(_, _, id)| *id),
            );
            return;
        }
        for (one, other, id) in &self.singles {
            let place =
                if one == other { memchr::memchr(*one, bytes) } else { memchr::memchr2(*one, *other, bytes) };
            out.extend(place.map(|_| *id));
        }
    }
}
