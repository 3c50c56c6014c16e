//! The matcher that is always there: Aho and Corasick's automaton.
//!
//! In: patterns, then bytes. Out: which patterns occur. An automaton minds the case of all patterns or of none;
//! where some are without regard to case, all are looked for so, and those that mind are compared where one is met.

use super::{Found, Pattern};
use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use std::collections::HashMap;

/// A built automaton.
#[derive(Debug)]
pub(super) struct Automaton {
    automaton: AhoCorasick,
    /// By the automaton's pattern: ours.
    members: Vec<Vec<Member>>,
}

/// A pattern of ours that the automaton knows.
#[derive(Debug)]
struct Member {
    id: u32,
    /// What must stand there byte for byte; none if the automaton's word is enough.
    exact: Option<Box<[u8]>>,
}

impl Automaton {
    /// Builds it.
    pub(super) fn build(patterns: &[Pattern]) -> Result<Automaton, BuildError> {
        let is_nocase = patterns.iter().any(|pattern| pattern.is_nocase);
        let (mut texts, mut members) = (Vec::new(), Vec::<Vec<Member>>::new());
        let mut places = HashMap::new();
        for pattern in patterns {
            let text = if is_nocase { pattern.bytes.to_ascii_lowercase() } else { pattern.bytes.to_vec() };
            let exact = (is_nocase && !pattern.is_nocase).then(|| pattern.bytes.clone());
            let place = *places.entry(text).or_insert_with_key(|text| {
                texts.push(text.clone());
                members.push(Vec::new());
                members.len() - 1
            });
            if let Some(members) = members.get_mut(place) {
                members.push(Member { id: pattern.id, exact });
            }
        }
        // Every overlapping match has to be told, which only the standard kind does. The crate takes a DFA for few
        // patterns and a contiguous NFA, a thirtieth in memory and hardly slower, for many.
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(is_nocase)
            .match_kind(MatchKind::Standard)
            .build(&texts)?;
        Ok(Automaton { automaton, members })
    }

    /// What it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let member =
            |member: &Member| size_of::<Member>() + member.exact.as_ref().map_or(0, |exact| exact.len());
        let list = |list: &Vec<Member>| size_of::<Vec<Member>>() + list.iter().map(member).sum::<usize>();
        self.automaton.memory_usage() + self.members.iter().map(list).sum::<usize>()
    }

    /// Tells the patterns that occur.
    pub(super) fn scan(&self, bytes: &[u8], found: &mut Found<'_>) {
        for met in self.automaton.find_overlapping_iter(bytes) {
            for member in self.members.get(met.pattern().as_usize()).into_iter().flatten() {
                if member.exact.as_deref().is_none_or(|exact| bytes.get(met.range()) == Some(exact)) {
                    found.ends_at(member.id, met.end() as u64);
                }
            }
        }
    }
}
