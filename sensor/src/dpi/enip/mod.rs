//! EtherNet/IP with CIP (ODVA, The CIP Networks Library, volumes 1 and 2) over TCP and UDP.
//!
//! In: both directions of a stream, or datagrams. Out: commands and services called, what devices say they are,
//! and one event per request with its response. A request waits for its response among at most
//! [`WAITING_MAX`] others, with at most [`KEPT_BYTES_MAX`] of its bytes. Cyclic data is only named
//! (`recognise/industry.rs`); attributes' values are not read.

mod event;
mod names;
mod parts;
#[cfg(test)]
mod tests;

use crate::dpi::bytes::{le16, le32, u8_at};
use crate::dpi::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of the encapsulation header.
const HEADER_BYTES: usize = 24;
/// Most requests that wait for their response; the oldest is told without one.
const WAITING_MAX: usize = 32;
/// Most bytes kept of a request.
const KEPT_BYTES_MAX: usize = 2048;
const PORTS: [u16; 2] = [44_818, 2221];

const NOP: u16 = 0;
const LIST_SERVICES: u16 = 4;
const LIST_IDENTITY: u16 = 0x63;
const LIST_INTERFACES: u16 = 0x64;
const REGISTER_SESSION: u16 = 0x65;
const UNREGISTER_SESSION: u16 = 0x66;
const SEND_RR_DATA: u16 = 0x6f;
const SEND_UNIT_DATA: u16 = 0x70;

/// The dissector of one flow.
#[derive(Debug, Default)]
pub(super) struct Enip {
    waiting: VecDeque<(u64, Box<[u8]>)>,
    transactions: u64,
    /// By direction: where messages begin is not known.
    is_lost: [bool; 2],
}

impl Dissector for Enip {
    const APP: App = App::Enip;

    const STARTS: Starts = Starts::both(&[0, 4, 0x63, 0x64, 0x65, 0x66, 0x6f, 0x70, 0x72, 0x73]);

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if le16(bytes, 0).is_some_and(|command| names::command(command).is_none()) {
            return Probe::NotForUs;
        }
        let Some(pdu) = Pdu::read(bytes) else {
            let is_possible = first.is_stream() && bytes.len() < HEADER_BYTES;
            return if is_possible { Probe::Unsure } else { Probe::NotForUs };
        };
        let whole = HEADER_BYTES + pdu.length;
        let is_fit = if first.is_stream() { pdu.length <= 4096 } else { whole == bytes.len() };
        if !is_fit || names::status(pdu.status).is_none() || pdu.options != 0 {
            return Probe::NotForUs;
        }
        if first.is_stream() && bytes.len() < whole {
            return Probe::Unsure;
        }
        let data = pdu.data;
        // What the command carries is what it must be.
        let is_right = match pdu.command {
            REGISTER_SESSION => data.len() == 4 && le16(data, 0) == Some(1) && le16(data, 2) == Some(0),
            LIST_SERVICES | LIST_IDENTITY | LIST_INTERFACES if pdu.session == 0 => {
                data.is_empty()
                    || le16(data, 0).is_some_and(|items| (1..=64).contains(&items)) && data.len() >= 6
            }
            SEND_RR_DATA | SEND_UNIT_DATA => {
                le32(data, 0) == Some(0)
                    && le16(data, 6).is_some_and(|items| (1..=4).contains(&items))
                    && le16(data, 8).is_some_and(|item| matches!(item, 0 | 0xa1 | 0x8002))
            }
            UNREGISTER_SESSION => pdu.session != 0 && matches!(data.len(), 0 | 4),
            _ => false,
        };
        // A bare list command is all zeros but for its first byte.
        let is_bare = data.is_empty();
        match (is_right, first.has_port_of(&PORTS)) {
            (true, true) => Probe::Certain,
            (true, false) if is_bare => Probe::Likely,
            (true, false) => Probe::Certain,
            (false, true) if pdu.command == NOP || pdu.status != 0 => Probe::Likely,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Enip::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        if context.carrier == Carrier::Datagram {
            match Pdu::read(bytes) {
                Some(pdu) => self.message(&pdu, context),
                None => context.anomaly("invalid_pdu", None),
            }
            return Progress::Used(bytes.len());
        }
        if self.is_lost[index] {
            let is_start = Pdu::read(bytes).is_some_and(|pdu| {
                names::command(pdu.command).is_some()
                    && names::status(pdu.status).is_some()
                    && pdu.options == 0
            });
            if !is_start {
                return Progress::Used(bytes.len());
            }
            self.is_lost[index] = false;
        }
        let mut at = 0;
        while let Some(pdu) = bytes.get(at..).and_then(Pdu::read) {
            let whole = HEADER_BYTES + pdu.length;
            if names::command(pdu.command).is_none() {
                context.anomaly("invalid_pdu", None);
                self.is_lost[index] = true;
                return Progress::Used(bytes.len());
            }
            if pdu.data.len() < pdu.length {
                break;
            }
            self.message(&pdu, context);
            at += whole;
        }
        Progress::Used(at)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for (transaction, request) in std::mem::take(&mut self.waiting) {
            tell(Pdu::read(&request).as_ref(), None, transaction, context);
        }
    }

    fn describe(&self, _: Direction, transaction: u64, out: &mut Vec<u8>) {
        let found = self.waiting.iter().find(|(number, _)| *number == transaction);
        if let Some(request) = found.and_then(|(_, request)| Pdu::read(request)) {
            event::write(&request, &mut Object::begin(out).object("request"));
        }
    }
}

impl Enip {
    fn message(&mut self, pdu: &Pdu<'_>, context: &mut Context<'_>) {
        if context.wanted.is_some() {
            parts::put_frames(pdu, context);
        }
        learn(pdu, context);
        let is_invalid = matches!(pdu.command, SEND_RR_DATA | SEND_UNIT_DATA)
            && pdu.status == 0
            && !event::is_readable(pdu);
        let found = match context.direction {
            Direction::Forward => None,
            Direction::Reverse => {
                let matches = |(_, request): &(u64, Box<[u8]>)| {
                    Pdu::read(request).is_some_and(|request| request.is_answered_by(pdu))
                };
                self.waiting.iter().position(matches).and_then(|at| self.waiting.remove(at))
            }
        };
        let transaction = found.as_ref().map_or(self.transactions, |(transaction, _)| *transaction);
        if found.is_none() {
            self.transactions += 1;
        }
        if is_invalid {
            context.anomaly("invalid_pdu", Some(transaction));
        }
        if context.direction == Direction::Reverse {
            let request = found.as_ref().and_then(|(_, request)| Pdu::read(request));
            tell(request.as_ref(), Some(pdu), transaction, context);
            return;
        }
        // Nothing answers these.
        if matches!(pdu.command, NOP | UNREGISTER_SESSION) {
            tell(Some(pdu), None, transaction, context);
            return;
        }
        self.waiting.push_back((transaction, pdu.kept()));
        if self.waiting.len() > WAITING_MAX
            && let Some((transaction, oldest)) = self.waiting.pop_front()
        {
            tell(Pdu::read(&oldest).as_ref(), None, transaction, context);
        }
    }
}

fn tell(request: Option<&Pdu<'_>>, response: Option<&Pdu<'_>>, transaction: u64, context: &mut Context<'_>) {
    if context.wanted.is_some() {
        parts::put(request, response, transaction, context);
    }
    context.tell(Direction::Forward, Some(transaction), |object| {
        if let Some(request) = request {
            event::write(request, &mut object.object("request"));
        }
        if let Some(response) = response {
            event::write(response, &mut object.object("response"));
        }
    });
}

fn learn(pdu: &Pdu<'_>, context: &mut Context<'_>) {
    if let Some(cip) = event::cip(pdu).and_then(|data| u8_at(data, 0)) {
        if context.direction == Direction::Forward {
            context.metadata.add(Field::Command, names::service(cip & 0x7f).unwrap_or("unknown"));
        }
    } else if let Some(command) = names::command(pdu.command) {
        context.metadata.add(Field::Command, command);
    }
    if let Some(identity) = event::identity(pdu) {
        context.metadata.set_bytes(Field::ServerSoftware, identity.product);
        if let Some(vendor) = names::vendor(identity.vendor) {
            context.metadata.add(Field::EndpointName, vendor);
        }
    }
}

/// An encapsulated message.
#[derive(Debug)]
struct Pdu<'a> {
    bytes: &'a [u8],
    command: u16,
    length: usize,
    session: u32,
    status: u32,
    options: u32,
    /// As much of the data as is there.
    data: &'a [u8],
}

impl<'a> Pdu<'a> {
    fn read(bytes: &'a [u8]) -> Option<Pdu<'a>> {
        let length = usize::from(le16(bytes, 2)?);
        let rest = bytes.get(HEADER_BYTES..)?;
        Some(Pdu {
            bytes,
            command: le16(bytes, 0)?,
            length,
            session: le32(bytes, 4)?,
            status: le32(bytes, 8)?,
            options: le32(bytes, 20)?,
            data: rest.get(..length).unwrap_or(rest),
        })
    }

    fn kept(&self) -> Box<[u8]> {
        let end = (HEADER_BYTES + self.data.len()).min(KEPT_BYTES_MAX);
        self.bytes.get(..end).unwrap_or_default().into()
    }

    fn is_answered_by(&self, response: &Pdu<'_>) -> bool {
        let is_of_session = self.session == response.session || self.command == REGISTER_SESSION;
        let sequences = (event::sequence(self), event::sequence(response));
        self.command == response.command
            && is_of_session
            && match sequences {
                (Some(asked), Some(answered)) => asked == answered,
                _ => true,
            }
    }
}
