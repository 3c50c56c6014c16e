//! `iprep`: what lists say of the reputation of addresses.
//!
//! In: the file of categories (`number,short name,description`) and files of reputations
//! (`address or network,category,score`), as Suricata reads them; then options, and a packet's ends. Out:
//! whether a rule's test passes. What is said of an address goes before what is said of its network, and of
//! networks the smallest counts. At [`REPUTATIONS_MAX`] lines the rest is reported once and not read.

use super::flowint::Comparison;
use super::words::{Value, Word};
use super::{Ends, Refused};
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use weir_common::net::Address;
use weir_common::rule::{Place, Problem, RuleOption, group};

/// Most addresses and networks of all files together.
pub(in super::super) const REPUTATIONS_MAX: usize = 1 << 20;
/// Categories have numbers from 1 to below this; Suricata's.
const CATEGORIES: u8 = 60;
/// Highest score; Suricata's.
const SCORE_MAX: u8 = 127;
/// Longest short name of a category, in bytes; Suricata's.
const NAME_BYTES_MAX: usize = 31;

/// What the lists say.
#[derive(Debug, Default)]
pub(in super::super) struct Reputations {
    /// Numbers of categories by their short names.
    categories: HashMap<String, u8>,
    addresses: HashMap<(u8, u128), u8, RandomState>,
    networks: HashMap<(u8, u8, u128), u8, RandomState>,
    /// By category, the lengths of its networks' prefixes, longest first; of IPv4 those of the mapped form.
    lengths: HashMap<u8, Vec<u8>>,
}

impl Reputations {
    /// Takes up the file of categories.
    pub(in super::super) fn read_categories(&mut self, name: &str, text: &[u8]) -> Vec<Problem> {
        each_line(name, text, |line| {
            let mut fields = line.split(',');
            let (number, short) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            let number = number
                .text
                .parse()
                .ok()
                .filter(|number| (1..CATEGORIES).contains(number))
                .ok_or_else(|| (number.at, format!("expected a number from 1 to {}", CATEGORIES - 1)))?;
            if short.text.is_empty() || short.text.len() > NAME_BYTES_MAX {
                return Err((short.at, format!("expected a name of 1 to {NAME_BYTES_MAX} bytes")));
            }
            self.categories.insert(short.text.to_owned(), number);
            Ok(())
        })
    }

    /// Takes up a file of reputations. Of two lines about the same the later counts.
    pub(in super::super) fn read(&mut self, name: &str, text: &[u8]) -> Vec<Problem> {
        let mut is_full = false;
        each_line(name, text, |line| {
            let fields: Vec<Word<'_>> = line.split(',').collect();
            let [address, category, score] = fields.as_slice() else {
                return Err((line.at, "expected `address,category,score`".into()));
            };
            if address.text == "ip" {
                return Ok(());
            }
            if self.addresses.len() + self.networks.len() >= REPUTATIONS_MAX {
                let was_full = std::mem::replace(&mut is_full, true);
                return match was_full {
                    true => Ok(()),
                    false => Err((line.at, format!("more than {REPUTATIONS_MAX} lines: not read from here"))),
                };
            }
            let number = |word: &Word<'_>, most: u8| {
                let read = word.text.parse::<u8>().ok().filter(|number| *number <= most);
                read.ok_or_else(|| (word.at, format!("expected a number up to {most}")))
            };
            let (category, score) = (number(category, CATEGORIES - 1)?, number(score, SCORE_MAX)?);
            self.add(*address, category, score)
        })
    }

    fn add(&mut self, word: Word<'_>, category: u8, score: u8) -> Result<(), Wrong> {
        let wrong = || (word.at, format!("`{}` is neither an address nor a network", word.shown()));
        let parse = |text: &str| text.parse::<IpAddr>().map_err(|_| wrong());
        let Some((network, bits)) = word.text.split_once('/') else {
            let address = group::ordinal(parse(word.text)?.into());
            self.addresses.insert((category, address), score);
            return Ok(());
        };
        let network = parse(network)?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse::<u8>().ok().filter(|bits| *bits <= width).ok_or_else(wrong)?;
        let length = 128 - width + bits;
        self.networks.insert((category, length, masked(network.into(), length)), score);
        let lengths = self.lengths.entry(category).or_default();
        if let Err(at) = lengths.binary_search_by(|have| length.cmp(have)) {
            lengths.insert(at, length);
        }
        Ok(())
    }

    /// The score of an address in a category.
    fn score(&self, category: u8, address: Address) -> Option<u8> {
        if let Some(score) = self.addresses.get(&(category, group::ordinal(address))) {
            return Some(*score);
        }
        // A network of IPv6 that holds the mapped form of IPv4 says nothing of IPv4.
        let least = if address.is_v4() { 96 } else { 0 };
        let lengths = self.lengths.get(&category)?.iter().take_while(|length| **length >= least);
        lengths
            .filter_map(|length| self.networks.get(&(category, *length, masked(address, *length))))
            .next()
            .copied()
    }

    /// How many addresses and networks there are.
    pub(in super::super) fn len(&self) -> usize {
        self.addresses.len() + self.networks.len()
    }
}

fn masked(address: Address, length: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
    group::ordinal(address) & mask
}

/// At which byte of a line, and why.
type Wrong = (usize, String);

/// Goes through the lines that say something.
fn each_line(name: &str, text: &[u8], mut take: impl FnMut(Word<'_>) -> Result<(), Wrong>) -> Vec<Problem> {
    let file: Arc<str> = name.into();
    let mut problems = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        // As in Suricata, a line that begins with a blank says nothing.
        if line.first().is_none_or(|first| matches!(first, b'#' | b' ' | b'\t' | b'\r')) {
            continue;
        }
        let read = match std::str::from_utf8(line) {
            Ok(line) => take(Word::trimmed(line, 0)),
            Err(error) => Err((error.valid_up_to(), "expected plain text".into())),
        };
        if let Err((at, reason)) = read {
            let line = u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
            let column = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
            problems.push(Problem { file: Arc::clone(&file), place: Place { line, column }, reason });
        }
    }
    problems
}

/// Whose reputation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Any,
    Both,
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// There is a score, or there is none.
    IsSet(bool),
    Compares(Comparison, u8),
}

/// A rule's test of a reputation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct ReputationTest {
    side: Side,
    category: u8,
    asked: Asked,
}

impl ReputationTest {
    /// Reads `iprep`: `side,category,operator,score` or `side,category,isset|isnotset`.
    pub(in super::super) fn read(
        option: &RuleOption,
        reputations: &Reputations,
    ) -> Result<ReputationTest, Refused> {
        let value = Value::of(option)?;
        let words = value.words();
        let [side, category, operator, rest @ ..] = words.as_slice() else {
            return Err(value.refused(0, "expected `side,category,operator,score`"));
        };
        let side = match side.text {
            "any" => Side::Any,
            "both" => Side::Both,
            "src" => Side::Source,
            "dst" => Side::Destination,
            _ => return Err(value.refused(side.at, "expected `any`, `both`, `src` or `dst`")),
        };
        let Some(number) = reputations.categories.get(category.text).copied() else {
            let reason = match reputations.categories.is_empty() {
                true => "no file of categories is configured".to_owned(),
                false => format!("`{}` is not a category", category.shown()),
            };
            return Err(value.refused(category.at, reason));
        };
        let asked = match (operator.text, rest) {
            ("isset", []) => Asked::IsSet(true),
            ("isnotset", []) => Asked::IsSet(false),
            (_, [score]) => {
                let comparison = match operator.text {
                    ">" => Comparison::Greater,
                    ">=" => Comparison::GreaterOrEqual,
                    "<" => Comparison::Less,
                    "<=" => Comparison::LessOrEqual,
                    "=" => Comparison::Equal,
                    "!=" | "!" => Comparison::NotEqual,
                    _ => return Err(value.refused(operator.at, "expected `>`, `>=`, `<`, `<=`, `=` or `!=`")),
                };
                let number = score.text.parse::<u8>().ok().filter(|number| *number <= SCORE_MAX);
                let number = number
                    .ok_or_else(|| value.refused(score.at, format!("expected a score up to {SCORE_MAX}")))?;
                Asked::Compares(comparison, number)
            }
            _ => {
                return Err(
                    value.refused(operator.at, "expected an operator and a score, `isset` or `isnotset`")
                );
            }
        };
        Ok(ReputationTest { side, category: number, asked })
    }

    /// Whether a packet passes.
    pub(in super::super) fn passes(&self, reputations: &Reputations, ends: &Ends) -> bool {
        let of = |address: Address| match (self.asked, reputations.score(self.category, address)) {
            (Asked::IsSet(wants_set), score) => score.is_some() == wants_set,
            (Asked::Compares(comparison, wanted), score) => {
                score.is_some_and(|score| comparison.holds(score, wanted))
            }
        };
        match self.side {
            Side::Any => of(ends.source) || of(ends.destination),
            Side::Both => of(ends.source) && of(ends.destination),
            Side::Source => of(ends.source),
            Side::Destination => of(ends.destination),
        }
    }
}
