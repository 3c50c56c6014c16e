//! Bytes of DCE/RPC in, metadata and events out.

use super::*;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};

fn header(kind: u8, flags: u8, call: u8, body: &[u8]) -> Vec<u8> {
    let length = (16 + body.len()) as u8;
    [&[5, 0, kind, flags, 0x10, 0, 0, 0, length, 0, 0, 0, call, 0, 0, 0][..], body].concat()
}

const EPM: [u8; 16] = [8, 0x83, 0xaf, 0xe1, 0x1f, 0x5d, 0xc9, 0x11, 0x91, 0xa4, 8, 0, 0x2b, 0x14, 0xa0, 0xfa];

fn bind() -> Vec<u8> {
    let head = [0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
    header(11, 3, 1, &[&head[..], &EPM, &[3, 0, 0, 0], &[4; 20]].concat())
}

fn bind_ack() -> Vec<u8> {
    let head = [0xd0, 0x16, 0xd0, 0x16, 9, 0, 0, 0, 4, 0, b'1', b'3', b'5', 0, 0, 0];
    header(12, 3, 1, &[&head[..], &[1, 0, 0, 0, 0, 0, 0, 0], &[4; 20]].concat())
}

fn client() -> Vec<u8> {
    let one = header(0, 1, 2, &[0, 0, 0, 0, 0, 0, 3, 0, 1, 2, 3]);
    let two = header(0, 2, 2, &[0, 0, 0, 0, 0, 0, 3, 0, 4]);
    [bind(), one, two].concat()
}

fn server() -> Vec<u8> {
    [bind_ack(), header(2, 3, 2, &[0; 13])].concat()
}

#[test]
fn a_bind_and_a_call_are_told_with_their_names() {
    let trial = Trial::<DceRpc>::new().client(&bind()).server(&bind_ack()).client(&client()[bind().len()..]);
    let trial = trial.server(&server()[bind_ack().len()..]).close();
    assert_eq!(trial.malformed, 0);
    assert_eq!(
        trial.learned(),
        "app_version 5.0\ncommand ept_map\ndcerpc_interface epmapper\n\
        dcerpc {\"request\":\"BIND\",\"interfaces\":[{\"uuid\":\"e1af8308-5d1f-11c9-91a4-08002b14a0fa\",\"version\":\"3.0\",\"ack_result\":0,\"service\":\"epmapper\"}],\"response\":\"BINDACK\",\"call_id\":1,\"rpc_version\":\"5.0\"}\n\
        dcerpc {\"request\":\"REQUEST\",\"req\":{\"opnum\":3,\"frag_cnt\":2,\"stub_data_size\":4},\"interfaces\":[{\"uuid\":\"e1af8308-5d1f-11c9-91a4-08002b14a0fa\",\"version\":\"3.0\",\"ack_result\":0,\"service\":\"epmapper\",\"procedure\":\"ept_map\"}],\"response\":\"RESPONSE\",\"res\":{\"frag_cnt\":1,\"stub_data_size\":13},\"call_id\":2,\"rpc_version\":\"5.0\"}\n"
    );
}

#[test]
fn what_is_not_answered_is_told_at_the_end_and_an_answer_alone_too() {
    let trial = Trial::<DceRpc>::new().client(&client()).close();
    assert_eq!(trial.events.len(), 2);
    assert!(trial.learned().contains("UNREPLIED"));
    let trial = Trial::<DceRpc>::new().server(&server());
    assert!(trial.learned().contains("REQUEST_LOST"));
    assert_eq!(trial.events[0].direction, Direction::Forward);
    let lost =
        Trial::<DceRpc>::new().client(&bind()).gap(Direction::Forward, 9).client(b"xx").client(&bind());
    assert_eq!((lost.close().events.len(), Trial::<DceRpc>::new().client(&[7; 16]).malformed), (2, 1));
}

fn datagram(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![4, kind, 0x20, 0, 0x10, 0, 0, 0];
    bytes.extend_from_slice(&[1; 16]);
    bytes.extend_from_slice(&[
        1, 0, 0xa0, 0xde, 0x97, 0x6c, 0xd1, 0x11, 0x82, 0x71, 0, 0xa0, 0x24, 0x42, 0xdf, 0x7d,
    ]);
    bytes.extend_from_slice(&[7; 16]);
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, body.len() as u8, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn a_call_over_datagrams_is_one_event() {
    let (request, response) = (datagram(0, &[1, 2, 3]), datagram(2, &[1]));
    assert_eq!(request.len(), 80 + 3);
    let trial = Trial::<DceRpc>::new().over_datagrams().client(&request).server(&response);
    let event = trial.event();
    assert_eq!(event["activityuuid"], "07070707-0707-0707-0707-070707070707");
    assert_eq!((&event["req"]["stub_data_size"], &event["seqnum"]), (&3.into(), &5.into()));
    assert_eq!(trial.text(Field::Command), "Connect");
    survives_damaged_datagrams::<DceRpc>(&[(Direction::Forward, &request), (Direction::Reverse, &response)]);
    let probe = |bytes: &[u8]| DceRpc::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
    assert_eq!(probe(&request), Probe::Certain);
    assert_eq!(probe(&request[..request.len() - 1]), Probe::NotForUs);
}

#[test]
fn cuts_and_damage_are_borne() {
    cuts_do_not_matter::<DceRpc>(&client(), &server());
    survives_damage::<DceRpc>(&client(), &server());
}

#[test]
fn only_a_header_is_recognised() {
    let probe = |bytes: &[u8]| DceRpc::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
    assert!((1..16).all(|cut| probe(&bind()[..cut]) == Probe::Unsure));
    assert_eq!(probe(&bind()), Probe::Certain);
    assert_eq!(probe(b"ncacn_http/1.0\x05"), Probe::Certain);
    for other in
        [&[5, 1, 0][..], &[5, 0, 11, 3, 0x42], b"no", &[5, 0, 11, 3, 0x10, 0, 0, 0, 15, 0, 0, 0, 1, 0, 0, 0]]
    {
        assert!(probe(other) != Probe::Certain, "{other:?}");
    }
}

const EPM_3: &str = "e1af8308-5d1f-11c9-91a4-08002b14a0fa\\x00\\x03\\x01";

#[test]
fn signatures_are_told_operation_interface_and_stub_on_both_sides() {
    let (client, server) = (client(), server());
    let trial = Trial::<DceRpc>::new().client(&bind()).server(&bind_ack()).client(&client[bind().len()..]);
    let mut trial = trial.server(&server[bind_ack().len()..]);
    assert_eq!(
        trial.told(),
        format!(
            "client 1 (dcerpc.iface) {EPM_3}\n\
            client 1 dcerpc.stub_data \\x01\\x02\\x03\\x04\n\
            client 1 DcerpcOpnum 3\nclient 1 DcerpcLittleEndian 1\n\
            server 1 dcerpc.stub_data {}\n\
            server 1 (dcerpc.iface) {EPM_3}\n\
            server 1 DcerpcLittleEndian 1\nserver 1 DcerpcOpnum 3\n",
            "\\x00".repeat(13)
        )
    );
    // What the server refused is no interface, and a call whose request was not seen has no operation.
    let mut refusal = bind_ack();
    refusal[32] = 2;
    let trial = Trial::<DceRpc>::new().client(&bind()).server(&refusal).client(&client[bind().len()..]);
    assert!(!trial.close().told().contains("iface"));
    let mut trial = Trial::<DceRpc>::new().server(&server);
    assert_eq!(trial.told().matches("opnum").count(), 0);
}

#[test]
fn signatures_are_told_calls_over_datagrams() {
    let (request, response) = (datagram(0, &[1, 2, 3]), datagram(2, &[1]));
    let mut trial = Trial::<DceRpc>::new().over_datagrams().client(&request).server(&response);
    let told = trial.told();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 8);
    assert_eq!(lines[1], "client 0 dcerpc.stub_data \\x01\\x02\\x03");
    assert_eq!(lines[5], "server 0 dcerpc.stub_data \\x01");
    assert!(lines[0].starts_with("client 0 (dcerpc.iface) dea00001-6c97-11d1-8271-00a02442df7d\\x"));
}
