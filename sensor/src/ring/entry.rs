//! Frame entries: what is kept of a frame beside its bytes, as numbers of variable length.
//!
//! In: an entry and the one before it. Out: four to six bytes for an ordinary frame; and back, from bytes
//! that may be anything. Knows no block: where the bytes of a frame are follows from the lengths before it.

use super::format::FormatError;
use std::fmt;
use weir_common::time::Timestamp;

/// Most bytes of a frame's entry: ten for the time, at most eighteen for lengths and source, 21 for a receipt.
pub const ENTRY_BYTES_MAX: usize = 56;

/// What is kept of a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When it was captured.
    pub time: Timestamp,
    /// Captured bytes.
    pub captured_len: u32,
    /// Bytes on the wire.
    pub wire_len: u32,
    /// Interface index.
    pub interface: u32,
    /// Link type.
    pub link: u16,
    /// What the ring left out at the frame's end on purpose, when it did.
    pub left_out: Option<LeftOut>,
}

/// The receipt for bytes that were captured and deliberately not kept: whoever has them can prove that they
/// are the ones that were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many bytes followed the ones that are kept.
    pub bytes: u32,
    /// The first 16 bytes of their BLAKE3 hash.
    pub hash: [u8; 16],
}

impl LeftOut {
    /// The receipt for these bytes.
    pub fn of(bytes: &[u8]) -> LeftOut {
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        LeftOut { bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX), hash }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes left out, blake3 ", self.bytes)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

const ENTRY_WIRE_LEN: u64 = 1;
const ENTRY_SOURCE: u64 = 2;
const ENTRY_LEFT_OUT: u64 = 4;
const ENTRY_SHIFT: u32 = 3;

impl Entry {
    /// Appends this entry as its difference to the one before; the first follows [`Entry::default`].
    #[inline]
    pub fn encode(&self, previous: &Entry, out: &mut Vec<u8>) {
        let differs_wire = self.wire_len != self.captured_len;
        let differs_source = (self.interface, self.link) != (previous.interface, previous.link);
        put_varint(out, zigzag(self.time.0.wrapping_sub(previous.time.0)));
        put_varint(
            out,
            u64::from(self.captured_len) << ENTRY_SHIFT
                | if differs_wire { ENTRY_WIRE_LEN } else { 0 }
                | if differs_source { ENTRY_SOURCE } else { 0 }
                | if self.left_out.is_some() { ENTRY_LEFT_OUT } else { 0 },
        );
        if differs_wire {
            put_varint(out, self.wire_len.into());
        }
        if differs_source {
            put_varint(out, self.interface.into());
            put_varint(out, self.link.into());
        }
        if let Some(left_out) = &self.left_out {
            put_varint(out, left_out.bytes.into());
            out.extend_from_slice(&left_out.hash);
        }
    }

    /// Reads the entry after `previous` and moves `bytes` past it.
    #[inline]
    pub fn decode(previous: &Entry, bytes: &mut &[u8]) -> Result<Entry, FormatError> {
        let time = Timestamp(previous.time.0.wrapping_add(unzigzag(take_varint(bytes)?)));
        let lengths = take_varint(bytes)?;
        let captured_len = narrow("captured length", lengths >> ENTRY_SHIFT)?;
        let wire_len = match lengths & ENTRY_WIRE_LEN {
            0 => captured_len,
            _ => narrow("wire length", take_varint(bytes)?)?,
        };
        let (mut interface, mut link) = (previous.interface, previous.link);
        if lengths & ENTRY_SOURCE != 0 {
            interface = narrow("interface", take_varint(bytes)?)?;
            link = narrow("link type", take_varint(bytes)?)?;
        }
        let left_out = match lengths & ENTRY_LEFT_OUT {
            0 => None,
            _ => Some(take_receipt(bytes)?),
        };
        Ok(Entry { time, captured_len, wire_len, interface, link, left_out })
    }
}

fn take_receipt(bytes: &mut &[u8]) -> Result<LeftOut, FormatError> {
    let left_out = narrow("bytes left out", take_varint(bytes)?)?;
    let (hash, rest) = bytes.split_first_chunk().ok_or(FormatError::Truncated {
        what: "receipt",
        needed: 16,
        available: bytes.len(),
    })?;
    *bytes = rest;
    Ok(LeftOut { bytes: left_out, hash: *hash })
}

fn narrow<T: TryFrom<u64>>(what: &'static str, value: u64) -> Result<T, FormatError> {
    let expected = 8u64.checked_mul(size_of::<T>() as u64).map_or(0, |bits| (1 << bits) - 1);
    T::try_from(value).map_err(|_| FormatError::Value { what, found: value, expected })
}

#[inline]
const fn zigzag(difference: u64) -> u64 {
    let signed = difference as i64;
    (signed << 1 ^ signed >> 63) as u64
}

#[inline]
const fn unzigzag(value: u64) -> u64 {
    value >> 1 ^ (value & 1).wrapping_neg()
}

/// Two and three bytes, which times and lengths mostly take, are put at once.
#[inline]
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    let bytes = [value as u8, (value >> 7) as u8, (value >> 14) as u8];
    match value {
        0..0x80 => return out.push(bytes[0]),
        0x80..0x4000 => return out.extend_from_slice(&[bytes[0] | 0x80, bytes[1]]),
        0x4000..0x20_0000 => return out.extend_from_slice(&[bytes[0] | 0x80, bytes[1] | 0x80, bytes[2]]),
        _ => {}
    }
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn take_varint(bytes: &mut &[u8]) -> Result<u64, FormatError> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at as u32).min(63);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Ok(value);
        }
    }
    Err(FormatError::Truncated { what: "frame entry", needed: bytes.len() + 1, available: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ordinary_entry_takes_four_bytes() {
        let first = Entry {
            time: Timestamp(1 << 60),
            captured_len: 60,
            wire_len: 60,
            interface: 0,
            link: 1,
            left_out: None,
        };
        let second =
            Entry { time: Timestamp((1 << 60) + 5_000), captured_len: 1514, wire_len: 1514, ..first };
        let mut out = Vec::new();
        second.encode(&first, &mut out);
        assert_eq!(out, [0x90, 0x4e, 0xd0, 0x5e]);
    }

    #[test]
    fn an_entry_cut_anywhere_or_too_large_is_refused() {
        let entry = Entry {
            time: Timestamp(u64::MAX / 3),
            captured_len: 300,
            wire_len: 70_000,
            interface: 900,
            link: 276,
            left_out: Some(LeftOut { bytes: 69_700, hash: [7; 16] }),
        };
        let mut bytes = Vec::new();
        entry.encode(&Entry::default(), &mut bytes);
        for length in 0..bytes.len() {
            assert!(Entry::decode(&Entry::default(), &mut &bytes[..length]).is_err());
        }
        let too_long = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(Entry::decode(&Entry::default(), &mut &too_long[..]).is_err());
        assert!(Entry::decode(&Entry::default(), &mut &[0xff; 20][..]).is_err());
    }

    proptest! {
        #[test]
        fn entries_read_back(rows in proptest::collection::vec(any::<(u64, u32, u32, u32, u16, Option<(u32, [u8; 16])>)>(), 1..50)) {
            let entries: Vec<Entry> = rows.iter().map(|&(time, captured_len, wire_len, interface, link, left_out)| Entry {
                time: Timestamp(time), captured_len, wire_len, interface, link,
                left_out: left_out.map(|(bytes, hash)| LeftOut { bytes, hash }),
            }).collect();
            let (mut bytes, mut previous) = (Vec::new(), Entry::default());
            for entry in &entries {
                let before = bytes.len();
                entry.encode(&previous, &mut bytes);
                prop_assert!(bytes.len() - before <= ENTRY_BYTES_MAX);
                previous = *entry;
            }
            let (mut rest, mut previous) = (&bytes[..], Entry::default());
            for entry in &entries {
                previous = Entry::decode(&previous, &mut rest).unwrap();
                prop_assert_eq!(&previous, entry);
            }
            prop_assert!(rest.is_empty());
        }
    }
}
