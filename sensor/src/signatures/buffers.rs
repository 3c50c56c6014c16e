//! The sticky buffers: what inspection tells of a transaction, as the bytes that rules look into.
//!
//! In: an [`Event`]. Out: its values by buffer, each with who sent it. The values are the event's text: bytes
//! that are not UTF-8 were replaced there, and the parts of an HTTP head are cut at 8 KiB. A rule that needs
//! other bytes is refused when it is compiled.

use crate::dpi::{Event, normalized_uri};
use serde_json::Value as Json;
use weir_common::app::App;
use weir_common::net::Direction;

/// Who sends what a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
    Either,
}

/// How the text of a buffer is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// As the rule says.
    Kept,
    /// The value is in lower case, and a rule must be too.
    Lower,
    /// Hexadecimal digits: the case of neither matters.
    Ignored,
}

macro_rules! buffers {
    ($($variant:ident $app:ident $side:ident $case:ident $($name:literal)+;)*) => {
        /// A buffer that rules can look into.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(super) enum Buffer { $($variant,)* }

        impl Buffer {
            #[cfg(test)]
            pub(super) const ALL: &[Buffer] = &[$(Buffer::$variant),*];

            /// The buffer of a keyword; some have an older name as well.
            pub(super) fn of(keyword: &str) -> Option<Buffer> {
                match keyword { $($($name)|+ => Some(Buffer::$variant),)* _ => None }
            }

            /// Its application, who sends it, and how it is compared.
            pub(super) const fn kind(self) -> (App, Side, Case) {
                match self { $(Buffer::$variant => (App::$app, Side::$side, Case::$case),)* }
            }
        }
    };
}

buffers! {
    HttpUri Http Client Kept "http.uri";
    HttpUriRaw Http Client Kept "http.uri.raw";
    HttpHost Http Client Lower "http.host";
    HttpUserAgent Http Client Kept "http.user_agent";
    HttpMethod Http Client Kept "http.method";
    HttpReferer Http Client Kept "http.referer";
    HttpStatCode Http Server Kept "http.stat_code";
    HttpLocation Http Server Kept "http.location";
    TlsSni Tls Client Kept "tls.sni" "tls_sni";
    TlsCertSubject Tls Server Kept "tls.cert_subject" "tls_cert_subject";
    TlsCertIssuer Tls Server Kept "tls.cert_issuer" "tls_cert_issuer";
    TlsCertSerial Tls Server Ignored "tls.cert_serial" "tls_cert_serial";
    TlsCertFingerprint Tls Server Ignored "tls.cert_fingerprint" "tls_cert_fingerprint";
    Ja3Hash Tls Client Ignored "ja3.hash" "ja3_hash";
    Ja3String Tls Client Kept "ja3.string" "ja3_string";
    Ja3sHash Tls Server Ignored "ja3s.hash";
    Ja4Hash Tls Client Ignored "ja4.hash";
    DnsQuery Dns Client Kept "dns.query" "dns_query";
    SshSoftware Ssh Either Kept "ssh.software";
    SshProto Ssh Either Kept "ssh.proto";
}

/// A value of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) buffer: Buffer,
    /// Who sent it, in the flow's terms.
    pub(super) from: Direction,
    pub(super) bytes: Vec<u8>,
}

/// The values of an event; none of one that cannot be read.
pub(super) fn values(event: &Event, out: &mut Vec<Value>) {
    out.clear();
    let Ok(body) = serde_json::from_slice::<Json>(&event.body) else { return };
    let mut reader = Reader { body: &body, client: event.direction, out };
    // Files and anomalies are told under other names than the application's.
    if event.kind != event.app.event_name() {
        return;
    }
    match event.app {
        App::Http => reader.http(),
        App::Tls => reader.tls(),
        App::Dns => reader.dns(),
        App::Ssh => reader.ssh(),
        _ => {}
    }
}

struct Reader<'b, 'o> {
    body: &'b Json,
    client: Direction,
    out: &'o mut Vec<Value>,
}

impl<'b> Reader<'b, '_> {
    fn put(&mut self, buffer: Buffer, bytes: impl Into<Vec<u8>>) {
        let from = match buffer.kind().1 {
            Side::Server => self.client.flip(),
            _ => self.client,
        };
        self.out.push(Value { buffer, from, bytes: bytes.into() });
    }

    fn text(&self, pointer: &str) -> Option<&'b str> {
        self.body.pointer(pointer)?.as_str()
    }

    fn copy(&mut self, pairs: &[(Buffer, &str)]) {
        for (buffer, pointer) in pairs {
            if let Some(text) = self.text(pointer) {
                self.put(*buffer, text);
            }
        }
    }

    fn http(&mut self) {
        if let Some(target) = self.text("/url") {
            self.put(Buffer::HttpUri, normalized_uri(target.as_bytes()));
            self.put(Buffer::HttpUriRaw, target);
        }
        if let Some(host) = self.text("/hostname") {
            self.put(Buffer::HttpHost, host.to_ascii_lowercase());
        }
        if let Some(status) = self.body.pointer("/status").and_then(Json::as_u64) {
            self.put(Buffer::HttpStatCode, status.to_string());
        }
        self.copy(&[
            (Buffer::HttpUserAgent, "/http_user_agent"),
            (Buffer::HttpMethod, "/http_method"),
            (Buffer::HttpReferer, "/http_refer"),
            (Buffer::HttpLocation, "/redirect"),
        ]);
    }

    fn tls(&mut self) {
        self.copy(&[
            (Buffer::TlsSni, "/sni"),
            (Buffer::TlsCertSubject, "/subject"),
            (Buffer::TlsCertIssuer, "/issuerdn"),
            (Buffer::TlsCertSerial, "/serial"),
            (Buffer::TlsCertFingerprint, "/fingerprint"),
            (Buffer::Ja3Hash, "/ja3/hash"),
            (Buffer::Ja3String, "/ja3/string"),
            (Buffer::Ja3sHash, "/ja3s/hash"),
            (Buffer::Ja4Hash, "/ja4"),
        ]);
    }

    /// What is asked for; the questions that an answer repeats are not.
    fn dns(&mut self) {
        if self.text("/type") != Some("request") {
            return;
        }
        let questions = self.body.pointer("/queries").and_then(Json::as_array);
        for question in questions.into_iter().flatten() {
            if let Some(name) = question.get("rrname").and_then(Json::as_str) {
                self.put(Buffer::DnsQuery, name);
            }
        }
    }

    fn ssh(&mut self) {
        for (side, from) in [("client", self.client), ("server", self.client.flip())] {
            let Some(said) = self.body.get(side) else { continue };
            for (buffer, key) in
                [(Buffer::SshSoftware, "software_version"), (Buffer::SshProto, "proto_version")]
            {
                if let Some(text) = said.get(key).and_then(Json::as_str) {
                    self.out.push(Value { buffer, from, bytes: text.into() });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::time::Timestamp;

    fn read(app: App, direction: Direction, body: &str) -> Vec<(Buffer, Direction, String)> {
        let event = Event::new(app, Timestamp(1), direction, body.into());
        let mut out = Vec::new();
        values(&event, &mut out);
        out.into_iter().map(|v| (v.buffer, v.from, String::from_utf8(v.bytes).unwrap())).collect()
    }

    #[test]
    fn values_come_from_their_sender() {
        let (there, back) = (Direction::Forward, Direction::Reverse);
        let text = |text: &str| text.to_owned();
        assert_eq!(
            read(
                App::Http,
                there,
                r#"{"hostname":"A.example","url":"/a%20b","http_method":"GET","status":404}"#
            ),
            [
                (Buffer::HttpUri, there, text("/a b")),
                (Buffer::HttpUriRaw, there, text("/a%20b")),
                (Buffer::HttpHost, there, text("a.example")),
                (Buffer::HttpStatCode, back, text("404")),
                (Buffer::HttpMethod, there, text("GET")),
            ]
        );
        assert_eq!(
            read(App::Tls, back, r#"{"sni":"x","ja3":{"hash":"h","string":"s"},"subject":"CN=x"}"#),
            [
                (Buffer::TlsSni, back, text("x")),
                (Buffer::TlsCertSubject, there, text("CN=x")),
                (Buffer::Ja3Hash, back, text("h")),
                (Buffer::Ja3String, back, text("s")),
            ]
        );
        let dns =
            |kind: &str| format!(r#"{{"type":"{kind}","queries":[{{"rrname":"a.b"}},{{"rrname":"c"}}]}}"#);
        assert_eq!(
            read(App::Dns, there, &dns("request")),
            [(Buffer::DnsQuery, there, text("a.b")), (Buffer::DnsQuery, there, text("c"))]
        );
        assert_eq!(read(App::Dns, back, &dns("response")), []);
        assert_eq!(
            read(App::Ssh, there, r#"{"client":{"software_version":"c"},"server":{"software_version":"s"}}"#),
            [(Buffer::SshSoftware, there, text("c")), (Buffer::SshSoftware, back, text("s"))]
        );
        assert_eq!(read(App::Http, there, "no json"), []);
    }

    #[test]
    fn every_keyword_leads_to_its_buffer() {
        assert_eq!(Buffer::of("tls_sni"), Some(Buffer::TlsSni));
        assert_eq!(Buffer::of("http.cookie"), None);
        let apps: Vec<App> = Buffer::ALL.iter().map(|buffer| buffer.kind().0).collect();
        // Those whose rules hunts run; the others' come with their keywords.
        assert!([App::Dns, App::Http, App::Tls, App::Ssh].iter().all(|app| apps.contains(app)));
    }
}
