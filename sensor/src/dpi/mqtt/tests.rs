//! MQTT in its versions: literal packets to events.

use super::*;
use crate::dpi::Carrier;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

const CONNECT: &[u8] = b"\x10\x17\0\x04MQTT\x04\xc2\0\x3c\0\x03dev\0\x03joe\0\x01x";
const CONNACK: &[u8] = b"\x20\x02\0\0";
const PUBLISH: &[u8] = b"\x32\x08\0\x01t\0\x07abc";
const PUBACK: &[u8] = b"\x40\x02\0\x07";

#[test]
fn exchanges_are_told_with_what_acknowledges_them() {
    let trial = Trial::<Mqtt>::new().client(CONNECT).server(CONNACK).client(PUBLISH).server(PUBACK).close();
    let learned = trial.learned();
    assert_eq!((trial.events.len(), trial.malformed), (2, 0), "{learned}");
    assert!(learned.contains(r#""client_id":"dev","flags":{"username":true,"password":true,"will_retain":false,"will":false,"clean_session":true},"username":"joe""#), "{learned}");
    assert!(
        learned.contains(
            r#""connack":{"qos":0,"retain":false,"dup":false,"session_present":false,"return_code":0}}"#
        ),
        "{learned}"
    );
    assert!(learned.contains(r#"mqtt {"publish":{"qos":1,"retain":false,"dup":false,"topic":"t","message_id":7,"message":"abc"},"puback":{"qos":0,"retain":false,"dup":false,"message_id":7}}"#), "{learned}");
    assert!(learned.contains("user joe\n") && learned.contains("object t\n"), "{learned}");
}

#[test]
fn subscriptions_name_topics_and_levels() {
    let trial = Trial::<Mqtt>::new()
        .client(CONNECT)
        .server(CONNACK)
        .client(b"\x82\x08\0\x01\0\x03a/b\x02")
        .server(b"\x90\x03\0\x01\x02");
    assert!(trial.learned().contains(r#""topics":[{"topic":"a/b","qos":2}]},"suback":{"qos":0,"retain":false,"dup":false,"message_id":1,"qos_granted":[2]}"#), "{}", trial.learned());
}

#[test]
fn what_nobody_asked_for_is_an_anomaly() {
    let trial = Trial::<Mqtt>::new().server(CONNACK).server(PUBACK).client(b"\0\0");
    let learned = trial.learned();
    for event in ["missing_connect", "missing_publish", "unassigned_msg_type"] {
        assert!(learned.contains(event), "{event}: {learned}");
    }
}

#[test]
fn a_long_message_passes_and_is_told_in_part() {
    let long = [b"\x30\xa3\x8d\x06\0\x01t".as_slice(), &vec![b'a'; 100_000]].concat();
    let trial = Trial::<Mqtt>::new().client(&long).client(b"\xc0\0").close();
    assert!(trial.learned().contains("[truncated 98976 additional bytes]"));
    assert!(trial.learned().contains("pingreq"));
}

#[test]
fn connects_are_recognised_and_others_by_port() {
    let probe = |bytes: &[u8], port| {
        Mqtt::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(port, 4000))
    };
    assert_eq!(probe(CONNECT, 9), Probe::Certain);
    assert_eq!(probe(&CONNECT[..6], 9), Probe::Unsure);
    assert_eq!(probe(b"\x10\x03abc", 1883), Probe::NotForUs);
    assert_eq!(probe(PUBLISH, 1883), Probe::Likely);
    assert_eq!(probe(PUBLISH, 9), Probe::NotForUs);
}

#[test]
fn cuts_and_damage_do_no_harm() {
    let client = [CONNECT, PUBLISH].concat();
    let server = [CONNACK, PUBACK].concat();
    cuts_do_not_matter::<Mqtt>(&client, &server);
    survives_damage::<Mqtt>(&client, &server);
}

#[test]
fn signatures_are_told_an_exchange_as_who_began_it_says_it() {
    let trial = Trial::<Mqtt>::new().client(CONNECT).server(CONNACK).client(PUBLISH).server(PUBACK);
    let mut trial =
        trial.client(b"\x82\x08\0\x01\0\x03a/b\x02").server(b"\x90\x03\0\x01\x02").client(b"\0\0");
    assert_eq!(
        trial.told(),
        "client 0 mqtt.connect.protocol_string MQTT\nclient 0 mqtt.connect.clientid dev\n\
        client 0 mqtt.connect.username joe\nclient 0 mqtt.connect.password x\n\
        client 0 MqttProtocolVersion 4\nclient 0 MqttType 1\nclient 0 MqttFlags 0\nclient 0 MqttQos 0\n\
        client 0 MqttConnectFlags 194\nclient 0 MqttType 2\nclient 0 MqttFlags 0\nclient 0 MqttQos 0\n\
        client 0 MqttReasonCode 0\nclient 0 MqttConnackSessionPresent 0\n\
        client 1 mqtt.publish.topic t\nclient 1 mqtt.publish.message abc\n\
        client 1 MqttProtocolVersion 4\nclient 1 MqttType 3\nclient 1 MqttFlags 0\nclient 1 MqttQos 1\n\
        client 1 MqttType 4\nclient 1 MqttFlags 0\nclient 1 MqttQos 0\n\
        client 2 mqtt.subscribe.topic a/b\n\
        client 2 MqttProtocolVersion 4\nclient 2 MqttType 8\nclient 2 MqttFlags 0\nclient 2 MqttQos 1\n\
        client 2 MqttType 9\nclient 2 MqttFlags 0\nclient 2 MqttQos 0\nclient 2 MqttReasonCode 2\n\
        client 3 MqttType 0\n"
    );
}
