//! The outer form of Suricata's rule language, with the place of everything in it.
//!
//! In: a rule file's bytes, and the variables of headers. Out: [`Rule`]s: what each says about itself, which
//! ends it is about, and its detection options as name, raw value and place; and a [`Problem`] with file,
//! line, column and reason for every rule that cannot be read. What detection options mean, and which of
//! them can be run, is deliberately absent: that is the engine's.
//!
//! A rule reads `action protocol addresses ports direction addresses ports (name:value; name; ...)`. Lines
//! that begin with `#` are comments, or rules that are switched off; a backslash at a line's end continues
//! it. Rule files come from elsewhere: every length has a limit, and nothing in them can cause a panic.

mod classification;
pub mod content;
mod describe;
pub mod group;
mod lines;
mod pairs;
mod parse;
pub mod range;
mod variables;

#[cfg(test)]
mod tests;

pub use describe::{Action, DESCRIBING, Description, Target};
pub use group::{AddressSet, PortSet};
pub use lines::{Line, Lines, RULE_BYTES_MAX};
pub use pairs::Pairs;
pub use parse::{OPTIONS_MAX, RuleReader};
pub use variables::Variables;

use std::fmt;
use std::sync::Arc;

/// A place in a rule file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in bytes.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: Arc<str>,
    /// Where in it.
    pub place: Place,
    /// What is wrong and what was expected.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.place, self.reason)
    }
}

/// One end of a rule's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its addresses.
    pub addresses: Arc<AddressSet>,
    /// Its ports.
    pub ports: Arc<PortSet>,
}

/// An option as it stands in the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOption {
    /// Its name, in lower case.
    pub name: String,
    /// What stands behind the colon, without the blanks around it; quotes and escapes are still there.
    pub value: Option<Vec<u8>>,
    /// Where the name stands.
    pub place: Place,
    /// Where the value begins; the name's place without one.
    pub value_place: Place,
}

/// The arrow between the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleDirection {
    /// `->`: from the left end to the right.
    OneWay,
    /// `<>`: the ends may change places.
    EitherWay,
    /// `=>`: both ways of one transaction.
    Transaction,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its file.
    pub file: Arc<str>,
    /// Where it begins.
    pub place: Place,
    /// What it says about itself.
    pub description: Description,
    /// The protocol's name, in lower case.
    pub protocol: String,
    /// Where the protocol stands.
    pub protocol_place: Place,
    /// The end on the left: the packet's source.
    pub source: End,
    /// The end on the right: the packet's destination.
    pub destination: End,
    /// How the ends belong to a packet's.
    pub direction: RuleDirection,
    /// Options that decide, in their order.
    pub options: Vec<RuleOption>,
}

impl Rule {
    /// A problem of this rule.
    pub fn problem(&self, place: Place, reason: impl Into<String>) -> Problem {
        Problem { file: Arc::clone(&self.file), place, reason: reason.into() }
    }
}

/// What a rule file came to.
#[derive(Debug, Default)]
pub struct RuleFile {
    /// Rules that can be read, in their order.
    pub rules: Vec<Rule>,
    /// One problem for every rule that cannot.
    pub problems: Vec<Problem>,
    /// Rules in comments.
    pub disabled: u64,
}
