//! Every count of the packet path, as a typed field, in path order.
//!
//! A worker owns a [`WorkerCounters`] and adds to it without sharing; it publishes a copy between
//! batches ([`Published`]), and whoever reports (summary, `status`, IPFIX options, EVE `stats`) adds
//! the copies up. A count is told to the user under the path given here.

use std::sync::{Arc, Mutex, PoisonError};

macro_rules! counters {
    ($($(#[$sdoc:meta])* $section:ident: $type:ident { $($(#[$doc:meta])* $name:ident,)* })*) => {
        $(
            $(#[$sdoc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
            pub struct $type { $($(#[$doc])* pub $name: u64,)* }

            impl $type {
                fn add(&mut self, other: &$type) {
                    $(self.$name += other.$name;)*
                }
            }
        )*

        /// What one worker counted; sums of these are what the sensor counted.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct WorkerCounters { $($(#[$sdoc])* pub $section: $type,)* }

        impl WorkerCounters {
            /// Adds another worker's counts.
            pub fn add(&mut self, other: &WorkerCounters) {
                $(self.$section.add(&other.$section);)*
            }

            /// Every count with its section and name, in path order.
            pub fn each(&self, visit: &mut dyn FnMut(&'static str, &'static str, u64)) {
                $($(visit(stringify!($section), stringify!($name), self.$section.$name);)*)*
            }
        }
    };
}

counters! {
    /// Frames as they came.
    capture: CaptureCounters {
        /// Frames handed to the worker.
        frames,
        /// Their captured bytes.
        bytes,
        /// Frames shorter than on the wire.
        cut_off,
        /// Frames the kernel dropped because the capture buffer was full.
        kernel_dropped,
        /// Frames the interface dropped.
        interface_dropped,
        /// Read errors: a vanished interface, a damaged file.
        errors,
    }
    /// What the decoder made of them.
    decode: DecodeCounters {
        /// IPv4 packets.
        ipv4,
        /// IPv6 packets.
        ipv6,
        /// ARP frames.
        arp,
        /// Frames of network protocols that are not decoded.
        other_ethertype,
        /// Frames of link types that are not decoded.
        unknown_link,
        /// A header is cut off.
        truncated,
        /// A length or version contradicts the bytes around it.
        malformed,
        /// Tunnels opened.
        tunnelled,
        /// Packets left as they are because tunnels are nested too deeply.
        tunnel_limit,
        /// Copies of packets seen shortly before (`decode.duplicate_window_ms`).
        duplicates,
        /// Fragments seen.
        fragments,
        /// Datagrams put together from fragments.
        reassembled,
        /// Datagrams given up: incomplete at the timeout or at the byte limit.
        fragments_expired,
        /// Fragments that overlap another or exceed the datagram.
        fragments_bad,
    }
    /// The flow table.
    flow: FlowCounters {
        /// Flows begun.
        created,
        /// Flows now in the table.
        active,
        /// Records made.
        records,
        /// Records because of the idle timeout.
        ended_idle,
        /// Records because of the active timeout.
        ended_active,
        /// Records because TCP ended.
        ended_closed,
        /// Records because the sensor stopped.
        ended_forced,
        /// Records because the table was full.
        ended_full,
        /// Flows without first packets, statistics or counts of retransmissions because their memory was used up.
        features_refused,
    }
    /// Inspection.
    dpi: DpiCounters {
        /// Flows whose application was recognised.
        recognised,
        /// Transactions told as events.
        events,
        /// Messages that were malformed but got over.
        malformed,
        /// Flows left alone because their bytes contradict their protocol.
        broken,
        /// Gaps in TCP streams.
        gaps,
        /// Bytes in those gaps.
        gap_bytes,
        /// Bytes of segments that overlap with different content.
        overlap_conflict_bytes,
        /// Gaps given up early because the worker's stream memory was full.
        memory_gaps,
        /// Flows no longer inspected because of `dpi.stream_depth_bytes`.
        depth_reached,
        /// Files that passed inside of applications.
        files,
        /// Files written to `dpi.files.extract_directory`.
        files_stored,
        /// Files not written there, or not wholly: queue, budget or number of open files was full.
        files_not_stored,
        /// Failures to write there.
        file_errors,
    }
    /// Signatures, under Suricata's names where it has the same count; `status` has all of theirs.
    detect: DetectCounters {
        /// Alerts told.
        alert,
        /// Matches not told because their rule's threshold or a suppression says so.
        alerts_suppressed,
        /// Alerts not told because one packet had too many.
        alert_queue_overflow,
        /// Signatures not evaluated: one packet had too many, or they were set aside for what they cost.
        left_out,
        /// Searches given up at a limit of steps, bytes or backtracking.
        given_up,
        /// Marks, variables and values not kept, and transactions forgotten, at a limit.
        not_kept,
    }
    /// Handing over to export.
    export: ExportCounters {
        /// Records lost because the export queue was full.
        records_dropped_queue_full,
        /// Events lost because the export queue was full.
        events_dropped_queue_full,
    }
    /// Handing over to the ring.
    ring: RingCounters {
        /// Frames given to the ring.
        frames,
        /// Their bytes, as far as they are kept.
        bytes,
        /// Of these frames, those whose ciphertext is left out (`ring.cut_off`).
        frames_cut_off,
        /// The bytes left out of them, each frame with a receipt.
        bytes_left_out,
        /// Frames left out because the ring's queue was full, or larger than a block. What a full disk
        /// costs is counted by the ring itself.
        frames_dropped,
    }
}

/// A worker's counts where others can read them.
#[derive(Clone, Debug, Default)]
pub struct Published(Arc<Mutex<WorkerCounters>>);

impl Published {
    /// Replaces the published copy; called between batches.
    pub fn set(&self, counters: &WorkerCounters) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = *counters;
    }

    /// The last published copy.
    pub fn get(&self) -> WorkerCounters {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sum over all workers.
pub fn total(workers: &[Published]) -> WorkerCounters {
    let mut sum = WorkerCounters::default();
    for worker in workers {
        sum.add(&worker.get());
    }
    sum
}
