//! The event of a hello, as Suricata's EVE has it under `quic`.
//!
//! In: a hello. Out: one JSON object. Decides nothing.

use super::google::Message;
use super::packet::google_number;
use crate::dpi::Context;
use crate::dpi::digest::{Hashing, Hex, Sink};
use crate::dpi::tls::facts::{ClientPrints, Print};
use crate::dpi::tls::handshake::{ClientHello, Extensions, ServerHello, alpn_names, extension};
use md5::Md5;
use weir_common::json::Object;

/// A version as Suricata writes it: Google's by name, others in hexadecimal.
pub(super) fn version_text(version: u32) -> String {
    match google_number(version) {
        Some(number) => format!("Q{number:03}"),
        None => format!("{version:x}"),
    }
}

/// Tells a client's hello.
pub(super) fn tell_client(
    version: u32,
    hello: &ClientHello<'_>,
    prints: Option<&ClientPrints>,
    user_agent: Option<&[u8]>,
    context: &mut Context<'_>,
) {
    context.tell(context.direction, None, |object| {
        object.text("version", &version_text(version));
        if let Some(name) = hello.server_name {
            object.bytes("sni", name);
        }
        if let Some(user_agent) = user_agent {
            object.bytes("ua", user_agent);
        }
        if let Some(prints) = prints {
            prints.ja3.describe("ja3", object);
            object.text("ja4", prints.ja4.as_str());
        }
        extensions(hello.extensions, hello.server_name, hello.alpn, object);
    });
}

/// Tells a server's hello.
pub(super) fn tell_server(
    version: u32,
    hello: &ServerHello<'_>,
    print: Option<&Print>,
    context: &mut Context<'_>,
) {
    context.tell(context.direction, None, |object| {
        object.text("version", &version_text(version));
        if let Some(print) = print {
            print.describe("ja3s", object);
        }
        extensions(hello.extensions, None, hello.alpn, object);
    });
}

/// Tells a hello of Google's, with its CYU fingerprint: the version and the tags in their order.
pub(super) fn tell_google(version: u32, message: &Message<'_>, context: &mut Context<'_>) {
    context.tell(context.direction, None, |object| {
        object.text("version", &version_text(version));
        if let Some(name) = message.value(b"SNI") {
            object.bytes("sni", name);
        }
        if let Some(user_agent) = message.value(b"UAID") {
            object.bytes("ua", user_agent);
        }
        let (text, hash) = cyu(version, message);
        object.list("cyu").object().text("hash", hash.as_str()).bytes("string", &text);
    });
}

/// The CYU fingerprint of a hello, and its MD5.
pub(super) fn cyu(version: u32, message: &Message<'_>) -> (Vec<u8>, Hex<32>) {
    let mut text = format!("{:02},", google_number(version).unwrap_or_default()).into_bytes();
    for (at, (tag, _)) in message.tags().enumerate() {
        if at > 0 {
            text.push(b'-');
        }
        text.extend_from_slice(tag);
    }
    let mut hashing = Hashing::<Md5>::new();
    hashing.put(&text);
    (text, hashing.finish())
}

/// Tells that a version was named and nothing else.
pub(super) fn tell_version(version: u32, context: &mut Context<'_>) {
    context.tell(context.direction, None, |object| _ = object.text("version", &version_text(version)));
}

fn extensions(all: Extensions<'_>, server_name: Option<&[u8]>, alpn: &[u8], object: &mut Object<'_>) {
    let mut list = object.list("extensions");
    for (number, _) in all {
        let mut entry = list.object();
        if let Some(name) = extension_name(number) {
            entry.text("name", name);
        }
        entry.number("type", number);
        match number {
            extension::SERVER_NAME => {
                if let Some(name) = server_name {
                    entry.texts("values", [name]);
                }
            }
            extension::ALPN => _ = entry.texts("values", alpn_names(alpn)),
            _ => {}
        }
    }
}

/// The names of IANA's registry, as EVE writes them.
fn extension_name(number: u16) -> Option<&'static str> {
    const NAMES: [&str; 60] = [
        "server_name",
        "max_fragment_length",
        "client_certificate_url",
        "trusted_ca_keys",
        "truncated_hmac",
        "status_request",
        "user_mapping",
        "client_authz",
        "server_authz",
        "cert_type",
        "supported_groups",
        "ec_point_formats",
        "srp",
        "signature_algorithms",
        "use_srtp",
        "heartbeat",
        "alpn",
        "status_request_v2",
        "signed_certificate_timestamp",
        "client_certificate_type",
        "server_certificate_type",
        "padding",
        "encrypt_then_mac",
        "extended_master_secret",
        "token_binding",
        "cached_info",
        "tls_lts",
        "compress_certificate",
        "record_size_limit",
        "pwd_protect",
        "pwd_clear",
        "password_salt",
        "ticket_pinning",
        "tls_cert_with_extern_psk",
        "delegated_credentials",
        "session_ticket",
        "tlmsp",
        "tlmsp_proxying",
        "tlmsp_delegate",
        "supported_ekt_ciphers",
        "",
        "pre_shared_key",
        "early_data",
        "supported_versions",
        "cookie",
        "psk_key_exchange_modes",
        "",
        "certificate_authorities",
        "oid_filters",
        "post_handshake_auth",
        "signature_algorithms_cert",
        "key_share",
        "transparency_info",
        "connection_id_deprecated",
        "connection_id",
        "external_id_hash",
        "external_session_id",
        "quic_transport_parameters",
        "ticket_request",
        "dnssec_chain",
    ];
    match number {
        13172 => Some("next_protocol_negotiation"),
        65281 => Some("renegotiation_info"),
        _ => NAMES.get(usize::from(number)).copied().filter(|name| !name.is_empty()),
    }
}
