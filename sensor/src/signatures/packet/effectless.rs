//! Options that change nothing about whether a rule matches: `prefilter` says what to look for first, `tag` which packets to
//! log once it has matched, `tls.store` what to store then and `nfq_set_mark` how to mark the packet.
//!
//! In: an option. Out: whether it is one of them and sound.

use super::number::shown;
use super::{Refused, said, words};
use weir_common::rule::RuleOption;

/// Reads them; `None` for other options.
pub(in crate::signatures) fn effectless(option: &RuleOption) -> Option<Result<(), Refused>> {
    match option.name.as_str() {
        "prefilter" => Some(match option.value {
            None => Ok(()),
            Some(_) => Err((option.value_place, "`prefilter` takes no value".into())),
        }),
        "tls.store" | "tls_store" => Some(match option.value {
            None => Ok(()),
            Some(_) => Err((option.value_place, format!("`{}` takes no value", option.name))),
        }),
        "nfq_set_mark" => Some(words(option).and_then(|text| said(option, mark(&text)))),
        "tag" => Some(words(option).and_then(|text| said(option, tag(&text)))),
        _ => None,
    }
}

/// `0x8/0xff`: a mark and which of its bits are set.
fn mark(text: &str) -> Result<(), String> {
    let is_number = |word: &str| {
        let word = word.trim();
        match word.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).is_ok(),
            None => word.parse::<u32>().is_ok(),
        }
    };
    match text.split_once('/') {
        Some((mark, mask)) if is_number(mark) && is_number(mask) => Ok(()),
        _ => Err("expected a mark, `/` and a mask".into()),
    }
}

/// `session`, `session,5,packets`, `host,100,seconds,src`.
fn tag(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let (what, limit) = match parts[..] {
        [what] => (what, None),
        [what, count, unit] => (what, Some((count, unit, None))),
        [what, count, unit, end] => (what, Some((count, unit, Some(end)))),
        _ => return Err("expected what to log, how many, of what, and which end".into()),
    };
    if !matches!(what, "session" | "host") {
        return Err(format!("expected `session` or `host`, not `{}`", shown(what)));
    }
    let Some((count, unit, end)) = limit else { return Ok(()) };
    if count.parse::<u32>().is_err() {
        return Err(format!("`{}` is not a number", shown(count)));
    }
    if !matches!(unit, "packets" | "bytes" | "seconds") {
        return Err(format!("expected `packets`, `bytes` or `seconds`, not `{}`", shown(unit)));
    }
    match end {
        None | Some("src" | "dst") => Ok(()),
        Some(end) => Err(format!("expected `src` or `dst`, not `{}`", shown(end))),
    }
}
