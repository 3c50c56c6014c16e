//! Whether a match becomes an alert: suppressions, then thresholds; and the file that sets both.
//!
//! In: `threshold.config` as Suricata reads it, and the thresholds of rules. Out: a rule's [`RuleLimits`], and
//! problems with file, line and column for every line that is not understood. A line is one of
//!
//! - `suppress gen_id G, sig_id S[, track by_src|by_dst|by_either, ip addresses]`
//! - `threshold` or `event_filter` `gen_id G, sig_id S, type T, track K, count N, seconds N`
//! - `rate_filter gen_id G, sig_id S, track K, count N, seconds N, new_action A, timeout N`
//!
//! with `sig_id 0` for all rules of a generator and `gen_id 0, sig_id 0` for all rules. What a rule does to
//! marks it does before it is asked here: neither a suppression nor a threshold keeps it from that.

use super::threshold::{self, Form, Threshold};
use super::windows::{Matched, RuleId, Windows};
use super::words::Word;
use std::collections::HashMap;
use std::sync::Arc;
use weir_common::net::Address;
use weir_common::rule::{Action, AddressSet, Line, Lines, Place, Problem, RULE_BYTES_MAX, Variables, group};

/// Most lines of a file that say something; the rest is reported and not read.
pub(super) const ENTRIES_MAX: usize = 1 << 16;

/// What becomes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// It is told, with the rule's action.
    Alert,
    /// It is told, with this action instead, which a `rate_filter` takes.
    AlertAs(Action),
    /// It is not told.
    NoAlert,
}

impl Verdict {
    /// The verdict of an action that is taken instead of the rule's.
    pub(super) fn of_action(action: Action) -> Verdict {
        match action {
            Action::Pass | Action::Config => Verdict::NoAlert,
            Action::Alert | Action::Drop | Action::Reject => Verdict::AlertAs(action),
        }
    }
}

/// Matches that are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Suppression {
    side: Side,
    addresses: Arc<AddressSet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

impl Suppression {
    fn holds(&self, matched: &Matched) -> bool {
        let is_in = |address: Address| self.addresses.contains(group::ordinal(address));
        match self.side {
            Side::Source => is_in(matched.source),
            Side::Destination => is_in(matched.destination),
            Side::Either => is_in(matched.source) || is_in(matched.destination),
        }
    }
}

/// How a rule's matches are limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct RuleLimits {
    /// It is never told.
    pub(in super::super) is_suppressed: bool,
    /// It is not told for these ends.
    pub(in super::super) suppressions: Vec<Suppression>,
    /// How often it is told otherwise.
    pub(in super::super) threshold: Option<Threshold>,
}

impl RuleLimits {
    /// What becomes of a match, which is counted unless it is suppressed.
    pub(in super::super) fn verdict(
        &self,
        windows: &mut Windows,
        rule: RuleId,
        matched: &Matched,
    ) -> Verdict {
        if self.is_suppressed || self.suppressions.iter().any(|suppression| suppression.holds(matched)) {
            return Verdict::NoAlert;
        }
        match &self.threshold {
            Some(threshold) => windows.count(threshold, rule, matched),
            None => Verdict::Alert,
        }
    }

    /// Whether every match is told.
    pub(in super::super) fn is_none(&self) -> bool {
        !self.is_suppressed && self.suppressions.is_empty() && self.threshold.is_none()
    }
}

/// A `threshold.config`.
#[derive(Debug, Default)]
pub(in super::super) struct ThresholdFile {
    name: Arc<str>,
    entries: Vec<Entry>,
    /// Places in `entries` by gid and sid; wildcards by zeros.
    by_rule: HashMap<(u32, u32), Vec<u32>>,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    gid: u32,
    sid: u32,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    SuppressAll,
    Suppress(Suppression),
    Threshold(Threshold),
    Rate(Threshold),
}

impl ThresholdFile {
    /// Reads a file; `name` is what places say.
    pub(in super::super) fn read(
        name: &str,
        text: &[u8],
        variables: &Variables,
    ) -> (ThresholdFile, Vec<Problem>) {
        let mut file = ThresholdFile { name: name.into(), ..ThresholdFile::default() };
        let mut problems = Vec::new();
        for line in Lines::of(text) {
            let begin = line.bytes.len() - line.bytes.trim_ascii_start().len();
            if line.bytes.get(begin).is_none_or(|first| *first == b'#') {
                continue;
            }
            let problem = |at: usize, reason: String| Problem {
                file: Arc::clone(&file.name),
                place: line.place(at),
                reason,
            };
            if file.entries.len() == ENTRIES_MAX {
                problems.push(problem(begin, format!("more than {ENTRIES_MAX} lines")));
                break;
            }
            match entry(&line, begin, variables) {
                Ok(entry) => {
                    let at = file.entries.len() as u32;
                    file.by_rule.entry((entry.gid, entry.sid)).or_default().push(at);
                    file.entries.push(entry);
                }
                Err((at, reason)) => problems.push(problem(at, reason)),
            }
        }
        (file, problems)
    }

    /// A rule's limits: its own threshold, and what the file says of it. As in Suricata, a line for just
    /// this rule replaces its threshold; lines for all rules, and `rate_filter`, leave a rule that has one.
    pub(in super::super) fn limits(&self, gid: u32, sid: u32, own: Option<Threshold>) -> RuleLimits {
        let mut limits = RuleLimits { threshold: own, ..RuleLimits::default() };
        let lists = [(gid, sid), (gid, 0), (0, 0)].map(|key| self.by_rule.get(&key));
        let mut order: Vec<u32> = lists.into_iter().flatten().flatten().copied().collect();
        order.sort_unstable();
        order.dedup();
        for entry in order.into_iter().filter_map(|at| self.entries.get(at as usize)) {
            match &entry.what {
                What::SuppressAll => limits.is_suppressed = true,
                What::Suppress(suppression) => limits.suppressions.push(suppression.clone()),
                What::Threshold(threshold) if entry.sid != 0 || limits.threshold.is_none() => {
                    limits.threshold = Some(*threshold);
                }
                What::Rate(threshold) if limits.threshold.is_none() => {
                    limits.threshold = Some(*threshold);
                }
                What::Threshold(_) | What::Rate(_) => {}
            }
        }
        limits
    }

    /// Lines about rules that there are not.
    pub(in super::super) fn unknown(&self, is_known: impl Fn(u32, u32) -> bool) -> Vec<Problem> {
        let entries = self.entries.iter().filter(|entry| entry.sid != 0);
        entries
            .filter(|entry| !is_known(entry.gid, entry.sid))
            .map(|entry| Problem {
                file: Arc::clone(&self.name),
                place: entry.place,
                reason: format!("there is no rule with gid {} and sid {}", entry.gid, entry.sid),
            })
            .collect()
    }
}

/// At which byte of the line, and why.
type Wrong = (usize, String);

fn entry(line: &Line<'_>, begin: usize, variables: &Variables) -> Result<Entry, Wrong> {
    if line.is_too_long {
        return Err((begin, format!("a line of more than {RULE_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(&line.bytes)
        .map_err(|error| (error.valid_up_to(), "expected plain text".to_owned()))?;
    let (kind, rest) = Word::trimmed(text, 0).name_and_value();
    let rest = rest.unwrap_or(Word { text: "", at: kind.at + kind.text.len() });
    // A list of addresses has commas of its own, and is the last part.
    let cut = 3 + usize::from(kind.text == "suppress");
    let mut parts: Vec<Word<'_>> = rest.split(',').collect();
    if let Some(addresses) = parts.get(cut - 1).filter(|_| kind.text == "suppress") {
        let whole = rest.text.get(addresses.at.saturating_sub(rest.at)..).unwrap_or_default();
        let whole = Word::trimmed(whole, addresses.at);
        parts.truncate(cut - 1);
        parts.push(whole);
    }
    let [gid, sid, more @ ..] = parts.as_slice() else {
        return Err((kind.at, "expected `gen_id` and `sig_id`".into()));
    };
    let (gid, sid) = (number(*gid, "gen_id")?, number(*sid, "sig_id")?);
    if gid == 0 && sid != 0 {
        return Err((
            kind.at,
            "`gen_id 0` is only for `sig_id 0`: rules have gen_id 1 unless they say".into(),
        ));
    }
    let what = match kind.text {
        "suppress" => suppress(more, variables)?,
        "threshold" | "event_filter" => What::Threshold(threshold::read(more, Form::Threshold)?),
        "rate_filter" => What::Rate(threshold::read(more, Form::Rate)?),
        _ => {
            let reason = format!(
                "`{}` is not known: expected `suppress`, `threshold`, `event_filter` or `rate_filter`",
                kind.shown()
            );
            return Err((kind.at, reason));
        }
    };
    Ok(Entry { place: line.place(begin), gid, sid, what })
}

fn number(word: Word<'_>, name: &str) -> Result<u32, Wrong> {
    let wrong = || (word.at, format!("expected `{name}` and a number, not `{}`", word.shown()));
    let (have, value) = word.name_and_value();
    if have.text != name {
        return Err(wrong());
    }
    value.and_then(|value| value.text.parse().ok()).ok_or_else(wrong)
}

fn suppress(parts: &[Word<'_>], variables: &Variables) -> Result<What, Wrong> {
    let (track, addresses) = match parts {
        [] => return Ok(What::SuppressAll),
        [track, addresses] => (*track, *addresses),
        [word, ..] => return Err((word.at, "expected `track whom, ip addresses`, or nothing".into())),
    };
    let (name, side) = track.name_and_value();
    let side = match (name.text, side.map_or("", |side| side.text)) {
        ("track", "by_src") => Side::Source,
        ("track", "by_dst") => Side::Destination,
        ("track", "by_either") => Side::Either,
        _ => return Err((track.at, "expected `track` and `by_src`, `by_dst` or `by_either`".into())),
    };
    let (name, list) = addresses.name_and_value();
    let Some(list) = list.filter(|_| name.text == "ip") else {
        return Err((addresses.at, "expected `ip` and addresses".into()));
    };
    // Suricata takes a list without brackets, too.
    let is_bare = list.text.contains(',') && !list.text.starts_with(['[', '!']);
    let read = match is_bare {
        true => group::addresses(&format!("[{}]", list.text), variables),
        false => group::addresses(list.text, variables),
    };
    let read =
        read.map_err(|error| (list.at + error.at.saturating_sub(usize::from(is_bare)), error.reason))?;
    Ok(What::Suppress(Suppression { side, addresses: Arc::new(read) }))
}
