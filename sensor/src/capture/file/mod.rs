//! Capture files: classic pcap and pcapng, plain or compressed by gzip or zstd, from a file or from
//! standard input.
//!
//! In: bytes in either format, either byte order, any time resolution. Out: [`Frame`]s. A file that
//! ends within a record gives what is whole and then an error with its place; nothing is guessed.
//!
//! Reading is our own because libpcap refuses pcapng files whose interfaces differ in link type, and
//! takes three times as long per packet.

mod pcap;
mod pcapng;
mod window;
mod unpack;
mod sequence;

pub use sequence::FileSequence;

use super::{BatchEnd, CaptureError, Frame, FrameSource, SourceLoss};
use crate::capture::config::{BATCH_FRAMES_MAX, BURST_FRAMES_MAX};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use window::Window;

/// Longest captured frame accepted, in bytes: libpcap's own `MAXIMUM_SNAPLEN`. A longer one means a
/// damaged file.
pub const FRAME_BYTES_MAX: usize = 262_144;

/// Frames of one capture file.
pub struct FileSource {
    name: String,
    window: Window,
    format: Format,
    ended: bool,
}

enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
}

/// Why reading stopped within a file; the place is known by the window.
struct Damage(String);

impl FileSource {
    /// Opens a capture file, or standard input for `-`.
    pub fn open(path: &str) -> Result<FileSource, CaptureError> {
        let system = |error: std::io::Error| CaptureError::System {
            name: path.to_owned(),
            message: error.to_string(),
        };
        let input: Box<dyn Read + Send> = if path == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(File::open(path).map_err(system)?)
        };
        let name = if path == "-" { "standard input" } else { path };
        FileSource::read_from(name, input)
    }

    /// Reads a capture from any stream of bytes.
    pub fn read_from(name: &str, input: Box<dyn Read + Send>) -> Result<FileSource, CaptureError> {
        let system = |error: std::io::Error| CaptureError::System {
            name: name.to_owned(),
            message: error.to_string(),
        };
        let mut window = Window::new(unpack::unpacked(input).map_err(system)?);
        let format = match begin(&mut window) {
            Ok(format) => format,
            Err(Damage(message)) => return Err(window.error(name, message)),
        };
        Ok(FileSource { name: name.to_owned(), window, format, ended: false })
    }

    /// Bytes of the file used so far, for progress.
    pub fn bytes_read(&self) -> u64 {
        self.window.offset()
    }
}

impl FrameSource for FileSource {
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError> {
        // Every batch but the last has the same number of frames, wherever the window's borders are, so that
        // timers run at the same frames however a file is read.
        let mut left = BATCH_FRAMES_MAX;
        while left > 0 {
            if self.ended {
                return Ok(BatchEnd::End);
            }
            let count_max = left.min(BURST_FRAMES_MAX);
            let count = match &mut self.format {
                Format::Pcap(pcap) => pcap.next_burst(&mut self.window, count_max, each),
                Format::Pcapng(pcapng) => pcapng.next_burst(&mut self.window, count_max, each),
            };
            match count {
                Ok(0) => self.ended = true,
                Ok(count) => left -= count,
                Err(Damage(message)) => {
                    self.ended = true;
                    return Err(self.window.error(&self.name, message));
                }
            }
        }
        Ok(BatchEnd::More)
    }

    fn loss(&mut self) -> SourceLoss {
        match &self.format {
            Format::Pcap(_) => SourceLoss::default(),
            Format::Pcapng(pcapng) => pcapng.loss(),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}

fn begin(window: &mut Window) -> Result<Format, Damage> {
    let Some(magic) = window.peek(4)?.and_then(|bytes| bytes.first_chunk::<4>().copied()) else {
        return Err(Damage("shorter than the four bytes that name a capture format".into()));
    };
    if pcapng::is_section_header(magic) {
        return Ok(Format::Pcapng(pcapng::Pcapng::default()));
    }
    pcap::Pcap::begin(window, magic).map(Format::Pcap)
}

/// Whether a file begins like a capture, by its first four bytes.
fn is_capture(path: &Path) -> bool {
    let mut magic = [0u8; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok()
        && (pcapng::is_section_header(magic)
            || pcap::Flavour::of(magic).is_some()
            || unpack::is_packed(magic))
}

/// The capture files that a command-line argument names: itself, or the captures of a directory and
/// its subdirectories in order of their paths. In a directory, files that are no captures are left out.
pub fn expand(argument: &str) -> Result<Vec<String>, CaptureError> {
    let path = Path::new(argument);
    if argument == "-" || !path.is_dir() {
        return Ok(vec![argument.to_owned()]);
    }
    let mut files = Vec::new();
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        let wrong = |error: std::io::Error| CaptureError::System {
            name: directory.display().to_string(),
            message: error.to_string(),
        };
        for entry in std::fs::read_dir(&directory).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let kind = entry.file_type().map_err(wrong)?;
            // Links are not followed, so that a loop of directories cannot be built.
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() && is_capture(&entry.path()) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files.into_iter().map(|path: PathBuf| path.to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use weir_common::time::Timestamp;

    type Seen = (Timestamp, LinkType, u32, u32, Vec<u8>);

    fn read(bytes: &[u8]) -> (Vec<Seen>, Option<String>) {
        let mut seen = Vec::new();
        let mut source = match FileSource::read_from("test", Box::new(std::io::Cursor::new(bytes.to_vec()))) {
            Ok(source) => source,
            Err(error) => return (seen, Some(error.to_string())),
        };
        loop {
            let mut each = |burst: &[Frame<'_>]| {
                assert!((1..=BURST_FRAMES_MAX).contains(&burst.len()));
                seen.extend(burst.iter().map(|f| (f.time, f.link, f.interface, f.wire_len, f.data.to_vec())));
            };
            match source.read_batch(&mut each) {
                Ok(BatchEnd::End) => return (seen, None),
                Ok(_) => {}
                Err(error) => return (seen, Some(error.to_string())),
            }
        }
    }

    fn pcap(magic: u32, big: bool, subsecond: u32) -> Vec<u8> {
        let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let half = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut file = Vec::new();
        file.extend(word(magic));
        file.extend(half(2));
        file.extend(half(4));
        for n in [0, 0, 65535, 1] {
            file.extend(word(n));
        }
        for n in [1_700_000_000, subsecond, 3, 60] {
            file.extend(word(n));
        }
        file.extend(b"abc");
        file
    }

    #[test]
    fn both_byte_orders_and_both_resolutions_give_the_same_frame() {
        let want = (Timestamp::from_parts(1_700_000_000, 5_000), LinkType::ETHERNET, 0, 60, b"abc".to_vec());
        for (magic, subsecond) in [(0xa1b2_c3d4, 5), (0xa1b2_3c4d, 5_000)] {
            for big in [false, true] {
                assert_eq!(read(&pcap(magic, big, subsecond)), (vec![want.clone()], None));
            }
        }
    }

    #[test]
    fn a_cut_file_gives_its_whole_records_and_the_place_of_the_cut() {
        let mut file = pcap(0xa1b2_c3d4, false, 5);
        let whole = file.len();
        let record = file[24..].to_vec();
        file.extend(&record);
        for cut in 1..record.len() {
            let (seen, error) = read(&file[..file.len() - cut]);
            assert_eq!(seen.len(), 1, "{cut}");
            assert!(error.unwrap().contains(&format!("at byte {whole}")), "{cut}");
        }
        assert_eq!(read(&file).0.len(), 2);
    }

    #[test]
    fn an_absurd_record_length_is_damage() {
        let mut file = pcap(0xa1b2_c3d4, false, 5);
        file[32..36].copy_from_slice(&(FRAME_BYTES_MAX as u32 + 1).to_le_bytes());
        assert!(read(&file).1.unwrap().contains("262145 bytes"));
    }

    #[test]
    fn what_is_no_capture_is_refused_by_name() {
        assert!(read(b"").1.unwrap().contains("shorter than"));
        assert!(read(b"hello world").1.unwrap().contains("neither pcap nor pcapng"));
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().div_ceil(4) * 4;
        let length = (padded + 12) as u32;
        let mut out = Vec::new();
        out.extend(kind.to_le_bytes());
        out.extend(length.to_le_bytes());
        out.extend(body);
        out.resize(8 + padded, 0);
        out.extend(length.to_le_bytes());
        out
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    fn section() -> Vec<u8> {
        let mut body = words(&[0x1a2b_3c4d, 0x0000_0001]);
        body.extend([0xff; 8]);
        block(0x0a0d_0d0a, &body)
    }

    fn interface(link: u16, resolution: Option<u8>) -> Vec<u8> {
        let mut body = words(&[u32::from(link), 0]);
        if let Some(resolution) = resolution {
            body.extend(words(&[0x0001_0009, u32::from(resolution)]));
            body.extend(words(&[0]));
        }
        block(1, &body)
    }

    fn enhanced(interface: u32, time: u64, data: &[u8]) -> Vec<u8> {
        let mut body = words(&[interface, (time >> 32) as u32, time as u32, data.len() as u32, 99]);
        body.extend(data);
        block(6, &body)
    }

    #[test]
    fn interfaces_of_one_pcapng_may_differ_in_link_type_and_resolution() {
        let file = [
            section(),
            interface(1, None),
            interface(101, Some(9)),
            interface(1, Some(0x80 | 10)),
            enhanced(0, 1_700_000_000_000_005, b"abc"),
            block(5, &words(&[0, 0, 0])),
            enhanced(1, 1_700_000_000_000_000_007, b"defg"),
            enhanced(2, 1_700_000_000 << 10 | 512, b"h"),
        ]
        .concat();
        let at = |nanos| Timestamp::from_parts(1_700_000_000, nanos);
        let want = vec![
            (at(5_000), LinkType(1), 0, 99, b"abc".to_vec()),
            (at(7), LinkType(101), 1, 99, b"defg".to_vec()),
            (at(500_000_000), LinkType(1), 2, 99, b"h".to_vec()),
        ];
        assert_eq!(read(&file), (want, None));
    }

    #[test]
    fn damaged_pcapng_names_what_was_wrong() {
        let good = [section(), interface(1, None)].concat();
        let unknown = [good.clone(), enhanced(7, 0, b"x")].concat();
        assert!(read(&unknown).1.unwrap().contains("interface 7"));
        let mut short = [good.clone(), enhanced(0, 0, b"x")].concat();
        let at = good.len() + 20;
        short[at..at + 4].copy_from_slice(&5000u32.to_le_bytes());
        assert!(read(&short).1.unwrap().contains("5000"));
        let mut tiny = good.clone();
        tiny.extend(words(&[6, 8, 8]));
        assert!(read(&tiny).1.unwrap().contains("block length 8"));
    }

    /// Sizes of the bursts of each batch.
    fn bursts(bytes: Vec<u8>) -> Vec<Vec<usize>> {
        let mut source = FileSource::read_from("test", Box::new(std::io::Cursor::new(bytes))).unwrap();
        let mut batches = Vec::new();
        loop {
            let mut sizes = Vec::new();
            let end = source.read_batch(&mut |burst| sizes.push(burst.len())).unwrap();
            batches.push(sizes);
            if end == BatchEnd::End {
                return batches;
            }
        }
    }

    #[test]
    fn frames_come_in_bursts_and_batches_end_at_the_same_frame_in_both_formats() {
        let count = BATCH_FRAMES_MAX + BURST_FRAMES_MAX + 3;
        let file = pcap(0xa1b2_c3d4, false, 5);
        let classic = [&file[..24], &file[24..].repeat(count)].concat();
        let pcapng = [section(), interface(1, None), enhanced(0, 5, b"abc").repeat(count)].concat();
        for file in [classic, pcapng] {
            let batches = bursts(file);
            assert_eq!(batches[0], vec![BURST_FRAMES_MAX; BATCH_FRAMES_MAX / BURST_FRAMES_MAX]);
            assert_eq!(batches[1], vec![BURST_FRAMES_MAX, 3]);
        }
    }

    #[test]
    fn bursts_that_end_with_the_window_lose_and_repeat_nothing() {
        // Records of 1016 bytes: the window of 256 KiB ends within one of them.
        let mut classic = pcap(0xa1b2_c3d4, false, 5)[..24].to_vec();
        let mut pcapng = [section(), interface(1, None)].concat();
        for number in 0..3000u32 {
            let mut data = number.to_le_bytes().to_vec();
            data.resize(1000, 7);
            classic.extend(words(&[1, number, 1000, 1000]));
            classic.extend(&data);
            pcapng.extend(enhanced(0, number.into(), &data));
        }
        for file in [classic, pcapng] {
            let (seen, error) = read(&file);
            assert_eq!(error, None);
            let numbers: Vec<u32> =
                seen.iter().map(|frame| u32::from_le_bytes(frame.4[..4].try_into().unwrap())).collect();
            assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_block_between_packets_takes_effect_on_those_after_it() {
        let file = [
            section(),
            interface(1, None),
            enhanced(0, 5, b"abc"),
            interface(101, None),
            enhanced(1, 5, b"abc"),
            enhanced(0, 5, b"abc"),
        ]
        .concat();
        let links: Vec<u16> = read(&file).0.iter().map(|frame| frame.1.0).collect();
        assert_eq!(links, [1, 101, 1]);
        assert_eq!(bursts(file), [[1, 2]]);
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_panics() {
        let pcapng =
            [section(), interface(1, Some(9)), enhanced(0, 1 << 60, b"abc"), enhanced(0, 5, b"defgh")]
                .concat();
        for file in [pcapng, pcap(0xa1b2_c3d4, false, 5), pcap(0xa1b2_cd34, false, 5)] {
            for end in 0..file.len() {
                read(&file[..end]);
            }
            for at in 0..file.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut changed = file.clone();
                    changed[at] = value;
                    read(&changed);
                }
            }
        }
    }
}
