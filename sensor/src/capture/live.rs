//! Live capture: one libpcap handle on one interface, one of a fanout group.
//!
//! In: an interface's frames, with kernel time in nanoseconds. Out: [`Frame`]s, and what the kernel and
//! the interface dropped. An interface that goes away is reported once and tried again every
//! [`REOPEN_WAIT`]; what was counted before is kept.

use super::config::{BATCH_FRAMES_MAX, BATCH_WAIT_MS_MAX, CaptureConfig};
use super::{BatchEnd, CaptureError, Frame, FrameSource, LinkType, SourceLoss, fanout};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Active, Capture, Device, Precision};
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir_common::time::Timestamp;

/// How long the kernel may hold a block that is not full before it hands it over.
const BLOCK_RETIRE_MS: i32 = 20;
/// Wait between attempts to open an interface that went away.
const REOPEN_WAIT: Duration = Duration::from_secs(1);
/// Largest kernel buffer that libpcap's interface can say, in MiB.
const BUFFER_MIB_MAX: u32 = 2047;

/// One worker's share of an interface.
pub struct LiveSource {
    interface_name: String,
    interface: u32,
    config: CaptureConfig,
    fanout_group: Option<u16>,
    open: Option<Open>,
    reopen_at: Instant,
    /// Losses of handles that were closed since.
    loss_before: SourceLoss,
}

struct Open {
    capture: Capture<Active>,
    link: LinkType,
    loss: SourceLoss,
}

impl LiveSource {
    /// Opens an interface. With a fanout group, every source of the same interface and group gets a
    /// share of its frames.
    pub fn open(
        interface_name: &str,
        interface: u32,
        fanout_group: Option<u16>,
        config: &CaptureConfig,
    ) -> Result<LiveSource, CaptureError> {
        let open = Open::new(interface_name, fanout_group, config)?;
        Ok(LiveSource {
            interface_name: interface_name.to_owned(),
            interface,
            config: config.clone(),
            fanout_group,
            open: Some(open),
            reopen_at: Instant::now(),
            loss_before: SourceLoss::default(),
        })
    }

    /// The interface is gone: its handle is closed, its losses are kept.
    fn close(&mut self) {
        self.loss_before = self.loss();
        self.open = None;
        self.reopen_at = Instant::now() + REOPEN_WAIT;
    }

    fn reopen(&mut self) {
        self.reopen_at = Instant::now() + REOPEN_WAIT;
        // A failure is expected until the interface is back; its loss was reported when it went.
        if let Ok(open) = Open::new(&self.interface_name, self.fanout_group, &self.config) {
            tracing::info!(interface = self.interface_name, "the interface is back, capture goes on");
            self.open = Some(open);
        }
    }
}

impl FrameSource for LiveSource {
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError> {
        let Some(open) = &mut self.open else {
            if Instant::now() >= self.reopen_at {
                self.reopen();
            }
            if self.open.is_none() {
                std::thread::sleep(Duration::from_millis(BATCH_WAIT_MS_MAX));
            }
            return Ok(BatchEnd::Quiet { now: now() });
        };
        let (link, interface) = (open.link, self.interface);
        let read = open.capture.dispatch(Some(BATCH_FRAMES_MAX), |packet| {
            // With nanosecond precision the field named microseconds holds nanoseconds.
            let time = Timestamp::from_parts(packet.header.ts.tv_sec as u64, packet.header.ts.tv_usec as u32);
            // libpcap lends one frame per call and gives its block back to the kernel as soon as it has lent
            // the last one of it: frames of different calls are never valid together.
            each(&[Frame { time, link, interface, wire_len: packet.header.len, data: packet.data }]);
        });
        match read {
            Ok(0) => {
                if wait(&open.capture) {
                    Ok(BatchEnd::More)
                } else {
                    Ok(BatchEnd::Quiet { now: now() })
                }
            }
            Ok(_) => Ok(BatchEnd::More),
            Err(pcap::Error::TimeoutExpired) => Ok(BatchEnd::Quiet { now: now() }),
            Err(error) => {
                self.close();
                Err(CaptureError::System {
                    name: self.interface_name.clone(),
                    message: format!("{error}; trying to open it again every {} s", REOPEN_WAIT.as_secs()),
                })
            }
        }
    }

    fn loss(&mut self) -> SourceLoss {
        let mut loss = self.loss_before;
        if let Some(open) = &mut self.open {
            if let Ok(stat) = open.capture.stats() {
                open.loss = SourceLoss {
                    kernel_dropped: stat.dropped.into(),
                    interface_dropped: stat.if_dropped.into(),
                };
            }
            loss.kernel_dropped += open.loss.kernel_dropped;
            loss.interface_dropped += open.loss.interface_dropped;
        }
        loss
    }

    fn clock(&self) -> Option<Timestamp> {
        Some(now())
    }

    fn name(&self) -> &str {
        &self.interface_name
    }
}

impl Open {
    fn new(name: &str, fanout_group: Option<u16>, config: &CaptureConfig) -> Result<Open, CaptureError> {
        let system = |message: String| CaptureError::System { name: name.to_owned(), message };
        let refused = |error: pcap::Error| system(explain(&error.to_string()));
        let buffer_bytes = (config.buffer_mib.clamp(1, BUFFER_MIB_MAX) << 20) as i32;
        let inactive = Capture::from_device(Device::from(name)).map_err(refused)?;
        let mut capture = inactive
            .promisc(config.promiscuous)
            .snaplen(i32::try_from(config.snap_length_bytes).unwrap_or(i32::MAX))
            .buffer_size(buffer_bytes)
            .timeout(BLOCK_RETIRE_MS)
            .precision(Precision::Nano)
            .open()
            .and_then(Capture::setnonblock)
            .map_err(refused)?;
        if !config.bpf.is_empty() {
            capture.filter(&config.bpf, true).map_err(|error| CaptureError::Filter {
                expression: config.bpf.clone(),
                message: error.to_string(),
            })?;
        }
        if let Some(group) = fanout_group {
            fanout::join(capture.as_fd(), group)
                .map_err(|error| system(format!("cannot join fanout group {group}: {error}")))?;
        }
        let link = LinkType(capture.get_datalink().0 as u16);
        Ok(Open { capture, link, loss: SourceLoss::default() })
    }
}

/// Waits for frames; false when there are none within the batch's wait.
fn wait(capture: &Capture<Active>) -> bool {
    let mut descriptors = [PollFd::new(capture.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::from(BATCH_WAIT_MS_MAX as u16);
    // An interrupted wait is a quiet one; an error shows at the next read.
    matches!(poll(&mut descriptors, timeout), Ok(ready) if ready > 0)
}

/// libpcap's words, with what to do where permission is missing.
fn explain(message: &str) -> String {
    if message.contains("permission") || message.contains("not permitted") {
        format!("{message}; capture needs root or CAP_NET_RAW")
    } else {
        message.to_owned()
    }
}

#[expect(clippy::disallowed_methods, reason = "live capture is where the packet path's time comes from")]
fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::MIN.plus(since_epoch)
}
