//! DCE/RPC over TCP and UDP (C706, MS-RPCE): endpoint mapper, DCOM, domain controllers, PROFINET's start-up.
//!
//! In: both directions of a stream, or datagrams. Out: the interfaces bound and the operations called, and
//! one event per call in EVE's form. Stubs are counted, not read. RPC over SMB's pipes is the SMB
//! dissector's, which shares `pdu` and `call`.

pub(super) mod call;
mod interfaces;
pub(super) mod pdu;
#[cfg(test)]
mod tests;

use super::buffers::{Buffer, Number, Stage};
use super::ntlm::{self, Logon};
use super::wire::{Cursor, uuid};
use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use call::{Bound, Call};
use pdu::{HEADER_BYTES, Pdu, kind_name};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most calls that wait for their answer; the oldest is told without one.
const CALLS_MAX: usize = 256;
/// What a server of RPC over HTTP says first.
const HTTP_BANNER: &[u8] = b"ncacn_http/1.0";

/// State of a DCE/RPC flow.
#[derive(Debug)]
pub(super) struct DceRpc {
    bound: Bound,
    waiting: VecDeque<(u64, Direction, Call)>,
    /// Calls over UDP that wait: their number, activity, sequence, operation, counts.
    datagrams: VecDeque<(u64, Direction, DatagramCall)>,
    transactions: u64,
    is_lost: [bool; 2],
}

/// A call over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DatagramCall {
    activity: [u8; 16],
    sequence: u32,
    operation: u16,
    request: Option<(u8, u16, u32)>,
    response: Option<(u8, u16, u32)>,
}

/// A connectionless PDU.
struct DatagramPdu {
    kind: u8,
    flags: u8,
    is_little_endian: bool,
    interface: [u8; 16],
    version: u16,
    activity: [u8; 16],
    sequence: u32,
    operation: u16,
    length: u16,
}

/// Bytes of a connectionless PDU's header.
const DATAGRAM_HEADER_BYTES: usize = 80;

impl DatagramPdu {
    /// Reads a header; `None` when the datagram is not a PDU.
    fn parse(bytes: &[u8]) -> Option<DatagramPdu> {
        let mut cursor = Cursor(bytes);
        let [4, kind @ 0..=10, flags, flags2] = cursor.array()? else { return None };
        let [representation, floats, 0, _] = cursor.array()? else { return None };
        let is_little_endian = representation & 0x10 != 0;
        let u16 = |cursor: &mut Cursor<'_>| if is_little_endian { cursor.le16() } else { cursor.be16() };
        let u32 = |cursor: &mut Cursor<'_>| if is_little_endian { cursor.le32() } else { cursor.be32() };
        cursor.skip(16)?;
        let (interface, activity) = (cursor.array()?, cursor.array()?);
        cursor.skip(4)?;
        // The low half is the major version.
        let version = u32(&mut cursor)? as u16;
        let (sequence, operation) = (u32(&mut cursor)?, u16(&mut cursor)?);
        cursor.skip(4)?;
        let length = u16(&mut cursor)?;
        cursor.skip(2)?;
        let auth = cursor.u8()?;
        cursor.skip(1)?;
        let fits = if auth == 0 {
            usize::from(length) == cursor.0.len()
        } else {
            usize::from(length) <= cursor.0.len()
        };
        let is_right = fits && representation & !0x10 == 0 && floats == 0 && flags2 & !3 == 0;
        is_right.then_some(DatagramPdu {
            kind,
            flags,
            is_little_endian,
            interface,
            version,
            activity,
            sequence,
            operation,
            length,
        })
    }
}

impl DatagramPdu {
    /// Tells one side the stub of this PDU; with its first also what is called, which every datagram names and no
    /// bind is needed for.
    fn put(&self, interface: &str, bytes: &[u8], side: (Direction, u64), context: &mut Context<'_>) {
        let Some(told) = context.side(side.0, side.1) else { return };
        if told.numbers_of(Number::DcerpcOpnum).next().is_none() {
            told.put_number(Number::DcerpcOpnum, u64::from(self.operation));
            told.put_number(Number::DcerpcLittleEndian, u64::from(self.is_little_endian));
            let value = call::told_interface(interface, self.version, true);
            context.put(side.0, side.1, Buffer::DcerpcIface, &value);
        }
        let end = DATAGRAM_HEADER_BYTES.saturating_add(usize::from(self.length));
        let stub = bytes.get(DATAGRAM_HEADER_BYTES..end).filter(|stub| !stub.is_empty());
        if context.wants(Buffer::DcerpcStubData)
            && let Some((stub, told)) = stub.zip(context.side(side.0, side.1))
        {
            told.grow(Buffer::DcerpcStubData, stub);
        }
    }
}

impl Dissector for DceRpc {
    const APP: App = App::DceRpc;

    const STARTS: Starts = Starts::stream(&[5, b'n']).or(Starts::datagram(&[4]));

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if first.is_datagram() {
            return match DatagramPdu::parse(bytes) {
                Some(pdu) if pdu.activity != [0; 16] => Probe::Certain,
                _ => Probe::NotForUs,
            };
        }
        if bytes.first() == Some(&b'n') {
            return match bytes.len() {
                0..14 if HTTP_BANNER.starts_with(bytes) => Probe::Unsure,
                14.. if bytes.starts_with(HTTP_BANNER) => Probe::Certain,
                _ => Probe::NotForUs,
            };
        }
        if bytes.len() < HEADER_BYTES {
            let is_begun = matches!(bytes, [_] | [_, 0..=1] | [_, 0..=1, 0..=20] | [_, 0..=1, 0..=20, ..]);
            let is_right = bytes.get(4).is_none_or(|byte| byte & !0x10 == 0)
                && bytes.get(5..8.min(bytes.len())).is_none_or(|zeros| zeros.iter().all(|byte| *byte == 0));
            return if is_begun && is_right { Probe::Unsure } else { Probe::NotForUs };
        }
        match Pdu::parse(bytes) {
            Some(_) => Probe::Certain,
            None => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        DceRpc {
            bound: Bound::default(),
            waiting: VecDeque::new(),
            datagrams: VecDeque::new(),
            transactions: 0,
            is_lost: [false; 2],
        }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            self.datagram(bytes, context);
            return Progress::Used(bytes.len());
        }
        let index = context.direction.index();
        if self.is_lost[index] {
            if Pdu::parse(bytes).is_none() {
                return Progress::Used(bytes.len());
            }
            self.is_lost[index] = false;
        }
        let mut rest = bytes;
        if rest.starts_with(&HTTP_BANNER[..1]) {
            match rest.strip_prefix(HTTP_BANNER) {
                Some(after) => rest = after,
                None => return Progress::Used(0),
            }
        }
        while rest.len() >= HEADER_BYTES {
            let Some(pdu) = Pdu::parse(rest) else {
                context.anomaly("malformed_data", None);
                self.is_lost[index] = true;
                return Progress::Used(bytes.len());
            };
            let Some((whole, after)) = rest.split_at_checked(usize::from(pdu.length)) else { break };
            context.frame(Buffer::FrameDcerpcPdu, None, whole);
            if let Some((head, data)) = whole.split_at_checked(HEADER_BYTES) {
                context.frame(Buffer::FrameDcerpcHdr, None, head);
                context.frame(Buffer::FrameDcerpcData, None, data);
            }
            self.pdu(&pdu, whole, context);
            rest = after;
        }
        Progress::Used(bytes.len() - rest.len())
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        while let Some((transaction, direction, call)) = self.waiting.pop_front() {
            self.tell(transaction, direction, &call, context);
        }
        while let Some((transaction, direction, call)) = self.datagrams.pop_front() {
            tell_datagram(transaction, direction, &call, context);
        }
    }

    fn describe(&self, _: Direction, transaction: u64, out: &mut Vec<u8>) {
        if let Some((.., call)) = self.waiting.iter().find(|(number, ..)| *number == transaction) {
            self.write(call, &mut Object::begin(out));
        } else if let Some((.., call)) = self.datagrams.iter().find(|(number, ..)| *number == transaction) {
            write_datagram(call, &mut Object::begin(out));
        }
    }
}

impl DceRpc {
    fn next_transaction(&mut self) -> u64 {
        self.transactions += 1;
        self.transactions - 1
    }

    fn pdu(&mut self, pdu: &Pdu, bytes: &[u8], context: &mut Context<'_>) {
        let is_readable = match pdu.kind {
            pdu::BIND | pdu::ALTER_CONTEXT => self.bound.ask(pdu, bytes, context.metadata),
            pdu::BIND_ACK | pdu::ALTER_CONTEXT_RESP => self.bound.results(pdu, bytes),
            _ => true,
        };
        if !is_readable {
            context.anomaly("malformed_data", None);
        }
        if pdu.kind == pdu::BIND {
            context.metadata.set_text(Field::Version, if pdu.minor == 0 { "5.0" } else { "5.1" });
        }
        if matches!(pdu.kind, pdu::BIND | pdu::ALTER_CONTEXT | pdu::AUTH3) {
            Logon::parse(bytes).learn(context.metadata);
        }
        if matches!(pdu.kind, pdu::BIND_ACK | pdu::ALTER_CONTEXT_RESP) {
            ntlm::learn_challenge(bytes, context.metadata);
        }
        // The third part of a bind's authentication: EVE has no event of it.
        if pdu.kind == pdu::AUTH3 {
            return;
        }
        let at = self.waiting.iter().position(|(_, _, call)| call.id == pdu.call);
        if pdu.is_request() {
            if pdu.kind == pdu::REQUEST
                && !pdu.is_first()
                && let Some((transaction, direction, call)) = at.and_then(|at| self.waiting.get_mut(at))
                && call.request_goes_on(pdu)
            {
                put_request(pdu, bytes, (*direction, *transaction), context);
                return;
            }
            let call = Call::begin(pdu, bytes);
            call.learn(&self.bound, context.metadata);
            let transaction = self.next_transaction();
            call.put(&self.bound, context.direction, transaction, context);
            put_request(pdu, bytes, (context.direction, transaction), context);
            if call.is_one_way() {
                self.tell(transaction, context.direction, &call, context);
                return;
            }
            if self.waiting.len() >= CALLS_MAX
                && let Some((transaction, direction, call)) = self.waiting.pop_front()
            {
                self.tell(transaction, direction, &call, context);
            }
            self.waiting.push_back((transaction, context.direction, call));
            return;
        }
        let Some((transaction, direction, mut call)) = at.and_then(|at| self.waiting.remove(at)) else {
            // The request was not seen.
            let call = Call::begin(pdu, bytes);
            let transaction = self.next_transaction();
            call::put_stub(pdu, bytes, false, (context.direction, transaction), context);
            if pdu.kind == pdu::RESPONSE && !pdu.is_last() {
                self.waiting.push_back((transaction, context.direction.flip(), call));
            } else {
                self.tell(transaction, context.direction.flip(), &call, context);
            }
            return;
        };
        call::put_stub(pdu, bytes, false, (direction.flip(), transaction), context);
        if call.answer(pdu) {
            self.tell(transaction, direction, &call, context);
        } else {
            self.waiting.insert(at.unwrap_or(0).min(self.waiting.len()), (transaction, direction, call));
        }
    }

    fn tell(&self, transaction: u64, direction: Direction, call: &Call, context: &mut Context<'_>) {
        call.put(&self.bound, direction.flip(), transaction, context);
        end_sides(direction, transaction, context);
        context.tell(direction, Some(transaction), |object| self.write(call, object));
    }

    fn write(&self, call: &Call, object: &mut Object<'_>) {
        call.write(&self.bound, false, object);
        object.display("rpc_version", format_args!("5.{}", call.minor));
    }

    fn datagram(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let Some(pdu) = DatagramPdu::parse(bytes) else {
            context.anomaly("malformed_data", None);
            return;
        };
        context.metadata.set_text(Field::Version, "4.0");
        let interface = uuid(&pdu.interface, pdu.is_little_endian);
        context.metadata.add(Field::DceRpcInterface, interfaces::service(&interface).unwrap_or(&interface));
        if pdu.kind == pdu::REQUEST
            && let Some(name) = interfaces::procedure(&interface, pdu.operation)
        {
            context.metadata.add(Field::Command, name);
        }
        let is_same = |call: &DatagramCall| call.activity == pdu.activity && call.sequence == pdu.sequence;
        let at = self.datagrams.iter().position(|(_, _, call)| is_same(call));
        // Bits of the first flags: last fragment, fragment.
        let is_last = pdu.flags & 4 == 0 || pdu.flags & 2 != 0;
        let part = (pdu.kind, 1, u32::from(pdu.length));
        let (transaction, direction, mut call) = match at.and_then(|at| self.datagrams.remove(at)) {
            Some(waiting) => waiting,
            None => {
                let is_request = pdu.kind == pdu::REQUEST;
                let direction = if is_request { context.direction } else { context.direction.flip() };
                let call = DatagramCall {
                    activity: pdu.activity,
                    sequence: pdu.sequence,
                    operation: pdu.operation,
                    request: None,
                    response: None,
                };
                (self.next_transaction(), direction, call)
            }
        };
        let is_over = match pdu.kind {
            pdu::REQUEST => {
                add(&mut call.request, part);
                pdu.put(&interface, bytes, (direction, transaction), context);
                if is_last {
                    context.reached(direction, transaction, Stage::Body);
                }
                false
            }
            pdu::RESPONSE => {
                add(&mut call.response, part);
                pdu.put(&interface, bytes, (direction.flip(), transaction), context);
                is_last
            }
            pdu::FAULT | 6 => {
                call.response = Some(part);
                true
            }
            _ => false,
        };
        if is_over {
            tell_datagram(transaction, direction, &call, context);
            return;
        }
        if call.request.is_none() && call.response.is_none() {
            // Pings and acknowledgements of calls not seen.
            return;
        }
        if self.datagrams.len() >= CALLS_MAX
            && let Some((transaction, direction, call)) = self.datagrams.pop_front()
        {
            tell_datagram(transaction, direction, &call, context);
        }
        self.datagrams.push_back((transaction, direction, call));
    }
}

fn add(to: &mut Option<(u8, u16, u32)>, (kind, fragments, bytes): (u8, u16, u32)) {
    let (_, have, sum) = to.unwrap_or((kind, 0, 0));
    *to = Some((kind, have.saturating_add(fragments), sum.saturating_add(bytes)));
}

/// A PDU of a request: its stub, and that the request is over with its last fragment.
fn put_request(pdu: &Pdu, bytes: &[u8], side: (Direction, u64), context: &mut Context<'_>) {
    call::put_stub(pdu, bytes, false, side, context);
    if pdu.kind != pdu::REQUEST || pdu.is_last() {
        context.reached(side.0, side.1, Stage::Body);
    }
}

/// Nothing more will come of a call.
fn end_sides(direction: Direction, transaction: u64, context: &mut Context<'_>) {
    context.reached(direction, transaction, Stage::Body);
    context.reached(direction.flip(), transaction, Stage::Body);
}

fn tell_datagram(transaction: u64, direction: Direction, call: &DatagramCall, context: &mut Context<'_>) {
    end_sides(direction, transaction, context);
    context.tell(direction, Some(transaction), |object| write_datagram(call, object));
}

fn write_datagram(call: &DatagramCall, object: &mut Object<'_>) {
    object.text("request", call.request.map_or("REQUEST_LOST", |(kind, ..)| kind_name(kind)));
    if let Some((_, fragments, bytes)) = call.request {
        let mut request = object.object("req");
        request.number("opnum", call.operation).number("frag_cnt", fragments).number("stub_data_size", bytes);
    }
    object.text("response", call.response.map_or("UNREPLIED", |(kind, ..)| kind_name(kind)));
    if let Some((_, fragments, bytes)) = call.response.filter(|(kind, ..)| *kind == pdu::RESPONSE) {
        object.object("res").number("frag_cnt", fragments).number("stub_data_size", bytes);
    }
    // As EVE has it, whatever the byte order.
    object.text("activityuuid", &uuid(&call.activity, true));
    object.number("seqnum", call.sequence).text("rpc_version", "4.0");
}
