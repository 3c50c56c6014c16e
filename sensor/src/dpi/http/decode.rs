//! Content codings taken off a body: gzip, deflate, br, zstd (RFC 9110 section 8.4.1).
//!
//! In: bytes as they were sent. Out: bytes as they were meant, as far as they come to. One piece of input may
//! expand to [`PIECE_BYTES_MAX`] at most, all decoders of a worker may use [`MEMORY_BYTES_MAX`]; how much
//! is made of one body in all is its reader's limit.

use super::head::has_word;
use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, ZlibDecoder};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of input decoded at once.
const INPUT_BYTES: usize = 1 << 10;
/// Most bytes that so much input may become; more is a bomb, and ends the decoding.
const PIECE_BYTES_MAX: usize = 4 << 20;
/// Most bytes of a gzip head; a longer one is none.
const GZIP_HEAD_BYTES_MAX: usize = 128 << 10;
/// Most codings on top of each other that are taken off.
const LAYERS_MAX: usize = 3;
/// Most bytes that all decoders of a worker may need; bodies beyond stay as they are and are not looked at.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// What a decoder may need: the window that its coding allows, and its tables.
const INFLATE_BYTES: u64 = 48 << 10;
const BROTLI_BYTES: u64 = 16 << 20;
const ZSTD_BYTES: u64 = 8 << 20;
/// Base-2 logarithm of the largest window of zstd that is believed (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Brotli's own buffer for its output, in bytes.
const BROTLI_BUFFER_BYTES: usize = 4 << 10;

/// A worker's account of what its decoders need.
#[derive(Clone, Debug, Default)]
pub(in crate::dpi) struct DecoderMemory(Arc<AtomicU64>);

/// A share of it, given back when dropped.
#[derive(Debug)]
struct Share(DecoderMemory, u64);

impl DecoderMemory {
    fn take(&self, bytes: u64) -> Option<Share> {
        if self.0.load(Ordering::Relaxed).saturating_add(bytes) > MEMORY_BYTES_MAX {
            return None;
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Share(self.clone(), bytes))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What went wrong, in the words that Suricata has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dpi) enum DecodeError {
    /// The bytes are not what they are said to be.
    Invalid,
    /// They become far too many.
    Bomb,
}

/// The codings of one body, the outermost last.
#[derive(Debug, Default)]
pub(in crate::dpi) struct Decoding {
    layers: Vec<Layer>,
    _memory: Vec<Share>,
}

#[derive(Debug)]
struct Layer {
    coding: Coding,
    has_output: bool,
    /// What came while nothing was made of it: the content itself, should it not be coded at all.
    seen: Vec<u8>,
    problem: Option<DecodeError>,
}

enum Coding {
    /// Of gzip (RFC 1952) the head as far as it came; behind it is deflate, and of what is behind that nothing is asked.
    GzipHead(Vec<u8>),
    /// RFC 9110 means zlib's format; some send what is inside of it.
    DeflateUnseen,
    Zlib(ZlibDecoder<Output>),
    Deflate(DeflateDecoder<Output>),
    Brotli(Box<DecompressorWriter<Output>>),
    Zstd(zstd::stream::write::Decoder<'static, Output>),
    /// The bytes were not coded, or their end has passed.
    Plain,
    Ended,
}

impl std::fmt::Debug for Coding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Coding::GzipHead(_) => "gzip",
            Coding::DeflateUnseen | Coding::Zlib(_) | Coding::Deflate(_) => "deflate",
            Coding::Brotli(_) => "br",
            Coding::Zstd(_) => "zstd",
            Coding::Plain => "identity",
            Coding::Ended => "ended",
        })
    }
}

/// What a decoder makes of one piece.
#[derive(Debug, Default)]
struct Output(Vec<u8>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > PIECE_BYTES_MAX {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoding {
    /// For the value of a Content-Encoding line, read as leniently as clients do. None: there is no memory for it.
    pub(in crate::dpi) fn new(codings: &[u8], memory: &DecoderMemory) -> Option<Decoding> {
        let mut decoding = Decoding::default();
        for name in codings.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
            let (coding, bytes) = if has_word(name, b"gzip") {
                (Coding::GzipHead(Vec::new()), INFLATE_BYTES)
            } else if has_word(name, b"deflate") {
                (Coding::DeflateUnseen, INFLATE_BYTES)
            } else if is("br") {
                let writer = DecompressorWriter::new(Output::default(), BROTLI_BUFFER_BYTES);
                (Coding::Brotli(Box::new(writer)), BROTLI_BYTES)
            } else if is("zstd") {
                let mut decoder = zstd::stream::write::Decoder::new(Output::default()).ok()?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
                (Coding::Zstd(decoder), ZSTD_BYTES)
            } else {
                // Whether it is none or an unknown one: the bytes stay as they are.
                continue;
            };
            if decoding.layers.len() == LAYERS_MAX {
                break;
            }
            decoding._memory.push(memory.take(bytes)?);
            decoding.layers.push(Layer { coding, has_output: false, seen: Vec::new(), problem: None });
        }
        Some(decoding)
    }

    /// Whether there is nothing to take off.
    pub(in crate::dpi) fn is_plain(&self) -> bool {
        self.layers.is_empty()
    }

    /// Decodes what comes next and hands it on, until `read` wants no more.
    pub(in crate::dpi) fn bytes(
        &mut self,
        bytes: &[u8],
        read: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), DecodeError> {
        if self.layers.is_empty() {
            read(bytes);
            return Ok(());
        }
        let mut problem = None;
        for piece in bytes.chunks(INPUT_BYTES) {
            let mut made: Option<Vec<u8>> = None;
            for layer in self.layers.iter_mut().rev() {
                made = Some(layer.decode(made.as_deref().unwrap_or(piece))?);
                problem = problem.or(layer.problem.take());
            }
            if !read(made.as_deref().unwrap_or_default()) {
                break;
            }
        }
        problem.map_or(Ok(()), Err)
    }

    /// The body has ended: hands on what the decoders held back.
    pub(in crate::dpi) fn end(&mut self, read: &mut dyn FnMut(&[u8]) -> bool) {
        let mut made = Vec::new();
        for layer in self.layers.iter_mut().rev() {
            let mut more = layer.decode(&made).unwrap_or_default();
            more.append(&mut layer.flush());
            // Too short to be coded at all.
            if more.is_empty() && !layer.has_output {
                more = match &mut layer.coding {
                    Coding::GzipHead(head) => std::mem::take(head),
                    _ => std::mem::take(&mut layer.seen),
                };
            }
            made = more;
        }
        if !made.is_empty() {
            read(&made);
        }
    }
}

impl Layer {
    fn decode(&mut self, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        if let (Coding::DeflateUnseen, [first, ..]) = (&self.coding, bytes) {
            // RFC 1950: the method is 8, the window at most 32 KiB.
            let is_zlib = first & 0x0f == 8 && first >> 4 <= 7;
            self.coding = match is_zlib {
                true => Coding::Zlib(ZlibDecoder::new(Output::default())),
                false => Coding::Deflate(DeflateDecoder::new(Output::default())),
            };
        }
        let mut bytes = bytes;
        let behind;
        if let Coding::GzipHead(head) = &mut self.coding {
            head.extend_from_slice(bytes);
            match gzip_head(head) {
                GzipHead::Ends(at) => {
                    behind = head.get(at..).unwrap_or_default().to_vec();
                    self.coding = Coding::Deflate(DeflateDecoder::new(Output::default()));
                    bytes = &behind;
                }
                GzipHead::GoesOn if head.len() < GZIP_HEAD_BYTES_MAX => return Ok(Vec::new()),
                _ => {
                    let seen = std::mem::take(head);
                    self.coding = Coding::Plain;
                    self.problem = Some(DecodeError::Invalid);
                    return Ok(seen);
                }
            }
        }
        let written = match &mut self.coding {
            Coding::Zlib(writer) => write(writer, bytes),
            Coding::Deflate(writer) => write(writer, bytes),
            Coding::Brotli(writer) => write(&mut **writer, bytes),
            Coding::Zstd(writer) => write(writer, bytes),
            Coding::Plain => return Ok(bytes.to_vec()),
            Coding::DeflateUnseen | Coding::GzipHead(_) | Coding::Ended => return Ok(Vec::new()),
        };
        let made = self.take();
        self.has_output |= !made.is_empty();
        if self.has_output {
            self.seen = Vec::new();
        } else if self.seen.len() < INPUT_BYTES {
            self.seen.extend_from_slice(bytes);
        }
        match written {
            Ok(true) => Ok(made),
            Ok(false) => {
                let made = [made, self.flush()].concat();
                self.coding = Coding::Ended;
                Ok(made)
            }
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(DecodeError::Bomb),
            // Where nothing was ever coded the bytes are taken as they are, as browsers do.
            Err(_) if !self.has_output => {
                self.coding = Coding::Plain;
                self.problem = Some(DecodeError::Invalid);
                Ok(std::mem::take(&mut self.seen))
            }
            Err(_) => {
                self.coding = Coding::Ended;
                self.problem = Some(DecodeError::Invalid);
                Ok(made)
            }
        }
    }

    /// What was made so far.
    fn take(&mut self) -> Vec<u8> {
        let output = match &mut self.coding {
            Coding::Zlib(writer) => writer.get_mut(),
            Coding::Deflate(writer) => writer.get_mut(),
            Coding::Brotli(writer) => writer.get_mut(),
            Coding::Zstd(writer) => writer.get_mut(),
            Coding::Plain | Coding::DeflateUnseen | Coding::GzipHead(_) | Coding::Ended => return Vec::new(),
        };
        std::mem::take(&mut output.0)
    }

    /// What was held back. An error only says that there is no more.
    fn flush(&mut self) -> Vec<u8> {
        drop(match &mut self.coding {
            Coding::Zlib(writer) => writer.flush(),
            Coding::Deflate(writer) => writer.flush(),
            Coding::Brotli(writer) => writer.flush(),
            Coding::Zstd(writer) => writer.flush(),
            Coding::Plain | Coding::DeflateUnseen | Coding::GzipHead(_) | Coding::Ended => Ok(()),
        });
        self.take()
    }
}

/// What the beginning of a gzip stream says about its head.
enum GzipHead {
    Ends(usize),
    GoesOn,
    IsNone,
}

/// Finds the end of a gzip head (RFC 1952 section 2.3). Reserved flags and the head's digest are passed over, as
/// lenient clients do.
fn gzip_head(bytes: &[u8]) -> GzipHead {
    if !b"\x1f\x8b\x08".starts_with(bytes.get(..3).unwrap_or(bytes)) {
        return GzipHead::IsNone;
    }
    let Some(flags) = bytes.get(3) else { return GzipHead::GoesOn };
    let has = |flag: u8| flags & flag != 0;
    let mut at = 10;
    if has(4) {
        let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) else {
            return GzipHead::GoesOn;
        };
        at += 2 + usize::from(u16::from_le_bytes(*length));
    }
    // A name and a comment, each up to a zero.
    for _ in 0..usize::from(has(8)) + usize::from(has(16)) {
        match bytes.get(at..).and_then(|rest| memchr::memchr(0, rest)) {
            Some(end) => at += end + 1,
            None => return GzipHead::GoesOn,
        }
    }
    at += if has(2) { 2 } else { 0 };
    if at <= bytes.len() { GzipHead::Ends(at) } else { GzipHead::GoesOn }
}

/// Writes all of it; false: the decoder has come to its end before.
fn write(writer: &mut impl Write, mut bytes: &[u8]) -> io::Result<bool> {
    while !bytes.is_empty() {
        match writer.write(bytes) {
            Ok(0) => return Ok(false),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // What it has made already is wanted now.
    writer.flush().map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    fn decoded(codings: &str, bytes: &[u8], piece_bytes: usize) -> (Vec<u8>, Result<(), DecodeError>) {
        let mut decoding = Decoding::new(codings.as_bytes(), &DecoderMemory::default()).unwrap();
        let mut all = Vec::new();
        let mut outcome = Ok(());
        for piece in bytes.chunks(piece_bytes) {
            let result = decoding.bytes(piece, &mut |bytes| {
                all.extend_from_slice(bytes);
                true
            });
            outcome = outcome.and(result);
        }
        decoding.end(&mut |bytes| {
            all.extend_from_slice(bytes);
            true
        });
        (all, outcome)
    }

    fn text() -> Vec<u8> {
        (0..20_000u32).flat_map(|at| (at % 977).to_string().into_bytes()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_coding_is_taken_off_in_pieces_of_any_size() {
        let text = text();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&text).unwrap();
        let zstd = zstd::stream::encode_all(&text[..], 1).unwrap();
        let cases = [
            ("gzip", gzip(&text)),
            ("X-GZIP", gzip(&text)),
            ("gzip, gzip", gzip(&gzip(&text))),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
            ("zstd", zstd),
            ("identity", text.clone()),
        ];
        for (codings, bytes) in cases {
            for piece_bytes in [1, 7, 1000, 1 << 20] {
                let (made, outcome) = decoded(codings, &bytes, piece_bytes);
                assert_eq!((made == text, outcome), (true, Ok(())), "{codings} {piece_bytes}");
            }
        }
        // Brotli's own example of an uncompressed meta-block: "hello" (RFC 7932 section 9.2).
        let brotli = [0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];
        assert_eq!(decoded("br", &brotli, 3), (b"hello".to_vec(), Ok(())));
    }

    #[test]
    fn what_is_not_coded_passes_and_what_breaks_off_gives_what_it_had() {
        let plain = b"plain text, whatever they say";
        for codings in ["gzip", "gzip, deflate", "br", "compress, x"] {
            for piece_bytes in [1, 10, 100] {
                let (made, _) = decoded(codings, plain, piece_bytes);
                assert_eq!(made, plain, "{codings} {piece_bytes}");
            }
        }
        assert_eq!(decoded("gzip", plain, 10).1, Err(DecodeError::Invalid));
        let coded = gzip(&text());
        let (made, _) = decoded("gzip", &coded[..coded.len() / 2], 100);
        assert!(!made.is_empty() && text().starts_with(&made));
    }

    #[test]
    fn heads_of_gzip_may_hold_anything() {
        let coded = gzip(b"hello");
        let body = &coded[10..];
        let head = |flags: u8, more: &[u8]| [&b"\x1f\x8b\x08"[..], &[flags], &[0; 6], more, body].concat();
        for bytes in [
            head(0x20, b""),
            head(0xc0, b""),
            head(2, b"\0\0"),
            head(4 | 8 | 16 | 2, b"\x02\0xxname\0comment\0\xff\xff"),
        ] {
            for piece_bytes in [1, 100] {
                assert_eq!(decoded("gzip", &bytes, piece_bytes), (b"hello".to_vec(), Ok(())));
            }
        }
        assert_eq!(decoded("gzip", b"\x1f\x8b", 1), (b"\x1f\x8b".to_vec(), Ok(())));
    }

    #[test]
    fn bombs_and_memory_are_bounded() {
        let zeros = vec![0; 64 << 20];
        let bomb = gzip(&gzip(&zeros));
        assert_eq!(decoded("gzip, gzip", &bomb, 1 << 20).1, Err(DecodeError::Bomb));
        let memory = DecoderMemory::default();
        let most = (MEMORY_BYTES_MAX / BROTLI_BYTES) as usize;
        let held: Vec<_> = (0..most).map(|_| Decoding::new(b"br", &memory).unwrap()).collect();
        assert!(Decoding::new(b"br", &memory).is_none());
        drop(held);
        assert!(Decoding::new(b"br", &memory).is_some());
    }
}
