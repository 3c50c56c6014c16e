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
mod head;
mod multipart;
mod probe;
mod told;
mod uri;
#[cfg(test)]
mod tests;

use super::{Carrier, Context, Dissector, Event, First, Probe, Progress, Starts, dns};
use crate::dpi::buffers::Stage;
use body::{Body, Description};
use frames::{MessageFrame, Passed};
use head::{Framing, Head, LineEnd, Part, line, response_line};
use std::collections::VecDeque;
use told::Told;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::{Field, Metadata};
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
            self.halves[index].state = State::Start;
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

    /// A response's body begins behind a head of `used` bytes.
    fn begin_body(
        &mut self,
        index: usize,
        state: State,
        length: u64,
        used: usize,
        context: &mut Context<'_>,
    ) -> Step {
        let half = &self.halves[index];
        let is = Description::of(&half.head, half.request.as_ref());
        let direction = context.direction;
        let is_empty = state == State::Body && length == 0;
        let body = (!is_empty).then(|| Body::begin(&is, direction, half.number, context)).flatten();
        self.halves[index].body = body;
        self.pass_body(index, state, length, used)
    }

    /// Goes on behind a head; a body of known length that nobody wants passes unread.
    fn pass_body(&mut self, index: usize, state: State, length: u64, used: usize) -> Step {
        let half = &mut self.halves[index];
        half.state = state;
        half.left = length;
        let is_unread = half.body.is_none() && !self.frames[index].is_open();
        let skip = if is_unread { half.skip_rest() } else { 0 };
        Step::Used(used.saturating_add(skip))
    }

    /// Bytes of a body or chunk.
    fn body_bytes(&mut self, state: State, rest: &[u8], context: &mut Context<'_>) -> Step {
        let index = context.direction.index();
        let half = &mut self.halves[index];
        half.skipped = 0;
        let is_framed = self.frames[index].is_open();
        if state == State::OpenBody {
            let wants_more = half.body.as_ref().map(|body| body.wants_more());
            if wants_more.is_none() && !is_framed {
                half.skipped = OPEN_BODY_STEP_BYTES as u64;
                half.body_bytes = half.body_bytes.saturating_add(OPEN_BODY_STEP_BYTES as u64);
                return Step::Used(OPEN_BODY_STEP_BYTES);
            }
            if rest.is_empty() {
                return Step::Wait;
            }
            if wants_more == Some(false) {
                self.end_body(index, false, context);
                return Step::Used(0);
            }
            half.body_bytes = half.body_bytes.saturating_add(rest.len() as u64);
            self.feed(index, rest, context);
            return Step::Used(rest.len());
        }
        if half.left == 0 {
            if state == State::Body {
                if let Some(length) = self.unexpected_body(index, rest, context) {
                    return Step::Used(length);
                }
                self.end_message(context);
                return Step::Used(0);
            }
            half.state = State::ChunkEnd;
            return if rest.is_empty() { Step::Wait } else { Step::Used(0) };
        }
        if rest.is_empty() {
            return Step::Wait;
        }
        let bytes = rest.get(..usize::try_from(half.left).unwrap_or(usize::MAX)).unwrap_or(rest);
        half.left -= bytes.len() as u64;
        half.body_bytes = half.body_bytes.saturating_add(bytes.len() as u64);
        self.feed(index, bytes, context);
        let half = &mut self.halves[index];
        let wants_more = is_framed || half.body.as_ref().is_some_and(|body| body.wants_more());
        let skip = if wants_more { 0 } else { half.skip_rest() };
        Step::Used(bytes.len().saturating_add(skip))
    }

    /// What was sent together with a request, behind its end, is its body after all, line by line until another request
    /// begins. Returns how much of it that is.
    fn unexpected_body(&mut self, index: usize, rest: &[u8], context: &mut Context<'_>) -> Option<usize> {
        let half = &mut self.halves[index];
        if half.head.is_response() {
            return None;
        }
        let length = probe::unexpected_body(rest)?;
        let bytes = rest.get(..length)?;
        let number = half.number;
        if !std::mem::replace(&mut half.has_unexpected, true) {
            context.anomaly("REQUEST_BODY_UNEXPECTED", Some(number));
        }
        let half = &mut self.halves[index];
        half.body_bytes = half.body_bytes.saturating_add(length as u64);
        if half.body.is_none()
            && let Some(request) = self.waiting.iter().find(|request| request.number == number)
        {
            let is = Description::of(request, Some(request));
            half.body = Body::begin(&is, context.direction, number, context);
        }
        self.feed(index, bytes, context);
        Some(length)
    }

    /// Hands bytes to the body.
    fn feed(&mut self, index: usize, bytes: &[u8], context: &mut Context<'_>) {
        let Some(mut body) = self.halves[index].body.take() else { return };
        let carrier = if body.is_form() { self.carrier(index, context) } else { Vec::new() };
        body.bytes(bytes, &carrier, context);
        if context.wanted.is_some() && body.tell_early(context) {
            self.over(index, context);
        }
        self.halves[index].body = Some(body);
    }

    /// The body has ended.
    fn end_body(&mut self, index: usize, is_whole: bool, context: &mut Context<'_>) {
        if let Some(body) = self.halves[index].body.take() {
            let carrier = self.carrier(index, context);
            body.end(is_whole, &carrier, context);
        }
    }

    /// What carries a file, as a member of its event.
    fn carrier(&self, index: usize, context: &Context<'_>) -> Vec<u8> {
        let mut text = Vec::new();
        if context.events.is_none() {
            return text;
        }
        text.extend_from_slice(b"\"http\":");
        let half = &self.halves[index];
        if half.head.is_response() {
            event::write(half.request.as_ref(), Some((&half.head, half.body_bytes)), &mut text);
        } else {
            let answered = self.halves[1 - index].request.as_ref();
            let mut requests = self.waiting.iter().chain(answered);
            match requests.find(|head| head.number == half.number) {
                Some(request) => event::write(Some(request), None, &mut text),
                None => drop(Object::begin(&mut text)),
            }
        }
        text
    }

    fn chunk_size(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        // What begins with no digit is no size, however long its line.
        let first = rest.iter().find(|byte| !byte.is_ascii_whitespace() && **byte != 0x0b);
        let is_size = first.is_none_or(u8::is_ascii_hexdigit);
        let Some((line, used)) = line(rest) else {
            return if rest.len() > CHUNK_LINE_BYTES_MAX || !is_size {
                self.bad_chunk(rest, context)
            } else {
                Step::Wait
            };
        };
        let half = self.half(context);
        if line.is_empty() {
            half.body_bytes = half.body_bytes.saturating_add(used as u64);
            return Step::Used(used);
        }
        let Some(size) = head::chunk_size(line) else { return self.bad_chunk(rest, context) };
        if context.wanted.is_some() && line.contains(&b';') {
            let half = self.half(context);
            let event = half.head.word("REQUEST_CHUNK_EXTENSION", "RESPONSE_CHUNK_EXTENSION");
            let (direction, number) = (context.direction, half.number);
            context.odd(direction, number, event);
        }
        let half = self.half(context);
        half.body_bytes = half.body_bytes.saturating_add(used as u64);
        if size == 0 {
            half.state = State::Trailer;
            return Step::Used(used);
        }
        self.pass_body(context.direction.index(), State::Chunk, size, used)
    }

    fn chunk_end(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let used = match rest {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [b'\r'] => return Step::Wait,
            _ => return self.bad_chunk(rest, context),
        };
        let half = self.half(context);
        half.body_bytes = half.body_bytes.saturating_add(used as u64);
        half.state = State::ChunkSize;
        Step::Used(used)
    }

    fn trailer_line(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let Some((line, used)) = line(rest) else { return self.wait_for_line(rest, context) };
        let index = context.direction.index();
        let half = &mut self.halves[index];
        if let Some(told) = &mut self.told {
            told.line(index, rest.get(..used).unwrap_or_default());
            if line.is_empty() && !half.is_over {
                told.tell_trailer(index, half.head.is_response(), half.number, context);
            }
        }
        if line.is_empty() {
            self.end_message(context);
        } else if half.head.bytes_seen(used) > HEAD_BYTES_MAX {
            return self.malformed("REQUEST_FIELD_TOO_LONG", "RESPONSE_FIELD_TOO_LONG", rest.len(), context);
        }
        Step::Used(used)
    }

    fn wait_for_line(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        if rest.len() <= LINE_BYTES_MAX {
            return Step::Wait;
        }
        self.malformed("REQUEST_FIELD_TOO_LONG", "RESPONSE_FIELD_TOO_LONG", rest.len(), context)
    }

    /// What is no chunk is the body itself in a response, as clients have it.
    fn bad_chunk(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let half = self.half(context);
        if half.head.is_response() {
            half.state = State::OpenBody;
            context.anomaly("INVALID_RESPONSE_CHUNK_LEN", None);
            return Step::Used(0);
        }
        self.malformed("INVALID_REQUEST_CHUNK_LEN", "INVALID_RESPONSE_CHUNK_LEN", rest.len(), context)
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

    /// Tells signatures that a message is over: no more will come of it.
    fn over(&mut self, index: usize, context: &mut Context<'_>) {
        let half = &mut self.halves[index];
        if !half.is_over {
            half.is_over = true;
            let direction = if index == self.client.index() { self.client } else { self.client.flip() };
            context.reached(direction, half.number, Stage::Body);
        }
    }

    /// The message is complete.
    fn end_message(&mut self, context: &mut Context<'_>) {
        let index = context.direction.index();
        self.end_body(index, true, context);
        self.over(index, context);
        let half = &mut self.halves[index];
        half.state = State::Start;
        if half.head.is_response() {
            self.respond(index, context);
        }
    }

    /// A request is read: it waits for its response.
    fn ask(&mut self, index: usize, mut head: Head, context: &mut Context<'_>) {
        learn_request(&head, context.metadata);
        self.has_asked = true;
        head.number = self.next_number();
        dns::carried_in_target(head.get(Part::Target).unwrap_or_default(), head.number, context);
        self.halves[index].number = head.number;
        self.waiting_bytes += head.text_bytes();
        self.waiting.push_back(head);
        while self.waiting.len() > REQUESTS_MAX || self.waiting_bytes > REQUEST_BYTES_MAX {
            if !self.tell_oldest(context) {
                break;
            }
        }
    }

    fn next_number(&mut self) -> u64 {
        let number = self.transactions;
        self.transactions = self.transactions.saturating_add(1);
        number
    }

    /// Finds the request that the response of direction `index` answers.
    fn take_request(&mut self, index: usize, context: &mut Context<'_>) {
        let request = match self.waiting.pop_front() {
            Some(head) => {
                self.waiting_bytes -= head.text_bytes().min(self.waiting_bytes);
                Some(head)
            }
            // The answer came before the request was complete: what there is of it is answered.
            None => {
                let asking = &mut self.halves[1 - index];
                let is_asking = asking.state == State::Head && asking.head.has(Part::Target);
                let number = self.transactions;
                is_asking.then(|| {
                    asking.number = number;
                    let mut head = asking.head.take_answered();
                    head.number = number;
                    head
                })
            }
        };
        let is_expected = self.has_asked && self.halves[1 - index].state != State::Lost;
        let number = match &request {
            Some(head) if head.number < self.transactions => head.number,
            _ => self.next_number(),
        };
        if request.is_none() && is_expected {
            context.anomaly("UNABLE_TO_MATCH_RESPONSE_TO_REQUEST", Some(number));
        }
        self.halves[index].number = number;
        self.halves[index].request = request;
        self.halves[index].is_matched = true;
    }

    /// Tells the transaction whose response direction `index` has read.
    fn respond(&mut self, index: usize, context: &mut Context<'_>) {
        if !self.halves[index].is_matched {
            self.take_request(index, context);
        }
        let half = &mut self.halves[index];
        half.is_matched = false;
        let half_number = half.number;
        learn_response(&half.head, context.metadata);
        let mut request = half.request.take();
        let mut response = std::mem::take(&mut half.head);
        let length = std::mem::take(&mut half.body_bytes);
        self.tell(half_number, request.as_ref(), Some((&response, length)), context);
        response.clear();
        self.halves[index].head = response;
        if let Some(request) = &mut request {
            request.clear();
        }
        self.spare = request.or(self.spare.take());
    }

    /// Tells the oldest request without a response; false when there is none.
    fn tell_oldest(&mut self, context: &mut Context<'_>) -> bool {
        let Some(request) = self.waiting.pop_front() else { return false };
        self.waiting_bytes -= request.text_bytes().min(self.waiting_bytes);
        self.tell(request.number, Some(&request), None, context);
        true
    }

    fn tell(
        &self,
        transaction: u64,
        request: Option<&Head>,
        response: Option<(&Head, u64)>,
        context: &mut Context<'_>,
    ) {
        let Some(events) = context.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(512);
        event::write(request, response, &mut body);
        let (time, direction) = (context.time, self.client);
        let event = Event::new(App::Http, time, direction, body);
        events.push(Event { transaction: Some(transaction), ..event });
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

fn learn_request(head: &Head, metadata: &mut Metadata) {
    let is_first = metadata.get(Field::HttpMethod).is_none();
    let parts = [
        (Part::Method, Field::HttpMethod, Field::HttpMethods),
        (Part::Target, Field::HttpUri, Field::HttpUris),
        (Part::Host, Field::HttpHost, Field::HttpHosts),
        (Part::UserAgent, Field::HttpUserAgent, Field::HttpUserAgents),
    ];
    for (part, field, list) in parts {
        let value = match part {
            Part::Host => head.get(part).or_else(|| head.target_authority()),
            part => head.get(part),
        };
        if let Some(value) = value {
            learn(value, field, list, is_first, metadata);
        }
    }
}

/// A flow is described by its first request, also in what that does not have; values that come later stand
/// in the list.
pub(super) fn learn(value: &[u8], field: Field, list: Field, is_first: bool, metadata: &mut Metadata) {
    if is_first {
        return metadata.set_bytes(field, value);
    }
    let first = metadata.text(field);
    if first.is_some_and(|first| first.as_bytes() == value) {
        return;
    }
    if let Some(first) = first.map(str::to_owned) {
        metadata.add(list, &first);
    }
    metadata.add(list, &String::from_utf8_lossy(value));
}

fn learn_response(head: &Head, metadata: &mut Metadata) {
    let status = u64::from(head.status());
    if status == 0 {
        return;
    }
    if let Some(first) = metadata.number(Field::HttpStatus) {
        if first != status {
            metadata.add(Field::HttpStatuses, itoa::Buffer::new().format(first));
            metadata.add(Field::HttpStatuses, itoa::Buffer::new().format(status));
        }
        return;
    }
    metadata.set_number(Field::HttpStatus, status);
    for (part, field) in [(Part::ContentType, Field::HttpContentType), (Part::Server, Field::HttpServer)] {
        if let Some(value) = head.get(part) {
            metadata.set_bytes(field, value);
        }
    }
}
