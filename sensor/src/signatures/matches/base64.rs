//! Base64, as leniently as Suricata reads it.
//!
//! In: characters and a mode. Out: the bytes up to where decoding had to stop, and nothing of an error: traffic is
//! cut off and mixed with other things, and what could be decoded is looked at.

use super::Refused;
use super::reader::{parts, text, wrong};
use weir_common::rule::RuleOption;

/// Most characters that `base64_decode` decodes, as in Suricata; what follows is not looked at.
pub(super) const DECODED_CHARACTERS_MAX: usize = 65535;

/// How characters outside of the alphabet are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// The first ends it.
    Rfc4648,
    /// They are skipped.
    Rfc2045,
    /// There must be none, and the padding must be right.
    Strict,
}

/// Decodes into `out`, which is emptied first.
pub(super) fn decode(characters: &[u8], mode: Mode, out: &mut Vec<u8>) {
    out.clear();
    if mode == Mode::Strict {
        use base64::Engine as _;
        if base64::engine::general_purpose::STANDARD.decode_vec(characters, out).is_err() {
            out.clear();
        }
        return;
    }
    let (mut group, mut count) = ([0u8; 4], 0);
    for character in characters {
        let is_known = *character == b'=' || value(*character).is_some();
        if !is_known && mode == Mode::Rfc4648 {
            break;
        }
        if !is_known {
            continue;
        }
        if let Some(place) = group.get_mut(count) {
            *place = *character;
        }
        count += 1;
        if count == group.len() {
            count = 0;
            if !push(group, out) {
                return;
            }
        }
    }
    // What is left is as if it were padded; one character alone makes no byte.
    if count > 0 && mode == Mode::Rfc4648 {
        group.iter_mut().skip(count).for_each(|place| *place = b'=');
        push(group, out);
    }
}

/// Whether a group of four made sense.
fn push([first, second, third, fourth]: [u8; 4], out: &mut Vec<u8>) -> bool {
    let (Some(a), Some(b)) = (value(first), value(second)) else { return false };
    if third == b'=' {
        out.push(a << 2 | b >> 4);
        return true;
    }
    let Some(c) = value(third) else { return false };
    out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]);
    if fourth == b'=' {
        return true;
    }
    let Some(d) = value(fourth) else { return false };
    out.push(c << 6 | d);
    true
}

fn value(character: u8) -> Option<u8> {
    Some(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// `base64_decode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decode {
    bytes: usize,
    offset: usize,
    pub(super) is_relative: bool,
}

impl Decode {
    /// Reads `bytes 12, offset 3, relative`, of which each may be missing.
    pub(super) fn parse(option: &RuleOption) -> Result<Decode, Refused> {
        let text = text(option);
        let (mut bytes, mut offset, mut is_relative) = (None, None, false);
        for part in parts(&text).filter(|part| !part.is_empty()) {
            let (name, number) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
            let is_first = match (name, number.trim()) {
                ("relative", "") => !std::mem::replace(&mut is_relative, true),
                ("bytes", number) => {
                    number.parse::<u16>().is_ok_and(|number| bytes.replace(number).is_none())
                }
                ("offset", number) => {
                    number.parse::<u32>().is_ok_and(|number| offset.replace(number).is_none())
                }
                _ => false,
            };
            if !is_first {
                return Err(wrong(option, "`bytes N`, `offset N` and `relative`, each at most once"));
            }
        }
        let bytes = bytes.filter(|bytes| *bytes > 0).map_or(DECODED_CHARACTERS_MAX, usize::from);
        Ok(Decode { bytes, offset: offset.unwrap_or(0) as usize, is_relative })
    }

    /// Decodes what it means of a buffer in which the match before ended at `at`.
    pub(super) fn decode(self, buffer: &[u8], at: u32, out: &mut Vec<u8>) {
        out.clear();
        let from = if self.is_relative { at as usize } else { 0 }.saturating_add(self.offset);
        if let Some(rest) = buffer.get(from..) {
            decode(rest.get(..self.bytes).unwrap_or(rest), Mode::Rfc4648, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_stops_where_suricata_stops() {
        for (characters, mode, bytes) in [
            ("SGVsbG8gV29ybGQ=", Mode::Rfc4648, "Hello World"),
            ("SGVsbG8gV29ybGQ", Mode::Rfc4648, "Hello World"),
            ("SGVs bG8=", Mode::Rfc4648, "Hel"),
            ("SGV\r\nsbG8=", Mode::Rfc4648, "He"),
            ("SGVsb", Mode::Rfc4648, "Hel"),
            ("QQ==QUI=", Mode::Rfc4648, "AAB"),
            ("=QQ=QUI=", Mode::Rfc4648, ""),
            ("", Mode::Rfc4648, ""),
            ("Zm 9v Ym Fy", Mode::Rfc2045, "foobar"),
            ("Zm$9v", Mode::Rfc2045, "foo"),
            ("Zm9vY", Mode::Rfc2045, "foo"),
            ("Zm9vYmFy", Mode::Strict, "foobar"),
            ("Zm9vYmE=", Mode::Strict, "fooba"),
            ("Zm9vYmE", Mode::Strict, ""),
            ("Zm 9v", Mode::Strict, ""),
        ] {
            let mut out = vec![1];
            decode(characters.as_bytes(), mode, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), bytes, "{characters} {mode:?}");
        }
    }
}
