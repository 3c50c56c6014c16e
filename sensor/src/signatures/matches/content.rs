//! `content` with its modifiers: what is looked for, and where it may lie.
//!
//! In: the option and its modifiers, later a buffer and where the match before ended. Out: where it is found. The
//! arithmetic of positions is Suricata's to the bit, wrapping where Suricata's wraps: a rule that fires there
//! because a sum ran below zero fires here.

use super::reader::{Operand, no_value, operand, refused, text, wrong};
use super::{Names, Refused, Values};
use memchr::memmem;
use std::sync::OnceLock;
use weir_common::rule::{RuleOption, content};

/// Largest `distance` and `within`, in bytes, as in Suricata; a rule with more is refused.
const DISTANCE_MAX: i32 = 1 << 20;
/// Largest `offset` and `depth`, in bytes, as in Suricata; a rule with more is refused.
const OFFSET_MAX: i32 = u16::MAX as i32;

/// One `content` with its modifiers.
#[derive(Debug)]
pub(super) struct Content {
    /// In lower case when case does not matter, once it is prepared.
    pub(super) bytes: Box<[u8]>,
    search: Search,
    pub(super) is_negated: bool,
    pub(super) is_nocase: bool,
    starts: bool,
    pub(super) ends: bool,
    pub(super) offset: Option<Operand>,
    /// Counted from the offset.
    pub(super) depth: Option<Operand>,
    pub(super) distance: Option<Operand>,
    pub(super) within: Option<Operand>,
    pub(super) fast: Fast,
    /// Whether something behind it is placed relative to it.
    pub(super) has_relative_next: bool,
    /// Whether that may fit a later occurrence when it does not fit this one.
    pub(super) is_tried_again: bool,
}

/// What `fast_pattern` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fast {
    #[default]
    Unsaid,
    Whole,
    /// In Suricata it spares looking at the content again; here it only names the pattern.
    Only,
    /// A part of it.
    Part {
        offset: u16,
        length: u16,
    },
}

/// Up to this many bytes a content is searched by its rarest byte alone; in more, traffic could be made of that
/// byte to make the search slow.
const SHORT_BYTES_MAX: usize = 256;

/// How it is searched.
#[derive(Debug, Default)]
struct Search {
    /// The rarest byte in both cases, and where it stands in the content.
    byte: u8,
    upper: u8,
    at: u16,
    /// For long buffers, where case matters; made when first needed.
    finder: OnceLock<Box<memmem::Finder<'static>>>,
}

/// From where to where it may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Whether a word is a modifier of the content before it.
pub(super) fn is_modifier(name: &str) -> bool {
    matches!(
        name,
        "nocase"
            | "offset"
            | "depth"
            | "distance"
            | "within"
            | "startswith"
            | "endswith"
            | "fast_pattern"
            | "rawbytes"
            | "replace"
    )
}

impl Content {
    /// Reads the value of `content`.
    pub(super) fn parse(option: &RuleOption) -> Result<Content, Refused> {
        let value = option.value.as_deref().unwrap_or_default();
        let content::Content { is_negated, bytes } = content::content(value).map_err(|error| {
            let mut place = option.value_place;
            place.column = place.column.saturating_add(u32::try_from(error.at).unwrap_or(0));
            (place, format!("`content`: {}", error.reason))
        })?;
        Ok(Content {
            bytes: bytes.into_boxed_slice(),
            search: Search::default(),
            is_negated,
            is_nocase: false,
            starts: false,
            ends: false,
            offset: None,
            depth: None,
            distance: None,
            within: None,
            fast: Fast::Unsaid,
            has_relative_next: false,
            is_tried_again: false,
        })
    }

    /// Reads a modifier.
    pub(super) fn modify(&mut self, option: &RuleOption, names: &Names) -> Result<(), Refused> {
        match option.name.as_str() {
            "nocase" => {
                once(option, !self.is_nocase)?;
                self.is_nocase = true;
                no_value(option)
            }
            "offset" => {
                self.absolute(option, self.offset.is_none())?;
                self.offset = Some(operand(option, &text(option), 0..=OFFSET_MAX, names)?);
                Ok(())
            }
            "depth" => {
                self.absolute(option, self.depth.is_none())?;
                let depth = operand(option, &text(option), 0..=OFFSET_MAX, names)?;
                self.fits(option, depth)?;
                self.depth = Some(depth);
                Ok(())
            }
            "startswith" => {
                no_value(option)?;
                self.absolute(option, self.depth.is_none() && self.offset.is_none())?;
                self.starts = true;
                self.depth = Some(Operand::Fixed(self.bytes.len() as i32));
                Ok(())
            }
            "distance" => {
                self.relative(option, self.distance.is_none())?;
                self.distance = Some(operand(option, &text(option), -DISTANCE_MAX..=DISTANCE_MAX, names)?);
                Ok(())
            }
            "within" => {
                self.relative(option, self.within.is_none())?;
                let within = operand(option, &text(option), -DISTANCE_MAX..=DISTANCE_MAX, names)?;
                self.fits(option, within)?;
                self.within = Some(within);
                Ok(())
            }
            "endswith" => {
                self.ends = true;
                no_value(option)
            }
            "fast_pattern" => self.fast_pattern(option),
            // In Suricata, too, a word without effect.
            "rawbytes" => no_value(option),
            // As in Suricata where it only listens, a match is one all the same.
            _ => self.replacement(option),
        }
    }

    /// What would be put in the content's place has to have its length.
    fn replacement(&self, option: &RuleOption) -> Result<(), Refused> {
        let value = option.value.as_deref().unwrap_or_default();
        let read = content::content(value).map_err(|error| {
            let mut place = option.value_place;
            place.column = place.column.saturating_add(u32::try_from(error.at).unwrap_or(0));
            (place, format!("`replace`: {}", error.reason))
        })?;
        if self.is_negated || read.is_negated || read.bytes.len() != self.bytes.len() {
            return Err(refused(option, "what is put in a content's place has its length"));
        }
        Ok(())
    }

    /// A content longer than where it may lie is never found, which Suricata refuses as well.
    fn fits(&self, option: &RuleOption, room: Operand) -> Result<(), Refused> {
        match room {
            Operand::Fixed(room) if room < self.bytes.len() as i32 => {
                let reason = format!("the content has {} bytes, so it is never found", self.bytes.len());
                Err(refused(option, &reason))
            }
            _ => Ok(()),
        }
    }

    fn absolute(&self, option: &RuleOption, is_first: bool) -> Result<(), Refused> {
        once(option, is_first)?;
        if self.is_relative() {
            return Err(refused(option, "the content is placed relative to another already"));
        }
        self.placed(option)
    }

    fn relative(&self, option: &RuleOption, is_first: bool) -> Result<(), Refused> {
        once(option, is_first)?;
        if self.depth.is_some() || self.offset.is_some() {
            return Err(refused(option, "the content has a place in the buffer already"));
        }
        self.placed(option)
    }

    fn placed(&self, option: &RuleOption) -> Result<(), Refused> {
        if self.is_negated && self.fast != Fast::Unsaid {
            return Err(refused(option, "a negated content with a place cannot be the fast pattern"));
        }
        if self.fast == Fast::Only {
            return Err(refused(option, "a content with `fast_pattern:only` cannot have a place"));
        }
        Ok(())
    }

    fn fast_pattern(&mut self, option: &RuleOption) -> Result<(), Refused> {
        once(option, self.fast == Fast::Unsaid)?;
        let has_place = self.is_relative() || self.depth.is_some() || self.offset.is_some();
        if self.is_negated && has_place {
            return Err(refused(option, "a negated content with a place cannot be the fast pattern"));
        }
        let value = text(option);
        let value = value.trim_matches('"').trim();
        self.fast = match value {
            "" => Fast::Whole,
            "only" if self.is_negated || has_place => {
                return Err(refused(option, "`only` is for a content that is neither negated nor placed"));
            }
            "only" => Fast::Only,
            part => {
                let part = part.split_once(',').and_then(|(offset, length)| {
                    let number = |word: &str| word.trim().parse::<u16>().ok();
                    Some((number(offset)?, number(length)?))
                });
                let Some((offset, length)) = part else {
                    return Err(wrong(option, "nothing, `only`, or an offset and a length"));
                };
                if length == 0 || usize::from(offset) + usize::from(length) > self.bytes.len() {
                    return Err(refused(option, "the part is not within the content"));
                }
                Fast::Part { offset, length }
            }
        };
        Ok(())
    }

    /// To be called when the modifiers are known.
    pub(super) fn prepare(&mut self) {
        if self.is_nocase {
            self.bytes.make_ascii_lowercase();
        }
        let rarest = self.bytes.iter().enumerate().min_by_key(|(_, byte)| commonness(**byte));
        let (at, byte) = rarest.map_or((0, 0), |(at, byte)| (at as u16, *byte));
        let upper = if self.is_nocase { byte.to_ascii_uppercase() } else { byte };
        self.search = Search { byte, upper, at, finder: OnceLock::new() };
    }

    /// Whether it is to stand at a place counted from the beginning.
    pub(super) fn has_place(&self) -> bool {
        self.offset.is_some() || self.depth.is_some()
    }

    /// Whether it is placed relative to the match before it.
    pub(super) fn is_relative(&self) -> bool {
        self.distance.is_some() || self.within.is_some()
    }

    /// Whether it depends on no other match and none on it.
    pub(super) fn is_single(&self) -> bool {
        !self.is_relative() && !self.has_relative_next && !self.has_place()
    }

    /// From where to where it may lie in a buffer of `length` bytes; the match before ended at `previous`, and
    /// `begin` bytes of the buffer have passed already. Nothing: not in this part of the buffer.
    pub(super) fn window(&self, previous: u32, length: u32, begin: u64, values: &Values) -> Option<Window> {
        // Whatever is subtracted for the bytes that have passed, as Suricata does it.
        let rest = |depth: u32| match u64::from(depth) {
            depth if depth <= begin => None,
            depth if depth >= begin.saturating_add(u64::from(length)) => u32::try_from(depth).ok(),
            depth => u32::try_from(depth - begin).ok(),
        };
        let (from, mut to);
        to = length;
        if self.is_relative() {
            let distance = self.distance.map_or(0, |distance| values.of(distance) as u32 as i32);
            let is_before = distance < 0 && distance.unsigned_abs() > previous;
            from = if is_before { 0 } else { previous.wrapping_add_signed(distance) };
            if let Some(within) = self.within {
                let end = previous.wrapping_add(values.of(within) as u32).wrapping_add_signed(distance);
                if (to as i32) > (end as i32) {
                    to = end;
                }
                if begin != 0 && previous == 0 {
                    to = rest(to)?;
                }
            }
        } else {
            from = self.offset.map_or(0, |offset| values.of(offset) as u32);
            if let Some(depth) = self.depth {
                let depth = values.of(depth) as u32;
                to = depth.saturating_add(from);
                if begin != 0 {
                    to = rest(to)?;
                }
            }
        }
        Some(Window { from, to: to.min(length) })
    }

    /// Where it ends, when it lies between `from` and `to`.
    #[inline]
    pub(super) fn find(&self, buffer: &[u8], from: u32, to: u32) -> Option<u32> {
        let (from, to, length) = (from as usize, to as usize, self.bytes.len());
        let room = buffer.get(from..to)?;
        let last = room.len().checked_sub(length)?;
        let at = if self.ends {
            // Of all occurrences only the one at the buffer's end counts.
            (to == buffer.len() && self.is_at(room, last)).then_some(last)?
        } else if last == 0 {
            self.is_at(room, 0).then_some(0)?
        } else {
            self.search(room, last)?
        };
        u32::try_from(from + at + length).ok()
    }

    /// Where the first occurrence ends, whether or not it has to be at the end.
    pub(super) fn find_first(&self, buffer: &[u8], from: u32, to: u32) -> Option<u32> {
        let room = buffer.get(from as usize..to as usize)?;
        let last = room.len().checked_sub(self.bytes.len())?;
        u32::try_from(from as usize + self.search(room, last)? + self.bytes.len()).ok()
    }

    /// `last` is the last place where it could begin.
    fn search(&self, room: &[u8], last: usize) -> Option<usize> {
        let Search { byte, upper, at, finder } = &self.search;
        let is_one_byte = self.bytes.len() == 1;
        if !self.is_nocase && !is_one_byte && room.len() > SHORT_BYTES_MAX {
            let finder = finder.get_or_init(|| Box::new(memmem::Finder::new(&self.bytes).into_owned()));
            return finder.find(room);
        }
        let at = usize::from(*at);
        let starts = room.get(at..=last + at)?;
        match byte == upper {
            true if is_one_byte => memchr::memchr(*byte, starts),
            true => memchr::memchr_iter(*byte, starts).find(|begin| self.is_at(room, *begin)),
            false => memchr::memchr2_iter(*byte, *upper, starts).find(|begin| self.is_at(room, *begin)),
        }
    }

    #[inline]
    fn is_at(&self, room: &[u8], at: usize) -> bool {
        let Some(here) = room.get(at..at + self.bytes.len()) else { return false };
        if self.is_nocase { here.eq_ignore_ascii_case(&self.bytes) } else { here == self.bytes.as_ref() }
    }

    /// The bytes that `fast_pattern` names, or all.
    pub(super) fn fast_bytes(&self) -> &[u8] {
        match self.fast {
            Fast::Part { offset, length } => {
                let from = self.bytes.get(usize::from(offset)..);
                from.and_then(|from| from.get(..usize::from(length))).unwrap_or(&self.bytes)
            }
            _ => &self.bytes,
        }
    }
}

fn once(option: &RuleOption, is_first: bool) -> Result<(), Refused> {
    if is_first { Ok(()) } else { Err(refused(option, "repeats or contradicts what stands before it")) }
}

/// How good a pattern is for the search for many patterns at once: different bytes count most, letters less than
/// others, bytes that traffic is full of less than rare ones. The measure is Suricata's.
pub(super) fn strength(bytes: &[u8]) -> u32 {
    let mut seen = [false; 256];
    bytes.iter().fold(0u32, |strength, byte| {
        let is_new = seen.get_mut(usize::from(*byte)).is_some_and(|seen| !std::mem::replace(seen, true));
        let more = match byte {
            _ if !is_new => 1,
            byte if byte.is_ascii_alphabetic() => 3,
            0 | 1 | 0xff | b' '..=b'~' => 4,
            _ => 6,
        };
        strength.saturating_add(more)
    })
}

/// Roughly how often a byte, in either case, stands in text and in protocols; only the order matters.
fn commonness(byte: u8) -> u8 {
    match byte.to_ascii_lowercase() {
        b'e' | b't' | b'a' | b'o' | 0 => 250,
        b'i' | b'n' | b's' | b'r' | b' ' => 240,
        b'c' | b'd' | b'l' | b'h' | b'p' | b'm' => 220,
        b'u' | b'f' | b'g' | b'w' | b'0' | b'1' | b'.' | b'/' | b'-' => 190,
        b'y' | b'b' | b'v' | b'2'..=b'9' | b'\r' | b'\n' | b':' | b'=' | b'"' | 0xff => 160,
        b'k' | b'x' | b';' | b',' | b'_' | b'&' | b'%' | b'<' | b'>' | b'(' | b')' => 120,
        b'j' | b'z' | b'q' => 60,
        b'!'..=b'~' => 80,
        _ => 100,
    }
}

impl Values {
    /// The number that an operand stands for.
    #[inline]
    pub(super) fn of(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Fixed(number) => i64::from(number) as u64,
            Operand::Named(slot) => self.get(slot),
        }
    }
}
