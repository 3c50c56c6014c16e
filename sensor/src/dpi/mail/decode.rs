//! Content-Transfer-Encoding (RFC 2045 section 6), piece by piece.

use crate::dpi::scan::base64_value;

/// Decoded bytes handed on together.
const OUT_BYTES: usize = 384;
/// Stands in [`VALUES`] for what is no digit of Base64.
const NO_VALUE: u8 = 0x80;
/// The six bits of each byte that is a digit of Base64.
const VALUES: [u8; 256] = {
    let mut values = [NO_VALUE; 256];
    let mut byte = 0;
    while byte < 256 {
        if let Some(value) = base64_value(byte as u8) {
            values[byte] = value;
        }
        byte += 1;
    }
    values
};

/// How a body is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Plain,
    Base64,
    QuotedPrintable,
}

impl Encoding {
    /// The encoding of a header's value.
    pub(super) fn named(value: &[u8]) -> Encoding {
        if value.eq_ignore_ascii_case(b"base64") {
            Encoding::Base64
        } else if value.eq_ignore_ascii_case(b"quoted-printable") {
            Encoding::QuotedPrintable
        } else {
            Encoding::Plain
        }
    }
}

/// A body that is being decoded.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    encoding: Encoding,
    /// Bits of Base64 that do not make a byte yet.
    bits: u32,
    count: u8,
    /// The end of the line before, which belongs to the body only if another line follows (RFC 2046 section
    /// 5.1.1).
    end: &'static [u8],
}

impl Decoder {
    pub(super) fn new(encoding: Encoding) -> Decoder {
        Decoder { encoding, ..Decoder::default() }
    }

    /// Whether the body is as it was.
    pub(super) fn is_plain(&self) -> bool {
        self.encoding == Encoding::Plain
    }

    /// Bytes are missing: begins anew.
    pub(super) fn forget(&mut self) {
        (self.bits, self.count, self.end) = (0, 0, b"");
    }

    /// The anomaly that a body is which is not encoded as it says.
    pub(super) fn failure(&self) -> &'static str {
        match self.encoding {
            Encoding::QuotedPrintable => "MIME_INVALID_QP",
            Encoding::Base64 | Encoding::Plain => "MIME_INVALID_BASE64",
        }
    }

    /// Decodes a line with its end, or a piece of one. Whether it is encoded as it should be.
    pub(super) fn decode(&mut self, piece: &[u8], mut out: impl FnMut(&[u8])) -> bool {
        match self.encoding {
            Encoding::Plain => {
                let (text, end) = split_end(piece);
                if !self.end.is_empty() {
                    out(self.end);
                }
                if !text.is_empty() {
                    out(text);
                }
                self.end = end;
                true
            }
            Encoding::Base64 => self.base64(piece, out),
            Encoding::QuotedPrintable => self.quoted_printable(piece, out),
        }
    }

    fn base64(&mut self, piece: &[u8], mut out: impl FnMut(&[u8])) -> bool {
        let mut buffer = [0; OUT_BYTES];
        let (mut filled, mut is_right) = (0, true);
        let mut rest = piece;
        while !rest.is_empty() {
            // Nearly everything comes in groups of four.
            while self.count == 0
                && let Some((group, behind)) = rest.split_first_chunk::<4>()
                && let Some(place) = buffer.get_mut(filled..filled + 3)
            {
                let values = group.map(|byte| VALUES[usize::from(byte)]);
                if values.iter().fold(0, |all, value| all | value) & NO_VALUE != 0 {
                    break;
                }
                let bits = values.iter().fold(0, |bits, value| bits << 6 | u32::from(*value));
                place.copy_from_slice(&bits.to_be_bytes()[1..]);
                filled += 3;
                rest = behind;
            }
            if let Some((byte, behind)) = rest.split_first() {
                rest = behind;
                match VALUES[usize::from(*byte)] {
                    NO_VALUE if *byte == b'=' => (self.bits, self.count) = (0, 0),
                    NO_VALUE => is_right &= byte.is_ascii_whitespace(),
                    value => {
                        self.bits = self.bits << 6 | u32::from(value);
                        self.count += 6;
                    }
                }
                if self.count >= 8 {
                    self.count -= 8;
                    if let Some(place) = buffer.get_mut(filled) {
                        *place = (self.bits >> self.count) as u8;
                        filled += 1;
                    }
                }
            }
            if filled + 3 > OUT_BYTES {
                out(buffer.get(..filled).unwrap_or_default());
                filled = 0;
            }
        }
        out(buffer.get(..filled).unwrap_or_default());
        is_right
    }

    fn quoted_printable(&mut self, piece: &[u8], mut out: impl FnMut(&[u8])) -> bool {
        let (text, end) = split_end(piece);
        if !self.end.is_empty() {
            out(self.end);
        }
        let trimmed = text.trim_ascii_end();
        let is_soft = !end.is_empty() && trimmed.ends_with(b"=");
        self.end = if is_soft { b"" } else { end };
        let mut rest =
            if is_soft { trimmed.get(..trimmed.len().saturating_sub(1)).unwrap_or_default() } else { text };
        let mut is_right = true;
        while let Some(at) = memchr::memchr(b'=', rest) {
            let Some((plain, marked)) = rest.split_at_checked(at) else { break };
            out(plain);
            let digits = marked.get(1..3).unwrap_or_default();
            let value = digits
                .iter()
                .try_fold(0u8, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)? as u8));
            match value.filter(|_| digits.len() == 2) {
                Some(value) => {
                    out(&[value]);
                    rest = marked.get(3..).unwrap_or_default();
                }
                None => {
                    is_right = false;
                    out(b"=");
                    rest = marked.get(1..).unwrap_or_default();
                }
            }
        }
        out(rest);
        is_right
    }
}

fn split_end(piece: &[u8]) -> (&[u8], &'static [u8]) {
    if let Some(text) = piece.strip_suffix(b"\r\n") {
        (text, b"\r\n")
    } else if let Some(text) = piece.strip_suffix(b"\n") {
        (text, b"\n")
    } else {
        (piece, b"")
    }
}
