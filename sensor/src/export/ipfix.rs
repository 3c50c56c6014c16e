//! Messages for one destination: records and statistics into messages, templates into announcements.
//!
//! In: flow records, alerts, statistics. Out: finished [`Message`]s, each with what it carries and how many of
//! the destination's templates a session must have announced before it. Knows no socket: the same
//! messages can be sent again in a later session.

use super::selected::Selected;
use std::collections::VecDeque;
use weir_common::ipfix::alert::{SHORTENED, write_alert};
use weir_common::ipfix::elements;
use weir_common::ipfix::encode::{MessageBuilder, Pushed, TextLimits, encode_flow};
use weir_common::ipfix::options::{self, Lost, OptionsKind, Place, Sensor};
use weir_common::ipfix::template::{FieldSpec, Layout, write_template};
use weir_common::ipfix::{
    MESSAGE_BYTES_MAX, MESSAGE_HEADER_BYTES, OPTIONS_TEMPLATE_SET, SET_HEADER_BYTES, TEMPLATE_SET,
};
use weir_common::record::{FlowRecord, SignatureAlert};

/// Buffers of sent messages kept for later ones.
const SPARE_BUFFERS_MAX: usize = 4;

/// What a message carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Data records, options records included: what sequence numbers count.
    pub(super) records: u32,
    /// Flow records.
    pub(super) flows: u64,
    /// Alerts.
    pub(super) alerts: u64,
    /// Packets of those flows.
    pub(super) packets: u64,
    /// Octets of those flows.
    pub(super) octets: u64,
}

impl Tally {
    const NOTHING: Tally = Tally { records: 0, flows: 0, alerts: 0, packets: 0, octets: 0 };
    const OPTION: Tally = Tally { records: 1, ..Tally::NOTHING };
    const ALERT: Tally = Tally { alerts: 1, ..Tally::OPTION };

    pub(super) fn of(record: &FlowRecord) -> Tally {
        Tally {
            records: 1,
            flows: 1,
            alerts: 0,
            packets: record.forward.packets.saturating_add(record.reverse.packets),
            octets: record.forward.octets.saturating_add(record.reverse.octets),
        }
    }

    /// Records of which nothing more is known.
    pub(super) fn of_records(count: u64) -> Tally {
        Tally { records: u32::try_from(count).unwrap_or(u32::MAX), flows: count, ..Tally::NOTHING }
    }

    pub(super) fn add(&mut self, other: Tally) {
        self.records = self.records.saturating_add(other.records);
        self.flows += other.flows;
        self.alerts += other.alerts;
        self.packets = self.packets.saturating_add(other.packets);
        self.octets = self.octets.saturating_add(other.octets);
    }
}

/// A finished message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) tally: Tally,
    /// How many of [`Templates`] the session must have announced.
    pub(super) templates: usize,
}

/// Fills messages one after the other.
pub(super) struct Assembler {
    domain: u32,
    builder: MessageBuilder,
    bytes_max: usize,
    tally: Tally,
    templates: usize,
    /// Each message begins with its place, which is stamped when it is known.
    has_places: bool,
    /// Nothing but a place was pushed yet.
    is_blank: bool,
    finished: VecDeque<Message>,
    finished_bytes: usize,
    spare: Vec<Vec<u8>>,
}

impl Assembler {
    pub(super) fn new(domain: u32, bytes_max: usize) -> Assembler {
        Assembler {
            domain,
            builder: MessageBuilder::new(domain, bytes_max),
            bytes_max: bytes_max.min(MESSAGE_BYTES_MAX),
            tally: Tally::NOTHING,
            templates: 0,
            has_places: false,
            is_blank: true,
            finished: VecDeque::new(),
            finished_bytes: 0,
            spare: Vec::new(),
        }
    }

    /// The same with messages that say where their records stand in a spool.
    pub(super) fn with_places(domain: u32, bytes_max: usize) -> Assembler {
        Assembler { has_places: true, ..Assembler::new(domain, bytes_max) }
    }

    /// Appends a record that needs the first `templates` templates; false when no message can hold it.
    #[inline]
    pub(super) fn push(
        &mut self,
        set: u16,
        tally: Tally,
        templates: usize,
        write: impl Fn(&mut Vec<u8>),
    ) -> bool {
        loop {
            if self.has_places && self.builder.is_empty() {
                let domain = self.domain;
                self.builder.push(OptionsKind::Place.id(), |out| Place::default().write(domain, out));
                self.tally.add(Tally::OPTION);
            }
            match self.builder.push(set, &write) {
                Pushed::In => {
                    self.tally.add(tally);
                    self.templates = templates;
                    self.is_blank = false;
                    return true;
                }
                Pushed::Full if self.is_blank => return false,
                Pushed::Full => self.finish(),
                Pushed::TooLong => return false,
            }
        }
    }

    /// Lets the next record begin a set of its own.
    fn end_set(&mut self) {
        self.builder.end_set();
    }

    /// Messages from the next on have at most `bytes_max` octets.
    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        if self.bytes_max != bytes_max {
            self.finish();
            self.bytes_max = bytes_max.min(MESSAGE_BYTES_MAX);
            self.builder.set_bytes_max(bytes_max);
        }
    }

    /// Whether an empty message has room for a record of so many octets.
    pub(super) fn can_hold(&self, record_bytes: usize) -> bool {
        MESSAGE_HEADER_BYTES + SET_HEADER_BYTES + record_bytes.next_multiple_of(4) <= self.bytes_max
    }

    /// Ends the message that is being filled, unless it is empty.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.is_blank, true) {
            return;
        }
        let bytes = self.builder.finish(self.spare.pop().unwrap_or_default());
        self.finished_bytes += bytes.len();
        let tally = std::mem::take(&mut self.tally);
        self.finished.push_back(Message { bytes, tally, templates: self.templates });
    }

    pub(super) fn front(&mut self) -> Option<&mut Message> {
        self.finished.front_mut()
    }

    /// Takes a finished message out of the queue, by its place.
    pub(super) fn remove(&mut self, index: usize) -> Option<Message> {
        let message = self.finished.remove(index)?;
        self.finished_bytes -= message.bytes.len();
        Some(message)
    }

    /// Gives a message's buffer back for a later one.
    pub(super) fn recycle(&mut self, message: Message) {
        if self.spare.len() < SPARE_BUFFERS_MAX {
            self.spare.push(message.bytes);
        }
    }

    pub(super) fn clear(&mut self) {
        self.finished.clear();
        self.finished_bytes = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.finished.len()
    }

    pub(super) fn finished_bytes(&self) -> usize {
        self.finished_bytes
    }
}

/// The templates that a destination uses, in the order of their first use.
pub(super) struct Templates {
    used: Vec<Layout>,
    /// One bit per template identifier.
    known: Box<[u64; 1024]>,
}

impl Templates {
    pub(super) fn new() -> Templates {
        Templates { used: Vec::new(), known: Box::new([0; 1024]) }
    }

    pub(super) fn len(&self) -> usize {
        self.used.len()
    }

    fn note(&mut self, layout: Layout) {
        let id = usize::from(layout.id());
        let bit = 1 << (id % 64);
        if self.known[id / 64] & bit == 0 {
            self.known[id / 64] |= bit;
            self.used.push(layout);
        }
    }

    /// Notes what a message needs that was made earlier, by the identifiers of its sets.
    pub(super) fn note_sets(&mut self, sets: impl Iterator<Item = u16>) {
        for id in sets {
            let is_known = self.known[usize::from(id) / 64] & (1 << (id % 64)) != 0;
            if !is_known && let Some(layout) = Layout::from_id(id) {
                self.note(layout);
            }
        }
    }
}

/// Statistics of the metering process, told in options records.
#[derive(Clone, Debug, Default)]
pub(super) struct Metering {
    /// Name and drops by cause.
    pub(super) sensor: Sensor,
    /// What was never measured.
    pub(super) ignored: Lost,
}

/// How records become messages at one destination.
pub(super) struct Form {
    pub(super) domain: u32,
    pub(super) enterprise: u32,
    /// Present for a collector that does not take everything.
    pub(super) selected: Option<Selected>,
}

impl Form {
    /// Appends a flow record, with shorter texts if it does not fit otherwise. Gives how many steps it
    /// was shortened, `None` when it could not be sent at all.
    #[inline]
    pub(super) fn flow(
        &mut self,
        record: &FlowRecord,
        templates: &mut Templates,
        data: &mut Assembler,
    ) -> Option<usize> {
        let layout = Layout::of(record);
        if let Some(selected) = &mut self.selected {
            templates.note(selected.sent_layout(layout));
            return selected.flow(record, layout, self.enterprise, templates.len(), data);
        }
        templates.note(layout);
        let tally = Tally::of(record);
        TextLimits::STEPS.iter().position(|limits| {
            data.push(layout.id(), tally, templates.len(), |out| {
                encode_flow(record, layout, *limits, self.enterprise, out);
            })
        })
    }

    /// Appends an alert, with shorter texts if it does not fit otherwise; false when it could not be sent at all.
    pub(super) fn alert(
        &mut self,
        alert: &SignatureAlert,
        templates: &Templates,
        data: &mut Assembler,
    ) -> bool {
        SHORTENED.iter().any(|limits| {
            self.option(OptionsKind::Alert, Tally::ALERT, templates.len(), data, &|out| {
                write_alert(alert, *limits, out);
            })
        })
    }

    /// Appends the statistics of RFC 7011 section 4: what left, what was not measured, what was not sent.
    pub(super) fn statistics(
        &mut self,
        metering: &Metering,
        (messages, flows, octets): (u64, u64, u64),
        not_sent: &Lost,
        templates: usize,
        data: &mut Assembler,
    ) {
        let domain = self.domain;
        let mut push = |kind: OptionsKind, write: &dyn Fn(&mut Vec<u8>)| {
            self.option(kind, Tally::OPTION, templates, data, write);
        };
        push(OptionsKind::Metering, &|out| options::write_metering(domain, messages, flows, octets, out));
        push(OptionsKind::MeteringReliability, &|out| {
            options::write_metering_reliability(domain, &metering.ignored, out);
        });
        push(OptionsKind::ExportingReliability, &|out| {
            options::write_exporting_reliability(EXPORTING_PROCESS, not_sent, out);
        });
        let sensor = &metering.sensor;
        let observed =
            sensor.captured_frames + sensor.kernel_dropped_frames + sensor.interface_dropped_frames;
        push(OptionsKind::Selector, &|out| options::write_selector(observed, sensor.captured_frames, out));
        push(OptionsKind::Sensor, &|out| sensor.write(domain, out));
    }

    /// Appends what a session begins with: options templates, descriptions of Weir's own elements, and
    /// the sensor's name.
    pub(super) fn opening(&mut self, metering: &Metering, control: &mut Assembler) {
        for kind in OptionsKind::ALL {
            let Some(fields) = self.options_fields(kind) else { continue };
            control.push(OPTIONS_TEMPLATE_SET, Tally::NOTHING, 0, |out| {
                write_template(kind.id(), Some(kind.scope_fields()), &fields, self.enterprise, out);
            });
            // pmacct 1.7.7 takes a set with several options templates for malformed and drops what follows in it.
            control.end_set();
        }
        let (domain, enterprise) = (self.domain, self.enterprise);
        for element in elements::own() {
            self.option(OptionsKind::Element, Tally::OPTION, 0, control, &|out| {
                options::write_element(&element, enterprise, out);
            });
        }
        self.option(OptionsKind::Sensor, Tally::OPTION, 0, control, &|out| {
            metering.sensor.write(domain, out);
        });
    }

    /// The fields of a template, as this collector is told them.
    fn fields(&self, layout: Layout) -> Vec<FieldSpec> {
        self.selected.as_ref().map_or_else(|| layout.fields(), |selected| selected.fields(layout))
    }

    /// The same of an options template; `None` when this collector is not sent it.
    fn options_fields(&self, kind: OptionsKind) -> Option<Vec<FieldSpec>> {
        self.selected.as_ref().map_or_else(|| Some(kind.fields()), |selected| selected.options_fields(kind))
    }

    /// A message of the templates and options templates with these identifiers.
    pub(super) fn templates_of(&self, ids: &[u16]) -> Vec<u8> {
        let mut builder = MessageBuilder::new(self.domain, usize::MAX);
        for id in ids {
            if let Some(layout) = Layout::from_id(*id) {
                builder.push(TEMPLATE_SET, |out| {
                    write_template(*id, None, &self.fields(layout), self.enterprise, out);
                });
            }
            let kind = OptionsKind::ALL.into_iter().find(|kind| kind.id() == *id);
            if let Some((kind, fields)) = kind.and_then(|kind| Some((kind, self.options_fields(kind)?))) {
                builder.push(OPTIONS_TEMPLATE_SET, |out| {
                    write_template(*id, Some(kind.scope_fields()), &fields, self.enterprise, out);
                });
            }
        }
        builder.finish(Vec::new())
    }

    /// What messages of this form are read with: two sensors' are the same when theirs are. Templates are a pure
    /// function of their identifier, so that those of one version are one number.
    pub(super) fn number(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.domain.to_be_bytes());
        if let Some(selected) = &self.selected {
            hasher.update(format!("{:?}", selected.profile()).as_bytes());
        }
        let mut template = Vec::new();
        for layout in Layout::all() {
            template.clear();
            write_template(layout.id(), None, &layout.fields(), self.enterprise, &mut template);
            hasher.update(&template);
        }
        for kind in [OptionsKind::Alert, OptionsKind::Place] {
            template.clear();
            write_template(
                kind.id(),
                Some(kind.scope_fields()),
                &kind.fields(),
                self.enterprise,
                &mut template,
            );
            hasher.update(&template);
        }
        hasher.finalize()
    }

    /// Appends that these numbers of a spool will not come.
    pub(super) fn void(&self, place: &Place, control: &mut Assembler) {
        control.push(OptionsKind::Place.id(), Tally::OPTION, 0, |out| place.write(self.domain, out));
        // A place speaks for the records behind it in its message.
        control.finish();
    }

    /// Appends the templates from the `from`th on, each with its flow keys.
    pub(super) fn announce(&mut self, templates: &Templates, from: usize, control: &mut Assembler) {
        let fresh = templates.used.get(from..).unwrap_or_default();
        for layout in fresh {
            let fields = self.fields(*layout);
            control.push(TEMPLATE_SET, Tally::NOTHING, 0, |out| {
                write_template(layout.id(), None, &fields, self.enterprise, out);
            });
        }
        for layout in fresh {
            // The key's fields come first in every selection too.
            self.option(OptionsKind::FlowKeys, Tally::OPTION, 0, control, &|out| {
                options::write_flow_keys(layout.id(), layout.key_indicator(), out);
            });
        }
    }

    /// Appends an options record; false when no message can hold it.
    fn option(
        &mut self,
        kind: OptionsKind,
        tally: Tally,
        templates: usize,
        data: &mut Assembler,
        write: &dyn Fn(&mut Vec<u8>),
    ) -> bool {
        match &mut self.selected {
            None => data.push(kind.id(), tally, templates, write),
            Some(selected) => selected.option(kind, tally, templates, data, write),
        }
    }
}

/// The number of the only exporting process there is.
const EXPORTING_PROCESS: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::evidence::Evidence;
    use weir_common::ipfix::profile::{Profile, Selection};
    use weir_common::net::Direction;

    #[test]
    fn an_alert_with_endless_texts_and_all_extents_fits_into_the_smallest_message() {
        let flow = FlowRecord::EMPTY;
        let alert = SignatureAlert {
            time: flow.end,
            flow_start: flow.start,
            key: flow.key,
            flow_id: 1,
            community_id: flow.community_id,
            direction: Direction::Forward,
            app: flow.app,
            generator: u32::MAX,
            signature: u32::MAX,
            revision: u32::MAX,
            severity: 255,
            target: None,
            message: "é".repeat(40_000),
            category: "é".repeat(40_000),
            evidence: Some(Box::new(Evidence::default())),
        };
        let mut form = Form { domain: 1, enterprise: elements::COMMUNITY_ID.id.enterprise, selected: None };
        let templates = Templates::new();
        for bytes_max in [512, 1400, 32 << 10] {
            let mut data = Assembler::new(1, bytes_max);
            assert!(form.alert(&alert, &templates, &mut data));
            data.finish();
            let message = data.remove(0).unwrap();
            assert!(message.bytes.len() <= bytes_max);
            assert_eq!((message.tally.alerts, message.tally.records, message.tally.flows), (1, 1, 0));
        }
        assert!(!form.alert(&alert, &templates, &mut Assembler::new(1, 100)));
    }

    #[test]
    fn what_a_spool_keeps_of_templates_is_what_its_collector_was_told() {
        let enterprise = elements::COMMUNITY_ID.id.enterprise;
        let form = |profile| Form { domain: 1, enterprise, selected: Selected::new(profile) };
        let one_way = Profile { biflow: false, ..Profile::FULL };
        assert_ne!(form(Profile::FULL).number(), form(one_way).number());
        let layout = Layout::of(&FlowRecord::EMPTY);
        for profile in [Profile::FULL, one_way, Profile::PLAIN] {
            let mut template = Vec::new();
            write_template(
                layout.id(),
                None,
                Selection::of(layout, profile).fields(),
                enterprise,
                &mut template,
            );
            let message = form(profile).templates_of(&[layout.id()]);
            assert_eq!(message[MESSAGE_HEADER_BYTES + SET_HEADER_BYTES..], template, "{profile:?}");
        }
    }
}
