//! Compressed captures: what gzip or zstd made smaller, by the first bytes and not by the name.
//!
//! Unpacking is a stream: a file that grows a thousandfold costs time, which a signal ends, and no memory.

use flate2::read::MultiGzDecoder;
use std::io::{self, Chain, Cursor, Read};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Largest zstd window accepted, as a power of two: 128 MiB, zstd's own default limit.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

type Input = Box<dyn Read + Send>;

/// Whether these first bytes are those of a compressed file.
pub(super) fn is_packed(magic: [u8; 4]) -> bool {
    magic == ZSTD || magic[..2] == GZIP
}

/// The stream as it was before it was compressed, if it was.
pub(super) fn unpacked(mut input: Input) -> io::Result<Input> {
    let mut magic = [0; 4];
    let mut have = 0;
    while have < magic.len() {
        match input.read(&mut magic[have..]) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let whole: Chain<Cursor<Vec<u8>>, Input> = Cursor::new(magic[..have].to_vec()).chain(input);
    if magic == ZSTD {
        let mut decoder = zstd::Decoder::new(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        return Ok(Box::new(decoder));
    }
    if magic[..2] == GZIP {
        return Ok(Box::new(MultiGzDecoder::new(whole)));
    }
    Ok(Box::new(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unpacked(Box::new(Cursor::new(bytes)))?.read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn plain_gzip_and_zstd_give_the_same_bytes() {
        let plain = b"not compressed at all".to_vec();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        for bytes in [plain.clone(), gzip.clone(), zstd] {
            assert_eq!(read(bytes).unwrap(), plain);
        }
        assert!(read(gzip[..gzip.len() / 2].to_vec()).is_err(), "a cut file is an error, not an end");
    }

    #[test]
    fn short_and_empty_input_pass_as_they_are() {
        for bytes in [vec![], vec![0x1f], vec![0x28, 0xb5, 0x2f]] {
            assert_eq!(read(bytes.clone()).unwrap(), bytes);
        }
    }
}
