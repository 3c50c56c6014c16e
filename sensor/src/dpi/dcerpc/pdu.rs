//! PDUs of DCE/RPC 5 over connections (C706 chapter 12, MS-RPCE): also what SMB's named pipes carry.
//!
//! In: the bytes of one PDU. Out: views of its header, of the interfaces it binds, of the results.

use crate::dpi::wire::{Cursor, uuid};

/// Bytes of the header that every PDU has.
pub(in crate::dpi) const HEADER_BYTES: usize = 16;
/// Bytes of a request's or response's headers, behind which its stub begins.
pub(super) const CALL_HEADER_BYTES: usize = 24;
/// Most interfaces read from one bind.
const INTERFACES_MAX: usize = 32;

pub(in crate::dpi) const REQUEST: u8 = 0;
pub(in crate::dpi) const RESPONSE: u8 = 2;
pub(in crate::dpi) const FAULT: u8 = 3;
pub(in crate::dpi) const BIND: u8 = 11;
pub(in crate::dpi) const BIND_ACK: u8 = 12;
pub(in crate::dpi) const BIND_NAK: u8 = 13;
pub(in crate::dpi) const ALTER_CONTEXT: u8 = 14;
pub(in crate::dpi) const ALTER_CONTEXT_RESP: u8 = 15;
pub(in crate::dpi) const AUTH3: u8 = 16;
const RTS: u8 = 20;

/// The name EVE gives a kind of PDU.
pub(in crate::dpi) fn kind_name(kind: u8) -> &'static str {
    match kind {
        REQUEST => "REQUEST",
        1 => "PING",
        RESPONSE => "RESPONSE",
        FAULT => "FAULT",
        4 => "WORKING",
        5 => "NOCALL",
        6 => "REJECT",
        7 => "ACK",
        8 => "CL_CANCEL",
        9 => "FACK",
        10 => "CANCEL_ACK",
        BIND => "BIND",
        BIND_ACK => "BINDACK",
        BIND_NAK => "BINDNAK",
        ALTER_CONTEXT => "ALTER_CONTEXT",
        ALTER_CONTEXT_RESP => "ALTER_CONTEXT_RESP",
        AUTH3 => "AUTH3",
        17 => "SHUTDOWN",
        18 => "CO_CANCEL",
        19 => "ORPHANED",
        RTS => "RTS",
        _ => "UNKNOWN",
    }
}

/// A PDU's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dpi) struct Pdu {
    pub(in crate::dpi) minor: u8,
    pub(in crate::dpi) kind: u8,
    flags: u8,
    pub(in crate::dpi) is_little_endian: bool,
    /// Bytes of the whole PDU.
    pub(in crate::dpi) length: u16,
    pub(in crate::dpi) call: u32,
}

impl Pdu {
    /// Reads a header; `None` when these are not the first bytes of a PDU.
    pub(in crate::dpi) fn parse(bytes: &[u8]) -> Option<Pdu> {
        let mut cursor = Cursor(bytes);
        let [5, minor @ 0..=1, kind, flags] = cursor.array()? else { return None };
        let [representation, floats, 0, 0] = cursor.array()? else { return None };
        let is_little_endian = representation & 0x10 != 0;
        let (mut length, mut auth) = (cursor.le16()?, cursor.le16()?);
        let mut call = cursor.le32()?;
        if !is_little_endian {
            (length, auth, call) = (length.swap_bytes(), auth.swap_bytes(), call.swap_bytes());
        }
        let least = match kind {
            REQUEST | RESPONSE | FAULT => CALL_HEADER_BYTES,
            BIND | BIND_ACK | ALTER_CONTEXT | ALTER_CONTEXT_RESP => CALL_HEADER_BYTES + 4,
            _ => HEADER_BYTES,
        };
        // Characters are ASCII's, numbers with a fraction IEEE's: nobody has seen others.
        let is_right = kind <= RTS
            && !matches!(kind, 1 | 4..=9)
            && representation & !0x10 == 0
            && floats == 0
            && usize::from(length) >= least + usize::from(auth);
        is_right.then_some(Pdu { minor, kind, flags, is_little_endian, length, call })
    }

    /// Whether it is the first fragment of its call.
    pub(in crate::dpi) fn is_first(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether it is the last fragment of its call.
    pub(in crate::dpi) fn is_last(&self) -> bool {
        self.flags & 2 != 0
    }

    /// Whether a client sends it.
    pub(in crate::dpi) fn is_request(&self) -> bool {
        matches!(self.kind, REQUEST | BIND | ALTER_CONTEXT | AUTH3 | 10 | 18 | 19)
    }

    /// Bytes of the stub that it carries, verification included.
    pub(in crate::dpi) fn stub_bytes(&self) -> u32 {
        u32::from(self.length).saturating_sub(CALL_HEADER_BYTES as u32)
    }

    fn u16(&self, cursor: &mut Cursor<'_>) -> Option<u16> {
        if self.is_little_endian { cursor.le16() } else { cursor.be16() }
    }

    /// Context and operation number of a request.
    pub(in crate::dpi) fn call(&self, bytes: &[u8]) -> Option<(u16, u16)> {
        let mut cursor = Cursor(bytes.get(HEADER_BYTES + 4..)?);
        Some((self.u16(&mut cursor)?, self.u16(&mut cursor)?))
    }

    /// The interfaces that a bind asks for.
    pub(in crate::dpi) fn interfaces(&self, bytes: &[u8]) -> Option<Vec<Interface>> {
        let mut cursor = Cursor(bytes.get(HEADER_BYTES + 8..)?);
        let count = usize::from(cursor.u8()?);
        cursor.skip(3)?;
        let mut interfaces = Vec::new();
        for _ in 0..count.min(INTERFACES_MAX) {
            let context = self.u16(&mut cursor)?;
            let syntaxes = usize::from(cursor.u8()?);
            cursor.skip(1)?;
            let uuid = uuid(&cursor.array()?, self.is_little_endian);
            let version = (self.u16(&mut cursor)?, self.u16(&mut cursor)?);
            cursor.skip(20 * syntaxes)?;
            interfaces.push(Interface {
                call: self.call,
                context,
                uuid,
                version,
                is_first: self.is_first(),
                result: None,
            });
        }
        Some(interfaces)
    }

    /// The results of a bind, in the order of its interfaces, each with its reason.
    pub(in crate::dpi) fn results(&self, bytes: &[u8]) -> Option<Vec<(u16, u16)>> {
        let mut cursor = Cursor(bytes.get(HEADER_BYTES + 8..)?);
        let address = usize::from(self.u16(&mut cursor)?);
        // What follows is aligned to four bytes of the PDU.
        cursor.skip(address + (2usize.wrapping_sub(address) & 3))?;
        let count = usize::from(cursor.u8()?);
        cursor.skip(3)?;
        let mut results = Vec::new();
        for _ in 0..count.min(INTERFACES_MAX) {
            results.push((self.u16(&mut cursor)?, self.u16(&mut cursor)?));
            cursor.skip(20)?;
        }
        Some(results)
    }
}

/// An interface that was bound, or asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dpi) struct Interface {
    /// The bind's call.
    pub(in crate::dpi) call: u32,
    pub(in crate::dpi) context: u16,
    pub(in crate::dpi) uuid: String,
    pub(in crate::dpi) version: (u16, u16),
    /// Whether it was in its bind's first fragment.
    pub(in crate::dpi) is_first: bool,
    /// Result and reason, once the server has said.
    pub(in crate::dpi) result: Option<(u16, u16)>,
}
