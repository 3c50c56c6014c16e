//! What a rule says about itself: the options that decide nothing.
//!
//! In: options. Out: a [`Description`], which alerts carry, or which option is wrong. The options left over
//! are detection's.

use super::classification::{PRIORITY_DEFAULT, class};
use super::{Pairs, RuleOption, content};

/// Most entries of `reference` and of `metadata` that are kept of a rule.
pub(super) const ENTRIES_MAX: usize = 256;

/// What a rule does when it fires. Weir is passive: it says what it saw, and does none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Says so.
    Alert,
    /// Keeps other rules from firing.
    Pass,
    /// Would drop the packet.
    Drop,
    /// Would refuse the packet: `reject`, `rejectsrc`, `rejectdst`, `rejectboth`.
    Reject,
    /// Changes Suricata's own behaviour.
    Config,
}

impl Action {
    /// The action of a word.
    pub(super) fn of(word: &str) -> Option<Action> {
        Some(match word {
            "alert" => Action::Alert,
            "pass" => Action::Pass,
            "drop" => Action::Drop,
            "reject" | "rejectsrc" | "rejectdst" | "rejectboth" => Action::Reject,
            "config" => Action::Config,
            _ => return None,
        })
    }

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Alert => "alert",
            Action::Pass => "pass",
            Action::Drop => "drop",
            Action::Reject => "reject",
            Action::Config => "config",
        }
    }
}

/// Which end of the packet is the victim, where a rule says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The packet's source.
    Source,
    /// The packet's destination.
    Destination,
}

/// What a rule says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// What it does.
    pub action: Action,
    /// `msg`.
    pub message: String,
    /// `gid`; 1 without one.
    pub gid: u32,
    /// `sid`.
    pub sid: u32,
    /// `rev`; 0 without one.
    pub rev: u32,
    /// `classtype`, as it stands there.
    pub class: String,
    /// The class in words; empty for an unknown one.
    pub category: &'static str,
    /// `priority`, or the class's: 1 is worst.
    pub severity: u8,
    /// `reference`: kind and value.
    pub references: Pairs,
    /// `metadata`: key and value.
    pub metadata: Pairs,
    /// `target`.
    pub target: Option<Target>,
}

/// Which option is wrong, at which byte of its value, and why.
pub(super) struct DescribeError {
    pub(super) option: usize,
    pub(super) at: usize,
    pub(super) reason: String,
}

/// Reads the description; what remains in `options` is detection's.
pub(super) fn describe(action: Action, options: &mut Vec<RuleOption>) -> Result<Description, DescribeError> {
    let mut reader = Reader::default();
    for (index, option) in options.iter().enumerate() {
        reader.option(option).map_err(|(at, reason)| DescribeError { option: index, at, reason })?;
    }
    let Some(sid) = reader.sid else {
        let reason = "no `sid`: every rule needs its number".to_owned();
        return Err(DescribeError { option: usize::MAX, at: 0, reason });
    };
    options.retain(|option| !DESCRIBING.contains(&option.name.as_str()));
    let known = reader.class.as_deref().and_then(class);
    Ok(Description {
        action,
        message: reader.message.unwrap_or_default(),
        gid: reader.gid.unwrap_or(1),
        sid,
        rev: reader.rev.unwrap_or(0),
        class: reader.class.unwrap_or_default(),
        category: known.map_or("", |(category, _)| category),
        severity: reader.priority.or(known.map(|(_, priority)| priority)).unwrap_or(PRIORITY_DEFAULT),
        references: reader.references.shrunk(),
        metadata: reader.metadata.shrunk(),
        target: reader.target,
    })
}

/// The options that describe a rule: read here, whatever runs it.
pub const DESCRIBING: &[&str] =
    &["msg", "sid", "rev", "gid", "classtype", "priority", "reference", "metadata", "target"];

#[derive(Default)]
struct Reader {
    message: Option<String>,
    gid: Option<u32>,
    sid: Option<u32>,
    rev: Option<u32>,
    class: Option<String>,
    priority: Option<u8>,
    references: Pairs,
    metadata: Pairs,
    target: Option<Target>,
}

type Wrong = (usize, String);

impl Reader {
    fn option(&mut self, option: &RuleOption) -> Result<(), Wrong> {
        let name = option.name.as_str();
        if !DESCRIBING.contains(&name) {
            return Ok(());
        }
        let Some(value) = option.value.as_deref() else {
            return Err((0, format!("`{name}` needs a value")));
        };
        let words = || String::from_utf8_lossy(value).trim().to_owned();
        match name {
            "msg" => {
                let text = content::text(value).map_err(|error| (error.at, error.reason))?;
                once(&mut self.message, name, text)
            }
            "sid" => once(&mut self.sid, name, number(value, name, 1)?),
            "gid" => once(&mut self.gid, name, number(value, name, 1)?),
            "rev" => once(&mut self.rev, name, number(value, name, 0)?),
            "priority" => {
                let priority = number(value, name, 1)?;
                let priority =
                    u8::try_from(priority).map_err(|_| (0, "`priority` is 1 to 255".to_owned()))?;
                // Of several, Suricata takes the most urgent one.
                self.priority = Some(self.priority.map_or(priority, |have| have.min(priority)));
                Ok(())
            }
            "classtype" => {
                self.class.get_or_insert_with(words);
                Ok(())
            }
            "reference" => {
                let words = words();
                let Some((kind, value)) = words.split_once(',') else {
                    return Err((0, "`reference` is a kind, a comma and a value".into()));
                };
                if self.references.len() < ENTRIES_MAX {
                    self.references.push(kind.trim(), value.trim());
                }
                Ok(())
            }
            "metadata" => {
                self.metadata(&words());
                Ok(())
            }
            _ => {
                let target = match words().as_str() {
                    "src_ip" => Target::Source,
                    "dest_ip" => Target::Destination,
                    other => return Err((0, format!("`target` is `src_ip` or `dest_ip`, not `{other}`"))),
                };
                once(&mut self.target, name, target)
            }
        }
    }

    fn metadata(&mut self, words: &str) {
        let entries = words.bytes().filter(|byte| *byte == b',').count() + 1;
        self.metadata.reserve(entries.min(ENTRIES_MAX), words.len());
        for entry in words.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (key, value) = entry.split_once(char::is_whitespace).unwrap_or((entry, ""));
            if self.metadata.len() < ENTRIES_MAX {
                self.metadata.push(key, value.trim());
            }
        }
    }
}

fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), Wrong> {
    if slot.is_some() {
        return Err((0, format!("`{name}` stands here twice")));
    }
    *slot = Some(value);
    Ok(())
}

fn number(value: &[u8], name: &str, min: u32) -> Result<u32, Wrong> {
    let text = String::from_utf8_lossy(value);
    let text = text.trim().trim_matches('"');
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    number.filter(|number| *number >= min).ok_or_else(|| {
        let shown: String = text.chars().take(20).collect();
        (0, format!("`{name}` is a number from {min} to {}, not `{shown}`", u32::MAX))
    })
}
