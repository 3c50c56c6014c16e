//! Conditions over single records: the user's own signatures.
//!
//! In: a text such as `app_proto == "ssh" and dst_port != 22 and not src_ip in 10.0.0.0/8`, compiled once.
//! Out: whether a record meets it, without allocation. The names are those of `--records` and the
//! store. Texts compare without regard to ASCII case. A test of a value that the record does not have
//! is false, `!=` and `not in` included; a field alone asks whether it is there. A test of a list holds
//! when it holds for one of its texts. Conditions do not count and do not remember.

mod field;
mod lex;
mod parse;

use crate::detect::config::RuleConfig;
use crate::detect::{Detector, Finding};
use crate::enrich::Enriched;
use crate::prefix::Networks;
use crate::problem::Problem;
use field::{Field, Value};
use std::borrow::Cow;
use weir_common::metadata::Metadata;
use weir_common::net::{Address, protocol};

/// Most rules; those past the limit are reported and left out. Every record is held against every rule.
pub const RULES_MAX: usize = 4096;

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ConditionError {
    /// Line within the condition, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what was expected.
    pub message: String,
}

impl ConditionError {
    fn at(text: &str, byte: usize, message: String) -> ConditionError {
        let mut end = byte.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        ConditionError { line, column, message }
    }
}

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition {
    nodes: Vec<Node>,
    root: u16,
}

#[derive(Clone, Debug)]
enum Node {
    And(u16, u16),
    Or(u16, u16),
    Not(u16),
    Test(Test),
}

#[derive(Clone, Debug)]
struct Test {
    field: Field,
    negated: bool,
    check: Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Below,
    AtMost,
    Above,
    AtLeast,
}

#[derive(Clone, Debug)]
enum Check {
    Present,
    Number(Compare, u64),
    Numbers(Box<[(u64, u64)]>),
    Texts(Box<[Box<str>]>),
    Contains(Box<str>),
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Networks(Networks),
}

impl Condition {
    /// Compiles a condition's text.
    pub fn compile(text: &str) -> Result<Condition, ConditionError> {
        parse::parse(text)
    }

    /// Whether a record meets it.
    #[inline]
    pub fn holds(&self, record: &Enriched<'_>) -> bool {
        self.node(self.root, record, record.record.metadata())
    }

    fn node(&self, at: u16, record: &Enriched<'_>, metadata: &Metadata) -> bool {
        match self.nodes.get(usize::from(at)) {
            Some(Node::And(left, right)) => {
                self.node(*left, record, metadata) && self.node(*right, record, metadata)
            }
            Some(Node::Or(left, right)) => {
                self.node(*left, record, metadata) || self.node(*right, record, metadata)
            }
            Some(Node::Not(inner)) => !self.node(*inner, record, metadata),
            Some(Node::Test(test)) => test.holds(record, metadata),
            None => false,
        }
    }
}

impl Test {
    fn holds(&self, record: &Enriched<'_>, metadata: &Metadata) -> bool {
        let Some(value) = self.field.of(record, metadata) else { return false };
        let holds = match value {
            Value::Number(number) => self.check.number(number),
            Value::Text(text) => self.check.text(text),
            Value::Texts(texts) => texts.iter().any(|text| self.check.text(text)),
            Value::Address(address) => self.check.address(address),
            Value::Flag(flag) => flag,
        };
        holds != self.negated
    }
}

impl Check {
    fn number(&self, have: u64) -> bool {
        match self {
            Check::Number(Compare::Equal, want) => have == *want,
            Check::Number(Compare::Below, want) => have < *want,
            Check::Number(Compare::AtMost, want) => have <= *want,
            Check::Number(Compare::Above, want) => have > *want,
            Check::Number(Compare::AtLeast, want) => have >= *want,
            Check::Numbers(ranges) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&have)),
            Check::Present => true,
            _ => false,
        }
    }

    fn text(&self, have: &str) -> bool {
        match self {
            Check::Texts(texts) => texts.iter().any(|want| have.eq_ignore_ascii_case(want)),
            Check::Contains(want) => contains(have.as_bytes(), want.as_bytes()),
            Check::StartsWith(want) => have.as_bytes().get(..want.len()).is_some_and(|part| same(part, want)),
            Check::EndsWith(want) => {
                let from = have.len().checked_sub(want.len());
                from.and_then(|from| have.as_bytes().get(from..)).is_some_and(|part| same(part, want))
            }
            Check::Present => true,
            _ => false,
        }
    }

    fn address(&self, have: Address) -> bool {
        match self {
            Check::Networks(networks) => networks.contains(have),
            Check::Present => true,
            _ => false,
        }
    }
}

fn same(part: &[u8], want: &str) -> bool {
    part.eq_ignore_ascii_case(want.as_bytes())
}

fn contains(have: &[u8], want: &[u8]) -> bool {
    want.is_empty() || have.windows(want.len()).any(|part| part.eq_ignore_ascii_case(want))
}

struct Rule {
    id: String,
    severity: weir_common::alert::Severity,
    confidence: f64,
    name: String,
    technique: Vec<Cow<'static, str>>,
    condition: Condition,
}

/// Finds records that meet rules.
#[derive(Default)]
pub struct ConditionDetector {
    rules: Vec<Rule>,
}

impl ConditionDetector {
    /// Compiles and adds a rule; `place` says where it stands (`rules.toml:12`). The error is what is wrong.
    pub fn add(&mut self, place: &str, rule: &RuleConfig) -> Result<(), Problem> {
        let wrong = |message: String| Problem::at(place, format!("rule `{}`: {message}", rule.id));
        if rule.id.trim().is_empty() {
            return Err(Problem::at(place, "a rule needs an id that is not empty".into()));
        }
        if self.rules.iter().any(|have| have.id == rule.id) {
            return Err(wrong("another rule has this id".into()));
        }
        if self.rules.len() >= RULES_MAX {
            return Err(wrong(format!("left out, there are {RULES_MAX} rules already")));
        }
        if !(0.0..=1.0).contains(&rule.confidence) {
            return Err(wrong(format!("confidence is {}: expected 0 to 1", rule.confidence)));
        }
        // A disabled rule is compiled as well: its mistakes show when they are made.
        let condition =
            Condition::compile(&rule.condition).map_err(|error| wrong(format!("condition {error}")))?;
        if rule.enabled {
            self.rules.push(Rule {
                id: rule.id.clone(),
                severity: rule.severity,
                confidence: rule.confidence,
                name: rule.name.clone(),
                technique: rule.technique.iter().map(|id| Cow::Owned(id.clone())).collect(),
                condition,
            });
        }
        Ok(())
    }

    /// How many rules are used.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Detector for ConditionDetector {
    fn name(&self) -> &'static str {
        "conditions"
    }

    fn inspect(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        for rule in &self.rules {
            if rule.condition.holds(record) {
                let key = &record.record.key;
                let reason = format!(
                    "{} (rule {}): {} to {} port {} by {}, {} octets sent and {} received.",
                    rule.name,
                    rule.id,
                    key.initiator,
                    key.responder,
                    key.responder_port,
                    protocol::name(key.protocol),
                    record.record.forward.octets,
                    record.record.reverse.octets
                );
                let mut finding = Finding::about(record, "signature", rule.severity, rule.confidence);
                finding.technique.clone_from(&rule.technique);
                findings.push(finding.because(reason).subject(rule.id.as_str()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
