//! Names of marks and counters as small numbers.
//!
//! In: names as rules write them. Out: a [`NameId`] for each. The table outlives the rules: a name that comes
//! again in rules loaded later has the number that it had, so that what flows and hosts remember goes on.
//! Names that no rule uses any more stay, and count towards [`NAMES_MAX`]; at it, a rule with a further
//! name is refused.

use std::collections::HashMap;

/// Most names of one kind that there ever are in one run.
pub(in super::super) const NAMES_MAX: usize = 1 << 16;
/// Longest name, in bytes; Suricata's.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// What a name is of. Each kind has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) enum Kind {
    /// A flow's mark.
    FlowBit,
    /// A flow's counter.
    FlowInt,
    /// A host's mark: `hostbits`, and `xbits` with `track ip_src` or `ip_dst`.
    HostBit,
    /// A mark of two hosts.
    PairBit,
    /// A transaction's mark.
    TransactionBit,
}

/// A name's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) struct NameId(u16);

/// The names.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Names {
    kinds: [Table; 5],
}

#[derive(Clone, Debug, Default)]
struct Table {
    numbers: HashMap<Box<str>, u16>,
    names: Vec<Box<str>>,
}

impl Names {
    /// The number of a name, a new one where it is new; or why there is none.
    pub(in super::super) fn intern(&mut self, kind: Kind, name: &str) -> Result<NameId, String> {
        if name.is_empty() {
            return Err("expected a name".into());
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("a name of more than {NAME_BYTES_MAX} bytes"));
        }
        let table = self.table_mut(kind);
        if let Some(number) = table.numbers.get(name) {
            return Ok(NameId(*number));
        }
        let number = u16::try_from(table.names.len())
            .map_err(|_| format!("more than {NAMES_MAX} names since the start"))?;
        table.numbers.insert(name.into(), number);
        table.names.push(name.into());
        Ok(NameId(number))
    }

    /// The name of a number.
    pub(in super::super) fn name(&self, kind: Kind, id: NameId) -> &str {
        let table = self.kinds.get(kind as usize);
        table.and_then(|table| table.names.get(usize::from(id.0))).map_or("", |name| name)
    }

    fn table_mut(&mut self, kind: Kind) -> &mut Table {
        let [flow_bits, flow_ints, host_bits, pair_bits, transaction_bits] = &mut self.kinds;
        match kind {
            Kind::FlowBit => flow_bits,
            Kind::FlowInt => flow_ints,
            Kind::HostBit => host_bits,
            Kind::PairBit => pair_bits,
            Kind::TransactionBit => transaction_bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_kinds_do_not_mix() {
        let mut names = Names::default();
        let first = names.intern(Kind::FlowBit, "a").unwrap();
        let second = names.intern(Kind::FlowBit, "b").unwrap();
        assert_ne!(first, second);
        assert_eq!(names.intern(Kind::FlowInt, "b").unwrap(), first, "numbers begin anew for each kind");
        assert_eq!(names.intern(Kind::FlowBit, "a").unwrap(), first);
        assert_eq!((names.name(Kind::FlowBit, second), names.name(Kind::FlowInt, second)), ("b", ""));
    }

    #[test]
    fn names_have_a_length_and_a_number_at_most() {
        let mut names = Names::default();
        assert!(names.intern(Kind::HostBit, "").is_err());
        assert!(names.intern(Kind::HostBit, &"a".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(names.intern(Kind::HostBit, &"a".repeat(NAME_BYTES_MAX + 1)).is_err());
        for number in 1..NAMES_MAX {
            names.intern(Kind::HostBit, &number.to_string()).unwrap();
        }
        assert!(names.intern(Kind::HostBit, "one more").unwrap_err().contains("more than"));
        assert!(names.intern(Kind::HostBit, "7").is_ok(), "known names stay");
        assert!(names.intern(Kind::PairBit, "one more").is_ok());
    }
}
