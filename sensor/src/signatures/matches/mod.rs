//! The part of a rule that looks into one buffer: an ordered list of matches, and the transforms before it.
//!
//! In: options of a rule, one by one ([`MatchList::option`], [`Transforms::option`]); later bytes ([`View`]). Out:
//! whether the list holds in them, and which pattern a search for many rules at once should look for. What each
//! keyword means is Suricata's, to the borders and to the order in which things are tried.
//!
//! Deliberately absent: packets, flows, transactions, and which bytes a buffer holds. A rule with several buffers
//! has a list for each; they share [`Names`] and, while it is evaluated, [`Scratch`]. Of `replace` only
//! the form is looked at. Nothing here allocates once the reused memory has grown to what traffic needs, but for `gunzip` and
//! `zlib_deflate`.

mod asn1;
mod base64;
mod bytes;
mod content;
mod expression;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod inspect;
mod pcre;
mod reader;
mod sizes;
mod transforms;

#[cfg(test)]
mod tests;

#[allow(unused_imports)]
pub(crate) use expression::{BACKTRACKING_DEPTH_MAX, MATCH_CALLS_MAX};
#[allow(unused_imports)]
pub(crate) use inspect::{SEARCHED_BYTES_MAX, STEPS_MAX};
#[allow(unused_imports)]
pub(super) use pcre::pcre_buffer;
#[allow(unused_imports)]
pub(super) use transforms::{Transformed, Transforms};

use asn1::Asn1;
use bytes::{ByteExtract, ByteJump, ByteMath, ByteTest};
use content::{Content, Fast};
use expression::Searcher;
use pcre::Pcre;
use reader::{Operand, no_value, operand, parts, refused, text, wrong};
use sizes::{Entropy, Sizes};
use std::sync::Arc;
use weir_common::rule::{Place, RuleOption};

/// Where and why a rule cannot be run.
pub(super) type Refused = (Place, String);

/// Most numbers with a name in one rule; a rule with more is refused.
pub(crate) const NAMES_MAX: usize = 64;

/// The names that `byte_extract` and `byte_math` give to numbers, for all buffers of a rule.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<String>,
}

/// Longest value of a flow's variable, in bytes; of a longer one the beginning is kept.
const VARIABLE_BYTES_MAX: usize = 1024;

/// A named number's place among [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(u8);

impl Names {
    fn find(&self, name: &str) -> Option<Slot> {
        // Of two with one name the first is meant, as in Suricata.
        let slot = self.names.iter().position(|known| known == name)?;
        u8::try_from(slot).ok().map(Slot)
    }

    fn define(&mut self, option: &RuleOption, name: &str) -> Result<Slot, Refused> {
        if !name.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            return Err(wrong(option, "a name that begins with a letter"));
        }
        match u8::try_from(self.names.len()).ok().filter(|slot| usize::from(*slot) < NAMES_MAX) {
            Some(slot) => {
                self.names.push(name.to_owned());
                Ok(Slot(slot))
            }
            None => Err(refused(option, &format!("more than {NAMES_MAX} named numbers in one rule"))),
        }
    }
}

/// Named numbers while a rule is evaluated; 0 until they are read.
#[derive(Debug)]
struct Values {
    numbers: [u64; NAMES_MAX],
    used: usize,
}

impl Values {
    #[inline]
    fn get(&self, slot: Slot) -> u64 {
        self.numbers.get(usize::from(slot.0)).copied().unwrap_or(0)
    }

    fn set(&mut self, slot: Slot, number: u64) {
        if let Some(place) = self.numbers.get_mut(usize::from(slot.0)) {
            *place = number;
            self.used = self.used.max(usize::from(slot.0) + 1);
        }
    }
}

/// What inspections gave up; each may have missed a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GivenUp {
    /// Inspections that needed more than [`STEPS_MAX`] steps.
    pub(super) steps: u64,
    /// Inspections that searched more than [`SEARCHED_BYTES_MAX`] bytes.
    pub(super) bytes: u64,
    /// Searches of expressions beyond [`MATCH_CALLS_MAX`] or [`BACKTRACKING_DEPTH_MAX`].
    pub(super) expressions: u64,
}

/// Memory that evaluations reuse: named numbers, decoded bytes, what expressions need.
#[derive(Debug)]
pub(super) struct Scratch {
    values: Values,
    decoded: Vec<u8>,
    searcher: Searcher,
    /// Variables of the flow that the rule at hand has found: names and values.
    pub(super) captured: Vec<(Arc<str>, Vec<u8>)>,
    /// Counted since it was made; the caller reads and may reset it.
    pub(super) given_up: GivenUp,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            values: Values { numbers: [0; NAMES_MAX], used: 0 },
            decoded: Vec::new(),
            searcher: Searcher::default(),
            captured: Vec::new(),
            given_up: GivenUp::default(),
        }
    }
}

impl Scratch {
    /// Forgets the numbers of the rule before. To be called before a rule's first list.
    #[inline]
    pub(super) fn begin(&mut self) {
        let used = std::mem::take(&mut self.values.used);
        self.values.numbers.iter_mut().take(used).for_each(|number| *number = 0);
        self.captured.clear();
    }
}

/// A buffer, or a part of one, as it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether nothing comes behind these bytes. What is about the end (`endswith`, `bsize`, `urilen`, negated
    /// `isdataat`) does not hold before. Suricata, which takes what it has for the end, is had by always setting it.
    pub(super) is_complete: bool,
    /// How many bytes of the buffer have passed before these: 0 unless a body is looked at in parts.
    pub(super) offset: u64,
    /// What a DCE/RPC header says about the order of bytes, for `dce`.
    pub(super) is_little_endian: Option<bool>,
    /// Whether a transform failed, for `absent`; the bytes are then empty.
    pub(super) has_failed: bool,
}

impl<'a> View<'a> {
    /// A whole buffer.
    pub(super) fn of(bytes: &'a [u8]) -> View<'a> {
        View { bytes, is_complete: true, offset: 0, is_little_endian: None, has_failed: false }
    }
}

/// One match of a list.
#[derive(Debug)]
pub(super) struct Match {
    kind: Kind,
    place: Place,
}

#[derive(Debug)]
enum Kind {
    Content(Content),
    Pcre(Box<Pcre>),
    DataAt(DataAt),
    ByteTest(Box<ByteTest>),
    ByteJump(Box<ByteJump>),
    ByteExtract(Box<ByteExtract>),
    ByteMath(Box<ByteMath>),
    Size(Sizes),
    UriLength(Sizes),
    Entropy(Entropy),
    Asn1(Asn1),
    Absent(Absence),
    Decode(base64::Decode),
}

/// `isdataat`: whether there are so many bytes.
#[derive(Clone, Copy, Debug)]
struct DataAt {
    offset: Operand,
    is_relative: bool,
    is_negated: bool,
}

/// `absent`: what a buffer that is not there means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    /// It must not be there.
    Only,
    /// It is not there, or the rest holds.
    OrElse,
    /// A transform must fail.
    MustFail,
    /// A transform fails, or the rest holds.
    FailedOr,
}

/// What the search for many rules at once should look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FastPattern<'a> {
    /// In lower case when case does not matter.
    pub(super) bytes: &'a [u8],
    pub(super) is_nocase: bool,
    /// The rule says so.
    pub(super) is_explicit: bool,
    /// How well it tells traffic apart: larger is better.
    pub(super) strength: u32,
}

/// The matches of one buffer, in their order.
#[derive(Debug, Default)]
pub(super) struct MatchList {
    matches: Vec<Match>,
    /// What stands behind `base64_data`.
    decoded: Vec<Match>,
    is_in_decoded: bool,
}

/// Whether an option is a modifier of the last content, whichever list holds that.
pub(super) fn is_modifier(name: &str) -> bool {
    content::is_modifier(name)
}

/// The buffer keyword whose size `urilen` is about.
pub(super) fn urilen_buffer(value: &[u8]) -> &'static str {
    if value.trim_ascii_end().ends_with(b"raw") { "http.uri.raw" } else { "http.uri" }
}

impl MatchList {
    /// Takes an option. Nothing: it is not one of a match list. An error: it is, and is wrong.
    pub(super) fn option(&mut self, option: &RuleOption, names: &mut Names) -> Option<Result<(), Refused>> {
        if is_modifier(&option.name) {
            return Some(self.modify(option, names));
        }
        let kind = match option.name.as_str() {
            "content" => Content::parse(option).map(Kind::Content),
            "pcre" => Pcre::parse(option).map(|pcre| Kind::Pcre(Box::new(pcre))),
            "byte_test" => ByteTest::parse(option, names).map(|test| Kind::ByteTest(Box::new(test))),
            "byte_jump" => ByteJump::parse(option, names).map(|jump| Kind::ByteJump(Box::new(jump))),
            "byte_extract" => ByteExtract::parse(option, names).map(|it| Kind::ByteExtract(Box::new(it))),
            "byte_math" => ByteMath::parse(option, names).map(|math| Kind::ByteMath(Box::new(math))),
            "isdataat" => return Some(self.data_at(option, names)),
            "bsize" => size(option, u64::MAX).map(Kind::Size),
            "urilen" => size(option, u64::from(u16::MAX)).map(Kind::UriLength),
            "entropy" => {
                let expected = "`value` with a comparison, and perhaps `bytes N` and `offset N`";
                Entropy::parse(&text(option)).ok_or_else(|| wrong(option, expected)).map(Kind::Entropy)
            }
            "asn1" => Asn1::parse(option).map(Kind::Asn1),
            "absent" => self.absent(option).map(Kind::Absent),
            "base64_decode" => self.decode(option).map(Kind::Decode),
            "base64_data" => return Some(self.begin_decoded(option)),
            _ => return None,
        };
        Some(kind.map(|kind| self.part().push(Match { kind, place: option.place })))
    }

    /// Takes the last content out: legacy modifiers such as `http_uri` move it into another buffer's list.
    pub(super) fn take_last(&mut self) -> Option<Match> {
        let part = self.part();
        let at = part.iter().rposition(|one| matches!(one.kind, Kind::Content(_)))?;
        Some(part.remove(at))
    }

    /// Puts a match at the end.
    pub(super) fn push(&mut self, one: Match) {
        self.part().push(one);
    }

    /// The case of letters matters nowhere in the buffer.
    pub(super) fn ignore_case(&mut self) {
        for one in &mut self.matches {
            if let Kind::Content(content) = &mut one.kind {
                content.is_nocase = true;
            }
        }
    }

    /// The options that follow are about the buffer itself again, no longer about what `base64_data` means. To be
    /// called when a buffer's keyword names this list's buffer once more.
    pub(super) fn resume(&mut self) {
        self.is_in_decoded = false;
    }

    /// To be called when the rule is read to its end: what only the whole list shows, and preparations.
    pub(super) fn finish(&mut self) -> Result<(), Refused> {
        self.check()?;
        for part in [&mut self.matches, &mut self.decoded] {
            link(part);
            for one in part.iter_mut() {
                if let Kind::Content(content) = &mut one.kind {
                    content.prepare();
                }
            }
        }
        Ok(())
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.matches.is_empty() && self.decoded.is_empty()
    }

    /// The best pattern: the one that the rule names, or the strongest. Never a negated one, nor one of decoded bytes.
    pub(super) fn fast_pattern(&self) -> Option<FastPattern<'_>> {
        let patterns = self.matches.iter().filter_map(|one| match &one.kind {
            Kind::Content(content) if !content.is_negated => {
                let bytes = content.fast_bytes();
                let is_explicit = content.fast != Fast::Unsaid;
                let strength = content::strength(bytes);
                Some(FastPattern { bytes, is_nocase: content.is_nocase, is_explicit, strength })
            }
            _ => None,
        });
        // The first of equals, so that rules loaded again choose the same.
        patterns.reduce(|best, other| {
            let is_better = (other.is_explicit, other.strength) > (best.is_explicit, best.strength);
            if is_better { other } else { best }
        })
    }

    /// Whether the list holds in these bytes. An empty one does.
    pub(super) fn matches(&self, view: &View<'_>, scratch: &mut Scratch) -> bool {
        inspect::inspect(&self.matches, &self.decoded, view, scratch)
    }

    /// Whether the list holds when there is no such buffer.
    pub(super) fn holds_when_absent(&self) -> bool {
        matches!(
            self.matches.first().map(|first| &first.kind),
            Some(Kind::Absent(Absence::Only | Absence::OrElse))
        )
    }

    /// Whether it is about places counted from the buffer's beginning, which is unknown in the midst of a stream.
    pub(super) fn is_anchored(&self) -> bool {
        self.matches.iter().any(|one| match &one.kind {
            Kind::Content(content) => content.has_place(),
            Kind::ByteTest(test) => !test.is_relative(),
            Kind::ByteJump(jump) => !jump.is_relative(),
            Kind::ByteExtract(extract) => !extract.is_relative(),
            Kind::ByteMath(math) => !math.is_relative(),
            Kind::DataAt(data_at) => !data_at.is_relative,
            Kind::Asn1(asn1) => !asn1.is_relative(),
            _ => false,
        })
    }

    /// Whether a content is to stand at a place counted from the beginning.
    pub(super) fn has_place(&self) -> bool {
        self.matches.iter().any(|one| matches!(&one.kind, Kind::Content(content) if content.has_place()))
    }

    /// Refuses contents that cannot be found in what the transforms leave.
    pub(super) fn check_transforms(&self, transforms: &Transforms) -> Result<(), Refused> {
        for one in &self.matches {
            if let Kind::Content(content) = &one.kind
                && !content.is_negated
                && let Some(name) = transforms.never_leaves(&content.bytes)
            {
                return Err((one.place, format!("`content`: what `{name}` leaves never holds it")));
            }
        }
        Ok(())
    }

    /// Refuses contents whose letters a buffer never has: hosts are in lower case, JA3's hashes are hexadecimal.
    pub(super) fn check_letters(&self, keyword: &str) -> Result<(), Refused> {
        for one in &self.matches {
            let Kind::Content(content) = &one.kind else { continue };
            let has = |wrong: fn(&u8) -> bool| content.bytes.iter().any(wrong);
            let reason = match keyword {
                "http.host" if !content.is_nocase && has(u8::is_ascii_uppercase) => {
                    "`content`: hosts are in lower case in `http.host`"
                }
                "ja3.hash" | "ja3s.hash" if has(|byte| !byte.is_ascii_hexdigit()) => {
                    "`content`: hashes are hexadecimal"
                }
                _ => continue,
            };
            return Err((one.place, reason.into()));
        }
        Ok(())
    }

    fn part(&mut self) -> &mut Vec<Match> {
        if self.is_in_decoded { &mut self.decoded } else { &mut self.matches }
    }

    fn modify(&mut self, option: &RuleOption, names: &Names) -> Result<(), Refused> {
        let is_decoded = self.is_in_decoded;
        let last = self.part().iter_mut().rev().find_map(|one| match &mut one.kind {
            Kind::Content(content) => Some(content),
            _ => None,
        });
        let Some(content) = last else { return Err(refused(option, "no content stands before it")) };
        if is_decoded && option.name == "fast_pattern" {
            return Err(refused(option, "decoded bytes are not searched for patterns"));
        }
        content.modify(option, names)
    }

    fn data_at(&mut self, option: &RuleOption, names: &Names) -> Result<(), Refused> {
        let value = text(option);
        let plain = value.strip_prefix('!');
        let mut words = parts(plain.unwrap_or(&value));
        let offset = operand(option, words.next().unwrap_or_default(), 0..=i32::from(u16::MAX), names)?;
        let mut is_relative = false;
        for word in words {
            match word {
                "relative" => is_relative = true,
                "rawbytes" => {}
                _ => return Err(wrong(option, "a number, and perhaps `relative`")),
            }
        }
        let is_negated = plain.is_some();
        // Nothing behind a content means that the content stands at the end.
        if let (Operand::Fixed(1), true, true) = (offset, is_relative, is_negated)
            && let Some(Match { kind: Kind::Content(content), .. }) = self.part().last_mut()
        {
            content.ends = true;
            return Ok(());
        }
        let kind = Kind::DataAt(DataAt { offset, is_relative, is_negated });
        self.part().push(Match { kind, place: option.place });
        Ok(())
    }

    fn absent(&self, option: &RuleOption) -> Result<Absence, Refused> {
        if !self.is_empty() || self.is_in_decoded {
            return Err(refused(option, "it must stand right behind its buffer"));
        }
        Ok(match text(option).as_str() {
            "" => Absence::Only,
            "or_else" => Absence::OrElse,
            "must_error" => Absence::MustFail,
            "error_or" => Absence::FailedOr,
            _ => return Err(wrong(option, "nothing, `or_else`, `must_error` or `error_or`")),
        })
    }

    fn decode(&self, option: &RuleOption) -> Result<base64::Decode, Refused> {
        let is_first = !self.matches.iter().any(|one| matches!(one.kind, Kind::Decode(_)));
        if self.is_in_decoded || !is_first {
            return Err(refused(option, "decoded bytes are not decoded again, and a buffer is decoded once"));
        }
        base64::Decode::parse(option)
    }

    fn begin_decoded(&mut self, option: &RuleOption) -> Result<(), Refused> {
        no_value(option)?;
        if !self.matches.iter().any(|one| matches!(one.kind, Kind::Decode(_))) {
            return Err(refused(option, "no `base64_decode` stands before it"));
        }
        self.is_in_decoded = true;
        Ok(())
    }

    fn check(&self) -> Result<(), Refused> {
        let max = self.matches.iter().filter_map(|one| match one.kind {
            Kind::Size(sizes) => sizes.max(),
            _ => None,
        });
        let max = max.min().unwrap_or(u64::MAX);
        let (mut absent, mut explicit) = (None, 0);
        for one in &self.matches {
            match &one.kind {
                Kind::Content(content) => {
                    explicit += u32::from(content.fast != Fast::Unsaid);
                    if explicit > 1 {
                        return Err((one.place, "`fast_pattern`: only one content can have it".into()));
                    }
                    if !content.is_negated && content.bytes.len() as u64 > max {
                        return Err((one.place, "`content`: longer than `bsize` lets the buffer be".into()));
                    }
                }
                Kind::Decode(_) if self.decoded.is_empty() => {
                    let reason =
                        "`base64_decode`: nothing is looked for in what it decodes, so it never holds";
                    return Err((one.place, reason.into()));
                }
                Kind::Absent(absence) => absent = Some((*absence, one.place)),
                _ => {}
            }
        }
        let has_others = self.matches.len() > 1;
        match absent {
            Some((Absence::Only, place)) if has_others => {
                Err((place, "`absent`: a buffer that must not be there is looked into".into()))
            }
            Some((Absence::OrElse, place)) if !has_others => {
                Err((place, "`absent: or_else`: nothing else is asked of the buffer".into()))
            }
            Some((_, place)) if explicit > 0 => {
                Err((place, "`absent`: a buffer that may not be there cannot hold the fast pattern".into()))
            }
            _ => Ok(()),
        }
    }
}

fn size(option: &RuleOption, max: u64) -> Result<Sizes, Refused> {
    let value = text(option);
    let (sizes, which) =
        value.rsplit_once(',').map_or((value.as_str(), None), |(sizes, which)| (sizes, Some(which)));
    let is_known = match which.map(str::trim) {
        None => true,
        Some(which) => option.name == "urilen" && matches!(which, "raw" | "norm"),
    };
    let expected = "a size such as `5`, `<5`, `>=5` or `3<>9`";
    Sizes::parse(sizes, max).filter(|_| is_known).ok_or_else(|| wrong(option, expected))
}

/// Tells each content and expression whether something behind it is placed relative to it.
fn link(part: &mut [Match]) {
    // Whether the next match is relative, and whether a later occurrence of what it is relative to may serve it.
    let mut next = (false, false);
    for one in part.iter_mut().rev() {
        let own = match &mut one.kind {
            Kind::Content(content) => {
                (content.has_relative_next, content.is_tried_again) = std::mem::take(&mut next);
                // With a distance alone, what does not fit behind the first occurrence fits behind no later one.
                (content.is_relative(), content.within.is_some() || content.is_negated)
            }
            Kind::Pcre(pcre) => {
                pcre.has_relative_next = std::mem::take(&mut next).0;
                (pcre.is_relative, true)
            }
            Kind::DataAt(data_at) => (data_at.is_relative, true),
            Kind::ByteTest(test) => (test.is_relative(), true),
            Kind::ByteJump(jump) => (jump.is_relative(), true),
            Kind::ByteExtract(extract) => (extract.is_relative(), true),
            Kind::ByteMath(math) => (math.is_relative(), true),
            Kind::Asn1(asn1) => (asn1.is_relative(), true),
            Kind::Decode(decode) => (decode.is_relative, false),
            _ => (false, false),
        };
        if own.0 {
            next = (true, next.1 || own.1);
        }
    }
}
