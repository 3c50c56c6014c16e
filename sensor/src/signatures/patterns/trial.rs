//! Whether libhs, as it is installed and on this processor, finds what it should.
//!
//! In: nothing. Out: whether it does, or what it missed. The library has different code for each kind of
//! processor and for one, few and many patterns, and releases of it have missed matches at the ends of vectors (of
//! 5.4.9 a set with one-byte patterns that are told once; later ones others). A sensor that misses what
//! it was told to look for is worse than a slow one. A few thousand short scans, some milliseconds.
//! Deliberately absent: proof.

use super::vectorscan::{Database, Scratch};
use super::{Found, Pattern};

/// Longest buffer: two of the widest vectors, 64 bytes, and some.
const BUFFER_BYTES_MAX: usize = 150;

/// Runs the trial.
pub(super) fn run() -> Result<(), String> {
    let pattern = |(bytes, is_nocase): (&[u8], bool)| Pattern { bytes: bytes.into(), is_nocase, id: 0 };
    let one = |bytes: &'static [u8]| vec![pattern((bytes, false))];
    let few = [(b"ab".as_slice(), false), (b"cd", true), (b"\0\0\x01", false), (b"q.rstuvwxyz", true)];
    // Spread over all bytes, and long enough that none lies within another.
    let many = |n: u8| {
        pattern((&[n, n ^ 0x5a, n.wrapping_mul(7), n.wrapping_add(99), 200, 201], n.is_multiple_of(2)))
    };
    // The first two differ: one is a plain search for a pair, the other for a rarer part of a longer pattern.
    let sets = [
        one(b"ab"),
        one(b"\0needle01"),
        few.into_iter().map(pattern).collect(),
        (100..200).map(many).collect(),
    ];
    sets.into_iter().try_for_each(|mut patterns| {
        number(&mut patterns);
        let (database, mut scratch) = (Database::compile(&patterns)?, Scratch::default());
        examine(&patterns, |bytes, found| database.scan(bytes, &mut scratch, found).is_ok())
    })
}

/// As a builder does it.
fn number(patterns: &mut [Pattern]) {
    for (id, pattern) in (0..).zip(patterns) {
        pattern.id = id;
        if pattern.is_nocase {
            pattern.bytes.make_ascii_lowercase();
        }
    }
}

/// Has a matcher look for each pattern at many places of buffers of many lengths.
fn examine(patterns: &[Pattern], mut scan: impl FnMut(&[u8], &mut Found<'_>) -> bool) -> Result<(), String> {
    let (mut stamps, mut generation) = (Vec::new(), 0);
    let (mut out, mut buffer) = (Vec::new(), Vec::new());
    // About as many scans whatever the number of patterns.
    let step = patterns.len().div_ceil(4).max(1);
    for pattern in patterns {
        let id = pattern.id as usize;
        for length in (pattern.bytes.len()..=BUFFER_BYTES_MAX).skip(id % step).step_by(step) {
            for place in (0..=length.saturating_sub(pattern.bytes.len())).skip(id % 3).step_by(3) {
                buffer.clear();
                buffer.resize(place, b'-');
                buffer.extend_from_slice(&pattern.bytes);
                buffer.resize(length, b'-');
                if pattern.is_nocase && place % 2 == 0 {
                    buffer.make_ascii_uppercase();
                }
                out.clear();
                let mut found = Found::begin(&mut stamps, &mut generation, patterns.len(), 0, &mut out);
                let is_complete = scan(&buffer, &mut found);
                if !is_complete || out != [pattern.id] {
                    let count = patterns.len();
                    return Err(format!("one of {count} patterns at byte {place} of {length} was not found"));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::automaton::Automaton;
    use super::*;

    /// Whether a matcher passes that looks only at a part of each buffer.
    fn passes(part: impl Fn(&[u8]) -> &[u8]) -> bool {
        let pattern = |bytes: &[u8]| Pattern { bytes: bytes.into(), is_nocase: false, id: 0 };
        let mut patterns = vec![pattern(b"ab"), pattern(b"cde")];
        number(&mut patterns);
        let automaton = Automaton::build(&patterns).unwrap();
        let scan = |bytes: &[u8], found: &mut Found<'_>| {
            automaton.scan(part(bytes), found);
            true
        };
        examine(&patterns, scan).is_ok()
    }

    #[test]
    fn a_matcher_that_misses_the_end_or_what_lies_beyond_a_vector_is_found_out() {
        assert!(passes(|bytes| bytes));
        assert!(!passes(|bytes| &bytes[..bytes.len() - 1]));
        assert!(!passes(|bytes| &bytes[1..]));
        assert!(!passes(|bytes| &bytes[..bytes.len().min(64)]));
    }
}
