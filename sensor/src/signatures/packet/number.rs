//! Tests of numbers: the one grammar that all of Suricata's integer keywords share.
//!
//! In: an option's value, how wide the number is, and the names that its values may have. Out: a test, or what is
//! wrong in words. As in Suricata comparisons and ranges leave out their ends (`3-6` is 4 and 5), and a comparison that
//! every number passes, or none, is an error of the rule. Deliberately absent: which number is tested.
//!
//! ```text
//! 5  =5  !5  !=5  <5  <=5  >5  >=5  3-6  3<>6  !3-6  &0xf0=0x80  &0xf0!=0     0x1f  10kb  2MiB  1gb
//! ```

/// How wide a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) enum Width {
    U8,
    U16,
    U32,
    U64,
}

impl Width {
    const fn max(self) -> u64 {
        match self {
            Width::U8 => u8::MAX as u64,
            Width::U16 => u16::MAX as u64,
            Width::U32 => u32::MAX as u64,
            Width::U64 => u64::MAX,
        }
    }
}

/// A test of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) enum UintTest {
    /// Between these, which belong to it; or everything but that.
    Range { from: u64, to: u64, is_negated: bool },
    /// These bits have this value; or any other.
    Bits { mask: u64, value: u64, is_negated: bool },
}

impl UintTest {
    /// Reads a comparison.
    pub(in crate::signatures) fn parse(text: &str, width: Width) -> Result<UintTest, String> {
        Reader { rest: text, max: width.max() }.whole(Ends::Excluded)
    }

    /// Reads a comparison whose ranges have their ends in them, as `tls.cert_chain_len` has.
    pub(in crate::signatures) fn parse_inclusive(text: &str, width: Width) -> Result<UintTest, String> {
        Reader { rest: text, max: width.max() }.whole(Ends::Included)
    }

    /// Reads a comparison, or the name of a value with `!` before it or not.
    pub(in crate::signatures) fn parse_named(
        text: &str,
        width: Width,
        names: &[(&str, u64)],
    ) -> Result<UintTest, String> {
        let error = match UintTest::parse(text, width) {
            Ok(test) => return Ok(test),
            Err(error) => error,
        };
        let text = text.trim();
        let (is_negated, name) = match text.strip_prefix('!') {
            Some(name) => (true, name.trim_start()),
            None => (false, text),
        };
        match named(name, names) {
            Some(value) => Ok(UintTest::Range { from: value, to: value, is_negated }),
            None if text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '!') => {
                Err(format!("no value has the name `{}`", shown(name)))
            }
            None => Err(error),
        }
    }

    /// Reads a comparison, or names of bits with `!` before those that must not be set: `fin,!comp`. In front may stand
    /// `=` for no other bits than these, `+` for these and any others (as without), `*` for at least one of them, and
    /// `-` for not all of them.
    pub(in crate::signatures) fn parse_bits(
        text: &str,
        width: Width,
        names: &[(&str, u64)],
    ) -> Result<UintTest, String> {
        if let Ok(test) = UintTest::parse(text, width) {
            return Ok(test);
        }
        let text = text.trim();
        let (how, list) = match text.chars().next() {
            Some(how @ ('=' | '+' | '*' | '-')) => (how, text.get(1..).unwrap_or_default()),
            _ => ('+', text),
        };
        let (mut mask, mut value) = (0, 0);
        for name in list.split([',', ' ']).filter(|name| !name.is_empty()) {
            let bare = name.trim_start_matches('!');
            let bit = named(bare, names).ok_or_else(|| format!("no bit has the name `{}`", shown(bare)))?;
            if mask & bit != 0 {
                return Err(format!("`{}` is named twice", shown(bare)));
            }
            mask |= bit;
            if name.len() == bare.len() {
                value |= bit;
            }
        }
        if mask == 0 {
            return Err("expected a number or names of bits".into());
        }
        Ok(match how {
            '=' => UintTest::Range { from: mask, to: mask, is_negated: false },
            '*' => UintTest::Bits { mask, value: 0, is_negated: true },
            '-' => UintTest::Bits { mask, value, is_negated: true },
            _ => UintTest::Bits { mask, value, is_negated: false },
        })
    }

    /// Reads an operator and a number that were written apart, as `stream_size` has them.
    pub(super) fn parse_apart(operator: &str, number: &str, width: Width) -> Result<UintTest, String> {
        let value = match number.parse::<u64>() {
            Ok(value) if value <= width.max() && number.bytes().all(|byte| byte.is_ascii_digit()) => value,
            _ => return Err(format!("`{}` is not a number up to {}", shown(number), width.max())),
        };
        let range = |from, to| Ok(UintTest::Range { from, to, is_negated: false });
        match operator {
            "=" => range(value, value),
            "!" | "!=" => Ok(UintTest::Range { from: value, to: value, is_negated: true }),
            "<=" => range(0, value),
            ">=" => range(value, u64::MAX),
            "<" => value.checked_sub(1).map_or(Ok(NOTHING), |to| range(0, to)),
            ">" => value.checked_add(1).map_or(Ok(NOTHING), |from| range(from, u64::MAX)),
            _ => Err(format!(
                "`{}` is not an operator: expected `<`, `>`, `=`, `!=`, `<=` or `>=`",
                shown(operator)
            )),
        }
    }

    /// Whether a number passes.
    #[inline]
    pub(in crate::signatures) fn has(&self, number: u64) -> bool {
        match *self {
            UintTest::Range { from, to, is_negated } => (from..=to).contains(&number) != is_negated,
            UintTest::Bits { mask, value, is_negated } => (number & mask == value) != is_negated,
        }
    }

    /// Whether a count that may still grow passes, and will go on to: `>` and `>=` wait for nothing.
    pub(super) fn is_minimum(&self) -> bool {
        matches!(self, UintTest::Range { to: u64::MAX, is_negated: false, .. })
    }
}

/// What no number passes.
pub(super) const NOTHING: UintTest = UintTest::Range { from: 0, to: u64::MAX, is_negated: true };

/// Whether the ends of a range belong to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Excluded,
    Included,
}

/// What is still to be read, and the most that a number may be.
struct Reader<'t> {
    rest: &'t str,
    max: u64,
}

impl Reader<'_> {
    fn whole(mut self, ends: Ends) -> Result<UintTest, String> {
        self.blanks();
        let test = self.comparison(ends)?;
        self.blanks();
        match self.rest {
            "" => Ok(test),
            more => Err(format!("`{}` behind the number is not understood", shown(more))),
        }
    }

    fn comparison(&mut self, ends: Ends) -> Result<UintTest, String> {
        if self.eat("&") {
            return self.bits();
        }
        if self.eat(">=") {
            let from = self.spaced()?;
            return self.compared(from, from > 0, from, u64::MAX);
        }
        if self.eat("<=") {
            let to = self.spaced()?;
            return self.compared(to, to < self.max, 0, to);
        }
        if self.eat(">") {
            let value = self.spaced()?;
            return self.compared(value, value < self.max, value.saturating_add(1), u64::MAX);
        }
        if self.eat("<") {
            let value = self.spaced()?;
            return self.compared(value, value > 0, 0, value.saturating_sub(1));
        }
        if self.eat("!=") {
            let value = self.spaced()?;
            return Ok(UintTest::Range { from: value, to: value, is_negated: true });
        }
        let is_negated = self.eat("!");
        // A range begins with its number; a blank before that means a single one.
        let may_be_range = !self.eat("=") && !self.rest.starts_with([' ', '\t']);
        let from = self.spaced()?;
        let before = self.rest;
        self.blanks();
        if !(may_be_range && (self.eat("-") || self.eat("<>"))) {
            self.rest = before;
            return Ok(UintTest::Range { from, to: from, is_negated });
        }
        let to = self.spaced()?;
        let (from, to) = match ends {
            Ends::Excluded if to > from && to - from > 1 => (from + 1, to - 1),
            Ends::Included if to > from => (from, to),
            _ => return Err(format!("no number lies between {from} and {to}")),
        };
        Ok(UintTest::Range { from, to, is_negated })
    }

    fn compared(&self, value: u64, is_sound: bool, from: u64, to: u64) -> Result<UintTest, String> {
        if is_sound {
            return Ok(UintTest::Range { from, to, is_negated: false });
        }
        Err(format!(
            "every number passes this comparison with {value}, or none: they go from 0 to {}",
            self.max
        ))
    }

    fn bits(&mut self) -> Result<UintTest, String> {
        let mask = self.spaced()?;
        self.blanks();
        let is_negated = self.eat("!");
        if !self.eat("=") {
            return Err("expected `=` and a value behind the mask".into());
        }
        let value = self.spaced()?;
        if value & mask != value {
            return Err(format!("{value:#x} has bits that the mask {mask:#x} has not: it can never match"));
        }
        Ok(UintTest::Bits { mask, value, is_negated })
    }

    /// A number behind blanks.
    fn spaced(&mut self) -> Result<u64, String> {
        self.blanks();
        let too_large = format!("a number is larger than {}", self.max);
        if let Some(hex) = self.rest.strip_prefix("0x") {
            let digits = hex.len() - hex.trim_start_matches(|digit: char| digit.is_ascii_hexdigit()).len();
            let (digits, rest) = hex.split_at(digits);
            if digits.is_empty() {
                return Err("expected digits behind `0x`".into());
            }
            self.rest = rest;
            let value = u64::from_str_radix(digits, 16).ok().filter(|value| *value <= self.max);
            return value.ok_or(too_large);
        }
        let digits =
            self.rest.len() - self.rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (digits, rest) = self.rest.split_at(digits);
        if digits.is_empty() {
            return Err(format!("expected a number, not `{}`", shown(self.rest)));
        }
        self.rest = rest;
        let value = digits.parse::<u64>().ok().and_then(|value| value.checked_mul(self.unit()));
        value.filter(|value| *value <= self.max).ok_or(too_large)
    }

    fn unit(&mut self) -> u64 {
        for (name, factor) in [("kib", 10), ("kb", 10), ("mib", 20), ("mb", 20), ("gib", 30), ("gb", 30)]
            .map(|(n, f)| (n, 1 << f))
        {
            if self.rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)) {
                self.rest = self.rest.get(name.len()..).unwrap_or_default();
                return factor;
            }
        }
        1
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

fn named(name: &str, names: &[(&str, u64)]) -> Option<u64> {
    names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

/// As much of a rule's text as fits into a reason.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u8(text: &str) -> Result<UintTest, String> {
        UintTest::parse(text, Width::U8)
    }

    #[test]
    fn numbers_hold_at_both_sides_of_their_borders() {
        for (text, inside, outside) in [
            ("5", &[5][..], &[4, 6][..]),
            ("=5", &[5], &[4, 6]),
            ("= 0x05 ", &[5], &[4, 6]),
            ("!5", &[4, 6], &[5]),
            ("! 5", &[4, 6], &[5]),
            ("!=5", &[4, 6], &[5]),
            ("<5", &[0, 4], &[5, 6]),
            ("<=5", &[0, 5], &[6]),
            (">5", &[6, 255], &[5]),
            (">= 5", &[5, 255], &[4]),
            ("3<>6", &[4, 5], &[3, 6]),
            (" 3 - 6", &[4, 5], &[3, 6]),
            ("3-5", &[4], &[3, 5]),
            ("!3-6", &[3, 6, 0], &[4, 5]),
            ("&0xf0=0x80", &[0x80, 0x8f], &[0xc0, 0]),
            ("& 0xf0 != 0x80", &[0xc0, 0], &[0x80]),
            ("&3=0", &[0, 4], &[1, 2]),
            ("255", &[255], &[254]),
            (">254", &[255], &[254]),
            ("<255", &[254], &[255]),
            ("0", &[0], &[1]),
            ("0kb", &[0], &[1]),
        ] {
            let test = u8(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            inside.iter().for_each(|number| assert!(test.has(*number), "{text} {number}"));
            outside.iter().for_each(|number| assert!(!test.has(*number), "{text} {number}"));
        }
    }

    #[test]
    fn what_every_number_passes_or_none_is_an_error() {
        for wrong in [
            "",
            " ",
            "x",
            "<0",
            ">255",
            ">=0",
            "<=255",
            "5<>5",
            "5-6",
            "6-3",
            "-5",
            "5-",
            "<",
            "1.5",
            "256",
            "5 6",
            "!",
            "=",
            "<>5",
            "1!",
            ">10<>10",
            "&",
            "&3",
            "&3=",
            "&3=4",
            "0x",
            "0xg",
            "0x100",
            "1kb",
            "<-5",
            "==5",
            "=3-6",
            "! 3-6",
            "18446744073709551616",
            "0x10000000000000000",
        ] {
            assert!(u8(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn units_multiply_and_widths_bound() {
        let has = |text: &str, number| UintTest::parse(text, Width::U64).unwrap().has(number);
        assert!(has("2kb", 2048) && has("2KiB", 2048) && has("3Mb", 3 << 20) && has("1gib", 1 << 30));
        assert!(has(">1kb", 1025) && !has(">1kb", 1024));
        assert!(has("18446744073709551615", u64::MAX) && !has("<18446744073709551615", u64::MAX));
        assert!(UintTest::parse("63kb", Width::U16).is_ok() && UintTest::parse("64kb", Width::U16).is_err());
        assert!(UintTest::parse("3gb", Width::U32).is_ok() && UintTest::parse("4gb", Width::U32).is_err());
        assert!(UintTest::parse("18446744073709551615gb", Width::U64).is_err());
    }

    #[test]
    fn inclusive_ranges_have_their_ends() {
        let test = UintTest::parse_inclusive("3-6", Width::U8).unwrap();
        assert!(
            [3, 6].iter().all(|number| test.has(*number)) && ![2, 7].iter().any(|number| test.has(*number))
        );
        assert!(UintTest::parse_inclusive("3-3", Width::U8).is_err());
    }

    #[test]
    fn names_stand_for_values_and_bits() {
        let names = [("text", 1), ("binary", 2), ("ping", 9)];
        let named = |text| UintTest::parse_named(text, Width::U8, &names);
        assert!(named("text").unwrap().has(1) && !named("Text").unwrap().has(2));
        assert!(
            named("!ping").unwrap().has(1) && !named("!ping").unwrap().has(9) && named("! 9").unwrap().has(8)
        );
        assert!(named(">2").unwrap().has(9) && named("pong").is_err() && named("").is_err());
        let bits = |text| UintTest::parse_bits(text, Width::U8, &[("fin", 0x80), ("comp", 0x40), ("res", 1)]);
        for (text, inside, outside) in [
            ("fin,!comp", 0x81, 0xc0),
            ("fin, comp", 0xc1, 0x80),
            ("=fin,comp", 0xc0, 0xc1),
            ("*fin,res", 0x01, 0x40),
            ("-fin,res", 0x80, 0x81),
            ("&0xc0=0x80", 0x80, 0xc0),
            ("!comp", 0x80, 0x40),
        ] {
            let test = bits(text).unwrap();
            assert!(test.has(inside) && !test.has(outside), "{text}");
        }
        assert!(bits("fin,fin").is_err() && bits("none").is_err() && bits("+").is_err() && bits("").is_err());
    }
}
