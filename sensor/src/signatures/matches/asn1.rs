//! `asn1`: what is malformed about the BER (X.690) that begins at a place in the payload.
//!
//! In: the option; then a buffer and where the match before ended. Out: whether an element is longer than the rule
//! allows, a bit string ignores more bits than it has, or a decimal real number is longer than a decoder's buffer was.
//! Only whole elements are looked at, as in Suricata: one whose bytes have not all come is not taken apart. Definite and
//! indefinite lengths are read, and tags of several bytes; what a constructed element holds is read as elements where
//! that can be done. Deliberately absent: what the elements mean.

use super::Refused;
use super::reader::{parts, text, wrong};
use weir_common::rule::RuleOption;

/// Most elements one in the other, and most one behind the other, as in Suricata; further ones are not looked at.
const ELEMENTS_MAX: usize = 30;
/// Longest real number in decimal digits that is not called an overflow, in bytes (MS04-007).
const REAL_BYTES_MAX: usize = 256;

const BIT_STRING: u8 = 0x03;
const REAL: u8 = 0x09;
const CONSTRUCTED: u8 = 0x20;

/// What a rule asks of BER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asn1 {
    oversize_length: Option<u32>,
    bitstring_overflow: bool,
    double_overflow: bool,
    absolute: Option<u16>,
    relative: Option<i32>,
}

/// An element, with what it holds and what follows it.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl Asn1 {
    /// Reads `oversize_length 500, absolute_offset 0`; blanks separate as well as commas.
    pub(super) fn parse(option: &RuleOption) -> Result<Asn1, Refused> {
        let expected = "`oversize_length N`, `bitstring_overflow`, `double_overflow`, `absolute_offset N` and \
                        `relative_offset N`, each at most once and one of the first three";
        let value = text(option);
        let mut words = parts(&value).flat_map(str::split_whitespace);
        let mut asn1 = Asn1::default();
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|digits| digits.parse::<i64>().ok());
            let is_first = match word {
                "oversize_length" => {
                    let read = number().and_then(|number| u32::try_from(number).ok());
                    read.is_some_and(|read| asn1.oversize_length.replace(read).is_none())
                }
                "absolute_offset" => {
                    let read = number().and_then(|number| u16::try_from(number).ok());
                    read.is_some_and(|read| asn1.absolute.replace(read).is_none())
                }
                "relative_offset" => {
                    let read = number().filter(|number| number.unsigned_abs() <= u64::from(u16::MAX));
                    read.is_some_and(|read| asn1.relative.replace(read as i32).is_none())
                }
                "bitstring_overflow" => !std::mem::replace(&mut asn1.bitstring_overflow, true),
                "double_overflow" => !std::mem::replace(&mut asn1.double_overflow, true),
                _ => false,
            };
            if !is_first {
                return Err(wrong(option, expected));
            }
        }
        let has_any = asn1.oversize_length.is_some() || asn1.bitstring_overflow || asn1.double_overflow;
        if has_any { Ok(asn1) } else { Err(wrong(option, expected)) }
    }

    /// Whether it is placed relative to the match before it.
    pub(super) fn is_relative(&self) -> bool {
        self.absolute.is_none() && self.relative.is_some()
    }

    /// Whether something that the rule asks for is there.
    pub(super) fn holds(&self, buffer: &[u8], at: u32) -> bool {
        let begin = match (self.absolute, self.relative) {
            (Some(offset), _) => Some(usize::from(offset)),
            (None, Some(offset)) => usize::try_from(i64::from(at) + i64::from(offset)).ok(),
            (None, None) => Some(0),
        };
        let Some(bytes) = begin.and_then(|begin| buffer.get(begin..)) else { return false };
        let mut rest = bytes;
        for _ in 0..ELEMENTS_MAX {
            let Some(element) = next(rest, ELEMENTS_MAX) else { return false };
            if self.is_wrong(&element, ELEMENTS_MAX) {
                return true;
            }
            rest = element.rest;
        }
        false
    }

    /// Whether an element, or one in it, is what the rule asks for.
    fn is_wrong(&self, element: &Element<'_>, depth: usize) -> bool {
        let content = element.content;
        let is_oversize = self.oversize_length.is_some_and(|most| content.len() as u64 > u64::from(most));
        let is_overflow = match (element.tag, content.first()) {
            (BIT_STRING, Some(ignored)) => {
                self.bitstring_overflow && usize::from(*ignored) > 8 * content.len()
            }
            // The two highest bits of the first byte are zero where digits follow (X.690 section 8.5.8).
            (REAL, Some(form)) => self.double_overflow && form & 0xc0 == 0 && content.len() > REAL_BYTES_MAX,
            _ => false,
        };
        if is_oversize || is_overflow {
            return true;
        }
        if element.tag & CONSTRUCTED == 0 || depth == 0 {
            return false;
        }
        let mut rest = content;
        while let Some(inner) = next(rest, depth - 1) {
            if self.is_wrong(&inner, depth - 1) {
                return true;
            }
            rest = inner.rest;
        }
        false
    }
}

/// The element that begins here, when all of it is there; `depth`: how many may be in it, one in the other, where its end
/// is not said by a length.
fn next(bytes: &[u8], depth: usize) -> Option<Element<'_>> {
    let (&tag, mut rest) = bytes.split_first()?;
    if tag & 0x1f == 0x1f {
        // A tag of several bytes, of which all but the last have the highest bit.
        let last = rest.iter().position(|byte| byte & 0x80 == 0)?;
        rest = rest.get(last + 1..)?;
    }
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x80 if tag & CONSTRUCTED != 0 => return until_end(tag, rest, depth),
        0x81..=0x88 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = digits.iter().fold(0u64, |sum, digit| sum << 8 | u64::from(*digit));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Element { tag, content, rest })
}

/// An element of indefinite length, which two zeros end.
fn until_end(tag: u8, bytes: &[u8], depth: usize) -> Option<Element<'_>> {
    let depth = depth.checked_sub(1)?;
    let mut rest = bytes;
    loop {
        if let [0, 0, behind @ ..] = rest {
            let content = bytes.get(..bytes.len() - rest.len())?;
            return Some(Element { tag, content, rest: behind });
        }
        rest = next(rest, depth)?.rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::rule::Place;

    fn parse(text: &str) -> Result<Asn1, Refused> {
        let place = Place { line: 1, column: 1 };
        let value = Some(text.as_bytes().to_vec());
        Asn1::parse(&RuleOption { name: "asn1".into(), value, place, value_place: place })
    }

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16).to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    #[test]
    fn what_overflows_is_found_on_its_side_of_the_border() {
        // A number in digits (ISO 6093 NR1), and one in binary.
        let (digits, binary) = (|len| element(REAL, &vec![0x01; len]), element(REAL, &[0x80; 257]));
        for (text, bytes, expected) in [
            ("oversize_length 132", element(0x60, &[0x05; 133]), true),
            ("oversize_length 133", element(0x60, &[0x05; 133]), false),
            ("bitstring_overflow", vec![3, 1, 0xff], true),
            ("bitstring_overflow", vec![3, 1, 7], false),
            ("bitstring_overflow", vec![3, 1, 8], false),
            ("bitstring_overflow", vec![3, 1, 9], true),
            ("bitstring_overflow", vec![3, 0], false),
            ("double_overflow", vec![3, 1, 0xff], false),
            ("double_overflow", digits(257), true),
            ("double_overflow", digits(256), false),
            ("double_overflow", binary, false),
            // In a sequence, in one without a length, behind another element, with a tag of two bytes before it.
            ("bitstring_overflow", vec![0x30, 3, 3, 1, 0xff], true),
            ("bitstring_overflow", vec![0x30, 0x80, 3, 1, 0xff, 0, 0], true),
            ("bitstring_overflow", vec![0x30, 0x80, 3, 1, 0xff, 0], false),
            ("bitstring_overflow", vec![5, 0, 3, 1, 0xff], true),
            ("bitstring_overflow", vec![0x5f, 0x81, 0x01, 0, 3, 1, 0xff], true),
            // Not whole, and no BER.
            ("bitstring_overflow", vec![3, 2, 0xff], false),
            ("oversize_length 1", vec![0x04, 0x89, 1, 1, 1], false),
            ("oversize_length 1", vec![], false),
        ] {
            assert_eq!(parse(text).unwrap().holds(&bytes, 0), expected, "{text} {bytes:?}");
        }
    }

    #[test]
    fn it_is_looked_for_where_the_rule_says() {
        let bytes = [9, 9, 9, 3, 1, 0xff];
        for (text, at, expected) in [
            ("bitstring_overflow", 0, false),
            ("bitstring_overflow, absolute_offset 3", 0, true),
            ("bitstring_overflow absolute_offset 3", 5, true),
            ("bitstring_overflow, relative_offset 1", 2, true),
            ("bitstring_overflow, relative_offset -1", 4, true),
            ("bitstring_overflow, relative_offset -5", 4, false),
            ("bitstring_overflow, relative_offset 9", 4, false),
        ] {
            assert_eq!(parse(text).unwrap().holds(&bytes, at), expected, "{text}");
        }
    }

    #[test]
    fn depth_and_number_of_elements_are_bounded() {
        let mut nested = vec![3, 1, 0xff];
        for _ in 0..ELEMENTS_MAX {
            nested = element(0x30, &nested);
        }
        let ask = parse("bitstring_overflow").unwrap();
        assert!(ask.holds(&nested, 0));
        assert!(!ask.holds(&element(0x30, &nested), 0));
        let behind = |count: usize| [[5, 0].repeat(count), vec![3, 1, 0xff]].concat();
        assert!(ask.holds(&behind(ELEMENTS_MAX - 1), 0) && !ask.holds(&behind(ELEMENTS_MAX), 0));
        // Elements without a length, one in the other, cost no more than their bytes and the depth.
        assert!(!ask.holds(&[0x30, 0x80].repeat(30_000), 0));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in [
            "",
            "foo",
            "oversize_length",
            "oversize_length x",
            "oversize_length -1",
            "absolute_offset 0",
            "bitstring_overflow, absolute_offset 65536",
            "bitstring_overflow, bitstring_overflow",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
