//! Capture: from interfaces and files to [`Frame`]s.
//!
//! In: live interfaces through libpcap, pcap and pcapng files, standard input. Out: frames with their
//! time in nanoseconds, handed to a callback in batches. Knows no protocol beyond the link type, and
//! is the only stage of the packet path that reads a clock or a file.

pub mod file;
pub mod live;
pub mod bpf;
mod reach;
pub mod filtered;
mod fanout;
pub mod config;

use weir_common::time::Timestamp;

/// How a frame begins: the link types that the decoder knows (tcpdump.org/linktypes.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: a four-byte address family in the capturing host's byte order.
    pub const NULL: LinkType = LinkType(0);
    /// Ethernet.
    pub const ETHERNET: LinkType = LinkType(1);
    /// PPP, with or without HDLC's address and control bytes.
    pub const PPP: LinkType = LinkType(9);
    /// FDDI: frame control, addresses, then LLC.
    pub const FDDI: LinkType = LinkType(10);
    /// PPPoE sessions without Ethernet.
    pub const PPPOE: LinkType = LinkType(51);
    /// 802.11.
    pub const IEEE802_11: LinkType = LinkType(105);
    /// 802.11 behind a Prism header.
    pub const PRISM: LinkType = LinkType(119);
    /// 802.11 behind a radiotap header.
    pub const RADIOTAP: LinkType = LinkType(127);
    /// 802.11 behind an AVS header.
    pub const AVS: LinkType = LinkType(163);
    /// Per-packet information, then another link type.
    pub const PPI: LinkType = LinkType(192);
    /// Linux' netfilter log.
    pub const NFLOG: LinkType = LinkType(239);
    /// PPP in HDLC-like framing.
    pub const PPP_HDLC: LinkType = LinkType(50);
    /// Raw IPv4 or IPv6.
    pub const RAW: LinkType = LinkType(101);
    /// Cisco HDLC: address and control, then an EtherType.
    pub const CISCO_HDLC: LinkType = LinkType(104);
    /// OpenBSD loopback: a four-byte address family in network byte order.
    pub const LOOP: LinkType = LinkType(108);
    /// Linux cooked capture, version 1.
    pub const LINUX_SLL: LinkType = LinkType(113);
    /// Raw IPv4.
    pub const IPV4: LinkType = LinkType(228);
    /// Raw IPv6.
    pub const IPV6: LinkType = LinkType(229);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: LinkType = LinkType(276);
}

/// Captured bytes and their time.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When the frame was captured.
    pub time: Timestamp,
    /// How the bytes begin.
    pub link: LinkType,
    /// Index of the interface in the sensor's list; for files, in order of first appearance.
    pub interface: u32,
    /// Length on the wire; `data` is shorter where the capture cut it off.
    pub wire_len: u32,
    /// The captured bytes.
    pub data: &'a [u8],
}

impl Frame<'_> {
    /// No bytes at no time: fills arrays of frames.
    pub(crate) const EMPTY: Frame<'static> =
        Frame { time: Timestamp::MIN, link: LinkType::NULL, interface: 0, wire_len: 0, data: &[] };
}

/// What a source has to say after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// There may be more; call again.
    More,
    /// Nothing came within the wait; `now` is the source's clock, for timers. Live sources only.
    Quiet {
        /// The current time.
        now: Timestamp,
    },
    /// The source has ended.
    End,
}

/// Losses that a source knows of, as totals since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLoss {
    /// Frames the kernel dropped because the capture buffer was full.
    pub kernel_dropped: u64,
    /// Frames the interface dropped before the kernel saw them.
    pub interface_dropped: u64,
}

/// Where frames come from; called once per batch, so the dynamic call costs nothing per packet.
pub trait FrameSource: Send {
    /// Hands the frames of one batch to `each` and says what comes next. At most
    /// [`config::BATCH_FRAMES_MAX`] frames; waits at most [`config::BATCH_WAIT_MS_MAX`] for the first.
    ///
    /// Frames come in bursts of 1 to [`config::BURST_FRAMES_MAX`], in order. Those of one call of `each` are
    /// valid together and until it returns, so that work which waits for memory can be done for all of
    /// them at once.
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError>;

    /// Losses so far.
    fn loss(&mut self) -> SourceLoss;

    /// What the clock says by which frames get their time; live sources only.
    fn clock(&self) -> Option<Timestamp> {
        None
    }

    /// Name for messages: the interface or the file.
    fn name(&self) -> &str;
}

/// Why a source cannot give frames, or no more.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A file is not what it should be; what was read before is good.
    #[error("{path}: at byte {offset}: {message}")]
    File {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What was found and what was expected.
        message: String,
    },
    /// The operating system refused.
    #[error("{name}: {message}")]
    System {
        /// The interface or file.
        name: String,
        /// What failed.
        message: String,
    },
    /// A capture filter does not compile.
    #[error("filter `{expression}`: {message}")]
    Filter {
        /// The pcap-filter(7) text.
        expression: String,
        /// libpcap's words.
        message: String,
    },
}
