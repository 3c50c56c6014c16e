//! Keywords of applications that are more than a buffer or a number.
//!
//! In: a rule's option; then a transaction's side. Out: whether it is what the rule asks for. What is only a buffer
//! is a row of [`crate::dpi::buffers::Buffer`], what is only a number one of [`crate::dpi::buffers::Number`]: neither
//! needs anything here. A group of protocols has a file; its tests read the side's buffers and numbers alone.

mod services;
mod web;

use crate::dpi::buffers::{Side, Wanted};
use services::ServiceTest;
use web::WebTest;
use weir_common::rule::{Place, RuleOption};

/// Where a rule is wrong, and why.
pub(super) type Refused = (Place, String);

/// What a rule asks of one side of a transaction.
#[derive(Debug)]
pub(super) enum AppTest {
    Service(ServiceTest),
    Web(WebTest),
}

impl AppTest {
    /// Reads an option of a rule in a file of this name; none: it is none of these keywords.
    pub(super) fn option(option: &RuleOption, file: &str) -> Option<Result<AppTest, Refused>> {
        let service = ServiceTest::option(option).map(|result| result.map(AppTest::Service));
        service.or_else(|| WebTest::option(option, file).map(|result| result.map(AppTest::Web)))
    }

    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        match self {
            AppTest::Service(test) => test.holds(side),
            AppTest::Web(test) => test.holds(side),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        match self {
            AppTest::Service(test) => test.wants(wanted),
            AppTest::Web(test) => test.wants(wanted),
        }
    }
}
