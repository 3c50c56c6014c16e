//! Siemens S7 communication over ISO transport (RFC 1006, ISO 8073).
//!
//! In: both directions of a stream. Out: functions called, blocks and areas they are about, errors, and one
//! event per message. Fragments of COTP are not put together; values are not read. S7comm-plus is only named
//! (`recognise/industry.rs`). The protocol is not published; its form is known from independent analyses.

use crate::dpi::bytes::{be16, u8_at};
use crate::dpi::recognise::cotp_data;
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;

const PROTOCOL: u8 = 0x32;
/// Bytes of TPKT and COTP data header.
const TRANSPORT_BYTES: usize = 7;
/// Most bytes of a TPKT.
const TPKT_BYTES_MAX: usize = 65_535;
/// Most items of a read or write that are told.
const ITEMS_MAX: u8 = 20;

const JOB: u8 = 1;
const ACK: u8 = 2;
const ACK_DATA: u8 = 3;
const USER_DATA: u8 = 7;

/// The dissector of one connection.
#[derive(Debug, Default)]
pub(super) struct S7comm {
    messages: u64,
}

impl Dissector for S7comm {
    const APP: App = App::S7comm;

    const STARTS: Starts = Starts::stream(&[3]);

    fn probe(first: &First<'_>) -> Probe {
        match cotp_data(first) {
            Ok(data) => match (data.first(), data.get(1)) {
                (None, _) | (Some(&PROTOCOL), None) => Probe::Unsure,
                (Some(&PROTOCOL), Some(&(JOB | ACK | ACK_DATA | USER_DATA))) => Probe::Certain,
                _ => Probe::NotForUs,
            },
            Err(Probe::Unsure) if names_a_rack(first.bytes) && first.has_port(102) => Probe::Likely,
            Err(probe) => probe,
        }
    }

    fn new() -> Self {
        S7comm::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && let Some(length) = be16(rest, 2)
        {
            let length = usize::from(length);
            if !rest.starts_with(&[3, 0]) || length < TRANSPORT_BYTES {
                return Progress::Broken("invalid_transport");
            }
            let Some(packet) = rest.get(..length) else { break };
            if u8_at(packet, 5).is_some_and(|kind| kind & 0xf0 == 0xf0)
                && let Some(message) =
                    packet.get(TRANSPORT_BYTES..).filter(|data| data.first() == Some(&PROTOCOL))
            {
                self.message(message, context);
            }
            at += length;
        }
        debug_assert!(at <= bytes.len() && bytes.len() - at <= TPKT_BYTES_MAX);
        Progress::Used(at)
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

/// Whether a connection request is for a CPU in a rack: selectors of two bytes, the first a kind of connection.
fn names_a_rack(bytes: &[u8]) -> bool {
    bytes.windows(4).take(32).any(|at| matches!(at, [0xc2, 2, 1..=3, _]))
}

/// A message: header, parameters, data.
#[derive(Debug)]
struct Message<'a> {
    kind: u8,
    reference: u16,
    error: Option<(u8, u8)>,
    parameters: &'a [u8],
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Option<Message<'a>> {
        let kind = u8_at(bytes, 1)?;
        let (reference, parameter_bytes) = (be16(bytes, 4)?, usize::from(be16(bytes, 6)?));
        let (error, at) = match kind {
            ACK | ACK_DATA => (Some((u8_at(bytes, 10)?, u8_at(bytes, 11)?)), 12),
            JOB | USER_DATA => (None, 10),
            _ => return None,
        };
        Some(Message { kind, reference, error, parameters: bytes.get(at..at + parameter_bytes)? })
    }

    fn function(&self) -> Option<u8> {
        u8_at(self.parameters, 0).filter(|_| self.kind != USER_DATA)
    }

    /// Group and subfunction of user data.
    fn user_function(&self) -> Option<(u8, u8)> {
        (self.kind == USER_DATA).then_some(())?;
        Some((u8_at(self.parameters, 5)? & 15, u8_at(self.parameters, 6)?))
    }

    fn name(&self) -> Option<&'static str> {
        match (self.function(), self.user_function()) {
            (Some(function), _) => Some(function_name(function)),
            (_, Some((group, function))) => Some(user_function_name(group, function)),
            _ => None,
        }
    }

    /// The items of a read or write by area.
    fn items(&self) -> impl Iterator<Item = Item> + '_ {
        const READ: u8 = 4;
        const WRITE: u8 = 5;
        let has_items = self.kind == JOB && matches!(self.function(), Some(READ | WRITE));
        let mut left = if has_items { u8_at(self.parameters, 1).unwrap_or(0).min(ITEMS_MAX) } else { 0 };
        let mut rest = self.parameters.get(2..).unwrap_or_default();
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let length = usize::from(u8_at(rest, 1)?);
            let item = rest.get(..2 + length)?;
            rest = rest.get(2 + length + length % 2..).unwrap_or_default();
            Item::read(item)
        })
    }

    /// The file or service that a control function names.
    fn target(&self) -> Option<&'a [u8]> {
        let at = match self.function()? {
            // Downloads and uploads name a block behind its length.
            0x1a | 0x1b | 0x1d if self.kind == JOB => 8,
            // Control: a list of arguments, then the service.
            0x28 if self.kind == JOB => {
                let argument_bytes = usize::from(be16(self.parameters, 8)?);
                10 + argument_bytes
            }
            0x29 if self.kind == JOB => 6,
            _ => return None,
        };
        let length = usize::from(u8_at(self.parameters, at)?);
        let text = self.parameters.get(at + 1..at + 1 + length)?;
        text.iter().all(|byte| byte.is_ascii_graphic()).then_some(text)
    }
}

/// An address in any-type form.
#[derive(Clone, Copy, Debug)]
struct Item {
    area: u8,
    block: u16,
    bit: u32,
    count: u16,
}

impl Item {
    fn read(bytes: &[u8]) -> Option<Item> {
        const ANY: u8 = 0x10;
        (u8_at(bytes, 0)? == 0x12 && u8_at(bytes, 2)? == ANY).then_some(())?;
        let [a, b, c] = *bytes.get(9..)?.first_chunk::<3>()?;
        Some(Item {
            count: be16(bytes, 4)?,
            block: be16(bytes, 6)?,
            area: u8_at(bytes, 8)?,
            bit: u32::from_be_bytes([0, a, b, c]),
        })
    }

    fn name(self) -> String {
        match self.area {
            0x81 => "I".to_owned(),
            0x82 => "Q".to_owned(),
            0x83 => "M".to_owned(),
            0x84 => format!("DB{}", self.block),
            0x85 => format!("DI{}", self.block),
            0x86 => "L".to_owned(),
            0x1c => "C".to_owned(),
            0x1d => "T".to_owned(),
            other => format!("area {other:#04x}"),
        }
    }

    fn write(self, object: &mut Object<'_>) {
        object.text("area", &self.name()).number("byte", self.bit / 8).number("bit", self.bit % 8);
        object.number("count", self.count);
    }
}

impl S7comm {
    fn message(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let Some(message) = Message::read(bytes) else {
            context.anomaly("malformed_message", None);
            return;
        };
        let transaction = self.messages;
        self.messages += 1;
        if let Some(name) = message.name() {
            context.metadata.add(Field::Command, name);
        }
        for item in message.items() {
            context.metadata.add(Field::Object, &item.name());
        }
        if let Some(target) = message.target() {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(target));
        }
        if let Some((class, code)) = message.error.filter(|error| *error != (0, 0)) {
            context.metadata.add(Field::Status, &format!("0x{class:02x}{code:02x}"));
        }
        let direction = context.direction;
        context.tell(direction, Some(transaction), |object| {
            let kind = match message.kind {
                JOB => "job",
                ACK => "ack",
                ACK_DATA => "ack_data",
                _ => "userdata",
            };
            object.text("type", kind).number("pdu_reference", message.reference);
            if let Some(function) = message.function() {
                object.number("function_code", function);
            }
            object.text_if("function", message.name());
            if let Some((class, code)) = message.error {
                object.number("error_class", class).number("error_code", code);
            }
            if let Some(target) = message.target() {
                object.bytes("target", target);
            }
            if message.items().next().is_some() {
                let mut list = object.list("items");
                message.items().for_each(|item| item.write(&mut list.object()));
            }
        });
    }
}

fn function_name(function: u8) -> &'static str {
    match function {
        0x00 => "cpu_services",
        0x04 => "read_variable",
        0x05 => "write_variable",
        0x1a => "request_download",
        0x1b => "download_block",
        0x1c => "download_ended",
        0x1d => "start_upload",
        0x1e => "upload",
        0x1f => "end_upload",
        0x28 => "plc_control",
        0x29 => "plc_stop",
        0xf0 => "setup_communication",
        _ => "unknown",
    }
}

fn user_function_name(group: u8, function: u8) -> &'static str {
    match (group, function) {
        (0, _) => "mode_transition",
        (1, _) => "programmer_commands",
        (2, _) => "cyclic_data",
        (3, 1) => "list_blocks",
        (3, 2) => "list_blocks_of_type",
        (3, 3) => "get_block_info",
        (3, _) => "block_functions",
        (4, 1) => "read_szl",
        (4, 2) => "message_service",
        (4, _) => "cpu_functions",
        (5, _) => "security",
        (6, _) => "pbc",
        (7, 1) => "read_clock",
        (7, 2 | 3) => "set_clock",
        (7, _) => "time_functions",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
    use weir_common::net::Direction;

    const CONNECT: &[u8] = &[3, 0, 0, 22, 17, 0xe0, 0, 0, 0, 1, 0, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2, 0xc0, 1, 10];
    const CONFIRM: &[u8] = &[3, 0, 0, 22, 17, 0xd0, 0, 1, 0, 2, 0, 0xc0, 1, 10, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2];

    fn packet(message: &[u8]) -> Vec<u8> {
        let length = (TRANSPORT_BYTES + message.len()) as u16;
        [&[3, 0][..], &length.to_be_bytes(), &[2, 0xf0, 0x80], message].concat()
    }

    /// Reads four bytes of DB5 from byte 2 on.
    fn read() -> Vec<u8> {
        packet(&[0x32, 1, 0, 0, 0, 9, 0, 14, 0, 0, 4, 1, 0x12, 10, 0x10, 2, 0, 4, 0, 5, 0x84, 0, 0, 16])
    }

    fn answer() -> Vec<u8> {
        packet(&[0x32, 3, 0, 0, 0, 9, 0, 2, 0, 5, 0, 0, 4, 1, 0x0a, 0, 0, 0, 0])
    }

    #[test]
    fn functions_and_areas_are_told() {
        let client = [CONNECT, &read()].concat();
        let server = [CONFIRM, &answer()].concat();
        let trial = Trial::<S7comm>::new().client(&client).server(&server);
        assert_eq!((trial.text(Field::Command), trial.text(Field::Object)), ("read_variable", "DB5"));
        let body: serde_json::Value = serde_json::from_slice(&trial.events[0].body).unwrap();
        let want = serde_json::json!({
            "type": "job", "pdu_reference": 9, "function_code": 4, "function": "read_variable",
            "items": [{"area": "DB5", "byte": 2, "bit": 0, "count": 4}],
        });
        assert_eq!(body, want);
        cuts_do_not_matter::<S7comm>(&client, &server);
        survives_damage::<S7comm>(&client, &server);
    }

    #[test]
    fn a_stop_is_told_with_what_it_stops() {
        let stop = [&[0x32, 1, 0, 0, 0, 1, 0, 16, 0, 0, 0x29, 0, 0, 0, 0, 0, 9][..], b"P_PROGRAM"].concat();
        let trial = Trial::<S7comm>::new().client(&packet(&stop));
        assert_eq!((trial.text(Field::Command), trial.text(Field::Object)), ("plc_stop", "P_PROGRAM"));
    }

    #[test]
    fn only_its_own_data_is_recognised() {
        let probe = |bytes: &[u8]| S7comm::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&read()), Probe::Certain);
        assert_eq!(probe(CONNECT), Probe::Unsure);
        assert_eq!(probe(&[CONNECT, &read()].concat()), Probe::Certain);
        assert_eq!(probe(&packet(&[0x72, 1, 0, 0])), Probe::NotForUs);
        let rdp = [3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0];
        assert_eq!(probe(&rdp), Probe::NotForUs);
    }
}
