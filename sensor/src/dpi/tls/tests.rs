//! Sessions recorded between OpenSSL 3.0's `s_client` and `s_server` with a certificate made for it,
//! and what is made of them: whole, cut, damaged, one-sided, with gaps.

use super::*;
use crate::dpi::Carrier;
use crate::dpi::config::{DpiConfig, EveConfig};
use crate::dpi::testing::{CLIENT, SERVER, Talk};
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
use expect_test::expect;

const TLS12_CLIENT: &[u8] = include_bytes!("testdata/tls12_client.bin");
const TLS12_SERVER: &[u8] = include_bytes!("testdata/tls12_server.bin");
const TLS13_CLIENT: &[u8] = include_bytes!("testdata/tls13_client.bin");
const TLS13_SERVER: &[u8] = include_bytes!("testdata/tls13_server.bin");
const RETRY_CLIENT: &[u8] = include_bytes!("testdata/retry_client.bin");
const RETRY_SERVER: &[u8] = include_bytes!("testdata/retry_server.bin");
const RESUMED_CLIENT: &[u8] = include_bytes!("testdata/resumed_client.bin");
const RESUMED_SERVER: &[u8] = include_bytes!("testdata/resumed_server.bin");
/// A ClientHello of SSL 2.0 with one cipher, and a server's answer with an empty certificate.
const SSL2_CLIENT: &[u8] = b"\x80\x1c\x01\x00\x02\x00\x03\x00\x00\x00\x10\x07\x00\xc00123456789abcdef";
const SSL2_SERVER: &[u8] =
    b"\x80\x1e\x04\x00\x01\x00\x02\x00\x00\x00\x03\x00\x10\x07\x00\xc00123456789abcdef";

fn trial() -> Trial<Tls> {
    Trial::new().without_frames()
}

fn session(client: &[u8], server: &[u8]) -> Trial<Tls> {
    trial().client(client).server(server).close()
}

/// The handshake records at the front of a stream, cut anew into records of so many bytes.
fn fragmented(stream: &[u8], record_bytes: usize) -> Vec<u8> {
    let (mut messages, mut rest) = (Vec::new(), stream);
    while let [22, _, _, high, low, after @ ..] = rest {
        let (content, behind) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        messages.extend_from_slice(content);
        rest = behind;
    }
    let mut out = Vec::new();
    for piece in messages.chunks(record_bytes) {
        out.extend_from_slice(&[22, 3, 3]);
        out.extend_from_slice(&(piece.len() as u16).to_be_bytes());
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(rest);
    out
}

#[test]
fn tls_1_2_tells_hellos_and_certificate() {
    let trial = session(TLS12_CLIENT, TLS12_SERVER);
    assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 0));
    expect![[r#"
        sni www.example.com
        tls_version TLS 1.2
        alpn h2,http/1.1
        tls_cipher 49196
        ja3 22558766122974704364c9c75c5cce0a
        ja3s e195432758194ce2d482396b82e0d48e
        ja4 t12d2808h2_d943125447b4_e7e480e5a997
        tls_subject C=CZ, O=Weir, Inc., CN=www.example.com
        tls_issuer C=CZ, O=Weir, Inc., CN=www.example.com
        tls_serial 00:97:E6:47:09:8E:EA:C9:B4
        tls_fingerprint 8d:8c:23:bb:4b:7d:5a:49:fe:0a:a9:17:56:11:77:0b:91:48:b9:56
        tls_notbefore 1423764447
        tls_notafter 253402300799
        tls {"ja3":{"hash":"22558766122974704364c9c75c5cce0a","string":"771,49196-49200-159-52393-52392-52394-49195-49199-158-49188-49192-107-49187-49191-103-49162-49172-57-49161-49171-51-157-156-61-60-53-47-255,0-11-10-35-16-22-23-13,29-23-30-25-24,0-1-2"},"ja4":"t12d2808h2_d943125447b4_e7e480e5a997","client_alpns":["h2","http/1.1"],"ja3s":{"hash":"e195432758194ce2d482396b82e0d48e","string":"771,49196,65281-11-35-16-23"},"server_alpns":["http/1.1"],"subject":"C=CZ, O=Weir, Inc., CN=www.example.com","issuerdn":"C=CZ, O=Weir, Inc., CN=www.example.com","serial":"00:97:E6:47:09:8E:EA:C9:B4","fingerprint":"8d:8c:23:bb:4b:7d:5a:49:fe:0a:a9:17:56:11:77:0b:91:48:b9:56","notbefore":"2015-02-12T18:07:27","notafter":"9999-12-31T23:59:59","subjectaltname":["www.example.com","*.example.com","192.0.2.1","2001:db8::1","root@example.com"],"sni":"www.example.com","version":"TLS 1.2"}
    "#]]
    .assert_eq(&trial.learned());
}

#[test]
fn tls_1_3_tells_hellos_and_hides_the_certificate() {
    let trial = session(TLS13_CLIENT, TLS13_SERVER);
    assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 0));
    expect![[r#"
        sni www.example.com
        tls_version TLS 1.3
        alpn h2,http/1.1
        tls_cipher 4866
        ja3 9dffdb8b608a430b774a2ff7d36c1a0c
        ja3s 15af977ce25de452b96affa2addb1036
        ja4 t13d0411h2_16476d049b0b_78f1d400d464
        tls {"ja3":{"hash":"9dffdb8b608a430b774a2ff7d36c1a0c","string":"771,4866-4867-4865-255,0-11-10-35-16-22-23-13-43-45-51,29-23-30-25-24-256-257-258-259-260,0-1-2"},"ja4":"t13d0411h2_16476d049b0b_78f1d400d464","client_alpns":["h2","http/1.1"],"ja3s":{"hash":"15af977ce25de452b96affa2addb1036","string":"771,4866,43-51"},"sni":"www.example.com","version":"TLS 1.3"}
    "#]]
    .assert_eq(&trial.learned());
}

#[test]
fn a_hello_retry_request_is_not_the_servers_answer() {
    let retry_bytes = 5 + usize::from(u16::from_be_bytes([RETRY_SERVER[3], RETRY_SERVER[4]]));
    let (retry, answer) = RETRY_SERVER.split_at(retry_bytes);
    let trial = trial().client(RETRY_CLIENT).server(retry);
    assert_eq!(trial.end, None);
    assert_eq!(trial.text(Field::TlsJa3s), "");
    let trial = trial.server(answer);
    assert_eq!(trial.end, Some(Progress::Done));
    assert_eq!(trial.text(Field::TlsVersion), "TLS 1.3");
    assert_eq!(trial.text(Field::TlsJa3), "c7119c89c1ce9ff0787b6752d9523ba0");
    assert_eq!(trial.event()["version"], "TLS 1.3");
}

#[test]
fn an_old_session_continued_has_no_certificate_and_says_so() {
    let trial = session(RESUMED_CLIENT, RESUMED_SERVER);
    assert_eq!(trial.end, Some(Progress::Done));
    assert_eq!(trial.event()["session_resumed"], true);
    assert_eq!(trial.event().get("subject"), None);
    assert_eq!(trial.text(Field::TlsJa3s), "f14f2862ee2df5d0f63a88b60c8eee56");
}

#[test]
fn where_segments_and_records_are_cut_does_not_matter() {
    for (client, server) in [
        (TLS12_CLIENT, TLS12_SERVER),
        (TLS13_CLIENT, TLS13_SERVER),
        (RETRY_CLIENT, RETRY_SERVER),
        (RESUMED_CLIENT, RESUMED_SERVER),
        (SSL2_CLIENT, SSL2_SERVER),
    ] {
        cuts_do_not_matter::<Tls>(client, server);
    }
    let whole = session(TLS12_CLIENT, TLS12_SERVER).learned();
    for record_bytes in [1, 2, 3, 5, 7, 50, 333, 2000] {
        let (client, server) =
            (fragmented(TLS12_CLIENT, record_bytes), fragmented(TLS12_SERVER, record_bytes));
        assert_eq!(session(&client, &server).learned(), whole, "records of {record_bytes} bytes");
        assert_eq!(record::probe(&client), Probe::Certain, "records of {record_bytes} bytes");
    }
    cuts_do_not_matter::<Tls>(&fragmented(TLS12_CLIENT, 40), &fragmented(TLS12_SERVER, 40));
}

#[test]
fn no_damage_panics() {
    survives_damage::<Tls>(TLS12_CLIENT, TLS12_SERVER);
    survives_damage::<Tls>(TLS13_CLIENT, &TLS13_SERVER[..200]);
    survives_damage::<Tls>(RETRY_CLIENT, &RETRY_SERVER[..400]);
    survives_damage::<Tls>(SSL2_CLIENT, SSL2_SERVER);
    survives_damage::<Tls>(&fragmented(TLS12_CLIENT, 3), &fragmented(TLS12_SERVER, 100));
}

#[test]
fn ssl_2_has_a_name_and_a_version() {
    let trial = session(SSL2_CLIENT, SSL2_SERVER);
    assert_eq!(trial.end, Some(Progress::Done));
    assert_eq!(trial.event(), serde_json::json!({"version": "SSLv2"}));
    assert_eq!(record::probe(SSL2_CLIENT), Probe::Certain);
    assert_eq!(record::probe(SSL2_SERVER), Probe::Certain);
}

#[test]
fn a_client_may_wrap_a_newer_hello_in_the_form_of_ssl_2() {
    let client = [&SSL2_CLIENT[..3], &[3, 1], &SSL2_CLIENT[5..]].concat();
    let trial = session(&client, TLS12_SERVER);
    assert_eq!(trial.end, Some(Progress::Done));
    assert_eq!(trial.text(Field::TlsVersion), "TLS 1.2");
    assert_eq!(trial.text(Field::TlsSubject), "C=CZ, O=Weir, Inc., CN=www.example.com");
}

#[test]
fn one_side_alone_is_told_at_the_end() {
    let client_only = trial().client(TLS12_CLIENT);
    assert_eq!(client_only.end, None);
    let client_only = client_only.close();
    assert_eq!(client_only.event()["version"], "UNDETERMINED");
    assert_eq!(client_only.event()["sni"], "www.example.com");
    let server_only = trial().server(TLS12_SERVER).close();
    assert_eq!(server_only.event()["serial"], "00:97:E6:47:09:8E:EA:C9:B4");
    assert_eq!(server_only.event().get("sni"), None);
    assert_eq!(server_only.events[0].direction, Direction::Forward);
}

#[test]
fn one_side_alone_is_done_after_enough_data() {
    let record = [&[23, 3, 3, 0x10, 0][..], &[0; 0x1000]].concat();
    let mut server_only = trial().server(TLS12_SERVER);
    for _ in 0..3 {
        server_only = server_only.server(&record);
    }
    assert_eq!(server_only.end, None);
    assert_eq!(server_only.server(&record).end, Some(Progress::Done));
}

#[test]
fn a_flow_taken_backwards_tells_who_the_client_is() {
    let trial = trial().server(TLS12_CLIENT).client(TLS12_SERVER).close();
    assert_eq!(trial.end, Some(Progress::Done));
    assert_eq!(trial.events[0].direction, Direction::Reverse);
    assert_eq!(trial.event()["subject"], "C=CZ, O=Weir, Inc., CN=www.example.com");
}

#[test]
fn a_hello_cut_off_by_a_gap_still_gives_its_server_name() {
    let trial = trial().client(&TLS12_CLIENT[..200]).gap(Direction::Forward, 154).server(TLS12_SERVER);
    assert_eq!(trial.text(Field::TlsServerName), "www.example.com");
    assert_eq!(trial.text(Field::TlsJa3), "");
    let trial = trial.client(&[20, 3, 3, 0, 1, 1]);
    assert_eq!(trial.end, Some(Progress::Done));
    assert_eq!(trial.event()["sni"], "www.example.com");
}

#[test]
fn after_a_gap_reading_goes_on_at_a_record() {
    // The first record, the ServerHello, is lost as a whole.
    let hello_bytes = 5 + usize::from(u16::from_be_bytes([TLS12_SERVER[3], TLS12_SERVER[4]]));
    let trial = trial()
        .client(TLS12_CLIENT)
        .gap(Direction::Reverse, hello_bytes as u64)
        .server(&TLS12_SERVER[hello_bytes..]);
    assert_eq!(trial.end, Some(Progress::Done));
    assert_eq!(trial.text(Field::TlsVersion), "");
    assert_eq!(
        trial.text(Field::TlsFingerprint),
        "8d:8c:23:bb:4b:7d:5a:49:fe:0a:a9:17:56:11:77:0b:91:48:b9:56"
    );
    // Nor is it taken for a resumed session.
    assert_eq!(trial.event().get("session_resumed"), None);
}

#[test]
fn a_gap_inside_a_record_keeps_its_end() {
    // Lost in the certificate: the messages cannot be found in that record, the next record can.
    let trial = trial()
        .client(TLS12_CLIENT)
        .server(&TLS12_SERVER[..150])
        .gap(Direction::Reverse, 100)
        .server(&TLS12_SERVER[250..]);
    assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 0));
    assert_eq!(trial.text(Field::TlsVersion), "TLS 1.2");
    assert_eq!(trial.event().get("session_resumed"), None);
}

#[test]
fn a_side_that_begins_in_the_middle_of_a_record_is_given_up() {
    let trial = trial().client(&TLS12_CLIENT[100..]).server(TLS12_SERVER);
    assert_eq!(trial.end, Some(Progress::Done));
    assert_eq!(trial.event()["version"], "TLS 1.2");
}

#[test]
fn what_contradicts_the_records_breaks_the_session_after_telling_it() {
    let trial = trial().client(TLS12_CLIENT).client(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(trial.end, Some(Progress::Broken("invalid_record_type")));
    assert_eq!(trial.event()["sni"], "www.example.com");
    let trial = Trial::<Tls>::new().client(&[22, 3, 1, 0, 8, 99, 0, 0, 4, 1, 2, 3, 4]);
    assert_eq!(trial.end, Some(Progress::Broken("invalid_handshake_message")));
}

#[test]
fn a_message_past_the_limit_is_passed_over_and_counted() {
    let oversize = |length: usize| {
        let message = [&[1][..], &(length as u32).to_be_bytes()[1..], &vec![0; length]].concat();
        message
            .chunks(16384)
            .flat_map(|piece| [&[22, 3, 1][..], &(piece.len() as u16).to_be_bytes(), piece].concat())
            .collect::<Vec<u8>>()
    };
    let trial = trial().client(&oversize(MESSAGE_BYTES_MAX)).server(TLS12_SERVER);
    assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 1));
    assert_eq!(trial.text(Field::TlsVersion), "TLS 1.2");
}

#[test]
fn a_malformed_certificate_is_counted_and_the_rest_is_told() {
    let mut server = TLS12_SERVER.to_vec();
    let at = server.windows(2).position(|pair| pair == [0x30, 0x82]).unwrap();
    server[at] = 0x31;
    let trial = session(TLS12_CLIENT, &server);
    assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 1));
    let kinds: Vec<_> = trial.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["anomaly", "tls"]);
    let body: serde_json::Value = serde_json::from_slice(&trial.events[1].body).unwrap();
    assert_eq!(body.get("subject"), None);
    assert_eq!(body["version"], "TLS 1.2");
}

#[test]
fn a_certificate_longer_than_its_message_is_not_waited_for() {
    let mut server = TLS12_SERVER.to_vec();
    let at = server.windows(2).position(|pair| pair == [0x30, 0x82]).unwrap();
    server[at - 2] = 0xf0;
    let trial = session(TLS12_CLIENT, &server);
    assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 1));
    let empty = [&TLS12_SERVER[..at - 15], &[22, 3, 3, 0, 7, 11, 0, 0, 3, 0, 0, 0]].concat();
    assert_eq!(session(TLS12_CLIENT, &empty).text(Field::TlsSubject), "");
}

#[test]
fn what_follows_the_end_of_interest_is_not_judged() {
    let trial = trial().client(TLS13_CLIENT).server(&[TLS13_SERVER, b"anything"].concat());
    assert_eq!(trial.end, Some(Progress::Done));
}

#[test]
fn a_malformed_hello_is_counted_and_gives_no_fingerprint() {
    let mut client = TLS12_CLIENT.to_vec();
    // The last extension, signature_algorithms, says it has one byte more than there is.
    let last = client.windows(3).rposition(|start| start == [0, 13, 0]).unwrap();
    client[last + 3] += 1;
    let trial = session(&client, TLS12_SERVER);
    assert_eq!(trial.text(Field::TlsJa4), "");
    assert_eq!(trial.malformed, 1);
}

#[test]
fn first_bytes_are_told_from_other_protocols() {
    for stream in [TLS12_CLIENT, TLS12_SERVER, TLS13_CLIENT, TLS13_SERVER, RETRY_SERVER, RESUMED_SERVER] {
        assert_eq!(record::probe(stream), Probe::Certain);
        for cut in 0..=10 {
            assert_eq!(record::probe(&stream[..cut]), Probe::Unsure, "{cut}");
        }
        assert_eq!(record::probe(&stream[..11]), Probe::Certain);
        assert_eq!(Tls::probe(&First::of(Carrier::Datagram, Direction::Forward, stream)), Probe::NotForUs);
    }
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x09\x00\x05hello",
        b"\x16\x03\x01\xff\xff\x01\x00",
        b"\x16\x03\x01\x00\x40\x10\x00\x00\x3c\x03\x03",
        b"\x16\x03\x01\x00\x40\x01\x00\x00\x0c\x03\x03",
        b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x09\x03",
        b"\x80\x1c\x01\x00\x05\x00\x03\x00\x00\x00\x10",
        b"\x80\x1c\x01\x00\x02\x00\x04\x00\x00\x00\x10",
        b"\x17\x03\x03\x00\x03abcHTTP/",
        &[0; 20],
        &[0xff; 20],
    ] {
        assert_eq!(record::probe(other), Probe::NotForUs, "{other:02x?}");
    }
    // A refusal, and a session picked up in the middle.
    assert_eq!(record::probe(&[21, 3, 1, 0, 2, 2, 40]), Probe::Certain);
    assert_eq!(record::probe(b"\x17\x03\x03\x00\x03abc\x17\x03\x03\x01\x00"), Probe::Certain);
    assert_eq!(record::probe(b"\x17\x03\x03\x00\x03abc\x17\x03"), Probe::Unsure);
    assert_eq!(record::probe(b"\x14\x03\x03\x00\x01\x01\x16\x03\x03\x00\x28"), Probe::Certain);
}

/// A record of application data.
fn data(bytes: usize) -> Vec<u8> {
    [&[23, 3, 3], &(bytes as u16).to_be_bytes()[..], &vec![0xda; bytes]].concat()
}

fn followed() -> Trial<Tls> {
    trial().followed()
}

#[test]
fn up_to_tls_1_2_ciphertext_begins_with_the_application_data_of_both_sides() {
    let client = [TLS12_CLIENT, &data(10)].concat();
    let followed = followed().client(&client).server(TLS12_SERVER);
    assert_eq!((followed.end, followed.ciphertext_after()), (None, [None; 2]));
    let followed = followed.server(&data(10));
    assert_eq!((followed.end, followed.ciphertext_after()), (Some(Progress::Done), [Some(0); 2]));
    // What is learned is the same, and told when it is known.
    let alone = session(TLS12_CLIENT, TLS12_SERVER);
    assert_eq!(followed.learned(), alone.learned());
    assert_eq!(alone.ciphertext_after(), [None; 2]);
}

#[test]
fn in_tls_1_3_a_client_may_hide_certificates_and_a_server_was_answered() {
    let hello = &TLS13_CLIENT[..5 + 262 + 6];
    let followed = followed().client(hello).server(TLS13_SERVER);
    assert_eq!((followed.end, followed.ciphertext_after()), (None, [None; 2]));
    let followed = followed.client(&data(69));
    let hidden = HIDDEN_BYTES_MAX as u32 - 69;
    assert_eq!((followed.end, followed.ciphertext_after()), (Some(Progress::Done), [Some(hidden), Some(0)]));
}

#[test]
fn early_data_is_not_taken_for_an_answer() {
    let ticket = [0, 35, 0, 0];
    let at = TLS13_CLIENT.windows(4).position(|window| window == ticket).unwrap();
    let mut client = TLS13_CLIENT.to_vec();
    client[at + 1] = 42;
    let followed = followed().client(&client).server(TLS13_SERVER);
    assert_eq!(followed.ciphertext_after(), [Some(2 * HIDDEN_BYTES_MAX as u32); 2]);
}

#[test]
fn a_session_seen_from_its_middle_may_still_be_in_its_handshake() {
    let followed = followed().client(&[data(100), data(100)].concat()).server(&data(50));
    let left = [200, 50].map(|bytes| Some(HIDDEN_BYTES_MAX as u32 - bytes));
    assert_eq!((followed.end, followed.ciphertext_after()), (Some(Progress::Done), left));
}

#[test]
fn where_records_are_lost_nothing_is_known_to_be_ciphertext() {
    let followed = followed().client(TLS12_CLIENT).server(TLS12_SERVER);
    let followed = followed.gap(Direction::Forward, 100).client(b"no record at all");
    assert_eq!((followed.end, followed.ciphertext_after()), (Some(Progress::Done), [None; 2]));
    // Without a gap that contradicts the protocol; all was learned before, so it is no fault to count.
    let broken = self::followed().client(TLS12_CLIENT).server(TLS12_SERVER).client(b"no record at all");
    assert_eq!((broken.end, broken.ciphertext_after()), (Some(Progress::Done), [None; 2]));
}

#[test]
fn one_side_alone_is_ciphertext_once_its_handshake_must_be_over() {
    let followed = followed().server(TLS12_SERVER).server(&data(ONE_SIDED_BYTES_MAX - 1));
    assert_eq!(followed.ciphertext_after(), [None; 2]);
    let followed = followed.server(&data(1));
    assert_eq!(followed.ciphertext_after(), [Some(0); 2]);
}

/// A handshake message, and a record of a type.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

fn record(content: u8, body: &[u8]) -> Vec<u8> {
    [&[content, 3, 3][..], &(body.len() as u16).to_be_bytes(), body].concat()
}

/// Both hellos of TLS 1.2 and a Certificate message.
fn greetings() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    const CERTIFICATE: &[u8] = include_bytes!("testdata/certificate.der");
    let counted = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[1..], bytes].concat();
    let client = message(1, &[&[3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0]].concat());
    let server = message(2, &[&[3, 3][..], &[8; 32], &[0, 0xc0, 0x2b, 0]].concat());
    (client, server, message(11, &counted(&counted(CERTIFICATE))))
}

#[test]
fn certificates_themselves_are_told_where_they_are_asked_for() {
    let told = |eve| {
        let (hello, answer, certificate) = greetings();
        let talk = Talk::tcp().with(DpiConfig { eve, ..DpiConfig::default() });
        let talk = talk.say(CLIENT, record(22, &hello));
        let told = talk.say(SERVER, [record(22, &answer), record(22, &certificate)].concat()).end();
        serde_json::from_slice::<serde_json::Value>(&told.events[0].body).unwrap()
    };
    let both = told(EveConfig { tls_certificate: true, tls_chain: true, ..EveConfig::default() });
    assert!(both["certificate"].as_str().unwrap().starts_with("MII"), "{both}");
    assert_eq!(both["chain"], serde_json::json!([both["certificate"]]));
    let neither = told(EveConfig::default());
    assert_eq!((neither.get("certificate"), neither.get("chain")), (None, None));
}

#[test]
fn what_remote_desktop_negotiated_is_told_as_its_own_too() {
    let (hello, answer, certificate) = greetings();
    let request = b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x01\0\0\0";
    let confirm = b"\x03\0\0\x13\x0e\xd0\0\0\0\0\0\x02\0\x08\0\x01\0\0\0";
    let talk = Talk::tcp().say(CLIENT, request).say(SERVER, confirm).say(CLIENT, record(22, &hello));
    let told = talk.say(SERVER, [record(22, &answer), record(22, &certificate)].concat()).end();
    let rdp: Vec<_> = told.events.iter().filter(|event| event.kind == "rdp").collect();
    let body: serde_json::Value = serde_json::from_slice(&rdp[2].body).unwrap();
    let session = told.events.iter().find(|event| event.kind == "tls").unwrap();
    let session: serde_json::Value = serde_json::from_slice(&session.body).unwrap();
    let serial = session["serial"].as_str().unwrap().replace(':', "").to_lowercase();
    let serial = serial.trim_start_matches('0');
    assert_eq!(
        body,
        serde_json::json!({"tx_id": 3, "event_type": "tls_handshake", "x509_serials": [serial]})
    );
    assert_eq!((rdp[2].transaction, rdp[2].direction), (Some(2), SERVER));
    assert_eq!(told.metadata.transactions(), 3);
}

#[test]
fn a_client_s_certificate_is_told_when_it_was_asked_for() {
    let (hello, answer, certificate) = greetings();
    let server =
        [answer, certificate.clone(), message(12, b"key"), message(13, b"\x01\x01\0\0"), message(14, b"")];
    let client = record(22, &[certificate, message(16, b"key")].concat());
    let trial = trial().client(&record(22, &hello)).server(&record(22, &server.concat())).client(&client);
    let trial = trial.client(&record(20, &[1])).server(&record(20, &[1])).close();
    assert_eq!(trial.malformed, 0);
    let body = trial.event();
    assert_eq!(body["subject"], body["client"]["subject"]);
    assert_eq!(body["client"]["subject"], "C=CZ, O=Weir, Inc., CN=www.example.com");
    assert_eq!(trial.text(Field::TlsClientSubject), "C=CZ, O=Weir, Inc., CN=www.example.com");
    assert!(body.get("session_resumed").is_none());
}

#[test]
fn a_client_without_a_certificate_says_so() {
    let (hello, answer, certificate) = greetings();
    let server = [answer, certificate, message(13, b"\x01\x01\0\0"), message(14, b"")];
    let client = record(22, &[message(11, &[0, 0, 0]), message(16, b"key")].concat());
    let trial =
        trial().client(&record(22, &hello)).server(&record(22, &server.concat())).client(&client).close();
    assert_eq!(trial.malformed, 0);
    assert!(trial.event().get("client").is_none());
}

#[test]
fn a_heartbeat_longer_than_its_record_is_an_anomaly() {
    let (hello, answer, _) = greetings();
    let begun = || trial().client(&record(22, &hello)).server(&record(22, &answer));
    let events = |heartbeat: &[u8]| {
        let trial = begun().client(&record(24, heartbeat)).close();
        trial.events.iter().filter(|event| event.kind == "anomaly").count()
    };
    assert_eq!(events(&[1, 0x40, 0]), 1);
    assert_eq!(events(&[&[1, 0, 2, 9, 9][..], &[0; 16]].concat()), 0);
    assert_eq!(events(&[&[1, 0, 2, 9, 9][..], &[0; 15]].concat()), 1);
}

#[test]
fn one_sealed_record_is_enough_with_the_port() {
    let sealed = record(23, &[5; 34]);
    let first = First::of(Carrier::Stream, Direction::Forward, &sealed);
    assert_eq!(Tls::probe(&first), Probe::Unsure);
    assert_eq!(Tls::probe(&first.between(40_000, 443)), Probe::Likely);
    let cut = &sealed[..sealed.len() - 1];
    assert_eq!(
        Tls::probe(&First::of(Carrier::Stream, Direction::Forward, cut).between(40_000, 443)),
        Probe::Unsure
    );
    let alert = record(21, &[5; 26]);
    let first = First::of(Carrier::Stream, Direction::Forward, &alert);
    assert_eq!(Tls::probe(&first), Probe::NotForUs);
    assert_eq!(Tls::probe(&first.between(443, 40_000)), Probe::Likely);
}

#[test]
fn an_encrypted_hello_is_noticed() {
    for (number, name) in [([0xfe, 0x0d], "ech"), ([0xff, 0xce], "esni"), ([0, 23], "")] {
        let extension = [&number[..], &[0, 0]].concat();
        let hello = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 0x01, 1, 0], &[0, 4], &extension].concat();
        let trial = trial().client(&record(22, &message(1, &hello))).close();
        assert_eq!(trial.text(Field::TlsEncryptedHello), name);
    }
}

/// What signatures are told but for DER and strings of fingerprints, which are long.
fn told_briefly(mut trial: Trial<Tls>) -> String {
    let told = trial.told();
    let is_brief = |line: &&str| {
        !["tls.certs", "ja3.string", "ja3s.string", "frame:"].iter().any(|word| line.contains(word))
    };
    told.lines().filter(is_brief).map(|line| format!("{line}\n")).collect()
}

#[test]
fn signatures_are_told_hellos_and_certificates() {
    expect![[r#"
        client 0 tls.sni www.example.com
        client 0 tls.random \xde5@h3\xe9\x8b\xe9m\xae\xf2\xbb\xbe7\xff\x03\xa4\xc5\x1c\x9aRc!\x0b|,\xfc\xc3\xf8\xf5\xcf\x15
        client 0 tls.random_time \xde5@h
        client 0 tls.random_bytes 3\xe9\x8b\xe9m\xae\xf2\xbb\xbe7\xff\x03\xa4\xc5\x1c\x9aRc!\x0b|,\xfc\xc3\xf8\xf5\xcf\x15
        client 0 tls.alpn h2
        client 0 tls.alpn http/1.1
        client 0 ja3.hash 22558766122974704364c9c75c5cce0a
        client 0 ja4.hash t12d2808h2_d943125447b4_e7e480e5a997
        client 0 TlsVersion 771
        client 0 TlsState 1
        client 0 TlsKeyExchange 4
        server 0 tls.random ~\xc8\x80\x84lad\xe1\x1b\xef\x102\xbe\x89\xec\x96\xa3OI\x18tX\x84m\xb4`\x9e\x184\x91{\x1e
        server 0 tls.random_time ~\xc8\x80\x84
        server 0 tls.random_bytes lad\xe1\x1b\xef\x102\xbe\x89\xec\x96\xa3OI\x18tX\x84m\xb4`\x9e\x184\x91{\x1e
        server 0 tls.alpn http/1.1
        server 0 ja3s.hash e195432758194ce2d482396b82e0d48e
        server 0 tls.cert_subject C=CZ, O=Weir, Inc., CN=www.example.com
        server 0 tls.cert_issuer C=CZ, O=Weir, Inc., CN=www.example.com
        server 0 tls.cert_serial 00:97:E6:47:09:8E:EA:C9:B4
        server 0 tls.cert_fingerprint 8d:8c:23:bb:4b:7d:5a:49:fe:0a:a9:17:56:11:77:0b:91:48:b9:56
        server 0 tls.subjectaltname www.example.com
        server 0 tls.subjectaltname *.example.com
        server 0 tls.subjectaltname 192.0.2.1
        server 0 tls.subjectaltname 2001:db8::1
        server 0 tls.subjectaltname root@example.com
        server 0 TlsVersion 771
        server 0 TlsState 2
        server 0 TlsCertChainLen 1
        server 0 TlsNotBefore 1423764447
        server 0 TlsNotAfter 253402300799
        server 0 TlsCertSeenAt 0
        server 0 TlsKeyExchange 8
    "#]].assert_eq(&told_briefly(session(TLS12_CLIENT, TLS12_SERVER)));
    expect![[r#"
        client 0 tls.sni www.example.com
        client 0 tls.random >\xcb\xbc\xefU\xc3\xfb\xadz\xc7Q\xe7\x0cc\x98\xa5\xa7\xd2\xf9\xf7w\xd4\xd4\xcd<B\xbc\xf2\x0c\xd2\xfd#
        client 0 tls.random_time >\xcb\xbc\xef
        client 0 tls.random_bytes U\xc3\xfb\xadz\xc7Q\xe7\x0cc\x98\xa5\xa7\xd2\xf9\xf7w\xd4\xd4\xcd<B\xbc\xf2\x0c\xd2\xfd#
        client 0 tls.alpn h2
        client 0 tls.alpn http/1.1
        client 0 ja3.hash 9dffdb8b608a430b774a2ff7d36c1a0c
        client 0 ja4.hash t13d0411h2_16476d049b0b_78f1d400d464
        client 0 TlsVersion 772
        client 0 TlsState 1
        server 0 tls.random A\xf6|Y\x0b~\xd1\xb7\xcdz\xf9\xbct\x9e\xab\x94\x0e\xc3@\\\xa4\xad\x0e\xfd]\xa9\xb5\xd3\x0f\xef8o
        server 0 tls.random_time A\xf6|Y
        server 0 tls.random_bytes \x0b~\xd1\xb7\xcdz\xf9\xbct\x9e\xab\x94\x0e\xc3@\\\xa4\xad\x0e\xfd]\xa9\xb5\xd3\x0f\xef8o
        server 0 ja3s.hash 15af977ce25de452b96affa2addb1036
        server 0 TlsVersion 772
        server 0 TlsState 2
    "#]].assert_eq(&told_briefly(session(TLS13_CLIENT, TLS13_SERVER)));
    let mut trial = session(TLS12_CLIENT, TLS12_SERVER);
    let der = include_bytes!("testdata/certificate.der").escape_ascii().to_string();
    assert!(trial.told().contains(&format!("server 0 tls.certs {der}\n")));
}

#[test]
fn signatures_are_told_versions_of_sessions_without_their_hellos() {
    let data = record(23, &[7; 40]);
    expect![[r#"
        client 0 TlsVersion 771
        server 0 TlsVersion 771
    "#]]
    .assert_eq(&told_briefly(session(&data, &data)));
    expect![[r#"
        client 0 TlsVersion 2
        client 0 TlsState 1
        server 0 TlsVersion 2
        server 0 TlsState 2
    "#]]
    .assert_eq(&told_briefly(session(SSL2_CLIENT, SSL2_SERVER)));
}

#[test]
fn a_session_is_described_before_and_after_it_is_told() {
    let describe = |trial: &Trial<Tls>| {
        let mut out = Vec::new();
        trial.dissector().describe(Direction::Forward, 0, &mut out);
        String::from_utf8(out).unwrap()
    };
    let begun = trial().client(TLS12_CLIENT);
    expect![[r#"{"ja3":{"hash":"22558766122974704364c9c75c5cce0a","string":"771,49196-49200-159-52393-52392-52394-49195-49199-158-49188-49192-107-49187-49191-103-49162-49172-57-49161-49171-51-157-156-61-60-53-47-255,0-11-10-35-16-22-23-13,29-23-30-25-24,0-1-2"},"ja4":"t12d2808h2_d943125447b4_e7e480e5a997","client_alpns":["h2","http/1.1"],"sni":"www.example.com","version":"UNDETERMINED"}"#]].assert_eq(&describe(&begun));
    let told = begun.server(TLS12_SERVER);
    assert_eq!(describe(&told).into_bytes(), told.events[0].body);
}

#[test]
fn signatures_are_told_of_the_agreement_on_keys_where_the_handshake_is_followed() {
    let mut trial = trial().followed().client(&TLS12_CLIENT[..300]).server(TLS12_SERVER);
    trial = trial.client(&TLS12_CLIENT[300..]).close();
    let told = trial.told();
    let keys: Vec<&str> = told.lines().filter(|line| line.contains("TlsKeyExchange")).collect();
    assert_eq!(keys, ["client 0 TlsKeyExchange 4", "server 0 TlsKeyExchange 8"]);
}

#[test]
fn signatures_are_told_records_as_frames_wherever_they_are_cut() {
    let stream = [record(21, &[1, 0]), record(23, &[7; 20])].concat();
    for cut in 0..stream.len() {
        let told = session(&[&stream[..cut], &stream[cut..]].concat(), b"").told();
        let pieces = trial().client(&stream[..cut]).client(&stream[cut..]).close().told();
        assert_eq!(pieces, told, "{cut}");
    }
    expect![[r#"
        client 0 TlsVersion 771
    "#]]
    .assert_eq(&session(&stream, b"").told());
}

#[test]
fn records_are_frames_also_when_all_else_is_learned() {
    let application = record(23, b"ciphertext");
    let client = [TLS13_CLIENT, &application[..], &application[..]].concat();
    let mut trial = Trial::<Tls>::new().client(&client).server(TLS13_SERVER).server(&application);
    assert_eq!((trial.end, trial.malformed), (None, 0));
    let is_application = |line: &&str| line.ends_with("frame:tls.data ciphertext");
    assert_eq!(trial.framed().lines().filter(is_application).count(), 3);
    // As without frames, what contradicts the protocol then is not judged.
    assert_eq!(trial.server(b"no record").end, Some(Progress::Done));
}

#[test]
fn odd_names_and_records_are_noted() {
    let named = |list: &[&[u8]]| {
        let extensions: Vec<u8> =
            list.iter().flat_map(|data| [&[0, 0, 0, data.len() as u8], *data].concat()).collect();
        let hello =
            [&[3, 3][..], &[7; 32], &[0, 0, 2, 19, 1, 1, 0, 0, extensions.len() as u8], &extensions].concat();
        trial().client(&record(22, &message(1, &hello))).odd()
    };
    let (sound, typed, empty) =
        (&[0, 4, 0, 0, 1, b'a'][..], &[0, 4, 1, 0, 1, b'a'][..], &[0, 3, 0, 0, 0][..]);
    assert_eq!(named(&[sound]), "");
    assert_eq!(named(&[sound, sound]), "client multiple_sni_extensions\n");
    assert_eq!(named(&[typed]), "client invalid_sni_type\n");
    assert_eq!(named(&[empty]), "client invalid_sni_length\n");
    let broken = |bytes: &[u8]| trial().client(TLS12_CLIENT).client(bytes).end;
    assert_eq!(broken(&[23, 4, 1, 0, 1, 0]), Some(Progress::Broken("invalid_record_version")));
    assert_eq!(broken(&[23, 3, 1, 0xff, 1, 0]), Some(Progress::Broken("invalid_record_length")));
}
