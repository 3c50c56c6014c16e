//! Bytes of HTTP in, metadata and events out.

use crate::dpi::config::{DpiConfig, EveConfig, FileConfig, HttpHeaders};
use crate::dpi::http::head::{Head, Part, RequestLine, chunk_size};
use crate::dpi::http::{HEAD_BYTES_MAX, Http, LINE_BYTES_MAX, REQUESTS_MAX, probe};
use crate::dpi::testing::{CLIENT, SERVER, Talk, Told};
use crate::dpi::trial::Trial;
use crate::dpi::{Event, Probe, Progress};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use weir_common::app::App;
use weir_common::net::Direction;

const REQUEST: &str = "GET /index.html?x=1 HTTP/1.1\r\nHost: www.example.com:8080\r\nUser-Agent: curl/8\r\n\
     Referer: http://example.com/\r\nX-Forwarded-For: 192.0.2.9\r\nAccept: */*\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html; charset=utf-8\r\n\
     Content-Length: 5\r\n\r\nhello";

fn check(told: &Told, fields: Expect, bodies: Expect) {
    assert_eq!(told.app, App::Http);
    fields.assert_eq(&told.fields());
    bodies.assert_eq(&told.bodies());
}

/// A flow whose bodies nobody wants.
fn tcp() -> Talk {
    let files = FileConfig { enabled: false, ..FileConfig::default() };
    Talk::tcp().with(DpiConfig { files, ..DpiConfig::default() })
}

/// What was told, in order: `http`, or the names of anomalies.
fn events(told: &Told) -> Vec<String> {
    let name = |event: &Event| {
        let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
        body["event"].as_str().unwrap_or(event.kind).to_owned()
    };
    told.events.iter().map(name).collect()
}

/// One request and one response, and the events they make.
fn bodies(request: &str, response: &str) -> String {
    tcp().say(CLIENT, request).say(SERVER, response).end().bodies()
}

#[test]
fn a_request_and_its_response_are_one_transaction() {
    let talk = tcp().say(CLIENT, REQUEST).say(SERVER, RESPONSE);
    assert!(talk.events.is_empty(), "the response has not arrived yet");
    let talk = talk.acknowledge(CLIENT);
    assert_eq!(talk.events.len(), 1, "told when the response is complete and acknowledged");
    let event = &talk.events[0];
    assert_eq!((event.direction, event.transaction, event.time.0), (CLIENT, Some(0), 3));
    check(
        &talk.end(),
        expect![[r#"
            http_method GET
            http_uri /index.html?x=1
            http_host www.example.com:8080
            http_ua curl/8
            http_status 200
            http_content_type text/html; charset=utf-8
            http_server nginx
        "#]],
        expect![[r#"
            {"hostname":"www.example.com","http_port":8080,"url":"/index.html?x=1","http_user_agent":"curl/8","xff":"192.0.2.9","http_content_type":"text/html","http_refer":"http://example.com/","http_method":"GET","protocol":"HTTP/1.1","status":200,"length":5}
        "#]],
    );
}

#[test]
fn pipelined_requests_meet_their_responses_in_order() {
    let requests = "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD /3 HTTP/1.1\r\n\r\n\
         GET /4 HTTP/1.1\r\n\r\n";
    let responses = "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno\
         HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /5\r\nContent-Length: 0\r\n\r\n";
    expect![[r#"
        {"url":"/1","http_method":"GET","protocol":"HTTP/1.1","status":204,"length":0}
        {"url":"/2","http_method":"POST","protocol":"HTTP/1.1","status":404,"length":2}
        {"url":"/3","http_method":"HEAD","protocol":"HTTP/1.1","status":200,"length":0}
        {"url":"/4","http_method":"GET","protocol":"HTTP/1.1","status":302,"redirect":"/5","length":0}
    "#]]
    .assert_eq(&bodies(requests, responses));
}

#[test]
fn a_chunked_body_ends_with_its_last_chunk() {
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n chunked\r\n\r\n5;name=value\r\nhello\r\n\
         A\n0123456789\n0\r\nTrailer: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    // 14 + 5 + 2 + 2 + 10 + 1 + 3 bytes of chunks, as they are on the wire.
    expect![[r#"
        {"url":"/1","http_method":"GET","protocol":"HTTP/1.1","status":200,"length":37}
        {"url":"/2","http_method":"GET","protocol":"HTTP/1.1","status":404,"length":0}
    "#]]
    .assert_eq(&bodies("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", response));
}

#[test]
fn a_body_without_a_length_ends_with_the_flow() {
    let told = tcp()
        .say(CLIENT, "GET / HTTP/1.0\r\n\r\n")
        .say(SERVER, "HTTP/1.0 200 OK\r\n\r\nhello")
        .say(SERVER, " world")
        .lose(SERVER, 100)
        .say(SERVER, "!")
        .end();
    expect![[r#"
        {"url":"/","http_method":"GET","protocol":"HTTP/1.0","status":200,"length":112}
    "#]]
    .assert_eq(&told.bodies());
    assert_eq!(told.events[0].time.0, 5);
}

#[test]
fn a_response_that_is_cut_off_counts_what_came() {
    let told = tcp()
        .say(CLIENT, REQUEST)
        .say(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n0123456789")
        .end();
    assert!(told.bodies().ends_with("\"status\":200,\"length\":10}\n"));
}

#[test]
fn continue_is_not_the_response() {
    let request = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let told = tcp()
        .say(CLIENT, request)
        .say(SERVER, "HTTP/1.1 100 Continue\r\n\r\n")
        .say(CLIENT, "ab")
        .say(SERVER, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .end();
    assert_eq!(
        told.bodies(),
        "{\"url\":\"/\",\"http_method\":\"POST\",\"protocol\":\"HTTP/1.1\",\"status\":201,\"length\":0}\n"
    );
}

#[test]
fn a_tunnel_ends_the_transactions() {
    let talk = tcp()
        .say(CLIENT, "CONNECT mail.example:443 HTTP/1.1\r\nHost: mail.example:443\r\n\r\n")
        .say(SERVER, "HTTP/1.1 200 Connection established\r\n\r\n");
    let bodies = talk.say(CLIENT, [22, 3, 1]).end().bodies();
    expect![[r#"
        {"hostname":"mail.example","http_port":443,"url":"mail.example:443","http_method":"CONNECT","protocol":"HTTP/1.1","status":200,"length":0}
    "#]]
    .assert_eq(&bodies);
    let talk =
        tcp().say(CLIENT, REQUEST).say(SERVER, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    assert_eq!(talk.acknowledge(CLIENT).events.len(), 1);
}

#[test]
fn one_side_is_enough() {
    let told = tcp().say(CLIENT, REQUEST).say(CLIENT, "GET /2 HTTP/1.1\r\n\r\n").end();
    assert_eq!(told.events.len(), 2);
    assert_eq!(told.metadata.text(weir_common::metadata::Field::HttpUri), Some("/index.html?x=1"));
    let told = tcp().say(SERVER, RESPONSE).say(SERVER, RESPONSE).end();
    assert!(told.events.iter().all(|event| event.direction == CLIENT));
    expect![[r#"
        {"http_content_type":"text/html","status":200,"length":5}
        {"http_content_type":"text/html","status":200,"length":5}
    "#]]
    .assert_eq(&told.bodies());
}

#[test]
fn the_client_is_who_asks_whoever_began() {
    let told = tcp().say(SERVER, REQUEST).say(CLIENT, RESPONSE).end();
    assert_eq!(told.events[0].direction, SERVER);
}

#[test]
fn an_answer_before_the_request_is_complete_answers_it() {
    let told = tcp()
        .say(CLIENT, "POST /slow HTTP/1.1\r\nHost: a\r\n")
        .say(SERVER, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        .say(CLIENT, "X: y\r\n\r\n")
        .end();
    expect![[r#"
        {"hostname":"a","url":"/slow","http_method":"POST","protocol":"HTTP/1.1","status":408,"length":0}
    "#]]
    .assert_eq(&told.bodies());
}

#[test]
fn a_hole_in_a_body_is_no_loss() {
    let told = tcp()
        .say(CLIENT, "GET /1 HTTP/1.1\r\n\r\n")
        .say(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
        .lose(SERVER, 80)
        .say(SERVER, "0123456789HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        .end();
    assert_eq!(told.counters.gaps, 0);
    expect![[r#"
        {"url":"/1","http_method":"GET","protocol":"HTTP/1.1","status":200,"length":100}
        {"app_proto":"http","type":"applayer","event":"UNABLE_TO_MATCH_RESPONSE_TO_REQUEST","layer":"proto_parser"}
        {"status":404,"length":0}
    "#]]
    .assert_eq(&told.bodies());
}

#[test]
fn after_a_gap_reading_goes_on_where_a_segment_begins_a_message() {
    let told = tcp()
        .say(CLIENT, "GET /1 HTTP/1.1\r\nHo")
        .lose(CLIENT, 30)
        .say(CLIENT, "st of it\r\n\r\n")
        .acknowledge(SERVER)
        .say(CLIENT, "GET /2 HTTP/1.1\r\n\r\n")
        .end();
    assert_eq!(told.counters.gaps, 1);
    expect![[r#"
        {"url":"/1","http_method":"GET","protocol":"HTTP/1.1","length":0}
        {"url":"/2","http_method":"GET","protocol":"HTTP/1.1","length":0}
    "#]]
    .assert_eq(&told.bodies());
}

#[test]
fn old_and_odd_forms_are_read() {
    // Line feeds alone, odd casing, folding, spaces around names and values, no reason.
    expect![[r#"
        {"hostname":"[2001:db8::1]","http_port":81,"url":"/","http_user_agent":"a b","http_method":"GET","protocol":"HTTP/1.0","status":200,"length":2}
    "#]]
    .assert_eq(&bodies(
        "\r\nGET / HTTP/1.0\nhOST :  [2001:db8::1]:81 \nuser-AGENT:a\n\tb\n\n",
        "HTTP/1.0 200\nCONTENT-LENGTH: 2\n\nok",
    ));
    // HTTP/0.9.
    expect![[r#"
        {"app_proto":"http","type":"applayer","event":"REQUEST_LINE_MISSING_PROTOCOL","layer":"proto_parser"}
        {"url":"/old","http_method":"GET","length":6}
    "#]]
    .assert_eq(&bodies("GET /old\r\n", "<html>"));
    // The absolute form names the host; the target holds spaces.
    expect![[r#"
        {"hostname":"a.example","url":"http://u:p@a.example/a b","http_method":"GET","protocol":"HTTP/1.1","length":0}
    "#]]
    .assert_eq(&bodies("GET http://u:p@a.example/a b HTTP/1.1\r\nHost: b.example\r\n\r\n", ""));
    // An unknown method, and parts of a content.
    expect![[r#"
        {"url":"*","content_range":{"raw":"bytes 0-4/*","start":0,"end":4},"http_method":"BREW","protocol":"HTTP/1.1","status":206,"length":0}
    "#]]
    .assert_eq(&bodies(
        "BREW * HTTP/1.1\r\n\r\n",
        "HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/*\r\nContent-Length: 0\r\n\r\n",
    ));
}

#[test]
fn malformed_lines_are_counted_and_got_over() {
    let told = tcp()
        .say(CLIENT, "GET / HTTP/1.1\r\nnonsense\r\nHost: a\r\n\r\n")
        .say(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
        .end();
    assert_eq!(told.counters.malformed, 2);
    assert_eq!(
        events(&told),
        ["REQUEST_FIELD_MISSING_COLON", "INVALID_CONTENT_LENGTH_FIELD_IN_RESPONSE", "http"]
    );
    let told = tcp()
        .say(CLIENT, REQUEST)
        .say(SERVER, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
        .say(SERVER, "more of it")
        .say(SERVER, RESPONSE)
        .end();
    assert_eq!(events(&told), ["INVALID_RESPONSE_CHUNK_LEN", "http"]);
    for (lengths, want) in [
        ("Content-Length: 1\r\nContent-Length: 2", "DUPLICATE_CONTENT_LENGTH_FIELD_IN_REQUEST"),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", "INVALID_CONTENT_LENGTH_FIELD_IN_REQUEST"),
    ] {
        let told = tcp().say(CLIENT, format!("POST / HTTP/1.1\r\n{lengths}\r\n\r\n")).end();
        assert!(events(&told).contains(&want.to_owned()));
    }
}

#[test]
fn all_values_of_a_flow_are_listed_also_without_a_listener() {
    let requests = [REQUEST, "HEAD /2 HTTP/1.1\r\nHost: b.example\r\n\r\n", REQUEST].concat();
    let answer = "HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n";
    let told =
        tcp().without_events().say(CLIENT, requests).say(SERVER, [RESPONSE, answer, RESPONSE].concat()).end();
    expect![[r#"
        http_method GET
        http_uri /index.html?x=1
        http_host www.example.com:8080
        http_ua curl/8
        http_methods GET HEAD
        http_uris /index.html?x=1 /2
        http_hosts www.example.com:8080 b.example
        http_status 200
        http_content_type text/html; charset=utf-8
        http_server nginx
        http_statuses 200 404
    "#]]
    .assert_eq(&told.fields());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The files of a conversation: name, size, state, MD5 and what kind.
fn files(told: &Told) -> Vec<String> {
    let line = |event: &Event| {
        let is: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
        let carrier = format!("{{{}}}", String::from_utf8_lossy(&event.beside));
        let carrier: serde_json::Value = serde_json::from_str(&carrier).unwrap();
        assert!(carrier["http"]["url"].is_string(), "{carrier}");
        let direction = if event.direction == CLIENT { "to server" } else { "to client" };
        let text = |key: &str| is[key].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} {} {direction} tx {} {}",
            text("filename"),
            is["size"],
            text("state"),
            is["tx_id"],
            text("mimetype")
        )
    };
    told.events.iter().filter(|event| event.kind == "fileinfo").map(line).collect()
}

#[test]
fn bodies_are_files_however_they_are_framed_and_coded() {
    let text = "hello ".repeat(100);
    let coded = gzip(text.as_bytes());
    let lengths =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", coded.len());
    let chunks = |bytes: &[u8]| -> Vec<u8> {
        let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        bytes.chunks(7).map(chunk).collect::<Vec<_>>().concat()
    };
    let chunked = [
        &b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\
           Content-Disposition: attachment; filename=\"a b.txt\"\r\n\r\n"[..],
        &chunks(&coded),
        b"0\r\n\r\n",
    ]
    .concat();
    let whole = [lengths.as_bytes(), &coded, &chunked, b"HTTP/1.1 200 OK\r\n\r\n", text.as_bytes()].concat();
    let requests = "GET /dir/1?x HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET http://h/3#f HTTP/1.1\r\n\r\n";
    for piece_bytes in [1, 13, 100_000] {
        let talk = Talk::tcp().say(CLIENT, requests);
        let told = whole.chunks(piece_bytes).fold(talk, |talk, piece| talk.say(SERVER, piece)).end();
        expect![[r#"
            [
                "/dir/1 600 CLOSED to client tx 0 text/plain",
                "a b.txt 600 CLOSED to client tx 1 text/plain",
                "/3 600 CLOSED to client tx 2 text/plain",
            ]
        "#]]
        .assert_debug_eq(&files(&told));
        assert_eq!((told.counters.malformed, told.counters.files), (0, 3));
    }
}

#[test]
fn what_lenient_clients_read_is_read() {
    // Each of these hides the content from a stricter reader.
    let mut missed = Vec::new();
    let body = "Content-Disposition: attachment; filename=e.txt\r\nContent-Length: 3\r\n\r\nabc";
    let chunks = "Content-Disposition: attachment; filename=e.txt\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let cases = [
        format!("http/1.1 200 ok\r\n{body}"),
        format!("\0HTTP/1.1 200 ok\r\n{body}"),
        format!(" \t\r\nHTTP/1.1 200 ok\r\n{body}"),
        format!("foobar\r\nHTTP/1.1 200 ok\r\n{body}"),
        format!("HTTP/1.1 204 ok\r\n{body}"),
        format!("HTTP/1.1 304 ok\r\n{body}"),
        format!("HTTP/1.1 102 ok\r\n{body}"),
        format!("HTTP/1.1 200 ok\r\nContent-Encoding: gzip\r\n{body}"),
        format!("HTTP/1.1 200 ok\r\nContent-Encoding: rot13\r\n{body}"),
        format!("HTTP/1.1 200 ok\r\nTransfer-Encoding: xchu\0nked\r\n{chunks}"),
        format!("HTTP/1.1 200 ok\r\n\tTransfer-Encoding: chunked\r\n{chunks}"),
        format!("HTTP/1.1 200 ok\r\nTransfer-Encoding\r\n \r\n :\r\n chunked\r\n{chunks}"),
        format!("HTTP/1.1 200 ok\rTransfer-Encoding\x0b: chunked\r\n{chunks}"),
        format!("HTTP/1.1 200 ok\r\nTransfer-Encoding: chunked\r\n{}", chunks.replace("2\r", "2x\r")),
        format!("HTTP/1.1 200 ok\r\nTransfer-Encoding: chunked\r\n{}", chunks.replace("1\r", "\r\n1\r")),
        format!("HTTP/1.1 200 ok\r\n{}", body.replace("3\r", ",3x\r")),
        format!("HTTP/1.1 200 ok\r\n{}", body.replace("\r\n\r\n", "\n\r\r\n")),
        format!("HTTP/1.1 200 ok\r\n{}", body.replace("\r\n\r\n", "\r\n \n")),
        "HTTP/1.0 200 ok\r\nContent-Disposition: attachment; filename=e.txt\r\nTransfer-Encoding: chunked\r\n\r\nwxyz"
            .to_owned(),
    ];
    for (at, case) in cases.iter().enumerate() {
        let told = Talk::tcp().say(CLIENT, "GET / HTTP/1.1\r\n\r\n").say(SERVER, case).end();
        let size = if at + 1 == cases.len() { 4 } else { 3 };
        let want = [format!("e.txt {size} CLOSED to client tx 0 text/plain")];
        if files(&told) != want {
            missed.push((case, files(&told)));
        }
    }
    assert_eq!(missed, []);
}

#[test]
fn uploads_are_files_and_forms_hold_files() {
    let form = "--XX\r\nContent-Disposition: form-data; name=a\r\n\r\nfield\r\n--XX\r\n\
        Content-Disposition: form-data; name=\"f\"; filename=\"one.pdf\"\r\nContent-Type: x/y\r\n\r\n%PDF-1.4\r\n--X\r\n\
        \r\n--XX\r\ncontent-disposition: form-data; filename=empty\r\n\r\n\r\n--XX--\r\n";
    let post = format!(
        "POST /up HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=XX\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let put = "PUT /dir/two HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    let answer = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    for piece_bytes in [1, 10, 100_000] {
        let both = [post.as_bytes(), put.as_bytes()].concat();
        let told = both.chunks(piece_bytes).fold(Talk::tcp(), |talk, piece| talk.say(CLIENT, piece));
        let told = told.say(SERVER, answer).say(SERVER, answer).end();
        expect![[r#"
            [
                "one.pdf 15 CLOSED to server tx 0 application/pdf",
                "empty 0 CLOSED to server tx 0 -",
                "/dir/two 3 CLOSED to server tx 1 text/plain",
            ]
        "#]]
        .assert_debug_eq(&files(&told));
    }
}

#[test]
fn a_hole_in_a_file_is_told_and_what_follows_is_read() {
    let told = Talk::tcp()
        .say(CLIENT, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        .say(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
        .lose(SERVER, 80)
        .say(SERVER, "0123456789HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno")
        .acknowledge(CLIENT)
        .end();
    assert_eq!(
        files(&told),
        ["/1 100 TRUNCATED to client tx 0 text/plain", "/2 2 CLOSED to client tx 1 text/plain"]
    );
    assert!(
        told.bodies()
            .contains("\"url\":\"/2\",\"http_method\":\"GET\",\"protocol\":\"HTTP/1.1\",\"status\":404")
    );
    let cut = Talk::tcp()
        .say(CLIENT, "GET /1 HTTP/1.1\r\n\r\n")
        .say(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
        .end();
    assert_eq!(files(&cut), ["/1 10 TRUNCATED to client tx 0 text/plain"]);
}

#[test]
fn what_is_behind_an_upgrade_is_read() {
    let told = Talk::tcp()
        .say(CLIENT, REQUEST)
        .say(SERVER, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n\x81\x02hi")
        .say(CLIENT, b"\x88\x80\0\0\0\0")
        .end();
    assert_eq!(told.app, App::WebSocket);
    let kinds: Vec<_> = told.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["http", "websocket", "websocket"]);
    assert_eq!(told.metadata.text(weir_common::metadata::Field::OriginalApp), Some("http"));
    // Behind CONNECT the search begins anew, and so do the numbers.
    let told = Talk::tcp()
        .say(CLIENT, "CONNECT a.example:80 HTTP/1.1\r\n\r\n")
        .say(SERVER, "HTTP/1.1 200 OK\r\n\r\n")
        .say(CLIENT, REQUEST)
        .say(SERVER, RESPONSE)
        .end();
    let numbers: Vec<_> =
        told.events.iter().filter(|event| event.kind == "http").map(|event| event.transaction).collect();
    assert_eq!(numbers, [Some(0), Some(0)]);
}

#[test]
fn lines_heads_and_waiting_requests_are_bounded() {
    let long = |bytes: usize| format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(bytes));
    let told = tcp().say(CLIENT, long(LINE_BYTES_MAX - 3)).say(CLIENT, "\r\n\r\n").end();
    assert_eq!(told.counters.malformed, 0);
    assert_eq!(tcp().say(CLIENT, long(LINE_BYTES_MAX + 1)).end().counters.malformed, 1);
    let lines = |lines: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: 0123\r\n".repeat(lines));
    assert_eq!(tcp().say(CLIENT, lines(HEAD_BYTES_MAX / 9)).end().counters.malformed, 1);
    assert_eq!(tcp().say(CLIENT, lines(HEAD_BYTES_MAX / 9 + 1)).end().counters.malformed, 2);
    let talk = tcp().say(CLIENT, "GET / HTTP/1.1\r\n\r\n".repeat(REQUESTS_MAX));
    assert!(talk.events.is_empty());
    assert_eq!(talk.say(CLIENT, "GET / HTTP/1.1\r\n\r\n").acknowledge(SERVER).events.len(), 1);
    let talk = tcp().say(CLIENT, format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(8000)).repeat(20));
    assert!(talk.acknowledge(SERVER).events.len() >= 10);
}

#[test]
fn a_request_line_with_control_characters_cut_off_anywhere_is_not_denied() {
    let line = [b"GET /msadc/..%2f", &[0; 60][..], b"../winnt/cmd.exe\n"].concat();
    for end in 4..line.len() {
        assert_eq!(probe::probe(&line[..end]), Probe::Unsure, "{end}");
    }
    assert_eq!(probe::probe(&line), Probe::Certain);
}

#[test]
fn probing_knows_http_and_nothing_else() {
    let is = |text: &str, want: Probe| assert_eq!(probe::probe(text.as_bytes()), want, "{text:?}");
    for text in
        [REQUEST, RESPONSE, "BREW x HTTP/1.1\r\n", "GET /\r\n", "\r\nGET / HTTP/1.1\r\n", "HTTP/1.0 404"]
    {
        is(text, Probe::Certain);
        for end in 0..text.len().min(12) {
            is(&text[..end], Probe::Unsure);
        }
    }
    is(&format!("GET /{}", "x".repeat(58)), Probe::Unsure);
    is(&format!("GET /{}", "x".repeat(59)), Probe::Certain);
    for text in [
        "PRI * HTTP/2.0\r\n",
        "OPTIONS rtsp://a/b RTSP/1.0\r\n",
        "OPTIONS sip:a SIP/2.0\r\n",
        "HTTP/2 200 OK\r\n",
        "HTTPS/1.1 200",
        "EHLO a.example\r\n",
        "GET x\r\n",
        "220 ready\r\n",
        "\x16\x03\x01",
        "SSH-2.0-x\r\n",
        "SOURCE /mount ICE/1.0\r\n",
        "GET \x01",
        "* OK IMAP4\r\n",
        "thismethodisfartoolongtobeamethodofhttp x HTTP/1.1\r\n",
    ] {
        is(text, Probe::NotForUs);
    }
}

#[test]
fn heads_are_taken_apart() {
    let parts = |line: &'static str| {
        RequestLine::new(line.as_bytes()).map(|line| {
            [line.method, line.target, line.protocol].map(|part| std::str::from_utf8(part).unwrap()).join("|")
        })
    };
    assert_eq!(parts("GET / HTTP/1.1").as_deref(), Some("GET|/|HTTP/1.1"));
    assert_eq!(parts("GET  /a  b\tHTTP/1.1 ").as_deref(), Some("GET|/a  b|HTTP/1.1"));
    assert_eq!(parts("GET HTTP/1.1").as_deref(), Some("GET||HTTP/1.1"));
    assert_eq!(parts("GET /x").as_deref(), Some("GET|/x|"));
    assert_eq!(parts("FOO /x"), None);
    assert_eq!(parts("G@T / HTTP/1.1"), None);
    assert_eq!((chunk_size(b"1F;x"), chunk_size(b""), chunk_size(b"x5")), (Some(31), None, None));
    assert_eq!((chunk_size(b"ffffffffffffffff"), chunk_size(b"1ffffffffffffffff")), (None, None));
    assert_eq!((chunk_size(b"4000000000000000"), chunk_size(b"4000000000000001")), (Some(1 << 62), None));
    let mut head = Head::default();
    assert!(head.begin(b"HTTP/1.1 abc"));
    assert_eq!((head.status(), head.get(Part::StatusText)), (0, Some(&b"abc"[..])));
    assert!(head.header(b"Content-Length: 99999999999999999999").is_ok());
    assert!(head.framing().is_bad && head.framing().length.is_none());
    assert_eq!(head.header(b": x"), Err("RESPONSE_HEADER_INVALID"));
    assert_eq!(head.header(b"x"), Err("RESPONSE_FIELD_MISSING_COLON"));
    assert_eq!(head.header(b"CONTENT-length: 1"), Err("RESPONSE_HEADER_REPETITION"));
    assert_eq!(head.header(b"content-length: 1"), Ok(()));
    assert_eq!(head.get(Part::Protocol), Some(&b"HTTP/1.1"[..]));
}

#[test]
fn sizes_that_overflow_are_survived() {
    for length in [u64::MAX, (1 << 62) + 1, 1 << 62] {
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nabc");
        assert!(bodies(REQUEST, &response).ends_with("\"length\":3}\n"));
        let chunk = format!("{length:x}\r\nabc\r\n").repeat(3);
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
        assert!(bodies(REQUEST, &response).contains("\"status\":200"));
    }
}

fn say_all(pieces: &[(Direction, &[u8])]) -> Told {
    pieces.iter().fold(tcp(), |talk, (direction, bytes)| talk.say(*direction, bytes)).end()
}

#[test]
fn every_prefix_of_a_conversation_is_survived() {
    for end in 0..=REQUEST.len() {
        say_all(&[(CLIENT, &REQUEST.as_bytes()[..end])]);
    }
    for end in 0..=RESPONSE.len() {
        let told = say_all(&[(CLIENT, REQUEST.as_bytes()), (SERVER, &RESPONSE.as_bytes()[..end])]);
        assert_eq!(told.events.len(), 1);
    }
}

proptest! {
    #[test]
    fn however_a_conversation_is_cut_it_reads_the_same(cuts in prop::collection::vec(1..40usize, 1..40)) {
        let mut cuts = cuts.iter().cycle();
        let mut pieces = Vec::new();
        for (direction, text) in [(CLIENT, REQUEST), (SERVER, RESPONSE), (CLIENT, REQUEST), (SERVER, RESPONSE)] {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                pieces.push((direction, piece));
                rest = after;
            }
        }
        let (cut, whole) = (say_all(&pieces), say_all(&[
            (CLIENT, REQUEST.as_bytes()), (SERVER, RESPONSE.as_bytes()),
            (CLIENT, REQUEST.as_bytes()), (SERVER, RESPONSE.as_bytes()),
        ]));
        prop_assert_eq!(cut.fields(), whole.fields());
        prop_assert_eq!(cut.bodies(), whole.bodies());
    }

    #[test]
    fn damaged_bodies_are_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        piece_bytes in 1..200usize, lost in 0..50usize,
    ) {
        let form = "--XX\r\nContent-Disposition: form-data; filename=\"a\"\r\n\r\nabc\r\n--XX--\r\n";
        let mut bytes = format!(
            "POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=XX\r\nContent-Length: {}\r\n\r\n{form}",
            form.len(),
        ).into_bytes();
        let coded = gzip(&gzip("hello ".repeat(500).as_bytes()));
        let mut answer = [
            &b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            format!("{:x}\r\n", coded.len()).as_bytes(), &coded, b"\r\n0\r\n\r\n",
        ].concat();
        for (at, value) in damage {
            let (at_answer, at) = (at.index(answer.len()), at.index(bytes.len()));
            (answer[at_answer], bytes[at]) = (value, value);
        }
        let talk = bytes.chunks(piece_bytes).fold(Talk::tcp().say(CLIENT, REQUEST), |talk, piece| talk.say(CLIENT, piece));
        let talk = answer.chunks(piece_bytes).fold(talk.say(SERVER, RESPONSE), |talk, piece| talk.say(SERVER, piece));
        talk.lose(SERVER, lost).say(SERVER, RESPONSE).acknowledge(CLIENT).end();
    }

    #[test]
    fn damaged_conversations_are_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(), lost in 0..50usize,
    ) {
        let mut bytes = [REQUEST, "GET / HTTP/1.1\r\n\r\n"].concat().into_bytes();
        let mut answer = [RESPONSE, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"].concat().into_bytes();
        for (at, value) in damage {
            let at_answer = at.index(answer.len());
            answer[at_answer] = value;
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let (one, other) = answer.split_at(cut.index(answer.len()));
        tcp().say(CLIENT, &bytes).say(SERVER, one).lose(SERVER, lost).say(SERVER, other).acknowledge(CLIENT).end();
    }
}

/// The dissector alone: a promise to skip is kept in its answer.
#[test]
fn a_body_is_skipped_not_read() {
    use crate::dpi::{Carrier, Context, Dissector, config::FileConfig, expect::Expectations, file::Files};
    let mut http = Http::new();
    let (mut metadata, mut malformed, mut events) = (Default::default(), 0, Vec::new());
    let (files, mut expectations) =
        (Files::new(FileConfig { enabled: false, ..FileConfig::default() }), Expectations::default());
    let mut context = Context {
        time: Default::default(),
        direction: SERVER,
        carrier: Carrier::Stream,
        metadata: &mut metadata,
        events: Some(&mut events),
        malformed: &mut malformed,
        to_handshake_end: false,
        app: App::Http,
        ends: Default::default(),
        files: &files,
        expectations: &mut expectations,
        found_inside: None,
        wanted: None,
        eve: EveConfig::default(),
        sides: &mut None,
    };
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(http.inspect(head, &mut context), Progress::Used(head.len() + 1000));
    assert_eq!(http.inspect(b"", &mut context), Progress::Used(0));
    assert_eq!(events.len(), 1);
}

#[test]
fn odd_ends_of_lines_are_read_as_clients_read_them() {
    for (between, is_end) in [
        ("\r\n\r\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ("\r\n\r \rTransfer-Encoding: chunked\r\n\r\n", false),
        ("\r\n Transfer-Encoding: chunked\r\n\r\n", false),
        ("\r\nTransfer-Encoding:\n\0chunked\r\n\r\n", false),
        ("\r\nTransfer\0-Encoding: chunked\r\n\r\n", false),
        ("\r\nTransfer-Encoding: chunked\n\r\r\n\r\n", false),
        ("\r\n\r\nTransfer-Encoding: chunked\r\n\r\n", true),
    ] {
        let told = Talk::tcp()
            .say(CLIENT, REQUEST)
            .say(SERVER, format!("HTTP/1.1 200 OK\r\nConnection: close{between}2\r\nab\r\n0\r\n\r\n"))
            .end();
        let is_chunked =
            told.events.iter().any(|event| event.body.windows(8).any(|text| text == b"\"size\":2"));
        assert_eq!(is_chunked, !is_end, "{between:?}");
    }
}

#[test]
fn what_was_sent_with_a_request_and_begins_no_other_is_its_body() {
    let head = "POST /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let told = |client: String| {
        let mut trial = Trial::<Http>::new().client(client.as_bytes());
        let body = trial.told().lines().find(|line| line.contains("http.request_body")).map(str::to_owned);
        (body, trial.odd(), trial.malformed)
    };
    let (body, odd, malformed) = told(format!("{head}a=b\r\nc\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(body.as_deref(), Some("client 0 http.request_body a=b\\r\\nc\\r\\n"));
    assert_eq!((odd.as_str(), malformed), ("client REQUEST_BODY_UNEXPECTED\n", 1));
    // An empty line is nothing, and what comes later is another message's.
    assert_eq!(told(format!("{head}\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")), (None, String::new(), 0));
    assert_eq!(told(format!("{head}SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n")), (None, String::new(), 0));
}

#[test]
fn an_answer_to_nothing_is_odd_to_signatures_alone() {
    let mut trial = Trial::<Http>::new().server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((trial.odd().as_str(), trial.malformed), ("server UNABLE_TO_MATCH_RESPONSE_TO_REQUEST\n", 0));
}

#[test]
fn what_was_sent_with_a_response_is_looked_into_with_its_body_and_not_in_the_file() {
    let told = |behind: &str| {
        let server = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{behind}");
        let mut trial = Trial::<Http>::new().client(REQUEST.as_bytes()).server(server.as_bytes());
        let of = |told: &str, part| {
            let line = told.lines().find(|line| line.contains(part)).unwrap_or_default();
            line.rsplit(' ').next().unwrap_or_default().to_owned()
        };
        let told = trial.told();
        (of(&told, "http.response_body"), of(&told, "FileSize "), trial.malformed)
    };
    assert_eq!(told(""), ("ok".to_owned(), "2".to_owned(), 0));
    assert_eq!(told("\r\n"), ("ok\\r\\n".to_owned(), "2".to_owned(), 0));
    assert_eq!(told("more\r\nyet"), ("okmore\\r\\nyet".to_owned(), "2".to_owned(), 1));
    assert_eq!(told(" HTTP/1.1 200 OK\r\n"), ("ok".to_owned(), "2".to_owned(), 0));
}

#[test]
fn header_lines_are_listed_where_they_are_asked_for() {
    let told = |http_headers| {
        let eve = EveConfig { http_headers, ..EveConfig::default() };
        let talk = Talk::tcp().with(DpiConfig { eve, ..DpiConfig::default() });
        let talk =
            talk.say(CLIENT, "GET / HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\nx-a: 2\r\nB: c\r\n d\r\n\r\n");
        let told = talk.say(SERVER, "HTTP/1.1 204 No\r\nServer: s\r\n\r\n").end();
        let event = told.events.iter().find(|event| event.kind == "http").unwrap();
        serde_json::from_slice::<serde_json::Value>(&event.body).unwrap()
    };
    let request = serde_json::json!([
        {"name": "Host", "value": "a.example"}, {"name": "X-A", "value": "1, 2"}, {"name": "B", "value": "c d"},
    ]);
    let response = serde_json::json!([{"name": "Server", "value": "s"}]);
    let both = told(HttpHeaders::Both);
    assert_eq!((&both["request_headers"], &both["response_headers"]), (&request, &response));
    let response_only = told(HttpHeaders::Response);
    assert_eq!((response_only.get("request_headers"), &response_only["response_headers"]), (None, &response));
    assert_eq!(told(HttpHeaders::None).get("response_headers"), None);
}
