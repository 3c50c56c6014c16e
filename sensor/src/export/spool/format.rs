//! The octets of a spool's files.
//!
//! In: messages with what they carry. Out: entries, and what any octets are as entries. All numbers are big-endian.
//!
//! ```text
//! NUMBER-EPOCH-SEQUENCE.spool   segment: NUMBER counts segments, SEQUENCE is that of its first record
//!   header   "WEIRSPL1", form (u32), begun (u64, Unix nanoseconds), CRC32 of these
//!   entry*   head (32 octets), body
//!     head   marker (u32), body's length (u16), kind (u16), records (u16), flow records (u16),
//!            packets (u32), octets (u64), CRC32 of the body, CRC32 of the head before it
//! ```
//!
//! Every CRC of an entry begins with the segment's epoch and number. The epoch is drawn at random and is not on the
//! wire of whoever is measured, so that what a flow's texts hold never passes for an entry where a damaged file is
//! searched for the next one. An entry lies in one segment. Deliberately absent: files ([`super`]).

use crate::export::ipfix::Tally;
use crc32fast::Hasher;
use weir_common::delivery::Position;
use weir_common::ipfix::decode::message_length;
use weir_common::ipfix::options::{OptionsKind, Place};
use weir_common::ipfix::{MESSAGE_HEADER_BYTES, SET_HEADER_BYTES};

/// What a segment's name ends in.
const SUFFIX: &str = ".spool";
const MAGIC: [u8; 8] = *b"WEIRSPL1";
/// Octets of a segment's header.
pub(super) const HEADER_BYTES: usize = 24;
/// Octets before an entry's body.
pub(super) const HEAD_BYTES: usize = 32;
/// What an entry begins with: a sequence that is neither UTF-8 nor a number that IPFIX is full of.
const MARKER: [u8; 4] = [0xf5, 0xc1, 0xe7, 0x9b];
/// Octets that are read at once when a damaged segment is searched for the next entry.
const SEARCH_BYTES: usize = 64 << 10;

/// What a segment's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentName {
    /// Counts the spool's segments.
    pub(super) number: u64,
    /// Where its first record stands.
    pub(super) first: Position,
}

impl SegmentName {
    pub(super) fn file_name(self) -> String {
        let Position { epoch, sequence } = self.first;
        format!("{:010}-{epoch:016x}-{sequence:020}{SUFFIX}", self.number)
    }

    pub(super) fn parse(name: &str) -> Option<SegmentName> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let number = parts.next()?.parse().ok()?;
        let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
        let sequence = parts.next()?.parse().ok()?;
        let name_of = SegmentName { number, first: Position { epoch, sequence } };
        // A name that is not exactly ours is another's file.
        (parts.next().is_none() && name_of.file_name() == name).then_some(name_of)
    }

    fn hasher(self) -> Hasher {
        let mut hasher = Hasher::new();
        hasher.update(&self.first.epoch.to_be_bytes());
        hasher.update(&self.number.to_be_bytes());
        hasher
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// What the form of the messages is: domain, enterprise number and the templates of this version.
    pub(super) form: u32,
    /// When it was begun, in Unix nanoseconds.
    pub(super) begun: u64,
}

impl SegmentHeader {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.form.to_be_bytes());
        out.extend_from_slice(&self.begun.to_be_bytes());
        let checksum = crc32fast::hash(out.get(from..).unwrap_or_default());
        out.extend_from_slice(&checksum.to_be_bytes());
    }

    /// `None` when it is cut, damaged or of another version.
    pub(super) fn parse(bytes: &[u8]) -> Option<SegmentHeader> {
        let (said, checksum) = bytes.first_chunk::<HEADER_BYTES>()?.split_at(HEADER_BYTES - 4);
        let good = said.starts_with(&MAGIC) && crc32fast::hash(said).to_be_bytes() == *checksum;
        let form = u32::from_be_bytes(*said.get(8..)?.first_chunk()?);
        let begun = u64::from_be_bytes(*said.get(12..)?.first_chunk()?);
        good.then_some(SegmentHeader { form, begun })
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message of records, which begins with its place.
    Records = 0,
    /// A message of templates that the messages after it in the segment need.
    Templates = 1,
}

/// An entry's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) length: usize,
    pub(super) tally: Tally,
    checksum: u32,
}

/// Appends an entry. The body is at most 65,535 octets, which is the most of a message.
pub(super) fn write_entry(name: SegmentName, kind: Kind, tally: &Tally, body: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    let short = |number: u64| u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&short(body.len() as u64));
    out.extend_from_slice(&(kind as u16).to_be_bytes());
    out.extend_from_slice(&short(u64::from(tally.records)));
    out.extend_from_slice(&short(tally.flows));
    out.extend_from_slice(&u32::try_from(tally.packets).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&tally.octets.to_be_bytes());
    out.extend_from_slice(&name.checksum(body).to_be_bytes());
    let checksum = name.checksum(out.get(from..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_be_bytes());
    out.extend_from_slice(body);
}

impl Head {
    fn parse(name: SegmentName, bytes: &[u8; HEAD_BYTES]) -> Option<Head> {
        let (said, checksum) = bytes.split_at(HEAD_BYTES - 4);
        if !said.starts_with(&MARKER) || name.checksum(said).to_be_bytes() != *checksum {
            return None;
        }
        let short = |at: usize| Some(u16::from_be_bytes(*said.get(at..)?.first_chunk()?));
        let kind = match short(6)? {
            0 => Kind::Records,
            1 => Kind::Templates,
            _ => return None,
        };
        let (records, flows) = (short(8)?, short(10)?);
        let tally = Tally {
            records: u32::from(records),
            flows: u64::from(flows),
            alerts: u64::from(records.saturating_sub(flows)),
            packets: u64::from(u32::from_be_bytes(*said.get(12..)?.first_chunk()?)),
            octets: u64::from_be_bytes(*said.get(16..)?.first_chunk()?),
        };
        let checksum = u32::from_be_bytes(*said.get(24..)?.first_chunk()?);
        Some(Head { kind, length: usize::from(short(4)?), tally, checksum })
    }
}

/// Where the records of a message stand, as its first record says; `None` when it begins with anything else.
pub(super) fn place_of(message: &[u8]) -> Option<Place> {
    let set = message.get(MESSAGE_HEADER_BYTES..Place::OFFSET)?;
    if set.first_chunk() != Some(&OptionsKind::Place.id().to_be_bytes()) {
        return None;
    }
    let number = |at: usize| Some(u64::from_be_bytes(*message.get(Place::OFFSET + at..)?.first_chunk()?));
    let first = Position { epoch: number(4)?, sequence: number(12)? };
    let count = number(20)?;
    first.sequence.checked_add(count)?;
    Some(Place { first, count })
}

/// The identifiers of a message's sets.
pub(in crate::export) fn sets_of(message: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let mut rest = message.get(MESSAGE_HEADER_BYTES..).unwrap_or_default();
    std::iter::from_fn(move || {
        let &[id_high, id_low, length_high, length_low, ..] = rest else { return None };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        rest = rest.get(length.max(SET_HEADER_BYTES)..).unwrap_or_default();
        Some(u16::from_be_bytes([id_high, id_low]))
    })
}

/// Something that is read by place: a file, or memory.
pub(super) trait ReadAt {
    /// Fills as much of `buffer` as there is from `offset` on.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize>;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(self, rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.get(from..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// What stands at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole entry, whose body is in the buffer. It ends at `to`.
    Entry { head: Head, to: u64 },
    /// Octets that are no entry; the next one, or the end, is at `to`.
    Damaged { to: u64 },
    /// The end, right behind the last whole entry.
    End,
    /// An entry is begun and not whole: what a crash leaves behind, or one that is being written.
    Torn,
}

/// Reads what stands at `at` of a segment of `end` octets. The body of an entry comes into `body`.
pub(super) fn read_entry(
    file: &impl ReadAt,
    name: SegmentName,
    at: u64,
    end: u64,
    body: &mut Vec<u8>,
) -> std::io::Result<Found> {
    if at >= end {
        return Ok(Found::End);
    }
    let mut bytes = [0; HEAD_BYTES];
    let have = file.read_at(&mut bytes, at)?;
    if have < HEAD_BYTES || end - at < HEAD_BYTES as u64 {
        return Ok(Found::Torn);
    }
    let Some(head) = Head::parse(name, &bytes) else { return search(file, name, at + 1, end) };
    let to = at + (HEAD_BYTES + head.length) as u64;
    if to > end {
        // A head that is right says how long its body is: what follows is missing, unless something else stands there.
        return match search(file, name, at + 1, end)? {
            Found::Damaged { to } if to < end => Ok(Found::Damaged { to }),
            _ => Ok(Found::Torn),
        };
    }
    body.resize(head.length, 0);
    if file.read_at(body, at + HEAD_BYTES as u64)? < head.length {
        return Ok(Found::Torn);
    }
    if name.checksum(body) != head.checksum || !is_sound(name, &head, body) {
        return search(file, name, at + 1, end);
    }
    Ok(Found::Entry { head, to })
}

/// Whether a body is the message that its head tells of.
fn is_sound(name: SegmentName, head: &Head, body: &[u8]) -> bool {
    let is_message = message_length(body).is_ok_and(|length| length == body.len());
    let in_place = || {
        place_of(body).is_some_and(|place| {
            place.first.epoch == name.first.epoch && place.count == u64::from(head.tally.records)
        })
    };
    is_message && (head.kind == Kind::Templates || in_place())
}

/// The next right head at or behind `from`.
fn search(file: &impl ReadAt, name: SegmentName, from: u64, end: u64) -> std::io::Result<Found> {
    let mut buffer = vec![0; SEARCH_BYTES];
    let mut at = from;
    while at < end {
        let have = file.read_at(&mut buffer, at)?;
        let have = have.min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let bytes = buffer.get(..have).unwrap_or_default();
        for place in memchr::memmem::find_iter(bytes, &MARKER) {
            let head = bytes.get(place..).and_then(|rest| rest.first_chunk());
            if head.and_then(|head| Head::parse(name, head)).is_some() {
                return Ok(Found::Damaged { to: at + place as u64 });
            }
        }
        if have < SEARCH_BYTES {
            break;
        }
        // A head may begin in the last octets.
        at += (SEARCH_BYTES - HEAD_BYTES + 1) as u64;
    }
    Ok(Found::Damaged { to: end })
}
