//! DNP3 (IEEE 1815-2012) over TCP and UDP.
//!
//! In: both directions of a stream, or datagrams. Out: functions called, objects they were about, indications
//! returned, and one event per application fragment. Link frames are checked by their CRCs and put together to
//! fragments of at most [`FRAGMENT_BYTES_MAX`] bytes. Frames without user data (link status, resets) are
//! passed over; authentication is not verified.

mod crc;
mod event;
mod objects;
#[cfg(test)]
mod tests;

use crate::dpi::buffers::{Buffer, Number, Stage};
use crate::dpi::bytes::{be16, le16, u8_at};
use crate::dpi::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use crc::crc;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// What a frame begins with.
const START: [u8; 2] = [0x05, 0x64];
/// Bytes of a frame's header with its CRC.
const HEADER_BYTES: usize = 10;
/// Bytes of user data in a block, behind which its CRC stands.
const BLOCK_BYTES: usize = 16;
/// The least value of the length field: control, destination, source.
const LENGTH_MIN: usize = 5;
/// Most bytes of an application fragment that is put together; a longer one is told and dropped.
const FRAGMENT_BYTES_MAX: usize = 16 << 10;
/// Bytes of a stream looked through for the next frame, after which nothing more is expected.
const LOST_BYTES_MAX: usize = 64 << 10;

/// The dissector of one connection.
#[derive(Debug, Default)]
pub(super) struct Dnp3 {
    sides: [Side; 2],
    transactions: u64,
}

#[derive(Debug, Default)]
struct Side {
    /// The fragment so far, its link header, and whether its first segment was seen.
    fragment: Vec<u8>,
    is_begun: bool,
    /// Bytes passed in search of a frame.
    lost_bytes: usize,
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
struct Link {
    control: u8,
    destination: u16,
    source: u16,
}

impl Dissector for Dnp3 {
    const APP: App = App::Dnp3;

    const STARTS: Starts = Starts::both(&[START[0]]);

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if !START.starts_with(bytes.get(..2).unwrap_or(bytes)) {
            return Probe::NotForUs;
        }
        if bytes.get(2).is_some_and(|length| usize::from(*length) < LENGTH_MIN) {
            return Probe::NotForUs;
        }
        match (header(bytes), first.carrier) {
            (Some(Ok(_)), _) => Probe::Certain,
            (None, Carrier::Stream) => Probe::Unsure,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Dnp3::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= 2) {
            if !rest.starts_with(&START) {
                let next = rest.windows(2).position(|pair| pair == START).unwrap_or(rest.len() - 1);
                let side = self.side(context);
                side.is_begun = false;
                side.lost_bytes = side.lost_bytes.saturating_add(next);
                if side.lost_bytes > LOST_BYTES_MAX {
                    return Progress::Done;
                }
                at += next;
                continue;
            }
            let Some(header) = header(rest) else { break };
            let length = usize::from(u8_at(rest, 2).unwrap_or(0));
            let Ok(link) = header else {
                context.anomaly("bad_link_crc", None);
                at += START.len();
                continue;
            };
            let Some(data_bytes) = length.checked_sub(LENGTH_MIN) else {
                context.anomaly("len_too_small", None);
                at += HEADER_BYTES;
                continue;
            };
            let frame_bytes = HEADER_BYTES + data_bytes + 2 * data_bytes.div_ceil(BLOCK_BYTES);
            let Some(frame) = rest.get(..frame_bytes) else { break };
            self.frame(link, frame.get(HEADER_BYTES..).unwrap_or_default(), context);
            at += frame_bytes;
        }
        Progress::Used(at)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.side(context).is_begun = false;
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

impl Dnp3 {
    fn side(&mut self, context: &Context<'_>) -> &mut Side {
        &mut self.sides[context.direction.index()]
    }

    /// Takes the blocks of a frame: transport header and a part of a fragment.
    fn frame(&mut self, link: Link, blocks: &[u8], context: &mut Context<'_>) {
        // Of the primary's functions these two carry user data (IEEE 1815 section 9.2.4.1.3).
        const PRIMARY: u8 = 0x40;
        const CONFIRMED_DATA: u8 = 3;
        const UNCONFIRMED_DATA: u8 = 4;
        let function = link.control & 0x0f;
        if link.control & PRIMARY == 0 || !matches!(function, CONFIRMED_DATA | UNCONFIRMED_DATA) {
            return;
        }
        if blocks.is_empty() {
            context.anomaly("len_too_small", None);
            return;
        }
        let is_sound = blocks.chunks(BLOCK_BYTES + 2).all(|block| {
            block.split_last_chunk::<2>().is_some_and(|(data, check)| crc(data) == u16::from_le_bytes(*check))
        });
        if !is_sound {
            context.anomaly("bad_transport_crc", None);
            return;
        }
        const FIN: u8 = 0x80;
        const FIR: u8 = 0x40;
        let transport = u8_at(blocks, 0).unwrap_or(0);
        let side = self.side(context);
        if transport & FIR != 0 {
            side.fragment.clear();
            side.is_begun = true;
        }
        if !side.is_begun {
            return;
        }
        for (index, block) in blocks.chunks(BLOCK_BYTES + 2).enumerate() {
            let data = block.get(..block.len().saturating_sub(2)).unwrap_or_default();
            side.fragment.extend_from_slice(data.get(usize::from(index == 0)..).unwrap_or_default());
        }
        if side.fragment.len() > FRAGMENT_BYTES_MAX {
            side.is_begun = false;
            side.fragment = Vec::new();
            context.anomaly("too_long_reassembly", None);
            return;
        }
        if transport & FIN == 0 {
            return;
        }
        side.is_begun = false;
        let fragment = std::mem::take(&mut side.fragment);
        self.fragment(link, &fragment, context);
        let side = self.side(context);
        side.fragment = fragment;
        side.fragment.clear();
    }

    fn fragment(&mut self, link: Link, bytes: &[u8], context: &mut Context<'_>) {
        let Some(fragment) = Fragment::read(link, bytes) else {
            context.anomaly("len_too_small", None);
            return;
        };
        const CONFIRM: u8 = 0;
        context.metadata.add(Field::Command, function_name(fragment.function));
        // A confirmation says only that the fragment before it came.
        if fragment.function == CONFIRM {
            return;
        }
        let transaction = self.transactions;
        self.transactions += 1;
        for (name, _) in INDICATIONS.iter().filter(|(_, bit)| fragment.indications.unwrap_or(0) & bit != 0) {
            context.metadata.add(Field::Status, name);
        }
        let summary = objects::summarize(&fragment);
        for (group, variation) in &summary.kinds {
            context.metadata.add(Field::Object, &format!("g{group}v{variation}"));
        }
        if let Some(event) = summary.event {
            context.anomaly(event, Some(transaction));
        }
        if context.wanted.is_some() {
            let direction = context.direction;
            let mut number = |number, value: u16| {
                context.put_number(direction, transaction, number, u64::from(value));
            };
            number(Number::Dnp3Func, u16::from(fragment.function));
            if let Some(indications) = fragment.indications {
                number(Number::Dnp3Ind, indications);
            }
            for (group, variation) in &summary.kinds {
                number(Number::Dnp3Obj, u16::from_be_bytes([*group, *variation]));
            }
            context.put(direction, transaction, Buffer::Dnp3Data, bytes);
            context.reached(direction, transaction, Stage::Body);
        }
        // Like Suricata, responses are told under the request's ends.
        context.tell(Direction::Forward, Some(transaction), |object| {
            event::write(&fragment, summary.event.is_none(), object);
        });
    }
}

/// An application fragment.
#[derive(Debug)]
struct Fragment<'a> {
    link: Link,
    control: u8,
    function: u8,
    /// Of a response.
    indications: Option<u16>,
    objects: &'a [u8],
}

const RESPONSE: u8 = 129;
const UNSOLICITED_RESPONSE: u8 = 130;

impl<'a> Fragment<'a> {
    fn read(link: Link, bytes: &'a [u8]) -> Option<Fragment<'a>> {
        let (control, function) = (u8_at(bytes, 0)?, u8_at(bytes, 1)?);
        let is_response = matches!(function, RESPONSE | UNSOLICITED_RESPONSE | 131);
        let (indications, objects) =
            if is_response { (Some(be16(bytes, 2)?), bytes.get(4..)?) } else { (None, bytes.get(2..)?) };
        Some(Fragment { link, control, function, indications, objects })
    }

    /// Whether headers of objects stand without the objects: what is asked for.
    fn names_objects_only(&self) -> bool {
        matches!(self.function, 1 | 7..=12 | 20..=22 | 28)
    }
}

/// The header of a frame: not there yet, or its CRC is wrong.
fn header(bytes: &[u8]) -> Option<Result<Link, ()>> {
    let header = bytes.get(..HEADER_BYTES)?;
    let (data, check) = header.split_last_chunk::<2>()?;
    let link = Link { control: u8_at(header, 3)?, destination: le16(header, 4)?, source: le16(header, 6)? };
    Some(if crc(data) == u16::from_le_bytes(*check) { Ok(link) } else { Err(()) })
}

/// Internal indications by name and bit, the first octet high.
const INDICATIONS: [(&str, u16); 16] = [
    ("all_stations", 0x0100),
    ("class_1_events", 0x0200),
    ("class_2_events", 0x0400),
    ("class_3_events", 0x0800),
    ("need_time", 0x1000),
    ("local_control", 0x2000),
    ("device_trouble", 0x4000),
    ("device_restart", 0x8000),
    ("no_func_code_support", 0x0001),
    ("object_unknown", 0x0002),
    ("parameter_error", 0x0004),
    ("event_buffer_overflow", 0x0008),
    ("already_executing", 0x0010),
    ("config_corrupt", 0x0020),
    ("reserved_2", 0x0040),
    ("reserved_1", 0x0080),
];

/// Application functions (IEEE 1815 section 4.2.2.5).
fn function_name(function: u8) -> &'static str {
    const REQUESTS: [&str; 34] = [
        "confirm",
        "read",
        "write",
        "select",
        "operate",
        "direct_operate",
        "direct_operate_no_ack",
        "freeze",
        "freeze_no_ack",
        "freeze_clear",
        "freeze_clear_no_ack",
        "freeze_at_time",
        "freeze_at_time_no_ack",
        "cold_restart",
        "warm_restart",
        "initialize_data",
        "initialize_application",
        "start_application",
        "stop_application",
        "save_configuration",
        "enable_unsolicited",
        "disable_unsolicited",
        "assign_class",
        "delay_measurement",
        "record_current_time",
        "open_file",
        "close_file",
        "delete_file",
        "get_file_info",
        "authenticate_file",
        "abort_file",
        "activate_config",
        "authentication_request",
        "authentication_request_no_ack",
    ];
    match function {
        RESPONSE => "response",
        UNSOLICITED_RESPONSE => "unsolicited_response",
        131 => "authentication_response",
        _ => REQUESTS.get(usize::from(function)).copied().unwrap_or("unknown"),
    }
}
