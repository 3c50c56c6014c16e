//! Heads and bodies as signatures are told of them.

use crate::dpi::buffers::Buffer;
use crate::dpi::http::Http;
use crate::dpi::trial::Trial;

/// What is told of these parts, a line each.
fn told(client: &str, server: &str, keywords: &[&str]) -> String {
    let mut trial = Trial::<Http>::new().client(client.as_bytes()).server(server.as_bytes()).close();
    let is_asked = |line: &&str| line.split(' ').nth(2).is_some_and(|keyword| keywords.contains(&keyword));
    trial.told().lines().filter(is_asked).map(|line| format!("{line}\n")).collect()
}

fn all(client: &str, server: &str) -> String {
    let keywords: Vec<&str> = Buffer::ALL
        .iter()
        .map(|buffer| buffer.keyword())
        .filter(|keyword| keyword.starts_with("http."))
        .collect();
    told(client, server, &keywords)
}

#[test]
fn a_head_is_told_in_all_its_parts() {
    let client = "GET http://u@WWW.Example.com:80//a/%2e%2e/b%20c?d=%41#e HTTP/1.1\r\nHost: Other.example:81\r\nUser-Agent: \tcurl \r\n\
         cookie: a=b\r\nAccept: x\r\nACCEPT: y\r\nReferer:\r\n\r\n";
    let server = "HTTP/1.1  404  Not here \r\nServer: nginx\r\nContent-Length: 0\r\nSet-Cookie: q\r\nconnection: close\r\n\
         Set-Cookie: r\r\nContent-Length: 0\r\n\r\n";
    expect_test::expect![[r#"
        client 0 http.method GET
        client 0 http.request_line GET http://u@WWW.Example.com:80//a/%2e%2e/b%20c?d=%41#e HTTP/1.1
        client 0 http.uri.raw http://u@WWW.Example.com:80//a/%2e%2e/b%20c?d=%41#e
        client 0 http.protocol HTTP/1.1
        client 0 http.uri /b c?d=A#e
        client 0 http.host www.example.com
        client 0 http.host.raw www.example.com
        client 0 http.user_agent curl
        client 0 http.referer 
        client 0 http.cookie a=b
        client 0 http.accept x, y
        client 0 http.request_header Host: Other.example:81
        client 0 http.request_header User-Agent: curl
        client 0 http.request_header cookie: a=b
        client 0 http.request_header Accept: x, y
        client 0 http.request_header Referer: 
        client 0 http.header.raw Host: Other.example:81\r\nUser-Agent: \tcurl \r\ncookie: a=b\r\nAccept: x\r\nACCEPT: y\r\nReferer:\r\n\r\n
        client 0 http.header Host: Other.example:81\r\nUser-Agent: curl\r\nAccept: x, y\r\nReferer: \r\n
        client 0 http.header_names \r\nHost\r\nUser-Agent\r\ncookie\r\nAccept\r\nReferer\r\n\r\n
        client 0 http.start GET http://u@WWW.Example.com:80//a/%2e%2e/b%20c?d=%41#e HTTP/1.1\r\nHost: Other.example:81\r\nUser-Agent: curl\r\ncookie: a=b\r\nAccept: x, y\r\nReferer: \r\n\r\n
        server 0 http.response_line HTTP/1.1  404  Not here 
        server 0 http.protocol HTTP/1.1
        server 0 http.stat_code 404
        server 0 http.stat_msg Not here 
        server 0 http.server nginx
        server 0 http.cookie q, r
        server 0 http.response_header Server: nginx
        server 0 http.response_header Content-Length: 0
        server 0 http.response_header Set-Cookie: q, r
        server 0 http.response_header connection: close
        server 0 http.connection close
        server 0 http.content_len 0
        server 0 http.header.raw Server: nginx\r\nContent-Length: 0\r\nSet-Cookie: q\r\nconnection: close\r\nSet-Cookie: r\r\nContent-Length: 0\r\n\r\n
        server 0 http.header Server: nginx\r\nContent-Length: 0\r\nconnection: close\r\n
        server 0 http.header_names \r\nServer\r\nContent-Length\r\nSet-Cookie\r\nconnection\r\n\r\n
        server 0 http.start HTTP/1.1  404  Not here \r\nServer: nginx\r\nContent-Length: 0\r\nSet-Cookie: q, r\r\nconnection: close\r\n\r\n
    "#]]
    .assert_eq(&all(client, server));
}

#[test]
fn hosts_targets_and_protocols_are_what_libhtp_takes_them_for() {
    let keywords = ["http.uri", "http.uri.raw", "http.host", "http.host.raw", "http.protocol"];
    let client = "GET /a b HTTP/1.1\r\nHost:  WWW.x.org.:8080\r\n\r\nOPTIONS * HTTP/1.0\r\nHost:\r\n\r\n\
         GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\nCONNECT A.b:443 HTTP/1.1\r\nHost: c\r\n\r\n";
    expect_test::expect![[r#"
        client 0 http.uri.raw /a b
        client 0 http.protocol HTTP/1.1
        client 0 http.uri /a b
        client 0 http.host.raw WWW.x.org.:8080
        client 0 http.host www.x.org.
        client 1 http.uri.raw *
        client 1 http.protocol HTTP/1.0
        client 1 http.uri *
        client 1 http.host.raw 
        client 2 http.uri.raw /
        client 2 http.protocol HTTP/1.1
        client 2 http.uri /
        client 2 http.host.raw [::1]:80
        client 2 http.host [::1]
        client 3 http.uri.raw A.b:443
        client 3 http.protocol HTTP/1.1
        client 3 http.host a.b
        client 3 http.host.raw a.b
    "#]]
    .assert_eq(&told(client, "", &keywords));
}

#[test]
fn folded_and_malformed_lines_are_read_as_libhtp_reads_them() {
    let client = "GET / HTTP/1.1\nA:\n  b \n\tc\n \nNo colon\n: x\n  D : e \nName\n : f\n\n";
    let server = "HTTP/1.0 200\rA: 1\r\n B: 2\r\n more\r\nEmpty:\r\n\r\n";
    expect_test::expect![[r#"
        client 0 http.request_header A: b \tc
        client 0 http.request_header : No colon, x  D : e
        client 0 http.request_header Name: f
        server 0 http.response_header A: 1
        server 0 http.response_header B: 2 more
        server 0 http.response_header Empty: 
    "#]]
    .assert_eq(&told(client, server, &["http.request_header", "http.response_header"]));
}

#[test]
fn lines_behind_the_last_chunk_are_told_with_those_before() {
    let client = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: x\r\n\r\n";
    expect_test::expect![[r#"
        client 0 http.header Transfer-Encoding: chunked\r\n
        client 0 http.header Transfer-Encoding: chunked\r\nT: x\r\n
    "#]]
    .assert_eq(&told(client, "", &["http.header"]));
}

#[test]
fn bodies_are_told_decoded_and_files_by_their_names() {
    let keywords = ["http.request_body", "http.response_body", "file.data", "file.name"];
    let form =
        "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nhello\r\n--x--\r\n";
    let length = form.len();
    let client = format!(
        "POST /a%20b/../c?d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n\
         PATCH /p HTTP/1.1\r\nContent-Length: 1\r\n\r\nx\
         POST /form HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n{form}"
    );
    let server = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
         HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Disposition: x; filename=y\r\n\r\nto the end";
    expect_test::expect![[r#"
        client 0 http.request_body abc
        client 0 file.data abc
        client 0 file.name /c
        client 1 http.request_body x
        client 2 file.name a.txt
        client 2 file.data hello
        client 2 http.request_body --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nhello\r\n--x--\r\n
        server 0 http.response_body ok
        server 0 file.data ok
        server 0 file.name /c
        server 2 http.response_body to the end
        server 2 file.data to the end
        server 2 file.name y
    "#]]
    .assert_eq(&sorted(&told(&client, server, &keywords)));
}

/// What the client is told of first, then by transaction.
fn sorted(told: &str) -> String {
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_by_cached_key(|line| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>());
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_head_without_lines_has_no_empty_parts() {
    let (client, server) = ("GET http://x HTTP/1.1\r\n\r\n", "HTTP/1.1 200\r\n\r\n");
    expect_test::expect![[r#"
        client 0 http.method GET
        client 0 http.request_line GET http://x HTTP/1.1
        client 0 http.uri.raw http://x
        client 0 http.protocol HTTP/1.1
        client 0 http.host x
        client 0 http.host.raw x
        client 0 http.header.raw \r\n
        client 0 http.start GET http://x HTTP/1.1\r\n
        server 0 http.response_line HTTP/1.1 200
        server 0 http.protocol HTTP/1.1
        server 0 http.stat_code 200
        server 0 http.header.raw \r\n
        server 0 http.start HTTP/1.1 200\r\n
    "#]]
    .assert_eq(&all(client, server));
}
