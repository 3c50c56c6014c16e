//! Files of IPFIX messages (RFC 5655).
//!
//! In: any byte stream. Out: batches, in the order of the file. A broken frame ends the file, because
//! nothing says where the next message begins; faults inside a message are counted and reading goes on.

use super::config::IngestConfig;
use super::counters::IngestCounters;
use super::session::Session;
use super::{BATCH_RECORDS, Batch, clock};
use std::io::Read;
use std::sync::Arc;
use weir_common::ipfix::error::FileError;
use weir_common::ipfix::file::MessageReader;

/// Reads a file to its end. `name` is how its exporters are shown unless they say a name themselves.
pub fn read(
    name: &str,
    input: impl Read,
    config: &IngestConfig,
    counters: Arc<IngestCounters>,
    mut each: impl FnMut(Batch),
) -> Result<(), FileError> {
    let mut reader = MessageReader::new(input);
    let mut session = Session::new(name.to_owned(), config, counters);
    let mut outcome = Ok(());
    while let Some(message) = reader.next_message() {
        match message {
            // A frame that the reader accepts is one that the decoder accepts; faults inside are counted.
            Ok(message) => {
                if let Ok(Some(batch)) = session.message(message, clock()) {
                    each(batch);
                }
            }
            Err(error) => {
                session.malformed(&error);
                outcome = Err(error);
                break;
            }
        }
        if session.pending() >= BATCH_RECORDS {
            session.take().into_iter().for_each(&mut each);
        }
    }
    session.take().into_iter().for_each(each);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::testing::Exporting;
    use crate::ingest::testing::record;

    fn read_bytes(bytes: &[u8]) -> (usize, Arc<IngestCounters>, Result<(), FileError>) {
        let counters = Arc::new(IngestCounters::default());
        let mut records = 0;
        let outcome = read("f.ipfix", bytes, &IngestConfig::default(), counters.clone(), |batch| {
            records += batch.records.len();
        });
        (records, counters, outcome)
    }

    #[test]
    fn a_cut_file_gives_what_is_whole_and_says_where_it_is_cut() {
        let mut exporting = Exporting::new(1);
        let whole = [exporting.templates(), exporting.records(&[record(1)]), exporting.records(&[record(2)])]
            .concat();
        let (records, _, outcome) = read_bytes(&whole);
        assert!(outcome.is_ok());
        assert_eq!(records, 2);
        let (records, counters, outcome) = read_bytes(&whole[..whole.len() - 1]);
        assert_eq!(records, 1);
        assert!(outcome.unwrap_err().to_string().contains("at byte"));
        assert_eq!(counters.exporters()[0].malformed, 1);
        assert!(read_bytes(b"").2.is_ok());
    }
}
