//! HTTP/1.x (RFC 9110, RFC 9112), and what is left of HTTP/0.9.
//!
//! In: the two directions of a stream, each in order, with gaps told. Out: what was asked for and
//! answered, one event per transaction when its response is complete, and the bodies as files ([`body`]). Where
//! nobody wants a body, or no more of it, its bytes are skipped, so that one with holes needs no memory
//! and no putting together. Signatures are told heads part by part ([`told`]) where they look. What is
//! deliberately absent: HTTP/2, which is another protocol; behind CONNECT and an upgrade the search for a protocol
//! begins anew.
//!
//! Which side is the client is decided by what each says. A direction whose place in its messages is
//! lost (a gap outside a body, bytes that are no HTTP) goes on where a segment begins with a message.

pub(super) mod body;
pub(super) mod decode;
pub(super) mod event;
mod frames;
mod framing;
mod head;
mod lines;
mod multipart;
mod odd;
mod probe;
mod told;
mod transactions;
mod uri;
#[cfg(test)]
mod tests;

use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use crate::dpi::buffers::Stage;
use body::{Body, Description};
use frames::{MessageFrame, Passed};
use head::{Framing, Head, LineEnd, Part, line, response_line};
use std::collections::VecDeque;
use told::Told;
pub(super) use told::{REQUEST_VALUES, RESPONSE_VALUES, VALUES};
pub(super) use transactions::learn;
use transactions::learn_response;
use weir_common::app::App;
use weir_common::net::Direction;

/// Most bytes of a line of a head; a longer one is no HTTP.
const LINE_BYTES_MAX: usize = 32 << 10;
/// Most bytes of all lines of a head.
const HEAD_BYTES_MAX: usize = 256 << 10;
/// Most bytes of the line that gives a chunk's size.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// Most requests that wait for their responses; of more the oldest is told without one.
const REQUESTS_MAX: usize = 64;
/// Most bytes of text that waiting requests keep; at the limit the oldest is told without a response.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// A body that ends with the connection is skipped in steps of this many bytes.
const OPEN_BODY_STEP_BYTES: usize = 1 << 20;

/// State of an HTTP flow.
#[derive(Debug)]
pub(super) struct Http {
    halves: [Half; 2],
    /// Requests without a response yet, oldest first.
    waiting: VecDeque<Head>,
    waiting_bytes: usize,
    transactions: u64,
    /// Whether a request was seen.
    has_asked: bool,
    /// Who asks, as the messages say.
    client: Direction,
    /// A head to use again.
    spare: Option<Head>,
    /// What signatures are told of heads, where they look.
    told: Option<Box<Told>>,
    /// The messages being read as frames, likewise.
    frames: [MessageFrame; 2],
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    state: State,
    /// The message being read.
    head: Head,
    /// The request that the message being read answers.
    request: Option<Head>,
    /// Whether `request` was looked for.
    is_matched: bool,
    /// Number of the transaction being read.
    number: u64,
    /// Bytes of the body so far, those being skipped included, as they are on the wire.
    body_bytes: u64,
    /// Bytes of the body, or of its chunk, that are still to come.
    left: u64,
    /// Of them those that pass unread; when asked again they have passed.
    skipped: u64,
    /// The body, while somebody wants it.
    body: Option<Box<Body>>,
    /// Signatures were told that the message is over, or there is none.
    is_over: bool,
    /// Bytes came behind the request that begin no other.
    has_unexpected: bool,
    /// The server has asked the client to go on, before the response.
    has_continued: bool,
    /// What ended the line before.
    line_end: LineEnd,
}

/// Where a direction stands in its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a message.
    #[default]
    Start,
    /// In the header lines.
    Head,
    /// A body of known length.
    Body,
    /// A body that ends with the connection.
    OpenBody,
    /// Before the line with a chunk's size.
    ChunkSize,
    /// In a chunk.
    Chunk,
    /// Before the line end behind a chunk.
    ChunkEnd,
    /// In the lines after the last chunk.
    Trailer,
    /// Its place is lost.
    Lost,
}

/// What one step through the bytes came to.
enum Step {
    /// Used so many bytes; more than there are: skips.
    Used(usize),
    /// Needs more bytes.
    Wait,
    /// Behind so many bytes another protocol begins.
    Switch(usize),
}

impl Dissector for Http {
    const APP: App = App::Http;

    const STARTS: Starts = Starts::STREAM;

    fn probe(first: &First<'_>) -> Probe {
        if first.is_stream() { probe::probe(first.bytes) } else { Probe::NotForUs }
    }

    fn new() -> Http {
        Http {
            halves: Default::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            transactions: 0,
            has_asked: false,
            client: Direction::Forward,
            spare: None,
            told: None,
            frames: Default::default(),
        }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut used = 0;
        loop {
            let Some(rest) = bytes.get(used..) else { return Progress::Used(used) };
            let state = self.half(context).state;
            if rest.is_empty() && !matches!(state, State::Body | State::Chunk | State::OpenBody) {
                return Progress::Used(used);
            }
            let step = self.step(state, rest, context);
            if context.wanted.is_some() {
                self.pass_frame(state, rest, &step, context);
            }
            match step {
                Step::Used(step) => used = used.saturating_add(step),
                Step::Wait => return Progress::Used(used),
                Step::Switch(step) => return Progress::Switch(used.saturating_add(step)),
            }
        }
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        self.frames[index].end(context);
        let half = &mut self.halves[index];
        if half.skipped > 0 {
            // The end of the flow: so much of the body was not seen.
            half.body_bytes = half.body_bytes.saturating_sub(missing);
            half.skipped = 0;
            return Progress::Used(0);
        }
        match half.state {
            State::Body | State::Chunk => {
                let inside = missing.min(half.left);
                half.left -= inside;
                half.body_bytes = half.body_bytes.saturating_add(inside);
                if let (Some(body), true) = (&mut half.body, inside > 0) {
                    body.gap(inside);
                }
                if missing > inside {
                    self.lose(context);
                }
            }
            State::OpenBody => {
                half.body_bytes = half.body_bytes.saturating_add(missing);
                if let Some(body) = &mut half.body {
                    body.gap(missing);
                }
            }
            State::Lost => {}
            _ => self.lose(context),
        }
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for index in [0, 1] {
            self.frames[index].end(context);
            let half = &mut self.halves[index];
            let is_over = half.state == State::OpenBody;
            self.end_body(index, is_over, context);
            let half = &mut self.halves[index];
            if half.state != State::Start && half.head.is_response() {
                if std::mem::replace(&mut half.state, State::Lost) == State::Head {
                    self.take_request(index, context);
                    self.tell_head(index, self.halves[index].number, context);
                }
                self.respond(index, context);
                self.over(index, context);
            }
        }
        for index in [0, 1] {
            let half = &mut self.halves[index];
            if half.state == State::Head && !half.head.is_response() && half.head.has(Part::Target) {
                self.tell_head(index, self.transactions, context);
                let head = std::mem::take(&mut self.halves[index].head);
                self.ask(index, head, context);
            }
            if !matches!(self.halves[index].state, State::Start | State::Lost) {
                self.over(index, context);
            }
        }
        while self.tell_oldest(context) {}
    }

    fn describe(&self, _direction: Direction, transaction: u64, out: &mut Vec<u8>) {
        let is_it = |head: &&Head| head.number == transaction;
        let of_half = |half: &'_ Half| half.is_matched && half.number == transaction;
        let answered = self.halves.iter().find(|half| of_half(half));
        let asking = self.halves.iter().find(|half| {
            half.state == State::Head && !half.head.is_response() && self.transactions == transaction
        });
        let request = self
            .waiting
            .iter()
            .find(is_it)
            .or_else(|| answered.and_then(|half| half.request.as_ref()))
            .or_else(|| asking.map(|half| &half.head));
        let response =
            answered.filter(|half| half.head.is_response()).map(|half| (&half.head, half.body_bytes));
        if request.is_some() || response.is_some() {
            event::write(request, response, out);
        }
    }
}

impl Http {
    fn half(&mut self, context: &Context<'_>) -> &mut Half {
        &mut self.halves[context.direction.index()]
    }

    fn step(&mut self, state: State, rest: &[u8], context: &mut Context<'_>) -> Step {
        match state {
            State::Start => self.start(rest, context),
            State::Head => self.header_line(rest, context),
            State::Body | State::Chunk | State::OpenBody => self.body_bytes(state, rest, context),
            State::ChunkSize => self.chunk_size(rest, context),
            State::ChunkEnd => self.chunk_end(rest, context),
            State::Trailer => self.trailer_line(rest, context),
            State::Lost => {
                if probe::is_message_start(rest) {
                    self.half(context).state = State::Start;
                    return Step::Used(0);
                }
                Step::Used(rest.len())
            }
        }
    }

    /// Tells signatures of the message's frame what a step has read.
    fn pass_frame(&mut self, before: State, rest: &[u8], step: &Step, context: &mut Context<'_>) {
        let used = match step {
            Step::Used(used) | Step::Switch(used) => *used,
            Step::Wait => return,
        };
        let index = context.direction.index();
        let half = &self.halves[index];
        let is_response = half.head.is_response();
        let answered = self.waiting.front().filter(|_| is_response);
        let passed = Passed {
            states: [before, half.state],
            bytes: rest.get(..used).unwrap_or(rest),
            is_response,
            transaction: answered.map_or(self.transactions, |head| head.number),
        };
        self.frames[index].pass(&passed, context);
    }

    /// The first line of a message.
    fn start(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        // RFC 9112 section 2.2: empty lines before a request are ignored; clients ignore more.
        let index = context.direction.index();
        let is_answer = self.has_asked && context.direction != self.client;
        let is_empty = |byte: &u8| match byte {
            b'\r' | b'\n' => true,
            b' ' | b'\t' | 0 => is_answer,
            _ => false,
        };
        let empty = rest.iter().take_while(|byte| is_empty(byte)).count();
        if empty > 0 {
            return Step::Used(empty);
        }
        if self.is_raw_response(index, rest) {
            self.take_request(index, context);
            let half = &mut self.halves[index];
            half.head.begin_raw_response();
            half.body_bytes = 0;
            half.is_over = false;
            if let Some(told) = &mut self.told {
                told.forget(index);
            }
            return self.begin_body(index, State::OpenBody, 0, 0, context);
        }
        if !probe::may_be_message_start(rest) {
            return self.no_message(rest, context);
        }
        let line = if head::is_status_line(rest) { response_line(rest) } else { line(rest) };
        let Some((line, used)) = line else { return self.wait_for_line(rest, context) };
        let mut head = std::mem::take(&mut self.half(context).head);
        let is_message = head.begin(line);
        if context.eve.http_headers.has(head.is_response()) && context.events.is_some() {
            head.keep_lines();
        }
        let half = self.half(context);
        half.head = head;
        half.body_bytes = 0;
        if !is_message {
            return self.no_message(rest, context);
        }
        half.state = State::Head;
        half.is_over = false;
        half.has_unexpected = false;
        half.line_end = LineEnd::Other;
        let index = context.direction.index();
        match &mut self.told {
            _ if context.wanted.is_some() => {
                let line = rest.get(..used).unwrap_or_default();
                self.told.get_or_insert_default().begin(index, line);
            }
            Some(told) => told.forget(index),
            None => {}
        }
        let half = self.half(context);
        let has_protocol = half.head.has(Part::Protocol);
        self.client = if half.head.is_response() { context.direction.flip() } else { context.direction };
        if !has_protocol {
            context.anomaly("REQUEST_LINE_MISSING_PROTOCOL", Some(self.transactions));
        }
        Step::Used(used)
    }

    /// Whether the bytes answer an HTTP/0.9 request, which has no response line.
    fn is_raw_response(&self, index: usize, rest: &[u8]) -> bool {
        let is_old = |head: &Head| head.has(Part::Target) && !head.has(Part::Protocol);
        let asking = &self.halves[1 - index];
        let request = match self.waiting.front() {
            Some(head) => Some(head),
            None if asking.state == State::Head && !asking.head.is_response() => Some(&asking.head),
            None => None,
        };
        request.is_some_and(is_old) && !b"HTTP/".starts_with(rest.get(..5).unwrap_or(rest))
    }

    /// A header line, or the empty line behind them.
    fn header_line(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let half = self.half(context);
        let is_response = half.head.is_response();
        if let Some(used) = head::odd_line_end(rest, half.line_end).filter(|_| is_response) {
            return Step::Used(used);
        }
        let line = if is_response { response_line(rest) } else { line(rest) };
        let Some((line, used)) = line else { return self.wait_for_line(rest, context) };
        let (raw, after) = rest.split_at_checked(used).unwrap_or_default();
        if let Some(told) = &mut self.told {
            told.line(context.direction.index(), raw);
        }
        // A space and a line feed end the head as well, where another line follows.
        let is_blank =
            used == 2 && matches!(line, [b' ' | b'\t']) && !matches!(after, [] | [b'\r' | b'\n', ..]);
        let half = self.half(context);
        if line.is_empty() || is_blank && is_response {
            return self.end_head(used, after, context);
        }
        half.line_end = LineEnd::of(raw);
        let problem = half.head.header(line).err();
        let is_too_long = half.head.bytes_seen(used) > HEAD_BYTES_MAX;
        if let Some(event) = problem {
            context.anomaly(event, None);
        }
        if is_too_long {
            return self.malformed("REQUEST_FIELD_TOO_LONG", "RESPONSE_FIELD_TOO_LONG", rest.len(), context);
        }
        Step::Used(used)
    }

    /// The head is complete: what does it say of the body?
    fn end_head(&mut self, used: usize, after: &[u8], context: &mut Context<'_>) -> Step {
        let index = context.direction.index();
        let head = &self.halves[index].head;
        let (is_response, framing) = (head.is_response(), head.framing());
        if framing.is_bad {
            let event = match framing.has_two_lengths {
                true => head.word(
                    "DUPLICATE_CONTENT_LENGTH_FIELD_IN_REQUEST",
                    "DUPLICATE_CONTENT_LENGTH_FIELD_IN_RESPONSE",
                ),
                false => head.word(
                    "INVALID_CONTENT_LENGTH_FIELD_IN_REQUEST",
                    "INVALID_CONTENT_LENGTH_FIELD_IN_RESPONSE",
                ),
            };
            context.anomaly(event, None);
        }
        if is_response {
            return self.end_response_head(index, framing, used, after, context);
        }
        let has_body = framing.is_chunked || framing.length.is_some_and(|length| length > 0);
        let number = if head.has(Part::Target) { self.transactions } else { self.halves[index].number };
        self.tell_head(index, number, context);
        let head = &self.halves[index].head;
        let is = Description::of(head, Some(head));
        let direction = context.direction;
        let body = (has_body && head.has(Part::Target))
            .then(|| Body::begin(&is, direction, self.transactions, context))
            .flatten();
        self.halves[index].body = body;
        let spare = self.spare.take().unwrap_or_default();
        let head = std::mem::replace(&mut self.halves[index].head, spare);
        if head.has(Part::Target) {
            self.ask(index, head, context);
        }
        match framing.is_chunked {
            true => self.pass_body(index, State::ChunkSize, 0, used),
            false => self.pass_body(index, State::Body, framing.length.unwrap_or(0), used),
        }
    }

    fn end_response_head(
        &mut self,
        index: usize,
        framing: Framing,
        used: usize,
        after: &[u8],
        context: &mut Context<'_>,
    ) -> Step {
        let status = self.halves[index].head.status();
        // What has no body by its status has one nevertheless where its head says so and bytes follow.
        let is_framed = framing.is_chunked || framing.length.is_some();
        let has_unexpected = is_framed && !after.is_empty() && !head::is_status_line(after);
        if (100..200).contains(&status) && status != 101 && !(has_unexpected && status != 100) {
            learn_response(&self.halves[index].head, context.metadata);
            let half = &mut self.halves[index];
            half.state = State::Start;
            if status == 100 && std::mem::replace(&mut half.has_continued, true) {
                context.anomaly("100_CONTINUE_ALREADY_SEEN", None);
            }
            return Step::Used(used);
        }
        self.take_request(index, context);
        self.tell_head(index, self.halves[index].number, context);
        let half = &self.halves[index];
        let method = half.request.as_ref().and_then(|head| head.get(Part::Method)).unwrap_or_default();
        let is_bodiless = matches!(status, 102..=204 | 304) && !matches!(status, 200..=203);
        let has_body = method != b"HEAD" && (!is_bodiless || has_unexpected);
        let is_unexpected = is_bodiless && (has_unexpected || status == 204 && is_framed);
        if status == 101 || method == b"CONNECT" && (200..300).contains(&status) {
            self.announce_upgrade(index, status, context);
            self.respond(index, context);
            self.over(index, context);
            self.halves[index].state = State::Start;
            self.close(context);
            return Step::Switch(used);
        }
        if is_unexpected {
            context.anomaly("RESPONSE_BODY_UNEXPECTED", Some(self.halves[index].number));
        }
        match (has_body, framing.is_chunked, framing.length) {
            (true, true, _) => self.begin_body(index, State::ChunkSize, 0, used, context),
            (true, false, None) => self.begin_body(index, State::OpenBody, 0, used, context),
            (true, false, Some(length)) => self.begin_body(index, State::Body, length, used, context),
            (false, ..) => self.pass_body(index, State::Body, 0, used),
        }
    }

    /// Says what is behind an upgrade, where that is known, to the search that follows.
    fn announce_upgrade(&mut self, index: usize, status: u16, context: &mut Context<'_>) {
        let half = &self.halves[index];
        let upgrade = half.head.get(Part::Upgrade).unwrap_or_default();
        let server = context.end(self.client.flip());
        if status != 101 {
        } else if upgrade.eq_ignore_ascii_case(b"websocket") {
            context.expect(server, Carrier::Stream, App::WebSocket, b"");
        } else if upgrade.eq_ignore_ascii_case(b"h2c") {
            // The request that asked for it is the new protocol's stream 1 (RFC 7540 section 3.2).
            let get = |part| half.request.as_ref().and_then(|head| head.get(part)).unwrap_or_default();
            let parts = [Part::Method, Part::Target, Part::Host, Part::UserAgent, Part::Http2Settings];
            let note = parts.map(get).join(&b'\n');
            context.expect(server, Carrier::Stream, App::Http2, &note);
        }
    }

    fn no_message(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        // Lines before a response are passed over.
        let begin = rest.get(..CHUNK_LINE_BYTES_MAX).unwrap_or(rest);
        let found = memchr::memmem::find(begin, b"\nHTTP/1.").filter(|_| context.direction != self.client);
        if let Some(at) = found {
            context.anomaly("RESPONSE_BODY_UNEXPECTED", None);
            return Step::Used(at + 1);
        }
        self.malformed("REQUEST_LINE_INVALID", "RESPONSE_BODY_UNEXPECTED", rest.len(), context)
    }

    /// The bytes are no HTTP: this direction is lost until a segment begins with a message. Tells of it in one
    /// word where the client sent them, in the other where the server did.
    fn malformed(
        &mut self,
        request: &'static str,
        response: &'static str,
        used: usize,
        context: &mut Context<'_>,
    ) -> Step {
        context.anomaly(if context.direction == self.client { request } else { response }, None);
        self.lose(context);
        Step::Used(used)
    }

    /// Ends the message being read, as it is.
    fn lose(&mut self, context: &mut Context<'_>) {
        let half = self.half(context);
        let state = std::mem::replace(&mut half.state, State::Lost);
        if state == State::Start || state == State::Lost {
            return;
        }
        let index = context.direction.index();
        self.end_body(index, false, context);
        let half = &mut self.halves[index];
        half.skipped = 0;
        if half.head.is_response() {
            self.respond(index, context);
        } else if state == State::Head && half.head.has(Part::Target) {
            let head = std::mem::take(&mut half.head);
            self.ask(index, head, context);
        }
        self.over(index, context);
    }

    /// Tells signatures the parts of a head that is complete, where they look.
    fn tell_head(&mut self, index: usize, number: u64, context: &mut Context<'_>) {
        if context.wanted.is_none() {
            return;
        }
        let is_response = self.halves[index].head.is_response();
        let direction = if is_response { self.client.flip() } else { self.client };
        if let Some(told) = &mut self.told {
            told.tell(index, is_response, number, direction, context);
        }
        context.reached(direction, number, Stage::Head);
    }
}

impl Half {
    /// Passes over what is left of a body or chunk; returns how many bytes that is.
    fn skip_rest(&mut self) -> usize {
        let left = std::mem::take(&mut self.left);
        self.skipped = left;
        self.body_bytes = self.body_bytes.saturating_add(left);
        usize::try_from(left).unwrap_or(usize::MAX)
    }
}
