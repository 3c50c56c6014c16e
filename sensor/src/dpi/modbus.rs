//! Modbus over TCP (MODBUS Messaging on TCP/IP Implementation Guide 1.0b, MODBUS Application Protocol 1.1b3).
//!
//! In: both directions of a stream. Out: the functions called and the exceptions returned, and one event per
//! request with its response. A request waits for its response among at most [`WAITING_MAX`] others. What
//! registers and coils mean is unknown to the protocol and to this file.

use crate::dpi::buffers::{Buffer, Number, Stage};
use crate::dpi::bytes::{be16, escaped, u8_at};
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of the header: transaction, protocol, length.
const HEADER_BYTES: usize = 6;
/// Most bytes behind the length field: a unit and a PDU of 253 bytes.
const LENGTH_MAX: usize = 254;
/// Most requests that wait for their response; the oldest is told without one.
const WAITING_MAX: usize = 64;
/// The port of Modbus.
const PORT: u16 = 502;

const READ: u8 = 1;
const WRITE: u8 = 2;
const DISCRETES: u8 = 4;
const COILS: u8 = 8;
const INPUT: u8 = 16;
const HOLDING: u8 = 32;
const SINGLE: u8 = 64;
const MULTIPLE: u8 = 128;
const ACCESS_NAMES: [&str; 8] =
    ["READ", "WRITE", "DISCRETES", "COILS", "INPUT", "HOLDING", "SINGLE", "MULTIPLE"];

const DATA_VALUE: u8 = 1;
const DATA_LENGTH: u8 = 2;
const EXC_CODE: u8 = 4;
const ERROR_NAMES: [&str; 3] = ["DATA_VALUE", "DATA_LENGTH", "EXC_CODE"];

/// The dissector of one Modbus connection.
#[derive(Debug)]
pub(super) struct Modbus {
    /// Requests whose response is awaited, oldest first.
    waiting: VecDeque<Waiting>,
    transactions: u64,
    /// By direction: where messages begin is not known.
    is_lost: [bool; 2],
}

/// A request that waits.
#[derive(Debug)]
struct Waiting {
    transaction: u64,
    id: u16,
    function: u8,
    /// The quantity that was asked for, where it was.
    quantity: Option<u16>,
    /// The message, where somebody listens.
    message: Box<[u8]>,
}

impl Dissector for Modbus {
    const APP: App = App::Modbus;

    const STARTS: Starts = Starts::STREAM;

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if be16(bytes, 2).is_some_and(|protocol| protocol != 0)
            || u8_at(bytes, 4).is_some_and(|high| high != 0)
        {
            return Probe::NotForUs;
        }
        let (Some(length), Some(_), Some(function)) = (be16(bytes, 4), u8_at(bytes, 6), u8_at(bytes, 7))
        else {
            return Probe::Unsure;
        };
        let length = usize::from(length);
        if !(2..=LENGTH_MAX).contains(&length) || function_name(function & 0x7f) == "Unknown" {
            return Probe::NotForUs;
        }
        let Some(message) = bytes.get(..HEADER_BYTES + length) else { return Probe::Unsure };
        if !may_be(message) {
            return Probe::NotForUs;
        }
        // Further messages behind the first must be of the same form.
        let behind = bytes.get(message.len()..).unwrap_or_default();
        let is_strict = matches!(function & 0x7f, 1..=6 | 15 | 16 | 22 | 23);
        match (be16(behind, 2), first.has_port(PORT)) {
            (Some(0), true) | (None, true) => Probe::Certain,
            _ if !is_strict => Probe::NotForUs,
            (Some(0), false) => Probe::Certain,
            (None, false) if message.len() >= 12 || first.other.head().get(2..5) == Some(&[0, 0, 0]) => {
                Probe::Likely
            }
            // A message this short may be anything; what follows it decides.
            (None, false) => Probe::Unsure,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Modbus { waiting: VecDeque::new(), transactions: 0, is_lost: [false; 2] }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        if std::mem::take(&mut self.is_lost[index]) {
            let is_start = be16(bytes, 2) == Some(0)
                && be16(bytes, 4).is_some_and(|length| (2..=LENGTH_MAX).contains(&usize::from(length)));
            if !is_start {
                self.is_lost[index] = true;
                return Progress::Used(bytes.len());
            }
        }
        let mut rest = bytes;
        while let Some(length) = be16(rest, 4) {
            let length = usize::from(length);
            if !(2..=LENGTH_MAX).contains(&length) {
                context.anomaly("invalid_length", None);
                self.is_lost[index] = true;
                return Progress::Used(bytes.len());
            }
            let Some((message, after)) = rest.split_at_checked(HEADER_BYTES + length) else { break };
            context.frame(Buffer::FrameModbusPdu, None, message);
            self.message(message, context);
            rest = after;
        }
        Progress::Used(bytes.len() - rest.len())
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for waiting in std::mem::take(&mut self.waiting) {
            tell(Some(&waiting), None, waiting.transaction, context);
        }
    }

    fn describe(&self, _: Direction, transaction: u64, out: &mut Vec<u8>) {
        if let Some(waiting) = self.waiting.iter().find(|waiting| waiting.transaction == transaction) {
            write_both(Some(waiting), None, transaction, &mut Object::begin(out));
        }
    }
}

impl Modbus {
    fn message(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let (Some(id), Some(function)) = (be16(bytes, 0), u8_at(bytes, 7)) else { return };
        context.metadata.add(Field::Command, function_name(function & 0x7f));
        let is_request = context.direction == Direction::Forward;
        if is_request {
            let transaction = self.transactions;
            self.transactions += 1;
            let message = Message::read(bytes, true);
            message.note_errors(transaction, context);
            if context.wanted.is_some() {
                message.put(transaction, context);
            }
            let kept = if context.events.is_some() { bytes } else { &[] };
            let quantity = message.quantity();
            self.waiting.push_back(Waiting { transaction, id, function, quantity, message: kept.into() });
            if self.waiting.len() > WAITING_MAX
                && let Some(oldest) = self.waiting.pop_front()
            {
                context.anomaly("flooded", Some(oldest.transaction));
                tell(Some(&oldest), None, oldest.transaction, context);
            }
            return;
        }
        let message = Message::read(bytes, false);
        if let Data::Exception(code) = message.data {
            context.metadata.add(Field::Status, exception_name(code));
        }
        let found = self.waiting.iter().position(|have| have.id == id && have.function == function & 0x7f);
        let request = found.and_then(|at| self.waiting.remove(at));
        let transaction = request.as_ref().map_or(self.transactions, |request| request.transaction);
        if request.is_none() {
            self.transactions += 1;
            context.anomaly("unsolicited_response", Some(transaction));
        }
        message.note_errors(transaction, context);
        if let (Some(quantity), Data::ReadResponse(data)) =
            (request.as_ref().and_then(|request| request.quantity), &message.data)
        {
            let is_bits = message.access() & (COILS | DISCRETES) != 0;
            let expected =
                if is_bits { usize::from(quantity).div_ceil(8) } else { 2 * usize::from(quantity) };
            if data.len() != expected {
                context.anomaly("value_mismatch", Some(transaction));
            }
        }
        tell(request.as_ref(), Some(&message), transaction, context);
    }
}

/// Writes the event of a request, a response, or both.
fn tell(
    request: Option<&Waiting>,
    response: Option<&Message<'_>>,
    transaction: u64,
    context: &mut Context<'_>,
) {
    context.reached(Direction::Forward, transaction, Stage::Body);
    context.reached(Direction::Reverse, transaction, Stage::Body);
    // The event is the request's, who sends it.
    context.tell(Direction::Forward, Some(transaction), |object| {
        write_both(request, response, transaction, object);
    });
}

fn write_both(
    request: Option<&Waiting>,
    response: Option<&Message<'_>>,
    transaction: u64,
    object: &mut Object<'_>,
) {
    object.number("id", transaction + 1);
    if let Some(request) = request {
        Message::read(&request.message, true).write(&mut object.object("request"));
    }
    if let Some(response) = response {
        response.write(&mut object.object("response"));
    }
}

/// What a PDU says.
#[derive(Debug, PartialEq, Eq)]
enum Data<'a> {
    Exception(u8),
    Diagnostic(u16, &'a [u8]),
    Mei(u8, &'a [u8]),
    ReadRequest(u16, u16),
    ReadResponse(&'a [u8]),
    WriteMultiple(u16, u16, &'a [u8]),
    Mask(u16, u16, u16),
    WriteOther(u16, u16),
    ReadWrite([u16; 2], u16, u16, &'a [u8]),
    Bytes(&'a [u8]),
    Empty,
}

/// A message with its header.
#[derive(Debug)]
struct Message<'a> {
    bytes: &'a [u8],
    errors: u8,
    data: Data<'a>,
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8], is_request: bool) -> Message<'a> {
        let mut message = Message { bytes, errors: 0, data: Data::Empty };
        let pdu = bytes.get(8..).unwrap_or_default();
        let read = if is_request { message.read_request(pdu) } else { message.read_response(pdu) };
        match read {
            Some(data) => message.data = data,
            None => message.errors |= DATA_LENGTH,
        }
        message
    }

    fn function(&self) -> u8 {
        u8_at(self.bytes, 7).unwrap_or(0)
    }

    fn access(&self) -> u8 {
        access(self.function() & 0x7f)
    }

    fn quantity(&self) -> Option<u16> {
        match self.data {
            Data::ReadRequest(_, quantity) | Data::ReadWrite([_, quantity], ..) => Some(quantity),
            _ => None,
        }
    }

    fn expect_length(&mut self, pdu: &[u8], bytes: usize) {
        if pdu.len() != bytes {
            self.errors |= DATA_LENGTH;
        }
    }

    fn expect_value(&mut self, is_right: bool) {
        if !is_right {
            self.errors |= DATA_VALUE;
        }
    }

    fn is_quantity(access: u8, quantity: u16) -> bool {
        let most = if access & (COILS | DISCRETES) != 0 { 2000 } else { 125 };
        (1..=most).contains(&quantity)
    }

    fn read_request(&mut self, pdu: &'a [u8]) -> Option<Data<'a>> {
        let access = self.access();
        match self.function() {
            8 => {
                self.expect_length(pdu, 4);
                Some(Data::Diagnostic(be16(pdu, 0)?, pdu.get(2..)?))
            }
            0x2b => Some(Data::Mei(u8_at(pdu, 0)?, pdu.get(1..)?)),
            7 | 11 | 12 | 17 => {
                self.expect_length(pdu, 0);
                Some(Data::Bytes(pdu))
            }
            24 => {
                self.expect_length(pdu, 2);
                Some(Data::Bytes(pdu))
            }
            23 => {
                let read = [be16(pdu, 0)?, be16(pdu, 2)?];
                let (address, quantity) = (be16(pdu, 4)?, be16(pdu, 6)?);
                let data = pdu.get(9..)?;
                self.expect_value(Self::is_quantity(access, read[1]) && Self::is_quantity(access, quantity));
                self.expect_value(u8_at(pdu, 8).map(usize::from) == Some(data.len()));
                self.expect_value(data.len() == 2 * usize::from(quantity));
                Some(Data::ReadWrite(read, address, quantity, data))
            }
            22 => {
                self.expect_length(pdu, 6);
                Some(Data::Mask(be16(pdu, 0)?, be16(pdu, 2)?, be16(pdu, 4)?))
            }
            _ if access & READ != 0 => {
                self.expect_length(pdu, 4);
                let (address, quantity) = (be16(pdu, 0)?, be16(pdu, 2)?);
                self.expect_value(Self::is_quantity(access, quantity));
                Some(Data::ReadRequest(address, quantity))
            }
            _ if access & MULTIPLE != 0 => {
                let (address, quantity, data) = (be16(pdu, 0)?, be16(pdu, 2)?, pdu.get(5..)?);
                let bytes = if access & COILS != 0 {
                    usize::from(quantity).div_ceil(8)
                } else {
                    2 * usize::from(quantity)
                };
                self.expect_value(Self::is_quantity(access, quantity) && data.len() == bytes);
                self.expect_value(u8_at(pdu, 4).map(usize::from) == Some(data.len()));
                Some(Data::WriteMultiple(address, quantity, data))
            }
            _ if access & SINGLE != 0 => self.read_single(pdu, access),
            _ => Some(Data::Bytes(pdu)),
        }
    }

    fn read_single(&mut self, pdu: &'a [u8], access: u8) -> Option<Data<'a>> {
        self.expect_length(pdu, 4);
        let (address, value) = (be16(pdu, 0)?, be16(pdu, 2)?);
        self.expect_value(access & COILS == 0 || matches!(value, 0 | 0xff00));
        Some(Data::WriteOther(address, value))
    }

    fn read_response(&mut self, pdu: &'a [u8]) -> Option<Data<'a>> {
        let access = self.access();
        match self.function() {
            raw if raw & 0x80 != 0 => {
                let code = u8_at(pdu, 0)?;
                if exception_name(code) == "Unknown" {
                    self.errors |= EXC_CODE;
                }
                Some(Data::Exception(code))
            }
            8 => Some(Data::Diagnostic(be16(pdu, 0)?, pdu.get(2..)?)),
            0x2b => Some(Data::Mei(u8_at(pdu, 0)?, pdu.get(1..)?)),
            7 => {
                self.expect_length(pdu, 1);
                Some(Data::Bytes(pdu))
            }
            11 => {
                self.expect_length(pdu, 4);
                Some(Data::Bytes(pdu))
            }
            22 => {
                self.expect_length(pdu, 6);
                Some(Data::Mask(be16(pdu, 0)?, be16(pdu, 2)?, be16(pdu, 4)?))
            }
            _ if access & READ != 0 => {
                let (count, data) = (usize::from(u8_at(pdu, 0)?), pdu.get(1..)?);
                self.expect_value((1..=250).contains(&count) && count == data.len());
                Some(Data::ReadResponse(data))
            }
            _ if access & MULTIPLE != 0 => {
                self.expect_length(pdu, 4);
                let (address, quantity) = (be16(pdu, 0)?, be16(pdu, 2)?);
                self.expect_value(Self::is_quantity(access, quantity));
                Some(Data::WriteOther(address, quantity))
            }
            _ if access & SINGLE != 0 => self.read_single(pdu, access),
            _ => Some(Data::Bytes(pdu)),
        }
    }

    fn note_errors(&self, transaction: u64, context: &mut Context<'_>) {
        let events = [
            (be16(self.bytes, 2) != Some(0), "invalid_protocol_id"),
            (self.errors & DATA_LENGTH != 0, "invalid_length"),
            (self.errors & DATA_VALUE != 0, "invalid_value"),
            (self.errors & EXC_CODE != 0, "invalid_exception_code"),
            (
                function_name(self.function() & 0x7f) == "Unknown" && !is_assignable(self.function()),
                "invalid_function_code",
            ),
        ];
        for (_, event) in events.into_iter().filter(|(is_so, _)| *is_so) {
            context.anomaly(event, Some(transaction));
        }
    }

    /// Tells signatures a request, which is over.
    fn put(&self, transaction: u64, context: &mut Context<'_>) {
        let direction = Direction::Forward;
        let mut number =
            |number, value: u16| context.put_number(direction, transaction, number, u64::from(value));
        number(Number::ModbusUnit, u8_at(self.bytes, 6).unwrap_or(0).into());
        number(Number::ModbusFunction, self.function().into());
        let categories = ["PUBLIC_UNASSIGNED", "PUBLIC_ASSIGNED", "USER_DEFINED", "RESERVED"];
        let category = categories.iter().position(|name| *name == self.category());
        number(Number::ModbusCategory, category.map_or(0, |bit| 1 << bit));
        number(
            Number::ModbusAccess,
            (self.access() & (READ | WRITE | DISCRETES | COILS | INPUT | HOLDING)).into(),
        );
        if let Data::Diagnostic(code, _) = self.data {
            number(Number::ModbusSubfunction, code);
        }
        // Rules count addresses from 1.
        let range = match self.data {
            Data::ReadRequest(from, count)
            | Data::ReadWrite([from, count], ..)
            | Data::WriteMultiple(from, count, _) => Some((from, count)),
            Data::Mask(from, ..) | Data::WriteOther(from, _) => Some((from, 1)),
            _ => None,
        };
        if let Some((from, count)) = range {
            let (from, count) = (u64::from(from) + 1, u64::from(count));
            context.put_number(direction, transaction, Number::ModbusFirst, from);
            context.put_number(direction, transaction, Number::ModbusLast, from + count.saturating_sub(1));
        }
        if context.wants(Buffer::ModbusValues) {
            let coil =
                |data: &[u8], at: u16| data.get(usize::from(at / 8)).map_or(0, |byte| byte >> (at % 8) & 1);
            let written = match self.data {
                Data::WriteMultiple(from, count, data) if self.access() & COILS != 0 => {
                    // A message of 253 bytes has no more coils than this.
                    let coils = (0..count.min(2000)).flat_map(|at| [0, coil(data, at)]);
                    Some((from, coils.collect::<Vec<u8>>()))
                }
                Data::WriteMultiple(from, _, data) | Data::ReadWrite(_, from, _, data) => {
                    Some((from, data.to_vec()))
                }
                Data::WriteOther(from, value) => Some((from, value.to_be_bytes().to_vec())),
                _ => None,
            };
            if let Some((from, values)) = written {
                context.put_number(direction, transaction, Number::ModbusWritten, u64::from(from) + 1);
                context.put(direction, transaction, Buffer::ModbusValues, &values);
            }
        }
        context.reached(direction, transaction, Stage::Body);
    }

    fn category(&self) -> &'static str {
        match (self.function() & 0x7f, &self.data) {
            (8, Data::Diagnostic(code, _)) if diagnostic_name(*code) == "Reserved" => "RESERVED",
            (0x2b, Data::Mei(kind, _)) if mei_name(*kind) == "Unknown" => "RESERVED",
            (8, Data::Diagnostic(..)) | (0x2b, Data::Mei(..)) => "PUBLIC_ASSIGNED",
            (8 | 0x2b, _) => "NONE",
            (code, _) if function_name(code) != "Unknown" => "PUBLIC_ASSIGNED",
            (0, _) => "NONE",
            (65..=72 | 100..=110, _) => "USER_DEFINED",
            (9..=14 | 41..=42 | 90..=91 | 125..=127, _) => "RESERVED",
            _ => "PUBLIC_UNASSIGNED",
        }
    }

    fn write(&self, object: &mut Object<'_>) {
        let function = self.function();
        object.number("transaction_id", be16(self.bytes, 0).unwrap_or(0));
        object.number("protocol_id", be16(self.bytes, 2).unwrap_or(0));
        object.number("unit_id", u8_at(self.bytes, 6).unwrap_or(0));
        object.number("function_raw", function).text("function_code", function_name(function & 0x7f));
        object.text("access_type", &names(self.access(), &ACCESS_NAMES)).text("category", self.category());
        object.text("error_flags", &names(self.errors, &ERROR_NAMES));
        match &self.data {
            Data::Exception(raw) => {
                object.object("exception").number("raw", *raw).text("code", exception_name(*raw));
            }
            Data::Diagnostic(raw, data) => {
                let mut diagnostic = object.object("diagnostic");
                diagnostic.number("raw", *raw).text("code", diagnostic_name(*raw)).text("data", &text(data));
            }
            Data::Mei(raw, data) => {
                let mut mei = object.object("mei");
                mei.number("raw", *raw).text("code", mei_name(*raw)).text("data", &text(data));
            }
            Data::ReadRequest(address, quantity) => {
                object.object("read").number("address", *address).number("quantity", *quantity);
            }
            Data::ReadResponse(data) => {
                object.object("read").text("data", &text(data));
            }
            Data::WriteMultiple(address, quantity, data) => {
                write_multiple(*address, *quantity, data, &mut object.object("write"));
            }
            Data::Mask(address, and, or) => {
                let mut write = object.object("write");
                write.number("address", *address).number("and_mask", *and).number("or_mask", *or);
            }
            Data::WriteOther(address, data) => {
                object.object("write").number("address", *address).number("data", *data);
            }
            Data::ReadWrite([read, amount], address, quantity, data) => {
                object.object("read").number("address", *read).number("quantity", *amount);
                write_multiple(*address, *quantity, data, &mut object.object("write"));
            }
            Data::Bytes(data) => {
                object.text("data", &text(data));
            }
            Data::Empty => {}
        }
    }
}

fn write_multiple(address: u16, quantity: u16, data: &[u8], object: &mut Object<'_>) {
    object.number("address", address).number("quantity", quantity).text("data", &text(data));
}

fn text(data: &[u8]) -> String {
    escaped(data, LENGTH_MAX)
}

/// Whether a whole message can be a request or a response of its function.
fn may_be(bytes: &[u8]) -> bool {
    let function = u8_at(bytes, 7).unwrap_or(0);
    let is_sound = |is_request| {
        let message = Message::read(bytes, is_request);
        message.errors & !EXC_CODE == 0 && message.data != Data::Empty
    };
    match function {
        _ if function & 0x80 != 0 => bytes.len() == 9 && is_sound(false),
        _ => is_sound(true) || is_sound(false),
    }
}

/// Set bits by name, as Suricata joins them.
fn names(bits: u8, names: &[&str]) -> String {
    let set: Vec<&str> =
        names.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "NONE".to_owned() } else { set.join(" | ") }
}

fn access(function: u8) -> u8 {
    match function {
        1 => COILS | READ,
        2 => DISCRETES | READ,
        3 => HOLDING | READ,
        4 => INPUT | READ,
        5 => COILS | WRITE | SINGLE,
        6 => HOLDING | WRITE | SINGLE,
        15 => COILS | WRITE | MULTIPLE,
        16 => HOLDING | WRITE | MULTIPLE,
        22 => HOLDING | WRITE,
        23 => HOLDING | READ | WRITE | MULTIPLE,
        _ => 0,
    }
}

/// Whether a function that has no name may be in use: all but 0.
fn is_assignable(function: u8) -> bool {
    function & 0x7f != 0
}

fn function_name(function: u8) -> &'static str {
    const FIRST: [&str; 24] = [
        "RdCoils",
        "RdDiscreteInputs",
        "RdHoldRegs",
        "RdInputRegs",
        "WrSingleCoil",
        "WrSingleReg",
        "RdExcStatus",
        "Diagnostic",
        "Program484",
        "Poll484",
        "GetCommEventCtr",
        "GetCommEventLog",
        "ProgramController",
        "PollController",
        "WrMultCoils",
        "WrMultRegs",
        "ReportServerID",
        "Program884",
        "ResetCommLink",
        "RdFileRec",
        "WrFileRec",
        "MaskWrReg",
        "RdWrMultRegs",
        "RdFIFOQueue",
    ];
    match function {
        0x2b => "MEI",
        _ => function.checked_sub(1).and_then(|at| FIRST.get(usize::from(at)).copied()).unwrap_or("Unknown"),
    }
}

fn diagnostic_name(code: u16) -> &'static str {
    match code {
        0 => "RetQueryData",
        1 => "RestartCommOpt",
        2 => "RetDiagReg",
        3 => "ChangeInputDelimiter",
        4 => "ForceListenOnlyMode",
        10 => "ClearCtrDiagReg",
        11 => "RetBusMsgCount",
        12 => "RetBusCommErrCount",
        13 => "RetBusExcErrCount",
        14 => "RetServerMsgCount",
        15 => "RetServerNoRespCount",
        16 => "RetServerNAKCount",
        17 => "RetServerBusyCount",
        18 => "RetBusCharOverrunCount",
        19 => "RetOverrunErrCount",
        20 => "ClearOverrunCounterFlag",
        21 => "GetClearPlusStats",
        _ => "Reserved",
    }
}

fn mei_name(kind: u8) -> &'static str {
    match kind {
        0x0d => "CANOpenGenRefReqResp",
        0x0e => "RdDevId",
        _ => "Unknown",
    }
}

fn exception_name(code: u8) -> &'static str {
    match code {
        1 => "IllegalFunction",
        2 => "IllegalDataAddr",
        3 => "IllegalDataValue",
        4 => "ServerDeviceFail",
        5 => "Ack",
        6 => "ServerDeviceBusy",
        7 => "NegAck",
        8 => "MemParityErr",
        10 => "GatewayPathUnavailable",
        11 => "GatewayTargetFailToResp",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    /// Unit 1 is asked for ten holding registers from 107 on.
    const REQUEST: &[u8] = &[0, 7, 0, 0, 0, 6, 1, 3, 0, 107, 0, 2];
    const RESPONSE: &[u8] = &[0, 7, 0, 0, 0, 7, 1, 3, 4, 0x41, 0x42, 0xff, 0x44];

    #[test]
    fn a_short_answer_waits_for_the_next_one() {
        let answers = b"\0\xd1\0\0\0\x05\x01\x03\x02\0\0\0\xd2\0\0\0\x05\x01\x03\x02\x41\xc8";
        let probe = |bytes: &[u8]| Modbus::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes));
        assert_eq!(probe(&answers[..11]), Probe::Unsure);
        assert_eq!(probe(answers), Probe::Certain);
        assert_eq!(probe(&[&answers[..11], b"\0\x01\x02\x03"].concat()), Probe::NotForUs);
    }

    #[test]
    fn a_request_and_its_response_are_one_event() {
        let trial = Trial::<Modbus>::new().client(REQUEST).server(RESPONSE).close();
        assert_eq!((trial.malformed, trial.text(Field::Command)), (0, "RdHoldRegs"));
        let want = serde_json::json!({
            "id": 1,
            "request": {
                "transaction_id": 7, "protocol_id": 0, "unit_id": 1, "function_raw": 3,
                "function_code": "RdHoldRegs", "access_type": "READ | HOLDING",
                "category": "PUBLIC_ASSIGNED", "error_flags": "NONE",
                "read": {"address": 107, "quantity": 2},
            },
            "response": {
                "transaction_id": 7, "protocol_id": 0, "unit_id": 1, "function_raw": 3,
                "function_code": "RdHoldRegs", "access_type": "READ | HOLDING",
                "category": "PUBLIC_ASSIGNED", "error_flags": "NONE",
                "read": {"data": "AB\\xffD"},
            },
        });
        assert_eq!(trial.event(), want);
    }

    #[test]
    fn signatures_are_told_a_request() {
        let write = [0, 8, 0, 0, 0, 9, 1, 16, 0, 1, 0, 1, 2, 0, 5];
        let mut trial = Trial::<Modbus>::new().client(REQUEST).server(RESPONSE).client(&write);
        assert_eq!(
            trial.told(),
            "client 0 ModbusUnit 1\nclient 0 ModbusFunction 3\nclient 0 ModbusCategory 2\n\
            client 0 ModbusAccess 33\nclient 0 ModbusFirst 108\nclient 0 ModbusLast 109\n\
            client 1 (modbus.values) \\x00\\x05\nclient 1 ModbusUnit 1\nclient 1 ModbusFunction 16\n\
            client 1 ModbusCategory 2\nclient 1 ModbusAccess 34\nclient 1 ModbusFirst 2\n\
            client 1 ModbusLast 2\nclient 1 ModbusWritten 2\n"
        );
    }

    #[test]
    fn an_exception_is_a_status() {
        let exception = [0, 7, 0, 0, 0, 3, 1, 0x83, 2];
        let trial = Trial::<Modbus>::new().client(REQUEST).server(&exception);
        assert_eq!(trial.text(Field::Status), "IllegalDataAddr");
        assert_eq!(trial.event()["response"]["exception"]["code"], "IllegalDataAddr");
        assert_eq!(trial.event()["response"]["function_raw"], 0x83);
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        let kinds = |trial: &Trial<Modbus>| {
            let anomalies = trial.events.iter().filter(|event| event.kind == "anomaly");
            let bodies =
                anomalies.map(|event| serde_json::from_slice::<serde_json::Value>(&event.body).unwrap());
            bodies.map(|body| body["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let alone = Trial::<Modbus>::new().server(RESPONSE);
        assert_eq!(kinds(&alone), ["unsolicited_response"]);
        let few = Trial::<Modbus>::new().client(REQUEST).server(&[0, 7, 0, 0, 0, 5, 1, 3, 2, 1, 2]);
        assert_eq!(kinds(&few), ["value_mismatch"]);
        let many = Trial::<Modbus>::new().client(&[0, 7, 0, 0, 0, 6, 1, 3, 0, 107, 0, 126]);
        assert_eq!(kinds(&many), ["invalid_value"]);
        let long = Trial::<Modbus>::new().client(&[0, 7, 0, 0, 1, 0, 1, 3]);
        assert_eq!(kinds(&long), ["invalid_length"]);
    }

    #[test]
    fn cuts_and_damage_are_survived() {
        let client = [REQUEST, &[0, 8, 0, 0, 0, 9, 1, 16, 0, 1, 0, 1, 2, 0, 5]].concat();
        let server = [RESPONSE, &[0, 8, 0, 0, 0, 6, 1, 16, 0, 1, 0, 1]].concat();
        cuts_do_not_matter::<Modbus>(&client, &server);
        survives_damage::<Modbus>(&client, &server);
    }

    #[test]
    fn only_whole_messages_are_recognised() {
        let probe = |bytes: &[u8], port| {
            Modbus::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(40_000, port))
        };
        assert_eq!(probe(REQUEST, PORT), Probe::Certain);
        assert_eq!(probe(REQUEST, 40_001), Probe::Likely);
        assert_eq!(probe(&[REQUEST, REQUEST].concat(), 40_001), Probe::Certain);
        assert!((0..REQUEST.len()).all(|cut| probe(&REQUEST[..cut], PORT) == Probe::Unsure));
        assert_eq!(probe(b"GET / HTTP/1.1", PORT), Probe::NotForUs);
        assert_eq!(probe(&[0, 7, 0, 0, 0, 6, 1, 3, 0, 107, 0, 0], PORT), Probe::NotForUs);
    }
}
