//! SIP and SDP: literal messages to events, fields and announced streams.

use super::*;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};
use weir_common::net::{Address, Direction};

const INVITE: &[u8] = b"INVITE sip:bob@example.org SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
    From: \"Alice\" <sip:alice@example.org>;tag=1\r\n\
    t: sip:bob@example.org;x=1\r\n\
    Call-ID: 77@192.0.2.1\r\n\
    User-Agent: phone 1.0\r\n\
    Proxy-Authorization: Digest username=\"alice\", realm=\"x\"\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 188\r\n\r\n\
    v=0\r\no=a 1 2 IN IP4 192.0.2.1\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nb=AS:64\r\nt=1 2\r\nr=3 4\r\n\
    a=sendrecv\r\nm=audio 30000 RTP/AVP 0 8\r\ni=voice\r\na=rtpmap:0 pcmu/8000\r\na=rtcp:30009\r\n\
    m=video 0 RTP/AVP 31\r\n";
const OK: &[u8] = b"SIP/2.0 200 OK\r\nServer: switch\r\nl: 0\r\n\r\n";

#[test]
fn a_call_is_read_and_its_media_announced() {
    let trial = Trial::<Sip>::new().over_datagrams().client(INVITE).server(OK).client(b"\r\n\r\n").close();
    assert_eq!(trial.text(Field::Command), "INVITE");
    assert_eq!(trial.text(Field::SipFrom), "sip:alice@example.org");
    assert_eq!(trial.text(Field::SipTo), "sip:bob@example.org");
    assert_eq!(trial.text(Field::SipCallId), "77@192.0.2.1");
    assert_eq!(trial.text(Field::User), "alice");
    assert_eq!(trial.text(Field::ServerSoftware), "switch");
    assert_eq!(trial.malformed, 0);
    let expected: Vec<_> = trial.expected.iter().map(|one| (one.app, one.end, &*one.note)).collect();
    let address = Address::v4([192, 0, 2, 1]);
    assert_eq!(
        expected,
        [(App::Rtp, (address, 30000), &b"audio"[..]), (App::Rtcp, (address, 30009), b"audio")]
    );
    assert_eq!(trial.events.len(), 2);
    let body: serde_json::Value = serde_json::from_slice(&trial.events[0].body).unwrap();
    assert_eq!(body["request_line"], "INVITE sip:bob@example.org SIP/2.0");
    let sdp = &body["sdp"];
    assert_eq!(sdp["origin"], "a 1 2 IN IP4 192.0.2.1");
    assert_eq!(sdp["bandwidths"][0], "AS:64");
    assert_eq!(sdp["time_descriptions"][0]["repeat_time"], "3 4");
    assert_eq!(sdp["media_descriptions"][0]["media"], "audio 30000 RTP/AVP 0 8");
    assert_eq!(sdp["media_descriptions"][0]["media_info"], "voice");
    assert_eq!(sdp["media_descriptions"][0]["attributes"][0], "rtpmap:0 pcmu/8000");
    assert_eq!(sdp["media_descriptions"][1]["media"], "video 0 RTP/AVP 31");
    let body: serde_json::Value = serde_json::from_slice(&trial.events[1].body).unwrap();
    assert_eq!(body["code"], "200");
    assert_eq!(body["reason"], "OK");
}

#[test]
fn the_body_is_as_long_as_it_says() {
    let head = Head::parse(INVITE).unwrap();
    assert_eq!(INVITE.len() - head.bytes, 188, "the literal above");
}

#[test]
fn streams_are_cut_into_messages_wherever_segments_end() {
    let twice = [OK, b"\r\n\r\n", OK].concat();
    cuts_do_not_matter::<Sip>(b"ACK sip:b@c SIP/2.0\r\nl: 3\r\n\r\nabc", &twice);
    let trial = Trial::<Sip>::new().server(&twice).close();
    assert_eq!(trial.events.len(), 2);
}

#[test]
fn others_with_such_words_are_not_sip() {
    let probe = |bytes: &[u8]| Sip::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
    assert_eq!(probe(b"OPTIONS sip:a@b SIP/2.0\r\n"), Probe::Certain);
    assert_eq!(probe(b"\r\n\r\nSIP/2.0 100 Trying\r\n"), Probe::Certain);
    assert_eq!(probe(b"OPTIONS * HTTP/1.1\r\n"), Probe::NotForUs);
    assert_eq!(probe(b"OPT"), Probe::Unsure);
    assert_eq!(probe(b"NOTIFY * HTTP/1.1\r\nHOST: x\r\n"), Probe::NotForUs);
    assert_eq!(probe(b"INVITED"), Probe::Unsure);
    assert_eq!(probe(b"PROPFIND"), Probe::NotForUs);
}

#[test]
fn damage_does_not_panic() {
    survives_damaged_datagrams::<Sip>(&[(Direction::Forward, INVITE), (Direction::Reverse, OK)]);
    survives_damage::<Sip>(INVITE, OK);
}

#[test]
fn signatures_are_told_first_lines_headers_and_the_description() {
    let mut trial = Trial::<Sip>::new().over_datagrams().client(INVITE).server(OK);
    expect_test::expect![[r#"
        client 0 sip.method INVITE
        client 0 sip.uri sip:bob@example.org
        client 0 sip.protocol SIP/2.0
        client 0 sip.request_line INVITE sip:bob@example.org SIP/2.0
        client 0 sip.from \"Alice\" <sip:alice@example.org>;tag=1
        client 0 sip.to sip:bob@example.org;x=1
        client 0 sip.via SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
        client 0 sip.user_agent phone 1.0
        client 0 sip.content_type application/sdp
        client 0 sip.content_length 188
        client 0 sdp.origin a 1 2 IN IP4 192.0.2.1
        client 0 sdp.session_name call
        client 0 sdp.connection_data IN IP4 192.0.2.1
        client 0 sdp.bandwidth AS:64
        client 0 sdp.time 1 2
        client 0 sdp.repeat_time 3 4
        client 0 sdp.attribute sendrecv
        client 0 sdp.media.media audio 30000 RTP/AVP 0 8
        client 0 sdp.media.media_info voice
        client 0 sdp.media.media video 0 RTP/AVP 31
        server 1 sip.protocol SIP/2.0
        server 1 sip.stat_code 200
        server 1 sip.stat_msg OK
        server 1 sip.response_line SIP/2.0 200 OK
        server 1 sip.content_length 0
    "#]]
    .assert_eq(&trial.told());
}
