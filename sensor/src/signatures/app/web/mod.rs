//! Keywords of the web, of files, and of FTP.
//!
//! In: a rule's option; then a transaction's side. Out: whether it is what the rule asks for.

mod files;
mod protocols;

use super::Refused;
use crate::dpi::buffers::{Number, Side, Wanted};
use weir_common::rule::RuleOption;

/// What a rule asks of one side.
#[derive(Debug)]
pub(in crate::signatures) enum WebTest {
    Protocol(protocols::Test),
    File(files::Test),
}

impl WebTest {
    /// Reads an option of a rule in a file of this name; none: it is none of these keywords.
    pub(super) fn option(option: &RuleOption, file: &str) -> Option<Result<WebTest, Refused>> {
        let value = option.value.as_deref().unwrap_or_default();
        let text =
            || std::str::from_utf8(value).map(str::trim).map_err(|_| "the value is not UTF-8".to_string());
        let read = match protocols::option(&option.name, text) {
            Some(read) => read.map(WebTest::Protocol),
            None => files::option(&option.name, value, file)?.map(WebTest::File),
        };
        Some(read.map_err(|reason| (option.value_place, reason)))
    }

    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        match self {
            WebTest::Protocol(test) => test.holds(side),
            WebTest::File(test) => test.holds(side),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        match self {
            WebTest::Protocol(test) => test.wants(wanted),
            WebTest::File(test) => test.wants(wanted),
        }
    }

    /// A number without which it does not hold.
    pub(super) fn needs(&self) -> Option<Number> {
        match self {
            WebTest::Protocol(test) => test.needs(),
            WebTest::File(_) => None,
        }
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::dpi::buffers::{Buffer, Sides};
    use weir_common::app::App;
    use weir_common::net::Direction;
    use weir_common::rule::Place;

    /// Reads one option as it stands in a rule.
    pub(super) fn read(text: &str, file: &str) -> Option<Result<WebTest, String>> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value.trim().as_bytes().to_vec())),
            None => (text, None),
        };
        let place = Place { line: 1, column: 1 };
        let option = RuleOption { name: name.to_string(), value, place, value_place: place };
        WebTest::option(&option, file).map(|result| result.map_err(|(_, reason)| reason))
    }

    /// Whether it holds of a side that was told this; only what it wants is told.
    pub(super) fn holds(text: &str, buffers: &[(Buffer, &[u8])], numbers: &[(Number, u64)]) -> bool {
        let test = read(text, "x.rules").unwrap().unwrap();
        let mut wanted = Wanted::default();
        test.wants(&mut wanted);
        let mut sides = Sides::default();
        let side = sides.of(App::Unknown, Direction::Forward, 0);
        for (buffer, bytes) in buffers.iter().filter(|(buffer, _)| wanted.has(*buffer)) {
            side.put(*buffer, bytes);
        }
        for (number, value) in numbers.iter().filter(|(number, _)| wanted.has_number(*number)) {
            side.put_number(*number, *value);
        }
        test.holds(side)
    }
}
