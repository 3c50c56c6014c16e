//! IKE in both versions: literal exchanges to events and fields.

use super::*;
use crate::dpi::Carrier;
use crate::dpi::trial::{Trial, survives_damaged_datagrams};
use weir_common::net::Direction;

fn message(version: u8, exchange: u8, flags: u8, responder: u8, payloads: &[(u8, &[u8])]) -> Vec<u8> {
    let first = payloads.first().map_or(0, |(kind, _)| *kind);
    let mut body = Vec::new();
    for (at, (_, data)) in payloads.iter().enumerate() {
        let next = payloads.get(at + 1).map_or(0, |(kind, _)| *kind);
        body.extend([next, 0]);
        body.extend((data.len() as u16 + 4).to_be_bytes());
        body.extend_from_slice(data);
    }
    let mut bytes = vec![1; 8];
    bytes.extend([responder; 8]);
    bytes.extend([first, version, exchange, flags, 0, 0, 0, 0]);
    bytes.extend((28 + body.len() as u32).to_be_bytes());
    [bytes, body].concat()
}

/// An association of version 1: AES of 128 bits, SHA-1, group 2, a shared key, a day.
fn association_1() -> Vec<u8> {
    let attributes = b"\x80\x01\0\x07\x80\x0e\0\x80\x80\x02\0\x02\x80\x04\0\x02\x80\x03\0\x01\x80\x0b\0\x01\
        \0\x0c\0\x04\0\x01\x51\x80";
    let transform = [&[0, 0, 0, 8 + attributes.len() as u8, 1, 1, 0, 0][..], attributes].concat();
    let proposal = [&[0, 0, 0, 8 + transform.len() as u8, 1, 1, 0, 1][..], &transform].concat();
    [&[0, 0, 0, 1, 0, 0, 0, 1][..], &proposal].concat()
}

fn probe(bytes: &[u8]) -> Probe {
    Ike::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes).between(500, 500))
}

#[test]
fn version_1_tells_what_was_chosen_and_both_nonces() {
    let proposal = message(0x10, 2, 0, 0, &[(1, &association_1()), (13, b"\xaf\xca")]);
    let choice = message(0x10, 2, 0, 2, &[(1, &association_1())]);
    let nonces = [[7u8; 20], [8; 20]].map(|nonce| message(0x10, 2, 0, 2, &[(4, b"key"), (10, &nonce)]));
    assert_eq!(probe(&proposal), Probe::Certain);
    let trial = Trial::<Ike>::new().over_datagrams().client(&proposal).server(&choice);
    let trial = trial.client(&nonces[0]).server(&nonces[1]).close();
    assert_eq!(trial.text(Field::Version), "1");
    assert_eq!(trial.text(Field::Command), "Identity Protection");
    assert_eq!(
        trial.metadata.list(Field::IkeAlgorithms).join(" "),
        "EncAesCbc HashSha GroupAlternate1024BitModpGroup AuthPreSharedKey"
    );
    assert_eq!(trial.events.len(), 4);
    let body: serde_json::Value = serde_json::from_slice(&trial.events[3].body).unwrap();
    assert_eq!(body["attributes"][0]["value"], "EncAesCbc");
    assert_eq!(body["attributes"][6]["key"], "sa_life_duration");
    assert_eq!(body["attributes"][6]["raw"], 86400);
    assert_eq!(body["ikev1"]["client"]["nonce_payload"], "07".repeat(20));
    assert_eq!(body["ikev1"]["server"]["nonce_payload"], "08".repeat(20));
    let body: serde_json::Value = serde_json::from_slice(&trial.events[0].body).unwrap();
    assert_eq!(body["ikev1"]["vendor_ids"][0], "afca");
    assert_eq!(body["ikev1"]["client"]["proposals"][0]["key"], "alg_enc");
    assert_eq!(body["ikev1"].get("server"), None);
}

#[test]
fn version_2_tells_roles_algorithms_and_notifications() {
    let transforms =
        b"\x03\0\0\x0c\x01\0\0\x0c\x80\x0e\x01\0\x03\0\0\x08\x02\0\0\x05\x03\0\0\x08\x03\0\0\x0c\
        \0\0\0\x08\x04\0\0\x02";
    let association = [&[0, 0, 0, 8 + transforms.len() as u8, 1, 1, 0, 4][..], transforms].concat();
    let payloads: [(u8, &[u8]); 3] = [(33, &association), (34, b"\0\x02\0\0key"), (41, b"\0\0\x40\x04hash")];
    let trial = Trial::<Ike>::new().over_datagrams();
    let trial =
        trial.client(&message(0x20, 34, 0x08, 0, &payloads)).server(&message(0x20, 34, 0x20, 2, &payloads));
    let trial = trial.close();
    let bodies: Vec<serde_json::Value> = trial
        .events
        .iter()
        .filter(|event| event.kind == "ike")
        .map(|event| serde_json::from_slice(&event.body).unwrap())
        .collect();
    assert_eq!(bodies[0]["role"], "initiator");
    assert_eq!(bodies[0]["resp_spi"], "0000000000000000");
    assert_eq!(bodies[0]["payload"][3], "NoNextPayload");
    assert_eq!(bodies[0]["ikev2"]["notify"][0], "NAT_DETECTION_SOURCE_IP");
    assert_eq!(bodies[1]["role"], "responder");
    assert_eq!(bodies[1]["alg_enc"], "ENCR_AES_CBC");
    assert_eq!(bodies[1]["alg_dh"], "Modp1024");
    assert!(trial.events.iter().any(|event| event.body.windows(14).any(|part| part == b"weak_crypto_dh")));
}

#[test]
fn the_marker_tells_ike_from_esp() {
    let message = message(0x20, 37, 0x08, 2, &[(46, &[9; 32])]);
    assert_eq!(probe(&[&[0; 4][..], &message].concat()), Probe::Certain);
    assert_eq!(probe(&message[..message.len() - 1]), Probe::NotForUs);
    let esp = |number: u8| [&[0x12, 0x34, 0x56, 0x78, 0, 0, 0, number][..], &[5; 60]].concat();
    let (before, this) = (esp(1), esp(2));
    let first = First::of(Carrier::Datagram, Direction::Forward, &this);
    assert_eq!(Ike::probe(&first), Probe::NotForUs);
    let first = first.between(4500, 4500);
    assert_eq!(Ike::probe(&first), Probe::Likely);
    let first = First { before: crate::dpi::Glimpse::of(&before), ..first };
    assert_eq!(Ike::probe(&first), Probe::Certain);
}

#[test]
fn damage_does_not_panic() {
    let one = message(0x10, 2, 0, 2, &[(1, &association_1()), (13, b"\xaf\xca")]);
    let two = message(0x20, 34, 0x20, 2, &[(33, &association_1()), (41, b"\0\0\x40\x04")]);
    survives_damaged_datagrams::<Ike>(&[(Direction::Forward, &one), (Direction::Reverse, &two)]);
}

#[test]
fn signatures_are_told_what_both_say_and_the_responder_chose() {
    let proposal = message(0x10, 2, 0, 0, &[(1, &association_1()), (13, b"\xaf\xca")]);
    let choice = message(0x10, 2, 0, 2, &[(1, &association_1())]);
    let nonce = message(0x10, 2, 0, 2, &[(4, b"key"), (10, b"nonce")]);
    let mut trial = Trial::<Ike>::new().over_datagrams().client(&proposal).server(&choice).client(&nonce);
    expect_test::expect![[r#"
        client 0 ike.init_spi 0101010101010101
        client 0 ike.vendor afca
        client 0 IkeExchtype 2
        server 1 ike.resp_spi 0202020202020202
        server 1 IkeExchtype 2
        server 1 IkeAlgEnc 7
        server 1 IkeSaKeyLength 128
        server 1 IkeAlgHash 2
        server 1 IkeAlgDh 2
        server 1 IkeAlgAuth 1
        server 1 IkeSaLifeType 1
        server 1 IkeSaLifeDuration 86400
        client 2 ike.init_spi 0101010101010101
        client 2 ike.key_exchange_payload key
        client 2 ike.nonce_payload nonce
        client 2 IkeExchtype 2
        client 2 IkeKeyExchangePayloadLength 3
        client 2 IkeNoncePayloadLength 5
    "#]]
    .assert_eq(&trial.told());
}
