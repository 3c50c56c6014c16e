//! What each recogniser knows, and that nobody else claims it.

use super::*;
use crate::dpi::Carrier;

#[test]
fn placeholder() {}
