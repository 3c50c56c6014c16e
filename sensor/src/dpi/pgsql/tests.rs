//! PostgreSQL's messages to events.

use super::*;
use crate::dpi::Carrier;
use crate::dpi::config::EveConfig;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const STARTUP: &[u8] = b"\0\0\0\x1e\0\x03\0\0user\0joe\0database\0db\0\0";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn server() -> Vec<u8> {
    [
        message(b'R', &[0; 4]),
        message(b'S', b"server_version\x0015.1\0"),
        message(b'Z', b"I"),
        message(b'T', b"\0\x01"),
        message(b'D', b"\0\x01\0\0\0\x03abc"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
        message(b'E', b"SERROR\0C42601\0Mno\0\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

fn client() -> Vec<u8> {
    [STARTUP, &message(b'Q', b"select 1;\0"), &message(b'P', b"\0insert x\0\0\0")].concat()
}

#[test]
fn requests_are_told_with_their_answers() {
    let trial = Trial::<Pgsql>::new().client(&client()).server(&server()).close();
    let learned = trial.learned();
    assert!(learned.contains(r#""request":{"protocol_version":"3.0","startup_parameters":{"user":"joe","optional_parameters":[{"database":"db"}]}},"response":{"message":"authentication_ok","parameter_status":[{"server_version":"15.1"}]}"#), "{learned}");
    assert!(learned.contains(r#"{"tx_id":2,"request":{"simple_query":"select 1;"},"response":{"field_count":1,"command_completed":"SELECT 1","data_rows":1,"data_size":3}}"#), "{learned}");
    assert!(learned.contains(r#""prepared_query":"insert x"},"response":{"severity_localizable":"ERROR","code":"42601","message":"no"}"#), "{learned}");
    assert!(learned.contains("user joe\n") && learned.contains("command SELECT INSERT\n"), "{learned}");
}

#[test]
fn what_cannot_be_read_is_told() {
    let odd = |from_client: &[u8], from_server: &[u8]| {
        Trial::<Pgsql>::new().client(STARTUP).client(from_client).server(from_server).odd()
    };
    assert_eq!(odd(b"Q\0\0\0\x03", b""), "client invalid_length\n");
    assert_eq!(odd(&message(b'!', b""), b""), "client malformed_request\n");
    assert_eq!(odd(b"", &message(b'!', b"")), "server malformed_response\n");
}

#[test]
fn tls_follows_an_accepted_request_only() {
    let accepted = Trial::<Pgsql>::new().client(SSL_REQUEST).server(b"S");
    assert_eq!(accepted.end, Some(Progress::Switch(1)));
    let refused = Trial::<Pgsql>::new().client(SSL_REQUEST).server(b"N").client(STARTUP);
    assert_eq!((refused.end, refused.text(Field::User)), (None, "joe"));
}

#[test]
fn both_sides_are_recognised() {
    let probe = |bytes: &[u8], port| {
        Pgsql::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(4000, port))
    };
    assert_eq!(probe(SSL_REQUEST, 1), Probe::Certain);
    assert_eq!(probe(STARTUP, 1), Probe::Certain);
    assert_eq!(probe(&STARTUP[..12], 1), Probe::Unsure);
    assert_eq!(probe(&server(), 1), Probe::Certain);
    assert_eq!(probe(&message(b'Q', b"select 1\0"), PORT), Probe::Likely);
    assert_eq!(probe(&message(b'Q', b"select 1\0"), 1), Probe::NotForUs);
    assert_eq!(probe(b"\0\0\0\x09\0\x03\0\0\0", 1), Probe::NotForUs);
}

#[test]
fn cuts_and_damage_do_no_harm() {
    cuts_do_not_matter::<Pgsql>(&client(), &server());
    survives_damage::<Pgsql>(&client(), &server());
}

#[test]
fn what_follows_the_startup_message_does_not_make_it_one() {
    let startup = |key: &str| [&[0, 0, 0, 0, 0, 3, 0, 0], key.as_bytes(), b"\0weir\0\0"].concat();
    let probe = |bytes: &[u8]| Pgsql::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
    let more = b"p\0\0\0\x0auser\0\0";
    for (key, expected) in [("use", Probe::NotForUs), ("user", Probe::Certain)] {
        let mut bytes = startup(key);
        bytes[3] = bytes.len() as u8;
        assert_eq!(probe(&bytes), expected);
        assert_eq!(probe(&[&bytes[..], more].concat()), expected);
    }
}

#[test]
fn a_servers_first_message_cut_off_anywhere_is_not_denied() {
    let wholes: [&[u8]; 3] =
        [b"R\0\0\0\x08\0\0\0\0S", b"R\0\0\0\x0c\0\0\0\x05salt", b"R\0\0\0\x17\0\0\0\x0aSCRAM-"];
    for whole in wholes {
        for end in 1..=whole.len() {
            let first = First::of(Carrier::Stream, Direction::Reverse, &whole[..end]);
            assert_ne!(Pgsql::probe(&first), Probe::NotForUs, "{end} of {whole:?}");
        }
    }
}

#[test]
fn signatures_are_told_simple_queries() {
    let mut trial = Trial::<Pgsql>::new().client(&client()).server(&server()).close();
    assert_eq!(trial.told(), "client 1 pgsql.query select 1;\n");
}

#[test]
fn what_is_copied_in_is_a_transaction_of_its_own() {
    let client = [
        message(b'Q', b"copy t from stdin\0"),
        message(b'd', b"1\n"),
        message(b'd', b"22\n"),
        message(b'c', b""),
        message(b'Q', b"copy t from stdin\0"),
        message(b'f', b"no\0"),
    ];
    let server = [
        message(b'G', b"\0\0\x02\0\0\0\0"),
        message(b'C', b"COPY 2\0"),
        message(b'Z', b"I"),
        message(b'G', b"\0\0\x01\0\0"),
        message(b'E', b"SERROR\0C57014\0\0"),
        message(b'Z', b"I"),
    ];
    let trial = Trial::<Pgsql>::new().client(STARTUP).server(&message(b'Z', b"I"));
    let trial = trial.client(&client[0]).server(&server[0]).client(&client[1..4].concat());
    // What ends a copy does so once.
    let trial = trial.client(&client[3].repeat(3));
    let trial = trial.server(&server[1..3].concat()).client(&client[4]).server(&server[3]).client(&client[5]);
    let learned = trial.server(&server[4..].concat()).close().learned();
    for told in [
        r#"{"tx_id":2,"request":{"simple_query":"copy t from stdin"},"response":{"copy_in_response":{"columns":2}}}"#,
        r#"{"tx_id":3,"request":{"copy_data_in":{"msg_count":2,"data_size":5},"message":"copy_done"},"response":{"command_completed":"COPY 2"}}"#,
        r#"{"tx_id":5,"request":{"copy_fail":"no"},"response":{"severity_localizable":"ERROR","code":"57014"}}"#,
    ] {
        assert!(learned.contains(told), "{learned}");
    }
}

#[test]
fn passwords_are_told_where_they_are_asked_for() {
    let told = |pgsql_passwords| {
        let trial = Trial::<Pgsql>::new().telling(EveConfig { pgsql_passwords, ..EveConfig::default() });
        let trial = trial.client(STARTUP).server(&message(b'R', &[0, 0, 0, 3]));
        trial.client(&message(b'p', b"secret\0")).close().learned()
    };
    assert!(told(true).contains(r#""request":{"password":"secret"}"#));
    assert!(
        told(false).contains(r#""request":{"password_redacted":true}"#) && !told(false).contains("secret")
    );
}
