//! The ledger: what was noted is what is read, within its limit.

use super::*;

fn loss(lane: u16, from: u64, to: u64, frames: u64) -> GapRecord {
    let (from, to) = (Timestamp(from), Timestamp(to));
    GapRecord { kind: RecordKind::Loss(LossKind::Queue), lane, run: 1, from, to, frames, bytes: 0, blocks: 0 }
}

fn alive(lane: u16, time: u64) -> Alive {
    Alive { lane, run: 1, until: Timestamp(time), blocks: 0 }
}

fn run(kind: RecordKind, run: u32) -> GapRecord {
    GapRecord { kind, run, ..loss(0, 5, 5, 0) }
}

#[test]
fn what_was_noted_is_read_and_losses_close_together_are_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.note(run(RecordKind::RunStart, 1)).unwrap();
    ledger.note(loss(0, 100, 200, 3)).unwrap();
    assert_eq!(Gaps::read(directory.path()).unwrap().records.len(), 1);
    ledger.note(loss(0, 300, 1_000_000_100, 4)).unwrap();
    ledger.alive(alive(2, 77)).unwrap();
    let gaps = Gaps::read(directory.path()).unwrap();
    assert_eq!(gaps.records, [run(RecordKind::RunStart, 1), loss(0, 100, 1_000_000_100, 7)]);
    assert_eq!((gaps.alive, gaps.damaged_records), (vec![alive(2, 77)], 0));
}

#[test]
fn a_lane_is_whole_only_up_to_the_first_loss_that_is_not_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.note(loss(0, 100, 200, 3)).unwrap();
    let mut told = |time| {
        ledger.alive(alive(0, time)).unwrap();
        let gaps = Gaps::read(directory.path()).unwrap();
        (gaps.alive[0].until.0, gaps.records.len())
    };
    assert_eq!(told(50), (50, 0));
    assert_eq!(told(1_000_000_099), (100, 0));
    assert_eq!(told(1_000_000_100), (1_000_000_100, 1));
}

#[test]
fn a_lane_has_no_account_of_its_blocks_while_one_that_was_not_written_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    let mut told = |time| {
        ledger.alive(Alive { blocks: 7, ..alive(0, time) }).unwrap();
        let blocks = Gaps::read(directory.path()).unwrap().alive[0].blocks;
        ledger.note(loss(0, 100, 200, 3)).unwrap();
        ledger.note(GapRecord { kind: RecordKind::Loss(LossKind::Write), ..loss(0, 300, 300, 3) }).unwrap();
        blocks
    };
    assert_eq!(told(50), 7);
    assert_eq!(told(1_000_000_299), 0);
    assert_eq!(told(1_000_000_300), 7);
}

#[test]
fn of_what_expired_the_latest_run_and_its_highest_block_stay_when_records_merge() {
    let expired = |run, blocks| GapRecord { kind: RecordKind::Expired, run, blocks, ..loss(0, 5, 9, 1) };
    for (held, more, want) in [
        (expired(1, 10), expired(1, 20), (1, 20)),
        (expired(1, 20), expired(1, 10), (1, 20)),
        (expired(1, 20), expired(2, 5), (2, 5)),
        (expired(3, 1), expired(2, 50), (3, 1)),
    ] {
        let mut records = vec![held, more];
        compact(&mut records, 10);
        assert_eq!(records.iter().map(|record| (record.run, record.blocks)).collect::<Vec<_>>(), [want]);
        assert_eq!(GapRecord::decode(&records[0].encode()), Ok(records[0]));
    }
}

#[test]
fn a_run_is_open_until_it_ends() {
    let mut gaps = Gaps { records: vec![run(RecordKind::RunStart, 1)], ..Gaps::default() };
    assert_eq!((gaps.open_runs(), gaps.last_run()), (vec![(0, 1)], 1));
    gaps.records.push(run(RecordKind::RunEnd, 1));
    gaps.records.push(run(RecordKind::RunStart, 2));
    assert_eq!((gaps.open_runs(), gaps.last_run()), (vec![(0, 2)], 2));
}

#[test]
fn a_torn_or_damaged_record_costs_itself_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    for number in 1..=3 {
        ledger.note(run(RecordKind::RunStart, number)).unwrap();
    }
    let path = directory.path().join(GAPS_FILE);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let gaps = Gaps::read(directory.path()).unwrap();
        assert_eq!(gaps.records.len(), (length / RECORD_BYTES).saturating_sub(1), "{length}");
        Ledger::open(directory.path()).unwrap().note(run(RecordKind::RunEnd, 9)).unwrap();
        assert_eq!(Gaps::read(directory.path()).unwrap().records.last().unwrap().run, 9);
    }
    let mut damaged = whole;
    damaged[2 * RECORD_BYTES + 9] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let gaps = Gaps::read(directory.path()).unwrap();
    assert_eq!((gaps.records.len(), gaps.damaged_records), (2, 1));
}

#[test]
fn the_ledger_stays_within_its_limit_and_counts_stay_exact() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    let second = 1_000_000_000;
    for number in 0..40_000u64 {
        let at = number * 3 * second;
        ledger.note(loss((number % 3) as u16, at, at + second, 2)).unwrap();
        assert!(ledger.bytes() <= LEDGER_BYTES_MAX + RECORD_BYTES as u64);
    }
    let gaps = Gaps::read(directory.path()).unwrap();
    assert_eq!(gaps.records.iter().map(|record| record.frames).sum::<u64>(), 80_000);
    assert!(gaps.records.len() > 4000);
}

#[test]
fn what_was_left_out_is_written_once_a_minute_and_holds_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    let (second, read) = (1_000_000_000, || Gaps::read(directory.path()).unwrap());
    let cut_off = |from, to, bytes| GapRecord { kind: RecordKind::CutOff, bytes, ..loss(0, from, to, 1) };
    ledger.note(cut_off(0, second, 100)).unwrap();
    ledger.note(cut_off(second, 60 * second - 1, 200)).unwrap();
    ledger.alive(alive(0, 59 * second)).unwrap();
    assert_eq!((read().records.len(), read().alive[0].until), (0, Timestamp(59 * second)));
    // A loss that is due does not take it along.
    ledger.note(loss(0, 0, second, 3)).unwrap();
    assert_eq!(read().records, [loss(0, 0, second, 3)]);
    ledger.note(cut_off(60 * second - 1, 60 * second, 300)).unwrap();
    let merged = GapRecord { frames: 3, ..cut_off(0, 60 * second, 600) };
    assert_eq!(read().records, [loss(0, 0, second, 3), merged]);
}

#[test]
fn what_was_left_out_gives_way_to_losses_at_the_limit() {
    let losses: Vec<GapRecord> = (0..50).map(|at| loss(0, at * 10, at * 10 + 1, 1)).collect();
    let cut_offs = (0..200u64).map(|at| GapRecord {
        kind: RecordKind::CutOff,
        bytes: 7,
        ..loss((at % 2) as u16, at, at, 1)
    });
    let mut records = losses.clone();
    records.extend(cut_offs);
    compact(&mut records, 60);
    assert_eq!(records[..50], losses);
    let left_out: Vec<&GapRecord> = records[50..].iter().collect();
    assert!(left_out.iter().all(|record| record.kind == RecordKind::CutOff) && left_out.len() <= 10);
    let sum = |field: fn(&GapRecord) -> u64| left_out.iter().map(|record| field(record)).sum::<u64>();
    assert_eq!((sum(|record| record.frames), sum(|record| record.bytes)), (200, 1400));
}

#[test]
fn steps_of_the_clock_merge_into_their_largest() {
    let step = |bytes| GapRecord { kind: RecordKind::ClockStep(ClockStep::Back), bytes, ..loss(0, 5, 9, 1) };
    let mut merged = step(3);
    merged.merge(&step(8));
    merged.merge(&step(2));
    assert_eq!((merged.frames, merged.bytes), (3, 8));
}

#[test]
fn what_a_later_version_wrote_is_counted_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    let later = GapRecord { kind: RecordKind::Unknown(200), run: u32::MAX, ..loss(3, 7, 8, 9) };
    ledger.note(run(RecordKind::RunStart, 4)).unwrap();
    ledger.note(later).unwrap();
    let gaps = Gaps::read(directory.path()).unwrap();
    assert_eq!((gaps.records[1], gaps.unknown_records(), gaps.damaged_records), (later, 1, 0));
    assert_eq!(gaps.last_run(), 4, "its numbers may mean anything");
    ledger.compact().unwrap();
    assert_eq!(Gaps::read(directory.path()).unwrap().records, gaps.records);
    for code in 0..=u8::MAX {
        assert_eq!(RecordKind::from_code(code).code(), code);
    }
}

#[test]
fn runs_alone_lose_the_oldest_at_the_limit() {
    let mut records: Vec<GapRecord> = (0..100).map(|number| run(RecordKind::RunStart, number)).collect();
    compact(&mut records, 10);
    assert_eq!((records.len(), records[0].run), (10, 90));
}
