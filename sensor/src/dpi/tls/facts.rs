//! What hellos say, as metadata: the same for TLS, DTLS and QUIC.
//!
//! In: views of hellos. Out: fields, parts for signatures, and the fingerprints with their texts for whoever writes an
//! event. Knows no event.

use super::certificate::Certificate;
use super::fingerprint::{self, Ja4, Transport};
use super::handshake::{ClientHello, ServerHello, alpn_names, extension, leaf_certificate, version_name};
use super::told;
use crate::dpi::Context;
use crate::dpi::buffers::Buffer;
use crate::dpi::digest::Hex;
use std::rc::Rc;
use weir_common::json::Object;
use weir_common::metadata::Field;

/// JA3 or JA3S.
pub(crate) struct Print {
    hash: Hex<32>,
    text: Vec<u8>,
}

impl Print {
    /// Writes `{"hash": ..., "string": ...}`.
    pub(crate) fn describe(&self, key: &'static str, object: &mut Object<'_>) {
        object.object(key).text("hash", self.hash.as_str()).bytes("string", &self.text);
    }
}

/// The fingerprints of a client.
pub(crate) struct ClientPrints {
    pub(crate) ja3: Print,
    pub(crate) ja4: Ja4,
}

/// Keeps what a ClientHello says, and tells signatures where it is a transaction. The fingerprints are given where somebody listens; a hello that is cut has none.
pub(crate) fn of_client(
    hello: &ClientHello<'_>,
    transport: Transport,
    transaction: Option<u64>,
    context: &mut Context<'_>,
) -> Option<ClientPrints> {
    let transaction = transaction.filter(|_| context.wanted.is_some());
    if let Some(transaction) = transaction {
        told::tell_client_hello(hello, transaction, context);
    }
    if let Some(name) = hello.server_name {
        context.metadata.set_bytes(Field::TlsServerName, name);
    }
    if !hello.alpn.is_empty() {
        let offered: Vec<&[u8]> = alpn_names(hello.alpn).collect();
        context.metadata.set_bytes(Field::TlsAlpn, &offered.join(&b","[..]));
    }
    for (number, _) in hello.extensions {
        match number {
            extension::ENCRYPTED_CLIENT_HELLO => context.metadata.set_text(Field::TlsEncryptedHello, "ech"),
            extension::ENCRYPTED_SERVER_NAME => context.metadata.set_text(Field::TlsEncryptedHello, "esni"),
            _ => {}
        }
    }
    if hello.cut {
        return None;
    }
    let ja4 = Ja4::of(hello, transport);
    context.metadata.set_text(Field::TlsJa4, ja4.as_str());
    let mut text = (context.events.is_some() || context.wants(Buffer::Ja3String)).then(Vec::new);
    let hash = fingerprint::ja3(hello, text.as_mut());
    context.metadata.set_text(Field::TlsJa3, hash.as_str());
    if let Some(transaction) = transaction {
        told::tell_client_prints(&hash, text.as_deref(), &ja4, transaction, context);
    }
    text.map(|text| ClientPrints { ja3: Print { hash, text }, ja4 })
}

/// Keeps what a ServerHello says, and tells signatures where it is a transaction. The fingerprint is given where somebody listens; a hello that is cut has none.
pub(crate) fn of_server(
    hello: &ServerHello<'_>,
    transaction: Option<u64>,
    context: &mut Context<'_>,
) -> Option<Print> {
    let transaction = transaction.filter(|_| context.wanted.is_some());
    if let Some(transaction) = transaction {
        told::tell_server_hello(hello, transaction, context);
    }
    context.metadata.set_text(Field::TlsVersion, &version_name(hello.negotiated_version()));
    context.metadata.set_number(Field::TlsCipher, hello.cipher_suite.into());
    if hello.cut {
        return None;
    }
    let mut text = (context.events.is_some() || context.wants(Buffer::Ja3sString)).then(Vec::new);
    let hash = fingerprint::ja3s(hello, text.as_mut());
    context.metadata.set_text(Field::TlsJa3s, hash.as_str());
    if let Some(transaction) = transaction {
        told::tell_server_print(&hash, text.as_deref(), transaction, context);
    }
    text.map(|text| Print { hash, text })
}

/// Keeps what the server's certificate says, the first of a Certificate message before TLS 1.3.
pub(crate) fn of_certificate(body: &[u8], context: &mut Context<'_>) -> Option<Rc<Certificate>> {
    let certificate = Certificate::remembered(leaf_certificate(body)?)?;
    if context.wanted.is_some() {
        told::tell_certificates(body, &certificate, told::SESSION, context);
    }
    let metadata = &mut *context.metadata;
    metadata.set_text(Field::TlsSubject, &certificate.subject);
    metadata.set_text(Field::TlsIssuer, &certificate.issuer);
    metadata.set_text(Field::TlsSerial, &certificate.serial);
    metadata.set_text(Field::TlsFingerprint, &certificate.fingerprint);
    for (field, moment) in
        [(Field::TlsNotBefore, &certificate.not_before), (Field::TlsNotAfter, &certificate.not_after)]
    {
        // A time before the epoch has no number; the event has its text.
        if let Ok(seconds) = u64::try_from(moment.seconds) {
            metadata.set_number(field, seconds);
        }
    }
    Some(certificate)
}
