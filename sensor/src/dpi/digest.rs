//! Text into digests, digests into text: what JA3, JA4 and HASSH have in common.
//!
//! In: the pieces of a fingerprint's text, in order. Out: the text itself or its digest, without the
//! text ever standing in memory when only the digest is wanted. Knows no fingerprint's definition.

use md5::Digest;

/// Where the pieces of a text go.
pub(super) trait Sink {
    /// Appends a piece.
    fn put(&mut self, piece: &[u8]);

    /// Appends a number in decimal.
    fn decimal(&mut self, number: u16) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends a number as four hexadecimal digits in lower case.
    fn hexadecimal(&mut self, number: u16) {
        self.put(&Hex::<4>::of(&number.to_be_bytes()).0);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, piece: &[u8]) {
        self.extend_from_slice(piece);
    }
}

/// Bytes gathered before the digest takes them in: digests are fast on blocks and slow on crumbs.
const GATHERED_BYTES: usize = 256;

/// A digest over the pieces.
pub(super) struct Hashing<D: Digest> {
    digest: D,
    gathered: [u8; GATHERED_BYTES],
    used: usize,
}

impl<D: Digest> Hashing<D> {
    /// A digest over nothing yet.
    pub(super) fn new() -> Self {
        Hashing { digest: D::new(), gathered: [0; GATHERED_BYTES], used: 0 }
    }

    /// The first `DIGITS / 2` bytes of the digest in hexadecimal.
    pub(super) fn finish<const DIGITS: usize>(mut self) -> Hex<DIGITS> {
        self.flush();
        Hex::of(&self.digest.finalize())
    }

    fn flush(&mut self) {
        if let Some(gathered) = self.gathered.get(..self.used) {
            self.digest.update(gathered);
        }
        self.used = 0;
    }
}

impl<D: Digest> Default for Hashing<D> {
    fn default() -> Self {
        Hashing::new()
    }
}

impl<D: Digest> Sink for Hashing<D> {
    fn put(&mut self, piece: &[u8]) {
        if piece.len() > GATHERED_BYTES - self.used {
            self.flush();
        }
        match self.gathered.get_mut(self.used..self.used + piece.len()) {
            Some(space) => {
                space.copy_from_slice(piece);
                self.used += piece.len();
            }
            None => self.digest.update(piece),
        }
    }
}

/// Bytes as text: `DIGITS` hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hex<const DIGITS: usize>(pub [u8; DIGITS]);

impl<const DIGITS: usize> Hex<DIGITS> {
    /// The first `DIGITS / 2` bytes; zeros stand for bytes that are not there.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut text = [b'0'; DIGITS];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair[0] = digit(byte >> 4);
            pair[1] = digit(byte & 0xf);
        }
        Hex(text)
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The lower-case hexadecimal digit of a nibble.
pub(super) fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + (nibble & 0xf) - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::Md5;

    #[test]
    fn a_text_in_pieces_has_the_digest_of_the_whole() {
        let text: Vec<u8> = (0..2000u32).map(|at| (at % 251) as u8).collect();
        let whole = Hex::<32>::of(&Md5::digest(&text));
        for piece_bytes in [1, 3, 7, 255, 256, 257, 1999, 2000] {
            let mut hashing = Hashing::<Md5>::new();
            text.chunks(piece_bytes).for_each(|piece| hashing.put(piece));
            assert_eq!(hashing.finish::<32>(), whole, "{piece_bytes}");
        }
    }

    #[test]
    fn numbers_are_written_as_fingerprints_want_them() {
        let mut text = Vec::new();
        text.decimal(0);
        text.decimal(65535);
        text.hexadecimal(0x00ff);
        assert_eq!(text, b"06553500ff");
        assert_eq!(Hex::<6>::of(&[0xab]).as_str(), "ab0000");
        assert_eq!(Hashing::<Md5>::new().finish::<32>().as_str(), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
