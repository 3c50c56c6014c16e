//! An exporter for tests: Weir's own templates and records as messages.

use weir_common::ipfix::MESSAGE_BYTES_MAX;
use weir_common::ipfix::OPTIONS_TEMPLATE_SET;
use weir_common::ipfix::TEMPLATE_SET;
use weir_common::ipfix::encode::{MessageBuilder, Pushed, TextLimits, encode_flow, stamp};
use weir_common::ipfix::options::{OptionsKind, Sensor};
use weir_common::ipfix::template::{Layout, write_template};
use weir_common::metadata::WEIR_PEN;
use weir_common::record::FlowRecord;

/// An exporting process with its sequence number.
pub(crate) struct Exporting {
    builder: MessageBuilder,
    sequence: u32,
}

impl Exporting {
    /// One for an observation domain.
    pub(crate) fn new(domain: u32) -> Exporting {
        Exporting { builder: MessageBuilder::new(domain, MESSAGE_BYTES_MAX), sequence: 0 }
    }

    fn finish(&mut self, records: u32) -> Vec<u8> {
        let mut message = self.builder.finish(Vec::new());
        stamp(&mut message, 1_795_176_000, self.sequence);
        self.sequence += records;
        message
    }

    /// Every template there is.
    pub(crate) fn templates(&mut self) -> Vec<u8> {
        for layout in Layout::all() {
            let pushed = self
                .builder
                .push(TEMPLATE_SET, |out| write_template(layout.id(), None, &layout.fields(), WEIR_PEN, out));
            assert_eq!(pushed, Pushed::In);
        }
        self.finish(0)
    }

    /// A message of records.
    pub(crate) fn records(&mut self, records: &[FlowRecord]) -> Vec<u8> {
        for record in records {
            let layout = Layout::of(record);
            let pushed = self
                .builder
                .push(layout.id(), |out| encode_flow(record, layout, TextLimits::ALL, WEIR_PEN, out));
            assert_eq!(pushed, Pushed::In);
        }
        self.finish(records.len() as u32)
    }

    /// A message that says the sensor's name.
    pub(crate) fn name(&mut self, name: &str) -> Vec<u8> {
        let kind = OptionsKind::Sensor;
        let scope = Some(kind.scope_fields());
        self.builder.push(OPTIONS_TEMPLATE_SET, |out| {
            write_template(kind.id(), scope, &kind.fields(), WEIR_PEN, out);
        });
        let sensor = Sensor { name: name.into(), ..Sensor::default() };
        assert_eq!(self.builder.push(kind.id(), |out| sensor.write(7, out)), Pushed::In);
        self.finish(1)
    }
}
