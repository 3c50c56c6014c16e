//! What a spooled destination sends next, and what has arrived of it.
//!
//! In: finished messages, which go into the [`Spool`] at once; what the peer acknowledges. Out: one message at a time.
//!
//! **Order.** What was made just now goes first, from memory; what waits in the spool goes with the rest of what the
//! connection takes, at most [`BACKLOG_TURN_BYTES`] per turn of the export thread and only while fewer than
//! [`UNSENT_BYTES_MAX`] octets wait in the kernel. So a live record waits behind at most that much, however much is
//! sent again after an outage: in order, it would wait behind all of it, a gigabyte being minutes on most lines. The
//! price is that numbers arrive as two growing ranges instead of one, which is why a collector keeps ranges and not one
//! watermark. Live messages are held in memory up to [`LIVE_BYTES_MAX`]; what does not go out in time leaves memory,
//! not the spool, and joins what waits.
//!
//! **When a message is done.** Where the peer acknowledges (Weir's collector, over the control connection), when it
//! says so. Where it never does, when its host's TCP has acknowledged the message's last octet: a collector that ends
//! before it read them loses them, which is as much as IPFIX over TCP offers, and whatever TCP has not acknowledged when
//! a connection ends is sent again. Records arrive exactly once in the first case, at least once in the second.
//!
//! **Forms.** Messages that another version of the sensor wrote, or one with another observation domain or enterprise
//! number, have templates of their own. They are sent first, in a session of their own, with the templates from the
//! spool; live messages wait in the spool meanwhile.
//!
//! Deliberately absent: sockets and templates' announcement ([`super::destination`]).

use super::ipfix::{Form, Message, Tally, Templates};
use super::spool::{Cursor, Loss, Spool, Spot, Step, Unacceptable, sets_of};
use std::collections::VecDeque;
use std::time::Instant;
use weir_common::delivery::Position;
use weir_common::ipfix::options::Place;
use weir_common::time::Timestamp;

/// Most octets of messages that are held in memory besides the spool.
const LIVE_BYTES_MAX: usize = 4 << 20;
/// Most octets of the backlog that are sent in one turn of the export thread.
const BACKLOG_TURN_BYTES: usize = 1 << 20;
/// The backlog waits while this many octets have not left the kernel.
const UNSENT_BYTES_MAX: u64 = 256 << 10;
/// Most stretches that were sent ahead of the backlog; past it, everything is sent in order until they are passed.
const AHEAD_MAX: usize = 1024;

/// When a record leaves the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The collector says so, once it ever has; until then TCP does.
    Learned,
    /// Only the collector says so.
    Acknowledged,
    /// TCP says so.
    Tcp,
}

/// A message that is held in memory, with its place in the spool.
struct Live {
    message: Message,
    before: Spot,
    to: Spot,
    place: Place,
}

/// A stretch of the spool that was sent in this session before what stands before it.
struct Ahead {
    from: Spot,
    to: Spot,
    /// The number behind it.
    next: Position,
}

/// Where the message under way came from.
enum Origin {
    Live { before: Spot, to: Spot },
    Backlog,
    Memory,
    Templates,
}

struct Current {
    message: Message,
    origin: Origin,
    place: Option<Place>,
}

pub(super) struct Outgoing {
    spool: Spool,
    arrival: Arrival,
    form: u32,
    /// The form of this session's messages.
    session_form: u32,
    /// Nothing of the session's form is left, and something of another is.
    form_is_over: bool,
    live: VecDeque<Live>,
    live_bytes: usize,
    /// Messages that could not be written; they have no numbers.
    memory: VecDeque<Message>,
    memory_bytes: usize,
    memory_bytes_max: usize,
    current: Option<Current>,
    cursor: Cursor,
    ahead: VecDeque<Ahead>,
    in_order: bool,
    /// Messages that TCP has not acknowledged: the connection's octets up to their end, and their place.
    in_flight: VecDeque<(u64, Place)>,
    turn_bytes: usize,
    has_backlog: bool,
    body: Vec<u8>,
}

impl Outgoing {
    pub(super) fn new(spool: Spool, arrival: Arrival, form: u32, memory_bytes_max: usize) -> Outgoing {
        Outgoing {
            spool,
            arrival,
            form,
            session_form: form,
            form_is_over: false,
            live: VecDeque::new(),
            live_bytes: 0,
            memory: VecDeque::new(),
            memory_bytes: 0,
            memory_bytes_max,
            current: None,
            cursor: Cursor::default(),
            ahead: VecDeque::new(),
            in_order: false,
            in_flight: VecDeque::new(),
            turn_bytes: 0,
            has_backlog: true,
            body: Vec::new(),
        }
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Whether the collector says what has arrived, and TCP does not count.
    pub(super) fn waits_for_acknowledgement(&self) -> bool {
        match self.arrival {
            Arrival::Learned => self.spool.acknowledges(),
            Arrival::Acknowledged => true,
            Arrival::Tcp => false,
        }
    }

    /// Takes a finished message. Gives what was dropped from memory because the spool cannot be written.
    pub(super) fn take(
        &mut self,
        mut message: Message,
        form: &Form,
        at: Instant,
        now: Timestamp,
    ) -> Option<Message> {
        let numbered = Tally { records: message.tally.records.saturating_sub(1), ..message.tally };
        let templates = |ids: &[u16]| form.templates_of(ids);
        match self.spool.append(&mut message.bytes, &numbered, templates, at, now) {
            Some(appended) => {
                self.live_bytes += message.bytes.len();
                let (before, to, place) = (appended.before, appended.to, appended.place);
                self.live.push_back(Live { message, before, to, place });
                while self.live_bytes > LIVE_BYTES_MAX
                    && let Some(live) = self.live.pop_front()
                {
                    self.live_bytes -= live.message.bytes.len();
                    self.has_backlog = true;
                }
                None
            }
            None => {
                self.memory_bytes += message.bytes.len();
                self.memory.push_back(message);
                if self.memory_bytes <= self.memory_bytes_max {
                    return None;
                }
                let dropped = self.memory.pop_front()?;
                self.memory_bytes -= dropped.bytes.len();
                Some(dropped)
            }
        }
    }

    /// A session begins: everything that has not arrived is to be sent in it.
    pub(super) fn session_begins(&mut self) {
        self.session_ends();
        self.cursor = Cursor::default();
        self.ahead.clear();
        self.in_order = false;
        self.has_backlog = true;
        self.form_is_over = false;
        self.session_form = self.spool.oldest_form().unwrap_or(self.form);
    }

    /// A session is over: what it had not delivered is not on its way any more.
    pub(super) fn session_ends(&mut self) {
        self.in_flight.clear();
        if let Some(Current { message, origin: Origin::Memory, .. }) = self.current.take() {
            self.memory_bytes += message.bytes.len();
            self.memory.push_front(message);
        }
        // Everything else is in the spool.
    }

    /// A turn of the export thread begins; `unsent` octets have not left the kernel.
    pub(super) fn turn_begins(&mut self, unsent: u64) {
        self.turn_bytes = if unsent < UNSENT_BYTES_MAX { BACKLOG_TURN_BYTES } else { 0 };
    }

    /// The message that is to be sent next, or the one that is being sent.
    pub(super) fn front(&mut self, templates: &mut Templates) -> Option<&mut Message> {
        if self.current.is_none() {
            self.current = self.choose(templates);
        }
        self.current.as_mut().map(|current| &mut current.message)
    }

    fn choose(&mut self, templates: &mut Templates) -> Option<Current> {
        if self.session_form == self.form {
            if !self.in_order
                && let Some(Live { message, before, to, place }) = self.live.pop_front()
            {
                self.live_bytes -= message.bytes.len();
                return Some(Current { message, origin: Origin::Live { before, to }, place: Some(place) });
            }
            if let Some(message) = self.memory.pop_front() {
                self.memory_bytes -= message.bytes.len();
                return Some(Current { message, origin: Origin::Memory, place: None });
            }
        }
        if self.turn_bytes == 0 || !self.has_backlog {
            return None;
        }
        let current = self.read(templates);
        let length = current.as_ref().map_or(0, |current| current.message.bytes.len());
        self.turn_bytes = self.turn_bytes.saturating_sub(length);
        current
    }

    /// The next message of the spool that was not sent in this session.
    fn read(&mut self, templates: &mut Templates) -> Option<Current> {
        loop {
            while let Some(ahead) = self.ahead.front() {
                if self.cursor.spot() < ahead.from {
                    break;
                }
                if self.cursor.spot() < ahead.to {
                    self.cursor.jump(ahead.to, ahead.next);
                }
                self.ahead.pop_front();
            }
            self.in_order &= !self.ahead.is_empty();
            let from_memory = if self.in_order { None } else { self.live.front().map(|live| live.before) };
            let until = [from_memory, self.ahead.front().map(|ahead| ahead.from)].into_iter().flatten().min();
            let until = until.unwrap_or_else(|| self.spool.end_spot());
            let mark = self.cursor.mark();
            let step = self.spool.read(&mut self.cursor, until, &mut self.body);
            let (form, place, tally) = match step {
                Step::Records { place, tally, form } => (form, Some(place), tally),
                Step::Templates { form } => (form, None, Tally::default()),
                // What was sent ahead begins here: it is stepped over.
                Step::End if self.ahead.front().is_some_and(|ahead| self.cursor.spot() >= ahead.from) => {
                    continue;
                }
                Step::End => {
                    self.has_backlog = false;
                    return None;
                }
            };
            if form.unwrap_or(self.form) != self.session_form {
                self.cursor.reset(mark);
                self.form_is_over = true;
                return None;
            }
            let Some(place) = place else {
                if self.session_form == self.form {
                    continue;
                }
                let message = Message { bytes: self.body.clone(), tally, templates: 0 };
                return Some(Current { message, origin: Origin::Templates, place: None });
            };
            if self.in_order {
                self.forget_live(self.cursor.spot());
            }
            if self.session_form == self.form {
                templates.note_sets(sets_of(&self.body));
            }
            let needed = if self.session_form == self.form { templates.len() } else { 0 };
            let tally = Tally { records: tally.records.saturating_add(1), ..tally };
            let message = Message { bytes: self.body.clone(), tally, templates: needed };
            return Some(Current { message, origin: Origin::Backlog, place: Some(place) });
        }
    }

    /// What the backlog has passed need not be held in memory.
    fn forget_live(&mut self, until: Spot) {
        while self.live.front().is_some_and(|live| live.to <= until)
            && let Some(live) = self.live.pop_front()
        {
            self.live_bytes -= live.message.bytes.len();
        }
    }

    /// The message under way is out, as the connection's octets up to `written`. Gives it back.
    pub(super) fn sent(&mut self, written: u64) -> Option<Message> {
        let Current { message, origin, place } = self.current.take()?;
        let Some(place) = place else { return Some(message) };
        self.spool.set_sent(&place);
        if let Origin::Live { before, to } = origin {
            let next = Position { sequence: place.range().end, ..place.first };
            if self.cursor.spot() == before {
                self.cursor.jump(to, next);
            } else {
                match self.ahead.back_mut() {
                    Some(last) if last.to == before => (last.to, last.next) = (to, next),
                    _ => self.ahead.push_back(Ahead { from: before, to, next }),
                }
                self.in_order |= self.ahead.len() >= AHEAD_MAX;
            }
        }
        if !self.waits_for_acknowledgement() {
            self.in_flight.push_back((written, place));
        }
        Some(message)
    }

    /// TCP has acknowledged so many octets of the connection.
    pub(super) fn tcp_acknowledged(&mut self, octets: u64) {
        if self.waits_for_acknowledgement() {
            self.in_flight.clear();
            return;
        }
        while self.in_flight.front().is_some_and(|(end, _)| *end <= octets)
            && let Some((_, place)) = self.in_flight.pop_front()
        {
            self.spool.set_done(&place);
        }
    }

    /// The collector has acknowledged.
    pub(super) fn acknowledged(&mut self, position: Position) -> Result<u64, Unacceptable> {
        self.spool.acknowledge(position)
    }

    /// Losses since this was asked last.
    pub(super) fn take_losses(&mut self) -> Vec<Loss> {
        self.spool.take_losses()
    }

    /// Whether the session has nothing more to do and another one must go on.
    pub(super) fn wants_new_session(&self) -> bool {
        self.form_is_over && self.in_flight.is_empty() && self.current.is_none()
    }

    /// Whether something waits that could be sent now.
    pub(super) fn is_waiting(&self) -> bool {
        self.current.is_some() || !self.live.is_empty() || !self.memory.is_empty() || self.has_backlog
    }

    /// Whether everything that was made just now is out and, where TCP says what has arrived, has arrived.
    pub(super) fn is_drained(&self) -> bool {
        let is_out = self.current.is_none() && self.live.is_empty() && self.memory.is_empty();
        is_out && self.in_flight.is_empty()
    }

    /// Octets of messages that are in memory alone.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn tick(&mut self, at: Instant) {
        self.spool.tick(at);
    }

    /// The end: the spool is left as the next start finds it. Gives the messages that are in memory alone.
    pub(super) fn close(mut self) -> (VecDeque<Message>, std::io::Result<()>) {
        self.session_ends();
        (self.memory, self.spool.close())
    }
}
