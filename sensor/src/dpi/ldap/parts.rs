//! What signatures look into of LDAP's messages: operations, results, names, kinds of attributes.
//!
//! In: one message. Out: parts of the request's side and the responses' side of its transaction. Of responses each
//! has a distinguished name, a result and a message among the others', also where it is empty, as in Suricata.

use super::event::octets;
use super::{BIND_REQUEST, Operation, SEARCH_ENTRY};
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Number, Stage};
use crate::dpi::der::{self, BOOLEAN, SEQUENCE};
use weir_common::net::Direction;

/// Stands for the result of a response that has none.
const NO_RESULT: u64 = u64::MAX;

/// The number of an operation, as RFC 4511 tags it.
fn number(operation: &Operation<'_>) -> u64 {
    u64::from(operation.tag & 0x1f)
}

/// Tells a request, which is over.
pub(super) fn put_request(operation: &Operation<'_>, transaction: u64, context: &mut Context<'_>) {
    if context.wanted.is_none() {
        return;
    }
    let direction = context.direction;
    context.put_number(direction, transaction, Number::LdapRequestOperation, number(operation));
    let mut rest = operation.content;
    let name = match operation.tag {
        BIND_REQUEST => {
            let _ = der::next_number(&mut rest);
            octets(&mut rest)
        }
        // A deletion is nothing but its name.
        0x4a => std::mem::take(&mut rest),
        0x63 | 0x66 | 0x68 | 0x6c | 0x6e => octets(&mut rest),
        _ => &[],
    };
    if !name.is_empty() {
        context.put(direction, transaction, Buffer::LdapRequestDn, name);
    }
    if context.wants(Buffer::LdapRequestAttributeType) {
        let mut put =
            |kind: &[u8]| context.put(direction, transaction, Buffer::LdapRequestAttributeType, kind);
        match operation.tag {
            0x63 => {
                // Scope, aliases, limits, types only, filter: then the names.
                for _ in 0..4 {
                    let _ = der::next_number(&mut rest);
                }
                let _ = der::next_of(&mut rest, BOOLEAN);
                let _ = der::next(&mut rest);
                let names = der::next_of(&mut rest, SEQUENCE).unwrap_or_default();
                der::elements(names).for_each(|name| put(name.content));
            }
            0x66 => {
                for change in der::elements(der::next_of(&mut rest, SEQUENCE).unwrap_or_default()) {
                    let mut inner = change.content;
                    let _ = der::next_number(&mut inner);
                    put(octets(&mut der::next_of(&mut inner, SEQUENCE).unwrap_or_default()));
                }
            }
            0x68 => attribute_kinds(rest, put),
            0x6e => put(octets(&mut der::next_of(&mut rest, SEQUENCE).unwrap_or_default())),
            _ => {}
        }
    }
    context.reached(direction, transaction, Stage::Body);
}

/// Tells a response, which others may follow.
pub(super) fn put_response(
    operation: &Operation<'_>,
    (direction, transaction): (Direction, u64),
    context: &mut Context<'_>,
) {
    if context.wanted.is_none() {
        return;
    }
    context.put_number(direction, transaction, Number::LdapResponsesOperation, number(operation));
    let mut rest = operation.content;
    let (mut name, mut message, mut result) = (&[][..], &[][..], NO_RESULT);
    match operation.tag {
        SEARCH_ENTRY => {
            name = octets(&mut rest);
            if context.wants(Buffer::LdapResponsesAttributeType) {
                let put = |kind: &[u8]| {
                    context.put(direction, transaction, Buffer::LdapResponsesAttributeType, kind);
                };
                attribute_kinds(rest, put);
            }
        }
        0x61 | 0x65 | 0x67 | 0x69 | 0x6b | 0x6d | 0x6f | 0x78 => {
            result = der::next_number(&mut rest)
                .and_then(|code| u32::try_from(code).ok())
                .map_or(result, u64::from);
            name = octets(&mut rest);
            message = octets(&mut rest);
        }
        _ => {}
    }
    context.put_number(direction, transaction, Number::LdapResponsesResultCode, result);
    context.put(direction, transaction, Buffer::LdapResponsesDn, name);
    context.put(direction, transaction, Buffer::LdapResponsesMessage, message);
}

/// The kinds of the attributes in the list that follows.
fn attribute_kinds(mut rest: &[u8], mut put: impl FnMut(&[u8])) {
    for attribute in der::elements(der::next_of(&mut rest, SEQUENCE).unwrap_or_default()) {
        put(octets(&mut { attribute.content }));
    }
}
