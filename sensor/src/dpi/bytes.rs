//! Reads numbers out of wire bytes.
//!
//! In: bytes and an offset. Out: the number there, or nothing where the bytes end before it. Holds nothing.

use std::fmt::Write;

/// The byte at an offset.
pub(super) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The bytes at an offset.
pub(super) fn at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A big-endian number.
pub(super) fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    at(bytes, offset).map(u16::from_be_bytes)
}

/// A big-endian number.
pub(super) fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_be_bytes)
}

/// A little-endian number.
pub(super) fn le16(bytes: &[u8], offset: usize) -> Option<u16> {
    at(bytes, offset).map(u16::from_le_bytes)
}

/// A little-endian number.
pub(super) fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_le_bytes)
}

/// A big-endian number.
pub(super) fn be64(bytes: &[u8], offset: usize) -> Option<u64> {
    at(bytes, offset).map(u64::from_be_bytes)
}

/// A little-endian number.
pub(super) fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    at(bytes, offset).map(u64::from_le_bytes)
}

/// Bytes as lower-case hexadecimal digits, cut at `bytes_max` bytes. For events.
pub(super) fn hex(bytes: &[u8], bytes_max: usize) -> String {
    let bytes = bytes.get(..bytes_max).unwrap_or(bytes);
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Bytes as Suricata writes them in text: as they are when they are UTF-8, else with `\xNN` for each byte
/// beyond ASCII; cut at `bytes_max` bytes. For events.
pub(super) fn escaped(bytes: &[u8], bytes_max: usize) -> String {
    let bytes = bytes.get(..bytes_max).unwrap_or(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = String::with_capacity(4 * bytes.len());
    for byte in bytes {
        if byte.is_ascii() {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// An IPv6 address with all its digits, as EVE has it in bodies.
pub(super) fn full_ipv6(octets: &[u8; 16]) -> String {
    let mut text = String::with_capacity(39);
    for (index, octet) in octets.iter().enumerate() {
        if index > 0 && index % 2 == 0 {
            text.push(':');
        }
        let _ = write!(text, "{octet:02x}");
    }
    text
}
