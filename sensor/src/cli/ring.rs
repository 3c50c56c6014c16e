//! stub
use super::*;
pub(super) fn check(_: &RingArguments) -> Result<Outcome, Failure> { not_in_this_version("x") }
pub(super) fn list(_: &RingArguments) -> Result<Outcome, Failure> { not_in_this_version("x") }
