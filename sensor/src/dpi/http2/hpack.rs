//! HPACK (RFC 7541): header blocks of HTTP/2 into names and values.
//!
//! In: whole header blocks, in the order of the connection, of one direction. Out: each header, and changes of
//! the table's size. The table is bounded by what the protocol's default allows or a peer asks for, up to
//! [`TABLE_BYTES_MAX`]; a block's headers by [`BLOCK_BYTES_MAX`], so that no reference costs more than it may.

use std::collections::VecDeque;

/// Table size before anybody asks for another (RFC 9113 section 6.5.2).
const TABLE_BYTES_DEFAULT: usize = 4096;
/// Largest table that is kept; a larger one is an error.
const TABLE_BYTES_MAX: usize = 64 << 10;
/// What an entry costs beside its text (RFC 7541 section 4.1).
const ENTRY_OVERHEAD_BYTES: usize = 32;
/// Most bytes of names and values of one block.
pub(super) const BLOCK_BYTES_MAX: usize = 64 << 10;

/// What a block says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// A header.
    Header(&'a [u8], &'a [u8]),
    /// From here on the table has this size.
    TableSize(u64),
}

/// A name and its value.
type Entry = (Box<[u8]>, Box<[u8]>);

/// The decoder of one direction.
#[derive(Debug)]
pub(super) struct Hpack {
    /// Newest first.
    table: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for Hpack {
    fn default() -> Self {
        Hpack { table: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_DEFAULT }
    }
}

impl Hpack {
    /// Reads a block. Errors are final: the table is not what the sender thinks it is.
    pub(super) fn read(
        &mut self,
        mut block: &[u8],
        tell: &mut dyn FnMut(Said<'_>),
    ) -> Result<(), &'static str> {
        let mut told_bytes = 0usize;
        while let Some(first) = block.first() {
            let (name, value, is_kept) = match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    let (name, value) = self.entry(index).ok_or("invalid_header")?;
                    (name.to_vec(), value.to_vec(), false)
                }
                0x20..=0x3f => {
                    let size = integer(&mut block, 5)?;
                    self.bytes_max = usize::try_from(size).unwrap_or(usize::MAX);
                    if self.bytes_max > TABLE_BYTES_MAX {
                        return Err("invalid_header");
                    }
                    self.evict(0);
                    tell(Said::TableSize(size));
                    continue;
                }
                _ => {
                    let is_kept = first & 0x40 != 0;
                    let index = integer(&mut block, if is_kept { 6 } else { 4 })?;
                    let name = match index {
                        0 => string(&mut block)?,
                        index => self.entry(index).ok_or("invalid_header")?.0.to_vec(),
                    };
                    (name, string(&mut block)?, is_kept)
                }
            };
            told_bytes = told_bytes.saturating_add(name.len() + value.len() + ENTRY_OVERHEAD_BYTES);
            if told_bytes > BLOCK_BYTES_MAX {
                return Err("invalid_header");
            }
            tell(Said::Header(&name, &value));
            if is_kept {
                self.keep(name, value);
            }
        }
        Ok(())
    }

    fn entry(&self, index: u64) -> Option<(&[u8], &[u8])> {
        let index = usize::try_from(index).ok()?.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.table.get(index - STATIC.len())?;
        Some((name, value))
    }

    fn keep(&mut self, name: Vec<u8>, value: Vec<u8>) {
        let bytes = name.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        self.evict(bytes);
        // What is larger than the table empties it (RFC 7541 section 4.4).
        if bytes <= self.bytes_max {
            self.bytes += bytes;
            self.table.push_front((name.into(), value.into()));
        }
    }

    /// Makes room for so many bytes.
    fn evict(&mut self, bytes: usize) {
        while self.bytes.saturating_add(bytes) > self.bytes_max
            && let Some((name, value)) = self.table.pop_back()
        {
            self.bytes = self.bytes.saturating_sub(name.len() + value.len() + ENTRY_OVERHEAD_BYTES);
        }
    }
}

/// RFC 7541 section 5.1: an integer with so many bits in its first byte.
fn integer(block: &mut &[u8], prefix_bits: u32) -> Result<u64, &'static str> {
    let (first, mut rest) = block.split_first().ok_or("invalid_header")?;
    let mask = (1u64 << prefix_bits) - 1;
    let mut value = u64::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first().ok_or("invalid_header")?;
            rest = after;
            if shift > 28 {
                return Err("header_integer_overflow");
            }
            value += u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// RFC 7541 section 5.2: a string, plain or by Huffman's code.
fn string(block: &mut &[u8]) -> Result<Vec<u8>, &'static str> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = usize::try_from(integer(block, 7)?).map_err(|_| "invalid_header")?;
    let (text, rest) = block.split_at_checked(length).ok_or("invalid_header")?;
    *block = rest;
    if is_coded { huffman(text).ok_or("invalid_header") } else { Ok(text.to_vec()) }
}

/// Shortest and longest code, in bits.
const CODE_BITS_MIN: usize = 5;
const CODE_BITS_MAX: usize = 30;

/// Length in bits of the code of each byte, and of the end (RFC 7541 appendix B). The codes follow from it: they
/// are given out in the order of length, then of value.
const CODE_BITS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
const END: u16 = 256;

/// The codes by length: the first code of each, how many there are, and where their symbols begin.
struct Codes {
    lengths: [(u32, u32, u16); CODE_BITS_MAX + 1],
    symbols: [u16; 257],
}

static CODES: Codes = codes();

const fn codes() -> Codes {
    let mut codes = Codes { lengths: [(0, 0, 0); CODE_BITS_MAX + 1], symbols: [0; 257] };
    let (mut code, mut used, mut bits) = (0u32, 0u16, 1);
    while bits <= CODE_BITS_MAX {
        code <<= 1;
        codes.lengths[bits] = (code, 0, used);
        let mut symbol = 0;
        while symbol < CODE_BITS.len() {
            if CODE_BITS[symbol] as usize == bits {
                codes.symbols[used as usize] = symbol as u16;
                codes.lengths[bits].1 += 1;
                used += 1;
                code += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    codes
}

/// Text of its Huffman code; none where it is no such code, or its padding is wrong.
fn huffman(coded: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(coded.len() * 8 / CODE_BITS_MIN);
    let (mut code, mut bits) = (0u32, 0usize);
    for byte in coded {
        for at in (0..8).rev() {
            code = code << 1 | u32::from(byte >> at & 1);
            bits += 1;
            let (first, count, from) = *CODES.lengths.get(bits)?;
            let Some(offset) = code.checked_sub(first).filter(|offset| *offset < count) else { continue };
            match *CODES.symbols.get(usize::from(from) + offset as usize)? {
                END => return None,
                symbol => text.push(symbol as u8),
            }
            (code, bits) = (0, 0);
        }
    }
    // RFC 7541 section 5.2: the beginning of the end's code, which is all ones, fills the last byte.
    (bits < 8 && code == (1 << bits) - 1).then_some(text)
}

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hpack: &mut Hpack, block: &[u8]) -> Result<String, &'static str> {
        let mut text = String::new();
        hpack.read(block, &mut |said| match said {
            Said::Header(name, value) => {
                text += &format!("{}={};", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            }
            Said::TableSize(size) => text += &format!("size={size};"),
        })?;
        Ok(text)
    }

    #[test]
    fn the_standards_examples_are_read() {
        // RFC 7541 appendix C.4: requests with Huffman coding, which use the table of the ones before.
        let mut hpack = Hpack::default();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let want = ":method=GET;:scheme=http;:path=/;:authority=www.example.com;";
        assert_eq!(read(&mut hpack, first).as_deref(), Ok(want));
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let want = ":method=GET;:scheme=http;:path=/;:authority=www.example.com;cache-control=no-cache;";
        assert_eq!(read(&mut hpack, second).as_deref(), Ok(want));
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        let want =
            ":method=GET;:scheme=https;:path=/index.html;:authority=www.example.com;custom-key=custom-value;";
        assert_eq!(read(&mut hpack, third).as_deref(), Ok(want));
        assert_eq!(hpack.bytes, 164);
        // Appendix C.2.2, without indexing, and a change of size that empties the table.
        let plain = b"\x20\x04\x0c/sample/path\xbe";
        assert_eq!(read(&mut hpack, &plain[..15]).as_deref(), Ok("size=0;:path=/sample/path;"));
        assert_eq!((hpack.bytes, read(&mut hpack, &plain[15..])), (0, Err("invalid_header")));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let mut hpack = Hpack::default();
        assert_eq!(read(&mut hpack, b"\x3f\xff\xff\xff\xff\xff\x0f"), Err("header_integer_overflow"));
        assert_eq!(read(&mut hpack, b"\x3f\xe1\xff\x03").as_deref(), Ok("size=65536;"));
        assert_eq!(read(&mut hpack, b"\x3f\xe2\xff\x03"), Err("invalid_header"));
        // One entry of nearly the table's size, referred to again and again.
        let mut hpack = Hpack::default();
        let large = [&b"\x40\x01a\x7f\xd1\x1e"[..], &[b'v'; 4048]].concat();
        assert!(read(&mut hpack, &large).is_ok());
        assert_eq!(hpack.table.len(), 1);
        assert!(read(&mut hpack, &[0xbe; 15]).is_ok());
        assert_eq!(read(&mut hpack, &[0xbe; 17]), Err("invalid_header"));
        for cut in 0..large.len() {
            let _ = read(&mut Hpack::default(), &large[..cut]);
        }
    }

    #[test]
    fn huffman_code_ends_with_ones() {
        assert_eq!(huffman(b"\x1f").as_deref(), Some(&b"a"[..]));
        assert_eq!(
            (huffman(b"\x18"), huffman(b"\xff\xff\xff\xff"), huffman(b"\x1f\xff")),
            (None, None, None)
        );
        assert_eq!(huffman(b"").as_deref(), Some(&b""[..]));
    }
}
