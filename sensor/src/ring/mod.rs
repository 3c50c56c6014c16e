//! The ring: a rolling, compressed, searchable pool of the packets themselves.
//!
//! In: frames from the workers, each through its own [`Lane`]. Out: segment files that [`reader`] and the
//! query stage read, also while they are being written. Knows no flow and no application: what nothing
//! above could decode is kept all the same.
//!
//! # The format on disk, version 2
//!
//! ## Invariants
//! 1. A block is visible when its first four bytes are; they are stored last. What is visible is whole.
//! 2. A block's bytes never change. Every read verifies the checksum of its header and of each part it reads.
//! 3. A damaged block costs itself alone: each block says where the next begins, the index says it as well,
//!    and blocks begin at multiples of 64 bytes with their magic, so that the next sound one can be found.
//! 4. The index may say "perhaps here" where nothing is; it never says "not here" where something is.
//! 5. All segments, indexes and ledgers together never take more than the budget, at any moment: a segment
//!    being written counts with all it may come to use. The segment written first is removed first.
//! 6. What is missing is written down: no frame is lost, expired or damaged without an interval in the ledger.
//! 7. One process writes, holding an OFD lock on `lock`; readers need no lock.
//! 8. A block has a name for good: the run, the lane, and its number in both.
//!
//! ## Layout
//! All numbers are little-endian, all times nanoseconds since 1970, all checksums CRC-32 (IEEE).
//!
//! | file | holds |
//! |---|---|
//! | `SSSSSSSSSSSS-LLLLL-T.seg` | frames of lane L: the segment with sequence S, whose first frame has time T |
//! | `SSSSSSSSSSSS-LLLLL-T.idx` | its index: which blocks hold what |
//! | `gaps`, `alive` | the gap ledger, and until when each lane has everything on disk |
//! | `interfaces` | the names of interfaces: a line each, number, space, name |
//! | `custody`, `custody.key`, `custody.pub` | the chain of custody and its keys, see `custody/mod.rs` |
//! | `lock` | empty |
//! | `pins/ID/` | a pin: copies of blocks, see below |
//! | `*.tmp` | a file that is not finished; removed at the next start |
//!
//! **Segment**: a header of 128 bytes: magic `WEIRRING`, version u16, lane u16, run u32, sequence u64, first
//! time u64, flags u16 (1: encrypted), salt of 8 bytes, zeros, checksum of the 124 bytes before it. Then blocks,
//! each at a multiple of 64.
//!
//! **Block**: a header of 128 bytes, then its body. The header: magic `WBLK`, checksum of the 120 bytes that
//! follow, lane u16, flags u16 (1: frames are not in order of time, 2: encrypted), frames u32, of these cut off u32,
//! segment sequence u64, number in lane and run u64, first and last time u64, bytes of entries and of their part
//! u32, bytes of heads and of their part u32, bytes of tails u32, bytes of the body u32, checksum of the body's
//! table u32, BLAKE3 of the body or zeros (32 bytes), bytes left out on purpose u64, the segment's salt (8 bytes).
//!
//! The body: a table with a line for each part, stored bytes u32 and their checksum u32; then the parts, each a zstd
//! frame of its own: the entries, the heads, and the tails in chunks of 128 KiB. The heads are the captured bytes of
//! each frame of up to 256, one after the other, and the first 128 bytes of each longer one; the tails are what
//! follows in the longer ones. A question that looks at headers only reads a fifth of the bytes. The entries say for
//! each frame, as LEB128 numbers: the difference of its time to the frame before (zigzag; the first: to 0), eight
//! times the captured length plus 1 if the wire length follows because it differs, plus 2 if interface and link type
//! (tcpdump.org/linktypes.html) follow because they differ from the frame before, plus 4 if a receipt follows for
//! bytes that were left out on purpose: how many, and the first 16 bytes of their BLAKE3.
//!
//! **Index**: a header of 64 bytes: magic `WEIRINDX`, version u16, lane u16, form u16 (0 journal, 1 sealed), encrypted
//! u16, sequence u64, first time u64, salt of 8 bytes, zeros, checksum. A journal goes on with records: length of
//! payload u32, its checksum u32, payload: offset in the segment u64, the block's header, its summary (`summary.rs`).
//! The sealed form goes on with pages (`index/pages.rs`) that hold sorted keys (`index/sealed.rs`).
//!
//! **Pins**: `pins/ID/` keeps blocks past the ring's turn: for every segment that had some of them a file of the
//! same name with the original's header and the blocks byte for byte, each where it was, holes between them, and a
//! sealed index of their own; `pin.json` says what was asked for and until when it is kept. Each pin is whole by
//! itself: a block of two pins is stored twice. `pins/lock` is held by who makes or removes one; `pins/*.tmp` is a pin that is not
//! finished, or half removed, and goes with the next of these or the next start.
//!
//! **Ledger**: see `gaps.rs`; a header and records of 64 bytes each: kind u8, zero, lane u16, run u32, begin and end
//! u64, frames u64, bytes u64, blocks u64 (0 from earlier versions), zeros, checksum.
//!
//! **With a key** each part of a block, each payload of a journal and each page of a sealed index is sealed with
//! AES-256-GCM under a key that BLAKE3 derives from the ring's key, the file's salt and the purpose; the tag follows
//! the bytes, and checksums are over both. The nonce is the block's offset and the part's number, the record's
//! number, or the page's number. Names, headers of blocks and the ledger (times, counts, sizes) stay readable.
//!
//! ## Writing
//! A segment is created as `.tmp`, its space reserved, its header written, then renamed; its journal exists
//! before. A block is written in one piece but for its magic, then its magic. A segment that has no room for a block that
//! would not compress at all, or whose index would outgrow its share, is cut to its length, and the sealed index
//! takes the journal's place. A thread of its own sees to it that what was written reaches the disk (`sync.rs`).
//!
//! ## Recovery
//! When a ring is opened, each segment without a sealed index (those that were being written) is walked from
//! header to header, cut after the last sealed block, and its index completed; blocks the journal did not
//! reach get a summary that says "may hold anything". Runs without an end are noted as killed at the last time
//! that `alive` knows. After a power loss blocks that the kernel had not yet written are damaged or absent; the
//! checksums tell which.

pub mod config;
pub mod format;
pub mod entry;
pub mod cipher;
mod view;
pub mod cut_off;
pub mod clock;
mod block;
mod encode;
pub mod summary;
mod segment;
mod sync;
pub mod index;
pub mod gaps;
pub mod account;
pub mod interfaces;
mod lock;
pub mod custody;
mod retention;
mod upkeep;
pub mod pins;
mod recovery;
mod horizon;
mod places;
mod failed;
mod lane;
mod writer;
mod frames;
pub mod reader;
pub mod check;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;

pub use lane::Lane;
pub use places::Places;

use block::Block;
use cipher::RingKey;
use config::{BLOCK_KIB_RANGE, QUEUE_BLOCKS_RANGE, RingConfig, SEGMENT_MIB_RANGE, THREADS_MAX};
use crossbeam::channel::{Sender, bounded};
use custody::{Custody, CustodyError, CustodyStatus};
use failed::Failed;
use format::SEGMENT_HEADER_BYTES;
use gaps::{Gaps, LEDGER_BYTES_MAX, Ledger};
use horizon::{Horizon, Pace};
use lane::Work;
use lock::Lock;
use retention::{Disk, Limits, Retention};
use serde::Serialize;
use std::collections::VecDeque;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use sync::Syncing;
use weir_common::time::Timestamp;
use writer::{Books, Counts, LaneEnd, Shared, Writer};

/// Space kept for the ledger: the file and the copy that replaces it.
const LEDGER_SHARE_BYTES: u64 = 2 * LEDGER_BYTES_MAX + (64 << 10);
/// Segments per lane that the file system has room for at least.
const DISK_SEGMENTS_PER_LANE_MIN: u64 = 8;
/// An index may take this part of its segment before the segment ends early.
const INDEX_SHARE: u64 = 8;
/// Smallest share of an index, so that a small segment can be indexed too.
const INDEX_BYTES_MIN: u64 = 64 << 10;
/// Places in a thread's queue beside those for blocks: for losses and signs of life.
const QUEUE_SPARE: usize = 64;

/// Of a directory that is made for a ring: only its owner and group read packets.
const DIRECTORY_MODE: u32 = 0o750;
/// Blocks of a replay's lane.
const REPLAY_BLOCKS: u16 = 4;
/// After how many more blocks what one took counts for how long packets are kept, where the queue is longer. A replay's
/// block has always come back by then.
const PACE_BLOCKS_MAX: u16 = 32;

/// What a lane does when the ring cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingMode {
    /// Leave frames out and count them: a live worker waits for nobody. Time is the clock's.
    Live,
    /// Wait. Time is the frames', and the run begins and ends with them.
    Replay,
}

/// Why a ring cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// A configuration key is outside its range.
    #[error("ring.{key} is {found}, expected {expected}")]
    Config {
        /// The key.
        key: &'static str,
        /// Its value.
        found: i64,
        /// Its range.
        expected: String,
    },
    /// The budget does not hold two segments per lane.
    #[error(
        "ring.budget_mib is {found}; {lanes} workers with blocks of {block_kib} KiB need at least {needed}"
    )]
    Budget {
        /// The budget, in MiB.
        found: u64,
        /// Lanes.
        lanes: u16,
        /// Size of a block.
        block_kib: u32,
        /// What would do, in MiB.
        needed: u64,
    },
    /// Another process writes this ring.
    #[error("{path}: another sensor writes this ring")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Custody cannot be kept, and going on without would be silent.
    #[error("{source}; with ring.custody = false the ring goes on unsigned")]
    Custody {
        /// Why.
        source: CustodyError,
    },
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Sizes that follow from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    block_bytes: usize,
    /// Most records of the chain of custody; 0: none is kept.
    custody_records: u64,
    level: i32,
    lanes: u16,
    /// Whether blocks carry a hash of their contents.
    hashes: bool,
}

impl Sizes {
    fn of(config: &RingConfig, lanes: u16) -> Result<(Sizes, Limits), RingError> {
        in_range("block_kib", config.block_kib, BLOCK_KIB_RANGE)?;
        in_range("segment_mib", config.segment_mib, SEGMENT_MIB_RANGE)?;
        in_range("queue_blocks", config.queue_blocks, QUEUE_BLOCKS_RANGE)?;
        in_range("threads", config.threads, 0..=THREADS_MAX)?;
        in_range("zstd_level", config.zstd_level, zstd::compression_level_range())?;
        let block_bytes = (config.block_kib as usize) << 10;
        let entries_bytes = format::ENTRIES_BYTES_MAX as usize;
        // A frame is among heads or tails, so that only one of the two can be as long as the block.
        let block_bound =
            encode::bound(entries_bytes.min(block_bytes.max(64 << 10)), block_bytes, block_bytes);
        let smallest = (SEGMENT_HEADER_BYTES + block_bound).next_multiple_of(4096) as u64;
        let budget = config.budget_mib.saturating_mul(1 << 20);
        let custody_records = custody::records_max(config, budget);
        let shares_bytes = LEDGER_SHARE_BYTES + custody::share_bytes(custody_records);
        let budget_bytes = budget.saturating_sub(shares_bytes);
        let with_index = |segment: u64| segment + index_share(segment);
        let fair = budget_bytes / (4 * u64::from(lanes.max(1))) / (INDEX_SHARE + 1) * INDEX_SHARE;
        let wanted = config.segment_mib_wanted() << 20;
        let segment_bytes = wanted.min(fair / 4096 * 4096).max(smallest);
        let needed = 2 * u64::from(lanes.max(1)) * with_index(segment_bytes);
        if needed > budget_bytes {
            let needed = (needed + shares_bytes).div_ceil(1 << 20);
            return Err(RingError::Budget {
                found: config.budget_mib,
                lanes,
                block_kib: config.block_kib,
                needed,
            });
        }
        let limits = Limits {
            budget_bytes,
            shares_bytes,
            segment_bytes,
            index_bytes: index_share(segment_bytes),
            segment_bytes_min: smallest,
            kept_bytes_min: needed,
            age_max: (config.age_max_hours > 0)
                .then(|| Duration::from_secs(u64::from(config.age_max_hours) * 3600)),
            disk_free_min_bytes: config.disk_free_min_mib.saturating_mul(1 << 20),
        };
        let (level, hashes) = (config.zstd_level, config.custody);
        Ok((Sizes { block_bytes, custody_records, level, lanes, hashes }, limits))
    }
}

/// What is kept for the index of a segment of this size.
fn index_share(segment_bytes: u64) -> u64 {
    (segment_bytes / INDEX_SHARE).max(INDEX_BYTES_MIN).next_multiple_of(4096)
}

impl Limits {
    /// The limits with segments of which a file system holds several per lane, however large the budget is: a new
    /// one takes its whole space before it is filled, so that on a small disk little else would be left.
    fn on(self, disk: Disk, lanes: u16) -> Limits {
        let each = disk.total_bytes / (DISK_SEGMENTS_PER_LANE_MIN * u64::from(lanes.max(1)));
        let fair = each / (INDEX_SHARE + 1) * INDEX_SHARE / 4096 * 4096;
        let segment_bytes = self.segment_bytes.min(fair.max(self.segment_bytes_min));
        Limits { segment_bytes, index_bytes: index_share(segment_bytes), ..self }
    }
}

fn in_range<T>(key: &'static str, value: T, range: std::ops::RangeInclusive<T>) -> Result<(), RingError>
where
    T: PartialOrd + Copy + Into<i64> + std::fmt::Debug,
{
    if range.contains(&value) {
        return Ok(());
    }
    Err(RingError::Config {
        key,
        found: value.into(),
        expected: format!("{:?} to {:?}", range.start(), range.end()),
    })
}

/// What a ring did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RingStatus {
    /// Blocks written.
    pub blocks: u64,
    /// Frames written.
    pub frames: u64,
    /// Their bytes, entries included, before compression.
    pub raw_bytes: u64,
    /// Their bytes after compression, headers included.
    pub stored_bytes: u64,
    /// Bytes of sealed indexes for them.
    pub index_bytes: u64,
    /// Of the frames written, those whose ciphertext is left out.
    pub frames_cut_off: u64,
    /// Captured bytes that were left out on purpose.
    pub left_out_bytes: u64,
    /// Blocks that were compressed faster than configured because many waited.
    pub blocks_hurried: u64,
    /// Frames lost because the disk was full or failed; no worker's counters have them.
    pub frames_failed: u64,
    /// Segments removed to make room.
    pub segments_removed: u64,
    /// Times the gap ledger could not be written at once.
    pub ledger_errors: u64,
    /// Whether the disk fails now.
    pub failing: bool,
    /// How long packets are kept at the rate at which the ring fills, in seconds; none: not known yet.
    pub keeps_s: Option<u64>,
    /// Disk space in use or reserved, in bytes.
    pub used_bytes: u64,
    /// Disk space the ring may use, in bytes.
    pub budget_bytes: u64,
    /// Of the segments removed: those that were older than the limit.
    pub segments_removed_by_age: u64,
    /// Of the segments removed: those that left because others filled the disk.
    pub segments_removed_by_disk: u64,
    /// Whether the disk is nearly full from elsewhere, and the ring is smaller for it.
    pub disk_short: bool,
    /// Pins: evidence kept past its turn.
    pub pins: u64,
    /// Disk space of the pins, in bytes; not part of the ring's.
    pub pin_bytes: u64,
    /// The chain of custody; none when none is kept.
    pub custody: Option<CustodyStatus>,
}

/// A ring that is being written.
#[derive(Debug)]
pub struct Ring {
    shared: Arc<Shared>,
    lanes: Vec<Option<Lane>>,
    threads: Vec<JoinHandle<()>>,
    config: RingConfig,
    pins_seen: Mutex<pins::Seen>,
    _lock: Lock,
}

impl Ring {
    /// Opens or creates the ring of `config.directory`, recovers what a crash left, and starts its threads.
    ///
    /// `now` is when a live run begins; a replay's begins with its first frame.
    pub fn open(config: &RingConfig, lanes: u16, mode: RingMode, now: Timestamp) -> Result<Ring, RingError> {
        let (sizes, limits) = Sizes::of(config, lanes)?;
        let directory = Path::new(&config.directory);
        let key = RingKey::load(&config.encryption_key)
            .map_err(|source| RingError::Io { path: "ring.encryption_key".into(), source })?;
        let (lock, shared) = prepare(directory, config, sizes, limits, key, mode, now)?;
        let mut ring = Ring {
            shared: Arc::new(shared),
            lanes: Vec::new(),
            threads: Vec::new(),
            config: config.clone(),
            pins_seen: Mutex::default(),
            _lock: lock,
        };
        ring.start(config, lanes).map_err(|source| RingError::Io { path: directory.to_owned(), source })?;
        Ok(ring)
    }

    /// The number of this run of the sensor in this ring; with lane and block number it names a block for good.
    pub fn run(&self) -> u32 {
        self.shared.run
    }

    /// The lane of a worker, counted from 0. None: there is no such lane, or it was taken.
    pub fn lane(&mut self, index: u16) -> Option<Lane> {
        self.lanes.get_mut(usize::from(index))?.take()
    }

    /// Applies what may change while the ring is written: budget, age, reserve. What no longer fits leaves at
    /// once; segments being written end early where they would not leave room. Other keys are not looked at.
    ///
    /// An error changes nothing.
    pub fn set_limits(&mut self, config: &RingConfig) -> Result<(), RingError> {
        let wanted = RingConfig {
            budget_mib: config.budget_mib,
            age_max_hours: config.age_max_hours,
            disk_free_min_mib: config.disk_free_min_mib,
            pin_budget_mib: config.pin_budget_mib,
            ..self.config.clone()
        };
        let lanes = self.shared.sizes.lanes;
        let (_, mut limits) = Sizes::of(&wanted, lanes)?;
        // A disk that says nothing of its size is as large as the budget.
        if let Ok(disk) = Disk::of(&self.shared.directory) {
            limits = limits.on(disk, lanes);
        }
        self.config = wanted;
        self.shared.set_limits(limits);
        Ok(())
    }

    /// Counts so far.
    pub fn status(&self) -> RingStatus {
        let counts = &self.shared.counts;
        let (pins, pin_bytes) = pins::seen(&self.shared.directory, &self.pins_seen);
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let books = self.shared.books();
        RingStatus {
            blocks: get(&counts.blocks),
            frames: get(&counts.frames),
            raw_bytes: get(&counts.raw_bytes),
            stored_bytes: get(&counts.stored_bytes),
            index_bytes: get(&counts.index_bytes),
            frames_cut_off: get(&counts.frames_cut_off),
            left_out_bytes: get(&counts.left_out_bytes),
            blocks_hurried: get(&counts.blocks_hurried),
            frames_failed: get(&counts.frames_failed),
            segments_removed: get(&counts.segments_removed),
            ledger_errors: get(&counts.ledger_errors),
            failing: counts.failing.load(Ordering::Relaxed),
            keeps_s: self.shared.horizon.get().map(|keeps| keeps.as_secs()),
            used_bytes: books.retention.total() + books.ledger.bytes(),
            budget_bytes: books.retention.limits().budget_bytes + books.retention.limits().shares_bytes,
            segments_removed_by_age: get(&counts.segments_removed_by_age),
            segments_removed_by_disk: get(&counts.segments_removed_by_disk),
            disk_short: books.retention.is_disk_short(),
            pins,
            pin_bytes,
            custody: books.retention.custody.as_ref().map(Custody::status),
        }
    }

    /// Waits until everything handed over is on disk. The lanes are closed before; one that is not loses
    /// what it is given from now on.
    pub fn close(mut self) -> RingStatus {
        self.stop();
        let status = self.status();
        if let Some(custody) = &status.custody {
            custody.log_head();
        }
        status
    }

    fn stop(&mut self) {
        self.lanes.clear();
        self.shared.closing.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a ring thread ended by a panic; what waited for it is lost");
            }
        }
    }

    fn start(&mut self, config: &RingConfig, lanes: u16) -> io::Result<()> {
        let threads = match config.threads {
            0 => (lanes / 2).max(1),
            wanted => wanted.min(lanes.max(1)),
        };
        let queue = usize::from(config.queue_blocks) * usize::from(lanes.div_ceil(threads)) + QUEUE_SPARE;
        let (to_threads, inboxes): (Vec<_>, Vec<_>) = (0..threads).map(|_| bounded(queue)).unzip();
        let mut ends: Vec<Vec<LaneEnd>> = (0..threads).map(|_| Vec::new()).collect();
        for index in 0..lanes {
            let thread = usize::from(index % threads);
            if let (Some(to_thread), Some(ends)) = (to_threads.get(thread), ends.get_mut(thread)) {
                let (lane, end) = self.new_lane(config, index, to_thread.clone());
                self.lanes.push(Some(lane));
                ends.push(end);
            }
        }
        if self.shared.mode == RingMode::Live {
            self.shared.begin_run(self.shared.opened);
        }
        for (number, (inbox, ends)) in inboxes.into_iter().zip(ends).enumerate() {
            let capacity = usize::from(config.queue_blocks) * ends.len();
            let writer = Writer::new(Arc::clone(&self.shared), inbox, ends, capacity)?;
            let thread =
                std::thread::Builder::new().name(format!("ring-{number}")).spawn(move || writer.run())?;
            self.threads.push(thread);
        }
        Ok(())
    }

    fn new_lane(&self, config: &RingConfig, index: u16, to_thread: Sender<Work>) -> (Lane, LaneEnd) {
        let (recycle, recycled) = bounded::<Box<Block>>(config.queue_blocks.into());
        let lane = Lane {
            index,
            shared: Arc::clone(&self.shared),
            to_thread,
            recycled,
            spare: Vec::with_capacity(config.queue_blocks.into()),
            // A replay waits anyway, and fewer blocks stay in the caches between worker and ring thread.
            blocks_left: match self.shared.mode {
                RingMode::Live => config.queue_blocks,
                RingMode::Replay => config.queue_blocks.min(REPLAY_BLOCKS),
            },
            flush: Duration::from_millis(config.flush_ms),
            block: None,
            losses: [None; gaps::LossKind::ALL.len()],
            steps: [None; gaps::ClockStep::ALL.len()],
            clock: Timestamp::MIN,
            now: self.shared.opened,
            alive: Timestamp::MIN,
            number: 0,
            latest: Timestamp::MIN,
            lateness: Duration::ZERO,
            starts: VecDeque::with_capacity(lane::BLOCK_STARTS_MAX),
            pace: Pace::new(config.queue_blocks.min(PACE_BLOCKS_MAX)),
            failed: Failed::default(),
        };
        (lane, LaneEnd { index, recycle, segment: None, begun: false, blocks: 0 })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.stop();
    }
}

fn prepare(
    directory: &Path,
    config: &RingConfig,
    sizes: Sizes,
    limits: Limits,
    key: Option<RingKey>,
    mode: RingMode,
    now: Timestamp,
) -> Result<(Lock, Shared), RingError> {
    let failed = |source: io::Error| {
        let path = directory.to_owned();
        match source.kind() {
            io::ErrorKind::WouldBlock => RingError::Locked { path },
            _ => RingError::Io { path, source },
        }
    };
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(failed)?;
    let lock = Lock::take(directory).map_err(failed)?;
    let limits = limits.on(Disk::of(directory).map_err(failed)?, sizes.lanes);
    let mut custody = Custody::open(config, directory, sizes.custody_records)
        .map_err(|source| RingError::Custody { source })?;
    let sync = Duration::from_millis(config.sync_ms);
    let shared = || {
        let gaps = Gaps::read(directory)?;
        // Where the ledger is lost, the segments still say which runs there were: none has the number of another.
        let run = gaps.last_run().max(recovery::last_run(directory, key.as_ref())?).saturating_add(1);
        let mut ledger = Ledger::open(directory)?;
        let mut retention = Retention::new(directory, key.clone(), limits);
        let found = recovery::recover(directory, key.as_ref(), &mut ledger, &gaps, run)?;
        found.iter().try_for_each(|files| retention.adopt(files))?;
        for files in pins::segments(directory, key.as_ref())? {
            retention.pass_sequence(files.name.sequence);
        }
        if let Some(custody) = &mut custody {
            retention.pass_sequence(custody.last_segment()?);
            custody.adopt(&found)?;
        }
        retention.custody = custody;
        let shared = Shared {
            directory: directory.to_owned(),
            mode,
            sizes,
            key,
            syncing: if sync.is_zero() { None } else { Some(Syncing::start(directory, sync)?) },
            run,
            opened: now,
            closing: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            books: Mutex::new(Books { retention, ledger }),
            limits_set: AtomicU64::new(0),
            counts: Counts::default(),
            horizon: Horizon::new(&limits, sizes.lanes),
        };
        shared.make_room(&mut shared.books(), 0)?;
        // A replay's time begins with its first frame, and a pin's end is no matter of frames.
        shared.upkeep((mode == RingMode::Live).then_some(now));
        Ok(shared)
    };
    Ok((lock, shared().map_err(failed)?))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth_tests;
