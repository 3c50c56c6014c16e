//! HTTP/2 without TLS (RFC 9113): with prior knowledge, or behind HTTP/1's upgrade.
//!
//! In: the frames of both directions. Out: one event per stream when both sides have ended it, and one per frame
//! of the connection that says something (settings, errors), in Suricata's form; what was asked for as
//! metadata; bodies as files. Headers are read in the order of the connection, because each block changes the table
//! for the next: a direction with a hole in them is lost. What is deliberately absent: flow control, and what
//! servers push beyond its name.

mod event;
mod frames;
mod hpack;
mod told;
#[cfg(test)]
mod tests;

use super::buffers::{Number, Stage};
use super::http::body::{Body, Description};
use super::http::learn;
use super::{Context, Dissector, Event, First, Probe, Progress, Starts, dns};
use event::{Common, Said, element};
use hpack::{BLOCK_BYTES_MAX, Hpack};
use told::Block;
use weir_common::app::App;
use weir_common::metadata::Field;
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
/// Most bytes kept of all open streams before the oldest is told.
const STREAMS_BYTES_MAX: usize = 1 << 20;
/// Most bytes kept of one header that has a place of its own.
const VALUE_BYTES_MAX: usize = 8 << 10;
/// Most bytes of JSON kept of the headers of one side of a stream; more are left out.
const HEADERS_BYTES_MAX: usize = 32 << 10;

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

/// One stream.
#[derive(Debug)]
struct Stream {
    id: u32,
    number: u64,
    common: Common,
    sides: [Side; 2],
}

/// One side of it; that of the client first.
#[derive(Debug, Default)]
struct Side {
    said: Said,
    content_type: Vec<u8>,
    content_encoding: Vec<u8>,
    content_disposition: Vec<u8>,
    content_range: Vec<u8>,
    body: Option<Box<Body>>,
    /// Its body cannot be followed, or nobody wants to.
    is_unread: bool,
    is_ended: bool,
    /// Signatures were told something of it, its headers, that it is over.
    is_told: bool,
    has_head: bool,
    is_over: bool,
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
        let is_transaction = header.stream == 0
            && !matches!(header.kind, frame::GOAWAY)
            && (header.kind != frame::SETTINGS || header.has(frame::ACK));
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
            let used = HEADER_BYTES + usize::from(padding.is_some());
            let number = self.number_of(header.stream);
            self.halves[index].passing.begin(header, rest, used, number, context);
            return Step::Used(used);
        }
        let is_read =
            matches!(header.kind, frame::HEADERS..=frame::PUSH_PROMISE | frame::GOAWAY | frame::CONTINUATION);
        let number = self.number_of(header.stream);
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
        let number = number.or_else(|| self.number_of(header.stream));
        self.tell_whole(header, rest, number, context);
        match outcome {
            Ok(()) => Step::Used(end),
            Err(event) => Step::Broken(event),
        }
    }

    /// Number of the transaction of a stream that is open.
    fn number_of(&self, id: u32) -> Option<u64> {
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

    fn whole_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), &'static str> {
        let direction = context.direction;
        let side = usize::from(direction != self.client);
        let number = |bytes: &[u8]| bytes.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
        match header.kind {
            frame::SETTINGS if header.has(frame::ACK) && context.wanted.is_some() => {
                self.tell_frame(header, &[], context);
            }
            frame::SETTINGS if !header.has(frame::ACK) => {
                if header.stream != 0 || !payload.len().is_multiple_of(6) {
                    return Err("invalid_frame_data");
                }
                self.settings(payload, direction, context);
            }
            frame::GOAWAY => {
                let error = payload.get(4..).and_then(number).ok_or("invalid_frame_data")?;
                let mut stream = self.new_stream(0);
                stream.sides[side].said.error = Some(error);
                let number = stream.number;
                context.put_number(direction, number, Number::Http2FrameType, header.kind.into());
                context.put_number(direction, number, Number::Http2ErrorCode, error.into());
                context.reached(direction, number, Stage::Body);
                self.tell(&stream, context);
            }
            frame::RST_STREAM => {
                let error = number(payload).ok_or("invalid_frame_data")?;
                if let Some(at) = self.streams.iter().position(|stream| stream.id == header.stream) {
                    let mut stream = self.streams.remove(at);
                    stream.sides[side].said.error = Some(error);
                    if !stream.sides[side].is_over {
                        stream.sides[side].is_told = true;
                        let number = stream.number;
                        context.put_number(direction, number, Number::Http2FrameType, header.kind.into());
                        context.put_number(direction, number, Number::Http2ErrorCode, error.into());
                    }
                    stream.end_bodies(false, self.client, context);
                    self.tell(&stream, context);
                }
            }
            frame::PRIORITY => {
                let weight = payload.get(4).ok_or("invalid_frame_data")?;
                if context.wanted.is_some() && header.stream != 0 {
                    let own = self.stream(header.stream, context);
                    own.sides[side].is_told = true;
                    let number = own.number;
                    context.put_number(direction, number, Number::Http2FrameType, header.kind.into());
                    context.put_number(direction, number, Number::Http2Priority, (*weight).into());
                }
                if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == header.stream) {
                    stream.sides[side].said.priority = Some(*weight);
                }
            }
            frame::HEADERS | frame::PUSH_PROMISE => {
                let mut block = payload;
                let mut padding = 0;
                if header.has(frame::PADDED) {
                    let (first, rest) = block.split_first().ok_or("invalid_frame_data")?;
                    (padding, block) = (usize::from(*first), rest);
                }
                let mut id = header.stream;
                let mut weight = None;
                if header.kind == frame::PUSH_PROMISE {
                    let (promised, rest) = block.split_first_chunk::<4>().ok_or("invalid_frame_data")?;
                    (id, block) = (u32::from_be_bytes(*promised) & 0x7fff_ffff, rest);
                } else if header.has(frame::WITH_PRIORITY) {
                    let (priority, rest) = block.split_first_chunk::<5>().ok_or("invalid_frame_data")?;
                    (weight, block) = (Some(priority[4]), rest);
                }
                let length = block.len().checked_sub(padding).ok_or("invalid_frame_data")?;
                block = block.get(..length).unwrap_or_default();
                if id == 0 {
                    return Err("invalid_frame_header");
                }
                if weight.is_some() {
                    self.stream(id, context).sides[side].said.priority = weight;
                }
                if context.wanted.is_some() {
                    let stream = self.stream(id, context);
                    stream.sides[side].is_told = true;
                    let number = stream.number;
                    context.put_number(direction, number, Number::Http2FrameType, header.kind.into());
                    if let Some(weight) = weight {
                        context.put_number(direction, number, Number::Http2Priority, weight.into());
                    }
                }
                let half = &mut self.halves[direction.index()];
                half.block = block.to_vec();
                half.block_stream = id;
                half.block_ends = header.kind == frame::HEADERS && header.has(frame::END_STREAM);
                if header.has(frame::END_HEADERS) {
                    self.headers(context)?;
                }
            }
            frame::CONTINUATION => {
                let half = &mut self.halves[direction.index()];
                if half.block_stream == 0 {
                    return Err("invalid_frame_header");
                }
                half.block.extend_from_slice(payload);
                if half.block.len() > BLOCK_BYTES_MAX {
                    return Err("reassembly_limit_reached");
                }
                if header.has(frame::END_HEADERS) {
                    self.headers(context)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Settings are a transaction of their own.
    fn settings(&mut self, payload: &[u8], direction: Direction, context: &mut Context<'_>) {
        let mut stream = self.new_stream(0);
        if context.wanted.is_some() {
            let number = stream.number;
            context.put_number(direction, number, Number::Http2FrameType, frame::SETTINGS.into());
            for [high, low, value @ ..] in payload.as_chunks::<6>().0 {
                let setting = u64::from(u16::from_be_bytes([*high, *low])) << 32;
                context.put_number(
                    direction,
                    number,
                    Number::Http2Setting,
                    setting | u64::from(u32::from_be_bytes(*value)),
                );
            }
            context.reached(direction, number, Stage::Body);
        }
        if context.events.is_none() {
            return;
        }
        let list = &mut stream.sides[usize::from(direction != self.client)].said.settings;
        for [high, low, value @ ..] in payload.as_chunks::<6>().0 {
            let id = u16::from_be_bytes([*high, *low]);
            element(list, |object| {
                match event::setting(id) {
                    Some(name) => object.text("settings_id", name),
                    None => object.display("settings_id", format_args!("SETTINGS{id}")),
                };
                object.number("settings_value", u32::from_be_bytes(*value));
            });
        }
        self.tell(&stream, context);
    }

    /// A header block is complete.
    fn headers(&mut self, context: &mut Context<'_>) -> Result<(), &'static str> {
        let direction = context.direction;
        let half = &mut self.halves[direction.index()];
        let (block, id, is_last) = (std::mem::take(&mut half.block), half.block_stream, half.block_ends);
        half.block_stream = 0;
        let mut hpack = std::mem::take(&mut half.hpack);
        // Who asks for something is the client, also where its preface was not seen.
        let side = usize::from(direction != self.client);
        let has_events = context.events.is_some();
        let mut told = context.wanted.is_some().then(Block::default);
        let mut resized = None;
        let stream = self.stream(id, context);
        let outcome = hpack.read(&block, &mut |said| match said {
            hpack::Said::Header(name, value) => {
                stream.header(side, name, value, has_events);
                if let Some(told) = &mut told {
                    told.push(name, value);
                }
            }
            hpack::Said::TableSize(size) => {
                resized = Some(size);
                if has_events {
                    element(&mut stream.sides[side].said.headers, |object| {
                        object.number("table_size_update", size);
                    });
                }
            }
        });
        stream.learn(side, context);
        if let Some(told) = told.filter(|_| !stream.sides[side].is_over) {
            let own = &mut stream.sides[side];
            let is_first = !std::mem::replace(&mut own.has_head, true);
            own.is_told = true;
            if let Some(size) = resized {
                context.put_number(direction, stream.number, Number::Http2SizeUpdate, size);
            }
            told.tell(side == 1, is_first, direction, stream.number, context);
            context.reached(direction, stream.number, Stage::Head);
        }
        if side == 0 {
            dns::carried_in_target(&stream.common.path, stream.number, context);
        }
        self.halves[direction.index()].hpack = hpack;
        outcome?;
        if is_last {
            self.end_side(id, context);
        }
        Ok(())
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
            let mut stream = self.streams.remove(at);
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

/// Whether signatures look at the frames of streams, of which some come after a side has ended: its windows.
fn awaits_frames(context: &Context<'_>) -> bool {
    let numbers =
        [Number::Http2FrameType, Number::Http2Window, Number::Http2ErrorCode, Number::Http2Priority];
    context.wanted.is_some_and(|wanted| numbers.iter().any(|number| wanted.has_number(*number)))
}

impl Stream {
    fn kept_bytes(&self) -> usize {
        let Common { path, host, user_agent, .. } = &self.common;
        let headers: usize = self.sides.iter().map(|side| side.said.headers.len()).sum();
        headers + path.len() + host.len() + user_agent.len()
    }

    fn header(&mut self, side: usize, name: &[u8], value: &[u8], has_events: bool) {
        let Stream { common, sides, .. } = self;
        let own = &mut sides[side];
        let place = match (name, side) {
            (b":method", 0) => Some(&mut common.method),
            (b":path", 0) => Some(&mut common.path),
            (b":authority", 0) => Some(&mut common.host),
            (b"host", 0) if common.host.is_empty() => Some(&mut common.host),
            (b"user-agent", 0) => Some(&mut common.user_agent),
            (b":status", 1) => Some(&mut common.status),
            (b"content-length", _) => Some(&mut common.length),
            (b"content-type", _) => Some(&mut own.content_type),
            (b"content-encoding", _) => Some(&mut own.content_encoding),
            (b"content-disposition", _) => Some(&mut own.content_disposition),
            (b"content-range", _) => Some(&mut own.content_range),
            _ => None,
        };
        if let Some(place) = place {
            *place = value.get(..VALUE_BYTES_MAX).unwrap_or(value).to_vec();
        }
        if name == b"content-range" && side == 1 {
            common.content_range.clone_from(&own.content_range);
        }
        if has_events && own.said.headers.len() + name.len() + value.len() < HEADERS_BYTES_MAX {
            element(&mut own.said.headers, |object| {
                object.bytes("name", name).bytes("value", value);
            });
        }
    }

    fn learn(&self, side: usize, context: &mut Context<'_>) {
        let metadata = &mut *context.metadata;
        if side == 1 {
            let status = std::str::from_utf8(&self.common.status).ok().and_then(|text| text.parse().ok());
            if let Some(status) = status {
                metadata.set_number(Field::HttpStatus, status);
            }
            if !self.sides[1].content_type.is_empty() {
                metadata.set_bytes(Field::HttpContentType, &self.sides[1].content_type);
            }
            return;
        }
        let is_first = metadata.get(Field::HttpMethod).is_none();
        let common = &self.common;
        let values = [
            (&common.method, Field::HttpMethod, Field::HttpMethods),
            (&common.path, Field::HttpUri, Field::HttpUris),
            (&common.host, Field::HttpHost, Field::HttpHosts),
            (&common.user_agent, Field::HttpUserAgent, Field::HttpUserAgents),
        ];
        for (value, field, list) in values.into_iter().filter(|(value, ..)| !value.is_empty()) {
            learn(value, field, list, is_first, metadata);
        }
    }

    fn content(&mut self, side: usize, bytes: &[u8], client: Direction, context: &mut Context<'_>) {
        let carrier = match &self.sides[side].body {
            Some(body) if body.is_form() => self.carrier(context),
            _ => Vec::new(),
        };
        let own = &mut self.sides[side];
        if own.body.is_none() && !own.is_unread {
            let is = Description {
                content_type: &own.content_type,
                content_encoding: &own.content_encoding,
                content_disposition: &own.content_disposition,
                content_range: &own.content_range,
                target: &self.common.path,
                is_post: side == 0 && self.common.method == b"POST",
                is_request: side == 0,
                is_file: true,
            };
            let direction = if side == 0 { client } else { client.flip() };
            own.body = Body::begin(&is, direction, self.number, context);
            // One that cannot be followed is not tried again.
            own.is_unread = own.body.is_none();
        }
        let mut is_told = false;
        if let Some(body) = &mut own.body {
            body.bytes(bytes, &carrier, context);
            is_told = context.wanted.is_some() && body.tell_early(context);
        }
        if is_told && !awaits_frames(context) {
            let direction = if side == 0 { client } else { client.flip() };
            self.over(side, direction, context);
        }
    }

    /// Tells signatures that a side is over, of which they were told something.
    fn over(&mut self, side: usize, direction: Direction, context: &mut Context<'_>) {
        let own = &mut self.sides[side];
        if own.is_told && !std::mem::replace(&mut own.is_over, true) {
            context.reached(direction, self.number, Stage::Body);
        }
    }

    fn carrier(&self, context: &Context<'_>) -> Vec<u8> {
        let mut text = Vec::new();
        if context.events.is_some() {
            text.extend_from_slice(b"\"http\":");
            let [client, server] = &self.sides;
            event::write(self.id, &self.common, [&client.said, &server.said], &mut text);
        }
        text
    }

    fn end_body(&mut self, side: usize, is_whole: bool, context: &mut Context<'_>) {
        if let Some(body) = self.sides[side].body.take() {
            let carrier = self.carrier(context);
            body.end(is_whole, &carrier, context);
        }
    }

    fn end_bodies(&mut self, is_whole: bool, client: Direction, context: &mut Context<'_>) {
        for (side, direction) in [client, client.flip()].into_iter().enumerate() {
            self.end_body(side, is_whole, context);
            self.over(side, direction, context);
        }
    }
}
