//! Frames of HTTP/2 in, events and metadata out.

use super::*;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
use crate::dpi::{Carrier, Event};
use serde_json::{Value, json};
use weir_common::metadata::Field;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// SETTINGS_MAX_CONCURRENT_STREAMS 100, SETTINGS_INITIAL_WINDOW_SIZE 65535.
const SETTINGS: &[u8] = b"\0\x03\0\0\0\x64\0\x04\0\0\xff\xff";

fn client() -> Vec<u8> {
    let block =
        [&b"\x82\x84\x86"[..], &literal(":authority", "a.example"), &literal("user-agent", "curl")].concat();
    [PREFACE, &frame(4, 0, 0, SETTINGS), &frame(4, 1, 0, b""), &frame(1, 5, 1, &block)].concat()
}

fn server() -> Vec<u8> {
    let block =
        [&b"\x88"[..], &literal("content-type", "text/plain"), &literal("content-length", "5")].concat();
    let padded = [&[3][..], b"llo", &[0; 3]].concat();
    [frame(4, 0, 0, SETTINGS), frame(1, 4, 1, &block), frame(0, 0, 1, b"he"), frame(0, 9, 1, &padded)]
        .concat()
}

fn bodies(events: &[Event], kind: &str) -> Vec<Value> {
    let of_kind = events.iter().filter(|event| event.kind == kind);
    of_kind.map(|event| serde_json::from_slice(&event.body).unwrap()).collect()
}

#[test]
fn a_stream_is_one_event_and_its_content_a_file() {
    let trial = Trial::<Http2>::new().client(&client()).server(&server()).close();
    assert_eq!((trial.end, trial.malformed), (None, 0));
    let http = bodies(&trial.events, "http");
    let settings = json!([
        {"settings_id": "SETTINGSMAXCONCURRENTSTREAMS", "settings_value": 100},
        {"settings_id": "SETTINGSINITIALWINDOWSIZE", "settings_value": 65535},
    ]);
    let want = json!({"version": "2", "http2": {"stream_id": 0, "request": {"settings": settings}}});
    assert_eq!(http[0], want);
    assert_eq!(http[1]["http2"]["response"]["settings"], settings);
    let want = json!({
        "version": "2",
        "request_headers": [
            {"name": ":method", "value": "GET"}, {"name": ":path", "value": "/"}, {"name": ":scheme", "value": "http"},
            {"name": ":authority", "value": "a.example"}, {"name": "user-agent", "value": "curl"},
        ],
        "response_headers": [
            {"name": ":status", "value": "200"}, {"name": "content-type", "value": "text/plain"},
            {"name": "content-length", "value": "5"},
        ],
        "http_method": "GET", "url": "/", "hostname": "a.example", "http_user_agent": "curl", "length": 5,
        "status": 200, "http2": {"stream_id": 1},
    });
    assert_eq!((&http[2], http.len()), (&want, 3));
    let file = &bodies(&trial.events, "fileinfo")[0];
    assert_eq!(
        (&file["size"], &file["state"], &file["filename"]),
        (&json!(5), &json!("CLOSED"), &json!("/"))
    );
    assert_eq!(file["md5"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!((trial.text(Field::HttpHost), trial.text(Field::HttpUri)), ("a.example", "/"));
    assert_eq!(trial.metadata.number(Field::HttpStatus), Some(200));
}

#[test]
fn errors_of_streams_and_connections_are_told() {
    let reset = frame(3, 0, 1, &[0, 0, 0, 8]);
    let away = frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 99]);
    let trial = Trial::<Http2>::new().client(&client()).server(&[reset, away].concat()).close();
    let http = bodies(&trial.events, "http");
    assert_eq!(http[1]["http2"]["response"]["error_code"], "CANCEL");
    assert_eq!(http[2]["http2"]["response"]["error_code"], "unknown-99");
}

#[test]
fn a_header_block_may_go_on_in_the_next_frames() {
    let block = [&b"\x82\x84"[..], &literal("x", "y")].concat();
    let parts =
        [frame(1, 1, 3, &block[..3]), frame(9, 0, 3, &block[3..4]), frame(9, 4, 3, &block[4..])].concat();
    let trial = Trial::<Http2>::new().client(&[PREFACE, &parts].concat()).close();
    assert_eq!(bodies(&trial.events, "http")[0]["request_headers"][2], json!({"name": "x", "value": "y"}));
    let other = [frame(1, 1, 3, &block[..3]), frame(9, 4, 5, &block[3..])].concat();
    let trial = Trial::<Http2>::new().client(&[PREFACE, &other].concat()).close();
    assert_eq!(bodies(&trial.events, "anomaly")[0]["event"], "invalid_frame_header");
}

#[test]
fn an_upgraded_request_is_the_first_stream() {
    let note = b"GET\n/robots.txt\na.example\ncurl\nAAMAAABkAAQAAP__";
    let trial = Trial::<Http2>::new()
        .announced(note)
        .server(&server())
        .client(&[PREFACE, &frame(4, 0, 0, SETTINGS)].concat());
    let http = bodies(&trial.events, "http");
    assert_eq!(http[0]["http2"]["request"]["settings"][1]["settings_value"], 65535);
    assert_eq!(http[2]["http2"]["stream_id"], 1);
    assert_eq!((&http[2]["url"], &http[2]["status"]), (&json!("/robots.txt"), &json!(200)));
    assert_eq!(http[2]["request_headers"][2]["name"], ":authority");
}

#[test]
fn a_hole_in_content_is_a_hole_in_the_file() {
    let [head, tail] = [&server()[..server().len() - 3 - 16], &server()[server().len() - 16..]];
    let trial = Trial::<Http2>::new().client(&client()).server(head);
    assert!(bodies(&trial.events, "fileinfo").is_empty());
    let _ = tail;
    let lost = Trial::<Http2>::new()
        .client(&client())
        .gap(Direction::Reverse, 9)
        .gap(Direction::Forward, 1)
        .client(b"x");
    assert_eq!(lost.end, Some(Progress::Done));
}

#[test]
fn both_sides_are_recognised() {
    let probe = |bytes: &[u8]| Http2::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
    assert_eq!(probe(PREFACE), Probe::Certain);
    for cut in 1..PREFACE.len() {
        assert_eq!(probe(&PREFACE[..cut]), Probe::Unsure);
    }
    assert_eq!(probe(&server()), Probe::Certain);
    assert_eq!(probe(&frame(4, 0, 0, b"")), Probe::Likely);
    assert_eq!(probe(b"PRI * HTTP/2.0\r\n\r\nXM"), Probe::NotForUs);
    assert_eq!(probe(&frame(4, 0, 0, b"\x10\x03\0\0\0\x64\0\x04\0\0\xff\xff")), Probe::NotForUs);
    assert_eq!(probe(&frame(4, 0, 1, SETTINGS)), Probe::NotForUs);
    assert_eq!(probe(b"\0\0\0\0\0\0\0\0\0\0"), Probe::NotForUs);
}

#[test]
fn cuts_and_damage_do_not_matter() {
    cuts_do_not_matter::<Http2>(&client(), &server());
    survives_damage::<Http2>(&client(), &server());
}

#[test]
fn streams_are_bounded() {
    let requests: Vec<u8> =
        (0..=STREAMS_MAX as u32).flat_map(|at| frame(1, 4, at * 2 + 1, b"\x82\x84")).collect();
    let trial = Trial::<Http2>::new().client(&[PREFACE, &requests].concat());
    assert_eq!(bodies(&trial.events, "anomaly")[0]["event"], "too_many_streams");
    assert_eq!(bodies(&trial.events, "http").len(), 1);
}

/// A question for `a.example` type A, and its answer.
const QUESTION: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
const ANSWER: &[u8] =
    b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01";

#[test]
fn dns_inside_is_told_and_names_the_flow() {
    let is_dns = literal("content-type", "application/dns-message");
    let block = [&b"\x83\x84\x86"[..], &is_dns].concat();
    let client = [PREFACE, &frame(4, 0, 0, SETTINGS), &frame(1, 4, 1, &block), &frame(0, 1, 1, QUESTION)];
    let block = [&b"\x88"[..], &is_dns].concat();
    let server = [frame(4, 0, 0, SETTINGS), frame(1, 4, 1, &block), frame(0, 1, 1, ANSWER)];
    let (client, server) = (client.concat(), server.concat());
    let trial = Trial::<Http2>::new().client(&client).server(&server).close();
    let dns = bodies(&trial.events, "dns");
    assert_eq!((dns.len(), &dns[0]["type"], &dns[1]["type"]), (2, &json!("request"), &json!("response")));
    assert_eq!(dns[1]["answers"][0]["rdata"], "10.0.0.1");
    survives_damage::<Http2>(&client, &server);
    // What only says that it is one tells nothing.
    let server = [frame(4, 0, 0, SETTINGS), frame(1, 4, 1, &block), frame(0, 1, 1, b"<html>")].concat();
    let trial = Trial::<Http2>::new().client(&client).server(&server).close();
    assert_eq!(bodies(&trial.events, "dns").len(), 1);
}

#[test]
fn dns_in_a_target_is_told() {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(QUESTION);
    let asked = |path: String| {
        let block = [&b"\x82\x86"[..], &literal(":path", &path)].concat();
        let client = [PREFACE, &frame(4, 0, 0, SETTINGS), &frame(1, 5, 1, &block)].concat();
        let trial = Trial::<Http2>::new().client(&client).close();
        bodies(&trial.events, "dns").len()
    };
    assert_eq!(asked(format!("/dns-query?dns={encoded}")), 1);
    assert_eq!(asked(format!("/q?a=1&dns={encoded}&b=2")), 1);
    assert_eq!(asked(format!("/dns-query?xdns={encoded}")), 0);
    assert_eq!(asked("/dns-query?dns=AAAA".to_owned()), 0);
}

#[test]
fn of_what_a_side_says_twice_the_first_is_told() {
    let block = [&[0, 0, 0, 0, 7][..], &client_block()].concat();
    let client = [PREFACE, &frame(1, 0x25, 1, &block), &frame(2, 0, 1, &[0, 0, 0, 0, 9])].concat();
    let trial = Trial::<Http2>::new().client(&client).server(&server()).close();
    let http = bodies(&trial.events, "http");
    let told = http.iter().find(|body| body["http2"]["stream_id"] == 1).unwrap();
    assert_eq!(
        told["http2"],
        json!({"stream_id": 1, "request": {"priority": 7, "has_multiple": "priority"}})
    );
}

fn client_block() -> Vec<u8> {
    [&b"\x82\x84\x86"[..], &literal(":authority", "a.example")].concat()
}
