//! Transforms: what is done to a buffer before matches look at it.
//!
//! In: options; later a buffer. Out: other bytes, or that a transform failed. All but decompression work in the
//! memory that the caller hands in.

use super::base64::{self, Mode};
use super::expression::{Expression, Flags, Searched};
use super::reader::{no_value, parts, refused, text, wrong};
use super::{Refused, Scratch};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::sync::Arc;
use weir_common::rule::RuleOption;

/// Most transforms of one buffer; a rule with more is refused.
const TRANSFORMS_MAX: usize = 16;
/// Most bytes that `gunzip` and `zlib_deflate` make where the rule says nothing, as in Suricata; the rest is cut off.
const INFLATED_BYTES_DEFAULT: u32 = 1024;
/// Most bytes that a rule may let them make; a rule with more is refused.
const INFLATED_BYTES_MAX: u64 = 1 << 20;

/// The transforms of one buffer, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Transforms(Vec<Transform>);

/// What transforms made of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transformed<'a> {
    /// Empty when one failed.
    pub(crate) bytes: &'a [u8],
    /// Whether one failed: an expression without a match, base64 that is none.
    pub(crate) has_failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Transform {
    ToLowercase,
    ToUppercase,
    StripWhitespace,
    CompressWhitespace,
    StripPseudoHeaders,
    HeaderLowercase,
    ToMd5,
    ToSha1,
    ToSha256,
    UrlDecode,
    DotPrefix,
    Domain,
    Tld,
    Xor { key: Key, offset: usize },
    Pcre(Group),
    FromBase64 { mode: Mode, bytes: usize, offset: usize },
    Subslice(Subslice),
    Inflate { is_gzip: bool, bytes_max: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Fixed(Vec<u8>),
    /// It stands in the buffer itself.
    At {
        offset: usize,
        length: usize,
    },
}

/// `pcrexform`: the one group of an expression is what is left.
#[derive(Clone, Debug)]
struct Group {
    pattern: Vec<u8>,
    expression: Arc<Expression>,
}

impl PartialEq for Group {
    fn eq(&self, other: &Group) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for Group {}

impl Hash for Group {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pattern.hash(state);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Subslice {
    offset: i64,
    bytes: Option<i64>,
    is_truncating: bool,
}

impl Transforms {
    /// Takes an option. Nothing: it is no transform. An error: it is, and is wrong.
    pub(crate) fn option(&mut self, option: &RuleOption) -> Option<Result<(), Refused>> {
        let plain = match option.name.as_str() {
            "to_lowercase" => Transform::ToLowercase,
            "to_uppercase" => Transform::ToUppercase,
            "strip_whitespace" => Transform::StripWhitespace,
            "compress_whitespace" => Transform::CompressWhitespace,
            "strip_pseudo_headers" => Transform::StripPseudoHeaders,
            "header_lowercase" => Transform::HeaderLowercase,
            "to_md5" => Transform::ToMd5,
            "to_sha1" => Transform::ToSha1,
            "to_sha256" => Transform::ToSha256,
            "url_decode" => Transform::UrlDecode,
            "dotprefix" => Transform::DotPrefix,
            "domain" => Transform::Domain,
            "tld" => Transform::Tld,
            "xor" => return Some(xor(option).and_then(|xor| self.push(option, xor))),
            "pcrexform" => return Some(group(option).and_then(|group| self.push(option, group))),
            "from_base64" => return Some(from_base64(option).and_then(|it| self.push(option, it))),
            "subslice" => return Some(subslice(option).and_then(|it| self.push(option, it))),
            "gunzip" | "zlib_deflate" => return Some(inflate(option).and_then(|it| self.push(option, it))),
            _ => return None,
        };
        Some(no_value(option).and_then(|()| self.push(option, plain)))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they make of a buffer; `out` is where it lies when they make anything of it.
    pub(crate) fn apply<'a>(
        &self,
        bytes: &'a [u8],
        out: &'a mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Transformed<'a> {
        // As in Suricata, what is empty stays so, except for the dot.
        if self.is_empty() {
            return Transformed { bytes, has_failed: false };
        }
        out.clear();
        out.extend_from_slice(bytes);
        let has_failed = !self.0.iter().all(|transform| transform.apply(out, scratch));
        if has_failed {
            out.clear();
        }
        Transformed { bytes: out, has_failed }
    }

    /// The transform, if any, that never leaves these bytes.
    pub(crate) fn never_leaves(&self, content: &[u8]) -> Option<&'static str> {
        self.0.iter().find_map(|transform| {
            let (name, is_possible) = match transform {
                Transform::StripWhitespace => {
                    ("strip_whitespace", !content.iter().any(u8::is_ascii_whitespace))
                }
                Transform::CompressWhitespace => {
                    let twice = |pair: &[u8]| pair.iter().all(|byte| is_space(*byte));
                    ("compress_whitespace", !content.windows(2).any(twice))
                }
                Transform::ToLowercase => ("to_lowercase", !content.iter().any(u8::is_ascii_uppercase)),
                Transform::ToUppercase => ("to_uppercase", !content.iter().any(u8::is_ascii_lowercase)),
                Transform::ToMd5 => ("to_md5", content.len() <= 16),
                Transform::ToSha1 => ("to_sha1", content.len() <= 20),
                Transform::ToSha256 => ("to_sha256", content.len() <= 32),
                _ => return None,
            };
            (!is_possible).then_some(name)
        })
    }

    fn push(&mut self, option: &RuleOption, transform: Transform) -> Result<(), Refused> {
        if self.0.len() == TRANSFORMS_MAX {
            return Err(refused(option, &format!("more than {TRANSFORMS_MAX} transforms of one buffer")));
        }
        self.0.push(transform);
        Ok(())
    }
}

impl Transform {
    /// Changes the bytes; whether it could.
    fn apply(&self, bytes: &mut Vec<u8>, scratch: &mut Scratch) -> bool {
        if bytes.is_empty() && !matches!(self, Transform::DotPrefix | Transform::Pcre(_)) {
            return true;
        }
        match self {
            Transform::ToLowercase => bytes.make_ascii_lowercase(),
            Transform::ToUppercase => bytes.make_ascii_uppercase(),
            Transform::StripWhitespace => bytes.retain(|byte| !is_space(*byte)),
            Transform::CompressWhitespace => {
                bytes.dedup_by(|byte, before| is_space(*byte) && is_space(*before));
            }
            Transform::StripPseudoHeaders => strip_pseudo_headers(bytes),
            Transform::HeaderLowercase => header_lowercase(bytes),
            Transform::ToMd5 => hash::<Md5>(bytes),
            Transform::ToSha1 => hash::<Sha1>(bytes),
            Transform::ToSha256 => hash::<Sha256>(bytes),
            Transform::UrlDecode => url_decode(bytes),
            Transform::DotPrefix => bytes.insert(0, b'.'),
            Transform::Domain => keep(bytes, |bytes| psl::domain(bytes).map(|domain| domain.as_bytes())),
            Transform::Tld => keep(bytes, |bytes| {
                psl::domain(bytes)?;
                psl::suffix(bytes).map(|suffix| suffix.as_bytes())
            }),
            Transform::Xor { key, offset } => xor_bytes(bytes, key, *offset),
            Transform::Pcre(group) => {
                let found = group.expression.find(bytes, 0, &mut scratch.searcher);
                scratch.given_up.expressions += u64::from(found == Searched::GivenUp);
                let Searched::Found { group: Some((start, end)), .. } = found else { return false };
                bytes.truncate(end);
                bytes.drain(..start.min(end));
            }
            Transform::FromBase64 { mode, bytes: count, offset } => {
                let Some(from) = bytes.get(*offset..).filter(|from| !from.is_empty()) else { return true };
                // As many as there are, or more, are none in Suricata, and the buffer stays as it is.
                let taken =
                    if *count > 0 { from.get(..*count).filter(|_| *count < from.len()) } else { Some(from) };
                let Some(taken) = taken else { return true };
                base64::decode(taken, *mode, &mut scratch.decoded);
                if scratch.decoded.is_empty() {
                    return false;
                }
                std::mem::swap(bytes, &mut scratch.decoded);
            }
            Transform::Subslice(subslice) => {
                let (start, end) = subslice.of(bytes.len()).unwrap_or((0, 0));
                bytes.truncate(end);
                bytes.drain(..start.min(end));
            }
            Transform::Inflate { is_gzip, bytes_max } => {
                scratch.decoded.clear();
                inflated(bytes, *is_gzip, *bytes_max, &mut scratch.decoded);
                std::mem::swap(bytes, &mut scratch.decoded);
            }
        }
        true
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn strip_pseudo_headers(bytes: &mut Vec<u8>) {
    let (mut is_start, mut is_pseudo) = (true, false);
    bytes.retain(|byte| {
        if is_start {
            is_pseudo = *byte == b':';
        }
        is_start = *byte == b'\n';
        !is_pseudo
    });
}

fn header_lowercase(bytes: &mut [u8]) {
    let mut is_value = false;
    for byte in bytes {
        match *byte {
            b'\n' => is_value = false,
            b':' => is_value = true,
            _ if !is_value => byte.make_ascii_lowercase(),
            _ => {}
        }
    }
}

fn hash<H: Digest>(bytes: &mut Vec<u8>) {
    let digest = H::digest(&*bytes);
    bytes.clear();
    bytes.extend_from_slice(&digest);
}

/// Decodes `%41` and `+`. What turns out to be no escape is left as it is, with the byte that showed it.
fn url_decode(bytes: &mut Vec<u8>) {
    enum Escape {
        None,
        Begun,
        /// Its first digit.
        Half(u8),
    }
    let value = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (mut escape, mut written) = (Escape::None, 0);
    for read in 0..bytes.len() {
        let Some(byte) = bytes.get(read).copied() else { break };
        // Never more than was read.
        let mut put = |byte: u8| {
            if let Some(place) = bytes.get_mut(written) {
                *place = byte;
                written += 1;
            }
        };
        escape = match (escape, value(byte)) {
            (Escape::None, _) if byte == b'%' => Escape::Begun,
            (Escape::None, _) => {
                put(if byte == b'+' { b' ' } else { byte });
                Escape::None
            }
            (Escape::Begun, Some(_)) => Escape::Half(byte),
            (Escape::Begun, None) => {
                [b'%', byte].into_iter().for_each(put);
                Escape::None
            }
            (Escape::Half(high), Some(low)) => {
                put(value(high).unwrap_or(0) << 4 | low);
                Escape::None
            }
            (Escape::Half(high), None) => {
                [b'%', high, byte].into_iter().for_each(put);
                Escape::None
            }
        };
    }
    bytes.truncate(written);
    match escape {
        Escape::None => {}
        Escape::Begun => bytes.push(b'%'),
        Escape::Half(high) => bytes.extend_from_slice(&[b'%', high]),
    }
}

/// Keeps a part of the bytes, or nothing.
fn keep(bytes: &mut Vec<u8>, part: impl for<'b> Fn(&'b [u8]) -> Option<&'b [u8]>) {
    let range = part(bytes).map(|part| {
        let start = (part.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize);
        (start, start.saturating_add(part.len()))
    });
    let (start, end) = range.filter(|(_, end)| *end <= bytes.len()).unwrap_or((0, 0));
    bytes.truncate(end);
    bytes.drain(..start.min(end));
}

/// What the key does not reach, or a buffer without the key, stays as it is.
fn xor_bytes(bytes: &mut [u8], key: &Key, offset: usize) {
    let mut own = [0u8; u8::MAX as usize];
    let key = match key {
        Key::Fixed(key) => key.as_slice(),
        Key::At { offset, length } => {
            let end = offset.saturating_add(*length);
            let (Some(from), Some(to)) = (bytes.get(*offset..end), own.get_mut(..*length)) else { return };
            to.copy_from_slice(from);
            to
        }
    };
    let coded = bytes.get_mut(offset..).unwrap_or_default();
    coded.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

fn inflated(bytes: &[u8], is_gzip: bool, bytes_max: u32, out: &mut Vec<u8>) {
    let most = u64::from(bytes_max);
    // An error ends it; what came before it is looked at.
    let _ = if is_gzip {
        flate2::read::GzDecoder::new(bytes).take(most).read_to_end(out)
    } else {
        flate2::read::ZlibDecoder::new(bytes).take(most).read_to_end(out)
    };
}

impl Subslice {
    /// From where to where, of so many bytes.
    fn of(self, length: usize) -> Option<(usize, usize)> {
        let length = i64::try_from(length).ok()?;
        if self.offset.saturating_abs() > length && !self.is_truncating {
            return None;
        }
        let start =
            if self.offset >= 0 { self.offset.min(length) } else { length + self.offset.max(-length) };
        let end = match self.bytes {
            None => length,
            Some(bytes) if bytes < 0 => length.saturating_add(bytes),
            Some(bytes) => start.saturating_add(bytes),
        };
        if !(0..=length).contains(&end) && !self.is_truncating {
            return None;
        }
        let end = end.clamp(0, length);
        Some((usize::try_from(start.min(end)).ok()?, usize::try_from(start.max(end)).ok()?))
    }
}

fn xor(option: &RuleOption) -> Result<Transform, Refused> {
    let value = text(option);
    let expected =
        "a key in hexadecimal, or `extract BYTES OFFSET` (`var`), perhaps with `offset N,` before it";
    let read = || {
        let value = value.trim_matches('"').trim();
        let (offset, key) =
            match value.strip_prefix("offset").filter(|rest| rest.starts_with(char::is_whitespace)) {
                Some(rest) => {
                    let (offset, key) = rest.split_once(',')?;
                    (offset.trim().parse::<u32>().ok()? as usize, key.trim())
                }
                None => (0, value),
            };
        let extract = key.strip_prefix("extract").or_else(|| key.strip_prefix("var"));
        let key = match extract.filter(|rest| rest.starts_with(char::is_whitespace)) {
            Some(rest) => {
                let (length, offset) = rest.trim().split_once(char::is_whitespace)?;
                let length = length.parse::<u8>().ok().filter(|length| *length > 0)?;
                Key::At {
                    offset: usize::from(offset.trim().parse::<u16>().ok()?),
                    length: usize::from(length),
                }
            }
            None => Key::Fixed(hexadecimal(key.trim_matches('"'))?),
        };
        Some(Transform::Xor { key, offset })
    };
    read().ok_or_else(|| wrong(option, expected))
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() > 2 * usize::from(u8::MAX) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| match *pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

fn group(option: &RuleOption) -> Result<Transform, Refused> {
    let value = option.value.as_deref().unwrap_or_default();
    let pattern = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let Some(pattern) = pattern else { return Err(wrong(option, "an expression in quotes")) };
    let expression = Expression::compile(pattern, Flags::default())
        .map_err(|(_, reason)| (option.value_place, format!("`pcrexform`: {reason}")))?;
    if expression.captures() != 1 {
        return Err(refused(option, "the expression must have exactly one group"));
    }
    Ok(Transform::Pcre(Group { pattern: pattern.to_vec(), expression: Arc::new(expression) }))
}

fn from_base64(option: &RuleOption) -> Result<Transform, Refused> {
    let value = text(option);
    let (mut mode, mut bytes, mut offset) = (None, None, None);
    for part in parts(&value).filter(|_| !value.is_empty()) {
        let (name, what) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
        let number = || what.trim().parse::<u16>().map(usize::from);
        let is_first = match (name, what.trim()) {
            ("mode", "rfc4648") => mode.replace(Mode::Rfc4648).is_none(),
            ("mode", "rfc2045") => mode.replace(Mode::Rfc2045).is_none(),
            ("mode", "strict") => mode.replace(Mode::Strict).is_none(),
            ("bytes", _) => number().is_ok_and(|number| bytes.replace(number).is_none()),
            ("offset", _) => number().is_ok_and(|number| offset.replace(number).is_none()),
            _ => false,
        };
        if !is_first {
            return Err(wrong(
                option,
                "`mode rfc4648|rfc2045|strict`, `bytes N`, `offset N`, each at most once",
            ));
        }
    }
    Ok(Transform::FromBase64 {
        mode: mode.unwrap_or(Mode::Rfc4648),
        bytes: bytes.unwrap_or(0),
        offset: offset.unwrap_or(0),
    })
}

fn subslice(option: &RuleOption) -> Result<Transform, Refused> {
    let value = text(option);
    let words: Vec<&str> = parts(&value).collect();
    let number = |word: &str| word.parse::<i64>().ok();
    let is_truncate = |word: &str| word.eq_ignore_ascii_case("truncate");
    let read = match words.as_slice() {
        [offset] => number(offset).map(|offset| (offset, None, false)),
        [offset, word] if is_truncate(word) => number(offset).map(|offset| (offset, None, true)),
        [offset, bytes] => {
            number(offset).zip(number(bytes)).map(|(offset, bytes)| (offset, Some(bytes), false))
        }
        [offset, bytes, word] if is_truncate(word) => {
            number(offset).zip(number(bytes)).map(|(offset, bytes)| (offset, Some(bytes), true))
        }
        _ => None,
    };
    match read {
        Some((offset, bytes, is_truncating)) if bytes != Some(0) => {
            Ok(Transform::Subslice(Subslice { offset, bytes, is_truncating }))
        }
        _ => Err(wrong(option, "an offset, perhaps a number of bytes, perhaps `truncate`")),
    }
}

fn inflate(option: &RuleOption) -> Result<Transform, Refused> {
    let is_gzip = option.name == "gunzip";
    let value = text(option);
    if value.is_empty() {
        return Ok(Transform::Inflate { is_gzip, bytes_max: INFLATED_BYTES_DEFAULT });
    }
    let max = value.strip_prefix("max-size=").and_then(|size| {
        match super::Sizes::parse(size, INFLATED_BYTES_MAX)? {
            super::Sizes::Equal(max) if max > 0 => u32::try_from(max).ok(),
            _ => None,
        }
    });
    match max {
        Some(bytes_max) => Ok(Transform::Inflate { is_gzip, bytes_max }),
        None => Err(wrong(option, &format!("`max-size=N` of at most {INFLATED_BYTES_MAX} bytes"))),
    }
}
