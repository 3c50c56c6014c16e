//! What one end says in a transaction, as the named parts that signatures look into.
//!
//! In: the parts, from the dissector that reads them, raw and in the order in which they are known. Out: the
//! transaction's [`Side`]s, for whoever looks into them after each packet. Knows no rule: a set of [`Wanted`]
//! parts says which are worth being copied, and without it nothing is kept at all.
//!
//! A side is told in stages: its head is complete, then its body. Most protocols have only one stage and are
//! [`Sides::end`]ed at once. At [`SIDE_BYTES_MAX`] further parts are cut off, at [`SIDES_MAX`] the oldest side is
//! taken for ended; both are counted.

mod names;
mod wanted;

pub use names::{Buffer, Number};
pub use wanted::Wanted;

use std::ops::Range;
use weir_common::app::App;
use weir_common::net::Direction;

/// Most bytes kept of one side; what is beyond is cut off.
pub const SIDE_BYTES_MAX: usize = 256 << 10;
/// Most bytes of a body that are kept, as Suricata's `request-body-limit` and `response-body-limit`.
pub const BODY_BYTES_MAX: usize = 100 << 10;
/// Most sides of one flow that are open at once; at the limit the oldest counts as ended.
pub const SIDES_MAX: usize = 32;
/// Most values of one side; further ones are left out.
pub const VALUES_MAX: usize = 4096;

/// Most frames of one flow that were told since signatures looked; further ones are left out and counted.
pub const FRAMES_MAX: usize = 1024;
/// Number of the first frame: frames are sides of their own, with numbers that no transaction has.
pub const FIRST_FRAME: u64 = 1 << 63;

/// Number of what belongs to no transaction.
pub const NO_TRANSACTION: u64 = u64::MAX;

/// How much of a side is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Parts of its head.
    #[default]
    Begun,
    /// Its head.
    Head,
    /// And the head of what its body carries: that of a mail.
    Inner,
    /// All that will be kept of it.
    Body,
}

/// A part and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    buffer: Buffer,
    range: Range<u32>,
    /// They are in [`Side::body`].
    is_of_body: bool,
}

/// What is known of a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Bytes that it has on the wire, as far as its head says; 0: as many as are told.
    pub length: u64,
    /// Transaction that it belongs to, where that is known.
    pub transaction: Option<u64>,
}

/// What one end says in a transaction, or one frame: a part of the stream's own structure, which signatures look into
/// for itself.
#[derive(Clone, Debug)]
pub struct Side {
    /// Application of the dissector.
    pub app: App,
    /// Who says it, in the dissector's view.
    pub direction: Direction,
    /// Number of the transaction in its flow.
    pub transaction: u64,
    /// How much of it is known.
    pub stage: Stage,
    /// How much was looked into by signatures, and what they found out: theirs.
    pub looked: Looked,
    /// What was cut off or left out at a limit.
    pub is_cut: bool,
    /// It is a frame.
    pub frame: Option<Frame>,
    /// Something of it was told beside what is odd: it is a side that signatures may ask about what it lacks.
    is_told: bool,
    /// It is told of after its end; see [`Sides::late`].
    is_late: bool,
    bytes: Vec<u8>,
    /// What was given as a whole, and not copied.
    body: Vec<u8>,
    values: Vec<Value>,
    numbers: Vec<(Number, u64)>,
    anomalies: Vec<&'static str>,
}

/// What signatures remember of a side.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Up to which stage it was looked into.
    pub stage: Stage,
    /// Values that were searched for patterns.
    pub values: usize,
    /// Numbers that were looked at.
    pub numbers: usize,
    /// Anomalies that were looked at.
    pub anomalies: usize,
    /// Signatures that may match when more is known.
    pub candidates: Vec<u32>,
    /// Signatures that matched.
    pub matched: Vec<u32>,
}

impl Side {
    fn new(app: App, direction: Direction, transaction: u64) -> Side {
        Side {
            app,
            direction,
            transaction,
            stage: Stage::Begun,
            looked: Looked::default(),
            is_cut: false,
            frame: None,
            is_told: false,
            is_late: false,
            bytes: Vec::new(),
            body: Vec::new(),
            values: Vec::new(),
            numbers: Vec::new(),
            anomalies: Vec::new(),
        }
    }

    /// Tells a part whose bytes nobody needs any more: the first of a side is kept as it is.
    pub fn put_whole(&mut self, buffer: Buffer, bytes: Vec<u8>) {
        if !self.body.is_empty() || self.bytes.len() + bytes.len() > SIDE_BYTES_MAX {
            return self.put(buffer, &bytes);
        }
        if self.begin(buffer)
            && let Some(last) = self.values.last_mut()
        {
            (last.range, last.is_of_body) = (0..bytes.len() as u32, true);
            self.body = bytes;
        }
    }

    /// Tells a part.
    pub fn put(&mut self, buffer: Buffer, bytes: &[u8]) {
        if !self.begin(buffer) {
            return;
        }
        self.append(bytes);
        let end = self.bytes.len() as u32;
        if let Some(last) = self.values.last_mut() {
            last.range.end = end;
        }
    }

    /// Whether signatures may be asked about it: what is merely odd, and what comes after its end, is no side of a
    /// transaction, and a rule that asks for what it lacks would find that there.
    pub fn is_askable(&self) -> bool {
        self.is_told && !self.is_late
    }

    /// More bytes of the part that was told last: it grows with what follows ([`BODY_BYTES_MAX`]). Begins it where
    /// another was told last. False: no more is wanted.
    ///
    /// A value that signatures have looked into cannot grow, for they would not look again: the bytes begin another, and
    /// the side counts as cut.
    pub fn grow(&mut self, buffer: Buffer, bytes: &[u8]) -> bool {
        let is_last = self.values.last().is_some_and(|last| last.buffer == buffer && !last.is_of_body);
        let is_looked_into = is_last && self.values.len() <= self.looked.values;
        self.is_cut |= is_looked_into;
        if (!is_last || is_looked_into) && !self.begin(buffer) {
            return false;
        }
        let have = self.values.last().map_or(0, |last| last.range.len());
        let room = BODY_BYTES_MAX.saturating_sub(have);
        self.append(bytes.get(..room).unwrap_or(bytes));
        let end = self.bytes.len() as u32;
        if let Some(last) = self.values.last_mut() {
            last.range.end = end;
        }
        bytes.len() < room
    }

    /// Begins a value; false: it is one too many.
    fn begin(&mut self, buffer: Buffer) -> bool {
        let has_room = self.values.len() < VALUES_MAX;
        self.is_cut |= !has_room;
        if has_room {
            let end = self.bytes.len() as u32;
            self.values.push(Value { buffer, range: end..end, is_of_body: false });
        }
        has_room
    }

    /// The part that was told last is this one as well.
    pub fn share(&mut self, buffer: Buffer) {
        let Some(same) = self.values.last().cloned() else { return };
        if self.begin(buffer)
            && let Some(last) = self.values.last_mut()
        {
            *last = Value { buffer, ..same };
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = SIDE_BYTES_MAX.saturating_sub(self.bytes.len() + self.body.len());
        self.is_cut |= bytes.len() > room;
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Tells a number.
    pub fn put_number(&mut self, number: Number, value: u64) {
        if self.numbers.len() < VALUES_MAX {
            self.numbers.push((number, value));
        }
    }

    /// The values of all parts, in the order in which they were told.
    pub fn values(&self) -> impl Iterator<Item = (Buffer, &[u8])> {
        self.values.iter().map(|value| (value.buffer, self.slice(value)))
    }

    /// The values of a part.
    pub fn values_of(&self, buffer: Buffer) -> impl Iterator<Item = &[u8]> {
        self.values.iter().filter(move |value| value.buffer == buffer).map(|value| self.slice(value))
    }

    /// The values of a number.
    pub fn numbers_of(&self, number: Number) -> impl Iterator<Item = u64> {
        self.numbers.iter().filter(move |(have, _)| *have == number).map(|(_, value)| *value)
    }

    /// The values of all numbers.
    pub fn numbers(&self) -> impl Iterator<Item = (Number, u64)> {
        self.numbers.iter().copied()
    }

    /// What was odd, in the dissector's words.
    pub fn anomalies(&self) -> &[&'static str] {
        &self.anomalies
    }

    fn slice(&self, value: &Value) -> &[u8] {
        let bytes = if value.is_of_body { &self.body } else { &self.bytes };
        bytes.get(value.range.start as usize..value.range.end as usize).unwrap_or_default()
    }
}

/// The sides of one flow that are open or were not looked into yet.
#[derive(Clone, Debug, Default)]
pub struct Sides {
    list: Vec<Side>,
    /// Something was told since signatures looked.
    pub is_fresh: bool,
    /// Frames so far.
    frames: u64,
    /// Frames that were left out at [`FRAMES_MAX`].
    pub frames_left_out: u64,
    /// How often a side was told of after its end, and nobody looked.
    pub late: u64,
    /// The sides that were forgotten last, the newest in the place before `closed_at`.
    closed: Vec<Closed>,
    closed_at: usize,
}

/// A side that was looked into to its end.
#[derive(Clone, Copy, Debug)]
struct Closed {
    app: App,
    direction: Direction,
    transaction: u64,
}

impl Sides {
    /// What an end says in a transaction, begun if need be.
    pub fn of(&mut self, app: App, direction: Direction, transaction: u64) -> &mut Side {
        let side = self.at(app, direction, transaction);
        side.is_told = true;
        side
    }

    fn at(&mut self, app: App, direction: Direction, transaction: u64) -> &mut Side {
        self.is_fresh = true;
        let is_it =
            |side: &Side| side.direction == direction && side.transaction == transaction && side.app == app;
        let at = match self.list.iter().rposition(is_it) {
            Some(at) => at,
            None => {
                if self.list.len() >= SIDES_MAX
                    && let Some(oldest) = self.list.iter_mut().find(|side| side.stage < Stage::Body)
                {
                    oldest.stage = Stage::Body;
                    oldest.is_cut = true;
                }
                let mut side = Side::new(app, direction, transaction);
                if self.is_closed(app, direction, transaction) {
                    self.late += 1;
                    (side.is_late, side.stage) = (true, Stage::Body);
                }
                self.list.push(side);
                self.list.len() - 1
            }
        };
        &mut self.list[at]
    }

    /// A frame begins, whose bytes are told by [`Sides::frame_bytes`] and end with [`Sides::end_frame`]. Returns its number;
    /// none: it is one too many.
    pub fn begin_frame(
        &mut self,
        app: App,
        direction: Direction,
        buffer: Buffer,
        frame: Frame,
    ) -> Option<u64> {
        if self.list.iter().filter(|side| side.frame.is_some()).count() >= FRAMES_MAX {
            self.frames_left_out += 1;
            return None;
        }
        let number = FIRST_FRAME | self.frames;
        self.frames += 1;
        let side = self.of(app, direction, number);
        side.frame = Some(frame);
        side.put(buffer, &[]);
        Some(number)
    }

    /// More bytes of a frame, which keeps no more of them than a body does ([`BODY_BYTES_MAX`]).
    pub fn frame_bytes(&mut self, number: u64, bytes: &[u8]) {
        if let Some(side) = self.list.iter_mut().rev().find(|side| side.transaction == number)
            && let Some(buffer) = side.values.first().map(|value| value.buffer)
        {
            let goes_on = side.grow(buffer, bytes);
            side.is_cut |= !goes_on;
        }
    }

    /// A frame is over.
    pub fn end_frame(&mut self, number: u64) {
        if let Some(side) = self.list.iter_mut().rev().find(|side| side.transaction == number) {
            let seen = side.values.first().map_or(0, |value| value.range.len() as u64);
            side.is_cut |= side.frame.is_some_and(|frame| frame.length > seen);
            side.stage = Stage::Body;
            self.is_fresh = true;
        }
    }

    /// Tells that something is odd, which need not be a transaction's.
    pub fn anomaly(&mut self, app: App, direction: Direction, transaction: u64, event: &'static str) {
        let side = self.at(app, direction, transaction);
        if side.anomalies.len() < VALUES_MAX {
            side.anomalies.push(event);
        }
    }

    /// The sides, oldest first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Side> {
        self.list.iter_mut()
    }

    /// Forgets what was looked into to its end.
    pub fn tidy(&mut self) {
        self.is_fresh = false;
        let Sides { list, closed, closed_at, .. } = self;
        list.retain(|side| {
            let is_open = side.looked.stage < Stage::Body;
            // What belongs to no transaction may come again, and frames never do.
            if !is_open && side.is_askable() && side.transaction < FIRST_FRAME {
                let &Side { app, direction, transaction, .. } = side;
                let side = Closed { app, direction, transaction };
                match closed.get_mut(*closed_at) {
                    Some(oldest) => *oldest = side,
                    None => closed.push(side),
                }
                *closed_at = (*closed_at + 1) % SIDES_MAX;
            }
            is_open
        });
    }

    pub(super) fn is_closed(&self, app: App, direction: Direction, transaction: u64) -> bool {
        let is_it = |closed: &&Closed| {
            closed.transaction == transaction && closed.direction == direction && closed.app == app
        };
        self.closed.iter().any(|closed| is_it(&closed))
    }

    /// The flow has ended: nothing more will come of any side.
    pub fn end_all(&mut self) {
        for side in &mut self.list {
            side.stage = Stage::Body;
            self.is_fresh = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_tests_ask_for_is_no_keyword() {
        assert_eq!((Buffer::of("(dcerpc.iface)"), Number::of("(dcerpc.opnum)")), (None, None));
        assert_eq!(Buffer::of("smb_share"), Some(Buffer::SmbShare));
        assert_eq!(Buffer::DcerpcIface.keyword(), "(dcerpc.iface)");
    }

    const HERE: (App, Direction, u64) = (App::Http, Direction::Forward, 3);

    fn side(sides: &mut Sides) -> &mut Side {
        sides.of(HERE.0, HERE.1, HERE.2)
    }

    /// Signatures look into everything.
    fn look(sides: &mut Sides) {
        for side in sides.iter_mut() {
            (side.looked.stage, side.looked.values) = (side.stage, side.values().count());
        }
        sides.tidy();
    }

    #[test]
    fn what_is_odd_alone_is_no_side_that_lacks_what_a_rule_looks_for() {
        let mut sides = Sides::default();
        sides.anomaly(HERE.0, HERE.1, HERE.2, "odd");
        assert!(sides.iter_mut().all(|side| !side.is_askable()));
        side(&mut sides).stage = Stage::Head;
        assert!(side(&mut sides).is_askable());
        assert_eq!(side(&mut sides).anomalies(), ["odd"]);
    }

    #[test]
    fn a_side_that_was_looked_into_to_its_end_does_not_begin_again() {
        let mut sides = Sides::default();
        side(&mut sides).stage = Stage::Body;
        look(&mut sides);
        sides.anomaly(HERE.0, HERE.1, HERE.2, "odd");
        side(&mut sides).put(Buffer::HttpUri, b"/");
        assert!(!side(&mut sides).is_askable());
        assert_eq!(side(&mut sides).anomalies(), ["odd"]);
        assert_eq!(sides.late, 1);
        look(&mut sides);
        assert_eq!(sides.iter_mut().count(), 0);
        // What belongs to no transaction comes again.
        for _ in 0..2 {
            let side = sides.of(HERE.0, HERE.1, NO_TRANSACTION);
            side.stage = Stage::Body;
            assert!(side.is_askable());
            look(&mut sides);
        }
        // As many are remembered as may be open at once.
        for transaction in 100..100 + SIDES_MAX as u64 {
            sides.of(HERE.0, HERE.1, transaction).stage = Stage::Body;
            look(&mut sides);
        }
        assert!(side(&mut sides).is_askable());
    }

    #[test]
    fn a_value_that_was_looked_into_does_not_grow() {
        let mut sides = Sides::default();
        let told = side(&mut sides);
        told.put(Buffer::HttpUri, b"/a");
        told.grow(Buffer::HttpUri, b"b");
        assert_eq!(told.values().collect::<Vec<_>>(), [(Buffer::HttpUri, &b"/ab"[..])]);
        told.stage = Stage::Head;
        look(&mut sides);
        let told = side(&mut sides);
        told.grow(Buffer::HttpUri, b"c");
        told.grow(Buffer::HttpUri, b"d");
        let values = [(Buffer::HttpUri, &b"/ab"[..]), (Buffer::HttpUri, b"cd")];
        assert_eq!(told.values().collect::<Vec<_>>(), values);
        assert!(told.is_cut);
    }

    #[test]
    fn what_is_one_value_too_many_goes_into_no_other() {
        let mut sides = Sides::default();
        let side = side(&mut sides);
        (0..VALUES_MAX).for_each(|_| side.put(Buffer::HttpUri, b"/"));
        assert!(!side.is_cut && !side.grow(Buffer::HttpHost, b"host"));
        side.share(Buffer::HttpHost);
        assert_eq!(
            (side.values().count(), side.values().last()),
            (VALUES_MAX, Some((Buffer::HttpUri, &b"/"[..])))
        );
        assert!(side.is_cut);
    }
}
