//! What of a segment the connection's state depends on.

use crate::decode::{Packet, Tcp};
use weir_common::net::Direction;
use weir_common::time::Timestamp;

/// Most blocks of a SACK option (RFC 2018 section 3).
const SACKS_MAX: usize = 4;
/// Largest shift of a window; a greater one counts as none (RFC 7323 section 2.3).
const SCALE_MAX: u8 = 14;
/// TCP's control bits that say what a segment is for, without those of congestion.
const PURPOSE: u16 = 0x003f;

/// A segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) is_to_server: bool,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    flags: u16,
    /// As it stands in the header.
    pub(super) window: u16,
    /// Bytes that it carries.
    pub(super) len: u32,
    /// Second at which it came.
    pub(super) second: u32,
    /// Its timestamp, and the one that it echoes.
    pub(super) timestamps: Option<(u32, u32)>,
    /// Shift of its sender's further windows.
    pub(super) scale: Option<u8>,
    pub(super) permits_sacks: bool,
    pub(super) is_fast_open: bool,
    /// Whether somebody who sees it cannot know that its receiver accepts it (RFC 2385, RFC 5925).
    pub(super) is_signed: bool,
    /// Whether its receiver accepts a timestamp of 0.
    pub(super) may_have_zero_timestamp: bool,
    sacks: [(u32, u32); SACKS_MAX],
    sack_count: usize,
}

impl Segment {
    pub(super) fn of(packet: &Packet<'_>, tcp: &Tcp, direction: Direction, time: Timestamp) -> Segment {
        let mut segment = Segment {
            is_to_server: direction == Direction::Forward,
            sequence: tcp.sequence,
            acknowledgement: tcp.acknowledgement,
            flags: tcp.flags,
            window: tcp.window,
            len: packet.payload_octets(),
            second: (time.0 / 1_000_000_000) as u32,
            timestamps: None,
            scale: None,
            permits_sacks: false,
            is_fast_open: false,
            is_signed: false,
            may_have_zero_timestamp: packet.ip.source.is_v4(),
            sacks: [(0, 0); SACKS_MAX],
            sack_count: 0,
        };
        let header = packet.transport_bytes().unwrap_or_default();
        let header_len = header.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
        segment.options(header.get(20..header_len).unwrap_or_default());
        segment
    }

    fn options(&mut self, mut rest: &[u8]) {
        let word = |bytes: &[u8], at: usize| {
            bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word))
        };
        while let Some((&kind, after)) = rest.split_first() {
            match kind {
                0 => return,
                1 => {
                    rest = after;
                    continue;
                }
                _ => {}
            }
            let length = after.first().map_or(0, |length| usize::from(*length));
            let Some((option, next)) = rest.split_at_checked(length).filter(|_| length >= 2) else { return };
            let value = option.get(2..).unwrap_or_default();
            match (kind, value.len()) {
                (3, 1) => {
                    let scale = value.first().copied().unwrap_or_default();
                    self.scale = Some(if scale > SCALE_MAX { 0 } else { scale });
                }
                (4, 0) => self.permits_sacks = true,
                (5, 8 | 16 | 24 | 32) => {
                    for (into, block) in self.sacks.iter_mut().zip(value.as_chunks::<8>().0) {
                        *into = (word(block, 0), word(block, 4));
                    }
                    self.sack_count = value.len() / 8;
                }
                (8, 8) => self.timestamps = Some((word(value, 0), word(value, 4))),
                (19, 16) | (29, 2..) => self.is_signed = true,
                (34, _) => self.is_fast_open = true,
                // The number and magic of RFC 6994 under which it was tried.
                (253 | 254, 2..) if value.starts_with(&[0xf9, 0x89]) => self.is_fast_open = true,
                _ => {}
            }
            rest = next;
        }
    }

    /// Whether any of these control bits is set.
    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// Whether all of them are.
    pub(super) fn has_all(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    /// Whether no others are.
    pub(super) fn is_only(&self, flags: u16) -> bool {
        self.flags & PURPOSE == flags
    }

    /// The number behind its bytes.
    pub(super) fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.len)
    }

    /// Its window under a scale.
    pub(super) fn scaled(&self, scale: u8) -> u32 {
        u32::from(self.window) << scale.min(SCALE_MAX)
    }

    /// What it acknowledges selectively.
    pub(super) fn sacks(&self) -> &[(u32, u32)] {
        self.sacks.get(..self.sack_count).unwrap_or_default()
    }
}
