//! A call and its answer, as DCE/RPC over TCP and over SMB's pipes tell it.
//!
//! In: PDUs of both directions. Out: members of an EVE object. Holds the interfaces of a connection, at
//! most [`INTERFACES_MAX`], and of a call nothing but counts.

use super::interfaces::{procedure, service};
use super::pdu::{self, CALL_HEADER_BYTES, HEADER_BYTES, Interface, Pdu, kind_name};
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Number};
use weir_common::json::Object;
use weir_common::metadata::{Field, Metadata};
use weir_common::net::Direction;

/// Most interfaces remembered of one connection; the oldest makes room.
const INTERFACES_MAX: usize = 64;

/// What one direction of a call carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dpi) struct Part {
    pub(in crate::dpi) kind: u8,
    pub(in crate::dpi) fragments: u16,
    pub(in crate::dpi) stub_bytes: u32,
}

impl Part {
    fn of(pdu: &Pdu) -> Part {
        let is_call = matches!(pdu.kind, pdu::REQUEST | pdu::RESPONSE);
        Part {
            kind: pdu.kind,
            fragments: u16::from(is_call),
            stub_bytes: if is_call { pdu.stub_bytes() } else { 0 },
        }
    }

    fn add(&mut self, pdu: &Pdu) {
        self.fragments = self.fragments.saturating_add(1);
        self.stub_bytes = self.stub_bytes.saturating_add(pdu.stub_bytes());
    }
}

/// A call, its request or its response perhaps not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dpi) struct Call {
    pub(in crate::dpi) id: u32,
    pub(in crate::dpi) minor: u8,
    context: u16,
    operation: u16,
    request: Option<Part>,
    response: Option<Part>,
}

impl Call {
    /// A call that begins with this PDU.
    pub(in crate::dpi) fn begin(pdu: &Pdu, bytes: &[u8]) -> Call {
        let part = Some(Part::of(pdu));
        let (context, operation) = match pdu.kind {
            pdu::REQUEST => pdu.call(bytes).unwrap_or_default(),
            _ => (0, 0),
        };
        let (request, response) = if pdu.is_request() { (part, None) } else { (None, part) };
        Call { id: pdu.call, minor: pdu.minor, context, operation, request, response }
    }

    /// A further fragment of the request; false: it has none.
    pub(in crate::dpi) fn request_goes_on(&mut self, pdu: &Pdu) -> bool {
        self.request.as_mut().map(|request| request.add(pdu)).is_some()
    }

    /// A PDU of the response; returns whether the call is over.
    pub(in crate::dpi) fn answer(&mut self, pdu: &Pdu) -> bool {
        match &mut self.response {
            Some(response) => response.add(pdu),
            None => self.response = Some(Part::of(pdu)),
        }
        pdu.kind != pdu::RESPONSE || pdu.is_last()
    }

    /// Whether nothing answers it.
    pub(in crate::dpi) fn is_one_way(&self) -> bool {
        self.request
            .is_some_and(|request| !matches!(request.kind, pdu::REQUEST | pdu::BIND | pdu::ALTER_CONTEXT))
    }

    /// Writes the members. SMB has the operation beside the request's counts, plain DCE/RPC within them.
    pub(in crate::dpi) fn write(&self, bound: &Bound, is_in_smb: bool, object: &mut Object<'_>) {
        object.text("request", self.request.map_or("REQUEST_LOST", |part| kind_name(part.kind)));
        if is_in_smb {
            object.text("response", self.response.map_or("UNREPLIED", |part| kind_name(part.kind)));
        }
        match self.request {
            Some(part) if part.kind == pdu::REQUEST => {
                if is_in_smb {
                    object.number("opnum", self.operation);
                }
                {
                    let mut request = object.object("req");
                    if !is_in_smb {
                        request.number("opnum", self.operation);
                    }
                    request.number("frag_cnt", part.fragments).number("stub_data_size", part.stub_bytes);
                }
                let is_meant = |interface: &Interface| interface.context == self.context;
                bound.write(object, is_meant, Some(self.operation), false);
            }
            Some(part) if matches!(part.kind, pdu::BIND) => {
                bound.write(object, |interface| interface.call == self.id, None, is_in_smb);
            }
            _ => {}
        }
        if !is_in_smb {
            object.text("response", self.response.map_or("UNREPLIED", |part| kind_name(part.kind)));
        }
        if let Some(part) = self.response.filter(|part| part.kind == pdu::RESPONSE) {
            let mut response = object.object("res");
            // Outside of SMB, EVE counts what stands before the stub.
            const HEADER_BYTES: u32 = 8;
            let header = if is_in_smb { 0 } else { HEADER_BYTES * u32::from(part.fragments) };
            let bytes = part.stub_bytes.saturating_add(header);
            response.number("frag_cnt", part.fragments).number("stub_data_size", bytes);
        }
        object.number("call_id", self.id);
    }

    /// Tells one side of a call what signatures ask of both: its operation, and the interfaces accepted for it.
    pub(in crate::dpi) fn put(
        &self,
        bound: &Bound,
        direction: Direction,
        transaction: u64,
        context: &mut Context<'_>,
    ) {
        if self.request.is_none_or(|request| request.kind != pdu::REQUEST) {
            return;
        }
        context.put_number(direction, transaction, Number::DcerpcOpnum, u64::from(self.operation));
        if context.wants(Buffer::DcerpcIface) {
            for interface in &bound.0 {
                if interface.context == self.context && matches!(interface.result, Some((0, _))) {
                    let value = told_interface(&interface.uuid, interface.version.0, interface.is_first);
                    context.put(direction, transaction, Buffer::DcerpcIface, &value);
                }
            }
        }
    }

    /// Adds what was called to the flow's metadata.
    pub(in crate::dpi) fn learn(&self, bound: &Bound, metadata: &mut Metadata) {
        let Some(request) = self.request.filter(|request| request.kind == pdu::REQUEST) else { return };
        debug_assert_eq!(request.kind, pdu::REQUEST);
        let Some(interface) = bound.of(self.context) else { return };
        match procedure(&interface.uuid, self.operation) {
            Some(name) => metadata.add(Field::Command, name),
            None => {
                let name = service(&interface.uuid).unwrap_or(&interface.uuid);
                metadata.add(Field::Command, &format!("{name}:{}", self.operation));
            }
        }
    }
}

/// An interface as signatures are told of it ([`Buffer::DcerpcIface`]).
pub(super) fn told_interface(uuid: &str, version: u16, is_first: bool) -> Vec<u8> {
    [uuid.as_bytes(), &version.to_be_bytes(), &[u8::from(is_first)]].concat()
}

/// Tells a side the stub of a PDU, which grows with the call's fragments. Outside of SMB, Suricata's stub of a
/// response begins right behind the header that every PDU has.
pub(in crate::dpi) fn put_stub(
    pdu: &Pdu,
    bytes: &[u8],
    is_in_smb: bool,
    (direction, transaction): (Direction, u64),
    context: &mut Context<'_>,
) {
    let at = match pdu.kind {
        pdu::RESPONSE if !is_in_smb => HEADER_BYTES,
        pdu::REQUEST | pdu::RESPONSE => CALL_HEADER_BYTES,
        _ => return,
    };
    if !context.wants(Buffer::DcerpcStubData) {
        return;
    }
    let stub = bytes.get(at..).filter(|stub| !stub.is_empty());
    if let Some((stub, side)) = stub.zip(context.side(direction, transaction)) {
        side.grow(Buffer::DcerpcStubData, stub);
        if side.numbers_of(Number::DcerpcLittleEndian).next().is_none() {
            side.put_number(Number::DcerpcLittleEndian, u64::from(pdu.is_little_endian));
        }
    }
}

/// The interfaces of a connection.
#[derive(Debug, Default)]
pub(in crate::dpi) struct Bound(Vec<Interface>);

impl Bound {
    /// A bind or an alteration asks for interfaces; false: it cannot be read.
    pub(in crate::dpi) fn ask(&mut self, pdu: &Pdu, bytes: &[u8], metadata: &mut Metadata) -> bool {
        let Some(interfaces) = pdu.interfaces(bytes) else { return false };
        for interface in &interfaces {
            metadata.add(Field::DceRpcInterface, service(&interface.uuid).unwrap_or(&interface.uuid));
        }
        self.0.retain(|old| interfaces.iter().all(|new| new.context != old.context));
        self.0.extend(interfaces);
        let surplus = self.0.len().saturating_sub(INTERFACES_MAX);
        self.0.drain(..surplus);
        true
    }

    /// The server says what it accepts; false: that cannot be read.
    pub(in crate::dpi) fn results(&mut self, pdu: &Pdu, bytes: &[u8]) -> bool {
        let Some(results) = pdu.results(bytes) else { return false };
        // An alteration may have the number of the bind before it, whose interfaces have their results.
        let is_asked = |interface: &&mut Interface| interface.call == pdu.call && interface.result.is_none();
        let asked = self.0.iter_mut().filter(is_asked);
        for (interface, result) in asked.zip(results) {
            interface.result = Some(result);
        }
        true
    }

    fn of(&self, context: u16) -> Option<&Interface> {
        self.0.iter().find(|interface| interface.context == context)
    }

    fn write(
        &self,
        object: &mut Object<'_>,
        is_meant: impl Fn(&Interface) -> bool,
        operation: Option<u16>,
        has_reason: bool,
    ) {
        if !self.0.iter().any(&is_meant) {
            return;
        }
        let mut list = object.list("interfaces");
        for interface in self.0.iter().filter(|interface| is_meant(interface)) {
            let mut item = list.object();
            let (major, minor) = interface.version;
            item.text("uuid", &interface.uuid).display("version", format_args!("{major}.{minor}"));
            if let Some((result, reason)) = interface.result {
                item.number("ack_result", result);
                if has_reason {
                    item.number("ack_reason", reason);
                }
            }
            item.text_if("service", service(&interface.uuid));
            item.text_if("procedure", operation.and_then(|operation| procedure(&interface.uuid, operation)));
        }
    }
}
