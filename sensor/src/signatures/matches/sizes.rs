//! Comparisons of sizes, as `bsize` and `urilen` write them, and of entropy.
//!
//! In: an option's value. Out: a test. `3<>9` leaves out both of its ends.

/// A symbol, and the comparison that it begins.
type Symbol<N, C> = (&'static str, fn(N) -> C);

/// A comparison with whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    Equal(u64),
    Not(u64),
    Below(u64),
    AtMost(u64),
    Above(u64),
    AtLeast(u64),
    Between(u64, u64),
    NotBetween(u64, u64),
    /// These bits are so.
    Bits {
        mask: u64,
        value: u64,
        is_negated: bool,
    },
}

impl Sizes {
    /// Reads `5`, `=5`, `!5`, `!=5`, `<5`, `<=5`, `>5`, `>=5`, `3<>9`, `3-9`, `!3-9` or `&0xf0=16`; numbers may be
    /// hexadecimal or carry a unit (`kb`, `mb`, `gb`, with or without an `i`: always of 1024). None is above `max`.
    pub(super) fn parse(text: &str, max: u64) -> Option<Sizes> {
        let text = text.trim();
        let number = |word: &str| number(word, max);
        if let Some(rest) = text.strip_prefix('&') {
            let (mask, value) = rest.split_once('=')?;
            let (mask, is_negated) = match mask.trim_end().strip_suffix('!') {
                Some(mask) => (mask, true),
                None => (mask, false),
            };
            let (mask, value) = (number(mask)?, number(value)?);
            return (mask & value == value).then_some(Sizes::Bits { mask, value, is_negated });
        }
        let plain = text.strip_prefix('!').unwrap_or(text);
        if let Some((low, high)) = plain.split_once("<>").or_else(|| plain.split_once('-')) {
            let (low, high) = (number(low)?, number(high)?);
            let sizes = if plain == text { Sizes::Between(low, high) } else { Sizes::NotBetween(low, high) };
            return (high > low && high - low > 1).then_some(sizes);
        }
        let symbols: [Symbol<u64, Sizes>; 7] = [
            (">=", Sizes::AtLeast),
            ("<=", Sizes::AtMost),
            (">", Sizes::Above),
            ("<", Sizes::Below),
            ("!=", Sizes::Not),
            ("!", Sizes::Not),
            ("=", Sizes::Equal),
        ];
        let (symbol, rest) = symbols
            .iter()
            .find_map(|(symbol, sizes)| Some((*sizes, text.strip_prefix(symbol)?)))
            .unwrap_or((Sizes::Equal, text));
        match symbol(number(rest)?) {
            // What always or never holds is a mistake.
            Sizes::Below(0) | Sizes::AtLeast(0) => None,
            Sizes::Above(number) | Sizes::AtMost(number) if number == max => None,
            sizes => Some(sizes),
        }
    }

    /// Whether a size passes.
    pub(super) fn has(self, size: u64) -> bool {
        match self {
            Sizes::Equal(number) => size == number,
            Sizes::Not(number) => size != number,
            Sizes::Below(number) => size < number,
            Sizes::AtMost(number) => size <= number,
            Sizes::Above(number) => size > number,
            Sizes::AtLeast(number) => size >= number,
            Sizes::Between(low, high) => size > low && size < high,
            Sizes::NotBetween(low, high) => size <= low || size >= high,
            Sizes::Bits { mask, value, is_negated } => (size & mask == value) != is_negated,
        }
    }

    /// Whether it holds for this size and any larger one.
    pub(super) fn has_from(self, size: u64) -> bool {
        match self {
            Sizes::Above(_) | Sizes::AtLeast(_) => self.has(size),
            Sizes::Not(number) => size > number,
            Sizes::NotBetween(_, high) => size >= high,
            _ => false,
        }
    }

    /// Whether it can hold for no larger size either.
    pub(super) fn is_beyond(self, size: u64) -> bool {
        self.max().is_some_and(|max| size > max)
    }

    /// The largest size that can pass, if there is one.
    pub(super) fn max(self) -> Option<u64> {
        match self {
            Sizes::Equal(number) | Sizes::AtMost(number) => Some(number),
            Sizes::Below(number) | Sizes::Between(_, number) => number.checked_sub(1),
            _ => None,
        }
    }
}

fn number(word: &str, max: u64) -> Option<u64> {
    let word = word.trim();
    let number = match word.strip_prefix("0x") {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()?
        }
        Some(_) => return None,
        None => {
            let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
            let (digits, unit) = word.split_at_checked(end)?;
            let unit = match unit.to_ascii_lowercase().as_str() {
                "" => 1,
                "kb" | "kib" => 1 << 10,
                "mb" | "mib" => 1 << 20,
                "gb" | "gib" => 1 << 30,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(unit)?
        }
    };
    (number <= max).then_some(number)
}

/// `entropy`: how much the bytes vary, in bits per byte.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entropy {
    bytes: u32,
    offset: u32,
    compare: Compare,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Equal(f64),
    Not(f64),
    Below(f64),
    AtMost(f64),
    Above(f64),
    AtLeast(f64),
    Between(f64, f64),
    NotBetween(f64, f64),
}

/// Most bits that a byte can say.
const ENTROPY_MAX: f64 = 8.0;

impl Entropy {
    /// Reads `bytes 64, offset 3, value >= 7.2`, of which only the value has to be, and `value` may be left out.
    pub(super) fn parse(text: &str) -> Option<Entropy> {
        let (mut bytes, mut offset, mut compare) = (None, None, None);
        for part in text.split(',') {
            let part = part.trim();
            let (name, value) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
            let value = value.trim();
            let is_first = match name {
                // What is below zero means the same as nothing, as in Suricata.
                "bytes" => bytes.replace(value.parse::<i32>().ok()?.max(0).unsigned_abs()).is_none(),
                "offset" => {
                    let number = value.parse::<i32>().ok().filter(|number| number.abs() <= 65535)?;
                    offset.replace(number.max(0).unsigned_abs()).is_none()
                }
                "value" => compare.replace(Compare::parse(value)?).is_none(),
                _ => compare.replace(Compare::parse(part)?).is_none(),
            };
            if !is_first {
                return None;
            }
        }
        Some(Entropy { bytes: bytes.unwrap_or(0), offset: offset.unwrap_or(0), compare: compare? })
    }

    /// Whether the bytes vary so.
    pub(super) fn has(self, buffer: &[u8]) -> bool {
        let Some(mut bytes) = buffer.get(self.offset as usize..) else { return false };
        if self.bytes > 0 {
            let Some(first) = bytes.get(..self.bytes as usize) else { return false };
            bytes = first;
        }
        let mut counts = [0u32; 256];
        for byte in bytes {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count = count.saturating_add(1);
            }
        }
        let all = bytes.len() as f64;
        let entropy = counts.iter().filter(|count| **count > 0).fold(0.0, |entropy, count| {
            let share = f64::from(*count) / all;
            entropy - share * share.log2()
        });
        self.compare.has(entropy)
    }
}

impl Compare {
    fn parse(text: &str) -> Option<Compare> {
        let text = text.trim();
        let number = |word: &str| word.trim().parse().ok().filter(|bits| (0.0..=ENTROPY_MAX).contains(bits));
        let plain = text.strip_prefix('!').unwrap_or(text);
        let range =
            plain.split_once("<>").or_else(|| plain.split_once('-')).filter(|(low, _)| !low.is_empty());
        if let Some((low, high)) = range {
            let (low, high) = (number(low)?, number(high)?);
            let compare =
                if plain == text { Compare::Between(low, high) } else { Compare::NotBetween(low, high) };
            return (high - low > f64::EPSILON).then_some(compare);
        }
        let symbols: [Symbol<f64, Compare>; 6] = [
            (">=", Compare::AtLeast),
            ("<=", Compare::AtMost),
            (">", Compare::Above),
            ("<", Compare::Below),
            ("!=", Compare::Not),
            ("=", Compare::Equal),
        ];
        let (symbol, rest) = symbols
            .iter()
            .find_map(|(symbol, compare)| Some((*compare, text.strip_prefix(symbol)?)))
            .unwrap_or((Compare::Equal, text));
        Some(symbol(number(rest)?))
    }

    fn has(self, entropy: f64) -> bool {
        match self {
            Compare::Equal(number) => entropy == number,
            Compare::Not(number) => entropy != number,
            Compare::Below(number) => entropy < number,
            Compare::AtMost(number) => entropy <= number,
            Compare::Above(number) => entropy > number,
            Compare::AtLeast(number) => entropy >= number,
            Compare::Between(low, high) => entropy > low && entropy < high,
            Compare::NotBetween(low, high) => entropy <= low || entropy >= high,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_hold_at_both_sides_of_their_borders() {
        for (text, inside, outside) in [
            ("5", vec![5], vec![4, 6]),
            ("=5", vec![5], vec![4, 6]),
            ("!5", vec![4, 6], vec![5]),
            ("!= 5", vec![4, 6], vec![5]),
            ("<5", vec![0, 4], vec![5]),
            ("<=5", vec![5], vec![6]),
            ("> 5", vec![6], vec![5]),
            (">=5", vec![5], vec![4]),
            ("3<>6", vec![4, 5], vec![3, 6]),
            ("3 - 6", vec![4, 5], vec![3, 6]),
            ("!3<>6", vec![3, 6], vec![4, 5]),
            ("0x10", vec![16], vec![10]),
            ("<1kb", vec![1023], vec![1024]),
            ("1MiB", vec![1 << 20], vec![1_000_000]),
            ("&0xf0=0x20", vec![0x20, 0x2f], vec![0x30]),
            ("& 0xf0 != 0x20", vec![0x30], vec![0x21]),
        ] {
            let sizes = Sizes::parse(text, u64::MAX).unwrap_or_else(|| panic!("{text}"));
            inside.iter().for_each(|size| assert!(sizes.has(*size), "{text} {size}"));
            outside.iter().for_each(|size| assert!(!sizes.has(*size), "{text} {size}"));
        }
        for wrong in
            ["", "x", "<0", ">=0", "5<>6", "6<>3", "-5", "5-", "<", "1.5", "5xb", "&1=2", "var", "0x", "0x+1"]
        {
            assert_eq!(Sizes::parse(wrong, u64::MAX), None, "{wrong}");
        }
        assert_eq!(Sizes::parse("65536", 65535), None);
        assert_eq!(Sizes::parse(">65535", 65535), None);
    }

    #[test]
    fn entropy_is_compared_in_bits_per_byte() {
        for (text, bytes, holds) in [
            ("value 2", &b"abcdabcd"[..], true),
            ("value >= 2", b"abcdabcd", true),
            ("value > 2", b"abcdabcd", false),
            ("value <= 1.9", b"abcdabcd", false),
            ("value != 2", b"abcdabcd", false),
            ("value 1.9-2.1", b"abcdabcd", true),
            ("value !1.9<>2.1", b"abcdabcd", false),
            ("bytes 4, value 0", b"aaaabcd", true),
            ("bytes 5, value 0", b"aaaabcd", false),
            ("bytes 3, offset 4, value > 1.5", b"aaaabcd", true),
            ("bytes 4, offset 4, value > 0", b"aaaabcd", false),
            ("offset 7, value 0", b"aaaabcd", true),
            ("offset 8, value 0", b"aaaabcd", false),
            ("2", b"abcdabcd", true),
            ("<2", b"abcdabcd", false),
            (">= 2, bytes 4", b"abcdabcd", true),
            ("value = 2, offset 0, bytes 0", b"abcdabcd", true),
            ("value <=8", b"abcdabcd", true),
        ] {
            assert_eq!(Entropy::parse(text).unwrap().has(bytes), holds, "{text}");
        }
        for wrong in [
            "",
            "bytes 4",
            "value",
            "value x",
            "value 1, value 2",
            "value 3-2",
            "offset 70000, value 1",
            "x 1",
            "1, 2",
            "value 8.1",
            "value -0.1",
            "value >9",
        ] {
            assert_eq!(Entropy::parse(wrong), None, "{wrong}");
        }
    }
}
