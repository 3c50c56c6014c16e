//! Order, limits and ends of answers, over rings made to be unordered.

use super::merge::Next;
use super::tests::Addresses;
use super::*;
use crate::capture::{Frame, LinkType};
use crate::counters::RingCounters;
use crate::ring::config::RingConfig;
use crate::ring::reader::{BlockFrames, BlockReader};
use crate::ring::{Ring, RingMode};
use reading::Progress;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const LANES: u16 = 3;

fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Frames over three lanes, each with its number, whose times stand still, run on and jump back.
fn write(directory: &Path, seed: u64, frames: u64) {
    let directory = directory.to_str().unwrap().to_owned();
    let config =
        RingConfig { directory, budget_mib: 64, segment_mib: 1, block_kib: 256, ..RingConfig::default() };
    let mut ring = Ring::open(&config, LANES, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lanes: Vec<_> = (0..LANES).map(|index| ring.lane(index).unwrap()).collect();
    let mut next = random(seed);
    let mut times = [1_000_000u64; LANES as usize];
    for number in 0..frames {
        let lane = next(LANES.into()) as usize;
        let step = [0, 0, 1, 1, 10, 1000, 50_000][next(7) as usize];
        times[lane] += step;
        if next(400) == 0 {
            times[lane] -= next(800_000).min(times[lane] / 2);
        }
        let length = [20, 60, 200, 300, 1000, 1500][next(6) as usize];
        let mut data = vec![number as u8; length];
        data[..8].copy_from_slice(&number.to_le_bytes());
        let (time, interface) = (Timestamp(times[lane]), lane as u32);
        let wire_len = length as u32;
        let frame = Frame { time, link: LinkType::ETHERNET, interface, wire_len, data: &data };
        lanes[lane].append(&frame, None, None, &mut RingCounters::default());
    }
    drop(lanes);
    ring.close();
}

fn query(directory: &Path, threads: usize) -> Query {
    let reading = Reading { threads, ..Reading::default() };
    Query { directory: directory.to_owned(), reading, ..Query::default() }
}

type Row = (u64, Position, Vec<u8>);

fn row(found: &Found<'_>) -> Row {
    (found.frame.time.0, found.position, found.frame.data.to_vec())
}

fn answer(query: &Query) -> (Vec<Row>, Answer) {
    let mut rows = Vec::new();
    let answer = query.run(Timestamp::MAX, &Addresses, &mut |found| {
        rows.push(row(found));
        Ok(())
    });
    (rows, answer.unwrap())
}

/// Every frame by time, then by the plan's order, then as it was written.
fn sorted(directory: &Path) -> Vec<Row> {
    let plan = query(directory, 1).plan(&Addresses).unwrap().plan;
    let (mut reader, mut frames) = (BlockReader::default(), BlockFrames::default());
    let mut rows = Vec::new();
    for candidate in &plan.candidates {
        let header = candidate.header;
        let read = &mut |files: &_| reader.read(files, candidate.offset, &header, &mut frames);
        plan.read_of(candidate, read).unwrap();
        frames.each(&mut |placed, frame| {
            let position = Position {
                run: 1,
                lane: header.lane,
                segment: header.segment,
                number: header.number,
                index: placed.index,
            };
            rows.push((frame.time.0, position, frame.data.to_vec()));
        });
    }
    rows.sort_by_key(|row| row.0);
    rows
}

#[test]
fn any_number_of_threads_gives_the_frames_of_unordered_lanes_in_one_order() {
    for seed in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), seed, 4_000);
        let want = sorted(directory.path());
        assert_eq!(want.len(), 4_000);
        for threads in [1, 2, 4] {
            let (rows, answer) = answer(&query(directory.path(), threads));
            assert!(rows == want && !answer.out_of_order, "seed {seed}, {threads} threads");
            assert!(answer.completeness.complete && answer.stopped.is_none(), "{answer}");
        }
    }
}

#[test]
fn positions_count_frames_as_they_were_written() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 3, 2_000);
    let (mut rows, _) = answer(&query(directory.path(), 2));
    rows.sort_by_key(|(_, position, _)| (position.lane, position.number, position.index));
    // Within a lane the numbers that the frames carry ascend.
    for pair in rows.windows(2).filter(|pair| pair[0].1.lane == pair[1].1.lane) {
        let number = |row: &Row| u64::from_le_bytes(row.2[..8].try_into().unwrap());
        assert!(number(&pair[0]) < number(&pair[1]));
    }
    rows.dedup_by_key(|row| row.1);
    assert_eq!(rows.len(), 2_000);
}

fn pcapng(query: &Query) -> Vec<u8> {
    let mut out = Vec::new();
    query.write_pcapng(Timestamp::MAX, &Addresses, &mut out).unwrap();
    out
}

#[test]
fn one_thread_and_four_write_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 5, 6_000);
    for (expression, limit) in [("", None), ("less 250", None), ("greater 900", NonZeroU64::new(77))] {
        let ask = |threads| {
            let expression = expression.to_owned();
            pcapng(&Query { expression, limit, ..query(directory.path(), threads) })
        };
        let one = ask(1);
        assert!(one.len() > 10_000 && one == ask(4) && one == ask(0), "{expression}");
    }
}

/// What a merge with little memory gives, and whether it says that it is out of order.
fn merged(directory: &Path, threads: usize, open_bytes_max: usize) -> (Vec<Row>, bool) {
    let asked = query(directory, threads);
    let planned = asked.plan(&Addresses).unwrap();
    let question = Question {
        since: planned.since,
        until: planned.until,
        flow: None,
        pairs: planned.pairs,
        filters: planned.filters.clone(),
        plan: &planned.plan,
        reading: &asked.reading,
        wants: Wants::Frames,
        pace: None,
    };
    let candidates = &planned.plan.candidates;
    let mut rows = Vec::new();
    let mut give = |found: &Found<'_>, _| {
        rows.push(row(found));
        Ok(Next::GoOn)
    };
    let merge = Merge::new(&asked.reading, open_bytes_max);
    let read = std::thread::scope(|scope| match threads {
        1 => merge.run(&mut Alone::new(candidates, &question, &Addresses), &mut give),
        _ => {
            let pool = Pool::start(scope, threads, candidates, &question, &Addresses);
            merge.run(&mut pool.unwrap(), &mut give)
        }
    });
    let out_of_order = read.unwrap().out_of_order;
    (rows, out_of_order)
}

#[test]
fn with_little_memory_nothing_is_lost_and_the_order_is_said_to_be_wrong() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 8, 4_000);
    let want = sorted(directory.path());
    let (rows, out_of_order) = merged(directory.path(), 1, usize::MAX);
    assert!(rows == want && !out_of_order);
    let (mut rows, out_of_order) = merged(directory.path(), 1, 1);
    assert!(out_of_order && !rows.is_sorted_by_key(|row| row.0));
    rows.sort_by_key(|row| (row.0, row.1));
    let mut all = want;
    all.sort_by_key(|row| (row.0, row.1));
    assert!(rows == all);
}

#[test]
fn the_limit_of_memory_acts_the_same_whichever_thread_is_first() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 9, 4_000);
    for bytes in [1, 300_000, 900_000] {
        let (one, _) = merged(directory.path(), 1, bytes);
        let (four, _) = merged(directory.path(), 4, bytes);
        assert_eq!(one.len(), four.len());
        let numbers = |rows: &[Row]| -> Vec<_> { rows.iter().map(|row| row.1).collect() };
        assert!(numbers(&one) == numbers(&four), "{bytes}");
    }
}

#[test]
fn a_limit_gives_the_first_frames_and_says_up_to_when_the_answer_is_complete() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1, 3_000);
    let (all, _) = answer(&query(directory.path(), 1));
    for limit in [1, 2, 999, 2_999] {
        for threads in [1, 4] {
            let limit_of = NonZeroU64::new(limit);
            let (rows, answer) = answer(&Query { limit: limit_of, ..query(directory.path(), threads) });
            assert!(rows == all[..limit as usize], "{limit}");
            let stopped = answer.stopped.unwrap();
            assert_eq!(stopped.reason, StopReason::Limit);
            assert_eq!(stopped.before.0, all[limit as usize].0);
            assert!(answer.completeness.until < stopped.before, "{answer}");
            assert!(answer.to_string().contains("ended at the limit"), "{answer}");
        }
    }
    let (rows, answer) = answer(&Query { limit: NonZeroU64::new(3_000), ..query(directory.path(), 4) });
    assert!(rows == all && answer.stopped.is_none(), "all there is is no limit: {answer}");
}

/// Sets a flag when so many bytes were written.
struct StopsAfter {
    bytes: usize,
    out: Vec<u8>,
    stop: Arc<AtomicBool>,
}

impl Write for StopsAfter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        if self.out.len() >= self.bytes {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks of a pcapng file, each whole.
fn blocks(bytes: &[u8]) -> Vec<u32> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut kinds, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length = u32_at(at + 4) as usize;
        assert_eq!(u32_at(at + length - 4) as usize, length);
        kinds.push(u32_at(at));
        at += length;
    }
    kinds
}

#[test]
fn an_answer_that_is_interrupted_is_a_whole_file_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 2, 4_000);
    let (all, _) = answer(&query(directory.path(), 1));
    for threads in [1, 4] {
        let mut asked = query(directory.path(), threads);
        let stop = Arc::new(AtomicBool::new(false));
        asked.reading.stop = Some(Arc::clone(&stop));
        let mut out = StopsAfter { bytes: 1, out: Vec::new(), stop };
        let answer = asked.write_pcapng(Timestamp::MAX, &Addresses, &mut out).unwrap();
        let stopped = answer.stopped.unwrap();
        assert_eq!(stopped.reason, StopReason::Interrupted);
        assert!(answer.frames > 0 && answer.frames < 4_000, "{answer}");
        let before = all.iter().filter(|row| row.0 < stopped.before.0).count() as u64;
        let up_to = all.iter().filter(|row| row.0 <= stopped.before.0).count() as u64;
        assert!((before..=up_to).contains(&answer.frames), "{answer}");
        let kinds = blocks(&out.out);
        assert_eq!(kinds.iter().filter(|kind| **kind == 6).count() as u64, answer.frames);
        assert_eq!(kinds.last(), Some(&5), "it ends with its statement");
        assert!(out.out.windows(11).any(|window| window == b"interrupted"));
    }
}

#[test]
fn what_is_interrupted_before_it_begins_claims_nothing() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 2, 1_000);
    for threads in [1, 4] {
        let mut asked = query(directory.path(), threads);
        asked.reading.stop = Some(Arc::new(AtomicBool::new(true)));
        // At this rate the second block would come after years.
        asked.reading.bytes_per_second = NonZeroU64::new(1);
        let (rows, answer) = answer(&asked);
        assert!(rows.is_empty() && answer.stopped.is_some(), "{answer}");
        assert!(answer.completeness.until <= answer.stopped.unwrap().before);
    }
}

#[test]
fn a_receiver_that_goes_away_ends_the_reading() {
    struct Gone(usize);
    impl Write for Gone {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            if self.0 > 300_000 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 4, 4_000);
    for threads in [1, 4] {
        let result = query(directory.path(), threads).write_pcapng(Timestamp::MAX, &Addresses, Gone(0));
        let Err(QueryError::Output(error)) = result else { panic!("{result:?}") };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn a_rate_is_kept_by_all_threads_together() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 6, 2_000);
    let bytes = query(directory.path(), 1).plan(&Addresses).unwrap().plan.cost.bytes_to_read;
    for threads in [1, 4] {
        let mut asked = query(directory.path(), threads);
        asked.reading.bytes_per_second = NonZeroU64::new(bytes * 2);
        let begun = Instant::now();
        let (rows, _) = answer(&asked);
        assert_eq!(rows.len(), 2_000);
        // Half a second in all; the last block of each thread is read without waiting for it, and on a busy machine
        // one thread may read most of them.
        assert!(begun.elapsed() >= Duration::from_millis(160), "{:?}", begun.elapsed());
    }
}

#[test]
fn progress_ends_with_all_that_was_to_be_done() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 7, 2_000);
    for threads in [1, 4] {
        let progress = Arc::<Progress>::default();
        let mut asked = query(directory.path(), threads);
        asked.reading.progress = Some(Arc::clone(&progress));
        let (_, answer) = answer(&asked);
        let get = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let done = (get(&progress.blocks_done), get(&progress.bytes_done), get(&progress.frames));
        assert_eq!(done, (answer.cost.blocks_to_read, answer.cost.bytes_to_read, 2_000));
        assert_eq!((get(&progress.blocks), get(&progress.bytes)), (done.0, done.1));
    }
}

#[test]
fn counting_finds_what_writing_finds() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 10, 3_000);
    for expression in ["", "less 100", "greater 1000", "ether[900] = 7", "ether[0:4] & 1 = 0"] {
        let asked = Query { expression: expression.into(), ..query(directory.path(), 2) };
        let counted = asked.count(Timestamp::MAX, &Addresses).unwrap();
        let (rows, given) = answer(&asked);
        assert_eq!((counted.frames, counted.bytes), (given.frames, given.bytes), "{expression}");
        assert_eq!(counted.frames, rows.len() as u64);
        assert_eq!(counted.bytes, rows.iter().map(|row| row.2.len() as u64).sum::<u64>());
        assert!(counted.frames > 0, "{expression}");
    }
}
