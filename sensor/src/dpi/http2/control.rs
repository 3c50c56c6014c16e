//! Frames of HTTP/2 that are read whole: all but DATA.
//!
//! In: the frame. Out: what it says of its stream or of the connection, to events and to signatures. Header blocks are
//! put together of the frames that carry them, and read in the order of the connection.

use super::event::{self, element};
use super::hpack::{self, BLOCK_BYTES_MAX};
use super::told::Block;
use super::{FrameHeader, Http2, frame};
use crate::dpi::buffers::{Number, Stage};
use crate::dpi::scan::Scan;
use crate::dpi::{Context, dns};
use weir_common::net::Direction;

impl Http2 {
    pub(super) fn whole_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), &'static str> {
        match header.kind {
            frame::SETTINGS if !header.has(frame::ACK) => {
                if header.stream != 0 || !payload.len().is_multiple_of(6) {
                    return Err("invalid_frame_data");
                }
                self.settings(payload, context.direction, context);
                Ok(())
            }
            frame::GOAWAY => self.go_away(payload, context),
            frame::RST_STREAM => self.reset(header.stream, payload, context),
            frame::PRIORITY => self.priority(header.stream, payload, context),
            frame::HEADERS | frame::PUSH_PROMISE => self.header_block(header, payload, context),
            frame::CONTINUATION => self.continuation(header, payload, context),
            _ => Ok(()),
        }
    }

    /// Which of a stream's sides speaks: the client's or the server's.
    fn side(&self, context: &Context<'_>) -> usize {
        usize::from(context.direction != self.client)
    }

    /// The end of the connection is a transaction of its own.
    fn go_away(&mut self, payload: &[u8], context: &mut Context<'_>) -> Result<(), &'static str> {
        let error = Scan::new(payload.get(4..).unwrap_or_default()).be32().ok_or("invalid_frame_data")?;
        let (direction, side) = (context.direction, self.side(context));
        let mut stream = self.new_stream(0);
        stream.sides[side].said.note_error(error);
        let number = stream.number;
        context.put_number(direction, number, Number::Http2FrameType, frame::GOAWAY.into());
        context.put_number(direction, number, Number::Http2ErrorCode, error.into());
        context.reached(direction, number, Stage::Body);
        self.tell(&stream, context);
        Ok(())
    }

    fn reset(&mut self, id: u32, payload: &[u8], context: &mut Context<'_>) -> Result<(), &'static str> {
        let error = Scan::new(payload).be32().ok_or("invalid_frame_data")?;
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else { return Ok(()) };
        let (direction, side) = (context.direction, self.side(context));
        let mut stream = self.close_stream(at, context);
        stream.sides[side].said.note_error(error);
        if !stream.sides[side].is_over {
            stream.sides[side].is_told = true;
            let number = stream.number;
            context.put_number(direction, number, Number::Http2FrameType, frame::RST_STREAM.into());
            context.put_number(direction, number, Number::Http2ErrorCode, error.into());
        }
        stream.end_bodies(false, self.client, context);
        self.tell(&stream, context);
        Ok(())
    }

    fn priority(&mut self, id: u32, payload: &[u8], context: &mut Context<'_>) -> Result<(), &'static str> {
        let weight = *payload.get(4).ok_or("invalid_frame_data")?;
        if id != 0 {
            self.put_frame(id, frame::PRIORITY, Some(weight), context);
        }
        let side = self.side(context);
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            stream.sides[side].said.note_priority(weight);
        }
        Ok(())
    }

    /// Tells rules of a frame that belongs to a stream, and of the weight that it gives it.
    fn put_frame(&mut self, id: u32, kind: u8, weight: Option<u8>, context: &mut Context<'_>) {
        if context.wanted.is_none() {
            return;
        }
        let (direction, side) = (context.direction, self.side(context));
        let stream = self.stream(id, context);
        stream.sides[side].is_told = true;
        let number = stream.number;
        context.put_number(direction, number, Number::Http2FrameType, kind.into());
        if let Some(weight) = weight {
            context.put_number(direction, number, Number::Http2Priority, weight.into());
        }
    }

    /// The first part of a block of headers, which may be all of it.
    fn header_block(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), &'static str> {
        self.note_reuse(header.stream, context);
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
        if let Some(weight) = weight {
            let side = self.side(context);
            self.stream(id, context).sides[side].said.note_priority(weight);
        }
        self.put_frame(id, header.kind, weight, context);
        let half = &mut self.halves[context.direction.index()];
        half.block = block.to_vec();
        half.block_stream = id;
        half.block_ends = header.kind == frame::HEADERS && header.has(frame::END_STREAM);
        if header.has(frame::END_HEADERS) {
            self.headers(context)?;
        }
        Ok(())
    }

    fn continuation(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), &'static str> {
        let half = &mut self.halves[context.direction.index()];
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
        Ok(())
    }

    /// Settings are a transaction of their own.
    pub(super) fn settings(&mut self, payload: &[u8], direction: Direction, context: &mut Context<'_>) {
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
    pub(super) fn headers(&mut self, context: &mut Context<'_>) -> Result<(), &'static str> {
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
            for event in told.odd().into_iter().flatten() {
                context.odd(direction, stream.number, event);
            }
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
}
