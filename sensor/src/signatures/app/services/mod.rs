//! Keywords of services: Windows and identity, data and messages, industry.
//!
//! In: a rule's option; then a transaction's side. Out: whether it is what the rule asks for. What is a comparison of
//! a number, perhaps with names for its values, is a row of `integers`; what asks for more has a file of its own.

mod industry;
mod integers;
mod krb5;
mod nfs;
mod windows;

use super::Refused;
use crate::dpi::buffers::{Number, Side, Wanted};
use weir_common::rule::RuleOption;

/// What a rule asks of one side of a service's transaction.
#[derive(Debug)]
pub(in crate::signatures) enum ServiceTest {
    Integer(integers::Test),
    Windows(windows::Test),
    TicketEncryption(krb5::TicketEncryption),
    NfsProcedure(nfs::Procedure),
    Industry(industry::Test),
}

impl ServiceTest {
    /// Reads an option; none: it is none of these keywords.
    pub(super) fn option(option: &RuleOption) -> Option<Result<ServiceTest, Refused>> {
        let (name, value) = (option.name.as_str(), value(option));
        let result = match name {
            "krb5.ticket_encryption" => {
                value.and_then(krb5::TicketEncryption::parse).map(ServiceTest::TicketEncryption)
            }
            "nfs_procedure" => value.and_then(nfs::Procedure::parse).map(ServiceTest::NfsProcedure),
            _ => {
                let of_family = windows::option(name, value.clone())
                    .map(|result| result.map(ServiceTest::Windows))
                    .or_else(|| {
                        industry::option(name, value.clone()).map(|result| result.map(ServiceTest::Industry))
                    });
                match of_family {
                    Some(result) => result,
                    None => integers::option(name, value)?.map(ServiceTest::Integer),
                }
            }
        };
        Some(result.map_err(|reason| (option.value_place, reason)))
    }

    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        match self {
            ServiceTest::Integer(test) => test.holds(side),
            ServiceTest::Windows(test) => test.holds(side),
            ServiceTest::TicketEncryption(test) => test.holds(side),
            ServiceTest::NfsProcedure(test) => test.holds(side),
            ServiceTest::Industry(test) => test.holds(side),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        match self {
            ServiceTest::Integer(test) => test.wants(wanted),
            ServiceTest::Windows(test) => test.wants(wanted),
            ServiceTest::TicketEncryption(test) => test.wants(wanted),
            ServiceTest::NfsProcedure(test) => test.wants(wanted),
            ServiceTest::Industry(test) => test.wants(wanted),
        }
    }

    /// A number without which it does not hold.
    pub(super) fn needs(&self) -> Option<Number> {
        match self {
            ServiceTest::Integer(test) => test.needs(),
            _ => None,
        }
    }
}

/// An option's value as text; empty where it has none.
fn value(option: &RuleOption) -> Result<&str, String> {
    let value = option.value.as_deref().unwrap_or_default();
    std::str::from_utf8(value).map(str::trim).map_err(|_| "the value is not UTF-8".to_string())
}

/// As much of a rule's text as fits into a reason.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::dpi::buffers::{Buffer, Sides, Stage};
    use weir_common::app::App;
    use weir_common::net::Direction;
    use weir_common::rule::Place;

    /// Reads one option as it stands in a rule.
    pub(super) fn read(text: &str) -> Option<Result<ServiceTest, String>> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value.trim().as_bytes().to_vec())),
            None => (text, None),
        };
        let place = Place { line: 1, column: 1 };
        let option = RuleOption { name: name.to_string(), value, place, value_place: place };
        ServiceTest::option(&option).map(|result| result.map_err(|(_, reason)| reason))
    }

    /// Whether it holds of a side that was told this and is over.
    pub(super) fn holds(text: &str, buffers: &[(Buffer, &[u8])], numbers: &[(Number, u64)]) -> bool {
        holds_at(text, buffers, numbers, Stage::Body)
    }

    /// Whether it holds of a side at a stage.
    pub(super) fn holds_at(
        text: &str,
        buffers: &[(Buffer, &[u8])],
        numbers: &[(Number, u64)],
        stage: Stage,
    ) -> bool {
        let test = match read(text) {
            Some(Ok(test)) => test,
            other => panic!("{text}: {other:?}"),
        };
        let mut wanted = Wanted::default();
        test.wants(&mut wanted);
        let mut sides = Sides::default();
        let side = sides.of(App::Unknown, Direction::Forward, 0);
        side.stage = stage;
        // Only what it wants is told.
        let buffers = buffers.iter().filter(|(buffer, _)| wanted.has(*buffer));
        buffers.for_each(|(buffer, bytes)| side.put(*buffer, bytes));
        let numbers = numbers.iter().filter(|(number, _)| wanted.has_number(*number));
        numbers.for_each(|(number, value)| side.put_number(*number, *value));
        test.holds(side)
    }
}
