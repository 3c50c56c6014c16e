//! What a flow, or a transaction, remembers: marks and counters.
//!
//! In: numbers of names. Out: whether a mark is set, and a counter's value. Nothing is allocated before the
//! first is set. At the limits below further ones are not set, which is counted. Marks are kept in the order
//! in which they were set, which is the order of EVE's lists.

use super::StateCounters;
use super::names::NameId;

/// Most marks of one flow.
pub(in super::super) const FLOW_BITS_MAX: usize = 256;
/// Most counters of one flow.
pub(in super::super) const FLOW_INTS_MAX: usize = 64;
/// Most marks of one transaction.
pub(in super::super) const TRANSACTION_BITS_MAX: usize = 64;

/// A flow's marks and counters: one pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct FlowState(Option<Box<Variables>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Variables {
    bits: Vec<NameId>,
    ints: Vec<(NameId, u32)>,
}

impl FlowState {
    /// Whether a mark is set.
    #[inline]
    pub(in super::super) fn is_set(&self, bit: NameId) -> bool {
        self.0.as_ref().is_some_and(|variables| variables.bits.contains(&bit))
    }

    /// Sets a mark; whether it is new.
    pub(in super::super) fn set(&mut self, bit: NameId, counters: &mut StateCounters) -> bool {
        let bits = &mut self.0.get_or_insert_default().bits;
        insert(bits, bit, FLOW_BITS_MAX, counters)
    }

    /// Takes a mark away; whether it was set.
    pub(in super::super) fn unset(&mut self, bit: NameId) -> bool {
        self.0.as_mut().is_some_and(|variables| remove(&mut variables.bits, bit))
    }

    /// A counter's value, once it has one.
    #[inline]
    pub(in super::super) fn int(&self, name: NameId) -> Option<u32> {
        let ints = &self.0.as_ref()?.ints;
        ints.iter().find(|(have, _)| *have == name).map(|(_, value)| *value)
    }

    /// Gives a counter a value.
    pub(in super::super) fn set_int(&mut self, name: NameId, value: u32, counters: &mut StateCounters) {
        let ints = &mut self.0.get_or_insert_default().ints;
        let is_full = ints.len() >= FLOW_INTS_MAX;
        match ints.iter_mut().find(|(have, _)| *have == name) {
            Some((_, have)) => *have = value,
            None if is_full => counters.flow_ints_refused += 1,
            None => ints.push((name, value)),
        }
    }

    /// The marks, first set first.
    pub(in super::super) fn bits(&self) -> &[NameId] {
        self.0.as_ref().map_or(&[], |variables| &variables.bits)
    }

    /// The counters, first set first.
    pub(in super::super) fn ints(&self) -> &[(NameId, u32)] {
        self.0.as_ref().map_or(&[], |variables| &variables.ints)
    }
}

/// A transaction's marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct TransactionBits(Vec<NameId>);

impl TransactionBits {
    /// Whether a mark is set.
    #[inline]
    pub(in super::super) fn is_set(&self, bit: NameId) -> bool {
        self.0.contains(&bit)
    }

    /// Sets a mark; whether it is new.
    pub(in super::super) fn set(&mut self, bit: NameId, counters: &mut StateCounters) -> bool {
        insert(&mut self.0, bit, TRANSACTION_BITS_MAX, counters)
    }
}

fn insert(bits: &mut Vec<NameId>, bit: NameId, most: usize, counters: &mut StateCounters) -> bool {
    if bits.contains(&bit) {
        return false;
    }
    if bits.len() >= most {
        counters.flow_bits_refused += 1;
        return false;
    }
    bits.push(bit);
    true
}

fn remove(bits: &mut Vec<NameId>, bit: NameId) -> bool {
    let at = bits.iter().position(|have| *have == bit);
    at.map(|at| bits.remove(at)).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::names::{Kind, Names};
    use super::*;

    fn ids(count: usize) -> Vec<NameId> {
        let mut names = Names::default();
        (0..count).map(|number| names.intern(Kind::FlowBit, &format!("n{number}")).unwrap()).collect()
    }

    #[test]
    fn a_flow_that_remembers_nothing_is_one_pointer() {
        assert_eq!(size_of::<FlowState>(), size_of::<usize>());
        let id = ids(1)[0];
        let mut flow = FlowState::default();
        assert!(!flow.is_set(id) && !flow.unset(id) && flow.int(id).is_none());
        assert!(flow.0.is_none() && flow.bits().is_empty() && flow.ints().is_empty());
    }

    #[test]
    fn marks_are_set_once_and_keep_their_order() {
        let ids = ids(3);
        let (mut flow, mut counters) = (FlowState::default(), StateCounters::default());
        assert!(flow.set(ids[2], &mut counters) && flow.set(ids[0], &mut counters));
        assert!(!flow.set(ids[2], &mut counters));
        assert_eq!(flow.bits(), [ids[2], ids[0]]);
        assert!(flow.unset(ids[2]) && !flow.is_set(ids[2]) && flow.is_set(ids[0]));
        assert_eq!(counters, StateCounters::default());
    }

    #[test]
    fn at_the_limits_nothing_more_is_set_and_what_is_there_goes_on() {
        let ids = ids(FLOW_BITS_MAX + 1);
        let (mut flow, mut counters) = (FlowState::default(), StateCounters::default());
        let mut transaction = TransactionBits::default();
        for id in &ids {
            flow.set(*id, &mut counters);
            flow.set_int(*id, 1, &mut counters);
        }
        let refused = (ids.len() - FLOW_INTS_MAX) as u64;
        assert_eq!((counters.flow_bits_refused, counters.flow_ints_refused), (1, refused));
        assert!(!flow.is_set(ids[FLOW_BITS_MAX]) && flow.is_set(ids[FLOW_BITS_MAX - 1]));
        assert!(flow.int(ids[FLOW_INTS_MAX]).is_none());
        flow.set_int(ids[0], 9, &mut counters);
        assert_eq!((flow.int(ids[0]), counters.flow_ints_refused), (Some(9), refused));
        assert!(flow.unset(ids[0]) && flow.set(ids[FLOW_BITS_MAX], &mut counters));
        for id in ids.iter().take(TRANSACTION_BITS_MAX + 1) {
            transaction.set(*id, &mut counters);
        }
        assert_eq!(counters.flow_bits_refused, 2);
        assert!(!transaction.is_set(ids[TRANSACTION_BITS_MAX]));
    }
}
