//! A flow's dissector, or the search for it, fed by a stream or by datagrams.
//!
//! In: bytes of one direction, and gaps. Out: how much of them was used; what was learned goes to where
//! [`super::Inspection`] keeps it. Lives for one packet.

use super::super::buffers::{NO_TRANSACTION, Sides, Wanted};
use super::super::config::EveConfig;
use super::super::cut_off::CutOff;
use super::super::expect::Expectations;
use super::super::file::Files;
use super::super::parser::Parser;
use super::super::probing::{Probing, Verdict};
use super::super::services::Services;
use super::super::stream::{Reader, Take};
use super::super::{Carrier, Context, End, Event, Progress};
use super::{STARTS_TLS, Stage, is_first_served};
use crate::counters::DpiCounters;
use weir_common::app::App;
use weir_common::metadata::{Field, Metadata};
use weir_common::net::Direction;
use weir_common::time::Timestamp;

/// A flow's dissector, or the search for it, as the reader of a stream.
pub(super) struct Conversation<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) switches_left: &'a mut u8,
    pub(super) depth_left: &'a mut [u64; 2],
    pub(super) has_spoken: &'a mut [bool; 2],
    pub(super) app: &'a mut App,
    pub(super) metadata: &'a mut Metadata,
    pub(super) sides: &'a mut Option<Box<Sides>>,
    pub(super) is_swapped: bool,
    pub(super) is_joined: bool,
    pub(super) is_turned: &'a mut bool,
    pub(super) carrier: Carrier,
    /// Whose bytes the stream offers.
    pub(super) direction: Direction,
    pub(super) time: Timestamp,
    pub(super) events: Option<&'a mut Vec<Event>>,
    pub(super) counters: &'a mut DpiCounters,
    pub(super) cut_off: CutOff,
    pub(super) probe_bytes_max: usize,
    pub(super) files: &'a Files,
    pub(super) expectations: &'a mut Expectations,
    pub(super) services: &'a Services,
    pub(super) wanted: Option<&'a Wanted>,
    pub(super) eve: EveConfig,
    pub(super) is_searched: bool,
    pub(super) ends: [End; 2],
    /// What the other direction holds while probing; the dissector, once found, reads it first.
    pub(super) other: Vec<u8>,
    /// How much of it the dissector used.
    pub(super) other_used: usize,
}

impl Reader for Conversation<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) -> Take {
        if let Stage::Probing(probing) = self.stage {
            match probing.stream(self.direction, bytes, self.probe_bytes_max) {
                Verdict::Recognised(parser, from) => {
                    let discarded = probing.discarded;
                    if self.recognised(parser, discarded) == Take::Stop {
                        return Take::Stop;
                    }
                    return match self.read(self.direction, bytes.get(from..).unwrap_or_default()) {
                        Take::Used(used) => Take::Used(used.saturating_add(from)),
                        Take::Stop => Take::Stop,
                    };
                }
                Verdict::Wait => return Take::Used(0),
                Verdict::Discard => return Take::Used(bytes.len()),
                Verdict::Unknown => {
                    self.found_nothing_behind();
                    return Take::Stop;
                }
            }
        }
        self.read(self.direction, bytes)
    }

    fn gap(&mut self, missing: u64) -> Take {
        if let Stage::Probing(probing) = self.stage {
            let index = self.direction.index();
            probing.restart(index, usize::try_from(missing).unwrap_or(usize::MAX));
            return Take::Used(0);
        }
        self.tell_gap(self.direction, missing)
    }

    fn counters(&mut self) -> &mut DpiCounters {
        self.counters
    }
}

impl Conversation<'_> {
    /// The dissector is found: it hears of what was let pass, and reads what the other side said first.
    fn recognised(&mut self, parser: Parser, discarded: [u32; 2]) -> Take {
        self.begin(parser);
        for direction in [self.direction.flip(), self.direction] {
            let discarded = discarded[direction.index()];
            if discarded > 0 && self.tell_gap(direction, u64::from(discarded)) == Take::Stop {
                return Take::Stop;
            }
        }
        if self.other.is_empty() {
            return Take::Used(0);
        }
        let other = std::mem::take(&mut self.other);
        let take = self.read(self.direction.flip(), &other);
        self.other = other;
        if let Take::Used(used) = take {
            self.other_used = used;
        }
        take
    }

    /// A dissector begins its work. Of a connection whose beginning was not seen the first packet may be the server's: the
    /// port says so, and what the server says is not to be read as the client's.
    pub(super) fn begin(&mut self, parser: Parser) {
        if self.is_joined && *self.app == App::Unknown {
            *self.is_turned = is_first_served(parser.app(), &self.ends);
        }
        if self.app.is_carrier() {
            self.metadata.set_text(Field::InnerApp, parser.app().name());
        } else {
            if *self.app != App::Unknown && *self.app != parser.app() {
                self.metadata.set_text(Field::OriginalApp, self.app.name());
            }
            if STARTS_TLS.contains(self.app) && parser.app() != App::Tls {
                self.note(self.direction, "APPLAYER_UNEXPECTED_PROTOCOL");
                self.note(self.direction, "APPLAYER_NO_TLS_AFTER_STARTTLS");
            }
            *self.app = parser.app();
        }
        self.counters.recognised += 1;
        *self.stage = Stage::Reading(parser);
    }

    /// What came behind a change of protocols is nobody's: the flow keeps its name, which is told as the original
    /// one too.
    fn found_nothing_behind(&mut self) {
        if *self.app != App::Unknown && !self.app.is_carrier() {
            self.metadata.set_text(Field::OriginalApp, self.app.name());
        }
    }

    /// The flow ends while these bytes of a direction are nobody's for certain. Its end ends a line, too.
    pub(super) fn last(&mut self, bytes: &[u8]) {
        if let Stage::Probing(probing) = self.stage {
            if let Some(parser) = probing.last(self.direction, bytes) {
                self.begin(parser);
                self.read(self.direction, bytes);
                return;
            }
            let line = [bytes, b"\r\n"].concat();
            match probing.last_line(self.direction, &line) {
                Some(parser) => {
                    self.begin(parser);
                    self.read(self.direction, &line);
                }
                None => self.found_nothing_behind(),
            }
        }
    }

    pub(super) fn read(&mut self, direction: Direction, bytes: &[u8]) -> Take {
        if self.depth_left[direction.index()] == 0 {
            self.counters.depth_reached += 1;
            self.close();
            return Take::Stop;
        }
        let switches_left = *self.switches_left;
        let faults = self.counters.malformed + self.counters.broken;
        let take = self.with_parser(direction, |parser, context| parser.inspect(bytes, context));
        let is_first = !std::mem::replace(&mut self.has_spoken[direction.index()], true);
        if is_first && self.counters.malformed + self.counters.broken != faults {
            self.note_mismatch(direction, bytes);
        }
        if let Take::Used(used) = take {
            let depth_left = &mut self.depth_left[direction.index()];
            // What is skipped is not inspected.
            *depth_left = depth_left.saturating_sub(used.min(bytes.len()) as u64);
        }
        // Another protocol begins behind what was used: what is there of it is looked at now.
        if let Take::Used(used) = take
            && *self.switches_left != switches_left
            && self.carrier == Carrier::Stream
            && direction == self.direction
            && let Some(rest @ [_, ..]) = bytes.get(used..)
        {
            return match self.bytes(rest) {
                Take::Used(more) => Take::Used(used.saturating_add(more)),
                Take::Stop => Take::Stop,
            };
        }
        take
    }

    /// What a direction says first is wrong in the flow's application: it may be right in another.
    #[cold]
    fn note_mismatch(&mut self, direction: Direction, bytes: &[u8]) {
        let found = Probing::new(&self.ends).certain(self.carrier, direction, bytes);
        let Some(app) = found.map(|parser| parser.app()).filter(|app| app != self.app) else { return };
        let is_to_server = (direction == Direction::Forward) != self.is_swapped;
        let field = if is_to_server { Field::AppToServer } else { Field::AppToClient };
        self.metadata.set_text(field, app.name());
        self.note(direction, "APPLAYER_MISMATCH_PROTOCOL_BOTH_DIRECTIONS");
    }

    /// HTTP, which came where TLS was to begin, asks for a change: Suricata does not follow it.
    fn note_second_change(&mut self) {
        let original = self.metadata.text(Field::OriginalApp).and_then(App::from_name);
        let is_unexpected =
            *self.app == App::Http && original.is_some_and(|original| STARTS_TLS.contains(&original));
        if is_unexpected && self.wanted.is_some_and(|wanted| wanted.anomalies) {
            let sides = self.sides.get_or_insert_default();
            for direction in [Direction::Forward, Direction::Reverse] {
                sides.anomaly(*self.app, direction, 0, "FAILED_PROTOCOL_CHANGE");
            }
        }
    }

    /// Tells signatures of an event of recognition.
    fn note(&mut self, direction: Direction, event: &'static str) {
        if self.wanted.is_some_and(|wanted| wanted.anomalies) {
            let direction = self.of_dissector(direction);
            let sides = self.sides.get_or_insert_default();
            sides.anomaly(*self.app, direction, NO_TRANSACTION, event);
        }
    }

    /// A direction as the dissector has it.
    fn of_dissector(&self, direction: Direction) -> Direction {
        if *self.is_turned { direction.flip() } else { direction }
    }

    fn tell_gap(&mut self, direction: Direction, missing: u64) -> Take {
        self.with_parser(direction, |parser, context| parser.gap(missing, context))
    }

    pub(super) fn close(&mut self) {
        self.with_parser(self.direction, |parser, context| {
            parser.close(context);
            Progress::Done
        });
    }

    fn with_parser(
        &mut self,
        direction: Direction,
        call: impl FnOnce(&mut Parser, &mut Context<'_>) -> Progress,
    ) -> Take {
        let direction = self.of_dissector(direction);
        let [first, other] = self.ends;
        let ends = if *self.is_turned { [other, first] } else { [first, other] };
        let Stage::Reading(parser) = self.stage else { return Take::Stop };
        let told = self.events.as_ref().map_or(0, |events| events.len());
        let known = self.metadata.len();
        let mut context = Context {
            time: self.time,
            direction,
            carrier: self.carrier,
            metadata: self.metadata,
            events: self.events.as_deref_mut(),
            malformed: &mut self.counters.malformed,
            // What signatures look into goes on up to the ciphertext.
            to_handshake_end: self.cut_off.names(parser) || self.is_searched,
            app: parser.app(),
            ends,
            files: self.files,
            expectations: self.expectations,
            found_inside: None,
            wanted: self.wanted,
            eve: self.eve,
            sides: self.sides,
        };
        let progress = call(parser, &mut context);
        if let Progress::Broken(event) = progress {
            self.counters.broken += 1;
            parser.close(&mut context);
            context.anomaly(event, None);
        }
        if let Some(app) = context.found_inside
            && *self.app == parser.app()
        {
            self.metadata.set_text(Field::OriginalApp, self.app.name());
            *self.app = app;
        }
        self.counters.files += self.files.take_ended();
        if self.metadata.len() != known {
            self.services.label(self.metadata);
        }
        if let Some(events) = self.events.as_deref_mut()
            && let Some(new) = events.get_mut(told..)
        {
            self.counters.events += new.len() as u64;
            for event in &*new {
                self.metadata.note_transactions(event.transactions());
            }
            if self.is_swapped != *self.is_turned {
                new.iter_mut().for_each(|event| event.direction = event.direction.flip());
            }
        }
        match progress {
            Progress::Used(used) => Take::Used(used),
            Progress::Switch(used) => {
                self.note_second_change();
                // What was announced for it needs no search.
                let expected = self.expectations.take(&self.ends, self.carrier, self.time);
                if *self.switches_left == 0 {
                    return Take::Stop;
                }
                *self.switches_left -= 1;
                *self.stage = Stage::Probing(Box::new(Probing::new(&self.ends)));
                let parser = expected.and_then(|expected| Parser::expected(expected.app, &expected.note));
                if let Some(parser) = parser {
                    self.begin(parser);
                }
                Take::Used(used)
            }
            Progress::Done | Progress::Broken(_) => Take::Stop,
        }
    }
}
