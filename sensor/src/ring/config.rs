//! The `[ring]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Smallest and largest `block_kib`. The smallest takes every frame libpcap can capture.
pub const BLOCK_KIB_RANGE: std::ops::RangeInclusive<u32> = 256..=16 << 10;
/// Smallest and largest `segment_mib`; 0 goes by the budget.
pub const SEGMENT_MIB_RANGE: std::ops::RangeInclusive<u32> = 0..=1 << 10;
/// Size of a segment in MiB that goes by the budget: such a part of it, within these bounds. A question opens the
/// index of every segment, so that their number must not grow with the ring; what a segment's index takes in memory
/// until it is sealed, and what retention removes at once, must not grow without end.
const SEGMENTS_WANTED: u64 = 256;
const SEGMENT_MIB_BY_BUDGET: (u64, u64) = (64, 256);
/// Fewest and most `queue_blocks`.
pub const QUEUE_BLOCKS_RANGE: std::ops::RangeInclusive<u16> = 2..=1024;
/// Most threads that compress and write.
pub const THREADS_MAX: u16 = 64;

/// The rolling pool of packets on disk.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RingConfig {
    /// Directory of the ring; empty: no packets are kept. `--ring` on the command line replaces it.
    pub directory: String,
    /// Disk space the ring may use, in MiB, indexes included. The oldest segment leaves to make room.
    pub budget_mib: u64,
    /// Frames older than this leave, in hours, even when the budget would hold them; 0: no limit. Age counts in
    /// the time of the frames, so that a replay of an old capture keeps it. Whole segments leave, and a segment
    /// spans at most a sixteenth of the limit.
    pub age_max_hours: u32,
    /// Space that others shall find on the ring's file system, in MiB, but at most a twentieth of it: before a
    /// new segment takes more, the oldest leave, even below the budget. 0: the ring yields only to a full disk.
    pub disk_free_min_mib: u64,
    /// Disk space that pinned evidence may use in MiB, beside the budget. At the limit `ring pin` refuses.
    pub pin_budget_mib: u64,
    /// Size of a segment file in MiB (1 to 1024); space is taken and given back in these steps. 0: a 256th of the
    /// budget, at least 64 and at most 256.
    ///
    /// Where the budget would not hold four segments per worker, segments are made smaller.
    pub segment_mib: u32,
    /// Uncompressed size of a block in KiB (256 to 16384). Larger blocks compress better, smaller ones are
    /// found more exactly.
    pub block_kib: u32,
    /// zstd level: negative is faster, up to 19 is smaller. A live ring whose queue fills goes down to -7 by itself
    /// before it loses a frame.
    pub zstd_level: i32,
    /// A block that is not full is written after this long all the same, in milliseconds.
    pub flush_ms: u64,
    /// Threads that compress and write. 0: one per two workers, at least one.
    pub threads: u16,
    /// Most blocks per worker that are filled or wait to be written (2 to 1024). The default holds 80 MiB of frames
    /// per worker, half a second of 160 MB/s each; memory is taken when the disk or the processors are behind, and
    /// stays. At the limit live frames are left out of the ring, counted and told by every answer, while a replay
    /// waits.
    pub queue_blocks: u16,
    /// How often what was written is sent to the disk, in milliseconds: what a power loss costs at most. 0: when
    /// the kernel sees fit. A crash of the sensor alone costs only the blocks in memory.
    pub sync_ms: u64,
    /// Encrypts the ring: a file with 32 bytes or 64 hexadecimal digits, or `credential:NAME` for a credential that
    /// systemd passes. Empty: not encrypted. Who loses the key loses the packets.
    pub encryption_key: String,
    /// Applications whose ciphertext is not kept (`tls`, `ssh`): once a flow's handshake is over, of a TCP
    /// payload only the first 8 bytes stay, and a receipt with length and hash for the rest. Headers, lengths
    /// and times are kept. What someone sends inside such a flow is then not in the ring, only provable.
    pub cut_off: Vec<String>,
    /// Chain and sign what is written, so that `ring check` and exported evidence can prove that it is what
    /// the sensor wrote. A key that cannot be used ends the start; nothing is ever silently unsigned.
    pub custody: bool,
    /// The key that signs (Ed25519, PKCS#8, DER or PEM). Empty: `custody.key` in the ring's directory, made at
    /// the first start with mode 0600. A path elsewhere keeps it from who may read the ring;
    /// `credential:NAME` takes it from systemd (`LoadCredential=` or `LoadCredentialEncrypted=`).
    ///
    /// A key beside the ring proves integrity against accident, and against whoever may not read the key.
    pub key_file: String,
}

impl Default for RingConfig {
    fn default() -> Self {
        RingConfig {
            directory: String::new(),
            budget_mib: 10 << 10,
            age_max_hours: 0,
            disk_free_min_mib: 1 << 10,
            pin_budget_mib: 1 << 10,
            segment_mib: 0,
            block_kib: 512,
            zstd_level: -1,
            flush_ms: 2_000,
            threads: 0,
            queue_blocks: 160,
            sync_ms: 1_000,
            encryption_key: String::new(),
            cut_off: Vec::new(),
            custody: true,
            key_file: String::new(),
        }
    }
}

impl RingConfig {
    /// Size of a segment file in MiB, before it is made to fit the budget.
    pub fn segment_mib_wanted(&self) -> u64 {
        match self.segment_mib {
            0 => {
                let (least, most) = SEGMENT_MIB_BY_BUDGET;
                (self.budget_mib / SEGMENTS_WANTED).clamp(least, most)
            }
            wanted => wanted.into(),
        }
    }
}
