//! What the keywords mean, from both sides of every border.

mod limits;
mod marks;

use super::*;
use weir_common::rule::{RuleOption, RuleReader, Variables};

/// An option as a rule's reader gives it.
fn option(text: &str) -> RuleOption {
    let rule = format!("alert ip any any -> any any ({text}; sid:1;)");
    let mut read = RuleReader::new(Variables::default()).read("test.rules", rule.as_bytes());
    let rule = read.rules.pop().unwrap_or_else(|| panic!("{text}: {:?}", read.problems));
    rule.options.into_iter().next().unwrap()
}

fn address(last: u8) -> Address {
    Address::v4([10, 0, 0, last])
}

fn ends(source: u8, destination: u8, second: u64) -> Ends {
    Ends {
        source: address(source),
        destination: address(destination),
        time: Timestamp::from_parts(second, 0),
    }
}
