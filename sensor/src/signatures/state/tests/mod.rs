//! What the keywords mean, from both sides of every border.

mod limits;
mod marks;
mod reputation;

use super::*;
use weir_common::rule::{RuleOption, RuleReader, Variables};

/// An option as a rule's reader gives it.
pub(super) fn option(text: &str) -> RuleOption {
    let rule = format!("alert ip any any -> any any ({text}; sid:1;)");
    let mut read = RuleReader::new(Variables::default()).read("test.rules", rule.as_bytes());
    let rule = read.rules.pop().unwrap_or_else(|| panic!("{text}: {:?}", read.problems));
    rule.options.into_iter().next().unwrap()
}

fn address(last: u8) -> Address {
    Address::v4([10, 0, 0, last])
}

pub(super) fn ends(source: u8, destination: u8, second: u64) -> Ends {
    Ends {
        source: address(source),
        destination: address(destination),
        time: Timestamp::from_parts(second, 0),
    }
}

proptest::proptest! {
    /// Whatever a rule or a file says, it is read or refused.
    #[test]
    fn no_value_and_no_file_causes_a_panic(
        name in "flowbits|flowint|xbits|hostbits|noalert|threshold|detection_filter|dataset|datarep|iprep",
        words in proptest::collection::vec(
            "set|isset|unset|type|string|track|by_src|ip_src|count|seconds|load|[ -~]{0,4}|\\PC{0,3}| |,|\\||[0-9]{0,12}",
            0..12,
        ),
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
    ) {
        let file = "x/test.rules".into();
        for value in [words.concat().into_bytes(), words.join(",").into_bytes(), bytes] {
            let place = Place { line: 1, column: u32::MAX - 2 };
            let (name, value) = (name.clone(), Some(value));
            let option = RuleOption { name, value, place, value_place: place };
            let _ = RuleState::default().option(&option, &mut Names::default());
            let _ = Threshold::read(&option);
            let _ = DataLoader::new(DataSettings::default(), None).option(&option, &file);
            let _ = ReputationTest::read(&option, &Reputations::default());
            let text = option.value.as_deref().unwrap_or_default();
            let _ = ThresholdFile::read("x", &[b"suppress ", text].concat(), &Variables::default());
            let _ = ThresholdFile::read("x", text, &Variables::default());
            let mut reputations = Reputations::default();
            reputations.read_categories("x", text);
            reputations.read("x", text);
        }
    }
}
