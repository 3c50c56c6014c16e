//! `requires`: what a rule needs of the program that runs it.
//!
//! In: the option, and which keywords are known. Out: what of it is not met, or why it cannot be read. Versions are
//! Suricata's: this program answers for the one whose language it runs. A rule that is for another version is not wrong;
//! it is set aside, with that as the reason.

use super::number::shown;
use super::{Refused, said, words};
use weir_common::rule::RuleOption;

/// The version of Suricata whose rule language is run.
const VERSION: Version = (9, 0, 0);
/// Features that are always there, by Suricata's names.
const FEATURES: &[&str] = &["ja3", "ja4", "output::file-store"];

/// Major, minor, patch.
type Version = (u8, u8, u8);

/// What the caller has to know.
pub(in crate::signatures) enum Asked<'a> {
    /// Whether a keyword is run.
    Keyword(&'a str),
    /// Whether something is there that depends on the configuration.
    Feature(&'a str),
}

/// Reads `requires`, and says what it asks for that is not there; `None` for other options.
pub(in crate::signatures) fn requires(
    option: &RuleOption,
    has: impl FnMut(Asked<'_>) -> bool,
) -> Option<Result<Option<Refused>, Refused>> {
    if option.name != "requires" {
        return None;
    }
    let unmet = words(option).and_then(|text| said(option, unmet(&text, has)));
    Some(unmet.map(|unmet| unmet.map(|reason| (option.value_place, reason))))
}

fn unmet(text: &str, mut has: impl FnMut(Asked<'_>) -> bool) -> Result<Option<String>, String> {
    let mut has_version = false;
    let mut unmet = None;
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let end =
            part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(part.len());
        let (what, value) = part.split_at(end);
        let value = value.trim();
        let is_met = match what {
            "version" if has_version => return Err("`version` stands there twice".into()),
            "version" => {
                has_version = true;
                is_version(value)?
            }
            "feature" => FEATURES.contains(&value) || has(Asked::Feature(value)),
            "keyword" => has(Asked::Keyword(value)),
            // Later versions may ask for more: this one cannot tell, and does not have it.
            _ => false,
        };
        if !is_met {
            unmet.get_or_insert_with(|| shown(part));
        }
    }
    Ok(unmet.map(|part| format!("the rule is not for this version of the language: it requires `{part}`")))
}

/// Whether one of the alternatives between `|` is met, of which each is some comparisons.
fn is_version(text: &str) -> Result<bool, String> {
    let mut is_met = false;
    for alternative in text.split('|') {
        let (mut rest, mut holds) = (alternative.trim(), true);
        if rest.is_empty() {
            return Err("expected a comparison such as `>= 7.0.3`".into());
        }
        while !rest.is_empty() {
            let operator = ["<=", ">=", "<", ">"].into_iter().find(|operator| rest.starts_with(operator));
            let Some(operator) = operator else {
                return Err(format!("expected `<`, `<=`, `>` or `>=` before `{}`", shown(rest)));
            };
            let behind = rest.get(operator.len()..).unwrap_or_default().trim_start();
            let end =
                behind.find(|c: char| c.is_whitespace() || matches!(c, '<' | '>')).unwrap_or(behind.len());
            let (number, more) = behind.split_at(end);
            let wanted = version(number).ok_or_else(|| format!("`{}` is not a version", shown(number)))?;
            holds &= match operator {
                "<=" => VERSION <= wanted,
                ">=" => VERSION >= wanted,
                "<" => VERSION < wanted,
                _ => VERSION > wanted,
            };
            rest = more.trim_start();
        }
        is_met |= holds;
    }
    Ok(is_met)
}

/// `7`, `7.0` or `7.0.3`; what stands behind a `-` does not count.
fn version(text: &str) -> Option<Version> {
    let text = text.split_once('-').map_or(text, |(number, _)| number);
    let mut parts = text.split('.').map(|part| part.parse::<u8>().ok());
    let major = parts.next()??;
    let minor = parts.next().map_or(Some(0), |part| part)?;
    let patch = parts.next().map_or(Some(0), |part| part)?;
    parts.next().is_none().then_some((major, minor, patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_for_this_program_when_all_that_it_requires_is_there() {
        let unmet =
            |text| unmet(text, |asked| matches!(asked, Asked::Keyword("sid") | Asked::Feature("geoip")));
        for sound in [
            "version >= 9",
            "version  >= 9",
            "version >= 9.0.0, keyword sid",
            "version >= 8.0.5",
            "version >= 7 < 10",
            "version > 8.9.9 <= 9.0.0",
            "version >= 7.0.3 < 8 | >= 9.0.0",
            "version >= 9.0.0-dev",
            "feature ja4",
            "keyword sid",
            "feature geoip, version >= 7.0.4, keyword sid",
            "",
        ] {
            assert_eq!(unmet(sound), Ok(None), "{sound}");
        }
        for other in [
            "version >= 10",
            "version >= 9.0.1",
            "version > 9",
            "version < 9",
            "version >= 7 < 8",
            "version >= 7.0.3 < 8 | >= 9.0.99",
            "version >= 8, keyword foobar",
            "feature lua-of-the-future",
            "foo bar",
        ] {
            assert!(unmet(other).unwrap().unwrap().contains("requires"), "{other}");
        }
        for wrong in [
            "version",
            "version 7",
            "version >=",
            "version >= x",
            "version >= 1.2.3.4",
            "version >= 7, version >= 8",
            "version >= 300",
            "version >= 7 |",
            "version = 7",
        ] {
            assert!(unmet(wrong).is_err(), "{wrong}");
        }
    }
}
