//! DNP3's objects: headers, and what the fields of each kind of object are called and how long they are.
//!
//! In: the objects of a fragment. Out: headers one by one, and each point's fields handed to a visitor.
//! Field names are Suricata's. Kinds that are not in the table (sets of data, octet strings, the obsolete)
//! end the walk: how long they are is not known.

use super::Fragment;
use crate::dpi::bytes::{at, le16, le32, u8_at};

/// Most objects of a fragment.
const OBJECTS_MAX: usize = 1024;
/// Most points of a fragment.
const POINTS_MAX: usize = 16_384;
/// Most kinds of objects noted of a fragment.
const KINDS_MAX: usize = 64;

/// How a field looks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    U8,
    U16,
    U32,
    U24,
    I16,
    I32,
    F32,
    F64,
    /// Milliseconds since the epoch, six bytes.
    Time,
    /// Text: as long as the named field says.
    Chars(&'static str),
    /// Text: to the end of what the size prefix spans.
    CharsLeft,
    /// Bytes: as long as the named field says.
    Bytes(&'static str),
    /// Bytes: to the end of what the size prefix spans.
    BytesLeft,
}

/// Part of an object: bits of a byte, lowest first, or a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Bits(&'static [(&'static str, u8)]),
    Field(&'static str, Kind),
}

/// How objects of a kind are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    /// So many bits per point, several points in a byte, under this name.
    Packed(&'static str, u8),
    Parts(&'static [&'static [Part]]),
}

use Kind::{Bytes, BytesLeft, Chars, CharsLeft, F32, F64, I16, I32, Time, U8, U16, U24, U32};
use Part::{Bits, Field};

macro_rules! flags {
    ($($name:literal),*) => {
        &[Bits(&[
            ("online", 1), ("restart", 1), ("comm_lost", 1), ("remote_forced", 1), ("local_forced", 1),
            $(($name, 1)),*
        ])]
    };
}

const BINARY: &[Part] = flags!("chatter_filter", "reserved", "state");
const DOUBLE: &[Part] = &[Bits(&[
    ("online", 1),
    ("restart", 1),
    ("comm_lost", 1),
    ("remote_forced", 1),
    ("local_forced", 1),
    ("chatter_filter", 1),
    ("state", 2),
])];
const OUTPUT: &[Part] = flags!("reserved0", "reserved1", "state");
const COUNTER: &[Part] = flags!("rollover", "discontinuity", "reserved0");
const COUNTER_TIMED: &[Part] = flags!("rollover", "discontinuity", "reserved1");
const COUNTER_DELTA: &[Part] = flags!("rollover", "reserved0", "reserved1");
const ANALOG: &[Part] = flags!("over_range", "reference_err", "reserved0");
const STATISTIC: &[Part] = flags!("reserved0", "discontinuity", "reserved1");
const STATUS: &[Part] = &[Bits(&[("status_code", 7), ("reserved0", 1)])];
const COMMANDED: &[Part] = &[Bits(&[("status_code", 7), ("commanded_state", 1)])];
const TIMESTAMP: &[Part] = &[Field("timestamp", Time)];
const COUNT32: &[Part] = &[Field("count", U32)];
const COUNT16: &[Part] = &[Field("count", U16)];
const VALUE32: &[Part] = &[Field("value", I32)];
const VALUE16: &[Part] = &[Field("value", I16)];
const VALUE_F32: &[Part] = &[Field("value", F32)];
const VALUE_F64: &[Part] = &[Field("value", F64)];
const CONTROL: &[Part] = &[Field("control_status", U8)];
const RELAY: &[Part] = &[
    Bits(&[("op_type", 4), ("qu", 1), ("cr", 1), ("tcc", 2)]),
    Field("count", U8),
    Field("ontime", U32),
    Field("offtime", U32),
    Bits(&[("status_code", 7), ("reserved", 1)]),
];
const STATISTICS: &[Part] = &[Field("association_id", U16), Field("count_value", U32)];

macro_rules! field {
    ($($name:literal $kind:expr),*) => { &[$(Field($name, $kind)),*] };
}

/// The layout of a kind of object.
pub(super) fn layout(group: u8, variation: u8) -> Option<Layout> {
    use Layout::{Packed, Parts};
    Some(match (group, variation) {
        (1 | 10 | 80, 1) => Packed("state", 1),
        (3, 1) => Packed("state", 2),
        (12, 3) => Packed("point", 1),
        (1, 2) => Parts(&[BINARY]),
        (2, 1) => Parts(&[field!("state" U8)]),
        (2, 2) => Parts(&[BINARY, TIMESTAMP]),
        (2, 3) => Parts(&[BINARY, field!("timestamp" U16)]),
        (3, 2) | (4, 1) => Parts(&[DOUBLE]),
        (4, 2) => Parts(&[DOUBLE, TIMESTAMP]),
        (4, 3) => Parts(&[DOUBLE, field!("relative_time_ms" U16)]),
        (10, 2) | (11, 1) => Parts(&[OUTPUT]),
        (11, 2) => Parts(&[OUTPUT, TIMESTAMP]),
        (12, 1 | 2) => Parts(&[RELAY]),
        (13, 1) => Parts(&[COMMANDED]),
        (13, 2) => Parts(&[COMMANDED, TIMESTAMP]),
        (20..=23, 1) => Parts(&[COUNTER, COUNT32]),
        (20..=23, 2) => Parts(&[COUNTER, COUNT16]),
        (20..=23, 3) => Parts(&[COUNTER_DELTA, COUNT32]),
        (20..=23, 4) => Parts(&[COUNTER_DELTA, COUNT16]),
        (20, 5 | 7) | (21, 9 | 11) => Parts(&[COUNT32]),
        (20, 6 | 8) | (21, 10 | 12) => Parts(&[COUNT16]),
        (21, 5) => Parts(&[COUNTER_TIMED, COUNT32, TIMESTAMP]),
        (21, 6) => Parts(&[COUNTER_TIMED, COUNT16, TIMESTAMP]),
        (22 | 23, 5) => Parts(&[COUNTER, COUNT32, TIMESTAMP]),
        (22 | 23, 6) => Parts(&[COUNTER, COUNT16, TIMESTAMP]),
        (21..=23, 7) => Parts(&[COUNTER_DELTA, COUNT32, TIMESTAMP]),
        (21..=23, 8) => Parts(&[COUNTER_DELTA, COUNT16, TIMESTAMP]),
        (30..=33 | 40 | 42, 1) => Parts(&[ANALOG, VALUE32]),
        (30..=33 | 40 | 42, 2) => Parts(&[ANALOG, VALUE16]),
        (30, 3) | (31, 5) => Parts(&[VALUE32]),
        (30, 4) | (31, 6) => Parts(&[VALUE16]),
        (31..=33 | 42, 3) => Parts(&[ANALOG, VALUE32, TIMESTAMP]),
        (31..=33 | 42, 4) => Parts(&[ANALOG, VALUE16, TIMESTAMP]),
        (30 | 32 | 33 | 42, 5) | (31, 7) | (40, 3) => Parts(&[ANALOG, VALUE_F32]),
        (30 | 32 | 33 | 42, 6) | (31, 8) | (40, 4) => Parts(&[ANALOG, VALUE_F64]),
        (32 | 33 | 42, 7) => Parts(&[ANALOG, VALUE_F32, TIMESTAMP]),
        (32 | 33 | 42, 8) => Parts(&[ANALOG, VALUE_F64, TIMESTAMP]),
        (34, 1) => Parts(&[field!("deadband_value" U16)]),
        (34, 2) => Parts(&[field!("deadband_value" U32)]),
        (34, 3) => Parts(&[field!("deadband_value" F32)]),
        (41, 1) => Parts(&[VALUE32, CONTROL]),
        (41, 2) => Parts(&[VALUE16, CONTROL]),
        (41, 3) => Parts(&[VALUE_F32, CONTROL]),
        (41, 4) => Parts(&[VALUE_F64, CONTROL]),
        (43, 1) => Parts(&[STATUS, field!("commanded_value" I32)]),
        (43, 2) => Parts(&[STATUS, field!("commanded_value" I16)]),
        (43, 3) => Parts(&[STATUS, field!("commanded_value" I32), TIMESTAMP]),
        (43, 4) => Parts(&[STATUS, field!("commanded_value" I16), TIMESTAMP]),
        (43, 5) => Parts(&[STATUS, field!("commanded_value" F32)]),
        (43, 6) => Parts(&[STATUS, field!("commanded_value" F64)]),
        (43, 7) => Parts(&[STATUS, field!("commanded_value" F32), TIMESTAMP]),
        (43, 8) => Parts(&[STATUS, field!("commanded_value" F64), TIMESTAMP]),
        (50, 1 | 3) | (51, 1 | 2) => Parts(&[TIMESTAMP]),
        (50, 2) => Parts(&[TIMESTAMP, field!("interval" U32)]),
        (50, 4) => Parts(&[TIMESTAMP, field!("interval_count" U32, "interval_units" U8)]),
        (52, 1) => Parts(&[field!("delay_secs" U16)]),
        (52, 2) => Parts(&[field!("delay_ms" U16)]),
        (70, _) => Parts(file(variation)?),
        (81, 1) => Parts(&[
            &[Bits(&[("fill_percentage", 7), ("overflow_state", 1)])],
            field!("group" U8, "variation" U8),
        ]),
        (86, 2) => Parts(&[&[Bits(&[
            ("rd", 1),
            ("wr", 1),
            ("st", 1),
            ("ev", 1),
            ("df", 1),
            ("padding0", 1),
            ("padding1", 1),
            ("padding2", 1),
        ])]]),
        (102, 1) => Parts(&[field!("value" U8)]),
        (120, _) => Parts(authentication(variation)?),
        (121 | 122, 1) => Parts(&[STATISTIC, STATISTICS]),
        (122, 2) => Parts(&[STATISTIC, STATISTICS, TIMESTAMP]),
        _ => return None,
    })
}

/// File transfer.
fn file(variation: u8) -> Option<&'static [&'static [Part]]> {
    Some(match variation {
        1 => &[field!(
            "filename_size" U16, "filetype_code" U8, "attribute_code" U8, "start_record" U16,
            "end_record" U16, "file_size" U32, "created_timestamp" Time, "permission" U16, "file_id" U32,
            "owner_id" U32, "group_id" U32, "file_function_code" U8, "status_code" U8,
            "filename" Chars("filename_size"), "data_size" U16, "data" Chars("data_size")
        )],
        2 => &[field!(
            "username_offset" U16, "username_size" U16, "password_offset" U16, "password_size" U16,
            "authentication_key" U32, "username" Chars("username_size"), "password" Chars("password_size")
        )],
        3 => &[field!(
            "filename_offset" U16, "filename_size" U16, "created" Time, "permissions" U16,
            "authentication_key" U32, "file_size" U32, "operational_mode" U16, "maximum_block_size" U16,
            "request_id" U16, "filename" Chars("filename_size")
        )],
        4 => &[field!(
            "file_handle" U32, "file_size" U32, "maximum_block_size" U16, "request_id" U16,
            "status_code" U8, "optional_text" CharsLeft
        )],
        5 => &[field!("file_handle" U32, "block_number" U32, "file_data" CharsLeft)],
        6 => &[field!("file_handle" U32, "block_number" U32, "status_code" U8, "optional_text" CharsLeft)],
        7 => &[field!(
            "filename_offset" U16, "filename_size" U16, "file_type" U16, "file_size" U32,
            "created_timestamp" Time, "permissions" U16, "request_id" U16, "filename" Chars("filename_size")
        )],
        8 => &[field!("file_specification" CharsLeft)],
        _ => return None,
    })
}

/// Secure authentication.
fn authentication(variation: u8) -> Option<&'static [&'static [Part]]> {
    Some(match variation {
        1 => &[field!("csq" U32, "usr" U16, "mal" U8, "reason" U8, "challenge_data" BytesLeft)],
        2 => &[field!("csq" U32, "usr" U16, "mac_value" BytesLeft)],
        3 => &[field!("csq" U32, "user_number" U16)],
        4 => &[field!("user_number" U16)],
        5 => &[field!(
            "ksq" U32, "user_number" U16, "key_wrap_alg" U8, "key_status" U8, "mal" U8,
            "challenge_data_len" U16, "challenge_data" Bytes("challenge_data_len"), "mac_value" BytesLeft
        )],
        6 => &[field!("ksq" U24, "usr" U16, "wrapped_key_data" BytesLeft)],
        7 => &[field!(
            "sequence_number" U32, "usr" U16, "association_id" U16, "error_code" U8, "time_of_error" Time,
            "error_text" CharsLeft
        )],
        8 => &[field!("key_change_method" U8, "certificate_type" U8, "certificate" BytesLeft)],
        9 => &[field!("mac_value" BytesLeft)],
        10 => &[field!(
            "key_change_method" U8, "operation" U8, "scs" U32, "user_role" U16,
            "user_role_expiry_interval" U16, "username_len" U16, "user_public_key_len" U16,
            "certification_data_len" U16, "username" Chars("username_len"),
            "user_public_key" Bytes("user_public_key_len"),
            "certification_data" Bytes("certification_data_len")
        )],
        11 => &[field!(
            "key_change_method" U8, "username_len" U16, "master_challenge_data_len" U16,
            "username" Chars("username_len"), "master_challenge_data" Bytes("master_challenge_data_len")
        )],
        12 => &[field!(
            "ksq" U32, "user_number" U16, "challenge_data_len" U16,
            "challenge_data" Bytes("challenge_data_len")
        )],
        13 => &[field!(
            "ksq" U32, "user_number" U16, "encrypted_update_key_len" U16,
            "encrypted_update_key_data" Bytes("encrypted_update_key_len")
        )],
        14 => &[field!("digital_signature" BytesLeft)],
        15 => &[field!("mac" BytesLeft)],
        _ => return None,
    })
}

/// An object header (IEEE 1815 section 4.2.2.7).
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) group: u8,
    pub(super) variation: u8,
    pub(super) qualifier: u8,
    pub(super) start: u32,
    pub(super) stop: u32,
    pub(super) count: u32,
}

impl Header {
    /// How the objects are prefixed: 1 to 3 by an index, 4 to 6 by a size.
    pub(super) fn prefix_code(self) -> u8 {
        self.qualifier >> 4 & 7
    }

    /// How the points are named.
    pub(super) fn range_code(self) -> u8 {
        self.qualifier & 15
    }

    /// Whether the prefix is a size.
    pub(super) fn has_size(self) -> bool {
        (4..=6).contains(&self.prefix_code())
    }

    fn prefix_bytes(self) -> Option<usize> {
        Some(match self.prefix_code() {
            0 => 0,
            1 | 4 => 1,
            2 | 5 => 2,
            3 | 6 => 4,
            _ => return None,
        })
    }

    /// Reads a header; returns how many bytes it takes.
    pub(super) fn read(bytes: &[u8]) -> Option<(Header, usize)> {
        let [group, variation, qualifier] = at(bytes, 0)?;
        let byte = |offset| u8_at(bytes, offset).map(u32::from);
        let word = |offset| le16(bytes, offset).map(u32::from);
        let double = |offset| le32(bytes, offset);
        let (start, stop, count, used) = match qualifier & 15 {
            0 | 3 => (byte(3)?, byte(4)?, None, 5),
            1 | 4 => (word(3)?, word(5)?, None, 7),
            2 | 5 => (double(3)?, double(7)?, None, 11),
            6 => (0, 0, Some(0), 3),
            7 => (0, 0, Some(byte(3)?), 4),
            8 => (0, 0, Some(word(3)?), 5),
            9 => (0, 0, Some(double(3)?), 7),
            11 => (0, 0, Some(byte(3)?), 4),
            _ => return None,
        };
        let count = match count {
            Some(count) => count,
            None => stop.checked_sub(start)?.checked_add(1)?,
        };
        Some((Header { group, variation, qualifier, start, stop, count }, used))
    }
}

/// A point's value of one field.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
}

/// What is seen on the walk over objects.
pub(super) trait Visitor {
    /// An object header.
    fn object(&mut self, header: Header);
    /// A point of the object: prefix, index, and size where the prefix is one.
    fn point(&mut self, prefix: u32, index: u32, size: Option<u32>);
    /// A field of the point.
    fn field(&mut self, name: &'static str, value: Value<'_>);
}

/// Walks over the objects of a fragment; fails with the name of what stopped it.
pub(super) fn walk(fragment: &Fragment<'_>, visitor: &mut impl Visitor) -> Result<(), &'static str> {
    let mut rest = fragment.objects;
    let (mut objects, mut points) = (0, 0);
    while !rest.is_empty() {
        let Some((header, used)) = Header::read(rest) else { return Err("len_too_small") };
        objects += 1;
        if objects > OBJECTS_MAX {
            return Err("too_many_objects");
        }
        rest = rest.get(used..).unwrap_or_default();
        visitor.object(header);
        if fragment.names_objects_only() {
            // Points may be named one by one.
            let bytes = header.prefix_bytes().unwrap_or(0) * header.count as usize;
            rest = if header.has_size() { &[] } else { rest.get(bytes..).ok_or("len_too_small")? };
            continue;
        }
        if header.variation == 0 || header.count == 0 {
            continue;
        }
        points += header.count as usize;
        if points > POINTS_MAX {
            return Err("too_many_points");
        }
        let layout = layout(header.group, header.variation).ok_or("unknown_object")?;
        rest = walk_points(header, layout, rest, visitor)?;
    }
    Ok(())
}

fn walk_points<'a>(
    header: Header,
    layout: Layout,
    mut rest: &'a [u8],
    visitor: &mut impl Visitor,
) -> Result<&'a [u8], &'static str> {
    const SHORT: &str = "len_too_small";
    match layout {
        Layout::Packed(name, width) => {
            let bytes = (header.count as usize * usize::from(width)).div_ceil(8);
            let (packed, after) = rest.split_at_checked(bytes).ok_or(SHORT)?;
            for number in 0..header.count {
                let bit = number as usize * usize::from(width);
                let byte = u8_at(packed, bit / 8).unwrap_or(0);
                visitor.point(0, header.start.wrapping_add(number), None);
                let value = byte >> (bit % 8) & ((1 << width) - 1);
                visitor.field(name, Value::Unsigned(value.into()));
            }
            Ok(after)
        }
        Layout::Parts(parts) => {
            let prefix_bytes = header.prefix_bytes().ok_or(SHORT)?;
            for number in 0..header.count {
                let (prefix, after) = rest.split_at_checked(prefix_bytes).ok_or(SHORT)?;
                let prefix = prefix.iter().rev().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
                let (object, after) = if header.has_size() {
                    after.split_at_checked(prefix as usize).ok_or(SHORT)?
                } else {
                    (after, &[][..])
                };
                let size = header.has_size().then_some(prefix);
                let index = match (prefix_bytes, size) {
                    (1.., None) => prefix,
                    _ => header.start.wrapping_add(number),
                };
                visitor.point(prefix, index, size);
                let left = read_point(parts, object, visitor).ok_or(SHORT)?;
                rest = if header.has_size() { after } else { left };
            }
            Ok(rest)
        }
    }
}

/// Reads the fields of one point; returns what is behind it.
fn read_point<'a>(parts: &[&[Part]], mut rest: &'a [u8], visitor: &mut impl Visitor) -> Option<&'a [u8]> {
    // Lengths that later fields refer to; no object has more.
    let mut lengths: [(&str, u64); 8] = [("", 0); 8];
    let mut known = 0;
    for part in parts.iter().copied().flatten() {
        match *part {
            Bits(bits) => {
                let (byte, after) = rest.split_first()?;
                let mut shift = 0;
                for (name, width) in bits {
                    let value = u16::from(*byte) >> shift & ((1 << width) - 1);
                    visitor.field(name, Value::Unsigned(value.into()));
                    shift += width;
                }
                rest = after;
            }
            Field(name, kind) => {
                let length = |field: &str| {
                    let found = lengths.iter().find(|(have, _)| *have == field);
                    found.map_or(0, |(_, length)| *length as usize)
                };
                let bytes = match kind {
                    U8 => 1,
                    U16 | I16 => 2,
                    U24 => 3,
                    U32 | I32 | F32 => 4,
                    Time => 6,
                    F64 => 8,
                    Chars(field) | Bytes(field) => length(field),
                    CharsLeft | BytesLeft => rest.len(),
                };
                let (data, after) = rest.split_at_checked(bytes)?;
                rest = after;
                let value = value_of(kind, data)?;
                if let (Value::Unsigned(number), Some(place)) = (&value, lengths.get_mut(known))
                    && matches!(kind, U16)
                {
                    *place = (name, *number);
                    known += 1;
                }
                visitor.field(name, value);
            }
        }
    }
    Some(rest)
}

fn value_of(kind: Kind, data: &[u8]) -> Option<Value<'_>> {
    Some(match kind {
        U8 | U16 | U24 | U32 | Time => {
            Value::Unsigned(data.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        }
        I16 => Value::Signed(i16::from_le_bytes(at(data, 0)?).into()),
        I32 => Value::Signed(i32::from_le_bytes(at(data, 0)?).into()),
        F32 => Value::Float(f32::from_le_bytes(at(data, 0)?).into()),
        F64 => Value::Float(f64::from_le_bytes(at(data, 0)?)),
        Chars(_) | CharsLeft => Value::Text(data),
        Bytes(_) | BytesLeft => Value::Bytes(data),
    })
}

/// What a fragment is about.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Groups and variations, each once.
    pub(super) kinds: Vec<(u8, u8)>,
    /// What stopped the walk over it.
    pub(super) event: Option<&'static str>,
}

impl Visitor for Summary {
    fn object(&mut self, header: Header) {
        let kind = (header.group, header.variation);
        if self.kinds.len() < KINDS_MAX && !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }

    fn point(&mut self, _: u32, _: u32, _: Option<u32>) {}

    fn field(&mut self, _: &'static str, _: Value<'_>) {}
}

/// Walks a fragment without writing anything.
pub(super) fn summarize(fragment: &Fragment<'_>) -> Summary {
    let mut summary = Summary::default();
    // A confirmation has no objects.
    if fragment.function != 0 {
        summary.event = walk(fragment, &mut summary).err();
    }
    summary
}
