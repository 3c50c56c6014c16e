//! Bits that have a letter each: TCP's control bits, and those of IPv4 that say how it may be fragmented.
//!
//! In: an option's value. Out: a test of the field. Before the letters or behind them may stand `+` for these bits and
//! any others, `*` for at least one of them, `!` or `-` for not all of them, and `=`, as without, for exactly these.

use super::number::{UintTest, Width, shown};

/// `1` and `2` are the names that ECN's bits had before they had one.
const TCP: &[(char, u64)] = &[
    ('F', 0x01),
    ('S', 0x02),
    ('R', 0x04),
    ('P', 0x08),
    ('A', 0x10),
    ('U', 0x20),
    ('E', 0x40),
    ('2', 0x40),
    ('C', 0x80),
    ('1', 0x80),
    ('0', 0),
];
const TCP_ALL: u64 = 0xff;
const FRAGMENT: &[(char, u64)] = &[('R', 0x8000), ('D', 0x4000), ('M', 0x2000)];
const FRAGMENT_ALL: u64 = 0xe000;

/// Reads `S`, `+SA`, `*FR`, `!A`, `0`, `S,12`: behind a comma stand bits that do not matter, which changes something where
/// exactly the others are asked for.
pub(super) fn tcp(text: &str) -> Result<UintTest, String> {
    if let Ok(test) = UintTest::parse(text, Width::U8) {
        return Ok(test);
    }
    let (letters, ignored) =
        text.split_once(',').map_or((text, None), |(letters, rest)| (letters, Some(rest)));
    let (how, bits) = letters_of(letters.trim(), TCP)?;
    let Some(ignored) = ignored else { return test(how, bits, TCP_ALL) };
    let (sign, ignored) = letters_of(ignored.trim(), TCP)?;
    if sign != '=' || ignored & bits != 0 {
        return Err("expected other bits behind the comma".into());
    }
    test(how, bits, TCP_ALL & !ignored)
}

/// Reads `M`, `!D`, `+MD`, `*RD`.
pub(super) fn fragment(text: &str) -> Result<UintTest, String> {
    if let Ok(test) = UintTest::parse(text, Width::U16) {
        return Ok(test);
    }
    let (how, bits) = letters_of(text, FRAGMENT)?;
    test(how, bits, FRAGMENT_ALL)
}

fn test(how: char, bits: u64, all: u64) -> Result<UintTest, String> {
    Ok(match how {
        '+' => UintTest::Bits { mask: bits, value: bits, is_negated: false },
        '*' => UintTest::Bits { mask: bits, value: 0, is_negated: true },
        '!' => UintTest::Bits { mask: bits, value: bits, is_negated: true },
        _ => UintTest::Bits { mask: all, value: bits, is_negated: false },
    })
}

/// How the bits must be, and which.
fn letters_of(text: &str, known: &[(char, u64)]) -> Result<(char, u64), String> {
    let (mut how, mut bits, mut letters) = (None, 0, 0);
    for letter in text.chars() {
        let sign = match letter {
            '+' | '*' | '=' => letter,
            '!' | '-' => '!',
            ' ' | '\t' => continue,
            _ => {
                let upper = letter.to_ascii_uppercase();
                let Some((_, bit)) = known.iter().find(|(name, _)| *name == upper) else {
                    return Err(format!("no bit has the letter `{letter}`"));
                };
                if bits & bit != 0 {
                    return Err(format!("`{letter}` stands there twice"));
                }
                bits |= bit;
                letters += 1;
                continue;
            }
        };
        if how.replace(sign).is_some() {
            return Err("more than one of `+`, `*`, `!` and `=`".into());
        }
    }
    if letters == 0 {
        return Err(format!("expected letters of bits, not `{}`", shown(text)));
    }
    Ok((how.unwrap_or('='), bits))
}
