//! What signatures look into of EtherNet/IP: commands, states, what devices say they are, and CIP's services with the
//! classes, instances and attributes they are about.
//!
//! In: a request, its response, or both. Out: the parts of both sides. As in Suricata, a message's own header is its
//! side's, and what only requests have (paths) or only responses (identities, CIP's status) is told on both sides.

use super::event::{self, MULTIPLE_SERVICE, SEGMENTS_MAX, SERVICES_MAX, segment};
use super::{HEADER_BYTES, LIST_IDENTITY, LIST_SERVICES, Pdu, REGISTER_SESSION};
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Number, Stage};
use crate::dpi::bytes::{le16, u8_at};
use weir_common::net::Direction;

const SIDES: [Direction; 2] = [Direction::Forward, Direction::Reverse];
const GET_ATTRIBUTE_LIST: u8 = 3;
const SET_ATTRIBUTE_LIST: u8 = 4;
/// Most attributes read of a list of them.
const ATTRIBUTES_MAX: u16 = 256;

/// Tells a transaction that is over.
pub(super) fn put(
    request: Option<&Pdu<'_>>,
    response: Option<&Pdu<'_>>,
    transaction: u64,
    context: &mut Context<'_>,
) {
    for (pdu, direction) in [request, response].into_iter().zip(SIDES) {
        let Some(pdu) = pdu else { continue };
        context.put_number(direction, transaction, Number::EnipCommand, pdu.command.into());
        context.put_number(direction, transaction, Number::EnipStatus, pdu.status.into());
        if let Some(version) = protocol_version(pdu, direction) {
            context.put_number(direction, transaction, Number::EnipProtocolVersion, version.into());
        }
        if let Some(data) = event::cip(pdu) {
            cip(data, true, &mut |number, value| {
                SIDES.iter().for_each(|side| context.put_number(*side, transaction, number, value));
            });
            if context.wants(Buffer::EnipCip) {
                services(data, true, &mut |told| context.put(direction, transaction, Buffer::EnipCip, told));
            }
        }
    }
    if let Some(response) = response {
        for side in SIDES {
            put_list(response, side, transaction, context);
        }
    }
    SIDES.iter().for_each(|side| context.reached(*side, transaction, Stage::Body));
}

/// Tells a message's frames.
pub(super) fn put_frames(pdu: &Pdu<'_>, context: &mut Context<'_>) {
    let whole = pdu.bytes.get(..HEADER_BYTES + pdu.data.len()).unwrap_or(pdu.bytes);
    context.frame(Buffer::FrameEnipPdu, None, whole);
    context.frame(Buffer::FrameEnipHdr, None, whole.get(..HEADER_BYTES).unwrap_or(whole));
    if !pdu.data.is_empty() {
        context.frame(Buffer::FrameEnipData, None, pdu.data);
    }
    if let Some(data) = event::cip(pdu) {
        let mut begin = event::ITEMS_AT;
        for (_, item) in event::items(pdu) {
            let end = begin + event::ITEM_HEADER_BYTES + item.len();
            context.frame(Buffer::FrameEnipItem, None, pdu.data.get(begin..end).unwrap_or_default());
            begin = end;
        }
        context.frame(Buffer::FrameEnipCip, None, data);
    }
}

/// What a device lists of itself.
fn put_list(response: &Pdu<'_>, side: Direction, transaction: u64, context: &mut Context<'_>) {
    if let Some(identity) = event::identity(response) {
        let mut number = |number, value: u32| context.put_number(side, transaction, number, value.into());
        let (major, minor) = identity.revision;
        number(Number::EnipRevision, u16::from_be_bytes([major, minor]).into());
        number(Number::EnipVendorId, identity.vendor.into());
        number(Number::EnipDeviceType, identity.device_type.into());
        number(Number::EnipProductCode, identity.product_code.into());
        number(Number::EnipIdentityStatus, identity.status.into());
        number(Number::EnipSerial, identity.serial);
        number(Number::EnipState, identity.state.into());
        context.put(side, transaction, Buffer::EnipProductName, identity.product);
    }
    if response.command == LIST_SERVICES
        && let Some(capabilities) = le16(response.data, 8)
    {
        context.put_number(side, transaction, Number::EnipCapabilities, capabilities.into());
        let name = response.data.get(10..26).or(response.data.get(10..)).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        context.put(side, transaction, Buffer::EnipServiceName, name);
    }
}

fn protocol_version(pdu: &Pdu<'_>, direction: Direction) -> Option<u16> {
    match (pdu.command, direction) {
        (REGISTER_SESSION, _) => le16(pdu.data, 0),
        (LIST_SERVICES, Direction::Reverse) => le16(pdu.data, 6),
        (LIST_IDENTITY, Direction::Reverse) => event::identity(pdu).map(|identity| identity.version),
        _ => None,
    }
}

/// The messages of a packet of services behind its head.
fn nested(behind: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = le16(behind, 0).unwrap_or(0).min(SERVICES_MAX);
    (0..usize::from(count)).map_while(move |at| behind.get(usize::from(le16(behind, 2 + 2 * at)?)..))
}

/// The segments of a request's path, and what is behind it.
fn path(data: &[u8]) -> Option<(&[u8], &[u8])> {
    data.get(2..)?.split_at_checked(2 * usize::from(u8_at(data, 1)?))
}

fn segments(path: &[u8]) -> impl Iterator<Item = (u8, u32)> {
    let mut rest = path;
    (0..SEGMENTS_MAX).map_while(move |_| {
        let (kind, value, after) = segment(rest)?;
        rest = after;
        Some((kind >> 2, value))
    })
}

const CLASS: u8 = 8;
const INSTANCE: u8 = 9;
const ATTRIBUTE: u8 = 12;

/// The attributes that a request lists behind its path: those it reads, or the first that it writes.
fn listed(service: u8, behind: &[u8]) -> impl Iterator<Item = u32> {
    let count = match service {
        GET_ATTRIBUTE_LIST => le16(behind, 0).unwrap_or(0).min(ATTRIBUTES_MAX),
        SET_ATTRIBUTE_LIST => le16(behind, 0).unwrap_or(0).min(1),
        _ => 0,
    };
    (0..usize::from(count)).map_while(move |at| le16(behind, 2 + 2 * at)).map(u32::from)
}

/// The numbers of a CIP message and those nested in it.
fn cip(data: &[u8], may_nest: bool, put: &mut dyn FnMut(Number, u64)) {
    let Some(service) = u8_at(data, 0) else { return };
    let behind = if service & 0x80 == 0 {
        let Some((path, behind)) = path(data) else { return };
        for (kind, value) in segments(path) {
            match kind {
                CLASS => put(Number::EnipCipClass, value.into()),
                INSTANCE => put(Number::EnipCipInstance, value.into()),
                ATTRIBUTE => put(Number::EnipCipAttribute, value.into()),
                _ => {}
            }
        }
        listed(service, behind).for_each(|attribute| put(Number::EnipCipAttribute, attribute.into()));
        behind
    } else {
        let (Some(status), Some(words)) = (u8_at(data, 2), u8_at(data, 3)) else { return };
        put(Number::EnipCipStatus, status.into());
        if let (1, Some(code)) = (words, le16(data, 4)) {
            put(Number::EnipCipExtendedstatus, code.into());
        }
        data.get(4 + 2 * usize::from(words)..).unwrap_or_default()
    };
    if service & 0x7f == MULTIPLE_SERVICE && may_nest {
        nested(behind).for_each(|inner| cip(inner, false, put));
    }
}

/// A CIP message and those nested in it, each as [`Buffer::EnipCip`] has it.
fn services(data: &[u8], may_nest: bool, put: &mut dyn FnMut(&[u8])) {
    let Some(service) = u8_at(data, 0) else { return };
    let mut told = vec![service & 0x7f];
    let behind = if service & 0x80 == 0 {
        let (path, behind) = path(data).unwrap_or_default();
        let listed = listed(service, behind).map(|attribute| (ATTRIBUTE, attribute));
        for (kind, value) in segments(path).chain(listed) {
            match kind {
                CLASS => told.push(b'c'),
                ATTRIBUTE => told.push(b'a'),
                _ => continue,
            }
            told.extend_from_slice(&value.to_be_bytes());
        }
        behind
    } else {
        data.get(4 + 2 * usize::from(u8_at(data, 3).unwrap_or(0))..).unwrap_or_default()
    };
    put(&told);
    if service & 0x7f == MULTIPLE_SERVICE && may_nest {
        nested(behind).for_each(|inner| services(inner, false, put));
    }
}
