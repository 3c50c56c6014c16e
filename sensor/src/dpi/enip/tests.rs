//! Bytes of EtherNet/IP in, metadata and events out.

use super::*;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};

fn pdu(command: u16, session: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = command.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(data.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&session.to_le_bytes());
    bytes.resize(HEADER_BYTES, 0);
    [&bytes, data].concat()
}

fn unconnected(cip: &[u8]) -> Vec<u8> {
    let mut data = vec![0, 0, 0, 0, 10, 0, 2, 0, 0, 0, 0, 0, 0xb2, 0];
    data.extend_from_slice(&(cip.len() as u16).to_le_bytes());
    data.extend_from_slice(cip);
    pdu(SEND_RR_DATA, 7, &data)
}

fn client() -> Vec<u8> {
    [pdu(REGISTER_SESSION, 0, &[1, 0, 0, 0]), unconnected(&[0x0e, 3, 0x20, 1, 0x24, 1, 0x30, 7])].concat()
}

fn server() -> Vec<u8> {
    [pdu(REGISTER_SESSION, 7, &[1, 0, 0, 0]), unconnected(&[0x8e, 0, 1, 1, 0x07, 0x01])].concat()
}

#[test]
fn requests_are_told_with_their_responses() {
    let trial = Trial::<Enip>::new().client(&client()).server(&server());
    assert_eq!((trial.malformed, trial.events.len()), (0, 2));
    let body = |at: usize| serde_json::from_slice::<serde_json::Value>(&trial.events[at].body).unwrap();
    let session = serde_json::json!({
        "command": "RegisterSession", "status": "Success",
        "register_session": {"protocol_version": 1, "options": 0},
    });
    assert_eq!(body(0), serde_json::json!({"request": session, "response": session}));
    let want = serde_json::json!({
        "request": {"command": "SendRRData", "status": "Success", "cip": {
            "service": "Get Attributes Single",
            "path": [
                {"segment_type": "class", "value": 1},
                {"segment_type": "instance", "value": 1},
                {"segment_type": "attribute", "value": 7},
            ],
            "class_name": "Identity",
        }},
        "response": {"command": "SendRRData", "status": "Success", "cip": {
            "service": "Get Attributes Single", "status": "Connection Failure", "status_extended": "0701",
            "status_extended_meaning": "Target connection not found",
        }},
    });
    assert_eq!(body(1), want);
}

#[test]
fn a_device_says_what_it_is() {
    let mut item = vec![1, 0, 0x0c, 0, 40, 0, 1, 0];
    item.extend_from_slice(&[0; 16]);
    item.extend_from_slice(&[1, 0, 14, 0, 54, 0, 20, 11, 0x60, 0x31, 1, 2, 3, 4, 5]);
    item.extend_from_slice(b"L61/B\x03");
    let trial = Trial::<Enip>::new().over_datagrams().client(&pdu(LIST_IDENTITY, 0, &[]));
    let trial = trial.server(&pdu(LIST_IDENTITY, 0, &item));
    assert_eq!(trial.text(Field::ServerSoftware), "L61/B");
    let want = serde_json::json!({
        "protocol_version": 1, "revision": "20.11", "vendor_id": "Rockwell Automation/Allen-Bradley",
        "device_type": "Programmable Logic Controller", "product_code": 54, "status": 0x3160,
        "serial": 0x0403_0201, "product_name": "L61/B", "state": 3,
    });
    assert_eq!(trial.event()["response"]["identity"], want);
    survives_damaged_datagrams::<Enip>(&[(Direction::Reverse, &pdu(LIST_IDENTITY, 0, &item))]);
}

#[test]
fn several_services_in_one_packet_are_listed() {
    let several = [0x0a, 2, 0x20, 2, 0x24, 1, 2, 0, 6, 0, 10, 0, 0x01, 1, 0x20, 1, 0x4c, 1, 0x20, 0x6b];
    let trial = Trial::<Enip>::new().client(&unconnected(&several)).close();
    let event = trial.event();
    let list = event["request"]["cip"]["multiple"].as_array().unwrap();
    assert_eq!((list.len(), &list[1]["service"]), (2, &serde_json::json!("Read Data")));
}

#[test]
fn cuts_and_damage_are_survived() {
    cuts_do_not_matter::<Enip>(&client(), &server());
    survives_damage::<Enip>(&client(), &server());
}

#[test]
fn only_what_commands_must_carry_is_recognised() {
    let probe = |bytes: &[u8], port| {
        Enip::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(40_000, port))
    };
    assert_eq!(probe(&client(), 40_001), Probe::Certain);
    assert_eq!(probe(&client()[..20], 40_001), Probe::Unsure);
    assert_eq!(probe(&pdu(REGISTER_SESSION, 0, &[2, 0, 0, 0]), 40_001), Probe::NotForUs);
    assert_eq!(probe(&[0; 40], 40_001), Probe::NotForUs);
    assert_eq!(probe(b"ftp.example.com ready and waiting", 21), Probe::NotForUs);
}

#[test]
fn signatures_are_told_services_and_what_they_are_about() {
    let mut trial = Trial::<Enip>::new().client(&client()).server(&server());
    assert_eq!(
        trial.told(),
        "client 0 EnipCommand 101\nclient 0 EnipStatus 0\nclient 0 EnipProtocolVersion 1\n\
        server 0 EnipCommand 101\nserver 0 EnipStatus 0\nserver 0 EnipProtocolVersion 1\n\
        client 1 (enip.cip) \\x0ec\\x00\\x00\\x00\\x01a\\x00\\x00\\x00\\x07\n\
        client 1 EnipCommand 111\nclient 1 EnipStatus 0\nclient 1 EnipCipClass 1\nclient 1 EnipCipInstance 1\n\
        client 1 EnipCipAttribute 7\nclient 1 EnipCipStatus 1\nclient 1 EnipCipExtendedstatus 263\n\
        server 1 (enip.cip) \\x0e\nserver 1 EnipCipClass 1\nserver 1 EnipCipInstance 1\n\
        server 1 EnipCipAttribute 7\nserver 1 EnipCommand 111\nserver 1 EnipStatus 0\n\
        server 1 EnipCipStatus 1\nserver 1 EnipCipExtendedstatus 263\n"
    );
}
