//! Where the bodies of messages end, and where their bytes go.
//!
//! In: the bytes behind a head. Out: the same to whoever wants them, chunks put together; those that nobody wants pass
//! unread.

use super::body::{Body, Description};
use super::head::{self, line};
use super::{
    CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, Http, LINE_BYTES_MAX, OPEN_BODY_STEP_BYTES, State, Step, event,
    probe,
};
use crate::dpi::Context;
use weir_common::json::Object;

impl Http {
    /// A response's body begins behind a head of `used` bytes.
    pub(super) fn begin_body(
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
    pub(super) fn pass_body(&mut self, index: usize, state: State, length: u64, used: usize) -> Step {
        let half = &mut self.halves[index];
        half.state = state;
        half.left = length;
        let is_unread = half.body.is_none() && !self.frames[index].is_open();
        let skip = if is_unread { half.skip_rest() } else { 0 };
        Step::Used(used.saturating_add(skip))
    }

    /// Bytes of a body or chunk.
    pub(super) fn body_bytes(&mut self, state: State, rest: &[u8], context: &mut Context<'_>) -> Step {
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

    /// What was sent together with a message, behind its end, is its body after all to libhtp, line by line until another
    /// begins. Returns how much of it that is. Of a response only signatures look at it: clients leave it.
    pub(super) fn unexpected_body(
        &mut self,
        index: usize,
        rest: &[u8],
        context: &mut Context<'_>,
    ) -> Option<usize> {
        let half = &mut self.halves[index];
        if half.head.is_response() {
            let length = probe::unexpected_answer(rest)?;
            if self.is_raw_response(index, rest) {
                return None;
            }
            let bytes = rest.get(..length)?;
            let half = &mut self.halves[index];
            if let Some(body) = &mut half.body {
                body.beyond(bytes);
            }
            if !bytes.trim_ascii().is_empty() && !std::mem::replace(&mut half.has_unexpected, true) {
                let number = half.number;
                context.anomaly("RESPONSE_BODY_UNEXPECTED", Some(number));
            }
            return Some(length);
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
    pub(super) fn feed(&mut self, index: usize, bytes: &[u8], context: &mut Context<'_>) {
        let Some(mut body) = self.halves[index].body.take() else { return };
        let carrier = if body.is_form() { self.carrier(index, context) } else { Vec::new() };
        body.bytes(bytes, &carrier, context);
        if context.wanted.is_some() && body.tell_early(context) {
            self.over(index, context);
        }
        self.halves[index].body = Some(body);
    }

    /// The body has ended.
    pub(super) fn end_body(&mut self, index: usize, is_whole: bool, context: &mut Context<'_>) {
        if let Some(body) = self.halves[index].body.take() {
            let carrier = self.carrier(index, context);
            body.end(is_whole, &carrier, context);
        }
    }

    /// What carries a file, as a member of its event.
    pub(super) fn carrier(&self, index: usize, context: &Context<'_>) -> Vec<u8> {
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

    pub(super) fn chunk_size(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
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

    pub(super) fn chunk_end(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
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

    pub(super) fn trailer_line(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
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

    pub(super) fn wait_for_line(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        if rest.len() <= LINE_BYTES_MAX {
            return Step::Wait;
        }
        self.malformed("REQUEST_FIELD_TOO_LONG", "RESPONSE_FIELD_TOO_LONG", rest.len(), context)
    }

    /// What is no chunk is the body itself in a response, as clients have it.
    pub(super) fn bad_chunk(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let half = self.half(context);
        if half.head.is_response() {
            half.state = State::OpenBody;
            context.anomaly("INVALID_RESPONSE_CHUNK_LEN", None);
            return Step::Used(0);
        }
        self.malformed("INVALID_REQUEST_CHUNK_LEN", "INVALID_RESPONSE_CHUNK_LEN", rest.len(), context)
    }
}
