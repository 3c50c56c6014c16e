//! Custody as a whole: what nobody touched verifies, and whatever is touched is named.

use super::verify::{CustodyCheck, Verifier};
use super::*;
use crate::capture::{Frame, LinkType};
use crate::counters::RingCounters;
use crate::ring::check::{Check, check_with};
use crate::ring::reader::{SegmentContents, segments};
use crate::ring::{Ring, RingMode, RingStatus};
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

const MIB: u64 = 1 << 20;

fn config(directory: &Path) -> RingConfig {
    let directory = directory.to_str().unwrap().to_owned();
    RingConfig { directory, budget_mib: 64, segment_mib: 1, block_kib: 256, ..RingConfig::default() }
}

/// One run of two lanes, each of which writes so many frames that do not compress.
fn run_with(config: &RingConfig, frames: usize, seed: u64) -> RingStatus {
    let mut ring = Ring::open(config, 2, RingMode::Replay, Timestamp(0)).unwrap();
    let mut counters = RingCounters::default();
    let mut state = seed | 1;
    for index in 0..2 {
        let mut lane = ring.lane(index).unwrap();
        for at in 0..frames {
            let data: Vec<u8> = (0..1000)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                })
                .collect();
            let time = Timestamp(seed * 1_000_000_000 + at as u64);
            let frame = Frame { time, link: LinkType::ETHERNET, interface: 0, wire_len: 1000, data: &data };
            lane.append(&frame, None, None, &mut counters);
        }
        lane.close(Timestamp(0));
    }
    ring.close()
}

fn run(directory: &Path, frames: usize, seed: u64) -> RingStatus {
    run_with(&config(directory), frames, seed)
}

fn checked_with(directory: &Path, trusted: &[PublicKey]) -> Check {
    check_with(directory, None, Verifier::new(directory, trusted, true), &mut |_, _| {}).unwrap()
}

/// What custody says, and each damage in one line.
fn checked(directory: &Path) -> (CustodyCheck, Vec<String>) {
    let check = checked_with(directory, &[]);
    let lines = check.damaged.iter().map(|damage| format!("{}: {}", damage.file, damage.what)).collect();
    (check.custody, lines)
}

fn assert_named(directory: &Path, wanted: &[&str]) {
    let (_, lines) = checked(directory);
    for words in wanted {
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:?}");
    }
    assert!(!lines.is_empty());
}

fn chain(directory: &Path) -> PathBuf {
    directory.join(CHAIN_FILE)
}

fn records(directory: &Path) -> Vec<ChainRecord> {
    let mut records = Vec::new();
    let reader = ChainReader::open(directory).unwrap().unwrap();
    reader.each(&mut |found| records.extend(found.record)).unwrap();
    records
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn two_runs_make_one_chain_that_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let first = run(directory.path(), 2500, 1).custody.unwrap();
    let second = run(directory.path(), 2500, 2).custody.unwrap();
    assert!(second.records > first.records && first.records >= 4, "{first:?} {second:?}");
    let (check, damages) = checked(directory.path());
    assert_eq!(damages, Vec::<String>::new());
    assert_eq!((check.records, check.records_sound), (second.records, second.records));
    assert_eq!(check.segments_verified, segments(directory.path(), None).unwrap().len() as u64);
    assert_eq!((check.head, check.keys.clone(), check.keys_verified), (second.head, vec![second.key], false));
    let line = CustodyLine::read(directory.path()).unwrap().unwrap();
    assert_eq!((line.key, line.records, line.head), (Some(second.key), second.records, second.head));
    let records = records(directory.path());
    assert_eq!(records.iter().map(|record| record.said.run).max(), Some(2));
    assert!(records.iter().all(|record| record.said.frames > 0));
    let trusted = PublicKey::read(&directory.path().join(PUBLIC_KEY_FILE)).unwrap();
    let check = checked_with(directory.path(), &[trusted]);
    assert!(check.is_sound() && check.custody.keys_verified);
    assert_eq!(checked_with(directory.path(), &[PublicKey([7; 32])]).damages, 1);
}

#[test]
fn a_byte_of_a_header_or_of_the_chain_is_seen_wherever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), 1500, 1);
    let files = segments(directory.path(), None).unwrap().remove(0);
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 0x10;
        fs::write(path, &bytes).unwrap();
    };
    let first_block = SegmentContents::read(&files).unwrap().blocks[0].header.frames;
    for at in [9, 40, 127, 128 + 9, 128 + 60, 128 + 127] {
        flip(&files.segment, at);
        assert_named(directory.path(), &["altered or replaced"]);
        // Behind a damaged header of the segment every frame is there; behind that of a block its own are not.
        let check = checked_with(directory.path(), &[]);
        let altered = check.damaged.iter().find(|damage| damage.what.contains("altered or replaced"));
        let lost = if at < 128 { 0 } else { u64::from(first_block) };
        assert_eq!(altered.unwrap().frames, Some(lost), "{at}: {check}");
        flip(&files.segment, at);
    }
    let length = fs::metadata(chain(directory.path())).unwrap().len() as usize;
    for at in (0..length).step_by(17) {
        flip(&chain(directory.path()), at);
        assert_named(directory.path(), &["custody: "]);
        flip(&chain(directory.path()), at);
    }
    assert!(checked(directory.path()).1.is_empty());
}

#[test]
fn whoever_puts_the_checksums_right_is_named_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), 1500, 1);
    let path = chain(directory.path());
    let whole = fs::read(&path).unwrap();
    for (at, words) in [
        (RECORD_BYTES + 2, "its signature does not fit"),
        (RECORD_BYTES + 16, "its signature does not fit"),
        (RECORD_BYTES + 64, "its signature does not fit"),
        (RECORD_BYTES + 200, "its signature does not fit"),
        (24, "signature"),
        (16, "signature"),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let begin = at / RECORD_BYTES * RECORD_BYTES;
        let checksum = crc32fast::hash(&bytes[begin..begin + RECORD_BYTES - 4]).to_le_bytes();
        bytes[begin + RECORD_BYTES - 4..begin + RECORD_BYTES].copy_from_slice(&checksum);
        fs::write(&path, &bytes).unwrap();
        assert_named(directory.path(), &[words]);
    }
    // Records left out, exchanged, or repeated.
    let (front, rest) = whole.split_at(RECORD_BYTES);
    let parts: Vec<&[u8]> = rest.chunks(RECORD_BYTES).collect();
    assert!(parts.len() >= 4);
    let joined = |order: &[usize]| {
        let mut bytes = front.to_vec();
        order.iter().for_each(|at| bytes.extend_from_slice(parts[*at]));
        bytes
    };
    for (order, words) in [
        (&[0, 2, 3][..], "1 records are missing before record 2"),
        (&[1, 2, 3], "1 records are missing before record 1"),
        (&[1, 0, 2, 3], "it stands behind record 1"),
        (&[0, 1, 1, 2, 3], "it stands behind record 1"),
    ] {
        fs::write(&path, joined(order)).unwrap();
        assert_named(directory.path(), &[words]);
    }
}

#[test]
fn a_segment_removed_replaced_or_added_is_named_and_one_that_expired_is_not() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), 2500, 1);
    let all = segments(directory.path(), None).unwrap();
    let (kept, removed) = (&all[1], &all[2]);
    let bytes = fs::read(&removed.segment).unwrap();
    fs::remove_file(&removed.segment).unwrap();
    let name = format!("segment {:012}", removed.name.sequence);
    assert_named(directory.path(), &[&format!("{name} of lane"), "was removed, and not by the ring"]);
    // Another segment in its place, and an index to fit.
    let other = tempfile::tempdir().unwrap();
    run(other.path(), 2500, 9);
    let foreign = &segments(other.path(), None).unwrap()[2];
    assert_eq!(foreign.name.sequence, removed.name.sequence);
    fs::copy(&foreign.segment, &removed.segment).unwrap();
    assert_named(directory.path(), &["altered or replaced"]);
    fs::write(&removed.segment, &bytes).unwrap();
    assert!(checked(directory.path()).1.is_empty());
    // One that the ring never wrote.
    let added = SegmentName { sequence: 77, ..kept.name };
    fs::copy(&foreign.segment, directory.path().join(added.segment_file())).unwrap();
    fs::copy(&foreign.index, directory.path().join(added.index_file())).unwrap();
    assert_named(directory.path(), &["has no record of this segment"]);
    fs::remove_file(directory.path().join(added.segment_file())).unwrap();
    fs::remove_file(directory.path().join(added.index_file())).unwrap();
    // A smaller budget: the ring removes what is oldest, and says so before.
    let before = segments(directory.path(), None).unwrap().len();
    run_with(&RingConfig { budget_mib: 8, ..config(directory.path()) }, 100, 3);
    let (check, damages) = checked(directory.path());
    assert_eq!(damages, Vec::<String>::new());
    assert!(check.segments_expired > 0 && before > 4, "{check:?}");
}

#[test]
fn a_torn_chain_goes_on_behind_its_last_whole_record() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), 600, 1);
    let path = chain(directory.path());
    let whole = fs::read(&path).unwrap();
    let count = whole.len() / RECORD_BYTES - 1;
    for cut in [1, 100, RECORD_BYTES - 1, RECORD_BYTES] {
        for zeros in [0, RECORD_BYTES, 3 * RECORD_BYTES + 5] {
            let copied = tempfile::tempdir().unwrap();
            copy(directory.path(), copied.path());
            let mut bytes = whole[..whole.len() - cut].to_vec();
            bytes.resize(bytes.len().next_multiple_of(if zeros > 0 { RECORD_BYTES } else { 1 }) + zeros, 0);
            fs::write(chain(copied.path()), &bytes).unwrap();
            run(copied.path(), 600, 2);
            let (check, damages) = checked(copied.path());
            // A torn record that zeros follow cannot be told from a damaged one, and is named.
            let torn = usize::from(zeros > 0 && cut < RECORD_BYTES);
            assert_eq!(damages.len(), torn, "{cut} {zeros} {damages:?}");
            // What lost its record was chained again, as recovered.
            assert_eq!(check.segments_recovered, 1, "{cut} {zeros}");
            assert_eq!(check.records, count as u64 + 2);
        }
    }
}

#[test]
fn a_chain_of_which_nothing_can_be_read_is_put_away_and_told() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), 600, 1);
    fs::write(chain(directory.path()), vec![0xaa; 5 * RECORD_BYTES]).unwrap();
    run(directory.path(), 600, 2);
    let (check, damages) = checked(directory.path());
    assert_eq!(damages.len(), 1);
    assert!(damages[0].starts_with(DAMAGED_FILE), "{damages:?}");
    assert_eq!((check.segments_recovered, check.segments_verified), (2, 4));
    fs::remove_file(chain(directory.path())).unwrap();
    assert_named(directory.path(), &["the chain is missing"]);
}

#[test]
fn what_a_kill_left_is_chained_at_the_next_start_as_recovered() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), 600, 1);
    // As if killed before the last segment was chained and its index sealed.
    let path = chain(directory.path());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - RECORD_BYTES]).unwrap();
    let last = ChainRecord::decode(&whole[whole.len() - RECORD_BYTES..]).unwrap().said;
    let files = segments(directory.path(), None).unwrap();
    let files = files.iter().find(|files| files.name.sequence == last.segment).unwrap();
    crate::ring::testing::empty_journal(&files.index);
    let (check, damages) = checked(directory.path());
    assert_eq!((damages.len(), check.segments_without_record), (0, 1), "{damages:?}");
    run(directory.path(), 600, 2);
    let (check, damages) = checked(directory.path());
    assert_eq!((damages.len(), check.segments_recovered), (0, 1), "{damages:?}");
    let recovered = records(directory.path())[1].said;
    assert_eq!((recovered.kind, recovered.digest), (RecordKind::Recovered, last.digest));
    assert_eq!((recovered.frames, recovered.run), (last.frames, last.run));
}

#[test]
fn a_new_key_goes_on_with_the_chain_and_both_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let first = run(directory.path(), 600, 1).custody.unwrap().key;
    let old = PublicKey::read(&directory.path().join(PUBLIC_KEY_FILE)).unwrap();
    fs::remove_file(directory.path().join(KEY_FILE)).unwrap();
    let second = run(directory.path(), 600, 2).custody.unwrap().key;
    let new = PublicKey::read(&directory.path().join(PUBLIC_KEY_FILE)).unwrap();
    assert!(first != second);
    let (check, damages) = checked(directory.path());
    assert_eq!((check.keys, damages.len()), (vec![first, second], 0));
    assert!(checked_with(directory.path(), &[old, new]).is_sound());
    // Who knows only the first key learns from where on another one signed.
    let check = checked_with(directory.path(), &[old]);
    assert_eq!(check.damages, 1);
    assert!(check.damaged[0].what.contains(&second.to_string()), "{check:?}");
}

#[test]
fn a_key_that_cannot_be_used_keeps_the_ring_closed() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    run_with(&config, 100, 1);
    fs::write(directory.path().join(KEY_FILE), "not a key").unwrap();
    let error = Ring::open(&config, 2, RingMode::Replay, Timestamp(0)).unwrap_err();
    assert!(matches!(error, crate::ring::RingError::Custody { .. }), "{error}");
    assert!(error.to_string().contains("custody.key") && error.to_string().contains("ring.custody = false"));
    let status = run_with(&RingConfig { custody: false, ..config }, 100, 2);
    assert_eq!(status.custody, None);
    let unexpected = Verifier::new(directory.path(), &[], false);
    let check = check_with(directory.path(), None, unexpected, &mut |_, _| {}).unwrap();
    assert_eq!((check.damages, check.custody.segments_without_record), (0, 2), "{check:?}");
}

#[test]
fn at_its_limit_the_chain_drops_what_expired_and_stays_verifiable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    run(path, 600, 1);
    let key = SigningKey::load_or_create(&KeyPlace::of("", path, None).unwrap()).unwrap();
    let chain = Chain::open(path, &key, 64).unwrap();
    let mut custody = Custody { key, chain, waiting: VecDeque::new(), errors: 0, last_expired: None };
    let digest = SegmentDigest::new(&[0; 128]);
    for sequence in 100..1000 {
        let name = SegmentName { sequence, lane: 0, first_time: Timestamp(sequence) };
        custody.seal(name, 2, 0, &digest);
        custody.expire(name);
        assert!(fs::metadata(tests::chain(path)).unwrap().len() <= 65 * RECORD_BYTES as u64);
    }
    let (check, damages) = checked(path);
    assert_eq!(damages, Vec::<String>::new());
    // The two segments that are still there kept their records all the time.
    assert_eq!((check.segments_verified, check.records), (2, 1802));
    let whole_from = ChainReader::open(path).unwrap().unwrap().header.unwrap().whole_from;
    assert!(whole_from > 1700, "{whole_from}");
    // Behind that place nothing may be missing, and before it nobody can move it.
    let bytes = fs::read(tests::chain(path)).unwrap();
    let mut short = bytes.clone();
    short.drain(5 * RECORD_BYTES..6 * RECORD_BYTES);
    fs::write(tests::chain(path), &short).unwrap();
    assert_named(path, &["1 records are missing before"]);
}

#[test]
fn the_limit_follows_the_budget() {
    let of = |budget_mib: u64, segment_mib| {
        let config = RingConfig { budget_mib, segment_mib, ..RingConfig::default() };
        records_max(&config, budget_mib * MIB)
    };
    assert_eq!((of(64, 1), of(10 << 10, 64), of(10 << 20, 64)), (512, 65_536, 655_360));
    assert_eq!(records_max(&RingConfig { custody: false, ..RingConfig::default() }, MIB), 0);
    assert_eq!((share_bytes(0), share_bytes(512)), (0, 2 * 513 * 256));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_chain_of_any_bytes_is_verified_without_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let key = SigningKey::load_or_create(&KeyPlace::of("", path, None).unwrap()).unwrap();
        let chain = Chain::open(path, &key, 64).unwrap();
        let mut custody = Custody { key, chain, waiting: VecDeque::new(), errors: 0, last_expired: None };
        for sequence in 0..10 {
            let name = SegmentName { sequence, lane: 0, first_time: Timestamp(sequence) };
            custody.seal(name, 2, 0, &SegmentDigest::new(&[0; 128]));
        }
        let mut bytes = fs::read(tests::chain(path)).unwrap();
        for (at, byte) in &edits {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        fs::write(tests::chain(path), &bytes).unwrap();
        let (check, _) = checked(path);
        prop_assert!(check.records_sound <= 10);
        let key = SigningKey::load_or_create(&KeyPlace::of("", path, None).unwrap()).unwrap();
        Chain::open(path, &key, 64).unwrap();
    }
}

/// Not a test of anything: what a segment costs. `cargo test --release -- --ignored cost_of_a_segment --nocapture`
#[test]
#[ignore = "a measurement"]
fn cost_of_a_segment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let key = SigningKey::load_or_create(&KeyPlace::of("", path, None).unwrap()).unwrap();
    let chain = Chain::open(path, &key, 65_536).unwrap();
    let mut custody = Custody { key, chain, waiting: VecDeque::new(), errors: 0, last_expired: None };
    let header = crate::ring::format::BlockHeader { frames: 1, ..Default::default() };
    let started = std::time::Instant::now();
    let rounds = 10_000u64;
    for sequence in 0..rounds {
        let mut digest = SegmentDigest::new(&[0; 128]);
        (0..128).for_each(|block| digest.block(block * 4096, &header));
        let name = SegmentName { sequence, lane: 0, first_time: Timestamp(sequence) };
        custody.seal(name, 1, 0, &digest);
    }
    println!("{} ns per segment of 128 blocks", started.elapsed().as_nanos() / u128::from(rounds));
}
