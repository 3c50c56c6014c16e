//! The value of `pcre`: an expression between slashes, flags behind it, and names of what it captures.
//!
//! In: the option. Out: a compiled expression, or the reason why there is none. What captures make variables of flows is
//! kept with the flow, for its events. Those for variables of packets and alerts are let pass, because they change
//! nothing about what matches.

use super::Refused;
use super::expression::{Expression, Flags, GROUPS_MAX};
use super::reader::{refused, wrong};
use std::sync::Arc;
use weir_common::rule::RuleOption;

/// A `pcre`.
#[derive(Debug)]
pub(super) struct Pcre {
    pub(super) expression: Expression,
    pub(super) is_negated: bool,
    pub(super) is_relative: bool,
    /// Whether something behind it is placed relative to it, so that it is tried at later places as well.
    pub(super) has_relative_next: bool,
    /// By group: the variable of the flow that it becomes.
    pub(super) captures: Vec<Option<Arc<str>>>,
}

/// A value's parts.
struct Parts<'a> {
    is_negated: bool,
    pattern: &'a [u8],
    /// Where the pattern begins in the value.
    at: usize,
    flags: &'a [u8],
    /// Names of captures; empty: there are none.
    captures: &'a [u8],
}

/// The buffer keyword that the flags of a `pcre` send it to.
pub(crate) fn pcre_buffer(value: &[u8]) -> Option<&'static str> {
    parts(value)?.flags.iter().find_map(|flag| buffer(*flag))
}

fn buffer(flag: u8) -> Option<&'static str> {
    Some(match flag {
        b'U' => "http.uri",
        b'I' => "http.uri.raw",
        b'P' => "http.request_body",
        b'Q' => "file.data",
        b'H' => "http.header",
        b'D' => "http.header.raw",
        b'M' => "http.method",
        b'C' => "http.cookie",
        b'S' => "http.stat_code",
        b'Y' => "http.stat_msg",
        b'V' => "http.user_agent",
        b'W' => "http.host",
        b'Z' => "http.host.raw",
        _ => return None,
    })
}

impl Pcre {
    /// Reads `"/expression/flags"`, with or without quotes, and `!` before it.
    pub(super) fn parse(option: &RuleOption) -> Result<Pcre, Refused> {
        let value = option.value.as_deref().unwrap_or_default();
        let Some(Parts { is_negated, pattern, at, flags: letters, captures }) = parts(value) else {
            return Err(wrong(option, "an expression between two slashes"));
        };
        let mut flags = Flags { is_without_captures: captures.is_empty(), ..Flags::default() };
        let (mut is_relative, mut target) = (false, None);
        for letter in letters {
            match letter {
                b'i' => flags.is_caseless = true,
                b'm' => flags.is_multi_line = true,
                b's' => flags.is_dot_all = true,
                b'x' => flags.is_extended = true,
                b'A' => flags.is_anchored = true,
                b'E' => flags.is_dollar_end_only = true,
                b'G' => flags.is_ungreedy = true,
                b'R' => is_relative = true,
                // Raw bytes are what there is; the limits that `O` lifts in Suricata are its defaults here.
                b'B' | b'O' => {}
                letter if buffer(*letter).is_some() => {
                    if target.replace(*letter).is_some_and(|other| other != *letter) {
                        return Err(refused(option, "its flags name two buffers"));
                    }
                }
                letter => {
                    return Err(wrong(
                        option,
                        &format!("no flag `{}`", char::from(*letter).escape_default()),
                    ));
                }
            }
        }
        if target == Some(b'W') && !flags.is_caseless && has_upper_case(pattern) {
            return Err(refused(
                option,
                "a host is looked at in lower case, and the expression holds upper case",
            ));
        }
        let expression = Expression::compile(pattern, flags).map_err(|(offset, reason)| {
            let mut place = option.value_place;
            place.column = place.column.saturating_add(u32::try_from(at + offset).unwrap_or(0));
            (place, format!("`pcre`: {reason}"))
        })?;
        let captures = variables(option, captures)?;
        Ok(Pcre { expression, is_negated, is_relative, has_relative_next: false, captures })
    }
}

fn parts(value: &[u8]) -> Option<Parts<'_>> {
    let trimmed = value.trim_ascii();
    let is_negated = trimmed.first() == Some(&b'!');
    let mut inner = trimmed.get(usize::from(is_negated)..)?.trim_ascii();
    if let Some(quoted) = inner.strip_prefix(b"\"") {
        inner = quoted.strip_suffix(b"\"")?;
    }
    let (inner, captures) = without_captures(inner);
    let inner = inner.trim_ascii();
    let open = inner.strip_prefix(b"/")?;
    // The last slash that no backslash escapes.
    let close = open.iter().enumerate().rev().find_map(|(at, byte)| {
        let is_escaped =
            at > 0 && open.get(at - 1) == Some(&b'\\') && (at < 2 || open.get(at - 2) != Some(&b'\\'));
        (*byte == b'/' && !is_escaped).then_some(at)
    })?;
    let (pattern, flags) = (open.get(..close)?, open.get(close + 1..)?.trim_ascii());
    let at = pattern.as_ptr() as usize - value.as_ptr() as usize;
    Some(Parts { is_negated, pattern, at, flags, captures })
}

/// Cuts off the names of captures, which begin with their kind, behind a comma or blank.
fn without_captures(value: &[u8]) -> (&[u8], &[u8]) {
    let first = [&b"flow:"[..], b"pkt:", b"alert:"]
        .into_iter()
        .filter_map(|kind| memchr::memmem::find(value, kind))
        .min()
        .and_then(|at| value.get(..at));
    match first {
        Some(before) => {
            let end = before.iter().rposition(|byte| !matches!(byte, b',' | b' ')).map_or(0, |last| last + 1);
            match value.split_at_checked(end) {
                Some(split) if end < before.len() => split,
                _ => (value, &[]),
            }
        }
        None => (value, &[]),
    }
}

/// The variables that `, flow:name, pkt:other` names, of packets and alerts none. Those beyond the expression's groups stay
/// empty.
fn variables(option: &RuleOption, captures: &[u8]) -> Result<Vec<Option<Arc<str>>>, Refused> {
    let captures = String::from_utf8_lossy(captures);
    let words = captures.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
    let variables: Option<Vec<Option<Arc<str>>>> = words
        .map(|word| match word.split_once(':')? {
            ("flow", name) if !name.is_empty() => Some(Some(Arc::from(name))),
            ("pkt" | "alert", name) if !name.is_empty() => Some(None),
            _ => None,
        })
        .collect();
    match variables {
        Some(variables) if variables.len() <= GROUPS_MAX => Ok(variables),
        _ => Err(wrong(option, "`flow:`, `pkt:` or `alert:` with a name for each of at most eight groups")),
    }
}

/// Whether an expression holds a capital letter that stands for itself.
fn has_upper_case(pattern: &[u8]) -> bool {
    let mut rest = pattern.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' if rest.next() == Some(&b'x') => {
                rest.nth(1);
            }
            byte if byte.is_ascii_uppercase() => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::rule::Place;

    fn option(value: &str) -> RuleOption {
        let place = Place { line: 1, column: 10 };
        RuleOption { name: "pcre".into(), value: Some(value.into()), place, value_place: place }
    }

    #[test]
    fn expression_flags_and_captures_are_told_apart() {
        for (value, pattern, flags, is_negated, has_captures) in [
            (r#""/ab/""#, "ab", "", false, false),
            (r"/ab/i", "ab", "i", false, false),
            (r#"!"/ab/Ri""#, "ab", "Ri", true, false),
            (r#""/a\/b/U""#, r"a\/b", "U", false, false),
            (r#""/a/b/U""#, "a/b", "U", false, false),
            (r#""/a\\/U""#, r"a\\", "U", false, false),
            (r#""/(a)b/G, flow:name""#, "(a)b", "G", false, true),
            (r#""/(a)(b)/, pkt:one, flow:two""#, "(a)(b)", "", false, true),
            (r#""/flow:1/""#, "flow:1", "", false, false),
        ] {
            let read = parts(value.as_bytes()).unwrap_or_else(|| panic!("{value}"));
            let has_captures_read = !read.captures.is_empty();
            assert_eq!(read.pattern, pattern.as_bytes(), "{value}");
            assert_eq!(read.flags, flags.as_bytes(), "{value}");
            assert_eq!((read.is_negated, has_captures_read), (is_negated, has_captures), "{value}");
        }
        assert_eq!(pcre_buffer(br#""/a/iU""#), Some("http.uri"));
        assert_eq!(pcre_buffer(br#""/aU/i""#), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (value, column, part) in [
            ("\"ab\"", 10, "between two slashes"),
            ("\"/ab\"", 10, "between two slashes"),
            ("\"/ab/k\"", 10, "flag `k`"),
            ("\"/ab/UH\"", 10, "two buffers"),
            ("\"/a(b/\"", 15, "parenthesis"),
            ("\"/aB/W\"", 10, "lower case"),
            ("", 10, "between two slashes"),
        ] {
            let (place, reason) = Pcre::parse(&option(value)).unwrap_err();
            assert!(place.column == column && reason.contains(part), "{value}: {place} {reason}");
        }
        assert!(Pcre::parse(&option(r#""/a\xAF\S/W""#)).is_ok());
        assert!(Pcre::parse(&option(r#""/aB/Wi""#)).is_ok());
    }
}
