//! Classic pcap (draft-ietf-opsawg-pcap): a file header, then records.

use super::{Damage, FRAME_BYTES_MAX, Window};
use crate::capture::config::BURST_FRAMES_MAX;
use crate::capture::{Frame, LinkType};
use weir_common::time::Timestamp;

const FILE_HEADER_BYTES: usize = 24;

/// What a file's magic number says about its records.
#[derive(Clone, Copy)]
pub(super) struct Flavour {
    big_endian: bool,
    nanoseconds: bool,
    record_header_bytes: usize,
}

impl Flavour {
    /// The flavour of a magic number, in either byte order.
    pub(super) fn of(magic: [u8; 4]) -> Option<Flavour> {
        let (number, big_endian) = match magic[0] {
            0xa1 => (u32::from_be_bytes(magic), true),
            _ => (u32::from_le_bytes(magic), false),
        };
        let (nanoseconds, record_header_bytes) = match number {
            0xa1b2_c3d4 => (false, 16),
            0xa1b2_3c4d => (true, 16),
            // Alexey Kuznetsov's modified format of old Linux distributions: eight more bytes a record.
            0xa1b2_cd34 => (false, 24),
            _ => return None,
        };
        Some(Flavour { big_endian, nanoseconds, record_header_bytes })
    }

    #[inline]
    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }
}

pub(super) struct Pcap {
    flavour: Flavour,
    link: LinkType,
}

impl Pcap {
    pub(super) fn begin(window: &mut Window, magic: [u8; 4]) -> Result<Pcap, Damage> {
        let Some(flavour) = Flavour::of(magic) else {
            return Err(Damage(format!("begins with {magic:02x?}: neither pcap nor pcapng")));
        };
        let header = window.expect(FILE_HEADER_BYTES)?;
        // The upper bits say whether frames end in a checksum; only the lower ones are the type.
        let link = LinkType(flavour.word(header, 20) as u16);
        window.consume(FILE_HEADER_BYTES);
        Ok(Pcap { flavour, link })
    }

    /// Hands out the next frames, at least one and at most `count_max` of those that the window holds already, and
    /// gives their number; 0 at the end of the file.
    pub(super) fn next_burst(
        &mut self,
        window: &mut Window,
        count_max: usize,
        each: &mut dyn FnMut(&[Frame<'_>]),
    ) -> Result<usize, Damage> {
        // The first record may need more of the file, which moves what is in the window. Those after it
        // are taken as long as nothing has to move.
        let header_bytes = self.flavour.record_header_bytes;
        let Some(header) = window.peek(header_bytes)? else { return Ok(0) };
        let captured = self.flavour.word(header, 8) as usize;
        if captured > FRAME_BYTES_MAX {
            return Err(Damage(format!(
                "a record claims {captured} bytes, at most {FRAME_BYTES_MAX} are possible"
            )));
        }
        window.expect(header_bytes + captured)?;
        let mut burst = [Frame::EMPTY; BURST_FRAMES_MAX];
        let (mut count, mut used) = (0, 0);
        for place in burst.iter_mut().take(count_max) {
            let Some((frame, rest)) = self.record(&window.buffered()[used..]) else { break };
            *place = frame;
            used = window.buffered().len() - rest.len();
            count += 1;
        }
        each(&burst[..count]);
        window.consume(used);
        Ok(count)
    }

    /// The record that bytes begin with, and what follows it; `None` when it is not whole or damaged.
    #[inline]
    fn record<'a>(&self, bytes: &'a [u8]) -> Option<(Frame<'a>, &'a [u8])> {
        let (header, rest) = bytes.split_at_checked(self.flavour.record_header_bytes)?;
        let word = |at| self.flavour.word(header, at);
        let (seconds, subsecond, captured, wire_len) = (word(0), word(4), word(8), word(12));
        if captured as usize > FRAME_BYTES_MAX {
            return None;
        }
        let (data, rest) = rest.split_at_checked(captured as usize)?;
        let nanos = if self.flavour.nanoseconds { u64::from(subsecond) } else { u64::from(subsecond) * 1000 };
        let time = Timestamp(u64::from(seconds) * 1_000_000_000 + nanos);
        Some((Frame { time, link: self.link, interface: 0, wire_len: wire_len.max(captured), data }, rest))
    }
}
