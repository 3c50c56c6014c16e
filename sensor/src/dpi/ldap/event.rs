//! LDAP messages as EVE describes them.
//!
//! In: a message's operation. Out: members of a request or of one response. Lists beyond [`ITEMS_MAX`] and
//! values beyond [`VALUE_BYTES_MAX`] are cut off. What filters say, beyond the presence of an attribute, is
//! not written, nor are credentials that hold a password in clear.

use super::Operation;
use crate::dpi::der::{self, BOOLEAN, OCTETS, SEQUENCE, SET};
use crate::dpi::wire::{escaped, hex};
use weir_common::json::{List, Object};

/// Most attributes, values, changes or controls written of one message.
const ITEMS_MAX: usize = 256;
/// Most bytes written of one value.
const VALUE_BYTES_MAX: usize = 4096;

/// Takes the next octet string.
pub(super) fn octets<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    der::next_of(rest, OCTETS).unwrap_or_default()
}

fn cut(value: &[u8]) -> &[u8] {
    value.get(..VALUE_BYTES_MAX).unwrap_or(value)
}

/// The name EVE gives an operation.
pub(super) fn operation_name(tag: u8) -> Option<&'static str> {
    Some(match tag {
        0x60 => "bind_request",
        0x61 => "bind_response",
        0x42 => "unbind_request",
        0x63 => "search_request",
        0x64 => "search_result_entry",
        0x65 => "search_result_done",
        0x73 => "search_result_reference",
        0x66 => "modify_request",
        0x67 => "modify_response",
        0x68 => "add_request",
        0x69 => "add_response",
        0x4a => "del_request",
        0x6b => "del_response",
        0x6c => "mod_dn_request",
        0x6d => "mod_dn_response",
        0x6e => "compare_request",
        0x6f => "compare_response",
        0x50 => "abandon_request",
        0x77 => "extended_request",
        0x78 => "extended_response",
        0x79 => "intermediate_response",
        _ => return None,
    })
}

/// Writes a request's members.
pub(super) fn request(operation: &Operation<'_>, object: &mut Object<'_>) {
    object.number("message_id", operation.message);
    object.text("operation", operation_name(operation.tag).unwrap_or_default());
    let mut rest = operation.content;
    match operation.tag {
        0x60 => {
            let mut bind = object.object("bind_request");
            bind.number("version", der::next_number(&mut rest).unwrap_or(0)).bytes("name", octets(&mut rest));
            if let Some(mut sasl) = der::next_of(&mut rest, 0xa3) {
                let mechanism = octets(&mut sasl);
                let mut object = bind.object("sasl");
                object.bytes("mechanism", mechanism);
                if let Some(credentials) = der::next_of(&mut sasl, OCTETS)
                    && !matches!(mechanism, b"PLAIN" | b"LOGIN")
                {
                    object.text("credentials", &hex(cut(credentials), ""));
                }
            }
        }
        0x63 => search(&mut rest, &mut object.object("search_request")),
        0x66 => {
            let mut modify = object.object("modify_request");
            modify.bytes("object", octets(&mut rest));
            let mut list = modify.list("changes");
            for change in der::elements(der::next_of(&mut rest, SEQUENCE).unwrap_or_default()).take(ITEMS_MAX)
            {
                let mut inner = change.content;
                let mut object = list.object();
                object.text(
                    "operation",
                    match der::next_number(&mut inner) {
                        Some(0) => "add",
                        Some(1) => "delete",
                        Some(2) => "replace",
                        Some(3) => "increment",
                        _ => "unknown",
                    },
                );
                let mut attribute = der::next_of(&mut inner, SEQUENCE).unwrap_or_default();
                let mut modification = object.object("modification");
                modification.bytes("attribute_type", octets(&mut attribute));
                values("attribute_values", attribute, &mut modification);
            }
        }
        0x68 => {
            let mut add = object.object("add_request");
            add.bytes("entry", octets(&mut rest));
            attributes("name", der::next_of(&mut rest, SEQUENCE).unwrap_or_default(), &mut add);
        }
        0x4a => drop(object.object("del_request").bytes("dn", rest)),
        0x6c => {
            let mut rename = object.object("mod_dn_request");
            rename.bytes("entry", octets(&mut rest)).bytes("new_rdn", octets(&mut rest));
            let deletes = der::next_of(&mut rest, BOOLEAN).is_some_and(|value| value != [0]);
            rename.bool("delete_old_rdn", deletes);
            if let Some(superior) = der::next_of(&mut rest, 0x80) {
                rename.bytes("new_superior", superior);
            }
        }
        0x6e => {
            let mut compare = object.object("compare_request");
            compare.bytes("entry", octets(&mut rest));
            let mut assertion = der::next_of(&mut rest, SEQUENCE).unwrap_or_default();
            let mut object = compare.object("attribute_value_assertion");
            object.bytes("description", octets(&mut assertion)).bytes("value", cut(octets(&mut assertion)));
        }
        0x77 => extended(&mut rest, [0x80, 0x81], &mut object.object("extended_request")),
        _ => {}
    }
    controls(operation.controls, object);
}

fn search(rest: &mut &[u8], object: &mut Object<'_>) {
    const PRESENT: u8 = 0x87;
    object.bytes("base_object", octets(rest));
    for key in ["scope", "deref_alias", "size_limit", "time_limit"] {
        object.number(key, der::next_number(rest).unwrap_or(0));
    }
    object.bool("types_only", der::next_of(rest, BOOLEAN).is_some_and(|value| value != [0]));
    if let Some(filter) = der::next(rest)
        && filter.tag == PRESENT
    {
        object.object("filter").text("type", "present").bytes("value", filter.content);
    }
    let names = der::next_of(rest, SEQUENCE).unwrap_or_default();
    if !names.is_empty() {
        object.texts("attributes", der::elements(names).take(ITEMS_MAX).map(|name| name.content));
    }
}

fn values(key: &'static str, mut attribute: &[u8], object: &mut Object<'_>) {
    let set = der::next_of(&mut attribute, SET).unwrap_or_default();
    if !set.is_empty() {
        object.texts(
            key,
            der::elements(set).take(ITEMS_MAX).map(|value| escaped(cut(value.content)).into_owned()),
        );
    }
}

fn attributes(key: &'static str, list: &[u8], object: &mut Object<'_>) {
    if list.is_empty() {
        return;
    }
    let mut members = object.list("attributes");
    for attribute in der::elements(list).take(ITEMS_MAX) {
        let mut rest = attribute.content;
        let mut member = members.object();
        member.bytes(key, octets(&mut rest));
        values("values", rest, &mut member);
    }
}

/// The name and value of an extended operation, behind what may precede them.
fn extended(rest: &mut &[u8], tags: [u8; 2], object: &mut Object<'_>) {
    for (key, tag) in ["name", "value"].into_iter().zip(tags) {
        if let Some(value) = der::find(rest, tag) {
            object.bytes(key, cut(value));
        }
    }
}

fn result(rest: &mut &[u8], object: &mut Object<'_>) {
    object.text("result_code", &result_name(der::next_number(rest).unwrap_or(-1)));
    object.bytes("matched_dn", octets(rest)).bytes("message", cut(octets(rest)));
}

/// Writes a response into the list of a transaction's responses.
pub(super) fn response(operation: &Operation<'_>, is_alone: bool, list: &mut List<'_>) {
    let mut object = list.object();
    let name = operation_name(operation.tag).unwrap_or_default();
    object.text("operation", name);
    if is_alone {
        object.number("message_id", operation.message);
    }
    let mut rest = operation.content;
    match operation.tag {
        0x64 => {
            let mut entry = object.object("search_result_entry");
            entry.bytes("base_object", octets(&mut rest));
            attributes("type", der::next_of(&mut rest, SEQUENCE).unwrap_or_default(), &mut entry);
        }
        0x61 => {
            let mut bind = object.object("bind_response");
            result(&mut rest, &mut bind);
            if let Some(credentials) = der::find(rest, 0x87) {
                bind.text("server_sasl_creds", &hex(cut(credentials), ""));
            }
        }
        0x78 => {
            let mut reply = object.object("extended_response");
            result(&mut rest, &mut reply);
            extended(&mut rest, [0x8a, 0x8b], &mut reply);
        }
        0x79 => extended(&mut rest, [0x80, 0x81], &mut object.object("intermediate_response")),
        0x65 | 0x67 | 0x69 | 0x6b | 0x6d | 0x6f => result(&mut rest, &mut object.object(name)),
        _ => {}
    }
    controls(operation.controls, &mut object);
}

fn controls(controls: &[u8], object: &mut Object<'_>) {
    if controls.is_empty() {
        return;
    }
    let mut list = object.list("controls");
    for control in der::elements(controls).take(ITEMS_MAX) {
        let mut rest = control.content;
        let mut member = list.object();
        member.bytes("control_type", octets(&mut rest));
        member.bool("criticality", der::next_of(&mut rest, BOOLEAN).is_some_and(|value| value != [0]));
        if let Some(value) = der::next_of(&mut rest, OCTETS) {
            member.text("control_value", &hex(cut(value), ""));
        }
    }
}

/// The name of a result (RFC 4511 section 4.1.9).
pub(super) fn result_name(code: i64) -> String {
    match code {
        0 => "success",
        1 => "operations_error",
        2 => "protocol_error",
        3 => "time_limit_exceeded",
        4 => "size_limit_exceeded",
        5 => "compare_false",
        6 => "compare_true",
        7 => "auth_method_not_supported",
        8 => "stronger_auth_required",
        10 => "referral",
        11 => "admin_limit_exceeded",
        12 => "unavailable_critical_extension",
        13 => "confidentiality_required",
        14 => "sasl_bind_in_progress",
        16 => "no_such_attribute",
        17 => "undefined_attribute_type",
        18 => "inappropriate_matching",
        19 => "constraint_violation",
        20 => "attribute_or_value_exists",
        21 => "invalid_attribute_syntax",
        32 => "no_such_object",
        33 => "alias_problem",
        // As EVE spells it.
        34 => "invalid_dns_syntax",
        35 => "is_leaf",
        36 => "alias_dereferencing_problem",
        48 => "inappropriate_authentication",
        49 => "invalid_credentials",
        50 => "insufficient_access_rights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwilling_to_perform",
        54 => "loop_detect",
        64 => "naming_violation",
        65 => "object_class_violation",
        66 => "not_allowed_on_non_leaf",
        67 => "not_allowed_on_rdn",
        68 => "entry_already_exists",
        69 => "object_class_mods_prohibited",
        71 => "affects_multiple_dsas",
        70 => "results_too_large",
        76 => "control_error",
        80 => "other",
        118 => "canceled",
        119 => "no_such_operation",
        120 => "too_late",
        121 => "cannot_cancel",
        122 => "assertion_failed",
        123 => "authorization_denied",
        4096 => "e_sync_refresh_required",
        code => return code.to_string(),
    }
    .to_string()
}
