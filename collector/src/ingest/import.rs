//! Files that a user imports: which kind each is, by its first bytes, and who reads it.
//!
//! In: a path, or `-` for standard input. Out: batches. Kinds that are known and not read in this version
//! say so; an unknown kind says what was expected.

use super::config::IngestConfig;
use super::counters::IngestCounters;
use super::{Batch, eve, file};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use weir_common::ipfix::error::FileError;

/// Bytes looked at to tell the kind, at most.
const BUFFER_BYTES: usize = 256 << 10;

/// Why a file was not read to its end, or not at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The system could not open or read it.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A kind that is known.
    #[error("{0} are not in this version: expected IPFIX (RFC 5655) or EVE JSON")]
    NotInThisVersion(&'static str),
    /// No kind that is known.
    #[error("is of no known kind: expected IPFIX (RFC 5655) or EVE JSON")]
    Unknown,
    /// The file is broken; what stands before the place was read.
    #[error("{0}; what stands before it was imported")]
    Broken(FileError),
    /// Lines are no events; the rest was read.
    #[error("{malformed} lines are no EVE event, the first in line {line}: {fault}; the rest was imported")]
    Lines {
        /// How many.
        malformed: u64,
        /// The first one, from 1.
        line: u64,
        /// What is wrong with it.
        fault: String,
    },
}

impl ImportError {
    /// Whether nothing at all was read because the system failed.
    pub fn is_system(&self) -> bool {
        matches!(self, ImportError::Io(error) if error.kind() != io::ErrorKind::NotFound)
    }
}

/// Reads one file.
pub fn read(
    path: &Path,
    config: &IngestConfig,
    counters: &Arc<IngestCounters>,
    each: impl FnMut(Batch),
) -> Result<(), ImportError> {
    let name = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let input: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) };
    read_from(&name, BufReader::with_capacity(BUFFER_BYTES, input), config, counters, each)
}

enum Kind {
    Empty,
    Ipfix,
    Eve,
}

fn read_from(
    name: &str,
    mut input: impl BufRead,
    config: &IngestConfig,
    counters: &Arc<IngestCounters>,
    each: impl FnMut(Batch),
) -> Result<(), ImportError> {
    match kind_of(input.fill_buf()?)? {
        Kind::Empty => Ok(()),
        Kind::Ipfix => match file::read(name, input, config, counters.clone(), each) {
            Err(FileError::Read { source, .. }) => Err(ImportError::Io(source)),
            outcome => outcome.map_err(ImportError::Broken),
        },
        Kind::Eve => {
            let summary = eve::read(name, input, counters, each)?;
            match summary.fault {
                Some((line, fault)) => Err(ImportError::Lines { malformed: summary.malformed, line, fault }),
                None => Ok(()),
            }
        }
    }
}

fn kind_of(first: &[u8]) -> Result<Kind, ImportError> {
    let text = first.trim_ascii_start();
    Ok(match first {
        [] => Kind::Empty,
        // The version of an IPFIX message; one byte of it is a file cut short.
        [0, 10, ..] | [0] => Kind::Ipfix,
        [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => {
            return captures();
        }
        [0xa1, 0xb2, 0x3c, 0x4d, ..] | [0x0a, 0x0d, 0x0d, 0x0a, ..] => return captures(),
        [0, 9, ..] | [0, 5, ..] => return Err(ImportError::NotInThisVersion("NetFlow files")),
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            return Err(ImportError::NotInThisVersion("compressed files"));
        }
        [b'#', ..] if first.starts_with(b"#separator") => {
            return Err(ImportError::NotInThisVersion("Zeek logs"));
        }
        [b'<', b'0'..=b'9', ..] => return Err(ImportError::NotInThisVersion("syslog files")),
        _ if text.starts_with(b"{") => {
            let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let has = |member: &[u8]| line.windows(member.len()).any(|window| window == member);
            if has(b"\"id.orig_h\"") && !has(b"\"event_type\"") {
                return Err(ImportError::NotInThisVersion("Zeek logs"));
            }
            Kind::Eve
        }
        _ => return Err(ImportError::Unknown),
    })
}

fn captures() -> Result<Kind, ImportError> {
    Err(ImportError::NotInThisVersion("packet captures (`weir-sensor replay` makes records of them)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::testing::Exporting;
    use crate::ingest::testing::record;

    fn import(bytes: &[u8]) -> Result<usize, String> {
        let mut records = 0;
        let counters = Arc::new(IngestCounters::default());
        let outcome = read_from("f", bytes, &IngestConfig::default(), &counters, |batch| {
            records += batch.records.len();
        });
        outcome.map(|()| records).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_s_first_bytes_say_who_reads_it() {
        let mut exporting = Exporting::new(1);
        let ipfix = [exporting.templates(), exporting.records(&[record(1), record(2)])].concat();
        assert_eq!(import(&ipfix), Ok(2));
        assert_eq!(import(b""), Ok(0));
        assert_eq!(import(b"\n {\"event_type\":\"stats\"}\n"), Ok(0));
    }

    #[test]
    fn what_is_not_read_says_so_and_what_was_expected() {
        for (bytes, part) in [
            (&b"\xd4\xc3\xb2\xa1...."[..], "weir-sensor replay"),
            (b"\x0a\x0d\x0d\x0a....", "weir-sensor replay"),
            (b"#separator \\x09\n", "Zeek"),
            (b"{\"ts\":1.0,\"uid\":\"C1\",\"id.orig_h\":\"10.0.0.1\"}", "Zeek"),
            (b"<34>Oct 11 22:14:15 mymachine su: failed", "syslog"),
            (b"\x1f\x8b\x08", "compressed"),
            (b"hello", "no known kind"),
        ] {
            let error = import(bytes).unwrap_err();
            assert!(error.contains(part) && error.contains("expected IPFIX"), "{error}");
        }
    }

    #[test]
    fn a_directory_or_a_missing_file_is_an_error_of_the_system() {
        let counters = Arc::new(IngestCounters::default());
        for path in ["/nonexistent/file", "/"] {
            let outcome = read(Path::new(path), &IngestConfig::default(), &counters, |_| {});
            assert!(matches!(outcome, Err(ImportError::Io(_))), "{path}");
        }
    }
}
