//! `flowbits`, and what it has in common with the other marks.
//!
//! In: an option. Out: a [`BitTest`] or [`BitAction`] on a flow's marks, or word that the rule never alerts.
//! As in Suricata, `isset,a|b` asks for one of them and `isnotset,a|b` for one that is not; a packet without
//! flow passes neither.

use super::Refused;
use super::StateCounters;
use super::flow::FlowState;
use super::names::{Kind, NameId, Names};
use super::words::{Value, Word};

/// Most alternatives of one test; Suricata's.
pub(super) const ALTERNATIVES_MAX: usize = 100;

/// What a keyword about marks asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Test { wants_set: bool },
    Change(Change),
    NoAlert,
}

/// What a match does to a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Change {
    /// It is set from now on.
    Set,
    /// It is no longer set.
    Unset,
    /// It is set when it was not, and the other way round.
    Toggle,
}

impl Command {
    pub(super) fn read(value: Value<'_>, word: Word<'_>) -> Result<Command, Refused> {
        Ok(match word.text {
            "isset" => Command::Test { wants_set: true },
            "isnotset" => Command::Test { wants_set: false },
            "set" => Command::Change(Change::Set),
            "unset" => Command::Change(Change::Unset),
            "toggle" => Command::Change(Change::Toggle),
            "noalert" => Command::NoAlert,
            _ => {
                let reason = format!(
                    "`{}` is not known: expected `set`, `unset`, `toggle`, `isset`, `isnotset` or `noalert`",
                    word.shown()
                );
                return Err(value.refused(word.at, reason));
            }
        })
    }
}

/// A test of a flow's marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct BitTest {
    /// One of these has to be as wanted.
    pub(super) any: Box<[NameId]>,
    pub(super) wants_set: bool,
}

impl BitTest {
    #[inline]
    pub(super) fn passes(&self, flow: &FlowState) -> bool {
        self.any.iter().any(|bit| flow.is_set(*bit) == self.wants_set)
    }
}

/// A change of a flow's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct BitAction {
    pub(super) bit: NameId,
    pub(super) change: Change,
}

impl BitAction {
    pub(super) fn apply(&self, flow: &mut FlowState, counters: &mut StateCounters) {
        match self.change {
            Change::Set => {
                flow.set(self.bit, counters);
            }
            Change::Unset => {
                flow.unset(self.bit);
            }
            Change::Toggle => {
                if !flow.unset(self.bit) {
                    flow.set(self.bit, counters);
                }
            }
        }
    }
}

/// What `flowbits` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flowbits {
    Test(BitTest),
    Action(BitAction),
    NoAlert,
}

/// Reads `flowbits`. What stands behind the first comma is the name, further commas included.
pub(super) fn flowbits(value: Value<'_>, names: &mut Names) -> Result<Flowbits, Refused> {
    let (command, name) = match value.text.split_once(',') {
        Some((command, name)) => {
            (Word::trimmed(command, 0), Some(Word::trimmed(name, value.text.len() - name.len())))
        }
        None => (value.word(), None),
    };
    let command_read = Command::read(value, command)?;
    let name = match (command_read, name.filter(|name| !name.text.is_empty())) {
        (Command::NoAlert, None) => return Ok(Flowbits::NoAlert),
        (Command::NoAlert, Some(name)) => {
            return Err(value.refused(name.at, "`noalert` takes no name"));
        }
        (_, None) => return Err(value.refused(command.at, "expected a name")),
        (_, Some(name)) => name,
    };
    let mut ids = Vec::new();
    for word in name.split('|').filter(|word| !word.text.is_empty()) {
        if word.has_blank() {
            return Err(value.refused(word.at, "a name has no blanks"));
        }
        if ids.len() == ALTERNATIVES_MAX {
            return Err(value.refused(word.at, format!("more than {ALTERNATIVES_MAX} alternatives")));
        }
        ids.push(names.intern(Kind::FlowBit, word.text).map_err(|reason| value.refused(word.at, reason))?);
    }
    match (command_read, ids.as_slice()) {
        (_, []) => Err(value.refused(name.at, "expected a name")),
        (Command::Test { wants_set }, _) => {
            Ok(Flowbits::Test(BitTest { any: ids.into_boxed_slice(), wants_set }))
        }
        (Command::Change(change), [bit]) => Ok(Flowbits::Action(BitAction { bit: *bit, change })),
        _ => Err(value.refused(name.at, "`|` is only for `isset` and `isnotset`")),
    }
}
