//! `flowint`: counters of a flow.
//!
//! In: an option, `name,operator,value`. Out: an [`IntTest`] or an [`IntAction`]. As in Suricata, a counter
//! that has no value passes no comparison, `+` gives it its first value, `-` leaves it without; the name of
//! another counter that has no value counts as zero; and arithmetic goes round at 2^32.

use super::Refused;
use super::StateCounters;
use super::flow::FlowState;
use super::names::{Kind, NameId, Names};
use super::words::{Value, Word};

/// What a counter is compared or changed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Number(u32),
    Counter(NameId),
}

impl Operand {
    fn of(self, flow: &FlowState) -> u32 {
        match self {
            Operand::Number(number) => number,
            Operand::Counter(name) => flow.int(name).unwrap_or(0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Reads a comparison as `flowint` writes it.
    fn read(text: &str) -> Option<Comparison> {
        Some(match text {
            "==" => Comparison::Equal,
            "!=" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        })
    }

    pub(super) fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
        }
    }
}

/// A test of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct IntTest {
    pub(super) name: NameId,
    what: Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    IsSet(bool),
    Compares(Comparison, Operand),
}

impl IntTest {
    #[inline]
    pub(super) fn passes(&self, flow: &FlowState) -> bool {
        let value = flow.int(self.name);
        match self.what {
            Asked::IsSet(wants_set) => value.is_some() == wants_set,
            Asked::Compares(comparison, operand) => {
                value.is_some_and(|value| comparison.holds(value, operand.of(flow)))
            }
        }
    }

    /// The other counter that is read.
    pub(super) fn other(&self) -> Option<NameId> {
        match self.what {
            Asked::Compares(_, Operand::Counter(name)) => Some(name),
            _ => None,
        }
    }
}

/// A change of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct IntAction {
    pub(super) name: NameId,
    arithmetic: Arithmetic,
    operand: Operand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arithmetic {
    Set,
    Add,
    Subtract,
}

impl IntAction {
    pub(super) fn apply(&self, flow: &mut FlowState, counters: &mut StateCounters) {
        let operand = self.operand.of(flow);
        let value = match (self.arithmetic, flow.int(self.name)) {
            (Arithmetic::Set, _) | (Arithmetic::Add, None) => operand,
            (Arithmetic::Add, Some(value)) => value.wrapping_add(operand),
            (Arithmetic::Subtract, Some(value)) => value.wrapping_sub(operand),
            (Arithmetic::Subtract, None) => return,
        };
        flow.set_int(self.name, value, counters);
    }

    /// The other counter that is read.
    pub(super) fn other(&self) -> Option<NameId> {
        match self.operand {
            Operand::Counter(name) => Some(name),
            Operand::Number(_) => None,
        }
    }
}

/// What `flowint` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flowint {
    Test(IntTest),
    Action(IntAction),
}

/// Reads `flowint`.
pub(super) fn flowint(value: Value<'_>, names: &mut Names) -> Result<Flowint, Refused> {
    let words = value.words();
    let (name, operator, operand) = match words.as_slice() {
        [name, operator] => (*name, *operator, None),
        [name, operator, operand] => (*name, *operator, Some(*operand)),
        _ => return Err(value.refused(0, "expected `name,operator,value`")),
    };
    let id = counter(value, name, names)?;
    if let Some(wants_set) = match operator.text {
        "isset" => Some(true),
        "notset" | "isnotset" => Some(false),
        _ => None,
    } {
        return match operand.filter(|operand| !operand.text.is_empty()) {
            None => Ok(Flowint::Test(IntTest { name: id, what: Asked::IsSet(wants_set) })),
            Some(operand) => Err(value.refused(operand.at, format!("`{}` takes no value", operator.text))),
        };
    }
    let arithmetic = match operator.text {
        "=" => Some(Arithmetic::Set),
        "+" => Some(Arithmetic::Add),
        "-" => Some(Arithmetic::Subtract),
        _ => None,
    };
    let comparison = Comparison::read(operator.text);
    if arithmetic.is_none() && comparison.is_none() {
        let reason = format!(
            "`{}` is not an operator: expected `=`, `+`, `-`, `==`, `!=`, `<`, `<=`, `>`, `>=`, `isset` or `notset`",
            operator.shown()
        );
        return Err(value.refused(operator.at, reason));
    }
    let Some(word) = operand.filter(|operand| !operand.text.is_empty()) else {
        return Err(value.refused(operator.at, "expected a value behind the operator"));
    };
    let operand = if word.text.starts_with(|c: char| c.is_ascii_digit()) {
        let number = word.text.parse().map_err(|_| {
            value.refused(word.at, format!("`{}` is not a number up to {}", word.shown(), u32::MAX))
        })?;
        Operand::Number(number)
    } else {
        Operand::Counter(counter(value, word, names)?)
    };
    Ok(match (arithmetic, comparison) {
        (Some(arithmetic), _) => Flowint::Action(IntAction { name: id, arithmetic, operand }),
        (None, Some(comparison)) => {
            Flowint::Test(IntTest { name: id, what: Asked::Compares(comparison, operand) })
        }
        (None, None) => return Err(value.refused(operator.at, "expected an operator")),
    })
}

/// A counter's name: a letter, then letters, digits and `_./`.
fn counter(value: Value<'_>, word: Word<'_>, names: &mut Names) -> Result<NameId, Refused> {
    let is_name = word.text.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/'));
    if !is_name {
        let reason = format!(
            "`{}` is not a counter's name: expected a letter, then letters, digits and `_./`",
            word.shown()
        );
        return Err(value.refused(word.at, reason));
    }
    names.intern(Kind::FlowInt, word.text).map_err(|reason| value.refused(word.at, reason))
}
