//! An entry for fuzzing: any options of a rule, run over any bytes.
//!
//! In: the text between a rule's parentheses, and bytes. Out: nothing; it must return, whatever they are.

use super::{MatchList, Names, Scratch, Transforms, View};
use weir_common::rule::{Place, RuleOption};

/// Compiles the options, as far as they are about one buffer, and looks at the bytes in several ways.
pub(crate) fn options_over_bytes(options: &[u8], bytes: &[u8]) {
    let (mut list, mut names, mut transforms) =
        (MatchList::default(), Names::default(), Transforms::default());
    for option in read(options) {
        let _ = list.option(&option, &mut names).or_else(|| transforms.option(&option));
    }
    if list.finish().is_err() || list.check_transforms(&transforms).is_err() {
        return;
    }
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let transformed = transforms.apply(bytes, &mut out, &mut scratch);
    for (is_complete, offset, is_little_endian) in
        [(true, 0, None), (false, 7, Some(true)), (true, 9, Some(false))]
    {
        scratch.begin();
        let has_failed = transformed.has_failed;
        let view = View { bytes: transformed.bytes, is_complete, offset, is_little_endian, has_failed };
        let holds = list.matches(&view, &mut scratch);
        // A pattern that a list needs is there whenever the list holds.
        if let Some(pattern) = list.fast_pattern().filter(|_| holds && list.is_plain()) {
            let found = view.bytes.windows(pattern.bytes.len()).any(|window| match pattern.is_nocase {
                true => window.eq_ignore_ascii_case(pattern.bytes),
                false => window == pattern.bytes,
            });
            assert!(found, "a list held without its pattern");
        }
    }
}

impl MatchList {
    /// Whether its pattern is needed: not when the list may end before it.
    fn is_plain(&self) -> bool {
        !self.matches.iter().any(|one| matches!(one.kind, super::Kind::Absent(_) | super::Kind::Decode(_)))
    }
}

/// The options between semicolons, of which one behind a backslash is the value's.
pub(super) fn read(options: &[u8]) -> Vec<RuleOption> {
    let (mut before, mut column) = (0, 1u32);
    let split = options.split(move |byte| {
        let is_end = *byte == b';' && before != b'\\';
        before = *byte;
        is_end
    });
    let option = |option: &[u8]| {
        let place = Place { line: 1, column };
        column = column.saturating_add(option.len() as u32 + 1);
        let colon = option.iter().position(|byte| *byte == b':');
        let (name, value) = option.split_at_checked(colon.unwrap_or(option.len()))?;
        let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
        let value = colon.and(value.get(1..)).map(|value| value.trim_ascii().to_vec());
        Some(RuleOption { name, value, place, value_place: place }).filter(|option| !option.name.is_empty())
    };
    split.filter_map(option).collect()
}
