//! What one rule asks of and does to what is remembered.
//!
//! In: a rule's options, one by one. Out: a [`RuleState`]: its tests, its actions, whether it is silent, and
//! a [`BitUse`] that says which marks it reads and writes. A [`Census`] of all rules knows which marks are
//! waited for and never set.

use super::bits::{BitAction, BitTest, Change, Flowbits, flowbits};
use super::flow::{FlowState, TransactionBits};
use super::flowint::{Flowint, IntAction, IntTest, flowint};
use super::names::{Kind, NameId, Names};
use super::shared::{Shared, SharedAction, SharedBits, SharedTest, Track, hostbits, xbits};
use super::words::{Value, none};
use super::{Ends, Refused, StateCounters};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use weir_common::rule::{Place, Problem, RuleOption};

/// A test of what is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum StateTest {
    /// `flowbits:isset` and `isnotset`.
    Bits(BitTest),
    /// A comparison of `flowint`.
    Int(IntTest),
    /// `isset` and `isnotset` of `xbits` and `hostbits`.
    Shared(SharedTest),
}

/// What a match changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum StateAction {
    /// `flowbits:set`, `unset`, `toggle`.
    Bit(BitAction),
    /// An assignment of `flowint`.
    Int(IntAction),
    /// The same of `xbits` and `hostbits`.
    Shared(SharedAction),
}

/// A rule's tests and actions, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct RuleState {
    /// All have to pass.
    pub(in super::super) tests: Vec<StateTest>,
    /// All are done when the rule has matched.
    pub(in super::super) actions: Vec<StateAction>,
    /// `noalert`: a match is never told of.
    pub(in super::super) is_silent: bool,
    /// `alert`: a match is told of, whatever the rule's action.
    pub(in super::super) is_told: bool,
    /// Which marks it reads and writes.
    pub(in super::super) uses: BitUse,
}

impl RuleState {
    /// Takes up an option; false when it is none of these keywords.
    pub(in super::super) fn option(
        &mut self,
        option: &RuleOption,
        names: &mut Names,
    ) -> Result<bool, Refused> {
        match option.name.as_str() {
            "noalert" => {
                none(option)?;
                self.is_silent = true;
            }
            "alert" => {
                none(option)?;
                self.is_told = true;
            }
            "flowbits" => match flowbits(Value::of(option)?, names)? {
                Flowbits::Test(test) => {
                    for bit in &test.any {
                        self.uses.read(Kind::FlowBit, *bit, test.wants_set, true);
                    }
                    self.tests.push(StateTest::Bits(test));
                }
                Flowbits::Action(action) => {
                    self.uses.write(Kind::FlowBit, action.bit, action.change != Change::Unset, true);
                    self.actions.push(StateAction::Bit(action));
                }
                Flowbits::NoAlert => self.is_silent = true,
            },
            "flowint" => match flowint(Value::of(option)?, names)? {
                Flowint::Test(test) => {
                    for name in [Some(test.name), test.other()].into_iter().flatten() {
                        self.uses.read(Kind::FlowInt, name, false, true);
                    }
                    self.tests.push(StateTest::Int(test));
                }
                Flowint::Action(action) => {
                    self.uses.write(Kind::FlowInt, action.name, true, true);
                    self.actions.push(StateAction::Int(action));
                }
            },
            "xbits" => {
                let shared = xbits(Value::of(option)?, names)?;
                self.shared(shared, true);
            }
            "hostbits" => {
                let shared = hostbits(Value::of(option)?, names)?;
                self.shared(shared, false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn shared(&mut self, shared: Shared, is_ordered: bool) {
        match shared {
            Shared::Test(test) => {
                self.uses.read(test.track.kind(), test.bit, test.wants_set, is_ordered);
                self.tests.push(StateTest::Shared(test));
            }
            Shared::Action(action) => {
                let sets = action.change != Change::Unset;
                self.uses.write(action.track.kind(), action.bit, sets, is_ordered);
                self.actions.push(StateAction::Shared(action));
            }
            Shared::NoAlert => self.is_silent = true,
        }
    }

    /// Whether there is nothing to test, to do or to keep silent about.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.tests.is_empty() && self.actions.is_empty() && !self.is_silent
    }

    /// Whether it looks at, or changes, a transaction's marks. Suricata asks a rule with `isset` of them to
    /// name the state of its protocol's transactions at which it is looked at.
    pub(in super::super) fn is_about_transaction(&self) -> bool {
        let test = |test: &StateTest| {
            matches!(test, StateTest::Shared(SharedTest { track: Track::Transaction, .. }))
        };
        let action = |action: &StateAction| {
            matches!(action, StateAction::Shared(SharedAction { track: Track::Transaction, .. }))
        };
        self.tests.iter().any(test) || self.actions.iter().any(action)
    }

    /// Whether all tests pass. Without a flow none about flows does.
    #[inline]
    pub(in super::super) fn passes(
        &self,
        flow: Option<&FlowState>,
        transaction: Option<&TransactionBits>,
        shared: &SharedBits,
        ends: &Ends,
    ) -> bool {
        self.tests.iter().all(|test| match test {
            StateTest::Bits(test) => flow.is_some_and(|flow| test.passes(flow)),
            StateTest::Int(test) => flow.is_some_and(|flow| test.passes(flow)),
            StateTest::Shared(test) => test.passes(shared, ends, transaction),
        })
    }

    /// Does what a match does, whether or not it alerts.
    pub(in super::super) fn apply(
        &self,
        mut flow: Option<&mut FlowState>,
        mut transaction: Option<&mut TransactionBits>,
        shared: &mut SharedBits,
        ends: &Ends,
        counters: &mut StateCounters,
    ) {
        for action in &self.actions {
            match (action, &mut flow) {
                (StateAction::Bit(action), Some(flow)) => action.apply(flow, counters),
                (StateAction::Int(action), Some(flow)) => action.apply(flow, counters),
                (StateAction::Shared(action), _) => {
                    action.apply(shared, ends, transaction.as_deref_mut(), counters);
                }
                (StateAction::Bit(_) | StateAction::Int(_), None) => {}
            }
        }
    }
}

/// Whether a rule sets what others of the same packet wait for. Rules with a higher rank come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Rank {
    /// It has nothing to do with them.
    #[default]
    None,
    /// It only reads.
    Reads,
    /// It reads and writes.
    ReadsAndWrites,
    /// It only writes.
    Writes,
}

/// Which marks and counters a rule reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct BitUse {
    /// What its tests look at.
    pub(in super::super) reads: Vec<(Kind, NameId)>,
    /// What its actions change.
    pub(in super::super) writes: Vec<(Kind, NameId)>,
    /// Those of `reads` that have to be set.
    waits: Vec<(Kind, NameId)>,
    /// Those of `writes` that are set by it.
    sets: Vec<(Kind, NameId)>,
    /// By kind, for the order: whether it reads, and whether it writes.
    reads_kind: [bool; KINDS],
    writes_kind: [bool; KINDS],
}

const KINDS: usize = 5;

impl BitUse {
    fn read(&mut self, kind: Kind, name: NameId, waits: bool, is_ordered: bool) {
        self.reads.push((kind, name));
        if waits {
            self.waits.push((kind, name));
        }
        if let Some(reads) = self.reads_kind.get_mut(kind as usize) {
            *reads |= is_ordered;
        }
    }

    fn write(&mut self, kind: Kind, name: NameId, sets: bool, is_ordered: bool) {
        self.writes.push((kind, name));
        if sets {
            self.sets.push((kind, name));
        }
        if let Some(writes) = self.writes_kind.get_mut(kind as usize) {
            *writes |= is_ordered;
        }
    }

    /// The rank for each kind, in the order in which Suricata compares rules after their actions and before
    /// their priorities: marks of flows, counters of flows, `xbits` of hosts, of pairs, of transactions. Rules compare
    /// by these, highest first. `hostbits` do not count, as in Suricata.
    pub(in super::super) fn order(&self) -> [Rank; KINDS] {
        [Kind::FlowBit, Kind::FlowInt, Kind::HostBit, Kind::PairBit, Kind::TransactionBit].map(|kind| {
            let has = |kinds: &[bool; KINDS]| kinds.get(kind as usize).copied().unwrap_or(false);
            match (has(&self.reads_kind), has(&self.writes_kind)) {
                (false, false) => Rank::None,
                (true, false) => Rank::Reads,
                (true, true) => Rank::ReadsAndWrites,
                (false, true) => Rank::Writes,
            }
        })
    }
}

/// What all rules together read and set.
#[derive(Debug, Default)]
pub(in super::super) struct Census {
    set: HashSet<(Kind, NameId)>,
    /// The first rule that waits for each, and how many do.
    waiting: BTreeMap<(Kind, NameId), (Arc<str>, Place, u64)>,
}

impl Census {
    /// Takes up a rule that can be run.
    pub(in super::super) fn add(&mut self, file: &Arc<str>, place: Place, uses: &BitUse) {
        self.set.extend(&uses.sets);
        for key in &uses.waits {
            let entry = self.waiting.entry(*key);
            entry.or_insert_with(|| (Arc::clone(file), place, 0)).2 += 1;
        }
    }

    /// What is waited for and never set, with the first rule that waits.
    pub(in super::super) fn warnings(&self, names: &Names) -> Vec<Problem> {
        let missing = self.waiting.iter().filter(|(key, _)| !self.set.contains(key));
        let mut warnings: Vec<Problem> = missing
            .map(|((kind, name), (file, place, rules))| {
                let what = match kind {
                    Kind::FlowBit => "flowbit",
                    Kind::FlowInt => "flowint",
                    Kind::HostBit => "host's bit",
                    Kind::PairBit => "pair's bit",
                    Kind::TransactionBit => "transaction's bit",
                };
                let name = names.name(*kind, *name);
                let rules = if *rules == 1 { "a rule waits".into() } else { format!("{rules} rules wait") };
                Problem {
                    file: Arc::clone(file),
                    place: *place,
                    reason: format!("the {what} `{name}` is set by no rule, and {rules} for it"),
                }
            })
            .collect();
        warnings.sort_by(|a, b| (&a.file, a.place, &a.reason).cmp(&(&b.file, b.place, &b.reason)));
        warnings
    }
}
