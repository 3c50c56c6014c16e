//! Which signatures are worth evaluating for a buffer.
//!
//! In: one content of each signature (its fast pattern), and later the bytes. Out: the signatures whose
//! content occurs in them, each once. All contents are looked for at once (Aho-Corasick), without regard to
//! case; the evaluation decides. Signatures without such a content are always candidates.

use aho_corasick::{AhoCorasick, MatchKind};
use std::collections::HashMap;

/// Finds candidates in one kind of buffer.
#[derive(Debug, Default)]
pub(super) struct Prefilter {
    automaton: Option<AhoCorasick>,
    /// By pattern: the signatures that have it.
    owners: Vec<Vec<u32>>,
    always: Vec<u32>,
}

/// Collects contents before the automaton is built.
#[derive(Debug, Default)]
pub(super) struct PrefilterBuilder {
    patterns: HashMap<Vec<u8>, Vec<u32>>,
    always: Vec<u32>,
}

impl PrefilterBuilder {
    pub(super) fn add(&mut self, signature: u32, pattern: Option<&[u8]>) {
        match pattern {
            Some(pattern) => self.patterns.entry(pattern.to_ascii_lowercase()).or_default().push(signature),
            None => self.always.push(signature),
        }
    }

    pub(super) fn build(self) -> Prefilter {
        let PrefilterBuilder { patterns, mut always } = self;
        let (texts, owners): (Vec<_>, Vec<_>) = patterns.into_iter().unzip();
        if texts.is_empty() {
            return Prefilter { automaton: None, owners, always };
        }
        let built =
            AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::Standard).build(&texts);
        match built {
            Ok(automaton) => Prefilter { automaton: Some(automaton), owners, always },
            Err(_) => {
                // More patterns than an automaton can have: every signature is evaluated.
                always.extend(owners.into_iter().flatten());
                always.sort_unstable();
                Prefilter { automaton: None, owners: Vec::new(), always }
            }
        }
    }
}

impl Prefilter {
    /// Gives each candidate once, those that always are first.
    pub(super) fn candidates(&self, bytes: &[u8], seen: &mut Seen, out: &mut Vec<u32>) {
        out.extend_from_slice(&self.always);
        let Some(automaton) = self.automaton.as_ref().filter(|_| !bytes.is_empty()) else { return };
        seen.begin();
        for found in automaton.find_overlapping_iter(bytes) {
            let owners = self.owners.get(found.pattern().as_usize());
            out.extend(owners.into_iter().flatten().filter(|signature| seen.is_new(**signature)));
        }
    }
}

/// Which signatures were met since the last beginning.
#[derive(Debug, Default)]
pub(super) struct Seen {
    generation: u32,
    stamps: Vec<u32>,
}

impl Seen {
    pub(super) fn new(signatures: usize) -> Seen {
        Seen { generation: 0, stamps: vec![0; signatures] }
    }

    fn begin(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.stamps.fill(0);
            self.generation = 1;
        }
    }

    fn is_new(&mut self, signature: u32) -> bool {
        let Some(stamp) = self.stamps.get_mut(signature as usize) else { return false };
        std::mem::replace(stamp, self.generation) != self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(prefilter: &Prefilter, seen: &mut Seen, bytes: &[u8]) -> Vec<u32> {
        let mut out = Vec::new();
        prefilter.candidates(bytes, seen, &mut out);
        out.sort_unstable();
        out
    }

    #[test]
    fn signatures_whose_content_occurs_are_candidates_once() {
        let mut builder = PrefilterBuilder::default();
        for (signature, pattern) in
            [(0, Some("abc")), (1, Some("B")), (2, None), (3, Some("ABC")), (4, Some("bcd"))]
        {
            builder.add(signature, pattern.map(str::as_bytes));
        }
        let (prefilter, mut seen) = (builder.build(), Seen::new(5));
        assert_eq!(candidates(&prefilter, &mut seen, b"aBc abc"), [0, 1, 2, 3]);
        assert_eq!(candidates(&prefilter, &mut seen, b"abcd"), [0, 1, 2, 3, 4]);
        assert_eq!(candidates(&prefilter, &mut seen, b"ac"), [2]);
        assert_eq!(candidates(&prefilter, &mut seen, b""), [2]);
        seen.generation = u32::MAX;
        assert_eq!(candidates(&prefilter, &mut seen, b"b b"), [1, 2]);
    }
}
