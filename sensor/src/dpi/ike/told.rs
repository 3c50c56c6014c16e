//! What signatures look into of a message of IKE.
//!
//! In: a message as it was read. Out: parts and numbers of the transaction that each message is, as in Suricata: SPIs
//! and vendors in hexadecimal digits, key exchanges and nonces as bytes and of version 1 alone. The initiator's SPI and
//! vendors are looked into where the initiator speaks, the responder's SPI and choice where the responder does.

use super::{Attribute, Header, Message, hexadecimal};
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Number, Stage};
use weir_common::net::Direction;

/// Tells a message's parts.
pub(super) fn tell(header: &Header, message: &Message<'_>, transaction: u64, context: &mut Context<'_>) {
    let direction = context.direction;
    context.put_number(direction, transaction, Number::IkeExchtype, header.exchange.into());
    if direction == Direction::Forward {
        put_hexadecimal(Buffer::IkeInitSpi, &header.initiator.to_be_bytes(), transaction, context);
        if header.is_version_1() {
            for vendor in &message.vendors {
                put_hexadecimal(Buffer::IkeVendor, vendor, transaction, context);
            }
        }
    } else {
        put_hexadecimal(Buffer::IkeRespSpi, &header.responder.to_be_bytes(), transaction, context);
        tell_choice(header, message, transaction, context);
    }
    for (buffer, length, value) in [
        (Buffer::IkeKeyExchangePayload, Number::IkeKeyExchangePayloadLength, message.key_exchange),
        (Buffer::IkeNoncePayload, Number::IkeNoncePayloadLength, message.nonce),
    ] {
        if !value.is_empty() {
            context.put(direction, transaction, buffer, value);
            context.put_number(direction, transaction, length, value.len() as u64);
        }
    }
    context.reached(direction, transaction, Stage::Body);
}

fn put_hexadecimal(buffer: Buffer, bytes: &[u8], transaction: u64, context: &mut Context<'_>) {
    if context.wants(buffer) {
        context.put(context.direction, transaction, buffer, hexadecimal(bytes).as_bytes());
    }
}

/// The association that the responder chose: its first transform.
fn tell_choice(header: &Header, message: &Message<'_>, transaction: u64, context: &mut Context<'_>) {
    let direction = context.direction;
    if header.is_version_1() {
        let attributes = message.transforms.first().map(Vec::as_slice).unwrap_or_default();
        for Attribute { kind, number, .. } in attributes {
            if let (Some(name), Some(value)) = (attribute(*kind), number) {
                context.put_number(direction, transaction, name, u64::from(*value));
            }
        }
        return;
    }
    for (kind, value) in &message.chosen {
        let name = match kind {
            1 => Number::IkeAlgEnc,
            2 => Number::IkeAlgPrf,
            3 => Number::IkeAlgAuth,
            4 => Number::IkeAlgDh,
            _ => continue,
        };
        context.put_number(direction, transaction, name, u64::from(*value));
    }
}

/// The number that an attribute of version 1 is (RFC 2409 appendix A).
fn attribute(kind: u16) -> Option<Number> {
    Some(match kind {
        1 => Number::IkeAlgEnc,
        2 => Number::IkeAlgHash,
        3 => Number::IkeAlgAuth,
        4 => Number::IkeAlgDh,
        5 => Number::IkeSaGroupType,
        11 => Number::IkeSaLifeType,
        12 => Number::IkeSaLifeDuration,
        13 => Number::IkeAlgPrf,
        14 => Number::IkeSaKeyLength,
        15 => Number::IkeSaFieldSize,
        _ => return None,
    })
}
