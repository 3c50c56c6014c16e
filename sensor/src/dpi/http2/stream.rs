//! One stream of HTTP/2: what both of its sides have said, and their bodies.
//!
//! In: headers and content, by side. Out: the stream's part of the flow's metadata, files, and what signatures look into
//! of bodies. Holds of headers what is told of them, within limits.

use super::event::{self, Common, Said, element};
use crate::dpi::Context;
use crate::dpi::buffers::{Number, Stage};
use crate::dpi::http::body::{Body, Description};
use crate::dpi::http::learn;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes kept of one header that has a place of its own.
const VALUE_BYTES_MAX: usize = 8 << 10;
/// Most bytes of JSON kept of the headers of one side of a stream; more are left out.
const HEADERS_BYTES_MAX: usize = 32 << 10;

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) number: u64,
    pub(super) common: Common,
    pub(super) sides: [Side; 2],
}

/// One side of it; that of the client first.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) said: Said,
    pub(super) content_type: Vec<u8>,
    pub(super) content_encoding: Vec<u8>,
    pub(super) content_disposition: Vec<u8>,
    pub(super) content_range: Vec<u8>,
    pub(super) body: Option<Box<Body>>,
    /// Its body cannot be followed, or nobody wants to.
    pub(super) is_unread: bool,
    pub(super) is_ended: bool,
    /// Signatures were told something of it, its headers, that it is over.
    pub(super) is_told: bool,
    pub(super) has_head: bool,
    pub(super) is_over: bool,
}

/// Whether signatures look at the frames of streams, of which some come after a side has ended: its windows.
pub(super) fn awaits_frames(context: &Context<'_>) -> bool {
    let numbers =
        [Number::Http2FrameType, Number::Http2Window, Number::Http2ErrorCode, Number::Http2Priority];
    context.wanted.is_some_and(|wanted| numbers.iter().any(|number| wanted.has_number(*number)))
}

impl Stream {
    pub(super) fn kept_bytes(&self) -> usize {
        let Common { path, host, user_agent, .. } = &self.common;
        let headers: usize = self.sides.iter().map(|side| side.said.headers.len()).sum();
        headers + path.len() + host.len() + user_agent.len()
    }

    pub(super) fn header(&mut self, side: usize, name: &[u8], value: &[u8], has_events: bool) {
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

    pub(super) fn learn(&self, side: usize, context: &mut Context<'_>) {
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

    pub(super) fn content(
        &mut self,
        side: usize,
        bytes: &[u8],
        client: Direction,
        context: &mut Context<'_>,
    ) {
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
    pub(super) fn over(&mut self, side: usize, direction: Direction, context: &mut Context<'_>) {
        let own = &mut self.sides[side];
        if own.is_told && !std::mem::replace(&mut own.is_over, true) {
            context.reached(direction, self.number, Stage::Body);
        }
    }

    pub(super) fn carrier(&self, context: &Context<'_>) -> Vec<u8> {
        let mut text = Vec::new();
        if context.events.is_some() {
            text.extend_from_slice(b"\"http\":");
            let [client, server] = &self.sides;
            event::write(self.id, &self.common, [&client.said, &server.said], &mut text);
        }
        text
    }

    pub(super) fn end_body(&mut self, side: usize, is_whole: bool, context: &mut Context<'_>) {
        if let Some(body) = self.sides[side].body.take() {
            let carrier = self.carrier(context);
            body.end(is_whole, &carrier, context);
        }
    }

    pub(super) fn end_bodies(&mut self, is_whole: bool, client: Direction, context: &mut Context<'_>) {
        for (side, direction) in [client, client.flip()].into_iter().enumerate() {
            self.end_body(side, is_whole, context);
            self.over(side, direction, context);
        }
    }
}
