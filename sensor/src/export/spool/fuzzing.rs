//! What the fuzz target and tests need of the spool's private parts.
//!
//! In: bytes of any kind. Out: what the reader makes of them. Nothing here decides anything, and nothing of it is in a
//! program that users run.

use super::format::{
    Found, HEADER_BYTES, Kind, SegmentHeader, SegmentName, place_of, read_entry, sets_of, write_entry,
};
use crate::export::ipfix::Tally;
use weir_common::delivery::Position;
use weir_common::ipfix::encode::MessageBuilder;
use weir_common::ipfix::options::{OptionsKind, Place};

/// The segment of which [`read`] takes bytes to be.
const NAME: SegmentName =
    SegmentName { number: 7, first: Position { epoch: 0x1234_5678_9abc_def0, sequence: 100 } };

/// A segment with `messages` whole entries of a few records each.
pub fn segment(messages: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    SegmentHeader { form: 1, begun: 2 }.write(&mut bytes);
    let mut sequence = NAME.first.sequence;
    for message in 0..messages {
        let count = 1 + message % 3;
        let place = Place { first: Position { sequence, ..NAME.first }, count };
        let mut builder = MessageBuilder::new(1, 1400);
        builder.push(OptionsKind::Place.id(), |out| place.write(1, out));
        builder.push(256, |out| out.resize(out.len() + 20 + 8 * message as usize, message as u8));
        let tally = Tally { records: count as u32, flows: count, ..Tally::default() };
        write_entry(NAME, Kind::Records, &tally, &builder.finish(Vec::new()), &mut bytes);
        sequence += count;
    }
    bytes
}

/// The numbers of the records of every entry that is found, in order. Fails where the reader does not go on, or gives
/// an entry that is none.
pub fn read(bytes: &[u8]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut body = Vec::new();
    let mut at = HEADER_BYTES as u64;
    let _ = SegmentHeader::parse(bytes);
    loop {
        let to = match read_entry(&bytes, NAME, at, bytes.len() as u64, &mut body) {
            Ok(Found::Entry { head, to }) => {
                assert_eq!(head.length, body.len(), "a body has the length that its head tells");
                assert!(sets_of(&body).count() <= body.len());
                if head.kind == Kind::Records
                    && let Some(place) = place_of(&body)
                {
                    found.push((place.first.sequence, place.count));
                }
                to
            }
            Ok(Found::Damaged { to }) => to,
            Ok(Found::End | Found::Torn) | Err(_) => return found,
        };
        assert!(to > at && to <= bytes.len() as u64, "the reader goes on, and not beyond the end");
        at = to;
    }
}
