//! Keywords of applications that are more than a buffer or a number.
//!
//! In: a rule's option; then a transaction's side. Out: whether it is what the rule asks for. What is only a buffer
//! is a row of [`crate::dpi::buffers::Buffer`], what is only a number one of [`crate::dpi::buffers::Number`]: neither
//! needs anything here. A group of protocols has a file; its tests read the side's buffers and numbers alone.

mod services;

use crate::dpi::buffers::{Side, Wanted};
use services::ServiceTest;
use weir_common::rule::{Place, RuleOption};

/// Where a rule is wrong, and why.
pub(super) type Refused = (Place, String);

/// What a rule asks of one side of a transaction.
#[derive(Debug)]
pub(super) enum AppTest {
    Service(ServiceTest),
}

impl AppTest {
    /// Reads an option; none: it is none of these keywords.
    pub(super) fn option(option: &RuleOption) -> Option<Result<AppTest, Refused>> {
        ServiceTest::option(option).map(|result| result.map(AppTest::Service))
    }

    /// Whether the side is what the rule asks for. A frame is no transaction.
    pub(super) fn holds(&self, side: &Side) -> bool {
        if side.frame.is_some() {
            return false;
        }
        match self {
            AppTest::Service(test) => test.holds(side),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        match self {
            AppTest::Service(test) => test.wants(wanted),
        }
    }
}
