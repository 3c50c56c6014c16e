//! Few patterns, each looked for by itself.
//!
//! In: patterns of which none is without regard to case, then bytes. Out: which of them occur. A scan of a matcher for
//! many costs as much for one pattern as for hundreds; up to [`FEW_MAX`] searches for one, each of which ends at the
//! first place, cost less.

use super::{Found, Pattern};
use memchr::memmem::Finder;

/// Most patterns that are looked for one by one.
pub(super) const FEW_MAX: usize = 4;

/// The patterns of a small set.
#[derive(Debug)]
pub(super) struct Few(Vec<(Finder<'static>, u32)>);

impl Few {
    /// None: they are too many, or some are without regard to case.
    pub(super) fn new(patterns: &[Pattern]) -> Option<Few> {
        let is_few = patterns.len() <= FEW_MAX && patterns.iter().all(|pattern| !pattern.is_nocase);
        let finder = |pattern: &Pattern| (Finder::new(&pattern.bytes).into_owned(), pattern.id);
        is_few.then(|| Few(patterns.iter().map(finder).collect()))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let needles = self.0.iter().map(|(finder, _)| finder.needle().len());
        size_of_val(self.0.as_slice()) + needles.sum::<usize>()
    }

    /// Tells the patterns that end behind the first `known` bytes.
    pub(super) fn scan(&self, bytes: &[u8], known: usize, found: &mut Found<'_>) {
        for (finder, id) in &self.0 {
            let from = (known + 1).saturating_sub(finder.needle().len());
            if bytes.get(from..).is_some_and(|bytes| finder.find(bytes).is_some()) {
                found.tell(*id);
            }
        }
    }
}
