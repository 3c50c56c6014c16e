//! HTTP/1.x (RFC 9110, RFC 9112), and what is left of HTTP/0.9.
//!
//! In: the two directions of a stream, each in order, with gaps told. Out: what was asked for and
//! answered, and one event per transaction when its response is complete. Bodies are not read: their
//! bytes are skipped, so that a body with holes needs no memory and no putting together. What is
//! deliberately absent: decoding of bodies and paths, and HTTP/2, which is another protocol.
//!
//! Which side is the client is decided by what each says. A direction whose place in its messages is
//! lost (a gap outside a body, bytes that are no HTTP) goes on where a segment begins with a message.

mod event;
mod head;
mod probe;
#[cfg(test)]
mod tests;

use super::{Context, Dissector, Event, First, Probe, Progress, Starts};
use head::{Head, Part, line};
use std::collections::VecDeque;
use weir_common::app::App;
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
    /// Who asks, as the messages say.
    client: Direction,
    /// A head to use again.
    spare: Option<Head>,
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
    /// Bytes of the body so far, those being skipped included, as they are on the wire.
    body_bytes: u64,
}

/// Where a direction stands in its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a message.
    #[default]
    Start,
    /// In the header lines.
    Head,
    /// A body of known length; when asked again it has passed.
    Body,
    /// A body that ends with the connection.
    OpenBody,
    /// Before the line with a chunk's size.
    ChunkSize,
    /// In a chunk; when asked again it has passed.
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
    /// Nothing more is to be learned.
    Done,
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
            client: Direction::Forward,
            spare: None,
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
            match self.step(state, rest, context) {
                Step::Used(step) => used = used.saturating_add(step),
                Step::Wait => return Progress::Used(used),
                Step::Done => return Progress::Done,
            }
        }
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        let half = self.half(context);
        match half.state {
            // The end of the flow: so much of the body was not seen.
            State::Body | State::Chunk | State::OpenBody => {
                half.body_bytes = half.body_bytes.saturating_sub(missing);
            }
            State::Lost => {}
            _ => self.lose(context),
        }
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for index in [0, 1] {
            let half = &mut self.halves[index];
            if half.state != State::Start && half.head.is_response() {
                self.respond(index, context);
            }
        }
        for index in [0, 1] {
            let half = &mut self.halves[index];
            if half.state == State::Head && !half.head.is_response() && half.head.has(Part::Target) {
                let head = std::mem::take(&mut half.head);
                self.ask(head, context);
            }
        }
        while self.tell_oldest(context) {}
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
            State::Body => {
                self.end_message(context);
                Step::Used(0)
            }
            State::OpenBody => {
                let half = self.half(context);
                half.body_bytes += OPEN_BODY_STEP_BYTES as u64;
                Step::Used(OPEN_BODY_STEP_BYTES)
            }
            State::ChunkSize => self.chunk_size(rest, context),
            State::Chunk => {
                self.half(context).state = State::ChunkEnd;
                if rest.is_empty() { Step::Wait } else { Step::Used(0) }
            }
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

    /// The first line of a message.
    fn start(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        // RFC 9112 section 2.2: empty lines before a request are ignored.
        let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if empty > 0 {
            return Step::Used(empty);
        }
        let index = context.direction.index();
        if self.is_raw_response(index, rest) {
            self.take_request(index);
            let half = &mut self.halves[index];
            half.head.begin_raw_response();
            half.state = State::OpenBody;
            return Step::Used(0);
        }
        if !probe::may_be_message_start(rest) {
            return self.malformed(rest.len(), context);
        }
        let Some((line, used)) = line(rest) else { return self.wait_for_line(rest, context) };
        let mut head = std::mem::take(&mut self.half(context).head);
        let is_message = head.begin(line);
        let half = self.half(context);
        half.head = head;
        half.body_bytes = 0;
        if !is_message {
            return self.malformed(rest.len(), context);
        }
        half.state = State::Head;
        self.client = if half.head.is_response() { context.direction.flip() } else { context.direction };
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
        let Some((line, used)) = line(rest) else { return self.wait_for_line(rest, context) };
        let half = self.half(context);
        if line.is_empty() {
            return self.end_head(used, context);
        }
        if !half.head.header(line) {
            *context.malformed += 1;
        }
        if half.head.bytes_seen(used) > HEAD_BYTES_MAX {
            return self.malformed(rest.len(), context);
        }
        Step::Used(used)
    }

    /// The head is complete: what does it say of the body?
    fn end_head(&mut self, used: usize, context: &mut Context<'_>) -> Step {
        let index = context.direction.index();
        let is_response = self.halves[index].head.is_response();
        let framing = self.halves[index].head.framing();
        if framing.is_bad {
            *context.malformed += 1;
        }
        if is_response {
            let status = self.halves[index].head.status();
            if (100..200).contains(&status) && status != 101 {
                self.halves[index].state = State::Start;
                return Step::Used(used);
            }
            self.take_request(index);
            let request = self.halves[index].request.as_ref();
            let method = request.and_then(|request| request.get(Part::Method)).unwrap_or_default();
            let has_body = method != b"HEAD" && !matches!(status, 204 | 304);
            let is_tunnel = status == 101 || method == b"CONNECT" && (200..300).contains(&status);
            // The first answer is all that there is to learn, where nobody listens for events.
            if is_tunnel || context.events.is_none() {
                self.respond(index, context);
                return Step::Done;
            }
            return match (has_body, framing.is_chunked, framing.length) {
                (true, true, _) => self.begin_body(index, State::ChunkSize, 0, used),
                (true, false, None) => self.begin_body(index, State::OpenBody, 0, used),
                (true, false, Some(length)) => self.begin_body(index, State::Body, length, used),
                (false, ..) => self.begin_body(index, State::Body, 0, used),
            };
        }
        let spare = self.spare.take().unwrap_or_default();
        let head = std::mem::replace(&mut self.halves[index].head, spare);
        if head.has(Part::Target) {
            self.ask(head, context);
        }
        match framing.is_chunked {
            true => self.begin_body(index, State::ChunkSize, 0, used),
            false => self.begin_body(index, State::Body, framing.length.unwrap_or(0), used),
        }
    }

    /// Goes on behind a head of `used` bytes; a body of known length passes unread.
    fn begin_body(&mut self, index: usize, state: State, length: u64, used: usize) -> Step {
        let half = &mut self.halves[index];
        half.state = state;
        half.body_bytes = length;
        Step::Used(used.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)))
    }

    fn chunk_size(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let Some((line, used)) = line(rest) else {
            return if rest.len() > CHUNK_LINE_BYTES_MAX {
                self.malformed(rest.len(), context)
            } else {
                Step::Wait
            };
        };
        let Some(size) = head::chunk_size(line) else { return self.malformed(rest.len(), context) };
        let half = self.half(context);
        half.body_bytes = half.body_bytes.saturating_add(used as u64).saturating_add(size);
        half.state = if size == 0 { State::Trailer } else { State::Chunk };
        Step::Used(used.saturating_add(usize::try_from(size).unwrap_or(usize::MAX)))
    }

    fn chunk_end(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let used = match rest {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [b'\r'] => return Step::Wait,
            _ => return self.malformed(rest.len(), context),
        };
        let half = self.half(context);
        half.body_bytes += used as u64;
        half.state = State::ChunkSize;
        Step::Used(used)
    }

    fn trailer_line(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let Some((line, used)) = line(rest) else { return self.wait_for_line(rest, context) };
        let half = self.half(context);
        if line.is_empty() {
            self.end_message(context);
        } else if half.head.bytes_seen(used) > HEAD_BYTES_MAX {
            return self.malformed(rest.len(), context);
        }
        Step::Used(used)
    }

    fn wait_for_line(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        if rest.len() > LINE_BYTES_MAX { self.malformed(rest.len(), context) } else { Step::Wait }
    }

    /// The bytes are no HTTP: this direction is lost until a segment begins with a message.
    fn malformed(&mut self, used: usize, context: &mut Context<'_>) -> Step {
        *context.malformed += 1;
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
        if half.head.is_response() {
            self.respond(context.direction.index(), context);
        } else if state == State::Head && half.head.has(Part::Target) {
            let head = std::mem::take(&mut half.head);
            self.ask(head, context);
        }
    }

    /// The message is complete.
    fn end_message(&mut self, context: &mut Context<'_>) {
        let half = self.half(context);
        half.state = State::Start;
        if half.head.is_response() {
            self.respond(context.direction.index(), context);
        }
    }

    /// A request is read: it waits for its response.
    fn ask(&mut self, head: Head, context: &mut Context<'_>) {
        learn_request(&head, context.metadata);
        if context.events.is_none() {
            self.spare = Some(head);
            return;
        }
        self.waiting_bytes += head.text_bytes();
        self.waiting.push_back(head);
        while self.waiting.len() > REQUESTS_MAX || self.waiting_bytes > REQUEST_BYTES_MAX {
            if !self.tell_oldest(context) {
                break;
            }
        }
    }

    /// Finds the request that the response of direction `index` answers.
    fn take_request(&mut self, index: usize) {
        let request = match self.waiting.pop_front() {
            Some(head) => {
                self.waiting_bytes -= head.text_bytes().min(self.waiting_bytes);
                Some(head)
            }
            // The answer came before the request was complete: what there is of it is answered.
            None => {
                let asking = &mut self.halves[1 - index];
                let is_asking = asking.state == State::Head && asking.head.has(Part::Target);
                is_asking.then(|| asking.head.take_answered())
            }
        };
        self.halves[index].request = request;
        self.halves[index].is_matched = true;
    }

    /// Tells the transaction whose response direction `index` has read.
    fn respond(&mut self, index: usize, context: &mut Context<'_>) {
        if !self.halves[index].is_matched {
            self.take_request(index);
        }
        let half = &mut self.halves[index];
        half.is_matched = false;
        learn_response(&half.head, context.metadata);
        let mut request = half.request.take();
        let mut response = std::mem::take(&mut half.head);
        let length = std::mem::take(&mut half.body_bytes);
        self.tell(request.as_ref(), Some((&response, length)), context);
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
        self.tell(Some(&request), None, context);
        true
    }

    fn tell(&mut self, request: Option<&Head>, response: Option<(&Head, u64)>, context: &mut Context<'_>) {
        let transaction = self.transactions;
        self.transactions += 1;
        let Some(events) = context.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(512);
        event::write(request, response, &mut body);
        let (time, direction) = (context.time, self.client);
        let event = Event::new(App::Http, time, direction, body);
        events.push(Event { transaction: Some(transaction), ..event });
    }
}

fn learn_request(head: &Head, metadata: &mut Metadata) {
    let parts = [
        (Part::Method, Field::HttpMethod),
        (Part::Target, Field::HttpUri),
        (Part::Host, Field::HttpHost),
        (Part::UserAgent, Field::HttpUserAgent),
    ];
    // A flow is described by its first request, also in what that does not have.
    if metadata.get(Field::HttpMethod).is_some() {
        return;
    }
    for (part, field) in parts {
        if let Some(value) = head.get(part) {
            metadata.set_bytes(field, value);
        }
    }
    if let (None, Some(host)) = (head.get(Part::Host), head.target_authority()) {
        metadata.set_bytes(Field::HttpHost, host);
    }
}

fn learn_response(head: &Head, metadata: &mut Metadata) {
    let status = u64::from(head.status());
    if status == 0 || metadata.get(Field::HttpStatus).is_some() {
        return;
    }
    metadata.set_number(Field::HttpStatus, status);
    for (part, field) in [(Part::ContentType, Field::HttpContentType), (Part::Server, Field::HttpServer)] {
        if let Some(value) = head.get(part) {
            metadata.set_bytes(field, value);
        }
    }
}
