//! Keywords of applications that are more than a buffer or a number.
//!
//! In: a rule's option; then a transaction's side. Out: whether it is what the rule asks for. What is only a buffer
//! is a row of [`crate::dpi::buffers::Buffer`], what is only a number one of [`crate::dpi::buffers::Number`]: neither
//! needs anything here. A group of protocols has a file; its tests read the side's buffers and numbers alone.

mod named;
mod services;
mod sessions;
mod web;

use crate::dpi::buffers::{Number, Side, Stage, Wanted};
use named::Named;
use services::ServiceTest;
use web::WebTest;
use weir_common::rule::{Place, RuleOption};

/// Where a rule is wrong, and why.
pub(super) type Refused = (Place, String);

/// What a rule asks of one side of a transaction.
#[derive(Debug)]
pub(super) enum AppTest {
    Service(ServiceTest),
    Named(Named),
    Session(sessions::Test),
    Web(WebTest),
}

impl AppTest {
    /// Reads an option of a rule in a file of this name; none: it is none of these keywords.
    pub(super) fn option(option: &RuleOption, file: &str) -> Option<Result<AppTest, Refused>> {
        let service = || ServiceTest::option(option).map(|result| result.map(AppTest::Service));
        let named = || Named::option(option).map(|result| result.map(AppTest::Named));
        let session = || sessions::Test::option(option).map(|result| result.map(AppTest::Session));
        let web = || WebTest::option(option, file).map(|result| result.map(AppTest::Web));
        service().or_else(named).or_else(session).or_else(web)
    }

    /// Whether the side is what the rule asks for. A frame is no transaction.
    pub(super) fn holds(&self, side: &Side) -> bool {
        if side.frame.is_some() {
            return false;
        }
        match self {
            AppTest::Service(test) => test.holds(side),
            AppTest::Named(test) => test.holds(side),
            AppTest::Session(test) => test.holds(side),
            AppTest::Web(test) => test.holds(side),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        match self {
            AppTest::Service(test) => test.wants(wanted),
            AppTest::Named(test) => test.wants(wanted),
            AppTest::Session(test) => test.wants(wanted),
            AppTest::Web(test) => test.wants(wanted),
        }
    }

    /// A number without which no side is what the rule asks for.
    pub(super) fn needs(&self) -> Option<Number> {
        match self {
            AppTest::Service(test) => test.needs(),
            AppTest::Named(test) => test.needs(),
            AppTest::Web(test) => test.needs(),
            AppTest::Session(_) => None,
        }
    }

    /// When it can be asked.
    pub(super) fn stage(&self) -> Stage {
        match self {
            AppTest::Service(_) | AppTest::Web(_) => Stage::Body,
            AppTest::Named(test) => test.stage(),
            AppTest::Session(test) => test.stage(),
        }
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::dpi::buffers::{Buffer, Sides};
    use weir_common::app::App;
    use weir_common::net::Direction;

    /// Reads one option as it stands in a rule.
    fn read(text: &str) -> Result<AppTest, String> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value.trim().as_bytes().to_vec())),
            None => (text, None),
        };
        let place = Place { line: 1, column: 1 };
        let option = RuleOption { name: name.to_string(), value, place, value_place: place };
        AppTest::option(&option, "").expect("a keyword").map_err(|(_, reason)| reason)
    }

    /// Why an option is refused.
    pub(super) fn reason(text: &str) -> String {
        read(text).expect_err("it is wrong")
    }

    /// Whether an option holds of a side that was told this, as far as it wants it.
    pub(super) fn holds(text: &str, buffers: &[(Buffer, &[u8])], numbers: &[(Number, u64)]) -> bool {
        let test = read(text).expect("it is right");
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
        side.stage = Stage::Body;
        test.holds(side)
    }
}
