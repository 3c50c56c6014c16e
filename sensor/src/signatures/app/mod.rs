//! Keywords of applications that are more than a buffer or a number.
//!
//! In: a rule's option; then a transaction's side. Out: whether it is what the rule asks for. What is only a buffer
//! is a row of [`crate::dpi::buffers::Buffer`], what is only a number one of [`crate::dpi::buffers::Number`]: neither
//! needs anything here. A group of protocols has a file; its tests read the side's buffers and numbers alone.

use crate::dpi::buffers::{Side, Wanted};
use weir_common::rule::{Place, RuleOption};

/// Where a rule is wrong, and why.
pub(super) type Refused = (Place, String);

/// What a rule asks of one side of a transaction.
#[derive(Debug)]
pub(super) enum AppTest {}

impl AppTest {
    /// Reads an option; none: it is none of these keywords.
    pub(super) fn option(_option: &RuleOption) -> Option<Result<AppTest, Refused>> {
        None
    }

    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, _side: &Side) -> bool {
        match *self {}
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, _wanted: &mut Wanted) {
        match *self {}
    }
}
