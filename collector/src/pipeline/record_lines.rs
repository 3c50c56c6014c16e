//! `import --records`: what exporters sent, one JSON object per flow record.
//!
//! In: records as they were decoded. Out: lines. A write that fails is told at the end, and nothing more is written.

use std::io::{self, Write};
use weir_common::record::FlowRecord;
use weir_common::record_line;

pub(super) struct RecordLines {
    output: Box<dyn Write + Send>,
    line: Vec<u8>,
    error: Option<io::Error>,
}

impl RecordLines {
    pub(super) fn new(output: Box<dyn Write + Send>) -> RecordLines {
        RecordLines { output, line: Vec::new(), error: None }
    }

    pub(super) fn write(&mut self, records: &[FlowRecord]) {
        for record in records {
            if self.error.is_some() {
                return;
            }
            self.line.clear();
            record_line::write(record, &mut self.line);
            self.line.push(b'\n');
            self.error = self.output.write_all(&self.line).err();
        }
    }

    /// Writes what is left and gives what went wrong.
    pub(super) fn finish(mut self) -> Option<io::Error> {
        self.error.take().or_else(|| self.output.flush().err())
    }
}
