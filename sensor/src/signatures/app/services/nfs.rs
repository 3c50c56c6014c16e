//! `nfs_procedure`: which of NFS's procedures is called.
//!
//! In: a comparison, or a name, which is another number in each version; then a side. Out: whether it calls that.
//! Ranges have their ends in them, unlike those of other keywords.

use super::shown;
use crate::dpi::buffers::{Number, Side, Wanted};
use crate::dpi::nfs_procedure_numbers;
use crate::signatures::packet::{UintTest, Width};

/// What must be called.
#[derive(Debug)]
pub(in crate::signatures) enum Procedure {
    Compared(UintTest),
    /// Its numbers in versions 2, 3 and 4; or any other.
    Named([Option<u32>; 3], bool),
}

impl Procedure {
    /// Reads `6`, `1-4`, `READ`, `!GETATTR`.
    pub(super) fn parse(text: &str) -> Result<Procedure, String> {
        let error = match UintTest::parse_inclusive(text, Width::U32) {
            Ok(test) => return Ok(Procedure::Compared(test)),
            Err(error) => error,
        };
        let (name, is_negated) = match text.strip_prefix('!') {
            Some(name) => (name.trim_start(), true),
            None => (text, false),
        };
        let numbers = nfs_procedure_numbers(name);
        if numbers.iter().any(Option::is_some) {
            return Ok(Procedure::Named(numbers, is_negated));
        }
        if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Err(format!("no procedure of NFS has the name `{}`", shown(name)));
        }
        Err(error)
    }

    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        let version = side.numbers_of(Number::NfsVersion).next();
        side.numbers_of(Number::NfsProcedure).any(|procedure| match self {
            Procedure::Compared(test) => test.has(procedure),
            Procedure::Named(numbers, is_negated) => {
                let at = version.and_then(|version| usize::try_from(version.checked_sub(2)?).ok());
                let named = at.and_then(|at| numbers.get(at.min(2)).copied().flatten());
                named.is_some_and(|named| (u64::from(named) == procedure) != *is_negated)
            }
        })
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        wanted.want_number(Number::NfsProcedure);
        wanted.want_number(Number::NfsVersion);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{holds, read};
    use super::*;

    #[test]
    fn a_name_is_another_number_in_each_version() {
        let holds = |ask: &str, version, procedure| {
            holds(ask, &[], &[(Number::NfsVersion, version), (Number::NfsProcedure, procedure)])
        };
        for (ask, version, procedure, expected) in [
            ("nfs_procedure: getattr", 3, 1, true),
            ("nfs_procedure:GETATTR", 4, 9, true),
            ("nfs_procedure:GETATTR", 4, 1, false),
            ("nfs_procedure:STATFS", 2, 17, true),
            ("nfs_procedure:STATFS", 3, 17, false),
            ("nfs_procedure:!GETATTR", 3, 6, true),
            ("nfs_procedure:!GETATTR", 3, 1, false),
            ("nfs_procedure:1-4", 3, 4, true),
            ("nfs_procedure:<4", 3, 4, false),
        ] {
            assert_eq!(holds(ask, version, procedure), expected, "{ask} {version} {procedure}");
        }
        for wrong in ["nfs_procedure", "nfs_procedure:FLY", "nfs_procedure:4-1", "nfs_procedure:!"] {
            assert!(matches!(read(wrong), Some(Err(_))), "{wrong}");
        }
    }
}
