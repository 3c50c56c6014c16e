//! Searching contents in one buffer: positions, distances, and one content after the other.
//!
//! In: the contents of one buffer of a rule, in the rule's order, and the buffer's bytes. Out: whether all
//! of them are found where they may be. A content that another one is relative to is tried at each of its
//! occurrences until the rest fits. The tries of one search are limited ([`STEPS_MAX`]), because bytes and
//! rules can be chosen so that there are exponentially many.

use memchr::memmem;

/// Most contents tried in one search; a search that needs more finds nothing, and says so.
pub const STEPS_MAX: u32 = 3000;

/// One `content` with its modifiers.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// For contents whose case matters.
    finder: Option<memmem::Finder<'static>>,
    pub(super) is_negated: bool,
    pub(super) is_nocase: bool,
    pub(super) is_fast_pattern: bool,
    pub(super) offset: Option<u32>,
    /// Counted from the offset.
    pub(super) depth: Option<u32>,
    pub(super) distance: Option<i32>,
    pub(super) within: Option<u32>,
    pub(super) starts: bool,
    pub(super) ends: bool,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    Found,
    NotFound,
    /// More than [`STEPS_MAX`] tries were needed.
    GivenUp,
}

impl Content {
    pub(super) fn new(bytes: Vec<u8>, is_negated: bool) -> Content {
        Content { bytes, is_negated, ..Content::default() }
    }

    /// To be called when the modifiers are known.
    pub(super) fn prepare(&mut self) {
        if self.is_nocase {
            self.bytes.make_ascii_lowercase();
        } else {
            self.finder = Some(memmem::Finder::new(&self.bytes).into_owned());
        }
    }

    /// Whether it is placed relative to the match before it.
    pub(super) fn is_relative(&self) -> bool {
        self.distance.is_some() || self.within.is_some()
    }

    /// From where to where it may lie; the match before ended at `previous`.
    fn window(&self, previous: usize, length: usize) -> (usize, usize) {
        let offset = self.offset.unwrap_or(0) as usize;
        if self.starts {
            return (0, self.bytes.len().min(length));
        }
        let depth = self.depth.map(|depth| offset.saturating_add(depth as usize));
        if !self.is_relative() {
            return (offset, depth.unwrap_or(length).min(length));
        }
        let distance = self.distance.unwrap_or(0) as isize;
        let from = previous.saturating_add_signed(distance);
        let mut to = length;
        if let Some(within) = self.within {
            to = to.min(previous.saturating_add(within as usize).saturating_add_signed(distance));
        }
        if let Some(depth) = depth {
            to = to.min(previous.saturating_add(depth));
        }
        (from.max(offset), to)
    }

    /// Where it begins, at `from` or later, with its end at `to` or before.
    fn find(&self, buffer: &[u8], from: usize, to: usize) -> Option<usize> {
        if self.ends {
            let at = buffer.len().checked_sub(self.bytes.len())?;
            let is_there = at >= from && to == buffer.len() && self.is_at(buffer, at);
            return is_there.then_some(at);
        }
        let within = buffer.get(from..to)?;
        if let Some(finder) = &self.finder {
            return finder.find(within).map(|at| from + at);
        }
        let (first, last) = (*self.bytes.first()?, within.len().checked_sub(self.bytes.len())?);
        let starts = memchr::memchr2_iter(first, first.to_ascii_uppercase(), within.get(..=last)?);
        starts.map(|at| from + at).find(|at| self.is_at(buffer, *at))
    }

    fn is_at(&self, buffer: &[u8], at: usize) -> bool {
        let Some(here) = buffer.get(at..at + self.bytes.len()) else { return false };
        if self.is_nocase { here.eq_ignore_ascii_case(&self.bytes) } else { here == self.bytes }
    }
}

/// Searches all contents of a buffer.
pub(super) fn search(contents: &[Content], buffer: &[u8]) -> Search {
    let mut steps = STEPS_MAX;
    match from(contents, buffer, 0, &mut steps) {
        _ if steps == 0 => Search::GivenUp,
        true => Search::Found,
        false => Search::NotFound,
    }
}

fn from(contents: &[Content], buffer: &[u8], previous: usize, steps: &mut u32) -> bool {
    let Some((content, rest)) = contents.split_first() else { return true };
    let (begin, to) = content.window(previous, buffer.len());
    let is_tried_again = rest.first().is_some_and(Content::is_relative);
    let mut begin = begin;
    loop {
        *steps = steps.saturating_sub(1);
        if *steps == 0 {
            return false;
        }
        let found = if begin > to { None } else { content.find(buffer, begin, to) };
        let Some(at) = found else { return content.is_negated && from(rest, buffer, previous, steps) };
        if content.is_negated {
            return false;
        }
        if from(rest, buffer, at + content.bytes.len(), steps) {
            return true;
        }
        if !is_tried_again {
            return false;
        }
        begin = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contents as `text modifier=value ...`; `!` before the text negates.
    fn contents(texts: &[&str]) -> Vec<Content> {
        let content = |text: &&str| {
            let mut words = text.split(' ');
            let word = words.next().unwrap();
            let plain = word.trim_start_matches('!');
            let mut content = Content::new(plain.as_bytes().to_vec(), word.starts_with('!'));
            for modifier in words {
                let (name, value) = modifier.split_once('=').unwrap_or((modifier, ""));
                match name {
                    "offset" => content.offset = value.parse().ok(),
                    "depth" => content.depth = value.parse().ok(),
                    "distance" => content.distance = value.parse().ok(),
                    "within" => content.within = value.parse().ok(),
                    "nocase" => content.is_nocase = true,
                    "starts" => content.starts = true,
                    "ends" => content.ends = true,
                    other => panic!("{other}"),
                }
            }
            content.prepare();
            content
        };
        texts.iter().map(content).collect()
    }

    #[test]
    fn each_modifier_holds_at_its_border_and_not_beyond() {
        for (texts, buffer, found) in [
            (vec!["bc"], "abcd", true),
            (vec!["bd"], "abcd", false),
            (vec!["BC"], "abcd", false),
            (vec!["BC nocase"], "abcd", true),
            (vec!["bc nocase"], "aBCd", true),
            (vec!["!bc"], "abcd", false),
            (vec!["!bd"], "abcd", true),
            (vec!["bc offset=1"], "abcd", true),
            (vec!["bc offset=2"], "abcd", false),
            (vec!["bc depth=3"], "abcd", true),
            (vec!["bc depth=2"], "abcd", false),
            (vec!["bc offset=1 depth=2"], "abcd", true),
            (vec!["bc offset=1 depth=2"], "aabcd", false),
            (vec!["!bc offset=2"], "abcd", true),
            (vec!["!bc depth=2"], "abcd", true),
            (vec!["!bc depth=3"], "abcd", false),
            (vec!["ab starts"], "abcd", true),
            (vec!["bc starts"], "abcd", false),
            (vec!["cd ends"], "abcd", true),
            (vec!["cd ends"], "cdcde", false),
            (vec!["!cd ends"], "cdcde", true),
            (vec!["!cd ends"], "abcd", false),
            (vec!["abcd starts ends"], "abcd", true),
            (vec!["abcd starts ends"], "abcde", false),
            (vec!["a", "c distance=1"], "abcd", true),
            (vec!["a", "c distance=2"], "abcd", false),
            (vec!["c", "a distance=-3"], "abcd", true),
            (vec!["c", "a distance=-2"], "abcd", false),
            (vec!["a", "c within=2"], "abcd", true),
            (vec!["a", "c within=1"], "abcd", false),
            (vec!["a", "c distance=1 within=1"], "abcd", true),
            (vec!["a", "d distance=1 within=1"], "abcd", false),
            (vec!["a", "!c within=1"], "abcd", true),
            (vec!["a", "!c within=2"], "abcd", false),
            (vec!["a", "!b distance=1"], "abcd", true),
            (vec!["c", "a"], "abcd", true),
            (vec!["x depth=9"], "", false),
            (vec!["!x"], "", true),
        ] {
            let want = if found { Search::Found } else { Search::NotFound };
            assert_eq!(search(&contents(&texts), buffer.as_bytes()), want, "{texts:?} in {buffer}");
        }
    }

    #[test]
    fn a_content_is_tried_at_each_occurrence_for_the_ones_relative_to_it() {
        let chain = contents(&["a", "b within=1", "c within=1"]);
        assert_eq!(search(&chain, b"a_ab_abc"), Search::Found);
        assert_eq!(search(&chain, b"a_ab_acb"), Search::NotFound);
        // Of two that overlap, the second is found as well.
        assert_eq!(search(&contents(&["aa", "b within=1"]), b"aaab"), Search::Found);
    }

    #[test]
    fn tries_beyond_the_limit_are_given_up() {
        let chain = contents(&["a", "a distance=0", "a distance=0", "a distance=0", "b distance=0"]);
        assert_eq!(search(&chain, &[b'a'; 200]), Search::GivenUp);
        assert_eq!(search(&chain, b"aaaab"), Search::Found);
    }
}
