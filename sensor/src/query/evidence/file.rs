//! Reading an exported file for verification: its manifest, and its packets with their ids.
//!
//! In: a file that anybody may have made. Out: the manifest's bytes, and blocks one after the other, or what is
//! wrong at which byte. Knows the pcapng that [`crate::query::pcapng`] writes, little-endian, and takes no other
//! form for it: a file that another program wrote anew is not what the sensor signed. Bounded by one block.

use super::EvidenceError;
use crate::query::manifest::{ENTERPRISE_NUMBER, MANIFEST_BYTES_MAX, MANIFEST_VERSION, PIECE_WORD};
use crate::query::pcapng::{
    BYTE_ORDER_MAGIC, CUSTOM, ENHANCED_PACKET, EPB_PACKETID, IF_TSRESOL, INTERFACE_DESCRIPTION, OPT_COMMENT,
    OPT_END, SECTION_HEADER,
};
use crate::ring::entry::LeftOut;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use weir_common::time::Timestamp;

/// Longest block that is looked into, in bytes.
const BLOCK_BYTES_MAX: usize = 32 << 20;
/// Most blocks between the manifest and the end of the file: interface statistics and the manifest's own pieces.
const TAIL_BLOCKS_MAX: usize = 10_000;
const SIMPLE_PACKET: u32 = 3;
const OBSOLETE_PACKET: u32 = 2;
const IF_TSOFFSET: u16 = 14;

/// A manifest as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// Its bytes, put together.
    pub(super) bytes: Vec<u8>,
    /// Where its pieces begin.
    pub(super) offsets: Vec<u64>,
}

/// Finds the manifest: from the end, where it should be, or else from the beginning.
pub(super) fn manifest(path: &Path) -> Result<Option<Located>, EvidenceError> {
    let failed = |source| EvidenceError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut magic = [0; 12];
    let read = file.read_at(&mut magic, 0).map_err(failed)?;
    if read < magic.len() || u32_at(&magic, 0) != SECTION_HEADER || u32_at(&magic, 8) != BYTE_ORDER_MAGIC {
        return Err(EvidenceError::OtherForm { path: path.to_owned() });
    }
    let length = file.metadata().map_err(failed)?.len();
    let mut pieces = Pieces::default();
    backwards(&file, length, &mut pieces).map_err(failed)?;
    if let Some(found) = pieces.whole() {
        return Ok(Some(found));
    }
    let mut pieces = Pieces::default();
    forwards(&file, length, &mut pieces).map_err(failed)?;
    Ok(pieces.whole())
}

/// Pieces of a manifest as they are come by.
#[derive(Default)]
struct Pieces {
    found: Vec<(u64, Piece)>,
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Piece {
    part: usize,
    parts: usize,
    bytes: Vec<u8>,
}

impl Pieces {
    fn add(&mut self, offset: u64, body: &[u8]) {
        let Some(piece) = Piece::parse(body) else { return };
        self.bytes += piece.bytes.len();
        if self.bytes <= MANIFEST_BYTES_MAX {
            self.found.push((offset, piece));
        }
    }

    fn has_first(&self) -> bool {
        self.found.iter().any(|(_, piece)| piece.part == 1)
    }

    /// Every piece once, in any order.
    fn whole(mut self) -> Option<Located> {
        self.found.sort_by_key(|(_, piece)| piece.part);
        let parts = self.found.first().map(|(_, piece)| piece.parts)?;
        let in_order = self.found.iter().map(|(_, piece)| (piece.part, piece.parts));
        if !in_order.eq((1..=parts).map(|part| (part, parts))) {
            return None;
        }
        let offsets = self.found.iter().map(|(offset, _)| *offset).collect();
        Some(Located { bytes: self.found.into_iter().flat_map(|(_, piece)| piece.bytes).collect(), offsets })
    }
}

impl Piece {
    /// Reads a Custom Block's body: number, line, bytes.
    fn parse(body: &[u8]) -> Option<Piece> {
        let (number, rest) = body.split_first_chunk()?;
        if u32::from_le_bytes(*number) != ENTERPRISE_NUMBER {
            return None;
        }
        let end = rest.iter().take(100).position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(rest.get(..end)?).ok()?;
        let mut words = line.strip_prefix(PIECE_WORD)?.split_ascii_whitespace();
        let mut number = || words.next()?.parse::<usize>().ok();
        let (version, part, parts, length) = (number()?, number()?, number()?, number()?);
        if version != MANIFEST_VERSION as usize {
            return None;
        }
        let bytes = rest.get(end + 1..)?.get(..length)?.to_vec();
        Some(Piece { part, parts, bytes })
    }
}

fn backwards(file: &File, length: u64, pieces: &mut Pieces) -> io::Result<()> {
    let mut end = length;
    for _ in 0..TAIL_BLOCKS_MAX {
        let mut tail = [0; 4];
        if end < 12 || file.read_exact_at(&mut tail, end - 4).is_err() {
            return Ok(());
        }
        let size = u64::from(u32::from_le_bytes(tail));
        if !is_size(size) || size > end {
            return Ok(());
        }
        let offset = end - size;
        let mut block = vec![0; size as usize];
        file.read_exact_at(&mut block, offset)?;
        if u64::from(u32_at(&block, 4)) != size || u32_at(&block, 0) == ENHANCED_PACKET {
            return Ok(());
        }
        if u32_at(&block, 0) == CUSTOM {
            pieces.add(offset, block.get(8..block.len() - 4).unwrap_or_default());
            if pieces.has_first() {
                return Ok(());
            }
        }
        end = offset;
    }
    Ok(())
}

fn forwards(file: &File, length: u64, pieces: &mut Pieces) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    reader.seek(SeekFrom::Start(0))?;
    let (mut at, mut head) = (0, [0; 8]);
    while at + 12 <= length {
        reader.read_exact(&mut head)?;
        let size = u64::from(u32_at(&head, 4));
        if !is_size(size) || at + size > length {
            return Ok(());
        }
        if u32_at(&head, 0) == CUSTOM {
            let mut rest = vec![0; size as usize - 8];
            reader.read_exact(&mut rest)?;
            pieces.add(at, rest.get(..rest.len() - 4).unwrap_or_default());
        } else {
            reader.seek_relative(size as i64 - 8)?;
        }
        at += size;
    }
    Ok(())
}

fn is_size(size: u64) -> bool {
    (12..=BLOCK_BYTES_MAX as u64).contains(&size) && size.is_multiple_of(4)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let half = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    half.map_or(0, |half| u16::from_le_bytes(*half))
}

/// A packet of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// The file's number of its interface.
    pub(super) interface: u32,
    pub(super) time: Timestamp,
    pub(super) wire_len: u32,
    pub(super) data: &'a [u8],
    pub(super) id: Option<u64>,
    pub(super) left_out: Option<LeftOut>,
}

/// A block of the file, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block<'a> {
    /// A section begins.
    Section,
    /// An interface: its link type, and whether its times are plain nanoseconds.
    Interface {
        link: u16,
        nanoseconds: bool,
    },
    Packet(Packet<'a>),
    /// A packet in a form that is never written here.
    ForeignPacket,
    /// A piece of a manifest.
    Manifest,
    Other,
}

/// Reads a file's blocks in their order.
pub(super) struct Blocks {
    reader: BufReader<File>,
    at: u64,
    block: Vec<u8>,
}

impl Blocks {
    pub(super) fn open(path: &Path) -> io::Result<Blocks> {
        let reader = BufReader::with_capacity(1 << 20, File::open(path)?);
        Ok(Blocks { reader, at: 0, block: Vec::new() })
    }

    /// The next block and where it begins; none at the end. An error says what is wrong there; nothing can be
    /// read behind it.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Block<'_>)>, String> {
        let offset = self.at;
        let mut head = [0; 8];
        let read = read_up_to(&mut self.reader, &mut head)?;
        if read == 0 {
            return Ok(None);
        }
        let size = u64::from(u32_at(&head, 4));
        if read < head.len() || !is_size(size) {
            return Err(format!("byte {offset}: a block of {size} bytes is impossible"));
        }
        self.block.resize(size as usize - 8, 0);
        let read = read_up_to(&mut self.reader, &mut self.block)?;
        if read < self.block.len() || u64::from(u32_at(&self.block, self.block.len() - 4)) != size {
            return Err(format!("byte {offset}: a block of {size} bytes does not end as it begins"));
        }
        self.at += size;
        let body = self.block.get(..self.block.len() - 4).unwrap_or_default();
        let block = parse(u32_at(&head, 0), body).map_err(|what| format!("byte {offset}: {what}"))?;
        Ok(Some((offset, block)))
    }
}

fn read_up_to(reader: &mut BufReader<File>, out: &mut [u8]) -> Result<usize, String> {
    let mut read = 0;
    while let Some(rest) = out.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(read)
}

fn parse(kind: u32, body: &[u8]) -> Result<Block<'_>, &'static str> {
    Ok(match kind {
        SECTION_HEADER if u32_at(body, 0) == BYTE_ORDER_MAGIC => Block::Section,
        SECTION_HEADER => return Err("a section in another byte order"),
        INTERFACE_DESCRIPTION => {
            let (mut resolution, mut shifted) = (None, false);
            options(
                body.get(8..).ok_or("an interface without its fields")?,
                &mut |code, value| match code {
                    IF_TSRESOL => resolution = value.first().copied(),
                    IF_TSOFFSET => shifted = true,
                    _ => {}
                },
            )?;
            let nanoseconds = resolution == Some(crate::query::pcapng::RESOLUTION) && !shifted;
            Block::Interface { link: u16_at(body, 0), nanoseconds }
        }
        ENHANCED_PACKET => Block::Packet(packet(body)?),
        SIMPLE_PACKET | OBSOLETE_PACKET => Block::ForeignPacket,
        CUSTOM if Piece::parse(body).is_some() => Block::Manifest,
        _ => Block::Other,
    })
}

fn packet(body: &[u8]) -> Result<Packet<'_>, &'static str> {
    let (fields, rest) = body.split_at_checked(20).ok_or("a packet without its fields")?;
    let captured = u32_at(fields, 12) as usize;
    let data = rest.get(..captured).ok_or("a packet claims more bytes than its block has")?;
    let mut packet = Packet {
        interface: u32_at(fields, 0),
        time: Timestamp(u64::from(u32_at(fields, 4)) << 32 | u64::from(u32_at(fields, 8))),
        wire_len: u32_at(fields, 16),
        data,
        id: None,
        left_out: None,
    };
    let rest = rest.get(captured.next_multiple_of(4)..).unwrap_or_default();
    options(rest, &mut |code, value| match (code, <[u8; 8]>::try_from(value)) {
        (EPB_PACKETID, Ok(id)) => packet.id = Some(u64::from_le_bytes(id)),
        (OPT_COMMENT, _) => packet.left_out = packet.left_out.or_else(|| receipt(value)),
        _ => {}
    })?;
    Ok(packet)
}

/// A receipt as the writer puts it into a comment.
fn receipt(comment: &[u8]) -> Option<LeftOut> {
    let text = std::str::from_utf8(comment).ok()?.strip_prefix("weir: ")?;
    let (bytes, digits) = text.split_once(" bytes left out, blake3 ")?;
    let (bytes, mut hash) = (bytes.parse().ok()?, [0; 16]);
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(LeftOut { bytes, hash })
}

fn options<'a>(mut bytes: &'a [u8], each: &mut dyn FnMut(u16, &'a [u8])) -> Result<(), &'static str> {
    while let Some((head, rest)) = bytes.split_at_checked(4) {
        let (code, length) = (u16_at(head, 0), usize::from(u16_at(head, 2)));
        if code == OPT_END {
            return Ok(());
        }
        each(code, rest.get(..length).ok_or("an option claims more bytes than its block has")?);
        bytes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    match bytes.is_empty() {
        true => Ok(()),
        false => Err("bytes follow the options"),
    }
}
