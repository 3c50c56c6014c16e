//! Comparisons of numbers, as `dsize`, `ttl`, `itype`, `icode` and `bsize` write them, and of TCP flags.
//!
//! In: an option's value. Out: a test. `300<>400` leaves out both of its ends, as in Suricata.

use weir_common::record::tcp_flags;

/// A range of numbers, or everything but it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    from: u64,
    to: u64,
    is_negated: bool,
}

impl Numbers {
    /// Reads `5`, `!5`, `<5`, `<=5`, `>5`, `>=5`, `3<>5` or `3-5`.
    pub(super) fn parse(text: &str) -> Option<Numbers> {
        let text = text.trim();
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let range = |from: Option<u64>, to: Option<u64>| {
            let (from, to) = (from?, to?);
            (from <= to).then_some(Numbers { from, to, is_negated: false })
        };
        if let Some((from, to)) = text.split_once("<>").or_else(|| text.split_once('-')) {
            return range(number(from)?.checked_add(1), number(to)?.checked_sub(1));
        }
        if let Some(rest) = text.strip_prefix("<=") {
            return range(Some(0), number(rest));
        }
        if let Some(rest) = text.strip_prefix(">=") {
            return range(number(rest), Some(u64::MAX));
        }
        if let Some(rest) = text.strip_prefix('<') {
            return range(Some(0), number(rest)?.checked_sub(1));
        }
        if let Some(rest) = text.strip_prefix('>') {
            return range(number(rest)?.checked_add(1), Some(u64::MAX));
        }
        let plain = text.strip_prefix("!=").or_else(|| text.strip_prefix('!'));
        let value = number(plain.unwrap_or(text))?;
        Some(Numbers { from: value, to: value, is_negated: plain.is_some() })
    }

    /// Whether a number passes.
    #[inline]
    pub(super) fn has(&self, number: u64) -> bool {
        (self.from..=self.to).contains(&number) != self.is_negated
    }
}

/// `flags`: how the eight control bits of TCP must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    mode: Mode,
    bits: u16,
    ignored: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Exactly these.
    Exactly,
    /// These and any others.
    All,
    /// At least one of these.
    Any,
    /// Not all of these.
    Not,
}

impl Flags {
    /// Reads `S`, `+SA`, `*FR`, `!A`, `0`, and after a comma bits that do not matter.
    pub(super) fn parse(text: &str) -> Option<Flags> {
        let (bits, ignored) =
            text.split_once(',').map_or((text, None), |(bits, ignored)| (bits, Some(ignored)));
        let bits = bits.trim();
        let (mut mode, mut letters) = (Mode::Exactly, String::new());
        for letter in bits.chars() {
            match letter {
                '+' => mode = Mode::All,
                '*' => mode = Mode::Any,
                '!' => mode = Mode::Not,
                letter => letters.push(letter),
            }
        }
        if letters.is_empty() {
            return None;
        }
        let ignored = ignored.map_or(Some(0), |ignored| bits_of(ignored.trim()))?;
        Some(Flags { mode, bits: bits_of(&letters)?, ignored })
    }

    #[inline]
    pub(super) fn has(&self, flags: u16) -> bool {
        let flags = flags & 0xff & !self.ignored;
        match self.mode {
            Mode::Exactly => flags == self.bits,
            Mode::All => flags & self.bits == self.bits,
            Mode::Any => flags & self.bits != 0,
            Mode::Not => flags & self.bits != self.bits,
        }
    }
}

fn bits_of(letters: &str) -> Option<u16> {
    letters.chars().try_fold(0, |bits, letter| {
        Some(
            bits | match letter.to_ascii_uppercase() {
                'F' => tcp_flags::FIN,
                'S' => tcp_flags::SYN,
                'R' => tcp_flags::RST,
                'P' => tcp_flags::PSH,
                'A' => tcp_flags::ACK,
                'U' => tcp_flags::URG,
                'E' | '2' => tcp_flags::ECE,
                'C' | '1' => tcp_flags::CWR,
                '0' => 0,
                _ => return None,
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_hold_at_both_sides_of_their_borders() {
        for (text, inside, outside) in [
            ("5", vec![5], vec![4, 6]),
            ("!5", vec![4, 6], vec![5]),
            ("!=5", vec![4, 6], vec![5]),
            ("<5", vec![0, 4], vec![5, 6]),
            ("<=5", vec![5], vec![6]),
            (">5", vec![6, u64::MAX], vec![5]),
            (">= 5", vec![5], vec![4]),
            ("3<>6", vec![4, 5], vec![3, 6]),
            ("3-6", vec![4, 5], vec![3, 6]),
        ] {
            let numbers = Numbers::parse(text).unwrap_or_else(|| panic!("{text}"));
            inside.iter().for_each(|number| assert!(numbers.has(*number), "{text} {number}"));
            outside.iter().for_each(|number| assert!(!numbers.has(*number), "{text} {number}"));
        }
        for wrong in ["", "x", "<0", "5<>5", "6<>3", "-5", "5-", "<", "1.5", ">18446744073709551615"] {
            assert_eq!(Numbers::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn flags_are_exact_unless_told_otherwise() {
        let (syn, ack, fin, ece) = (tcp_flags::SYN, tcp_flags::ACK, tcp_flags::FIN, tcp_flags::ECE);
        for (text, inside, outside) in [
            ("S", vec![syn], vec![syn | ack, 0, syn | ece]),
            ("S,12", vec![syn, syn | ece], vec![syn | ack]),
            ("SA", vec![syn | ack], vec![syn, syn | ack | fin]),
            ("+S", vec![syn, syn | ack], vec![ack]),
            ("S+", vec![syn, syn | ack], vec![ack]),
            ("*SF", vec![syn, fin | ack], vec![ack]),
            ("!S", vec![ack], vec![syn, syn | ack]),
            ("0", vec![0, 0x100], vec![syn]),
        ] {
            let flags = Flags::parse(text).unwrap_or_else(|| panic!("{text}"));
            inside.iter().for_each(|bits| assert!(flags.has(*bits), "{text} {bits:#x}"));
            outside.iter().for_each(|bits| assert!(!flags.has(*bits), "{text} {bits:#x}"));
        }
        for wrong in ["", "X", "+", "S,X", ","] {
            assert_eq!(Flags::parse(wrong), None, "{wrong}");
        }
    }
}
