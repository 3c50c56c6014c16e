//! The event of a session, as Suricata's EVE has it under `tls`.
//!
//! In: what was learned, in the order it came. Out: one JSON object per session. Decides nothing.

use super::Tls;
use super::certificate::Certificate;
use super::handshake::{alpn_names, version_name};
use crate::dpi::digest::Hex;
use crate::dpi::{Context, Event};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

impl Tls {
    /// Adds what the ClientHello said.
    pub(super) fn describe_client(&mut self, ja3: &Hex<32>, ja3_text: &[u8], ja4: &str, alpn: &[u8]) {
        self.describe(|object| {
            hash_object(object, "ja3", ja3, ja3_text);
            object.text("ja4", ja4);
            if !alpn.is_empty() {
                object.texts("client_alpns", alpn_names(alpn));
            }
        });
    }

    /// Adds what the ServerHello said.
    pub(super) fn describe_server(&mut self, ja3s: &Hex<32>, ja3s_text: &[u8], alpn: &[u8]) {
        self.describe(|object| {
            hash_object(object, "ja3s", ja3s, ja3s_text);
            if !alpn.is_empty() {
                object.texts("server_alpns", alpn_names(alpn));
            }
        });
    }

    /// Adds the server's certificate.
    pub(super) fn describe_certificate(&mut self, certificate: &Certificate) {
        self.describe(|object| describe_certificate(object, certificate));
    }

    /// Adds members to the event's body.
    fn describe(&mut self, write: impl FnOnce(&mut Object<'_>)) {
        let start = self.body.len();
        write(&mut Object::begin(&mut self.body));
        if self.body.len() == start + 2 {
            self.body.truncate(start);
            return;
        }
        self.body.pop();
        if let Some(brace) = self.body.get_mut(start).filter(|_| start > 0) {
            *brace = b',';
        }
    }

    /// Writes the session's event, once, with what is known by now.
    pub(super) fn tell(&mut self, context: &mut Context<'_>) {
        if context.events.is_none() || !self.notable || std::mem::replace(&mut self.told, true) {
            return;
        }
        let (resumed, version) = (self.resumed, self.version);
        let name = context.metadata.text(Field::TlsServerName);
        self.describe(|object| {
            if resumed {
                object.bool("session_resumed", true);
            }
            object.text_if("sni", name);
            object.text("version", &version.map_or("UNDETERMINED".into(), version_name));
        });
        self.body.push(b'}');
        if let Some(events) = &mut context.events {
            let (direction, body) =
                (self.client.unwrap_or(Direction::Forward), std::mem::take(&mut self.body));
            events.push(Event::new(App::Tls, context.time, direction, body));
        }
    }
}

/// `{"hash": ..., "string": ...}`.
fn hash_object(object: &mut Object<'_>, key: &'static str, hash: &Hex<32>, text: &[u8]) {
    object.object(key).text("hash", hash.as_str()).bytes("string", text);
}

fn describe_certificate(object: &mut Object<'_>, certificate: &Certificate) {
    object
        .text("subject", &certificate.subject)
        .text("issuerdn", &certificate.issuer)
        .text("serial", &certificate.serial)
        .text("fingerprint", &certificate.fingerprint)
        .text("notbefore", &certificate.not_before.text)
        .text("notafter", &certificate.not_after.text);
    if !certificate.alternative_names.is_empty() {
        object.texts("subjectaltname", certificate.alternative_names.iter().map(|name| name.as_bytes()));
    }
}
