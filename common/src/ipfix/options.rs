//! Options records: what an exporter says about itself.
//!
//! In: counts and names. Out: options templates and data records: descriptions of Weir's own elements
//! (RFC 5610), statistics and flow keys (RFC 7011 section 4), the sensor's name and its drops.

use super::decode::OptionsRecord;
use super::elements::{self as ie, Element};
use super::encode::write_variable;
use super::template::{FieldSpec, OPTIONS_TEMPLATE_ID_MIN};
use super::time::to_ntp;
use crate::delivery::Position;
use crate::metadata::WEIR_PEN;
use crate::time::Timestamp;
use std::ops::Range;

/// The kinds of options records, which are their templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum OptionsKind {
    /// What one of Weir's own elements is (RFC 5610 section 3.9).
    Element = 0,
    /// Metering process statistics (RFC 7011 section 4.1).
    Metering = 1,
    /// Metering process reliability statistics (RFC 7011 section 4.2).
    MeteringReliability = 2,
    /// Exporting process reliability statistics (RFC 7011 section 4.3).
    ExportingReliability = 3,
    /// Which fields of a template are the flow's key (RFC 7011 section 4.4).
    FlowKeys = 4,
    /// The sensor's name and where it lost what.
    Sensor = 5,
    /// An alert of a signature about a flow ([`super::alert`]).
    Alert = 6,
    /// Where the message's records stand in the exporter's spool.
    Place = 7,
    /// Which packets are measured, and how many those were (RFC 5477 section 6).
    Selector = 8,
}

impl OptionsKind {
    /// Every kind.
    pub const ALL: [OptionsKind; 9] = [
        OptionsKind::Element,
        OptionsKind::Metering,
        OptionsKind::MeteringReliability,
        OptionsKind::ExportingReliability,
        OptionsKind::FlowKeys,
        OptionsKind::Sensor,
        OptionsKind::Alert,
        OptionsKind::Place,
        OptionsKind::Selector,
    ];

    /// The template's identifier.
    pub const fn id(self) -> u16 {
        OPTIONS_TEMPLATE_ID_MIN + self as u16
    }

    /// How many of the first fields are the scope.
    pub const fn scope_fields(self) -> u16 {
        match self {
            OptionsKind::Element => 2,
            _ => 1,
        }
    }

    /// The template's fields, scope first.
    pub fn fields(self) -> Vec<FieldSpec> {
        let elements: &[Element] = match self {
            OptionsKind::Element => &[
                ie::PRIVATE_ENTERPRISE_NUMBER,
                ie::INFORMATION_ELEMENT_ID,
                ie::INFORMATION_ELEMENT_DATA_TYPE,
                ie::INFORMATION_ELEMENT_SEMANTICS,
                ie::INFORMATION_ELEMENT_UNITS,
                ie::INFORMATION_ELEMENT_RANGE_BEGIN,
                ie::INFORMATION_ELEMENT_RANGE_END,
                ie::INFORMATION_ELEMENT_NAME,
                ie::INFORMATION_ELEMENT_DESCRIPTION,
            ],
            OptionsKind::Metering => &[
                ie::OBSERVATION_DOMAIN_ID,
                ie::EXPORTED_MESSAGE_TOTAL_COUNT,
                ie::EXPORTED_FLOW_RECORD_TOTAL_COUNT,
                ie::EXPORTED_OCTET_TOTAL_COUNT,
            ],
            OptionsKind::MeteringReliability => &[
                ie::OBSERVATION_DOMAIN_ID,
                ie::IGNORED_PACKET_TOTAL_COUNT,
                ie::IGNORED_OCTET_TOTAL_COUNT,
                // The RFC lets each of the two times be any observation time; two different ones keep
                // the template free of an element that stands in it twice.
                ie::OBSERVATION_TIME_MILLISECONDS,
                ie::OBSERVATION_TIME_NANOSECONDS,
            ],
            OptionsKind::ExportingReliability => &[
                ie::EXPORTING_PROCESS_ID,
                ie::NOT_SENT_FLOW_TOTAL_COUNT,
                ie::NOT_SENT_PACKET_TOTAL_COUNT,
                ie::NOT_SENT_OCTET_TOTAL_COUNT,
                ie::OBSERVATION_TIME_MILLISECONDS,
                ie::OBSERVATION_TIME_NANOSECONDS,
            ],
            OptionsKind::FlowKeys => &[ie::TEMPLATE_ID, ie::FLOW_KEY_INDICATOR],
            OptionsKind::Sensor => &[
                ie::OBSERVATION_DOMAIN_ID,
                ie::OBSERVATION_DOMAIN_NAME,
                ie::CAPTURED_FRAMES,
                ie::KERNEL_DROPPED_FRAMES,
                ie::INTERFACE_DROPPED_FRAMES,
                ie::UNDECODED_FRAMES,
                ie::QUEUE_DROPPED_FLOWS,
                ie::EARLY_ENDED_FLOWS,
                ie::RING_DROPPED_FRAMES,
            ],
            OptionsKind::Selector => &[
                ie::SELECTOR_ID,
                ie::SELECTOR_ALGORITHM,
                ie::SAMPLING_PACKET_INTERVAL,
                ie::SAMPLING_PACKET_SPACE,
                ie::SELECTOR_ID_TOTAL_PACKETS_OBSERVED,
                ie::SELECTOR_ID_TOTAL_PACKETS_SELECTED,
            ],
            OptionsKind::Alert => &super::alert::FIELDS,
            OptionsKind::Place => {
                &[ie::OBSERVATION_DOMAIN_ID, ie::SPOOL_EPOCH, ie::SPOOL_SEQUENCE, ie::SPOOL_RECORDS]
            }
        };
        elements.iter().copied().map(FieldSpec::of).collect()
    }
}

/// Appends the description of one of Weir's own elements.
pub fn write_element(element: &Element, enterprise: u32, out: &mut Vec<u8>) {
    // A range says nothing for texts and lists; for numbers it is all that their type can hold.
    let range_end = match element.data_type.length() {
        Some(length @ 1..=7) => (1u64 << (8 * length)) - 1,
        Some(8) => u64::MAX,
        _ => 0,
    };
    let pen = if element.id.enterprise == WEIR_PEN { enterprise } else { element.id.enterprise };
    out.extend_from_slice(&pen.to_be_bytes());
    // The number alone: the enterprise bit belongs to field specifiers, not to this value.
    out.extend_from_slice(&element.id.number.to_be_bytes());
    out.extend_from_slice(&[element.data_type as u8, element.semantics as u8]);
    out.extend_from_slice(&(element.units as u16).to_be_bytes());
    out.extend_from_slice(&0u64.to_be_bytes());
    out.extend_from_slice(&range_end.to_be_bytes());
    write_variable(element.name.as_bytes(), out);
    write_variable(element.description.as_bytes(), out);
}

/// What was lost, how much and when first and last; times are zero as long as nothing was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Flow records.
    pub flows: u64,
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub octets: u64,
    /// First loss.
    pub first: Timestamp,
    /// Last loss.
    pub last: Timestamp,
}

impl Lost {
    /// Adds a loss seen at `now`.
    pub fn add(&mut self, flows: u64, packets: u64, octets: u64, now: Timestamp) {
        if *self == Lost::default() {
            self.first = now;
        }
        self.last = now;
        self.flows += flows;
        self.packets += packets;
        self.octets += octets;
    }
}

/// Appends metering process statistics: what left in this domain.
pub fn write_metering(domain: u32, messages: u64, flows: u64, octets: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&domain.to_be_bytes());
    write_numbers(&[messages, flows, octets], out);
}

/// Appends metering process reliability statistics: what was never measured.
pub fn write_metering_reliability(domain: u32, ignored: &Lost, out: &mut Vec<u8>) {
    out.extend_from_slice(&domain.to_be_bytes());
    write_numbers(&[ignored.packets, ignored.octets], out);
    write_times(ignored, out);
}

/// Appends exporting process reliability statistics: what was measured and not sent.
pub fn write_exporting_reliability(process: u32, not_sent: &Lost, out: &mut Vec<u8>) {
    out.extend_from_slice(&process.to_be_bytes());
    write_numbers(&[not_sent.flows, not_sent.packets, not_sent.octets], out);
    write_times(not_sent, out);
}

/// The only selector there is.
const SELECTOR: u64 = 1;
/// Systematic count-based sampling (RFC 5477 section 8.2.1).
const SYSTEMATIC_COUNT_BASED: u16 = 1;

/// Appends which packets are measured: every one of those that reach the sensor.
pub fn write_selector(observed: u64, selected: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&SELECTOR.to_be_bytes());
    out.extend_from_slice(&SYSTEMATIC_COUNT_BASED.to_be_bytes());
    // Of each interval of one packet, one is taken and none left out.
    for number in [1u32, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    write_numbers(&[observed, selected], out);
}

/// Appends which of a template's fields are the flow's key.
pub fn write_flow_keys(template: u16, indicator: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&template.to_be_bytes());
    out.extend_from_slice(&indicator.to_be_bytes());
}

/// The sensor's name and where it lost what; totals since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sensor {
    /// The sensor's name.
    pub name: String,
    /// Frames handed to the workers.
    pub captured_frames: u64,
    /// Frames the kernel dropped.
    pub kernel_dropped_frames: u64,
    /// Frames the interface dropped.
    pub interface_dropped_frames: u64,
    /// Frames that could not be decoded.
    pub undecoded_frames: u64,
    /// Flow records lost before export.
    pub queue_dropped_flows: u64,
    /// Flow records made early because the table was full.
    pub early_ended_flows: u64,
    /// Frames missing in the ring.
    pub ring_dropped_frames: u64,
}

impl Sensor {
    /// Appends the record.
    pub fn write(&self, domain: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&domain.to_be_bytes());
        write_variable(self.name.as_bytes(), out);
        write_numbers(
            &[
                self.captured_frames,
                self.kernel_dropped_frames,
                self.interface_dropped_frames,
                self.undecoded_frames,
                self.queue_dropped_flows,
                self.early_ended_flows,
                self.ring_dropped_frames,
            ],
            out,
        );
    }
}

/// Where a message's records stand in the exporter's spool: the first record of such a message.
///
/// It speaks for `count` numbers from `first` on. Records that follow in the message have these numbers in their
/// order; numbers without a record will never come. A place alone in its message says so of all of its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Epoch and number of the first record.
    pub first: Position,
    /// How many numbers it speaks for.
    pub count: u64,
}

impl Place {
    /// Octets of the record.
    pub const BYTES: usize = 28;
    /// Where the record stands in a message that it is the first of.
    pub const OFFSET: usize = super::MESSAGE_HEADER_BYTES + super::SET_HEADER_BYTES;

    /// Appends the record.
    pub fn write(&self, domain: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&domain.to_be_bytes());
        write_numbers(&[self.first.epoch, self.first.sequence, self.count], out);
    }

    /// Writes over the record that a message begins with.
    pub fn stamp(&self, message: &mut [u8]) {
        if let Some(place) = message.get_mut(Place::OFFSET + 4..Place::OFFSET + Place::BYTES) {
            place[..8].copy_from_slice(&self.first.epoch.to_be_bytes());
            place[8..16].copy_from_slice(&self.first.sequence.to_be_bytes());
            place[16..].copy_from_slice(&self.count.to_be_bytes());
        }
    }

    /// Reads an options record of any exporter; `None` when it is no place, or its numbers pass the last that there is.
    pub fn read(options: &OptionsRecord<'_>) -> Option<Place> {
        let epoch = options.number(ie::SPOOL_EPOCH)?;
        let sequence = options.number(ie::SPOOL_SEQUENCE)?;
        let count = options.number(ie::SPOOL_RECORDS)?;
        sequence.checked_add(count)?;
        Some(Place { first: Position { epoch, sequence }, count })
    }

    /// The numbers that it speaks for.
    pub fn range(&self) -> Range<u64> {
        self.first.sequence..self.first.sequence.saturating_add(self.count)
    }
}

fn write_numbers(numbers: &[u64], out: &mut Vec<u8>) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn write_times(lost: &Lost, out: &mut Vec<u8>) {
    out.extend_from_slice(&lost.first.millis().to_be_bytes());
    out.extend_from_slice(&to_ntp(lost.last).to_be_bytes());
}
