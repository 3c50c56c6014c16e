//! The `[capture]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most frames a source hands out before it lets the worker look at its timers.
pub const BATCH_FRAMES_MAX: usize = 1024;
/// Most frames that are handed out at once: enough to keep the processor's loads from memory busy, few enough
/// that what they bring stays in its first cache until it is used.
pub const BURST_FRAMES_MAX: usize = 32;
/// Longest a live source waits for the first frame of a batch, in milliseconds.
pub const BATCH_WAIT_MS_MAX: u64 = 100;

/// Where frames come from and how they are captured.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureConfig {
    /// Interfaces to capture on with `run`; `-i` on the command line replaces the list.
    pub interfaces: Vec<String>,
    /// A pcap-filter(7) expression; frames that do not match are not seen at all. Empty: everything.
    pub bpf: String,
    /// Workers per interface, sharing one fanout group so that a flow stays with its worker.
    ///
    /// 0: one per processor, divided among the interfaces.
    pub workers_per_interface: u16,
    /// Most bytes captured of each frame. Shorter frames cost the ring less and inspection more.
    pub snap_length_bytes: u32,
    /// Kernel buffer per worker, in MiB. When it is full the kernel drops frames and counts them.
    pub buffer_mib: u32,
    /// Put the interfaces into promiscuous mode, as a tap or SPAN port needs it.
    pub promiscuous: bool,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        CaptureConfig {
            interfaces: Vec::new(),
            bpf: String::new(),
            workers_per_interface: 0,
            snap_length_bytes: 65_535,
            buffer_mib: 64,
            promiscuous: true,
        }
    }
}
