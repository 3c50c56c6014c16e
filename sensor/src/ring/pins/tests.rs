//! Pins keep what the ring lets go, within their quota, until their time is over, whatever is interrupted.

use super::super::config::RingConfig;
use super::super::reader::{BlockFrames, BlockReader, SegmentContents};
use super::super::tests::{Owned, config, noise, read, write as write_ring};
use super::super::{Ring, RingMode, check};
use super::copy::{CopyError, PinMaker};
use super::*;
use crate::counters::RingCounters;

const NOW: Timestamp = Timestamp::from_parts(1_800_000_000, 5);

fn ring() -> (tempfile::TempDir, Vec<Owned>) {
    let directory = tempfile::tempdir().unwrap();
    let frames = noise(4000, 1000, 21);
    write_ring(directory.path(), std::slice::from_ref(&frames));
    (directory, frames)
}

/// Pins every third block.
fn pin(directory: &Path, budget: u64, now: Timestamp, until: Option<Timestamp>) -> Result<Pin, PinError> {
    let mut maker = PinMaker::begin(directory, budget, 0, now, &mut || ())?;
    let mut at = 0;
    for files in reader::segments(directory, None).unwrap() {
        for block in SegmentContents::read(&files).unwrap().blocks {
            at += 1;
            if at % 3 == 0 {
                match maker.keep(&files, block.offset, &block.header, &mut |_| Some(7)) {
                    Err(CopyError::Pin(error)) => return Err(error),
                    kept => kept.unwrap(),
                }
            }
        }
    }
    let (query, note) = ("every third block".into(), "case 17\n\x1b[2J".into());
    maker.finish(Pin { until, query, note, frames: 5, ..Pin::default() })
}

/// Places and stored bytes of the blocks of these segments, and how many frames they have.
fn blocks(segments: &[SegmentFiles]) -> Vec<(u64, Vec<u8>, u32)> {
    let (mut reader, mut frames, mut out) = (BlockReader::default(), BlockFrames::default(), Vec::new());
    for files in segments {
        for block in SegmentContents::read(files).unwrap().blocks {
            reader.read(files, block.offset, &block.header, &mut frames).unwrap();
            let stored = reader.stored(files, block.offset, &block.header).unwrap().to_vec();
            out.push((block.offset, stored, block.header.frames));
        }
    }
    out
}

/// Lets the ring's turn take everything that is there.
fn turn(directory: &Path) {
    let small = RingConfig { budget_mib: 6, ..config(directory) };
    let mut ring = Ring::open(&small, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let mut counters = RingCounters::default();
    for mut frame in noise(12_000, 1000, 99) {
        frame.time += 1 << 50;
        lane.append(&frame.frame(), None, None, &mut counters);
    }
    drop(lane);
    ring.close();
}

#[test]
fn blocks_are_kept_byte_for_byte_past_the_ring_s_turn() {
    let (directory, _) = ring();
    let original = blocks(&reader::segments(directory.path(), None).unwrap());
    let pin = pin(directory.path(), u64::MAX, NOW, None).unwrap();
    assert_eq!((pin.id.as_str(), pin.blocks as usize), ("20270115T080000Z", original.len() / 3));
    let third: Vec<_> = original.into_iter().skip(2).step_by(3).collect();
    assert_eq!(pin.frames_kept, third.iter().map(|(_, _, frames)| u64::from(*frames)).sum::<u64>());
    turn(directory.path());
    assert!(reader::segments(directory.path(), None).unwrap()[0].name.first_time.0 > 1 << 50);
    let kept = segments(directory.path(), None).unwrap();
    assert!(kept.len() > 1, "more than one segment");
    assert_eq!(blocks(&kept), third);
    for files in &kept {
        let contents = SegmentContents::read(files).unwrap();
        assert!(contents.sealed.is_some() && contents.damaged.is_empty());
        // Without its index a pin is walked over its holes.
        let walked = SegmentContents::walked(files).unwrap();
        let places = |contents: &SegmentContents| -> Vec<_> {
            contents.blocks.iter().map(|block| (block.offset, block.header)).collect()
        };
        assert_eq!((places(&walked), walked.damaged.len()), (places(&contents), 0));
        // The holes take no space.
        assert!(disk_bytes(files) < 2 * contents.blocks.iter().map(|b| b.header.stored_bytes()).sum::<u64>());
    }
    let checked = check::check(directory.path(), None, &mut |_, _| {}).unwrap();
    assert!(checked.is_sound(), "{checked}");
    assert_eq!(list(directory.path()).unwrap(), [pin]);
}

#[test]
fn what_is_encrypted_stays_so_in_its_pin_and_opens_with_the_key() {
    let (directory, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(keys.path().join("key"), [7; 32]).unwrap();
    let encryption_key = keys.path().join("key").to_str().unwrap().to_owned();
    let encrypted = RingConfig { encryption_key, ..config(directory.path()) };
    let mut ring = Ring::open(&encrypted, 1, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = ring.lane(0).unwrap();
    let data: Vec<Owned> = (0..3000).map(|at| Owned::new(at, vec![b'W'; 800])).collect();
    data.iter().for_each(|frame| {
        lane.append(&frame.frame(), None, None, &mut RingCounters::default());
    });
    drop(lane);
    ring.close();
    let key = RingKey::load(&encrypted.encryption_key).unwrap();
    let files = reader::segments(directory.path(), key.as_ref()).unwrap().remove(0);
    let original = SegmentContents::read(&files).unwrap().blocks.pop().unwrap();
    let mut maker = PinMaker::begin(directory.path(), u64::MAX, 0, NOW, &mut || ()).unwrap();
    maker.keep(&files, original.offset, &original.header, &mut |_| None).unwrap();
    maker.finish(Pin::default()).unwrap();
    let pinned = segments(directory.path(), key.as_ref()).unwrap().remove(0);
    let contents = SegmentContents::read(&pinned).unwrap();
    assert_eq!((contents.blocks.len(), contents.blocks[0].header), (1, original.header));
    let (mut reader, mut frames) = (BlockReader::default(), BlockFrames::default());
    reader.read(&pinned, original.offset, &original.header, &mut frames).unwrap();
    frames.each(&mut |_, frame| assert_eq!(frame.data, [b'W'; 800]));
    for path in [&pinned.segment, &pinned.index] {
        assert!(!fs::read(path).unwrap().windows(8).any(|bytes| bytes == b"WWWWWWWW"));
    }
    let locked = segments(directory.path(), None).unwrap().remove(0);
    let refused = BlockReader::default().read(&locked, original.offset, &original.header, &mut frames);
    assert!(matches!(refused, Err(reader::BlockError::Key)), "{refused:?}");
}

#[test]
fn the_record_reads_back_and_a_damaged_one_leaves_the_evidence() {
    let (directory, _) = ring();
    let made =
        pin(directory.path(), u64::MAX, NOW, Some(NOW.plus(std::time::Duration::from_secs(60)))).unwrap();
    assert_eq!(list(directory.path()).unwrap(), std::slice::from_ref(&made));
    let record = place(directory.path()).join(&made.id).join(RECORD_FILE);
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    assert_eq!((&json["until"], &json["frames"]), (&"2027-01-15T08:01:00.000000005Z".into(), &5.into()));
    fs::write(&record, b"{\"until\": 3").unwrap();
    let listed = list(directory.path()).unwrap().remove(0);
    assert!(listed.statement.starts_with("pin.json cannot be read"), "{listed:?}");
    assert_eq!((listed.id, listed.until), (made.id.clone(), None));
    // Until when is not known any longer: it stays until somebody gives it back.
    assert!(tidy(directory.path(), Some(Timestamp::MAX)).unwrap().is_empty());
    assert!(unpin(directory.path(), &[made.id], &mut || ()).unwrap().is_empty());
    assert!(segments(directory.path(), None).unwrap().is_empty());
}

#[test]
fn the_quota_holds_to_the_byte_and_a_refused_pin_leaves_nothing() {
    let (directory, _) = ring();
    let size = pin(directory.path(), u64::MAX, NOW, None).unwrap().bytes;
    assert_eq!(size, size_of(&place(directory.path()).join("20270115T080000Z")).unwrap());
    for budget in [2 * size - 1, size, 0] {
        let refused = pin(directory.path(), budget, NOW, None).unwrap_err();
        let PinError::Quota { asked, free, budget: of } = refused else { panic!("{refused}") };
        assert!(asked > free && free == budget - size.min(budget) && of == budget, "{asked} {free}");
        assert_eq!(fs::read_dir(place(directory.path())).unwrap().count(), 2);
    }
    assert_eq!(pin(directory.path(), 2 * size, NOW, None).unwrap().id, "20270115T080000Z-2");
    // What is known to be too much is refused before anything is copied.
    let begin = |stored| PinMaker::begin(directory.path(), 3 * size, stored, NOW, &mut || ());
    assert!(matches!(begin(size + 1), Err(PinError::Quota { free, .. }) if free == size));
    assert!(begin(size).is_ok());
}

#[test]
fn a_pin_leaves_exactly_when_its_time_is_over() {
    let (directory, _) = ring();
    let until = Timestamp(NOW.0 + 1000);
    let made = pin(directory.path(), u64::MAX, NOW, Some(until)).unwrap();
    let kept = pin(directory.path(), u64::MAX, NOW, None).unwrap();
    assert!(tidy(directory.path(), Some(Timestamp(until.0 - 1))).unwrap().is_empty());
    assert!(tidy(directory.path(), None).unwrap().is_empty());
    assert_eq!(tidy(directory.path(), Some(until)).unwrap(), [made.id]);
    assert_eq!(list(directory.path()).unwrap(), [kept]);
}

#[test]
fn the_sensor_removes_pins_whose_time_is_over_at_its_start_and_while_it_runs() {
    let (directory, _) = ring();
    pin(directory.path(), u64::MAX, NOW, Some(Timestamp(NOW.0 + 10))).unwrap();
    let later = Timestamp(NOW.0 + 3_600_000_000_000);
    pin(directory.path(), u64::MAX, NOW, Some(later)).unwrap();
    // A replay's time says nothing about pins.
    let mut ring = Ring::open(&config(directory.path()), 1, RingMode::Replay, Timestamp::MAX).unwrap();
    let mut lane = ring.lane(0).unwrap();
    lane.append(&Owned::new(u64::MAX / 2, vec![1; 60]).frame(), None, None, &mut RingCounters::default());
    drop(lane);
    assert_eq!(ring.close().pins, 2);
    let mut ring = Ring::open(&config(directory.path()), 1, RingMode::Live, Timestamp(NOW.0 + 10)).unwrap();
    let status = ring.status();
    assert_eq!((status.pins, list(directory.path()).unwrap().len()), (1, 1));
    assert_eq!(status.pin_bytes, list(directory.path()).unwrap()[0].bytes);
    let mut lane = ring.lane(0).unwrap();
    lane.tick(Timestamp(NOW.0 + 1_000_000_000));
    lane.tick(later);
    let started = std::time::Instant::now();
    while ring.status().pins > 0 && started.elapsed() < std::time::Duration::from_secs(10) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!((ring.status().pins, ring.status().pin_bytes), (0, 0));
}

#[test]
fn what_a_crash_leaves_goes_with_the_next_pin_or_start_and_is_never_read() {
    let (directory, _) = ring();
    let made = pin(directory.path(), u64::MAX, NOW, None).unwrap();
    let (place, whole) = (place(directory.path()), blocks(&segments(directory.path(), None).unwrap()).len());
    let leave = |name: &str| {
        let left = place.join(name);
        fs::create_dir(&left).unwrap();
        for entry in fs::read_dir(place.join(&made.id)).unwrap().flatten() {
            fs::copy(entry.path(), left.join(entry.file_name())).unwrap();
        }
        fs::write(place.join("torn.tmp"), b"x").unwrap();
        assert_eq!(blocks(&segments(directory.path(), None).unwrap()).len(), whole);
        left
    };
    let left = leave("20270115T080001Z.tmp");
    drop(PinMaker::begin(directory.path(), u64::MAX, 0, NOW, &mut || ()).unwrap());
    assert!(!left.exists() && !place.join("torn.tmp").exists());
    let left = leave("20270115T080001Z.tmp");
    drop(Ring::open(&config(directory.path()), 1, RingMode::Replay, Timestamp(0)).unwrap());
    assert!(!left.exists() && place.join(&made.id).exists());
    // A pin that is being made is left alone by a sensor that starts.
    let making = PinMaker::begin(directory.path(), u64::MAX, 0, NOW, &mut || ()).unwrap();
    assert!(tidy(directory.path(), Some(Timestamp::MAX)).unwrap().is_empty());
    assert_eq!(fs::read_dir(&place).unwrap().count(), 3);
    drop(making);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
}

#[test]
fn two_at_once_wait_for_each_other_and_share_the_quota() {
    let (directory, _) = ring();
    let size = pin(directory.path(), u64::MAX, NOW, None).unwrap().bytes;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| pin(directory.path(), 3 * size, NOW, None))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2, "{outcomes:?}");
    let mut ids: Vec<_> = list(directory.path()).unwrap().into_iter().map(|pin| pin.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_block_that_is_gone_or_damaged_is_left_out_and_the_rest_is_pinned() {
    let (directory, _) = ring();
    let all = reader::segments(directory.path(), None).unwrap();
    let contents: Vec<_> = all.iter().map(|files| SegmentContents::read(files).unwrap()).collect();
    let mut bytes = fs::read(&all[0].segment).unwrap();
    bytes[contents[0].blocks[1].offset as usize + 3000] ^= 1;
    fs::write(&all[0].segment, bytes).unwrap();
    fs::remove_file(&all[1].segment).unwrap();
    let mut maker = PinMaker::begin(directory.path(), u64::MAX, 0, NOW, &mut || ()).unwrap();
    let mut keep = |segment: usize, block: usize| {
        let block = &contents[segment].blocks[block];
        maker.keep(&all[segment], block.offset, &block.header, &mut |_| None)
    };
    keep(0, 0).unwrap();
    assert!(matches!(keep(0, 1), Err(CopyError::Block(reader::BlockError::Checksum))));
    assert!(matches!(keep(1, 0), Err(CopyError::Block(reader::BlockError::Removed))));
    keep(2, 0).unwrap();
    let pin = maker.finish(Pin::default()).unwrap();
    assert_eq!((pin.blocks, segments(directory.path(), None).unwrap().len()), (2, 2));
    assert_eq!(read(&place(directory.path()).join(pin.id), 1).1, 0);
}

#[test]
fn names_of_segments_are_not_used_again_while_a_pin_has_them() {
    let (directory, _) = ring();
    pin(directory.path(), u64::MAX, NOW, None).unwrap();
    let highest =
        segments(directory.path(), None).unwrap().iter().map(|files| files.name.sequence).max().unwrap();
    for files in reader::segments(directory.path(), None).unwrap() {
        fs::remove_file(files.segment).unwrap();
        fs::remove_file(files.index).unwrap();
    }
    write_ring(directory.path(), &[noise(10, 100, 3)]);
    let next = reader::segments(directory.path(), None).unwrap()[0].name.sequence;
    assert_eq!(next, highest + 1);
}

#[test]
fn only_names_of_pins_are_given_back() {
    let (directory, _) = ring();
    let nothing: Vec<String> = vec!["x".into()];
    assert_eq!(unpin(directory.path(), &nothing, &mut || ()).unwrap(), nothing);
    assert!(!place(directory.path()).exists());
    let made = pin(directory.path(), u64::MAX, NOW, None).unwrap();
    let wanted =
        ["..", "", "lock", "../pins", "20270115T080000Z/pin.json", made.id.as_str()].map(str::to_owned);
    assert_eq!(unpin(directory.path(), &wanted, &mut || ()).unwrap(), wanted[..5]);
    // One that is none among them, and every pin stays, wherever it stands.
    assert_eq!(list(directory.path()).unwrap().len(), 1);
    let wanted = [made.id, "nosuch".to_owned()];
    assert_eq!(unpin(directory.path(), &wanted, &mut || ()).unwrap(), wanted[1..]);
    assert_eq!(list(directory.path()).unwrap().len(), 1);
    assert!(unpin(directory.path(), &wanted[..1], &mut || ()).unwrap().is_empty());
    assert!(list(directory.path()).unwrap().is_empty() && place(directory.path()).join("lock").exists());
}

#[test]
fn all_pins_are_given_back_at_once() {
    let (directory, _) = ring();
    assert_eq!(unpin_all(directory.path(), &mut || ()).unwrap(), 0);
    for _ in 0..2 {
        pin(directory.path(), u64::MAX, NOW, None).unwrap();
    }
    assert_eq!(unpin_all(directory.path(), &mut || ()).unwrap(), 2);
    assert!(list(directory.path()).unwrap().is_empty());
}

#[test]
fn too_many_pins_and_too_long_a_note_are_refused() {
    let (directory, _) = ring();
    let about = |bytes| Pin { note: "n".repeat(bytes), ..Pin::default() };
    let begin = || PinMaker::begin(directory.path(), u64::MAX, 0, NOW, &mut || ());
    assert!(matches!(begin().unwrap().finish(about(NOTE_BYTES_MAX + 1)), Err(PinError::Note(1001))));
    begin().unwrap().finish(about(NOTE_BYTES_MAX)).unwrap();
    for number in 0..PINS_MAX - 2 {
        fs::create_dir(place(directory.path()).join(format!("0-{number}"))).unwrap();
    }
    begin().unwrap().finish(about(0)).unwrap();
    assert!(matches!(begin(), Err(PinError::TooMany)));
}

#[test]
fn evidence_is_for_the_ring_s_owner_alone_whoever_pins_it() {
    let (directory, _) = ring();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: giving files to another user needs root");
        return;
    }
    lchown(directory.path(), Some(12_345), Some(12_346)).unwrap();
    let made = pin(directory.path(), u64::MAX, NOW, None).unwrap();
    let pin = place(directory.path()).join(made.id);
    let inside = fs::read_dir(&pin).unwrap().flatten().map(|entry| entry.path());
    for path in inside.chain([pin.clone(), place(directory.path()), place(directory.path()).join("lock")]) {
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (12_345, 12_346), "{}", path.display());
    }
    for directory in [&pin, &place(directory.path())] {
        assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, 0o750);
    }
}

#[test]
fn a_note_is_listed_on_one_line_and_without_what_a_terminal_obeys() {
    let (directory, _) = ring();
    pin(directory.path(), u64::MAX, NOW, None).unwrap();
    let listed = check::list(directory.path(), None).unwrap().to_string();
    let line = listed.lines().find(|line| line.starts_with("pin ")).unwrap();
    assert!(
        line.ends_with(r"every third block (case 17\n\u{1b}[2J)") && !listed.contains('\x1b'),
        "{listed}"
    );
}
