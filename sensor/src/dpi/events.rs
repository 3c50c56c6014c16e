//! What dissectors tell to be odd about their protocols: EVE's `anomaly` events, and what `app-layer-event` asks for.
//!
//! In: nothing. Out: the names, by application. A rule that asks for another name cannot fire, and is told so when it is
//! loaded. The list is held to the code from both sides: [`super::Context`] refuses in debug builds to tell a name that is
//! not in it, and a test finds every name that stands in the code and every one of the list that no longer does.

use weir_common::app::App;

/// What the dissectors of some applications tell.
struct Told {
    /// The applications; none: any.
    apps: &'static [App],
    /// The names.
    names: &'static [&'static str],
    /// Where in the folder of dissectors they stand: beginnings of paths.
    #[cfg_attr(not(test), expect(dead_code, reason = "what the test reads"))]
    places: &'static [&'static str],
}

macro_rules! told {
    ([$($app:ident)*] $($place:literal)+: $($name:literal)+) => {
        Told { apps: &[$(App::$app),*], names: &[$($name),+], places: &[$($place),+] }
    };
}

/// One row for the events of an application; another for those that several share.
const TOLD: &[Told] = &[
    told!([Bacnet Coap Ssdp] "bacnet.rs" "coap.rs" "ssdp.rs": "malformed_message"),
    told!([BittorrentDht] "bittorrent_dht.rs": "malformed_packet"),
    told!([DceRpc] "dcerpc/": "malformed_data"),
    told!([Dhcp] "dhcp.rs": "malformed_options" "truncated_options"),
    told!([Dhcpv6 Ntp Radius Rdp Syslog Snmp Pptp]
        "dhcpv6.rs" "ntp.rs" "radius.rs" "rdp/" "syslog.rs" "snmp.rs" "pptp.rs": "malformed_data"),
    told!([Snmp] "snmp.rs": "unknown_security_model" "version_mismatch"),
    told!([Dnp3] "dnp3/": "bad_link_crc" "bad_transport_crc" "len_too_small" "too_long_reassembly"
        "too_many_objects" "too_many_points" "unknown_object"),
    told!([Dns Mdns Llmnr] "dns/": "infinite_loop" "invalid_additionals" "invalid_authorities" "malformed_data"
        "name_too_long" "too_many_labels"),
    told!([Dns] "dns/": "not_request" "not_response"),
    told!([Dns Mdns] "dns/": "invalid_opcode" "z_flag_set"),
    told!([Dtls] "dtls.rs": "invalid_handshake_message"),
    told!([Enip] "enip/": "invalid_pdu"),
    told!([Ftp] "ftp.rs": "file_before_port" "request_command_too_long" "response_command_too_long"),
    told!([Http] "http/": "ABNORMAL_CE_HEADER" "COMPRESSION_BOMB" "DUPLICATE_CONTENT_LENGTH_FIELD_IN_REQUEST"
        "DUPLICATE_CONTENT_LENGTH_FIELD_IN_RESPONSE" "GZIP_DECOMPRESSION_FAILED" "HOST_HEADER_AMBIGUOUS"
        "INVALID_CONTENT_LENGTH_FIELD_IN_REQUEST" "INVALID_CONTENT_LENGTH_FIELD_IN_RESPONSE"
        "INVALID_REQUEST_CHUNK_LEN" "INVALID_RESPONSE_CHUNK_LEN" "METHOD_DELIM_NON_COMPLIANT"
        "MISSING_HOST_HEADER" "MULTIPART_INVALID_HEADER" "REQUEST_AUTH_UNRECOGNIZED" "REQUEST_CHUNK_EXTENSION"
        "REQUEST_FIELD_MISSING_COLON" "REQUEST_FIELD_TOO_LONG" "REQUEST_HEADER_HOST_INVALID"
        "REQUEST_HEADER_INVALID" "REQUEST_HEADER_REPETITION" "REQUEST_LINE_INVALID"
        "REQUEST_LINE_MISSING_PROTOCOL" "REQUEST_URI_HOST_INVALID" "RESPONSE_ABNORMAL_TRANSFER_ENCODING"
        "RESPONSE_BODY_UNEXPECTED" "RESPONSE_CHUNKED_OLD_PROTO" "RESPONSE_CHUNK_EXTENSION"
        "RESPONSE_FIELD_MISSING_COLON" "RESPONSE_FIELD_TOO_LONG" "RESPONSE_HEADER_INVALID"
        "RESPONSE_HEADER_REPETITION" "RESPONSE_INVALID_PROTOCOL" "RESPONSE_INVALID_STATUS"
        "TOO_MANY_ENCODING_LAYERS" "UNABLE_TO_MATCH_RESPONSE_TO_REQUEST" "100_CONTINUE_ALREADY_SEEN"
        "CONTENT_LENGTH_EXTRA_DATA_END" "CONTENT_LENGTH_EXTRA_DATA_START" "INVALID_AUTHORITY_PORT"
        "INVALID_REQUEST_FIELD_FOLDING" "INVALID_RESPONSE_FIELD_FOLDING" "INVALID_SERVER_PORT_IN_REQUEST"
        "INVALID_TRANSFER_ENCODING_VALUE_IN_REQUEST" "RANGE_INVALID" "REQUEST_BODY_UNEXPECTED"
        "REQUEST_SERVER_PORT_TCP_PORT_MISMATCH" "RESPONSE_MULTIPART_BYTERANGES"
        "SWITCHING_PROTO_WITH_CONTENT_LENGTH" "URI_DELIM_NON_COMPLIANT"),
    told!([Http] "inspect/conversation.rs": "FAILED_PROTOCOL_CHANGE"),
    // Of recognition, in any flow.
    told!([] "inspect/conversation.rs": "APPLAYER_MISMATCH_PROTOCOL_BOTH_DIRECTIONS" "APPLAYER_NO_TLS_AFTER_STARTTLS"
        "APPLAYER_UNEXPECTED_PROTOCOL"),
    told!([Http Http2 Doh2] "http/": "dns_request_too_long" "dns_response_too_long"),
    told!([Http2 Doh2] "http2/" "http/body.rs": "data_stream_zero" "failed_decompression"
        "header_integer_overflow" "invalid_client_magic" "invalid_frame_data" "invalid_frame_header"
        "invalid_frame_length" "invalid_header" "invalid_http1_settings" "long_frame_data"
        "reassembly_limit_reached" "table_size_update" "too_many_streams" "authority_host_mismatch"
        "stream_id_reuse" "userinfo_in_uri"),
    told!([Iec104] "iec104.rs": "invalid_asdu" "invalid_control" "invalid_start"),
    told!([Ike] "ike/": "malformed_data" "no_encryption" "weak_crypto_auth" "weak_crypto_dh" "weak_crypto_enc"
        "weak_crypto_no_dh" "weak_crypto_prf"),
    told!([Imap] "imap.rs": "invalid_data" "request_not_found" "too_many_transactions"),
    told!([Krb5] "krb5/": "malformed_data" "weak_encryption"),
    told!([Ldap] "ldap/": "incomplete_data" "invalid_data" "request_not_found"),
    told!([Modbus] "modbus.rs": "flooded" "invalid_exception_code" "invalid_function_code" "invalid_length"
        "invalid_protocol_id" "invalid_value" "unsolicited_response" "value_mismatch"),
    told!([Mqtt] "mqtt/": "double_connect" "invalid_qos_level" "malformed_traffic" "missing_connect"
        "missing_msg_id" "missing_publish" "missing_subscribe" "missing_unsubscribe" "too_many_transactions"
        "unassigned_msg_type" "unintroduced_message"),
    told!([Netbios] "netbios.rs": "malformed_data" "malformed_nbss"),
    told!([Opcua] "opcua.rs": "invalid_message"),
    told!([Pgsql] "pgsql.rs": "invalid_length" "malformed_request" "malformed_response" "too_many_transactions"),
    told!([Pop3] "pop3.rs": "request_too_long" "response_too_long" "unknown_command"),
    told!([Proxy] "proxy.rs": "invalid_header"),
    told!([Quic] "quic/": "error_on_data" "failed_decrypt"),
    told!([Rfb] "rfb.rs": "malformed_message" "unimplemented_security_type" "unknown_security_result"),
    told!([Rtsp] "rtsp.rs": "invalid_data"),
    told!([S7comm] "s7comm.rs": "invalid_transport" "malformed_message"),
    told!([Sip] "sip/": "invalid_data"),
    told!([Smb] "smb/": "malformed_data" "malformed_nbss" "negotiate_malformed_dialects"),
    told!([Smtp] "smtp.rs": "BDAT_CHUNK_LEN_EXCEEDED" "NO_SERVER_WELCOME_MESSAGE" "UNPARSABLE_CONTENT"
        "DATA_COMMAND_REJECTED" "DUPLICATE_FIELDS" "INVALID_PIPELINED_SEQUENCE"
        "INVALID_REPLY" "INVALID_REQUEST" "TLS_REJECTED" "TRUNCATED_LINE"),
    told!([Smtp Imap Pop3] "mail/": "MIME_INVALID_BASE64" "MIME_INVALID_QP" "MIME_LONG_FILENAME"
        "MIME_LONG_HEADER_VALUE" "MIME_LONG_LINE" "MIME_MALFORMED_MSG" "MIME_LONG_BOUNDARY" "MIME_LONG_ENC_LINE"
        "MIME_LONG_HEADER_NAME"),
    told!([Socks] "socks.rs": "malformed"),
    told!([Ssh] "ssh.rs": "invalid_banner" "invalid_record" "long_banner" "long_kex_record"),
    told!([Tinc] "tinc.rs": "invalid_id"),
    told!([Tls] "tls/": "handshake_invalid_length" "invalid_certificate" "invalid_handshake_message"
        "invalid_heartbeat_message" "invalid_record_type" "invalid_sslv2_header" "overflow_heartbeat_message"
        "heartbeat_message" "invalid_record_length" "invalid_record_version" "invalid_sni_length"
        "invalid_sni_type" "multiple_sni_extensions"),
    told!([WebSocket] "websocket.rs": "invalid_frame"),
];

/// Whether the dissector of one of these applications tells this, in whatever case of letters. Without applications:
/// whether it is told of any flow.
pub fn tells(apps: &[App], name: &str) -> bool {
    let is_theirs = |told: &&Told| told.apps.is_empty() || told.apps.iter().any(|app| apps.contains(app));
    TOLD.iter().filter(is_theirs).any(|told| told.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Files of dissectors, by their paths in the folder of dissectors, without the tests in them.
    fn sources() -> Vec<(String, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dpi");
        let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path: PathBuf = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if name.ends_with(".rs") && !name.contains("test") && name != "events.rs" {
                    let text = fs::read_to_string(&path).unwrap();
                    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                    sources.push((name, code));
                }
            }
        }
        sources
    }

    #[test]
    fn every_event_of_the_list_stands_in_the_code_of_its_dissector() {
        let sources = sources();
        let stands = |place: &str, name: &str| {
            let text = format!("\"{name}\"");
            sources.iter().any(|(path, code)| path.starts_with(place) && code.contains(&text))
        };
        for Told { names, places, .. } in TOLD {
            for name in *names {
                assert!(places.iter().any(|place| stands(place, name)), "nothing in {places:?} tells {name}");
            }
            for place in *places {
                assert!(names.iter().any(|name| stands(place, name)), "{place} tells nothing of {names:?}");
            }
        }
    }

    #[test]
    fn every_event_that_is_told_by_its_name_stands_in_the_list() {
        let (mut found, mut missing) = (0, Vec::new());
        for (path, code) in sources() {
            for call in ["anomaly(", ".odd(", ".note(", "Broken("] {
                for (at, _) in code.match_indices(call) {
                    let rest = &code[at + call.len()..];
                    let arguments = rest.split(';').next().unwrap_or_default();
                    // Up to the line's end where the call is no statement.
                    let line = arguments.lines().next().unwrap_or_default();
                    let arguments = if call == "Broken(" { line } else { arguments };
                    let names = arguments.split('"').skip(1).step_by(2);
                    for name in names.filter(|name| !name.contains(' ')) {
                        found += 1;
                        let is_listed = TOLD.iter().any(|told| {
                            told.names.contains(&name)
                                && told.places.iter().any(|place| path.starts_with(place))
                        });
                        if !is_listed {
                            missing.push(format!("{path}: {name}"));
                        }
                    }
                }
            }
        }
        assert_eq!(missing, [""; 0]);
        assert!(found > 100, "{found} names were found: does this test still read the code?");
    }

    #[test]
    fn events_are_an_applications_own() {
        assert!(
            tells(&[App::Http], "abnormal_ce_header") && tells(&[App::Http, App::Http2], "invalid_header")
        );
        assert!(!tells(&[App::Http], "invalid_header") && !tells(&[App::Tls], "no_such_event"));
        assert!(tells(&[], "applayer_unexpected_protocol"));
        assert!(!tells(&[], "no_encryption") && !tells(&[], "applayer_wrong_direction_first_data"));
    }
}
