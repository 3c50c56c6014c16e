//! Bytes of DNP3 in, metadata and events out.

use super::*;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};

/// A frame with its CRCs around a transport segment.
fn frame(control: u8, destination: u16, source: u16, segment: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x05, 0x64, (LENGTH_MIN + segment.len()) as u8, control];
    frame.extend_from_slice(&destination.to_le_bytes());
    frame.extend_from_slice(&source.to_le_bytes());
    frame.extend_from_slice(&crc(&frame).to_le_bytes());
    for block in segment.chunks(BLOCK_BYTES) {
        frame.extend_from_slice(block);
        frame.extend_from_slice(&crc(block).to_le_bytes());
    }
    frame
}

/// Master 1 operates a relay of outstation 10.
fn request() -> Vec<u8> {
    let relay = [12, 1, 0x17, 1, 3, 0x41, 1, 100, 0, 0, 0, 200, 0, 0, 0, 0];
    frame(0xc4, 10, 1, &[&[0xc0, 0xc5, 5][..], &relay].concat())
}

/// Restarted, with two binary inputs with flags and three packed.
fn response() -> Vec<u8> {
    let objects = [1, 2, 0, 0, 1, 0x81, 0x02, 1, 1, 0, 7, 9, 0x05];
    frame(0x44, 1, 10, &[&[0xc0, 0xc5, 129, 0x80, 0x00][..], &objects].concat())
}

#[test]
fn requests_and_responses_are_told_with_their_points() {
    let trial = Trial::<Dnp3>::new().client(&request()).server(&response());
    assert_eq!((trial.malformed, trial.events.len()), (0, 2));
    assert_eq!(
        trial.learned().lines().take(3).collect::<Vec<_>>(),
        ["command direct_operate response", "object g12v1 g1v2 g1v1", "status device_restart"]
    );
    let event = |at: usize| serde_json::from_slice::<serde_json::Value>(&trial.events[at].body).unwrap();
    let want = serde_json::json!({
        "type": "request",
        "control": {"dir": true, "pri": true, "fcb": false, "fcv": false, "function_code": 4},
        "src": 1, "dst": 10,
        "application": {
            "control": {"fir": true, "fin": true, "con": false, "uns": false, "sequence": 5},
            "function_code": 5,
            "objects": [{
                "group": 12, "variation": 1, "qualifier": 0x17, "prefix_code": 1, "range_code": 7,
                "start": 0, "stop": 0, "count": 1,
                "points": [{
                    "prefix": 3, "index": 3, "op_type": 1, "qu": 0, "cr": 0, "tcc": 1, "count": 1,
                    "ontime": 100, "offtime": 200, "status_code": 0, "reserved": 0,
                }],
            }],
            "complete": true,
        },
    });
    assert_eq!(event(0), want);
    let response = event(1);
    assert_eq!(response["iin"], serde_json::json!({"indicators": ["device_restart"]}));
    assert_eq!(response["application"]["objects"][0]["points"][1]["restart"], 1);
    let packed = &response["application"]["objects"][1]["points"];
    assert_eq!(packed[2], serde_json::json!({"prefix": 0, "index": 9, "state": 1}));
}

#[test]
fn a_fragment_is_put_together_from_segments() {
    let whole = [0xc5, 1, 60, 2, 6, 60, 3, 6, 60, 4, 6, 60, 1, 6, 30, 0, 6];
    let segments = [&[0x40][..], &whole[..9]].concat();
    let last = [&[0x81][..], &whole[9..]].concat();
    let trial =
        Trial::<Dnp3>::new().client(&frame(0xc4, 10, 1, &segments)).client(&frame(0xc4, 10, 1, &last));
    assert_eq!(trial.event()["application"]["objects"].as_array().unwrap().len(), 5);
    let alone = Trial::<Dnp3>::new().client(&frame(0xc4, 10, 1, &last));
    assert!(alone.events.is_empty());
}

#[test]
fn damage_is_told_by_its_place() {
    let kind = |trial: &Trial<Dnp3>| {
        let body: serde_json::Value = serde_json::from_slice(&trial.events[0].body).unwrap();
        body["event"].as_str().unwrap_or_default().to_owned()
    };
    let damaged = |at: usize| {
        let mut bytes = request();
        bytes[at] ^= 1;
        bytes
    };
    assert_eq!(kind(&Trial::new().client(&damaged(8))), "bad_link_crc");
    assert_eq!(kind(&Trial::new().client(&damaged(12))), "bad_transport_crc");
    assert_eq!(kind(&Trial::new().client(&frame(0xc4, 10, 1, &[]))), "len_too_small");
    assert_eq!(
        kind(&Trial::new().client(&frame(0xc4, 10, 1, &[0xc0, 0xc0, 2, 99, 1, 7, 1, 0]))),
        "unknown_object"
    );
    let points = [0xc0, 0xc0, 2, 12, 1, 0x28, 0xff, 0xff];
    assert_eq!(kind(&Trial::new().client(&frame(0xc4, 10, 1, &points))), "too_many_points");
    // What is behind a damaged frame is found again.
    let trial = Trial::<Dnp3>::new().client(&[damaged(8), request()].concat());
    assert_eq!(trial.events.len(), 2);
}

#[test]
fn cuts_and_damage_are_survived() {
    cuts_do_not_matter::<Dnp3>(&[request(), request()].concat(), &response());
    survives_damage::<Dnp3>(&request(), &response());
    survives_damaged_datagrams::<Dnp3>(&[
        (Direction::Forward, &request()),
        (Direction::Reverse, &response()),
    ]);
}

#[test]
fn only_frames_with_a_right_crc_are_recognised() {
    let probe = |bytes: &[u8]| Dnp3::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
    assert_eq!(probe(&request()), Probe::Certain);
    assert!((1..HEADER_BYTES).all(|cut| probe(&request()[..cut]) == Probe::Unsure));
    let mut damaged = request();
    damaged[5] ^= 1;
    assert_eq!(probe(&damaged), Probe::NotForUs);
}

#[test]
fn signatures_are_told_each_fragment() {
    let mut trial = Trial::<Dnp3>::new().client(&request()).server(&response());
    assert_eq!(
        trial.told(),
        "client 0 dnp3_data \\xc5\\x05\\x0c\\x01\\x17\\x01\\x03A\\x01d\\x00\\x00\\x00\\xc8\\x00\\x00\\x00\\x00\n\
        client 0 Dnp3Func 5\nclient 0 Dnp3Obj 3073\n\
        server 1 dnp3_data \\xc5\\x81\\x80\\x00\\x01\\x02\\x00\\x00\\x01\\x81\\x02\\x01\\x01\\x00\\x07\\t\\x05\n\
        server 1 Dnp3Func 129\nserver 1 Dnp3Ind 32768\nserver 1 Dnp3Obj 258\nserver 1 Dnp3Obj 257\n"
    );
}
