//! Any bytes as a session of IPFIX messages: outcomes within the limits, whatever they are; alerts and places are read
//! from options records as the collector does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_common::ipfix::alert::read_alert;
use weir_common::ipfix::decode::{Decoder, Limits, OptionsRecord, Sink};
use weir_common::ipfix::options::Place;
use weir_common::metadata::WEIR_PEN;
use weir_common::record::FlowRecord;
use weir_common::record_line;

const LIMITS: Limits = Limits { templates_max: 64, fields_max: 1024 };

#[derive(Default)]
struct Reader {
    line: Vec<u8>,
    records: u32,
}

impl Sink for Reader {
    fn flow(&mut self, record: FlowRecord) {
        self.records += 1;
        self.line.clear();
        record_line::write(&record, &mut self.line);
        assert!(std::str::from_utf8(&self.line).is_ok(), "a line is text");
    }

    fn options(&mut self, options: &OptionsRecord<'_>) {
        self.records += 1;
        let _ = read_alert(options);
        let _ = Place::read(options);
    }
}

fuzz_target!(|data: &[u8]| {
    let (mut decoder, mut reader) = (Decoder::new(LIMITS, WEIR_PEN), Reader::default());
    let mut rest = data;
    // Each piece has its length in front, in place of the message's own, so that what lies behind a header is reached.
    while let [high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (body, after) = after.split_at(length);
        rest = after;
        let total = u16::try_from(16 + body.len()).unwrap_or(u16::MAX);
        let mut message = vec![0, 10];
        message.extend(total.to_be_bytes());
        message.extend([0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        message.extend(body);
        let before = reader.records;
        if let Ok(summary) = decoder.message(&message, &mut reader) {
            assert_eq!(reader.records - before, summary.flows + summary.options, "what is handed over is counted");
        }
        assert!(decoder.templates() <= LIMITS.templates_max);
    }
});
