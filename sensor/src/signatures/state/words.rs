//! An option's value as text, cut at its commas, with the place of every part.
//!
//! In: a [`RuleOption`]. Out: [`Word`]s without the blanks around them, and refusals that point at them.
//! What the words mean is each keyword's to say.

use super::Refused;
use weir_common::rule::{Place, RuleOption};

/// Most characters of a wrong word that a reason repeats.
const SHOWN_MAX: usize = 40;

/// A part of a text, and the byte at which it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Word<'a> {
    /// A part of a text without the blanks around it.
    pub(super) fn trimmed(text: &'a str, at: usize) -> Word<'a> {
        let begin = text.len() - text.trim_start().len();
        Word { text: text.trim(), at: at + begin }
    }

    /// The parts between a separator.
    pub(super) fn split(self, separator: char) -> impl Iterator<Item = Word<'a>> {
        let mut at = self.at;
        self.text.split(separator).map(move |part| {
            let begin = at;
            at += part.len() + separator.len_utf8();
            Word::trimmed(part, begin)
        })
    }

    /// The first word and, where there is more, the rest.
    pub(super) fn name_and_value(self) -> (Word<'a>, Option<Word<'a>>) {
        match self.text.split_once(char::is_whitespace) {
            Some((name, rest)) => {
                let at = self.at + self.text.len() - rest.len();
                (Word { text: name, at: self.at }, Some(Word::trimmed(rest, at)))
            }
            None => (self, None),
        }
    }

    pub(super) fn has_blank(self) -> bool {
        self.text.contains(char::is_whitespace)
    }

    /// The word as a reason shows it.
    pub(super) fn shown(self) -> String {
        shown(self.text)
    }
}

/// The beginning of a text, for a reason.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// An option's value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) text: &'a str,
    keyword: &'a str,
    place: Place,
}

impl<'a> Value<'a> {
    /// The value of an option that needs one.
    pub(super) fn of(option: &'a RuleOption) -> Result<Value<'a>, Refused> {
        let keyword = option.name.as_str();
        let Some(value) = option.value.as_deref().filter(|value| !value.is_empty()) else {
            return Err((option.place, format!("`{keyword}` needs a value")));
        };
        match std::str::from_utf8(value) {
            Ok(text) => Ok(Value { text, keyword, place: option.value_place }),
            Err(error) => {
                let place = moved(option.value_place, error.valid_up_to());
                Err((place, format!("`{keyword}`: expected plain text")))
            }
        }
    }

    pub(super) fn word(self) -> Word<'a> {
        Word::trimmed(self.text, 0)
    }

    /// The parts between commas.
    pub(super) fn words(self) -> Vec<Word<'a>> {
        Word { text: self.text, at: 0 }.split(',').collect()
    }

    /// A refusal that points at a byte of the value.
    pub(super) fn refused(self, at: usize, reason: impl AsRef<str>) -> Refused {
        (moved(self.place, at), format!("`{}`: {}", self.keyword, reason.as_ref()))
    }
}

fn moved(place: Place, bytes: usize) -> Place {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Place { column: place.column.saturating_add(bytes), ..place }
}

/// An option that takes no value.
pub(super) fn none(option: &RuleOption) -> Result<(), Refused> {
    match option.value {
        None => Ok(()),
        Some(_) => Err((option.value_place, format!("`{}` takes no value", option.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_keeps_its_place() {
        let option = RuleOption {
            name: "xbits".into(),
            value: Some(b"set, a , track  ip_src".to_vec()),
            place: Place { line: 3, column: 10 },
            value_place: Place { line: 3, column: 16 },
        };
        let value = Value::of(&option).unwrap();
        let words = value.words();
        let texts: Vec<_> = words.iter().map(|word| (word.text, word.at)).collect();
        assert_eq!(texts, [("set", 0), ("a", 5), ("track  ip_src", 9)]);
        let (name, rest) = words[2].name_and_value();
        assert_eq!((name.text, name.at), ("track", 9));
        assert_eq!(rest.map(|word| (word.text, word.at)), Some(("ip_src", 16)));
        let (place, reason) = value.refused(5, "no");
        assert_eq!((place.line, place.column, reason.as_str()), (3, 21, "`xbits`: no"));
    }

    #[test]
    fn a_value_that_is_missing_or_no_text_is_refused() {
        let mut option = RuleOption {
            name: "flowint".into(),
            value: None,
            place: Place::default(),
            value_place: Place { line: 1, column: 5 },
        };
        assert!(Value::of(&option).unwrap_err().1.contains("needs a value"));
        option.value = Some(b"a\xff".to_vec());
        assert_eq!(Value::of(&option).unwrap_err().0.column, 6);
        assert!(none(&option).is_err());
    }
}
