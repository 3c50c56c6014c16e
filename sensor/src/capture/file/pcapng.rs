//! pcapng (draft-ietf-opsawg-pcapng): sections of blocks, interfaces described within.

use super::{Damage, FRAME_BYTES_MAX, Window};
use crate::capture::config::BURST_FRAMES_MAX;
use crate::capture::{Frame, LinkType, SourceLoss};
use weir_common::time::Timestamp;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Longest block that is looked into, in bytes; longer ones of other kinds are skipped, longer packets
/// are damage.
const BLOCK_BYTES_MAX: usize = FRAME_BYTES_MAX + (64 << 10);
/// Most interfaces of one section; a file with more is damaged.
const INTERFACES_MAX: usize = 65_536;

const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_TIME_OFFSET: u16 = 14;
const OPTION_INTERFACE_DROPPED: u16 = 5;

/// Whether four bytes begin a section; the block's type reads the same in both byte orders.
pub(super) fn is_section_header(magic: [u8; 4]) -> bool {
    u32::from_be_bytes(magic) == SECTION_HEADER
}

/// Whether blocks of a type hold a frame each.
fn is_packet(kind: u32) -> bool {
    matches!(kind, PACKET | SIMPLE_PACKET | ENHANCED_PACKET)
}

#[derive(Default)]
pub(super) struct Pcapng {
    big_endian: bool,
    interfaces: Vec<Interface>,
    dropped: u64,
}

#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    snap_length: u32,
    resolution: Resolution,
    offset_seconds: i64,
}

/// Length of one tick.
#[derive(Clone, Copy)]
enum Resolution {
    /// 10^-n seconds.
    Decimal(u8),
    /// 2^-n seconds.
    Binary(u8),
}

impl Pcapng {
    pub(super) fn loss(&self) -> SourceLoss {
        SourceLoss { kernel_dropped: 0, interface_dropped: self.dropped }
    }

    /// Reads blocks up to the next frame and hands it out, with those of the packet blocks that follow it in the
    /// window, `count_max` at most, and gives their number; 0 at the end of the file.
    pub(super) fn next_burst(
        &mut self,
        window: &mut Window,
        count_max: usize,
        each: &mut dyn FnMut(&[Frame<'_>]),
    ) -> Result<usize, Damage> {
        let Some(length) = self.seek_packet(window)? else { return Ok(0) };
        // Nothing is read or changed from here on until the frames are handed out, so they are valid together.
        let bytes = window.buffered();
        let mut burst = [Frame::EMPTY; BURST_FRAMES_MAX];
        let first = bytes.get(..length).unwrap_or_default();
        burst[0] = self.packet(self.word(first, 0), &first[8..length - 4])?;
        let (mut count, mut used) = (1, length);
        while count < count_max.min(BURST_FRAMES_MAX)
            && let Some((frame, length)) = self.whole_packet(&bytes[used..])
        {
            burst[count] = frame;
            count += 1;
            used += length;
        }
        each(&burst[..count]);
        window.consume(used);
        Ok(count)
    }

    /// Reads blocks up to the next one that holds a frame, and gives its length, all of which is in the window
    /// then; `None` at the end of the file.
    fn seek_packet(&mut self, window: &mut Window) -> Result<Option<usize>, Damage> {
        loop {
            let Some(header) = window.peek(8)? else { return Ok(None) };
            let kind = self.word(header, 0);
            if u32::from_be_bytes([header[0], header[1], header[2], header[3]]) == SECTION_HEADER {
                self.section(window)?;
                continue;
            }
            let length = self.word(header, 4);
            if length < 12 || !length.is_multiple_of(4) {
                return Err(Damage(format!("block length {length} is not a multiple of 4 from 12 on")));
            }
            let length = length as usize;
            if length > BLOCK_BYTES_MAX {
                if is_packet(kind) || kind == INTERFACE_DESCRIPTION {
                    return Err(Damage(format!(
                        "a block of type {kind} claims {length} bytes, at most {BLOCK_BYTES_MAX} are possible"
                    )));
                }
                window.skip(length as u64)?;
                continue;
            }
            let block = window.expect(length)?;
            let body = &block[8..length - 4];
            match kind {
                INTERFACE_DESCRIPTION => self.interface(body)?,
                INTERFACE_STATISTICS => self.statistics(body),
                _ if is_packet(kind) => return Ok(Some(length)),
                _ => {}
            }
            window.consume(length);
        }
    }

    /// The frame of the packet block that bytes begin with, and the block's length; `None` for another block,
    /// and for one that is damaged or not whole.
    fn whole_packet<'a>(&self, bytes: &'a [u8]) -> Option<(Frame<'a>, usize)> {
        let header = bytes.get(..8)?;
        let (kind, length) = (self.word(header, 0), self.word(header, 4) as usize);
        if !is_packet(kind) || length < 12 || !length.is_multiple_of(4) || length > BLOCK_BYTES_MAX {
            return None;
        }
        let body = bytes.get(..length)?.get(8..length - 4)?;
        Some((self.packet(kind, body).ok()?, length))
    }

    /// A section begins anew: byte order and interfaces are its own.
    fn section(&mut self, window: &mut Window) -> Result<(), Damage> {
        let header = window.expect(12)?;
        self.big_endian = match [header[8], header[9], header[10], header[11]] {
            [0x1a, 0x2b, 0x3c, 0x4d] => true,
            [0x4d, 0x3c, 0x2b, 0x1a] => false,
            other => return Err(Damage(format!("a section's byte-order mark is {other:02x?}"))),
        };
        let length = self.word(header, 4);
        if length < 28 || !length.is_multiple_of(4) {
            return Err(Damage(format!(
                "a section header's length {length} is not a multiple of 4 from 28 on"
            )));
        }
        self.interfaces.clear();
        window.skip(u64::from(length))
    }

    fn interface(&mut self, body: &[u8]) -> Result<(), Damage> {
        if body.len() < 8 {
            return Err(Damage("an interface description is shorter than 8 bytes".into()));
        }
        if self.interfaces.len() == INTERFACES_MAX {
            return Err(Damage(format!("more than {INTERFACES_MAX} interfaces in a section")));
        }
        let mut interface = Interface {
            link: LinkType(self.half(body, 0)),
            snap_length: self.word(body, 4),
            resolution: Resolution::Decimal(6),
            offset_seconds: 0,
        };
        self.options(&body[8..], &mut |code, value| match (code, value) {
            (OPTION_TIME_RESOLUTION, [tick, ..]) => {
                let power = tick & 0x7f;
                interface.resolution =
                    if tick & 0x80 == 0 { Resolution::Decimal(power) } else { Resolution::Binary(power) };
            }
            (OPTION_TIME_OFFSET, [.., _, _, _, _, _, _, _, _]) => {
                interface.offset_seconds = self.long(value) as i64;
            }
            _ => {}
        });
        self.interfaces.push(interface);
        Ok(())
    }

    /// The frame of a packet block's body.
    fn packet<'a>(&self, kind: u32, body: &'a [u8]) -> Result<Frame<'a>, Damage> {
        match kind {
            SIMPLE_PACKET => self.simple(body),
            PACKET => self.obsolete(body),
            _ => self.enhanced(body),
        }
    }

    fn enhanced<'a>(&self, body: &'a [u8]) -> Result<Frame<'a>, Damage> {
        if body.len() < 20 {
            return Err(Damage(format!(
                "an enhanced packet block has {} bytes, at least 20 are needed",
                body.len()
            )));
        }
        let word = |at| self.word(body, at);
        let ticks = u64::from(word(4)) << 32 | u64::from(word(8));
        self.frame(word(0), ticks, word(12) as usize, word(16), &body[20..])
    }

    fn obsolete<'a>(&self, body: &'a [u8]) -> Result<Frame<'a>, Damage> {
        if body.len() < 20 {
            return Err(Damage(format!("a packet block has {} bytes, at least 20 are needed", body.len())));
        }
        let word = |at| self.word(body, at);
        let ticks = u64::from(word(4)) << 32 | u64::from(word(8));
        self.frame(u32::from(self.half(body, 0)), ticks, word(12) as usize, word(16), &body[20..])
    }

    /// A simple packet has no time; the format leaves none, so it is the epoch.
    fn simple<'a>(&self, body: &'a [u8]) -> Result<Frame<'a>, Damage> {
        if body.len() < 4 {
            return Err(Damage("a simple packet block is shorter than 4 bytes".into()));
        }
        let wire_len = self.word(body, 0);
        let snap_length = self.interfaces.first().map_or(0, |interface| interface.snap_length);
        let snapped = if snap_length == 0 { wire_len } else { wire_len.min(snap_length) };
        let captured = (snapped as usize).min(body.len() - 4);
        self.frame(0, 0, captured, wire_len, &body[4..])
    }

    fn frame<'a>(
        &self,
        number: u32,
        ticks: u64,
        captured: usize,
        wire_len: u32,
        bytes: &'a [u8],
    ) -> Result<Frame<'a>, Damage> {
        let Some(interface) = self.interfaces.get(number as usize) else {
            return Err(Damage(format!("a packet names interface {number} of {}", self.interfaces.len())));
        };
        let Some(data) = bytes.get(..captured) else {
            return Err(Damage(format!("a packet claims {captured} bytes, its block holds {}", bytes.len())));
        };
        let wire_len = wire_len.max(captured as u32);
        Ok(Frame { time: interface.time(ticks), link: interface.link, interface: number, wire_len, data })
    }

    /// Adds what the interface dropped.
    fn statistics(&mut self, body: &[u8]) {
        let mut dropped = 0;
        if let Some(options) = body.get(12..) {
            self.options(options, &mut |code, value| {
                if code == OPTION_INTERFACE_DROPPED && value.len() == 8 {
                    dropped = self.long(value);
                }
            });
        }
        self.dropped = self.dropped.saturating_add(dropped);
    }

    /// Visits options; a list that is cut off ends early, as options only describe.
    fn options(&self, mut bytes: &[u8], visit: &mut dyn FnMut(u16, &[u8])) {
        while bytes.len() >= 4 {
            let (code, length) = (self.half(bytes, 0), usize::from(self.half(bytes, 2)));
            let Some(value) = bytes.get(4..4 + length).filter(|_| code != 0) else { return };
            visit(code, value);
            bytes = bytes.get(4 + length.div_ceil(4) * 4..).unwrap_or_default();
        }
    }

    fn half(&self, bytes: &[u8], at: usize) -> u16 {
        let half = [bytes[at], bytes[at + 1]];
        if self.big_endian { u16::from_be_bytes(half) } else { u16::from_le_bytes(half) }
    }

    #[inline]
    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }

    /// The first eight bytes as a number.
    fn long(&self, bytes: &[u8]) -> u64 {
        let (first, second) = (u64::from(self.word(bytes, 0)), u64::from(self.word(bytes, 4)));
        if self.big_endian { first << 32 | second } else { second << 32 | first }
    }
}

impl Interface {
    /// Ticks to time; what cannot be said in nanoseconds since 1970 saturates.
    fn time(&self, ticks: u64) -> Timestamp {
        let nanos = match self.resolution {
            Resolution::Decimal(9) => u128::from(ticks),
            Resolution::Decimal(power @ 0..=9) => u128::from(ticks) * 10u128.pow(9 - u32::from(power)),
            Resolution::Decimal(power @ 10..=28) => u128::from(ticks) / 10u128.pow(u32::from(power) - 9),
            Resolution::Binary(power @ 0..=63) => (u128::from(ticks) * 1_000_000_000) >> power,
            Resolution::Decimal(_) | Resolution::Binary(_) => 0,
        };
        let shifted = i128::try_from(nanos)
            .unwrap_or(i128::MAX)
            .saturating_add(i128::from(self.offset_seconds) * 1_000_000_000);
        Timestamp(u64::try_from(shifted.max(0)).unwrap_or(u64::MAX))
    }
}
