//! HTTP/2 without TLS (RFC 9113): with prior knowledge, or behind HTTP/1's upgrade.
//!
//! In: the frames of both directions. Out: one event per stream when both sides have ended it, and one per frame
//! of the connection that says something (settings, errors), in Suricata's form; what was asked for as
//! metadata; bodies as files. Headers are read in the order of the connection, because each block changes the table
//! for the next: a direction with a hole in them is lost. What is deliberately absent: flow control, and what
//! servers push beyond its name.

mod control;
mod event;
mod frames;
mod hpack;
mod stream;
mod told;
#[cfg(test)]
mod tests;

use super::buffers::{Number, Stage};
use super::http::body::Body;
use super::{Context, Dissector, Event, First, Probe, Progress, Starts};
use event::Common;
use hpack::Hpack;
use std::collections::VecDeque;
use stream::{Stream, awaits_frames};
use told::Block;
use weir_common::app::App;
use weir_common::net::Direction;

/// What a client begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before each frame.
const HEADER_BYTES: usize = 9;
/// A frame of so many bytes is not read whole, which is an anomaly: only DATA is read of it, piece by piece.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// Bytes of a longer frame, its header included, that are awaited before it is told to be one, as in Suricata.
const LONG_FRAME_BYTES_MIN: usize = HEADER_BYTES + 256;
/// Most streams that are open at once; of more the oldest is told as it is.
const STREAMS_MAX: usize = 256;
/// Most closed streams that are remembered, so that what comes on them is noticed; of more the oldest is forgotten.
const CLOSED_MAX: usize = 64;
/// Most bytes kept of all open streams before the oldest is told.
const STREAMS_BYTES_MAX: usize = 1 << 20;
/// Types of frames (RFC 9113 section 6).
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const ACK: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
    pub(super) const PADDED: u8 = 8;
    pub(super) const WITH_PRIORITY: u8 = 0x20;
}

/// State of an HTTP/2 flow.
#[derive(Debug)]
pub(super) struct Http2 {
    halves: [Half; 2],
    /// Oldest first.
    streams: Vec<Stream>,
    /// Streams that were closed last, where signatures look at what is odd.
    closed: VecDeque<u32>,
    transactions: u64,
    client: Direction,
    /// The request that asked for the upgrade, as HTTP/1 noted it.
    upgraded: Option<Box<[u8]>>,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    state: State,
    hpack: Hpack,
    /// Fragments of a header block that goes on in the next frame.
    block: Vec<u8>,
    block_stream: u32,
    /// Whether the block is that of a frame that ends its stream.
    block_ends: bool,
    /// The frame that passes, for signatures.
    passing: frames::Passing,
    /// Of a DATA frame: its stream, bytes of content and of padding to come, and whether it ends the stream.
    data: Data,
}

#[derive(Debug, Default)]
struct Data {
    stream: u32,
    left: usize,
    padding: usize,
    is_last: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Frame,
    Data,
    Lost,
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameHeader {
    fn of(bytes: &[u8]) -> Option<FrameHeader> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes.first_chunk::<HEADER_BYTES>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        Some(FrameHeader { length, kind, flags, stream })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What one step came to.
enum Step {
    Used(usize),
    Wait,
    Broken(&'static str),
}

impl Dissector for Http2 {
    const APP: App = App::Http2;

    const STARTS: Starts = Starts::stream(b"P\0");

    fn probe(first: &First<'_>) -> Probe {
        if !first.is_stream() {
            return Probe::NotForUs;
        }
        let bytes = first.bytes;
        if bytes.first() == Some(&b'P') {
            return match bytes.get(..PREFACE.len()) {
                Some(begin) if begin == PREFACE => Probe::Certain,
                None if PREFACE.starts_with(bytes) => Probe::Unsure,
                _ => Probe::NotForUs,
            };
        }
        // A server begins with its settings.
        let Some(header) = FrameHeader::of(bytes) else {
            let is_possible = bytes.iter().zip([0, 0]).all(|(byte, zero)| *byte == zero);
            return if is_possible { Probe::Unsure } else { Probe::NotForUs };
        };
        let is_settings = header.kind == frame::SETTINGS && header.flags == 0 && header.stream == 0;
        if !is_settings
            || !header.length.is_multiple_of(6)
            || header.length > 16 * 6
            || bytes.get(5) != Some(&0)
        {
            return Probe::NotForUs;
        }
        let Some(settings) = bytes.get(HEADER_BYTES..HEADER_BYTES + header.length) else {
            return Probe::Unsure;
        };
        let are_known =
            settings.as_chunks::<6>().0.iter().all(|[high, low, ..]| *high == 0 && (1..=9).contains(low));
        match (are_known, header.length) {
            (true, 12..) => Probe::Certain,
            (true, _) => Probe::Likely,
            (false, _) => Probe::NotForUs,
        }
    }

    fn new() -> Http2 {
        Http2 {
            halves: Default::default(),
            streams: Vec::new(),
            closed: VecDeque::new(),
            transactions: 0,
            client: Direction::Forward,
            upgraded: None,
        }
    }

    fn expected(note: &[u8]) -> Option<Http2> {
        Some(Http2 { upgraded: Some(note.into()), ..Http2::new() })
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if let Some(note) = self.upgraded.take() {
            self.begin_upgraded(&note, context);
        }
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let index = context.direction.index();
            let step = match self.halves[index].state {
                State::Start => self.start(rest, context),
                State::Frame => self.frame(rest, context),
                State::Data => self.data(rest, context),
                State::Lost if self.halves[1 - index].state == State::Lost => {
                    self.close(context);
                    return Progress::Done;
                }
                State::Lost => return Progress::Used(bytes.len().max(used)),
            };
            match step {
                Step::Used(step) => used = used.saturating_add(step),
                Step::Wait => return Progress::Used(used),
                Step::Broken(event) => {
                    context.anomaly(event, None);
                    self.lose(context);
                }
            }
            if used > bytes.len() {
                return Progress::Used(used);
            }
        }
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let half = &mut self.halves[index];
        half.passing.end(context);
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        if half.state == State::Data && missing <= half.data.left {
            half.data.left -= missing;
            let id = half.data.stream;
            if let Some(body) = self.body_of(id, context.direction) {
                body.gap(missing as u64);
            }
            return Progress::Used(0);
        }
        self.lose(context);
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for half in &mut self.halves {
            half.passing.end(context);
        }
        for mut stream in std::mem::take(&mut self.streams) {
            stream.end_bodies(false, self.client, context);
            self.tell(&stream, context);
        }
    }

    fn describe(&self, _direction: Direction, transaction: u64, out: &mut Vec<u8>) {
        if let Some(stream) = self.streams.iter().find(|stream| stream.number == transaction) {
            let [client, server] = &stream.sides;
            event::write(stream.id, &stream.common, [&client.said, &server.said], out);
        }
    }
}

impl Http2 {
    /// The place of a direction in its frames is lost, and what its headers refer to.
    fn lose(&mut self, context: &mut Context<'_>) {
        let half = &mut self.halves[context.direction.index()];
        half.state = State::Lost;
        half.passing.end(context);
        half.block = Vec::new();
        half.hpack = Hpack::default();
    }

    /// HTTP/1's request becomes that of stream 1, which it has ended.
    fn begin_upgraded(&mut self, note: &[u8], context: &mut Context<'_>) {
        self.client = Direction::Forward;
        let mut parts = note.split(|byte| *byte == b'\n');
        let mut next = || parts.next().unwrap_or_default();
        let (method, target, host, agent, settings) = (next(), next(), next(), next(), next());
        if !settings.is_empty() {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(settings);
            match decoded {
                Ok(settings) => self.settings(&settings, self.client, context),
                Err(_) => context.anomaly("invalid_http1_settings", None),
            }
        }
        if method.is_empty() {
            return;
        }
        let has_events = context.events.is_some();
        let stream = self.stream(1, context);
        let headers =
            [(&b":method"[..], method), (b":path", target), (b":authority", host), (b"user-agent", agent)];
        for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
            stream.header(0, name, value, has_events);
        }
        stream.sides[0].is_ended = true;
        let (number, client) = (stream.number, self.client);
        if context.wanted.is_some() {
            let mut block = Block::default();
            for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
                // Names stay as HTTP/1 has them, so that what looks for HTTP/2's does not find it a second time.
                let name = if name == b"user-agent" { &b"User-Agent"[..] } else { name };
                block.push(name, value);
            }
            block.tell(false, true, client, number, context);
            let stream = self.stream(1, context);
            (stream.sides[0].is_told, stream.sides[0].has_head) = (true, true);
            if awaits_frames(context) {
                context.reached(client, number, Stage::Head);
            } else {
                self.stream(1, context).over(0, client, context);
            }
        }
    }

    /// Tells signatures of a frame on a stream that is open, or of one of the connection that says nothing else.
    fn tell_frame(&mut self, header: FrameHeader, rest: &[u8], context: &mut Context<'_>) {
        let direction = context.direction;
        let window = rest
            .get(HEADER_BYTES..)
            .and_then(|rest| rest.first_chunk::<4>())
            .filter(|_| header.kind == frame::WINDOW_UPDATE)
            .map(|window| u32::from_be_bytes(*window) & 0x7fff_ffff);
        let is_transaction = header.stream == 0;
        let number = if is_transaction {
            self.new_stream(0).number
        } else {
            let side = usize::from(direction != self.client);
            let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == header.stream) else {
                return;
            };
            stream.sides[side].is_told = true;
            stream.number
        };
        context.put_number(direction, number, Number::Http2FrameType, header.kind.into());
        if let Some(window) = window {
            context.put_number(direction, number, Number::Http2Window, window.into());
        }
        if is_transaction {
            context.reached(direction, number, Stage::Body);
        }
    }

    /// Before the first frame.
    fn start(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let index = context.direction.index();
        let Some(first) = rest.first() else { return Step::Wait };
        if *first != b'P' {
            self.halves[index].state = State::Frame;
            return Step::Used(0);
        }
        match rest.get(..PREFACE.len()) {
            Some(begin) if begin == PREFACE => {
                self.client = context.direction;
                self.halves[index].state = State::Frame;
                Step::Used(PREFACE.len())
            }
            None if PREFACE.starts_with(rest) => Step::Wait,
            _ => Step::Broken("invalid_client_magic"),
        }
    }

    /// A frame: DATA begins, everything else is read whole.
    fn frame(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let index = context.direction.index();
        let Some(header) = FrameHeader::of(rest) else { return Step::Wait };
        let block_stream = self.halves[index].block_stream;
        let continues = header.kind == frame::CONTINUATION && header.stream == block_stream;
        if block_stream != 0 && !continues {
            return Step::Broken("invalid_frame_header");
        }
        let end = HEADER_BYTES.saturating_add(header.length);
        if rest.len() < end && header.length >= FRAME_BYTES_MAX {
            if rest.len() < LONG_FRAME_BYTES_MIN {
                return Step::Wait;
            }
            context.anomaly("long_frame_data", None);
        } else if rest.len() < end && header.kind != frame::DATA && frames::are_wanted(context) {
            return Step::Wait;
        }
        if context.wanted.is_some()
            && !matches!(header.kind, frame::HEADERS..=frame::PUSH_PROMISE | frame::GOAWAY)
        {
            if header.kind == frame::WINDOW_UPDATE && rest.len() < HEADER_BYTES + 4 {
                return Step::Wait;
            }
            // A frame is told of once, also where it takes several looks to read it.
            let is_whole = match header.kind {
                frame::DATA => !header.has(frame::PADDED) || rest.len() > HEADER_BYTES,
                frame::CONTINUATION => rest.len() >= HEADER_BYTES.saturating_add(header.length),
                _ => true,
            };
            if is_whole {
                self.tell_frame(header, rest, context);
            }
        }
        if header.kind == frame::DATA {
            let padding = match (header.has(frame::PADDED), rest.get(HEADER_BYTES)) {
                (false, _) => None,
                (true, None) => return Step::Wait,
                (true, Some(padding)) => Some(usize::from(*padding)),
            };
            let around = padding.map_or(0, |padding| padding + 1);
            let Some(left) = header.length.checked_sub(around) else {
                return Step::Broken("invalid_frame_data");
            };
            if header.stream == 0 {
                return Step::Broken("data_stream_zero");
            }
            let half = &mut self.halves[index];
            half.state = State::Data;
            half.data = Data {
                stream: header.stream,
                left,
                padding: padding.unwrap_or(0),
                is_last: header.has(frame::END_STREAM),
            };
            self.note_reuse(header.stream, context);
            let used = HEADER_BYTES + usize::from(padding.is_some());
            let number = self.number_of(header.stream, context);
            self.halves[index].passing.begin(header, rest, used, number, context);
            return Step::Used(used);
        }
        let is_read =
            matches!(header.kind, frame::HEADERS..=frame::PUSH_PROMISE | frame::GOAWAY | frame::CONTINUATION);
        let number = self.number_of(header.stream, context);
        if !is_read || header.length >= FRAME_BYTES_MAX {
            self.tell_whole(header, rest, number, context);
        }
        if !is_read {
            return Step::Used(end);
        }
        if header.length >= FRAME_BYTES_MAX {
            // Without its headers the table is not known any more.
            return match header.kind {
                frame::HEADERS | frame::PUSH_PROMISE | frame::CONTINUATION => {
                    Step::Broken("invalid_frame_length")
                }
                _ => Step::Used(end),
            };
        }
        let Some(payload) = rest.get(HEADER_BYTES..end) else { return Step::Wait };
        let outcome = self.whole_frame(header, payload, context);
        let number = number.or_else(|| self.number_of(header.stream, context));
        self.tell_whole(header, rest, number, context);
        match outcome {
            Ok(()) => Step::Used(end),
            Err(event) => Step::Broken(event),
        }
    }

    /// Number of the transaction of a stream that is open, where signatures look into frames.
    fn number_of(&self, id: u32, context: &Context<'_>) -> Option<u64> {
        if !frames::are_wanted(context) {
            return None;
        }
        self.streams.iter().find(|stream| stream.id == id).map(|stream| stream.number)
    }

    /// Tells signatures a frame that is there as far as it will be.
    fn tell_whole(
        &mut self,
        header: FrameHeader,
        rest: &[u8],
        number: Option<u64>,
        context: &mut Context<'_>,
    ) {
        let passing = &mut self.halves[context.direction.index()].passing;
        passing.begin(header, rest, HEADER_BYTES.saturating_add(header.length), number, context);
        passing.end(context);
    }

    /// Content of a DATA frame, then its padding.
    fn data(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        let direction = context.direction;
        let half = &mut self.halves[direction.index()];
        let data = &mut half.data;
        if data.left == 0 {
            let padding = rest.get(..data.padding).unwrap_or(rest);
            if padding.len() < data.padding && half.passing.is_open() {
                return Step::Wait;
            }
            half.passing.pass(padding, context);
            half.passing.end(context);
            let (padding, id, is_last) = (data.padding, data.stream, data.is_last);
            self.halves[direction.index()].state = State::Frame;
            if is_last {
                self.end_side(id, context);
            }
            return Step::Used(padding);
        }
        if rest.is_empty() {
            return Step::Wait;
        }
        let bytes = rest.get(..data.left).unwrap_or(rest);
        data.left -= bytes.len();
        let id = data.stream;
        half.passing.pass(bytes, context);
        let side = usize::from(direction != self.client);
        let client = self.client;
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            stream.content(side, bytes, client, context);
        }
        Step::Used(bytes.len())
    }

    fn body_of(&mut self, id: u32, direction: Direction) -> Option<&mut Box<Body>> {
        let side = usize::from(direction != self.client);
        self.streams.iter_mut().find(|stream| stream.id == id)?.sides[side].body.as_mut()
    }

    fn new_stream(&mut self, id: u32) -> Stream {
        let number = self.transactions;
        self.transactions = self.transactions.saturating_add(1);
        Stream { id, number, common: Common::default(), sides: Default::default() }
    }

    /// The stream of a number; a new one where there is none.
    fn stream(&mut self, id: u32, context: &mut Context<'_>) -> &mut Stream {
        let at = match self.streams.iter().position(|stream| stream.id == id) {
            Some(at) => at,
            None => {
                let bytes: usize = self.streams.iter().map(Stream::kept_bytes).sum();
                if self.streams.len() >= STREAMS_MAX || bytes > STREAMS_BYTES_MAX {
                    context.anomaly("too_many_streams", None);
                    let mut oldest = self.streams.remove(0);
                    oldest.end_bodies(false, self.client, context);
                    self.tell(&oldest, context);
                }
                let stream = self.new_stream(id);
                self.streams.push(stream);
                self.streams.len() - 1
            }
        };
        &mut self.streams[at]
    }

    /// Takes out a stream that is over.
    fn close_stream(&mut self, at: usize, context: &Context<'_>) -> Stream {
        let stream = self.streams.remove(at);
        if context.wanted.is_some_and(|wanted| wanted.anomalies) {
            if self.closed.len() >= CLOSED_MAX {
                self.closed.pop_front();
            }
            self.closed.push_back(stream.id);
        }
        stream
    }

    /// Notes that headers or data come on a stream that is over.
    fn note_reuse(&self, id: u32, context: &mut Context<'_>) {
        if self.closed.contains(&id) {
            context.note("stream_id_reuse", None);
        }
    }

    /// One side has said all; the stream is told when both have.
    fn end_side(&mut self, id: u32, context: &mut Context<'_>) {
        let side = usize::from(context.direction != self.client);
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else { return };
        let stream = &mut self.streams[at];
        stream.end_body(side, true, context);
        let direction = context.direction;
        if !awaits_frames(context) {
            stream.over(side, direction, context);
        }
        stream.sides[side].is_ended = true;
        if stream.sides[1 - side].is_ended {
            let mut stream = self.close_stream(at, context);
            stream.end_bodies(true, self.client, context);
            self.tell(&stream, context);
        }
    }

    fn tell(&self, stream: &Stream, context: &mut Context<'_>) {
        let (time, direction) = (context.time, self.client);
        let Some(events) = context.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(512);
        let [client, server] = &stream.sides;
        if !event::write(stream.id, &stream.common, [&client.said, &server.said], &mut body) {
            return;
        }
        let event = Event::new(App::Http2, time, direction, body);
        events.push(Event { kind: "http", transaction: Some(stream.number), ..event });
    }
}
