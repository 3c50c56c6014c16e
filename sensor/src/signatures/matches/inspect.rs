//! Whether a list of matches holds in a buffer: one match after the other, with tries.
//!
//! In: the list, the buffer, the reused memory. Out: yes or no. A match that another one is placed relative to is
//! tried at each of its occurrences until the rest fits, as Suricata does it, which also knows when further tries
//! cannot help. Steps and bytes of one inspection are limited, because rules and traffic can be chosen so that
//! there is no end.

use super::content::Content;
use super::expression::Searched;
use super::pcre::Pcre;
use super::{Absence, DataAt, Kind, Match, Scratch, VARIABLE_BYTES_MAX, View};
use std::sync::Arc;

/// Most matches tried in one inspection, as Suricata's `inspection-recursion-limit`; an inspection that needs more
/// finds nothing, and is counted.
pub(crate) const STEPS_MAX: u32 = 3000;
/// Most bytes searched in one inspection, every try counted anew; one that needs more finds nothing, and is counted.
pub(crate) const SEARCHED_BYTES_MAX: u64 = 32 << 20;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    /// Not with what stands before; another occurrence of that may fit.
    Fails,
    /// Whatever stands before.
    FailsForGood,
}

/// What one match says to the rest of the list.
enum Step {
    /// It holds; the matches relative to it begin here.
    Next(u32),
    End(Verdict),
}

struct Inspection<'s, 'v> {
    view: &'v View<'v>,
    /// What is left of the limits.
    steps: u32,
    bytes: u64,
    scratch: &'s mut Scratch,
    decoded: &'v [Match],
}

/// Inspects a buffer.
pub(super) fn inspect(matches: &[Match], decoded: &[Match], view: &View<'_>, scratch: &mut Scratch) -> bool {
    let mut inspection = Inspection { view, steps: STEPS_MAX, bytes: SEARCHED_BYTES_MAX, scratch, decoded };
    let verdict = inspection.run(matches, 0);
    let (steps, bytes) = (inspection.steps, inspection.bytes);
    scratch.given_up.steps += u64::from(steps == 0);
    scratch.given_up.bytes += u64::from(bytes == 0);
    verdict == Verdict::Holds
}

impl Inspection<'_, '_> {
    /// The matches from here on, when the one before ended at `at`.
    fn run(&mut self, matches: &[Match], at: u32) -> Verdict {
        let (mut list, mut at) = (matches, at);
        // Behind a content that is not tried again, what fails fails for good.
        let mut is_settled = false;
        loop {
            let Some((first, rest)) = list.split_first() else { return Verdict::Holds };
            self.steps = self.steps.saturating_sub(1);
            if self.steps == 0 {
                return Verdict::FailsForGood;
            }
            match self.step(first, rest, at, &mut is_settled) {
                Step::Next(next) => (list, at) = (rest, next),
                Step::End(Verdict::Fails) if is_settled => return Verdict::FailsForGood,
                Step::End(verdict) => return verdict,
            }
        }
    }

    fn step(&mut self, first: &Match, rest: &[Match], at: u32, is_settled: &mut bool) -> Step {
        let (buffer, is_little) = (self.view.bytes, self.view.is_little_endian);
        let values = &mut self.scratch.values;
        let next = |next: Option<u32>| next.map_or(Step::End(Verdict::Fails), Step::Next);
        let holds = |holds: bool| if holds { Step::Next(at) } else { Step::End(Verdict::Fails) };
        let for_good = |holds: bool| if holds { Step::Next(at) } else { Step::End(Verdict::FailsForGood) };
        match &first.kind {
            Kind::Content(content) => self.content(content, rest, at, is_settled),
            Kind::Pcre(pcre) => self.pcre(pcre, rest, at),
            Kind::DataAt(data_at) => self.data_at(*data_at, at),
            Kind::ByteTest(test) => holds(test.holds(buffer, at, is_little, values)),
            Kind::ByteJump(jump) => next(jump.jump(buffer, at, is_little, values)),
            Kind::ByteExtract(extract) => next(extract.extract(buffer, at, is_little, values)),
            Kind::ByteMath(math) => next(math.calculate(buffer, at, is_little, values)),
            Kind::Size(sizes) => {
                let size = self.view.offset.saturating_add(buffer.len() as u64);
                match self.view.is_complete {
                    true => for_good(sizes.has(size)),
                    false if sizes.is_beyond(size) => Step::End(Verdict::FailsForGood),
                    false => holds(sizes.has_from(size)),
                }
            }
            Kind::UriLength(sizes) => for_good(
                self.view.is_complete
                    && sizes.has(u64::from(u16::try_from(buffer.len()).unwrap_or(u16::MAX))),
            ),
            Kind::Entropy(entropy) => holds(entropy.has(buffer)),
            Kind::Asn1(asn1) => holds(asn1.holds(buffer, at)),
            Kind::Absent(absence) => match absence {
                Absence::Only => Step::End(Verdict::FailsForGood),
                Absence::MustFail if self.view.has_failed => Step::End(Verdict::Holds),
                Absence::MustFail => Step::End(Verdict::FailsForGood),
                Absence::FailedOr if self.view.has_failed => Step::End(Verdict::Holds),
                Absence::OrElse | Absence::FailedOr => Step::Next(at),
            },
            Kind::Decode(decode) => {
                let mut bytes = std::mem::take(&mut self.scratch.decoded);
                decode.decode(buffer, at, &mut bytes);
                let verdict = if bytes.is_empty() { Verdict::Fails } else { self.run_decoded(&bytes) };
                self.scratch.decoded = bytes;
                // As in Suricata, what the rule asks of the decoded bytes ends the list: nothing behind it counts.
                Step::End(if verdict == Verdict::Holds { verdict } else { Verdict::Fails })
            }
        }
    }

    fn run_decoded(&mut self, bytes: &[u8]) -> Verdict {
        let view = View { bytes, is_complete: true, offset: 0, is_little_endian: None, has_failed: false };
        let mut inner = Inspection {
            view: &view,
            steps: self.steps,
            bytes: self.bytes,
            scratch: &mut *self.scratch,
            decoded: &[],
        };
        let verdict = inner.run(self.decoded, 0);
        (self.steps, self.bytes) = (inner.steps, inner.bytes);
        verdict
    }

    fn content(&mut self, content: &Content, rest: &[Match], at: u32, is_settled: &mut bool) -> Step {
        let buffer = self.view.bytes;
        let length = buffer.len() as u32;
        if content.ends && !self.view.is_complete {
            return Step::End(Verdict::Fails);
        }
        let Some(window) = content.window(at, length, self.view.offset, &self.scratch.values) else {
            return Step::End(Verdict::Fails);
        };
        let mut from = window.from;
        loop {
            if from > window.to || window.to == 0 {
                return if content.is_negated { Step::Next(at) } else { Step::End(Verdict::Fails) };
            }
            if content.is_negated {
                return self.negated(content, from, window.to, at);
            }
            let found = content.find(buffer, from, window.to);
            if !self.spend(found.unwrap_or(window.to).saturating_sub(from)) {
                return Step::End(Verdict::FailsForGood);
            }
            let Some(end) = found else {
                // One that depends on nothing before it is not found by trying that again.
                let is_relative = content.is_relative();
                return Step::End(if is_relative { Verdict::Fails } else { Verdict::FailsForGood });
            };
            if !content.is_tried_again {
                *is_settled = true;
                return Step::Next(end);
            }
            match self.run(rest, end) {
                Verdict::Fails => from = end.saturating_sub(content.bytes.len() as u32).saturating_add(1),
                verdict => return Step::End(verdict),
            }
        }
    }

    fn negated(&mut self, content: &Content, from: u32, to: u32, at: u32) -> Step {
        let buffer = self.view.bytes;
        let is_cut = content.ends && (to as usize) < buffer.len();
        let found = if is_cut { None } else { content.find_first(buffer, from, to) };
        if !self.spend(found.unwrap_or(to).saturating_sub(from)) {
            return Step::End(Verdict::FailsForGood);
        }
        match found {
            None => Step::Next(at),
            // Suricata looks at the first occurrence alone, also when another one stands at the end.
            Some(end) if content.ends && end != to - from => Step::Next(at),
            Some(_) if content.is_single() => Step::End(Verdict::FailsForGood),
            Some(_) => Step::End(Verdict::Fails),
        }
    }

    fn pcre(&mut self, pcre: &Pcre, rest: &[Match], at: u32) -> Step {
        let base = if pcre.is_relative { at as usize } else { 0 };
        let Some(bytes) = self.view.bytes.get(base..) else { return Step::End(Verdict::Fails) };
        // One that depends on nothing before it is not found by trying that again.
        let fails = if pcre.is_relative { Verdict::Fails } else { Verdict::FailsForGood };
        let mut from = 0;
        loop {
            let searched = pcre.expression.find(bytes, from, &mut self.scratch.searcher);
            let read = if let Searched::Found { end, .. } = searched { end } else { bytes.len() };
            let read = u32::try_from(read.saturating_sub(from)).unwrap_or(u32::MAX);
            if !self.spend(read) {
                return Step::End(Verdict::FailsForGood);
            }
            let (start, end) = match searched {
                Searched::GivenUp => {
                    // Negated or not: nothing is known.
                    self.scratch.given_up.expressions += 1;
                    return Step::End(Verdict::Fails);
                }
                Searched::NotFound if pcre.is_negated => return Step::Next(at),
                Searched::Found { start, end, .. } if !pcre.is_negated => (start, end),
                _ => return Step::End(fails),
            };
            if !pcre.captures.is_empty() {
                self.capture(pcre, bytes);
            }
            let Ok(next) = u32::try_from(base.saturating_add(end)) else { return Step::End(Verdict::Fails) };
            if !pcre.has_relative_next {
                return Step::Next(next);
            }
            match self.run(rest, next) {
                Verdict::Fails => from = start.saturating_add(1),
                verdict => return Step::End(verdict),
            }
        }
    }

    /// Takes what the groups of the last match hold for variables of the flow.
    #[cold]
    fn capture(&mut self, pcre: &Pcre, bytes: &[u8]) {
        let Scratch { searcher, captured, .. } = &mut *self.scratch;
        for (name, group) in pcre.captures.iter().zip(searcher.groups) {
            let (Some(name), Some((start, end))) = (name, group) else { continue };
            let value = bytes.get(start..end.min(start.saturating_add(VARIABLE_BYTES_MAX)));
            captured.retain(|(known, _)| known != name);
            captured.push((Arc::clone(name), value.unwrap_or_default().to_vec()));
        }
    }

    fn data_at(&self, data_at: DataAt, at: u32) -> Step {
        let length = self.view.bytes.len() as u64;
        let offset = self.scratch.values.of(data_at.offset);
        let is_there = if data_at.is_relative {
            u64::from(at).saturating_add(offset) <= length
        } else {
            offset < length
        };
        let is_named = matches!(data_at.offset, super::reader::Operand::Named(_));
        match is_there {
            // More may come behind what is seen.
            false if data_at.is_negated && !self.view.is_complete => Step::End(Verdict::Fails),
            is_there if is_there != data_at.is_negated => Step::Next(at),
            // A later place has even less behind it.
            false if !is_named => Step::End(Verdict::FailsForGood),
            true if !is_named && !data_at.is_relative => Step::End(Verdict::FailsForGood),
            _ => Step::End(Verdict::Fails),
        }
    }

    /// Whether that many bytes may still be searched.
    fn spend(&mut self, bytes: u32) -> bool {
        self.bytes = self.bytes.saturating_sub(u64::from(bytes));
        self.bytes > 0
    }
}
