//! QUIC: the examples of RFC 9001 and RFC 9369, and what is wrong with them.

use super::*;
use crate::dpi::Carrier;
use crate::dpi::trial::{Trial, survives_damaged_datagrams};
use expect_test::expect;

/// The protected Initial packets of RFC 9001 appendices A.2 and A.3.
const CLIENT: &[u8] = include_bytes!("testdata/rfc9001_client.bin");
const SERVER: &[u8] = include_bytes!("testdata/rfc9001_server.bin");

/// The same hello in version 2, RFC 9369 appendix A.2.
const CLIENT_2: &[u8] = include_bytes!("testdata/rfc9369_client.bin");

fn probe(bytes: &[u8]) -> Probe {
    Quic::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes))
}

#[test]
fn the_initials_of_the_rfc_are_opened() {
    assert_eq!(probe(CLIENT), Probe::Certain);
    assert_eq!(probe(SERVER), Probe::Certain);
    let trial = Trial::<Quic>::new().over_datagrams().client(CLIENT).server(SERVER);
    assert_eq!(trial.end, Some(Progress::Done));
    assert_eq!(trial.text(Field::TlsServerName), "example.com");
    assert_eq!(trial.text(Field::QuicVersion), "0x00000001");
    assert_eq!(trial.text(Field::TlsVersion), "TLS 1.3");
    assert_eq!(trial.malformed, 0);
    assert_eq!(trial.events.len(), 2);
    let body: serde_json::Value = serde_json::from_slice(&trial.events[0].body).unwrap();
    assert_eq!(body["version"], "1");
    assert_eq!(body["sni"], "example.com");
    assert_eq!(body["extensions"][0]["name"], "server_name");
    assert_eq!(body["extensions"][0]["values"][0], "example.com");
    assert!(body["ja4"].as_str().unwrap().starts_with("q13d"));
    let body: serde_json::Value = serde_json::from_slice(&trial.events[1].body).unwrap();
    assert_eq!(body["ja3s"]["string"], "771,4865,51-43");
}

#[test]
fn version_2_has_keys_of_its_own() {
    assert_eq!(probe(CLIENT_2), Probe::Certain);
    let trial = Trial::<Quic>::new().over_datagrams().client(CLIENT_2).close();
    assert_eq!(trial.text(Field::TlsServerName), "example.com");
    assert_eq!(trial.event()["version"], "6b3343cf");
}

#[test]
fn a_packet_that_was_changed_is_not_opened() {
    let mut damaged = CLIENT.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let trial = Trial::<Quic>::new().over_datagrams().client(&damaged).server(SERVER).close();
    assert_eq!(trial.text(Field::TlsServerName), "");
    assert_eq!(trial.events.len(), 0);
}

#[test]
fn a_server_alone_has_a_version_and_nothing_else() {
    let trial = Trial::<Quic>::new().over_datagrams().server(SERVER).close();
    assert_eq!(trial.learned(), "quic_version 0x00000001\n");
}

#[test]
fn google_s_hello_is_read_in_the_clear() {
    let hello = b"\x0d12345678Q043\x01hashhashhash\xa0\x01\x00\x40CHLO\x02\0\0\0SNI\0\x05\0\0\0UAID\x09\0\0\0a.orgname";
    assert_eq!(probe(hello), Probe::Certain);
    let trial = Trial::<Quic>::new().over_datagrams().client(hello);
    assert_eq!(trial.text(Field::TlsServerName), "a.org");
    assert_eq!(trial.text(Field::QuicUserAgent), "name");
    let body = trial.event();
    assert_eq!(body["version"], "Q043");
    assert_eq!(body["cyu"][0]["string"], "43,SNI-UAID");
}

#[test]
fn noise_is_not_quic() {
    for noise in [
        &b""[..],
        b"\xc0",
        b"\xc0\0\0\0\x01",
        b"\xc0\0\0\0\x01\x15aaaaaaaaaaaaaaaaaaaaaaaaa",
        b"\x80\x60\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x0d12345678Q0x3",
        b"\x40aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        assert_eq!(probe(noise), Probe::NotForUs, "{noise:02x?}");
    }
}

#[test]
fn damage_does_not_panic() {
    survives_damaged_datagrams::<Quic>(&[(Direction::Forward, &CLIENT[..400]), (Direction::Reverse, SERVER)]);
}

#[test]
fn signatures_are_told_each_packet_up_to_the_hellos() {
    let mut trial = Trial::<Quic>::new().over_datagrams().client(CLIENT).server(SERVER);
    expect![[r#"
        client 0 quic.version 1
        client 0 quic.sni example.com
        client 0 tls.random \xeb\xf8\xfaV\xf1)9\xb9XJ8\x96G.\xc4\x0b\xb8c\xcf\xd3\xe8h\x04\xfe:G\xf0j+iHL
        client 0 tls.random_time \xeb\xf8\xfaV
        client 0 tls.random_bytes \xf1)9\xb9XJ8\x96G.\xc4\x0b\xb8c\xcf\xd3\xe8h\x04\xfe:G\xf0j+iHL
        client 0 tls.alpn alpn
        client 0 ja3.hash 41bc9ae914d6cb3bd0bd0a5453ab7d7f
        client 0 ja3.string 771,4865-4866,0-65281-10-16-5-51-43-13-45-28-57,29-23-24,
        client 0 ja4.hash q13d0211an_62ed6f6ca7ad_4d634acda6c0
        client 0 TlsVersion 772
        client 0 TlsState 1
        server 1 quic.version 1
        server 1 tls.random \xee\xfc\xe7\xf7\xb3{\xa1\xd1c.\x96gx%\xdd\xf79\x88\xcf\xc7\x98%\xdfVm\xc5C\x0b\x9a\x04Z\x12
        server 1 tls.random_time \xee\xfc\xe7\xf7
        server 1 tls.random_bytes \xb3{\xa1\xd1c.\x96gx%\xdd\xf79\x88\xcf\xc7\x98%\xdfVm\xc5C\x0b\x9a\x04Z\x12
        server 1 ja3s.hash eb1d94daa7e0344597e756a1fb6e7054
        server 1 ja3s.string 771,4865,51-43
        server 1 TlsVersion 772
        server 1 TlsState 2
    "#]].assert_eq(&trial.told());
}

#[test]
fn signatures_are_told_a_hello_of_google_s_with_its_fingerprint() {
    let mut hello = b"\x0d12345678Q043\x01hashhashhash\xa0\x01\x00\x40CHLO\x02\0\0\0SNI\0\x05\0\0\0UAID\x09\0\0\0a.orgname".to_vec();
    hello.resize(1200, 0);
    let mut trial = Trial::<Quic>::new().over_datagrams().client(&hello);
    expect![[r#"
        client 0 quic.version Q043
        client 0 quic.sni a.org
        client 0 quic.ua name
        client 0 quic.cyu.hash 9f946d5dc2772006371ed3360664cb84
        client 0 quic.cyu.string 43,SNI-UAID
    "#]]
    .assert_eq(&trial.told());
}
