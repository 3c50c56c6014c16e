//! WebSocket (RFC 6455), behind HTTP's upgrade.
//!
//! In: the frames of both directions. Out: one event per frame, in Suricata's form; files and other protocols
//! inside of it are not looked for. Payloads pass unread, so that they need no memory, except where signatures look
//! into them: those hold up to [`PAYLOAD_BYTES_MAX`] of a message. HTTP announces it;
//! otherwise only a message of text is recognised, since a frame alone looks like anything.

use super::buffers::{self, Buffer, Number, Stage};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use flate2::{Decompress, FlushDecompress, Status};
use weir_common::app::App;
use weir_common::metadata::Field;

/// Longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: u64 = 125;
/// Frames of a flow told of; later ones are not, since a stream of them may go on for days.
const FRAMES_MAX: u64 = 10_000;

/// Most bytes of a message that signatures look into, as Suricata's `max-payload-size`; what is longer is cut off.
const PAYLOAD_BYTES_MAX: usize = 0xffff;

/// First byte of a text message in one frame.
const FINAL_TEXT: u8 = 0x81;
/// Shortest text that is recognised without the upgrade, in bytes.
const TEXT_BYTES_MIN: u64 = 8;

/// State of a WebSocket flow.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    frames: u64,
    /// By direction: a message is under way, a payload is being passed over.
    is_continued: [bool; 2],
    is_skipping: [bool; 2],
    is_closed: [bool; 2],
    messages: [Message; 2],
}

/// The message of a direction, for signatures.
#[derive(Debug, Default)]
struct Message {
    /// What its frames before the last brought.
    bytes: Vec<u8>,
    is_compressed: bool,
    inflater: Option<Box<Inflater>>,
}

/// Messages that are compressed (RFC 7692) may refer to those before them.
struct Inflater(Decompress);

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inflater")
    }
}

impl Message {
    /// A frame of data brings more; with the last one the message is complete.
    fn frame(&mut self, frame: &Frame, is_continuation: bool, payload: &mut Vec<u8>) {
        if !is_continuation {
            self.bytes.clear();
            self.is_compressed = frame.is_compressed;
        }
        if is_continuation || !frame.is_final {
            let room = PAYLOAD_BYTES_MAX.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(payload.get(..room).unwrap_or(payload));
        }
        if !frame.is_final {
            return;
        }
        if is_continuation {
            std::mem::swap(payload, &mut self.bytes);
        }
        self.bytes = Vec::new();
        if std::mem::take(&mut self.is_compressed)
            && let Some(inflated) = self.inflate(payload)
        {
            *payload = inflated;
        }
    }

    fn inflate(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut inflater = self.inflater.take().unwrap_or_else(|| Box::new(Inflater(Decompress::new(false))));
        let mut out = Vec::with_capacity(payload.len().saturating_mul(4).clamp(64, PAYLOAD_BYTES_MAX));
        let mut is_sound = true;
        // RFC 7692 section 7.2.2: the end of each message is left out.
        'all: for mut input in [payload, &[0, 0, 0xff, 0xff]] {
            while !input.is_empty() {
                if out.len() == out.capacity() {
                    if out.len() >= PAYLOAD_BYTES_MAX {
                        is_sound = false;
                        break 'all;
                    }
                    out.reserve(out.len().min(PAYLOAD_BYTES_MAX - out.len()));
                }
                let (read, made) = (inflater.0.total_in(), out.len());
                let status = inflater.0.decompress_vec(input, &mut out, FlushDecompress::Sync);
                let read = usize::try_from(inflater.0.total_in() - read).unwrap_or(usize::MAX);
                input = input.get(read..).unwrap_or_default();
                match status {
                    Ok(Status::Ok | Status::BufError) if read > 0 || out.len() > made => {}
                    Ok(Status::Ok | Status::BufError) if out.len() == out.capacity() => {}
                    Ok(Status::StreamEnd) => {
                        inflater.0.reset(false);
                        break 'all;
                    }
                    _ => {
                        is_sound = false;
                        break 'all;
                    }
                }
            }
        }
        out.truncate(PAYLOAD_BYTES_MAX);
        self.inflater = is_sound.then_some(inflater);
        (!out.is_empty()).then_some(out)
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
struct Frame {
    bytes: usize,
    is_final: bool,
    /// The first reserved bit, which RFC 7692 uses for compressed messages.
    is_compressed: bool,
    reserved: u8,
    opcode: u8,
    mask: Option<u32>,
    length: u64,
}

impl Frame {
    /// Reads a header; none: more bytes are needed.
    fn of(bytes: &[u8]) -> Option<Frame> {
        let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
        let (length, rest, length_bytes) = match second & 0x7f {
            126 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (u64::from(u16::from_be_bytes(*length)), rest, 2)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*length), rest, 8)
            }
            length => (u64::from(length), rest, 0),
        };
        let mask = match second & 0x80 {
            0 => None,
            _ => Some(u32::from_be_bytes(*rest.first_chunk::<4>()?)),
        };
        Some(Frame {
            bytes: 2 + length_bytes + if mask.is_some() { 4 } else { 0 },
            is_final: first & 0x80 != 0,
            is_compressed: first & 0x40 != 0,
            reserved: first & 0x30,
            opcode: first & 0x0f,
            mask,
            length,
        })
    }

    fn is_control(&self) -> bool {
        self.opcode & 8 != 0
    }
}

/// Whether signatures look into frames, so that none may pass unread.
fn wants_frames(context: &Context<'_>) -> bool {
    let frames = [Buffer::FrameWebsocketHeader, Buffer::FrameWebsocketPdu, Buffer::FrameWebsocketData];
    context.wanted.is_some_and(|wanted| frames.into_iter().any(|frame| wanted.has(frame)))
}

/// RFC 6455 section 11.8.
fn opcode_name(opcode: u8) -> Option<&'static str> {
    Some(match opcode {
        0 => "continuation",
        1 => "text",
        2 => "binary",
        8 => "close",
        9 => "ping",
        10 => "pong",
        _ => return None,
    })
}

impl Dissector for WebSocket {
    const APP: App = App::WebSocket;

    const STARTS: Starts = Starts::stream(&[FINAL_TEXT]);

    /// Where the upgrade was not seen, a whole message of text says what it is: its length fits, and taking the
    /// mask off leaves nothing but text.
    fn probe(first: &First<'_>) -> Probe {
        if !first.is_stream() || first.bytes.first() != Some(&FINAL_TEXT) {
            return Probe::NotForUs;
        }
        let Some(frame) = Frame::of(first.bytes) else { return Probe::Unsure };
        let payload = first.bytes.get(frame.bytes..).unwrap_or_default();
        let length = payload.len() as u64;
        if frame.length < TEXT_BYTES_MIN || length > frame.length {
            return Probe::NotForUs;
        }
        let key = frame.mask.unwrap_or(0).to_be_bytes();
        let is_text = |byte: u8| matches!(byte, b'\t' | b'\r' | b'\n' | 0x20..=0x7e);
        let is_all_text = payload.iter().zip(key.iter().cycle()).all(|(byte, key)| is_text(byte ^ key));
        match is_all_text {
            true if length == frame.length => Probe::Certain,
            true => Probe::Unsure,
            false => Probe::NotForUs,
        }
    }

    fn new() -> WebSocket {
        WebSocket::default()
    }

    fn expected(_note: &[u8]) -> Option<WebSocket> {
        Some(WebSocket::default())
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        self.is_skipping[index] = false;
        let mut used = 0usize;
        while let Some(frame) = bytes.get(used..).and_then(Frame::of) {
            let is_bad = frame.reserved != 0
                || opcode_name(frame.opcode).is_none()
                || frame.is_control() && (!frame.is_final || frame.length > CONTROL_BYTES_MAX)
                || frame.length > i64::MAX as u64;
            if is_bad {
                return Progress::Broken("invalid_frame");
            }
            if context.wanted.is_some() {
                let begin = used.saturating_add(frame.bytes);
                let wants = context.wants(Buffer::WebsocketPayload);
                let wants_frames = wants_frames(context);
                let length = usize::try_from(frame.length).unwrap_or(usize::MAX).min(PAYLOAD_BYTES_MAX);
                let payload = bytes.get(begin..begin.saturating_add(length));
                match payload {
                    None if wants || wants_frames => return Progress::Used(used),
                    payload => {
                        let whole = bytes.get(used..).unwrap_or_default();
                        self.tell_frames(&frame, whole, payload.filter(|_| wants_frames), context);
                        self.tell_parts(&frame, payload.filter(|_| wants), context);
                    }
                }
            }
            // A continuation needs a beginning (RFC 6455 section 5.4); its loss is no contradiction.
            if !frame.is_control() {
                self.is_continued[index] = !frame.is_final;
            }
            self.tell(&frame, context);
            self.is_closed[index] |= frame.opcode == 8;
            let payload = usize::try_from(frame.length).unwrap_or(usize::MAX);
            used = used.saturating_add(frame.bytes).saturating_add(payload);
            if used > bytes.len() {
                self.is_skipping[index] = true;
                return Progress::Used(used);
            }
        }
        if self.is_closed == [true; 2] || self.frames >= FRAMES_MAX {
            return Progress::Done;
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _missing: u64, context: &mut Context<'_>) -> Progress {
        // Skipped bytes that never came are the end of the flow; elsewhere the place in the frames is lost.
        let is_skipping = self.is_skipping[context.direction.index()];
        if is_skipping { Progress::Used(0) } else { Progress::Done }
    }

    fn close(&mut self, _context: &mut Context<'_>) {}
}

impl WebSocket {
    /// Tells signatures a frame, with the payload of its whole message where it is the last of one.
    fn tell_parts(&mut self, frame: &Frame, payload: Option<&[u8]>, context: &mut Context<'_>) {
        let (direction, number) = (context.direction, self.frames);
        let index = direction.index();
        let flags = u64::from(frame.is_final) << 7 | u64::from(frame.is_compressed) << 6;
        context.put_number(direction, number, Number::WebsocketFlags, flags);
        context.put_number(direction, number, Number::WebsocketOpcode, frame.opcode.into());
        if let Some(mask) = frame.mask {
            context.put_number(direction, number, Number::WebsocketMask, mask.into());
        }
        if let Some(payload) = payload {
            let key = frame.mask.unwrap_or(0).to_be_bytes();
            let mut payload: Vec<u8> =
                payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            if !frame.is_control() {
                let is_continuation = self.is_continued[index];
                self.messages[index].frame(frame, is_continuation, &mut payload);
            }
            context.put(direction, number, Buffer::WebsocketPayload, &payload);
        }
        context.reached(direction, number, Stage::Body);
    }

    /// Tells a frame as frames: whole, its header and its payload as it is on the wire.
    fn tell_frames(&self, frame: &Frame, whole: &[u8], payload: Option<&[u8]>, context: &mut Context<'_>) {
        let Some(payload) = payload else { return };
        let head = whole.get(..frame.bytes).unwrap_or_default();
        let length = frame.length.saturating_add(frame.bytes as u64);
        for (buffer, length, pieces) in [
            (Buffer::FrameWebsocketHeader, frame.bytes as u64, [head, &[]]),
            (Buffer::FrameWebsocketPdu, length, [head, payload]),
            (Buffer::FrameWebsocketData, frame.length, [payload, &[]]),
        ] {
            if length == 0 {
                continue;
            }
            let about = buffers::Frame { length, transaction: Some(self.frames) };
            if let Some(number) = context.begin_frame(buffer, about) {
                pieces.iter().for_each(|piece| context.frame_bytes(number, piece));
                context.end_frame(number);
            }
        }
    }

    fn tell(&mut self, frame: &Frame, context: &mut Context<'_>) {
        let number = self.frames;
        self.frames = self.frames.saturating_add(1);
        let name = opcode_name(frame.opcode).unwrap_or_default();
        if frame.is_compressed {
            context.metadata.set_text(Field::Version, "permessage-deflate");
        }
        context.metadata.add(Field::Command, name);
        let direction = context.direction;
        context.tell(direction, Some(number), |object| {
            object.bool("fin", frame.is_final);
            if let Some(mask) = frame.mask {
                object.number("mask", mask);
            }
            object.text("opcode", name);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
    use serde_json::json;
    use weir_common::net::Direction;

    /// RFC 6455 section 5.7: "Hello", masked and not, a ping, and 256 bytes.
    const MASKED: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    const PLAIN: &[u8] = b"\x81\x05Hello";

    #[test]
    fn every_frame_is_an_event() {
        let long = [&b"\x82\x7e\x01\x00"[..], &[7; 256]].concat();
        let trial =
            Trial::<WebSocket>::new().client(MASKED).server(PLAIN).server(&long[..10]).server(&long[10..]);
        let trial = trial.client(b"\x88\x80\0\0\0\x01").server(b"\x88\x00");
        assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 0));
        let bodies: Vec<serde_json::Value> =
            trial.events.iter().map(|event| serde_json::from_slice(&event.body).unwrap()).collect();
        let want = [
            json!({"fin": true, "mask": 0x37fa_213d, "opcode": "text"}),
            json!({"fin": true, "opcode": "text"}),
            json!({"fin": true, "opcode": "binary"}),
            json!({"fin": true, "mask": 1, "opcode": "close"}),
            json!({"fin": true, "opcode": "close"}),
        ];
        assert_eq!(bodies, want);
        let numbers: Vec<_> = trial.events.iter().map(|event| event.transaction).collect();
        assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn signatures_are_told_whole_messages_unmasked_and_inflated() {
        // "Hello" in two frames with a ping between them, then twice "Hello" compressed (RFC 7692 section 7.2.3),
        // the second time as a reference to the first.
        let split = b"\x01\x03Hel\x89\x01?\x80\x02lo";
        let packed = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc1\x05\xf2\x00\x11\x00\x00";
        let mut trial = Trial::<WebSocket>::new().client(MASKED).client(split);
        trial = packed.iter().fold(trial, |trial, byte| trial.server(&[*byte]));
        expect_test::expect![[r#"
            client 0 websocket.payload Hello
            client 0 WebsocketFlags 128
            client 0 WebsocketOpcode 1
            client 0 WebsocketMask 939139389
            client 1 websocket.payload Hel
            client 1 WebsocketFlags 0
            client 1 WebsocketOpcode 1
            client 2 websocket.payload ?
            client 2 WebsocketFlags 128
            client 2 WebsocketOpcode 9
            client 3 websocket.payload Hello
            client 3 WebsocketFlags 128
            client 3 WebsocketOpcode 0
            server 4 websocket.payload Hello
            server 4 WebsocketFlags 192
            server 4 WebsocketOpcode 1
            server 5 websocket.payload Hello
            server 5 WebsocketFlags 192
            server 5 WebsocketOpcode 1
        "#]]
        .assert_eq(&trial.told());
    }

    #[test]
    fn frames_are_told_as_they_are_on_the_wire() {
        expect_test::expect![[r#"
            client frame:websocket.header \x81\x85\x01\x00\x00\x00
            client frame:websocket.pdu \x81\x85\x01\x00\x00\x00Iello
            client frame:websocket.data Iello
            client frame:websocket.header \x89\x00
            client frame:websocket.pdu \x89\x00
        "#]]
        .assert_eq(&Trial::<WebSocket>::new().client(b"\x81\x85\x01\0\0\0Iello\x89\0").framed());
    }

    #[test]
    fn a_message_of_text_is_recognised_without_the_upgrade() {
        let probe = |bytes: &[u8]| WebSocket::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        let masked = b"\x81\x88\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x8e\x4d\x49";
        let plain = b"\x81\x08Hello you";
        for (bytes, other) in [(&masked[..], 13), (&plain[..10], 9)] {
            assert_eq!((probe(bytes), probe(&bytes[..other])), (Probe::Certain, Probe::Unsure));
            assert_eq!(probe(&bytes[..1]), Probe::Unsure);
        }
        assert_eq!(
            (probe(plain), probe(b"\x81\x07Hello y"), probe(b"\x81\x00\0\x44 ")),
            (Probe::NotForUs, Probe::NotForUs, Probe::NotForUs)
        );
        assert_eq!(
            (probe(b"\x81\x08Hello \x01x"), probe(b"\x82\x08Hello yo")),
            (Probe::NotForUs, Probe::NotForUs)
        );
    }

    #[test]
    fn what_is_no_frame_ends_the_reading() {
        for bytes in
            [&b"\x83\x00"[..], b"\xb1\x00", b"\x09\x00", b"\x89\x7e\x00\x7e", b"\x81\x7f\xff\0\0\0\0\0\0\0"]
        {
            let trial = Trial::<WebSocket>::new().client(bytes);
            assert_eq!(trial.end, Some(Progress::Broken("invalid_frame")), "{bytes:x?}");
        }
        assert_eq!(Trial::<WebSocket>::new().client(b"\xc1\x00").text(Field::Version), "permessage-deflate");
    }

    #[test]
    fn cuts_and_damage_do_not_matter() {
        cuts_do_not_matter::<WebSocket>(
            &[MASKED, b"\x89\x80\0\0\0\0"].concat(),
            &[PLAIN, b"\x8a\0"].concat(),
        );
        survives_damage::<WebSocket>(MASKED, PLAIN);
    }
}
