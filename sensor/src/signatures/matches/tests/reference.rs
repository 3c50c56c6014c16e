//! Random contents against a search that tries everything, and random options over random bytes.

use super::super::fuzzing::options_over_bytes;
use super::holds;
use proptest::prelude::*;

/// A content with modifiers, for the reference.
#[derive(Clone, Debug)]
struct Plain {
    text: String,
    is_negated: bool,
    is_nocase: bool,
    /// Offset and depth, or distance and within.
    place: Option<(bool, Option<i32>, Option<u32>)>,
    ends: bool,
}

impl Plain {
    fn option(&self) -> String {
        let mut option = format!(r#"content:{}"{}";"#, if self.is_negated { "!" } else { "" }, self.text);
        let names = |is_relative| if is_relative { ("distance", "within") } else { ("offset", "depth") };
        if let Some((is_relative, first, second)) = self.place {
            let (first_name, second_name) = names(is_relative);
            first.iter().for_each(|value| option += &format!("{first_name}:{value};"));
            second.iter().for_each(|value| option += &format!("{second_name}:{value};"));
        }
        option += if self.is_nocase { "nocase;" } else { "" };
        option + if self.ends { "endswith;" } else { "" }
    }

    fn is_relative(&self) -> bool {
        matches!(self.place, Some((true, ..)))
    }

    /// Every place where it ends, when the one before ended at `at`.
    fn ends_at(&self, bytes: &[u8], at: i64) -> Vec<i64> {
        let length = bytes.len() as i64;
        let (mut from, mut to) = (0, length);
        match self.place {
            Some((true, distance, within)) => {
                let distance = i64::from(distance.unwrap_or(0));
                from = (at + distance).max(0);
                if let Some(within) = within {
                    let end = at + distance + i64::from(within);
                    // Below zero it wraps to the end.
                    to = if end < 0 { length } else { end.min(length) };
                }
            }
            Some((false, offset, depth)) => {
                from = i64::from(offset.unwrap_or(0));
                to = depth.map_or(length, |depth| (from + i64::from(depth)).min(length));
            }
            None => {}
        }
        let text = self.text.as_bytes();
        let is_at = |at: i64| {
            let here = &bytes[at as usize..at as usize + text.len()];
            if self.is_nocase { here.eq_ignore_ascii_case(text) } else { here == text }
        };
        let mut ends: Vec<i64> = (from..=to - text.len() as i64)
            .filter(|begin| is_at(*begin))
            .map(|begin| begin + text.len() as i64)
            .collect();
        if self.ends && self.is_negated {
            // The first alone, and only where the window is the whole buffer up to its end.
            ends.truncate(1);
            ends.retain(|end| to == length && *end == to - from);
        } else if self.ends {
            ends.retain(|end| *end == length);
        }
        ends
    }
}

/// Tries everything.
fn reference(contents: &[Plain], bytes: &[u8], at: i64) -> bool {
    let Some((first, rest)) = contents.split_first() else { return true };
    let ends = first.ends_at(bytes, at);
    if first.is_negated {
        return ends.is_empty() && reference(rest, bytes, at);
    }
    ends.into_iter().any(|end| reference(rest, bytes, end))
}

fn plain() -> impl Strategy<Value = Plain> {
    let place = prop_oneof![
        Just(None),
        (any::<bool>(), proptest::option::of(-3i32..6), proptest::option::of(0u32..8)).prop_map(Some),
    ];
    ("[abAB]{1,3}", proptest::bool::weighted(0.2), any::<bool>(), place, proptest::bool::weighted(0.1))
        .prop_map(|(text, is_negated, is_nocase, place, ends)| {
            let place = place.map(|(is_relative, first, second)| {
                let first = first.map(|first| if is_relative { first } else { first.abs() });
                (is_relative, first, second.map(|room| room + text.len() as u32))
            });
            let place = place.filter(|(_, first, second)| first.is_some() || second.is_some());
            Plain { text, is_negated, is_nocase, place, ends }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn contents_are_found_where_trying_everything_finds_them(
        contents in proptest::collection::vec(plain(), 1..5),
        bytes in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'A'), Just(b'_')], 0..16),
    ) {
        let options: String = contents.iter().map(Plain::option).collect();
        // Which content is tried again is decided by the one right behind it, so that a negated one in between, which
        // leaves the position, hides that a later one depends on it: there Suricata does not try everything.
        let is_hidden = |pair: &[Plain]| pair[0].is_negated && !pair[0].is_relative() && pair[1].is_relative();
        prop_assume!(!contents.windows(2).any(is_hidden));
        prop_assert_eq!(holds(&options, &bytes), reference(&contents, &bytes, 0), "{} in {:?}", options, bytes);
    }

    #[test]
    fn any_options_over_any_bytes_come_to_an_end(
        options in "(content|pcre|byte_test|byte_jump|byte_extract|byte_math|isdataat|bsize|base64_decode|xor|entropy|depth|within|distance|from_base64|subslice|pcrexform|x)(:[!\"/a-z0-9,|<>=& ^-]{0,20})?(;[a-z_]{0,9}){0,3}",
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        options_over_bytes(options.as_bytes(), &bytes);
    }

    #[test]
    fn known_options_over_any_bytes_come_to_an_end(
        picked in proptest::collection::vec(0..OPTIONS.len(), 1..10),
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(b'b'), Just(b'1')], 0..64),
    ) {
        let options: String = picked.iter().map(|at| OPTIONS[*at]).collect();
        options_over_bytes(options.as_bytes(), &bytes);
    }
}

/// Options that are right, for any order.
const OPTIONS: &[&str] = &[
    r#"content:"a";"#,
    r#"content:!"b";"#,
    r#"content:"a1"; nocase;"#,
    r#"content:"b"; distance:-5; within:9;"#,
    r#"content:"b"; endswith;"#,
    "distance:0;",
    "within:7;",
    "offset:3;",
    "depth:9;",
    r#"pcre:"/a.*b/sR";"#,
    r#"pcre:"/[^a]/";"#,
    r#"pcre:!"/ab/";"#,
    "byte_test:2,>,100,0,relative;",
    "byte_test:4,!&,0x80,-4,relative,little;",
    "byte_jump:2,0,relative,post_offset -3;",
    "byte_jump:1,0,from_end,multiplier 65535;",
    "byte_extract:2,0,n,relative;",
    "byte_math:bytes 4,offset 0,oper *,rvalue n,result m,relative;",
    r#"content:"a"; distance:n; within:m;"#,
    r#"content:"a"; offset:m; depth:n;"#,
    "isdataat:!n,relative;",
    "isdataat:3;",
    "bsize:3<>60;",
    "entropy:bytes 9, value > 1;",
    "base64_decode:bytes 9,offset 1,relative;",
    "base64_data;",
    "strip_whitespace;",
    "url_decode;",
    "xor:offset 1,var 2 3;",
    r#"pcrexform:"a(.*)b";"#,
    "from_base64:mode rfc2045;",
    "subslice:-5,3,truncate;",
    "absent: or_else;",
];
