//! One HTTP transaction as EVE describes it.
//!
//! In: a request, a response, or both. Out: a JSON object with Suricata's field names and value formats.

use super::body;
use super::head::{Head, Part};
use weir_common::json::Object;

/// Writes the object. `response` is a head and the bytes of its body as they were on the wire.
pub(super) fn write(request: Option<&Head>, response: Option<(&Head, u64)>, body: &mut Vec<u8>) {
    let mut object = Object::begin(body);
    if let Some(request) = request {
        write_host(request, &mut object);
        part(&mut object, "url", request, Part::Target);
        part(&mut object, "http_user_agent", request, Part::UserAgent);
        part(&mut object, "xff", request, Part::ForwardedFor);
    }
    if let Some((head, _)) = response {
        if let Some(kind) = head.get(Part::ContentType) {
            let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
            object.bytes("http_content_type", kind);
        }
        if let Some(range) = head.get(Part::ContentRange) {
            write_range(range, &mut object.object("content_range"));
        }
    }
    if let Some(request) = request {
        part(&mut object, "http_refer", request, Part::Referer);
        part(&mut object, "http_method", request, Part::Method);
        part(&mut object, "protocol", request, Part::Protocol);
    }
    if let Some((head, _)) = response {
        if head.status() > 0 {
            object.number("status", head.status());
        }
        part(&mut object, "status_string", head, Part::StatusText);
        part(&mut object, "redirect", head, Part::Location);
    }
    object.number("length", response.map_or(0, |(_, length)| length));
    let heads = [("request_headers", request), ("response_headers", response.map(|(head, _)| head))];
    for (key, head) in heads {
        let lines = head.map_or(&[][..], Head::lines);
        if !lines.is_empty() {
            let mut list = object.list(key);
            lines.iter().for_each(|(name, value)| {
                list.object().bytes("name", name).bytes("value", value);
            });
        }
    }
}

fn part(object: &mut Object<'_>, key: &'static str, head: &Head, part: Part) {
    if let Some(value) = head.get(part) {
        object.bytes(key, value);
    }
}

/// The host, and its port where one is written.
fn write_host(request: &Head, object: &mut Object<'_>) {
    let Some(host) = request.target_authority().or_else(|| request.get(Part::Host)) else { return };
    // The colons of an IPv6 address stand in brackets.
    let from = memchr::memrchr(b']', host).unwrap_or(0);
    let colon = memchr::memchr(b':', host.get(from..).unwrap_or_default()).map(|at| from + at);
    let (name, port) = host.split_at(colon.unwrap_or(host.len()));
    object.bytes("hostname", &name.to_ascii_lowercase());
    let port = port
        .get(1..)
        .and_then(|port| std::str::from_utf8(port).ok())
        .and_then(|port| port.parse::<u16>().ok());
    if let Some(port) = port {
        object.number("http_port", port);
    }
}

/// `bytes 0-99/1234`, with `*` for what is not known (RFC 9110 section 14.4).
pub(in crate::dpi) fn write_range(range: &[u8], object: &mut Object<'_>) {
    object.bytes("raw", range);
    if let Some((start, end)) = body::range(range) {
        object.number("start", start).number("end", end);
    }
    let size = std::str::from_utf8(range).ok().and_then(|text| text.rsplit_once('/'));
    if let Some(size) = size.and_then(|(_, size)| size.trim().parse::<u64>().ok()) {
        object.number("size", size);
    }
}
