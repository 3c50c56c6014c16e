//! A writer of pcapng (draft-ietf-opsawg-pcapng): what tshark and tcpdump open.
//!
//! In: frames, and a statement in words. Out: one section: its header, an interface block per interface and
//! link type when its first frame comes, enhanced packet blocks with nanosecond time, and interface statistics
//! at the end whose comment carries the statement of completeness, which is known only then. Knows nothing
//! of the ring; needs no seeking, so it writes to a pipe, 256 KiB at a time.

use crate::capture::{Frame, LinkType};
use crate::ring::entry::LeftOut;
use std::collections::BTreeMap;
use std::io::{self, Write};
use weir_common::time::Timestamp;

pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const CUSTOM: u32 = 0x0000_0bad;
pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

pub(super) const OPT_END: u16 = 0;
pub(super) const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
pub(super) const IF_TSRESOL: u16 = 9;
pub(super) const EPB_PACKETID: u16 = 5;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFDROP: u16 = 5;
const ISB_FILTERACCEPT: u16 = 6;
const ISB_OSDROP: u16 = 7;

/// Bytes that are written at once.
const PENDING_BYTES: usize = 256 << 10;
/// Room for the block that goes beyond them.
const FRAME_BYTES_USUAL: usize = 4 << 10;
/// Nanoseconds, as a power of ten.
pub(super) const RESOLUTION: u8 = 9;
/// Most interfaces of a section; frames of further ones are written under the last.
pub(super) const INTERFACES_MAX: usize = 4096;
/// An option's length is sixteen bits; a comment is cut to this many bytes.
const COMMENT_BYTES_MAX: usize = 60_000;

#[derive(Debug)]
struct Interface {
    number: u32,
    link: LinkType,
    frames: u64,
    first: Timestamp,
    last: Timestamp,
}

/// Names of interfaces by number; one without a name is called `interface-NUMBER`.
pub type Names = BTreeMap<u32, String>;

/// Frames of the range that never came as far as the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Dropped by the kernel, because the capture buffer was full.
    pub kernel: u64,
    /// Dropped by the interface.
    pub interface: u64,
}

/// Writes one section.
#[derive(Debug)]
pub struct PcapngWriter<W: Write> {
    out: W,
    names: Names,
    /// Blocks that are not written yet, the last one perhaps not whole.
    pending: Vec<u8>,
    /// Where the last block begins.
    begin: usize,
    interfaces: Vec<Interface>,
}

impl<W: Write> PcapngWriter<W> {
    /// Writes the section header, with a comment.
    pub fn begin(out: W, names: Names, comment: &str) -> io::Result<PcapngWriter<W>> {
        let mut writer = PcapngWriter {
            out,
            names,
            pending: Vec::with_capacity(PENDING_BYTES + FRAME_BYTES_USUAL),
            begin: 0,
            interfaces: Vec::new(),
        };
        writer.start(SECTION_HEADER);
        writer.u32(BYTE_ORDER_MAGIC);
        writer.u16(1);
        writer.u16(0);
        // The section's length is not known.
        writer.pending.extend_from_slice(&u64::MAX.to_le_bytes());
        writer.comment(comment);
        writer.option(SHB_USERAPPL, concat!("weir-sensor ", env!("CARGO_PKG_VERSION")).as_bytes());
        writer.option(OPT_END, &[]);
        writer.end()?;
        Ok(writer)
    }

    /// Writes a frame.
    pub fn frame(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.frame_with(frame, None, None)
    }

    /// Writes a frame with what is known of it beside its bytes: the receipt for what was left out of it, as a
    /// comment, and a number by which it is known elsewhere.
    pub fn frame_with(
        &mut self,
        frame: &Frame<'_>,
        left_out: Option<&LeftOut>,
        packet_id: Option<u64>,
    ) -> io::Result<()> {
        let id = self.interface(frame.interface, frame.link)?;
        if let Some(interface) = self.interfaces.get_mut(id) {
            interface.frames += 1;
            interface.first = interface.first.min(frame.time);
            interface.last = interface.last.max(frame.time);
        }
        self.start(ENHANCED_PACKET);
        self.u32(id as u32);
        self.time(frame.time);
        self.u32(frame.data.len() as u32);
        self.u32(frame.wire_len);
        self.pending.extend_from_slice(frame.data);
        self.pad();
        if let Some(left_out) = left_out {
            self.comment(&format!("weir: {left_out}"));
        }
        if let Some(id) = packet_id {
            self.option(EPB_PACKETID, &id.to_le_bytes());
        }
        if left_out.is_some() || packet_id.is_some() {
            self.option(OPT_END, &[]);
        }
        self.end()
    }

    /// Writes a Custom Block that may be copied, for whoever knows the enterprise number.
    pub fn custom(&mut self, enterprise_number: u32, data: &[u8]) -> io::Result<()> {
        self.start(CUSTOM);
        self.u32(enterprise_number);
        self.pending.extend_from_slice(data);
        self.pad();
        self.end()
    }

    /// Writes the statistics of each interface, the statement in the first, and flushes.
    ///
    /// `drops` are written where there is one interface to blame.
    pub fn finish(mut self, comment: &str, drops: Option<Drops>) -> io::Result<W> {
        if self.interfaces.is_empty() {
            // A statement needs an interface to stand in.
            self.interface(0, LinkType::ETHERNET)?;
        }
        let interfaces = std::mem::take(&mut self.interfaces);
        for (id, interface) in interfaces.iter().enumerate() {
            self.start(INTERFACE_STATISTICS);
            self.u32(id as u32);
            self.time(interface.last);
            if id == 0 {
                self.comment(comment);
            }
            if interface.frames > 0 {
                self.option(ISB_STARTTIME, &split_time(interface.first));
                self.option(ISB_ENDTIME, &split_time(interface.last));
            }
            let drops = drops.filter(|_| interfaces.len() == 1);
            if let Some(drops) = drops {
                self.option(ISB_IFDROP, &drops.interface.to_le_bytes());
            }
            self.option(ISB_FILTERACCEPT, &interface.frames.to_le_bytes());
            if let Some(drops) = drops {
                self.option(ISB_OSDROP, &drops.kernel.to_le_bytes());
            }
            self.option(OPT_END, &[]);
            self.end()?;
        }
        self.write()?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// The number in this section of an interface and link type, described when it is new.
    fn interface(&mut self, number: u32, link: LinkType) -> io::Result<usize> {
        let known = self.interfaces.iter().position(|known| (known.number, known.link) == (number, link));
        if let Some(id) = known {
            return Ok(id);
        }
        if self.interfaces.len() >= INTERFACES_MAX {
            return Ok(INTERFACES_MAX - 1);
        }
        self.start(INTERFACE_DESCRIPTION);
        self.u16(link.0);
        self.u16(0);
        // No limit on the length of frames.
        self.u32(0);
        let name = self.names.get(&number).cloned().unwrap_or_else(|| format!("interface-{number}"));
        self.option(IF_NAME, &name.as_bytes()[..name.floor_char_boundary(COMMENT_BYTES_MAX)]);
        self.option(IF_TSRESOL, &[RESOLUTION]);
        self.option(OPT_END, &[]);
        self.end()?;
        self.interfaces.push(Interface {
            number,
            link,
            frames: 0,
            first: Timestamp::MAX,
            last: Timestamp::MIN,
        });
        Ok(self.interfaces.len() - 1)
    }

    fn start(&mut self, kind: u32) {
        self.begin = self.pending.len();
        self.u32(kind);
        self.u32(0);
    }

    /// Puts the block's length in both of its places, and writes what is pending when it is much.
    fn end(&mut self) -> io::Result<()> {
        let length = (self.pending.len() - self.begin + 4) as u32;
        self.u32(length);
        if let Some(place) = self.pending.get_mut(self.begin + 4..self.begin + 8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        if self.pending.len() >= PENDING_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.out.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    fn u16(&mut self, value: u16) {
        self.pending.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.pending.extend_from_slice(&value.to_le_bytes());
    }

    fn time(&mut self, time: Timestamp) {
        self.pending.extend_from_slice(&split_time(time));
    }

    fn comment(&mut self, text: &str) {
        self.option(OPT_COMMENT, &text.as_bytes()[..text.floor_char_boundary(COMMENT_BYTES_MAX)]);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(value.len() as u16);
        self.pending.extend_from_slice(value);
        self.pad();
    }

    /// Blocks are multiples of four bytes long, so that what is pending ends as the block does.
    fn pad(&mut self) {
        self.pending.resize(self.pending.len().next_multiple_of(4), 0);
    }
}

/// A time as pcapng has it: the upper half first, each half in the section's byte order.
fn split_time(time: Timestamp) -> [u8; 8] {
    let (high, low) = (((time.0 >> 32) as u32).to_le_bytes(), (time.0 as u32).to_le_bytes());
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&high);
    bytes[4..].copy_from_slice(&low);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(interface: u32, link: LinkType, data: &[u8]) -> Frame<'_> {
        Frame { time: Timestamp(0x0000_0001_0000_0002), link, interface, wire_len: 100, data }
    }

    /// Types and lengths of the blocks, each length found at both ends.
    fn blocks(bytes: &[u8]) -> Vec<(u32, usize)> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let length = u32_at(at + 4) as usize;
            assert_eq!((length % 4, u32_at(at + length - 4) as usize), (0, length));
            out.push((u32_at(at), length));
            at += length;
        }
        out
    }

    #[test]
    fn a_packet_block_is_laid_out_as_the_draft_says() {
        let mut writer = PcapngWriter::begin(Vec::new(), Names::new(), "why").unwrap();
        writer.frame(&frame(3, LinkType::RAW, b"hello")).unwrap();
        assert_eq!(
            writer.pending[writer.begin..],
            [
                6, 0, 0, 0, 40, 0, 0, 0, // type and length
                0, 0, 0, 0, // interface
                1, 0, 0, 0, 2, 0, 0, 0, // time, high half first
                5, 0, 0, 0, 100, 0, 0, 0, // captured and wire length
                b'h', b'e', b'l', b'l', b'o', 0, 0, 0, 40, 0, 0, 0,
            ]
        );
    }

    #[test]
    fn a_receipt_is_a_comment_on_its_packet_and_a_number_its_id() {
        let left_out = LeftOut { bytes: 1380, hash: *b"\x01\x23\x45\x67\x89\xab\xcd\xef01234567" };
        let comment = b"weir: 1380 bytes left out, blake3 0123456789abcdef3031323334353637";
        let mut writer = PcapngWriter::begin(Vec::new(), Names::new(), "why").unwrap();
        let mut options = |left_out, id| {
            writer.frame_with(&frame(3, LinkType::RAW, b"hell"), left_out, id).unwrap();
            // Behind the packet's 28 bytes of header and its bytes, without the length at the end.
            let block = &writer.pending[writer.begin..];
            block[32..block.len() - 4].to_vec()
        };
        assert!(options(None, None).is_empty());
        let with_comment = options(Some(&left_out), None);
        assert_eq!((&with_comment[..4], &with_comment[4..70]), (&[1, 0, 66, 0][..], &comment[..]));
        assert_eq!(&with_comment[70..], [0; 6], "padding and the end of options");
        assert_eq!(options(None, Some(0x0102)), [5, 0, 8, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(options(Some(&left_out), Some(7)).len(), 72 + 12 + 4);
        let bytes = writer.finish("", None).unwrap();
        assert_eq!(blocks(&bytes).iter().filter(|block| block.0 == ENHANCED_PACKET).count(), 4);
    }

    #[test]
    fn each_interface_and_link_type_is_described_once_and_accounted_for() {
        let mut writer = PcapngWriter::begin(Vec::new(), Names::new(), "").unwrap();
        for (interface, link) in
            [(0, LinkType::ETHERNET), (1, LinkType::ETHERNET), (0, LinkType::RAW), (0, LinkType::ETHERNET)]
        {
            writer.frame(&frame(interface, link, &[])).unwrap();
        }
        let bytes = writer.finish("complete", None).unwrap();
        let kinds: Vec<u32> = blocks(&bytes).iter().map(|block| block.0).collect();
        assert_eq!(kinds, [SECTION_HEADER, 1, 6, 1, 6, 1, 6, 6, 5, 5, 5]);
    }

    #[test]
    fn nothing_found_is_a_file_with_its_statement() {
        let bytes = PcapngWriter::begin(Vec::new(), Names::new(), "")
            .unwrap()
            .finish("nothing matched", Some(Drops { kernel: 3, interface: 0 }))
            .unwrap();
        assert_eq!(blocks(&bytes).iter().map(|block| block.0).collect::<Vec<_>>(), [SECTION_HEADER, 1, 5]);
        assert!(bytes.windows(15).any(|window| window == b"nothing matched"));
    }

    #[test]
    fn a_comment_that_is_too_long_is_cut_between_characters() {
        let bytes = PcapngWriter::begin(Vec::new(), Names::new(), &"é".repeat(50_000))
            .unwrap()
            .finish("", None)
            .unwrap();
        assert!(blocks(&bytes)[0].1 < 61_000);
    }
}
