//! From flow records to the bytes of data records, and from those to messages.
//!
//! In: [`FlowRecord`]s and the options records of [`super::options`]. Out: messages of at most a given
//! size, whose sets are padded to four octets. Export time and sequence number are stamped by whoever
//! sends a message ([`stamp`]), because both belong to the moment of sending and to the session.
//! Nothing is allocated per record: bytes go to the end of the message's buffer.

use super::elements::{self as ie, NUMBER_NOT_SEEN};
use super::packets::write_packets;
use super::template::{Layout, LayoutDetail, LayoutTransport};
use super::time::to_ntp;
use super::{MESSAGE_BYTES_MAX, MESSAGE_HEADER_BYTES, SET_HEADER_BYTES, VARIABLE_LENGTH, VERSION};
use crate::app::App;
use crate::evidence::{Evidence, Extents};
use crate::features::{DirectionFeatures, MPLS_LABELS_MAX};
use crate::metadata::{Field, Metadata, Shape, Value};
use crate::record::{DirectionStats, FlowRecord};
use crate::time::Timestamp;
use std::sync::LazyLock;

/// How much of a record's texts is written; for messages that must stay small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLimits {
    /// Most octets of one text.
    pub text_bytes_max: usize,
    /// Most values of one list.
    pub list_values_max: usize,
}

impl TextLimits {
    /// Everything that a record can have.
    pub const ALL: TextLimits = TextLimits { text_bytes_max: usize::MAX, list_values_max: usize::MAX };
    /// Steps from everything to nothing, for a record that does not fit into one message.
    pub const STEPS: [TextLimits; 4] = [
        TextLimits::ALL,
        TextLimits { text_bytes_max: 128, list_values_max: 4 },
        TextLimits { text_bytes_max: 32, list_values_max: 2 },
        TextLimits { text_bytes_max: 0, list_values_max: 0 },
    ];
}

/// `biflowDirection`: the source is the initiator (RFC 5103 section 6.3).
const BIFLOW_INITIATOR: u8 = 1;
/// Octets of the fields between ports and the direction's counters.
const MIDDLE_BYTES: usize = 56;
/// Octets of one direction's counters.
const DIRECTION_BYTES: usize = 29;
/// Octets of the fields about the ring before the extents.
const EVIDENCE_BYTES: usize = 16;

/// Appends the data record of `layout`'s template. An end before the start, which a stepped clock
/// makes and RFC 7011 does not allow, is written as the start.
pub fn encode_flow(
    record: &FlowRecord,
    layout: Layout,
    limits: TextLimits,
    enterprise: u32,
    out: &mut Vec<u8>,
) {
    let (initiator, responder) = (&record.key.initiator.0, &record.key.responder.0);
    if layout.v6 {
        out.extend_from_slice(initiator);
        out.extend_from_slice(responder);
    } else {
        out.extend_from_slice(&initiator[12..]);
        out.extend_from_slice(&responder[12..]);
    }
    if layout.is_icmp() {
        let (kind, code) = record.icmp.unwrap_or_default();
        out.extend_from_slice(&[kind, code]);
    } else {
        out.extend_from_slice(&record.key.initiator_port.to_be_bytes());
        out.extend_from_slice(&record.key.responder_port.to_be_bytes());
    }
    out.extend_from_slice(&middle(record));
    let features = &record.features;
    out.extend_from_slice(&direction(&record.forward));
    write_direction_features(layout, &features.forward, out);
    if layout.biflow {
        out.push(BIFLOW_INITIATOR);
        out.extend_from_slice(&direction(&record.reverse));
        write_direction_features(layout, &features.reverse, out);
    }
    write_features(layout, record, limits, enterprise, out);
    let name = if record.app == App::Unknown { "" } else { record.app.name() };
    write_variable(name.as_bytes(), out);
    if layout.app != App::Unknown {
        write_fields(layout, record.metadata(), limits, enterprise, out);
    }
    if layout.ring
        && let Some(evidence) = &record.evidence
    {
        write_evidence(evidence, out);
    }
}

/// What is said of the ring; counts that a field cannot hold are written as the most that it can.
pub(super) fn write_evidence(evidence: &Evidence, out: &mut Vec<u8>) {
    let count = |frames: u64| u32::try_from(frames).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = [0; EVIDENCE_BYTES];
    bytes[..8].copy_from_slice(&evidence.expires.map_or(0, Timestamp::millis).to_be_bytes());
    bytes[8..12].copy_from_slice(&count(evidence.frames_kept));
    bytes[12..].copy_from_slice(&count(evidence.frames_missed));
    out.extend_from_slice(&bytes);
    write_extents(&evidence.extents, out);
}

/// Extents as a variable-length text, written in place: nearly all of them take the short form of a length.
fn write_extents(extents: &Extents, out: &mut Vec<u8>) {
    let from = out.len();
    out.push(0);
    extents.write(out);
    let length = out.len() - from - 1;
    match (u8::try_from(length), out.get_mut(from)) {
        (Ok(short), Some(place)) if short < 255 => *place = short,
        _ => {
            let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            out.splice(from..=from, [255, high, low]);
        }
    }
}

/// Every field from `protocolIdentifier` to `weirConnectionState`.
fn middle(record: &FlowRecord) -> [u8; MIDDLE_BYTES] {
    let mut bytes = [0; MIDDLE_BYTES];
    bytes[0] = record.key.protocol;
    bytes[1] = record.end_reason as u8;
    bytes[2] = record.state as u8;
    bytes[3..11].copy_from_slice(&record.flow_id.to_be_bytes());
    bytes[11..31].copy_from_slice(&record.community_id.0);
    bytes[31..39].copy_from_slice(&to_ntp(record.start).to_be_bytes());
    bytes[39..47].copy_from_slice(&to_ntp(record.end.max(record.start)).to_be_bytes());
    bytes[47..49].copy_from_slice(&record.vlans[0].to_be_bytes());
    bytes[49..51].copy_from_slice(&record.vlans[1].to_be_bytes());
    bytes[51..55].copy_from_slice(&record.interface.to_be_bytes());
    bytes[55] = record.features.connection.map_or(0, |state| state as u8);
    bytes
}

fn direction(stats: &DirectionStats) -> [u8; DIRECTION_BYTES] {
    let mut bytes = [0; DIRECTION_BYTES];
    bytes[0..8].copy_from_slice(&stats.packets.to_be_bytes());
    bytes[8..16].copy_from_slice(&stats.octets.to_be_bytes());
    bytes[16..18].copy_from_slice(&stats.tcp_flags.to_be_bytes());
    bytes[18] = stats.ttl_min;
    bytes[19] = stats.ttl_max;
    bytes[20] = stats.tos;
    bytes[21..29].copy_from_slice(&stats.frame_octets.to_be_bytes());
    bytes
}

/// Octets put together before they are appended at once.
struct Octets {
    bytes: [u8; DIRECTION_BYTES_MAX],
    len: usize,
}

/// Most octets of a direction's features.
const DIRECTION_BYTES_MAX: usize = 80;

impl Octets {
    #[inline]
    fn put<const N: usize>(&mut self, value: [u8; N]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + N) {
            place.copy_from_slice(&value);
            self.len += N;
        }
    }
}

/// What follows a direction's counts. Each form is a function of its own, in which every place is known beforehand.
fn write_direction_features(layout: Layout, features: &DirectionFeatures, out: &mut Vec<u8>) {
    let has_statistics = layout.detail != LayoutDetail::None;
    match (layout.is_tcp(), layout.transport == LayoutTransport::TcpWithTrouble, has_statistics) {
        (false, _, false) => write_direction_form::<false, false, false>(features, out),
        (false, _, true) => write_direction_form::<false, false, true>(features, out),
        (true, false, false) => write_direction_form::<true, false, false>(features, out),
        (true, false, true) => write_direction_form::<true, false, true>(features, out),
        (true, true, false) => write_direction_form::<true, true, false>(features, out),
        (true, true, true) => write_direction_form::<true, true, true>(features, out),
    }
}

fn write_direction_form<const TCP: bool, const TROUBLE: bool, const STATISTICS: bool>(
    features: &DirectionFeatures,
    out: &mut Vec<u8>,
) {
    let mut octets = Octets { bytes: [0; DIRECTION_BYTES_MAX], len: 0 };
    octets.put(features.source_mac);
    octets.put(features.destination_mac);
    octets.put([features.entropy.unwrap_or(0)]);
    if TCP {
        octets.put(features.initial_window.to_be_bytes());
    }
    if TROUBLE {
        let trouble = &features.trouble;
        octets.put(trouble.retransmitted.to_be_bytes());
        octets.put(trouble.out_of_order.to_be_bytes());
        octets.put(trouble.duplicate_acks.to_be_bytes());
        octets.put(trouble.zero_windows.to_be_bytes());
        octets.put(trouble.missed_octets.to_be_bytes());
    }
    if STATISTICS {
        octets.put(features.octets_min.to_be_bytes());
        octets.put(features.octets_max.to_be_bytes());
        octets.put(features.octets_squared.to_be_bytes());
        octets.put(features.gap_min_us.to_be_bytes());
        octets.put(features.gap_max_us.to_be_bytes());
        octets.put(features.gap_sum_us.to_be_bytes());
        octets.put(features.gap_squared_us2.to_be_bytes());
    }
    out.extend_from_slice(octets.bytes.get(..octets.len).unwrap_or_default());
}

/// What is said of the flow as a whole.
fn write_features(
    layout: Layout,
    record: &FlowRecord,
    limits: TextLimits,
    enterprise: u32,
    out: &mut Vec<u8>,
) {
    let features = &record.features;
    if layout.is_tcp() {
        let mut times = [0; 8];
        times[..4].copy_from_slice(&features.server_rtt_us.unwrap_or(u32::MAX).to_be_bytes());
        times[4..].copy_from_slice(&features.client_rtt_us.unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&times);
        write_variable(features.history.as_str().as_bytes(), out);
    }
    if features.mpls[0] == 0 {
        out.extend_from_slice(&[0; MPLS_LABELS_MAX]);
    } else {
        for entry in features.mpls {
            match entry {
                0 => out.push(0),
                entry => {
                    let [_, high, middle, low] = entry.to_be_bytes();
                    out.extend_from_slice(&[3, high, middle, low]);
                }
            }
        }
    }
    match &record.tunnel {
        None => out.push(0),
        // Two addresses, ports and numbers are shorter than the short form of a length can say.
        Some(tunnel) => write_variable(tunnel.to_string().as_bytes(), out),
    }
    if layout.detail == LayoutDetail::Packets {
        let packets = &features.first_packets;
        let packets = packets.get(..limits.list_values_max).unwrap_or(packets);
        write_packets(packets, enterprise, out);
    }
}

/// The fields of an application's records as they are where nothing was learned; most of a record's are.
struct Blank {
    /// Without lists, which name the enterprise.
    octets: Box<[u8]>,
    fields: Box<[Place]>,
}

/// Where a field is in that; a list has no octets there.
struct Place {
    field: Field,
    shape: Shape,
    begin: usize,
    end: usize,
}

static BLANKS: LazyLock<Vec<Blank>> = LazyLock::new(|| {
    let last = App::ALL.iter().map(|app| *app as usize).max().unwrap_or(0);
    let mut blanks: Vec<Blank> =
        (0..=last).map(|_| Blank { octets: Box::default(), fields: Box::default() }).collect();
    for app in App::ALL {
        let (mut octets, mut fields) = (Vec::new(), Vec::new());
        for field in Field::of(*app) {
            let (begin, shape) = (octets.len(), field.shape());
            if shape != Shape::TextList {
                write_field((field, shape), None, TextLimits::ALL, 0, &mut octets);
            }
            fields.push(Place { field, shape, begin, end: octets.len() });
        }
        if let Some(blank) = blanks.get_mut(*app as usize) {
            *blank = Blank { octets: octets.into(), fields: fields.into() };
        }
    }
    blanks
});

/// What was learned of the application; what was not is written in one piece up to the next that was.
fn write_fields(layout: Layout, metadata: &Metadata, limits: TextLimits, enterprise: u32, out: &mut Vec<u8>) {
    let Some(blank) = BLANKS.get(layout.app as usize) else { return };
    // Where each field's value is, plus one: looked for field by field, they would be compared each with each.
    let mut values = [0u16; Field::ALL.len()];
    for ((field, _), value) in metadata.iter().zip(1..=u16::MAX) {
        if let Some(known) = values.get_mut(field as usize) {
            *known = value;
        }
    }
    let mut from = 0;
    for place in &blank.fields {
        let value = values.get(place.field as usize).copied().unwrap_or(0);
        if value == 0 && place.begin < place.end {
            continue;
        }
        if from < place.begin {
            out.extend_from_slice(blank.octets.get(from..place.begin).unwrap_or_default());
        }
        from = place.end;
        let value = usize::from(value).checked_sub(1).and_then(|at| metadata.at(at));
        write_field((place.field, place.shape), value, limits, enterprise, out);
    }
    out.extend_from_slice(blank.octets.get(from..).unwrap_or_default());
}

#[inline]
fn write_field(
    (field, shape): (Field, Shape),
    value: Option<&Value>,
    limits: TextLimits,
    enterprise: u32,
    out: &mut Vec<u8>,
) {
    match shape {
        Shape::Text => {
            let text = if let Some(Value::Text(text)) = value { text } else { "" };
            write_variable(cut(text, limits.text_bytes_max).as_bytes(), out);
        }
        Shape::Number => {
            let number = if let Some(Value::Number(number)) = value { Some(*number) } else { None };
            if field.element().enterprise == 0 {
                let number = number.map_or(0, |number| u16::try_from(number).unwrap_or(u16::MAX));
                out.extend_from_slice(&number.to_be_bytes());
            } else {
                out.extend_from_slice(&number.unwrap_or(NUMBER_NOT_SEEN).to_be_bytes());
            }
        }
        Shape::TextList => {
            let list = if let Some(Value::TextList(list)) = value { &list[..] } else { &[] };
            write_list(list, limits, enterprise, out);
        }
    }
}

/// A basicList (RFC 6313 section 4.5.1) of texts, in the three-octet form of its length, which leaves
/// room to fill it in afterwards.
fn write_list(values: &[Box<str>], limits: TextLimits, enterprise: u32, out: &mut Vec<u8>) {
    if values.is_empty() || limits.list_values_max == 0 {
        out.push(LIST_HEADER_BYTES as u8);
    } else {
        out.extend_from_slice(&[255, 0, 0]);
    }
    let from = out.len();
    out.push(LIST_ORDERED);
    out.extend_from_slice(&(ie::TEXT.id.number | 0x8000).to_be_bytes());
    out.extend_from_slice(&VARIABLE_LENGTH.to_be_bytes());
    out.extend_from_slice(&enterprise.to_be_bytes());
    for value in values.iter().take(limits.list_values_max) {
        write_variable(cut(value, limits.text_bytes_max).as_bytes(), out);
    }
    if out.len() - from > LIST_HEADER_BYTES {
        let length = u16::try_from(out.len() - from).unwrap_or(u16::MAX);
        if let Some(place) = out.get_mut(from - 2..from) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// A list's order is that of its values (RFC 6313 section 4.4.5).
pub(super) const LIST_ORDERED: u8 = 4;
/// Octets of a basicList of enterprise elements without values.
pub(super) const LIST_HEADER_BYTES: usize = 9;

/// A variable-length value with its length in front (RFC 7011 section 7), cut at what a length can say.
pub fn write_variable(value: &[u8], out: &mut Vec<u8>) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    match u8::try_from(value.len()) {
        Ok(length) if length < 255 => out.push(length),
        _ => {
            let [high, low] = (value.len() as u16).to_be_bytes();
            out.extend_from_slice(&[255, high, low]);
        }
    }
    out.extend_from_slice(value);
}

/// The longest beginning of a text that ends at a character and has at most `bytes_max` octets.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

/// What became of a record that was to join a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is in.
    In,
    /// The message has no room left for it: finish it and try again.
    Full,
    /// It does not even fit into an empty message.
    TooLong,
}

/// One message being filled.
#[derive(Debug)]
pub struct MessageBuilder {
    bytes: Vec<u8>,
    bytes_max: usize,
    domain: u32,
    /// Where the open set begins and its identifier.
    set: Option<(usize, u16)>,
}

impl MessageBuilder {
    /// Messages of an observation domain with at most `bytes_max` octets, itself at most
    /// [`MESSAGE_BYTES_MAX`].
    pub fn new(domain: u32, bytes_max: usize) -> MessageBuilder {
        let bytes_max = bytes_max.min(MESSAGE_BYTES_MAX);
        let mut builder =
            MessageBuilder { bytes: Vec::with_capacity(bytes_max), bytes_max, domain, set: None };
        builder.begin();
        builder
    }

    /// Lets messages have another size, from what is pushed next on.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max.min(MESSAGE_BYTES_MAX);
    }

    fn begin(&mut self) {
        self.bytes.clear();
        self.set = None;
        self.bytes.extend_from_slice(&VERSION.to_be_bytes());
        self.bytes.extend_from_slice(&[0; 10]);
        self.bytes.extend_from_slice(&self.domain.to_be_bytes());
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == MESSAGE_HEADER_BYTES
    }

    /// Appends one record to the set `set_id`, which is opened if another one is open. Unless the record
    /// is in, the message is as it was before.
    #[inline]
    pub fn push(&mut self, set_id: u16, write: impl FnOnce(&mut Vec<u8>)) -> Pushed {
        let (bytes_before, set_before) = (self.bytes.len(), self.set);
        if !matches!(self.set, Some((_, open)) if open == set_id) {
            self.close_set();
            self.set = Some((self.bytes.len(), set_id));
            self.bytes.extend_from_slice(&set_id.to_be_bytes());
            self.bytes.extend_from_slice(&[0; 2]);
        }
        write(&mut self.bytes);
        if self.bytes.len().next_multiple_of(4) <= self.bytes_max {
            return Pushed::In;
        }
        self.bytes.truncate(bytes_before);
        self.set = set_before;
        if self.is_empty() { Pushed::TooLong } else { Pushed::Full }
    }

    /// Lets the next record begin a set of its own, even if it has the same identifier.
    pub fn end_set(&mut self) {
        self.close_set();
    }

    /// Pads the open set to four octets and writes its length.
    fn close_set(&mut self) {
        let Some((begin, _)) = self.set.take() else { return };
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
        let length = u16::try_from(padded - begin).unwrap_or(u16::MAX);
        if let Some(place) = self.bytes.get_mut(begin + 2..begin + SET_HEADER_BYTES) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Ends the message and begins the next in `next`'s memory. The message lacks only its [`stamp`].
    pub fn finish(&mut self, next: Vec<u8>) -> Vec<u8> {
        self.close_set();
        let length = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        if let Some(place) = self.bytes.get_mut(2..4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        let message = std::mem::replace(&mut self.bytes, next);
        self.begin();
        message
    }
}

/// Writes export time (Unix seconds) and sequence number into a finished message's header.
pub fn stamp(message: &mut [u8], export_time_s: u32, sequence: u32) {
    if let Some(place) = message.get_mut(4..12) {
        place[..4].copy_from_slice(&export_time_s.to_be_bytes());
        place[4..].copy_from_slice(&sequence.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_rfc_s_bytes() {
        let mut builder = MessageBuilder::new(7, 100);
        assert_eq!(builder.push(256, |out| out.extend_from_slice(&[1, 2, 3])), Pushed::In);
        assert_eq!(builder.push(256, |out| out.extend_from_slice(&[4, 5, 6])), Pushed::In);
        assert_eq!(builder.push(257, |out| out.extend_from_slice(&[9])), Pushed::In);
        let mut message = builder.finish(Vec::new());
        stamp(&mut message, 0x5000_0000, 42);
        #[rustfmt::skip]
        let want = [
            0, 10, 0, 36, 0x50, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 7,
            1, 0, 0, 12, 1, 2, 3, 4, 5, 6, 0, 0,
            1, 1, 0, 8, 9, 0, 0, 0,
        ];
        assert_eq!(message, want);
        assert!(builder.is_empty());
    }

    #[test]
    fn a_message_takes_what_fits_and_not_one_octet_more() {
        let mut builder = MessageBuilder::new(0, 32);
        let write = |length: usize| move |out: &mut Vec<u8>| out.resize(out.len() + length, 1);
        assert_eq!(builder.push(256, write(13)), Pushed::TooLong);
        assert!(builder.is_empty());
        assert_eq!(builder.push(256, write(12)), Pushed::In);
        assert_eq!(builder.push(256, write(1)), Pushed::Full);
        assert_eq!(builder.push(257, write(1)), Pushed::Full);
        assert_eq!(builder.finish(Vec::new()).len(), 32);
    }

    #[test]
    fn a_value_takes_the_short_length_up_to_254() {
        for (length, head) in
            [(0, vec![0]), (254, vec![254]), (255, vec![255, 0, 255]), (300, vec![255, 1, 44])]
        {
            let mut out = Vec::new();
            write_variable(&vec![b'x'; length], &mut out);
            assert_eq!(out[..head.len()], head);
            assert_eq!(out.len(), head.len() + length);
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("aéb", 2), "a");
        assert_eq!(cut("aéb", 3), "aé");
        assert_eq!(cut("aéb", 0), "");
    }
}
