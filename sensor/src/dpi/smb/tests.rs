//! Bytes of SMB in, metadata and events out.

use super::*;
use crate::dpi::Carrier;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
use weir_common::metadata::Field;
use weir_common::net::Direction;

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes()[..], message].concat()
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A message of SMB 2: session 9, tree 5.
fn two(command: u16, number: u8, is_response: bool, body: &[u8]) -> Vec<u8> {
    let mut header = b"\xfeSMB\x40\0\0\0\0\0\0\0".to_vec();
    header.extend_from_slice(&command.to_le_bytes());
    header.extend_from_slice(&[1, 0, u8::from(is_response), 0, 0, 0, 0, 0, 0, 0]);
    header.extend_from_slice(&[number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    header.resize(64, 0);
    framed(&[&header[..], body].concat())
}

const HANDLE: [u8; 16] = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0];

fn negotiate() -> [Vec<u8>; 2] {
    let request =
        [&[36, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &[0x11; 16], &[0; 8], &[2, 2, 0x11, 3]].concat();
    let mut response = vec![65, 0, 1, 0, 0x11, 3, 0, 0];
    response.extend_from_slice(&[0x22; 16]);
    response.extend_from_slice(&[0; 8]);
    response.extend_from_slice(&[0, 0, 1, 0, 0, 0, 2, 0]);
    response.resize(64, 0);
    [two(0, 0, false, &request), two(0, 0, true, &response)]
}

fn tree(kind: u8, name: &str) -> [Vec<u8>; 2] {
    let name = wide(name);
    let request = [&[9, 0, 0, 0, 72, 0, name.len() as u8, 0][..], &name].concat();
    [two(3, 2, false, &request), two(3, 2, true, &[16, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]
}

fn create(name: &str, size: u8) -> [Vec<u8>; 2] {
    let name = wide(name);
    let mut request = vec![57, 0];
    request.resize(36, 0);
    request.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 120, 0, name.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    request.extend_from_slice(&name);
    let mut response = vec![89, 0, 0, 0, 1, 0, 0, 0];
    response.resize(48, 0);
    response.extend_from_slice(&[size, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    response.extend_from_slice(&HANDLE);
    [two(5, 3, false, &request), two(5, 3, true, &response)]
}

fn read(number: u8, offset: u8, data: &[u8]) -> [Vec<u8>; 2] {
    let length = data.len() as u8;
    let request =
        [&[49, 0, 0, 0, length, 0, 0, 0, offset, 0, 0, 0, 0, 0, 0, 0][..], &HANDLE, &[0; 17]].concat();
    let response = [&[17, 0, 80, 0, length, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], data].concat();
    [two(8, number, false, &request), two(8, number, true, &response)]
}

fn write(number: u8, data: &[u8]) -> [Vec<u8>; 2] {
    let fixed = [49, 0, 112, 0, data.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let request = [&fixed[..], &HANDLE, &[0; 16], data].concat();
    [
        two(9, number, false, &request),
        two(9, number, true, &[17, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ]
}

fn close(number: u8) -> [Vec<u8>; 2] {
    let request = [&[24, 0, 0, 0, 0, 0, 0, 0][..], &HANDLE].concat();
    [two(6, number, false, &request), two(6, number, true, &[60; 60])]
}

fn run(pairs: &[[Vec<u8>; 2]]) -> Trial<Smb> {
    let trial = Trial::<Smb>::new();
    pairs.iter().fold(trial, |trial, [request, response]| trial.client(request).server(response))
}

fn reading() -> Vec<[Vec<u8>; 2]> {
    vec![
        negotiate(),
        tree(1, "\\\\s\\data"),
        create("a\\b.txt", 6),
        read(4, 0, b"hel"),
        read(5, 3, b"lo\n"),
        close(6),
    ]
}

#[test]
fn a_file_that_is_read_is_told_with_its_share() {
    let trial = run(&reading()).close();
    assert_eq!(trial.malformed, 0);
    let kinds: Vec<_> = trial.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["smb", "smb", "smb", "fileinfo", "smb", "smb"]);
    let bodies: Vec<serde_json::Value> =
        trial.events.iter().map(|event| serde_json::from_slice(&event.body).unwrap()).collect();
    assert_eq!(bodies[0]["client_dialects"], serde_json::json!(["2.02", "3.11"]));
    assert_eq!((&bodies[0]["dialect"], &bodies[0]["max_read_size"]), (&"3.11".into(), &65536.into()));
    assert_eq!((&bodies[1]["share"], &bodies[1]["share_type"]), (&"\\\\s\\data".into(), &"FILE".into()));
    assert_eq!(bodies[2]["fuid"], "00000001-0002-0000-0003-000000000004");
    assert_eq!((&bodies[3]["filename"], &bodies[3]["size"]), (&"a\\b.txt".into(), &6.into()));
    // MD5 of "hello\n".
    assert_eq!(
        (&bodies[3]["state"], &bodies[3]["md5"]),
        (&"CLOSED".into(), &"b1946ac92492d2347c6235b4d2611184".into())
    );
    assert_eq!(bodies[4]["command"], "SMB2_COMMAND_READ");
    assert_eq!(bodies[5]["command"], "SMB2_COMMAND_CLOSE");
    assert_eq!((trial.text(Field::SmbShare), trial.text(Field::Version)), ("\\\\s\\data", "3.11"));
}

#[test]
fn what_is_missing_of_a_file_is_told() {
    let mut pairs = reading();
    pairs.remove(4);
    let told = run(&pairs).close().learned();
    assert!(
        told.contains("\"state\":\"CLOSED\"") && told.contains("\"size\":3") && !told.contains("file_sha256"),
        "less was read than there is: {told}"
    );
    let [request, response] = write(4, b"hello\n");
    let opened = run(&[tree(1, "\\\\s\\data"), create("b", 0)]);
    let trial = opened.client(&request[..request.len() - 4]).gap(Direction::Forward, 4).server(&response);
    let [request, response] = close(5);
    let told = trial.client(&request).server(&response).close().learned();
    assert!(told.contains("\"gaps\":true") && told.contains("\"size\":6"), "{told}");
}

#[test]
fn a_pipe_carries_calls() {
    let bind = [
        &[5, 0, 11, 3, 0x10, 0, 0, 0, 72, 0, 0, 0, 1, 0, 0, 0, 0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0][..],
        &[1, 0, 0, 0, 0, 0, 1, 0, 0x81, 0xbb, 0x7a, 0x36, 0x44, 0x98, 0xf1, 0x35],
        &[0xad, 0x32, 0x98, 0xf0, 0x38, 0, 0x10, 3, 2, 0, 0, 0],
        &[4; 20],
    ]
    .concat();
    let trial = run(&[tree(2, "\\\\s\\IPC$"), create("svcctl", 0), write(4, &bind)]).close();
    let told = trial.learned();
    assert!(told.contains("\"named_pipe\":\"\\\\\\\\s\\\\IPC$\""), "{told}");
    assert!(told.contains("\"dcerpc\":{\"request\":\"BIND\",\"response\":\"UNREPLIED\""), "{told}");
    assert_eq!(trial.text(Field::DceRpcInterface), "svcctl");
}

fn one(command: u8, is_response: bool, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0xff, b'S', b'M', b'B', command, 0, 0, 0, 0, u8::from(is_response) << 7, 1, 0xc8];
    header.resize(24, 0);
    header.extend_from_slice(&[5, 0, 0xfe, 0xca, 8, 0, 1, 0]);
    framed(&[&header[..], body].concat())
}

fn old() -> [Vec<u8>; 2] {
    let dialects = b"\x02PC NETWORK PROGRAM 1.0\0\x02NT LM 0.12\0";
    let request = [&[0, dialects.len() as u8, 0][..], dialects].concat();
    let mut words = vec![17, 1, 0];
    words.resize(35, 0);
    let mut setup = vec![13, 0xff, 0, 0, 0];
    setup.resize(27, 0);
    let texts = [wide("user\0DOM\0Windows\0LM\0")].concat();
    let setup = [&setup[..], &[texts.len() as u8 + 1, 0, 0], &texts].concat();
    let answer = [3, 0xff, 0, 0, 0, 0, 0, 17, 0, 0, b'U', 0, 0, 0, b'S', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [
        [one(0x72, false, &request), one(0x73, false, &setup)].concat(),
        [one(0x72, true, &[&words[..], &[0, 0]].concat()), one(0x73, true, &answer)].concat(),
    ]
}

#[test]
fn smb_1_is_told() {
    let [client, server] = old();
    let trial = Trial::<Smb>::new().client(&client).server(&server).close();
    assert_eq!((trial.malformed, trial.events.len()), (0, 2));
    let event: serde_json::Value = serde_json::from_slice(&trial.events[1].body).unwrap();
    assert_eq!(event["command"], "SMB1_COMMAND_SESSION_SETUP_ANDX");
    assert_eq!(event["request"]["native_os"], "Windows");
    assert_eq!(event["dialect"], "NT LM 0.12");
    assert_eq!((trial.text(Field::User), trial.text(Field::Domain)), ("user", "DOM"));
}

#[test]
fn cuts_and_damage_are_borne() {
    let sides = |pairs: &[[Vec<u8>; 2]], side: usize| {
        pairs.iter().flat_map(|pair| pair[side].clone()).collect::<Vec<_>>()
    };
    let (client, server) = (sides(&reading(), 0), sides(&reading(), 1));
    cuts_do_not_matter::<Smb>(&client[..client.len() - close(6)[0].len()], &server);
    survives_damage::<Smb>(&client, &server);
    let [client, server] = old();
    cuts_do_not_matter::<Smb>(&client, &server);
    survives_damage::<Smb>(&client, &server);
}

#[test]
fn the_mark_tells() {
    let probe = |bytes: &[u8]| Smb::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
    let [request, _] = negotiate();
    assert!((1..10).all(|cut| probe(&request[..cut]) == Probe::Unsure));
    assert_eq!((probe(&request), probe(&old()[0])), (Probe::Certain, Probe::Certain));
    for other in [&b"\0\0\0\x0c\xfeSMB\x40\0"[..], b"\0\0\0\x80GET ", b"\x01\0\0\x80\xfeSMB"] {
        assert_eq!(probe(other), Probe::NotForUs);
    }
}

#[test]
fn signatures_are_told_shares_pipes_and_calls() {
    let pdu = |kind: u8, call: u8, body: &[u8]| {
        [&[5, 0, kind, 3, 0x10, 0, 0, 0, 16 + body.len() as u8, 0, 0, 0, call, 0, 0, 0][..], body].concat()
    };
    let svcctl = [0x81, 0xbb, 0x7a, 0x36, 0x44, 0x98, 0xf1, 0x35, 0xad, 0x32, 0x98, 0xf0, 0x38, 0, 0x10, 3];
    let bind = pdu(
        11,
        1,
        &[&[0, 16, 0, 16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0][..], &svcctl, &[2, 0, 0, 0], &[4; 20]].concat(),
    );
    let ack =
        pdu(12, 1, &[&[0, 16, 0, 16, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &[4; 20]].concat());
    let call = pdu(0, 2, &[3, 0, 0, 0, 0, 0, 15, 0, 7, 8, 9]);
    let answer = pdu(2, 2, &[1, 0, 0, 0, 0, 0, 0, 0, 5]);
    let [bind_write, bind_written] = write(4, &bind);
    let [read_ask, read_answer] = read(5, 0, &ack);
    let [call_write, call_written] = write(6, &call);
    let [answer_ask, answer_answer] = read(7, 0, &answer);
    let pairs = [
        tree(1, "\\\\s\\data"),
        tree(2, "\\\\s\\IPC$"),
        [bind_write, bind_written],
        [read_ask, read_answer],
        [call_write, call_written],
        [answer_ask, answer_answer],
    ];
    let iface = "(dcerpc.iface) 367abb81-9844-35f1-ad32-98f038001003\\x00\\x02\\x01";
    assert_eq!(
        run(&pairs).told(),
        format!(
            "client 0 smb.share \\\\\\\\s\\\\data\nclient 0 SmbVersion 2\nserver 0 SmbVersion 2\n\
            client 1 smb.named_pipe \\\\\\\\s\\\\IPC$\nclient 1 SmbVersion 2\nserver 1 SmbVersion 2\n\
            client 2 SmbVersion 2\nserver 2 SmbVersion 2\n\
            client 3 {iface}\nclient 3 dcerpc.stub_data \\x07\\x08\\t\nclient 3 SmbVersion 2\n\
            client 3 DcerpcOpnum 15\nclient 3 DcerpcLittleEndian 1\n\
            server 3 dcerpc.stub_data \\x05\nserver 3 {iface}\nserver 3 DcerpcLittleEndian 1\n\
            server 3 DcerpcOpnum 15\nserver 3 SmbVersion 2\n"
        )
    );
}

#[test]
fn signatures_are_told_who_logs_on() {
    let mut message = b"NTLMSSP\0\x03\0\0\0".to_vec();
    let texts: [&[u8]; 6] = [b"", b"", b"D\0", b"U\0\xe9\0", b"H\0", b""];
    let mut at = 72u8;
    for text in texts {
        message.extend_from_slice(&[text.len() as u8, 0, text.len() as u8, 0, at, 0, 0, 0]);
        at += text.len() as u8;
    }
    message.extend_from_slice(&[1, 0, 0, 0, 10, 0, 0x5a, 0x29, 0, 0, 0, 15]);
    message.extend_from_slice(&texts.concat());
    let setup =
        [&[25, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0, message.len() as u8, 0][..], &[0; 8], &message]
            .concat();
    let mut trial = Trial::<Smb>::new().client(&two(1, 1, false, &setup));
    assert_eq!(
        trial.told(),
        "client 0 smb.ntlmssp_user U\\xe9\nclient 0 smb.ntlmssp_domain D\nclient 0 SmbVersion 2\n"
    );
}

#[test]
fn signatures_are_told_frames_as_bytes_pass() {
    let [request, _] = write(4, b"hello\n");
    let (head, body) = (request[4..68].escape_ascii(), request[68..].escape_ascii());
    let whole = format!(
        "client frame:smb.smb2.hdr {head}\nclient frame:smb.smb2.pdu {head}{body}\nclient frame:smb.smb2.data {body}\n"
    );
    let only_messages = |framed: String| {
        let mut lines: Vec<_> =
            framed.lines().filter(|line| line.contains("smb2")).map(str::to_string).collect();
        lines.sort();
        lines
    };
    let expected = only_messages(whole);
    for cut in 0..request.len() {
        let (first, second) = request.split_at(cut);
        let mut trial = run(&[tree(1, "\\\\s\\data"), create("b", 0)]);
        let before = only_messages(trial.framed()).len();
        let mut trial = run(&[tree(1, "\\\\s\\data"), create("b", 0)]).client(first).client(second);
        let framed = trial.framed();
        let lines: Vec<_> = framed.lines().filter(|line| line.contains("smb2")).collect();
        let mut lines: Vec<_> = lines[before..].iter().map(|line| line.to_string()).collect();
        lines.sort();
        assert_eq!(lines, expected, "cut at {cut}");
    }
    // What is never seen ends its frame.
    let trial = run(&[tree(1, "\\\\s\\data"), create("b", 0)]).client(&request[..request.len() - 4]);
    let framed = trial.gap(Direction::Forward, 4).framed();
    assert!(
        framed.lines().any(|line| line.starts_with("client frame:smb.smb2.data ") && line.ends_with(" +4")),
        "{framed}"
    );
    assert!(
        framed.lines().any(|line| line.starts_with("client frame:smb.nbss.pdu ") && line.ends_with(" +4")),
        "{framed}"
    );
}
