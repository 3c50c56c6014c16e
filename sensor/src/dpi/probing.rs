//! The search for a flow's dissector.
//!
//! In: the first bytes of each direction, as far as they are in order. Out: the dissector that is
//! certain, or what to do with the bytes meanwhile. Holds no bytes itself; the streams do.

use super::first::{First, Glimpse};
use super::parser::{Candidates, Found, Parser, probe};
use super::{Carrier, End};
use weir_common::net::Direction;

/// Datagrams of a flow that are looked at before it stays unknown.
pub(super) const PROBE_DATAGRAMS_MAX: u8 = 8;
/// Times that one direction of a TCP flow is looked at anew, each at the start of a segment, because
/// it may have been picked up in the middle of a message.
pub(super) const PROBE_RESTARTS_MAX: u8 = 4;
/// Bytes of one direction let pass, without a dissector, while the other side has not said anything.
pub(super) const ONE_SIDED_BYTES_MAX: u32 = 64 << 10;

/// The search for the dissector; arrays are by direction.
#[derive(Debug)]
pub(super) struct Probing {
    candidates: [Candidates; 2],
    /// Bytes let pass without a dissector.
    pub(super) discarded: [u32; 2],
    restarts_left: [u8; 2],
    /// Bytes held because somebody is unsure.
    unsure_bytes: [u32; 2],
    /// The held bytes are nobody's; they are kept because an earlier segment may still explain them.
    pub(super) is_tentative: [bool; 2],
    datagrams: u8,
    /// What each direction said before.
    seen: [Glimpse; 2],
    ports: [u16; 2],
}

/// What the first bytes of a direction say.
pub(super) enum Verdict {
    /// A dissector is certain, from so many bytes on.
    Recognised(Parser, usize),
    /// More bytes are needed.
    Wait,
    /// These bytes are nobody's; the next may be somebody's.
    Discard,
    /// The flow is nobody's.
    Unknown,
}

impl Probing {
    /// Nothing was seen yet.
    pub(super) fn new(ends: &[End; 2]) -> Probing {
        Probing {
            candidates: [Candidates::ALL; 2],
            discarded: [0; 2],
            restarts_left: [PROBE_RESTARTS_MAX; 2],
            unsure_bytes: [0; 2],
            is_tentative: [false; 2],
            datagrams: 0,
            seen: [Glimpse::default(); 2],
            ports: ends.map(|(_, port)| port),
        }
    }

    /// An earlier segment came: everything is asked about again.
    pub(super) fn begin_anew(&mut self, index: usize) {
        self.candidates[index] = Candidates::ALL;
        self.restarts_left[index] = PROBE_RESTARTS_MAX;
        self.unsure_bytes[index] = 0;
        self.is_tentative[index] = false;
    }

    /// Held bytes are nobody's after all: what follows is asked about.
    pub(super) fn restart(&mut self, index: usize, discarded: usize) {
        self.candidates[index] = Candidates::ALL;
        self.is_tentative[index] = false;
        self.discard(index, discarded);
    }

    fn discard(&mut self, index: usize, bytes: usize) {
        self.unsure_bytes[index] = 0;
        self.discarded[index] =
            self.discarded[index].saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    fn first<'a>(&self, carrier: Carrier, direction: Direction, bytes: &'a [u8]) -> First<'a> {
        let (here, there) = (direction.index(), direction.flip().index());
        First {
            carrier,
            direction,
            bytes,
            source_port: self.ports[here],
            destination_port: self.ports[there],
            before: self.seen[here],
            other: self.seen[there],
            number: self.datagrams,
        }
    }

    /// A datagram came.
    pub(super) fn datagram(&mut self, direction: Direction, payload: &[u8]) -> Verdict {
        let first = self.first(Carrier::Datagram, direction, payload);
        match probe(&mut { Candidates::ALL }, &first) {
            Found::Certain(parser) | Found::Likely(parser, _) => return Verdict::Recognised(parser, 0),
            Found::Nobody => {}
        }
        self.seen[direction.index()] = Glimpse::of(payload);
        self.datagrams += 1;
        if self.datagrams >= PROBE_DATAGRAMS_MAX { Verdict::Unknown } else { Verdict::Discard }
    }

    /// The flow ends with these bytes of a direction, about which somebody was unsure.
    pub(super) fn last(&mut self, direction: Direction, bytes: &[u8]) -> Option<Parser> {
        let first = self.first(Carrier::Stream, direction, bytes);
        match probe(&mut { Candidates::ALL }, &first) {
            Found::Certain(parser) | Found::Likely(parser, _) => Some(parser),
            Found::Nobody => None,
        }
    }

    /// The same, where the flow's end completed a line; only who is certain is believed.
    pub(super) fn last_line(&mut self, direction: Direction, line: &[u8]) -> Option<Parser> {
        self.certain(Carrier::Stream, direction, line)
    }

    /// Whose the first bytes of a direction are for certain.
    pub(super) fn certain(&self, carrier: Carrier, direction: Direction, bytes: &[u8]) -> Option<Parser> {
        match probe(&mut { Candidates::ALL }, &self.first(carrier, direction, bytes)) {
            Found::Certain(parser) => Some(parser),
            Found::Likely(..) | Found::Nobody => None,
        }
    }

    /// A direction goes on: `bytes` is all that is held of it.
    pub(super) fn stream(&mut self, direction: Direction, bytes: &[u8], probe_bytes_max: usize) -> Verdict {
        let index = direction.index();
        let first = self.first(Carrier::Stream, direction, bytes);
        match probe(&mut self.candidates[index], &first) {
            Found::Certain(parser) => return Verdict::Recognised(parser, 0),
            Found::Likely(parser, is_alone) if is_alone || bytes.len() >= probe_bytes_max => {
                return Verdict::Recognised(parser, 0);
            }
            Found::Likely(..) | Found::Nobody => {}
        }
        if self.discarded[index] == 0 {
            self.seen[index] = Glimpse::of(bytes);
        }
        if !self.candidates[index].is_empty() && bytes.len() < probe_bytes_max {
            self.unsure_bytes[index] = bytes.len() as u32;
            return Verdict::Wait;
        }
        // What made some unsure was perhaps the end of a message, and this segment begins the next.
        let unsure_bytes = self.unsure_bytes[index] as usize;
        if unsure_bytes > 0
            && let Some(fresh) = bytes.get(unsure_bytes..)
            && let Found::Certain(parser) = probe(&mut { Candidates::ALL }, &First { bytes: fresh, ..first })
        {
            self.discard(index, unsure_bytes);
            return Verdict::Recognised(parser, unsure_bytes);
        }
        self.is_tentative[index] = false;
        let restarts_left = self.restarts_left[index];
        if self.candidates[index].is_empty() && restarts_left > 0 {
            self.restarts_left[index] -= 1;
            if restarts_left == PROBE_RESTARTS_MAX && self.discarded[index] == 0 {
                self.is_tentative[index] = true;
                return Verdict::Wait;
            }
            self.candidates[index] = Candidates::ALL;
        } else {
            self.candidates[index] = Candidates::NONE;
            self.restarts_left[index] = 0;
        }
        self.discard(index, bytes.len());
        let is_given_up = |index: usize| self.candidates[index].is_empty() && self.restarts_left[index] == 0;
        if is_given_up(0) && is_given_up(1) || self.discarded[index] >= ONE_SIDED_BYTES_MAX {
            return Verdict::Unknown;
        }
        Verdict::Discard
    }
}
