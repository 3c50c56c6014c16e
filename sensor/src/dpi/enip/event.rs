//! One message of EtherNet/IP as EVE describes it.
//!
//! In: a message. Out: members of a JSON object with Suricata's field names.

use super::{LIST_IDENTITY, LIST_SERVICES, Pdu, REGISTER_SESSION, SEND_RR_DATA, SEND_UNIT_DATA, names};
use crate::dpi::bytes::{hex, le16, le32, u8_at};
use weir_common::json::Object;

/// Most items of a message that are looked at.
const ITEMS_MAX: u16 = 8;
/// Most services written of a packet of services.
pub(super) const SERVICES_MAX: u16 = 64;
/// Most segments written of a path: a path has at most 510 bytes.
pub(super) const SEGMENTS_MAX: usize = 255;

const CONNECTED_DATA: u16 = 0xb1;
const UNCONNECTED_DATA: u16 = 0xb2;
pub(super) const MULTIPLE_SERVICE: u8 = 0x0a;

/// Where the items of the common packet format begin in a message's data, behind their count.
pub(super) const ITEMS_AT: usize = 8;
/// Bytes of an item's type and length, which stand before it.
pub(super) const ITEM_HEADER_BYTES: usize = 4;

/// Writes a message.
pub(super) fn write(pdu: &Pdu<'_>, object: &mut Object<'_>) {
    match names::command(pdu.command) {
        Some(name) => object.text("command", name),
        None => object.display("command", format_args!("unknown-{}", pdu.command)),
    };
    match names::status(pdu.status) {
        Some(name) => object.text("status", name),
        None => object.display("status", format_args!("unknown-{}", pdu.status)),
    };
    if pdu.options != 0 {
        object.number("options", pdu.options);
    }
    match pdu.command {
        SEND_RR_DATA | SEND_UNIT_DATA => {
            if let Some(data) = cip(pdu) {
                write_cip(data, true, &mut object.object("cip"));
            }
        }
        REGISTER_SESSION => {
            if let (Some(version), Some(options)) = (le16(pdu.data, 0), le16(pdu.data, 2)) {
                let mut session = object.object("register_session");
                session.number("protocol_version", version).number("options", options);
            }
        }
        LIST_SERVICES => {
            // The first item: type, length, version, capabilities, name.
            if let (Some(version), Some(capabilities)) = (le16(pdu.data, 6), le16(pdu.data, 8)) {
                let name = pdu.data.get(10..26).or(pdu.data.get(10..)).unwrap_or_default();
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                let mut services = object.object("list_services");
                services.number("protocol_version", version).number("capabilities", capabilities);
                services.bytes("service_name", name);
            }
        }
        LIST_IDENTITY => {
            if let Some(identity) = identity(pdu) {
                identity.write(&mut object.object("identity"));
            }
        }
        _ => {}
    }
}

/// Whether the items can be walked.
pub(super) fn is_readable(pdu: &Pdu<'_>) -> bool {
    let Some(count) = le16(pdu.data, 6) else { return false };
    items(pdu).count() == usize::from(count.min(ITEMS_MAX))
}

/// Types and data of the items of the common packet format.
pub(super) fn items<'a>(pdu: &Pdu<'a>) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
    let mut left = le16(pdu.data, 6).unwrap_or(0).min(ITEMS_MAX);
    let mut rest = pdu.data.get(ITEMS_AT..).unwrap_or_default();
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let (kind, length) = (le16(rest, 0)?, usize::from(le16(rest, 2)?));
        let (item, after) = rest.get(ITEM_HEADER_BYTES..)?.split_at_checked(length)?;
        rest = after;
        Some((kind, item))
    })
}

/// The number of a connected message in its connection.
pub(super) fn sequence(pdu: &Pdu<'_>) -> Option<u16> {
    if pdu.command != SEND_UNIT_DATA {
        return None;
    }
    items(pdu).find(|(kind, _)| *kind == CONNECTED_DATA).and_then(|(_, item)| le16(item, 0))
}

/// The CIP message that is carried.
pub(super) fn cip<'a>(pdu: &Pdu<'a>) -> Option<&'a [u8]> {
    if !matches!(pdu.command, SEND_RR_DATA | SEND_UNIT_DATA) {
        return None;
    }
    items(pdu).find_map(|(kind, item)| match kind {
        CONNECTED_DATA => item.get(2..),
        UNCONNECTED_DATA => Some(item),
        _ => None,
    })
}

fn write_cip(data: &[u8], may_nest: bool, object: &mut Object<'_>) {
    let Some(service) = u8_at(data, 0) else { return };
    let (number, is_response) = (service & 0x7f, service & 0x80 != 0);
    match names::service(number) {
        Some(name) => object.text("service", name),
        None => object.display("service", format_args!("unknown-{number}")),
    };
    let behind = if is_response { write_status(data, object) } else { write_path(data, object) };
    let Some(behind) = behind.filter(|_| number == MULTIPLE_SERVICE && may_nest) else { return };
    let count = le16(behind, 0).unwrap_or(0).min(SERVICES_MAX);
    if count == 0 {
        return;
    }
    let mut list = object.list("multiple");
    for number in 0..usize::from(count) {
        let Some(offset) = le16(behind, 2 + 2 * number) else { break };
        let Some(service) = behind.get(usize::from(offset)..) else { break };
        write_cip(service, false, &mut list.object());
    }
}

/// The status of a response; returns what is behind it.
fn write_status<'a>(data: &'a [u8], object: &mut Object<'_>) -> Option<&'a [u8]> {
    let (status, words) = (u8_at(data, 2)?, usize::from(u8_at(data, 3)?));
    match names::cip_status(status) {
        Some(name) => object.text("status", name),
        None => object.display("status", format_args!("unknown-{status}")),
    };
    let (extended, behind) = data.get(4..)?.split_at_checked(2 * words)?;
    if !extended.is_empty() {
        object.text("status_extended", &hex(extended, extended.len()));
        if let (2, Some(code)) = (extended.len(), le16(extended, 0)) {
            object.text_if("status_extended_meaning", names::extended_status(code));
        }
    }
    Some(behind)
}

/// The path of a request; returns what is behind it.
fn write_path<'a>(data: &'a [u8], object: &mut Object<'_>) -> Option<&'a [u8]> {
    let words = usize::from(u8_at(data, 1)?);
    let (path, behind) = data.get(2..)?.split_at_checked(2 * words)?;
    let mut class = None;
    if !path.is_empty() {
        let mut list = object.list("path");
        let mut rest = path;
        for _ in 0..SEGMENTS_MAX {
            let Some((kind, value, after)) = segment(rest) else { break };
            rest = after;
            let mut segment = list.object();
            match names::segment(kind) {
                Some(name) => segment.text("segment_type", name),
                None => segment.display("segment_type", format_args!("unknown-{kind}")),
            };
            segment.number("value", value);
            if kind & 0xfc == 0x20 {
                class = Some(value);
            }
        }
    }
    if let Some(class) = class {
        match names::class(class) {
            Some(name) => object.text("class_name", name),
            None => object.display("class_name", format_args!("unknown-{class}")),
        };
    }
    Some(behind)
}

/// A logical segment: type, value, and what is behind it.
pub(super) fn segment(bytes: &[u8]) -> Option<(u8, u32, &[u8])> {
    let kind = u8_at(bytes, 0)?;
    match kind {
        0x20..=0x3f => match kind & 3 {
            0 => Some((kind, u8_at(bytes, 1)?.into(), bytes.get(2..)?)),
            1 => Some((kind, le16(bytes, 2)?.into(), bytes.get(4..)?)),
            2 => Some((kind, le32(bytes, 2)?, bytes.get(6..)?)),
            _ => None,
        },
        // A symbol: its length, its letters, padded to a word.
        0x91 => {
            let length = usize::from(u8_at(bytes, 1)?);
            Some((kind, length as u32, bytes.get(2 + length + length % 2..)?))
        }
        _ => None,
    }
}

/// What a device says it is.
pub(super) struct Identity<'a> {
    pub(super) version: u16,
    pub(super) vendor: u16,
    pub(super) device_type: u16,
    pub(super) product_code: u16,
    pub(super) revision: (u8, u8),
    pub(super) status: u16,
    pub(super) serial: u32,
    pub(super) product: &'a [u8],
    pub(super) state: u8,
}

/// The first identity of a list.
pub(super) fn identity<'a>(pdu: &Pdu<'a>) -> Option<Identity<'a>> {
    if pdu.command != LIST_IDENTITY {
        return None;
    }
    // Behind the count, the item's type and length; its socket address takes sixteen bytes.
    let item = pdu.data.get(6..)?;
    let name_bytes = usize::from(u8_at(item, 32)?);
    let product = item.get(33..33 + name_bytes)?;
    Some(Identity {
        version: le16(item, 0)?,
        vendor: le16(item, 18)?,
        device_type: le16(item, 20)?,
        product_code: le16(item, 22)?,
        revision: (u8_at(item, 24)?, u8_at(item, 25)?),
        status: le16(item, 26)?,
        serial: le32(item, 28)?,
        product,
        state: u8_at(item, 33 + name_bytes)?,
    })
}

impl Identity<'_> {
    fn write(&self, object: &mut Object<'_>) {
        object.number("protocol_version", self.version);
        object.display("revision", format_args!("{}.{}", self.revision.0, self.revision.1));
        match names::vendor(self.vendor) {
            Some(name) => object.text("vendor_id", name),
            None => object.display("vendor_id", format_args!("unknown-{}", self.vendor)),
        };
        match names::device_type(self.device_type) {
            Some(name) => object.text("device_type", name),
            None => object.display("device_type", format_args!("unknown-{}", self.device_type)),
        };
        object.number("product_code", self.product_code).number("status", self.status);
        object.number("serial", self.serial).bytes("product_name", self.product).number("state", self.state);
    }
}
