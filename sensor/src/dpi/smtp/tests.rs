//! SMTP sessions: commands, mails, and what is wrong with them.

use super::*;
use crate::dpi::Carrier;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

const CLIENT: &[u8] = b"EHLO me.example\r\nMAIL FROM:<a@example.com> SIZE=5\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\n\
    DATA\r\nFrom: A <a@example.com>\r\nSubject: hi\r\n\r\n..dot\r\nbye\r\n.\r\nQUIT\r\n";

fn trial() -> Trial<Smtp> {
    Trial::new()
}

fn whole() -> Trial<Smtp> {
    let mut trial = trial().server(b"220 mx.example ESMTP Postfix\r\n");
    for (client, server) in [
        (&b"EHLO me.example\r\n"[..], &b"250-mx.example\r\n250 PIPELINING\r\n"[..]),
        (
            b"MAIL FROM:<a@example.com> SIZE=5\r\nRCPT TO:<b@example.net>\r\nDATA\r\n",
            b"250 ok\r\n250 ok\r\n354 go\r\n",
        ),
        (b"From: A <a@example.com>\r\nSubject: hi\r\n\r\n..dot\r\n.\r\n", b"250 queued\r\n"),
        (b"QUIT\r\n", b"221 bye\r\n"),
    ] {
        trial = trial.client(client).server(server);
    }
    trial.close()
}

#[test]
fn a_message_is_told_with_its_envelope() {
    let trial = whole();
    assert_eq!(trial.malformed, 0);
    let event = trial.event();
    assert_eq!(
        event,
        serde_json::json!({"helo": "me.example", "mail_from": "<a@example.com>", "rcpt_to": ["<b@example.net>"]})
    );
    let beside = String::from_utf8_lossy(&trial.events[0].beside).into_owned();
    assert!(beside.contains("\"status\":\"PARSE_DONE\",\"from\":\"A <a@example.com>\""), "{beside}");
    assert_eq!(trial.text(Field::MailFrom), "a@example.com");
    assert_eq!(trial.text(Field::ServerSoftware), "mx.example ESMTP Postfix");
    assert_eq!(trial.text(Field::Status), "250");
}

#[test]
fn the_client_alone_is_enough() {
    let trial = trial().client(CLIENT).close();
    assert_eq!((trial.malformed, trial.events.len()), (0, 1));
    cuts_do_not_matter::<Smtp>(CLIENT, b"220 late ESMTP\r\n");
}

#[test]
fn tls_follows_an_accepted_starttls_only() {
    let begun = || trial().server(b"220 x ESMTP\r\n").client(b"STARTTLS\r\n");
    assert_eq!(begun().server(b"220 go\r\n").end, Some(Progress::Switch(8)));
    let refused = begun().server(b"454 no\r\n");
    assert_eq!((refused.end, refused.malformed), (None, 1));
}

#[test]
fn chunks_are_counted_and_not_searched_for_dots() {
    let trial = trial()
        .server(b"220 x ESMTP\r\n")
        .client(b"EHLO a\r\nMAIL FROM:<a>\r\nBDAT 6\r\nA: b\r\nBDAT 5 LAST\r\n\r\n.\r\nMAIL FROM:<b>\r\n")
        .server(b"250 a\r\n250 a\r\n250 a\r\n250 a\r\n250 a\r\n")
        .close();
    assert_eq!((trial.events.len(), trial.malformed), (2, 0));
}

#[test]
fn accounts_are_learned_and_passwords_are_not() {
    let login = trial()
        .server(b"220 x ESMTP\r\n")
        .client(b"AUTH LOGIN\r\n")
        .server(b"334 VXNlcm5hbWU6\r\n")
        .client(b"am9l\r\n")
        .server(b"334 UGFzc3dvcmQ6\r\n")
        .client(b"c2VjcmV0\r\n")
        .server(b"235 ok\r\n");
    assert!(login.learned().contains("user joe\n"));
    let plain = trial().client(b"EHLO x\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\n");
    assert!(plain.learned().contains("user joe\n"));
}

#[test]
fn greetings_and_commands_are_recognised() {
    let probe = |bytes: &[u8], port| {
        Smtp::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes).between(port, 4000))
    };
    assert_eq!(probe(b"220 mx ESMTP\r\n", 9), Probe::Certain);
    assert_eq!(probe(b"220 mx ready\r\n", 25), Probe::Likely);
    assert_eq!(probe(b"220 mx ready\r\n", 9), Probe::Unsure);
    assert_eq!(probe(b"220 FTP server\r\n", 9), Probe::NotForUs);
    assert_eq!(probe(b"ehlo x\r\n", 9), Probe::Certain);
    assert_eq!(probe(b"EHL", 9), Probe::Unsure);
    assert_eq!(probe(b"EHLO\xff", 9), Probe::NotForUs);
}

#[test]
fn no_damage_panics() {
    survives_damage::<Smtp>(
        CLIENT,
        b"220 mx.example ESMTP\r\n250-a\r\n250 b\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n",
    );
}

#[test]
fn signatures_are_told_the_envelope_the_headers_and_the_files() {
    let message = b"From: A <a@example.com>\r\nTo: b,\r\n\tc\r\nReceived: x\r\nReceived: y\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n\
        --q\r\n\r\nsee http://h.example/x\r\n--q\r\nContent-Disposition: attachment; filename=n.txt\r\n\r\n..data\r\n--q--\r\n.\r\n";
    let mut trial = trial()
        .server(b"220 mx.example ESMTP\r\n")
        .client(b"EHLO me\r\n")
        .server(b"250 mx\r\n")
        .client(b"MAIL FROM:<a> SIZE=5\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\nDATA\r\n")
        .server(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        .client(message)
        .server(b"250 ok\r\n")
        .close();
    expect_test::expect![[r#"
        client 0 smtp.helo me
        client 0 smtp.mail_from <a>
        client 0 smtp.rcpt_to <b>
        client 0 smtp.rcpt_to <c>
        client 0 email.from A <a@example.com>
        client 0 email.to b,c
        client 0 email.received x
        client 0 email.received y
        client 0 email.url h.example/x
        client 0 email.body_md5 f69a70617a24104ebe7be1a463279d5e
        client 0 file.name n.txt
        client 0 file.magic ASCII text, with no line terminators
        client 0 file.data .data
        client 0 file md5 b7b66a0518e9817c8c25a6c9c4c98ecb
        client 0 file sha1 3d995a49285741de520c4a7112a75e61c9f5ea2d
        client 0 file sha256 a510594e87476a348886c8037b1a6327044100b1cc1929027cf189e64a2aff6e
        client 0 FileSizeMin 5
        client 0 FileSize 5
    "#]]
    .assert_eq(&trial.told());
}

#[test]
fn lines_and_messages_are_frames() {
    let mut trial = trial()
        .server(b"220 mx ESMTP\r\n")
        .client(b"EHLO me\r\nDATA\r\n")
        .server(b"250-mx\r\n250 ok\r\n354 go\r\n")
        .client(b"Subject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n")
        .server(b"250 ok\r\n");
    expect_test::expect![[r#"
        server frame:smtp.response_line 220 mx ESMTP\r\n
        client frame:smtp.command_line EHLO me\r\n
        client frame:smtp.command_line DATA\r\n
        server frame:smtp.response_line 250-mx\r\n
        server frame:smtp.response_line 250 ok\r\n
        server frame:smtp.response_line 354 go\r\n
        client frame:smtp.data Subject: x\r\n\r\n..dot\r\n
        client frame:smtp.command_line QUIT\r\n
        server frame:smtp.response_line 250 ok\r\n
    "#]]
    .assert_eq(&trial.framed());
}

#[test]
fn what_suricata_finds_odd_is_noted() {
    let odd = |client: &[u8]| trial().server(b"220 x ESMTP\r\n").client(client).odd();
    assert_eq!(odd(b"BDAT 6\r\nA: b\r\nBDAT 2 LAST\r\n\r\n"), "");
    assert_eq!(odd(b"BDAT 4\r\nA: bBDAT 4 LAST\r\n\r\n\r\n"), "client BDAT_CHUNK_LEN_EXCEEDED\n");
    assert_eq!(trial().client(b"EHLO a\r\n").odd(), "server NO_SERVER_WELCOME_MESSAGE\n");
    assert_eq!(trial().server(b"554 no\r\n").odd(), "server INVALID_REPLY\n");
    let mut twice =
        trial().server(b"220 x ESMTP\r\n").client(b"DATA\r\n").server(b"503 no\r\n").client(b"DATA\r\n");
    assert_eq!(twice.odd(), "server DATA_COMMAND_REJECTED\nclient UNPARSABLE_CONTENT\n");
}
