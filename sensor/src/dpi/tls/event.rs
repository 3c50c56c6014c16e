//! The event of a session, as Suricata's EVE has it under `tls`.
//!
//! In: what was learned, in the order it came. Out: one JSON object per session. Decides nothing.

use super::certificate::Certificate;
use super::facts::{ClientPrints, Print};
use super::handshake::{alpn_names, certificates, version_name};
use crate::dpi::config::EveConfig;
use crate::dpi::{Context, Event};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most certificates whose numbers are told of a chain.
const CERTIFICATES_MAX: usize = 16;

/// The event's body as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// `{` and members, without the closing brace; once it was told, whole where signatures may ask for it.
    body: Vec<u8>,
    is_whole: bool,
    /// The server's name, where signatures may ask for it before it is told.
    name: Box<[u8]>,
}

/// What is only known in the end.
pub(crate) struct Ending {
    pub(crate) client: Option<Direction>,
    pub(crate) version: Option<u16>,
    pub(crate) resumed: bool,
}

impl Account {
    /// Adds what the ClientHello said.
    pub(crate) fn describe_client(&mut self, prints: &ClientPrints, alpn: &[u8]) {
        self.describe(|object| {
            prints.ja3.describe("ja3", object);
            object.text("ja4", prints.ja4.as_str());
            if !alpn.is_empty() {
                object.texts("client_alpns", alpn_names(alpn));
            }
        });
    }

    /// Adds what the ServerHello said.
    pub(crate) fn describe_server(&mut self, ja3s: &Print, alpn: &[u8]) {
        self.describe(|object| {
            ja3s.describe("ja3s", object);
            if !alpn.is_empty() {
                object.texts("server_alpns", alpn_names(alpn));
            }
        });
    }

    /// Adds the server's certificate.
    pub(crate) fn describe_certificate(&mut self, certificate: &Certificate) {
        self.describe(|object| describe_certificate(object, certificate));
    }

    /// Adds the server's certificates themselves, as far as the message is there and they are asked for.
    pub(crate) fn describe_chain(&mut self, body: &[u8], eve: EveConfig) {
        let text = |der: &[u8]| STANDARD.encode(der);
        self.describe(|object| {
            if eve.tls_certificate {
                object.text_if("certificate", certificates(body).next().map(text).as_deref());
            }
            let mut chain = certificates(body).take(CERTIFICATES_MAX).map(text).peekable();
            if eve.tls_chain && chain.peek().is_some() {
                object.texts("chain", chain);
            }
        });
    }

    /// Adds the client's certificate.
    pub(crate) fn describe_client_certificate(&mut self, certificate: &Certificate) {
        self.describe(|object| describe_certificate(&mut object.object("client"), certificate));
    }

    /// Remembers the server's name for [`Account::describe_so_far`].
    pub(crate) fn note_name(&mut self, name: Option<&[u8]>, context: &Context<'_>) {
        if context.wanted.is_some() {
            self.name = name.unwrap_or_default().into();
        }
    }

    /// Writes the event's body with what is known by now, also after it was told.
    pub(crate) fn describe_so_far(&self, ending: &Ending, out: &mut Vec<u8>) {
        if self.is_whole {
            out.extend_from_slice(&self.body);
            return;
        }
        let mut rest = Account { body: self.body.clone(), ..Account::default() };
        rest.describe(|object| {
            if ending.resumed {
                object.bool("session_resumed", true);
            }
            if !self.name.is_empty() {
                object.bytes("sni", &self.name);
            }
            object.text("version", &ending.version.map_or("UNDETERMINED".into(), version_name));
        });
        out.append(&mut rest.body);
        out.push(b'}');
    }

    /// Adds members.
    fn describe(&mut self, write: impl FnOnce(&mut Object<'_>)) {
        let body = &mut self.body;
        let start = body.len();
        write(&mut Object::begin(body));
        if body.len() == start + 2 {
            body.truncate(start);
            return;
        }
        body.pop();
        if let Some(brace) = body.get_mut(start).filter(|_| start > 0) {
            *brace = b',';
        }
    }

    /// Writes the session's event with what is known by now.
    pub(crate) fn tell(&mut self, ending: &Ending, context: &mut Context<'_>) {
        if context.events.is_none() {
            return;
        }
        let name = context.metadata.text(Field::TlsServerName);
        let from = context.metadata.text(Field::OriginalApp);
        self.describe(|object| {
            if ending.resumed {
                object.bool("session_resumed", true);
            }
            object.text_if("sni", name);
            object.text("version", &ending.version.map_or("UNDETERMINED".into(), version_name));
            object.text_if("from_proto", from);
        });
        self.body.push(b'}');
        let direction = ending.client.unwrap_or(Direction::Forward);
        self.is_whole = context.wanted.is_some();
        let body = if self.is_whole { self.body.clone() } else { std::mem::take(&mut self.body) };
        if let Some(events) = &mut context.events {
            events.push(Event::new(context.app, context.time, direction, body));
        }
    }
}

/// The event of Remote Desktop's own for the certificates of the TLS that it negotiated, which Suricata tells as a part
/// of RDP. `body` is a Certificate message, as far as it is there.
pub(crate) fn tell_remote_desktop(body: &[u8], context: &mut Context<'_>) {
    if context.metadata.text(Field::OriginalApp) != Some(App::Rdp.name()) {
        return;
    }
    let number = context.metadata.transactions();
    let Some(events) = context.events.as_deref_mut() else { return };
    let mut json = Vec::with_capacity(128);
    let mut object = Object::begin(&mut json);
    object.number("tx_id", number.saturating_add(1)).text("event_type", "tls_handshake");
    let known = certificates(body).filter_map(Certificate::remembered);
    object.texts("x509_serials", known.take(CERTIFICATES_MAX).map(|known| bare(&known.serial)));
    drop(object);
    let event = Event::new(App::Rdp, context.time, context.direction, json);
    events.push(Event { transaction: Some(number), ..event });
}

/// A serial number as digits without what separates them, and without zeros before it.
fn bare(serial: &str) -> String {
    let digits: String = serial.chars().filter(char::is_ascii_hexdigit).collect();
    match digits.trim_start_matches('0') {
        "" => "0".into(),
        digits => digits.to_ascii_lowercase(),
    }
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

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn a_bare_serial_number_is_a_number_in_hexadecimal_digits() {
        assert_eq!((bare("00:F1:96"), bare("0A:00"), bare("00")), ("f196".into(), "a00".into(), "0".into()));
    }
}
