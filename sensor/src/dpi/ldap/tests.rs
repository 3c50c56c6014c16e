//! Bytes of LDAP in, metadata and events out.

use super::*;
use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};

fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&[tag, content.len() as u8][..], &content].concat()
}

fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    tagged(0x30, &[&[2, 1, id], operation])
}

fn bind() -> Vec<u8> {
    message(1, &tagged(0x60, &[&[2, 1, 3], &tagged(4, &[b"cn=admin"]), &tagged(0x80, &[b"secret"])]))
}

fn result(id: u8, tag: u8) -> Vec<u8> {
    message(id, &tagged(tag, &[&[0x0a, 1, 0, 4, 0, 4, 0]]))
}

fn search() -> Vec<u8> {
    let names = tagged(0x30, &[&tagged(4, &[b"*"])]);
    let fixed = [0x0a, 1, 2, 0x0a, 1, 0, 2, 1, 10, 2, 1, 30, 1, 1, 0];
    let filter = tagged(0x87, &[b"objectClass"]);
    message(2, &tagged(0x63, &[&tagged(4, &[b"dc=a"]), &fixed, &filter, &names]))
}

fn entry() -> Vec<u8> {
    let attribute = tagged(0x30, &[&tagged(4, &[b"dc"]), &tagged(0x31, &[&tagged(4, &[b"a"])])]);
    message(2, &tagged(0x64, &[&tagged(4, &[b"dc=a"]), &tagged(0x30, &[&attribute])]))
}

fn client() -> Vec<u8> {
    [bind(), search(), message(3, &[0x42, 0])].concat()
}

fn server() -> Vec<u8> {
    [result(1, 0x61), entry(), result(2, 0x65)].concat()
}

#[test]
fn requests_are_told_with_their_responses() {
    let trial = Trial::<Ldap>::new().client(&bind()).server(&result(1, 0x61)).client(&search());
    let trial = trial.server(&[entry(), result(2, 0x65)].concat()).client(&message(3, &[0x42, 0])).close();
    assert_eq!(trial.malformed, 0);
    assert_eq!(
        trial.learned(),
        "app_version 3\nuser cn=admin\ncommand bind_request search_request unbind_request\nobject dc=a\nstatus success\n\
        ldap {\"request\":{\"message_id\":1,\"operation\":\"bind_request\",\"bind_request\":{\"version\":3,\"name\":\"cn=admin\"}},\"responses\":[{\"operation\":\"bind_response\",\"bind_response\":{\"result_code\":\"success\",\"matched_dn\":\"\",\"message\":\"\"}}]}\n\
        ldap {\"request\":{\"message_id\":2,\"operation\":\"search_request\",\"search_request\":{\"base_object\":\"dc=a\",\"scope\":2,\"deref_alias\":0,\"size_limit\":10,\"time_limit\":30,\"types_only\":false,\"filter\":{\"type\":\"present\",\"value\":\"objectClass\"},\"attributes\":[\"*\"]}},\"responses\":[{\"operation\":\"search_result_entry\",\"search_result_entry\":{\"base_object\":\"dc=a\",\"attributes\":[{\"type\":\"dc\",\"values\":[\"a\"]}]}},{\"operation\":\"search_result_done\",\"search_result_done\":{\"result_code\":\"success\",\"matched_dn\":\"\",\"message\":\"\"}}]}\n\
        ldap {\"request\":{\"message_id\":3,\"operation\":\"unbind_request\"}}\n"
    );
}

#[test]
fn a_response_without_a_request_is_told() {
    let mut trial = Trial::<Ldap>::new().client(&bind()).server(&result(9, 0x65));
    assert_eq!(trial.odd(), "server request_not_found\n");
    let notice = message(0, &tagged(0x78, &[&[0x0a, 1, 52, 4, 0, 4, 0]]));
    assert_eq!(Trial::<Ldap>::new().client(&bind()).server(&notice).odd(), "", "the server's own accord");
}

#[test]
fn a_password_is_never_told() {
    assert!(!Trial::<Ldap>::new().client(&bind()).close().learned().contains("secret"));
    let plain = tagged(0xa3, &[&tagged(4, &[b"PLAIN"]), &tagged(4, &[b"\0u\0secret"])]);
    let trial = Trial::<Ldap>::new().client(&message(1, &tagged(0x60, &[&[2, 1, 3, 4, 0], &plain]))).close();
    assert!(trial.learned().contains("PLAIN") && !trial.learned().contains("credentials"));
}

#[test]
fn behind_start_tls_another_protocol_begins() {
    let request = message(1, &tagged(0x77, &[&tagged(0x80, &[START_TLS])]));
    let reply = result(1, 0x78);
    let trial = Trial::<Ldap>::new().client(&request).server(&reply);
    assert_eq!((trial.end, trial.events.len()), (Some(Progress::Switch(reply.len())), 1));
}

#[test]
fn a_response_without_a_request_is_told_alone() {
    let trial = Trial::<Ldap>::new().server(&result(0, 0x78));
    assert_eq!(trial.event()["responses"][0]["message_id"], 0);
    let sealed = tagged(0xa3, &[&tagged(4, &[b"GSSAPI"])]);
    let bind = message(1, &tagged(0x60, &[&[2, 1, 3, 4, 0], &sealed]));
    let trial = Trial::<Ldap>::new().client(&bind).server(&result(1, 0x61)).client(&[0, 0, 1, 0]);
    assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 0));
}

#[test]
fn cuts_and_damage_are_borne() {
    cuts_do_not_matter::<Ldap>(&client(), &server());
    survives_damage::<Ldap>(&client(), &server());
    let (search, entry) = (search(), entry());
    survives_damaged_datagrams::<Ldap>(&[(Direction::Forward, &search), (Direction::Reverse, &entry)]);
}

#[test]
fn only_messages_are_recognised() {
    for whole in [bind(), search(), entry(), result(1, 0x61), message(3, &[0x42, 0])] {
        assert_eq!(probe(&whole, true), Probe::Certain);
        assert_eq!(probe(&whole[..whole.len().min(6)], true), Probe::NotForUs);
    }
    let snmp = [0x30, 0x0b, 2, 1, 0, 4, 6, b'p', b'u', b'b', b'l', b'i', b'c'];
    assert_eq!(probe(&snmp, false), Probe::NotForUs);
}

#[test]
fn signatures_are_told_requests_and_each_response() {
    let trial = Trial::<Ldap>::new().client(&bind()).server(&result(1, 0x61)).client(&search());
    let mut trial = trial.server(&[entry(), result(2, 0x65)].concat());
    assert_eq!(
        trial.told(),
        "client 0 ldap.request.dn cn=admin\nclient 0 LdapRequestOperation 0\n\
        server 0 ldap.responses.dn \nserver 0 ldap.responses.message \n\
        server 0 LdapResponsesOperation 1\nserver 0 LdapResponsesResultCode 0\n\
        client 1 ldap.request.dn dc=a\nclient 1 ldap.request.attribute_type *\nclient 1 LdapRequestOperation 3\n\
        server 1 ldap.responses.attribute_type dc\nserver 1 ldap.responses.dn dc=a\n\
        server 1 ldap.responses.message \nserver 1 ldap.responses.dn \nserver 1 ldap.responses.message \n\
        server 1 LdapResponsesOperation 4\nserver 1 LdapResponsesResultCode 18446744073709551615\n\
        server 1 LdapResponsesOperation 5\nserver 1 LdapResponsesResultCode 0\n"
    );
}

#[test]
fn signatures_are_told_what_is_changed_added_and_compared() {
    let attribute = tagged(0x30, &[&tagged(4, &[b"mail"]), &tagged(0x31, &[&tagged(4, &[b"x"])])]);
    let change = tagged(0x30, &[&[0x0a, 1, 2], &attribute]);
    let modify = tagged(0x66, &[&tagged(4, &[b"cn=m"]), &tagged(0x30, &[&change])]);
    let add = tagged(0x68, &[&tagged(4, &[b"cn=a"]), &tagged(0x30, &[&attribute])]);
    let assertion = tagged(0x30, &[&tagged(4, &[b"sn"]), &tagged(4, &[b"x"])]);
    let compare = tagged(0x6e, &[&tagged(4, &[b"cn=c"]), &assertion]);
    let delete = tagged(0x4a, &[b"cn=d"]);
    let messages = [modify, add, compare, delete].map(|operation| message(9, &operation)).concat();
    let told = Trial::<Ldap>::new().client(&messages).told();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(
        lines,
        [
            "client 0 ldap.request.dn cn=m",
            "client 0 ldap.request.attribute_type mail",
            "client 0 LdapRequestOperation 6",
            "client 1 ldap.request.dn cn=a",
            "client 1 ldap.request.attribute_type mail",
            "client 1 LdapRequestOperation 8",
            "client 2 ldap.request.dn cn=c",
            "client 2 ldap.request.attribute_type sn",
            "client 2 LdapRequestOperation 14",
            "client 3 ldap.request.dn cn=d",
            "client 3 LdapRequestOperation 10",
        ]
    );
}
