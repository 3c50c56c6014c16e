//! stub
use super::*;
pub(super) fn query(_: &QueryArguments) -> Result<Outcome, Failure> { not_in_this_version("x") }
