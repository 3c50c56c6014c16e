//! From a line to a rule: header and options.
//!
//! In: a logical line. Out: its [`Rule`], or at which byte reading it failed and why. Groups of addresses
//! are read once per distinct text, because thousands of rules share a few.

use super::describe::{Action, describe};
use super::group::{self, AddressSet, GroupError, PortSet};
use super::lines::{Line, Lines, RULE_BYTES_MAX};
use super::range::RangeSet;
use super::variables::Variables;
use super::{End, Place, Problem, Rule, RuleDirection, RuleFile, RuleOption};
use std::collections::HashMap;
use std::sync::Arc;

/// Most options of a rule.
pub const OPTIONS_MAX: usize = 512;
/// Most distinct texts of groups that are kept for rules to come; past it they are read anew.
const GROUPS_KEPT_MAX: usize = 1 << 14;

/// Reads rule files with the same variables, and notices rules that share a number.
#[derive(Debug, Default)]
pub struct RuleReader {
    variables: Variables,
    addresses: HashMap<String, Arc<AddressSet>>,
    ports: HashMap<String, Arc<PortSet>>,
    /// Where each gid and sid was used last, and its revision.
    seen: HashMap<(u32, u32), (Arc<str>, Place, u32)>,
}

/// At which byte, and why.
type Wrong = (usize, String);

impl RuleReader {
    /// A reader with these variables.
    pub fn new(variables: Variables) -> RuleReader {
        RuleReader { variables, ..RuleReader::default() }
    }

    /// Reads a file; `name` is what places say.
    pub fn read(&mut self, name: &str, text: &[u8]) -> RuleFile {
        let file: Arc<str> = name.into();
        let mut read = RuleFile::default();
        for line in Lines::of(text) {
            let begin = line.bytes.len() - line.bytes.trim_ascii_start().len();
            match line.bytes.get(begin) {
                None => {}
                Some(b'#') => read.disabled += u64::from(is_disabled_rule(&line.bytes)),
                Some(_) => match self.rule(&file, &line, begin) {
                    Ok(rule) => read.rules.push(rule),
                    Err((at, reason)) => {
                        read.problems.push(Problem {
                            file: Arc::clone(&file),
                            place: line.place(at),
                            reason,
                        });
                    }
                },
            }
        }
        read
    }

    fn rule(&mut self, file: &Arc<str>, line: &Line<'_>, begin: usize) -> Result<Rule, Wrong> {
        if line.is_too_long {
            return Err((begin, format!("a rule of more than {RULE_BYTES_MAX} bytes")));
        }
        let mut cursor = Cursor { bytes: &line.bytes, at: begin };
        let (word, at) = cursor.word("an action")?;
        let action = Action::of(&word).ok_or_else(|| (at, no_action(&word)))?;
        let (protocol, protocol_at) = cursor.word("a protocol")?;
        let protocol = protocol.to_ascii_lowercase();
        if !is_protocol(&protocol) {
            return Err((protocol_at, format!("`{}` is not a protocol", shown(&protocol))));
        }
        let source = self.end(&mut cursor, "source")?;
        let (direction, direction_at) = cursor.word("a direction")?;
        let direction = match direction.as_str() {
            "->" => RuleDirection::OneWay,
            "<>" => RuleDirection::EitherWay,
            "=>" => RuleDirection::Transaction,
            other => {
                let reason = format!("`{}` is not a direction: expected `->`, `<>` or `=>`", shown(other));
                return Err((direction_at, reason));
            }
        };
        let destination = self.end(&mut cursor, "destination")?;
        let (mut options, places) = options(&cursor, line)?;
        let description = describe(action, &mut options).map_err(|error| {
            let at = places.get(error.option).map_or(begin, |value_at| value_at + error.at);
            (at, error.reason)
        })?;
        let place = line.place(begin);
        let number = (description.gid, description.sid);
        // Of a later revision whoever compiles rules takes that one.
        if let Some((file, place, rev)) = self.seen.get(&number)
            && description.rev <= *rev
        {
            return Err((begin, format!("sid {} is taken by the rule at {file}:{place}", number.1)));
        }
        self.seen.insert(number, (Arc::clone(file), place, description.rev));
        let protocol_place = line.place(protocol_at);
        let file = Arc::clone(file);
        Ok(Rule {
            file,
            place,
            description,
            protocol,
            protocol_place,
            source,
            destination,
            direction,
            options,
        })
    }

    /// Addresses and ports.
    fn end(&mut self, cursor: &mut Cursor<'_>, which: &str) -> Result<End, Wrong> {
        let (word, at) = cursor.word(&format!("{which} addresses"))?;
        let addresses = kept(&mut self.addresses, &word, |word| group::addresses(word, &self.variables));
        let addresses = addresses.map_err(|error| (at + error.at, error.reason))?;
        let (word, at) = cursor.word(&format!("{which} ports"))?;
        let ports = kept(&mut self.ports, &word, |word| group::ports(word, &self.variables));
        let ports = ports.map_err(|error| (at + error.at, error.reason))?;
        Ok(End { addresses, ports })
    }
}

/// Gives the set of a text from those that are kept, or reads it.
fn kept<T>(
    sets: &mut HashMap<String, Arc<RangeSet<T>>>,
    word: &str,
    read: impl FnOnce(&str) -> Result<RangeSet<T>, GroupError>,
) -> Result<Arc<RangeSet<T>>, GroupError> {
    if let Some(set) = sets.get(word) {
        return Ok(Arc::clone(set));
    }
    let set = Arc::new(read(word)?);
    if sets.len() < GROUPS_KEPT_MAX {
        sets.insert(word.to_owned(), Arc::clone(&set));
    }
    Ok(set)
}

/// Why a word is no action. What Suricata's firewall mode has is known and is not for a sensor that is passed by.
fn no_action(word: &str) -> String {
    let (action, scope) = word.split_once(':').map_or((word, None), |(action, scope)| (action, Some(scope)));
    // `accept:hook,alert` has several words behind its colon.
    let is_scope = scope.is_none_or(|scope| {
        let first = scope.split(',').next().unwrap_or_default();
        matches!(first, "packet" | "flow" | "tx" | "hook")
    });
    match Action::of(action) {
        None if action == "accept" && is_scope => {
            format!("cannot run `{}`: it is for a firewall, and traffic is only looked at here", shown(word))
        }
        Some(_) if scope.is_some() && is_scope => format!(
            "cannot run `{}`: what an action reaches is for a firewall, and traffic is only looked at here; `{}` alone runs",
            shown(word),
            shown(action)
        ),
        _ => format!(
            "`{}` is not an action: expected `alert`, `drop`, `reject`, `pass` or `config`",
            shown(word)
        ),
    }
}

/// Whether a comment holds a rule that somebody switched off.
fn is_disabled_rule(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line.trim_ascii());
    let mut words = text.trim_start_matches('#').split_whitespace();
    let is_action = words.next().is_some_and(|word| Action::of(word).is_some());
    is_action && words.next().is_some_and(is_protocol) && text.contains('(') && text.ends_with(')')
}

/// Which protocols there are, the engine knows: new ones come with every version of Suricata.
fn is_protocol(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        // Behind a colon stands when in a transaction the rule is looked at.
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// The next word of the header and where it begins. Blanks inside brackets belong to it.
    fn word(&mut self, what: &str) -> Result<(String, usize), Wrong> {
        self.skip_space();
        let (begin, mut depth) = (self.at, 0usize);
        while let Some(byte) = self.peek() {
            match byte {
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                b'(' => break,
                byte if byte.is_ascii_whitespace() && depth == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        let word = self.bytes.get(begin..self.at).unwrap_or_default();
        if word.is_empty() {
            return Err((begin, format!("expected {what}")));
        }
        match std::str::from_utf8(word) {
            Ok(word) => Ok((word.to_owned(), begin)),
            Err(error) => Err((begin + error.valid_up_to(), format!("expected {what}, in plain text"))),
        }
    }
}

/// The options between the parentheses, and at which byte of the line each value begins.
fn options(cursor: &Cursor<'_>, line: &Line<'_>) -> Result<(Vec<RuleOption>, Vec<usize>), Wrong> {
    let mut open = Cursor { bytes: cursor.bytes, at: cursor.at };
    open.skip_space();
    if open.peek() != Some(b'(') {
        return Err((open.at, "expected `(` and the options".into()));
    }
    let end = cursor.bytes.trim_ascii_end().len();
    let Some(b')') = end.checked_sub(1).and_then(|last| cursor.bytes.get(last)) else {
        return Err((end, "expected `)` at the end of the options".into()));
    };
    let mut inner = Cursor { bytes: cursor.bytes.get(..end - 1).unwrap_or_default(), at: open.at + 1 };
    let (mut options, mut places) = (Vec::new(), Vec::new());
    loop {
        inner.skip_space();
        let begin = inner.at;
        let Some(end) = option_end(inner.bytes, begin) else {
            if begin < inner.bytes.len() {
                return Err((begin, "expected `;` behind this option".into()));
            }
            return Ok((options, places));
        };
        if options.len() == OPTIONS_MAX {
            return Err((begin, format!("more than {OPTIONS_MAX} options")));
        }
        let (option, value_at) = option(inner.bytes.get(begin..end).unwrap_or_default(), begin, line)?;
        options.push(option);
        places.push(value_at);
        inner.at = end + 1;
    }
}

/// Where the option's semicolon stands. As in Suricata, one behind a backslash is the value's, whatever
/// stands before the backslash, and quotes do not matter.
fn option_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b';')?;
        let is_escaped = at > begin && bytes.get(at - 1) == Some(&b'\\');
        if !is_escaped {
            return Some(at);
        }
        at += 1;
    }
}

fn option(bytes: &[u8], begin: usize, line: &Line<'_>) -> Result<(RuleOption, usize), Wrong> {
    let colon = bytes.iter().position(|byte| *byte == b':');
    let name = bytes.get(..colon.unwrap_or(bytes.len())).unwrap_or_default().trim_ascii_end();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || !name.iter().all(is_name) {
        let name = String::from_utf8_lossy(name);
        return Err((begin, format!("`{}` is not an option's name", shown(&name))));
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let place = line.place(begin);
    let Some(colon) = colon else {
        return Ok((RuleOption { name, value: None, place, value_place: place }, begin));
    };
    let behind = bytes.get(colon + 1..).unwrap_or_default();
    let value_at = begin + colon + 1 + (behind.len() - behind.trim_ascii_start().len());
    let value = Some(behind.trim_ascii().to_vec());
    Ok((RuleOption { name, value, place, value_place: line.place(value_at) }, value_at))
}

/// The beginning of a wrong word, for a message.
fn shown(word: &str) -> String {
    word.chars().take(40).collect()
}
