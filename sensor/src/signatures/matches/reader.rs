//! Reading the values of options: words between commas, numbers as C reads them, names.
//!
//! In: an option. Out: its parts, or the reason why there are none. Numbers follow `strtoull`, which Suricata
//! uses both for rules and for the digits in traffic: blanks, a sign, a prefix that names the base, then as many
//! digits as there are.

use super::{Names, Refused, Slot};
use weir_common::rule::RuleOption;

/// A number that the rule holds, or the name of one that an earlier option reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Fixed(i32),
    Named(Slot),
}

/// The option's value as text; bytes that are not UTF-8 are replaced, and then fit nothing.
pub(super) fn text(option: &RuleOption) -> String {
    String::from_utf8_lossy(option.value.as_deref().unwrap_or_default()).trim().to_owned()
}

/// A value that is not understood.
pub(super) fn wrong(option: &RuleOption, expected: &str) -> Refused {
    let shown: String = text(option).chars().take(60).collect();
    (option.value_place, format!("`{}:{shown}`: expected {expected}", option.name))
}

/// What contradicts another option.
pub(super) fn refused(option: &RuleOption, reason: &str) -> Refused {
    (option.place, format!("`{}`: {reason}", option.name))
}

/// Refuses a value where none belongs.
pub(super) fn no_value(option: &RuleOption) -> Result<(), Refused> {
    match &option.value {
        None => Ok(()),
        Some(value) if value.is_empty() => Ok(()),
        Some(_) => Err((option.value_place, format!("`{}` takes no value", option.name))),
    }
}

/// The parts between commas, without the blanks around them.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// A word that the option has no place for.
pub(super) fn unknown(option: &RuleOption, word: &str) -> Refused {
    let shown: String = word.chars().take(40).collect();
    (option.value_place, format!("`{}`: `{shown}` is not known, or stands there twice", option.name))
}

/// A number of the rule within bounds, in any base that C knows, or a name.
pub(super) fn operand(
    option: &RuleOption,
    word: &str,
    bounds: std::ops::RangeInclusive<i32>,
    names: &Names,
) -> Result<Operand, Refused> {
    let word = word.trim().trim_matches('"');
    if word.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        return named(option, word, names).map(Operand::Named);
    }
    let digits = word.strip_prefix('-').unwrap_or(word);
    let number = whole_number(digits).and_then(|number| i32::try_from(number).ok());
    let number = number.filter(|_| digits.starts_with(|digit: char| digit.is_ascii_digit()));
    match number.map(|number| if digits == word { number } else { -number }) {
        Some(number) if bounds.contains(&number) => Ok(Operand::Fixed(number)),
        _ => {
            let (low, high) = (bounds.start(), bounds.end());
            let expected = format!("a number from {low} to {high}, or a name from byte_extract or byte_math");
            Err(wrong(option, &expected))
        }
    }
}

/// The slot of a name that stands before.
pub(super) fn named(option: &RuleOption, word: &str, names: &Names) -> Result<Slot, Refused> {
    let shown: String = word.chars().take(40).collect();
    let reason = format!("`{}`: nothing before it reads a number named `{shown}`", option.name);
    names.find(word).ok_or((option.value_place, reason))
}

/// Reads a number as `strtoull` does. Gives it and how many bytes it took; nothing without digits, or beyond
/// 64 bits. A base of 0 is told by the prefix.
pub(super) fn strtoull(bytes: &[u8], base: u32) -> Option<(u64, usize)> {
    let mut at = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let is_minus = bytes.get(at) == Some(&b'-');
    at += usize::from(is_minus || bytes.get(at) == Some(&b'+'));
    let digit = |at: usize, base: u32| char::from(*bytes.get(at)?).to_digit(base);
    let has_prefix = bytes.get(at) == Some(&b'0')
        && matches!(bytes.get(at + 1), Some(b'x' | b'X'))
        && digit(at + 2, 16).is_some();
    let base = match base {
        0 if has_prefix => 16,
        0 if bytes.get(at) == Some(&b'0') => 8,
        0 => 10,
        base => base,
    };
    at += if base == 16 && has_prefix { 2 } else { 0 };
    let begin = at;
    let mut value = 0u64;
    while let Some(digit) = digit(at, base) {
        value = value.checked_mul(u64::from(base))?.checked_add(u64::from(digit))?;
        at += 1;
    }
    (at > begin).then_some((if is_minus { value.wrapping_neg() } else { value }, at))
}

/// A number in a rule that `strtoull` reads to its end, in any base.
pub(super) fn whole_number(word: &str) -> Option<u64> {
    let (number, used) = strtoull(word.as_bytes(), 0)?;
    (used == word.len()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, base, want) in [
            ("12", 10, Some((12, 2))),
            ("12ab", 10, Some((12, 2))),
            ("12ab", 16, Some((0x12ab, 4))),
            ("0x1f", 16, Some((0x1f, 4))),
            ("0x1f", 0, Some((0x1f, 4))),
            ("0x1f", 10, Some((0, 1))),
            ("0xg", 0, Some((0, 1))),
            ("0xg", 16, Some((0, 1))),
            ("017", 0, Some((15, 3))),
            ("089", 0, Some((0, 1))),
            ("17", 8, Some((15, 2))),
            (" \t+5", 10, Some((5, 4))),
            ("-1", 10, Some((u64::MAX, 2))),
            ("18446744073709551615", 10, Some((u64::MAX, 20))),
            ("18446744073709551616", 10, None),
            ("", 10, None),
            ("-", 10, None),
            ("x", 10, None),
            ("\x005", 10, None),
            ("5\0", 10, Some((5, 1))),
        ] {
            assert_eq!(strtoull(text.as_bytes(), base), want, "{text} {base}");
        }
        assert_eq!(whole_number("0x10"), Some(16));
        assert_eq!(whole_number("10x"), None);
    }
}
