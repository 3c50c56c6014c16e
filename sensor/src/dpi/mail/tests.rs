//! Mails in pieces of any size: headers, parts, attachments.

use super::*;
use crate::dpi::Carrier;
use crate::dpi::config::{FileConfig, FileHash};
use crate::dpi::expect::Expectations;
use crate::dpi::{Event, Files};
use weir_common::app::App;
use weir_common::metadata::Metadata;
use weir_common::net::Address;
use weir_common::time::Timestamp;

/// A message fed in pieces of a size: its `email` object and the events.
fn read(message: &[u8], piece: usize) -> (serde_json::Value, Vec<Event>, Metadata) {
    let (mut metadata, mut events, mut malformed) = (Metadata::default(), Vec::new(), 0);
    let files = Files::new(FileConfig { hashes: vec![FileHash::Md5], ..FileConfig::default() });
    let mut expectations = Expectations::default();
    let mut context = Context {
        app: App::Smtp,
        time: Timestamp::MIN,
        direction: Direction::Forward,
        carrier: Carrier::Stream,
        ends: [(Address::v4([192, 0, 2, 1]), 1), (Address::v4([192, 0, 2, 2]), 25)],
        metadata: &mut metadata,
        events: Some(&mut events),
        malformed: &mut malformed,
        to_handshake_end: false,
        files: &files,
        expectations: &mut expectations,
        found_inside: None,
        wanted: None,
        eve: crate::dpi::config::EveConfig::default(),
        sides: &mut None,
    };
    let mut mail = Mail::begin(Direction::Forward, Some(0));
    for bytes in message.chunks(piece) {
        mail.bytes(bytes, &mut context);
    }
    mail.end(true, &mut context);
    mail.tell_files(b"", &mut context);
    let mut body = Vec::new();
    mail.write(&mut Object::begin(&mut body));
    (serde_json::from_slice(&body).unwrap(), events, metadata)
}

const NESTED: &[u8] = b"From: =?utf-8?q?J=C3=B6rg_A?= <j@example.com>\r\nTo: a@example.com,\r\n \"b, c\" <b@example.com>\r\n\
    Subject: =?utf-8?B?aGVs?= =?utf-8?B?bG8=?=\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\
    Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\nNobody's.\r\n--b1\r\n\
    Content-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\nContent-Type: text/plain\r\n\r\n\
    See http://example.com/a?b=c and (https://example.org).\r\n--b2--\r\n--b1\r\n\
    Content-Type: application/x; name=x\r\nContent-Disposition: attachment; filename*0*=utf-8''%E2%82%AC; filename*1=.txt\r\n\
    Content-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n--b1\r\nContent-Disposition: attachment; filename=q.txt\r\n\
    Content-Transfer-Encoding: quoted-printable\r\n\r\nhel=\r\nl=6F\r\n--b1--\r\nNobody's.\r\n";

#[test]
fn parts_are_found_decoded_and_told_wherever_they_are_cut() {
    let whole = read(NESTED, usize::MAX);
    let (email, events, metadata) = &whole;
    assert_eq!(email["from"], "=?utf-8?q?J=C3=B6rg_A?= <j@example.com>");
    assert_eq!(email["to"], serde_json::json!(["a@example.com", "\"b, c\" <b@example.com>"]));
    assert_eq!(email["attachment"], serde_json::json!(["\u{20ac}.txt", "q.txt"]));
    assert_eq!(email["url"], serde_json::json!(["example.com/a?b=c", "example.org"]));
    assert_eq!(email["status"], "PARSE_DONE");
    assert_eq!(metadata.list(Field::MailSubject)[0].as_ref(), "hello");
    assert_eq!(metadata.list(Field::MailFrom)[0].as_ref(), "J\u{f6}rg A <j@example.com>");
    let files: Vec<serde_json::Value> =
        events.iter().map(|event| serde_json::from_slice(&event.body).unwrap()).collect();
    assert_eq!(files.len(), 2);
    for file in &files {
        assert_eq!((&file["size"], &file["md5"]), (&5.into(), &"5d41402abc4b2a76b9719d911017c592".into()));
    }
    for piece in 1..60 {
        let (cut_email, cut_events, _) = read(NESTED, piece);
        assert_eq!((&cut_email, cut_events.len()), (email, events.len()), "pieces of {piece}");
        assert!(cut_events.iter().zip(events).all(|(cut, whole)| cut.body == whole.body));
    }
}

#[test]
fn a_plain_body_ends_before_the_line_end_of_its_delimiter() {
    let message = b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment; filename=f\n\nab\n\ncd\n--b--\n";
    let (_, events, _) = read(message, 7);
    let file: serde_json::Value = serde_json::from_slice(&events[0].body).unwrap();
    assert_eq!(file["size"], 6);
}

#[test]
fn no_damage_panics_and_everything_is_bounded() {
    for at in 0..NESTED.len() {
        let mut damaged = NESTED.to_vec();
        for value in [0, b'"', b'=', b'\n', 0xff] {
            damaged[at] = value;
            read(&damaged, 50);
        }
        read(&NESTED[..at], 9);
    }
    let long = [b"Subject: ".as_slice(), &vec![b'a'; 100_000], b"\r\n\r\n", &vec![b'b'; 100_000]].concat();
    let (email, events, _) = read(&long, 1000);
    assert!(email["subject"].as_str().unwrap().len() <= HEADER_BYTES_MAX);
    assert!(!events.is_empty() && events.iter().all(|event| event.kind == "anomaly"));
    let deep = b"Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n".repeat(50);
    read(&deep, 100);
}

#[test]
fn what_is_too_long_is_an_anomaly() {
    let events = |message: String| -> Vec<String> {
        let (_, events, _) = read(message.as_bytes(), usize::MAX);
        let body = |event: &Event| serde_json::from_slice::<serde_json::Value>(&event.body).unwrap();
        let anomalies = events.iter().filter(|event| event.kind == "anomaly").map(body);
        let names = anomalies.map(|body| body["event"].as_str().unwrap().to_owned());
        // A value of that length in one line is two things at once.
        names.filter(|name| name != "MIME_LONG_LINE").collect()
    };
    let long = |count| "x".repeat(count);
    for (count, event, message) in [
        (75, "MIME_LONG_HEADER_NAME", ["", ": v\r\n\r\n"]),
        (2000, "MIME_LONG_HEADER_VALUE", ["A: ", "\r\n\r\n"]),
        (254, "MIME_LONG_BOUNDARY", ["Content-Type: multipart/mixed; boundary=", "\r\n\r\n"]),
        (76, "MIME_LONG_ENC_LINE", ["Content-Transfer-Encoding: base64\r\n\r\n", "\r\n"]),
    ] {
        let with = |count| events(format!("{}{}{}", message[0], long(count), message[1]));
        assert_eq!((with(count), with(count + 1)), (vec![], vec![event.to_owned()]));
    }
}
