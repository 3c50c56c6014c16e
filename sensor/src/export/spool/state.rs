//! What a spool remembers beside its segments: `state.json`.
//!
//! In and out: which records are done, and whether the sensor ended in order. The file is replaced as a whole. One
//! that is missing or cannot be read costs repeated sending and a new epoch, never a record.

use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use weir_common::delivery::{Position, Ranges};

const FILE_NAME: &str = "state.json";
/// Most octets that are read of it.
const BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct State {
    /// The kernel's identifier of this run of the machine.
    pub(super) boot: String,
    /// Whether everything was on the disk when it was written, as the last thing of its sensor.
    pub(super) clean: bool,
    pub(super) acknowledges: bool,
    /// The number of the next record in the last epoch.
    pub(super) next: u64,
    pub(super) epochs: Vec<SavedEpoch>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct SavedEpoch {
    epoch: u64,
    done: Vec<(u64, u64)>,
}

impl SavedEpoch {
    pub(super) fn new(epoch: u64, done: &Ranges) -> SavedEpoch {
        SavedEpoch { epoch, done: done.iter().map(|range| (range.start, range.end)).collect() }
    }

    fn done(&self) -> Ranges {
        self.done.iter().filter(|(start, end)| start <= end).map(|(start, end)| *start..*end).collect()
    }
}

impl State {
    pub(super) fn read(directory: &Path) -> State {
        let path = directory.join(FILE_NAME);
        let read = || -> io::Result<State> {
            let mut text = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(File::open(&path)?, BYTES_MAX), &mut text)?;
            Ok(serde_json::from_slice(&text)?)
        };
        match read() {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => {
                tracing::warn!("{}: {error}; everything in the spool is sent again", path.display());
                State::default()
            }
        }
    }

    /// What was done of an epoch.
    pub(super) fn done(&self, epoch: u64) -> Option<Ranges> {
        self.epochs.iter().find(|saved| saved.epoch == epoch).map(SavedEpoch::done)
    }

    /// The epoch that goes on and what is done of it, unless the machine may have lost what was written last.
    pub(super) fn goes_on(&self, boot: &str) -> Option<(Position, Ranges)> {
        let survived = self.clean || (!boot.is_empty() && self.boot == boot);
        let last = self.epochs.last().filter(|_| survived)?;
        Some((Position { epoch: last.epoch, sequence: self.next }, last.done()))
    }

    pub(super) fn write(&self, directory: &Path, is_durable: bool) -> io::Result<()> {
        let (path, part) = (directory.join(FILE_NAME), directory.join("state.json.part"));
        let mut file = File::create(&part)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        if is_durable {
            file.sync_data()?;
        }
        fs::rename(&part, &path)?;
        if is_durable { File::open(directory)?.sync_all() } else { Ok(()) }
    }
}

/// The kernel's identifier of this run of the machine; empty where there is none.
pub(super) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
