//! What was written is what is read, whatever happened to the files in between.

#![allow(clippy::single_range_in_vec_init, reason = "a list of ranges that happens to have one")]

use super::fuzzing::{read as read_bytes, segment};
use super::*;
use proptest::prelude::*;
use weir_common::ipfix::encode::MessageBuilder;
use weir_common::ipfix::options::OptionsKind;

const NOW: Timestamp = Timestamp::from_parts(1_700_000_000, 0);
const SETTINGS: Settings = Settings { bytes_max: 64 << 20, form: 1 };

fn open(directory: &Path, settings: Settings) -> Spool {
    Spool::open(directory, settings).unwrap()
}

/// A message of `records` records and about `bytes` octets.
fn message(records: u32, bytes: usize) -> (Vec<u8>, Tally) {
    let mut builder = MessageBuilder::new(1, usize::MAX);
    builder.push(OptionsKind::Place.id(), |out| Place::default().write(1, out));
    builder.push(256, |out| out.resize(out.len() + bytes, 0xab));
    let tally = Tally { records, flows: u64::from(records), packets: 2, octets: 300, ..Tally::default() };
    (builder.finish(Vec::new()), tally)
}

fn append(spool: &mut Spool, records: u32, bytes: usize) -> Option<Appended> {
    let (mut message, tally) = message(records, bytes);
    let templates = |_: &[u16]| MessageBuilder::new(1, 1400).finish(Vec::new());
    spool.append(&mut message, &tally, templates, Instant::now(), NOW)
}

/// The numbers of everything that is not done, in the order of reading.
fn read(spool: &mut Spool) -> Vec<Range<u64>> {
    let (mut cursor, mut body, mut found) = (Cursor::default(), Vec::new(), Vec::new());
    loop {
        match spool.read(&mut cursor, spool.end_spot(), &mut body) {
            Step::Records { place, .. } => found.push(place.range()),
            Step::Templates { .. } => {}
            Step::End => return found,
        }
    }
}

fn segment_paths(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "spool")).collect();
    paths.sort();
    paths
}

#[test]
fn a_spool_that_is_killed_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), SETTINGS);
    let epoch = spool.next().epoch;
    for expected in [0..3, 3..6, 6..9] {
        assert_eq!(append(&mut spool, 3, 100).unwrap().place.range(), expected);
    }
    // Nothing is finished, noted or sent to the disk.
    drop(spool);
    let mut spool = open(directory.path(), SETTINGS);
    assert_eq!(spool.next(), Position { epoch, sequence: 9 });
    append(&mut spool, 1, 100).unwrap();
    assert_eq!(read(&mut spool), [0..3, 3..6, 6..9, 9..10]);
    assert_eq!((spool.records(), spool.take_losses()), (10, vec![]));
}

#[test]
fn after_a_crash_of_the_machine_another_epoch_begins_beside_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), SETTINGS);
    let old = spool.next().epoch;
    append(&mut spool, 3, 100).unwrap();
    drop(spool);
    let path = directory.path().join("state.json");
    let state = fs::read_to_string(&path).unwrap().replace(&state::boot(), "another");
    fs::write(&path, state).unwrap();
    let mut spool = open(directory.path(), SETTINGS);
    let new = spool.next();
    assert!(new.epoch != old && new.sequence == 0);
    append(&mut spool, 1, 100).unwrap();
    assert_eq!(read(&mut spool), [0..3, 0..1]);
    spool.set_sent(&Place { first: new, count: 1 });
    assert_eq!(spool.acknowledge(Position { epoch: old, sequence: 3 }), Ok(3));
    assert_eq!(spool.acknowledge(Position { epoch: new.epoch, sequence: 1 }), Ok(1));
    assert_eq!(spool.acknowledge(Position { epoch: old, sequence: 3 }), Err(Unacceptable::Epoch(old)));
    assert_eq!((spool.segments(), spool.records()), (1, 0), "the one that is written stays");
}

#[test]
fn an_end_in_order_keeps_the_epoch_over_a_restart_of_the_machine() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), SETTINGS);
    append(&mut spool, 3, 100).unwrap();
    let next = spool.next();
    spool.close().unwrap();
    let path = directory.path().join("state.json");
    let state = fs::read_to_string(&path).unwrap().replace(&state::boot(), "another");
    fs::write(&path, state).unwrap();
    assert_eq!(open(directory.path(), SETTINGS).next(), next);
}

#[test]
fn what_is_done_is_not_read_again_and_its_segments_leave() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), Settings { bytes_max: 16 << 20, form: 1 });
    for _ in 0..100 {
        append(&mut spool, 10, 30_000).unwrap();
    }
    assert!(spool.segments() > 8);
    let epoch = spool.next().epoch;
    spool.set_sent(&Place { first: Position { epoch, sequence: 0 }, count: 1000 });
    assert_eq!(spool.acknowledge(Position { epoch, sequence: 995 }), Ok(995));
    assert_eq!(read(&mut spool), [990..1000], "a message of which something is left is sent whole");
    assert!(spool.segments() <= 2);
    assert_eq!(segment_paths(directory.path()).len(), spool.segments());
    assert_eq!(spool.acknowledge(Position { epoch, sequence: 1000 }), Ok(5));
    assert_eq!((read(&mut spool), spool.records()), (vec![], 0));
    spool.close().unwrap();
    let spool = open(directory.path(), SETTINGS);
    assert_eq!(spool.next(), Position { epoch, sequence: 1000 }, "numbers go on when no segment is left");
    assert_eq!(spool.segments(), 0);
}

#[test]
fn an_acknowledgement_that_lies_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), SETTINGS);
    let place = append(&mut spool, 10, 100).unwrap().place;
    append(&mut spool, 10, 100).unwrap();
    spool.set_sent(&place);
    let Position { epoch, .. } = place.first;
    let at = |sequence| Position { epoch, sequence };
    assert_eq!(spool.acknowledge(at(11)), Err(Unacceptable::AboveSent { said: 11, sent: 10 }));
    assert_eq!(spool.acknowledge(at(8)), Ok(8));
    assert_eq!(spool.acknowledge(at(8)), Ok(0));
    assert_eq!(spool.acknowledge(at(7)), Err(Unacceptable::Backwards { said: 7, was: 8 }));
    let other = epoch.wrapping_add(1);
    assert_eq!(spool.acknowledge(Position { epoch: other, sequence: 9 }), Err(Unacceptable::Epoch(other)));
    assert_eq!(spool.records(), 12);
}

#[test]
fn past_the_budget_the_oldest_records_leave_and_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { bytes_max: 2 << 20, form: 1 };
    let mut spool = open(directory.path(), settings);
    for _ in 0..200 {
        append(&mut spool, 10, 30_000).unwrap();
        assert!(spool.bytes() <= settings.bytes_max);
    }
    let losses = spool.take_losses();
    let dropped: u64 = losses.iter().map(|loss| loss.tally.flows).sum();
    assert!(losses.iter().all(|loss| loss.cause == LossCause::Budget));
    assert_eq!(dropped + spool.records(), 2000);
    assert_eq!(dropped, spool.counters().dropped_records);
    let kept = read(&mut spool);
    assert_eq!((kept.first().unwrap().start, kept.last().unwrap().end), (dropped, 2000));
    assert_eq!(losses.iter().map(|loss| loss.tally.octets).sum::<u64>(), dropped / 10 * 300);
}

#[test]
fn a_spool_writes_little_more_than_what_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), SETTINGS);
    let mut sent = 0;
    for _ in 0..1000 {
        // One small record per message: the worst there is.
        sent += message(1, 124).0.len() as u64;
        append(&mut spool, 1, 124).unwrap();
    }
    assert!(spool.counters().written_bytes * 10 <= sent * 12);
}

#[test]
fn the_same_directory_is_not_written_by_two() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path(), SETTINGS);
    assert!(Spool::open(directory.path(), SETTINGS).is_err());
}

/// A directory with three segments of a few messages each, and the numbers of the messages.
fn three_segments(directory: &Path) -> Vec<Range<u64>> {
    let mut spool = open(directory, SETTINGS);
    let mut numbers = Vec::new();
    for segment in 0..3 {
        for records in 1..4 {
            numbers.push(append(&mut spool, records, 40 * records as usize).unwrap().place.range());
        }
        if segment < 2 {
            spool.begin_segment(NOW).unwrap();
        }
    }
    numbers
}

/// Reads a directory whose middle segment was changed: everything else is read, and what is missing is counted.
fn reads_all_but(directory: &Path, written: &[Range<u64>]) {
    let mut spool = open(directory, SETTINGS);
    let found = read(&mut spool);
    assert!(found.iter().all(|range| written.contains(range)), "{found:?}");
    assert!(found.iter().zip(found.iter().skip(1)).all(|(a, b)| a.end <= b.start), "{found:?}");
    let outside = written.iter().enumerate().filter(|(index, _)| *index / 3 != 1).map(|(_, range)| range);
    assert!(outside.into_iter().all(|range| found.contains(range)), "{found:?}");
    let missing: u64 =
        written.iter().filter(|range| !found.contains(range)).map(|range| range.end - range.start).sum();
    let lost: u64 = spool.take_losses().iter().map(|loss| loss.tally.flows).sum();
    assert_eq!((lost, spool.counters().damaged_records), (missing, missing));
    assert_eq!(spool.records(), found.iter().map(|range| range.end - range.start).sum::<u64>());
}

#[test]
fn a_segment_cut_anywhere_costs_what_is_cut_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let written = three_segments(directory.path());
    let path = segment_paths(directory.path()).remove(1);
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        reads_all_but(directory.path(), &written);
        // Opening reads; it must not have changed what the next length begins with.
        fs::write(&path, &bytes).unwrap();
        let _ = fs::remove_file(directory.path().join("state.json"));
    }
}

#[test]
fn a_segment_changed_anywhere_costs_one_message() {
    let directory = tempfile::tempdir().unwrap();
    let written = three_segments(directory.path());
    let path = segment_paths(directory.path()).remove(1);
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        fs::write(&path, &changed).unwrap();
        reads_all_but(directory.path(), &written);
        let _ = fs::remove_file(directory.path().join("state.json"));
    }
    fs::remove_file(&path).unwrap();
    reads_all_but(directory.path(), &written);
}

#[test]
fn the_last_segment_cut_anywhere_is_cut_at_its_last_whole_message_and_goes_on() {
    for cut in 0..300 {
        let directory = tempfile::tempdir().unwrap();
        let written = three_segments(directory.path());
        let path = segment_paths(directory.path()).remove(2);
        let bytes = fs::read(&path).unwrap();
        let Some(length) = bytes.len().checked_sub(cut) else { return };
        fs::write(&path, &bytes[..length]).unwrap();
        let mut spool = open(directory.path(), SETTINGS);
        let found = read(&mut spool);
        assert!(found.len() >= 6 && written.starts_with(&found), "{cut}: {found:?}");
        let whole = found.last().unwrap().end;
        assert_eq!(spool.next().sequence, whole, "numbers of what was never sent are given again");
        let is_whole = cut == 0
            || segment_paths(directory.path())
                .iter()
                .any(|p| fs::metadata(p).unwrap().len() == length as u64);
        assert_eq!(spool.counters().torn_bytes > 0, !is_whole, "{cut}");
        append(&mut spool, 2, 10).unwrap();
        assert_eq!(read(&mut spool).last(), Some(&(whole..whole + 2)));
    }
}

#[test]
fn what_a_flow_s_text_holds_never_passes_for_an_entry() {
    let mut bytes = segment(3);
    let whole = read_bytes(&bytes);
    // The first entry's head is damaged, and its body holds an entry of another spool.
    let foreign = SegmentName { number: 7, first: Position { epoch: 1, sequence: 100 } };
    let mut entry = Vec::new();
    let place = Place { first: Position { epoch: 1, sequence: 100 }, count: 1 };
    let mut builder = MessageBuilder::new(1, 1400);
    builder.push(OptionsKind::Place.id(), |out| place.write(1, out));
    write_entry(
        foreign,
        Kind::Records,
        &Tally { records: 1, ..Tally::default() },
        &builder.finish(Vec::new()),
        &mut entry,
    );
    bytes.splice(HEADER_BYTES + 8..HEADER_BYTES + 8, entry);
    assert_eq!(read_bytes(&bytes), whole[1..]);
}

#[test]
fn what_cannot_be_written_has_no_number_and_writing_goes_on_in_a_fresh_segment() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path(), SETTINGS);
    append(&mut spool, 3, 100).unwrap();
    // The next segment finds no directory, as it would find no room.
    fs::remove_dir_all(directory.path()).unwrap();
    spool.writer = None;
    let (mut bytes, tally) = message(2, 100);
    let begun = Instant::now();
    let templates = |_: &[u16]| MessageBuilder::new(1, 1400).finish(Vec::new());
    assert_eq!(spool.append(&mut bytes, &tally, templates, begun, NOW), None);
    assert_eq!(format::place_of(&bytes).unwrap().count, 0, "its records have no numbers");
    assert_eq!((spool.next().sequence, spool.counters().write_errors, spool.is_failing()), (3, 1, true));
    fs::create_dir_all(directory.path()).unwrap();
    assert_eq!(spool.append(&mut bytes, &tally, templates, begun, NOW), None, "not before its time");
    let later = begun + RETRY_AFTER;
    assert_eq!(spool.append(&mut bytes, &tally, templates, later, NOW).unwrap().place.range(), 3..5);
    assert_eq!((spool.counters().write_errors, spool.is_failing()), (1, false));
    assert_eq!(read(&mut spool), [3..5]);
    let lost: Vec<_> = spool.take_losses().iter().map(|loss| loss.place.range()).collect();
    assert_eq!(lost, [0..3], "the segment that somebody removed is lost");
}

proptest! {
    #[test]
    fn any_changes_to_a_segment_leave_entries_that_were_written(
        messages in 0u64..12,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = segment(messages);
        let whole = read_bytes(&bytes);
        prop_assert_eq!(whole.len() as u64, messages);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        prop_assert!(read_bytes(&bytes).iter().all(|found| whole.contains(found)));
    }

    #[test]
    fn whatever_is_appended_done_and_reopened_is_read_once_until_it_is_done(
        steps in prop::collection::vec((0u8..8, 1u32..5, 0usize..3000), 1..60),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { bytes_max: 1 << 20, form: 1 };
        let mut spool = open(directory.path(), settings);
        let epoch = spool.next().epoch;
        let (mut written, mut done) = (Vec::new(), Ranges::new());
        for (what, records, bytes) in steps {
            match what {
                0..4 => written.push(append(&mut spool, records, bytes).unwrap().place.range()),
                4 => {
                    let sequence = (done.prefix() + u64::from(records) * 2).min(spool.next().sequence);
                    spool.set_sent(&Place { first: Position { epoch, sequence: 0 }, count: sequence });
                    spool.acknowledge(Position { epoch, sequence }).unwrap();
                    done.insert(0..sequence);
                }
                5 => {
                    drop(spool);
                    spool = open(directory.path(), settings);
                    // What was not noted before the kill is sent again.
                    done = spool.done(epoch).cloned().unwrap_or_default();
                }
                6 => spool.tick(Instant::now()),
                _ => spool.begin_segment(NOW).unwrap(),
            }
            prop_assert_eq!(spool.next(), Position { epoch, sequence: written.last().map_or(0, |last| last.end) });
            let found = read(&mut spool);
            let expected: Vec<_> = written.iter().filter(|range| done.count_in(range) < range.end - range.start).cloned().collect();
            // A whole segment may have left whose records were done when it did.
            prop_assert!(found.iter().all(|range| expected.contains(range)), "{:?} of {:?}", found, expected);
            prop_assert!(spool.take_losses().is_empty());
        }
    }
}
